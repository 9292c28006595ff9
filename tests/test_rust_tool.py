"""The judge, and plain cargo as its reference: right verdicts, honest passes only, nothing left behind."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rust_tool
from judge import cfg_test, compiling
from judge.cargo import CargoFlow
from judge.harness_report import End, HarnessRun
from judge.outcome import Outcome
from judge.program import Program, TestFn, extract_program, read_program
from judge.running import MAX_DEATHS
from judge.sandbox import Completed, SandboxUnavailable
from judge.scratch import SCRATCH_PREFIX
from judge.verdict import MAX_DIAGNOSTICS
from judge.workshop import Workshop, write_source
from rust_tool import Diagnostic, InfraError, Job, RustTool, ToolchainError, Verdict, find_toolchain

RUN_TIMEOUT_S = 1.0  # CPU seconds; nothing here needs more than milliseconds, except what loops


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    with RustTool(workers=2, run_timeout_s=RUN_TIMEOUT_S) as judge:
        yield judge


@pytest.fixture
def scratch_base():
    """A folder for the judge's own, where the judge would put it."""
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def program(source: str) -> Program:
    """A program as it comes out of a completion."""
    found = extract_program(f"```rust\n{source}\n```")
    assert found is not None
    return found


def with_test(solution: str, test_body: str, attribute: str = "#[test]") -> Program:
    body = "\n        ".join(test_body.strip().splitlines())
    module = f"#[cfg(test)]\nmod tests {{\n    use super::*;\n\n    {attribute}\n    fn works() {{\n        {body}\n    }}\n}}"
    return program(f"{solution}\n\n{module}")


def grade(judge: RustTool, *programs: Program) -> list[Verdict]:
    return judge.grade([Job(program) for program in programs])


def earns(verdict: Verdict) -> bool:
    return verdict.test_passed and verdict.honest_tests


ADD = "fn add(a: i32, b: i32) -> i32 {\n    a + b\n}"
GOOD = with_test(ADD, "assert_eq!(add(2, 3), 5);\nassert_eq!(add(-1, 1), 0);")
FAILING = with_test(ADD, "assert_eq!(add(2, 3), 6);")
LOOPING = with_test("fn spin(mut n: u64) -> u64 {\n    loop {\n        n = n.wrapping_mul(3);\n        if n == 0 { return n; }\n    }\n}", "assert_eq!(spin(1), 0);")

# ---------------------------------------------------------------------------------------------------------------------
# Plain cargo, the reference mode
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cargo():
    with RustTool(judge="cargo", workers=2, run_timeout_s=RUN_TIMEOUT_S) as reference:
        yield reference


def test_cargo_says_what_a_project_is_worth(cargo):
    broken = read_program('fn main() {\n    let x: i32 = "a";\n}\n')
    linted = read_program("fn main() {\n    let v = vec![1];\n    println!(\"{}\", v.len() == 0);\n}\n")
    good, failing, looping, bad, warned = grade(cargo, GOOD, FAILING, LOOPING, broken, linted)
    assert earns(good) and good.build_passed and good.clippy_passed and good.tests == {"tests::works": "ok"}
    assert (failing.test_passed, failing.tests, failing.error_kind) == (False, {"tests::works": "failed"}, "test_failed")
    assert looping.build_passed and not looping.test_passed and looping.error_kind == "timeout"
    assert (bad.build_passed, bad.error_kind, bad.diagnostics[0].code, bad.diagnostics[0].line) == (False, "compile", "E0308", 2)
    assert warned.clippy_passed and {one.code for one in warned.diagnostics} == {"clippy::len_zero", "clippy::useless_vec"} and warned.clippy_warnings == 2
    assert not processes_in(cargo._scratch.path) and not any((cargo._scratch.path / "jobs").iterdir())


def test_cargo_runs_hidden_tests_and_all_statements_are_one(cargo):
    asserts = ("assert_eq!(add(1, 2), 3);", "assert_eq!(candidate(1, 2), 4);")
    texts = {asserts: (0, 1), asserts[:1]: (1, 1), ("fn main() { assert_eq!(add(1, 2), 3); }",): (1, 1), ("assert!(nope(1));",): (0, 1),
             ("#[test] fn a() { assert_eq!(add(1, 2), 3) } #[test] fn b() { assert_eq!(add(1, 2), 4) }",): (1, 2)}  # fmt: skip
    verdicts = cargo.grade(Job(GOOD, tests, "add") for tests in texts)
    assert [(verdict.hidden_passed, verdict.hidden_total) for verdict in verdicts] == [*texts.values()]
    assert [verdict.hidden_error_kind for verdict in verdicts] == ["test_failed", None, None, "compile", "test_failed"]


def test_the_reference_is_named_and_does_what_it_can(cargo):
    assert cargo.describe()["judge"] == "cargo"
    with pytest.raises(ToolchainError, match="does not run tests of others"):
        cargo.run_suites([Job(GOOD, ("#[test] fn a() {}",))])
    with pytest.raises(ToolchainError, match="judge best: expected fast or cargo"):
        RustTool(judge="best")


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes whose binary lies in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "exe").startswith(str(folder)):
                found.append((process / "cmdline").read_text(errors="replace"))
        except OSError:
            continue
    return found


def test_no_cargo_is_named():
    with pytest.raises(ToolchainError, match="/nowhere/cargo not found: install Rust"):
        RustTool(cargo_path="/nowhere/cargo")


# ---------------------------------------------------------------------------------------------------------------------
# The toolchain
# ---------------------------------------------------------------------------------------------------------------------


def test_toolchain_is_the_real_binaries_not_the_shims():
    toolchain = find_toolchain()
    for path in (toolchain.cargo, toolchain.rustc, toolchain.clippy_driver):
        assert path.is_relative_to(toolchain.sysroot) and os.access(path, os.X_OK)
    assert toolchain.rustc_version.startswith("rustc ") and toolchain.clippy_version.startswith("clippy ")


def fake_toolchain(folder: Path, release: str, tools: tuple[str, ...]) -> str:
    """A rustc that only says what it is; `tools` are next to it."""
    (folder / "bin").mkdir(parents=True)
    script = f'#!/bin/sh\ncase "$*" in *sysroot*) echo {folder};; *) echo "rustc {release}"; echo "host: x86_64-unknown-linux-gnu"; echo "release: {release}";; esac\n'
    for name in tools:
        (folder / "bin" / name).write_text(script)
        (folder / "bin" / name).chmod(0o755)
    return str(folder / "bin" / "cargo")


def test_missing_parts_of_a_toolchain_are_named(tmp_path, monkeypatch):
    everything = ("cargo", "rustc", "clippy-driver")
    with pytest.raises(ToolchainError, match="clippy not found .* run rustup component add clippy"):
        find_toolchain(fake_toolchain(tmp_path / "a", "1.95.0", ("cargo", "rustc")))
    with pytest.raises(ToolchainError, match="rustc 1.60.0 is too old, 1.85 or newer is needed"):
        find_toolchain(fake_toolchain(tmp_path / "b", "1.60.0", everything))
    cargo = fake_toolchain(tmp_path / "c", "1.95.0", everything)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match="no C linker"):
        find_toolchain(cargo)


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts
# ---------------------------------------------------------------------------------------------------------------------


def test_good_program_gets_everything(judge):
    (verdict,) = grade(judge, GOOD)
    assert verdict.build_passed and verdict.clippy_passed and verdict.clippy_warnings == 0
    assert earns(verdict) and verdict.tests == {"tests::works": "ok"} and verdict.n_asserts == 2
    assert verdict.error_kind is None and verdict.guard is None and verdict.duration_s > 0
    assert verdict.hidden_passed is None and verdict.hidden_total is None


def test_no_program_is_no_code(judge):
    assert judge.grade([Job(None)]) == [Verdict(error_kind="no_code")]
    (verdict,) = judge.grade([Job(None, hidden_tests=("assert_eq!(f(), 1);", "assert_eq!(f(), 2);"))])
    assert (verdict.hidden_passed, verdict.hidden_total) == (0, 2)


ERROR_KINDS = {
    "compile": with_test("fn f() -> i32 {\n    true\n}", "assert_eq!(f(), 1);"),
    "compile in tests": with_test("fn f() -> i32 {\n    1\n}", 'assert_eq!(f(), "1");'),
    "test_failed": FAILING,
    "test_failed with a message": with_test(ADD, 'assert!(add(1, 1) == 3, "sum is {}", add(1, 1));'),
    "test_failed by a Result": program(ADD + '\n#[cfg(test)]\nmod tests {\n    use super::*;\n    #[test]\n    fn f() -> Result<(), String> {\n        if add(1, 1) == 2 { Err("two".into()) } else { Ok(()) }\n    }\n}'),
    "panic": with_test("fn first(v: &[i32]) -> i32 {\n    v[0]\n}", "assert_eq!(first(&[]), 1);"),
    "panic on overflow": with_test("fn double(a: u8) -> u8 {\n    a * 2\n}", "assert_eq!(double(200), 144);"),
    "panic by the stack": with_test("fn deep(n: u64) -> u64 {\n    if n == 0 { 0 } else { 1 + deep(n + 1) }\n}", "assert_eq!(deep(1), 0);"),
    "timeout": LOOPING,
}


def test_error_kinds_say_what_went_wrong(judge):
    verdicts = dict(zip(ERROR_KINDS, grade(judge, *ERROR_KINDS.values()), strict=True))
    assert {name: verdict.error_kind for name, verdict in verdicts.items()} == {name: name.split()[0] for name in ERROR_KINDS}
    assert not any(verdict.test_passed for verdict in verdicts.values())
    assert [verdict.build_passed for verdict in verdicts.values()] == [name != "compile" for name in ERROR_KINDS]
    assert verdicts["timeout"].tests == {"tests::works": "timeout"}
    assert verdicts["compile"].diagnostics[0] == Diagnostic("E0308", "error", "mismatched types", 2)
    assert verdicts["test_failed"].diagnostics[0].line == 11


