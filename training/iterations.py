"""Evaluation inside a training run, on a set of its own, with the engine that is already loaded; the best adapter is kept.

Every `--eval_every` steps (and before the first, and after the last) each task of `--eval_tasks` is answered `--eval_samples`
times by the policy as it is then. A run folder gets

* `iterations.jsonl`, a row per evaluation (`Iterations.evaluate` lists its keys), and `iterations.md`, the same as a table;
* `evaluations.jsonl`, every graded completion of them, as a trace line with `iteration` and `sample`;
* `adapter/` (`model/` when all weights are trained): the best so far by pass@1 on this set, then pass@5, the earlier of equals.

The untrained model is iteration 0 and never "the best". Numbers of the best are flattered by having been chosen on this set:
report another. A resumed run goes on with the table; rows of steps that it does again stay, with their attempt.
"""

import contextlib
import copy
import json
import math
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import console
from rewards import pass_at_k, passes_hidden
from tasks import iter_rows
from traces import TraceWriter, cut_torn_line
from training import micro_batches

ROWS_FILE, TABLE_FILE, COMPLETIONS_FILE = "iterations.jsonl", "iterations.md", "evaluations.jsonl"
PASS_AT = (1, 5)
CHOSEN_FILE = "iteration.json"  # in the best adapter's folder: its row
COLUMNS = {  # of the table: row key -> (title, format)
    "iteration": ("iteration", "{:d}"),
    "step": ("step", "{:d}"),
    "elapsed_s": ("minutes", "{:.1f}"),
    "pass@1": ("pass@1", "{:.1%}"),
    "pass@5": ("pass@5", "{:.1%}"),
    "build_rate": ("build", "{:.1%}"),
    "hidden_test_share": ("hidden tests", "{:.1%}"),
    "train_pass_rate": ("train pass rate", "{:.1%}"),
    "kl": ("KL", "{:.2e}"),
    "mean_tokens": ("tokens", "{:.0f}"),
}


@dataclass(frozen=True)
class EvalSampling:
    """How completions of an evaluation are drawn."""

    samples: int
    temperature: float
    top_p: float
    seed: int


