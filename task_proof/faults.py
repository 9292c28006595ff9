"""What is wrong with a task before anybody trains on it: its reference solution, where its row holds one, is the witness.

    tried, faults = try_references(tasks, judge)

A reference is a column whose text is Rust that defines what the tests call: a whole program, a fenced answer, or the rest of the
function that the prompt begins. One that does not pass its own task's tests shows that no program may be able to. Without a
reference there is nothing to run, and only what can be read is told: tests that nobody or rustc cannot read, two that ask one call
for two answers, and tests of functions that the prompt does not name.
"""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import kinds
from judge.guards import LITERALS as PLAIN_LITERALS
from judge.program import (
    Program,
    check_hidden_tests,
    continuation,
    extract_program,
    hidden_text,
    holds_fence,
    is_plain_rust,
    read_program,
    with_main,
)
from judge.syntax import Index, Node, child_of, parse_rust, text_of, tokens_of, walk
from judge.verdict import NOT_COMPILED, Job, Verdict
from rust_tool import RustTool
from tasks import TASK_COLUMNS

MAX_TRIED = 200  # references that a run tries before it starts; check_tasks.py tries all
MIN_TRIED = 10  # programs of a task: all of fewer may have its types wrong
LITERALS = (*PLAIN_LITERALS, "boolean_literal", "negative_literal")
MISSING_CRATE = re.compile(r"E043[23]: [^`;]*`(?!(?:crate|super|self|std|core|alloc)\b)([a-z_][a-z0-9_]*)\b")  # types are upper case


def references(task: Mapping) -> dict[str, Program]:
    """Column -> program of every reference solution in a task row; empty where it has none, or no tests."""
    found = {}
    if kinds.kind_of(task) != kinds.WRITE:  # what such a row holds is to be changed
        return found
    words = set(re.findall(r"\w+", " ".join(task.get("tests") or ())))
    for name, text in task.items():
        if name in TASK_COLUMNS or not isinstance(text, str) or not re.search(r"[;{}]", text):
            continue
        program = _program(text, task["prompt"])
        wanted = {task.get("entry_point")} - {None} or words
        if program is not None and wanted & _written(program) and text not in (task.get("tests") or ()):
            found[name] = program
    return found


def _program(text: str, prompt: str) -> Program | None:
    if holds_fence(text):
        return extract_program(text)
    source = text if is_plain_rust(text) else continuation(prompt, text)
    return read_program(with_main(source)) if source else None


def _written(program: Program) -> set[str]:
    """Names of the types and functions of a program, without those left to be written (`{ // your code }`)."""
    root = parse_rust(program.source)
    functions = [node for node in walk(root) if node.type == "function_item"]
    empty = {text_of(child_of(f, "name")) for f in functions if all("comment" in part.type for part in child_of(f, "body").named_children)}
    types = {text_of(child_of(item, "name")) for item in root.named_children if item.type in ("struct_item", "enum_item", "trait_item")}
    return types | {*program.functions} - empty


def readable_fault(task: Mapping) -> str | None:
    """What can be told without running anything; one sentence, None where nothing is wrong."""
    tests = task.get("tests")
    if not tests:
        return None
    try:
        check_hidden_tests(tests, task.get("entry_point"))
    except ValueError as error:
        return str(error)
    return contradiction(tests)


def unnamed(task: Mapping) -> str | None:
    """Tests that call functions, none of which a program could know of: by the prompt, `entry_point` or the tests themselves."""
    if kinds.kind_of(task) != kinds.WRITE:
        return None
    called, known = set(), {*re.findall(r"\w+", task["prompt"]), str(task.get("entry_point"))}
    for text in task["tests"] or ():
        nodes = [*walk(_tree(text))]
        known |= {text_of(child_of(node, "name")) for node in nodes if node.type == "function_item"}
        known |= {text_of(child_of(node, "pattern")) for node in nodes if node.type == "let_declaration"}
        called |= {text_of(child_of(node, "function")) for node in nodes if node.type == "call_expression"}
        called |= {text_of(token) for node in nodes if node.type == "token_tree" for token in _called(node)}
    plain = sorted(name for name in called if re.fullmatch(r"[a-z_]\w*", name) and name != "drop")
    if plain and not known & {*plain}:
        return f"its tests call {plain[0]}, which its prompt does not name"
    return None


