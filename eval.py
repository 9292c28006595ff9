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
import json
import signal
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import console
import doctor
import kinds
import tasks as task_sets
from evaluation import cross_results
from evaluation.arguments import EvalArguments, parse_arguments
from evaluation.completions import Input, check_hidden_tests, input_row, load_tasks, open_input, paid_task, read_completion, survey
from evaluation.folders import (
    PARTIAL_FILES,
    EvalError,
    TasksHash,
    Timings,
    batch_protocol,
    judge_protocol,
    open_folder,
    protocol_differences,
    read_json,
    read_jsonl,
    read_partial,
    sampling_protocol,
    text_hash,
    write_json,
)
from evaluation.grading import InfraWatch, eval_record, grade_all, judge_batch, progress
from evaluation.metrics import (
    fewest_samples,
    ks_of,
    row_stats,
    summarise,
    summarise_repair,
)
from evaluation.parquet import write_parquet
from evaluation.tables import draw_chart, format_changes, format_repair, format_tables, format_terminal
from evaluation.traced_again import RECORDED_BATCH, compare_with_trace, recorded_again, recorded_judge
from generate import (
    BackendArguments,
    Completion,
    SamplingArguments,
    check_adapter_fits,
    check_prompts_fit,
    choose_backend,
    context_tokens,
    load_config,
    load_tokenizer,
    open_generator,
    resolve_adapter,
    tokenize,
    weights_hash,
)
from judge.errors import UserError, require_machine_s
from kinds import repair
from rewards import RewardSet, weighted_sum
from rust_tool import RustTool
from task_proof.faults import references_line, uncompiled_line
from traces import SCHEMA_VERSION, TraceWriter, replacing

MIN_FREE_GIB = 0.2  # 100,000 graded completions take about as much


# ---------------------------------------------------------------------------------------------------------------------
# Tasks and rows of a run that generates
# ---------------------------------------------------------------------------------------------------------------------


def load_eval_tasks(args: EvalArguments) -> list[dict]:
    """Tasks as asked for, their hidden tests checked. Raises EvalError or TaskError."""
    tasks = load_tasks(args, args.limit)
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
    return tasks


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

    def grade(self, row: str, rewards: RewardSet, watch: InfraWatch) -> None:
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
        with replacing(self.folder / "results.jsonl") as new:
            writer = TraceWriter(new)
            for row in complete:
                writer.write([records[key] for key in self.keys(row)])
        for name in PARTIAL_FILES:
            if len(complete) == len(rows):
                (self.folder / name).unlink(missing_ok=True)


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
    watch: InfraWatch, max_model_len: int | None,
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

        grade = lambda row=row: session.grade(row["row"], rewards, watch)
        n_too_long = repair.try_again(session, row, messages, args.repair_turns, answers, fits, grade)
        if n_too_long:
            print(f"note: {row['row']}: {n_too_long} conversations were too long for another try and stay as they are", file=sys.stderr)


def generate_and_grade(
    session: Session, rows: list[dict], args: EvalArguments, sampling: SamplingArguments, backend: BackendArguments, rewards: RewardSet,
    max_model_len: int | None,
) -> InfraWatch:  # fmt: skip
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


def open_judge(args: EvalArguments) -> RustTool:
    """The judge as configured. Raises ToolchainError or SandboxUnavailable."""
    return RustTool(**args.judge_options())


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
            max_model_len = min(longer, context_tokens(args.model) or longer)
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
        return report(folder, args, {"judge": described, "timings": session.timings.by_row})


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
    with replacing(results) as new:
        TraceWriter(new).write(records)


def _tell_of_references(tasks: Sequence[dict], judge: RustTool) -> None:
    """Say on stderr what share of the tasks no program may be able to pass, where references tell."""
    line = references_line(tasks, judge)
    if line is not None:
        print(f"note: {line}", file=sys.stderr)


# ---------------------------------------------------------------------------------------------------------------------
# Completions that already exist
# ---------------------------------------------------------------------------------------------------------------------


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
        made = read_json(made_by).get("protocol", {}) if source.path.name == "results.jsonl" and made_by.is_file() else {}
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
        return report(folder, args, {"judge": described, "timings": timings.by_row})


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


def _graded_rows(rewards: RewardSet, read: Sequence[tuple[dict, str, dict]], known: dict[str, dict]) -> list[dict]:
    """Graded completions of what `read_completion` read, in order."""
    tasks = [paid_task(task, passed_through, known) for task, _, passed_through in read]
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
    pairs = zip(source.rows(), read_partial(written), strict=False)
    with replacing(written) as new:
        writer = TraceWriter(new)
        for batch in iter(lambda: list(islice(pairs, RECORDED_BATCH)), []):
            records = [record for _, record in batch]
            failed = [i for i, record in enumerate(records) if record["error_kind"] == "infra"]
            read = [read_completion(*batch[i][0], args, source.tasks) for i in failed]
            graded = _graded_rows(rewards, read, source.tasks) if read else []
            for i, g, (task, _, passed_through) in zip(failed, graded, read, strict=True):
                records[i] = _input_record(g, task, passed_through, records[i]["row"], records[i]["sample"])
            writer.write(records)


