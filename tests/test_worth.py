"""From what tests did in the judge's runs to what they are worth: no compiler and no process runs here."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from judge.worth import MAX_SAID, NEAR_VALUES, OTHER_INPUTS, WRONG_VALUES, Said, TestEnd, places_of_judging, worth

SOURCE = "fn t() {\n    assert!(f(1).unwrap());\n}\n"
NOTICES = TestEnd("failed", True, "assertion failed", 2, is_reached=True, column=5)
STUMBLES = TestEnd("failed", False, "called `Option::unwrap()` on a `None` value", 2, is_reached=True, column=18)
PASSES = TestEnd("ok", is_reached=True)
UNTOUCHED = TestEnd("ok")
N, P, S, U = NOTICES, PASSES, STUMBLES, UNTOUCHED
ALL_WRONG, ALL_OTHER = [NOTICES] * (2 * WRONG_VALUES), [NOTICES] * (2 + OTHER_INPUTS + NEAR_VALUES)
PROGRAM = SimpleNamespace(root_functions=("f",), tested_functions=("f",), listing_functions=(), closed_functions=(), tests=())


def verdict(*tests, program=PROGRAM):
    """The guard, and which tests count, by each test's ends with wrong values and in the other runs."""
    wrong, other = ([end for run in zip(*runs, strict=True) for end in run] for runs in zip(*tests, strict=True))
    return worth(wrong, other, program, len(tests), SOURCE)


def other(inputs=UNTOUCHED, near=(UNTOUCHED,) * NEAR_VALUES):
    return [UNTOUCHED, *[inputs] * OTHER_INPUTS, UNTOUCHED, *near]


def test_places_of_judging():
    source = "#[track_caller]\nfn same() {}\n#[inline]\nfn t() { same(); other(); }\n"
    assert places_of_judging(source) == {(2, 4), (4, 10)}
    source = "fn f() {\n  std::assert!(g!(1) > 0);\n  \"é\".len(); x!{}\n}\nmacro_rules! m { () => { panic!() } }\n"
    assert places_of_judging(source) == {(2, 3), (2, 16), (3, 14), (5, 26)}


@pytest.mark.parametrize(("wrong", "runs", "counts"), [
    ([P] * 8, other(), False),
    ([N] * 8, other(), True),
    ([N] * 4 + [P] * 4, other(), False),  # only its own comparison was wrong
    ([N, N, P, P] * 2, other(), True),  # half of the answers are another
    ([N, P, P, P] * 2, other(), False),  # a bound: most answers would do
    ([N] * 4 + [U] * 4, other(), True),  # only bools are returned
    ([U] * 8, other(), True),  # no wrong value was returned there
    ([U] * 8, other(P), False),
    ([U] * 8, other(N), True),
    ([S] * 8, other(), True),  # it stumbled before it judged
    ([S] + [P] * 3 + [S] * 4, other(), False),
    ([P] * 8, other(near=[N, N, P]), True),  # both sides were equally wrong, and near answers are noticed
    ([N, P, P, P] * 2, other(near=[P, P, P]), False),
    ([N, N, N, N] * 2, other(near=[P, P, P]), True),  # which variant it is
    ([N, N, N, N] * 2, other(near=[N, P, N]), False),  # how long it is
])  # fmt: skip
def test_what_counts(wrong, runs, counts):
    assert verdict((wrong, runs)) == ((None, [0]) if counts else ("any_value_passes", []))


def test_a_test_that_notices_nothing_does_not_sink_one_that_does():
    assert verdict(([P] * 8, other()), (ALL_WRONG, ALL_OTHER)) == (None, [1])


def test_runs_that_were_cut_short_say_nothing_against_a_test():
    assert worth([PASSES], [], PROGRAM, 1, SOURCE) == (None, [0])
    assert worth([*[PASSES] * 7], ALL_OTHER, PROGRAM, 1, SOURCE) == (None, [0])


