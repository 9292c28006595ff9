"""Guards: constructs that make a passing test worthless, and what each test is worth.

One job: an `Index` in, per test whether it counts and otherwise which guard refused it, and one guard for the whole program.
The names of the guards are those of `guard` in traces.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace

from judge.syntax import (
    ASSERT_MACROS,
    BINDERS,
    FAILING,
    TYPE_ITEMS,
    Index,
    Item,
    Node,
    Scope,
    all_items,
    attributes_of,
    base_name,
    body_of,
    child_of,
    harness_name,
    item_name,
    items_of,
    merge_key,
    split_tokens,
    text_of,
    tokens_inside,
    walk,
    words_of,
)

FORBIDDEN_WORDS = {
    "asm": "inline_assembly", "global_asm": "inline_assembly", "naked_asm": "inline_assembly",
    "from_raw_fd": "raw_descriptor", "borrow_raw": "raw_descriptor",
    "include": "includes_file", "include_str": "includes_file", "include_bytes": "includes_file",
}  # fmt: skip
FORBIDDEN_IN_ATTRIBUTES = {
    "clippy": "cfg_clippy", "no_main": "no_main", "no_mangle": "exported_symbol", "export_name": "exported_symbol",
    "link_section": "link_section", "custom_test_frameworks": "custom_harness", "reexport_test_harness_main": "custom_harness",
    "track_caller": "reads_call_site",
}  # fmt: skip
CALLED_LIKE_MACROS = ("asm", "global_asm", "naked_asm", "include", "include_str", "include_bytes")
TRUSTED_MACROS = (*ASSERT_MACROS, *FAILING, "matches")
EXITS = ("exit", "abort", "_exit", "exit_group")
EXIT_HEADS = ("process", "libc", "intrinsics")
HOOKS = ("set_hook", "take_hook", "update_hook", "always_abort")
HARNESS_PROBES = {"env": ("args", "args_os", "vars", "vars_os", "current_exe"), "Location": ("caller",),
                  "thread": ("current",), "Backtrace": ("capture", "force_capture")}  # fmt: skip


@dataclass(frozen=True)
class TestFn:
    """One `#[test]` function of the program."""

    __test__ = False  # not for pytest

    name: str  # as the harness lists it, e.g. "tests::adds"
    should_panic: bool
    counted: bool  # it can fail depending on what the program's own code returns
    guard: str | None  # why it is not counted; None when it is, and for should_panic tests
    marked: bool = False  # all its counted assertions are in `Program.assert_sites`: one of them must be reached
    sites: frozenset[tuple[int, int]] = frozenset()  # of its counted assertions, but for `assert!(false)`
    asserts: frozenset[str] = frozenset()  # its distinct assertions that have to do with the program


def forbidden_construct(index: Index, allowed: Sequence[str] = ()) -> str | None:
    """The first forbidden construct, in code and in macros alike."""
    for node in index.nodes:
        found = _forbidden_node(node) or _forbidden_attribute(node, index, allowed)
        if found is not None and found not in allowed:
            return found
    words = index.words(index.root)
    for position, word in enumerate(words):
        found = _forbidden_word(word, words[position + 1 : position + 6])
        is_own = word in index.macros and words[position - 1 : position] != ["::"]
        if found is not None and found not in allowed and not is_own:
            return found
    return None


def _forbidden_node(node: Node) -> str | None:
    kind = node.type
    if kind == "string_content" and text_of(node).startswith(("/proc/", "/dev/fd")):
        return "raw_descriptor"
    if kind == "foreign_mod_item":
        return "foreign_function"
    if kind == "macro_definition" and item_name(node) in TRUSTED_MACROS:
        return "redefined_assert_macro"
    if kind == "use_as_clause" and text_of(child_of(node, "alias")) in TRUSTED_MACROS:
        return "redefined_assert_macro"
    return None


def _forbidden_attribute(node: Node, index: Index, allowed: Sequence[str]) -> str | None:
    """A word of FORBIDDEN_IN_ATTRIBUTES in an attribute, in `cfg!`, or where a macro of the program may make one of it."""
    makes_one = node.type in ("attribute_item", "inner_attribute_item", "macro_definition")
    if node.type == "macro_invocation":
        makes_one = text_of(child_of(node, "macro")) in ("cfg", *index.macros)
    words = index.words(node) if makes_one else []
    for word, following in zip(words, [*words[1:], ""], strict=False):
        found = FORBIDDEN_IN_ATTRIBUTES.get(word)
        if found == "reads_call_site" and {"Location", *HOOKS}.isdisjoint(index.words(index.root)):
            continue  # nothing asks where it was called
        if found is not None and found not in allowed and (word, following) != ("clippy", "::"):  # that is a lint's name
            return found
    return None


def _forbidden_word(word: str, after: list[str]) -> str | None:
    if word in CALLED_LIKE_MACROS and after[:1] != ["!"]:
        return None
    if word == "macro_rules" and after[:1] == ["!"] and (after[1:2] or [""])[0].startswith(("$", *TRUSTED_MACROS)):
        return "redefined_assert_macro"
    if word == "extern" and next((w for w in after if w in ("{", "fn", "crate")), "") == "{":
        return "foreign_function"
    return FORBIDDEN_WORDS.get(word)


def _switched_by_cfg(index: Index) -> bool:
    """Code that is another under test: `cfg(test)` inside the program, or two versions of an item."""
    only_plain = {merge_key(i) for i in index.items if i.in_plain and not i.in_test and not i.is_main}
    only_test = {merge_key(i) for i in index.items if i.in_test and not i.in_plain}
    if {(kind, name.split("::")[-1]) for kind, name in only_plain} & {(k, n.split("::")[-1]) for k, n in only_test}:
        return True
    bodies = [item.node for items in index.own.values() for item in items]
    bodies += [index.macros[name] for name in index.own_macros]
    return any(_asks_for_test(index.words(body)) for body in bodies)


def _asks_for_test(words: list[str]) -> bool:
    """`cfg(test)`, `cfg!(test)` or `cfg_attr(test, ..)` among the tokens, however it is nested; tests are debug builds, too."""
    for position, word in enumerate(words):
        if word in ("cfg", "cfg_attr"):
            depth = 0
            for inner in words[position + 1 :]:
                depth += (inner in "([{") - (inner in ")]}")
                if inner in ("test", "debug_assertions"):
                    return True
                if depth == 0 and inner != "!":
                    break
    return False


def _reached_guard(index: Index) -> str | None:
    """Exits, panic hooks and looks at the harness in code that tests can reach."""
    named: dict[str, list[tuple[str, ...]]] = {}  # a name may be imported in several places: each may be meant
    for found in index.imports:
        named.setdefault(found.name, []).append(found.path)
    for body in _reached(index):
        words = index.words(body)
        if "var" in words or "var_os" in words:
            names = [text_of(n) for n in walk(body) if n.type == "string_content"]
            if any(name.startswith(("CARGO", "RUST", "NEXTEST")) for name in names):
                return "detects_harness"
        for position, word in enumerate(words):
            before, after = words[position - 1] if position else "", words[position + 1 : position + 2]
            paths = []
            if before == "::":
                head = words[position - 2] if position > 1 else ""
                paths = [(module, word) for module in (head, *(path[-1] for path in named.get(head, ())))]
            elif before != "." and word not in index.own and after != [":"]:  # a name by itself: what it was imported as
                paths = [path[-2:] for path in named.get(word, ()) if len(path) > 1]
                paths += [(path[-1], word) for path in named.get("*", ()) if after == ["("]]
            found = next(filter(None, (_reached_path(*path) for path in paths)), None)
            if word in HOOKS and word not in index.own:
                found = "panic_hook"
            if word in ("option_env", "env") and after == ["!"] and word not in index.macros:
                found = "detects_harness"
            if found is not None:
                return found
    return None


def _reached_path(head: str, name: str) -> str | None:
    if name in EXITS and head in EXIT_HEADS:
        return "process_exit"
    return "detects_harness" if name in HARNESS_PROBES.get(head, ()) else None


def _reached(index: Index) -> list[Node]:
    """Bodies that the tests may run: by name from the tests; trait methods and constants run without being named."""
    named: dict[str, list[Node]] = {name: [node] for name, node in index.macros.items()}
    methods: dict[str, list[Node]] = {}
    for items in [*index.own.values(), *index.helpers.values()]:
        for item in items:
            named.setdefault(item.name, []).append(item.node)
            methods.setdefault(item.name, []).extend([item.node] if item.owner else [])
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
        name = child_of(node, "name")
        for word in walk(node):
            text = text_of(word) if word.type in ("identifier", "field_identifier") else ""
            if text not in named or word == name:
                continue
            is_method = word.type == "field_identifier" or (word.prev_sibling is not None and text_of(word.prev_sibling) == ".")
            stack += methods.get(text, ()) if is_method else named[text]  # `game.run()` is no call of a function `run`
    return reached


def has_constant_comparison(index: Index) -> bool:
    """A hand-written `eq`, `ne` or ordering that gives the same answer whatever it compares."""
    for node in index.nodes:
        trait = base_name(text_of(child_of(node, "trait"))) if node.type == "impl_item" else ""
        if trait not in ("PartialEq", "PartialOrd", "Ord"):
            continue
        for item in items_of(body_of(node) or node, Scope()):
            if item.name in ("eq", "ne", "partial_cmp", "cmp", "lt", "le", "gt", "ge") and _ignores_both(item):
                return True
    return False


def _ignores_both(method: Item) -> bool:
    """Whether a comparison reads no side of it, or is an expression of `==`, `!=`, `&&`, `||`, `!` that comes to one answer."""
    body = body_of(method.node)
    sides = [text_of(n) for p in parameters_of(method.node) for n in walk(p) if n.type in ("identifier", "self")]
    if body is None or not _uses(body, sides):
        return body is not None
    statements = [n for n in body.named_children if not n.type.endswith("comment")]
    facts: dict[str, bool] = {}
    if len(statements) != 1 or not _holds(statements[0], facts) or len(facts) > MAX_FACTS:
        return False
    return all(_holds(statements[0], dict(zip(facts, world))) for world in itertools.product((True, False), repeat=len(facts)))


MAX_FACTS = 6


def _holds(node: Node, facts: dict[str, bool]) -> bool:
    """A condition where `facts` hold; what is not among them is added, as true."""
    inner = [n for n in node.named_children if not n.type.endswith("comment")]
    if node.type in ("parenthesized_expression", "expression_statement") and inner:
        return _holds(inner[0], facts)
    if node.type == "unary_expression" and text_of(node).startswith("!"):
        return not _holds(inner[0], facts)
    operator = text_of(child_of(node, "operator")) if node.type == "binary_expression" else ""
    if operator in ("&&", "||"):
        left, right = _holds(inner[0], facts), _holds(inner[1], facts)
        return left and right if operator == "&&" else left or right
    if operator in ("==", "!="):
        same = text_of(inner[0]) == text_of(inner[1]) or facts.setdefault(" == ".join(sorted(map(text_of, inner))), True)
        return same == (operator == "==")
    return facts.setdefault(text_of(node), True)


OPERATORS = frozenset("PartialEq PartialOrd Deref Index Not Neg Add Sub Mul Div Rem BitAnd BitOr BitXor Shl Shr".split())


def answers_in_own_type(index: Index, called: Set[str], named: Set[str]) -> bool:
    """Whether one of the functions `called` returns a type that nobody asked for (its name is not `named`), with operators of its own.

    Such an answer can agree with whatever a hidden test compares it to. The error of a `Result` may be of any type.
    """
    operators = OPERATORS | {found.name for found in index.imports if found.path[-1] in OPERATORS}
    own = {item.name: item.node for item in index.items if item.node.type in TYPE_ITEMS and item.name not in named}
    returned: set[str] = set()
    for item in index.items:
        if item.node.type == "function_item" and item.name in called:
            words = _answer_words(child_of(item.node, "return_type"))
            for alias in [own[word] for word in words if word in own and own[word].type == "type_item"]:
                words |= _answer_words(child_of(alias, "type"))
            if words & operators:  # `impl PartialEq<i32>`
                return True
            returned |= words & own.keys()
    if not returned:
        return False
    if any("impl" in words_of(node) for node in index.macros.values()):
        return True
    written = (node for node in index.nodes if node.type == "impl_item" and operators & {*words_of(child_of(node, "trait"))})
    return any(returned & {*words_of(child_of(node, "type"))} for node in written)


def _answer_words(node: Node | None) -> set[str]:
    """The words of a type, of a `Result` those of its value."""
    arguments = child_of(node, "type_arguments") if node is not None and node.type == "generic_type" else None
    if arguments is not None and text_of(child_of(node, "type")).endswith("Result") and arguments.named_children:
        return {*words_of(arguments.named_children[0])}
    return {*words_of(node)}


# -- what reading tells about the tests --------------------------------------------------------------------------------

MAX_KEYS = 3  # inputs that a function may name before it counts as a look-up table
FOLLOWED = ("for_expression", "while_expression", "loop_expression", "closure_expression", "call_expression")
LITERALS = ("integer_literal", "float_literal", "string_literal", "raw_string_literal", "char_literal")


@dataclass(frozen=True)
class Worth:
    tests: tuple[TestFn, ...]
    calls: frozenset[str]  # the program's functions that these tests name
    sites: frozenset[tuple[int, int]]  # of the assert macros among them
    closed: frozenset[str]  # of the listed functions, those that hold nothing else, not even what they are asked
    listed: frozenset[str]  # functions that hold what the tests expect: worthless if they say the same of all other inputs


def worth_of(index: Index) -> Worth:
    """What reading tells about the tests. Whether a test notices anything is found out by running it (`rust_tool.py`)."""
    reader = _Reader(index)
    tests, codes, calls, sites = [], [], set(), set()
    in_file = {node.id for node in index.nodes}  # not so what the program's macros expand to
    for item in index.tests:
        code = reader.code_of(item)
        guard = reader.guard(item, code)
        counted = guard is None and not item.has("should_panic")
        found = [n for node in code for n in walk(node) if _is_assert(n)]
        asserts = frozenset(reader.asserts_of(code, found) if counted else ())
        if counted:
            codes += code
            calls |= reader.named(code)
            sites |= {(n.start_byte, n.end_byte) for n in found if n.id in in_file and not _in_constant(n)}
        own_sites = frozenset((n.start_byte, n.end_byte) for n in found if words_of(n.children[-1])[1:2] != ["false"])
        fails_otherwise = any({*FAILING, *index.macros} & set(index.words(node)) for node in code)
        marked = counted and bool(found) and all(n.id in in_file for n in found) and not fails_otherwise
        tests.append(TestFn(harness_name(item), item.has("should_panic"), counted, guard, marked, own_sites, asserts))
    panicking = {word for item in index.tests if item.has("should_panic") for word in index.words(item.node)}  # what they ask is not listed
    listing = [item for name in calls - panicking for item in index.own[name] if reader.lists_answers(item, codes)]
    closed = {item.name for item in listing if reader.is_closed(item, codes)}
    asked = [item for name in calls for item in index.own[name] if reader.asked(item)]
    if asked and all(reader.is_nothing_but_a_list(item, codes) for item in asked):
        tests = [replace(test, counted=False, guard="hard_coded_answer", asserts=frozenset()) if test.counted else test for test in tests]
    return Worth(tuple(tests), frozenset(calls), frozenset(sites), frozenset(closed), frozenset(i.name for i in listing))


def n_asserts(tests: Iterable[TestFn]) -> int:
    """How many distinct assertions tests hold together."""
    return len(frozenset().union(*(test.asserts for test in tests)))


class _Reader:
    """What the tests name, and what the functions that they name look at."""

    def __init__(self, index: Index) -> None:
        self.index = index
        functions = [item for items in index.own.values() for item in items]
        fixed = {i.name for i in functions if not i.trait and self._is_fixed(i)}
        self.fixed = fixed - {i.name for i in functions if i.trait}  # functions that look at nothing they are given
        self.has_questions = any(self.asked(item) for item in functions)

    def asked(self, item: Item) -> list[Node]:
        """A function's parameters but `self`."""
        return [p for p in parameters_of(item.node) if p.type != "self_parameter"]

    def _is_fixed(self, item: Item) -> bool:
        body = body_of(item.node)
        names = [text_of(n) for p in self.asked(item) for n in walk(child_of(p, "pattern") or p) if n.type == "identifier"]
        if not self.asked(item) or "&mut" in "".join(map(text_of, parameters_of(item.node))):
            return False
        hands_back = len(names) > 1 and len(body.named_children) == 1 and text_of(body.named_children[0]) in names
        return hands_back or not _uses(body, names)

    def code_of(self, test: Item) -> list[Node]:
        """A test and the helpers and macros that it names, and those that they name."""
        found, stack, seen = [], [test.node], {test.node.id}
        while stack:
            found.append(stack.pop())
            for word in sorted(set(self.index.words(found[-1]))):
                more = [item.node for item in self.index.helpers.get(word, ()) if not item.is_test]
                more += [item.node for item in self.index.own.get(word, ()) if self._only_asserts(item)]
                more += [self.index.macros[word]] if word in self.index.macros else []
                stack += [node for node in more if node.id not in seen]
                seen |= {node.id for node in more}
        return found

    def _only_asserts(self, item: Item) -> bool:
        """Whether a function outside the tests is a helper of theirs."""
        has_assert = not {*ASSERT_MACROS, *FAILING}.isdisjoint(self.index.words(item.node))
        return has_assert and child_of(item.node, "return_type") is None and not item.owner

    def named(self, code: Sequence[Node]) -> set[str]:
        return {word for node in code for word in self.index.words(node)} & set(self.index.own)

    def guard(self, item: Item, code: Sequence[Node]) -> str | None:
        """Why a test is worth nothing, as far as reading tells."""
        words = {word for node in code for word in self.index.words(node)}
        if item.has("ignore"):
            return "ignored"
        if item.has("should_panic"):
            return None
        reports = "Err" in words and any(child_of(node, "return_type") is not None for node in code)
        if not reports and not words & {*ASSERT_MACROS, *FAILING} and child_of(item.node, "return_type") is None:
            return "no_asserts"
        copies = self._copies(code)
        if copies:  # the function once more
            told = self._bound_from(code, copies)
            sides = [set(words_of(n)) for node in code for n in walk(node) if _is_assert(n)]
            return "tautological_assert" if all(said & told for said in sides if said & (told | set(self.index.own))) else None
        named = self.named(code)
        expected = [n for word in words for c in self.index.constants.get(word, ()) if c.test_side for n in self.named([c.node])]
        if named and named <= set(expected):
            return "tautological_assert"  # what the function gave is what it should give
        return "hard_coded_answer" if self._asks_nothing(named) else None

    def _asks_nothing(self, named: Set[str]) -> bool:
        """Whether all functions that a test names ignore what they are asked, or are constants beside others that are asked."""
        items = [item for name in named for item in self.index.own[name] if not item.trait]
        asked = [item for item in items if self.asked(item)]
        if asked:
            return all(item.name in self.fixed for item in asked)
        return bool(items) and self.has_questions and not any(item.owner for item in items)

    def _copies(self, code: Sequence[Node]) -> set[str]:
        """Names of helpers and closures of the tests that repeat a function of the program."""
        found = [n for node in code for n in walk(node) if n.type in ("function_item", "closure_expression") and self.index.is_copy(n)]
        return {text_of(child_of(n, "name") or child_of(n.parent, "pattern")) for n in found if n.parent is not None} - {""}

    def _bound_from(self, code: Sequence[Node], known: set[str]) -> set[str]:
        """Names, and those of variables that get their value from them."""
        bound = [(child_of(n, "pattern"), set(words_of(child_of(n, "value")))) for node in code for n in walk(node)
                 if n.type in BINDERS and child_of(n, "value") is not None]  # fmt: skip
        while True:
            more = {text_of(i) for p, words in bound if known & words for i in walk(p) if i.type == "identifier"}
            if more <= known:
                return known
            known = known | more

    def asserts_of(self, code: Sequence[Node], found: Sequence[Node]) -> set[str]:
        """Assertions of something else than literals, not the same on both sides; the test itself where it has another form."""
        plain = {text_of(child_of(n, "pattern")) for node in code for n in walk(node) if n.type == "let_declaration"
                 and "mut" not in words_of(n) and not any(i.type == "identifier" for i in walk(child_of(n, "value") or n))}  # fmt: skip
        texts = {}
        for node in found:
            sides = frozenset("".join(map(text_of, side)) for side in split_tokens(tokens_inside(node.children[-1]))[:2])
            names = {text_of(n) for n in walk(node.children[-1]) if n.type in ("identifier", "self")} - plain
            if names and (len(sides) > 1 or text_of(child_of(node, "macro")).endswith("assert")):
                texts.setdefault(sides, "".join(text_of(node).split()))
        return set(texts.values()) or {text_of(code[0])}

    def _literals(self, item: Item) -> set[str]:
        """A function's literals, those of constants that it names included."""
        nodes = [body_of(item.node)]
        nodes += [c.node for word in self.index.words(item.node) for c in self.index.constants.get(word, ())]
        return {_literal(n) for node in nodes for n in walk(node) if n.type in LITERALS}

    def lists_answers(self, item: Item, code: Sequence[Node]) -> bool:
        """Whether all that the tests expect stands in a function as a literal; or all that they ask, where they expect none."""
        held, (inputs, expected) = self._literals(item), self._told(code)
        if expected - NEUTRAL:
            return expected <= held | NEUTRAL
        return bool(held) and inputs <= held <= inputs | expected and len(held) <= MAX_KEYS

    def is_closed(self, item: Item, code: Sequence[Node]) -> bool:
        """Whether a list of answers names none that the tests do not, and not what it is asked for: a table has its keys."""
        inputs, others = self._told(code)
        return _answers(item.node) <= inputs | others | NEUTRAL and self._literals(item).isdisjoint(inputs - NEUTRAL)

    def is_nothing_but_a_list(self, item: Item, code: Sequence[Node]) -> bool:
        """Whether a function chooses among literals that the tests ask and expect, and does nothing else: no loop, no call."""
        held, (inputs, expected) = self._literals(item), self._told(code)
        kinds = {n.type for n in walk(item.node) if n.type != "call_expression" or not _is_plain_call(n)}
        is_choice = bool(kinds & {"if_expression", "match_expression"}) and not kinds & set(FOLLOWED)
        is_told = bool(inputs) and inputs <= held and held - NEUTRAL <= inputs | expected and expected <= held | NEUTRAL
        return is_choice and is_told and bool(_answers(item.node) & expected)

    def _told(self, code: Sequence[Node]) -> tuple[set[str], set[str]]:
        """Literals that the tests hand to the program's functions, and all their others."""
        inputs, others = set(), set()
        for node in code:
            for leaf in walk(node):
                if leaf.type in LITERALS:
                    (inputs if self._is_argument(leaf, node) else others).add(_literal(leaf))
        return inputs, others

    def _is_argument(self, leaf: Node, root: Node) -> bool:
        node = leaf
        while node.parent is not None and node.id != root.id:
            before = node.prev_sibling
            if node.type in ("token_tree", "arguments") and before is not None:
                name = text_of(before).split("::")[-1].split(".")[-1]
                if name in self.index.own:
                    return True
                if before.type == "!" or name.startswith("assert"):
                    return False
            node = node.parent
        return False


