"""Every script in benchmarks/ runs with its smallest arguments, and writes what its docstring says."""

import contextlib
import io
import json
import runpy
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from chromium import found as find_chromium
from conftest import FAILING, GOOD, ROOT, write_jsonl
from warm import Training

from results import tables
from training import gpu_memory


def run(name: str, *arguments) -> str:
    command = [sys.executable, f"benchmarks/{name}.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def run_here(name: str, *arguments) -> str:
    """The same in this process, which has imported torch and built the judge's harness; that the script starts by itself is tried first."""
    command = [sys.executable, f"benchmarks/{name}.py", "--help"]
    assert subprocess.run(command, cwd=ROOT, text=True, capture_output=True).stdout.startswith(f"usage: {name}.py")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", [f"benchmarks/{name}.py", *map(str, arguments)])
        patch.setattr(sys, "path", list(sys.path))
        patch.chdir(ROOT)
        try:
            runpy.run_path(f"benchmarks/{name}.py", run_name="__main__")
        except SystemExit as end:
            assert not end.code
    return printed.getvalue()


@pytest.fixture
def completions(tmp_path):
    path = tmp_path / "completions.jsonl"
    path.write_text("".join(json.dumps({"completion": text}) + "\n" for text in (GOOD, FAILING)))
    return path


def test_every_script_is_tried_here():
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == {
        "cross_precision", "cross_tests", "judge", "judge_batch", "judge_parts", "layers", "report", "step", "traces"}  # fmt: skip


def test_the_judge_against_cargo(tmp_path, monkeypatch):
    """Each row gives the verdicts of plain cargo, and the table of the README can be made of the file."""
    out = tmp_path / "result.json"
    printed = json.loads(run_here("judge", "--n", 1, "--workers", 2, "--output", out))
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


def test_grading_with_the_tests_of_the_group(tmp_path):
    (tmp_path / "group.jsonl").write_text("".join(json.dumps({"task_id": "a", "completion": text}) + "\n" for text in (GOOD, FAILING)))
    last = run("cross_tests", tmp_path / "group.jsonl", "--output", tmp_path / "out.json").splitlines()[-1]
    result = json.loads(last)
    assert result == json.loads((tmp_path / "out.json").read_text())
    assert (result["groups"], result["completions"], result["with_tests"], result["tests_tried"]) == (1, 2, 2, 2)
    assert result["ratio"] == pytest.approx(result["cpu_s_with"] / result["cpu_s_without"], rel=0.05)


def test_the_precision_of_the_groups_tests(tmp_path):
    """What passed its own and the hidden tests is taken from the file; only the group's tests are run."""
    graded = {"row": "mine", "task_id": "a", "build_passed": True, "tests": {"tests::adds": "ok"}, "honest_tests": True, "guard": None,
              "test_passed": True, "error_kind": None, "hidden_total": 2, "clippy_passed": True, "n_asserts": 1}  # fmt: skip
    other = GOOD.replace("b + a", "a + b")
    lines = [graded | {"completion": GOOD, "hidden_passed": 2}, graded | {"completion": other, "hidden_passed": 1},
             graded | {"completion": FAILING, "hidden_passed": 0}]  # fmt: skip
    write_jsonl(tmp_path / "results.jsonl", lines)
    result = json.loads(run("cross_precision", tmp_path / "results.jsonl", "--row", "mine", "--output", tmp_path / "out.json"))
    assert result == json.loads((tmp_path / "out.json").read_text())
    assert (result["groups"], result["completions"], result["right"], result["with_opinion"]) == (1, 3, 1, 3)
    assert result["metrics"]["self_tests_precision"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert result["metrics"]["cross_ranks_right"]["pairs"] == 2
def test_ways_to_run_the_layers(tmp_path):
    """Without a GPU: PEFT's casts, without them, with checkpointing; all three give one gradient."""
    out = tmp_path / "layers.json"
    run("layers", "--layers", 1, "--hidden", 32, "--groups", 1, "--prompt", 20, "--completion", 5, "--repeats", 1, "--out", out)
    result = json.loads(out.read_text())
    assert len(result["runs"]) == 3 and result["tokens"] == 19 + 8 * 6
    assert len({found["grad_norm"] for found in result["runs"].values()}) == 1 and result["ratio"] > 0


def test_one_step_of_programs(completions, tmp_path):
    run_here("judge_batch", completions, "--programs", 4, "--looping", 1, "--output", tmp_path / "batch.json")
    found = json.loads((tmp_path / "batch.json").read_text())
    assert found["batch"]["kinds"] == {"None": 2, "test_failed": 2}
    assert found["batch, 1 that loop"]["kinds"]["timeout"] == 1


def test_where_the_cpu_goes(tmp_path):
    printed = run("judge_parts", "--n", 1, "--output", tmp_path / "parts.json")
    found = json.loads((tmp_path / "parts.json").read_text())
    assert found == json.loads(printed) and (found["n"], found["n_binaries"]) == (1, 1) and found["start_up_ms"] > 0
    kinds = {"compilations", "runs", "mutants", "hidden compilations", "hidden runs", "this process"}
    assert found["completion"].keys() == kinds and min(found["completion"].values()) > 0
    for one in (found["binary"], found["empty"]):
        assert sum(one.values()) == pytest.approx(2 * one["whole"], abs=0.5) and one["whole"] > 0 and one["start"] > 0  # others are differences


def test_seconds_of_a_training_step(tiny_coder, tmp_path, monkeypatch):
    start = subprocess.run

    def train(command, **options):
        """What the script starts, where it is train.py, without importing torch once more."""
        if command[:2] != [sys.executable, "train.py"]:
            return start(command, **options)
        assert options == {"cwd": ROOT, "stdout": sys.stderr}
        return SimpleNamespace(returncode=Training(command[2:], tmp_path / "log").wait(200))

    monkeypatch.setattr(subprocess, "run", train)
    out, flags = tmp_path / "step.json", ["--per_device_train_batch_size", 8, "--num_generations", 4, "--max_completion_length", 64]
    printed = run_here("step", "--config", "configs/tiny.yaml", "--model", tiny_coder, "--steps", 2, "--out", out, "--max_prompt_length", 256,
                  "--tokens_per_micro_batch", 500, *flags)  # fmt: skip
    *rows, last = printed.splitlines()
    result = json.loads(out.read_text())
    assert json.loads(last) == result and [row.split()[0] for row in rows[1:]] == ["before", "today"] == list(result["runs"])
    assert max(map(len, rows)) <= 80 and (result["device"], result["n_devices"], result["completions_per_step"]) == ("CPU", 1, 8)
    before, today = result["before_completions_per_s"], result["completions_per_s"]
    assert before == result["runs"]["before"]["completions_per_s"] > 0 and result["ratio"] == pytest.approx(today / before, abs=0.01)
    for found in result["runs"].values():
        assert 8 / found["completions_per_s"] == pytest.approx(found["step_s"], abs=0.01) and found["train_s"] > 0 and found["peak_gib"] is None


def test_a_model_of_a_shape_with_random_weights(tiny_coder, tmp_path, monkeypatch, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from benchmarks import step

    sizes = {}
    for shape in step.SHAPES:
        sizes[shape] = sum(weights.numel() for weights in gpu_memory.empty_model(step.shape_config(shape)).parameters())
    assert sizes == {"3B": pytest.approx(3.09e9, rel=0.01), "7B": pytest.approx(7.62e9, rel=0.01)}, "as their model cards say"

    small = step.SHAPES["7B"] | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 600}
    (tmp_path / "config.json").write_text(json.dumps(small))
    flags = ["--random_weights", str(tmp_path / "config.json"), "--model", str(tiny_coder)]

    def train(name, checkout, flags, arguments, folder):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(arguments.model), AutoTokenizer.from_pretrained(arguments.model)
        assert model.config.hidden_size == 64 and model.get_input_embeddings().num_embeddings == 600 and model.dtype == torch.bfloat16
        assert model.config.eos_token_id == tokenizer.eos_token_id and tokenizer.chat_template
        raise SystemExit("it was this model")

    monkeypatch.setattr(step, "train", train)
    with pytest.raises(SystemExit, match="it was this model"):
        step.main(flags)
    (tmp_path / "config.json").write_text(json.dumps(small | {"vocab_size": 5}))
    with pytest.raises(SystemExit, match="has 5 words, the tokenizer of"):
        step.main(flags)
    for wrong, said in ((["--random_weights", "8B", "--model", "x"], "expected 3B, 7B or"), (["--random_weights", "7B"], "whose tokenizer")):
        with pytest.raises(SystemExit):
            step.main(wrong)
        assert said in capsys.readouterr().err


def test_reading_a_trace():
    result = json.loads(run("traces", "--lines", 500).splitlines()[-1])
    assert result["lines"] == 500 and result["load_trace_s"] > 0


def test_opening_a_report():
    if find_chromium() is None:
        pytest.skip("no Chromium")
    result = json.loads(run("report", "--lines", 20).splitlines()[-1])
    assert result["lines"] == 20 and result["open_s"] > 0
