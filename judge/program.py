"""Read a completion: its Rust program, its tests, and what those tests are worth.

One job: completion text in, `Program` out. Nothing is compiled or run here; everything about Rust goes through
tree-sitter. `rust_tool.py` compiles what `extract_program`, `panic_stubbed` and `with_hidden_tests` return.

What a test is worth is found out by running it (`rust_tool.py`). Reading only says which tests may count, and what no run shows:
constructs that reach the harness or end the process, functions that look at nothing they are given (`fn f(_: u32)`),
a helper of the tests that repeats the function, an expectation in a constant that the function itself computes, and whether all
that the tests expect stands in a function as a literal (which then has to say something else to other inputs).

What neither can see:
* Answers that depend on the inputs and are wrong all the same, where the tests ask for nothing else: a formula that fits what is asked,
  a list indexed by a remainder, the length of a text, a comparison that most inputs pass (`s != "rust"`).
* A round trip (`decode(encode(x)) == x`) through two functions that do neither, and a wrong oracle written in another way.
* Expected values that reach the program by a side door whose contents change with every question (an option field, a closure).
* What a function in a constant context does: it can have no gate (`[0; size()]`).
* That the function under test is the one the task asked for; `same_program` helps the caller.
* Functions and methods are told apart by name, not by type.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache, reduce

from judge.guards import (
    TestFn,
    answers_in_own_type,
    forbidden_construct,
    has_constant_comparison,
    has_silenced_lints,
    n_asserts,
    parameters_of,
    program_guard,
    worth_of,
)
from judge.statements import AssertTest, assert_tokens, macros, piece_of_main, piece_of_statements, with_std_in_constants
from judge.syntax import (
    ASSERT_MACROS,
    MAX_DEPTH,
    MAX_SOURCE_BYTES,
    TYPE_ITEMS,
    Index,
    Item,
    Node,
    all_items,
    body_of,
    child_of,
    edited,
    harness_name,
    is_too_long,
    item_name,
    merge_key,
    parse_rust,
    text_of,
    tokens_of,
    tree_depth,
    walk,
    words_of,
)

MAX_HIDDEN_TESTS = 2000
MAX_ALONE = 32  # functions that are made wrong one at a time: each takes 4 of the 256 modes of judge/gate.rs
# Method names whose panic would abort the process instead of failing the test.
UNSTUBBABLE = {"Drop": ("drop",), "GlobalAlloc": ("alloc", "dealloc", "realloc", "alloc_zeroed"), "Debug": ("fmt",)}
STUB = ' if true { ::std::panic!("stubbed") }'
MARK = ' if true { ::std::panic!("reached") }'


# -- What a completion amounts to --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """A completion's program. Lines of every diagnostic refer to `source`."""

    source: str
    functions: tuple[str, ...]
    test_names: tuple[str, ...]
    n_asserts: int
    has_test_block: bool
    guard: str | None
    code_block: bool
    tests: tuple[TestFn, ...]
    silences_clippy: bool = False  # allows lints beyond dead code and naming, outside its tests
    assert_sites: tuple[tuple[int, int], ...] = ()  # byte ranges of counted assert macros in `source`
    tested_functions: tuple[str, ...] = ()  # that counted assertions depend on directly
    listing_functions: tuple[str, ...] = ()  # that hold all that the tests expect, as literals
    closed_functions: tuple[str, ...] = ()  # of these, those that hold nothing else, not even what they are asked
    speaks_of_nan: bool = False  # do its tests
    root_functions: tuple[str, ...] = ()  # that no other function of the program calls
    alone: tuple[str, ...] = ()  # functions, and types for their methods, that are made wrong one at a time; none where there is but one
    has_statics: bool = False  # one run of its tests could leave something for the next, in one process

@dataclass(frozen=True)
class HiddenSuite:
    """A program with a task's tests appended as a module of its own."""

    source: str
    functions: tuple[str, ...]  # `#[test]`s as far as the texts show: "hidden_1f0c::text0::tests::adds"
    guard: str | None = None  # a construct in the program that could make them pass: they are worth nothing then
    module: str = ""  # that holds them all
    asserts: tuple[tuple[str, tuple[AssertTest, ...]], ...] = ()  # a function that runs statements, their tests

    @property
    def test_names(self) -> tuple[str, ...]:
        """The tests as far as the texts show, those of statements under their place in the text."""
        return (*self.functions, *(test.name for _runner, tests in self.asserts for test in tests))

    def functions_among(self, listed: Sequence[str]) -> tuple[str, ...]:
        """The `#[test]`s that were compiled, as the binary lists them; what the texts show where it lists none."""
        runners = {runner for runner, _tests in self.asserts}
        return tuple(name for name in listed if name.startswith(f"{self.module}::") and name not in runners) if listed else self.functions


# -- Fences ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CodeBlock:
    tag: str  # first word of the info string, lower case; "" when there is none
    text: str
    closed: bool


# How models mark a part of what they write, in whatever word: `<think>`, `<|begin_of_thought|>`, `[PLAN]`, `\u25c1draft\u25b7`. In
# brackets only upper case: Rust has `[name]` itself.
_MARK = re.compile(
    r"<\|?(?:(?P<shut>/|end[_-]of[_-])|(?P<begin>(?:begin|start)[_-]of[_-]))?(?P<name>[a-z][\w:.-]*)\|?>"
    r"|\u25c1(?P<shut_b>/?)(?P<name_b>\w+)\u25b7|\[(?P<shut_c>/?)(?P<name_c>(?-i:[A-Z][A-Z_ -]+))\]",
    re.I,
)
_MIN_MARK = 4  # letters of a mark without its partner: `<T>` and `</s>` are something else
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")  # an answer in parts, of which `final` is for the user
_CONTROL = r"(?:<\|[\w-]{1,40}\|>|</?s>|<eos>|<end_of_turn>)"  # what ends a turn, glued to the fence beside it
_ITEM_START = re.compile(r"(?:#!?\[|//|(?:pub|fn|use|struct|enum|impl|mod|const|static|trait|type|async|unsafe|extern|macro_rules!)(?!\w))")


