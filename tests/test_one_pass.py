"""A program without tests is compiled once, with the hidden tests behind it; the verdict is that of two passes."""

from dataclasses import replace

import pytest

import judge.compiling
from judge.cfg_test import view_of_hidden_tests
from judge.program import read_program, with_hidden_tests, with_main
from rust_tool import Job, RustTool

TESTS = ("assert_eq!(total(&[1, 2]), 3);\nassert_eq!(total(&[]), 0);",)
RIGHT = "fn total(xs: &[i64]) -> i64 {\n    xs.iter().sum()\n}"
PROGRAMS = {
    "right": RIGHT,
    "wrong": "fn total(xs: &[i64]) -> i64 {\n    xs.len() as i64\n}",
    "a warning": "fn total(xs: &[i64]) -> i64 {\n    let sum = xs.iter().sum();\n    return sum;\n}",
    "a denied lint": "fn total(xs: &[i64]) -> i64 {\n    let n: u32 = 0;\n    if n < 0 { 1 } else { xs.iter().sum() }\n}",
    "does not build": "fn total(xs: &[i64]) -> i64 {\n    let unused = 1;\n    xs.first()\n}",
    "another name": "fn sum_of(xs: &[i64]) -> i64 {\n    xs.iter().sum()\n}",
    "an import nobody uses": "use std::fmt::Write;\n" + RIGHT,
    "an import for a method": 'use std::fmt::Write;\n\nfn total(xs: &[i64]) -> i64 {\n    let mut s = String::new();\n    write!(s, "{}", xs.iter().sum::<i64>()).unwrap();\n    s.parse().unwrap()\n}',
    "empty": "",
}
IN_STEPS = {  # the tests could change what the compiler says of them
    "a type": "struct Sum {\n    total: i64,\n    n: usize,\n}\n\nfn total(xs: &[i64]) -> i64 {\n    let sum = Sum { total: xs.iter().sum(), n: xs.len() };\n    sum.total\n}",
    "a lint of its own": "#[deny(clippy::needless_return)]\n" + RIGHT,
    "every name of a module": "use std::collections::*;\n" + RIGHT,
    "a macro": "macro_rules! add { ($a:expr, $b:expr) => { $a + $b } }\n\n" + RIGHT,
    "code in main": RIGHT + '\n\nfn main() {\n    println!("{}", total(&[1]));\n}',
}


def job(source: str) -> Job:
    return Job(read_program(with_main(source)), hidden_tests=TESTS, entry_point="total")


def is_one_pass(source: str, tests=TESTS) -> bool:
    program = read_program(with_main(source))
    return view_of_hidden_tests(program.source, with_hidden_tests(program, tests, "total").source) is not None


@pytest.mark.parametrize("name", [name for name in PROGRAMS if PROGRAMS[name]])
def test_an_ordinary_program_takes_one_pass(name):
    assert is_one_pass(PROGRAMS[name])


@pytest.mark.parametrize("name", IN_STEPS)
def test_what_the_tests_could_change_takes_two(name):
    assert not is_one_pass(IN_STEPS[name])


def test_tests_that_implement_something_take_two():
    """The program may build with that alone."""
    assert not is_one_pass(RIGHT, ("struct A;\nimpl A {}\n#[test]\nfn adds() {\n    assert_eq!(super::total(&[1]), 1);\n}",))


def test_the_verdict_is_that_of_two_passes(monkeypatch):
    jobs = [job(source) for source in (*PROGRAMS.values(), *IN_STEPS.values())]
    compiled = []
    with RustTool() as judge_:
        compile_ = judge_._workshop.build_tests
        monkeypatch.setattr(
            judge_._workshop, "build_tests", lambda *args, **options: compiled.append(options) or compile_(*args, **options)
        )
        once = judge_.grade(jobs)
    with RustTool() as judge_:
        monkeypatch.setattr(judge.compiling, "view_of_hidden_tests", lambda *_: None)
        twice = judge_.grade(jobs)
    assert sum("is_hidden" in options for options in compiled) == len(IN_STEPS) + 1, "a binary of its own for these and the empty program"
    for name, one, two in zip((*PROGRAMS, *IN_STEPS), once, twice, strict=True):
        assert replace(one, duration_s=0) == replace(two, duration_s=0), name
    passed = {name: verdict.hidden_passed for name, verdict in zip((*PROGRAMS, *IN_STEPS), once, strict=True)}
    assert passed["right"] == 2 and passed["wrong"] == 1 and passed["does not build"] == passed["another name"] == 0
