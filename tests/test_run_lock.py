"""training/run_lock.py: one process trains in a folder, and a dead one keeps nobody out."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
from conftest import ROOT

from doctor import LOCK_NAME, MachineError
from training import run_lock

HOLD = "import pathlib, sys, time\nfrom training import run_lock\nwith run_lock.hold(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path/run."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def left_by(folder, **holder):
    """A lock file that says this, held by nobody."""
    folder.mkdir()
    (folder / LOCK_NAME).write_text(json.dumps({"pid": 2**22 + 1, "host": socket.gethostname(), "since": "then"} | holder))


def test_a_living_process_keeps_others_out_and_is_named(tmp_path, holder):
    said = f"is being trained by process {holder.pid} on {socket.gethostname()} \\(since .*--resume_from_checkpoint last"
    for _ in range(2):  # the first refusal must not free it
        with pytest.raises(MachineError, match=said), run_lock.hold(tmp_path / "run"):
            pass
    assert json.loads((tmp_path / "run" / LOCK_NAME).read_text())["pid"] == holder.pid


def test_a_killed_process_is_taken_over_and_said(tmp_path, holder, capsys):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with run_lock.hold(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK_NAME).read_text())["pid"] == os.getpid()
    assert f"process {holder.pid} on" in capsys.readouterr().err


def test_a_lock_of_another_host_is_refused_with_the_way_over_it(tmp_path):
    left_by(tmp_path / "run", host="elsewhere")
    with pytest.raises(MachineError, match="process .* on elsewhere .*if it has ended, delete .*train.lock"), run_lock.hold(tmp_path / "run"):
        pass
    (tmp_path / "run" / LOCK_NAME).unlink()
    with run_lock.hold(tmp_path / "run"):
        pass


def test_a_torn_lock_file_keeps_nobody_out(tmp_path):
    left_by(tmp_path / "run")
    (tmp_path / "run" / LOCK_NAME).write_text('{"pid": 1')
    with run_lock.hold(tmp_path / "run"):
        pass


def test_nothing_stays_but_what_was_written(tmp_path):
    with run_lock.hold(tmp_path / "new" / "run"):
        pass
    assert list(tmp_path.iterdir()) == []
    with run_lock.hold(tmp_path / "run"):
        (tmp_path / "run" / "run.json").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_only_the_first_process_of_a_run_holds_it(tmp_path, holder, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with run_lock.hold(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / LOCK_NAME).is_file()


@pytest.mark.parametrize("alive", [True, False])
def test_a_file_system_without_locks_goes_by_the_process(tmp_path, monkeypatch, alive):
    monkeypatch.setattr(run_lock.fcntl, "lockf", lambda *args: (_ for _ in ()).throw(OSError(37, "No locks available")))
    left_by(tmp_path / "run", **({"pid": os.getppid()} if alive else {}))
    if alive:
        with pytest.raises(MachineError, match="is being trained by"), run_lock.hold(tmp_path / "run"):
            pass
    else:
        with run_lock.hold(tmp_path / "run"):
            pass