def test_a_panic_in_should_panic_and_an_ignored_test_are_no_failures(judge):
    source = ADD + """
#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn adds() { assert_eq!(add(1, 2), 3); }
    #[test]
    #[should_panic(expected = "overflow")]
    fn overflows() { add(i32::MAX, 1); }
    #[test]
    #[ignore]
    fn skipped() { assert_eq!(add(1, 2), 4); }
}"""
    (verdict,) = grade(judge, program(source))
    assert earns(verdict) and verdict.tests == {"tests::adds": "ok", "tests::overflows": "ok", "tests::skipped": "ignored"}


def test_clippy_counts_what_it_warns_of_but_not_unused_functions(judge):
    warned = with_test("fn size(v: &Vec<i32>) -> bool {\n    return v.len() == 0;\n}", "assert!(size(&vec![]));")
    denied = with_test("fn area(r: f64) -> f64 {\n    3.14 * r * r\n}", "assert!((area(1.0) - 3.14).abs() < 0.01);")
    in_tests_only = with_test("fn half(r: f64) -> f64 {\n    r / 2.0\n}", "assert!((half(6.28) - 3.14).abs() < 0.01);")
    verdicts = grade(judge, warned, denied, in_tests_only)
    assert [(verdict.clippy_passed, verdict.clippy_warnings) for verdict in verdicts] == [(True, 3), (False, 0), (True, 0)]
    assert all(verdict.build_passed and verdict.test_passed for verdict in verdicts)


def test_an_import_that_only_the_tests_use_is_a_warning(judge):
    by_tests = "use std::collections::HashMap;\nuse std::fmt::Write;\n" + ADD
    body = "let mut m = HashMap::new();\nm.insert(1, 2);\nlet mut s = String::new();\nwrite!(s, \"{}\", add(m[&1], 1)).unwrap();\nassert_eq!(s, \"3\");"
    (verdict,) = grade(judge, with_test(by_tests, body))
    assert verdict.test_passed and verdict.clippy_warnings == 2


# What cargo says of each: build, clippy, test. Everything that a pass with `cfg(test)` might get wrong is here.
AS_CARGO = {
    "const panic reached from main": ("fn pick<const N: usize>() -> usize {\n    const { assert!(N > 1) };\n    N\n}\nfn main() {\n    pick::<0>();\n}", (False, True, False)),
    "const panic reached from nowhere": ("fn pick<const N: usize>() -> usize {\n    const { assert!(N > 1) };\n    N\n}\nfn g() -> usize { pick::<0>() }\nfn main() {}", (True, True, False)),
    "crate that is not there": ("use regex::Regex;\nfn main() {}", (False, False, False)),
    "function from the test module": ("#[cfg(test)]\nmod tests {\n    pub fn helper() -> i32 { 1 }\n    #[test]\n    fn t() { assert_eq!(super::f(), 1); }\n}\nfn f() -> i32 { tests::helper() }\nfn main() {}", (False, False, True)),
    "function for tests only": ("#[cfg(test)]\nfn helper() -> i32 { 1 }\nfn f() -> i32 { helper() }\nfn main() {}", (False, False, False)),
    "denied warning": ("#![deny(warnings)]\nfn f() -> i32 { let x = 1; 2 }\nfn main() {}", (False, False, False)),
    "denied dead code": ("#![deny(dead_code)]\nfn f() -> i32 { 2 }\nfn main() {}\n#[test]\nfn t() { assert_eq!(f(), 2); }", (False, False, True)),
    "unconditional panic": ("fn f() -> i32 { let a = [1, 2]; a[5] }\nfn main() {}", (False, False, False)),
    "unconditional panic in a test": (ADD + "\nfn main() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn t() { let a = [1]; assert_eq!(super::add(a[3], 1), 1); }\n}", (True, True, False)),
    "nightly feature": ("#![feature(test)]\nextern crate test;\nfn main() {}", (False, False, False)),
    "bencher": ("fn main() {}\n#[cfg(test)]\nmod tests {\n    use test::Bencher;\n    #[test]\n    fn t() {}\n}", (True, True, False)),
    "module called test": ("mod test {\n    pub fn one() -> i32 { 1 }\n}\nuse test::one;\nfn main() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn t() { assert_eq!(super::one(), 1); }\n}", (True, True, True)),
    "clippy only": ("fn f() -> f32 { 3.14 }\nfn main() {}", (True, False, False)),
    "what clippy sees": ("#[cfg(clippy)]\nfn main() {}\n#[cfg(not(clippy))]\nfn main() { nothing() }", (False, True, False)),
    "loop for ever in main": (GOOD.source.replace("fn main() {}", "fn main() { loop {} }"), (True, True, True)),
    "all tests ignored": ("fn main() {}\n#[test]\n#[ignore]\nfn t() { panic!() }", (True, True, True)),
    "cargo's variables": ('fn main() {}\n#[test]\nfn t() { assert_eq!(env!("CARGO_PKG_VERSION"), "0.1.0"); }', (True, True, True)),
    "debug assertions": ("fn main() {}\n#[test]\nfn t() { assert!(cfg!(debug_assertions)); }", (True, True, True)),
    "thread's stack and name": ('fn main() {}\n#[test]\nfn t() { assert_eq!(std::thread::current().name(), Some("t")); }', (True, True, True)),
    "items of the same trait": ("trait A { fn a(&self) -> i32; }\nimpl A for i32 { fn a(&self) -> i32 { 1 } }\nfn main() {}\n#[cfg(test)]\nmod tests {\n    use super::A;\n    #[test]\n    fn t() { assert_eq!(1.a(), 1); }\n}", (True, True, True)),
}  # fmt: skip


def said(verdict: Verdict) -> tuple[bool, bool, bool]:
    return verdict.build_passed, verdict.clippy_passed, verdict.test_passed


def test_verdicts_are_cargo_s(judge):
    assert {name: said(verdict) for name, verdict in as_cargo(judge).items()} == {name: expected for name, (_, expected) in AS_CARGO.items()}


@pytest.mark.slow
def test_the_expectations_above_are_cargo_s(cargo):
    assert {name: said(verdict) for name, verdict in as_cargo(cargo).items()} == {name: expected for name, (_, expected) in AS_CARGO.items()}


def as_cargo(judge: RustTool) -> dict[str, Verdict]:
    return dict(zip(AS_CARGO, grade(judge, *(read_program(source) for source, _ in AS_CARGO.values())), strict=True))


def test_one_pass_and_two_passes_say_the_same(judge, monkeypatch):
    """The short cut (one compiler pass with cfg(test)) against the check without it, on programs that qualify."""
    programs = [p for p in (*ERROR_KINDS.values(), GOOD) if "deep" not in p.source and "spin" not in p.source]
    programs += [with_test(f"fn f(v: Vec<i32>) -> {kind} {{\n    {body}\n}}", test) for kind, body, test in SHORT_CUTS]
    assert all(cfg_test.view_of_tests(p.source) is not None for p in programs[-len(SHORT_CUTS):])
    at_once = grade(judge, *programs)
    monkeypatch.setattr(compiling, "view_of_tests", lambda source: None)
    with RustTool(workers=2, run_timeout_s=RUN_TIMEOUT_S) as stepwise:
        in_steps = grade(stepwise, *programs)
    for one, two in zip(at_once, in_steps, strict=True):
        assert comparable(one) == comparable(two)


SHORT_CUTS = (
    ("usize", "return v.len();", "assert_eq!(f(vec![1]), 1);"),
    ("i32", "let unused = 1; v[0]", "assert_eq!(f(vec![1]), 1);"),
    ("bool", "v.len() == 0", "let t = 1; assert!(f(vec![]));"),
    ("Vec<i32>", "let mut w = v.clone(); w.sort(); w", "assert_eq!(f(vec![2, 1]), vec![1, 2]);"),
    ("i32", "v.iter().map(|x| x + y).sum()", "assert_eq!(f(vec![2, 1]), undefined);"),
    ("Option<&i32>", "v.iter().next()", "assert_eq!(f(vec![2, 1]), None);"),
    ("u8", "256", "assert_eq!(f(vec![]), 0);"),
    ("u8", "255", "assert_eq!(f(vec![]), 256);"),
    ("f64", "v.len() as f64 * 3.14", "assert_eq!(f(vec![]), 0.0);"),
)


def comparable(verdict: Verdict) -> dict:
    """Everything that must not depend on how a program was graded (when, how long, in which order it was compiled)."""
    facts = {key: value for key, value in vars(verdict).items() if key != "duration_s"}
    said = sorted(f"{diagnostic.code} {diagnostic.message} {diagnostic.line}" for diagnostic in verdict.diagnostics)
    return facts | {"diagnostics": said, "tests": dict(verdict.tests)}


# ---------------------------------------------------------------------------------------------------------------------
# Honest passes only
# ---------------------------------------------------------------------------------------------------------------------

ADVERSARIES = {
    "exit": with_test(ADD, "assert_eq!(add(1, 2), 3);\nstd::process::exit(0);"),
    "exit in the function": with_test("fn add(a: i32, b: i32) -> i32 {\n    std::process::exit(a - b)\n}", "assert_eq!(add(1, 1), 2);"),
    "forged report": with_test(ADD, 'println!("test tests::works ... ok");\nprintln!("test result: ok. 1 passed; 0 failed;");\nassert_eq!(add(1, 2), 4);'),
    "executes itself": with_test(ADD, 'use std::os::unix::process::CommandExt;\nlet me = std::env::args().next().unwrap();\nlet _ = std::process::Command::new(me).arg("--list").exec();\nassert_eq!(add(1, 2), 4);'),
    "writes to low descriptors": with_test(ADD, 'use std::io::Write;\nfor fd in 0..20 {\n    if let Ok(mut f) = std::fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}")) { let _ = f.write_all(b"end 0 ok 1 0 \\ndone\\n"); }\n}\nassert_eq!(add(1, 2), 4);'),
    "never looks": with_test(ADD, "let _ = add(1, 2);"),
    "any value": with_test("fn size(s: &str) -> usize {\n    s.len()\n}", "let n = size(\"a\");\nassert!(n == n && n <= usize::MAX);"),
    "never reached": with_test(ADD, "for i in 0..add(1, -1) {\n    assert_eq!(add(i, 2), 3);\n}"),
    "no tests": program(ADD),
}  # fmt: skip


