"""Programs -> verdicts: what cargo build, cargo clippy and cargo test say, in a batch and sandboxed.

    with RustTool() as judge:
        verdicts = judge.grade([Job(extract_program(completion)) for completion in completions])

`RustTool(judge="cargo")` is plain cargo on a project for each program, the reference (judge/cargo.py). The judge as it is gives the
same three verdicts without cargo: usually one clippy-driver pass with `cfg(test)`, which lints and emits the test binary, and one
run. Programs in which `cfg(test)` may matter elsewhere than in their test modules take a check without it and a `rustc --test`
pass. The binary is linked with `judge/harness.rs` in place of libtest's entry point: it says on a pipe of its own which tests
exist and how each ended.

What a passing test is worth (`honest_tests`): what reading says against the program (`Program.guard`), then runs (`judge/worth.py`).
A test counts whose assertions are reached, which fails when a panic is the first statement of the functions under test, and which
notices wrong answers. One such test is enough. Then the functions are asked for other inputs than the tests': they must not say the
same, nor one thing to everything else, nor their own input, and the tests must ask for more than nothing. Of several functions, or types
with methods, each is made wrong alone: one that no test notices is not tested by those of another. All of it is in one
binary: functions and assertions start with a call into `judge/gate.rs`, so the check costs runs and no compilation. Where a limit or
a crash ends these runs the guard is TRIED_IN_PART, and takes nothing away.

Hidden tests run as they are written (`hidden_passed` of `hidden_total`, `hidden_failures` says which failed and why): every
`#[test]` is one test, and every assert of a `main` or of statements (`judge/statements.py`). One that panics, loops or ends the
process is left out of another run. All of a place's evaluations have to hold, in every run.

What stays forgeable: `unsafe` code that finds the harness's nonce in memory (`judge/program.py` refuses what that takes); a wrong
function that is right, or as wrong as the test's own oracle, wherever the tests ask, if only it answers differently to different
inputs: no run of the program knows the task (`results/attacks`). No wrong answers: of `impl Trait`, references to what the program
defines, types with parameters, and in programs that use one of their functions in a constant; nor where the process dies of one or
runs out of time. `tests/cases/attacks.jsonl` marks what is known to get through. Of hidden tests: a type of the program whose operators
agree with whatever they are compared with, where reading does not find it (in a constant, a field, a macro or an `impl Trait`, in types
that the prompt names, in `eq` that comes to one answer by detours); a trait of the program with a method of std's that the tests call.
`test_passed` alone is the harness's raw word; an honest pass is `test_passed and honest_tests`.

Not as cargo has it: the compiler may read no file below /proc, /dev and /sys (`include_str!`), whatever the sandbox shows;
and when MAX_DEATHS of a program's own tests have ended their process, the others are not tried and count as failed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from judge import sandbox as sandboxes
from judge.cargo import AS_IT_STANDS, CargoFlow, CargoShop
from judge.compiling import Compiler, Work
from judge.program import HiddenSuite, Program, TestFn, read_program, with_hidden_tests
from judge.running import Runner
from judge.scratch import Scratch
from judge.suites import compile_suites, run_suites
from judge.toolchain import Toolchain, ToolchainError, find_toolchain
from judge.verdict import INFRA, MAX_MESSAGE_CHARS, Diagnostic, InfraError, Job, Verdict, no_program, nothing_passed
from judge.workshop import Workshop

__all__ = ["EDITIONS", "JUDGE_VERSION", "Diagnostic", "InfraError", "JUDGES", "Job", "RustTool", "Toolchain", "ToolchainError", "Verdict",
           "find_toolchain"]  # fmt: skip

JUDGE_VERSION = 12  # raise it when a rule changes what a program gets
EDITIONS = ("2021", "2024")
JUDGES = ("fast", "cargo")  # ours, and plain cargo as its reference
JOBS_BETWEEN_CANARIES = 512
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


class RustTool:
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
        judge: str = "fast",
        cargo_flow: CargoFlow = AS_IT_STANDS,
    ):
        """`workers` default: all cores. `run_timeout_s` and `build_timeout_s` are CPU seconds, for all tests of a program
        together and for one compilation. `sandbox` as in open_sandbox. `scratch_dir` default: /dev/shm, else /var/tmp.
        `cache_size` verdicts are remembered. `edition` of Rust: one of EDITIONS. `judge`: one of JUDGES, "cargo" with `cargo_flow`.

        Raises:
            ToolchainError: another edition or judge; the toolchain, or a known program, does not do what it should.
            SandboxUnavailable: programs could not be sealed and `sandbox` is not "plain".
        """
        if str(edition) not in EDITIONS:
            raise ToolchainError(f"edition {edition}: expected {' or '.join(EDITIONS)}")
        if judge not in JUDGES:
            raise ToolchainError(f"judge {judge}: expected {' or '.join(JUDGES)}")
        self.edition, self.kind = str(edition), judge
        self.workers = workers or len(os.sched_getaffinity(0))
        self.run_timeout_s, self.build_timeout_s = run_timeout_s, build_timeout_s
        self.toolchain = find_toolchain(cargo_path)
        self._owner_pid = os.getpid()
        self._box: sandboxes.Sandbox | None = None
        self._workshop: Workshop | CargoShop | None = None
        self._scratch = Scratch(Path(scratch_dir) if scratch_dir is not None else None)
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
            self._open(sandbox, cargo_flow)
            wrong = self._wrong_canary()
            if wrong is not None:
                raise ToolchainError(f"a known program is graded wrongly on this machine: {wrong}")
        except BaseException:
            self.close()
            raise

    def _open(self, sandbox: str, cargo_flow: CargoFlow) -> None:
        """Try the sandbox and, meanwhile, compile the harness."""
        opening = self._compile_pool.submit(sandboxes.open_sandbox, sandbox, self.toolchain.sysroot, self._scratch.path)
        place = self.toolchain, self._scratch.path, self.build_timeout_s, self.run_timeout_s, self.edition
        try:
            self._workshop = CargoShop(*place, cargo_flow) if self.kind == "cargo" else Workshop(*place)
        finally:  # whatever becomes of that: what was opened is closed with the judge
            self._box = opening.result()
        self._workshop.box = self._box
        if self.kind == "cargo":
            self._stages = (self._workshop.grade, lambda work: None)
        else:
            runner = Runner(self._workshop, self.run_timeout_s, self._hidden_pool, self._solo_pool)
            self._stages = (Compiler(self._workshop).compile, runner.run)

    def __enter__(self) -> RustTool:
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
        return ({} if self.kind == "fast" else {"judge": self.kind}) | {
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
        return [known[key] if job.program is not None else no_program(job) for job, key in asked]

    def run_suites(self, jobs: Sequence[Job]) -> list[list[dict[str, str] | None]]:
        """For programs that build: how each text of their `hidden_tests`, all with `#[test]` functions, ended: name -> status.

        None for a text that the program does not compile with. Tests that did not get their turn are left out. Nothing else of a
        job is graded, and nothing is remembered. What the machine fails at is no opinion either.

        Raises:
            ToolchainError: the judge is "cargo".
        """
        if self.kind == "cargo":
            raise ToolchainError("the judge cargo does not run tests of others")
        compiled = [self._compile_pool.submit(compile_suites, self._workshop, job) for job in jobs]
        ran = [self._run_pool.submit(self._run_suites, job, future) for job, future in zip(jobs, compiled, strict=True)]
        return [future.result() for future in ran]

    def _run_suites(self, job: Job, future: Future) -> list[dict[str, str] | None]:
        answers: list[dict[str, str] | None] = [None] * len(job.hidden_tests)
        with contextlib.suppress(InfraError, OSError):
            if (compiled := future.result()) is not None:
                run_suites(self._workshop, compiled, self.run_timeout_s, answers)
        return answers

    def _hidden_suite(self, job: Job) -> HiddenSuite | None:
        if job.program is None or not job.hidden_tests:
            return None
        return with_hidden_tests(job.program, job.hidden_tests, job.entry_point, self._workshop.gate_crate, job.prompt)

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
            work = Work(job, suite, folder, verdict=nothing_passed(job, suite))
            self._stages[0](work)
            work.seconds += time.monotonic() - started
            self._run_pool.submit(self._run_stage, work, finished)
        except BaseException as error:  # handed to whoever waits for the future
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            _resolve(finished, error)

    def _run_stage(self, work: Work, finished: Future[Verdict]) -> None:
        try:
            started = time.monotonic()
            self._stages[1](work)
            work.seconds += time.monotonic() - started
            shutil.rmtree(work.folder, ignore_errors=True)
            _resolve(finished, replace(work.verdict, duration_s=round(work.seconds, 4)))
        except BaseException as error:  # handed to whoever waits for the future
            shutil.rmtree(work.folder, ignore_errors=True)
            _resolve(finished, error)


def _canary(source: str) -> Program:
    """A known program; its test counts whatever the static opinion is, because canaries try the machine."""
    test = TestFn("tests::adds", should_panic=False, counted=True, guard=None)
    return replace(read_program(source), guard=None, tests=(test,))


def _key(job: Job) -> tuple:
    """What a verdict is remembered by."""
    return job.program, job.hidden_tests, job.entry_point, job.prompt if job.hidden_tests else ""


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
