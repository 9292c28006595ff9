"""Tasks beyond one function: mend a program, fill in its middle, patch it, make the next edit.

A task row's column `kind` says which (`write` when absent: the whole program, as ever). Here is what differs between kinds: the
columns a row needs, the prompt made of them, the program that a completion stands for, and what its verdict counts. Rewards, trace,
evaluation and report know nothing of it: a completion that stands for no program (a patch that does not apply, a repeated suffix)
is one without code, with the reason as its diagnostic.

| kind | columns beside `prompt` | the answer |
|---|---|---|
| `fix` | `code`, `message` (what cargo says; may be empty) | the whole program in one ```rust block |
| `fim` | `prefix`, `suffix` | the middle: in a ```rust block, or as it stands after Qwen2.5-Coder's FIM tokens |
| `patch` | `code` | SEARCH/REPLACE blocks |
| `next_edit` | `code`, `last_edit` (a diff), `region` ([first, last] line) | the region, in one ```rust block |

Rows of `fix` and `patch` keep the signature of `entry_point`: that of `code`, or the column `signature` (as `signature_of` writes it)
where a mistake is in it, null where nobody knows. Any row may have `passed_before`, the positions of the hidden tests that pass without
an answer: only the others are counted, and none when one of these fails afterwards. `next_edit` may have `places`, the lines of
`code` that the edit had to change; none of its hidden tests counts while tests in the file fail or do not compile.

SEARCH/REPLACE blocks are the format of Aider and SWE-RL; they need no line numbers, which small models get wrong. The parser is our
own: what PyPI has for them are first releases with fuzzy fallbacks, and here a patch applies in one place or not at all.
Not seen: whether a middle ends its function early and leaves the rest of the program unused.
Source of the FIM format: Hui et al. 2024, Qwen2.5-Coder Technical Report.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from types import SimpleNamespace

from judge.errors import UserError
from judge.program import Program, code_blocks, extract_program, read_program, with_main
from judge.syntax import parse_any_length, text_of, tokens_of, walk
from judge.verdict import Diagnostic, Verdict

WRITE = "write"
FIM_FORMATS = ("chat", "tokens")
FIM_TOKENS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
RAW = "raw"  # role of the only message of a prompt that no chat template is put around
GAP = "/* GAP */"
REGION_MARKS = ("// >>> region", "// <<< region")
SEARCH, DIVIDER, REPLACE = "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE"
OWN_TESTS_REWARDS = ("cargo_test_reward", "test_block_reward", "tests_have_asserts_reward")  # nobody asked for tests
CODE_BLOCK_REWARDS = ("code_block_reward", "ends_with_code_reward")
MAX_MESSAGES = 3  # of cargo, in a prompt


class KindError(UserError, ValueError):
    """A row is not what its kind needs; the message is a part of a sentence for the user."""


class Refused(ValueError):
    """A completion stands for no program; the message says why."""


# -- Prompts -----------------------------------------------------------------------------------------------------------


def cargo_message(code: str, diagnostics: Iterable[Mapping]) -> str:
    """What cargo said of a program as a person reads it: each error with its line; "" when there is none."""
    lines, texts = code.split("\n"), []
    errors = [one for one in diagnostics if one["level"] in ("error", "test")]
    for error in errors[:MAX_MESSAGES]:
        place = error["line"]
        where = f"\n --> line {place}\n  |     {lines[place - 1].strip()}" if place and place <= len(lines) else ""
        code_name = f"[{error['code']}]" if error["code"] else ""
        texts.append(f"error{code_name}: {error['message']}{where}")
    left = len(errors) - len(texts)
    return "\n\n".join(texts + ([f"and {left} more"] if left else []))


def _fenced(code: str, tag: str = "rust") -> str:
    return f"```{tag}\n{code.rstrip()}\n```"


def _fix_prompt(task: Mapping) -> str:
    message = task["message"].strip()
    said = f"cargo says:\n\n{_fenced(message, 'text')}\n\n" if message else ""
    return (
        f"This Rust program is wrong. What it should do: {task['asked']}\n\n{_fenced(task['code'])}\n\n{said}"
        "Mend it: answer with the whole program in one ```rust block. Change as little as you can, and keep names and signatures."
    )


def _fim_prompt(task: Mapping) -> str:
    if task.get("fim_format") == "tokens":
        prefix, suffix, middle = FIM_TOKENS
        return f"{prefix}{task['prefix']}{suffix}{task['suffix']}{middle}"
    return (
        f"A piece of this Rust program is missing where it says {GAP}. What it should do: {task['asked']}\n\n"
        f"{_fenced(task['prefix'] + GAP + task['suffix'])}\n\n"
        "Answer with the missing piece alone in one ```rust block, without anything that stands before or after it."
    )


def _patch_prompt(task: Mapping) -> str:
    return (
        f"{task['asked']}\n\nThe program as it is:\n\n{_fenced(task['code'])}\n\n"
        "Answer with one or more blocks of this form and no other code. The lines to search for have to stand in the program exactly "
        f"once, letter for letter; take as few as you need.\n\n{SEARCH}\nlines as they are\n{DIVIDER}\nlines as they should be\n{REPLACE}"
    )


def _patch_example() -> tuple[dict, ...]:
    """A request and its answer, before the one that is meant: told about the blocks alone, a 1.5B model wrote none in 568 answers."""
    code = "fn change(price: u32, paid: u32) -> u32 {\n    let back = price - paid;\n    back\n}"
    asked = "`change` should be what was paid less the price. Nothing else should change."
    answer = f"{SEARCH}\n    let back = price - paid;\n{DIVIDER}\n    let back = paid - price;\n{REPLACE}"
    return {"role": "user", "content": _patch_prompt({"asked": asked, "code": code})}, {"role": "assistant", "content": answer}


def _next_edit_prompt(task: Mapping) -> str:
    before, region, after = _around_region(task)
    marked = "\n".join([*before, REGION_MARKS[0], *region, REGION_MARKS[1], *after])
    return (
        f"{task['asked']}\n\nThe last edit of this Rust file:\n\n{_fenced(task['last_edit'], 'diff')}\n\n"
        f"The file as it is now, the cursor between the two marks:\n\n{_fenced(marked)}\n\n"
        "Answer with the lines between the marks as they are after the next edit, in one ```rust block, without the marks and without "
        "anything outside of them."
    )


def _around_region(task: Mapping) -> tuple[list[str], list[str], list[str]]:
    lines, (first, last) = task["code"].rstrip("\n").split("\n"), task["region"]
    return lines[: first - 1], lines[first - 1 : last], lines[last:]


# -- Completion -> source of the program -------------------------------------------------------------------------------


def _block(completion: str, what: str) -> str:
    """Text of the first closed block of Rust, or else without a tag. Raises Refused."""
    closed = [block for block in code_blocks(completion) if block.closed and block.tag in ("rust", "")]
    if not closed:
        raise Refused(f"no closed ```rust block: expected {what} in one")
    return next((block for block in closed if block.tag == "rust"), closed[0]).text


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _tokens(source: str) -> list[str]:
    """The program without layout and comments."""
    return [text_of(token) for token in tokens_of(parse_any_length(source))]


def signature_of(source: str, name: str | None) -> str | None:
    """Parameters and return type of the first function of that name, for comparison; None where there is none."""
    for node in walk(parse_any_length(source)):
        if node.type == "function_item" and text_of(node.child_by_field_name("name")) == name:
            parts = (node.child_by_field_name(part) for part in ("type_parameters", "parameters", "return_type"))
            text = "->".join(text_of(part) if part else "" for part in parts)
            return re.sub(r",(?=[)>])", "", _squeezed(re.sub(r"\bmut\s+(?=\w+\s*:)", "", text)))
    return None


def _require_same_signature(task: Mapping, source: str) -> None:
    name = task.get("entry_point")
    expected = task["signature"] if "signature" in task else signature_of(task["code"], name) if name else None
    if expected is not None and signature_of(source, name) != expected:
        raise Refused(f"the signature of {name} is not what it was")


def _fixed(task: Mapping, completion: str) -> str:
    program = extract_program(completion)
    if program is None:
        raise Refused("no closed ```rust block: expected the whole program in one")
    if _tokens(program.source) == _tokens(with_main(task["code"])):
        raise Refused("the program is what it was")
    _require_same_signature(task, program.source)
    return program.source


def _filled_in(task: Mapping, completion: str) -> str:
    middle = completion if task.get("fim_format") == "tokens" else _block(completion, "the missing piece")
    prefix, suffix = _squeezed(task["prefix"]), _squeezed(task["suffix"])
    given = _squeezed(middle)
    if not given:
        raise Refused("the middle is empty")
    if re.search(r"\w", prefix) and given.startswith(prefix):
        raise Refused("the answer repeats what stands before the gap: expected the missing piece alone")
    if re.search(r"\w", suffix) and given.endswith(suffix):
        raise Refused("the answer repeats what stands after the gap: expected the missing piece alone")
    return task["prefix"] + middle + task["suffix"]


def read_blocks(text: str) -> list[tuple[str, str]]:
    """(search, replacement) of every SEARCH/REPLACE block, in order. Raises Refused for none, and for one that is not whole."""
    blocks, parts, state = [], ([], []), None  # state: which part the lines belong to
    for line in text.replace("\r\n", "\n").split("\n"):
        mark = line.strip()
        if mark == SEARCH and state is None:
            parts, state = ([], []), 0
        elif mark == DIVIDER and state == 0:
            state = 1
        elif mark == REPLACE and state == 1:
            blocks.append(("\n".join(parts[0]), "\n".join(parts[1])))
            state = None
        elif mark in (SEARCH, REPLACE) or (mark == DIVIDER and state == 1):
            raise Refused(f"block {len(blocks) + 1} is not whole: {mark!r} out of place")
        elif state is not None:
            parts[state].append(line)
    if state is not None:
        raise Refused(f"block {len(blocks) + 1} is not whole: it has no end")
    if not blocks:
        is_program = any(block.closed and block.tag == "rust" for block in code_blocks(text))
        raise Refused("the answer is a program: expected SEARCH/REPLACE blocks" if is_program else "no SEARCH/REPLACE block")
    return blocks


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def apply_blocks(code: str, blocks: Sequence[tuple[str, str]]) -> str:
    """`code` with every block applied, whole lines at a time, one after the other.

    Lines that stand nowhere letter for letter may stand at another indentation, which says nothing in Rust outside of texts of several
    lines. Raises Refused for a block that does not apply.
    """
    lines = code.rstrip("\n").split("\n")
    for number, (search, replacement) in enumerate(blocks, start=1):
        if not search.strip():
            raise Refused(f"block {number} searches for nothing")
        given, new = search.split("\n"), replacement.split("\n") if replacement else []
        stripped = [line.strip() for line in given]
        windows = [lines[at : at + len(given)] for at in range(len(lines))]
        places = [at for at, window in enumerate(windows) if window == given]
        places = places or [at for at, window in enumerate(windows) if [line.strip() for line in window] == stripped]
        if len(places) != 1:
            raise Refused(f"block {number} does not apply: its lines stand in the program {len(places)} times, expected once")
        (at,) = places
        first = next(place for place, line in enumerate(stripped) if line)
        missing = " " * max(0, _indent(lines[at + first]) - _indent(given[first]))
        lines[at : at + len(given)] = [missing + line if line.strip() else line for line in new]
    return "\n".join(lines) + "\n"


def _patched(task: Mapping, completion: str) -> str:
    blocks = read_blocks(completion)
    n_lines = sum(1 for line in task["code"].split("\n") if line.strip())
    if any(sum(1 for line in search.split("\n") if line.strip()) >= n_lines for search, _ in blocks):
        raise Refused("the answer rewrites the whole file: expected blocks of the lines that change")
    source = apply_blocks(task["code"], blocks)
    if _tokens(source) == _tokens(task["code"]):
        raise Refused("the program is what it was")
    _require_same_signature(task, source)
    return source


def _edited(task: Mapping, completion: str) -> str:
    before, region, after = _around_region(task)
    text = _block(completion, "the lines between the marks").strip("\n")
    above, below = (_squeezed("\n".join(lines)) for lines in (before, after))
    given = _squeezed(text)
    repeats = [bool(re.search(r"\w", above)) and given.startswith(above), bool(re.search(r"\w", below)) and given.endswith(below)]
    if all(repeats) or any(mark in text for mark in REGION_MARKS):
        raise Refused("the answer rewrites the whole file: expected the lines between the marks")
    if any(repeats):
        where = "before" if repeats[0] else "after"
        raise Refused(f"the answer repeats what stands {where} the region: expected the lines between the marks")
    if given == _squeezed("\n".join(region)):
        raise Refused("the region is what it was")
    is_blank = lambda line: not line.strip()  # at its edges: an answer need not repeat them
    edges = [list(takewhile(is_blank, region)), list(takewhile(is_blank, reversed(region)))]
    return "\n".join([*before, *edges[0], text, *edges[1], *after]) + "\n"


# -- The kinds ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What differs between kinds. `columns`: name -> whether a value will do; that function's docstring says what would."""

    columns: Mapping[str, Callable[[object], bool]]
    prompt: Callable[[Mapping], str]
    program: Callable[[Mapping, str], str]  # (task, completion) -> source; raises Refused
    example: tuple[dict, ...] = ()  # messages before the request: one and its answer


