"""Rust source text as a syntax tree: its items, under which `cfg` each exists, what its macros expand to, and an index by name.

One job: what is written where. What tests are worth is read off it in `judge/guards.py`; `judge/program.py` is
what the rest of the project calls. Texts beyond the limits below parse as an empty file; nothing here raises on any text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import tree_sitter
import tree_sitter_rust

MAX_SOURCE_BYTES = 32 * 1024  # a 4,096-token completion is about 16 KiB
MAX_QUOTES = {"r#": 400, '"': 3000, "'": 3000}  # the grammar takes quadratic time over unclosed strings
MAX_DEPTH = 300  # nesting of syntax nodes; rustc gives up long before

ASSERT_MACROS = ("assert", "assert_eq", "assert_ne", "debug_assert", "debug_assert_eq", "debug_assert_ne")
FAILING = ("panic", "unreachable", "todo", "unimplemented")


# -- Syntax trees ------------------------------------------------------------------------------------------------------

Node = tree_sitter.Node
RUST = tree_sitter.Language(tree_sitter_rust.language())


def parse_rust(source: str) -> Node:
    """Parse Rust; never raises. Text beyond the limits parses as an empty file."""
    return parse_any_length("" if is_too_long(source) else source)


def parse_any_length(source: str) -> Node:
    """Parse Rust that was measured before, or is ours; takes quadratic time over what `is_too_long`."""
    return tree_sitter.Parser(RUST).parse(source.encode("utf-8", "replace")).root_node


def is_too_long(source: str) -> bool:
    if len(source.encode()) > MAX_SOURCE_BYTES:
        return True
    return any(source.count(mark) > most for mark, most in MAX_QUOTES.items())


def edited(source: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Byte ranges [start, end) replaced. Those within another are dropped; texts for one place stand in the order given."""
    data, pieces, position = source.encode(), [], 0
    for start, end, text in sorted(edits, key=lambda edit: edit[:2]):
        if start >= position:
            pieces += [data[position:start], text.encode()]
            position = end
    return b"".join([*pieces, data[position:]]).decode("utf-8", "replace")


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, in source order, without recursion."""
    cursor = node.walk()
    while True:
        yield cursor.node
        if cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def tokens_of(node: Node) -> list[Node]:
    """The leaves of a tree, those of comments left out."""
    found, stack = [], [node]
    while stack:
        current = stack.pop()
        if not current.type.endswith("comment"):
            found += [] if current.children else [current]
            stack.extend(reversed(current.children))
    return found


def tree_depth(node: Node) -> int:
    """Nesting of the tree, up to a little over MAX_DEPTH."""
    level, deepest = [node], 0
    while level and deepest <= MAX_DEPTH:
        level = [child for parent in level for child in parent.named_children]
        deepest += 1
    return deepest


def leaves_of(node: Node | None) -> list[Node]:
    """The leaves of a tree without comments and the insides of strings."""
    return [] if node is None else [n for n in walk(node) if not n.child_count and n.type not in NOT_CODE]


def words_of(node: Node | None) -> list[str]:
    """The texts of these leaves, raw identifiers without their mark: `r#asm!` is `asm!`."""
    return [text_of(leaf).removeprefix("r#") if leaf.type.endswith("identifier") else text_of(leaf) for leaf in leaves_of(node)]


NOT_CODE = ("line_comment", "block_comment", "string_content", "escape_sequence", "doc_comment")


def text_of(node: Node | None) -> str:
    return "" if node is None else node.text.decode("utf-8", "replace")


def child_of(node: Node, name: str) -> Node | None:
    return node.child_by_field_name(name)


# -- Items: what the file defines, under which configuration -----------------------------------------------------------


@dataclass(frozen=True)
class Attribute:
    path: str  # "test", "cfg", "clippy::all"
    tokens: tuple[Node, ...]  # inside the delimiters, or after the equals sign


@dataclass(frozen=True)
class Item:
    """A function, type, constant, macro, import or module, wherever it is nested in modules, impls and traits."""

    node: Node
    name: str
    attributes: tuple[Attribute, ...]
    modules: tuple[str, ...]
    start_byte: int  # of its first attribute
    in_test: bool  # compiled under cfg(test)
    in_plain: bool  # compiled without
    test_side: bool  # part of the tests rather than of the program
    owner: str = ""  # the type of the surrounding impl or the name of the surrounding trait
    trait: str = ""  # the trait that the surrounding impl implements

    def has(self, *paths: str) -> bool:
        return any(attribute.path in paths for attribute in self.attributes)

    @property
    def is_test(self) -> bool:
        return self.node.type == "function_item" and not self.owner and self.has(*TEST_ATTRIBUTES)

    @property
    def is_main(self) -> bool:
        return self.node.type == "function_item" and self.name == "main" and not self.modules and not self.owner

    @property
    def is_own_function(self) -> bool:
        return self.node.type == "function_item" and self.in_plain and not self.test_side and not self.is_main


TEST_ATTRIBUTES = ("test", "core::prelude::v1::test", "std::prelude::v1::test", "::core::prelude::v1::test")
ITEM_TYPES = (
    "function_item", "mod_item", "impl_item", "trait_item", "struct_item", "enum_item", "union_item", "type_item",
    "const_item", "static_item", "macro_definition", "use_declaration", "foreign_mod_item", "macro_invocation",
    "function_signature_item", "extern_crate_declaration",
)  # fmt: skip
TRUE_CFGS = ("debug_assertions", "unix", "true", "overflow_checks", 'target_os="linux"', 'target_family="unix"')
TRUE_CFGS += ('panic="unwind"', 'target_pointer_width="64"', 'target_endian="little"')


def split_tokens(tokens: Sequence[Node]) -> list[list[Node]]:
    """Cut a token list at its top-level commas; empty pieces are dropped."""
    pieces: list[list[Node]] = [[]]
    for token in tokens:
        if token.type == ",":
            pieces.append([])
        else:
            pieces[-1].append(token)
    return [piece for piece in pieces if piece]


def tokens_inside(tree: Node) -> list[Node]:
    """The tokens between a token tree's delimiters."""
    return tree.children[1:-1]


