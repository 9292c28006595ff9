"""tasks.py: every layout becomes the same rows; what cannot be used is refused in one sentence."""

import gzip
import json

import pytest
from conftest import write_jsonl

import tasks
from tasks import TaskError, as_test_list, build_messages, load_tasks, rust_wording, tasks_hash


def write_parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def load_one(tmp_path, row, **options):
    """The one task that a file with this one row holds."""
    (task,) = load_tasks(str(write_jsonl(tmp_path / "set.jsonl", [row])), **options)
    return task


def contract(task):
    return {key: task[key] for key in ("task_id", "prompt", "tests", "entry_point")}


# ---------------------------------------------------------------------------------------------------------------------
# Layouts
# ---------------------------------------------------------------------------------------------------------------------

PLAIN_LAYOUTS = [
    pytest.param(
        {
            "task_id": "a/1",
            "prompt": "Double a number.",
            "tests": ["assert_eq!(double(2), 4);"],
            "entry_point": "double",
        },
        {
            "task_id": "a/1",
            "prompt": "Double a number.",
            "tests": ["assert_eq!(double(2), 4);"],
            "entry_point": "double",
        },
        id="own",
    ),
    pytest.param(
        {"prompt": "Double a number."},
        {"task_id": "set/0", "prompt": "Double a number.", "tests": None, "entry_point": None},
        id="own, prompt alone",
    ),
    pytest.param(
        {"task_id": 7, "prompt": "Double a number.", "tests": "assert_eq!(double(2), 4);"},
        {"task_id": "7", "prompt": "Double a number.", "tests": ["assert_eq!(double(2), 4);"], "entry_point": None},
        id="own, one test text and a number as id",
    ),
    pytest.param(
        {"prompt": "Double a number.", "tests": '["assert!(a());", "assert!(b());"]'},
        {
            "task_id": "set/0",
            "prompt": "Double a number.",
            "tests": ["assert!(a());", "assert!(b());"],
            "entry_point": None,
        },
        id="own, tests as JSON text",
    ),
    pytest.param(
        {"prompt": "Double a number.", "tests": ["  ", ""]},
        {"task_id": "set/0", "prompt": "Double a number.", "tests": None, "entry_point": None},
        id="own, blank tests are no tests",
    ),
    pytest.param(
        {
            "task_id": "m/1",
            "text": "Write a python function to add.",
            "code": "def f(): pass",
            "test_list": ["assert f() is None"],
        },
        {"task_id": "m/1", "prompt": "Write a Rust function to add.", "tests": None, "entry_point": None},
        id="MBPP: Rust wording, Python tests dropped",
    ),
    pytest.param(
        {
            "id": "ace_3",
            "source": "evol",
            "question": "Implement a function that sorts.",
            "test_cases": ["assert f([]) == []"],
        },
        {"task_id": "ace_3", "prompt": "Implement a Rust function that sorts.", "tests": None, "entry_point": None},
        id="AceCode: Rust wording, Python tests dropped",
    ),
    pytest.param(
        {"question": "How do I reverse a string in Rust?"},
        {"task_id": "set/0", "prompt": "How do I reverse a string in Rust?", "tests": None, "entry_point": None},
        id="question",
    ),
    pytest.param(
        {
            "task_id": "ox_1",
            "rust_prompt": "Sum a slice.",
            "rust_code": "fn s() {}",
            "rust_test_list": ["assert_eq!(s(), ());"],
        },
        {"task_id": "ox_1", "prompt": "Sum a slice.", "tests": None, "entry_point": None},
        id="Oxen",
    ),
]


@pytest.mark.parametrize(("row", "expected"), PLAIN_LAYOUTS)
def test_layout_is_recognised_by_its_columns(tmp_path, row, expected):
    assert contract(load_one(tmp_path, row)) == expected


@pytest.mark.parametrize(
    ("before", "asks_for_types"),
    [("", False), ("use std::collections::HashMap;\n\n", False), ("pub struct Jar {\n    pub full: bool,\n}\n\n", True),
     ("enum Lid { On, Off }\n\n", True), ("/// A struct is returned.\n", False)],
)  # fmt: skip
def test_types_in_front_of_a_signature_are_asked_for_too(before, asks_for_types):
    prompt = tasks.signature_prompt(before + "fn close(n: u32) -> u32")
    assert ("types included" in prompt) is asks_for_types
    assert prompt.endswith(f"```rust\n{before}fn close(n: u32) -> u32 {{\n    // your code\n}}\n```")


def test_multipl_e_shows_the_signature_and_keeps_the_stray_brace_tests(tmp_path):
    tests = "}\n\nfn main() {\n    let candidate = halve;\n    assert_eq!(candidate(4), 2);\n}\n"
    signature = "/// Halve a number.\nfn halve(n: isize) -> isize {\n"
    task = load_one(
        tmp_path, {"name": "own_1_halve", "language": "rs", "prompt": signature, "tests": tests, "stop_tokens": ["\n}"]}
    )
    assert (task["task_id"], task["entry_point"], task["tests"]) == ("own_1_halve", "halve", [tests])
    assert "/// Halve a number.\nfn halve(n: isize) -> isize {\n" in task["prompt"]
    assert task["prompt"].count("{") == task["prompt"].count("}"), "the stub shown to the model is closed"
    assert "assert" not in task["prompt"]


