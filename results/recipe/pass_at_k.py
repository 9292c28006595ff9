"""Rewards for pass@k in place of pass@1: a solution among failures earns most, one among solutions nothing.

    python train.py --config configs/qwen2.5-coder-1.5b-recipe.yaml --rewards hidden_tests_reward=1 \
        results/recipe/pass_at_k.py:pass_at_4_reward=10.5 hidden_build_reward=0.5 code_block_reward=0.25

The estimate of Walder and Karkhanis 2025 (https://arxiv.org/abs/2505.15201): a completion earns the share of all draws of k from
its group that hold it and a solution. Of n completions with c solutions a solution earns k/n, a failure k/n times the chance that
k - 1 of the others hold one: with n = 8 and k = 4 the two differ by 0.286, 0.143, 0.057 and 0.014 for 1, 2, 3 and 4 solutions,
and by nothing from 5 on.
"""

from collections.abc import Sequence
from itertools import groupby

from rewards import pass_at_k, passes_hidden


def pass_at_k_rewards(solved: Sequence[bool], k: int) -> list[float]:
    """What each completion of one group earns, in [0, k/n]; of a group smaller than k, with k its size."""
    n, c = len(solved), sum(solved)
    k = min(k, n)
    failure = pass_at_k(n - 1, c, k - 1) if c < n and k > 1 else 0.0
    return [k / n * (1.0 if is_solved else failure) for is_solved in solved]


def _of_batch(graded: Sequence[dict], k: int) -> list[float | None]:
    """The batch's groups are runs of one task. None where the machine failed or the task has no hidden tests."""
    rewards: list[float | None] = []
    for _, group in groupby(graded, key=lambda record: record["task_id"]):
        solved = [None if record["error_kind"] == "infra" else passes_hidden(record) for record in group]
        earned = iter(pass_at_k_rewards([one for one in solved if one is not None], k))
        rewards += [None if one is None else next(earned) for one in solved]
    return rewards


def pass_at_2_reward(graded: Sequence[dict], **kwargs) -> list[float | None]:
    return _of_batch(graded, 2)


def pass_at_4_reward(graded: Sequence[dict], **kwargs) -> list[float | None]:
    return _of_batch(graded, 4)
