"""rewards.py: what each verdict pays, None where the machine failed."""

import dataclasses
import json
import re

import pytest
from conftest import BROKEN, GOOD, PROSE, ROOT, FakeJudge, infra_verdict

import kinds
import rewards
from judge.cross_tests import Opinion
from judge.program import extract_program
from rewards import RewardError, RewardSet, batch_metrics, completion_text, weighted_sum
from rust_tool import Diagnostic, Verdict
from training.task_record import TaskRecord

PASS = Verdict(build_passed=True, clippy_passed=True, test_passed=True, honest_tests=True, tests={"tests::adds": "ok"})
ALL_BUILT_IN = [f"{function.__name__}=1" for function in rewards.BUILT_IN_REWARDS]


def program_with(**changes):
    return dataclasses.replace(extract_program(GOOD), **changes)


def verdict_with(**changes):
    return dataclasses.replace(PASS, **changes)


# ---------------------------------------------------------------------------------------------------------------------
# Verdict -> float
# ---------------------------------------------------------------------------------------------------------------------

TABLE = [
    # reward, changes to a good program (None: no program), changes to a full pass, what it pays
    ("cargo_build_reward", {}, {}, 1.0),
    ("cargo_build_reward", {}, {"test_passed": False, "clippy_passed": False}, 1.0),
    ("cargo_build_reward", {}, {"build_passed": False}, 0.0),
    ("cargo_clippy_reward", {}, {}, 1.0),
    ("cargo_clippy_reward", {}, {"clippy_warnings": 1}, 0.5),
    ("cargo_clippy_reward", {}, {"clippy_warnings": 40}, 0.5),
    ("cargo_clippy_reward", {"silences_clippy": True}, {}, 0.5),
    ("cargo_clippy_reward", {}, {"clippy_passed": False}, 0.0),
    ("cargo_clippy_reward", {}, {"clippy_passed": False, "clippy_warnings": 3}, 0.0),
    ("cargo_clippy_reward", None, {}, 0.0),
    ("cargo_test_reward", {}, {}, 1.0),
    ("cargo_test_reward", {}, {"honest_tests": False, "guard": "no_asserts"}, 0.0),
    ("cargo_test_reward", {}, {"test_passed": False}, 0.0),
    ("hidden_tests_reward", {}, {}, None),
    ("hidden_tests_reward", {}, {"hidden_passed": 0, "hidden_total": 0}, None),
    ("hidden_tests_reward", {}, {"hidden_passed": 0, "hidden_total": 4}, 0.0),
    ("hidden_tests_reward", {}, {"hidden_passed": 3, "hidden_total": 4}, 0.75),
    ("hidden_tests_reward", {}, {"hidden_passed": 4, "hidden_total": 4, "test_passed": False}, 1.0),
    ("hidden_build_reward", {}, {}, None),
    ("hidden_build_reward", {}, {"build_passed": True, "hidden_passed": 0, "hidden_total": 4}, 1.0),
    ("hidden_build_reward", {}, {"build_passed": False, "hidden_passed": 0, "hidden_total": 4}, 0.0),
    ("hidden_build_reward", {}, {"build_passed": True, "hidden_total": 4, "hidden_error_kind": "compile"}, 0.0),
    ("all_hidden_tests_reward", {}, {}, None),
    ("all_hidden_tests_reward", {}, {"hidden_passed": 3, "hidden_total": 4}, 0.0),
    ("all_hidden_tests_reward", {}, {"hidden_passed": 4, "hidden_total": 4, "test_passed": False}, 1.0),
    ("rare_tests_reward", {}, {}, None),
    ("rare_tests_reward", {}, {"hidden_passed": 1, "hidden_total": 2, "hidden_statuses": ("ok", "failed")}, 0.5),
    ("rare_tests_reward", {}, {"hidden_passed": 0, "hidden_total": 2}, 0.0),
    ("execution_reward", {}, {}, None),
    ("execution_reward", {}, {"hidden_passed": 4, "hidden_total": 4}, 1.0),
    ("execution_reward", {}, {"hidden_passed": 0, "hidden_total": 4, "hidden_error_kind": "test_failed"}, 0.0),
    ("execution_reward", {}, {"hidden_passed": 2, "hidden_total": 4, "hidden_error_kind": "test_failed"}, 0.5),
    ("execution_reward", {}, {"hidden_passed": 0, "hidden_total": 4, "hidden_error_kind": "panic"}, -0.1),
    ("execution_reward", {}, {"hidden_passed": 2, "hidden_total": 4, "hidden_error_kind": "panic"}, 0.4),
    ("execution_reward", {}, {"hidden_passed": 0, "hidden_total": 4, "hidden_error_kind": "timeout"}, -0.3),
    ("execution_reward", {}, {"hidden_passed": 0, "hidden_total": 4, "hidden_error_kind": "compile"}, -0.2),
    ("execution_reward", {}, {"build_passed": False, "hidden_passed": 0, "hidden_total": 4, "error_kind": "compile"}, -0.2),
    ("execution_reward", {}, {"hidden_passed": 4, "hidden_total": 4, "error_kind": "timeout"}, 1.0),  # own tests, not the task's
    ("execution_reward", None, {"build_passed": False, "hidden_passed": 0, "hidden_total": 4, "error_kind": "no_code"}, -0.2),
    ("non_empty_reward", {}, {}, 1.0),
    ("non_empty_reward", {"functions": ()}, {}, 0.0),
    ("non_empty_reward", None, {}, 0.0),
    ("code_block_reward", {}, {}, 1.0),
    ("code_block_reward", {"code_block": False}, {}, 0.0),
    ("code_block_reward", None, {}, 0.0),
    ("ends_with_code_reward", {}, {}, 1.0),
    ("ends_with_code_reward", {"code_block": False}, {}, 0.0),
    ("ends_with_code_reward", {"functions": ()}, {}, 0.0),
    ("ends_with_code_reward", None, {}, 0.0),
    ("test_block_reward", {}, {}, 1.0),
    ("test_block_reward", {"has_test_block": False}, {}, 0.0),
    ("test_block_reward", None, {}, 0.0),
    ("tests_have_asserts_reward", {}, {"n_asserts": 0}, 0.0),
    ("tests_have_asserts_reward", {}, {"n_asserts": 1}, 0.25),
    ("tests_have_asserts_reward", {}, {"n_asserts": 4}, 1.0),
    ("tests_have_asserts_reward", {}, {"n_asserts": 100}, 1.0),
    ("tests_have_asserts_reward", None, {}, 0.0),
    ("cross_tests_reward", {}, {}, None),  # nobody asked
    ("cross_tests_reward", {}, {"cross": Opinion()}, None),
    ("cross_tests_reward", {}, {"cross": Opinion(agreement=0.25, tests_worth=1.0)}, 0.25),
    ("group_tests_reward", {}, {}, None),
    ("group_tests_reward", {}, {"cross": Opinion(agreement=0.25, tests_worth=1.0)}, 1.0),
]