def test_multipl_e_entry_point_is_the_last_function_not_a_helper_or_a_word_in_a_comment(tmp_path):
    signature = "fn helper(n: u8) -> u8 { n }\nfn target(n: u8) -> u8 { // unlike fn other\n"
    task = load_one(tmp_path, {"name": "own_2", "language": "rs", "prompt": signature, "tests": "}\nfn main() {}\n"})
    assert task["entry_point"] == "target"


@pytest.mark.parametrize("prompt_has_signature", [True, False])
def test_humaneval_x_shows_the_signature_once_and_hides_the_test_module(tmp_path, prompt_has_signature):
    signature = "fn half_of(n:i32) -> i32{\n"
    module = "#[cfg(test)]\nmod tests {\n    use super::*;\n    #[test]\n    fn t() { assert_eq!(half_of(4), 2); }\n}\n"
    task = load_one(
        tmp_path,
        {
            "task_id": "Rust/0",
            "prompt": "\n/*\nHalf of n.\n*/\n" + (signature if prompt_has_signature else ""),
            "declaration": "use std::cmp::max;\n" + signature,
            "canonical_solution": "    n / 2\n}\n",
            "test": module,
        },
    )
    assert (task["task_id"], task["entry_point"], task["tests"]) == ("Rust/0", "half_of", [module])
    assert task["prompt"].count("fn half_of") == 1
    assert "Half of n." in task["prompt"]
    assert "n / 2" not in task["prompt"] and "assert_eq" not in task["prompt"]


def test_parquet_and_json_and_jsonl_hold_the_same_tasks(tmp_path):
    rows = [
        {"task_id": "1", "rust_prompt": "One.", "rust_code": "fn a() {}", "rust_test_list": ["assert!(a());"]},
        {"task_id": "2", "rust_prompt": "Two.", "rust_code": "fn b() {}", "rust_test_list": ["assert!(b());"]},
    ]
    (tmp_path / "set.json").write_text(json.dumps(rows))
    files = [
        write_jsonl(tmp_path / "set.jsonl", rows),
        write_parquet(tmp_path / "set.parquet", rows),
        tmp_path / "set.json",
    ]
    columns = {"tests": "rust_test_list"}
    loaded = [[contract(task) for task in load_tasks(str(file), columns=columns)] for file in files]
    assert loaded[0] == loaded[1] == loaded[2]
    assert [task["tests"] for task in loaded[0]] == [["assert!(a());"], ["assert!(b());"]]


@pytest.mark.parametrize(
    ("python", "rust"),
    [
        ("Write a python function to reverse a list.", "Write a Rust function to reverse a list."),
        ("Write a Python 3 function to add.", "Write a Rust function to add."),
        ("Write a function to add.", "Write a Rust function to add."),
        ("Please implement the method that adds.", "Please implement a Rust method that adds."),
        ("Write a Rust function to add.", "Write a Rust function to add."),
        ("Sort the array.", "Write this in Rust: Sort the array."),
        ("Write a function for pythonic names.", "Write a Rust function for pythonic names."),
    ],
)
def test_python_wording_asks_for_rust(python, rust):
    assert rust_wording(python) == rust


def test_other_columns_pass_through(tmp_path):
    task = load_one(tmp_path, {"prompt": "One.", "difficulty": 3, "source": "mine"})
    assert task["difficulty"] == 3
    assert task["source"] == "mine"


@pytest.mark.parametrize("hidden", [["assert_eq!(add(1, 2), 3);"], None])
def test_a_graded_completion_is_read_with_the_hidden_tests_of_its_task(tmp_path, hidden):
    row = {"task_id": "t", "prompt": "Add.", "entry_point": "add", "tests": {"tests::adds": "ok"}, "hidden_tests": hidden}
    assert load_one(tmp_path, row)["tests"] == hidden
    assert load_one(tmp_path, row | {"tests": {}})["tests"] == hidden
    assert load_one(tmp_path, row | {"tests": ["assert!(add(0, 0) == 0);"]})["tests"] == ["assert!(add(0, 0) == 0);"]


def test_source_is_the_file_when_the_row_names_none(tmp_path):
    assert load_one(tmp_path, {"prompt": "One."})["source"] == str(tmp_path / "set.jsonl")


# ---------------------------------------------------------------------------------------------------------------------
# Choosing columns and rows
# ---------------------------------------------------------------------------------------------------------------------


def test_columns_are_mapped_by_name(tmp_path):
    row = {"number": 3, "instruction": "Add.", "checks": ["assert!(ok());"], "prompt": "not this one"}
    columns = {"prompt": "instruction", "tests": "checks", "task_id": "number", "entry_point": None}
    assert contract(load_one(tmp_path, row, columns=columns)) == {
        "task_id": "3",
        "prompt": "Add.",
        "tests": ["assert!(ok());"],
        "entry_point": None,
    }


@pytest.fixture
def five(tmp_path):
    return str(write_jsonl(tmp_path / "five.jsonl", [{"task_id": f"t{i}", "prompt": f"Task {i}."} for i in range(5)]))


@pytest.mark.parametrize(
    ("file", "content", "key"),
    [
        ("splits.json", '{"train": ["t3", "t1"], "eval": ["t0"]}', ":train"),
        ("ids.json", '["t1", "t3"]', ""),
        ("ids.txt", "t1\n\n  t3  \n", ""),
    ],
)
def test_task_ids_keep_those_rows_in_file_order(tmp_path, five, file, content, key):
    (tmp_path / file).write_text(content)
    chosen = load_tasks(five, task_ids=f"{tmp_path / file}{key}")
    assert [task["task_id"] for task in chosen] == ["t1", "t3"]


