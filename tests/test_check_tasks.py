"""check_tasks.py: what is wrong with a task or with the bank is found; the bank itself holds (all of it behind `-m slow`)."""

import json
import shutil
from collections import Counter

import pytest
from conftest import write_jsonl

pytest.importorskip("tree_sitter_rust")
if shutil.which("cargo") is None:
    pytest.skip("no cargo on PATH", allow_module_level=True)

import check_tasks
from check_tasks import BANK, DATA, MIN_KILLED, RUN_TIMEOUT_S, load_bank, load_solutions, main, prove, row_problems, sample_of, shape_of
from judge.program import STUB
from judge.syntax import parse_any_length
from rust_tool import RustTool
from task_proof.likeness import duplicate_problems, overlap_with
from task_proof.mutants import KINDS, constant_answers, functions_named, mutants
from tasks import TaskError, load_tasks, signature_prompt

SOLUTION = """/// Stamps for a letter.
pub fn stamps_for(grams: u32, abroad: bool) -> u32 {
    let steps = if grams <= 20 { 1 } else { 1 + (grams - 20).div_ceil(10) };
    if abroad {
        steps * 2
    } else {
        steps
    }
}
"""
DOC = "/// One stamp up to 20 g, one more for every 10 g begun above; twice as many abroad."
SHORT, BASIC, EXAMPLE = ([DATA / f"{name}_tasks_{split}.jsonl" for split in ("train", "val")] for name in ("short", "basic", "example"))
SIGNATURE = f"{DOC}\npub fn stamps_for(grams: u32, abroad: bool) -> u32"
TASK = {
    "task_id": "planted/stamps_for",
    "prompt": "Write a Rust function `stamps_for(grams: u32, abroad: bool) -> u32` that counts the stamps a letter needs: one up to 20 g "
    "and one more for each further 10 g or part of it. Letters that go abroad need twice as many.",
    "signature_prompt": signature_prompt(SIGNATURE),
    "entry_point": "stamps_for",
    "tests": [
        "assert_eq!(stamps_for(0, false), 1);",
        "assert_eq!(stamps_for(20, false), 1);",
        "assert_eq!(stamps_for(21, false), 2);",
        "assert_eq!(stamps_for(30, false), 2);",
        "assert_eq!(stamps_for(31, true), 6);",
        "assert_eq!(stamps_for(5, true), 2);",
    ],
    "category": "numbers",
    "difficulty": "easy",
    "source": "planted",
    "file": "planted.jsonl",
}


@pytest.fixture(scope="module")
def judge():
    with RustTool(workers=2, run_timeout_s=RUN_TIMEOUT_S) as judge:
        yield judge


# -- one task ---------------------------------------------------------------------------------------------------------


ZEROS = [f"assert_eq!(stamps_for({grams}, {abroad}), 0);" for grams in (0, 7, 19) for abroad in ("true", "false")]
# What makes the task bad -> (reference, hidden tests, what is said about it)
BAD = {
    "wrong reference": (SOLUTION.replace("<= 20", "<= 21"), TASK["tests"], "the reference passes 5 of 6 hidden tests (test_failed)"),
    "broken reference": (SOLUTION.replace("steps * 2", "step * 2"), TASK["tests"], "the reference does not compile (E0425"),
    "clippy objects": (SOLUTION.replace("        steps\n", "        return steps;\n"), TASK["tests"], "clippy::needless_return"),
    "a test that does not compile": (SOLUTION, [*TASK["tests"], "assert_eq!(stamp(1), 1);"], "the tests do not compile with it"),
    "any answer passes": (SOLUTION, [f"assert!(stamps_for({g}, true) < 100);" for g in range(21, 27)], "mutants that compile are noticed"),
    "a test of nothing": (SOLUTION, [*TASK["tests"], "assert_eq!(2 + 2, 4);"], "1 of 7 hidden tests pass when every function"),
    "one answer is nearly enough": (
        "pub fn stamps_for(grams: u32, abroad: bool) -> u32 {\n    if grams > 20 && abroad { grams - 20 } else { 0 }\n}\n",
        [*ZEROS, "assert_eq!(stamps_for(21, true), 1);", "assert_eq!(stamps_for(25, true), 5);"],
        "a constant answer passes 6 of 8 hidden tests",
    ),
}