def _is_text(value: object) -> bool:
    """a text"""
    return isinstance(value, str)


def _is_code(value: object) -> bool:
    """a text that is not empty"""
    return isinstance(value, str) and bool(value.strip())


def _is_range(value: object) -> bool:
    """the numbers of its first and last line, from 1"""
    is_pair = isinstance(value, Sequence) and len(value) == 2 and all(isinstance(line, int) for line in value)
    return is_pair and 1 <= value[0] <= value[1]


KINDS = {
    "fix": Kind({"code": _is_code, "message": _is_text}, _fix_prompt, _fixed),
    "fim": Kind({"prefix": _is_text, "suffix": _is_text}, _fim_prompt, _filled_in),
    "patch": Kind({"code": _is_code}, _patch_prompt, _patched, _patch_example()),
    "next_edit": Kind({"code": _is_code, "last_edit": _is_code, "region": _is_range}, _next_edit_prompt, _edited),
}


def kind_of(task: Mapping) -> str:
    """The task's kind; `write` for none and for a word that is no kind."""
    kind = task.get("kind")
    return kind if kind in KINDS else WRITE


def require_columns(task: Mapping) -> None:
    """Raises KindError when a row lacks what its kind needs."""
    kind = kind_of(task)
    if kind == WRITE:
        return
    columns = KINDS[kind].columns
    bad = [name for name, will_do in columns.items() if not will_do(task.get(name))]
    if bad:
        found = "it is not there" if task.get(bad[0]) is None else f"expected {columns[bad[0]].__doc__}, found {task[bad[0]]!r:.40}"
        raise KindError(f"a task of kind {kind} needs the column {bad[0]} ({found})")
    if kind == "next_edit" and task["region"][1] > len(task["code"].rstrip("\n").split("\n")):
        raise KindError(f"the region {list(task['region'])} ends behind the last line of code")
    before = task.get("passed_before") or []
    if not isinstance(before, list) or not all(isinstance(place, int) and place >= 0 for place in before):
        raise KindError(f"passed_before has to be a list of positions of hidden tests, from 0, found {before!r:.60}")


