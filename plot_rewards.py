"""Trace of one or more runs -> pictures: rewards and cargo rates, and everything else that shows how a run went.

    python plot_rewards.py runs/my-run                        # rewards.png and details.png in the run folder
    python plot_rewards.py runs/a runs/b --output both.svg    # overlaid: both.svg and both-details.svg
    python plot_rewards.py runs/my-run --follow               # a terminal view of a run in progress
    python plot_rewards.py runs/my-run --html                 # report.html in the run folder: curves, config, every completion

Lines of steps that a resumed run did again are left out, and so is what the machine failed to grade (`infra`). Lines that
cannot be read (the half-written last one of a run in progress) are counted and skipped. The bands are 95 % intervals of the
rolling mean, from the spread of group means (completions of one prompt are not independent).
"""

import argparse
import sys
import time
from pathlib import Path

import console
from report.numbers import (
    HIDDEN,
    RATES,
    evaluated,
    most_frequent,
    rolling_band,
    rolling_mean,
    shares,
    with_hidden_share,
    without_signal,
)
from traces import TraceError, load_trace, read_iterations, read_metrics, waited_s

STYLES = ("-", "--", ":", "-.")
# Told apart with any colour vision: Okabe and Ito 2008, without their yellow, which does not show on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5f5f5f")
MOST_LINES = 6  # named in one panel
FOLLOW_EVERY_S = 2.0


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


def plot(frames: dict, output: Path, window: int) -> None:
    """Draw rewards (left) and rates (right) of every run, one line style a run, and write `output` (PNG or SVG).

    frames: run name -> what load_trace returns. window: completions in the rolling average.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    named: set[str] = set()  # in the legend: a colour means the same in every run
    functions, n_functions = moved_most(frames, window)
    for run, frame in enumerate(frames.values()):
        style, graded = STYLES[run % len(STYLES)], with_hidden_share(frame[frame["error_kind"] != "infra"])

        def draw(axes, column, title, scale=1.0, graded=graded, style=style, **look):
            mean = scale * rolling_mean(graded[column], window)
            axes.plot(mean, style, label=None if title in named else title, **look)
            named.add(title)
            band = scale * rolling_band(graded, column, window)
            axes.fill_between(mean.index, mean - band, mean + band, color=look["color"], alpha=0.12, linewidth=0)

        draw(left, "reward", "weighted sum", color="black", linewidth=2)
        for number, column in enumerate(functions):
            if column in graded:
                draw(left, column, column.removeprefix("reward/"), color=PALETTE[number], alpha=0.8)
        rates = RATES | ({"hidden_share": HIDDEN} if graded["hidden_share"].notna().any() else {})
        for number, (column, title) in enumerate(rates.items()):
            draw(right, column, title, scale=100, color=PALETTE[number])
    if len(frames) > 1:
        runs = [Line2D([], [], linestyle=STYLES[run % len(STYLES)], color="black") for run in range(len(frames))]
        figure.legend(runs, [f"run {label[-40:]}" for label in frames], loc="outside upper center", ncols=len(frames))
    left_out = f" (of {n_functions} functions the {len(functions)} that moved most)" if n_functions > len(functions) else ""
    left.set(title=f"rewards{left_out}", xlabel="completions", ylabel=f"mean of the last {window}")
    right.set(title="what cargo said", xlabel="completions", ylabel=f"% of the last {window}", ylim=(0, 100))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    figure.savefig(output, dpi=130)


def moved_most(frames: dict, window: int) -> tuple[list[str], int]:
    """Reward columns to draw, in the order of the trace: those whose rolling mean has the widest range -> (columns, how many there are)."""
    ranges: dict[str, float] = {}
    for frame in frames.values():
        for column in (name for name in frame.columns if name.startswith("reward/")):
            mean = rolling_mean(frame[column], window).dropna()
            ranges[column] = max(ranges.get(column, 0.0), float(mean.max() - mean.min()) if len(mean) else 0.0)
    chosen = sorted(ranges, key=lambda column: -ranges[column])[: MOST_LINES - 1]  # beside the weighted sum
    return [column for column in ranges if column in chosen], len(ranges)


def plot_details(frames: dict, metrics: dict, output: Path) -> None:
    """Draw what else shows how runs went, per step, and write `output` (PNG or SVG).

    First row, runs overlaid: length, groups without signal and truncated completions, entropy and KL, reward spread in
    a group. Then a row per run: seconds per step by phase, error kinds, rustc error codes, guard hits.
    frames: run name -> load_trace's frame. metrics: run name -> read_metrics' list (may be empty: then those are left out).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(20, 4.2 * (1 + len(frames))), layout="constrained")
    axes = figure.subplots(1 + len(frames), 4, squeeze=False)
    for run, (label, frame) in enumerate(frames.items()):
        is_only = len(frames) == 1
        _draw_overlaid(axes[0], frame, metrics.get(label) or [], STYLES[run % len(STYLES)], "" if is_only else f" ({label[-30:]})")
        _draw_own_row(axes[1 + run], frame, metrics.get(label) or [], "" if is_only else f"{label[-40:]}: ")
    for one in axes.flat:
        one.set_xlabel("step")
        one.grid(alpha=0.3)
        if one.get_legend_handles_labels()[0]:
            one.legend(fontsize=7)
        elif not one.has_data():
            one.text(0.5, 0.5, "nothing recorded", ha="center", transform=one.transAxes, color="grey")
    figure.savefig(output, dpi=110)


