"""Evaluation: honest numbers, nothing done twice, nothing lost, wrong uses refused with nothing overwritten."""

import contextlib
import errno
import gzip
import importlib.util
import itertools
import json
import math
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import BROKEN, FAILING, GOOD, PROSE, ROOT, FakeJudge, infra_verdict, write_jsonl
from test_generate import build_adapter, build_tiny_model, serve

import eval as evaluation
import tasks as task_sets
from evaluation.arguments import EvalArguments
from evaluation.completions import VERDICT_FIELDS
from evaluation.folders import hold_folder, protocol_differences
from evaluation.metrics import TOP_CODES, RowStats, bootstrap, estimates, interval, summarise
from evaluation.parquet import write_parquet
from evaluation.tables import format_tables
from evaluation.traced_again import compare_with_trace
from generate import TransformersGenerator
from judge.program import read_program, with_hidden_tests
from rewards import pass_at_k
from rust_tool import JUDGE_VERSION, Diagnostic, Verdict

HIDDEN = ["assert_eq!(add(2, 3), 5);", "assert_eq!(add(-1, 1), 0);"]
WRONG_BUT_CONSISTENT = GOOD.replace("b + a", "b * a").replace("add(1, 2), 3", "add(1, 2), 2")
GRADED_FIELDS = {
    "schema_version", "task_id", "step", "rank", "group_id", "prompt", "completion", "program", "build_passed", "clippy_passed",
    "clippy_warnings", "test_passed", "tests", "hidden_passed", "hidden_total", "error_kind", "diagnostics", "honest_tests", "guard",
    "rewards", "reward", "duration_s",
}  # fmt: skip
REWARDS = {
    "cargo_build_reward", "cargo_clippy_reward", "cargo_test_reward", "hidden_tests_reward", "non_empty_reward",
    "code_block_reward", "test_block_reward", "tests_have_asserts_reward",
}  # fmt: skip


def read_jsonl(path: Path, drop=("duration_s",)) -> list[dict]:
    """Records without what no two runs share."""
    return [
        {k: v for k, v in json.loads(line).items() if k not in drop} for line in path.read_text(encoding="utf-8").splitlines()
    ]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def record(task="t", row="r", test_passed=False, honest=None, hidden=None, kind=None, codes=(), **extra) -> dict:
    """A graded completion by hand; `hidden` says whether all hidden tests pass."""
    return {
        "row": row, "task_id": task, "build_passed": kind != "compile", "clippy_passed": kind != "compile", "test_passed": test_passed,
        "honest_tests": test_passed if honest is None else honest, "guard": None if honest is None else "no_asserts",
        "n_asserts": 2, "error_kind": kind, "hidden_total": None if hidden is None else 2, "hidden_passed": None if hidden is None else 2 * hidden,
        "diagnostics": [{"code": code, "level": "error", "message": "", "line": 1} for code in codes],
    } | extra  # fmt: skip


@pytest.fixture
def judge(monkeypatch):
    """Call it with an `answer` to make eval.py use a FakeJudge; without, programs pass and prose does not."""

    def install(answer=None) -> FakeJudge:
        fake = FakeJudge(answer)
        monkeypatch.setattr(evaluation, "open_judge", lambda args: fake)
        return fake

    return install


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, tiny_model) -> Path:
    return build_adapter(tmp_path_factory.mktemp("adapters") / "trained", tiny_model, seed=1)


@pytest.fixture
def prompts(tmp_path) -> Path:
    rows = [{"task_id": f"t/{i}", "prompt": f"Write function number {'x' * i}."} for i in range(5)]
    return write_jsonl(tmp_path / "prompts.jsonl", rows)


@pytest.fixture(scope="module")
def tested_prompts(tmp_path_factory) -> Path:
    rows = [{"task_id": f"t/{i}", "prompt": f"Add, {i}.", "tests": HIDDEN, "entry_point": "add"} for i in range(4)]
    return write_jsonl(tmp_path_factory.mktemp("prompts") / "tested.jsonl", rows)


def run(*arguments) -> int:
    return evaluation.main([str(argument) for argument in arguments])


def refused(capsys, *arguments) -> str:
    """The one line that a wrong call prints."""
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.strip().splitlines()[-1]


# ---------------------------------------------------------------------------------------------------------------------
# Numbers
# ---------------------------------------------------------------------------------------------------------------------


def test_pass_at_k_is_the_mean_over_all_draws():
    for n in range(1, 7):
        for c in range(n + 1):
            for k in range(1, n + 1):
                draws = [any(index < c for index in chosen) for chosen in itertools.combinations(range(n), k)]
                assert pass_at_k(n, c, k) == pytest.approx(sum(draws) / len(draws))


@pytest.mark.parametrize(("n", "k"), [(3, 4), (3, 0), (0, 1)])
def test_pass_at_k_refuses_more_draws_than_samples(n, k):
    with pytest.raises(ValueError, match=f"pass@{k}"):
        pass_at_k(n, 0, k)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng, truth, covered = random.Random(1), 0.5, 0
    for _ in range(200):
        rates = [rng.choice([0.1, 0.5, 0.9]) for _ in range(60)]  # tasks differ, their mean is 0.5
        sums = np.array([[sum(rng.random() < rate for _ in range(4))] for rate in rates], float)
        low, high = np.quantile(bootstrap(sums, np.full((60, 1), 4.0), 400), [0.025, 0.975])
        covered += low <= truth <= high
    assert 0.88 <= covered / 200 <= 0.995


def test_an_interval_leaves_two_and_a_half_percent_on_either_side():
    assert interval(np.arange(1001.0)) == (25.0, 975.0)


def test_samples_of_a_task_are_no_new_tasks():
    passed = np.array([[4.0 * (i % 2)] for i in range(40)])  # all four samples of a task agree
    grouped = np.std(bootstrap(passed, np.full((40, 1), 4.0), 2000))
    one_sample_each = np.std(bootstrap(passed / 4, np.ones((40, 1)), 2000))
    assert grouped == pytest.approx(one_sample_each), "four equal samples carry no more than one"
    assert grouped == pytest.approx(0.5 / math.sqrt(40), rel=0.1)


def stats_of(row: str, values: dict[str, list[bool]]) -> RowStats:
    stats = RowStats(row)
    for task, results in values.items():
        for right in results:
            stats.add(record(task, row, test_passed=right, hidden=right))
    return stats


def test_differences_are_paired_by_task():
    rng = random.Random(0)
    easy = {f"t{i}": rng.random() for i in range(60)}
    before = {task: [rng.random() < p for _ in range(20)] for task, p in easy.items()}
    after = {task: [rng.random() < p / 2 + 0.5 for _ in range(20)] for task, p in easy.items()}
    rows, (difference,) = estimates([stats_of("a", before), stats_of("b", after)], [1, 5], 2000)
    for name in ("tests", "hidden_tests", "pass@1", "pass@5"):
        paired = difference["metrics"][name]
        assert paired["value"] == pytest.approx(rows[1][name]["value"] - rows[0][name]["value"], abs=2e-6)
        assert paired["low"] <= paired["value"] <= paired["high"]
        width = lambda m: m["high"] - m["low"]
        assert width(paired) < math.hypot(width(rows[0][name]), width(rows[1][name])), "pairing must not be thrown away"
    assert rows[0]["pass@1"]["value"] == pytest.approx(rows[0]["hidden_tests"]["value"])


def test_a_row_differs_from_itself_by_exactly_nothing():
    values = {f"t{i}": [i % 3 == 0, i % 2 == 0] for i in range(20)}
    _, (difference,) = estimates([stats_of("a", values), stats_of("b", values)], [2], 500)
    assert all(m == {"value": 0, "low": 0, "high": 0} for m in difference["metrics"].values())


def test_the_order_of_completions_changes_no_difference():
    values = {f"t{i}": [i % 3 == 0, i % 2 == 0] for i in range(20)}
    reordered = {task: values[task] for task in sorted(values, reverse=True)}
    _, (difference,) = estimates([stats_of("a", values), stats_of("b", reordered)], [2], 500)
    assert all(m == {"value": 0, "low": 0, "high": 0} for m in difference["metrics"].values())


def test_rows_over_other_tasks_get_no_difference():
    _, differences = estimates([stats_of("a", {"t1": [True]}), stats_of("b", {"t2": [True]})], [], 100)
    assert differences == []


def test_every_row_gets_its_difference_over_the_tasks_that_it_shares_with_the_first():
    """Two rows with half of the first's tasks, and between them one that nothing graded, one of other tasks, one of all."""
    first = {"t1": [False], "t2": [False], "t3": [True], "t4": [True]}
    half = [stats_of(name, {"t1": [True], "t2": [True]}) for name in ("half", "again")]
    stats = [stats_of("a", first), half[0], RowStats("none"), stats_of("other", {"x": [True]}), stats_of("all", first), half[1]]
    rows, differences = estimates(stats, [1], 200)
    assert [row.get("tests", {}).get("value") for row in rows] == [0.5, 1.0, None, 1.0, 0.5, 1.0] and rows[2] == {}
    found = [(d["row"], d["n_tasks"], d["metrics"]["tests"], d["metrics"]["pass@1"]["value"]) for d in differences]
    nothing, everything = ({"value": v, "low": v, "high": v} for v in (0, 1))
    assert found == [("half", 2, everything, 1), ("all", 4, nothing, 0), ("again", 2, everything, 1)]


def test_the_same_results_always_print_the_same_interval():
    values = {f"t{i}": [i % 3 == 0] for i in range(20)}
    assert estimates([stats_of("a", values)], [1], 500) == estimates([stats_of("a", values)], [1], 500)


def test_self_tests_are_measured_against_hidden_tests():
    stats = RowStats("r")
    for passed, right in [(True, True), (True, True), (True, False), (False, True), (False, False)]:
        stats.add(record(test_passed=passed, hidden=right))
    stats.add(record(test_passed=True, hidden=False, honest=False))
    stats.add(record(test_passed=True))  # no hidden tests: says nothing here
    metrics = {name: m["value"] for name, m in estimates([stats], [], 10)[0][0].items()}
    assert metrics["self_tests_precision"] == pytest.approx(2 / 4)
    assert metrics["self_tests_recall"] == pytest.approx(2 / 3)
    assert metrics["honest_tests_precision"] == pytest.approx(2 / 3)
    assert metrics["tests"] == pytest.approx(5 / 7)
    assert metrics["honest_tests"] == pytest.approx(4 / 7)
    assert stats.guards == {"no_asserts": 1}


def test_what_the_machine_failed_is_in_no_rate():
    stats = RowStats("r")
    stats.add(record(test_passed=True, n_tokens=10))
    stats.add(record(kind="infra"))
    stats.add(record(test_passed=False))
    (row,) = summarise([stats], [], 10)["rows"]
    assert (row["n"], row["n_infra"], row["metrics"]["build"]["value"], row["error_kinds"]) == (
        2,
        1,
        1.0,
        {"no_tests": 0.5, "none": 0.5},
    )


def test_what_went_wrong_is_about_the_tasks_tests_where_it_has_some():
    stats = RowStats("r")
    of_these = [record(hidden=True), record(hidden=True, test_passed=True), record(hidden=False), record(hidden=False, kind="test_failed")]
    for one in (*of_these, record(test_passed=True), record()):
        stats.add(one)
    summary = summarise([stats], [], 10)
    shares = {"none": 3 / 6, "hidden_tests": 1 / 6, "test_failed": 1 / 6, "no_tests": 1 / 6}
    assert summary["rows"][0]["error_kinds"] == pytest.approx(shares, abs=1e-6)
    assert "% of completions (`hidden_tests`: it builds, and its task's tests do not compile" in format_tables(summary)


def test_a_compiler_error_counts_once_per_completion():
    stats = RowStats("r")
    stats.add(record(kind="compile", codes=["E0308", "E0308", "E0425", None]))
    stats.add(record(kind="compile", codes=["E0308"]))
    (row,) = summarise([stats], [], 10)["rows"]
    assert row["rustc_codes"] == {"E0308": 2, "E0425": 1, "no code": 1}


def test_tasks_with_fewer_samples_than_k_are_left_out_of_pass_at_k():
    values = {"t1": [True, False, False], "t2": [True]}
    metrics = estimates([stats_of("a", values)], [1, 3], 50)[0][0]
    assert metrics["pass@1"]["value"] == pytest.approx((1 / 3 + 1) / 2, abs=1e-6)
    assert metrics["pass@3"]["value"] == 1.0


# ---------------------------------------------------------------------------------------------------------------------
# Existing completions
# ---------------------------------------------------------------------------------------------------------------------