def columns_of(task: Mapping) -> dict:
    """Everything in a row that its prompt and its verdict may need; nothing for `write`."""
    return {} if kind_of(task) == WRITE else {name: value for name, value in task.items() if name not in ("tests", "entry_point", "prompt")}


def with_prompt(task: dict) -> dict:
    """A task row whose `prompt` is what the model is shown; what it was comes to stand in `asked`. Raises KindError."""
    kind = task.get("kind")
    if kind is None or kind == WRITE:
        return task
    if kind not in KINDS:
        known = ", ".join((WRITE, *KINDS))
        raise KindError(f"the kind {kind!r:.40} is none of {known}: name the column otherwise if it means something else")
    require_columns(task)
    task = task | {"asked": task.get("asked") or task["prompt"]}
    return task | {"prompt": KINDS[kind].prompt(task)}


def with_fim_format(tasks: Sequence[dict], fim_format: str) -> list[dict]:
    """Tasks with those of kind fim asked by FIM tokens, or as a chat. Raises KindError for another format."""
    if fim_format not in FIM_FORMATS:
        raise KindError(f"--fim_format {fim_format}: expected {' or '.join(FIM_FORMATS)}")
    is_other = lambda task: kind_of(task) == "fim" and task.get("fim_format", "chat") != fim_format
    return [with_prompt(task | {"fim_format": fim_format}) if is_other(task) else task for task in tasks]


