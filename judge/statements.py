"""Hidden tests that are statements, a `main` or a list of them: where their asserts are, and the text that is compiled.

The statements stay as they stand and in order, each with the state that the others left. Assert macros are those of
`judge/gate.rs`: they record how they end, by line and column, and go on. In front of every other statement that is a mere
expression goes a guard, so that one which panics or loops outside an assert can be left out of another run, too. Nothing is
moved, repeated or spelled in another way.

A place in the text is one test. It passes when it was evaluated, held each time, and the statement around it was not left by
a panic; one in a helper passes only if no statement was. Places in several arms of one `if` or `match` are alternatives: one
test together. `assert!(false)` is passed by not getting there. A helper's place counts if anything names the helper.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeVar

from judge.syntax import (
    ASSERT_MACROS,
    Node,
    body_of,
    child_of,
    edited,
    item_name,
    leaves_of,
    parse_rust,
    text_of,
    walk,
    words_of,
)

T = TypeVar("T")
Site = tuple[int, int]  # line and column (in characters) from 1 in the compiled source; column 0: a guard and its number
STRAIGHT, ELSEWHERE = 0, -1  # a statement of its own; in a helper, a closure, a text that the grammar does not know


@dataclass(frozen=True)
class AssertTest:
    """One test: an assert, or those that are alternatives of one another."""

    name: str  # "text0:3:5": the task's first text, line 3, column 5
    sites: tuple[Site, ...]  # one at least must be evaluated
    traps: tuple[Site, ...] = ()  # `assert!(false)`: none may be
    statement: int = STRAIGHT  # number of the guarded statement around it

    def moved(self, lines: int) -> AssertTest:
        """The same test where its text starts so many lines further down."""
        places = [tuple((line + lines, column) for line, column in group) for group in (self.sites, self.traps)]
        return replace(self, sites=places[0], traps=places[1])

    def is_reached(self, sites: Set[Site]) -> bool:
        """Whether it was evaluated, if only once."""
        return not self.sites or not sites.isdisjoint(self.sites)

    def failure(self, sites: Mapping[Site, T], held_first: Set[Site], runner: T) -> T | None:
        """What went wrong at its places or in the statement around it, if anything.

        A statement of its own counts as it was evaluated first: what is run again, because another one ended the run, may find
        what the first run left behind.

        sites: the worst ends, with a `status`, of what was evaluated, and of guarded statements that were left.
        held_first: those that held at first. runner: how the function ended that runs the statements.
        """
        around = [site for site in sites if site[1] == 0 and self.statement in (site[0], ELSEWHERE)]
        again = held_first if self.statement == STRAIGHT else ()
        ends = [sites[site] for site in (*self.sites, *self.traps, *around) if site in sites and site not in again]
        ends += [runner] if self.statement == ELSEWHERE or not self.sites else []
        return next((end for end in ends if end.status != "ok"), None)


@dataclass(frozen=True)
class Piece:
    """A text with guards, and its tests, in lines of its own."""

    text: str
    tests: tuple[AssertTest, ...]


def macros(crate: str) -> str:
    """The assert macros of the modules that follow; `crate`: under which name the program is linked with `judge/gate.rs`."""
    rules = [(name, f"record_{name.removeprefix('debug_')}") for name in ASSERT_MACROS]
    return "\n".join(f"    macro_rules! {name} {{ ($($t:tt)*) => {{ ::{crate}::{record}!($($t)*) }} }}" for name, record in rules)


def assert_tokens(root: Node) -> list[Node]:
    """The names of the assert macros that a text calls itself, and of its own macros that hold some, in order.

    By tokens, not by nodes of the tree: those in arguments of other macros, and beside what the grammar does not know, count.
    """
    nodes = [*walk(root)]
    definitions = [node for node in nodes if node.type == "macro_definition"]
    words = {item_name(node): {*words_of(node)} for node in definitions}
    asserting, n_before = set(ASSERT_MACROS), 0
    while len(asserting) > n_before:
        n_before = len(asserting)
        asserting |= {name for name, inside in words.items() if inside & asserting}
    leaves = leaves_of(root)
    names = [text_of(leaf) for leaf in leaves]
    calls = [n for n, name in enumerate(names[:-1]) if name in asserting and names[n + 1] == "!" and (not n or names[n - 1] != "::")]
    unnamed = [f for f in nodes if f.type == "function_item" and item_name(f) != "main" and names.count(item_name(f)) == 1]
    return [leaves[n] for n in calls if not any(_holds(outer, leaves[n]) for outer in (*definitions, *unnamed))]


def with_std_in_constants(text: str) -> str:
    """A text whose asserts that the compiler evaluates are std's: they hold where it compiles, and are no tests."""
    head, tail = _BODY
    tokens = assert_tokens(parse_rust(head + text + tail))
    edits = [(at := token.start_byte, at, "::std::") for token in tokens if _is_for_the_compiler(token)]
    return edited(head + text + tail, edits).removeprefix(head).removesuffix(tail) if edits else text


