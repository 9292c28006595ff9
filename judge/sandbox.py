"""Run one command with limits, no network, no secrets, and kill the whole tree.

    box = open_sandbox("auto", toolchain.sysroot, scratch_dir)
    done = box.build([rustc, "main.rs", "-o", "program"], job_dir, BUILD_LIMITS)   # compilers: one writable folder
    done = box.run(job_dir / "program", [], RUN_LIMITS)                            # strangers' code: next to nothing

Two phases, one policy on every machine, in tiers that are tried in this order:

* "bwrap": every command in namespaces of its own by bubblewrap, plus seccomp and resource limits;
* "landlock": Landlock, seccomp and resource limits, plus namespaces around all commands together where they are allowed;
* neither works: `SandboxUnavailable`, unless "plain" was asked for: resource limits and a process group, nothing else.

Which one, is decided by canaries: a known program tries to break out on every axis (files, network, processes, memory,
environment) before any stranger's code runs. `Sandbox.report` says per axis what stops it.

Build phase: read-only /usr, toolchain, loader cache and /etc/alternatives; the job folder is the one writable place.
Run phase: the program, the C library, the files named; no /proc, no /dev, no children (threads are fine), one temporary
folder (working directory, $TMPDIR, $HOME), a fixed environment. Both: no sockets, io_uring, ptrace, signals to others,
keyrings, mounts, namespaces, other users; nothing is inherited but what is passed; standard input is /dev/null.

What it does not cover:

* bugs of the kernel, and side channels (timing, /proc-less facts such as the host name, the number of cores);
* memory is limited per process as address space, and not at all for files a build writes into its folder beyond
  `file_bytes` each; as root the number of processes of a *build* is not limited (its code is the compiler's, not the
  program's), only its time;
* for an ordinary user the limit on processes and threads is on all that the user runs, with room for 512 more;
* how many files the temporary folder of a run may hold (16,384, or 4,096 where it is watched) is not limited under
  "bwrap" for an ordinary user, only their size;
* what a compiler reads of /proc, /dev and /sys, which the tiers show or hide differently: `rust_tool` refuses it;
* "landlock" without the right to change root (an ordinary user where user namespaces are off): names, sizes and times
  of files outside can be asked for (not their content, nor a folder's list), /tmp is denied ($TMPDIR is the job's own),
  and where no tmpfs can be mounted, `tmp_bytes` is checked 20 times a second instead of enforced;
* "bwrap" lets a program execute itself again (not fork); "landlock" does not; for an ordinary user, a command that
  bwrap was just starting when somebody killed the launcher (not the grader) lives on until its CPU limit;
* that a program tells the truth: exit codes and outputs are the program's own words.
"""

from __future__ import annotations

import marshal
import os
import platform
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from judge.errors import UserError

KIB, MIB, GIB = 2**10, 2**20, 2**30
AXES = ("files", "network", "processes", "memory", "environment")
TIERS = ("bwrap", "landlock", "plain")
LAUNCHER = Path(__file__).with_name("sandbox_launcher.py")
MAX_OPEN_FILES = 4000  # the launcher keeps its own descriptors above
MAX_REQUEST_BYTES = 150_000  # one message of the control socket
REPLY_GRACE_S = 20.0  # beyond a command's own limit before the launcher is given up
DRAIN_S = 5.0  # for the last output of a tree that is dead
CHUNK = 1 << 16

