"""What one row of a file of completions holds: one completion, or several side by side, and in which column."""

import re
from collections.abc import Sequence

from judge.program import holds_fence
from tasks import RUST_TEST


def side_by_side(value: object) -> list | None:
    """The completions that a value holds side by side; None for one (a text, a conversation) and for anything else.

    A list of texts, of conversations, or of objects that hold one text each (`[{"generated_text": ".."}]`).
    """
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, str) for item in value) or all(isinstance(item, list) for item in value):
        return value
    texts = [[text for text in item.values() if isinstance(text, str)] if isinstance(item, dict) else [] for item in value]
    if any(isinstance(item, dict) and {"role", "content"} & item.keys() for item in value) or not all(len(t) == 1 for t in texts):
        return None
    return [text for (text,) in texts]


def found_column(row: dict) -> str | None:
    """The column of a row whose completions stand side by side, by what is in it: of several the one with most text."""
    found = {name: side_by_side(value) for name, value in row.items()}
    sizes = {name: sum(len(str(text)) for text in texts) for name, texts in found.items() if texts and not _are_tests(texts)}
    return max(sizes, key=sizes.__getitem__) if sizes else None


def _are_tests(texts: Sequence) -> bool:
    """Whether no text can be a completion: tests, or hardly a letter (a stop token)."""
    return all(isinstance(t, str) and (not t.strip(" \n}") or (RUST_TEST.search(t) and not holds_fence(t))) for t in texts)


def single_rows(where: str, row: dict, column: str) -> list[tuple[str, dict]]:
    """(place, row) for every completion of a row; the row itself where it holds one."""
    texts = side_by_side(row.get(column))
    if texts is None:
        return [(where, row)]
    return [(f"{where}, completion {number}", row | {column: text}) for number, text in enumerate(texts, start=1)]


def row_of(place: str) -> str:
    """The row that a completion stands in, without the file's name: "line 7" of "FILE, line 7, completion 2"."""
    return re.sub(r", completion \d+$", "", place).rpartition(", ")[2]
