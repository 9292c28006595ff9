"""A training step: the gradient of TRL's own micro-batches, of TRL's own forward pass for vLLM's ratio, and grading ahead.

Plain gradient descent, so that the adapter's change is the gradient.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import FakeJudge
from warm import run_in_two_processes

from rewards import ReadingJudge
from training import micro_batches
from training.sampling_mismatch import Mismatch, importance_ratio
from training.trainer import TracedGRPOTrainer


@pytest.fixture
def step(tiny_coder, tmp_path, monkeypatch):
    """A function: flags -> (adapter tensors after one step of gradient descent, metrics of the step)."""
    from safetensors.torch import load_file

    import train

    own = tmp_path / "own.py"  # rewards that differ within a group
    own.write_text("def by_length(completions, **kwargs):\n    return [len(completion[-1]['content']) / 100 for completion in completions]\n")
    monkeypatch.setattr(train, "RustTool", lambda **options: FakeJudge(**options))
    runs = iter(range(99))

    def run(*flags):
        out = tmp_path / f"run{next(runs)}"
        argv = ["--config", "configs/tiny.yaml", "--model_name_or_path", tiny_coder, "--output_dir", out, "--max_steps", 1,
                "--per_device_train_batch_size", 8, "--gradient_accumulation_steps", 4, "--num_generations", 8, "--max_completion_length", 48,
                "--max_prompt_length", 256, "--optim", "sgd", "--learning_rate", 1.0, "--max_grad_norm", 0, "--use_peft", "true", "--lora_dropout", 0.0, "--save_strategy", "no", "--max_sampling_logp_difference", 1,
                "--rewards", f"{own}:by_length=1", *flags]  # fmt: skip
        assert train.main([str(part) for part in argv]) == 0
        return load_file(out / "adapter" / "adapter_model.safetensors"), json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])

    return run


def furthest(one, other):
    """Largest difference of two adapters, relative to the largest value of the first."""
    return max(((one[name] - other[name]).abs().max() / one[name].abs().max()).item() for name in one if "lora_B" in name)


def assert_learned_the_same(expected, found):
    """Two adapters are one but for rounding, and no longer what they were before training."""
    assert any(tensor.abs().max() > 0 for name, tensor in expected.items() if "lora_B" in name)
    assert furthest(expected, found) < 1e-3


@pytest.mark.parametrize("flags", [
    "--share_prompts true", "--share_prompts false", "--loss_type grpo",  # grpo's depends on the division: TRL's own is kept
    "--loss_type cispo --importance_sampling_level sequence", "--loss_type vespo", "--mask_truncated_completions true",
    "--beta 0.5 --steps_per_generation 2 --num_iterations 2", "--loss_type grpo --beta 0.5 --steps_per_generation 8 --max_steps 2", "--steps_per_generation 8 --num_iterations 2 --max_steps 3",
])  # fmt: skip
def test_the_gradient_is_that_of_trls_own_batches(step, flags):
    expected, before = step("--tokens_per_micro_batch", 0, *flags.split())
    packed, after = step("--tokens_per_micro_batch", 500, *flags.split())
    assert_learned_the_same(expected, packed)
    assert after["loss"] == pytest.approx(before["loss"], rel=1e-3, abs=1e-6) and after["grad_norm"] == pytest.approx(before["grad_norm"], rel=1e-3)
    assert after["entropy"] == pytest.approx(before["entropy"], rel=0.06)  # TRL's is a mean of means of micro-batches


def test_the_entropy_bonus_is_the_mean_over_all_tokens(step):
    one_batch = ("--per_device_train_batch_size", 32, "--gradient_accumulation_steps", 1)
    expected, _ = step("--tokens_per_micro_batch", 0, "--entropy_coef", 2, *one_batch)
    packed, metrics = step("--tokens_per_micro_batch", 500, "--entropy_coef", 2, *one_batch)
    without, _ = step("--tokens_per_micro_batch", 500, *one_batch)
    assert furthest(expected, packed) < 1e-3 < 0.01 < furthest(expected, without)
    assert metrics["entropy_coef"] == 2


@pytest.mark.parametrize("target", [0.01, 9])
def test_the_adaptive_entropy_coefficient_changes_once_a_step_by_all_its_tokens(step, target):
    flags = ("--per_device_train_batch_size", 32, "--gradient_accumulation_steps", 1, "--max_steps", 3, "--learning_rate", 0.1, "--use_adaptive_entropy", "true",
             "--entropy_target", target, "--entropy_coef", 2, "--entropy_coef_delta", 0.5, "--entropy_coef_max", 2.75)  # fmt: skip
    expected, of_trl = step("--tokens_per_micro_batch", 0, *flags)
    packed, metrics = step("--tokens_per_micro_batch", 500, *flags)
    assert furthest(expected, packed) < 1e-2
    assert metrics["entropy_coef"] == of_trl["entropy_coef"] == (2.75 if target == 9 else 0.5)


def test_what_goes_into_an_adapter_is_not_cast_to_fp32_and_back(step, monkeypatch):
    from peft.tuners.tuners_utils import BaseTunerLayer

    real, casts = BaseTunerLayer._cast_input_dtype, []

    def counted(self, x, dtype):
        cast = real(self, x, dtype)
        casts.append(torch.is_grad_enabled() and cast.dtype != x.dtype)
        return cast

    monkeypatch.setattr(BaseTunerLayer, "_cast_input_dtype", counted)
    flags = ["--dtype", "bfloat16", "--bf16", "true", "--use_cpu", "true"]
    ours, _ = step(*flags)
    assert casts and not any(casts)
    monkeypatch.setattr("training.trainer.disable_input_dtype_casting", lambda model, active: contextlib.nullcontext())
    cast, _ = step(*flags)
    assert any(casts)
    assert any(tensor.abs().max() > 0 for name, tensor in ours.items() if "lora_B" in name)
    assert all(torch.equal(ours[name], cast[name]) for name in ours)


def test_a_step_that_runs_out_of_memory_is_done_again_in_smaller_parts(step, monkeypatch, capsys):
    import trl

    whole, before = step("--tokens_per_micro_batch", 100_000)
    real, sizes = trl.GRPOTrainer.compute_loss, []

    def on_a_small_card(self, model, inputs, *args, **kwargs):
        sizes.append(len(inputs["prompt_ids"]))
        if sizes[-1] > 8 or sum(size <= 8 for size in sizes) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(trl.GRPOTrainer, "compute_loss", on_a_small_card)
    halved, after = step("--tokens_per_micro_batch", 100_000)
    assert sizes[0] == 32 and max(sizes[-3:]) <= 8
    assert furthest(whole, halved) < 1e-3
    assert after["entropy"] == pytest.approx(before["entropy"], rel=1e-4)  # not of the part that went well before
    assert "out of GPU memory: --tokens_per_micro_batch is 50000 from here on" in capsys.readouterr().err


def test_a_single_row_that_does_not_fit_is_an_error_with_a_way_out(step, monkeypatch, capsys):
    import trl

    def no_memory(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trl.GRPOTrainer, "compute_loss", no_memory)
    with pytest.raises(AssertionError, match="== 0"):  # of the exit status
        step("--tokens_per_micro_batch", 1_000)
    assert "lower --tokens_per_micro_batch" in capsys.readouterr().err


@pytest.mark.parametrize("batches", [(4, 2, 1), (2, 4, 2)], ids=["two batches", "two updates"])
def test_two_processes_train_on_what_trls_own_batches_hold(tiny_coder, tmp_path, batches):
    """Groups of unequal numbers and lengths: as many micro-batches in each process, of different numbers of rows."""
    from safetensors.torch import load_file

    (tmp_path / "own.py").write_text("def by_length(completions, **kwargs):\n    return [len(completion[-1]['content']) / 100 for completion in completions]\n")

    def run(budget):
        out = tmp_path / str(budget)
        accumulated, generated, steps = batches
        argv = ["--config", "configs/tiny.yaml", "--model_name_or_path", tiny_coder, "--output_dir", out, "--max_steps", steps, "--per_device_train_batch_size", 4,
                "--gradient_accumulation_steps", accumulated, "--steps_per_generation", generated, "--num_generations", 4, "--max_completion_length", 48, "--max_prompt_length", 256, "--optim",
                "sgd", "--learning_rate", 1.0, "--max_grad_norm", 0, "--use_peft", "true", "--lora_dropout", 0, "--save_strategy", "no", "--seed", 3,
                "--min_generations", 2, "--groups_per_update", 3, "--rewards", f"{tmp_path / 'own.py'}:by_length=1",
                "--tokens_per_micro_batch", budget]  # fmt: skip
        run_in_two_processes(argv, tmp_path)
        assert (out / "trace.rank1.jsonl").is_file()
        return load_file(out / "adapter" / "adapter_model.safetensors"), json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])

    expected, before = run(0)
    packed, after = run(150)
    assert_learned_the_same(expected, packed)
    assert after["loss"] == pytest.approx(before["loss"], rel=1e-3, abs=1e-6)


def trainer_without_a_model(**attributes):
    """The trainer's methods, for those that need no more than these attributes."""

    trainer = object.__new__(TracedGRPOTrainer)
    vars(trainer).update(attributes)
    return trainer


