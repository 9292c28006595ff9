"""evaluation/metrics.py: sums and summaries, from records written here: no judge, no model."""


import numpy as np
from conftest import write_jsonl

from evaluation import metrics
from evaluation.metrics import RowStats


def record(task="t", kind=None, passed=True, row="mine", **changes):
    """A graded completion whose hidden tests all passed, or none."""
    return {
        "row": row, "task_id": task, "error_kind": None if passed else "test_failed", "build_passed": True, "clippy_passed": True, "test_passed": passed,
        "honest_tests": True, "guard": None, "n_asserts": 1, "hidden_passed": 2 * passed, "hidden_total": 2, "diagnostics": [], "n_tokens": 10,
        "n_prompt_tokens": 5, "tests": {}, "rewards": {}, **({"columns": {"kind": kind}} if kind else {}),
    } | changes  # fmt: skip


def stats_of(*records, row="mine"):
    stats = RowStats(row)
    for one in records:
        stats.add_by_kind(one)
    return stats


def value(summary, metric, row=0):
    return summary["rows"][row]["metrics"][metric]["value"]


def test_a_summary_has_the_same_by_kind_where_there_is_another_than_write():
    tasks = [record("a"), record("b", "fix", passed=False), record("c", "fix"), record("d", "fim", passed=False)]
    summary = metrics.summarise([stats_of(*tasks), stats_of(record("c", "fix"), record("b", "fix"), row="other")], [1], 200)
    assert list(summary["kinds"]) == ["write", "fix", "fim"] and value(summary, "pass@1") == 0.5
    by_kind = summary["kinds"]
    assert {kind: [(row["row"], row["n"], row["metrics"]["pass@1"]["value"]) for row in by_kind[kind]["rows"]] for kind in by_kind} == {
        "write": [("mine", 1, 1.0)], "fix": [("mine", 2, 0.5), ("other", 2, 1.0)], "fim": [("mine", 1, 0.0)]}  # fmt: skip
    (difference,) = by_kind["fix"]["differences"]
    assert (difference["row"], difference["versus"], difference["metrics"]["pass@1"]["value"]) == ("other", "mine", 0.5)
    assert all("kinds" not in part for part in by_kind.values())
    assert "kinds" not in metrics.summarise([stats_of(record("a"))], [1], 200) and "kinds" not in metrics.summarise([RowStats("mine")], [], 200)


def test_guards_and_codes_stand_most_frequent_first_then_by_name():
    guards = ["no_asserts", "copied_example", "copied_example", "any_value_passes"]
    refused = [record(str(n), honest_tests=False, guard=guard) for n, guard in enumerate(guards)]
    failed = [record(f"x{n}", passed=False, error_kind="compile", diagnostics=[{"code": code, "level": "error"}]) for n, code in enumerate(["E2", "E1", "E3", "E3"])]
    (row,) = metrics.summarise([stats_of(*refused, *failed)], [], 200)["rows"]
    assert list(row["refused_passes"].items()) == [("copied_example", 2), ("any_value_passes", 1), ("no_asserts", 1)]
    assert list(row["rustc_codes"].items()) == [("E3", 2), ("E1", 1), ("E2", 1)]


def test_first_and_last_tries_are_two_rows_of_the_same_tasks(tmp_path):
    wrong = {"code": "E0308", "level": "error", "message": "m", "line": 1}
    first = record(passed=False, error_kind="compile", build_passed=False, diagnostics=[wrong])
    lines = [record("a", turns=[first | {"task_id": "a"}]), record("b"), record("a", row="other")]
    write_jsonl(tmp_path / "results.jsonl", lines)
    found = metrics.summarise_repair(tmp_path / "results.jsonl", [1], 200)
    assert list(found) == ["mine", "other"]
    assert [(row["row"], row["n_tasks"], row["metrics"]["pass@1"]["value"]) for row in found["mine"]["rows"]] == [("first try", 2, 0.5), ("last try", 2, 1.0)]
    assert found["mine"]["differences"][0]["metrics"]["pass@1"]["value"] == 0.5
    counts = {"n": 1, "builds": 1, "solved": 1}
    assert found["mine"]["codes"] == {"all": counts, "E0308": counts} and found["other"]["codes"] == {}


def test_an_empty_row_and_one_of_other_tasks_stop_nothing():
    stats = [stats_of(record("a"), record("b", passed=False)), RowStats("empty"), stats_of(record("z"), row="others"), stats_of(record("a"), record("b"), row="last")]
    rates, differences = metrics.estimates(stats, [1], 200)
    assert [row.get("pass@1", {}).get("value") for row in rates] == [0.5, None, 1.0, 1.0] and rates[1] == {}
    assert [(one["row"], one["metrics"]["pass@1"]["value"]) for one in differences] == [("last", 0.5)]
    rates, differences = metrics.estimates([RowStats("empty"), stats[0]], [1], 200)
    assert rates[0] == {} and rates[1]["pass@1"]["value"] == 0.5 and differences == []


def test_many_tasks_are_drawn_less_often(monkeypatch):
    monkeypatch.setattr(metrics, "MAX_DRAWS", 1000)
    monkeypatch.setattr(metrics, "MIN_RESAMPLES", 20)
    sums, counts = np.ones((30, 2)), np.ones((30, 2))
    assert [len(metrics.bootstrap(sums, counts, asked)) for asked in (10, 500)] == [10, 33]
    assert len(metrics.bootstrap(np.ones((300, 2)), np.ones((300, 2)), 500)) == 20