# What an executable may need of /usr's neighbours. Links among them (merged /usr) are kept as links.
SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage"
# What the allocators of rustc and lld ask: those that get no answer take small pages only, and a compilation a tenth longer.
ALLOCATOR_FILES = (f"{HUGE_PAGES}/enabled", f"{HUGE_PAGES}/hpage_pmd_size", "/proc/sys/vm/overcommit_memory")
BUILD_FILES = ("/etc/ld.so.cache", "/etc/alternatives", *ALLOCATOR_FILES)
LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}
RUNTIME_LIBRARIES = ("libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1")
LIBRARY_FOLDERS = ("/lib/{0}-linux-gnu", "/usr/lib/{0}-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
BUILD_PATH = "/usr/local/bin:/usr/bin:/bin"
FIXED_ENVIRONMENT = {"LANG": "C.UTF-8", "TZ": "UTC"}


class SandboxUnavailable(UserError, RuntimeError):
    """No tier seals on this machine; the message says what was found, what was expected and what to do."""


@dataclass(frozen=True)
class Limits:
    """What one command may use. All are enforced by the kernel on the command itself, except wall_s and output_bytes.

    Too much output does not end a command: how it ends would depend on who reads it how fast.
    """

    cpu_s: float = 10.0  # CPU seconds of one process, rounded up to whole seconds
    wall_s: float = 40.0  # seconds until the whole tree is killed
    memory_bytes: int = 2 * GIB  # address space of one process
    file_bytes: int = 16 * MIB  # size of one file written
    open_files: int = 64  # descriptors of one process
    processes: int = 128  # processes and threads together
    output_bytes: int = 1 * MIB  # kept of stdout and of stderr, each; more is read and thrown away
    tmp_bytes: int = 64 * MIB  # the temporary folder of the run phase

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"Limits.{name} is {value}, expected a positive number")
        if self.open_files > MAX_OPEN_FILES:
            raise ValueError(f"Limits.open_files is {self.open_files}, expected at most {MAX_OPEN_FILES}")


BUILD_LIMITS = Limits(cpu_s=30, wall_s=120, memory_bytes=4 * GIB, file_bytes=256 * MIB, open_files=256, processes=128, output_bytes=4 * MIB)
RUN_LIMITS = Limits()


@dataclass(frozen=True)
class Completed:
    """How one command ended. Exit codes 129 to 192 are read as signals in every tier, as shells (and bwrap) tell them."""

    exit_code: int | None  # None when a signal ended it
    signal: int | None
    timed_out: bool  # by the clock or by CPU time
    stdout: bytes  # the first output_bytes
    stderr: bytes
    cpu_s: float  # of the whole tree
    spawn_error: str | None  # it was never started, or the launcher died: the machine's fault, not the command's


