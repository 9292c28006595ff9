"""Prompt sets of any known layout -> task rows.

A task row is a plain dict: `task_id: str`, `prompt: str` (what the user asks), `tests: list[str] | None` (hidden tests,
never shown to the model), `entry_point: str | None`, `source: str`; other columns of the file pass through.
Layouts are recognised by their columns, so a file needs no flag that says what it is.
Not done here: judging whether tests make sense (`judge.program.with_hidden_tests` refuses what it cannot read).
"""

import codecs
import gzip
import hashlib
import json
import random
import re
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import kinds
from judge.errors import UserError
from judge.program import code_blocks

SIGNATURE_REQUEST = (
    "Complete this Rust function. Keep its name and signature, and answer with the whole function in one ```rust block."
)
SIGNATURE_REQUEST_WITH_TYPES = (  # asked for the function alone, a model leaves the types out, and nothing compiles
    "Complete this Rust code. Keep all names and signatures, and answer with all of it, types included, in one ```rust block."
)
TASK_COLUMNS = ("task_id", "prompt", "tests", "entry_point", "source")

# Layout name -> columns that must all be present. The first match wins, so the more specific layouts come first.
LAYOUTS = {
    "multipl-e": ("name", "language", "prompt", "tests"),
    "humaneval-x": ("task_id", "prompt", "declaration", "test"),
    "mbpp": ("task_id", "text", "test_list"),
    "acecode": ("question", "test_cases"),
    "oxen": ("rust_prompt",),
    "question": ("question",),
    "plain": ("prompt",),
}


class TaskError(UserError, ValueError):
    """The prompt set cannot be used as asked; the message is one sentence for the user."""


# ---------------------------------------------------------------------------------------------------------------------
# Prompt builder
# ---------------------------------------------------------------------------------------------------------------------


def read_system_prompt(path: str | None = None) -> str:
    """Text of the system prompt: a file's, `system_prompt.txt` beside this module for None, '' for "none". Raises TaskError."""
    if path == "none":
        return ""
    file = Path(path) if path else Path(__file__).with_name("system_prompt.txt")
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"cannot read the system prompt {file} ({error}); expected a text file, or 'none'") from error


def build_messages(prompt: str, system_prompt: str) -> list[dict]:
    """Conversation that asks for a program: a system turn (left out when `system_prompt` is blank) and the user's turn."""
    return kinds.conversation({"prompt": prompt}, system_prompt)


def content_text(content: object) -> str:
    """Text of a message's `content`: a text, a list of parts (those that are text), or nothing (a tool call). Raises TypeError."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, Iterable) or isinstance(content, dict):
        raise TypeError(f"content is {type(content).__name__}, expected text or a list of parts")
    return "".join(part if isinstance(part, str) else part.get("text") or "" for part in content)


def prompt_text(prompt: object) -> object:
    """What the user asks last where the prompt is a list of chat messages; anything else as it is. Raises TaskError."""
    if isinstance(prompt, str) or not isinstance(prompt, Sequence) or not all(isinstance(turn, dict) for turn in prompt):
        return prompt
    asked = [turn for turn in prompt if turn.get("role", "user") == "user"]
    if not asked:
        raise TaskError(f"the prompt is {len(prompt)} chat messages, none of them with the role user")
    try:
        return content_text(asked[-1].get("content"))
    except (TypeError, AttributeError) as error:
        raise TaskError(f"the content of the prompt's message is no text ({error})") from error


def signature_prompt(declaration: str) -> str:
    """User prompt for a task given as doc comment + signature: the function to complete is shown verbatim, types before it too."""
    stub = declaration.rstrip()
    stub = stub if stub.endswith("{") else stub + " {"
    has_types = re.search(r"^(pub\s+)?(struct|enum|union|trait|type|impl)\b", stub, re.M)
    request = SIGNATURE_REQUEST_WITH_TYPES if has_types else SIGNATURE_REQUEST
    return f"{request}\n\n```rust\n{stub}\n    // your code\n}}\n```"


def rust_wording(text: str) -> str:
    """A Python task's wording asked of Rust: `Write a python function to ...` -> `Write a Rust function to ...`."""
    text = re.sub(r"\bpython(\s*3)?\b", "Rust", text.strip(), flags=re.IGNORECASE)
    if not re.search(r"\brust\b", text, flags=re.IGNORECASE):
        text = re.sub(r"\b([Ww]rite|[Cc]reate|[Ii]mplement) (a|an|the) (function|program|method|class)\b", r"\1 a Rust \3", text, count=1)
    return text if re.search(r"\brust\b", text, flags=re.IGNORECASE) else f"Write this in Rust: {text}"


# ---------------------------------------------------------------------------------------------------------------------
# One row of each layout
# ---------------------------------------------------------------------------------------------------------------------


def _function_name(signature: str) -> str | None:
    """Name of the last `fn` in a signature (a declaration text may hold helper items before it)."""
    names = re.findall(r"\bfn\s+([A-Za-z_][A-Za-z0-9_]*)", re.sub(r"//[^\n]*", "", signature))
    return names[-1] if names else None


