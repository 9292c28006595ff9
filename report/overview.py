"""What the report says about a run as a whole: charts and tables as plain data, that report/script.js draws.

Nothing here reads a completion's text. Every function takes what there is: without a trace the charts come from
metrics.jsonl, without an evaluation or a run.json their part is left out, with a note.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from report.numbers import HIDDEN, RATES, evaluated, most_frequent, shares, with_hidden_share, without_signal
from traces import waited_s

TOP_KINDS = 6
SUMMARIES = (".", "..", "result", "../result", "before", "../before", "after", "../after")  # where a run's evaluations may lie
LOGGED = {  # chart -> its unit, and what metrics.jsonl logs for it, with its scale
    "completion length": ("tokens", {"mean": ("completions/mean_length", 1), "longest": ("completions/max_length", 1)}),
    "policy": ("", {"entropy": ("entropy", 1), "KL to the reference": ("kl", 1), "gradient norm": ("grad_norm", 1)}),
    "truncated completions": ("%", {"truncated": ("completions/clipped_ratio", 100)}),
    "time": (
        "seconds",
        {"generate": ("time/generate_s", 1), "grade": ("time/grade_s", 1), "train": ("time/train_s", 1), "wait": ("wait_s", 1)},
    ),
}
LOGGED_RATES = {name: (f"judge/{name}_rate", 100) for name in ("build", "clippy", "test")} | {"honest": ("judge/honest_test_rate", 100)}
INSTEAD_OF_TRACE = (("reward", "", {"reward": ("reward", 1)}), ("what cargo said", "%", LOGGED_RATES))


def finite(value) -> float | None:
    """Finite number, rounded to what a table shows; anything else is None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or math.isnan(value):
        return None
    return round(value, 4) if isinstance(value, float) else value


def charts(frame, metrics: list[dict], iterations: list[dict] = ()) -> list[dict]:
    """Charts of the page: {title, unit, steps, series: [{name, values, band?}]}, from the trace (or None), metrics.jsonl's steps and
    the evaluations inside the run (traces.read_iterations)."""
    metrics = [entry | {"wait_s": waited_s(entry)} for entry in metrics]
    drawn = _charts_of_trace(frame) if frame is not None else [_chart_of_metrics(*of, metrics) for of in INSTEAD_OF_TRACE]
    for unit, title in (("%", "evaluations inside the run"), ("", "KL to the reference, at evaluations")):
        found = [(name.removeprefix("eval "), values) for name, values, of in evaluated(iterations) if of == unit]
        series = [{"name": name, "values": list(map(finite, values))} for name, values in found]
        drawn.append({"title": title, "unit": unit, "steps": [row["step"] for row in iterations], "series": series})
    for title, (unit, keys) in LOGGED.items():
        drawn.append(_chart_of_metrics(title, unit, keys, metrics))
    return [chart for chart in drawn if chart and any(value is not None for one in chart["series"] for value in one["values"])]


def _charts_of_trace(frame) -> list[dict]:
    graded = with_hidden_share(frame[frame["error_kind"] != "infra"])
    paid = {name: name.removeprefix("reward/") for name in graded.columns if name.startswith("reward/")}
    rates = RATES | ({"hidden_share": HIDDEN} if graded["hidden_share"].notna().any() else {})
    drawn = [_means(graded, "reward", "", {"reward": "weighted sum"}, 1), _means(graded, "what cargo said", "%", rates, 100)]
    if paid:
        drawn.append(_means(graded, "each reward function", "", paid, 1))
    for title, column in (("what went wrong", "error_kind"), ("first rustc error", "error_code"), ("guard hits", "guard")):
        names = most_frequent(frame, column, TOP_KINDS)
        if names:
            table = 100 * shares(frame, column, names)
            drawn.append(_chart(title, "%", table.index, {name: table[name] for name in names}))
    lost = 100 * without_signal(frame)
    drawn.append(_chart("groups without signal (all rewards equal)", "%", lost.index, {"groups": lost}))
    return drawn