def test_limit_counts_after_task_ids(tmp_path, five):
    (tmp_path / "ids.txt").write_text("t1\nt3\nt4\n")
    assert [t["task_id"] for t in load_tasks(five, task_ids=str(tmp_path / "ids.txt"), limit=2)] == ["t1", "t3"]
    assert [t["task_id"] for t in load_tasks(five, limit=2)] == ["t0", "t1"]
    assert len(load_tasks(five, limit=99)) == 5


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({}, True),
        ({"difficulty": 9}, True),
        ({"prompt": "Add two numbers"}, False),
        ({"tests": ["assert_eq!(add(1, 1), 2);"]}, False),
        ({"tests": None}, False),
        ({"entry_point": "sum"}, False),
        ({"task_id": "2"}, False),
    ],
)
def test_hash_changes_exactly_with_what_a_run_sees(change, is_same):
    task = {
        "task_id": "1",
        "prompt": "Add.",
        "tests": ["assert_eq!(add(1, 2), 3);"],
        "entry_point": "add",
        "difficulty": 1,
    }
    assert (tasks_hash([task]) == tasks_hash([task | change])) is is_same


def test_hash_depends_on_order_and_takes_lone_surrogates():
    first, second = ({"task_id": name, "prompt": "\ud800", "tests": None, "entry_point": None} for name in "ab")
    assert tasks_hash([first, second]) != tasks_hash([second, first])
    assert tasks_hash([first, second]) != tasks_hash([second])


# ---------------------------------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------------------------------

GOOD_LINE = '{"prompt": "One."}\n'


def test_a_fence_around_tests_is_none_of_theirs():
    fenced, plain = "```rust\nassert_eq!(double(2), 4);\n```", "assert_eq!(double(2), 4);"
    assert as_test_list(fenced) == as_test_list([fenced]) == as_test_list(f"{fenced}\n") == [plain]
    assert as_test_list([f"{fenced}\nand\n{fenced}", plain]) == [f"{plain}\n{plain}", plain]
    inside = 'assert_eq!(shown("x"), "```\\nx\\n```");'
    assert as_test_list([inside]) == [inside]


@pytest.mark.parametrize("content", ['[{"prompt": "One."}, {"prompt": "Two."}]', '\ufeff[\n  {"prompt": "One."},\n  {"prompt": "Two."}\n]\n'])
def test_a_list_is_read_whatever_its_file_is_called(tmp_path, content):
    (tmp_path / "set.jsonl").write_text(content, encoding="utf-8")
    (tmp_path / "set.json.gz").write_bytes(gzip.compress(content.encode()))
    for name in ("set.jsonl", "set.json.gz"):
        assert [task["prompt"] for task in load_tasks(str(tmp_path / name))] == ["One.", "Two."]


