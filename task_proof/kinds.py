"""Prove tasks of kinds fix, fim, patch and next_edit: the reference answer earns everything, the unchanged start nothing.

Called by `python check_tasks.py FILES --solutions ANSWERS` where a row has such a kind (make_kinds.py writes both). It is graded as a
policy's completion is, with the rewards that pay. Beside that, the start as a program, whatever the kind makes of it: it passes
the hidden tests that `passed_before` names, and not all of them. With `--record FILE` a proof that was killed goes on where it was.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

import kinds
from evaluation.folders import read_partial
from judge.program import read_program, with_main
from rewards import RewardSet, passes_hidden
from rust_tool import Job, RustTool

REWARDS = ("hidden_tests_reward=1", "edit_places_reward=1")
BATCH = 50  # rows: about half a minute on 2 cores
RUN_AGAIN = "run it again"


def completion_of(task: Mapping, answer: str) -> str:
    """A reference answer as a policy would give it."""
    bare = kinds.kind_of(task) == "patch" or task.get("fim_format") == "tokens"
    return answer if bare else f"```rust\n{answer.rstrip()}\n```\n"


def start_of(task: Mapping) -> tuple[str, str]:
    """(a completion that leaves everything as it was, the program as it was)."""
    kind = kinds.kind_of(task)
    if kind == "fim":
        return completion_of(task, ""), task["prefix"] + task["suffix"]
    if kind == "patch":
        first = next(line for line in task["code"].split("\n") if task["code"].split("\n").count(line) == 1)
        return "\n".join([kinds.SEARCH, first, kinds.DIVIDER, first, kinds.REPLACE]), task["code"]
    if kind == "next_edit":
        first, last = task["region"]
        return completion_of(task, "\n".join(task["code"].split("\n")[first - 1 : last])), task["code"]
    return completion_of(task, task["code"]), task["code"]


def prove_kinds(tasks: Sequence[Mapping], answers: Mapping[str, str], judge: RustTool) -> Iterator[str]:
    """What is wrong with rows of these kinds, one sentence each."""
    asked = [task for task in tasks if task["task_id"] in answers and task["tests"]]
    known = {task["task_id"] for task in asked}
    yield from (f"{task['task_id']}: no reference answer or no hidden tests" for task in tasks if task["task_id"] not in known)
    starts = [start_of(task) for task in asked]
    completions = [completion_of(task, answers[task["task_id"]]) for task in asked]
    right = RewardSet(judge, REWARDS).grade(asked, completions)
    unchanged = RewardSet(judge, REWARDS).grade(asked, [completion for completion, _ in starts])
    programs = [read_program(with_main(source)) for _, source in starts]
    programs = judge.grade(Job(one, tuple(task["tests"]), task["entry_point"]) for task, one in zip(asked, programs, strict=True))
    programs = [kinds.counted({"kind": task["kind"]}, None, verdict) for task, verdict in zip(asked, programs, strict=True)]
    for task, best, none, program in zip(asked, right, unchanged, programs, strict=True):
        problems = []
        said = "; ".join(one["message"] for one in best["diagnostics"][:2])
        if best["error_kind"] == "infra":
            problems.append(f"the machine failed to grade the reference answer ({said}): {RUN_AGAIN}")
        elif not passes_hidden(best):
            problems.append(f"the reference answer passes {best['hidden_passed']} of {best['hidden_total']} hidden tests ({said})")
        elif (share := best["rewards"]["edit_places_reward"]) not in (None, 1.0):
            problems.append(f"the reference answer makes {share:.0%} of the edit")
        if none["rewards"]["hidden_tests_reward"]:
            problems.append("leaving everything as it was is paid")
        passed = [place for place, status in enumerate(program.hidden_statuses) if status == "ok"]
        if passed != (task.get("passed_before") or []) or program.hidden_statuses and len(passed) == len(program.hidden_statuses):
            problems.append(f"the start passes the tests {passed}, the row says {task.get('passed_before') or []}")
        yield from (f"{task['task_id']}: {problem}" for problem in problems)


def prove_in_batches(tasks: Sequence[Mapping], answers: Mapping[str, str], judge: RustTool, record: Path | None = None) -> list[str]:
    """`prove_kinds` under a progress bar, a batch at a time. What `record` (jsonl, appended to) holds as it is now is not proved again."""
    key = {task["task_id"]: _digest(task, answers.get(task["task_id"]), judge) for task in tasks}
    known = {one["row"]: one["problems"] for one in read_partial(record)} if record is not None else {}
    missing = [task for task in tasks if key[task["task_id"]] not in known]
    with tqdm(total=len(tasks), initial=len(tasks) - len(missing), desc="proof", unit="", disable=not missing, mininterval=0.5) as bar:
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            new = {task["task_id"]: [] for task in batch}
            for problem in prove_kinds(batch, answers, judge):
                new[problem.split(": ")[0]].append(problem)
            known |= {key[task_id]: problems for task_id, problems in new.items()}
            if record is not None:
                rows = [{"task_id": task_id, "row": key[task_id], "problems": problems} for task_id, problems in new.items()]
                with record.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row) + "\n" for row in rows if not any(RUN_AGAIN in one for one in row["problems"]))
            bar.update(len(batch))
    return [problem for task in tasks for problem in known[key[task["task_id"]]]]


def _digest(task: Mapping, answer: str | None, judge: RustTool) -> str:
    """Of everything that a proof depends on."""
    task = {name: value for name, value in task.items() if name != "file"}
    text = json.dumps([task, answer, judge.describe()["judge_version"]], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
