"""The reward trace on disk: graded completions (DESIGN.md's record, one JSON object a line) written safely and read fast.

    import traces
    frame = traces.load_trace("runs/mine")                                    # pandas.DataFrame, a row per completion
    frame = traces.load_trace("runs/mine", columns=("step", "reward", "completion"))

A run folder holds `trace.jsonl` (`trace.rankN.jsonl` for process N), the part being written, and full parts before it as
`trace.part0001.jsonl.gz`, ... A line counts when it is a graded completion of a training run (`why_left_out`) and no resumed
run did its step again: every line carries its `attempt`, and attempt a's step s is superseded when a later attempt began at
or before s. `load_trace` (columns, fast) and `iter_counted` (whole records) give the same lines.
Not guaranteed: that a reader sees the batch that is being written right now; two writers on one file.
"""

import contextlib
import gzip
import json
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from judge.errors import UserError

SCHEMA_VERSION = 1
ROTATE_BYTES = 64 * 2**20  # about 60 steps of 512 completions; a part compresses in about a second, to a tenth
CHUNK_BYTES = 32 * 2**20  # read at once: what bounds the memory of a reader, whatever the size of the trace
BLOCK_BYTES = 2 * 2**20  # parsed by one core at a time; a chunk with a longer line is halved until it is read line by line
NEVER = 2**63 - 1  # above every step; the largest integer of a column
FEW_LINES = 64  # a chunk of so few lines that does not parse is read line by line

# Column -> Arrow type, of what a trace line holds at its top level and tables and plots use. Texts (prompt, completion,
# program) are read only when asked for. `reward/NAME`, `honest_pass` and `error_code` are derived.
SCALARS = {
    "schema_version": "int64",
    "task_id": "string",
    "step": "int64",
    "attempt": "int64",
    "rank": "int64",
    "group_id": "string",
    "reward": "float64",
    "advantage": "float64",
    "build_passed": "bool",
    "clippy_passed": "bool",
    "clippy_warnings": "int64",
    "test_passed": "bool",
    "honest_tests": "bool",
    "hidden_passed": "int64",
    "hidden_total": "int64",
    "error_kind": "string",
    "guard": "string",
    "n_asserts": "int64",
    "n_tokens": "int64",
    "duration_s": "float64",
}
TEXTS = ("prompt", "completion", "program")
UNREADABLE = "unreadable or no graded completions"  # why lines do not count
OTHER_VERSION = "of another schema version"
SUPERSEDED = "superseded by a resumed run"
REPEATING = ("task_id", "group_id", "error_kind", "guard", "error_code")  # few distinct values: kept as categories


class TraceError(UserError, ValueError):
    """The folder holds no readable trace; the message is one sentence for the user."""


# ---------------------------------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------------------------------


class TraceWriter:
    """Appends graded completions to one jsonl file, a batch in one write, so that no reader sees half a line.

    Args:
        path: The file; its folder is made, a torn last line (of a run that was killed) is cut off.
        rotate_bytes: When the file has grown to this size it becomes `NAME.partNNNN.jsonl.gz`; None: never.

    Raises OSError when the disk is full; the file then ends with the last whole batch.
    """

    def __init__(self, path: Path, rotate_bytes: int | None = None):
        self.path, self.rotate_bytes = path, rotate_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_torn_line(path)
        for part in sorted(path.parent.glob(f"{path.stem}.part*.jsonl")):  # killed between renaming and compressing
            _compress(part)

    def write(self, records: Sequence[dict]) -> None:
        """Append `records`, one line each, and wait until they are on disk."""
        # surrogates (a broken byte sequence in a completion) cannot be encoded: keep them as JSON escapes
        text = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size_before = os.fstat(descriptor).st_size
            size = size_before + len(data)
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size_before)
                raise
        finally:
            os.close(descriptor)
        if self.rotate_bytes is not None and size >= self.rotate_bytes:
            self._rotate()

    def _rotate(self) -> None:
        taken = [int(part.name.split(".part")[1].split(".")[0]) for part in self.path.parent.glob(f"{self.path.stem}.part*.jsonl*")]
        part = self.path.with_name(f"{self.path.stem}.part{max(taken, default=0) + 1:04d}.jsonl")
        os.replace(self.path, part)
        _compress(part)


