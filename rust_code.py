"""Read a completion: its Rust program, its tests, and what those tests are worth.

One job: completion text in, `Program` out. Nothing is compiled or run here; everything about Rust goes through
tree-sitter. `rust_tool.py` compiles what `extract_program`, `panic_stubbed` and `with_hidden_tests` return.

A test counts when one of its assertions can fail depending on what the program's own code returns. That is found by
following the test's statements (`_TestRun`) with terms for values: a call into the program is an unknown function of
its arguments, so `f(x) == f(x)` and `f(x) * 0 == 0` hold whatever it does and are worth nothing, while `f(x) == 4`,
`f(f(x)) == f(x)` or `decode(&encode(x)) == x` can fail and count. Helpers, closures, tables, loops and macros of the
tests are followed, dead code is not.

What this cannot see, some of which running the tests can:
* Whether a condition that depends on the program is ever met: `if let Ok(v) = f("bad") { assert_eq!(v, 3) }`.
  `panic_stubbed(.., mark_asserts=True)` puts a mark in front of every counted assertion: a marked test must reach one.
* Facts of std that make a comparison true of any value (`count_ones() + count_zeros() == 64`), beyond the usual ones.
* Expected values that reach the program by a side door (an option field, a closure, a trait that the tests implement).
* Answers looked up in a table of more than MAX_KEYS entries, or by anything but comparing inputs with literals: by their
  length, a range around each, a list indexed by a remainder. Predicates that list the inputs for which they hold (or do
  not) when some other input is tested, too: `matches!(day, 6 | 7)` may be the right answer.
* Constants that a `while` hides (`while n > 0 { n /= 10 }` and then `n + 6`), and those of methods without arguments.
* Values that the test itself overwrites through a reference (`for slot in got.iter_mut() { *slot = .. }`).
* That the function under test is the one the task asked for; `tested_functions` and `same_program` help the caller.
* Methods and macros are told apart by name, not by type: a name shared with std may count as the program's.
  The panic stub settles those.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace

import tree_sitter
import tree_sitter_rust

MAX_SOURCE_BYTES = 32 * 1024  # a 4,096-token completion is about 16 KiB
MAX_QUOTES = {"r#": 400, '"': 3000, "'": 3000}  # the grammar takes quadratic time over unclosed strings
MAX_DEPTH = 300  # nesting of syntax nodes; rustc gives up long before
MAX_HIDDEN_TESTS = 2000

RUST_TAGS = ("rust", "rs")
ASSERT_MACROS = ("assert", "assert_eq", "assert_ne", "debug_assert", "debug_assert_eq", "debug_assert_ne")
# Method names whose panic would abort the process instead of failing the test.
UNSTUBBABLE = {"Drop": ("drop",), "GlobalAlloc": ("alloc", "dealloc", "realloc", "alloc_zeroed"), "Debug": ("fmt",)}
STUB = ' if true { ::std::panic!("stubbed") }'
MARK = ' if true { ::std::panic!("reached") }'


# ---------------------------------------------------------------------------------------------------------------
# What a completion amounts to
# ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TestFn:
    """One `#[test]` function of the program."""

    __test__ = False  # not for pytest

    name: str  # as the harness lists it, e.g. "tests::adds"
    ignored: bool
    should_panic: bool
    counted: bool  # it can fail depending on what the program's own code returns
    guard: str | None  # why it is not counted; None when it is, and for should_panic tests
    marked: bool = False  # all its counted assertions are in `Program.assert_sites`: one of them must be reached


@dataclass(frozen=True)
class Program:
    """A completion's program. Lines of every diagnostic refer to `source`."""

    source: str
    functions: tuple[str, ...]
    test_names: tuple[str, ...]
    n_asserts: int
    has_test_block: bool
    guard: str | None
    code_block: bool
    tests: tuple[TestFn, ...]
    silences_clippy: bool = False  # allows lints beyond dead code and naming, outside its tests
    tested_functions: tuple[str, ...] = ()  # that counted assertions depend on directly
    assert_sites: tuple[tuple[int, int], ...] = ()  # byte ranges of counted assert macros in `source`


@dataclass(frozen=True)
class HiddenSuite:
    """A program with a task's tests appended as a module of its own."""

    source: str
    test_names: tuple[str, ...]  # one per assert, e.g. "hidden_1f0c::tests::t0", in the task's order
    guard: str | None = None  # a construct in the program that could make them pass: they are worth nothing then


# ---------------------------------------------------------------------------------------------------------------
# Fences
# ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CodeBlock:
    tag: str  # first word of the info string, lower case; "" when there is none
    text: str
    closed: bool


def code_blocks(text: str) -> list[CodeBlock]:
    """Return the fenced code blocks outside `<think>` sections, by CommonMark's rules at any indentation.

    Indentation is free on the opening fence because list items indent theirs; a closing fence may be indented
    three columns more than its opening one.
    """
    blocks: list[CodeBlock] = []
    fence: re.Match[str] | None = None
    lines: list[str] = []
    thinking = False
    for line in text.lstrip("\ufeff\u200b").replace("\r\n", "\n").split("\n"):
        mark = line.strip().lower()
        end = line.lower().rfind("</think>")
        if end >= 0 and (thinking or mark.startswith("</think>") or (fence is None and mark.startswith("<think>"))):
            # Some chat templates put the opening tag into the prompt: everything so far was thinking.
            blocks, fence, thinking = [], None, False
            line = line[end + len("</think>") :]
            mark = ""
        if thinking:
            continue
        if fence is None:
            thinking = mark.startswith("<think>")
            fence = _opening_fence(line)
            lines = []
        elif _closes(line, fence):
            blocks.append(CodeBlock(_tag(fence["info"]), "\n".join(lines), closed=True))
            fence = None
        else:
            lines.append(_dedent(line, len(fence["indent"])))
    if fence is not None:
        blocks.append(CodeBlock(_tag(fence["info"]), "\n".join(lines), closed=False))
    return blocks


def _opening_fence(line: str) -> re.Match[str] | None:
    match = re.match(r"(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})(?P<info>.*)$", line)
    if match and match["mark"][0] == "`" and "`" in match["info"]:
        return None  # an inline code span
    return match


def _closes(line: str, fence: re.Match[str]) -> bool:
    body = line.strip(" \t\r")
    indent = len(line) - len(line.lstrip(" \t"))
    return len(body) >= len(fence["mark"]) and not body.strip(fence["mark"][0]) and indent <= len(fence["indent"]) + 3


def _tag(info: str) -> str:
    return re.split(r"[\s,{}:]", info.strip().lstrip("{").lstrip("."), maxsplit=1)[0].lower()


def _dedent(line: str, columns: int) -> str:
    return line[min(columns, len(line) - len(line.lstrip(" \t"))) :]


# ---------------------------------------------------------------------------------------------------------------
# Syntax trees
# ---------------------------------------------------------------------------------------------------------------

Node = tree_sitter.Node
RUST = tree_sitter.Language(tree_sitter_rust.language())


def _parse(source: str) -> Node:
    """Parse Rust; never raises. Text beyond the limits parses as an empty file."""
    data = b"" if _too_long(source) else source.encode()
    return tree_sitter.Parser(RUST).parse(data).root_node


def _too_long(source: str) -> bool:
    if len(source.encode()) > MAX_SOURCE_BYTES:
        return True
    return any(source.count(mark) > most for mark, most in MAX_QUOTES.items())


def _walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, in source order, without recursion."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(current.children))


def _depth(node: Node) -> int:
    """Nesting of the tree, up to a little over MAX_DEPTH."""
    level, deepest = [node], 0
    while level and deepest <= MAX_DEPTH:
        level = [child for parent in level for child in parent.named_children]
        deepest += 1
    return deepest


def _leaves(node: Node) -> list[str]:
    """The tokens of a node; comments and the insides of strings are not among them."""
    return [_text(n) for n in _walk(node) if not n.children and n.type not in NOT_CODE]


NOT_CODE = ("line_comment", "block_comment", "string_content", "escape_sequence", "doc_comment")


def _text(node: Node | None) -> str:
    return "" if node is None or node.text is None else node.text.decode("utf-8", "replace")


def _child(node: Node, name: str) -> Node | None:
    return node.child_by_field_name(name)


# ---------------------------------------------------------------------------------------------------------------
# Items: what the file defines, under which configuration
# ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attribute:
    path: str  # "test", "cfg", "clippy::all"
    tokens: tuple[Node, ...]  # inside the delimiters, or after the equals sign
    inner: bool = False


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
    expanded: bool = False  # from a macro: its node belongs to another text

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


def _split(tokens: Sequence[Node], separator: str = ",") -> list[list[Node]]:
    """Cut a token list at its top-level separators; empty pieces are dropped."""
    pieces: list[list[Node]] = [[]]
    for token in tokens:
        if not token.is_named and token.type == separator:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return [piece for piece in pieces if piece]


def _inside(tree: Node) -> list[Node]:
    """The tokens between a token tree's delimiters."""
    return tree.children[1:-1]


def _cfg_holds(predicate: Sequence[Node], test: bool, depth: int = 0) -> bool:
    """Evaluate one cfg predicate for the configuration that the harness is compiled with."""
    name = _text(predicate[0])
    if len(predicate) == 2 and predicate[1].type == "token_tree" and depth < 20:
        parts = [_cfg_holds(part, test, depth + 1) for part in _split(_inside(predicate[1]))]
        return {"all": all(parts), "any": any(parts), "not": parts == [False]}.get(name, False)
    if name == "test":
        return test
    return "".join(map(_text, predicate)) in TRUE_CFGS


def _attribute_from(tokens: Sequence[Node], inner: bool, depth: int = 0) -> list[Attribute]:
    """The attributes that one attribute stands for: `cfg_attr` and `unsafe(..)` are opened."""
    end = next((i for i, t in enumerate(tokens) if t.type in ("token_tree", "=")), len(tokens))
    path = "".join(map(_text, tokens[:end]))
    rest: Sequence[Node] = tokens[end + 1 :]
    if end < len(tokens) and tokens[end].type == "token_tree":
        rest = _inside(tokens[end])
    if path == "unsafe" and rest and depth < 20:
        return _attribute_from(rest, inner, depth + 1)
    if path == "cfg_attr" and rest and depth < 20:
        predicate, *others = _split(rest)
        if not _cfg_holds(predicate, test=True):
            return []
        return [found for other in others for found in _attribute_from(other, inner, depth + 1)]
    return [Attribute(path, tuple(rest), inner)]


def _attributes(node: Node) -> list[Attribute]:
    """Attributes of one `attribute_item` or `inner_attribute_item` node."""
    inner = node.type == "inner_attribute_item"
    return [found for child in node.named_children if child.type == "attribute"
            for found in _attribute_from(child.children, inner)]  # fmt: skip


def _body(node: Node) -> Node | None:
    return _child(node, "body")


def _cfg_of(attributes: Sequence[Attribute], test: bool) -> bool:
    return all(_cfg_holds(part, test) for a in attributes if a.path == "cfg" for part in _split(a.tokens)[:1])


def _item_name(node: Node) -> str:
    if node.type == "impl_item":
        return f"{_text(_child(node, 'trait'))} for {_text(_child(node, 'type'))}"
    if node.type == "macro_invocation":
        return _text(_child(node, "macro"))
    if node.type == "use_declaration":
        return _text(_child(node, "argument"))
    return _text(_child(node, "name")).removeprefix("r#")


def _base_name(text: str) -> str:
    """`std::fmt::Display` or `Foo<T>` without path and generics."""
    return text.split("<")[0].split("::")[-1].strip().lstrip("&").strip()


@dataclass(frozen=True)
class _Scope:
    modules: tuple[str, ...] = ()
    in_test: bool = True
    in_plain: bool = True
    test_side: bool = False
    owner: str = ""
    trait: str = ""


def _items(root: Node, scope: _Scope = _Scope()) -> list[Item]:
    """Every item of the file in source order; those nested in function bodies are not items here."""
    found: list[Item] = []
    stack = [(root, scope)]
    while stack:
        container, scope = stack.pop()
        for item in _items_of(container, scope):
            found.append(item)
            body = _body(item.node)
            if body is not None and item.node.type in ("mod_item", "impl_item", "trait_item"):
                stack.append((body, _scope_inside(item, scope)))
    return sorted(found, key=lambda item: item.node.start_byte)


def _scope_inside(item: Item, scope: _Scope) -> _Scope:
    kind = item.node.type
    inner = _Scope(scope.modules, item.in_test, item.in_plain, item.test_side)
    if kind == "mod_item":
        return _Scope((*scope.modules, item.name), item.in_test, item.in_plain, item.test_side)
    if kind == "trait_item":
        return _Scope(inner.modules, inner.in_test, inner.in_plain, inner.test_side, item.name)
    owner = _base_name(_text(_child(item.node, "type")))
    trait = _base_name(_text(_child(item.node, "trait")))
    return _Scope(inner.modules, inner.in_test, inner.in_plain, inner.test_side, owner or "?", trait)


def _items_of(container: Node, scope: _Scope) -> Iterator[Item]:
    """The direct items of a file, module, impl or trait body."""
    pending: list[Attribute] = []
    start: int | None = None
    for node in container.named_children:
        if node.type == "attribute_item":
            pending += _attributes(node)
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


def _item(node: Node, pending: list[Attribute], scope: _Scope, start: int) -> Item:
    body = _body(node)
    inner: list[Attribute] = []
    if body is not None:
        for child in body.named_children:
            if child.type == "inner_attribute_item":
                inner += _attributes(child)
    attributes = tuple(pending + inner)
    in_test = scope.in_test and _cfg_of(attributes, test=True)
    is_test = node.type == "function_item" and any(a.path in TEST_ATTRIBUTES for a in attributes)
    in_plain = scope.in_plain and not is_test and _cfg_of(attributes, test=False)
    side = scope.test_side or is_test or (in_test and not in_plain) or _is_unmarked_test_module(node)
    name = _item_name(node)
    return Item(node, name, attributes, scope.modules, start, in_test, in_plain, side, scope.owner, scope.trait)


def _is_unmarked_test_module(node: Node) -> bool:
    """A module with `#[test]` functions that lacks `#[cfg(test)]`: named for tests or importing from its parent."""
    body = _body(node) if node.type == "mod_item" else None
    if body is None:
        return False
    children = body.named_children
    holds_tests = any(a.path in TEST_ATTRIBUTES for c in children if c.type == "attribute_item" for a in _attributes(c))
    imports = any(c.type == "use_declaration" and _item_name(c).startswith(("super", "crate")) for c in children)
    return holds_tests and (imports or "test" in _item_name(node).lower())


# ---------------------------------------------------------------------------------------------------------------
# The program's own macros
# ---------------------------------------------------------------------------------------------------------------

MAX_EXPANSION_BYTES = 32 * 1024
Bindings = dict[str, object]  # a metavariable's text, or one Bindings for each repetition under "*"


def _expanded(definition: Node, invocation: Node) -> str | None:
    """Expand a `macro_rules!` macro as far as tests need it; None when no rule fits. Hygiene is not modelled."""
    tree = next((child for child in invocation.children if child.type == "token_tree"), None)
    if tree is None:
        return None
    for rule in definition.named_children:
        left, right = _child(rule, "left"), _child(rule, "right")
        if rule.type != "macro_rule" or left is None or right is None:
            continue
        bindings: Bindings = {}
        if _match(left.children[1:-1], _inside(tree), bindings, 0) == len(_inside(tree)):
            text = _transcribed(_inside(right), bindings, 0)
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
        name, kind = _text(_child(part, "name")), _text(_child(part, "type"))
        taken = _fragment_length(kind, tokens, following)
        if taken is not None:
            text = _spaced(tokens[:taken], [_text(token) for token in tokens[:taken]])
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
        inner = _inside(tree)
        return 1 if _match(part.children[1:-1], inner, bindings, depth + 1) == len(inner) else None
    return 1 if _text(tokens[0]) == _text(part) else None


def _fragment_length(kind: str, tokens: Sequence[Node], following: Node | None) -> int | None:
    if kind == "vis":
        return 1 if tokens and _text(tokens[0]) == "pub" else 0
    if not tokens:
        return None
    if kind in ("tt", "ident", "lifetime", "block", "literal"):
        if kind == "ident" and tokens[0].type in ("token_tree", "string_literal", "integer_literal"):
            return None
        return 2 if kind == "literal" and _text(tokens[0]) == "-" and len(tokens) > 1 else 1
    stops = {",", ";", "=>"} | ({_text(following)} if following is not None and not following.is_named else set())
    angle = 0
    for position, token in enumerate(tokens):
        angle += {"<": 1, ">": -1, ">>": -2}.get(token.type, 0) if kind in ("ty", "path") else 0
        if token.type in stops and angle <= 0:
            return position or None
    return len(tokens)


def _repetition(node: Node) -> tuple[list[Node], str, str]:
    """The repeated part, the separator and the operator of `$( .. ) sep op`."""
    close = max(i for i, child in enumerate(node.children) if child.type == ")")
    tail = _text(node).encode()[node.children[close].end_byte - node.start_byte :].decode().strip()
    return node.children[2:close], tail[:-1].strip(), tail[-1:]


def _match_repetition(part: Node, tokens: Sequence[Node], bindings: Bindings, depth: int) -> int | None:
    inner, separator, operator = _repetition(part)
    rounds: list[Bindings] = []
    used = 0
    while used < len(tokens) and (operator != "?" or not rounds):
        start = used
        if rounds and separator:
            if _text(tokens[used]) != separator:
                break
            start += 1
        found: Bindings = {}
        taken = _match(inner, tokens[start:], found, depth + 1)
        if not taken:
            break
        rounds.append(found)
        used = start + taken
    repetitions = bindings.setdefault("*", [])
    assert isinstance(repetitions, list)
    repetitions.append((frozenset(_text(n) for i in inner for n in _walk(i) if n.type == "metavariable"), rounds))
    return None if operator == "+" and not rounds else used


def _transcribed(tokens: Sequence[Node], bindings: Bindings, depth: int) -> str:
    pieces: list[str] = []
    size = 0
    for token in tokens:
        if size > MAX_EXPANSION_BYTES or depth > 12:
            break
        if token.type == "metavariable":
            text = str(bindings.get(_text(token), _text(token)))
        elif token.type == "token_repetition":
            text = _transcribed_repetition(token, bindings, depth)
        elif token.type == "token_tree":
            ends = token.children[0].type, token.children[-1].type
            text = ends[0] + _transcribed(_inside(token), bindings, depth + 1) + ends[1]
        else:
            text = _text(token)
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
    used = {_text(n) for i in inner for n in _walk(i) if n.type == "metavariable"}
    repetitions = bindings.get("*", [])
    assert isinstance(repetitions, list)
    for names, rounds in repetitions:
        if names & used:
            texts = [_transcribed(inner, {**bindings, **found}, depth + 1) for found in rounds]
            return f" {separator} ".join(texts)[: MAX_EXPANSION_BYTES + 1]
    return ""


