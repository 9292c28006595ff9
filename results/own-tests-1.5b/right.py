"""Which completions answer MBPP's own tests, though their prompts show neither a name nor types: results/own-tests-1.5b/right.json.

    python results/own-tests-1.5b/right.py mbpp.jsonl results/own-tests-1.5b/mbpp-eval results/mbpp-eval-1.5b \
        results/prompt-pilot > results/own-tests-1.5b/right.json

A test `assert name(ARGUMENTS) == EXPECTED` becomes Rust by the types of the completion's function: literals as its parameters and its
result take them, a list for `Vec`, slice or array, a text for those of `char`; what is changed in place is compared where nothing is
returned, floats to one percent. An argument that only repeats a length may be missing; where all tests expect one of two texts ("Yes",
"No"), `bool` may stand for them, either way. A function that the values do not fit answers another question. Tests that are not of this
form are left out, and prompts without any. Right answers are missed, since a prompt can be understood in more ways than its tests.

Per folder, row and prompt a list, by sample: "right" (all of the tests pass), "wrong", "other types", "no program" (none that builds).
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evaluation.folders import read_jsonl
from judge.program import Program, extract_program
from judge.syntax import Node, base_name, parse_any_length, text_of
from rust_tool import Job, RustTool
from task_proof.mutants import functions_named

Test = tuple[list, object]  # arguments, what is expected
NATURAL = ((bool, "bool"), (int, "i64"), (float, "f64"), (str, "String"))  # what a generic parameter becomes
BORROWED = re.compile(r"&|\bimpl\b")  # a type that the compiler finds out by itself
NEAR = """
trait Near { fn near(&self, other: &Self) -> bool; }
impl Near for f64 { fn near(&self, o: &f64) -> bool { (self - o).abs() <= 1e-2 * o.abs().max(1.0) } }
impl Near for f32 { fn near(&self, o: &f32) -> bool { (self - o).abs() <= 1e-2 * o.abs().max(1.0) } }
impl<T: Near> Near for Vec<T> { fn near(&self, o: &Self) -> bool { self.len() == o.len() && self.iter().zip(o).all(|(a, b)| a.near(b)) } }
impl<T: Near> Near for Option<T> {
    fn near(&self, o: &Self) -> bool { match (self, o) { (Some(a), Some(b)) => a.near(b), (a, b) => a.is_some() == b.is_some() } }
}
impl<A: Near, B: Near> Near for (A, B) { fn near(&self, o: &Self) -> bool { self.0.near(&o.0) && self.1.near(&o.1) } }
impl<A: Near, B: Near, C: Near> Near for (A, B, C) {
    fn near(&self, o: &Self) -> bool { self.0.near(&o.0) && self.1.near(&o.1) && self.2.near(&o.2) }
}
macro_rules! same { ($($t:ty)*) => { $(impl Near for $t { fn near(&self, o: &Self) -> bool { self == o } })* } }
same!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize bool char String);
"""


class OtherTypesError(Exception):
    """A value does not fit a type, or the type is not known here."""


# -- Python's side -----------------------------------------------------------------------------------------------------


def python_tests(asserts: Sequence[str]) -> list[Test]:
    """Of the assertions those that compare one call of a function with a value."""
    found = []
    for text in asserts:
        with contextlib.suppress(AttributeError, ValueError, SyntaxError, TypeError):
            (statement,) = ast.parse(text).body
            compared = statement.test
            if isinstance(compared, ast.Call):
                compared = ast.Compare(compared, [ast.Eq()], [ast.Constant(True)])
            (right,), (operator,), call = compared.comparators, compared.ops, compared.left
            if isinstance(operator, ast.Eq) and not call.keywords and not hasattr(builtins, call.func.id):
                found.append(([ast.literal_eval(argument) for argument in call.args], ast.literal_eval(right)))
    return found


def readings(tests: Sequence[Test]) -> Iterator[list[Test]]:
    """The tests, and where they expect one of two texts, both ways to have `bool` stand for these."""
    yield list(tests)
    if all(isinstance(expected, str) for _, expected in tests) and len(texts := {expected for _, expected in tests}) == 2:
        for yes in sorted(texts):
            yield [(values, expected == yes) for values, expected in tests]


def without_length(values: Sequence) -> list:
    """The arguments less the last that is the length of another."""
    lengths = {len(value) for value in values if isinstance(value, list | tuple | str | dict)}
    for n in reversed(range(len(values))):
        if isinstance(values[n], int) and values[n] in lengths:
            return [*values[:n], *values[n + 1 :]]
    raise OtherTypesError


def innermost(values: object) -> Iterator[object]:
    for value in values if isinstance(values, list | tuple) else ():
        yield from innermost(value)
    if not isinstance(values, list | tuple):
        yield values


# -- Rust's side -------------------------------------------------------------------------------------------------------


def inner_types(kind: Node) -> list[Node]:
    """Of a tuple or of `Vec<..>` and its like."""
    held = kind.child_by_field_name("type_arguments") or kind
    return [child for child in held.named_children if child.type != "lifetime"]


def slice_of(kind: Node) -> Node | None:
    """The type of a slice's elements; None of anything else."""
    return kind.child_by_field_name("element") if kind.type == "array_type" and kind.child_by_field_name("length") is None else None


