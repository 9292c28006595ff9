"""training/iterations.py: evaluation inside a run, its table, and the best adapter kept under its name."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
from conftest import FakeJudge, passing_verdict, write_jsonl
from test_train import LORA, argv, read_trace  # noqa: F401

import traces
import train
from rewards import pass_at_k
from rust_tool import Verdict
from training import iterations

WORDS = ("nine", "ten", "eleven")
EVAL = ("--eval_every", "1", "--eval_samples", "5", "--eval_temperature", "1")


@pytest.fixture(scope="session")
def eval_file(tmp_path_factory):
    """Three tasks with hidden tests that no training prompt shares."""
    path = tmp_path_factory.mktemp("eval") / "val.jsonl"
    rows = [
        {"task_id": f"val/{word}", "prompt": f"Add two numbers, {word}.", "tests": ["assert_eq!(add(1, 2), 3);"],
         "entry_point": "add"}
        for word in WORDS
    ]  # fmt: skip
    return write_jsonl(path, rows)


def judged(job):
    """Hidden tests are passed by programs that the judge would pass; own tests by any program."""
    if job.hidden_tests is None:
        return passing_verdict(job)
    n = len(job.hidden_tests)
    if job.program is None:
        return Verdict(error_kind="no_code", hidden_passed=0, hidden_total=n)
    return Verdict(build_passed=True, hidden_passed=n * ("3)" in job.program.source), hidden_total=n)


def step_quality(monkeypatch, qualities):
    """Make the pass@1 of each evaluation the next of `qualities`; the rest of a row stays as measured."""
    measured, left = iterations.rates, list(qualities)
    monkeypatch.setattr(iterations, "rates", lambda graded, samples: measured(graded, samples) | {"pass@1": left.pop(0)})
    return left


def rows_of(folder):
    return [json.loads(line) for line in (folder / "iterations.jsonl").read_text().splitlines()]


def weights_of(folder):
    from safetensors.torch import load_file

    return {name: tensor.tolist() for name, tensor in load_file(folder / "adapter_model.safetensors").items()}


@pytest.fixture(scope="module")
def evaluated(argv, eval_file, tmp_path_factory):  # noqa: F811
    """Folder of a run of three steps, evaluated before and after each."""
    folder = tmp_path_factory.mktemp("runs") / "evaluated"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "RustTool", lambda **options: FakeJudge(judged, **options))
        flags = (*LORA, *EVAL, "--eval_tasks", eval_file, "--max_steps", 3, "--save_total_limit", 5, "--save_merged", "true")
        assert train.main(argv(folder, *flags)) == 0
    return folder


def test_a_row_for_every_evaluation_untrained_first(evaluated):
    rows = rows_of(evaluated)
    assert [(row["iteration"], row["step"], row["attempt"]) for row in rows] == [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 3, 0)]
    assert rows[0]["train_pass_rate"] is None and rows[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert all(row["kl"] > 1e-4 for row in rows[1:]), "a learning rate of 0.01 moves the policy"
    assert [row["trained_tokens"] for row in rows] == sorted({row["trained_tokens"] for row in rows})
    table = (evaluated / "iterations.md").read_text()
    assert table.count("\n| ") == 5 and table.count("| best |") == 1


def test_every_completion_of_an_evaluation_is_kept_and_the_row_follows_from_them(evaluated):
    kept = [json.loads(line) for line in (evaluated / "evaluations.jsonl").read_text().splitlines()]
    for row in rows_of(evaluated):
        mine = [record for record in kept if record["iteration"] == row["iteration"]]
        assert len(mine) == len(WORDS) * 5 and {record["sample"] for record in mine} == set(range(5))
        solved = {word: [r["hidden_passed"] == 1 for r in mine if r["task_id"] == f"val/{word}"] for word in WORDS}
        for k in (1, 5):
            expected = sum(pass_at_k(5, sum(each), k) for each in solved.values()) / len(WORDS)
            assert row[f"pass@{k}"] == pytest.approx(expected)
        assert row["build_rate"] == pytest.approx(sum(r["build_passed"] for r in mine) / len(mine))
        assert row["mean_tokens"] == pytest.approx(sum(r["n_tokens"] for r in mine) / len(mine))
    assert all(record["prompt"].split()[-1][:-1] not in WORDS for record in read_trace(evaluated)), "nothing of it is trained on"


def test_the_best_is_adapter_and_the_last_is_adapter_last(evaluated, tiny_coder):
    rows = rows_of(evaluated)
    best = max(rows[1:], key=lambda row: (row["pass@1"], row["pass@5"]))
    assert json.loads((evaluated / "adapter" / "iteration.json").read_text()) == best
    assert weights_of(evaluated / "adapter") == weights_of(evaluated / f"checkpoint-{best['step']}")
    assert weights_of(evaluated / "adapter-last") == weights_of(evaluated / "checkpoint-3")
    card = (evaluated / "adapter" / "README.md").read_text()
    assert f"These are the weights of step {best['step']}: of 3 evaluations inside the run the best by pass@1" in card
    assert "no result on it counts as one" in card
    assert "How these weights were chosen" not in (evaluated / "adapter-last" / "README.md").read_text()


def test_merged_is_of_the_best(argv, fake_judge, eval_file, tmp_path, monkeypatch, tiny_coder):  # noqa: F811
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    fake_judge(judged)
    step_quality(monkeypatch, [0.1, 0.9, 0.2])
    flags = (*LORA, *EVAL, "--eval_tasks", eval_file, "--max_steps", 2, "--save_merged", "true")
    assert train.main(argv(tmp_path / "run", *flags)) == 0
    base = AutoModelForCausalLM.from_pretrained(tiny_coder)
    expected = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter").merge_and_unload().state_dict()
    merged = load_file(tmp_path / "run" / "merged" / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(merged[name], expected[name].to(torch.bfloat16))
    assert json.loads((tmp_path / "run" / "adapter" / "iteration.json").read_text())["step"] == 1


def test_a_run_no_better_than_the_untrained_model_says_so(argv, fake_judge, eval_file, tmp_path, monkeypatch, capsys):  # noqa: F811
    fake_judge(judged)
    step_quality(monkeypatch, [0.5, 0.25, 0.5])
    assert train.main(argv(tmp_path / "run", *LORA, *EVAL, "--eval_tasks", eval_file)) == 0
    assert "**not better there than the untrained model (50.0%)**" in (tmp_path / "run" / "adapter" / "README.md").read_text()
    assert f"by --eval_tasks is {tmp_path / 'run' / 'adapter'}, not better there than the untrained model (50.0%)" in capsys.readouterr().out


TWO_UPDATES = ("--steps_per_generation", 2, "--max_steps", 4, "--groups_per_update", 2, "--tokens_per_micro_batch", 600)


@pytest.mark.parametrize("more", [(), TWO_UPDATES], ids=["between batches", "within a batch, too"])
def test_evaluations_leave_the_training_as_it_was(argv, fake_judge, eval_file, tmp_path, more):  # noqa: F811
    """The same random numbers, so the same completions and weights, evaluated or not."""
    completions = {}
    for name, flags in {"plain": (), "evaluated": (*EVAL, "--eval_tasks", eval_file)}.items():
        fake_judge(judged)
        assert train.main(argv(tmp_path / name, *LORA, *flags, *more)) == 0
        completions[name] = [record["completion"] for record in read_trace(tmp_path / name)]
    assert completions["plain"] == completions["evaluated"]
    assert weights_of(tmp_path / "plain" / "adapter") == weights_of(tmp_path / "evaluated" / "adapter-last")


def test_a_resumed_run_goes_on_with_the_table_and_keeps_a_better_adapter(argv, fake_judge, eval_file, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Killed after step 3 was evaluated and before its checkpoint was whole; step 1 was the best, and stays it."""
    fake_judge(judged)
    folder = tmp_path / "run"
    flags = (*LORA, *EVAL, "--eval_tasks", eval_file)
    qualities = step_quality(monkeypatch, [0.1, 0.6, 0.2, 0.3])
    assert train.main(argv(folder, *flags, "--max_steps", 3)) == 0
    best = weights_of(folder / "adapter")
    shutil.rmtree(folder / "checkpoint-3")
    shutil.rmtree(folder / "adapter-last")
    lines = [json.loads(line) | {"elapsed_s": 1000.0 * step} for step, line in enumerate((folder / "metrics.jsonl").open(), start=1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    qualities += [0.4, 0.5]
    fake_judge(judged)
    assert train.main(argv(folder, *flags, "--max_steps", 4, "--resume_from_checkpoint", "last")) == 0
    assert [(row["iteration"], row["step"], row["attempt"]) for row in rows_of(folder)] == [
        (0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 3, 1), (5, 4, 1),
    ]  # fmt: skip
    went_on = [*traces.read_metrics(folder)[2:], *rows_of(folder)[4:]]
    assert len(went_on) == 4 and all(2000 < row["elapsed_s"] < 2500 for row in went_on), "the clock goes on from checkpoint-2"
    assert weights_of(folder / "adapter") == best != weights_of(folder / "adapter-last")
    other = tmp_path / "other.jsonl"
    other.write_text(eval_file.read_text().splitlines()[0])
    assert train.main(argv(folder, *LORA, *EVAL, "--eval_tasks", other, "--max_steps", 5, "--resume_from_checkpoint", "last")) == 2
    assert "it was another run: eval_tasks (" in capsys.readouterr().err


def test_a_kill_between_weights_and_row_loses_neither(tmp_path):
    sampling = iterations.EvalSampling(5, 0.2, 0.95, 0)
    row = {"iteration": 1, "step": 2, "attempt": 0, "elapsed_s": 9.0, "pass@1": 0.5, "pass@5": None, "build_rate": 1.0,
           "hidden_test_share": 0.5, "train_pass_rate": None, "kl": None, "mean_tokens": 7.0}  # fmt: skip
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "iteration.json").write_text(json.dumps(row))
    (tmp_path / "adapter.new").mkdir()  # the next one had only begun
    with (tmp_path / "iterations.jsonl").open("w") as file:
        file.write(json.dumps(row | {"iteration": 0, "step": 0}) + "\n" + '{"iterat')
    kept = iterations.Iterations(tmp_path, [], "val", sampling, 1, "adapter", is_main=True)
    assert kept.best == row and rows_of(tmp_path)[-1] == row
    assert not (tmp_path / "adapter.new").exists()
    shutil.move(tmp_path / "adapter", tmp_path / "adapter.old")  # killed between the two renames
    again = iterations.Iterations(tmp_path, [], "val", sampling, 2, "adapter", is_main=True)
    assert again.rows == kept.rows and (tmp_path / "adapter" / "iteration.json").exists()


def test_the_first_of_equals_is_the_best(tmp_path):
    kept = iterations.Iterations(tmp_path, [], "val", iterations.EvalSampling(1, 1, 1, 0), 0, "adapter", is_main=True)
    kept.rows = [{"step": step, "pass@1": p, "pass@5": None} for step, p in enumerate((0.9, 0.5, 0.7, 0.7))]
    assert kept.best["step"] == 2


def test_rates_leave_the_machines_failures_out():
    graded = [
        {"task_id": task, "error_kind": kind, "build_passed": True, "hidden_passed": passed, "hidden_total": 2, "n_tokens": 10}
        for task, kind, passed in [("a", None, 2), ("a", "test_failed", 1), ("b", None, 2), ("b", "infra", 0)]
    ]
    assert iterations.rates(graded, 2) == {
        "tasks": 2, "samples": 2, "infra": 1, "pass@1": 0.75, "pass@5": None, "build_rate": 1.0,
        "hidden_test_share": pytest.approx(5 / 6), "mean_tokens": 10,
    }  # fmt: skip


def test_vllm_samples_as_asked_while_it_evaluates_and_as_before_afterwards():
    """Its engine reads these attributes at every call; an evaluation that fails leaves them as they were, too."""
    import torch

    usual = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.1, "max_completion_length": 9}
    engine, model = SimpleNamespace(**usual), torch.nn.Linear(1, 1)
    accelerator = SimpleNamespace(device=torch.device("cpu"), process_index=0)
    trainer = SimpleNamespace(use_vllm=True, vllm_generation=engine, accelerator=accelerator, model=model)
    with pytest.raises(KeyError), iterations._as_evaluated(trainer, iterations.EvalSampling(5, 0.2, 0.95, 0)):
        assert vars(engine) == usual | {"temperature": 0.2, "top_p": 0.95, "repetition_penalty": 1.0}
        assert not model.training
        raise KeyError
    assert vars(engine) == usual and model.training