# ---------------------------------------------------------------------------------------------------------------
# Values: what an assertion's condition depends on, and whether it can be false
# ---------------------------------------------------------------------------------------------------------------

# Results of these are predicates or sizes whatever they are called on.
PREDICATE_PREFIXES = ("is_", "has_", "contains", "starts_with", "ends_with", "all", "any", "eq", "ne", "matches")
SIZE_METHODS = ("len", "count", "capacity", "elapsed", "abs_diff", "unsigned_abs")
UNSIGNED_TYPES = ("u8", "u16", "u32", "u64", "u128", "usize")
NUMBER_TYPES = ("i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64")
HUGE = 1e30
LIMITS = tuple(2**bits - 1 for bits in (8, 16, 32, 64, 128))
SAMPLES = 64
SAMPLING_BUDGET = 300_000  # term evaluations for one program; honest tests take some thousands
ALWAYS_AT_LEAST = ([("method", "max"), ("method", "min")], [("method", "capacity"), ("method", "len")])
PLAIN_OPS = ("const", "list", "path", "ctor", "neg")
SAMPLE_NUMBERS = (0, 1, 2, 3, 5, 10, -1, -7, 1000003)
Value = object  # a sampled value: bool, int, float, str or a tuple headed by a constructor's name


class _Terms:
    """Expressions as a table of shared terms, so that equal expressions are equal numbers.

    A call into the program is an unknown function: same arguments, same result, otherwise anything. `can_fail` tries
    many such functions, which settles `f(x) == f(x)`, `f(x) * 0 == 0` and `f(x) < 5 || f(x) > 3` alike.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[str, object, tuple[int, ...]]] = []
        self.own: list[bool] = []  # depends on a call into the program's own code
        self.plain: list[bool] = []  # literals and nothing else
        self.budget = SAMPLING_BUDGET
        self.enums: dict[str, tuple[str, ...]] = {}  # variants of the program's enums that hold nothing
        self._ids: dict[tuple[object, ...], int] = {}
        self.true = self.const(True)
        self.false = self.const(False)
        self.unit = self.make("list", "()")

    def make(self, op: str, payload: object = "", *children: int, own: bool = False) -> int:
        key = (op, type(payload).__name__, payload, children, own)
        if key not in self._ids:
            self._ids[key] = len(self.rows)
            self.rows.append((op, payload, children))
            self.own.append(own or any(self.own[child] for child in children))
            self.plain.append(op in PLAIN_OPS and all(self.plain[child] for child in children))
        return self._ids[key]

    def const(self, value: Value) -> int:
        return self.make("const", value)

    def constant(self, term: int) -> Value:
        """The Python value of a constant; None when it is not one."""
        op, payload, _ = self.rows[term]
        return payload if op == "const" else None

    def op(self, term: int) -> str:
        return self.rows[term][0]

    def children(self, term: int) -> tuple[int, ...]:
        return self.rows[term][2]

    def payload(self, term: int) -> object:
        return self.rows[term][1]

    def negated(self, term: int) -> int:
        if term in (self.true, self.false):
            return self.false if term == self.true else self.true
        return self.children(term)[0] if self.op(term) == "not" else self.make("not", "", term)

    def both(self, left: int, right: int) -> int:
        if self.false in (left, right):
            return self.false
        if left == self.true or left == right:
            return right
        return left if right == self.true else self.make("and", "", *sorted((left, right)))

    def either(self, left: int, right: int) -> int:
        return self.negated(self.both(self.negated(left), self.negated(right)))

    def equal(self, left: int, right: int) -> int:
        if left == right:
            return self.true
        pair = sorted((left, right))
        if self.plain[left] and self.plain[right]:
            return self.const(self._sampled(left) == self._sampled(right))
        if self.true in pair and "not" in (self.op(left), self.op(right)):
            return right if left == self.true else left
        return self.make("eq", "", *pair)

    def less(self, left: int, right: int) -> int:
        heads = [self.rows[side][:2] for side in (left, right)]
        if left == right or ("path", "NAN") in heads:
            return self.false
        if heads in ALWAYS_AT_LEAST and self.children(left) == self.children(right):
            return self.false
        a, b = self.constant(left), self.constant(right)
        if _is_number(a) and _is_number(b):
            return self.const(a < b)
        return self.make("lt", "", left, right)

    def chosen(self, condition: int, then: int, otherwise: int) -> int:
        if condition in (self.true, self.false) or then == otherwise:
            return then if condition == self.true or then == otherwise else otherwise
        if self.op(then) == "ite" and self.children(then)[0] == condition:
            then = self.children(then)[1]
        if self.op(otherwise) == "ite" and self.children(otherwise)[0] == condition:
            otherwise = self.children(otherwise)[2]
        if {then, otherwise} == {self.true, self.false}:
            return condition if then == self.true else self.negated(condition)
        return self.make("ite", "", condition, then, otherwise)

    def arithmetic(self, op: str, left: int, right: int) -> int:
        a, b = self.constant(left), self.constant(right)
        if left == right and op in ("/", "%", "-", "^"):
            return self.const(1 if op == "/" else 0)
        if _is_number(a) and _is_number(b):
            value = _arithmetic(op, a, b)
            if value is not None:
                return self.const(value)
        return self.make(op, "", left, right)

    def _sampled(self, term: int) -> Value:
        return self._assignment(self.reachable(term), 0, ())[term]

    def reachable(self, term: int) -> list[int]:
        """The term and everything in it, children before parents."""
        seen, stack = {term}, [term]
        while stack:
            for child in self.children(stack.pop()):
                if child not in seen:
                    seen.add(child)
                    stack.append(child)
        return sorted(seen)

    def can_fail(self, goal: int) -> bool:
        """Whether some behaviour of the program's functions makes the goal false."""
        if not self.own[goal]:
            return False
        order = self.reachable(goal)
        fixed = self._assignment(order, 0, (), [t for t in order if not self.own[t]])
        pool = tuple(dict.fromkeys(value for value in fixed.values() if not isinstance(value, bool)))
        for seed in range(SAMPLES):
            self.budget -= len(order)
            if self.budget < 0:
                return False
            if not _truth(self._assignment(order, seed, pool)[goal]):
                return True
        return False

    def fixed(self, goal: int, signatures: Set[str]) -> bool:
        """Whether the goal looks at a function that answers the same whatever it is asked."""
        return bool(signatures) and any(self.op(t) == "call" and self.payload(t) in signatures for t in self.reachable(goal))

    def calls(self, goal: int) -> set[str]:
        """Names of the program's functions in the term."""
        return {str(self.payload(t)) for t in self.reachable(goal) if self.op(t) in ("own", "fnref")}

    def _assignment(self, order: Sequence[int], seed: int, pool: tuple[Value, ...], only: Sequence[int] | None = None,
                    given: dict[int, Value] | None = None) -> dict[int, Value]:  # fmt: skip
        values: dict[int, Value] = dict(given or {})
        for term in order if only is None else only:
            if given and term in given:
                continue
            op, payload, children = self.rows[term]
            arguments = [values[child] for child in children]
            value = _interpreted(op, payload, arguments)
            if value is None:
                own = self.own[term]
                draw = _draw(seed if own else 0, op, payload, arguments)
                if op == "loop" and draw % (2 if payload == "certain" else 3) < 2:
                    values[term] = arguments[draw % 2]  # what the variable was before the loop, or after a round
                    continue
                variants = self.enums.get(str(payload).rpartition(":")[2]) if op == "own" else None
                if variants:
                    values[term] = (variants[draw % len(variants)],)
                    continue
                value = _unknown(op, str(payload), draw, pool if own else (), op == "own")
            values[term] = value
        return values


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _draw(seed: int, *parts: object) -> int:
    """A number that depends on all the parts, the same in every process."""
    return zlib.crc32(repr((seed, parts)).encode("utf-8", "replace"))


def _unknown(op: str, name: str, draw: int, pool: tuple[Value, ...], own: bool) -> Value:
    """Some result of a function that is not understood; own functions carry their return type after a colon."""
    method, _, returns = name.rpartition(":") if own else (name, "", "")
    draw, kind = divmod(draw, 16)
    if returns == "()":
        return ("()",)
    if returns == "bool" or op == "is" or (op == "method" and method.startswith(PREDICATE_PREFIXES)):
        return bool(draw & 1)
    unsigned = returns in UNSIGNED_TYPES or (op == "method" and method in SIZE_METHODS)
    if unsigned or returns in NUMBER_TYPES:
        most = HUGE if own else 2.0**63
        numbers = [n for n in (*pool, *SAMPLE_NUMBERS) if _is_number(n) and abs(n) < most and (n >= 0 or not unsigned)]
        return numbers[draw % len(numbers)]
    if pool and kind < 7:
        return pool[draw % len(pool)]
    return SAMPLE_NUMBERS[draw % len(SAMPLE_NUMBERS)] if kind < 13 else f"?{draw}"


def _truth(value: Value) -> bool:
    return value if isinstance(value, bool) else bool(zlib.crc32(repr(value).encode("utf-8", "replace")) & 1)


def _order_key(value: Value) -> float:
    return float(value) if _is_number(value) else float(zlib.crc32(repr(value).encode("utf-8", "replace")) % 1000)


def _arithmetic(op: str, a: int | float, b: int | float) -> int | float | None:
    try:
        if op in ("+", "-", "*"):
            result = a + b if op == "+" else a - b if op == "-" else a * b
        elif op in ("/", "%"):
            exact = isinstance(a, float) or isinstance(b, float)
            quotient = a / b if exact else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
            result = quotient if op == "/" else a - b * (int(quotient) if exact else quotient)
        elif op in ("&", "|", "^") and isinstance(a, int) and isinstance(b, int):
            result = a & b if op == "&" else a | b if op == "|" else a ^ b
        else:
            return None
    except (ZeroDivisionError, OverflowError, ValueError):
        return None
    return result if abs(result) < 1e40 else None


def _interpreted(op: str, payload: object, args: list[Value]) -> Value | None:
    """The value of an operation that is understood; None for the others."""
    if op == "const":
        return payload
    if op in ("list", "path", "ctor"):
        return (payload, *args)
    if op == "not":
        return not _truth(args[0])
    if op == "and":
        return _truth(args[0]) and _truth(args[1])
    if op == "eq":
        mixed = isinstance(args[0], bool) or isinstance(args[1], bool)
        return _truth(args[0]) == _truth(args[1]) if mixed else args[0] == args[1]
    if op == "lt":
        if isinstance(args[0], str) and isinstance(args[1], str):
            return args[0] < args[1]
        return _order_key(args[0]) < _order_key(args[1])
    if op == "ite":
        return args[1] if _truth(args[0]) else args[2]
    if op == "neg" and _is_number(args[0]):
        return -args[0]
    if op in ("+", "-", "*", "/", "%", "&", "|", "^") and _is_number(args[0]) and _is_number(args[1]):
        return _arithmetic(op, args[0], args[1])
    return _interpreted_access(op, payload, args)


def _interpreted_access(op: str, payload: object, args: list[Value]) -> Value | None:
    """Constructors seen from outside, and the few methods that tolerance checks use."""
    first = args[0] if args else None
    if op == "is" and isinstance(first, tuple) and first:
        wanted = re.fullmatch(r"\[(\d+)(\+?)\]", str(payload))
        if wanted and first[0] == "[]":
            return len(first) - 1 >= int(wanted[1]) if wanted[2] else len(first) - 1 == int(wanted[1])
        return first[0] == payload
    if op == "field" and isinstance(first, tuple) and isinstance(payload, int) and payload + 1 < len(first):
        return first[payload + 1]
    if op == "unwrap" and isinstance(first, tuple) and first and first[0] in ("Some", "Ok"):
        return first[1] if len(first) == 2 else None
    if op == "method" and payload == "abs" and _is_number(first):
        return abs(first)
    if op == "method" and payload == "clamp" and len(args) == 3 and args[1] == args[2]:
        return args[1]
    if op == "method" and payload == "clamp" and len(args) == 3 and all(map(_is_number, args)):
        return min(max(first, args[1]), args[2])
    if op == "method" and payload in ("min", "max") and len(args) == 2 and all(map(_is_number, args)):
        return min(args) if payload == "min" else max(args)
    if op == "method" and payload in ("saturating_sub", "saturating_add") and all(map(_is_number, args)):
        if len(args) == 2 and args[1] in LIMITS:
            return args[1] if payload == "saturating_add" else 0
    if op == "method" and payload == "len" and isinstance(first, tuple) and first and first[0] == "[]":
        return len(first) - 1
    return None


# ---------------------------------------------------------------------------------------------------------------
# What the program defines, by name
# ---------------------------------------------------------------------------------------------------------------

MAX_EXPANSION_ROUNDS = 4
MAX_EXPANDED_ITEMS = 500


class _Index:
    """The program's items by name, those that its own macros expand to included."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.nodes = tuple(_walk(root))  # walked once: every guard looks at all of them
        self._asserts: dict[int, bool] = {}
        self._words: dict[int, list[str]] = {}
        self.macros = {_item_name(n): n for n in self.nodes if n.type == "macro_definition"}
        self.items = _with_expansions(_items(root), self.macros)
        present = [item for item in self.items if item.in_test]
        self.tests = [item for item in present if item.is_test]
        functions = [item for item in present if item.node.type == "function_item" and _body(item.node) is not None]
        self.own = _by_name(item for item in functions if not item.test_side)
        self.helpers = _by_name(item for item in functions if item.test_side)
        self.constants = _by_name(item for item in present if item.node.type in ("const_item", "static_item"))
        own = [item for item in present if not item.test_side]
        self.own_macros = {item.name for item in own if item.node.type == "macro_definition"}
        self.types = {item.name for item in own if item.node.type in TYPE_ITEMS}
        self.test_types = {item.name for item in present if item.test_side and item.node.type in TYPE_ITEMS}
        self.variants = _variants(own)
        self.traits: dict[str, set[str]] = {}  # type -> hand-written traits; "" for inherent methods
        for item in functions:
            self.traits.setdefault(item.owner, set()).add(item.trait)
        self.fixed: set[str] = set()  # signatures of functions that answer the same whatever they are asked
        self.projections: dict[str, int] = {}  # signatures of functions that hand back one of their arguments
        self.statics = _stateful_statics(self.nodes)
        self.singletons = {item.name for item in own if item.node.type == "struct_item" and _body(item.node) is None}
        self.imports = _imports(self.nodes)
        self.aliases = {i.name: i.path[-1] for i in self.imports if i.name not in ("*", "_", i.path[-1])}

    def asserts(self, node: Node) -> bool:
        """Whether a function or macro holds an assertion."""
        if node.id not in self._asserts:
            self._asserts[node.id] = not {*ASSERT_MACROS, *FAILING}.isdisjoint(self.words(node))
        return self._asserts[node.id]

    def words(self, node: Node) -> list[str]:
        """`_leaves` of a node, read once. The node must outlive the index, as every item's does."""
        if node.id not in self._words:
            self._words[node.id] = _leaves(node)
        return self._words[node.id]

    def written(self, name: str, *traits: str) -> bool:
        """Whether the program implements one of the traits by hand for a type (or for its enum, given a variant)."""
        owner = self.variants.get(name, name)
        return any(trait in self.traits.get(owner, ()) for trait in traits)


def _stateful_statics(nodes: Iterable[Node]) -> set[str]:
    """Names of statics that can change: atomics, locks, cells, `static mut`, thread locals."""
    names = set()
    for node in nodes:
        if node.type == "static_item":
            words = _leaves(_child(node, "type") or node)
            kinds = ("Atomic", "Mutex", "RwLock", "Cell", "RefCell", "OnceLock", "OnceCell")
            if any(word.startswith(kinds) for word in words) or "mut" in map(_text, node.children):
                names.add(_item_name(node))
        elif node.type == "macro_invocation" and _item_name(node) == "thread_local":
            words = _leaves(node)
            names |= {words[i + 1] for i, word in enumerate(words[:-1]) if word == "static"}
    return names


TYPE_ITEMS = ("struct_item", "enum_item", "union_item", "type_item", "trait_item")


def _by_name(items: Iterable[Item]) -> dict[str, list[Item]]:
    named: dict[str, list[Item]] = {}
    for item in items:
        named.setdefault(item.name, []).append(item)
    return named


def _plain_enums(index: _Index) -> dict[str, tuple[str, ...]]:
    enums = {}
    for item in index.items:
        variants = [n for n in _walk(item.node) if n.type == "enum_variant"] if item.node.type == "enum_item" else []
        if variants and all(_body(variant) is None for variant in variants):
            enums[item.name] = tuple(_text(_child(variant, "name")) for variant in variants)
    return enums


def _variants(items: Sequence[Item]) -> dict[str, str]:
    return {_text(_child(n, "name")): item.name for item in items if item.node.type == "enum_item"
            for n in _walk(item.node) if n.type == "enum_variant"}  # fmt: skip


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
                modules.insert(0, _item_name(above))
            above = above.parent
        stack: list[tuple[Node | None, tuple[str, ...]]] = [(_child(declaration, "argument"), ())]
        while stack:
            node, prefix = stack.pop()
            found += _import_leaf(node, prefix, tuple(modules), stack)
    return found


def _import_leaf(node: Node | None, prefix: tuple[str, ...], modules: tuple[str, ...],
                 stack: list[tuple[Node | None, tuple[str, ...]]]) -> list[_Import]:  # fmt: skip
    if node is None:
        return []
    if node.type in ("use_list", "scoped_use_list"):
        path = _segments(_child(node, "path")) if node.type == "scoped_use_list" else ()
        inner = _child(node, "list") if node.type == "scoped_use_list" else node
        stack.extend((child, (*prefix, *path)) for child in (inner.named_children if inner is not None else []))
        return []
    if node.type == "use_wildcard":
        path = _segments(node.named_children[0] if node.named_children else None)
        return [_Import(modules, "*", (*prefix, *path))]
    if node.type == "use_as_clause":
        return [_Import(modules, _text(_child(node, "alias")), (*prefix, *_segments(_child(node, "path"))))]
    path = (*prefix, *_segments(node))
    path = path[:-1] if path[-1:] == ("self",) and len(path) > 1 else path
    return [_Import(modules, path[-1], path)] if path else []


def _segments(path: Node | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in _text(path).split("::") if part.strip())


def _with_expansions(items: list[Item], macros: dict[str, Node]) -> list[Item]:
    found = list(items)
    for item in found:  # grows while it is read
        if item.node.type != "macro_invocation" or item.name not in macros or len(found) > MAX_EXPANDED_ITEMS:
            continue
        text = _expanded(macros[item.name], item.node)
        if text is not None and not _too_long(text):
            scope = _Scope(item.modules, item.in_test, item.in_plain, item.test_side, item.owner, item.trait)
            found += [replace(new, expanded=True) for new in _items(_parse(text), scope)]
    return found


# ---------------------------------------------------------------------------------------------------------------
# What a test checks: its statements followed with unknown results for the program's functions
# ---------------------------------------------------------------------------------------------------------------

