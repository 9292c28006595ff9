"""What a run knows of each task: how often it was solved, which of its hidden tests pass; what is sampled next follows from it.

The record is `task_record.jsonl` of the run folder, one line per generation batch, written before the batch is trained on:

    {"step": 3, "outcomes": {"median": [1, 8]}, "tests": {"median": [[7, 1, 1], 8]}}

`outcomes`: completions that solved the task, completions graded. `tests`: passes of each hidden test, programs that ran them.
Step 0 is a first record, from an evaluation, a trace or the record of another run (`read_first_record`). A resumed run reads the lines
up to its checkpoint's step and drops the others, so what it samples depends on the seed, the step and the record alone.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rewards import is_solved
from tasks import TaskError, iter_rows
from traces import TraceWriter, cut_torn_line, replacing

RECORD_FILE = "task_record.jsonl"
PRIOR = 0.3  # of the Beta prior of a task's pass rate: most tasks are solved nearly always or nearly never
GRADED = {"task_id", "prompt", "error_kind", "test_passed", "honest_tests", "hidden_passed", "hidden_total"}
KEPT = 0.5  # of a task's earlier outcomes count when new ones come: the policy has moved on since


def chance_of_signal(solved: float, failed: float, group_size: int) -> float:
    """Expected chance that the next group of a task holds both a solution and a failure, after so many of each; in (0, 1).

    The expectation of 1 - p^n - (1-p)^n over the Beta(solved + PRIOR, failed + PRIOR) posterior of the pass rate p.
    """
    a, b, n = solved + PRIOR, failed + PRIOR, group_size

    def all_alike(one: float, other: float) -> float:  # E[p^n] = B(one + n, other) / B(one, other)
        logs = math.lgamma(one + n) - math.lgamma(one) + math.lgamma(one + other) - math.lgamma(one + other + n)
        return math.exp(logs)

    return max(1e-6, 1.0 - all_alike(a, b) - all_alike(b, a))


class TaskRecord:
    """Outcomes of the tasks of one run, in memory and, once `write_to` was called, on disk.

    Args:
        lines: What is known already, oldest first (`lines_until` of a file, or one made by `tallied` of a first record).
    """

    def __init__(self, lines: Sequence[dict] = ()):
        self._lines, self._writer = list(lines), None
        self._solved: dict[str, float] = {}
        self._failed: dict[str, float] = {}
        self._tests: dict[str, tuple[list[int], int]] = {}
        for line in self._lines:
            self._count(line)

    def write_to(self, path: Path) -> None:
        """Make the file hold what is known, and from now on every batch: for one process of a run."""
        with replacing(path) as new:
            TraceWriter(new).write(self._lines)
        self._writer = TraceWriter(path)

    def known(self, task_ids: Iterable[str]) -> int:
        """How many of these it holds outcomes of."""
        return sum(task_id in self._solved for task_id in task_ids)

    def _count(self, line: dict) -> None:
        for task_id, (solved, graded) in line["outcomes"].items():
            self._solved[task_id] = KEPT * self._solved.get(task_id, 0.0) + solved
            self._failed[task_id] = KEPT * self._failed.get(task_id, 0.0) + graded - solved
        for task_id, (passes, ran) in line.get("tests", {}).items():
            before, n_before = self._tests.get(task_id, ([0] * len(passes), 0))
            if len(before) == len(passes):
                self._tests[task_id] = [a + b for a, b in zip(before, passes, strict=True)], n_before + ran

    def add(self, step: int, outcomes: Sequence[tuple[str, bool, Sequence[str]]]) -> None:
        """Count a batch: (task id, solved, statuses of its hidden tests) of each completion that was graded, on every process alike."""
        line = {"step": step, **tallied(outcomes)}
        self._lines.append(line)
        self._count(line)
        if self._writer is not None:
            self._writer.write([line])

    def weight(self, task_id: str, group_size: int) -> float:
        """How much a task is worth sampling now, in (0, 1): always-solved and never-solved tasks become rare, none is forbidden."""
        return chance_of_signal(self._solved.get(task_id, 0.0), self._failed.get(task_id, 0.0), group_size)

    def draw(self, task_ids: Sequence[str], n: int, group_size: int, key: Sequence[int]) -> list[int]:
        """`n` different positions of `task_ids`, by weight; the same for the same record and `key` (seed, step, ...)."""
        import numpy as np

        weights = np.array([self.weight(task_id, group_size) for task_id in task_ids])
        return np.random.default_rng(list(key)).choice(len(task_ids), n, replace=False, p=weights / weights.sum()).tolist()

    def test_weights(self, task_id: str, n_tests: int) -> list[float]:
        """Weights of a task's hidden tests, summing to 1: the share of programs so far that failed each (one more of each kind)."""
        passes, ran = self._tests.get(task_id, ([], 0))
        if len(passes) != n_tests:
            return [1 / n_tests] * n_tests
        failed = [(ran - passed + 1) / (ran + 2) for passed in passes]
        return [share / sum(failed) for share in failed]


