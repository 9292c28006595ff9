"""Make a training set: Python prompts -> Rust prompts -> Rust code -> unit tests -> what cargo passes -> parquet splits.

    python make_dataset.py --tasks mbpp.jsonl --model Qwen/Qwen2.5-Coder-7B-Instruct --output_dir runs/dataset
    python make_dataset.py --tasks TIGER-Lab/AceCode-87K --model DIR --backend vllm --num_samples 4 --output_dir OUT \\
        --decontaminate mbpp-rs.jsonl humaneval-rs.jsonl --source_license mit
    OPENAI_API_KEY=... python make_dataset.py --api_base http://localhost:8000/v1 --model NAME --tasks FILE --output_dir OUT

The writer is one model (vLLM, transformers or an endpoint: generate.py), loaded once. A task is tried up to `--num_samples`
times and kept at its first attempt whose code builds, whose tests pass as the completion's own and as hidden tests, and
which the judge finds honest (no guard). Kept rows are deduplicated, decontaminated and split.

OUT holds rewrite.jsonl, code.jsonl, tests.jsonl and grade.jsonl (one line per task and attempt, appended as they come),
run.json (model, templates, sampling, judge), timings.json, and at the end train.parquet, val.parquet, test.parquet
(columns task_id, prompt, signature_prompt, tests, entry_point, source), references.parquet (the answers, in the published
columns task_id, rust_prompt, rust_code, rust_test_list; kept apart because columns of a training file reach the trace) and
README.md, the data card. Killed at any point, the same command goes on; under other settings it is refused.
Memory: the source is read in passes and answers stay on disk; 87,000 source prompts take 35 MiB, a kept row about 5 KB.

Not guaranteed: that a kept task is right. Code and tests agree with each other, and the tests were asked to keep the
expected values of the Python tests where the source has some; nobody checked that they did.
"""

import hashlib
import json
import re
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import console
import doctor
import tasks as task_sets
from evaluation.folders import Timings, differing, hold_folder, judge_protocol, sampling_protocol
from evaluation.grading import InfraWatch
from generate import (
    BackendArguments,
    Completion,
    SamplingArguments,
    choose_backend,
    context_tokens,
    load_config,
    load_tokenizer,
    open_generator,
    parse_dataclasses,
    tokenize,
    weights_hash,
)
from judge.errors import UserError, tell
from judge.program import check_hidden_tests, code_blocks, extract_program, solution_source
from judge.settings import JudgeSettings
from judge.syntax import ASSERT_MACROS, Node, parse_any_length, text_of, tokens_of, walk
from rewards import RewardSet
from rust_tool import RustTool
from tasks import NgramIndex, TaskError
from traces import cut_torn_line, replacing

# ---------------------------------------------------------------------------------------------------------------------
# What the model is asked. Changing a word here makes an output folder of before unusable for going on, by design.
# ---------------------------------------------------------------------------------------------------------------------

REWRITE_SYSTEM = "You turn programming exercises written for Python into exercises for Rust. You never solve them."
# The signature comes first: asked for it last, a 1.5B model ended a fifth of its answers without one.
REWRITE_TEMPLATE = """\
Rewrite the Python exercise below for Rust.

First give the signature of the function in one ```rust block, without a body. Use types of the standard library only, \
take slices and &str instead of Vec and String where nothing is consumed, i64 for whole numbers unless the exercise says \
otherwise, and Option or Result where Python would return None or raise.

Then describe in two to five sentences what the function does: its inputs, its result, and what happens for empty or \
unusual input. Say vector, slice, tuple, String or HashMap instead of list, dict or set, and do not mention Python.

Here is one example.

Exercise: Write a python function to find the position of the last negative number in a list.
Python test: assert last_negative([3, -1, 4, -5, 6]) == 3

Answer:
```rust
fn last_negative(numbers: &[i64]) -> Option<usize>
```

Returns the index, counted from 0, of the last element of a slice that is below zero. Zero itself does not count. \
Returns None when no element is negative, and also for an empty slice.

Now this one.

Exercise: {exercise}
{python_tests}
Answer:"""

CODE_SYSTEM = "You are a careful Rust programmer. Answer with exactly one ```rust code block and nothing after it."
CODE_TEMPLATE = """\
Write this Rust function. Keep its name and its signature exactly.

{prompt}

Use the standard library only. Write no `fn main` and no tests. The code must compile without warnings and must not panic \
on empty input."""

TESTS_SYSTEM = "You write unit tests for Rust functions. Answer with exactly one ```rust code block and nothing after it."
TESTS_TEMPLATE = """\
Write five to eight assertions for this Rust function.

{prompt}

Write one complete `assert_eq!(...)` or `assert!(...)` statement a line, nothing else: no function around them, no module, no \
comments. Each calls `{name}` with literal arguments of the types of its signature and compares the result with a literal \
expected value that you worked out from the description. Cover ordinary cases, an edge case and an empty or zero case.
{python_tests}"""

PYTHON_TESTS_FOR_REWRITE = "Python test: {tests}\n"
PYTHON_TESTS_FOR_TESTS = """
These Python assertions are right. Translate those that fit the signature, keep their expected values, then add your own:
{tests}"""

# ---------------------------------------------------------------------------------------------------------------------
# Limits
# ---------------------------------------------------------------------------------------------------------------------

STAGES = ("rewrite", "code", "tests", "grade")
DEFAULT_SPLIT = (15_000, 1_000, 500)
SPLIT_NAMES = ("train", "val", "test")
DESCRIPTION_CHARS = (20, 2000)  # shorter says nothing, longer is a model that does not stop
PYTHON_TESTS_SHOWN = {"rewrite": 2, "tests": 8}
PYTHON_TEST_CHARS = 400  # a longer one is left out: it would fill the prompt
MAX_TESTS = 16
CODE_NGRAM_TOKENS, CODE_DUPLICATE = 12, 0.9  # measured against nothing finer than our own examples
PROMPT_DUPLICATE = 0.8
MIN_FREE_GIB = 0.5


class DatasetError(UserError, RuntimeError):
    """The data set cannot be made as asked; the message is one sentence for the user."""