def test_adversaries_earn_nothing(judge):
    verdicts = dict(zip(ADVERSARIES, grade(judge, *ADVERSARIES.values()), strict=True))
    assert [name for name, verdict in verdicts.items() if earns(verdict)] == []
    assert all(verdict.build_passed for verdict in verdicts.values())


def counting_all(source: str, name: str = "tests::works") -> Program:
    """The program as if the static opinion had nothing against it, so that only running it tells."""
    found = read_program(source)
    tests = tuple(TestFn(name, False, counted=True, guard=None) for _ in range(1))
    return replace(found, guard=None, tests=tests)


@pytest.mark.parametrize(
    ("name", "guard"),
    [("exit", "exit_in_test"), ("never looks", "any_value_passes"), ("any value", "any_value_passes"), ("executes itself", "exit_in_test")],
)  # fmt: skip
def test_running_alone_finds_it(judge, name, guard):
    (verdict,) = grade(judge, counting_all(ADVERSARIES[name].source))
    assert not earns(verdict)
    assert verdict.guard in (guard, None) and (verdict.guard is not None or not verdict.test_passed)


def test_a_test_that_calls_nothing_survives_the_stub(judge):
    source = ADD + "\nfn main() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn works() { assert_eq!(1 + 1, 2); }\n}\n"
    (verdict,) = grade(judge, counting_all(source))
    assert verdict.test_passed and not verdict.honest_tests and verdict.guard == "survives_panic_stub"


def test_constant_functions_are_stubbed_by_a_compilation_of_their_own(judge):
    solution = "const fn add(a: i32, b: i32) -> i32 {\n    a + b\n}"
    calls, ignores = grade(judge, with_test(solution, "assert_eq!(add(2, 3), 5);"), counting_all(with_test(solution, "assert_eq!(1 + 1, 2);").source))
    assert earns(calls)
    assert ignores.test_passed and ignores.guard == "survives_panic_stub"


HONEST = {
    "result": with_test('fn parse(s: &str) -> Result<i32, std::num::ParseIntError> {\n    s.parse()\n}', 'assert_eq!(parse("5"), Ok(5));\nassert!(parse("x").is_err());'),
    "in place": with_test("fn sort(v: &mut Vec<i32>) {\n    v.sort();\n}", "let mut v = vec![2, 1];\nsort(&mut v);\nassert_eq!(v, vec![1, 2]);"),
    "own type": with_test("#[derive(Debug, PartialEq)]\nstruct P { x: i32 }\nimpl P {\n    fn new(x: i32) -> Self { P { x } }\n    fn twice(&self) -> P { P::new(self.x * 2) }\n}", "assert_eq!(P::new(2).twice(), P { x: 4 });"),
    "generic": with_test("fn largest<T: PartialOrd + Copy>(v: &[T]) -> Option<T> {\n    let mut best = *v.first()?;\n    for &x in v { if x > best { best = x; } }\n    Some(best)\n}", "assert_eq!(largest(&[1, 3, 2]), Some(3));"),
    "impl trait": with_test("fn evens(n: u32) -> impl Iterator<Item = u32> {\n    (0..n).filter(|x| x % 2 == 0)\n}", "assert_eq!(evens(5).collect::<Vec<_>>(), vec![0, 2, 4]);"),
    "lifetimes": with_test("fn longest<'a>(a: &'a str, b: &'a str) -> &'a str {\n    if a.len() > b.len() { a } else { b }\n}", 'assert_eq!(longest("ab", "c"), "ab");'),
    "yes or no": with_test("fn is_even(n: i32) -> bool {\n    n % 2 == 0\n}", "assert!(is_even(2));\nassert!(!is_even(3));"),
    "closure": with_test("fn adder(n: i32) -> Box<dyn Fn(i32) -> i32> {\n    Box::new(move |x| x + n)\n}", "assert_eq!(adder(2)(3), 5);"),
    "slice": with_test("fn middle(v: &[i32]) -> &[i32] {\n    &v[1..v.len() - 1]\n}", "assert_eq!(middle(&[1, 2, 3]), &[2]);"),
    "map": with_test("use std::collections::HashMap;\nfn count(s: &str) -> HashMap<char, usize> {\n    let mut m = HashMap::new();\n    for c in s.chars() { *m.entry(c).or_insert(0) += 1; }\n    m\n}", "assert_eq!(count(\"aab\")[&'a'], 2);"),
    "tuple": with_test("fn both(a: i32) -> (i32, String) {\n    (a, a.to_string())\n}", 'assert_eq!(both(1), (1, "1".to_string()));'),
}  # fmt: skip


def test_honest_programs_of_every_shape_earn_their_reward(judge):
    verdicts = dict(zip(HONEST, grade(judge, *HONEST.values()), strict=True))
    assert {name: (verdict.guard, verdict.error_kind) for name, verdict in verdicts.items() if not earns(verdict)} == {}


def test_what_a_program_prints_changes_nothing(judge):
    loud = with_test(ADD, 'for i in 0..200_000 { println!("{i} test result: FAILED"); eprintln!("{i}"); }\nassert_eq!(add(1, 2), 3);')
    (verdict,) = grade(judge, loud)
    assert earns(verdict)


def test_a_flood_of_warnings_is_no_failure(judge):
    flood = "\n    ".join(f"let unused{number} = {number};" for number in range(1500))
    (verdict,) = grade(judge, with_test(f"fn f() -> i32 {{\n    {flood}\n    7\n}}", "assert_eq!(f(), 7);"))
    assert verdict.build_passed and verdict.test_passed and verdict.clippy_warnings >= 1500
    assert len(verdict.diagnostics) == MAX_DIAGNOSTICS


def test_a_program_cannot_blame_the_machine(judge):
    (verdict,) = grade(judge, program('compile_error!("No space left on device");'))
    assert verdict.error_kind == "compile"


# ---------------------------------------------------------------------------------------------------------------------
# Hidden tests
# ---------------------------------------------------------------------------------------------------------------------


def hidden(judge: RustTool, solution: str, *tests: str) -> tuple[int | None, int | None]:
    (verdict,) = judge.grade([Job(program(solution), hidden_tests=tests, entry_point="f")])
    return verdict.hidden_passed, verdict.hidden_total


@pytest.mark.parametrize(
    ("body", "kind", "statuses"),
    [
        ("a.abs()", None, ("ok", "ok")),
        ("a", "test_failed", ("ok", "failed")),
        ("[1, 2][(1 - a) as usize / 2]", "panic", ("ok", "failed")),
        ("loop { if a > 0 { return a; } }", "timeout", ("ok", "timeout")),
        ("a.missing()", None, ()),
    ],
)
def test_a_verdict_says_which_hidden_tests_failed_and_the_worst_of_why(judge, body, kind, statuses):
    tests = ("assert_eq!(f(1), 1);", "assert_eq!(f(-3), 3);")
    (verdict,) = judge.grade([Job(program(f"fn f(a: i32) -> i32 {{\n    {body}\n}}"), hidden_tests=tests, entry_point="f")])
    assert (verdict.hidden_error_kind, verdict.hidden_statuses) == (kind, statuses)
    assert verdict.build_passed == bool(statuses) and verdict.hidden_passed == statuses.count("ok")


def test_a_program_that_the_hidden_tests_do_not_compile_with_says_so(judge):
    (verdict,) = judge.grade([Job(program("fn f(a: &str) -> usize {\n    a.len()\n}"), hidden_tests=("assert_eq!(f(1), 1);",), entry_point="f")])
    assert verdict.build_passed and (verdict.hidden_error_kind, verdict.hidden_passed, verdict.hidden_total) == ("compile", 0, 1)


def test_hidden_tests_are_counted_one_by_one(judge):
    assert hidden(judge, "fn f(a: i32) -> i32 {\n    a.abs()\n}", "assert_eq!(f(1), 1);", "assert_eq!(f(-1), 1);", "assert_eq!(f(-2), -2);") == (2, 3)


WITH_HELPERS = """
use super::*;
use std::collections::BTreeMap;

/// Counts from one.
const FIRST: i32 = 1;

#[derive(Debug, PartialEq)]
struct Wanted(i32);

fn wanted(n: i32) -> Wanted {
    Wanted(n + FIRST)
}

fn main() {
    assert_eq!(Wanted(f(1)), wanted(1));
    assert_eq!(Wanted(f(2)), wanted(1));
    let seen: BTreeMap<i32, i32> = [(1, f(5))].into();
    assert_eq!(seen[&1], 6);
}
"""


LAST_BY_KEY = """use std::collections::HashMap;
fn last_by_key(pairs: &[(i32, i32)]) -> Vec<i32> {
    let last: HashMap<i32, i32> = pairs.iter().copied().collect();
    ORDERED
}"""
IN_ANY_ORDER = LAST_BY_KEY.replace("ORDERED", "last.into_values().collect()")
IN_ORDER = LAST_BY_KEY.replace("ORDERED", "let mut last: Vec<_> = last.into_iter().collect(); last.sort(); last.into_iter().map(|(_, value)| value).collect()")


