"""Test binaries to a verdict: how each test ends, and what passing ones are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from judge.compiling import Work
from judge.harness_report import LAST_SITE, End, HarnessRun
from judge.limits import SHORTEST_S
from judge.outcome import Outcome
from judge.program import Program, n_asserts, panic_stubbed
from judge.verdict import MAX_DIAGNOSTICS, TRIED_IN_PART, Diagnostic, InfraError, first_failures
from judge.workshop import BINARY_NAME, Workshop
from judge.worth import N_OTHER, N_WRONG, SAME_AGAIN, WRONG_VALUES, untested, worth

UNTESTED = "untested_function"
MAX_DEATHS = 32  # of a program's own tests: it has failed after one, more are tried for the record


@dataclass(frozen=True)
class Worth:
    """What a program's own tests are worth."""

    guard: str | None
    counted: Sequence[str] = ()  # tests
    notes: Sequence[Diagnostic] = ()

    @property
    def is_honest(self) -> bool:
        return self.guard in (None, TRIED_IN_PART)


def _unread(program: Program) -> set[str]:
    """Functions that no other calls and no test names: all that reading can say of what no run has tried."""
    return {*program.alone} & {*program.root_functions} - {*program.tested_functions}


class Runner:
    """Runs the binaries of a job. `hidden_pool`: for hidden tests beside own ones; `solo_pool`: for tests in processes of their own."""

    def __init__(self, workshop: Workshop, run_timeout_s: float, hidden_pool: ThreadPoolExecutor, solo_pool: ThreadPoolExecutor):
        self.workshop, self.run_timeout_s = workshop, run_timeout_s
        self.hidden_pool, self.solo_pool = hidden_pool, solo_pool

    def run(self, work: Work) -> None:
        hidden = None
        if work.hidden_binary is not None and work.suite is not None:  # beside its own tests: one that loops in both waits once
            statements = {runner: len(tests) for runner, tests in work.suite.asserts}
            hidden = self.hidden_pool.submit(self.run_all, work.hidden_binary, "ignored_too", statements=statements)
        try:
            if work.binary is not None:
                self.run_own_tests(work)
        finally:
            outcome = hidden.result() if hidden else None
        if outcome is not None and work.suite is not None:
            ends = outcome.hidden_ends(work.suite)
            statuses, names = tuple(end.status for end in ends.values()), list(ends)
            if work.suite.guard is not None:  # a program that could fool the task's tests gets nothing for them
                statuses = ("failed",) * len(names)
                work.verdict = replace(work.verdict, guard=work.verdict.guard or work.suite.guard)
            passed = statuses.count("ok")
            kind = outcome.error_kind(work.suite.source) if passed < len(names) else None
            why = {name: end.message or end.status for name, end in ends.items() if end.status != "ok"}
            work.verdict = replace(
                work.verdict, hidden_passed=passed, hidden_total=len(names), hidden_statuses=statuses, hidden_error_kind=kind,
                hidden_failures=first_failures(why), error_kind=work.verdict.error_kind or kind,
            )  # fmt: skip

    def run_own_tests(self, work: Work) -> None:
        program = work.job.program
        assert program is not None and work.binary is not None
        outcome = self.run_all(work.binary, max_deaths=MAX_DEATHS)
        guard = program.guard or ("exit_in_test" if outcome.has_exited else None)
        found = Worth(guard, [test.name for test in program.tests])
        if outcome.passed and guard is None:
            found = self._worth(work, program, outcome)
        work.verdict = replace(
            work.verdict,
            test_passed=outcome.passed,
            tests=outcome.statuses(),
            error_kind=work.verdict.error_kind or (None if outcome.passed else outcome.error_kind(program.source)),
            honest_tests=found.is_honest,
            guard=found.guard,
            n_asserts=n_asserts(test for test in program.tests if test.name in found.counted),
            diagnostics=(*outcome.diagnostics(), *found.notes, *work.verdict.diagnostics)[:MAX_DIAGNOSTICS],
        )

    def _worth(self, work: Work, program: Program, outcome: Outcome) -> Worth:
        """What passing tests are worth, as far as running them tells."""
        counted = [outcome.names.index(test.name) for test in program.tests if test.counted and test.name in outcome.names]
        counted = sorted(index for index in counted if outcome.ends.get(index, End("ignored")).status == "ok")
        if not counted:
            return Worth("no_counted_test")
        marked = {test.name: test.sites for test in program.tests if test.marked} if work.is_marked else {}
        passing = len(counted)
        left = {site for number, site in enumerate(program.assert_sites) if number not in outcome.reached and number < LAST_SITE}
        counted = [index for index in counted if (name := outcome.names[index]) not in marked
                   or (outcome.ends[index].is_reached and left.isdisjoint(marked[name]))]  # fmt: skip
        if not counted:
            return Worth("assert_not_reached")
        is_discounted = len(counted) < passing
        binary = work.binary if work.is_gated else self._stub_binary(work, program)
        if binary is None:
            note = Diagnostic(None, "note", "the panic stub does not compile: the tests were not tried against it", None)
            return Worth(None, [outcome.names[index] for index in counted], [note])
        stubbed = self.run_all(binary, "stub", counted)
        counted = [index for index in counted if stubbed.ends[index].status != "ok"]
        if not counted:
            return Worth("survives_panic_stub")
        if not work.is_gated:
            return Worth(UNTESTED if _unread(program) else None, [outcome.names[index] for index in counted])
        wrong, other = (self._tried(program, binary, mode, counted, n_runs) for mode, n_runs in (("wrong", N_WRONG), ("other", N_OTHER)))
        guard, found = worth(wrong.all_ends, other.all_ends, program, len(counted), work.source, is_discounted)
        if guard is None and not (wrong.was_done and other.was_done):
            guard = UNTESTED if _unread(program) else TRIED_IN_PART
        if guard is None and program.alone:
            alone = self._tried(program, binary, f"alone {len(program.alone)}", counted, WRONG_VALUES * len(program.alone))
            unseen = untested(alone.all_ends, len(counted), program.alone, work.source) if alone.was_done else _unread(program)
            guard = UNTESTED if unseen else None
        return Worth(guard, [outcome.names[counted[test]] for test in found])

    def _tried(self, program: Program, binary: Path, mode: str, counted: Sequence[int], n_runs: int) -> HarnessRun:
        """The runs of a mode, in one process; where a test could remember the run before it, each in one of its own.

        Of the run that asks the same again, after all else, the first way counts: it tells which functions remember.
        """
        if not program.has_statics:
            return self.workshop.run_tests(binary, mode, counted)
        ends, left_s, was_done = [], self.run_timeout_s, True
        for nth in range(n_runs):
            run = self.workshop.run_tests(binary, mode, counted, max(SHORTEST_S, left_s), nth=nth)
            left_s -= run.completed.cpu_s
            ends += [*run.all_ends, *[End("timeout")] * (len(counted) - len(run.all_ends))]
            was_done &= run.was_done
        if mode == "other" and (together := self.workshop.run_tests(binary, mode, counted)).was_done:
            again = slice(SAME_AGAIN * len(counted), (SAME_AGAIN + 1) * len(counted))
            ends[again] = together.all_ends[again]
        return replace(run, all_ends=ends, was_done=was_done)

    def _stub_binary(self, work: Work, program: Program) -> Path | None:
        """The second compilation that programs need in which a gate does not compile."""
        stubbed = panic_stubbed(program)
        if stubbed is None:
            return None
        folder = self.workshop.subfolder(work.folder, stubbed)
        return folder / BINARY_NAME if self.workshop.build_tests(folder).passed else None

    def run_all(
        self,
        binary: Path,
        mode: str = "run",
        only: Sequence[int] | None = None,
        max_deaths: int | None = None,
        statements: Mapping[str, int] = {},
    ) -> Outcome:
        """Every test's end. All run in one process as far as it gets; what it leaves goes on in another.

        All tests together have the time limit. The one that is running when it is used up has timed out, and those after
        it share the limit once more, each in a process of its own (some together when they are many). `max_deaths`: when
        so many tests have ended their process, those left count as failed. `statements`: tests that run statements, and
        how many asserts they hold.
        """
        run = self.workshop.run_tests(binary, mode, only)
        if not run.names and b"error while loading shared libraries" in run.completed.stderr:
            raise InfraError(f"the test binary cannot be loaded: {run.completed.stderr[-300:]!r}")
        outcome = Outcome(run.names, run.ignored)
        wanted = left = [index for index in (only if only is not None else range(len(run.names))) if index not in run.ignored]
        limit_s = self.run_timeout_s
        while True:
            outcome.take(run, left)
            left = [index for index in wanted if index not in outcome.ends]
            if not left or (max_deaths is not None and outcome.n_deaths >= max_deaths):
                return outcome
            limit_s = max(SHORTEST_S, limit_s - run.completed.cpu_s)
            if run.completed.timed_out or limit_s == SHORTEST_S:
                break
            run = self.workshop.run_tests(binary, mode, left, limit_s, outcome.skipped)
        self._run_statements(binary, mode, outcome, left, statements)
        left = [index for index in left if index not in outcome.ends]
        if not left:
            return outcome
        size = -(-len(left) // int(max(1, self.run_timeout_s / SHORTEST_S)))
        batches = [left[at : at + size] for at in range(0, len(left), size)]
        share_s = max(SHORTEST_S, self.run_timeout_s / len(batches))
        alone = lambda batch: self.workshop.run_tests(binary, mode, batch, share_s)
        for batch, run in zip(batches, self.solo_pool.map(alone, batches), strict=True):
            outcome.take(run, batch)
            unseen = [index for index in batch if index not in outcome.ends]
            outcome.ends |= dict.fromkeys(unseen, End("timeout", message="time limit of the program"))
        return outcome

    def _run_statements(self, binary: Path, mode: str, outcome: Outcome, left: Sequence[int], statements: Mapping[str, int]) -> None:
        """Go on with functions that run statements, without those that used up the limit: for each assert its share of it."""
        left_s = self.run_timeout_s
        for index in left:
            n_asserts = statements.get(outcome.names[index], 0)
            while n_asserts and index not in outcome.ends:
                share_s = max(SHORTEST_S, self.run_timeout_s / n_asserts)
                run = self.workshop.run_tests(binary, mode, [index], share_s, outcome.skipped)
                outcome.take(run, [index])
                left_s -= max(run.completed.cpu_s, share_s if run.completed.timed_out else 0.0)
                if left_s <= 0 and index not in outcome.ends:
                    outcome.ends[index] = End("timeout", message="time limit of the program")