@pytest.fixture(scope="module")
def proofs(judge):
    """Proofs of the planted task (under "sound") and of each of BAD, all graded together."""
    cases = {"sound": (SOLUTION, TASK["tests"], "")} | BAD
    tasks = [TASK | {"task_id": name, "tests": tests} for name, (_, tests, _) in cases.items()]
    made = prove(tasks, {name: solution for name, (solution, _, _) in cases.items()}, judge, max_mutants=3)
    return {proof.task_id: proof for proof in made}


def test_a_sound_task_has_no_problems_and_its_mutants_are_noticed(proofs):
    assert proofs["sound"].problems == [] and row_problems(TASK, SOLUTION) == []
    assert MIN_KILLED <= proofs["sound"].killed.total() <= proofs["sound"].compiled.total()


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_reference_or_a_weak_test_list_is_caught(proofs, name):
    assert BAD[name][2] in "; ".join(proofs[name].problems)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        pytest.param({"category": "poems"}, "unknown category 'poems'", id="category"),
        pytest.param({"difficulty": "absurd"}, "unknown difficulty 'absurd'", id="difficulty"),
        pytest.param({"tests": TASK["tests"][:5]}, "5 hidden tests, expected at least 6", id="few tests"),
        pytest.param({"tests": [*TASK["tests"], "stamps_for(1, true);"]}, "no assert", id="a test without an assert"),
        pytest.param(
            {"prompt": f"{TASK['prompt']} For example, `assert_eq!( stamps_for(5, true), 2 )` holds."}, "word for word", id="test shown"
        ),
        pytest.param({"prompt": TASK["prompt"].replace("stamps_for", "stamps")}, "does not name the entry point", id="name not in prompt"),
        pytest.param({"prompt": TASK["prompt"].replace("grams: u32", "grams: u64")}, "does not show the signature", id="another type"),
        pytest.param({"signature_prompt": signature_prompt(SIGNATURE.replace("bool", "u8"))}, "the reference has", id="another signature"),
        pytest.param({"signature_prompt": signature_prompt("fn stamps()")}, "shows no `fn stamps_for`", id="another function"),
        pytest.param(
            {"signature_prompt": signature_prompt("pub struct Letter;\n\n" + SIGNATURE)},
            "does not name the type Letter",
            id="type not named",
        ),
    ],
)
def test_a_bad_row_is_caught(changed, problem):
    assert problem in "; ".join(row_problems(TASK | changed, SOLUTION))


def test_a_task_without_a_reference_is_caught():
    assert "no reference solution" in "; ".join(row_problems(TASK, None))


# -- mutants and stubs ------------------------------------------------------------------------------------------------

EVERY_KIND = """pub enum Side { Left, Right }
pub fn f(xs: &[i32], name: &str) -> Option<String> {
    let mut total = 0;
    let mut seen = Vec::new();
    for &x in xs.iter().rev() {
        if x < 3 && !seen.contains(&x) { total += x * 2; } else { total -= 1; }
        seen.push(x);
    }
    let side = match name { "left" => Side::Left, "l" => Side::Left, _ => Side::Right };
    let best = xs.iter().copied().max().unwrap_or(7);
    seen.sort_by(|a, b| a.cmp(b));
    let open = true;
    for _ in 0..=best { if open { break; } }
    let half = 1.5;
    seen.truncate(total);
    seen.retain(|x| x % 2 == 0);
    match side { Side::Left => Some(format!("{total:>3}{half}")), Side::Right => Some(name.replace('a', "b")) }
}
"""


def test_mutants_differ_in_one_place_are_still_rust_and_always_the_same():
    made = mutants(EVERY_KIND, limit=200)
    assert {mutant.kind for mutant in made} == set(KINDS)
    assert len({mutant.source for mutant in made} | {EVERY_KIND}) == len(made) + 1
    assert not any(parse_any_length(mutant.source).has_error for mutant in made)
    assert mutants(EVERY_KIND, limit=200) == made
    assert mutants(EVERY_KIND, limit=5) == made[:5]
    assert len({mutant.kind for mutant in made[:10]}) == 10  # kinds take turns