def test_a_program_that_depends_on_the_order_of_a_hash_collection_gets_one_verdict(judge):
    """In some processes it would be right, in others wrong; one that does not depend on it is right. Each in a process of its own: the texts differ."""
    calls = [f"assert_eq!(last_by_key(&{[(k, 9 - k) for k in range(n)]}), {[9 - k for k in range(n)]});" for n in (1, 2, 2, 2, 3, 3, 6)]
    as_tests = tuple(f"#[test]\nfn number_{at}() {{ {call} }}" for at, call in enumerate(calls))
    for tests in (as_tests, ("fn main() {\n" + "\n".join(calls) + "\n}",)):
        jobs = [Job(extract_program(f"```rust\n{IN_ANY_ORDER}\n// {at}\n```"), tests, "last_by_key") for at in range(8)]
        (statuses,) = {verdict.hidden_statuses for verdict in judge.grade(jobs)}
        assert statuses[0] == "ok" and statuses[-1] == "failed"
        (verdict,) = judge.grade([Job(extract_program(f"```rust\n{IN_ORDER}\n```"), tests, "last_by_key")])
        assert verdict.hidden_passed == len(calls)


def test_hash_collections_of_two_tests_have_orders_of_their_own(judge):
    """As without the judge: the order that one test has seen is no order for the next."""
    test = "#[test]\nfn number_%d() { assert_eq!(keys(), vec![%s]); }"
    program = "use std::collections::HashSet;\nfn keys() -> Vec<i32> { (0..6).collect::<HashSet<i32>>().into_iter().collect() }"
    (verdict,) = judge.grade([Job(extract_program(f"```rust\n{program}\n```"), tuple(test % (n, "9") for n in range(4)), "keys")])
    assert len({reason.partition("\n right")[0] for reason in verdict.hidden_failures.values()}) > 1


def test_a_main_of_hidden_asserts_has_the_items_beside_it(judge):
    assert hidden(judge, "fn f(n: i32) -> i32 {\n    n + 1\n}", WITH_HELPERS) == (2, 3)
    assert hidden(judge, "fn f(n: i32) -> i32 {\n    n\n}", WITH_HELPERS, "assert_eq!(f(7), 7);") == (2, 4)


POSITIVE = "fn f(n: i32) -> i32 {\n    assert!(n > 0, \"{n} is not positive\");\n    n\n}"
# name -> hidden tests, a right program, a wrong one and how many tests each passes
WRITTEN = {
    "a panic with the words expected": (
        '#[test]\n#[should_panic(expected = "not positive")]\nfn refuses() {\n    f(-1);\n}',
        (POSITIVE, "fn f(_n: i32) -> i32 {\n    unimplemented!()\n}"), (1, 0)),
    "ignored": ("#[test]\n#[ignore]\nfn same() {\n    assert_eq!(f(3), 3);\n}", (POSITIVE, "fn f(n: i32) -> i32 {\n    n + 1\n}"), (1, 0)),
    "a function of the test asserts": (
        "#[test]\nfn all() {\n    let check = |n| assert_eq!(f(n), n);\n    fn other(n: i32) { if super::f(n) != n { panic!() } }\n    check(1);\n    other(2);\n}",
        (POSITIVE, "fn f(_n: i32) -> i32 {\n    1\n}"), (1, 0)),
    "asserts change what follows": (
        "#[test]\nfn drains() {\n    let next = std::cell::Cell::new(0);\n    let draw = || { next.set(f(next.get() + 1)); next.get() };\n"
        "    assert_eq!(draw(), 1);\n    { assert_eq!(draw(), 2); }\n    assert_eq!(draw(), 3);\n}",
        (POSITIVE, "fn f(_n: i32) -> i32 {\n    1\n}"), (1, 0)),
    "tests of a macro": (
        "macro_rules! same { ($($name:ident: $n:expr),*) => { $(#[test] fn $name() { assert_eq!(f($n), $n) })* } }\nsame! { one: 1, two: 2, three: 3 }",
        (POSITIVE, "fn f(_n: i32) -> i32 {\n    1\n}"), (3, 1)),
}  # fmt: skip


@pytest.mark.parametrize("tests, solutions, passed", WRITTEN.values(), ids=WRITTEN.keys())
def test_hidden_tests_run_as_they_are_written(judge, tests, solutions, passed):
    assert tuple(hidden(judge, solution, tests) for solution in solutions) == tuple((n, passed[0]) for n in passed)


def test_a_loop_a_panic_or_an_exit_takes_no_other_hidden_test_with_it(judge):
    solution = "fn f(a: i32) -> i32 {\n    match a {\n        1 => loop {},\n        2 => std::process::exit(0),\n        3 => panic!(),\n        4 => f(a) + 1,\n        _ => a,\n    }\n}"
    tests = [f"assert_eq!(f({a}), {a});" for a in range(7)]
    assert hidden(judge, solution, *tests) == (3, 7)


def test_tests_beside_dying_ones_are_told_apart(judge):
    bodies = {f"t{n:02}": "std::process::exit(0)" if n % 5 == 2 else "panic!()" if n % 5 == 4 else "" for n in range(30)}
    tests = "\n".join(f"    #[test]\n    fn {name}() {{\n        {body}\n    }}" for name, body in bodies.items())
    (verdict,) = grade(judge, program(f"{ADD}\n\n#[cfg(test)]\nmod tests {{\n{tests}\n}}"))
    assert verdict.tests == {f"tests::{name}": "failed" if body else "ok" for name, body in bodies.items()}


def test_a_program_whose_tests_all_end_the_process_is_not_tried_for_ever(judge, monkeypatch):
    runs = []
    real = judge._workshop.run_tests
    monkeypatch.setattr(judge._workshop, "run_tests", lambda *args: runs.append(args) or real(*args))
    tests = "\n".join(f"    #[test]\n    fn t{n}() {{\n        std::process::exit(0)\n    }}" for n in range(300))
    (verdict,) = grade(judge, program(f"{ADD}\n\n#[cfg(test)]\nmod tests {{\n{tests}\n}}"))
    assert len(verdict.tests) == 300 and set(verdict.tests.values()) == {"failed"} and not verdict.test_passed
    assert len(runs) <= MAX_DEATHS


def test_the_kernels_files_are_no_part_of_a_program(judge):
    own, foreign = (f'const TEXT: &[u8] = include_bytes!("{path}");\n\nfn size() -> usize {{\n    TEXT.len()\n}}' for path in
                    ("main.rs", "../../../../../../../../proc/self/status"))  # fmt: skip
    verdicts = grade(judge, with_test(own, "assert!(size() > 3);"), with_test(foreign, "assert!(size() > 3);"))
    assert [(v.build_passed, v.error_kind) for v in verdicts] == [(True, None), (False, "compile")]


@pytest.mark.parametrize(("was_done", "exit_code"), [(True, 0), (True, 101), (False, 0), (False, 1)])
def test_tests_pass_only_when_the_harness_came_to_its_end(was_done, exit_code):
    """Every test said ok; what ended the process afterwards still counts (a thread that aborts, a destructor)."""
    ends = {0: End("ok")}
    done = Completed(exit_code, None, False, b"", b"", 0.1, None)
    outcome = Outcome(["tests::works"], set())
    outcome.take(HarnessRun(["tests::works"], set(), ends, [*ends.values()], None, was_done, done), [0])
    is_well = was_done and exit_code == 0
    assert outcome.statuses() == {"tests::works": "ok"}
    assert (outcome.passed, outcome.error_kind("")) == ((True, None) if is_well else (False, "panic"))
    assert outcome.has_exited == (not was_done and exit_code == 0)


def test_gates_hide_no_lint_and_add_none(judge):
    """What clippy says of parameters and of a function's first statement, beside the statements that are put there."""
    solution = """fn total(items: &Vec<i32>, text: &String) -> i32 { items.iter().sum::<i32>() + text.len() as i32 }
fn unread(first: i32, mut second: i32) -> i32 { second + 1 }
fn swap(list: &mut [i32]) {
    if list.len() > 1 { list.swap(0, 1); }
}
const fn twice(n: i32) -> i32 { n * 2 }"""
    (verdict,) = grade(judge, with_test(solution, 'assert_eq!(total(&vec![1], &"a".to_string()), 2);\nassert_eq!(unread(0, 1) + twice(1), 4);\nlet mut v = [1, 2];\nswap(&mut v);\nassert_eq!(v, [2, 1]);'))
    assert earns(verdict)
    assert sorted((d.code, d.line) for d in verdict.diagnostics) == [
        ("clippy::ptr_arg", 1), ("clippy::ptr_arg", 1), ("unused_mut", 2), ("unused_variables", 2)]  # fmt: skip


# What functions answer to other inputs than the test's, whatever they do with these.
DEAF = {
    "both branches": ("fn third(n: u64) -> u64 { if n > 1_000_000 { 21 } else { 21 } }", "assert_eq!(third(6), 21);"),
    "cancelled": ("fn third(n: u64) -> u64 { (n ^ n) + 21 }", "assert_eq!(third(6), 21);"),
    "closure": ("fn third(n: u64) -> Box<dyn Fn() -> u64> { let _kept = n; Box::new(|| 21) }", "assert_eq!(third(6)(), 21);"),
    "state": ("use std::cell::Cell; thread_local! { static NEXT: Cell<u64> = const { Cell::new(0) }; }\nfn third(n: u64) -> u64 { if NEXT.get() > 0 { NEXT.get() } else { n } }",
              "for (n, want) in [(6, 21), (3, 6)] { NEXT.set(want); assert_eq!(third(n), want); }"),
    "look-up": ("fn third(n: u64) -> u64 { [(6, 21), (3, 6)].iter().find(|row| row.0 == n).map_or(0, |row| row.1) }",
                "assert_eq!(third(6), 21); assert_eq!(third(3), 6);"),
    "receiver": ("struct Circle { radius: f64 }\nimpl Circle { fn area(&self) -> f64 { let _ = self.radius; 12.5 } }",
                 "assert_eq!(Circle { radius: 2.0 }.area(), 12.5);"),
}  # fmt: skip
HEARING = {
    "bounds": ("fn series(n: u32) -> f64 { (1..=n).map(|k| 1.0 / f64::from(k * k)).sum() }", "assert!(series(1000) > 1.6 && series(1000) < 1.7);"),
    "only no": ("fn is_even(n: u32) -> bool { n % 2 == 0 }", "assert!(!is_even(3));"),
    "only nothing": ("fn top(v: &[i32]) -> Option<i32> { v.iter().copied().filter(|n| *n > 90).max() }", "assert_eq!(top(&[2, 3]), None);"),
    "empty list": ("fn sum(v: &[i32]) -> i32 { v.iter().sum() }", "assert_eq!(sum(&[]), 0);"),
    "table with its miss": ("fn price(name: &str) -> u32 { match name { \"tea\" => 2, \"cake\" => 4, _ => 0 } }",
                            "assert_eq!(price(\"tea\"), 2); assert_eq!(price(\"cake\"), 4); assert_eq!(price(\"rope\"), 0);"),
}  # fmt: skip


