"""Where `cfg(test)` matters in a program: whether one compiler pass with it says what one without it would say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from judge.messages import Message
from judge.syntax import Node, parse_any_length, text_of, walk


@dataclass(frozen=True)
class TestView:
    """Where a program's test modules are, for programs in which `cfg(test)` matters nowhere else."""

    lines: tuple[tuple[int, int], ...]  # first and last line of each test module, attribute included
    unsure_imports: frozenset[str]  # imported outside and not named there again: a trait, or used by the tests alone

    def holds(self, message: Message) -> bool:
        """Whether the message is about test code."""
        return bool(message.spans) and all(
            any(first <= line <= last for first, last in self.lines) for line, _column, _end in message.spans
        )

    def hides_unused_import(self, messages: Sequence[Message]) -> bool:
        """Whether an import may be unused without the tests: one that is used, and we cannot tell by whom."""
        unused = " ".join(message.diagnostic.message for message in messages if message.diagnostic.code == "unused_imports")
        return not self.unsure_imports <= set(re.findall(r"\w+", unused))


# Lints that a pass without `cfg(test)` does not have, or (dead code) that are about an empty `main` calling nothing.
ONLY_UNDER_TEST = frozenset({"clippy::items_after_test_module", "dead_code"})
# What makes code outside the test modules depend on them, or lints on whether a gate is the first statement.
_MATTERS_OUTSIDE = re.compile(
    r"\b(cfg|cfg_attr|impl|trait|async|macro_rules|extern|deny|forbid|expect|warn|clippy|test|no_mangle|unsafe)\b|#!\[|\*\s*[;,}]"
)
_MATTERS_INSIDE = re.compile(r"\b(impl|macro_export|macro_use|deny|forbid|expect|warn)\b(?!\s*\()|\b(macro_rules|cfg)\b|#!\[")


def view_of_tests(source: str) -> TestView | None:
    """Find the test modules of an ordinary program: free functions, `#[cfg(test)] mod NAME { .. }`, an empty `main`.

    None: something else may depend on `cfg(test)`, and a pass with it says nothing about one without.
    """
    if needs_code(source) or "#[cfg(test)]" not in source:
        return None
    root = parse_any_length(source)
    if root.has_error:
        return None
    modules, others = split_items(root)
    inside = "\n".join(text_of(module) for _, module in modules)
    outside = "\n".join(text_of(node) for node in others if not node.type.endswith("comment"))
    names = [re.match(r"(?:pub\s+)?mod\s+(\w+)", text_of(module)) for _, module in modules]
    if not modules or _has_glob(others) or _MATTERS_OUTSIDE.search(_without_use(outside)) or _MATTERS_INSIDE.search(inside):
        return None
    if any(name is None or re.search(rf"\b{name[1]}\b", outside) for name in names):
        return None
    lines = tuple((attribute.start_point[0] + 1, module.end_point[0] + 1) for attribute, module in modules)
    return TestView(lines, _unsure_imports(others))


_CHANGES_UNDER_TEST = re.compile(r"\b(cfg|cfg_attr|test|macro_rules|struct|enum|union|trait)\b")  # of types: tests read what it never does
_SETS_LINTS = re.compile(r"#!|\b(deny|forbid|expect|warn)\b")


def view_of_hidden_tests(source: str, with_tests: str) -> TestView | None:
    """The same for a program without tests, its empty `main` at its end, behind which a task's tests stand.

    None, too, where these tests implement something: the program may build with that alone.
    """
    before, mark, tests = with_tests.partition("#[cfg(test)]")
    end = source.removeprefix(before.rstrip("\n"))
    is_behind = bool(mark) and end != source and re.fullmatch(r"\s*fn main\(\) \{\}\s*", end) is not None
    if not is_behind or needs_code(source) or _CHANGES_UNDER_TEST.search(source) or re.search(r"\b(impl|macro_export)\b", tests):
        return None
    root = parse_any_length(source)
    attributes = " ".join(text_of(node) for node in walk(root) if node.type in ("attribute_item", "inner_attribute_item"))
    if root.has_error or _has_glob(root.children) or _SETS_LINTS.search(attributes):
        return None
    return TestView(((before.count("\n") + 1, with_tests.count("\n")),), _unsure_imports(root.children))


def _has_glob(items: Sequence[Node]) -> bool:
    return any(node.type == "use_declaration" and "*" in text_of(node) for node in items)


def _unsure_imports(items: Sequence[Node]) -> frozenset[str]:
    uses = [text_of(node) for node in items if node.type == "use_declaration"]
    imported = {leaf for text in uses for leaf in re.findall(r"(\w+)\s*(?=[,;}]|$)", text)}
    named = {text for node in items if node.type != "use_declaration" for text in identifiers(node)}
    return frozenset(imported - named)


def split_items(root: Node) -> tuple[list[tuple[Node, Node]], list[Node]]:
    """The file's `#[cfg(test)]` attributes and the `mod` items that have no other, and everything else."""
    modules, others, pending = [], [], []
    for node in root.children:
        if node.type == "attribute_item":
            pending.append(node)
            continue
        if node.type == "mod_item" and [attribute.text for attribute in pending] == [b"#[cfg(test)]"]:
            modules.append((pending[0], node))
        else:
            others += [*pending, node]
        pending = [] if not node.type.endswith("comment") else pending
    return modules, others + pending


def _without_use(text: str) -> str:
    return re.sub(r"^use [^;]*;", "", text, flags=re.MULTILINE)


def identifiers(node: Node) -> Iterator[str]:
    for current in walk(node):
        if current.type in ("identifier", "type_identifier"):
            yield text_of(current)


def needs_code(source: str) -> bool:
    """Whether `cargo build` can object to more than a check does: an empty `main` reaches no code to generate."""
    if re.search(r"\b(no_mangle|export_name|link_section|used|global_allocator|extern|asm|panic_handler)\b", source):
        return True
    return re.search(r"\bfn\s+main\s*\(\s*\)\s*\{\s*\}", source) is None
