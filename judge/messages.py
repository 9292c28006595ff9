"""The compiler's messages, as `--error-format=json` writes them, and what in them decides verdicts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from judge.verdict import MAX_DIAGNOSTICS, MAX_MESSAGE_CHARS, Diagnostic


@dataclass(frozen=True)
class Message:
    """A message of the compiler with what decides verdicts."""

    diagnostic: Diagnostic
    spans: tuple[tuple[int, int, int], ...]  # primary: line, first column, last column

    @property
    def is_error(self) -> bool:
        return self.diagnostic.level.startswith("error")

    @property
    def is_clippy(self) -> bool:
        return (self.diagnostic.code or "").startswith("clippy::")

    @property
    def is_hard(self) -> bool:
        """An error of name resolution or types: the same for clippy and rustc, with or without generating code."""
        return self.is_error and re.fullmatch(r"E(?!0080)\d+", self.diagnostic.code or "") is not None

    @property
    def is_crash(self) -> bool:
        return "internal compiler error" in self.diagnostic.level


def read_message(record: Mapping[str, object]) -> Message | None:
    """One JSON record of `--error-format=json`; None for what is no message of its own (summaries, artifacts)."""
    message = str(record.get("message", ""))
    level = str(record.get("level", ""))
    if level not in ("warning", "error", "error: internal compiler error"):
        return None
    if not record.get("spans") and re.match(r"aborting due to|\d+ warnings? emitted|could not compile", message):
        return None
    code = record.get("code")
    primary = [_span_in_crate(span) for span in record.get("spans", ()) if span["is_primary"]]  # type: ignore[attr-defined]
    spans = [span for span in primary if span is not None]
    return Message(
        Diagnostic(
            code=code["code"] if isinstance(code, dict) else None,
            level=level,
            message=message[:MAX_MESSAGE_CHARS],
            line=spans[0]["line_start"] if spans else None,
        ),
        tuple((span["line_start"], span["column_start"], span["column_end"]) for span in spans),
    )


def _span_in_crate(span: Mapping | None) -> Mapping | None:
    """The span, or where the crate called the macro of the standard library that it points into."""
    while span is not None and os.path.isabs(span["file_name"]):
        span = (span.get("expansion") or {}).get("span")
    return span


def read_messages(stderr: bytes) -> list[Message]:
    found = []
    for line in stderr.decode("utf-8", "replace").splitlines():
        if line.startswith("{"):
            try:
                message = read_message(json.loads(line))
            except ValueError:  # the last line of output that was cut at its limit
                continue
            if message is not None:
                found.append(message)
    return found


def diagnostics_of(messages: Sequence[Message]) -> tuple[Diagnostic, ...]:
    """Errors first, then warnings, capped."""
    ordered = sorted(messages, key=lambda message: not message.is_error)
    return tuple(message.diagnostic for message in ordered[:MAX_DIAGNOSTICS])


def as_error(message: Message) -> Message:
    """The message of a lint that was capped to a warning, as it is without the cap."""
    return replace(message, diagnostic=replace(message.diagnostic, level="error"))


def counts_as_warning(message: Message) -> bool:
    """Everything clippy warns of, but not that a top-level item is unused: an empty `main` calls nothing."""
    diagnostic = message.diagnostic
    if diagnostic.level != "warning":
        return False
    is_inner = re.match(r"(multiple )?(field|variant)", diagnostic.message) is not None
    return diagnostic.code != "dead_code" or is_inner


def points_into(message: Message, lines: Sequence[str], pattern: re.Pattern[str]) -> bool:
    """Whether the message is about text that matches."""
    for line, first, last in message.spans:
        text = lines[line - 1] if line <= len(lines) else ""
        if any(match.start() + 1 < first and last <= match.end() + 1 for match in pattern.finditer(text)):
            return True
    return False


def unreadable(path: str) -> Message:
    return Message(Diagnostic(None, "error", f"couldn't read `{path}`: it is no part of the program", None), ())
