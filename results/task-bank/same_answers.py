"""Which tasks of evaluation sets our reference solutions answer: results/task-bank/same_answers.json.

    python results/task-bank/same_answers.py mbpp-rs.jsonl humaneval-rs.jsonl > results/task-bank/same_answers.json

All tests of every row are run with every reference whose function has the row's types, those of the plain signatures, too
(`task_proof/same_tasks.py`). Ids only; a row with few tests is also answered by chance.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from check_tasks import load_bank, load_solutions  # noqa: E402
from make_signatures import NoPlainForm, plain_task  # noqa: E402
from rust_tool import RustTool  # noqa: E402
from task_proof.same_tasks import answers  # noqa: E402
from tasks import load_tasks  # noqa: E402


def ours() -> tuple[list[dict], dict[str, str]]:
    """Every task with a reference, and the references."""
    tasks, solutions = load_bank(), load_solutions()
    for task in list(tasks):
        try:
            row, reference = plain_task(task)
        except NoPlainForm:
            continue
        tasks.append(row)
        solutions[row["task_id"]] = reference(solutions[task["task_id"]])
    for name in ("short", "basic", "example"):
        tasks += load_bank(ROOT / "data" / f"{name}_tasks_{split}.jsonl" for split in ("train", "val"))
        solutions |= load_solutions(ROOT / "data" / f"{name}_tasks_solutions.jsonl")
    return tasks, solutions


if __name__ == "__main__":
    tasks, solutions = ours()
    found = {"references": len(solutions)}
    with RustTool() as judge:
        for file in sys.argv[1:]:
            texts = load_tasks(file)
            found[Path(file).name] = {"texts": len(texts), "answered": answers(tasks, solutions, texts, judge)}
    print(json.dumps(found, indent=1))
