"""The group as the judge: which program of a group passes which of the tests that the group's other completions brought.

    opinions = cross_examined(members, judge.run_suites)     # members: (program, verdict) of completions of one prompt

A suite is what a completion's own tests are, as they stand. It is tried on another program where that program has what the
suite calls: functions of the same parameter and return types (another name is imported under the suite's own when only the
name differs), types and constants of the same name. What then does not compile is dropped: no opinion, never a failure.
One binary for each distinct solution holds all suites that fit; each suite runs in a process of its own, in the sandbox and
under the limits of hidden tests (`RustTool.run_suites`), and a program that could fool hidden tests passes none of them. A program
with which they take too long to compile has no opinion at all: which suite it is cannot be told.

Only tests that count are asked: of a completion whose tests compile and that no guard refuses, each test that the static
reading finds able to fail. Its own program may fail it: it may be the program that is wrong. (Tests that pass on their own
program have also been run against stubs and wrong values; those that fail have not.)

Rests on the premise that right programs agree more often than wrong ones do. Where a policy makes the same mistake in most of
a group, the majority is wrong, and the few that are right lose: nothing here can tell. Source of the premise: CodeT (Chen et
al. 2022, https://arxiv.org/abs/2207.10397); of training a tester by the same matrix: CURE (https://arxiv.org/abs/2506.03136).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from judge.program import Program, same_program, solution_source
from judge.syntax import Item, all_items, child_of, parse_rust, text_of, walk
from judge.verdict import Job, Opinion, Statuses, Verdict

MAX_SUITES = 16  # distinct suites of a group that programs are tried on: the first; the cost of a completion has a bound
PRIOR = 0.5  # votes for and against a test that are counted before any program has tried it

RunSuites = Callable[[Sequence[Job]], list[list[Statuses | None]]]
Member = tuple[Program | None, Verdict]


def fields_of(opinion: Opinion | None) -> dict:
    """An opinion as a graded completion holds it; only the two that DESIGN.md names, both null, where nobody asked."""
    if opinion is None:
        return {"cross_passed": None, "cross_total": None}
    return {
        "cross_passed": opinion.passed,
        "cross_total": opinion.total,
        "cross_agreement": opinion.agreement,
        "cross_tests_worth": opinion.tests_worth,
        "cross_disagreed": list(opinion.disagreed),
        "cross_statuses": {str(author): dict(tests) for author, tests in opinion.statuses.items()},
    }


# -- Suites, and which program they fit --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Suite:
    """The tests of a completion, to be compiled into another program."""

    author: int  # position in the group of the first completion that brought it
    text: str
    tests: frozenset[str]  # the names of those that count
    needs: Mapping[str, str]  # what they name of their own program -> how it is defined there


@dataclass(frozen=True)
class _Solution:
    """A program without its tests: what suites can call."""

    text: str
    defines: Mapping[str, str]  # name of a top-level item -> a function's types, or which kind of item it is


def _definition(item: Item) -> str:
    """What has to be equal in two items of one name: a function's parameter and return types, else the kind of item."""
    if item.node.type != "function_item":
        return item.node.type
    parameters = child_of(item.node, "parameters")
    types = [text_of(child_of(node, "type")) for node in parameters.named_children if node.type == "parameter"]
    parts = [text_of(child_of(item.node, "type_parameters")), *types, text_of(child_of(item.node, "return_type"))]
    return " | ".join("".join(part.split()) for part in parts)


def _solution_of(program: Program) -> _Solution:
    items = all_items(parse_rust(program.source))
    own = [item for item in items if not (item.test_side or item.modules or item.owner or item.is_main)]
    named = [item for item in own if item.node.type not in ("use_declaration", "impl_item", "macro_invocation")]
    return _Solution(solution_source(program).strip(), {item.name: _definition(item) for item in named})


def _suite_of(author: int, program: Program, verdict: Verdict, defines: Mapping[str, str]) -> Suite | None:
    """The completion's tests; None where none of them counts."""
    ran = {name for name, status in verdict.tests.items() if status in ("ok", "failed")}
    counted = frozenset(test.name for test in program.tests if test.counted and test.name in ran)
    if not verdict.honest_tests or not counted:
        return None
    data, pieces, words = program.source.encode(), [], set()
    for item in all_items(parse_rust(program.source)):
        if item.modules or item.owner:
            continue
        is_std_import = item.node.type == "use_declaration" and item.name.startswith(("std::", "core::"))
        if item.test_side or is_std_import:
            pieces.append(data[item.start_byte : item.node.end_byte].decode("utf-8", "replace"))
            words |= {text_of(node) for node in walk(item.node) if node.type in ("identifier", "type_identifier")}
    needs = {name: kind for name, kind in defines.items() if name in words}
    return Suite(author, "\n".join(pieces), counted, needs) if needs else None


def fitted(suite: Suite, defines: Mapping[str, str]) -> str | None:
    """The suite's text for a program that defines this, functions of another name imported under the suite's; None: it does not fit."""
    imports = []
    for name, kind in suite.needs.items():
        if defines.get(name) == kind:
            continue
        alike = [other for other, found in defines.items() if found == kind and other not in suite.needs]
        if name in defines or "|" not in kind or len(alike) != 1:
            return None
        imports.append(f"use crate::{alike[0]} as {name};\n")
    return "".join(imports) + suite.text