@dataclass
class DatasetArguments(JudgeSettings):
    """From which prompts, by which model, and where to."""

    tasks: str = field(metadata={"help": "Python prompts: .jsonl, .json or .parquet file, or hub dataset id (MBPP, AceCode-87K, ...)."})
    model: str = field(metadata={"help": "Writer: model folder or hub id, or the endpoint's name for a model."})
    output_dir: str = field(metadata={"help": "Folder of the data set: new, empty, or one to go on with."})
    tasks_split: str = field(default="train", metadata={"help": "Split of a hub dataset."})
    prompt_column: str | None = field(default=None, metadata={"help": "Column that holds the prompt, if not recognised."})
    task_id_column: str | None = field(default=None, metadata={"help": "Column that holds the task id."})
    python_tests_column: str | None = field(
        default=None, metadata={"help": "Column with Python assertions to translate (default: test_list or test_cases)."}
    )
    bad_rows: str = field(
        default="stop", metadata={"help": "Rows that cannot be read: stop, or skip them.", "choices": ["stop", "skip"]}
    )
    limit: int | None = field(default=None, metadata={"help": "Only the first so many source prompts."})
    decontaminate: list[str] = field(
        default_factory=list,
        metadata={"help": "Evaluation sets: prompts that overlap with theirs are left out, before writing and after."},
    )
    max_overlap: float = field(
        default=task_sets.OVERLAP_LIMIT,
        metadata={"help": f"Share of common {task_sets.NGRAM_WORDS}-word runs from which on two prompts are the same task."},
    )
    split: list[int] = field(
        default_factory=lambda: list(DEFAULT_SPLIT),
        metadata={"help": "Rows for train, val and test; in the same proportion when there are fewer."},
    )
    model_name: str | None = field(default=None, metadata={"help": "What the data card calls the writer (default: --model)."})
    source_license: str | None = field(default=None, metadata={"help": "Licence of the source prompts, for the data card."})
    retry_temperature: float = field(default=0.8, metadata={"help": "Temperature of every attempt after a task's first."})
    min_tests: int = field(default=3, metadata={"help": "A task with fewer usable assertions is not kept."})
    chunk_size: int = field(default=512, metadata={"help": "Tasks that go through the stages together."})
    max_model_len: int = field(default=4096, metadata={"help": "Longest prompt and answer in tokens (what vLLM reserves room for)."})
    max_infra_share: float = field(
        default=0.03, metadata={"help": "Stop when more than this share of programs could not be graded."}
    )

    def __post_init__(self):
        checks = {
            "limit": (self.limit is None or self.limit >= 1, "at least 1"),
            "max_overlap": (0 < self.max_overlap <= 1, "above 0 and at most 1"),
            "split": (len(self.split) == 3 and min(self.split) >= 0 and self.split[0] > 0, "three counts, train, val and test"),
            "retry_temperature": (self.retry_temperature >= 0, "at least 0"),
            "min_tests": (1 <= self.min_tests <= MAX_TESTS, f"1 to {MAX_TESTS}"),
            "chunk_size": (self.chunk_size >= 1, "at least 1"),
        }
        for name, (is_valid, expected) in checks.items():
            if not is_valid:
                raise DatasetError(f"--{name} {getattr(self, name)}: expected {expected}")


def parse_arguments(argv: Sequence[str] | None) -> tuple[DatasetArguments, SamplingArguments, BackendArguments]:
    """Command line and --config file. Raises GenerationError for what cannot be parsed, DatasetError for what does not go together."""
    args, sampling, backend = parse_dataclasses((DatasetArguments, SamplingArguments, BackendArguments), argv, __doc__)
    doctor.require_judge_settings(args, args.max_infra_share)
    if sampling.num_samples > 1 and args.retry_temperature == 0 == sampling.temperature:
        raise DatasetError("--num_samples above 1 at temperature 0 asks the same again: raise --retry_temperature")
    if args.tasks in args.decontaminate:
        raise DatasetError(f"--decontaminate {args.tasks} is the source itself: nothing would be left")
    return args, sampling, backend


