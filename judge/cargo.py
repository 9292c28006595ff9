"""Plain cargo on a project directory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from judge import sandbox as sandboxes
from judge.limits import MIB, build_limits
from judge.messages import diagnostics_of, read_message
from judge.sandbox import Completed
from judge.toolchain import Toolchain, find_toolchain
from judge.verdict import Diagnostic, InfraError

TAIL_CHARS = 4000
GROUP_DEATH_S = 5.0  # that killed processes get to disappear


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
            limits = replace(build_limits(self.timeout_s), wall_s=self.timeout_s)
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
            message = read_message(record["message"])
            if message is not None:
                messages.append(message)
    return ToolResult(
        passed=done.exit_code == 0 and not done.timed_out,
        timed_out=done.timed_out,
        exit_code=done.exit_code,
        diagnostics=diagnostics_of(messages),
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
