"""What the matrix of cross tests costs: CPU of grading groups with it over grading them without, in one run.

    python benchmarks/cross_tests.py FILE.jsonl|FILE.jsonl.gz [--groups 40] [--row NAME] [--workers 2] [--output results.json]

FILE has columns `completion` and `task_id`; completions of one task (of one `row` or `group_id`, where it has them) are a group; groups
of one are left out. Nothing is graded from memory: each group is graded twice by each way, the order changing from group to group.
CPU seconds are those of compilers, test processes and this process (reading programs), start-up left out. Groups without tests cost
nothing more, and lower the ratio, as copies do, which are compiled once: `with_tests` counts completions whose own tests compile.

The last line is JSON: {"file", "groups", "completions", "with_tests", "tests_tried", "cpu_s_without", "cpu_s_with", "ratio",
"wall_s_without", "wall_s_with", "judge_version", "cores", "load_average", "commit"}.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import doctor
from rewards import RewardSet
from rust_tool import JUDGE_VERSION, RustTool
from traces import iter_trace

PASSES = 2
HALVES = ("without", "with")


def groups_of(file: Path, count: int, only: str | None = None) -> list[list[dict]]:
    """The first `count` groups of two or more completions, in the order of the file."""
    groups: dict[tuple, list[dict]] = {}
    for row in iter_trace(file):
        if only is not None and row.get("row") != only:
            continue
        groups.setdefault((row.get("row"), row.get("group_id"), str(row["task_id"])), []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1][:count]


def measure(groups: list[list[dict]], workers: int | None) -> dict:
    """CPU and wall-clock seconds of grading the groups both ways, and what there was to try."""
    cpu_s, wall_s = dict.fromkeys(HALVES, 0.0), dict.fromkeys(HALVES, 0.0)
    facts = {"with_tests": 0, "tests_tried": 0}
    with RustTool(workers=workers, cache_size=0) as judge:
        for number, rows in enumerate(groups):
            tasks = [{"task_id": row["task_id"]} for row in rows]
            order = [*HALVES, *reversed(HALVES)] * (PASSES // 2)
            for half in order if number % 2 else reversed(order):
                rewards = RewardSet(judge, ["cargo_test_reward=1"], cross_tests=half == "with")
                started, before = time.monotonic(), judge.child_cpu_s + time.process_time()
                graded = rewards.grade(tasks, [row["completion"] for row in rows])
                cpu_s[half] += (judge.child_cpu_s + time.process_time() - before) / PASSES
                wall_s[half] += (time.monotonic() - started) / PASSES
                if half == "with":
                    counted = graded
            facts["with_tests"] += sum(bool(record["tests"]) for record in counted)
            facts["tests_tried"] += sum(record["cross_total"] or 0 for record in counted)
    found = {f"cpu_s_{half}": round(cpu_s[half], 4) for half in HALVES} | {f"wall_s_{half}": round(wall_s[half], 4) for half in HALVES}
    return facts | found | {"ratio": round(cpu_s["with"] / cpu_s["without"], 3)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("file", type=Path)
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--row", help="of a results file: only this one")
    parser.add_argument("--workers", type=int, help="programs graded at once (default: all cores)")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    load = os.getloadavg()[0]
    groups = groups_of(arguments.file, arguments.groups, arguments.row)
    if not groups:
        parser.error(f"{arguments.file}: no task has two completions")
    result = {"file": str(arguments.file), "groups": len(groups), "completions": sum(map(len, groups))}
    result |= measure(groups, arguments.workers)
    result |= {"judge_version": JUDGE_VERSION, "cores": len(os.sched_getaffinity(0)), "load_average": round(load, 1)}
    result |= {"commit": doctor.git_commit()}
    print(f"CPU with cross tests over without: {result['ratio']:.2f} ({result['cpu_s_with']} over {result['cpu_s_without']} s)")
    print(json.dumps(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