def test_a_run_that_is_out_of_time_is_evaluated_once_more(argv, fake_judge, eval_file, tmp_path):  # noqa: F811
    fake_judge(judged)
    flags = (*LORA, "--eval_tasks", eval_file, "--eval_every", 50, "--max_steps", 40, "--max_minutes", 0.001)
    assert train.main(argv(tmp_path / "run", *flags)) == 0
    steps = [row["step"] for row in rows_of(tmp_path / "run")]
    assert len(steps) == 2 and 0 == steps[0] < steps[1] < 40
    assert (tmp_path / "run" / f"checkpoint-{steps[1]}").is_dir()


def test_full_training_keeps_the_best_model_too(argv, fake_judge, eval_file, tmp_path, monkeypatch):  # noqa: F811
    fake_judge(judged)
    step_quality(monkeypatch, [0.1, 0.9, 0.2])
    assert train.main(argv(tmp_path / "run", *EVAL, "--eval_tasks", eval_file)) == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert (tmp_path / "run" / "model-last" / "model.safetensors").is_file()
    assert rows_of(tmp_path / "run")[1]["kl"] is None, "no reference is kept without an adapter or a coefficient"


def test_kl_is_logged_in_every_step_where_it_has_a_coefficient(argv, fake_judge, tmp_path):  # noqa: F811
    fake_judge(passing_verdict)
    assert train.main(argv(tmp_path / "run", *LORA, "--beta", "0.02", "--max_steps", 3)) == 0
    values = [line["kl"] for line in traces.read_metrics(tmp_path / "run")]
    assert values[0] == pytest.approx(0, abs=1e-6) and all(value > 1e-5 for value in values[1:])


