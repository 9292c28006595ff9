"""What a sandboxed command cannot do, on every axis and under every tier that this machine offers."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from judge import sandbox, sandbox_launcher
from judge.sandbox import ALLOCATOR_FILES, BUILD_LIMITS, MIB, RUN_LIMITS, Limits, Sandbox, SandboxUnavailable, open_sandbox

# Tier, and what may be added to it: "container" is root without namespaces, "bare" what an ordinary user may have left.
VARIANTS = {
    "bwrap": ("bwrap", ("namespaces",)),
    "landlock": ("landlock", ("namespaces", "chroot")),
    "container": ("landlock", ("chroot",)),
    "bare": ("landlock", ()),
}
QUICK = Limits(
    cpu_s=2,
    wall_s=8,
    memory_bytes=512 * MIB,
    file_bytes=2 * MIB,
    processes=24,
    output_bytes=256 * 1024,
    tmp_bytes=4 * MIB,
)

ATTACK_SOURCE = r"""
use std::ffi::{c_char, c_int, c_long, c_void, CString};
use std::io::{Read, Write};
use std::{env, fs, process, thread, time::Duration};
extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, ends: *mut c_int) -> c_int;
    fn fork() -> c_int;
    fn vfork() -> c_int;
    fn _exit(code: c_int) -> !;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn setsid() -> c_int;
    fn chmod(path: *const c_char, mode: u32) -> c_int;
    fn chown(path: *const c_char, user: u32, group: u32) -> c_int;
    fn truncate(path: *const c_char, size: i64) -> c_int;
    fn utimes(path: *const c_char, times: *const c_void) -> c_int;
    fn getrlimit(what: c_int, limits: *mut u64) -> c_int;
    fn setrlimit(what: c_int, limits: *const u64) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn getuid() -> u32;
    fn syscall(number: c_long, ...) -> c_long;
    fn signal(number: c_int, handler: usize) -> usize;
}
fn errno() -> i32 { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) }
fn say(what: &str, result: i64) { if result >= 0 { println!("{what} done") } else { println!("{what} {}", errno()) } }
fn told<T>(what: &str, result: std::io::Result<T>) { println!("{what} {}", if result.is_ok() { "done" } else { "refused" }) }
fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let rest = &words[1..];
    let c = |text: &str| CString::new(text).unwrap();
    match words[0].as_str() {
        "read" => for path in rest { told(path, fs::read(path)) },
        "list" => for path in rest { told(path, fs::read_dir(path)) },
        "write" => for path in rest {
            told(path, fs::write(path, "changed"));
            told(path, fs::OpenOptions::new().append(true).open(path));
            let p = c(path);
            unsafe {
                say(path, chmod(p.as_ptr(), 0o777) as i64);
                say(path, chown(p.as_ptr(), getuid(), getuid()) as i64);
                say(path, truncate(p.as_ptr(), 0) as i64);
                say(path, utimes(p.as_ptr(), std::ptr::null()) as i64);
                say(path, syscall(2, p.as_ptr(), 0o1000 as c_long)); // open(O_RDONLY | O_TRUNC)
            }
            told(path, fs::rename(path, env::temp_dir().join("moved")));
            told(path, fs::remove_file(path));
            told(path, fs::hard_link(path, env::temp_dir().join("hard")));
            let link = env::temp_dir().join("soft");
            let _ = fs::remove_file(&link);
            let _ = std::os::unix::fs::symlink(path, &link);
            told(path, fs::write(&link, "changed"));
            told(path, fs::read(&link));
        },
        "sockets" => for domain in [1, 2, 10, 16, 17, 38, 40] { for kind in [1, 2, 3] {
            say(&format!("socket {domain} {kind}"), unsafe { socket(domain, kind, 0) } as i64);
            let mut ends = [0; 2];
            say(&format!("pair {domain} {kind}"), unsafe { socketpair(domain, kind, 0, ends.as_mut_ptr()) } as i64);
        }},
        "fork" => for (name, make) in [("fork", fork as unsafe extern "C" fn() -> c_int), ("vfork", vfork)] {
            let pid = unsafe { make() };
            if pid == 0 { unsafe { _exit(0) } }
            say(name, pid as i64);
        },
        "exec" => for path in rest { told(path, process::Command::new(path).status()) },
        "kill" => {
            unsafe { signal(9 + 1, 1) };
            for pid in rest { unsafe { kill(pid.parse().unwrap(), 10) }; }
            println!("session {}", unsafe { setsid() } >= 0);
        },
        "threads" => {
            let count = rest[0].parse().unwrap();
            let mut threads = Vec::with_capacity(count);
            for _ in 0..count {
                match thread::Builder::new().stack_size(16384).spawn(|| thread::sleep(Duration::from_millis(300))) {
                    Ok(t) => threads.push(t),
                    Err(_) => break,
                }
            }
            println!("{}", threads.len());
        },
        "memory" => { let mut kept = Vec::new(); loop { kept.push(vec![1u8; 1 << 20]); } },
        "print" => { let line = [b'x'; 8192]; for _ in 0..8192 { std::io::stdout().write_all(&line).unwrap(); } },
        "loop" => loop { std::hint::black_box(0); },
        "stubborn" => { unsafe { signal(24, 1) }; loop { std::hint::black_box(0); } },
        "sleep" => thread::sleep(Duration::from_secs_f64(rest[0].parse().unwrap())),
        "env" => for (name, value) in env::vars() { println!("{name}={value}") },
        "limits" => for what in [0, 1, 4, 6, 7, 9] {
            let mut now = [0u64; 2];
            unsafe { getrlimit(what, now.as_mut_ptr()) };
            let more = [now[1].saturating_add(1), now[1].saturating_add(1)];
            say(&format!("{what} {}", now[1]), unsafe { setrlimit(what, more.as_ptr()) } as i64);
        },
        "fill" => {
            let (mut total, block) = (0, vec![1u8; 1 << 16]);
            for i in 0..rest[0].parse().unwrap() {
                let Ok(mut file) = fs::File::create(env::temp_dir().join(format!("f{i}"))) else { break };
                while total % (1 << 20) != 0 || total == i << 20 {
                    if file.write_all(&block).is_err() { println!("{total}"); return }
                    total += block.len();
                }
            }
            println!("{total}");
            thread::sleep(Duration::from_secs(3));
        },
        "big" => {
            let mut file = fs::File::create(env::temp_dir().join("big")).unwrap();
            for _ in 0..1000 { file.write_all(&[0u8; 65536]).unwrap() }
        },
        "left" => println!("{}", fs::read_dir(env::temp_dir()).unwrap().count()),
        "leave" => for i in 0..rest[0].parse().unwrap() { fs::write(env::temp_dir().join(i.to_string()), "x").unwrap() },
        "fds" => for fd in 0..6000 { if unsafe { fcntl(fd, 1) } >= 0 { println!("{fd}") } },
        "say" => { let fd: c_long = rest[0].parse().unwrap(); unsafe { syscall(1, fd, c"hello".as_ptr(), 5 as c_long) }; },
        "stdin" => { let mut text = String::new(); println!("{:?} {text:?}", std::io::stdin().read_to_string(&mut text)) },
        "exit" => process::exit(rest[0].parse().unwrap()),
        "abort" => process::abort(),
        "crash" => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
        "calls" => for number in rest {
            let n: c_long = number.parse().unwrap();
            let buffer = [0u64; 64];
            let result = unsafe { syscall(n, buffer.as_ptr(), buffer.as_ptr(), buffer.as_ptr(), 0 as c_long, 0 as c_long, 0 as c_long) };
            println!("{n} {}", if result >= 0 { 0 } else { errno() });
        },
        other => panic!("{other}"),
    }
}
"""


@pytest.fixture(scope="module")
def toolchain() -> Path:
    return Path(
        subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout.strip()
    )


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory, toolchain: Path) -> Path:
    folder = tmp_path_factory.mktemp("attack")
    (folder / "attack.rs").write_text(ATTACK_SOURCE)
    argv = [str(toolchain / "bin/rustc"), "--edition=2021", "-Awarnings", "attack.rs"]
    subprocess.run(argv, cwd=folder, check=True)
    return folder / "attack"


@pytest.fixture(scope="module", params=VARIANTS)
def box(request: pytest.FixtureRequest, toolchain: Path):
    tier, extras = VARIANTS[request.param]
    try:
        opened = Sandbox(tier, toolchain, extras=extras)
    except SandboxUnavailable as problem:
        pytest.skip(f"{tier} does not work here: {problem}")
    with opened:
        try:
            breaches = sandbox.probe(opened)
        except SandboxUnavailable as problem:
            pytest.skip(f"{tier} does not work here: {problem}")
        assert not breaches
        yield opened


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that every user can reach and change, with a secret in it: only the sandbox is in the way."""
    folder = Path("/var/tmp") / f"outside-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "secret").write_text("secret")
    (folder / "secret").chmod(0o666)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def job(box: Sandbox):
    folder = box.folder / f"job-{time.monotonic_ns()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def lines(done: sandbox.Completed) -> list[str]:
    assert done.spawn_error is None, done.spawn_error
    return done.stdout.decode().splitlines()


