"""Every script in benchmarks/ runs with its smallest arguments, and writes what its docstring says."""

import json
import subprocess
import sys

import pytest
from chromium import found as find_chromium
from conftest import FAILING, GOOD, ROOT

from results import tables


def run(name: str, *arguments) -> str:
    command = [sys.executable, f"benchmarks/{name}.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def completions(tmp_path):
    path = tmp_path / "completions.jsonl"
    path.write_text("".join(json.dumps({"completion": text}) + "\n" for text in (GOOD, FAILING)))
    return path


def test_every_script_is_tried_here():
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == {"judge", "judge_batch", "judge_parts", "report", "step", "traces"}


def test_the_judge_against_cargo(tmp_path, monkeypatch):
    """Each row gives the verdicts of plain cargo, and the table of the README can be made of the file."""
    out = tmp_path / "result.json"
    printed = json.loads(run("judge", "--n", 1, "--workers", 2, "--output", out))
    result = json.loads(out.read_text())
    assert result == printed and (result["n"], result["file"]) == (1, "built in") and result["start_up_s"] > 0
    names = ["judge", "judge, plain", "judge, hidden", "fresh", "fresh, 2", "kept", "tuned", "tuned, hidden"]
    assert [row["name"] for row in result["rows"]] == names
    assert all(row["agree"] == 1 and row["cpu_s"] > 0 and row["wall_s"] > 0 for row in result["rows"])
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    out.write_text(json.dumps(result | {"commit": "0123456789"}))
    (table,) = tables.read_tables(tables.judge("result.json") + "\n")
    assert [bool(row["times judge"]) for row in table] == [False] * 3 + [True] * 4 + [False]
    assert [bool(row["times judge, hidden"]) for row in table] == [False] * 7 + [True]


def test_completions_of_a_file_without_hidden_tests(completions):
    result = json.loads(run("judge", completions, "--n", 1))
    assert [row["name"] for row in result["rows"] if row["name"].endswith("hidden")] == []
    assert all(row["agree"] == 1 for row in result["rows"])


def test_one_step_of_programs(completions, tmp_path):
    run("judge_batch", completions, "--programs", 4, "--looping", 1, "--output", tmp_path / "batch.json")
    found = json.loads((tmp_path / "batch.json").read_text())
    assert found["batch"]["kinds"] == {"None": 2, "test_failed": 2}
    assert found["batch, 1 that loop"]["kinds"]["timeout"] == 1


def test_where_the_cpu_goes(tmp_path):
    printed = run("judge_parts", "--n", 1, "--output", tmp_path / "parts.json")
    found = json.loads((tmp_path / "parts.json").read_text())
    assert found == json.loads(printed) and (found["n"], found["n_binaries"]) == (1, 1) and found["start_up_ms"] > 0
    assert found["completion"].keys() == {"compilations", "runs", "this process"} and min(found["completion"].values()) > 0
    for one in (found["binary"], found["empty"]):
        assert sum(one.values()) == pytest.approx(2 * one["whole"], abs=0.5) and min(one["start"], one["front_end"], one["code"], one["link"]) > 0
    assert found["empty"]["whole"] < 1.5 * found["binary"]["whole"]


def test_seconds_of_a_training_step(tiny_coder, tmp_path):
    out, flags = tmp_path / "step.json", ["--per_device_train_batch_size", 8, "--num_generations", 4, "--max_completion_length", 64]
    printed = run("step", "--config", "configs/tiny.yaml", "--model", tiny_coder, "--steps", 2, "--out", out, "--max_prompt_length", 256,
                  "--tokens_per_micro_batch", 500, *flags)  # fmt: skip
    *rows, last = printed.splitlines()
    result = json.loads(out.read_text())
    assert json.loads(last) == result and [row.split()[0] for row in rows[1:]] == ["before", "today"] == list(result["runs"])
    assert max(map(len, rows)) <= 80 and (result["device"], result["n_devices"], result["completions_per_step"]) == ("CPU", 1, 8)
    before, today = result["before_completions_per_s"], result["completions_per_s"]
    assert before == result["runs"]["before"]["completions_per_s"] > 0 and result["ratio"] == pytest.approx(today / before, abs=0.01)
    for found in result["runs"].values():
        assert 8 / found["completions_per_s"] == pytest.approx(found["step_s"], abs=0.01) and found["train_s"] > 0 and found["peak_gib"] is None


def test_reading_a_trace():
    result = json.loads(run("traces", "--lines", 500).splitlines()[-1])
    assert result["lines"] == 500 and result["load_trace_s"] > 0


def test_opening_a_report():
    if find_chromium() is None:
        pytest.skip("no Chromium")
    result = json.loads(run("report", "--lines", 20).splitlines()[-1])
    assert result["lines"] == 20 and result["open_s"] > 0