def _called(arguments: Node) -> Iterator[Node]:
    """Names with parentheses behind them, in a macro's arguments, but for methods and paths."""
    parts = arguments.children
    for before, name, behind in zip([None, *parts], parts, parts[1:], strict=False):
        if name.type == "identifier" and behind.type == "token_tree" and text_of(behind).startswith("("):
            if before is None or text_of(before) not in (".", "::"):
                yield name


def _tree(test: str) -> Node:
    return parse_rust(test if "fn " in test else f"fn main() {{\n{test}\n}}")


def contradiction(tests: Sequence[str]) -> str | None:
    """Two asserts that expect two literals of one call with literals."""
    expected: dict[str, str] = {}
    for text in tests:
        for node in walk(_tree(text)):
            if node.type != "macro_invocation" or text_of(child_of(node, "macro")) != "assert_eq":
                continue
            inside = text_of(node).partition("!")[2].strip()[1:-1]
            sides = _sides(inside)
            if sides is None:
                continue
            call, value = sides
            if expected.setdefault(call, value) != value:
                return f"its tests contradict each other: {call} is to be {expected[call]} and {value}"
    return None


def _sides(arguments: str) -> tuple[str, str] | None:
    """A call with literals and the literal it is compared with, without spaces; None for anything else."""
    tree = parse_rust(f"fn main() {{ f({arguments}); }}")
    call = next((node for node in walk(tree) if node.type == "arguments"), None)
    sides = call.named_children[:2] if call is not None else []
    calls = [side for side in sides if side.type == "call_expression"]
    values = [side for side in sides if side.type in LITERALS or side.type == "unary_expression"]
    if len(calls) != 1 or len(values) != 1 or tree.has_error or not _is_plain_call(calls[0]):
        return None
    return "".join(map(text_of, tokens_of(calls[0]))), "".join(map(text_of, tokens_of(values[0])))


def _is_plain_call(call: Node) -> bool:
    function, arguments = child_of(call, "function"), child_of(call, "arguments").named_children
    return function.type in ("identifier", "scoped_identifier") and bool(arguments) and all(one.type in LITERALS for one in arguments)


def fault_of(verdict: Verdict) -> str | None:
    """Why a reference's verdict shows a broken task; one sentence, None for one that passes."""
    errors = [f"{d.code}: {d.message}" if d.code else d.message for d in verdict.diagnostics if d.level.startswith("error")]
    said = verdict.hidden_failures.get(NOT_COMPILED) or "; ".join(errors[:3])
    crates = sorted(set(MISSING_CRATE.findall("; ".join([said, *errors]))))
    needs = f"needs crates that are not there ({', '.join(crates)}): " if crates else ""
    if not verdict.build_passed:
        return f"{needs}its reference does not compile: {said}"[:400]
    if NOT_COMPILED in verdict.hidden_failures:
        return f"{needs}its tests do not compile with the reference: {said}"[:400]
    if verdict.hidden_passed != verdict.hidden_total:
        name, why = next(iter(verdict.hidden_failures.items()), ("", verdict.guard or "refused"))
        first = f"{name}: {' '.join(why.split())}" if name else why
        return f"its reference passes {verdict.hidden_passed} of {verdict.hidden_total} tests ({first})"[:400]
    return None