FUEL = 40_000  # expressions followed for one program
MAX_EVAL_DEPTH = 90
MAX_INLINING = 7
UNROLLED = 3  # rows of a table that are followed

SILENT_STATEMENTS = ("line_comment", "block_comment", "label", "function_item", "const_item", "static_item", "empty_statement")
# Methods that hand on what they are called on, as far as a comparison can tell.
SAME_VALUE = ("clone", "to_owned", "to_vec", "iter", "into_iter", "iter_mut", "as_str", "as_slice", "as_ref", "as_mut",
              "borrow", "copied", "cloned", "by_ref", "as_deref", "to_string", "into", "into_boxed_slice",
              "into_boxed_str", "as_mut_slice", "join_handle", "unwrap_or_default")  # fmt: skip
READS = ("len", "is_empty", "contains", "get", "first", "last", "chars", "bytes", "keys", "values", "windows", "chunks",
         "is_some", "is_none", "is_ok", "is_err", "unwrap", "expect", "starts_with", "ends_with", "contains_key",
         "peek", "borrow", "abs", "eq", "ne", "cmp", "partial_cmp", "all", "any", "map", "filter", "sum", "count",
         *SAME_VALUE)  # fmt: skip
LAZY = ("map", "filter", "inspect", "filter_map", "flat_map", "take_while", "skip_while", "map_while", "scan", "zip",
        "enumerate", "rev", "take", "skip", "chain", "cloned", "copied", "peekable", "step_by", "fuse")  # fmt: skip
CONVERSIONS = {"into": ("From", "Into"), "try_into": ("TryFrom", "TryInto"), "parse": ("FromStr",), "sum": ("Sum",),
               "collect": ("FromIterator",), "product": ("Product",), "extend": ("Extend",)}  # fmt: skip
TYPE_ONLY = ("type_name_of_val", "size_of_val", "align_of_val", "type_id")  # these look at a type, not at a value
ON_MAYBE = ("map", "map_err", "and_then", "is_some_and", "is_ok_and", "map_or", "map_or_else", "unwrap_or_else", "or_else",
            "ok_or_else", "filter")  # fmt: skip
OVERWRITING = ("clone_from", "clone_from_slice", "copy_from_slice")
LIST_TYPES = ("Vec", "VecDeque", "LinkedList")
MAP_TYPES = ("HashMap", "BTreeMap")
ON_FAILURE = ("unwrap_or_else", "or_else", "map_err", "ok_or_else")
WRAPPERS = ("from", "new", "Box", "Rc", "Arc", "String", "Vec", "Wrapping", "AssertUnwindSafe", "black_box", "identity")
FAILING = ("panic", "unreachable", "todo", "unimplemented")
EVALUATING_MACROS = ("println", "print", "eprintln", "eprint", "format", "write", "writeln", "format_args", "dbg")
OPERATOR_TRAITS = {"+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "%": "Rem", "&": "BitAnd", "|": "BitOr",
                   "^": "BitXor", "<<": "Shl", ">>": "Shr"}  # fmt: skip
STD_TYPES = ("String", "Vec", "Option", "Result", "Box", "HashMap", "HashSet", "BTreeMap", "BTreeSet", "VecDeque", "Rc",
             "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize", "f32", "f64",
             "char", "str", "bool")  # fmt: skip


@dataclass(frozen=True)
class _Check:
    """One assertion that runs: the term that must hold, and where it stands."""

    goal: int
    text: str
    own: bool  # its arguments depend on the program, whatever became of them
    site: tuple[int, int] | None  # byte range of its macro in the file; None when it is not one or not in the file


