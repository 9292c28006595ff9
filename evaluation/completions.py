"""Completions that already exist: a file or a trace is read, checked whole before anything is graded, and joined with its tasks."""

import functools
import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import kinds
import tasks as task_sets
from evaluation import completion_rows
from evaluation.arguments import EVAL_REWARDS, EvalArguments
from evaluation.folders import EvalError, TasksHash, file_hash, text_hash
from evaluation.metrics import HIDDEN_REWARD, finite_number
from judge.program import check_hidden_tests as check_texts
from judge.program import holds_fence, is_plain_rust
from rewards import completion_text, parse_reward_spec
from traces import iter_counted, iter_trace, load_trace, trace_files, why_left_out

# What a trace says of a verdict, and what is compared when it is graded again.
VERDICT_FIELDS = ("build_passed", "clippy_passed", "test_passed", "honest_tests", "guard", "hidden_passed", "hidden_total", "error_kind")


def check_hidden_tests(task: dict, where: str) -> None:
    """Raises EvalError when a task's hidden tests cannot be understood."""
    try:
        check_texts(task["tests"], task.get("entry_point"))
    except ValueError as error:
        raise EvalError(f"{where}: its hidden tests cannot be used: {error}") from error


def load_tasks(args: EvalArguments, limit: int | None = None) -> list[dict]:
    """The rows of --tasks, as the model is to be asked. Raises TaskError."""
    columns = {name: getattr(args, f"{name}_column") for name in ("prompt", "tests", "task_id", "entry_point")}
    loaded = task_sets.load_tasks(args.tasks, split=args.tasks_split, columns=columns, task_ids=args.task_ids, limit=limit)
    return kinds.with_fim_format(loaded, args.fim_format)


@dataclass(frozen=True)
class Input:
    """Completions that exist already.

    began: of a training trace, the first step of each attempt; None for any other file.
    column: where completions are; several side by side are as many rows.
    tasks: task id -> task row of --tasks, for what the completions do not hold themselves.
    """

    path: Path
    began: dict[int, int] | None = None
    tasks: dict[str, dict] = field(default_factory=dict)
    column: str = "completion"

    @property
    def name(self) -> str:
        """What the rows of the table are called when the file does not say."""
        return self.path.resolve().name if self.path.is_dir() else Path(self.path.name.removesuffix(".gz")).stem

    def rows(self) -> Iterator[tuple[str, dict]]:
        """Yield (place, row) of every completion in file order; of a trace, what no later attempt superseded."""
        if self.began is not None:
            return iter_traced(self.path, self.began)
        return (single for where, row in task_sets.iter_rows(self.path) for single in completion_rows.single_rows(where, row, self.column))

    def sha256(self) -> str:
        """Hash (hex) of the file, or of every file of the trace."""
        if not self.path.is_dir():
            return file_hash(self.path)
        return text_hash(" ".join(file_hash(path) for path in trace_files(self.path)))


def open_input(args: EvalArguments) -> Input:
    """What --completions names, recognised by its contents, and the tasks of --tasks. Raises EvalError, TraceError or TaskError."""
    path = Path(args.completions)
    if not path.is_dir() and Path(path.name.removesuffix(".gz")).suffix not in {".jsonl", ".json", ".parquet"}:
        raise EvalError(
            f"--completions {path}: expected a .jsonl (.gz, too), .json or .parquet file, or the run folder or trace of a training run"
        )
    if not path.exists():
        raise EvalError(f"--completions {path}: no such file")
    tasks = {task["task_id"]: task for task in load_tasks(args)} if args.tasks else {}
    is_trace = path.is_dir() or (path.suffix != ".parquet" and why_left_out(next(iter_trace(path), None)) is None)
    if not is_trace and args.reuse_verdicts:
        raise EvalError(f"--completions {path}: --reuse_verdicts needs the trace of a training run, and its first line is none")
    if not is_trace and not args.completion_column:
        _, first = next(task_sets.iter_rows(path), ("", {"completion": ""}))
        args.completion_column = None if "completion" in first else completion_rows.found_column(first)
        if args.completion_column:
            print(f"note: completions are read from the column {args.completion_column!r}, several from each row", file=sys.stderr)
    return Input(path, attempts_began(path) if is_trace else None, tasks, args.column("completion"))


