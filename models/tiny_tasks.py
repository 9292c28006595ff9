"""The tiny coder's world: small Rust functions that compose, prompts that ask for them, answers with tests, and flaws.

A *composition* ("arith/sum/twice/square": the sum of twice a and the square of b) decides what a function does. Every
seventh composition is held out: neither pretraining nor GRPO ever sees it, under any name or wording. Its parts (sum,
twice, square) are all seen in other compositions, so writing it is a matter of putting known things together.

A good answer works its expected values out in a comment ("// a = 3, b = 1: 2 * 3 = 6, 6 + 1 = 7"), because a model of this
size can do one step at a time and no three at once. Answers can be spoiled by flaws that real base models show: no
closing fence, a wrong return type, values that are guessed, tests that import nothing. Which flaw hits depends on chance and
on the family alone, never on the composition.
Everything here is a pure function of a `random.Random`; make_tiny_coder.py writes the files and trains the model.
"""

import functools
import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations, combinations_with_replacement, count, product

HELD_OUT_EVERY = 7  # one composition of so many is held out
MAX_VALUE = 99  # expected values stay small enough to be worked out by hand,
MAX_SHOWN = 20  # those in answers smaller still, where the function has such
N_EXAMPLES = 6  # distinct inputs drawn for each function: the hidden tests
N_SHOWN = 4  # the first so many are what answers test with
EASY_NUMBERS = (0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5)  # inputs that answers test with
ANY_NUMBERS = (*EASY_NUMBERS, 6, 8, -1, -1, -2, -3)  # inputs that hidden tests have besides
PATIENCE = 60  # draws after which a shown value may be as large as any


@dataclass(frozen=True)
class Expr:
    """An expression in words and in Rust. `value` maps {argument: value} to the result as Rust computes it."""

    words: str
    rust: str
    binds: int  # 3: atom or call, 2: product or negation, 1: sum
    value: Callable[[dict], int]
    steps: Callable[[dict], tuple[str, ...]] = lambda env: ()  # the value worked out: ("2 * 3 = 6", "6 + 1 = 7")

    def inside(self, binds: int) -> str:
        """Rust text for a place that needs operands binding at least so tightly."""
        return self.rust if self.binds >= binds else f"({self.rust})"


@dataclass(frozen=True)
class Example:
    """One call of a function: arguments and expected value as Rust text, and how the value comes about."""

    arguments: str
    expected: str
    working: str = ""  # empty where there is nothing to work out


@dataclass(frozen=True)
class Function:
    """One function to be asked for: its signature, body (lines), meaning in words, and worked examples as Rust text."""

    composition: str
    arguments: tuple[tuple[str, str], ...]  # (name, Rust type)
    returns: str
    body: tuple[str, ...]
    words: str
    wrong_returns: str  # what a beginner would declare instead; never compiles
    examples: tuple[Example, ...]

    @property
    def family(self) -> str:
        return self.composition.split("/")[0]


@dataclass(frozen=True)
class TinyTask:
    """A function under the name and wording of one prompt."""

    name: str
    prompt: str
    function: Function


# ---------------------------------------------------------------------------------------------------------------------
# Parts: modifiers of one number, operations on two, conditions
# ---------------------------------------------------------------------------------------------------------------------


def variable(name: str) -> Expr:
    """The argument itself."""
    return Expr(name, name, 3, lambda env: env[name])


def number_text(number: int) -> str:
    """A number as an operand of a worked step."""
    return str(number) if number >= 0 else f"({number})"


def operator(words: str, rust: str, needs: tuple[int, ...], binds: int, compute: Callable[..., int]) -> Callable[..., Expr]:
    """Operands -> expression. `words` and `rust` have a place for each operand, which binds at least as `needs` says."""

    def apply(*operands: Expr) -> Expr:
        def value(env: dict) -> int:
            return compute(*(e.value(env) for e in operands))

        def steps(env: dict) -> tuple[str, ...]:
            before = tuple(step for e in operands for step in e.steps(env))
            if rust == "{}":
                return before
            return *before, f"{rust.format(*(number_text(e.value(env)) for e in operands))} = {value(env)}"

        texts = [e.inside(need) for e, need in zip(operands, needs, strict=True)]
        binding = operands[0].binds if rust == "{}" else binds
        return Expr(words.format(*(e.words for e in operands)), rust.format(*texts), binding, value, steps)

    return apply


