"""Failed completions of earlier steps come back as fix tasks: `--fix_share 0.25` of the prompts of a step, off by default.

A mixin for a GRPOTrainer. A program of the policy that did not compile, for a task with hidden tests, waits with what cargo said of it;
a later step asks for it mended, in groups of `num_generations` as any prompt, in place of groups that it would have had. The oldest
that fits the prompt budget comes first, each once; each process keeps its own. Until enough failed, a step is as it would be without.
A resumed run begins with none waiting.
"""

import json
import random
import sys
from collections import deque
from collections.abc import Sequence

import kinds
from tasks import TASK_COLUMNS

MOST_WAITING = 512  # programs; newer ones push the oldest out
TOO_LONG_TO_WARN = 8  # programs, and none that fits


def fix_task(record: dict, task: dict, number: int) -> dict | None:
    """The fix task of a graded completion, None for one that is none: another kind, no hidden tests, or no error of the compiler."""
    if kinds.kind_of(task) != kinds.WRITE or not task.get("tests") or record["error_kind"] != "compile" or not record["program"]:
        return None
    message = kinds.cargo_message(record["program"], record["diagnostics"])
    columns = {"kind": "fix", "code": record["program"], "message": message, "of": task["task_id"], "signature": None}
    return kinds.with_prompt(task | columns | {"task_id": f"{task['task_id']}/again{number}"})


def training_row(task: dict, messages: list[dict]) -> dict:
    """A task as GRPOTrainer's data set holds it: other columns as JSON text, because rows of one data set must agree on their types."""
    others = {key: value for key, value in task.items() if key not in TASK_COLUMNS}
    row = {"prompt": messages, "task_id": task["task_id"], "user_prompt": task["prompt"], "tests": task["tests"]}
    return row | {"entry_point": task["entry_point"], "other_columns": json.dumps(others)}


class Curriculum:
    """Mixin before GroupSampling. Arg: `script`, for `fix_share` and `max_prompt_length`."""

    def __init__(self, *args, script, **kwargs):
        self.fix_share, self._prompt_budget = script.fix_share, script.max_prompt_length
        self._waiting_fixes, self._seen, self._n_failed, self._has_warned = deque(maxlen=MOST_WAITING), set(), 0, False
        super().__init__(*args, script=script, **kwargs)

    def next_rows(self, rows: list[dict]) -> list[dict]:
        rows = super().next_rows(rows)
        if not (self.fix_share and self.model.training):
            return rows
        size = self.num_generations
        n_groups = len(rows) // size
        wanted = min(len(self._waiting_fixes), round(self.fix_share * n_groups))
        order = random.Random(f"{self.args.seed}-{self.state.global_step}-{self._batch_of_step()}-{self.accelerator.process_index}")
        rows = list(rows)
        for group in order.sample(range(n_groups), wanted):
            rows[group * size : (group + 1) * size] = [self._waiting_fixes.popleft()] * size
        self._metrics["train"]["curriculum/fix_share"].append(wanted / n_groups)
        return rows

    def keep_failures(self, records: Sequence[dict | None], tasks: Sequence[dict]) -> None:
        """Let the failed completions of a batch wait, each program of a task once."""
        if not (self.fix_share and self.model.training):
            return
        for record, task in zip(records, tasks, strict=True):
            fix = fix_task(record, task, self._n_failed) if record is not None else None
            if fix is None or (task["task_id"], fix["code"]) in self._seen:
                continue
            self._seen.add((task["task_id"], fix["code"]))
            messages = kinds.conversation(fix, "")
            if len(self._tokenize_prompts([messages])[0][0]) <= self._prompt_budget:
                self._waiting_fixes.append(training_row(fix, messages))
                self._n_failed += 1
        if len(self._seen) >= TOO_LONG_TO_WARN and not (self._n_failed or self._has_warned):
            self._has_warned = True
            why = f"none of {len(self._seen)} failed programs fits --max_prompt_length {self._prompt_budget} with what cargo said"
            print(f"warning: {why}: nothing comes back to be mended; raise it", file=sys.stderr, flush=True)


def columns_of(rows: list[dict]) -> dict[str, list]:
    """The dataset columns of a batch's rows, as TRL hands them to reward functions."""
    return {key: [row[key] for row in rows] for key in rows[0] if key != "prompt"}
