"""Guards: constructs that make a passing test worthless, and what each test is worth.

One job: an `Index` in, per test whether it counts and otherwise which guard refused it, and one guard for the whole program.
The names of the guards are those of `guard` in traces.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from rust_checks import FUEL, MAX_KEYS, Check, TestRun, parameters_of, signature_of
from rust_syntax import (
    ASSERT_MACROS,
    FAILING,
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
    plain_enums,
    split_tokens,
    text_of,
    walk,
    words_of,
)
from rust_terms import NUMBER_TYPES, PLAIN_OPS, SAMPLE_NUMBERS, SAMPLES, UNSIGNED_TYPES, Terms, draw_for, is_number, truth_of

FORBIDDEN_WORDS = {
    "clippy": "cfg_clippy",
    "no_main": "no_main", "no_mangle": "exported_symbol", "export_name": "exported_symbol",
    "link_section": "link_section", "custom_test_frameworks": "custom_harness",
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


def _construct_guard(index: Index) -> str | None:
    """A construct anywhere in the file that no honest answer needs."""
    return (
        forbidden_construct(index)
        or ("cfg_switched_program" if _switched_by_cfg(index) else None)
        or ("constant_comparison" if has_constant_comparison(index) else None)
        or _reached_guard(index)
    )


def forbidden_construct(index: Index, allowed: Sequence[str] = ()) -> str | None:
    """The first forbidden construct, in code and in macros alike."""
    for node in index.nodes:
        found = _forbidden_node(node)
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
    words = [text_of(n) for n in walk(node) if n.type in ("identifier", "crate", "self", "super")]
    named = any(word in TRUSTED_MACROS for word in words)
    return "redefined_assert_macro" if named and words[0] not in ("std", "core") else None


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


def _reached_guard(index: Index) -> str | None:
    """Exits, panic hooks and looks at the harness in code that tests can reach."""
    heads = {*EXIT_HEADS, *(new for new, old in index.aliases.items() if old in EXIT_HEADS)}
    imported = {text_of(n) for u in index.nodes if u.type == "use_declaration" and "process" in text_of(u)
                for n in walk(u) if n.type == "identifier"}  # fmt: skip
    glob = any(u.type == "use_wildcard" and "process" in text_of(u) for u in index.nodes)
    exits = {name for name in EXITS if name in imported or glob}
    exits |= {new for new, old in index.aliases.items() if old in EXITS}
    for body in _reached(index):
        words = index.words(body)
        if "var" in words or "var_os" in words:
            names = [text_of(n) for n in walk(body) if n.type == "string_content"]
            if any(name.startswith(("CARGO", "RUST", "NEXTEST")) for name in names):
                return "detects_harness"
        for position, word in enumerate(words):
            head = words[position - 2] if position > 1 and words[position - 1] == "::" else ""
            found = _reached_word(word, head, heads, exits, words[position + 1 : position + 2], index)
            if found is not None:
                return found
    return None


def _reached_word(word: str, head: str, heads: set[str], exits: set[str], after: list[str],
                  index: Index) -> str | None:  # fmt: skip
    if word in EXITS and head in heads or word in exits and word not in index.own and not head and after != [":"]:
        return "process_exit"
    if word in HOOKS and word not in index.own:
        return "panic_hook"
    reads_environment = word in ("option_env", "env") and after == ["!"] and word not in index.macros
    if word in HARNESS_PROBES.get(head, ()) or reads_environment:
        return "detects_harness"
    return None


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
            if item.name in ("eq", "ne", "partial_cmp", "cmp", "lt", "le", "gt", "ge") and _ignores_both(item, index):
                return True
    return False


def _ignores_both(method: Item, index: Index) -> bool:
    terms = Terms()
    run = TestRun(index, terms, [2000])
    sides = [terms.make("unset", "self", own=True), terms.make("unset", "other", own=True)]
    value = run.inline(method.node, sides, [{}])
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


@dataclass(frozen=True)
class _Body:
    """A function of the program seen from inside: its result as a term over its parameters."""

    item: Item
    terms: Terms
    parameters: tuple[int, ...]
    names: tuple[str, ...]
    result: int
    closures: tuple[str, ...]  # texts


def _read_body(item: Item, index: Index, fuel: list[int]) -> _Body:
    terms = Terms()
    nodes = parameters_of(item.node)
    parameters = tuple(terms.make("unset", f"parameter {position}", own=True) for position in range(len(nodes)))
    run = TestRun(index, terms, fuel)
    run.modules, run.keeps_panics = item.modules, True
    result = run.inline(item.node, list(parameters), [{}])
    names = tuple(text_of(n) for node in nodes for n in walk(node) if n.type in ("identifier", "self"))
    return _Body(item, terms, parameters, names, result, tuple(text_of(node) for node, _, _ in run.closures))


def _answers_regardless(body: _Body) -> bool:
    """Whether the result ignores every parameter. What was not understood counts as depending on what it mentions."""
    terms = body.terms
    zero = terms.const(0)
    forgotten = {t for t in range(len(terms.rows)) if terms.op(t) == "*" and {zero, terms.const(0.0)} & set(terms.children(t))}
    for term in terms.reachable(body.result, forgotten):
        op, payload, _ = terms.rows[term]
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
    kinds = {text_of(child_of(parameter, "type")) for parameter in parameters_of(body.item.node)}
    if not kinds <= {*NUMBER_TYPES, *UNSIGNED_TYPES} or body.result in body.parameters:
        return False
    if any(body.terms.op(t) in ("ite", "and", "not", "eq", "lt", "is", "loop", "own", "fnref") for t in order):
        return False
    numbers = [v for v in map(body.terms.constant, order) if is_number(v)] + list(SAMPLE_NUMBERS)
    values = set()
    for seed in range(SAMPLES):
        inputs = {p: numbers[draw_for(seed, p) % len(numbers)] for p in body.parameters}
        values.add(repr(body.terms.assignment(order, seed, (), given=inputs)[body.result]))
    return len(values) == 1


def _fixed_functions(index: Index) -> set[str]:
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


def _fixed_now(index: Index) -> set[str]:
    """As `_fixed_functions`, with what is in `index.fixed` known already."""
    fuel = [FUEL]
    functions = [o for items in index.own.values() for o in items if not o.trait and child_of(o.node, "return_type")]
    functions = [o for o in functions if not any(_is_hard_to_follow(n) for n in walk(o.node))]
    functions = [o for o in functions if not (child_of(o.node, "type_parameters") and _has_node(o.node, "generic_function"))]
    functions = [o for o in functions if "&mut" not in "".join(map(text_of, parameters_of(o.node)))]
    fixed = set()
    for item in functions:
        asked = [p for p in parameters_of(item.node) if p.type != "self_parameter"]
        decoy = not asked and not item.owner and any(parameters_of(o.node) for o in functions)
        if not (asked or decoy) or (item.owner in index.types and _is_trait(item.owner, index)):
            continue
        body = _read_body(item, index, fuel)
        if len(body.parameters) > 1 and body.result in body.parameters:
            index.projections[signature_of(item, index.singletons)] = body.parameters.index(body.result)
        ignores = _answers_regardless(body) or _comes_to_one_value(body)
        if fuel[0] > 0 and ignores and (asked or body.terms.plain[body.result]):
            fixed.add(signature_of(item, index.singletons))
    return fixed


def _is_hard_to_follow(node: Node) -> bool:
    """Whether a node may make a result depend on more than the terms show: loops, but for literals or their range and no choice."""
    if node.type != "for_expression":
        return node.type in HARD_TO_FOLLOW
    source = child_of(node, "value")
    is_range = source is not None and source.type == "range_expression" and all(n.type == "integer_literal" for n in source.named_children)
    is_known = is_range or (source is not None and source.type == "array_expression")
    return not is_known or any(n.type in CHOICES for n in walk(node))


def _has_node(node: Node, kind: str) -> bool:
    return any(found.type == kind for found in walk(node))


def _is_trait(name: str, index: Index) -> bool:
    return any(item.node.type == "trait_item" and item.name == name for item in index.items)


def _names_its_inputs(body: _Body, asked: Sequence[tuple[int, ...]], asked_terms: Terms, expected: Set[str]) -> bool:
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


def _asks_for_the_rest(body: _Body, asked: Sequence[tuple[int, ...]], asked_terms: Terms, empty_counts: bool = False) -> bool:
    """Whether some call in the tests gets the answer that a list of answers has for everything else.

    `empty_counts`: also one with an empty list.
    """
    order = body.terms.reachable(body.result)
    for call in asked:
        if len(call) != len(body.parameters) or not all(asked_terms.plain[a] for a in call):
            continue
        inputs = [asked_terms.sampled(a) for a in call]
        if ("[]",) in inputs and not empty_counts:
            continue
        values = body.terms.assignment(order, 0, (), given=dict(zip(body.parameters, inputs)))
        rest = body.result
        while body.terms.op(rest) == "ite" and not truth_of(values[body.terms.children(rest)[0]]):
            rest = body.terms.children(rest)[2]
        if body.terms.op(rest) != "ite":
            return True
    return False


def _answers_are_expected(body: _Body, asked_terms: Terms, expected: Set[str]) -> bool:
    """Whether the tests expect each answer of a list but never its last, the one for everything else."""
    rest = _rest_of(body)
    return _answers_of(body) <= expected - {""} and (not body.terms.plain[rest] or _shown(body.terms, rest) not in expected)


def _compared_literals(terms: Terms, condition: int, parameters: Sequence[int]) -> set[str] | None:
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


def _is_input(terms: Terms, term: int, parameters: Sequence[int]) -> bool:
    """A parameter, or a tuple or part of parameters: nothing computed from them."""
    return all(t in parameters or terms.op(t) in ("field", "list", "after") for t in terms.reachable(term))


def _shown(terms: Terms, term: int) -> str:
    return repr(terms.sampled(term)) if terms.plain[term] else ""


# -- what each test is worth ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Worth:
    tests: tuple[TestFn, ...]
    goals: frozenset[int]  # distinct assertions that count
    calls: frozenset[str]  # the program's functions that they depend on
    sites: frozenset[tuple[int, int]]  # of the assert macros among them


def worth_of(index: Index) -> Worth:
    terms, fuel = Terms(), [FUEL]
    terms.enums = plain_enums(index)
    index.fixed = _fixed_functions(index)
    can_fail: dict[int, bool] = {}
    tests, goals, sites = [], set(), set()
    for item in index.tests:
        ignored, should_panic = item.has("ignore"), item.has("should_panic")
        counted: list[Check] = []
        guard = "ignored" if ignored else None
        if not ignored and not should_panic:
            checks = TestRun(index, terms, fuel).follow(item)
            for check in checks:
                if check.goal not in can_fail:
                    can_fail[check.goal] = not terms.fixed(check.goal, index.fixed) and terms.can_fail(check.goal)
                if can_fail[check.goal]:
                    counted.append(check)
            guard = None if counted else _test_guard(item, checks, terms, index)
        goals |= {check.goal for check in counted}
        sites |= {check.site for check in counted if check.site is not None}
        marked = bool(counted) and all(check.site is not None for check in counted)
        tests.append(TestFn(harness_name(item), ignored, should_panic, bool(counted), guard, marked))
    tests = _without_hard_coded(tests, goals, terms, index)
    calls = {name.rpartition(":")[0] for goal in goals for name in terms.calls(goal)}
    return Worth(tuple(tests), frozenset(goals), frozenset(calls), frozenset(sites))


def _without_hard_coded(tests: list[TestFn], goals: set[int], terms: Terms, index: Index) -> list[TestFn]:
    """Take the worth from tests whose every call is answered by a function that lists their inputs."""
    asked: dict[str, list[tuple[int, ...]]] = {}
    expected: set[str] = set()
    for goal in goals:
        for term in terms.reachable(goal):
            expected |= {_shown(terms, c) for c in terms.children(term)} if terms.op(term) == "eq" else set()
            if terms.op(term) == "own":
                asked.setdefault(str(terms.payload(term)), []).append(terms.children(term))
    functions = [o for items in index.own.values() for o in items if not o.trait and not _is_trait(o.owner, index)]
    named = {signature_of(item, index.singletons): item for item in functions}
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


def _panics_as_tested(body: _Body, index: Index) -> bool:
    """Whether a list of answers panics for everything else, and a `should_panic` test asks for that."""
    asks = any(item.has("should_panic") and body.item.name in words_of(item.node) for item in index.tests)
    return asks and body.terms.rows[_rest_of(body)][:2] == ("path", "!")


def _test_guard(test: Item, checks: Sequence[Check], terms: Terms, index: Index) -> str:
    words = {text_of(n) for n in walk(test.node) if n.type == "identifier"}
    if not checks:
        if "catch_unwind" in words:
            return "catch_unwind"
        return "unreachable_assert" if words & {*ASSERT_MACROS, *FAILING} else "no_asserts"
    if any(check.own for check in checks):
        return "tautological_assert"
    names = {signature.rpartition(":")[0] for signature in index.fixed}
    if words & names:
        return "hard_coded_answer"
    local = {text_of(child_of(n, "pattern")) for n in walk(test.node) if n.type == "let_declaration"}
    local |= {item_name(n) for n in walk(test.node) if n.type == "function_item" and n.id != test.node.id}
    shadowed = (set(index.helpers) | local | set(index.aliases)) & set(index.own) & words
    if shadowed:
        return "shadowed_function"
    return "catch_unwind" if "catch_unwind" in words else "constant_assert"


def program_guard(index: Index, worth: Worth) -> str | None:
    guard = _construct_guard(index)
    if guard is not None:
        return guard
    if not worth.tests:
        return "no_tests"
    if any(test.counted for test in worth.tests):
        return "unimplemented_function" if _leaves_work_undone(index, worth) else None
    return next((test.guard for test in worth.tests if test.guard), "should_panic_only")


def _leaves_work_undone(index: Index, worth: Worth) -> bool:
    """Whether a function that the tests do not look at is nothing but `todo!()`: they test something else."""
    for items in index.own.values():
        for item in items:
            body = body_of(item.node)
            words = words_of(body)[1:-1] if body is not None and not item.trait and item.name not in worth.calls else []
            if words[:1] in (["todo"], ["unimplemented"]) and words[1:2] == ["!"] and len(words) < 12:
                return not (item.owner and _is_trait(item.owner, index))
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