def test_every_input_row_is_graded_in_order_by_real_cargo(tmp_path):
    texts = [GOOD, FAILING, BROKEN, PROSE, "", None, "\ud800 \x00", [{"role": "assistant", "content": GOOD}], GOOD]
    rows = [{"prompt": f"p{i % 3}", "completion": text, "note": i} for i, text in enumerate(texts)]
    source, out = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out"
    assert run("--completions", source, "--output_dir", out) == 0
    results = read_jsonl(out / "results.jsonl", drop=())
    assert [r["note"] for r in results] == list(range(len(rows)))
    assert all(r.keys() >= GRADED_FIELDS for r in results)
    assert all(r["rewards"].keys() == REWARDS for r in results)
    kinds = [None, "test_failed", "compile", "no_code", "no_code", "no_code", "no_code", None, None]
    assert [r["error_kind"] for r in results] == kinds
    assert [r["test_passed"] for r in results] == [kind is None for kind in kinds]
    assert len({r["task_id"] for r in results}) == 3, "rows of one prompt are samples of one task"
    assert [r["sample"] for r in results] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["n"] == len(rows)
    assert summary["rows"][0]["metrics"]["build"]["value"] == pytest.approx(4 / 9, abs=1e-6)


def test_hidden_tests_decide_and_self_tests_are_compared(tmp_path):
    rows = [
        {"task_id": "add", "prompt": "Add.", "completion": text, "tests": HIDDEN, "entry_point": "add"}
        for text in (GOOD, WRONG_BUT_CONSISTENT, FAILING, PROSE)
    ]
    source, out = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out"
    assert run("--completions", source, "--output_dir", out, "--k", 1, 2) == 0
    results = read_jsonl(out / "results.jsonl")
    assert [(r["hidden_passed"], r["hidden_total"]) for r in results] == [(2, 2), (0, 2), (2, 2), (0, 2)]
    assert [r["rewards"]["hidden_tests_reward"] for r in results] == [1, 0, 1, 0]
    metrics = json.loads((out / "summary.json").read_text())["rows"][0]["metrics"]
    assert metrics["pass@1"]["value"] == 0.5
    assert metrics["pass@2"]["value"] == pytest.approx(1 - 1 / 6, abs=1e-6)
    assert (metrics["self_tests_precision"]["value"], metrics["self_tests_recall"]["value"]) == (0.5, 0.5)
    assert "passes own tests -> right %" in (out / "table.md").read_text()


def test_columns_can_be_mapped_and_parquet_is_read(tmp_path, judge):
    import pyarrow as pa
    import pyarrow.parquet as pq

    fake, source = judge(), tmp_path / "in.parquet"
    columns = {"rust_prompt": ["a", "b"], "response": [GOOD, PROSE], "rust_test_list": [HIDDEN, None], "extra": [1, 2]}
    pq.write_table(pa.table(columns), source)
    mapping = ["--prompt_column", "rust_prompt", "--completion_column", "response", "--tests_column", "rust_test_list"]
    assert run("--completions", source, "--output_dir", tmp_path / "out", *mapping) == 0
    assert [(r["prompt"], r["completion"], r["extra"]) for r in read_jsonl(tmp_path / "out" / "results.jsonl")] == [
        ("a", GOOD, 1),
        ("b", PROSE, 2),
    ]
    assert [job.hidden_tests for job in fake.batches[0]] == [tuple(HIDDEN), None]


def test_whatever_other_columns_hold_nothing_is_lost(tmp_path, judge):
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    judge()
    odd = {
        "row": 5, "sample": "x", "n_tokens": "many", "finished": "maybe", "tests": {"old::test": "ok"}, "reward": "old", "task_id": float("nan"),
        "entry_point": 3, "share": float("inf"), "huge": 2**70, "nested": [{"a": float("nan")}], "text": "\ud800",
    }  # fmt: skip
    source = write_jsonl(
        tmp_path / "in.jsonl", [{"prompt": "p", "completion": GOOD, **odd}, {"prompt": "p", "completion": float("nan")}]
    )
    assert run("--completions", source, "--output_dir", tmp_path / "out") == 0
    first, second = read_jsonl(tmp_path / "out" / "results.jsonl")
    expected = {
        "row": "in",
        "sample": 0,
        "n_tokens": "many",
        "share": None,
        "huge": 2**70,
        "nested": [{"a": None}],
        "text": "\ud800",
    }
    assert expected.items() <= first.items()
    assert first["task_id"] == second["task_id"], "a missing id is the prompt's"
    assert (first["hidden_tests"], first["reward"] == "old", second["completion"]) == (None, False, "")

    table = pa.table(
        {"prompt": ["p"], "completion": [GOOD], "when": [datetime.date(2026, 1, 2)], "raw": [b"x"], "gap": [float("nan")]}
    )
    pq.write_table(table, tmp_path / "in.parquet")
    assert run("--completions", tmp_path / "in.parquet", "--output_dir", tmp_path / "out2") == 0
    (only,) = read_jsonl(tmp_path / "out2" / "results.jsonl")
    assert (only["when"], only["gap"]) == ("2026-01-02", None)


def test_saved_results_need_not_be_writable(tmp_path, judge, monkeypatch):
    judge()
    source = write_jsonl(tmp_path / "in.jsonl", [{"prompt": "p", "completion": GOOD}])
    for name in ("a", "b"):
        assert run("--completions", source, "--output_dir", tmp_path / name) == 0
    monkeypatch.setattr("evaluation.folders.cut_torn_line", lambda path: pytest.fail(f"{path} opened for writing"))
    assert run("--compare", tmp_path / "a", tmp_path / "b") == 0


def test_a_saved_run_is_graded_again_with_its_hidden_tests_and_rows(tmp_path, judge):
    rows = [
        {"row": row, "task_id": f"t/{i}", "prompt": "Add.", "completion": text, "tests": HIDDEN, "entry_point": "add", "n_tokens": 7}
        for row in ("before", "after") for i, text in enumerate((GOOD, PROSE))
    ]  # fmt: skip
    judge()
    assert run("--completions", write_jsonl(tmp_path / "in.jsonl", rows), "--output_dir", tmp_path / "first") == 0
    fake = judge()
    assert run("--completions", tmp_path / "first" / "results.jsonl", "--output_dir", tmp_path / "again") == 0
    assert [job.hidden_tests for job in fake.batches[0]] == [tuple(HIDDEN)] * 4
    assert read_jsonl(tmp_path / "again" / "results.jsonl") == read_jsonl(tmp_path / "first" / "results.jsonl")
    assert [row["row"] for row in json.loads((tmp_path / "again" / "summary.json").read_text())["rows"]] == ["before", "after"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "p", "completion": "c"}\n{"prompt": "p", "comp\n', "line 2: not JSON"),
        ('{"prompt": "p", "completion": "c"}\n\n["list"]\n', "line 3: expected a JSON object, found list"),
        ('{"prompt": "p", "answer": "c"}\n', "line 1: no column 'completion'; found prompt, answer .see --completion_column."),
        ('{"prompt": "p", "completion": "c"}\n{"completion": "c"}\n', "line 2: no column 'prompt'"),
        ('{"prompt": "p", "completion": 5}\n', "line 1: completion must be text"),
        ('{"prompt": "p", "completion": "c", "tests": 5}\n', "line 1: tests must be text or a list"),
        ('{"prompt": "p", "completion": "c", "tests": ["let x = ;"]}\n', "line 1: its hidden tests cannot be used"),
        ("\n", "no rows in it"),
    ],
)
def test_a_bad_completions_file_is_refused_with_its_line(tmp_path, judge, capsys, text, message):
    fake = judge()
    source = tmp_path / "in.jsonl"
    source.write_text(text)
    error = refused(capsys, "--completions", source, "--output_dir", tmp_path / "out")
    assert re.search(message, error), error
    assert (fake.batches, snapshot(tmp_path / "out")) == ([], {})


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path, judge, capsys):
    judge()
    (tmp_path / "in.jsonl").write_bytes(b'{"prompt": "p", "completion": "c"}\n{"prompt": "\xff", "completion": "c"}\n')
    assert "line 2: not JSON" in refused(capsys, "--completions", tmp_path / "in.jsonl", "--output_dir", tmp_path / "out")


def test_a_long_file_that_was_interrupted_goes_on_where_it_stopped(tmp_path, judge, monkeypatch):
    monkeypatch.setattr("evaluation.grading.JOBS_PER_WORKER", 4)
    rows = [{"prompt": f"p{i % 5}", "completion": GOOD.replace("add", f"add{i}") if i % 3 else PROSE} for i in range(22)]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    judge()
    assert run("--completions", source, "--output_dir", tmp_path / "whole") == 0

    fake, out = judge(), tmp_path / "out"
    grade = fake.grade

    def stop_at_third(jobs):
        if len(fake.batches) == 2:
            raise KeyboardInterrupt
        return grade(jobs)

    fake.grade = stop_at_third
    assert run("--completions", source, "--output_dir", out) == 130
    with (out / "results.partial.jsonl").open("a") as file:
        file.write('{"row": "in", "task_')  # killed while writing
    second = judge()
    assert run("--completions", source, "--output_dir", out) == 0
    assert sum(map(len, fake.batches)) + sum(map(len, second.batches)) == len(rows)
    assert read_jsonl(out / "results.jsonl") == read_jsonl(tmp_path / "whole" / "results.jsonl")
    third = judge()
    assert run("--completions", source, "--output_dir", out) == 0
    assert third.batches == []


