"""Small requests for a change, in words, made of a mutation: what the mutant does and the reference does not, for make_kinds.py.

A request is true of the mutant and names one place: what it quotes stands there, on a line that the program has once. Operators,
branches, cases and steps are said by what they do; names and literals by what should stand there instead.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from judge.syntax import Node, child_of, item_name, parse_any_length, text_of

MAX_QUOTED = 100  # letters of a piece of code
COMPARED = {"<": "is less than", "<=": "is at most", ">": "is greater than", ">=": "is at least", "==": "equals", "!=": "differs from"}
COMPUTED = {"+": "sum", "-": "difference", "*": "product", "/": "quotient", "%": "remainder", "&": "bitwise and",
            "|": "bitwise or", "^": "bitwise exclusive or", "<<": "left shift", ">>": "right shift"}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a mutant differs: `here` is the smallest named node there in its tree, `there` that of the reference."""

    here: Node
    there: Node
    old: str  # what the mutant has
    new: str  # what the reference has
    line: str  # of the mutant

    def is_once(self, piece: str) -> bool:
        """Whether code stands once in the line, parts of longer words aside."""
        edges = [r"(?<!\w)" if piece[:1].isalnum() else "", r"(?!\w)" if piece[-1:].isalnum() else ""]
        return len(re.findall(edges[0] + re.escape(piece) + edges[1], self.line)) == 1


def request_for(kind: str, mutant: str, reference: str, start: int, end: int, replacement: str) -> str | None:
    """What somebody would ask for who wants the reference and has the mutant; None where that cannot be said of one place.

    kind: the mutation's, as task_proof/mutants.py names it; start, end: bytes of the reference that `replacement` stands for.
    """
    trees = parse_any_length(mutant), parse_any_length(reference)
    new = reference.encode()[start:end].decode()
    here = trees[0].named_descendant_for_byte_range(start, start + len(replacement.encode()))
    there = trees[1].named_descendant_for_byte_range(start, end)
    line, owner = _line_at(mutant, start), _function_around(here)
    if owner is None or line is None or [one.strip() for one in mutant.split("\n")].count(line) != 1:
        return None
    place = Place(here, there, replacement, new, line)
    said = SAID.get(kind, _literally)(place) if not replacement or place.is_once(text_of(here)) else None
    if said is None:
        return None
    where = "after" if kind == "statement" and not replacement else "in"
    return f"In `{item_name(owner)}`, {where} the line `{line}`: {said} Nothing else should change."


def _line_at(source: str, start: int) -> str | None:
    """The line, without its indentation, that byte `start` is on, or the one before where that is empty; None for a long one."""
    before = source.encode()[:start].decode()
    lines = source.split("\n")
    number = before.count("\n")
    while number > 0 and not lines[number].strip():
        number -= 1
    return lines[number].strip() if 0 < len(lines[number].strip()) <= MAX_QUOTED else None


def _function_around(node: Node | None) -> Node | None:
    while node is not None and node.type != "function_item":
        node = node.parent
    return node


def _sentence(pattern: str, *texts: str) -> str | None:
    """The pattern with each piece of code quoted in it; None when one cannot be."""
    can_be = all(text.strip() and "\n" not in text and "`" not in text and len(text) <= MAX_QUOTED for text in texts)
    return pattern.format(*(f"`{text}`" for text in texts)) if can_be else None


def _literally(place: Place) -> str | None:
    """Of names and literals, and of a method that is not called."""
    if not place.old:
        receiver = child_of(child_of(place.there, "function") or place.there, "value")
        is_clear = receiver is not None and place.is_once(text_of(receiver))
        return _sentence("{} should be {}.", text_of(receiver), text_of(place.there)) if is_clear else None
    return _sentence("where it has {}, it should have {}.", text_of(place.here), text_of(place.there))


def _one_less(place: Place) -> str | None:
    return _sentence("where it has {}, it should have {}.", text_of(place.here), text_of(child_of(place.here, "left")))


def _compared(place: Place) -> str | None:
    left, right = (text_of(child_of(place.here, side)) for side in ("left", "right"))
    if place.new not in COMPARED or not left or not right:
        return None
    return _sentence(f"{{}} should hold when {{}} {COMPARED[place.new]} {{}}.", text_of(place.here), left, right)


def _computed(place: Place) -> str | None:
    if place.new.endswith("=") and place.new[:-1] in COMPUTED:
        return _sentence(f"{{}} should give the {COMPUTED[place.new[:-1]]} of both sides.", text_of(place.here))
    return _sentence(f"{{}} should be the {COMPUTED[place.new]} of both sides.", text_of(place.here)) if place.new in COMPUTED else None


def _combined(place: Place) -> str | None:
    what = "both sides of {} have to hold, not one of them." if place.new == "&&" else "one side of {} is enough."
    return _sentence(what, text_of(place.here))


def _ranged(place: Place) -> str | None:
    return _sentence(f"the range {{}} should {'include' if place.new == '..=' else 'leave out'} its end.", text_of(place.here))


def _opposite(place: Place) -> str | None:
    if not place.old:  # a `!` that is gone
        asked = text_of(place.there.named_children[-1])
        return _sentence("{} should be negated there.", asked) if place.is_once(asked) else None
    return _sentence("instead of {} the opposite should be asked.", place.old)


def _branched(place: Place) -> str | None:
    if place.old.startswith("!("):
        return _opposite(place)
    consequence = body_only(child_of(place.there, "consequence"))
    return _sentence("a case is missing: when {}, it should do {}.", text_of(child_of(place.there, "condition")), consequence)


def body_only(block: Node | None) -> str:
    """What stands between the braces of a block, "" for no block."""
    return text_of(block).strip()[1:-1].strip() if block is not None else ""


def _cased(place: Place) -> str | None:
    if not place.old and place.there.type == "match_arm":
        pattern, value = (text_of(child_of(place.there, part)) for part in ("pattern", "value"))
        return _sentence("a case is missing before it or after it: {} should give {}.", pattern, value)
    arm = place.here
    while arm is not None and arm.type != "match_arm":
        arm = arm.parent
    return _sentence("the case {} should give {}.", text_of(child_of(arm, "pattern")), place.new) if arm is not None else None


def _stepped(place: Place) -> str | None:
    return _sentence("a step is missing, {}.", place.new)


SAID: Mapping[str, Callable[[Place], str | None]] = {
    "comparison": _compared, "boundary": _compared, "arithmetic": _computed, "logic": _combined, "range": _ranged, "negation": _opposite,
    "predicate": _opposite, "branch": _branched, "arm": _cased, "statement": _stepped, "argument": _one_less,
    "order": lambda place: "what is compared there should come in the opposite order.",
    "loop": lambda place: "the loop should begin with the first element, not with the second.",
    "body": lambda place: None,  # a whole one is no small change
}  # fmt: skip