def attempts_began(path: Path) -> dict[int, int]:
    """First step of every attempt of a trace. Says on stderr how many lines are no graded completions. Raises TraceError."""
    skipped = load_trace(path, columns=("step",)).attrs
    for count, what in ((skipped["unreadable_lines"], "cannot be read"), (skipped["other_versions"], "are of another schema version")):
        if count:
            print(f"note: {count} lines of {path} {what} and are left out", file=sys.stderr)
    return skipped["attempts_began"]


def iter_traced(path: Path, began: dict[int, int]) -> Iterator[tuple[str, dict]]:
    """Yield (place, row) of a trace, superseded lines left out; what was traced goes to the column `before`."""
    for number, record in enumerate(iter_counted(path, began=began), start=1):
        columns = record["columns"] if isinstance(record.get("columns"), dict) else {}
        before = {name: record.get(name) for name in ("reward", "rewards", *VERDICT_FIELDS)}
        yield f"{path}, graded completion {number}", {"prompt": None} | columns | record | {"before": before}


def _is_missing(value: Any) -> bool:
    """Null, or NaN, which is how pandas writes a missing cell."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_json(value: Any) -> Any:
    """A value of a user's file as JSON can hold it: NaN and infinities become null, dates and bytes text."""
    if isinstance(value, float):
        return finite_number(value)
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value if value is None or isinstance(value, str | int) else str(value)


def _text(value: Any, what: str, where: str) -> str:
    """A prompt or completion as text: a string, a conversation, or nothing at all. Raises EvalError."""
    if _is_missing(value):
        return ""
    try:
        if isinstance(value, str | list):
            return completion_text(value)
    except (AttributeError, KeyError, TypeError):
        pass
    raise EvalError(f"{where}: {what} must be text or a list of messages, found {type(value).__name__}")


def read_completion(where: str, row: dict, args: EvalArguments, known: dict[str, dict]) -> tuple[dict, str, dict]:
    """One input row -> (task, completion, the columns that pass through). `known`: task rows by id. Raises EvalError."""
    names = {name: args.column(name) for name in ("prompt", "completion", "tests", "task_id", "entry_point")}
    if known:  # the column flags are about the task file
        names = {name: name for name in names} | {"completion": args.column("completion")}
        row = {"prompt": None} | row
    for name in ("prompt", "completion", *(name for name in names if getattr(args, f"{name}_column") and not known)):
        if names[name] not in row:
            raise EvalError(f"{where}: no column {names[name]!r}; found {', '.join(map(str, row)) or 'none'} (see --{name}_column)")
    prompt = row[names["prompt"]]
    try:
        if not known and not args.tests_column and "tests" not in row and "hidden_tests" not in row:
            names["tests"] = task_sets.found_tests_column(row) or "tests"
        prompt = _text(task_sets.prompt_text(prompt) if prompt else prompt, names["prompt"], where)
        # in a graded completion `tests` are the outcomes of its own tests, and `hidden_tests` what the task asked
        is_graded = "hidden_tests" in row or isinstance(row.get(names["tests"]), dict)
        tests = row.get("hidden_tests" if is_graded else names["tests"])
        tests = None if args.hidden_tests == "off" else task_sets.as_test_list(tests)
    except task_sets.TaskError as error:
        raise EvalError(f"{where}: {error}") from error
    task_id, entry_point = row.get(names["task_id"]), row.get(names["entry_point"])
    task = {
        "task_id": _task_id(task_id, prompt, where),
        "prompt": prompt,
        "tests": tests,
        "entry_point": entry_point if isinstance(entry_point, str) else None,
    }
    if known:
        task = _joined(where, task, known, args)
    if isinstance(row.get("columns"), dict):  # the other columns of a traced task, for users' own reward functions
        task = {key: as_json(value) for key, value in row["columns"].items()} | task
    passed_through = {key: as_json(value) for key, value in row.items() if key not in names.values()}
    return task, _text(row[names["completion"]], names["completion"], where), passed_through


def _task_id(given: Any, prompt: str, where: str) -> str:
    """The row's own id, else one that its prompt has; a row without either is a task of its own."""
    if not _is_missing(given):
        return str(given)
    return f"prompt-{text_hash(prompt)[:12]}" if prompt.strip() else completion_rows.row_of(where)


def given_task(task_id: str, known: dict[str, dict]) -> dict | None:
    """The row of --tasks with this id, or with what stands before its `#`: a run had two wordings of the task (`tasks.load_task_sets`)."""
    return known.get(task_id) or known.get(task_id.rpartition("#")[0])


