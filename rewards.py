"""Verdicts -> rewards: one float per reward function and completion, and the graded completion that a trace line holds.

`RewardSet(judge, ["cargo_build_reward=1", ...])` is the one builder: it grades each batch once however many functions
read it, and its `.functions` have TRL's signature `f(prompts, completions, **kwargs) -> list[float | None]`.
Every function, users' own included, is `None` for a completion that the machine failed to grade (`error_kind: "infra"`).

Own reward function: put `def short_program_reward(prompts, completions, **kwargs): ...` in a file and name it in the
config as `my_rewards.py:short_program_reward=0.5`. `kwargs["graded"]` holds the graded completions of the batch, and every
other column of the task file is there under its name (`own_rewards.py`).
"""

import functools
import json
import logging
import math
import numbers
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace

import kinds
import own_rewards
from judge.cross_tests import CROSS_REWARDS, cross_examined, cross_tests_reward, fields_of, group_tests_reward
from judge.errors import UserError
from judge.program import Program, ends_with_code, extract_program, same_program, solution_source
from rust_tool import Job, RustTool, Verdict
from tasks import TASK_COLUMNS, content_text
from traces import SCHEMA_VERSION

MAX_REWARD = 1e30  # rewards become 32-bit floats, which end at 3.4e38
NUMBER_TYPES = (*(f"{sign}{bits}" for sign in "iu" for bits in (8, 16, 32, 64, 128, "size")), "f32", "f64")
ADDING_WORDS = ("add", "sum", "plus", "total", "combin", "+")
WORD_STEM = 5  # leading letters that make two words the same: occurrences, occurs
MAX_INFRA_OF_BATCH = 0.5  # of a training batch's programs: when the machine failed more, the rest says nothing about the model
MIN_INFRA_OF_BATCH = 4  # programs; fewer may be the programs' own doing
INFRA_WAITS_S = (5.0, 20.0, 60.0)  # before each further try: another job's disk or memory may be free again
NOT_COMPILED_PENALTY = -0.2
RUN_PENALTIES = {"panic": -0.1, "timeout": -0.3}  # by the worst that happened in a hidden test
ASSERTS_FOR_FULL_REWARD = 4  # distinct assertions after which writing more pays nothing

DEFAULT_REWARDS = (
    "cargo_build_reward=1",
    "cargo_clippy_reward=1",
    "cargo_test_reward=2",
    "non_empty_reward=1",
    "code_block_reward=0.5",
    "test_block_reward=0.5",
    "tests_have_asserts_reward=1",
)


READ_AHEAD = 4_096  # completions whose program is remembered between `start` and `grade`


class RewardError(UserError, ValueError):
    """The reward list of a config cannot be used; the message is one sentence for the user."""


# ---------------------------------------------------------------------------------------------------------------------
# What each function pays: (program, verdict) -> float in [0, 1] unless it says otherwise, or None where the question does not arise
# ---------------------------------------------------------------------------------------------------------------------


def cargo_build_reward(program: Program | None, verdict: Verdict) -> float:
    """1 when `cargo build` succeeds."""
    return float(verdict.build_passed)


def cargo_clippy_reward(program: Program | None, verdict: Verdict) -> float:
    """1 when clippy has nothing to say, 0.5 when it only warns (or was told with `allow` not to), 0 when it fails.

    Plain `cargo clippy` exits 0 on warnings, so its exit code alone would be a second build reward.
    """
    if program is None or not verdict.clippy_passed:
        return 0.0
    return 1.0 if verdict.clippy_warnings == 0 and not program.silences_clippy else 0.5


def cargo_test_reward(program: Program | None, verdict: Verdict) -> float:
    """1 when the completion's own tests pass and are worth something (an honest pass)."""
    return float(verdict.test_passed and verdict.honest_tests)


def hidden_tests_reward(program: Program | None, verdict: Verdict) -> float | None:
    """Share of the task's hidden tests passed; None where the task has none."""
    return None if not verdict.hidden_total else verdict.hidden_passed / verdict.hidden_total


def all_hidden_tests_reward(program: Program | None, verdict: Verdict) -> float | None:
    """1 when every hidden test passes, else 0; None where the task has none: estimates pass@1, which a share of tests does not."""
    return None if not verdict.hidden_total else float(verdict.hidden_passed == verdict.hidden_total)