@pytest.mark.parametrize(
    ("budget", "rows", "fitting", "needed"),
    [(None, 8, 2_000, 2_000), (None, 8, 1_999, 2_000), (7_000, 8, 6_999, 7_000), (500, 8, 1_000, 1_000), (0, 8, 7_999, 8_000)],
    ids=["two rows", "too little", "asked for", "a long row", "TRL's own"],
)
def test_checkpointing_is_off_where_a_micro_batch_fits_without_on_every_process(budget, rows, fitting, needed, capsys):
    """One process that asked the others alone would wait for an answer to another question."""
    asked = []
    model = SimpleNamespace(gradient_checkpointing_disable=lambda: None)
    for is_main in (True, False):
        accelerator = SimpleNamespace(is_main_process=is_main, device=torch.device("cuda"), unwrap_model=lambda model: model)
        args = SimpleNamespace(per_device_train_batch_size=rows, use_liger_kernel=rows == 8)
        trainer = trainer_without_a_model(accelerator=accelerator, model=model, args=args, token_budget=budget)
        trainer._fitting_tokens = lambda checkpointing: asked.append(checkpointing) or fitting
        trainer._cuts_anew = lambda: budget != 0
        trainer._choose_checkpointing(longest_row=1_000)
        assert args.gradient_checkpointing == (fitting < needed)
    assert asked[: len(asked) // 2] == asked[len(asked) // 2 :]
    planned = {None: micro_batches.TOKEN_RANGE[0], 0: needed}.get(budget, budget)
    assert f"up to {planned} tokens, gradient checkpointing {'on' if fitting < needed else 'off'}" in capsys.readouterr().out


def test_memory_for_gradients_and_optimizer_is_left(monkeypatch):
    model = torch.nn.Linear(1_000, 1_000, bias=False)
    model.config = SimpleNamespace(hidden_size=10, intermediate_size=10, num_hidden_layers=1)
    for name, value in {"mem_get_info": (20_000_000, 30_000_000), "memory_reserved": 0, "memory_allocated": 0, "get_per_process_memory_fraction": 1}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    accelerator = SimpleNamespace(num_processes=1, unwrap_model=lambda model: model)
    trainer = trainer_without_a_model(accelerator=accelerator, model=model, args=SimpleNamespace(use_liger_kernel=False))
    assert trainer._fitting_tokens(False) == micro_batches.fitting_tokens(model.config, 20_000_000 - 12_000_000, False)
    model.requires_grad_(False)
    assert trainer._fitting_tokens(False) == micro_batches.fitting_tokens(model.config, 20_000_000, False)


def test_metrics_of_micro_batches_weigh_by_all_processes_tokens_or_rows():
    other = torch.tensor([[0, 0], [4, 1]])  # tokens and rows of the other process
    mask = torch.tensor([[1, 1], [1, 0], [1, 0]])
    metrics = {"entropy": [9.0, 0.0, 1.0], "vespo/phi_seq_mean": [0.0, 1.0], "clip_ratio/high_max": [0.0, 1.0], "reward": [3.0]}
    for level, clipped in (("token", 5 / 8), ("sequence", 2 / 4)):
        of_both = SimpleNamespace(reduce=lambda sizes, how: sizes + other)
        train_metrics = {name: list(values) for name, values in metrics.items()} | {"clip_ratio/high_mean": [0.0, 1.0]}
        trainer = trainer_without_a_model(accelerator=of_both, importance_sampling_level=level, _metrics={"train": train_metrics})
        trainer._weigh_metrics({"entropy": 1, "reward": 1}, [[0, 1], [2]], mask)
        assert train_metrics == {"entropy": [9.0, 5 / 8], "vespo/phi_seq_mean": [2 / 4], "clip_ratio/high_max": [0.0, 1.0], "reward": [3.0],
                                 "clip_ratio/high_mean": [clipped]}  # fmt: skip


def test_prompts_that_differ_in_their_padding_only_are_not_shared():
    batch = {"prompt_ids": torch.tensor([[0, 7], [0, 7], [0, 7]]), "prompt_mask": torch.tensor([[0, 1], [1, 1], [0, 1]]),
             "completion_mask": torch.ones(3, 2, dtype=torch.long)}  # fmt: skip
    trainer = trainer_without_a_model(shares_prompts=True, token_budget=1_000, accelerator=SimpleNamespace(num_processes=1))
    (sequences,) = trainer._micro_batches(batch)
    assert sorted(map(sorted, sequences)) == [[0, 2], [1]]


# ---------------------------------------------------------------------------------------------------------------------
# vLLM is not installed where tests run: a stand-in that samples as TRL's class does, with log-probs that are a little off
# ---------------------------------------------------------------------------------------------------------------------


class Engine:
    """`llm_engine` of a vLLM that finishes one request a step."""

    def __init__(self):
        self.waiting = []

    def step(self):
        prompt, completion = self.waiting.pop(0)
        return [SimpleNamespace(finished=True, prompt_token_ids=prompt, outputs=[SimpleNamespace(token_ids=completion)])]


ENGINE_ARGUMENTS = {}


class SampledElsewhere:
    """trl.generation.vllm_generation.VLLMGeneration's interface, answered from a seed."""

    NOISE = 0.3  # of a log-prob; some are missing

    def __init__(self, model, processing_class, max_completion_length, **kwargs):
        self.tokenizer, self.length = processing_class, max_completion_length
        self.llm = SimpleNamespace(llm_engine=Engine())
        self.random = torch.Generator().manual_seed(5)
        self.model = model
        self.generation_kwargs = ENGINE_ARGUMENTS["last"] = dict(kwargs["generation_kwargs"] or {})

    def _iter_named_params(self):
        raise NotImplementedError

    def sync_weights(self):
        pass

    def generate(self, prompts, images, num_generations, profiler):
        random = lambda low, high, n: torch.randint(low, high, (n,), generator=self.random).tolist()
        completions = [[*random(5, 290, length), self.tokenizer.eos_token_id] for length in random(3, self.length - 1, len(prompts))]
        engine = self.llm.llm_engine
        engine.waiting = list(zip(prompts, completions, strict=True))
        while engine.waiting:
            engine.step()
        return prompts, completions, [self.logprobs(*pair) for pair in zip(prompts, completions, strict=True)], None

    @torch.no_grad()
    def logprobs(self, prompt, completion):
        logits = self.model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1].float()
        exact = torch.log_softmax(logits, -1).gather(1, torch.tensor(completion)[:, None])[:, 0]
        noisy = exact + self.NOISE * torch.randn(len(completion), generator=self.random)
        return [[None if at == 1 else value] for at, value in enumerate(noisy.tolist())]


