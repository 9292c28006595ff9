"""Plain cargo on a project for each program: the judge's reference mode (`--judge cargo`), what its fast way is measured against.

Build, clippy and test are cargo's own words here: nothing is linked into a program, stdout is believed, and what tests are worth is
only read, never tried. Hidden tests run as `cargo test` runs them: each `#[test]` is one test, and all statements together are one.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from judge.compiling import Work
from judge.limits import build_limits, run_limits
from judge.messages import Message, counts_as_warning, diagnostics_of, read_message
from judge.sandbox import Completed, Sandbox
from judge.toolchain import Toolchain
from judge.verdict import MAX_FAILURE_CHARS, NOT_COMPILED, InfraError, first_failures
from judge.workshop import SOURCE_NAME

MANIFEST = '[package]\nname = "program"\nversion = "0.1.0"\nedition = "{edition}"\n'
TUNED_PROFILE = "\n[profile.dev]\ndebug = 0\nincremental = false\n"
# Every test binary has the CPU time that a program's tests may take; the shell counts whole seconds.
RUNNER = """[target.{target}]\nrunner = ["/bin/sh", "-c", 'ulimit -t {seconds}; exec "$0" "$@"']\n"""


@dataclass(frozen=True)
class CargoFlow:
    """How cargo is asked. As it stands: a new project for each program, and all of build, clippy and test."""

    is_kept: bool = False  # a worker keeps its project, whose source is replaced: cargo's incremental data stay
    is_tuned: bool = False  # check in place of build, nothing more after it failed, no debug information, not incremental


AS_IT_STANDS = CargoFlow()


@dataclass(frozen=True)
class CargoResult:
    """What one cargo command said."""

    passed: bool
    timed_out: bool
    messages: list[Message]
    tests: dict[str, str]  # "ok", "failed" or "ignored", as cargo test printed them
    printed: str

    @property
    def error_kind(self) -> str | None:
        """Why its tests did not pass."""
        if self.passed:
            return None
        if self.timed_out or re.search(r"signal: (9|24)\b", self.printed):
            return "timeout"
        if any(message.is_error for message in self.messages):
            return "compile"
        return "test_failed" if re.search(r"\nassertion |panicked at [^\n]*\nassertion", self.printed) else "panic"


class CargoShop:
    """Grades jobs with plain cargo, in the sandbox's build phase. `flow`: see CargoFlow."""

    gate_crate = None  # of hidden suites: none is linked
    box: Sandbox  # set before the first job

    def __init__(self, toolchain: Toolchain, scratch: Path, build_timeout_s: float, run_timeout_s: float,
                 edition: str, flow: CargoFlow):  # fmt: skip
        self.toolchain, self.flow = toolchain, flow
        self.jobs_dir = scratch / "jobs"
        self.jobs_dir.mkdir()
        self.build_limits, self.run_limits = build_limits(build_timeout_s), run_limits(run_timeout_s)
        self.manifest = MANIFEST.format(edition=edition) + (TUNED_PROFILE if flow.is_tuned else "")
        self.runner = RUNNER.format(target=toolchain.target, seconds=math.ceil(run_timeout_s))
        self.cpu_s = 0.0
        self._lock = threading.Lock()
        self._free: SimpleQueue[Path] = SimpleQueue()  # kept projects that nobody uses

    def close(self) -> None:
        pass

    def folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.jobs_dir))

    def _project(self) -> Path:
        """Kept or new."""
        if self.flow.is_kept and not self._free.empty():
            return self._free.get()
        path = self.folder()
        for name, text in (("Cargo.toml", self.manifest), (".cargo/config.toml", self.runner), (SOURCE_NAME, "")):
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text(text, encoding="utf-8")
        return path

    def grade(self, work: Work) -> None:
        """All of a job's verdict."""
        assert work.job.program is not None
        folder = self._project()
        try:
            self._grade(work, work.job.program.source, folder)
        finally:
            if self.flow.is_kept:
                self._free.put(folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def _grade(self, work: Work, source: str, folder: Path) -> None:
        built = self._cargo("check" if self.flow.is_tuned else "build", source, folder)
        kind = None if built.passed else "timeout" if built.timed_out else "compile"
        work.verdict = replace(work.verdict, build_passed=built.passed, error_kind=kind, diagnostics=diagnostics_of(built.messages))
        if self.flow.is_tuned and not built.passed:
            return
        linted, tested = self._cargo("clippy", source, folder), self._cargo("test", source, folder)
        warnings, passed = [message for message in linted.messages if counts_as_warning(message)], tested.passed and bool(tested.tests)
        work.verdict = replace(work.verdict, clippy_passed=linted.passed, test_passed=passed, tests=tested.tests)
        if built.passed:
            said = diagnostics_of(linted.messages if tested.error_kind != "compile" else tested.messages)
            work.verdict = replace(work.verdict, clippy_warnings=len(warnings), error_kind=tested.error_kind, diagnostics=said)
            if work.suite is not None:
                self._grade_hidden(work, folder)

    def _grade_hidden(self, work: Work, folder: Path) -> None:
        suite = work.suite
        tested = self._cargo("test", suite.source, folder)
        names = [name for name in suite.functions if tested.tests.get(name) != "ignored"]
        statuses = tuple("failed" if suite.guard else tested.tests.get(name, "failed") for name in names)
        kind = tested.error_kind if statuses.count("ok") < len(names) else None
        why = {name: status for name, status in zip(names, statuses, strict=True) if status != "ok"}
        if kind == "compile":
            why = {NOT_COMPILED: "; ".join(m.diagnostic.message for m in tested.messages if m.is_error)[:MAX_FAILURE_CHARS]}
        work.verdict = replace(
            work.verdict,
            hidden_passed=statuses.count("ok"),
            hidden_total=len(names),
            hidden_statuses=() if kind == "compile" else statuses,
            hidden_error_kind=kind,
            hidden_failures=first_failures(why),
            error_kind=work.verdict.error_kind or kind,
            guard=work.verdict.guard or suite.guard,
        )

    def _cargo(self, kind: str, source: str, folder: Path) -> CargoResult:
        (folder / SOURCE_NAME).write_bytes(source.encode("utf-8", "replace"))
        argv = [str(self.toolchain.cargo), kind, "--message-format=json", "--color=never", "--offline"]
        seconds = self.build_limits.cpu_s + (self.run_limits.cpu_s if kind == "test" else 0.0)
        done = self.box.build(argv, folder, build_limits(seconds))
        if done.spawn_error is not None:
            raise InfraError(f"cargo could not be started: {done.spawn_error}")
        with self._lock:
            self.cpu_s += done.cpu_s
        return read_result(done)


def read_result(done: Completed) -> CargoResult:
    """cargo's stdout is JSON lines of its own between what the tests print."""
    messages, tests, printed = [], {}, []
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        record = _cargo_s(line)
        if record is None:
            printed.append(line)
            named = re.match(r"test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", line)
            if named:
                tests[named[1]] = named[2].lower()
        elif record["reason"] == "compiler-message" and (message := read_message(record["message"])) is not None:
            messages.append(message)
    text = "\n".join([*printed, done.stderr.decode("utf-8", "replace")])
    return CargoResult(done.exit_code == 0 and not done.timed_out, done.timed_out, messages, tests, text)


def _cargo_s(line: str) -> dict | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "reason" in record else None