def as_test_list(tests: object) -> list[str] | None:
    """Whatever a file holds as tests (null, one text, a list, numpy array, JSON text of a list) -> list of texts."""
    if tests is None or (isinstance(tests, float) and tests != tests):  # NaN is how pandas reads a missing cell
        return None
    if isinstance(tests, str):
        tests = _without_fence(tests)
        if tests.lstrip().startswith("["):
            try:
                tests = json.loads(tests)
            except json.JSONDecodeError:
                pass  # not a JSON list: one test text
        if isinstance(tests, str):
            return [tests] if tests.strip() else None
    if isinstance(tests, dict) or not isinstance(tests, Iterable) or not all(isinstance(test, str) for test in tests):
        raise TaskError(f"tests must be text or a list of texts, found {type(tests).__name__}")
    return [test for test in map(_without_fence, tests) if test.strip()] or None


def _without_fence(test: str) -> str:
    """Tests as a model writes them: what stands in Markdown's fences, where one opens the text."""
    return "\n".join(block.text for block in code_blocks(test)) if test.lstrip().startswith(("```", "~~~")) else test


RUST_TEST = re.compile(r"\bassert(_eq|_ne)?!\s*[(\[{]|#\[test\]")


def _hidden_tests(row: dict) -> object:
    """The row's tests; of a graded completion (a trace, results.jsonl) `tests` are the outcomes of its own, `hidden_tests` the task's."""
    if "tests" not in row and "hidden_tests" not in row:
        return row.get(column) if (column := found_tests_column(row)) else None
    return row["hidden_tests"] if isinstance(row.get("tests"), dict) and "hidden_tests" in row else row.get("tests")


def found_tests_column(row: dict) -> str | None:
    """The column that holds Rust tests by its name and contents, in a row without `tests`. Raises TaskError when several do."""

    def holds_tests(value: object) -> bool:
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        return any(isinstance(text, str) and RUST_TEST.search(text) for text in texts)

    found = [name for name, value in row.items() if "test" in str(name).lower() and holds_tests(value)]
    if len(found) > 1 and any(row[name] != row[found[0]] for name in found):
        raise TaskError(f"the columns {', '.join(found)} hold Rust tests: name one of them with --tests_column")
    return found[0] if found else None


def _convert(layout: str, row: dict) -> dict:
    """One input row -> task_id / prompt / tests / entry_point (task_id may be missing still)."""
    if layout == "multipl-e":
        return {
            "task_id": row["name"],
            "prompt": signature_prompt(row["prompt"]),
            "tests": as_test_list(row["tests"]),
            "entry_point": _function_name(row["prompt"]),
        }
    if layout == "humaneval-x":
        shown = row["prompt"] if "fn " in row["prompt"] else row["prompt"] + row["declaration"]
        return {
            "task_id": row["task_id"],
            "prompt": signature_prompt(shown),
            "tests": as_test_list(row["test"]),
            "entry_point": _function_name(row["declaration"]),
        }
    if layout == "mbpp":  # its tests are Python: of no use to cargo
        return {"task_id": row["task_id"], "prompt": rust_wording(row["text"]), "tests": None, "entry_point": None}
    if layout == "acecode":
        return {"task_id": row.get("id"), "prompt": rust_wording(row["question"]), "tests": None, "entry_point": None}
    prompt_column = {"oxen": "rust_prompt", "question": "question", "plain": "prompt"}[layout]
    return {
        "task_id": row.get("task_id"),
        "prompt": row[prompt_column],
        "tests": as_test_list(row.get("tests") if layout == "oxen" else _hidden_tests(row)),  # oxen's others are a model's own
        "entry_point": row.get("entry_point"),
    }


def detect_layout(found: Sequence[str]) -> str:
    """Name of the layout that these column names belong to. Raises TaskError naming the columns and the layouts."""
    for layout, needed in LAYOUTS.items():
        if all(column in found for column in needed):
            return layout
    known = "; ".join(f"{name}: {', '.join(needed)}" for name, needed in LAYOUTS.items())
    raise TaskError(
        f"no prompt column: found the columns {', '.join(map(str, found)) or '(none)'}; known layouts are {known}; "
        "name the column yourself with --prompt_column"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Loading
# ---------------------------------------------------------------------------------------------------------------------


Place = str  # where a row stands, for messages: "FILE, line 7" or "SOURCE, row 7"


def read_rows(path: Path) -> list[dict]:
    """All rows of a local jsonl (.gz, too), json (a list) or parquet file. Raises TaskError, for jsonl with the line number."""
    return [row for _, row in iter_rows(path)]


def iter_rows(path: Path) -> Iterator[tuple[Place, dict]]:
    """(place, row) of a local file as in `read_rows`, one at a time. Raises TaskError, for jsonl with the line number."""
    for where, row in _iter_file(path):
        yield where, _no_error(row)


def _no_error(row: dict | TaskError) -> dict:
    if isinstance(row, TaskError):
        raise row
    return row


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _iter_lines(path: Path) -> Iterator[tuple[Place, dict | TaskError]]:
    """(place, object or what is wrong with the line) of every line that is not blank. Raises TaskError for a broken .gz."""
    with _opened(path) as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise TaskError(f"{path}: UTF-16 text (expected UTF-8; PowerShell's > writes UTF-16)")
                if line := line.removeprefix(codecs.BOM_UTF8).strip():
                    where = f"{path}, line {number}"
                    yield where, _read_line(line, where)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TaskError(f"{path}: not a gzip file that can be read ({_first_line(error)})") from error


def _read_line(line: bytes, where: str) -> dict | TaskError:
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return TaskError(f"{where}: not JSON (not UTF-8 text)")
    except (ValueError, RecursionError) as error:  # RecursionError: brackets without end
        return TaskError(f"{where}: not JSON ({_first_line(error)})")
    return row if isinstance(row, dict) else TaskError(f"{where}: expected a JSON object, found {type(row).__name__}")


def _numbered(source: Path | str, rows: Iterable[dict]) -> Iterator[tuple[Place, dict]]:
    return ((f"{source}, row {number}", row) for number, row in enumerate(rows, start=1))


def _iter_parquet(path: Path) -> Iterator[tuple[Place, dict]]:
    """(place, row), a few hundred in memory at a time. Raises TaskError."""
    import pyarrow.parquet  # here, because it costs start-up time that a jsonl user need not pay

    try:
        batches = pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=512)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from _numbered(path, rows)
    except (OSError, pyarrow.ArrowException) as error:
        raise TaskError(f"{path}: not a parquet file that can be read ({_first_line(error)})") from error


