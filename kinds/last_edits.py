"""Edits of a proved program that are begun and go on, for make_kinds.py: the definition is changed, what uses it is not.

An edit is found in the syntax tree of the reference and is one of the everyday ones: a rename, a parameter more, a type wrapped, a
variant with its match arms, a helper pulled out, ... Most reach the callers, so the file gets a few of the task's tests as a module
of its own and the hidden tests change with them. Behaviour stays what the tests know, so that they can judge the end. They need not
compile: whether an edit ends well, and its beginning does not, is found by running both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

from judge.syntax import Node, body_of, child_of, edited, item_name, parse_any_length, split_tokens, text_of, tokens_inside, walk

RENAMES = ("{}_value", "current_{}", "{}_found", "given_{}", "{}_part")
FUNCTION_RENAMES = ("find_{}", "{}_of", "compute_{}", "{}_for")
TYPE_RENAMES = ("{}Item", "Own{}", "{}Kind")
NEW_NAMES = ("extra", "marked", "bound_to", "another_one")
HELPER_NAMES = ("applies", "is_due", "holds_for", "computed")
CONSTANT_NAMES = ("AMOUNT", "MEASURE", "QUANTITY")
VARIANT_NAMES = ("Other", "Spare", "Unlisted")
WIDER = {"u8": "u16", "u16": "u32", "u32": "u64", "u64": "u128", "i8": "i16", "i16": "i32", "i32": "i64", "i64": "i128", "f32": "f64"}
INTEGERS = (*WIDER, "usize", "isize", "u128", "i128")
PLAIN_TYPES = (*INTEGERS, "f32", "f64", "bool", "char")
UNITS = {10: "tenths", 100: "hundredths", 1000: "thousandths"}
TESTS_SHOWN = 2  # of the task, in the file; they are no hidden tests any more
NAMES = ("identifier", "field_identifier", "type_identifier", "shorthand_field_identifier")
DEFINED = {
    "field_declaration": "field", "enum_variant": "variant", "function_item": "function", "struct_item": "type", "enum_item": "type",
    "const_item": "constant",
}  # fmt: skip

Change = tuple[int, int, str]  # start and end byte, replacement
Follow = Callable[[Node], Iterable[Change]]  # what has to change in a file or in a test, once the edit is begun


@dataclass(frozen=True)
class Edit:
    """`code` with the edit begun and ended, and the task's hidden tests afterwards; `note`: what the last edit alone does not say."""

    what: str
    before: str
    begun: str
    ended: str
    tests: list[str]
    entry_point: str
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """An edit as changes of the reference: `first` begins it, `follow` finds the rest, in the reference and in tests alike."""

    what: str
    first: Sequence[Change]
    follow: Follow
    entry_point: str | None = None  # when it is another one afterwards
    note: str = ""
    more_tests: Callable[[str], str | None] = field(default=lambda test: None)  # test -> one more like it
    source: str | None = None  # when the file is not the reference as it is


def order(*parts: object) -> bytes:
    return sha256(" ".join(map(str, parts)).encode()).digest()


def with_tests(source: str, tests: Sequence[str], name: str) -> str:
    """The source with these tests (statements) in a module of its own."""
    lines = [f"        {line}" if line else "" for test in tests for line in test.split("\n")]
    head = ["", "#[cfg(test)]", "mod tests {", "    use super::*;", "", "    #[test]", f"    fn {name}_examples() {{"]
    return source.rstrip("\n") + "\n" + "\n".join([*head, *lines, "    }", "}"]) + "\n"


def edits(task: Mapping, source: str) -> Iterator[Edit]:
    """Every edit of the reference that the makers know, in their order."""
    root = parse_any_length(source)
    functions = [node for node in walk(root) if node.type == "function_item" and body_of(node) is not None and not _is_of_trait(node)]
    for maker in MAKERS:
        for plan in maker(task, root, functions):
            yield _of(task, plan.source or source, plan)


def _is_of_trait(function: Node) -> bool:
    """Whether a trait says what its signature is."""
    owner = function.parent.parent
    return owner is not None and (owner.type == "trait_item" or owner.type == "impl_item" and child_of(owner, "trait") is not None)


