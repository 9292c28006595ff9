"""A run -> one HTML file that needs no network: curves, config, result tables, and a browser of its completions.

    python plot_rewards.py runs/mine --html        # runs/mine/report.html; a results.jsonl of eval.py does too

Completions travel in gzipped blocks that the page (report/template.html, report/style.css, report/script.js) unpacks when they are
looked at. What models wrote reaches the page as text nodes only, and its Content-Security-Policy allows one script, ours.
Bounded: at most MAX_COMPLETIONS completions (whole steps, evenly spaced) and MAX_CHARACTERS of text; the page says what was
left out. Left out without a trace: columns that a task row passed through.
"""

import base64
import gzip
import hashlib
import html
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from string import Template

import kinds
from judge.program import code_blocks, extract_program
from report.overview import charts, config_sections, evaluation_tables, finite, first_and_last_step, iterations_table, logged_warnings
from traces import (
    OTHER_VERSION,
    UNREADABLE,
    TraceError,
    attempts_began,
    iter_counted,
    iter_parsed,
    load_trace,
    read_iterations,
    read_metrics,
    replacing,
    trace_files,
    why_left_out,
)

FOLDER = Path(__file__).resolve().parent
MAX_COMPLETIONS = 50_000
MAX_TEXT = 65_536  # characters of one text (prompt, completion, program)
MIN_TEXT = 1024
MAX_CHARACTERS = 400_000_000  # of all texts together: when there are more, long texts are cut shorter
BLOCK_COMPLETIONS = 500
BLOCK_CHARACTERS = 4_000_000
MAX_MESSAGES = 50  # compiler messages and tests of one completion
FLAGS = ("build_passed", "clippy_passed", "test_passed", "honest_tests")  # bit by bit, as report/script.js reads them
COLUMNS = ("step", "task", "group", "kind", "guard", "flags", "reward", "advantage", "tokens")


# -- Lines -> completions of known shape -------------------------------------------------------------------------------


def _text(value) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def completions_path(source: Path) -> Path | None:
    """Where a run's completions are: its trace, or else results.jsonl of an evaluation; None for a run that has none. Raises TraceError."""
    try:
        trace_files(source)
        return source
    except TraceError:
        results = [source / name for name in ("results.jsonl", "results.jsonl.gz") if (source / name).is_file()]
        if results:
            return results[0]
        if any((source / name).is_file() for name in ("metrics.jsonl", "run.json")):
            return None
        raise


def iter_evaluated(path: Path, left_out: Counter) -> Iterator[dict]:
    """Graded completions of an evaluation, which have no step; `left_out` counts the lines that are none, as in `iter_counted`."""
    for record in iter_parsed(path):
        why = why_left_out(record)
        if why == OTHER_VERSION or record is None or not {"completion", "reward"} & record.keys():
            left_out[why or UNREADABLE] += 1
        else:
            yield record


def time_key(record: dict) -> tuple:
    """What orders completions in time: the step of a training run, or the row's name of an evaluation (one of its models)."""
    step = record.get("step")
    if isinstance(step, int) and not isinstance(step, bool):
        return (0, step)
    return (1, _text(record.get("row")) or "evaluation")


def shown_program(record: dict) -> str | None:
    """The graded program; from the completion where the trace was published without it."""
    completion = record.get("completion")
    if "program" in record or not isinstance(completion, str):
        return _text(record.get("program"))
    tagged = [block.text for block in code_blocks(completion) if block.closed and block.tag == "rust"]
    if len(tagged) == 1:
        return tagged[0]  # lines are those of the program, which has a `fn main` below at most
    program = extract_program(completion)
    return program.source if program else None


def embedded(record: dict, longest: int) -> dict:
    """What the page shows of one completion when it is opened; every value of a known type, texts of at most `longest` characters."""
    cut = []

    def short(name: str, text: str | None) -> str | None:
        if text is None or len(text) <= longest:
            return text
        cut.append(f"The {name} has {len(text):,} characters; this report holds the first {longest:,}.")
        return text[:longest]

    found = record.get("diagnostics")
    diagnostics = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if len(diagnostics) > MAX_MESSAGES:
        cut.append(f"The compiler said {len(diagnostics)} things; this report holds the first {MAX_MESSAGES}.")
    tests = record["tests"] if isinstance(record.get("tests"), dict) else {}
    rewards = record["rewards"] if isinstance(record.get("rewards"), dict) else {}
    hidden = {name: finite(record.get(name)) for name in ("hidden_passed", "hidden_total", "clippy_warnings", "duration_s")}
    return hidden | {
        "prompt": short("prompt", _text(record.get("prompt"))),
        "completion": short("completion", _text(record.get("completion"))),
        "program": short("program", shown_program(record)),
        "diff": short("change", kinds.diff_of_record(record)),
        "diagnostics": [
            {
                "code": _text(one.get("code")),
                "level": _text(one.get("level")),
                "message": (_text(one.get("message")) or "")[:MIN_TEXT] or None,
                "line": one["line"] if type(one.get("line")) is int else None,
            }
            for one in diagnostics[:MAX_MESSAGES]
        ],
        "tests": {name[:MIN_TEXT]: (_text(result) or "")[:MIN_TEXT] for name, result in list(tests.items())[:MAX_MESSAGES]},
        "rewards": {name[:MIN_TEXT]: finite(paid) for name, paid in list(rewards.items())[:MAX_MESSAGES]},
        "cut": cut,
    }