# ---------------------------------------------------------------------------------------------------------------------
# The source, read in passes
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One Python prompt."""

    task_id: str
    exercise: str
    python_tests: tuple[str, ...]
    source: str

    @property
    def hash(self) -> str:
        """Tells a changed row from the one that a folder was started with."""
        return _hash([self.exercise, self.python_tests])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def iter_source(args: DatasetArguments, bad_rows: list[str]) -> Iterator[Source]:
    """The first `limit` prompts of the source as they stand in it; what is wrong with a row is appended to `bad_rows`.

    Raises TaskError.
    """
    columns = {"prompt": args.prompt_column, "task_id": args.task_id_column}
    rows = task_sets.iter_tasks(args.tasks, split=args.tasks_split, columns=columns, bad_rows=bad_rows)
    count = 0
    for row in rows:
        exercise = row["prompt"] if args.prompt_column else next((row[c] for c in ("text", "question") if row.get(c)), row["prompt"])
        column = args.python_tests_column or next((c for c in ("test_list", "test_cases") if c in row), None)
        if args.python_tests_column and args.python_tests_column not in row:
            raise DatasetError(f"{args.tasks}: no column {args.python_tests_column}; found {', '.join(row)}")
        try:
            tests = task_sets.as_test_list(row[column]) if column else None
        except TaskError as error:
            bad_rows.append(f"{args.tasks}, task {row['task_id']!r}, column {column}: {error}")
            continue
        count += 1
        yield Source(row["task_id"], exercise.strip(), tuple(tests or ()), str(row["source"]))
        if count == args.limit:
            return


def survey(args: DatasetArguments, evaluation: NgramIndex | None, counts: Counter) -> list[str]:
    """One pass over the source -> ids worth writing, in order; `counts` gets what was read and what was left out, and why.

    Raises TaskError, or DatasetError when nothing is left.
    """
    bad_rows: list[str] = []
    seen_ids: set[str] = set()
    seen_texts: set[bytes] = set()
    wanted = []
    for source in iter_source(args, bad_rows):
        counts["source prompts"] += 1
        if source.task_id in seen_ids:
            raise DatasetError(f"{args.tasks}: the task id {source.task_id!r} appears more than once")
        seen_ids.add(source.task_id)
        text = hashlib.sha256(task_sets.normalized(source.exercise).encode("utf-8", "surrogatepass")).digest()[:12]
        if text in seen_texts:
            counts["left out: same prompt as an earlier one"] += 1
        elif evaluation and evaluation.matches(source.exercise, args.max_overlap):
            counts["left out: overlaps with an evaluation set"] += 1
        else:
            wanted.append(source.task_id)
        seen_texts.add(text)
    task_sets.report_bad_rows(args.tasks, bad_rows, counts["source prompts"], args.bad_rows)
    if not wanted:
        left = counts["source prompts"]
        raise DatasetError(f"nothing is left of the {left} prompts of {args.tasks}: each overlaps with an evaluation set")
    return wanted


def evaluation_index(files: Sequence[str]) -> NgramIndex | None:
    """Index of every prompt of the evaluation sets, in any known layout; None without any. Raises TaskError."""
    tasks = (task for file in files for task in task_sets.load_tasks(file))
    texts = [task[column] for task in tasks for column in ("prompt", "signature_prompt") if task.get(column)]
    return NgramIndex(texts) if texts else None


def chunks(args: DatasetArguments, wanted: set[str]) -> Iterator[list[Source]]:
    """The wanted prompts again, `chunk_size` at a time."""
    sources = (source for source in iter_source(args, []) if source.task_id in wanted)
    return iter(lambda: list(islice(sources, args.chunk_size)), [])


# ---------------------------------------------------------------------------------------------------------------------
# Conversations
# ---------------------------------------------------------------------------------------------------------------------


def _shown_python_tests(source: Source, stage: str, template: str) -> str:
    tests = [test for test in source.python_tests if len(test) <= PYTHON_TEST_CHARS][: PYTHON_TESTS_SHOWN[stage]]
    return template.format(tests="\n".join(tests)) if tests else ""


def rewrite_conversation(source: Source) -> list[dict]:
    """Asks for a description and a signature in Rust."""
    shown = _shown_python_tests(source, "rewrite", PYTHON_TESTS_FOR_REWRITE)
    return task_sets.build_messages(REWRITE_TEMPLATE.format(exercise=source.exercise, python_tests=shown), REWRITE_SYSTEM)


def code_conversation(rewrite: dict) -> list[dict]:
    """Asks for the function."""
    return task_sets.build_messages(CODE_TEMPLATE.format(prompt=task_prompt(rewrite)), CODE_SYSTEM)


def tests_conversation(source: Source, rewrite: dict) -> list[dict]:
    """Asks for assertions, without showing the code: what the code gets wrong must not become the expected value."""
    shown = _shown_python_tests(source, "tests", PYTHON_TESTS_FOR_TESTS)
    text = TESTS_TEMPLATE.format(prompt=task_prompt(rewrite), name=rewrite["entry_point"], python_tests=shown)
    return task_sets.build_messages(text.strip(), TESTS_SYSTEM)


def task_prompt(rewrite: dict) -> str:
    """The prompt of the data set: hidden tests can only be met by who knows name and types."""
    return f"Write a Rust function. {rewrite['description']}\n\nIts signature is `{rewrite['signature']}`."


# ---------------------------------------------------------------------------------------------------------------------
# Answers: each reader returns a dict of what was found, with `refused` the reason why it cannot be used, or None
# ---------------------------------------------------------------------------------------------------------------------

def find_function(text: str, name: str | None = None) -> Node | None:
    """First top-level function of a Rust text, of that name where one is given; a signature without a body counts."""
    for candidate in (text, text.rstrip().rstrip(";") + " {}"):
        for node in parse_any_length(candidate).named_children:
            is_function = node.type in ("function_item", "function_signature_item") and not node.has_error
            if is_function and name in (None, text_of(node.child_by_field_name("name"))):
                return node
    return None


def signature_of(function: Node) -> str:
    """`fn name(...) -> T` on one line, as it is written, without visibility and body."""
    body = function.child_by_field_name("body")
    end = body.start_byte if body is not None else function.end_byte
    text = function.text[: end - function.start_byte].decode("utf-8", "replace")
    text = re.sub(r"\s+", " ", text).strip().rstrip(";").strip()
    text = re.sub(r"^pub(\s*\([^)]*\))?\s+", "", text)
    return re.sub(r",? \)", ")", text.replace("( ", "("))


def types_of(function: Node) -> list[str]:
    """Types of the parameters, then of the result, without layout: what callers depend on besides the name."""
    parameters = function.child_by_field_name("parameters")
    shown = [node for node in (parameters.named_children if parameters else []) if "comment" not in node.type]
    nodes = [node.child_by_field_name("type") or node for node in shown]
    return ["".join(text_of(node).split()) for node in [*nodes, function.child_by_field_name("return_type")]]


NAMES_PYTHON = re.compile(r"\bpython\b|\bdef \w+\(|>>> ", re.IGNORECASE)


def read_rewrite(answer: str) -> dict:
    """Description, signature and entry_point of a rewritten exercise."""
    blocks = [block for block in code_blocks(answer) if block.closed]
    texts = [block.text for block in blocks] + re.findall(r"`((?:pub )?fn [^`]+)`", answer)
    function = next((found for found in map(find_function, texts) if found is not None), None)
    prose = re.sub(r"```.*?(```|\Z)", "\n", answer, flags=re.DOTALL)
    prose = re.sub(r"^\W*(answer|exercise|description|(rust )?signature)\W*:\W*$", "", prose, flags=re.IGNORECASE | re.MULTILINE)
    prose = re.sub(r"^\s*(answer|description)\s*:", "", prose, flags=re.IGNORECASE)
    first, *more = re.split(r"\n\s*\n+", prose.strip())
    description = "\n\n".join([first, *(text for text in more if not NAMES_PYTHON.search(text))])  # notes on the translation
    found = {"description": description, "signature": signature_of(function) if function else None}
    found["entry_point"] = text_of(function.child_by_field_name("name")) if function else None
    low, high = DESCRIPTION_CHARS
    checks = {
        "no signature": function is not None,
        "description too short": len(description) >= low,
        "description too long": len(description) <= high,
        "still Python": not NAMES_PYTHON.search(description),
        "a method, generic or async function": function is not None and _is_plain(function),
    }
    return found | {"refused": next((reason for reason, holds in checks.items() if not holds), None)}


def _is_plain(function: Node) -> bool:
    """A free function whose types the caller knows: hidden tests need no more than its name."""
    kinds = {child.type for child in function.children}
    parameters = function.child_by_field_name("parameters")
    has_self = any(node.type == "self_parameter" for node in (parameters.named_children if parameters else []))
    is_main = text_of(function.child_by_field_name("name")) == "main"
    return not is_main and not has_self and not kinds & {"type_parameters", "function_modifiers", "where_clause"}


def read_code(answer: str, rewrite: dict) -> dict:
    """`rust_code`: the function asked for and what it needs, tests and `main` taken off."""
    program = extract_program(answer)
    code = re.sub(r"\n{3,}", "\n\n", solution_source(program)).strip() if program else None
    function = find_function(code, rewrite["entry_point"]) if code else None
    asked, own_names = find_function(rewrite["signature"]), _names_in(code or "") - {rewrite["entry_point"]}
    checks = {
        "no rust block": program is not None,
        "not Rust": program is None or not parse_any_length(program.source).has_error,
        "another function": function is not None,
        "another signature": function is not None and types_of(function) == types_of(asked),
        "types of its own in the signature": not own_names & _words(rewrite["signature"]),
    }
    return {"rust_code": code, "refused": next((reason for reason, holds in checks.items() if not holds), None)}


def _names_in(code: str) -> set[str]:
    """Names of the top-level items of a program."""
    named = (node.child_by_field_name("name") for node in parse_any_length(code).named_children)
    return {text_of(name) for name in named if name}


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def read_tests(answer: str, rewrite: dict) -> dict:
    """`tests`: assert statements that call the function, each a test of its own where none needs a variable."""
    tests = []
    for block in code_blocks(answer):
        if block.closed:
            tests += [test for body in _bodies(block.text) for test in _tests_of(body) if rewrite["entry_point"] in _words(test)]
    tests = list(dict.fromkeys(tests))[:MAX_TESTS]
    return {"tests": tests, "refused": None if tests else "no assertion about the function"}


def _bodies(text: str) -> list[Node]:
    """Bodies that hold assertions: those of the `#[test]` functions, or the text itself when it is nothing but statements."""
    functions = [node for node in walk(parse_any_length(text)) if node.type == "function_item" and node.child_by_field_name("body")]
    if functions:
        return [function.child_by_field_name("body") for function in functions]
    wrapped = parse_any_length(f"fn body() {{\n{text}\n}}")
    return [node.child_by_field_name("body") for node in wrapped.named_children if node.type == "function_item"]


def _is_assert(statement: Node) -> bool:
    call = statement.named_children[0] if statement.type == "expression_statement" and statement.named_children else statement
    return call.type == "macro_invocation" and text_of(call.child_by_field_name("macro")) in ASSERT_MACROS


def _tests_of(body: Node) -> list[str]:
    statements = [node for node in body.named_children if "comment" not in node.type]
    if not any(map(_is_assert, statements)) or any(statement.has_error for statement in statements):
        return [text_of(s).rstrip(";") + ";" for s in statements if _is_assert(s) and not s.has_error]
    if all(map(_is_assert, statements)):
        texts = [text_of(statement).rstrip(";") + ";" for statement in statements]
        return [text if '"' in text else re.sub(r"\s+", " ", text) for text in texts]  # a string may hold line breaks
    return ["\n".join(map(text_of, statements))]


def refuse_tests(tests: Sequence[str], code: str, entry_point: str, min_tests: int) -> str | None:
    """Why these tests cannot be the hidden tests of a task whose solution is `code`; None when they can."""
    if len(tests) < min_tests:
        return f"fewer than {min_tests} assertions"
    if any((_names_in(code) - {entry_point}) & _words(test) for test in tests):
        return "tests use more of the program than the function"
    try:
        check_hidden_tests(tests, entry_point)
    except ValueError:
        return "tests cannot be read"
    return None


def completion_of(code: str, tests: Sequence[str]) -> str:
    """Code and tests as one completion, so that the judge looks at them as at any other."""
    functions = "\n".join(f"    #[test]\n    fn case_{i}() {{\n        {test}\n    }}\n" for i, test in enumerate(tests))
    return f"```rust\n{code}\n\n#[cfg(test)]\nmod tests {{\n    use super::*;\n\n{functions}}}\n```"


def why_not_kept(graded: dict) -> str | None:
    """Why a graded completion is not kept: the first thing that cargo or the judge has against it; None when nothing."""
    if not graded["build_passed"]:
        return "does not build"
    if not graded["test_passed"]:
        return f"tests: {graded['error_kind'] or 'none ran'}"
    if not graded["honest_tests"]:
        return f"guard: {graded['guard']}"
    if not graded["hidden_total"] or graded["hidden_passed"] != graded["hidden_total"]:
        return "fails as hidden tests"  # a second run of the same assertions: also how a coin toss shows
    return None


# ---------------------------------------------------------------------------------------------------------------------
# Stages on disk
# ---------------------------------------------------------------------------------------------------------------------


class Stage:
    """One stage's file: append-only, a line per task and attempt. Holds where each line starts, not what it says.

    Raises DatasetError for a file that other settings, or nobody here, wrote.
    """

    def __init__(self, path: Path, setting: str):
        self.path, self.setting = path, setting
        self._offsets: dict[bytes, int] = {}
        self.counts: Counter[tuple[int, str | None]] = Counter()  # (attempt, refused)
        cut_torn_line(path)
        path.touch()
        self._file = path.open("ab")
        with path.open("rb") as lines:
            for number, line in enumerate(iter(lines.readline, b""), start=1):
                self._take(line, lines.tell() - len(line), number)

    def _take(self, line: bytes, offset: int, number: int) -> None:
        try:
            record = json.loads(line)
            key, setting = self._key(record["task_id"], record["attempt"]), record["setting"]
            self.counts[record["attempt"], record["refused"]] += key not in self._offsets
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{self.path}, line {number}: not of this program ({error!r}): choose another --output_dir") from error
        if setting != self.setting:
            raise DatasetError(
                f"{self.path}, line {number} was written under other settings ({setting}, now {self.setting}): choose another "
                "--output_dir. Nothing was changed."
            )
        self._offsets.setdefault(key, offset)

    @staticmethod
    def _key(task_id: str, attempt: int) -> bytes:
        return hashlib.blake2b(f"{attempt}/{task_id}".encode("utf-8", "surrogatepass"), digest_size=12).digest()

    def has(self, task_id: str, attempt: int) -> bool:
        return self._key(task_id, attempt) in self._offsets

    def get(self, task_id: str, attempt: int) -> dict | None:
        """The record of a task's attempt; None when there is none."""
        offset = self._offsets.get(self._key(task_id, attempt))
        if offset is None:
            return None
        with self.path.open("rb") as lines:
            lines.seek(offset)
            return json.loads(lines.readline())

    def add(self, records: Iterable[dict]) -> None:
        """Append records (task_id, attempt, refused, ...), each in one write: a kill loses none and tears the last one at most."""
        for record in records:
            line = json.dumps(record | {"setting": self.setting}, ensure_ascii=False, allow_nan=False) + "\n"
            offset = self._file.tell()
            self._file.write(line.encode("utf-8", "backslashreplace"))
            self._offsets[self._key(record["task_id"], record["attempt"])] = offset
            self.counts[record["attempt"], record["refused"]] += 1
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def make_settings(args: DatasetArguments, sampling: SamplingArguments, backend: BackendArguments, judge: RustTool) -> dict:
    """What the lines of each stage depend on; a folder goes on only under equal ones."""
    drawn = {name: value for name, value in sampling_protocol(sampling).items() if name != "num_samples"}
    model = {
        "model": args.model,
        "weights": None if backend.api_base else weights_hash(args.model) or load_config(args.model)._commit_hash,
        "load_in_4bit": backend.load_in_4bit,
        "sampling": drawn | {"retry_temperature": args.retry_temperature},
        "max_model_len": args.max_model_len,
        "seed": sampling.seed,
    }
    return {
        "writer": model,
        "templates": {
            "rewrite": _hash([REWRITE_SYSTEM, REWRITE_TEMPLATE, PYTHON_TESTS_FOR_REWRITE, PYTHON_TESTS_SHOWN, PYTHON_TEST_CHARS]),
            "code": _hash([CODE_SYSTEM, CODE_TEMPLATE]),
            "tests": _hash([TESTS_SYSTEM, TESTS_TEMPLATE, PYTHON_TESTS_FOR_TESTS]),
        },
        "judge": judge_protocol(judge.describe()),
        "min_tests": args.min_tests,
    }


