"""The small process that confines, starts and kills every sandboxed command.

One job: `judge/sandbox.py` starts this file once (`python -I -S judge/sandbox_launcher.py`) and hands it job descriptions over a
UNIX socket; for each it starts a process that applies the limits, enters the sandbox and executes the command, kills
the whole tree when the command ends, overruns its deadline or is no longer wanted, and reports how it ended.

Why a process of its own: forking a trainer that holds many gigabytes costs 100 ms and is unsafe from a thread; starting
an interpreter for every command costs 11 ms. From here a command costs 3 ms more than its own execution, because this process
imports next to nothing: every module that is imported here is page tables to copy on every fork. (A vfork in machine code
took half a millisecond, which was 3.5 % of grading's CPU: `results/judge-benchmark/spawn.json`.)

When the process that started it goes away, for whatever reason, it kills what is running, removes its folder and exits.
Not meant to be imported by anything but the tests.
"""

import _signal  # `signal` and `socket` drag in enum, selectors and re: half a millisecond more per fork
import _socket
import ctypes
import errno
import fcntl
import gc
import marshal
import os
import resource
import select
import stat
import struct
import sys
import time

# -- System call filter (seccomp): what is not listed is refused with EPERM, what is newer than the lists with ENOSYS. -

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMN = {"x86_64": 0, "aarch64": 1}
NEWEST_KNOWN_CALL = 462  # mseal, Linux 6.10; the same number on both machines

# name x86_64 aarch64 ("-": the machine has no such call). Harmless for anyone outside the process that makes them,
# given that Landlock or a mount namespace decides about files.
ALLOWED_CALLS = """
read 0 63; write 1 64; close 3 57; stat 4 -; fstat 5 80; lstat 6 -; poll 7 -; lseek 8 62; mmap 9 222; mprotect 10 226
munmap 11 215; brk 12 214; rt_sigaction 13 134; rt_sigprocmask 14 135; rt_sigreturn 15 139; pread64 17 67; pwrite64 18 68
readv 19 65; writev 20 66; access 21 -; pipe 22 -; select 23 -; sched_yield 24 124; mremap 25 216; msync 26 227
mincore 27 232; madvise 28 233; dup 32 23; dup2 33 -; pause 34 -; nanosleep 35 101; getitimer 36 102; alarm 37 -
setitimer 38 103; getpid 39 172; sendfile 40 71; exit 60 93; wait4 61 260; uname 63 160; fsync 74 82; fdatasync 75 83
ftruncate 77 46; getdents 78 -; getcwd 79 17; chdir 80 49; fchdir 81 50; rename 82 -; mkdir 83 -; rmdir 84 -; creat 85 -
link 86 -; unlink 87 -; symlink 88 -; readlink 89 -; umask 95 166; gettimeofday 96 169; getrlimit 97 163; getrusage 98 165
sysinfo 99 179; times 100 153; getuid 102 174; getgid 104 176; geteuid 107 175; getegid 108 177; getppid 110 173
getpgrp 111 -; setrlimit 160 164; getgroups 115 158; getresuid 118 148; getresgid 120 150; getpgid 121 155; getsid 124 156
capget 125 90; rt_sigpending 127 136; rt_sigtimedwait 128 137; rt_sigsuspend 130 133; sigaltstack 131 132; statfs 137 43
fstatfs 138 44; getpriority 140 141; arch_prctl 158 -; gettid 186 178; time 201 -; futex 202 98; sched_getaffinity 204 123
sched_getparam 143 121; sched_getscheduler 145 120; sched_get_priority_max 146 125; sched_get_priority_min 147 126
getdents64 217 61; set_tid_address 218 96; restart_syscall 219 128; fadvise64 221 223; timer_create 222 107
timer_settime 223 110; timer_gettime 224 108; timer_getoverrun 225 109; timer_delete 226 111; clock_gettime 228 113
clock_getres 229 114; clock_nanosleep 230 115; exit_group 231 94; epoll_create 213 -; epoll_wait 232 -; epoll_ctl 233 21
waitid 247 95; mkdirat 258 34; newfstatat 262 79; unlinkat 263 35; renameat 264 38; linkat 265 37; symlinkat 266 36
readlinkat 267 78; faccessat 269 48; pselect6 270 72; ppoll 271 73; set_robust_list 273 99; get_robust_list 274 100
splice 275 76; tee 276 77; epoll_pwait 281 22; timerfd_create 283 85; fallocate 285 47; timerfd_settime 286 86
timerfd_gettime 287 87; signalfd4 289 74; eventfd2 290 19; epoll_create1 291 20; dup3 292 24; pipe2 293 59; preadv 295 69
pwritev 296 70; renameat2 316 276; getrandom 318 278; membarrier 324 283; copy_file_range 326 285; preadv2 327 286
pwritev2 328 287; statx 332 291; rseq 334 293; close_range 436 436; faccessat2 439 439; epoll_pwait2 441 441
flock 73 32; getcpu 309 168; sync_file_range 277 84; futex_waitv 449 449; futex_wake 454 454; futex_wait 455 455
futex_requeue 456 456; cachestat 451 451; map_shadow_stack 453 453
"""

# Needed by a rule below (or by this process itself), not allowed outright.
OTHER_CALLS = """
open 2 -; openat 257 56; ioctl 16 29; clone 56 220; fork 57 -; vfork 58 -; execve 59 221; execveat 322 281; kill 62 129
tgkill 234 131; fcntl 72 25; prctl 157 167; prlimit64 302 261; clone3 435 435; openat2 437 437; socketpair 53 199
recvfrom 45 207; sendto 44 206; recvmsg 47 212; sendmsg 46 211; seccomp 317 277; capset 126 91
setsid 112 157; chroot 161 51; setgroups 116 159; setresuid 117 147; setresgid 119 149
landlock_create_ruleset 444 444; landlock_add_rule 445 445; landlock_restrict_self 446 446; pivot_root 155 41
mount 165 40; umount2 166 39; unshare 272 97; pidfd_open 434 434; chmod 90 -; fchmod 91 52; fchmodat 268 53
fchmodat2 452 452; chown 92 -; fchown 93 55; lchown 94 -; fchownat 260 54; utime 132 -; utimes 235 -; utimensat 280 88
futimesat 261 -
"""