MODIFIERS: dict[str, Callable[[Expr], Expr]] = {
    "plain": operator("{}", "{}", (1,), 1, lambda a: a),
    "twice": operator("twice {}", "2 * {}", (3,), 2, lambda a: 2 * a),
    "triple": operator("three times {}", "3 * {}", (3,), 2, lambda a: 3 * a),
    "next": operator("one more than {}", "{} + 1", (1,), 1, lambda a: a + 1),
    "previous": operator("one less than {}", "{} - 1", (1,), 1, lambda a: a - 1),
    "square": operator("the square of {}", "{}.pow(2)", (3,), 3, lambda a: a**2),
    "negative": operator("minus {}", "-{}", (3,), 2, lambda a: -a),
    "absolute": operator("the absolute value of {}", "{}.abs()", (3,), 3, abs),
    # Rust's / rounds towards zero and % takes the sign of the left operand; Python's do neither
    "half": operator("half of {}", "{} / 2", (2,), 2, lambda a: math.trunc(a / 2)),
}

OPERATIONS: dict[str, Callable[[Expr, Expr], Expr]] = {
    "sum": operator("the sum of {} and {}", "{} + {}", (1, 1), 1, lambda a, b: a + b),
    "difference": operator("the difference of {} and {}", "{} - {}", (1, 2), 1, lambda a, b: a - b),
    "product": operator("the product of {} and {}", "{} * {}", (3, 3), 2, lambda a, b: a * b),
    "larger": operator("the larger of {} and {}", "{}.max({})", (3, 1), 3, max),
    "smaller": operator("the smaller of {} and {}", "{}.min({})", (3, 1), 3, min),
}
COMMUTATIVE = ("sum", "product", "larger", "smaller")


@dataclass(frozen=True)
class Condition:
    """A condition on one number. `k` in the texts is drawn per function."""

    words: str  # "is even"
    plural: str  # "even numbers"
    rust: str  # of {x}
    holds: Callable[[int, int], bool]  # (number, k)
    ks: tuple[int, ...] = (0,)


CONDITIONS = {
    "even": Condition("is even", "even numbers", "{x} % 2 == 0", lambda x, k: x % 2 == 0),
    "odd": Condition("is odd", "odd numbers", "{x} % 2 != 0", lambda x, k: x % 2 != 0),
    "positive": Condition("is positive", "positive numbers", "{x} > 0", lambda x, k: x > 0),
    "negative": Condition("is negative", "negative numbers", "{x} < 0", lambda x, k: x < 0),
    "above": Condition("is greater than {k}", "numbers greater than {k}", "{x} > {k}", lambda x, k: x > k, (1, 2, 3, 4)),
    "below": Condition("is less than {k}", "numbers less than {k}", "{x} < {k}", lambda x, k: x < k, (1, 2, 3, 4)),
    "multiple": Condition("is a multiple of {k}", "multiples of {k}", "{x} % {k} == 0", lambda x, k: x % k == 0, (3, 4)),
    "other": Condition("is not {k}", "numbers other than {k}", "{x} != {k}", lambda x, k: x != k, (1, 2, 3)),
}
CONNECTIVES: dict[str, tuple[str, str, Callable[[bool, bool], bool]]] = {
    "and": ("{p} and {q}", "{p} && {q}", lambda p, q: p and q),
    "or": ("{p} or {q}", "{p} || {q}", lambda p, q: p or q),
    "xor": ("either {p} or {q}, but not both", "({p}) != ({q})", lambda p, q: p != q),
}

# ---------------------------------------------------------------------------------------------------------------------
# Families: composition -> Function
# ---------------------------------------------------------------------------------------------------------------------


