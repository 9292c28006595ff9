"""Make tasks of kinds fix, fim, patch and next_edit (kinds/) from programs that are proved right, and fix tasks from a trace.

    python make_kinds.py --output_dir data                                          # all of the task bank, about 45 minutes on 2 cores
    python make_kinds.py --trace runs/mine --tasks data/rust_tasks_train.jsonl --output_dir data/mine

From a reference solution: fix by one small mistake that does not compile, or by a mutant that two hidden tests notice at least (one of
them is shown, and is no hidden test any more); fim by a gap; patch by another mutant, whose change is asked for in words
(kinds/requests.py); next_edit by an everyday edit whose definition is changed and whose uses are not (kinds/last_edits.py). From a
trace: programs of the policy that do not compile, with what cargo said of them. A task keeps its split. Writes kinds_SPLIT.jsonl.gz,
kinds_answers.jsonl.gz (nothing that trains reads it) and kinds_card.json; every row is proved by
`python check_tasks.py DIR/kinds_SPLIT.jsonl.gz --solutions DIR/kinds_answers.jsonl.gz`.
The choice is by hashes: the same input gives the same files.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import console
import kinds
from check_tasks import add_bank_arguments, grade_sources, load_solutions, split_of
from doctor import require_free_disk
from judge.errors import UserError, tell
from judge.syntax import Node, edited, parse_any_length, text_of, walk
from kinds import last_edits
from kinds.last_edits import Edit, order
from kinds.requests import request_for
from rust_tool import RustTool, Verdict
from task_proof.mutants import Mutant, mutants
from tasks import TaskError, load_tasks, read_rows
from traces import iter_trace, write_packed

BREAKS_TRIED, MUTANTS_TRIED, GAPS_TRIED = 5, 6, 2  # of one task
MOST_TRIED = 5  # edits or requests of one task, until one is good
MIN_NOTICED = 2  # hidden tests that a mutant fails: one of them is shown
RUN_TIMEOUT_S = 1.0  # CPU seconds: mutants often loop for ever
MAX_REGION_LINES, REGION_MARGIN = 30, 2  # between the first and last place of an edit; around them
MANY_PLACES = 3  # to change; an edit with more is not preferred
ANSWERS_FILE, CARD_FILE = "kinds_answers.jsonl.gz", "kinds_card.json"


# ---------------------------------------------------------------------------------------------------------------------
# Small mistakes that do not compile
# ---------------------------------------------------------------------------------------------------------------------

Change = tuple[str, int, int, str]  # what was done, start and end byte, replacement


def _dropped(node: Node, what: str, replacement: str = "") -> Change:
    return what, node.start_byte, node.end_byte, replacement


def _misspelt(name: str) -> str:
    """A name with two neighbouring letters swapped, or its last one doubled."""
    for at in range(len(name) - 1, 0, -1):
        if name[at] != name[at - 1] and name[at - 1 : at + 1].isalpha() and name[at].islower() == name[at - 1].islower():
            return name[: at - 1] + name[at] + name[at - 1] + name[at + 1 :]
    return name + name[-1]


def _element(node: Node) -> Change | None:
    """Drop one element of a list in brackets together with its comma."""
    following = node.next_sibling
    if following is not None and text_of(following) == ",":
        return f"{node.parent.type} element", node.start_byte, following.end_byte, ""
    previous = node.prev_sibling
    if previous is not None and text_of(previous) == ",":
        return f"{node.parent.type} element", previous.start_byte, node.end_byte, ""
    return _dropped(node, f"{node.parent.type} element") if node.parent.named_child_count == 1 else None


def _tokens(node: Node) -> Iterator[Change]:
    """Changes of single tokens."""
    text, parent = text_of(node), node.parent.type if node.parent else ""
    if node.type == "mutable_specifier":
        yield _dropped(node, "mut")
    elif node.type in (";", "}", ")") and parent not in ("array_type", "token_tree"):
        yield _dropped(node, f"{text} dropped")
    elif node.type == "&" and parent == "reference_expression" or node.type == "*" and parent == "unary_expression":
        yield _dropped(node, f"{text} dropped")
    elif node.type == "?":
        yield _dropped(node, "? dropped")
    elif node.type in ("identifier", "field_identifier", "type_identifier") and len(text) > 2 and parent != "function_item":
        yield _dropped(node, f"{node.type} misspelt", _misspelt(text))
    elif node.type == "primitive_type" and parent in ("type_cast_expression", "type_arguments", "let_declaration"):
        yield _dropped(node, "another number type", "u32" if text != "u32" else "i64")


def _nodes(node: Node) -> Iterator[Change]:
    """Changes of larger pieces."""
    if node.type in ("use_declaration", "attribute_item", "lifetime"):
        yield _dropped(node, f"{node.type} dropped")
    elif node.type == "type_cast_expression":
        yield _dropped(node, "cast dropped", text_of(node.child_by_field_name("value")))
    elif node.type == "reference_expression" and node.parent.type != "arguments":
        yield _dropped(node, "borrowed mutably", "&mut " + text_of(node.child_by_field_name("value")))
    elif node.type == "call_expression" and node.child_by_field_name("function").type == "field_expression":
        receiver = node.child_by_field_name("function").child_by_field_name("value")
        yield _dropped(node, "method call dropped", text_of(receiver))
    elif node.type == "generic_function":
        yield _dropped(node, "type arguments dropped", text_of(node.child_by_field_name("function")))
    elif node.type == "let_declaration" and (kind := node.child_by_field_name("type")) is not None:
        yield "type of a variable dropped", node.child_by_field_name("pattern").end_byte, kind.end_byte, ""
    elif node.type == "match_arm":
        yield _dropped(node, "match arm dropped")
    elif node.type in ("trait_bounds", "where_clause", "else_clause"):
        yield _dropped(node, f"{node.type} dropped")
    elif node.type == "field_initializer" or node.parent is not None and node.parent.type == "arguments" and node.is_named:
        if (change := _element(node)) is not None:
            yield change
    elif node.type == "closure_expression" and text_of(node).startswith("move "):
        yield "move dropped", node.start_byte, node.start_byte + len("move "), ""
    elif node.type == "string_literal" and node.parent.type in ("match_arm", "expression_statement", "arguments", "let_declaration"):
        yield _dropped(node, "String for &str", f"{text_of(node)}.to_string()")


def mistakes(source: str, limit: int) -> list[tuple[str, str]]:
    """Up to `limit` (what was done, changed source), each of another sort, in the order of a hash. They may compile."""
    by_sort: dict[str, list[Change]] = defaultdict(list)
    for node in walk(parse_any_length(source)):
        for change in (*_tokens(node), *_nodes(node)):
            by_sort[change[0]].append(change)
    sorts = sorted(by_sort, key=lambda sort: order(sort, source))
    firsts = (min(by_sort[sort], key=lambda change: order(*change, source)) for sort in sorts[:limit])
    return [(what, edited(source, [(start, end, text)])) for what, start, end, text in firsts]


# ---------------------------------------------------------------------------------------------------------------------
# Gaps
# ---------------------------------------------------------------------------------------------------------------------

STATEMENTS = ("let_declaration", "expression_statement", "return_expression")


def documented(task: Mapping, source: str) -> str:
    """The reference with the doc comment of the task's signature in front of the function: what the gap is for, without a chat."""
    comments = re.findall(r"^\s*(///.*)$", task.get("signature_prompt") or "", re.MULTILINE)
    found = re.search(rf"^(pub\s+)?fn\s+{re.escape(task['entry_point'])}\b", source, re.MULTILINE)
    if not comments or found is None:
        return source
    return source[: found.start()] + "\n".join(comments) + "\n" + source[found.start() :]


