"""Which of our reference solutions are right answers to a task of another set, whatever words either uses: the other's tests are run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from judge.program import code_blocks, read_program
from judge.syntax import Node, body_of, edited, parse_any_length, text_of
from rust_tool import Job, RustTool
from task_proof.likeness import plain_code
from task_proof.mutants import functions_named

PER_PROGRAM = 64  # references that are compiled together


def types_of(function: Node) -> tuple[str, ...]:
    """Types of the parameters and of what is returned, without layout and paths."""
    parameters = [node for node in function.child_by_field_name("parameters").named_children if node.type == "parameter"]
    types = [*(node.child_by_field_name("type") for node in parameters), function.child_by_field_name("return_type")]
    return tuple(plain_code(text_of(node)) for node in types)


def answers(tasks: Sequence[Mapping], solutions: Mapping[str, str], texts: Sequence[Mapping], judge: RustTool) -> list[tuple[str, str]]:
    """(task, text) of every reference that passes all tests of another set's row whose function has its types.

    tasks: task_id and entry_point. texts: rows of `load_tasks`; those without a Rust signature in the prompt or without tests in Rust are
    passed over. A row with few tests, or one that asks yes or no, is also answered by chance: people look at what is found.
    """
    fitting = defaultdict(list)
    for task in tasks:
        for function in functions_named(parse_any_length(solutions.get(task["task_id"], "")), task["entry_point"])[-1:]:
            fitting[types_of(function)].append((task["task_id"], task["entry_point"], _with_public(solutions[task["task_id"]], function)))
    asked, jobs = [], []
    for text in texts:
        name, tests = text.get("entry_point") or "", "\n".join(map(_statements, text["tests"] or ()))
        declared = [found for block in code_blocks(text["prompt"]) for found in functions_named(parse_any_length(block.text), name)]
        candidates = fitting[types_of(declared[-1])] if declared and tests else []
        for start in range(0, len(candidates), PER_PROGRAM):
            some = candidates[start : start + PER_PROGRAM]
            program = read_program("\n".join(f"mod answer_{n} {{\n{source}\n}}" for n, (_, _, source) in enumerate(some)))
            uses = [f"use crate::answer_{n}::{own} as {name};" for n, (_, own, _) in enumerate(some)]
            asked.append((text["task_id"], [task_id for task_id, _, _ in some]))
            jobs.append(Job(program=program, hidden_tests=tuple(f"#[test]\nfn is_right() {{\n{use}\n{tests}\n}}" for use in uses)))
    found = []
    for (other, ids), ended in zip(asked, judge.run_suites(jobs), strict=True):
        found += [(task_id, other) for task_id, statuses in zip(ids, ended, strict=True) if statuses == {"is_right": "ok"}]
    return found


def _with_public(source: str, function: Node) -> str:
    at = function.start_byte
    return source if text_of(function).startswith("pub") else edited(source, [(at, at, "pub ")])


def _statements(test: str) -> str:
    """A test as statements: the body of its `main`, or itself."""
    mains = functions_named(parse_any_length(test), "main")
    return text_of(body_of(mains[0])) if mains else f"{test}\n;"