def test_lines_that_begin_with_a_list_are_lines(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text('["a"]\n' + GOOD_LINE)
    assert len(load_tasks(str(path), bad_rows="skip")) == 1
    for content, message in (("[" * 100_000, "line 1: not JSON"), ("[1, 2]\n", "line 1: expected a JSON object, found list")):
        path.write_text(content)
        with pytest.raises(TaskError, match=message):
            load_tasks(str(path))


def test_a_table_is_no_set_of_tasks(tmp_path):
    (tmp_path / "set.csv").write_text("prompt,tests\nOne.,\n")
    with pytest.raises(TaskError, match=r"line 1: not JSON .*: files of tasks are \.jsonl, \.json or \.parquet"):
        load_tasks(str(tmp_path / "set.csv"))
    (tmp_path / "set.txt").write_text(GOOD_LINE + "{\n")
    assert len(load_tasks(str(tmp_path / "set.txt"), bad_rows="skip")) == 1


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("set.jsonl", "", "the prompt set is empty"),
        ("set.json", "[]", "the prompt set is empty"),
        ("set.jsonl", GOOD_LINE + '{"prompt": "Two."\n', r"line 2: not JSON"),
        ("set.jsonl", GOOD_LINE + "\n" + "[1]\n", r"line 3: expected a JSON object, found list"),
        ("set.jsonl", GOOD_LINE + '{"prompt": "  "}\n', r"line 2: the prompt is empty"),
        ("set.jsonl", GOOD_LINE + '{"prompt": null}\n', r"line 2: the prompt is"),
        ("set.jsonl", GOOD_LINE + '{"other": 1}\n', r"lacks the column 'prompt'"),
        (
            "set.jsonl",
            '{"text": "x", "answer": "y"}\n',
            r"no prompt column: found the columns text, answer.*--prompt_column",
        ),
        ("set.jsonl", '{"prompt": "x", "tests": [1]}\n', r"tests must be text or a list of texts, found list"),
        ("set.jsonl", '{"prompt": "x", "tests": 3}\n', r"tests must be text or a list of texts, found int"),
        ("set.jsonl", '{"prompt": "x", "tests": {"tests::a": "ok"}}\n', r"tests must be text or a list of texts, found dict"),
        (
            "set.jsonl",
            '{"task_id": "a", "prompt": "x"}\n{"task_id": "a", "prompt": "y"}\n',
            r"'a' appears more than once",
        ),
        ("set.json", '{"prompt": "x"}', r"must hold a list of objects"),
    ],
)
def test_unusable_file_is_refused_in_one_sentence(tmp_path, file, content, message):
    (tmp_path / file).write_text(content)
    with pytest.raises(TaskError, match=message) as refusal:
        load_tasks(str(tmp_path / file))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("set.json", b'[{"prompt": "x"}'),
        ("set.json", b"[1, 2]"),
        ("set.jsonl", b'{"prompt": "caf\xe9"}\n'),
        ("set.jsonl", "{\"prompt\": \"x\"}\n".encode("utf-16")),
        ("set.parquet", b"PAR1 no, it is not"),
    ],
)
def test_broken_file_is_the_users_fault_and_is_named(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(TaskError, match=file.replace(".", r"\.")):
        load_tasks(str(tmp_path / file))


@pytest.mark.parametrize("source", ["missing.jsonl", "./somewhere", "/nowhere/set.parquet"])
def test_missing_file_is_not_taken_for_a_hub_dataset(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match="no such file"):
        load_tasks(source)


def test_missing_mapped_column_is_named_with_what_was_found(five):
    with pytest.raises(TaskError, match=r"no column instruction; found task_id, prompt"):
        load_tasks(five, columns={"prompt": "instruction"})


@pytest.mark.parametrize(
    ("ids", "key", "message"),
    [
        ('{"train": ["t1"]}', ":eval", r"no key 'eval'; found train"),
        ('{"train": ["t1"]}', "", r"expected a list of ids; name a key"),
        ('["x1", "x2"]', "", r"none of the 2 ids of .*its first id is 't0'"),
        ('["t1", "x2"]', "", r"1 of the 2 ids of .* for example 'x2'"),
        ('["t1"', "", r"ids\.json"),
    ],
)
def test_task_ids_that_do_not_fit_are_refused(tmp_path, five, ids, key, message):
    (tmp_path / "ids.json").write_text(ids)
    with pytest.raises(TaskError, match=message):
        load_tasks(five, task_ids=f"{tmp_path / 'ids.json'}{key}")


def test_task_ids_file_that_is_missing_is_refused(five):
    with pytest.raises(TaskError, match=r"nowhere\.txt is not a file"):
        load_tasks(five, task_ids="nowhere.txt")


def test_task_ids_file_that_is_no_text_is_refused(tmp_path, five):
    (tmp_path / "ids.txt").write_bytes(b"t1\ncaf\xe9\n")
    with pytest.raises(TaskError, match=r"--task_ids .*ids\.txt: not UTF-8 text"):
        load_tasks(five, task_ids=str(tmp_path / "ids.txt"))


@pytest.mark.parametrize("bad_rows", [None, "stop"])
def test_the_flag_is_recommended_by_those_who_have_it(tmp_path, bad_rows):
    file = tmp_path / "set.jsonl"
    file.write_text('{"prompt": "One."}\n{"prompt": 3}\n')
    with pytest.raises(TaskError, match="1 of 2 rows cannot be read") as refusal:
        load_tasks(str(file), **({"bad_rows": bad_rows} if bad_rows else {}))
    assert ("--bad_rows skip" in str(refusal.value)) is (bad_rows == "stop")
    with pytest.raises(TaskError, match=r"1 of 2 rows cannot be read\)$"):
        tasks.require_no_leak([], [str(file)])


def test_rows_that_cannot_be_read_are_counted_and_left_out_when_asked(tmp_path, capsys):
    file = tmp_path / "set.jsonl"
    file.write_text('not json\n{"prompt": "One."}\n{"prompt": 3}\n\n{"prompt": "Two."}\n')
    with pytest.raises(TaskError, match=r"line 1: not JSON.*2 of 4 rows cannot be read; `--bad_rows skip` leaves them out"):
        load_tasks(str(file), bad_rows="stop")
    assert [task["prompt"] for task in load_tasks(str(file), bad_rows="skip")] == ["One.", "Two."]
    assert "left out 2 of 4 rows, the first:" in capsys.readouterr().err
    file.write_text('not json\n{"prompt": ""}\n')
    with pytest.raises(TaskError, match="none of 2 rows can be read"):
        load_tasks(str(file), bad_rows="skip")


def test_an_unknown_layout_is_refused_even_when_bad_rows_are_skipped(tmp_path):
    (tmp_path / "set.jsonl").write_text('{"body": "One."}\n')
    with pytest.raises(TaskError, match=r"found the columns body; known layouts are"):
        load_tasks(str(tmp_path / "set.jsonl"), bad_rows="skip")


def test_rows_come_one_at_a_time(tmp_path):
    file = tmp_path / "set.jsonl"
    file.write_text('{"prompt": "One."}\nnot json\n')
    assert next(tasks.iter_tasks(str(file)))["prompt"] == "One."


# ---------------------------------------------------------------------------------------------------------------------
# Hub
# ---------------------------------------------------------------------------------------------------------------------


def test_hub_dataset_is_loaded_by_its_id_and_split(monkeypatch):
    import datasets

    def load_dataset(source, split):
        assert (source, split) == ("somebody/prompts", "test")
        return datasets.Dataset.from_list([{"question": "One?"}, {"question": "Two?"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    loaded = load_tasks("somebody/prompts", split="test")
    assert [(task["task_id"], task["prompt"]) for task in loaded] == [("prompts/0", "One?"), ("prompts/1", "Two?")]


def test_a_configuration_of_a_hub_dataset_is_named_behind_a_colon(monkeypatch):
    import datasets

    def load_dataset(source, config, split):
        assert (source, config, split) == ("somebody/prompts", "rs", "test")
        return datasets.Dataset.from_list([{"question": "One?"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(load_tasks("somebody/prompts:rs", split="test")) == 1


@pytest.mark.parametrize(
    "error", [ConnectionError("no route to the hub\nsecond line"), ValueError('Unknown split "x"'), ConnectionError()]
)
def test_hub_failure_names_the_dataset_and_the_way_round(monkeypatch, error):
    import datasets

    def load_dataset(source, split):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(TaskError, match=rf"'somebody/prompts' \({type(error).__name__}.*--tasks FILE") as refusal:
        load_tasks("somebody/prompts")
    assert "\n" not in str(refusal.value)


# ---------------------------------------------------------------------------------------------------------------------
# Prompt builder
# ---------------------------------------------------------------------------------------------------------------------


def test_messages_have_the_system_turn_first():
    assert build_messages("Add.", "Be careful.") == [
        {"role": "system", "content": "Be careful."},
        {"role": "user", "content": "Add."},
    ]


@pytest.mark.parametrize("blank", ["", " \n"])
def test_blank_system_prompt_gives_no_system_turn(blank):
    assert build_messages("Add.", blank) == [{"role": "user", "content": "Add."}]


def test_importing_tasks_costs_no_heavy_import():
    import subprocess
    import sys

    heavy = "import sys, tasks; print([m for m in ('torch', 'datasets', 'pyarrow', 'pandas') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", heavy], cwd=tasks.__file__.rpartition("/")[0], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


# ---------------------------------------------------------------------------------------------------------------------
# Do two texts say the same?
# ---------------------------------------------------------------------------------------------------------------------


def share(a, b, n=tasks.NGRAM_WORDS):
    """Share of n-grams that two texts have in common, as the scripts find it."""
    return max((share for _, share in tasks.NgramIndex([a], n).matches(b, 1e-9)), default=0.0)


REVERSE_WORDS = "Write a python function to reverse the order of the words in a given sentence, keeping punctuation with its word."


@pytest.mark.parametrize(
    "other",
    [
        "Write a Rust function to reverse the order of the words in a given sentence, keeping punctuation with its word.",
        "Implement a function that will REVERSE the order\nof the words in a given sentence -- keeping punctuation with its word!",
        tasks.signature_prompt(
            "/// Write a rsthon function to reverse the order of the words in a given sentence, keeping punctuation with its word.\n"
            "fn reverse_words(sentence: String) -> String {"
        ),
        "Some introduction of another author comes first. " + REVERSE_WORDS + " Then come examples: f('a b') == 'b a'.",
    ],
    ids=["language", "layout", "signature", "contained"],
)
def test_the_same_request_in_other_clothes_overlaps(other):
    assert share(REVERSE_WORDS, other) >= tasks.OVERLAP_LIMIT
    assert share(other, REVERSE_WORDS) == share(REVERSE_WORDS, other)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Write a Rust function to find the sum of a list.", "Write a Rust function to find the product of all digits."),
        (tasks.signature_prompt("fn a(x: i32) -> i32"), tasks.signature_prompt("fn longer_name(list: Vec<u8>, by: u8) -> Vec<u8>")),
        (tasks.signature_prompt("struct A;\n\nfn a(x: A) -> A"), tasks.signature_prompt("enum Other { One }\n\nfn b(o: Other)")),
        ("", "Write a Rust function to find the sum of a list."),
        ("...", "!!!"),
    ],
    ids=["short", "signatures alone", "types alone", "empty", "punctuation alone"],
)
def test_asking_alike_is_no_overlap(a, b):
    assert share(a, b) < tasks.OVERLAP_LIMIT


def test_a_list_and_a_vector_are_the_same_word():
    assert tasks.normalized("Sort the given sublists of a list.") == tasks.normalized("sort subvectors of vector")


def test_ngrams_of_a_short_text_are_the_whole_text():
    assert tasks.ngrams("sort names quickly", 6) == {"sort names quickly"}
    assert tasks.ngrams("one two three four", 3) == {"one two three", "two three four"}
    assert tasks.ngrams(" .. ", 3) == set()


def test_index_finds_what_comparing_pairs_finds():
    texts = [f"count how many items of kind {i} are in box {i + 1} and write their number {i * 7} down" for i in range(30)]
    queries = [texts[4], "please " + texts[7] + " now", "something else entirely that no text has in it at all"]
    index = tasks.NgramIndex(texts, n=4)
    for query in queries:
        pairs = [(tasks.ngrams(query, 4), tasks.ngrams(text, 4)) for text in texts]
        expected = {i for i, (a, b) in enumerate(pairs) if len(a & b) / min(len(a), len(b)) >= 0.8}
        assert {i for i, _ in index.matches(query, 0.8)} == expected
    assert index.matches(texts[4])[0] == (4, 1.0)


def test_index_ignores_what_most_texts_say():
    opening = "you are given the following problem solve it with care and answer in one block"
    texts = [f"{opening} kind{i} of{i} job{i} that{i} only{i} this{i} asks{i}" for i in range(40)]
    assert share(texts[0], texts[1]) > 0.3
    assert [position for position, _ in tasks.NgramIndex(texts).matches(texts[0], 0.1)] == [0]


def test_index_of_near_equal_texts_does_not_count_containment():
    short, long = "a1 b1 c1 d1 e1 f1 g1 h1", "a1 b1 c1 d1 e1 f1 g1 h1 " + " ".join(f"w{i}" for i in range(20))
    assert tasks.NgramIndex([long]).matches(short)
    assert not tasks.NgramIndex([long], of_larger=True).matches(short)


# ---------------------------------------------------------------------------------------------------------------------
# Several sets, filtered and mixed
# ---------------------------------------------------------------------------------------------------------------------


def write_set(tmp_path, name, count, **columns):
    return str(write_jsonl(tmp_path / name, [{"task_id": f"{name}/{i}", "prompt": f"{name} asks {i}", **columns} for i in range(count)]))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("a.jsonl", ("a.jsonl", None, None)),
        ("a.jsonl=2", ("a.jsonl", None, 2.0)),
        ("a.jsonl:signature_prompt", ("a.jsonl", "signature_prompt", None)),
        ("dir/a.parquet:prompt=0.5", ("dir/a.parquet", "prompt", 0.5)),
        ("somebody/prompts:rs=3", ("somebody/prompts:rs", None, 3.0)),
    ],
)
def test_a_set_may_name_column_and_weight(spec, expected):
    assert tasks.parse_task_set(spec) == expected


@pytest.mark.parametrize("spec", ["a.jsonl=0", "a.jsonl=-1", "a.jsonl=much", "a.jsonl=nan", "a.jsonl=inf"])
def test_a_weight_that_is_none_is_refused(spec):
    with pytest.raises(TaskError, match="expected SOURCE=WEIGHT"):
        tasks.parse_task_set(spec)


def test_a_file_with_an_equals_sign_in_its_name_is_a_file(tmp_path):
    source = write_set(tmp_path, "level=2.jsonl", 2)
    assert len(tasks.load_task_sets([source])[0]) == 2


def test_without_weights_sets_are_put_one_after_the_other(tmp_path):
    sets = [write_set(tmp_path, "a.jsonl", 3), write_set(tmp_path, "b.jsonl", 1)]
    loaded, facts = tasks.load_task_sets(sets)
    assert [task["task_id"] for task in loaded] == ["a.jsonl/0", "a.jsonl/1", "a.jsonl/2", "b.jsonl/0"]
    assert [(one["rows"], one["share"], one["weight"]) for one in facts] == [(3, 0.75, None), (1, 0.25, None)]


@pytest.mark.parametrize(("weights", "rows"), [((1, 1), (10, 10)), ((2, 1), (10, 5)), ((1, 4), (10, 40)), ((7, 3), (12, 5))])
def test_weights_are_shares_of_the_prompts_of_a_step(tmp_path, weights, rows):
    sets = [f"{write_set(tmp_path, f'{name}.jsonl', n)}={weight}" for name, n, weight in zip("ab", (10, 5), weights, strict=True)]
    loaded, facts = tasks.load_task_sets(sets, seed=3)
    counts = [sum(task["task_id"].startswith(name) for task in loaded) for name in "ab"]
    assert tuple(counts) == rows == tuple(one["rows"] for one in facts)
    assert {task["task_id"] for task in loaded} >= {f"a.jsonl/{i}" for i in range(10)} | {f"b.jsonl/{i}" for i in range(5)}
    repeats = [sum(task["task_id"] == f"b.jsonl/{i}" for task in loaded) for i in range(5)]
    assert max(repeats) - min(repeats) <= 1


def test_the_mix_is_the_seeds(tmp_path):
    sets = [f"{write_set(tmp_path, 'a.jsonl', 9)}=4", f"{write_set(tmp_path, 'b.jsonl', 8)}=5"]
    mixes = [tasks.tasks_hash(tasks.load_task_sets(sets, seed=seed)[0]) for seed in (0, 0, 1)]
    assert mixes[0] == mixes[1] != mixes[2]


def test_weights_that_repeat_a_few_tasks_endlessly_are_refused(tmp_path):
    sets = [f"{write_set(tmp_path, 'a.jsonl', 50)}=1", f"{write_set(tmp_path, 'b.jsonl', 1)}=1"]
    with pytest.raises(TaskError, match="the 1 tasks of set 2 repeat 50 times an epoch"):
        tasks.load_task_sets(sets)


@pytest.mark.parametrize(("size", "most"), [(20, None), (19.5, None), (20.5, 21), (21, 21)])
def test_a_task_may_repeat_as_often_as_the_message_says(size, most):
    small, large = as_tasks("One.", "Two."), as_tasks(*(f"Task {i}." for i in range(round(2 * size))))
    if most:
        with pytest.raises(TaskError, match=f"repeat {most} times an epoch \\(at most 20\\)"):
            tasks.mix([large, small], [1, 1], seed=0)
    else:
        _, repeated = tasks.mix([large, small], [1, 1], seed=0)
        assert len(repeated) == 2 * size and max(repeated.count(task) for task in small) == 20


def test_weights_for_some_sets_only_are_refused(tmp_path):
    sets = [f"{write_set(tmp_path, 'a.jsonl', 2)}=1", write_set(tmp_path, "b.jsonl", 2)]
    with pytest.raises(TaskError, match=r"b\.jsonl has no weight, others have"):
        tasks.load_task_sets(sets)


def test_a_column_behind_the_file_name_gives_the_prompts(tmp_path):
    rows = [{"task_id": "t0", "prompt": "Plain.", "signature_prompt": "Signed.", "tests": ["assert!(f());"]}]
    bank = str(write_jsonl(tmp_path / "bank.jsonl", rows))
    (loaded,) = tasks.load_tasks(f"{bank}:signature_prompt")
    assert (loaded["prompt"], loaded["tests"], loaded["source"]) == ("Signed.", ["assert!(f());"], bank)
    with pytest.raises(TaskError, match="no column instruction"):
        tasks.load_tasks(f"{bank}:instruction")


def test_both_prompts_of_one_file_can_be_trained_on_at_once(tmp_path):
    rows = [{"task_id": f"t{i}", "prompt": f"Plain {i}.", "signature_prompt": f"Signed {i}.", "tests": ["assert!(f());"]} for i in range(2)]
    bank = str(write_jsonl(tmp_path / "bank.jsonl", rows))
    loaded, _ = tasks.load_task_sets([f"{bank}:prompt=1", f"{bank}:signature_prompt=1"])
    assert [(task["task_id"], task["prompt"], task["tests"]) for task in loaded] == [
        ("t0", "Plain 0.", ["assert!(f());"]),
        ("t1", "Plain 1.", ["assert!(f());"]),
        ("t0#signature_prompt", "Signed 0.", ["assert!(f());"]),
        ("t1#signature_prompt", "Signed 1.", ["assert!(f());"]),
    ]
    with pytest.raises(TaskError, match="was a set given twice"):
        tasks.load_task_sets([bank, bank, bank])


def test_ids_may_be_spread_over_the_sets(tmp_path):
    sets = [write_set(tmp_path, "a.jsonl", 3), write_set(tmp_path, "b.jsonl", 3)]
    ids = tmp_path / "ids.txt"
    ids.write_text("a.jsonl/1\nb.jsonl/2\n")
    assert [task["task_id"] for task in tasks.load_task_sets(sets, task_ids=str(ids))[0]] == ["a.jsonl/1", "b.jsonl/2"]
    ids.write_text("a.jsonl/1\nb.jsonl/2\nc/1\n")
    with pytest.raises(TaskError, match="1 of the 3 ids .* for example 'c/1'"):
        tasks.load_task_sets(sets, task_ids=str(ids))


FILTER_ROWS = [
    {"task_id": "n", "prompt": "one two three", "category": "numbers", "difficulty": 1, "tags": ["a", "b"]},
    {"task_id": "b", "prompt": "one two three four five", "category": "bits", "difficulty": 2.5, "tags": ["b"]},
    {"task_id": "t", "prompt": "one", "category": "text", "difficulty": None, "tags": []},
]


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (["category=numbers,bits"], "nb"),
        (["category=text"], "t"),
        (["difficulty=1"], "n"),
        (["difficulty=..2"], "n"),
        (["difficulty=2..3"], "b"),
        (["difficulty=2.5.."], "b"),
        (["difficulty=1..1"], "n"),
        (["prompt_words=3..5"], "nb"),
        (["prompt_words=2.."], "nb"),
        (["prompt_chars=..5"], "t"),
        (["tags=a"], "n"),
        (["category=numbers,bits", "prompt_words=4.."], "b"),
        ([], "nbt"),
    ],
)
def test_filters_keep_values_and_ranges(filters, kept):
    assert "".join(task["task_id"] for task in tasks.filter_tasks(FILTER_ROWS, filters)) == kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("category", "expected COLUMN=VALUE"),
        ("level=3", "has no column level; found task_id, prompt, category"),
        ("category=maps", r"leaves nothing of bank\.jsonl; category is numbers \(1\), bits \(1\), text \(1\)"),
        ("prompt_words=a..b", "expected numbers around the two dots"),
    ],
)
def test_filters_that_do_not_fit_are_refused(text, message):
    with pytest.raises(TaskError, match=message):
        tasks.filter_tasks(FILTER_ROWS, [text], "bank.jsonl")


