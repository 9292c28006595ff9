"""Prove that the task bank is sound: references pass, tests notice what is wrong, nothing is in it twice or taken from elsewhere.

    python check_tasks.py --report report.json
    python check_tasks.py data/rust_tasks_test.jsonl --sample 20 --against mbpp.jsonl mbpp-rs.jsonl humaneval.jsonl
    python check_tasks.py FILE         # anybody's tasks, in any layout: which of them are broken

Tasks without our columns category and difficulty are only asked whether they can be trained on (`task_proof/faults.py`): whether
their tests can be read and do not contradict each other, and whether the reference solution passes them where the row holds one
(or `--solutions` does). Tests that do not compile, and crates that are not there, are named. For our own:

Per task, with the judge that pays rewards: the reference passes every hidden test without a word from clippy, functions that
panic pass none, a constant answer passes at most MAX_CONSTANT_SHARE of them, and at least MIN_KILLED small changes of the
reference (mutants) are noticed. Over the files: no id, function name, prompt or solution twice, and no prompt that shares its
wording with a prompt of `--against`. One line per problem; exit status 1 when there is one.

Not proved: that a prompt determines what its tests check (people read for that), and that a task resembles nothing published
elsewhere; wording is compared with the files named only. Surviving mutants are reported, not refused: some equal the reference.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import kinds
from judge.program import check_hidden_tests, code_blocks, extract_program
from judge.sandbox import SandboxUnavailable
from judge.syntax import ASSERT_MACROS, FAILING, Node, parse_any_length, text_of, walk
from rust_tool import EDITIONS, Job, Judge, ToolchainError, Verdict
from task_proof.faults import readable_fault, try_references
from task_proof.kinds import prove_in_batches
from tasks import TaskError, load_tasks, read_rows, signature_prompt

DATA = Path(__file__).with_name("data")
BANK = tuple(DATA / f"rust_tasks_{split}.jsonl" for split in ("train", "val", "test"))
SOLUTIONS = DATA / "rust_tasks_solutions.jsonl"
CATEGORIES = (
    "numbers", "strings", "unicode", "collections", "iterators", "ownership", "traits",
    "enums", "errors", "parsing", "recursion", "simulation", "bits", "structures",
)  # fmt: skip
DIFFICULTIES = ("easy", "medium", "hard")
TYPE_ITEMS = ("struct_item", "enum_item", "union_item", "type_item", "trait_item")

MIN_TESTS = 6
MAX_MUTANTS = 8  # tried per task; as many again for a task whose first ones do not show enough
MIN_KILLED = 2
MAX_CONSTANT_SHARE = 0.7  # of the hidden tests: more, and a constant would earn most of `hidden_tests_reward`
RUN_TIMEOUT_S = 1.0  # CPU seconds of one test: references take milliseconds, mutants often loop for ever
JOBS_PER_WORKER = 24  # graded at once

# Near duplicates. Prompts of different tasks share few runs of three words besides "write a rust function": at most 15 % of
# them in this bank. Solutions are short and full of idioms: up to 61 % between different tasks, 68 % and more where two
# authors had the same idea (three pairs, of which one task each was dropped).
PROMPT_NGRAM, PROMPT_SIMILARITY = 3, 0.25
SOLUTION_NGRAM, SOLUTION_SIMILARITY = 5, 0.65
MIN_SOLUTION_NGRAMS = 12  # one-liners agree by chance
# Overlap with other prompt sets: a run of eight words is rarely shared by chance (GPT-3 and later used 8 to 13 words);
# a quarter of the shorter text being such runs is copying.
OVERLAP_NGRAM, OVERLAP_SHARE = 8, 0.25
NEAREST_SHOWN = 20


# ---------------------------------------------------------------------------------------------------------------------
# Syntax
# ---------------------------------------------------------------------------------------------------------------------

def edited(source: str, start: int, end: int, replacement: str) -> str:
    """`source` with its bytes from `start` to `end` replaced."""
    data = source.encode()
    return (data[:start] + replacement.encode() + data[end:]).decode()


def functions_named(root: Node, name: str) -> list[Node]:
    """Functions of that name, with or without a body."""
    kinds = ("function_item", "function_signature_item")
    return [node for node in walk(root) if node.type in kinds and text_of(node.child_by_field_name("name")) == name]


def shape_of(function: Node) -> str:
    """A function's generics, parameters and return type as text to be compared (see `_plain_code`)."""
    fields = ("type_parameters", "parameters", "return_type")
    parts = [text_of(function.child_by_field_name(name)) for name in fields]
    clauses = [text_of(child) for child in function.named_children if child.type == "where_clause"]
    returns = f"->{parts[2]}" if parts[2] else ""
    return _plain_code(parts[0] + parts[1] + returns + "".join(clauses))


def _plain_code(text: str) -> str:
    """Text without what does not matter to a caller: layout, `mut` of a parameter, paths of std's names, trailing commas."""
    text = re.sub(r"([(,])\s*mut\s+(?=\w+\s*:)", r"\1", text)
    text = re.sub(r"\b(?:[a-z_]\w*::)+(?=\w)", "", text)
    return re.sub(r",(?=[)}>]|$)", "", re.sub(r"\s+", "", text))


# ---------------------------------------------------------------------------------------------------------------------
# Mutants: the reference with one small mistake
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """A changed program."""

    kind: str  # "comparison", "statement", ...
    what: str  # for people: "line 4: `<` -> `<=`"
    source: str
    place: tuple[int, int, str]  # start and end byte in the reference, what stands there instead


@dataclass(frozen=True)
class _Edit:
    kind: str
    start: int
    end: int
    replacement: str


