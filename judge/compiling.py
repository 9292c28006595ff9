"""A job to test binaries: what `cargo build` and `cargo clippy` say, in one compiler pass where the program allows it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from judge.cfg_test import ONLY_UNDER_TEST, TestView, needs_code, view_of_hidden_tests, view_of_tests
from judge.messages import Message, as_error, counts_as_warning, diagnostics_of, points_into
from judge.program import HiddenSuite, Program
from judge.verdict import NO_CODE, NOT_COMPILED, Job, Verdict
from judge.workshop import BINARY_NAME, Compiled, Workshop, why_not_compiled, write_source


@dataclass
class Work:
    """A job on its way through the stages."""

    job: Job
    suite: HiddenSuite | None
    folder: Path
    seconds: float = 0.0
    verdict: Verdict = NO_CODE
    binary: Path | None = None
    is_gated: bool = False
    is_marked: bool = False
    source: str = ""  # what the binary was compiled from, where it is gated
    hidden_binary: Path | None = None
    tests_timed_out: bool = False  # their compilation did


class Compiler:
    """Fills in what compilers say of a job, and its binaries."""

    def __init__(self, workshop: Workshop):
        self.workshop = workshop

    def compile(self, work: Work) -> None:
        """Lints and tests in one pass where the program allows it: its own, or the hidden ones where it has none."""
        program = work.job.program
        assert program is not None
        if work.suite is not None and self._compile_with_hidden(work, program, work.suite):
            return
        view = view_of_tests(program.source)
        if view is None or not self._compile_at_once(work, program, view):
            self._compile_in_steps(work, program)
        if work.suite is not None and work.verdict.build_passed:
            folder = self.workshop.subfolder(work.folder, work.suite.source)
            self._take_hidden(work, folder, self.workshop.build_tests(folder, is_hidden=True))

    def _compile_with_hidden(self, work: Work, program: Program, suite: HiddenSuite) -> bool:
        """One clippy pass over a program without tests and the hidden ones, as `_compile_at_once`; False: compile in steps."""
        view = view_of_hidden_tests(program.source, suite.source)
        if view is None:
            return False
        folder = self.workshop.subfolder(work.folder, suite.source)
        compiled = self.workshop.build_tests(folder, with_lints=True)
        if self._read_at_once(work, program, view, compiled) is None:
            return False
        if work.verdict.build_passed:
            self._take_hidden(work, folder, compiled)
        return True

    def _take_hidden(self, work: Work, folder: Path, compiled: Compiled) -> None:
        if compiled.passed:
            work.hidden_binary = folder / BINARY_NAME
        else:
            why = {NOT_COMPILED: why_not_compiled(compiled)}
            work.verdict = replace(work.verdict, hidden_error_kind="compile", hidden_failures=why)

    def _compile_in_steps(self, work: Work, program: Program) -> None:
        """Check and lint without `cfg(test)`, then the test binary."""
        has_tests = "test" in program.source
        built = self._check(work, program, with_code=not has_tests or needs_code(program.source))
        if not has_tests or not (built.passed or may_vanish_under_test(built, program.source)):
            return
        if work.tests_timed_out:  # they would again
            work.verdict = replace(work.verdict, error_kind=work.verdict.error_kind or "timeout")
            return
        compiled = self._compile_tests(work, program)
        if compiled.passed or not built.passed:
            return
        if not all(message.is_hard for message in compiled.messages if message.is_error):
            self._check(work, program, with_code=True)  # lints that only run where code is generated, here for the tests
        if work.verdict.build_passed:
            kind = "timeout" if compiled.timed_out else "compile"
            errors = [message for message in compiled.messages if message.is_error]
            work.verdict = replace(work.verdict, error_kind=kind, diagnostics=diagnostics_of(errors))

    def _check(self, work: Work, program: Program, with_code: bool) -> Compiled:
        """The verdicts of `cargo build` and `cargo clippy`, by one clippy pass if that can tell; returns the former.

        `with_code`: generate code as cargo build does (and clippy does not): some errors and lints come from there.
        """
        write_source(work.folder, program.source)
        checked = built = self.workshop.check(work.folder, with_code)
        is_clear = checked.passed or checked.timed_out or any(m.is_hard for m in checked.messages)
        if not is_clear or re.search(r"\bclippy\b(?!\s*::)", program.source):
            built = self.workshop.build(work.folder)
            checked = self.workshop.check(work.folder, with_code=False) if with_code else checked
        verdict = replace(work.verdict, build_passed=built.passed, clippy_passed=checked.passed)
        if built.passed:
            warnings = [message for message in checked.messages if counts_as_warning(message)]
            errors = [message for message in checked.messages if message.is_error]
            work.verdict = replace(verdict, clippy_warnings=len(warnings), diagnostics=diagnostics_of(errors + warnings))
        else:
            kind = "timeout" if built.timed_out else "compile"
            work.verdict = replace(verdict, error_kind=kind, diagnostics=diagnostics_of(built.messages))
        return built

    def _compile_tests(self, work: Work, program: Program, with_lints: bool = False) -> Compiled:
        """Build the test binary, instrumented when that compiles and as it is otherwise."""
        for gates in (True, False):
            source = self.workshop.instrumented(program, gates, with_enums=not with_lints)
            if source is None:
                break
            write_source(work.folder, source)
            compiled = self._without_ours(self.workshop.build_tests(work.folder, with_lints), source)
            if compiled.passed:
                work.binary, work.is_gated, work.is_marked, work.source = work.folder / BINARY_NAME, gates, True, source
                return compiled
            if compiled.timed_out and not with_lints:
                break
            if compiled.timed_out or not self._blames_instruments(compiled, source):
                return compiled
        write_source(work.folder, program.source)
        compiled = self.workshop.build_tests(work.folder, with_lints)
        work.binary = work.folder / BINARY_NAME if compiled.passed else None
        return compiled

    def _without_ours(self, compiled: Compiled, source: str) -> Compiled:
        """Drop warnings about what we put into the program."""
        lines, ours = source.split("\n"), self.workshop.instruments
        kept = [m for m in compiled.messages if m.is_error or not points_into(m, lines, ours)]
        return replace(compiled, messages=kept)

    def _blames_instruments(self, compiled: Compiled, source: str) -> bool:
        """Whether an error may be ours: it names our crate or points into one of our statements."""
        ours, lines = self.workshop.instruments, source.split("\n")
        errors = [message for message in compiled.messages if message.is_error]
        return any(
            message.is_crash
            or not message.spans
            or self.workshop.gate_crate in message.diagnostic.message
            or message.diagnostic.code == "E0015"  # a function that is not constant, in a constant: with a gate none is
            or points_into(message, lines, ours)
            for message in errors
        )

    def _compile_at_once(self, work: Work, program: Program, view: TestView) -> bool:
        """One clippy pass with `cfg(test)` that also emits the test binary: errors and lints outside the test modules
        are what `cargo build` and `cargo clippy` would say. False: it cannot tell, compile in steps."""
        compiled = self._compile_tests(work, program, with_lints=True)
        work.tests_timed_out = compiled.timed_out
        in_tests = self._read_at_once(work, program, view, compiled)
        if in_tests and work.verdict.build_passed:
            work.binary = None
            work.verdict = replace(work.verdict, error_kind="compile", diagnostics=diagnostics_of(in_tests))
        return in_tests is not None

    def _read_at_once(self, work: Work, program: Program, view: TestView, compiled: Compiled) -> list[Message] | None:
        """The verdicts of build and clippy, by a pass with `cfg(test)` -> errors and denied lints in test code; None: it cannot tell."""
        errors = [message for message in compiled.messages if message.is_error]
        if compiled.timed_out or any(message.is_crash or not message.spans for message in errors):
            return None
        if compiled.passed == bool(errors):
            return None
        denied = [message for message in compiled.messages if message.diagnostic.code in self.workshop.denied_lints]
        outside = [message for message in compiled.messages if not view.holds(message)]
        fatal = [m for m in outside if m.is_error or (m in denied and not m.is_clippy)]
        if fatal:
            work.binary = None
            work.verdict = replace(work.verdict, error_kind="compile", diagnostics=diagnostics_of(outside))
            if not any(message.is_hard for message in fatal):
                self._check(work, program, with_code=True)
            return []
        if errors or view.hides_unused_import(compiled.messages):
            self._check(work, program, with_code=bool(errors))
        else:
            refused = [as_error(message) for message in outside if message in denied]
            quiet = self.workshop.denied_lints | ONLY_UNDER_TEST
            warnings = [message for message in outside if message.diagnostic.code not in quiet]
            said = diagnostics_of(refused + warnings)
            work.verdict = replace(
                work.verdict, build_passed=True, clippy_passed=not refused, clippy_warnings=len(warnings), diagnostics=said
            )
        return errors + [as_error(message) for message in denied if not message.is_clippy]


def may_vanish_under_test(built: Compiled, source: str) -> bool:
    """Whether `cargo test` may compile what `cargo build` does not: denied lints, or names that exist under `cfg(test)`."""
    if built.timed_out:
        return False
    codes = [message.diagnostic.code for message in built.messages if message.is_error]
    modules = re.findall(r"#\[cfg\(test\)\]\s*(?:pub\s+)?mod\s+(\w+)", source)
    has_cfg_elsewhere = len(re.findall(r"\bcfg\b", source)) > len(modules)
    is_named = any(re.search(rf"\b{name}\s*::", source) for name in modules)
    return has_cfg_elsewhere or is_named or all(code is not None and not re.fullmatch(r"E\d+", code) for code in codes)