def _iter_file(path: Path) -> Iterator[tuple[Place, dict | TaskError]]:
    """(place, row or what is wrong with it) of a local file. Raises TaskError."""
    if path.suffix == ".parquet":
        yield from _iter_parquet(path)
    elif (rows := _listed(path)) is not None:
        yield from _numbered(path, rows)
    elif path.suffix == ".json" and not _holds_lines(path):
        _read_json(path)
        raise TaskError(f"{path}: a .json file of tasks must hold a list of objects")
    else:
        is_known = {".jsonl", ".json"} & set(path.suffixes)
        for where, row in _iter_lines(path):
            if isinstance(row, TaskError) and not is_known:
                row = TaskError(f"{row}: files of tasks are .jsonl, .json or .parquet")
            yield where, row


def _listed(path: Path) -> list[dict] | None:
    """The rows of a file that is one JSON list of objects, whatever it is called; None for any other."""
    try:
        with _opened(path) as file:
            if not file.read(1024).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
                return None
            file.seek(0)
            rows = json.loads(file.read().removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError, EOFError, gzip.BadGzipFile, zlib.error):
        return None
    return rows if all(isinstance(row, dict) for row in rows) else None


def _holds_lines(path: Path) -> bool:
    """Whether a file's first line is a JSON object of its own, and more follows."""
    with path.open("rb") as lines:
        first = lines.readline().removeprefix(codecs.BOM_UTF8)
        try:
            return isinstance(json.loads(first), dict) and bool(lines.read(1))
        except (ValueError, RecursionError):
            return False


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path}: not JSON ({_first_line(error)})") from error


def _iter_source(source: str, split: str) -> Iterator[tuple[Place, dict | TaskError]]:
    """(place, row or what is wrong with it) of a local file, or of a hub dataset given as ID or ID:CONFIG. Raises TaskError."""
    path = Path(source)
    if path.is_file():
        yield from _iter_file(path)
        return
    if path.is_dir():
        raise TaskError(f"{source}: a folder (expected a .jsonl, .jsonl.gz, .json or .parquet file, or a hub dataset id)")
    if source.startswith((".", "/", "~")) or path.suffix in {".jsonl", ".json", ".parquet", ".gz"}:
        raise TaskError(f"{source}: no such file (expected a .jsonl, .jsonl.gz, .json or .parquet file, or a hub dataset id)")
    import datasets

    name, _, config = source.partition(":")
    try:
        rows = datasets.load_dataset(name, *([config] if config else []), split=split)
    except Exception as error:  # the hub client raises a dozen unrelated types; each means the same to the user
        raise TaskError(
            f"could not load the hub dataset {source!r} ({type(error).__name__}: {_first_line(error)}); "
            "without a network, pass a local file: --tasks FILE.jsonl|.parquet"
        ) from error
    yield from _numbered(source, rows)


def read_task_ids(spec: str) -> set[str]:
    """`FILE.json:KEY` (a JSON object of id lists) or `FILE` (a JSON list, or one id per line) -> set of task ids."""
    name, _, key = spec.rpartition(":") if re.search(r"\.json:[^/]+$", spec) else (spec, "", "")
    path = Path(name)
    if not path.is_file():
        raise TaskError(f"--task_ids {spec}: {name} is not a file (expected FILE.json:KEY or a list of ids)")
    if not key and path.suffix != ".json":
        try:
            return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
        except UnicodeDecodeError as error:
            raise TaskError(f"--task_ids {spec}: not UTF-8 text (expected one id per line)") from error
    ids = _read_json(path)
    if key:
        if not isinstance(ids, dict):
            raise TaskError(f"--task_ids {spec}: expected an object of id lists in {name}, found a {type(ids).__name__}")
        if key not in ids:
            raise TaskError(f"--task_ids {spec}: no key {key!r}; found {', '.join(sorted(ids))}")
        ids = ids[key]
    if not isinstance(ids, list):
        raise TaskError(f"--task_ids {spec}: expected a list of ids; name a key as FILE.json:KEY")
    return set(map(str, ids))