# For the linker and cargo alone: changing a mode or a time is not governed by Landlock, so it "succeeds" and does nothing.
PRETENDED_IN_BUILD = "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat futimesat".split()

CLONE_THREAD = 0x10000
CLONE_NEW_ANYTHING = 0x7E020080  # mount, cgroup, uts, ipc, user, pid, net and time namespaces
AT_EMPTY_PATH = 0x1000
O_ACCMODE_AND_TRUNC = os.O_ACCMODE | os.O_TRUNC
TERMINAL_AND_PIPE_IOCTLS = (0x5401, 0x5413, 0x5421, 0x5450, 0x5451, 0x541B)  # TCGETS TIOCGWINSZ FIONBIO FIO(N)CLEX FIONREAD
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)  # dup, flags, locks, pipe size; no F_SETOWN, no leases
PRCTL_OPTIONS = (15, 16, 3, 0x53564D41, 41, 42)  # PR_SET_NAME PR_GET_NAME PR_GET_DUMPABLE PR_SET_VMA THP on/off
AF_UNIX = 1
OWN_PID = 0xFFFFFFF1  # placeholder in an assembled filter, see for_process

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _JUMP, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x05, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
PRETEND, REFUSE, MISSING = _ERRNO, _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS


def call_numbers(machine, table=ALLOWED_CALLS + OTHER_CALLS):
    """System call name -> number on `machine` ("x86_64" or "aarch64"), for every call in a table like those above."""
    entries = [entry.split() for entry in table.replace("\n", ";").split(";") if entry.strip()]
    numbers = {name: columns[COLUMN[machine]] for name, *columns in entries}
    return {name: int(number) for name, number in numbers.items() if number != "-"}


def seccomp_filter(machine, phase, exec_fd=None):
    """The assembled filter of one phase ("build" or "run"), as bytes of `struct sock_filter`.

    `exec_fd`: the descriptor from which the one permitted `execveat` starts the program; None permits `execve` by path
    (the bwrap tier, where the mounts decide what there is to execute). `OWN_PID` stands where the process id goes.
    """
    numbers = call_numbers(machine)
    calls = _checked_calls(phase, exec_fd) | dict.fromkeys(call_numbers(machine, ALLOWED_CALLS), _ALLOW)
    if phase == "build":
        calls |= dict.fromkeys(PRETENDED_IN_BUILD, PRETEND)
    blocks = {numbers[name]: _check_block(checks) for name, checks in calls.items() if name in numbers}
    code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, AUDIT_ARCH[machine]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    to_itself = _check_block([(0, "in", (OWN_PID,), _ALLOW), REFUSE])  # once: the number is filled in when it is known
    code += [(_EQUAL, 1, 0, numbers["kill"]), (_EQUAL, 0, len(to_itself), numbers["tgkill"]), *to_itself]
    # the x32 calls start at 2**30: they are newer than the list as well
    code += [(_AT_LEAST, 0, 1, NEWEST_KNOWN_CALL + 1), (_RETURN, 0, 0, MISSING), *_search_tree(sorted(blocks.items()))]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _search_tree(blocks):
    """Instructions that find the call's number in `blocks` by halves: the kernel walks them for every number at start."""
    if len(blocks) == 1:
        number, block = blocks[0]
        return [(_EQUAL, 0, len(block), number), *block, (_RETURN, 0, 0, REFUSE)]
    middle = len(blocks) // 2
    lower, upper = _search_tree(blocks[:middle]), _search_tree(blocks[middle:])
    return [(_AT_LEAST, 0, 1, blocks[middle][0]), (_JUMP, 0, 0, len(lower)), *lower, *upper]


def _checked_calls(phase, exec_fd):
    """Calls that depend on an argument: name -> list of (argument, test, values, result when the test holds), or a result."""
    truncates = [(2, "masked", (O_ACCMODE_AND_TRUNC, os.O_TRUNC), REFUSE)]  # before ABI 3 Landlock lets a read-only open truncate
    calls = {
        "open": [(1, *truncates[0][1:])],
        "openat": truncates,
        "openat2": MISSING,
        "clone3": MISSING,
        "ioctl": [(1, "in", TERMINAL_AND_PIPE_IOCTLS, _ALLOW), REFUSE],
        "fcntl": [(1, "in", FCNTL_COMMANDS, _ALLOW), REFUSE],
        "prctl": [(0, "in", PRCTL_OPTIONS, _ALLOW), REFUSE],
        "prlimit64": [(0, "in", (0,), _ALLOW), REFUSE],
    }
    if phase == "build":
        calls["clone"] = [(0, "any bit", CLONE_NEW_ANYTHING, REFUSE)]
        calls["fork"] = calls["vfork"] = calls["execve"] = calls["execveat"] = _ALLOW
        # std::process hands the child's pidfd over such a pair; it leads nowhere else
        calls["socketpair"] = [(0, "in", (AF_UNIX,), _ALLOW), REFUSE]
        calls["recvfrom"] = calls["sendto"] = calls["recvmsg"] = calls["sendmsg"] = _ALLOW
        return calls
    calls["clone"] = [(0, "any bit", CLONE_NEW_ANYTHING, REFUSE), (0, "any bit", CLONE_THREAD, _ALLOW), REFUSE]
    calls["execve"] = _ALLOW if exec_fd is None else REFUSE
    if exec_fd is not None:
        calls["execveat"] = [(0, "in", (exec_fd,), _ALLOW), REFUSE]
    return calls


