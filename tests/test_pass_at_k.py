"""results/recipe/pass_at_k.py: a completion earns the share of draws of k that hold it and a solution."""

from itertools import combinations

import pytest

from own_rewards import load

FILE = "results/recipe/pass_at_k.py"


def paid(k, *groups):
    """What a batch earns; a group is its task and, of each completion, hidden tests passed, of how many, and what went wrong."""
    names = ("hidden_passed", "hidden_total", "error_kind")
    graded = [{"task_id": task_id, **dict(zip(names, one, strict=True))} for task_id, group in groups for one in group]
    return load(FILE, f"pass_at_{k}_reward", {})(graded=graded, prompts=[], completions=[])


RIGHT, WRONG, LOST, UNTESTED = (3, 3, None), (2, 3, "test"), (0, 3, "infra"), (0, 0, None)


@pytest.mark.parametrize("n_solved", range(9))
@pytest.mark.parametrize("k", [2, 4])
def test_a_completion_earns_the_share_of_draws_that_hold_it_and_a_solution(k, n_solved):
    group = [RIGHT] * n_solved + [WRONG] * (8 - n_solved)
    draws = list(combinations(range(8), k))
    expected = [sum(i in draw and min(draw) < n_solved for draw in draws) / len(draws) for i in range(8)]
    assert paid(k, ("a", group)) == pytest.approx(expected)


def test_each_task_is_a_group_of_its_own():
    alone = [paid(4, ("a", [RIGHT, WRONG, WRONG, WRONG])), paid(4, ("b", [WRONG] * 5))]
    assert paid(4, ("a", [RIGHT, WRONG, WRONG, WRONG]), ("b", [WRONG] * 5)) == alone[0] + alone[1]


def test_what_was_not_judged_earns_nothing_and_is_not_drawn():
    judged = paid(2, ("a", [RIGHT, WRONG, WRONG]))
    assert paid(2, ("a", [RIGHT, LOST, WRONG, UNTESTED, WRONG])) == [judged[0], None, judged[1], None, judged[2]]


@pytest.mark.parametrize(("group", "earned"), [([], []), ([LOST], [None]), ([RIGHT], [1.0]), ([WRONG], [0.0]), ([RIGHT, WRONG], [1.0, 1.0])])
def test_a_group_smaller_than_k_is_drawn_whole(group, earned):
    assert paid(4, ("a", group)) == earned