def _draw_overlaid(axes, frame, metrics: list[dict], style: str, suffix: str) -> None:
    length, signal, policy, spread = axes
    by_step = frame.groupby("step")
    length.plot(by_step["n_tokens"].mean(), style, color=PALETTE[0], label=f"mean{suffix}")
    length.plot(by_step["n_tokens"].quantile(0.9), style, color=PALETTE[1], label=f"90th percentile{suffix}", alpha=0.7)
    length.set(title="completion length", ylabel="tokens")
    signal.plot(100 * without_signal(frame), style, color=PALETTE[1], label=f"groups without signal{suffix}")
    draw_logged(signal, metrics, "completions/clipped_ratio", style, f"truncated completions{suffix}", color=PALETTE[0], scale=100)
    signal.set(title="lost signal", ylabel="%", ylim=(0, 100))
    for number, (key, title) in enumerate({"entropy": "entropy", "kl": "KL to the reference", "grad_norm": "gradient norm"}.items()):
        draw_logged(policy, metrics, key, style, f"{title}{suffix}", color=PALETTE[number])
    policy.set(title="policy")
    inside = frame.groupby(["step", "group_id"], observed=True)["reward"].std(ddof=0).groupby("step").mean()
    spread.plot(inside, style, color=PALETTE[0], label=f"mean standard deviation{suffix}")
    spread.set(title="reward inside a group", ylabel="reward")


def draw_logged(axes, metrics: list[dict], key: str, style: str, label: str, color: str, scale: float = 1.0) -> None:
    """Line of one logged metric over steps; nothing when the run did not log it."""
    points = [(entry["step"], scale * entry[key]) for entry in metrics if isinstance(entry.get(key), (int, float))]
    if points:
        axes.plot(*zip(*points, strict=True), style, label=label, color=color)


def phases_s(entry: dict) -> dict[str, float]:
    """Seconds of a step by phase, together the whole of it: what is graded while others are sampled shows as the wait that is left."""
    waited = waited_s(entry)
    middle = {"grade": entry.get("time/grade_s")} if waited is None else {"wait": waited}
    phases = {"generate": entry.get("time/generate_s"), **middle, "train": entry.get("time/train_s")}
    known = all(isinstance(value, (int, float)) for value in phases.values())
    return {name: max(0.0, value) for name, value in phases.items()} if known else {}


def _draw_own_row(axes, frame, metrics: list[dict], prefix: str) -> None:
    seconds, kinds, codes, guards = axes
    timed = [(entry["step"], phases_s(entry)) for entry in metrics if phases_s(entry)]
    names = list(dict.fromkeys(name for _, phases in timed for name in phases))
    if timed:
        stacked = [[phases.get(name, 0.0) for _, phases in timed] for name in names]
        seconds.stackplot([step for step, _ in timed], stacked, labels=names, colors=PALETTE)
    seconds.set(title=f"{prefix}seconds per step")
    for target, column, title in (
        (kinds, "error_kind", "what went wrong, % of completions"),
        (codes, "error_code", "first rustc error, % of completions"),
    ):
        names = most_frequent(frame, column, MOST_LINES)
        if names:
            table = 100 * shares(frame, column, names)
            target.stackplot(table.index, table.T.to_numpy(), labels=names, colors=PALETTE)
        target.set(title=prefix + title)
    table = 100 * shares(frame, "guard", most_frequent(frame, "guard", MOST_LINES))
    for number, name in enumerate(table.columns):
        guards.plot(table[name], label=name, color=PALETTE[number])
    guards.set(title=f"{prefix}guard hits, % of completions")


