"""The text that hidden tests are compiled in, read without compiling it."""

import re

import pytest

from judge import program
from judge.program import MAX_HIDDEN_TESTS, MAX_SOURCE_BYTES, check_hidden_tests, read_program, std_imports, with_hidden_tests
from judge.statements import macros
from judge.syntax import Index, parse_rust

ADD = "fn add(a: i32, b: i32) -> i32 {\n    a + b\n}\n"


def suite(*tests, source=ADD, entry_point=None, crate="judge"):
    return with_hidden_tests(read_program(source), tests, entry_point, crate)


@pytest.mark.parametrize(("test", "entry_point", "is_named"), [
    ("assert_eq!(candidate(1, 2), 3);", "add", True), ("assert_eq!(add(1, 2), 3);", "add", False),
    ("assert_eq!(candidate(1, 2), 3);", None, False), ("assert_eq!(candidate(1, 2), 3);", "not a name", False),
])  # fmt: skip
def test_the_entry_point_is_the_candidate_where_a_test_calls_one(test, entry_point, is_named):
    assert (f"use {entry_point} as candidate;" in suite(test, entry_point=entry_point).source) == is_named


def test_macros_of_statements_call_the_crate_of_this_judge():
    statements, functions = "assert_eq!(add(1, 2), 3);", "#[test]\nfn adds() {\n    assert_eq!(add(1, 2), 3);\n}"
    assert "::judge_7f::" in suite(statements, crate="judge_7f").source
    assert "macro_rules!" not in suite(functions).source
    assert "::judge::" in with_hidden_tests(read_program(ADD), [statements], None).source


def test_the_module_s_name_depends_on_program_and_tests():
    names = {suite("assert!(true);", source=ADD).module, suite("assert!(true);", source=ADD + "\n").module, suite("assert!(1 == 1);", source=ADD).module}
    assert len(names) == 3 and suite("assert!(true);").module in names


def test_a_program_too_long_or_too_deep_to_read_gets_nothing_for_hidden_tests():
    deep = ADD + "fn deep() -> i32 {\n    " + "(" * 2000 + "1" + ")" * 2000 + "\n}\n"
    long = ADD + "// " + "x" * 2_000_000 + "\n"
    assert [suite("assert_eq!(add(1, 2), 3);", source=source).guard for source in (ADD, deep, long)] == [None, "too_long_to_read", "too_long_to_read"]


def test_a_macro_of_its_own_is_no_reason_to_refuse_hidden_tests():
    """They are compiled with the judge's, and without clippy."""
    own = ADD + "#[cfg(clippy)]\nfn linted() {}\nmacro_rules! assert_eq {\n    ($($any:tt)*) => {};\n}\n"
    assert suite("assert!(add(1, 2) == 3);", source=own).guard is None


def module_of(*parts, crates=()):
    """What a suite puts behind the program, from the parts of its module."""
    head = f"#[cfg(test)]\n#[allow(warnings)]\nmod hidden {{\n    use super::*;\n    {std_imports('', Index(parse_rust('')))}"
    return "\n".join([head, *parts, "}", *(f"#[allow(warnings)]\nextern crate self as {name};" for name in crates)])


def text_of(suite):
    return suite.source.replace(suite.module, "hidden")


def test_functions_stand_as_they_are_each_text_in_a_module():
    first, second = "use sums::add;\n#[test]\nfn adds() {}\nmod deep {\n#[test]\nfn more() {}\n}", "#[cfg(test)]\nmod tests {\n    #[test]\n    fn none() {}\n}"
    made = suite(f"  {first}\n\n", second.replace("\n", "\r\n"))
    inside = [f"mod text{n} {{\n{text}\nuse super::*;\n}}" for n, text in enumerate((first, second))]
    assert text_of(made) == ADD + "\n" + module_of(*inside, crates=["sums"]) + "\nfn main() {}\n"
    assert made.functions == made.test_names == tuple(f"{made.module}::{name}" for name in ("text0::adds", "text0::deep::more", "text1::tests::none"))


