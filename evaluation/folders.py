"""An evaluation's folder: who holds it, under which protocol it was written, and the files in it."""

import fcntl
import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tasks as task_sets
from generate import BackendArguments, SamplingArguments, choose_backend
from judge.errors import UserError
from traces import SCHEMA_VERSION, cut_torn_line, replacing


class EvalError(UserError, RuntimeError):
    """The evaluation cannot be done as asked; the message is one sentence for the user."""


class TasksHash:
    """Order-keeping SHA-256 over the distinct tasks it is shown, one at a time."""

    def __init__(self):
        self.seen: set[bytes] = set()
        self._digest = hashlib.sha256()

    def add(self, task: dict) -> bool:
        """Take in a task (task_id, prompt, tests, entry_point) unless its id was seen; says whether it was new."""
        key = hashlib.sha256(task["task_id"].encode("utf-8", "surrogatepass")).digest()[:16]
        if key in self.seen:
            return False
        self.seen.add(key)
        self._digest.update(task_sets.tasks_hash([task]).encode())
        return True

    def hexdigest(self) -> str:
        """SHA-256 (hex) of the tasks so far."""
        return self._digest.hexdigest()


def judge_protocol(judge: dict) -> dict:
    """What of a judge's description decides verdicts: version, toolchain, limits; not how many workers or which sandbox tier."""
    return {key: value for key, value in judge.items() if key not in {"workers", "sandbox"}}


def sampling_protocol(sampling: SamplingArguments) -> dict:
    """Sampling fields that change the distribution of completions; the seed only picks another draw from it."""
    return {name: value for name, value in asdict(sampling).items() if name != "seed"}


def batch_protocol(backend: BackendArguments) -> dict:
    """With transformers the batch size changes completions too: rows are padded together, and one stream of random numbers serves all."""
    return {"batch_size": backend.batch_size} if choose_backend(backend) == "transformers" else {}


def protocol_differences(found: dict, expected: dict, path: str = "") -> list[str]:
    """As `differing`, of two protocols. A batch size that only one has noted (vLLM has none, older files did not say) is no difference."""
    pair = [json.loads(json.dumps(protocol)) for protocol in (found, expected)]
    sizes = [protocol.get("sampling") or {} for protocol in pair]
    if not all("batch_size" in size for size in sizes):
        for size in sizes:
            size.pop("batch_size", None)
    return differing(*pair, path)


def text_hash(text: str) -> str:
    """SHA-256 (hex) of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def differing(found: Any, expected: Any, path: str = "") -> list[str]:
    """`path: found instead of expected` for every leaf in which two JSON values differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = [*found, *(key for key in expected if key not in found)]
        return [line for key in keys for line in differing(found.get(key), expected.get(key), f"{path}.{key}" if path else key)]
    return [] if found == expected else [f"{path}: {_short(found)} instead of {_short(expected)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other processes that hold it out of a folder, made if it is not there. Raises EvalError when one is in it."""
    if folder.exists() and not folder.is_dir():
        raise EvalError(f"--output_dir {folder} is a file: choose another one")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EvalError(f"{folder} is in use by another process: wait for it, or choose another --output_dir") from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def open_folder(folder: Path, protocol: dict, run: dict, rows: list[dict], config: dict) -> Iterator[list[dict]]:
    """Start a results folder, or go on with one of the same protocol and run -> its rows, those it had first. Locked while open.

    `config` is written down and not compared.

    Raises EvalError, with nothing written, when the folder holds anything else or another process is in it.
    """
    with hold_folder(folder):
        rows = _checked_rows(folder, protocol, run, rows)
        write_json(
            folder / "run.json", {"schema_version": SCHEMA_VERSION, "protocol": protocol, "run": run, "rows": rows, "config": config}
        )
        yield rows


def _checked_rows(folder: Path, protocol: dict, run: dict, rows: list[dict]) -> list[dict]:
    """The rows of a folder with those asked for. Raises EvalError when it holds anything but results of this protocol and run."""
    path = folder / "run.json"
    if all(path.suffix == ".tmp" for path in folder.iterdir()):  # what a kill left of the first file
        return rows
    saved = read_json(path) if path.is_file() else None
    if not isinstance(saved, dict) or not {"protocol", "run", "rows"} <= saved.keys():
        raise EvalError(f"--output_dir {folder} holds files but no run.json of an evaluation: choose another one")
    had: list[dict] = []
    if any((folder / name).is_file() for name in ("results.jsonl", *PARTIAL_FILES)):  # else there is nothing to protect yet
        differences = protocol_differences(protocol, saved["protocol"], "protocol") + differing(run, saved["run"], "run")
        had = saved.get("rows", [])
        known = {row["row"]: row for row in had}
        for row in rows:
            differences += differing(row, known.get(row["row"], row), f"row {row['row']}")
        if differences:
            raise EvalError(
                f"{folder} holds results of another protocol ({'; '.join(differences[:4])}): choose another --output_dir. "
                "Nothing was changed."
            )
        rows = had + [row for row in rows if row["row"] not in known]
    return rows


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvalError(f"cannot read {path}: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step, so that a kill leaves the old or the new one."""
    with replacing(path) as new:
        new.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_jsonl(path: Path) -> Iterator[dict]:
    """Records of a file that we wrote, packed (.gz) or not."""
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    with opened as lines:
        yield from map(json.loads, lines)


def read_partial(path: Path) -> Iterator[dict]:
    """Records of a file that a killed run was writing, its torn last line cut off; nothing when there is no file."""
    cut_torn_line(path)
    if path.exists():
        yield from read_jsonl(path)


class Timings:
    """Seconds and counts by row, summed over every start of a run, in folder/timings.json."""

    def __init__(self, folder: Path):
        self._path = folder / "timings.json"
        self.by_row: dict[str, dict[str, float]] = read_json(self._path) if self._path.exists() else {}

    def add(self, row: str, **seconds_and_counts: float) -> None:
        """Add to a row's sums and save them."""
        sums = self.by_row.setdefault(row, {})
        for name, value in seconds_and_counts.items():
            sums[name] = round(sums.get(name, 0) + value, 3)
        write_json(self._path, self.by_row)


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


PARTIAL_FILES = ("completions.partial.jsonl", "results.partial.jsonl")
