"""Measure models under one protocol: generate (or read) completions, grade them, print and save one table.

    python eval.py --model BASE --adapter RUN_DIR --tasks FILE_OR_HUB_ID --output_dir OUT --num_samples 4
    python eval.py --api_base http://localhost:8000/v1 --model NAME --tasks FILE --output_dir OUT
    python eval.py --completions FILE.jsonl|.parquet --output_dir OUT      # grade what exists; no model is loaded
    python eval.py --completions RUN_DIR --rewards NAME=WEIGHT ... --output_dir OUT   # a training trace under other rewards
    python eval.py --compare OUT_A OUT_B                                   # saved results side by side; no model either
    python eval.py --model M --tasks data/kinds_test.jsonl.gz --repair_turns 1 --output_dir OUT    # kinds/repair.py: a row a kind

Writes OUT/results.jsonl (one graded completion per line: by row, task, sample; or in input order), results.parquet,
summary.json, table.md, chart.png and run.json (the protocol). Killed at any point, the same command goes on where it
stopped. Rates are means over graded completions; pass@k is the unbiased estimator; intervals are 95 % percentile bootstraps
over tasks (all samples of a task are drawn together), and so are the paired differences between rows.

The trace of a training run (its folder, or trace*.jsonl[.gz]) is graded again with what was traced put beside it: rewards,
ranks within groups, groups without signal, verdicts. Steps that a resumed run did again are left out.

Not guaranteed: intervals say nothing about other tasks than these, and a rate of exactly 0 or 100 % gets an empty interval.
`duration_s` differs between runs; everything else in results.jsonl is byte-equal when decoding is greedy on one machine.
"""

import errno
import fcntl
import gzip
import hashlib
import json
import math
import os
import signal
import sys
import textwrap
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import console
import doctor
import kinds
import tasks as task_sets
from evaluation import completion_rows, cross_results
from generate import (
    BackendArguments,
    Completion,
    GenerationError,
    SamplingArguments,
    check_adapter_fits,
    check_prompts_fit,
    choose_backend,
    load_config,
    load_tokenizer,
    open_generator,
    parse_dataclasses,
    resolve_adapter,
    tokenize,
    weights_hash,
)
from judge.program import check_hidden_tests as check_texts
from judge.program import holds_fence, is_plain_rust
from judge.sandbox import SandboxUnavailable
from kinds import repair
from rewards import DEFAULT_REWARDS, RewardError, RewardSet, completion_text, infra_reason, pass_at_k, passes_hidden, weighted_sum
from rust_tool import JUDGE_VERSION, Judge, ToolchainError
from task_proof.faults import references_line
from traces import SCHEMA_VERSION, TraceError, TraceWriter, cut_torn_line, iter_counted, iter_trace, load_trace, trace_files, why_left_out

CONFIDENCE = 0.95
BOOTSTRAP_SEED = 20_240_229  # fixed: the same results always print the same interval
MAX_DRAWS, MIN_RESAMPLES = 200_000_000, 1000  # many tasks get fewer resamples, so that intervals take seconds at most
BOOTSTRAP_CELLS = 4_000_000  # tasks x resamples held at once, about 64 MB
JOBS_PER_WORKER = 32  # programs per worker and batch: large enough that one looping test holds up little
MIN_FREE_GIB = 0.2  # 100,000 graded completions take about as much
MIN_GRADED_FOR_INFRA_STOP = 64
TOP_CODES = 10
MIN_ASSERTS = 2  # distinct assertions that make "tests with asserts"
PARTIAL_FILES = ("completions.partial.jsonl", "results.partial.jsonl")
EVAL_REWARDS = (*DEFAULT_REWARDS, "hidden_tests_reward=2")
HIDDEN_REWARD = "hidden_tests_reward"
# What a trace says of a verdict, and what is compared when it is graded again.
VERDICT_FIELDS = (
    "build_passed",
    "clippy_passed",
    "test_passed",
    "honest_tests",
    "guard",
    "hidden_passed",
    "hidden_total",
    "error_kind",
)
RECORDED_FIELDS = (
    *VERDICT_FIELDS, "schema_version", "completion", "program", "clippy_warnings", "tests", "diagnostics", "n_asserts", "duration_s",
    "hidden_statuses", "hidden_error_kind", "hidden_failures", *cross_results.FIELDS,
)  # fmt: skip
RECORDED_BATCH = 512  # lines written at once when nothing is compiled
REWARD_DIGITS = 9  # two sums of the same rewards may differ in the last bits


class EvalError(RuntimeError):
    """The evaluation cannot be done as asked; the message is one sentence for the user."""


# What a person can mend; anything else is a bug and keeps its traceback.
USER_ERRORS = (
    EvalError,
    GenerationError,
    RewardError,
    ToolchainError,
    SandboxUnavailable,
    kinds.KindError,
    task_sets.TaskError,
    TraceError,
    doctor.MachineError,
    OSError,
)

# ---------------------------------------------------------------------------------------------------------------------
# Arguments
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class EvalArguments:
    """What is measured, on which tasks, and where the results go."""

    output_dir: str | None = field(default=None, metadata={"help": "Folder of the results: new, empty, or one to go on with."})
    model: str | None = field(default=None, metadata={"help": "Model folder or hub id, or the endpoint's name for a model."})
    adapter: list[str] = field(
        default_factory=list, metadata={"help": "LoRA adapters on the model, a row each (may be repeated).", "action": "extend"}
    )
    baseline: bool = field(default=True, metadata={"help": "Also a row for the model without any adapter."})
    row_names: list[str] = field(
        default_factory=list, metadata={"help": "Names of the rows, baseline first, instead of the folders'."}
    )
    tasks: str | None = field(
        default=None,
        metadata={"help": "Prompts: .jsonl, .json or .parquet file (FILE:COLUMN: prompts of that column), or hub dataset id. "
                  "With --completions: gives by task id the prompts and hidden tests that the file lacks."},
    )  # fmt: skip
    tasks_split: str = field(default="train", metadata={"help": "Split of a hub dataset."})
    task_ids: str | None = field(
        default=None, metadata={"help": "Only these tasks: FILE.json:KEY, or a file with one id per line."}
    )
    limit: int | None = field(default=None, metadata={"help": "Only the first so many tasks (or input rows of --completions)."})
    hidden_tests: str = field(
        default="auto",
        metadata={"help": "auto: grade by the tasks' tests where there are any; required: refuse tasks without; off: ignore them.",
                  "choices": ["auto", "required", "off"]},
    )  # fmt: skip
    k: list[int] = field(default_factory=list, metadata={"help": "Report hidden-test pass@k for these k (default: 1)."})
    select: Literal["none", "cross"] = field(
        default="none",
        metadata={"help": "cross: pick one completion a task by the tests of the others, and report how often the pick is right."},
    )
    completions: str | None = field(
        default=None,
        metadata={
            "help": "Grade this .jsonl (.gz, too), .json or .parquet file of existing completions, one or several a row, or the trace "
            "of a training run (its folder)."
        },
    )
    reuse_verdicts: bool = field(
        default=False,
        metadata={"help": "A trace only: keep the recorded verdicts and rewards, and change only weights. Nothing is compiled."},
    )
    compare: list[str] = field(default_factory=list, metadata={"help": "Put the rows of these results folders side by side."})
    all_tables: bool = field(default=False, metadata={"help": "Print every table as table.md has it, however wide."})
    prompt_column: str | None = field(default=None, metadata={"help": "Column that holds the prompt."})
    completion_column: str | None = field(default=None, metadata={"help": "Column that holds the completion (--completions)."})
    tests_column: str | None = field(default=None, metadata={"help": "Column that holds hidden tests."})
    task_id_column: str | None = field(default=None, metadata={"help": "Column that holds the task id."})
    entry_point_column: str | None = field(
        default=None, metadata={"help": "Column that holds the name of the function asked for."}
    )
    system_prompt: str | None = field(
        default=None, metadata={"help": "File with the system prompt (default: system_prompt.txt); none for none."}
    )
    fim_format: Literal["chat", "tokens"] = field(
        default="chat",
        metadata={"help": "How tasks of kind fim are asked: in words, or by Qwen2.5-Coder's FIM tokens without a chat template."},
    )
    rewards: list[str] = field(
        default_factory=lambda: list(EVAL_REWARDS),
        metadata={"help": "Reward functions to record, as name=weight."},
    )
    repair_turns: int = field(
        default=0, metadata={"help": "More tries for what fails, each after cargo's message; results are those of the last (--model)."}
    )
    judge_workers: int | None = field(default=None, metadata={"help": "Programs graded at once (default: all cores)."})
    run_timeout_s: float = field(default=2.0, metadata={"help": "CPU seconds that all tests of a program may take together."})
    sandbox: str = field(
        default="auto",
        metadata={"help": "auto, bwrap, landlock, or plain (no isolation: generated code runs with your rights)."},
    )
    cargo_path: str = field(default="cargo", metadata={"help": "The cargo to use."})
    edition: Literal["2021", "2024"] = field(default="2021", metadata={"help": "Rust edition that programs are compiled as."})
    max_infra_share: float = field(
        default=0.03, metadata={"help": "Stop when more than this share of completions could not be graded."}
    )
    bootstrap_samples: int = field(
        default=10_000, metadata={"help": "Resamples behind each interval (fewer for more than 20,000 tasks)."}
    )

    def column(self, name: str) -> str:
        """Name in the user's file of one of our columns."""
        return getattr(self, f"{name}_column") or name


def parse_arguments(argv: Sequence[str] | None) -> tuple[EvalArguments, SamplingArguments, BackendArguments]:
    """Command line and --config file. Raises GenerationError for what cannot be parsed, EvalError for what does not go together."""
    args, sampling, backend = parse_dataclasses((EvalArguments, SamplingArguments, BackendArguments), argv, __doc__)
    modes = {"--model": args.model, "--completions": args.completions, "--compare": args.compare}
    given = [flag for flag, value in modes.items() if value]
    if len(given) != 1:
        raise EvalError(f"expected one of --model, --completions and --compare, found {' and '.join(given) or 'none of them'}")
    if not args.output_dir and not args.compare:
        raise EvalError("--output_dir is missing: where should the results go?")
    if args.model and not args.tasks:
        raise EvalError("--tasks is missing: a .jsonl, .json or .parquet file, or a hub dataset id")
    if args.reuse_verdicts and not args.completions:
        raise EvalError("--reuse_verdicts needs --completions, the trace of a training run")
    if args.adapter and not args.model:
        raise EvalError("--adapter needs --model, the base it was trained on")
    if args.repair_turns < 0:
        raise EvalError(f"--repair_turns {args.repair_turns}: expected at least 0")
    others = {"--task_ids": args.task_ids, "--row_names": args.row_names, "--repair_turns": args.repair_turns}
    ignored = [flag for flag, value in others.items() if value and not args.model]
    if ignored:
        raise EvalError(f"{' and '.join(ignored)} goes with --model: nothing would come of it here")
    if args.select != "none" and (args.compare or args.reuse_verdicts):
        raise EvalError(f"--select {args.select} runs the programs: it does not go with --compare or --reuse_verdicts")
    if args.select != "none" and args.model and sampling.num_samples < 2:
        raise EvalError(f"--select {args.select} picks one of several completions: raise --num_samples (now {sampling.num_samples})")
    if args.bootstrap_samples < 1:
        raise EvalError(f"--bootstrap_samples {args.bootstrap_samples}: expected at least 1")
    doctor.require_judge_settings(args.sandbox, args.run_timeout_s, args.judge_workers, args.max_infra_share)
    if any(k < 1 for k in args.k):
        raise EvalError(f"--k {min(args.k)}: expected at least 1")
    if args.model and any(k > sampling.num_samples for k in args.k):
        raise EvalError(
            f"pass@{max(args.k)} needs at least {max(args.k)} samples per task: raise --num_samples (now {sampling.num_samples})"
        )
    if args.limit is not None and args.limit < 1:
        raise EvalError(f"--limit {args.limit}: expected at least 1")
    return args, sampling, backend