def _to_task(row: dict, index: int, layout: str, columns: dict[str, str], source: str) -> dict:
    """One row as a task row. Raises TaskError without saying where."""
    more_specific = list(LAYOUTS)[: list(LAYOUTS).index(layout)] if "prompt" not in columns else []
    other = next((name for name in more_specific if all(column in row for column in LAYOUTS[name])), None)
    if other:
        raise TaskError(f"its columns are those of the layout {other}, the first row's of {layout} (mixed layouts)")
    try:
        named = {field: row[column] for field, column in columns.items()}
        if "tests" in named:
            named["tests"] = as_test_list(named["tests"])
        task = _convert(layout, row | named) | named  # what the user named wins over what the layout says
    except KeyError as error:
        raise TaskError(f"it lacks the column {error} that the first row has (mixed layouts?)") from error
    task["prompt"] = prompt_text(task["prompt"])
    if not isinstance(task["prompt"], str):
        raise TaskError(f"the prompt is not text but {type(task['prompt']).__name__}")
    if not task["prompt"].strip():
        raise TaskError("the prompt is empty")
    task["task_id"] = f"{Path(source.removesuffix('.gz')).stem}/{index}" if task["task_id"] is None else str(task["task_id"])
    task["source"] = row.get("source") or source
    passed_through = {key: value for key, value in row.items() if key not in TASK_COLUMNS}
    # traces hold JSON: dates and the like become text, what is no number (a missing cell) becomes null
    task |= json.loads(json.dumps(passed_through, default=str), parse_constant=lambda name: None)
    try:
        return kinds.with_prompt(task)
    except kinds.KindError as error:
        raise TaskError(str(error)) from error


def iter_tasks(
    source: str, *, split: str = "train", columns: dict[str, str] | None = None, bad_rows: list[str] | None = None
) -> Iterator[dict]:
    """Task rows of a prompt set in file order, one at a time: no more than a few hundred rows are in memory.

    Args:
        source, split, columns: As for `load_tasks`.
        bad_rows: Given a list, a row that cannot be read is left out and what is wrong with it, its place first, is appended.

    Raises:
        TaskError: Nothing to load, no prompt column, or (without `bad_rows`) the first row that cannot be read.
    """
    columns = {field: column for field, column in (columns or {}).items() if column}
    source, column = split_column(source)
    columns |= {"prompt": column} if column else {}
    layout = None
    for index, (place, row) in enumerate(_iter_source(source, split)):
        try:
            row = _no_error(row)
            if layout is None:
                layout = _layout_of(row, columns, source)
        except TaskError as error:
            if layout is None and isinstance(row, dict) or bad_rows is None:
                raise
            bad_rows.append(str(error))
            continue
        try:
            task = _to_task(row, index, layout, columns, source)
        except TaskError as error:
            if bad_rows is None:
                raise TaskError(f"{place}: {error}") from error
            bad_rows.append(f"{place}: {error}")
        else:
            yield task


def _layout_of(row: dict, columns: dict[str, str], source: str) -> str:
    missing = [column for column in columns.values() if column not in row]
    if missing:
        raise TaskError(f"{source}: no column {', '.join(missing)}; found {', '.join(map(str, row))}")
    return "plain" if "prompt" in columns else detect_layout(list(row))


def load_tasks(
    source: str,
    *,
    split: str = "train",
    columns: dict[str, str] | None = None,
    task_ids: str | None = None,
    limit: int | None = None,
    bad_rows: str | None = None,
) -> list[dict]:
    """Load a prompt set as task rows, in file order.

    Args:
        source: Path of a .jsonl(.gz), .json or .parquet file, FILE:COLUMN for prompts of that column, or a hub dataset: ID or ID:CONFIG.
        split: Split of a hub dataset (ignored for files).
        columns: Task field -> column name of the file, for files of no known layout (`{"prompt": "instruction"}`).
        task_ids: Keep only these ids: `FILE.json:KEY`, or a file with one id per line.
        limit: Keep the first `limit` rows, after `task_ids`.
        bad_rows: Rows that cannot be read (not JSON, no prompt): None and "stop" refuse the set, "skip" leaves them out and says
            how many. "stop" recommends `--bad_rows skip`, None does not: for a caller that has no such flag.

    Raises:
        TaskError: Nothing to load, no prompt column, unreadable rows (how many, and the first one's line), duplicate ids, unknown ids.
    """
    found_bad: list[str] = []
    tasks = list(iter_tasks(source, split=split, columns=columns, bad_rows=found_bad))
    report_bad_rows(source, found_bad, len(tasks), bad_rows)
    if limit is not None and limit < 1:
        raise TaskError(f"the limit of {limit} tasks leaves none: expected at least 1")
    _require_unique_ids(tasks, source)
    (kept,) = _select_from([tasks], [source], task_ids)
    return kept[:limit]