def _require_settings(path: Path, settings: dict) -> None:
    """A run.json of this program with the same settings. Raises DatasetError."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))["plan"]["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a run.json of this program ({error!r}): choose another --output_dir") from error
    found = differing(saved, settings)
    if found:
        raise DatasetError(
            f"{path.parent} was written under other settings ({'; '.join(found[:4])}): use those, or another --output_dir. "
            "Nothing was changed."
        )


@contextmanager
def open_folder(folder: Path, settings: dict, config: dict) -> Iterator[dict[str, Stage]]:
    """The stages of an output folder, locked while open. Raises DatasetError, EvalError; then nothing is written."""
    path = folder / "run.json"
    with hold_folder(folder), ExitStack() as opened:
        if path.is_file():
            _require_settings(path, settings)
        elif any(entry.suffix != ".tmp" for entry in folder.iterdir()):
            raise DatasetError(f"--output_dir {folder} holds files but no run.json of this program: choose another one")
        doctor.write_run_file(folder, config, {"settings": settings})
        stages = {}
        for name in STAGES:
            stages[name] = Stage(folder / f"{name}.jsonl", _hash(settings))
            opened.callback(stages[name].close)
        yield stages


# ---------------------------------------------------------------------------------------------------------------------
# Writing and grading
# ---------------------------------------------------------------------------------------------------------------------


class Pipeline:
    """Takes chunks of source prompts through the four stages; everything done is on disk and never done again.

    Args:
        args, sampling, backend: As on the command line.
        stages: Of `open_folder`.
        judge: Of cargo.
    """

    def __init__(
        self,
        args: DatasetArguments,
        sampling: SamplingArguments,
        backend: BackendArguments,
        stages: dict[str, Stage],
        judge: RustTool,
    ):
        self.args, self.sampling, self.backend, self.stages = args, sampling, backend, stages
        self.rewards = RewardSet(judge)
        self.watch = InfraWatch(args.max_infra_share)
        self.timings = Timings(Path(args.output_dir))
        self._generator = None
        self._tokenizer = None

    # -- the model, loaded when the first answer is missing ---------------------------------------------------------

    def _fits(self, conversation: list[dict]) -> bool:
        if self.backend.api_base:
            return True
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.args.model)
        (ids,) = tokenize(self._tokenizer, [conversation])
        return len(ids) + self.sampling.max_new_tokens <= self.args.max_model_len

    def _open(self):
        if self._generator is None:
            started = time.monotonic()
            self._generator = open_generator(self.args.model, self.backend, [], self.args.max_model_len, self.sampling.seed)
            self.timings.add("load", seconds=time.monotonic() - started)
        return self._generator

    def close(self) -> None:
        """Let go of the model."""
        if self._generator is not None:
            self._generator.close()

    # -- one stage of one chunk ---------------------------------------------------------------------------------------

    def ask(self, stage: str, attempt: int, asked: Sequence[tuple[Source, list[dict], Callable[[str], dict]]]) -> None:
        """Have the conversations answered that have no line yet, and write each answer down as it comes, as its reader reads it."""
        file = self.stages[stage]
        missing = [i for i, (source, _, _) in enumerate(asked) if not file.has(source.task_id, attempt)]
        for i in missing:
            source, conversation, _ = asked[i]
            if not self._fits(conversation):
                file.add([{"task_id": source.task_id, "attempt": attempt, "source_hash": source.hash, "refused": "prompt too long"}])
        done = {i for i, (source, _, _) in enumerate(asked) if file.has(source.task_id, attempt)}
        if len(done) == len(asked):
            return
        # which conversations share a batch, and its seed, depends on neither `done` nor the process: see TransformersGenerator
        seed = int(_hash([self.sampling.seed, stage, attempt, [source.task_id for source, _, _ in asked]]), 16) % 2**30
        temperature = self.args.retry_temperature if attempt else self.sampling.temperature
        drawn = replace(self.sampling, num_samples=1, seed=seed, temperature=temperature)
        generator = self._open()
        started, tokens, count = time.monotonic(), 0, 0
        try:
            for batch in generator.generate([conversation for _, conversation, _ in asked], drawn, None, done):
                file.add(self._record(asked[i], attempt, completion) for i, completion in batch)
                tokens, count = tokens + sum(completion.n_tokens or 0 for _, completion in batch), count + len(batch)
        finally:
            self.timings.add(stage, seconds=time.monotonic() - started, answers=count, tokens=tokens)

    @staticmethod
    def _record(asked: tuple[Source, list[dict], Callable[[str], dict]], attempt: int, completion: Completion) -> dict:
        source, _, read = asked
        found = read(completion.text)
        if not completion.finished:
            found["refused"] = "not finished"
        about = {"task_id": source.task_id, "attempt": attempt, "source_hash": source.hash, "answer": completion.text}
        return about | {"n_tokens": completion.n_tokens, **found}

    def usable(self, stage: str, source: Source, attempt: int) -> dict | None:
        """What a stage found for a task's attempt, unless that was refused. Raises DatasetError when the source's row has changed."""
        record = self.stages[stage].get(source.task_id, attempt)
        if record is not None and record.get("source_hash") != source.hash:
            raise DatasetError(
                f"{self.args.tasks}: task {source.task_id!r} is not what it was when {self.args.output_dir} was started: "
                "choose another --output_dir"
            )
        return record if record is not None and record["refused"] is None else None

    def rewrite_of(self, source: Source, attempt: int) -> dict | None:
        """The first usable rewrite among the attempts so far."""
        return next((found for number in range(attempt + 1) if (found := self.usable("rewrite", source, number))), None)

    def is_kept(self, source: Source, before: int) -> bool:
        """Whether an attempt before number `before` passed."""
        return any(self.usable("grade", source, attempt) for attempt in range(before))

    def run_chunk(self, chunk: Sequence[Source], attempt: int) -> None:
        """One more attempt at those of a chunk that have not passed yet."""
        todo = [source for source in chunk if not self.is_kept(source, attempt)]
        unwritten = [source for source in todo if self.rewrite_of(source, attempt - 1) is None]
        self.ask("rewrite", attempt, [(source, rewrite_conversation(source), read_rewrite) for source in unwritten])
        rewrites = {source.task_id: rewrite for source in todo if (rewrite := self.rewrite_of(source, attempt))}
        todo = [source for source in todo if source.task_id in rewrites]

        asked = [(s, code_conversation(r := rewrites[s.task_id]), partial(read_code, rewrite=r)) for s in todo]
        self.ask("code", attempt, asked)
        codes = {source.task_id: code for source in todo if (code := self.usable("code", source, attempt))}
        todo = [source for source in todo if source.task_id in codes]
        asked = [(s, tests_conversation(s, r := rewrites[s.task_id]), partial(read_tests, rewrite=r)) for s in todo]
        self.ask("tests", attempt, asked)
        todo = [(s, rewrites[s.task_id], codes[s.task_id], tests) for s in todo if (tests := self.usable("tests", s, attempt))]
        self.grade(attempt, todo)

    def grade(self, attempt: int, todo: Sequence[tuple[Source, dict, dict, dict]]) -> None:
        """Have cargo grade what has no verdict yet; what the machine failed to grade gets no line and is tried again next time."""
        file, jobs = self.stages["grade"], []
        for source, rewrite, code, tests in todo:
            if file.has(source.task_id, attempt):
                continue
            about = {"task_id": source.task_id, "attempt": attempt, "source_hash": source.hash}
            refused = refuse_tests(tests["tests"], code["rust_code"], rewrite["entry_point"], self.args.min_tests)
            if refused:
                file.add([about | {"refused": refused}])
            else:
                task = {"task_id": source.task_id, "prompt": task_prompt(rewrite), "entry_point": rewrite["entry_point"]}
                task["tests"] = tests["tests"]
                jobs.append((about, task, completion_of(code["rust_code"], tests["tests"])))
        if not jobs:
            return
        started = time.monotonic()
        graded = self.rewards.grade([task for _, task, _ in jobs], [completion for _, _, completion in jobs])
        self.watch.check(graded)
        passes = ("build_passed", "clippy_passed", "clippy_warnings", "test_passed", "honest_tests", "hidden_passed", "hidden_total")
        for (about, _, _), record in zip(jobs, graded, strict=True):
            if record["error_kind"] != "infra":
                why = {"refused": why_not_kept(record), "error_kind": record["error_kind"], "guard": record["guard"]}
                file.add([about | why | {key: record[key] for key in passes}])
        self.timings.add("grade", seconds=time.monotonic() - started, programs=len(jobs))

    def run(self, wanted: Sequence[str]) -> None:
        """Every attempt at every wanted task, a progress line per chunk."""
        ids, started, done = set(wanted), time.monotonic(), 0
        total = len(wanted) * self.sampling.num_samples
        for attempt in range(self.sampling.num_samples):
            for chunk in chunks(self.args, ids):
                before = self._totals()
                chunk_started = time.monotonic()
                self.run_chunk(chunk, attempt)
                done += len(chunk)
                eta_s = (time.monotonic() - started) / done * (total - done)
                self._report(attempt, chunk, before, time.monotonic() - chunk_started, eta_s)

    def _totals(self) -> dict[str, float]:
        return {f"{row} {name}": value for row, sums in self.timings.by_row.items() for name, value in sums.items()}

    def _report(self, attempt: int, chunk: Sequence[Source], before: dict, seconds: float, eta_s: float) -> None:
        now = self._totals()
        spent = {key: value - before.get(key, 0) for key, value in now.items()}
        kept = sum(self.is_kept(source, attempt + 1) for source in chunk)
        parts = {"attempt": f"attempt {attempt + 1}/{self.sampling.num_samples}", "tasks": f"{len(chunk)} tasks in {seconds:.1f} s"}
        for stage in STAGES[:-1]:
            if spent.get(f"{stage} answers"):
                rate = spent[f"{stage} tokens"] / max(spent[f"{stage} seconds"], 1e-9)
                parts[stage] = f"{stage} {spent[f'{stage} answers']:.0f} in {spent[f'{stage} seconds']:.1f} s ({rate:.0f} tokens/s)"
        if spent.get("grade programs"):
            parts["grade"] = f"graded {spent['grade programs']:.0f} in {spent['grade seconds']:.1f} s"
        minutes, rest = divmod(int(eta_s), 60)
        parts |= {"kept": f"kept {kept} ({kept / len(chunk):.0%})", "ETA": f"ETA {minutes} min {rest:02d} s"}
        shown = console.first_that_fits(  # timings.json has every stage's
            lambda without: " | ".join(text for name, text in parts.items() if name not in without), [*STAGES, "attempt", "tasks"]
        )
        print(shown, flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# From what passed to the splits
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One kept task with its answer."""

    task: dict  # a task row: what training reads
    reference: dict  # what it must not see
    description: str