def lines_until(path: Path, step: int) -> list[dict]:
    """Lines of a record up to a step: those of later ones are of a run that was killed after its last checkpoint; [] without a file."""
    if not path.exists():
        return []
    cut_torn_line(path)
    return [line for _, line in iter_rows(path) if line["step"] <= step]


def tallied(outcomes: Iterable[tuple[str, bool, Sequence[str]]]) -> dict:
    """(task id, solved, statuses of hidden tests) of completions -> the `outcomes` and `tests` of a line."""
    solved, graded, ran, passes = Counter(), Counter(), Counter(), {}
    for task_id, is_right, statuses in outcomes:
        solved[task_id] += is_right
        graded[task_id] += 1
        if statuses:
            ran[task_id] += 1
            before = passes.get(task_id, [0] * len(statuses))
            passes[task_id] = [count + (status == "ok") for count, status in zip(before, statuses, strict=False)]
    return {
        "outcomes": {task_id: [solved[task_id], n] for task_id, n in graded.items()},
        "tests": {task_id: [counts, ran[task_id]] for task_id, counts in passes.items()},
    }


def outcomes_of(graded: Iterable[dict]) -> list[tuple[str, bool, tuple[str, ...]]]:
    """Of graded completions, those that the machine did not fail, as `TaskRecord.add` takes them."""
    return [
        (record["task_id"], is_solved(record), tuple(record.get("hidden_statuses") or ()))
        for record in graded
        if record["error_kind"] != "infra"
    ]


def _is_count(found: object, most: object) -> bool:
    """Whether `found` of `most` completions can be: both numbers."""
    is_number = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    return is_number(found) and is_number(most) and 0 <= found <= most < math.inf


def _is_line(record: dict) -> bool:
    """Whether this is a line of a task_record.jsonl."""
    outcomes, tests = record.get("outcomes"), record.get("tests", {})
    if not isinstance(outcomes, dict) or not isinstance(tests, dict):
        return False
    pairs = [*outcomes.values(), *tests.values()]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        return False
    return all(_is_count(*pair) for pair in outcomes.values()) and all(
        isinstance(passes, list) and all(_is_count(passed, ran) for passed in passes) for passes, ran in tests.values()
    )


def read_first_record(file: str, rows: Sequence[dict]) -> list[dict]:
    """What a file knows of the tasks of `rows` -> lines of a record, of step 0.

    Graded completions of eval.py (results.jsonl) or of another run (trace.jsonl), or the record of another run. An evaluation samples
    colder than training does, so its pass rates are nearer to 0 and 1 than those of a group.
    Raises TaskError when the file is not there, holds something else, or none of these tasks, or graded ones with other prompts.
    """
    expected = "expected results.jsonl of eval.py, a trace, or a task_record.jsonl"
    if Path(file).is_dir():
        held = [name for name in ("task_record.jsonl", "trace.jsonl", "results.jsonl") if Path(file, name).is_file()]
        raise TaskError(f"--task_record {file} is a folder{f': give {Path(file, held[0])}' if held else f'; {expected}'}")
    if not Path(file).is_file():
        raise TaskError(f"--task_record {file}: no such file; {expected}")
    prompts = {row["task_id"]: row["user_prompt"] for row in rows}
    lines, graded, number = [], [], None
    for number, record in iter_rows(Path(file)):
        if _is_line(record):
            outcomes, tests = ({task: n for task, n in record.get(what, {}).items() if task in prompts} for what in ("outcomes", "tests"))
            lines += [{"step": 0, "outcomes": outcomes, "tests": tests}] if outcomes else []
            continue
        if not GRADED <= record.keys() or not isinstance(record["task_id"], str) or not isinstance(record.get("hidden_statuses", []), list):
            raise TaskError(f"--task_record {number}: neither a graded completion nor a line of a record; {expected}")
        prompt = prompts.get(record["task_id"])
        if prompt is not None and prompt != record["prompt"]:
            raise TaskError(f"--task_record {file}: its task {record['task_id']!r} has another prompt than the training task of that name")
        if prompt is not None:
            graded.append(record)
    if number is None:
        raise TaskError(f"--task_record {file} is empty; {expected}")
    if not lines and not graded:
        none = f"none of the {len(prompts)} training tasks is in it"
        raise TaskError(f"--task_record {file} is a record of other tasks: {none}; --task_record '' starts with nothing known")
    return lines + ([{"step": 0, **tallied(outcomes_of(graded))}] if graded else [])