def shell(box: Sandbox, job: Path, script: str, limits: Limits = QUICK) -> sandbox.Completed:
    return box.build(["/bin/sh", "-c", script], job, limits)


def processes_with(marker: str) -> list[int]:
    """Processes of this machine whose command line contains `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker in (entry / "cmdline").read_bytes().decode("utf-8", "replace"):
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


def wait_until(condition, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# -- run phase: files ------------------------------------------------------------------------------------------------


def test_program_reads_nothing_outside(box, attack, outside, job):
    (job / "neighbour").write_text("secret")
    paths = [
        outside / "secret",
        "/etc/passwd",
        "/etc/shadow",
        Path.home() / ".bashrc",
        "/proc/self/environ",
        "/proc/self/maps",
    ]
    paths += [
        f"/proc/{os.getpid()}/environ",
        f"/proc/{os.getpid()}/cmdline",
        __file__,
        job / "neighbour",
        "/dev/shm",
        "/sys/kernel",
    ]
    paths += [
        f"/proc/self/root{outside}/secret",
        f"/tmp/../..{outside}/secret",
        f"{box.sysroot}/bin/rustc",
        "/dev/mem",
        "/dev/vda",
    ]
    assert {line.split()[-1] for line in lines(box.run(attack, ["read", *map(str, paths)], QUICK))} == {"refused"}
    folders = [outside, "/etc", "/proc", "/home", "/root", "/dev/shm", job, box.folder]
    assert {line.split()[-1] for line in lines(box.run(attack, ["list", *map(str, folders)], QUICK))} == {"refused"}


def test_program_changes_nothing_outside(box, attack, outside, job):
    (job / "neighbour").write_text("own")
    targets = [outside / "secret", job / "neighbour"]
    before = [target.stat() for target in targets]
    said = lines(box.run(attack, ["write", *map(str, targets), str(outside / "new"), "/usr/lib/os-release"], QUICK))
    assert not [line for line in said if line.endswith("done")]
    for target, old in zip(targets, before, strict=True):
        new = target.stat()
        assert (new.st_mode, new.st_size, new.st_mtime_ns, new.st_uid, new.st_nlink) == (
            old.st_mode, old.st_size, old.st_mtime_ns, old.st_uid, old.st_nlink)  # fmt: skip
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


def test_temporary_folder_is_empty_for_every_program(box, attack):
    for count in (3, 500):
        assert box.run(attack, ["leave", str(count)], QUICK).exit_code == 0
        for _ in range(3):
            assert lines(box.run(attack, ["left"], QUICK)) == ["0"]


def test_temporary_folder_is_limited(box, attack):
    done = box.run(attack, ["fill", "64"], QUICK)
    is_enforced = box.tier == "bwrap" or "mount" in box.powers
    if is_enforced:
        assert int(lines(done)[0]) <= QUICK.tmp_bytes
    else:
        assert done.signal == signal.SIGKILL and not done.timed_out


def test_file_size_is_limited(box, attack):
    done = box.run(attack, ["big"], replace(QUICK, tmp_bytes=64 * MIB))
    assert done.signal == signal.SIGXFSZ or done.exit_code == 101


def test_read_only_files_are_there_and_stay(box, attack, outside):
    path = outside / "secret"
    assert lines(box.run(attack, ["read", str(path)], QUICK, read_only=[path])) == [f"{path} done"]
    said = lines(box.run(attack, ["write", str(path)], QUICK, read_only=[path]))
    assert sum(line.endswith("done") for line in said) <= 1  # reading it through a link
    assert path.read_text() == "secret" and path.stat().st_mode & 0o777 == 0o666
    assert lines(box.run(attack, ["read", str(path)], QUICK)) == [f"{path} refused"]


def test_program_that_is_a_link_is_refused(box, job):
    (job / "program").symlink_to("/bin/sh")
    done = box.run(job / "program", [], QUICK)
    assert "not a regular file" in done.spawn_error


def test_a_program_does_not_read_what_it_is_made_of(box, attack):
    if box.tier != "landlock":
        pytest.skip("elsewhere the program has a path")
    assert {line.split()[-1] for line in lines(box.run(attack, ["read", "/program", str(attack)], QUICK))} == {"refused"}


# -- run phase: network, processes, memory, environment --------------------------------------------------------------


def test_no_socket_of_any_family(box, attack):
    said = lines(box.run(attack, ["sockets"], QUICK))
    assert len(said) == 42 and {line.split()[-1] for line in said} == {"1"}  # EPERM


def test_no_children(box, attack):
    assert lines(box.run(attack, ["fork"], QUICK)) == ["fork 1", "vfork 1"]
    said = lines(box.run(attack, ["exec", "/bin/sh", "/program", "/usr/bin/env"], QUICK))
    assert {line.split()[-1] for line in said} == {"refused"}


def test_threads_up_to_the_limit(box, attack):
    assert lines(box.run(attack, ["threads", "8"], QUICK)) == ["8"]
    started = int(lines(box.run(attack, ["threads", "3000"], replace(QUICK, memory_bytes=RUN_LIMITS.memory_bytes)))[0])
    if box.changes_user:
        assert 8 <= started <= QUICK.processes + sandbox_launcher.BWRAP_TASKS
    else:
        assert started < 3000


def test_signals_reach_nobody_else(box, attack):
    received = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
    child = subprocess.Popen(["sleep", "60"])
    try:
        for target in ("-1", str(os.getpid()), str(os.getppid()), str(child.pid), "0", "1", f"-{os.getpgrp()}"):
            assert lines(box.run(attack, ["kill", target], QUICK)) == ["session false"]
        assert child.poll() is None and not received
    finally:
        child.kill()
        child.wait()
        signal.signal(signal.SIGUSR1, previous)


def test_memory_is_limited(box, attack):
    done = box.run(attack, ["memory"], QUICK)
    assert done.signal == signal.SIGABRT and not done.timed_out and b"memory allocation" in done.stderr


def test_environment_is_fixed(box, attack, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    names = {line.split("=")[0] for line in lines(box.run(attack, ["env"], QUICK))}
    assert names - {"PWD"} == {"HOME", "TMPDIR", "LD_LIBRARY_PATH", "LANG", "TZ"}


def test_limits_cannot_be_raised(box, attack):
    said = lines(box.run(attack, ["limits"], QUICK))
    assert {line.split()[-1] for line in said} == {"1"}
    assert [int(line.split()[1]) for line in said][:2] == [3, QUICK.file_bytes]


def test_descriptors_are_the_passed_ones_only(box, attack):
    read_end, write_end = os.pipe()
    try:
        with socket.socket(), open(__file__):
            assert lines(box.run(attack, ["fds"], QUICK, pass_fds=[write_end])) == ["0", "1", "2", str(write_end)]
            assert box.run(attack, ["say", str(write_end)], QUICK, pass_fds=[write_end]).exit_code == 0
        assert os.read(read_end, 100) == b"hello"
    finally:
        os.close(read_end)
        os.close(write_end)


def test_no_number_of_a_passed_descriptor_disturbs_the_start(box, attack):
    """The caller's numbers and the launcher's own (rulesets, the program) come from the same small integers."""
    read_end, write_end = os.pipe()
    try:
        for wanted in range(3, 60):
            number = fcntl.fcntl(write_end, fcntl.F_DUPFD, wanted)
            try:
                done = box.run(attack, ["say", str(number)], QUICK, pass_fds=[number])
                assert (done.spawn_error, done.exit_code) == (None, 0), number
            finally:
                os.close(number)
    finally:
        os.close(read_end)
        os.close(write_end)


def test_standard_input_is_empty(box, attack):
    assert lines(box.run(attack, ["stdin"], QUICK)) == ['Ok(0) ""']


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are x86-64's")
def test_dangerous_calls_are_refused(box, attack):
    eperm = {
        "shmget": 29, "msgget": 68, "semget": 64, "ptrace": 101, "syslog": 103, "personality": 135, "mount": 165, "reboot": 169,
        "chroot": 161, "pivot_root": 155, "init_module": 175, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
        "setns": 308, "perf_event_open": 298, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "seccomp": 317,
        "memfd_create": 319, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425, "pidfd_send_signal": 424, "pidfd_open": 434,
        "pidfd_getfd": 438, "open_by_handle_at": 304, "setuid": 105, "setpgid": 109, "setpriority": 141, "sched_setaffinity": 203,
        "mknod": 133, "rt_sigqueueinfo": 129, "process_madvise": 440, "landlock_create_ruleset": 444, "memfd_secret": 447,
        "inotify_init": 253, "fanotify_init": 300, "mq_open": 240, "ioprio_set": 251, "settimeofday": 164, "sync": 162,
    }  # fmt: skip
    enosys = {"clone3": 435, "openat2": 437, "not there yet": 467, "x32": 0x40000000}
    said = lines(box.run(attack, ["calls", *(str(n) for n in (*eperm.values(), *enosys.values()))], QUICK))
    assert said == [f"{n} 1" for n in eperm.values()] + [f"{n} 38" for n in enosys.values()]


# -- run phase: how it ends -------------------------------------------------------------------------------------------


def test_endings_are_told_alike(box, attack):
    endings = [(done.exit_code, done.signal) for done in (
        box.run(attack, words, QUICK) for words in (["exit", "0"], ["exit", "3"], ["exit", "134"], ["abort"], ["crash"], ["nonsense"])
    )]  # fmt: skip
    assert endings == [(0, None), (3, None), (None, 6), (None, 6), (None, 11), (101, None)]


def test_cpu_limit_ends_a_loop(box, attack):
    for kind in ("loop", "stubborn"):
        done = box.run(attack, [kind], replace(QUICK, cpu_s=1, wall_s=60))
        assert (
            done.timed_out and done.signal in (signal.SIGXCPU, signal.SIGKILL) and 0.5 <= done.cpu_s <= 2.5
        )  # in ticks


def test_cpu_time_is_told_when_the_deadline_came_first(box, attack):
    done = box.run(attack, ["loop"], replace(QUICK, cpu_s=5, wall_s=0.6))
    assert done.timed_out and 0 < done.cpu_s < 5


def test_deadline_ends_a_sleeper(box, attack):
    started = time.monotonic()
    done = box.run(attack, ["sleep", "60"], replace(QUICK, wall_s=0.3))
    assert done.timed_out and done.signal == signal.SIGKILL and 0.3 <= time.monotonic() - started < 60


def test_too_much_output_is_cut_and_ends_nothing(box, attack):
    before = _peak_rss_bytes()
    done = box.run(attack, ["print"], QUICK)
    assert len(done.stdout) == QUICK.output_bytes
    assert done.exit_code == 0 and not done.timed_out
    assert _peak_rss_bytes() - before < 16 * MIB


def _peak_rss_bytes() -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


# -- build phase ------------------------------------------------------------------------------------------------------


def test_compiles_and_runs(box, job, toolchain):
    (job / "main.rs").write_text('fn main() { println!("hello") }')
    built = box.build([f"{toolchain}/bin/rustc", "--edition=2021", "main.rs"], job)
    assert (built.exit_code, built.stderr) == (0, b"")
    done = box.run(job / "main", [])
    assert (done.exit_code, done.stdout) == (0, b"hello\n")


def test_compile_time_reads_nothing_outside(box, job, toolchain, outside, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (job / "link").symlink_to(outside / "secret")
    paths = [
        outside / "secret",
        "/etc/passwd",
        "/etc/hostname",
        f"/proc/{os.getpid()}/environ",
        f"/proc/{os.getpid()}/cmdline",
    ]
    paths += [
        __file__,
        Path.home() / ".bashrc",
        "link",
        f"../../../../../../..{outside}/secret",
        "/dev/shm",
        "/sys/kernel/notes",
    ]
    source = (
        "".join(f'const _: &[u8] = include_bytes!("{path}");\n' for path in paths)
        + 'const _: &str = env!("HF_TOKEN");\n'
    )
    (job / "main.rs").write_text(source + "fn main() {}")
    built = box.build([f"{toolchain}/bin/rustc", "--edition=2021", "main.rs"], job)
    assert built.exit_code == 1 and built.stderr.decode().count("couldn't read") == len(paths)
    assert b"not defined at compile time" in built.stderr and b"hf_secret" not in built.stderr


def test_allocators_of_a_build_can_ask_for_large_pages(box, job):
    files = [path for path in ALLOCATOR_FILES if os.path.exists(path)]
    done = box.build(["/bin/cat", *files], job)
    assert (done.exit_code, done.stdout.decode()) == (0, "".join(Path(path).read_text() for path in files))


def test_build_writes_its_folder_only(box, job, outside, toolchain):
    targets = [
        outside / "secret",
        outside / "new",
        "/usr/lib/os-release",
        toolchain / "bin/rustc",
        "/tmp/new",
        "/dev/shm/new",
        "/new",
    ]
    script = "\n".join(f"if (: >> '{target}') 2>/dev/null; then echo '{target}'; fi" for target in targets)
    done = shell(
        box,
        job,
        f"{script}\n: > own && mkdir deep && : > deep/er && echo fine; cat /etc/passwd /dev/vda; chmod 0 {outside}/secret",
    )
    assert lines(done) == ["fine"]
    assert sorted(path.name for path in job.iterdir()) == ["deep", "own"]
    assert (outside / "secret").stat().st_mode & 0o777 == 0o666


def test_build_reaches_nobody(box, job, attack):
    shutil.copy(attack, job / "attack")
    said = lines(box.build([str(job / "attack"), "sockets"], job, QUICK))
    assert {line.split()[-1] for line in said if line.startswith("socket ")} == {"1"}
    assert not [
        line for line in said if line.startswith("pair ") and line.endswith("done") and not line.startswith("pair 1 ")
    ]
    assert lines(box.build([str(job / "attack"), "kill", str(os.getpid()), "-1"], job, QUICK))[-1] == "session false"


def test_build_leaves_no_children(box, job):
    for script in ("sleep 77.125 & exit 0", "(sleep 77.125 &) ; exit 3", "setsid sleep 77.125 & exit 0"):
        done = shell(box, job, script)
        assert done.spawn_error is None and not done.timed_out
        assert not processes_with("77.125")


def test_deadline_kills_the_whole_tree(box, job):
    started = time.monotonic()
    done = shell(
        box, job, "sleep 77.25 & (sleep 77.25 | sleep 77.25) & sleep 77.25; sleep 77.25", replace(QUICK, wall_s=0.4)
    )
    assert done.timed_out and time.monotonic() - started < 77
    assert not processes_with("77.25")


NAMELESS = "import ctypes, time; ctypes.CDLL(None).prctl(15, bytes([255, 199]), 0, 0, 0); print('named', flush=True); time.sleep(60)"


def test_a_process_whose_name_is_no_text_ends_no_compilation(box, job):
    """The launcher looks at every process of the machine when a compilation takes longer than a second."""
    with subprocess.Popen([sys.executable, "-c", NAMELESS], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"named\n"
            assert shell(box, job, f"sleep {1.5 * sandbox_launcher.LOOK_EVERY_S}; echo whole").stdout == b"whole\n"
        finally:
            other.kill()


def test_a_compiler_that_waits_for_nothing_is_ended_and_a_slow_one_is_not(box, job, request):
    if request.node.callspec.params["box"] not in ("bwrap", "landlock"):
        pytest.skip("the launcher's watch is the same in every tier, and takes seconds")
    reads_its_own_output = "read line < /proc/self/fd/1"  # as include_str! can: a pipe that nobody writes to
    computes_a_little = "for i in 1 2 3 4 5 6 7 8; do sleep 0.9; k=0; while [ $k -lt 50000 ]; do k=$((k+1)); done; done"
    with ThreadPoolExecutor(2) as pool:
        started, limits = time.monotonic(), replace(QUICK, cpu_s=20, wall_s=60)
        timed = lambda script: (shell(box, job, script, limits), time.monotonic() - started)
        (waits, waited_s), (computes, _) = pool.map(timed, (reads_its_own_output, computes_a_little))
    assert waits.timed_out and 4 < waited_s < 60, "long before its deadline, and at no CPU time"
    assert waits.cpu_s < 2
    assert computes.exit_code == 0 and not computes.timed_out


def test_compile_time_loop_is_ended(box, job, toolchain):
    (job / "main.rs").write_text("#![allow(long_running_const_eval)] const X: () = loop {}; fn main() { X }")
    limits = replace(BUILD_LIMITS, cpu_s=1)
    assert box.build([f"{toolchain}/bin/rustc", "--edition=2021", "main.rs"], job, limits).timed_out


def test_missing_command_or_folder_is_told(box, job):
    done = box.build(["/nowhere/rustc"], job)
    assert done.exit_code != 0 and b"No such file" in done.stderr + (done.spawn_error or "").encode()
    assert "No such file" in box.build(["/bin/sh", "-c", "exit 0"], job / "nowhere").spawn_error


# -- life of a sandbox ------------------------------------------------------------------------------------------------


def test_two_hundred_spawns_leave_nothing(attack, toolchain):
    scratch = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    scratch.chmod(0o755)
    mounts = Path("/proc/mounts").read_text()
    n_fds, children = len(os.listdir("/proc/self/fd")), _descendants(os.getpid())
    with open_sandbox("auto", toolchain, scratch) as box:
        (box.folder / "job").mkdir()
        for _ in range(100):
            assert box.run(attack, ["leave", "2"], QUICK).exit_code == 0
            assert shell(box, box.folder / "job", ": > file").exit_code == 0
        libraries = {"runtime", "lib64", "lib"}
        inside = [path for path in box.folder.rglob("*") if path.is_file() and not libraries & set(path.parts)]
        assert {path.name for path in inside} <= {"file", "filter-run", "filter-build"}
        assert len(_descendants(os.getpid())) <= len(children) + 2
    assert not list(scratch.iterdir()) and Path("/proc/mounts").read_text() == mounts
    assert len(os.listdir("/proc/self/fd")) == n_fds and _descendants(os.getpid()) == children
    scratch.rmdir()


def _descendants(pid: int) -> list[int]:
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text().split()]
    return children + [deeper for child in children for deeper in _descendants(child)]


def test_sixteen_threads_at_once(box, attack):
    def one(i: int) -> bool:
        done = box.run(attack, ["exit", str(i % 100)], QUICK)
        return (done.exit_code, done.spawn_error) == (i % 100, None)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(160)))


def test_a_loop_delays_nobody(box, attack):
    """Five programs, one after the other, are through while the loop still has CPU time left."""
    slow = threading.Thread(target=box.run, args=(attack, ["loop"], replace(QUICK, cpu_s=2, wall_s=60)))
    slow.start()
    assert all(box.run(attack, ["exit", "0"], QUICK).exit_code == 0 for _ in range(5))
    assert slow.is_alive()
    slow.join()


GRADER = """
import sys, threading
from pathlib import Path
from judge import sandbox
box = sandbox.Sandbox(sys.argv[1], Path(sys.argv[2]))
job = box.folder / "job"
job.mkdir()
for command in ("sleep 77.5 & sleep 77.5", "sleep 77.5"):
    threading.Thread(target=box.build, args=(["/bin/sh", "-c", command], job)).start()