# -- The matrix --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Matrix:
    """How every program of a group fared on every suite of the group; no row tells of the program's own suite."""

    rows: Sequence[Mapping[int, Statuses]]  # of each member, by the author of a suite
    suites: Sequence[int | None]  # the author under which each member's own suite stands; None: it brought none that counts
    solutions: Sequence[int | None]  # equal for members whose programs are the same but for names and layout; None: does not build


def matrices_of(groups: Sequence[Sequence[Member]], run_suites: RunSuites) -> list[Matrix]:
    """Try every program of each group on the suites of the others, identical solutions and suites once, in one call of the judge."""
    plans = [_Plan(members) for members in groups]
    jobs = [job for plan in plans for job in plan.jobs]
    answers = iter(run_suites(jobs) if jobs else [])
    return [plan.matrix([next(answers) for _ in plan.jobs]) for plan in plans]


class _Plan:
    """Which suites a group's programs are to be tried on."""

    def __init__(self, members: Sequence[Member]):
        self.n_members = len(members)
        self.built = {i: program for i, (program, verdict) in enumerate(members) if program is not None and verdict.build_passed}
        solutions = {i: _solution_of(program) for i, program in self.built.items()}
        self.suites: dict[str, Suite] = {}
        self.suite_of: dict[int, Suite] = {}
        for i, program in self.built.items():
            suite = _suite_of(i, program, members[i][1], solutions[i].defines)
            if suite is not None:
                self.suite_of[i] = self.suites.setdefault(" ".join(suite.text.split()), suite)
        self.alike: dict[str, list[int]] = {}  # a solution -> the members that have it
        for i, solution in solutions.items():
            self.alike.setdefault(solution.text, []).append(i)
        self.jobs: list[Job] = []
        self.asked: list[tuple[list[int], list[Suite]]] = []
        for same in self.alike.values():
            self._ask(same, solutions[same[0]])

    def _ask(self, same: list[int], solution: _Solution) -> None:
        """Try a solution on the suites that are not the own ones of all who have it."""
        others = [suite for suite in [*self.suites.values()][:MAX_SUITES] if any(self.suite_of.get(i) is not suite for i in same)]
        fitting = [(suite, text) for suite in others if (text := fitted(suite, solution.defines)) is not None]
        if fitting:
            self.asked.append((same, [suite for suite, _ in fitting]))
            self.jobs.append(Job(self.built[same[0]], tuple(text for _, text in fitting)))

    def matrix(self, answers: Sequence[Sequence[Statuses | None]]) -> Matrix:
        """From what the judge said of `jobs`."""
        rows: list[dict[int, Statuses]] = [{} for _ in range(self.n_members)]
        for (same, suites), answer in zip(self.asked, answers, strict=True):
            for suite, statuses in zip(suites, answer, strict=True):
                counted = {name: status for name, status in (statuses or {}).items() if name in suite.tests}
                for i in same if counted else ():
                    if self.suite_of.get(i) is not suite:
                        rows[i][suite.author] = counted
        authors = [self.suite_of[i].author if i in self.suite_of else None for i in range(self.n_members)]
        return Matrix(rows, authors, self._solution_numbers())

    def _solution_numbers(self) -> list[int | None]:
        numbers: list[int | None] = [None] * self.n_members
        firsts: list[int] = []
        for same in self.alike.values():
            first = next((i for i in firsts if same_program(self.built[i], self.built[same[0]])), None)
            firsts += [same[0]] if first is None else []
            for i in same:
                numbers[i] = same[0] if first is None else first
        return numbers


# -- What the matrix says ----------------------------------------------------------------------------------------------


def opinions_of(matrix: Matrix) -> list[Opinion]:
    """What a group's tests say about each member, in its order."""
    return [Opinion(row, agreement(matrix, i), tests_worth(matrix, i)) for i, row in enumerate(matrix.rows)]


def trust(matrix: Matrix, author: int, test: str, judged: int) -> float:
    """How far a test can be trusted when it judges a member: the share of the other solutions that pass it, with PRIOR.

    Copies have one vote together, and the judged one's none: nothing gains by being there often. Nor has the author's own run
    of it (it is in no row), as long as no other completion has its solution.
    """
    judged_solution, votes = matrix.solutions[judged], {}
    for solution, row in zip(matrix.solutions, matrix.rows, strict=True):
        if solution != judged_solution and test in row.get(author, ()):
            votes[solution] = row[author][test] == "ok"
    return (sum(votes.values()) + PRIOR) / (len(votes) + 2 * PRIOR)