def _is_for_the_compiler(node: Node | None) -> bool:
    """Whether it is evaluated in compiling, or may be: in a constant, a static, a `const` block, a `const fn`; closures run later."""
    while node is not None and node.type != "closure_expression":
        if node.type == "function_item":
            return "const" in words_of(next((one for one in node.children if one.type == "function_modifiers"), None))
        if node.type in ("const_block", "const_item", "static_item"):
            return True
        node = node.parent
    return False


def piece_of_main(text: str, label: str, crate: str | None, numbers: Iterator[int], candidate: str) -> Piece:
    """A text with a `main`. `candidate`: what its body starts with. `crate`: see with_hidden_tests."""
    root = parse_rust(text)
    main = next(node for node in root.named_children if node.type == "function_item" and item_name(node) == "main")
    body, is_unit = body_of(main), child_of(main, "return_type") is None
    edits = [(body.start_byte + 1, body.start_byte + 1, candidate)]
    if crate is None:
        return Piece(edited(text, edits), ())
    return _piece(text, root, None if root.has_error else body, label, crate, numbers, edits, is_unit)


def piece_of_statements(texts: Mapping[str, str], crate: str | None, numbers: Iterator[int]) -> Piece:
    """A list of statements, in order: one that declares nothing which a later one uses can be left out as a whole."""
    if crate is None:
        return Piece("".join(f"{text}\n;\n" for text in texts.values()), ())
    lines, tests = "", []
    trees = [parse_rust(text.join(_BODY)) for text in texts.values()]
    declared = [_declared(tree) for tree in trees]
    wanted: list[set[str]] = [set()]  # by later ones: names that they use and do not declare themselves
    for tree, own in zip(reversed(trees), reversed(declared), strict=True):
        wanted.append(wanted[-1] | ({*words_of(tree), "*"} - own))
    wanted.reverse()
    for n, (label, text) in enumerate(texts.items()):
        body = body_of(trees[n].named_children[0]) if trees[n].named_children else None
        piece = _piece(text, trees[n], None if trees[n].has_error else body, label, crate, numbers, [], True, *_BODY)
        is_open = bool(declared[n] & wanted[n + 1])
        opening = "" if is_open else _guard(next(numbers), crate)
        tests += [test.moved(lines.count("\n") + 1) for test in piece.tests]
        lines += f"{opening}\n{piece.text}\n;{'' if is_open else '}'}\n"
    return Piece(lines, tuple(tests))


_BODY = ("fn main() {\n", "\n}")


def _piece(text: str, root: Node, body: Node | None, label: str, crate: str, numbers: Iterator[int],
           edits: Sequence[tuple[int, int, str]], is_unit: bool, head: str = "", tail: str = "") -> Piece:  # fmt: skip
    """The text with guards. `body`: its statements, None where the grammar does not know them; `head`, `tail`: around it in the tree."""
    tokens = assert_tokens(root)
    guards: list[tuple[Node, int]] = []
    around = dict.fromkeys((token.id for token in tokens), ELSEWHERE)
    if body is not None:
        _guard_statements(body, tokens, is_unit, numbers, guards, around)
    edits = [*edits]
    for node, number in guards:
        edits.append((node.start_byte, node.start_byte, _guard(number, crate)))
        edits.append((node.end_byte, node.end_byte, " }" if node.type == "expression_statement" else "; }"))
    whole = edited(head + text + tail, edits)
    before, after = places_of(tokens, head + text), places_of(assert_tokens(parse_rust(whole)), whole)
    n_head = head.count("\n")
    tests = _tests(root, tokens, label, n_head, before, after, around)
    return Piece(whole.removeprefix(head).removesuffix(tail), tuple(test.moved(-n_head) for test in tests))


def _guard(number: int, crate: str) -> str:
    return f"if let ::{crate}::Some(_statement) = ::{crate}::begin({number}, 0) {{ "