BOUNDARIES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
COMPARISONS = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "!=", "!=": "=="}
ARITHMETIC = {"+": "-", "-": "+", "*": "+", "/": "*", "%": "/", "&": "|", "|": "&", "^": "|", "<<": ">>", ">>": "<<"}
LOGIC = {"&&": "||", "||": "&&"}
TWINS = (
    ("max", "min"), ("max_by_key", "min_by_key"), ("max_by", "min_by"), ("any", "all"), ("first", "last"),
    ("is_some", "is_none"), ("is_ok", "is_err"), ("starts_with", "ends_with"), ("take_while", "skip_while"),
    ("take", "skip"), ("position", "rposition"), ("find", "rfind"), ("split_first", "split_last"),
    ("split_once", "rsplit_once"), ("pop_front", "pop_back"), ("push_front", "push_back"), ("front", "back"),
    ("saturating_sub", "wrapping_sub"), ("saturating_add", "wrapping_add"), ("saturating_mul", "wrapping_mul"),
    ("checked_add", "checked_sub"), ("floor", "ceil"), ("count_ones", "count_zeros"), ("leading_zeros", "trailing_zeros"),
    ("is_uppercase", "is_lowercase"), ("is_ascii_uppercase", "is_ascii_lowercase"), ("to_uppercase", "to_lowercase"),
    ("to_ascii_uppercase", "to_ascii_lowercase"), ("is_ascii_digit", "is_ascii_alphabetic"),
    ("is_alphabetic", "is_alphanumeric"), ("next", "last"), ("sum", "product"), ("rotate_left", "rotate_right"),
    ("rem_euclid", "div_euclid"), ("trim_start", "trim_end"), ("and_then", "or_else"), ("sort", "reverse"),
    ("saturating_add_signed", "wrapping_add_signed"), ("checked_mul", "checked_add"), ("trim_start_matches", "trim_end_matches"),
    ("strip_prefix", "strip_suffix"),
)  # fmt: skip
SWAPPED_METHODS = {a: b for pair in TWINS for a, b in (pair, pair[::-1])}
DROPPED_METHODS = ("rev", "trim", "trim_start", "trim_end", "trim_start_matches", "trim_end_matches", "abs", "skip", "take",
                   "filter", "step_by", "to_lowercase", "to_uppercase", "to_ascii_lowercase", "to_ascii_uppercase",
                   "take_while", "skip_while", "chain", "clamp", "saturating_sub", "pow")  # fmt: skip
PREDICATE_METHODS = ("filter", "partition", "any", "all", "position", "rposition", "find", "retain", "take_while", "skip_while")
NEGATED_METHODS = ("is_empty", "contains", "contains_key", "insert", "is_multiple_of", "is_ascii_digit", "is_alphabetic")
INTEGER = re.compile(r"(0x[0-9a-f_]+|0b[01_]+|0o[0-7_]+|[0-9][0-9_]*)([iu](?:8|16|32|64|128|size))?", re.IGNORECASE)
# In the order in which they are tried; one of each kind before a second of any.
KINDS = ("comparison", "boundary", "arithmetic", "integer", "branch", "arm", "method", "statement", "logic", "negation",
         "unwrap_or", "range", "variant", "option", "boolean", "order", "string", "char", "float", "width", "predicate",
         "argument", "loop", "body")  # fmt: skip


def mutants(source: str, limit: int = MAX_MUTANTS) -> list[Mutant]:
    """Up to `limit` programs that differ from `source` in one place of a function body, the same ones every time.

    They need not compile. Kinds take turns, whole bodies come last; within a kind, places come in the order of a hash, so that
    the first lines are not preferred.
    """
    by_kind: dict[str, list[_Edit]] = defaultdict(list)
    for edit in _edits(parse_any_length(source)):
        by_kind[edit.kind].append(edit)
    for edits in by_kind.values():
        edits.sort(key=lambda edit: hashlib.sha256(f"{edit.start} {edit.replacement} {source}".encode()).digest())
    last = by_kind.pop("body", [])
    rounds = range(max(map(len, by_kind.values()), default=0))
    turns = (by_kind[kind][turn] for turn in rounds for kind in KINDS if turn < len(by_kind[kind]))
    made: dict[str, Mutant] = {}
    for edit in (*turns, *last):
        if len(made) == limit:
            break
        changed = edited(source, edit.start, edit.end, edit.replacement)
        if changed != source:
            made.setdefault(changed, Mutant(edit.kind, _described(source, edit), changed, (edit.start, edit.end, edit.replacement)))
    return list(made.values())


def _described(source: str, edit: _Edit) -> str:
    data = source.encode()
    line = data[: edit.start].count(b"\n") + 1
    before, after = (" ".join(text.split()) for text in (data[edit.start : edit.end].decode(), edit.replacement))
    return f"line {line}: `{before[:60]}` -> `{after[:60]}`"


def _edits(root: Node) -> Iterator[_Edit]:
    """Every change of one place, over all function bodies and constants."""
    variants = _unit_variants(root)
    for holder in _bodies(root):
        if holder.parent.type == "function_item":
            yield from (_replace("body", holder, body) for body in _constants_for(holder.parent))
        for node in walk(holder):
            mutate = _MUTATORS.get(node.type)
            if mutate is not None:
                yield from mutate(node)
            if node.type == "scoped_identifier" and text_of(node) in variants:
                yield _replace("variant", node, variants[text_of(node)])


def _bodies(root: Node) -> list[Node]:
    """Bodies of outermost functions and values of constants, outside `#[cfg(test)]` modules (references have none)."""
    found, stack = [], [root]
    while stack:
        node = stack.pop()
        inner = {"function_item": "body", "const_item": "value", "static_item": "value"}.get(node.type)
        if inner is None:
            stack.extend(reversed(node.children))
        elif node.child_by_field_name(inner) is not None:
            found.append(node.child_by_field_name(inner))
    return found


def _unit_variants(root: Node) -> dict[str, str]:
    """`Enum::Variant` -> the enum's next variant without fields, for the variants without fields of the file's enums."""
    after: dict[str, str] = {}
    for node in walk(root):
        if node.type == "enum_item":
            name, body = text_of(node.child_by_field_name("name")), node.child_by_field_name("body")
            plain = [v for v in body.named_children if v.type == "enum_variant" and v.child_by_field_name("body") is None]
            paths = [f"{name}::{text_of(variant.child_by_field_name('name'))}" for variant in plain]
            after |= dict(zip(paths, paths[1:] + paths[:1])) if len(paths) > 1 else {}
    return after


def _replace(kind: str, node: Node, replacement: str) -> _Edit:
    return _Edit(kind, node.start_byte, node.end_byte, replacement)