def code_blocks(text: str) -> list[CodeBlock]:
    """Return the fenced code blocks of the answer in a text, by CommonMark's rules at any indentation, and as models bend them.

    Indentation is free on the opening fence because list items indent theirs; a closing fence may be indented
    three columns more than its opening one. Beyond CommonMark: a closing fence may stand behind the last brace, an opening one
    behind prose or in front of code; one that opens Rust begins anew in a block without tag or content; and Rust before a
    lone closing fence is a block whose opening fence was in the prompt. What models mark as a draft is no answer
    (`_without_drafts`).
    """
    found = _Blocks()
    for line in _without_drafts(_final_channel(text.lstrip("\ufeff\u200b").replace("\r\n", "\n"))).split("\n"):
        found.take(_without_control(line))
    if found.fence is not None:
        found.end(closed=False)
    return found.blocks


def ends_with_code(text: str) -> bool:
    """Whether a text ends with the closing fence of the only code block of its answer, which is Rust and not blank."""
    blocks = code_blocks(text)
    is_last = re.search(rf"(?:```|~~~)(?:\s|{_CONTROL})*$", text[-100:])
    return len(blocks) == 1 and blocks[0].tag == "rust" and blocks[0].closed and bool(blocks[0].text.strip() and is_last)


class _Blocks:
    """The code blocks of a text that is read line by line."""

    def __init__(self) -> None:
        self.blocks: list[CodeBlock] = []
        self.fence: re.Match[str] | None = None  # of the open block
        self.lines: list[str] = []  # of the open block, or of what stands in front of the first one

    def take(self, line: str) -> None:
        opening = _opening_fence(line)
        if self.fence is None:
            self._outside(line, opening)
        elif _closes(line, self.fence):
            self.end()
        elif opening and _tag(opening["info"]) == "rust" and _is_void(self.fence, self.lines):
            self._begin(opening)
        else:
            code = _before_glued_fence(line, self.fence)
            self.lines.append(_dedent(line if code is None else code, len(self.fence["indent"])))
            if code is not None:
                self.end()

    def _outside(self, line: str, opening: re.Match[str] | None) -> None:
        if opening is None:
            self.lines.append(line)
        elif not self.blocks and not opening["info"].strip() and _is_rust("\n".join(self.lines)):
            self.blocks.append(CodeBlock("rust", "\n".join(self.lines), closed=True))
            self.lines = []
        else:
            self._begin(opening)

    def _begin(self, opening: re.Match[str]) -> None:
        self.fence, self.lines = opening, _code_behind(opening["info"])

    def end(self, closed: bool = True) -> None:
        self.blocks.append(CodeBlock(_tag(self.fence["info"]), "\n".join(self.lines), closed))
        self.fence, self.lines = None, []


def _without_drafts(text: str) -> str:
    """The text without the sections that the model marked as something else than its answer.

    A section stands between a mark and its closing one, outside code; a closing mark alone ends one that began in the prompt, and
    a mark in front of everything that is never closed begins one that fills the whole text. The last closed section with code is
    the answer itself where no code is left without it (`<answer>`), unless the text begins with it and goes on behind it.
    """
    sections, is_open = _sections(text)
    kept, position = [], 0
    for start, end in sections:
        kept.append(text[position:start] if start >= position else "")
        kept = [] if start == 0 else kept
        position = end
    rest = "".join([*kept, text[position:]])
    if _FENCES.search(rest) or is_open or not sections:
        return rest
    start, end = next((section for section in reversed(sections) if _FENCES.search(text, *section)), (0, 0))
    begins, goes_on = not text[:start].strip(), bool(re.sub(_CONTROL, "", text[end:]).strip())
    return rest if begins and goes_on else _MARK.sub("", text[start:end])


def _sections(text: str) -> tuple[list[tuple[int, int]], bool]:
    """(start, end) of every marked section, marks included, in order; and whether the last one is never closed."""
    shut_at: dict[str, int] = {}  # where each name is closed for the last time
    for mark in _MARK.finditer(text):
        if _is_shut(mark):
            shut_at[_name_of(mark)] = mark.start()
    sections: list[tuple[int, int]] = []
    opened: tuple[int, str] | None = None
    fence: re.Match[str] | None = None
    in_fence: set[str] = set()  # names of marks in the open block: HTML that the program writes
    offset, first = 0, len(text) - len(text.lstrip())
    for line in text.split("\n"):
        behind = 0
        for mark in _MARK.finditer(line):
            name, start, end = _name_of(mark), offset + mark.start(), offset + mark.end()
            if opened is not None:
                if _is_shut(mark) and name == opened[1]:
                    sections.append((opened[0], end))
                    opened, fence, behind = None, None, mark.end()
            elif _is_shut(mark):
                if mark["shut"] != "end_of_" and len(name) >= _MIN_MARK and name not in in_fence and _stands_free(mark, line, fence):
                    sections, fence, behind = [(0, end)], None, mark.end()
            elif fence is not None:
                in_fence.add(name)
            elif _opens_section(mark, line, shut_at.get(name, -1) > start, start == first):
                opened = (start, name)
        if opened is None:
            fence, in_fence = _fence_after(line[behind:], fence, in_fence)
        offset += len(line) + 1
    return (sections, False) if opened is None else ([*sections, (opened[0], len(text))], True)