@pytest.mark.parametrize(("name", "program_changes", "verdict_changes", "paid"), TABLE)
def test_reward_table(name, program_changes, verdict_changes, paid):
    program = None if program_changes is None else program_with(**program_changes)
    more = ("```rust\nfn f() {}\n```",) if name == "ends_with_code_reward" else ()
    value = getattr(rewards, name)(program, verdict_with(**verdict_changes), *more)
    assert value == paid
    assert value is None or type(value) is float, "a reward is a float, never a bool"


@pytest.mark.parametrize(("behind", "paid"), [("", 1.0), (" \n\n", 1.0), ("\n### Explanation\nIt adds.", 0.0), ("\n```rust\nfn more() {", 0.0)])
def test_what_stands_behind_the_code_is_paid_where_asked(behind, paid):
    reward_set = RewardSet(FakeJudge(), ["code_block_reward=1", "ends_with_code_reward=1"])
    (record,) = reward_set.grade([{"prompt": "Add."}], [f"It adds.\n```rust\nfn add(a: u8) -> u8 {{ a }}\n```{behind}"])
    assert record["rewards"] == {"code_block_reward": 1.0, "ends_with_code_reward": paid}


def test_every_built_in_reward_is_in_the_table():
    assert {row[0] for row in TABLE} == {function.__name__ for function in rewards.BUILT_IN_REWARDS if function not in kinds.TASK_REWARDS}


def test_default_weights_are_the_published_ones():
    assert RewardSet(FakeJudge()).weights == {
        "cargo_build_reward": 1,
        "cargo_clippy_reward": 1,
        "cargo_test_reward": 2,
        "non_empty_reward": 1,
        "code_block_reward": 0.5,
        "test_block_reward": 0.5,
        "tests_have_asserts_reward": 1,
    }


@pytest.mark.parametrize(
    ("values", "weights", "total"),
    [
        ({"a": 1.0, "b": 0.5}, {"a": 1, "b": 2}, 2.0),
        ({"a": None, "b": 0.5}, {"a": 1, "b": 2}, 1.0),
        ({"a": 0.0, "b": None}, {"a": 1, "b": 2}, 0.0),
        ({"a": None, "b": None}, {"a": 1, "b": 2}, None),
        ({}, {"a": 1}, None),
    ],
)
def test_weighted_sum_leaves_out_what_did_not_answer(values, weights, total):
    assert weighted_sum(values, weights) == total


# ---------------------------------------------------------------------------------------------------------------------
# The graded completion
# ---------------------------------------------------------------------------------------------------------------------