def conversation(task: Mapping, system_prompt: str) -> list[dict]:
    """Messages of a task. The system prompt is about writing a program with tests: other kinds go without it.

    FIM tokens are a single message of the role `raw`, which is tokenized as it stands. A kind may have an example before the request.
    """
    kind = kind_of(task)
    if kind == WRITE and system_prompt.strip():
        return [{"role": "system", "content": system_prompt}, {"role": "user", "content": task["prompt"]}]
    example = () if kind == WRITE else KINDS[kind].example
    return [*example, {"role": RAW if task.get("fim_format") == "tokens" else "user", "content": task["prompt"]}]


def is_raw(messages: Sequence[Mapping]) -> bool:
    """Whether a conversation is a text that no chat template is put around."""
    return len(messages) == 1 and messages[0].get("role") == RAW


def require_fim_tokens(tokenizer, conversations: Iterable[Sequence[Mapping]]) -> None:
    """Raises KindError when FIM tokens are asked for that the tokenizer does not have as single tokens."""
    if any(map(is_raw, conversations)):
        missing = [token for token in FIM_TOKENS if len(tokenizer(token, add_special_tokens=False)["input_ids"]) != 1]
        if missing:
            raise KindError(
                f"--fim_format tokens: the tokenizer of {tokenizer.name_or_path} has no token {missing[0]}; ask with --fim_format chat"
            )


