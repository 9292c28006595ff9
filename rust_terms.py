"""Terms for the values of a test: what an assertion's condition depends on, and whether it can be false.

One job: an interned expression graph. A call into the program under test is an unknown function of its arguments; `Terms.can_fail`
draws values for the unknowns and looks whether the condition can come out false, so `f(x) == f(x)` cannot and `f(x) == 4` can.
Drawn values are fixed by the text (no randomness between runs).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence, Set

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


class Terms:
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
            return self.const(self.sampled(left) == self.sampled(right))
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
        if is_number(a) and is_number(b):
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
        if is_number(a) and is_number(b):
            value = _arithmetic(op, a, b)
            if value is not None:
                return self.const(value)
        return self.make(op, "", left, right)

    def sampled(self, term: int) -> Value:
        return self.assignment(self.reachable(term), 0, ())[term]

    def reachable(self, term: int, leaves: Set[int] = frozenset()) -> list[int]:
        """The term and everything in it, children before parents; what is below `leaves` is left out."""
        seen, stack = {term}, [term]
        while stack:
            parent = stack.pop()
            for child in () if parent in leaves else self.children(parent):
                if child not in seen:
                    seen.add(child)
                    stack.append(child)
        return sorted(seen)

    def can_fail(self, goal: int) -> bool:
        """Whether some behaviour of the program's functions makes the goal false."""
        if not self.own[goal]:
            return False
        order = self.reachable(goal)
        fixed = self.assignment(order, 0, (), [t for t in order if not self.own[t]])
        pool = tuple(dict.fromkeys(value for value in fixed.values() if not isinstance(value, bool)))
        has_copies = any(self.op(term) == "copy" for term in order)
        return self._comes_out_false(goal, order, pool) and (not has_copies or self._comes_out_false(goal, order, pool, True))

    def _comes_out_false(self, goal: int, order: Sequence[int], pool: tuple[Value, ...], copies_follow: bool = False) -> bool:
        """Whether a draw makes the goal false. `copies_follow`: what repeats a function of the program answers as that does."""
        for seed in range(SAMPLES):
            self.budget -= len(order)
            if self.budget < 0:
                return False
            if not truth_of(self.assignment(order, seed, pool, copies_follow=copies_follow)[goal]):
                return True
        return False

    def fixed(self, goal: int, signatures: Set[str]) -> bool:
        """Whether the goal looks at a function that answers the same whatever it is asked."""
        return bool(signatures) and any(self.op(t) == "call" and self.payload(t) in signatures for t in self.reachable(goal))

    def calls(self, goal: int) -> set[str]:
        """Names of the program's functions in the term."""
        return {str(self.payload(t)) for t in self.reachable(goal) if self.op(t) in ("own", "fnref")}

    def assignment(self, order: Sequence[int], seed: int, pool: tuple[Value, ...], only: Sequence[int] | None = None,
                    given: dict[int, Value] | None = None, copies_follow: bool = False) -> dict[int, Value]:  # fmt: skip
        values: dict[int, Value] = dict(given or {})
        for term in order if only is None else only:
            if given and term in given:
                continue
            op, payload, children = self.rows[term]
            arguments = [values[child] for child in children]
            own = self.own[term]
            if op == "copy":  # its value as the tests have it, then its arguments
                if not copies_follow:
                    values[term] = arguments[0]
                    continue
                op, arguments, own = "own", arguments[1:], True
            value = _interpreted(op, payload, arguments)
            if value is None:
                draw = draw_for(seed if own else 0, op, payload, arguments)
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


def is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def draw_for(seed: int, *parts: object) -> int:
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
        numbers = [n for n in (*pool, *SAMPLE_NUMBERS) if is_number(n) and abs(n) < most and (n >= 0 or not unsigned)]
        return numbers[draw % len(numbers)]
    if pool and kind < 7:
        return pool[draw % len(pool)]
    return SAMPLE_NUMBERS[draw % len(SAMPLE_NUMBERS)] if kind < 13 else f"?{draw}"


def truth_of(value: Value) -> bool:
    return value if isinstance(value, bool) else bool(zlib.crc32(repr(value).encode("utf-8", "replace")) & 1)


def _order_key(value: Value) -> float:
    return float(value) if is_number(value) else float(zlib.crc32(repr(value).encode("utf-8", "replace")) % 1000)


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
        return not truth_of(args[0])
    if op == "and":
        return truth_of(args[0]) and truth_of(args[1])
    if op == "eq":
        mixed = isinstance(args[0], bool) or isinstance(args[1], bool)
        return truth_of(args[0]) == truth_of(args[1]) if mixed else args[0] == args[1]
    if op == "lt":
        if isinstance(args[0], str) and isinstance(args[1], str):
            return args[0] < args[1]
        return _order_key(args[0]) < _order_key(args[1])
    if op == "ite":
        return args[1] if truth_of(args[0]) else args[2]
    if op == "neg" and is_number(args[0]):
        return -args[0]
    if op in ("+", "-", "*", "/", "%", "&", "|", "^") and is_number(args[0]) and is_number(args[1]):
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
    if op == "method" and payload == "abs" and is_number(first):
        return abs(first)
    if op == "method" and payload == "clamp" and len(args) == 3 and args[1] == args[2]:
        return args[1]
    if op == "method" and payload == "clamp" and len(args) == 3 and all(map(is_number, args)):
        return min(max(first, args[1]), args[2])
    if op == "method" and payload in ("min", "max") and len(args) == 2 and all(map(is_number, args)):
        return min(args) if payload == "min" else max(args)
    if op == "method" and payload in ("saturating_sub", "saturating_add") and all(map(is_number, args)):
        if len(args) == 2 and args[1] in LIMITS:
            return args[1] if payload == "saturating_add" else 0
    if op == "method" and payload == "len" and isinstance(first, tuple) and first and first[0] == "[]":
        return len(first) - 1
    return None