def _opens_section(mark: re.Match[str], line: str, is_shut_later: bool, is_first: bool) -> bool:
    before, after = line[: mark.start()].strip(), line[mark.end() :].strip()
    if is_shut_later:
        return not before or not after
    is_token = "|" in mark[0] and not mark["begin"]  # of the chat template
    return is_first and not is_token and len(_name_of(mark)) >= _MIN_MARK and not (mark["begin"] and after.startswith("```"))


def _stands_free(mark: re.Match[str], line: str, fence: re.Match[str] | None) -> bool:
    """Whether a closing mark without its opening one is meant as one: no quotation, and in code alone on its line."""
    before, after = line[: mark.start()], line[mark.end() :]
    return not before.strip() and not after.strip() if fence is not None else not (before.endswith("`") and after.startswith("`"))


def _fence_after(line: str, fence: re.Match[str] | None, in_fence: set[str]) -> tuple[re.Match[str] | None, set[str]]:
    """The block that is open behind a line."""
    line = _without_control(line)
    if fence is None:
        return _opening_fence(line), set()
    is_closed = _closes(line, fence) or _before_glued_fence(line, fence) is not None
    return (None, set()) if is_closed else (fence, in_fence)


def _is_shut(mark: re.Match[str]) -> bool:
    return bool(mark["shut"] or mark["shut_b"] or mark["shut_c"])


def _final_channel(text: str) -> str:
    """What an answer in channels shows to the user; nothing when it never gets there."""
    channels = list(_CHANNEL.finditer(text))
    finals = [found for found in channels if found[1] == "final"]
    return text[finals[-1].end() :] if finals else "" if any(found[1] == "analysis" for found in channels) else text


def _name_of(mark: re.Match[str]) -> str:
    return (mark["name"] or mark["name_b"] or mark["name_c"]).lower()


def _without_control(line: str) -> str:
    """The line without control tokens of the chat template that are glued to a fence."""
    return re.sub(rf"^\s*{_CONTROL}+\s*(?=`{{3}}|~{{3}})|(?<=```){_CONTROL}+\s*$|(?<=~~~){_CONTROL}+\s*$", "", line)


def _opening_fence(line: str) -> re.Match[str] | None:
    match = re.match(r"(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})(?P<info>.*)$", line)
    if match is None:  # behind prose, where it says that Rust follows
        match = re.match(r"(?P<indent>)[^`]*[^`\s/*!][ \t]*(?P<mark>`{3,})(?P<info>[^`]+)$", line)
        return match if match and _tag(match["info"]) == "rust" else None
    if match["mark"][0] == "`" and "`" in match["info"]:
        return None  # an inline code span
    return match


def _is_void(fence: re.Match[str], lines: Sequence[str]) -> bool:
    """Whether an open block says nothing so far: no tag (a closing fence too many), or no line of code."""
    return not fence["info"].strip() or not "".join(lines).strip()


def _closes(line: str, fence: re.Match[str]) -> bool:
    body = line.strip(" \t\r")
    indent = len(line) - len(line.lstrip(" \t"))
    return len(body) >= len(fence["mark"]) and not body.strip(fence["mark"][0]) and indent <= len(fence["indent"]) + 3


def _before_glued_fence(line: str, fence: re.Match[str]) -> str | None:
    """The code in front of a closing fence that stands behind a brace or semicolon; None where there is none."""
    mark = re.escape(fence["mark"])
    match = re.match(rf"(?P<code>(?:(?!//|/\*).)*[}};])[ \t]*{mark}[ \t\r]*$", line)
    return match["code"] if match else None


def _tag(info: str) -> str:
    """The language that an info string names: "rust" for all that means Rust, `rs`, `rust2021`, `rust=`, `src/lib.rs`."""
    word = re.split(r"[\s,{}:]", info.strip().lstrip("{").lstrip("."), maxsplit=1)[0].lower()
    is_file = re.search(r"\.(\w+)$", word)
    parts = re.split(r"[^a-z0-9]+", word) if not is_file else [is_file[1]]
    return "rust" if any(re.fullmatch(r"(rust|rs)\d*", part) for part in parts) else word


def _code_behind(info: str) -> list[str]:
    """The first line of code where it stands in the line of the fence: "```rust fn f() {"."""
    rest = re.sub(r"^\s*\S+\s*", "", info)
    return [rest] if _ITEM_START.match(rest) and _tag(info) == "rust" else []


def _dedent(line: str, columns: int) -> str:
    return line[min(columns, len(line) - len(line.lstrip(" \t"))) :]


# -- Completion to program ---------------------------------------------------------------------------------------------


def is_plain_rust(text: str, prompt: str = "") -> bool:
    """Whether a text without any fence is Rust with a function in it, as it stands or where the prompt's code ends. Never raises."""
    return not holds_fence(text) and (_is_rust(_well_formed(text)) or continuation(prompt, text) is not None)


_FENCES = re.compile(r"```|~~~")


def holds_fence(text: str) -> bool:
    """Whether a line of the text starts with a code fence."""
    return re.search(r"^[ \t]*(```|~~~)", text, re.MULTILINE) is not None


