"""Broken tasks are told from sound ones by their own reference solutions, in whatever column and form those stand."""

import json

import pytest
from conftest import write_jsonl

import check_tasks
from rust_tool import RustTool
from task_proof.faults import readable_fault, references, references_line, try_parsing, try_references, uncompiled_line, unnamed
from tasks import load_tasks

CLAMP = "pub fn clamp(x: i32) -> i32 {\n    x.max(0).min(9)\n}"
ASSERTS = ["assert_eq!(clamp(-4), 0);", "assert_eq!(clamp(4), 4);", "assert_eq!(clamp(40), 9);"]


def task(name="t", prompt="Write clamp.", tests=ASSERTS, **columns):
    return {"task_id": name, "prompt": prompt, "tests": tests, "entry_point": None, "source": "here", **columns}


@pytest.fixture(scope="module")
def judge():
    with RustTool(workers=2) as judge:
        yield judge


@pytest.mark.parametrize(("flags", "message"), [
    (["--report", "."], "--report .: a folder"),
    (["--record", "."], "--record .: a folder"),
    (["--sandbox", "plin"], "argument --sandbox: invalid choice: 'plin'"),
    (["--against", "nowhere.jsonl"], "--against compares tasks with category and difficulty"),
])  # fmt: skip
def test_what_would_be_lost_or_left_out_is_refused_at_once(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check_tasks, "open_judge", lambda *given: pytest.fail("work was begun"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").write_text(json.dumps({"prompt": "Write clamp."}) + "\n")
    try:
        assert check_tasks.main(["mine.jsonl", *flags]) == 1
    except SystemExit as end:
        assert end.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("prompt", "columns", "found"), [
    ("Write clamp.", {"gold": CLAMP, "note": "See fn clamp(x); {this} is prose."}, ["gold"]),
    ("Write clamp.", {"answer": f"Here it is:\n```rust\n{CLAMP}\n```\n"}, ["answer"]),
    ("pub fn clamp(x: i32) -> i32 {\n", {"rest": "    x.max(0).min(9)\n}"}, ["rest"]),
    ("```rust\npub fn clamp(x: i32) -> i32 {\n    // your code\n}\n```", {"rest": "    x.max(0).min(9)\n}"}, ["rest"]),
    ("Write clamp.", {"other": "pub fn wrap(x: i32) -> i32 {\n    x\n}"}, []),
    ("Write clamp.", {"signature_prompt": "Complete it.\n```rust\npub fn clamp(x: i32) -> i32 {\n    // your code\n}\n```"}, []),
    ("Write clamp.", {"python": "def clamp(x): return min(max(x, 0), 9)"}, []),
])  # fmt: skip
def test_references_are_found_by_what_they_define(prompt, columns, found):
    assert [*references(task(prompt=prompt, **columns))] == found


FAULTS = {
    "sound": (CLAMP, ASSERTS, None),
    "wrong": (CLAMP.replace("9", "8"), ASSERTS, "its reference passes 2 of 3 tests (text2:1:1: assertion `left == right` failed"),
    "does not compile": (CLAMP.replace("i32 {", "i64 {"), ASSERTS, "its reference does not compile: E0308"),
    "tests do not compile": (CLAMP, ["assert_eq!(clamp(1, 2), 1);"], "its tests do not compile with the reference: E0061"),
    "a crate of the reference": (f"use rand::Rng;\n{CLAMP}", ASSERTS, "needs crates that are not there (rand): its reference does not compile"),
    "a crate of the tests": (CLAMP, ["fn main() { assert_eq!(clamp(regex::escape(\"a\").len() as i32), 1); }"], "needs crates that are not there (regex): its tests do not"),
}  # fmt: skip


def test_a_broken_task_says_what_is_broken(judge):
    tasks = [task(name, tests=tests, solution=source) for name, (source, tests, _) in FAULTS.items()]
    n_tried, faults = try_references(tasks, judge)
    assert n_tried == len(FAULTS) and "sound" not in faults
    for name, (_, _, says) in FAULTS.items():
        assert says is None or faults[name].startswith(says), faults[name]


def test_one_reference_that_passes_is_enough(judge):
    assert try_references([task(first=CLAMP.replace("9", "8"), second=CLAMP)], judge) == (1, {})


@pytest.mark.parametrize(("tests", "says"), [
    (["assert_eq!(clamp(1), 1);", "assert_eq!(clamp( 1 ), 2);"], "contradict each other: clamp(1) is to be 1 and 2"),
    (["fn main() { assert_eq!(clamp(1), 1); assert_eq!(-1, clamp(1)); }"], "contradict each other"),
    (["assert_eq!(clamp(1), 1);", "assert_eq!(clamp(1), 1);", "assert_eq!(clamp(-1), 0);"], None),
    (["let mut v = vec![1, 2]; assert_eq!(v.pop(), Some(2)); assert_eq!(v.pop(), Some(1));"], None),
    (["assert_eq!(next(), 1); assert_eq!(next(), 2);"], None),
    (["this is no test"], "not Rust statements"),
    (None, None),
])  # fmt: skip
def test_what_can_be_read_without_running(tests, says):
    fault = readable_fault(task(tests=tests))
    assert fault is None if says is None else says in fault


@pytest.mark.parametrize(("tests", "says"), [
    (["assert_eq!(clump(1), 1);", "assert!(!limit(2, 3));"], "call clump, which its prompt does not name"),
    (["fn main() { let held = clump(1); }\n#[test]\nfn holds() { assert!(true) }"], "call clump"),
    (["assert_eq!(clamp(1), clump(1));"], None),
    (["let candidate = clamp;\nassert_eq!(candidate(1), 1);"], None),
    (["fn twice(x: i32) -> i32 { clamp(clamp(x)) }\n#[test]\nfn holds() { assert_eq!(twice(1), 1) }"], None),
    (["assert_eq!(Clamp::new(9).of(1), 1);", "assert_eq!(vec![1].iter().map(|x| x + 1).sum::<i32>(), 2);"], None),
    (None, None),
])  # fmt: skip
def test_tests_of_what_the_prompt_does_not_name(tests, says):
    fault = unnamed(task(tests=tests))
    assert fault is None if says is None else says in fault


@pytest.mark.parametrize(("tests", "says"), [
    (["assert_eq!(clamp(1), 1);", "assert_eq!(clamp(-1), 0)));"], "hidden test 1: rustc cannot read it, nor with it the task's others: unexpected closing"),
    (["let 3x = 1;\nassert_eq!(clamp(1), 1);", "assert_eq!(clamp(1), 1);"], "hidden test 0: rustc cannot read it"),
    (["assert_eq!(clamp(1), 1);", "#[test]\nfn holds() { let x = clamp(1) assert_eq!(x, 1); }"], "hidden test 1: rustc cannot read it"),
    (["assert_eq!(unknown(1), nowhere::Found);", "}\n\nfn main() {\n    assert_eq!(clamp(1), \"1\");\n}", "use super::*;\n#[test]\nfn holds() { assert!(true) }"], None),
    (["mod tests { use super::*; #[test] fn holds() { assert_eq!(clamp(1), 1) } }\n/// Nothing comes behind it."], None),
    (["#![allow(unused)]\nmacro_rules! same { ($a:expr, $b:expr) => { assert_eq!($a, $b) } }\n#[test]\nfn holds() { same!(clamp(1), 1) }"], None),
])  # fmt: skip
def test_rustc_reads_the_tests_of_a_task_without_a_reference(judge, tests, says):
    assert readable_fault(task(tests=tests)) is None
    found = try_parsing([task("a"), task("b", tests=tests), task("c", tests=None)], judge)
    assert [*found] == ["b"] * bool(says) and str(says or "") in found.get("b", "")


def graded(task_id, *kinds, **changes):
    """A completion a kind: what became of it with the hidden tests."""
    failures = {"compile": {"do not compile": "E0308: mismatched types"}}
    return [{"task_id": task_id, "build_passed": True, "hidden_total": 2, "hidden_error_kind": kind, "hidden_failures": failures.get(kind)} | changes
            for kind in kinds]  # fmt: skip


def test_tasks_whose_tests_compile_with_no_program_are_told_where_many_were_tried():
    never, once, few = graded("never", *["compile"] * 10), graded("once", *["compile"] * 20, "test_failed"), graded("few", *["compile"] * 9)
    others = [*graded("none", *["compile"] * 10, hidden_total=0), *graded("broken", *["compile"] * 10, build_passed=False)]
    assert uncompiled_line([*once, *few, *others]) is None
    line = uncompiled_line([*once, *never, *few, *others])
    assert line.startswith("the hidden tests of 1 of 2 tasks compile with none of 10 or more programs that do by themselves")
    assert line.endswith("; never: E0308: mismatched types")


def test_one_line_tells_the_share(judge):
    tasks = [task(str(n), solution=CLAMP if n else CLAMP.replace("9", "8")) for n in range(4)]
    line = references_line(tasks, judge)
    assert line.startswith("1 of the 4 tasks with a reference solution (25.0%) are not passed by it") and "; 0: its reference" in line
    assert references_line(tasks[1:], judge) == "all the 3 tasks with a reference solution can be passed"
    assert references_line([task()], judge) is None


def test_the_command_takes_any_layout(tmp_path, capsys):
    rows = [{"name": name, "language": "rs", "prompt": "fn clamp(x: i32) -> i32 {\n", "gold": body, "tests": f"}}\n\nfn main() {{\n{' '.join(ASSERTS)}\n}}\n"}
            for name, body in (("good", "    x.max(0).min(9)\n}"), ("bad", "    x\n}"))]  # fmt: skip
    file = tmp_path / "theirs.jsonl"
    write_jsonl(file, rows)
    assert len(load_tasks(str(file))) == 2
    assert check_tasks.main([str(file), "--workers", "2"]) == 1
    first, last, again = capsys.readouterr().out.strip().splitlines()
    assert again == "1 ask what another one asks"
    assert first.startswith("bad: its reference passes 1 of 3 tests (text0:2:1: ")
    assert last == "2 of 2 tasks, 2 with tests, 2 with a reference solution: 1 broken"
    file.write_text(json.dumps(rows[0]) + "\n")
    assert check_tasks.main([str(file), "--workers", "2"]) == 0


def test_tasks_that_ask_the_same_are_told_and_may_not_contradict_each_other(tmp_path, capsys):
    rows = [{"prompt": "Write `clamp(x: i32)`.", "tests": f"assert_eq!(clamp(1), {value});"} for value in (1, 1, 2)]
    file = tmp_path / "mine.jsonl"
    write_jsonl(file, rows)
    assert check_tasks.main([str(file), "--workers", "2"]) == 1
    first, *rest = capsys.readouterr().out.strip().splitlines()
    assert first == "mine/2: asks what mine/0 asks, and its tests contradict each other: clamp(1) is to be 1 and 2"
    assert rest[1:] == ["2 ask what another one asks", "the tests of 3 were read, not run: there is no reference solution"]


@pytest.mark.parametrize(("edition", "status"), [("2021", 1), ("2024", 0)])
def test_the_command_takes_an_edition_and_solutions_beside_the_file(tmp_path, edition, status):
    chained = "fn even(t: Option<i32>) -> bool {\n    if let Some(n) = t && n % 2 == 0 { true } else { false }\n}"
    (tmp_path / "tasks.jsonl").write_text(json.dumps(task(prompt="Write even.", tests=["assert!(even(Some(2)));"])) + "\n")
    (tmp_path / "solutions.jsonl").write_text(json.dumps({"task_id": "t", "solution": chained}) + "\n")
    call = [str(tmp_path / "tasks.jsonl"), "--solutions", str(tmp_path / "solutions.jsonl"), "--edition", edition, "--workers", "1"]
    assert check_tasks.main(call) == status