def test_graded_completion_has_the_contracts_fields():
    judge = FakeJudge(
        lambda job: verdict_with(
            tests={"tests::adds": "failed"},
            test_passed=False,
            error_kind="test_failed",
            hidden_passed=1,
            hidden_total=2,
            diagnostics=(Diagnostic("E0308", "error", "mismatched types", 3),),
            guard="no_asserts",
            duration_s=0.25,
        )
    )
    task = {"task_id": "a/1", "prompt": "Add.", "tests": ["assert!(x());", "assert!(y());"], "entry_point": "x"}
    (record,) = RewardSet(judge, ["cargo_build_reward=1", "hidden_tests_reward=4"]).grade([task], [GOOD])
    assert record | {"schema_version": 1} == record
    expected = {
        "task_id": "a/1",
        "prompt": "Add.",
        "completion": GOOD,
        "program": extract_program(GOOD).source,
        "build_passed": True,
        "clippy_passed": True,
        "clippy_warnings": 0,
        "test_passed": False,
        "tests": {"tests::adds": "failed"},
        "hidden_passed": 1,
        "hidden_total": 2,
        "error_kind": "test_failed",
        "diagnostics": [{"code": "E0308", "level": "error", "message": "mismatched types", "line": 3}],
        "honest_tests": True,
        "guard": "no_asserts",
        "rewards": {"cargo_build_reward": 1.0, "hidden_tests_reward": 0.5},
        "reward": 3.0,
        "duration_s": 0.25,
    }
    assert record | expected == record
    (job,) = judge.batches[0]
    assert (job.hidden_tests, job.entry_point, job.prompt) == (("assert!(x());", "assert!(y());"), "x", "Add.")
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("tests", [None, []])
def test_task_without_hidden_tests_asks_the_judge_for_none(tests):
    judge = FakeJudge()
    RewardSet(judge).grade([{"task_id": "a", "prompt": "Add.", "tests": tests}], [GOOD])
    assert judge.batches[0][0].hidden_tests is None


def test_only_the_listed_rewards_are_recorded():
    (record,) = RewardSet(FakeJudge(), ["cargo_build_reward=1"]).grade([{"prompt": "Add."}], [GOOD])
    assert record["rewards"] == {"cargo_build_reward": 1.0}


def test_infra_is_none_in_every_reward_and_in_the_sum():
    (record,) = RewardSet(FakeJudge(infra_verdict), ALL_BUILT_IN).grade([{"prompt": "Add."}], [GOOD])
    assert list(record["rewards"]) == [spec.removesuffix("=1") for spec in ALL_BUILT_IN]
    assert set(record["rewards"].values()) == {None}
    assert record["reward"] is None


@pytest.mark.parametrize(
    ("prompt", "completion", "is_paid"),
    [
        ("Sort a list of names.", "EXAMPLE", False),
        ("Triple a number by adding.", "EXAMPLE", True),  # the example is the answer to this one
        ("Sort a list of names.", GOOD, True),  # renamed, the same few lines may be right for this one
        ("Sort a list of names.", BROKEN, True),
    ],
)
def test_handing_back_the_system_prompts_example_earns_no_test_reward(prompt, completion, is_paid):
    example = GOOD.replace("add(", "triple_number(")
    reward_set = RewardSet(
        FakeJudge(), ["cargo_test_reward=1", "cargo_build_reward=1"], f"Answer like this:\n\n{example}"
    )
    (record,) = reward_set.grade([{"prompt": prompt}], [example if completion == "EXAMPLE" else completion])
    assert record["rewards"] == {"cargo_test_reward": float(is_paid), "cargo_build_reward": 1.0}
    assert (record["honest_tests"], record["guard"]) == (is_paid, None if is_paid else "copied_example")


@pytest.mark.parametrize(
    ("prompt", "is_paid"),
    [
        ("Write a function `add` for two numbers.", True),
        ("Implement `fn total(list: &[i32]) -> i32`.", False),
        ("A Rust function `total(list: &[i32]) -> i32`, please.", False),
        ("Write a function named `sum_all`; see also `add(1, 2)`.", True),  # one of the names is enough
        ("Sum what `list` holds, in a program with `fn main()`.", True),  # names no function
    ],
)
def test_a_program_without_the_function_that_the_prompt_names_earns_no_test_reward(prompt, is_paid):
    (record,) = RewardSet(FakeJudge(), ["cargo_test_reward=1"]).grade([{"prompt": prompt}], [GOOD])
    assert (record["reward"], record["guard"]) == (float(is_paid), None if is_paid else "asked_function_missing")
    in_part = FakeJudge(lambda job: verdict_with(guard="tried_in_part"))  # a guard that takes nothing gives way to one that does
    (record,) = RewardSet(in_part, ["cargo_test_reward=1"]).grade([{"prompt": prompt}], [GOOD])
    assert (record["reward"], record["guard"]) == (float(is_paid), "tried_in_part" if is_paid else "asked_function_missing")


@pytest.mark.parametrize(
    ("prompt", "is_paid"),
    [("Reverse a linked list.", False), ("Return the sum of two numbers.", True), ("Compute a + b.", True), ("", True)],
)
def test_adding_two_numbers_for_another_task_earns_no_test_reward_whatever_the_system_prompt(prompt, is_paid):
    addition = GOOD.replace("b + a", "a + b")
    (record,) = RewardSet(FakeJudge(), ["cargo_test_reward=1"]).grade([{"prompt": prompt}], [addition])
    assert record["honest_tests"] is is_paid


def test_a_task_too_few_is_an_error_not_a_shift():
    with pytest.raises(ValueError):
        RewardSet(FakeJudge()).grade([{"prompt": "Add."}], [GOOD, PROSE])


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("plain", "plain"),
        ([{"role": "assistant", "content": "plain"}], "plain"),
        ([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}], "ab"),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "assistant"}, {"role": "tool", "content": "t"}, {"role": "assistant", "content": "b"}], "b"),
        ([{"role": "assistant", "content": "a"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "b"}], "b"),
        ([{"role": "assistant", "content": "a"}, {"role": "user", "content": "u"}], "a"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]}], "ab"),
        ([], ""),
    ],
)
def test_completion_text_of_both_of_trls_forms(completion, text):
    assert completion_text(completion) == text


