"""A training trace graded again: what other rewards, tests or rules would have said."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from evaluation import cross_results
from evaluation.completions import VERDICT_FIELDS, Input
from evaluation.folders import EvalError, read_json, read_jsonl
from evaluation.metrics import finite_number
from rewards import RewardSet, weighted_sum
from rust_tool import JUDGE_VERSION

RECORDED_FIELDS = (
    *VERDICT_FIELDS, "schema_version", "completion", "program", "clippy_warnings", "tests", "diagnostics", "n_asserts", "duration_s",
    "hidden_statuses", "hidden_error_kind", "hidden_failures", *cross_results.FIELDS,
)  # fmt: skip
RECORDED_BATCH = 512  # lines written at once when nothing is compiled
REWARD_DIGITS = 9  # two sums of the same rewards may differ in the last bits


def recorded_judge(source: Input) -> dict:
    """The judge whose verdicts a trace holds, as its run.json describes it. Raises EvalError unless it has today's rules."""
    path = (source.path if source.path.is_dir() else source.path.parent) / "run.json"
    if not path.is_file():
        raise EvalError(f"--reuse_verdicts: no {path}, so nobody knows which judge gave the verdicts: leave the flag out")
    saved = read_json(path)
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
    return kept | {"task_id": task["task_id"], "prompt": task["prompt"], "rewards": paid, "reward": weighted_sum(paid, rewards.weights)}


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
    number = finite_number(value)
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
    mean = lambda name: round(float(frame[name].mean()), 6) if frame[name].notna().any() else None
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
    over_groups = lambda values: round(float(values.mean()), 6) if len(values) else None
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
