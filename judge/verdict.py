"""What is asked of the judge and what comes back: a job, its verdict, diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from judge.program import HiddenSuite, Program

Statuses = Mapping[str, str]  # of tests by name: ok, failed, ignored, timeout
MAX_DIAGNOSTICS = 20
MAX_MESSAGE_CHARS = 500
MAX_FAILURE_CHARS = 200
NOT_COMPILED = "do not compile"  # in place of a test's name: no hidden test was run


@dataclass(frozen=True)
class Diagnostic:
    """One message of rustc or clippy, or how a test failed (level "test")."""

    code: str | None  # "E0308", "clippy::needless_return"
    level: str  # "error", "warning", "test", "note"
    message: str  # at most MAX_MESSAGE_CHARS
    line: int | None  # in Program.source, from 1


@dataclass(frozen=True)
class Job:
    """One completion to grade."""

    program: Program | None  # None: the completion held none
    hidden_tests: tuple[str, ...] | None = None
    entry_point: str | None = None
    prompt: str = ""


@dataclass(frozen=True)
class Opinion:
    """What the tests of a group say about one of its completions."""

    statuses: Mapping[int, Statuses] = field(default_factory=dict)  # by position in the group of a suite's (first) author
    agreement: float | None = None  # see cross_tests_reward; None: no opinion
    tests_worth: float | None = None  # see group_tests_reward; None: no opinion

    @property
    def passed(self) -> int | None:
        """Tests of others passed; None where none fits."""
        return sum(status == "ok" for tests in self.statuses.values() for status in tests.values()) if self.statuses else None

    @property
    def total(self) -> int | None:
        """Tests of others that say something about the program; None where none fits."""
        return sum(map(len, self.statuses.values())) if self.statuses else None

    @property
    def disagreed(self) -> tuple[int, ...]:
        """Positions in the group of the authors one of whose tests failed."""
        return tuple(author for author, tests in self.statuses.items() if set(tests.values()) != {"ok"})


@dataclass(frozen=True)
class Verdict:
    """What the toolchain said about one program; DESIGN.md defines the fields."""

    build_passed: bool = False
    clippy_passed: bool = False
    clippy_warnings: int = 0
    test_passed: bool = False
    tests: Mapping[str, str] = field(default_factory=dict)  # name -> "ok" | "failed" | "ignored" | "timeout"
    hidden_passed: int | None = None
    hidden_total: int | None = None
    hidden_statuses: tuple[str, ...] = ()  # of the hidden tests in their order, as in `tests`; empty where they did not run
    hidden_error_kind: str | None = None  # why not all of them passed: "compile", "test_failed", "panic", "timeout"
    hidden_failures: Mapping[str, str] = field(default_factory=dict)  # name of a hidden test -> why it failed
    error_kind: str | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    honest_tests: bool = False
    guard: str | None = None
    n_asserts: int = 0
    duration_s: float = 0.0
    cross: Opinion | None = None  # of the tests of its group; None where nobody asked


class InfraError(RuntimeError):
    """The machine, not the program, failed: no process could be started, the disk is full, a canary is wrong."""


NO_CODE = Verdict(error_kind="no_code")
INFRA = Verdict(error_kind="infra")
TRIED_IN_PART = "tried_in_part"  # a guard that takes nothing away: a limit, or a crash, ended the runs that would tell what tests are worth


def no_program(job: Job) -> Verdict:
    """No program: nothing passes, hidden tests neither (their number is what the task has as strings)."""
    return replace(NO_CODE, hidden_passed=0, hidden_total=len(job.hidden_tests)) if job.hidden_tests else NO_CODE


def nothing_passed(job: Job, suite: HiddenSuite | None) -> Verdict:
    """Where a verdict starts; honest_tests is the static opinion."""
    assert job.program is not None
    hidden = {} if suite is None else {"hidden_passed": 0, "hidden_total": len(suite.test_names)}
    static = job.program.guard
    return Verdict(honest_tests=static is None, guard=static, n_asserts=job.program.n_asserts, **hidden)


def first_failures(failures: Mapping[str, str]) -> dict[str, str]:
    return {name: why[:MAX_FAILURE_CHARS] for name, why in [*failures.items()][:MAX_DIAGNOSTICS]}