# ---------------------------------------------------------------------------------------------------------------------
# As TRL calls it
# ---------------------------------------------------------------------------------------------------------------------


def call_all(reward_set, completions, **columns):
    """Every function's values, as GRPOTrainer asks for them."""
    prompts = [[{"role": "user", "content": f"Task {i}."}] for i in range(len(completions))]
    kwargs = {"completion_ids": [[0]] * len(completions), "trainer_state": None} | columns
    return [f(prompts=prompts, completions=completions, **kwargs) for f in reward_set.functions]


def conversations(*texts):
    return [[{"role": "assistant", "content": text}] for text in texts]


def test_judge_runs_once_per_batch_however_many_functions_read_it():
    judge = FakeJudge()
    reward_set = RewardSet(judge, ALL_BUILT_IN)
    first, second = conversations(GOOD, PROSE), conversations(GOOD, PROSE)
    call_all(reward_set, first)
    assert len(judge.batches) == 1
    call_all(reward_set, second)
    assert len(judge.batches) == 2, "an equal batch of a later step is another batch"
    assert [len(batch) for batch in judge.batches] == [2, 2]


@pytest.mark.parametrize("as_given", [conversations, lambda *texts: list(texts)], ids=["conversational", "text"])
def test_reward_order_is_batch_order(as_given):
    def answer(job):
        return (
            PASS
            if job.program and job.program.functions == ("add",) and job.program.has_test_block
            else Verdict(error_kind="compile")
        )

    reward_set = RewardSet(FakeJudge(answer), ["cargo_test_reward=1", "code_block_reward=1"])
    passed, blocks = call_all(reward_set, as_given(GOOD, BROKEN, PROSE, GOOD))
    assert passed == [1.0, 0.0, 0.0, 1.0]
    assert blocks == [1.0, 1.0, 0.0, 1.0]


def test_functions_carry_their_names_for_metric_keys():
    reward_set = RewardSet(FakeJudge(), ALL_BUILT_IN)
    assert (
        [f"{f.__name__}=1" for f in reward_set.functions]
        == ALL_BUILT_IN
        == [f"{name}=1" for name in reward_set.weights]
    )


def test_dataset_columns_reach_the_judge_row_by_row():
    judge = FakeJudge()
    columns = {
        "task_id": ["a", "b"],
        "tests": [["assert!(f());"], None],
        "entry_point": ["f", None],
        "user_prompt": ["A?", "B?"],
    }
    reward_set = RewardSet(judge)
    call_all(reward_set, conversations(GOOD, GOOD), **columns)
    assert [(job.hidden_tests, job.entry_point, job.prompt) for job in judge.batches[0]] == [
        (("assert!(f());",), "f", "A?"),
        (None, None, "B?"),
    ]


def test_prompt_without_user_prompt_column_is_the_last_turns_text():
    judge = FakeJudge()
    reward_set = RewardSet(judge)
    call_all(reward_set, conversations(GOOD))
    reward_set.functions[0](prompts=["Plain text."], completions=[GOOD])
    assert [batch[0].prompt for batch in judge.batches] == ["Task 0.", "Plain text."]


# ---------------------------------------------------------------------------------------------------------------------
# The reward list of a config
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["cargo_build_reward"], "expected name=weight"),
        (["cargo_build_reward=much"], "expected name=weight with a finite number"),
        (["cargo_build_reward=nan"], "finite"),
        (["cargo_build_reward=inf"], "finite"),
        (["=1"], "expected name=weight"),
        (["cargo_buidl_reward=1"], "unknown reward 'cargo_buidl_reward'; built in are cargo_build_reward"),
        (["cargo_build_reward=1", "cargo_build_reward=2"], "listed twice"),
        ([], "no reward functions"),
        (["nowhere.py:pay=1"], r"no file nowhere\.py"),
    ],
)
def test_reward_list_that_cannot_work_is_refused(specs, message):
    with pytest.raises(RewardError, match=message):
        RewardSet(FakeJudge(), specs)


def test_negative_and_fractional_weights_are_taken():
    assert RewardSet(FakeJudge(), ["cargo_build_reward=-0.5"]).weights == {"cargo_build_reward": -0.5}


@pytest.fixture
def own_reward(tmp_path):
    """Write a reward file; returns the spec `FILE.py:pay`."""

    def write(body):
        file = tmp_path / "mine.py"
        file.write_text(f"def pay(prompts, completions, graded, **kwargs):\n    {body}\n")
        return f"{file}:pay"

    return write


def test_own_reward_is_paid_weighted_and_traced(own_reward):
    spec = own_reward("return [len(record['completion']) / 10 for record in graded]")
    reward_set = RewardSet(FakeJudge(), ["cargo_build_reward=1", f"{spec}=2"])
    completions = conversations("12345", GOOD)
    built, own = call_all(reward_set, completions)
    assert own == [0.5, len(GOOD) / 10]
    graded = reward_set.grade_batch([], completions, {})
    assert [record["rewards"] for record in graded] == [
        {"cargo_build_reward": b, "pay": o} for b, o in zip(built, own, strict=True)
    ]
    assert [record["reward"] for record in graded] == [0.0 + 1.0, 1.0 + 2 * len(GOOD) / 10]