def test_sets_are_measured_together_and_a_task_in_two_is_refused(argv, fake_judge, eval_file, tmp_path, capsys):  # noqa: F811
    fake_judge(judged)
    other, rows = tmp_path / "other.jsonl", [json.loads(line) for line in eval_file.read_text().splitlines()]
    other.write_text(json.dumps(rows[0] | {"task_id": "val/other", "prompt": "Compute something else altogether."}) + "\n")
    flags = (*EVAL, "--max_steps", 1, "--eval_tasks", eval_file)
    assert train.main(argv(tmp_path / "run", *flags, other)) == 0
    measured = {row["task_id"] for row in traces.iter_trace(tmp_path / "run" / "evaluations.jsonl")}
    assert measured == {row["task_id"] for row in rows} | {"val/other"}
    other.write_text(json.dumps(rows[0]) + "\n")
    assert train.main(argv(tmp_path / "again", *flags, other)) == 2
    assert f"task {rows[0]['task_id']!r} is in two of the sets" in capsys.readouterr().err
    assert train.main(argv(tmp_path / "again", *flags, eval_file)) == 2  # the same set twice
    assert "is in two of the sets" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "Add two numbers, one."}, "--eval_tasks .*: task 'adding/0' asks the same as the held-out task 'val/nine'"),
        ({"tests": None}, "its task 'val/nine' has no hidden tests"),
        ({"prompt": "Add " + "many numbers " * 400}, "the longest prompt has [0-9]+ tokens, more than --max_prompt_length 512"),
    ],
    ids=["overlap", "no-tests", "long"],
)
def test_a_set_that_proves_nothing_is_refused(argv, fake_judge, eval_file, tmp_path, capsys, change, message):  # noqa: F811
    fake_judge(judged)
    rows = [json.loads(line) for line in eval_file.read_text().splitlines()]
    rows[0] |= change
    path = tmp_path / "val.jsonl"
    write_jsonl(path, rows)
    assert train.main(argv(tmp_path / "run", "--eval_tasks", path)) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused(argv, fake_judge, eval_file, tmp_path, capsys):  # noqa: F811
    """Of the evaluation, and of what comes back to be mended; every training prompt leaves some."""
    fake_judge(judged)
    rows = [json.loads(line) for line in eval_file.read_text().splitlines()]
    rows[0]["prompt"] = "Add " + "many numbers " * 100
    flags = ("--max_prompt_length", 1000, "--max_completion_length", 700)
    for more in (("--eval_tasks", write_jsonl(tmp_path / "val.jsonl", rows)), ("--fix_share", 0.25)):
        assert train.main(argv(tmp_path / "run", *flags, *more)) == 2
        assert re.search(r"--max_completion_length 700 and the longest prompt \(\d+ tokens\) exceed the 1024 tokens", capsys.readouterr().err)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flags", [("--eval_every", 0), ("--eval_samples", 0), ("--eval_temperature", 0), ("--eval_top_p", 2)])
