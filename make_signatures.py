"""The task bank once more with plain signatures: `Vec<isize>` for `&[u32]`, `isize` for every integer, `String` for `&str`.

    python make_signatures.py --output_dir data        # some minutes on 2 cores

Functions that come from another language have such signatures, and a small model stumbles over what they ask for: an `isize` is no
index. The bank has none. A task is asked anew where every type of its signature has a plain form and nothing in its texts speaks of a
type or of a limit of one; its hidden tests stay, with their arguments in the plain form. Other languages' names (`countPrimes`,
`count_Primes`) come along, too, and are not to be mended: one function in three has such a name, always the same ones. Each row is
proved: the reference, behind a function of the plain signature, passes all its tests. A task keeps its split. Writes
plain_signatures_SPLIT.jsonl.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import console
from check_tasks import add_bank_arguments, grade_sources, load_solutions, make_folder, split_of
from doctor import require_free_disk
from judge.errors import UserError, tell
from judge.syntax import Node, parse_any_length, text_of, walk
from rust_tool import RustTool
from tasks import TaskError, load_tasks

INTEGERS = ("i32", "i64", "isize", "u32", "u64", "usize")  # of 8 and 16 bits mean bytes and bits
UNCHANGED = ("bool", "char", "f64", "String")
# A text that speaks of one of these is about the type, not about the task; what `parse` takes depends on the type, too.
ABOUT_TYPES = re.compile(
    r"\b([iu](8|16|32|64|128|size)|MAX|MIN|(?i:slices?|borrow\w*|owned|references?|lifetimes?|allocat\w*|pars(e|es|ed|ing)"
    r"|unsigned|overflow\w*|wrap(s|ping)?|saturat\w*|bits?|bytes?))\b|&str|&\["
)


class NoPlainForm(ValueError):
    """This type, argument or text has no plain form."""


# ---------------------------------------------------------------------------------------------------------------------
# Types, and values of them
# ---------------------------------------------------------------------------------------------------------------------


def _parts(node: Node) -> list[Node]:
    """What stands in a list of arguments, elements or parameters, without the comments between."""
    return [one for one in node.named_children if not one.type.endswith("comment")]


def _inner(node: Node) -> tuple[str, list[Node]]:
    """What a type is (`int`, `same`, `str`, `list`, `option`, `tuple`) and the types inside it. Raises NoPlainForm."""
    text = text_of(node)
    if text in INTEGERS:
        return "int", []
    if text in UNCHANGED:
        return "same", []
    if node.type == "reference_type" and node.named_child_count == 1:  # no lifetime, no `mut`
        (what,) = node.named_children
        if text_of(what) == "str":
            return "str", []
        if what.type == "array_type" and what.named_child_count == 1:
            return "list", what.named_children
    if node.type == "generic_type":
        name, arguments = text_of(node.child_by_field_name("type")), node.child_by_field_name("type_arguments").named_children
        if name in ("Vec", "Option") and len(arguments) == 1:
            return {"Vec": "list", "Option": "option"}[name], arguments
    if node.type == "tuple_type":
        return "tuple", node.named_children
    raise NoPlainForm(text)


def plain(node: Node) -> str:
    """Plain form of a type: `&[(&str, u32)]` -> `Vec<(String, isize)>`. Raises NoPlainForm."""
    what, inside = _inner(node)
    inner = [plain(one) for one in inside]
    if what == "same":
        return text_of(node)
    if what == "tuple":
        return f"({', '.join(inner)}{',' if len(inner) == 1 else ''})"
    return {"int": "isize", "str": "String", "list": "Vec<{}>", "option": "Option<{}>"}[what].format(*inner)


def converted(node: Node, place: str, to_plain: bool) -> str:
    """Expression for the value at `place`, which is of the plain form, as the type itself; or the other way about.

    It panics for an integer that the other type does not hold.
    """
    what, inside = _inner(node)
    if what == "int":
        return f"{'isize' if to_plain else text_of(node)}::try_from({place}).unwrap()"
    if what == "same":
        return f"{place}.clone()" if text_of(node) == "String" else place
    if what == "str":
        return f"{place}.to_string()" if to_plain else f"{place}.as_str()"
    if what == "tuple":
        return f"({', '.join(converted(one, f'{place}.{i}', to_plain) for i, one in enumerate(inside))},)"
    each = converted(inside[0], "(*x)", to_plain)
    if what == "option":
        return f"{place}.as_ref().map(|x| {each})"
    borrow = "&" if node.type == "reference_type" and not to_plain else ""
    return f"{borrow}{place}.iter().map(|x| {each}).collect::<Vec<_>>()"


def _expression(text: str) -> Node | None:
    root = parse_any_length(f"const _: () = {text};")
    return None if root.has_error else root.named_children[0].child_by_field_name("value")


def argument(node: Node, value: Node) -> str:
    """An argument of this type as a test writes it, in the plain form: `&["a"]` -> `vec!["a".to_string()]`. Raises NoPlainForm."""
    what, inside = _inner(node)
    text = text_of(value)
    if what == "same":
        return text
    if what == "int":
        return text if re.fullmatch(r"-?[\d_]+|-?0[xb][\da-fA-F_]+", text) else f"({text}) as isize"
    if what == "str":
        return f"{text}.to_string()" if value.type.endswith("string_literal") else f"({text}).to_string()"
    if what == "option" and text == "None":
        return text
    if what == "option" and value.type == "call_expression" and text.startswith("Some("):
        return f"Some({argument(inside[0], _parts(value.child_by_field_name('arguments'))[0])})"
    if what == "tuple":
        if value.type != "tuple_expression" or len(_parts(value)) != len(inside):
            raise NoPlainForm(text)
        parts = [argument(one, part) for one, part in zip(inside, _parts(value), strict=True)]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if what == "list":
        array = value.child_by_field_name("value") if value.type == "reference_expression" else value
        if array.type == "macro_invocation" and text_of(array).startswith("vec!"):
            array = _expression(text_of(array)[len("vec!") :])
        if array is not None and array.type == "array_expression":
            parts = _parts(array)
            if array.child_by_field_name("length") is not None:
                return f"vec![{argument(inside[0], parts[0])}; {text_of(parts[1])}]"
            return f"vec![{', '.join(argument(inside[0], part) for part in parts)}]"
    return converted(node, f"({text})", to_plain=True)


# ---------------------------------------------------------------------------------------------------------------------
# Tasks
# ---------------------------------------------------------------------------------------------------------------------


def with_calls(text: str, name: str, rewrite: Callable[[Node], str]) -> str:
    """The text with the arguments of every call of the function `name` rewritten, of calls among them, too.

    A method of that name is left alone. Raises NoPlainForm for a call that cannot be read.
    """
    pieces, position = [], 0
    for found in re.finditer(rf"(?<![^.]\.)\b{name}\(", text):
        if found.start() < position:
            continue
        ends = (m.end() for m in re.finditer(r"\)", text[found.start() :]))
        calls = ((end, _expression(text[found.start() : found.start() + end])) for end in ends)
        end, call = next(((end, call) for end, call in calls if call is not None), (0, None))
        if call is None or call.type != "call_expression":
            raise NoPlainForm(text[found.start() :])
        given = rewrite(call)
        inside = walk(call.child_by_field_name("arguments"))
        if any(node.type == "call_expression" and text_of(node.child_by_field_name("function")) == name for node in inside):
            given = with_calls(given, name, rewrite)
        pieces += [text[position : found.start()], f"{name}({given})"]
        position = found.start() + end
    return "".join([*pieces, text[position:]])


def renamed(row: Mapping) -> dict:
    """The task with the function's name as other languages write names, or as it is: that follows from the name and stays.

    A name that stands anywhere but before its arguments (`split` as a word or a method) is kept.
    """
    name = row["entry_point"]
    first, *others = name.split("_")
    last = "".join(f"_{word.title()}" for word in others)
    styles = [first + last.replace("_", ""), first + last, first.title() + last]
    style = zlib.crc32(name.encode()) % (3 * len(styles))
    texts = [row["prompt"], row["signature_prompt"], *row["tests"]]
    stands, called = rf"\b{name}\b", rf"(?<![^.]\.)\b{name}\b(?=\()"
    if style >= len(styles) or any(len(re.findall(stands, text)) != len(re.findall(called, text)) for text in texts):
        return dict(row)
    new = styles[style] if styles[style] != name else name.title()
    prompt, signature, *tests = (re.sub(called, new, text) for text in texts)
    return {**row, "prompt": prompt, "signature_prompt": signature, "tests": tests, "entry_point": new}


def plain_task(task: Mapping) -> tuple[dict, Callable[[str], str]]:
    """The task with a plain signature, and what makes its reference of the task's own. Raises NoPlainForm."""
    name = task["entry_point"]
    (block,) = re.findall(r"```rust\n(.*?)```", task["signature_prompt"], re.DOTALL)
    root = parse_any_length(block)
    functions = [node for node in walk(root) if node.type == "function_item"]
    if len(functions) != 1 or any(node.type not in ("line_comment", "function_item", "block_comment") for node in root.named_children):
        raise NoPlainForm("not one function alone")
    (function,) = functions
    if function.child_by_field_name("type_parameters") is not None or function.child_by_field_name("return_type") is None:
        raise NoPlainForm("type parameters, or nothing returned")
    answer, parameters = function.child_by_field_name("return_type"), _parts(function.child_by_field_name("parameters"))
    if any(one.type != "parameter" for one in parameters):
        raise NoPlainForm("a parameter without a type")
    names = [text_of(one.child_by_field_name("pattern")) for one in parameters]
    types = [one.child_by_field_name("type") for one in parameters]
    shape = f"({', '.join(f'{n}: {plain(t)}' for n, t in zip(names, types, strict=True))}) -> {plain(answer)}"
    old = text_of(function).split("{")[0].split(name, 1)[1].strip()
    if shape == old:
        raise NoPlainForm("plain already")

    def arguments(call: Node) -> str:
        given = _parts(call.child_by_field_name("arguments"))
        if len(given) != len(types):
            raise NoPlainForm(text_of(call))
        return ", ".join(argument(kind, value) for kind, value in zip(types, given, strict=True))

    def reworded(text: str) -> str:
        if f"{name}{old}" not in text:
            raise NoPlainForm("the signature is not shown word for word")
        before, _, after = text.partition(f"{name}{old}")
        parts = [with_calls(part, name, arguments) for part in (before, after)]
        if any(ABOUT_TYPES.search(part) for part in parts):
            raise NoPlainForm("the text is about a type")
        return f"{name}{shape}".join(parts)

    changed = {"prompt": reworded(task["prompt"]), "signature_prompt": reworded(task["signature_prompt"])}
    tests = [with_calls(test, name, arguments) for test in task["tests"]]
    row = renamed({**task, **changed, "task_id": f"{task['task_id']}#plain", "tests": tests})

    def reference(solution: str) -> str:
        given = ", ".join(converted(kind, n, to_plain=False) for n, kind in zip(names, types, strict=True))
        body = f"    let answer = reference::{name}({given});\n    {converted(answer, 'answer', to_plain=True)}\n"
        return f"mod reference {{\n{solution}}}\n\npub fn {row['entry_point']}{shape} {{\n{body}}}\n"

    return row, reference