def test_answers_that_never_move_are_hard_coded(judge):
    verdicts = dict(zip([*DEAF, *HEARING], grade(judge, *(with_test(*rows) for rows in (*DEAF.values(), *HEARING.values()))), strict=True))
    assert all(verdict.test_passed for verdict in verdicts.values())
    assert {name: verdict.guard for name, verdict in verdicts.items() if verdict.guard} == dict.fromkeys(DEAF, "hard_coded_answer")


SHAPES = """use std::fmt;
#[derive(Debug, Clone, PartialEq)]
enum Kind { Dot, Line(i32) }
struct Drawing { kinds: Vec<Kind>, name: String }
impl Drawing {
    fn longest(&self) -> Option<i32> { self.kinds.iter().filter_map(|k| if let Kind::Line(n) = k { Some(*n) } else { None }).max() }
    fn dots(&self) -> usize { self.kinds.iter().filter(|k| **k == Kind::Dot).count() }
}
impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{} of {}", self.name, self.kinds.len()) }
}
fn first_by<T, K: Ord, F: Fn(&T) -> K>(items: &[T], key: F) -> Option<&T> { items.iter().min_by_key(|item| key(item)) }
fn evens(items: &[i32]) -> impl Iterator<Item = &i32> { items.iter().filter(|n| *n % 2 == 0) }"""


def test_functions_of_all_shapes_are_asked_for_other_inputs(judge):
    """Traits that are not imported, generics that only a closure binds, own types, iterators: with gates, and nothing against them."""
    tests = """let d = Drawing { kinds: vec![Kind::Dot, Kind::Line(4)], name: "d".to_string() };
assert_eq!((d.longest(), d.dots(), d.to_string()), (Some(4), 1, "d of 2".to_string()));
assert_eq!(first_by(&["ab", "c"], |s| s.len()), Some(&"c"));
assert_eq!(evens(&[1, 2, 4]).count(), 2);"""
    source = judge._workshop.instrumented(with_test(SHAPES, tests), gates=True)
    folder = judge._workshop.folder()
    write_source(folder, source)
    assert judge._workshop.build_tests(folder).passed and source.count("::asks(") == 5  # all but the enum's derived ones
    shutil.rmtree(folder)
    (verdict,) = grade(judge, with_test(SHAPES, tests))
    assert earns(verdict) and verdict.guard is None


WITHOUT_ORDER = {
    "array": ("fn sum(xs: [i32; 3]) -> i32 { xs.iter().sum() }", "assert_eq!(sum([1, 2, 3]), 6);\nassert_eq!(sum([4, -5, 6]), 5);"),
    "array of texts": ("fn first(xs: [String; 2]) -> String { xs[0].clone() }", "assert_eq!(first([\"a\".to_string(), \"b\".to_string()]), \"a\");"),
    "rows in place": ("fn double(rows: &mut [Vec<i32>]) { for x in rows.iter_mut().flatten() { *x *= 2; } }",
                      "let mut v = vec![vec![1, 2], vec![3]];\ndouble(&mut v);\nassert_eq!(v, vec![vec![2, 4], vec![6]]);"),
    "texts in place": ("fn shout(words: &mut [String]) { for word in words { word.make_ascii_uppercase(); } }",
                       "let mut v = vec![\"ab\".to_string(), \"c\".to_string()];\nshout(&mut v);\nassert_eq!(v, [\"AB\", \"C\"]);"),
}  # fmt: skip
HANDED_BACK = ("fn sorted(v: Vec<String>) -> Vec<String> { v }", "assert_eq!(sorted(vec![\"a\".to_string(), \"b\".to_string()]), vec![\"a\", \"b\"]);")


def test_lists_whose_order_does_not_matter_or_that_are_changed_in_place(judge):
    *right, handed_back = grade(judge, *(with_test(*rows) for rows in (*WITHOUT_ORDER.values(), HANDED_BACK)))
    assert dict(zip(WITHOUT_ORDER, (v.guard for v in right), strict=True)) == dict.fromkeys(WITHOUT_ORDER)
    assert all(map(earns, right)) and handed_back.guard == "hands_back_input"


SLIGHT = {  # guard: a function, and tests that do not look at much of what it says
    "hands_back_input": ("fn tidy(text: &str) -> String { text.trim_matches('~').to_string() }", "assert_eq!(tidy(\"a b\"), \"a b\");\nassert_eq!(tidy(\"\"), \"\");"),
    "any_value_passes": ("fn parts(text: &str) -> Vec<String> { text.split(' ').map(str::to_uppercase).collect() }", "assert_eq!(parts(\"a b\").len(), 2);"),
    "asks_for_nothing": ("fn total(items: &[u32]) -> u32 { items.first().copied().unwrap_or(0) }",
                         "assert_eq!(total(&[]), 0);\n}\n#[test]\nfn noughts() {\nassert_eq!(total(&[0, 0]), 0);"),
    "assert_not_reached": ("fn twice(n: i32) -> i32 { n + 1 }", "let all = [2, 3].iter().map(|n| assert_eq!(twice(*n), 2 * n));\nassert_eq!(all.len(), 2);"),
}  # fmt: skip


def test_tests_that_see_little_of_an_answer_are_worth_nothing(judge):
    assert [v.guard for v in grade(judge, *(with_test(*rows) for rows in SLIGHT.values())) if v.test_passed] == list(SLIGHT)


def test_a_guard_says_that_a_pass_was_cut_short_and_takes_nothing(judge):
    deep = "fn down(n: u64) -> u64 { if n > 0 { 1 + down(n - 1) } else { 0 } }"
    (verdict,) = grade(judge, with_test("fn depth(n: u64) -> u64 { n / 2 }", f"{deep}\nassert_eq!(down(depth(6)), 3);"))  # 4,000,037 deep
    assert (verdict.guard, verdict.honest_tests, verdict.test_passed, verdict.n_asserts) == ("tried_in_part", True, True, 1)


# Bodies of tests that pass whatever the program does; in one program, none of them counts.
UNNOTICING = [
    "let _ = double(2);\nassert!(true);",
    "assert_eq!(1 + 1, 2);",
    "let x = double(2);\nlet x = 4;\nassert_eq!(x, 4);",
    "assert_eq!(double(2), double(2));",
    "assert!(double(2) == double(2));",
    "let a = double(2);\nlet b = double(2);\nassert_eq!(a, b);",
    "let a = double(2);\nassert_eq!(a, a.clone());",
    "assert_eq!((double(2)), { double(2) });",
    "let f = |x| double(x);\nassert_eq!(double(2), f(2));",
    "assert!(double(2) == 4 || true);",
    "assert!(double(2) == 4 || double(2) != 4);",
    "assert!(double(2) < 5 || double(2) > 3);",
    "assert_eq!(double(2) * 0, 0);",
    "assert_eq!(double(2) - double(2), 0);",
    "assert_ne!(double(2), double(2) + 1);",
    "assert!(double(2) <= i32::MAX);",
    "assert!(matches!(double(2), _));",
    "assert!(matches!(parse(\"1\"), Ok(_) | Err(_)));",
    "assert!(parse(\"1\").is_ok() || parse(\"1\").is_err());",
    "assert!(sorted(&[1]).len() >= 0);",
    "assert_eq!(sort(&mut vec![1]), ());",
    "match double(2) { _ => assert!(true) }",
    "if double(2) == 4 { assert_eq!(double(2), 4); }",
    "if false { assert_eq!(double(2), 5); }",
    "if 1 > 2 { assert_eq!(double(2), 5); }",
    "if cfg!(feature = \"x\") { assert_eq!(double(2), 5); }",
    "#[cfg(not(test))]\nassert_eq!(double(2), 5);",
    "return;\nassert_eq!(double(2), 5);",
    "if true { return; }\nassert_eq!(double(2), 5);",
    "loop { break;\nassert_eq!(double(2), 5); }",
    "let f = || assert_eq!(double(2), 5);\nlet _ = f;",
    "fn inner() { assert_eq!(double(2), 5); }",
    "for _ in 0..0 { assert_eq!(double(2), 5); }",
    "let n = 3;\nfor _ in n..2 { assert_eq!(double(2), 5); }",
    "let v: Vec<i32> = Vec::new();\nfor x in v { assert_eq!(double(x), 5); }",
    "for x in [1, 2].iter().take(0) { assert_eq!(double(*x), 5); }",
    "for c in \"\".chars() { assert_eq!(double(c as i32), 5); }",
    "while false { assert_eq!(double(2), 5); }",
    "let mut i = 9;\nwhile i < 3 { assert_eq!(double(i), 5); i += 1; }",
    "if let Some(x) = None::<i32> { assert_eq!(double(x), 5); }",
    "match 1 { 2 => assert_eq!(double(2), 5), _ => {} }",
    "let _ = [1, 2].iter().map(|x| assert_eq!(double(*x), 5));",
    "let _ = stringify!(assert_eq!(double(2), 5));",
    "let _ = async { assert_eq!(double(2), 5); };",
    "std::thread::spawn(|| assert_eq!(double(2), 5));",
    "let _ = std::panic::catch_unwind(|| { assert_eq!(double(2), 5); });",
    "let r = std::panic::catch_unwind(|| double(2)).unwrap_or(4);\nassert_eq!(r, 4);",
    "let double = |x: i32| x + x;\nassert_eq!(double(2), 4);",
    "fn double(x: i32) -> i32 { x + x }\nassert_eq!(double(2), 4);",
    "let mut n = 0;\nfor (x, y) in [(1, 9)] { if double(x) != y { n += 1; } }\nassert!(n >= 0);",
    "assert!([true, false].contains(&(double(2) == 4)));",
    "assert_eq!(std::mem::size_of_val(&double(2)), 4);",
    "assert!(std::any::type_name::<i32>().contains('3'));\ndouble(2);",
]
UNNOTICING_OWN = """pub fn double(x: i32) -> i32 { x * 2 }
fn parse(s: &str) -> Result<i32, String> { s.parse::<i32>().map_err(|e| e.to_string()) }
fn sort(v: &mut Vec<i32>) { v.sort() }
fn sorted(v: &[i32]) -> Vec<i32> { let mut v = v.to_vec(); v.sort(); v }"""