class _TestRun:
    """Follow one test. Every expression becomes a term; asserts and panics become checks on the way."""

    def __init__(self, index: _Index, terms: _Terms, fuel: list[int]) -> None:
        self.index = index
        self.t = terms
        self.fuel = fuel  # shared by the program's tests
        self.scopes: list[dict[str, int]] = [{}]
        self.store: dict[int, int] = {}
        self.mutable: set[int] = set()
        self.closures: list[tuple[Node, list[dict[str, int]], tuple[str, ...]]] = []
        self.path: tuple[int, ...] = ()
        self.dead = ""  # why the code that follows does not run: "loop", "return" or "panic"
        self.muted = 0
        self.depth = 0
        self.inlined: list[Node] = []
        self.returns: list[list[tuple[int, int]]] = []
        self.keeps_panics = False  # a value for branches that panic, to see what a function is asked
        self.breaks: list[list[tuple[tuple[int, ...], dict[int, int]]]] = []
        self.modules: tuple[str, ...] = ()
        self.checks: list[_Check] = []
        self.site: tuple[int, int] | None = None  # of the outermost macro being followed
        self.in_file = True
        self.seen = self.asked = 0  # calls into the program, before the current assertion and so far
        self.leaked: set[int] = set()  # values that the test puts into the program's statics

    def follow(self, test: Item) -> list[_Check]:
        self.modules, self.in_file = test.modules, not test.expanded
        value = self._inline(test.node, [], [{}])
        if _child(test.node, "return_type") is not None and self.t.op(value) != "ctor":
            self._check(self.t.make("is", "Ok", value), "the test's own result")
        return self.checks

    # -- checks ---------------------------------------------------------------------------------------------------

    def _check(self, condition: int, text: str) -> None:
        if self.dead or self.muted:
            return
        sides = set(self.t.children(condition)) if self.t.op(condition) == "eq" else set()
        goal = self.t.true if sides & self.leaked else condition
        for known in self.path:
            if self.t.own[known]:
                goal = self.t.either(self.t.negated(known), goal)
        own = self.asked != self.seen or self.t.own[condition]
        self.checks.append(_Check(goal, text, own, self.site if self.in_file and condition != self.t.false else None))

    def _fail(self, text: str) -> int:
        self._check(self.t.false, text)
        self.dead = self.dead or "panic"
        return self.t.unit

    # -- variables ------------------------------------------------------------------------------------------------

    def _declare(self, name: str, term: int, mutable: bool = False) -> None:
        slot = len(self.store) + 1
        while slot in self.store:
            slot += 1
        self.store[slot] = term
        self.scopes[-1][name] = slot
        if mutable:
            self.mutable.add(slot)

    def _slot(self, name: str) -> int | None:
        return next((scope[name] for scope in reversed(self.scopes) if name in scope), None)

    def _root_slot(self, node: Node | None) -> int | None:
        """The variable that a place expression starts from."""
        while node is not None:
            if node.type in ("identifier", "self"):
                return self._slot(_text(node))
            if node.type == "field_expression" or node.type == "reference_expression":
                node = _child(node, "value")
            elif node.type in ("index_expression", "unary_expression", "parenthesized_expression"):
                node = node.named_children[0] if node.named_children else None
            else:
                return None
        return None

    def _touch(self, slot: int | None, by: int, how: str) -> None:
        """A variable was handed out for writing."""
        if slot is not None and slot in self.store and not self.dead:
            self.store[slot] = self.t.make("after", how, by, self.store[slot])

    # -- expressions ----------------------------------------------------------------------------------------------

    def _eval(self, node: Node | None) -> int:
        if node is None:
            return self.t.unit
        self.fuel[0] -= 1
        if self.fuel[0] < 0 or self.depth > MAX_EVAL_DEPTH:
            return self.t.make("opaque", _text(node))
        self.depth += 1
        try:
            handler = getattr(self, "_on_" + node.type, None)
            if handler is None:
                return self.t.make("?", node.type, *[self._eval(child) for child in node.named_children])
            return handler(node)
        finally:
            self.depth -= 1

    def _through(self, node: Node) -> int:
        """Expressions that are as good as what they wrap."""
        inner = _child(node, "value") or next((c for c in node.named_children if not c.type.endswith("comment")), None)
        return self._eval(inner)

    _on_parenthesized_expression = _on_type_cast_expression = _on_await_expression = _through
    _on_unsafe_block = _on_expression_statement = _on_reference_expression = _on_const_block = _through

    def _on_try_expression(self, node: Node) -> int:
        value = self._through(node)
        if len(self.inlined) == 1 and self.t.op(value) == "ite":
            self._check(self._is_okay(value), _squeezed(node))
        if self.t.op(value) in ("path", "ctor") and self.t.payload(value) in ("None", "Err"):
            self.dead = self.dead or "return"
        return self._unwrapped(value)

    def _unwrapped(self, term: int) -> int:
        if self.t.op(term) == "ctor" and self.t.payload(term) in ("Some", "Ok") and len(self.t.children(term)) == 1:
            return self.t.children(term)[0]
        return self.t.make("unwrap", "", term)

    def _on_async_block(self, node: Node) -> int:
        call = node.parent.parent if node.parent is not None and node.parent.type == "arguments" else None
        if call is not None:  # somebody's block_on
            return self._through(node)
        self.muted += 1
        value = self._through(node)
        self.muted -= 1
        return value

    def _on_integer_literal(self, node: Node) -> int:
        text = _text(node).replace("_", "").lower()
        if not text.startswith("0x"):
            for suffix in STD_TYPES[11:]:
                text = text.removesuffix(suffix)
        else:
            for suffix in STD_TYPES[11:23]:
                text = text.removesuffix(suffix)
        try:
            return self.t.const(int(text, 0) if not text.isdigit() else int(text[:60]))
        except ValueError:
            return self.t.make("opaque", text)

    def _on_float_literal(self, node: Node) -> int:
        text = _text(node).replace("_", "").removesuffix("f32").removesuffix("f64")
        try:
            return self.t.const(float(text))
        except ValueError:
            return self.t.make("opaque", text)

    def _on_boolean_literal(self, node: Node) -> int:
        return self.t.true if _text(node) == "true" else self.t.false

    def _on_string_literal(self, node: Node) -> int:
        return self.t.const(_text(node).strip('"'))

    def _on_raw_string_literal(self, node: Node) -> int:
        return self.t.const("".join(_text(c) for c in node.named_children))

    def _on_char_literal(self, node: Node) -> int:
        return self.t.const(_text(node))

    def _on_negative_literal(self, node: Node) -> int:
        return self._negative(self._eval(node.named_children[0]))

    def _negative(self, term: int) -> int:
        value = self.t.constant(term)
        return self.t.const(-value) if _is_number(value) else self.t.make("neg", "", term)

    def _on_unary_expression(self, node: Node) -> int:
        operand = self._eval(node.named_children[-1])
        if node.children[0].type == "!":
            return self._own_operation("!", operand) or self.t.negated(operand)
        if node.children[0].type == "-":
            return self._own_operation("neg", operand) or self._negative(operand)
        return operand

    def _own_operation(self, symbol: str, *operands: int) -> int | None:
        """An operator that the program implements for a type of its own is a call into the program."""
        traits = {"==": ("PartialEq",), "<": ("PartialOrd", "Ord"), "neg": ("Neg",), "!": ("Not",),
                  "[]": ("Index", "Deref")}.get(symbol)  # fmt: skip
        if traits is None:
            trait = OPERATOR_TRAITS.get(symbol.removesuffix("="), "-")
            traits = (trait + "Assign",) if symbol.endswith("=") else (trait,)
        names = [str(self.t.payload(o)) for o in map(self._shape, operands) if self.t.op(o) in ("ctor", "path")]
        if any(self.index.written(name, *traits) for name in names):
            kind = "bool" if symbol in ("==", "<") else ""
            ordered = sorted(operands) if symbol == "==" else operands
            return self.t.make("own", f"{symbol}:{kind}", *ordered, own=True)
        return None

    def _shape(self, term: int) -> int:
        """The value that a variable had before methods touched it."""
        while self.t.op(term) in ("after", "set"):
            term = self.t.children(term)[1 if self.t.op(term) == "after" else 0]
        return term

    def _on_binary_expression(self, node: Node) -> int:
        operator = _text(_child(node, "operator"))
        left = self._eval(_child(node, "left"))
        if operator in ("&&", "||"):
            if left == (self.t.false if operator == "&&" else self.t.true):
                return left
            right = self._eval(_child(node, "right"))
            return self.t.both(left, right) if operator == "&&" else self.t.either(left, right)
        right = self._eval(_child(node, "right"))
        if operator in ("==", "!="):
            equal = self._equal(left, right)
            return equal if operator == "==" else self.t.negated(equal)
        if operator in ("<", ">", "<=", ">="):
            if operator in (">", "<="):
                left, right = right, left
            less = self._own_operation("<", left, right) or self.t.less(left, right)
            return less if operator in ("<", ">") else self.t.negated(less)
        return self._combined(operator, left, right)

    def _combined(self, operator: str, left: int, right: int) -> int:
        logical = ("eq", "lt", "not", "and", "is")
        if operator in ("&", "|", "^") and any(self.t.op(s) in logical or isinstance(self.t.constant(s), bool)
                                          for s in (left, right)):  # fmt: skip
            if operator == "^":
                return self.t.negated(self._equal(left, right))
            return self.t.both(left, right) if operator == "&" else self.t.either(left, right)
        return self._own_operation(operator, left, right) or self.t.arithmetic(operator, left, right)

    def _equal(self, left: int, right: int) -> int:
        if left == right:
            return self.t.true
        return self._own_operation("==", left, right) or self.t.equal(left, right)

    def _on_assignment_expression(self, node: Node) -> int:
        place, value = _child(node, "left"), self._eval(_child(node, "right"))
        self._assign(place, value)
        return self.t.unit

    def _on_compound_assignment_expr(self, node: Node) -> int:
        place = _child(node, "left")
        operator = _text(_child(node, "operator"))
        left, right = self._eval(place), self._eval(_child(node, "right"))
        value = self._own_operation(operator, left, right) or self._combined(operator[:-1], left, right)
        self._assign(place, value)
        return self.t.unit

    def _assign(self, place: Node | None, value: int) -> None:
        if place is not None and place.type == "tuple_expression" and self.depth < MAX_EVAL_DEPTH:
            for position, part in enumerate(place.named_children):
                self._assign(part, self._field(value, position))
            return
        slot = self._root_slot(place)
        if slot is None or self.dead:
            return
        if place is not None and place.type in ("identifier", "unary_expression"):
            self.store[slot] = value
        else:
            self.store[slot] = self._with_part(place, value)

    def _with_part(self, place: Node | None, value: int) -> int:
        """The value of a place's variable after an assignment to the place."""
        if place is None or place.type in ("identifier", "self") or self.depth > MAX_EVAL_DEPTH:
            return value
        inner = _child(place, "value") or next(iter(place.named_children), None)
        if place.type not in ("field_expression", "index_expression"):
            return self._with_part(inner, value)
        base = self._eval(inner)
        if place.type == "field_expression":
            name = _text(_child(place, "field"))
            changed = self.t.make("set", int(name) if name.isdigit() and len(name) < 4 else name, base, value)
        else:
            changed = self.t.make("set", "[]", base, value, self._eval(place.named_children[1]))
        self.depth += 1
        changed = self._with_part(inner, changed)
        self.depth -= 1
        return changed

    def _on_identifier(self, node: Node) -> int:
        name = _text(node).removeprefix("r#")
        slot = self._slot(name)
        if slot is not None:
            return self.store.get(slot, self.t.unit)
        return self._named(name, ())

    _on_self = _on_shorthand_field_identifier = _on_identifier

    def _on_scoped_identifier(self, node: Node) -> int:
        text = _text(node)
        name, head = _text(_child(node, "name")), _base_name(_text(_child(node, "path")))
        if head in STD_TYPES and name in ("MAX", "MIN", "EPSILON", "INFINITY", "NEG_INFINITY"):
            return self._limit(head, name, text)
        return self._named(name, (head,))

    def _limit(self, kind: str, name: str, text: str) -> int:
        if kind.startswith("f"):
            top = 1.8e308 if kind == "f64" else 3.4e38
            limits = {"MAX": top, "MIN": -top, "EPSILON": 2.2e-16, "INFINITY": 1e309, "NEG_INFINITY": -1e309}
            return self.t.const(limits[name])
        bits = 64 if kind.endswith("size") else int(kind[1:]) if kind[1:].isdigit() else 0
        if not bits or name == "EPSILON":
            return self.t.make("path", text)
        top = 2 ** (bits if kind[0] == "u" else bits - 1)
        return self.t.const(top - 1 if name == "MAX" else 0 if kind[0] == "u" else -top)

    def _named(self, name: str, head: tuple[str, ...]) -> int:
        """A path that is not a variable: a constant, a function as a value, or a unit constructor."""
        constants = self.index.constants.get(name)
        if constants and name in self.index.statics:
            return self.t.make("path", name)
        kind = _child(constants[0].node, "type") if constants else None
        if constants and not constants[0].test_side and kind is not None and "fn" in _leaves(kind):
            return self.t.make("fnref", f"{name}:", own=True)
        if constants and len(self.inlined) < MAX_INLINING:
            self.inlined.append(constants[0].node)
            saved, self.scopes = self.scopes, [{}]
            value = self._eval(_child(constants[0].node, "value"))
            self.scopes = saved
            self.inlined.pop()
            return value
        target = self._function(name, head)
        if target is None:
            return self.t.make("path", name)
        if target.test_side:
            return self._closure(target.node, [{}], target.modules)
        signature = _signature(target, self.index.singletons)
        return self.t.make("fnref", signature, own=signature not in self.index.fixed)

    def _function(self, name: str, head: tuple[str, ...]) -> Item | None:
        """The function that a path means: the nearest in the tests' module, then the program's."""
        helpers = [h for h in self.index.helpers.get(name, []) if not h.owner]
        own = self.index.own.get(name, [])
        if head and head[0] in STD_TYPES:
            own = [item for item in own if item.owner == head[0]]
        if not head or head[0] == "self":
            near = [h for h in helpers if h.modules == self.modules]
            imported = None if near else self._imported(name)
            if near or imported is not None:
                return near[0] if near else imported[0] if imported else None
            for found in ([o for o in own if not o.owner], helpers):
                if found:
                    return found[0]
            return None
        methods = [h for h in self.index.helpers.get(name, []) if h.owner == head[0]]
        placed = [item for item in (*helpers, *own) if item.modules[-1:] == head and not item.owner]
        owned = [o for o in own if o.owner == head[0]] + [o for o in own if not o.owner]
        for found in (methods, placed, owned, own, helpers):
            if found:
                return found[0]
        return None

    def _imported(self, name: str) -> list[Item] | None:
        """What an import of the current module makes of a name: None when no import names it."""
        everything = [*self.index.helpers.get(name, []), *self.index.own.get(name, [])]
        for use in self.index.imports:
            if use.modules != self.modules:
                continue
            place = use.path[-1] if use.name == "*" else use.path[-2] if len(use.path) > 1 else ""
            target = name if use.name == "*" else use.path[-1]
            if use.name == "*" and (place in ("super", "crate", "self") or name not in self._names_in(place)):
                continue
            if use.name not in ("*", name):
                continue
            if use.path[0] in ("std", "core", "alloc"):
                return []
            if target != name:
                everything = [*self.index.own.get(target, []), *self.index.helpers.get(target, [])]
            inside = [item for item in everything if not item.owner and item.modules[-1:] == (place,)]
            return inside or [item for item in everything if not item.owner]
        return None

    def _names_in(self, module: str) -> set[str]:
        functions = (*self.index.own.values(), *self.index.helpers.values())
        return {item.name for items in functions for item in items if item.modules[-1:] == (module,)}

    def _closure(self, node: Node, scopes: list[dict[str, int]], modules: tuple[str, ...]) -> int:
        self.closures.append((node, scopes, modules))
        return self.t.make("closure", len(self.closures) - 1)

    def _on_closure_expression(self, node: Node) -> int:
        return self._closure(node, list(self.scopes), self.modules)

    # -- aggregates -----------------------------------------------------------------------------------------------

    def _on_tuple_expression(self, node: Node) -> int:
        return self.t.make("list", "()", *[self._eval(child) for child in node.named_children])

    def _on_unit_expression(self, _: Node) -> int:
        return self.t.unit

    def _on_array_expression(self, node: Node) -> int:
        length = _child(node, "length")
        children = [c for c in node.named_children if c.type not in ("line_comment", "block_comment", "attribute_item")]
        if length is None:
            return self.t.make("list", "[]", *[self._eval(child) for child in children])
        if self.t.constant(self._eval(length)) == 0:
            return self.t.make("list", "[]")
        return self.t.make("list", "[;]", self._eval(children[0]), self._eval(length))

    def _on_struct_expression(self, node: Node) -> int:
        fields = []
        for child in (_child(node, "body") or node).named_children:
            name = _text(_child(child, "field")) or _text(child)
            fields.append(self.t.make("named", name, self._through(child)))
        name = _base_name(_text(_child(node, "name")))
        parts = [self.t.rows[self.t.children(f)[0]] for f in fields]
        whole = {part[2] for part in parts}
        if len(whole) == 1 and all(p[:2] == ("field", self.t.payload(f)) for p, f in zip(parts, fields)):
            return parts[0][2][0]  # put together from the fields of another
        return self.t.make("ctor", name, *sorted(fields, key=lambda f: str(self.t.payload(f))))

    def _on_range_expression(self, node: Node) -> int:
        parts = [self._eval(child) for child in node.named_children]
        symbol = next((c.type for c in node.children if not c.is_named), "..")
        return self.t.make("range", symbol if len(parts) == 2 else "open", *parts)

    def _on_field_expression(self, node: Node) -> int:
        value, name = self._eval(_child(node, "value")), _text(_child(node, "field"))
        return self._field(value, int(name) if name.isdigit() and len(name) < 4 else name)

    def _field(self, value: int, name: int | str) -> int:
        if self.t.op(value) in ("list", "ctor"):
            children = self.t.children(value)
            if isinstance(name, int) and name < len(children) and self.t.op(children[name]) != "named":
                return children[name]
            for child in children:
                if self.t.op(child) == "named" and self.t.payload(child) == name:
                    return self.t.children(child)[0]
        if self.t.op(value) == "set" and self.t.payload(value) != "[]":
            base, part = self.t.children(value)
            return part if self.t.payload(value) == name else self._field(base, name)
        return self.t.make("field", name, value)

    def _on_index_expression(self, node: Node) -> int:
        base, position = (self._eval(child) for child in node.named_children[:2])
        number = self.t.constant(position)
        if self.t.op(base) == "list" and self.t.payload(base) == "[]" and isinstance(number, int):
            children = self.t.children(base)
            if 0 <= number < len(children):
                return children[number]
        if self._is_mapping(base):
            return self._looked_up(base, position, lambda found: found, self.t.make("path", "!"))
        while self.t.rows[base][:2] == ("set", "[]"):
            inside, part, at = self.t.children(base)
            if at == position:
                return part
            if self.t.constant(at) is None or number is None:
                break
            base = inside
        return self._own_operation("[]", base, position) or self.t.make("index", "", base, position)

    # -- statements and control flow ------------------------------------------------------------------------------

    def _on_block(self, node: Node) -> int:
        self.scopes.append({})
        alive, path = self.dead, self.path
        for child in node.named_children:
            if child.type == "function_item":
                self._declare(_item_name(child), self._closure(child, list(self.scopes), self.modules))
            elif child.type in ("const_item", "static_item") and _item_name(child) not in self.index.statics:
                self._declare(_item_name(child), self._eval(_child(child, "value")))
        value, pending = self.t.unit, []
        for child in node.named_children:
            if child.type == "attribute_item":
                pending += _attributes(child)
            elif self.dead:
                break
            elif child.type not in SILENT_STATEMENTS:
                if _cfg_of(pending, test=True):
                    value = self._eval(child)
                    value = self.t.unit if _text(child).endswith(";") else value
                pending = []
        self.scopes.pop()
        if self.dead == "loop" and any(child.type == "label" for child in node.children):
            self.dead, self.path = alive, path
        return value

    def _on_let_declaration(self, node: Node) -> int:
        value_node, pattern = _child(node, "value"), _child(node, "pattern")
        value = self._eval(value_node) if value_node is not None else self.t.make("unset", _text(node)[:80])
        kind = _base_name(_text(_child(node, "type")))
        if self.t.rows[value][:2] == ("method", "collect"):
            collected = self._collected(self.t.children(value)[0], kind)
            value = value if collected is None else collected
        if self.index.written(kind, "From", "FromStr", "TryFrom", "FromIterator", "Default", "Sum", "Into"):
            value = self.t.make("own", f"{kind}:", value, own=True)
        mutable = any(child.type == "mutable_specifier" for child in node.children)
        condition = self._bind(pattern, value, mutable)
        alternative = _child(node, "alternative")
        if alternative is not None:
            self._branches([(condition, lambda: self.t.unit),
                            (self.t.negated(condition), lambda: self._eval(alternative))])  # fmt: skip
        return self.t.unit

    def _branches(self, arms: Sequence[tuple[int, Callable[[], int]]]) -> int:
        """Run exclusive branches from the same state and merge what they leave behind."""
        store, path = self.store, self.path
        outcomes: list[tuple[int, int, dict[int, int], str]] = []
        for condition, run in arms:
            if condition == self.t.false:
                continue
            self.store, self.dead = dict(store), ""
            self.path = path if condition == self.t.true else (*path, condition)
            outcomes.append((condition, run(), self.store, self.dead))
        self.store, self.path, self.dead = store, path, ""
        live = [outcome for outcome in outcomes if not outcome[3]]
        if not live:
            kinds = [outcome[3] for outcome in outcomes]
            self.dead = next((kind for kind in ("loop", "return", "panic") if kind in kinds), "")
            return self.t.unit
        self.path = (*path, *(self.t.negated(o[0]) for o in outcomes if o[3] and o[0] != self.t.true))
        last, value, merged, _ = live[-1]
        if self.keeps_panics and len(live) < len(outcomes) and any(o[3] == "panic" for o in outcomes):
            value = self.t.chosen(last, value, self.t.make("path", "!"))
        for condition, other, branch, _ in reversed(live[:-1]):
            value = self.t.chosen(condition, other, value)
            merged = {s: self.t.chosen(condition, branch[s], merged[s]) for s in branch if s in merged}
        self.store = {**store, **merged}
        return value

    def _condition(self, node: Node | None) -> int:
        """A condition, with the variables that its `let`s bind declared in the current scope."""
        if node is None:
            return self.t.true
        if node.type == "let_condition":
            return self._bind(_child(node, "pattern"), self._eval(_child(node, "value")))
        if node.type == "let_chain":
            condition = self.t.true
            for child in node.named_children:
                condition = self.t.both(condition, self._condition(child))
            return condition
        if node.type == "parenthesized_expression" and node.named_children:
            return self._condition(node.named_children[0])
        return self._eval(node)

    def _on_if_expression(self, node: Node) -> int:
        self.scopes.append({})
        condition = self._condition(_child(node, "condition"))
        alternative = _child(node, "alternative")
        value = self._branches([
            (condition, lambda: self._eval(_child(node, "consequence"))),
            (self.t.negated(condition), lambda: self._eval(alternative)),
        ])  # fmt: skip
        self.scopes.pop()
        return value

    def _on_else_clause(self, node: Node) -> int:
        return self._eval(node.named_children[-1] if node.named_children else None)

    def _on_match_expression(self, node: Node) -> int:
        return self._matched(self._eval(_child(node, "value")), _child(node, "body"))

    def _matched(self, value: int, body: Node | None) -> int:
        if self.t.op(value) == "ite" and self._is_maybe(value):
            condition, then, otherwise = self.t.children(value)
            return self._branches([
                (condition, lambda: self._matched(then, body)),
                (self.t.negated(condition), lambda: self._matched(otherwise, body)),
            ])  # fmt: skip
        arms, before, outer = [], self.t.true, self.scopes
        for arm in body.named_children if body is not None else []:
            if arm.type != "match_arm":
                continue
            scopes = [*outer, {}]
            self.scopes = scopes
            pattern = _child(arm, "pattern")
            guard = _child(pattern, "condition") if pattern is not None else None
            condition = self._bind(_pattern_inside(pattern), value)
            if guard is not None:
                condition = self.t.both(condition, self._condition(guard))
            arms.append((self.t.both(before, condition), self._in_scopes(scopes, _child(arm, "value"))))
            before = self.t.both(before, self.t.negated(condition))
        self.scopes = outer
        return self._branches(arms)

    def _in_scopes(self, scopes: list[dict[str, int]], node: Node | None) -> Callable[[], int]:
        def run() -> int:
            saved, self.scopes = self.scopes, scopes
            value = self._eval(node)
            self.scopes = saved
            return value

        return run

    def _loop(self, rounds: Sequence[Callable[[], int]], certain: bool, own: int) -> int:
        """Run a loop body once per round. `own` is a term that the number of rounds depends on."""
        before, path = dict(self.store), self.path
        ended = ""
        self.breaks.append([])
        for body in rounds:
            self.scopes.append({})
            condition = body()
            self.scopes.pop()
            self.path = path
            if condition == self.t.false or self.dead in ("return", "panic"):
                ended = self.dead
                break
            self.dead = ""
        self.dead = ended if certain else ""
        for taken, store in self.breaks.pop():
            condition = self._all(taken[len(path) :])
            changed = {slot: self.store[slot] for slot in before if store.get(slot, 0) != self.store[slot]}
            self.store.update({s: self.t.chosen(condition, store[s], new) for s, new in changed.items() if s in store})
        for slot, old in before.items():
            new = self.store.get(slot, old)
            if new != old and not (certain and own == self.t.true):
                self.store[slot] = self.t.make("loop", "certain" if certain else "", old, new, own)
        return self.t.unit

    def _on_for_expression(self, node: Node) -> int:
        source = self._eval(_child(node, "value"))
        elements = self._elements(source)
        pattern, body = _child(node, "pattern"), _child(node, "body")
        if elements is None and self._own_typed(source):
            source = self.t.make("own", "next:", source, own=True)
        rows = self._rows(elements, source) if elements is not None else [self._element(source, n) for n in (0, 1)]

        def round_of(row: int) -> Callable[[], int]:
            def run() -> int:
                self._bind(pattern, row)
                self._eval(body)
                return self.t.true

            return run

        return self._loop([round_of(row) for row in rows], bool(elements), source)

    def _on_while_expression(self, node: Node) -> int:
        def run() -> int:
            condition = self._condition(_child(node, "condition"))
            if condition != self.t.false:
                if condition != self.t.true:
                    self.path = (*self.path, condition)
                self._eval(_child(node, "body"))
            return condition

        return self._loop([run, run], False, self.t.make("opaque", _text(node)))

    def _on_loop_expression(self, node: Node) -> int:
        def run() -> int:
            self._eval(_child(node, "body"))
            return self.t.true

        return self._loop([run, run], True, self.t.make("opaque", _text(node)))

    def _on_break_expression(self, node: Node) -> int:
        value = self._eval(node.named_children[-1]) if node.named_children else self.t.unit
        if self.breaks and not self.dead:
            self.breaks[-1].append((self.path, dict(self.store)))
        self.dead = self.dead or "loop"
        return value

    def _all(self, conditions: Sequence[int]) -> int:
        whole = self.t.true
        for condition in conditions:
            whole = self.t.both(whole, condition)
        return whole

    _on_continue_expression = _on_break_expression

    def _on_generic_function(self, node: Node) -> int:
        return self._eval(_child(node, "function"))

    def _on_label(self, _: Node) -> int:
        return self.t.unit

    def _on_return_expression(self, node: Node) -> int:
        value = self._eval(node.named_children[0]) if node.named_children else self.t.unit
        if self.dead:
            return value
        if len(self.inlined) == 1 and self.t.op(value) == "ctor" and self.t.payload(value) == "Err":
            self._check(self.t.false, _text(node))
        if self.returns:
            self.returns[-1].append((self._all(self.path), value))
        self.dead = "return"
        return value

    # -- patterns -------------------------------------------------------------------------------------------------

    def _bind(self, pattern: Node | None, value: int, mutable: bool = False) -> int:
        """Declare a pattern's variables; return the condition under which it matches."""
        if pattern is None or pattern.type in ("_", "remaining_field_pattern") or self.depth > MAX_EVAL_DEPTH:
            return self.t.true
        self.depth += 1
        try:
            return self._bind_inside(pattern, value, mutable)
        finally:
            self.depth -= 1

    def _bind_inside(self, pattern: Node, value: int, mutable: bool) -> int:
        kind, children = pattern.type, [c for c in pattern.children if c.is_named or c.type == "_"]
        if kind in ("identifier", "shorthand_field_identifier"):
            return self._bind_name(_text(pattern), value, mutable)
        if kind in ("mut_pattern", "ref_pattern", "reference_pattern", "parenthesized_pattern", "match_pattern"):
            inner = [c for c in children if c.type != "mutable_specifier"]
            writes = mutable or any(c.type == "mutable_specifier" for c in children)
            return self._bind(inner[0] if inner else None, value, writes)
        if kind == "tuple_pattern" or kind == "slice_pattern":
            return self._bind_sequence(children, value, "" if kind == "tuple_pattern" else "[]")
        if kind == "tuple_struct_pattern":
            return self._bind_sequence(children[1:], value, _base_name(_text(_child(pattern, "type"))))
        if kind == "struct_pattern":
            return self._bind_struct(pattern, value)
        if kind == "or_pattern":
            return self.t.either(self._bind(children[0], value), self._bind(children[-1], value))
        if kind == "captured_pattern":
            self._bind_name(_text(children[0]), value, mutable)
            return self._bind(children[-1], value)
        if kind == "range_pattern":
            return self._bind_range(pattern, value)
        return self._equal(value, self._eval(pattern))

    def _bind_name(self, name: str, value: int, mutable: bool) -> int:
        known = name in self.index.constants or name in self.index.variants
        if name == "None":
            return self.t.negated(self._is("Some", value))
        if known and name[:1].isupper():
            return self._equal(value, self._named(name, ()))
        self._declare(name, value, mutable)
        return self.t.true

    def _is(self, constructor: str, value: int) -> int:
        if self.t.op(value) == "ite" and self.depth < MAX_EVAL_DEPTH:
            condition, then, otherwise = self.t.children(value)
            self.depth += 1
            chosen = self.t.chosen(condition, self._is(constructor, then), self._is(constructor, otherwise))
            self.depth -= 1
            return chosen
        if self.t.op(value) in ("ctor", "path"):
            return self.t.const(self.t.payload(value) == constructor)
        if constructor in ("None", "Err"):
            return self.t.negated(self._is("Some" if constructor == "None" else "Ok", value))
        return self.t.make("is", constructor, value)

    def _bind_sequence(self, parts: list[Node], value: int, constructor: str) -> int:
        condition = self.t.true
        if constructor == "[]":
            fixed = not any(part.type in ("remaining_field_pattern", "captured_pattern") for part in parts)
            if self.t.op(value) != "list":
                condition = self.t.make("is", f"[{len(parts)}{'' if fixed else '+'}]", value)
        elif constructor and not (constructor in self.index.types and constructor not in self.index.variants):
            condition = self._is(constructor, value)
        for position, part in enumerate(parts):
            condition = self.t.both(condition, self._bind(part, self._field(value, position)))
        return condition

    def _bind_struct(self, pattern: Node, value: int) -> int:
        name = _base_name(_text(_child(pattern, "type")))
        condition = self.t.true if name in self.index.types else self._is(name, value)
        for field_pattern in pattern.named_children:
            if field_pattern.type == "field_pattern":
                inner = _child(field_pattern, "pattern") or _child(field_pattern, "name")
                part = self._field(value, _text(_child(field_pattern, "name")))
                condition = self.t.both(condition, self._bind(inner, part))
        return condition

    def _bind_range(self, pattern: Node, value: int) -> int:
        condition, left, right = self.t.true, _child(pattern, "left"), _child(pattern, "right")
        if left is not None:
            condition = self.t.negated(self.t.less(value, self._eval(left)))
        if right is not None:
            upper = self._eval(right)
            inclusive = any(child.type == "..=" for child in pattern.children)
            below = self.t.negated(self.t.less(upper, value)) if inclusive else self.t.less(value, upper)
            condition = self.t.both(condition, below)
        return condition

    # -- calls ----------------------------------------------------------------------------------------------------

    def _on_call_expression(self, node: Node) -> int:
        callee = _child(node, "function")
        if callee is not None and callee.type == "generic_function":
            callee = _child(callee, "function")
        arguments = _child(node, "arguments")
        nodes = [c for c in arguments.named_children if not c.type.endswith("comment")] if arguments else []
        if callee is not None and callee.type == "field_expression":
            return self._method(node, callee, nodes)
        args = [self._eval(argument) for argument in nodes]
        value = self._plain_call(callee, args, node)
        for position, argument in enumerate(nodes):
            written = any(child.type == "mutable_specifier" for child in argument.children)
            if argument.type == "reference_expression" and written:
                self._touch(self._root_slot(argument), value, str(position))
        return value

    def _plain_call(self, callee: Node | None, args: list[int], node: Node) -> int:
        if callee is None:
            return self.t.unit
        name, head = _text(callee).removeprefix("r#"), ()
        if callee.type == "scoped_identifier":
            name = _text(_child(callee, "name"))
            head = (_base_name(_text(_child(callee, "path"))),)
        elif callee.type != "identifier" or self._slot(name) is not None:
            return self._apply(self._eval(callee), args)
        if not head and name in self.index.test_types:
            return self.t.make("ctor", name, *args)
        if not head and name in self.index.constants:
            return self._apply(self._named(name, ()), args)
        special = self._special_call(name, args, node)
        if special is not None:
            return special
        target = self._function(name, head)
        if target is not None:
            return self._call_item(target, args)
        if name[:1].isupper():
            return self.t.make("ctor", name, *args)
        if name in TYPE_ONLY:
            return self.t.make("opaque", f"{name} of {_squeezed(node)}")
        given = self.t.rows[args[0]][:2] if args else ()
        if name.startswith("from_utf8") and given in (("method", "into_bytes"), ("method", "as_bytes")):
            text = self.t.children(args[0])[0]
            return self.t.make("ctor", "Ok", text) if name == "from_utf8" else text
        if name == "new" and head and head[0].startswith("Lazy") and self.t.op(args[0] if args else 0) == "closure":
            self.muted += 1
            value = self._apply(args[0], [])
            self.muted -= 1
            return value
        if head and head[0] in MAP_TYPES and (name in ("new", "with_capacity", "default") or (name == "from" and args)):
            pairs = self.t.children(args[0]) if name == "from" and self.t.rows[args[0]][:2] == ("list", "[]") else ()
            mapping = self._mapping(pairs) if pairs or name != "from" else None
            if mapping is not None:
                return mapping
        if name in WRAPPERS and len(args) == 1:
            return args[0]
        if name in ("new", "with_capacity", "empty"):
            return self.t.make("list", "[]")
        if head and self.index.written(head[0], "Default") and name == "default":
            return self.t.make("own", "default:", own=True)
        results = [self._apply(a, [self.t.make("elem", name)]) for a in args if self.t.op(a) == "closure"]
        return self.t.make("call", "::".join((*head, name)), *args, *results)

    def _special_call(self, name: str, args: list[int], node: Node) -> int | None:
        """Calls that run a closure elsewhere, swallow its panics, or end the process."""
        closures = [a for a in args if self.t.op(a) == "closure"]
        if name in ("catch_unwind", "forget", "drop", "spawn", "set_hook") and closures:
            joined = name == "spawn" and self._is_joined(node)
            self.muted += not joined
            inner = self._apply(closures[0], [])
            self.muted -= not joined
            return self.t.make("ctor", "Ok", inner) if joined else self.t.make("opaque", f"{name}{closures[0]}")
        if name in ("exit", "abort", "_exit") and self._function(name, ()) is None:
            self.dead = self.dead or "return"
            return self.t.unit
        return None

    def _is_joined(self, node: Node) -> bool:
        """Whether the test waits for its threads and looks at how they ended."""
        function: Node | None = node
        while function is not None and function.type != "function_item":
            function = function.parent
        if function is None:
            return False
        for found in _walk(function):
            if found.type == "field_identifier" and _text(found) in ("join", "scope"):
                outer = found.parent.parent.parent if found.parent and found.parent.parent else None
                follow = _text(_child(outer, "field")) if outer is not None and outer.type == "field_expression" else ""
                if follow in ("unwrap", "expect", "is_ok") or (outer is not None and outer.type == "try_expression"):
                    return True
            if found.type == "scoped_identifier" and _text(found).endswith("thread::scope"):
                return True
        return False

    def _call_item(self, target: Item, args: list[int]) -> int:
        if target.test_side:
            return self._apply(self._closure(target.node, [{}], target.modules), args)
        signature = _signature(target, self.index.singletons)
        plain = [a for a in args if self.t.op(a) != "closure"]
        fixed = signature in self.index.fixed
        given = self.index.projections.get(signature)
        if given is not None and given < len(args) and not target.trait:
            return args[given]
        value = self.t.make("call", signature) if fixed else self.t.make("own", signature, *plain, own=True)
        self.asked += not fixed
        closures = any(self.t.op(a) == "closure" for a in args)
        checker = _child(target.node, "return_type") is None or any(self.t.own[a] for a in args)
        if closures or (checker and self.index.asserts(target.node)):
            self._inline(target.node, args, [{}])
        return value

    def _apply(self, callee: int, args: list[int]) -> int:
        op = self.t.op(callee)
        if op == "closure":
            node, scopes, modules = self.closures[int(str(self.t.payload(callee)))]
            saved, self.modules = self.modules, modules
            value = self._inline(node, args, scopes)
            self.modules = saved
            return value
        if op == "fnref":
            if self.t.payload(callee) in self.index.fixed:
                return self.t.make("call", self.t.payload(callee))
            return self.t.make("own", self.t.payload(callee), *args, own=True)
        return self.t.make("call", "?", callee, *args)

    def _inline(self, node: Node, args: list[int], scopes: list[dict[str, int]]) -> int:
        """Run a function or closure body with its parameters bound."""
        if len(self.inlined) >= MAX_INLINING or node in self.inlined:
            return self.t.make("call", _text(node)[:200], *args)
        saved_scopes, path = self.scopes, self.path
        self.scopes = [*scopes, {}]
        self.inlined.append(node)
        self.returns.append([])
        for position, parameter in enumerate(_parameters(node)):
            value = args[position] if position < len(args) else self.t.make("unset", f"parameter {position}")
            pattern = _child(parameter, "pattern") if parameter.type == "parameter" else parameter
            if parameter.type == "self_parameter":
                self._declare("self", value, mutable="mut" in _text(parameter))
            else:
                self._bind(pattern, value, any(c.type == "mutable_specifier" for c in parameter.children))
        value = self._eval(_body(node))
        for condition, returned in reversed(self.returns.pop()):
            value = self.t.chosen(condition, returned, value)
        self.inlined.pop()
        self.scopes, self.path = saved_scopes, path
        self.dead = "panic" if self.dead == "panic" else ""
        return value

    # -- methods --------------------------------------------------------------------------------------------------

    def _method(self, node: Node, callee: Node, nodes: list[Node]) -> int:
        receiver_node, name = _child(callee, "value"), _text(_child(callee, "field"))
        receiver = self._eval(receiver_node)
        args = [self._eval(argument) for argument in nodes]
        value = self._method_value(node, name, receiver, args)
        if args and self.index.statics and len(self.inlined) < MAX_INLINING:
            paths = {self.t.payload(t) for t in self.t.reachable(receiver) if self.t.op(t) == "path"}
            self.leaked |= set(args) if paths & self.index.statics else set()
        slot = self._root_slot(receiver_node)
        if name in OVERWRITING and len(args) == 1 and slot is not None and not self.dead:
            self._assign(receiver_node, args[0])
            return value
        if slot in self.mutable and name == "insert" and receiver_node.type == "identifier" and not self.dead:
            grown = self._inserted(self.store[slot], args)
            if grown is not None:
                self.store[slot] = grown
                return value
        own = self.index.own.get(name, [])
        reads = any("&mut" not in _text(p) for item in own for p in _parameters(item.node)[:1]) if own else name in READS
        if slot in self.mutable and not reads and not self.dead:
            before = self.t.rows[self.store[slot]]
            if name == "reverse" and before[:2] == ("after", "reverse"):
                self.store[slot] = before[2][1]
            else:
                self._touch(slot, value, name)
        for position, argument in enumerate(nodes):
            if argument.type == "reference_expression" and any(c.type == "mutable_specifier" for c in argument.children):
                self._touch(self._root_slot(argument), value, str(position))
        return value

    def _inserted(self, mapping: int, args: list[int]) -> int | None:
        """A known map after `insert(key, value)`; None when it is none, or what it holds then is not known."""
        if not self._is_mapping(mapping) or len(args) != 2:
            return None
        kept = [pair for pair in self.t.children(mapping) if self.t.children(pair)[0] != args[0]]
        return self._mapping([*kept, self.t.make("list", "()", *args)])

    def _method_value(self, node: Node, name: str, receiver: int, args: list[int]) -> int:
        fields = receiver if self.t.op(receiver) == "closure" else None
        helpers = [h for h in self.index.helpers.get(name, []) if h.owner]
        if helpers and not self._standard(receiver):
            return self._apply(self._closure(helpers[0].node, [{}], helpers[0].modules), [receiver, *args])
        own = [item for item in self.index.own.get(name, []) if item.owner]
        if own and (not self._standard(receiver) or any(o.trait or o.owner in self.index.types for o in own)):
            if not self._standard(receiver) or any(self._extends_std(o) for o in own):
                return self._call_item(own[0], [receiver, *args])
        if self._own_typed(receiver) and name not in ("clone", "iter", "unwrap", "expect", "is_some", "is_ok"):
            return self.t.make("own", f"{name}:", receiver, *args, own=True)
        if name == "collect" and not any("FromIterator" in traits for traits in self.index.traits.values()):
            collected = self._collected(receiver, _turbofish(node))
            if collected is not None:
                return collected
        closures = [a for a in args if self.t.op(a) in ("closure", "fnref")]
        if closures and fields is None:
            return self._with_closures(node, name, receiver, args)
        if name == "map" and [self.t.rows[a][:2] for a in args] == [("path", "identity")]:
            return receiver
        return self._plain_method(name, receiver, args)

    def _extends_std(self, method: Item) -> bool:
        """A method of the program's own trait on a type that is not the program's."""
        return bool(method.trait and method.owner not in self.index.types) or method.owner in self.index.types and (
            any(item.node.type == "trait_item" and item.name == method.owner for item in self.index.items))

    def _standard(self, term: int) -> bool:
        """A literal or a list: std's methods, unless the program's own trait adds one."""
        return self.t.op(term) in ("const", "list", "range") or (
            self.t.op(term) in ("after", "set") and self._standard(self._shape(term)) and not self.t.own[term])

    def _own_typed(self, term: int) -> bool:
        """A value of one of the program's types for which the program has written methods."""
        shape = self._shape(term)
        if self.t.op(shape) not in ("ctor", "path"):
            return False
        name = str(self.t.payload(shape))
        owner = self.index.variants.get(name, name)
        return owner in self.index.types and bool(self.index.traits.get(owner))

    def _plain_method(self, name: str, receiver: int, args: list[int]) -> int:
        if any(trait in traits for traits in self.index.traits.values() for trait in CONVERSIONS.get(name, ())):
            return self.t.make("own", f"{name}:", receiver, *args, own=True)
        if name in ("unwrap_or", "unwrap_or_default", "ok_or", "ok") and self._is_maybe(receiver):
            return self._on_maybe(name, receiver, args)
        if name in SAME_VALUE and not args:
            return receiver
        if name in ("unwrap", "expect"):
            if self.t.op(receiver) == "ite":  # decided in the tests: what a checking helper found
                self._check(self._is_okay(receiver), name)
                if self.keeps_panics and self._is_maybe(receiver):
                    return self._on_maybe("unwrap_or", receiver, [self.t.make("path", "!")])
            return self._unwrapped(receiver)
        if name in ("is_some", "is_ok", "is_none", "is_err"):
            return self._is({"some": "Some", "ok": "Ok", "none": "None", "err": "Err"}[name[3:]], receiver)
        for meaning in (self._comparison, self._collection_method, self._identity):
            value = meaning(name, receiver, args)
            if value is not None:
                return value
        if name in ("then_some", "then") and args:
            return self.t.chosen(receiver, self.t.make("ctor", "Some", args[0]), self.t.make("path", "None"))
        return self.t.make("method", name, receiver, *args)

    def _identity(self, name: str, receiver: int, args: list[int]) -> int | None:
        """Methods whose result follows from what they are called on, whatever that is."""
        op, payload, children = self.t.rows[receiver]
        if name == "or" and args:
            return self.t.chosen(self._is_okay(receiver), receiver, args[0])
        if name == "rev" and (op, payload) == ("method", "rev"):
            return children[0]
        first = self.t.constant(args[0]) if args else None
        if (name in ("starts_with", "ends_with", "contains") and first == "") or (name, first) == ("is_char_boundary", 0):
            return self.t.true
        if name == "is_empty" and (op, payload) == ("call", "format!") and children:
            layout = str(self.t.constant(children[0]))
            if ":?" in layout or (layout and layout[0] != "{"):
                return self.t.false
        if name == "parse" and _returns_number(self.t, receiver):
            return self.t.make("ctor", "Ok", receiver)
        if name == "unwrap_or" and args and (op, payload) == ("method", "map") and children[1:] == (args[0],):
            return args[0]
        return None

    def _collection_method(self, name: str, receiver: int, args: list[int]) -> int | None:
        """Methods of lists and iterators as far as their elements are known."""
        nothing = self.t.make("path", "None")
        if self.t.op(receiver) == "some of" and name == "next" and not args:
            return self._first_of([(c, self.t.make("ctor", "Some", e)) for c, e in self._some_of(receiver)], nothing)
        if self._is_mapping(receiver) and len(args) == 1 and name in ("get", "contains_key"):
            if name == "get":
                return self._looked_up(receiver, args[0], lambda value: self.t.make("ctor", "Some", value), nothing)
            return self._any_of(self._equal(self.t.children(pair)[0], args[0]) for pair in self.t.children(receiver))
        if name == "binary_search" and len(args) == 1 and self.t.plain[receiver]:
            found = [(self._equal(e, args[0]), self.t.make("ctor", "Ok", self.t.const(i)))
                     for i, e in enumerate(self._elements(receiver) or [])]  # fmt: skip
            return self._first_of(found, self.t.make("ctor", "Err", self.t.make("call", "place", *args)))
        if name in ("next", "first", "last", "pop") and not args:
            elements = self._elements(receiver)
            if elements is not None:
                return self.t.make("ctor", "Some", elements[0]) if elements else nothing
        if name == "contains" and len(args) == 1 and self.t.op(receiver) in ("list", "range"):
            return self._contained(receiver, args[0])
        if name in ("len", "count") and not args:
            if self.t.rows[receiver][:2] == ("list", "[;]"):
                return self.t.children(receiver)[1]
            length = self._length(receiver)
            return self.t.make("method", "len", receiver) if length is None else self.t.const(length)
        if name == "is_empty" and self.t.op(receiver) == "list":
            return self.t.const(not self.t.children(receiver))
        return None

    def _comparison(self, name: str, receiver: int, args: list[int]) -> int | None:
        """Comparison methods, and the tests of what an ordering is."""
        orderings = {"is_eq": ("Equal",), "is_lt": ("Less",), "is_gt": ("Greater",), "is_ne": ("Less", "Greater"),
                     "is_le": ("Less", "Equal"), "is_ge": ("Greater", "Equal")}  # fmt: skip
        if name in orderings and not args:
            return self._any_of(self._equal(receiver, self.t.make("path", ordering)) for ordering in orderings[name])
        if len(args) != 1 or name not in ("eq", "ne", "cmp", "partial_cmp", "total_cmp"):
            return None
        equal = self._equal(receiver, args[0])
        if name in ("eq", "ne"):
            return equal if name == "eq" else self.t.negated(equal)
        less = self._own_operation("<", receiver, args[0]) or self.t.less(receiver, args[0])
        paths = [self.t.make("path", ordering) for ordering in ("Less", "Equal", "Greater")]
        ordering = self.t.chosen(equal, paths[1], self.t.chosen(less, paths[0], paths[2]))
        return self.t.make("ctor", "Some", ordering) if name == "partial_cmp" else ordering

    def _is_okay(self, term: int) -> int:
        """Whether an Option or Result holds a value."""
        if self.t.op(term) == "ite":
            condition, then, otherwise = self.t.children(term)
            return self.t.chosen(condition, self._is_okay(then), self._is_okay(otherwise))
        if self.t.op(term) in ("ctor", "path"):
            return self.t.const(self.t.payload(term) in ("Some", "Ok"))
        return self.t.make("is", "Ok", term)

    def _length(self, term: int) -> int | None:
        """How many things a literal list still has after adapters that keep their number."""
        while self.t.op(term) == "method" and self.t.payload(term) in ("map", "collect", "enumerate", "rev", "inspect"):
            term = self.t.children(term)[0]
        if self.t.op(term) == "list" and self.t.payload(term) == "[]":
            return len(self.t.children(term))
        return None

    def _any_of(self, conditions: Iterable[int]) -> int:
        found = self.t.false
        for condition in conditions:
            found = self.t.either(found, condition)
        return found

    def _contained(self, receiver: int, value: int) -> int:
        parts = self.t.children(receiver)
        if self.t.op(receiver) == "list":
            return self._any_of(self._equal(part, value) for part in parts)
        if len(parts) != 2:
            return self.t.make("method", "contains", receiver, value)
        closed = self.t.payload(receiver) == "..="
        below = self.t.negated(self.t.less(parts[1], value)) if closed else self.t.less(value, parts[1])
        return self.t.both(self.t.negated(self.t.less(value, parts[0])), below)

    def _with_closures(self, node: Node, name: str, receiver: int, args: list[int]) -> int:
        """A method that calls closures: on the receiver's elements, or on what an Option or Result holds."""
        if name in ON_MAYBE and self._is_maybe(receiver):
            return self._on_maybe(name, receiver, args)
        elements = self._elements(receiver)
        rows = [self._element(receiver)] if elements is None else self._rows(elements, receiver)
        if name in ("get_or_init", "get_or_insert_with"):
            return self._apply(args[0], [])
        if self.t.op(receiver) == "some of" and name in ("map", "inspect") and len(args) == 1:
            return self._mapped_some_of(receiver, args[0])
        silent = name in LAZY and self._is_dropped(node)
        plain = [a for a in args if self.t.op(a) not in ("closure", "fnref")]
        results: list[int] = []
        self.muted += silent
        for closure in (a for a in args if self.t.op(a) in ("closure", "fnref")):
            for row in rows:
                results.append(self._closure_call(name, closure, receiver, row, plain))
        self.muted -= silent
        if name == "map_or" and results and set(results) == set(plain):
            return results[0]
        if name == "map" and self.t.op(receiver) == "ctor" and len(results) == 1:
            return self.t.make("ctor", self.t.payload(receiver), results[0])
        if name in ("all", "any") and (elements is not None or set(results) & {self.t.true, self.t.false}):
            joined = self.t.const(name == "all")
            for result in results:
                joined = self.t.both(joined, result) if name == "all" else self.t.either(joined, result)
            return joined
        if elements is not None and len(elements) == len(rows) == len(results):
            searched = self._searched(name, elements, results)
            if searched is not None:
                return searched
        return self.t.make("method", name, receiver, *plain, *results)

    # -- tables and what they hold --------------------------------------------------------------------------------

    def _first_of(self, found: Sequence[tuple[int, int]], otherwise: int) -> int:
        """The value of the first pair (condition, value) whose condition holds."""
        for condition, value in reversed(found):
            otherwise = self.t.chosen(condition, value, otherwise)
        return otherwise

    def _searched(self, name: str, elements: Sequence[int], results: Sequence[int]) -> int | None:
        """What a search through known elements gives, with the closure's result for each of them."""
        nothing = self.t.make("path", "None")
        if name == "find":
            return self._first_of([(r, self.t.make("ctor", "Some", e)) for r, e in zip(results, elements)], nothing)
        if name == "position":
            places = [self.t.make("ctor", "Some", self.t.const(number)) for number in range(len(elements))]
            return self._first_of(list(zip(results, places)), nothing)
        if name == "find_map":
            return self._first_of([(self._is("Some", r), r) for r in results], nothing)
        if name == "filter":
            kept = [(r, e) for r, e in zip(results, elements) if r != self.t.false]
            if all(r == self.t.true for r, _ in kept):
                return self.t.make("list", "[]", *(e for _, e in kept))
            return self.t.make("some of", "", *(term for pair in kept for term in pair))
        return None

    def _some_of(self, term: int) -> list[tuple[int, int]]:
        """The elements of a filtered list, each with the condition under which it is there."""
        parts = self.t.children(term)
        return list(zip(parts[::2], parts[1::2]))

    def _mapped_some_of(self, receiver: int, closure: int) -> int:
        parts = []
        for condition, element in self._some_of(receiver):
            arms = [(condition, self._calling(closure, [element])), (self.t.negated(condition), lambda: self.t.unit)]
            value = self._branches(arms)
            then = self.t.children(value)[1] if self.t.op(value) == "ite" and self.t.children(value)[0] == condition else value
            parts += [condition, then]
        return self.t.make("some of", "", *parts)

    def _calling(self, closure: int, args: list[int]) -> Callable[[], int]:
        return lambda: self._apply(closure, args)

    def _is_mapping(self, term: int) -> bool:
        return self.t.rows[term][:2] == ("list", "map")

    def _mapping(self, pairs: Sequence[int]) -> int | None:
        """A map with these pairs of key and value; None when they are no pairs, or keys may be the same."""
        entries: dict[int, int] = {}
        for pair in pairs:
            if self.t.rows[pair][:2] != ("list", "()") or len(self.t.children(pair)) != 2:
                return None
            entries[self.t.children(pair)[0]] = pair
        if len(entries) > 1 and not all(self.t.plain[key] for key in entries):
            return None
        return self.t.make("list", "map", *sorted(entries.values()))

    def _looked_up(self, mapping: int, key: int, found: Callable[[int], int], otherwise: int) -> int:
        pairs = [self.t.children(pair) for pair in self.t.children(mapping)]
        return self._first_of([(self._equal(known, key), found(value)) for known, value in pairs], otherwise)

    def _collected(self, term: int, kind: str) -> int | None:
        """What `collect()` into a type gives, where that is the same thing for comparisons."""
        if kind in LIST_TYPES:
            return term
        elements = self._elements(term) if kind in MAP_TYPES else None
        return self._mapping(elements) if elements is not None and self.t.op(term) == "list" else None

    # -- Option and Result ----------------------------------------------------------------------------------------

    def _is_maybe(self, term: int) -> bool:
        """Whether a term is known to be `Some`, `None`, `Ok` or `Err`, if only in each of some cases."""
        for _step in range(2 * MAX_KEYS + 2):
            op, payload, children = self.t.rows[term]
            if op != "ite":
                return (op == "ctor" and payload in ("Some", "Ok", "Err") and len(children) == 1) or (
                    (op, payload) == ("path", "None"))
            if not self._is_maybe_leaf(children[1]):
                return False
            term = children[2]
        return False

    def _is_maybe_leaf(self, term: int) -> bool:
        return self.t.op(term) != "ite" and self._is_maybe(term)

    def _on_maybe(self, name: str, receiver: int, args: list[int]) -> int:
        """A method on an Option or Result that is known in each case."""
        if self.t.op(receiver) == "ite":
            condition, then, otherwise = self.t.children(receiver)
            return self._branches([
                (condition, lambda: self._on_maybe(name, then, args)),
                (self.t.negated(condition), lambda: self._on_maybe(name, otherwise, args)),
            ])  # fmt: skip
        kind, parts = str(self.t.payload(receiver)), self.t.children(receiver)
        held = kind in ("Some", "Ok")
        inner = list(parts)
        if name in ("map", "map_err"):
            return self.t.make("ctor", kind, self._apply(args[0], inner)) if held == (name == "map") and parts else receiver
        if name in ("and_then", "is_some_and", "is_ok_and"):
            return self._apply(args[0], inner) if held else receiver if name == "and_then" else self.t.false
        if name in ("map_or", "map_or_else") and len(args) == 2:
            fallback = args[0] if name == "map_or" else self._apply(args[0], inner) if not held else self.t.unit
            return self._apply(args[1], inner) if held else fallback
        if name in ("unwrap_or_else", "or_else"):
            return (inner[0] if name[0] == "u" else receiver) if held else self._apply(args[0], inner)
        if name == "ok_or_else":
            return self.t.make("ctor", "Ok", *inner) if held else self.t.make("ctor", "Err", self._apply(args[0], []))
        if name == "filter":
            return self.t.chosen(self._apply(args[0], inner), receiver, self.t.make("path", "None")) if held else receiver
        if name == "unwrap_or":
            return inner[0] if held else args[0]
        if name == "unwrap_or_default":
            return inner[0] if held else self.t.make("call", "default")
        if name in ("ok_or", "ok"):
            good = self.t.make("ctor", "Ok" if name == "ok_or" else "Some", *inner)
            return good if held else self.t.make("ctor", "Err", *args) if name == "ok_or" else self.t.make("path", "None")
        return self.t.make("method", name, receiver, *args)

    def _closure_call(self, name: str, closure: int, receiver: int, row: int, plain: list[int]) -> int:
        count = 1
        if self.t.op(closure) == "closure":
            count = len(_parameters(self.closures[int(str(self.t.payload(closure)))][0]))
        params = [row] if count < 2 else [*(plain or [self.t.make("elem", 1, receiver)]), row][-count:]

        def run() -> int:
            return self._apply(closure, params)

        if name in ON_FAILURE:
            okay = self.t.either(self._is("Some", receiver), self._is("Ok", receiver))
            if self.t.op(receiver) not in ("ctor", "path"):
                okay = self.t.make("is", "Ok", receiver)
            return self._branches([(okay, lambda: self.t.unit), (self.t.negated(okay), run)])
        if name == "then":
            return self._branches([(receiver, run), (self.t.negated(receiver), lambda: self.t.unit)])
        return run()

    def _is_dropped(self, node: Node) -> bool:
        """A chain of lazy adapters whose result nobody asks for."""
        while True:
            access = node.parent
            if access is None or access.type != "field_expression" or access.parent is None:
                return access is None or access.type in ("expression_statement", "block") or (
                    access.type == "let_declaration" and _text(_child(access, "pattern")).startswith("_"))
            if access.parent.type != "call_expression" or _text(_child(access, "field")) not in LAZY:
                return False
            node = access.parent

    def _rows(self, elements: list[int], source: int) -> list[int]:
        """The rows of a table that are followed: the first few, and one that stands for all others."""
        if len(elements) <= UNROLLED + 1:
            return elements
        return [*elements[:UNROLLED], self.t.make("elem", "later", source)]

    def _element(self, term: int, number: int = 0) -> int:
        """One thing that iterating over an unknown term gives, and another one for another number."""
        op, payload, children = self.t.rows[term]
        if op == "method" and payload == "zip" and len(children) == 2:
            return self.t.make("list", "()", *(self._element(child, number) for child in children))
        if op == "method" and payload == "enumerate":
            index = self.t.make("elem", f"index {number}", term)
            return self.t.make("list", "()", index, self._element(children[0], number))
        return self.t.make("elem", number, term)

    def _elements(self, term: int) -> list[int] | None:
        """What iterating over a term gives, as far as it is known; an empty list only when it is certainly empty."""
        op, payload, children = self.t.rows[term]
        if op == "list" and str(payload).startswith("["):
            return list(children) if payload == "[]" else [children[0]]
        if op == "ctor" and payload in ("Some", "Ok"):
            return list(children)
        if (op == "path" and payload == "None") or self.t.constant(term) == "":
            return []
        if op == "range" and len(children) == 2:
            return self._range_elements(str(payload), *map(self.t.constant, children))
        if op == "call" and children and str(payload).endswith("from"):
            return self._elements(children[0])
        if op == "method" and children:
            return self._adapted(str(payload), children)
        return None

    def _range_elements(self, symbol: str, low: Value, high: Value) -> list[int] | None:
        if not (isinstance(low, int) and isinstance(high, int)):
            return None
        top = high + (symbol == "..=")
        known = [self.t.const(number) for number in range(low, min(top, low + UNROLLED))]
        if top > low + UNROLLED:
            known.append(self.t.make("elem", "later", self.t.const(low), self.t.const(top)))
        return known

    def _adapted(self, name: str, children: tuple[int, ...]) -> list[int] | None:
        elements = self._elements(children[0])
        if elements is None:
            return [] if name == "take" and self.t.constant(children[-1]) == 0 else None
        if name == "filter":
            return [] if set(children[1:]) <= {self.t.false} else None
        if not elements and name in (*LAZY, "chars", "bytes", "windows", "chunks", "lines", "keys", "values", "drain"):
            return []
        if name == "enumerate":
            return [self.t.make("list", "()", self.t.const(i), e) for i, e in enumerate(elements)]
        if name == "zip":
            others = self._elements(children[1])
            return None if others is None else [self.t.make("list", "()", a, b) for a, b in zip(elements, others)]
        number = self.t.constant(children[-1])
        if name in ("take", "skip") and isinstance(number, int):
            return elements[:number] if name == "take" else elements[number:]
        return elements[::-1] if name == "rev" else None

    # -- macros ---------------------------------------------------------------------------------------------------

    def _on_macro_invocation(self, node: Node) -> int:
        outer = self.site
        self.site = outer or (node.start_byte, node.end_byte)
        value = self._macro(node)
        self.site = outer
        return value

    def _macro(self, node: Node) -> int:
        name = _base_name(_text(_child(node, "macro")))
        if name in self.index.macros and "::" not in _text(_child(node, "macro")):
            return self._own_macro(node, name)
        if name in ASSERT_MACROS:
            return self._assertion(node, name.removeprefix("debug_"))
        if name in FAILING:
            return self._fail(_squeezed(node))
        if name == "matches":
            return self._matches(node)
        if name == "cfg":
            tree = node.children[-1]
            return self.t.const(any(_cfg_holds(part, test=True) for part in _split(_inside(tree))))
        if name == "vec":
            inner = _macro_text(node)
            root = _parse(f"const V: () = [{inner}];")
            return self._eval(next((n for n in _walk(root) if n.type == "array_expression"), None))
        if name not in EVALUATING_MACROS:
            return self.t.make("opaque", _squeezed(node))
        args = [self._eval(argument) for argument in _arguments(node)]
        if name == "dbg" and len(args) == 1:
            return args[0]
        captured = [self.store[s] for s in map(self._slot, _captured(node)) if s is not None and s in self.store]
        shown = [a for a in (*args, *captured) if self._own_typed(a)]
        if args and isinstance(self.t.constant(args[0]), str):  # "{x:.3}" and "{:.3}" of x are the same text
            layout = str(self.t.constant(args[0]))
            for captured_name in _captured(node):
                layout = layout.replace("{" + captured_name, "{", 1) if not captured_name.isdigit() else layout
            args[0] = self.t.const(layout)
        if shown and name in ("format", "write", "writeln", "format_args"):
            return self.t.make("own", "fmt:", *args, *captured, own=True)
        return self.t.make("call", name + "!", *args, *captured)

    def _assertion(self, node: Node, name: str) -> int:
        self.seen = self.asked
        args = [self._eval(argument) for argument in _arguments(node)[: 1 if name == "assert" else 2]]
        self.asked += any(self.t.own[a] for a in args)
        if name == "assert" and args:
            self._check(args[0], _squeezed(node))
        elif len(args) == 2:
            equal = self._equal(*args)
            self._check(equal if name == "assert_eq" else self.t.negated(equal), _squeezed(node))
        if args and name == "assert" and args[0] == self.t.false:
            self.dead = self.dead or "panic"
        return self.t.unit

    def _matches(self, node: Node) -> int:
        pieces = _split(_inside(node.children[-1])) if node.children[-1].type == "token_tree" else []
        if len(pieces) < 2:
            return self.t.make("opaque", _text(node)[:200])
        whole, first = _text(node).encode(), pieces[1][0].start_byte - node.start_byte
        value = whole[pieces[0][0].start_byte - node.start_byte : pieces[0][-1].end_byte - node.start_byte].decode()
        pattern = whole[first:-1].decode().rstrip().rstrip(",")
        root = _parse(f"fn f() {{ match {{ {value} }} {{ {pattern} => true, _ => false }} }}")
        found = next((n for n in _walk(root) if n.type == "match_expression"), None)
        return self._eval(found)

    def _own_macro(self, node: Node, name: str) -> int:
        """A macro of the program: followed like the code it stands for, and a call into the program if it is its own."""
        text = _expanded(self.index.macros[name], node)
        value = self.t.make("opaque", _text(node)[:200])
        if text is not None and not _too_long(text) and len(self.inlined) < MAX_INLINING:
            body = next((n for n in _walk(_parse(f"fn f() {{ {text} }}")) if n.type == "block"), None)
            self.inlined.append(node)
            value = self._through_block(body)
            self.inlined.pop()
        if name not in self.index.own_macros or self.index.asserts(self.index.macros[name]):
            return value
        args = [self._eval(argument) for argument in _arguments(node)]
        return self.t.make("own", f"{name}!:", *args, self.t.make("opaque", _squeezed(node)), own=True)

    def _through_block(self, body: Node | None) -> int:
        """Statements of a macro, which may declare variables for the code around it."""
        value = self.t.unit
        for child in body.named_children if body is not None else []:
            value = self._eval(child)
        return value