def test_mains_and_statements_get_a_function_that_runs_them():
    main, closing = "fn main() -> Result<(), String> {\n    assert_eq!(add(1, 2), 3);\n    Ok(())\n}", "}\nfn main() {\n    assert!(candidate(0, 0) == 0);\n}"
    made = suite(main, "assert_eq!(candidate(2, 2), 4);", closing, entry_point="add", crate="judge_7f")
    run = "#[test]\nfn all_statements()"
    inside = ["    use add as candidate;", macros("judge_7f"), f"mod text0 {{\n{main}\n{run} -> Result<(), String> {{ main() }}\nuse super::*;\n}}",
              f"mod text2 {{\n{closing[2:]}\n{run} {{ main() }}\nuse super::*;\n}}",
              f"mod statements {{\n{run} {{ \nif let ::judge_7f::Some(_statement) = ::judge_7f::begin(1, 0) {{ \nassert_eq!(candidate(2, 2), 4);\n;}}\n}}\nuse super::*;\n}}"]  # fmt: skip
    assert text_of(made) == ADD + "\n" + module_of(*inside) + "\nfn main() {}\n"
    assert made.functions == () and made.test_names == ("text0:2:5", "text2:2:5", "text1:1:1")
    assert [runner for runner, _tests in made.asserts] == [f"{made.module}::{name}::all_statements" for name in ("text0", "text2", "statements")]


def test_a_path_is_no_name_and_becomes_the_candidate_in_each_body():
    statements = ["assert!(true);", "let two = 2; assert!(candidate(1) == two);", "assert!(candidate(2) == 3);"]
    made = suite("fn main() { assert!(candidate(0) == 1); }", *statements, entry_point="Sums::next")
    assert "fn main() {let candidate = Sums::next; assert!(candidate(0) == 1); }" in made.source
    assert "fn all_statements() { let candidate = Sums::next;\n" in made.source and made.source.count("let candidate") == 2
    assert "as candidate" not in made.source


def test_another_let_is_no_candidate_of_the_tests_own():
    assert "let candidate = Sums::next;" in suite("let two = 2; assert!(candidate(1) == two);", entry_point="Sums::next").source


def test_without_a_crate_that_records_the_functions_that_run_statements_are_the_tests():
    """As plain cargo runs them."""
    made = suite("#[test]\nfn adds() {}", "fn main() {\n    assert!(true);\n}", "assert!(true);", crate=None)
    assert made.functions == made.test_names == tuple(f"{made.module}::{name}" for name in ("text0::adds", "text1::all_statements", "statements::all_statements"))
    assert made.asserts == () and "judge" not in made.source


def test_what_stands_in_a_block_of_a_main_is_guarded_by_the_crate_of_this_judge():
    made = suite("fn main() {\n    for x in 0..2 {\n        assert!(x < 2);\n    }\n}", "assert!(true);", crate="judge_7f")
    assert [made.source.count(f"::judge_7f::begin({n}, 0)") for n in (1, 2, 3)] == [1, 1, 0] and "::judge::" not in made.source


@pytest.mark.parametrize("test", ["let candidate = |a, b| a + b; assert!(candidate(1, 2) == 3);", "assert!(add(1, 2) == 3);"])
@pytest.mark.parametrize("entry_point", ["add", "Sums::add"])
def test_nothing_becomes_the_candidate_where_a_test_has_its_own_or_asks_for_none(test, entry_point):
    source = suite(test, entry_point=entry_point).source
    assert "as candidate" not in source and "let candidate = Sums" not in source


@pytest.mark.parametrize("macro", ["", "macro_rules! vec {\n    () => {};\n}\n"], ids=["behind the program", "above it"])
def test_every_assert_stands_where_its_test_says(macro):
    """Also behind texts of several lines, and where the program holds the same text itself, before or after it."""
    twice, statements = "fn main() {\n    assert!(true);\n}", ["assert!(1 == 1);\nassert!(2 == 2);", "let a = 3;\nassert!(a == 3);", "assert!(a == 4);"]
    source = macro + ADD + "/*\nmod text0 {\n" + twice + "\n#[test]\nfn all_statements() { main() }\n*/\n"
    made = suite(twice, *statements, "fn main() {\n\n    assert!(5 == 5);\n}", source=source)
    lines = made.source.split("\n")
    found = {test.name: [lines[line - 1][column - 1 :] for line, column in test.sites] for _runner, tests in made.asserts for test in tests}
    assert found == {"text0:2:5": ["assert!(true);"], "text1:1:1": ["assert!(1 == 1);"], "text1:2:1": ["assert!(2 == 2);"],
                     "text2:2:1": ["assert!(a == 3);"], "text3:1:1": ["assert!(a == 4);"], "text4:3:5": ["assert!(5 == 5);"]}  # fmt: skip
    where = made.source.index(f"mod {made.module} {{")
    assert all(line > made.source.count("\n", 0, where) for _runner, tests in made.asserts for test in tests for line, _column in test.sites)