def test_the_limit_comes_after_the_filter(tmp_path):
    source = str(write_jsonl(tmp_path / "set.jsonl", FILTER_ROWS))
    assert [task["task_id"] for task in tasks.load_task_sets([source], filters=["category=bits,text"], limit=1)[0]] == ["b"]


# ---------------------------------------------------------------------------------------------------------------------
# Leakage
# ---------------------------------------------------------------------------------------------------------------------

WORDS = "Return the position of the first element of the slice that is greater than all elements before it"


def as_tasks(*prompts):
    return [{"task_id": f"t{i}", "prompt": prompt, "tests": None, "entry_point": None} for i, prompt in enumerate(prompts)]


@pytest.mark.parametrize(
    ("train", "heldout", "message"),
    [
        (["Add.", "Sort."], ["Add."], "task 't0' is in both"),
        (["Sort.", "Write a python function to add numbers."], ["Implement a function that ADDS", "Create a Rust function to add numbers"],
         "task 't1' asks the same as the held-out task 't1'"),
        ([WORDS + ", if there is one."], [tasks.signature_prompt(f"/// {WORDS}.\nfn first(values: &[i32]) -> usize")],
         r"task 't0' shares 100% of its 6-word runs with the held-out task 't0'"),
    ],
)  # fmt: skip
def test_a_task_in_training_and_evaluation_is_named(train, heldout, message):
    assert message in tasks.find_leak(as_tasks(*train), as_tasks(*heldout))