@pytest.fixture
def other_engine(monkeypatch):
    import trl.generation.vllm_generation as generation
    import trl.trainer.grpo_trainer as grpo

    import doctor

    monkeypatch.setattr(generation, "VLLMGeneration", SampledElsewhere)
    monkeypatch.setattr(grpo, "VLLMGeneration", SampledElsewhere)
    monkeypatch.setattr(doctor, "require_vllm", lambda: None)
    monkeypatch.setattr("train.lossless_vllm_sync", contextlib.nullcontext)
    monkeypatch.setattr("train.GradingProcess", lambda **options: ReadingFake())


class ReadingFake(ReadingJudge):
    """A GradingProcess that is none."""

    def __init__(self):
        super().__init__(FakeJudge())

    def start(self, task, completion):
        pass

    def describe(self):
        return self.judge.describe()

    def close(self):
        self.judge.close()


SAMPLING = [
    "sampling/sampling_logp_difference/mean",
    "sampling/sampling_logp_difference/max",
    "sampling/importance_sampling_ratio/min",
    "sampling/importance_sampling_ratio/mean",
    "sampling/importance_sampling_ratio/max",
]


@pytest.fixture
def forwards(monkeypatch):
    """Rows of each pass through the model for log-probs, as TRL makes them."""
    import trl

    found, real = [], trl.GRPOTrainer._get_per_token_logps_and_entropies
    monkeypatch.setattr(
        trl.GRPOTrainer, "_get_per_token_logps_and_entropies", lambda self, *a, **k: found.append(len(a[1])) or real(self, *a, **k)
    )
    return found