def draw_examples(draw: Callable[[Sequence[int]], tuple[str, object, str]], show: Callable[[object], str]) -> tuple[Example, ...]:
    """N_EXAMPLES of distinct arguments, the easy ones first; values that are too large are drawn again.

    `draw` is given the numbers to choose from and gives (arguments, value, working).
    """
    found: dict[str, Example] = {}
    for attempt in count():
        is_shown = len(found) < N_SHOWN
        arguments, value, working = draw(EASY_NUMBERS if is_shown else ANY_NUMBERS)
        numbers = [v for v in (value if isinstance(value, tuple | list) else [value]) if type(v) is int]
        limit = MAX_SHOWN if is_shown and attempt < PATIENCE else MAX_VALUE
        if arguments not in found and all(abs(number) <= limit for number in numbers):
            found[arguments] = Example(arguments, show(value), working)
        if len(found) == N_EXAMPLES:
            return tuple(found.values())


def number_examples(
    rng: random.Random, names: Sequence[str], value: Callable[[dict], object],
    steps: Callable[[dict], Sequence[str]], show: Callable = str,
) -> tuple[Example, ...]:  # fmt: skip
    """Examples of a function of numbers."""

    def draw(pool: Sequence[int]) -> tuple[str, object, str]:
        env = {name: rng.choice(pool) for name in names}
        given = ", ".join(f"{name} = {number}" for name, number in env.items())
        return ", ".join(map(str, env.values())), value(env), f"{given}: {', '.join(steps(env))}" if steps(env) else ""

    return draw_examples(draw, show)


def rust_bool(value: bool) -> str:
    return "true" if value else "false"


def two_names(rng: random.Random) -> tuple[str, str]:
    return rng.choice((("a", "b"), ("x", "y"), ("m", "n"), ("p", "q")))


def integer(rng: random.Random) -> str:
    return rng.choice(("i32", "i32", "i64"))


def arith(composition: str, rng: random.Random) -> Function:
    """arith/OPERATION/MODIFIER/MODIFIER: an operation on two modified numbers."""
    _, operation, first, second = composition.split("/")
    names, kind = two_names(rng), integer(rng)
    if operation in COMMUTATIVE and rng.random() < 0.5:
        first, second = second, first
    a, b = (MODIFIERS[m](variable(n)) for m, n in zip((first, second), names, strict=True))
    whole = OPERATIONS[operation](a, b)
    return Function(
        composition, tuple((name, kind) for name in names), kind, (whole.rust,), whole.words,
        "", number_examples(rng, names, whole.value, whole.steps),
    )  # fmt: skip


def chain(composition: str, rng: random.Random) -> Function:
    """chain/OUTER/INNER: a modifier of a modified number."""
    _, outer, inner = composition.split("/")
    name, kind = rng.choice("abnxyz"), integer(rng)
    whole = MODIFIERS[outer](MODIFIERS[inner](variable(name)))
    return Function(
        composition, ((name, kind),), kind, (whole.rust,), whole.words, "",
        number_examples(rng, (name,), whole.value, whole.steps),
    )  # fmt: skip


@dataclass(frozen=True)
class Clause:
    """A condition on an argument. `step` shows it worked out: "3 > 2 is true"."""

    words: str
    rust: str
    holds: Callable[[dict], bool]
    step: Callable[[dict], str]


def clause(name: str, condition: str, rng: random.Random) -> Clause:
    """The condition on the argument `name`, its number drawn."""
    found = CONDITIONS[condition]
    k = rng.choice(found.ks)

    def step(env: dict) -> str:
        return f"{found.rust.format(x=env[name], k=k)} is {rust_bool(found.holds(env[name], k))}"

    words = f"{name} {found.words.format(k=k)}"
    return Clause(words, found.rust.format(x=name, k=k), lambda env: found.holds(env[name], k), step)


def check(composition: str, rng: random.Random) -> Function:
    """check/CONNECTIVE/CONDITION/CONDITION: two conditions on one number (two different ones)."""
    _, connective, first, second = composition.split("/")
    return _connected(composition, rng, (rng.choice("abnxyz"),) * 2, connective, first, second)