def test_own_reward_called_first_still_ends_in_the_sum(own_reward):
    spec = own_reward("return [None, 1]")
    reward_set = RewardSet(FakeJudge(), [f"{spec}=2", "cargo_build_reward=1"])
    completions = conversations(GOOD, GOOD)
    own, _ = call_all(reward_set, completions)
    assert own == [None, 1.0]
    assert [record["reward"] for record in reward_set.grade_batch([], completions, {})] == [1.0, 3.0]


def test_own_reward_is_none_where_the_machine_failed(own_reward):
    spec = own_reward("return [1.0, 1.0]")
    judge = FakeJudge(lambda job: infra_verdict(job) if job.program is None else PASS)
    reward_set = RewardSet(judge, [f"{spec}=1", "cargo_build_reward=1"])
    completions = conversations(PROSE, GOOD)
    own, built = call_all(reward_set, completions)
    assert (own, built) == ([None, 1.0], [None, 1.0])
    assert [record["reward"] for record in reward_set.grade_batch([], completions, {})] == [None, 2.0]


FULL = Verdict(error_kind="infra", diagnostics=(Diagnostic(None, "note", "[Errno 28] No space left on device", None),))


class FailingJudge(FakeJudge):
    """The machine fails every program from `first` on of the first `bad` batches."""

    def __init__(self, bad, first=0):
        super().__init__()
        self.bad, self.first = bad, first

    def grade(self, jobs):
        verdicts = super().grade(jobs)
        if len(self.batches) > self.bad:
            return verdicts
        return [FULL if job.program and i >= self.first else v for i, (job, v) in enumerate(zip(self.batches[-1], verdicts, strict=True))]


@pytest.fixture
def waits(monkeypatch):
    """Seconds slept, without sleeping."""
    slept = []
    monkeypatch.setattr(rewards.time, "sleep", slept.append)
    return slept


def test_a_batch_that_is_mostly_infra_is_graded_again_after_a_while(waits, capsys):
    judge = FailingJudge(bad=2)
    graded = RewardSet(judge, waits_for_machine=True).grade_batch(["Add."] * 6, conversations(PROSE, *[GOOD] * 4, PROSE), {})
    assert [record["error_kind"] for record in graded] == ["no_code", *[None] * 4, "no_code"]
    assert [len(batch) for batch in judge.batches] == [6, 6, 6], "the judge remembers what did not fail"
    assert waits == list(rewards.INFRA_WAITS_S[:2])
    assert "4 of 4 programs of a batch could not be graded ([Errno 28] No space left on device): trying" in capsys.readouterr().err


def test_after_a_failure_of_the_machine_groups_are_whole(waits, monkeypatch):
    sizes = []
    monkeypatch.setattr(rewards, "cross_examined", lambda members, run: sizes.append(list(map(len, members))) or [[v for _, v in of] for of in members])
    judge = FailingJudge(bad=1, first=2)
    judge.run_suites = None
    RewardSet(judge, ["cross_tests_reward=1"], waits_for_machine=True).grade_batch(["Add."] * 8, conversations(*[GOOD] * 8), {})
    assert len(waits) == 1 and sizes[-1] == [8]


def test_a_batch_that_stays_mostly_infra_stops_with_the_reason(waits):
    with pytest.raises(RewardError, match=r"No space left on device\), also not 85 s later: .*--resume_from_checkpoint last"):
        RewardSet(FailingJudge(bad=99), waits_for_machine=True).grade_batch(["Add."] * 13, conversations(*[PROSE] * 9, *[GOOD] * 4), {})
    assert waits == list(rewards.INFRA_WAITS_S)


def test_only_training_waits_for_the_machine(waits):
    judge = FailingJudge(bad=1)
    graded = RewardSet(judge).grade_batch(["Add."] * 8, conversations(*[GOOD] * 8), {})
    assert {record["error_kind"] for record in graded} == {"infra"} and waits == [] and len(judge.batches) == 1


@pytest.mark.parametrize("completions", [[GOOD] * 3, [GOOD] * 8 + [PROSE] * 8])
def test_a_few_infra_verdicts_are_no_reason_to_wait(waits, completions):
    judge = FailingJudge(bad=99, first=0 if len(completions) < 4 else 4)
    graded = RewardSet(judge, waits_for_machine=True).grade_batch(["Add."] * len(completions), conversations(*completions), {})
    assert {record["error_kind"] for record in graded} >= {"infra"} and waits == [] and len(judge.batches) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1.0]", "pay must return 2 finite numbers or None"),
        ("return 1.0", "pay must return 2 finite numbers or None"),
        ("return None", "pay must return 2 finite numbers or None"),
        ("return [1.0, float('nan')]", "pay must return 2 finite numbers or None"),
        ("return [float('inf'), 1.0]", "pay must return 2 finite numbers or None"),
        ("return [1e40, 1.0]", "pay must return 2 finite numbers or None"),
        ("return ['high', 1.0]", "pay must return 2 finite numbers or None"),
    ],
)
def test_own_reward_that_answers_nonsense_is_named(own_reward, body, message):
    reward_set = RewardSet(FakeJudge(), [f"{own_reward(body)}=1"])
    with pytest.raises(RewardError, match=message):
        call_all(reward_set, conversations(GOOD, PROSE))


