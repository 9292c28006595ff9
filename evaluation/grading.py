"""Grade many completions in batches, with a bar, until too many failed for the machine's reasons."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import console
import tasks as task_sets
from evaluation.folders import EvalError
from rewards import RewardSet, infra_reason

JOBS_PER_WORKER = 32  # programs per worker and batch: large enough that one looping test holds up little
MIN_GRADED_FOR_INFRA_STOP = 64


def eval_record(graded: dict, task: dict, extra: dict) -> dict:
    """A graded completion as results.jsonl holds it: DESIGN.md's fields, the hidden tests, then what else is known of it."""
    record = graded | {
        "step": None,
        "rank": 0,
        "group_id": graded["task_id"],
        "advantage": None,
        "hidden_tests": task.get("tests"),
        "entry_point": task.get("entry_point"),
    }
    kept = {*graded, "tests", "hidden_tests", "entry_point"}  # of an input file, what was graded wins over its columns
    return record | {key: value for key, value in {**task, **extra}.items() if key not in kept}


class InfraWatch:
    """Stops a run whose machine fails too often. Raises EvalError from `check` and `finish`."""

    def __init__(self, max_share: float):
        self.max_share, self.infra, self.total = max_share, 0, 0
        self.reason = ""  # of the last failures

    def check(self, graded: Sequence[dict]) -> None:
        """Count a batch; called before it is saved, so that a run that goes on grades it again."""
        self.count(graded)
        if self.total >= MIN_GRADED_FOR_INFRA_STOP:
            self._require_few(self.max_share * self.total)

    def count(self, graded: Sequence[dict]) -> None:
        """Count a batch and stop nothing."""
        failed = [record for record in graded if record["error_kind"] == "infra"]
        self.reason = infra_reason(failed) if failed else self.reason
        self.infra += len(failed)
        self.total += len(graded)

    def finish(self) -> None:
        """The same for a run too short for `check`, before it counts as finished; one failure is not held against it."""
        self._require_few(max(1, self.max_share * self.total))

    def _require_few(self, limit: float) -> None:
        if self.infra > limit:
            raise EvalError(
                f"the machine failed to grade {self.infra} of {self.total} completions (limit: {self.max_share:.0%}; {self.reason}): "
                "look at disk, memory and `python doctor.py`, then run the same command again to go on"
            )


def progress(batches: Iterable[Sequence], total: int, what: str) -> Iterator[Any]:
    """Pass batches through under a progress bar that counts their items."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit="", disable=total == 0, mininterval=0.5, dynamic_ncols=True) as bar:
        with console.every(console.BEAT_S, bar.refresh):  # a batch may take minutes on a CPU: the clock goes on meanwhile
            for batch in batches:
                yield batch
                bar.update(len(batch))


def grade_all(rewards: RewardSet, tasks: Sequence[dict], completions: Sequence[str]) -> list[dict]:
    """Graded completions of tasks, in order, with every reward: users' own functions are called as in training.

    They get conversations (of the user's turn and the answer), `graded`, and the columns of train.py's rows. Raises RewardError.
    """
    columns = {name: [task.get(name) for task in tasks] for name in ("task_id", "tests", "entry_point")}
    columns["user_prompt"] = [task.get("prompt") or "" for task in tasks]
    others = ({key: value for key, value in task.items() if key not in task_sets.TASK_COLUMNS} for task in tasks)
    columns["other_columns"] = [json.dumps(other) for other in others]
    prompts = [task_sets.build_messages(prompt, "") for prompt in columns["user_prompt"]]
    answers = [[{"role": "assistant", "content": completion}] for completion in completions]
    graded = rewards.grade_batch(prompts, answers, columns)
    for function in rewards.functions:  # the built-in ones only read what is there
        function(prompts=prompts, completions=answers, **columns)
    return graded


def judge_batch(rewards: RewardSet) -> int:
    """Completions that the judge is given at once."""
    return JOBS_PER_WORKER * rewards.judge.describe()["workers"]
