"""The README's picture: training completions over the minutes, and both evaluations before and after, of results/recipe/seed-*.

    python results/headline.py        # writes results/headline.png
"""

import hashlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pandas as pd  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from plot_rewards import PALETTE, STYLES  # noqa: E402
from report.numbers import rolling_mean  # noqa: E402
from traces import read_metrics  # noqa: E402

SEEDS = sorted((ROOT / "results" / "recipe").glob("seed-*"))
RATES = {"judge/build_rate": "compiles", "judge/hidden_test_share": "hidden tests passed", "judge/solved_rate": "passes all of them"}
BARS = {"build": "compiles", "pass@1": "right at the\nfirst try", "pass@5": "right in\none of five"}
TASKS = {"mbpp-rs": "mbpp-rs", "humaneval-rs": "HumanEval-rs"}
WINDOW = 8  # steps in the rolling mean


def over_minutes(folder: Path) -> pd.DataFrame:
    """% of a run's training completions by RATES, rolling; a row a step, minutes as the index."""
    steps = pd.DataFrame(read_metrics(folder))
    return pd.DataFrame({name: rolling_mean(100 * steps[name], WINDOW) for name in RATES}).set_index(steps["elapsed_s"] / 60)


def evaluated(tasks: str) -> pd.DataFrame:
    """% by BARS: a row for each of untrained and trained, of each seed."""
    rows = []
    for folder in SEEDS:
        for row in json.loads((folder / tasks / "summary.json").read_text(encoding="utf-8"))["rows"]:
            rows.append({"seed": folder.name, "row": row["row"], **{name: 100 * row["metrics"][name]["value"] for name in BARS}})
    return pd.DataFrame(rows)


def figure():
    """matplotlib's figure of three panels."""
    drawn = Figure(figsize=(13, 4.2), layout="constrained")
    left, *right = drawn.subplots(1, 3, width_ratios=(1.5, 1, 1))
    for folder, style in zip(SEEDS, STYLES, strict=False):
        rates = over_minutes(folder)
        for (name, title), color in zip(RATES.items(), PALETTE, strict=False):
            left.plot(rates.index, rates[name], style, color=color, label=f"{title}, {folder.name.replace('-', ' ')}")
    left.set(title="256 training completions a step, temperature 1", xlabel="minutes of half an H200", ylabel="%", ylim=(0, 100))
    titles = [*RATES.values(), *(folder.name.replace("-", " ") for folder in SEEDS)]
    left.legend([*left.lines[: len(RATES)], *left.lines[:: len(RATES)]], titles, fontsize=8, ncols=2, loc="lower right")
    for axes, (tasks, title) in zip(right, TASKS.items(), strict=True):
        found = evaluated(tasks)
        for shift, (row, color) in zip((-0.2, 0.2), (("untrained", PALETTE[-1]), ("trained", PALETTE[0])), strict=True):
            of_row = found[found["row"] == row]
            means = of_row[list(BARS)].mean()
            places = [place + shift for place in range(len(BARS))]
            axes.bar(places, means, 0.4, color=color, label=f"{row}, {len(of_row)} seeds" if row == "trained" else row)
            axes.bar_label(axes.containers[-1], fmt="%.1f", fontsize=8, padding=3)
            for name, place in zip(BARS, places, strict=True):
                axes.plot([place] * len(of_row), of_row[name], ".", color="black", markersize=4)
        axes.set_xticks(range(len(BARS)), list(BARS.values()))
        axes.set(title=f"{title}, temperature 0.2", ylim=(0, 100))
        axes.legend(fontsize=8, loc="upper right")
    return drawn


def shown() -> str:
    """A hash of what the picture shows, which it carries: a picture of other results is found out."""
    values = [*(over_minutes(folder) for folder in SEEDS), *(evaluated(tasks) for tasks in TASKS)]
    return hashlib.sha256("".join(frame.round(3).to_csv() for frame in values).encode()).hexdigest()


if __name__ == "__main__":
    figure().savefig(ROOT / "results" / "headline.png", dpi=110, metadata={"Description": shown()})
