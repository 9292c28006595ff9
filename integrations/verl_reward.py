"""A reward function for verl, which gets one completion a call, many at once in threads.

    python integrations/prompts.py --tasks data/rust_tasks_train.jsonl --out runs/prompts/train.parquet
    python -m verl.trainer.main_ppo data.train_files=runs/prompts/train.parquet ... \\
        reward.custom_reward_function.path=integrations/verl_reward.py reward.custom_reward_function.name=compute_score \\
        '+reward.custom_reward_function.reward_kwargs.rewards=[cargo_build_reward=1,hidden_tests_reward=3]'

Each reward worker has a judge of its own, and each judge uses all cores unless RUST_JUDGE says how many (judging.py): divide.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from integrations.judging import graded
from rewards import DEFAULT_REWARDS


def compute_score(data_source, solution_str, ground_truth, extra_info, rewards: Sequence[str] = DEFAULT_REWARDS, **unused) -> dict:
    """`score` is the weighted sum; verl logs the rest. `extra_info` as prompts.py writes it. Raises RuntimeError as `graded`."""
    tests = extra_info["tests"]
    task = {"task_id": extra_info["task_id"], "prompt": extra_info["user_prompt"], "entry_point": extra_info["entry_point"]}
    task |= {"tests": None if tests is None else list(tests)} | json.loads(extra_info.get("other_columns") or "{}")
    record = graded(task, solution_str, tuple(rewards))
    is_honest_pass = record["test_passed"] and record["honest_tests"]
    return {"score": record["reward"], "build": float(record["build_passed"]), "honest_pass": float(is_honest_pass)}