def _means(frame, title: str, unit: str, columns: dict, scale: float) -> dict:
    """Mean per step, and the half width of its 95 % interval: 1.96 x standard deviation of group means / sqrt(groups)."""
    values = frame[list(columns)].astype(float) * scale
    groups = values.groupby([frame["step"], frame["group_id"].astype(object)]).mean().groupby("step")
    half = 1.96 * groups.std() / groups.count() ** 0.5
    means = values.groupby(frame["step"]).mean()
    return _chart(
        title, unit, means.index, {columns[name]: means[name] for name in columns}, {columns[name]: half[name] for name in columns}
    )


def _chart(title: str, unit: str, steps, series: dict, bands: dict | None = None) -> dict:
    steps = [int(step) for step in steps]
    drawn = [{"name": str(name), "values": [finite(float(value)) for value in values]} for name, values in series.items()]
    for one in drawn:
        if bands:
            band = bands[one["name"]].reindex(steps)
            one["band"] = [finite(float(value)) for value in band]
    return {"title": title, "unit": unit, "steps": steps, "series": drawn}


def _chart_of_metrics(title: str, unit: str, keys: dict, metrics: list[dict]) -> dict | None:
    def scaled(entry: dict, key: str, scale: float) -> float | None:
        value = finite(entry.get(key))
        return None if value is None else round(value * scale, 4)

    series = [{"name": name, "values": [scaled(entry, key, scale) for entry in metrics]} for name, (key, scale) in keys.items()]
    series = [one for one in series if any(value is not None for value in one["values"])]
    return {"title": title, "unit": unit, "steps": [entry["step"] for entry in metrics], "series": series} if series else None


def first_and_last_step(drawn: list[dict]) -> dict | None:
    """Table of the first and the last step, a row per series of the charts of rewards and rates, which come first; "–": no value."""
    rows = []
    for chart in drawn[:3]:
        if chart["title"] not in ("reward", "what cargo said", "each reward function"):
            break
        is_percent = chart["unit"] == "%"
        for one in chart["series"]:
            if any(value is not None for value in one["values"]):
                first, last = one["values"][0], one["values"][-1]
                cells = ["–" if value is None else f"{value:.1f} %" if is_percent else f"{value:.3f}" for value in (first, last)]
                gain = "–" if first is None or last is None else f"{last - first:+.1f}" if is_percent else f"{last - first:+.3f}"
                rows.append([one["name"], *cells, gain])
    steps = drawn[0]["steps"] if drawn else []
    if not rows or len(steps) < 2:
        return None
    columns = ["", f"step {steps[0]}", f"step {steps[-1]}", "difference"]
    return {"title": "First and last step of training", "columns": columns, "rows": rows,
            "note": "Different prompts in every step: a step's mean is a noisy number."}  # fmt: skip


def iterations_table(iterations: list[dict]) -> dict | None:
    """Table of the evaluations inside the run, a row each: rates and KL, then what else was noted with them; "–": no value."""
    if not iterations:
        return None
    columns = [(f"{name.removeprefix('eval ')} {unit}".strip(), values) for name, values, unit in evaluated(iterations)]
    shown = {name.removeprefix("eval ") for name, _, _ in evaluated(iterations)} | {"step"}
    others = list(dict.fromkeys(key for row in iterations for key in row if key not in shown))
    columns += [(key, [row.get(key) for row in iterations]) for key in others]
    cells = [["–" if finite(value) is None else f"{finite(value):.4g}" for value in values] for _, values in columns]
    rows = [[str(row["step"]), *(column[place] for column in cells)] for place, row in enumerate(iterations)]
    return {"title": "Evaluations inside the run", "columns": ["step", *(name for name, _ in columns)], "rows": rows,
            "note": "Measured while it trained (iterations.jsonl), on tasks of their own."}  # fmt: skip