def cfg_holds(predicate: Sequence[Node], test: bool, depth: int = 0) -> bool:
    """Evaluate one cfg predicate for the configuration that the harness is compiled with."""
    name = text_of(predicate[0])
    if len(predicate) == 2 and predicate[1].type == "token_tree" and depth < 20:
        parts = [cfg_holds(part, test, depth + 1) for part in split_tokens(tokens_inside(predicate[1]))]
        return {"all": all(parts), "any": any(parts), "not": parts == [False]}.get(name, False)
    if name == "test":
        return test
    return "".join(map(text_of, predicate)) in TRUE_CFGS


def _attribute_from(tokens: Sequence[Node], depth: int = 0) -> list[Attribute]:
    """The attributes that one attribute stands for: `cfg_attr` and `unsafe(..)` are opened."""
    end = next((i for i, t in enumerate(tokens) if t.type in ("token_tree", "=")), len(tokens))
    path = "".join(map(text_of, tokens[:end]))
    rest: Sequence[Node] = tokens[end + 1 :]
    if end < len(tokens) and tokens[end].type == "token_tree":
        rest = tokens_inside(tokens[end])
    if path == "unsafe" and rest and depth < 20:
        return _attribute_from(rest, depth + 1)
    if path == "cfg_attr" and rest and depth < 20:
        predicate, *others = split_tokens(rest)
        if not cfg_holds(predicate, test=True):
            return []
        return [found for other in others for found in _attribute_from(other, depth + 1)]
    return [Attribute(path, tuple(rest))]


def attributes_of(node: Node) -> list[Attribute]:
    """Attributes of one `attribute_item` or `inner_attribute_item` node."""
    return [found for child in node.named_children if child.type == "attribute" for found in _attribute_from(child.children)]