def make(tasks: Sequence[dict], solutions: Mapping[str, str], judge: RustTool) -> tuple[list[dict], Counter]:
    """Proved rows in the order of the tasks, and how many tasks were left out for each reason."""
    left_out, made = Counter(), []
    for task in tasks:
        try:
            row, reference = plain_task(task)
        except NoPlainForm as reason:
            left_out[str(reason)] += 1
            continue
        made.append((row, reference(solutions[task["task_id"]])))
    verdicts = grade_sources(judge, made, "references")
    proved = [row for (row, _), verdict in zip(made, verdicts, strict=True) if 0 < verdict.hidden_passed == verdict.hidden_total]
    left_out["the tests do not fit the plain types"] = len(made) - len(proved)
    return proved, left_out


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = console.Parser(description=__doc__.splitlines()[0])
    add_bank_arguments(parser)
    arguments = parser.parse_args(argv)
    parser.require_counts(arguments, "workers")
    return arguments


def run(arguments: argparse.Namespace) -> None:
    """Make, prove and write every file. Raises UserError."""
    solutions = load_solutions(arguments.solutions)
    make_folder(arguments.output_dir, "--output_dir")
    require_free_disk(arguments.output_dir, needed_gib=0.1)
    with RustTool(workers=arguments.workers, sandbox=arguments.sandbox) as judge:
        for file in arguments.tasks:
            tasks = load_tasks(str(file))
            unsolved = [task["task_id"] for task in tasks if task["task_id"] not in solutions]
            if unsolved:
                raise TaskError(f"{file}: {unsolved[0]} has no solution in {arguments.solutions}")
            rows, left_out = make(tasks, solutions, judge)
            path = arguments.output_dir / f"plain_signatures_{split_of(file)}.jsonl"
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            print(f"{path}: {len(rows)} of {len(tasks)} tasks; left out, by reason or type: {dict(left_out.most_common())}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: exit status 0 when the files are written, 1 when they cannot be."""
    try:
        run(read_arguments(argv))
    except (UserError, OSError) as error:
        tell("make_signatures.py", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