def _check_block(checks):
    """Instructions that end in a return: tests in order, then a final result (allow when none is given)."""
    if isinstance(checks, int):
        return [(_RETURN, 0, 0, checks)]
    block = []
    for check in checks:
        if isinstance(check, int):
            return block + [(_RETURN, 0, 0, check)]
        argument, test, values, result = check
        block.append((_LOAD, 0, 0, 16 + 8 * argument))  # the low half: descriptors, flags, commands and pids are 32 bits wide
        if test == "masked":
            block += [(_AND, 0, 0, values[0]), (_EQUAL, 0, 1, values[1])]
        elif test == "any bit":
            block.append((_ANY_BIT, 0, 1, values))
        else:
            block += [(_EQUAL, len(values) - 1 - i, 0 if i < len(values) - 1 else 1, v) for i, v in enumerate(values)]
        block.append((_RETURN, 0, 0, result))
    return block + [(_RETURN, 0, 0, _ALLOW)]


def for_process(code, pid):
    """The filter `code` with its placeholder replaced by `pid`: the one process to which signals may be sent."""
    return code.replace(struct.pack("=I", OWN_PID), struct.pack("=I", pid))


# -- Kernel interface --------------------------------------------------------------------------------------------------

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 28, 36, 38
NO_ROOT_LOCKED = 0b11  # SECBIT_NOROOT and its lock: executing a program as uid 0 grants no capabilities
CAPABILITY_VERSION_3 = 0x20080522
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 4
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE, MNT_DETACH = 2, 4, 8, 0x4000, 0x40000, 2
LIBC = ctypes.CDLL(None, use_errno=True)