def body_of(node: Node) -> Node | None:
    return child_of(node, "body")


def cfg_of(attributes: Sequence[Attribute], test: bool) -> bool:
    return all(cfg_holds(part, test) for a in attributes if a.path == "cfg" for part in split_tokens(a.tokens)[:1])


def item_name(node: Node) -> str:
    if node.type == "impl_item":
        return f"{text_of(child_of(node, 'trait'))} for {text_of(child_of(node, 'type'))}"
    if node.type == "macro_invocation":
        return text_of(child_of(node, "macro"))
    if node.type == "use_declaration":
        return text_of(child_of(node, "argument"))
    return text_of(child_of(node, "name")).removeprefix("r#")


def base_name(text: str) -> str:
    """`std::fmt::Display` or `Foo<T>` without path and generics."""
    return text.split("<")[0].split("::")[-1].strip().lstrip("&").strip()


@dataclass(frozen=True)
class Scope:
    modules: tuple[str, ...] = ()
    in_test: bool = True
    in_plain: bool = True
    test_side: bool = False
    owner: str = ""
    trait: str = ""


def all_items(root: Node, scope: Scope = Scope()) -> list[Item]:
    """Every item of the file in source order; those nested in function bodies are not items here."""
    found: list[Item] = []
    stack = [(root, scope)]
    while stack:
        container, scope = stack.pop()
        for item in items_of(container, scope):
            found.append(item)
            body = body_of(item.node)
            if body is not None and item.node.type in ("mod_item", "impl_item", "trait_item"):
                stack.append((body, _scope_inside(item)))
    return sorted(found, key=lambda item: item.node.start_byte)


def _scope_inside(item: Item) -> Scope:
    inner = Scope(item.modules, item.in_test, item.in_plain, item.test_side)
    if item.node.type == "mod_item":
        return replace(inner, modules=(*item.modules, item.name))
    if item.node.type == "trait_item":
        return replace(inner, owner=item.name)
    owner, trait = (base_name(text_of(child_of(item.node, part))) for part in ("type", "trait"))
    return replace(inner, owner=owner or "?", trait=trait)


def items_of(container: Node, scope: Scope) -> Iterator[Item]:
    """The direct items of a file, module, impl or trait body."""
    pending: list[Attribute] = []
    start: int | None = None
    for node in container.named_children:
        if node.type == "attribute_item":
            pending += attributes_of(node)
            start = node.start_byte if start is None else start
        elif node.type in ("line_comment", "block_comment"):
            continue
        else:
            target = node
            if node.type == "expression_statement" and node.named_child_count == 1:
                target = node.named_children[0]  # a macro invocation that stands as an item
            if target.type in ITEM_TYPES:
                yield _item(target, pending, scope, node.start_byte if start is None else start)
            pending, start = [], None


def _item(node: Node, pending: list[Attribute], scope: Scope, start: int) -> Item:
    body = body_of(node)
    inner = [child for child in body.named_children if child.type == "inner_attribute_item"] if body is not None else []
    attributes = (*pending, *(found for child in inner for found in attributes_of(child)))
    in_test = scope.in_test and cfg_of(attributes, test=True)
    is_test = node.type == "function_item" and any(a.path in TEST_ATTRIBUTES for a in attributes)
    in_plain = scope.in_plain and not is_test and cfg_of(attributes, test=False)
    side = scope.test_side or is_test or (in_test and not in_plain)
    name = item_name(node)
    return Item(node, name, attributes, scope.modules, start, in_test, in_plain, side, scope.owner, scope.trait)


def harness_name(item: Item) -> str:
    """How the harness lists a test, raw identifiers (`mod r#try`) without their mark."""
    return "::".join((*item.modules, item.name))


def merge_key(item: Item) -> tuple[str, str]:
    kind = "function_item" if item.node.type == "function_signature_item" else item.node.type
    return kind, item.name


