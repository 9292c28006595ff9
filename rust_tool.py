"""Programs -> verdicts: what cargo build, cargo clippy and cargo test say, in a batch and sandboxed.

    with Judge() as judge:
        verdicts = judge.grade([Job(extract_program(completion)) for completion in completions])
    RustTool("test").run("path/to/a/cargo/project")

`RustTool` runs plain cargo on a project directory. `Judge` gives the same three verdicts for many single-file programs
without cargo: usually one clippy-driver pass with `cfg(test)`, which lints and emits the test binary, and one run. Programs in which
`cfg(test)` may matter elsewhere than in their test modules take a check without it and a `rustc --test` pass. The binary
is linked with `judge/harness.rs` in place of libtest's entry point: it says on a pipe of its own which tests exist and how
each ended.

What a passing test is worth (`honest_tests`): what reading says against the program (`Program.guard`), then runs. A test counts
whose assertions are reached, which fails when a panic is the first statement of the functions under test, and which notices wrong
answers (`judge/worth.py`): four values in place of what the functions return, and values near what they do return. One such test is
enough, one that does not count takes nothing from it. Then the functions are asked for other inputs than the tests': they must not say
the same, nor one thing to everything that the tests do not ask, nor their own input, and the tests must ask for more than nothing (0,
None, an error). All of it is in one binary: functions and assertions start with a call into `judge/gate.rs`, so the check costs runs
and no compilation. Where a limit or a crash ends these runs the guard is TRIED_IN_PART, and takes nothing away.

Hidden tests run as they are written (`hidden_passed` of `hidden_total`, `hidden_failures` says which failed and why): every
`#[test]` is one test, and every assert of a `main` or of statements (`judge/statements.py`), whose macros record and go on. An
assert that panics is left out and the statements run again in the same process; one that ends the process or loops is left out
of the next process. All of a place's evaluations have to hold, in every run.

What stays forgeable: `unsafe` code that finds the harness's nonce in memory (`judge/program.py` refuses what that takes); a wrong
function that is right, or as wrong as the test's own oracle, wherever the tests ask, if only it answers differently to different
inputs: no run of the program knows the task (`results/attacks`). No wrong answers: of `impl Trait`, references to what the program
defines, types with parameters, and in programs that use one of their functions in a constant; nor where the process dies of one or
runs out of time. `tests/cases/attacks.jsonl` marks what is known to get through.
`test_passed` alone is the harness's raw word; an honest pass is `test_passed and honest_tests`.

Not as cargo has it: the compiler may read no file below /proc, /dev and /sys (`include_str!`), whatever the sandbox shows;
and when MAX_DEATHS of a program's own tests have ended their process, the others are not tried and count as failed.
"""

from __future__ import annotations

import atexit
import fcntl
import itertools
import json
import mmap
import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

from judge import sandbox as sandboxes
from judge.program import MARK, STUB, HiddenSuite, Program, TestFn, n_asserts, panic_stubbed, read_program, with_hidden_tests
from judge.sandbox import Completed, Limits
from judge.statements import Site
from judge.syntax import Node, parse_any_length, walk
from judge.worth import PANICKED, Said, TestEnd, worth

Statuses = Mapping[str, str]  # of tests by name: ok, failed, ignored, timeout

JUDGE_VERSION = 7  # raise it when a rule changes what a program gets
EDITIONS = ("2021", "2024")
OLDEST_RUSTC = (1, 85)  # the first whose standard library and harness were tried
HARNESS_SOURCE = Path(__file__).parent / "judge" / "harness.rs"
GATE_SOURCE = Path(__file__).parent / "judge" / "gate.rs"

GIB = 2**30
MIB = 2**20
MAX_DIAGNOSTICS = 20
MAX_MESSAGE_CHARS = 500
MAX_FAILURE_CHARS = 200
NOT_COMPILED = "do not compile"  # in place of a test's name: no hidden test was run
TAIL_CHARS = 4000
SHORTEST_S = 0.1  # CPU seconds that a process of tests gets at least
SHORTEST_WALL_S = 2.0
WALL_PER_CPU = 4.0  # wall-clock limits are this multiple of CPU limits, so that a busy machine changes no verdict
SUITE_TRIES = 3  # compilations of a program with suites of others, each without those that the last did not compile
MAX_DEATHS = 32  # of a program's own tests: it has failed after one, more are tried for the record
GROUP_DEATH_S = 5.0  # that killed processes get to disappear
JOBS_BETWEEN_CANARIES = 512
MIN_SCRATCH_BYTES = 512 * MIB

# ---------------------------------------------------------------------------------------------------------------------
# What comes back
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Diagnostic:
    """One message of rustc or clippy, or how a test failed (level "test")."""

    code: str | None  # "E0308", "clippy::needless_return"
    level: str  # "error", "warning", "test", "note"
    message: str  # at most MAX_MESSAGE_CHARS
    line: int | None  # in Program.source, from 1


@dataclass(frozen=True)
class ToolResult:
    """What one cargo command said about a project directory."""

    passed: bool  # exit code 0 within the timeout
    timed_out: bool
    exit_code: int | None  # None when it was killed
    diagnostics: tuple[Diagnostic, ...]
    tests: dict[str, str]  # "ok" | "failed" | "ignored", as cargo test printed them
    stdout_tail: str
    stderr_tail: str
    duration_s: float


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
    tests: Mapping[str, str] = None  # type: ignore[assignment]  # name -> "ok" | "failed" | "ignored" | "timeout"
    hidden_passed: int | None = None
    hidden_total: int | None = None
    hidden_statuses: tuple[str, ...] = ()  # of the hidden tests in their order, as in `tests`; empty where they did not run
    hidden_error_kind: str | None = None  # why not all of them passed: "compile", "test_failed", "panic", "timeout"
    hidden_failures: Mapping[str, str] = None  # type: ignore[assignment]  # name of a hidden test -> why it failed
    error_kind: str | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    honest_tests: bool = False
    guard: str | None = None
    n_asserts: int = 0
    duration_s: float = 0.0
    cross: Opinion | None = None  # of the tests of its group; None where nobody asked

    def __post_init__(self) -> None:
        if self.tests is None:
            object.__setattr__(self, "tests", {})
        if self.hidden_failures is None:
            object.__setattr__(self, "hidden_failures", {})


class ToolchainError(RuntimeError):
    """The Rust toolchain cannot do the work; the message is one sentence for the user."""


class InfraError(RuntimeError):
    """The machine, not the program, failed: no process could be started, the disk is full, a canary is wrong."""


# ---------------------------------------------------------------------------------------------------------------------
# The toolchain
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Toolchain:
    """Absolute paths of the real binaries (not rustup's shims), and what they are."""

    cargo: Path
    rustc: Path
    clippy_driver: Path
    sysroot: Path
    linker: Path
    target: str  # "x86_64-unknown-linux-gnu"
    rustc_version: str
    cargo_version: str
    clippy_version: str

    @property
    def library_dir(self) -> Path:
        return self.sysroot / "lib" / "rustlib" / self.target / "lib"


def find_toolchain(cargo_path: str = "cargo") -> Toolchain:
    """Find the binaries behind `cargo_path` (a name on PATH, or a path).

    Raises:
        ToolchainError: no cargo, no clippy, no linker, or a compiler older than OLDEST_RUSTC.
    """
    cargo = shutil.which(cargo_path)
    if cargo is None:
        raise ToolchainError(f"{cargo_path} not found: install Rust from https://rustup.rs or pass --cargo_path")
    rustc = _sibling_or_path(cargo, "rustc")
    if rustc is None:
        raise ToolchainError(f"rustc not found next to {cargo} or on PATH: install Rust from https://rustup.rs")
    about = _output_of([rustc, "-vV"])
    facts = dict(line.split(": ", 1) for line in about.splitlines() if ": " in line)
    sysroot = Path(_output_of([rustc, "--print", "sysroot"]))
    version = re.match(r"(\d+)\.(\d+)", facts.get("release", "0.0"))
    if version is None or (int(version[1]), int(version[2])) < OLDEST_RUSTC:
        wanted = ".".join(map(str, OLDEST_RUSTC))
        raise ToolchainError(f"rustc {facts.get('release')} is too old, {wanted} or newer is needed: run rustup update stable")
    clippy = _in_sysroot(sysroot, "clippy-driver")
    if clippy is None:
        raise ToolchainError(f"clippy not found in {sysroot}: run rustup component add clippy")
    linker = shutil.which("cc")
    if linker is None:
        raise ToolchainError("no C linker (cc) on PATH: install gcc or clang, e.g. apt-get install build-essential")
    return Toolchain(
        cargo=_in_sysroot(sysroot, "cargo") or Path(cargo),
        rustc=_in_sysroot(sysroot, "rustc") or Path(rustc),
        clippy_driver=clippy,
        sysroot=sysroot,
        linker=Path(linker),
        target=facts["host"],
        rustc_version=about.splitlines()[0],
        cargo_version=_output_of([cargo, "--version"]),
        clippy_version=_output_of([str(clippy), "--version"]),
    )


def _sibling_or_path(cargo: str, name: str) -> str | None:
    sibling = Path(cargo).with_name(name)
    return str(sibling) if os.access(sibling, os.X_OK) else shutil.which(name)


def _in_sysroot(sysroot: Path, name: str) -> Path | None:
    path = sysroot / "bin" / name
    return path if os.access(path, os.X_OK) else None