def _weighed(matrix: Matrix, member: int, without: int | None = None) -> tuple[float, float, float]:
    """Of the tests that others (but `without`) ask of a program: trust in those it passes, in all, and their number.

    Each suite weighs as much as another, however many tests it has. All 0 where the group has but one solution: that copies
    agree with each other says nothing.
    """
    passed = trusted = asked = 0.0
    if len({solution for solution in matrix.solutions if solution is not None}) < 2:
        return passed, trusted, asked
    for author, tests in matrix.rows[member].items():
        if author == without:
            continue
        for test, status in tests.items():
            weight = trust(matrix, author, test, member) / len(tests)
            trusted += weight
            passed += weight * (status == "ok")
        asked += 1
    return passed, trusted, asked


def agreement(matrix: Matrix, member: int) -> float | None:
    """Trust in the tests of others that a program passes, over their number; None: no opinion.

    A program that does not build agrees with nobody (0), where somebody brought tests at all.
    """
    if matrix.solutions[member] is None:
        return 0.0 if any(author is not None for author in matrix.suites) else None
    passed, _, asked = _weighed(matrix, member)
    return passed / asked if asked else None


def _is_held_right(matrix: Matrix, member: int, without: int) -> bool | None:
    """Whether a program passes most of what the tests of all but one author ask, by trust; None where they do not say."""
    passed, trusted, _ = _weighed(matrix, member, without)
    return None if not trusted or 2 * passed == trusted else 2 * passed > trusted


def tests_worth(matrix: Matrix, member: int) -> float | None:
    """Share of the group's wrong programs that a sound test of the member fails, times its share of sound tests.

    Right and wrong are what the tests of all others hold for it; a test is sound when most of the distinct right solutions pass
    it. The member's own solution is neither. None where no right one tried the suite, or no wrong one; 0 without a sound test.
    """
    author = matrix.suites[member]
    if author is None:
        return 0.0 if any(other is not None for other in matrix.suites) else None
    right, wrong = {}, {}
    for i, row in enumerate(matrix.rows):
        is_other = author in row and matrix.solutions[i] != matrix.solutions[member]
        is_right = _is_held_right(matrix, i, without=author) if is_other else None
        if is_right is not None:
            (right if is_right else wrong)[matrix.solutions[i]] = row[author]
    tests = {test for tests in (*right.values(), *wrong.values()) for test in tests}
    sound = {test for test in tests if 2 * sum(row.get(test) == "ok" for row in right.values()) > len(right)}
    if not right or (sound and not wrong):
        return None
    if not sound:
        return 0.0
    failed = sum(any(row.get(test, "ok") != "ok" for test in sound) for row in wrong.values())
    return failed / len(wrong) * len(sound) / len(tests)


def picked(graded: Sequence[Mapping]) -> int:
    """Position in a group of the graded completion to take without knowing more: one that builds and agrees most with the others' tests.

    Of equals, one whose own tests pass honestly, then one that passes more tests of others, then the first. Where there is no
    opinion at all, own tests decide.
    """

    def key(i: int) -> tuple:
        record = graded[i]
        is_honest = record["test_passed"] and record["honest_tests"]
        return record["build_passed"], round(record["cross_agreement"] or 0.0, 6), is_honest, record["cross_passed"] or 0, -i

    return max(range(len(graded)), key=key)


# -- Rewards: (program, verdict) -> float in [0, 1] or None, as in rewards.py ------------------------------------------


def cross_tests_reward(program: Program | None, verdict: Verdict) -> float | None:
    """Trust in the tests of the group's other completions that the program passes, over their number, in [0, 1]; None: no opinion.

    A test is trusted by the share of the other solutions that pass it; each suite weighs as much as another. Estimates the
    expected share of the sound tests among them that it passes. 0 for a program that does not build. How a policy could game
    it: by being like itself. A group of copies has no opinion, copies have one vote together, and a test that only its own
    program passes has next to no weight; but programs that differ and share one mistake, or do little and test little, agree
    with each other and are paid. The judge's guards against tests that notice nothing stand against it, and
    `group_tests_reward`, which has no opinion where nobody fails.
    """
    return verdict.cross.agreement if verdict.cross is not None else None


def group_tests_reward(program: Program | None, verdict: Verdict) -> float | None:
    """Share of the group's wrong programs that the completion's sound tests fail, times its share of sound tests, in [0, 1].

    Sound: most of the programs that the others' tests hold right pass it. Estimates how well the tests tell wrong programs
    from right ones: tests that no wrong program fails earn nothing, nor do those that the majority's programs fail. The own
    program has no vote, nor have copies of it. None where the group holds no other program right, or none wrong.
    How a policy could game it: by asking for what most programs do by habit rather than for what the prompt says; and by
    writing programs that fail in order to be told apart, which costs those that do it more than it brings the others.
    """
    return verdict.cross.tests_worth if verdict.cross is not None else None


CROSS_REWARDS = (cross_tests_reward, group_tests_reward)


def cross_examined(groups: Sequence[Sequence[Member]], run_suites: RunSuites) -> list[list[Verdict]]:
    """The verdicts of each group's members with what the group's tests say of them (`Verdict.cross`)."""
    found = matrices_of(groups, run_suites)
    return [
        [replace(verdict, cross=opinion) for (_, verdict), opinion in zip(members, opinions_of(matrix), strict=True)]
        for members, matrix in zip(groups, found, strict=True)
    ]
