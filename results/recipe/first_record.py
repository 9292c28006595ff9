"""What the committed runs know of the bank's training prompts, as a first record for `--frontier`: results/recipe/first_record.jsonl.

    python results/recipe/first_record.py > results/recipe/first_record.jsonl
    python train.py --config configs/qwen2.5-coder-1.5b-recipe.yaml --task_record results/recipe/first_record.jsonl ...

Completions that solved a prompt, and completions graded, over these runs of Qwen2.5-Coder-1.5B-Instruct (temperature 1, at whatever
step they came); more than MOST of a prompt are scaled down to that, so that the first group of a run can move it.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1]
RUNS = [
    *(f"recipe/three-sets/seed-{seed}" for seed in range(3)),
    *(f"recipe/plain-signatures/seed-{seed}" for seed in range(2)),
    *(f"cross/{rewards}-seed-{seed}" for rewards in ("own", "cross") for seed in range(2)),
    "cross/hidden-seed-0",  # cross/hidden-seed-1 is what the record is tried on (tests/test_figures.py)
]
MOST = 16


def record(runs: Sequence[str] = RUNS) -> dict:
    """What these runs know, as a line of task_record.jsonl."""
    solved, graded = Counter(), Counter()
    for run in runs:
        for line in gzip.open(RESULTS / run / "groups.jsonl.gz", "rt", encoding="utf-8"):
            group = json.loads(line)
            solved[group["task_id"]] += sum(group["solved"])
            graded[group["task_id"]] += len(group["solved"])
    outcomes = {}
    for task_id, n in sorted(graded.items()):
        scale = min(1.0, MOST / n)
        outcomes[task_id] = [round(scale * solved[task_id], 3), round(scale * n, 3)]
    return {"step": 0, "outcomes": outcomes}


if __name__ == "__main__":
    json.dump(record(), sys.stdout)
    print()
