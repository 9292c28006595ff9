"""Scratch: one folder per judge, on a tmpfs, gone with it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from judge.limits import MIB
from judge.toolchain import ToolchainError

SCRATCH_PREFIX = "rust-judge-"
UNBORN_PREFIX = ".rust-judge-"
MIN_SCRATCH_BYTES = 512 * MIB


class Scratch:
    """A locked folder. The lock dies with its process, so that a later judge can tell a stale folder from a live one."""

    def __init__(self, base: Path | None):
        self.base = base or _scratch_base()
        if Path("/tmp") in (self.base.resolve(), *self.base.resolve().parents):
            raise ToolchainError(
                f"the scratch folder {self.base} lies below /tmp, which every sandboxed program has to itself: choose one "
                "elsewhere, for example below /var/tmp"
            )
        self.base.mkdir(parents=True, exist_ok=True)
        _remove_stale(self.base)
        unborn = Path(tempfile.mkdtemp(prefix=UNBORN_PREFIX, dir=self.base))
        self._lock = open(unborn / "lock", "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = self.base / (SCRATCH_PREFIX + unborn.name.removeprefix(UNBORN_PREFIX))
        unborn.rename(self.path)
        self.path.chmod(0o755)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _scratch_base() -> Path:
    """/dev/shm where binaries may run from it and it has room (containers often give it 64 MiB), else a folder on disk."""
    for folder in (Path("/dev/shm"), Path("/var/tmp"), Path.home() / ".cache"):
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            facts = os.statvfs(folder)
            if facts.f_bavail * facts.f_frsize >= MIN_SCRATCH_BYTES and not facts.f_flag & os.ST_NOEXEC:
                return folder
    raise ToolchainError(
        f"no place for scratch files: /dev/shm, /var/tmp and ~/.cache are not writable, not executable, or hold less than "
        f"{MIN_SCRATCH_BYTES // MIB} MiB free"
    )


def _remove_stale(base: Path) -> None:
    """Remove what judges left that were killed: folders whose lock nobody holds."""
    for path in base.glob(SCRATCH_PREFIX + "*"):
        try:
            with open(path / "lock", "r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # held by a living judge, somebody else's, or just being removed
            continue
