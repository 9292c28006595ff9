"""Every figure of a table comes from a file: completions -> summary.json -> table.md -> the tables of the README files.

    python results/tables.py --check    # exit status 1 and the names of the files that differ from what they are made of
    python results/tables.py --write    # make them anew

In a README file a table stands between two comments, and the first says what it is made of:

    <!-- table: rates results/tiny/seed-* | build % | pass@1 % -->
    <!-- end of table -->

`rates FOLDER... | COLUMN...`: rows and paired differences of evaluations (a folder with `table.md`, or a printed table).
`plain FOLDER... | COLUMN=NAME...`: the rows alone, of several folders their mean, without intervals.
`seeds FOLDER... | COLUMN...`: means over evaluations that differ in the seed, with the range over the seeds.
`steps FOLDER...`: seconds per step of training runs, from `metrics.jsonl` and `run.json`.
`speed FILE...`: measured steps against what they were before. `judge FILE...`: the judge against cargo.
`runs FOLDER...`: training runs by their own evaluations (`evaluations.jsonl.gz`), at the start and at the best.
`bank FILE | COLUMN | SET`: tasks solved, grouped by a column; of one set of tasks or of all.
`chosen FOLDER | COLUMN...`: those columns of the first table of its `table.md` that has them.
`attacks FILE`: rounds of programs that would fool the judge. Names may have `*`; a table made of no file is left out.

A summary whose completions are not there cannot be made anew: the table says so below itself.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import eval as evaluation  # noqa: E402
from evaluation.folders import read_jsonl  # noqa: E402
from evaluation.metrics import RowStats, ks_of  # noqa: E402
from evaluation.tables import NOT_PERCENT, cell, markdown_table, shown_columns  # noqa: E402

RESAMPLES = evaluation.EvalArguments.bootstrap_samples
BLOCK = re.compile(r"(<!-- table: (\w+) (.+?) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
NOT_KEPT = {"clippy_passed": False, "test_passed": False, "honest_tests": False, "n_asserts": 0, "diagnostics": []}  # of `bank`
PHASES = ("time/generate_s", "time/grade_s", "time/train_s")

# ---------------------------------------------------------------------------------------------------------------------
# Completions -> summary.json -> table.md
# ---------------------------------------------------------------------------------------------------------------------


def completion_files(folder: Path) -> list[Path]:
    """The graded completions of an evaluation's folder: results.jsonl(.gz), or a file for each row; none when any is missing."""
    if (whole := evaluation.saved_results(folder)).is_file():
        return [whole]
    files = [folder / f"{row['row']}.jsonl.gz" for row in json.loads((folder / "summary.json").read_text())["rows"]]
    return files if all(path.is_file() for path in files) else []


def recomputed(folder: Path) -> dict:
    """The folder's summary with rows and differences counted again from its completions; as it is where there are none."""
    summary = json.loads((folder / "summary.json").read_text())
    stats = [row for path in completion_files(folder) for row in evaluation.row_stats(path)]
    if not stats:
        return summary
    again = evaluation.summarise(stats, ks_of(summary["rows"]), RESAMPLES)
    for old, new in zip(summary["rows"], again["rows"], strict=True):  # prompts' tokens are counted before a line is shortened
        new["tokens"]["prompt"] = new["tokens"]["prompt"] or old["tokens"]["prompt"]
    return summary | again


def evaluations() -> Iterator[tuple[Path, str]]:
    """(path, text that it should have) of every summary.json below results/ and of the table.md beside it."""
    for path in sorted((ROOT / "results").rglob("summary.json")):
        summary = recomputed(path.parent)
        yield path, json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
        text = evaluation.format_tables(summary)
        if summary.get("graded_again"):
            text += "\n" + evaluation.format_changes(summary["graded_again"])
        yield path.with_name("table.md"), text


# ---------------------------------------------------------------------------------------------------------------------
# Files -> tables of the README files
# ---------------------------------------------------------------------------------------------------------------------


def found(names: str) -> list[Path]:
    """The files and folders that blank-separated names, relative to the project, stand for."""
    return [path for name in names.split() for path in sorted(ROOT.glob(name))]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read_tables(text: str) -> list[list[dict[str, str]]]:
    """The Markdown tables of a text, each a list of {heading: cell}."""
    tables = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        header, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines()]
        tables.append([dict(zip(header, row, strict=True)) for row in rows])
    return tables