def _of(task: Mapping, source: str, plan: Plan) -> Edit:
    tests = [(test, edited(test, plan.follow(parse_any_length(test)))) for test in task["tests"]]
    reaches_tests = any(old != new for old, new in tests)
    shown = tests[:TESTS_SHOWN] if reaches_tests else []
    before = with_tests(source, [old for old, _ in shown], task["entry_point"]) if shown else source
    changes = list(plan.follow(parse_any_length(before)))
    begun = edited(before, plan.first)
    ended = edited(before, [*plan.first, *(change for change in changes if change not in plan.first)])
    hidden = [new for _, new in tests[len(shown) :]]
    hidden += [more for test in hidden if (more := plan.more_tests(test)) is not None]
    return Edit(plan.what, before, begun, ended, hidden, plan.entry_point or task["entry_point"], plan.note)


# -- Calls, in code and in the arguments of macros, which the grammar leaves as tokens ---------------------------------


@dataclass(frozen=True)
class Call:
    """Byte ranges of a call and its arguments. `expected`: of the other side, where the call is one side of assert_eq!."""

    start: int
    end: int
    arguments: list[tuple[int, int]]
    expected: tuple[int, int] | None = None


def calls_of(root: Node, name: str) -> list[Call]:
    """Calls of a function by its name or as the last part of a path."""
    found = []
    for node in walk(root):
        if node.type == "call_expression" and re.split(r"::|\.", text_of(child_of(node, "function")))[-1] == name:
            spans = [(one.start_byte, one.end_byte) for one in child_of(node, "arguments").named_children]
            found.append(Call(node.start_byte, node.end_byte, spans))
        elif node.type == "token_tree":
            found += _calls_in_tokens(node, name)
    return found


def _calls_in_tokens(tree: Node, name: str) -> Iterator[Call]:
    parts = tree.children
    macro = tree.parent if tree.parent is not None and tree.parent.type == "macro_invocation" else None
    is_equality = macro is not None and text_of(child_of(macro, "macro")) == "assert_eq"
    sides = _split(tree) if is_equality else []
    for one, arguments in zip(parts, parts[1:], strict=False):
        if one.type == "identifier" and text_of(one) == name and arguments.type == "token_tree" and text_of(arguments).startswith("("):
            span = (one.start_byte, arguments.end_byte)
            expected = sides[1] if len(sides) >= 2 and sides[0] == span else None
            yield Call(*span, _split(arguments), expected)


def _split(tree: Node) -> list[tuple[int, int]]:
    """Byte ranges between the commas of a token tree."""
    return [(group[0].start_byte, group[-1].end_byte) for group in split_tokens(tokens_inside(tree))]


def _text(root: Node, span: tuple[int, int]) -> str:
    return root.text[span[0] - root.start_byte : span[1] - root.start_byte].decode()


def _in_calls(name: str, change: Callable[[Node, Call], Iterable[Change]], root: Node) -> list[Change]:
    """`change` of every call of a function, nested calls aside."""
    found = sorted(calls_of(root, name), key=lambda call: (call.start, -call.end))
    outer = [call for call in found if not any(one.start <= call.start < call.end <= one.end for one in found if one is not call)]
    return [place for call in outer for place in change(root, call)]


def _of_argument(place: int, change: Callable[[str], str], root: Node, call: Call) -> Iterator[Change]:
    """Another text of the argument at `place`."""
    if place < len(call.arguments):
        span = call.arguments[place]
        yield (*span, change(_text(root, span)))


def _both(*follows: Follow) -> Follow:
    return lambda root: [change for follow in follows for change in follow(root)]


def _functions_in(root: Node, name: str) -> list[Node]:
    """The first function of that name with a body; none in the text of a test."""
    return [node for node in walk(root) if node.type == "function_item" and item_name(node) == name and body_of(node) is not None][:1]


# -- Parameters and types of parameters --------------------------------------------------------------------------------


def _parameters(function: Node) -> list[Node]:
    """Its parameters whose patterns are plain names, all of them or none."""
    found = [one for one in child_of(function, "parameters").named_children if one.type == "parameter"]
    is_mutable = any(child.type == "mutable_specifier" for one in found for child in one.children)
    is_plain = not is_mutable and all(child_of(one, "pattern").type == "identifier" for one in found)
    return found if is_plain and child_of(function, "parameters").named_child_count == len(found) else []


def _signature(function: Node) -> Iterator[Node]:
    """Nodes of the return type, then of the parameters."""
    for part in (child_of(function, "return_type"), child_of(function, "parameters")):
        yield from walk(part) if part is not None else ()