class Sandbox:
    """Runs commands under one tier. Safe to use from many threads at once; a context manager.

    `tier` is "bwrap", "landlock" or "plain"; `report` maps each of AXES to the mechanism in force, or "none".
    """

    def __init__(self, tier: str, sysroot: Path, scratch_dir: Path | None = None, extras: Sequence[str] = ("namespaces", "chroot")):
        """Starts the launcher, without canaries: use `open_sandbox`.

        `extras`: what may be added to the tier's own means where the kernel lets it; fewer to try how it is elsewhere.

        Raises:
            SandboxUnavailable: the launcher does not start here.
        """
        self.tier = tier
        self.report = dict.fromkeys(AXES, "none") | {"memory": "RLIMIT_AS"}
        self.sysroot = os.path.realpath(sysroot)
        self._scratch_dir = scratch_dir
        self._extras = tuple(extras)
        self._lock = threading.Lock()
        self._is_closed = False
        self._machine = platform.machine()
        self._launcher = self._start_launcher()
        self.powers = self._launcher.powers  # what could be added to the tier's own means: some of "mount", "net", "pid" and "chroot"
        self.abi = self._launcher.abi  # version of Landlock in use; 0 in other tiers
        self.changes_user = self._launcher.changes_user  # whether every program runs as a user of its own (when we are root)

    @property
    def folder(self) -> Path:
        """Where the sandbox keeps its own files; removed when it is closed, or when this process dies."""
        return self._launcher.folder

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kills what is still running and removes everything. Calls in flight return with a spawn_error."""
        self._is_closed = True
        self._launcher.close()

    def build(
        self,
        argv: Sequence[str],
        job_dir: Path,
        limits: Limits = BUILD_LIMITS,
        read_only: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Runs a compiler in `job_dir`, the one place it can write.

        Args:
            argv: the command; argv[0] is an absolute path.
            job_dir: working directory, $TMPDIR and $HOME.
            read_only: more files or folders that may be read.
            env: variables on top of the fixed few; nothing is taken from this process's environment.
        """
        folder = os.path.realpath(job_dir)
        request = {
            "phase": "build",
            "argv": [os.fspath(argument) for argument in argv],
            "cwd": folder,
            "read_only": [os.path.realpath(p) for p in read_only],
            "env": {**FIXED_ENVIRONMENT, "PATH": f"{self.sysroot}/bin:{BUILD_PATH}", **(env or {})},
            "library_path": [],
            "fds": [],
        }
        return self._perform(request, limits, ())

    def run(
        self, binary: Path, args: Sequence[str], limits: Limits = RUN_LIMITS, read_only: Sequence[Path] = (), pass_fds: Sequence[int] = ()
    ) -> Completed:
        """Runs a stranger's program.

        Args:
            binary: a regular executable file; the program sees it as /program.
            args: its arguments, without the program's name.
            read_only: files it may read, under their own absolute paths; the folders of these are searched for libraries.
            pass_fds: open descriptors it inherits under the same numbers (3 or more, below `open_files`).
        """
        files = [os.path.abspath(path) for path in read_only]
        request = {
            "phase": "run",
            "argv": ["/program", *args],
            "cwd": None,
            "binary": os.path.abspath(binary),
            "read_only": files,
            "env": FIXED_ENVIRONMENT,
            "library_path": list(dict.fromkeys([os.path.dirname(LOADERS[self._machine]), *map(os.path.dirname, files)])),
            "fds": list(pass_fds),
        }
        return self._perform(request, limits, pass_fds)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _start_launcher(self) -> _Launcher:
        config = _configuration(self.tier, self._machine, self.sysroot)
        return _Launcher({**config, "extras": self._extras}, self._scratch_dir)

    def _working_launcher(self) -> _Launcher:
        with self._lock:
            if self._is_closed:
                raise SandboxUnavailable("the sandbox is closed")
            if self._launcher.is_dead:
                self._launcher.close()
                self._launcher = self._start_launcher()
            return self._launcher

    def _perform(self, request: dict, limits: Limits, pass_fds: Sequence[int]) -> Completed:
        message = marshal.dumps({**request, **vars(limits)})
        if len(message) > MAX_REQUEST_BYTES:
            return _not_started(f"the command line has {len(message)} bytes, expected at most {MAX_REQUEST_BYTES}")
        try:
            call = _Call(self._working_launcher(), message, pass_fds, limits)
        except (OSError, SandboxUnavailable) as problem:
            return _not_started(f"the launcher takes no command: {problem}")
        return call.result()


def _not_started(why: str) -> Completed:
    return Completed(None, None, False, b"", b"", 0.0, why)


# -- The launcher, seen from here --------------------------------------------------------------------------------------


class _Launcher:
    """The running `judge/sandbox_launcher.py` and our end of its socket."""

    def __init__(self, config: dict, scratch_dir: Path | None):
        self.is_dead = False
        self.folder = _private_folder(scratch_dir)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCHER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                start_new_session=True, env={"LANG": "C.UTF-8"}, cwd="/",
            )  # fmt: skip
        self._finalizer = weakref.finalize(self, _stop_launcher, self.control, self.process, self.folder, os.getpid())
        self.control.settimeout(REPLY_GRACE_S)
        self.control.sendall(marshal.dumps({**config, "folder": str(self.folder)}))
        hello = self.control.recv(CHUNK)
        if not hello:
            reason = self.process.stderr.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            self.close()
            raise SandboxUnavailable(f"the sandbox launcher ended at once: {' '.join(reason)}")
        self.control.settimeout(None)
        facts = marshal.loads(hello)
        self.powers = tuple(facts["powers"])
        self.abi: int = facts["abi"]
        self.changes_user: bool = facts["changes_user"]
        if config["tier"] == "landlock" and self.abi < 1:
            self.close()
            raise SandboxUnavailable("the kernel has no Landlock, or it is not switched on (boot with lsm=landlock,...)")

    def close(self) -> None:
        self.is_dead = True
        self._finalizer()


def _stop_launcher(control: socket.socket, process: subprocess.Popen, folder: Path, owner: int) -> None:
    control.close()
    if os.getpid() != owner:
        return  # a fork of the process that owns it
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stderr.close()
    shutil.rmtree(folder, ignore_errors=True)


