"""A summary as tables for a file and for a terminal, and as a chart."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import console
from evaluation.metrics import MIN_ASSERTS, NOT_PERCENT, TOP_CODES, ks_of
from kinds import repair


def format_changes(changes: dict) -> str:
    """`compare_with_trace` as Markdown: then and now, then what it did to the groups."""
    number = lambda value: "-" if value is None else f"{value:.3f}"
    percent = lambda value: "-" if value is None else f"{100 * value:.1f}"
    rows = [[name, number(of["before"]), number(of["after"])] for name, of in changes["functions"].items()]
    rows.append(["reward", number(changes["reward"]["before"]), number(changes["reward"]["after"])])
    rows.append(["groups without signal, %", *(percent(changes["without_signal"][when]) for when in ("before", "after"))])
    rank, verdicts, infra = changes["rank_correlation"], changes["verdict_changes"], changes["n_infra"]
    notes = [
        f"- rank correlation within groups (Spearman): {number(rank['value'])}, mean of {rank['n_groups']} with unequal rewards both times",
        f"- groups none of whose best completions is among the best now: {percent(changes['best_changes'])} %; "
        f"groups whose set of best completions differs: {percent(changes['best_set_changes'])} %",
        f"- completions whose verdict changed: {verdicts['n']} of {changes['n']}",
        *(f"  - {kind}: {n}" for kind, n in verdicts["kinds"].items()),
    ]
    if any(infra.values()):
        notes.append(f"- left out, the machine failed to grade them: {infra['before']} as traced, {infra['after']} now")
    title = f"Graded again, {changes['n']} completions in {changes['n_groups']} groups of the trace (means):"
    return "\n".join([title, "", markdown_table(["", "as traced", "now"], rows), "", *notes, ""])


TABLE = {  # metric -> heading
    "build": "build %",
    "clippy": "clippy %",
    "tests": "tests %",
    "honest_tests": "honest %",
    "tests_with_asserts": f"{MIN_ASSERTS}+ asserts %",
    "mean_length": "tokens",
    "picked": "picked right %",
}
LEGEND = f"""n: graded completions. tests: the completion's own tests pass; honest: and they are worth something;
{MIN_ASSERTS}+ asserts: and there are that many. pass@k: hidden tests. tokens: mean length of a completion.
[95 % interval, bootstrap over tasks]"""
NOTHING_WRONG = "nothing"  # of what went wrong
HIDDEN_TESTS = "`hidden_tests`: it builds, and its task's tests do not compile with it or a guard refused it"
SELF_TESTS = {
    "self_tests_precision": "passes own tests -> right %",
    "self_tests_recall": "right -> passes own tests %",
    "honest_tests_precision": "honest pass -> right %",
    "honest_tests_recall": "right -> honest pass %",
    "cross_tests_precision": "passes others' tests -> right %",
    "cross_tests_recall": "right -> passes others' tests %",
}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads well in a terminal too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    line = lambda cells: "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
    return "\n".join([line(header), line(["-" * width for width in widths]), *(line(row) for row in rows)])


def cell(metrics: dict, name: str, signed: bool = False) -> str:
    """`73.1 [70.2, 76.0]`, `-` where there is nothing to say."""
    if name not in metrics:
        return "-"
    scale = 1 if name in NOT_PERCENT else 100
    style = "+.1f" if signed else ".1f"
    value, low, high = (metrics[name][part] for part in ("value", "low", "high"))
    return f"{scale * value:{style}}" + (f" [{scale * low:{style}}, {scale * high:{style}}]" if low is not None else "")


def shown_columns(summary: dict) -> dict[str, str]:
    """Metric -> heading, for those that any row has."""
    columns = TABLE | {f"pass@{k}": f"pass@{k} %" for k in ks_of(summary["rows"])}
    return {name: title for name, title in columns.items() if any(name in row["metrics"] for row in summary["rows"])}


KIND_TABLE = {"build": "build %", "edit_places": "places %", "mean_length": "tokens"}  # metric -> heading


def kinds_table(by_kind: dict[str, dict]) -> str:
    """A row for each kind and row of the results, and for each paired difference; `no program` counts what was refused, too."""
    rows = [row for part in by_kind.values() for row in part["rows"]]
    columns = {f"pass@{k}": f"pass@{k} %" for k in ks_of(rows)}
    columns |= {name: title for name, title in KIND_TABLE.items() if any(name in row["metrics"] for row in rows)}
    body = []
    for kind, part in by_kind.items():
        for row in part["rows"]:
            none = f"{100 * row['error_kinds'].get('no_code', 0):.1f}"
            cells = [cell(row["metrics"], name) for name in columns]
            body.append([kind, row["row"], str(row["n_tasks"]), str(row["n"]), *cells, none])
        for d in part["differences"]:
            cells = [cell(d["metrics"], name, signed=True) for name in columns]
            body.append([kind, f"{d['row']} - {d['versus']}", str(d["n_tasks"]), "", *cells, ""])
    return markdown_table(["kind", "row", "tasks", "n", *columns.values(), "no program %"], body)


def went_wrong(rows: Sequence[dict]) -> dict[str, list[str]]:
    """What went wrong -> its share in each row, in percent; nothing first."""
    found = sorted({kind for row in rows for kind in row["error_kinds"]}, key=lambda kind: (kind != "none", kind))
    return {NOTHING_WRONG if k == "none" else k: [f"{100 * row['error_kinds'].get(k, 0):.1f}" for row in rows] for k in found}


def not_graded(rows: Sequence[dict]) -> list[str]:
    """A line about what the machine failed to grade, if anything."""
    infra = [f"{row['row']}: {row['n_infra']}" for row in rows if row["n_infra"]]
    return [f"NOT GRADED, the machine failed (in no rate above): {', '.join(infra)}"] if infra else []


def format_tables(summary: dict) -> str:
    """The summary as Markdown: rates, differences, what went wrong, self tests against hidden tests."""
    rows, columns = summary["rows"], shown_columns(summary)
    blocks = [markdown_table(
        ["row", "tasks", "n", *columns.values()],
        [[row["row"], str(row["n_tasks"]), str(row["n"]), *(cell(row["metrics"], name) for name in columns)] for row in rows],
    ) + "\n\n" + LEGEND]  # fmt: skip
    if "kinds" in summary:
        blocks.append("By kind of task:\n\n" + kinds_table(summary["kinds"]))
    if summary["differences"]:
        body = [
            [f"{d['row']} - {d['versus']}", str(d["n_tasks"]), *(cell(d["metrics"], name, signed=True) for name in columns)]
            for d in summary["differences"]
        ]
        title = "Paired differences on the tasks that both have, in points:\n\n"
        blocks.append(title + markdown_table(["rows", "tasks", *columns.values()], body))
    wrong = went_wrong(rows)
    body = [[row["row"], *cells] for row, *cells in zip(rows, *wrong.values(), strict=True)]
    legend = f" ({HIDDEN_TESTS})" if "hidden_tests" in wrong else ""
    blocks.append(f"What went wrong, % of completions{legend}:\n\n" + markdown_table(["row", *wrong], body))
    body = [[row["row"], ", ".join(f"{code} {n}" for code, n in row["rustc_codes"].items()) or "-"] for row in rows]
    blocks.append("Most frequent compiler errors, completions that have them:\n\n" + markdown_table(["row", "rustc codes"], body))
    if any(name in row["metrics"] for row in rows for name in SELF_TESTS):
        titles = {name: title for name, title in SELF_TESTS.items() if "cross" not in name or any(name in row["metrics"] for row in rows)}
        body = [[row["row"], *(cell(row["metrics"], name) for name in titles)] for row in rows]
        text = "Own tests as a judge of the code (right: every hidden test passes):\n\n"
        blocks.append(text + markdown_table(["row", *titles.values()], body))
    blocks += not_graded(rows)
    if "repair" in summary:
        blocks.append(format_repair(summary["repair"]).rstrip())
    return "\n\n".join(blocks) + "\n"


SHORT = {  # metric -> label on the terminal, which has a row for each and explains itself
    "build": "build %",
    "clippy": "clippy %",
    "tests": "own tests pass %",
    "honest_tests": "honest tests %",
    "tests_with_asserts": f"{MIN_ASSERTS}+ asserts %",
    "mean_length": "tokens, mean",
    "picked": "picked by tests, right %",
}


def format_terminal(summary: dict, where: str | None) -> str:
    """The summary for a terminal of any width: a row for each metric, a column for each row of results and each difference.

    `where` is the file that has what is left out here, None when there is none.
    """
    rows, pairs = summary["rows"], summary["differences"]
    header = ["", *(row["row"] for row in rows), *(f"{d['row']} - {d['versus']}" for d in pairs)]
    body = [["tasks", *(str(one["n_tasks"]) for one in [*rows, *pairs])]]
    body.append(["completions", *(str(row["n"]) for row in rows), *("" for _ in pairs)])
    for name in shown_columns(summary):
        label = SHORT.get(name, f"hidden {name} %")
        cells = [*(cell(row["metrics"], name) for row in rows), *(cell(d["metrics"], name, signed=True) for d in pairs)]
        body.append([label, *cells])
    blocks = [console.side_by_side(header, body)]
    if "kinds" in summary:
        parts = summary["kinds"].items()
        body = [[k, *(cell(row["metrics"], "pass@1") for row in part["rows"])] for k, part in parts if len(part["rows"]) == len(rows)]
        blocks.append(console.side_by_side(["pass@1 % by kind", *(row["row"] for row in rows)], body))
    notes = ["Honest: own tests that pass and are worth something.", "In brackets: 95 % interval, bootstrap over tasks."]
    notes += ["Differences are paired, in points."] if pairs else []
    blocks.append(textwrap.fill(" ".join(notes), console.width()))
    body = [[name, *cells] for name, cells in went_wrong(rows).items()]
    blocks.append(console.side_by_side(["went wrong, %", *(row["row"] for row in rows)], body))
    more = f"{where}, or --all_tables" if where else "--all_tables"
    files = f"Compiler errors, own tests as a judge of the code: {more}"
    blocks.append(textwrap.fill(files, console.width(), break_on_hyphens=False, break_long_words=False))  # a path can be copied
    blocks += [textwrap.fill(line, console.width()) for line in not_graded(rows)]
    return "\n\n".join(blocks) + "\n"


def draw_chart(summary: dict, path: Path) -> None:
    """Bar chart with intervals: a group of bars per rate, a bar per row."""
    from matplotlib.figure import Figure

    rows = summary["rows"]
    columns = {name: title for name, title in shown_columns(summary).items() if name not in NOT_PERCENT}
    figure = Figure(figsize=(max(6.0, 1.5 * len(columns)), 4.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(rows)
    for i, row in enumerate(rows):
        bars = [(j, row["metrics"][name]) for j, name in enumerate(columns) if name in row["metrics"]]
        places = [j + (i - (len(rows) - 1) / 2) * width for j, _ in bars]
        heights = [100 * m["value"] for _, m in bars]
        below = [max(0.0, 100 * (m["value"] - m["low"])) for _, m in bars]
        above = [max(0.0, 100 * (m["high"] - m["value"])) for _, m in bars]
        axes.bar(places, heights, width, yerr=[below, above], capsize=3, label=f"{row['row']} (n={row['n']})")
    axes.set_xticks(range(len(columns)), [title.removesuffix(" %").replace(" ", "\n") for title in columns.values()])
    axes.set_ylabel("% of completions (95 % interval)")
    axes.set_ylim(0, 100)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=min(3, len(rows)))
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=150)


def format_repair(by_row: dict[str, dict]) -> str:
    """`summarise_repair` as Markdown."""
    metrics = {name for part in by_row.values() for row in part["rows"] for name in row["metrics"]}
    columns = {"build": "build %", "honest_tests": "honest %"} | ({"pass@1": "pass@1 %"} if "pass@1" in metrics else {})
    body, codes = [], []
    for row, part in by_row.items():
        body += [[row, tries["row"], str(tries["n"]), *(cell(tries["metrics"], name) for name in columns)] for tries in part["rows"]]
        body += [[row, "difference", "", *(cell(d["metrics"], name, signed=True) for name in columns)] for d in part["differences"]]
        codes += repair.code_rows(row, part["codes"], TOP_CODES)
    tries = "A second try after cargo's message:\n\n" + markdown_table(["row", "", "n", *columns.values()], body)
    if not codes:
        return tries + "\n"
    header = ["row", "first error", "completions", "builds at last %", "solved at last %"]
    return f"{tries}\n\nCompiler errors of first tries and what became of them:\n\n{markdown_table(header, codes)}\n"
