"""From the folders that train.py and eval.py write to those that are committed here: less of each row, no path of a machine.

    python results/recipe/keep.py training runs/NAME results/recipe/NAME/seed-0
    python results/recipe/keep.py evaluation runs/eval results/recipe/NAME/mbpp-rs --tasks val-mbpp-rs-humaneval-rs.jsonl --ids mbpp \
        --before results/recipe/seed-0/mbpp-rs                # its row `untrained` comes first
    python results/recipe/keep.py evaluation runs/eval results/recipe/val --tasks val-mbpp-rs-humaneval-rs.jsonl --ids rust-tasks/ --add
    python results/tables.py --write                          # then table.md, and every table that names the folder

A training keeps its steps, evaluations and settings, and in place of its trace groups.jsonl.gz: a line a group with what its
completions earned, best first, and which solved, built and tested honestly. An evaluation keeps the rows of the tasks whose ids begin
with `--ids`, without prompts and tests, which others may have written. `--paths OLD=NEW` (several) renames paths in all of it but the
completions; one that is left is refused, before anything is written.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "results")]

import tables  # noqa: E402

import traces  # noqa: E402
from evaluation.folders import TasksHash, read_json, read_jsonl, write_json  # noqa: E402
from evaluation.metrics import ks_of, row_stats, summarise  # noqa: E402
from rewards import is_honest_pass, is_solved  # noqa: E402
from tasks import iter_tasks  # noqa: E402

OF_A_TRAINING = ("iterations.jsonl", "iterations.md", "metrics.jsonl", "run.json")
COLUMNS = [
    "schema_version", "task_id", "completion", "build_passed", "clippy_passed", "clippy_warnings", "test_passed", "tests", "hidden_passed",
    "hidden_total", "hidden_statuses", "hidden_error_kind", "error_kind", "diagnostics", "honest_tests", "guard", "cross_passed",
    "cross_total", "n_asserts", "duration_s", "rewards", "reward", "step", "rank", "group_id", "advantage", "row", "sample", "n_tokens",
    "finished",
]  # fmt: skip


def groups(run: Path) -> Iterator[dict]:
    """What each group of a run's trace earned, in order."""
    found: dict[tuple, list[dict]] = {}
    for record in traces.iter_counted(run):
        found.setdefault((record["step"], record["rank"], record["group_id"]), []).append(record)
    for (step, _, _), records in found.items():
        records.sort(key=lambda record: -(record["reward"] or 0.0))
        yield {
            "step": step,
            "task_id": records[0]["task_id"],
            "is_trained": records[0]["is_trained"],
            "rewards": [record["reward"] and round(record["reward"], 4) for record in records],
            "solved": [int(is_solved(record)) for record in records],
            "tokens": [record["n_tokens"] for record in records],
            "honest": [int(is_honest_pass(record)) for record in records],
            "builds": [int(record["build_passed"]) for record in records],
        }


def renamed(text: str, paths: Sequence[tuple[str, str]]) -> str:
    """A text with these paths renamed. Raises SystemExit for one that is left: it is a path of somebody's machine."""
    for old, new in paths:
        text = text.replace(old, new)
    left = re.search(r"(?<![\w./*<>)-])/[\w.-]+(?:/[\w.-]+)+", text)
    if left:
        sys.exit(f"keep.py: {left[0]} is left: name it with --paths {left[0]}=NEW")
    return text


def keep_training(run: Path, folder: Path, paths: Sequence[tuple[str, str]]) -> None:
    texts = {name: renamed((run / name).read_text(encoding="utf-8"), paths) for name in OF_A_TRAINING if (run / name).is_file()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    traces.write_packed(folder / "groups.jsonl.gz", groups(run))
    if (run / "evaluations.jsonl").is_file():
        traces.write_packed(folder / "evaluations.jsonl.gz", read_jsonl(run / "evaluations.jsonl"))


def keep_evaluation(run: Path, folder: Path, arguments: argparse.Namespace) -> None:
    read = lambda name: json.loads(renamed((run / f"{name}.json").read_text(encoding="utf-8"), arguments.paths))
    said = {name: read(name) for name in ("run", "summary", "timings")}
    of_these = (row for row in read_jsonl(run / "results.jsonl") if row["task_id"].startswith(arguments.ids))
    rows = [{name: row[name] for name in COLUMNS if name in row} for row in of_these]
    before, had = [], None
    if arguments.add:
        had = {name: read_json(folder / f"{name}.json") for name in said}
        new = {row["row"] for row in said["run"]["rows"]}
        before = [row for row in read_jsonl(folder / "results.jsonl.gz") if row["row"] not in new]
        said["run"] = had["run"] | {"rows": [row for row in had["run"]["rows"] if row["row"] not in new] + said["run"]["rows"]}
        said["summary"], said["timings"] = had["summary"], had["timings"] | said["timings"]
    elif arguments.before:
        before = [row for row in read_jsonl(arguments.before / "results.jsonl.gz") if row["row"] == "untrained"]
    if had is None:
        tasks_hash = TasksHash()
        for task in iter_tasks(arguments.tasks):
            if task["task_id"].startswith(arguments.ids):
                tasks_hash.add(task)
        of_tasks = {"tasks_hash": tasks_hash.hexdigest(), "n_tasks": len(tasks_hash.seen)}
        for name in ("run", "summary"):
            said[name]["protocol"] |= of_tasks
    traces.write_packed(folder / "results.jsonl.gz", [*before, *rows])
    ks = ks_of(said["summary"]["rows"])
    said["summary"] |= {"n": len(before) + len(rows), "row_sources": said["run"]["rows"], "timings": said["timings"]}
    said["summary"] |= summarise(row_stats(folder / "results.jsonl.gz"), ks, tables.RESAMPLES)
    for name, value in said.items():
        write_json(folder / f"{name}.json", value)
    (folder / "table.md").touch()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=("training", "evaluation"))
    parser.add_argument("run", type=Path, help="what train.py or eval.py wrote")
    parser.add_argument("folder", type=Path, help="what is committed")
    parser.add_argument("--paths", nargs="*", default=[], help="OLD=NEW, in this order")
    parser.add_argument("--tasks", help="of the evaluation")
    parser.add_argument("--ids", default="", help="the tasks whose ids begin so")
    parser.add_argument("--before", type=Path, help="folder whose row `untrained` comes first")
    parser.add_argument("--add", action="store_true", help="rows to those that the folder has")
    arguments = parser.parse_args(argv)
    if arguments.what == "evaluation" and not (arguments.tasks or arguments.add):
        parser.error("an evaluation needs --tasks, or --add")
    if not (arguments.run / "run.json").is_file():
        parser.error(f"{arguments.run}: no run.json in it, so neither train.py nor eval.py wrote it")
    arguments.paths = [tuple(pair.split("=", 1)) for pair in arguments.paths]
    if arguments.what == "training":
        keep_training(arguments.run, arguments.folder, arguments.paths)
    else:
        keep_evaluation(arguments.run, arguments.folder, arguments)


if __name__ == "__main__":
    main()