def _private_folder(scratch_dir: Path | None) -> Path:
    """A new folder from which binaries may be executed and which every user can pass through, if there is such a place."""
    wanted = [scratch_dir] if scratch_dir is not None else []
    places = [*wanted, Path("/dev/shm"), Path(tempfile.gettempdir()), Path("/var/tmp")]
    parent = next(filter(_is_passable, places), scratch_dir or Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix="rust-sandbox-", dir=parent)).resolve()
    folder.chmod(0o711)
    return folder


def _is_passable(folder: Path) -> bool:
    try:
        if not os.access(folder, os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
            return False
        return os.geteuid() != 0 or all(p.stat().st_mode & 0o001 for p in [folder.resolve(), *folder.resolve().parents])
    except OSError:
        return False


def _configuration(tier: str, machine: str, sysroot: str) -> dict:
    """What the launcher has to know of this machine. Raises SandboxUnavailable."""
    loader = LOADERS.get(machine)
    bwrap = shutil.which("bwrap", path=f"{os.environ.get('PATH', os.defpath)}:{sys.prefix}/bin")
    if tier == "bwrap" and bwrap is None:
        raise SandboxUnavailable("bwrap is not on PATH")
    if loader is None:
        raise SandboxUnavailable(f"this machine is {machine}: the sandbox knows {' and '.join(LOADERS)} only")
    readable = [path for path in (*SYSTEM_FOLDERS, *BUILD_FILES, sysroot) if os.path.exists(path)]
    runtime = {loader: os.path.realpath(loader)}
    for name in RUNTIME_LIBRARIES:
        for place in LIBRARY_FOLDERS:
            path = os.path.join(place.format(machine), name)
            if os.path.exists(path):
                runtime[f"{os.path.dirname(loader)}/{name}"] = os.path.realpath(path)
                break
    if tier != "plain" and not os.path.exists(loader):
        raise SandboxUnavailable(f"{loader} not found: the sandbox runs programs linked with glibc, build for a gnu target")
    return {
        "tier": tier,
        "bwrap": bwrap,
        "loader": loader,
        "readable": readable,
        "runtime": runtime if tier != "plain" else {},
        "bwrap_build": _bwrap_view(readable),
    }


def _bwrap_view(readable: Sequence[str]) -> list[str]:
    """Arguments of bwrap that show `readable` and what compilers need besides."""
    arguments = []
    for path in readable:
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), path]
        else:
            arguments += ["--ro-bind", path, path]
    arguments += ["--dev-bind", "/dev/null", "/dev/null", "--proc", "/proc"]
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):  # as Landlock leaves them
        arguments += ["--symlink", "/proc/self/fd" + target, "/dev/" + name]
    return arguments


# -- One command, seen from here ---------------------------------------------------------------------------------------