def tokenized(prompts: Sequence[Sequence[Mapping]], tokenizer, of_chats: Callable[[list], list[list[int]]]) -> list[list[int]]:
    """Token ids of prompts, raw ones as they stand, the others by `of_chats`, in order."""
    chats = [prompt for prompt in prompts if not is_raw(prompt)]
    ids = iter(of_chats(chats) if chats else ())
    raw = lambda prompt: tokenizer(prompt[0]["content"], add_special_tokens=False)["input_ids"]
    return [raw(prompt) if is_raw(prompt) else next(ids) for prompt in prompts]


# -- Completions and verdicts ------------------------------------------------------------------------------------------


def read(task: Mapping, completion: str) -> tuple[Program | None, str | None]:
    """(program, None) of a completion for a task of another kind than `write`, or (None, why there is none)."""
    try:
        source = KINDS[kind_of(task)].program(task, completion)
    except Refused as why:
        return None, str(why)
    return read_program(with_main(source)), None


def counted(task: Mapping, why_none: str | None, verdict: Verdict) -> Verdict:
    """The verdict as the kind counts it: a reason where there is no program, and only hidden tests that failed before."""
    if why_none is not None:
        verdict = replace(verdict, diagnostics=(Diagnostic(None, "note", why_none, None),))
    statuses, total = verdict.hidden_statuses, verdict.hidden_total
    if kind_of(task) == "next_edit" and verdict.hidden_passed and _own_tests_fail(verdict):
        note = Diagnostic(None, "note", "the tests of the file fail or do not compile: no hidden test counts", None)
        statuses = ("failed",) * len(statuses)
        verdict = replace(verdict, hidden_passed=0, hidden_statuses=statuses, diagnostics=(*verdict.diagnostics, note))
    before = {place for place in task.get("passed_before") or () if total and place < total}
    if not before or verdict.error_kind == "infra":
        return verdict
    total = max(1, total - len(before))  # where nothing ran, a text with several asserts counts as one
    if not statuses:
        return replace(verdict, hidden_passed=0, hidden_total=total)
    lost = sum(statuses[place] != "ok" for place in before)
    wanted = tuple(status for place, status in enumerate(statuses) if place not in before)
    if not lost:
        return replace(verdict, hidden_passed=wanted.count("ok"), hidden_total=total, hidden_statuses=wanted)
    note = Diagnostic(None, "note", f"{lost} hidden tests fail that passed before: nothing else counts", None)
    wanted = tuple("failed" if status == "ok" else status for status in wanted)
    return replace(verdict, hidden_passed=0, hidden_total=total, hidden_statuses=wanted, diagnostics=(*verdict.diagnostics, note))