def test_grading_a_file_loads_no_model_library(tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [{"prompt": "p", "completion": PROSE}])
    code = (
        "import sys, conftest, eval\neval.open_judge = lambda args: conftest.FakeJudge()\n"
        f"status = eval.main(['--completions', {str(source)!r}, '--output_dir', {str(tmp_path / 'out')!r}])\n"
        "print(status, [name for name in ('torch', 'transformers', 'vllm', 'datasets', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(Path(__file__).parent)}, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


# ---------------------------------------------------------------------------------------------------------------------
# Published formats, with tasks and solutions of our own in them
# ---------------------------------------------------------------------------------------------------------------------


def multiple_row(name: str, doc: str, signature: str, *asserts: str) -> dict:
    """A MultiPL-E row: humaneval-rs and mbpp-rs differ in their names only."""
    body = "".join(f"    {line}\n" for line in (f"let candidate = {signature.split('fn ')[-1].split('(')[0]};", *asserts))
    return {
        "name": name, "language": "rs", "prompt": f"/// {doc}\n{signature} {{\n", "doctests": "transform",
        "tests": f"}}\n\nfn main() {{\n{body}}}\n", "stop_tokens": ["\n}"],
    }  # fmt: skip


HUMANEVAL_X_PREAMBLE = "\nfn main(){ \n } \n\nuse std::{cmp::{max, self}, mem::replace, collections::{HashSet, HashMap}};\n"
HUMANEVAL_X_TESTS = """
#[cfg(test)]
mod tests {
    use super::*;

    fn helper(n: i32) -> i32 {
        n - 1
    }

    #[test]
    fn test_rungs() {
        assert!(rungs(vec![1, 2, 4]) == 3);
        assert_eq!(rungs(vec![]), helper(1));
    }

    #[test]
    fn test_more() {
        assert_eq!(rungs(vec![5]), 1);
    }
}
"""
FORMATS = {  # format -> (rows of its file, task id -> gold solution, task id -> wrong solution)
    "MultiPL-E humaneval-rs": (
        [
            multiple_row("HumanEval_900_wide_gap", "Whether two numbers in a row are more than gap apart.",
                         "fn wide_gap(numbers: Vec<f64>, gap: f64) -> bool", "assert_eq!(candidate(vec![1.0, 2.5], 1.0), true);",
                         "assert_eq!(candidate(vec![1.0, 1.5], 1.0), false);", "assert_eq!(candidate(Vec::<f64>::new(), 1.0), false);"),
            multiple_row("HumanEval_901_letters", "How often each letter is there, and the first one.",
                         "use std::collections::HashMap;\nfn letters(text: String) -> (HashMap<char, isize>, Option<char>)",
                         "assert_eq!(candidate(String::from(\"aba\")), (HashMap::from([('a', 2), ('b', 1)]), Some('a')));",
                         "assert_eq!(candidate(String::from(\"\")), (HashMap::from([]), None));"),
        ],
        {"HumanEval_900_wide_gap": "fn wide_gap(numbers: Vec<f64>, gap: f64) -> bool {\n    numbers.windows(2).any(|w| (w[0] - w[1]).abs() > gap)\n}",
         "HumanEval_901_letters": "use std::collections::HashMap;\nfn letters(text: String) -> (HashMap<char, isize>, Option<char>) {\n"
         "    let mut found = HashMap::new();\n    for c in text.chars() {\n        *found.entry(c).or_insert(0) += 1;\n    }\n"
         "    (found, text.chars().next())\n}"},
        {"HumanEval_900_wide_gap": "fn wide_gap(numbers: Vec<f64>, gap: f64) -> bool {\n    numbers.len() > 9 && gap > 0.0\n}"},
    ),
    "MultiPL-E mbpp-rs": (
        [multiple_row("mbpp_9000_thrice", "Three times n.", "fn thrice(n: isize) -> isize", "assert_eq!(candidate(2), 6);",
                      "assert_eq!(candidate(-1), -3);")],
        {"mbpp_9000_thrice": "fn thrice(n: isize) -> isize {\n    3 * n\n}"},
        {"mbpp_9000_thrice": "fn thrice(n: isize) -> isize {\n    n + 4\n}"},
    ),
    "HumanEval-X": (
        [{"task_id": "Rust/900", "prompt": HUMANEVAL_X_PREAMBLE + "/*\nHow many rungs a ladder has.\n*/\nfn rungs(ladder: Vec<i32>) -> i32 {\n",
          "declaration": HUMANEVAL_X_PREAMBLE + "fn rungs(ladder: Vec<i32>) -> i32 {\n", "canonical_solution": "    ladder.len() as i32\n}\n",
          "test": HUMANEVAL_X_TESTS, "example_test": ""}],
        {"Rust/900": HUMANEVAL_X_PREAMBLE + "fn rungs(ladder: Vec<i32>) -> i32 {\n    ladder.len() as i32\n}"},
        {"Rust/900": HUMANEVAL_X_PREAMBLE + "fn rungs(ladder: Vec<i32>) -> i32 {\n    ladder.len() as i32 % 3\n}"},
    ),
    "own": (
        [{"task_id": "own/lines", "prompt": "Write `add`.", "tests": HIDDEN, "entry_point": "add"},
         {"task_id": "own/module", "prompt": "Write `rungs`.", "tests": HUMANEVAL_X_TESTS, "entry_point": "rungs"}],
        {"own/lines": "fn add(a: i32, b: i32) -> i32 {\n    b + a\n}",
         "own/module": "fn rungs(ladder: Vec<i32>) -> i32 {\n    ladder.len() as i32\n}"},
        {"own/lines": "fn add(a: i32, b: i32) -> i32 {\n    a * b\n}"},
    ),
}  # fmt: skip
CLASHES = {  # what a completion may bring along that the hidden tests have too
    "nothing": "",
    "its own main": '\nfn main() {\n    panic!("not what is asked");\n}\n',
    "its own tests": "\n#[cfg(test)]\nmod tests {\n    use super::*;\n    #[test]\n    fn test_rungs() {\n        assert!(1 == 2);\n    }\n}\n",
    "helpers": "\nfn helper(n: i32) -> i32 {\n    n + 1\n}\nfn candidate(n: i32) -> i32 {\n    helper(n)\n}\nfn test_rungs() {}\n",
}


def fenced(code: str) -> str:
    return f"```rust\n{code}\n```"


def without_main(code: str) -> str:
    return re.sub(r"fn main\(\)\{ \n \} \n", "", code)


@pytest.mark.parametrize("name", FORMATS)
def test_gold_solutions_of_every_format_score_everything(tmp_path, name):
    rows, gold, wrong = FORMATS[name]
    answers = [
        {"task_id": task, "completion": fenced((without_main(code) if "main" in clash else code) + clash)}
        for task, code in gold.items() for clash in CLASHES.values()
    ]  # fmt: skip
    answers += [{"task_id": task, "completion": fenced(code)} for task, code in wrong.items()]
    out, tasks = tmp_path / "out", write_jsonl(tmp_path / "tasks.jsonl", rows)
    source = write_jsonl(tmp_path / "answers.jsonl", answers)
    assert run("--completions", source, "--tasks", tasks, "--output_dir", out, "--hidden_tests", "required") == 0
    results = read_jsonl(out / "results.jsonl")
    n_gold = len(gold) * len(CLASHES)
    assert [(r["hidden_passed"], r["task_id"]) for r in results[:n_gold]] == [
        (r["hidden_total"], r["task_id"]) for r in results[:n_gold]
    ]
    assert all(r["hidden_total"] >= 2 and r["build_passed"] for r in results[:n_gold])
    assert all(r["hidden_passed"] < r["hidden_total"] for r in results[n_gold:]), "a wrong solution must be told from a right one"
    assert all("fn " in r["prompt"] and "assert" not in r["prompt"] for r in results) or name == "own"


def test_every_row_of_a_published_file_loads_with_its_hidden_tests():
    """A published benchmark as it is: MULTIPL_E_RS=FILE.jsonl with mbpp-rs (354 rows) or humaneval-rs (156)."""
    file = os.environ.get("MULTIPL_E_RS")
    if not file:
        pytest.skip("set MULTIPL_E_RS to MultiPL-E's mbpp-rs or humaneval-rs as jsonl")
    args = EvalArguments(tasks=file, hidden_tests="required")
    tasks = evaluation.load_eval_tasks(args)
    n_lines = sum(bool(line.strip()) for line in Path(file).read_text(encoding="utf-8").splitlines())
    assert len(tasks) == n_lines > 0
    if tasks[0]["task_id"].startswith("mbpp_"):
        assert n_lines == 354
    program = read_program("fn unrelated() {}")
    for task in tasks:
        assert f"fn {task['entry_point']}(" in task["prompt"] or f"fn {task['entry_point']}<" in task["prompt"]
        suite = with_hidden_tests(program, task["tests"], task["entry_point"])
        n_asserts = sum(text.count("assert") for text in task["tests"])
        assert len(suite.test_names) == n_asserts > 0, task["task_id"]


# ---------------------------------------------------------------------------------------------------------------------
# Before and after
# ---------------------------------------------------------------------------------------------------------------------


def test_the_tables_show_what_went_wrong_before_and_after():
    before, after = RowStats("before"), RowStats("after")
    for stats, kinds in ((before, ["compile"] * 3 + [None]), (after, ["compile", "test_failed", None, None])):
        for i, kind in enumerate(kinds):
            stats.add(
                record(
                    f"t{i}",
                    stats.row,
                    test_passed=kind is None,
                    hidden=kind is None,
                    kind=kind,
                    codes=["E0382"] * (kind == "compile"),
                )
            )
    summary = summarise([before, after], [1], 100)
    assert [row["error_kinds"] for row in summary["rows"]] == [
        {"compile": 0.75, "none": 0.25}, {"compile": 0.25, "none": 0.5, "test_failed": 0.25},
    ]  # fmt: skip
    assert [row["rustc_codes"] for row in summary["rows"]] == [{"E0382": 3}, {"E0382": 1}]
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in format_tables(summary).splitlines() if "|" in line
    ]
    kinds = lines.index(["row", "nothing", "compile", "test_failed"])
    assert lines[kinds + 2 : kinds + 4] == [["before", "25.0", "75.0", "0.0"], ["after", "50.0", "25.0", "25.0"]]
    codes = lines.index(["row", "rustc codes"])
    assert lines[codes + 2 : codes + 4] == [["before", "E0382 3"], ["after", "E0382 1"]]


def test_only_the_most_frequent_compiler_errors_are_listed():
    stats = RowStats("r")
    for i in range(TOP_CODES + 5):
        for _ in range(i + 1):
            stats.add(record(kind="compile", codes=[f"E{i:04}"]))
    (row,) = summarise([stats], [], 10)["rows"]
    assert list(row["rustc_codes"].items()) == [(f"E{i:04}", i + 1) for i in range(TOP_CODES + 4, 4, -1)]


# ---------------------------------------------------------------------------------------------------------------------
# Models: rows, files, going on after a kill
# ---------------------------------------------------------------------------------------------------------------------


def test_a_file_of_plain_rust_is_graded_as_it_stands_and_prose_is_not(tmp_path, judge, capsys):
    fake = judge()
    codes = ["fn add(a: i32, b: i32) -> i32 {\n    a + b\n}", "/// Adds.\npub fn add(a: i32, b: i32) -> i32 { b + a }", "I cannot."]
    rows = [{"prompt": "Add.", "completion": code} for code in codes]
    assert run("--completions", write_jsonl(tmp_path / "a.jsonl", rows), "--output_dir", tmp_path / "a") == 0
    assert [job.program and job.program.functions for job in fake.batches[0]] == [("add",), ("add",), None]
    assert "2 of 3 completions are Rust and none is fenced" in capsys.readouterr().err
    fenced_too = [*rows, {"prompt": "Add.", "completion": GOOD}]
    assert run("--completions", write_jsonl(tmp_path / "b.jsonl", fenced_too), "--output_dir", tmp_path / "b") == 0
    assert [job.program is None for job in fake.batches[1]] == [True, True, True, False]


SUM = "fn sum(numbers: &[i32]) -> i32 {"


def test_completions_that_go_on_where_their_prompt_stops_are_graded_with_it(tmp_path, judge, capsys):
    fake = judge()
    bodies = ["\n    numbers.iter().sum()\n}", "    total(numbers)\n}\n\nfn total(n: &[i32]) -> i32 { n.len() as i32 }\n", "    0", "I cannot."]
    rows = [{"prompt": f"use std::fmt;\n\n/// Adds {{up}}.\n{SUM}\n", "completion": body} for body in bodies]
    assert run("--completions", write_jsonl(tmp_path / "a.jsonl", rows), "--output_dir", tmp_path / "a") == 0
    assert [job.program and job.program.functions for job in fake.batches[0]] == [("sum",), ("sum", "total"), ("sum",), None]
    assert all(job.program.source.startswith("use std::fmt;") for job in fake.batches[0][:3])
    assert "3 of 4 completions are Rust and none is fenced" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json"])
@pytest.mark.parametrize("column", ["completions", "drafts"])
def test_several_completions_of_a_row_are_as_many_results(tmp_path, judge, capsys, name, column):
    judge(lambda job: Verdict(build_passed=True, hidden_passed=2, hidden_total=2))
    rows = [{"task_id": "t", "prompt": "Add.", "stop": ["\n}"], "tests": HIDDEN, column: [GOOD, "no", GOOD]}, {"task_id": "u", "prompt": "Sub.", "tests": HIDDEN, column: [GOOD] * 2}]
    text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert run("--completions", tmp_path / name, "--output_dir", tmp_path / "out", "--k", "2") == 0
    assert f"read from the column '{column}'" in capsys.readouterr().err
    found = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert [(r["task_id"], r["sample"], r["completion"]) for r in found] == [("t", 0, GOOD), ("t", 1, "no"), ("t", 2, GOOD), ("u", 0, GOOD), ("u", 1, GOOD)]
    assert all(column not in record for record in found)


def test_own_rewards_get_the_columns_of_the_row_and_of_its_task(tmp_path, judge, capsys):
    judge()
    (tmp_path / "mine.py").write_text("def pay(completions, level, stars, **kwargs):\n    return [len(l) + s for l, s in zip(level, stars)]\n")
    tasks = write_jsonl(tmp_path / "tasks.jsonl", [{"task_id": "a", "prompt": "Add.", "level": "hard"}])
    source = write_jsonl(tmp_path / "done.jsonl", [{"task_id": "a", "prompt": "Add.", "completion": GOOD, "stars": 3}])
    call = ["--completions", source, "--rewards", f"{tmp_path / 'mine.py'}:pay=1", "--output_dir", tmp_path / "out"]
    assert "the reward pay asks for 'level'" in refused(capsys, *call)
    assert run(*call, "--tasks", tasks) == 0
    (record,) = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert record["rewards"] == {"pay": 7.0} and record["stars"] == 3 and "columns" not in record


def test_tasks_that_their_own_reference_does_not_pass_are_told(tmp_path, judge, capsys):
    judge(lambda job: Verdict(build_passed=True, hidden_passed=int("a - b" not in job.program.source), hidden_total=1))
    gold = "fn add(a: i32, b: i32) -> i32 {\n    a %s b\n}"
    rows = [{"task_id": sign, "prompt": "Add.", "tests": HIDDEN, "gold": gold % sign} for sign in "+-"]
    source = write_jsonl(tmp_path / "done.jsonl", [{"task_id": sign, "prompt": "Add.", "completion": GOOD} for sign in "+-"])
    assert run("--completions", source, "--tasks", write_jsonl(tmp_path / "tasks.jsonl", rows), "--output_dir", tmp_path / "out") == 0
    assert "note: 1 of the 2 tasks with a reference solution (50.0%) are not passed by it" in capsys.readouterr().err