def with_tests(solution: str, *bodies: str):
    tests = "\n".join(f"    #[test]\n    fn t{number}() {{\n{body}\n}}" for number, body in enumerate(bodies))
    return read_program(f"{solution}\nfn main() {{}}\n#[cfg(test)]\nmod tests {{\n    use super::*;\n{tests}\n}}\n")


def test_tests_that_notice_nothing_do_not_count_and_do_not_sink_those_that_do(judge):
    real = ("assert_eq!(double(2), 4);", "assert_eq!(parse(\"7\"), Ok(7));", "assert_eq!(sorted(&[2, 1]), [1, 2]);\nlet mut v = vec![2, 1];\nsort(&mut v);\nassert_eq!(v, [1, 2]);")
    worthless, with_real = grade(judge, with_tests(UNNOTICING_OWN, *UNNOTICING), with_tests(UNNOTICING_OWN, *UNNOTICING, *real))
    assert worthless.test_passed and worthless.guard == "any_value_passes"
    assert earns(with_real) and len(with_real.tests) == len(UNNOTICING) + len(real)


COUNTED_ITEMS = "fn count(items: &[i32], wanted: i32) -> usize { items.iter().filter(|&&item| item == wanted).count() }"
ITS_TESTS = "assert_eq!(count(&[1, 2, 1], 1), 2);\nassert_eq!(count(&[5, 5, 5], 5), 3);\nassert_eq!(count(&[], 7), 0);"
SLOW = "let start = std::time::Instant::now();\nwhile start.elapsed().as_millis() < 400 {}\nassert_eq!(count(&[4], 4), 1);"
SIDE_BY_SIDE = {  # a function that nothing tests beside one that is tested: what a policy did with the example of its system prompt
    "never called": ("fn answer(n: i32) -> i32 { n - 1 }", "", False),
    "called, and what it says dropped": ("fn answer(n: i32) -> i32 { n - 1 }", "let _ = answer(3);", False),
    "called by one that is tested": ("fn answer(n: i32) -> i32 { n - 1 }\nfn twice(n: i32) -> i32 { answer(n); n * 2 }", "assert_eq!(twice(4), 8);", False),
    "a method": ("struct Solver;\nimpl Solver { fn answer(&self, n: i32) -> i32 { n - 1 } }", "", False),
    "asked for what any answer has": ("fn answer(n: i32) -> Vec<i32> { vec![n - 1] }", "assert!(answer(3).len() < 1000);", False),
    "tested, too": ("fn answer(n: i32) -> i32 { n - 1 }", "assert_eq!(answer(3), 2);\nassert_eq!(answer(8), 7);", True),
    "tested through another": ("fn answer(n: i32) -> i32 { n - 1 }\nfn twice(n: i32) -> i32 { answer(n) * 2 }", "assert_eq!(twice(4), 6);", True),
    "tested, of a type that no wrong value is known for": ("fn answer(n: i32) -> impl Iterator<Item = i32> { 0..n }", "assert_eq!(answer(3).sum::<i32>(), 3);", True),
    "never called, by tests too slow to be tried again": ("fn answer(n: i32) -> i32 { n - 1 }", SLOW, False),
    "takes and returns nothing": ("fn run() { println!(\"{}\", count(&[1], 1)); }", "", True),
}  # fmt: skip


def test_a_function_that_no_test_notices_is_not_tested_by_those_of_another(judge):
    programs = [with_tests(f"{COUNTED_ITEMS}\n{more}", f"{ITS_TESTS}\n{body}") for more, body, _ in SIDE_BY_SIDE.values()]
    verdicts = dict(zip(SIDE_BY_SIDE, grade(judge, *programs), strict=True))
    assert all(verdict.test_passed for verdict in verdicts.values())
    assert {name: verdict.guard for name, verdict in verdicts.items()} == {
        name: None if is_tested else "untested_function" for name, (_, _, is_tested) in SIDE_BY_SIDE.items()
    }


UNNOTICING_HELPERS = {
    "shadowing helper": ("fn double(x: i32) -> i32 { x + x }", "assert_eq!(double(2), 4);", "shadowed_function"),
    "shadowing import": ("mod fake { pub fn double(x: i32) -> i32 { x + x } } use fake::double;", "assert_eq!(double(2), 4);", "shadowed_function"),
    "shadowing alias": ("fn mine(x: i32) -> i32 { x + x } use self::mine as double;", "assert_eq!(double(2), 4);", "shadowed_function"),
    "closure nobody calls": ("fn ignore<F: Fn()>(_: F) {}", "ignore(|| assert_eq!(double(2), 5)); double(1);", "unreachable_assert"),
    "macro without arms that assert": ("macro_rules! check { ($($t:tt)*) => {}; }", "check!(assert_eq!(double(2), 5)); double(1);", None),
    "empty table constant": ("const CASES: [(i32, i32); 0] = [];", "for (x, y) in CASES { assert_eq!(double(x), y); }", "unreachable_assert"),
}  # fmt: skip


def test_helpers_that_hide_the_function_notice_nothing(judge):
    programs = [with_test(UNNOTICING_OWN.split("\n")[0], body).source.replace("use super::*;", f"use super::*;\n{helpers}", 1)
                for helpers, body, _ in UNNOTICING_HELPERS.values()]  # fmt: skip
    verdicts = dict(zip(UNNOTICING_HELPERS, grade(judge, *map(read_program, programs)), strict=True))
    assert {name for name, verdict in verdicts.items() if not verdict.test_passed or verdict.honest_tests} == set()


def test_a_struct_with_any_fields_is_as_good_as_another(judge):
    solution = "#[derive(Debug, Clone, Copy)]\nstruct Span {\n    low: i64,\n    high: i64,\n}\n\nfn span(v: &[i64]) -> Span {\n    Span {\n        low: v[0],\n        high: v[1],\n    }\n}"
    weak = with_test(solution, "let s = span(&[1, 2]);\nlet mut both = [s.low, s.high];\nboth.sort();\nassert!(both[0] <= both[1]);")
    real = with_test(solution, "let s = span(&[1, 2]);\nassert!(s.low < s.high);")
    verdicts = grade(judge, weak, real)
    assert [v.guard for v in verdicts] == ["any_value_passes", None]


def test_a_type_that_equals_everything_passes_no_hidden_test(judge):
    solution = """#[derive(Debug)]
struct Any;
impl PartialEq<i32> for Any {
    fn eq(&self, _: &i32) -> bool { true }
}
fn f(_: i32) -> Any { Any }"""
    (verdict,) = judge.grade([Job(program(solution), hidden_tests=("assert_eq!(f(1), 1);", "assert_eq!(f(-1), 1);"), entry_point="f")])
    assert verdict.build_passed and (verdict.hidden_passed, verdict.hidden_total) == (0, 2)
    assert verdict.guard == "constant_comparison"


def test_a_module_named_std_is_not_the_one_of_the_tests(judge):
    fake = "pub struct HashSet;\nimpl HashSet { pub fn from<T>(_: T) -> Self { HashSet } }"
    solution = f"pub mod std {{ pub mod collections {{ {fake} }} }}\nfn f(_: std::collections::HashSet) -> i32 {{ 1 }}"
    test = "assert_eq!(f(std::collections::HashSet::from([1])), 1);"
    assert hidden(judge, solution, test) == (0, 1)
    assert hidden(judge, "fn f(s: std::collections::HashSet<i32>) -> usize { s.len() }", test) == (1, 1)


FALLIBLE = """#[derive(Debug, PartialEq)]
pub struct Odd;
pub type Result<T> = std::result::Result<T, Odd>;
pub fn f(n: i32) -> Result<i32> { if n % 2 == 0 { Ok(n / 2) } else { Err(Odd) } }"""
OUTCOME = "#[derive(Debug, PartialEq)]\npub enum Result { Win, Loss }\npub fn f(n: i32) -> Result { if n > 0 { Result::Win } else { Result::Loss } }"
QUEUE = "let mut q = VecDeque::new(); q.push_back(1); assert_eq!(q.pop_front(), Some(1));"
MODULE = "pub mod f64 { pub const EPSILON: core::primitive::f64 = 1e9; }\npub fn f(_: core::primitive::f64) -> core::primitive::f64 { 0.0 }"
STD_OR_OWN = {
    "an alias that the task declares": (FALLIBLE, "Write `pub type Result<T> = std::result::Result<T, Odd>` and f.", "#[test]\nfn halves() -> Result<()> { assert_eq!(f(4)?, 2); Ok(()) }", (1, 1)),
    "an alias that nobody asked for": (FALLIBLE, "Write f.", "let r: Result<i32, Odd> = f(4); assert_eq!(r, Ok(2));", (1, 1)),
    "a name that the task declares": (OUTCOME, "Write enum Result { Win, Loss } and f.", "assert_eq!(f(1), Result::Win);\nassert_eq!(f(0), Result::Loss);", (2, 2)),
    "a name that the task mentions and the program has": (OUTCOME, "Write an enum `Result` of two and f.", "assert_eq!(f(1), Result::Win);", (1, 1)),
    "a name that the task only mentions": ("pub fn f(m: std::collections::HashMap<i32, i32>) -> usize { m.len() }", "Write f, which takes a struct `HashMap` of numbers.",
                                           "assert_eq!(f(HashMap::from([(1, 2)])), 1);", (1, 1)),
    "an alias with a parameter that has a default": ("pub type Result<T, E = String> = std::result::Result<T, E>;\npub fn f() -> Result<i32> { Ok(1) }",
                                                     "Write `pub type Result<T, E = String> = std::result::Result<T, E>` and f.", "let r: Result<i32> = f(); assert_eq!(r, Ok(1));", (1, 1)),
    "a name that nobody asked for": (OUTCOME, "Write f, which gives a Result.", "assert_eq!(f(1), Result::Win);", (0, 1)),
    "std's in place of what the task wants": ("pub fn f() {}", "Implement `struct VecDeque` for i32.", QUEUE, (0, 1)),
    "std's where the task wants no other": ("pub fn f() {}", "Write f.", QUEUE, (1, 1)),
    "std's module of a primitive": ("use std::f64;\npub fn f() -> f64 { f64::consts::PI }", "", "assert_eq!(f(), f64::consts::PI);\nassert!(f() < f64::MAX);", (2, 2)),
    "a module with a primitive's name": (MODULE, "", "assert!((f(2.0) - 4.0).abs() < f64::EPSILON);", (0, 1)),
}


