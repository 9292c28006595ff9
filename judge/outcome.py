"""How the tests of one binary ended, over all processes that it took."""

from __future__ import annotations

import re
from collections.abc import Sequence

from judge.harness_report import End, HarnessRun, how_it_died
from judge.program import HiddenSuite
from judge.statements import Site
from judge.verdict import MAX_MESSAGE_CHARS, Diagnostic


class Outcome:
    """How the tests of one binary ended, over all processes that it took."""

    def __init__(self, names: list[str], ignored: set[int]):
        self.names, self.ignored = names, ignored
        self.ends: dict[int, End] = {}
        self.has_exited = False  # a process ended with exit code 0 before the harness did
        self.ended_well = True
        self.n_deaths = 0  # tests that ended their process
        self.sites: dict[Site, End] = {}  # asserts of statements
        self.held_first: set[Site] = set()
        self.reached: set[int] = set()
        self.skipped: set[Site] = set()  # those, and statements, that end a run: left out of the next

    def take(self, run: HarnessRun, left: Sequence[int]) -> None:
        """Add what one process reported that was to run the tests `left`. The one that was running when it died is at fault."""
        done = run.completed
        self.ends |= run.ends
        self.held_first |= run.held_first - self.sites.keys()
        for site, end in run.sites.items():
            if end.status != "ok" or site not in self.sites:
                self.sites[site] = end
        self.skipped |= run.fallen
        self.reached |= run.reached
        if run.was_done and done.exit_code == 0:
            return
        self.ended_well = False
        self.has_exited |= done.exit_code == 0
        at_fault = run.running if run.running is not None or run.ends else next(iter(left), None)
        if at_fault is None or at_fault in run.ends:
            return
        if run.limit == "threads" and (run.ends or run.fallen):  # what ran before it left them behind: it goes on in another process
            return
        if done.timed_out:
            self._blame(at_fault, run.site, End("timeout", message="time limit"))
        else:
            self.n_deaths += 1
            self._blame(at_fault, run.site, End("failed", message=how_it_died(run)))

    def _blame(self, test: int, site: Site | None, end: End) -> None:
        """The assert that was being evaluated is at fault, the test if there was none: it goes on without that assert."""
        if site is None or site in self.skipped:
            self.ends[test] = end
        else:
            self.sites[site] = end
            self.skipped.add(site)

    def hidden_ends(self, suite: HiddenSuite) -> dict[str, End]:
        """How every hidden test ended: functions, then asserts of statements."""
        by_name = dict(zip(self.names, range(len(self.names)), strict=True))
        unknown = End("failed", message="not run")
        functions = suite.functions_among(self.names)
        found = {name.removeprefix(f"{suite.module}::"): self.ends.get(by_name.get(name, -1), unknown) for name in functions}
        for runner, tests in suite.asserts:
            at = self.ends.get(by_name.get(runner, -1), unknown)
            for test in tests:
                never = at if at.status != "ok" else End("failed", message="never evaluated")
                bad = test.failure(self.sites, self.held_first, at) or (None if test.is_reached(self.sites.keys()) else never)
                found[test.name] = bad or End("ok")
        return found

    def statuses(self) -> dict[str, str]:
        return {
            name: "ignored" if index in self.ignored else self.ends.get(index, End("failed")).status
            for index, name in enumerate(self.names)
        }

    @property
    def passed(self) -> bool:
        """The harness's word: it listed a test, came to its end, and every test that is not ignored is ok."""
        return bool(self.names) and self.ended_well and all(status in ("ok", "ignored") for status in self.statuses().values())

    def error_kind(self, source: str) -> str | None:
        """The worst that happened: "timeout", then "test_failed" (an assertion), then "panic"."""
        bad = [end for end in (*self.ends.values(), *self.sites.values()) if end.status != "ok"]
        if any(end.status == "timeout" for end in bad):
            return "timeout"
        if any(end.is_assertion or _is_assert_at(source, end.line) for end in bad):
            return "test_failed"
        return "panic" if bad or not self.ended_well else None

    def diagnostics(self) -> list[Diagnostic]:
        return [
            Diagnostic(None, "test", f"{self.names[index]}: {end.message}"[:MAX_MESSAGE_CHARS], end.line)
            for index, end in sorted(self.ends.items())
            if end.status != "ok"
        ]


def _is_assert_at(source: str, line: int | None) -> bool:
    """Whether the panic's line holds an assertion (one with a message of its own does not say so in the message)."""
    lines = source.splitlines()
    return line is not None and line <= len(lines) and re.search(r"\b(debug_)?assert(_eq|_ne)?!", lines[line - 1]) is not None
