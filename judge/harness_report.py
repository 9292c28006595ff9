"""What one process of a test binary reports (harness.rs writes it, on a pipe that the program cannot write to)."""

from __future__ import annotations

import mmap
import os
import re
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import IO

from judge.sandbox import MIB, RUN_LIMITS, Completed
from judge.statements import Site
from judge.verdict import MAX_MESSAGE_CHARS

MAX_REPORT_BYTES = 4 * MIB
LAST_SITE = 127  # as in gate.rs
PANICKED = "!"  # in place of an answer


@dataclass(frozen=True)
class Said:
    """What a function answered to a call of the tests."""

    function: str
    is_altered: bool  # it got another input than the test's
    given: int  # a bit for each of its inputs: whether the answer has its contents
    answer: str | None  # as `Debug` shows it; None where it cannot


@dataclass(frozen=True)
class End:
    """How the harness says that one test ended."""

    status: str  # "ok" | "failed" | "timeout"
    is_assertion: bool = False
    message: str = ""
    line: int | None = None
    is_reached: bool = False  # it came as far as an assertion that counts, or something wrong was said or asked
    is_missing: bool = False  # one of the wrong values was a None or an Err
    column: int | None = None  # of the line, in characters
    said: tuple[Said, ...] = ()


@dataclass
class HarnessRun:
    """What one process of a test binary reported."""

    names: list[str]
    ignored: set[int]
    ends: dict[int, End]
    all_ends: list[End]
    running: int | None  # the test that had started and not ended when the process did
    was_done: bool
    completed: Completed
    sites: dict[Site, End] = field(default_factory=dict)  # asserts of statements, as far as they were evaluated
    held_first: set[Site] = field(default_factory=set)  # that held when they were evaluated for the first time
    fallen: set[Site] = field(default_factory=set)  # that a panic left
    site: Site | None = None  # that was being evaluated when the process ended
    limit: str | None = None  # that ended it: "memory", "threads"
    reached: set[int] = field(default_factory=set)  # numbers of assertions that count, up to LAST_SITE, which stands for the others


class PipeReader:
    """Drains a pipe while the writer lives, so that a long report never blocks it; keeps MAX_REPORT_BYTES."""

    def __init__(self, pipe):
        self._pipe = pipe
        self._kept: list[bytes] = []
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        size = 0
        while chunk := os.read(self._pipe.fileno(), 65536):
            size += len(chunk)
            if size <= MAX_REPORT_BYTES:
                self._kept.append(chunk)

    def text(self) -> str:
        """Everything written, once every writer has closed its end."""
        self._thread.join()
        return b"".join(self._kept).decode("utf-8", "replace")


def open_page() -> IO[bytes]:
    """Memory in which the harness says which assert is being evaluated: what it says last is there when it has died."""
    page = os.fdopen(os.memfd_create("page"), "r+b", buffering=0)
    page.truncate(mmap.PAGESIZE)
    return page


def read_report(report: str, nonce: str, done: Completed, site: Site | None = None) -> HarnessRun:
    run = HarnessRun([], set(), {}, [], None, False, done, site=site)
    said: list[Said] = []
    for line in report.splitlines():
        words = line.split(" ")
        if words[0] != nonce:
            continue
        if words[1] == "test":
            index = int(words[2])
            run.names.append(" ".join(words[5:]).replace("r#", ""))
            if words[3] == "ignored":
                run.ignored.add(index)
        elif words[1] == "start":
            run.running = int(words[2])
        elif words[1] == "end":
            run.all_ends.append(replace(_read_end(words[3:]), said=tuple(said)))
            said.clear()
            run.ends[int(words[2])] = run.all_ends[-1]
            run.running = None
        elif words[1] == "site":
            _read_site((int(words[2]), int(words[3])), *words[4:7], run)
        elif words[1] == "limit":
            run.limit = words[2]
        elif words[1] == "said":
            answer = PANICKED if words[5:] == ["!"] else bytes.fromhex("".join(words[5:])).decode("utf-8", "replace") or None
            said.append(Said(words[2], words[3] == "1", int(words[4]), answer))
        elif words[1] == "reached":
            run.reached.add(int(words[2]))
        elif words[1] == "done":
            run.was_done = True
    return run


def how_it_died(run: HarnessRun) -> str:
    """How the process ended within a test, with the limit that it hit where one is known."""
    done = run.completed
    if run.limit == "threads":
        return f"limit of threads and processes: {RUN_LIMITS.processes}"
    if run.limit == "memory":
        return f"memory limit: {RUN_LIMITS.memory_bytes // MIB} MiB"
    if done.signal == signal.SIGXFSZ:
        return f"limit of a file's size: {RUN_LIMITS.file_bytes // MIB} MiB"
    if done.signal == signal.SIGABRT:
        return "the process was aborted within the test: a stack overflow, a panic during a panic, or abort()"
    how = f"signal {done.signal}" if done.signal else f"exit code {done.exit_code}"
    return f"the process ended within the test: {how}"


def _with_limit_named(message: str) -> str:
    """A panic's message, and which limit of the sandbox is behind it when the system refused a thread or a file."""
    found = re.search(r"\bOs \{ code: (\d+), kind: ", message)
    if found is None:
        return message
    named = {11: f"limit of threads and processes: {RUN_LIMITS.processes}", 24: f"limit of open files: {RUN_LIMITS.open_files}",
             27: f"limit of a file's size: {RUN_LIMITS.file_bytes // MIB} MiB"}  # fmt: skip
    return f"{named[int(found[1])]}; {message}" if int(found[1]) in named else message


def _read_site(site: Site, what: str, line: str, message: str, run: HarnessRun) -> None:
    """What became of an assert; where it held once and failed once it has failed."""
    text = _with_limit_named(bytes.fromhex(message).decode("utf-8", "replace"))[:MAX_MESSAGE_CHARS]
    if what == "fell":
        run.fallen.add(site)
    if what == "held" and site not in run.sites:
        run.held_first.add(site)
    if what != "held":
        run.sites[site] = End("failed", what == "failed" or text.startswith("assertion "), text, int(line) or None)
    run.sites.setdefault(site, End("ok"))


def _read_end(words: Sequence[str]) -> End:
    status, reached, line, column = words[0], *map(int, words[1:4])
    text = _with_limit_named(bytes.fromhex(words[4]).decode("utf-8", "replace"))[:MAX_MESSAGE_CHARS]
    if status == "ok":
        return End("ok", is_reached=reached > 0, is_missing=reached > 1)
    is_assertion = status == "asserted" or text.startswith("assertion ")
    return End("failed", is_assertion, text, line or None, reached > 0, reached > 1, column or None)