@pytest.mark.parametrize(("solution", "prompt", "tests", "passed"), STD_OR_OWN.values(), ids=STD_OR_OWN.keys())
def test_the_tests_mean_stds_names_unless_the_task_declares_them(judge, solution, prompt, tests, passed):
    (verdict,) = judge.grade([Job(program(solution), hidden_tests=(tests,), entry_point="f", prompt=prompt)])
    assert verdict.build_passed and (verdict.hidden_passed, verdict.hidden_total) == passed


@pytest.mark.parametrize("constant", ["const _: () = assert!(f(2) == 4);", "const { assert!(f(2) == 4); }", "const fn holds(n: i32) { assert!(f(n) > 0); }\nholds(2);"])
def test_what_the_compiler_asserts_is_no_test_and_in_nobodys_way(judge, constant):
    fine, wrong = ("pub const fn f(n: i32) -> i32 { n * 2 }", "pub const fn f(n: i32) -> i32 { n * 3 - 2 }")  # wrong for all but 2
    for text in (f"{constant}\nassert_eq!(f(3), 6);", f"fn main() {{ {constant}\nassert_eq!(f(3), 6); }}"):
        assert hidden(judge, fine, text) == (1, 1) and hidden(judge, wrong, text) == (0, 1)


@pytest.mark.parametrize("late", ["static HOLDS: fn() = || { assert_eq!(f(1), 2); };\nHOLDS();", "const HOLDS: [fn(); 1] = [|| assert_eq!(f(1), 2)];\nHOLDS[0]();"])
def test_an_assert_in_a_constants_closure_is_a_test(judge, late):
    for text in (late, f"fn main() {{ {late} }}"):
        assert hidden(judge, "pub fn f(n: i32) -> i32 { n * 2 }", text) == (1, 1)
        assert hidden(judge, "pub fn f(n: i32) -> i32 { n * 3 }", text) == (0, 1)


def test_own_tests_may_assert_in_a_const_fn(judge):
    tests = "#[cfg(test)] mod tests { use super::*; const fn same(a: i32, b: i32) { assert!(a == b) } #[test] fn doubles() { same(double(2), 4); same(double(-3), -6); } }"
    (verdict,) = judge.grade([Job(program(f"pub fn double(n: i32) -> i32 {{ n * 2 }}\n{tests}"))])
    assert verdict.test_passed and verdict.honest_tests, verdict.guard


@pytest.mark.parametrize("text", [
    "macro_rules! check { ($n:expr) => { assert_eq!($crate::f($n), $n * 2) } }\n#[test]\nfn holds() { check!(2) }",
    "macro_rules! check { ($m:ident, $n:expr) => { assert_eq!($m::f($n), $n * 2) } }\n#[test]\nfn holds() { check!(program, 2) }",
])  # fmt: skip
def test_what_a_macro_stands_for_is_no_crates_name(judge, text):
    source = "pub fn f(n: i32) -> i32 { n * 2 }\npub mod program { pub use super::f; }"
    assert hidden(judge, source, text) == (1, 1)


def test_the_tests_may_call_the_program_by_a_crates_name_without_importing_it(judge):
    text = "assert_eq!(doubling::f(2), 4);\nassert_eq!(doubling::f(i32::MIN / 2), i32::MIN);\nassert_eq!(std::cmp::max(1, doubling::f(1)), 2);"
    assert hidden(judge, "pub fn f(n: i32) -> i32 { n * 2 }", text) == (3, 3)
    assert hidden(judge, "pub mod doubling { pub fn f(n: i32) -> i32 { n * 2 } }\npub fn f() {}", text) == (3, 3)


def test_hidden_tests_that_do_not_compile_are_all_failed(judge):
    assert hidden(judge, "fn g() {}", "assert_eq!(f(1), 1);", "assert_eq!(f(2), 2);") == (0, 2)


def test_hidden_tests_that_nobody_can_read_stop_the_batch(judge):
    with pytest.raises(ValueError, match="hidden test"):
        judge.grade([Job(GOOD), Job(GOOD, hidden_tests=("this is no test",), entry_point="add")])


# ---------------------------------------------------------------------------------------------------------------------
# Batches
# ---------------------------------------------------------------------------------------------------------------------


def numbered(number: int) -> Program:
    """Distinct programs: one in three passes, fails, or does not compile."""
    body = ("a + b", "a - b", "a +")[number % 3]
    return with_test(f"fn add{number}(a: i32, b: i32) -> i32 {{\n    {body}\n}}", f"assert_eq!(add{number}(2, 3), 5);")


def test_a_program_that_has_the_compiler_read_its_own_output_costs_seconds():
    program = with_test('fn output() -> usize {\n    include_str!("/proc/self/fd/2").len()\n}', "assert_eq!(output(), 0);")
    with RustTool(workers=2, build_timeout_s=2.0) as judge:
        before = judge.child_cpu_s
        (verdict,) = judge.grade([Job(program)])
        assert (verdict.build_passed, verdict.honest_tests) == (False, False) and judge.child_cpu_s - before < 3 * 2.0


def test_first_job_is_compiled_while_the_next_is_read(judge):
    waited = []

    def jobs():
        yield Job(numbered(3000))
        deadline = time.monotonic() + 20
        while not judge.child_cpu_s > before and time.monotonic() < deadline:
            time.sleep(0.01)
        waited.append(judge.child_cpu_s > before)
        yield Job(numbered(3003))

    before = judge.child_cpu_s
    assert [verdict.test_passed for verdict in judge.grade(jobs())] == [True, True] and waited == [True]


def test_results_come_in_batch_order_and_equal_jobs_are_graded_once(judge):
    programs = [numbered(number % 4) for number in range(12)]
    verdicts = grade(judge, *programs)
    assert [said(verdict) for verdict in verdicts] == [((True, True, True), (True, True, False), (False,) * 3)[n % 4 % 3] for n in range(12)]
    assert len({verdict.duration_s for verdict in verdicts}) <= 4, "two may take equally long, not twelve"
    cpu_s = judge.child_cpu_s
    assert grade(judge, *programs) == verdicts
    assert judge.child_cpu_s == cpu_s


def test_neither_order_nor_batch_size_nor_workers_change_a_verdict(judge):
    programs = [numbered(number) for number in range(6)] + [LOOPING, ADVERSARIES["exit"], HONEST["map"]]
    reference = [comparable(verdict) for verdict in grade(judge, *programs)]
    order = list(range(len(programs)))
    random.Random(1).shuffle(order)
    with RustTool(workers=1, run_timeout_s=RUN_TIMEOUT_S) as other:
        shuffled = grade(other, *(programs[i] for i in order[:4])) + grade(other, *(programs[i] for i in order[4:]))
    assert [comparable(verdict) for verdict in shuffled] == [reference[i] for i in order]


def test_a_looping_test_holds_the_batch_for_little_more_than_its_limit(judge):
    loopers = [with_test(LOOPING.source.split("#[cfg")[0].replace("spin", f"spin{n}"), f"assert_eq!(spin{n}(1), 0);") for n in range(3)]
    before = judge.child_cpu_s
    verdicts = grade(judge, *loopers)
    assert {verdict.error_kind for verdict in verdicts} == {"timeout"}
    assert judge.child_cpu_s - before < len(loopers) * 2 * RUN_TIMEOUT_S, "each loops once, up to its limit, and is compiled"


def leftovers(before: set[str]) -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()} - before


def test_sixty_graded_programs_leave_nothing():
    check_nothing_is_left(60)


LOOPS_FROM_TWO = """```rust
pub fn spin(n: u64) -> u64 {
    let mut i = n;
    while i > 1 {
        i = std::hint::black_box(i ^ 2) | 2;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test] fn a() { assert_eq!(spin(1), 1); }
    #[test] fn b() { assert_eq!(spin(2), 2); }
    #[test] fn c() { assert_eq!(spin(3), 3); }
    #[test] fn d() { assert_eq!(spin(4), 4); }
    #[test] fn e() { assert_eq!(spin(0), 0); }
}
```"""


def test_tests_that_loop_cost_the_others_nothing(judge):
    """Own and hidden tests, the looping ones between those that end."""
    hidden = tuple(f"assert_eq!(spin({n}), {n});" for n in (0, 5, 1, 7, 8, 9, 0, 1))
    [verdict] = judge.grade([Job(extract_program(LOOPS_FROM_TWO), hidden, "spin", "x")])
    ends = {name.removeprefix("tests::"): end for name, end in verdict.tests.items()}
    assert ends == {"a": "ok", "b": "timeout", "c": "timeout", "d": "timeout", "e": "ok"}
    assert (verdict.hidden_passed, verdict.hidden_total) == (4, 8)
    assert verdict.error_kind == "timeout" and not verdict.test_passed


