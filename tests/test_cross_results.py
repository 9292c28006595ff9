"""eval.py --select cross: which completion of a task the tests of the others pick, and how often it is right."""

import json

import pytest
from conftest import write_jsonl

import eval as evaluation
from evaluation.cross_results import examined, passes
from rewards import ReadingJudge


def twice(body: str, argument: int, expected: int) -> str:
    test = f"#[cfg(test)]\nmod tests {{\n    use super::*;\n\n    #[test]\n    fn works() {{\n        assert_eq!(twice({argument}), {expected});\n    }}\n}}"
    return f"```rust\nfn twice(x: i32) -> i32 {{\n    {body}\n}}\n\n{test}\n```"


# For each task the wrong one comes first: it passes its own tests as the others do. The tasks' rows do not stand together.
COMPLETIONS = [
    ("a", twice("x * x", 3, 9)), ("b", twice("x + 2", 5, 7)),
    ("a", twice("x * 2", 5, 10)), ("b", twice("x + x", 7, 14)),
    ("a", twice("x + x", 7, 14)), ("b", twice("x * 2", 6, 12)),
]  # fmt: skip
HIDDEN = ["assert_eq!(twice(4), 8);"]


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """(input file, results folder, summary) of an evaluation with --select cross."""
    folder = tmp_path_factory.mktemp("select")
    rows = [{"task_id": name, "prompt": f"Twice, {name}.", "completion": text, "tests": HIDDEN} for name, text in COMPLETIONS]
    write_jsonl(folder / "in.jsonl", rows)
    arguments = ["--completions", str(folder / "in.jsonl"), "--output_dir", str(folder / "out"), "--select", "cross"]
    assert evaluation.main(arguments) == 0
    return arguments, folder / "out", json.loads((folder / "out" / "summary.json").read_text())


def records(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_pass_at_1_of_the_pick_stands_beside_pass_at_1_and_pass_at_k(selected):
    metrics = selected[2]["rows"][0]["metrics"]
    assert metrics["picked"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert metrics["pass@1"]["value"] == pytest.approx(2 / 3, abs=1e-6) and metrics["pass@3"]["value"] == 1.0
    assert "picked right %" in (selected[1] / "table.md").read_text()


def test_one_completion_of_each_task_is_picked(selected):
    found = records(selected[1])
    assert [record["task_id"] for record in found if record["selected"]] == ["a", "b"]
    assert all(record["hidden_passed"] for record in found if record["selected"])
    assert all(record["cross_total"] == 2 for record in found)


def test_precision_of_the_groups_tests_beside_that_of_own_tests(selected):
    metrics = selected[2]["rows"][0]["metrics"]
    assert metrics["self_tests_precision"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert "cross_tests_precision" not in metrics, "nobody passes the tests of the wrong one too"
    assert metrics["cross_tests_recall"]["value"] == 0.0
    assert passes({"cross_passed": 2, "cross_total": 2}) is True and passes({"cross_passed": None, "cross_total": None}) is None


def test_the_recorded_program_is_tried_whatever_the_completion_looks_like(selected):
    """A completion may be a patch or a middle. Where files hold no programs, the completion is read."""
    asked = []

    class Asking:
        def run_suites(self, jobs):
            asked.append([job.program.source for job in jobs])
            return [[None] * len(job.hidden_tests) for job in jobs]

    found = records(selected[1])
    patches = [record | {"completion": "- x\n+ y"} for record in found]
    no_programs = [{key: value for key, value in record.items() if key != "program"} for record in found]
    for some in (patches, no_programs):
        assert sum(map(len, examined(some, ReadingJudge(Asking())))) == len(found)
    assert asked[0] == asked[1] and len(asked[0]) == len(found)


def test_the_same_command_again_changes_nothing(selected, monkeypatch):
    before = (selected[1] / "results.jsonl").read_bytes()
    monkeypatch.setattr("evaluation.cross_results.cross_examined", None)  # asked of nobody again
    assert evaluation.main(selected[0]) == 0
    assert (selected[1] / "results.jsonl").read_bytes() == before


def test_results_graded_again_without_selection_do_not_keep_the_old_one(selected, tmp_path):
    source = str(selected[1] / "results.jsonl")
    assert evaluation.main(["--completions", source, "--output_dir", str(tmp_path / "again")]) == 0
    found = records(tmp_path / "again")
    assert all(record["cross_total"] is None and "selected" not in record for record in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "a", "b", "--select", "cross"], "--select cross runs the programs"),
        (["--model", "m", "--tasks", "t.jsonl", "--output_dir", "o", "--select", "cross"], "raise --num_samples (now 1)"),
    ],
)
def test_what_does_not_go_with_selection_is_refused(capsys, arguments, message):
    assert evaluation.main(arguments) == 2
    assert message in capsys.readouterr().err