@pytest.mark.parametrize("mode", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
def test_the_ratio_of_the_training_forward_is_that_of_trls_own_forward(step, other_engine, mode, forwards):
    flags = ["--use_vllm", "true", "--vllm_importance_sampling_mode", mode, "--vllm_importance_sampling_clip_max", 1.2, "--temperature", 1.0]
    expected, before = step("--tokens_per_micro_batch", 0, *flags)
    n_before, forwards[:] = sum(forwards), []
    ours, after = step("--tokens_per_micro_batch", 500, *flags, "--share_prompts", "false")
    shared, _ = step("--tokens_per_micro_batch", 500, *flags)
    assert furthest(expected, shared) < 1e-3
    assert (n_before, sum(forwards)) == (64, 32)  # rows that went through the model
    assert ENGINE_ARGUMENTS["last"] == {"detokenize": False}
    assert_learned_the_same(expected, ours)
    assert after["loss"] == pytest.approx(before["loss"], rel=1e-3, abs=1e-6)
    assert [after[name] for name in SAMPLING] == pytest.approx([before[name] for name in SAMPLING], rel=1e-3, abs=1e-5)
    assert after["sampling/sampling_logp_difference/mean"] == pytest.approx(0.24, abs=0.03)  # of NOISE: 0.3 * sqrt(2 / pi)
    assert after.get("sampling/masked_share") == pytest.approx(before.get("sampling/masked_share"), abs=1e-6)


def test_what_is_learned_between_sampling_and_training_keeps_trls_own_forward(step, other_engine, forwards):
    _, metrics = step("--use_vllm", "true", "--gradient_accumulation_steps", 2, "--steps_per_generation", 4, "--temperature", 1.0)
    assert sum(forwards) == 32 + 16  # all that was sampled, then the rows of one update
    assert metrics["sampling/sampling_logp_difference/mean"] > 0.1


@pytest.mark.parametrize("mode", ["token_truncate", "sequence_mask"])
@pytest.mark.parametrize("more", ["", "--groups_per_update 2 --share_prompts false", "--mask_truncated_completions true --num_iterations 2"])
def test_what_several_updates_need_of_the_first_policy_is_asked_of_trained_rows_alone(step, other_engine, mode, more, forwards, tmp_path):
    """The same adapter as with TRL's forward pass of all that was sampled."""
    flags = ["--use_vllm", "true", "--vllm_importance_sampling_mode", mode, "--vllm_importance_sampling_clip_max", 1.2, "--temperature", 1.0,
             "--gradient_accumulation_steps", 2, "--steps_per_generation", 4, "--max_steps", 2, "--learning_rate", 5, *more.split()]  # fmt: skip
    expected, before = step("--tokens_per_micro_batch", 0, *flags)
    n_before, forwards[:] = sum(forwards), []
    ours, after = step("--tokens_per_micro_batch", 500, *flags)
    assert_learned_the_same(expected, ours)
    assert after["clip_ratio/region_mean"] == pytest.approx(before["clip_ratio/region_mean"], rel=0.05) and after["clip_ratio/region_mean"] > 0
    if "groups_per_update" in more:
        assert (n_before, sum(forwards)) == (32 + 32, 16 + 16)
    elif not more:
        first = [json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[0]) for run in ("run0", "run1")]
        assert [first[1][name] for name in SAMPLING] == pytest.approx([first[0][name] for name in SAMPLING], rel=1e-3, abs=1e-5)