# ---------------------------------------------------------------------------------------------------------------------
# Metrics of one completion and of many
# ---------------------------------------------------------------------------------------------------------------------


def _honest(record: dict) -> bool:
    return record["test_passed"] and record["honest_tests"]


def _number(value: Any) -> float | None:
    """A finite number or bool as it is; whatever else a user's file holds in that column counts as not there."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _given(condition: bool | None, value: bool | None) -> bool | None:
    """`value` where the condition holds, else "not asked": a conditional rate."""
    return value if condition else None


# Name -> value of one graded completion; None where the question does not arise. A rate is the mean of what is not None.
METRICS: dict[str, Callable[[dict], float | None]] = {
    "build": lambda r: r["build_passed"],
    "clippy": lambda r: r["clippy_passed"],
    "tests": lambda r: r["test_passed"],
    "honest_tests": _honest,
    "tests_with_asserts": lambda r: r["test_passed"] and r["n_asserts"] >= MIN_ASSERTS,
    "hidden_tests": passes_hidden,
    "mean_length": lambda r: _number(r.get("n_tokens")),
    "finished": lambda r: _number(r.get("finished")),
    # self tests as a judge of the code: of what passes its own tests, how much is right; of what is right, how much passes
    "self_tests_precision": lambda r: _given(r["test_passed"], passes_hidden(r)),
    "self_tests_recall": lambda r: _given(passes_hidden(r), r["test_passed"]),
    "honest_tests_precision": lambda r: _given(_honest(r), passes_hidden(r)),
    "honest_tests_recall": lambda r: _given(passes_hidden(r), _honest(r)),
    # the tests of the task's other completions, the same way; and the one completion of each task that they pick
    "cross_tests_precision": lambda r: _given(cross_results.passes(r), passes_hidden(r)),
    "cross_tests_recall": lambda r: _given(passes_hidden(r) and r.get("cross_total"), cross_results.passes(r)),
    "picked": lambda r: _given(r.get("selected"), passes_hidden(r)),
    "edit_places": kinds.places_of_record,
}
NOT_PERCENT = ("mean_length",)


class RowStats:
    """Sums per task over the graded completions of one row: all that tables and intervals need, in bounded memory."""

    def __init__(self, row: str):
        self.row = row
        self.per_task: dict[str, array] = {}  # task id -> sum and count of each metric in turn
        self.n_infra = 0
        self.n_graded = 0
        self.error_kinds: Counter[str] = Counter()
        self.rustc_codes: Counter[str] = Counter()
        self.guards: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.kinds: dict[str, RowStats] = {}  # by kind of task; of these themselves: empty

    def add(self, record: dict) -> None:
        """Count one graded completion; one that the machine failed to grade counts as such and nowhere else."""
        self.tokens["completion"] += _number(record.get("n_tokens")) or 0
        self.tokens["prompt"] += _number(record.get("n_prompt_tokens")) or 0
        if record["error_kind"] == "infra":
            self.n_infra += 1
            return
        self.n_graded += 1
        sums = self.per_task.setdefault(record["task_id"], array("d", bytes(16 * len(METRICS))))
        for i, metric in enumerate(METRICS.values()):
            value = metric(record)
            if value is not None:
                sums[2 * i] += value
                sums[2 * i + 1] += 1
        self.error_kinds[record["error_kind"] or ("none" if record["test_passed"] else "no_tests")] += 1
        errors = [d for d in record["diagnostics"] if d["level"] == "error"]
        self.rustc_codes.update({d["code"] or "no code" for d in errors} if record["error_kind"] == "compile" else ())
        if record["test_passed"] and not record["honest_tests"]:
            self.guards[record["guard"] or "unknown"] += 1

    def add_by_kind(self, record: dict) -> None:
        """`add`, and to the sums over the tasks of its kind."""
        self.add(record)
        self.kinds.setdefault(kinds.kind_of_record(record), RowStats(self.row)).add(record)

    def samples(self) -> list[float]:
        """Completions of each task that hidden tests graded."""
        place = 2 * list(METRICS).index("hidden_tests") + 1
        return [sums[place] for sums in self.per_task.values()]

    def only(self, task_ids: Set[str]) -> "RowStats":
        """The rates' sums over some of the tasks."""
        part = RowStats(self.row)
        part.per_task = {task_id: sums for task_id, sums in self.per_task.items() if task_id in task_ids}
        return part

    def columns(self, ks: Sequence[int]) -> tuple[list[str], Any, Any]:
        """(names, sums, counts): arrays of shape (tasks, metrics), tasks sorted by id, pass@k columns last."""
        import numpy as np

        names = [*METRICS, *(f"pass@{k}" for k in ks)]
        cells = np.array([self.per_task[task_id] for task_id in sorted(self.per_task)]).reshape(-1, len(METRICS), 2)
        sums, counts = cells[:, :, 0], cells[:, :, 1]
        hidden = list(METRICS).index("hidden_tests")
        for k in ks:
            n_and_c = [(int(n), int(c)) for n, c in zip(counts[:, hidden], sums[:, hidden], strict=True)]
            can = np.array([float(n >= k) for n, _ in n_and_c])
            value = np.array([pass_at_k(n, c, k) if n >= k else 0.0 for n, c in n_and_c])
            sums, counts = np.column_stack([sums, value]), np.column_stack([counts, can])
        return names, sums, counts


