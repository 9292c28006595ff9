"""The callbacks that print, record metrics, stop a run and evaluate within it. Imports torch and transformers."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from pathlib import Path

import torch
from transformers import TrainerCallback

import console
from judge.errors import UserError
from traces import cut_torn_line, read_metrics
from training.iterations import Iterations
from training.progress import SMELL_STEPS, any_process, smells, step_line

MIN_TRACED_FOR_INFRA_STOP = 64  # graded completions before the infra share can stop a run


class RunCallback(TrainerCallback):
    """Args: script (train.py's ScriptArguments: limits), metrics_path, completions_per_step (sampled, in the mean over steps), iterations
    (evaluations take time too), steps_per_batch (optimizer steps that use what the first of them samples).

    `stop_reason` says afterwards why a run ended early, `failed` if in error; `has_begun` whether a step of it has; `began` is when its
    training did by the monotonic clock, had the attempts before, up to the step that is gone on from, come directly before this one.
    """

    def __init__(self, script, metrics_path: Path, completions_per_step: float, iterations: Iterations | None = None,
                 steps_per_batch: float = 1):  # fmt: skip
        self.script, self.metrics_path, self.completions_per_step = script, metrics_path, completions_per_step
        self.iterations, self.steps_per_batch, self.is_out_of_time = iterations, steps_per_batch, False
        self.stop_reason: str | None = None
        self.failed = self.has_begun = False
        self._graded = self._infra = 0.0
        self._history: list[dict] = []
        self._warned: set[str] = set()
        self._beat = contextlib.ExitStack()

    def on_train_begin(self, args, state, control, **kwargs):
        self._started, self._first_step = time.monotonic(), state.global_step
        self._last_logged_step = state.global_step
        if state.is_world_process_zero:
            cut_torn_line(self.metrics_path)  # of a run that was killed: the next line must not go on in it
        earlier = [line for line in read_metrics(self.metrics_path.parent) if line["step"] <= state.global_step]
        self.began = self._started - (earlier[-1].get("elapsed_s", 0.0) if earlier else 0.0)

    def on_step_begin(self, args, state, control, **kwargs):
        self.has_begun = True
        if state.is_world_process_zero:
            done = state.global_step - self._first_step
            usual_s = (time.monotonic() - self._started) / done if done else None
            self._beat.enter_context(console.waiting(f"step {state.global_step + 1} of {state.max_steps}", usual_s))

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        """Raises UserError before an update that would leave no weight a number: what is saved then is the model of the step before."""
        gradients = [] if args.fp16 else [weight.grad for weight in model.parameters() if weight.grad is not None]  # fp16: a scaler looks
        if gradients and not torch.nn.utils.get_total_norm(gradients).isfinite():
            raise UserError(f"step {state.global_step + 1}: the gradient is no finite number, so the run ends before this update; lower "
                            "--learning_rate, or go on with another --seed")  # fmt: skip

    def quieten(self) -> None:
        """Say no more of the step under way, which will not end."""
        self._beat.close()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not logs or not {"reward", "loss"} & logs.keys():  # the closing summary of a run is no step
            return
        has_sampled = "reward" in logs  # an update may use completions that an earlier one sampled
        elapsed = time.monotonic() - self._started
        done, of_batch = state.global_step - self._first_step, max(1, self.steps_per_batch)
        has_sampled_for = math.ceil(done / of_batch) * of_batch  # what takes longest is done for these
        eta_s = elapsed / max(1, has_sampled_for) * (state.max_steps - state.global_step)
        if self.script.max_minutes:
            eta_s = min(eta_s, max(0.0, self.script.max_minutes * 60 - elapsed))
        if state.is_world_process_zero:
            if has_sampled:
                print(step_line(state.global_step, state.max_steps, logs, eta_s), flush=True)
                self._history = [*self._history, dict(logs)][-2 * SMELL_STEPS :]
            warnings = smells(self._history)
            for kind in warnings.keys() - self._warned:  # said once, until it is over
                print(f"warning: {warnings[kind]}", file=sys.stderr, flush=True)
            self._warned = set(warnings)
            line = {"step": state.global_step, "elapsed_s": round(time.monotonic() - self.began, 1), **logs}
            if warnings:
                line["warnings"] = list(warnings.values())
            with self.metrics_path.open("a", encoding="utf-8") as metrics:
                metrics.write(json.dumps(line) + "\n")
        self._check_limits(logs, state, control)

    def _check_limits(self, logs: dict, state, control) -> None:
        if "judge/infra_share" in logs:  # not of an update that uses what an earlier one sampled
            completions = self.completions_per_step * (state.global_step - self._last_logged_step)
            self._last_logged_step = state.global_step
            self._graded += completions
            self._infra += completions * (logs["judge/infra_share"] or 0.0)
        share = self._infra / max(1.0, self._graded)
        if self._graded >= MIN_TRACED_FOR_INFRA_STOP and share > self.script.max_infra_share:
            self._stop(control, f"{share:.1%} of {self._graded:.0f} completions could not be graded (limit "
                       f"--max_infra_share {self.script.max_infra_share:.1%}): see error_kind infra in the trace")  # fmt: skip
        difference = logs.get("sampling/sampling_logp_difference/mean")
        if difference is not None and difference > self.script.max_sampling_logp_difference:
            self._stop(control, f"vLLM samples another policy than the one being trained: mean log-prob difference "
                       f"{difference:.3f} per token, limit {self.script.max_sampling_logp_difference}")  # fmt: skip

    def _stop(self, control, reason: str) -> None:
        self.stop_reason, self.failed = reason, True
        control.should_training_stop = control.should_save = True

    def on_step_end(self, args, state, control, **kwargs):
        self._beat.close()
        elapsed = time.monotonic() - self._started
        done = state.global_step - self._first_step
        next_s = elapsed / max(1, done)
        if self.steps_per_batch > 1 and done % self.steps_per_batch == 0:  # it samples, for others too
            next_s *= self.steps_per_batch
        closing_s = self.iterations.seconds if self.iterations else 0.0  # as long as the last evaluation took
        is_limited = bool(self.script.max_minutes) and state.global_step < state.max_steps
        is_late = is_limited and elapsed + next_s + closing_s > self.script.max_minutes * 60
        self.is_out_of_time = any_process(is_late, args.device)
        if self.is_out_of_time:
            self.stop_reason = f"another step would pass --max_minutes {self.script.max_minutes:g}"
        if any_process(bool(self.stop_reason), args.device):  # one that stops alone leaves the others waiting
            self.stop_reason = self.stop_reason or "another process was asked to stop"
            control.should_training_stop = control.should_save = True

    def on_evaluate(self, args, state, control, **kwargs):
        if state.global_step and any_process(bool(self.stop_reason), args.device):  # asked to stop while the evaluation ran
            self.stop_reason = self.stop_reason or "another process was asked to stop"
            control.should_training_stop = True


class EvaluationCallback(TrainerCallback):
    """Has the Trainer evaluate when it is time, and save what was evaluated as a checkpoint. After `run` in the list of callbacks.

    Args: `iterations`, `every` (steps), `run` (which knows when the run is out of time).
    """

    def __init__(self, iterations: Iterations, every: int, run: RunCallback):
        self.iterations, self.every, self.run = iterations, every, run

    def on_train_begin(self, args, state, control, **kwargs):
        self.iterations.began = self.run.began

    def on_step_end(self, args, state, control, **kwargs):
        is_last = state.global_step >= state.max_steps or self.run.is_out_of_time
        if state.global_step % self.every == 0 or is_last:
            control.should_evaluate = control.should_save = True