def collect(pipeline: Pipeline, wanted: Sequence[str], counts: Counter) -> list[Row]:
    """The first passing attempt of every task, in source order; `counts` gets how far the tasks came."""
    rows = []
    attempts = range(pipeline.sampling.num_samples)
    for chunk in chunks(pipeline.args, set(wanted)):
        for source in chunk:
            for stage in STAGES[:-1]:
                counts[f"tasks with usable {stage}"] += any(pipeline.usable(stage, source, attempt) for attempt in attempts)
            attempt = next((attempt for attempt in attempts if pipeline.usable("grade", source, attempt)), None)
            if attempt is not None:
                rows.append(make_row(source, attempt, pipeline))
    counts["tasks that cargo passes"] = len(rows)
    return rows


def make_row(source: Source, attempt: int, pipeline: Pipeline) -> Row:
    """Task row and reference of a passing attempt."""
    rewrite = pipeline.rewrite_of(source, attempt)
    code, tests = pipeline.stages["code"].get(source.task_id, attempt), pipeline.stages["tests"].get(source.task_id, attempt)
    doc = "\n".join(f"/// {line}".rstrip() for line in rewrite["description"].splitlines())
    task = {
        "task_id": source.task_id,
        "prompt": task_prompt(rewrite),
        "signature_prompt": task_sets.signature_prompt(f"{doc}\n{rewrite['signature']}"),
        "tests": tests["tests"],
        "entry_point": rewrite["entry_point"],
        "source": Path(source.source).name if Path(source.source).is_file() else source.source,
    }
    reference = {
        "task_id": source.task_id,
        "rust_prompt": task["prompt"],
        "rust_code": code["rust_code"],
        "rust_test_list": tests["tests"],
        "source_prompt": source.exercise,
        "attempt": attempt,
    }
    return Row(task, reference, rewrite["description"])