class _Call:
    """One command on its way: sent on creation, `result` waits for its end."""

    def __init__(self, launcher: _Launcher, message: bytes, pass_fds: Sequence[int], limits: Limits):
        self._launcher = launcher
        self._limits = limits
        out_r, out_w = os.pipe()
        err_r, err_w = os.pipe()
        self._reply, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._outputs = {out_r: bytearray(), err_r: bytearray()}
        try:
            socket.send_fds(launcher.control, [message], [theirs.fileno(), out_w, err_w, *pass_fds])
        except OSError:
            launcher.is_dead = True
            self._close()
            raise
        finally:
            theirs.close()
            os.close(out_w)
            os.close(err_w)

    def _close(self) -> None:
        for descriptor in self._outputs:
            os.close(descriptor)
        self._reply.close()

    def result(self) -> Completed:
        """Waits, keeping at most `output_bytes` of each stream."""
        try:
            ending = self._wait(time.monotonic() + self._limits.wall_s + REPLY_GRACE_S)
        finally:
            streams = [bytes(kept) for kept in self._outputs.values()]
            self._close()
        if ending is None:
            self._launcher.is_dead = True
            return _not_started("the launcher died or no longer answers")
        if ending["error"] is not None:
            detail = streams[1].decode("utf-8", "replace").strip()[-300:]
            return _not_started(": ".join(filter(None, [ending["error"], detail])))
        exit_code, by_signal = _decode(ending["status"])
        too_long = ending["why_killed"] == "deadline"
        out_of_cpu = by_signal in (signal.SIGXCPU, signal.SIGPROF) or (
            by_signal == signal.SIGKILL and ending["cpu_s"] >= self._limits.cpu_s
        )
        return Completed(exit_code, by_signal, too_long or out_of_cpu, *streams, ending["cpu_s"], None)

    def _wait(self, give_up: float) -> dict | None:
        ending, is_over = None, False
        poller = select.poll()
        for descriptor in (*self._outputs, self._reply.fileno()):
            poller.register(descriptor, select.POLLIN)
        n_open = len(self._outputs)
        while n_open or not is_over:
            events = poller.poll(max(0.0, give_up - time.monotonic()) * 1000)
            if not events or time.monotonic() > give_up:
                break
            for descriptor, _ in events:
                if descriptor == self._reply.fileno():
                    ending, is_over = self._read_reply(ending)
                    if is_over:
                        poller.unregister(descriptor)
                        give_up = min(give_up, time.monotonic() + DRAIN_S)
                elif not self._read_output(descriptor):
                    poller.unregister(descriptor)
                    n_open -= 1
        return ending

    def _read_reply(self, ending: dict | None) -> tuple[dict | None, bool]:
        """A child that could not become the command says so first; the first word counts."""
        try:
            message = self._reply.recv(CHUNK)
        except OSError:
            message = b""
        if not message:
            return ending, True
        return ending or marshal.loads(message), False

    def _read_output(self, descriptor: int) -> bool:
        chunk, kept = os.read(descriptor, CHUNK), self._outputs[descriptor]
        kept += chunk[: self._limits.output_bytes - len(kept)]
        return bool(chunk)


def _decode(status: int) -> tuple[int | None, int | None]:
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    return (None, code - 128) if 128 < code <= 192 else (code, None)


# -- Opening: canaries decide ------------------------------------------------------------------------------------------


def open_sandbox(requested: str, sysroot: Path, scratch_dir: Path | None = None) -> Sandbox:
    """The best sandbox that this machine really has, proven by canaries (less than a second).

    Args:
        requested: "auto" (bwrap, else landlock), "bwrap", "landlock", or "plain" for no sealing at all.
        sysroot: the Rust toolchain's folder.
        scratch_dir: where temporary folders are made; default: /dev/shm where programs may be executed from it, else
            the temporary folder.

    Raises:
        SandboxUnavailable: nothing (or not the one requested) seals here.
        ValueError: `requested` is none of the above.
    """
    if requested not in ("auto", *TIERS):
        raise ValueError(f'sandbox is "{requested}", expected one of auto, {", ".join(TIERS)}')
    if requested == "plain":
        return Sandbox("plain", sysroot, scratch_dir)
    found = []
    for tier in ("bwrap", "landlock") if requested == "auto" else (requested,):
        try:
            return _proven(tier, sysroot, scratch_dir)
        except SandboxUnavailable as problem:
            found.append(f"{tier}: {problem}")
    raise SandboxUnavailable(
        f"no sandbox seals programs on this machine (Linux {platform.release()}). Found: {'; '.join(found)}. "
        "Expected: bubblewrap with user namespaces, or Linux 5.13 or newer with Landlock switched on. "
        "Do: install bubblewrap (apt-get install bubblewrap), or use a machine or container that allows one of the two, "
        'or, for programs that you trust with everything this user can do, ask for the sandbox "plain".'
    )


def _proven(tier: str, sysroot: Path, scratch_dir: Path | None) -> Sandbox:
    box = Sandbox(tier, sysroot, scratch_dir)
    try:
        breaches = probe(box)
        if breaches:
            why = "; ".join(f"{axis} not sealed ({', '.join(how)})" for axis, how in breaches.items())
            if os.geteuid() == 0 and not box.changes_user:
                why += "; the kernel does not count what root runs, and without CAP_SETUID we stay root: be another user"
            raise SandboxUnavailable(why)
        box.report = _mechanisms(box)
    except BaseException:
        box.close()
        raise
    return box


