"""Numbers of a trace that plots, the terminal view and the report show. Data frames are those of `traces.load_trace`."""

import re

RATES = {
    "build_passed": "cargo build",
    "clippy_passed": "cargo clippy (exit code)",
    "test_passed": "cargo test (raw)",
    "honest_pass": "honest tests",
}
HIDDEN = "hidden tests passed (share)"


def rolling_mean(values, window: int):
    """Mean of the last `window` values (fewer at the start, a quarter of it at least), as a pandas Series."""
    return values.astype(float).rolling(window, min_periods=max(1, window // 4)).mean()


def rolling_band(frame, column: str, window: int):
    """Half width of the rolling mean's 95 % interval, one value per row; NaN until two groups are complete.

    Groups, not completions, are the independent draws: 1.96 x standard deviation of group means / sqrt(groups in the window).
    """
    groups = frame.groupby("group_id", sort=False, observed=True)[column].agg(["mean", "size"])
    in_window = max(2, round(window / groups["size"].mean())) if len(groups) else 2
    spread = groups["mean"].astype(float).rolling(in_window, min_periods=2)
    half = 1.96 * spread.std() / spread.count().clip(upper=in_window) ** 0.5
    return frame["group_id"].astype(object).map(half)


def with_hidden_share(frame):
    """The frame with `hidden_share` in [0, 1]: hidden tests passed of those there are, NaN for tasks without."""
    passed, total = frame["hidden_passed"].astype(float), frame["hidden_total"].astype(float)
    return frame.assign(hidden_share=passed / total.where(total > 0))


def without_signal(frame):
    """Per step: share of groups whose graded completions all earned the same, so that nothing is learnt from them. In [0, 1].

    What has no reward counts for neither side, as in TRL's advantages; of one graded completion, or none, nothing is learnt.
    """
    earned = frame.groupby(["step", "group_id"], observed=True)["reward"].nunique()
    return (earned <= 1).groupby("step").mean()


def shares(frame, column: str, names: list[str]):
    """Per step: share of completions whose `column` is each of `names` (a data frame, steps x names, in [0, 1])."""
    import pandas as pd

    totals = frame.groupby("step").size()
    counted = frame[frame[column].isin(names)]
    table = pd.crosstab(counted["step"], counted[column].astype(object)) if len(counted) else pd.DataFrame(index=totals.index)
    return table.reindex(index=totals.index, columns=names, fill_value=0).div(totals, axis=0)


def most_frequent(frame, column: str, limit: int | None = None) -> list[str]:
    """Distinct values of a column, the most frequent first."""
    counts = frame[column].astype(object).value_counts()
    return list(counts[counts > 0].index[:limit])


def evaluated(iterations: list[dict]) -> list[tuple[str, list, str]]:
    """What a run's own evaluations measured -> (title, values by evaluation, None where absent; unit), rates in percent."""
    columns = list(dict.fromkeys(key for row in iterations for key in row if key != "step"))
    rates = [key for key in columns if re.search(r"(^|\.)(pass@\d+|build|\w+_(rate|share))$", key)]
    scale = 100 if all(abs(row[key]) <= 1 for row in iterations for key in rates if key in row) else 1  # shares, or percent already
    return [(f"eval {key}", [scale * row[key] if key in row else None for row in iterations], "%") for key in rates] + [
        (f"eval {key}", [row.get(key) for row in iterations], "") for key in columns if key.rpartition(".")[2] == "kl"
    ]