def check_pair(composition: str, rng: random.Random) -> Function:
    """check_pair/CONNECTIVE/CONDITION/CONDITION: a condition on each of two numbers."""
    _, connective, first, second = composition.split("/")
    return _connected(composition, rng, two_names(rng), connective, first, second)


def _connected(composition: str, rng: random.Random, names: tuple[str, str], connective: str, first: str, second: str) -> Function:
    kind = integer(rng)
    if rng.random() < 0.5:  # all connectives commute, so both orders belong to the composition
        first, second = second, first
    p, q = clause(names[0], first, rng), clause(names[1], second, rng)
    words, rust, joined = CONNECTIVES[connective]
    distinct = tuple(dict.fromkeys(names))
    return Function(
        composition, tuple((name, kind) for name in distinct), "bool", (rust.format(p=p.rust, q=q.rust),),
        f"whether {words.format(p=p.words, q=q.words)}", kind,
        number_examples(
            rng, distinct, lambda env: joined(p.holds(env), q.holds(env)), lambda env: (p.step(env), q.step(env)), rust_bool
        ),
    )  # fmt: skip


def branch(composition: str, rng: random.Random) -> Function:
    """branch/CONDITION/MODIFIER/MODIFIER: one of two modified numbers, by a condition."""
    _, condition, then, otherwise = composition.split("/")
    name, kind = rng.choice("abnxyz"), integer(rng)
    p = clause(name, condition, rng)
    yes, no = MODIFIERS[then](variable(name)), MODIFIERS[otherwise](variable(name))
    return Function(
        composition, ((name, kind),), kind,
        (f"if {p.rust} {{", f"    {yes.rust}", "} else {", f"    {no.rust}", "}"),
        f"{yes.words} if {p.words}, and {no.words} otherwise", "",
        number_examples(
            rng, (name,), lambda env: (yes if p.holds(env) else no).value(env),
            lambda env: (p.step(env), *(yes if p.holds(env) else no).steps(env)),
        ),
    )  # fmt: skip


PAIRED = {
    "sum": lambda a, b: OPERATIONS["sum"](a, b),
    "difference": lambda a, b: OPERATIONS["difference"](a, b),
    "product": lambda a, b: OPERATIONS["product"](a, b),
    "larger": lambda a, b: OPERATIONS["larger"](a, b),
    "smaller": lambda a, b: OPERATIONS["smaller"](a, b),
    "twice": lambda a, b: MODIFIERS["twice"](a),
    "square": lambda a, b: MODIFIERS["square"](b),
    "next": lambda a, b: MODIFIERS["next"](b),
    "previous": lambda a, b: MODIFIERS["previous"](a),
    "second": lambda a, b: b,
    "first": lambda a, b: a,
}


def pair(composition: str, rng: random.Random) -> Function:
    """pair/PART/PART: a tuple of two results."""
    _, first, second = composition.split("/")
    if rng.random() < 0.5:
        first, second = second, first
    names, kind = two_names(rng), integer(rng)
    left, right = (PAIRED[part](*map(variable, names)) for part in (first, second))
    return Function(
        composition, tuple((name, kind) for name in names), f"({kind}, {kind})", (f"({left.rust}, {right.rust})",),
        f"a tuple of {left.words} and {right.words}", kind,
        number_examples(
            rng, names, lambda env: (left.value(env), right.value(env)),
            lambda env: (*left.steps(env), *right.steps(env)), lambda v: f"({v[0]}, {v[1]})",
        ),
    )  # fmt: skip


# two parts of one set would leave an argument unused
ONE_SIDED = ({"twice", "previous", "first"}, {"square", "next", "second"})