def test_what_callers_and_messages_see_is_not_mutated():
    source = '#[derive(Debug)]\npub struct P { pub x: [u8; 4] }\npub fn f(p: &[u8; 4]) -> u8 {\n    *p.first().expect("four bytes")\n}\n'
    assert [mutant.kind for mutant in mutants(source)] == ["method", "body"]


@pytest.mark.parametrize(
    ("returns", "bodies"),
    [
        ("", ["{}"]),
        (" -> bool", ["{ false }", "{ true }"]),
        (" -> Result<u8, String>", ["{ Ok(Default::default()) }"]),
        (" -> Vec<u8>", ["{ Default::default() }"]),
        (" -> impl Iterator<Item = u8>", ["{ std::iter::empty() }"]),
    ],
)
def test_constant_answers_follow_the_return_type(returns, bodies):
    source = f"fn g() -> u8 {{ 1 }}\npub fn f(){returns} {{ let x = g(); todo!() }}\n"
    panics = f"fn g() -> u8 {{{STUB} 1 }}"
    assert constant_answers(source, "f") == [f"{panics}\npub fn f(){returns} {body}\n" for body in bodies]


def test_signatures_are_compared_without_what_no_caller_sees():
    one, other = "pub fn f(mut a: std::fmt::Error, b: &mut Vec<u8>,) -> (u8, u8)", "fn f( a : Error, b: &mut Vec< u8 > ) -> (u8, u8,)"
    shapes = {shape_of(functions_named(parse_any_length(text + " {}"), "f")[0]) for text in (one, other)}
    assert shapes == {"(a:Error,b:&mutVec<u8>)->(u8,u8)"}


# -- the whole --------------------------------------------------------------------------------------------------------

OTHER = TASK | {
    "task_id": "planted/queue_gap",
    "prompt": "Given the arrival minutes of buses in ascending order, `queue_gap(arrivals: &[u32]) -> u32` tells how long "
    "the longest wait is.",
    "entry_point": "queue_gap",
}
OTHER_SOLUTION = "pub fn queue_gap(arrivals: &[u32]) -> u32 {\n    arrivals.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0)\n}\n"


def duplicates(*changed, solution=OTHER_SOLUTION):
    """Problems of a bank of the planted task and another one with fields changed."""
    rows = [TASK, *(OTHER | fields for fields in changed)]
    return duplicate_problems(rows, {TASK["task_id"]: SOLUTION, OTHER["task_id"]: solution})


def test_different_tasks_are_no_duplicates():
    assert duplicates({}) == []


def test_a_planted_duplicate_is_caught():
    reworded = TASK["prompt"].replace("stamps_for", "postage_of").replace("counts the stamps a letter needs", "tells a letter's stamps")
    renamed = SOLUTION.replace("stamps_for", "postage_of").replace("steps", "units").replace("grams", "weight")
    assert "prompts" in duplicates({"prompt": reworded})[0]
    assert "solutions" in duplicates({}, solution=renamed)[0]
    assert "all ask for a function named stamps_for" in duplicates({"entry_point": "stamps_for"})[0]


def test_an_id_in_two_splits_is_caught():
    problems = duplicate_problems([TASK | {"file": "train.jsonl"}, TASK | {"file": "test.jsonl"}], {TASK["task_id"]: SOLUTION})
    assert problems == ["planted/stamps_for: in train.jsonl and in test.jsonl: an id belongs to one split"]


def test_wording_taken_from_another_prompt_set_is_caught(tmp_path):
    copied = "Count the stamps. " + TASK["prompt"].split("that ")[1]
    texts = ("Say hello to the whole wide world, once and never again.", copied)
    path = write_jsonl(tmp_path / "theirs.jsonl", [{"prompt": text} for text in texts])
    overlap, (problem,) = overlap_with([TASK, OTHER], load_tasks(str(path)), path.name)
    assert problem.startswith("planted/stamps_for: shares ") and "theirs/1 of theirs.jsonl" in problem
    assert overlap["tasks_sharing_a_run"] == 1 and overlap["nearest"][0]["other"] == "theirs/1"