def _turbofish(call: Node) -> str:
    """The type that a call names as in `collect::<Vec<_>>()`."""
    arguments = _child(_child(call, "function") or call, "type_arguments")
    return _base_name(_text(arguments).strip("<> ")) if arguments is not None else ""


def _returns_number(terms: _Terms, term: int) -> bool:
    returns = str(terms.payload(term)).rpartition(":")[2] if terms.op(term) == "own" else ""
    return returns in NUMBER_TYPES + UNSIGNED_TYPES


def _pattern_inside(pattern: Node | None) -> Node | None:
    """A match arm's pattern without its guard; None for a lone underscore."""
    guard = _child(pattern, "condition") if pattern is not None else None
    children = [c for c in pattern.named_children if guard is None or c.id != guard.id] if pattern is not None else []
    return children[0] if children else None


def _parameters(node: Node) -> list[Node]:
    parameters = _child(node, "parameters")
    if parameters is None:
        return []
    return [c for c in parameters.children if (c.is_named or c.type == "_") and c.type not in
            ("line_comment", "block_comment", "attribute_item")]  # fmt: skip


def _signature(function: Item, singletons: Set[str]) -> str:
    """How terms name a function of the program: its name and return type, `()` when that has a single value."""
    singleton = _text(_child(function.node, "return_type")) in singletons
    modifiers = next((c for c in function.node.children if c.type == "function_modifiers"), None)
    returns = _text(_child(function.node, "return_type")) or ("" if "async" in _text(modifiers) else "()")
    return f"{function.name}:{'()' if singleton else returns}"


