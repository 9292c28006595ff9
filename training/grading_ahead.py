"""Completions reach the judge when each is finished (of a server: all of a prompt), while vLLM still samples the others.

Only a head start: the verdicts are asked for afterwards, as without it, and whatever was not started then is graded then. The judge
has a process of its own, which gives way to others: with its threads in vLLM's process, the engine sampled half as fast.
Checked against vLLM 0.26, whose LLM.generate calls `llm_engine.step` until all is finished, and the client for its server in TRL 1.16.
"""

import atexit
import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

from judge.errors import UserError
from rewards import ReadingJudge
from rust_tool import RustTool

REQUESTS = 64  # to a server at once: TRL's client keeps as many connections
NICENESS = 5  # the engine gets three quarters of a core that it shares with a compiler
FOR_THE_TRAINER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # a terminal sends them to both; the trainer saves and closes the pipe


class JudgeGone(UserError, RuntimeError):
    """The judge's process is no more; the message is one sentence for the user."""


@contextlib.contextmanager
def finished_requests(engine, take: Callable[[list[int], list[int]], object]) -> Iterator[None]:
    """While open, `take(prompt token ids, completion token ids)` is called in a thread for each completion that `engine.step` finishes.

    What `take` raises is dropped: whoever asks for the verdict meets the same error.
    """
    step = engine.step

    def watched_step():
        outputs = step()
        for output in outputs:
            if output.finished:
                for completion in output.outputs:
                    reader.submit(take, list(output.prompt_token_ids), list(completion.token_ids))
        return outputs

    with ThreadPoolExecutor(1, "grading-ahead") as reader:
        engine.step = watched_step
        try:
            yield
        finally:
            engine.step = step


@contextlib.contextmanager
def finished_answers(client, take: Callable[[list[int], list[int]], object]) -> Iterator[None]:
    """The same for vLLM's server: while open, `client.generate` asks for every prompt by itself (above REQUESTS for a few), all at once.

    `take` gets the completions of an answer as it comes. TRL's client asks for all prompts in one request, and gets nothing before the
    last completion is sampled. It is in the first process alone: of several that train, only that one's completions have a head start.
    """
    generate = client.generate

    def generate_in_parts(prompts, **sampling):
        size = -(-len(prompts) // REQUESTS)
        parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]

        def ask(part):
            answer = generate(prompts=part, **sampling)
            copies = len(answer["completion_ids"]) // len(part)
            for number, completion in enumerate(answer["completion_ids"]):
                reader.submit(take, list(part[number // copies]), list(completion))
            return answer

        with ThreadPool(len(parts)) as asking:  # interrupted, it waits for no answer
            answers = asking.map(ask, parts, chunksize=1)
        return {name: _joined([answer[name] for answer in answers]) for name in answers[0]}

    with ThreadPoolExecutor(1, "grading-ahead") as reader:
        client.generate = generate_in_parts
        try:
            yield
        finally:
            del client.generate


def _joined(lists: list[list | None]) -> list | None:
    return None if lists[0] is None else [item for one in lists for item in one]


class GradingProcess:
    """A ReadingJudge in a process of its own: the same answers and errors. When the process has died, whatever is asked raises JudgeGone.

    `judge.grade` and `judge.run_suites` take jobs.
    """

    def __init__(self, **judge_options):
        """`judge_options`: a RustTool's. Raises what it raises, and JudgeGone."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._turn = threading.Lock()  # one message at a time, from whatever thread
        self._process = context.Process(target=_serve, args=(theirs, judge_options), daemon=True, name="judge")
        self._owner_pid = os.getpid()
        held = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_TRAINER)  # the new process inherits it, until it ignores them
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        theirs.close()
        atexit.register(self.close)  # before multiprocessing's own, which would wait for it
        self.judge = SimpleNamespace(
            grade=lambda jobs: self._ask("jobs", list(jobs)), run_suites=lambda jobs: self._ask("suites", list(jobs))
        )
        try:
            self._description = self._ask("describe")
        except BaseException:
            self.close()
            raise

    def start(self, task: dict, completion: str) -> None:
        with self._turn:
            self._pipe.send(("start", task, completion))

    def grade(self, tasks: list[dict], completions: list[str]) -> list[tuple]:
        return self._ask("grade", tasks, completions)

    def describe(self) -> dict:
        return self._description

    def close(self) -> None:
        """Ends the process, whose judge leaves nothing behind. May be called twice."""
        if os.getpid() != self._owner_pid:
            return  # a forked child's copy owns nothing
        atexit.unregister(self.close)
        with contextlib.suppress(OSError):  # it has died, or this is the second time
            self._pipe.send(("close",))  # a process that was forked meanwhile may hold the pipe open
        self._pipe.close()
        self._process.join()

    def _ask(self, *message):
        try:
            with self._turn:
                self._pipe.send(message)
                value, error = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            how = f"signal {-code}; 9 may be the kernel's, short of memory" if code < 0 else f"exit code {code}"
            raise JudgeGone(f"the judge's process ended by itself ({how})") from None
        if error is not None:
            raise error
        return value


def _serve(pipe, judge_options: dict) -> None:
    """The other process: until `close`, or the end of whoever holds the pipe."""
    for number in FOR_THE_TRAINER:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_TRAINER)
    os.nice(NICENESS)
    try:
        judge = RustTool(**judge_options)
    except Exception as error:  # whoever asked for a judge gets the reason
        with contextlib.suppress(ConnectionError):
            pipe.send((None, error))
        return
    reader, asked = ReadingJudge(judge), queue.SimpleQueue()
    answers = {"describe": judge.describe, "start": reader.start, "grade": reader.grade, "jobs": judge.grade,
               "suites": judge.run_suites}  # fmt: skip
    threading.Thread(target=_listen, args=(pipe, asked, judge), daemon=True).start()
    with judge, contextlib.suppress(ConnectionError):
        while True:
            what, *arguments = asked.get()
            try:
                answer = answers[what](*arguments), None
            except Exception as error:  # of a task's tests: whoever asks for the verdict gets it
                answer = None, error
            if what != "start":
                pipe.send(answer)


def _listen(pipe, asked: queue.SimpleQueue, judge: RustTool) -> None:
    """Hand on what is asked. At the end the rest of a batch is for nobody: it is not graded."""
    with contextlib.suppress(EOFError, ConnectionError):
        while (message := pipe.recv())[0] != "close":
            asked.put(message)
    judge.close()
    os._exit(0)  # whatever still waits for a verdict
