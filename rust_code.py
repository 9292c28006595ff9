"""Read a completion: its Rust program, its tests, and what those tests are worth.

One job: completion text in, `Program` out. Nothing is compiled or run here; everything about Rust goes through
tree-sitter. `rust_tool.py` compiles what `extract_program`, `panic_stubbed` and `with_hidden_tests` return.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import tree_sitter
import tree_sitter_rust

MAX_SOURCE_BYTES = 64 * 1024  # a 4,096-token completion is about 16 KiB
MAX_RAW_STRINGS = 400  # the grammar reads every unclosed raw string to the end of the file
MAX_DEPTH = 300  # nesting of syntax nodes; rustc gives up long before
MAX_HIDDEN_TESTS = 2000

RUST_TAGS = ("rust", "rs")
ASSERT_MACROS = ("assert", "assert_eq", "assert_ne", "debug_assert", "debug_assert_eq", "debug_assert_ne")
# Method names whose panic would abort the process instead of failing the test.
UNSTUBBABLE = {"Drop": ("drop",), "GlobalAlloc": ("alloc", "dealloc", "realloc", "alloc_zeroed"), "Debug": ("fmt",)}
STUB = ' if true { ::std::panic!("stubbed") }'


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
    silences_clippy: bool


@dataclass(frozen=True)
class HiddenSuite:
    """A program with a task's tests appended as a module of its own."""

    source: str
    test_names: tuple[str, ...]  # one per assert, e.g. "hidden_1f0c::tests::t0", in the task's order


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
    for line in text.replace("\r\n", "\n").split("\n"):
        mark = line.strip().lower()
        if mark == "</think>" or (thinking and "</think>" in mark):
            # Some chat templates put the opening tag into the prompt: everything so far was thinking.
            blocks, fence, thinking = [], None, False
        elif thinking:
            continue
        elif fence is None:
            thinking = mark.startswith("<think>") and "</think>" not in mark
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


def _parse(source: str) -> Node:
    """Parse Rust; never raises. Text beyond the limits parses as an empty file."""
    data = source.encode()
    if len(data) > MAX_SOURCE_BYTES or source.count("r#") > MAX_RAW_STRINGS:
        data = b""
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language())).parse(data).root_node


def _too_long(source: str) -> bool:
    return len(source.encode()) > MAX_SOURCE_BYTES or source.count("r#") > MAX_RAW_STRINGS


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


def _items(root: Node) -> list[Item]:
    """Every item of the file in source order; those nested in function bodies are not items here."""
    found: list[Item] = []
    stack = [(root, _Scope())]
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
    items = _items(root)
    tests = [item for item in items if item.is_test and item.in_test]
    return Program(
        source=source,
        functions=tuple(item.name for item in items if item.is_own_function),
        test_names=tuple(_harness_name(item) for item in tests),
        n_asserts=0,
        has_test_block=_has_test_block(items),
        guard=None,
        code_block=code_block,
        tests=(),
        silences_clippy=False,
    )


def _harness_name(item: Item) -> str:
    return "::".join((*item.modules, item.name))


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
    if not new and old:
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


def panic_stubbed(program: Program) -> str | None:
    """Return the source with a panic as first statement of the program's functions; None when it has none.

    Bodies are kept, so that `impl Trait` and inferred types still compile, and so are line numbers. The panic is
    `if true { ::std::panic!("stubbed") }`: a plain literal, which const functions allow, and nothing that a
    `deny(warnings)` in the program could object to. Not stubbed: `main`, tests and their helpers, `Drop::drop` and
    allocators (a panic there aborts), `Debug::fmt` (it runs while a failing assertion prints its message) unless
    there is nothing else. A function called in a const context makes the result uncompilable.
    """
    own = [item for item in _items(_parse(program.source)) if item.is_own_function and _body(item.node) is not None]
    chosen = [item for item in own if item.name not in UNSTUBBABLE.get(item.trait, ())] or own
    if not chosen:
        return None
    edits = [(at, at, STUB) for at in (_body_start(item.node) for item in chosen)]
    return _edited(program.source, edits)


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
    return HiddenSuite(source=text + "\n", test_names=tuple(names))


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