def _compress(part: Path) -> None:
    """PART.jsonl -> PART.jsonl.gz, at every moment readable as one or the other; left as it is when the disk is full."""
    with contextlib.suppress(OSError):
        with replacing(part.with_name(part.name + ".gz")) as new, part.open("rb") as plain, new.open("wb") as file:
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as packed:
                shutil.copyfileobj(plain, packed, 2**20)
            file.flush()
            os.fsync(file.fileno())  # what it takes the place of was on disk
        part.unlink()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to be written, which then takes its place: whatever ends the process, the old one or the new one is there."""
    new = path.with_name(path.name + ".tmp")
    new.unlink(missing_ok=True)  # of a run that was killed
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def cut_torn_line(path: Path) -> None:
    """Remove a last line without its newline, left by a run that was killed while writing."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - 65536)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position != end:
            file.truncate(position)


def write_packed(path: Path, rows: Iterable[Mapping]) -> None:
    """A packed jsonl file, byte-equal for equal rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with replacing(path) as new:
        new.write_bytes(gzip.compress(text.encode("utf-8", "backslashreplace"), mtime=0))


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


def trace_files(run_dir: Path) -> list[Path]:
    """Files of a run's trace in the order of writing, process by process; or the file itself. Raises TraceError."""
    run_dir = Path(run_dir)
    if run_dir.is_file():
        return [run_dir]
    if not run_dir.is_dir():
        raise TraceError(f"{run_dir} does not exist: expected a run folder of train.py, or a trace file")
    packed = {path.name for path in run_dir.glob("trace*.jsonl.gz")}
    files = [path for path in run_dir.glob("trace*.jsonl*") if path.name in packed or path.suffix == ".jsonl"]
    files = [path for path in files if path.name in packed or path.name + ".gz" not in packed]
    if not files:
        raise TraceError(f"{run_dir} is not a run folder: found no trace*.jsonl in it")
    return sorted(files, key=_order_of_writing)


def _order_of_writing(path: Path) -> tuple:
    name = path.name.removesuffix(".gz").removesuffix(".jsonl")
    stem, _, part = name.partition(".part")
    rank = stem.partition(".rank")[2]
    return (int(rank) if rank.isdigit() else 0, int(part) if part.isdigit() else 10**9)  # the live file comes last


def line_chunks(path: Path, chunk_bytes: int | None = None) -> Iterator[bytes]:
    """Contents of a (gzipped) jsonl file in pieces of about `chunk_bytes` (default CHUNK_BYTES) that end with a line.

    What follows the last newline comes last, by itself. A .gz that ends early gives what it holds.
    """
    chunk_bytes = chunk_bytes or CHUNK_BYTES
    opened = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    with opened as file:
        rest = []
        while piece := _read_some(file, chunk_bytes):
            cut = piece.rfind(b"\n") + 1
            if cut:
                yield b"".join([*rest, piece[:cut]])
                rest = []
            rest.append(piece[cut:])
        if any(rest):
            yield b"".join(rest)


def _read_some(file, size: int) -> bytes:
    """Up to `size` bytes; fewer at the end, also at the end of a .gz that was cut off."""
    pieces, missing = [], size
    while missing > 0:
        try:
            piece = file.read1(missing)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            break
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def iter_trace(run_dir: Path) -> Iterator[dict]:
    """JSON objects of a trace in the order of writing, whether they count or not; for those that do see `iter_counted`."""
    return (record for record in iter_parsed(run_dir) if record is not None)


def iter_parsed(run_dir: Path) -> Iterator[dict | None]:
    """What each line holds that is not blank: an object, or None when it is none."""
    for path in trace_files(run_dir):
        for chunk in line_chunks(path):
            yield from map(_parsed, filter(bytes.strip, chunk.split(b"\n")))