def continuation(prompt: str, text: str) -> str | None:
    """The code that a prompt and a text are together, when the prompt stops inside a function and the text goes on from there.

    It ends with that function unless more items follow; the last brace may be missing (generation often stops before it).
    None: the prompt's code is closed, or the two together are no Rust.
    """
    head = _open_code(_well_formed(prompt).replace("\r\n", "\n"))
    if head is None or is_too_long(head + text):
        return None
    whole = head + _well_formed(text).replace("\r\n", "\n")
    end, depth = _end_of_braces(whole, len(head.encode()))
    whole += "\n}" if depth == 1 else ""
    first = whole if end is None else whole.encode()[:end].decode() + "\n"
    return next((code for code in (whole, first) if _is_rust(code)), None)


def _open_code(prompt: str) -> str | None:
    """The prompt's code up to where its last function is to go on: an open brace, or a body that holds nothing but comments."""
    blocks = code_blocks(prompt)
    start = next((line.start() for line in re.finditer(r"^.*$", prompt, re.M) if _ITEM_START.match(line[0].strip())), None)
    code = blocks[-1].text if blocks else prompt[start:] if start is not None else ""
    if not re.search(r"\bfn\b", code):
        return None
    if _end_of_braces(code, 0)[1] > 0:
        return code
    bodies = [body_of(n) for n in walk(parse_rust(code)) if n.type == "function_item"]
    empty = [body for body in bodies if all(child.type.endswith("comment") for child in body.named_children)]
    return code.encode()[: empty[-1].start_byte + 1].decode() + "\n" if empty else None


def _end_of_braces(code: str, start: int) -> tuple[int | None, int]:
    """Where the braces are closed for the first time behind byte `start` (None: nowhere), and how many are open at the end."""
    depth, end = 0, None
    for leaf in walk(parse_rust(code)):
        if leaf.type in ("{", "}") and not leaf.is_missing:
            depth += 1 if leaf.type == "{" else -1
            if depth == 0 and end is None and leaf.start_byte >= start:
                end = leaf.end_byte
    return end, depth


def extract_program(completion: str, plain: bool = False, prompt: str = "") -> Program | None:
    """Return the program of a completion, or None when it has no closed block of Rust. Never raises.

    plain: a completion without any fence is a program as it stands, or goes on where the code of the prompt stops; for files of
    which the caller knows that.

    Blocks tagged as Rust count. Several are joined, later definitions replacing earlier ones of the same name, while inherent
    impls and imports add up; one that repeats everything defined before stands alone. A completion without tagged blocks may
    still give a program (with `code_block` False) when an untagged block is Rust and holds a function.
    """
    if plain and not holds_fence(completion):
        text = _well_formed(completion).replace("\r\n", "\n")
        code = text if _is_rust(text) else continuation(prompt, text) or (text if _is_rust(text, strict=False) else None)
        return read_program(with_main(code), code_block=False) if code else None
    blocks = [block for block in code_blocks(_well_formed(completion)) if block.closed]
    texts = [block.text for block in blocks if block.tag == "rust"]
    tagged = bool(texts)
    for strict in (True, False):  # what the grammar does not know, rustc may: a function in it says that Rust is meant
        texts = texts or [block.text for block in blocks if not block.tag and _is_rust(block.text, strict)]
    return read_program(with_main(reduce(_merged, texts) + "\n"), code_block=tagged) if texts else None


def read_program(source: str, code_block: bool = True) -> Program:
    """Describe a Rust source text; never raises."""
    root = parse_rust(source)
    if is_too_long(source) or tree_depth(root) > MAX_DEPTH:
        guard = "too_long_to_read" if is_too_long(source) else "too_deeply_nested"
        return Program(source, (), (), 0, False, guard, code_block, ())
    index = Index(root)
    worth = worth_of(index)
    return Program(
        source=source,
        functions=tuple(item.name for item in index.items if item.is_own_function),
        test_names=tuple(test.name for test in worth.tests),
        n_asserts=n_asserts(worth.tests),
        has_test_block=_has_test_block(index.items),
        guard=program_guard(index, worth),
        code_block=code_block,
        tests=worth.tests,
        silences_clippy=has_silenced_lints(index),
        assert_sites=tuple(sorted(worth.sites)),
        tested_functions=tuple(sorted(worth.calls)),
        listing_functions=tuple(sorted(worth.listed)),
        closed_functions=tuple(sorted(worth.closed)),
        speaks_of_nan=any("nan" in word.lower() for item in index.items if item.test_side for word in index.words(item.node)),
        root_functions=_roots(index),
        alone=_units(index),
        has_statics=any(word == "static" and before != "'" for before, word in itertools.pairwise(["", *index.words(index.root)])),
    )


def _roots(index: Index) -> tuple[str, ...]:
    """Functions that no other calls; where there are only methods those that return something else than what they belong to."""
    functions = [item for items in index.own.values() for item in items if not item.is_main]
    called = {word for item in functions for word in set(index.words(item.node)) - {item.name}}
    returns = {item.node.id: text_of(child_of(item.node, "return_type")) for item in functions}
    methods = [i for i in functions if not i.trait and returns[i.node.id] and not re.search(rf"\b(Self|{i.owner})\b", returns[i.node.id])]
    return tuple(sorted({item.name for item in [i for i in functions if not i.owner] or methods} - called))