def hidden_build_reward(program: Program | None, verdict: Verdict) -> float | None:
    """1 when the program builds and the task's tests compile against it: it defines what they call. None without hidden tests.

    `cargo_build_reward` also pays a program that is empty, which a policy learns sooner than the task.
    """
    return None if not verdict.hidden_total else float(verdict.build_passed and verdict.hidden_error_kind != "compile")


def rare_tests_reward(program: Program | None, verdict: Verdict, weights: Sequence[float] | None = None) -> float | None:
    """Share of the hidden tests passed, each weighing what share of the programs of this run so far failed it; None without any.

    A test that nearly every wrong program passes pays nearly nothing. The mean estimates a share of tests whose weights move
    during the run: rewards of one batch compare, those of different steps do not.
    """
    if not verdict.hidden_total:
        return None
    passed = [status == "ok" for status in verdict.hidden_statuses]
    if weights is None or len(weights) != len(passed):
        return verdict.hidden_passed / verdict.hidden_total
    return sum(weight for weight, is_passed in zip(weights, passed, strict=True) if is_passed)


def execution_reward(program: Program | None, verdict: Verdict) -> float | None:
    """Share of the hidden tests passed, less 0.1 when one panics and 0.3 when one runs out of time; -0.2 without anything to run.

    In [-0.3, 1]; a wrong answer costs nothing beyond its test; None where the task has no hidden tests. Its mean estimates the
    expected share of tests less what crashes and loops cost: a policy can raise it without solving one task more.
    A program that the tests do not compile with counts as one that does not compile (in Python it would be a NameError).
    Source: https://huggingface.co/amarsaikhan/spark-code-A-3b-v2
    """
    if not verdict.hidden_total:
        return None
    if not verdict.build_passed or verdict.hidden_error_kind == "compile":
        return NOT_COMPILED_PENALTY
    return verdict.hidden_passed / verdict.hidden_total + RUN_PENALTIES.get(verdict.hidden_error_kind, 0.0)


def non_empty_reward(program: Program | None, verdict: Verdict) -> float:
    """1 when the program defines at least one function besides `main` and tests."""
    return float(program is not None and bool(program.functions))


def code_block_reward(program: Program | None, verdict: Verdict) -> float:
    """1 when the program came in a closed ```rust block, and is not empty."""
    return float(program is not None and program.code_block and bool(program.functions))


def ends_with_code_reward(program: Program | None, verdict: Verdict, completion: str) -> float:
    """1 when the program came in one closed ```rust block, is not empty, and nothing stands behind the block.

    No other function sees what stands there: in training it grows or goes away by chance, and is sampled and trained on alike.
    """
    return code_block_reward(program, verdict) * ends_with_code(completion)


def test_block_reward(program: Program | None, verdict: Verdict) -> float:
    """1 when there is a `#[cfg(test)]` module with at least one `#[test]` function."""
    return float(program is not None and program.has_test_block)


def tests_have_asserts_reward(program: Program | None, verdict: Verdict) -> float:
    """Distinct assertions of tests that count, divided by 4, at most 1: one assertion proves little."""
    return 0.0 if program is None else min(verdict.n_asserts, ASSERTS_FOR_FULL_REWARD) / ASSERTS_FOR_FULL_REWARD


BUILT_IN_REWARDS: tuple[Callable[[Program | None, Verdict], float | None], ...] = (
    cargo_build_reward,
    cargo_clippy_reward,
    cargo_test_reward,
    hidden_tests_reward,
    all_hidden_tests_reward,
    hidden_build_reward,
    rare_tests_reward,
    execution_reward,
    non_empty_reward,
    code_block_reward,
    ends_with_code_reward,
    test_block_reward,
    tests_have_asserts_reward,
    cross_tests_reward,
    group_tests_reward,
    *kinds.TASK_REWARDS,
)


# ---------------------------------------------------------------------------------------------------------------------
# The graded completion
# ---------------------------------------------------------------------------------------------------------------------


def completion_text(completion: str | list[dict]) -> str:
    """Text of a completion in either of TRL's forms: a string, or a conversation, of which the last assistant turn is the answer."""
    if isinstance(completion, str):
        return completion
    answer: list[dict] = []
    for message in reversed(completion):  # a user's or tool's turn ends what the assistant said last
        if message.get("role", "assistant") == "assistant":
            answer.insert(0, message)
        elif answer:
            break
    return "".join(content_text(message.get("content")) for message in answer)