def listed(value: object, kind: Node) -> str:
    """The elements of a list, or of a text where characters are asked for."""
    if isinstance(value, str) and text_of(kind) == "char":
        value = list(value)
    if not isinstance(value, list | tuple):
        raise OtherTypesError
    return ", ".join(literal(one, kind) for one in value)


def quoted(value: str) -> str:
    return '"' + "".join(f"\\u{{{ord(character):x}}}" for character in value) + '"'


def number(value: object, name: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise OtherTypesError
    if name in ("f32", "f64"):
        return f"({float(value)!r}{name})"
    bits = 64 if name.endswith("size") else int(name[1:])
    low, high = (-(1 << bits - 1), 1 << bits - 1) if name[0] == "i" else (0, 1 << bits)
    if value != int(value) or not low <= value < high:
        raise OtherTypesError
    return f"({int(value)}{name})"


def literal(value: object, kind: Node) -> str:
    """A Python value as an expression of a Rust type.

    Raises:
        OtherTypesError: it is no value of that type.
    """
    name = base_name(text_of(kind.child_by_field_name("type") if kind.type == "generic_type" else kind))
    match kind.type, name, value:
        case "reference_type", _, _:
            inner = kind.child_by_field_name("type")
            if element := slice_of(inner):
                return f"&[{listed(value, element)}][..]"
            return quoted(value) if text_of(inner) == "str" and isinstance(value, str) else f"&{literal(value, inner)}"
        case "primitive_type", "bool", bool():
            return str(value).lower()
        case "primitive_type", "char", str() if len(value) == 1:
            return f"'\\u{{{ord(value):x}}}'"
        case "primitive_type", _, _ if name not in ("bool", "char", "str"):
            return number(value, name)
        case _, "String", str():
            return f"{quoted(value)}.to_string()"
        case _, "Option", _:
            return "None" if value is None else f"Some({literal(value, *inner_types(kind))})"
        case _, "Result", _:
            return f"Ok({literal(value, inner_types(kind)[0])})"
        case "generic_type", "Vec", _:
            return f"vec![{listed(value, *inner_types(kind))}]"
        case "array_type", _, list() | tuple() | str() if text_of(kind.child_by_field_name("length")) == str(len(value)):
            return f"[{listed(value, kind.child_by_field_name('element'))}]"
        case "tuple_type", _, list() | tuple() if len(value) == len(inner_types(kind)):
            return f"({', '.join(map(literal, value, inner_types(kind)))},)"
        case "generic_type", "HashMap" | "BTreeMap", dict():
            pairs = ", ".join(f"({', '.join(map(literal, pair, inner_types(kind)))})" for pair in value.items())
            return f"std::collections::{name}::from([{pairs}])"
        case "generic_type", "HashSet" | "BTreeSet", set() | list() | tuple():
            return f"std::collections::{name}::from([{listed(list(value), *inner_types(kind))}])"
    raise OtherTypesError


def signature(function: Node, name: str, values: Sequence) -> tuple[list[Node], Node | None]:
    """Types of a function's parameters and of its result, a generic parameter filled in by what the test has."""
    header = text_of(function).partition("{")[0]
    generics = function.child_by_field_name("type_parameters")
    types = [one for one in generics.named_children if one.type != "lifetime_parameter"] if generics is not None else []
    if types:
        first = next(innermost(list(values)), 0)
        fitting = [rust for python, rust in NATURAL if isinstance(first, python)]
        if len(types) > 1 or types[0].type != "type_parameter" or not fitting:
            raise OtherTypesError
        header = header.replace(text_of(generics), "", 1).partition(" where")[0]
        header = re.sub(rf"\b{re.escape(text_of(types[0].child_by_field_name('name')))}\b", fitting[0], header)
    (function, *_) = functions_named(parse_any_length(header + "{}"), name)
    parameters = [node for node in function.child_by_field_name("parameters").named_children if node.type == "parameter"]
    return [node.child_by_field_name("type") for node in parameters], function.child_by_field_name("return_type")


def statement(function: Node, name: str, values: Sequence, expected: object) -> str:
    """One test as statements.

    Raises:
        OtherTypesError: the values do not fit the function.
    """
    types, result = signature(function, name, values)
    values = without_length(values) if len(types) == len(values) - 1 else values
    if len(types) != len(values):
        raise OtherTypesError
    lines, passed, changed = [], [], []
    for n, (value, kind) in enumerate(zip(values, types, strict=True)):
        if kind.type == "reference_type" and any(child.type == "mutable_specifier" for child in kind.children):
            owned = kind.child_by_field_name("type")
            if element := slice_of(owned):
                (alias,) = parse_any_length(f"type Owned = Vec<{text_of(element)}>;").named_children
                owned = alias.child_by_field_name("type")
            lines.append(f"let mut changed_{n}: {text_of(owned)} = {literal(value, owned)};")
            passed.append(f"&mut changed_{n}{'[..]' if element else ''}")
            changed.append((f"changed_{n}", owned))
        elif BORROWED.search(text_of(kind)):
            passed.append(literal(value, kind))
        else:
            lines.append(f"let given_{n}: {text_of(kind)} = {literal(value, kind)};")
            passed.append(f"given_{n}")
    got, call = "got", f"{name}({', '.join(passed)});"
    if result is None or text_of(result) == "()":
        if len(changed) != 1:
            raise OtherTypesError
        got, result = changed[0]
    else:
        call = f"let got = {call}"
    wanted, whole = literal(expected, result), text_of(result)
    is_near = re.search(r"\bf(32|64)\b", whole) and not re.search(r"&|\b(Result|Hash|BTree)", whole)
    typed = "" if BORROWED.search(whole) else f": {whole}"
    check = f"Near::near(&{got}, &wanted)" if is_near else f"{got} == wanted"
    return "\n".join([*lines, call, f"let wanted{typed} = {wanted};", f"assert!({check});"])


def suites(program: Program, tests: Sequence[Test]) -> tuple[str, ...]:
    """The tests, for the function that they fit: what its own tests call, else what nothing else calls; a text for each reading."""
    root = parse_any_length(program.source)
    for name in dict.fromkeys((*program.tested_functions, *program.root_functions, *program.functions)):
        found, functions = [], functions_named(root, name)
        for reading in readings(tests) if functions else ():
            with contextlib.suppress(OtherTypesError):
                bodies = [statement(functions[0], name, values, expected) for values, expected in reading]
                written = "\n".join(f"#[test]\nfn python_{n}() {{\n{body}\n}}" for n, body in enumerate(bodies))
                found.append(f"use std::collections::*;\nuse crate::{name};\n{NEAR}\n{written}")
        if found:
            return tuple(found)
    return ()


def answers(tests: Mapping[str, Sequence[Test]], rows: Sequence[Mapping]) -> list[str]:
    """What each graded completion makes of its prompt's tests."""
    found, asked, jobs = ["no program"] * len(rows), [], []
    for n, row in enumerate(rows):
        program = extract_program(row["completion"]) if row["build_passed"] else None
        if program is not None and program.functions:
            found[n] = "other types"
            if texts := suites(program, tests[row["task_id"]]):
                asked.append(n)
                jobs.append(Job(program=program, hidden_tests=texts))
    with RustTool() as judge:
        for n, ended in zip(asked, judge.run_suites(jobs), strict=True):
            n_tests = len(tests[rows[n]["task_id"]])
            found[n] = "right" if any(one and list(one.values()) == ["ok"] * n_tests for one in ended) else "wrong"
    return found


def main(tasks: str, *folders: str) -> dict:
    tests = {row["task_id"]: found for row in read_jsonl(Path(tasks)) if (found := python_tests(row["test_list"]))}
    counted: dict = {}
    for folder in folders:
        rows = [row for row in read_jsonl(Path(folder) / "results.jsonl.gz") if row["task_id"] in tests]
        if not rows:
            sys.exit(f"right.py: {tasks} has none of the tasks of {folder}: ids are written as in mbpp/601")
        of_folder = counted.setdefault(Path(folder).name, {})
        for row, answer in zip(rows, answers(tests, rows), strict=True):
            of_folder.setdefault(row["row"], {}).setdefault(row["task_id"], []).append(answer)
    return counted


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout, indent=1)
    print()
