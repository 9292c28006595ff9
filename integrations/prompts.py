"""Task rows of any layout -> a parquet file that TRL's own command and verl train on.

    python integrations/prompts.py --tasks data/rust_tasks_train.jsonl --out runs/prompts/train.parquet

A row is what train.py trains on: the conversation (`prompt`) and, for TRL's reward functions, task_id, user_prompt, tests, entry_point
and other_columns; for verl data_source, ability, reward_model and, as `extra_info`, the same columns again.
"""

import argparse
import sys
from pathlib import Path

import pandas

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import kinds
from tasks import load_task_sets, read_system_prompt
from training.curriculum import training_row


def row_of(task: dict, system_prompt: str) -> dict:
    row = training_row(task, kinds.conversation(task, system_prompt))
    info = {name: value for name, value in row.items() if name != "prompt"}
    answer = {"style": "rule", "ground_truth": task["task_id"]}
    return row | {"data_source": "rust", "ability": "code", "reward_model": answer, "extra_info": info}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", required=True, help="prompt sets, as train.py takes them")
    parser.add_argument("--system_prompt", help="text file, or none (default: the project's)")
    parser.add_argument("--out", type=Path, required=True, help="FILE.parquet, alone in its folder: TRL loads the folder")
    arguments = parser.parse_args(argv)
    tasks, _ = load_task_sets(arguments.tasks)
    rows = [row_of(task, read_system_prompt(arguments.system_prompt)) for task in tasks]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    pandas.DataFrame(rows).to_parquet(arguments.out)
    print(f"{len(rows)} rows in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