def test_a_missing_log_prob_is_no_correction_and_no_difference():
    nan = float("nan")
    logps, sampled, mask = torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[-1.5, nan, 0.0]]), torch.tensor([[1, 1, 0]])
    ratio = importance_ratio(logps, sampled, mask, "token_mask", None, 3.0)
    assert ratio.tolist()[0] == pytest.approx([2.718281828**0.5, 1, 1])
    mismatch = Mismatch()
    mismatch.add(logps, sampled, mask, ratio)
    found = mismatch.summary(lambda value: value, is_masked=True)
    assert found["sampling/sampling_logp_difference/mean"] == found["sampling/sampling_logp_difference/max"] == 0.5
    assert found["sampling/masked_share"] == 0


# ---------------------------------------------------------------------------------------------------------------------
# Grading while the others are sampled
# ---------------------------------------------------------------------------------------------------------------------


def test_completions_are_graded_while_others_are_sampled(step, other_engine, monkeypatch):
    import train

    events, lock = [], threading.Lock()

    class Watched(ReadingFake):
        def start(self, task, completion):
            with lock:
                events.append(("start", task["task_id"], completion))

        def grade(self, tasks, completions):
            events.append(("grade", [(task["task_id"], completion) for task, completion in zip(tasks, completions, strict=True)]))
            return super().grade(tasks, completions)

    def slow_step(self):
        with lock:
            events.append(("sampled",))
        time.sleep(0.005)
        return one_step(self)

    one_step = Engine.step
    monkeypatch.setattr(Engine, "step", slow_step)
    monkeypatch.setattr(train, "GradingProcess", lambda **options: Watched())
    _, metrics = step("--use_vllm", "true", "--temperature", 1.0)
    kinds = [event[0] for event in events]
    assert kinds.count("start") == kinds.count("sampled") == 32 and kinds.count("grade") == 1
    assert kinds.index("start") < 8 < 32 < kinds.index("grade")  # the first long before the last is sampled
    assert sorted(map(str, (event[1:] for event in events if event[0] == "start"))) == sorted(map(str, events[kinds.index("grade")][1]))
    assert metrics["time/wait_s"] < metrics["time/grade_s"]
    assert metrics["time/generate_s"] + metrics["time/wait_s"] + metrics["time/train_s"] == pytest.approx(metrics["step_time"], rel=0.01)


