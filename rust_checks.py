"""What a test checks: its statements followed with unknown results for the program's functions.

One job: a `#[test]` function in, the assertions that run out (`Check`), each with the term (`rust_terms.py`) that must hold. Helpers,
closures, tables, loops and the program's own macros are followed, dead code is not. `rust_code.py` lists what this cannot see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass

from rust_syntax import (
    ASSERT_MACROS,
    FAILING,
    INTERIOR,
    Index,
    Item,
    Node,
    attributes_of,
    base_name,
    body_of,
    cfg_holds,
    cfg_of,
    child_of,
    expansion_of,
    is_too_long,
    item_name,
    parse_rust,
    split_tokens,
    text_of,
    tokens_inside,
    walk,
    words_of,
)
from rust_terms import NUMBER_TYPES, UNSIGNED_TYPES, Terms, Value, is_number

MAX_KEYS = 3  # inputs that a function may name before it counts as a look-up table
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
# Methods through which a cell or a lock is reached, and those that change one themselves.
CELL_VIEWS = ("borrow_mut", "lock", "write", "get_mut", "try_lock", "try_borrow_mut")
CELL_WRITES = ("set", "store", "fetch_add", "fetch_sub", "fetch_max", "fetch_min", "fetch_or", "fetch_and", "fetch_xor", "send")
# Methods that hand out a place to be written, and those that hand on what they were given.
MUT_VIEWS = ("iter_mut", "first_mut", "last_mut", "get_mut", "as_mut", "as_mut_slice", "split_at_mut", "split_first_mut", "chunks_mut",
             "chunks_exact_mut", "values_mut", "entry", "peek_mut", "back_mut", "front_mut", "as_deref_mut", *CELL_VIEWS)  # fmt: skip
HANDED_ON = ("unwrap", "expect", "or_insert", "or_insert_with", "or_default", "enumerate", "skip", "take", "rev", "zip", "next", "nth",
             "by_ref", "into_iter", "step_by", "unwrap_or_else", "clone", "as_ref", "map_err")  # fmt: skip
# What std answers by comparing or hashing.
COMPARING = ("sort", "sort_unstable", "sort_by_key", "max", "min", "push", "pop", "peek", "insert", "contains", "contains_key", "remove",
             "binary_search", "dedup", "into_sorted_vec", "pop_first", "pop_last", "entry", "get", "clamp")  # fmt: skip
COMPARING_TYPES = ("HashSet", "BTreeSet", "HashMap", "BTreeMap", "BinaryHeap")
OVERWRITING = ("clone_from", "clone_from_slice", "copy_from_slice")
LIST_TYPES = ("Vec", "VecDeque", "LinkedList")
MAP_TYPES = ("HashMap", "BTreeMap")
ON_FAILURE = ("unwrap_or_else", "or_else", "map_err", "ok_or_else")
WRAPPERS = ("from", "new", "Box", "Rc", "Arc", "String", "Vec", "Wrapping", "AssertUnwindSafe", "black_box", "identity")
EVALUATING_MACROS = ("println", "print", "eprintln", "eprint", "format", "write", "writeln", "format_args", "dbg")
OPERATOR_TRAITS = {"+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "%": "Rem", "&": "BitAnd", "|": "BitOr",
                   "^": "BitXor", "<<": "Shl", ">>": "Shr"}  # fmt: skip
STD_TYPES = ("String", "Vec", "Option", "Result", "Box", "HashMap", "HashSet", "BTreeMap", "BTreeSet", "VecDeque", "Rc",
             "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize", "f32", "f64",
             "char", "str", "bool")  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One assertion that runs: the term that must hold, and where it stands."""

    goal: int
    text: str
    own: bool  # its arguments depend on the program, whatever became of them
    site: tuple[int, int] | None  # byte range of its macro in the file; None when it is not one or not in the file