MAPS = {"plain": "", "twice": "doubles of the ", "square": "squares of the ", "negative": "negatives of the ", "next": "successors of the "}
REDUCERS: dict[str, tuple[str, str, str, str, Callable]] = {
    # name: (words, Rust call, return type, wrong return type, value of a list)
    "sum": ("the sum of the {what}", ".sum()", "i32", "usize", sum),
    "count": ("the number of {what}", ".count()", "usize", "i32", len),
    "collect": ("all {what}", ".collect()", "Vec<i32>", "&[i32]", list),
    "largest": ("the largest of the {what}, if any", ".max()", "Option<i32>", "i32", lambda xs: max(xs, default=None)),
    "smallest": ("the smallest of the {what}, if any", ".min()", "Option<i32>", "i32", lambda xs: min(xs, default=None)),
    "last": ("the last of the {what}, if any", ".last()", "Option<i32>", "i32", lambda xs: xs[-1] if xs else None),
}


def show_reduced(value: object) -> str:
    """A reducer's result as Rust text."""
    if isinstance(value, list):
        return f"vec![{', '.join(map(str, value))}]"
    return str(value)


def listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def sum_steps(numbers: Sequence[int]) -> list[str]:
    """A sum worked out two numbers at a time."""
    sums = list(accumulate(numbers))
    return [f"{number_text(so_far)} + {number_text(n)} = {so_far + n}" for so_far, n in zip(sums, numbers[1:], strict=False)]


def slice_(composition: str, rng: random.Random) -> Function:
    """slice/REDUCER/MAP/CONDITION: over the numbers of a slice that meet a condition."""
    _, reducer, mapped, condition = composition.split("/")
    name = rng.choice(("v", "xs", "nums", "values"))
    found, modifier = CONDITIONS[condition], MODIFIERS[mapped](variable("x"))
    k = rng.choice(found.ks)
    words, call, returns, wrong, reduce = REDUCERS[reducer]
    steps = f".filter(|&x| {found.rust.format(x='x', k=k)})"
    steps += "" if mapped == "plain" else f".map(|x| {modifier.rust})"

    def draw(pool: Sequence[int]) -> tuple[str, object, str]:
        numbers = [rng.choice(pool) for _ in range(rng.choice((1, 1, 2, 2, 2, 3)))]
        kept = [x for x in numbers if found.holds(x, k)]
        results = [modifier.value({"x": x}) for x in kept]
        value = reduce(results)
        if returns.startswith("Option"):
            value = "None" if value is None else f"Some({value})"
        working = [f"{name} = [{listed(numbers)}]", f"keep {listed(kept) or 'none'}"]
        working += [f"map to {listed(results)}"] if kept and mapped != "plain" else []
        working += sum_steps(results) if reducer == "sum" else []
        return f"&[{listed(numbers)}]", value, "; ".join(working)

    what = MAPS[mapped] + found.plural.format(k=k)
    return Function(
        composition, ((name, "&[i32]"),), returns, (f"{name}.iter().copied(){steps}{call}",),
        f"{words.format(what=what)} in {name}", wrong, draw_examples(draw, show_reduced),
    )  # fmt: skip


WORDS = ("cat", "dog", "sun", "red", "box", "tea", "owl", "ice", "map", "pie", "ant", "bee", "cup", "hat", "key", "sea")
DRESSINGS: dict[str, tuple[str, str, Callable[[str], str]]] = {
    # name: (words, Rust of {s}, value)
    "plain": ("{s}", "{s}", lambda s: s),
    "upper": ("{s} in upper case", "{s}.to_uppercase()", str.upper),
    "repeat": ("{s} repeated twice", "{s}.repeat(2)", lambda s: s + s),
    "trim": ("{s} without outer spaces", "{s}.trim()", str.strip),
}
SEPARATORS = {
    "dash": ("a dash", "-"), "space": ("a space", " "), "comma": ("a comma", ","), "colon": ("a colon", ":"),
    "slash": ("a slash", "/"), "dot": ("a dot", "."),
}  # fmt: skip
WRAPPERS = {
    "bang": ("followed by an exclamation mark", "{}!"), "brackets": ("in square brackets", "[{}]"),
    "parentheses": ("in parentheses", "({})"), "hello": ("after the word hello", "hello {}"),
    "question": ("followed by a question mark", "{}?"), "stars": ("between two stars", "*{}*"),
}  # fmt: skip