def test_different_tasks_under_one_id_are_no_leak():
    assert tasks.find_leak(as_tasks("Sort the names.", "Add."), as_tasks("Reverse the words.", "Multiply.")) is None


def test_a_held_out_set_may_be_part_of_the_same_file(tmp_path):
    rows = [{"task_id": f"t{i}", "prompt": f"{word} it."} for i, word in enumerate(("Add", "Sort", "Zip"))]
    source = str(write_jsonl(tmp_path / "set.jsonl", rows))
    (tmp_path / "splits.json").write_text('{"train": ["t0", "t1"], "eval": ["t2"], "both": ["t1", "t2"]}')
    train = load_tasks(source, task_ids=f"{tmp_path / 'splits.json'}:train")
    assert tasks.require_no_leak(train, [f"{source}@{tmp_path / 'splits.json'}:eval"]) == 1
    with pytest.raises(TaskError, match="task 't1' is in both; leave it out"):
        tasks.require_no_leak(train, [f"{source}@{tmp_path / 'splits.json'}:both"])


def test_a_held_out_path_may_have_an_at_sign(tmp_path):
    (tmp_path / "me@host").mkdir()
    rows = [{"task_id": f"t{i}", "prompt": f"{word} it."} for i, word in enumerate(("Add", "Sort"))]
    source = write_jsonl(tmp_path / "me@host" / "val.jsonl", rows)
    (tmp_path / "ids.json").write_text('{"eval": ["t1"]}')
    for spec, count in ((source, 2), (f"{source}:prompt", 2), (f"{source}@{tmp_path / 'ids.json'}:eval", 1)):
        assert tasks.require_no_leak(as_tasks("Zip it."), [str(spec)]) == count
    with pytest.raises(TaskError, match="task 't0' is in both"):
        tasks.require_no_leak(as_tasks("Add it."), [str(source)])