def test_rows_without_prompt_and_id_are_tasks_of_their_own(tmp_path, judge, capsys):
    judge()
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": None, "completion": GOOD}, {"prompt": " ", "completion": GOOD}, {"prompt": "p", "completion": GOOD}])
    assert run("--completions", source, "--output_dir", tmp_path / "out") == 0
    ids = [record["task_id"] for record in read_jsonl(tmp_path / "out" / "results.jsonl")]
    assert ids[:2] == ["line 1", "line 2"] and ids[2].startswith("prompt-")
    assert "2 of 3 completions have neither a prompt nor a task id" in capsys.readouterr().err


def test_an_id_of_several_tasks_is_said_and_has_no_pass_at_k(tmp_path, judge, capsys):
    judge()
    rows = [{"task_id": "t", "prompt": "p", "completion": GOOD, "tests": [f"assert_eq!(f({n}), {n});"]} for n in (1, 1, 2)]
    source = write_jsonl(tmp_path / "a.jsonl", rows)
    assert "'t' has other hidden tests here than before" in refused(capsys, "--completions", source, "--output_dir", tmp_path / "k", "--k", "1")
    assert run("--completions", source, "--output_dir", tmp_path / "out") == 0
    assert "1 task ids stand for several tasks" in capsys.readouterr().err


def test_completions_of_no_task_are_counted_aloud(tmp_path, judge, capsys):
    judge()
    tasks = write_jsonl(tmp_path / "tasks.jsonl", [{"task_id": "a", "prompt": "Add.", "tests": HIDDEN}])
    source = write_jsonl(tmp_path / "done.jsonl", [{"task_id": name, "prompt": "p", "completion": GOOD} for name in "xya"])
    assert run("--completions", source, "--tasks", tasks, "--output_dir", tmp_path / "out") == 0
    assert "1 of 3 completions belong to a task of" in capsys.readouterr().err


def test_messages_and_rust_tests_in_another_column_are_read(tmp_path, judge):
    fake = judge()
    turns = [{"role": "user", "content": [{"type": "text", "text": "Add."}]}, {"role": "assistant", "content": "Sure:"}]
    answer = [{"role": "assistant", "content": "no"}, {"role": "user", "content": "try"}, {"role": "assistant", "content": GOOD}]
    source = write_jsonl(tmp_path / "done.jsonl", [{"prompt": turns, "completion": answer, "test_list": HIDDEN}])
    assert run("--completions", source, "--output_dir", tmp_path / "out") == 0
    assert (fake.batches[0][0].hidden_tests, fake.batches[0][0].prompt) == (tuple(HIDDEN), "Add.")
    assert read_jsonl(tmp_path / "out" / "results.jsonl")[0]["completion"] == GOOD


def model_arguments(model, prompts, out, *more) -> list:
    return ["--model", model, "--tasks", prompts, "--output_dir", out, "--system_prompt", "none", "--temperature", 0,
            "--max_new_tokens", 8, "--num_samples", 2, "--batch_size", 3, "--bootstrap_samples", 200, *more]  # fmt: skip


def test_baseline_and_adapter_give_one_table(tmp_path, judge, tiny_model, adapter, prompts, capsys):
    judge()
    out = tmp_path / "out"
    assert run(*model_arguments(tiny_model, prompts, out, "--adapter", adapter, "--row_names", "before", "after")) == 0
    results = read_jsonl(out / "results.jsonl")
    assert [(r["row"], r["task_id"], r["sample"]) for r in results] == [
        (row, f"t/{i}", sample) for row in ("before", "after") for i in range(5) for sample in range(2)
    ]
    assert all((GRADED_FIELDS - {"duration_s"}) | {"n_tokens", "finished"} <= r.keys() for r in results)
    assert {r["completion"] for r in results[:10]}.isdisjoint({r["completion"] for r in results[10:]})
    table = (out / "table.md").read_text()
    assert f"Compiler errors, own tests as a judge of the code: {out / 'table.md'}" in " ".join(capsys.readouterr().out.split())
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:4]] == ["before", "after"]
    assert "after - before" in table
    assert (out / "chart.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rows"][0]["metrics"]["mean_length"]["value"] == 8
    assert summary["protocol"]["sampling"]["repetition_penalty"] == 1.0
    assert summary["timings"]["before"]["generated"] == summary["timings"]["after"]["graded"] == 10
    assert {"completion": 80}.items() <= summary["rows"][0]["tokens"].items()
    assert summary["versions"]["transformers"]
    assert summary["row_sources"][1]["adapter_hash"]
    assert sorted(path.name for path in out.iterdir()) == [
        "chart.png", "debug.log", "results.jsonl", "results.parquet", "run.json", "summary.json", "table.md", "timings.json",
    ]  # fmt: skip


def test_tasks_that_an_adapter_was_trained_on_are_named(tmp_path, judge, tiny_model, adapter, prompts, capsys):
    judge()
    trained = tmp_path / "trained"
    shutil.copytree(adapter, trained / "adapter")
    task_sets.write_trained_tasks(trained, task_sets.load_tasks(str(prompts))[2:4])
    assert run(*model_arguments(tiny_model, prompts, tmp_path / "out", "--adapter", trained / "adapter", "--num_samples", 1)) == 0
    said = capsys.readouterr().err
    assert (
        re.search(r"warning: .*adapter was trained on 2 of these 5 tasks, the first is 't/2'", said)
        and said.count("warning:") == 1
    )


def test_parquet_holds_the_same_rows(tmp_path, judge, tiny_model, prompts):
    import pyarrow.parquet as pq

    judge()
    assert run(*model_arguments(tiny_model, prompts, tmp_path / "out")) == 0
    table, results = (
        pq.read_table(tmp_path / "out" / "results.parquet").to_pylist(),
        read_jsonl(tmp_path / "out" / "results.jsonl"),
    )
    for name in ("task_id", "sample", "completion", "build_passed", "reward", "n_tokens"):
        assert [row[name] for row in table] == [r[name] for r in results]
    assert [json.loads(row["rewards"]) for row in table] == [r["rewards"] for r in results]


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


def kill_after(function, calls: int):
    """`function`, until it was called `calls` times."""
    counter = itertools.count(1)

    def wrapper(*arguments, **keywords):
        if next(counter) > calls:
            raise Killed
        return function(*arguments, **keywords)

    return wrapper


KILLS = {  # where a run is killed: owner, attribute, calls that still succeed
    "first batch": (TransformersGenerator, "_generate_batch", 0),
    "third batch": (TransformersGenerator, "_generate_batch", 2),
    "second row": (TransformersGenerator, "_generate_batch", 5),
    "first grading": (FakeJudge, "grade", 0),
    "later grading": (FakeJudge, "grade", 2),
    "finish": (evaluation.Session, "finish", 0),
    "report": (evaluation, "write_parquet", 0),
}


@pytest.mark.parametrize("where", KILLS)
def test_killed_anywhere_it_goes_on_and_ends_the_same(tmp_path, judge, monkeypatch, tiny_model, adapter, prompts, where):
    monkeypatch.setattr("evaluation.grading.JOBS_PER_WORKER", 4)
    generated, plain = [], TransformersGenerator._generate_batch
    monkeypatch.setattr(
        TransformersGenerator, "_generate_batch", lambda self, p, c, s=None: generated.append(len(p)) or plain(self, p, c, s)
    )
    arguments = lambda out: model_arguments(tiny_model, prompts, out, "--adapter", adapter)
    judge()
    assert run(*arguments(tmp_path / "whole")) == 0
    generated.clear()

    first, out = judge(), tmp_path / "out"
    with monkeypatch.context() as patch:
        owner, name, calls = KILLS[where]
        patch.setattr(owner, name, kill_after(getattr(owner, name), calls))
        with pytest.raises(Killed):
            run(*arguments(out))
    second = judge()
    assert run(*arguments(out)) == 0
    assert sum(generated) == 20, "nothing is generated twice"
    assert sum(map(len, [*first.batches, *second.batches])) == 20, "nothing is graded twice"
    assert (out / "results.jsonl").read_bytes() == (tmp_path / "whole" / "results.jsonl").read_bytes(), "greedy: byte-equal"
    assert snapshot(out).keys() == snapshot(tmp_path / "whole").keys()


def test_a_torn_last_line_is_generated_again(tmp_path, judge, monkeypatch, tiny_model, prompts):
    judge()
    arguments = model_arguments(tiny_model, prompts, tmp_path / "out")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(FakeJudge, "grade", kill_after(FakeJudge.grade, 0))
        run(*arguments)
    partial = tmp_path / "out" / "completions.partial.jsonl"
    partial.write_bytes(partial.read_bytes()[:-20])
    assert run(*arguments) == 0
    judge()
    assert run(*model_arguments(tiny_model, prompts, tmp_path / "whole")) == 0
    assert read_jsonl(tmp_path / "out" / "results.jsonl") == read_jsonl(tmp_path / "whole" / "results.jsonl")


def test_a_finished_run_loads_no_model_again(tmp_path, judge, monkeypatch, tiny_model, prompts):
    judge()
    arguments = model_arguments(tiny_model, prompts, tmp_path / "out")
    assert run(*arguments) == 0
    before = snapshot(tmp_path / "out")
    monkeypatch.setattr(evaluation, "open_generator", lambda *a, **k: pytest.fail("the model was loaded again"))
    assert run(*arguments) == 0
    after = snapshot(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} <= {"summary.json"}


def test_a_row_can_be_added_under_the_same_protocol(tmp_path, judge, tiny_model, adapter, prompts):
    judge()
    assert run(*model_arguments(tiny_model, prompts, tmp_path / "out", "--row_names", "before")) == 0
    more = ["--adapter", adapter, "--no_baseline", "--row_names", "after"]
    assert run(*model_arguments(tiny_model, prompts, tmp_path / "out", *more)) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["row"] for row in summary["rows"]] == ["before", "after"]
    assert len(summary["differences"]) == 1


def test_ctrl_c_says_how_to_go_on(tmp_path, judge, monkeypatch, tiny_model, prompts, capsys):
    judge()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(TransformersGenerator, "_generate_batch", interrupted)
    assert run(*model_arguments(tiny_model, prompts, tmp_path / "out")) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_failing_machine_stops_the_run_and_is_tried_again(tmp_path, judge, monkeypatch, tiny_model, prompts, capsys):
    monkeypatch.setattr("evaluation.grading.MIN_GRADED_FOR_INFRA_STOP", 4)
    arguments = model_arguments(tiny_model, prompts, tmp_path / "out")
    judge(infra_verdict)
    assert "failed to grade 10 of 10" in refused(capsys, *arguments)
    second = judge()
    assert run(*arguments) == 0
    assert sum(map(len, second.batches)) == 10


def test_single_infra_failures_are_shown_and_left_out(tmp_path, judge, capsys):
    judge(lambda job: Verdict(error_kind="infra") if "unlucky" in job.program.source else Verdict(build_passed=True))
    rows = [{"prompt": "p", "completion": GOOD.replace("add", name)} for name in ("unlucky", "lucky")]
    assert run("--completions", write_jsonl(tmp_path / "in.jsonl", rows), "--output_dir", tmp_path / "out") == 0
    assert "NOT GRADED, the machine failed (in no rate above): in: 1" in capsys.readouterr().out
    results = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert [(r["error_kind"], set(r["rewards"].values()) == {None}) for r in results] == [("infra", True), (None, False)]


def unlucky(job) -> Verdict:
    """The machine fails on one program in this process, and on no other."""
    return Verdict(error_kind="infra") if "unlucky" in job.program.source else Verdict(build_passed=True)


@pytest.fixture
def named_completions(tmp_path) -> Path:
    rows = [{"prompt": "p", "completion": GOOD.replace("add", name)} for name in ("first", "unlucky", "third", "fourth")]
    return write_jsonl(tmp_path / "named.jsonl", rows)


def test_what_the_machine_failed_to_grade_is_tried_again_in_its_place(tmp_path, judge, named_completions, capsys):
    arguments = ("--completions", named_completions, "--output_dir", tmp_path / "out")
    judge(unlucky)
    assert run(*arguments) == 0
    healed = judge()
    assert run(*arguments) == 0
    results = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert [r["error_kind"] for r in results] == [None] * 4 and "unlucky" in results[1]["completion"]
    assert sum(map(len, healed.batches)) == 1, "only the one that failed"
    assert "NOT GRADED" not in capsys.readouterr().out.split("Results:")[1]


def test_a_short_run_that_the_machine_failed_is_not_finished(tmp_path, judge, named_completions, capsys):
    arguments = ("--completions", named_completions, "--output_dir", tmp_path / "out")
    judge(infra_verdict)
    assert "failed to grade 4 of 4" in refused(capsys, *arguments)
    assert not (tmp_path / "out" / "results.jsonl").exists()
    judge()
    assert run(*arguments) == 0
    assert [r["error_kind"] for r in read_jsonl(tmp_path / "out" / "results.jsonl")] == [None] * 4