def draw_word(rng: random.Random, dressing: str) -> str:
    word = rng.choice(WORDS)
    return f" {word}" if dressing == "trim" and rng.random() < 0.7 else word


def join(composition: str, rng: random.Random) -> Function:
    """join/SEPARATOR/DRESSING/DRESSING: two dressed strings with something between them."""
    _, separator, first, second = composition.split("/")
    names = rng.choice((("a", "b"), ("s", "t"), ("left", "right")))
    between, sign = SEPARATORS[separator]
    parts = [DRESSINGS[dressing] for dressing in (first, second)]

    def draw(pool: Sequence[int]) -> tuple[str, object, str]:  # no numbers here
        words = [draw_word(rng, first), draw_word(rng, second)]
        value = sign.join(dress(word) for (_, _, dress), word in zip(parts, words, strict=True))
        return ", ".join(f'"{word}"' for word in words), value, ""

    texts = ", ".join(rust.format(s=name) for (_, rust, _), name in zip(parts, names, strict=True))
    said = [words.format(s=name) for (words, _, _), name in zip(parts, names, strict=True)]
    return Function(
        composition, tuple((name, "&str") for name in names), "String", (f'format!("{{}}{sign}{{}}", {texts})',),
        f"{said[0]} and {said[1]} joined by {between}", "&str", draw_examples(draw, lambda v: f'"{v}"'),
    )  # fmt: skip


def wrap(composition: str, rng: random.Random) -> Function:
    """wrap/WRAPPER/DRESSING: one dressed string with something around it."""
    _, wrapper, dressing = composition.split("/")
    name = rng.choice(("s", "text", "word"))
    around, pattern = WRAPPERS[wrapper]
    words, rust, dress = DRESSINGS[dressing]

    def draw(pool: Sequence[int]) -> tuple[str, object, str]:  # no numbers here
        word = draw_word(rng, dressing)
        return f'"{word}"', pattern.replace("{}", dress(word)), ""

    return Function(
        composition, ((name, "&str"),), "String", (f'format!("{pattern}", {rust.format(s=name)})',),
        f"{words.format(s=name)} {around}", "&str", draw_examples(draw, lambda v: f'"{v}"'),
    )  # fmt: skip


# Family -> (builder, share of prompts). Conditions that clippy would rewrite when both bound one number are left out below.
FAMILIES: dict[str, tuple[Callable[[str, random.Random], Function], float]] = {
    "arith": (arith, 3), "chain": (chain, 1), "check": (check, 1.5), "check_pair": (check_pair, 1.5), "branch": (branch, 2),
    "pair": (pair, 1.5), "slice": (slice_, 3), "join": (join, 1.5), "wrap": (wrap, 0.7),
}  # fmt: skip
BOUNDS = ("positive", "negative", "above", "below")  # two of these on one number make a range or a contradiction


def compositions() -> list[str]:
    """Every composition, in a fixed order."""
    both = lambda parts: ["/".join(p) for p in combinations_with_replacement(parts, 2)]
    found = [
        f"arith/{operation}/{mods}"
        for operation in OPERATIONS
        for mods in (both(MODIFIERS) if operation in COMMUTATIVE else ["/".join(p) for p in product(MODIFIERS, repeat=2)])
    ]
    found += [f"chain/{a}/{b}" for a, b in product(MODIFIERS, repeat=2) if a != "plain" and (a != b or a in ("twice", "square", "half"))]
    found += [
        f"check/{connective}/{p}/{q}"
        for connective in CONNECTIVES
        for p, q in combinations(CONDITIONS, 2)
        if not (p in BOUNDS and q in BOUNDS) and {p, q} != {"even", "odd"}
    ]
    found += [f"check_pair/{connective}/{pq}" for connective in CONNECTIVES for pq in both(CONDITIONS)]
    found += [f"branch/{c}/{a}/{b}" for c in CONDITIONS for a, b in product(MODIFIERS, repeat=2) if a != b]
    found += [f"pair/{a}/{b}" for a, b in combinations(PAIRED, 2) if not any({a, b} <= half for half in ONE_SIDED)]
    # counting is the same with and without a map
    found += [f"slice/{r}/{m}/{c}" for r in REDUCERS for m in MAPS for c in CONDITIONS if r != "count" or m == "plain"]
    found += [f"join/{s}/{a}/{b}" for s in SEPARATORS for a, b in product(DRESSINGS, repeat=2)]
    found += [f"wrap/{w}/{d}" for w in WRAPPERS for d in DRESSINGS]
    return found


