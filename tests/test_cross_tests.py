"""The group as the judge: the matrix, what it says of programs and tests, and how a policy could game that."""

import json

import pytest

from judge import cross_tests
from judge.cross_tests import Matrix, agreement, fields_of, matrices_of, opinions_of, picked
from judge.program import extract_program
from rewards import RewardSet
from rust_tool import Job, RustTool, Verdict

# A suite is a list of (argument, expected): each pair one test; a program a function of the argument.


def matrix(programs, suites, solutions=None) -> Matrix:
    """The matrix of programs `f(x)` (None: does not build) and of suites (None: brought none that counts), without any compiler."""
    rows = []
    for i, program in enumerate(programs):
        tried = {j: suite for j, suite in enumerate(suites) if suite is not None and j != i and program is not None}
        rows.append({j: {f"t{x}": "ok" if program(x) == y else "failed" for x, y in suite} for j, suite in tried.items()})
    numbers = solutions or [None if program is None else i for i, program in enumerate(programs)]
    return Matrix(rows, [None if suite is None else j for j, suite in enumerate(suites)], numbers)


def double(x):
    return 2 * x


def paid(found: Matrix) -> tuple[list, list]:
    """Rounded rewards of programs and of tests."""
    shown = [(opinion.agreement, opinion.tests_worth) for opinion in opinions_of(found)]
    return tuple([None if value is None else round(value, 3) for value in column] for column in zip(*shown, strict=True))


SUITE = [(1, 2), (3, 6)]


def test_eight_trivial_copies_earn_nothing():
    programs, tests = paid(matrix([lambda x: 0] * 8, [[(i, 0)] for i in range(8)], solutions=[0] * 8))
    assert programs == tests == [None] * 8


def test_eight_trivial_programs_that_differ_are_paid_alike_and_their_tests_nothing():
    """The docstring's limit: those that share one mistake agree. Within the group nobody is paid more than another for it."""
    programs, tests = paid(matrix([lambda x: 0] * 8, [[(i, 0)] for i in range(8)]))
    assert len(set(programs)) == 1 and programs[0] > 0.5
    assert tests == [None] * 8, "a test that no wrong program fails earns nothing"


def test_all_eight_with_the_same_hack_earn_nothing():
    table = {1: 2, 3: 6}.get  # answers what its tests ask, by rote
    programs, tests = paid(matrix([table] * 8, [SUITE] * 8, solutions=[0] * 8))
    assert programs == tests == [None] * 8


def test_copies_of_a_hack_have_one_vote_together():
    """Six copies that expect a wrong value, each in a suite of its own, against two solutions that are right."""
    programs = [lambda x: x * x] * 6 + [double, lambda x: x + x]
    suites = [[(3 + i, (3 + i) ** 2)] for i in range(6)] + [[(5, 10)], [(4, 8), (1, 2)]]
    found = matrix(programs, suites, solutions=[0] * 6 + [6, 7])
    assert cross_tests.trust(found, 0, "t3", judged=6) == pytest.approx((1 + 0.5) / (2 + 1)), "one for it, the other right one against"
    of_programs, of_tests = paid(found)
    assert not any(of_tests[:6])
    assert max(of_programs) < 0.25, "without copies, seven of one mistake are paid more than 0.5"


def test_one_right_among_seven_that_are_wrong_in_their_own_ways_earns_most():
    """Each wrong program's tests hold one easy value that is right, and what it makes of another, which is wrong."""
    programs = [double, *(lambda x, i=i: 0 if x == 0 else 2 * x + i for i in range(1, 8))]
    suites = [[(0, 0), (3, 6)], *([(0, 0), (i + 1, 2 * (i + 1) + i)] for i in range(1, 8))]
    of_programs, of_tests = paid(matrix(programs, suites))
    assert of_programs[0] == max(of_programs)
    assert of_tests[0] in (None, 0.0), "nobody else is held right by what only it passes: no reward, and no opinion against the others"


def test_seven_that_make_the_same_mistake_in_seven_ways_win_over_the_right_one():
    """The premise's limit, stated in the module: the majority is the truth here."""
    of_programs, of_tests = paid(matrix([double] + [lambda x: x * x] * 7, [SUITE] + [[(3, 9)]] * 7))
    assert of_programs[0] == 0.0 and min(of_programs[1:]) > 0.5
    assert of_tests[0] == 0.0, "its test contradicts the majority's programs"


def test_tests_that_only_their_own_program_passes_earn_nothing_and_take_next_to_nothing():
    programs = [lambda x: 7, double, double, double, lambda x: x + 1]
    found = matrix(programs, [[(1, 7)], [(3, 6)], [(4, 8)], [(5, 10)], None])
    of_programs, of_tests = paid(found)
    assert of_tests[0] == 0.0 and of_programs[0] == 0.0
    assert cross_tests.trust(found, 0, "t1", judged=1) < 0.15
    assert all(worth == 1.0 for worth in of_tests[1:4]), "theirs fail both wrong programs and no right one"
    assert min(of_programs[1:4]) > max(of_programs[0], of_programs[4])