def evaluation_tables(run_dir: Path) -> tuple[list[dict], list[str]]:
    """Tables of the evaluations in, beside and above a run folder (summary.json), and notes on those that cannot be read.

    A comparison of several evaluations stands for the evaluations it compares.
    """
    tables, notes = [], []
    for place in SUMMARIES:
        path = run_dir / place / "summary.json"
        if not path.is_file():
            continue
        name = "this folder" if place == "." else place
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            tables.append((len(summary["rows"]), _evaluation(name, summary)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            notes.append(f"The evaluation in {name} is left out: its summary.json cannot be read ({type(error).__name__}).")
    compared = [table for rows, table in tables if rows > 1]
    return compared or [table for _, table in tables], notes


def _evaluation(name: str, summary: dict) -> dict:
    metrics = list(dict.fromkeys(metric for row in summary["rows"] for metric in row["metrics"]))

    def cell(row: dict, metric: str, sign: str = "") -> dict | str:
        found, scale = row["metrics"].get(metric), 1 if metric == "mean_length" else 100
        if not found or found.get("value") is None:
            return "–"
        value, low, high = (found.get(key) if found.get(key) is None else scale * found[key] for key in ("value", "low", "high"))
        return {"text": f"{value:{sign}.1f}", "range": None if low is None or high is None else f"[{low:{sign}.1f}, {high:{sign}.1f}]"}

    columns = [f"{row['row']} ({row['n']})" for row in summary["rows"]]
    pairs = summary.get("differences") or []
    rows = [[metric if metric == "mean_length" else f"{metric} %", *(cell(row, metric) for row in summary["rows"]),
             *(cell(pair, metric, "+") for pair in pairs)] for metric in metrics]  # fmt: skip
    columns += [f"{pair['row']} - {pair['versus']}" for pair in pairs]
    note = "In brackets: graded completions; below a number its 95 % interval, bootstrap over tasks. Differences are paired, in points."
    return {"title": f"Evaluation in {name}", "columns": ["", *columns], "rows": rows, "note": note}


def config_sections(run_dir: Path) -> tuple[list[dict], list[str]]:
    """run.json as sections {title, is_open, rows: [name, value]}, the plan first; notes when it is absent or unreadable."""
    path = run_dir / "run.json"
    if not path.is_file():
        return [], [f"No config: found no run.json in {run_dir.resolve().name}."]
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        config = run.get("config") or {}
        nested = {name: part for name, part in config.items() if isinstance(part, dict)}  # a section of train.py's command line each
        flat = {name: part for name, part in config.items() if name not in nested}
        plan = run.get("plan") or {}
        judge = plan.get("judge") if isinstance(plan, dict) else None  # a page of limits, which few open
        parts = {"plan": {name: part for name, part in plan.items() if name != "judge"}, "judge": judge, "config": flat, **nested}
        parts["versions"] = run.get("versions")
    except (OSError, ValueError, AttributeError) as error:
        return [], [f"No config: run.json cannot be read ({error})."]
    sections = [{"title": name, "is_open": name == "plan", "rows": list(_flat(part))} for name, part in parts.items() if part]
    rest = {name: part for name, part in run.items() if name not in {"plan", "config", "versions"}}
    return [*sections, {"title": "other", "is_open": False, "rows": list(_flat(rest))}], []


def _flat(value, name: str = "") -> Iterator[list[str]]:
    """Nested settings -> [dotted name, text] pairs."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield [name, value if isinstance(value, str) else json.dumps(value)]


def logged_warnings(metrics: list[dict]) -> list[str]:
    """Distinct warnings of metrics.jsonl, each with the steps that had it."""
    steps: dict[str, list[int]] = {}
    for entry in metrics:
        for text in entry["warnings"] if isinstance(entry.get("warnings"), list) else []:
            steps.setdefault(str(text), []).append(entry["step"])
    return [f"Step {found[0]}{f' to {found[-1]}' if len(found) > 1 else ''}: {text}" for text, found in steps.items()]
