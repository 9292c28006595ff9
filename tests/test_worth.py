"""From what tests did in the judge's runs to what they are worth: no compiler and no process runs here."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from judge.harness_report import PANICKED, End, Said
from judge.worth import (
    ALL_OTHER,
    MAX_SAID,
    NEAR_VALUES,
    OTHER_INPUTS,
    OTHER_ITEMS,
    WRONG_VALUES,
    places_of_judging,
    worth,
)

SOURCE = "fn t() {\n    assert!(f(1).unwrap());\n}\n"
NOTICES = End("failed", True, "assertion failed", 2, is_reached=True, column=5)
STUMBLES = End("failed", False, "called `Option::unwrap()` on a `None` value", 2, is_reached=True, column=18)
PASSES = End("ok", is_reached=True)
UNTOUCHED = End("ok")
N, P, S, U = NOTICES, PASSES, STUMBLES, UNTOUCHED
ALL_WRONG, ALL_ASKED = [NOTICES] * (2 * WRONG_VALUES), [NOTICES] * (2 + OTHER_INPUTS + NEAR_VALUES + OTHER_ITEMS)
PROGRAM = SimpleNamespace(root_functions=("f",), tested_functions=("f",), listing_functions=(), closed_functions=(), speaks_of_nan=False, tests=())


def verdict(*tests, program=PROGRAM):
    """The guard, and which tests count, by each test's ends with wrong values and in the other runs."""
    wrong, other = ([end for run in zip(*runs, strict=True) for end in run] for runs in zip(*tests, strict=True))
    return worth(wrong, other, program, len(tests), SOURCE)


def other(inputs=UNTOUCHED, near=(UNTOUCHED,) * NEAR_VALUES, items=UNTOUCHED):
    return [UNTOUCHED, *[inputs] * OTHER_INPUTS, UNTOUCHED, *near, *[items] * OTHER_ITEMS]


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
    ([N, N, N, N] * 2, other(near=[N, P, N], items=P), False),  # how long it is
    ([N, N, N, N] * 2, other(near=[N, U, N], items=P), False),
    ([N, N, N, N] * 2, other(near=[N, N, N], items=P), True),
    ([N, N, N, N] * 2, other(near=[P, P, P], items=P), True),
    ([U] * 8, [U, *[P] * ALL_OTHER, *[N] * (OTHER_INPUTS - ALL_OTHER), *[U] * (1 + NEAR_VALUES + OTHER_ITEMS)], False),  # it compares equals
    ([N, P, P, P] * 2, other(near=[P, U, U]), False),
    ([N] * 8, other(near=[P, U, U]), True),
])  # fmt: skip
def test_what_counts(wrong, runs, counts):
    assert verdict((wrong, runs)) == ((None, [0]) if counts else ("any_value_passes", []))


def test_a_test_that_notices_nothing_does_not_sink_one_that_does():
    assert verdict(([P] * 8, other()), (ALL_WRONG, ALL_ASKED)) == (None, [1])


def test_runs_that_were_cut_short_say_nothing_against_a_test():
    assert worth([PASSES], [], PROGRAM, 1, SOURCE) == (None, [0])
    assert worth([*[PASSES] * 7], ALL_ASKED, PROGRAM, 1, SOURCE) == (None, [0])


def answers(own, others, is_noticed=True, name="f", given=(0, 0), is_altered=True, again=None):
    """Runs in which a function gives answers to the test's inputs, and to other ones in each run."""
    end = NOTICES if is_noticed else PASSES
    said = [[Said(name, False, given[0], answer) for answer in own], *[[Said(name, is_altered, given[1], a) for a in group] for group in others]]
    first = End("ok", said=tuple(said[0]))
    return [first, *[replace(end, said=tuple(group)) for group in said[1:]], first if again is None else replace(first, said=again),
            *[NOTICES] * (NEAR_VALUES + OTHER_ITEMS)]  # fmt: skip


def guard_of(runs, *more, program=PROGRAM):
    return verdict((ALL_WRONG, runs), *more, program=program)[0]


ALL = OTHER_INPUTS