# -- Which completions, and how much of each ---------------------------------------------------------------------------


class Survey:
    """First pass over a run: how many completions each step has, what a resumed run did again, how long the texts are."""

    def __init__(self, source: Path):
        self.counts, self.notes = Counter(), []
        self.path = completions_path(source)
        self._began = attempts_began(self.path) if self.path else {}
        self.steps: dict[tuple, int] = Counter()  # step or row -> completions that count
        lengths = Counter()  # texts by length, in units of MIN_TEXT
        for record in self.completions(self.counts):
            self.steps[time_key(record)] += 1
            for name in ("prompt", "completion", "program"):
                lengths[len(record[name] if isinstance(record.get(name), str) else "") // MIN_TEXT + 1] += 1
        self.kept, self.per_step = self._evenly_spaced()
        self.longest = self._longest(lengths)
        self.notes += [f"Lines of the trace that are not shown: {count:,} {why}." for why, count in self.counts.items()]

    def completions(self, left_out: Counter) -> Iterator[dict]:
        """Completions that count, in the order of writing: of a training run, or of an evaluation where no line is of a training run."""
        if self.path is None:
            return iter(())
        return iter_counted(self.path, left_out, self._began) if self._began else iter_evaluated(self.path, left_out)

    def _evenly_spaced(self) -> tuple[dict, int]:
        """Steps that go in -> 0, 1, ... in the order of time, and how many completions of each at most.

        All steps, or as many evenly spaced ones, the first and the last among them, as MAX_COMPLETIONS lets.
        """
        rows = [key for key in self.steps if key[0] == 1]  # an evaluation's models, in the order of writing
        order, total = sorted(self.steps.keys() - rows) + rows, self.steps.total()
        wanted = len(order)
        while wanted > 2 and sum(self.steps[key] for key in _spaced(order, wanted)) > MAX_COMPLETIONS:
            wanted -= max(1, wanted // 50)
        kept = {key: code for code, key in enumerate(_spaced(order, wanted))}
        per_step = MAX_COMPLETIONS // max(1, len(kept)) if sum(self.steps[key] for key in kept) > MAX_COMPLETIONS else MAX_COMPLETIONS
        if total > MAX_COMPLETIONS:
            inside = sum(min(per_step, self.steps[key]) for key in kept)
            self.notes.append(
                f"The run has {total:,} completions; {inside:,} of them, from {len(kept)} of {len(order)} steps evenly spaced, "
                f"can be browsed here, since a page holds at most {MAX_COMPLETIONS:,}. The curves cover all."
            )
        return kept, per_step

    def _longest(self, lengths: Counter) -> int:
        """Characters to keep of one text, so that all texts together stay below MAX_CHARACTERS."""
        longest = MAX_TEXT
        while longest > MIN_TEXT and sum(min(length * MIN_TEXT, longest) * count for length, count in lengths.items()) > MAX_CHARACTERS:
            longest //= 2
        return longest


def _spaced(order: list, wanted: int) -> list:
    """`wanted` of the entries, evenly spaced, the first and the last among them."""
    return [order[round(place * (len(order) - 1) / max(1, wanted - 1))] for place in range(wanted)]


class Codes(dict):
    """Distinct values -> 0, 1, 2, ... in the order of appearance; a column of them is short."""

    def __missing__(self, key) -> int:
        self[key] = len(self)
        return self[key]


def write_completions(survey: Survey, write) -> dict:
    """Second pass: hand every block of completions to `write` and return the columns of the index (COLUMNS, one value a completion)."""
    times, taken = survey.kept, Counter()
    tasks, kinds, guards, groups = Codes(), Codes(), Codes(), Codes()
    columns = {name: [] for name in COLUMNS}
    starts, pending, size, total = [], [], 0, 0

    def flush() -> None:
        nonlocal pending, size
        if pending:
            write(f"block-{len(starts)}", "[" + ",".join(pending) + "]")
            starts.append(total - len(pending))
        pending, size = [], 0

    for record in survey.completions(Counter()):
        key = time_key(record)
        if key not in survey.kept or taken[key] == survey.per_step:
            continue
        taken[key] += 1
        task = _text(record.get("task_id")) or "no task id"
        group = _text(record.get("group_id"))
        values = (
            times[key], tasks[task[:MIN_TEXT]], groups[key, group if group is not None else total], kinds[_short(record.get("error_kind"))],
            guards[_short(record.get("guard"))], sum(bool(record.get(name)) << bit for bit, name in enumerate(FLAGS)),
            finite(record.get("reward")), finite(record.get("advantage")), finite(record.get("n_tokens")),
        )  # fmt: skip
        for name, value in zip(COLUMNS, values, strict=True):
            columns[name].append(value)
        pending.append(json.dumps(embedded(record, survey.longest)))  # ASCII: halves of surrogate pairs stay escapes
        size += len(pending[-1])
        total += 1
        if len(pending) == BLOCK_COMPLETIONS or size > BLOCK_CHARACTERS:
            flush()
    flush()
    return {
        "steps": [name for _, name in times], "tasks": list(tasks), "kinds": list(kinds), "guards": list(guards), "blocks": starts,
        "columns": columns, "is_training": any(kind == 0 for kind, _ in times) or not times,
    }  # fmt: skip


def _short(value) -> str | None:
    text = _text(value)
    return text if text is None else text[:MIN_TEXT]


# -- The file ----------------------------------------------------------------------------------------------------------


def _loaded(source: Path, survey: Survey):
    """load_trace's frame of the run, or None when it has no training step (an evaluation, an empty trace)."""
    if not any(kind == 0 for kind, _ in survey.steps):
        return None
    try:
        return load_trace(source)
    except ValueError as error:  # TraceError, and what Arrow says to names that are no UTF-8
        survey.notes.append(f"No curves: {error}.")
        return None


def write_report(run: str | Path) -> Path:
    """Write report.html in a run folder (or beside a trace, or results.jsonl of an evaluation) and return its path.

    Raises:
        TraceError: Nothing there that could be shown.
        OSError: The file cannot be written; an earlier report is then left as it was.
    """
    source = Path(run)
    folder = source if source.is_dir() else source.parent
    survey = Survey(source)
    metrics = read_metrics(folder)
    if not survey.steps:
        if not metrics and not (source.is_dir() and (source / "run.json").is_file()):
            raise TraceError(
                f"{source} has nothing to show: no line of its trace is a graded completion, and there are no metrics.jsonl and no run.json"
            )
        survey.notes.append("The trace holds no graded completion: there is none to browse.")
    frame = _loaded(source, survey)
    is_run = frame is not None or not survey.steps
    iterations = read_iterations(folder) if is_run else []
    drawn = charts(frame, metrics if is_run else [], iterations)
    tables, notes = evaluation_tables(folder)
    config, config_notes = config_sections(folder)
    if survey.steps and frame is None:
        survey.notes.append("These are completions of an evaluation: they have no step and no advantage, so there are no curves.")
    output = folder / "report.html"
    head, tail = _page(f"{folder.resolve().name}: report")
    with replacing(output) as new, new.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(head)
        index = write_completions(survey, lambda name, text: file.write(_block(name, text)))
        index |= {
            "run": folder.resolve().name,
            "summary": f"completions: {survey.steps.total():,}, {'steps' if index['is_training'] else 'rows'}: {len(survey.steps):,}",
            "warnings": logged_warnings(metrics), "notes": [*survey.notes, *notes, *config_notes], "charts": drawn, "config": config,
            "tables": [*tables, *filter(None, [iterations_table(iterations), first_and_last_step(drawn)])],
        }  # fmt: skip
        file.write(_block("index", json.dumps(index)))
        file.write(tail)
    return output


def _block(name: str, text: str) -> str:
    """A data block of the page: base64 has no `<`, so nothing in it can end the element."""
    packed = gzip.compress(text.encode(), compresslevel=6, mtime=0)
    return f'<script type="application/octet-stream" id="{name}">{base64.b64encode(packed).decode()}</script>\n'


def _page(title: str) -> list[str]:
    """The page before and after its data."""
    script, style = ((FOLDER / name).read_text(encoding="utf-8") for name in ("script.js", "style.css"))

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    policy = (f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; base-uri 'none'; form-action 'none'; "
              "require-trusted-types-for 'script'; trusted-types 'none'")  # fmt: skip
    parts = (FOLDER / "template.html").read_text(encoding="utf-8").split("$blocks")
    return [Template(part).substitute(policy=policy, title=html.escape(title), style=style, script=script) for part in parts]