def _mechanisms(box: Sandbox) -> dict[str, str]:
    """What stands behind each axis that the canaries found sealed."""
    counted = "a user id and RLIMIT_NPROC for each job" if box.changes_user else "RLIMIT_NPROC over all of the user's"
    if box.tier == "bwrap":
        return {
            "files": "mount namespace (bwrap)",
            "network": "network namespace (bwrap), seccomp",
            "processes": f"process namespace (bwrap), seccomp, {counted}",
            "memory": "RLIMIT_AS, sized tmpfs",
            "environment": "cleared, no /proc",
        }
    tmp = "sized tmpfs" if "mount" in box.powers else "temporary folder watched"
    return {
        "files": f"Landlock ABI {box.abi}" + (", changed root" if "chroot" in box.powers else ""),
        "network": "seccomp" + (", network namespace" if "net" in box.powers else ""),
        "processes": f"seccomp, {counted}" + (", process namespace" if "pid" in box.powers else ""),
        "memory": f"RLIMIT_AS, {tmp}",
        "environment": "cleared, no /proc",
    }


CANARY_LIMITS = Limits(cpu_s=5, wall_s=20, memory_bytes=512 * MIB, file_bytes=MIB, processes=16, output_bytes=64 * KIB, tmp_bytes=4 * MIB)
CANARY_THREADS = CANARY_LIMITS.processes + 8  # so many at once are a breach

# Told: a secret, the folder it is in, our process id. Prints a line "axis what" for each success.
BUILD_CANARY = r"""
attempt() { if (eval "$2") 2>/dev/null; then echo "$1 $2"; fi; }
attempt files ': < "$secret"'
attempt files ': > "$secret"'
attempt files ': > "$folder/new"'
attempt files ': < /etc/passwd'
attempt files ': >> /usr/lib/os-release'
attempt environment ': < "/proc/$grader/environ"'
attempt environment ': < "/proc/$grader/cmdline"'
attempt processes 'kill -0 "$grader"'
echo done
"""
RUN_CANARY = r"""
use std::ffi::{c_char, c_int, c_long, CString};
use std::{env, fs, thread};
extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn fork() -> c_int;
    fn _exit(code: c_int) -> !;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn setsid() -> c_int;
    fn ptrace(request: c_long, pid: c_int, address: c_long, data: c_long) -> c_long;
    fn chmod(path: *const c_char, mode: u32) -> c_int;
    fn unshare(flags: c_int) -> c_int;
    fn getrlimit(what: c_int, limits: *mut u64) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}
fn breach(axis: &str, what: &str, happened: bool) {
    if happened {
        println!("{axis} {what}");
    }
}
fn main() {
    let words: Vec<String> = env::args().collect();
    let (secret, folder, grader) = (&words[1], &words[2], words[3].parse::<c_int>().unwrap());
    let (memory, tasks) = (words[4].parse::<usize>().unwrap(), words[5].parse::<usize>().unwrap());
    let c_secret = CString::new(secret.as_str()).unwrap();
    breach("files", "read outside", fs::read(secret).is_ok());
    breach("files", "list outside", fs::read_dir(folder).is_ok());
    breach("files", "read /etc/passwd", fs::read("/etc/passwd").is_ok());
    breach("files", "write outside", fs::write(format!("{folder}/new"), "x").is_ok());
    breach("files", "overwrite outside", fs::write(secret, "x").is_ok());
    breach("files", "change a mode outside", unsafe { chmod(c_secret.as_ptr(), 0o777) } == 0);
    let link = env::temp_dir().join("link");
    let linked = std::os::unix::fs::symlink(secret, &link).is_ok();
    breach("files", "read through a link", linked && fs::read(&link).is_ok());
    breach("files", "hard link outside", fs::hard_link(secret, env::temp_dir().join("hard")).is_ok());
    breach("files", "no temporary folder", fs::write(env::temp_dir().join("own"), "x").is_err());
    for (domain, kind) in [(2, 1), (2, 2), (10, 1), (1, 1), (16, 3)] {
        breach("network", &format!("socket family {domain}"), unsafe { socket(domain, kind, 0) } >= 0);
    }
    breach("network", "io_uring", unsafe { syscall(425, 8 as c_long, [0u8; 256].as_mut_ptr()) } >= 0);
    breach("processes", "signal the grader", unsafe { kill(grader, 0) } == 0);
    breach("processes", "trace the grader", unsafe { ptrace(0x4206, grader, 0, 0) } == 0); // PTRACE_SEIZE does not stop it
    breach("processes", "leave the session", unsafe { setsid() } >= 0);
    let pid = unsafe { fork() };
    if pid == 0 {
        unsafe { _exit(0) }
    }
    breach("processes", "fork", pid > 0);
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(receiver));
    let mut threads = Vec::new();
    while threads.len() < tasks {
        let wait = receiver.clone();
        let body = move || drop(wait.lock().map(|end| end.recv()));
        match thread::Builder::new().stack_size(16384).spawn(body) {
            Ok(thread) => threads.push(thread),
            Err(_) => break,
        }
    }
    breach("processes", "more threads than permitted", tasks > 0 && threads.len() == tasks);
    let mut limits = [u64::MAX; 2];
    unsafe { getrlimit(6, limits.as_mut_ptr()) };
    breach("processes", "threads without limit", limits[1] > 1 << 22);
    drop(sender);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    breach("memory", "more memory than permitted", Vec::<u8>::new().try_reserve_exact(memory).is_ok());
    breach("environment", "environment of the grader", fs::read(format!("/proc/{grader}/environ")).is_ok());
    breach("environment", "/proc", fs::read("/proc/self/environ").is_ok() || fs::read_dir("/proc").is_ok());
    for (name, _) in env::vars().filter(|(name, _)| !"HOME TMPDIR LD_LIBRARY_PATH LANG TZ PWD".contains(name.as_str())) {
        breach("environment", &name, true);
    }
    breach("processes", "new namespace", unsafe { unshare(0x10000000) } == 0);
    println!("done");
}
"""


