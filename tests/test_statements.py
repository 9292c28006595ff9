"""Hidden tests that are a `main` or statements: compiled as they stand, every assert counted, none takes the others along."""

import time

import pytest

from judge.program import extract_program, with_hidden_tests
from judge.statements import ELSEWHERE, STRAIGHT
from rust_tool import Job, RustTool

DOUBLE = "pub fn double(x: i32) -> i32 { x * 2 }"
# Panics, loops and ends the process for some numbers, gives others back.
MOODY = """pub fn double(x: i32) -> i32 {
    match x {
        13 => panic!("unlucky"),
        14 => loop {},
        15 => std::process::exit(0),
        16 => double(x) + 1,
        17 => [0][x as usize],
        _ => x * 2,
    }
}"""


@pytest.fixture(scope="module")
def judge():
    with RustTool(workers=2, run_timeout_s=1.0) as judge:
        yield judge


def program(source: str):
    return extract_program(f"```rust\n{source}\n```")


def results(judge: RustTool, solution: str, tests, entry_point: str | None = "double") -> str:
    """A letter for each hidden test in order: "." passed, "F" failed."""
    suite = with_hidden_tests(program(solution), tests, entry_point)
    (verdict,) = judge.grade([Job(program(solution), tuple(tests), entry_point)])
    names = [name.removeprefix(f"{suite.module}::") for name in suite.test_names]
    assert verdict.build_passed and verdict.hidden_total == len(names), verdict
    letters = "".join("F" if name in verdict.hidden_failures or "do not compile" in verdict.hidden_failures else "." for name in names)
    assert verdict.hidden_passed == letters.count(".") and all(verdict.hidden_failures.values())
    return letters