def test_own_reward_that_raises_is_named_with_what_it_raised(own_reward):
    reward_set = RewardSet(FakeJudge(), [f"{own_reward('return 1 / 0')}=1"])
    with pytest.raises(RewardError, match=r"the reward pay raised an error at \S+\.py, line \d+: ZeroDivisionError: division by zero"):
        call_all(reward_set, conversations(GOOD))


def test_own_reward_that_the_file_does_not_define_is_refused(own_reward):
    spec = own_reward("return []").replace(":pay", ":play")
    with pytest.raises(RewardError, match="defines no function play"):
        RewardSet(FakeJudge(), [f"{spec}=1"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import json\nx = (\n", "line 2: SyntaxError: '(' was never closed"),
        ("\nimport no_such_module\n", "line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("from json import nothing\n", "line 1: ImportError: cannot import name 'nothing'"),
        ("def scale():\n    return 1 / 0\nscale()\n", "line 2: ZeroDivisionError: division by zero"),
    ],
)
def test_own_reward_file_that_cannot_be_imported_is_named_with_line_and_error(tmp_path, text, says):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(RewardError) as error:
        RewardSet(FakeJudge(), [f"{file}:pay=1"])
    assert str(error.value).startswith(f"reward {file}:pay: {file}, {says}")
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------------------------------------------------------
# Rates of a batch
# ---------------------------------------------------------------------------------------------------------------------


def test_batch_metrics_leave_the_machines_failures_out_of_the_rates():
    verdicts = {
        "a": PASS,
        "b": verdict_with(honest_tests=False, guard="no_asserts", hidden_passed=1, hidden_total=4),
        "c": Verdict(build_passed=True, error_kind="test_failed", hidden_passed=3, hidden_total=4),
        "d": Verdict(error_kind="no_code"),
        "e": Verdict(error_kind="infra"),
    }
    judge = FakeJudge(lambda job: verdicts[job.prompt])
    graded = RewardSet(judge).grade([{"prompt": name} for name in verdicts], [GOOD] * 5)
    assert batch_metrics(graded) == pytest.approx(
        {
            "judge/infra_share": 0.2,
            "judge/build_rate": 0.75,
            "judge/clippy_rate": 0.5,
            "judge/test_rate": 0.5,
            "judge/honest_test_rate": 0.25,
            "judge/guard_share": 0.25,
            "judge/top_guard_share": 0.25,
            "judge/hidden_test_share": 0.5,
            "judge/solved_rate": 0.0,
        }
    )


def test_rare_tests_weigh_what_the_run_has_seen_fail_and_nothing_without_a_run():
    statuses = ("ok", "failed", "ok")
    judge = FakeJudge(lambda job: verdict_with(hidden_passed=2, hidden_total=3, hidden_statuses=statuses))
    record = TaskRecord()
    record.add(1, [("a", False, ("ok", "ok", "failed"))] * 6)
    task = {"task_id": "a", "prompt": "Add.", "tests": ["1", "2", "3"]}
    paid = [
        RewardSet(judge, ["rare_tests_reward=1"], task_record=known).grade([task], [GOOD])[0]["reward"] for known in (None, record)
    ]
    assert paid == pytest.approx([2 / 3, (1 / 8 + 7 / 8) / (1 / 8 + 1 / 8 + 7 / 8)])


def test_top_guard_share_is_that_of_the_one_guard_that_refused_most():
    guards = {"a": "no_asserts", "b": "no_asserts", "c": "any_value_passes", "d": None}
    verdicts = {name: verdict_with(honest_tests=guard is None, guard=guard) for name, guard in guards.items()}
    judge = FakeJudge(lambda job: verdicts[job.prompt])
    metrics = batch_metrics(RewardSet(judge).grade([{"prompt": name} for name in guards], [GOOD] * 4))
    assert (metrics["judge/guard_share"], metrics["judge/top_guard_share"]) == (0.75, 0.5)


def test_batch_metrics_of_nothing_but_failures_claim_no_rates():
    graded = RewardSet(FakeJudge(infra_verdict)).grade([{"prompt": "a"}] * 3, [GOOD] * 3)
    assert batch_metrics(graded) == {"judge/infra_share": 1.0}
    assert batch_metrics([]) == {}


def test_the_readmes_own_reward_works_as_it_stands(tmp_path, monkeypatch):
    """The snippet, saved under the name that it gives, and the specs of the command below it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    ((snippet, command),) = re.findall(r"```python\n(.*?)```\n\n    python train.py --rewards (.*?)\n", text, re.DOTALL)
    name = re.match(r"# (\w+\.py)\n", snippet)[1]
    (tmp_path / name).write_text(snippet)
    monkeypatch.chdir(tmp_path)
    reward_set = RewardSet(FakeJudge(), command.split())
    own = reward_set.functions[-1]
    assert reward_set.weights[own.__name__] == 0.5
    completions = [GOOD, PROSE, GOOD.replace("b + a", "b + a //" + "x" * 1000)]
    short, empty, long = own(["p"] * 3, completions)
    assert empty == 1.0 and short == pytest.approx(1 - len(extract_program(GOOD).source) / 2000) and 0 < long < short - 0.4


def test_where_no_guard_refused_anything_the_top_guards_share_is_0():
    graded = RewardSet(FakeJudge(lambda job: PASS)).grade([{"prompt": "a"}] * 2, [GOOD] * 2)
    assert batch_metrics(graded)["judge/top_guard_share"] == 0


def test_a_reward_file_may_lie_below_a_folder_with_a_colon(tmp_path):
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "mine.py").write_text("def one(prompts, completions, **kwargs):\n    return [1.0] * len(completions)\n")
    [one] = RewardSet(FakeJudge(), [f"{folder}/mine.py:one=1"]).functions
    assert one(["p"], [GOOD]) == [1.0]


def test_a_reward_file_that_imports_a_broken_one_names_the_broken_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_helper.py").write_text("x = 1\ndef (:\n")
    (tmp_path / "mine.py").write_text("import broken_helper\n")
    with pytest.raises(RewardError, match=r"broken_helper\.py, line 2: SyntaxError"):
        RewardSet(None, [f"{tmp_path}/mine.py:one=1"])


# ---------------------------------------------------------------------------------------------------------------------
# What mutants of rewards.py showed
# ---------------------------------------------------------------------------------------------------------------------


def test_the_tests_of_a_group_are_those_of_one_task_and_prompt(monkeypatch):
    """And what the machine failed to grade is in no group."""
    asked = []

    def examine(groups, run_suites):
        asked.append(([[program.source for program, _verdict in group] for group in groups], run_suites))
        return [[dataclasses.replace(verdict, cross=Opinion(agreement=n / 10)) for n, (_, verdict) in enumerate(group)] for group in groups]

    monkeypatch.setattr(rewards, "cross_examined", examine)
    places = [("a", "p"), ("a", "q"), ("b", "p"), ("a", "p"), ("a", "p"), (None, "p")]
    completions = [GOOD.replace("add", f"add{n}") for n in range(len(places))]
    judge = FakeJudge(lambda job: infra_verdict(job) if "add3" in job.program.source else PASS)
    graded = RewardSet(judge, ["cross_tests_reward=1"]).grade([{"task_id": task, "prompt": prompt} for task, prompt in places], completions)
    ((groups, run_suites),) = asked
    assert [[re.search(r"add(\d)", source)[1] for source in group] for group in groups] == [["0", "4"], ["1"], ["2"], ["5"]]
    assert run_suites == judge.run_suites
    assert [record["rewards"]["cross_tests_reward"] for record in graded] == [0.0, 0.0, 0.0, None, 0.1, 0.0]


@pytest.mark.parametrize(("n", "c", "k", "expected"), [
    (5, 0, 1, 0.0), (5, 2, 1, 0.4), (5, 2, 2, 0.7), (5, 2, 4, 1.0), (5, 5, 5, 1.0), (1, 1, 1, 1.0), (10, 1, 5, 0.5),
])  # fmt: skip
def test_pass_at_k_is_the_chance_that_one_of_k_drawn_is_right(n, c, k, expected):
    assert rewards.pass_at_k(n, c, k) == pytest.approx(expected)


@pytest.mark.parametrize("k", [-1, 0, 6])
def test_pass_at_k_of_more_than_there_are_is_refused(k):
    with pytest.raises(ValueError, match=rf"^pass@{k} cannot be estimated from 5 samples$"):
        rewards.pass_at_k(5, 2, k)


def test_without_hidden_tests_there_is_nothing_to_pass():
    outcomes = [(2, 2), (1, 2), (0, 0), (None, None)]
    assert [rewards.passes_hidden({"hidden_passed": passed, "hidden_total": total}) for passed, total in outcomes] == [True, False, None, None]


def failure(kind, *messages):
    return {"error_kind": kind, "diagnostics": [{"message": message} for message in messages]}


def test_the_machines_reason_is_what_it_said_most_often():
    other, disk = failure("compile", "no such name"), failure("infra", "no space\n left", "no such file")
    assert rewards.infra_reason([other, other, failure("infra", "killed"), disk, disk]) == "no space left"
    assert rewards.infra_reason([other, failure("infra")]) == "no reason given"
    assert rewards.infra_reason([failure("infra", "x" * 400)]) == "x" * 300


def test_what_is_started_early_is_what_is_graded_later():
    judge, started = FakeJudge(), []
    judge.start = started.append
    reward_set, task = RewardSet(judge, ["cargo_build_reward=1"]), {"prompt": "Add.", "tests": ["assert!(add(1, 1) == 2);"], "entry_point": "add"}
    reward_set.reader.start(task, GOOD)
    reward_set.grade([task], [GOOD])
    assert started == judge.batches[0] and started[0].hidden_tests == ("assert!(add(1, 1) == 2);",) and started[0].prompt == "Add."


def test_a_graded_completion_holds_the_verdict_and_the_tasks_other_columns():
    task = {"task_id": "t", "prompt": "p", "tests": ["assert!(true);"], "entry_point": "add", "level": 3, "tags": ["a"]}
    said = Diagnostic("E0308", "error", "mismatched", 3)
    verdict = verdict_with(hidden_passed=1, hidden_total=2, hidden_statuses=("ok", "failed"), hidden_error_kind="panic", hidden_failures={"b": "it broke"},
                           clippy_warnings=2, n_asserts=4, diagnostics=(said,), guard="g", duration_s=1.23456, error_kind="test_failed",
                           cross=Opinion({1: {"t::a": "ok"}}, 0.5, 0.25))  # fmt: skip
    record = rewards.graded_completion(task, "text", extract_program(GOOD), verdict)
    assert record == {
        "schema_version": rewards.SCHEMA_VERSION, "task_id": "t", "prompt": "p", "completion": "text", "program": extract_program(GOOD).source,
        "build_passed": True, "clippy_passed": True, "clippy_warnings": 2, "test_passed": True, "tests": {"tests::adds": "ok"},
        "hidden_passed": 1, "hidden_total": 2, "hidden_statuses": ["ok", "failed"], "hidden_error_kind": "panic", "hidden_failures": {"b": "it broke"},
        "error_kind": "test_failed", "diagnostics": [{"code": "E0308", "level": "error", "message": "mismatched", "line": 3}], "honest_tests": True,
        "guard": "g", "cross_passed": 1, "cross_total": 1, "cross_agreement": 0.5, "cross_tests_worth": 0.25, "cross_disagreed": [],
        "cross_statuses": {"1": {"t::a": "ok"}}, "n_asserts": 4, "duration_s": 1.2346, "columns": {"level": 3, "tags": ["a"]},
    }  # fmt: skip
    bare = rewards.graded_completion({"task_id": "t"}, "", None, Verdict())
    assert (bare["program"], bare["prompt"], bare["cross_total"], "columns" in bare) == (None, None, None, False)


def test_the_tasks_of_a_batch_are_its_columns_and_what_else_the_row_held():
    columns = {"task_id": ["a", "b"], "tests": [None, ["assert!(true);"]], "user_prompt": ["p", "q"], "other_columns": ['{"level": 1}', "{}"], "seed": [1, 2]}
    found = RewardSet(FakeJudge(), ["cargo_build_reward=1"]).batch_tasks(["x", "y"], columns)
    assert found == [{"task_id": "a", "tests": None, "prompt": "p", "level": 1}, {"task_id": "b", "tests": ["assert!(true);"], "prompt": "q"}]


def test_a_turn_without_a_role_is_the_assistants():
    turns = [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}, {"content": "c"}, {"role": "assistant", "content": "d"}]
    assert completion_text(turns) == "cd"


def test_words_of_an_examples_names_are_told_apart():
    assert rewards.name_words(program_with(functions=("is_prime", "Sum__of"))) == ("is", "prime"[: rewards.WORD_STEM], "sum", "of")


def test_why_a_completion_of_a_kind_stands_for_no_program_is_its_diagnostic():
    task = {"kind": "fix", "prompt": "p", "code": "fn f() {}", "tests": ["assert!(true);"], "entry_point": "f", "message": "m", "passed_before": []}
    (record,) = RewardSet(FakeJudge(), ["cargo_build_reward=1"]).grade([task], ["I do not know."])
    assert record["error_kind"] == "no_code" and [diagnostic["message"] for diagnostic in record["diagnostics"]] == [kinds.read(task, "I do not know.")[1]]


def cross_record(passed, total):
    return rewards.graded_completion({}, "", None, Verdict(cross=Opinion({1: {f"t::{n}": "ok" if n < passed else "failed" for n in range(total)}} if total else {})))


def test_metrics_of_a_groups_tests():
    metrics = batch_metrics([cross_record(1, 2), cross_record(3, 3), cross_record(0, 0), cross_record(0, 1)])
    assert (metrics["judge/cross_share"], metrics["judge/cross_pass_share"]) == (0.75, pytest.approx(4 / 6))
    assert batch_metrics([cross_record(0, 0)])["judge/cross_share"] == 0 and "judge/cross_pass_share" not in batch_metrics([cross_record(0, 0)])
    nobody_asked = batch_metrics([rewards.graded_completion({}, "", None, Verdict())])
    assert not {"judge/cross_share", "judge/cross_pass_share"} & nobody_asked.keys()


def test_the_rate_of_solved_tasks_is_of_those_with_hidden_tests():
    verdicts = [verdict_with(hidden_passed=passed, hidden_total=total) for passed, total in ((2, 2), (1, 2), (3, 3), (None, None))]
    metrics = batch_metrics([rewards.graded_completion({}, "", None, verdict) for verdict in verdicts])
    assert (metrics["judge/solved_rate"], metrics["judge/hidden_test_share"]) == (pytest.approx(2 / 3), pytest.approx(2.5 / 3))


def test_text_without_a_fence_is_a_program_where_that_was_asked_for():
    bare, prompt = "fn double(x: i32) -> i32 {\n    x * 2\n}\n", "fn double(x: i32) -> i32 {\n"
    fenced, plain = (rewards.ReadingJudge(FakeJudge(), plain_rust=is_plain) for is_plain in (False, True))
    assert fenced.program_of(bare) is None and "fn double" in plain.program_of(bare).source
    assert fenced.program_of(GOOD).source == plain.program_of(GOOD).source
    assert plain.program_of("    x * 2\n}\n", prompt).functions == ("double",) and plain.program_of("    x * 2\n}\n") is None


def test_the_weight_stands_behind_the_last_equals_sign():
    assert rewards.parse_reward_spec("lr=1e-4/my_rewards.py:pay=0.5") == ("lr=1e-4/my_rewards.py:pay", 0.5)