def test_docstrings_of_other_layouts_are_compared_but_not_our_own_frame(tmp_path):
    declaration = f"{DOC}\nfn Stamps_For(grams: u32) -> u32 {{\n"
    unlike = "/// Hello.\nfn hello() {\n"
    row = {"language": "rs", "tests": "}\nfn main() { assert_eq!(1, 1); }"}
    rows = [row | {"name": f"other_{i}", "prompt": prompt} for i, prompt in enumerate((unlike, declaration))]
    path = write_jsonl(tmp_path / "multipl-e.jsonl", rows)
    overlap, _ = overlap_with([TASK, OTHER], load_tasks(str(path)), path.name)
    assert {(pair["one"], pair["other"]) for pair in overlap["shares"]} >= {("planted/stamps_for", "other_1")}
    assert not any(pair["other"] == "other_0" for pair in overlap["shares"])
    assert overlap["equal_names"] == [["planted/stamps_for", "other_1"]]


@pytest.fixture
def bank_of(tmp_path, judge, monkeypatch):
    """Call it with tasks to write them as two files with solutions; returns the arguments of `main` for them."""

    class Borrowed:
        def __init__(self, **options):
            pass

        def __enter__(self):
            return judge

        def __exit__(self, *exc_info):
            pass

    monkeypatch.setattr(check_tasks, "RustTool", Borrowed)

    def write(train, test):
        files = [write_jsonl(tmp_path / f"{name}.jsonl", rows) for name, rows in (("train", train), ("test", test))]
        pairs = {task["task_id"]: OTHER_SOLUTION if task["entry_point"] == "queue_gap" else SOLUTION for task in [*train, *test]}
        solutions = write_jsonl(tmp_path / "solutions.jsonl", [{"task_id": key, "solution": text} for key, text in pairs.items()])
        return [*map(str, files), "--solutions", str(solutions), "--report", str(tmp_path / "report.json"), "--mutants", "3"]

    return write


GAPS = (("[]", 0), ("[3]", 0), ("[1, 4]", 3), ("[1, 2, 9]", 7), ("[5, 9, 9]", 4), ("[0, 8, 9]", 8))
SOUND_OTHER = OTHER | {
    "signature_prompt": signature_prompt("/// Longest wait between two of `arrivals`.\npub fn queue_gap(arrivals: &[u32]) -> u32"),
    "tests": [f"assert_eq!(queue_gap(&{arrivals}), {gap});" for arrivals, gap in GAPS],
}