def _units(index: Index) -> tuple[str, ...]:
    """What can be made wrong alone, where there are several: functions, and types for their methods.

    A function that takes and returns nothing has nothing that a test could ask for.
    """
    speaks = lambda node: child_of(node, "return_type") is not None or parameters_of(node)
    functions = [item for item in index.items if item.is_own_function and not item.trait and speaks(item.node)]
    units = tuple(dict.fromkeys(item.owner or item.name for item in functions))
    return units[:MAX_ALONE] if len(units) > 1 else ()


def _has_test_block(items: Sequence[Item]) -> bool:
    blocks = [(*item.modules, item.name) for item in items
              if item.node.type == "mod_item" and item.in_test and not item.in_plain]  # fmt: skip
    return any(item.is_test and item.modules[: len(block)] == block for item in items for block in blocks)


def _well_formed(text: str) -> str:
    """The text without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _is_rust(text: str, strict: bool = True) -> bool:
    root = parse_rust(text)
    return not (strict and root.has_error) and any(node.type == "function_item" for node in root.named_children)


def with_main(source: str) -> str:
    """The source, with an empty `main` at its end where it has none."""
    if any(item.is_main for item in all_items(parse_rust(source))):
        return source
    return source.rstrip("\n") + "\n\nfn main() {}\n"


def _merged(earlier: str, later: str) -> str:
    """Append a block to what came before it, as a reader would: later definitions replace earlier ones."""
    old, new = all_items(parse_rust(earlier)), _Newer(later)
    if old and new.is_usage:
        return earlier
    top = [item for item in old if not item.modules and not item.owner]
    kept = _kept(old, top, new)
    pieces = [_kept_text(earlier.encode(), item, old, new) for item in kept]
    inner = _inner_lines(earlier) + new.inner
    whole = [earlier.encode()[item.start_byte : item.node.end_byte].decode("utf-8", "replace") for item in top]
    if pieces == whole and not inner:
        return f"{earlier}\n\n{later}"
    for line in new.inner:
        later = later.replace(line, "", 1)
    return "\n\n".join([*(["\n".join(dict.fromkeys(inner))] if inner else []), *filter(None, pieces), later])


class _Newer:
    """What a later block brings along."""

    def __init__(self, text: str) -> None:
        root = parse_rust(text)
        items = all_items(root)
        self.keys = {merge_key(item) for item in items}
        self.methods = {(item.owner, item.name) for item in items if item.owner and not item.trait}
        self.imported = {found.name for found in Index(root).imports if not found.modules}
        self.has_tests = any(item.is_test for item in items)
        self.inner = _inner_lines(text)
        # a usage snippet or a quotation: statements, signatures and methods without what they belong to; nothing that a file can hold
        self.is_usage = bool(root.children) and all(_is_quoted(item) for item in items)

    def replaces(self, item: Item, old: Sequence[Item]) -> bool:
        """Whether an item of the earlier block is there again: an inherent `impl` when all of its methods are."""
        is_inherent = item.node.type == "impl_item" and child_of(item.node, "trait") is None
        inside = [other for other in old if _is_inside(other, item)] if is_inherent else []
        return all((other.owner, other.name) in self.methods for other in inside) if inside else merge_key(item) in self.keys


def _is_quoted(item: Item) -> bool:
    """Whether a block with nothing but such items adds none to a program."""
    parameters = child_of(item.node, "parameters")
    is_method = not item.owner and parameters is not None and any(child.type == "self_parameter" for child in parameters.named_children)
    return is_method or item.node.type in ("macro_invocation", "use_declaration", "function_signature_item")


def _kept(old: Sequence[Item], top: Sequence[Item], new: _Newer) -> list[Item]:
    """The earlier block's items that stay. Of one whose whole program is defined again, only tests where the later has none."""
    defined = [item for item in top if not item.test_side and item.node.type != "use_declaration"]
    if defined and all(new.replaces(item, old) for item in defined if not item.is_main):
        return [] if new.has_tests else [item for item in top if item.test_side and merge_key(item) not in new.keys]
    return [item for item in top if item.node.type == "use_declaration" or not new.replaces(item, old)]


def _kept_text(data: bytes, item: Item, old: Sequence[Item], new: _Newer) -> str:
    """An item that stays, without the methods or imported names that the later block brings again."""
    text = data[item.start_byte : item.node.end_byte].decode("utf-8", "replace")
    if item.node.type == "use_declaration":
        return _imports_left(text, new.imported)
    gone = [other for other in old if _is_inside(other, item) and (other.owner, other.name) in new.methods and not other.trait]
    return edited(text, [(other.start_byte - item.start_byte, other.node.end_byte - item.start_byte, "") for other in gone])


def _is_inside(item: Item, outer: Item) -> bool:
    return bool(item.owner) and outer.node.start_byte < item.node.start_byte < outer.node.end_byte


def _inner_lines(text: str) -> list[str]:
    return [text_of(node).rstrip() for node in _inner_nodes(parse_rust(text))]


def _inner_nodes(root: Node) -> list[Node]:
    """Inner attributes and doc comments of the file itself, which must stand at its top."""
    return [node for node in root.children if node.type == "inner_attribute_item" or text_of(node).startswith(("//!", "/*!"))]


def _imports_left(text: str, imported: Set[str]) -> str:
    """An import without the names that another one brings in, too."""
    leaves = Index(parse_rust(text)).imports
    left = [leaf for leaf in leaves if leaf.name in ("*", "_") or leaf.name not in imported]
    if len(left) == len(leaves):
        return text
    head = text[: text.find("use")]
    paths = (
        "::".join(leaf.path) + ("::*" if leaf.name == "*" else "" if leaf.name == leaf.path[-1] else f" as {leaf.name}") for leaf in left
    )
    return "\n".join(f"{head}use {path};" for path in paths)


