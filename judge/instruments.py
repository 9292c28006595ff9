"""What is put into a program to see what its tests notice: gates at the top of functions, wrong values for their types."""

from __future__ import annotations

import re
from collections.abc import Sequence

from judge.cfg_test import identifiers, split_items
from judge.program import STUB
from judge.syntax import Node, base_name, child_of, edited, parse_any_length, text_of, walk

NOBODY = 255  # the number of what is never wrong alone
COMPARISONS = ("eq", "ne", "partial_cmp", "cmp", "hash")


def with_gates(stubbed: str, crate: str, alone: Sequence[str] = ()) -> str:
    """Replace every stub by a gate for its function's return type, where that can be named in an expression.

    alone: `Program.alone`. A function with a gate is not constant any more: where it has to be, the program does not compile and goes
    without gates.
    """
    data, stub, edits = stubbed.encode(), STUB.encode(), []
    for node in _functions(parse_any_length(stubbed)):
        body = child_of(node, "body")
        at = data.find(stub, body.start_byte, body.end_byte)
        if at >= 0:
            modifiers = [word for child in node.children if child.type == "function_modifiers" for word in child.children]
            edits += [(word.start_byte, word.end_byte, "     ") for word in modifiers if word.type == "const"]
            edits.append((at, at + len(stub), _gates_of(node, crate, alone)))
    return edited(stubbed, edits).replace(STUB, f" ::{crate}::stub();")


def _gates_of(function: Node, crate: str, alone: Sequence[str]) -> str:
    """Only a stub: in `Iterator::next` (no end of wrong values is a loop without end), in comparisons (a program's own must not
    hide that what they compare is wrong), and in functions that return nothing but assert."""
    block, returns = _owner(function), child_of(function, "return_type")
    trait = text_of(child_of(block, "trait")) if block is not None else ""
    endless = _name(function) == "next" and trait.split("<")[0].endswith("Iterator")
    compares = trait and _name(function) in COMPARISONS
    if compares or (returns is None and re.search(rb"\bassert\w*\s*!", function.text)):
        return f" ::{crate}::stub();"
    if endless:
        return _asking(function, crate) + f" ::{crate}::stub();"
    number = alone.index(unit) if (unit := _unit(function)) in alone else NOBODY
    turn = f" ::{crate}::alone({number});" if alone else ""
    return _asking(function, crate) + turn + _gate_for(returns, crate)


def _functions(root: Node) -> list[Node]:
    """In source order, outer before inner."""
    return [node for node in walk(root) if node.type == "function_item"]


def _gate_for(returns: Node | None, crate: str) -> str:
    if returns is None or returns.type == "unit_type":
        return f" if ::{crate}::gate() {{ return; }}"
    if returns.type == "never_type" or re.search(r"\b(impl|dyn)\b|[\n/&]\s*mut\b|//|/\*", text_of(returns)):
        return f" ::{crate}::stub();"
    gate = f"::{crate}::Gate::<{_one_line(returns)}>::NEW"
    return f" {{ use ::{crate}::Unknown as _; if let Some(value) = {gate}.value() {{ return value; }} }}"