SKIPPED = ("match_pattern", "closure_expression")
ARITHMETIC = ("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>")
NEUTRAL = frozenset({"0", "1", "0.0", "1.0", ""})


def _is_plain_call(call: Node) -> bool:
    """`Some(4)`, `x.to_string()`: no more than another form of what it is called on."""
    return not any(n.type in ("identifier", "self") for a in (child_of(call, "arguments"),) if a is not None for n in walk(a))


def _literal(node: Node) -> str:
    text = text_of(node)
    if node.type in ("integer_literal", "float_literal"):
        return re.sub(r"_|(?<=[\d.])[iuf]\d+$|(?<=\d)usize$|(?<=\d)isize$", "", text)
    return text.strip("r#\"'")


def _uses(body: Node, names: Sequence[str]) -> bool:
    """Whether a body reads one of the names for more than `let _ = name;`, or takes it into a format string."""
    for node in walk(body):
        if node.type == "string_content" and any("{" + name in text_of(node) for name in names):
            return True
        if node.type in ("identifier", "self") and text_of(node) in names and not _is_forgotten(node):
            return True
    return False


def _is_forgotten(name: Node) -> bool:
    parent = name.parent
    return parent is not None and parent.type == "let_declaration" and text_of(child_of(parent, "pattern")).startswith("_")


