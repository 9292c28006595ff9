"""Users' reward functions: whatever TRL would call is called, and what cannot be called is refused before a model is loaded."""

import json

import pytest

from rewards import RewardError, RewardSet
from rust_tool import Verdict

FILE = '''from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy

import neighbour

CALLS = []


@dataclass
class Scale:
    top: float = 4.0


def by_level(completions, level, **kwargs):
    return [2.0 if one == "hard" else 1.0 for one in level]


def longer(prompts, completions, than, **kwargs):
    return [float(len(c[-1]["content"]) > than) for c in completions]


longer_1 = functools.partial(longer, than=1)
longer_99 = functools.partial(longer, than=99)


class Count:
    def __call__(self, completions, **kwargs):
        CALLS.append(len(completions))
        return [float(len(CALLS))] * len(completions)


count = Count()


async def later(prompts, completions, **kwargs):
    return [0.5] * len(completions)


def array(completions, **kwargs):
    return numpy.linspace(0, 1, len(completions), dtype=numpy.float32)


def scalars(completions, **kwargs):
    return [numpy.float64(0.25), numpy.bool_(True)]


def scaled(prompts, completions):
    return [Scale().top * neighbour.HALF] * len(completions)


def seen(graded, **kwargs):
    return [float(CALLS[-1]) if record["build_passed"] else None for record in graded]


def only_in_training(completions, completion_ids, **kwargs):
    return [1.0] * len(completions)


def of_a_column(completions, stars, **kwargs):
    return [1.0] * len(completions)


def by_position(prompts, completions, /):
    return [1.0] * len(completions)


class NotAnObject:
    def __init__(self, **kwargs):
        pass
'''


class PassingJudge:
    def grade(self, jobs):
        return [Verdict(build_passed=True) for _ in jobs]


@pytest.fixture
def file(tmp_path):
    (tmp_path / "neighbour.py").write_text("HALF = 0.5\n")
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path / "mine.py"


def paid(file, *names):
    rewards = RewardSet(PassingJudge(), [f"{file}:{name}=1" for name in names])
    completions = [[{"role": "assistant", "content": text}] for text in ("no", "never " * 20)]
    others = [json.dumps({"level": "hard", "n": 1}), json.dumps({"level": "easy"})]
    found = [function(prompts=["a", "b"], completions=completions, other_columns=others) for function in rewards.functions]
    assert list(rewards.weights) == list(names) == [function.__name__ for function in rewards.functions]
    return found


@pytest.mark.parametrize(("name", "values"), [
    ("by_level", [2.0, 1.0]), ("longer_1", [1.0, 1.0]), ("longer_99", [0.0, 1.0]), ("count", [1.0, 1.0]), ("later", [0.5, 0.5]),
    ("array", [0.0, 1.0]), ("scalars", [0.25, 1.0]), ("scaled", [2.0, 2.0]),
])  # fmt: skip
def test_what_trl_would_call_is_called_under_the_name_that_the_user_wrote(file, name, values):
    assert paid(file, name) == [values]


def test_functions_of_one_file_share_its_state(file):
    assert paid(file, "count", "seen") == [[1.0, 1.0], [2.0, 2.0]]


@pytest.mark.parametrize(("name", "says"), [
    ("by_position", "takes prompts by position only"), ("NotAnObject", "is a class"), ("nothing", "defines no function nothing"),
])  # fmt: skip
def test_what_cannot_be_called_is_refused(file, name, says):
    with pytest.raises(RewardError, match=says):
        RewardSet(None, [f"{file}:{name}=1"])


def test_a_column_that_no_task_has_is_refused(file):
    rewards = RewardSet(None, [f"{file}:of_a_column=1"])
    rewards.require_columns(["stars"], in_training=False)
    with pytest.raises(RewardError, match="of_a_column asks for 'stars'; a batch has prompts, completions, .*, level"):
        rewards.require_columns(["level"], in_training=True)


def test_what_only_training_has_is_refused_elsewhere(file):
    rewards = RewardSet(None, [f"{file}:only_in_training=1"])
    rewards.require_columns([], in_training=True)
    with pytest.raises(RewardError, match="'completion_ids', which only training has"):
        rewards.require_columns([], in_training=False)
