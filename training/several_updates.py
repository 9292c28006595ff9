"""Several updates of one generation batch: which rows each is made of, and the log-probs that its ratio is a ratio to.

A mixin for a GRPOTrainer, for TRL's `steps_per_generation` above `gradient_accumulation_steps` and for `num_iterations`. TRL deals the rows
of a batch to its updates by chance. Where not every row is trained on, each update here gets as many of those that are, a group in one
of them, but for groups at a cut. The loss of each is divided by the mean tokens of an update, as TRL does it: a token weighs the same in
all of them. TRL asks for the log-probs before it is known which rows are trained on, of all of them, padded to the longest; here
those that are go through the model in micro-batches of ours, where the loss allows these; where it does not, and under the frozen
policy, all rows do, those of like length together.
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
        return self._logps_by_length(*known), None, None

    def _logps_by_length(self, model, ids, mask, n_tokens: int):
        """Log-probs of the last `n_tokens` of each row, (B, n_tokens), 0 where it has none; no gradient.

        TRL passes rows as they come, each as wide as the widest of the batch; here those of like length go together, without padding.
        """
        start = ids.shape[1] - n_tokens
        lengths = [part.sum(dim=1).tolist() for part in (mask[:, :start], mask[:, start:])]
        parts = micro_batches.cut(*lengths, self._budget())
        logps = torch.zeros(len(ids), n_tokens, device=ids.device)
        for rows in micro_batches.split_to(parts, self._over_processes(len(parts), "MAX")):
            before, after = (max(1, max(of[row] for row in rows)) for of in lengths)
            ids_of, mask_of = (values[rows, start - before : start + after] for values in (ids, mask))
            logps[rows, :after] = super()._get_per_token_logps_and_entropies(model, ids_of, mask_of, after)[0].to(logps.dtype)
        return logps

    @torch.no_grad()
    def add_old_logps(self, output: dict) -> None:
        """Fill in the log-probs of the policy that sampled, of rows that are trained on, and vLLM's ratio to them."""
        n_rows, device = len(output["prompt_ids"]), output["prompt_ids"].device
        is_trained = output.get("is_trained", torch.ones(n_rows, dtype=torch.bool, device=device))
        rows = self._rows_to_pass(is_trained)
        batch = micro_batches.only_rows(output, rows)
        casts = disable_input_dtype_casting(self.model, active=self.accelerator.mixed_precision != "no")
        with casts, disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            for sequences in self._micro_batches(batch):
                part = self._part(batch, sequences)
                ids, mask = (torch.cat([part[f"{of}_{what}"] for of in ("prompt", "completion")], dim=1) for what in ("ids", "mask"))
                n_tokens = part["completion_ids"].shape[1]
                logps, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, mask, n_tokens)
                output["old_per_token_logps"][rows[[row for sequence in sequences for row in sequence]], :n_tokens] = logps
        self._shared = None
        if self._needs_ratio(output):
            mask = output["completion_mask"] * output.get("tool_mask", 1) * is_trained[:, None]
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