def report_bad_rows(source: str, found_bad: Sequence[str], n_good: int, bad_rows: str | None) -> None:
    """Refuse (None, "stop") or count on stderr ("skip") rows that cannot be read; refuse a set without any other. Raises TaskError.

    "stop" comes from a flag `--bad_rows`, which the message then recommends.
    """
    if bad_rows not in (None, "stop", "skip"):
        raise TaskError(f"bad rows {bad_rows!r}: expected stop or skip")
    if found_bad and (bad_rows != "skip" or not n_good):
        advice = "; `--bad_rows skip` leaves them out" if bad_rows == "stop" else ""
        others = f" ({len(found_bad)} of {len(found_bad) + n_good} rows cannot be read{advice})"
        raise TaskError(found_bad[0] + (others if n_good else f" (none of {len(found_bad)} rows can be read)"))
    if not n_good:
        raise TaskError(f"{source}: the prompt set is empty")
    if found_bad:
        print(f"{source}: left out {len(found_bad)} of {len(found_bad) + n_good} rows, the first: {found_bad[0]}", file=sys.stderr)


def _require_unique_ids(tasks: Sequence[dict], source: str) -> None:
    seen: set[str] = set()
    for task in tasks:
        if task["task_id"] in seen:
            raise TaskError(f"{source}: the task id {task['task_id']!r} appears more than once")
        seen.add(task["task_id"])


def _select_from(sets: list[list[dict]], sources: Sequence[str], task_ids: str | None) -> list[list[dict]]:
    """Keep the wanted ids of each set. Raises TaskError for an id that no set has, and for a set that has none of them."""
    if task_ids is None:
        return sets
    wanted = read_task_ids(task_ids)
    kept = [[task for task in tasks if task["task_id"] in wanted] for tasks in sets]
    for tasks, of, source in zip(kept, sets, sources, strict=True):
        if not tasks:
            raise TaskError(f"none of the {len(wanted)} ids of {task_ids} is in {source} (its first id is {of[0]['task_id']!r})")
    absent = sorted(wanted - {task["task_id"] for tasks in kept for task in tasks})
    if absent:
        where = ", ".join(sources)
        raise TaskError(f"{len(absent)} of the {len(wanted)} ids of {task_ids} are not in {where}, for example {absent[0]!r}")
    return kept


# ---------------------------------------------------------------------------------------------------------------------
# Do two texts say the same?
# ---------------------------------------------------------------------------------------------------------------------

# Measured on MBPP (964 prompts) against MultiPL-E's mbpp-rs, which rewords 354 of them: 6 words and 0.6 find 210 of the 349 pairs
# (reworded ones stay hidden to any n-gram) and 23 more, of which 8 are different tasks (`left` for `right`), the others MBPP's own repeats.
NGRAM_WORDS = 6  # consecutive words that two prompts share by copying, hardly ever by chance
OVERLAP_LIMIT = 0.6  # share of n-grams in common from which on two prompts count as one
COMMON_SHARE, COMMON_TEXTS = 0.1, 8  # an n-gram in more than a tenth of the texts, and in more than 8, is boilerplate

# The asking itself says nothing about what is asked: `Write a python function to ...` and `Create a Rust program that ...`.
_ASKING = re.compile(
    r"\b(?:write|create|implement|define|develop|design|build|make|complete)\s+(?:an?|the|this)?\s*(?:\w+\s+)?"
    r"(?:function|program|method|script|code)s?\b(?:\s+(?:in\s+(?:rust|python)\s*)?(?:to|that|which|for|called|named)\b)?",
    re.IGNORECASE,
)
_SAYS_NOTHING = frozenset("rust python python3 fn def a an the given".split())
# Python's words and Rust's for one thing: a list asked of Rust is a vector
_RUST_WORDS = ("array|slice|vec|vector", "list"), ("dictionary|dictionaries|dict|hashmap", "map"), ("int|integer", "number")
_SYNONYMS = {word + ending: meaning + ending for words, meaning in _RUST_WORDS for word in words.split("|") for ending in ("", "s")}
_SYNONYMS |= {f"sub{word}": f"sub{meaning}" for word, meaning in _SYNONYMS.items()}


_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


def _comments(block: re.Match) -> str:
    """Doc comment of a fenced block, so that a task with a signature is compared by its wording; the block where it has none."""
    return " ".join(re.findall(r"^\s*///(.*)", block[0], re.MULTILINE)) or block[0]


def normalized_words(text: str) -> list[str]:
    """Words of a text for comparison: lower case, a list and a vector the same word.

    Dropped: punctuation, layout, articles, links, the words of asking (`Write a python function to`), and the code under a doc
    comment in a fenced block.
    """
    text = _FENCED.sub(_comments, text.replace(SIGNATURE_REQUEST, " ").replace(SIGNATURE_REQUEST_WITH_TYPES, " "))
    text = _ASKING.sub(" ", re.sub(r"https?://\S+", " ", text))
    words = (word for word in re.findall(r"\w+", text.lower()) if word not in _SAYS_NOTHING)
    return [_SYNONYMS.get(word, word) for word in words]


def normalized(text: str) -> str:
    """`normalized_words` as one text: equal for prompts that differ in case, layout, punctuation or language asked for."""
    return " ".join(normalized_words(text))


def ngrams(text: str, n: int = NGRAM_WORDS, words: Callable[[str], list[str]] = normalized_words) -> set[str]:
    """Every run of `n` consecutive words of a text, as `words` splits it; a shorter text is one run (none when it has no words)."""
    found = words(text)
    return {" ".join(found[i : i + n]) for i in range(max(1, len(found) - n + 1))} if found else set()