def test_the_reason_of_the_machine_is_said(tmp_path, judge, named_completions, capsys):
    full = Diagnostic(None, "note", "[Errno 28] No space left on device", None)
    judge(lambda job: Verdict(error_kind="infra", diagnostics=(full,)))
    said = refused(capsys, "--completions", named_completions, "--output_dir", tmp_path / "out")
    assert "failed to grade 4 of 4 completions (limit: " in said and "[Errno 28] No space left on device): look at disk" in said


@pytest.mark.parametrize(("number", "is_full"), [(errno.ENOSPC, True), (errno.EACCES, False)])
def test_a_full_disk_is_said_with_what_to_do_next(tmp_path, judge, named_completions, capsys, monkeypatch, number, is_full):
    judge()
    fail = lambda *args, **options: (_ for _ in ()).throw(OSError(number, os.strerror(number)))
    monkeypatch.setattr("traces.TraceWriter.write", fail)
    said = refused(capsys, "--completions", named_completions, "--output_dir", tmp_path / "out")
    assert os.strerror(number) in said and ("free some space and run the same command again" in said) == is_full


def one_failure():
    """Verdicts of which the first is the machine's fault."""
    calls = itertools.count()
    return lambda job: Verdict(error_kind="infra") if next(calls) == 0 else Verdict(build_passed=True)


def test_a_failed_grading_asks_the_model_for_nothing_again(tmp_path, judge, monkeypatch, tiny_model, prompts):
    arguments = model_arguments(tiny_model, prompts, tmp_path / "out", "--temperature", 1.0)
    judge(one_failure())
    assert run(*arguments) == 0
    before = read_jsonl(tmp_path / "out" / "results.jsonl")
    monkeypatch.setattr(evaluation, "open_generator", lambda *a, **k: pytest.fail("the model was loaded again"))
    second = judge()
    assert run(*arguments) == 0
    after = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert [r["error_kind"] for r in before].count("infra") == 1 and "infra" not in [r["error_kind"] for r in after]
    same = ("task_id", "sample", "completion", "n_tokens", "finished", "n_prompt_tokens")
    assert [[r[name] for name in same] for r in before] == [[r[name] for name in same] for r in after]
    assert sum(map(len, second.batches)) == 1


def test_a_row_with_a_failed_completion_survives_another_row(tmp_path, judge, tiny_model, adapter, prompts):
    judge(one_failure())
    assert run(*model_arguments(tiny_model, prompts, tmp_path / "out", "--row_names", "before")) == 0
    judge()
    more = ["--adapter", adapter, "--no_baseline", "--row_names", "after"]
    assert run(*model_arguments(tiny_model, prompts, tmp_path / "out", *more)) == 0
    rows = [r["row"] for r in read_jsonl(tmp_path / "out" / "results.jsonl")]
    assert rows == ["before"] * 10 + ["after"] * 10
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [(row["n"], row["n_infra"]) for row in summary["rows"]] == [(9, 1), (10, 0)]
    assert [d["n_tasks"] for d in summary["differences"]] == [5]


def test_a_difference_is_taken_over_the_tasks_that_both_rows_have():
    stats = [RowStats("a"), RowStats("b")]
    for task, passed in (("t1", False), ("t2", False), ("only a", True)):
        stats[0].add(record(task, "a", test_passed=passed))
    for task, passed in (("t1", True), ("t2", False), ("only b", False)):
        stats[1].add(record(task, "b", test_passed=passed))
    rows, (difference,) = estimates(stats, [], 200)
    assert (difference["n_tasks"], difference["metrics"]["tests"]["value"]) == (2, 0.5)
    assert [row["tests"]["value"] for row in rows] == [0.333333, 0.333333], "the rates are of all"
    assert estimates([stats[0], RowStats("empty")], [], 200)[1] == []


def test_what_fails_in_a_held_folder_is_not_another_process(tmp_path):
    with pytest.raises(BlockingIOError, match="fork"), hold_folder(tmp_path):
        raise BlockingIOError(errno.EAGAIN, "fork")


def test_two_processes_do_not_write_one_folder(tmp_path, judge, named_completions, capsys):
    judge()
    with hold_folder(tmp_path / "out"):
        said = refused(capsys, "--completions", named_completions, "--output_dir", tmp_path / "out")
        assert "in use by another process" in said and snapshot(tmp_path / "out") == {}
    assert run("--completions", named_completions, "--output_dir", tmp_path / "out") == 0


def test_the_folder_of_a_training_run_is_not_taken_for_an_evaluation(tmp_path, judge, named_completions, capsys):
    judge()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"schema_version": 1, "attempts": [], "plan": {}, "config": {}}))
    before = snapshot(tmp_path / "run")
    assert "no run.json of an evaluation" in refused(capsys, "--completions", named_completions, "--output_dir", tmp_path / "run")
    assert snapshot(tmp_path / "run") == before


def test_another_completion_column_is_another_run(tmp_path, judge, capsys):
    judge()
    rows = [{"prompt": "p", "completion": GOOD, "other": BROKEN}]
    arguments = ("--completions", write_jsonl(tmp_path / "in.jsonl", rows), "--output_dir", tmp_path / "out")
    assert run(*arguments) == 0
    assert "completion_column" in refused(capsys, *arguments, "--completion_column", "other")


def test_another_system_prompt_to_grade_with_is_another_protocol(tmp_path, judge, named_completions, capsys):
    judge()
    arguments = ("--completions", named_completions, "--output_dir", tmp_path / "out")
    assert run(*arguments) == 0
    assert "graded_with_prompt_hash" in refused(capsys, *arguments, "--system_prompt", "none")
    assert run(*arguments[:2], "--output_dir", tmp_path / "none", "--system_prompt", "none") == 0
    assert "graded_with_prompt_hash" in refused(capsys, "--compare", tmp_path / "out", tmp_path / "none")


