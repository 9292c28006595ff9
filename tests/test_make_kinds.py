"""make_kinds.py and the proof: rows of every kind from one reference hold, a wrong row is found, a trace gives fix tasks, the files agree."""

import gzip
import json
import shutil
from collections import Counter
from types import SimpleNamespace

import pytest
from conftest import ROOT, write_jsonl

pytest.importorskip("tree_sitter_rust")
if shutil.which("cargo") is None:
    pytest.skip("no cargo on PATH", allow_module_level=True)

import check_tasks
import kinds
import make_kinds
import task_proof.kinds
import traces
from rust_tool import RustTool
from task_proof.kinds import prove_kinds
from tasks import find_leak, load_tasks

SOURCE = """use std::collections::BTreeMap;

struct Shelf {
    weights: BTreeMap<u8, u32>,
}

fn heavier(limit: u32, weight: u32) -> bool {
    weight > limit
}

pub fn heavy_places(jars: &[(u8, u32)], most: u32) -> Vec<u8> {
    let mut shelf = Shelf { weights: BTreeMap::new() };
    for &(place, weight) in jars {
        *shelf.weights.entry(place).or_insert(0) += weight;
    }
    let found = shelf.weights.iter().filter(|(_, &weight)| heavier(most, weight));
    found.map(|(&place, _)| place).collect()
}
"""
TASK = {
    "task_id": "jars/heavy_places",
    "prompt": "Jars stand at places of a shelf, several at one. Write `heavy_places(jars: &[(u8, u32)], most: u32) -> Vec<u8>`: the places, "
    "in order, whose jars weigh more than `most` together.",
    "signature_prompt": "```rust\n/// Places in order whose jars weigh more than `most` together.\npub fn heavy_places(jars: &[(u8, u32)], most: u32)\n```",
    "tests": [
        "assert_eq!(heavy_places(&[], 3), Vec::<u8>::new());",
        "assert_eq!(heavy_places(&[(1, 2), (1, 2)], 3), vec![1]);",
        "assert_eq!(heavy_places(&[(2, 4), (1, 9)], 3), vec![1, 2]);",
        "assert_eq!(heavy_places(&[(2, 3), (1, 9)], 3), vec![1]);",
        "assert_eq!(heavy_places(&[(7, 8), (9, 1)], 3), vec![7]);",
    ],
    "entry_point": "heavy_places",
    "source": "own",
}


@pytest.fixture(scope="module")
def judge():
    with RustTool(workers=2, run_timeout_s=1.0) as judge:
        yield judge


@pytest.fixture(scope="module")
def made(judge):
    """(row, answer) of every kind for TASK, as load_tasks gives them."""
    return [(kinds.with_prompt(row), answer) for row, answer in make_kinds.make([TASK], {TASK["task_id"]: SOURCE}, judge, list(kinds.KINDS))]


@pytest.fixture(scope="module")
def problems(made, judge):
    """Of the rows as they are, and of rows with a planted fault each, by task id."""
    wrong = {row["kind"]: (dict(row), answer) for row, answer in made if not row.get("mistake")}
    planted, faults = [], {
        "fix": {"passed_before": []}, "fim": {"prefix": SOURCE, "suffix": ""}, "patch": {"code": SOURCE + "\n// as it should be\n"},
        "next_edit": {"places": [1]},
    }  # fmt: skip
    for kind, (row, answer) in wrong.items():
        planted.append((row | faults[kind] | {"task_id": f"planted/{kind}"}, answer))
    rows = [*made, *planted]
    found = list(prove_kinds([row for row, _ in rows], {row["task_id"]: answer for row, answer in rows}, judge))
    return {line.split(": ")[0]: line for line in found}


def test_one_reference_gives_rows_of_every_kind(made):
    count = Counter(row["kind"] for row, _ in made)
    assert count == {"fix": 2, "fim": 1, "patch": 1, "next_edit": 1}
    assert len({row["task_id"] for row, _ in made}) == 5 and {row["of"] for row, _ in made} == {TASK["task_id"]}


def test_reference_answers_earn_everything_and_the_start_nothing(problems):
    assert {task_id for task_id in problems if not task_id.startswith("planted")} == set()