def _squeezed(node: Node) -> str:
    return " ".join(_text(node).split())[:400]


def _macro_text(node: Node) -> str:
    """What stands between a macro invocation's delimiters."""
    tree = next((child for child in node.children if child.type == "token_tree"), None)
    return _text(tree)[1:-1]


def _arguments(node: Node) -> list[Node]:
    """A macro's arguments, read as expressions."""
    root = _parse(f"fn f() {{ m({_macro_text(node)}\n); }}")
    found = next((n for n in _walk(root) if n.type == "arguments"), None)
    return [c for c in found.named_children if not c.type.endswith("comment")] if found is not None else []


def _captured(node: Node) -> list[str]:
    """Names captured by a format string, as in `format!("{point}")`."""
    strings = [_text(n) for n in _walk(node) if n.type == "string_content"]
    return [part.split("}")[0].split(":")[0] for text in strings for part in text.split("{")[1:]]


# ---------------------------------------------------------------------------------------------------------------
# Guards: constructs that make a passing test worthless, and what each test is worth
# ---------------------------------------------------------------------------------------------------------------

FORBIDDEN_WORDS = {
    "clippy": "cfg_clippy",
    "no_main": "no_main", "no_mangle": "exported_symbol", "export_name": "exported_symbol",
    "link_section": "link_section", "link_args": "link_section", "init_array": "link_section",
    "custom_test_frameworks": "custom_harness", "test_runner": "custom_harness",
    "reexport_test_harness_main": "custom_harness", "asm": "inline_assembly", "global_asm": "inline_assembly",
    "from_raw_fd": "raw_descriptor", "borrow_raw": "raw_descriptor", "naked_asm": "inline_assembly",
    "include": "includes_file", "include_str": "includes_file",
    "include_bytes": "includes_file",
}  # fmt: skip
CALLED_LIKE_MACROS = ("asm", "global_asm", "naked_asm", "include", "include_str", "include_bytes")
TRUSTED_MACROS = (*ASSERT_MACROS, *FAILING, "matches")
EXITS = ("exit", "abort", "_exit", "exit_group")
EXIT_HEADS = ("process", "libc", "intrinsics")
HOOKS = ("set_hook", "take_hook", "update_hook", "always_abort")
HARNESS_PROBES = {"env": ("args", "args_os", "vars", "vars_os", "current_exe"), "Location": ("caller",),
                  "thread": ("current",), "Backtrace": ("capture", "force_capture")}  # fmt: skip


def _construct_guard(index: _Index) -> str | None:
    """A construct anywhere in the file that no honest answer needs."""
    return (
        _forbidden_anywhere(index)
        or ("cfg_switched_program" if _switched_by_cfg(index) else None)
        or ("constant_comparison" if _has_constant_comparison(index) else None)
        or _reached_guard(index)
    )


def _forbidden_anywhere(index: _Index, allowed: Sequence[str] = ()) -> str | None:
    """The first forbidden construct, in code and in macros alike."""
    for node in index.nodes:
        found = _forbidden_node(node)
        if found is not None and found not in allowed:
            return found
    words = index.words(index.root)
    for position, word in enumerate(words):
        found = _forbidden_word(word, words[position + 1 : position + 6])
        if found is not None and found not in allowed:
            return found
    return None


def _forbidden_node(node: Node) -> str | None:
    kind = node.type
    if kind == "string_content" and _text(node).startswith(("/proc/", "/dev/fd")):
        return "raw_descriptor"
    if kind == "foreign_mod_item":
        return "foreign_function"
    if kind == "macro_definition" and _item_name(node) in TRUSTED_MACROS:
        return "redefined_assert_macro"
    if kind == "use_as_clause" and _text(_child(node, "alias")) in TRUSTED_MACROS:
        return "redefined_assert_macro"
    if kind == "use_declaration":
        return _forbidden_import(node)
    return None


def _forbidden_word(word: str, after: list[str]) -> str | None:
    if word in CALLED_LIKE_MACROS and after[:1] != ["!"]:
        return None
    if word == "clippy" and after[:1] == ["::"]:
        return None  # a lint's name
    if word == "macro_rules" and after[:1] == ["!"] and (after[1:2] or [""])[0].startswith(("$", *TRUSTED_MACROS)):
        return "redefined_assert_macro"
    if word == "extern" and next((w for w in after if w in ("{", "fn", "crate")), "") == "{":
        return "foreign_function"
    return FORBIDDEN_WORDS.get(word)


def _forbidden_import(node: Node) -> str | None:
    """An assert macro imported from anywhere but std."""
    words = [_text(n) for n in _walk(node) if n.type in ("identifier", "crate", "self", "super")]
    named = any(word in TRUSTED_MACROS for word in words)
    return "redefined_assert_macro" if named and words[0] not in ("std", "core") else None