def test_the_engine_is_itself_again_afterwards():
    from training.grading_ahead import finished_requests

    engine, taken = Engine(), []
    engine.waiting = [([1], [2, 3]), ([4], [5])]
    original = engine.step

    def take(prompt, completion):
        taken.append((prompt, completion))
        raise ValueError("of no consequence")

    with pytest.raises(KeyError), finished_requests(engine, take):
        engine.step(), engine.step()
        raise KeyError
    assert taken == [([1], [2, 3]), ([4], [5])] and engine.step == original


GOOD = "```rust\npub fn twice(n: i64) -> i64 {\n    n * 2\n}\n```"
TASK = {"task_id": "a", "prompt": "Write `twice`.", "tests": ["assert_eq!(twice(2), 4);", "assert_eq!(twice(-1), -2);"], "entry_point": "twice"}


def test_a_judge_in_another_process_answers_as_one_in_this():
    from judge.program import extract_program
    from rust_tool import Job, RustTool
    from training.grading_ahead import GradingProcess

    texts = [GOOD, GOOD.replace("* 2", "+ 2"), "no code"]
    others = [Job(extract_program(GOOD), tuple(f"#[test]\nfn adds() {{ assert_eq!({name}(3), 6); }}" for name in ("twice", "thrice")))]
    with RustTool(workers=1) as judge:
        here = ReadingJudge(judge).grade([TASK] * 3, texts)
        description = judge.describe()
    elsewhere = GradingProcess(workers=1)
    try:
        assert elsewhere.describe() == description
        elsewhere.start(TASK, GOOD)
        elsewhere.start(TASK | {"tests": ["assert!("]}, GOOD)  # of no consequence until its verdict is asked for
        there = elsewhere.grade([TASK] * 3, texts)
        with pytest.raises(ValueError):
            elsewhere.grade([TASK | {"tests": ["assert!("]}], [GOOD])
        assert elsewhere.grade([TASK], [GOOD])[0][1].hidden_passed == 2
        assert elsewhere.judge.run_suites(others) == [[{"adds": "ok"}, None]]
    finally:
        elsewhere.close()
        elsewhere.close()
    timeless = lambda pairs: [(program, replace(verdict, duration_s=0)) for program, verdict in pairs]
    assert timeless(there) == timeless(here) and [verdict.hidden_passed for _, verdict in here] == [2, 1, 0]
    assert not elsewhere._process.is_alive()