class TestRun:
    """Follow one test. Every expression becomes a term; asserts and panics become checks on the way."""

    def __init__(self, index: Index, terms: Terms, fuel: list[int]) -> None:
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
        self.breaks: list[list[tuple[tuple[int, ...], dict[int, int], int]]] = []
        self.modules: tuple[str, ...] = ()
        self.checks: list[Check] = []
        self.site: tuple[int, int] | None = None  # of the outermost macro being followed
        self.in_file = True
        self.in_tests = False  # following a test, not reading a function of the program
        self.seen = self.asked = 0  # calls into the program, before the current assertion and so far
        self.cells: set[int] = set()  # variables that hold a cell, a lock, an atomic, an end of a channel
        self.alias: dict[int, int] = {}  # a variable that is a mutable reference -> the one it refers into
        self.leaked: set[int] = set()  # values that the test puts into the program's statics

    def follow(self, test: Item) -> list[Check]:
        self.modules, self.in_file, self.in_tests = test.modules, not test.expanded, True
        value = self.inline(test.node, [], [{}])
        if child_of(test.node, "return_type") is not None and self.t.op(value) != "ctor":
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
        self.checks.append(Check(goal, text, own, self.site if self.in_file and condition != self.t.false else None))

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
                return self._slot(text_of(node))
            if node.type == "field_expression" or node.type == "reference_expression":
                node = child_of(node, "value")
            elif node.type in ("index_expression", "unary_expression", "parenthesized_expression"):
                node = node.named_children[0] if node.named_children else None
            else:
                return self._viewed(node, CELL_VIEWS)
        return None

    def _viewed(self, node: Node | None, views: Sequence[str]) -> int | None:
        """The variable behind a chain of methods, one of which must be a view: `log.borrow_mut()`, `list.iter_mut().skip(1)`."""
        is_view = False
        while node is not None and node.type == "call_expression":
            callee = child_of(node, "function")
            if callee is None or callee.type != "field_expression" or text_of(child_of(callee, "field")) not in (*views, *HANDED_ON):
                return None
            is_view = is_view or text_of(child_of(callee, "field")) in views
            node = child_of(callee, "value")
        slot = self._root_slot(node) if node is not None and is_view else None
        return self.alias.get(slot, slot) if slot is not None else None

    def _written_root(self, node: Node | None) -> int | None:
        """The variable that an expression is a mutable reference into."""
        if node is None:
            return None
        if node.type == "reference_expression" and any(child.type == "mutable_specifier" for child in node.children):
            slot = self._root_slot(node)
            return self.alias.get(slot, slot) if slot is not None else None
        if node.type in ("identifier", "self"):
            slot = self._slot(text_of(node))
            return self.alias.get(slot) if slot is not None else None
        return self._viewed(node, MUT_VIEWS)

    def _bind_references(self, pattern: Node | None, source: Node | None) -> None:
        """After a pattern was bound: its variables are references into what its source borrows mutably, if it does."""
        root = self._written_root(source)
        for node in walk(pattern) if pattern is not None and root is not None else ():
            slot = self.scopes[-1].get(text_of(node)) if node.type == "identifier" else None
            if slot is not None and slot != root:
                self.alias[slot] = root

    def _bind_handles(self, pattern: Node | None, source: Node | None) -> None:
        """After a `let`: which variables are cells that others may change, and which are handles on another's contents."""
        text = text_of(source)
        if pattern is None or source is None or not any(word in text for word in ("::new", "channel", "clone")):
            return
        bound = [self.scopes[-1].get(text_of(n)) for n in walk(pattern) if n.type == "identifier"]
        slots = [slot for slot in bound if slot is not None]
        words = words_of(source)
        if len(slots) == 2 and "channel" in words:  # what is sent comes out at the other end
            self.alias[min(slots)] = max(slots)
            self.cells |= set(slots)
        elif len(slots) == 1 and "new" in words and any(word.startswith(INTERIOR) for word in words):
            self.cells |= set(slots)
        elif len(slots) == 1 and "clone" in words and source.type == "call_expression":
            shared = self._root_slot(_shared_place(source))
            if shared in self.cells and shared not in slots:
                self.alias[slots[0]] = self.alias.get(shared, shared)
                self.cells |= set(slots)

    def _share(self, nodes: Sequence[Node], value: int) -> None:
        """A call into the program may have changed every cell that its arguments mention, unless only a closure does."""
        stack = list(nodes) if self.t.own[value] and self.cells else []
        while stack:
            node = stack.pop()
            slot = self._slot(text_of(node)) if node.type == "identifier" else None
            if slot in self.cells:
                self._touch(slot, value, "shared")
            stack += node.children if node.type != "closure_expression" else ()

    def _touch(self, slot: int | None, by: int, how: str) -> None:
        """A variable was handed out for writing."""
        if self.dead:
            return
        for place in {slot, self.alias.get(slot, slot) if slot is not None else None}:
            if place is not None and place in self.store:
                self.store[place] = self.t.make("after", how, by, self.store[place])

    # -- expressions ----------------------------------------------------------------------------------------------

    def _eval(self, node: Node | None) -> int:
        if node is None:
            return self.t.unit
        self.fuel[0] -= 1
        if self.fuel[0] < 0 or self.depth > MAX_EVAL_DEPTH:
            return self.t.make("opaque", text_of(node))
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
        inner = child_of(node, "value") or next((c for c in node.named_children if not c.type.endswith("comment")), None)
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
        text = text_of(node).replace("_", "").lower()
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
        text = text_of(node).replace("_", "").removesuffix("f32").removesuffix("f64")
        try:
            return self.t.const(float(text))
        except ValueError:
            return self.t.make("opaque", text)

    def _on_boolean_literal(self, node: Node) -> int:
        return self.t.true if text_of(node) == "true" else self.t.false

    def _on_string_literal(self, node: Node) -> int:
        return self.t.const(text_of(node).strip('"'))

    def _on_raw_string_literal(self, node: Node) -> int:
        return self.t.const("".join(text_of(c) for c in node.named_children))

    def _on_char_literal(self, node: Node) -> int:
        return self.t.const(text_of(node))

    def _on_negative_literal(self, node: Node) -> int:
        return self._negative(self._eval(node.named_children[0]))

    def _negative(self, term: int) -> int:
        value = self.t.constant(term)
        return self.t.const(-value) if is_number(value) else self.t.make("neg", "", term)

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
        operator = text_of(child_of(node, "operator"))
        left = self._eval(child_of(node, "left"))
        if operator in ("&&", "||"):
            if left == (self.t.false if operator == "&&" else self.t.true):
                return left
            right = self._eval(child_of(node, "right"))
            return self.t.both(left, right) if operator == "&&" else self.t.either(left, right)
        right = self._eval(child_of(node, "right"))
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
        place, value = child_of(node, "left"), self._eval(child_of(node, "right"))
        self._assign(place, value)
        return self.t.unit

    def _on_compound_assignment_expr(self, node: Node) -> int:
        place = child_of(node, "left")
        operator = text_of(child_of(node, "operator"))
        left, right = self._eval(place), self._eval(child_of(node, "right"))
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
        root = self.alias.get(slot)
        if root is not None and self.t.own[value]:
            self._touch(root, value, "through a reference")
        if place is not None and place.type == "index_expression" and self._implements("IndexMut"):
            self.store[slot] = self.t.make("own", "index_mut:", self.store[slot], value, own=True)
        elif place is not None and place.type in ("identifier", "unary_expression"):
            self.store[slot] = value
        else:
            self.store[slot] = self._with_part(place, value)

    def _implements(self, *traits: str) -> bool:
        """Whether the program implements one of the traits for anything."""
        return not self.index.implemented.isdisjoint(traits)

    def _with_part(self, place: Node | None, value: int) -> int:
        """The value of a place's variable after an assignment to the place."""
        if place is None or place.type in ("identifier", "self") or self.depth > MAX_EVAL_DEPTH:
            return value
        inner = child_of(place, "value") or next(iter(place.named_children), None)
        if place.type not in ("field_expression", "index_expression"):
            return self._with_part(inner, value)
        base = self._eval(inner)
        if place.type == "field_expression":
            name = text_of(child_of(place, "field"))
            changed = self.t.make("set", int(name) if name.isdigit() and len(name) < 4 else name, base, value)
        else:
            changed = self.t.make("set", "[]", base, value, self._eval(place.named_children[1]))
        self.depth += 1
        changed = self._with_part(inner, changed)
        self.depth -= 1
        return changed

    def _on_identifier(self, node: Node) -> int:
        name = text_of(node).removeprefix("r#")
        slot = self._slot(name)
        if slot is not None:
            return self.store.get(slot, self.t.unit)
        return self._named(name, ())

    _on_self = _on_shorthand_field_identifier = _on_identifier

    def _on_scoped_identifier(self, node: Node) -> int:
        text = text_of(node)
        name, head = text_of(child_of(node, "name")), base_name(text_of(child_of(node, "path")))
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
            place = self.t.make("path", name)
            if constants[0].test_side or not self.asked:
                return place
            return self.t.make("own", f"{name}:", place, self.t.const(self.asked), own=True)  # what the calls so far left in it
        kind = child_of(constants[0].node, "type") if constants else None
        if constants and not constants[0].test_side and kind is not None and "fn" in words_of(kind):
            return self.t.make("fnref", f"{name}:", own=True)
        if constants and len(self.inlined) < MAX_INLINING:
            self.inlined.append(constants[0].node)
            saved, self.scopes = self.scopes, [{}]
            value = self._eval(child_of(constants[0].node, "value"))
            self.scopes = saved
            self.inlined.pop()
            return value
        target = self._function(name, head)
        if target is None:
            return self.t.make("path", name)
        if target.test_side:
            return self._closure(target.node, [{}], target.modules)
        signature = signature_of(target, self.index.singletons)
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
        length = child_of(node, "length")
        children = [c for c in node.named_children if c.type not in ("line_comment", "block_comment", "attribute_item")]
        if length is None:
            return self.t.make("list", "[]", *[self._eval(child) for child in children])
        if self.t.constant(self._eval(length)) == 0:
            return self.t.make("list", "[]")
        return self.t.make("list", "[;]", self._eval(children[0]), self._eval(length))

    def _on_struct_expression(self, node: Node) -> int:
        fields = []
        for child in (child_of(node, "body") or node).named_children:
            name = text_of(child_of(child, "field")) or text_of(child)
            fields.append(self.t.make("named", name, self._through(child)))
        name = base_name(text_of(child_of(node, "name")))
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
        value, name = self._eval(child_of(node, "value")), text_of(child_of(node, "field"))
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
                self._declare(item_name(child), self._closure(child, list(self.scopes), self.modules))
            elif child.type in ("const_item", "static_item") and item_name(child) not in self.index.statics:
                self._declare(item_name(child), self._eval(child_of(child, "value")))
        value, pending = self.t.unit, []
        for child in node.named_children:
            if child.type == "attribute_item":
                pending += attributes_of(child)
            elif self.dead:
                break
            elif child.type not in SILENT_STATEMENTS:
                if cfg_of(pending, test=True):
                    value = self._eval(child)
                    value = self.t.unit if text_of(child).endswith(";") else value
                pending = []
        self.scopes.pop()
        if self.dead == "loop" and any(child.type == "label" for child in node.children):
            self.dead, self.path = alive, path
        return value

    def _on_let_declaration(self, node: Node) -> int:
        value_node, pattern = child_of(node, "value"), child_of(node, "pattern")
        value = self._eval(value_node) if value_node is not None else self.t.make("unset", text_of(node)[:80])
        kind = base_name(text_of(child_of(node, "type")))
        if self.t.rows[value][:2] == ("method", "collect"):
            collected = self._collected(self.t.children(value)[0], kind)
            value = value if collected is None else collected
        if kind in COMPARING_TYPES and self._is_compared(value):
            value = self.t.make("own", f"{kind}:", value, own=True)
        if self.index.written(kind, "From", "FromStr", "TryFrom", "FromIterator", "Default", "Sum", "Into"):
            value = self.t.make("own", f"{kind}:", value, own=True)
        mutable = any(child.type == "mutable_specifier" for child in node.children)
        condition = self._bind(pattern, value, mutable)
        self._bind_references(pattern, value_node)
        self._bind_handles(pattern, value_node)
        alternative = child_of(node, "alternative")
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
            condition = self._bind(child_of(node, "pattern"), self._eval(child_of(node, "value")))
            self._bind_references(child_of(node, "pattern"), child_of(node, "value"))
            return condition
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
        condition = self._condition(child_of(node, "condition"))
        alternative = child_of(node, "alternative")
        value = self._branches([
            (condition, lambda: self._eval(child_of(node, "consequence"))),
            (self.t.negated(condition), lambda: self._eval(alternative)),
        ])  # fmt: skip
        self.scopes.pop()
        return value

    def _on_else_clause(self, node: Node) -> int:
        return self._eval(node.named_children[-1] if node.named_children else None)

    def _on_match_expression(self, node: Node) -> int:
        return self._matched(self._eval(child_of(node, "value")), child_of(node, "body"))

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
            pattern = child_of(arm, "pattern")
            guard = child_of(pattern, "condition") if pattern is not None else None
            condition = self._bind(_pattern_inside(pattern), value)
            if guard is not None:
                condition = self.t.both(condition, self._condition(guard))
            arms.append((self.t.both(before, condition), self._in_scopes(scopes, child_of(arm, "value"))))
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
        ended, result = "", self.t.unit
        self.breaks.append([])
        for body in rounds:
            self.scopes.append({})
            condition = body()
            own = condition if self.t.own[condition] else own
            self.scopes.pop()
            self.path = path
            if condition == self.t.false or self.dead in ("return", "panic"):
                ended = self.dead
                break
            self.dead = ""
        self.dead = ended if certain else ""
        for taken, store, value in self.breaks.pop():
            condition = self._all(taken[len(path) :])
            own = condition if self.t.own[condition] else own
            result = value if result == self.t.unit else self.t.chosen(condition, value, result)
            changed = {slot: self.store[slot] for slot in before if store.get(slot, 0) != self.store[slot]}
            self.store.update({s: self.t.chosen(condition, store[s], new) for s, new in changed.items() if s in store})
        for slot, old in before.items():
            new = self.store.get(slot, old)
            if new != old and not (certain and own == self.t.true):
                self.store[slot] = self.t.make("loop", "certain" if certain else "", old, new, own)
        return self.t.make("loop", "", result, result, own) if result != self.t.unit and self.t.own[own] else result

    def _on_for_expression(self, node: Node) -> int:
        source = self._eval(child_of(node, "value"))
        elements = self._elements(source)
        pattern, body = child_of(node, "pattern"), child_of(node, "body")
        if elements is None and self._own_typed(source):
            source = self.t.make("own", "next:", source, own=True)
        rows = self._rows(elements, source) if elements is not None else [self._element(source, n) for n in (0, 1)]

        def round_of(row: int) -> Callable[[], int]:
            def run() -> int:
                self._bind(pattern, row)
                self._bind_references(pattern, child_of(node, "value"))
                self._eval(body)
                return self.t.true

            return run

        return self._loop([round_of(row) for row in rows], bool(elements), source)

    def _on_while_expression(self, node: Node) -> int:
        def run() -> int:
            condition = self._condition(child_of(node, "condition"))
            if condition != self.t.false:
                if condition != self.t.true:
                    self.path = (*self.path, condition)
                self._eval(child_of(node, "body"))
            return condition

        return self._loop([run, run], False, self.t.make("opaque", text_of(node)))

    def _on_loop_expression(self, node: Node) -> int:
        def run() -> int:
            self._eval(child_of(node, "body"))
            return self.t.true

        return self._loop([run, run], True, self.t.make("opaque", text_of(node)))

    def _on_break_expression(self, node: Node) -> int:
        value = self._eval(node.named_children[-1]) if node.named_children else self.t.unit
        if self.breaks and not self.dead:
            self.breaks[-1].append((self.path, dict(self.store), value))
        self.dead = self.dead or "loop"
        return value

    def _all(self, conditions: Sequence[int]) -> int:
        whole = self.t.true
        for condition in conditions:
            whole = self.t.both(whole, condition)
        return whole

    _on_continue_expression = _on_break_expression

    def _on_generic_function(self, node: Node) -> int:
        return self._eval(child_of(node, "function"))

    def _on_label(self, _: Node) -> int:
        return self.t.unit

    def _on_return_expression(self, node: Node) -> int:
        value = self._eval(node.named_children[0]) if node.named_children else self.t.unit
        if self.dead:
            return value
        if len(self.inlined) == 1 and self.t.op(value) == "ctor" and self.t.payload(value) == "Err":
            self._check(self.t.false, text_of(node))
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
            return self._bind_name(text_of(pattern), value, mutable)
        if kind in ("mut_pattern", "ref_pattern", "reference_pattern", "parenthesized_pattern", "match_pattern"):
            inner = [c for c in children if c.type != "mutable_specifier"]
            writes = mutable or any(c.type == "mutable_specifier" for c in children)
            return self._bind(inner[0] if inner else None, value, writes)
        if kind == "tuple_pattern" or kind == "slice_pattern":
            return self._bind_sequence(children, value, "" if kind == "tuple_pattern" else "[]")
        if kind == "tuple_struct_pattern":
            return self._bind_sequence(children[1:], value, base_name(text_of(child_of(pattern, "type"))))
        if kind == "struct_pattern":
            return self._bind_struct(pattern, value)
        if kind == "or_pattern":
            return self.t.either(self._bind(children[0], value), self._bind(children[-1], value))
        if kind == "captured_pattern":
            self._bind_name(text_of(children[0]), value, mutable)
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
        name = base_name(text_of(child_of(pattern, "type")))
        condition = self.t.true if name in self.index.types else self._is(name, value)
        for field_pattern in pattern.named_children:
            if field_pattern.type == "field_pattern":
                inner = child_of(field_pattern, "pattern") or child_of(field_pattern, "name")
                part = self._field(value, text_of(child_of(field_pattern, "name")))
                condition = self.t.both(condition, self._bind(inner, part))
        return condition

    def _bind_range(self, pattern: Node, value: int) -> int:
        condition, left, right = self.t.true, child_of(pattern, "left"), child_of(pattern, "right")
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
        callee = child_of(node, "function")
        if callee is not None and callee.type == "generic_function":
            callee = child_of(callee, "function")
        arguments = child_of(node, "arguments")
        nodes = [c for c in arguments.named_children if not c.type.endswith("comment")] if arguments else []
        if callee is not None and callee.type == "field_expression":
            return self._method(node, callee, nodes)
        args = [self._eval(argument) for argument in nodes]
        value = self._plain_call(callee, args, node)
        name = text_of(callee).rpartition("::")[2].removeprefix("r#")
        emptied = self._written_root(nodes[0]) if nodes and name == "take" and self._implements("Default") else None
        if emptied is not None and name not in self.index.own:  # `mem::take` leaves what the program calls a default
            self.store[emptied] = self.t.make("own", "default:", own=True)
            return value
        self._lend(nodes, value, [parameters_of(item.node) for item in self.index.own.get(name, [])])
        return value

    def _lend(self, nodes: Sequence[Node], value: int, signatures: Sequence[Sequence[Node]]) -> None:
        """A call may have changed the variables that it was given as `&mut`, or as cells and locks to share."""
        self._share(nodes, value)
        for position, argument in enumerate(nodes):
            written = any(child.type == "mutable_specifier" for child in argument.children)
            shared = any(len(given) > position and self.index.is_shared(given[position]) for given in signatures)
            if (argument.type == "reference_expression" and written) or (shared and self.t.own[value]):
                self._touch(self._root_slot(_shared_place(argument)), value, str(position))
            root = self._written_root(argument) if self.t.own[value] else None
            if root is not None:
                self._touch(root, value, str(position))

    def _plain_call(self, callee: Node | None, args: list[int], node: Node) -> int:
        if callee is None:
            return self.t.unit
        name, head = text_of(callee).removeprefix("r#"), ()
        if callee.type == "scoped_identifier":
            name = text_of(child_of(callee, "name"))
            head = (base_name(text_of(child_of(callee, "path"))),)
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
            dead = self.dead
            inner = self._apply(closures[0], [])
            self.dead = dead  # a panic in there ends the closure
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
        for found in walk(function):
            if found.type == "field_identifier" and text_of(found) in ("join", "scope"):
                outer = found.parent.parent.parent if found.parent and found.parent.parent else None
                follow = text_of(child_of(outer, "field")) if outer is not None and outer.type == "field_expression" else ""
                if follow in ("unwrap", "expect", "is_ok") or (outer is not None and outer.type == "try_expression"):
                    return True
                if outer is not None and outer.type == "match_expression" and not {*FAILING}.isdisjoint(words_of(outer)):
                    return True
            if found.type == "scoped_identifier" and text_of(found).endswith("thread::scope"):
                return True
        words = words_of(function)  # inside of a macro there are only tokens
        joins = [words[at + 1 : at + 5] for at, word in enumerate(words) if word == "join" and words[at - 1] == "."]
        looked_at = ("unwrap", "expect", "is_ok")
        return any(after[:2] == ["(", ")"] and (after[2:3] == ["?"] or "".join(after[3:4]) in looked_at) for after in joins)

    def _call_item(self, target: Item, args: list[int]) -> int:
        if target.test_side:
            return self._apply(self._closure(target.node, [{}], target.modules), args)
        signature = signature_of(target, self.index.singletons)
        plain = [a for a in args if self.t.op(a) != "closure"]
        fixed = signature in self.index.fixed
        given = self.index.projections.get(signature)
        if given is not None and given < len(args) and not target.trait:
            return args[given]
        value = self.t.make("call", signature) if fixed else self.t.make("own", signature, *plain, own=True)
        self.asked += not fixed
        closures = any(self.t.op(a) == "closure" for a in args)
        checker = child_of(target.node, "return_type") is None or any(self.t.own[a] for a in args)
        if closures or (checker and self.index.asserts(target.node)):
            before = dict(self.store)
            self.inline(target.node, args, [{}])
            for slot in [slot for slot, term in before.items() if self.store[slot] != term]:
                self._touch(slot, value, "captured")  # by a closure that the program was given
        return value

    def _apply(self, callee: int, args: list[int]) -> int:
        op = self.t.op(callee)
        if op == "closure":
            node, scopes, modules = self.closures[int(str(self.t.payload(callee)))]
            saved, self.modules = self.modules, modules
            value = self.inline(node, args, scopes)
            self.modules = saved
            original = self.index.copied(node) if self.in_tests else None
            if original is None:
                return value
            return self.t.make("copy", signature_of(original, self.index.singletons), value, *args)
        if op == "fnref":
            if self.t.payload(callee) in self.index.fixed:
                return self.t.make("call", self.t.payload(callee))
            return self.t.make("own", self.t.payload(callee), *args, own=True)
        return self.t.make("call", "?", callee, *args)

    def inline(self, node: Node, args: list[int], scopes: list[dict[str, int]]) -> int:
        """Run a function or closure body with its parameters bound."""
        if len(self.inlined) >= MAX_INLINING or node in self.inlined:
            return self.t.make("call", text_of(node)[:200], *args)
        saved_scopes, path = self.scopes, self.path
        self.scopes = [*scopes, {}]
        self.inlined.append(node)
        self.returns.append([])
        for position, parameter in enumerate(parameters_of(node)):
            value = args[position] if position < len(args) else self.t.make("unset", f"parameter {position}")
            pattern = child_of(parameter, "pattern") if parameter.type == "parameter" else parameter
            if parameter.type == "self_parameter":
                self._declare("self", value, mutable="mut" in text_of(parameter))
            else:
                self._bind(pattern, value, any(c.type == "mutable_specifier" for c in parameter.children))
        value = self._eval(body_of(node))
        for condition, returned in reversed(self.returns.pop()):
            value = self.t.chosen(condition, returned, value)
        self.inlined.pop()
        self.scopes, self.path = saved_scopes, path
        self.dead = "panic" if self.dead == "panic" else ""
        return value

    # -- methods --------------------------------------------------------------------------------------------------

    def _method(self, node: Node, callee: Node, nodes: list[Node]) -> int:
        receiver_node, name = child_of(callee, "value"), text_of(child_of(callee, "field"))
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
        reads = any("&mut" not in text_of(p) for item in own for p in parameters_of(item.node)[:1]) if own else name in READS
        has_cell = any(item.owner in self.index.interior for item in own)
        is_cell = slot is not None and (has_cell or receiver_node.type == "call_expression" or (not own and name in CELL_WRITES))
        root = self._written_root(receiver_node)
        if root is not None and not (reads and own) and any(self.t.own[term] for term in (value, *args)):
            self._touch(root, value, name)
        if (slot in self.mutable or is_cell) and (has_cell or not reads) and not self.dead:
            before = self.t.rows[self.store[slot]]
            if name == "reverse" and before[:2] == ("after", "reverse"):
                self.store[slot] = before[2][1]
            else:
                self._touch(slot, value, name)
        signatures = [parameters_of(item.node) for item in own if item.owner]
        self._lend(nodes, value, [given[1:] if given and given[0].type == "self_parameter" else given for given in signatures])
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
        if helpers and (not self._standard(receiver) or any(h.trait and h.owner not in self.index.test_types for h in helpers)):
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

    def _is_compared(self, term: int) -> bool:
        """Whether std compares or hashes this, or something in it, with code of the program."""
        if not self._implements("Ord", "PartialOrd", "Hash", "PartialEq"):
            return False
        names = [str(self.t.payload(t)) for t in self.t.reachable(term) if self.t.op(t) in ("ctor", "path")]
        return any(self.index.written(name, "Ord", "PartialOrd", "Hash", "PartialEq") for name in names)

    def _plain_method(self, name: str, receiver: int, args: list[int]) -> int:
        if any(trait in traits for traits in self.index.traits.values() for trait in CONVERSIONS.get(name, ())):
            return self.t.make("own", f"{name}:", receiver, *args, own=True)
        if name in COMPARING and any(self._is_compared(term) for term in (receiver, *args)):
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
            count = len(parameters_of(self.closures[int(str(self.t.payload(closure)))][0]))
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
                    access.type == "let_declaration" and text_of(child_of(access, "pattern")).startswith("_"))
            if access.parent.type != "call_expression" or text_of(child_of(access, "field")) not in LAZY:
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
        name = base_name(text_of(child_of(node, "macro")))
        if name in self.index.macros and "::" not in text_of(child_of(node, "macro")):
            return self._own_macro(node, name)
        if name in ASSERT_MACROS:
            return self._assertion(node, name.removeprefix("debug_"))
        if name in FAILING:
            return self._fail(_squeezed(node))
        if name == "matches":
            return self._matches(node)
        if name == "cfg":
            tree = node.children[-1]
            return self.t.const(any(cfg_holds(part, test=True) for part in split_tokens(tokens_inside(tree))))
        if name == "vec":
            inner = _macro_text(node)
            root = parse_rust(f"const V: () = [{inner}];")
            return self._eval(next((n for n in walk(root) if n.type == "array_expression"), None))
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
            value = self.t.make("own", "fmt:", *args, *captured, own=True)
            if name.startswith("write"):
                self._touch(self._root_slot(_arguments(node)[0]), value, name)
            return value
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
        pieces = split_tokens(tokens_inside(node.children[-1])) if node.children[-1].type == "token_tree" else []
        if len(pieces) < 2:
            return self.t.make("opaque", text_of(node)[:200])
        whole, first = text_of(node).encode(), pieces[1][0].start_byte - node.start_byte
        value = whole[pieces[0][0].start_byte - node.start_byte : pieces[0][-1].end_byte - node.start_byte].decode()
        pattern = whole[first:-1].decode().rstrip().rstrip(",")
        root = parse_rust(f"fn f() {{ match {{ {value} }} {{ {pattern} => true, _ => false }} }}")
        found = next((n for n in walk(root) if n.type == "match_expression"), None)
        return self._eval(found)

    def _own_macro(self, node: Node, name: str) -> int:
        """A macro of the program: followed like the code it stands for, and a call into the program if it is its own."""
        text = expansion_of(self.index.macros[name], node)
        value = self.t.make("opaque", text_of(node)[:200])
        if text is not None and not is_too_long(text) and len(self.inlined) < MAX_INLINING:
            body = next((n for n in walk(parse_rust(f"fn f() {{ {text} }}")) if n.type == "block"), None)
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
    arguments = child_of(child_of(call, "function") or call, "type_arguments")
    return base_name(text_of(arguments).strip("<> ")) if arguments is not None else ""


