"""What "passes the tests of the group" is worth against "passes its own", where hidden tests have said which programs are right.

    python benchmarks/cross_precision.py results/mbpp-rs-1.5b/results.jsonl.gz --row lora --output results/cross/precision-mbpp-rs-lora.json
    python benchmarks/cross_precision.py RUN_DIR/trace.jsonl.gz [--groups N] [--workers 2]       # a training trace: its own groups

Reads graded completions with hidden verdicts, and runs nothing but their programs on each other's tests: what passed its own and the
hidden tests is taken as the file has it, by the judge of its day. Intervals are eval.py's, 95 %, bootstrap over groups.

The last line is JSON: {"file", "row", "groups", "completions", "right", "build", "metrics": {NAME: {"value", "low", "high"}}, ...}.
Metrics: precision and recall of own and of cross tests, pass@1, pass@k of the group's size and the pick's as in eval.py;
`cross_ranks_right` and `own_ranks_right`: over pairs of a right program and a wrong one that builds, of one group, the share in which the
right one is paid more by cross_tests_reward (by cargo_test_reward), equal pay counting half.
"""

import argparse
import json
import os
import sys
from collections import Counter
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

import doctor
from evaluation import cross_results
from evaluation.metrics import RowStats, bootstrap, estimates
from rewards import ReadingJudge, is_honest_pass, passes_hidden
from rust_tool import JUDGE_VERSION, RustTool
from traces import iter_trace

RESAMPLES = 10_000
SHOWN = ("self_tests_precision", "self_tests_recall", "honest_tests_precision", "honest_tests_recall", "cross_tests_precision",
         "cross_tests_recall", "picked")  # fmt: skip


def read(file: Path, row: str | None, count: int | None) -> list[dict]:
    """Graded completions with hidden tests of the first `count` groups; a trace's groups stand for tasks."""
    records: dict[str, list[dict]] = {}
    for record in iter_trace(file):
        if record["hidden_total"] and (row is None or record.get("row") == row):
            name = str(record["task_id"] if "row" in record else record["group_id"])
            records.setdefault(name, []).append(record | {"row": row or "all", "task_id": name})
    return [record for group in list(records.values())[:count] for record in group]


def ranks_right(records: list[dict]) -> dict[str, dict]:
    """How often a right program is paid more than a wrong one of its group that builds."""
    groups: dict[str, list[dict]] = {}
    for record in records:
        groups.setdefault(record["task_id"], []).append(record)
    pays = {"cross_ranks_right": lambda r: round(r["cross_agreement"] or 0.0, 9)}
    pays["own_ranks_right"] = is_honest_pass
    found = {}
    for name, pay in pays.items():
        sums = []
        for group in groups.values():
            right, wrong = [r for r in group if passes_hidden(r)], [r for r in group if r["build_passed"] and not passes_hidden(r)]
            pairs = [(pay(good), pay(bad)) for good, bad in product(right, wrong)]
            sums.append((sum((good > bad) + 0.5 * (good == bad) for good, bad in pairs), len(pairs)))
        cells = np.array(sums, float)
        drawn = bootstrap(cells[:, :1], cells[:, 1:], RESAMPLES)[:, 0]
        low, high = np.nanquantile(drawn, [0.025, 0.975]) if cells[:, 1].any() else (None, None)
        value = float(cells[:, 0].sum() / cells[:, 1].sum()) if cells[:, 1].any() else None
        found[name] = {"value": value, "low": low, "high": high, "pairs": int(cells[:, 1].sum())}
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("file", type=Path)
    parser.add_argument("--row", help="of a results file: only this one")
    parser.add_argument("--groups", type=int, help="only the first so many")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    records = read(arguments.file, arguments.row, arguments.groups)
    if not records:
        parser.error(f"{arguments.file}: no completion of row {arguments.row or 'any'} has hidden tests")
    with RustTool(workers=arguments.workers) as judge:
        for found in cross_results.examined(records, ReadingJudge(judge)):
            for i, fields in found.items():
                records[i] |= fields
    stats = RowStats(arguments.row or "all")
    for record in records:
        stats.add(record | {"diagnostics": record.get("diagnostics") or []})
    k = min(Counter(record["task_id"] for record in records).values())
    (metrics,), _ = estimates([stats], sorted({1, k}), RESAMPLES)
    shown = {name: metrics[name] for name in (*SHOWN, "pass@1", f"pass@{k}") if name in metrics} | ranks_right(records)
    result = {"file": str(arguments.file), "row": arguments.row, "groups": len(stats.per_task), "completions": len(records)}
    result |= {"right": sum(map(bool, map(passes_hidden, records))), "build": sum(record["build_passed"] for record in records)}
    result |= {"with_opinion": sum(bool(record.get("cross_total")) for record in records)}
    result |= {"own_passes": sum(map(is_honest_pass, records))}
    result |= {"cross_passes": sum(map(bool, map(cross_results.passes, records)))}
    result |= {"metrics": shown}
    result |= {"judge_version": JUDGE_VERSION, "commit": doctor.git_commit(), "cores": len(os.sched_getaffinity(0))}
    print(json.dumps(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
