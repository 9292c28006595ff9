"""results/headline.py: the README's picture shows what the committed runs and evaluations say."""

import json
import statistics

import pytest
from conftest import ROOT
from PIL import Image

from results import headline


def test_the_committed_picture_is_of_the_committed_results():
    assert Image.open(ROOT / "results" / "headline.png").text["Description"] == headline.shown()


def test_it_draws_every_step_of_every_seed_and_both_evaluations():
    left, *right = headline.figure().axes
    assert len(left.lines) == len(headline.SEEDS) * len(headline.RATES)
    steps = [json.loads(line) for line in (headline.SEEDS[0] / "metrics.jsonl").read_text().splitlines()]
    line = next(line for line in left.lines if line.get_label() == f"compiles, {headline.SEEDS[0].name.replace('-', ' ')}")
    assert len(line.get_xdata()) == len(steps)
    assert line.get_xdata()[-1] == pytest.approx(steps[-1]["elapsed_s"] / 60)
    assert line.get_ydata()[-1] == pytest.approx(100 * statistics.mean(step["judge/build_rate"] for step in steps[-headline.WINDOW :]))
    for axes, tasks in zip(right, headline.TASKS, strict=True):
        summaries = [json.loads((folder / tasks / "summary.json").read_text())["rows"] for folder in headline.SEEDS]
        means = [
            100 * statistics.mean(row["metrics"][name]["value"] for rows in summaries for row in rows if row["row"] == which)
            for which in ("untrained", "trained")
            for name in headline.BARS
        ]
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(means)