def probe(box: Sandbox) -> dict[str, list[str]]:
    """Tries to break out of `box` in both phases. Returns axis -> what succeeded; empty when all axes are sealed.

    Raises:
        SandboxUnavailable: the sandbox cannot even run a compiler, or a program.
    """
    outside = Path(tempfile.mkdtemp(prefix="rust-sandbox-canary-"))
    job = Path(tempfile.mkdtemp(prefix="job-", dir=box.folder))
    try:
        outside.chmod(0o777)  # reachable for anybody, were it not for the sandbox
        secret = outside / "secret"
        secret.write_text("secret\n")
        secret.chmod(0o666)
        told = f"secret='{secret}' folder='{outside}' grader={os.getpid()}\n"
        said = _canary_says(box.build(["/bin/sh", "-c", told + BUILD_CANARY], job), "shell")
        (job / "canary.rs").write_text(RUN_CANARY)
        built = box.build([f"{box.sysroot}/bin/rustc", "--edition=2021", "-Cdebuginfo=0", "canary.rs"], job)
        if built.exit_code != 0:
            raise SandboxUnavailable(f"rustc fails in it: {_last_words(built)}")
        facts = [str(secret), str(outside), str(os.getpid()), str(CANARY_LIMITS.memory_bytes)]
        # of an ordinary user all tasks count, so only that there is a limit can be seen; root's are not counted at all
        facts.append(str(CANARY_THREADS if box.changes_user or os.geteuid() == 0 else 0))
        said += _canary_says(box.run(job / "canary", facts, CANARY_LIMITS), "program")
        if secret.read_text() != "secret\n" or secret.stat().st_mode & 0o777 != 0o666 or len(list(outside.iterdir())) != 1:
            said.append("files the folder outside has changed")
    finally:
        shutil.rmtree(outside, ignore_errors=True)
        shutil.rmtree(job, ignore_errors=True)
    breaches: dict[str, list[str]] = {}
    for line in said:
        axis, what = line.split(" ", 1)
        breaches.setdefault(axis, []).append(what)
    return breaches


def _canary_says(done: Completed, name: str) -> list[str]:
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    if done.exit_code != 0 or lines[-1:] != ["done"]:
        raise SandboxUnavailable(f"the canary {name} does not run in it: {_last_words(done)}")
    return lines[:-1]


def _last_words(done: Completed) -> str:
    if done.spawn_error is not None:
        return done.spawn_error
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
    return f"{' '.join(words)} (exit code {done.exit_code}, signal {done.signal}{', timed out' * done.timed_out})"