# ---------------------------------------------------------------------------------------------------------------------
# A run in progress
# ---------------------------------------------------------------------------------------------------------------------


def sparkline(values: list[float], width: int = 40) -> str:
    """Values as a row of bars, the lowest empty and the highest full; the last `width` of them."""
    bars = " ▁▂▃▄▅▆▇█"
    values = [value for value in values if value is not None][-width:]
    low, high = min(values, default=0.0), max(values, default=0.0)
    return "".join(bars[round((value - low) / (high - low) * 8)] if high > low else bars[4] for value in values)


def followed_table(run_dir: Path, metrics: list[dict]):
    """rich table of the latest step and a sparkline over steps, a row per metric that a person watches."""
    from rich.table import Table
    from rich.text import Text

    rows = {
        "reward": ("reward", 1, "{:.2f}"),
        "build": ("judge/build_rate", 100, "{:.0f} %"),
        "clippy": ("judge/clippy_rate", 100, "{:.0f} %"),
        "tests (raw)": ("judge/test_rate", 100, "{:.0f} %"),
        "honest tests": ("judge/honest_test_rate", 100, "{:.0f} %"),
        "hidden tests": ("judge/hidden_test_share", 100, "{:.0f} %"),
        "tokens": ("completions/mean_length", 1, "{:.0f}"),
        "truncated": ("completions/clipped_ratio", 100, "{:.0f} %"),
        "no signal": ("frac_reward_zero_std", 100, "{:.0f} %"),
        "entropy": ("entropy", 1, "{:.3f}"),
        "generate": ("time/generate_s", 1, "{:.1f} s"),
        "grade": ("time/grade_s", 1, "{:.1f} s"),
        "train": ("time/train_s", 1, "{:.1f} s"),
    }
    last = metrics[-1] if metrics else {}
    # the step first, in one line: a long path is cut off, and square brackets in it are no markup
    title = Text(f"step {last.get('step', '-')} of {run_dir}", no_wrap=True, overflow="ellipsis")
    table = Table(title=title, title_justify="left")
    for column, side in (("", "left"), ("now", "right"), ("first", "right"), ("over the steps", "left")):
        table.add_column(column, justify=side)
    for title, (key, scale, form) in rows.items():
        values = [entry[key] for entry in metrics if isinstance(entry.get(key), (int, float))]
        if values:
            table.add_row(title, form.format(scale * values[-1]), form.format(scale * values[0]), sparkline(values))
    for title, values, unit in [("waited", [waited_s(entry) for entry in metrics], "s"), *evaluated(read_iterations(run_dir))]:
        values = [value for value in values if value is not None]
        if values:
            table.add_row(title, *(f"{value:.3g} {unit}".rstrip() for value in (values[-1], values[0])), sparkline(values))
    for warning in last.get("warnings") or []:
        table.add_row("[bold red]warning", "", "", Text(warning))
    return table


def follow(run_dir: Path, stop_after_s: float | None = None) -> None:
    """Redraw the terminal view of a run every FOLLOW_EVERY_S seconds, until Ctrl-C. Raises TraceError: no such folder."""
    from rich.live import Live

    if not run_dir.is_dir():
        raise TraceError(f"{run_dir} is not a folder: --follow needs the run folder of train.py")
    started = time.monotonic()
    with Live(followed_table(run_dir, read_metrics(run_dir)), refresh_per_second=4) as live:
        while stop_after_s is None or time.monotonic() - started < stop_after_s:
            live.update(followed_table(run_dir, read_metrics(run_dir)))
            time.sleep(FOLLOW_EVERY_S)