def code_tokens(code: str) -> list[str]:
    """Tokens of a program without comments and layout; the name of its first function is one token, whatever it is."""
    function = find_function(code)
    name = text_of(function.child_by_field_name("name")) if function else None
    tokens = map(text_of, tokens_of(parse_any_length(code)))
    return ["#" if token == name else token for token in tokens if token.strip()]


def without_duplicates(rows: Sequence[Row], counts: Counter) -> list[Row]:
    """Rows whose prompt and code are not (nearly) those of an earlier row that stays."""
    texts = {"prompt": [row.description for row in rows], "code": [row.reference["rust_code"] for row in rows]}
    exact = {"prompt": task_sets.normalized, "code": lambda code: " ".join(code_tokens(code))}
    near = {
        "prompt": NgramIndex(texts["prompt"], of_larger=True),
        "code": NgramIndex(texts["code"], CODE_NGRAM_TOKENS, of_larger=True, words=code_tokens),
    }
    limits = {"prompt": PROMPT_DUPLICATE, "code": CODE_DUPLICATE}
    kept: dict[int, Row] = {}
    seen: dict[str, set[str]] = {"prompt": set(), "code": set()}
    for position, row in enumerate(rows):
        own = {what: exact[what](texts[what][position]) for what in texts}
        is_near = lambda what: any(p in kept for p, _ in near[what].matches(texts[what][position], limits[what]))  # noqa: B023
        twin = next((what for what in texts if own[what] in seen[what] or is_near(what)), None)
        if twin:
            counts[f"dropped: {twin} of an earlier task"] += 1
            continue
        kept[position] = row
        for what in seen:
            seen[what].add(own[what])
    return list(kept.values())