def _binary(node: Node) -> Iterator[_Edit]:
    operator = node.child_by_field_name("operator")
    tables = (("boundary", BOUNDARIES), ("comparison", COMPARISONS), ("arithmetic", ARITHMETIC), ("logic", LOGIC))
    for kind, table in tables:
        if text_of(operator) in table:
            yield _replace(kind, operator, table[text_of(operator)])


def _compound(node: Node) -> Iterator[_Edit]:
    operator = node.child_by_field_name("operator")
    symbol = text_of(operator).removesuffix("=")
    if symbol in ARITHMETIC:
        yield _replace("arithmetic", operator, ARITHMETIC[symbol] + "=")


def _range(node: Node) -> Iterator[_Edit]:
    for child in node.children[:-1]:  # a range without an end has its dots last
        if child.type in ("..", "..="):
            yield _replace("range", child, "..=" if child.type == ".." else "..")


def _integer(node: Node) -> Iterator[_Edit]:
    match = INTEGER.fullmatch(text_of(node))
    if match is None or node.parent.type in ("array_type", "type_arguments"):
        return
    digits = match[1].replace("_", "").lower()
    value = int(digits, 0) if digits[:2] in ("0x", "0b", "0o") else int(digits)
    is_fallback = node.parent.type == "arguments" and _method_name(node.parent.parent) == "unwrap_or"
    yield _replace("unwrap_or" if is_fallback else "integer", node, f"{value + 1}{match[2] or ''}")


def _float(node: Node) -> Iterator[_Edit]:
    yield _replace("float", node, f"({text_of(node)} + 1.0)")


def _boolean(node: Node) -> Iterator[_Edit]:
    yield _replace("boolean", node, "false" if text_of(node) == "true" else "true")


def _string(node: Node) -> Iterator[_Edit]:
    call = node.parent if node.parent.type == "macro_invocation" else node.parent.parent
    if _method_name(call) == "expect" or _macro_name(call) in (*FAILING, *ASSERT_MACROS):
        return  # a message that no test sees
    yield _Edit("string", node.end_byte - 1, node.end_byte, '_"')
    wider = re.sub(r"(?<=:)([^{}0-9]*0?)([1-9])(?=[^{}]*\})", lambda width: f"{width[1]}{int(width[2]) + 1}", text_of(node))
    if wider != text_of(node) and _macro_name(call):
        yield _replace("width", node, wider)


def _char(node: Node) -> Iterator[_Edit]:
    prefix, char = re.fullmatch(r"(b?)'(.*)'", text_of(node), flags=re.DOTALL).groups()
    yield _replace("char", node, f"{prefix}'{'y' if char == 'x' else 'x'}'")


def _unary(node: Node) -> Iterator[_Edit]:
    if node.children[0].type == "!":
        yield _Edit("negation", node.children[0].start_byte, node.children[0].end_byte, "")


def _if(node: Node) -> Iterator[_Edit]:
    condition, otherwise = node.child_by_field_name("condition"), node.child_by_field_name("alternative")
    if condition is not None and condition.type not in ("let_condition", "let_chain"):
        yield _replace("branch", condition, f"!({text_of(condition)})")
    if otherwise is not None:
        yield _replace("branch", node, text_of(otherwise.named_children[-1]))


def _match(node: Node) -> Iterator[_Edit]:
    """An arm removed where a later `_` takes over; else an arm with the next one's value."""
    arms = [child for child in node.named_children if child.type == "match_arm"]
    for arm, following in zip(arms, arms[1:]):
        value, other = arm.child_by_field_name("value"), following.child_by_field_name("value")
        if text_of(arms[-1].child_by_field_name("pattern")) == "_":
            yield _replace("arm", arm, "")
        elif text_of(value) != text_of(other):
            yield _replace("arm", value, text_of(other))


def _guarded_pattern(node: Node) -> Iterator[_Edit]:
    condition = node.child_by_field_name("condition")
    if condition is not None and condition.type not in ("let_condition", "let_chain"):
        yield _replace("branch", condition, f"!({text_of(condition)})")


def _for(node: Node) -> Iterator[_Edit]:
    over = node.child_by_field_name("value")
    yield _replace("loop", over, f"({text_of(over)}).into_iter().skip(1)")


def _statement(node: Node) -> Iterator[_Edit]:
    if text_of(node).endswith(";"):
        yield _replace("statement", node, "")


def _call(node: Node) -> Iterator[_Edit]:
    callee, name = node.child_by_field_name("function"), _method_name(node)
    if callee.type == "identifier" and text_of(callee) == "Some":
        yield _replace("option", node, "None")
    if name in SWAPPED_METHODS:
        yield _replace("method", callee.child_by_field_name("field"), SWAPPED_METHODS[name])
    if name in DROPPED_METHODS:
        yield _Edit("method", callee.child_by_field_name("value").end_byte, node.end_byte, "")
    if name in NEGATED_METHODS and node.parent.type != "expression_statement":
        yield _replace("negation", node, f"(!{text_of(node)})")
    if name == "cmp":
        yield _Edit("order", node.end_byte, node.end_byte, ".reverse()")
    for argument in node.child_by_field_name("arguments").named_children:
        if argument.type == "identifier":
            yield _Edit("argument", argument.end_byte, argument.end_byte, " + 1")  # compiles for numbers
        elif argument.type == "closure_expression" and name in PREDICATE_METHODS:
            body = argument.child_by_field_name("body")
            yield _replace("predicate", body, f"!({text_of(body)})")


def _method_name(node: Node | None) -> str:
    callee = node.child_by_field_name("function") if node is not None and node.type == "call_expression" else None
    return text_of(callee.child_by_field_name("field")) if callee is not None and callee.type == "field_expression" else ""


def _macro_name(node: Node | None) -> str:
    return text_of(node.child_by_field_name("macro")) if node is not None and node.type == "macro_invocation" else ""


_MUTATORS: Mapping[str, Callable[[Node], Iterator[_Edit]]] = {
    "binary_expression": _binary,
    "compound_assignment_expr": _compound,
    "range_expression": _range,
    "range_pattern": _range,
    "integer_literal": _integer,
    "float_literal": _float,
    "boolean_literal": _boolean,
    "string_literal": _string,
    "char_literal": _char,
    "unary_expression": _unary,
    "if_expression": _if,
    "match_block": _match,
    "match_pattern": _guarded_pattern,
    "for_expression": _for,
    "expression_statement": _statement,
    "call_expression": _call,
}