def why_left_out(record: dict | None) -> str | None:
    """Why a line does not count, whatever the others say (UNREADABLE or OTHER_VERSION), or None: it is a graded completion.

    A graded completion of a training run belongs to a `step` (an integer) and a `group_id` (text), and was paid `rewards` (an object).
    """
    if record is None:
        return UNREADABLE
    if record.get("schema_version") not in (None, SCHEMA_VERSION):
        return OTHER_VERSION
    is_placed = _integer(record.get("step")) is not None and isinstance(record.get("group_id"), str)
    return None if is_placed and isinstance(record.get("rewards"), dict) else UNREADABLE


def attempts_began(run_dir: Path) -> dict[int, int]:
    """First step of every attempt that a trace tells of, by reading all of it (`load_trace` has it as `attrs["attempts_began"]`)."""
    began: dict[int, int] = {}
    for record in iter_parsed(run_dir):
        if why_left_out(record) is None:
            attempt = _integer(record.get("attempt")) or 0
            began[attempt] = min(record["step"], began.get(attempt, record["step"]))
    return began


def iter_counted(run_dir: Path, left_out: Counter | None = None, began: dict[int, int] | None = None) -> Iterator[dict]:
    """Whole graded completions that count, one at a time, in the order of writing: the lines of which `load_trace` makes rows.

    Args:
        run_dir: Run folder of train.py, or one trace file (.jsonl, .jsonl.gz).
        left_out: Gets how many lines do not count, by reason: UNREADABLE, OTHER_VERSION, SUPERSEDED.
        began: What `attempts_began` says of this trace, for who reads it more than once; None: read the trace for it first.

    A value may be of another type than SCALARS says, `step`, `group_id` and `rewards` excepted. Raises TraceError.
    """
    limits = _superseded_from(attempts_began(run_dir) if began is None else began)
    for record in iter_parsed(run_dir):
        why = why_left_out(record)
        if why is None and record["step"] >= limits.get(_integer(record.get("attempt")) or 0, NEVER):
            why = SUPERSEDED
        if why is None:
            yield record
        elif left_out is not None:
            left_out[why] += 1


def _superseded_from(began: dict[int, int]) -> dict[int, int]:
    """First step of every attempt -> the step from which on a later attempt did its work again (NEVER: none did)."""
    return {attempt: min((first for other, first in began.items() if other > attempt), default=NEVER) for attempt in began}