def test_evaluation_settings_that_cannot_work_are_refused(argv, fake_judge, tmp_path, capsys, flags):  # noqa: F811
    fake_judge(judged)
    assert train.main(argv(tmp_path / "run", *flags)) == 2
    assert flags[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (200, "evaluation 3 after step 20 | pass@1 41.0% pass@5 48.0% build 64.0% hidden - | train pass rate 12.5% | KL 1.5e-02 | 210 tokens | 9.5 s"),
        (80, "evaluation 3 after step 20 | pass@1 41.0% pass@5 48.0% build 64.0% hidden -"),
        (60, "evaluation 3 after step 20 | pass@1 41.0% pass@5 48.0%"),
        (20, "evaluation 3 after step 20 | pass@1 41.0%"),
    ],
)
def test_the_line_of_an_evaluation_is_as_long_as_the_terminal_is_wide(monkeypatch, columns, expected):
    monkeypatch.setenv("COLUMNS", str(columns))
    row = {"iteration": 3, "step": 20, "pass@1": 0.41, "pass@5": 0.48, "build_rate": 0.64, "hidden_test_share": None,
           "train_pass_rate": 0.125, "kl": 0.015, "mean_tokens": 210.0, "eval_s": 9.5}  # fmt: skip
    assert iterations.line(row) == expected