def _returns_number(terms: Terms, term: int) -> bool:
    returns = str(terms.payload(term)).rpartition(":")[2] if terms.op(term) == "own" else ""
    return returns in NUMBER_TYPES + UNSIGNED_TYPES


def _pattern_inside(pattern: Node | None) -> Node | None:
    """A match arm's pattern without its guard; None for a lone underscore."""
    guard = child_of(pattern, "condition") if pattern is not None else None
    children = [c for c in pattern.named_children if guard is None or c.id != guard.id] if pattern is not None else []
    return children[0] if children else None


def _shared_place(argument: Node) -> Node:
    """The place that an argument shares: itself, or what `Rc::clone(&place)` and `place.clone()` are handles of."""
    function, given = child_of(argument, "function"), child_of(argument, "arguments")
    if argument.type != "call_expression" or function is None or given is None:
        return argument
    if function.type == "field_expression":
        return child_of(function, "value") or argument
    return given.named_children[0] if text_of(function).endswith("::clone") and given.named_children else argument


def parameters_of(node: Node) -> list[Node]:
    parameters = child_of(node, "parameters")
    if parameters is None:
        return []
    return [c for c in parameters.children if (c.is_named or c.type == "_") and c.type not in
            ("line_comment", "block_comment", "attribute_item")]  # fmt: skip