def test_what_a_judge_refuses_is_said_by_its_process_and_its_death_too():
    from rust_tool import ToolchainError
    from training.grading_ahead import GradingProcess, JudgeGone

    with pytest.raises(ToolchainError, match="edition 1999"):
        GradingProcess(edition="1999")
    elsewhere = GradingProcess(workers=1)
    elsewhere._process.kill()
    for _ in range(2):  # sooner or later than the pipe is known to be broken
        with pytest.raises(JudgeGone, match="the judge's process ended by itself .signal 9"):
            elsewhere.grade([TASK], [GOOD])
    elsewhere.close()


def test_signals_to_all_processes_of_a_terminal_are_the_trainers_alone(monkeypatch):
    """From the first moment on: a judge that dies of a Ctrl-C while it starts would say so with a traceback."""
    from multiprocessing.context import SpawnProcess

    from training.grading_ahead import FOR_THE_TRAINER, GradingProcess

    def start(process):
        begin(process)
        for number in FOR_THE_TRAINER:
            os.kill(process.pid, number)

    begin = SpawnProcess.start
    monkeypatch.setattr(SpawnProcess, "start", start)
    elsewhere = GradingProcess(workers=1)
    for number in FOR_THE_TRAINER:
        os.kill(elsewhere._process.pid, number)
    assert elsewhere.grade([TASK], [GOOD])[0][1].hidden_passed == 2
    elsewhere.close()
    assert elsewhere._process.exitcode == 0


def test_a_judge_is_closed_although_another_process_holds_its_pipe():
    from training.grading_ahead import GradingProcess

    elsewhere = GradingProcess(workers=1)
    holder = os.fork()
    if holder == 0:
        elsewhere.close()  # of no effect in a copy
        time.sleep(60)
        os._exit(0)
    try:
        closing = threading.Thread(target=elsewhere.close)
        closing.start()
        closing.join(30)
        assert not closing.is_alive()
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


