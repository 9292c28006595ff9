"""Processes that run train.py without importing torch and TRL each time: forked from one that has, and that has done nothing else.

What the command line and the import say is not seen here: tests of that start `python train.py`, and torchrun where it matters.
"""

import gc
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What a run imports when it gets there; what cannot be imported here is imported, or missed, by the run itself.
IMPORTED = ("torch", "torch.distributed", "trl.trainer.grpo_trainer", "peft", "datasets", "training.callback", "training.trainer", "train")


class Training:
    """train.py in a process of its own, as `subprocess.Popen` has it: `pid`, `poll`, `wait`, `kill` and `send_signal`.

    Args:
        argv: of train.py.
        log, errors: files for what it prints; stderr goes to `log` too where there is no other.
        environment: name -> value, added to this process's.
    """

    def __init__(self, argv, log: Path, environment=(), errors: Path | None = None):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(IMPORTED))
        self._start_server()
        log.touch()
        arguments = list(map(str, argv)), str(log), str(errors or log), os.environ | dict(environment)
        self._process = context.Process(target=_train, args=arguments, daemon=True)
        self._process.start()
        self.pid = self._process.pid

    @staticmethod
    def _start_server() -> None:
        """From ROOT and with it on the path: not every Python hands this process's path to the server."""
        path, folder = os.environ.get("PYTHONPATH"), Path.cwd()
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *([path] if path else [])])
        os.chdir(ROOT)
        try:
            forkserver.ensure_running()
        finally:
            os.chdir(folder)
            os.environ.pop("PYTHONPATH")
            os.environ |= {"PYTHONPATH": path} if path else {}

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("train.py", timeout)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def run_in_two_processes(argv, folder: Path, timeout_s: float = 240) -> None:
    """A run of process 0 and 1 of 2, as torchrun starts them, to its end; fails with what they print, which is in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    logs = [folder / f"log{rank}" for rank in (0, 1)]
    both = [Training(argv, log, common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank, log in enumerate(logs)]
    try:
        deadline = time.monotonic() + timeout_s
        while None in (statuses := [process.poll() for process in both]) and not any(statuses) and time.monotonic() < deadline:
            time.sleep(0.05)  # where one has failed the other may wait for it for long
    finally:
        for process in both:
            process.kill()
    assert statuses == [0, 0], "\n".join(log.read_text()[-3000:] for log in logs)


def _train(argv: list[str], log: str, errors: str, environment: dict[str, str]) -> None:
    gc.freeze()  # what was imported is no garbage
    os.setsid()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, log), (2, errors)):
        with open(path, "ab") as output:
            os.dup2(output.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import train

    sys.exit(train.main(argv))