def checked(result, what):
    """`result` of a C call. Raises OSError when it says failure."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def call(number, *args):
    """One raw system call with integers and buffers. Raises OSError."""
    words = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in args]
    return checked(LIBC.syscall(ctypes.c_long(number), *words), f"system call {number}")


def prctl(option, argument):
    """prctl(2) on this process, with one argument. Raises OSError."""
    zero = ctypes.c_ulong(0)
    checked(LIBC.prctl(option, ctypes.c_ulong(argument), zero, zero, zero), f"prctl {option}")


def landlock_abi():
    """Version of Landlock that the running kernel offers; 0 when it has none or it is switched off."""
    try:
        return call(444, None, 0, 1)
    except OSError:
        return 0


# -- Landlock ----------------------------------------------------------------------------------------------------------

FS_EXECUTE, FS_WRITE_FILE, FS_READ_FILE, FS_READ_DIR = 1, 2, 4, 8
FS_TRUNCATE, FS_IOCTL_DEV = 1 << 14, 1 << 15
READ = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR
ON_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV
EVERYTHING = ((1 << 15) - 1) & ~(1 << 6 | 1 << 11)  # but making device files and device ioctls
# rights over files that each version added: 1 = thirteen, 2 = refer, 3 = truncate, 5 = device ioctl
FS_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
NET_RIGHTS = 3  # version 4: bind and connect TCP
SCOPES = 3  # version 6: abstract UNIX sockets and signals
LANDLOCK_RULE_PATH_BENEATH = 1


def landlock_ruleset(abi, rules):
    """A ruleset (descriptor) that denies every file access `abi` knows but `rules`: (O_PATH descriptor, rights) pairs."""
    handled = FS_RIGHTS[min(abi, 5)]
    attributes = struct.pack("=QQQ", handled, NET_RIGHTS if abi >= 4 else 0, SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = call(444, ctypes.c_char_p(attributes), size, 0)
    for descriptor, rights in rules:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= ON_FILES
        rule = struct.pack("=Qi", rights & handled, descriptor)
        call(445, ruleset, LANDLOCK_RULE_PATH_BENEATH, ctypes.c_char_p(rule), 0)
    return ruleset


# -- One job -----------------------------------------------------------------------------------------------------------

EXEC_FD = 4000  # above every limit on open files that a job may get: nothing that it opens can ever take this number
FIRST_HIGH_FD = EXEC_FD + 1  # where what is passed on waits for its place
RULESET_FD = EXEC_FD + 60  # where Landlock's ruleset waits: a passed descriptor may take its own number before it is used
BWRAP_FD = EXEC_FD + 70  # and what bwrap is given
BWRAP_TASKS = 4  # bwrap itself, its process 1, and two to spare while they start
SPARE_TASKS = 512  # what all jobs of an ordinary user may start together, beyond what the user runs already
CPU_GRACE_S = 1  # from SIGXCPU to SIGKILL
WATCH_EVERY_S = 0.05  # how often the size of a temporary folder is looked at where no file system limits it
KILL_AGAIN_S = 1.0
LOOK_EVERY_S = 1.0  # how often a compilation that takes longer than this is looked at
MAX_IDLE_LOOKS = 5  # asleep so many times in a row, nothing computed between: it waits for what will never come
TMP_INODES = 16384
BWRAP_ALWAYS = (
    "--unshare-user --unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try --die-with-parent --cap-drop ALL".split()
)


class Slot:
    """A root folder for run-phase jobs, used by one at a time: the runtime libraries, the program and an empty tmp."""

    def __init__(self, path):
        self.path = path
        self.tmp = path + "/tmp"
        self.tmp_bytes = None  # size of the tmpfs mounted on tmp; None while it is a plain folder
        self.ruleset = None  # what Landlock permits in here, and for which read-only files outside
        self.ruleset_for = None

    def forget(self):
        """tmp is another folder now."""
        self.tmp_bytes = None
        self.forget_ruleset()

    def forget_ruleset(self):
        if self.ruleset is not None:
            os.close(self.ruleset)
            self.ruleset = None


class Plan:
    """How a new process becomes the job: a list of system calls, all of which must succeed, the last is execve(at).

    Made before there is a process, for a child that works copies the pages of its parent.
    """

    def __init__(self, numbers):
        self.numbers = numbers
        self.steps = []  # (name of the call, its number, six arguments)
        self.uid = None
        self.program = None  # descriptor of what is executed in the run phase
        self.own_pid = None  # address at which the filter wants the process's number
        self._kept = []
        self._descriptors = []

    def step(self, name, *args):
        """Adds a call: integers, None, and buffers, which are kept."""
        words = []
        for argument in args:
            if argument is None or isinstance(argument, int):
                words.append(argument or 0)
            else:
                if isinstance(argument, (str, bytes)):
                    text = argument if isinstance(argument, bytes) else argument.encode("utf-8", "surrogateescape")
                    argument = ctypes.create_string_buffer(text)
                self._kept.append(argument)
                words.append(ctypes.addressof(argument))
        self.steps.append((name, self.numbers[name], *words, *(0,) * (6 - len(words))))

    def limits(self, limits):
        """Adds the calls that set `limits`: (resource, (soft, hard)) pairs."""
        values = b"".join(struct.pack("=qq", *pair) for _, pair in limits)
        block = ctypes.create_string_buffer(values)
        self._kept.append(block)
        for index, (what, _) in enumerate(limits):
            self.step("prlimit64", 0, what, ctypes.addressof(block) + 16 * index)

    def execute(self, path, argv, env):
        """Adds the last call: `path`, or `program` when there is one."""
        words = [word.encode("utf-8", "surrogateescape") for word in argv]
        settings = [f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in env.items()]
        arrays = [(ctypes.c_char_p * (len(texts) + 1))(*texts) for texts in (words, settings)]
        if self.program is None:
            self.step("execve", path, *arrays)
        else:
            self.step("execveat", EXEC_FD, b"", *arrays, AT_EMPTY_PATH)

    def keep(self, descriptor):
        """`descriptor`, to be closed with the plan."""
        self._descriptors.append(descriptor)
        return descriptor

    def close(self):
        for descriptor in self._descriptors:
            os.close(descriptor)


class Job:
    """A running command, as the launcher sees it. `request` is what `judge/sandbox.py` sent."""

    def __init__(self, request, reply, slot):
        self.request = request
        self.reply = reply
        self.slot = slot  # None in the build phase
        self.pid = 0  # also the number of its process group, which seccomp keeps it from leaving
        self.deadline = time.monotonic() + request["wall_s"]
        self.status = None  # wait status of the group's leader, once it is dead
        self.why_killed = None  # "deadline" | "tmp" | "cancelled"
        self.cpu_s = 0.0  # of those that were waited for
        self.cpu_at_kill_s = 0.0  # of those that nobody may get to wait for
        self.said = None  # where bwrap reports on itself
        self.next_look = time.monotonic() + LOOK_EVERY_S if slot is None else self.deadline
        self.idle_looks = 0
        self.last_ticks = -1

    def has_started(self):
        """Whether bwrap says that the command itself came to an end."""
        try:
            return b"exit-code" in os.read(self.said, 4096)
        except BlockingIOError:
            return False

    def close(self):
        if self.said is not None:
            os.close(self.said)
            self.said = None


class WaysIn:
    """How a job gets into its tier: fills in the plan of what its process does between fork and exec."""

    def __init__(self, config, powers, machine):
        self.config = config
        self.powers = powers
        self.tier = config["tier"]
        self.folder = config["folder"]
        self.abi = landlock_abi() if self.tier == "landlock" else 0
        self.user_tasks = (-1e9, 0)  # when counted, how many
        exec_fd = EXEC_FD if self.tier == "landlock" else None
        self.filters = {"build": Filter(machine, "build", None), "run": Filter(machine, "run", exec_fd)}
        self.build_rules = None
        if self.tier == "landlock":
            rules = [(os.open(path, os.O_PATH), READ) for path in config["readable"]]
            self.build_rules = [*rules, (os.open("/dev/null", os.O_PATH), FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE)]
        for phase, syscall_filter in self.filters.items() if self.tier == "bwrap" else ():
            with open(f"{self.folder}/filter-{phase}", "wb") as copy:
                copy.write(for_process(syscall_filter.code, 2))  # bwrap's own is process 1

    def prepare(self, job, plan, sources):
        {"bwrap": self._plan_bwrap, "landlock": self._plan_landlock, "plain": self._plan_plain}[self.tier](job, plan, sources)

    def _task_limit(self, processes, uid):
        extra = BWRAP_TASKS if self.tier == "bwrap" else 0
        if uid is not None:
            return processes + extra
        if time.monotonic() - self.user_tasks[0] > 1.0:
            self.user_tasks = (time.monotonic(), tasks_of(os.getuid()))
        return self.user_tasks[1] + processes + extra + SPARE_TASKS

    def _begin(self, job, plan, sources, root, folder):
        """What all tiers have in common: session, descriptors, root, folder, limits, user."""
        plan.step("setsid")
        targets = [0, 1, 2, *job.request["fds"]]
        if len(targets) > 3:  # a target may be the number that another source has now
            for index, source in enumerate(sources):
                plan.step("dup3", source, FIRST_HIGH_FD + index, os.O_CLOEXEC)
            sources = range(FIRST_HIGH_FD, FIRST_HIGH_FD + len(sources))
        if plan.program is not None:
            plan.step("dup3", plan.program, EXEC_FD, os.O_CLOEXEC)
        for source, target in zip(sources, targets, strict=True):
            plan.step("dup3", source, target, 0)
        if root is not None:
            plan.step("chroot", root)
        if folder is not None:
            plan.step("chdir", folder)
        plan.limits(resource_limits(job.request, self._task_limit(job.request["processes"], plan.uid)))
        if plan.uid is not None:
            plan.step("setgroups", 0, None)
            plan.step("setresgid", plan.uid, plan.uid, plan.uid)
            plan.step("setresuid", plan.uid, plan.uid, plan.uid)
        plan.step("prctl", PR_SET_PDEATHSIG, _signal.SIGKILL)

    def _plan_plain(self, job, plan, sources):
        request = job.request
        folder = job.slot.tmp if job.slot else request["cwd"]
        self._begin(job, plan, sources, None, folder)
        plan.program = None
        path = job.slot.path + "/program" if job.slot else request["argv"][0]
        plan.execute(path, request["argv"], environment(request, folder))

    def _plan_bwrap(self, job, plan, sources):
        request = job.request
        plan.program = None
        syscall_filter = os.open(f"{self.folder}/filter-{request['phase']}", os.O_RDONLY | os.O_CLOEXEC)
        job.said, said_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        given = [plan.keep(fcntl.fcntl(descriptor, fcntl.F_DUPFD, BWRAP_FD)) for descriptor in (syscall_filter, said_w)]
        os.close(syscall_filter)
        os.close(said_w)
        argv = [self.config["bwrap"], *BWRAP_ALWAYS, "--seccomp", str(given[0]), "--json-status-fd", str(given[1])]
        if job.slot:
            folder = "/tmp"
            argv += ["--ro-bind", job.slot.path, "/"]
            if job.slot.tmp_bytes is None:
                argv += ["--size", str(request["tmp_bytes"]), "--tmpfs", "/tmp"]
            else:  # as large, and with a limit on the number of files
                argv += ["--bind", job.slot.tmp, "/tmp"]
                if plan.uid is not None:
                    os.chown(job.slot.tmp, plan.uid, plan.uid)
        else:
            folder = request["cwd"]
            shown = [word for path in request["read_only"] for word in ("--ro-bind", path, path)]
            argv += [*self.config["bwrap_build"], *shown, "--bind", folder, folder, "--remount-ro", "/"]
        argv += ["--chdir", folder, "--", *request["argv"]]
        self._begin(job, plan, sources, None, None)
        plan.execute(argv[0], argv, environment(request, folder))

    def _plan_landlock(self, job, plan, sources):
        request, slot = job.request, job.slot
        prefix, root, folder, argv = "", None, request["cwd"], request["argv"]
        if slot is None:
            with_rights = [(folder, EVERYTHING), *((path, READ) for path in request["read_only"])]
            ruleset = plan.keep(self._ruleset(with_rights, self.build_rules))
        else:
            if plan.uid is not None:
                os.chown(slot.tmp, plan.uid, plan.uid)
            if "chroot" in self.powers:
                root, folder, outside = slot.path, "/tmp", ()
            else:
                prefix, folder, outside = slot.path, slot.tmp, (self.config["loader"], *request["read_only"])
            ruleset = self._slot_ruleset(slot, outside)
            os.unlink(slot.path + "/program")  # it runs from its descriptor, and cannot read what it holds
        plan.step("dup3", ruleset, RULESET_FD, os.O_CLOEXEC)
        self._begin(job, plan, sources, root, folder)
        header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
        plan.step("capset", header, bytes(24))
        plan.step("prctl", PR_SET_NO_NEW_PRIVS, 1)
        plan.step("landlock_restrict_self", RULESET_FD, 0)
        syscall_filter = self.filters[request["phase"]]
        plan.own_pid = syscall_filter.own_pid
        plan.step("seccomp", SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, syscall_filter.program)
        plan.execute(argv[0], argv, environment(request, folder, prefix))

    def _slot_ruleset(self, slot, outside):
        if slot.ruleset is None or slot.ruleset_for != outside:
            slot.forget_ruleset()
            in_tmp = EVERYTHING & ~FS_EXECUTE
            slot.ruleset = self._ruleset([(slot.path, READ), (slot.tmp, in_tmp), *((path, READ) for path in outside)], [])
            slot.ruleset_for = outside
        return slot.ruleset

    def _ruleset(self, with_rights, rules):
        opened = [(os.open(path, os.O_PATH | os.O_CLOEXEC), rights) for path, rights in with_rights]
        try:
            return landlock_ruleset(self.abi, rules + opened)
        finally:
            for descriptor, _ in opened:
                os.close(descriptor)


class Launcher:
    """The single-threaded server: see the module's docstring."""

    def __init__(self, control, config, powers):
        self.control = control
        self.config = config
        self.powers = powers
        self.tier = config["tier"]
        self.folder = config["folder"]
        self.jobs = {}  # process group -> Job
        self.by_reply = {}  # descriptor -> Job
        self.slots = []
        self.free_slots = []
        self.shared = {}  # read-only file, as it was -> our copy of it
        self.uids = unprivileged_uids() if self.tier != "plain" and os.geteuid() == 0 else None
        self.n_uids_used = 0
        self.null = os.open("/dev/null", os.O_RDWR)
        machine = os.uname().machine
        self.numbers = call_numbers(machine)
        self.ways_in = WaysIn(config, powers, machine)
        for inside, source in config["runtime"].items():
            os.makedirs(os.path.dirname(self.folder + "/runtime" + inside), exist_ok=True)
            copy_file(source, self.folder + "/runtime" + inside, 0o555)

    # -- the loop --------------------------------------------------------------------------------------------------

    def serve(self, parent):
        """Until the other end of the control socket is closed or the process `parent` (a pidfd or None) dies."""
        wake, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        _signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        self.poller = select.epoll()
        for descriptor in (wake, self.control.fileno(), parent):
            if descriptor is not None:
                self.poller.register(descriptor, select.EPOLLIN)
        while True:
            for descriptor, _ in self.poller.poll(self._seconds_to_wait()):
                if descriptor == wake:
                    os.read(wake, 4096)
                elif descriptor == parent or descriptor == self.control.fileno() and not self._accept():
                    return
                elif descriptor in self.by_reply:
                    self.poller.unregister(descriptor)
                    self._kill(self.by_reply[descriptor], "cancelled")
            self._reap()
            self._enforce()

    def close(self):
        """Kills every job, waits until they are gone, and removes the folder."""
        for job in list(self.jobs.values()):
            self._kill(job, "cancelled")
        give_up = time.monotonic() + 2.0
        while self.jobs and time.monotonic() < give_up:
            self._reap()
            time.sleep(0.002)
        for slot in self.slots:
            if slot.tmp_bytes is not None:
                LIBC.umount2(slot.tmp.encode(), MNT_DETACH)
        remove_tree(self.folder)

    def _seconds_to_wait(self):
        if not self.jobs:
            return None
        if any(self._watches_tmp(job) for job in self.jobs.values()):
            return WATCH_EVERY_S
        return max(0.0, min(min(job.deadline, job.next_look) for job in self.jobs.values()) - time.monotonic())

    def _watches_tmp(self, job):
        return self.tier != "bwrap" and job.slot is not None and job.slot.tmp_bytes is None

    def _enforce(self):
        now = time.monotonic()
        for job in list(self.jobs.values()):
            if now >= job.deadline:
                job.deadline = job.next_look = now + KILL_AGAIN_S
                self._kill(job, "deadline")
            elif now >= job.next_look and self._waits_in_vain(job, now):
                self._kill(job, "deadline")
            elif self._watches_tmp(job) and is_larger_than(job.slot.tmp, job.request["tmp_bytes"]):
                self._kill(job, "tmp")

    def _waits_in_vain(self, job, now):
        """A compiler made to read a pipe (its own output, by way of /proc) uses no CPU time, and would hold its worker for minutes."""
        job.next_look = now + LOOK_EVERY_S
        ticks, is_asleep = state_of_group(job.pid)
        job.idle_looks = job.idle_looks + 1 if is_asleep and ticks == job.last_ticks else 0
        job.last_ticks = ticks
        return job.idle_looks >= MAX_IDLE_LOOKS

    def _kill(self, job, why):
        if why is not None and job.status is None and job.why_killed is None:
            job.why_killed = why
            if self.tier == "bwrap":  # those inside die with their namespace, and mostly nobody gets to see what they used
                job.cpu_at_kill_s = cpu_of_group(job.pid)
        try:
            os.killpg(job.pid, _signal.SIGKILL)
        except ProcessLookupError:
            pass  # already gone

    def _reap(self):
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            pid = dead.si_pid
            job = self.jobs.get(pid) or self.jobs.get(os.getpgid(pid))
            if job and pid == job.pid:
                self._kill(job, None)  # now, while the dead leader still keeps the number from being used again
            _, status, usage = os.wait4(pid, 0)
            if job:
                job.cpu_s += usage.ru_utime + usage.ru_stime
                if pid == job.pid:
                    job.status = status
                if job.status is not None and not group_is_alive(job.pid):
                    self._finish(job)

    def _finish(self, job):
        del self.jobs[job.pid]
        del self.by_reply[job.reply.fileno()]
        error = None
        if job.said is not None and not job.has_started() and job.why_killed is None and os.WIFEXITED(job.status):
            error = "bwrap could not set up the sandbox"
        job.close()
        if self.tier == "plain":
            kill_strays(self.jobs)
        if job.slot:
            self._clear(job)
        self._answer(
            job.reply, {"status": job.status, "cpu_s": max(job.cpu_s, job.cpu_at_kill_s), "why_killed": job.why_killed, "error": error}
        )

    def _answer(self, reply, message):
        try:
            reply.send(marshal.dumps(message), _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except OSError:
            pass  # nobody is waiting any more
        reply.close()

    # -- starting ---------------------------------------------------------------------------------------------------

    def _accept(self):
        """Takes one request. Returns False when the other side has gone."""
        message, ancillary, _, _ = self.control.recvmsg(1 << 18, _socket.CMSG_SPACE(64 * 4), _socket.MSG_CMSG_CLOEXEC)
        if not message:
            return False
        descriptors = [d for _, _, data in ancillary for d in struct.unpack(f"={len(data) // 4}i", data)]
        reply = _socket.socket(fileno=descriptors[0])
        try:
            self._start(marshal.loads(message), reply, descriptors[1:])
        except (OSError, ValueError, EOFError) as problem:
            self._answer(reply, {"status": None, "error": str(problem)})
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        return True

    def _start(self, request, reply, descriptors):
        slot = None
        if request["phase"] == "run":
            slot = self.free_slots.pop() if self.free_slots else self._new_slot()
        job = Job(request, reply, slot)
        plan = Plan(self.numbers)
        try:
            if slot:
                self._furnish(slot, request, plan)
                plan.uid = self._next_uid()
            self.ways_in.prepare(job, plan, [self.null, *descriptors])
            job.pid = fork_spawn(plan, reply.fileno())
        except OSError:
            job.close()
            if slot:
                self._clear(job)
            raise
        finally:
            plan.close()
        self.jobs[job.pid] = self.by_reply[reply.fileno()] = job
        self.poller.register(reply.fileno(), select.EPOLLIN)

    def _next_uid(self):
        """A user that owns nothing and runs nothing else, when we are root: root's tasks are never counted."""
        if self.uids is None:
            return None
        self.n_uids_used += 1
        return self.uids[self.n_uids_used % len(self.uids)]

    # -- slots ------------------------------------------------------------------------------------------------------

    def _new_slot(self):
        slot = Slot(f"{self.folder}/root-{len(self.slots)}")
        self.slots.append(slot)
        os.makedirs(slot.tmp)
        for inside in self.config["runtime"]:
            os.makedirs(os.path.dirname(slot.path + inside), exist_ok=True)
            os.link(self.folder + "/runtime" + inside, slot.path + inside)
        return slot

    def _furnish(self, slot, request, plan):
        """Puts program and read-only files into the slot."""
        for path in request["read_only"]:
            os.makedirs(os.path.dirname(slot.path + path), exist_ok=True)
            os.link(self._shared_copy(path), slot.path + path)
        link_or_copy(request["binary"], slot.path + "/program", 0o755)
        if "mount" in self.powers and slot.tmp_bytes != request["tmp_bytes"]:
            self._mount_tmp(slot, request["tmp_bytes"])
        plan.program = plan.keep(os.open(slot.path + "/program", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))

    def _shared_copy(self, path):
        status = os.stat(path)
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self.shared:
            os.makedirs(self.folder + "/shared", exist_ok=True)
            self.shared[key] = f"{self.folder}/shared/{len(self.shared)}"
            copy_file(path, self.shared[key], 0o555)
        return self.shared[key]

    def _mount_tmp(self, slot, tmp_bytes):
        if slot.tmp_bytes is not None:
            checked(LIBC.umount2(slot.tmp.encode(), MNT_DETACH), "umount")
        slot.forget()
        options = f"size={tmp_bytes},nr_inodes={TMP_INODES},mode=0700".encode()
        checked(LIBC.mount(b"tmpfs", slot.tmp.encode(), b"tmpfs", ctypes.c_ulong(MS_NOSUID | MS_NODEV | MS_NOEXEC), options), "mount")
        slot.tmp_bytes = tmp_bytes

    def _clear(self, job):
        """Gives the slot back as it was; one that cannot be emptied is not used again."""
        slot = job.slot
        try:
            for path in (*job.request["read_only"], "/program"):
                if os.path.lexists(slot.path + path):
                    os.unlink(slot.path + path)
            if os.listdir(slot.tmp):
                self._replace_tmp(slot)
        except OSError:
            return
        self.free_slots.append(slot)

    def _replace_tmp(self, slot):
        """What a job left in tmp is unmounted, or moved away and deleted by a child, however much it is."""
        if slot.tmp_bytes is not None:
            checked(LIBC.umount2(slot.tmp.encode(), MNT_DETACH), "umount")
        else:
            old = f"{self.folder}/trash-{time.monotonic_ns()}"
            os.rename(slot.tmp, old)
            os.mkdir(slot.tmp)
            if os.fork() == 0:
                remove_tree(old)
                os._exit(0)
        slot.forget()


# -- From a plan to a process ------------------------------------------------------------------------------------------


def fork_spawn(plan, reply):
    """Process id of a fork that follows `plan`; what goes wrong in it is told on the descriptor `reply`."""
    pid = os.fork()
    if pid:
        return pid
    try:
        _signal.set_wakeup_fd(-1)
        if plan.own_pid is not None:
            ctypes.c_uint.from_address(plan.own_pid).value = os.getpid()
        for name, *step in plan.steps:
            checked(LIBC.syscall(*map(ctypes.c_long, step)), name)
    except BaseException as problem:  # anything at all: this process must not go on as a second launcher
        os.write(reply, marshal.dumps({"status": None, "error": str(problem)}))
    finally:
        os._exit(127)


class Filter:
    """An assembled seccomp filter as the kernel takes it: `program` is its `struct sock_fprog`."""

    def __init__(self, machine, phase, exec_fd):
        self.code = seccomp_filter(machine, phase, exec_fd)
        self._buffer = ctypes.create_string_buffer(self.code, len(self.code))
        start = ctypes.addressof(self._buffer)
        self.program = ctypes.create_string_buffer(struct.pack("@HP", len(self.code) // 8, start))
        self.own_pid = start + self.code.index(struct.pack("=I", OWN_PID))


# -- Small parts -------------------------------------------------------------------------------------------------------


def environment(request, folder, prefix=""):
    """The job's whole environment: the fixed list, its one folder, and where its libraries are (under `prefix`)."""
    env = {"HOME": folder, "TMPDIR": folder}
    if request["library_path"]:
        env["LD_LIBRARY_PATH"] = ":".join(prefix + path for path in request["library_path"])
    return {**env, **request["env"]}


def resource_limits(request, n_tasks):
    """(resource, (soft, hard)) to set in the child; its children inherit them and nothing can raise them again."""
    cpu_s = max(1, -int(-request["cpu_s"] // 1))
    limits = []
    for what, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_FSIZE, request["file_bytes"]),
        (resource.RLIMIT_NPROC, n_tasks),
        (resource.RLIMIT_NOFILE, request["open_files"]),
        (resource.RLIMIT_AS, request["memory_bytes"]),
    ):
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        limits.append((what, (value, value)))
    return [(resource.RLIMIT_CPU, (cpu_s, cpu_s + CPU_GRACE_S)), *limits]


def copy_file(source, target, mode):
    """Copies one regular file. Raises OSError."""
    source_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    target_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        if not stat.S_ISREG(os.fstat(source_fd).st_mode):
            raise OSError(errno.EINVAL, f"not a regular file: {source}")
        while os.sendfile(target_fd, source_fd, None, 1 << 30):
            pass
        os.fchmod(target_fd, mode)
    finally:
        os.close(source_fd)
        os.close(target_fd)


def link_or_copy(source, target, mode):
    """Hard link of the regular file `source`, or a copy where there can be none. Symbolic links are refused."""
    if not stat.S_ISREG(os.lstat(source).st_mode):
        raise OSError(errno.EINVAL, f"not a regular file: {source}")
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        copy_file(source, target, mode)
    else:
        if os.stat(target).st_mode & mode != mode:
            os.chmod(target, mode)


def remove_tree(path):
    """Deletes a folder and what is in it, as far as possible, without following links."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    remove_tree(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(path)
    except OSError:
        pass  # the caller has nobody left to tell


def is_larger_than(path, n_bytes, max_entries=4096):
    """Whether the files under `path` hold more than `n_bytes` or number more than `max_entries`."""
    n_entries, folders = 0, [path]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    n_entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    n_bytes -= entry.stat(follow_symlinks=False).st_blocks * 512
                    if n_bytes < 0 or n_entries > max_entries:
                        return True
        except OSError:
            pass  # it changes under our hands
    return False


def group_is_alive(group):
    """Whether the process group still has a member, dead ones that nobody waited for included."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def processes():
    """Folders of all processes that /proc shows."""
    return [f"/proc/{name}" for name in os.listdir("/proc") if name.isdigit()]


def stat_of(path):
    """State, process group and CPU ticks of a process or thread; None when it is gone."""
    try:
        with open(path + "/stat", errors="replace") as line:
            fields = line.read().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[2]), int(fields[11]) + int(fields[12])


def cpu_of_group(group):
    """CPU seconds so far of the living members of a process group but its leader."""
    stats = [stat_of(folder) for folder in processes() if folder != f"/proc/{group}"]
    return sum(stat[2] for stat in stats if stat is not None and stat[1] == group) / os.sysconf("SC_CLK_TCK")


def numbers_in_status(path, key):
    """A list like NSpgid of /proc/PID/status, one number per PID namespace, outermost first; [] when it is gone."""
    try:
        with open(path + "/status", errors="replace") as lines:  # any process may give itself a name that is no text
            return next(([int(word) for word in line.split()[1:]] for line in lines if line.startswith(key + ":")), [])
    except OSError:
        return []


def state_of_group(group):
    """CPU ticks so far of a process group, and whether all of its threads sleep: neither run, nor wait for a core or a disk.

    `group` is a number of our PID namespace, which need not be the one that /proc shows.
    """
    level = len(numbers_in_status("/proc/self", "NSpid")) - 1
    members = [folder for folder in processes() if numbers_in_status(folder, "NSpgid")[level : level + 1] == [group]]
    try:
        threads = [f"{folder}/task/{name}" for folder in members for name in os.listdir(f"{folder}/task")]
    except OSError:
        return -1, False  # one came to its end just now
    stats = [stat for stat in map(stat_of, threads) if stat is not None]
    return sum(stat[2] for stat in stats), bool(stats) and all(stat[0] in "SIZ" for stat in stats)


def kill_strays(jobs):
    """Kills adopted processes of no known group: a command of the plain tier may start a session of its own."""
    try:
        with open("/proc/thread-self/children") as listing:
            children = [int(pid) for pid in listing.read().split()]
    except OSError:
        return  # a kernel without CONFIG_PROC_CHILDREN
    for pid in children:
        try:
            if os.getpgid(pid) not in jobs and os.getpgid(pid) != os.getpgrp():
                os.kill(pid, _signal.SIGKILL)
        except ProcessLookupError:
            pass


def tasks_of(uid):
    """How many threads the user runs on this machine, as far as /proc tells."""
    n_tasks = 0
    for folder in processes():
        try:
            if os.stat(folder).st_uid == uid:
                n_tasks += os.stat(folder + "/task").st_nlink - 2
        except OSError:
            pass  # gone meanwhile
    return n_tasks


def unprivileged_uids():
    """A range of user ids that exist here and that nobody uses; None where we may not become somebody else."""
    with open("/proc/self/status") as lines:
        effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff"))
    with open("/proc/self/uid_map") as lines:
        maps = [[int(word) for word in line.split()] for line in lines]
    needed = 1 << 0 | 1 << 6 | 1 << 7  # CAP_CHOWN, CAP_SETGID, CAP_SETUID
    for candidates in (range(0x70000000, 0x70004000), range(61000, 65000)):  # unassigned; else what a 16 bit map has left
        mapped = any(first <= candidates[0] and candidates[-1] < first + count for first, _, count in maps)
        if effective & needed == needed and mapped:
            return candidates
    return None


# -- Start -------------------------------------------------------------------------------------------------------------


def enter_namespaces(tier):
    """Leaves the machine's processes behind where the kernel lets us, and for Landlock its network and mounts, too.

    Returns what we may do now. Once for all jobs, so it costs them nothing. On top of the tier's own means, never
    instead: where it is refused (a container without capabilities) the sandbox is whole without, but under Landlock a
    program then sees its temporary folder under another name than /tmp, and the size of that folder is looked at
    instead of limited.
    """
    flags = CLONE_NEWNS | CLONE_NEWPID
    if tier == "landlock":
        flags |= CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
    uid, gid = os.geteuid(), os.getegid()
    if LIBC.unshare(flags) != 0:
        if uid == 0 or tier == "bwrap" or LIBC.unshare(flags | CLONE_NEWUSER) != 0:
            return []
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open("/proc/self/" + name, "w") as setting:
                setting.write(text)
    checked(LIBC.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "mount")
    become_first_process()
    if tier == "bwrap":  # it looks its own processes up by number
        checked(LIBC.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None), "mount /proc")
        return ["mount", "pid"]
    return ["mount", "net", "pid"]


def may_change_root():
    """Whether chroot(2) is permitted (tried on the root there is)."""
    try:
        os.chroot("/")
    except OSError:
        return False
    return True


def become_first_process():
    """Forks into the new process namespace: when its process 1, the child, dies, the kernel kills all the others."""
    child = os.fork()
    if child:
        os.closerange(0, 1 << 16)
        os.waitpid(child, 0)
        os._exit(0)
    prctl(PR_SET_PDEATHSIG, _signal.SIGKILL)


def main():
    """`judge/sandbox_launcher.py CONTROL_FD`: the configuration is the first message on it."""
    control = _socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    config = marshal.loads(control.recv(1 << 18))
    try:
        parent = os.pidfd_open(os.getppid())
    except OSError:
        parent = None  # before Linux 5.3: the end of the socket has to do
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0o022)
    powers = []
    if config["tier"] != "plain" and "namespaces" in config["extras"]:
        powers = enter_namespaces(config["tier"])
    if config["tier"] == "landlock":
        if "chroot" in config["extras"] and may_change_root():
            powers.append("chroot")
        forget_capabilities()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # Python ignores them, and so would every command
        _signal.signal(number, _signal.SIG_DFL)
    launcher = Launcher(control, config, powers)
    control.send(marshal.dumps({"powers": powers, "abi": launcher.ways_in.abi, "changes_user": launcher.uids is not None}))
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        launcher.serve(parent)
    finally:
        launcher.close()


def forget_capabilities():
    """What this process executes gets none, not even as root. Without CAP_SETPCAP there is little to forget."""
    try:
        prctl(PR_SET_SECUREBITS, NO_ROOT_LOCKED)
        for capability in range(64):
            prctl(PR_CAPBSET_DROP, capability)
    except OSError:
        pass  # the first number past the last capability, too


if __name__ == "__main__":
    main()
