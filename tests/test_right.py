"""results/own-tests-1.5b/right.py: tests in Python, asked of functions in Rust by the types that these chose."""

import gzip
import importlib.util
import json
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPT = ROOT / "results" / "own-tests-1.5b" / "right.py"

# what the tests are, a program, what it makes of them
CASES = {
    "a slice": (["assert total([1, 2]) == 3", "assert total([]) == 0"], "fn sum_of(xs: &[i64]) -> i64 { xs.iter().sum() }", "right"),
    "wrong once": (["assert total([1, 2]) == 3", "assert total([]) == 1"], "fn sum_of(xs: &[i64]) -> i64 { xs.iter().sum() }", "wrong"),
    "text for numbers": (["assert total(['a']) == 'a'"], "fn sum_of(xs: &[i64]) -> i64 { xs.iter().sum() }", "other types"),
    "a negative for u8": (["assert total([-1]) == 0"], "fn sum_of(xs: &[u8]) -> i64 { xs.len() as i64 }", "other types"),
    "one argument short": (["assert f(1, 2) == 3"], "fn f(x: i32) -> i32 { x }", "other types"),
    "the length is known": (["assert f([5, 6], 2) == 11"], "fn f(xs: Vec<i32>) -> i32 { xs.iter().sum() }", "right"),
    "in place": (["assert f([3, 1]) == [1, 3]"], "fn f(xs: &mut [i32]) { xs.sort() }", "right"),
    "in place, a vector": (["assert f([3, 1]) == [1]"], "fn f(xs: &mut Vec<i32>) { xs.sort(); xs.truncate(1) }", "right"),
    "any type": (["assert f(['b', 'a']) == ['a', 'b']"], "fn f<T: Ord + Clone>(xs: &[T]) -> Vec<T> { let mut ys = xs.to_vec(); ys.sort(); ys }", "right"),
    "floats": (["assert f(10) == 62.83", "assert f(0.5) == 3.14"], "fn f(r: f64) -> f64 { 6.2831853 * r }", "right"),
    "far off": (["assert f(10) == 64.0"], "fn f(r: f64) -> f64 { 6.2831853 * r }", "wrong"),
    "pairs": (["assert f([(1, 'a'), (2, 'b')]) == {'a': 1, 'b': 2}"],
              "use std::collections::HashMap;\nfn f(xs: &[(i32, &str)]) -> HashMap<String, i32> { xs.iter().map(|x| (x.1.to_string(), x.0)).collect() }", "right"),
    "nothing found": (["assert f([1], 2) == None", "assert f([1], 1) == 0"], "fn f(xs: &[i32], x: i32) -> Option<usize> { xs.iter().position(|y| *y == x) }", "right"),
    "yes for true": (["assert f(2) == 'Yes'", "assert f(3) == 'No'"], "fn f(n: u32) -> bool { n % 2 == 0 }", "right"),
    "always true": (["assert f(2) == 'Yes'", "assert f(3) == 'No'"], "fn f(n: u32) -> bool { n < 9 }", "wrong"),
    "what its tests call": (["assert f(2) == 5"], "fn help(x: i32) -> i32 { x }\nfn f(x: i32) -> i32 { help(x) * 2 + 1 }\n#[test]\nfn t() { assert_eq!(f(1), 3) }", "right"),
    "it panics": (["assert f([]) == 0"], "fn f(xs: Vec<i32>) -> i32 { xs[0] }", "wrong"),
    "below zero": (["assert f(-3) == -2"], "fn f(x: i8) -> i64 { x as i64 + 1 }", "right"),
    "a number for yes": (["assert f(1) == True"], "fn f(x: i32) -> i32 { x }", "other types"),
    "yes for a number": (["assert f(1) == 1"], "fn f(x: i32) -> bool { x == 1 }", "other types"),
    "a text's characters": (["assert f('aba') == ['b', 'a']"], "fn f(xs: &[char]) -> Vec<char> { xs[1..].to_vec() }", "right"),
    "a float in a tuple": (["assert f(1) == (1, 0.5, 'a')"], 'fn f(x: i32) -> (i32, f64, String) { (x, 0.5001, "a".to_string()) }', "right"),
    "perhaps a float": (["assert f(2) == 1.0", "assert f(0) == None"], "fn f(x: u8) -> Option<f32> { (x > 0).then(|| x as f32 / 2.0) }", "right"),
    "borrowed from a list": (["assert f([1, 3]) == 3"], "fn f<'a, T: Ord + Copy>(xs: &'a [T]) -> T { *xs.iter().max().unwrap() }", "right"),
    "an empty list of anything": (["assert f([]) == 0"], "fn f<T>(xs: Vec<T>) -> usize { xs.len() }", "right"),
    "two of any type": (["assert f(1, 'a') == 1"], "fn f<A, B>(a: A, _b: B) -> A { a }", "other types"),
    "nothing but a main": (["assert f(1) == 1"], "fn main() {}", "no program"),
}  # fmt: skip


@pytest.fixture(scope="module")
def right():
    spec = importlib.util.spec_from_file_location("right", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_a_program_makes_of_the_tests(right):
    tests = {name: right.python_tests(asserts) for name, (asserts, _, _) in CASES.items()}
    rows = [{"task_id": name, "completion": f"```rust\n{program}\n```", "build_passed": True} for name, (_, program, _) in CASES.items()]
    found = right.answers(tests, rows)
    assert dict(zip(CASES, found, strict=True)) == {name: answer for name, (_, _, answer) in CASES.items()}


@pytest.mark.parametrize("text", ["assert set(f(1)) == {1}", "assert f(x) == 1", "assert f(1) > 0", "assert f(1) == 1, 2 ==", "import math", "assert not f(1)", "assert f(x=1) == 1"])
def test_other_forms_of_tests_are_left_out(right, text):
    assert right.python_tests([text, "assert f(1)"]) == [([1], True)]


def test_it_prints_what_each_sample_is(tmp_path):
    (tmp_path / "mbpp.jsonl").write_text(json.dumps({"task_id": "a", "test_list": ["assert f(1) == 2"]}) + "\n")
    (tmp_path / "mine").mkdir()
    rows = [{"row": "base", "task_id": "a", "completion": "```rust\nfn f(x: i32) -> i32 { x + 1 }\n```", "build_passed": builds} for builds in (True, False)]
    (tmp_path / "mine" / "results.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    ran = subprocess.run([sys.executable, SCRIPT, tmp_path / "mbpp.jsonl", tmp_path / "mine"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == {"mine": {"base": {"a": ["right", "no program"]}}}