def _is_assert(node: Node) -> bool:
    return node.type == "macro_invocation" and base_name(text_of(child_of(node, "macro"))) in ASSERT_MACROS


def _answers(function: Node) -> set[str]:
    """Literals that stand neither in what is decided on (conditions, what a match looks at, its patterns) nor in arithmetic or a
    closure."""
    found, left = set(), [function]
    while left:
        node = left.pop()
        if node.type in LITERALS:
            found.add(_literal(node))
        elif not (node.type == "binary_expression" and text_of(child_of(node, "operator")) in ARITHMETIC or node.type in SKIPPED):
            decided = [child_of(node, "condition"), child_of(node, "value") if node.type == "match_expression" else None]
            left += [child for child in node.children if child not in decided]
    return found


def _in_constant(node: Node) -> bool:
    while node is not None:
        if node.type in ("const_block", "const_item", "static_item"):
            return True
        node = node.parent
    return False


def parameters_of(node: Node) -> list[Node]:
    parameters = child_of(node, "parameters")
    listed = parameters.children if parameters is not None else []
    return [one for one in listed if (one.is_named or one.type == "_") and not one.type.endswith(("comment", "attribute_item"))]


def program_guard(index: Index, worth: Worth) -> str | None:
    """A construct anywhere in the file that no honest answer needs, or why no test counts."""
    guard = forbidden_construct(index, allowed=("reads_call_site",)) or ("cfg_switched_program" if _switched_by_cfg(index) else None)
    guard = guard or ("constant_comparison" if has_constant_comparison(index) else None) or _reached_guard(index)
    if guard is not None:
        return guard
    if not worth.tests:
        return "no_tests"
    if any(test.counted for test in worth.tests):
        return "unimplemented_function" if _leaves_work_undone(index, worth) else None
    return next((test.guard for test in worth.tests if test.guard), "should_panic_only")