def _spans(source: str) -> Iterator[tuple[str, int, int]]:
    """(span kind, start, end byte) of what could be missing, inside function bodies."""
    for function in (node for node in walk(parse_any_length(source)) if node.type == "function_item"):
        body = function.child_by_field_name("body")
        if body is None:
            continue
        for node in walk(body):
            if node.type == "block" and node.named_child_count:
                first, last = node.named_children[0], node.named_children[-1]
                yield "body" if node.id == body.id else "block", first.start_byte, last.end_byte
            elif node.type in STATEMENTS:
                yield "statement", node.start_byte, node.end_byte
            elif node.type.endswith("_expression") and node.named_child_count > 1 and node.end_point[0] == node.start_point[0]:
                yield "expression", node.start_byte, node.end_byte
        yield from (("lines", one.start_byte, other.end_byte) for one, other in pairwise(body.named_children))


def gaps(source: str, limit: int) -> list[tuple[str, str, str, str]]:
    """Up to `limit` (span kind, prefix, middle, suffix) of a program, each of another span kind, in the order of a hash."""
    by_kind: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for kind, start, end in _spans(source):
        by_kind[kind].append((start, end))
    data, found = source.encode(), []
    for kind in sorted(by_kind, key=lambda kind: order(kind, source))[:limit]:
        start, end = min(by_kind[kind], key=lambda span: order(*span, source))
        found.append((kind, data[:start].decode(), data[start:end].decode(), data[end:].decode()))
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Edits that go on
# ---------------------------------------------------------------------------------------------------------------------