def table_with(text: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The first table of a text that has all of these columns."""
    return next(rows for rows in read_tables(text) if all(column in rows[0] for column in columns))


def _lines(source: Path) -> list[tuple[str, dict[str, str]]]:
    """(title, cells) of an evaluation's rows, each followed by its difference to the first."""
    tables = read_tables((source / "table.md" if source.is_dir() else source).read_text(encoding="utf-8"))
    differences = {row["rows"].split(" - ")[0]: row for table in tables for row in table if "rows" in row}
    lines = []
    for row in tables[0]:
        lines.append((f"**{row['row']}**", row))
        if row["row"] in differences:
            lines.append((differences[row["row"]]["rows"], differences[row["row"]]))
    return lines


def _not_kept(sources: Sequence[Path]) -> str:
    missing = [f"`{shown(source)}`" for source in sources if not (source.is_dir() and completion_files(source))]
    return f"\n\nThe completions behind {', '.join(missing)} were not kept: these figures cannot be recomputed." if missing else ""


def rates(names: str, *columns: str) -> str:
    """Rows of evaluations, each followed by its difference to the first, in points; a row of several folders once."""
    sources, body = found(names), []
    for source in sources:
        body += [[_run_name(source), title, *(cells.get(column, "") for column in columns)] for title, cells in _lines(source)]
    header = ["run", "row", *columns]
    if len(sources) > 1:
        body = [row for i, row in enumerate(body) if row[1:] not in [earlier[1:] for earlier in body[:i]]]
    else:
        header, body = header[1:], [row[1:] for row in body]
    return markdown_table(header, body) + _not_kept(sources) if body else ""


def chosen(name: str, *columns: str) -> str:
    """Columns of the first table in an evaluation's table.md that has all of them."""
    folders = found(name)
    if not folders:
        return ""
    rows = table_with((folders[0] / "table.md").read_text(encoding="utf-8"), columns)
    return markdown_table([*columns], [[row[column] for column in columns] for row in rows]) + _not_kept(folders)


def _values(sources: Sequence[Path], columns: Sequence[str]) -> dict[str, list[tuple[float, ...]]]:
    """title of a row or difference -> for each column its values in the evaluations, not rounded."""
    found: dict[str, list] = {}
    for summary in (json.loads((source / "summary.json").read_text(encoding="utf-8")) for source in sources):
        names = {title: name for name, title in shown_columns(summary).items()}
        lines = [(f"**{row['row']}**", row) for row in summary["rows"]]
        lines += [(f"{one['row']} - {one['versus']}", one) for one in summary["differences"]]
        for title, line in lines:
            values = [line["metrics"][names[column]]["value"] * (1 if names[column] in NOT_PERCENT else 100) for column in columns]
            found.setdefault(title, []).append(values)
    return {title: list(zip(*values, strict=True)) for title, values in found.items()}


def plain(names: str, *columns: str) -> str:
    """Rows of evaluations (the mean, of several) without intervals and differences; a column is `heading in table.md=heading here`."""
    headings, sources = dict(column.split("=") for column in columns), found(names)
    rows = {title.strip("*"): values for title, values in _values(sources, list(headings)).items() if title[0] == "*"}
    body = [[title, *(f"{sum(column) / len(column):.1f}" for column in values)] for title, values in rows.items()]
    return markdown_table(["", *headings.values()], body) + _not_kept(sources)


def seeds(names: str, *columns: str) -> str:
    """Mean of each row and difference over evaluations of runs that differ in their seed, and the range over the seeds."""
    sources, body = found(names), []
    for title, values in _values(sources, columns).items():
        style = "+.1f" if " - " in title else ".1f"
        cells = [f"{sum(column) / len(column):{style}} ({min(column):{style}} to {max(column):{style}})" for column in values]
        body.append([title, str(len(values[0])), *cells])
    return markdown_table(["row", "seeds", *columns], body) + _not_kept(sources) if body else ""


def _run_name(source: Path) -> str:
    """`seed-0/mbpp-rs`: the last two parts of the path, or one directly below results/."""
    return "/".join(source.relative_to(ROOT / "results").parts[-2:])


def steps(names: str) -> str:
    """Means over the steps of training runs; the allocator's peak is the highest."""
    header = ["run", "steps", "completions a step", "generate s", "grade s", "train s", "together s", "peak GiB"]
    header += ["log-prob difference", "masked %"]
    body = []
    for folder in found(names):
        lines = list(read_jsonl(folder / "metrics.jsonl"))
        mean = lambda name: sum(line[name] for line in lines) / len(lines)  # noqa: B023
        phases = [mean(name) for name in PHASES]
        peak = max(line["gpu/peak_reserved_gib"] for line in lines)
        completions = json.loads((folder / "run.json").read_text())["plan"]["completions_per_step"]
        seconds = [f"{value:.1f}" for value in (*phases, sum(phases), peak)]
        difference, masked = mean("sampling/sampling_logp_difference/mean"), mean("sampling/masked_share")
        body.append([f"`{shown(folder)}`", str(len(lines)), str(completions), *seconds, f"{difference:.4f}", f"{100 * masked:.2f}"])
    return markdown_table(header, body) if body else ""


def speed(names: str) -> str:
    """Measured training steps, one file each."""
    columns = ("device", "n_devices", "config", "completions_per_s", "before_completions_per_s", "ratio", "peak_gib")
    header = ["file", "device", "cards", "config", "completions/s", "before", "ratio", "peak GiB"]
    body = [[f"`{shown(path)}`", *(_plain(json.loads(path.read_text()).get(name)) for name in columns)] for path in found(names)]
    return markdown_table(header, body) if body else ""


def _plain(value: object) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def judge(names: str) -> str:
    """The judge's benchmark, a table a file: seconds for a completion, and how many times ours go into them, CPU and wall."""
    tables, ours = [], ("judge", "judge, plain", "judge, hidden")
    for path in found(names):
        result = json.loads(path.read_text())
        rows, body = {row["name"]: row for row in result["rows"]}, []
        for name, row in rows.items():
            cells = [name, str(row["workers"]), f"{row['cpu_s']:.3f}", f"{row['wall_s']:.3f}", f"{row['agree']} of {result['n']}"]
            for other in ours:
                is_compared = name not in ours and other in rows and name.endswith("hidden") == other.endswith("hidden")
                ratios = [f"{row[unit] / rows[other][unit]:.1f}" for unit in ("cpu_s", "wall_s")] if is_compared else []
                cells.append(", ".join(ratios))
            body.append(cells)
        header = ["", "workers", "CPU s", "wall s", "same verdicts", *(f"times {name}" for name in ours)]
        where = f"{result['cores']} cores, load {result['load_average']} at the start, {result['tier']}, start-up {result['start_up_s']} s"
        what = f"`{shown(path)}`: {result['n']} completions of {result['file']}; judge version {result['judge_version']}"
        tables.append(f"{what}, commit {result['commit'][:7]}; {where}.\n\n" + markdown_table(header, body))
    return "\n\n".join(tables)


def cross(names: str) -> str:
    """What benchmarks/cross_precision.py counted, a column a file: rates in %, with intervals."""
    results = {path: json.loads(path.read_text()) for path in found(names)}
    rows = {"own tests pass -> right": ("honest_tests_precision", "own_passes"),
            "all tests of others pass -> right": ("cross_tests_precision", "cross_passes"),
            "right above wrong by `cargo_test_reward`": ("own_ranks_right", None), "by `cross_tests_reward`": ("cross_ranks_right", None),
            "pass@1": ("pass@1", None), "pass@1 of the pick": ("picked", None)}  # fmt: skip
    body = [["completions, groups", *(f"{result['completions']}, {result['groups']}" for result in results.values())]]
    for title, (name, count) in rows.items():
        cells = [cell(result["metrics"], name) for result in results.values()]
        counts = [result[count] if count else result["metrics"][name].get("pairs") for result in results.values()]
        body.append([title, *(f"{cell} of {n}" if n else cell for cell, n in zip(cells, counts, strict=True))])
    return markdown_table(["", *(f"`{path.stem.removeprefix('precision-')}`" for path in results)], body) if results else ""


def bank(names: str, column: str, of: str = "") -> str:
    """Completions of one row, grouped: builds, all hidden tests, mean share of them, with the intervals of eval.py."""
    (path,) = found(names)
    groups: dict[str, list[dict]] = {}
    for record in read_jsonl(path):
        _, *of_set = record["task_id"].split("/")[:-1]  # rust-tasks/short/median; without a middle, of the bank itself
        record["set"] = of_set[0] if of_set else "bank"
        for group in (record[column], "all") if not of or record["set"] == of else ():
            groups.setdefault(group, []).append(record)
    body = []
    for group, records in sorted(groups.items(), key=lambda item: (item[0] == "all", item[0])):
        stats = RowStats(group)
        for record in records:
            stats.add(NOT_KEPT | record)
        metrics = evaluation.summarise([stats], [], RESAMPLES)["rows"][0]["metrics"]
        share = sum(record["hidden_passed"] / record["hidden_total"] for record in records) / len(records)
        cells = [cell(metrics, name) for name in ("build", "hidden_tests")]
        body.append([group, str(len({record["task_id"] for record in records})), *cells, f"{100 * share:.1f}"])
    return markdown_table([column, "tasks", "builds %", "all hidden tests %", "share of hidden tests %"], body)


def _evaluated(folder: Path) -> list[dict]:
    """A row for each evaluation inside a training run, counted anew from its completions; `row` is the step."""
    by_step: dict[int, RowStats] = {}
    for record in read_jsonl(folder / "evaluations.jsonl.gz"):
        by_step.setdefault(record["step"], RowStats(str(record["step"]))).add(record)
    return evaluation.summarise(list(by_step.values()), [1, 5], RESAMPLES)["rows"]


def iterations(name: str) -> str:
    """The evaluations inside one training run: rates in %, with intervals, and the KL to the untrained policy."""
    (folder,) = found(name)
    body = []
    for row, line in zip(_evaluated(folder), read_jsonl(folder / "iterations.jsonl"), strict=True):
        cells = [cell(row["metrics"], metric) for metric in ("pass@1", "pass@5", "build")]
        body.append([str(line["iteration"]), row["row"], *cells, f"{line['kl']:.5f}", f"{line['elapsed_s'] / 60:.1f}"])
    return markdown_table(["iteration", "updates", "pass@1 %", "pass@5 %", "build %", "KL", "minutes"], body)


def runs(names: str) -> str:
    """Training runs, one folder each: their own evaluations, counted anew, at the start and where pass@1 was best."""
    header = ["run", "seed", "steps", "minutes", "pass@1 % before", "best pass@1 %", "at step", "pass@5 % there", "build % there", "entropy"]  # noqa: E501
    body = []
    for folder in found(names):
        metrics = list(read_jsonl(folder / "metrics.jsonl"))
        rows = _evaluated(folder)
        before, best = rows[0]["metrics"], max(rows, key=lambda row: row["metrics"]["pass@1"]["value"])
        seed = json.loads((folder / "run.json").read_text())["config"]["training"]["seed"]
        shown_run = [f"`{folder.name}`", str(seed), str(metrics[-1]["step"]), f"{metrics[-1]['elapsed_s'] / 60:.1f}"]
        measured = [cell(before, "pass@1"), cell(best["metrics"], "pass@1"), best["row"]]
        there = [cell(best["metrics"], name) for name in ("pass@5", "build")]
        body.append([*shown_run, *measured, *there, f"{metrics[0]['entropy']:.2f} to {metrics[-1]['entropy']:.2f}"])
    return markdown_table(header, body) if body else ""


def attacks(name: str) -> str:
    """How many of each round's programs were paid: by the judge before, at first sight, and after it was mended."""
    rounds, lines = json.loads((ROOT / name).read_text(encoding="utf-8")), []
    for facts in rounds:
        graded = [row for row in read_jsonl((ROOT / name).with_name(facts["file"])) if not row.get("set_aside")]
        paid = [sum(row["paid"][when] for row in graded) for when in facts["commits"]]
        shares = [f"{n} ({100 * n / len(graded):.0f} %)" for n in paid]
        lines.append([facts["name"], str(len(graded)), *shares, facts["commits"]["at_first_sight"][:7]])
    times = [f"paid {when.replace('_', ' ')}" for when in rounds[0]["commits"]]
    return markdown_table(["programs", "n", *times, "judge at first sight"], lines)


ALL = (rates, plain, seeds, steps, speed, judge, bank, cross, runs, iterations, chosen, attacks)
KINDS: dict[str, Callable[..., str]] = {table.__name__: table for table in ALL}


def with_tables(text: str) -> str:
    """The text of a README file with its tables made anew."""

    def made(match: re.Match) -> str:
        arguments = [argument.strip() for argument in match[3].split(" | ")]
        table = KINDS[match[2]](*arguments)
        return match[1] + (f"\n{table}\n\n" if table else "") + match[5]

    return BLOCK.sub(made, text)


def readme_files() -> list[Path]:
    return [ROOT / "README.md", *sorted(path for name in ("README.md", "tried.md") for path in (ROOT / "results").rglob(name))]


def stale(write: bool) -> list[str]:
    """Names of the files that differ from what they are made of; with `write` they are replaced."""
    names = []
    for path, text in evaluations():
        names += _replaced(path, text, write)
    for path in readme_files():
        names += _replaced(path, with_tables(path.read_text(encoding="utf-8")), write)
    return names


def _replaced(path: Path, text: str, write: bool) -> list[str]:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return []
    if write:
        path.write_text(text, encoding="utf-8")
    return [shown(path)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true", help="change nothing; exit status 1 when a file differs")
    mode.add_argument("--write", action="store_true", help="write what differs")
    args = parser.parse_args(argv)
    names = stale(args.write)
    for name in names:
        print(f"{name}: {'written' if args.write else 'differs from what it is made of: python results/tables.py --write'}")
    return int(bool(names) and args.check)


if __name__ == "__main__":
    sys.exit(main())