def _joined(where: str, task: dict, known: dict[str, dict], args: EvalArguments) -> dict:
    """The task with prompt and hidden tests from --tasks where it has none itself. Raises EvalError when it is not there."""
    found, needs_tests = given_task(task["task_id"], known), not task["tests"] and args.hidden_tests != "off"
    lacks = "prompt" if not task["prompt"] else "hidden tests" if needs_tests and _asks_hidden(args) else None
    if found is None and lacks:
        first = next(iter(known))
        raise EvalError(f"{where}: task {task['task_id']!r} has no {lacks} here and is not in {args.tasks} (its first id is {first!r})")
    if found is None:
        return task
    tests = {"tests": found["tests"], "entry_point": task["entry_point"] or found["entry_point"]} if needs_tests else {}
    return task | {"prompt": task["prompt"] or found["prompt"]} | tests | kinds.columns_of(found)


def _asks_hidden(args: EvalArguments) -> bool:
    """Whether hidden grading was asked for in so many words, and not only by the default list of rewards."""
    is_named = _pays_hidden(args) and tuple(args.rewards) != EVAL_REWARDS
    return args.hidden_tests == "required" or (args.hidden_tests == "auto" and is_named)


def _pays_hidden(args: EvalArguments) -> bool:
    return HIDDEN_REWARD in (parse_reward_spec(spec)[0] for spec in args.rewards)


def _check_traced_tests(where: str, task: dict, row: dict, args: EvalArguments) -> None:
    """Raises EvalError when a completion was graded with hidden tests that cannot be found any more."""
    is_paid = _pays_hidden(args) and args.hidden_tests != "off" and not args.reuse_verdicts
    if is_paid and row["before"]["hidden_total"] and not task["tests"]:
        raise EvalError(
            f"{where}: task {task['task_id']!r} was graded with hidden tests, and the trace does not hold them: pass the file they are "
            "in as --tasks, or --hidden_tests off"
        )


