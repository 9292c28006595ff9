"""Tasks with plain signatures: what is rewritten, what is left out, and that the files in data/ are what the script makes."""

import json

import pytest

import make_signatures
from check_tasks import DATA
from judge.syntax import parse_any_length
from make_signatures import NoPlainForm, plain, plain_task, renamed
from tasks import load_tasks, signature_prompt

STATEMENT = "Write `runs(words: &[(&str, u32)], most: usize) -> Option<Vec<u64>>` in Rust. `runs(&[(\"a\", 1)], 2)` is `None`."
SIGNATURE = "/// Long runs.\n///\n/// `runs(&[(\"a\", 1)], 2)` is `None`.\npub fn runs(words: &[(&str, u32)], most: usize) -> Option<Vec<u64>>"
SOLUTION = """pub fn runs(words: &[(&str, u32)], most: usize) -> Option<Vec<u64>> {
    let long: Vec<u64> = words.iter().filter(|(word, _)| word.len() > most).map(|&(_, n)| u64::from(n)).collect();
    (!long.is_empty()).then_some(long)
}
"""
TESTS = [
    'assert_eq!(runs(&[("abc", 4), ("a", 1)], 2), Some(vec![4]));',
    'let text = "xyz"; assert_eq!(runs(&[(text, 7)], text.len() - 1), Some(vec![7]));',
    "let none: [(&str, u32); 0] = []; assert_eq!(runs(&none, 2), None);",
    'assert!(runs(&vec![("", 0); 3], 0).is_none());',
]
TASK = {"task_id": "t/runs", "prompt": STATEMENT, "signature_prompt": signature_prompt(SIGNATURE), "entry_point": "runs", "tests": TESTS}


def type_node(text):
    return parse_any_length(f"type T = {text};").named_children[0].child_by_field_name("type")


@pytest.mark.parametrize(("idiomatic", "is_plain"), [
    ("&[u32]", "Vec<isize>"),
    ("&str", "String"),
    ("Option<(usize, &[&str])>", "Option<(isize, Vec<String>)>"),
    ("Vec<Vec<char>>", "Vec<Vec<char>>"),
    ("(i64,)", "(isize,)"),
])  # fmt: skip
def test_plain_form_of_a_type(idiomatic, is_plain):
    assert plain(type_node(idiomatic)) == is_plain


@pytest.mark.parametrize("idiomatic", ["&mut Vec<u32>", "&'static str", "u8", "[u32; 3]", "Result<u32, String>", "impl Fn(u32) -> u32"])
def test_types_without_a_plain_form(idiomatic):
    with pytest.raises(NoPlainForm):
        plain(type_node(idiomatic))


def test_texts_and_tests_are_rewritten_together():
    row, _ = plain_task(TASK)
    shape = "runs(words: Vec<(String, isize)>, most: isize) -> Option<Vec<isize>>"
    assert row["task_id"] == "t/runs#plain" and shape in row["prompt"] and f"pub fn {shape} {{" in row["signature_prompt"]
    for text in (row["prompt"], row["signature_prompt"]):
        assert '`runs(vec![("a".to_string(), 1)], 2)`' in text and "&[" not in text
    assert row["tests"][0] == 'assert_eq!(runs(vec![("abc".to_string(), 4), ("a".to_string(), 1)], 2), Some(vec![4]));'
    assert row["tests"][3] == 'assert!(runs(vec![("".to_string(), 0); 3], 0).is_none());'


@pytest.mark.parametrize(("before", "after"), [
    ('runs(&[("runs(", 1) /* one */], 2)', 'runs(vec![("runs(".to_string(), 1)], 2)'),
    ('runs(&[(r#"a")"#, 1)], // two\n 2)', 'runs(vec![(r#"a")"#.to_string(), 1)], 2)'),
    ('runs(&[], runs(&[("a", 1)], 2).map_or(0, |all| all.len()))',
     'runs(vec![], (runs(vec![("a".to_string(), 1)], 2).map_or(0, |all| all.len())) as isize)'),
    ("assert!(crate::runs(&[], 1).is_none());", "assert!(crate::runs(vec![], 1).is_none());"),
    ("book.runs(1); 0..runs(&[], 1)", "book.runs(1); 0..runs(vec![], 1)"),
    ("(my_runs(1), runs (1))", "(my_runs(1), runs (1))"),
])  # fmt: skip
def test_calls_of_the_function_alone_are_rewritten(before, after):
    assert plain_task(TASK | {"tests": [before]})[0]["tests"] == [after]


def named(name, text="Write `{}(n: u32) -> u32` in Rust."):
    row = {"task_id": "t", "prompt": text.format(name), "signature_prompt": f"pub fn {name}(n: u32) -> u32 {{", "tests": [f"assert_eq!({name}(1), {name}(2) - 1);"]}
    return renamed(row | {"entry_point": name})


