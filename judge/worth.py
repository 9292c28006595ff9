"""What passing tests are worth, by runs in which the functions say something else, or are asked something else.

One job: two reports of the harness in, per test whether it counts, and why none does. A test counts that notices what is wrong; what
counts is worth nothing when the functions say no more than a list, a constant or their own inputs, or are asked for nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace

from judge.harness_report import PANICKED, End, Said
from judge.program import Program
from judge.statements import Site, places_of
from judge.syntax import parse_any_length, text_of, walk

WRONG_VALUES, OTHER_INPUTS, ALL_OTHER, NEAR_VALUES, OTHER_ITEMS = 4, 8, 3, 3, 2  # as in gate.rs
N_WRONG, N_OTHER = 2 * WRONG_VALUES, 2 + OTHER_INPUTS + NEAR_VALUES + OTHER_ITEMS  # runs
SAME_AGAIN = 1 + OTHER_INPUTS  # which of the other runs asks what the first one asked
# What most inputs may have in common: nothing moves for it.
COMMON = ("false", "true", "0", "None")
# Shown, and says nothing: what there is to see is elsewhere.
UNIT = ("()", "Ok(())", "Some(())")
MAX_SAID = 64  # calls of a test that are reported, as in gate.rs
# Shown by `Debug`, what a function says that has nothing to say.
NOTHING = re.compile(r'(?:(?:Some|Ok)\()*(?:-?0(?:\.0)?|None|""|\[\]|\{\})\)*|Err\(.*', re.DOTALL)
MANY = 4  # calls with other inputs: enough to say that nothing ever moves
SEVERAL = 3  # calls with the tests' own
FAILURE = re.compile(r"None|Err\(.*|false|true", re.DOTALL)


def places_of_judging(source: str) -> set[Site]:
    """Line and column of everything that is called as a macro: where assertions and panics of a program's own are, and what they
    stand in; and of calls of functions that panic in their callers' place (`track_caller`). std's panics about how a value was
    handled (`unwrap`, an index, an overflow) are elsewhere."""
    names = []
    tracking = set(re.findall(r"track_caller\)?\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?fn\s+(\w+)", source))
    for leaf in walk(parse_any_length(source)):
        name = leaf.prev_sibling if leaf.type == "!" else leaf if leaf.type == "identifier" and text_of(leaf) in tracking else None
        if name is None:
            continue
        while name.prev_sibling is not None and name.prev_sibling.type in ("::", "identifier", "crate"):
            name = name.prev_sibling
        names.append(name)
    return {*places_of(names, source)}


def noticed(ends: Sequence[End], n_tests: int, n_runs: int, places: Set[Site]) -> list[list[bool | None]]:
    """Per test and run of all tests, whether it failed with something wrong; None: nothing was, or it failed over it before it judged it.

    ends: of the tests in turn, run by run; where they are fewer than they should be, nothing speaks against a test.
    places: of what a test judges with (`places_of_judging`).
    """
    opinions = [None if not end.is_reached or _is_stumble(end, places) else end.status != "ok" for end in ends]
    if len(ends) < n_tests * n_runs:
        opinions = [opinion or None for opinion in opinions]
    return [opinions[index::n_tests] for index in range(n_tests)]


def untested(ends: Sequence[End], n_tests: int, units: Sequence[str], source: str) -> list[str]:
    """Of functions and types that are wrong one at a time (ends: of the tests in turn, four runs each), those no test notices.

    One that no test calls is not noticed. One that is called and never wrong, since no wrong value is known, is not among them, nor one
    that no test judged because it panicked before.
    """
    opinions, found = noticed(ends, n_tests, WRONG_VALUES * len(units), places_of_judging(source)), []
    for n, unit in enumerate(units):
        runs = range(WRONG_VALUES * n, WRONG_VALUES * (n + 1))
        is_noticed = _any(opinions[test][run] for test in range(n_tests) for run in runs)
        is_called = any(ends[run * n_tests + test].said for test in range(n_tests) for run in runs)
        if not (is_called if is_noticed is None else is_noticed):
            found.append(unit)
    return found


def _is_stumble(end: End, places: Set[Site]) -> bool:
    if end.line is None:  # it returned an Err
        return end.is_missing and end.status != "ok"
    return (end.line, end.column) not in places


def _any(opinions: Iterable[bool | None]) -> bool | None:
    known = [opinion for opinion in opinions if opinion is not None]
    return any(known) if known else None


def _share(opinions: Iterable[bool | None]) -> float | None:
    known = [opinion for opinion in opinions if opinion is not None]
    return sum(known) / len(known) if known else None


def _sees_length_only(other: Sequence[bool | None]) -> bool:
    near, items = other[2 + OTHER_INPUTS :][:NEAR_VALUES], other[2 + OTHER_INPUTS + NEAR_VALUES :]
    return True in near and True not in near[1:2] and items == [False] * OTHER_ITEMS


def _counts(wrong: Sequence[bool | None], other: Sequence[bool | None], passes_with_other: bool) -> bool:
    """Whether a test notices, by what it did in the runs with wrong values, and with its own inputs, other ones and near answers."""
    halves = _any(wrong[:WRONG_VALUES]), _any(wrong[WRONG_VALUES:])
    near = other[2 + OTHER_INPUTS :][:NEAR_VALUES]
    near, far = _share(near) if len(near) - near.count(None) > 1 else None, _share(wrong[:WRONG_VALUES])
    if near is not None and near >= 0.5:
        return True
    is_weak = far is None or far <= 0.5 if near is not None else far is not None and far < 0.5  # a bound, a length: most would do
    is_untouched = halves == (None, None) and passes_with_other and False in other[1 : 1 + ALL_OTHER]
    return not is_weak and False not in halves and not is_untouched


def worth(
    wrong: Sequence[End], other: Sequence[End], program: Program, n_tests: int, source: str, is_discounted: bool = False
) -> tuple[str | None, list[int]]:
    """Why passing tests are worth nothing (a guard), if so, and which of them count (indices).

    wrong, other: ends of the tests in the runs with wrong values, and with their own inputs, other ones and near answers, run by run.
    source: what was compiled. is_discounted: whether other tests of it count for nothing, because their assertions are not reached.
    """
    places = places_of_judging(source)
    in_wrong = noticed(wrong, n_tests, N_WRONG, places)
    in_other = noticed(other, n_tests, N_OTHER, places)
    passes = [all(end.status == "ok" for end in other[test::n_tests][1 : 1 + ALL_OTHER]) for test in range(n_tests)]
    noticing = [test for test in range(n_tests) if _counts(in_wrong[test], in_other[test], passes[test])]
    counted = [test for test in noticing if not _sees_length_only(in_other[test])]
    if not counted:
        return "any_value_passes", []
    n_asked = (2 + OTHER_INPUTS) * n_tests
    if len(other) < n_asked:
        return None, counted
    asked = _Asked(other[:n_asked], n_tests, counted)
    notices_input = any(_any(in_other[test][1 : 1 + ALL_OTHER]) for test in counted)
    asks_more = len(counted) > 1 or sum(not test.should_panic for test in program.tests) > 1
    guard = asked.guard(program, notices_input, asks_more, is_discounted or len(noticing) < n_tests)
    return guard, [] if guard else counted


class _Asked:
    """What functions said to the tests' own inputs and to others."""

    def __init__(self, ends: Sequence[End], n_tests: int, counted: Sequence[int]):
        self.own: dict[str, list[Said]] = defaultdict(list)
        self.counted: dict[str, list[Said]] = defaultdict(list)  # of these, in tests that count
        self.runs: dict[str, list[list[str | None]]] = defaultdict(lambda: [[] for _ in range(len(ends) // n_tests)])
        self.altered: dict[str, list[Said]] = defaultdict(list)
        for at, end in enumerate(ends):
            run, test = divmod(at, n_tests)
            for said in end.said:
                if said.answer in UNIT or "{ .. }" in (said.answer or "") or len(end.said) == MAX_SAID:
                    said = replace(said, answer=None)
                self.runs[said.function][run].append(said.answer)
                if run == 0:
                    self.own[said.function].append(said)
                    if test in counted:
                        self.counted[said.function].append(said)
                elif said.is_altered:
                    self.altered[said.function].append(said)

    def guard(self, program: Program, notices_input: bool, asks_more: bool, is_discounted: bool) -> str | None:
        roots = {name: said for name, said in self.counted.items() if name in program.root_functions}
        are_all = set(program.root_functions) & set(program.tested_functions) <= roots.keys()
        answers = [said.answer for found in roots.values() for said in found]
        if roots and are_all and None not in answers:
            if asks_more and all(NOTHING.fullmatch(answer) for answer in answers if answer is not None):
                return "asks_for_nothing"
            if is_discounted and len(set(answers)) == 1:
                return "any_value_passes"
        if not program.speaks_of_nan and any("NaN" in (said.answer or "") for found in self.counted.values() for said in found):
            return "any_value_passes"  # no comparison with it holds: what was written is that none fails
        if roots and are_all and all(map(self.hands_back, roots)):
            return "hands_back_input"
        shown = {name for name in self.altered if self.is_known(name)}
        listing = {name for name in shown if name in program.listing_functions}
        asked = {name for name in shown & roots.keys() if len(self.altered[name]) >= MANY}
        is_deaf = not notices_input and not any(map(self.moves, shown)) or bool(asked) and not any(map(self.moves, asked))
        is_list = shown == listing and all(self.is_list(name, name in program.closed_functions) for name in listing)
        return "hard_coded_answer" if shown and (is_deaf or is_list) else None

    def is_known(self, name: str) -> bool:
        """Whether a function was asked more than once, can be judged by what it shows, and remembers nothing."""
        said = [*self.own[name], *self.altered[name]]
        remembers = any(one != again for one, again in zip(self.runs[name][0], self.runs[name][-1], strict=False))  # a test may end early
        return len(self.altered[name]) > 1 and all(one.answer is not None for one in said) and not remembers

    def hands_back(self, name: str) -> bool:
        """Whether a function always says what it is given."""
        equal = 0xFF
        for said in [*self.own[name], *self.altered[name]]:
            equal &= said.given
        return equal != 0

    def moves(self, name: str) -> bool:
        own, *others = self.runs[name][:-1]
        if self.says_one_thing(name):
            return False
        return all(answer in COMMON for answer in own) or any(other != own for other in others)

    def says_one_thing(self, name: str) -> bool:
        """Whether a function has one answer to many inputs, and nothing to say to others."""
        own, others = ([a for said in found[name] if (a := said.answer or "") not in COMMON and not NOTHING.fullmatch(a)]
                       for found in (self.own, self.altered))  # fmt: skip
        values = {*own, *others}
        return len(own) >= SEVERAL and len(others) >= MANY and len(values) == 1 and values.isdisjoint(("1", "1.0"))  # a count, a sign

    def is_list(self, name: str, is_closed: bool) -> bool:
        """Whether a function that holds what the tests expect has one answer to everything else, and not several to their inputs.

        is_closed: it holds nothing else, so it is no table that one can read. Then it may say what it says to the tests' inputs to some
        others, too, and to all of them; a failure to all others says little."""
        own, others = ({said.answer for said in found[name]} - {PANICKED} for found in (self.own, self.altered))
        strange = others - own
        if not others:
            return True
        if not strange:
            is_many = len(own) > 1 and len(self.altered[name]) >= MANY
            return is_closed and is_many and len(others) == 1 and not FAILURE.fullmatch(*others)
        n_strange = sum(said.answer in strange for said in self.altered[name])
        return len(strange) == 1 and (is_closed or n_strange >= 0.75 * len(self.altered[name]))