# -- Programs made from a program --------------------------------------------------------------------------------------


def panic_stubbed(program: Program, mark_asserts: bool = False, spared: str | None = None) -> str | None:
    """Return the source with STUB as first statement of the program's functions; None when there is nothing to stub.

    Every counted test must fail then. Bodies are kept, so that `impl Trait` and inferred types still compile, and so
    are line numbers. STUB panics with a plain literal, which const functions allow, and holds nothing that a
    `deny(warnings)` in the program could object to; it may be replaced by another statement. Not stubbed: `main`,
    tests and their helpers, `Drop::drop` and allocators (a panic there aborts), `Debug::fmt` (it runs while a failing
    assertion prints its message) unless there is nothing else. A program of macros has its macros stubbed instead.
    A function called in a const context makes the result uncompilable.
    spared: a name whose functions stay as they are.
    mark_asserts: also put MARK in front of every counted assert macro; a test that is `marked` must reach one.
    """
    source = program.source  # the stub is found again by its text: one that the program wrote itself is spelled in another way
    for text in (STUB, MARK):
        source = source.replace(text, text.replace("(", "[").replace(")", "]"))
    root = parse_rust(source)
    own = [item for item in all_items(root) if item.is_own_function]
    chosen = [item for item in own if item.name not in UNSTUBBABLE.get(item.trait, ())] or own
    places = [_body_start(item.node) for item in chosen if item.name != spared]
    edits = [(at, at, STUB) for at in places] or _stubbed_macros(root)
    if not edits:
        return None
    for start, end in program.assert_sites if mark_asserts else ():
        edits += [(start, start, f"{{{MARK} "), (end, end, "; }")]
    return edited(source, edits)


def _stubbed_macros(root: Node) -> list[tuple[int, int, str]]:
    """Stubs in the program's own macros: around what expands to an expression, inside the functions of the others."""
    edits: list[tuple[int, int, str]] = []
    for item in all_items(root):
        if item.node.type != "macro_definition" or item.test_side:
            continue
        for rule in item.node.named_children:
            right = child_of(rule, "right")
            if right is None:
                continue
            functions = [n for n in walk(right) if n.type == "fn"]
            for fn in functions:
                behind = [n for n in fn.parent.children if n.start_byte > fn.start_byte and text_of(n).startswith("{")]
                edits += [(body.start_byte + 1, body.start_byte + 1, STUB) for body in behind[:1]]
            if not functions:
                start, end = right.start_byte + 1, right.end_byte - 1
                edits += [(start, start, "{" + STUB), (end, end, "}")]
    return edits


def _body_start(function: Node) -> int:
    """Where the first statement of a function may go: after the brace and any inner attributes."""
    body = body_of(function)
    inner = [child.end_byte for child in body.named_children if child.type == "inner_attribute_item"]
    return max(inner, default=body.start_byte + 1)


def solution_source(program: Program) -> str:
    """Return the program without its tests and without its `main`; other lines keep their numbers."""
    data = program.source.encode()
    edits = []
    for item in all_items(parse_rust(program.source)):
        if item.is_main or (item.test_side and not item.owner):
            removed = data[item.start_byte : item.node.end_byte]
            edits.append((item.start_byte, item.node.end_byte, "\n" * removed.count(b"\n")))
    return edited(program.source, edits)


def same_program(one: Program, other: Program) -> bool:
    """Whether two programs are the same code but for names, comments, layout, tests and `main`."""
    return _fingerprint(one) == _fingerprint(other)


def _fingerprint(program: Program) -> list[str]:
    """The solution's tokens, identifiers numbered in the order of their first use."""
    numbers: dict[str, int] = {}
    names = ("identifier", "type_identifier", "field_identifier", "shorthand_field_identifier")
    tokens = tokens_of(parse_rust(solution_source(program)))
    return [f"#{numbers.setdefault(text_of(t), len(numbers))}" if t.type in names else text_of(t) for t in tokens]


# -- Hidden tests ------------------------------------------------------------------------------------------------------


@dataclass
class _HiddenParts:
    modules: dict[str, str] = field(default_factory=dict)  # name -> a text with `#[test]` functions, as it stands
    module_tests: list[str] = field(default_factory=list)  # their tests, below the hidden module
    crate_names: set[str] = field(default_factory=set)  # by which they call the program, as files in `tests/` do
    path_starts: set[tuple[str, str]] = field(default_factory=set)  # of paths that may begin with such a name
    mains: dict[str, str] = field(default_factory=dict)  # a text with a `main`
    statements: dict[str, str] = field(default_factory=dict)  # one that is statements
    runners: list[tuple[str, str, tuple[AssertTest, ...]]] = field(default_factory=list)  # module, text, tests, by line of the text