def _asking(function: Node, crate: str) -> str:
    """The call of a function by itself, with other inputs or for another answer; nothing where that cannot be written without
    changing what lints see."""
    parameters = [p for p in child_of(function, "parameters").named_children if not p.type.endswith("comment")]
    body, returns = child_of(function, "body"), child_of(function, "return_type")
    words = {*identifiers(body), *re.findall(r"\{(\w+)", text_of(body))}  # `format!("{name}")` reads it, too
    modifiers = b"".join(child.text for child in function.children if child.type == "function_modifiers")
    if not (parameters or returns) or b"async" in modifiers or b"unsafe" in modifiers:
        return ""
    arguments = []
    for position, parameter in enumerate(parameters):
        if parameter.type == "self_parameter":
            arguments.append(f"::{crate}::Input(self).other({position})")
            continue
        pattern, kind = child_of(parameter, "pattern"), child_of(parameter, "type")
        if pattern is None or kind is None or pattern.type != "identifier" or text_of(pattern) not in words:
            return ""
        kind = _one_line(kind)
        if re.match(r"&\s*('\w+ )?mut (Vec|String)\b", kind):
            return ""
        name = text_of(pattern)
        borrowed = re.match(r"&\s*(?:'\w+ )?(Vec|String)\b", kind)
        if borrowed:  # by its index: clippy's `ptr_arg` looks at what else is done with one
            arguments.append(f"::{crate}::other_{borrowed[1].lower()}(&{name}[..], {position})")
        else:
            arguments.append(f"::{crate}::Input({name}).other({position})")
    generics = child_of(function, "type_parameters")
    listed = generics.named_children if generics is not None else []
    named = [_name(g) or text_of(g) for g in listed if g.type.startswith(("type_", "const_"))]
    block, name = _owner(function), _name(function)
    trait = child_of(block, "trait") if block is not None else None
    path = f"<Self as {_one_line(trait)}>::{name}" if trait is not None else f"Self::{name}" if block is not None else name
    path += f"::<{', '.join(named)}>" if named else ""
    call, traits = f"{path}({', '.join(arguments)})", "Hidden as _, Same as _"
    if returns is not None and b"Vec" in returns.text:
        call, traits = f"::{crate}::Items({call}).changed()", f"{traits}, SameItems as _"
    call, traits = f"::{crate}::Input({call}).near()", f"#[allow(unused_imports)] use ::{crate}::{{{traits}}};"
    return f' {{ {traits} if ::{crate}::asks("{name}") {{ return ::{crate}::Answer({call}).kept(); }} }}'


def _unit(function: Node) -> str | None:
    """What a function is tried alone as: itself, or the type that it is a method of; None in the `impl` of a trait."""
    block = _owner(function)
    if block is None:
        return _name(function)
    return None if child_of(block, "trait") else base_name(text_of(child_of(block, "type") or child_of(block, "name")))


def _owner(function: Node) -> Node | None:
    """The `impl` or trait that a function belongs to."""
    block = function.parent.parent if function.parent is not None else None
    return block if block is not None and block.type in ("impl_item", "trait_item") else None


def with_wrong_types(source: str, crate: str, with_enums: bool) -> str:
    """Give the program's own types that its functions return, if only as a part, an `impl Wrong` each; `with_enums`: and all types
    an `impl Other` (it reads all fields: no lint calls one unread then)."""
    root = parse_any_length(source)
    found = [node for node in walk(root) if node.type in ("struct_item", "enum_item") and not _is_conditional(node)]
    types = {_name(node): node for node in found if with_enums or node.type == "struct_item" or _builds_all(root, node)}
    texts = [child_of(node, "return_type") for node in _functions(root)]
    wanted = set(types) if b"Self" in b"".join(t.text for t in texts if t) else set()
    fresh = {word for text in texts if text for word in identifiers(text)} & set(types)
    while fresh:
        wanted |= fresh
        fresh = {word for name in fresh for word in identifiers(types[name])} & set(types) - wanted
    dropped = set(re.findall(r"\bDrop\s+for\s+(\w+)", source))  # nothing can be moved out of them
    edits = []
    for name, node in types.items():
        wrong = _wrong_impl(node, crate) if name in wanted else ""
        other = _other_impl(node, crate) if with_enums and name not in dropped else ""
        edits.append((node.end_byte, node.end_byte, wrong + other))
    return edited(source, edits)


def _name(node: Node) -> str:
    return text_of(child_of(node, "name"))


def _is_conditional(node: Node) -> bool:
    """Whether parts of a type depend on the configuration, or on parameters."""
    return child_of(node, "type_parameters") is not None or b"cfg" in node.text


def _builds_all(root: Node, enum: Node) -> bool:
    """Whether every variant is named in an expression outside the test modules (by its whole path)."""
    modules, others = split_items(root)
    variants = {f"{_name(enum)}::{_name(child)}" for child in walk(enum) if child.type == "enum_variant"}
    paths = (node for item in others for node in walk(item) if node.type == "scoped_identifier" and not _is_in_pattern(node))
    return variants <= {"".join(text_of(node).split()) for node in paths}