def test_a_held_out_signature_counts(tmp_path):
    row = {"prompt": "Something.", "signature_prompt": tasks.signature_prompt("/// Zip it up.\nfn zip()")}
    bank = write_jsonl(tmp_path / "bank.jsonl", [row])
    with pytest.raises(TaskError, match="asks the same"):
        tasks.require_no_leak(as_tasks("Zip it up!"), [str(bank)])


def test_a_model_remembers_what_it_was_trained_on(tmp_path):
    run = tmp_path / "run"
    (run / "adapter").mkdir(parents=True)
    tasks.write_trained_tasks(run, as_tasks("Write a python function to add.", "Sort."))
    asked = as_tasks("Reverse.", "Write a Rust function to add")
    assert tasks.trained_on(str(run / "adapter"), asked) == ["t1"]
    assert tasks.trained_on(str(run), asked) == ["t1"]
    assert tasks.trained_on(str(tmp_path), asked) == [] == tasks.trained_on("Qwen/some-hub-id", asked)


def test_a_packed_file_and_one_with_a_byte_order_mark_are_read(tmp_path):
    line = json.dumps({"prompt": "Add."}).encode() + b"\n"
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line * 2))
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf" + line)
    (tmp_path / "c.json").write_bytes(line * 2)
    (tmp_path / "d.json").write_bytes(b"\xef\xbb\xbf[" + line + b"]")
    assert [len(load_tasks(str(tmp_path / name))) for name in ("a.jsonl.gz", "b.jsonl", "c.json", "d.json")] == [2, 1, 2, 1]
    assert load_tasks(str(tmp_path / "a.jsonl.gz"))[0]["task_id"] == "a/0"