# -- The program's own macros ------------------------------------------------------------------------------------------

MAX_EXPANSION_BYTES = 32 * 1024
Bindings = dict[str, Any]  # a metavariable's text, or one Bindings for each repetition under "*"


def expansion_of(definition: Node, invocation: Node) -> str | None:
    """Expand a `macro_rules!` macro as far as tests need it; None when no rule fits. Hygiene is not modelled."""
    tokens = tokens_inside(invocation.children[-1])
    for rule in definition.named_children:
        if rule.type != "macro_rule":
            continue
        bindings: Bindings = {}
        if _match(tokens_inside(child_of(rule, "left")), tokens, bindings, 0) == len(tokens):
            text = _transcribed(tokens_inside(child_of(rule, "right")), bindings, 0)
            return text if len(text) <= MAX_EXPANSION_BYTES else None
    return None


def _match(pattern: Sequence[Node], tokens: Sequence[Node], bindings: Bindings, depth: int) -> int | None:
    """Match a prefix of the tokens; return how many were used, None for no match."""
    used = 0
    for position, part in enumerate(pattern):
        following = pattern[position + 1] if position + 1 < len(pattern) else None
        taken = _match_part(part, tokens[used:], bindings, following, depth)
        if taken is None:
            return None
        used += taken
    return used


def _match_part(part: Node, tokens: Sequence[Node], bindings: Bindings, following: Node | None,
                depth: int) -> int | None:  # fmt: skip
    if part.type == "token_binding_pattern":
        name, kind = text_of(child_of(part, "name")), text_of(child_of(part, "type"))
        taken = _fragment_length(kind, tokens, following)
        if taken is not None:
            text = _spaced(tokens[:taken], [text_of(token) for token in tokens[:taken]])
            bindings[name] = f"({text})" if kind == "expr" and taken > 1 else text
        return taken
    if part.type == "token_repetition_pattern":
        return _match_repetition(part, tokens, bindings, depth) if depth < 8 else None
    if not tokens:
        return None
    if part.type == "token_tree_pattern":
        tree = tokens[0]
        if tree.type != "token_tree" or tree.children[0].type != part.children[0].type or depth >= 8:
            return None
        inner = tokens_inside(tree)
        return 1 if _match(tokens_inside(part), inner, bindings, depth + 1) == len(inner) else None
    return 1 if text_of(tokens[0]) == text_of(part) else None


def _fragment_length(kind: str, tokens: Sequence[Node], following: Node | None) -> int | None:
    if kind == "vis":
        return 1 if tokens and text_of(tokens[0]) == "pub" else 0
    if not tokens:
        return None
    if kind in ("tt", "ident", "lifetime", "block", "literal"):
        if kind == "ident" and tokens[0].type in ("token_tree", "string_literal", "integer_literal"):
            return None
        return 2 if kind == "literal" and text_of(tokens[0]) == "-" and len(tokens) > 1 else 1
    stops = {",", ";", "=>"} | ({text_of(following)} if following is not None and not following.is_named else set())
    angle = 0
    for position, token in enumerate(tokens):
        angle += {"<": 1, ">": -1, ">>": -2}.get(token.type, 0) if kind in ("ty", "path") else 0
        if token.type in stops and angle <= 0:
            return position or None
    return len(tokens)


def _repetition(node: Node) -> tuple[list[Node], str, str]:
    """The repeated part, the separator and the operator of `$( .. ) sep op`."""
    close = max(i for i, child in enumerate(node.children) if child.type == ")")
    tail = text_of(node).encode()[node.children[close].end_byte - node.start_byte :].decode().strip()
    return node.children[2:close], tail[:-1].strip(), tail[-1:]