def _switched_by_cfg(index: _Index) -> bool:
    """Code that is another under test: `cfg(test)` inside the program, or two versions of an item."""
    only_plain = {_merge_key(i) for i in index.items if i.in_plain and not i.in_test and not i.is_main}
    only_test = {_merge_key(i) for i in index.items if i.in_test and not i.in_plain}
    if {(kind, name.split("::")[-1]) for kind, name in only_plain} & {(k, n.split("::")[-1]) for k, n in only_test}:
        return True
    bodies = [item.node for items in index.own.values() for item in items]
    bodies += [index.macros[name] for name in index.own_macros]
    return any(_asks_for_test(index.words(body)) for body in bodies)


def _asks_for_test(words: list[str]) -> bool:
    """`cfg(test)`, `cfg!(test)` or `cfg_attr(test, ..)` among the tokens, however it is nested."""
    for position, word in enumerate(words):
        if word in ("cfg", "cfg_attr"):
            depth = 0
            for inner in words[position + 1 :]:
                depth += (inner in "([{") - (inner in ")]}")
                if inner == "test":
                    return True
                if depth == 0 and inner != "!":
                    break
    return False


def _reached_guard(index: _Index) -> str | None:
    """Exits, panic hooks and looks at the harness in code that tests can reach."""
    heads = {*EXIT_HEADS, *(new for new, old in index.aliases.items() if old in EXIT_HEADS)}
    imported = {_text(n) for u in index.nodes if u.type == "use_declaration" and "process" in _text(u)
                for n in _walk(u) if n.type == "identifier"}  # fmt: skip
    glob = any(u.type == "use_wildcard" and "process" in _text(u) for u in index.nodes)
    exits = {name for name in EXITS if name in imported or glob}
    exits |= {new for new, old in index.aliases.items() if old in EXITS}
    for body in _reached(index):
        words = index.words(body)
        if "var" in words or "var_os" in words:
            names = [_text(n) for n in _walk(body) if n.type == "string_content"]
            if any(name.startswith(("CARGO", "RUST", "NEXTEST")) for name in names):
                return "detects_harness"
        for position, word in enumerate(words):
            head = words[position - 2] if position > 1 and words[position - 1] == "::" else ""
            found = _reached_word(word, head, heads, exits, words[position + 1 : position + 2], index)
            if found is not None:
                return found
    return None


def _reached_word(word: str, head: str, heads: set[str], exits: set[str], after: list[str],
                  index: _Index) -> str | None:  # fmt: skip
    if word in EXITS and head in heads or word in exits and word not in index.own and not head and after != [":"]:
        return "process_exit"
    if word in HOOKS and word not in index.own:
        return "panic_hook"
    if word in HARNESS_PROBES.get(head, ()) or (word in ("option_env", "env") and after == ["!"]):
        return "detects_harness"
    return None


def _reached(index: _Index) -> list[Node]:
    """Bodies that the tests may run: by name from the tests; trait methods and constants run without being named."""
    named: dict[str, list[Node]] = {name: [node] for name, node in index.macros.items()}
    for items in [*index.own.values(), *index.helpers.values()]:
        for item in items:
            named.setdefault(item.name, []).append(item.node)
    mains = [item.node for item in index.items if item.is_main]
    named.setdefault("main", []).extend(mains)
    stack = [test.node for test in index.tests]
    stack += [i.node for items in index.own.values() for i in items if i.trait]
    stack += [item.node for items in index.constants.values() for item in items]
    seen: set[int] = set()
    reached = []
    while stack:
        node = stack.pop()
        if node.id in seen:
            continue
        seen.add(node.id)
        reached.append(node)
        words = {_text(n) for n in _walk(node) if n.type in ("identifier", "field_identifier")}
        stack += [body for word in words for body in named.get(word, ())]
    return reached


def _has_constant_comparison(index: _Index) -> bool:
    """A hand-written `eq`, `ne` or ordering that gives the same answer whatever it compares."""
    for node in index.nodes:
        trait = _base_name(_text(_child(node, "trait"))) if node.type == "impl_item" else ""
        if trait not in ("PartialEq", "PartialOrd", "Ord"):
            continue
        for item in _items_of(_body(node) or node, _Scope()):
            if item.name in ("eq", "ne", "partial_cmp", "cmp", "lt", "le", "gt", "ge") and _ignores_both(item, index):
                return True
    return False


def _ignores_both(method: Item, index: _Index) -> bool:
    terms = _Terms()
    run = _TestRun(index, terms, [2000])
    sides = [terms.make("unset", "self", own=True), terms.make("unset", "other", own=True)]
    value = run._inline(method.node, sides, [{}])
    if method.name in ("eq", "ne"):
        return not terms.can_fail(value if method.name == "eq" else terms.negated(value))
    return not set(sides) & set(terms.reachable(value))


# -- answers that do not depend on the question -------------------------------------------------------------------------

# A function with one of these is never said to ignore its input.
HARD_TO_FOLLOW = ("while_expression", "loop_expression", "async_block",
                  "abstract_type", "dynamic_type", "ERROR")  # fmt: skip
CHOICES = ("if_expression", "match_expression", "return_expression", "break_expression", "continue_expression",
           "try_expression", "closure_expression", "binary_expression")  # fmt: skip
SIMPLE_OPS = (*PLAIN_OPS, "unset", "field", "+", "-", "*", "/", "%")
MAX_FIXED_ROUNDS = 4
MAX_KEYS = 3  # inputs that a function may name before it counts as a look-up table


@dataclass(frozen=True)
class _Body:
    """A function of the program seen from inside: its result as a term over its parameters."""

    item: Item
    terms: _Terms
    parameters: tuple[int, ...]
    names: tuple[str, ...]
    result: int
    closures: tuple[str, ...]  # texts


def _read_body(item: Item, index: _Index, fuel: list[int]) -> _Body:
    terms = _Terms()
    nodes = _parameters(item.node)
    parameters = tuple(terms.make("unset", f"parameter {position}", own=True) for position in range(len(nodes)))
    run = _TestRun(index, terms, fuel)
    run.modules, run.keeps_panics = item.modules, True
    result = run._inline(item.node, list(parameters), [{}])
    names = tuple(_text(n) for node in nodes for n in _walk(node) if n.type in ("identifier", "self"))
    return _Body(item, terms, parameters, names, result, tuple(_text(node) for node, _, _ in run.closures))


def _answers_regardless(body: _Body) -> bool:
    """Whether the result ignores every parameter. What was not understood counts as depending on what it mentions."""
    for term in body.terms.reachable(body.result):
        op, payload, _ = body.terms.rows[term]
        if term in body.parameters:
            return False
        payload = body.closures[int(str(payload))] if op == "closure" else payload
        if op in ("opaque", "call", "unset", "closure") and any(name in str(payload) for name in body.names):
            return False
    return True


def _comes_to_one_value(body: _Body) -> bool:
    """Whether the result is the same number whatever the parameters are: arithmetic that forgets them (`n * 0 + 55`).

    Results that are chosen by conditions are never said to: sampling might miss the inputs that matter.
    """
    order = body.terms.reachable(body.result)
    kinds = {_text(_child(parameter, "type")) for parameter in _parameters(body.item.node)}
    if not kinds <= {*NUMBER_TYPES, *UNSIGNED_TYPES} or body.result in body.parameters:
        return False
    if any(body.terms.op(t) in ("ite", "and", "not", "eq", "lt", "is", "loop", "own", "fnref") for t in order):
        return False
    numbers = [v for v in map(body.terms.constant, order) if _is_number(v)] + list(SAMPLE_NUMBERS)
    values = set()
    for seed in range(SAMPLES):
        inputs = {p: numbers[_draw(seed, p) % len(numbers)] for p in body.parameters}
        values.add(repr(body.terms._assignment(order, seed, (), given=inputs)[body.result]))
    return len(values) == 1


def _fixed_functions(index: _Index) -> set[str]:
    """Signatures of the program's functions whose answer does not depend on what they are asked.

    A function without parameters is one only when it is a constant next to functions that have some: the decoy that
    tests call instead of the solution. Functions that ask only fixed functions are fixed, too.
    """
    for _round in range(MAX_FIXED_ROUNDS):
        found = _fixed_now(index)
        if found <= index.fixed:
            break
        index.fixed |= found
    return index.fixed


def _fixed_now(index: _Index) -> set[str]:
    """As `_fixed_functions`, with what is in `index.fixed` known already."""
    fuel = [FUEL]
    functions = [o for items in index.own.values() for o in items if not o.trait and _child(o.node, "return_type")]
    functions = [o for o in functions if not any(_is_hard_to_follow(n) for n in _walk(o.node))]
    functions = [o for o in functions if not (_child(o.node, "type_parameters") and _has_node(o.node, "generic_function"))]
    functions = [o for o in functions if "&mut" not in "".join(map(_text, _parameters(o.node)))]
    fixed = set()
    for item in functions:
        asked = [p for p in _parameters(item.node) if p.type != "self_parameter"]
        decoy = not asked and not item.owner and any(_parameters(o.node) for o in functions)
        if not (asked or decoy) or (item.owner in index.types and _is_trait(item.owner, index)):
            continue
        body = _read_body(item, index, fuel)
        if len(body.parameters) > 1 and body.result in body.parameters:
            index.projections[_signature(item, index.singletons)] = body.parameters.index(body.result)
        ignores = _answers_regardless(body) or _comes_to_one_value(body)
        if fuel[0] > 0 and ignores and (asked or body.terms.plain[body.result]):
            fixed.add(_signature(item, index.singletons))
    return fixed


def _is_hard_to_follow(node: Node) -> bool:
    """Whether a node may make a result depend on more than the terms show: loops, but for a list of literals and no choice."""
    if node.type != "for_expression":
        return node.type in HARD_TO_FOLLOW
    source = _child(node, "value")
    return source is None or source.type != "array_expression" or any(n.type in CHOICES for n in _walk(node))


def _has_node(node: Node, kind: str) -> bool:
    return any(found.type == kind for found in _walk(node))


def _is_trait(name: str, index: _Index) -> bool:
    return any(item.node.type == "trait_item" and item.name == name for item in index.items)


def _names_its_inputs(body: _Body, asked: Sequence[tuple[int, ...]], asked_terms: _Terms, expected: Set[str]) -> bool:
    """Whether a function is a list of answers to exactly the inputs that the tests use.

    Its result is literals chosen by comparing parameters with literals (by `match`, `if`, or in a table), no more than
    MAX_KEYS of them, each used as an input by a test, and no test asks for anything else: then the tests cannot tell it
    from a real solution. What it gives for everything else may be a parameter or simple arithmetic, when it is plain that no
    test asks for it (a recursion or a loop there is a solution whose base cases are tested).
    """
    terms, keys, arms, stack = body.terms, set(), 0, [body.result]
    if not asked or terms.op(body.result) != "ite":
        return False
    rest = _rest_of(body)
    is_computed = not terms.plain[rest] and terms.rows[rest][0::2] != ("call", ())
    while stack:
        op, payload, children = terms.rows[stack.pop()]
        if op == "ite":
            stack += children[1:]
            arms += 1
            found = _compared_literals(terms, children[0], body.parameters)
            if found is None:
                return False
            keys |= found
        elif op in PLAIN_OPS:
            stack += children
        elif not (op == "call" and not children) and not is_computed:
            return False
    if is_computed:
        answers = _answers_of(body)
        if not all(terms.op(t) in SIMPLE_OPS for t in terms.reachable(rest)):
            return False
        plainly = all(asked_terms.plain[a] for call in asked for a in call[-len(body.parameters) :])
        return bool(keys) and arms <= MAX_KEYS and plainly and answers <= expected - {""} and not (
            _asks_for_the_rest(body, asked, asked_terms, empty_counts=True))
    if keys and arms <= MAX_KEYS and _answers_are_expected(body, asked_terms, expected):
        return True
    inputs = [{_shown(asked_terms, a) for call in calls for a in asked_terms.reachable(call)} for calls in asked]
    known = all(keys & i or "('[]',)" in i for i in inputs) and not _asks_for_the_rest(body, asked, asked_terms)
    return bool(keys) and arms <= MAX_KEYS and all(any(k in i for i in inputs) for k in keys) and known


def _rest_of(body: _Body) -> int:
    """What a list of answers gives for everything else."""
    rest = body.result
    while body.terms.op(rest) == "ite":
        rest = body.terms.children(rest)[2]
    return rest


def _answers_of(body: _Body) -> set[str]:
    """The answers of a list but its last."""
    answers, rest = set(), body.result
    while body.terms.op(rest) == "ite":
        _, then, rest = body.terms.children(rest)
        answers.add(_shown(body.terms, then))
    return answers


def _asks_for_the_rest(body: _Body, asked: Sequence[tuple[int, ...]], asked_terms: _Terms, empty_counts: bool = False) -> bool:
    """Whether some call in the tests gets the answer that a list of answers has for everything else.

    `empty_counts`: also one with an empty list.
    """
    order = body.terms.reachable(body.result)
    for call in asked:
        if len(call) != len(body.parameters) or not all(asked_terms.plain[a] for a in call):
            continue
        inputs = [asked_terms._sampled(a) for a in call]
        if ("[]",) in inputs and not empty_counts:
            continue
        values = body.terms._assignment(order, 0, (), given=dict(zip(body.parameters, inputs)))
        rest = body.result
        while body.terms.op(rest) == "ite" and not _truth(values[body.terms.children(rest)[0]]):
            rest = body.terms.children(rest)[2]
        if body.terms.op(rest) != "ite":
            return True
    return False


def _answers_are_expected(body: _Body, asked_terms: _Terms, expected: Set[str]) -> bool:
    """Whether the tests expect each answer of a list but never its last, the one for everything else."""
    rest = _rest_of(body)
    return _answers_of(body) <= expected - {""} and (not body.terms.plain[rest] or _shown(body.terms, rest) not in expected)


def _compared_literals(terms: _Terms, condition: int, parameters: Sequence[int]) -> set[str] | None:
    """Literals that a condition compares parameters with for equality; None when it does anything else."""
    keys: set[str] = set()
    stack = [condition]
    while stack:
        op, payload, children = terms.rows[stack.pop()]
        if op in ("and", "not"):
            stack += children
            continue
        if op == "is" and str(payload)[:1] == "[" and _is_input(terms, children[0], parameters):
            continue
        literals = [c for c in children if terms.plain[c]]
        others = [c for c in children if not terms.plain[c]]
        if others and any(terms.op(t) in ("%", "/", "&", ">>") for t in terms.reachable(others[0])):
            return None  # what sort of number it is, which many inputs share
        if op != "eq" or len(literals) != 1 or isinstance(terms.constant(literals[0]), bool):
            return None
        if terms.op(literals[0]) not in ("const", "list", "neg") or not set(parameters) & set(terms.reachable(others[0])):
            return None
        keys.add(_shown(terms, literals[0]))
    return keys


def _is_input(terms: _Terms, term: int, parameters: Sequence[int]) -> bool:
    """A parameter, or a tuple or part of parameters: nothing computed from them."""
    return all(t in parameters or terms.op(t) in ("field", "list", "after") for t in terms.reachable(term))


def _shown(terms: _Terms, term: int) -> str:
    return repr(terms._sampled(term)) if terms.plain[term] else ""


# -- what each test is worth ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Worth:
    tests: tuple[TestFn, ...]
    goals: frozenset[int]  # distinct assertions that count
    calls: frozenset[str]  # the program's functions that they depend on
    sites: frozenset[tuple[int, int]]  # of the assert macros among them


def _worth(index: _Index) -> _Worth:
    terms, fuel = _Terms(), [FUEL]
    terms.enums = _plain_enums(index)
    index.fixed = _fixed_functions(index)
    can_fail: dict[int, bool] = {}
    tests, goals, sites = [], set(), set()
    for item in index.tests:
        ignored, should_panic = item.has("ignore"), item.has("should_panic")
        counted: list[_Check] = []
        guard = "ignored" if ignored else None
        if not ignored and not should_panic:
            checks = _TestRun(index, terms, fuel).follow(item)
            for check in checks:
                if check.goal not in can_fail:
                    can_fail[check.goal] = not terms.fixed(check.goal, index.fixed) and terms.can_fail(check.goal)
                if can_fail[check.goal]:
                    counted.append(check)
            guard = None if counted else _test_guard(item, checks, terms, index)
        goals |= {check.goal for check in counted}
        sites |= {check.site for check in counted if check.site is not None}
        marked = bool(counted) and all(check.site is not None for check in counted)
        tests.append(TestFn(_harness_name(item), ignored, should_panic, bool(counted), guard, marked))
    tests = _without_hard_coded(tests, goals, terms, index)
    calls = {name.rpartition(":")[0] for goal in goals for name in terms.calls(goal)}
    return _Worth(tuple(tests), frozenset(goals), frozenset(calls), frozenset(sites))


def _without_hard_coded(tests: list[TestFn], goals: set[int], terms: _Terms, index: _Index) -> list[TestFn]:
    """Take the worth from tests whose every call is answered by a function that lists their inputs."""
    asked: dict[str, list[tuple[int, ...]]] = {}
    expected: set[str] = set()
    for goal in goals:
        for term in terms.reachable(goal):
            expected |= {_shown(terms, c) for c in terms.children(term)} if terms.op(term) == "eq" else set()
            if terms.op(term) == "own":
                asked.setdefault(str(terms.payload(term)), []).append(terms.children(term))
    functions = [o for items in index.own.values() for o in items if not o.trait and not _is_trait(o.owner, index)]
    named = {_signature(item, index.singletons): item for item in functions}
    if len(named) < len(functions) and any(o.owner for o in functions):
        return tests  # methods of one name: which one is asked is not known
    if not asked or any(signature not in named for signature in asked):
        return tests
    bodies = {signature: _read_body(named[signature], index, [FUEL]) for signature in asked}
    if any(_panics_as_tested(body, index) for body in bodies.values()):
        return tests
    if not all(_names_its_inputs(bodies[signature], calls, terms, expected) for signature, calls in asked.items()):
        return tests
    goals.clear()
    return [replace(test, counted=False, guard="hard_coded_answer") if test.counted else test for test in tests]


def _panics_as_tested(body: _Body, index: _Index) -> bool:
    """Whether a list of answers panics for everything else, and a `should_panic` test asks for that."""
    asks = any(item.has("should_panic") and body.item.name in _leaves(item.node) for item in index.tests)
    return asks and body.terms.rows[_rest_of(body)][:2] == ("path", "!")