def test_a_packed_file_that_is_cut_off_is_refused(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "Add."}\n' * 500)[:-12])
    with pytest.raises(TaskError, match="not a gzip file that can be read"):
        load_tasks(str(tmp_path / "a.jsonl.gz"))


@pytest.mark.parametrize("column", ["test", "test_list", "full_test_func", "unit_tests"])
def test_rust_tests_are_found_in_columns_of_other_names(tmp_path, column):
    row = {"prompt": "Add.", column: "assert_eq!(add(1, 1), 2);", "test_setup": "", "python_test": "assert add(1, 1) == 2"}
    (task,) = load_tasks(str(write_jsonl(tmp_path / "t.jsonl", [row])))
    assert task["tests"] == [row[column]]


def test_two_columns_of_different_rust_tests_are_for_the_user_to_choose_from(tmp_path):
    file = str(tmp_path / "t.jsonl")
    write_jsonl(tmp_path / "t.jsonl", [{"prompt": "Add.", "test": "assert!(add(1, 1) == 2);", "base_tests": ["assert!(true);"]}])
    with pytest.raises(TaskError, match="test, base_tests hold Rust tests"):
        load_tasks(file)
    assert load_tasks(file, columns={"tests": "test"})[0]["tests"] == ["assert!(add(1, 1) == 2);"]


def test_what_the_user_asks_last_is_the_prompt(tmp_path):
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
             {"role": "user", "content": [{"type": "text", "text": "Add."}]}]  # fmt: skip
    assert load_tasks(str(write_jsonl(tmp_path / "t.jsonl", [{"prompt": turns}])))[0]["prompt"] == "Add."
    with pytest.raises(TaskError, match="none of them with the role user"):
        load_tasks(str(write_jsonl(tmp_path / "u.jsonl", [{"prompt": turns[:1]}])))


def test_leaks_can_be_left_out_instead_of_stopping(tmp_path):
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"task_id": "h", "prompt": "Sort the list.", "signature_prompt": "Sum the list."}) + "\n")
    train = [{"task_id": name, "prompt": prompt} for name, prompt in [
        ("a", "sort the list"), ("b", "Sum the list."), ("c", "Reverse the list."), ("a2", "Sort  the list."),
    ]]  # fmt: skip
    assert [task["task_id"] for task in tasks.without_leaks(train, [str(held)])] == ["c"]
    assert [task["task_id"] for task, _ in tasks.leaks(train, tasks.load_heldout(str(held)))] == ["a"], "a repeated prompt is named once"
    assert tasks.require_no_leak([train[2]], [str(held)]) == 2