# ---------------------------------------------------------------------------------------------------------------------
# Stubs: answers without any thought
# ---------------------------------------------------------------------------------------------------------------------

PANIC = ' if true { panic!("stub") }'


def panicking(source: str, except_for: str | None = None) -> str:
    """`source` with a panic as the first statement of every function, those named `except_for` aside; bodies stay, for their types."""
    functions = [node for node in walk(parse_any_length(source)) if node.type == "function_item" and node.child_by_field_name("body")]
    for function in reversed(functions):  # inner ones last in the text of their outer one, so places stay true
        if text_of(function.child_by_field_name("name")) != except_for:
            start = function.child_by_field_name("body").start_byte + 1
            source = edited(source, start, start, PANIC)
    return source


def constant_answers(source: str, function_name: str) -> list[str]:
    """Programs whose function of that name returns a constant, whatever it is asked; all other functions panic."""
    base = panicking(source, except_for=function_name)
    function = functions_named(parse_any_length(base), function_name)[0]
    body = function.child_by_field_name("body")
    return [edited(base, body.start_byte, body.end_byte, constant) for constant in _constants_for(function)]


def _constants_for(function: Node) -> list[str]:
    """Bodies that return a constant, going by the return type; one that does not compile proves nothing."""
    returns = text_of(function.child_by_field_name("return_type"))
    if returns in ("", "()"):
        return ["{}"]
    if returns == "bool":
        return ["{ false }", "{ true }"]
    if returns.startswith("impl Iterator"):
        return ["{ std::iter::empty() }"]
    return ["{ Ok(Default::default()) }" if re.match(r"(\w+::)*Result<", returns) else "{ Default::default() }"]


# ---------------------------------------------------------------------------------------------------------------------
# The proof of one task
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Proof:
    """What the judge said about one task's reference, stubs and mutants."""

    task_id: str
    n_tests: int
    problems: list[str] = field(default_factory=list)
    constant_passed: int = 0  # hidden tests that the best constant answer of the entry point passes
    compiled: Counter[str] = field(default_factory=Counter)  # mutants by kind
    killed: Counter[str] = field(default_factory=Counter)
    survivors: list[str] = field(default_factory=list)

    def as_row(self) -> dict:
        """The proof as JSON: compiled and killed as totals."""
        return asdict(self) | {"compiled": self.compiled.total(), "killed": self.killed.total()}


def job_for(task: Mapping, source: str) -> Job:
    """What the judge is asked about a program for a task, as if a model had answered with it."""
    program = extract_program(f"```rust\n{source}\n```")
    return Job(program=program, hidden_tests=tuple(task["tests"]), entry_point=task["entry_point"], prompt=task["prompt"])


def prove(
    tasks: Sequence[Mapping],
    solutions: Mapping[str, str],
    judge: Judge,
    *,
    max_mutants: int = MAX_MUTANTS,
    show_progress: bool = False,
) -> list[Proof]:
    """Grade references, then stubs and mutants of those that pass. One proof per task, in order.

    Args:
        tasks: Rows with at least task_id, prompt, tests and entry_point, whose tests the judge can read.
        solutions: task_id -> reference.
        judge: Anything with `grade(jobs) -> list[Verdict]` and `workers`.
        max_mutants: Mutants per task; as many again where fewer than MIN_KILLED are noticed.
    """
    proofs = {task["task_id"]: Proof(task["task_id"], len(task["tests"])) for task in tasks}
    answers = [(task, solutions[task["task_id"]]) for task in tasks]
    for (task, _), verdict in zip(answers, grade_sources(judge, answers, "references", show_progress)):
        proofs[task["task_id"]].problems += reference_problems(verdict, len(task["tests"]))
    sound = [(task, source) for task, source in answers if not proofs[task["task_id"]].problems]
    _prove_stubs(sound, proofs, judge, show_progress)
    _prove_mutants(sound, proofs, judge, range(0, max_mutants), show_progress)
    weak = [(task, source) for task, source in sound if proofs[task["task_id"]].killed.total() < MIN_KILLED]
    _prove_mutants(weak, proofs, judge, range(max_mutants, 2 * max_mutants), show_progress)
    for task, _ in weak:
        proof = proofs[task["task_id"]]
        if proof.killed.total() < MIN_KILLED:
            found = f"{proof.killed.total()} of {proof.compiled.total()} mutants that compile are noticed, expected at least {MIN_KILLED}"
            proof.problems.append("; ".join([f"the tests are weak: {found}", *proof.survivors[:3]]))
    return list(proofs.values())


def reference_problems(verdict: Verdict, n_tests: int) -> list[str]:
    """Why a verdict is not that of a sound reference; one sentence each."""
    said = "; ".join(f"{d.code or d.level}: {d.message.splitlines()[0][:160]}" for d in verdict.diagnostics[:3] if d.message)
    if verdict.error_kind == "infra":
        return [f"the machine failed to grade the reference ({said}): run it again, and `python doctor.py` if it stays so"]
    if not verdict.build_passed:
        return [f"the reference does not compile ({said})"]
    problems = []
    if not verdict.clippy_passed or verdict.clippy_warnings:
        problems.append(f"clippy objects to the reference ({said})")
    if verdict.hidden_total < n_tests:
        problems.append(f"the judge reads {verdict.hidden_total} asserts where the row has {n_tests} texts of them")
    if verdict.hidden_passed != verdict.hidden_total:
        kind = verdict.error_kind or "the tests do not compile with it"
        problems.append(f"the reference passes {verdict.hidden_passed} of {verdict.hidden_total} hidden tests ({kind})")
    if verdict.guard not in (None, "no_tests"):
        problems.append(f"a guard refuses the reference ({verdict.guard})")
    return problems


def has_run(verdict: Verdict) -> bool:
    """Whether a program compiled together with the hidden tests, so that their outcome says something."""
    return verdict.build_passed and bool(verdict.hidden_passed or verdict.error_kind not in (None, "infra", "compile"))