@pytest.mark.parametrize("above", ["//! Sums.\n#![allow(dead_code)]", "#![allow(a)]\n#![allow(b)]\n//! Sums.", "/*! Sums. */"])
@pytest.mark.parametrize(("macro", "comes_first"), [("vec", True), ("assert_eq", True), ("mine", False)])
def test_a_program_with_a_macro_of_a_known_name_comes_behind_the_tests(macro, comes_first, above):
    rest = f"macro_rules! {macro} {{\n    () => {{}};\n}}\n" + ADD
    text = text_of(suite("#[test]\nfn a() {}", source=f"{above}\n{rest}"))
    module = module_of("mod text0 {\n#[test]\nfn a() {}\nuse super::*;\n}")
    expected = [above, module, rest] if comes_first else [above, rest, module]
    assert re.sub("\n+", "\n", text) == "\n".join([*(part.rstrip() for part in expected), "fn main() {}\n"])
    if comes_first:
        assert text_of(suite("#[test]\nfn a() {}", source=rest)) == f"\n{module}\n{rest}\nfn main() {{}}\n"


@pytest.mark.parametrize(("imported", "program", "crates"), [
    ("sums::add", "", ["sums"]), ("::sums::add", "", ["sums"]), ("super::add", "", []), ("crate::add", "", []), ("std::fmt", "", []), ("core::fmt", "", []),
    ("sums::add", "mod sums {}\n", []), ("sums::add", "struct sums;\n", []), ("sums::add", "type sums = i32;\n", []), ("sums::add", "trait sums {}\n", []),
    ("sums::add", "use std::fmt as sums;\n", []), ("sums::add", "fn sums() {}\n", ["sums"]), ("sums::add", "use sums::deep::sums;\n", ["sums"]), ("b::one, a::two", "", ["a", "b"]),
])  # fmt: skip
@pytest.mark.parametrize("form", ["use {};\n#[test]\nfn a() {{}}", "use {};\nfn main() {{ assert!(true); }}", "use {};\nassert!(true);"])
def test_a_crate_that_only_the_tests_know_is_the_program(imported, program, crates, form):
    imported = "{" + imported + "}" if "," in imported else imported
    source = suite(form.format(imported), source=program + ADD).source
    assert [line.split()[-1].rstrip(";") for line in source.splitlines() if line.startswith("extern crate self")] == crates


@pytest.mark.parametrize(("tests", "said"), [
    ([], f"hidden tests: 0 given, expected 1 to {MAX_HIDDEN_TESTS}"),
    (["assert!(true);"] * (MAX_HIDDEN_TESTS + 1), f"hidden tests: {MAX_HIDDEN_TESTS + 1} given, expected 1 to {MAX_HIDDEN_TESTS}"),
    (["assert!(true);", "let x = 2;\0"], f"hidden test 1: over {MAX_SOURCE_BYTES} bytes or not text"),
    (["assert!(true); \ud800"], f"hidden test 0: over {MAX_SOURCE_BYTES} bytes or not text"),
    (["assert!(true); //" + "x" * MAX_SOURCE_BYTES], f"hidden test 0: over {MAX_SOURCE_BYTES} bytes or not text"),
    (["assert!(true);", "fn main() { " + "a(); " * 40 + "}"], "hidden test 1: no assert in it: " + repr(("fn main() { " + "a(); " * 40)[:80])),
    (["assert!(true);", "nonsense here " + "x" * 90], "hidden test 1: not Rust statements: " + repr(("nonsense here " + "x" * 90)[:80])),
    (["assert!(1 == 1;"], "hidden test 0: not Rust statements: 'assert!(1 == 1;'"),
    (["assert!(1 == 1);\n}\nfn b() {"], "hidden test 0: not Rust statements: " + repr("assert!(1 == 1);\n}\nfn b() {")),
    (["let x = 2;"], "hidden tests: no assert in them, in statements or a main, and no #[test] function"),
])  # fmt: skip
def test_what_cannot_be_understood_is_said(tests, said):
    for call in (lambda: suite(*tests), lambda: check_hidden_tests(tests, None)):
        with pytest.raises(ValueError) as refused:
            call()
        assert str(refused.value) == said


def test_what_can_be_understood_is_no_error(monkeypatch):
    monkeypatch.setattr(program, "MAX_HIDDEN_TESTS", 3)
    check_hidden_tests(["assert!(true);"] * 3, "add")
    check_hidden_tests(["let x = 2;", "assert!(x == 2);"], None)