# name -> program, texts, what becomes of each assert
FORMS = {
    "statements": (DOUBLE, ["assert_eq!(double(2), 4);", "assert_eq!(double(2), 5)"], ".F"),
    "statements over several lines": (DOUBLE, ["let v = vec![2];\nlet w = 4;\nassert_eq!(\n double(v[0]),\n w);"], "."),
    "candidate": (DOUBLE, ["assert_eq!(candidate(2), 4);", "assert!(candidate(2) == 3)"], ".F"),
    "candidate of any type": ("pub fn double<T: Clone>(x: T) -> Vec<T> { vec![x.clone(), x] }", ["assert_eq!(candidate(1), [1, 1]);", "assert_eq!(candidate(\"a\").len(), 2);"], ".."),
    "candidate is no plain name": (f"struct S;\nimpl S {{ {DOUBLE} }}", ["assert_eq!(candidate(2), 4);"], ".", "S::double"),
    "candidate of a main": (f"struct S;\nimpl S {{ {DOUBLE} }}", ["fn main() { assert_eq!(candidate(2), 4); assert_eq!(candidate(1), 1); }"], ".F", "S::double"),
    "a main that closes the prompt": (DOUBLE, ["}\n\nfn main() {\n    let candidate = double;\n    assert_eq!(candidate(2), 4);\n    assert_eq!(candidate(3), 7);\n}\n"], ".F"),
    "macros in asserts": (DOUBLE, ['assert!(matches!(double(2), 4), "{}", format!("{:?}", vec![1]))'], "."),
    "names of std": (DOUBLE, ["assert_eq!(HashMap::from([(1, double(1))])[&1], 2);"], "."),
    "a type that the grammar does not know": (DOUBLE, ["let f: Box<dyn 'static + Fn(i32) -> i32> = Box::new(double);\nassert_eq!(f(2), 4);"], "."),
    "all six macros": (DOUBLE, ["fn main() { assert!(double(1) == 2, \"{x}\", x = 1); assert_eq!(double(1), 2, \"no\",); assert_ne!(double(1), 2); debug_assert!(true,); debug_assert_eq!(double(2), 5); debug_assert_ne!(1, 2) }"], "..F.F."),
    "a reference to bool, unsized sides": (DOUBLE, ["fn main() { let v = [true]; assert!(v.iter().next().unwrap()); assert_eq!(*\"a\", *String::from(\"a\")); assert!(!v[0]); }"], "..F"),
    "text and statements": (DOUBLE, ["#[test] fn a() { assert_eq!(candidate(1), 2) }", "assert_eq!(candidate(2), 5);"], ".F"),
    "as much stack as a main has": (DOUBLE, ["fn main() {" + " ".join(f"assert_eq!(double([{n}; 20_000][3]), {2 * n});" for n in range(60)) + "}"], "." * 60),
    # state
    "state that the others left": (DOUBLE, ["fn main() { let mut v = vec![4, 3, 2]; assert_eq!(v.pop(), Some(double(1))); assert_eq!(v.pop(), Some(4)); assert_eq!(v.pop(), Some(double(2))); }"], ".F."),
    "state across strings": (DOUBLE, ["let mut v = vec![double(1)];", "v.push(double(2));", "assert_eq!(v.len(), 2);", "assert_eq!(v.pop(), Some(5));", "assert_eq!(v, [2]);"], ".F."),
    "a type that a later assert decides": (DOUBLE, ['fn main() { let want = "4".parse().unwrap(); assert!(double(1) > 0); assert_eq!(double(2), want); }'], ".."),
    "items of a main": (DOUBLE, ["use std::fmt::Debug;\nconst FOUR: i32 = 4;\nmod more { pub fn two() -> i32 { 2 } }\nfn show<T: Debug>(x: T) -> String { format!(\"{x:?}\") }\nfn main() { assert_eq!(show(double(more::two())), \"4\"); assert_eq!(double(1), FOUR); }"], ".F"),
    "a main whose last expression is its value": (DOUBLE, ["fn main() -> Result<(), String> {\n    assert_eq!(double(1), 3);\n    match double(2) {\n        4 => { assert!(true); Ok(()) }\n        n => Err(n.to_string()),\n    }\n}"], "F."),
    "modules of a main": (DOUBLE, ["mod tests {\n    use super::*;\n    pub fn check(x: i32) { assert_eq!(double(x), x + x); }\n}\nfn main() { tests::check(2); assert_eq!(crate::double(2), 5); }"], ".F"),
    "statements with the crate's name": (DOUBLE, ["use doubling::double as twice;\nassert_eq!(twice(2), 4);"], "."),
    "the program under a crate's name": (DOUBLE, ["use doubling::double as twice;\nfn main() { assert_eq!(twice(2), 4); }"], "."),
    "a main that may fail": (DOUBLE, ["fn main() -> Result<(), std::num::ParseIntError> {\n    assert_eq!(\"4\".parse::<i32>()?, double(2));\n    assert_eq!(double(1), \"three\".len() as i32);\n    Ok(())\n}"], ".F"),
    "a main that fails half way": (DOUBLE, ["fn main() -> Result<(), std::num::ParseIntError> {\n    assert_eq!(double(2), 4);\n    let n: i32 = \"x\".parse()?;\n    assert_eq!(n, n);\n    Ok(())\n}"], ".F"),
    # one place, several evaluations
    "a loop": (DOUBLE, ["for n in 0..3 { assert_eq!(double(n), n + n); }", "for n in 0..3 { assert!(double(n) < 4); }"], ".F"),
    "a helper": (DOUBLE, ["fn check(x: i32, want: i32) { assert_eq!(double(x), want); }\nfn main() { check(1, 2); check(2, 4); }"], "."),
    "a helper that is wrong once": (DOUBLE, ["fn check(x: i32, want: i32) { assert_eq!(double(x), want); }\nfn main() { check(1, 3); check(2, 4); assert!(true); }"], "F."),
    "a closure": (DOUBLE, ["fn main() { let check = |x: i32| assert_eq!(double(x), x + x); check(1); check(5); assert!(double(1) == 1); }"], ".F"),
    "a macro of the text": (DOUBLE, ["macro_rules! same { ($x:expr, $y:expr) => { { let got = double($x); assert_eq!(got, $y); assert!(got > 0) } } }\nfn main() { same!(1, 2); same!(2, 3); same!(-1, -2); same!(3, 6) }"], ".FF."),
    "arguments of another macro": (DOUBLE, ["macro_rules! twice { ($($t:tt)*) => { $($t)* $($t)* } }\nfn main() { twice! { assert_eq!(double(1), 2); assert_eq!(double(1), 3); } }"], ".F"),
    "a thread": (DOUBLE, ["fn main() { std::thread::spawn(|| assert_eq!(double(1), 3)).join().unwrap(); assert_eq!(double(1), 2); }"], "F."),
    "never evaluated": (DOUBLE, ["fn main() { if double(1) == 3 { assert!(true); } assert!(true); }"], "F."),
    "a helper that nothing calls": (DOUBLE, ["fn unused() { assert!(double(1) == 7); }\nfn main() { assert!(double(1) == 2); }"], "."),
    "alternatives are one test": (DOUBLE, ["fn main() { match double(1) { 2 => assert!(true), n => assert_eq!(n, 2) } if double(1) > 2 { assert!(true) } else { assert_eq!(double(1), 3) } }"], ".F"),
    "what must not be reached": (DOUBLE, ["fn main() { match double(1) { 2 => {} _ => assert!(false, \"not two\") } match double(1) { 3 => {} _ => assert!(false) } }"], ".F"),
    "or the other one": (DOUBLE, ["fn main() { if let 2 = double(1) { assert!(true) } else { assert!(false) } if let 3 = double(1) { assert!(true) } else { assert!(false) } }"], ".F"),
    # what ends a run
    "panics": (MOODY, [f"assert_eq!(double({n}), {2 * n});" for n in (1, 13, 2, 17, 3)], ".F.F."),
    "a loop, an exit, a stack overflow": (MOODY, ["fn main() {" + " ".join(f"assert_eq!(double({n}), {2 * n});" for n in (1, 14, 2, 15, 16, 3)) + "}"], ".F.FF."),
    "state around a panic": (MOODY, ["fn main() { let mut v = vec![]; v.push(double(1)); assert_eq!(double(13), 26); v.push(double(2)); assert_eq!(v, [2, 4]); }"], "F."),
    "a panic outside an assert": (MOODY, ["fn main() {\n    for n in [1, 13] {\n        let got = double(n);\n        assert_eq!(got, 2 * n);\n    }\n    assert_eq!(double(2), 4);\n    if double(13) == 26 { assert!(true) }\n    assert_eq!(double(3), 6);\n}"], "F.F."),
    "a loop outside an assert": (MOODY, ["fn main() {\n    for n in [1, 14] {\n        let got = double(n);\n        assert_eq!(got, 2 * n);\n    }\n    assert_eq!(double(2), 4);\n}"], "F."),
    "a panic in a helper": (MOODY, ["fn check(x: i32) { let got = double(x); assert_eq!(got, 2 * x); }\nfn main() { check(1); check(13); check(2); assert!(double(1) == 2); }"], "F."),
    "what the rest needs": (MOODY, ["fn main() { assert_eq!(double(1), 2); let got = double(13); assert_eq!(got, 26); }"], ".F"),
    "a string of its own": (MOODY, ["let got = double(13);\nassert_eq!(got, 26);", "let got = double(1);\nassert_eq!(got, 2);", "use std::fmt; assert!(double(2) == 4)", "use std::fmt; assert!(double(2) == 5)"], "F..F"),
    "leaves early": (DOUBLE, ["fn main() { assert_eq!(double(1), 2); if double(1) == 2 { return; } assert!(true); }"], ".F"),
    # what must still compile
    "set later": (DOUBLE, ["fn main() { let x; let y; if double(1) == 2 { x = 1 } else { x = 2 } y = x; assert_eq!(y, 1); }"], "."),
    "attributes, blocks, labels": (DOUBLE, ["fn main() {\n    #![allow(unused)]\n    #[allow(clippy::all)]\n    { let x = 1; assert_eq!(double(x), 2); }\n    'a: loop { assert!(double(1) == 2); break 'a; }\n    unsafe { assert!(double(1) == 3); }\n}"], "..F"),
    "temporaries": (DOUBLE, ["fn main() { assert_eq!(vec![double(1)].as_slice(), [2]); assert_eq!(String::from(\"a\").as_str(), \"b\"); }"], ".F"),
    "values that are used up": (DOUBLE, ["fn main() { let v = vec![double(1)]; assert_eq!(v.into_iter().sum::<i32>(), 2); let w = vec![1]; drop(w); assert!(true); }"], ".."),
    "letters of two bytes, two in a line": (DOUBLE, ["fn main() { let ä = \"ö\"; assert_eq!(ä.len(), 3); assert_eq!(double(1), 2); }"], "F."),
    "an assert that holds an assert": (DOUBLE, ["fn main() { assert!({ assert_eq!(double(1), 3); true }); }"], ".F"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS.values(), ids=FORMS.keys())
def test_every_assert_is_counted_for_itself(judge, case):
    solution, tests, expected, *entry_point = case
    assert results(judge, solution, tests, *entry_point) == expected


HOSTILE = """
#![deny(warnings)]
#![forbid(unused_imports)]
#![allow(dead_code, unused_macros)]
macro_rules! assert_eq { ($($t:tt)*) => {}; }
macro_rules! vec { ($($t:tt)*) => { [0; 0] }; }
struct Vec;
enum Option { Some, None }
mod hidden { #[test] fn t0() {} }
mod statements { }
fn check() -> i32 { 0 }
"""


@pytest.mark.parametrize("tests", [
    ['assert_eq!(Some(double(2)), None, "{:?}", vec![1]);', "assert_eq!(double(2), 4);"],
    ['fn main() { assert_eq!(Some(double(2)), None, "{:?}", vec![1]); assert_eq!(double(2), 4); }'],
])  # fmt: skip
def test_the_programs_macros_and_names_do_not_reach_them(judge, tests):
    source = HOSTILE + DOUBLE
    suite = with_hidden_tests(program(source), tests, None)
    (verdict,) = judge.grade([Job(program(source), tuple(tests))])
    assert (verdict.hidden_passed, verdict.hidden_total) == (1, 2) and list(verdict.hidden_failures) == [suite.test_names[0]]


# A second try, because the first was ended on purpose; words and descriptors of the report; a value whose Debug does harm.
FORGERS = {
    "another guess after a panic": "use std::sync::atomic::{AtomicI32, Ordering::SeqCst};\nstatic TRIES: AtomicI32 = AtomicI32::new(0);\n"
    "pub fn double(x: i32) -> i32 { if x == 9 { panic!() } TRIES.fetch_add(1, SeqCst) + 1 }",
    "a trait with methods of all types": "pub trait Take: Sized { fn fail<A>(self, _: A) {} fn close(self) {} fn differ<A, B, C, D>(self, _: A, _: B, _: C, _: D) {} }\n"
    "impl<T> Take for T {}\npub fn double(x: i32) -> i32 { x }",
    "a crate called core": "extern crate self as core;\n#[macro_export]\nmacro_rules! line { () => { 1 } }\npub fn double(x: i32) -> i32 { x }",
    "macros that make macros": "macro_rules! make { ($d:tt $n:ident) => { macro_rules! $n { ($d($d t:tt)*) => {} } } }\nmake!($ assert_eq);\npub fn double(x: i32) -> i32 { x }",
    "prints a report": 'pub fn double(x: i32) -> i32 { for n in 1..9 { println!("site {n} 1 held 0 "); } x }',
    "panics while it is shown": "#[derive(PartialEq)]\npub struct N(i32);\nimpl std::fmt::Debug for N { fn fmt(&self, _: &mut std::fmt::Formatter) -> std::fmt::Result { panic!() } }\n"
    "impl PartialEq<i32> for N { fn eq(&self, other: &i32) -> bool { self.0 == *other } }\npub fn double(x: i32) -> N { N(x) }",
    "ends while it is shown": "#[derive(PartialEq)]\npub struct N(i32);\nimpl std::fmt::Debug for N { fn fmt(&self, _: &mut std::fmt::Formatter) -> std::fmt::Result { std::process::exit(0) } }\n"
    "impl PartialEq<i32> for N { fn eq(&self, other: &i32) -> bool { self.0 == *other } }\npub fn double(x: i32) -> N { N(x) }",
    "ends when it is dropped": "#[derive(Debug, PartialEq)]\npub struct N(i32);\nimpl Drop for N { fn drop(&mut self) { std::process::exit(0) } }\n"
    "impl PartialEq<i32> for N { fn eq(&self, other: &i32) -> bool { self.0 * 2 == *other } }\npub fn double(x: i32) -> N { N(x) }",
    "throws when it is dropped": "#[derive(Debug, PartialEq)]\npub struct N(i32);\nimpl Drop for N { fn drop(&mut self) { panic!() } }\n"
    "impl PartialEq<i32> for N { fn eq(&self, other: &i32) -> bool { self.0 * 2 == *other } }\npub fn double(x: i32) -> N { N(x) }",
}  # fmt: skip


@pytest.mark.parametrize("solution", FORGERS.values(), ids=FORGERS.keys())
def test_no_forger_passes_an_assert(judge, solution):
    tests = ["fn main() { assert_eq!(double(3), 6); assert_eq!(double(9), 18); assert_eq!(double(4), 8); }"]
    assert results(judge, solution, tests) == "FFF"


@pytest.mark.parametrize("text", ["fn test_double() { assert_eq!(double(1), 3); }", "fn main() { println!(\"{}\", double(1)); }"])
def test_a_text_that_asserts_nothing_when_it_runs_is_refused(text):
    with pytest.raises(ValueError, match="no assert in"):
        with_hidden_tests(program(DOUBLE), [text], None)


def test_a_program_that_names_the_recording_macros_does_not_compile(judge):
    (verdict,) = judge.grade([Job(program("pub fn double(x: i32) -> i32 { ::judge::begin(1, 1); x }"), ("assert_eq!(double(1), 2);",))])
    assert not verdict.build_passed and verdict.hidden_passed == 0


def test_a_failure_says_why_and_names_the_place(judge):
    tests = ("fn main() {\n    assert_eq!(double(1), 3, \"of {}\", 1);\n    assert!(double(13) == 26);\n    assert!(double(14) == 28);\n}",)
    (verdict,) = judge.grade([Job(program(MOODY), tests)])
    assert verdict.hidden_failures == {
        "text0:2:5": "assertion `left == right` failed: of 1\n  left: 2\n right: 3",
        "text0:3:5": "unlucky",
        "text0:4:5": "time limit",
    }
    assert verdict.error_kind == "timeout"


def test_a_suite_that_does_not_compile_says_why(judge):
    (verdict,) = judge.grade([Job(program(DOUBLE), ("assert_eq!(triple(1), 3);", "assert!(true);"))])
    assert (verdict.hidden_passed, verdict.hidden_total) == (0, 2)
    assert verdict.hidden_failures == {"do not compile": "E0425: cannot find function `triple` in this scope"}


LIMITED = """pub fn threads(n: usize) -> usize {
    let all: Vec<_> = (0..n).map(|_| std::thread::spawn(|| std::thread::park())).collect();
    all.into_iter().map(|one| one.thread().unpark()).count()
}
pub fn bytes(n: usize) -> usize { Vec::<u8>::with_capacity(n).capacity() }
pub fn deep(n: usize) -> usize { if n == 0 { 0 } else { deep(n - 1) + 1 } }"""


def test_the_limit_that_a_test_hits_is_named(judge):
    tests = ("assert_eq!(bytes(9_000_000_000), 0);", "assert_eq!(threads(5_000), 5_000);", "assert_eq!(deep(9_000_000), 0);")
    (verdict,) = judge.grade([Job(program(LIMITED), tests)])
    memory, threads, depth = verdict.hidden_failures.values()
    assert memory == "memory limit: 2048 MiB"
    assert threads.startswith("limit of threads and processes: 128; failed to spawn thread")
    assert "a stack overflow" in depth


HOGS = """fn take_every_thread() {
    for _ in 0..8 {
        let _ = std::thread::Builder::new().spawn(|| loop { let _ = std::thread::Builder::new().stack_size(65536).spawn(std::thread::park); });
    }
    while std::thread::Builder::new().spawn(|| ()).is_ok() {}
}"""


def test_threads_that_a_test_leaves_behind_are_not_the_fault_of_the_next(judge):
    """Whoever is next runs in another process, be it another test or the same statements without the one that panicked."""
    tests = (f"{HOGS}\n#[test] fn a() {{ take_every_thread() }}\n#[test] fn b() {{ assert_eq!(deep(3), 3); }}\n#[test] fn c() {{ assert_eq!(deep(3), 4); }}",)
    in_order = (f"{HOGS}\nassert_eq!(deep(1), 1);\nassert_eq!({{ take_every_thread(); deep(1 / deep(0)) }}, 1);\nassert_eq!(deep(2), 2);",)
    functions, statements = judge.grade([Job(program(LIMITED), tests), Job(program(LIMITED), in_order)])
    assert functions.hidden_statuses == ("ok", "ok", "failed"), functions.hidden_failures
    assert statements.hidden_statuses == ("ok", "failed", "ok"), statements.hidden_failures


def test_guards_stand_around_statements_and_not_around_asserts():
    suite = with_hidden_tests(program(DOUBLE), ["fn main() {\n    let x = 1;\n    assert_eq!(x, 1);\n    for _ in 0..1 { assert!(true); }\n}\nfn f() { assert!(f() == ()) }"], None)
    ((_runner, tests),) = suite.asserts
    assert [test.statement for test in tests] == [STRAIGHT, 1, ELSEWHERE]
    lines = suite.source.split("\n")
    for test in tests:
        ((line, column),) = test.sites
        assert lines[line - 1][column - 1 :].startswith("assert")


def test_thousands_of_asserts_are_read_in_no_time():
    texts = [f"let x = {n};\nassert_eq!(double(x), {2 * n});" for n in range(2000)]
    started = time.process_time()
    assert len(with_hidden_tests(program(DOUBLE), texts, None).test_names) == 2000
    assert len(with_hidden_tests(program(DOUBLE), ["fn main() {" + "assert_eq!(double(1), 2);\n" * 1200 + "}"], None).test_names) == 1200
    assert time.process_time() - started < 20