def _prove_stubs(answers: Sequence[tuple[Mapping, str]], proofs: Mapping[str, Proof], judge: Judge, show: bool) -> None:
    """Every hidden test must call something that the task asks for, and not too many may expect the same answer."""
    panics = [(task, panicking(source)) for task, source in answers]
    constants = [(task, stub) for task, source in answers for stub in constant_answers(source, task["entry_point"])]
    verdicts = grade_sources(judge, [*panics, *constants], "stubs", show)
    for (task, _), verdict in zip(panics, verdicts):
        if verdict.hidden_passed:
            found = f"{verdict.hidden_passed} of {verdict.hidden_total} hidden tests"
            proofs[task["task_id"]].problems.append(f"{found} pass when every function of the reference panics: they test nothing")
    for (task, _), verdict in zip(constants, verdicts[len(panics) :]):
        proof = proofs[task["task_id"]]
        proof.constant_passed = max(proof.constant_passed, verdict.hidden_passed or 0)
    for task, _ in answers:
        proof = proofs[task["task_id"]]
        if proof.constant_passed > MAX_CONSTANT_SHARE * proof.n_tests:
            found = f"{proof.constant_passed} of {proof.n_tests} hidden tests"
            proof.problems.append(f"a constant answer passes {found}, expected at most {MAX_CONSTANT_SHARE:.0%}: add tests that differ")


def _prove_mutants(
    answers: Sequence[tuple[Mapping, str]], proofs: Mapping[str, Proof], judge: Judge, places: range, show: bool
) -> None:
    tried = [(task, mutant) for task, source in answers for mutant in mutants(source, places.stop)[places.start :]]
    verdicts = grade_sources(judge, [(task, mutant.source) for task, mutant in tried], "mutants", show)
    for (task, mutant), verdict in zip(tried, verdicts):
        proof = proofs[task["task_id"]]
        if not has_run(verdict):
            continue
        proof.compiled[mutant.kind] += 1
        if verdict.hidden_passed < verdict.hidden_total:
            proof.killed[mutant.kind] += 1
        else:
            proof.survivors.append(mutant.what)


def grade_sources(judge: Judge, answers: Sequence[tuple[Mapping, str]], what: str, show: bool = True) -> list[Verdict]:
    """A verdict per (task, source), batch by batch under a progress bar."""
    from tqdm import tqdm

    size, verdicts = JOBS_PER_WORKER * judge.workers, []
    with tqdm(total=len(answers), desc=what, unit="", disable=not show or not answers, mininterval=0.5) as bar:
        for start in range(0, len(answers), size):
            batch = [job_for(task, source) for task, source in answers[start : start + size]]
            verdicts += judge.grade(batch)
            bar.update(len(batch))
    return verdicts


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------


def row_problems(task: Mapping, solution: str | None) -> list[str]:
    """What is wrong with a row before anything runs; one sentence each."""
    prompt, name, tests = task["prompt"], task.get("entry_point") or "", task.get("tests") or []
    variant = task.get("signature_prompt") or ""
    problems = []
    if not solution:
        problems.append("no reference solution: add a line with its task_id to the solutions file")
    if task.get("category") not in CATEGORIES:
        problems.append(f"unknown category {task.get('category')!r}: expected one of {', '.join(CATEGORIES)}")
    if task.get("difficulty") not in DIFFICULTIES:
        problems.append(f"unknown difficulty {task.get('difficulty')!r}: expected one of {', '.join(DIFFICULTIES)}")
    if len(tests) < MIN_TESTS:
        problems.append(f"{len(tests)} hidden tests, expected at least {MIN_TESTS}")
    if not name or not re.search(rf"\b{re.escape(name)}\b", prompt):
        problems.append(f"the prompt does not name the entry point {name!r}")
    shown = "".join(f"{prompt} {variant}".split())
    if any("".join(test.split()).rstrip(";") in shown for test in tests):
        problems.append("a hidden test stands in the prompt word for word")
    try:
        for test in tests:
            check_hidden_tests([test], name)
    except ValueError as error:
        problems.append(str(error))
    return problems + _signature_problems(prompt, variant, name, solution)


def _signature_problems(prompt: str, variant: str, name: str, solution: str | None) -> list[str]:
    """Whether both wordings show the function, and name the types, that the reference defines."""
    shown = [found for block in code_blocks(variant) for found in functions_named(parse_any_length(block.text), name)]
    if not shown:
        return [f"signature_prompt shows no `fn {name}`"]
    defined = functions_named(parse_any_length(solution or ""), name)
    if solution and not defined:
        return [f"the reference defines no `fn {name}`"]
    if defined and shape_of(shown[-1]) != shape_of(defined[0]):
        return [f"signature_prompt shows `{shape_of(shown[-1])}`, the reference has `{shape_of(defined[0])}`"]
    problems = []
    if defined and name + shape_of(defined[0]) not in _plain_code(prompt):
        problems.append(f"the prompt does not show the signature `{name}{shape_of(defined[0])}`")
    types = [node for block in code_blocks(variant) for node in walk(parse_any_length(block.text)) if node.type in TYPE_ITEMS]
    for type_name in (text_of(node.child_by_field_name("name")) for node in types):
        if not re.search(rf"\b{type_name}\b", prompt):
            problems.append(f"the prompt does not name the type {type_name} that signature_prompt defines")
    return problems


# ---------------------------------------------------------------------------------------------------------------------
# Likeness
# ---------------------------------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """Words and numbers in lower case; names fall apart at their underscores."""
    return re.findall(r"[^\W_]+", text.lower())


def ngrams(tokens: Sequence[str], n: int) -> frozenset[tuple[str, ...]]:
    """Runs of `n` tokens; a shorter text is one run."""
    return frozenset(tuple(tokens[i : i + n]) for i in range(max(1, len(tokens) - n + 1))) if tokens else frozenset()


def solution_tokens(source: str) -> list[str]:
    """Tokens of a program without comments, plain names (variables, functions) all alike; methods, types and literals stay."""
    leaves = (node for node in walk(parse_any_length(source)) if not node.children and "comment" not in node.type)
    return ["name" if leaf.type in ("identifier", "shorthand_field_identifier") else text_of(leaf) for leaf in leaves]