def _require_few_failed(written: Path, args: EvalArguments) -> None:
    """Raises EvalError when the machine failed to grade too much of what was written: then it does not count as finished."""
    watch = InfraWatch(args.max_infra_share)
    for record in read_partial(written):
        watch.count([record])
    watch.finish()


# ---------------------------------------------------------------------------------------------------------------------
# Report
# ---------------------------------------------------------------------------------------------------------------------


def report(folder: Path, args: EvalArguments, facts: dict) -> dict:
    """Write summary.json, table.md, chart.png and results.parquet from results.jsonl, and print the tables -> the summary."""
    stats = row_stats(folder / "results.jsonl")
    fewest = fewest_samples(stats)
    ks = sorted(set(args.k or ())) or ([1] if fewest else [])
    if args.select == "cross" and fewest and not args.k:
        ks = sorted({1, fewest})
    saved = read_json(folder / "run.json")
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
    changes = ""
    if saved["run"].get("trace"):
        summary["graded_again"] = compare_with_trace(folder / "results.jsonl")
        changes = "\n" + format_changes(summary["graded_again"])
    write_json(folder / "summary.json", summary)
    tables = format_tables(summary) + changes
    (folder / "table.md").write_text(tables, encoding="utf-8")
    if args.model or len(stats) > 1:
        draw_chart(summary, folder / "chart.png")
    write_parquet(folder / "results.jsonl", folder / "results.parquet")
    repaired = "\n" + format_repair(summary["repair"]) if "repair" in summary else ""
    short = format_terminal(summary, str(folder / "table.md")) + console.wrapped(repaired) + console.wrapped(changes)
    print(tables if args.all_tables else short)
    for name, timing in summary["timings"].items():
        text = f"{name}: " + ", ".join(f"{key} {value:g}" for key, value in timing.items())
        print(textwrap.fill(text, console.width(), subsequent_indent="  ", break_long_words=False))
    if line := uncompiled_line(read_jsonl(folder / "results.jsonl")):
        print(console.wrapped(f"note: {line}"), file=sys.stderr)
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
    if args.output_dir:
        out = Path(args.output_dir)
        doctor.require_free_disk(out, MIN_FREE_GIB)
        if out.is_dir() and any(out.iterdir()):
            raise EvalError(f"--output_dir {out} is not empty: choose another one")
    protocols = []
    for folder in folders:
        for name, file in (("run.json", folder / "run.json"), ("results.jsonl or results.jsonl.gz", saved_results(folder))):
            if not file.is_file():
                raise EvalError(f"--compare {folder}: no {name} in it; expected the --output_dir of a finished evaluation")
        protocols.append(read_json(folder / "run.json")["protocol"])
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
    fewest = fewest_samples(stats)
    if args.k and max(args.k) > fewest:
        raise EvalError(f"pass@{max(args.k)} needs at least {max(args.k)} graded samples per task with hidden tests, found {fewest}")
    ks = args.k or ks_of(row for folder in folders for row in _saved_rows(folder))
    summary = {"schema_version": SCHEMA_VERSION, "compared": args.compare, "protocol": protocols[0]}
    summary |= summarise(stats, ks, args.bootstrap_samples)
    tables = format_tables(summary)
    if args.output_dir:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "summary.json", summary)
        (out / "table.md").write_text(tables, encoding="utf-8")
        draw_chart(summary, out / "chart.png")
    print(tables if args.all_tables else format_terminal(summary, str(Path(args.output_dir) / "table.md") if args.output_dir else None))
    return summary


def saved_results(folder: Path) -> Path:
    """results.jsonl of an evaluation's folder, or results.jsonl.gz where only that is there (as in `results/`)."""
    packed = folder / "results.jsonl.gz"
    return packed if packed.is_file() and not (folder / "results.jsonl").is_file() else folder / "results.jsonl"


def _saved_rows(folder: Path) -> list[dict]:
    path = folder / "summary.json"
    return read_json(path)["rows"] if path.is_file() else []


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
        except UserError as error:
            print(f"eval.py: {error}", file=sys.stderr)
            return 2
        except OSError as error:
            require_machine_s(error)
            is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            hint = ": free some space and run the same command again; what was done is kept" if is_full else ""
            print(f"eval.py: {error}{hint}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