def decontaminated(rows: Sequence[Row], evaluation: NgramIndex | None, args: DatasetArguments, counts: Counter) -> list[Row]:
    """Rows whose rewritten prompt overlaps with no evaluation prompt. Raises DatasetError when none is left."""
    clean = [row for row in rows if not (evaluation and evaluation.matches(row.description, args.max_overlap))]
    counts["dropped: rewritten prompt overlaps with an evaluation set"] = len(rows) - len(clean)
    if not clean:
        raise DatasetError(f"nothing is left: all of {len(rows)} kept tasks overlap with {', '.join(args.decontaminate)}")
    return clean


def split_sizes(n_rows: int, wanted: Sequence[int]) -> list[int]:
    """`wanted` where there are enough rows, else `n_rows` in the same proportion (each wanted split gets one row at least)."""
    if n_rows >= sum(wanted):
        return list(wanted)
    small = [max(1, round(n_rows * size / sum(wanted))) if size else 0 for size in wanted[1:]]
    if n_rows - sum(small) < 1:
        raise DatasetError(f"{n_rows} rows are too few for three splits: raise --limit or --num_samples, or pass --split N 0 0")
    return [n_rows - sum(small), *small]


def make_splits(rows: Sequence[Row], wanted: Sequence[int], seed: int, max_overlap: float, counts: Counter) -> dict[str, list[Row]]:
    """Split by a hash of seed and task id, so that a row's place does not depend on the others.

    A row that overlaps with any other goes to train only: no val or test task has a twin in another split. What val and test
    cannot take goes to train, as far as `wanted` has room there.
    """
    order = sorted(rows, key=lambda row: _hash([seed, row.task["task_id"]]))
    sizes = split_sizes(len(order), wanted)
    index = NgramIndex([row.description for row in order])
    held_out = sum(sizes[1:])
    alone: list[int] = []
    for position, row in enumerate(order):
        if len(alone) == held_out:
            break
        if all(other == position for other, _ in index.matches(row.description, max_overlap)):
            alone.append(position)
    if len(alone) < held_out:
        small = [len(alone) * size // held_out for size in sizes[1:]]
        sizes = [min(wanted[0], len(order) - sum(small)), *small]
        counts["held-out rows missing, because too many tasks resemble each other"] = held_out - sum(small)
    val, test = alone[: sizes[1]], alone[sizes[1] : sizes[1] + sizes[2]]
    rest = [position for position in range(len(order)) if position not in {*val, *test}]
    counts["left over beyond --split"] = max(0, len(rest) - sizes[0])
    parts = zip(SPLIT_NAMES, (rest[: sizes[0]], val, test), strict=True)
    return {name: [order[position] for position in part] for name, part in parts}


def write_parquet(path: Path, rows: Sequence[dict], columns: dict[str, str]) -> None:
    """Write rows with these columns ("text", "texts" or "int"), in one step: a kill leaves the old file or the new one."""
    import pyarrow
    import pyarrow.parquet

    kinds = {"text": pyarrow.string(), "texts": pyarrow.list_(pyarrow.string()), "int": pyarrow.int64()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with replacing(path) as new:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema), new)


TASK_SCHEMA = {"task_id": "text", "prompt": "text", "signature_prompt": "text", "tests": "texts", "entry_point": "text", "source": "text"}
REFERENCE_SCHEMA = {"task_id": "text", "split": "text", "rust_prompt": "text", "rust_code": "text", "rust_test_list": "texts",
                    "source_prompt": "text", "attempt": "int"}  # fmt: skip


def write_splits(folder: Path, splits: dict[str, list[Row]], counts: Counter) -> None:
    """train.parquet, val.parquet, test.parquet (a split of no rows gets no file) and references.parquet."""
    for name, rows in splits.items():
        path = folder / f"{name}.parquet"
        counts[f"rows in {name}"] = len(rows)
        if rows:
            write_parquet(path, [row.task for row in rows], TASK_SCHEMA)
        else:
            path.unlink(missing_ok=True)
    references = [row.reference | {"split": name} for name, rows in splits.items() for row in rows]
    write_parquet(folder / "references.parquet", references, REFERENCE_SCHEMA)


# ---------------------------------------------------------------------------------------------------------------------
# The data card
# ---------------------------------------------------------------------------------------------------------------------


def answer_counts(stages: dict[str, Stage], n_attempts: int) -> list[tuple[str, str, int]]:
    """(stage, what became of the answer, how many) over all attempts, the usable ones first, then by frequency."""
    rows = []
    for name, stage in stages.items():
        outcomes: Counter = Counter()
        for (attempt, refused), count in stage.counts.items():
            outcomes[refused] += count if attempt < n_attempts else 0
        rows += [(name, refused or "usable", count) for refused, count in sorted(outcomes.items(), key=lambda o: (o[0] is not None, -o[1]))]
    return rows