def _change(node: Node, text: str) -> Change:
    return node.start_byte, node.end_byte, text


def swapped_parameters(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """Two parameters change places."""
    for function in functions:
        one, other, *_ = (*_parameters(function), None, None)
        if other is not None:
            first = [_change(one, text_of(other)), _change(other, text_of(one))]
            yield Plan("parameters swapped", first, partial(_in_calls, item_name(function), _swapped_arguments))


def _swapped_arguments(root: Node, call: Call) -> Iterator[Change]:
    if len(call.arguments) >= 2:
        one, other = call.arguments[:2]
        yield (*one, _text(root, other))
        yield (*other, _text(root, one))


def grouped_parameters(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """Two parameters become a pair."""
    for function in functions:
        if len(parameters := _parameters(function)) == 2:
            names, types = ([text_of(child_of(one, part)) for one in parameters] for part in ("pattern", "type"))
            first = [(parameters[0].start_byte, parameters[1].end_byte, f"({', '.join(names)}): ({', '.join(types)})")]
            yield Plan("parameters grouped", first, partial(_in_calls, item_name(function), _paired_arguments))


def _paired_arguments(root: Node, call: Call) -> Iterator[Change]:
    if len(call.arguments) == 2:
        yield call.arguments[0][0], call.arguments[0][0], "("
        yield call.arguments[1][1], call.arguments[1][1], ")"


def added_parameters(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """A value that is written in the body becomes a parameter."""
    for function in functions:
        parameters = _parameters(function)
        literals = [(node, kind) for node in _values_in(body_of(function)) if text_of(node) != "0" and (kind := _type_of(node, function))]
        if parameters and literals:
            literal, kind = min(literals, key=lambda one: order(text_of(one[0]), one[0].start_byte))
            name = next(name for name in NEW_NAMES if name not in text_of(root))
            end = parameters[-1].end_byte
            first = [(end, end, f", {name}: {kind}"), _change(literal, name)]
            yield Plan("parameter added", first, partial(_in_calls, item_name(function), partial(_one_more, text_of(literal))))


def _one_more(argument: str, root: Node, call: Call) -> Iterator[Change]:
    if call.arguments:
        end = call.arguments[-1][1]
        yield end, end, f", {argument}"


def _values_in(body: Node) -> list[Node]:
    """Literals that stand where a variable could: not in patterns, types or arguments of macros."""
    found, stack = [], [body]
    while stack:
        node = stack.pop()
        if node.type in ("integer_literal", "string_literal", "char_literal"):
            found += [node] if node.parent.type not in ("match_pattern", "negative_literal") else []
        elif not node.type.endswith(("_pattern", "_type")) and node.type not in ("token_tree", "attribute_item"):
            stack.extend(child for child in node.children if not (node.type == "match_arm" and _is(node, "pattern", child)))
    return found


def _type_of(literal: Node, function: Node) -> str | None:
    """Type of a literal: of a number that of what it is compared or computed with, where this is plain; None where it is not."""
    if literal.type != "integer_literal":
        return {"string_literal": "&str", "char_literal": "char"}[literal.type]
    if suffix := re.search(r"[iu](\d+|size)$", text_of(literal)):
        return suffix[0]
    if literal.parent.type == "index_expression":
        return "usize"
    if literal.parent.type != "binary_expression":
        return None
    types = {text_of(child_of(one, "pattern")): text_of(child_of(one, "type")) for one in _parameters(function)}
    sides = [text_of(child_of(literal.parent, side)) for side in ("left", "right")]
    found = ["usize" if side.endswith(".len()") else types.get(side) for side in sides]
    return next((kind for kind in found if kind in INTEGERS), None)


def optional_parameters(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """A parameter may be left out: `Option<T>`."""
    for function in functions:
        for place, one in enumerate(_parameters(function)):
            name, kind = text_of(child_of(one, "pattern")), text_of(child_of(one, "type"))
            if not kind.startswith(("Option", "impl", "&mut")):
                default = f"\n    let {name} = {name}.unwrap_or_default();"
                in_calls = partial(_in_calls, item_name(function), partial(_of_argument, place, "Some({})".format))
                follow = _both(partial(_at_start_of, item_name(function), default), in_calls)
                yield Plan("parameter made optional", [_change(child_of(one, "type"), f"Option<{kind}>")], follow)


def _at_start_of(name: str, text: str, root: Node) -> Iterator[Change]:
    for function in _functions_in(root, name):
        at = body_of(function).start_byte + 1
        yield at, at, text


def owned_parameters(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """A parameter that was borrowed is taken by value, or the other way round."""
    for function in functions:
        for place, one in enumerate(_parameters(function)):
            kind = text_of(child_of(one, "type"))
            for pattern, new, what, change in OWNERS:
                if re.fullmatch(pattern, kind):
                    first = [_change(child_of(one, "type"), re.sub(pattern, new, kind))]
                    follow = partial(_in_calls, item_name(function), partial(_of_argument, place, change))
                    yield Plan(f"parameter {what}", first, follow)


def _as_vec(text: str) -> str:
    return f"vec!{text[1:]}" if text.startswith("&[") else f"{text.removeprefix('&')}.to_vec()"


def _as_slice(text: str) -> str:
    return f"&{text.removeprefix('vec!')}"


def _as_string(text: str) -> str:
    return f"{text}.to_string()"


OWNERS = ((r"&\s*\[(\w+)\]", r"Vec<\1>", "owned", _as_vec), (r"&\s*str", "String", "owned", _as_string),
          (r"Vec<(.+)>", r"&[\1]", "borrowed", _as_slice))  # fmt: skip


def widened_integers(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """A number gets a wider type wherever it goes."""
    for function in functions:
        there = [node for node in _signature(function) if node.type == "primitive_type" and text_of(node) in WIDER]
        if there:
            first = [_change(there[0], WIDER[text_of(there[0])])]
            yield Plan("number widened", first, partial(_everywhere, text_of(there[0]), WIDER[text_of(there[0])]))


def _everywhere(old: str, new: str, root: Node) -> Iterator[Change]:
    """A primitive type, and the suffix of literals."""
    for node in walk(root):
        if node.type == "primitive_type" and text_of(node) == old:
            yield _change(node, new)
        elif node.type in ("integer_literal", "float_literal") and text_of(node).endswith(old):
            yield _change(node, text_of(node).removesuffix(old) + new)


# -- What a function returns -------------------------------------------------------------------------------------------


def _ends(function: Node) -> list[Node]:
    """Expressions that a function's value comes from: the last one of its body and of its branches, and what `return` names."""
    stack, found = [body_of(function)], []
    while stack:
        node = stack.pop()
        if node.type in ("block", "else_clause"):
            stack += [child for child in node.named_children if "comment" not in child.type][-1:]
        elif node.type == "if_expression" and child_of(node, "alternative") is not None:
            stack += [child_of(node, "consequence"), child_of(node, "alternative")]
        elif node.type == "match_expression":
            stack += [child_of(arm, "value") for arm in body_of(node).named_children if arm.type == "match_arm"]
        elif node.type == "expression_statement" and not text_of(node).endswith(";"):
            stack += node.named_children[:1]
        elif node.type not in ("expression_statement", "let_declaration", "return_expression"):
            found.append(node)
    return found + [node.named_children[0] for node in _own(body_of(function), "return_expression") if node.named_child_count]


def _own(node: Node, kind: str) -> Iterator[Node]:
    """Nodes of that type in this function, those of closures and inner functions aside."""
    for child in node.children:
        if child.type not in ("closure_expression", "function_item"):
            if child.type == kind:
                yield child
            yield from _own(child, kind)


def wrapped_returns(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """A function that always had an answer may have none: `T` becomes `Option<T>` or `Result<T, String>`."""
    for function in functions:
        kind, name = child_of(function, "return_type"), item_name(function)
        if kind is None or re.match(r"(std::\w+::)?(Option|Result|Self)\b", text_of(kind)) or calls_of(body_of(function), name):
            continue
        for what, wrap in ((f"Option<{text_of(kind)}>", "Some"), (f"Result<{text_of(kind)}, String>", "Ok")):
            in_tests = partial(_unwrapped, wrap if text_of(kind) in PLAIN_TYPES else None)  # others may equal a value of another type
            follow = _both(partial(_wrapped_ends, name, wrap), partial(_in_calls, name, in_tests))
            yield Plan(f"{what.split('<')[0]} returned", [_change(kind, what)], follow)


def _wrapped_ends(name: str, wrap: str, root: Node) -> Iterator[Change]:
    for function in _functions_in(root, name):
        for end in _ends(function):
            yield from _around(wrap, end.start_byte, end.end_byte)


def _around(wrap: str, start: int, end: int) -> Iterator[Change]:
    yield start, start, f"{wrap}("
    yield end, end, ")"


def _unwrapped(wrap: str | None, root: Node, call: Call) -> Iterable[Change]:
    return [(call.end, call.end, ".unwrap()")] if wrap is None or call.expected is None else _around(wrap, *call.expected)


NOTHING = '"nothing found"'


def options_to_results(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """A function says why it has no answer: `Option<T>` becomes `Result<T, &'static str>`."""
    for function in functions:
        kind, name = child_of(function, "return_type"), item_name(function)
        inner = re.fullmatch(r"Option<(.+)>", text_of(kind), re.DOTALL) if kind is not None else None
        if inner and not calls_of(body_of(function), name):
            in_calls = partial(_in_calls, name, lambda root, call: [(call.end, call.end, ".ok()")])
            follow = _both(partial(_ends_as_results, name), in_calls)
            yield Plan("Option to Result", [_change(kind, f"Result<{inner[1]}, &'static str>")], follow)


def _ends_as_results(name: str, root: Node) -> Iterator[Change]:
    for function in _functions_in(root, name):
        for end in _ends(function):
            callee = child_of(end, "function") if end.type == "call_expression" else None
            if text_of(end) == "None":
                yield _change(end, f"Err({NOTHING})")
            elif callee is not None and text_of(callee) == "Some":
                yield _change(callee, "Ok")
            else:
                is_simple = end.type in ("call_expression", "identifier", "field_expression", "index_expression")
                yield from () if is_simple else [(end.start_byte, end.start_byte, "(")]
                yield end.end_byte, end.end_byte, f"{'' if is_simple else ')'}.ok_or({NOTHING})"
        for node in _own(body_of(function), "try_expression"):
            yield node.end_byte - 1, node.end_byte - 1, f".ok_or({NOTHING})"


# -- Types of the file -------------------------------------------------------------------------------------------------


def added_fields(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """A struct has a field more, and a value of it wherever one is built."""
    structs = [node for node in walk(root) if node.type == "struct_item"]
    for struct in structs:
        body, name = body_of(struct), item_name(struct)
        if body is None or body.type != "field_declaration_list":
            continue
        names = {name} | ({"Self"} if len(structs) == 1 else set())
        new = next(one for one in NEW_NAMES if one not in text_of(root))
        at = body.start_byte + 1
        yield Plan("field added", [(at, at, f"\n    pub {new}: bool,")], partial(_in_literals, names, f" {new}: false,"))


def _in_literals(names: set[str], text: str, root: Node) -> Iterator[Change]:
    """A text behind the opening brace of every struct literal."""
    for node in walk(root):
        if node.type == "struct_expression" and text_of(child_of(node, "name")) in names:
            yield body_of(node).start_byte + 1, body_of(node).start_byte + 1, text
        elif node.type == "token_tree":
            for one, braces in zip(node.children, node.children[1:], strict=False):
                if text_of(one) in names and braces.type == "token_tree" and text_of(braces).startswith("{"):
                    yield braces.start_byte + 1, braces.start_byte + 1, text


def added_variants(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """An enum has a variant more, which counts as one that it had; the tests ask for both."""
    for enum in (node for node in walk(root) if node.type == "enum_item"):
        variants = [one for one in body_of(enum).named_children if one.type == "enum_variant"]
        new = next(name for name in VARIANT_NAMES if name not in text_of(root))
        for old in variants:
            if body_of(old) is None and old.named_child_count == 1:
                one, other = f"{item_name(enum)}::{item_name(old)}", f"{item_name(enum)}::{new}"
                first = [(variants[-1].end_byte, variants[-1].end_byte, f",\n    {new}")]
                note = f"`{other}` counts as `{one}` does, everywhere."
                more = partial(_with_the_other, task["entry_point"], one, other)
                yield Plan("variant added", first, partial(_in_patterns, one, other), note=note, more_tests=more)


def _in_patterns(one: str, other: str, root: Node) -> Iterator[Change]:
    short = f"Self::{one.split('::')[1]}"
    for node in walk(root):
        if node.type == "scoped_identifier" and text_of(node) in (one, short) and _is_pattern(node):
            new = other if text_of(node) == one else f"Self::{other.split('::')[1]}"
            is_part = node.parent.type not in ("match_pattern", "or_pattern")
            yield _change(node, f"({text_of(node)} | {new})" if is_part else f"{text_of(node)} | {new}")


def _is_pattern(node: Node) -> bool:
    above = node.parent
    while above is not None and above.type in ("tuple_pattern", "or_pattern", "reference_pattern", "tuple_struct_pattern", "slice_pattern"):
        above = above.parent
    return above is not None and above.type in ("match_pattern", "let_condition")


def _with_the_other(name: str, one: str, other: str, test: str) -> str | None:
    """A test in which the other variant is given to the function instead; None where there is none to give."""
    root, word = parse_any_length(test), rf"\b{one}\b"
    spans = [(span, _text(root, span)) for call in calls_of(root, name) for span in call.arguments]
    changes = [(*span, re.sub(word, other, text)) for span, text in spans if re.search(word, text)]
    changed = edited(test, changes)
    return changed if changes and not re.search(word, changed) else None


# -- Constants and helpers ---------------------------------------------------------------------------------------------


def rescaled_constants(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """A constant that several places use is kept in a smaller unit."""
    for function in functions:
        if function.parent.type != "source_file":
            continue
        by_text: dict[str, list[Node]] = {}
        for node in _values_in(body_of(function)):
            if node.type == "integer_literal" and text_of(node) not in ("0", "1") and text_of(node).isdigit():
                by_text.setdefault(text_of(node), []).append(node)
        for number, nodes in by_text.items():
            types = {_type_of(node, function) for node in nodes} - {None}
            kind = types.pop() if len(types) == 1 else None if types else _first_integer(function)
            if len(nodes) >= 2 and kind:
                yield from _rescaled(text_of(root), function, number, kind, nodes)


def _first_integer(function: Node) -> str | None:
    return next((text_of(node) for node in _signature(function) if text_of(node) in INTEGERS), None)


def _rescaled(source: str, function: Node, number: str, kind: str, nodes: Sequence[Node]) -> Iterator[Plan]:
    name = next(one for one in CONSTANT_NAMES if one not in source)
    factor = tuple(UNITS)[order(source, number)[0] % len(UNITS)]
    value = f"const {name}: {kind} = {number};"
    at = function.start_byte
    file = edited(source, [(at, at, f"{value}\n\n"), *(_change(node, name) for node in nodes)])
    new = f"/// In {UNITS[factor]}.\nconst {name}: {kind} = {int(number) * factor};"
    first = [(at, at + len(value.encode()), new)]
    yield Plan("constant in another unit", first, partial(_divided, name, factor), source=file)


def _divided(name: str, factor: int, root: Node) -> Iterator[Change]:
    for node in walk(root):
        if node.type == "identifier" and text_of(node) == name and node.parent.type != "const_item":
            is_part = node.parent.type.endswith("_expression")
            yield _change(node, f"({name} / {factor})" if is_part else f"{name} / {factor}")


def extracted_helpers(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """A condition, or a value at the end, is written as a call; the helper that it calls is not there yet."""
    for function in functions:
        types = {text_of(child_of(one, "pattern")): text_of(child_of(one, "type")) for one in _parameters(function)}
        is_plain = {name: kind in PLAIN_TYPES or re.match(r"&(?!mut|')", kind) is not None for name, kind in types.items()}
        bound = {text_of(node) for node in walk(body_of(function)) if node.type == "identifier" and _binds(node)}
        conditions = [(node, "bool") for node in walk(body_of(function)) if _is_condition(node)]
        kind_of_all = text_of(child_of(function, "return_type"))
        values = [(node, kind_of_all) for node in _ends(function) if kind_of_all and node.type in ("binary_expression", "call_expression")]
        for node, kind in [*conditions, *values]:
            used = list(dict.fromkeys(text_of(one) for one in walk(node) if one.type == "identifier" and _is_variable(one)))
            if function.parent.type == "source_file" and used and all(is_plain.get(name) and name not in bound for name in used):
                yield _extracted(function, node, kind, {name: types[name] for name in used})


def _extracted(function: Node, node: Node, kind: str, used: Mapping[str, str]) -> Plan:
    name = next(one for one in HELPER_NAMES if one not in text_of(function))
    helper = f"fn {name}({', '.join(f'{one}: {of}' for one, of in used.items())}) -> {kind} {{\n    {text_of(node)}\n}}\n\n"
    follow = partial(_in_front_of, item_name(function), helper)
    return Plan("helper extracted", [_change(node, f"{name}({', '.join(used)})")], follow)


def _in_front_of(name: str, text: str, root: Node) -> list[Change]:
    return [(function.start_byte, function.start_byte, text) for function in _functions_in(root, name)]


def _is_condition(node: Node) -> bool:
    operator = child_of(node, "operator") if node.type == "binary_expression" else None
    return operator is not None and text_of(operator) in ("<", "<=", ">", ">=", "==", "!=", "&&", "||") and node.parent.type != "let_chain"


def _is_variable(node: Node) -> bool:
    parent = node.parent
    if parent.type in ("scoped_identifier", "macro_invocation", "generic_function"):
        return False
    return not (parent.type == "call_expression" and _is(parent, "function", node))


def _binds(node: Node) -> bool:
    """Whether a name is bound here by a `let`, a loop, a closure or an arm."""
    above = node
    while above.parent is not None and above.parent.type.endswith(("_pattern", "_parameters")):
        above = above.parent
    return above is not node or _is(node.parent, "pattern", node)


# -- Names -------------------------------------------------------------------------------------------------------------


def _is(parent: Node, field_name: str, node: Node) -> bool:
    child = child_of(parent, field_name)
    return child is not None and child.id == node.id


def _defining(node: Node) -> str | None:
    """What a name defines at this place: "parameter", "variable", "field", ...; None for a use."""
    parent = node.parent
    if parent.type == "let_declaration" and _is(parent, "pattern", node):
        return "variable"
    if parent.type == "parameter" and _is(parent, "pattern", node):
        return "parameter"
    what = DEFINED.get(parent.type)
    return what if what and _is(parent, "name", node) else None


def renames(task: Mapping, root: Node, functions: Sequence[Node]) -> Iterator[Plan]:
    """Another name, here and wherever it is used."""
    names: dict[str, list[Node]] = {}
    for node in walk(root):
        if node.type in NAMES:
            names.setdefault(text_of(node), []).append(node)
    known = " ".join(task["tests"])
    for name, nodes in names.items():
        first = next((node for node in nodes if _defining(node)), None)
        what = _defining(first) if first is not None else None
        is_local = what in ("variable", "parameter")
        is_used = len(nodes) > 1 or re.search(rf"\b{re.escape(name)}\b", known)
        new = _new_name(name, what, text_of(root)) if what and is_used else None
        if new is None or re.search(rf"\b{re.escape(new)}\b", f"{text_of(root)} {known}"):
            continue
        entry = new if what == "function" and name == task["entry_point"] else None
        yield Plan(f"{what} renamed", [_change(first, new)], partial(_renamed, name, new, is_local), entry_point=entry)


def _new_name(name: str, what: str, source: str) -> str:
    if name.isupper() and len(name) > 1:
        patterns, shape = RENAMES, str.upper
    elif name[0].isupper():
        patterns, shape = TYPE_RENAMES, str
    else:
        patterns, shape = FUNCTION_RENAMES if what == "function" else RENAMES, str
    return shape(patterns[order(name, source)[0] % len(patterns)].format(name.lower() if shape is str.upper else name))


def _renamed(name: str, new: str, is_local: bool, root: Node) -> Iterator[Change]:
    """Every use of a name; a local one is none of the tests' business."""
    tests = [(node.start_byte, node.end_byte) for node in walk(root) if node.type == "mod_item"] if is_local else []
    if is_local and not any(node.type == "function_item" for node in walk(root)):
        return  # the text of a test
    for node in walk(root):
        if node.type in NAMES and text_of(node) == name and not any(start <= node.start_byte < end for start, end in tests):
            yield _change(node, new)


MAKERS: tuple[Callable[[Mapping, Node, Sequence[Node]], Iterator[Plan]], ...] = (
    renames, swapped_parameters, grouped_parameters, added_parameters, optional_parameters, owned_parameters, widened_integers,
    wrapped_returns, options_to_results, added_fields, added_variants, rescaled_constants, extracted_helpers,
)  # fmt: skip