def answers(own, others, is_noticed=True, name="f", given=(0, 0), is_altered=True):
    """Runs in which a function gives answers to the test's inputs, and to other ones in each run."""
    end = NOTICES if is_noticed else PASSES
    said = [[Said(name, False, given[0], answer) for answer in own], *[[Said(name, is_altered, given[1], a) for a in group] for group in others]]
    runs = [TestEnd("ok", said=tuple(said[0])), *[replace(end, said=tuple(g)) for g in said[1:]]]
    return [*runs, *[NOTICES] * NEAR_VALUES]


def guard_of(runs, *more, program=PROGRAM):
    return verdict((ALL_WRONG, runs), *more, program=program)[0]


SIX = OTHER_INPUTS


@pytest.mark.parametrize(("runs", "guard"), [
    (answers(["3"], [["3"]] * SIX, is_noticed=False), "hard_coded_answer"),  # other questions, the same answer
    (answers(["3"], [["3"]] * SIX), "hard_coded_answer"),  # what the test minds is something else
    (answers(["3"], [["3"]] * 5 + [["4"]]), None),
    (answers(["true"], [["true"]] * SIX), None),  # most inputs may have it in common
    (answers(["3"], [["3"]] * SIX, is_altered=False), None),
    (answers(["3", "5"], [["7", "7"]] * SIX), "hard_coded_answer"),  # a table, and one answer to everything else
    (answers(["3", "5"], [["7", "7"]] * 5 + [["[]", "7"]]), "hard_coded_answer"),
    (answers(["3", "5"], [["7", "8"]] * SIX), None),
    (answers(["Ok(3)", "Ok(5)"], [["Err(1)", "Err(1)"]] * SIX), None),  # no other input need be a valid one
    (answers(["0", "None", "[]", "Err(\"empty\")"], [["4"]] * SIX), "asks_for_nothing"),
    (answers(["0", "1"], [["4"]] * 5 + [["5"]]), None),
    (answers(["()"], [["()"]] * SIX), None),  # it is not by its answer that it is judged
    (answers(["0"] * MAX_SAID, [["4"]] * 5 + [["5"]]), None),  # and who knows what it said then
    (answers(["[1]"], [["[2]"]] * 5 + [["[3]"]], given=(1, 3)), "hands_back_input"),
    (answers(["[1]"], [["[2]"]] * 5 + [["[3]"]], given=(1, 2)), None),  # now the one, now the other
    (answers([None], [[None]] * SIX, given=(1, 1)), "hands_back_input"),
    (answers([None], [[None]] * SIX), None),
])  # fmt: skip
def test_what_functions_say(runs, guard):
    assert guard_of(runs) == guard


def test_one_answer_is_too_little_where_another_test_counts_for_nothing():
    runs = answers(["3"], [["4"]] * 5 + [["5"]])
    assert guard_of(runs) is None
    assert guard_of(runs, ([PASSES] * 8, other())) == "any_value_passes"
    assert guard_of(answers(["3", "9"], [["4", "6"]] * SIX), ([PASSES] * 8, other())) is None


def test_answers_of_a_part_are_not_asked_whether_they_are_much():
    runs = answers(["0"], [["1"]] * 5 + [["2"]])
    assert guard_of(runs, program=SimpleNamespace(root_functions=("g",), tested_functions=("f",), listing_functions=(), closed_functions=(), tests=())) is None
    both = SimpleNamespace(root_functions=("f", "g"), tested_functions=("f", "g"), listing_functions=(), closed_functions=(), tests=())
    assert guard_of(runs, program=both) is None  # nobody knows what g said


def test_a_list_of_answers_says_one_strange_thing_to_everything_else():
    listed = SimpleNamespace(root_functions=(), tested_functions=("f",), listing_functions=("f",), closed_functions=("f",), tests=())
    assert guard_of(answers(["Some(3)"], [["None"]] * SIX), program=listed) == "hard_coded_answer"
    assert guard_of(answers(["Some(3)", "None"], [["None", "None"]] * SIX), program=listed) is None
    assert guard_of(answers(["Some(3)"], [["None"]] * 5 + [["Some(4)"]]), program=listed) is None