class NgramIndex:
    """Finds those of many texts that overlap with a given one; a look-up costs what the text has n-grams.

    Args:
        texts: What is searched; matches are positions in it.
        n: Words of an n-gram.
        of_larger: The share is of the text with more n-grams (near-equal texts only), not of the one with fewer (a text
            that is contained in another counts too).
        words: How a text is split.

    N-grams in more than a tenth of the texts (and in more than 8) are boilerplate and count for neither side.
    Memory: 16 bytes per n-gram, about as many as the texts have words.
    """

    def __init__(
        self,
        texts: Iterable[str],
        n: int = NGRAM_WORDS,
        of_larger: bool = False,
        words: Callable[[str], list[str]] = normalized_words,
    ):
        import numpy as np

        self.n, self.of_larger, self.words = n, of_larger, words
        grams, places, count = array("Q"), array("q"), 0
        for position, text in enumerate(texts):
            hashed = self._hashed(text)
            grams.extend(hashed)
            places.extend([position] * len(hashed))
            count += 1
        order = np.argsort(np.frombuffer(grams, np.uint64), kind="stable") if grams else np.array([], int)
        self._grams, self._places = np.frombuffer(grams or b"", np.uint64)[order], np.frombuffer(places or b"", np.int64)[order]
        unique, frequency = np.unique(self._grams, return_counts=True)
        self._common = unique[frequency > max(COMMON_TEXTS, COMMON_SHARE * count)]
        is_rare = ~np.isin(self._grams, self._common)
        self._grams, self._places = self._grams[is_rare], self._places[is_rare]
        self._sizes = np.bincount(self._places, minlength=count)

    def _hashed(self, text: str) -> list[int]:
        grams = (gram.encode("utf-8", "surrogatepass") for gram in ngrams(text, self.n, self.words))
        return [int.from_bytes(hashlib.blake2b(gram, digest_size=8).digest(), "little") for gram in grams]

    def matches(self, text: str, min_share: float = OVERLAP_LIMIT) -> list[tuple[int, float]]:
        """(position, share) of every indexed text that shares at least `min_share` (above 0) with `text`, best first."""
        import numpy as np

        grams = np.array(self._hashed(text), np.uint64)
        grams = grams[~np.isin(grams, self._common)]
        ranges = zip(np.searchsorted(self._grams, grams, "left"), np.searchsorted(self._grams, grams, "right"), strict=True)
        shared = Counter(int(position) for start, end in ranges for position in self._places[start:end])
        wider = max if self.of_larger else min
        shares = [(position, count / wider(len(grams), int(self._sizes[position]))) for position, count in shared.items()]
        return sorted([match for match in shares if match[1] >= min_share], key=lambda match: (-match[1], match[0]))


# ---------------------------------------------------------------------------------------------------------------------
# Several sets, filtered and mixed
# ---------------------------------------------------------------------------------------------------------------------

MAX_REPEATS = 20  # a task seen more often in one epoch is a mistake in the weights
DERIVED_COLUMNS = {"prompt_chars": lambda task: len(task["prompt"]), "prompt_words": lambda task: len(task["prompt"].split())}


def parse_task_set(spec: str) -> tuple[str, str | None, float | None]:
    """`SOURCE[:COLUMN][=WEIGHT]` -> (source, prompt column, weight). Raises TaskError."""
    source, separator, weight = spec.rpartition("=")
    if not separator or Path(spec).exists():
        source, weight = spec, ""
    try:
        value = float(weight) if weight else None
    except ValueError:
        value = 0.0
    if value is not None and not 0 < value < float("inf"):
        raise TaskError(f"--tasks {spec}: expected SOURCE=WEIGHT with a number above 0, for example {source}=2")
    return *split_column(source), value


def split_column(source: str) -> tuple[str, str | None]:
    """`FILE:COLUMN` -> (file, prompt column). Behind a hub id a colon names the configuration, which stays part of the source."""
    file, separator, column = source.rpartition(":")
    if separator and not Path(source).exists() and Path(file).suffix in {".jsonl", ".json", ".parquet"}:
        return file, column
    return source, None


def filter_tasks(tasks: Sequence[dict], filters: Sequence[str], source: str = "the prompt set") -> list[dict]:
    """Tasks that pass every filter, in order.

    `COLUMN=A,B` keeps rows whose column is one of the values; `COLUMN=LOW..HIGH` (either may be missing) those with a number in
    the range, ends included. Any column of the file, and `prompt_chars`, `prompt_words`.

    Raises:
        TaskError: No such column, or nothing is left; names what is there.
    """
    kept = list(tasks)
    for text in filters:
        column, separator, wanted = text.partition("=")
        if not separator or not column or not wanted:
            raise TaskError(f"--task_filter {text}: expected COLUMN=VALUE,VALUE or COLUMN=LOW..HIGH, for example prompt_words=..80")
        get = DERIVED_COLUMNS.get(column, lambda task, column=column: task.get(column))
        if column not in DERIVED_COLUMNS and not any(column in task for task in tasks):
            known = ", ".join(dict.fromkeys([*(key for task in tasks for key in task), *DERIVED_COLUMNS]))
            raise TaskError(f"--task_filter {text}: {source} has no column {column}; found {known}")
        passes, found = _passes(wanted, text), Counter(str(get(task))[:40] for task in kept)
        kept = [task for task in kept if passes(get(task))]
        if not kept:
            common = ", ".join(f"{value} ({count})" for value, count in found.most_common(6))
            raise TaskError(f"--task_filter {text} leaves nothing of {source}; {column} is {common}")
    return kept