def signature_of(function: Item, singletons: Set[str]) -> str:
    """How terms name a function of the program: its name and return type, `()` when that has a single value."""
    singleton = text_of(child_of(function.node, "return_type")) in singletons
    modifiers = next((c for c in function.node.children if c.type == "function_modifiers"), None)
    returns = text_of(child_of(function.node, "return_type")) or ("" if "async" in text_of(modifiers) else "()")
    return f"{function.name}:{'()' if singleton else returns}"


def _squeezed(node: Node) -> str:
    return " ".join(text_of(node).split())[:400]


def _macro_text(node: Node) -> str:
    """What stands between a macro invocation's delimiters."""
    tree = next((child for child in node.children if child.type == "token_tree"), None)
    return text_of(tree)[1:-1]


def _arguments(node: Node) -> list[Node]:
    """A macro's arguments, read as expressions."""
    root = parse_rust(f"fn f() {{ m({_macro_text(node)}\n); }}")
    found = next((n for n in walk(root) if n.type == "arguments"), None)
    return [c for c in found.named_children if not c.type.endswith("comment")] if found is not None else []


def _captured(node: Node) -> list[str]:
    """Names captured by a format string, as in `format!("{point}")`."""
    strings = [text_of(n) for n in walk(node) if n.type == "string_content"]
    return [part.split("}")[0].split(":")[0] for text in strings for part in text.split("{")[1:]]