def _leaves_work_undone(index: Index, worth: Worth) -> bool:
    """Whether a function that the tests do not look at is nothing but `todo!()`: they test something else."""
    traits = {item.name for item in index.items if item.node.type == "trait_item"}
    for items in index.own.values():
        for item in items:
            body = body_of(item.node)
            words = words_of(body)[1:-1] if not item.trait and item.name not in worth.calls else []
            if words[:1] in (["todo"], ["unimplemented"]) and words[1:2] == ["!"] and len(words) < 12:
                return not item.owner or item.owner not in traits
    return False


QUIET_LINTS = ("dead_code", "non_snake_case", "non_camel_case_types", "non_upper_case_globals", "unsafe_code")


def has_silenced_lints(index: Index) -> bool:
    """Whether the program switches off lints beyond dead code and naming, anywhere but in its tests."""
    test_ranges = [(i.start_byte, i.node.end_byte) for i in all_items(index.root) if i.test_side]
    for node in index.nodes:
        if node.type not in ("attribute_item", "inner_attribute_item"):
            continue
        if any(start <= node.start_byte < end for start, end in test_ranges):
            continue
        for attribute in attributes_of(node):
            lints = {"".join(map(text_of, part)) for part in split_tokens(attribute.tokens)}
            if attribute.path in ("allow", "expect") and lints - set(QUIET_LINTS):
                return True
    return False