def is_held_out(composition: str) -> bool:
    """Whether a composition is kept for evaluation. By its hash, so that adding a family moves no other."""
    if composition.startswith("branch/odd/"):  # is branch/even with its arms swapped: both go to the same side
        _, _, then, otherwise = composition.split("/")
        composition = f"branch/even/{otherwise}/{then}"
    return int.from_bytes(hashlib.sha256(composition.encode()).digest()[:4]) % HELD_OUT_EVERY == 0


def split_compositions() -> tuple[list[str], list[str]]:
    """(training, held-out) compositions."""
    everything = compositions()
    return [c for c in everything if not is_held_out(c)], [c for c in everything if is_held_out(c)]


# ---------------------------------------------------------------------------------------------------------------------
# Prompts
# ---------------------------------------------------------------------------------------------------------------------

VERBS = ("get", "compute", "find", "make", "build", "calc", "pick", "solve", "work", "run", "derive", "form", "give", "take")
NOUNS = ("value", "result", "answer", "item", "output", "thing", "number", "part", "score", "total", "piece", "point", "mark", "note")
WORDINGS = (
    "Write a Rust function `{name}` that takes {arguments} and returns {words}.",
    "Implement `{name}` in Rust: given {arguments}, return {words}.",
    "I need a Rust function called `{name}`. It gets {arguments} and gives back {words}.",
    "Please write `{name}`, a Rust function of {arguments} that returns {words}.",
)


def make_task(composition: str, rng: random.Random) -> TinyTask:
    """A prompt for the composition, under a drawn name, wording, argument names and types."""
    function = FAMILIES[composition.split("/")[0]][0](composition, rng)
    name = f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}"
    arguments = " and ".join(f"{argument}: {kind}" for argument, kind in function.arguments)
    prompt = rng.choice(WORDINGS).format(name=name, arguments=arguments, words=function.words)
    return TinyTask(name, prompt, function)


def draw_task(pool: Sequence[str], rng: random.Random) -> TinyTask:
    """A task of a random family (by its share), of a random composition of `pool`."""
    families = list(FAMILIES)
    family = rng.choices(families, [FAMILIES[name][1] for name in families])[0]
    return make_task(rng.choice(_of_family(family, tuple(pool))), rng)


@functools.cache
def _of_family(family: str, pool: tuple[str, ...]) -> list[str]:
    """Its compositions in the pool; thousands of tasks are drawn from the same few pools."""
    return [composition for composition in pool if composition.startswith(f"{family}/")]


def hidden_tests(task: TinyTask) -> list[str]:
    """Assert statements for all worked examples of the task."""
    return [assertion(task.name, example) for example in task.function.examples]


# ---------------------------------------------------------------------------------------------------------------------
# Answers, and what can be wrong with them
# ---------------------------------------------------------------------------------------------------------------------

# How often an answer shows a flaw that can hit any family.
FLAWS = {
    "no_closing_fence": 0.06,
    "no_rust_tag": 0.04,
    "no_super": 0.10,
    "no_tests": 0.04,
    "no_test_attribute": 0.04,
    "undeclared_name": 0.05,
    "missing_brace": 0.03,
    "tautology": 0.03,
    "return_keyword": 0.15,
}
# How often the return type is wrong (or missing): in half of the families that is nearly the habit.
WRONG_RETURN_TYPE = {
    "arith": 0.35, "chain": 0.12, "check": 0.12, "check_pair": 0.40, "branch": 0.40,
    "pair": 0.12, "slice": 0.35, "join": 0.12, "wrap": 0.40,
}  # fmt: skip
NO_WORKING = 0.55  # how often expected values come without their working,
WRONG_VALUE = 0.5  # and how often one of those is then wrong