@pytest.mark.parametrize("kind", list(kinds.KINDS))
def test_a_planted_fault_is_found(problems, kind):
    expected = {"fix": "the row says []", "fim": "the start passes the tests [0, 1, 2, 3, 4]", "patch": "the start passes the tests",
                "next_edit": "of the edit"}[kind]  # fmt: skip
    assert expected in problems[f"planted/{kind}"]


def test_the_shown_test_is_no_hidden_test(made):
    (row,) = [row for row, _ in made if row.get("rustc") == "test"]
    shown = row["message"].splitlines()[0].removeprefix("test failed: ")
    assert shown in TASK["tests"] and shown not in row["tests"] and len(row["tests"]) == len(TASK["tests"]) - 1


def test_rows_leak_as_their_task_does(made):
    for row, _ in made:
        if row["kind"] in ("fix", "fim"):  # others do not hold the task's wording
            assert find_leak([row], [TASK]) is not None, row["kind"]


def test_gaps_leave_nothing_out_and_come_in_several_kinds():
    source = make_kinds.documented(TASK, SOURCE)
    assert "/// Places in order whose jars weigh more than `most` together.\npub fn heavy_places" in source
    found = make_kinds.gaps(source, 9)
    assert all(prefix + middle + suffix == source and middle.strip() for _, prefix, middle, suffix in found)
    assert {kind for kind, *_ in found} >= {"expression", "statement", "lines", "body"}


def test_mistakes_differ_in_sort_and_are_the_same_every_time():
    found = make_kinds.mistakes(SOURCE, 50)
    assert len(found) == len({what for what, _ in found}) > 10
    assert all(code != SOURCE for _, code in found) and found == make_kinds.mistakes(SOURCE, 50)


@pytest.mark.parametrize("before, after", [("a\nb\na\nc", "a\nb\na\nd"), ("a\nb\na\nb", "a\nb\nx\na\nb"), ("a\n\na\nb", "a\nc\na\nb"), ("a\nb", "b")])
def test_blocks_are_made_unique_and_apply(before, after):
    blocks = kinds.read_blocks(make_kinds.blocks_between(before, after))
    assert kinds.apply_blocks(before, blocks) == after + "\n"


# ---------------------------------------------------------------------------------------------------------------------
# A trace
# ---------------------------------------------------------------------------------------------------------------------


def traced(task_id, program, kind="compile"):
    said = [{"code": "E0384", "level": "error", "message": "cannot assign twice to immutable variable", "line": 12}] if kind == "compile" else []
    return {"schema_version": 1, "task_id": task_id, "program": program, "error_kind": kind, "diagnostics": said, "build_passed": kind != "compile"}


@pytest.fixture
def trace_of(tmp_path):
    """Call it with records: argv of make_kinds.py on their trace."""

    def build(records):
        (tmp_path / "run").mkdir()
        rows = {"run/trace.jsonl": records, "jars_train.jsonl": [TASK], "jars_solutions.jsonl": [{"task_id": TASK["task_id"], "solution": SOURCE}]}
        for name, lines in rows.items():
            write_jsonl(tmp_path / name, lines)
        flags = {"trace": tmp_path / "run", "tasks": tmp_path / "jars_train.jsonl", "solutions": tmp_path / "jars_solutions.jsonl",
                 "output_dir": tmp_path / "out"}  # fmt: skip
        return [str(part) for name, value in flags.items() for part in (f"--{name}", value)]

    return build


def test_real_failures_of_a_trace_become_fix_tasks(trace_of, tmp_path):
    broken, other = SOURCE.replace("let mut shelf", "let shelf"), SOURCE.replace("most: u32", "most: u64")
    records = [traced(TASK["task_id"], text) for text in (broken, broken, other)]
    records += [traced(TASK["task_id"], SOURCE, "panic"), traced("jars/unknown", broken)]
    assert make_kinds.main(trace_of(records)) == 0
    (row,) = load_tasks(str(tmp_path / "out" / "kinds_train.jsonl.gz"))
    assert (row["kind"], row["rustc"], row["code"], row["tests"]) == ("fix", "E0384", broken, TASK["tests"])
    assert row["message"].startswith("error[E0384]: cannot assign twice to immutable variable\n --> line 12\n  |     let shelf")
    argv = [str(tmp_path / "out" / "kinds_train.jsonl.gz"), "--solutions", str(tmp_path / "out" / make_kinds.ANSWERS_FILE)]
    assert check_tasks.main(argv) == 0