def _without_folder(name: str) -> str:
    """A hub id as it is, of a local path the last part: where files lay on one machine says nothing to others."""
    return Path(name).name if Path(name).exists() or Path(name).is_absolute() else name


def data_card(pipeline: Pipeline, settings: dict, counts: Counter, splits: dict[str, list[Row]], command: str) -> str:
    """README.md of the output folder: what is in it, where it comes from, how it was made, what was left out."""
    args, writer, judge = pipeline.args, settings["writer"], settings["judge"]
    table = lambda header, rows: ["| " + " | ".join(header) + " |", "|" + "---|" * len(header),
                                  *("| " + " | ".join(map(str, row)) + " |" for row in rows)]  # fmt: skip
    hashes = {name: task_sets.tasks_hash([row.task for row in rows])[:16] for name, rows in splits.items() if rows}
    seconds = pipeline.timings.by_row
    speeds = [(stage, f"{sums['seconds']:.0f}", f"{sums.get('answers', sums.get('programs', 0)):.0f}", f"{sums.get('tokens', 0):.0f}")
              for stage, sums in seconds.items()]  # fmt: skip
    licence = args.source_license or "not stated (pass --source_license)"
    endpoint = f" behind {pipeline.backend.api_base}" if pipeline.backend.api_base else ""
    lines = [
        "---", *([f"license: {args.source_license}"] if args.source_license else []), "tags: [rust, code, grpo]", "---", "",
        f"# {Path(args.output_dir).name}", "",
        "Rust tasks with hidden tests, rewritten from Python prompts by a model and kept where `cargo build` and `cargo test` "
        "pass its own code against its own tests.", "",
        *table(("split", "rows", "hash of ids, prompts and tests"), [(n, len(r), hashes.get(n, "")) for n, r in splits.items()]), "",
        "`train.py --tasks train.parquet --heldout val.parquet test.parquet` reads these files as they are; `tests` are the hidden "
        "tests. `references.parquet` holds the answers (`rust_code`) and the source prompts, which training does not read.", "",
        "## Source", "",
        f"- Prompts: {_without_folder(args.tasks)}, licence: {licence}",
        f"- Written by {args.model_name or _without_folder(args.model)}{endpoint}"
        f" (weights {str(writer['weights'])[:16]}), sampling {json.dumps(writer['sampling'])}, "
        f"seed {writer['seed']}, up to {pipeline.sampling.num_samples} attempts a task",
        f"- Graded by judge version {judge['judge_version']}, {judge['rustc']}, {judge['clippy']}",
        f"- Decontaminated against {', '.join(Path(f).name for f in args.decontaminate) or 'nothing'} "
        f"({task_sets.NGRAM_WORDS}-word runs, limit {args.max_overlap:g})",
        "", "## Tasks at every stage", "", *table(("", "tasks"), counts.items()), "",
        "## Answers at every stage", "",
        *table(("stage", "outcome", "answers"), answer_counts(pipeline.stages, pipeline.sampling.num_samples)),
        "",
        "## Time", "", *table(("stage", "seconds", "answers or programs", "tokens"), speeds), "",
        "## Limits", "",
        "Nobody read these tasks. Code and tests agree with each other; where the source has Python tests, the writer was asked to "
        "keep their expected values. Descriptions may say less than the tests ask.", "",
        "## Command", "", "```", command, "```", "",
    ]  # fmt: skip
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------------
# main
# ---------------------------------------------------------------------------------------------------------------------


def make_dataset(args: DatasetArguments, sampling: SamplingArguments, backend: BackendArguments, command: str) -> Counter:
    """The whole pipeline, from wherever the output folder stands -> counts of tasks at every stage."""
    folder, counts = Path(args.output_dir), Counter()
    doctor.require_free_disk(folder, MIN_FREE_GIB)
    if not backend.api_base:
        choose_backend(backend)
        limit = context_tokens(args.model)
        args.max_model_len = min(args.max_model_len, limit or args.max_model_len)
        if sampling.max_new_tokens >= args.max_model_len:
            raise DatasetError(
                f"--max_new_tokens {sampling.max_new_tokens} leaves no room for a prompt within --max_model_len {args.max_model_len}"
            )
    evaluation = evaluation_index(args.decontaminate)
    wanted = survey(args, evaluation, counts)
    print(f"{counts['source prompts']} prompts of {args.tasks}, {len(wanted)} to be written", flush=True)
    with RustTool(**args.judge_options()) as judge:
        settings = make_settings(args, sampling, backend, judge)
        with open_folder(folder, settings, asdict(args) | asdict(sampling) | asdict(backend)) as stages:
            pipeline = Pipeline(args, sampling, backend, stages, judge)
            try:
                pipeline.run(wanted)
            finally:
                pipeline.close()
            rows = collect(pipeline, wanted, counts)
            if pipeline.watch.infra:
                counts["programs that the machine failed to grade (the same command tries again)"] = pipeline.watch.infra
            if not rows:
                raise DatasetError(
                    f"cargo passed none of {len(wanted)} tasks: `refused` in {folder}/*.jsonl says why; a larger writer or a higher "
                    "--num_samples helps"
                )
            rows = decontaminated(without_duplicates(rows, counts), evaluation, args, counts)
            splits = make_splits(rows, args.split, sampling.seed, args.max_overlap, counts)
            write_splits(folder, splits, counts)
            card = data_card(pipeline, settings, counts, splits, command)
            with replacing(folder / "README.md") as new:
                new.write_text(card, encoding="utf-8")
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: exit status 0 when done, 2 when it cannot be done as asked, 130 when interrupted."""
    with ExitStack() as cleanup:
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is as clean as Ctrl-C
        cleanup.callback(signal.signal, signal.SIGTERM, previous)
        try:
            cleanup.enter_context(console.LibraryLogs())
            args, sampling, backend = parse_arguments(argv)
            command = shlex.join(["python", "make_dataset.py", *map(_without_folder, sys.argv[1:] if argv is None else argv)])
            counts = make_dataset(args, sampling, backend, command)
        except KeyboardInterrupt:
            print("\nstopped; run the same command again to go on", file=sys.stderr)
            return 130
        except (UserError, OSError) as error:
            tell("make_dataset.py", error)
            return 2
    for name, count in counts.items():
        print(f"{count:>8}  {name}")
    sizes = [counts[f"rows in {name}"] for name in SPLIT_NAMES]
    if sizes != list(args.split):
        print(f"--split {' '.join(map(str, args.split))} asks for more rows than there are: {' / '.join(map(str, sizes))} instead")
    print(f"wrote {args.output_dir}: train, val, test and references .parquet, README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