@dataclass
class Survey:
    """What a whole input holds, before anything is graded."""

    source: Input
    args: EvalArguments
    count: int = 0
    tasks: TasksHash = field(default_factory=TasksHash)
    tested: int = 0  # completions with hidden tests
    without_prompt: int = 0
    without_id: int = 0  # nor a prompt that could give them one
    known: int = 0  # in --tasks
    other_prompt: int = 0  # in --tasks under this id, asking for something else
    forms: Counter = field(default_factory=Counter)  # "fenced", "plain", "other", up to the first that is fenced
    samples: Counter = field(default_factory=Counter)  # of (row, task), for pass@k
    tests: dict[str, str] = field(default_factory=dict)  # task -> hash of its hidden tests
    mixed: dict[str, str] = field(default_factory=dict)  # task whose rows have other tests -> where
    columns: set[str] = field(default_factory=set)  # that users' reward functions get

    def add(self, where: str, row: dict) -> None:
        """Take in a row. Raises EvalError for a bad one."""
        task, completion, passed_through = read_completion(where, row, self.args, self.source.tasks)
        self.count += 1
        paid = paid_task(task, passed_through, self.source.tasks)
        self.columns |= paid.keys()
        try:
            kinds.require_columns(paid)
        except kinds.KindError as error:
            raise EvalError(f"{where}: {error}") from error
        if not self.forms["fenced"]:
            is_plain = is_plain_rust(completion, task["prompt"])
            self.forms["fenced" if holds_fence(completion) else "plain" if is_plain else "other"] += 1
        has_prompt = bool(task["prompt"].strip())
        self.without_prompt += not has_prompt
        self.without_id += not has_prompt and task["task_id"] == completion_rows.row_of(where)
        self.known += given_task(task["task_id"], self.source.tasks) is not None
        self._compare_prompts(where, task)
        if self.source.began is not None:
            _check_traced_tests(where, task, row, self.args)
        is_new = self.tasks.add(task)
        if self.args.hidden_tests == "required" and not task["tests"]:
            raise EvalError(f"{where}: no hidden tests in column {self.args.column('tests')!r}; found the columns {', '.join(row)}")
        if not task["tests"]:
            return
        self.tested += 1
        if is_new:
            check_hidden_tests(task, where)
        if self.args.k:
            self.samples[input_row(passed_through, self.source), task["task_id"]] += 1
        asked = text_hash("\0".join(task["tests"]))[:16]
        if self.tests.setdefault(task["task_id"], asked) != asked:
            self.mixed.setdefault(task["task_id"], where)

    def _compare_prompts(self, where: str, task: dict) -> None:
        """Ids made of a file's name and a row's number move with the rows. Raises EvalError where that is plain."""
        meant = self.source.tasks.get(task["task_id"], task)["prompt"]
        if task["prompt"] == meant or not meant:
            return
        self.other_prompt += 1
        if task["prompt"] in self.ids:
            found, asked = task["task_id"], self.ids[task["prompt"]]
            raise EvalError(
                f"{where}: its prompt is that of task {asked!r} of {self.args.tasks}, its id {found!r} another's: "
                "give the tasks ids of their own (column task_id), or leave out --tasks"
            )

    @functools.cached_property
    def ids(self) -> dict[str, str]:
        """Prompt -> id, of --tasks."""
        return {task["prompt"]: task_id for task_id, task in self.source.tasks.items()}

    @property
    def is_plain(self) -> bool:
        """Whether it is a file of plain Rust: no completion has a fence, and most are Rust, alone or after their prompt."""
        return not self.forms["fenced"] and 2 * self.forms["plain"] > self.count

    def finish(self) -> None:
        """Say what is odd. Raises EvalError for what cannot be graded as asked."""
        args, path = self.args, self.source.path
        if not self.count:
            raise EvalError(f"--completions {path}: no rows in it")
        if self.source.began is not None and _asks_hidden(args) and not self.tested and not args.reuse_verdicts:
            where = f"{args.tasks} has none for its tasks" if args.tasks else "pass the file they are in as --tasks"
            raise EvalError(f"{path}: {HIDDEN_REWARD} needs hidden tests, and the trace holds none (column hidden_tests): {where}")
        for said in self._oddities():
            print(said, file=sys.stderr)
        if args.k:
            self._check_k()

    def _oddities(self) -> Iterator[str]:
        tasks, args = self.source.tasks, self.args
        if tasks and self.known < self.count:
            yield (
                f"warning: {self.known} of {self.count} completions belong to a task of {args.tasks} "
                f"(its first id is {next(iter(tasks))!r})"
            )
        if self.other_prompt:
            yield (
                f"warning: {self.other_prompt} of {self.count} completions answer another prompt than {args.tasks} has for their id: "
                "are these their tasks?"
            )
        if self.without_prompt:
            yield (
                f"warning: {self.without_prompt} of {self.count} completions have no prompt, so none of them can be refused as a copied "
                "example: pass the task file as --tasks"
            )
        if self.without_id:
            found = f"{self.without_id} of {self.count} completions have neither a prompt nor a task id"
            yield f"warning: {found}: each row is a task of its own"
        if self.mixed:
            task_id, where = next(iter(self.mixed.items()))
            yield (
                f"warning: {len(self.mixed)} task ids stand for several tasks: {where} has other hidden tests than the rows of "
                f"{task_id!r} before it"
            )
        if self.is_plain:
            found = f"{self.forms['plain']} of {self.count} completions are Rust and none is fenced"
            yield f"note: {found}: they are graded as they stand, or after the code of their prompt where they go on with it"

    def _check_k(self) -> None:
        args, path = self.args, self.source.path
        if not self.tested:
            raise EvalError(
                f"{path}: pass@k needs hidden tests, and no row has any in column {args.column('tests')!r} (see --tests_column)"
            )
        if self.mixed:
            task_id, where = next(iter(self.mixed.items()))
            raise EvalError(
                f"{where}: pass@k needs one task for each id, and {task_id!r} has other hidden tests here than before: give every task "
                "its own id (see --task_id_column)"
            )
        if max(args.k) > min(self.samples.values()):
            (_, task_id), fewest = min(self.samples.items(), key=lambda item: item[1])
            raise EvalError(f"pass@{max(args.k)} needs at least {max(args.k)} completions per task; task {task_id!r} has {fewest}")


def survey(source: Input, args: EvalArguments) -> Survey:
    """Read the whole input once, before anything is graded. Raises EvalError for the first bad row."""
    from tqdm import tqdm

    found = Survey(source, args)
    for where, row in tqdm(islice(source.rows(), args.limit), desc="reading", unit="", delay=2, leave=False):
        found.add(where, row)
    found.finish()
    return found


def input_row(row: dict, source: Input) -> str:
    """Row of the table that an input row counts for: its own `row` column, or the file's name."""
    return row["row"] if isinstance(row.get("row"), str) else source.name


def paid_task(task: dict, passed_through: dict, known: dict[str, dict]) -> dict:
    """A row's task as reward functions see it: with the other columns of its row, and of its task in --tasks."""
    return {name: as_json(value) for name, value in (given_task(task["task_id"], known) or {}).items()} | passed_through | task