@pytest.mark.parametrize(
    ("function", "error", "status", "message"),
    [
        ("references_line", "JudgeGone", 2, "train.py: gone"),
        ("references_line", "KeyboardInterrupt", 130, "train.py: interrupted"),
        ("train", "JudgeGone", 1, "train.py: gone: go on with --resume_from_checkpoint last"),
    ],
)
def test_whatever_ends_a_run_ends_the_judges_process_too(step, other_engine, monkeypatch, capsys, function, error, status, message):
    import train
    from training import grading_ahead

    closed = []

    def end(*args, **kwargs):
        raise {"JudgeGone": grading_ahead.JudgeGone, "KeyboardInterrupt": KeyboardInterrupt}[error]("gone")

    monkeypatch.setattr(ReadingFake, "close", lambda self: closed.append(self))
    monkeypatch.setattr(train, function, end)
    with pytest.raises(AssertionError, match=f"{status} == 0"):
        step("--use_vllm", "true", "--temperature", 1.0)
    assert closed and capsys.readouterr().err.splitlines()[-1] == message


def test_a_judge_that_dies_between_two_steps_leaves_what_was_learned(step, other_engine, monkeypatch, capsys):
    import train
    from training.grading_ahead import GradingProcess

    class Mortal(GradingProcess):
        def grade(self, tasks, completions):
            if getattr(self, "has_graded", False):
                self._process.kill()
            self.has_graded = True
            return super().grade(tasks, completions)

    monkeypatch.setattr(train, "GradingProcess", Mortal)
    with pytest.raises(AssertionError, match="1 == 0"):
        step("--use_vllm", "true", "--temperature", 1.0, "--max_steps", 2, "--judge_workers", 2)
    said = capsys.readouterr()
    assert "adapter after 1 steps" in said.out
    assert said.err.splitlines()[-1].endswith("9 may be the kernel's, short of memory): go on with --resume_from_checkpoint last")


def test_a_job_that_is_started_while_a_batch_ends_is_the_next_ones(monkeypatch):
    from rust_tool import Job, RustTool

    class Unasked(Future):
        def cancel(self):
            starting = threading.Thread(target=judge.start, args=(late,))
            starting.start()
            starting.join()
            return super().cancel()

    with RustTool(workers=1) as judge:
        program = ReadingJudge(judge).program_of(GOOD)
        late, begin, begun = Job(program), judge._start, []
        monkeypatch.setattr(judge, "_start", lambda job, suite: begun.append(job) or (begin(job, suite) if job == late else Unasked()))
        judge.start(Job(program, None, None, "never asked for"))
        assert judge.grade([]) == [] and begun[1:] == [late]
        assert judge.grade([late])[0].build_passed and begun[1:] == [late]


def test_the_judges_process_ends_with_whoever_holds_it():
    """Killed without a chance to say goodbye, in the middle of a batch that takes minutes: the pipe closes."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        scratch = Path(folder, "scratch")
        script = (
            "import sys\nfrom training.grading_ahead import GradingProcess\nif __name__ == '__main__':\n"
            f"    judge = GradingProcess(workers=1, run_timeout_s=4, scratch_dir={str(scratch)!r})\n    print(judge._process.pid, flush=True)\n"
            f"    judge.grade([{TASK}] * 60, [{GOOD!r}.replace('n * 2', f'loop {{{{ std::hint::black_box({{i}}); }}}}') for i in range(60)])\n"
        )
        Path(folder, "holder.py").write_text(script)
        holder = subprocess.Popen([sys.executable, f"{folder}/holder.py"], stdout=subprocess.PIPE, text=True,
                                  env=os.environ | {"PYTHONPATH": train_folder()})  # fmt: skip
        pid = int(holder.stdout.readline())
        deadline = time.monotonic() + 60
        while not (scratch.is_dir() and list(scratch.iterdir())):
            assert holder.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(0.5)  # into the batch
        assert holder.poll() is None
        holder.kill()
        holder.wait()
        deadline = time.monotonic() + 60
        while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert list(scratch.iterdir()) == []


def train_folder() -> str:
    import train

    return str(Path(train.__file__).parent)
