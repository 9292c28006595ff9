"""Metrics of one completion and of many: rates, pass@k, intervals by a bootstrap over tasks."""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path
from typing import Any

import kinds
from evaluation import cross_results
from evaluation.folders import read_jsonl
from kinds import repair
from rewards import is_honest_pass, is_solved, pass_at_k, passes_hidden

CONFIDENCE = 0.95
BOOTSTRAP_SEED = 20_240_229  # fixed: the same results always print the same interval
MAX_DRAWS, MIN_RESAMPLES = 200_000_000, 1000  # many tasks get fewer resamples, so that intervals take seconds at most
BOOTSTRAP_CELLS = 4_000_000  # tasks x resamples held at once, about 64 MB
TOP_CODES = 10
MIN_ASSERTS = 2  # distinct assertions that make "tests with asserts"
HIDDEN_REWARD = "hidden_tests_reward"


def finite_number(value: Any) -> float | None:
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
    "honest_tests": is_honest_pass,
    "tests_with_asserts": lambda r: r["test_passed"] and r["n_asserts"] >= MIN_ASSERTS,
    "hidden_tests": passes_hidden,
    "mean_length": lambda r: finite_number(r.get("n_tokens")),
    "finished": lambda r: finite_number(r.get("finished")),
    # self tests as a judge of the code: of what passes its own tests, how much is right; of what is right, how much passes
    "self_tests_precision": lambda r: _given(r["test_passed"], passes_hidden(r)),
    "self_tests_recall": lambda r: _given(passes_hidden(r), r["test_passed"]),
    "honest_tests_precision": lambda r: _given(is_honest_pass(r), passes_hidden(r)),
    "honest_tests_recall": lambda r: _given(passes_hidden(r), is_honest_pass(r)),
    # the tests of the task's other completions, the same way; and the one completion of each task that they pick
    "cross_tests_precision": lambda r: _given(cross_results.passes(r), passes_hidden(r)),
    "cross_tests_recall": lambda r: _given(passes_hidden(r) and r.get("cross_total"), cross_results.passes(r)),
    "picked": lambda r: _given(r.get("selected"), passes_hidden(r)),
    "edit_places": kinds.places_of_record,
}
NOT_PERCENT = ("mean_length",)


def what_went_wrong(record: dict) -> str:
    """What went wrong with a graded completion: its `error_kind`, which is that of its own tests where these fail.

    Without one "none" where its task's tests pass, or its own where the task has none; else `hidden_tests` (they do not compile with a
    program that builds, or a guard refused it) or `no_tests`.
    """
    if record["error_kind"]:
        return record["error_kind"]
    if record.get("hidden_total"):
        return "none" if is_solved(record) else "hidden_tests"
    return "none" if record["test_passed"] else "no_tests"


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
        self.tokens["completion"] += finite_number(record.get("n_tokens")) or 0
        self.tokens["prompt"] += finite_number(record.get("n_prompt_tokens")) or 0
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
        self.error_kinds[what_went_wrong(record)] += 1
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


def fewest_samples(stats: Sequence[RowStats]) -> int:
    """Completions that hidden tests graded, of the task with the fewest in any row; 0 where no task has any."""
    return min((int(count) for row in stats for count in row.samples() if count), default=0)


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


def interval(values: Any) -> tuple[float | None, float | None]:
    import numpy as np

    values = values[~np.isnan(values)]
    if not len(values):
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return round(float(low), 6), round(float(high), 6)


def estimates(stats: Sequence[RowStats], ks: Sequence[int], n_resamples: int) -> tuple[list[dict], list[dict]]:
    """Per row {metric: {value, low, high}}, and the paired differences of each row to the first over the tasks that both have."""
    rows = [_one_row(row, ks, n_resamples) if row.per_task else ({}, None) for row in stats]
    differences = []
    for row, found in zip(stats[1:], rows[1:], strict=True):
        shared = row.per_task.keys() & stats[0].per_task.keys()
        if not shared:
            continue
        pair = [rows[0], found]
        if not shared == row.per_task.keys() == stats[0].per_task.keys():
            pair = [_one_row(which.only(shared), ks, n_resamples) for which in (stats[0], row)]
        (first, first_drawn), (second, second_drawn) = pair
        metrics = {}
        for j, name in enumerate([*METRICS, *(f"pass@{k}" for k in ks)]):
            if name in first and name in second:
                low, high = interval(second_drawn[:, j] - first_drawn[:, j])
                metrics[name] = {"value": round(second[name]["value"] - first[name]["value"], 6), "low": low, "high": high}
        differences.append({"row": row.row, "versus": stats[0].row, "n_tasks": len(shared), "metrics": metrics})
    return [metrics for metrics, _ in rows], differences


def _one_row(row: RowStats, ks: Sequence[int], n_resamples: int) -> tuple[dict, Any]:
    """{metric: {value, low, high}} of a row, and the resampled values behind it, shape (resamples, metrics)."""
    names, sums, counts = row.columns(ks)
    drawn = bootstrap(sums, counts, n_resamples)
    metrics = {}
    for i, name in enumerate(names):
        total = counts[:, i].sum()
        if total:
            low, high = interval(drawn[:, i])
            metrics[name] = {"value": round(float(sums[:, i].sum() / total), 6), "low": low, "high": high}
    return metrics, drawn


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
    of_kind = lambda kind: [row.kinds[kind] for row in stats if kind in row.kinds]
    by_kind = {kind: summarise(of_kind(kind), ks, n_resamples) for kind in found} if found not in ([], [kinds.WRITE]) else {}
    return {"rows": rows, "differences": differences} | ({"kinds": by_kind} if by_kind else {})


def ks_of(rows: Iterable[dict]) -> list[int]:
    """Every k whose pass@k a row of a summary has, ascending."""
    return sorted({int(name[5:]) for row in rows for name in row["metrics"] if name.startswith("pass@")})


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
    codes = lambda row: repair.mended_by_code(record for record in read_jsonl(results) if record["row"] == row)
    return {row: summarise(pair, ks, n_resamples) | {"codes": codes(row)} for row, pair in pairs.items()}