def try_references(
    tasks: Sequence[Mapping], judge: RustTool, limit: int | None = None, given: Mapping[str, str] = {}
) -> tuple[int, dict[str, str]]:
    """Grade every task's references -> (tasks that have some, task id -> why none of them passes).

    limit: this many tasks, drawn with a fixed seed. given: task id -> a solution that stands elsewhere than in the row.
    """
    programs = {}
    for task in tasks:
        if task.get("tests"):
            own = given.get(task["task_id"])
            programs[task["task_id"]] = [_program(own, "")] if own else [*references(task).values()]
    having = [task for task in tasks if any(programs.get(task["task_id"], ())) and readable_fault(task) is None]
    if limit is not None and len(having) > limit:
        having = random.Random(0).sample(having, limit)
    asked = [(task, program) for task in having for program in programs[task["task_id"]] if program is not None]
    jobs = [Job(program, tuple(task["tests"]), task.get("entry_point"), task["prompt"]) for task, program in asked]
    verdicts = judge.grade(jobs) if jobs else []
    found: dict[str, list[str | None]] = {}
    for (task, _), verdict in zip(asked, verdicts, strict=True):
        if verdict.error_kind != "infra":  # which says nothing about the task
            found.setdefault(task["task_id"], []).append(fault_of(verdict))
    return len(found), {task_id: whys[0] for task_id, whys in found.items() if all(whys)}


def _configured_out(number: int, text: str) -> str:
    """A hidden test as a module or as the body of a function, as it is compiled, which is read and left out."""
    index = Index(parse_rust(text))
    has_items = index.tests or any(item.is_main for item in index.items)
    head, tail = (f"mod text{number}", "use super::*;\n") if has_items else (f"fn text{number}()", "")
    return f"#[cfg(any())]\n{head} {{\n{text}\n{tail}}}\n"


def try_parsing(tasks: Sequence[Mapping], judge: RustTool) -> dict[str, str]:
    """Task id -> what rustc says of a test that nothing compiles with: of what is configured out it reads the grammar alone.

    tasks: without a `readable_fault`.
    """
    texts_of = lambda task: [*map(_configured_out, itertools.count(), map(hidden_text, task["tests"]))]
    asked = [(task["task_id"], texts_of(task)) for task in tasks if task["tests"]]
    jobs = [Job(read_program("".join([*texts, "fn main() {}\n"]))) for _, texts in asked]
    found = {}
    for (task_id, texts), verdict in zip(asked, judge.grade(jobs) if jobs else [], strict=True):
        error = next((d for d in verdict.diagnostics if d.level.startswith("error")), None)
        if verdict.error_kind == "compile" and error is not None:
            ends = itertools.accumulate(text.count("\n") for text in texts)
            number = sum(end < (error.line or 1) for end in ends)
            found[task_id] = f"hidden test {number}: rustc cannot read it, nor with it the task's others: {error.message}"
    return found


def uncompiled_line(records: Iterable[Mapping]) -> str | None:
    """One line on graded completions: tasks whose hidden tests compile with no program, of MIN_TRIED or more that do. None without any."""
    tried, fine, said = Counter(), set(), {}
    for record in records:
        if record.get("build_passed") and record.get("hidden_total"):
            tried[record["task_id"]] += 1
            if record.get("hidden_error_kind") == "compile":
                said[record["task_id"]] = (record.get("hidden_failures") or {}).get(NOT_COMPILED, "why was not kept")
            else:
                fine.add(record["task_id"])
    often = [task_id for task_id, n in tried.most_common() if n >= MIN_TRIED]
    never = [task_id for task_id in often if task_id not in fine]
    if not never:
        return None
    return (
        f"the hidden tests of {len(never)} of {len(often)} tasks compile with none of {MIN_TRIED} or more programs that do by themselves: "
        f"they are hard, or wrong about a type; {never[0]}: {said[never[0]]}"
    )


def references_line(tasks: Sequence[Mapping], judge: RustTool) -> str | None:
    """One line for a run's start: what share of the tasks no program may be able to pass. None without any reference to tell."""
    n_tried, faults = try_references(tasks, judge, MAX_TRIED)
    if not n_tried:
        return None
    of = f"of {n_tried} tasks tried" if n_tried == MAX_TRIED else f"of the {n_tried} tasks with a reference solution"
    if not faults:
        return f"all {of[3:]} can be passed"
    task_id, why = next(iter(faults.items()))
    share = len(faults) / n_tried
    return f"{len(faults)} {of} ({share:.1%}) are not passed by it, so perhaps by none (python check_tasks.py names them); {task_id}: {why}"