def shared_counts(left: Sequence[frozenset], right: Sequence[frozenset]) -> Iterator[tuple[int, int, int]]:
    """(index in left, index in right, shared n-grams) of every pair that shares any."""
    holders: dict[object, list[int]] = defaultdict(list)
    for j, grams in enumerate(right):
        for gram in grams:
            holders[gram].append(j)
    for i, grams in enumerate(left):
        for j, count in Counter(j for gram in grams for j in holders.get(gram, ())).items():
            yield i, j, count


@dataclass(frozen=True)
class Likeness:
    """Two texts and how alike they are, in [0, 1]."""

    one: str
    other: str
    value: float


def near_duplicates(keys: Sequence[str], grams: Sequence[frozenset], at_least: float) -> list[Likeness]:
    """Pairs whose n-grams agree (Jaccard: shared / all) to at least that share, the most alike first."""
    found = []
    for i, j, shared in shared_counts(grams, grams):
        value = shared / (len(grams[i]) + len(grams[j]) - shared)
        if i < j and value >= at_least:
            found.append(Likeness(keys[i], keys[j], value))
    return sorted(found, key=lambda pair: -pair.value)


def duplicate_problems(tasks: Sequence[Mapping], solutions: Mapping[str, str]) -> list[str]:
    """Ids, function names, prompts and solutions that appear twice. `tasks` have `file`, where each was read."""
    problems = []
    by_id, by_name = defaultdict(list), defaultdict(list)
    for task in tasks:
        by_id[task["task_id"]].append(task["file"])
        by_name[task["entry_point"]].append(task["task_id"])
    problems += [f"{key}: in {' and in '.join(files)}: an id belongs to one split" for key, files in by_id.items() if len(files) > 1]
    for name, ids in by_name.items():
        if len(set(ids)) > 1:
            problems.append(f"{', '.join(sorted(set(ids)))}: all ask for a function named {name}")
    unique = list({task["task_id"]: task for task in tasks}.values())
    keys = [task["task_id"] for task in unique]
    prompts = [ngrams(words_of(task["prompt"]), PROMPT_NGRAM) for task in unique]
    for pair in near_duplicates(keys, prompts, PROMPT_SIMILARITY):
        problems.append(f"{pair.one}, {pair.other}: prompts {pair.value:.0%} alike (limit {PROMPT_SIMILARITY:.0%}): drop one")
    for pair in similar_solutions(keys, solutions, SOLUTION_SIMILARITY):
        problems.append(f"{pair.one}, {pair.other}: solutions {pair.value:.0%} alike (limit {SOLUTION_SIMILARITY:.0%}): drop one")
    return problems


def similar_solutions(keys: Sequence[str], solutions: Mapping[str, str], at_least: float) -> list[Likeness]:
    """Pairs of references alike but for names; those below MIN_SOLUTION_NGRAMS n-grams are left out."""
    grams = {key: ngrams(solution_tokens(solutions[key]), SOLUTION_NGRAM) for key in keys if key in solutions}
    grams = {key: found for key, found in grams.items() if len(found) >= MIN_SOLUTION_NGRAMS}
    return near_duplicates(list(grams), list(grams.values()), at_least)


# ---------------------------------------------------------------------------------------------------------------------
# Overlap with other prompt sets
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Overlap:
    """How the bank's texts compare with those of one other file. Ids and numbers only, none of its texts."""

    file: str
    n_texts: int
    n_tasks_sharing: int  # tasks with at least one n-gram of OVERLAP_NGRAM words in common with some text
    shares: tuple[Likeness, ...]  # largest share of n-grams per task that has one, of the shorter text, largest first
    equal_names: tuple[tuple[str, str], ...]  # (task_id, id of the text that asks for a function of the same name)
    nearest: tuple[Likeness, ...]  # each task's nearest text by content words (cosine, rare words weigh more), nearest first

    def problems(self) -> list[str]:
        """One line per task that takes its wording from a text."""
        limit = f"limit {OVERLAP_SHARE:.0%} of the shorter text's runs of {OVERLAP_NGRAM} words"
        return [
            f"{pair.one}: shares {pair.value:.0%} of its wording with {pair.other} of {self.file} ({limit}): drop or reword it"
            for pair in self.shares
            if pair.value > OVERLAP_SHARE
        ]


def overlap_with(tasks: Sequence[Mapping], path: str) -> Overlap:
    """Compare prompts in both wordings with every prompt of a file of any known layout. Raises TaskError."""
    texts = load_tasks(path)
    ours = [_wordings(task) for task in tasks]
    theirs = [ngrams(words_of(_unframed(text["prompt"])), OVERLAP_NGRAM) for text in texts]
    largest: dict[str, Likeness] = {}
    for i, j, shared in shared_counts(ours, theirs):
        pair = Likeness(tasks[i]["task_id"], texts[j]["task_id"], shared / min(len(ours[i]), len(theirs[j])))
        largest[pair.one] = max(pair, largest.get(pair.one, pair), key=lambda p: p.value)
    names = defaultdict(list)
    for text in texts:
        for name in function_names(text):
            names[_plain(name)].append(text["task_id"])
    return Overlap(
        file=Path(path).name,
        n_texts=len(texts),
        n_tasks_sharing=len(largest),
        shares=tuple(sorted(largest.values(), key=lambda pair: -pair.value)),
        equal_names=tuple((t["task_id"], other) for t in tasks for other in dict.fromkeys(names[_plain(t["entry_point"])])),
        nearest=nearest_texts(tasks, texts),
    )


def _wordings(task: Mapping) -> frozenset:
    both = (task["prompt"], task.get("signature_prompt") or "")
    return frozenset().union(*(ngrams(words_of(_unframed(text)), OVERLAP_NGRAM) for text in both))


def _unframed(prompt: str) -> str:
    """A prompt without the sentences that `tasks.signature_prompt` puts around every signature."""
    for example in ("fn", "struct A;\nfn"):
        before, after = signature_prompt(example).split(f"{example} {{")
        prompt = prompt.removeprefix(before).removesuffix(after)
    return prompt


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def function_names(text: Mapping) -> list[str]:
    """Names of the functions that another set's row asks for: its entry point, or what its Python solution defines."""
    code = text.get("code") or text.get("canonical_solution") or ""
    return [text["entry_point"]] if text.get("entry_point") else re.findall(r"^def\s+(\w+)", code if isinstance(code, str) else "", re.M)


