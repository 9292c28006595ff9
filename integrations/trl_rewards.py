"""Every built-in reward function, by its name, for TRL's own command. Run it in the repository's root.

    python integrations/prompts.py --tasks data/rust_tasks_train.jsonl --out runs/prompts/train.parquet
    trl grpo --model_name_or_path MODEL --dataset_name runs/prompts --output_dir runs/trl --reward_weights 1 3 \\
        --reward_funcs integrations.trl_rewards.cargo_build_reward integrations.trl_rewards.hidden_tests_reward

The judge runs once for all of them. Not there: the trace, evaluations, and what train.py does about vLLM's weights and memory.
"""

from integrations.judging import reward_set
from judge.cross_tests import CROSS_REWARDS
from rewards import BUILT_IN_REWARDS

NAMES = tuple(function.__name__ for function in BUILT_IN_REWARDS)
OF_THE_GROUP = tuple(function.__name__ for function in CROSS_REWARDS)  # the judge runs programs on each other's tests for these alone


def __getattr__(name: str):
    if name not in NAMES:
        raise AttributeError(name)
    names = [one for one in NAMES if (one in OF_THE_GROUP) == (name in OF_THE_GROUP)]
    return reward_set([f"{one}=1" for one in names]).functions[names.index(name)]