threading.Thread(target=box.run, args=(Path(sys.argv[3]), ["sleep", "77.5"])).start()
print(box.folder, flush=True)
"""


@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_grader_leaves_nothing(variant, toolchain, attack):
    tier, _ = VARIANTS[variant]
    mounts = Path("/proc/mounts").read_text()
    argv = [sys.executable, "-c", GRADER, tier, str(toolchain), str(attack)]
    grader = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(sandbox.__file__).parent.parent
    )
    folder = Path(grader.stdout.readline().strip() or "/nowhere")
    if folder == Path("/nowhere"):
        pytest.skip(f"{tier} does not work here: {grader.communicate()[1][-200:]}")
    assert wait_until(lambda: len(processes_with("77.5")) >= 5)
    grader.kill()
    grader.communicate()
    assert wait_until(lambda: not processes_with("77.5") and not folder.exists())
    assert not processes_with(str(folder)) and Path("/proc/mounts").read_text() == mounts


def test_killed_launcher_is_the_machines_fault_and_is_replaced(box, attack):
    result = []
    sleeper = threading.Thread(target=lambda: result.append(box.run(attack, ["sleep", "77.625"], QUICK)))
    sleeper.start()
    assert wait_until(lambda: processes_with("77.625"))
    if box.tier == "bwrap" and "pid" not in box.powers:
        time.sleep(0.5)  # what bwrap starts is bound to its life only when it has started
    box._launcher.process.kill()
    sleeper.join()
    assert result[0].spawn_error is not None and wait_until(lambda: not processes_with("77.625"))
    assert box.run(attack, ["exit", "0"], QUICK).exit_code == 0


def test_closed_sandbox_takes_no_command(toolchain, attack):
    box = Sandbox("plain", toolchain)
    box.close()
    box.close()
    assert "closed" in box.run(attack, ["exit", "0"]).spawn_error


def test_plain_limits_and_kills(toolchain, attack):
    with open_sandbox("plain", toolchain) as box:
        assert box.report["files"] == box.report["network"] == "none"
        assert box.run(attack, ["memory"], QUICK).signal == signal.SIGABRT
        assert box.run(attack, ["sleep", "60"], replace(QUICK, wall_s=0.2)).timed_out
        done = box.build(["/bin/sh", "-c", "setsid sleep 77.75 & exit 0"], box.folder, QUICK)
        assert done.exit_code == 0 and wait_until(lambda: not processes_with("77.75"), 1.0)


# -- opening ----------------------------------------------------------------------------------------------------------


def test_canaries_find_every_axis_open_where_nothing_seals(toolchain):
    with Sandbox("plain", toolchain) as box:
        assert set(sandbox.probe(box)) == {"files", "network", "processes", "environment"}


def test_opens_proven_and_says_how(toolchain):
    with open_sandbox("auto", toolchain) as box:
        assert set(box.report) == set(sandbox.AXES) and "none" not in box.report.values()


def test_refusal_says_what_was_found_and_what_to_do(toolchain, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(
        SandboxUnavailable, match=r"Found: bwrap: bwrap is not on PATH.*Expected: .*Do: install bubblewrap"
    ):
        open_sandbox("bwrap", toolchain)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxUnavailable, match="this machine is riscv64"):
        open_sandbox("landlock", toolchain)
    with pytest.raises(ValueError, match="expected one of auto, bwrap, landlock, plain"):
        open_sandbox("docker", toolchain)


def test_limits_must_make_sense():
    with pytest.raises(ValueError, match="Limits.cpu_s is 0"):
        Limits(cpu_s=0)
    with pytest.raises(ValueError, match="open_files"):
        Limits(open_files=100_000)


@pytest.mark.parametrize(
    "machine, header", [("x86_64", "x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "asm-generic/unistd.h")]
)
def test_call_numbers_are_the_kernels(machine, header):
    path = Path("/usr/include") / header
    if not path.exists():
        pytest.skip(f"{path} is not installed (linux-libc-dev)")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text()))
    known["newfstatat"] = known.get("newfstatat", known.get("fstatat"))
    ours = sandbox_launcher.call_numbers(machine)
    assert len(set(ours.values())) == len(ours) > 150
    assert {name: number for name, number in ours.items() if name in known and int(known[name]) != number} == {}


@pytest.mark.parametrize("machine", sandbox_launcher.AUDIT_ARCH)
@pytest.mark.parametrize("phase", ["build", "run"])
def test_filter_decides_as_written(machine, phase):
    """The assembled filter, interpreted here: allowed, refused and argument-dependent calls, on both machines."""
    numbers = sandbox_launcher.call_numbers(machine)
    code = sandbox_launcher.for_process(
        sandbox_launcher.seccomp_filter(machine, phase, 4000 if phase == "run" else None), 77
    )
    allow, refuse, missing = sandbox_launcher._ALLOW, sandbox_launcher.REFUSE, sandbox_launcher.MISSING
    is_build = phase == "build"

    def verdict(name: str, *arguments: int) -> int:
        return _interpret(code, sandbox_launcher.AUDIT_ARCH[machine], numbers[name], arguments)

    assert verdict("read") == verdict("futex") == verdict("exit_group") == allow
    assert verdict("clone3") == verdict("openat2") == missing and verdict("mount") == verdict("unshare") == refuse
    assert verdict("clone", 0x3D0F00) == allow and verdict("clone", 0x10000000 | 0x10000) == refuse
    assert verdict("clone", 17) == (allow if is_build else refuse)
    assert verdict("execve") == (allow if is_build else refuse)
    assert verdict("execveat", 5) == (allow if is_build else refuse) and verdict("execveat", 4000) == allow
    assert (
        verdict("openat", 0, 0, os.O_RDONLY | os.O_TRUNC) == refuse
        and verdict("openat", 0, 0, os.O_RDWR | os.O_TRUNC) == allow
    )
    assert (
        verdict("kill", 77, 6) == verdict("tgkill", 77, 78, 6) == allow and verdict("kill", -1 & 0xFFFFFFFF) == refuse
    )
    assert verdict("prlimit64", 0) == allow and verdict("prlimit64", 1) == refuse
    assert verdict("ioctl", 1, 0x5401) == allow and verdict("ioctl", 1, 0x5412) == refuse
    assert verdict("fchmod") == (sandbox_launcher.PRETEND if is_build else refuse)
    assert verdict("socketpair", 1) == (allow if is_build else refuse) and verdict("socketpair", 2) == refuse
    assert _interpret(code, 0x40000003, 1, ()) == sandbox_launcher._KILL  # 32 bit calls
    assert _interpret(code, sandbox_launcher.AUDIT_ARCH[machine], 1000, ()) == missing


def _interpret(code: bytes, arch: int, number: int, arguments: tuple[int, ...]) -> int:
    """What classic BPF returns for one system call."""
    import struct

    data = struct.pack("=IIQ6Q", number, arch, 0, *arguments, *(0,) * (6 - len(arguments)))
    program = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    accumulator = at = 0
    while True:
        operation, if_true, if_false, k = program[at]
        at += 1
        if operation == 0x06:
            return k
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif operation == 0x54:
            accumulator &= k
        elif operation == 0x05:
            at += k
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[operation]
            at += if_true if holds else if_false


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
@pytest.mark.parametrize("tier", ["bwrap", "landlock"])
def test_works_for_an_ordinary_user(tier, toolchain):
    python = next((p for p in ("/usr/bin/python3", "/usr/local/bin/python3") if os.access(p, os.X_OK)), None)
    places = [toolchain, *(Path(place) for place in ("/opt/rust", "/usr/local", "/usr"))]
    reachable = [path for path in places if _has_toolchain(path) and _is_reachable(path)]
    if python is None:
        pytest.skip("needs /usr/bin/python3 or /usr/local/bin/python3: the one of this test may be out of another user's reach")
    if not reachable:
        pytest.skip(f"needs a Rust toolchain that another user can reach: {' '.join(map(str, places))} are closed or hold none")
    folder = Path("/var/tmp") / f"user-{os.getpid()}-{tier}"
    folder.mkdir()
    script = "import sys, pathlib; from judge import sandbox; print(sandbox.open_sandbox(sys.argv[1], pathlib.Path(sys.argv[2])).report)"
    try:
        (folder / "judge").mkdir()
        for name in ("sandbox.py", "sandbox_launcher.py", "errors.py"):
            shutil.copy(Path(sandbox.__file__).with_name(name), folder / "judge")
        done = subprocess.run(
            [python, "-c", script, tier, str(reachable[0])], cwd=folder, capture_output=True, text=True, timeout=60,
            user=65534, group=65534, extra_groups=[], env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    if re.search("not on PATH|Creating new namespace failed|has no Landlock|setting up uid map", done.stderr):
        pytest.skip(done.stderr[-300:])
    assert "RLIMIT_NPROC over all of the user's" in done.stdout, done.stderr


def _has_toolchain(path: Path) -> bool:
    return (path / "bin/rustc").exists() and (path / "lib/rustlib").exists()


def _is_reachable(path: Path) -> bool:
    """Whether every user may list and enter it; not so for what is not there."""
    return path.exists() and all(part.stat().st_mode & 0o005 == 0o005 for part in [path, *path.parents])


def test_a_place_that_is_not_there_is_no_toolchain(tmp_path):
    assert not _has_toolchain(tmp_path / "nowhere") and not _is_reachable(tmp_path / "nowhere")


def test_a_process_whose_name_is_no_text_is_read_too():
    """Names of threads are bytes, cut after 15: in the middle of a character, if need be; and any program may be beside ours."""
    renames = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'eval.x\\xc7', 0, 0, 0); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", renames], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
    try:
        process.stdout.readline()
        assert b"\xc7" in Path(f"/proc/{process.pid}/stat").read_bytes()
        state, group, _ = sandbox_launcher.stat_of(f"/proc/{process.pid}")
        assert state in "SRD" and group == process.pid
        assert sandbox_launcher.numbers_in_status(f"/proc/{process.pid}", "NSpid")[-1] == process.pid
        assert sandbox_launcher.cpu_of_group(process.pid) == 0.0
        assert sandbox_launcher.state_of_group(process.pid)[0] >= 0
    finally:
        process.communicate(b"")