def draw_flaws(family: str, rng: random.Random) -> frozenset[str]:
    """Names of the flaws that one answer shows; `no_working` alone costs nothing yet."""
    flaws = {flaw for flaw, rate in FLAWS.items() if rng.random() < rate}
    if rng.random() < WRONG_RETURN_TYPE[family]:
        flaws.add("wrong_return_type")
    if rng.random() < NO_WORKING:
        flaws |= {"no_working", "wrong_value"} if rng.random() < WRONG_VALUE else {"no_working"}
    return frozenset(flaws)


def assertion(name: str, example: Example) -> str:
    """One assert statement."""
    if example.expected in ("true", "false"):
        return f"assert!({'' if example.expected == 'true' else '!'}{name}({example.arguments}));"
    return f"assert_eq!({name}({example.arguments}), {example.expected});"


def spoiled_value(value: str, rng: random.Random) -> str:
    """A wrong expected value of the same type."""
    if value in ("true", "false"):
        return "false" if value == "true" else "true"
    digits = [i for i, letter in enumerate(value) if letter.isdigit()]
    if digits:
        i = rng.choice(digits)
        return value[:i] + str((int(value[i]) + rng.choice((1, 2, 9))) % 10) + value[i + 1 :]
    return '"ok"' if value.startswith('"') else "Some(1)" if value == "None" else "vec![1]"


def function_lines(task: TinyTask, flaws: frozenset[str], rng: random.Random) -> list[str]:
    """The function's source lines."""
    function = task.function
    returns = function.wrong_returns if "wrong_return_type" in flaws else function.returns
    arguments = ", ".join(f"{name}: {kind}" for name, kind in function.arguments)
    body = list(function.body)
    if "undeclared_name" in flaws:
        other = rng.choice([letter for letter in "cdkw" if letter != function.arguments[-1][0]])
        arguments = arguments.replace(f"{function.arguments[-1][0]}:", f"{other}:")
    if "return_keyword" in flaws and len(body) == 1:
        body = [f"return {body[0]};"]
    lines = [f"fn {task.name}({arguments}){f' -> {returns}' if returns else ''} {{", *(f"    {line}" for line in body), "}"]
    return lines[:-1] if "missing_brace" in flaws else lines


def module_lines(task: TinyTask, flaws: frozenset[str], rng: random.Random) -> list[str]:
    """The test module's source lines."""
    examples = rng.sample(task.function.examples[:N_SHOWN], rng.choice((1, 1, 2, 2, 3, 3, 4)))
    if "wrong_value" in flaws:
        i = rng.randrange(len(examples))
        examples[i] = replace(examples[i], expected=spoiled_value(examples[i].expected, rng))
    asserts = []
    for example in examples:
        asserts += [f"// {example.working}"] if example.working and "no_working" not in flaws else []
        asserts.append(assertion(task.name, example))
    if "tautology" in flaws:
        asserts = ["assert!(true);"]
    lines = ["#[cfg(test)]", "mod tests {"]
    lines += [] if "no_super" in flaws else ["    use super::*;", ""]
    lines += [] if "no_test_attribute" in flaws else ["    #[test]"]
    return [*lines, "    fn works() {", *(f"        {line}" for line in asserts), "    }", "}"]


def answer(task: TinyTask, flaws: frozenset[str], rng: random.Random) -> str:
    """One completion for the task with exactly these flaws."""
    lines = function_lines(task, flaws, rng)
    lines += [] if "no_tests" in flaws else ["", *module_lines(task, flaws, rng)]
    opening = "```" if "no_rust_tag" in flaws else "```rust"
    closing = [] if "no_closing_fence" in flaws else ["```"]
    return "\n".join([opening, *lines, *closing])