def with_hidden_tests(
    program: Program, tests: Sequence[str], entry_point: str | None, crate: str | None = "judge", prompt: str = ""
) -> HiddenSuite:
    """Return the program with a task's tests as a module of their own, in place of its own tests and `main`.

    tests: each a text with `#[test]` functions (a test module, a test file), each of them one test; or one with a `main`, or
    statements, every assert of which is one test (`judge/statements.py`). All are compiled as they stand, texts with items in a
    module of their own, statements one after another. entry_point: what `candidate` stands for when the tests do not say.
    crate: the name under which the source is linked with `judge/gate.rs`; no program may know it. None: for plain cargo, which has
    no such macros; all asserts of a text are one test then.
    Raises ValueError when the tests cannot be understood.
    """
    parts = _hidden_parts(tuple(tests), entry_point, crate)
    runners = [f"{name}::{RUNNER}" for name, _text, _tests in parts.runners] if crate is None else []
    digest = hashlib.sha256("\0".join([program.source, *tests]).encode()).hexdigest()[:12]
    module, solution = f"hidden_{digest}", solution_source(program)
    root = parse_rust(solution)
    texts = (*parts.modules.values(), *parts.mains.values(), *parts.statements.values())
    index = Index(root)
    defined = set() if any(found.name == "*" and found.path[0] in STD_CRATES for found in index.imports) else {i.name for i in index.items}
    crates = parts.crate_names | {first for first, second in parts.path_starts if second in defined}
    asked = str(entry_point).isidentifier() and any(_candidate(text, entry_point) for text in texts)
    lines = [
        f"#[cfg(test)]\n#[allow(warnings)]\nmod {module} {{\n    use super::*;\n    {std_imports(prompt, index)}",
        *([f"    use {entry_point} as candidate;"] if asked else []),
        *(f"mod {name} {{\n{text}\nuse super::*;\n}}" for name, text in parts.modules.items()),
        *([macros(crate)] if parts.runners and crate else []),
        *(f"mod {name} {{\n{text}\nuse super::*;\n}}" for name, text, _tests in parts.runners),
        "}",
        *(f"#[allow(warnings)]\nextern crate self as {name};" for name in sorted(crates - _paths_of(index))),
    ]
    source = _with_module(solution, root, "\n".join(lines))
    return HiddenSuite(
        source=f"{source}\nfn main() {{}}\n",
        functions=tuple(f"{module}::{name}" for name in (*parts.module_tests, *runners)),
        guard=_hidden_guard(solution, index) or (_answer_guard(index, tests, entry_point, prompt) if prompt else None),
        module=module,
        asserts=tuple(_placed(source, module, *runner) for runner in parts.runners) if crate else (),
    )


def _placed(source: str, module: str, name: str, text: str, tests: Sequence[AssertTest]) -> tuple[str, tuple[AssertTest, ...]]:
    """The function that runs a text of statements, and its tests by line of the source."""
    n_before = source.count("\n", 0, source.index(f"mod {name} {{\n{text}", source.index(f"mod {module} {{"))) + 1
    return f"{module}::{name}::{RUNNER}", tuple(test.moved(n_before) for test in tests)


RUNNER = "all_statements"  # which judge/harness.rs knows by its name


def _with_module(solution: str, root: Node, text: str) -> str:
    """The solution and the tests' module: behind it, or above its items where a macro of its own has the name of one of std's."""
    if not any(node.type == "macro_definition" and item_name(node) in STD_MACROS for node in walk(root)):
        return "\n".join([solution.rstrip("\n"), "", text])
    at = max((node.end_byte for node in _inner_nodes(root)), default=0)
    return edited(solution, [(at, at, f"\n{text}\n")])


def _path_starts(root: Node) -> set[tuple[str, str]]:
    """The first two words of every path that begins as one with a crate's name does, in macros too."""
    words = words_of(root)
    return {
        (first, second)
        for before, first, colons, second in zip(["", *words], words, words[1:], words[2:], strict=False)
        if colons == "::" and before not in ("::", ".") and first.isidentifier() and first.islower()
    }


def _paths_of(index: Index) -> set[str]:
    """Names that a path may start with because the file itself has such a module or type, or imports it."""
    items = {item.name for item in index.items if item.node.type in ("mod_item", *TYPE_ITEMS)}
    return items | {found.name for found in index.imports if found.path[:1] != (found.name,)}


def check_hidden_tests(tests: Sequence[str], entry_point: str | None) -> None:
    """Whether a task's tests can be understood at all, asked before anything is graded. Raises ValueError when not."""
    _hidden_parts(tuple(tests), entry_point, "judge")


def _answer_guard(index: Index, tests: Sequence[str], entry_point: str | None, prompt: str) -> str | None:
    in_tests = {str(entry_point), *re.findall(r"\w+", " ".join(tests))}
    return "answers_in_own_type" if answers_in_own_type(index, in_tests, in_tests | {*re.findall(r"\w+", prompt)}) else None


def _hidden_guard(source: str, index: Index) -> str | None:
    """Constructs that reach tests which the program has not seen: another harness, their source, a lying `==`."""
    if is_too_long(source) or tree_depth(index.root) > MAX_DEPTH:
        return "too_long_to_read"
    found = forbidden_construct(index, allowed=("cfg_clippy", "redefined_assert_macro"))
    return found or ("constant_comparison" if has_constant_comparison(index) else None)