def _match_repetition(part: Node, tokens: Sequence[Node], bindings: Bindings, depth: int) -> int | None:
    inner, separator, operator = _repetition(part)
    rounds: list[Bindings] = []
    used = 0
    while used < len(tokens) and (operator != "?" or not rounds):
        start = used
        if rounds and separator:
            if text_of(tokens[used]) != separator:
                break
            start += 1
        found: Bindings = {}
        taken = _match(inner, tokens[start:], found, depth + 1)
        if not taken:
            break
        rounds.append(found)
        used = start + taken
    bindings.setdefault("*", []).append((_metavariables(inner), rounds))
    return None if operator == "+" and not rounds else used


def _metavariables(tokens: Sequence[Node]) -> set[str]:
    return {text_of(n) for token in tokens for n in walk(token) if n.type == "metavariable"}


def _transcribed(tokens: Sequence[Node], bindings: Bindings, depth: int) -> str:
    pieces: list[str] = []
    size = 0
    for token in tokens:
        if size > MAX_EXPANSION_BYTES or depth > 12:
            break
        if token.type == "metavariable":
            text = str(bindings.get(text_of(token), text_of(token)))
        elif token.type == "token_repetition":
            text = _transcribed_repetition(token, bindings, depth)
        elif token.type == "token_tree":
            ends = token.children[0].type, token.children[-1].type
            text = ends[0] + _transcribed(tokens_inside(token), bindings, depth + 1) + ends[1]
        else:
            text = text_of(token)
        pieces.append(text)
        size += len(text) + 1
    return _spaced(tokens, pieces).replace("$crate", "crate")


def _spaced(tokens: Sequence[Node], texts: Sequence[str]) -> str:
    """The texts in a row, with a space wherever their tokens had one."""
    pieces = []
    for position, text in enumerate(texts):
        apart = position > 0 and tokens[position - 1].end_byte != tokens[position].start_byte
        both_words = position > 0 and texts[position - 1][-1:].isalnum() and text[:1].isalnum()
        pieces.append(" " + text if apart or both_words else text)
    return "".join(pieces)


def _transcribed_repetition(token: Node, bindings: Bindings, depth: int) -> str:
    inner, separator, _ = _repetition(token)
    for names, rounds in bindings.get("*", []):
        if names & _metavariables(inner):
            texts = [_transcribed(inner, {**bindings, **found}, depth + 1) for found in rounds]
            return f" {separator} ".join(texts)[: MAX_EXPANSION_BYTES + 1]
    return ""


# -- What the program defines, by name ---------------------------------------------------------------------------------

MAX_EXPANDED_ITEMS = 500


class Index:
    """The program's items by name, those that its own macros expand to included."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.nodes = tuple(walk(root))  # walked once: every guard looks at all of them
        self._words: dict[int, list[str]] = {}
        self.macros = {item_name(n): n for n in self.nodes if n.type == "macro_definition"}
        self.items = _with_expansions(all_items(root), self.macros)
        present = [item for item in self.items if item.in_test]
        self.tests = [item for item in present if item.is_test]
        functions = [item for item in present if item.node.type == "function_item"]
        self.own = _by_name(item for item in functions if not item.test_side)
        self.helpers = _by_name(item for item in functions if item.test_side)
        self.constants = _by_name(item for item in present if item.node.type in ("const_item", "static_item"))
        self.own_macros = {item.name for item in present if item.node.type == "macro_definition" and not item.test_side}
        self.imports = _imports(self.nodes)

    def words(self, node: Node) -> list[str]:
        """`words_of` of a node, read once. The node must outlive the index, as every item's does."""
        if node.id not in self._words:
            self._words[node.id] = words_of(node)
        return self._words[node.id]

    def is_copy(self, node: Node) -> bool:
        """Whether a helper or closure of the tests repeats a function of the program, names aside."""
        shape = _shape_of(node)
        return len(shape) >= MIN_COPY_TOKENS and shape in self._shapes

    @cached_property
    def _shapes(self) -> set[tuple[str, ...]]:
        return {_shape_of(item.node) for items in self.own.values() for item in items}