def test_one_name_in_three_is_written_as_other_languages_do_and_everywhere_alike():
    names = [f"{first}_{second}_x" for first in ("count", "sum", "last", "odd", "min") for second in ("prime", "digit", "word", "pair", "gap", "run")]
    rows = {name: named(name) for name in names}
    others = {name: row["entry_point"] for name, row in rows.items() if row["entry_point"] != name}
    assert len(names) / 5 < len(others) < len(names) / 2
    assert {new.replace("_", "").lower() for new in others.values()} == {name.replace("_", "") for name in others}
    assert {(new[0].isupper(), "_" in new) for new in others.values()} == {(False, False), (False, True), (True, True)}
    for name, row in rows.items():
        assert row == named(name)
        assert [name in text for text in (row["prompt"], row["signature_prompt"], *row["tests"])] == [name not in others] * 3
        assert row["tests"] == [f"assert_eq!({row['entry_point']}(1), {row['entry_point']}(2) - 1);"]


@pytest.mark.parametrize("text", ["Write `{0}(n: u32) -> u32`, a {0} of numbers.", "Write `{0}(n: u32) -> u32`; `it.{0}(1)` is another."])
def test_a_name_that_stands_for_something_else_too_is_kept(text):
    one = next(name for name in ("split", "count", "sum", "find", "sort", "trim", "skip", "zip") if named(name)["entry_point"] == name.title())
    assert named(one, text)["entry_point"] == one


def write(folder, task=TASK, solution=SOLUTION):
    row = task | {"category": "strings", "difficulty": "easy", "source": "here"}
    (folder / "mine_val.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "solutions.jsonl").write_text(json.dumps({"task_id": "t/runs", "solution": solution}) + "\n")
    return ["--tasks", str(folder / "mine_val.jsonl"), "--solutions", str(folder / "solutions.jsonl"), "--output_dir", str(folder / "out")]


def test_a_row_is_written_only_where_the_reference_passes_behind_the_plain_signature(tmp_path, capsys):
    assert make_signatures.main(write(tmp_path)) == 0
    (row,) = load_tasks(str(tmp_path / "out" / "plain_signatures_val.jsonl"))
    assert row["task_id"] == "t/runs#plain" and len(row["tests"]) == len(TESTS)
    assert make_signatures.main(write(tmp_path, solution=SOLUTION.replace("> most", ">= most"))) == 0
    assert (tmp_path / "out" / "plain_signatures_val.jsonl").read_text() == ""
    assert "0 of 1 tasks; left out, by reason or type: {'the tests do not fit the plain types': 1}" in capsys.readouterr().out


@pytest.mark.parametrize("test", [
    "assert_eq!(runs(&[], usize::MAX), None);",  # what the reference is given would be another number
    'assert_eq!(runs(&[("abc", 4)], 18446744073709551615), None);',
])  # fmt: skip
def test_a_row_with_an_integer_that_an_isize_does_not_hold_is_left_out(test, tmp_path):
    assert make_signatures.main(write(tmp_path, TASK | {"tests": [*TESTS, test]})) == 0
    assert (tmp_path / "out" / "plain_signatures_val.jsonl").read_text() == ""


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("Long runs.", "Long runs, at most `u32::MAX` of them.", "about a type"),
    ("pub fn runs(words", "pub struct A;\n\npub fn runs(words", "not one function alone"),
    ("`runs(&[", "`runs(1, &[", "runs.1, &"),
    ("most: usize)", "most: usize, more: u8)", "u8"),
    ("most: usize)", "self)", "a parameter without a type"),
    ("`runs(&[(\"a\", 1)]", "`runs(&[(\"a\", 1, 2)]", "1, 2"),
    ("Long runs.", "Long runs, as owned texts.", "about a type"),
    ("Long runs.", "Unsigned numbers as `str::parse` reads them.", "about a type"),
])  # fmt: skip
def test_what_is_left_out_says_why(old, new, reason):
    with pytest.raises(NoPlainForm, match=reason):
        plain_task(TASK | {"signature_prompt": TASK["signature_prompt"].replace(old, new)})


def test_a_task_without_a_solution_is_named(tmp_path, capsys):
    flags = write(tmp_path)
    (tmp_path / "solutions.jsonl").write_text(json.dumps({"task_id": "t/other", "solution": SOLUTION}) + "\n")
    assert make_signatures.main(flags) == 1
    assert "t/runs has no solution in" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_files_are_of_their_split_and_as_the_script_makes_them(split):
    idiomatic, rows = (
        [json.loads(line) for line in (DATA / f"{name}_{split}.jsonl").read_text().splitlines()] for name in ("rust_tasks", "plain_signatures")
    )
    bank = {task["task_id"]: task for task in idiomatic}
    assert len(rows) >= 20
    for row in rows:
        assert plain_task(bank[row["task_id"].removesuffix("#plain")])[0] == row