def nearest_texts(tasks: Sequence[Mapping], texts: Sequence[Mapping]) -> tuple[Likeness, ...]:
    """Each task's nearest text by the cosine of its words, a word weighing log(texts / texts with it)."""
    ours, theirs = ([Counter(words_of(_unframed(row["prompt"]))) for row in rows] for rows in (tasks, texts))
    spread = Counter(word for words in (*ours, *theirs) for word in words)
    weight = {word: math.log((len(ours) + len(theirs)) / count) for word, count in spread.items()}
    holders: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for j, words in enumerate(theirs):
        for word, value in _unit_vector(words, weight).items():
            holders[word].append((j, value))
    nearest = []
    for task, words in zip(tasks, ours):
        cosine: dict[int, float] = defaultdict(float)
        for word, value in _unit_vector(words, weight).items():
            for j, other in holders.get(word, ()):
                cosine[j] += value * other
        if cosine:
            best = max(cosine, key=cosine.__getitem__)
            nearest.append(Likeness(task["task_id"], texts[best]["task_id"], round(cosine[best], 3)))
    return tuple(sorted(nearest, key=lambda pair: -pair.value))


def _unit_vector(words: Counter[str], weight: Mapping[str, float]) -> dict[str, float]:
    vector = {word: (1 + math.log(count)) * weight[word] for word, count in words.items()}
    length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
    return {word: value / length for word, value in vector.items()}


# ---------------------------------------------------------------------------------------------------------------------
# Reading, reporting, command line
# ---------------------------------------------------------------------------------------------------------------------


def load_bank(files: Iterable[Path | str] = BANK, columns: dict[str, str] | None = None) -> list[dict]:
    """Task rows of all files, in order, each with the `file` it came from. `columns` as for load_tasks. Raises TaskError."""
    return [task | {"file": Path(file).name} for file in files for task in load_tasks(str(file), columns=columns)]


def load_solutions(path: Path | str = SOLUTIONS) -> dict[str, str]:
    """task_id -> reference solution. Raises TaskError: no such file, a line without the two columns, an id twice."""
    if not Path(path).is_file():
        raise TaskError(f"{path}: no such file (expected a jsonl of task_id and solution)")
    solutions: dict[str, str] = {}
    for number, row in enumerate(read_rows(Path(path)), start=1):
        if not isinstance(row.get("task_id"), str) or not isinstance(row.get("solution"), str):
            raise TaskError(f"{path}, row {number}: expected task_id and solution as texts, found {', '.join(row)}")
        if row["task_id"] in solutions:
            raise TaskError(f"{path}, row {number}: the task id {row['task_id']!r} appears more than once")
        solutions[row["task_id"]] = row["solution"]
    return solutions


def sample_of(tasks: Sequence[dict], count: int | None, seed: int) -> list[dict]:
    """`count` tasks drawn with `seed`, in file order; all of them for None."""
    if count is None or count >= len(tasks):
        return list(tasks)
    chosen = set(random.Random(seed).sample(range(len(tasks)), count))
    return [task for index, task in enumerate(tasks) if index in chosen]


def counts_of(tasks: Sequence[Mapping]) -> dict:
    """How many tasks there are by file, category and difficulty."""
    by = {column: dict(Counter(str(task.get(column)) for task in tasks)) for column in ("file", "category", "difficulty")}
    both = Counter(f"{task.get('category')}/{task.get('difficulty')}" for task in tasks)
    n_tests = sum(len(task["tests"] or ()) for task in tasks)
    return {"tasks": len(tasks), "hidden_tests": n_tests, **by, "category/difficulty": dict(sorted(both.items()))}


def mutant_counts(proofs: Sequence[Proof]) -> dict:
    """Killed and compiled mutants, in all and by kind."""
    compiled, killed = (sum((getattr(p, name) for p in proofs), Counter()) for name in ("compiled", "killed"))
    by_kind = {kind: {"killed": killed[kind], "compiled": compiled[kind]} for kind in KINDS if compiled[kind]}
    return {"killed": killed.total(), "compiled": compiled.total(), "by_kind": by_kind}


def overlap_row(overlap: Overlap) -> dict:
    """One other file's part of the report."""
    return {
        "file": overlap.file,
        "texts": overlap.n_texts,
        "tasks_sharing_a_run": overlap.n_tasks_sharing,
        "run_words": OVERLAP_NGRAM,
        "largest_share": round(overlap.shares[0].value, 3) if overlap.shares else 0.0,
        "shares": [asdict(pair) for pair in overlap.shares[:NEAREST_SHOWN]],
        "equal_names": [list(pair) for pair in overlap.equal_names],
        "nearest": [asdict(pair) for pair in overlap.nearest[:NEAREST_SHOWN]],
    }


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, default=list(BANK), help="task files (default: the bank's three)")
    parser.add_argument("--solutions", type=Path, help="jsonl of task_id and solution (default: the bank's; of other files, their rows')")
    for name in ("prompt", "tests", "task_id", "entry_point"):
        parser.add_argument(f"--{name}_column", metavar="NAME", help=f"column that holds the {name} in the files")
    parser.add_argument("--edition", choices=EDITIONS, default=EDITIONS[0], help="Rust edition that programs are compiled as")
    parser.add_argument("--sample", type=int, metavar="N", help="prove N tasks only; rows and likeness are checked for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--against", nargs="+", default=[], metavar="FILE", help="prompt sets that nothing may be taken from")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write counts, mutants and likeness there")
    parser.add_argument("--record", type=Path, metavar="FILE.jsonl", help="of other kinds than write: go on with a proof that was stopped")
    parser.add_argument("--mutants", type=int, default=MAX_MUTANTS, help="tried per task")
    parser.add_argument("--workers", type=int, help="default: all cores")
    parser.add_argument("--sandbox", default="auto")
    arguments = parser.parse_args(argv)
    for name in ("sample", "mutants", "workers"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name} {value}: expected at least 1")
    return arguments