def edit_columns(edit: Edit) -> tuple[dict, str] | None:
    """(columns, answer) of a next_edit row; None where the places are too far apart for one region, or there are none."""
    now, after = (text.rstrip("\n").split("\n") for text in (edit.begun, edit.ended))
    places = sorted(kinds.changed_lines(edit.begun, edit.ended))
    if not places or edit.before == edit.begun or places[-1] - places[0] >= MAX_REGION_LINES:
        return None
    first, last = max(1, places[0] - REGION_MARGIN), min(len(now), places[-1] + REGION_MARGIN)
    before = edit.before.rstrip("\n").split("\n")
    diff = [line for line in difflib.unified_diff(before, now, lineterm="", n=1) if not line.startswith(("---", "+++"))]
    columns = {"code": edit.begun, "last_edit": "\n".join(diff), "region": [first, last], "places": places, "edit": edit.what}
    return columns, "\n".join(after[first - 1 : len(after) - (len(now) - last)])


def edits_to_try(task: Mapping, source: str) -> list[Edit]:
    """Edits of a task that are one region's, one of each sort: rather one with several places left."""
    by_sort: dict[str, list[Edit]] = defaultdict(list)
    for edit in last_edits.edits(task, source):
        if edit_columns(edit) is not None:
            by_sort[edit.what].append(edit)
    n_places = lambda edit: min(len(kinds.changed_lines(edit.begun, edit.ended)), MANY_PLACES)
    return [min(edits, key=lambda edit: (-n_places(edit), order(edit.begun))) for edits in by_sort.values()]


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------


def blocks_between(before: str, after: str) -> str:
    """SEARCH/REPLACE blocks that turn one program into another, with as many lines around a change as make it unique."""
    old, new = (text.rstrip("\n").split("\n") for text in (before, after))
    blocks, n_found = [], lambda lines: sum(old[at : at + len(lines)] == lines for at in range(len(old)))
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        above = below = 0
        is_found_once = lambda lines: bool("".join(lines).strip()) and n_found(lines) == 1
        while (i - above > 0 or j + below < len(old)) and not is_found_once(old[i - above : j + below]):
            above, below = (above + 1, below) if i - above > 0 and (above <= below or j + below >= len(old)) else (above, below + 1)
        search, replacement = old[i - above : j + below], [*old[i - above : i], *new[k:m], *old[j : j + below]]
        blocks.append("\n".join([kinds.SEARCH, *search, kinds.DIVIDER, *replacement, kinds.REPLACE]))
    return "\n\n".join(blocks)


def row_of(task: Mapping, kind: str, number: int, **columns: object) -> dict:
    """A row derived from a bank task: its words, tests and split, a task id of its own."""
    base = {"task_id": f"{task['task_id']}/{kind}{number or ''}", "kind": kind, "prompt": task["prompt"], "tests": task["tests"]}
    base |= {"entry_point": task["entry_point"], "category": task.get("category"), "difficulty": task.get("difficulty")}
    return base | {"source": task["source"], "of": task["task_id"]} | columns