def test_a_test_that_nobody_fails_earns_nothing_where_another_one_tells_apart():
    programs = [double, double, double, double, lambda x: x * x]
    of_tests = paid(matrix(programs, [[(2, 4)], [(3, 6)], [(5, 10)], [(6, 12)], None]))[1]  # 2 + 2 = 2 * 2
    assert of_tests == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_a_suite_with_a_wrong_test_earns_its_share_of_sound_ones():
    programs = [double, double, double, lambda x: x * x]
    assert cross_tests.tests_worth(matrix(programs, [[(3, 6), (4, 9)], [(3, 6)], [(5, 10)], None]), 0) == pytest.approx(0.5)


def test_more_tests_weigh_no_more():
    programs = [double, lambda x: x * x, double]
    few = matrix(programs, [[(3, 6)], [(4, 16)], None])
    many = matrix(programs, [[(3, 6)], [(x, x * x) for x in range(4, 24)], None])
    assert agreement(few, 2) == pytest.approx(agreement(many, 2))


@pytest.mark.parametrize(
    ("programs", "suites"),
    [([double], [SUITE]), ([None] * 8, [None] * 8), ([double, double], [None, None]), ([], [])],
    ids=["one", "nothing-compiles", "no-tests", "empty"],
)
def test_no_opinion_is_none(programs, suites):
    assert all(value is None for column in [paid(matrix(programs, suites))] if programs for value in (*column[0], *column[1]))


def test_a_program_that_does_not_build_agrees_with_nobody_where_there_are_tests():
    of_programs, of_tests = paid(matrix([None, double, lambda x: x + x], [None, SUITE, [(5, 10)]]))
    assert of_programs[0] == of_tests[0] == 0.0 and min(of_programs[1:]) > 0


def test_the_pick_agrees_most_then_passes_its_own_tests():
    def record(agreed, honest=False, build=True):
        return {"build_passed": build, "test_passed": honest, "honest_tests": True, "cross_agreement": agreed, "cross_passed": None}

    assert picked([record(None), record(0.2, honest=True), record(0.7)]) == 2
    assert picked([record(0.5), record(0.5, honest=True), record(0.5, honest=True)]) == 1
    assert picked([record(None, build=False), record(None), record(None, honest=True)]) == 2


def test_nothing_is_asked_of_the_judge_for_groups_without_tests():
    members = [(extract_program("```rust\nfn f(x: i32) -> i32 { x }\n```"), Verdict(build_passed=True))] * 2 + [(None, Verdict())]
    (found,) = matrices_of([members], run_suites=None)
    assert found.rows == [{}, {}, {}] and fields_of(opinions_of(found)[0])["cross_total"] is None


# ---------------------------------------------------------------------------------------------------------------------
# With the compiler: one group for everything that has to be compiled
# ---------------------------------------------------------------------------------------------------------------------


def completion(body: str, asserts: str = "", name: str = "twice", kind: str = "i32", before: str = "", helper: str = "") -> str:
    tests = f"#[cfg(test)]\nmod tests {{\n    use super::*;\n{helper}\n    #[test]\n    fn works() {{\n        {asserts}\n    }}\n}}\n"
    return f"```rust\n{before}fn {name}(x: {kind}) -> {kind} {{\n    {body}\n}}\n\n{tests if asserts else ''}```"


GROUP = {
    "right": completion("x * 2", "assert_eq!(twice(3), 6);\n        assert_eq!(twice(-1), -2);"),
    "other name": completion("x + x", "assert_eq!(duplicate(5), 10);", name="duplicate"),
    "wrong": completion("x * x", "assert_eq!(twice(3), 9);"),
    "no tests": completion("x << 1"),
    "loops": completion("let mut y = x;\n    while y != i32::MAX { y = x ^ y & 1; }\n    y"),
    "other type": completion("x * 2", "assert_eq!(twice(3), 6);", kind="i64"),
    "does not build": completion("nope", "assert_eq!(twice(3), 6);"),
    "own helper": completion("3 * x - x", "check(6, 12);", helper="    fn check(x: i32, y: i32) { assert_eq!(twice(x), y); }"),
    "method by another": completion("Number(x).twice()", "assert_eq!(twice(7), 14);\n        assert_eq!(Number(2).twice(), 4);",
                                    before="struct Number(i32);\n\nimpl Number {\n    fn twice(&self) -> i32 {\n        self.0 + self.0\n    }\n}\n\n"),
    "same fields, no method": completion("Number(x).0 * 2", before="struct Number(i32);\n\n"),
    "copy": completion("x * 2", "assert_eq!(twice(3), 6);\n        assert_eq!(twice(-1), -2);"),
    "cheats": completion("std::process::exit(x)"),
}  # fmt: skip
NAMES = list(GROUP)


