"""Tests of others: texts with `#[test]` functions, compiled into one binary with a program that builds, and how each ended."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from judge.limits import SHORTEST_S
from judge.outcome import Outcome
from judge.program import HiddenSuite, with_hidden_tests
from judge.verdict import InfraError, Job
from judge.workshop import BINARY_NAME, Compiled, Workshop, write_source

SUITE_TRIES = 3  # compilations of a program with suites of others, each without those that the last did not compile
CompiledSuites = tuple[Path, HiddenSuite, list[int]]  # a folder with the binary, and which of the texts it holds


def compile_suites(shop: Workshop, job: Job) -> CompiledSuites | None:
    """The folder of a binary with the texts that compile, and which these are."""
    folder, wanted = shop.folder(), list(range(len(job.hidden_tests)))
    try:
        for _ in range(SUITE_TRIES):
            texts = [job.hidden_tests[i] for i in wanted]
            suite = with_hidden_tests(job.program, texts, None, shop.gate_crate)
            write_source(folder, suite.source)
            compiled = shop.build_tests(folder, is_hidden=True)
            if compiled.passed:
                return folder, suite, wanted
            wrong = blamed_texts(compiled, suite)
            wanted = [i for at, i in enumerate(wanted) if at not in wrong]
            if compiled.timed_out or not wrong or not wanted:
                break
    except ValueError:  # a text that cannot be read as tests
        pass
    except (InfraError, OSError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return None


def run_suites(shop: Workshop, compiled: CompiledSuites, run_timeout_s: float, answers: list[dict[str, str] | None]) -> None:
    """Fill in the answer of each text, in a process of its own. They share the limit of a
    program; those after the one that used it up, once more."""
    folder, suite, wanted = compiled
    try:
        binary, left_s = folder / BINARY_NAME, run_timeout_s
        listed = shop.run_tests(binary, only=[])
        outcome = Outcome(listed.names, listed.ignored)
        for at, i in enumerate(wanted):
            prefix = f"{suite.module}::text{at}::"
            tests = [index for index, name in enumerate(listed.names) if name.startswith(prefix) and index not in listed.ignored]
            limit_s = left_s if left_s >= SHORTEST_S else max(SHORTEST_S, run_timeout_s / len(wanted))
            run = shop.run_tests(binary, "run", tests, limit_s)
            outcome.take(run, tests)
            left_s -= max(run.completed.cpu_s, limit_s if run.completed.timed_out else 0.0)
            ends = {index: "failed" if suite.guard else outcome.ends[index].status for index in tests if index in outcome.ends}
            answers[i] = {listed.names[index].removeprefix(prefix): status for index, status in ends.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def blamed_texts(compiled: Compiled, suite: HiddenSuite) -> set[int]:
    """Which of a suite's texts the compiler's errors point into."""
    lines = suite.source.split("\n")
    first = lines.index(f"mod {suite.module} {{")
    starts = [number for number, line in enumerate(lines, 1) if number > first and re.fullmatch(r"mod text\d+ \{", line)]
    named = {number: int(lines[number - 1][8:-2]) for number in starts}
    pointed = [line for message in compiled.messages if message.is_error for line, _first, _last in message.spans]
    above = (max((start for start in starts if start <= line), default=None) for line in pointed if line > first)
    return {named[start] for start in above if start is not None}