def _passed(verdict: Verdict) -> list[int]:
    return [place for place, status in enumerate(verdict.hidden_statuses) if status == "ok"]


def _all_passed(verdict: Verdict) -> bool:
    return bool(verdict.hidden_total) and verdict.hidden_passed == verdict.hidden_total


def broken_rows(tasks: Sequence[Mapping], solutions: Mapping[str, str], judge: RustTool) -> Iterator[tuple[dict, str]]:
    """(fix row, answer) for tasks one of whose mistakes does not compile: of each, the one whose rustc code is rarest so far."""
    tried = [(task, what, code) for task in tasks for what, code in mistakes(solutions[task["task_id"]], BREAKS_TRIED)]
    verdicts = grade_sources(judge, [(task, code) for task, _, code in tried], "mistakes")
    failing: dict[str, list[tuple[str, str, Verdict]]] = defaultdict(list)
    for (task, what, code), verdict in zip(tried, verdicts, strict=True):
        if verdict.error_kind == "compile" and verdict.diagnostics:
            failing[task["task_id"]].append((what, code, verdict))
    seen: Counter[str] = Counter()
    for task in tasks:
        if not failing[task["task_id"]]:
            continue
        what, code, verdict = min(failing[task["task_id"]], key=lambda one: seen[first_code(one[2])])
        seen[first_code(verdict)] += 1
        message = kinds.cargo_message(code, map(asdict, verdict.diagnostics))
        columns = {"code": code, "message": message, "rustc": first_code(verdict), "mistake": what}
        columns["signature"] = kinds.signature_of(solutions[task["task_id"]], task["entry_point"])
        yield row_of(task, "fix", 1, **columns), solutions[task["task_id"]]


def first_code(verdict: Verdict) -> str:
    """Code of the first error, "syntax" for one without."""
    return next((one.code or "syntax" for one in verdict.diagnostics if one.level == "error"), "syntax")


def rarest_good(choices: Iterable[tuple[dict, list]], sort_of: Callable, grade: Callable) -> Iterator[tuple[dict, object, Verdict]]:
    """Of each task one of its choices, with a verdict: that of the sort tried least so far, and where it is no good another.

    grade: choices -> for each a verdict, None for one that is no good.
    """
    tried: Counter[str] = Counter()
    waiting = [(task, list(several)) for task, several in choices]
    for _ in range(MOST_TRIED):
        chosen = []
        for task, several in waiting:
            if several:
                one = min(several, key=lambda one: tried[sort_of(one)])
                several.remove(one)
                tried[sort_of(one)] += 1
                chosen.append((task, one))
        good = [(*choice, verdict) for choice, verdict in zip(chosen, grade(chosen), strict=True) if verdict is not None]
        yield from good
        done = {task["task_id"] for task, _, _ in good}
        waiting = [(task, several) for task, several in waiting if several and task["task_id"] not in done]


def _noticed(judge: RustTool, chosen: Sequence[tuple[dict, Mutant]]) -> list[Verdict | None]:
    """Verdicts of mutants, None for those that do not build or that too few hidden tests notice."""
    verdicts = grade_sources(judge, [(task, mutant.source) for task, mutant in chosen], "mutants")
    n_failed = [len(verdict.hidden_statuses) - len(_passed(verdict)) for verdict in verdicts]
    return [verdict if verdict.build_passed and n >= MIN_NOTICED else None for verdict, n in zip(verdicts, n_failed, strict=True)]


def failing_rows(tasks: Sequence[dict], solutions: Mapping[str, str], judge: RustTool) -> Iterator[tuple[dict, str]]:
    """(fix row, answer) of the first mutant of each task that is noticed."""
    tried = [(task, mutant) for task in tasks for mutant in mutants(solutions[task["task_id"]], MUTANTS_TRIED)]
    done = set()
    for (task, mutant), verdict in zip(tried, _noticed(judge, tried), strict=True):
        can_show_one = verdict is not None and len(verdict.hidden_statuses) == len(task["tests"])
        if can_show_one and task["task_id"] not in done:
            done.add(task["task_id"])
            yield _failing_row(task, mutant.source, verdict), solutions[task["task_id"]]