def _guard_statements(
    block: Node, tokens: Sequence[Node], is_unit: bool, numbers: Iterator[int], guards: list[tuple[Node, int]], around: dict[int, int]
) -> None:
    """Choose the statements to guard, outer before inner; note around which asserts they are, and which stand for themselves."""
    starts = [token.start_byte for token in tokens]
    last = next((s.id for s in reversed(block.named_children) if not s.type.endswith("comment")), None)
    uninitialised = {text_of(child_of(s, "pattern")) for s in block.named_children
                     if s.type == "let_declaration" and child_of(s, "value") is None}  # fmt: skip
    for statement in block.named_children:
        inner = statement.named_children[0] if statement.type == "expression_statement" and statement.named_children else statement
        inside = tokens[bisect_left(starts, statement.start_byte) : bisect_left(starts, statement.end_byte)]
        is_call = inner.type == "macro_invocation"
        if is_call and text_of(child_of(inner, "macro")) in ASSERT_MACROS and len(inside) == 1:
            around[inside[0].id] = STRAIGHT
            continue
        is_expression = inner.type.endswith(("_expression", "block")) and inner.type not in ("assignment_expression", "return_expression")
        is_marked = statement.prev_named_sibling is not None and statement.prev_named_sibling.type == "attribute_item"
        is_tail = not is_unit and statement.id == last and not text_of(statement).endswith(";")
        if not (is_expression or (is_call and inside)) or is_marked or is_tail or uninitialised & {*words_of(inner)}:
            continue
        number = next(numbers)
        guards.append((statement, number))
        around.update((token.id, number) for token in inside)
        if inner.type == "block":
            _guard_statements(inner, tokens, True, numbers, guards, around)


def _tests(
    root: Node, tokens: Sequence[Node], label: str, n_head: int, before: Sequence[Site], after: Sequence[Site], around: Mapping[int, int]
) -> Iterator[AssertTest]:
    """One test for every assert or group of alternatives, with its place in the text that is compiled."""
    groups: dict[int, list[int]] = {}
    branches = _branches(root, [token.start_byte for token in tokens])
    for n, token in enumerate(tokens):
        branch = next((branch.start_byte for branch in branches if _holds(branch, token)), token.start_byte)
        groups.setdefault(branch, []).append(n)
    for group in groups.values():
        is_trap = {n: _asserts_false(tokens[n]) for n in group}
        line, column = before[group[0]]
        yield AssertTest(
            name=f"{label}:{line - n_head}:{column}",
            sites=tuple(after[n] for n in group if not is_trap[n]),
            traps=tuple(after[n] for n in group if is_trap[n]),
            statement=next((around[tokens[n].id] for n in group if around[tokens[n].id] != STRAIGHT), STRAIGHT),
        )


def _branches(root: Node, starts: Sequence[int]) -> list[Node]:
    """Every `if` and `match` with asserts in two arms or more, outer before inner. `starts`: where asserts start, ascending."""

    def n_in(node: Node) -> int:
        return bisect_right(starts, node.end_byte) - bisect_left(starts, node.start_byte)

    found = []
    for node in walk(root):
        if node.type == "match_expression":
            arms = body_of(node).named_children
        elif node.type == "if_expression":
            arms = [arm for arm in (child_of(node, "consequence"), child_of(node, "alternative")) if arm is not None]
        else:
            continue
        if sum(n_in(arm) > 0 for arm in arms) > 1:
            found.append(node)
    return found


def _asserts_false(token: Node) -> bool:
    """Whether the macro called here is `assert!(false ..)`."""
    bang = token.next_sibling
    tree = bang.next_sibling if bang is not None else None
    first = tree.children[1] if tree is not None and len(tree.children) > 2 else None
    following = tree.children[2] if first is not None else None
    return text_of(token) in ASSERT_MACROS and text_of(first) == "false" and text_of(following) in (",", ")", "]", "}")


def places_of(nodes: Sequence[Node], source: str) -> list[Site]:
    """Line and column of every node of a source as rustc counts them."""
    lines = source.encode().split(b"\n")
    return [(row + 1, len(lines[row][:column].decode("utf-8", "replace")) + 1) for row, column in (n.start_point for n in nodes)]


def _declared(body: Node) -> set[str]:
    """Names that the top level of a body brings in; "*" for a glob import."""
    block = body_of(body.named_children[0]) if body.named_children else None
    found: set[str] = set()
    for statement in block.named_children if block is not None else ():
        if statement.type == "let_declaration":
            found |= {text_of(n) for n in leaves_of(child_of(statement, "pattern")) if n.type == "identifier"}
        elif statement.type == "use_declaration":
            found |= {text_of(n) for n in leaves_of(statement) if n.type in ("identifier", "type_identifier", "*")}
        elif statement.type.endswith(("_item", "_definition")):
            found.add(item_name(statement))
    return found


def _holds(outer: Node, inner: Node) -> bool:
    return outer.start_byte <= inner.start_byte and inner.end_byte <= outer.end_byte
