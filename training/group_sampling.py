"""Which groups are sampled, how large they get and which are trained on: three settings around TRL's one size of group.

`GroupSampling` is a mixin for a GRPOTrainer; without its settings every method is TRL's own. Together or alone:

* frontier: the prompts of a batch are drawn by what the task record says (training/task_record.py) instead of in TRL's shuffled order;
* min_generations: a group gets so many completions first, and the rest of `num_generations` only where those all earned the same;
* groups_per_update: groups without signal (all earned the same) cost no update, of the others at most so many are trained on: drawn by
  chance or, with groups_by "spread", those whose rewards differ most.

What they do to the estimate. The gradient of a group is GRPO's over the completions that were sampled: mean and deviation are
theirs. Stopping at `min_generations` once they differ keeps the groups of 4 that plain GRPO with 4 would learn from and adds
those of 8 that differ late: a rare success is found more often than with 4 and weighs more in its group than it would in a group
stopped early, so tasks near a pass rate of 0 or 1 count for more than under a fixed size. A dropped group has advantages of 0, so
dropping it changes the loss only by its divisor (tokens trained on, not tokens sampled) and, with `beta`, by its KL term.
Groups chosen by chance leave the expected gradient of a group with signal as it is. Choosing by spread does not: where a solution
earns more than all else together, groups that hold one and failures come first, those that differ in what little they earn come last
(chosen among groups what 2504.13818 chooses among completions). TRL's `scale_rewards` "group" then makes each of them as loud as any
other again; "batch" leaves the difference. `groups/unsolved_weight` is the share of the trained |advantage| that stands in groups
without a solution.
Drawing by signal changes the objective to tasks weighted as they are drawn: the loss does not undo it.
"""

import random
import statistics
import time
from collections.abc import Sequence

from judge.errors import library_reads_settings
from rewards import is_solved
from training import micro_batches
from training.task_record import outcomes_of

SAME_REWARD = 1e-6  # rewards closer than this are the same