def patch_rows(tasks: Sequence[dict], solutions: Mapping[str, str], judge: RustTool) -> Iterator[tuple[dict, str]]:
    """(patch row, blocks) of mutants whose change can be asked for in words. The last ones come first: fix rows are made of the first."""
    asked: dict[str, str] = {}
    choices = []
    for task in tasks:
        reference, clear = solutions[task["task_id"]], []
        for mutant in reversed(mutants(reference, MUTANTS_TRIED)):
            said, row = request_for(mutant.kind, mutant.source, reference, *mutant.place), {"kind": "patch", "code": mutant.source}
            if said and kinds.read(row, blocks_between(mutant.source, reference))[1] is None:  # not of a program of one line
                asked[mutant.source] = said
                clear.append(mutant)
        choices.append((task, clear))
    for task, mutant, verdict in rarest_good(choices, lambda mutant: mutant.kind, lambda chosen: _noticed(judge, chosen)):
        row = row_of(task, "patch", 0, code=mutant.source, change=mutant.kind, passed_before=_passed(verdict))
        yield row | {"prompt": asked[mutant.source]}, blocks_between(mutant.source, solutions[task["task_id"]])


def _failing_row(task: Mapping, code: str, verdict: Verdict) -> dict:
    """A fix row that shows one of the tests that fail, which is then no hidden test any more."""
    shown = next(place for place, status in enumerate(verdict.hidden_statuses) if status != "ok")
    why = list(verdict.hidden_failures.values())[:1]
    message = f"test failed: {task['tests'][shown]}" + "".join(f"\n{text}" for text in why)
    left = [place for place in range(len(task["tests"])) if place != shown]
    passed = [left.index(place) for place in _passed(verdict)]
    tests = [task["tests"][place] for place in left]
    return row_of(task, "fix", 2, code=code, message=message, rustc="test", passed_before=passed) | {"tests": tests}


def gap_rows(tasks: Sequence[Mapping], solutions: Mapping[str, str], judge: RustTool) -> Iterator[tuple[dict, str]]:
    """(fim row, middle) for gaps that the tests notice."""
    tried = [(task, gap) for task in tasks for gap in gaps(documented(task, solutions[task["task_id"]]), GAPS_TRIED)]
    verdicts = grade_sources(judge, [(task, gap[1] + gap[3]) for task, gap in tried], "gaps")
    done: set[str] = set()
    for (task, (span, prefix, middle, suffix)), verdict in zip(tried, verdicts, strict=True):
        is_noticed = verdict.error_kind != "infra" and not _all_passed(verdict)
        if is_noticed and task["task_id"] not in done:
            done.add(task["task_id"])
            yield row_of(task, "fim", 0, prefix=prefix, suffix=suffix, span=span, passed_before=_passed(verdict)), middle


def next_edit_rows(tasks: Sequence[dict], solutions: Mapping[str, str], judge: RustTool) -> Iterator[tuple[dict, str]]:
    """(next_edit row, region) for edits that end well and whose beginning alone does not."""
    choices = [(task, edits_to_try(task, solutions[task["task_id"]])) for task in tasks]
    for task, edit, begun in rarest_good(choices, lambda edit: edit.what, lambda chosen: _begun(judge, chosen)):
        columns, answer = edit_columns(edit)
        prompt = " ".join(["Go on with an edit that was begun.", edit.note]).strip()
        yield row_of(task, "next_edit", 0) | columns | _tests_of(edit) | {"prompt": prompt, "passed_before": _passed(begun)}, answer