MIN_COPY_TOKENS = 3  # `a + b`: less is no formula


def _shape_of(function: Node) -> tuple[str, ...]:
    """Tokens of a function's or closure's body, its own name and what it binds numbered in the order of first use."""
    parameters, body = child_of(function, "parameters"), body_of(function)
    bound = [text_of(child_of(function, "name"))] if function.type == "function_item" else [""]
    bound += [text_of(node) for node in walk(parameters) if node.type == "identifier"]
    patterns = [child_of(node, "pattern") for node in walk(body) if node.type in BINDERS]
    bound += [text_of(node) for pattern in patterns for node in walk(pattern) if node.type == "identifier"]
    numbers = {name: str(number) for number, name in reversed(list(enumerate(dict.fromkeys(bound))))}
    leaves = [node for node in walk(body) if not node.child_count and "comment" not in node.type]
    tokens = [numbers.get(text_of(node), text_of(node)) if node.type == "identifier" else text_of(node) for node in leaves]
    return tuple(tokens[1:-1] if body.type == "block" else tokens)


BINDERS = ("let_declaration", "for_expression", "let_condition", "match_arm", "parameter")  # all with a pattern
TYPE_ITEMS = ("struct_item", "enum_item", "union_item", "type_item", "trait_item")


def _by_name(items: Iterable[Item]) -> dict[str, list[Item]]:
    named: dict[str, list[Item]] = {}
    for item in items:
        named.setdefault(item.name, []).append(item)
    return named


@dataclass(frozen=True)
class _Import:
    modules: tuple[str, ...]  # of the module that holds it
    name: str  # what it is called there; "*" for a glob
    path: tuple[str, ...]


def _imports(nodes: Iterable[Node]) -> list[_Import]:
    """Every name that a `use` brings in, imports inside functions counted to the function's module."""
    found = []
    for declaration in nodes:
        if declaration.type != "use_declaration":
            continue
        modules: list[str] = []
        above = declaration.parent
        while above is not None:
            if above.type == "mod_item":
                modules.insert(0, item_name(above))
            above = above.parent
        stack: list[tuple[Node, tuple[str, ...]]] = [(child_of(declaration, "argument"), ())]
        while stack:
            node, prefix = stack.pop()
            found += [one for one in _import_leaf(node, prefix, tuple(modules), stack) if one.path]  # `use ::*;` has none
    return found


def _import_leaf(node: Node, prefix: tuple[str, ...], modules: tuple[str, ...],
                 stack: list[tuple[Node, tuple[str, ...]]]) -> list[_Import]:  # fmt: skip
    if node.type in ("use_list", "scoped_use_list"):
        path = _segments(child_of(node, "path"))
        stack.extend((child, (*prefix, *path)) for child in (child_of(node, "list") or node).named_children)
        return []
    if node.type == "use_wildcard":
        path = _segments(node.named_children[0] if node.named_children else None)
        return [_Import(modules, "*", (*prefix, *path))]
    if node.type == "use_as_clause":
        return [_Import(modules, text_of(child_of(node, "alias")), (*prefix, *_segments(child_of(node, "path"))))]
    path = (*prefix, *_segments(node))
    path = path[:-1] if path[-1:] == ("self",) and len(path) > 1 else path
    return [_Import(modules, path[-1], path)] if path else []


def _segments(path: Node | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text_of(path).split("::") if part.strip())


def _with_expansions(items: list[Item], macros: dict[str, Node]) -> list[Item]:
    found = list(items)
    for item in found:  # grows while it is read
        if item.node.type != "macro_invocation" or item.name not in macros or len(found) > MAX_EXPANDED_ITEMS:
            continue
        text = expansion_of(macros[item.name], item.node)
        if text is not None and not is_too_long(text):
            scope = Scope(item.modules, item.in_test, item.in_plain, item.test_side, item.owner, item.trait)
            found += all_items(parse_rust(text), scope)
    return found