class GroupSampling:
    """Mixin before GRPOTrainer. Needs what train.py's trainer has: `reward_set`, `_graded`, `_tasks`, `_seconds`, SeveralUpdates.

    Args: `script`, train.py's ScriptArguments, for `frontier`, `min_generations`, `groups_per_update`, `groups_by`.
    """

    _is_sampled: list[bool] | None = None  # of the rows of the batch under way; None: all

    def __init__(self, *args, script, **kwargs):
        self.frontier, self.min_generations = script.frontier, script.min_generations
        self.groups_per_update, self.groups_by = script.groups_per_update, script.groups_by
        with library_reads_settings():  # the last __init__ of ours: what follows is TRL's
            super().__init__(*args, **kwargs)

    def _over_processes(self, value: int, how: str) -> int:
        """The sum, least or most ("SUM", "MIN", "MAX") of the values of all processes."""
        if self.accelerator.num_processes == 1:
            return value
        import torch

        tensor = torch.tensor(value, device=self.accelerator.device)
        torch.distributed.all_reduce(tensor, op=getattr(torch.distributed.ReduceOp, how))
        return int(tensor)

    # -- what is sampled ------------------------------------------------------------------------------------------------

    def _batch_of_step(self) -> int:
        """Number of the generation batch within its optimizer step."""
        return self._step % self.args.gradient_accumulation_steps // self.args.steps_per_generation

    def _drawn(self, n_rows: int) -> list[dict]:
        """This process's rows of a batch whose tasks are drawn by the record, each `num_generations` times in a row."""
        if getattr(self, "_task_ids", None) is None:
            self._task_ids = list(self.train_dataset["task_id"])
        size, world, rank = self.num_generations, self.accelerator.num_processes, self.accelerator.process_index
        key = (self.args.seed, self.state.global_step, self._batch_of_step())
        drawn = self.reward_set.task_record.draw(self._task_ids, n_rows * world // size, size, key)
        rows = [position for position in drawn for _ in range(size)][rank * n_rows : (rank + 1) * n_rows]
        return [self.train_dataset[position] for position in rows]

    def next_rows(self, rows: list[dict]) -> list[dict]:
        """What is sampled instead of the rows that TRL's sampler would have next: with `frontier`, rows that the record draws."""
        return self._drawn(len(rows)) if self.frontier and self.model.training else rows

    def _generate_and_score_completions(self, inputs):
        self._inputs = inputs
        output = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        if self.reward_set.task_record is not None:
            outcomes = self._of_all_processes(outcomes_of(record for record in self._graded if record is not None))
            self.reward_set.task_record.add(self.state.global_step + 1, outcomes)
        return self._with_trained_rows(output)

    def _of_all_processes(self, items: list) -> list:
        from accelerate.utils import gather_object

        return gather_object(items) if self.accelerator.num_processes > 1 else items

    # -- how large a group gets -----------------------------------------------------------------------------------------

    def _generate(self, prompts):
        self._is_sampled = None
        if not (self.model.training and self.min_generations):
            return super()._generate(prompts)
        size = self.num_generations
        first = [row for row in range(len(prompts)) if row % size < self.min_generations]
        begun = self._generate_rows(prompts, first)
        alike = self._groups_alike([prompts[row] for row in first], first, begun)
        wanted = self._as_many_everywhere(alike, len(prompts) // size)
        rest = [group * size + place for group in wanted for place in range(self.min_generations, size)]
        more = self._generate_rows(prompts, rest) if rest else None
        self._is_sampled = [False] * len(prompts)
        for row in (*first, *rest):
            self._is_sampled[row] = True
        self._metrics["train"]["groups/extended_share"].append(len(wanted) * size / len(prompts))
        self._metrics["train"]["groups/mean_size"].append((len(first) + len(rest)) * size / len(prompts))
        return self._in_rows(len(prompts), [(first, begun), (rest, more)])

    def _generate_rows(self, prompts: list, rows: Sequence[int]) -> tuple:
        tasks = self._tasks
        self._tasks = [tasks[row] for row in rows] if tasks else tasks
        try:
            return super()._generate([prompts[row] for row in rows])
        finally:
            self._tasks = tasks

    def _groups_alike(self, prompts: list, rows: Sequence[int], begun: tuple) -> list[int]:
        """Groups whose first completions all earned the same, as TRL would sum it (those that the machine failed aside)."""
        started = time.perf_counter()
        inputs = [self._inputs[row] for row in rows]
        rewards = super()._calculate_rewards(inputs, prompts, begun[3], begun[1])  # the judge remembers: grading them again is free
        n = len(rows)
        rewards = rewards[self.accelerator.process_index * n : (self.accelerator.process_index + 1) * n]
        totals = _totals(rewards, self.reward_weights)
        seconds = time.perf_counter() - started
        self._seconds["generate"] -= seconds  # it happens inside `_generate`
        self._seconds["wait"] += seconds
        if self._first_finished is None:  # else grading is counted from there on, all of it
            self._seconds["grade"] += seconds
        return [
            group
            for group in range(n // self.min_generations)
            if _are_alike(totals[group * self.min_generations : (group + 1) * self.min_generations])
        ]

    def _as_many_everywhere(self, groups: list[int], n_groups: int) -> list[int]:
        """As many groups on every process (TRL gathers rows of equal number): the missing ones are others, in order."""
        target = self._over_processes(len(groups), "MAX")
        others = [group for group in range(n_groups) if group not in set(groups)]
        return sorted([*groups, *others[: target - len(groups)]])

    def _in_rows(self, n_rows: int, parts: list) -> tuple:
        """TRL's `_generate` results of some rows each -> of all rows; a row that was not sampled ends before it begins."""
        first, begun = parts[0]
        empty = "" if isinstance(begun[3][0], str) else [{"role": "assistant", "content": ""}]
        prompt_of = {row // self.num_generations: ids for row, ids in zip(first, begun[0], strict=True)}
        has_logps = begun[4] is not None
        prompt_ids = [prompt_of[row // self.num_generations] for row in range(n_rows)]
        completion_ids = [[self.eos_token_ids[0]] for _ in range(n_rows)]
        completions = [empty for _ in range(n_rows)]
        logps = [[None] for _ in range(n_rows)] if has_logps else None  # as vLLM's when it has none: left out of every mean
        for rows, result in parts:
            for place, row in enumerate(rows):
                completion_ids[row], completions[row] = result[1][place], result[3][place]
                if has_logps:
                    logps[row] = result[4][place]
        return (prompt_ids, completion_ids, None, completions, logps, {}, *begun[6:])

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self._is_sampled is not None:  # None of every function: TRL leaves the row out of its group's mean and deviation
            is_sampled = rewards.new_tensor(self._is_sampled)
            rewards[self.accelerator.gather(is_sampled) == 0] = float("nan")
        totals = _totals(rewards, self.reward_weights)
        groups = [totals[start : start + self.num_generations] for start in range(0, len(totals), self.num_generations)]
        self._spreads = [_spread(group) for group in groups]  # of the groups of all processes
        return rewards

    # -- what is trained on ---------------------------------------------------------------------------------------------

    def _chosen_groups(self) -> list[int]:
        """Numbers of the groups that are trained on, of those of all processes; the same on every process."""
        if self.groups_per_update is None:
            return list(range(len(self._spreads)))
        held = [group for group, spread in enumerate(self._spreads) if spread]
        order = random.Random(f"{self.args.seed}-{self.state.global_step}-{self._batch_of_step()}")
        if self.groups_by == "chance":
            return order.sample(held, min(len(held), self.groups_per_update))
        order.shuffle(held)  # equal ones by chance
        return sorted(held, key=lambda group: -self._spreads[group])[: self.groups_per_update]

    def _with_trained_rows(self, output: dict) -> dict:
        """Add `is_trained`, shape (B,), and make num_items_in_batch the tokens of those rows, where not every row is."""
        import torch

        if self._is_sampled is None and self.groups_per_update is None:
            self._count_unsolved(output["advantages"])
            return output
        n, rank = len(output["advantages"]) // self.num_generations, self.accelerator.process_index
        chosen = self._chosen_groups()
        is_sampled = self._is_sampled or [True] * len(output["advantages"])
        is_trained = [one and rank * n + row // self.num_generations in chosen for row, one in enumerate(is_sampled)]
        for record, one in zip(self._graded, is_trained, strict=True):
            if record is not None:
                record["is_trained"] = one
        output["is_trained"] = torch.tensor(is_trained, device=output["advantages"].device)
        self.deal(output, is_trained)
        self._count_unsolved(output["advantages"] * output["is_trained"])
        n_tokens = (micro_batches.mask_of_model(output) * output["is_trained"][:, None]).sum()
        output["num_items_in_batch"] = self.accelerator.gather(n_tokens).sum()
        for name, value in (("sampled", len(self._spreads)), ("with_signal", sum(map(bool, self._spreads))), ("trained", len(chosen))):
            self._metrics["train"][f"groups/{name}"].append(float(value))
        return output

    def _count_unsolved(self, advantages) -> None:
        """Log the share of |advantage| (`advantages`, shape (B,): 0 for rows that are not trained on) in groups without a solution."""
        solved = advantages.new_tensor([record is not None and is_solved(record) for record in self._graded])
        of_rows = (self.accelerator.gather(rows).reshape(-1, self.num_generations) for rows in (advantages.abs(), solved))
        weights, has_solution = (rows.sum(dim=1) for rows in of_rows)  # of the groups of all processes, some of which share one
        weight = float(weights.sum())
        self._metrics["train"]["groups/unsolved_weight"].append(float(weights[has_solution == 0].sum()) / weight if weight else 0.0)

    def only_trained(self, batch: dict, may_shrink: bool) -> dict:
        """A batch for the loss: rows that are not trained on are taken out, or (where TRL divides by rows) masked.

        Every process keeps equally many rows, at least one, so that all do the same number of forward passes.
        """
        is_trained = batch.get("is_trained")
        if is_trained is None:
            return batch
        batch = {key: value for key, value in batch.items() if key != "is_trained"}
        batch["completion_mask"] = batch["completion_mask"] * is_trained[:, None]
        if not may_shrink:
            return batch
        return micro_batches.only_rows(batch, self._rows_to_pass(is_trained))

    def _rows_to_pass(self, is_trained):
        """Rows that go through the model: those that are trained on, and others until every process has equally many, at least one."""
        n = max(1, self._over_processes(int(is_trained.sum()), "MAX"))
        return is_trained.int().argsort(descending=True, stable=True)[:n]


def _totals(rewards, weights) -> list[float | None]:
    """Rewards per function, shape (B, F), NaN for None -> the sum of each row as TRL sums; None where no function answered."""
    sums = (rewards * weights.to(rewards.device)).nansum(dim=1).tolist()
    return [None if is_missing else total for total, is_missing in zip(sums, rewards.isnan().all(dim=1).tolist(), strict=True)]


def _are_alike(totals: Sequence[float | None]) -> bool:
    paid = [total for total in totals if total is not None]
    return not paid or max(paid) - min(paid) < SAME_REWARD


def _spread(totals: Sequence[float | None]) -> float:
    """Standard deviation of what a group's completions earned (None: not sampled, or the machine failed), 0 where all are alike."""
    return 0.0 if _are_alike(totals) else statistics.pstdev(total for total in totals if total is not None)