def check(arguments: argparse.Namespace) -> tuple[list[str], dict]:
    """Run every check -> (problems, one line each; the report). Raises TaskError, ToolchainError, SandboxUnavailable."""
    columns = {name: getattr(arguments, f"{name}_column") for name in ("prompt", "tests", "task_id", "entry_point")}
    tasks = load_bank(arguments.files, columns)
    if any(kinds.kind_of(task) != kinds.WRITE for task in tasks):
        return check_kinds(arguments, tasks)
    if not any("category" in task and "difficulty" in task for task in tasks):
        return check_others(arguments, tasks)
    solutions = load_solutions(arguments.solutions or SOLUTIONS)
    by_row = {id(task): row_problems(task, solutions.get(task["task_id"])) for task in tasks}
    problems = [f"{task['task_id']}: {problem}" for task in tasks for problem in by_row[id(task)]]
    problems += duplicate_problems(tasks, solutions)
    overlaps = [overlap_with(tasks, path) for path in arguments.against]
    problems += [line for overlap in overlaps for line in overlap.problems()]

    provable = {task["task_id"]: task for task in tasks if not by_row[id(task)]}
    chosen = sample_of(list(provable.values()), arguments.sample, arguments.seed)
    with open_judge(arguments, run_timeout_s=RUN_TIMEOUT_S) as judge:
        proofs = prove(chosen, solutions, judge, max_mutants=arguments.mutants, show_progress=True)
        described = judge.describe()
    problems += [f"{proof.task_id}: {problem}" for proof in proofs for problem in proof.problems]
    report = {
        "counts": counts_of(tasks),
        "proved": len(proofs),
        "mutants": mutant_counts(proofs),
        "overlap": [overlap_row(overlap) for overlap in overlaps],
        "problems": problems,
        "judge": {key: described[key] for key in ("judge_version", "rustc", "clippy")},
        "tasks": [proof.as_row() for proof in proofs],
    }
    return problems, report


def open_judge(arguments: argparse.Namespace, **limits: float) -> Judge:
    """The judge as the command line asks for it. Raises ToolchainError or SandboxUnavailable."""
    return Judge(workers=arguments.workers, sandbox=arguments.sandbox, edition=arguments.edition, **limits)


def check_kinds(arguments: argparse.Namespace, tasks: Sequence[dict]) -> tuple[list[str], dict]:
    """Tasks that mend, fill in or change a program: the reference answer earns everything, the start as it is nothing."""
    if arguments.solutions is None:
        raise TaskError("tasks of other kinds than write need --solutions, the reference answers that make_kinds.py wrote beside them")
    chosen = sample_of(tasks, arguments.sample, arguments.seed)
    others = [task for task in chosen if kinds.kind_of(task) == kinds.WRITE]
    problems = [f"{task['task_id']}: of kind write, in a file of other kinds: check it in one of its own" for task in others]
    with open_judge(arguments, run_timeout_s=RUN_TIMEOUT_S) as judge:
        rows = [task for task in chosen if kinds.kind_of(task) != kinds.WRITE]
        problems += prove_in_batches(rows, load_solutions(arguments.solutions), judge, arguments.record)
        described = judge.describe()
    counts = {"tasks": len(tasks), "looked_at": len(rows), "kinds": dict(Counter(map(kinds.kind_of, rows)))}
    judged_by = {key: described[key] for key in ("judge_version", "rustc", "edition")}
    return problems, {"counts": counts, "problems": problems, "judge": judged_by}


def check_others(arguments: argparse.Namespace, tasks: Sequence[dict]) -> tuple[list[str], dict]:
    """Tasks that are not the bank's: which are broken, as far as reading them and their references tell."""
    given = load_solutions(arguments.solutions) if arguments.solutions else {}
    chosen = sample_of(tasks, arguments.sample, arguments.seed)
    faults = {task["task_id"]: why for task in chosen if (why := readable_fault(task))}
    with open_judge(arguments) as judge:
        n_tried, failed = try_references(chosen, judge, given=given)
        described = judge.describe()
    problems = [f"{task_id}: {why}" for task_id, why in (faults | failed).items()]
    n_tested = sum(bool(task["tests"]) for task in chosen)
    counts = {"tasks": len(tasks), "looked_at": len(chosen), "with_tests": n_tested, "references": n_tried}
    judged_by = {key: described[key] for key in ("judge_version", "rustc", "edition")}
    return problems, {"counts": counts, "problems": problems, "judge": judged_by}


def summary_lines(report: Mapping) -> Iterator[str]:
    """What the terminal shows besides the problems."""
    counts = report["counts"]
    if "kinds" in counts:
        spread = ", ".join(f"{kind} {count}" for kind, count in counts["kinds"].items())
        yield f"{counts['looked_at']} of {counts['tasks']} tasks ({spread}): {len(report['problems'])} problems"
        return
    if "references" in counts:
        yield (
            f"{counts['looked_at']} of {counts['tasks']} tasks, {counts['with_tests']} with tests, {counts['references']} with a reference "
            f"solution: {len(report['problems'])} broken"
        )
        return
    for overlap in report["overlap"]:
        found = f"{overlap['tasks_sharing_a_run']} tasks share a run of {OVERLAP_NGRAM} words, largest share {overlap['largest_share']:.0%}"
        yield f"against {overlap['file']} ({overlap['texts']} texts): {found}"
        yield from (f"  same function name: {one} and {other}" for one, other in overlap["equal_names"])
        yield from (f"  nearest in words ({pair['value']:.2f}): {pair['one']} and {pair['other']}" for pair in overlap["nearest"])
    mutated = report["mutants"]
    share = f" ({mutated['killed'] / mutated['compiled']:.1%})" if mutated["compiled"] else ""
    yield (
        f"{report['counts']['tasks']} tasks, {report['proved']} proved, {mutated['killed']} of {mutated['compiled']} mutants "
        f"noticed{share}, {len(report['problems'])} problems"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: exit status 0 when everything holds, 1 when something does not or cannot be checked."""
    arguments = read_arguments(argv)
    try:
        problems, report = check(arguments)
        if arguments.report:
            arguments.report.parent.mkdir(parents=True, exist_ok=True)
            arguments.report.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except (TaskError, ToolchainError, SandboxUnavailable, OSError) as error:
        print(f"check_tasks.py: {error}", file=sys.stderr)
        return 1
    for line in (*problems, *summary_lines(report)):
        print(line)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
