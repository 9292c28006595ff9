"""Mutants, a reference with one small mistake, and stubs, answers without any thought: a task's tests should notice both."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from judge.program import panic_stubbed, read_program
from judge.syntax import ASSERT_MACROS, FAILING, Node, edited, parse_any_length, text_of, walk

MAX_MUTANTS = 8  # tried per task; as many again for a task whose first ones do not show enough


def functions_named(root: Node, name: str) -> list[Node]:
    """Functions of that name, with or without a body."""
    kinds = ("function_item", "function_signature_item")
    return [node for node in walk(root) if node.type in kinds and text_of(node.child_by_field_name("name")) == name]


@dataclass(frozen=True)
class Mutant:
    """A changed program."""

    kind: str  # "comparison", "statement", ...
    what: str  # for people: "line 4: `<` -> `<=`"
    source: str
    place: tuple[int, int, str]  # start and end byte in the reference, what stands there instead


class _Edit(NamedTuple):
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
        changed = edited(source, [edit[1:]])
        if changed != source:
            made.setdefault(changed, Mutant(edit.kind, _described(source, edit), changed, edit[1:]))
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


def _condition(node: Node) -> Iterator[_Edit]:
    condition = node.child_by_field_name("condition")
    if condition is not None and condition.type not in ("let_condition", "let_chain"):
        yield _replace("branch", condition, f"!({text_of(condition)})")


def _if(node: Node) -> Iterator[_Edit]:
    yield from _condition(node)
    otherwise = node.child_by_field_name("alternative")
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
    "binary_expression": _binary, "compound_assignment_expr": _compound, "range_expression": _range, "range_pattern": _range,
    "integer_literal": _integer, "float_literal": _float, "boolean_literal": _boolean, "string_literal": _string, "char_literal": _char,
    "unary_expression": _unary, "if_expression": _if, "match_block": _match, "match_pattern": _condition, "for_expression": _for,
    "expression_statement": _statement, "call_expression": _call,
}  # fmt: skip


def constant_answers(source: str, function_name: str) -> list[str]:
    """Programs whose function of that name returns a constant, whatever it is asked; all other functions panic."""
    base = panic_stubbed(read_program(source), spared=function_name) or source
    function = functions_named(parse_any_length(base), function_name)[0]
    body = function.child_by_field_name("body")
    return [edited(base, [(body.start_byte, body.end_byte, constant)]) for constant in _constants_for(function)]


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
