"""One training process in a run folder: two that write into the same files leave a run that nobody made.

`hold(folder)` keeps `folder/train.lock` (process, host and time, as JSON) for as long as the process lives, and locks it, so that a
process which was killed holds nothing: on the same host its lock is taken over, with a line about it.
Not guaranteed: that the end of a process on another host is seen (a network disk, a container with a new name). Its lock is refused
with the name of the file to delete.
"""

import contextlib
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from doctor import LOCK_NAME, MachineError


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """While open, no other process trains in `folder`, which is made, and removed again if it is still empty afterwards.

    Only the first process of a run holds the lock. Where no file can be made the preflight says why, so nothing is held.
    Raises MachineError naming the process that holds it.
    """
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    descriptor = _acquire(folder) if os.environ.get("RANK", "0") == "0" else None
    try:
        yield
    finally:
        if descriptor is not None:
            (folder / LOCK_NAME).unlink(missing_ok=True)  # first: who opens it after the release finds none, or a new one
            os.close(descriptor)
            with contextlib.suppress(OSError):  # not empty: it is a run
                for made in missing:
                    made.rmdir()


def _acquire(folder: Path) -> int | None:
    """Open descriptor of the locked file, or None where none can be made."""
    path = folder / LOCK_NAME
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return None
        try:
            if not _is_locked(descriptor):
                raise MachineError(
                    f"{folder} is being trained by {_named(_read(descriptor))}: choose another --output_dir, or end that process first "
                    "and go on with --resume_from_checkpoint last"
                )
            if not path.exists() or os.stat(path).st_ino != os.fstat(descriptor).st_ino:  # its holder ended just now
                os.close(descriptor)
                continue
            _take_over(folder, _read(descriptor))
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise
        return descriptor


def _is_locked(descriptor: int) -> bool:
    """Lock the file for this process (not for what it forks). False: another process has it."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: what the file says is all there is
        holder = _read(descriptor)
        return not (holder and holder["host"] == socket.gethostname() and Path(f"/proc/{holder['pid']}").exists())
    return True


def _read(descriptor: int) -> dict | None:
    """Who holds or held it: {pid, host, since}; None when the file does not say."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return {"pid": int(holder["pid"]), "host": str(holder["host"]), "since": str(holder["since"])}
    except (ValueError, KeyError, TypeError):
        return None


def _named(holder: dict | None) -> str:
    return f"process {holder['pid']} on {holder['host']} (since {holder['since']})" if holder else "another process"


def _take_over(folder: Path, holder: dict | None) -> None:
    """What a process left that did not end by itself. Raises MachineError when it may still live, on another host."""
    if holder is None or holder["pid"] == os.getpid():
        return
    if holder["host"] != socket.gethostname():
        raise MachineError(
            f"{folder} is locked by {_named(holder)}, which cannot be seen from {socket.gethostname()}: if it has ended, delete "
            f"{folder / LOCK_NAME} and start again"
        )
    print(f"{_named(holder)} was killed while it trained in {folder}: its lock is taken over", file=sys.stderr, flush=True)