def test_the_command_says_0_for_a_sound_bank_and_writes_the_report(bank_of, capsys, tmp_path):
    asks = "/// Postage.\nfn {}(weight: u32, far: bool) -> u32 {{\n"
    tests = "}\nfn main() {\n    let candidate = postage;\n    assert_eq!(candidate(20, %s), 1);\n    assert_eq!(candidate(21, true), 4);\n}"
    rows = [
        {"name": "same", "language": "rs", "prompt": asks.format("postage"), "tests": tests % "false"},
        {"name": "like", "language": "rs", "prompt": asks.format("postage"), "tests": tests % "true"},
        {"name": "listed", "prompt": signature_prompt(asks.format("stamps").strip(" {\n")), "tests": ["assert_eq!(stamps(31, true), 6);"], "entry_point": "stamps"},
        {"name": "types", "language": "rs", "prompt": asks.format("postage").replace("weight: u32", "weight: u64"), "tests": tests % "false"},
        {"name": "python", "prompt": "Count the stamps of a letter.", "tests": ["assert stamps(31, True) == 6"]},
    ]  # fmt: skip
    theirs = [str(write_jsonl(tmp_path / name, some)) for name, some in (("rust.jsonl", [rows[0], rows[1], rows[3]]), ("any.jsonl", [rows[2], rows[4]]))]
    assert main([*bank_of([TASK], [SOUND_OTHER]), "--against", *theirs]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert [overlap["answered"] for overlap in report["overlap"]] == [[["planted/stamps_for", "same"]], [["planted/stamps_for", "any/0"]]]
    assert report["problems"] == [] and report["proved"] == 2
    assert report["counts"]["category"] == {"numbers": 2} and report["counts"]["file"] == {"train.jsonl": 1, "test.jsonl": 1}
    assert report["mutants"]["killed"] == sum(task["killed"] for task in report["tasks"]) >= 2 * MIN_KILLED
    assert "2 tasks, 2 proved" in capsys.readouterr().out


def test_the_command_says_1_and_names_every_problem(bank_of, capsys):
    assert main([*bank_of([TASK], [TASK, SOUND_OTHER | {"difficulty": "?"}]), "--sample", "1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "planted/stamps_for: in train.jsonl and in test.jsonl: an id belongs to one split" in lines
    assert "planted/queue_gap: unknown difficulty '?': expected one of easy, medium, hard" in lines
    assert lines[-1].startswith("3 tasks, 1 proved") and lines[-1].endswith("2 problems")


def test_a_missing_file_is_one_sentence(capsys, tmp_path):
    assert main([str(tmp_path / "none.jsonl")]) == 1
    assert "no such file" in capsys.readouterr().err
    with pytest.raises(TaskError, match="expected task_id and solution"):
        load_solutions(write_jsonl(tmp_path / "solutions.jsonl", [{"task_id": "a"}]))


# -- the bank ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bank():
    return load_bank(), load_solutions()


def test_every_row_of_the_bank_is_well_formed(bank):
    tasks, solutions = bank
    assert [f"{t['task_id']}: {p}" for t in tasks for p in row_problems(t, solutions.get(t["task_id"]))] == []
    assert {task["task_id"] for task in tasks} == set(solutions)
    assert all(task["task_id"].startswith("rust-tasks/") and task["source"] == "rust-tasks" for task in tasks)


def test_the_bank_holds_nothing_twice_and_its_splits_are_disjoint(bank):
    assert duplicate_problems(*bank) == []


def test_every_split_has_every_category_and_difficulty(bank):
    for column in ("category", "difficulty"):
        counts = Counter((task["file"], task[column]) for task in bank[0])
        assert len(counts) == len(BANK) * len({task[column] for task in bank[0]}), counts


def test_the_bank_loads_in_both_wordings():
    for path in (*BANK, *SHORT, *BASIC, *EXAMPLE):
        words, signatures = load_tasks(str(path)), load_tasks(str(path), columns={"prompt": "signature_prompt"})
        assert [task["tests"] for task in words] == [task["tests"] for task in signatures]
        for task in signatures:  # as the prompt builder would put it
            declaration = task["prompt"].split("```rust\n")[1].removesuffix(" {\n    // your code\n}\n```")
            assert task["prompt"] == signature_prompt(declaration), task["task_id"]


@pytest.mark.parametrize(("files", "others"), [(SHORT, []), (BASIC, SHORT), (EXAMPLE, SHORT + BASIC)], ids=["short", "basic", "example"])
def test_a_sample_of_the_tasks_beside_the_bank_is_proved(judge, files, others):
    tasks, solutions = load_bank(files), load_solutions(DATA / files[0].name.replace("train", "solutions"))
    assert {task["task_id"] for task in tasks} == solutions.keys()
    assert not {task["entry_point"] for task in tasks} & {task["entry_point"] for task in load_bank([*BANK, *others])}
    assert [problem for task in tasks for problem in row_problems(task, solutions[task["task_id"]])] == []
    proofs = prove(sample_of(tasks, 8, seed=0), solutions, judge, max_mutants=2)
    assert [f"{proof.task_id}: {problem}" for proof in proofs for problem in proof.problems] == []


def test_a_sample_of_the_bank_is_proved(bank, judge):
    tasks, solutions = bank
    proofs = prove(sample_of(tasks, 12, seed=0), solutions, judge, max_mutants=2)
    assert [f"{proof.task_id}: {problem}" for proof in proofs for problem in proof.problems] == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_whole_bank_is_proved():
    assert main([]) == 0
