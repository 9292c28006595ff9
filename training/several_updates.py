"""Several updates of one generation batch: which rows each is made of, and the log-probs that its ratio is a ratio to.

A mixin for a GRPOTrainer, for TRL's `steps_per_generation` above `gradient_accumulation_steps` and for `num_iterations`. TRL deals the rows
of a batch to its updates by chance. Where not every row is trained on, each update here gets as many of those that are, a group in one
of them, but for groups at a cut. The loss of each is divided by the mean tokens of an update, as TRL does it: a token weighs the same in
all of them. TRL asks for the log-probs before it is known which rows are trained on, of all of them, padded to the longest; here
those that are go through the model in micro-batches of ours, where the loss allows these; where it does not, and under the frozen
policy, all rows do.
"""

import itertools
import random
from collections.abc import Sequence

import torch
from peft.helpers import disable_input_dtype_casting
from trl.models.utils import disable_gradient_checkpointing

from training import micro_batches
from training.sampling_mismatch import Mismatch, importance_ratio


class SeveralUpdates:
    """Mixin before GRPOTrainer. Needs what train.py's trainer has: GroupSampling, and micro-batches that are cut anew."""

    _scores_later = False  # the next log-probs that TRL asks for are those that add_old_logps fills in

    def _updates_per_batch(self) -> int:
        """Updates that a generation batch is cut into; 1 where it is in one update, or not cut between updates."""
        n, rest = divmod(self.args.steps_per_generation, self.args.gradient_accumulation_steps)
        return 1 if rest else max(1, n)

    def deal(self, output: dict, is_trained: Sequence[bool]) -> None:
        """Add `update`, the number of the update that a row is in, where there are several."""
        if self._updates_per_batch() > 1:
            order = random.Random(f"{self.args.seed}-{self.state.global_step}-{self.accelerator.process_index}")
            numbers = updates_of_rows(is_trained, self.num_generations, self._updates_per_batch(), order)
            output["update"] = torch.tensor(numbers, device=output["advantages"].device)

    def _prepare_inputs(self, generation_batch):
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is before or "update" not in inputs:
            return inputs
        batch = micro_batches.joined(self._buffered_inputs)  # as TRL has shuffled it, which stays the order within an update
        order = batch.pop("update").argsort(stable=True).chunk(self.args.steps_per_generation)
        self._buffered_inputs = [micro_batches.only_rows(batch, rows) for rows in order]
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, **kwargs):
        known = model, input_ids, attention_mask, logits_to_keep
        if self._scores_later:
            self._scores_later = False
            return torch.zeros(len(input_ids), logits_to_keep, device=input_ids.device), None, None
        is_scored_alone = batch_size and not torch.is_grad_enabled() and not any(value is not None for value in kwargs.values())
        if not is_scored_alone or self.token_budget == 0:
            return super()._get_per_token_logps_and_entropies(*known, batch_size=batch_size, **kwargs)
        start = input_ids.shape[1] - logits_to_keep
        batch = {}
        for of, part in (("prompt", slice(start)), ("completion", slice(start, None))):
            batch |= {f"{of}_ids": input_ids[:, part], f"{of}_mask": attention_mask[:, part]}
        return self._logps(model, batch), None, None

    def _logps(self, model, batch: dict):
        """Log-probs of a batch's completions, (B, C), 0 where a row has no token; for use without gradient, in micro-batches of ours."""
        logps = torch.zeros(batch["completion_ids"].shape, device=batch["completion_ids"].device)
        casts = disable_input_dtype_casting(model, active=self.accelerator.mixed_precision != "no")
        with casts, disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            for sequences in self._micro_batches(batch):
                part = self._part(batch, sequences)
                ids, mask = (torch.cat([part[f"{of}_{what}"] for of in ("prompt", "completion")], dim=1) for what in ("ids", "mask"))
                n_tokens = part["completion_ids"].shape[1]
                found, _, _ = self._get_per_token_logps_and_entropies(model, ids, mask, n_tokens)
                logps[[row for sequence in sequences for row in sequence], :n_tokens] = found.to(logps.dtype)
        self._shared = None
        return logps

    @torch.no_grad()
    def add_old_logps(self, output: dict) -> None:
        """Fill in the log-probs of the policy that sampled, of rows that are trained on, and vLLM's ratio to them."""
        n_rows, device = len(output["prompt_ids"]), output["prompt_ids"].device
        is_trained = output.get("is_trained", torch.ones(n_rows, dtype=torch.bool, device=device))
        rows = self._rows_to_pass(is_trained)
        output["old_per_token_logps"][rows] = self._logps(self.model, micro_batches.only_rows(output, rows))
        if self._needs_ratio(output):
            mask = micro_batches.mask_of_model(output) * is_trained[:, None]
            compared = self._add_ratio(output, output["old_per_token_logps"], mask)
            self._mismatch = Mismatch()
            self._mismatch.add(*(values[rows] for values in compared))
            self._log_mismatch()

    def _add_ratio(self, part: dict, logps, mask) -> tuple:
        """Add the ratio of these log-probs, shape (B, C), to vLLM's -> what Mismatch.add takes."""
        clips = self.vllm_importance_sampling_clip_min, self.vllm_importance_sampling_clip_max
        known = logps, part["sampling_per_token_logps"], mask
        part["importance_sampling_ratio"] = ratio = importance_ratio(*known, self.vllm_importance_sampling_mode, *clips)
        return (*known, ratio)


def updates_of_rows(is_trained: Sequence[bool], group_size: int, n_updates: int, order: random.Random) -> list[int]:
    """The update of each row, numbers below `n_updates`: equally many rows in each, and as many of those that are trained on, up to one.

    is_trained: rows group by group. Groups are dealt one after the other, in an `order` by chance, so that few are in two updates.
    """
    groups = list(range(len(is_trained) // group_size))
    order.shuffle(groups)
    rows = [group * group_size + place for group in groups for place in range(group_size)]
    trained, others = [row for row in rows if is_trained[row]], iter([row for row in rows if not is_trained[row]])
    numbers = [0] * len(rows)
    for update in range(n_updates):
        mine = trained[len(trained) * update // n_updates : len(trained) * (update + 1) // n_updates]
        for row in (*mine, *itertools.islice(others, len(rows) // n_updates - len(mine))):
            numbers[row] = update
    return numbers