def _passes(wanted: str, text: str) -> Callable[[object], bool]:
    if ".." not in wanted:
        values = {value.strip() for value in wanted.split(",")}
        return lambda value: any(str(one) in values for one in (value if isinstance(value, list) else [value]))
    low, _, high = wanted.partition("..")
    try:
        bottom, top = float(low or "-inf"), float(high or "inf")
    except ValueError as error:
        raise TaskError(f"--task_filter {text}: expected numbers around the two dots") from error
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and bottom <= value <= top


def mix(sets: Sequence[Sequence[dict]], weights: Sequence[float], seed: int) -> list[list[dict]]:
    """Repeat tasks so that each set holds its weight's share of all rows: what a uniform sampler then draws, step by step.

    Every task of every set is in; the set that is largest for its share once, the others in whole copies and a seeded
    choice of the rest. Shares are exact up to a row. Raises TaskError when a set would repeat more than MAX_REPEATS times.
    """
    total = max(len(tasks) * sum(weights) / weight for tasks, weight in zip(sets, weights, strict=True))
    mixed = []
    for number, (tasks, weight) in enumerate(zip(sets, weights, strict=True)):
        wanted = round(total * weight / sum(weights))
        copies, rest = divmod(wanted, len(tasks))
        most = copies + bool(rest)
        if most > MAX_REPEATS:
            raise TaskError(
                f"the weights make the {len(tasks)} tasks of set {number + 1} repeat {most} times an epoch (at most {MAX_REPEATS}): "
                "give it a smaller weight or more tasks"
            )
        chosen = set(random.Random(f"{seed}/{number}").sample(range(len(tasks)), rest))
        mixed.append([*list(tasks) * copies, *(task for i, task in enumerate(tasks) if i in chosen)])
    return mixed


def load_task_sets(
    specs: Sequence[str],
    *,
    seed: int = 0,
    filters: Sequence[str] = (),
    columns: dict[str, str] | None = None,
    task_ids: str | None = None,
    limit: int | None = None,
    **options,
) -> tuple[list[dict], list[dict]]:
    """Load, filter and mix several prompt sets -> (tasks, one fact sheet per set).

    Args:
        specs: `SOURCE[:COLUMN][=WEIGHT]`, weights for all sets or for none. Without them the sets are put one after the other, so a
            set's share of the prompts of a step is its share of the tasks; with them it is the weight's share (see `mix`).
        seed: Chooses which tasks repeat.
        filters: As for `filter_tasks`; each set must pass them.
        columns, options: As for `load_tasks`.
        task_ids: As for `load_tasks`; each id must be in one of the sets.
        limit: Keep the first `limit` tasks of each set, after `task_ids` and `filters`.

    A fact sheet has source, weight, tasks (different ones), rows (an epoch), share (of the prompts of a step, expected), hash.
    A task id that an earlier set has too gets `#COLUMN` or `#FILE` appended.

    Raises:
        TaskError: What `load_tasks` and `filter_tasks` raise, weights for some sets only, a set given twice.
    """
    parsed = [parse_task_set(spec) for spec in specs]
    weights = [weight for _, _, weight in parsed]
    if not parsed:
        raise TaskError("--tasks is empty: expected a .jsonl, .json or .parquet file, or a hub dataset id")
    if None in weights and any(weight is not None for weight in weights):
        raise TaskError(f"--tasks {specs[weights.index(None)]} has no weight, others have: give every set one (SOURCE=WEIGHT), or none")
    if limit is not None and limit < 1:
        raise TaskError(f"the limit of {limit} tasks leaves none: expected at least 1")
    loaded = [
        load_tasks(source, columns=(columns or {}) | ({"prompt": column} if column else {}), **options) for source, column, _ in parsed
    ]
    loaded = _select_from(loaded, [source for source, _, _ in parsed], task_ids)
    sets = _told_apart(specs, parsed, [filter_tasks(tasks, filters, of[0])[:limit] for of, tasks in zip(parsed, loaded, strict=True)])
    mixed = sets if None in weights else mix(sets, weights, seed)
    n_rows = sum(map(len, mixed))
    facts = [
        {
            "source": spec,
            "weight": weight,
            "tasks": len(tasks),
            "rows": len(rows),
            "share": round(len(rows) / n_rows, 4),
            "hash": tasks_hash(tasks),
        }
        for spec, weight, tasks, rows in zip(specs, weights, sets, mixed, strict=True)
    ]
    return [task for rows in mixed for task in rows], facts


def _told_apart(specs: Sequence[str], parsed: Sequence[tuple], sets: Sequence[list[dict]]) -> list[list[dict]]:
    """The sets with a suffix at every task id that an earlier one has, too. Raises TaskError where that does not tell them apart."""
    found, taken = [], set()
    for spec, (source, column, _), tasks in zip(specs, parsed, sets, strict=True):
        suffix = column or Path(source).stem
        tasks = [task | {"task_id": f"{task['task_id']}#{suffix}"} if task["task_id"] in taken else task for task in tasks]
        again = next((task["task_id"] for task in tasks if task["task_id"] in taken), None)
        if again is not None:
            raise TaskError(f"--tasks {spec}: the task {again!r} is in an earlier set too; was a set given twice?")
        taken |= {task["task_id"] for task in tasks}
        found.append(tasks)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Leakage between training and evaluation