def graded_completion(task: dict, completion: str, program: Program | None, verdict: Verdict) -> dict:
    """DESIGN.md's record of one completion, without rewards, step and advantage (their owners add them)."""
    other_columns = {key: value for key, value in task.items() if key not in TASK_COLUMNS}
    return {
        "schema_version": SCHEMA_VERSION,
        "task_id": task.get("task_id"),
        "prompt": task.get("prompt"),
        "completion": completion,
        "program": program.source if program else None,
        "build_passed": verdict.build_passed,
        "clippy_passed": verdict.clippy_passed,
        "clippy_warnings": verdict.clippy_warnings,
        "test_passed": verdict.test_passed,
        "tests": dict(verdict.tests),
        "hidden_passed": verdict.hidden_passed,
        "hidden_total": verdict.hidden_total,
        "hidden_statuses": list(verdict.hidden_statuses),
        "hidden_error_kind": verdict.hidden_error_kind,
        "hidden_failures": dict(verdict.hidden_failures),
        "error_kind": verdict.error_kind,
        "diagnostics": [asdict(diagnostic) for diagnostic in verdict.diagnostics],
        "honest_tests": verdict.honest_tests,
        "guard": verdict.guard,
        **fields_of(verdict.cross),
        "n_asserts": verdict.n_asserts,
        "duration_s": round(verdict.duration_s, 4),
        **({"columns": other_columns} if other_columns else {}),
    }


class ReadingJudge:
    """A RustTool for completions as text: finds the program in each and grades it with its task's hidden tests."""

    def __init__(self, judge: RustTool, plain_rust: bool = False):
        self.judge = judge
        self.plain_rust = plain_rust
        self._extract = functools.lru_cache(READ_AHEAD)(extract_program)

    def start(self, task: dict, completion: str) -> None:
        """Begin to grade a completion that the next `grade` will hold, from any thread."""
        job, _ = self._job_or_why(task, completion)
        self.judge.start(job)

    def grade(self, tasks: Sequence[dict], completions: Sequence[str]) -> list[tuple[Program | None, Verdict]]:
        """Program and verdict of each, in order; each starts when it is read: the judge compiles the first while the next is read."""
        jobs: list[Job] = []
        whys: list[str | None] = []

        def read() -> Iterator[Job]:
            for task, completion in zip(tasks, completions, strict=True):
                job, why = self._job_or_why(task, completion)
                jobs.append(job)
                whys.append(why)
                yield job

        verdicts = self.judge.grade(read())
        read_and_graded = zip(tasks, jobs, whys, verdicts, strict=True)
        return [(job.program, kinds.counted(task, why, verdict)) for task, job, why, verdict in read_and_graded]

    def program_of(self, completion: str, prompt: str = "") -> Program | None:
        """The program in a completion, as it is graded."""
        return self._extract(completion, True, prompt) if self.plain_rust else self._extract(completion)

    def _job_or_why(self, task: dict, completion: str) -> tuple[Job, str | None]:
        """What the judge is asked, and for a kind of task whose completion stands for no program, why."""
        prompt, why = task.get("prompt") or "", None
        if kinds.kind_of(task) != kinds.WRITE:
            program, why = kinds.read(task, completion)
        else:
            program = self.program_of(completion, prompt)
        return Job(program, tuple(task["tests"]) if task.get("tests") else None, task.get("entry_point"), prompt), why


def is_honest_pass(record: dict) -> bool:
    """Whether the own tests of a graded completion pass and no guard found them worthless."""
    return record["test_passed"] and record["honest_tests"]


def passes_hidden(record: dict) -> bool | None:
    """Whether every hidden test of a graded completion passed; None when the task has none."""
    return record["hidden_passed"] == record["hidden_total"] if record["hidden_total"] else None


