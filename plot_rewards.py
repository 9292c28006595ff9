"""Trace of one or more runs -> one picture: rolling averages of every reward and of the cargo rates over completions.

    python plot_rewards.py runs/my-run                      # writes runs/my-run/rewards.png
    python plot_rewards.py runs/a runs/b --output both.png --window 512

Lines of steps that a resumed run did again are left out, and so is what the machine failed to grade (`infra`). Lines that
cannot be read (the half-written last one of a run in progress) are counted and skipped.
"""

import argparse
import json
import sys
from pathlib import Path

RATES = {
    "build_passed": "cargo build",
    "clippy_passed": "cargo clippy (exit code)",
    "test_passed": "cargo test (raw)",
    "honest_pass": "honest tests",
}
COLUMNS = ("step", "attempt", "rank", "reward", "advantage", "error_kind", "guard", "n_tokens", *list(RATES)[:-1])


class TraceError(ValueError):
    """The folder holds no readable trace; the message is one sentence for the user."""


def trace_files(run_dir: Path) -> list[Path]:
    """trace.jsonl and trace.rankN.jsonl of a run, or the file itself. Raises TraceError."""
    if run_dir.is_file():
        return [run_dir]
    files = sorted(run_dir.glob("trace*.jsonl"))
    if not files:
        raise TraceError(f"{run_dir} is not a run folder: found no trace*.jsonl in it")
    return files


def read_records(run_dir: Path) -> tuple[list[dict], int]:
    """(flat records: COLUMNS and one `reward/NAME` per function, in the order of writing; lines that could not be read)."""
    records, unreadable = [], 0
    for file in trace_files(run_dir):
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    graded = json.loads(line)
                    record = {column: graded[column] for column in COLUMNS}
                    record["honest_pass"] = graded["test_passed"] and graded["honest_tests"]
                    record |= {f"reward/{name}": value for name, value in graded["rewards"].items()}
                except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
                    unreadable += 1
                else:
                    records.append(record)
    return records, unreadable


def load_trace(run_dir: Path):
    """Trace of a run -> pandas.DataFrame, a row per graded completion, by step; what a resume did again is left out.

    Raises:
        TraceError: No trace file, or no complete line in it. `attrs["unreadable_lines"]` counts what was skipped.
    """
    import pandas as pd

    records, unreadable = read_records(Path(run_dir))
    frame = pd.DataFrame(records)
    if frame.empty:
        raise TraceError(f"the trace of {run_dir} holds no complete line of a training run ({unreadable} lines could not be read)")
    frame.attrs["unreadable_lines"] = unreadable
    # attempt a's step s is superseded when a later attempt began at or before s
    first_step = frame.groupby("attempt")["step"].min()
    began_later = {a: min((s for b, s in first_step.items() if b > a), default=float("inf")) for a in first_step.index}
    frame = frame[frame["step"] < frame["attempt"].map(began_later)]
    return frame.sort_values("step", kind="stable").reset_index(drop=True)


def plot(frames: dict, output: Path, window: int) -> None:
    """Draw rewards (left) and rates (right) of every run, one line style a run, and write `output` (PNG or SVG)."""
    import matplotlib

    matplotlib.use("Agg")  # works without a display
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6), constrained_layout=True)
    styles = ["-", "--", ":", "-."]
    for run, (label, frame) in enumerate(frames.items()):
        style, graded = styles[run % len(styles)], frame[frame["error_kind"] != "infra"]

        def draw(axes, column, title, scale=1.0, graded=graded, style=style, is_first=run == 0, **look):
            mean = scale * graded[column].astype(float).rolling(window, min_periods=max(1, window // 4)).mean()
            axes.plot(mean, style, label=title if is_first else None, **look)  # colours mean the same in every run

        draw(left, "reward", "weighted sum", color="black", linewidth=2)
        for number, column in enumerate(name for name in graded.columns if name.startswith("reward/")):
            draw(left, column, column.removeprefix("reward/"), color=f"C{number}", alpha=0.8)
        for number, (column, title) in enumerate(RATES.items()):
            draw(right, column, title, scale=100, color=f"C{number}")
        if len(frames) > 1:
            right.plot([], [], style, color="black", label=f"run {label[-40:]}")
    left.set(title="rewards", xlabel="completions", ylabel=f"mean of the last {window}")
    right.set(title="what cargo said", xlabel="completions", ylabel=f"% of the last {window}", ylim=(0, 100))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    figure.savefig(output, dpi=130)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_dirs", nargs="+", type=Path, help="run folders (or trace files)")
    parser.add_argument("--output", type=Path, help="picture to write (default: rewards.png in the first run folder)")
    parser.add_argument("--window", type=int, default=256, help="completions in the rolling average")
    arguments = parser.parse_args()
    if arguments.window < 1:
        parser.error(f"--window {arguments.window}: expected at least 1")
    names = [run_dir.resolve().name for run_dir in arguments.run_dirs]
    labels = names if len(set(names)) == len(names) else list(map(str, arguments.run_dirs))
    try:
        frames = {label: load_trace(run_dir) for label, run_dir in zip(labels, arguments.run_dirs, strict=True)}
    except TraceError as error:
        print(f"plot_rewards.py: {error}", file=sys.stderr)
        return 2
    first = arguments.run_dirs[0]
    output = arguments.output or (first if first.is_dir() else first.parent) / "rewards.png"
    window = min(arguments.window, *(max(1, len(frame) // 2) for frame in frames.values()))
    plot(frames, output, window)
    for name, frame in frames.items():
        skipped = frame.attrs["unreadable_lines"]
        print(f"{output}: {name}, {len(frame)} completions" + (f", {skipped} unreadable lines skipped" if skipped else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