def slow_program(n_tests: int, milliseconds: int) -> Job:
    slow = f"""pub fn slow(n: u64) -> u64 {{
    let start = std::time::Instant::now();
    while start.elapsed().as_millis() < {milliseconds} {{}}
    n + 1
}}"""
    own = "\n".join(f"    #[test] fn t{n}() {{ assert_eq!(slow({n}), {n + 1}); }}" for n in range(n_tests))
    text = f"```rust\n{slow}\n#[cfg(test)]\nmod tests {{\n    use super::*;\n{own}\n}}\n```"
    return Job(extract_program(text), tuple(f"assert_eq!(slow({n}), {n + 1});" for n in range(n_tests)), "slow", "x")


def test_all_tests_of_a_program_have_one_limit_together(judge):
    within, beyond = judge.grade([slow_program(3, 200), slow_program(12, 350)])
    assert within.test_passed and within.honest_tests and within.error_kind is None and within.hidden_passed == 3
    ends = list(beyond.tests.values())  # a busy machine gives less CPU to 0.35 s of the clock: where it is cut differs
    assert ends[:2] == ["ok", "ok"] and "timeout" in ends[2:] and beyond.hidden_passed < 12
    assert beyond.error_kind == "timeout" and not beyond.test_passed


def test_a_program_that_always_loops_uses_its_limit_twice_at_most(judge):
    loop = "pub fn spin(n: u64) -> u64 { let mut i = n; while i != 1 { i = std::hint::black_box(i | 2); } n }"
    own = "\n".join(f"    #[test] fn t{n}() {{ assert_eq!(spin({n}), {n}); }}" for n in range(40))
    before = judge.child_cpu_s
    [verdict] = judge.grade([Job(extract_program(f"```rust\n{loop}\n#[cfg(test)]\nmod tests {{\n    use super::*;\n{own}\n}}\n```"))])
    assert [name for name, end in verdict.tests.items() if end != "timeout"] == ["tests::t1"]
    assert judge.child_cpu_s - before < 2 * RUN_TIMEOUT_S + 2.5  # and the compiler's


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_graded_programs_leave_nothing():
    check_nothing_is_left(1000)


def check_nothing_is_left(n: int) -> None:
    shm_before, children_before = {path.name for path in Path("/dev/shm").iterdir()}, set(child_processes())
    fds_before = len(os.listdir("/proc/self/fd"))
    with RustTool(workers=2, run_timeout_s=RUN_TIMEOUT_S) as judge:
        scratch = judge._scratch.path
        verdicts = grade(judge, *(numbered(number) for number in range(n)))
        assert not any((scratch / "jobs").iterdir())
    assert sum(map(earns, verdicts)) == -(-n // 3)
    assert not scratch.exists()
    assert not {name for name in leftovers(shm_before) if name.startswith(SCRATCH_PREFIX) and str(os.getpid()) in name}
    assert set(child_processes()) <= children_before and len(os.listdir("/proc/self/fd")) <= fds_before


def child_processes() -> list[int]:
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


def test_a_killed_judge_s_scratch_goes_with_the_next_one(scratch_base):
    code = f"import sys, os; sys.path.insert(0, {str(Path(rust_tool.__file__).parent)!r})\nimport rust_tool\n" \
        f"judge = rust_tool.RustTool(workers=1, scratch_dir={str(scratch_base)!r})\nprint(judge._scratch.path, flush=True)\nos.kill(os.getpid(), 9)\n"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    stale = Path(done.stdout.strip())
    assert done.returncode == -9 and stale.is_dir()
    with RustTool(workers=1, scratch_dir=scratch_base) as first:
        assert not stale.exists()
        with RustTool(workers=1, scratch_dir=scratch_base):
            assert first._scratch.path.exists()
    assert list(scratch_base.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------------
# The machine's fault
# ---------------------------------------------------------------------------------------------------------------------


def test_a_failing_machine_is_infra_retried_once_and_not_remembered(monkeypatch):
    with RustTool(workers=1, run_timeout_s=RUN_TIMEOUT_S) as judge:
        calls = []
        real = Workshop.folder

        def full(workshop):
            calls.append(1)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Workshop, "folder", full)
        (verdict,) = grade(judge, GOOD)
        assert verdict.error_kind == "infra" and "No space left" in verdict.diagnostics[0].message
        assert len(calls) == 2
        monkeypatch.setattr(Workshop, "folder", real)
        assert earns(grade(judge, GOOD)[0])


def test_a_wrong_canary_turns_the_batch_into_infra(monkeypatch):
    with RustTool(workers=1, run_timeout_s=RUN_TIMEOUT_S) as judge:
        monkeypatch.setattr(rust_tool, "JOBS_BETWEEN_CANARIES", 1)
        monkeypatch.setattr(rust_tool, "BAD_CANARY", rust_tool.GOOD_CANARY)
        (verdict,) = grade(judge, GOOD)
        assert verdict.error_kind == "infra"


def test_programs_are_of_the_edition_asked_for(judge):
    newer = program("fn f(a: Option<i32>) -> i32 {\n    if let Some(n) = a\n        && n > 1\n    {\n        n\n    } else {\n        0\n    }\n}")
    older = program("fn f(gen: i32) -> i32 {\n    gen\n}")
    with RustTool(workers=1, edition="2024") as modern:
        assert [v.build_passed for v in modern.grade([Job(newer), Job(older)])] == [True, False]
        assert modern.describe()["edition"] == "2024"
    assert [v.build_passed for v in judge.grade([Job(newer), Job(older)])] == [False, True]
    with pytest.raises(rust_tool.ToolchainError, match="edition 2019: expected 2021 or 2024"):
        RustTool(edition="2019")


def test_describe_holds_what_verdicts_depend_on(judge):
    facts = json.loads(json.dumps(judge.describe()))
    assert facts["judge_version"] == rust_tool.JUDGE_VERSION and facts["rustc"].startswith("rustc")
    assert set(facts["sandbox"]["report"]) == {"files", "network", "processes", "memory", "environment"}
    assert facts["limits"]["run"]["cpu_s"] == RUN_TIMEOUT_S and facts["workers"] == 2


def test_close_twice_and_an_unusable_machine(scratch_base):
    judge = RustTool(workers=1, scratch_dir=scratch_base)
    judge.close()
    judge.close()
    assert list(scratch_base.iterdir()) == []
    with pytest.raises(ToolchainError, match="not found"):
        RustTool(cargo_path="/nowhere/cargo", scratch_dir=scratch_base)
    assert list(scratch_base.iterdir()) == []


def test_scratch_below_tmp_is_refused_because_programs_have_a_tmp_of_their_own():
    with pytest.raises(ToolchainError, match="below /tmp"):
        RustTool(workers=1, scratch_dir="/tmp/scratch-of-a-judge")
    assert not Path("/tmp/scratch-of-a-judge").exists()


@pytest.mark.parametrize("tier", ["bwrap", "landlock"])
def test_scratch_on_disk_when_dev_shm_is_too_small(tier, monkeypatch):
    real = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: real(path) if str(path) != "/dev/shm" else _full(real(path)))
    try:
        judge = RustTool(workers=1, sandbox=tier, run_timeout_s=RUN_TIMEOUT_S)
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    with judge:
        scratch = judge._scratch.path
        assert scratch.parent == Path("/var/tmp")
        assert earns(grade(judge, GOOD)[0])
    assert not scratch.exists()


def _full(facts):
    return os.statvfs_result((*facts[:4], 0, *facts[5:]))  # f_bavail


# ---------------------------------------------------------------------------------------------------------------------
# Any text
# ---------------------------------------------------------------------------------------------------------------------

RUST_BITS = st.sampled_from([
    "fn f() -> i32 { 1 }", "#[test]", "fn t() { assert_eq!(f(), 1); }", "#[cfg(test)]", "mod tests {", "}", "use super::*;", "\0", "\ud800",
    "#![deny(warnings)]", "const fn", "impl", "r#\"", "/*", "macro_rules! m { () => {} }", "'", '"', "::", "fn main() {}", "\r\n", "é", "\ufeff",
])  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(RUST_BITS, max_size=12), st.booleans())
def test_no_text_makes_the_judge_raise(judge, bits, fenced):
    text = "\n".join(bits)
    (verdict,) = judge.grade([Job(extract_program(f"```rust\n{text}\n```" if fenced else text))])
    assert verdict.error_kind in (None, "no_code", "compile", "test_failed", "panic", "timeout")


def test_infra_error_is_exported():
    assert issubclass(InfraError, RuntimeError)


def test_what_was_asked_for_is_part_of_what_a_verdict_is_remembered_by():
    source = (
        "#[derive(Debug)] pub struct W(i32);\nimpl PartialEq<i32> for W { fn eq(&self, o: &i32) -> bool { self.0 == *o } }\n"
        "pub fn f(x: i32) -> W { W(x) }\nfn main() {}"
    )
    job = Job(read_program(source), ("assert_eq!(f(1), 1);",), "f", prompt="Write `f(x: i32) -> i32`.")
    asked = replace(job, prompt="Write `f(x: i32) -> W`, and let a `W` equal an i32.")
    with RustTool(workers=1) as judge:
        assert [judge.grade([one])[0].hidden_passed for one in (job, asked, job)] == [0, 1, 0]


def test_a_kept_project_is_used_again():
    folders = []
    with RustTool(workers=1, judge="cargo", cargo_flow=CargoFlow(is_kept=True)) as judge:
        real = judge._workshop._grade
        judge._workshop._grade = lambda work, source, folder: folders.append((folder, (folder / "target").is_dir())) or real(work, source, folder)
        for number in range(3):
            assert judge.grade([Job(numbered(3000 + 3 * number))])[0].test_passed
    assert len({folder for folder, _ in folders}) == 1 and all(built for _, built in folders[1:])