def is_solved(record: dict) -> bool:
    """Whether a graded completion solves its task: every hidden test passes, or its own honest tests where it has none."""
    by_hidden = passes_hidden(record)
    return bool(is_honest_pass(record)) if by_hidden is None else by_hidden


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k samples is right, from c right ones among n.

    Source: Chen et al. 2021, Evaluating Large Language Models Trained on Code, equation 1. Raises ValueError when k > n.
    """
    if not 0 < k <= n:
        raise ValueError(f"pass@{k} cannot be estimated from {n} samples")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


class RewardSet:
    """The reward functions of one run, all reading the verdicts of one judge.

    Args:
        judge: Anything with `grade(jobs) -> list[Verdict]`; jobs come from a generator. With cross tests, `run_suites`, too.
        specs: `name=weight` items; a name is one of BUILT_IN_REWARDS, or `FILE.py:FUNCTION` for a user's own.
        system_prompt: Its example program earns no test reward when it comes back as the answer to something else;
            nor does the addition of two numbers, the example of most published prompts (Oxen.ai's among them).
        waits_for_machine: Whether `grade_batch` grades a batch again that the machine failed mostly: for training, which must not
            go on with the rest of it. (eval.py stops by itself and grades what is missing when it is started again.)
        plain_rust: Whether completions without a fence are programs as they stand, or go on where the prompt's code stops.
        cross_tests: Whether each batch is examined by the tests of its groups (`judge/cross_tests.py`). None: where a reward asks for it.
        task_record: A `training.task_record.TaskRecord`, whose `test_weights` are those of rare_tests_reward; None: all weigh the same.

    Raises:
        RewardError: Unknown name, weight that is no number, a name given twice, a file or function that is not there.
    """

    def __init__(self, judge: RustTool, specs: Sequence[str] = DEFAULT_REWARDS, system_prompt: str = "", *,
                 waits_for_machine: bool = False, plain_rust: bool = False, reader: ReadingJudge | None = None,
                 task_record=None, cross_tests: bool | None = None):  # fmt: skip
        self.judge, self.waits_for_machine, self.task_record = judge, waits_for_machine, task_record
        self.reader = reader or ReadingJudge(judge, plain_rust)
        own_example = extract_program(system_prompt)
        self.examples = [(example, ADDING_WORDS) for example in adding_examples()]
        self.examples += [(own_example, name_words(own_example))] if own_example else []
        self.weights: dict[str, float] = {}
        self.functions: list[Callable[..., list[float | None]]] = []
        self._batch: tuple[object, list[dict]] | None = None
        self._own: dict[str, Callable] = {}  # users' functions as they are written
        built_in, modules = {function.__name__: function for function in BUILT_IN_REWARDS}, {}
        for spec in specs:
            name, weight = parse_reward_spec(spec)
            if name in built_in:
                function = self._built_in(built_in[name])
            elif ".py:" in name:
                function = self._users_own(name, modules)
            else:
                raise RewardError(f"unknown reward {name!r}; built in are {', '.join(built_in)}; your own is FILE.py:FUNCTION")
            if function.__name__ in self.weights:
                raise RewardError(f"the reward {function.__name__} is listed twice")
            self.weights[function.__name__] = weight
            self.functions.append(function)
        if not self.functions:
            raise RewardError("no reward functions: list at least one as name=weight")
        self.cross_tests = self.asks_cross if cross_tests is None else cross_tests

    @property
    def asks_cross(self) -> bool:
        """Whether one of its rewards is paid by the tests of a completion's group."""
        return any(pay.__name__ in self.weights for pay in CROSS_REWARDS)

    def grade(self, tasks: Sequence[dict], completions: Sequence[str]) -> list[dict]:
        """Grade completions of tasks (same length, same order) -> graded completions with built-in rewards filled.

        `rewards[name]` is a float or None, `reward` the weighted sum of what is not None (None when nothing is).
        Completions of one task and prompt are a group, where the group's tests are asked for.
        """
        graded, judged = [], []
        for task, (program, verdict) in zip(tasks, self.reader.grade(tasks, completions), strict=True):
            if verdict.test_passed and is_copied(program, task.get("prompt") or "", self.examples):
                verdict = _refused(verdict, "copied_example")
            if verdict.test_passed and lacks_asked_function(program, task.get("prompt") or ""):
                verdict = _refused(verdict, "asked_function_missing")
            judged.append((program, verdict))
        if self.cross_tests:
            judged = self._cross_examined(tasks, judged)
        for task, completion, (program, verdict) in zip(tasks, completions, judged, strict=True):
            record = graded_completion(task, completion, program, verdict)
            is_infra = verdict.error_kind == "infra"
            record["rewards"] = {
                function.__name__: None
                if is_infra or not kinds.is_asked(function.__name__, task)
                else function(program, verdict, *self._more(function, task, completion, verdict))
                for function in BUILT_IN_REWARDS
                if function.__name__ in self.weights
            }
            record["reward"] = weighted_sum(record["rewards"], self.weights)
            graded.append(record)
        return graded

    def _cross_examined(self, tasks: Sequence[dict], judged: Sequence[tuple]) -> list[tuple]:
        """Programs and verdicts, with what the tests of each group say; what the machine failed to grade has no part in it.

        A program that lacks the function which the prompt names agrees with nobody, as one that does not build: its caller cannot call it.
        """
        judged, groups = list(judged), {}
        for i, (task, (_program, verdict)) in enumerate(zip(tasks, judged, strict=True)):
            if verdict.error_kind != "infra":
                groups.setdefault((task.get("task_id"), task.get("prompt")), []).append(i)
        lacks = [program is not None and lacks_asked_function(program, task.get("prompt") or "")
                 for task, (program, _verdict) in zip(tasks, judged, strict=True)]  # fmt: skip
        members = [[(None if lacks[i] else judged[i][0], judged[i][1]) for i in group] for group in groups.values()]
        for group, verdicts in zip(groups.values(), cross_examined(members, self.reader.judge.run_suites), strict=True):
            for i, verdict in zip(group, verdicts, strict=True):
                judged[i] = judged[i][0], verdict
        return judged

    def _more(self, function: Callable, task: dict, completion: str, verdict: Verdict) -> tuple:
        """What a built-in function is given besides the verdict: the task, the completion or the tests' weights, if it asks for them."""
        if function in kinds.TASK_REWARDS:
            return (task,)
        if function is ends_with_code_reward:
            return (completion,)
        if function is not rare_tests_reward or self.task_record is None or not verdict.hidden_statuses:
            return ()
        return (self.task_record.test_weights(task.get("task_id"), len(verdict.hidden_statuses)),)

    def batch_tasks(self, prompts: Sequence, columns: dict[str, Sequence]) -> list[dict]:
        """The task of each row of a TRL batch; `columns` as in `grade_batch`."""
        fields = ("task_id", "tests", "entry_point")
        tasks = [{field: columns[field][i] for field in fields if field in columns} for i in range(len(prompts))]
        for i, task in enumerate(tasks):
            if "user_prompt" in columns:
                task["prompt"] = columns["user_prompt"][i]
            else:
                task["prompt"] = prompts[i] if isinstance(prompts[i], str) else content_text(prompts[i][-1]["content"])
            task |= json.loads(columns["other_columns"][i]) if "other_columns" in columns else {}
        return tasks

    def grade_batch(self, prompts: Sequence, completions: Sequence, columns: dict[str, Sequence]) -> list[dict]:
        """Graded completions of one TRL batch; the judge runs for the first caller only, the others share the result.

        `columns` are the dataset columns TRL hands to reward functions: `user_prompt` is the row's text prompt,
        `other_columns` the JSON text of what else the task row held. Both may be missing.
        With `waits_for_machine`, raises RewardError when the machine failed most programs, INFRA_WAITS_S and as many tries later too.
        """
        if self._batch is not None and self._batch[0] is completions:
            return self._batch[1]
        tasks = self.batch_tasks(prompts, columns)
        grade = self.grade_mostly if self.waits_for_machine else self.grade
        graded = grade(tasks, [completion_text(completion) for completion in completions])
        self._batch = (completions, graded)
        return graded

    def grade_mostly(self, tasks: list[dict], completions: list[str]) -> list[dict]:
        """`grade`; where the machine failed most programs, once more after a while. Raises RewardError with its reason."""
        graded = self.grade(tasks, completions)
        for wait_s in (*INFRA_WAITS_S, None):
            programs = sum(record["program"] is not None for record in graded)
            failed = [i for i, record in enumerate(graded) if record["error_kind"] == "infra" and record["program"] is not None]
            if len(failed) < MIN_INFRA_OF_BATCH or len(failed) <= MAX_INFRA_OF_BATCH * programs:
                return graded
            what = f"{len(failed)} of {programs} programs of a batch could not be graded ({infra_reason(graded)})"
            if wait_s is None:
                raise RewardError(
                    f"{what}, also not {sum(INFRA_WAITS_S):.0f} s later: the batch is not trained on; free what is missing "
                    "(python doctor.py looks at this machine) and go on with --resume_from_checkpoint last"
                )
            print(f"warning: {what}: trying again in {wait_s:.0f} s", file=sys.stderr, flush=True)
            time.sleep(wait_s)
            graded = self.grade(tasks, completions)  # whole groups, whose tests are run on each other; the judge remembers what it graded
        return graded

    def _built_in(self, pay: Callable) -> Callable[..., list[float | None]]:
        """TRL-shaped function that reads one built-in reward off the batch's graded completions."""

        @functools.wraps(pay)
        def reward_function(prompts, completions, **kwargs):
            return [record["rewards"][pay.__name__] for record in self.grade_batch(prompts, completions, kwargs)]

        del reward_function.__wrapped__  # its signature is TRL's, not the wrapped function's
        return reward_function

    def _users_own(self, spec: str, modules: dict) -> Callable[..., list[float | None]]:
        """A user's function with the same guarantees: None where the machine failed, traced like the built-in ones."""
        file, _, name = spec.rpartition(":")
        try:
            function = self._own[name] = own_rewards.load(file, name, modules)
        except own_rewards.OwnRewardError as error:
            raise RewardError(f"reward {spec}: {error}") from error

        def reward_function(prompts, completions, **kwargs):
            graded = self.grade_batch(prompts, completions, kwargs)
            try:
                values = own_rewards.answers(function, {**kwargs, "prompts": prompts, "completions": completions, "graded": graded})
            except Exception as error:  # somebody else's code: whatever it raises, say whose it was; debug.log has its whole way
                logging.getLogger(own_rewards.__name__).warning("the reward %s raised", name, exc_info=True)
                raise RewardError(f"the reward {name} raised an error at {own_rewards.failure(file, error)}") from error
            if not isinstance(values, Sequence) or len(values) != len(completions) or not all(map(_is_reward, values)):
                raise RewardError(f"{name} must return {len(completions)} finite numbers or None, got {values!r:.80}")
            for record, value in zip(graded, values, strict=True):
                is_infra = record["error_kind"] == "infra"
                record["rewards"][name] = None if is_infra or value is None else float(value)
                record["reward"] = weighted_sum(record["rewards"], self.weights)
            return [record["rewards"][name] for record in graded]

        reward_function.__name__ = name
        return reward_function

    def require_columns(self, columns: Iterable[str], in_training: bool) -> None:
        """Raises RewardError when a user's function asks for what no batch will have. `columns`: of the tasks, beyond TASK_COLUMNS."""
        columns = sorted({*columns})
        for name, function in self._own.items():
            lacking = own_rewards.missing(function, columns, in_training)
            if lacking:
                only = ", which only training has" if lacking[0] in own_rewards.IN_TRAINING else ""
                known = ", ".join((*own_rewards.ALWAYS, *columns))
                raise RewardError(f"the reward {name} asks for {lacking[0]!r}{only}; a batch has {known}")


def infra_reason(graded: Sequence[dict]) -> str:
    """What the machine said most often about completions that it failed to grade."""
    said = (record["diagnostics"][0]["message"] for record in graded if record["error_kind"] == "infra" and record["diagnostics"])
    (reason, _), *_ = Counter(said).most_common(1) or [("no reason given", 0)]
    return " ".join(reason.split())[:300]


def adding_examples() -> list[Program]:
    """`fn add(a: T, b: T) -> T { a + b }` for every number type T."""
    sources = (f"```rust\nfn add(a: {kind}, b: {kind}) -> {kind} {{\n    a + b\n}}\n```" for kind in NUMBER_TYPES)
    return [program for program in map(extract_program, sources) if program]


def name_words(example: Program) -> tuple[str, ...]:
    """First letters of the words in the example's function names: a prompt with one of them may well ask for it."""
    return tuple(word[:WORD_STEM] for name in example.functions for word in name.lower().split("_") if word)


def is_copied(program: Program, prompt: str, examples: Sequence[tuple[Program, Sequence[str]]]) -> bool:
    """Whether a program is one of `examples` (program, words of prompts that ask for it), given for another prompt.

    Comments and tests do not matter, names do unless the example is an addition: nothing that fits the system prompt's example
    but for its names is refused, since the same few lines may be right elsewhere. Without a prompt there is no telling: False.
    """
    asked = prompt.lower()
    return bool(asked.strip()) and any(
        not any(word in asked for word in words)
        and (words is ADDING_WORDS or program.functions == example.functions)
        and same_program(program, example)
        for example, words in examples
    )


def _refused(verdict: Verdict, guard: str) -> Verdict:
    """The verdict with a guard against its tests, unless it has one."""
    return replace(verdict, honest_tests=False, guard=guard) if verdict.honest_tests else verdict


_ASKED = re.compile(r"\bfn\s+(\w+)\s*[(<]|\bfunction,? (?:called |named )?`(\w+)`|`(\w+)\([^`]*\)(?:\s*->[^`]*)?`")


def lacks_asked_function(program: Program, prompt: str) -> bool:
    """Whether a prompt names functions (`fn area(..)`, "a function named `area`") and the program defines none of them."""
    names = {name for found in _ASKED.findall(prompt) for name in found if name} - {"main"}
    return bool(names) and not names & set(re.findall(r"\w+", solution_source(program)))


def _is_reward(value: object) -> bool:
    return value is None or (isinstance(value, numbers.Real) and abs(value) <= MAX_REWARD)  # not so for NaN


def weighted_sum(rewards: dict[str, float | None], weights: dict[str, float]) -> float | None:
    """Sum of weight x reward over the functions that answered, as TRL sums; None when none did."""
    paid = [weights[name] * value for name, value in rewards.items() if value is not None]
    return sum(paid) if paid else None


def parse_reward_spec(spec: str) -> tuple[str, float]:
    """`name=weight` -> (name, weight). Raises RewardError."""
    name, separator, weight = spec.rpartition("=")
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not separator or not name or not math.isfinite(value):
        raise RewardError(f"reward {spec!r}: expected name=weight with a finite number, for example cargo_test_reward=2")
    return name.strip(), value


def cross_rewards_of(specs: Iterable[str]) -> list[str]:
    """Names of the rewards that are paid by the tests of a completion's group, sorted. Raises RewardError."""
    return sorted({parse_reward_spec(spec)[0] for spec in specs} & {pay.__name__ for pay in CROSS_REWARDS})


def batch_metrics(graded: Sequence[dict]) -> dict[str, float]:
    """Rates of one batch in [0, 1], by metric name; rates of verdicts leave out what the machine failed to grade.

    judge/build_rate, judge/clippy_rate (exit code 0), judge/test_rate (the harness's raw word),
    judge/honest_test_rate, judge/hidden_test_share and judge/solved_rate (share of hidden tests, and of completions that pass them
    all; only where tasks have hidden tests), judge/infra_share,
    judge/guard_share (passing tests that a guard refused), judge/top_guard_share (by the one guard that refused most).
    """
    verdicts = [record for record in graded if record["error_kind"] != "infra"]
    metrics = {"judge/infra_share": 1 - len(verdicts) / len(graded)} if graded else {}
    if not verdicts:
        return metrics
    rate = lambda holds: sum(map(bool, map(holds, verdicts))) / len(verdicts)
    metrics |= {
        "judge/build_rate": rate(lambda record: record["build_passed"]),
        "judge/clippy_rate": rate(lambda record: record["clippy_passed"]),
        "judge/test_rate": rate(lambda record: record["test_passed"]),
        "judge/honest_test_rate": rate(is_honest_pass),
        "judge/guard_share": rate(lambda record: record["test_passed"] and not record["honest_tests"]),
    }
    refused = Counter(record["guard"] for record in verdicts if record["test_passed"] and not record["honest_tests"])
    metrics["judge/top_guard_share"] = max(refused.values(), default=0) / len(verdicts)
    if any("cross_agreement" in record for record in verdicts):
        metrics["judge/cross_share"] = rate(lambda record: record["cross_total"])
        asked = sum(record["cross_total"] or 0 for record in verdicts)
        metrics |= {"judge/cross_pass_share": sum(record["cross_passed"] or 0 for record in verdicts) / asked} if asked else {}
    hidden = [record for record in verdicts if record["hidden_total"]]
    if hidden:
        metrics["judge/hidden_test_share"] = sum(r["hidden_passed"] / r["hidden_total"] for r in hidden) / len(hidden)
        metrics["judge/solved_rate"] = sum(map(passes_hidden, hidden)) / len(hidden)
    return metrics
