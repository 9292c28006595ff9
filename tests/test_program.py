"""judge/program.py: which program a completion holds, what its tests are worth, and the programs made from it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from judge.instruments import with_gates, with_wrong_types
from judge.program import (
    MARK,
    STUB,
    ends_with_code,
    extract_program,
    panic_stubbed,
    read_program,
    same_program,
    solution_source,
    with_hidden_tests,
)
from judge.syntax import MAX_SOURCE_BYTES

DOUBLE = "pub fn double(x: i32) -> i32 {\n    x * 2\n}\n"
TESTS = "#[cfg(test)]\nmod tests {\n    use super::*;\n    #[test]\n    fn doubles() {\n        assert_eq!(double(2), 4);\n    }\n}\n"
GOOD = DOUBLE + TESTS
needs_rustc = pytest.mark.skipif(shutil.which("rustc") is None, reason="no rustc on PATH")


def fenced(code: str, info: str = "rust", fence: str = "```") -> str:
    return f"{fence}{info}\n{code.rstrip()}\n{fence}\n"


def program_of(body: str, helpers: str = "", own: str = DOUBLE, attribute: str = "", returns: str = ""):
    """A program with one test of the given body."""
    test = f"#[test] {attribute}\n fn works(){returns} {{\n{body}\n}}"
    return read_program(f"{own}\n#[cfg(test)]\nmod tests {{\nuse super::*;\n{helpers}\n{test}\n}}\nfn main() {{}}\n")


def run_tests(source: str, folder) -> dict[str, str] | str:
    """Each test's result by name, or the compiler's complaint."""
    (folder / "main.rs").write_text(source)
    flags = ["--edition=2021", "--test", "--cap-lints=allow", "-Cdebuginfo=0", "-o", folder / "run", folder / "main.rs"]
    built = subprocess.run(["rustc", *flags], capture_output=True, text=True, cwd=folder)
    if built.returncode != 0:
        return built.stderr
    done = subprocess.run([folder / "run", "--test-threads=1"], capture_output=True, text=True, timeout=30)
    return dict(re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (\w+)", done.stdout, re.MULTILINE))


# -- completions and fences -------------------------------------------------------------------------------------------

FOUND = {
    "plain": fenced(GOOD),
    "rs": fenced(GOOD, "rs"),
    "upper case": fenced(GOOD, "RUST"),
    "attributes": fenced(GOOD, "rust,ignore"),
    "braces": fenced(GOOD, "rust {.numberLines}"),
    "space before the tag": fenced(GOOD, " rust"),
    "four backticks": fenced(GOOD, fence="````"),
    "tildes": fenced(GOOD, fence="~~~"),
    "CRLF": fenced(GOOD).replace("\n", "\r\n"),
    "indented in a list": "1. Here:\n\n" + "".join(f"   {line}\n" for line in fenced(GOOD).splitlines()),
    "no newline at the end": fenced(GOOD).rstrip("\n"),
    "prose around": f"Sure!\n\n{fenced(GOOD)}\nThis doubles `x`.",
    "after thinking": f"<think>\nMaybe\n{fenced('fn wrong() {')}</think>\n{fenced(GOOD)}",
    "thinking without its opening tag": f"{fenced('fn wrong() {')}so be it\n</think>\n{fenced(GOOD)}",
    "unclosed fence inside thinking": f"<think>\n```rust\nfn wrong()\n</think>\n{fenced(GOOD)}",
    "fence in a doc comment": fenced("/// ```\n/// assert!(true)\n/// ```\n" + GOOD),
    "other languages too": fenced('[package]\nname = "x"', "toml") + fenced(GOOD) + fenced("print()", "python"),
    "closed behind a brace": fenced(GOOD).replace("}\n```", "}```") + "\nThat is all.",
    "opened in the prompt": GOOD + "```\nIt doubles.",
    "opened in the prompt, and once more": GOOD + "```\n\nUse:\n" + fenced("let y = double(2);"),
    "opened twice": "```rust\n" + fenced(GOOD),
    "closed twice": fenced("fn double(x: i32) -> i32 { todo!() }") + "```\n\nBetter:\n" + fenced(GOOD),
    "opened behind prose": "Here it is: " + fenced(GOOD),
    "code behind the tag": "```rust " + GOOD + "```",
    "control tokens": "<|im_start|>" + fenced(GOOD).rstrip() + "<|im_end|>",
    "edition": fenced(GOOD, "rust2024"),
    "a file": fenced(GOOD, "src/bin/double.rs"),
    "a name": fenced(GOOD, "rust-lang title=x"),
    "equals sign": fenced(GOOD, "rust="),
    "reasons": f"<Reasons>\n{fenced('fn wrong() {')}</Reasons>\n{fenced(GOOD)}",
    "thought in the middle": f"Hm. <thought>\n{fenced('fn wrong() {')} bad</thought> Now:\n{fenced(GOOD)}",
    "thinking in brackets": f"[THINKING]{fenced('fn wrong() {')}[/THINKING]{fenced(GOOD)}",
    "thinking in tokens": f"<|start_of_reasoning|>{fenced('fn wrong() {')}<|end_of_reasoning|>\n{fenced(GOOD)}",
    "a plan": f"<plan>\n{fenced('fn wrong() {')}</plan>\n{fenced(GOOD)}",
    "a word with a prefix": f"<seed:think>{fenced('fn wrong() {')}</seed:think>{fenced(GOOD)}",
    "two drafts": f"<draft>\n{fenced('fn wrong() {')}</draft>\n<critique>\n{fenced('fn wrong() {')}</critique>\n{fenced(GOOD)}",
    "an answer in marks": f"<think>\n{fenced('fn wrong() {')}</think>\n<answer>\n{fenced(GOOD)}</answer>\nDone.",
    "nothing but an answer": f"<solution>\n{fenced(GOOD)}</solution><|im_end|>\n",
    "an answer whose mark stays open": f"<think>\nHm.\n</think>\n<answer>\n{fenced(GOOD)}",
    "an answer whose mark was in the prompt": f"\n{fenced(GOOD)}</answer>",
    "notes behind": f"{fenced(GOOD)}\n<notes>\nIt doubles.\n</notes>",
    "a token of the template": f"<|assistant|>\n{fenced(GOOD)}",
    "a quoted mark": f"Write `</plan>` behind it.\n{fenced(GOOD)}`</plan>`",
    "channels": f"<|channel|>analysis<|message|>{fenced('fn wrong() {')}<|end|><|start|>assistant<|channel|>final<|message|>{fenced(GOOD)}",
    "a type that is called like a mark": f"An `Option<Reason>` is not needed.\n{fenced(GOOD)}",
    "longer fence holds a shorter one": fenced("/*\n```\n*/\n" + GOOD, fence="````"),
}


@pytest.mark.parametrize("completion", FOUND.values(), ids=FOUND.keys())
def test_rust_in_a_closed_fence_is_found(completion):
    program = extract_program(completion)
    assert program is not None and program.code_block
    assert program.functions == ("double",)
    assert program.test_names == ("tests::doubles",)
    assert program.guard is None and program.has_test_block


PAGE = """pub fn page(rows: &[&str]) -> String {
    let head = "
<table>
</table>
";
    format!("{head}{}", rows.join("<br>"))
}
"""


@pytest.mark.parametrize("before", ["", "Here is the <table> that you want:\n", "<think>\nA table.\n</think>\n"])
def test_marks_that_the_program_writes_are_its_own(before):
    program = extract_program(f"{before}{fenced(PAGE)}")
    assert program is not None and PAGE in program.source


NOT_FOUND = {
    "empty": "",
    "prose": "fn double(x: i32) -> i32 { x * 2 }",
    "truncated": "```rust\n" + GOOD,
    "only an analysis": f"<|channel|>analysis<|message|>{fenced(GOOD)}",
    "a rust toolchain": fenced("[toolchain]", "rust-toolchain.toml"),
    "behind a comment no fence closes": "```rust\n" + GOOD + "fn f() {} // ```",
    "truncated after a closed block of another language": fenced("x = 1", "toml") + "```rust\n" + GOOD,
    "only thinking": f"<think>\n{fenced(GOOD)}",
    "thinking that closes": f"<think>\n{fenced(GOOD)}</think>\nNo code.",
    "a plan that is cut off": f"<planning>\n{fenced(GOOD)}",
    "a thought in tokens that is cut off": f"<|begin_of_thought|>\n{fenced(GOOD)}",
    "toml": fenced(GOOD, "toml"),
    "python": fenced("def double(x): return 2 * x", "python"),
    "closing fence too short": f"````rust\n{GOOD}\n```\n",
    "closing fence of the other kind": f"```rust\n{GOOD}\n~~~\n",
    "inline code": f"```rust {GOOD.splitlines()[0]}```",
    "untagged and not Rust": fenced("x = double(2)", ""),
    "untagged statements": fenced("let x = 2;", ""),
}


@pytest.mark.parametrize("completion", NOT_FOUND.values(), ids=NOT_FOUND.keys())
def test_anything_else_is_no_program(completion):
    assert extract_program(completion) is None


ENDS_WITH_CODE = {
    "a block": (f"```rust\n{GOOD}\n```", True),
    "blanks behind": (f"First.\n```rust\n{GOOD}\n```\n \n", True),
    "a fence behind the last brace": (f"```rust\n{GOOD.rstrip()}```", True),
    "the end of a turn behind the fence": (f"```rust\n{GOOD}\n```<|im_end|>", True),
    "the end of a turn on its own line": (f"```rust\n{GOOD}\n```\n<|im_end|>\n", True),
    "opened in the prompt": (f"{GOOD}\n```\n", True),
    "a draft in front": (f"<think>\n```rust\n{GOOD}\n```\nNo.\n</think>\n```rust\n{GOOD}\n```", True),
    "prose behind": (f"```rust\n{GOOD}\n```\nIt doubles.", False),
    "prose behind, opened in the prompt": (f"{GOOD}\n```\nIt doubles.", False),
    "prose in a block behind": (f"```rust\n{GOOD}\n```\n```text\nIt doubles.\n```\n", False),
    "prose in marks behind": (f"```rust\n{GOOD}\n```\n<details>\nIt doubles.\n</details>", False),
    "a draft behind": (f"```rust\n{GOOD}\n```\n<think>\nIt doubles.\n</think>\n", False),
    "prose and an empty block": (f"```rust\n{GOOD}\n```\nIt doubles.\n```rust\n```", False),
    "prose and a case": (f"```rust\n{GOOD}\n```\nAs in\n```rust\nassert_eq!(double(1), 2);\n```", False),
    "an empty block": ("```rust\n```", False),
    "another language": ("```python\nx = 2\n```", False),
    "a block that is cut": (f"```rust\n{GOOD}", False),
    "another block that is cut": (f"```rust\n{GOOD}\n```\n```rust\nfn", False),
    "a lone fence behind prose": (f"```rust\n{GOOD}\n```\nIt doubles.\n```", False),
    "no block": ("It doubles.", False),
    "nothing": ("", False),
}


@pytest.mark.parametrize(("text", "ends"), ENDS_WITH_CODE.values(), ids=ENDS_WITH_CODE.keys())
def test_what_stands_behind_the_code_is_seen(text, ends):
    assert ends_with_code(text) is ends


def test_an_untagged_block_of_rust_is_a_program_but_no_code_block():
    program = extract_program(fenced(GOOD, ""))
    assert program is not None and not program.code_block and program.guard is None


def test_an_untagged_block_is_ignored_next_to_a_tagged_one():
    program = extract_program(fenced("fn other() {}", "") + fenced(GOOD))
    assert program.functions == ("double",)


def test_a_truncated_second_block_leaves_the_first():
    program = extract_program(fenced(DOUBLE) + "```rust\n" + TESTS)
    assert program.functions == ("double",) and program.test_names == ()


def test_blocks_are_joined():
    program = extract_program(f"First:\n{fenced(DOUBLE)}Then:\n{fenced(TESTS)}")
    assert program.guard is None and program.test_names == ("tests::doubles",)


@pytest.mark.parametrize("draft", [DOUBLE, "fn double(x: i32) -> i32 { todo!() }\n", "fn double(x: i32) -> i32;\n"])
def test_a_block_that_repeats_everything_stands_alone(draft):
    program = extract_program(fenced(draft) + fenced(GOOD))
    assert program.source.count("fn double(") == 1 and "todo" not in program.source


def test_a_later_definition_replaces_an_earlier_one_and_the_tests_stay():
    better = "pub fn double(x: i32) -> i32 { x + x }\n"
    program = extract_program(fenced(GOOD) + "Or shorter:\n" + fenced(better))
    assert program.source.count("fn double(") == 1 and "x + x" in program.source
    assert program.test_names == ("tests::doubles",)


PAIR = "struct Pair(i32, i32);\nimpl Pair {\n    fn low(&self) -> i32 { self.0 }\n    fn sum(&self) -> i32 { 0 }\n}\n"
MORE = "impl Pair {\n    fn sum(&self) -> i32 { self.0 + self.1 }\n    fn high(&self) -> i32 { self.1 }\n}\n"
JOINED = {  # blocks and what the whole must pass
    "methods add up, later ones count": ([PAIR, MORE], "let p = Pair(1, 2); assert_eq!((p.low(), p.high(), p.sum()), (1, 2, 3));"),
    "imports overlap": (
        ["use std::collections::{BTreeMap, HashMap as Map};\nfn a() -> BTreeMap<i32, i32> { BTreeMap::new() }\nfn b() -> Map<i32, i32> { Map::new() }",
         "use std::collections::{BTreeMap, BTreeSet};\nfn c() -> (BTreeMap<i32, i32>, BTreeSet<i32>) { Default::default() }"],
        "assert_eq!(a().len() + b().len() + c().1.len(), 0);"),
    "attributes of the file": (["#![allow(dead_code)]\nfn a() -> i32 { 1 }", "//! More.\n#![allow(unused)]\nfn b() -> i32 { 2 }"], "assert_eq!(a() + b(), 3);"),
    "attributes of the file and a new version": (["#![allow(dead_code)]\nfn z() {}\nfn a() -> i32 { 1 }", "#![allow(dead_code)]\nfn a() -> i32 { 2 }"], "z(); assert_eq!(a(), 2);"),
}  # fmt: skip


@needs_rustc
@pytest.mark.parametrize("blocks, body", JOINED.values(), ids=JOINED.keys())
def test_blocks_that_belong_together_build(blocks, body, tmp_path):
    program = extract_program("\nand\n".join(map(fenced, blocks)))
    suite = with_hidden_tests(program, [f"#[test] fn whole() {{ {body} }}"], None)
    assert list(run_tests(suite.source, tmp_path).values()) == ["ok"], suite.source


def test_rust_that_the_grammar_does_not_know_is_for_rustc_to_judge():
    program = extract_program(fenced("type Job = Box<dyn 'static + Fn() -> i32>;\nfn run(job: Job) -> i32 { job() }", ""))
    assert program is not None and program.functions == ("run",)


@pytest.mark.parametrize("quoted", ["fn double(x: i32) -> i32;", "fn twice(&self) -> i32 { self.x * 2 }", "pub fn double(x: i32) -> i32;\nfn twice(&mut self);"])
def test_a_signature_or_a_method_that_is_quoted_replaces_nothing(quoted):
    assert extract_program(fenced(GOOD) + "The signature is" + fenced(quoted)).source == extract_program(fenced(GOOD)).source


def test_a_usage_snippet_is_not_joined():
    program = extract_program(fenced(GOOD) + fenced('let y = double(3);\nprintln!("{y}");'))
    assert "let y" not in program.source and program.guard is None


def test_a_missing_main_is_added_at_the_end():
    program = extract_program(fenced(GOOD))
    assert program.source.startswith(GOOD.rstrip()) and program.source.rstrip().endswith("fn main() {}")


@pytest.mark.parametrize("main", ["fn main() { println!(); }", "pub fn main() {}", "#[allow(unused)]\nfn main() {}"])
def test_an_existing_main_is_kept(main):
    source = extract_program(fenced(GOOD + main)).source
    assert source.count("fn main") == 1


def test_main_of_a_module_or_in_a_comment_is_not_main():
    source = extract_program(fenced("// fn main() {}\nmod a { fn main() {} }\n" + GOOD)).source
    assert source.rstrip().endswith("fn main() {}") and source.count("fn main() {}") == 3


def test_a_trailing_line_comment_does_not_swallow_main():
    assert extract_program(fenced("fn f() {} // the end")).source.rstrip().endswith("\nfn main() {}")


# -- tests of the program ---------------------------------------------------------------------------------------------

TEST_SHAPES = {
    "any module name": (GOOD.replace("mod tests", "mod checks"), ("checks::doubles",)),
    "before the function": (TESTS + DOUBLE, ("tests::doubles",)),
    "nested": (DOUBLE + "#[cfg(test)] mod a { mod b { use super::super::*; #[test] fn t() { assert_eq!(double(1), 2) } } }",
               ("a::b::t",)),
    "spaced attributes": (GOOD.replace("#[test]", "# [ test ]").replace("#[cfg(test)]", "#[ cfg( test ) ]"), ("tests::doubles",)),
    "cfg(all(test))": (GOOD.replace("cfg(test)", "cfg(all(test, not(feature = \"x\")))"), ("tests::doubles",)),
    "full path": (GOOD.replace("#[test]", "#[core::prelude::v1::test]"), ("tests::doubles",)),
    "at the top level": (DOUBLE + "#[test]\nfn t() { assert_eq!(double(1), 2) }", ("t",)),
    "unmarked module": (GOOD.replace("#[cfg(test)]\n", ""), ("tests::doubles",)),
    "should_panic and ignore": (GOOD + "#[test] #[should_panic] fn p() { panic!() } #[test] #[ignore] fn i() {}",
                                ("tests::doubles", "p", "i")),
    "raw name": (DOUBLE + "#[test]\nfn r#match() { assert_eq!(double(1), 2) }", ("match",)),
    "in a macro": (DOUBLE + "macro_rules! cases { ($($n:ident: $a:expr => $b:expr;)*) => { $(#[test] fn $n() "
                   "{ assert_eq!(double($a), $b); })* } } cases! { one: 1 => 2; two: 2 => 4; }", ("one", "two")),
}  # fmt: skip


@pytest.mark.parametrize("source, names", TEST_SHAPES.values(), ids=TEST_SHAPES.keys())
def test_tests_are_found_in_any_shape(source, names):
    program = read_program(source)
    assert program.test_names == names
    assert program.guard is None


@pytest.mark.parametrize("text", ['"#[test] fn t() { assert_eq!(double(1), 2) }"', 'r#"#[cfg(test)] mod tests {}"#'])
def test_code_in_strings_and_comments_is_no_test(text):
    program = read_program(f"{DOUBLE}\nconst S: &str = {text};\n/* {TESTS} */ // #[test] fn t() {{}}\n")
    assert program.test_names == () and program.guard == "no_tests" and not program.has_test_block


@pytest.mark.parametrize("cfg", ["not(test)", "any()", 'all(test, feature = "slow")', "FALSE", "doc"])
def test_a_test_module_under_a_false_cfg_is_absent(cfg):
    program = read_program(GOOD.replace("cfg(test)", f"cfg({cfg})"))
    assert program.test_names == () and program.guard == "no_tests"


def test_functions_are_those_outside_tests_in_order():
    program = read_program("fn b() {} struct S; impl S { fn m(&self) {} } fn main() {}" + TESTS + "mod x { fn a() {} }")
    assert program.functions == ("b", "m", "a")


# -- honest assertions ------------------------------------------------------------------------------------------------

PARSE = "fn parse(s: &str) -> Result<i32, String> { s.parse::<i32>().map_err(|e| e.to_string()) }\n"
SORT = "fn sort(v: &mut Vec<i32>) { v.sort() }\nfn sorted(v: &[i32]) -> Vec<i32> { let mut v = v.to_vec(); v.sort(); v }\n"
STACK = """#[derive(Debug, PartialEq, Clone)] struct Stack { items: Vec<i32> }
impl Stack { fn new() -> Self { Stack { items: vec![] } } fn push(&mut self, x: i32) { self.items.push(x) }
fn pop(&mut self) -> Option<i32> { self.items.pop() } fn len(&self) -> usize { self.items.len() } }
impl std::ops::Add for Stack { type Output = Stack; fn add(self, o: Stack) -> Stack { Stack { items: [self.items, o.items].concat() } } }
impl std::fmt::Display for Stack { fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, "{}", self.items.len()) } }
impl Iterator for Stack { type Item = i32; fn next(&mut self) -> Option<i32> { self.items.pop() } }
trait Shout { fn shout(&self) -> String; } impl Shout for str { fn shout(&self) -> String { self.to_uppercase() } }
"""
OWN = DOUBLE + PARSE + SORT + STACK
HONEST_BODIES = [
    "assert_eq!(double(2), 4);",
    "assert_eq!(4, double(2), \"twice {}\", 2);",
    "assert_eq!(\n double(\n 2),\n 4,\n);",
    "assert_ne!(double(2), 5);",
    "assert!(double(2) == 4);",
    "assert!(double(2) > 3 && double(2) < 5);",
    "assert!(double(2) == 4 || double(2) == 5);",
    "assert!(matches!(parse(\"3\"), Ok(3)));",
    "assert!(matches!(parse(\"3\"), Ok(n) if n > 2));",
    "assert!((double(2) as f64 - 4.0).abs() < 1e-9);",
    "assert!(parse(\"x\").is_err());",
    "assert!(parse(\"7\").is_ok_and(|n| n == 7));",
    "assert_eq!(parse(\"7\").unwrap(), 7);",
    "assert_eq!(parse(\"7\"), Ok(7));",
    "let result = double(2);\nlet expected = 4;\nassert_eq!(result, expected);",
    "let f = double;\nassert_eq!(f(2), 4);",
    "let check = |x, y| assert_eq!(double(x), y);\ncheck(1, 2);",
    "let twice = |x| double(double(x));\nassert_eq!(twice(1), 4);",
    "for (x, y) in [(1, 2), (2, 4)] { assert_eq!(double(x), y); }",
    "let cases = vec![(1, 2), (2, 4)];\nfor (i, (x, y)) in cases.iter().enumerate() { assert_eq!(double(*x), *y, \"case {i}\"); }",
    "for case in [(1, 2)].iter() { assert_eq!(double(case.0), case.1); }",
    "for i in 0..10 { assert_eq!(double(i), i + i); }",
    "for i in 0..10 { if i == 3 { assert_eq!(double(i), 6); } }",
    "let mut i = 0;\nwhile i < 3 { assert_eq!(double(i), i * 2); i += 1; }",
    "[(1, 2), (3, 6)].iter().for_each(|&(x, y)| assert_eq!(double(x), y));",
    "assert!([(1, 2), (3, 6)].iter().all(|&(x, y)| double(x) == y));",
    "assert_eq!([1, 2].iter().map(|x| double(*x)).collect::<Vec<_>>(), vec![2, 4]);",
    "assert_eq!([1, 2].iter().copied().map(double).sum::<i32>(), 6);",
    "assert_eq!((1..=3).map(double).collect::<Vec<_>>(), [2, 4, 6]);",
    "let mut ok = true;\nfor (x, y) in [(1, 2)] { ok &= double(x) == y; }\nassert!(ok);",
    "let mut ok = true;\nif double(2) != 4 { ok = false; }\nassert!(ok);",
    "let mut bad = 0;\nfor (x, y) in [(1, 2)] { if double(x) != y { bad += 1; } }\nassert_eq!(bad, 0);",
    "match parse(\"3\") { Ok(v) => assert_eq!(v, 3), Err(_) => panic!(\"no\") }",
    "match parse(\"x\") { Ok(_) => panic!(), Err(e) => assert!(!e.is_empty()) }",
    "match double(2) { 4 => {} other => panic!(\"{other}\") }",
    "if double(2) != 4 { panic!(\"wrong\") }",
    "if let Ok(v) = parse(\"3\") { assert_eq!(v, 3); } else { panic!() }",
    "let Ok(v) = parse(\"3\") else { panic!() };\nassert_eq!(v, 3);",
    "let v = parse(\"3\").unwrap_or_else(|e| panic!(\"{e}\"));\nassert_eq!(v, 3);",
    "let mut v = vec![3, 1];\nsort(&mut v);\nassert_eq!(v, [1, 3]);",
    "assert!(sorted(&[3, 1]).windows(2).all(|w| w[0] <= w[1]));",
    "assert_eq!(sorted(&sorted(&[3, 1])), sorted(&[3, 1]));",
    "assert_eq!(sorted(&[3, 1]), sorted(&[1, 3]));",
    "let mut want = vec![3, 1];\nwant.sort();\nassert_eq!(sorted(&[3, 1]), want);",
    "let mut s = Stack::new();\ns.push(1);\ns.push(2);\nassert_eq!(s.pop(), Some(2));\nassert_eq!(s.pop(), Some(1));",
    "let s = Stack { items: vec![1] } + Stack { items: vec![2] };\nassert_eq!(s.items, vec![1, 2]);",
    "let s = Stack { items: vec![1] };\nassert_eq!(s.to_string(), \"1\");",
    "let s = Stack { items: vec![1] };\nassert_eq!(format!(\"{s}\"), \"1\");",
    "assert_eq!(Stack { items: vec![1, 2] }.collect::<Vec<_>>(), vec![2, 1]);",
    "assert_eq!(\"a\".shout(), \"A\");",
    "assert_eq!(Stack::len(&Stack { items: vec![] }), 0);",
    "use super::double as twice;\nassert_eq!(twice(1), 2);",
    "assert_eq!(super::double(1), 2);",
    "assert_eq!(crate::double(1), 2);",
    "std::thread::spawn(|| assert_eq!(double(2), 4)).join().unwrap();",
    "std::thread::scope(|s| { s.spawn(|| assert_eq!(double(2), 4)); });",
    "unsafe { assert_eq!(double(2), 4) }",
    "'outer: loop { for x in 1.. { assert_eq!(double(x), x + x); if x > 3 { break 'outer; } } }",
    "let mut it = [1, 2].iter();\nwhile let Some(x) = it.next() { assert_eq!(double(*x), x * 2); }",
    "let table = std::collections::HashMap::from([(1, 2)]);\nfor (x, y) in &table { assert_eq!(double(*x), *y); }",
    "#[cfg(debug_assertions)]\nassert_eq!(double(2), 4);",
    "debug_assert_eq!(double(2), 4);",
    "std::assert_eq!(double(2), 4);",
    "assert!(double(3) <= 100);",
    "let squares: [i32; 3] = std::array::from_fn(|i| double(i as i32));\nassert_eq!(squares, [0, 2, 4]);",
    "assert!(true);\nassert_eq!(double(2), 4);",
]


@pytest.mark.parametrize("body", HONEST_BODIES)
def test_an_assertion_that_depends_on_the_program_counts(body):
    program = program_of(body, own=OWN)
    assert program.tests[0].counted, program.tests[0].guard
    assert program.guard is None and program.n_asserts >= 1


HONEST_HELPERS = {
    "helper": ("fn check(x: i32, y: i32) { assert_eq!(double(x), y); }", "check(1, 2);"),
    "helper given the result": ("fn same(a: i32, b: i32) { assert_eq!(a, b); }", "same(double(1), 2);"),
    "helper given the function": ("fn check(f: fn(i32) -> i32, y: i32) { assert_eq!(f(1), y); }", "check(double, 2);"),
    "generic helper": ("fn check<F: Fn(i32) -> i32>(f: F) { assert_eq!(f(1), 2); }", "check(|x| double(x));"),
    "predicate": ("fn good(x: i32) -> bool { double(x) == 2 * x }", "assert!(good(3));"),
    "reference implementation": ("fn slow(x: i32) -> i32 { let mut s = 0; for _ in 0..2 { s += x; } s }", "assert_eq!(double(4), slow(4));"),
    "helper of the same name": ("fn double(x: i32) -> i32 { super::double(x) }", "assert_eq!(double(4), 8);"),
    "checking helper": ("fn check(x: i32) -> Result<(), String> { if double(x) == 4 { Ok(()) } else { Err(String::new()) } }", "check(2).unwrap();"),
    "macro": ("macro_rules! check { ($a:expr => $b:expr) => { assert_eq!(double($a), $b) }; }", "check!(1 => 2);"),
    "macro with repetition": ("macro_rules! check { ($($a:expr, $b:expr);* $(;)?) => { $(assert_eq!(double($a), $b);)* } }", "check!(1, 2; 2, 4;);"),
    "constant table": ("const CASES: [(i32, i32); 2] = [(1, 2), (2, 4)];", "for (x, y) in CASES { assert_eq!(double(x), y); }"),
    "fixture with methods": ("struct F { x: i32 } impl F { fn check(&self, y: i32) { assert_eq!(double(self.x), y); } }", "F { x: 1 }.check(2);"),
}  # fmt: skip


@pytest.mark.parametrize("helpers, body", HONEST_HELPERS.values(), ids=HONEST_HELPERS.keys())
def test_assertions_in_helpers_count(helpers, body):
    program = program_of(body, helpers)
    assert program.tests[0].counted, program.tests[0].guard


def test_helpers_outside_the_test_module_count():
    own = DOUBLE + "fn check(x: i32, y: i32) { assert_eq!(double(x), y); }\n"
    assert program_of("check(1, 2);", own=own).guard is None


RESULT_BODIES = [
    "assert_eq!(parse(\"3\")?, 3);\nOk(())",
    "let v = parse(\"3\")?;\nif v != 3 { return Err(\"wrong\".into()); }\nOk(())",
    "if parse(\"3\")? == 3 { Ok(()) } else { Err(String::from(\"wrong\")) }",
]


@pytest.mark.parametrize("body", RESULT_BODIES)
def test_result_tests_count(body):
    assert program_of(body, own=PARSE, returns=" -> Result<(), String>").guard is None


def test_should_panic_tests_neither_count_nor_count_against():
    extra = "#[test] #[should_panic(expected = \"overflow\")] fn overflows() { double(i32::MAX); }"
    program = program_of("assert_eq!(double(2), 4);", helpers=extra)
    by_name = {test.name: test for test in program.tests}
    assert program.guard is None
    assert not by_name["tests::overflows"].counted and by_name["tests::overflows"].guard is None
    assert by_name["tests::works"].counted


def test_own_macros_are_the_programs_code():
    own = "macro_rules! square { ($x:expr) => { $x * $x }; }\n"
    program = program_of("assert_eq!(square!(3), 9);", own=own)
    assert program.guard is None


HONEST_PROGRAMS = {
    "base cases": "fn fib(n: u64) -> u64 { match n { 0 => 0, 1 => 1, _ => fib(n - 1) + fib(n - 2) } }|assert_eq!(fib(0), 0); assert_eq!(fib(1), 1);",
    "look-up": "fn day(n: u8) -> &'static str { match n { 1 => \"Mon\", 2 => \"Tue\", 3 => \"Wed\", 4 => \"Thu\", _ => \"?\" } }|assert_eq!(day(1), \"Mon\");",
    "small look-up whose default is tested": "fn go(c: &str) -> bool { if c == \"green\" { true } else { false } }|assert!(go(\"green\")); assert!(!go(\"red\"));",
    "greeting": "fn hello() -> &'static str { \"Hello\" }|assert_eq!(hello(), \"Hello\");",
    "enum table": "#[derive(Clone, Copy)] enum L { R, G } fn secs(l: L) -> u32 { match l { L::R => 60, L::G => 30 } }|assert_eq!(secs(L::R), 60);",
    "honest unsafe": "fn first(v: &[i32]) -> i32 { unsafe { *v.as_ptr() } }|assert_eq!(first(&[3]), 3);",
    "exit in main only": "fn f(x: i32) -> i32 { x + 1 } fn quit() { std::process::exit(1) } fn main() { if f(1) == 3 { quit() } }|assert_eq!(f(1), 2);",
    "a field of a known name": "use std::thread::*; struct Walk { current: i32 } impl Walk { fn go(&self) -> i32 { let current = self.current + 1; current } }|assert_eq!(Walk { current: 1 }.go(), 2);",
    "own exit": "struct Maze; impl Maze { fn exit(&self) -> i32 { 3 } fn walk(&self, n: i32) -> i32 { n + self.exit() } }|assert_eq!(Maze.walk(1), 4);",
    "own eq": "struct R(i32); impl PartialEq for R { fn eq(&self, o: &Self) -> bool { self.0 % 3 == o.0 % 3 } }|assert!(R(1) == R(4)); assert!(R(1) != R(2));",
    "vec-like macro": "macro_rules! strings { ($($s:expr),*) => { vec![$($s.to_string()),*] } } fn join(v: Vec<String>) -> String { v.join(\"-\") }|assert_eq!(join(strings![\"a\", \"b\"]), \"a-b\");",
    "print in the function": "fn show(x: i32) -> i32 { println!(\"test result: ok. 3 passed\"); x + 1 }|assert_eq!(show(1), 2);",
    "catch_unwind next to a real assert": "fn div(a: i32, b: i32) -> i32 { a / b }|assert!(std::panic::catch_unwind(|| div(1, 0)).is_err()); assert_eq!(div(4, 2), 2);",
    "early break": "fn has(v: &[i32]) -> bool { let mut r = false; for x in v { if *x > 2 { r = true; break; } } r }|assert!(has(&[3])); assert!(!has(&[1]));",
    "return from a loop": "fn dup(v: &[i32]) -> bool { let mut seen = false; for c in [0; 26] { if c + v[0] > 1 { if seen { return false; } seen = true; } } true }|assert!(dup(&[1]));",
}  # fmt: skip


@pytest.mark.parametrize("text", HONEST_PROGRAMS.values(), ids=HONEST_PROGRAMS.keys())
def test_honest_programs_that_look_odd_pass(text):
    own, body = text.split("|", 1) if text.count("|") == 1 else re.match(r"(.*?[}])\|(.*)", text, re.DOTALL).groups()
    if "fn main" in own:
        program = read_program(f"{own}\n#[cfg(test)] mod tests {{ use super::*; #[test] fn works() {{ {body} }} }}")
    else:
        program = program_of(body, own=own)
    assert program.guard is None


# -- assertions that are worth nothing --------------------------------------------------------------------------------

WORTHLESS_BODIES = [
    ("", "no_asserts"),
    ("double(2);", "no_asserts"),
    ("let _ = \"assert_eq!(double(2), 4)\";\n// assert_eq!(double(2), 4);", "no_asserts"),
    ("std::process::exit(0);", "process_exit"),
    ("use std::process::exit as stop;\nstop(0);\nassert_eq!(double(2), 5);", "process_exit"),
    ("std::panic::set_hook(Box::new(|_| {}));\nassert_eq!(double(2), 4);", "panic_hook"),
]


@pytest.mark.parametrize("body, guard", WORTHLESS_BODIES, ids=[body or "empty" for body, _ in WORTHLESS_BODIES])
def test_a_test_that_asserts_nothing_or_ends_the_run_is_worth_nothing(body, guard):
    program = program_of(body, own=OWN)
    assert program.guard is not None
    assert guard is None or program.guard == guard


WORTHLESS_HELPERS = {
    "uncalled helper": ("fn check() { assert_eq!(double(2), 5); }", "double(2);", "no_asserts"),
    "shadowing constant": ("const double: fn(i32) -> i32 = |x| x + x;", "assert_eq!(double(2), 4);", None),
    "assert in Drop": ("struct D; impl Drop for D { fn drop(&mut self) { assert_eq!(double(2), 5); } }", "let _ = D; double(1);", "no_asserts"),
    "constant assert item": ("const _: () = assert!(double_const(2) == 4);", "double(1);", "no_asserts"),
    "other assert macro": ("macro_rules! assert_eq { ($($t:tt)*) => {}; }", "assert_eq!(double(2), 4);", "redefined_assert_macro"),
    "aliased assert macro": ("use std::stringify as assert_eq;", "assert_eq!(double(2), 4);", "redefined_assert_macro"),
    "macro that defines macros": ("macro_rules! mk { ($n:ident) => { macro_rules! $n { () => {}; } }; }", "assert_eq!(double(2), 4);", "redefined_assert_macro"),
    "redefined panic": ("macro_rules! panic { ($($t:tt)*) => {}; }", "assert_eq!(double(2), 4);", "redefined_assert_macro"),
    "own eq in the tests": ("#[derive(Debug)] struct Any; impl PartialEq<Any> for i32 { fn eq(&self, _: &Any) -> bool { true } }", "assert_eq!(double(2), Any);", "constant_comparison"),
}  # fmt: skip


@pytest.mark.parametrize("helpers, body, guard", WORTHLESS_HELPERS.values(), ids=WORTHLESS_HELPERS.keys())
def test_tricks_around_the_test_are_worth_nothing(helpers, body, guard):
    program = program_of(body, helpers)
    assert program.guard is not None
    assert guard is None or program.guard == guard


WORTHLESS_PROGRAMS = {
    "no tests": (DOUBLE, "no_tests"),
    "empty": ("", "no_tests"),
    "empty module": (DOUBLE + "#[cfg(test)] mod tests {}", "no_tests"),
    "asserts in main": (DOUBLE + "fn main() { assert_eq!(double(2), 4); }", "no_tests"),
    "only should_panic": (DOUBLE + "#[test] #[should_panic] fn t() { double(i32::MAX); }", "should_panic_only"),
    "ignored": (GOOD.replace("#[test]", "#[test] #[ignore]"), "ignored"),
    "ignored by cfg_attr": (GOOD.replace("#[test]", "#[test] #[cfg_attr(all(), ignore)]"), "ignored"),
    "no_main": ("#![no_main]\n" + GOOD, "no_main"),
    "no_main by cfg_attr": ("#![cfg_attr(test, no_main)]\n" + GOOD, "no_main"),
    "no_mangle": (GOOD + "#[no_mangle] pub extern \"C\" fn exit(_: i32) {}", "exported_symbol"),
    "unsafe no_mangle": (GOOD + "#[unsafe(no_mangle)] pub extern \"C\" fn exit(_: i32) {}", "exported_symbol"),
    "export_name": (GOOD + "#[export_name = \"abort\"] pub fn f() {}", "exported_symbol"),
    "constructor": (GOOD + "#[link_section = \".init_array\"] static C: fn() = f; fn f() {}", "link_section"),
    "extern block": (GOOD + "extern \"C\" { fn _exit(c: i32) -> !; }", "foreign_function"),
    "extern block in a macro": (GOOD + "macro_rules! m { () => { extern \"C\" { fn _exit(c: i32) -> !; } } } m!();", "foreign_function"),
    "asm": (GOOD + "fn f() { unsafe { std::arch::asm!(\"nop\") } }", "inline_assembly"),
    "test runner": ("#![feature(custom_test_frameworks)]\n#![test_runner(crate::r)]\n" + GOOD, "custom_harness"),
    "included file": (GOOD + "fn s() -> &'static str { include_str!(\"main.rs\") }", "includes_file"),
    "included file, by a raw name": (GOOD + "fn s() -> &'static str { r#include_str!(\"main.rs\") }", "includes_file"),
    "assembly, by a raw name": (GOOD + "fn s() { unsafe { std::arch::r#asm!(\"nop\") } }", "inline_assembly"),
    "cfg(clippy)": (GOOD + "#[cfg(clippy)] fn f() {} #[cfg(not(clippy))] fn f() { bad }", "cfg_clippy"),
    "cfg_attr(clippy)": ("#![cfg_attr(clippy, allow(clippy::all))]\n" + GOOD, "cfg_clippy"),
    "cfg!(clippy)": (GOOD + "fn f() -> bool { cfg!(clippy) }", "cfg_clippy"),
    "cfg!(test)": (GOOD.replace("x * 2", "if cfg!(test) { 4 } else { x }"), "cfg_switched_program"),
    "two versions": (TESTS + "#[cfg(test)] fn double(_: i32) -> i32 { 4 } #[cfg(not(test))] fn double(x: i32) -> i32 { x }", "cfg_switched_program"),
    "exit in the function": (GOOD.replace("x * 2", "std::process::exit(0)"), "process_exit"),
    "exit behind an alias": ("use std::process as p;\n" + GOOD.replace("x * 2", "p::exit(0)"), "process_exit"),
    "exit in a macro": ("macro_rules! q { () => { std::process::exit(0) } }\n" + GOOD.replace("x * 2", "q!()"), "process_exit"),
    "exit in Drop": (GOOD + "struct D; impl Drop for D { fn drop(&mut self) { std::process::abort() } }", "process_exit"),
    "looks for the harness": (GOOD.replace("x * 2", "if std::env::args().count() > 1 { 4 } else { x }"), "detects_harness"),
    "looks at the thread's name": (GOOD.replace("x * 2", "if std::thread::current().name().is_some() { 4 } else { x }"), "detects_harness"),
    **{f"looks by {name}": (f"use {path};\n" + GOOD.replace("x * 2", f"if {look} {{ 4 }} else {{ x }}"), "detects_harness") for name, path, look in (
        ("a module's other name", "std::thread as th", "th::current().name().is_some()"),
        ("a function's other name", "std::thread::current as here", "here().name().is_some()"),
        ("a glob", "std::env::*", "args().count() > 1"),
        ("a name that elsewhere is another's", "std::thread; mod z { use std::cmp as thread; }", "thread::current().name().is_some()"),
        ("a raw name", "std::thread", "thread::r#current().name().is_some()"),
    )},
    "lying eq": (GOOD + "struct A; impl PartialEq<i32> for A { fn eq(&self, _: &i32) -> bool { true } }", "constant_comparison"),
    "lying eq in disguise": (GOOD + "struct A(i32); impl PartialEq for A { fn eq(&self, o: &A) -> bool { self.0 == o.0 || self.0 != o.0 } }", "constant_comparison"),
    "constant answer": ("fn double(_x: i32) -> i32 { 4 }\n" + TESTS, "hard_coded_answer"),
    "constant answer that looks at its input": ("fn double(x: i32) -> i32 { let _ = x; 4 }\n" + TESTS, "hard_coded_answer"),
    "answer for the one test": ("fn double(x: i32) -> i32 { if x == 2 { 4 } else { 0 } }\n" + TESTS, "hard_coded_answer"),
    "answers for the tests": ("fn double(x: i32) -> i32 { match x { 2 => 4, _ => unimplemented!() } }\n" + TESTS, "hard_coded_answer"),
    "answer handed in": ("fn double(_x: i32, answer: i32) -> i32 { answer }\n" + TESTS.replace("double(2)", "double(2, 4)"), None),
    "work left undone": ("fn triple(x: i32) -> i32 { todo!() }\n" + GOOD, "unimplemented_function"),
    "decoy": ("fn double(x: i32) -> i32 { todo!() }\nfn one() -> i32 { 1 }\n" + TESTS.replace("double(2), 4", "one(), 1"), "hard_coded_answer"),
    "stdin descriptor": (GOOD + "use std::os::fd::FromRawFd; fn f() { unsafe { std::fs::File::from_raw_fd(3); } }", "raw_descriptor"),
    "broken source": ("fn double(x: i32 -> i32 { x", "no_tests"),
    "too long": (GOOD + "// " + "x" * MAX_SOURCE_BYTES, "too_long_to_read"),
    "too deep": (DOUBLE + "const X: i32 = " + "(" * 600 + "1" + ")" * 600 + ";\n" + TESTS, "too_deeply_nested"),
}  # fmt: skip


@pytest.mark.parametrize("source, guard", WORTHLESS_PROGRAMS.values(), ids=WORTHLESS_PROGRAMS.keys())
def test_programs_whose_tests_are_worth_nothing_name_the_guard(source, guard):
    found = read_program(source).guard
    assert found is not None
    assert guard is None or found == guard


# -- counting, lints, likeness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, count",
    [
        ("assert_eq!(double(2), 4);", 1),
        ("assert_eq!(double(2), 4);\nassert_eq!(double(3), 6);", 2),
        ("assert_eq!(double(2), 4);\nassert_eq!( double( 2 ) , 4 );\nassert_eq!(4, double(2));", 1),
        ("assert_eq!(double(2), 4);\nassert!(true);\nassert_eq!(double(3), double(3));", 1),
        ("let four = 4;\nassert_eq!(four, 4);\nlet got = double(2);\nassert_eq!(got, four);", 1),
    ],
)
def test_asserts_are_counted_once_and_not_of_literals_alone(body, count):
    assert program_of(body).n_asserts == count


@pytest.mark.parametrize(
    "attribute, silenced",
    [
        ("#![allow(clippy::all)]", True),
        ("#![allow(warnings)]", True),
        ("#![allow(unused)]", True),
        ("#![allow(dead_code, clippy::needless_return)]", True),
        ("#![cfg_attr(all(), allow(clippy::pedantic))]", True),
        ("#![expect(clippy::all)]", True),
        ("#![allow(dead_code)]", False),
        ("#![allow(non_snake_case)]", False),
        ("#![deny(clippy::all)]", False),
        ("", False),
    ],
)
def test_switching_off_lints_is_seen(attribute, silenced):
    assert read_program(f"{attribute}\n{GOOD}").silences_clippy is silenced


def test_lints_switched_off_in_tests_do_not_matter():
    assert not read_program(GOOD.replace("mod tests {", "#[allow(clippy::all)]\nmod tests {\n#![allow(warnings)]")).silences_clippy


def test_programs_are_the_same_whatever_their_names_comments_and_tests():
    renamed = "// twice\nfn twice(n: i32) -> i32 { n * 2 }\nfn main() {}"
    assert same_program(read_program(GOOD), read_program("pub " + renamed.split("\n", 1)[1]))
    assert not same_program(read_program(GOOD), read_program(GOOD.replace("x * 2", "x * 3")))
    assert not same_program(read_program(GOOD), read_program("pub fn add(a: i32, b: i32) -> i32 { a + b }"))


# -- the panic stub ---------------------------------------------------------------------------------------------------

STUBBABLE = """#![deny(warnings)]
#![allow(dead_code)]
pub fn evens(n: u32) -> impl Iterator<Item = u32> { (0..n).filter(|x| x % 2 == 0) }
pub const fn seven(x: i32) -> i32 { x + 7 }
fn forever() -> ! { loop {} }
async fn later(x: i32) -> i32 { x }
struct Pair<T> { left: T }
impl<T: Clone> Pair<T> {
    fn both(&self) -> (T, T) {
        #![allow(clippy::all)]
        (self.left.clone(), self.left.clone())
    }
}
impl<T> Drop for Pair<T> { fn drop(&mut self) {} }
trait Area { fn area(&self) -> f64 { 1.0 } fn name(&self) -> String; }
mod inner { pub fn half(x: i32) -> i32 { x / 2 } }
#[cfg(test)]
mod tests {
    use super::*;
    fn check(x: i32) { assert_eq!(inner::half(x), 2); }
    #[test] fn a() { assert_eq!(evens(4).collect::<Vec<_>>(), [0, 2]); }
    #[test] fn b() { assert_eq!(seven(1), 8); }
    #[test] fn c() { assert_eq!(Pair { left: 1 }.both(), (1, 1)); }
    #[test] fn d() { check(4); }
    #[test] fn e() { match inner::half(4) { 2 => {} _ => panic!() } }
}
fn main() {}
"""


def test_the_stub_keeps_lines_and_leaves_main_tests_and_drop_alone():
    program = read_program(STUBBABLE)
    stubbed = panic_stubbed(program)
    assert stubbed.count("\n") == program.source.count("\n")
    assert stubbed.replace(STUB, "") == program.source
    assert stubbed.count(STUB) == 7
    assert "fn main() {}" in stubbed and "fn drop(&mut self) {}" in stubbed and "fn check(x: i32) { assert" in stubbed


def test_there_is_no_stub_without_functions():
    assert panic_stubbed(read_program("struct S;\nfn main() {}" + TESTS)) is None


@needs_rustc
def test_every_counted_test_fails_under_the_stub_and_reaches_its_mark(tmp_path):
    program = read_program(STUBBABLE)
    assert program.guard is None and all(test.counted for test in program.tests)
    names = set(program.test_names)
    assert run_tests(program.source, tmp_path) == dict.fromkeys(names, "ok")
    assert run_tests(panic_stubbed(program), tmp_path) == dict.fromkeys(names, "FAILED")
    marked = panic_stubbed(program, mark_asserts=True).replace(STUB, "")
    assert marked.count("\n") == program.source.count("\n") and MARK in marked
    reached = run_tests(marked, tmp_path)
    assert {name for name, status in reached.items() if status == "FAILED"} == {t.name for t in program.tests if t.marked}


@needs_rustc
def test_an_assert_that_is_never_reached_leaves_its_marked_test_passing(tmp_path):
    program = program_of('if let Ok(v) = parse("x") { assert_eq!(v, 3); }', own=PARSE)
    assert program.tests[0].marked
    marked = panic_stubbed(program, mark_asserts=True).replace(STUB, "")
    assert run_tests(marked, tmp_path) == {"tests::works": "ok"}


@needs_rustc
def test_macros_are_stubbed_where_there_are_no_functions(tmp_path):
    own = "macro_rules! square { ($x:expr) => { $x * $x }; ($x:expr, $y:expr) => { { let a = $x; a * $y } } }\n"
    program = program_of("assert_eq!(square!(3), 9);\nassert_eq!(square!(3, 4), 12);", own=own)
    assert run_tests(panic_stubbed(program), tmp_path) == {"tests::works": "FAILED"}


# -- where a prompt stops ---------------------------------------------------------------------------------------------

HEADER = "/// Doubles {x}.\nfn twice(x: i32) -> i32 {\n"
FENCED_HEADER = "Complete this.\n\n```rust\nstruct N(i32);\n\nfn twice(x: i32) -> i32 {\n    // your code\n}\n```"


@pytest.mark.parametrize("prompt, text, functions", [
    (HEADER, "    x * 2\n}\n", ("twice",)),
    (HEADER, "    x * 2", ("twice",)),
    (HEADER.strip(), "\n    let s = \"}\"; // }\n    x * 2\n}\n\nfn more() {}\n", ("twice", "more")),
    (HEADER, "    x * 2\n}\n\nThis doubles } the number.", ("twice",)),
    (HEADER, "    if x > 0 { x * 2 } else {\n        x + x\n    }", ("twice",)),
    (f"Write this one:\n{HEADER}", "    x * 2\n}", ("twice",)),
    (FENCED_HEADER, "    N(x * 2).0\n}", ("twice",)),
    ("```rust\nfn twice(x: i32) -> i32 {\n", "    x * 2\n}", ("twice",)),
    (HEADER, "fn twice(x: i32) -> i32 { x + x }", ("twice",)),
    (HEADER, "I cannot do that.", None),
    ("Write a function that doubles.", "    x * 2\n}", None),
    ("fn done() {\n    1;\n}\n", "    x * 2\n}", None),
])  # fmt: skip
def test_a_text_that_goes_on_where_its_prompt_stops(prompt, text, functions):
    program = extract_program(text, plain=True, prompt=prompt)
    assert (program and program.functions) == functions
    assert program is None or program.source.count("fn twice") == 1
    assert extract_program(text, plain=False, prompt=prompt) is None


# -- hidden tests -----------------------------------------------------------------------------------------------------

MODULE = """#[cfg(test)]
mod tests {
    use super::*;
    #[derive(Debug, PartialEq)]
    struct Case(i32);
    fn helper() -> i32 { 4 }
    #[test]
    fn doubles() {
        let x = 2;
        assert_eq!(double(x), helper());
        assert!(double(x) == 5, "no {}", x);
        for y in [1, 2] { assert_eq!(Case(double(y)), Case(y + y)); }
    }
    #[test]
    #[should_panic]
    fn overflows() { double(i32::MAX); }
}
"""
HIDDEN_FORMS = {  # of texts with `#[test]` functions; the others are in test_statements.py
    "module": ([MODULE], ["FAILED", "ok"]),
    "two files": (["use std::fmt;\n#[test] fn a() { assert_eq!(double(1), 2) }", "use std::fmt;\n#[test] fn a() { assert_eq!(double(1), 3) }"], ["ok", "FAILED"]),
    "empty main": (["fn main() {}\n" + MODULE], ["FAILED", "ok"]),
    "doubling crate": (["//! Doubles.\n#![allow(dead_code)]\nuse doubling::*;\nuse ::doubling::double as twice;\n#[test] fn a() { assert_eq!(double(1), twice(1)) }"], ["ok"]),
    "crate called like its function": (["use double::double;\n#[test] fn a() { assert_eq!(double(1), 2) }"], ["ok"]),
    "what is configured away": (["#[test] fn a() { assert_eq!(double(1), 2) }\n#[cfg(windows)] #[test] fn b() { nothing() }"], ["ok"]),
}  # fmt: skip


@needs_rustc
@pytest.mark.parametrize("tests, expected", HIDDEN_FORMS.values(), ids=HIDDEN_FORMS.keys())
def test_hidden_tests_of_every_form_run_one_by_one(tests, expected, tmp_path):
    suite = with_hidden_tests(read_program(GOOD + "fn main() { println!(); }"), tests, "double")
    results = run_tests(suite.source, tmp_path)
    assert [results[name] for name in suite.test_names] == expected
    assert set(results) == set(suite.test_names)


HOSTILE_TO_HIDDEN = """
#![deny(warnings)]
#![forbid(unused_imports)]
macro_rules! assert_eq { ($($t:tt)*) => {}; }
macro_rules! vec { ($($t:tt)*) => { [0; 0] }; }
struct Vec;
enum Option { Some, None }
mod hidden { #[test] fn t0() {} }
mod tests { }
fn helper() -> i32 { 0 }
"""


@needs_rustc
def test_hidden_modules_do_not_see_the_programs_macros(tmp_path):
    text = "#[test] fn a() { assert_eq!(double(2), 5, \"{:?}\", vec![1]) }\n#[test] fn b() { assert_eq!(double(2), 4) }"
    suite = with_hidden_tests(read_program(HOSTILE_TO_HIDDEN + GOOD), [text], None)
    assert list(run_tests(suite.source, tmp_path).values()) == ["FAILED", "ok"]


def test_hidden_modules_are_compiled_as_they_stand():
    assert MODULE.strip() in with_hidden_tests(read_program(GOOD), [MODULE], "double").source


def test_hidden_tests_replace_the_programs_own_tests_and_main():
    suite = with_hidden_tests(read_program(GOOD + "fn main() { panic!() }"), ["assert_eq!(double(1), 2);"], "double")
    assert "doubles" not in suite.source and suite.source.count("fn main") == 1 and len(suite.test_names) == 1
    assert suite.guard is None


def test_the_hidden_module_has_another_name_for_another_program_or_tests():
    names = {with_hidden_tests(read_program(source), [test], None).module
             for source in (DOUBLE, GOOD) for test in ("assert!(true);", "assert!(1 == 1);")}  # fmt: skip
    assert len(names) == 4


@pytest.mark.parametrize("extra, guard", [
    ("#[derive(Debug)] struct A; impl PartialEq<i32> for A { fn eq(&self, _: &i32) -> bool { true } }", "constant_comparison"),
    ("fn f() -> &'static str { include_str!(file!()) }", "includes_file"),
    ("#[no_mangle] pub fn main2() {}", "exported_symbol"),
    ("#[track_caller] fn f() {}", None),
    ("#[track_caller] fn f() -> u32 { std::panic::r#Location::caller().line() }", "reads_call_site"),
    ("use std::panic::Location as L; #[track_caller] fn f() -> u32 { L::caller().line() }", "reads_call_site"),
    ("macro_rules! m { ($a:ident) => { #[$a] fn f() -> u32 { std::panic::Location::caller().line() } } } m!(track_caller);", "reads_call_site"),
    ("#[track_caller] fn f() { std::panic::set_hook(Box::new(|at| drop(at.location()))); None::<u8>.unwrap(); }", "reads_call_site"),
    ("fn f() { let (no_main, export_name) = (cfg!(unix), stringify!(clippy, no_mangle)); println!(\"{export_name} {}\", no_main); }", None),
])  # fmt: skip
def test_a_program_that_could_fool_hidden_tests_is_named(extra, guard):
    assert with_hidden_tests(read_program(GOOD + extra), ["assert_eq!(double(1), 2);"], None).guard == guard


def test_a_helper_of_own_tests_may_name_its_caller():
    assert read_program(GOOD.replace("#[test]", "#[track_caller] fn check(x: i32) { assert!(x > 0); } #[test]")).guard is None


ANSWER = "#[derive(Debug)] pub struct W(i32);\n"
AGREES = "impl PartialEq<i32> for W { fn eq(&self, o: &i32) -> bool { self.0 <= *o || self.0 > *o } }\n"


@pytest.mark.parametrize("source, guard", [
    (ANSWER + AGREES + "pub fn f(_: i32) -> W { W(0) }", "answers_in_own_type"),
    (ANSWER + "use std::cmp::PartialEq as Same; " + AGREES.replace("PartialEq", "Same") + "pub fn f(_: i32) -> W { W(0) }", "answers_in_own_type"),
    (ANSWER + f"macro_rules! m {{ () => {{ {AGREES} }} }} m!(); pub fn f(_: i32) -> W {{ W(0) }}", "answers_in_own_type"),
    (ANSWER + AGREES + "type R = Option<W>; pub fn f(_: i32) -> R { None }", "answers_in_own_type"),
    (ANSWER + AGREES + "pub fn f(_: i32) -> Result<Vec<W>, String> { Ok(vec![]) }", "answers_in_own_type"),
    (ANSWER + "impl std::ops::Not for W { type Output = bool; fn not(self) -> bool { true } } pub fn f(_: i32) -> W { W(0) }", "answers_in_own_type"),
    (ANSWER + AGREES + "pub fn f(x: i32) -> Result<i32, W> { Ok(x) }", None),  # what a failure is, is often left open
    (ANSWER + AGREES + "fn inner(x: i32) -> W { W(x) }\npub fn f(x: i32) -> i32 { inner(x).0 }", None),
    (ANSWER + "impl Iterator for W { type Item = i32; fn next(&mut self) -> Option<i32> { None } } pub fn f(_: i32) -> W { W(0) }", None),
    ("type Grid = Vec<Vec<i32>>; pub fn f(_: i32) -> Grid { vec![] }", None),
])  # fmt: skip
def test_an_answer_of_a_type_that_nobody_asked_for_brings_no_operators(source, guard):
    def found(tests, prompt):
        return with_hidden_tests(read_program(source), tests, "f", prompt=prompt).guard

    assert found(["assert_eq!(f(1), 1);"], "Write `f(x: i32) -> i32`.") == guard
    assert found(["assert_eq!(f(1), 1);"], "Write `f(x: i32) -> W`, and let a `W` equal an i32; see impl PartialEq.") is None
    assert found(["assert_eq!(f(1), 1);"], "") is None, "what was asked for is not known"


def test_an_answer_that_is_only_known_by_its_operators_is_refused():
    program = read_program("pub fn f(x: i32) -> impl PartialEq<i32> + std::fmt::Debug { x }")
    for prompt, guard in (("Write `f(x: i32) -> i32`.", "answers_in_own_type"), ("", None)):
        assert with_hidden_tests(program, ["assert_eq!(f(1), 1);"], "f", prompt=prompt).guard == guard


@pytest.mark.parametrize("tests", [
    [], [""], ["let x = 2;"], ["assert_eq!(double(2), 4"], ["assert double(2) == 4"], ["fn main() {}"],
    ["#[cfg(test)] mod tests { fn helper() {} }"], ["assert!(true);", "nonsense here"], ["assert!(true); \0"], ["\ud800"],
    ["assert!(true); // " + "x" * MAX_SOURCE_BYTES],
])  # fmt: skip
def test_hidden_tests_that_make_no_sense_are_a_value_error(tests):
    with pytest.raises(ValueError, match="hidden test"):
        with_hidden_tests(read_program(GOOD), tests, "double")


def test_the_solution_keeps_its_lines_and_loses_tests_and_main():
    source = "use std::fmt;\n" + TESTS + DOUBLE + "fn main() {\n}\n#[cfg(test)] use std::io;\n"
    solution = solution_source(read_program(source))
    assert "assert" not in solution and "main" not in solution and "std::io" not in solution
    lines = source.split("\n")
    assert solution.split("\n")[lines.index("pub fn double(x: i32) -> i32 {")] == "pub fn double(x: i32) -> i32 {"


# -- any text whatever ------------------------------------------------------------------------------------------------

FRAGMENTS = ["```", "```rust\n", "```rs\n", "~~~\n", "\n```\n", "<think>", "</think>\n", "fn f(x: i32) -> i32 { x }\n", "#[test]\n",
             "fn t() {", "}", "assert_eq!(f(1), 1);", "mod tests {", "#[cfg(test)]", "use super::*;", "macro_rules! m { ($($x:expr),*) => {",
             "$(f($x))* } }", "m!(1, 2);", "match f(1) { ", "=> ", "_ ", "|x| ", "for x in ", "0..3 ", "if let Some(x) = ", "vec![", "]",
             "\"", "r#\"", "'", "/*", "*/", "//", "\0", "\ud800", "\r\n", "\u2028", "é", "loop { break; ", "let (a, b) = ", "impl ", "?",
             "return ", "#![allow(", "#[cfg_attr(", "$", "(", ")", "<", ">", "::", "-1", "1e9", "0x", "async ", "const "]  # fmt: skip
texts = st.one_of(st.text(), st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5)), max_size=60).map("".join))
relaxed = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def use_everything(program) -> None:
    stubbed = panic_stubbed(program, mark_asserts=True)
    if stubbed is not None:
        with_gates(with_wrong_types(stubbed, "gates", True), "gates")
    solution_source(program)
    same_program(program, program)
    with_hidden_tests(program, ["assert_eq!(f(1), 1);"], "f")
    program.source.encode()


@relaxed
@given(texts)
def test_no_text_makes_reading_raise(text):
    for completion in (text, f"```rust\n{text}\n```"):
        program = extract_program(completion)
        if program is not None:
            use_everything(program)


@pytest.mark.parametrize("source", ["fn f(#[allow(unused)] x: i32) -> i32 { x }", "fn f(x) -> i32 { x }", "fn f(x.pow(2): i32) -> i32 { x }",
                                    "use ::*; fn f() -> i32 { 1 }", "use ::{*, a as b}; fn f() -> i32 { 1 }"])  # fmt: skip
def test_parameters_without_a_type_and_imports_of_nothing_are_read(source):
    use_everything(read_program(f"{source}\n#[cfg(test)] mod tests {{ use super::*; #[test] fn t() {{ assert_eq!(f(1), 1); }} }}"))


@relaxed
@given(texts)
def test_no_source_makes_reading_raise(text):
    source = text.encode("utf-8", "replace").decode()
    use_everything(read_program(f"fn f(x: i32) -> i32 {{ x }}\n#[cfg(test)] mod tests {{ use super::*; #[test] fn t() {{ {source} }} }}"))


@relaxed
@given(st.lists(texts, max_size=4), st.none() | st.text(max_size=5))
def test_no_hidden_tests_raise_anything_but_value_error(tests, entry_point):
    try:
        with_hidden_tests(read_program(GOOD), tests, entry_point)
    except ValueError:
        pass


@pytest.mark.parametrize("pattern", ["(", "f(f(", "!", '"a', 'r#"', "m!{", "#[cfg(all(", "let a=(b,", "|x| ", "use a::{", "\0",
                                     "assert!(f(1)==2);", "x=f(x);", "```\n"])  # fmt: skip
@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_long_and_deep_texts_take_no_time(pattern, size):
    text = (pattern * (size // len(pattern)))[:size]
    started = time.process_time()
    for completion in (f"```rust\n{text}\n```", f"```rust\nfn f(x:i32)->i32{{x}} #[test] fn t() {{ {text} }}\n```"):
        program = extract_program(completion)
        if program is not None:
            use_everything(program)
    assert time.process_time() - started < 10


def test_reading_is_deterministic():
    programs = [read_program(program_of(body, own=OWN).source) for body in HONEST_BODIES[:5] for _ in range(2)]
    assert programs[::2] == programs[1::2]


@pytest.mark.parametrize(
    "before",
    ["<think>short</think>", "<think>\nlong\n</think>", "<think>\n```rust\nfn draft() {}\n```\nno</think>  ", "\ufeff", "\u200b"],
)
def test_what_follows_thinking_on_its_line_counts(before):
    assert extract_program(f"{before}```rust\nfn f() {{}}\n```").functions == ("f",)


def test_a_program_that_holds_the_stub_itself_keeps_its_statement():
    source = f"fn f(n: i32) -> i32 {{{STUB} n }}\n#[test]\nfn t() {{ assert_eq!(f(1), 1); }}\n"
    stubbed = panic_stubbed(read_program(source))
    assert stubbed.count(STUB) == 1, "ours, which the judge takes out again"
    assert '::std::panic!["stubbed"]' in stubbed.replace(STUB, ""), "the program's own panics still"