@pytest.mark.parametrize(("runs", "guard"), [
    (answers(["3"], [["3"]] * ALL, is_noticed=False), "hard_coded_answer"),  # other questions, the same answer
    (answers(["3"], [["3"]] * ALL), "hard_coded_answer"),  # what the test minds is something else
    (answers(["3"], [["3"]] * (ALL - 1) + [["4"]]), None),
    (answers(["true"], [["true"]] * ALL), None),  # most inputs may have it in common
    (answers(["3"], [["3"]] * ALL, is_altered=False), None),
    (answers(["3", "5"], [["7", "7"]] * ALL), None),
    (answers(["Some(9)"] * 3 + ["None"], [["None", "Some(9)"]] * ALL), "hard_coded_answer"),  # one answer, or none
    (answers(["Some(9)", "None"], [["None", "Some(9)"]] * ALL), None),
    (answers(["3"], [["3"]] * ALL, again=(Said("f", False, 0, "7"),)), None),  # it remembers something
    (answers(["()"], [["()"]] * ALL), None),  # it is not by its answer that it is judged
    (answers(["0"] * MAX_SAID, [["4"]] * (ALL - 1) + [["5"]]), None),  # and who knows what it said then
    (answers(["[1]"], [["[2]"]] * (ALL - 1) + [["[3]"]], given=(1, 3)), "hands_back_input"),
    (answers(["[1]"], [["[2]"]] * (ALL - 1) + [["[3]"]], given=(1, 2)), None),  # now the one, now the other
    (answers([None], [[None]] * ALL, given=(1, 1)), "hands_back_input"),
    (answers([None], [[None]] * ALL), None),
])  # fmt: skip
def test_what_functions_say(runs, guard):
    assert guard_of(runs) == guard


SEVERAL_TESTS = SimpleNamespace(**(vars(PROGRAM) | {"tests": (SimpleNamespace(should_panic=False),) * 2}))


def test_tests_that_ask_for_nothing():
    nothing = answers(["0", "None", "[]", "Err(\"empty\")"], [["4"]] * ALL)
    assert guard_of(nothing, program=SEVERAL_TESTS) == "asks_for_nothing"
    assert guard_of(nothing) is None  # a single test
    assert guard_of(answers(["0", "1"], [["4"]] * (ALL - 1) + [["5"]]), program=SEVERAL_TESTS) is None


def test_one_answer_is_too_little_where_another_test_counts_for_nothing():
    runs = answers(["3"], [["4"]] * (ALL - 1) + [["5"]])
    assert guard_of(runs) is None
    assert guard_of(runs, ([PASSES] * 8, other())) == "any_value_passes"
    assert guard_of(answers(["3", "9"], [["4", "6"]] * ALL), ([PASSES] * 8, other())) is None


def program_with(**changes):
    return SimpleNamespace(**(vars(SEVERAL_TESTS) | changes))


def test_answers_of_a_part_are_not_asked_whether_they_are_much():
    runs = answers(["0"], [["1"]] * (ALL - 1) + [["2"]])
    assert guard_of(runs, program=SEVERAL_TESTS) == "asks_for_nothing"
    assert guard_of(runs, program=program_with(root_functions=("g",))) is None
    both = ("f", "g")
    assert guard_of(runs, program=program_with(root_functions=both, tested_functions=both)) is None  # nobody knows what g said


def test_a_function_that_says_nan_to_tests_that_do_not_speak_of_it():
    runs = answers(["NaN", "2.0"], [["4.0", "6.0"]] * ALL)
    assert guard_of(runs) == "any_value_passes" and guard_of(runs, program=program_with(speaks_of_nan=True)) is None


def test_a_list_of_answers_says_one_strange_thing_to_everything_else():
    listed = program_with(root_functions=(), listing_functions=("f",))
    closed = program_with(root_functions=(), listing_functions=("f",), closed_functions=("f",))
    for own, others, is_listed, is_closed in (
        (["Some(3)"], [["None"]] * ALL, True, True),
        (["Some(3)"], [[PANICKED]] * ALL, True, True),
        (["Some(3)", "None"], [["None", "None"]] * ALL, False, False),  # no other input need be a valid one
        (["Some(3)", "Some(0)"], [["Some(0)", "Some(0)"]] * ALL, False, True),  # a table, and one answer to everything else
        (["Some(3)"], [["None"]] * (ALL - 1) + [["Some(4)"]], False, False),
        (["Some(3)"], [["None"]] * (ALL - 1) + [["Some(3)"]], True, True),
        (["Some(3)"], [["None"]] * (ALL // 2) + [["Some(3)"]] * (ALL // 2), False, True),
    ):
        runs = answers(own, others)
        assert [guard_of(runs, program=program) == "hard_coded_answer" for program in (listed, closed)] == [is_listed, is_closed], (own, others)