def _own_tests_fail(verdict: Verdict) -> bool:
    """Whether the program's own tests fail, or keep it from compiling though it builds without them."""
    return verdict.error_kind == "compile" or any(outcome != "ok" for outcome in verdict.tests.values())


def is_asked(reward: str, task: Mapping) -> bool:
    """Whether a reward's question arises for a kind: no other than `write` asks for tests, FIM tokens for no fence, `patch` for another."""
    if kind_of(task) == WRITE:
        return True
    unasked = CODE_BLOCK_REWARDS if task.get("fim_format") == "tokens" else CODE_BLOCK_REWARDS[1:] if kind_of(task) == "patch" else ()
    return reward not in (*OWN_TESTS_REWARDS, *unasked)


def changed_lines(before: str, after: str) -> set[int]:
    """Lines of `before`, from 1, that are not in `after` or have new ones in front of them."""
    pair = (before.rstrip("\n").split("\n"), after.rstrip("\n").split("\n"))
    opcodes = difflib.SequenceMatcher(None, *pair, autojunk=False).get_opcodes()
    return {line + 1 for tag, first, end, _, _ in opcodes if tag != "equal" for line in range(first, max(end, first + 1))}


def small_change_reward(program: Program | None, verdict: Verdict, task: Mapping) -> float | None:
    """Share of the program's lines that a change left alone, 0 unless every hidden test passes; None for other kinds."""
    if "code" not in task or kind_of(task) == WRITE or not verdict.hidden_total:
        return None
    if program is None or verdict.hidden_passed != verdict.hidden_total:
        return 0.0
    n_lines = len(task["code"].rstrip("\n").split("\n"))
    return max(0.0, 1 - len(changed_lines(with_main(task["code"]), program.source)) / n_lines)


def edit_places_reward(program: Program | None, verdict: Verdict, task: Mapping) -> float | None:
    """Of the lines that had to change or did, the share that are both; None without `places` (kind next_edit)."""
    needed = set(task.get("places") or ())
    if kind_of(task) != "next_edit" or not needed:
        return None
    changed = changed_lines(with_main(task["code"]), program.source) if program else set()
    return len(needed & changed) / len(needed | changed)


def _other_columns(record: Mapping) -> Mapping:
    """The columns of its task that a graded completion kept; in parquet they are a text. A user's own column of that name holds none."""
    found = record.get("columns")
    if isinstance(found, str):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(found)
    return found if isinstance(found, Mapping) else {}


def kind_of_record(record: Mapping) -> str:
    """Kind of the task of a graded completion, in a trace or in results."""
    return kind_of({"kind": record.get("kind") or _other_columns(record).get("kind")})


def diff_of_record(record: Mapping) -> str | None:
    """What a graded completion changed of the program that it was shown, as a unified diff; None for other kinds and without a program."""
    columns = {**_other_columns(record), **record}
    code = columns["prefix"] + columns["suffix"] if kind_of_record(record) == "fim" else columns.get("code")
    if kind_of_record(record) == WRITE or not isinstance(code, str) or not isinstance(record.get("program"), str):
        return None
    pair = (with_main(code).split("\n"), record["program"].split("\n"))
    return "\n".join(difflib.unified_diff(*pair, "as it was", "as it is", lineterm="", n=2))


def places_of_record(record: Mapping) -> float | None:
    """`edit_places_reward` of a graded completion, whether or not it was asked for."""
    if kind_of_record(record) != "next_edit":
        return None
    task = {**_other_columns(record), **record}
    program = SimpleNamespace(source=record["program"]) if record.get("program") else None
    return edit_places_reward(program, None, task)


TASK_REWARDS = (small_change_reward, edit_places_reward)  # which are given the task, too
