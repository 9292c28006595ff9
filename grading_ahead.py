"""Completions reach the judge when each is finished, while vLLM still samples the others.

Only a head start: the verdicts are asked for afterwards, as without it, and whatever was not started then is graded then. The judge
has a process of its own, which gives way to others: with its threads in vLLM's process, the engine sampled half as fast.
Checked against vLLM 0.26, whose LLM.generate calls `llm_engine.step` until all is finished.
"""

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from rewards import ReadingJudge
from rust_tool import Judge

NICENESS = 5  # the engine gets three quarters of a core that it shares with a compiler


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


class GradingProcess:
    """A ReadingJudge in a process of its own: the same answers and errors. A process that died is a RuntimeError.

    `judge.grade` takes jobs.
    """

    def __init__(self, plain_rust: bool = False, **judge_options):
        """`judge_options`: a Judge's. Raises what Judge raises."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._turn = threading.Lock()  # one message at a time, from whatever thread
        self._process = context.Process(target=_serve, args=(theirs, plain_rust, judge_options), daemon=True, name="judge")
        self._process.start()
        theirs.close()
        atexit.register(self.close)  # before multiprocessing's own, which would wait for it
        self._description = self._answer()
        self.judge = SimpleNamespace(grade=self._grade_jobs)

    def start(self, task: dict, completion: str) -> None:
        with self._turn:
            self._pipe.send(("start", task, completion))

    def grade(self, tasks: list[dict], completions: list[str]) -> list[tuple]:
        with self._turn:
            self._pipe.send(("grade", tasks, completions))
            return self._answer()

    def _grade_jobs(self, jobs) -> list:
        with self._turn:
            self._pipe.send(("jobs", list(jobs)))
            return self._answer()

    def describe(self) -> dict:
        return self._description

    def close(self) -> None:
        """Ends the process, whose judge leaves nothing behind. May be called twice."""
        atexit.unregister(self.close)
        self._pipe.close()
        self._process.join()

    def _answer(self):
        try:
            value, error = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise RuntimeError(f"the judge's process ended by itself (exit code {self._process.exitcode})") from None
        if error is not None:
            raise error
        return value


def _serve(pipe, plain_rust: bool, judge_options: dict) -> None:
    """The other process: until the pipe is closed, by `close` or by the end of whoever holds it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C goes to both; the trainer saves and closes the pipe
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(NICENESS)
    try:
        judge = Judge(**judge_options)
    except Exception as error:  # whoever asked for a judge gets the reason
        pipe.send((None, error))
        return
    with judge, contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        reader = ReadingJudge(judge, plain_rust)
        answers = {"start": reader.start, "grade": reader.grade, "jobs": judge.grade}
        pipe.send((judge.describe(), None))
        while True:
            what, *arguments = pipe.recv()
            try:
                answer = answers[what](*arguments), None
            except Exception as error:  # of a task's tests: whoever asks for the verdict gets it
                answer = None, error
            if what != "start":
                pipe.send(answer)
