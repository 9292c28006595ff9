"""A `verifiers` taskset: Rust prompts in, cargo's rewards out, in any of its harnesses. Its module is found on PYTHONPATH.

    PYTHONPATH=integrations vf-eval rust-cargo -m MODEL -r 5 --env.taskset.tasks data/rust_tasks_test.jsonl --env.agent.harness.id null

The reward `cargo` is the weighted sum, each function's a metric. What the machine fails to grade is an error of the rollout, not a
reward of 0. Programs run in the judge's sandbox, on the host of the environment's process, whatever the runtime of the harness.
"""

import asyncio
import sys
from pathlib import Path

import verifiers.v1 as vf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from integrations.judging import graded, whole_programs
from rewards import DEFAULT_REWARDS
from tasks import load_task_sets, read_system_prompt

__all__ = ["RustTaskset"]


class RustData(vf.TaskData):
    tests: list[str] | None = None
    entry_point: str | None = None


class RustTaskConfig(vf.TaskConfig):
    pay: list[str] = list(DEFAULT_REWARDS)
    """Reward functions as name=weight."""


class RustTask(vf.Task[RustData, vf.State, RustTaskConfig]):
    @vf.reward
    async def cargo(self, trace: vf.Trace) -> float:
        row = {"task_id": self.data.id, "prompt": self.data.prompt, "tests": self.data.tests, "entry_point": self.data.entry_point}
        record = await asyncio.to_thread(graded, row, trace.last_reply, self.config.pay)
        trace.record_metrics({name: value for name, value in record["rewards"].items() if value is not None})
        return record["reward"]


class RustConfig(vf.TasksetConfig):
    tasks: list[str] = ["data/rust_tasks_train.jsonl"]
    """Prompt sets, as train.py takes them."""
    task: RustTaskConfig = RustTaskConfig()


class RustTaskset(vf.Taskset[RustTask, RustConfig]):
    def load(self):
        for task in whole_programs(load_task_sets(self.config.tasks)[0]):
            row = {"id": task["task_id"], "prompt": task["prompt"], "tests": task["tests"], "entry_point": task["entry_point"]}
            yield RustTask(RustData(system_prompt=read_system_prompt(), **row), self.config.task)