def _is_in_pattern(node: Node) -> bool:
    while node.parent is not None and not node.type.endswith(("_expression", "block")):
        if node.type.endswith("pattern") or (node.parent.type == "match_arm" and node.type != "match_block"):
            return node.type.endswith("pattern")
        node = node.parent
    return False


def _wrong_impl(node: Node, crate: str) -> str:
    """`impl Wrong` for a struct or enum; nothing for one that holds nothing."""
    body = child_of(node, "body")
    if node.type == "enum_item":
        variants = [child for child in body.named_children if child.type == "enum_variant"]
        value = f"match k % {len(variants)} {{ {_wrong_variants(variants, crate)} }}" if 0 < len(variants) < 256 else ""
    else:
        value = _wrong_fields("Self", body, crate) if body is not None and body.named_child_count else ""
    if not value:
        return ""
    uses = f"#[allow(unused_imports)] use {{::{crate}::Unknown as _, ::core::option::Option::{{Some, None}}}};"
    head = f"impl ::{crate}::Wrong for {_name(node)} {{ fn wrong(k: ::core::primitive::u8) -> ::core::option::Option<Self>"
    return f" {head} {{ {uses} Some({value}) }} }} /* judge */"


def _other_impl(node: Node, crate: str) -> str:
    """`impl Other` for a struct, field by field, or an enum: another variant; nothing for one that holds nothing."""
    body = child_of(node, "body")
    if node.type == "enum_item":
        variants = [child for child in body.named_children if child.type == "enum_variant"]
        if not 1 < len(variants) < 256:
            return ""
        numbers = ", ".join(f"Self::{_name(v)} {{ .. }} => {n}" for n, v in enumerate(variants))
        value = f"::{crate}::another(self, |of| match of {{ {numbers} }}, {len(variants)}, k, |n, k| "
        value += f"Some(match n {{ {_wrong_variants(variants, crate)} }}))"
    else:
        fields = [child for child in body.named_children if _is_type(child)] if body is not None else []
        names = [_name(f) if f.type == "field_declaration" else n for n, f in enumerate(fields)]
        values = ", ".join(f"{name}: ::{crate}::Input(self.{name}).part(k + {n % 4})" for n, name in enumerate(names))
        value = f"Self {{ {values} }}" if fields else ""
    if not value:
        return ""
    uses = f"#[allow(unused_imports)] use {{::{crate}::Unknown as _, ::{crate}::Same as _, ::core::option::Option::{{Some, None}}}};"
    head = f"impl ::{crate}::Other for {_name(node)} {{ fn other(self, k: ::core::primitive::u8) -> Self"
    return f" {head} {{ {uses} {value} }} }} /* judge */"


def _wrong_variants(variants: Sequence[Node], crate: str) -> str:
    """The arms of a `match`: by its number a wrong value of each variant."""
    arms = [f"{n} => {_wrong_fields(f'Self::{_name(v)}', child_of(v, 'body'), crate)}" for n, v in enumerate(variants)]
    return ", ".join([*arms, "_ => return None"])


def _wrong_fields(constructor: str, body: Node | None, crate: str) -> str:
    """A constructor with a wrong value for every field, another number each."""
    if body is None:
        return constructor
    named = [child for child in body.named_children if child.type == "field_declaration"]
    types = [child_of(f, "type") for f in named] if named else [t for t in body.named_children if _is_type(t)]
    values = [f"::{crate}::Gate::<{_one_line(t)}>::NEW.part(k + {n % 4})?" for n, t in enumerate(types)]
    if body.type == "ordered_field_declaration_list":
        return f"{constructor}({', '.join(values)})"
    return f"{constructor} {{ {', '.join(f'{_name(f)}: {value}' for f, value in zip(named, values))} }}"


def _is_type(node: Node) -> bool:
    return node.type not in ("visibility_modifier", "attribute_item", "line_comment", "block_comment")


def _one_line(node: Node) -> str:
    return " ".join(text_of(node).split())