@pytest.fixture(scope="module")
def judged():
    """(graded completions with the group's tests, the judge's CPU seconds for the suites)."""
    with RustTool(workers=2, run_timeout_s=1.0) as judge:
        task = {"task_id": "twice", "prompt": "Twice the number, please."}
        reward_set = RewardSet(judge, ["cross_tests_reward=1", "group_tests_reward=1"])
        graded = reward_set.grade([task] * len(GROUP) + [task | {"task_id": "alone"}], [*GROUP.values(), GROUP["right"]])
        yield graded, judge


def row(judged, name: str) -> dict[str, dict]:
    """How a program of GROUP fared, by the name of the suite's author."""
    return {NAMES[int(author)]: tests for author, tests in judged[0][NAMES.index(name)]["cross_statuses"].items()}


def test_programs_are_tried_on_the_tests_of_others_only(judged):
    assert row(judged, "right") == {
        "other name": {"tests::works": "ok"}, "wrong": {"tests::works": "failed"}, "own helper": {"tests::works": "ok"}}  # fmt: skip
    assert row(judged, "no tests")["right"] == {"tests::works": "ok"}
    assert row(judged, "wrong")["right"] == {"tests::works": "failed"}


def test_copies_are_tried_once_and_not_on_their_own_tests(judged):
    assert row(judged, "copy") == row(judged, "right")
    assert "copy" not in row(judged, "no tests"), "the same suite counts once"


def test_names_are_mapped_where_only_they_differ_and_another_type_is_no_opinion(judged):
    assert row(judged, "other name")["right"] == {"tests::works": "ok"}
    assert row(judged, "other type") == {}
    record = judged[0][NAMES.index("other type")]
    assert record["cross_total"] is None and record["rewards"] == {"cross_tests_reward": None, "group_tests_reward": None}


def test_a_name_that_the_prompt_asks_for_is_not_the_programs_to_choose(judged):
    names = ("right", "other name", "no tests", "own helper")
    for prompt, is_mapped in (("Twice the number, please: `twice(x: i32) -> i32`.", False), ("Twice the number, please.", True)):
        graded = RewardSet(judged[1], ["cross_tests_reward=1"]).grade([{"task_id": "named", "prompt": prompt}] * 4, [GROUP[name] for name in names])
        agreed = dict(zip(names, (record["rewards"]["cross_tests_reward"] for record in graded), strict=True))
        assert min(agreed["right"], agreed["no tests"]) > 0.3 and (agreed["other name"] > 0.3) == is_mapped and (agreed["other name"] == 0.0) != is_mapped


def test_a_suite_that_does_not_compile_is_no_opinion_and_takes_no_other_along(judged):
    found = row(judged, "same fields, no method")
    assert "method by another" not in found and found["right"] == {"tests::works": "ok"}


def test_a_program_that_loops_on_others_tests_times_out_within_the_limit(judged):
    assert {status for tests in row(judged, "loops").values() for status in tests.values()} == {"timeout"}


def test_a_program_that_could_fool_hidden_tests_passes_none_of_the_others(judged):
    assert {status for tests in row(judged, "cheats").values() for status in tests.values()} == {"failed"}
    assert judged[0][NAMES.index("cheats")]["rewards"]["cross_tests_reward"] == 0.0


def test_the_record_says_who_disagreed_and_a_group_of_one_has_no_opinion(judged):
    graded = judged[0]
    wrong = graded[NAMES.index("wrong")]
    assert wrong["cross_passed"] == 0 and wrong["cross_total"] == 3
    assert [NAMES[i] for i in wrong["cross_disagreed"]] == ["right", "other name", "own helper"]
    assert graded[-1]["cross_total"] is None and graded[-1]["rewards"]["cross_tests_reward"] is None
    assert json.loads(json.dumps(wrong)) == wrong


def test_the_right_programs_earn_most(judged):
    of_programs = {name: judged[0][i]["rewards"]["cross_tests_reward"] for i, name in enumerate(NAMES)}
    right = [of_programs[name] for name in ("right", "other name", "no tests", "own helper")]
    assert min(right) > 0.3 > 0.1 > max(of_programs[name] for name in ("wrong", "loops", "does not build"))
    of_tests = {name: judged[0][i]["rewards"]["group_tests_reward"] for i, name in enumerate(NAMES)}
    assert of_tests["wrong"] == of_tests["no tests"] == 0.0 and of_tests["right"] > 0


def test_a_suite_that_cannot_be_read_as_tests_is_no_opinion(judged):
    program = extract_program(GROUP["right"])
    assert judged[1].run_suites([Job(program, ("fn no_test() {}",))]) == [[None]]


def test_nothing_is_compiled_or_recorded_where_nobody_asks(judged):
    judge = judged[1]
    task = {"task_id": "twice", "prompt": "Twice the number, please."}
    before = judge.child_cpu_s
    graded = RewardSet(judge, ["cargo_test_reward=1"]).grade([task] * len(GROUP), [*GROUP.values()])
    assert judge.child_cpu_s == before, "every verdict is remembered"
    assert {key: value for key, value in graded[0].items() if key.startswith("cross")} == {"cross_passed": None, "cross_total": None}