def _integer(value) -> int | None:
    """The value if it is an integer that a column can hold."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < NEVER else None


def _parsed(line: bytes) -> dict | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def load_trace(run_dir: str | Path, columns: Sequence[str] | None = None):
    """Trace of a run -> pandas.DataFrame, by step: a row per line that counts, the same lines as of `iter_counted`.

    Args:
        run_dir: Run folder of train.py, or one trace file (.jsonl, .jsonl.gz).
        columns: Names to keep, of SCALARS, TEXTS and the derived ones; default: all but the texts.

    Derived columns: `reward/NAME` (float, NaN where the function did not answer), `honest_pass` (bool: the own tests pass and
    are worth something), `error_code` (first rustc error code such as E0308, or None).
    A value of another type than its column's is null. What was left out is counted: `attrs["unreadable_lines"]` are no graded
    completion of a training run, `attrs["other_versions"]` of a schema that this reader does not know,
    `attrs["superseded_lines"]` of steps that a resumed run did again. `attrs["attempts_began"]`: attempt -> its first step.
    Memory: the columns asked for, and CHUNK_BYTES of text at a time.

    Raises:
        TraceError: No trace file, no readable line in it, or an unknown column.
    """
    import pyarrow as pa

    wanted_texts = tuple(name for name in TEXTS if columns is not None and name in columns)
    tables, left_out = [], Counter()
    for path in trace_files(Path(run_dir)):
        for chunk in line_chunks(path):
            tables += [_derived(table) for table in _tables(chunk, wanted_texts, left_out) if table.num_rows]
    table = pa.concat_tables(tables, promote_options="permissive") if tables else None
    if table is None or not table.num_rows:
        others = left_out[OTHER_VERSION]
        of_others = f", {others} are of another schema version than {SCHEMA_VERSION}" if others else ""
        what = f"({left_out[UNREADABLE]} lines could not be read{of_others})"
        raise TraceError(f"the trace of {run_dir} holds no complete line of a training run {what}")
    for name in REPEATING:
        table = table.set_column(table.column_names.index(name), name, table[name].dictionary_encode())
    kept, began = _not_superseded(table)
    n_superseded, kept = table.num_rows - kept.num_rows, kept.sort_by("step")
    if columns is not None:
        absent = [name for name in columns if name not in kept.column_names]
        if absent:
            raise TraceError(f"the trace of {run_dir} has no column {', '.join(absent)}; it has {', '.join([*kept.column_names, *TEXTS])}")
        kept = kept.select(list(columns))
    frame = kept.unify_dictionaries().to_pandas()
    frame.attrs |= {"unreadable_lines": left_out[UNREADABLE], "other_versions": left_out[OTHER_VERSION],
                    "superseded_lines": n_superseded, "attempts_began": began}  # fmt: skip
    return frame


def _tables(chunk: bytes, texts: Sequence[str], left_out: Counter) -> Iterator:
    """Arrow tables of a chunk's graded completions; halves it where Arrow cannot read it. `left_out` counts the other lines."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json

    schema = _schema(chunk, texts)
    options = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    lines = chunk.count(b"\n") + (not chunk.endswith(b"\n"))
    is_objects = chunk.startswith(b"{") and chunk.count(b"\n{") + 1 == lines  # Arrow's reader crashes on a line that is `null`
    try:
        if not is_objects:
            raise pa.ArrowInvalid("a line that is no object")
        reading = pyarrow.json.ReadOptions(block_size=min(len(chunk) + 1, BLOCK_BYTES))
        table = pyarrow.json.read_json(pa.BufferReader(chunk), read_options=reading, parse_options=options)
        if table.num_rows != lines:
            raise pa.ArrowInvalid("a line of two objects")
    except pa.ArrowInvalid:
        if lines > FEW_LINES:
            rows = chunk.splitlines(keepends=True)
            yield from _tables(b"".join(rows[: len(rows) // 2]), texts, left_out)
            yield from _tables(b"".join(rows[len(rows) // 2 :]), texts, left_out)
            return
        records = [_parsed(line) for line in chunk.split(b"\n") if line.strip()]
        left_out.update(filter(None, map(why_left_out, records)))
        yield pa.Table.from_pylist([_row(record, schema) for record in records if why_left_out(record) is None], schema=schema)
        return
    # `why_left_out` on columns: Arrow has read no value of another type, so there is a value or null
    known = table.filter(pc.fill_null(pc.equal(table["schema_version"], SCHEMA_VERSION), True))
    is_graded = pc.and_(pc.and_(pc.is_valid(known["step"]), pc.is_valid(known["group_id"])), pc.is_valid(known["rewards"]))
    graded = known.filter(is_graded)
    left_out.update({OTHER_VERSION: lines - known.num_rows, UNREADABLE: known.num_rows - graded.num_rows})
    yield graded


def _schema(chunk: bytes, texts: Sequence[str]):
    """Arrow schema of a chunk: the known columns, and the reward functions that its first and last lines name."""
    import pyarrow as pa

    names: dict[str, None] = {}
    for line in (chunk[: chunk.find(b"\n") + 1 or None], chunk[chunk.rfind(b"\n", 0, len(chunk) - 1) + 1 :]):
        found = (_parsed(line) or {}).get("rewards")
        names |= dict.fromkeys(found) if isinstance(found, dict) else {}
    fields = [pa.field(name, kind) for name, kind in SCALARS.items()]
    fields += [pa.field(name, "string") for name in texts]
    fields.append(pa.field("rewards", pa.struct([pa.field(name, "float64") for name in names])))
    fields.append(pa.field("diagnostics", pa.list_(pa.struct([pa.field("code", "string"), pa.field("level", "string")]))))
    return pa.schema(fields)


def _row(record: dict, schema) -> dict:
    """One record as Arrow takes it: a value of another type than its column's is null."""
    return {field.name: _value(record.get(field.name), field.type) for field in schema}


def _value(value, kind):
    import pyarrow.types as is_kind

    if is_kind.is_struct(kind):
        return {field.name: _value(value.get(field.name), field.type) for field in kind} if isinstance(value, dict) else None
    if is_kind.is_list(kind):
        return [_value(one, kind.value_type) for one in value] if isinstance(value, list) else None
    if is_kind.is_string(kind):  # lone surrogates cannot be UTF-8
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None
    if is_kind.is_boolean(kind):
        return value if isinstance(value, bool) else None
    if is_kind.is_floating(kind):
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
        return float(value) if is_number else None
    return _integer(value)


def _derived(table):
    """The table, which has rows, with `rewards` as one column a function, `honest_pass` and `error_code` instead of `diagnostics`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = table.combine_chunks()
    structs = rows["rewards"].combine_chunks()
    functions = [field.name for field in table.schema.field("rewards").type]
    for name in functions:
        rows = rows.append_column(f"reward/{name}", pc.struct_field(structs, name))
    passed = pc.and_(pc.fill_null(rows["test_passed"], False), pc.fill_null(rows["honest_tests"], False))
    rows = rows.append_column("honest_pass", passed)
    lists = rows["diagnostics"].combine_chunks()
    codes = [None] * rows.num_rows
    flat, parents = pc.list_flatten(lists), pc.list_parent_indices(lists)
    is_code = pc.and_(pc.equal(pc.struct_field(flat, "level"), "error"), pc.is_valid(pc.struct_field(flat, "code")))
    pairs = zip(parents.filter(is_code).to_pylist(), pc.struct_field(flat, "code").filter(is_code).to_pylist(), strict=True)
    for row, code in pairs:
        codes[row] = codes[row] or code
    rows = rows.append_column("error_code", pa.array(codes, "string"))
    return rows.drop_columns(["rewards", "diagnostics"])


def _not_superseded(table) -> tuple:
    """(rows that no later attempt did again, attempt -> its first step)"""
    import pyarrow as pa
    import pyarrow.compute as pc

    attempts = pc.fill_null(table["attempt"], 0)
    began = pa.table({"attempt": attempts, "step": table["step"]}).group_by("attempt").aggregate([("step", "min")]).to_pydict()
    first_step = dict(zip(began["attempt"], began["step_min"], strict=True))
    keep = None
    for attempt, limit in _superseded_from(first_step).items():
        rows = pc.and_(pc.equal(attempts, attempt), pc.less(table["step"], limit))
        keep = rows if keep is None else pc.or_(keep, rows)
    return table.filter(keep), first_step


def read_metrics(run_dir: Path) -> list[dict]:
    """metrics.jsonl of a run folder, a dict per step; a step that a resume did again counts once, its last time. [] when there is none."""
    return _by_step(Path(run_dir) / "metrics.jsonl", "step")


def read_iterations(run_dir: Path) -> list[dict]:
    """iterations.jsonl of a run folder, its evaluations while it trained: {step, column: number}, one a step, the last one written.

    A line without `step` counts by its `iteration`. Nested columns are named a.b; what is no number is left out. [] when there is none.
    """
    rows = _by_step(Path(run_dir) / "iterations.jsonl", "step", "iteration")
    return [{"step": row["step"]} | dict(_numbers(row)) for row in rows]


def waited_s(entry: dict) -> float | None:
    """Seconds of a step in which the card waited (metrics named `wait_s` or `.../wait_s`), None where nobody measured."""
    found = [value for key, value in entry.items() if key.rpartition("/")[2] == "wait_s" and isinstance(value, (int, float))]
    return sum(found) if found else None


def _by_step(path: Path, *names: str) -> list[dict]:
    entries: list[dict] = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        entry = _parsed(line)
        step = next((entry[name] for name in names if isinstance(entry.get(name), int)), None) if entry is not None else None
        if step is None:
            continue
        while entries and entries[-1]["step"] >= step:
            entries.pop()
        entries.append(entry | {"step": step})
    return entries


def _numbers(value: dict, path: str = "") -> Iterator[tuple[str, float]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _numbers(inner, f"{path}{key}.")
        elif isinstance(inner, (int, float)) and not isinstance(inner, bool) and f"{path}{key}" != "iteration":
            yield f"{path}{key}", inner