def test_results_hold_the_hidden_tests_that_were_used(tmp_path, judge):
    judge()
    rows = [{"task_id": "t", "prompt": "p", "completion": GOOD, "hidden_tests": None}]
    completions = write_jsonl(tmp_path / "in.jsonl", rows)
    task = write_jsonl(tmp_path / "tasks.jsonl", [{"task_id": "t", "prompt": "p", "tests": HIDDEN, "entry_point": "add"}])
    assert run("--completions", completions, "--tasks", task, "--output_dir", tmp_path / "out") == 0
    (result,) = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert (result["hidden_tests"], result["entry_point"]) == (HIDDEN, "add")
    again = ("--completions", tmp_path / "out" / "results.jsonl", "--output_dir")
    assert run(*again, tmp_path / "off", "--hidden_tests", "off") == 0
    assert read_jsonl(tmp_path / "off" / "results.jsonl")[0]["hidden_tests"] is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--task_ids", "ids.txt"), "--task_ids goes with --model"),
        (("--row_names", "a", "b"), "--row_names goes with --model"),
        (("--bootstrap_samples", "0"), "--bootstrap_samples 0: expected at least 1"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(tmp_path, judge, named_completions, capsys, more, message):
    judge()
    assert message in refused(capsys, "--completions", named_completions, "--output_dir", tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_parquet_takes_long_integers_beside_floats(tmp_path):
    import pyarrow.parquet as pq

    values = {"mixed": [2**60 + 1, 0.5], "long": [2**60 + 1, 7], "number": [1, 0.5], "huge": [2**70, 1]}
    rows = [{name: column[i] for name, column in values.items()} for i in range(2)]
    write_parquet(write_jsonl(tmp_path / "r.jsonl", rows), tmp_path / "r.parquet")
    read = pq.read_table(tmp_path / "r.parquet").to_pydict()
    assert read == {"mixed": [str(2**60 + 1), "0.5"], "long": values["long"], "number": [1.0, 0.5], "huge": [str(2**70), "1"]}


# ---------------------------------------------------------------------------------------------------------------------
# The trace of a training run, graded again
# ---------------------------------------------------------------------------------------------------------------------


def traced(completion=GOOD, step=1, group=0, attempt=0, rewards=None, task="add", reward=None, **extra) -> dict:
    """One line of a training trace as train.py writes it; by default the build passed and nothing else is known."""
    rewards = {"cargo_build_reward": 1.0, "cargo_test_reward": 0.0} if rewards is None else rewards
    return {
        "schema_version": 1, "task_id": task, "prompt": "Add.", "completion": completion, "program": None, "build_passed": True,
        "clippy_passed": True, "clippy_warnings": 0, "test_passed": False, "tests": {}, "hidden_passed": None, "hidden_total": None,
        "error_kind": None, "diagnostics": [], "honest_tests": False, "guard": None, "n_asserts": 1, "duration_s": 0.1, "rewards": rewards,
        "reward": sum(rewards.values()) if reward is None else reward, "step": step, "attempt": attempt, "rank": 0,
        "group_id": f"{step}-{group}", "n_tokens": 9, "advantage": 0.0,
    } | extra  # fmt: skip


def write_run(folder: Path, lines, judge_version: int | None = None) -> Path:
    """A run folder with this trace, and run.json when a judge is named."""
    folder.mkdir()
    write_jsonl(folder / "trace.jsonl", lines)
    if judge_version is not None:
        judge = {"judge_version": judge_version, "rustc": "rustc 0", "workers": 1, "sandbox": {}}
        (folder / "run.json").write_text(json.dumps({"attempts": [{"plan": {"judge": judge}}]}))
    return folder


def graded_again(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())["graded_again"]


def test_a_trace_is_graded_again_by_real_cargo_and_put_beside_what_it_was(tmp_path, capsys):
    def line(text, was_paid, **extra):
        return traced(text, rewards={"cargo_build_reward": was_paid}, hidden_passed=None, **extra)

    lines = [
        line(GOOD, 1.0, group=0), line(WRONG_BUT_CONSISTENT, 1.0, group=0),  # no signal by the build, one right by hidden tests
        line(FAILING, 0.0, group=1, build_passed=False, error_kind="compile"), line(BROKEN, 1.0, group=1),  # the other way round now
    ]  # fmt: skip
    tasks = write_jsonl(tmp_path / "tasks.jsonl", [{"task_id": "add", "prompt": "Add.", "tests": HIDDEN, "entry_point": "add"}])
    run_dir, out = write_run(tmp_path / "run", lines), tmp_path / "out"
    rewards = ["--rewards", "cargo_build_reward=1", "hidden_tests_reward=2"]
    assert run("--completions", run_dir, "--tasks", tasks, "--output_dir", out, *rewards) == 0
    assert [(r["hidden_passed"], r["reward"], r["step"], r["group_id"]) for r in read_jsonl(out / "results.jsonl")] == [
        (2, 3.0, 1, "1-0"), (0, 1.0, 1, "1-0"), (2, 3.0, 1, "1-1"), (0, 0.0, 1, "1-1"),
    ]  # fmt: skip
    changes = graded_again(out)
    assert changes["functions"] == {
        "cargo_build_reward": {"before": 0.75, "after": 0.75},
        "hidden_tests_reward": {"before": None, "after": 0.5},
    }
    assert changes["reward"] == {"before": 0.75, "after": 1.75}
    assert changes["without_signal"] == {"before": 0.5, "after": 0.0}
    assert changes["rank_correlation"] == {"value": -1.0, "n_groups": 1}
    assert (changes["best_changes"], changes["best_set_changes"]) == (0.5, 1.0)
    kinds = changes["verdict_changes"]["kinds"]
    assert (kinds["build_passed: false -> true"], kinds["build_passed: true -> false"]) == (1, 1)
    assert kinds['error_kind: "compile" -> "test_failed"'] == 1
    printed = capsys.readouterr().out
    assert re.search(r"\| reward +\| 0.750 +\| 1.750", printed)
    assert re.search(r"groups without signal, % +\| 50.0 +\| 0.0", printed)
    assert "build_passed: false -> true: 1" in (out / "table.md").read_text()


def test_what_does_not_change_is_said_not_to_change(tmp_path, judge):
    lines = [traced(text, rewards={"cargo_build_reward": paid}, build_passed=bool(paid), clippy_passed=bool(paid), test_passed=bool(paid),
                    honest_tests=bool(paid), error_kind=None if paid else "no_code", group=group)
             for group in range(2) for text, paid in ((GOOD, 1.0), (PROSE, 0.0))]  # fmt: skip
    judge()
    run_dir = write_run(tmp_path / "run", lines)
    assert (
        run("--completions", run_dir / "trace.jsonl", "--output_dir", tmp_path / "out", "--rewards", "cargo_build_reward=1") == 0
    )
    changes = graded_again(tmp_path / "out")
    assert changes["verdict_changes"] == {"n": 0, "kinds": {}}
    assert (changes["rank_correlation"], changes["best_changes"], changes["best_set_changes"]) == (
        {"value": 1.0, "n_groups": 2},
        0.0,
        0.0,
    )
    assert changes["reward"] == {"before": 0.5, "after": 0.5}


def test_rank_correlation_is_spearmans(tmp_path):
    before, after = [1, 2, 2, 5, 9, 0], [3, 1, 4, 4, 8, 2]
    lines = [
        {"group_id": "1-0", "error_kind": None, "rewards": {}, "reward": a, **dict.fromkeys(VERDICT_FIELDS)}
        | {"before": {"reward": b, "rewards": {}, **dict.fromkeys(VERDICT_FIELDS)}}
        for b, a in zip(before, after, strict=True)
    ]
    rank = lambda values: [np.mean([i for i, v in enumerate(sorted(values), start=1) if v == value]) for value in values]
    expected = np.corrcoef(rank(before), rank(after))[0, 1]
    found = compare_with_trace(write_jsonl(tmp_path / "results.jsonl", lines))["rank_correlation"]
    assert found == {"value": pytest.approx(expected, abs=1e-6), "n_groups": 1}


def test_superseded_and_packed_and_unreadable_lines_of_a_trace(tmp_path, judge, capsys):
    fake, run_dir = judge(), tmp_path / "run"
    run_dir.mkdir()
    early = [traced(GOOD.replace("add", f"a{step}"), step=step) for step in (1, 2, 3)]
    with gzip.open(run_dir / "trace.part0001.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in early)
    late = [traced(GOOD.replace("add", f"b{step}"), step=step, attempt=1) for step in (2, 3)]
    (run_dir / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in late) + '{"step": 4, "comp')
    assert run("--completions", run_dir, "--output_dir", tmp_path / "out") == 0
    functions = [job.program.functions[0] for batch in fake.batches for job in batch]
    assert functions == ["a1", "b2", "b3"], "what the second attempt did again does not count"
    assert "1 lines of" in capsys.readouterr().err
    assert run("--completions", run_dir / "trace.part0001.jsonl.gz", "--output_dir", tmp_path / "part") == 0
    assert len(read_jsonl(tmp_path / "part" / "results.jsonl")) == 3


def test_a_redacted_trace_gets_its_prompts_by_task_id(tmp_path, judge, capsys):
    fake = judge()
    run_dir = write_run(tmp_path / "run", [traced(prompt=None), {k: v for k, v in traced(task="sub").items() if k != "prompt"}])
    tasks = [{"task_id": "sub", "prompt": "Subtract."}, {"task_id": "add", "prompt": "Please add."}]
    assert (
        run("--completions", run_dir, "--output_dir", tmp_path / "out", "--tasks", write_jsonl(tmp_path / "t.jsonl", tasks)) == 0
    )
    assert [job.prompt for job in fake.batches[0]] == ["Please add.", "Subtract."]
    assert [r["prompt"] for r in read_jsonl(tmp_path / "out" / "results.jsonl")] == ["Please add.", "Subtract."]
    assert "have no prompt" not in capsys.readouterr().err
    some = write_jsonl(tmp_path / "some.jsonl", tasks[:1])
    assert "task 'add' has no prompt here and is not in" in refused(
        capsys, "--completions", run_dir, "--output_dir", tmp_path / "no", "--tasks", some
    )
    assert run("--completions", run_dir, "--output_dir", tmp_path / "without") == 0
    assert "warning: 2 of 2 completions have no prompt" in capsys.readouterr().err


def test_hidden_tests_of_a_trace_come_from_its_own_columns_first(tmp_path, judge):
    fake = judge(hidden_verdict)
    own = {"columns": {"test": "assert_eq!(add(1, 1), 2);", "note": "n"}}
    run_dir = write_run(tmp_path / "run", [traced(**own), traced(hidden_tests=HIDDEN, entry_point="add")])
    rewards = ["--rewards", "hidden_tests_reward=1"]
    assert run("--completions", run_dir, "--output_dir", tmp_path / "out", *rewards) == 0
    assert [job.hidden_tests for job in fake.batches[-1]] == [None, tuple(HIDDEN)]
    assert (
        run("--completions", run_dir, "--output_dir", tmp_path / "mapped", *rewards, "--tests_column", "test", "--limit", 1) == 0
    )
    assert [job.hidden_tests for job in fake.batches[-1]] == [("assert_eq!(add(1, 1), 2);",)]
    assert read_jsonl(tmp_path / "mapped" / "results.jsonl")[0]["columns"]["note"] == "n"
    tasks = write_jsonl(
        tmp_path / "t.jsonl", [{"task_id": "add", "prompt": "Add.", "tests": ["assert!(add(0, 0) == 0);"], "entry_point": "add"}]
    )
    assert run("--completions", run_dir, "--output_dir", tmp_path / "joined", *rewards, "--tasks", tasks) == 0
    assert [job.hidden_tests for job in fake.batches[-1]] == [("assert!(add(0, 0) == 0);",), tuple(HIDDEN)]


def test_completions_of_rows_that_moved_are_refused(tmp_path, judge, capsys):
    """A task file without ids names its rows by their number."""
    judge(hidden_verdict)
    rows = [{"prompt": "Add.", "tests": HIDDEN}, {"prompt": "Halve.", "tests": ["assert!(halve(4) == 2);"]}]
    tasks = write_jsonl(tmp_path / "t.jsonl", rows)
    answers = [{"task_id": f"t/{n}", "prompt": row["prompt"], "completion": GOOD} for n, row in enumerate(rows)]
    given = write_jsonl(tmp_path / "given.jsonl", answers)
    assert run("--completions", given, "--output_dir", tmp_path / "out", "--tasks", tasks) == 0
    assert "another prompt" not in capsys.readouterr().err
    write_jsonl(tasks, rows[::-1])
    said = refused(capsys, "--completions", given, "--output_dir", tmp_path / "moved", "--tasks", tasks)
    assert "line 1: its prompt is that of task 't/1'" in said and "its id 't/0' another's" in said
    write_jsonl(tasks, [{"prompt": f"Not {row['prompt']}", "tests": row["tests"]} for row in rows])
    assert run("--completions", given, "--output_dir", tmp_path / "other", "--tasks", tasks) == 0
    assert "warning: 2 of 2 completions answer another prompt than" in capsys.readouterr().err


def test_a_trace_of_a_task_in_two_wordings_finds_its_tests(tmp_path, judge, capsys):
    """train.py tells the second by `#COLUMN` behind the id; a task whose own id has that is preferred."""
    fake, asked = judge(hidden_verdict), {"add": "Add.", "add#short": "Add.", "add#own": "Add!"}
    run_dir = write_run(tmp_path / "run", [traced(task=name, hidden_passed=1, hidden_total=2, prompt=prompt) for name, prompt in asked.items()])
    others = ["assert!(add(0, 0) == 0);"]
    rows = [{"task_id": "add", "prompt": "Add.", "tests": HIDDEN, "level": 3}, {"task_id": "add#own", "prompt": "Add!", "tests": others}]
    assert run("--completions", run_dir, "--output_dir", tmp_path / "out", "--tasks", write_jsonl(tmp_path / "t.jsonl", rows)) == 0
    assert [job.hidden_tests for job in fake.batches[-1]] == [tuple(HIDDEN), tuple(HIDDEN), tuple(others)]
    assert [record["task_id"] for record in read_jsonl(tmp_path / "out" / "results.jsonl")] == ["add", "add#short", "add#own"]
    assert "completions belong to a task" not in capsys.readouterr().err


def test_hidden_rewards_without_hidden_tests_are_refused(tmp_path, judge, capsys):
    fake = judge()
    run_dir, rewards = write_run(tmp_path / "run", [traced()]), ["--rewards", "hidden_tests_reward=1"]
    call = ["--completions", run_dir, "--output_dir", tmp_path / "out"]
    assert "pass the file they are in as --tasks" in refused(capsys, *call, *rewards)
    untested = write_jsonl(tmp_path / "untested.jsonl", [{"task_id": "add", "prompt": "Add."}])
    assert "has none for its tasks" in refused(capsys, *call, *rewards, "--tasks", untested)
    others = write_jsonl(tmp_path / "others.jsonl", [{"task_id": "other", "prompt": "x", "tests": HIDDEN}])
    assert "has no hidden tests here and is not in" in refused(capsys, *call, *rewards, "--tasks", others)
    had = write_run(tmp_path / "had", [traced(hidden_passed=1, hidden_total=2)])
    assert "was graded with hidden tests" in refused(capsys, "--completions", had, "--output_dir", tmp_path / "out")
    assert (fake.batches, (tmp_path / "out").exists()) == ([], False)
    assert run("--completions", had, "--output_dir", tmp_path / "out", "--hidden_tests", "off") == 0
    assert run(*call[:2], "--output_dir", tmp_path / "default") == 0, (
        "the default list asks for hidden tests only where there are some"
    )


def test_a_users_own_reward_is_paid_in_an_evaluation_too(tmp_path, judge):
    judge()
    own = tmp_path / "mine.py"
    own.write_text("def short_reward(prompts, completions, graded, **kwargs):\n"
                   "    assert prompts[0][-1]['content'] == 'Add.' and completions[0][0]['role'] == 'assistant'\n"
                   "    return [None if record['program'] is None else 0.25 for record in graded]\n")  # fmt: skip
    run_dir = write_run(tmp_path / "run", [traced(), traced(PROSE)])
    rewards = ["--rewards", "cargo_build_reward=1", f"{own}:short_reward=4"]
    assert run("--completions", run_dir, "--output_dir", tmp_path / "out", *rewards) == 0
    assert [(r["rewards"], r["reward"]) for r in read_jsonl(tmp_path / "out" / "results.jsonl")] == [
        ({"cargo_build_reward": 1.0, "short_reward": 0.25}, 2.0),
        ({"cargo_build_reward": 0.0, "short_reward": None}, 0.0),
    ]
    assert graded_again(tmp_path / "out")["functions"]["short_reward"] == {"before": None, "after": 0.25}


def test_other_weights_on_recorded_verdicts_compile_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "open_judge", lambda args: pytest.fail("a judge was opened"))
    paid = lambda build, test: {"cargo_build_reward": build, "cargo_test_reward": test, "hidden_tests_reward": None}
    lines = [
        traced(rewards=paid(*of), reward=of[0] + 2 * of[1], test_passed=bool(of[1]), honest_tests=bool(of[1]))
        for of in ((1, 0), (0, 1))
    ]
    run_dir = write_run(tmp_path / "run", lines, judge_version=JUDGE_VERSION)
    call = ["--completions", run_dir, "--output_dir", tmp_path / "out", "--reuse_verdicts", "--rewards"]
    assert run(*call, "cargo_build_reward=3", "cargo_test_reward=1") == 0
    results = read_jsonl(tmp_path / "out" / "results.jsonl", drop=())
    assert [(r["reward"], r["test_passed"], r["duration_s"], r["group_id"]) for r in results] == [
        (3, False, 0.1, "1-0"),
        (1, True, 0.1, "1-0"),
    ]
    changes = graded_again(tmp_path / "out")
    assert (changes["rank_correlation"]["value"], changes["best_changes"], changes["verdict_changes"]["n"]) == (-1.0, 1.0, 0)
    assert "cargo_clippy_reward was not recorded" in refused(
        capsys,
        "--completions",
        run_dir,
        "--output_dir",
        tmp_path / "o2",
        "--reuse_verdicts",
        "--rewards",
        "cargo_clippy_reward=1",
    )


def test_recorded_verdicts_of_other_rules_are_not_reused(tmp_path, judge, capsys):
    judge()
    old, unknown = (
        write_run(tmp_path / "old", [traced()], judge_version=JUDGE_VERSION - 1),
        write_run(tmp_path / "new", [traced()]),
    )
    call = ["--output_dir", tmp_path / "out", "--reuse_verdicts", "--rewards", "cargo_build_reward=1"]
    assert f"version {JUDGE_VERSION - 1} of the judge" in refused(capsys, *call, "--completions", old)
    assert "nobody knows which judge" in refused(capsys, *call, "--completions", unknown)
    plain = write_jsonl(tmp_path / "in.jsonl", [{"prompt": "p", "completion": GOOD}])
    assert "--reuse_verdicts needs the trace" in refused(capsys, *call, "--completions", plain)
    assert "needs --completions" in refused(capsys, "--compare", "a", "b", "--reuse_verdicts")
    assert not (tmp_path / "out").exists()


def test_what_is_no_trace_is_refused(tmp_path, judge, capsys):
    judge()
    (tmp_path / "empty").mkdir()
    assert "found no trace*.jsonl" in refused(capsys, "--completions", tmp_path / "empty", "--output_dir", tmp_path / "out")
    assert "no such file" in refused(capsys, "--completions", tmp_path / "none.jsonl.gz", "--output_dir", tmp_path / "out")
    with gzip.open(tmp_path / "plain.jsonl.gz", "wt") as file:
        file.write(json.dumps({"prompt": "p", "completion": GOOD}) + "\n")
    assert "its first line is none" in refused(
        capsys, "--completions", tmp_path / "plain.jsonl.gz", "--output_dir", tmp_path / "out", "--reuse_verdicts"
    )
    assert "unknown reward" in refused(
        capsys,
        "--completions",
        write_run(tmp_path / "run", [traced()]),
        "--output_dir",
        tmp_path / "out",
        "--rewards",
        "no_such=1",
    )


def test_infra_then_or_now_is_left_out_on_both_sides(tmp_path, judge):
    judge(lambda job: infra_verdict(job) if "unlucky" in job.program.source else Verdict(build_passed=True))
    lines = [traced(GOOD.replace("add", name)) for name in ("lucky", "unlucky")]
    lines += [
        traced(error_kind="infra", rewards={"cargo_build_reward": None}, reward=0.0),
        traced(rewards={"cargo_build_reward": 0.0}),
    ]
    run_dir = write_run(tmp_path / "run", lines)
    arguments = ["--completions", run_dir, "--output_dir", tmp_path / "out", "--rewards", "cargo_build_reward=1"]
    assert run(*arguments) == 0
    changes = graded_again(tmp_path / "out")
    assert (changes["n"], changes["n_infra"]) == (2, {"before": 1, "after": 1})
    assert changes["functions"]["cargo_build_reward"] == {"before": 0.5, "after": 1.0}


def test_a_trace_graded_again_goes_on_where_it_was_killed(tmp_path, judge, monkeypatch):
    monkeypatch.setattr("evaluation.grading.JOBS_PER_WORKER", 2)
    run_dir = write_run(tmp_path / "run", [traced(GOOD.replace("add", f"f{i}"), step=1 + i // 2) for i in range(6)])
    call = lambda out: ["--completions", run_dir, "--output_dir", tmp_path / out]
    judge()
    assert run(*call("whole")) == 0
    first = judge()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(FakeJudge, "grade", kill_after(FakeJudge.grade, 2))
        run(*call("out"))
    second = judge()
    assert run(*call("out")) == 0
    assert sum(map(len, [*first.batches, *second.batches])) == 6
    assert read_jsonl(tmp_path / "out" / "results.jsonl") == read_jsonl(tmp_path / "whole" / "results.jsonl")
    assert graded_again(tmp_path / "out") == graded_again(tmp_path / "whole")


# ---------------------------------------------------------------------------------------------------------------------
# Endpoint
# ---------------------------------------------------------------------------------------------------------------------


def api_arguments(endpoint, prompts, out, *more) -> list:
    return ["--api_base", endpoint.url, "--model", "m", "--tasks", prompts, "--output_dir", out, "--num_samples", 3,
            "--api_max_retries", 1, "--bootstrap_samples", 200, *more]  # fmt: skip


def some_right(request, attempt):
    """A model that solves the even tasks, and others on the third sample only."""
    if "messages" not in request:
        return 200, ""
    number = int(request["messages"][-1]["content"].removeprefix("Add, ")[0])
    return 200, GOOD if number % 2 == 0 or request["seed"] % 3 == 2 else BROKEN


def hidden_verdict(job):
    """What cargo would say of GOOD and BROKEN."""
    right = job.program is not None and "b + a" in job.program.source
    errors = () if right else (Diagnostic("E0425", "error", "cannot find value", 2),)
    total = len(job.hidden_tests) if job.hidden_tests else None
    return Verdict(
        build_passed=right, clippy_passed=right, test_passed=right, honest_tests=right, error_kind=None if right else "compile",
        diagnostics=errors, hidden_passed=total and total * right, hidden_total=total,
    )  # fmt: skip


def test_a_model_behind_an_endpoint_is_a_row_like_any_other(tmp_path, judge, monkeypatch, tested_prompts):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    judge(hidden_verdict)
    with serve(some_right) as endpoint:
        assert run(*api_arguments(endpoint, tested_prompts, tmp_path / "out", "--k", 1, 3, "--hidden_tests", "required")) == 0
    (row,) = json.loads((tmp_path / "out" / "summary.json").read_text())["rows"]
    assert row["metrics"]["pass@1"]["value"] == pytest.approx((1 + 1 / 3) / 2, abs=1e-6)
    assert row["metrics"]["pass@3"]["value"] == 1.0
    assert row["tokens"] == {"prompt": 5 * 12, "completion": 7 * 12}
    assert row["rustc_codes"] == {"E0425": 4}
    assert not any(b"sk-very-secret" in content for content in snapshot(tmp_path / "out").values())


def test_an_endpoint_that_breaks_down_costs_no_answer(tmp_path, judge, monkeypatch, tested_prompts, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    judge(hidden_verdict)
    answered = itertools.count(1)
    breaking = lambda request, attempt: some_right(request, attempt) if next(answered) <= 6 else (500, "out of order")
    out = tmp_path / "out"
    with serve(breaking) as endpoint:
        arguments = api_arguments(endpoint, tested_prompts, out, "--api_concurrency", 1)
        assert "run the same command again" in refused(capsys, *arguments)
        kept = len(endpoint.requests) - 2  # the last request failed twice
        endpoint.plan, endpoint.requests[:] = some_right, []
        assert run(*arguments) == 0
        assert len(endpoint.requests) == 12 - kept
    assert len(read_jsonl(out / "results.jsonl")) == 12


def test_a_busy_and_stalling_endpoint_is_asked_again_after_a_pause(tmp_path, judge, monkeypatch, tested_prompts):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    judge(hidden_verdict)
    asked: dict[str, list[float]] = {}

    def plan(request, attempt):
        if "messages" in request:
            asked.setdefault(f"{request['messages'][-1]['content']} {request['seed']}", []).append(time.monotonic())
            if attempt == 1 and request["seed"] % 3 == 0:
                return {"0": (429, "slow down"), "1": None, "2": (503, "busy"), "3": (500, "oops")}[
                    request["messages"][-1]["content"][5]
                ]
        return some_right(request, attempt)

    with serve(plan) as endpoint:
        arguments = api_arguments(endpoint, tested_prompts, tmp_path / "out", "--api_timeout_s", 1.5)
        assert run(*arguments, "--api_max_retries", 3) == 0
    assert sorted(map(len, asked.values())) == [1] * 8 + [2] * 4, "four requests failed or stalled once"
    pauses = [times[1] - times[0] for times in asked.values() if len(times) == 2]
    assert min(pauses) >= 0.018 and max(pauses) >= 1.4, "20 ms are asked for; a stalled request is given up after its time"
    results = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert [(r["n_tokens"], r["n_prompt_tokens"], r["finished"]) for r in results] == [(7, 5, True)] * 12


def test_an_endpoint_that_only_stalls_ends_in_a_sentence(tmp_path, judge, monkeypatch, tested_prompts, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    judge(hidden_verdict)
    with serve(lambda request, attempt: (200, "") if "messages" not in request else None) as endpoint:
        arguments = api_arguments(endpoint, tested_prompts, tmp_path / "out", "--api_timeout_s", 0.3, "--api_max_retries", 1)
        assert "(2 tries)" in refused(capsys, *arguments)


@contextmanager
def transformers_server(model: Path, folder: Path):
    """`transformers serve` of a local model on this machine -> its address. Skips where the server's extras are missing."""
    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"transformers serve needs {' and '.join(missing)}: pip install transformers[serving]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        Path(sys.executable).with_name("transformers"),
        "serve",
        model,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "server.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as server:
        try:
            for _ in range(600):
                assert server.poll() is None, (folder / "server.log").read_text()
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


def test_transformers_serve_answers_as_the_model_does_here(tmp_path, judge, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    judge()
    root = Path(evaluation.__file__).parent
    model = root / "models" / "tiny-coder"
    common = ["--model", model, "--tasks", root / "data" / "tiny_heldout.jsonl", "--limit", 2, "--num_samples", 1, "--temperature", 0,
              "--max_new_tokens", 48, "--system_prompt", "none", "--bootstrap_samples", 100]  # fmt: skip
    with transformers_server(model, tmp_path) as address:
        arguments = ["--api_base", address, "--no_api_extra_sampling", "--api_timeout_s", 120]
        assert run(*common, *arguments, "--output_dir", tmp_path / "served") == 0
    assert run(*common, "--output_dir", tmp_path / "here") == 0
    served, here = (read_jsonl(tmp_path / name / "results.jsonl") for name in ("served", "here"))
    assert [r["completion"].rstrip() for r in served] == [r["completion"].rstrip() for r in here], (
        "the server trims a cut-off end"
    )
    assert all(r["completion"] and r["n_tokens"] > 0 and r["n_prompt_tokens"] > 0 for r in served)
    assert all(abs(a["n_tokens"] - b["n_tokens"]) <= 1 for a, b in zip(served, here, strict=True)), "the end token may count"


# ---------------------------------------------------------------------------------------------------------------------
# Saved results side by side
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, tested_prompts) -> Path:
    """Results folders of two models behind endpoints, by one protocol: `before` and `after`."""
    folder = tmp_path_factory.mktemp("evaluated")
    always_right = lambda request, attempt: (200, GOOD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "none")
        patch.setattr(evaluation, "open_judge", lambda args: FakeJudge(hidden_verdict))
        for name, plan in (("before", some_right), ("after", always_right)):
            with serve(plan) as endpoint:
                assert run(*api_arguments(endpoint, tested_prompts, folder / name, "--k", 1, 3)) == 0
    return folder


@pytest.fixture
def two_runs(tmp_path, judge, evaluated) -> tuple[Path, Path]:
    """A copy of both, and a judge for what a test grades besides."""
    judge(hidden_verdict)
    return tuple(shutil.copytree(evaluated / name, tmp_path / name) for name in ("before", "after"))


def test_saved_results_are_compared_without_a_model(two_runs, tmp_path, monkeypatch, capsys):
    capsys.readouterr()
    monkeypatch.setattr(evaluation, "open_generator", lambda *a, **k: pytest.fail("a model was loaded"))
    monkeypatch.setattr(evaluation, "open_judge", lambda *a, **k: pytest.fail("a judge was opened"))
    assert run("--compare", *two_runs, "--output_dir", tmp_path / "both") == 0
    assert capsys.readouterr().out.count("before: m") >= 2
    summary = json.loads((tmp_path / "both" / "summary.json").read_text())
    (difference,) = summary["differences"]
    assert difference["metrics"]["pass@1"]["value"] == pytest.approx(1 / 3, abs=1e-5)
    assert difference["metrics"]["pass@3"] == {"value": 0, "low": 0, "high": 0}
    assert (tmp_path / "both" / "chart.png").is_file()
    assert "after: m" in (tmp_path / "both" / "table.md").read_text()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_terminal_gets_every_rate_in_lines_that_fit(two_runs, tmp_path, monkeypatch, capsys, columns):
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.chdir(two_runs[0].parent)
    assert run("--compare", "before", "after", "--output_dir", "both") == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    for label in ("tasks", "completions", "build %", "own tests pass %", "honest tests %", "hidden pass@1 %", "nothing"):
        assert re.search(rf"^{re.escape(label)}  +\d", out, re.M), label
    assert "both/table.md" in out


def test_on_request_the_terminal_gets_the_tables_of_the_file(two_runs, tmp_path, capsys):
    assert run("--compare", *two_runs, "--output_dir", tmp_path / "both", "--all_tables") == 0
    assert (tmp_path / "both" / "table.md").read_text() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sizes", "differences"),
    [((8, 16), ["sampling.batch_size: 8 instead of 16"]), ((8, 8), []), ((8, None), []), ((None, 8), []), ((None, None), [])],
)
def test_batch_sizes_are_compared_where_both_are_known(sizes, differences):
    protocols = [{"n_tasks": 1, "sampling": {"top_p": 1.0} | ({} if size is None else {"batch_size": size})} for size in sizes]
    assert protocol_differences(*protocols) == differences
    assert protocols[0]["sampling"].get("batch_size") == sizes[0], "the protocols stay as they were"


def test_packed_results_are_compared_too(two_runs, tmp_path, capsys):
    assert run("--compare", *two_runs) == 0
    expected = capsys.readouterr().out
    plain = two_runs[0] / "results.jsonl"
    with gzip.open(two_runs[0] / "results.jsonl.gz", "wb") as packed:
        packed.write(plain.read_bytes())
    plain.unlink()
    assert run("--compare", *two_runs) == 0
    assert capsys.readouterr().out == expected
    (two_runs[0] / "results.jsonl.gz").unlink()
    assert "no results.jsonl or results.jsonl.gz in it" in refused(capsys, "--compare", *two_runs)


SHIPPED = sorted(path.parent for path in (ROOT / "results").glob("*/results.jsonl.gz"))


def test_shipped_results_can_be_compared(capsys):
    assert SHIPPED and run("--compare", SHIPPED[0], SHIPPED[0]) == 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sampling.temperature", 0.9),
        ("tasks_hash", "other"),
        ("system_prompt_hash", "other"),
        ("judge.judge_version", 99),
        ("judge.rustc", "1.2"),
    ],
)
def test_results_of_another_protocol_are_not_put_side_by_side(two_runs, capsys, path, value):
    before, after = two_runs
    saved = json.loads((after / "run.json").read_text())
    *parents, name = path.split(".")
    place = saved["protocol"]
    for parent in parents:
        place = place[parent]
    place[name] = value
    (after / "run.json").write_text(json.dumps(saved))
    assert f"{path}: {json.dumps(value)}" in refused(capsys, "--compare", before, after)


def test_where_a_comparison_cannot_be_written_is_said_before_it_is_made(two_runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "row_stats", lambda *args: pytest.fail("results were read"))
    (tmp_path / "file").write_text("")
    assert "file is not a folder: choose another --output_dir" in refused(capsys, "--compare", *two_runs, "--output_dir", tmp_path / "file")
    assert "is not empty: choose another one" in refused(capsys, "--compare", *two_runs, "--output_dir", two_runs[0])


def test_compare_refuses_a_k_beyond_the_samples(two_runs, capsys):
    said = refused(capsys, "--compare", *two_runs, "--k", 50)
    assert "pass@50 needs at least 50 graded samples per task with hidden tests" in said


def test_compare_refuses_what_holds_no_results(two_runs, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "no run.json" in refused(capsys, "--compare", two_runs[0], tmp_path / "empty")
    assert "at least two" in refused(capsys, "--compare", two_runs[0])
    assert "is not empty" in refused(capsys, "--compare", *two_runs, "--output_dir", two_runs[0])


# ---------------------------------------------------------------------------------------------------------------------
# Wrong uses
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (["--temperature", 0.7], "protocol.sampling.temperature: 0.7 instead of 0.0"),
        (["--max_new_tokens", 9], "protocol.sampling.max_new_tokens: 9 instead of 8"),
        (["--seed", 3], "run.seed: 3 instead of 0"),
        (["--limit", 4], "protocol.n_tasks: 4 instead of 5"),
        (["--batch_size", 2], "protocol.sampling.batch_size: 2 instead of 3"),
        (["--rewards", "cargo_build_reward=1"], "run.rewards"),
        (["--system_prompt", "{other_prompt}"], "protocol.system_prompt_hash"),
    ],
)
def test_results_of_another_protocol_are_not_overwritten(tmp_path, judge, tiny_model, prompts, capsys, change, difference):
    judge()
    out = tmp_path / "out"
    assert run(*model_arguments(tiny_model, prompts, out)) == 0
    before = snapshot(out)
    other_prompt = tmp_path / "other.txt"
    other_prompt.write_text("Be brief.")
    change = [str(value).format(other_prompt=other_prompt) for value in change]
    assert difference in refused(capsys, *model_arguments(tiny_model, prompts, out), *change)
    assert snapshot(out) == before


def test_a_row_of_that_name_from_another_model_is_refused(tmp_path, judge, tiny_model, prompts, capsys):
    judge()
    other = build_tiny_model(tmp_path / "other", seed=5)
    assert run(*model_arguments(tiny_model, prompts, tmp_path / "out", "--row_names", "x")) == 0
    error = refused(capsys, *model_arguments(other, prompts, tmp_path / "out", "--row_names", "x"))
    assert "row x.model" in error


def test_what_a_kill_left_of_the_first_file_is_in_nobodys_way(tmp_path, judge, tiny_model, prompts):
    judge()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json.tmp").write_text("{")
    assert run(*model_arguments(tiny_model, prompts, tmp_path / "out")) == 0
    assert not [*(tmp_path / "out").glob("*.tmp")]


def test_a_folder_that_is_no_evaluation_is_not_touched(tmp_path, judge, tiny_model, prompts, capsys):
    judge()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    assert "holds files but no run.json" in refused(capsys, *model_arguments(tiny_model, prompts, tmp_path / "out"))
    assert snapshot(tmp_path / "out") == {"thesis.txt": b"years of work"}


def test_plain_cargo_grades_a_file(tmp_path):
    rows = [{"prompt": "Add.", "completion": GOOD, "tests": ["assert_eq!(add(1, 2), 3);"]},
            {"prompt": "Sum.", "completion": FAILING, "tests": ["assert_eq!(add(1, 2), 4);"]}]  # fmt: skip
    completions = write_jsonl(tmp_path / "completions.jsonl", rows)
    assert run("--completions", completions, "--judge", "cargo", "--output_dir", tmp_path / "out") == 0
    good, failing = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert good["test_passed"] and good["honest_tests"] and (good["hidden_passed"], good["hidden_total"]) == (1, 1)
    assert failing["build_passed"] and not failing["test_passed"] and (failing["hidden_passed"], failing["error_kind"]) == (0, "test_failed")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["protocol"]["judge"]["judge"] == "cargo"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", 3, "--num_samples", 2], "pass@3 needs at least 3 samples"),
        (["--k", 0], "--k 0"),
        (["--k", 1], "no task has any"),
        (["--hidden_tests", "required"], "5 of 5 tasks have no hidden tests"),
        (["--tests_column", "asserts"], "no column asserts"),
        (["--adapter", "./nowhere"], "--adapter ./nowhere: no such folder"),
        (["--row_names", "a", "b"], "expected 1 different names"),
        (["--limit", 0], "--limit 0"),
        (["--sandbox", "plin"], "--sandbox plin: expected one of auto"),
        (["--judge", "cargo", "--rewards", "group_tests_reward=1"], "--judge cargo does not run tests of other completions: leave group_tests_reward out"),
        (["--judge_workers", 0], "--judge_workers 0: expected at least 1"),
        (["--top_p", 2], "--top_p 2.0"),
        (["--no_such_flag", 1], "no_such_flag"),
        (["--max_new_tokens", 500], "tokens; with --max_new_tokens 500"),
        (["--backend", "vllm"], "vllm"),
        (["--completions", "x.jsonl"], "--model and --completions"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_happens(tmp_path, judge, tiny_model, prompts, capsys, arguments, message):
    judge()
    assert message in refused(capsys, *model_arguments(tiny_model, prompts, tmp_path / "out"), *arguments)
    assert not (tmp_path / "out").exists()


def test_an_incomplete_call_is_refused(tmp_path, capsys):
    assert "found none of them" in refused(capsys, "--output_dir", tmp_path / "out")
    assert "--output_dir is missing" in refused(capsys, "--model", "m")
    assert "--tasks is missing" in refused(capsys, "--model", "m", "--output_dir", tmp_path / "out")
    assert "--adapter needs --model" in refused(
        capsys, "--completions", "x.jsonl", "--adapter", "a", "--output_dir", tmp_path / "out"
    )


def test_a_config_file_gives_defaults_and_unknown_keys_are_errors(tmp_path, judge, tiny_model, prompts, capsys):
    judge()
    config = tmp_path / "eval.yaml"
    config.write_text(f"model: {tiny_model}\ntasks: {prompts}\nnum_samples: 2\nmax_new_tokens: 4\nsystem_prompt: none\n")
    assert run("--config", config, "--output_dir", tmp_path / "out", "--num_samples", 1) == 0
    assert len(read_jsonl(tmp_path / "out" / "results.jsonl")) == 5
    config.write_text("modle: x\n")
    assert "modle" in refused(capsys, "--config", config, "--output_dir", tmp_path / "other")


def test_duplicate_task_ids_are_refused(tmp_path, judge, tiny_model, capsys):
    judge()
    prompts = write_jsonl(tmp_path / "twice.jsonl", [{"task_id": "same", "prompt": "a"}, {"task_id": "same", "prompt": "b"}])
    assert "'same' appears more than once" in refused(capsys, *model_arguments(tiny_model, prompts, tmp_path / "out"))


def test_hidden_tests_that_make_no_sense_are_refused_before_the_model(tmp_path, judge, tiny_model, capsys):
    judge()
    prompts = write_jsonl(tmp_path / "bad.jsonl", [{"task_id": "t", "prompt": "a", "tests": ["let x = ;"]}])
    assert "task 't': its hidden tests cannot be used" in refused(capsys, *model_arguments(tiny_model, prompts, tmp_path / "out"))


def test_pass_at_k_of_a_file_needs_k_completions_per_task(tmp_path, judge, capsys):
    judge()
    rows = [{"task_id": task, "prompt": "p", "completion": GOOD, "tests": HIDDEN} for task in ("a", "a", "b")]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    assert "task 'b' has 1" in refused(capsys, "--completions", source, "--output_dir", tmp_path / "out", "--k", 2)


def test_endpoint_trouble_is_one_sentence(tmp_path, judge, monkeypatch, tested_prompts, capsys):
    judge()
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serve(lambda request, attempt: (401, "no key")) as endpoint:
        assert "wants a key: set OPENAI_API_KEY" in refused(capsys, *api_arguments(endpoint, tested_prompts, tmp_path / "out"))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert "nobody answers" in refused(capsys, *api_arguments(endpoint, tested_prompts, tmp_path / "out"))


MIXED = {
    "plain first": ({"task_id": "a", "prompt": "Add."}, multiple_row("x", "Doc.", "fn f(n: isize) -> isize", "assert_eq!(candidate(1), 1);")),
    "MultiPL-E first": (multiple_row("x", "Doc.", "fn f(n: isize) -> isize", "assert_eq!(candidate(1), 1);"), {"task_id": "a", "prompt": "Add."}),
    "HumanEval-X last": ({"task_id": "a", "prompt": "Add."}, FORMATS["HumanEval-X"][0][0]),
}  # fmt: skip


@pytest.mark.parametrize("order", MIXED)
def test_formats_mixed_in_one_file_are_refused_with_the_line(tmp_path, judge, tiny_model, capsys, order):
    judge()
    prompts = write_jsonl(tmp_path / "mixed.jsonl", MIXED[order])
    error = refused(capsys, *model_arguments(tiny_model, prompts, tmp_path / "out"))
    assert "mixed.jsonl, line 2" in error and "mixed layouts" in error
    assert not (tmp_path / "out").exists()


def test_a_file_of_completions_without_hidden_tests_is_refused_where_they_are_required(tmp_path, judge, capsys):
    judge()
    source = write_jsonl(tmp_path / "in.jsonl", [{"prompt": "p", "completion": GOOD}])
    call = ["--completions", source, "--output_dir", tmp_path / "out"]
    assert "no hidden tests in column 'tests'; found the columns prompt, completion" in refused(
        capsys, *call, "--hidden_tests", "required"
    )
    assert "no column 'asserts'; found prompt, completion" in refused(capsys, *call, "--tests_column", "asserts")
    assert "pass@k needs hidden tests" in refused(capsys, *call, "--k", 1)


def test_results_of_other_completions_are_not_overwritten(tmp_path, judge, capsys):
    judge()
    source, out = write_jsonl(tmp_path / "in.jsonl", [{"prompt": "p", "completion": GOOD}]), tmp_path / "out"
    assert run("--completions", source, "--output_dir", out) == 0
    before = snapshot(out)
    assert "run.rewards" in refused(capsys, "--completions", source, "--output_dir", out, "--rewards", "cargo_build_reward=1")
    write_jsonl(source, [{"prompt": "p", "completion": PROSE}])
    assert "run.sha256" in refused(capsys, "--completions", source, "--output_dir", out)
    assert snapshot(out) == before


def test_what_a_row_counts_beside_its_rates_and_in_no_rate():
    row = RowStats("r")
    tokens = {"n_tokens": 7, "n_prompt_tokens": 20}
    row.add(record("a", kind="compile", codes=("E0308",), **tokens))
    row.add(record("a", kind="test_failed", codes=("E0999",), **tokens))  # compiler errors that did not decide
    row.add(record("a", kind="infra", **tokens))
    row.add(record("a", kind="infra"))
    assert (row.n_infra, row.n_graded) == (2, 2)
    assert row.tokens == {"completion": 21, "prompt": 60} and row.rustc_codes == {"E0308": 1}


def test_samples_of_a_row_are_the_completions_that_hidden_tests_graded():
    row = RowStats("r")
    for one in [record("a", hidden=True), record("a", hidden=False), record("a"), record("b", test_passed=True), record("c", hidden=True)]:
        row.add(one)
    assert row.samples() == [2, 0, 1]