def _begun(judge: RustTool, chosen: Sequence[tuple[dict, Edit]]) -> list[Verdict | None]:
    """Verdicts, as the kind counts them, of files whose edits are begun; None where the end fails, or the beginning does not."""
    ended = _grade_edits(judge, chosen, "ended")
    ends_well = [_all_passed(verdict) and len(verdict.hidden_statuses) >= MIN_NOTICED for verdict in ended]
    begun = iter(_grade_edits(judge, [choice for choice, is_good in zip(chosen, ends_well, strict=True) if is_good], "begun"))
    verdicts = [next(begun) if is_good else None for is_good in ends_well]
    return [None if one is None or one.error_kind == "infra" or _all_passed(one) else one for one in verdicts]


def _grade_edits(judge: RustTool, edits: Sequence[tuple[dict, Edit]], state: str) -> list[Verdict]:
    jobs = [({**task, **_tests_of(edit)}, getattr(edit, state)) for task, edit in edits]
    return [kinds.counted({"kind": "next_edit"}, None, verdict) for verdict in grade_sources(judge, jobs, f"edits {state}")]


def _tests_of(edit: Edit) -> dict:
    return {"tests": edit.tests, "entry_point": edit.entry_point}


MAKERS = {"fix": (broken_rows, failing_rows), "patch": (patch_rows,), "fim": (gap_rows,), "next_edit": (next_edit_rows,)}


# ---------------------------------------------------------------------------------------------------------------------
# From a trace
# ---------------------------------------------------------------------------------------------------------------------


def traced_rows(trace: Path, tasks: Mapping[str, dict], solutions: Mapping[str, str]) -> Iterator[tuple[dict, str | None]]:
    """(fix row, reference or None) of every program of a trace that does not compile, each program once.

    Left out: programs whose signature is not the reference's, which a mended one has to keep. Raises TaskError for a trace of none of
    these tasks.
    """
    seen: set[tuple[str, str]] = set()
    numbers: Counter[str] = Counter()
    n_known = n_lines = 0
    for record in iter_trace(trace):
        n_lines += 1
        task = tasks.get(record.get("task_id"))
        n_known += task is not None
        program = record.get("program")
        if task is None or record.get("error_kind") != "compile" or not program or (task["task_id"], program) in seen:
            continue
        seen.add((task["task_id"], program))
        reference, name = solutions.get(task["task_id"]), task["entry_point"]
        if reference and kinds.signature_of(program, name) != kinds.signature_of(reference, name):
            continue
        numbers[task["task_id"]] += 1
        said = record.get("diagnostics") or []
        codes = [one["code"] or "syntax" for one in said if one["level"] == "error"]
        columns = {"code": program, "message": kinds.cargo_message(program, said), "rustc": codes[0] if codes else "syntax"}
        columns |= {} if reference else {"signature": None}
        yield row_of(task, "fix", 0, **columns) | {"task_id": f"{task['task_id']}/traced{numbers[task['task_id']]}"}, reference
    if not n_known:
        found = f"none of its {n_lines} completions is of a task of --tasks"
        raise TaskError(f"--trace {trace}: {found}: pass the file that the run trained on")


# ---------------------------------------------------------------------------------------------------------------------
# Files and the command line
# ---------------------------------------------------------------------------------------------------------------------


def card(rows: Sequence[Mapping]) -> dict:
    """How many rows there are by kind, and their spread of rustc codes, span kinds, changes and edits."""
    by = lambda column: dict(Counter(str(row[column]) for row in rows if column in row).most_common())
    columns = {"kinds": "kind", "rustc": "rustc", "spans": "span", "changes": "change", "edits": "edit"}
    return {"rows": len(rows), **{name: by(column) for name, column in columns.items()}}




def make(tasks: Sequence[dict], solutions: Mapping[str, str], judge: RustTool, asked: Sequence[str]) -> list[tuple[dict, str]]:
    """(row, answer) of the kinds asked for, by task."""
    made = [pair for kind in asked for maker in MAKERS[kind] for pair in maker(tasks, solutions, judge)]
    return in_order(made, tasks)