# ---------------------------------------------------------------------------------------------------------------------
# Command
# ---------------------------------------------------------------------------------------------------------------------


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = console.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("run_dirs", nargs="+", type=Path, help="run folders (or trace files)")
    parser.add_argument("--output", type=Path, help="picture to write, .png or .svg (default: rewards.png in the first run folder)")
    parser.add_argument("--window", type=int, default=256, help="completions in the rolling average")
    parser.add_argument("--follow", action="store_true", help="redraw a terminal view of a run in progress until Ctrl-C")
    parser.add_argument("--html", action="store_true", help="write report.html in every run folder instead of pictures")
    arguments = parser.parse_args(argv)
    parser.require_counts(arguments, "window")
    if arguments.output and arguments.output.suffix not in {".png", ".svg", ".pdf"}:
        parser.error(f"--output {arguments.output}: expected a name ending in .png, .svg or .pdf")
    if arguments.follow and len(arguments.run_dirs) > 1:
        parser.error(f"--follow shows one run, found {len(arguments.run_dirs)}: start it once for each")
    if arguments.output and (arguments.html or arguments.follow):
        other = "--html writes report.html into every run folder" if arguments.html else "--follow draws in the terminal"
        parser.error(f"--output {arguments.output} is for pictures, and {other}: leave one of the two out")
    if arguments.html and arguments.follow:
        parser.error("--html writes a file, --follow draws in the terminal: leave one of the two out")
    return arguments


def run_labels(run_dirs: list[Path]) -> list[str]:
    """A name per run: the folder's, or its whole path where two are called the same."""
    names = [run_dir.resolve().name for run_dir in run_dirs]
    return names if len(set(names)) == len(names) else list(map(str, run_dirs))


def what_was_skipped(frame) -> str:
    """`, 2 unreadable lines skipped`, or nothing when the whole trace was read."""
    parts = [f"{frame.attrs[key]} {title}" for key, title in
             (("unreadable_lines", "unreadable lines skipped"), ("other_versions", "lines of another schema version skipped"))
             if frame.attrs[key]]  # fmt: skip
    return "".join(f", {part}" for part in parts)


def write_reports(run_dirs: list[Path]) -> int:
    """report.html of every run; -> exit status, 2 when one of them could not be written (the others are)."""
    from report.page import write_report

    status = 0
    for run_dir in run_dirs:
        try:
            with console.waiting(f"reading {run_dir} for its report"):
                output = write_report(run_dir)
            print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, opens in any browser")
        except TraceError as error:
            print(f"plot_rewards.py: {error}", file=sys.stderr)
            status = 2
        except OSError as error:
            print(f"plot_rewards.py: cannot write the report of {run_dir} ({error.strerror or error})", file=sys.stderr)
            status = 2
    return status


def main(argv: list[str] | None = None) -> int:
    """-> exit status: 0 done, 2 cannot work as asked."""
    arguments = parse_arguments(argv)
    if arguments.html:
        return write_reports(arguments.run_dirs)
    try:
        if arguments.follow:
            if arguments.run_dirs[0].is_dir() and not sys.stdout.isatty():
                raise TraceError("--follow redraws a terminal, and what it prints goes elsewhere: read metrics.jsonl there")
            follow(arguments.run_dirs[0])
            return 0
        labels = run_labels(arguments.run_dirs)
        with console.waiting(f"reading {', '.join(map(str, arguments.run_dirs))}"):
            frames = {label: load_trace(run_dir) for label, run_dir in zip(labels, arguments.run_dirs, strict=True)}
    except TraceError as error:
        print(f"plot_rewards.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    first = arguments.run_dirs[0]
    output = arguments.output or (first if first.is_dir() else first.parent) / "rewards.png"
    details = output.with_name(f"{output.stem}-details{output.suffix}" if arguments.output else "details.png")
    window = min(arguments.window, *(max(1, len(frame) // 2) for frame in frames.values()))
    metrics = {label: read_metrics(run_dir) for label, run_dir in zip(labels, arguments.run_dirs, strict=True)}
    try:
        with console.waiting(f"drawing {output} and {details.name}"):
            plot(frames, output, window)
            plot_details(frames, metrics, details)
    except OSError as error:
        print(f"plot_rewards.py: cannot write {output} ({error.strerror})", file=sys.stderr)
        return 2
    for name, frame in frames.items():
        print(f"{output}, {details.name}: {name}, {len(frame)} completions{what_was_skipped(frame)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
