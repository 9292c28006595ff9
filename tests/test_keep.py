"""results/recipe/keep.py: what is committed of a run and of an evaluation is counted from theirs, and names no machine."""

import gzip
import json

import pytest
from conftest import ROOT, write_jsonl
from test_traces import record

from results.recipe import keep


def packed(path) -> list[dict]:
    return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]


def traced(step, reward, solved, **changes):
    return record(step, reward=reward, hidden_passed=int(solved), hidden_total=1, is_trained=step == 1, **changes)


def test_a_training_keeps_what_each_group_earned(tmp_path):
    run, kept = tmp_path / "run", tmp_path / "kept"
    run.mkdir()
    write_jsonl(run / "trace.jsonl", [traced(1, 0.5, False), traced(1, 3.00004, True, build_passed=False), traced(2, 1.0, True, honest_tests=False)])
    (run / "run.json").write_text(json.dumps({"output_dir": "/home/me/runs/run", "rewards": ["/home/me/mine.py:short=1"]}))
    (run / "iterations.md").write_text("Evaluations on /home/me/tasks.jsonl (5 tasks, pass@1 / pass@5)\n")
    (run / "metrics.jsonl").write_text('{"step": 1}\n')
    write_jsonl(run / "evaluations.jsonl", [{"step": 0, "completion": "so"}])
    with pytest.raises(SystemExit):
        keep.main(["training", str(tmp_path / "no-run"), str(kept)])
    for paths, left in (([], "/home/me/tasks.jsonl"), (["/home/me/tasks=tasks"], "/home/me/runs/run"), (["/home/me/tasks=tasks", "/home/me/runs="], "/home/me/mine.py")):
        with pytest.raises(SystemExit, match=f"{left} is left"):
            keep.main(["training", str(run), str(kept), "--paths", *paths])
        assert not kept.exists()
    keep.main(["training", str(run), str(kept), "--paths", "/home/me/="])
    assert packed(kept / "groups.jsonl.gz") == [
        {"step": 1, "task_id": "t/1", "is_trained": True, "rewards": [3.0, 0.5], "solved": [1, 0], "tokens": [5, 5], "honest": [1, 1], "builds": [0, 1]},
        {"step": 2, "task_id": "t/2", "is_trained": False, "rewards": [1.0], "solved": [1], "tokens": [5], "honest": [0], "builds": [1]},
    ]
    assert json.loads((kept / "run.json").read_text()) == {"output_dir": "runs/run", "rewards": ["mine.py:short=1"]} and not (kept / "trace.jsonl").exists()
    assert packed(kept / "evaluations.jsonl.gz") == [{"step": 0, "completion": "so"}] and (kept / "metrics.jsonl").is_file()


def test_an_evaluation_is_split_by_its_tasks_and_counted_again(tmp_path):
    """Of a committed evaluation: its rows without `untrained` as a run of more tasks, with a prompt beside each."""
    theirs, run, kept = ROOT / "results/recipe/cooler/mbpp-rs", tmp_path / "run", tmp_path / "kept"
    rows = [row for row in packed(theirs / "results.jsonl.gz") if row["row"] != "untrained"]
    other = rows[0] | {"task_id": "other/1"}
    run.mkdir()
    write_jsonl(run / "results.jsonl", [row | {"prompt": "somebody else's"} for row in (other, *rows)])
    for name in ("run", "summary", "timings"):
        (run / f"{name}.json").write_text((theirs / f"{name}.json").read_text())
    ids = dict.fromkeys(row["task_id"] for row in (other, *rows))
    write_jsonl(tmp_path / "tasks.jsonl", [{"task_id": task_id, "prompt": task_id} for task_id in ids])
    flags = ["--tasks", str(tmp_path / "tasks.jsonl"), "--ids", "mbpp"]
    keep.main(["evaluation", str(run), str(kept), *flags, "--before", str(ROOT / "results/recipe/seed-0/mbpp-rs")])
    assert packed(kept / "results.jsonl.gz") == packed(theirs / "results.jsonl.gz")
    summary, expected = (json.loads((folder / "summary.json").read_text()) for folder in (kept, theirs))
    assert (summary["rows"], summary["differences"], summary["n"]) == (expected["rows"], expected["differences"], expected["n"])
    assert summary["protocol"]["n_tasks"] == len(ids) - 1

    keep.main(["evaluation", str(run), str(kept), *flags[:3], "other/", "--add"])  # the same rows, of another task alone
    assert [row["row"] for row in packed(kept / "results.jsonl.gz")] == ["untrained"] * 1770 + [other["row"]]
