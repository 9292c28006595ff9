"""What rust_hidden_tests.yaml asks for: tasks with hidden tests, and what a task's completions are worth."""

import sys
from pathlib import Path

import datasets

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from integrations.judging import reward_set, whole_programs
from rewards import infra_reason, pass_at_k, passes_hidden
from tasks import load_heldout, read_system_prompt

COLUMNS = ("task_id", "prompt", "tests", "entry_point")
KS = (1, 5)


def load(tasks: str, **unused) -> dict[str, datasets.Dataset]:
    """tasks: FILE, or FILE@IDS as for `eval.py`; relative paths also from the repository. Raises TaskError or ValueError."""
    found = whole_programs(load_heldout(tasks if Path(tasks.partition("@")[0]).exists() else str(ROOT / tasks)))
    if without := [task["task_id"] for task in found if not task["tests"]]:
        raise ValueError(f"{tasks}: the task {without[0]!r} has no hidden tests: nothing tells what solves it")
    rows = [{key: task[key] for key in COLUMNS} | {"system_prompt": read_system_prompt()} for task in found]
    return {"test": datasets.Dataset.from_list(rows)}


def process_results(doc: dict, results: list[list[str]]) -> dict[str, float]:
    """Metrics of one task from its completions. Raises RuntimeError where the machine failed one: a rate without it would be wrong."""
    [completions] = results
    records = reward_set().grade([doc] * len(completions), completions)
    if any(record["error_kind"] == "infra" for record in records):
        raise RuntimeError(f"completions of {doc['task_id']} could not be graded: {infra_reason(records)}")
    n, right = len(records), sum(map(passes_hidden, records))
    passes = {f"pass_at_{k}": pass_at_k(n, right, k) for k in KS}
    return {"build": sum(record["build_passed"] for record in records) / n, **passes}