class Iterations:
    """The evaluations of one run.

    Args:
        folder: The run folder.
        tasks: Task rows, each with hidden tests; `messages` is their conversation.
        set_name: What the card calls the set.
        sampling: EvalSampling.
        attempt: 0, one more at every resume.
        weights_name: "adapter" or "model".
        is_main: Whether this process writes.
    """

    def __init__(self, folder: Path, tasks: Sequence[dict], set_name: str, sampling: EvalSampling, attempt: int, weights_name: str,
                 is_main: bool):  # fmt: skip
        self.folder, self.tasks, self.set_name, self.sampling = folder, list(tasks), set_name, sampling
        self.attempt, self.weights_name, self.is_main = attempt, weights_name, is_main
        self.began = time.monotonic()  # training
        self.seconds = 0.0  # that the last evaluation took
        if is_main:
            cut_torn_line(folder / ROWS_FILE)
            _finish_replacing(folder / weights_name)
        self.rows = [row for _, row in iter_rows(folder / ROWS_FILE)] if (folder / ROWS_FILE).exists() else []
        kept = folder / weights_name / CHOSEN_FILE
        if kept.exists() and (row := json.loads(kept.read_text())) not in self.rows:  # killed between its weights and its row
            self._append(row)
        self.completions = TraceWriter(folder / COMPLETIONS_FILE) if is_main else None

    @property
    def best(self) -> dict | None:
        """Row of the best trained iteration, the first among equals; None before there is one."""
        trained = [row for row in self.rows if row["step"] > 0]
        return max(trained, key=_quality, default=None)

    def is_due(self, step: int) -> bool:
        """Whether the last row is not that of `step`."""
        return not self.rows or self.rows[-1]["step"] != step

    def evaluate(self, trainer) -> dict:
        """Sample, grade, write a row (every process calls it; all get the row) and keep the weights when they are the best.

        Keys: iteration, step, attempt, elapsed_s (of training, earlier attempts' too), eval_s, tasks, samples, infra (completions the
        machine failed to grade), `pass@1`, `pass@5` (None below 5 samples), build_rate, hidden_test_share, in [0, 1];
        train_pass_rate (training completions since the row before that pass all hidden tests, None before the first step);
        kl (mean k3 estimate per token against the frozen reference, over one completion a task; None without a reference);
        mean_tokens (of a completion), trained_tokens (prompts and completions sampled for training so far).
        """
        started = time.monotonic()
        step = trainer.state.global_step
        with console.waiting(f"evaluation after step {step}", self.seconds or None) if self.is_main else contextlib.nullcontext():
            graded, kl = self._graded(trainer)
        row = {
            "iteration": self.rows[-1]["iteration"] + 1 if self.rows else int(step > 0),
            "step": step,
            "attempt": self.attempt,
            "elapsed_s": round(started - self.began, 1),
            **rates(graded, self.sampling.samples),
            "train_pass_rate": _mean_since(trainer.state.log_history, self.rows[-1]["step"] if self.rows else 0),
            "kl": kl,
            "trained_tokens": int(trainer.state.num_input_tokens_seen),
        }
        self.seconds = time.monotonic() - started
        row["eval_s"] = round(self.seconds, 1)
        if self.is_main:
            place = {key: row[key] for key in ("iteration", "step", "attempt")}
            self.completions.write([record | place for record in graded])
            if step > 0 and (self.best is None or _quality(row) > _quality(self.best)):
                with _replacing(self.folder / self.weights_name) as new:
                    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(new)
                    trainer.processing_class.save_pretrained(new)
                    (new / CHOSEN_FILE).write_text(json.dumps(row))
        self._append(row)
        return row

    def _append(self, row: dict) -> None:
        self.rows.append(row)
        if self.is_main:
            with (self.folder / ROWS_FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            (self.folder / TABLE_FILE).write_text(self.table(), encoding="utf-8")

    def _graded(self, trainer) -> tuple[list[dict], float | None]:
        """Graded completions of all tasks, in the order of tasks and samples (on every process), and the KL."""
        world, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
        each = math.ceil(len(self.tasks) / world)
        wanted = [number % len(self.tasks) for number in range(rank * each, (rank + 1) * each)]  # equally many; some twice
        mine = [self.tasks[number] for number in wanted for _ in range(self.sampling.samples)]
        prompt_ids, _, _ = trainer._tokenize_prompts([task["messages"] for task in mine])
        with _as_evaluated(trainer, self.sampling):
            completion_ids = _sample(trainer, prompt_ids)
            kl = mean_kl(trainer, prompt_ids[:: self.sampling.samples], completion_ids[:: self.sampling.samples])
        texts = trainer.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
        tasks = [{key: value for key, value in task.items() if key != "messages"} for task in mine]
        graded = trainer.reward_set.grade_mostly(tasks, texts)
        for number, (record, ids) in enumerate(zip(graded, completion_ids, strict=True)):
            record |= {"sample": number % self.sampling.samples, "n_tokens": len(ids)}
        if world > 1:
            from accelerate.utils import gather_object

            graded = gather_object(graded)
        return graded[: len(self.tasks) * self.sampling.samples], kl

    def table(self) -> str:
        """iterations.md."""
        columns = COLUMNS | ({"attempt": ("attempt", "{:d}")} if any(row["attempt"] for row in self.rows) else {})
        best = self.best
        lines = ["| " + " | ".join(title for title, _ in columns.values()) + " | |", "|" + "---:|" * len(columns) + "---|"]
        for row in self.rows:
            shown = dict(row, elapsed_s=row["elapsed_s"] / 60)
            cells = [form.format(shown[key]) if shown[key] is not None else "-" for key, (_, form) in columns.items()]
            lines.append("| " + " | ".join(cells) + (" | best |" if row is best else " | |"))
        n = f"{len(self.tasks)} tasks x {self.sampling.samples}, temperature {self.sampling.temperature:g}, top_p {self.sampling.top_p:g}"
        return "\n".join([f"Evaluations inside the run on {self.set_name} ({n}); iteration 0 is the untrained model.", "", *lines, ""])

    def how_chosen(self) -> str:
        """For the card of the best: what it was chosen by, of how many, and whether it beats the untrained model there."""
        best = self.best
        n = sum(row["step"] > 0 for row in self.rows)
        text = (
            f"These are the weights of step {best['step']}: of {n} evaluations inside the run the best by pass@1 on {self.set_name} "
            f"({best['pass@1']:.1%}). Chosen on that set, so no result on it counts as one: measure another with `eval.py`."
        )
        return text + (f" It is **{worse}**." if (worse := self.not_better()) else "")

    def not_better(self) -> str | None:
        """What is to be said of the best where it does not beat the untrained model on the set that it was chosen on."""
        untrained = next((row for row in self.rows if row["step"] == 0), None)
        if untrained is None or self.best["pass@1"] > untrained["pass@1"]:
            return None
        return f"not better there than the untrained model ({untrained['pass@1']:.1%})"


def line(row: dict) -> str:
    """What is printed of an evaluation, as much of it as the terminal is wide; iterations.md has the rest."""
    percent = lambda key: f"{row[key]:.1%}" if row[key] is not None else "-"
    rates = {"pass@1": "pass@1", "pass@5": "pass@5", "build": "build_rate", "hidden": "hidden_test_share"}

    def text(without: set[str]) -> str:
        parts = {
            "where": f"evaluation {row['iteration']} after step {row['step']}",
            "rates": " ".join(f"{name} {percent(key)}" for name, key in rates.items() if name not in without),
            "train": f"train pass rate {percent('train_pass_rate')}",
            "KL": f"KL {row['kl']:.1e}" if row["kl"] is not None else "",
            "tokens": f"{row['mean_tokens']:.0f} tokens",
            "seconds": f"{row['eval_s']:.1f} s",
        }
        return " | ".join(part for name, part in parts.items() if part and name not in without)

    return console.first_that_fits(text, ["tokens", "seconds", "train", "KL", "hidden", "build", "pass@5"])


def rates(graded: Sequence[dict], samples: int) -> dict:
    """Of the graded completions of an evaluation; those that the machine failed count as `infra` and nowhere else."""
    counted = [record for record in graded if record["error_kind"] != "infra"]
    solved: dict[str, list[bool]] = defaultdict(list)
    for record in counted:
        solved[record["task_id"]].append(bool(passes_hidden(record)))
    mean = lambda values: sum(values) / len(values) if values else None
    at = {k: mean([pass_at_k(len(each), sum(each), k) for each in solved.values() if len(each) >= k]) for k in PASS_AT}
    return {
        "tasks": len({record["task_id"] for record in graded}),
        "samples": samples,
        "infra": len(graded) - len(counted),
        **{f"pass@{k}": value for k, value in at.items()},
        "build_rate": mean([record["build_passed"] for record in counted]),
        "hidden_test_share": mean([record["hidden_passed"] / record["hidden_total"] for record in counted if record["hidden_total"]]),
        "mean_tokens": mean([record["n_tokens"] for record in graded]),
    }


def _quality(row: dict) -> tuple[float, float]:
    return row["pass@1"] or 0.0, row["pass@5"] or 0.0


def _mean_since(log_history: Sequence[dict], step: int) -> float | None:
    rates = [entry["judge/solved_rate"] for entry in log_history if entry.get("judge/solved_rate") is not None and entry["step"] > step]
    return sum(rates) / len(rates) if rates else None


# -- Sampling with the trainer's engine --------------------------------------------------------------------------------


@contextlib.contextmanager
def _as_evaluated(trainer, sampling: EvalSampling) -> Iterator[None]:
    """While open, the trainer's engine samples as an evaluation does, without dropout. Random numbers of training stay as they were."""
    import torch

    fields = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
    devices = [trainer.accelerator.device] if trainer.accelerator.device.type == "cuda" else []
    owner, values = trainer, fields
    if trainer.use_vllm:
        owner = trainer.vllm_generation
    else:
        config = copy.deepcopy(trainer.generation_config)
        config.update(**fields)
        values = {"generation_config": config, "generation_kwargs": (trainer.generation_kwargs or {}) | fields}
    before, is_training = {key: getattr(owner, key) for key in values}, trainer.model.training
    trainer.model.eval()
    try:
        for key, value in values.items():
            setattr(owner, key, value)
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(sampling.seed + trainer.accelerator.process_index)
            yield
    finally:
        for key, value in before.items():
            setattr(owner, key, value)
        trainer.model.train(is_training)


def _sample(trainer, prompt_ids: list[list[int]]) -> list[list[int]]:
    """One completion of each prompt (token ids both): vLLM takes all at once, transformers as many as a training batch has."""
    import torch

    at_once = len(prompt_ids) if trainer.use_vllm else trainer.args.per_device_train_batch_size * trainer.args.steps_per_generation
    with torch.no_grad():
        return [
            ids
            for start in range(0, len(prompt_ids), at_once)
            for ids in trainer._generate_single_turn(prompt_ids[start : start + at_once], None, {}, 1)[0]
        ]


def mean_kl(trainer, prompt_ids: Sequence[list[int]], completion_ids: Sequence[list[int]]) -> float | None:
    """Mean per-token k3 estimate of KL(policy || frozen reference) over these completions; None where there is no reference.

    The reference is the model with its adapter switched off, or TRL's reference model. The completions are those of an evaluation,
    colder than the policy itself, so the value compares between evaluations, not with the `kl` that TRL logs while training.
    Source of k3: Schulman 2020, http://joschu.net/blog/kl-approx.html
    """
    import torch
    from peft import PeftModel

    model = trainer.accelerator.unwrap_model(trainer.model)
    has_adapter = isinstance(model, PeftModel)
    if not has_adapter and trainer.ref_model is None:
        return None
    total = torch.zeros(2, dtype=torch.float64)
    budget = trainer._budget() or micro_batches.CPU_TOKENS
    parts = micro_batches.cut([len(ids) for ids in prompt_ids], [len(ids) for ids in completion_ids], budget)
    with torch.no_grad():
        for part in parts:
            batch = _padded([prompt_ids[row] for row in part], [completion_ids[row] for row in part], trainer)
            policy, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, *batch)
            with model.disable_adapter() if has_adapter else contextlib.nullcontext():
                frozen = trainer.model if has_adapter else trainer.ref_model
                reference, _, _ = trainer._get_per_token_logps_and_entropies(frozen, *batch)
            mask = batch[1][:, -batch[2] :].bool()
            difference = (reference - policy)[mask].double()
            total += torch.stack([(difference.exp() - difference - 1).sum(), mask.sum()]).cpu()
    if trainer.accelerator.num_processes > 1:
        total = trainer.accelerator.reduce(total.float().to(trainer.accelerator.device), reduction="sum")
    return (total[0] / total[1].clamp(min=1)).item()


def _padded(prompt_ids: Sequence[list[int]], completion_ids: Sequence[list[int]], trainer) -> tuple:
    """-> (ids and mask, both (B, P+C), prompts padded on the left and completions on the right; C)."""
    import torch
    from trl.trainer.utils import pad

    device, value = trainer.accelerator.device, trainer.processing_class.pad_token_id
    sides = [(prompt_ids, "left"), (completion_ids, "right")]
    ids = [pad([torch.tensor(one) for one in rows], padding_value=value, padding_side=side) for rows, side in sides]
    mask = [pad([torch.ones(len(one), dtype=torch.long) for one in rows], padding_value=0, padding_side=side) for rows, side in sides]
    return torch.cat(ids, dim=1).to(device), torch.cat(mask, dim=1).to(device), ids[1].shape[1]


# -- The best weights on disk, whole at every moment -------------------------------------------------------------------


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which then takes the place of `folder`."""
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def _finish_replacing(folder: Path) -> None:
    """After a kill: a folder that was moved away for a new one comes back; what was being written goes."""
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    if old.exists() and not folder.exists():
        os.replace(old, folder)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
