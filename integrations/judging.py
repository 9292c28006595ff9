"""The judge for other people's trainers: one for all callers in a process, made at the first completion that it is asked about.

Settings of rust_tool.RustTool may be in the environment, as JSON: RUST_JUDGE='{"workers": 8, "sandbox": "bwrap"}'.
"""

import functools
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import kinds
from rewards import DEFAULT_REWARDS, RewardSet, infra_reason
from rust_tool import RustTool
from tasks import TaskError, read_system_prompt

_making = threading.Lock()


@functools.cache
def _judge(process_id: int) -> RustTool:
    return RustTool(**json.loads(os.environ.get("RUST_JUDGE", "{}")))


@functools.cache
def _reward_set(specs: tuple[str, ...], process_id: int) -> RewardSet:
    return RewardSet(_judge(process_id), specs, read_system_prompt(), waits_for_machine=True)


def reward_set(specs: Sequence[str] = DEFAULT_REWARDS) -> RewardSet:
    """Reward functions that read one judge; `specs` and errors as for RewardSet. A process that was forked gets its own."""
    with _making:
        return _reward_set(tuple(specs), os.getpid())


def whole_programs(tasks: Sequence[dict]) -> Sequence[dict]:
    """`tasks`, for a library that has no columns of ours but the tests. Raises TaskError where one is about mending or editing."""
    others = [task for task in tasks if kinds.kind_of(task) != kinds.WRITE]
    if others:
        raise TaskError(f"the task {others[0]['task_id']!r} is of the kind {others[0]['kind']}: here a task asks for a whole program")
    return tasks


def graded(task: dict, completion: str, specs: Sequence[str] = DEFAULT_REWARDS) -> dict:
    """The graded completion of a task, from any thread. Raises RuntimeError where the machine failed
    or no function of `specs` applies: neither is a reward of 0.
    """
    [record] = reward_set(specs).grade([task], [completion])
    if record["error_kind"] == "infra":
        raise RuntimeError(f"a completion could not be graded: {infra_reason([record])}")
    if record["reward"] is None:
        raise RuntimeError(f"none of the rewards {', '.join(specs)} applies to the task {task.get('task_id')!r}: it has no hidden tests")
    return record