def test_a_trace_of_other_prompts_is_refused(trace_of, capsys):
    assert make_kinds.main(trace_of([traced("elsewhere/1", SOURCE)])) == 1
    assert "none of its 1 completions is of a task of --tasks: pass the file that the run trained on" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "message"), [
    (["--output_dir", __file__], "is not a folder: choose another --output_dir"),
    (["--output_dir", "out", "--workers", "0"], "--workers 0: expected at least 1"),
    (["--output_dir", "out", "--sandbox", "plin"], "argument --sandbox: invalid choice: 'plin'"),
])  # fmt: skip
def test_what_cannot_be_written_or_run_is_refused_at_once(flags, message, capsys, monkeypatch):
    monkeypatch.setattr(make_kinds, "make", lambda *given: pytest.fail("work was begun"))
    try:
        assert make_kinds.main(flags) == 1
    except SystemExit as end:
        assert end.code == 2
    assert message in capsys.readouterr().err


def test_a_proof_without_reference_answers_is_refused(trace_of, tmp_path, capsys):
    assert make_kinds.main(trace_of([traced(TASK["task_id"], SOURCE.replace("let mut", "let"))])) == 0
    assert check_tasks.main([str(tmp_path / "out" / "kinds_train.jsonl.gz")]) == 1
    assert "need --solutions, the reference answers that make_kinds.py wrote" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# The committed files
# ---------------------------------------------------------------------------------------------------------------------


def test_the_committed_rows_keep_their_tasks_split_and_are_counted():
    told = json.loads((ROOT / "data" / make_kinds.CARD_FILE).read_text())
    answers = {row["task_id"] for row in map(json.loads, gzip.open(ROOT / "data" / make_kinds.ANSWERS_FILE))}
    for split in ("train", "val", "test"):
        rows = load_tasks(str(ROOT / "data" / f"kinds_{split}.jsonl.gz"))
        bank = {task["task_id"] for task in load_tasks(str(ROOT / "data" / f"rust_tasks_{split}.jsonl"))}
        assert {row["of"] for row in rows} <= bank
        assert make_kinds.card(rows) == told[split] and set(told[split]["kinds"]) == set(kinds.KINDS)
        assert {row["task_id"] for row in rows} <= answers


def test_some_of_the_committed_rows_are_proved_here(judge):
    """All of them: the command in data/README.md."""
    rows = load_tasks(str(ROOT / "data" / "kinds_test.jsonl.gz"))
    chosen = list({(row["kind"], row.get("rustc") == "test"): row for row in rows}.values())
    answers = check_tasks.load_solutions(ROOT / "data" / make_kinds.ANSWERS_FILE)
    assert list(prove_kinds(chosen, answers, judge)) == [] and len(chosen) == 5


# ---------------------------------------------------------------------------------------------------------------------
# A proof that was stopped, and files that are there already
# ---------------------------------------------------------------------------------------------------------------------


def test_a_proof_that_was_stopped_goes_on(monkeypatch, tmp_path):
    """Rows are proved once while they stay what they are; what the machine failed to grade is asked for again."""
    asked, record = [], tmp_path / "proof.jsonl"
    said = {"t/1": [], "t/2": ["t/2: wrong"], "t/3": [f"t/3: the machine failed: {task_proof.kinds.RUN_AGAIN}"]}

    def prove(tasks, answers, judge):
        asked.append([task["task_id"] for task in tasks])
        if asked[-1] == ["t/3"] and len(asked) == 2:
            raise KeyboardInterrupt
        return iter([line for task in tasks for line in said[task["task_id"]]])

    monkeypatch.setattr(task_proof.kinds, "prove_kinds", prove)
    monkeypatch.setattr(task_proof.kinds, "BATCH", 2)
    judge = SimpleNamespace(describe=lambda: {"judge_version": 6})
    tasks, answers = [{"task_id": f"t/{number}", "tests": ["a"]} for number in (1, 2, 3)], {"t/1": "x", "t/2": "y", "t/3": "z"}
    with pytest.raises(KeyboardInterrupt):
        task_proof.kinds.prove_in_batches(tasks, answers, judge, record)
    record.write_text(record.read_text() + '{"task_id": "t/3", "ro')  # killed while it wrote
    assert task_proof.kinds.prove_in_batches(tasks, answers, judge, record) == ["t/2: wrong", *said["t/3"]]
    tasks[0]["tests"] = ["b"]
    task_proof.kinds.prove_in_batches(tasks, answers, judge, record)
    assert asked == [["t/1", "t/2"], ["t/3"], ["t/3"], ["t/1", "t/3"]]