def bootstrap(sums: Any, counts: Any, n_resamples: int) -> Any:
    """Ratio of summed `sums` to summed `counts` in resamples of the tasks (rows) -> array (resamples, metrics).

    Equal shapes get equal resamples, so the difference of two results is a paired bootstrap. NaN where nothing was counted.
    """
    import numpy as np

    rng = np.random.default_rng(BOOTSTRAP_SEED)
    n_tasks, pieces = len(sums), []
    n_resamples = min(n_resamples, max(MIN_RESAMPLES, MAX_DRAWS // n_tasks))
    chunk = max(1, BOOTSTRAP_CELLS // max(1, n_tasks))
    for start in range(0, n_resamples, chunk):
        size = min(chunk, n_resamples - start)
        drawn = rng.integers(n_tasks, size=(size, n_tasks)) + n_tasks * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n_tasks).reshape(size, n_tasks)
        with np.errstate(invalid="ignore"):
            pieces.append((weights @ sums) / (weights @ counts))
    return np.concatenate(pieces)


def _interval(values: Any) -> tuple[float | None, float | None]:
    import numpy as np

    values = values[~np.isnan(values)]
    if not len(values):
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return round(float(low), 6), round(float(high), 6)


def estimates(stats: Sequence[RowStats], ks: Sequence[int], n_resamples: int) -> tuple[list[dict], list[dict]]:
    """Per row {metric: {value, low, high}}, and the paired differences of each row to the first over the tasks that both have."""
    rows, resampled, differences = [], [], []
    for row in stats:
        if not row.per_task:
            rows.append({})
            resampled.append(None)
            continue
        metrics, drawn = _one_row(row, ks, n_resamples)
        rows.append(metrics)
        resampled.append(drawn)
    for i, row in enumerate(stats[1:], start=1):
        shared = row.per_task.keys() & stats[0].per_task.keys()
        if not shared:
            continue
        pair = [(rows[which], resampled[which]) for which in (0, i)]
        if not shared == row.per_task.keys() == stats[0].per_task.keys():
            pair = [_one_row(which.only(shared), ks, n_resamples) for which in (stats[0], row)]
        (first, first_drawn), (second, second_drawn) = pair
        metrics = {}
        for j, name in enumerate([*METRICS, *(f"pass@{k}" for k in ks)]):
            if name in first and name in second:
                low, high = _interval(second_drawn[:, j] - first_drawn[:, j])
                metrics[name] = {"value": round(second[name]["value"] - first[name]["value"], 6), "low": low, "high": high}
        differences.append({"row": row.row, "versus": stats[0].row, "n_tasks": len(shared), "metrics": metrics})
    return rows, differences


def _one_row(row: RowStats, ks: Sequence[int], n_resamples: int) -> tuple[dict, Any]:
    """{metric: {value, low, high}} of a row, and the resampled values behind it, shape (resamples, metrics)."""
    names, sums, counts = row.columns(ks)
    drawn = bootstrap(sums, counts, n_resamples)
    metrics = {}
    for i, name in enumerate(names):
        total = counts[:, i].sum()
        if total:
            low, high = _interval(drawn[:, i])
            metrics[name] = {"value": round(float(sums[:, i].sum() / total), 6), "low": low, "high": high}
    return metrics, drawn


# ---------------------------------------------------------------------------------------------------------------------
# Protocol: what has to be equal before two rows may stand side by side
# ---------------------------------------------------------------------------------------------------------------------


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
    return {key: value for key, value in judge.items() if key not in {"workers", "sandbox", "scratch_dir", "cache_size"}}


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
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise EvalError(f"{folder} is in use by another process: wait for it, or choose another --output_dir") from error
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
        _write_json(
            folder / "run.json", {"schema_version": SCHEMA_VERSION, "protocol": protocol, "run": run, "rows": rows, "config": config}
        )
        yield rows


def _checked_rows(folder: Path, protocol: dict, run: dict, rows: list[dict]) -> list[dict]:
    """The rows of a folder with those asked for. Raises EvalError when it holds anything but results of this protocol and run."""
    path = folder / "run.json"
    if not any(folder.iterdir()):
        return rows
    saved = _read_json(path) if path.is_file() else None
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


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvalError(f"cannot read {path}: {error}") from error


def _write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step, so that a kill leaves the old or the new one."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


# ---------------------------------------------------------------------------------------------------------------------
# Tasks and rows of a run that generates
# ---------------------------------------------------------------------------------------------------------------------


def check_hidden_tests(task: dict, where: str) -> None:
    """Raises EvalError when a task's hidden tests cannot be understood."""
    try:
        check_texts(task["tests"], task.get("entry_point"))
    except ValueError as error:
        raise EvalError(f"{where}: its hidden tests cannot be used: {error}") from error


def load_eval_tasks(args: EvalArguments) -> list[dict]:
    """Tasks as asked for, their hidden tests checked. Raises EvalError or TaskError."""
    columns = {name: getattr(args, f"{name}_column") for name in ("prompt", "tests", "task_id", "entry_point")}
    tasks = task_sets.load_tasks(args.tasks, split=args.tasks_split, columns=columns, task_ids=args.task_ids, limit=args.limit)
    if args.hidden_tests == "off":
        tasks = [task | {"tests": None} for task in tasks]
    without = [task["task_id"] for task in tasks if not task["tests"]]
    if without and args.hidden_tests == "required":
        raise EvalError(f"{args.tasks}: {len(without)} of {len(tasks)} tasks have no hidden tests, for example {without[0]!r}")
    if len(without) == len(tasks) and (args.k or args.tests_column):
        found = ", ".join(key for key in tasks[0] if tasks[0][key] is not None)
        raise EvalError(
            f"{args.tasks}: pass@k and hidden grading need tests, and no task has any (columns: {found}); see --tests_column"
        )
    for task in tasks:
        if task["tests"]:
            check_hidden_tests(task, f"{args.tasks}, task {task['task_id']!r}")
    return kinds.with_fim_format(tasks, args.fim_format)


def row_name(model_or_adapter: str) -> str:
    """Short name of a model or adapter: the hub id, or the last two parts of a folder's path."""
    path = Path(model_or_adapter)
    return "/".join(path.resolve().parts[-2:]) if path.exists() else model_or_adapter


def describe_rows(args: EvalArguments, backend: BackendArguments) -> list[dict]:
    """The rows of this run: name, model, adapter and what tells their weights apart. Raises EvalError."""
    adapters = ([None] if args.baseline or not args.adapter else []) + args.adapter
    names = args.row_names or [row_name(adapter or args.model) for adapter in adapters]
    if len(set(names)) < len(names) and not args.row_names:
        names = [str(adapter or args.model) for adapter in adapters]
    if len(names) != len(adapters) or len(set(names)) < len(names):
        raise EvalError(f"--row_names: expected {len(adapters)} different names (baseline first), found {' '.join(names)}")
    return [
        {
            "row": name,
            "model": args.model,
            "model_hash": None if backend.api_base else weights_hash(args.model) or load_config(args.model)._commit_hash,
            "adapter": adapter,
            "adapter_hash": weights_hash(resolve_adapter(adapter)) if adapter else None,
            "api_base": backend.api_base,
            "backend": choose_backend(backend),
            "dtype": backend.dtype,
            "load_in_4bit": backend.load_in_4bit,
        }
        for name, adapter in zip(names, adapters, strict=True)
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Generate, then grade; whatever was done is on disk and never done again
# ---------------------------------------------------------------------------------------------------------------------

Key = tuple[str, str, int]  # row, task id, sample


def _key(record: dict) -> Key:
    return record["row"], record["task_id"], record["sample"]


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
        self.by_row: dict[str, dict[str, float]] = _read_json(self._path) if self._path.exists() else {}

    def add(self, row: str, **seconds_and_counts: float) -> None:
        """Add to a row's sums and save them."""
        sums = self.by_row.setdefault(row, {})
        for name, value in seconds_and_counts.items():
            sums[name] = round(sums.get(name, 0) + value, 3)
        _write_json(self._path, self.by_row)


class Session:
    """The state of one generating run: what is generated, what is graded, what it took.

    Args:
        folder: Opened results folder.
        tasks: Task rows in order.
        num_samples: Completions per task and row.
    """

    def __init__(self, folder: Path, tasks: list[dict], num_samples: int):
        self.folder, self.tasks, self.num_samples = folder, tasks, num_samples
        self.generated: dict[Key, dict] = {_key(r): r for r in read_partial(folder / "completions.partial.jsonl")}
        self.graded: dict[Key, dict] = {}
        self.failed: dict[Key, dict] = {}  # what the machine failed to grade: tried again, with the completion that is there
        for path in (folder / "results.jsonl", folder / "results.partial.jsonl"):
            for record in read_partial(path):
                (self.failed if record["error_kind"] == "infra" else self.graded)[_key(record)] = record
        answer = ("row", "task_id", "sample", "completion", "turns", *(f.name for f in fields(Completion) if f.name != "text"))
        self.generated |= {key: {name: record[name] for name in answer if name in record} for key, record in self.failed.items()}
        self.timings = Timings(folder)

    def keys(self, row: str) -> list[Key]:
        """Every completion of a row, by task and sample."""
        return [(row, task["task_id"], sample) for task in self.tasks for sample in range(self.num_samples)]

    def ungenerated(self, row: str) -> int:
        """Completions of a row that are still to be generated."""
        return sum(key not in self.generated and key not in self.graded for key in self.keys(row))

    def generate(self, row: str, batches: Iterator[list[tuple[int, Completion]]]) -> None:
        """Write a row's completions to disk as they come: a kill loses none of them."""
        keys, start, tokens, count = self.keys(row), time.monotonic(), 0, 0
        path = self.folder / "completions.partial.jsonl"
        try:
            with path.open("a", encoding="utf-8", errors="backslashreplace") as file:  # no fsync: it would cost more than a step
                for batch in progress(batches, self.ungenerated(row), f"{row}: generating"):
                    for index, completion in batch:
                        _, task_id, sample = keys[index]
                        answer = asdict(completion)
                        record = {"row": row, "task_id": task_id, "sample": sample, "completion": answer.pop("text"), **answer}
                        file.write(json.dumps(record, ensure_ascii=False) + "\n")
                        self.generated[keys[index]] = record
                        tokens, count = tokens + (completion.n_tokens or 0), count + 1
                    file.flush()
        finally:
            self.timings.add(row, generate_s=time.monotonic() - start, generated=count, generated_tokens=tokens)

    def grade(self, row: str, rewards: RewardSet, watch: "InfraWatch") -> None:
        """Grade a row's completions, a batch at a time, each batch on disk before the next one starts."""
        writer = TraceWriter(self.folder / "results.partial.jsonl")
        by_id = {task["task_id"]: task for task in self.tasks}
        todo, batch_size = [key for key in self.keys(row) if key not in self.graded], judge_batch(rewards)
        batches = (todo[start : start + batch_size] for start in range(0, len(todo), batch_size))
        for keys in progress(batches, len(todo), f"{row}: grading"):
            start = time.monotonic()
            answers = [self.generated[key] for key in keys]
            tasks = [by_id[task_id] for _, task_id, _ in keys]
            graded = grade_all(rewards, tasks, [answer["completion"] for answer in answers])
            watch.check(graded)
            records = [eval_record(g, task, a) for g, task, a in zip(graded, tasks, answers, strict=True)]
            writer.write(records)
            self.graded |= {_key(record): record for record in records}
            self.timings.add(row, grade_s=time.monotonic() - start, graded=len(keys))

    def finish(self, rows: Sequence[str]) -> None:
        """Write results.jsonl in its final order; drop the partial files unless a row of `rows` is not complete."""
        records = self.failed | self.graded
        complete = [row for row in rows if all(key in records for key in self.keys(row))]
        temporary = self.folder / "results.jsonl.tmp"
        temporary.unlink(missing_ok=True)
        writer = TraceWriter(temporary)
        for row in complete:
            writer.write([records[key] for key in self.keys(row)])
        temporary.replace(self.folder / "results.jsonl")
        for name in PARTIAL_FILES:
            if len(complete) == len(rows):
                (self.folder / name).unlink(missing_ok=True)


def eval_record(graded: dict, task: dict, extra: dict) -> dict:
    """A graded completion as results.jsonl holds it: DESIGN.md's fields, the hidden tests, then what else is known of it."""
    record = graded | {
        "step": None,
        "rank": 0,
        "group_id": graded["task_id"],
        "advantage": None,
        "hidden_tests": task.get("tests"),
        "entry_point": task.get("entry_point"),
    }
    kept = {*graded, "tests", "hidden_tests", "entry_point"}  # of an input file, what was graded wins over its columns
    return record | {key: value for key, value in {**task, **extra}.items() if key not in kept}


class InfraWatch:
    """Stops a run whose machine fails too often. Raises EvalError from `check` and `finish`."""

    def __init__(self, max_share: float):
        self.max_share, self.infra, self.total = max_share, 0, 0
        self.reason = ""  # of the last failures

    def check(self, graded: Sequence[dict]) -> None:
        """Count a batch; called before it is saved, so that a run that goes on grades it again."""
        self.count(graded)
        if self.total >= MIN_GRADED_FOR_INFRA_STOP:
            self._require_few(self.max_share * self.total)

    def count(self, graded: Sequence[dict]) -> None:
        """Count a batch and stop nothing."""
        failed = [record for record in graded if record["error_kind"] == "infra"]
        self.reason = infra_reason(failed) if failed else self.reason
        self.infra += len(failed)
        self.total += len(graded)

    def finish(self) -> None:
        """The same for a run too short for `check`, before it counts as finished; one failure is not held against it."""
        self._require_few(max(1, self.max_share * self.total))

    def _require_few(self, limit: float) -> None:
        if self.infra > limit:
            raise EvalError(
                f"the machine failed to grade {self.infra} of {self.total} completions (limit: {self.max_share:.0%}; {self.reason}): "
                "look at disk, memory and `python doctor.py`, then run the same command again to go on"
            )


def progress(batches: Iterable[Sequence], total: int, what: str) -> Iterator[Any]:
    """Pass batches through under a progress bar that counts their items."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit="", disable=total == 0, mininterval=0.5, dynamic_ncols=True) as bar:
        with console.every(console.BEAT_S, bar.refresh):  # a batch may take minutes on a CPU: the clock goes on meanwhile
            for batch in batches:
                yield batch
                bar.update(len(batch))


def grade_all(rewards: RewardSet, tasks: Sequence[dict], completions: Sequence[str]) -> list[dict]:
    """Graded completions of tasks, in order, with every reward: users' own functions are called as in training.

    They get conversations (of the user's turn and the answer), `graded`, and the columns of train.py's rows. Raises RewardError.
    """
    columns = {name: [task.get(name) for task in tasks] for name in ("task_id", "tests", "entry_point")}
    columns["user_prompt"] = [task.get("prompt") or "" for task in tasks]
    others = ({key: value for key, value in task.items() if key not in task_sets.TASK_COLUMNS} for task in tasks)
    columns["other_columns"] = [json.dumps(other) for other in others]
    prompts = [task_sets.build_messages(prompt, "") for prompt in columns["user_prompt"]]
    answers = [[{"role": "assistant", "content": completion}] for completion in completions]
    graded = rewards.grade_batch(prompts, answers, columns)
    for function in rewards.functions:  # the built-in ones only read what is there
        function(prompts=prompts, completions=answers, **columns)
    return graded


def judge_batch(rewards: RewardSet) -> int:
    """Completions that the judge is given at once."""
    return JOBS_PER_WORKER * rewards.judge.describe()["workers"]


def run_generation(
    session: Session,
    rows: list[dict],
    args: EvalArguments,
    sampling: SamplingArguments,
    load: Callable[[list[dict]], Any],
) -> None:
    """Generate what the rows still lack; the model is loaded (`load`, of these rows) only when something is. Raises GenerationError."""
    lacking = [row for row in rows if session.ungenerated(row["row"])]
    if not lacking:
        return
    conversations, generator = build_conversations(session.tasks, args), load(lacking)
    for row in lacking:
        keys = session.keys(row["row"])
        done = {i for i, key in enumerate(keys) if key in session.generated or key in session.graded}
        session.generate(row["row"], generator.generate(conversations, sampling, row["adapter"], done))


class Engine:
    """What generates, loaded when it is first asked for. `load(rows)` reserves room for their adapters."""

    def __init__(
        self, args: EvalArguments, sampling: SamplingArguments, backend: BackendArguments, max_model_len: int | None, session: Session
    ):
        self._args, self._open, self._session = args, (backend, max_model_len, sampling.seed), session
        self._generator = None

    def load(self, rows: list[dict]) -> Any:
        """The generator. Raises GenerationError."""
        if self._generator is None:
            backend, max_model_len, seed = self._open
            start = time.monotonic()
            adapters = [row["adapter"] for row in rows if row["adapter"]]
            self._generator = open_generator(self._args.model, backend, adapters, max_model_len, seed)
            self._session.timings.add(rows[0]["row"], load_s=time.monotonic() - start)
        return self._generator

    def close(self) -> None:
        """Let go of it."""
        if self._generator is not None:
            self._generator.close()
            self._generator = None


def second_tries(
    session: Session, rows: list[dict], args: EvalArguments, sampling: SamplingArguments, engine: Engine, rewards: RewardSet,
    watch: "InfraWatch", max_model_len: int | None,
) -> None:  # fmt: skip
    """--repair_turns: what failed where cargo shows it is asked for again. Raises GenerationError, EvalError."""
    messages = dict(zip((task["task_id"] for task in session.tasks), build_conversations(session.tasks, args), strict=True))
    tokenizer = load_tokenizer(args.model) if max_model_len else None  # an endpoint has its own

    def fits(conversations: list[list[dict]]) -> list[bool]:
        if tokenizer is None:
            return [True] * len(conversations)
        return [len(ids) + sampling.max_new_tokens <= max_model_len for ids in tokenize(tokenizer, conversations)]

    for row in rows:

        def answers(conversations: list[list[dict]], turn: int, row=row) -> Iterator[list[tuple[int, Completion]]]:
            drawn = replace(sampling, num_samples=1, seed=sampling.seed + turn * repair.SEED_STRIDE)
            batches = engine.load(rows).generate(conversations, drawn, row["adapter"])
            return progress(batches, len(conversations), f"{row['row']}: try {turn + 1}")

        grade = lambda row=row: session.grade(row["row"], rewards, watch)  # noqa: E731
        n_too_long = repair.try_again(session, row, messages, args.repair_turns, answers, fits, grade)
        if n_too_long:
            print(f"note: {row['row']}: {n_too_long} conversations were too long for another try and stay as they are", file=sys.stderr)


def generate_and_grade(
    session: Session, rows: list[dict], args: EvalArguments, sampling: SamplingArguments, backend: BackendArguments, rewards: RewardSet,
    max_model_len: int | None,
) -> "InfraWatch":  # fmt: skip
    """What the rows still lack, second tries too -> how often the machine failed. Raises GenerationError, EvalError."""
    engine, watch = Engine(args, sampling, backend, max_model_len, session), InfraWatch(args.max_infra_share)
    try:
        run_generation(session, rows, args, sampling, (lambda lacking: engine.load(rows)) if args.repair_turns else engine.load)
        if not args.repair_turns:  # its memory is the judge's now
            engine.close()
        for row in rows:
            session.grade(row["row"], rewards, watch)
        if args.repair_turns:
            second_tries(session, rows, args, sampling, engine, rewards, watch, max_model_len)
    finally:
        engine.close()
    return watch


def build_conversations(tasks: list[dict], args: EvalArguments) -> list[list[dict]]:
    """Messages of every task, in order."""
    system_prompt = task_sets.read_system_prompt(args.system_prompt)
    return [kinds.conversation(task, system_prompt) for task in tasks]


def open_judge(args: EvalArguments) -> Judge:
    """The judge as configured. Raises ToolchainError or SandboxUnavailable."""
    limits = {"workers": args.judge_workers, "run_timeout_s": args.run_timeout_s}
    return Judge(**limits, sandbox=args.sandbox, cargo_path=args.cargo_path, edition=args.edition)


def evaluate_models(args: EvalArguments, sampling: SamplingArguments, backend: BackendArguments, logs: console.LibraryLogs) -> dict:
    """Generate and grade every row, then report -> the summary."""
    doctor.require_free_disk(Path(args.output_dir), MIN_FREE_GIB)
    if sampling.temperature == 0 and sampling.num_samples > 1:
        print("note: at temperature 0 the samples of a task are all the same", file=sys.stderr)
    tasks = load_eval_tasks(args)
    rows = describe_rows(args, backend)
    for model in [*args.adapter, *([] if backend.api_base else [args.model])]:
        seen = task_sets.trained_on(model, tasks)
        if seen:
            print(
                f"warning: {model} was trained on {len(seen)} of these {len(tasks)} tasks, the first is {seen[0]!r}: what it scores on "
                "them says nothing about others",
                file=sys.stderr,
            )
    max_model_len = None
    if not backend.api_base:
        names = [f"task {task['task_id']!r}" for task in tasks]
        max_model_len = check_prompts_fit(args.model, build_conversations(tasks, args), names, sampling.max_new_tokens)
        if args.repair_turns:
            longer = max_model_len + args.repair_turns * (sampling.max_new_tokens + repair.MESSAGE_TOKENS)
            max_model_len = min(longer, getattr(load_config(args.model), "max_position_embeddings", None) or longer)
        for adapter in args.adapter:
            check_adapter_fits(adapter, args.model)
    tasks_hash = TasksHash()
    for task in tasks:
        tasks_hash.add(task)
    folder, system_prompt = Path(args.output_dir), task_sets.read_system_prompt(args.system_prompt)
    with ExitStack() as held:
        with open_judge(args) as judge:
            rewards = RewardSet(judge, args.rewards, system_prompt, cross_tests=False)
            rewards.require_columns({name for task in tasks for name in task}, in_training=False)
            _tell_of_references(tasks, judge)
            protocol = {
                "tasks_hash": tasks_hash.hexdigest(),
                "n_tasks": len(tasks),
                "system_prompt_hash": text_hash(system_prompt),
                "graded_with_prompt_hash": text_hash(system_prompt),
                "sampling": sampling_protocol(sampling) | batch_protocol(backend),
                "judge": judge_protocol(judge.describe()),
            } | ({"repair_turns": args.repair_turns} if args.repair_turns else {})
            run = {"seed": sampling.seed, "rewards": rewards.weights}
            config = asdict(args) | asdict(sampling) | asdict(backend)
            all_rows = held.enter_context(open_folder(folder, protocol, run, rows, config))
            session = Session(folder, tasks, sampling.num_samples)
            if any(session.ungenerated(row["row"]) for row in rows):  # a finished run is looked at, not written to
                logs.write_to(folder / console.LOG_NAME)
            watch = generate_and_grade(session, rows, args, sampling, backend, rewards, max_model_len)
            described = judge.describe()
            watch.finish()
            session.finish([row["row"] for row in all_rows])
            cross_examine(folder / "results.jsonl", args, rewards)
        ks = args.k or ([1] if any(task["tests"] for task in tasks) else [])
        return report(folder, ks, args, {"judge": described, "timings": session.timings.by_row})


def cross_examine(results: Path, args: EvalArguments, rewards: RewardSet) -> None:
    """Where it is asked for, add to every result what the tests of its task's other completions say (`evaluation/cross_results.py`)."""
    if args.select != "cross" and not rewards.asks_cross:
        return
    records = [*read_jsonl(results)]
    if all("selected" in record for record in records if record["error_kind"] != "infra"):
        return
    for found in progress(cross_results.examined(records, rewards.reader), len(records), "cross tests"):
        for i, more in found.items():
            paid = records[i]["rewards"] | {name: value for name, value in more.pop("rewards").items() if name in rewards.weights}
            records[i] |= more | {"rewards": paid, "reward": weighted_sum(paid, rewards.weights)}
    temporary = results.with_suffix(".crossed")
    temporary.unlink(missing_ok=True)
    TraceWriter(temporary).write(records)
    temporary.replace(results)


def _tell_of_references(tasks: Sequence[dict], judge: Judge) -> None:
    """Say on stderr what share of the tasks no program may be able to pass, where references tell."""
    line = references_line(tasks, judge)
    if line is not None:
        print(f"note: {line}", file=sys.stderr)


# ---------------------------------------------------------------------------------------------------------------------
# Completions that already exist
# ---------------------------------------------------------------------------------------------------------------------


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
        return (single for where, row in iter_input(self.path) for single in completion_rows.single_rows(where, row, self.column))

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
    tasks = {}
    if args.tasks:
        columns = {name: getattr(args, f"{name}_column") for name in ("prompt", "tests", "task_id", "entry_point")}
        loaded = task_sets.load_tasks(args.tasks, split=args.tasks_split, columns=columns)
        tasks = {task["task_id"]: task for task in kinds.with_fim_format(loaded, args.fim_format)}
    is_trace = path.is_dir() or (path.suffix != ".parquet" and why_left_out(next(iter_trace(path), None)) is None)
    if not is_trace and args.reuse_verdicts:
        raise EvalError(f"--completions {path}: --reuse_verdicts needs the trace of a training run, and its first line is none")
    if not is_trace and not args.completion_column:
        _, first = next(iter_input(path), ("", {"completion": ""}))
        args.completion_column = None if "completion" in first else completion_rows.found_column(first)
        if args.completion_column:
            print(f"note: completions are read from the column {args.completion_column!r}, several from each row", file=sys.stderr)
    return Input(path, attempts_began(path) if is_trace else None, tasks, args.column("completion"))


def attempts_began(path: Path) -> dict[int, int]:
    """First step of every attempt of a trace. Says on stderr how many lines are no graded completions. Raises TraceError."""
    skipped = load_trace(path, columns=("step",)).attrs
    for count, what in (
        (skipped["unreadable_lines"], "cannot be read"),
        (skipped["other_versions"], "are of another schema version"),
    ):
        if count:
            print(f"note: {count} lines of {path} {what} and are left out", file=sys.stderr)
    return skipped["attempts_began"]


def iter_traced(path: Path, began: dict[int, int]) -> Iterator[tuple[str, dict]]:
    """Yield (place, row) of a trace, superseded lines left out; what was traced goes to the column `before`."""
    for number, record in enumerate(iter_counted(path, began=began), start=1):
        columns = record["columns"] if isinstance(record.get("columns"), dict) else {}
        before = {name: record.get(name) for name in ("reward", "rewards", *VERDICT_FIELDS)}
        yield f"{path}, graded completion {number}", {"prompt": None} | columns | record | {"before": before}


def iter_input(path: Path) -> Iterator[tuple[str, dict]]:
    """Yield (place in the file, row) without holding the file. Raises TaskError naming the line that is no JSON object."""
    yield from task_sets.iter_rows(path)


def _is_missing(value: Any) -> bool:
    """Null, or NaN, which is how pandas writes a missing cell."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _as_json(value: Any) -> Any:
    """A value of a user's file as JSON can hold it: NaN and infinities become null, dates and bytes text."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
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
            raise EvalError(
                f"{where}: no column {names[name]!r}; found {', '.join(map(str, row)) or 'none'} (see --{name}_column)"
            )
    prompt = row[names["prompt"]]
    try:
        if not known and not args.tests_column and "tests" not in row and "hidden_tests" not in row:
            names["tests"] = task_sets.found_tests_column(row) or "tests"
        prompt = _text(task_sets.prompt_text(prompt) if prompt else prompt, names["prompt"], where)
    except task_sets.TaskError as error:
        raise EvalError(f"{where}: {error}") from error
    # in a graded completion `tests` are the outcomes of its own tests, and `hidden_tests` what the task asked
    tests = (
        row.get("hidden_tests") if "hidden_tests" in row or isinstance(row.get(names["tests"]), dict) else row.get(names["tests"])
    )
    try:
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
        task = {key: _as_json(value) for key, value in row["columns"].items()} | task
    passed_through = {key: _as_json(value) for key, value in row.items() if key not in names.values()}
    return task, _text(row[names["completion"]], names["completion"], where), passed_through


def _task_id(given: Any, prompt: str, where: str) -> str:
    """The row's own id, else one that its prompt has; a row without either is a task of its own."""
    if not _is_missing(given):
        return str(given)
    return f"prompt-{text_hash(prompt)[:12]}" if prompt.strip() else completion_rows.row_of(where)


def _joined(where: str, task: dict, known: dict[str, dict], args: EvalArguments) -> dict:
    """The task with prompt and hidden tests from --tasks where it has none itself. Raises EvalError when it is not there."""
    found, needs_tests = known.get(task["task_id"]), not task["tests"] and args.hidden_tests != "off"
    lacks = "prompt" if not task["prompt"] else "hidden tests" if needs_tests and _asks_hidden(args) else None
    if found is None and lacks:
        first = next(iter(known))
        raise EvalError(
            f"{where}: task {task['task_id']!r} has no {lacks} here and is not in {args.tasks} (its first id is {first!r})"
        )
    if found is None:
        return task
    tests = {"tests": found["tests"], "entry_point": task["entry_point"] or found["entry_point"]} if needs_tests else {}
    return task | {"prompt": task["prompt"] or found["prompt"]} | tests | kinds.columns_of(found)


def _asks_hidden(args: EvalArguments) -> bool:
    """Whether hidden grading was asked for in so many words, and not only by the default list of rewards."""
    named = any(spec.rpartition("=")[0].strip() == HIDDEN_REWARD for spec in args.rewards)
    return args.hidden_tests == "required" or (args.hidden_tests == "auto" and named and tuple(args.rewards) != EVAL_REWARDS)


def _check_traced_tests(where: str, task: dict, row: dict, args: EvalArguments) -> None:
    """Raises EvalError when a completion was graded with hidden tests that cannot be found any more."""
    is_paid = any(spec.rpartition("=")[0].strip() == HIDDEN_REWARD for spec in args.rewards)
    if is_paid and args.hidden_tests != "off" and not args.reuse_verdicts and row["before"]["hidden_total"] and not task["tests"]:
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
    forms: Counter = field(default_factory=Counter)  # "fenced", "plain", "other", up to the first that is fenced
    samples: Counter = field(default_factory=Counter)  # of (row, task), for pass@k
    tests: dict[str, str] = field(default_factory=dict)  # task -> hash of its hidden tests
    mixed: dict[str, str] = field(default_factory=dict)  # task whose rows have other tests -> where
    columns: set[str] = field(default_factory=set)  # that users' reward functions get

    def add(self, where: str, row: dict) -> None:
        """Take in a row. Raises EvalError for a bad one."""
        task, completion, passed_through = read_completion(where, row, self.args, self.source.tasks)
        self.count += 1
        paid = _paid_task(task, passed_through, self.source.tasks)
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
        self.known += task["task_id"] in self.source.tasks
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
        tasks = self.source.tasks
        if tasks and self.known < self.count:
            yield (
                f"warning: {self.known} of {self.count} completions belong to a task of {self.args.tasks} "
                f"(its first id is {next(iter(tasks))!r})"
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


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def grade_file(args: EvalArguments) -> dict:
    """Grade existing completions, one result per input row and in its order -> the summary."""
    source, folder = open_input(args), Path(args.output_dir)
    doctor.require_free_disk(folder, MIN_FREE_GIB)
    RewardSet(None, args.rewards)  # a misspelt reward stops before anything is read
    recorded = recorded_judge(source) if args.reuse_verdicts else None
    surveyed = survey(source, args)
    RewardSet(None, args.rewards).require_columns(surveyed.columns, in_training=False)
    count, tasks_hash, is_plain = surveyed.count, surveyed.tasks, surveyed.is_plain
    system_prompt = task_sets.read_system_prompt(args.system_prompt)
    with ExitStack() as cleanup:
        judge = None if recorded else cleanup.enter_context(open_judge(args))
        rewards = RewardSet(judge, args.rewards, system_prompt, plain_rust=is_plain, cross_tests=False)
        if judge is not None and args.hidden_tests != "off":
            _tell_of_references([*source.tasks.values()], judge)
        made_by = source.path.parent / "run.json"  # of the evaluation whose results are graded again
        made = _read_json(made_by).get("protocol", {}) if source.path.name == "results.jsonl" and made_by.is_file() else {}
        protocol = {
            "tasks_hash": tasks_hash.hexdigest(),
            "n_tasks": len(tasks_hash.seen),
            "system_prompt_hash": made.get("system_prompt_hash"),
            "graded_with_prompt_hash": text_hash(system_prompt),  # whose example must not be copied
            "sampling": made.get("sampling"),
            "judge": judge_protocol(recorded or judge.describe()),
        }
        run = {"completions": source.path.name, "sha256": source.sha256(), "limit": args.limit, "rewards": rewards.weights}
        run |= {"completion_column": args.column("completion")}
        run |= {"plain_rust": True} if is_plain else {}
        run |= {} if source.began is None else {"trace": True, "reuse_verdicts": args.reuse_verdicts}
        cleanup.enter_context(open_folder(folder, protocol, run, [], asdict(args)))
        timings, results, partial = Timings(folder), folder / "results.jsonl", folder / "results.partial.jsonl"
        for written in (results, partial):
            if not args.reuse_verdicts:
                _grade_failed_again(written, source, args, rewards)
        if not results.exists():
            _grade_rows(source, count, args, rewards, timings)
            if not args.reuse_verdicts:
                _require_few_failed(partial, args)
            partial.replace(results)
        if not args.reuse_verdicts:
            cross_examine(results, args, rewards)
        described = recorded or judge.describe()
        return report(folder, args.k, args, {"judge": described, "timings": timings.by_row})


def _grade_rows(source: Input, count: int, args: EvalArguments, rewards: RewardSet, timings: Timings) -> None:
    """Append the graded rows that OUT/results.partial.jsonl still lacks."""
    partial = Path(args.output_dir) / "results.partial.jsonl"
    writer, watch = TraceWriter(partial), InfraWatch(args.max_infra_share)
    samples: Counter[tuple[str, str]] = Counter()
    n_done = 0
    for record in read_partial(partial):
        n_done += 1
        samples[record["row"], record["task_id"]] += 1
    rows = islice(source.rows(), n_done, args.limit)
    batch_size = RECORDED_BATCH if args.reuse_verdicts else judge_batch(rewards)
    batches = iter(lambda: list(islice(rows, batch_size)), [])
    for batch in progress(batches, count - n_done, "grading"):
        start = time.monotonic()
        read = [read_completion(where, row, args, source.tasks) for where, row in batch]
        if args.reuse_verdicts:
            graded = [recorded_again(where, row, task, rewards) for (where, row), (task, _, _) in zip(batch, read, strict=True)]
        else:
            graded = _graded_rows(rewards, read, source.tasks)
            watch.check(graded)
        records = []
        for g, (task, _, passed_through) in zip(graded, read, strict=True):
            row = input_row(passed_through, source)
            records.append(_input_record(g, task, passed_through, row, samples[row, task["task_id"]]))
            samples[row, task["task_id"]] += 1
        writer.write(records)
        timings.add("grading", grade_s=time.monotonic() - start, graded=len(batch))


def _paid_task(task: dict, passed_through: dict, known: dict[str, dict]) -> dict:
    """A row's task as reward functions see it: with the other columns of its row, and of its task in --tasks."""
    return {name: _as_json(value) for name, value in known.get(task["task_id"], {}).items()} | passed_through | task


def _graded_rows(rewards: RewardSet, read: Sequence[tuple[dict, str, dict]], known: dict[str, dict]) -> list[dict]:
    """Graded completions of what `read_completion` read, in order."""
    tasks = [_paid_task(task, passed_through, known) for task, _, passed_through in read]
    graded = grade_all(rewards, tasks, [completion for _, completion, _ in read])
    for record, (task, _, _) in zip(graded, read, strict=True):  # a results file has the row's columns beside ours
        record.pop("columns", None)
        others = {name: value for name, value in task.items() if name not in task_sets.TASK_COLUMNS}
        record |= {"columns": others} if others else {}
    return graded


def _input_record(graded: dict, task: dict, passed_through: dict, row: str, sample: int) -> dict:
    left = {name: value for name, value in passed_through.items() if name not in (*cross_results.FIELDS, "selected")}  # of another run
    return eval_record(graded, task, {"n_tokens": None, "finished": None} | left | {"row": row, "sample": sample})


def _grade_failed_again(written: Path, source: Input, args: EvalArguments, rewards: RewardSet) -> None:
    """Another try, in their places, for what the machine failed to grade when the file was written; nothing without any."""
    if not any(record["error_kind"] == "infra" for record in read_partial(written)):
        return
    temporary = written.with_suffix(".again")
    temporary.unlink(missing_ok=True)
    writer, pairs = TraceWriter(temporary), zip(source.rows(), read_partial(written), strict=False)
    for batch in iter(lambda: list(islice(pairs, RECORDED_BATCH)), []):
        records = [record for _, record in batch]
        failed = [i for i, record in enumerate(records) if record["error_kind"] == "infra"]
        read = [read_completion(*batch[i][0], args, source.tasks) for i in failed]
        graded = _graded_rows(rewards, read, source.tasks) if read else []
        for i, g, (task, _, passed_through) in zip(failed, graded, read, strict=True):
            records[i] = _input_record(g, task, passed_through, records[i]["row"], records[i]["sample"])
        writer.write(records)
    temporary.replace(written)


def _require_few_failed(written: Path, args: EvalArguments) -> None:
    """Raises EvalError when the machine failed to grade too much of what was written: then it does not count as finished."""
    watch = InfraWatch(args.max_infra_share)
    for record in read_partial(written):
        watch.count([record])
    watch.finish()


# ---------------------------------------------------------------------------------------------------------------------
# A training trace graded again: what other rewards, tests or rules would have said
# ---------------------------------------------------------------------------------------------------------------------


def recorded_judge(source: Input) -> dict:
    """The judge whose verdicts a trace holds, as its run.json describes it. Raises EvalError unless it has today's rules."""
    path = (source.path if source.path.is_dir() else source.path.parent) / "run.json"
    if not path.is_file():
        raise EvalError(f"--reuse_verdicts: no {path}, so nobody knows which judge gave the verdicts: leave the flag out")
    saved = _read_json(path)
    judges = [attempt.get("plan", {}).get("judge", {}) for attempt in saved.get("attempts") or [saved]]
    versions = {judge.get("judge_version") for judge in judges}
    if versions != {JUDGE_VERSION}:
        found = ", ".join(sorted(map(str, versions)))
        raise EvalError(
            f"--reuse_verdicts: the verdicts are by version {found} of the judge, this is version {JUDGE_VERSION}: leave the flag out"
        )
    return judges[-1]


def recorded_again(where: str, row: dict, task: dict, rewards: RewardSet) -> dict:
    """A traced completion as it is, paid by other weights. Raises EvalError when a reward function was not recorded."""
    absent = [name for name in rewards.weights if name not in row["rewards"]]
    if absent:
        raise EvalError(
            f"{where}: {', '.join(absent)} was not recorded, only {', '.join(row['rewards'])}: leave --reuse_verdicts out to grade again"
        )
    kept = {"n_asserts": 0, "diagnostics": [], "program": None} | {key: row[key] for key in RECORDED_FIELDS if key in row}
    paid = {name: row["rewards"][name] for name in rewards.weights}
    return kept | {
        "task_id": task["task_id"],
        "prompt": task["prompt"],
        "rewards": paid,
        "reward": weighted_sum(paid, rewards.weights),
    }


def traced_and_now(results: Path) -> tuple[dict, Counter, Counter]:
    """Read a graded-again trace -> (columns of what both graded, verdict changes by kind, what the machine failed to grade).

    Columns: `group`, `before`, `after` (rewards), and `before/NAME`, `after/NAME` for each reward function; NaN: no answer.
    """
    columns: dict[str, list] = {"group": [], "before": [], "after": []}
    kinds, infra, functions = Counter(), Counter(), {}
    pairs = []
    for record in read_jsonl(results):
        before = record["before"]
        failed = {"before": before["error_kind"] == "infra", "after": record["error_kind"] == "infra"}
        infra.update(when for when, is_failed in failed.items() if is_failed)
        if any(failed.values()):
            continue
        functions |= dict.fromkeys([*before["rewards"], *record["rewards"]])
        pairs.append((before["rewards"], record["rewards"]))
        columns["group"].append(record["group_id"])
        columns["before"].append(_or_nan(before["reward"]))
        columns["after"].append(_or_nan(record["reward"]))
        changes = verdict_changes(before, record)
        kinds.update([*changes, "any"] if changes else ())
    for name in functions:
        columns[f"before/{name}"] = [_or_nan(before.get(name)) for before, _ in pairs]
        columns[f"after/{name}"] = [_or_nan(after.get(name)) for _, after in pairs]
    return columns, kinds, infra


def _or_nan(value: Any) -> float:
    number = _number(value)
    return math.nan if number is None else round(float(number), REWARD_DIGITS)


def verdict_changes(before: dict, after: dict) -> list[str]:
    """`field: then -> now` for every verdict field that both know and in which they differ; hidden tests where both had some."""
    changes = []
    for name in ("build_passed", "clippy_passed", "test_passed", "honest_tests", "error_kind", "guard"):
        is_known = before[name] is not None or name in {"error_kind", "guard"}  # there null says something
        if is_known and before[name] != after[name]:
            changes.append(f"{name}: {json.dumps(before[name])} -> {json.dumps(after[name])}")
    if before["hidden_total"] and after["hidden_total"]:
        if before["hidden_total"] != after["hidden_total"]:
            changes.append("hidden_total: other hidden tests")
        elif before["hidden_passed"] != after["hidden_passed"]:
            changes.append(f"hidden_passed: {'fewer' if after['hidden_passed'] < before['hidden_passed'] else 'more'}")
    return changes


def compare_with_trace(results: Path) -> dict:
    """How rewards and groups changed, over the completions that both times were graded.

    Returns a dict for summary.json: `n`, `n_groups`, `n_infra` (before, after: left out), `reward` and `functions` (means before and
    after, null where there is none), `rank_correlation` (mean over groups of Spearman's rho of the rewards before and after;
    groups in which either is constant have none: `n_groups` says how many had), `best_changes` (share of groups none of whose
    best completions is among the best now), `best_set_changes` (share in which the set of best completions differs),
    `without_signal` (share of groups with equal rewards throughout, before and after), `verdict_changes` (`n` completions, `kinds`).
    Source of the rank correlation: Spearman 1904, average ranks for ties.
    """
    import pandas

    columns, kinds, infra = traced_and_now(results)
    frame = pandas.DataFrame(columns)
    mean = lambda name: round(float(frame[name].mean()), 6) if frame[name].notna().any() else None  # noqa: E731
    names = [name.removeprefix("before/") for name in frame.columns if name.startswith("before/")]
    paid = frame.dropna(subset=["before", "after"])
    groups = paid.groupby("group", sort=False)[["before", "after"]]
    spread = groups.nunique()
    ranks = groups.rank()
    centred = ranks - ranks.groupby(paid["group"], sort=False).transform("mean")
    variances = (centred**2).groupby(paid["group"], sort=False).sum()
    covariance = (centred["before"] * centred["after"]).groupby(paid["group"], sort=False).sum()
    rho = (covariance / variances.prod(axis=1) ** 0.5)[(spread > 1).all(axis=1)]
    best = paid[["before", "after"]] == groups.transform("max")
    shared = (best["before"] & best["after"]).groupby(paid["group"], sort=False).any()
    same_set = (best["before"] == best["after"]).groupby(paid["group"], sort=False).all()
    over_groups = lambda values: round(float(values.mean()), 6) if len(values) else None  # noqa: E731
    any_change = kinds.pop("any", 0)
    return {
        "n": len(frame),
        "n_groups": len(spread),
        "n_infra": {when: infra[when] for when in ("before", "after")},
        "reward": {when: mean(when) for when in ("before", "after")},
        "functions": {name: {when: mean(f"{when}/{name}") for when in ("before", "after")} for name in names},
        "rank_correlation": {"value": over_groups(rho), "n_groups": len(rho)},
        "best_changes": over_groups(~shared),
        "best_set_changes": over_groups(~same_set),
        "without_signal": {when: over_groups(spread[when] <= 1) for when in ("before", "after")},
        "verdict_changes": {"n": any_change, "kinds": dict(kinds.most_common())},
    }


def format_changes(changes: dict) -> str:
    """`compare_with_trace` as Markdown: then and now, then what it did to the groups."""
    number = lambda value: "-" if value is None else f"{value:.3f}"  # noqa: E731
    percent = lambda value: "-" if value is None else f"{100 * value:.1f}"  # noqa: E731
    rows = [[name, number(of["before"]), number(of["after"])] for name, of in changes["functions"].items()]
    rows.append(["reward", number(changes["reward"]["before"]), number(changes["reward"]["after"])])
    rows.append(["groups without signal, %", *(percent(changes["without_signal"][when]) for when in ("before", "after"))])
    rank, verdicts, infra = changes["rank_correlation"], changes["verdict_changes"], changes["n_infra"]
    notes = [
        f"rank correlation within groups (Spearman): {number(rank['value'])}, mean of {rank['n_groups']} with unequal rewards both times",
        f"groups none of whose best completions is among the best now: {percent(changes['best_changes'])} %; "
        f"groups whose set of best completions differs: {percent(changes['best_set_changes'])} %",
        f"completions whose verdict changed: {verdicts['n']} of {changes['n']}",
        *(f"  {kind}: {n}" for kind, n in verdicts["kinds"].items()),
    ]
    if any(infra.values()):
        notes.append(f"left out, the machine failed to grade them: {infra['before']} as traced, {infra['after']} now")
    title = f"Graded again, {changes['n']} completions in {changes['n_groups']} groups of the trace (means):"
    listed = "".join(f"  - {note.strip()}\n" if note.startswith(" ") else f"- {note}\n" for note in notes)
    return f"{title}\n\n{markdown_table(['', 'as traced', 'now'], rows)}\n\n{listed}"


# ---------------------------------------------------------------------------------------------------------------------
# Report
# ---------------------------------------------------------------------------------------------------------------------

TABLE = {  # metric -> heading
    "build": "build %",
    "clippy": "clippy %",
    "tests": "tests %",
    "honest_tests": "honest %",
    "tests_with_asserts": f"{MIN_ASSERTS}+ asserts %",
    "mean_length": "tokens",
    "picked": "picked right %",
}
LEGEND = f"""n: graded completions. tests: the completion's own tests pass; honest: and they are worth something;
{MIN_ASSERTS}+ asserts: and there are that many. pass@k: hidden tests. tokens: mean length of a completion.
[95 % interval, bootstrap over tasks]"""
NOTHING_WRONG = "nothing"  # of what went wrong: its own tests pass
SELF_TESTS = {
    "self_tests_precision": "passes own tests -> right %",
    "self_tests_recall": "right -> passes own tests %",
    "honest_tests_precision": "honest pass -> right %",
    "honest_tests_recall": "right -> honest pass %",
    "cross_tests_precision": "passes others' tests -> right %",
    "cross_tests_recall": "right -> passes others' tests %",
}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads well in a terminal too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    line = lambda cells: "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"  # noqa: E731
    return "\n".join([line(header), line(["-" * width for width in widths]), *(line(row) for row in rows)])


def _cell(metrics: dict, name: str, signed: bool = False) -> str:
    """`73.1 [70.2, 76.0]`, `-` where there is nothing to say."""
    if name not in metrics:
        return "-"
    scale = 1 if name in NOT_PERCENT else 100
    style = "+.1f" if signed else ".1f"
    value, low, high = (metrics[name][part] for part in ("value", "low", "high"))
    return f"{scale * value:{style}}" + (f" [{scale * low:{style}}, {scale * high:{style}}]" if low is not None else "")


def shown_columns(summary: dict) -> dict[str, str]:
    """Metric -> heading, for those that any row has."""
    ks = {name for row in summary["rows"] for name in row["metrics"] if name.startswith("pass@")}
    columns = TABLE | {name: f"{name} %" for name in sorted(ks, key=lambda name: int(name[5:]))}
    return {name: title for name, title in columns.items() if any(name in row["metrics"] for row in summary["rows"])}


KIND_TABLE = {"build": "build %", "edit_places": "places %", "mean_length": "tokens"}  # metric -> heading


def kinds_table(by_kind: dict[str, dict]) -> str:
    """A row for each kind and row of the results, and for each paired difference; `no program` counts what was refused, too."""
    metrics = {name for part in by_kind.values() for row in part["rows"] for name in row["metrics"]}
    ks = sorted((name for name in metrics if name.startswith("pass@")), key=lambda name: int(name[5:]))
    columns = {name: f"{name} %" for name in ks} | {name: title for name, title in KIND_TABLE.items() if name in metrics}
    body = []
    for kind, part in by_kind.items():
        for row in part["rows"]:
            none = f"{100 * row['error_kinds'].get('no_code', 0):.1f}"
            cells = [_cell(row["metrics"], name) for name in columns]
            body.append([kind, row["row"], str(row["n_tasks"]), str(row["n"]), *cells, none])
        for d in part["differences"]:
            cells = [_cell(d["metrics"], name, signed=True) for name in columns]
            body.append([kind, f"{d['row']} - {d['versus']}", str(d["n_tasks"]), "", *cells, ""])
    return markdown_table(["kind", "row", "tasks", "n", *columns.values(), "no program %"], body)


def format_tables(summary: dict) -> str:
    """The summary as Markdown: rates, differences, what went wrong, self tests against hidden tests."""
    rows, columns = summary["rows"], shown_columns(summary)
    blocks = [markdown_table(
        ["row", "tasks", "n", *columns.values()],
        [[row["row"], str(row["n_tasks"]), str(row["n"]), *(_cell(row["metrics"], name) for name in columns)] for row in rows],
    ) + "\n\n" + LEGEND]  # fmt: skip
    if "kinds" in summary:
        blocks.append("By kind of task:\n\n" + kinds_table(summary["kinds"]))
    if summary["differences"]:
        body = [
            [f"{d['row']} - {d['versus']}", str(d["n_tasks"]), *(_cell(d["metrics"], name, signed=True) for name in columns)]
            for d in summary["differences"]
        ]
        title = "Paired differences on the tasks that both have, in points:\n\n"
        blocks.append(title + markdown_table(["rows", "tasks", *columns.values()], body))
    kinds = sorted({kind for row in rows for kind in row["error_kinds"]}, key=lambda kind: (kind != "none", kind))
    body = [[row["row"], *(f"{100 * row['error_kinds'].get(kind, 0):.1f}" for kind in kinds)] for row in rows]
    titles = [NOTHING_WRONG if kind == "none" else kind for kind in kinds]
    blocks.append("What went wrong, % of completions:\n\n" + markdown_table(["row", *titles], body))
    body = [[row["row"], ", ".join(f"{code} {n}" for code, n in row["rustc_codes"].items()) or "-"] for row in rows]
    blocks.append("Most frequent compiler errors, completions that have them:\n\n" + markdown_table(["row", "rustc codes"], body))
    if any(name in row["metrics"] for row in rows for name in SELF_TESTS):
        titles = {name: title for name, title in SELF_TESTS.items() if "cross" not in name or any(name in row["metrics"] for row in rows)}
        body = [[row["row"], *(_cell(row["metrics"], name) for name in titles)] for row in rows]
        text = "Own tests as a judge of the code (right: every hidden test passes):\n\n"
        blocks.append(text + markdown_table(["row", *titles.values()], body))
    infra = [f"{row['row']}: {row['n_infra']}" for row in rows if row["n_infra"]]
    if infra:
        blocks.append(f"NOT GRADED, the machine failed (in no rate above): {', '.join(infra)}")
    if "repair" in summary:
        blocks.append(format_repair(summary["repair"]).rstrip())
    return "\n\n".join(blocks) + "\n"


SHORT = {  # metric -> label on the terminal, which has a row for each and explains itself
    "build": "build %",
    "clippy": "clippy %",
    "tests": "own tests pass %",
    "honest_tests": "honest tests %",
    "tests_with_asserts": f"{MIN_ASSERTS}+ asserts %",
    "mean_length": "tokens, mean",
    "picked": "picked by tests, right %",
}


def format_terminal(summary: dict, where: str | None) -> str:
    """The summary for a terminal of any width: a row for each metric, a column for each row of results and each difference.

    `where` is the file that has what is left out here, None when there is none.
    """
    rows, pairs = summary["rows"], summary["differences"]
    header = ["", *(row["row"] for row in rows), *(f"{d['row']} - {d['versus']}" for d in pairs)]
    body = [["tasks", *(str(one["n_tasks"]) for one in [*rows, *pairs])]]
    body.append(["completions", *(str(row["n"]) for row in rows), *("" for _ in pairs)])
    for name in shown_columns(summary):
        label = SHORT.get(name, f"hidden {name} %")
        cells = [*(_cell(row["metrics"], name) for row in rows), *(_cell(d["metrics"], name, signed=True) for d in pairs)]
        body.append([label, *cells])
    blocks = [console.side_by_side(header, body)]
    if "kinds" in summary:
        parts = summary["kinds"].items()
        body = [[k, *(_cell(row["metrics"], "pass@1") for row in part["rows"])] for k, part in parts if len(part["rows"]) == len(rows)]
        blocks.append(console.side_by_side(["pass@1 % by kind", *(row["row"] for row in rows)], body))
    notes = ["Honest: own tests that pass and are worth something.", "In brackets: 95 % interval, bootstrap over tasks."]
    notes += ["Differences are paired, in points."] if pairs else []
    blocks.append(textwrap.fill(" ".join(notes), console.width()))
    kinds = sorted({kind for row in rows for kind in row["error_kinds"]}, key=lambda kind: (kind != "none", kind))
    names = [NOTHING_WRONG if kind == "none" else kind for kind in kinds]
    body = [[n, *(f"{100 * row['error_kinds'].get(k, 0):.1f}" for row in rows)] for n, k in zip(names, kinds, strict=True)]
    blocks.append(console.side_by_side(["went wrong, %", *(row["row"] for row in rows)], body))
    more = f"{where}, or --all_tables" if where else "--all_tables"
    files = f"Compiler errors, own tests as a judge of the code: {more}"
    blocks.append(textwrap.fill(files, console.width(), break_on_hyphens=False, break_long_words=False))  # a path can be copied
    infra = [f"{row['row']}: {row['n_infra']}" for row in rows if row["n_infra"]]
    if infra:
        blocks.append(textwrap.fill(f"NOT GRADED, the machine failed (in no rate above): {', '.join(infra)}", console.width()))
    return "\n\n".join(blocks) + "\n"


def draw_chart(summary: dict, path: Path) -> None:
    """Bar chart with intervals: a group of bars per rate, a bar per row."""
    from matplotlib.figure import Figure

    rows = summary["rows"]
    columns = {name: title for name, title in shown_columns(summary).items() if name not in NOT_PERCENT}
    figure = Figure(figsize=(max(6.0, 1.5 * len(columns)), 4.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(rows)
    for i, row in enumerate(rows):
        bars = [(j, row["metrics"][name]) for j, name in enumerate(columns) if name in row["metrics"]]
        places = [j + (i - (len(rows) - 1) / 2) * width for j, _ in bars]
        heights = [100 * m["value"] for _, m in bars]
        below = [max(0.0, 100 * (m["value"] - m["low"])) for _, m in bars]
        above = [max(0.0, 100 * (m["high"] - m["value"])) for _, m in bars]
        axes.bar(places, heights, width, yerr=[below, above], capsize=3, label=f"{row['row']} (n={row['n']})")
    axes.set_xticks(range(len(columns)), [title.removesuffix(" %").replace(" ", "\n") for title in columns.values()])
    axes.set_ylabel("% of completions (95 % interval)")
    axes.set_ylim(0, 100)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=min(3, len(rows)))
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=150)


def write_parquet(results: Path, path: Path, batch_rows: int = 1024) -> None:
    """results.jsonl as parquet, row group by row group; nested and mixed values become JSON text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, set[type]] = {}
    for record in read_jsonl(results):
        for key, value in record.items():
            kinds.setdefault(key, set()).update(() if value is None else {_parquet_kind(value)})
    schema = pa.schema([(key, _type_of(found)) for key, found in kinds.items()])
    temporary = path.with_suffix(".parquet.tmp")
    with pq.ParquetWriter(temporary, schema) as writer:
        records = read_jsonl(results)
        while batch := list(islice(records, batch_rows)):
            cells = [
                [_parquet_value(record.get(column.name), column.type == pa.string()) for record in batch] for column in schema
            ]
            arrays = [pa.array(values, kind) for values, kind in zip(cells, schema.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    temporary.replace(path)


def _type_of(found: Set[type]) -> Any:
    """Arrow type of a column with values of these kinds; text for those that go together as nothing else."""
    import pyarrow as pa

    if found == {bool}:
        return pa.bool_()
    if found and found <= {int, LongInt}:
        return pa.int64()
    return pa.float64() if found and found <= {int, float} else pa.string()


class LongInt:
    """Kind of the whole numbers that a float cannot hold."""


def _parquet_kind(value: Any) -> type:
    """Type of a value that is not null; a whole number beyond 64 bits has to be text."""
    if isinstance(value, bool) or not isinstance(value, int):
        return type(value)
    return int if abs(value) <= 2**53 else LongInt if -(2**63) <= value < 2**63 else str


def _parquet_value(value: Any, as_text: bool) -> Any:
    """A JSON value as a parquet cell; lone surrogates, which parquet cannot hold, are replaced."""
    if value is None or not as_text:
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode("utf-8")


def summarise(stats: Sequence[RowStats], ks: Sequence[int], n_resamples: int) -> dict:
    """Rows and paired differences of a summary; `kinds` holds the same by kind where there is another than `write`."""
    metrics, differences = estimates(stats, ks, n_resamples)
    rows = [
        {
            "row": row.row,
            "n": row.n_graded,
            "n_tasks": len(row.per_task),
            "n_infra": row.n_infra,
            "metrics": values,
            "error_kinds": {kind: round(n / row.n_graded, 6) for kind, n in sorted(row.error_kinds.items())},
            "rustc_codes": dict(sorted(row.rustc_codes.items(), key=lambda item: (-item[1], item[0]))[:TOP_CODES]),
            "refused_passes": dict(sorted(row.guards.items(), key=lambda item: (-item[1], item[0]))),
            "tokens": {kind: row.tokens[kind] for kind in ("prompt", "completion")},
        }
        for row, values in zip(stats, metrics, strict=True)
    ]
    found = [kind for kind in (kinds.WRITE, *kinds.KINDS) if any(kind in row.kinds for row in stats)]
    of_kind = lambda kind: [row.kinds[kind] for row in stats if kind in row.kinds]  # noqa: E731
    by_kind = {kind: summarise(of_kind(kind), ks, n_resamples) for kind in found} if found not in ([], [kinds.WRITE]) else {}
    return {"rows": rows, "differences": differences} | ({"kinds": by_kind} if by_kind else {})


def row_stats(results: Path, prefix: str = "") -> list[RowStats]:
    """Statistics of every row of a results.jsonl, in order of appearance."""
    stats: dict[str, RowStats] = {}
    for record in read_jsonl(results):
        stats.setdefault(record["row"], RowStats(prefix + record["row"])).add_by_kind(record)
    return list(stats.values())


def summarise_repair(results: Path, ks: Sequence[int], n_resamples: int) -> dict[str, dict]:
    """Row -> rates of its first tries and of its last ones with their paired difference, and what became of compiler errors by code."""
    pairs: dict[str, tuple[RowStats, RowStats]] = {}
    for record in read_jsonl(results):
        first, last = pairs.setdefault(record["row"], (RowStats("first try"), RowStats("last try")))
        first.add(repair.first_try(record))
        last.add(record)
    codes = lambda row: repair.mended_by_code(record for record in read_jsonl(results) if record["row"] == row)  # noqa: E731
    return {row: summarise(pair, ks, n_resamples) | {"codes": codes(row)} for row, pair in pairs.items()}


def format_repair(by_row: dict[str, dict]) -> str:
    """`summarise_repair` as Markdown."""
    metrics = {name for part in by_row.values() for row in part["rows"] for name in row["metrics"]}
    columns = {"build": "build %", "honest_tests": "honest %"} | ({"pass@1": "pass@1 %"} if "pass@1" in metrics else {})
    body, codes = [], []
    for row, part in by_row.items():
        body += [[row, tries["row"], str(tries["n"]), *(_cell(tries["metrics"], name) for name in columns)] for tries in part["rows"]]
        body += [[row, "difference", "", *(_cell(d["metrics"], name, signed=True) for name in columns)] for d in part["differences"]]
        codes += repair.code_rows(row, part["codes"], TOP_CODES)
    tries = "A second try after cargo's message:\n\n" + markdown_table(["row", "", "n", *columns.values()], body)
    if not codes:
        return tries + "\n"
    header = ["row", "first error", "completions", "builds at last %", "solved at last %"]
    return f"{tries}\n\nCompiler errors of first tries and what became of them:\n\n{markdown_table(header, codes)}\n"


def report(folder: Path, ks: Sequence[int], args: EvalArguments, facts: dict) -> dict:
    """Write summary.json, table.md, chart.png and results.parquet from results.jsonl, and print the tables -> the summary."""
    stats = row_stats(folder / "results.jsonl")
    has_hidden = any(row.columns([])[2][:, list(METRICS).index("hidden_tests")].any() for row in stats if row.per_task)
    ks = sorted(set(ks)) or ([1] if has_hidden else [])
    if args.select == "cross" and has_hidden and not args.k:
        ks = sorted({1, min(int(count) for row in stats for count in row.samples() if count)})
    saved = _read_json(folder / "run.json")
    summary = {"schema_version": SCHEMA_VERSION, "n": sum(row.n_graded + row.n_infra for row in stats)}
    summary |= summarise(stats, ks, args.bootstrap_samples)
    summary |= {"run": saved["run"], "row_sources": saved["rows"], "protocol": saved["protocol"]}
    summary |= {
        "judge": facts["judge"],
        "versions": doctor.versions(),
        "timings": {r: with_speeds(t) for r, t in facts["timings"].items()},
    }
    if saved["protocol"].get("repair_turns"):
        summary["repair"] = summarise_repair(folder / "results.jsonl", ks, args.bootstrap_samples)
    if saved["run"].get("trace"):
        summary["graded_again"] = compare_with_trace(folder / "results.jsonl")
    _write_json(folder / "summary.json", summary)
    tables = format_tables(summary)
    if saved["run"].get("trace"):
        tables += "\n" + format_changes(summary["graded_again"])
    (folder / "table.md").write_text(tables, encoding="utf-8")
    if args.model or len(stats) > 1:
        draw_chart(summary, folder / "chart.png")
    write_parquet(folder / "results.jsonl", folder / "results.parquet")
    if "repair" in summary and not args.all_tables:
        more = f"\n{console.wrapped(format_repair(summary['repair']))}"
    else:
        more = ""
    changes = f"\n{console.wrapped(format_changes(summary['graded_again']))}" if saved["run"].get("trace") else ""
    print(tables if args.all_tables else format_terminal(summary, str(folder / "table.md")) + more + changes)
    for name, timing in summary["timings"].items():
        text = f"{name}: " + ", ".join(f"{key} {value:g}" for key, value in timing.items())
        print(textwrap.fill(text, console.width(), subsequent_indent="  ", break_long_words=False))
    print(f"Results: {folder}")
    return summary


def with_speeds(timing: dict) -> dict:
    """Seconds and counts of one row, with completions and tokens per second."""
    speeds = {}
    if timing.get("generate_s"):
        speeds["generated_per_s"] = round(timing["generated"] / timing["generate_s"], 2)
        speeds["tokens_per_s"] = round(timing["generated_tokens"] / timing["generate_s"], 1)
    if timing.get("grade_s"):
        speeds["graded_per_s"] = round(timing["graded"] / timing["grade_s"], 2)
    return timing | speeds


# ---------------------------------------------------------------------------------------------------------------------
# Compare saved results
# ---------------------------------------------------------------------------------------------------------------------


def compare(args: EvalArguments) -> dict:
    """Rows of several results folders side by side -> the summary. Raises EvalError when their protocols differ."""
    folders = [Path(folder) for folder in args.compare]
    if len(folders) < 2:
        raise EvalError("--compare needs at least two results folders")
    protocols = []
    for folder in folders:
        for name, file in (("run.json", folder / "run.json"), ("results.jsonl or results.jsonl.gz", saved_results(folder))):
            if not file.is_file():
                raise EvalError(f"--compare {folder}: no {name} in it; expected the --output_dir of a finished evaluation")
        protocols.append(_read_json(folder / "run.json")["protocol"])
    for folder, protocol in zip(folders[1:], protocols[1:], strict=True):
        differences = protocol_differences(protocol, protocols[0])
        if differences:
            raise EvalError(
                f"{folder} and {folders[0]} were not measured under one protocol ({'; '.join(differences)}): measure again"
            )
    stats = [row for folder in folders for row in row_stats(saved_results(folder))]
    if len({row.row for row in stats}) < len(stats):  # the same model twice: say which folder
        names = [folder.name for folder in folders]
        names = names if len(set(names)) == len(names) else args.compare
        pairs = zip(names, folders, strict=True)
        stats = [row for name, folder in pairs for row in row_stats(saved_results(folder), f"{name}: ")]
    fewest = min((int(count) for row in stats for count in row.samples() if count), default=0)
    if args.k and max(args.k) > fewest:
        raise EvalError(f"pass@{max(args.k)} needs at least {max(args.k)} graded samples per task with hidden tests, found {fewest}")
    ks = args.k or sorted({int(name[5:]) for folder in folders for name in _saved_metrics(folder) if name.startswith("pass@")})
    summary = {"schema_version": SCHEMA_VERSION, "compared": args.compare, "protocol": protocols[0]}
    summary |= summarise(stats, ks, args.bootstrap_samples)
    tables = format_tables(summary)
    if args.output_dir:
        out = Path(args.output_dir)
        if out.is_dir() and any(out.iterdir()):
            raise EvalError(f"--output_dir {out} is not empty: choose another one")
        out.mkdir(parents=True, exist_ok=True)
        _write_json(out / "summary.json", summary)
        (out / "table.md").write_text(tables, encoding="utf-8")
        draw_chart(summary, out / "chart.png")
    print(tables if args.all_tables else format_terminal(summary, str(Path(args.output_dir) / "table.md") if args.output_dir else None))
    return summary


def saved_results(folder: Path) -> Path:
    """results.jsonl of an evaluation's folder, or results.jsonl.gz where only that is there (as in `results/`)."""
    packed = folder / "results.jsonl.gz"
    return packed if packed.is_file() and not (folder / "results.jsonl").is_file() else folder / "results.jsonl"


def _saved_metrics(folder: Path) -> set[str]:
    path = folder / "summary.json"
    return {name for row in _read_json(path)["rows"] for name in row["metrics"]} if path.is_file() else set()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: exit status 0 when done, 2 when it cannot be done as asked, 130 when interrupted."""
    with ExitStack() as cleanup:
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is as clean as Ctrl-C
        cleanup.callback(signal.signal, signal.SIGTERM, previous)
        try:
            logs = cleanup.enter_context(console.LibraryLogs())
            args, sampling, backend = parse_arguments(argv)
            if args.compare:
                compare(args)
            elif args.completions:
                grade_file(args)
            else:
                evaluate_models(args, sampling, backend, logs)
        except KeyboardInterrupt:
            print("\nstopped; run the same command again to go on", file=sys.stderr)
            return 130
        except USER_ERRORS as error:
            is_full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
            hint = ": free some space and run the same command again; what was done is kept" if is_full else ""
            print(f"eval.py: {error}{hint}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