# ---------------------------------------------------------------------------------------------------------------------

TRAINED_FILE = "trained_tasks.json"  # in a run folder: hashes of the prompts that were trained on


def leaks(train: Sequence[dict], heldout: Sequence[dict]) -> Iterator[tuple[dict, str]]:
    """(task, why in words) of every training task that is held out too; of a task that the mix repeats, the first.

    Both hold a task when ids and prompts are equal, when normalized prompts are equal, or when their n-grams overlap by OVERLAP_LIMIT.
    """
    ids = {task["task_id"]: task["prompt"] for task in heldout}
    texts = {normalized(task["prompt"]): task for task in heldout}
    index = NgramIndex([task["prompt"] for task in heldout])
    checked: set[str] = set()
    for task in train:
        text = normalized(task["prompt"])
        if ids.get(task["task_id"]) == task["prompt"]:
            yield task, f"task {task['task_id']!r} is in both"
        elif text in checked:
            continue
        elif text and text in texts:
            yield task, f"task {task['task_id']!r} asks the same as the held-out task {texts[text]['task_id']!r}"
        elif found := index.matches(task["prompt"])[:1]:
            position, share = found[0]
            twin = heldout[position]["task_id"]
            yield task, f"task {task['task_id']!r} shares {share:.0%} of its {NGRAM_WORDS}-word runs with the held-out task {twin!r}"
        checked.add(text)


def find_leak(train: Sequence[dict], heldout: Sequence[dict]) -> str | None:
    """What is wrong with training on `train` and evaluating on `heldout`: the first task in both, in words; None when none is."""
    return next((why for _, why in leaks(train, heldout)), None)


def load_heldout(spec: str) -> list[dict]:
    """Task rows of an evaluation set: `FILE`, or `FILE@IDS` with IDS as for `task_ids`; any layout. Raises TaskError."""
    source, _, ids = spec.rpartition("@")
    if not source or Path(split_column(spec)[0]).is_file():  # no IDS: the `@`, if any, is part of the path
        source, ids = spec, ""
    return load_tasks(source, task_ids=ids or None)


def require_no_leak(train: Sequence[dict], heldout: Sequence[str], flag: str = "--heldout") -> int:
    """Load held-out sets (as `load_heldout`; `flag` names them in messages) -> how many prompts they hold.

    Raises TaskError naming the first training task that is among them.
    """
    n_prompts = 0
    for spec in heldout:
        tasks = _asked(spec)
        leak = find_leak(train, tasks)
        if leak:
            instead = "leave it out of the training set (--task_ids, or --drop_leaks true), or evaluate on something else"
            raise TaskError(f"{flag} {spec}: {leak}; {instead}")
        n_prompts += len(tasks)
    return n_prompts


def _asked(spec: str) -> list[dict]:
    """Held-out tasks with every prompt they are asked by: a `signature_prompt` column is one too."""
    tasks = load_heldout(spec)
    return tasks + [task | {"prompt": task["signature_prompt"]} for task in tasks if isinstance(task.get("signature_prompt"), str)]


def without_leaks(train: Sequence[dict], heldout: Sequence[str]) -> list[dict]:
    """The training tasks that are in none of these held-out sets (as `load_heldout`)."""
    for spec in heldout:
        held = {normalized(task["prompt"]) for task, _ in leaks(train, _asked(spec))}
        train = [task for task in train if normalized(task["prompt"]) not in held]
    return list(train)


def _prompt_hash(prompt: str) -> str:
    return hashlib.sha256(normalized(prompt).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def write_trained_tasks(folder: Path, tasks: Sequence[dict]) -> None:
    """Note in a run folder what it trains on, for `trained_on`."""
    hashes = sorted({_prompt_hash(task["prompt"]) for task in tasks})
    (folder / TRAINED_FILE).write_text(json.dumps({"tasks_hash": tasks_hash(tasks), "prompts": hashes}), encoding="utf-8")


def trained_on(model: str, tasks: Sequence[dict]) -> list[str]:
    """Ids of the tasks whose (normalized) prompt a model or adapter folder was trained on, as the run folder around it notes."""
    folder = Path(model).resolve()
    path = next((parent / TRAINED_FILE for parent in (folder, folder.parent) if (parent / TRAINED_FILE).is_file()), None)
    if path is None:
        return []
    noted = _read_json(path)
    seen = set(noted["prompts"]) if isinstance(noted, dict) else set()
    return [task["task_id"] for task in tasks if _prompt_hash(task["prompt"]) in seen]


def tasks_hash(tasks: Sequence[dict]) -> str:
    """SHA-256 (hex) over ids, prompts and hidden tests in order: two runs with equal hashes saw equal tasks."""
    digest = hashlib.sha256()
    for task in tasks:
        key = [task["task_id"], task["prompt"], task["tests"], task["entry_point"]]
        digest.update(json.dumps(key, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