def _test_guard(test: Item, checks: Sequence[_Check], terms: _Terms, index: _Index) -> str:
    words = {_text(n) for n in _walk(test.node) if n.type == "identifier"}
    if not checks:
        if "catch_unwind" in words:
            return "catch_unwind"
        return "unreachable_assert" if words & {*ASSERT_MACROS, *FAILING} else "no_asserts"
    if any(check.own for check in checks):
        return "tautological_assert"
    names = {signature.rpartition(":")[0] for signature in index.fixed}
    if words & names:
        return "hard_coded_answer"
    local = {_text(_child(n, "pattern")) for n in _walk(test.node) if n.type == "let_declaration"}
    local |= {_item_name(n) for n in _walk(test.node) if n.type == "function_item" and n.id != test.node.id}
    shadowed = (set(index.helpers) | local | set(index.aliases)) & set(index.own) & words
    if shadowed:
        return "shadowed_function"
    return "catch_unwind" if "catch_unwind" in words else "constant_assert"


def _program_guard(index: _Index, worth: _Worth) -> str | None:
    guard = _construct_guard(index)
    if guard is not None:
        return guard
    if not worth.tests:
        return "no_tests"
    if any(test.counted for test in worth.tests):
        return "unimplemented_function" if _leaves_work_undone(index, worth) else None
    return next((test.guard for test in worth.tests if test.guard), "should_panic_only")


def _leaves_work_undone(index: _Index, worth: _Worth) -> bool:
    """Whether a function that the tests do not look at is nothing but `todo!()`: they test something else."""
    for items in index.own.values():
        for item in items:
            body = _body(item.node)
            words = _leaves(body)[1:-1] if body is not None and not item.trait and item.name not in worth.calls else []
            if words[:1] in (["todo"], ["unimplemented"]) and words[1:2] == ["!"] and len(words) < 12:
                return not (item.owner and _is_trait(item.owner, index))
    return False


QUIET_LINTS = ("dead_code", "non_snake_case", "non_camel_case_types", "non_upper_case_globals", "unsafe_code")


def _silences_clippy(index: _Index) -> bool:
    """Whether the program switches off lints beyond dead code and naming, anywhere but in its tests."""
    test_ranges = [(i.start_byte, i.node.end_byte) for i in _items(index.root) if i.test_side]
    for node in index.nodes:
        if node.type not in ("attribute_item", "inner_attribute_item"):
            continue
        if any(start <= node.start_byte < end for start, end in test_ranges):
            continue
        for attribute in _attributes(node):
            lints = {"".join(map(_text, part)) for part in _split(attribute.tokens)}
            if attribute.path in ("allow", "expect") and lints - set(QUIET_LINTS):
                return True
    return False


# ---------------------------------------------------------------------------------------------------------------
# Completion to program
# ---------------------------------------------------------------------------------------------------------------


def extract_program(completion: str) -> Program | None:
    """Return the program of a completion, or None when it has no closed block of Rust. Never raises.

    Blocks tagged `rust` or `rs` count. Several are joined, later definitions replacing earlier ones of the same name;
    one that repeats everything defined before stands alone. A completion without tagged blocks may still give a
    program (with `code_block` False) when an untagged block parses as Rust and holds a function.
    """
    blocks = code_blocks(_well_formed(completion))
    texts = [block.text for block in blocks if block.closed and block.tag in RUST_TAGS]
    tagged = bool(texts)
    if not tagged:
        texts = [block.text for block in blocks if block.closed and not block.tag and _is_rust(block.text)]
    if not texts:
        return None
    return read_program(_with_main(_joined(texts)), code_block=tagged)


def read_program(source: str, code_block: bool = True) -> Program:
    """Describe a Rust source text; never raises."""
    root = _parse(source)
    if _too_long(source) or _depth(root) > MAX_DEPTH:
        guard = "too_long_to_read" if _too_long(source) else "too_deeply_nested"
        return Program(source, (), (), 0, False, guard, code_block, (), False)
    index = _Index(root)
    worth = _worth(index)
    return Program(
        source=source,
        functions=tuple(item.name for item in index.items if item.is_own_function),
        test_names=tuple(test.name for test in worth.tests),
        n_asserts=len(worth.goals),
        has_test_block=_has_test_block(index.items),
        guard=_program_guard(index, worth),
        code_block=code_block,
        tests=worth.tests,
        silences_clippy=_silences_clippy(index),
        tested_functions=tuple(sorted(worth.calls)),
        assert_sites=tuple(sorted(worth.sites)),
    )


def _harness_name(item: Item) -> str:
    return "::".join((*item.modules, _text(_child(item.node, "name"))))


def _has_test_block(items: Sequence[Item]) -> bool:
    blocks = [(*item.modules, item.name) for item in items
              if item.node.type == "mod_item" and item.in_test and not item.in_plain]  # fmt: skip
    return any(item.is_test and item.modules[: len(block)] == block for item in items for block in blocks)


def _well_formed(text: str) -> str:
    """The text without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _is_rust(text: str) -> bool:
    root = _parse(text)
    return not root.has_error and any(node.type == "function_item" for node in root.named_children)


def _with_main(source: str) -> str:
    if any(item.is_main for item in _items(_parse(source))):
        return source
    return source.rstrip("\n") + "\n\nfn main() {}\n"


def _joined(texts: Sequence[str]) -> str:
    joined = texts[0]
    for text in texts[1:]:
        joined = _merged(joined, text)
    return joined + "\n"


def _merged(earlier: str, later: str) -> str:
    """Append a block to what came before it, as a reader would: later definitions replace earlier ones."""
    old, new = _items(_parse(earlier)), _items(_parse(later))
    if old and all(item.node.type in ("macro_invocation", "use_declaration") for item in new) and _parse(later).children:
        return earlier  # a usage snippet: statements, no items
    old_top = [item for item in old if not item.modules and not item.owner]
    new_keys = {_merge_key(item) for item in new}
    defined = [item for item in old_top if not item.test_side and item.node.type != "use_declaration"]
    if defined and all(_merge_key(item) in new_keys for item in defined if not item.is_main):
        has_tests = any(item.is_test for item in new)
        kept = [] if has_tests else [item for item in old_top if item.test_side and _merge_key(item) not in new_keys]
    else:
        kept = [item for item in old_top if _merge_key(item) not in new_keys]
    data = earlier.encode()
    if len(kept) == len(old_top):
        return f"{earlier}\n\n{later}"
    pieces = [data[item.start_byte : item.node.end_byte].decode("utf-8", "replace") for item in kept]
    return "\n\n".join([*pieces, later])


def _merge_key(item: Item) -> tuple[str, str]:
    kind = "function_item" if item.node.type == "function_signature_item" else item.node.type
    return kind, item.name


# ---------------------------------------------------------------------------------------------------------------
# Programs made from a program
# ---------------------------------------------------------------------------------------------------------------


def _edited(source: str, edits: Sequence[tuple[int, int, str]]) -> str:
    """Replace byte ranges [start, end) that do not overlap."""
    data = source.encode()
    pieces, position = [], 0
    for start, end, text in sorted(edits):
        if start < position:
            continue  # inside a range that was already replaced
        pieces += [data[position:start], text.encode()]
        position = end
    return b"".join([*pieces, data[position:]]).decode("utf-8", "replace")


def panic_stubbed(program: Program, mark_asserts: bool = False) -> str | None:
    """Return the source with STUB as first statement of the program's functions; None when there is nothing to stub.

    Every counted test must fail then. Bodies are kept, so that `impl Trait` and inferred types still compile, and so
    are line numbers. STUB panics with a plain literal, which const functions allow, and holds nothing that a
    `deny(warnings)` in the program could object to; it may be replaced by another statement. Not stubbed: `main`,
    tests and their helpers, `Drop::drop` and allocators (a panic there aborts), `Debug::fmt` (it runs while a failing
    assertion prints its message) unless there is nothing else. A program of macros has its macros stubbed instead.
    A function called in a const context makes the result uncompilable.
    mark_asserts: also put MARK in front of every counted assert macro; a test that is `marked` must reach one.
    """
    root = _parse(program.source)
    own = [item for item in _items(root) if item.is_own_function and _body(item.node) is not None]
    chosen = [item for item in own if item.name not in UNSTUBBABLE.get(item.trait, ())] or own
    edits = [(at, at, STUB) for at in (_body_start(item.node) for item in chosen)]
    edits = edits or _stubbed_macros(root)
    if not edits:
        return None
    for start, end in program.assert_sites if mark_asserts else ():
        edits += [(start, start, f"{{{MARK} "), (end, end, "; }")]
    return _edited(program.source, edits)


def _stubbed_macros(root: Node) -> list[tuple[int, int, str]]:
    """Stubs in the program's own macros: around what expands to an expression, inside the functions of the others."""
    edits: list[tuple[int, int, str]] = []
    for item in _items(root):
        if item.node.type != "macro_definition" or item.test_side:
            continue
        for rule in item.node.named_children:
            right = _child(rule, "right")
            if right is None:
                continue
            functions = [n for n in _walk(right) if n.type == "fn"]
            bodies = [next((s for s in _following(n) if _text(s)[:1] == "{"), None) for n in functions]
            edits += [(b.start_byte + 1, b.start_byte + 1, STUB) for b in bodies if b is not None]
            if not functions:
                start, end = right.start_byte + 1, right.end_byte - 1
                edits += [(start, start, "{" + STUB), (end, end, "}")]
    return edits


def _following(node: Node) -> Iterator[Node]:
    sibling = node.next_sibling
    while sibling is not None:
        yield sibling
        sibling = sibling.next_sibling


def _body_start(function: Node) -> int:
    """Where the first statement of a function may go: after the brace and any inner attributes."""
    body = _body(function)
    assert body is not None
    at = body.start_byte + 1
    for child in body.named_children:
        if child.type == "inner_attribute_item":
            at = child.end_byte
    return at


def solution_source(program: Program) -> str:
    """Return the program without its tests and without its `main`; other lines keep their numbers."""
    data = program.source.encode()
    edits = []
    for item in _items(_parse(program.source)):
        if item.is_main or (item.test_side and not item.owner):
            removed = data[item.start_byte : item.node.end_byte]
            edits.append((item.start_byte, item.node.end_byte, "\n" * removed.count(b"\n")))
    return _edited(program.source, edits)


def same_program(one: Program, other: Program) -> bool:
    """Whether two programs are the same code but for names, comments, layout, tests and `main`."""
    return _fingerprint(one) == _fingerprint(other)


def _fingerprint(program: Program) -> list[str]:
    """The solution's tokens, identifiers numbered in the order of their first use."""
    numbers: dict[str, int] = {}
    tokens = []
    stack = [_parse(solution_source(program))]
    while stack:
        node = stack.pop()
        if node.type.endswith("comment"):
            continue
        if node.type in ("identifier", "type_identifier", "field_identifier", "shorthand_field_identifier"):
            tokens.append(f"#{numbers.setdefault(_text(node), len(numbers))}")
        elif not node.children:
            tokens.append(_text(node))
        stack.extend(reversed(node.children))
    return tokens


# ---------------------------------------------------------------------------------------------------------------
# Hidden tests
# ---------------------------------------------------------------------------------------------------------------


@dataclass
class _HiddenParts:
    helpers: list[str] = field(default_factory=list)  # items that the tests bring along
    bodies: list[tuple[str, bool, str]] = field(default_factory=list)  # (statements, should panic, return type)


def with_hidden_tests(program: Program, tests: Sequence[str], entry_point: str | None) -> HiddenSuite:
    """Return the program with a task's tests as a module of their own, in place of its own tests and `main`.

    tests: assert statements, each string one test; or one text with a test module, `#[test]` functions, or a `main`
    over `candidate`, whose every assert is one test (what precedes it in its function is shared). entry_point: what
    `candidate` stands for when the tests do not say.
    Raises ValueError when the tests cannot be understood.
    """
    parts = _hidden_parts(tests)
    if not parts.bodies:
        raise ValueError("hidden tests: no assert found; expected assert statements, a test module or a main")
    digest = hashlib.sha256("\0".join([program.source, *tests]).encode("utf-8", "replace")).hexdigest()[:12]
    module, width = f"hidden_{digest}", len(str(len(parts.bodies) - 1))
    names, functions = [], []
    for number, (body, should_panic, returns) in enumerate(parts.bodies):
        name = f"t{number:0{width}}"
        names.append(f"{module}::tests::{name}")
        attribute = "#[test] #[should_panic]" if should_panic else "#[test]"
        functions.append(f"    {attribute}\n    fn {name}(){returns} {{\n{_candidate(body, entry_point)}{body}\n    }}")
    head = f"#[cfg(test)]\n#[allow(warnings)]\nmod {module} {{\n    use super::*;\n    {STD_NAMES}\n    mod tests {{"
    lines = [solution_source(program).rstrip("\n"), "", head, "    use super::*;", *parts.helpers, *functions]
    text = "\n".join([*lines, "    }", "}", "fn main() {}"])
    return HiddenSuite(source=text + "\n", test_names=tuple(names), guard=_hidden_guard(solution_source(program)))


def check_hidden_tests(tests: Sequence[str], entry_point: str | None) -> None:
    """Whether a task's tests can be understood at all, asked before anything is graded. Raises ValueError when not."""
    with_hidden_tests(read_program("fn probe() {}"), tests, entry_point)


def _hidden_guard(source: str) -> str | None:
    """Constructs that reach tests which the program has not seen: another harness, their source, a lying `==`."""
    if _too_long(source) or _depth(_parse(source)) > MAX_DEPTH:
        return "too_long_to_read"
    index = _Index(_parse(source))
    found = _forbidden_anywhere(index, allowed=("cfg_clippy", "redefined_assert_macro"))
    return found or ("constant_comparison" if _has_constant_comparison(index) else None)


# Explicit imports win over the glob: a program's own `String` or `Some` does not reach the hidden tests.
STD_NAMES = (
    "use ::std::{option::Option::{self, None, Some}, result::Result::{self, Err, Ok}, string::{String, ToString}, "
    "vec::Vec, boxed::Box, borrow::ToOwned, iter::{IntoIterator, Iterator}, cmp::{PartialEq, Eq, PartialOrd, Ord}, "
    "convert::{From, Into}, clone::Clone, default::Default, ops::Drop, mem::drop, "
    "collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque}};"
)
STD_MACROS = (*ASSERT_MACROS, "vec", "format", "matches", "panic", "println", "print", "eprintln", "unreachable",
              "todo", "unimplemented", "write", "writeln", "concat", "stringify")  # fmt: skip


def _candidate(body: str, entry_point: str | None) -> str:
    nodes = list(_walk(_parse(f"fn body() {{{body}}}")))
    used = any(node.type == "identifier" and _text(node) == "candidate" for node in nodes)
    bound = any(node.type == "let_declaration" and _text(_child(node, "pattern")) == "candidate" for node in nodes)
    return f"        let candidate = {entry_point};\n" if used and not bound and entry_point else ""


def _hidden_parts(tests: Sequence[str]) -> _HiddenParts:
    parts = _HiddenParts()
    if not tests or len(tests) > MAX_HIDDEN_TESTS:
        raise ValueError(f"hidden tests: {len(tests)} given, expected 1 to {MAX_HIDDEN_TESTS}")
    for number, test in enumerate(tests):
        text = test.replace("\r\n", "\n").strip()
        text = text.removeprefix("}").strip()  # MultiPL-E closes the prompt's function first
        where = f"hidden test {number}"
        if _too_long(_well_formed(text)) or "\0" in text or text != _well_formed(text):
            raise ValueError(f"{where}: over {MAX_SOURCE_BYTES} bytes or not text")
        items = _items(_parse(text))
        if any(item.is_test or item.is_main for item in items):
            _read_hidden_items(text, where, parts)
        else:
            _read_hidden_statements(text, where, parts)
    return parts


def _read_hidden_statements(text: str, where: str, parts: _HiddenParts) -> None:
    """One string of statements: one test."""
    root = _parse(f"fn body() {{\n{text}\n}}")
    body = _body(root.named_children[0]) if root.named_child_count == 1 else None
    if body is None or root.has_error:
        raise ValueError(f"{where}: not Rust statements: {text[:80]!r}")
    if not _holds_assert(body):
        raise ValueError(f"{where}: no assert in it: {text[:80]!r}")
    parts.bodies.append((_statements_text(_qualified(body)), False, ""))


def _read_hidden_items(text: str, where: str, parts: _HiddenParts) -> None:
    """A test module, `#[test]` functions or a `main`: every assert one test, everything else their helpers."""
    root = _parse(text)
    if root.has_error:
        raise ValueError(f"{where}: not Rust: {text[:80]!r}")
    items = _items(root)
    if not _holds_assert(root) and not any(item.has("should_panic") for item in items):
        raise ValueError(f"{where}: no assert in it: {text[:80]!r}")
    holders = [item for item in items if item.is_test or item.is_main]
    for item in items:
        if item in holders or item.owner or item.node.type == "mod_item":
            continue
        if item.node.type == "use_declaration" and item.name.split("::")[0] == "super" and item.name.endswith("*"):
            continue
        attributes = text.encode()[item.start_byte : item.node.start_byte].decode()
        parts.helpers.append(f"    {attributes}{_qualified(item.node)}")
    for item in holders:
        returns = _child(item.node, "return_type")
        suffix = f" -> {_text(returns)}" if returns is not None else ""
        bodies = _per_assert(item.node) if not suffix else None
        should_panic = item.has("should_panic")
        for body in bodies if bodies and not should_panic else [_statements_text(_qualified(_body(item.node)))]:
            parts.bodies.append((body, should_panic, suffix))


def _per_assert(function: Node) -> list[str]:
    """One body for each top-level statement that asserts: that statement after everything that does not assert."""
    body = _body(function)
    statements = [node for node in body.named_children if not node.type.endswith("comment")] if body else []
    mutable = {_text(node.next_named_sibling) for s in statements if s.type == "let_declaration"
               for node in s.named_children if node.type == "mutable_specifier" and node.next_named_sibling}  # fmt: skip
    shared: list[str] = []
    bodies: list[str] = []
    for statement in statements:
        text = _qualified(statement)
        if not _holds_assert(statement) or statement.type == "let_declaration":
            shared.append(text)
            continue
        bodies.append("\n".join([*shared, text]))
        words = {_text(node) for node in _walk(statement) if node.type == "identifier"}
        if words & mutable:
            shared.append(text)  # later asserts may rely on what this one changed
    return bodies


def _holds_assert(node: Node) -> bool:
    return any(_base_name(_text(_child(n, "macro"))) in ASSERT_MACROS for n in _walk(node)
               if n.type == "macro_invocation")  # fmt: skip


def _statements_text(block: str) -> str:
    return block.strip()[1:-1]


def _qualified(node: Node) -> str:
    """The node's text with the standard macros spelled `::std::name!`, which no macro of the program shadows."""
    base, edits = node.start_byte, []
    for found in _walk(node):
        if found.type == "macro_invocation":
            name = _child(found, "macro")
            edits.append(name) if _text(name) in STD_MACROS else None
        elif found.type == "identifier" and found.parent and found.parent.type == "token_tree":
            following, before = found.next_sibling, found.prev_sibling
            called = following is not None and following.type == "!" and _text(found) in STD_MACROS
            if called and not (before is not None and before.type == "::"):
                edits.append(found)
    return _edited(_text(node), [(e.start_byte - base, e.start_byte - base, "::std::") for e in edits])
