"""Compiles and runs single sources in the sandbox, each in a folder of its own."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from judge import sandbox as sandboxes
from judge.harness_report import HarnessRun, PipeReader, open_page, read_report
from judge.instruments import with_gates, with_wrong_types
from judge.limits import build_limits, run_limits
from judge.messages import Message, read_messages, unreadable
from judge.program import MARK, STUB, Program, panic_stubbed
from judge.sandbox import Completed
from judge.statements import Site
from judge.toolchain import Toolchain, ToolchainError, denied_lints, direct_link_flags
from judge.verdict import MAX_MESSAGE_CHARS, InfraError

HARNESS_SOURCE = Path(__file__).with_name("harness.rs")
GATE_SOURCE = Path(__file__).with_name("gate.rs")
# What cargo passes for a debug build; debug information and incremental files change no verdict and cost time.
DEV_PROFILE = (
    "--crate-name=program",
    "--error-format=json",
    "--check-cfg=cfg(docsrs,test)",
    "--check-cfg=cfg(feature, values())",
    "-Cdebuginfo=0",
    "-Cembed-bitcode=no",
)
LINKER_HEAP = {"hugetlb": 1, "top_pad": 16 << 20, "trim_threshold": 1 << 30, "mmap_threshold": 1 << 30}
# A tenth of a compilation is page faults of its heap: large pages, none given back, for the compiler's jemalloc and lld's glibc.
LARGE_PAGES = {
    "MALLOC_CONF": "thp:always,narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1",
    "GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in LINKER_HEAP.items()),
}
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
    **LARGE_PAGES,
}
SOURCE_NAME = "src/main.rs"
BINARY_NAME = "tests"
# What a program needs to have in it to make the compiler read another file.
INCLUDING = re.compile(r"\b(include|include_str|include_bytes|path)\b")
READ_FILES = "read-files.d"
KERNEL_FOLDERS = ("/proc/", "/dev/", "/sys/")


@dataclass(frozen=True)
class Compiled:
    """One compiler pass."""

    passed: bool
    timed_out: bool
    messages: list[Message]
    cpu_s: float


class Workshop:
    """Compiles and runs single sources, each in a folder of its own that is gone afterwards."""

    box: sandboxes.Sandbox  # set before the first of them

    def __init__(
        self,
        toolchain: Toolchain,
        scratch: Path,
        build_timeout_s: float,
        run_timeout_s: float,
        edition: str,
    ):
        self.toolchain = toolchain
        self.edition = edition
        self.jobs_dir = scratch / "jobs"
        self.jobs_dir.mkdir()
        self.build_limits = build_limits(build_timeout_s)
        self.run_limits = run_limits(run_timeout_s)
        self.sysroot = scratch / "sysroot"
        self.gate_crate = "judge_" + secrets.token_hex(8)
        self._make_sysroot()
        self.denied_lints = denied_lints(toolchain)
        self.link_flags = direct_link_flags(toolchain)
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
        environment = os.environ | LARGE_PAGES | {"RUSTC_BOOTSTRAP": "1"}
        argv = [str(self.toolchain.rustc), *arguments]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            version = self.toolchain.rustc_version
            raise ToolchainError(f"the test harness does not compile with {version}: {done.stderr.strip()[-1500:]}")

    def folder(self) -> Path:
        path = Path(tempfile.mkdtemp(dir=self.jobs_dir))
        (path / "src").mkdir()
        return path

    def subfolder(self, folder: Path, source: str) -> Path:
        """Another one within a job's folder, with its source."""
        path = Path(tempfile.mkdtemp(dir=folder))
        (path / "src").mkdir()
        write_source(path, source)
        return path

    def _compile(self, folder: Path, compiler: Path, flags: Sequence[str]) -> Compiled:
        may_include = INCLUDING.search((folder / SOURCE_NAME).read_text("utf-8")) is not None
        argv = [str(compiler), SOURCE_NAME, f"--edition={self.edition}", *DEV_PROFILE, *flags]
        argv += [f"--emit=dep-info={READ_FILES}"] if may_include else []
        done = self.box.build(argv, folder, self.build_limits, read_only=(self.sysroot,), env=CARGO_ENVIRONMENT)
        self._account(done)
        messages = read_messages(done.stderr)
        # A program can make the compiler say anything, but not without pointing into the program.
        is_disk_full = any("No space left on device" in m.diagnostic.message and not m.spans for m in messages if m.is_error)
        if is_disk_full or (done.exit_code not in (0, None) and not messages and not done.timed_out):
            raise InfraError(f"the compiler failed without a word: {done.stderr[-300:]!r}")
        refused = _read_outside(folder) if may_include and done.exit_code == 0 else []
        messages += [unreadable(path) for path in refused]
        return Compiled(done.exit_code == 0 and not refused, done.timed_out, messages, done.cpu_s)

    def _account(self, done: Completed) -> None:
        if done.spawn_error is not None:
            raise InfraError(done.spawn_error)
        with self._lock:
            self.cpu_s += done.cpu_s

    def check(self, folder: Path, with_code: bool) -> Compiled:
        """Check and lint without `cfg(test)`; `with_code` also generates what `main` reaches."""
        emit = "--emit=metadata,obj" if with_code else "--emit=metadata"
        return self._compile(folder, self.toolchain.clippy_driver, [emit, "--out-dir=out"])

    def build(self, folder: Path) -> Compiled:
        """What `cargo build` does, for programs that clippy's exit code says too little about."""
        return self._compile(folder, self.toolchain.rustc, ["--emit=link", "--out-dir=out"])

    def build_tests(self, folder: Path, with_lints: bool = False, is_hidden: bool = False) -> Compiled:
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
        return with_gates(with_wrong_types(marked, self.gate_crate, with_enums), self.gate_crate, program.alone)

    def run_tests(
        self,
        binary: Path,
        mode: str = "run",
        only: Sequence[int] | None = None,
        limit_s: float | None = None,
        skip: Iterable[Site] = (),
        nth: int | None = None,
    ) -> HarnessRun:
        """One process of the test binary: all tests, or those whose index is in `only` (ascending), without the sites in `skip`.

        `mode`: "run"; "ignored_too" (those marked `#[ignore]` are run like the others); "stub" (gates panic); "wrong"
        (every test with each wrong value that gates return); "alone N" (with each of the N of `Program.alone`).
        `nth`: of these runs this one alone. `limit_s`: CPU seconds, by default the limit of a program.
        """
        nonce = secrets.token_hex(16)
        wanted = "all" if only is None else " ".join(map(str, only))
        skipped = " ".join(f"{line}:{column}" for line, column in sorted(skip))
        order_out, order_in = os.pipe()
        report_out, report_in = os.pipe()
        with open(report_out, "rb") as reports, open_page() as page:
            try:
                os.write(order_in, f"{nonce}\n{mode}+{'' if nth is None else nth}\n{wanted}\n{skipped}\n".encode())
                os.close(order_in)
                reader = PipeReader(reports)
                fds = (order_out, report_in, self._sink.fileno(), page.fileno())
                arguments = [str(fd) for fd in fds]
                limits = self.run_limits if limit_s is None else run_limits(limit_s)
                arguments.append(str(int(limits.cpu_s * 1e6)))  # the kernel's own limit counts whole seconds
                done = self.box.run(binary, arguments, limits, self.libraries, fds)
            finally:
                os.close(order_out)
                os.close(report_in)
            report = reader.text()
            running = int.from_bytes(os.pread(page.fileno(), 8, 0), sys.byteorder)
        self._account(done)
        return read_report(report, nonce, done, (running >> 32, running & 0xFFFF_FFFF) if running else None)


def _read_outside(folder: Path) -> list[str]:
    """What the compiler read of the kernel's own files: one sandbox has them, the other not, and no program needs them."""
    lines = (folder / READ_FILES).read_text("utf-8", "replace").splitlines()
    paths = [os.path.normpath(folder / line[:-1].replace("\\ ", " ")) for line in lines if line.endswith(":")]
    return [path for path in paths if path.startswith(KERNEL_FOLDERS) and not path.startswith(f"{folder}/")]


def write_source(folder: Path, source: str) -> None:
    (folder / SOURCE_NAME).write_bytes(source.encode("utf-8", "replace"))


def why_not_compiled(compiled: Compiled) -> str:
    """What the compiler says of the program with the hidden tests in it."""
    errors = [message.diagnostic for message in compiled.messages if message.is_error]
    said = "; ".join(f"{error.code}: {error.message}" if error.code else error.message for error in errors[:3])
    return "the time limit of a compilation" if compiled.timed_out else said[:MAX_MESSAGE_CHARS]