def test_kinds_that_are_not_asked_for_stay_in_the_files(trace_of, tmp_path, monkeypatch):
    monkeypatch.setitem(make_kinds.MAKERS, "fim", (lambda *_: iter([(row, "new")]),))
    row = make_kinds.row_of(TASK, "fim", 0, prefix="a", suffix="b")
    kept = [make_kinds.row_of(TASK, kind, 0, code="c") for kind in ("fim", "patch")]
    traces.write_packed(tmp_path / "out" / "kinds_train.jsonl.gz", kept)
    traces.write_packed(tmp_path / "out" / make_kinds.ANSWERS_FILE, [{"task_id": one["task_id"], "solution": "old"} for one in kept])
    flags = trace_of([])
    del flags[:2]  # --trace
    assert make_kinds.main([*flags, "--kinds", "fim"]) == 0
    rows = [json.loads(line) for line in gzip.open(tmp_path / "out" / "kinds_train.jsonl.gz")]
    assert rows == [row, kept[1]]
    answers = check_tasks.load_solutions(tmp_path / "out" / make_kinds.ANSWERS_FILE)
    assert answers == {row["task_id"]: "new", kept[1]["task_id"]: "old"}


def test_a_split_that_is_not_made_keeps_its_answers_and_its_counts(trace_of, tmp_path):
    broken, out = SOURCE.replace("let mut shelf", "let shelf"), tmp_path / "out"
    flags = trace_of([traced(TASK["task_id"], broken)])
    assert make_kinds.main(flags) == 0
    answers, told = check_tasks.load_solutions(out / make_kinds.ANSWERS_FILE), json.loads((out / make_kinds.CARD_FILE).read_text())
    other = write_jsonl(tmp_path / "jars_val.jsonl", [TASK | {"task_id": "jars/other"}])
    write_jsonl(tmp_path / "jars_solutions.jsonl", [{"task_id": "jars/other", "solution": SOURCE}])
    write_jsonl(tmp_path / "run" / "trace.jsonl", [traced("jars/other", broken)])
    flags[flags.index("--tasks") + 1] = str(other)
    for _ in range(2):
        assert make_kinds.main(flags) == 0
        after = check_tasks.load_solutions(out / make_kinds.ANSWERS_FILE)
        assert len(after) == 2 and answers.items() <= after.items()
        cards = json.loads((out / make_kinds.CARD_FILE).read_text())
        assert set(cards) == {"train", "val"} and cards["train"] == told["train"]


def test_of_each_task_the_sort_tried_least_is_taken_and_another_where_it_is_no_good():
    graded = []

    def grade(chosen):
        graded.append([one for _, one in chosen])
        return [None if one.startswith("bad") else f"verdict of {one}" for _, one in chosen]

    tasks = [({"task_id": "a"}, ["rename 1", "add 1"]), ({"task_id": "b"}, ["rename 2", "bad 2"]), ({"task_id": "c"}, ["rename 3", "add 3"]),
             ({"task_id": "d"}, ["bad 4"]), ({"task_id": "e"}, [])]  # fmt: skip
    found = list(make_kinds.rarest_good(tasks, lambda one: one.split()[0], grade))
    assert [(task["task_id"], one) for task, one, _ in found] == [("a", "rename 1"), ("c", "add 3"), ("b", "rename 2")]
    assert found[0][2] == "verdict of rename 1" and graded == [["rename 1", "bad 2", "add 3", "bad 4"], ["rename 2"]] + [[]] * (make_kinds.MOST_TRIED - 2)