def in_order(made: Iterable[tuple[dict, str]], tasks: Sequence[Mapping]) -> list[tuple[dict, str]]:
    """(row, answer) by the task that each is made of."""
    places = {task["task_id"]: place for place, task in enumerate(tasks)}
    return sorted(made, key=lambda pair: (places.get(pair[0]["of"], len(places)), pair[0]["task_id"]))


def kept_rows(arguments: argparse.Namespace, split: str) -> list[tuple[dict, str]]:
    """(row, answer) of kinds that are not asked for, from files that a run before wrote to the folder."""
    file, answers_file = arguments.output_dir / f"kinds_{split}.jsonl.gz", arguments.output_dir / ANSWERS_FILE
    if set(arguments.kinds) == set(kinds.KINDS) or arguments.trace is not None or not (file.exists() and answers_file.exists()):
        return []
    answers = load_solutions(answers_file)
    rows = [row for row in read_rows(file) if row["kind"] not in arguments.kinds]
    return [(row, answers[row["task_id"]]) for row in rows if row["task_id"] in answers]


def of_other_splits(arguments: argparse.Namespace) -> tuple[list[dict], dict]:
    """(answers, cards) that a run before wrote for splits that are not made now."""
    folder, now = arguments.output_dir, {split_of(file) for file in arguments.tasks}
    if not (folder / ANSWERS_FILE).exists() or not (folder / CARD_FILE).exists():
        return [], {}
    cards = {split: counts for split, counts in json.loads((folder / CARD_FILE).read_text(encoding="utf-8")).items() if split not in now}
    files = [path for split in cards if (path := folder / f"kinds_{split}.jsonl.gz").exists()]
    theirs = {row["task_id"] for path in files for row in read_rows(path)}
    return [row for row in read_rows(folder / ANSWERS_FILE) if row["task_id"] in theirs], cards


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = console.Parser(description=__doc__.splitlines()[0])
    add_bank_arguments(parser)
    parser.add_argument("--trace", type=Path, help="fix tasks from this run folder or trace instead")
    parser.add_argument("--kinds", nargs="+", choices=list(kinds.KINDS), default=list(kinds.KINDS),
                        help="others stay as they are in files that are there already")
    parser.add_argument("--limit", type=int, help="only so many tasks of each file")
    arguments = parser.parse_args(argv)
    parser.require_counts(arguments, "limit", "workers")
    return arguments


def run(arguments: argparse.Namespace) -> dict:
    """Make and write everything -> the card. Raises UserError."""
    require_free_disk(arguments.output_dir, needed_gib=0.1)
    solutions = load_solutions(arguments.solutions)
    answers, cards = of_other_splits(arguments)
    for file in arguments.tasks:
        split = split_of(file)
        tasks = load_tasks(str(file), limit=arguments.limit)
        if arguments.trace is not None:
            made = list(traced_rows(arguments.trace, {task["task_id"]: task for task in tasks}, solutions))
        else:
            tasks = [task for task in tasks if task["task_id"] in solutions and task["tests"]]
            if not tasks:
                raise TaskError(f"{file}: none of its tasks has hidden tests and a solution in {arguments.solutions}")
            with RustTool(workers=arguments.workers, sandbox=arguments.sandbox, run_timeout_s=RUN_TIMEOUT_S) as judge:
                made = make(tasks, solutions, judge, arguments.kinds)
        made = in_order([*made, *kept_rows(arguments, split)], tasks)
        write_packed(arguments.output_dir / f"kinds_{split}.jsonl.gz", (row for row, _ in made))
        answers += [{"task_id": row["task_id"], "solution": answer} for row, answer in made if answer is not None]
        cards[split] = card([row for row, _ in made])
        print(f"{split}: {json.dumps(cards[split])}", flush=True)
    write_packed(arguments.output_dir / ANSWERS_FILE, answers)
    (arguments.output_dir / CARD_FILE).write_text(json.dumps(cards, indent=1) + "\n", encoding="utf-8")
    return cards


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: exit status 0 when the files are written, 1 when they cannot be."""
    try:
        run(read_arguments(argv))
    except (UserError, OSError) as error:
        tell("make_kinds.py", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