PRIMITIVES = ("bool", "char", "str", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize")
# Explicit imports win over the glob: unless the task asks for it, a program's own `String`, `Some` or `mod f64` does not reach the tests.
STD_NAMES = (*"""
    core std std::option::Option std::option::Option::None std::option::Option::Some std::result::Result std::result::Result::Err
    std::result::Result::Ok std::string::String std::string::ToString std::vec::Vec std::boxed::Box std::borrow::ToOwned
    std::iter::Iterator std::iter::IntoIterator std::cmp::PartialEq std::cmp::Eq std::cmp::PartialOrd std::cmp::Ord std::convert::From
    std::convert::Into std::clone::Clone std::default::Default std::ops::Drop std::mem::drop std::collections::BTreeMap
    std::collections::BTreeSet std::collections::HashMap std::collections::HashSet std::collections::VecDeque
    """.split(), *(f"core::primitive::{name}" for name in PRIMITIVES))  # fmt: skip
DECLARED = re.compile(r"\b(?:struct|enum|union|trait|mod|fn)\s+(\w+)(?=\s*[{(<;:`])|\btype\s+(\w+)\s*(?:<[^;{}\n]*?>)?\s*=")
MENTIONED = re.compile(r"\b(?:struct|enum|union|trait|mod|fn)\s+`?(\w+)")


def std_imports(prompt: str, index: Index) -> str:
    """What the hidden tests see of std, whatever the program defines: all but what the prompt declares, or mentions and the program has.

    A primitive's name is std's module of that name (`f64::consts`) in a program that imports it.
    """
    own = {name for found in DECLARED.findall(prompt) for name in found}
    own |= {*MENTIONED.findall(prompt)} & {item.name for item in index.items}
    if not {"std", "core"} & _paths_of(index):
        own |= {found.name for found in index.imports if found.path in (("std", found.name), ("core", found.name))} & {*PRIMITIVES}
    return f"use {{{', '.join('::' + path for path in STD_NAMES if path.split('::')[-1] not in own)}}};"


STD_CRATES = ("std", "core", "alloc", "proc_macro", "test", "crate", "self", "super")
STD_MACROS = (*ASSERT_MACROS, "vec", "format", "matches", "panic", "println", "print", "eprintln", "unreachable",
              "todo", "unimplemented", "write", "writeln", "concat", "stringify")  # fmt: skip


def _candidate(body: str, entry_point: str | None) -> str:
    nodes = list(walk(parse_rust(f"fn body() {{{body}}}")))
    used = any(node.type == "identifier" and text_of(node) == "candidate" for node in nodes)
    bound = any(node.type == "let_declaration" and text_of(child_of(node, "pattern")) == "candidate" for node in nodes)
    return f"let candidate = {entry_point};" if used and not bound and entry_point else ""


def hidden_text(test: str) -> str:
    """A hidden test as it is compiled: MultiPL-E's begin with the brace that closes the prompt's function."""
    return test.replace("\r\n", "\n").strip().removeprefix("}").strip()


@lru_cache(maxsize=1024)  # a task's tests are read once for all its completions
def _hidden_parts(tests: tuple[str, ...], entry_point: str | None, crate: str | None) -> _HiddenParts:
    parts = _HiddenParts()
    if not tests or len(tests) > MAX_HIDDEN_TESTS:
        raise ValueError(f"hidden tests: {len(tests)} given, expected 1 to {MAX_HIDDEN_TESTS}")
    for number, test in enumerate(tests):
        text = hidden_text(test)
        where, name = f"hidden test {number}", f"text{number}"
        if is_too_long(_well_formed(text)) or "\0" in text or text != _well_formed(text):
            raise ValueError(f"{where}: over {MAX_SOURCE_BYTES} bytes or not text")
        index = Index(parse_rust(text))
        # crates that a text imports from and does not define: the program, by the name that its task gives it
        own = {*STD_CRATES, *PRIMITIVES, *_paths_of(index)}
        parts.crate_names |= {found.path[0] for found in index.imports} - own
        parts.path_starts |= {path for path in _path_starts(index.root) if path[0] not in own}
        if index.tests:
            parts.modules[name] = text
            parts.module_tests += [f"{name}::{harness_name(item)}" for item in index.tests]
        elif any(item.is_main for item in index.items):
            parts.mains[name] = with_std_in_constants(text)
            if not assert_tokens(index.root):
                raise ValueError(f"{where}: no assert in it: {text[:80]!r}")
        else:
            parts.statements[name] = with_std_in_constants(text)
            _check_statements(text, where)
    _read_runners(parts, entry_point, crate)
    if not parts.module_tests and not any(tests or crate is None for _name, _text, tests in parts.runners):
        raise ValueError("hidden tests: no assert in them, in statements or a main, and no #[test] function")
    return parts


def _read_runners(parts: _HiddenParts, entry_point: str | None, crate: str | None) -> None:
    """Every `main` in a module of its own, and all statements in another, with a `#[test]` that runs them."""
    numbers, bound = itertools.count(1), None if str(entry_point).isidentifier() else entry_point  # a plain name is imported as `candidate`
    for name, text in parts.mains.items():
        piece = piece_of_main(text, name, crate, numbers, _candidate(text, bound))
        main = next(item.node for item in all_items(parse_rust(text)) if item.is_main)
        returns = text_of(child_of(main, "return_type"))
        runner = f"#[test]\nfn {RUNNER}(){' -> ' if returns else ''}{returns} {{ main() }}"
        parts.runners.append((name, f"{piece.text}\n{runner}", piece.tests))
    if parts.statements:
        piece = piece_of_statements(parts.statements, crate, numbers)
        candidate = "".join(dict.fromkeys(_candidate(text, bound) for text in parts.statements.values()))
        text = f"#[test]\nfn {RUNNER}() {{ {candidate}\n{piece.text}}}"
        parts.runners.append(("statements", text, tuple(test.moved(2) for test in piece.tests)))


def _check_statements(text: str, where: str) -> None:
    """Where the grammar does not know what it reads, rustc will say what it is, as long as an assert is in it."""
    root = parse_rust(f"fn main() {{\n{text}\n}}")
    is_body = root.named_child_count == 1 and root.named_children[0].type == "function_item"
    if not is_body or any(node.is_missing for node in walk(root)) or (root.has_error and not assert_tokens(root)):
        raise ValueError(f"{where}: not Rust statements: {text[:80]!r}")