def _output_of(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"{argv[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        raise ToolchainError(f"{' '.join(argv)} failed: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


# ---------------------------------------------------------------------------------------------------------------------
# Messages of the compiler
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Message:
    """A message of the compiler with what decides verdicts."""

    diagnostic: Diagnostic
    spans: tuple[tuple[int, int, int], ...]  # primary: line, first column, last column

    @property
    def is_error(self) -> bool:
        return self.diagnostic.level.startswith("error")

    @property
    def is_clippy(self) -> bool:
        return (self.diagnostic.code or "").startswith("clippy::")

    @property
    def is_hard(self) -> bool:
        """An error of name resolution or types: the same for clippy and rustc, with or without generating code."""
        return self.is_error and re.fullmatch(r"E(?!0080)\d+", self.diagnostic.code or "") is not None

    @property
    def is_crash(self) -> bool:
        return "internal compiler error" in self.diagnostic.level


def _read_message(record: Mapping[str, object]) -> _Message | None:
    """One JSON record of `--error-format=json`; None for what is no message of its own (summaries, artifacts)."""
    message = str(record.get("message", ""))
    level = str(record.get("level", ""))
    if level not in ("warning", "error", "error: internal compiler error"):
        return None
    if not record.get("spans") and re.match(r"aborting due to|\d+ warnings? emitted|could not compile", message):
        return None
    code = record.get("code")
    primary = [_span_in_crate(span) for span in record.get("spans", ()) if span["is_primary"]]  # type: ignore[attr-defined]
    spans = [span for span in primary if span is not None]
    return _Message(
        Diagnostic(
            code=code["code"] if isinstance(code, dict) else None,
            level=level,
            message=message[:MAX_MESSAGE_CHARS],
            line=spans[0]["line_start"] if spans else None,
        ),
        tuple((span["line_start"], span["column_start"], span["column_end"]) for span in spans),
    )


def _span_in_crate(span: Mapping | None) -> Mapping | None:
    """The span, or where the crate called the macro of the standard library that it points into."""
    while span is not None and os.path.isabs(span["file_name"]):
        span = (span.get("expansion") or {}).get("span")
    return span


def _messages(stderr: bytes) -> list[_Message]:
    found = []
    for line in stderr.decode("utf-8", "replace").splitlines():
        if line.startswith("{"):
            try:
                message = _read_message(json.loads(line))
            except ValueError:  # the last line of output that was cut at its limit
                continue
            if message is not None:
                found.append(message)
    return found


def _diagnostics(messages: Sequence[_Message]) -> tuple[Diagnostic, ...]:
    """Errors first, then warnings, capped."""
    ordered = sorted(messages, key=lambda message: not message.is_error)
    return tuple(message.diagnostic for message in ordered[:MAX_DIAGNOSTICS])


def _counts_as_warning(message: _Message) -> bool:
    """Everything clippy warns of, but not that a top-level item is unused: an empty `main` calls nothing."""
    diagnostic = message.diagnostic
    if diagnostic.level != "warning":
        return False
    is_inner = re.match(r"(multiple )?(field|variant)", diagnostic.message) is not None
    return diagnostic.code != "dead_code" or is_inner


# ---------------------------------------------------------------------------------------------------------------------
# Plain cargo on a project directory
# ---------------------------------------------------------------------------------------------------------------------


class RustTool:
    """`cargo build`, `cargo clippy` or `cargo test` on a project directory, killed as a group at the timeout."""

    def __init__(self, kind: str, cargo_path: str = "cargo", timeout_s: float = 60.0, sandbox: sandboxes.Sandbox | None = None):
        """`kind` is "build", "clippy" or "test"; with a `sandbox` cargo runs in its build phase.

        Raises:
            ValueError: another kind.
            ToolchainError: see find_toolchain.
        """
        if kind not in ("build", "clippy", "test"):
            raise ValueError(f'kind is {kind!r}, expected "build", "clippy" or "test"')
        self.kind = kind
        self.timeout_s = timeout_s
        self.toolchain = find_toolchain(cargo_path)
        self.sandbox = sandbox

    def run(self, project_dir: str | Path) -> ToolResult:
        """Run cargo in `project_dir` (it holds a Cargo.toml).

        Raises:
            FileNotFoundError: no Cargo.toml there.
            InfraError: cargo could not be started.
        """
        project = Path(project_dir).resolve()
        if not (project / "Cargo.toml").is_file():
            raise FileNotFoundError(f"no Cargo.toml in {project}: expected a cargo project")
        argv = [str(self.toolchain.cargo), self.kind, "--message-format=json", "--color=never"]
        if self.sandbox is None:
            done = _run_group(argv, project, _cargo_environment(self.toolchain), self.timeout_s)
        else:
            limits = replace(_build_limits(self.timeout_s), wall_s=self.timeout_s)
            done = self.sandbox.build([*argv, "--offline"], project, limits)
        if done.spawn_error is not None:
            raise InfraError(f"cargo could not be started: {done.spawn_error}")
        return _tool_result(done)


def _cargo_environment(toolchain: Toolchain) -> dict[str, str]:
    """This process's environment, with the toolchain's own binaries first so that rustup's shims cost nothing."""
    return os.environ | {"PATH": f"{toolchain.cargo.parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _run_group(argv: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout_s: float) -> Completed:
    """Run a command in a process group of its own; at the timeout the whole group dies, looping test binaries too."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            return _not_started(str(error))
        timed_out = False
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            _kill_group(process)
        out.seek(0), err.seek(0)
        return Completed(
            exit_code=None if process.returncode < 0 else process.returncode,
            signal=-process.returncode if process.returncode < 0 else None,
            timed_out=timed_out,
            stdout=out.read(64 * MIB),
            stderr=err.read(64 * MIB),
            truncated=False,
            duration_s=time.monotonic() - started,
            cpu_s=0.0,
            spawn_error=None,
        )


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group, also after a normal end (a test may leave children), and wait until it is gone."""
    give_up = time.monotonic() + GROUP_DEATH_S
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        while time.monotonic() < give_up:  # grandchildren are reaped by init, a moment later
            os.killpg(process.pid, 0)
            time.sleep(0.005)
    except (ProcessLookupError, PermissionError):
        process.wait()


def _not_started(why: str) -> Completed:
    return Completed(None, None, False, b"", b"", False, 0.0, 0.0, why)


def _tool_result(done: Completed) -> ToolResult:
    messages, tests, printed = [], {}, []
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        record = _json_object(line)
        if record is None:
            printed.append(line)
            named = re.match(r"test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", line)
            if named:
                tests[named[1]] = named[2].lower()
        elif record.get("reason") == "compiler-message":
            message = _read_message(record["message"])
            if message is not None:
                messages.append(message)
    return ToolResult(
        passed=done.exit_code == 0 and not done.timed_out,
        timed_out=done.timed_out,
        exit_code=done.exit_code,
        diagnostics=_diagnostics(messages),
        tests=tests,
        stdout_tail="\n".join(printed)[-TAIL_CHARS:],
        stderr_tail=done.stderr.decode("utf-8", "replace")[-TAIL_CHARS:],
        duration_s=done.duration_s,
    )


def _json_object(line: str) -> dict | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "reason" in record else None


# ---------------------------------------------------------------------------------------------------------------------
# The workshop: compile and run one source, sandboxed
# ---------------------------------------------------------------------------------------------------------------------

# What cargo passes for a debug build; debug information and incremental files change no verdict and cost time.
DEV_PROFILE = (
    "--crate-name=program",
    "--error-format=json",
    "--check-cfg=cfg(docsrs,test)",
    "--check-cfg=cfg(feature, values())",
    "-Cdebuginfo=0",
    "-Cembed-bitcode=no",
)
# What `env!` finds under cargo.
CARGO_ENVIRONMENT = {
    "CARGO_PKG_NAME": "program",
    "CARGO_PKG_VERSION": "0.1.0",
    "CARGO_PKG_VERSION_MAJOR": "0",
    "CARGO_PKG_VERSION_MINOR": "1",
    "CARGO_PKG_VERSION_PATCH": "0",
    "CARGO_PKG_VERSION_PRE": "",
    "CARGO_PKG_AUTHORS": "",
    "CARGO_PKG_DESCRIPTION": "",
    "CARGO_PKG_HOMEPAGE": "",
    "CARGO_PKG_REPOSITORY": "",
    "CARGO_PKG_LICENSE": "",
    "CARGO_CRATE_NAME": "program",
    "CARGO_BIN_NAME": "program",
    "CARGO_MANIFEST_DIR": "/program",
    "CLIPPY_CONF_DIR": ".",  # where clippy looks for a configuration first
}
SOURCE_NAME = "src/main.rs"


def _build_limits(timeout_s: float) -> Limits:
    return Limits(
        cpu_s=timeout_s,
        wall_s=timeout_s * WALL_PER_CPU,
        memory_bytes=4 * GIB,
        file_bytes=256 * MIB,
        open_files=256,
        processes=128,
        output_bytes=48 * MIB,  # 20,000 warnings
        tmp_bytes=256 * MIB,
    )


def _run_limits(timeout_s: float) -> Limits:
    return Limits(
        cpu_s=timeout_s,
        wall_s=max(SHORTEST_WALL_S, timeout_s * WALL_PER_CPU),
        memory_bytes=2 * GIB,
        file_bytes=16 * MIB,
        open_files=64,
        processes=128,
        output_bytes=64 * 1024,
        tmp_bytes=64 * MIB,
    )


@dataclass(frozen=True)
class _Compiled:
    """One compiler pass."""

    passed: bool
    timed_out: bool
    messages: list[_Message]
    cpu_s: float


@dataclass
class _HarnessRun:
    """What one process of a test binary reported."""

    names: list[str]
    ignored: set[int]
    should_panic: set[int]
    ends: dict[int, TestEnd]
    all_ends: list[TestEnd]
    running: int | None  # the test that had started and not ended when the process did
    was_done: bool
    completed: Completed
    sites: dict[Site, TestEnd] = field(default_factory=dict)  # asserts of statements, as far as they were evaluated
    held_first: set[Site] = field(default_factory=set)  # that held when they were evaluated for the first time
    fallen: set[Site] = field(default_factory=set)  # that a panic left
    site: Site | None = None  # that was being evaluated when the process ended
    limit: str | None = None  # that ended it: "memory", "threads"
    reached: set[int] = field(default_factory=set)  # numbers of assertions that count, up to LAST_SITE, which stands for the others


class _Workshop:
    """Compiles and runs single sources, each in a folder of its own that is gone afterwards."""

    def __init__(
        self,
        toolchain: Toolchain,
        box: sandboxes.Sandbox,
        scratch: Path,
        build_timeout_s: float,
        run_timeout_s: float,
        edition: str = EDITIONS[0],
    ):
        self.toolchain = toolchain
        self.edition = edition
        self.box = box
        self.jobs_dir = scratch / "jobs"
        self.jobs_dir.mkdir()
        self.build_limits = _build_limits(build_timeout_s)
        self.run_limits = _run_limits(run_timeout_s)
        self.sysroot = scratch / "sysroot"
        self.gate_crate = "judge_" + secrets.token_hex(8)
        self._make_sysroot()
        self.denied_lints = _denied_lints(toolchain)
        self.link_flags = _direct_link_flags(toolchain)
        self.libraries = [self.harness, *self.toolchain.library_dir.glob("libstd-*.so")]
        self.cpu_s = 0.0
        self._lock = threading.Lock()
        self._sink = open(os.devnull, "wb")

    def close(self) -> None:
        self._sink.close()

    @property
    def harness(self) -> Path:
        return self.sysroot / "lib" / "rustlib" / self.toolchain.target / "lib" / "libtest.so"

    @property
    def instruments(self) -> re.Pattern[str]:
        """Matches what `instrumented` puts into a program."""
        crate = rf"::{self.gate_crate}::"
        gates = rf"\{{ use {crate}.*?return value; \}} \}}|if {crate}gate\(\) \{{ return; \}}"
        gates += rf"|\{{ #\[allow\(unused_imports\)\] use {crate}.*?\); \}} \}}|{crate}\w+\(\d*\);"
        return re.compile(rf" ({gates}|impl {crate}(Wrong|Other) for .*?/\* judge \*/)")

    @property
    def gate(self) -> Path:
        return self.sysroot / "libtest" / "libjudge_gate.rlib"

    def _make_sysroot(self) -> None:
        """The toolchain's libraries by link, with our harness where libtest was (libtest only as its dependency)."""
        library_dir = self.harness.parent
        library_dir.mkdir(parents=True)
        (self.sysroot / "libtest").mkdir()
        for path in self.toolchain.library_dir.iterdir():
            if path.name.startswith("libtest-"):
                (self.sysroot / "libtest" / path.name).symlink_to(path)
            elif path.suffix in (".rlib", ".rmeta", ".so"):
                (library_dir / path.name).symlink_to(path)
        tools = self.toolchain.library_dir.with_name("bin")
        if tools.is_dir():
            library_dir.with_name("bin").symlink_to(tools)
        self._build_harness()

    def _build_harness(self) -> None:
        """The gate, and around it the harness, unoptimised as programs are: they share its instances of the standard
        library's generics. `RUSTC_BOOTSTRAP` is for this compilation of our own code only: programs
        are compiled as stable Rust."""
        common = ["--edition=2021", "-Cprefer-dynamic", "-Copt-level=0", "-Cmetadata=judge"]
        self._build_own([*common, "--crate-type=rlib", "--crate-name=judge_gate", str(GATE_SOURCE), f"-o{self.gate}"])
        externs = [f"--extern=real={path}" for path in self.toolchain.library_dir.glob("libtest-*") if path.suffix != ".so"]
        externs += [f"--extern=judge_gate={self.gate}"]
        self._build_own([*common, "--crate-type=dylib", "--crate-name=test", *externs, str(HARNESS_SOURCE), f"-o{self.harness}"])

    def _build_own(self, arguments: Sequence[str]) -> None:
        environment = os.environ | {"RUSTC_BOOTSTRAP": "1"}
        argv = [str(self.toolchain.rustc), *arguments]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            version = self.toolchain.rustc_version
            raise ToolchainError(f"the test harness does not compile with {version}: {done.stderr.strip()[-1500:]}")

    def folder(self) -> Path:
        path = Path(tempfile.mkdtemp(dir=self.jobs_dir))
        (path / "src").mkdir()
        return path

    def _compile(self, folder: Path, compiler: Path, flags: Sequence[str]) -> _Compiled:
        may_include = INCLUDING.search((folder / SOURCE_NAME).read_text("utf-8")) is not None
        argv = [str(compiler), SOURCE_NAME, f"--edition={self.edition}", *DEV_PROFILE, *flags]
        argv += [f"--emit=dep-info={READ_FILES}"] if may_include else []
        done = self.box.build(argv, folder, self.build_limits, read_only=(self.sysroot,), env=CARGO_ENVIRONMENT)
        self._account(done)
        messages = _messages(done.stderr)
        # A program can make the compiler say anything, but not without pointing into the program.
        is_disk_full = any("No space left on device" in m.diagnostic.message and not m.spans for m in messages if m.is_error)
        if is_disk_full or (done.exit_code not in (0, None) and not messages and not done.timed_out):
            raise InfraError(f"the compiler failed without a word: {done.stderr[-300:]!r}")
        if may_include and done.exit_code == 0:
            refused = _read_outside(folder)
            messages += [_unreadable(path) for path in refused]
            return _Compiled(not refused, False, messages, done.cpu_s)
        return _Compiled(done.exit_code == 0, done.timed_out, messages, done.cpu_s)

    def _account(self, done: Completed) -> None:
        if done.spawn_error is not None:
            raise InfraError(done.spawn_error)
        with self._lock:
            self.cpu_s += done.cpu_s

    def check(self, folder: Path, with_code: bool) -> _Compiled:
        """Check and lint without `cfg(test)`; `with_code` also generates what `main` reaches."""
        emit = "--emit=metadata,obj" if with_code else "--emit=metadata"
        return self._compile(folder, self.toolchain.clippy_driver, [emit, "--out-dir=out"])

    def build(self, folder: Path) -> _Compiled:
        """What `cargo build` does, for programs that clippy's exit code says too little about."""
        return self._compile(folder, self.toolchain.rustc, ["--emit=link", "--out-dir=out"])

    def build_tests(self, folder: Path, with_lints: bool = False, is_hidden: bool = False) -> _Compiled:
        """The test binary (BINARY_NAME), linked with the judge's harness.

        `with_lints`: by clippy, every lint at most a warning, so that lints about test code stop nothing. `is_hidden`: without
        any lint, because what a program forbids itself is not forbidden to the task's tests.
        """
        flags = ["--test", f"--emit=link={BINARY_NAME}", "-Cprefer-dynamic", *self.link_flags]
        flags += [f"--sysroot={self.sysroot}", f"-Ldependency={self.sysroot / 'libtest'}"]
        flags += [f"--extern={self.gate_crate}={self.gate}"]
        if with_lints:
            return self._compile(folder, self.toolchain.clippy_driver, [*flags, "--cap-lints=warn"])
        return self._compile(folder, self.toolchain.rustc, [*flags, *(["--cap-lints=allow"] if is_hidden else [])])

    def instrumented(self, program: Program, gates: bool, with_enums: bool = True) -> str | None:
        """The source with marks at the assertions that count and, with `gates`, gates in the functions under test.

        `with_enums`: wrong values of all its enums, too; else only of those whose every variant the program builds itself,
        because no lint calls a variant unused that has been given a wrong value.
        """
        stubbed = panic_stubbed(program, mark_asserts=True)
        if stubbed is None:
            return None
        numbers = itertools.count()
        marked = re.sub(re.escape(MARK), lambda _: f" ::{self.gate_crate}::mark({next(numbers)});", stubbed)
        if not gates:
            return marked.replace(STUB, "")
        return _with_gates(_with_wrong_types(marked, self.gate_crate, with_enums), self.gate_crate)

    def run_tests(
        self,
        binary: Path,
        mode: str = "run",
        only: Sequence[int] | None = None,
        limit_s: float | None = None,
        skip: Iterable[Site] = (),
    ) -> _HarnessRun:
        """One process of the test binary: all tests, or those whose index is in `only` (ascending), without the sites in `skip`.

        `mode`: "run"; "ignored_too" (those marked `#[ignore]` are run like the others); "stub" (gates panic); "wrong"
        (every test three times, gates return wrong values).
        `limit_s`: CPU seconds, by default the limit of a program.
        """
        nonce = secrets.token_hex(16)
        wanted = "all" if only is None else " ".join(map(str, only))
        skipped = " ".join(f"{line}:{column}" for line, column in sorted(skip))
        order_out, order_in = os.pipe()
        report_out, report_in = os.pipe()
        with open(report_out, "rb") as reports, _page() as page:
            try:
                os.write(order_in, f"{nonce}\n{mode}\n{wanted}\n{skipped}\n".encode())
                os.close(order_in)
                reader = _PipeReader(reports)
                fds = (order_out, report_in, self._sink.fileno(), page.fileno())
                arguments = [str(fd) for fd in fds]
                environment = {"LD_LIBRARY_PATH": os.pathsep.join(str(path.parent) for path in self.libraries)}
                limits = self.run_limits if limit_s is None else _run_limits(limit_s)
                arguments.append(str(int(limits.cpu_s * 1e6)))  # the kernel's own limit counts whole seconds
                done = self.box.run(binary, arguments, limits, self.libraries, fds, env=environment)
            finally:
                os.close(order_out)
                os.close(report_in)
            report = reader.text()
            running = int.from_bytes(os.pread(page.fileno(), 8, 0), sys.byteorder)
        self._account(done)
        return _read_report(report, nonce, done, (running >> 32, running & 0xFFFF_FFFF) if running else None)


# What a program needs to have in it to make the compiler read another file.
INCLUDING = re.compile(r"\b(include|include_str|include_bytes|path)\b")
READ_FILES = "read-files.d"
KERNEL_FOLDERS = ("/proc/", "/dev/", "/sys/")


def _read_outside(folder: Path) -> list[str]:
    """What the compiler read of the kernel's own files: one sandbox has them, the other not, and no program needs them."""
    lines = (folder / READ_FILES).read_text("utf-8", "replace").splitlines()
    paths = [os.path.normpath(folder / line[:-1].replace("\\ ", " ")) for line in lines if line.endswith(":")]
    return [path for path in paths if path.startswith(KERNEL_FOLDERS) and not path.startswith(f"{folder}/")]


def _unreadable(path: str) -> _Message:
    return _Message(Diagnostic(None, "error", f"couldn't read `{path}`: it is no part of the program", None), ())


def _with_gates(stubbed: str, crate: str) -> str:
    """Replace every stub by a gate for its function's return type, where that can be named in an expression.

    A function with a gate is not constant any more: where it has to be, the program does not compile and goes without gates.
    """
    root = parse_any_length(stubbed)
    data, stub = stubbed.encode(), STUB.encode()
    pieces, position = [], 0
    for node in _functions(root):
        body = node.child_by_field_name("body")
        at = data.find(stub, body.start_byte, body.end_byte)
        if at < position:
            continue
        head = re.sub(rb"\bconst\b", b"     ", data[node.start_byte : body.start_byte], count=1) if _is_constant(node) else None
        if head is not None:
            pieces += [data[position : node.start_byte], head]
            position = body.start_byte
        pieces += [data[position:at], _gates_of(node, crate).encode()]
        position = at + len(stub)
    return b"".join([*pieces, data[position:]]).replace(stub, f" ::{crate}::stub();".encode()).decode()


COMPARISONS = ("eq", "ne", "partial_cmp", "cmp", "hash")


def _gates_of(function: Node, crate: str) -> str:
    """Only a stub: in `Iterator::next` (no end of wrong values is a loop without end), in comparisons (a program's own must not
    hide that what they compare is wrong), and in functions that return nothing but assert."""
    block, returns = _owner(function), function.child_by_field_name("return_type")
    trait = block.child_by_field_name("trait") if block is not None and block.type == "impl_item" else None
    endless = _name(function) == "next" and trait is not None and trait.text.split(b"<")[0].endswith(b"Iterator")
    compares = trait is not None and _name(function) in COMPARISONS
    if compares or (returns is None and re.search(rb"\bassert\w*\s*!", function.text)):
        return f" ::{crate}::stub();"
    if endless:
        return _asking(function, crate) + f" ::{crate}::stub();"
    return _asking(function, crate) + _gate_for(returns, crate)


def _is_constant(function: Node) -> bool:
    return any(child.type == "function_modifiers" and b"const" in child.text.split() for child in function.children)


def _functions(root: Node) -> list[Node]:
    """Functions with a body, in source order, outer before inner."""
    return [node for node in walk(root) if node.type == "function_item" and node.child_by_field_name("body") is not None]


def _gate_for(returns: Node | None, crate: str) -> str:
    if returns is None or returns.type == "unit_type":
        return f" if ::{crate}::gate() {{ return; }}"
    text = returns.text.decode()
    if returns.type == "never_type" or re.search(r"\b(impl|dyn)\b|[\n/&]\s*mut\b|//|/\*", text):
        return f" ::{crate}::stub();"
    text = " ".join(text.split())
    return f" {{ use ::{crate}::Unknown as _; if let Some(value) = ::{crate}::Gate::<{text}>::NEW.value() {{ return value; }} }}"


def _asking(function: Node, crate: str) -> str:
    """The call of a function by itself, with other inputs or for another answer; nothing where that cannot be written without
    changing what lints see."""
    parameters = [p for p in function.child_by_field_name("parameters").named_children if not p.type.endswith("comment")]
    body, returns = function.child_by_field_name("body"), function.child_by_field_name("return_type")
    words = {*_identifiers(body), *re.findall(r"\{(\w+)", body.text.decode())}  # `format!("{name}")` reads it, too
    modifiers = b"".join(child.text for child in function.children if child.type == "function_modifiers")
    if not (parameters or returns) or b"async" in modifiers or b"unsafe" in modifiers:
        return ""
    arguments = []
    for position, parameter in enumerate(parameters):
        if parameter.type == "self_parameter":
            arguments.append(f"::{crate}::Input(self).other({position})")
            continue
        pattern, kind = parameter.child_by_field_name("pattern"), _one_line(parameter.child_by_field_name("type"))
        is_read = pattern is not None and pattern.type == "identifier" and pattern.text.decode() in words
        if not is_read or re.match(r"&\s*('\w+ )?mut (Vec|String)\b", kind):
            return ""
        name = pattern.text.decode()
        borrowed = re.match(r"&\s*(?:'\w+ )?(Vec|String)\b", kind)
        if borrowed:  # by its index: clippy's `ptr_arg` looks at what else is done with one
            arguments.append(f"::{crate}::other_{borrowed[1].lower()}(&{name}[..], {position})")
        else:
            arguments.append(f"::{crate}::Input({name}).other({position})")
    generics = function.child_by_field_name("type_parameters")
    named = [_name_of(g) for g in generics.named_children if g.type.startswith(("type_", "const_"))] if generics is not None else []
    block, name = _owner(function), _name(function)
    trait = block.child_by_field_name("trait") if block is not None and block.type == "impl_item" else None
    path = f"<Self as {_one_line(trait)}>::{name}" if trait is not None else f"Self::{name}" if block is not None else name
    path += f"::<{', '.join(named)}>" if named else ""
    call, traits = f"{path}({', '.join(arguments)})", "Hidden as _, Same as _"
    if returns is not None and b"Vec" in returns.text:
        call, traits = f"::{crate}::Items({call}).changed()", f"{traits}, SameItems as _"
    call, traits = f"::{crate}::Input({call}).near()", f"#[allow(unused_imports)] use ::{crate}::{{{traits}}};"
    return f' {{ {traits} if ::{crate}::asks("{name}") {{ return ::{crate}::Answer({call}).kept(); }} }}'


def _owner(function: Node) -> Node | None:
    """The `impl` or trait that a function belongs to."""
    block = function.parent.parent if function.parent is not None else None
    return block if block is not None and block.type in ("impl_item", "trait_item") else None


def _name_of(generic: Node) -> str:
    found = generic.child_by_field_name("name") or generic
    return found.text.decode()


def _with_wrong_types(source: str, crate: str, with_enums: bool) -> str:
    """Give the program's own types that its functions return, if only as a part, an `impl Wrong` each; `with_enums`: and all types
    an `impl Other` (it reads all fields: no lint calls one unread then)."""
    root = parse_any_length(source)
    found = [node for node in walk(root) if node.type in ("struct_item", "enum_item") and not _is_conditional(node)]
    types = {_name(node): node for node in found if with_enums or node.type == "struct_item" or _builds_all(root, node)}
    texts = [node.child_by_field_name("return_type") for node in _functions(root)]
    wanted = set(types) if b"Self" in b"".join(t.text for t in texts if t) else set()
    fresh = {word for text in texts if text for word in _identifiers(text)} & set(types)
    while fresh:
        wanted |= fresh
        fresh = {word for name in fresh for word in _identifiers(types[name])} & set(types) - wanted
    dropped = set(re.findall(r"\bDrop\s+for\s+(\w+)", source))  # nothing can be moved out of them
    data, pieces, position = source.encode(), [], 0
    for node in sorted(types.values(), key=lambda node: node.end_byte):
        added = _wrong_impl(node, crate) if _name(node) in wanted else ""
        added += _other_impl(node, crate) if with_enums and _name(node) not in dropped else ""
        pieces += [data[position : node.end_byte], added.encode()]
        position = node.end_byte
    return b"".join([*pieces, data[position:]]).decode()


def _name(node: Node) -> str:
    return node.child_by_field_name("name").text.decode()


def _is_conditional(node: Node) -> bool:
    """Whether parts of a type depend on the configuration, or on parameters."""
    return node.child_by_field_name("type_parameters") is not None or b"cfg" in node.text


def _builds_all(root: Node, enum: Node) -> bool:
    """Whether every variant is named in an expression outside the test modules (by its whole path)."""
    modules, others = _split_items(root)
    variants = {f"{_name(enum)}::{_name(child)}" for child in walk(enum) if child.type == "enum_variant"}
    paths = (node for item in others for node in walk(item) if node.type == "scoped_identifier" and not _is_in_pattern(node))
    return variants <= {"".join(node.text.decode().split()) for node in paths}


def _is_in_pattern(node: Node) -> bool:
    while node.parent is not None and not node.type.endswith(("_expression", "block")):
        if node.type.endswith("pattern") or (node.parent.type == "match_arm" and node.type != "match_block"):
            return node.type.endswith("pattern")
        node = node.parent
    return False


def _wrong_impl(node: Node, crate: str) -> str:
    """`impl Wrong` for a struct or enum; nothing for one that holds nothing."""
    body = node.child_by_field_name("body")
    if node.type == "enum_item":
        variants = [child for child in body.named_children if child.type == "enum_variant"]
        arms = [f"{n} => {_wrong_fields(f'Self::{_name(v)}', v.child_by_field_name('body'), crate)}" for n, v in enumerate(variants)]
        value = f"match k % {len(variants)} {{ {', '.join(arms)}, _ => return None }}" if 0 < len(variants) < 256 else ""
    else:
        value = _wrong_fields("Self", body, crate) if body is not None and body.named_child_count else ""
    if not value:
        return ""
    uses = f"#[allow(unused_imports)] use {{::{crate}::Unknown as _, ::core::option::Option::{{Some, None}}}};"
    head = f"impl ::{crate}::Wrong for {_name(node)} {{ fn wrong(k: ::core::primitive::u8) -> ::core::option::Option<Self>"
    return f" {head} {{ {uses} Some({value}) }} }} /* judge */"


def _other_impl(node: Node, crate: str) -> str:
    """`impl Other` for a struct, field by field, or an enum: another variant; nothing for one that holds nothing."""
    body = node.child_by_field_name("body")
    if node.type == "enum_item":
        variants = [child for child in body.named_children if child.type == "enum_variant"]
        if not 1 < len(variants) < 256:
            return ""
        numbers = ", ".join(f"Self::{_name(v)} {{ .. }} => {n}" for n, v in enumerate(variants))
        arms = [f"{n} => {_wrong_fields(f'Self::{_name(v)}', v.child_by_field_name('body'), crate)}" for n, v in enumerate(variants)]
        value = f"::{crate}::another(self, |of| match of {{ {numbers} }}, {len(variants)}, k, |n, k| "
        value += f"Some(match n {{ {', '.join(arms)}, _ => return None }}))"
    else:
        fields = [child for child in body.named_children if _is_type(child)] if body is not None else []
        names = [_name(f) if f.type == "field_declaration" else n for n, f in enumerate(fields)]
        values = ", ".join(f"{name}: ::{crate}::Input(self.{name}).part(k + {n % 4})" for n, name in enumerate(names))
        value = f"Self {{ {values} }}" if fields else ""
    if not value:
        return ""
    uses = f"#[allow(unused_imports)] use {{::{crate}::Unknown as _, ::{crate}::Same as _, ::core::option::Option::{{Some, None}}}};"
    head = f"impl ::{crate}::Other for {_name(node)} {{ fn other(self, k: ::core::primitive::u8) -> Self"
    return f" {head} {{ {uses} {value} }} }} /* judge */"


def _wrong_fields(constructor: str, body: Node | None, crate: str) -> str:
    """A constructor with a wrong value for every field, another number each."""
    if body is None:
        return constructor
    named = [child for child in body.named_children if child.type == "field_declaration"]
    types = [f.child_by_field_name("type") for f in named] if named else [t for t in body.named_children if _is_type(t)]
    values = [f"::{crate}::Gate::<{_one_line(t)}>::NEW.part(k + {n % 4})?" for n, t in enumerate(types)]
    if body.type == "ordered_field_declaration_list":
        return f"{constructor}({', '.join(values)})"
    return f"{constructor} {{ {', '.join(f'{_name(f)}: {value}' for f, value in zip(named, values))} }}"


def _is_type(node: Node) -> bool:
    return node.type not in ("visibility_modifier", "attribute_item", "line_comment", "block_comment")


def _one_line(node: Node) -> str:
    return " ".join(node.text.decode().split())


def _denied_lints(toolchain: Toolchain) -> frozenset[str]:
    """Lints that are errors unless a program says otherwise, as diagnostics name them."""
    table = _output_of([str(toolchain.clippy_driver), "-W", "help"])
    rows = re.findall(r"^ *(\S+) +(deny|forbid) ", table, re.MULTILINE)
    return frozenset(name.replace("-", "_") for name, _level in rows if not name.startswith("-"))


def _direct_link_flags(toolchain: Toolchain) -> list[str]:
    """Flags that make rustc call its own lld without the C compiler in between; plain `cc` where that cannot be.

    Needs what `cc` would add: the start-up objects and the C library's folder.
    """
    lld = toolchain.library_dir.with_name("bin") / "rust-lld"
    loader = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}.get(platform.machine(), "")
    cc = [f"-Clinker={toolchain.linker}"]
    if not (toolchain.target.endswith("-linux-gnu") and os.access(lld, os.X_OK) and os.path.exists(loader)):
        return cc
    try:
        names = ("Scrt1.o", "crti.o", "crtbeginS.o", "crtendS.o", "crtn.o", "libc.so.6", "libgcc_s.so.1", "libgcc.a")
        paths = [os.path.realpath(_output_of([str(toolchain.linker), f"-print-file-name={name}"])) for name in names]
    except ToolchainError:
        return cc
    if not all(os.path.exists(path) and " " not in path for path in paths):
        return cc
    folders = dict.fromkeys(f"-L{os.path.dirname(path)}" for path in (paths[0], paths[2], *paths[5:]))
    arguments = [*paths[:5], *folders, f"-dynamic-linker={loader}", "--threads=1", "-O0"]
    return [f"-Clinker={lld}", "-Clinker-flavor=ld.lld", f"-Clink-args={' '.join(arguments)}"]


BINARY_NAME = "tests"
LAST_SITE = 127  # as in judge/gate.rs
MAX_REPORT_BYTES = 4 * MIB


class _PipeReader:
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


def _page() -> IO[bytes]:
    """Memory in which the harness says which assert is being evaluated: what it says last is there when it has died."""
    page = os.fdopen(os.memfd_create("page"), "r+b", buffering=0)
    page.truncate(mmap.PAGESIZE)
    return page


def _read_report(report: str, nonce: str, done: Completed, site: Site | None = None) -> _HarnessRun:
    run = _HarnessRun([], set(), set(), {}, [], None, False, done, site=site)
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
            if words[4] == "should_panic":
                run.should_panic.add(index)
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


def _how_it_died(run: _HarnessRun) -> str:
    """How the process ended within a test, with the limit that it hit where one is known."""
    done = run.completed
    if run.limit == "threads":
        return f"limit of threads and processes: {_run_limits(1.0).processes}"
    if run.limit == "memory":
        return f"memory limit: {_run_limits(1.0).memory_bytes // MIB} MiB"
    if done.signal == signal.SIGXFSZ:
        return f"limit of a file's size: {_run_limits(1.0).file_bytes // MIB} MiB"
    if done.signal == signal.SIGABRT:
        return "the process was aborted within the test: a stack overflow, a panic during a panic, or abort()"
    how = f"signal {done.signal}" if done.signal else f"exit code {done.exit_code}"
    return f"the process ended within the test: {how}"


def _with_limit_named(message: str) -> str:
    """A panic's message, and which limit of the sandbox is behind it when the system refused a thread or a file."""
    limits = _run_limits(1.0)
    named = {11: f"limit of threads and processes: {limits.processes}", 24: f"limit of open files: {limits.open_files}",
             27: f"limit of a file's size: {limits.file_bytes // MIB} MiB"}  # fmt: skip
    found = re.search(r"\bOs \{ code: (\d+), kind: ", message)
    return f"{named[int(found[1])]}; {message}" if found and int(found[1]) in named else message


def _read_site(site: Site, what: str, line: str, message: str, run: _HarnessRun) -> None:
    """What became of an assert; where it held once and failed once it has failed."""
    text = _with_limit_named(bytes.fromhex(message).decode("utf-8", "replace"))[:MAX_MESSAGE_CHARS]
    if what == "fell":
        run.fallen.add(site)
    if what == "held" and site not in run.sites:
        run.held_first.add(site)
    if what != "held":
        run.sites[site] = TestEnd("failed", what == "failed" or text.startswith("assertion "), text, int(line) or None)
    run.sites.setdefault(site, TestEnd("ok"))


def _read_end(words: Sequence[str]) -> TestEnd:
    status, reached, line, column = words[0], *map(int, words[1:4])
    text = _with_limit_named(bytes.fromhex(words[4]).decode("utf-8", "replace"))[:MAX_MESSAGE_CHARS]
    if status == "ok":
        return TestEnd("ok", is_reached=reached > 0, is_missing=reached > 1)
    is_assertion = status == "asserted" or text.startswith("assertion ")
    return TestEnd("failed", is_assertion, text, line or None, reached > 0, reached > 1, column or None)


# ---------------------------------------------------------------------------------------------------------------------
# Scratch: one folder per judge, on a tmpfs, gone with it
# ---------------------------------------------------------------------------------------------------------------------

SCRATCH_PREFIX = "rust-judge-"
UNBORN_PREFIX = ".rust-judge-"


class _Scratch:
    """A locked folder. The lock dies with its process, so that a later judge can tell a stale folder from a live one."""

    def __init__(self, base: Path | None):
        self.base = base or _scratch_base()
        if Path("/tmp") in (self.base.resolve(), *self.base.resolve().parents):
            raise ToolchainError(
                f"the scratch folder {self.base} lies below /tmp, which every sandboxed program has to itself: choose one "
                "elsewhere, for example below /var/tmp"
            )
        self.base.mkdir(parents=True, exist_ok=True)
        _remove_stale(self.base)
        unborn = Path(tempfile.mkdtemp(prefix=UNBORN_PREFIX, dir=self.base))
        self._lock = open(unborn / "lock", "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = self.base / (SCRATCH_PREFIX + unborn.name.removeprefix(UNBORN_PREFIX))
        unborn.rename(self.path)
        self.path.chmod(0o755)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _scratch_base() -> Path:
    """/dev/shm where binaries may run from it and it has room (containers often give it 64 MiB), else a folder on disk."""
    for folder in (Path("/dev/shm"), Path("/var/tmp"), Path.home() / ".cache"):
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            facts = os.statvfs(folder)
            if facts.f_bavail * facts.f_frsize >= MIN_SCRATCH_BYTES and not facts.f_flag & os.ST_NOEXEC:
                return folder
    raise ToolchainError(
        f"no place for scratch files: /dev/shm, /var/tmp and ~/.cache are not writable, not executable, or hold less than "
        f"{MIN_SCRATCH_BYTES // MIB} MiB free"
    )


def _remove_stale(base: Path) -> None:
    """Remove what judges left that were killed: folders whose lock nobody holds."""
    for path in base.glob(SCRATCH_PREFIX + "*"):
        try:
            with open(path / "lock", "r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # held by a living judge, somebody else's, or just being removed
            continue


# ---------------------------------------------------------------------------------------------------------------------
# The judge
# ---------------------------------------------------------------------------------------------------------------------

GOOD_CANARY = """fn add(a: i32, b: i32) -> i32 {
    a + b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds() {
        assert_eq!(add(2, 3), 5);
        assert_eq!(add(-1, 1), 0);
    }
}

fn main() {}
"""
BAD_CANARY = GOOD_CANARY.replace("a + b", "a - b")
NO_CODE = Verdict(error_kind="no_code")
INFRA = Verdict(error_kind="infra")
TRIED_IN_PART = "tried_in_part"  # a guard that takes nothing away: a limit, or a crash, ended the runs that would tell what tests are worth


@dataclass
class _Work:
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


@dataclass(frozen=True)
class _Worth:
    """What a program's own tests are worth."""

    guard: str | None
    counted: Sequence[str] = ()  # tests
    notes: Sequence[Diagnostic] = ()

    @property
    def is_honest(self) -> bool:
        return self.guard in (None, TRIED_IN_PART)


class Judge:
    """Grades programs in batches on all cores. A context manager; `close()` leaves nothing behind.

    Verdicts depend on the program, its hidden tests and the limits only: not on the batch, its order or the workers.
    """

    def __init__(
        self,
        workers: int | None = None,
        run_timeout_s: float = 2.0,
        build_timeout_s: float = 5.0,
        sandbox: str = "auto",
        scratch_dir: str | Path | None = None,
        cache_size: int = 20_000,
        cargo_path: str = "cargo",
        edition: str = EDITIONS[0],
    ):
        """`workers` default: all cores. `run_timeout_s` and `build_timeout_s` are CPU seconds, for all tests of a program
        together and for one compilation. `sandbox` as in open_sandbox. `scratch_dir` default: /dev/shm, else /var/tmp.
        `cache_size` verdicts are remembered. `edition` of Rust: one of EDITIONS.

        Raises:
            ToolchainError: another edition; the toolchain, or a known program, does not do what it should.
            SandboxUnavailable: programs could not be sealed and `sandbox` is not "plain".
        """
        if str(edition) not in EDITIONS:
            raise ToolchainError(f"edition {edition}: expected {' or '.join(EDITIONS)}")
        self.edition = str(edition)
        self.workers = workers or len(os.sched_getaffinity(0))
        self.run_timeout_s, self.build_timeout_s = run_timeout_s, build_timeout_s
        self.toolchain = find_toolchain(cargo_path)
        self.infra_total = self.graded_total = 0
        self._owner_pid = os.getpid()
        self._box: sandboxes.Sandbox | None = None
        self._workshop: _Workshop | None = None
        self._scratch = _Scratch(Path(scratch_dir) if scratch_dir is not None else None)
        atexit.register(self.close)
        self._cache: OrderedDict[tuple, Verdict] = OrderedDict()
        self._cache_size = cache_size
        self._cache_lock = threading.Lock()
        self._ahead: dict[tuple, Future[Verdict]] = {}
        self._since_canaries = 0
        self._compile_pool = ThreadPoolExecutor(self.workers, "judge-compile")
        self._run_pool = ThreadPoolExecutor(2 * self.workers, "judge-run")
        self._hidden_pool = ThreadPoolExecutor(2 * self.workers, "judge-hidden")
        self._solo_pool = ThreadPoolExecutor(2 * self.workers, "judge-solo")
        try:
            self._box = sandboxes.open_sandbox(sandbox, self.toolchain, self._scratch.path)
            self._workshop = _Workshop(self.toolchain, self._box, self._scratch.path, build_timeout_s, run_timeout_s, self.edition)
            wrong = self._wrong_canary()
            if wrong is not None:
                raise ToolchainError(f"a known program is graded wrongly on this machine: {wrong}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers and remove the scratch folder. May be called twice."""
        if os.getpid() != self._owner_pid:
            return  # a forked child's copy of the judge owns nothing
        atexit.unregister(self.close)
        for pool in (self._compile_pool, self._run_pool, self._hidden_pool, self._solo_pool):
            pool.shutdown(wait=True, cancel_futures=True)
        if self._workshop is not None:
            self._workshop.close()
        if self._box is not None:
            self._box.close()
        self._scratch.remove()

    def describe(self) -> dict[str, object]:
        """What verdicts depend on: for run folders and protocol hashes."""
        return {
            "judge_version": JUDGE_VERSION,
            "edition": self.edition,
            "rustc": self.toolchain.rustc_version,
            "cargo": self.toolchain.cargo_version,
            "clippy": self.toolchain.clippy_version,
            "machine": platform.machine(),
            "sandbox": {"tier": self._box.tier, "report": dict(self._box.report)},
            "limits": {"build": asdict(self._workshop.build_limits), "run": asdict(self._workshop.run_limits)},
            "workers": self.workers,
        }

    @property
    def child_cpu_s(self) -> float:
        """CPU seconds of every compiler and test process so far, as the sandbox accounts for them."""
        return self._workshop.cpu_s

    # -- batches ------------------------------------------------------------------------------------------------------

    def start(self, job: Job) -> None:
        """Begin to grade a job that the next `grade` will ask for, from any thread. What no `grade` asks for is dropped by it.

        Raises:
            ValueError: its hidden tests cannot be understood.
        """
        key = _key(job)
        with self._cache_lock:
            if job.program is not None and key not in self._cache and key not in self._ahead:
                self._ahead[key] = self._start(job, self._hidden_suite(job))

    def grade(self, jobs: Iterable[Job]) -> list[Verdict]:
        """One verdict per job, in order. Identical jobs are graded once, and remembered.

        Each job starts when it comes: a generator that reads completions reads the next while the compilers work.

        Raises:
            ValueError: a job's hidden tests cannot be understood; nothing is remembered of the batch then.
        """
        asked: list[tuple[Job, tuple]] = []
        known: dict[tuple, Verdict] = {}
        fresh: dict[tuple, tuple[Job, HiddenSuite | None]] = {}
        pending: dict[tuple, Future[Verdict]] = {}
        try:
            for job in jobs:
                key = _key(job)
                asked.append((job, key))
                if job.program is None or key in known or key in fresh:
                    continue
                remembered = self._remembered(key)
                if remembered is not None:
                    known[key] = remembered
                else:
                    fresh[key] = job, self._hidden_suite(job)
                    pending[key] = self._started(key) or self._start(*fresh[key])
            known |= self._finish(fresh, pending)
        finally:
            with self._cache_lock:
                unasked, self._ahead = self._ahead, {}
            for future in (*pending.values(), *unasked.values()):
                future.cancel()
        for key in fresh:
            self._remember(key, known[key])
        verdicts = [known[key] if job.program is not None else _no_code(job) for job, key in asked]
        self.graded_total += len(verdicts)
        self.infra_total += sum(verdict.error_kind == "infra" for verdict in verdicts)
        return verdicts

    # -- suites of others (judge/cross_tests.py) ------------------------------------------------------------------------------

    def run_suites(self, jobs: Sequence[Job]) -> list[list[dict[str, str] | None]]:
        """For programs that build: how each text of their `hidden_tests`, all with `#[test]` functions, ended: name -> status.

        None for a text that the program does not compile with. Tests that did not get their turn are left out. Nothing else of a
        job is graded, and nothing is remembered. What the machine fails at is no opinion either, counted in `infra_total`.
        """
        compiled = [self._compile_pool.submit(self._compile_suites, job) for job in jobs]
        ran = [self._run_pool.submit(self._run_suites, job, future) for job, future in zip(jobs, compiled, strict=True)]
        return [future.result() for future in ran]

    def _compile_suites(self, job: Job) -> tuple[Path, HiddenSuite, list[int]] | None:
        """The folder of a binary with the texts that compile, and which these are."""
        folder, wanted = self._workshop.folder(), list(range(len(job.hidden_tests)))
        try:
            for _ in range(SUITE_TRIES):
                texts = [job.hidden_tests[i] for i in wanted]
                suite = with_hidden_tests(job.program, texts, None, self._workshop.gate_crate)
                _write_source(folder, suite.source)
                compiled = self._workshop.build_tests(folder, is_hidden=True)
                if compiled.passed:
                    return folder, suite, wanted
                wrong = _blamed_texts(compiled, suite)
                wanted = [i for at, i in enumerate(wanted) if at not in wrong]
                if compiled.timed_out or not wrong or not wanted:
                    break
        except ValueError:  # a text that cannot be read as tests
            pass
        except (InfraError, OSError):
            self.infra_total += 1
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def _run_suites(self, job: Job, future: Future) -> list[dict[str, str] | None]:
        """Each text in a process of its own. They share the limit of a program; those after the one that used it up, once more."""
        answers: list[dict[str, str] | None] = [None] * len(job.hidden_tests)
        if (compiled := future.result()) is None:
            return answers
        folder, suite, wanted = compiled
        try:
            binary, left_s = folder / BINARY_NAME, self.run_timeout_s
            listed = self._workshop.run_tests(binary, only=[])
            outcome = _Outcome(listed.names, listed.ignored)
            for at, i in enumerate(wanted):
                prefix = f"{suite.module}::text{at}::"
                tests = [index for index, name in enumerate(listed.names) if name.startswith(prefix) and index not in listed.ignored]
                limit_s = left_s if left_s >= SHORTEST_S else max(SHORTEST_S, self.run_timeout_s / len(wanted))
                run = self._workshop.run_tests(binary, "run", tests, limit_s)
                outcome.take(run, tests)
                left_s -= max(run.completed.cpu_s, limit_s if run.completed.timed_out else 0.0)
                ends = {index: "failed" if suite.guard else outcome.ends[index].status for index in tests if index in outcome.ends}
                answers[i] = {listed.names[index].removeprefix(prefix): status for index, status in ends.items()}
        except (InfraError, OSError):
            self.infra_total += 1
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return answers

    def _hidden_suite(self, job: Job) -> HiddenSuite | None:
        if job.program is None or not job.hidden_tests:
            return None
        return with_hidden_tests(job.program, job.hidden_tests, job.entry_point, self._workshop.gate_crate)

    def _started(self, key: tuple) -> Future[Verdict] | None:
        with self._cache_lock:
            return self._ahead.pop(key, None)

    def _finish(self, fresh: Mapping[tuple, tuple], pending: dict[tuple, Future[Verdict]]) -> dict[tuple, Verdict]:
        """Verdicts of what was started; those that the machine failed get one more try, which is put into `pending`."""
        graded: dict[tuple, Verdict] = {}
        for is_last in (False, True):
            graded |= {key: future.result() for key, future in pending.items()}
            if self._canaries_due(len(pending)) and self._wrong_canary() is not None:
                graded |= dict.fromkeys(pending, INFRA)
            failed = [key for key in pending if graded[key].error_kind == "infra"]
            pending.clear()
            if not is_last:
                pending |= {key: self._start(*fresh[key]) for key in failed}
        return graded

    def _remembered(self, key: tuple) -> Verdict | None:
        with self._cache_lock:
            if key in self._cache:
                self._cache.move_to_end(key)
            return self._cache.get(key)

    def _remember(self, key: tuple, verdict: Verdict) -> None:
        if verdict.error_kind == "infra":
            return
        with self._cache_lock:
            self._cache[key] = verdict
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)

    def _canaries_due(self, n_jobs: int) -> bool:
        self._since_canaries += n_jobs
        return self._since_canaries >= JOBS_BETWEEN_CANARIES

    def _wrong_canary(self) -> str | None:
        """Grade a known good and a known bad program; what is wrong with the verdicts, if anything, twice in a row."""
        self._since_canaries = 0
        return self._canary_attempt() and self._canary_attempt()

    def _canary_attempt(self) -> str | None:
        good, bad = [self._start(Job(_canary(source)), None) for source in (GOOD_CANARY, BAD_CANARY)]
        if not (good.result().test_passed and good.result().honest_tests and good.result().clippy_passed):
            return f"the good one got {good.result()}"
        if bad.result().error_kind != "test_failed" or not bad.result().build_passed:
            return f"the bad one got {bad.result()}"
        return None

    # -- one job: compile, then run, in pools of their own --------------------------------------------------------------

    def _start(self, job: Job, suite: HiddenSuite | None) -> Future[Verdict]:
        finished: Future[Verdict] = Future()
        self._compile_pool.submit(self._compile_stage, job, suite, finished)
        return finished

    def _compile_stage(self, job: Job, suite: HiddenSuite | None, finished: Future[Verdict]) -> None:
        folder = None
        try:
            started = time.monotonic()
            folder = self._workshop.folder()
            work = _Work(job, suite, folder, verdict=_nothing_passed(job, suite))
            self._compile(work)
            work.seconds += time.monotonic() - started
            self._run_pool.submit(self._run_stage, work, finished)
        except BaseException as error:  # handed to whoever waits for the future
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            _resolve(finished, error)

    def _run_stage(self, work: _Work, finished: Future[Verdict]) -> None:
        try:
            started = time.monotonic()
            self._run(work)
            work.seconds += time.monotonic() - started
            shutil.rmtree(work.folder, ignore_errors=True)
            _resolve(finished, replace(work.verdict, duration_s=round(work.seconds, 4)))
        except BaseException as error:  # handed to whoever waits for the future
            shutil.rmtree(work.folder, ignore_errors=True)
            _resolve(finished, error)

    def _compile(self, work: _Work) -> None:
        """Own tests and lints, in one pass where the program allows it; then a binary with the hidden tests."""
        program = work.job.program
        assert program is not None
        view = _test_view(program.source)
        if view is None or not self._compile_at_once(work, program, view):
            self._compile_in_steps(work, program)
        if work.suite is not None and work.verdict.build_passed:
            folder = self._subfolder(work, work.suite.source)
            compiled = self._workshop.build_tests(folder, is_hidden=True)
            if compiled.passed:
                work.hidden_binary = folder / BINARY_NAME
            else:
                work.verdict = replace(
                    work.verdict, hidden_error_kind="compile", hidden_failures={NOT_COMPILED: _why_not_compiled(compiled)}
                )

    def _subfolder(self, work: _Work, source: str) -> Path:
        folder = Path(tempfile.mkdtemp(dir=work.folder))
        (folder / "src").mkdir()
        _write_source(folder, source)
        return folder

    def _compile_in_steps(self, work: _Work, program: Program) -> None:
        """Check and lint without `cfg(test)`, then the test binary."""
        has_tests = "test" in program.source
        built = self._check(work, program, with_code=not has_tests or _needs_code(program.source))
        if not has_tests or not (built.passed or _may_vanish_under_test(built, program.source)):
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
            work.verdict = replace(work.verdict, error_kind=kind, diagnostics=_diagnostics(errors))

    def _check(self, work: _Work, program: Program, with_code: bool) -> _Compiled:
        """The verdicts of `cargo build` and `cargo clippy`, by one clippy pass if that can tell; returns the former.

        `with_code`: generate code as cargo build does (and clippy does not): some errors and lints come from there.
        """
        _write_source(work.folder, program.source)
        checked = built = self._workshop.check(work.folder, with_code)
        is_clear = checked.passed or checked.timed_out or any(m.is_hard for m in checked.messages)
        if not is_clear or re.search(r"\bclippy\b(?!\s*::)", program.source):
            built = self._workshop.build(work.folder)
            checked = self._workshop.check(work.folder, with_code=False) if with_code else checked
        verdict = replace(work.verdict, build_passed=built.passed, clippy_passed=checked.passed)
        if built.passed:
            warnings = [message for message in checked.messages if _counts_as_warning(message)]
            errors = [message for message in checked.messages if message.is_error]
            work.verdict = replace(verdict, clippy_warnings=len(warnings), diagnostics=_diagnostics(errors + warnings))
        else:
            kind = "timeout" if built.timed_out else "compile"
            work.verdict = replace(verdict, error_kind=kind, diagnostics=_diagnostics(built.messages))
        return built

    def _compile_tests(self, work: _Work, program: Program, with_lints: bool = False) -> _Compiled:
        """Build the test binary, instrumented when that compiles and as it is otherwise."""
        for gates in (True, False):
            source = self._workshop.instrumented(program, gates, with_enums=not with_lints)
            if source is None:
                break
            _write_source(work.folder, source)
            compiled = self._without_ours(self._workshop.build_tests(work.folder, with_lints), source)
            if compiled.passed:
                work.binary, work.is_gated, work.is_marked, work.source = work.folder / BINARY_NAME, gates, True, source
                return compiled
            if compiled.timed_out and not with_lints:
                break
            if compiled.timed_out or not self._blames_instruments(compiled, source):
                return compiled
        _write_source(work.folder, program.source)
        compiled = self._workshop.build_tests(work.folder, with_lints)
        work.binary = work.folder / BINARY_NAME if compiled.passed else None
        return compiled

    def _without_ours(self, compiled: _Compiled, source: str) -> _Compiled:
        """Drop warnings about what we put into the program."""
        lines, ours = source.split("\n"), self._workshop.instruments
        kept = [m for m in compiled.messages if m.is_error or not _points_into(m, lines, ours)]
        return replace(compiled, messages=kept)

    def _blames_instruments(self, compiled: _Compiled, source: str) -> bool:
        """Whether an error may be ours: it names our crate or points into one of our statements."""
        ours = self._workshop.instruments
        lines = source.split("\n")
        for message in compiled.messages:
            if not message.is_error:
                continue
            if message.is_crash or not message.spans or self._workshop.gate_crate in message.diagnostic.message:
                return True
            if message.diagnostic.code == "E0015":  # a function that is not constant, in a constant: with a gate none is
                return True
            if _points_into(message, lines, ours):
                return True
        return False

    def _compile_at_once(self, work: _Work, program: Program, view: _TestView) -> bool:
        """One clippy pass with `cfg(test)` that also emits the test binary: errors and lints outside the test modules
        are what `cargo build` and `cargo clippy` would say. False: it cannot tell, compile in steps."""
        compiled = self._compile_tests(work, program, with_lints=True)
        errors = [message for message in compiled.messages if message.is_error]
        work.tests_timed_out = compiled.timed_out
        if compiled.timed_out or any(message.is_crash or not message.spans for message in errors):
            return False
        if compiled.passed == bool(errors):
            return False
        denied = [message for message in compiled.messages if message.diagnostic.code in self._workshop.denied_lints]
        outside = [message for message in compiled.messages if not view.holds(message)]
        fatal = [m for m in outside if m.is_error or (m in denied and not m.is_clippy)]
        if fatal:
            work.binary = None
            work.verdict = replace(work.verdict, error_kind="compile", diagnostics=_diagnostics(fatal))
            if not any(message.is_hard for message in fatal):
                self._check(work, program, with_code=True)
            return True
        lints = [replace(m, diagnostic=replace(m.diagnostic, level="error")) for m in denied if not m.is_clippy]
        in_tests = errors + lints
        if errors or view.hides_unused_import(compiled.messages):
            self._check(work, program, with_code=bool(errors))
        else:
            refused = any(message in denied for message in outside)
            quiet = self._workshop.denied_lints | ONLY_UNDER_TEST
            outside = [message for message in outside if message.diagnostic.code not in ONLY_UNDER_TEST]
            warnings = [message for message in outside if message.diagnostic.code not in quiet]
            work.verdict = replace(
                work.verdict, build_passed=True, clippy_passed=not refused, clippy_warnings=len(warnings), diagnostics=_diagnostics(outside)
            )
        if in_tests and work.verdict.build_passed:
            work.binary = None
            work.verdict = replace(work.verdict, error_kind="compile", diagnostics=_diagnostics(in_tests))
        return True

    # -- running --------------------------------------------------------------------------------------------------------

    def _run(self, work: _Work) -> None:
        hidden = None
        if work.hidden_binary is not None and work.suite is not None:  # beside its own tests: one that loops in both waits once
            statements = {runner: len(tests) for runner, tests in work.suite.asserts}
            hidden = self._hidden_pool.submit(self._run_all, work.hidden_binary, "ignored_too", statements=statements)
        try:
            if work.binary is not None:
                self._run_own_tests(work)
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
                hidden_failures=_first(why), error_kind=work.verdict.error_kind or kind,
            )  # fmt: skip

    def _run_own_tests(self, work: _Work) -> None:
        program = work.job.program
        assert program is not None and work.binary is not None
        outcome = self._run_all(work.binary, max_deaths=MAX_DEATHS)
        guard = program.guard or ("exit_in_test" if outcome.has_exited else None)
        worth = _Worth(guard, [test.name for test in program.tests])
        if outcome.passed and guard is None:
            worth = self._worth(work, program, outcome)
        work.verdict = replace(
            work.verdict,
            test_passed=outcome.passed,
            tests=outcome.statuses(),
            error_kind=work.verdict.error_kind or (None if outcome.passed else outcome.error_kind(program.source)),
            honest_tests=worth.is_honest,
            guard=worth.guard,
            n_asserts=n_asserts(test for test in program.tests if test.name in worth.counted),
            diagnostics=(*outcome.diagnostics(), *worth.notes, *work.verdict.diagnostics)[:MAX_DIAGNOSTICS],
        )

    def _worth(self, work: _Work, program: Program, outcome: _Outcome) -> _Worth:
        """What passing tests are worth, as far as running them tells."""
        counted = [outcome.names.index(test.name) for test in program.tests if test.counted and test.name in outcome.names]
        counted = sorted(index for index in counted if outcome.ends.get(index, TestEnd("ignored")).status == "ok")
        if not counted:
            return _Worth("no_counted_test")
        marked = {test.name: test.sites for test in program.tests if test.marked} if work.is_marked else {}
        passing = len(counted)
        left = {site for number, site in enumerate(program.assert_sites) if number not in outcome.reached and number < LAST_SITE}
        counted = [index for index in counted if (name := outcome.names[index]) not in marked
                   or (outcome.ends[index].is_reached and left.isdisjoint(marked[name]))]  # fmt: skip
        if not counted:
            return _Worth("assert_not_reached")
        is_discounted = len(counted) < passing
        binary = work.binary if work.is_gated else self._stub_binary(work, program)
        if binary is None:
            note = Diagnostic(None, "note", "the panic stub does not compile: the tests were not tried against it", None)
            return _Worth(None, [outcome.names[index] for index in counted], [note])
        stubbed = self._run_all(binary, "stub", counted)
        counted = [index for index in counted if stubbed.ends[index].status != "ok"]
        if not counted:
            return _Worth("survives_panic_stub")
        if not work.is_gated:
            return _Worth(None, [outcome.names[index] for index in counted])
        wrong, other = (self._workshop.run_tests(binary, mode, counted) for mode in ("wrong", "other"))
        guard, found = worth(wrong.all_ends, other.all_ends, program, len(counted), work.source, is_discounted)
        if guard is None and not (wrong.was_done and other.was_done):
            guard = TRIED_IN_PART
        return _Worth(guard, [outcome.names[counted[test]] for test in found])

    def _stub_binary(self, work: _Work, program: Program) -> Path | None:
        """The second compilation that programs need in which a gate does not compile."""
        stubbed = panic_stubbed(program)
        if stubbed is None:
            return None
        folder = self._subfolder(work, stubbed)
        return folder / BINARY_NAME if self._workshop.build_tests(folder).passed else None

    def _run_all(
        self,
        binary: Path,
        mode: str = "run",
        only: Sequence[int] | None = None,
        max_deaths: int | None = None,
        statements: Mapping[str, int] = {},
    ) -> _Outcome:
        """Every test's end. All run in one process as far as it gets; what it leaves goes on in another.

        All tests together have the time limit. The one that is running when it is used up has timed out, and those after
        it share the limit once more, each in a process of its own (some together when they are many). `max_deaths`: when
        so many tests have ended their process, those left count as failed. `statements`: tests that run statements, and
        how many asserts they hold.
        """
        run = self._workshop.run_tests(binary, mode, only)
        if not run.names and b"error while loading shared libraries" in run.completed.stderr:
            raise InfraError(f"the test binary cannot be loaded: {run.completed.stderr[-300:]!r}")
        outcome = _Outcome(run.names, run.ignored)
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
            run = self._workshop.run_tests(binary, mode, left, limit_s, outcome.skipped)
        self._run_statements(binary, mode, outcome, left, statements)
        left = [index for index in left if index not in outcome.ends]
        if not left:
            return outcome
        size = -(-len(left) // int(max(1, self.run_timeout_s / SHORTEST_S)))
        batches = [left[at : at + size] for at in range(0, len(left), size)]
        share_s = max(SHORTEST_S, self.run_timeout_s / len(batches))
        alone = lambda batch: self._workshop.run_tests(binary, mode, batch, share_s)  # noqa: E731
        for batch, run in zip(batches, self._solo_pool.map(alone, batches), strict=True):
            outcome.take(run, batch)
            unseen = [index for index in batch if index not in outcome.ends]
            outcome.ends |= dict.fromkeys(unseen, TestEnd("timeout", message="time limit of the program"))
        return outcome

    def _run_statements(self, binary: Path, mode: str, outcome: _Outcome, left: Sequence[int], statements: Mapping[str, int]) -> None:
        """Go on with functions that run statements, without those that used up the limit: for each assert its share of it."""
        left_s = self.run_timeout_s
        for index in left:
            n_asserts = statements.get(outcome.names[index], 0)
            while n_asserts and index not in outcome.ends:
                share_s = max(SHORTEST_S, self.run_timeout_s / n_asserts)
                run = self._workshop.run_tests(binary, mode, [index], share_s, outcome.skipped)
                outcome.take(run, [index])
                left_s -= max(run.completed.cpu_s, share_s if run.completed.timed_out else 0.0)
                if left_s <= 0 and index not in outcome.ends:
                    outcome.ends[index] = TestEnd("timeout", message="time limit of the program")


class _Outcome:
    """How the tests of one binary ended, over all processes that it took."""

    def __init__(self, names: list[str], ignored: set[int]):
        self.names, self.ignored = names, ignored
        self.ends: dict[int, TestEnd] = {}
        self.has_exited = False  # a process ended with exit code 0 before the harness did
        self.ended_well = True
        self.n_deaths = 0  # tests that ended their process
        self.sites: dict[Site, TestEnd] = {}  # asserts of statements
        self.held_first: set[Site] = set()
        self.reached: set[int] = set()
        self.skipped: set[Site] = set()  # those, and statements, that end a run: left out of the next

    def take(self, run: _HarnessRun, left: Sequence[int]) -> None:
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
            self._blame(at_fault, run.site, TestEnd("timeout", message="time limit"))
        else:
            self.n_deaths += 1
            self._blame(at_fault, run.site, TestEnd("failed", message=_how_it_died(run)))

    def _blame(self, test: int, site: Site | None, end: TestEnd) -> None:
        """The assert that was being evaluated is at fault, the test if there was none: it goes on without that assert."""
        if site is None or site in self.skipped:
            self.ends[test] = end
        else:
            self.sites[site] = end
            self.skipped.add(site)

    def hidden_ends(self, suite: HiddenSuite) -> dict[str, TestEnd]:
        """How every hidden test ended: functions, then asserts of statements."""
        by_name = dict(zip(self.names, range(len(self.names)), strict=True))
        unknown = TestEnd("failed", message="not run")
        functions = suite.functions_among(self.names)
        found = {name.removeprefix(f"{suite.module}::"): self.ends.get(by_name.get(name, -1), unknown) for name in functions}
        for runner, tests in suite.asserts:
            at = self.ends.get(by_name.get(runner, -1), unknown)
            for test in tests:
                never = at if at.status != "ok" else TestEnd("failed", message="never evaluated")
                bad = test.failure(self.sites, self.held_first, at) or (None if test.is_reached(self.sites.keys()) else never)
                found[test.name] = bad or TestEnd("ok")
        return found

    def status(self, name: str) -> str | None:
        return self.statuses().get(name)

    def statuses(self) -> dict[str, str]:
        return {
            name: "ignored" if index in self.ignored else self.ends.get(index, TestEnd("failed")).status
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


def _may_vanish_under_test(built: _Compiled, source: str) -> bool:
    """Whether `cargo test` may compile what `cargo build` does not: denied lints, or names that exist under `cfg(test)`."""
    if built.timed_out:
        return False
    codes = [message.diagnostic.code for message in built.messages if message.is_error]
    modules = re.findall(r"#\[cfg\(test\)\]\s*(?:pub\s+)?mod\s+(\w+)", source)
    has_cfg_elsewhere = len(re.findall(r"\bcfg\b", source)) > len(modules)
    is_named = any(re.search(rf"\b{name}\s*::", source) for name in modules)
    return has_cfg_elsewhere or is_named or all(code is not None and not re.fullmatch(r"E\d+", code) for code in codes)


def _points_into(message: _Message, lines: Sequence[str], pattern: re.Pattern[str]) -> bool:
    """Whether the message is about text that matches."""
    for line, first, last in message.spans:
        text = lines[line - 1] if line <= len(lines) else ""
        if any(match.start() + 1 < first and last <= match.end() + 1 for match in pattern.finditer(text)):
            return True
    return False


def _is_assert_at(source: str, line: int | None) -> bool:
    """Whether the panic's line holds an assertion (one with a message of its own does not say so in the message)."""
    lines = source.splitlines()
    return line is not None and line <= len(lines) and re.search(r"\b(debug_)?assert(_eq|_ne)?!", lines[line - 1]) is not None


@dataclass(frozen=True)
class _TestView:
    """Where a program's test modules are, for programs in which `cfg(test)` matters nowhere else."""

    lines: tuple[tuple[int, int], ...]  # first and last line of each test module, attribute included
    unsure_imports: frozenset[str]  # imported outside and not named there again: a trait, or used by the tests alone

    def holds(self, message: _Message) -> bool:
        """Whether the message is about test code."""
        return bool(message.spans) and all(
            any(first <= line <= last for first, last in self.lines) for line, _column, _end in message.spans
        )

    def hides_unused_import(self, messages: Sequence[_Message]) -> bool:
        """Whether an import may be unused without the tests: one that is used, and we cannot tell by whom."""
        unused = " ".join(message.diagnostic.message for message in messages if message.diagnostic.code == "unused_imports")
        return not self.unsure_imports <= set(re.findall(r"\w+", unused))


# Lints that a pass without `cfg(test)` does not have, or (dead code) that are about an empty `main` calling nothing.
ONLY_UNDER_TEST = frozenset({"clippy::items_after_test_module", "dead_code"})
# What makes code outside the test modules depend on them, or lints on whether a gate is the first statement.
_MATTERS_OUTSIDE = re.compile(
    r"\b(cfg|cfg_attr|impl|trait|async|macro_rules|extern|deny|forbid|expect|warn|clippy|test|no_mangle|unsafe)\b|#!\[|\*\s*[;,}]"
)
_MATTERS_INSIDE = re.compile(r"\b(impl|macro_export|macro_use|deny|forbid|expect|warn)\b(?!\s*\()|\b(macro_rules|cfg)\b|#!\[")


def _test_view(source: str) -> _TestView | None:
    """Find the test modules of an ordinary program: free functions, `#[cfg(test)] mod NAME { .. }`, an empty `main`.

    None: something else may depend on `cfg(test)`, and a pass with it says nothing about one without.
    """
    if _needs_code(source) or "#[cfg(test)]" not in source:
        return None
    root = parse_any_length(source)
    if root.has_error:
        return None
    modules, others = _split_items(root)
    inside = "\n".join(node.text.decode() for pair in modules for node in pair[-1:])
    outside = "\n".join(node.text.decode() for node in others if not node.type.endswith("comment"))
    names = [re.match(r"(?:pub\s+)?mod\s+(\w+)", pair[-1].text.decode()) for pair in modules]
    if not modules or _MATTERS_OUTSIDE.search(_without_use(outside)) or _MATTERS_INSIDE.search(inside):
        return None
    if any(name is None or re.search(rf"\b{name[1]}\b", outside) for name in names):
        return None
    uses = [node for node in others if node.type == "use_declaration"]
    if any("*" in node.text.decode() for node in uses):
        return None
    imported = {leaf for node in uses for leaf in re.findall(r"(\w+)\s*(?=[,;}]|$)", node.text.decode())}
    named = {text for node in others if node.type != "use_declaration" for text in _identifiers(node)}
    lines = tuple((pair[0].start_point[0] + 1, pair[-1].end_point[0] + 1) for pair in modules)
    return _TestView(lines, frozenset(imported - named))


def _split_items(root: Node) -> tuple[list[list[Node]], list[Node]]:
    """The file's `#[cfg(test)] mod` items with their attributes, and everything else."""
    modules, others, pending = [], [], []
    for node in root.children:
        if node.type == "attribute_item":
            pending.append(node)
            continue
        is_test = node.type == "mod_item" and any(a.text == b"#[cfg(test)]" for a in pending)
        if is_test and len(pending) == 1:
            modules.append([*pending, node])
        else:
            others += [*pending, node]
        pending = [] if not node.type.endswith("comment") else pending
    return modules, others + pending


def _without_use(text: str) -> str:
    return re.sub(r"^use [^;]*;", "", text, flags=re.MULTILINE)


def _identifiers(node: Node) -> Iterator[str]:
    for current in walk(node):
        if current.type in ("identifier", "type_identifier"):
            yield current.text.decode()


def _needs_code(source: str) -> bool:
    """Whether `cargo build` can object to more than a check does: an empty `main` reaches no code to generate."""
    if re.search(r"\b(no_mangle|export_name|link_section|used|global_allocator|extern|asm|panic_handler)\b", source):
        return True
    return re.search(r"\bfn\s+main\s*\(\s*\)\s*\{\s*\}", source) is None


def _write_source(folder: Path, source: str) -> None:
    (folder / SOURCE_NAME).write_bytes(source.encode("utf-8", "replace"))


def _canary(source: str) -> Program:
    """A known program; its test counts whatever the static opinion is, because canaries try the machine."""
    test = TestFn("tests::adds", ignored=False, should_panic=False, counted=True, guard=None)
    return replace(read_program(source), guard=None, tests=(test,))


def _key(job: Job) -> tuple:
    """What a verdict is remembered by."""
    return job.program, job.hidden_tests, job.entry_point


def _first(failures: Mapping[str, str]) -> dict[str, str]:
    return {name: why[:MAX_FAILURE_CHARS] for name, why in [*failures.items()][:MAX_DIAGNOSTICS]}


def _blamed_texts(compiled: _Compiled, suite: HiddenSuite) -> set[int]:
    """Which of a suite's texts the compiler's errors point into."""
    lines = suite.source.split("\n")
    first = lines.index(f"mod {suite.module} {{")
    starts = [number for number, line in enumerate(lines, 1) if number > first and re.fullmatch(r"mod text\d+ \{", line)]
    named = {number: int(lines[number - 1][8:-2]) for number in starts}
    pointed = [line for message in compiled.messages if message.is_error for line, _first, _last in message.spans]
    above = (max((start for start in starts if start <= line), default=None) for line in pointed if line > first)
    return {named[start] for start in above if start is not None}


def _why_not_compiled(compiled: _Compiled) -> str:
    """What the compiler says of the program with the hidden tests in it."""
    errors = [message.diagnostic for message in compiled.messages if message.is_error]
    said = "; ".join(f"{error.code}: {error.message}" if error.code else error.message for error in errors[:3])
    return "the time limit of a compilation" if compiled.timed_out else said[:MAX_MESSAGE_CHARS]


def _no_code(job: Job) -> Verdict:
    """No program: nothing passes, hidden tests neither (their number is what the task has as strings)."""
    return replace(NO_CODE, hidden_passed=0, hidden_total=len(job.hidden_tests)) if job.hidden_tests else NO_CODE


def _nothing_passed(job: Job, suite: HiddenSuite | None) -> Verdict:
    """Where a verdict starts; honest_tests is the static opinion."""
    assert job.program is not None
    hidden = {} if suite is None else {"hidden_passed": 0, "hidden_total": len(suite.test_names)}
    static = job.program.guard
    return Verdict(honest_tests=static is None, guard=static, n_asserts=job.program.n_asserts, **hidden)


def _resolve(finished: Future[Verdict], result: Verdict | BaseException) -> None:
    """Settle the future; what the machine did wrong becomes an infra verdict."""
    if finished.cancelled():
        return
    if isinstance(result, (InfraError, OSError)):
        message = Diagnostic(None, "note", str(result)[:MAX_MESSAGE_CHARS], None)
        finished.set_result(replace(INFRA, diagnostics=(message,)))
    elif isinstance(result, BaseException):
        finished.set_exception(result)
    else:
        finished.set_result(result)
