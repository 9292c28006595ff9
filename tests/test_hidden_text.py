"""The text that hidden tests are compiled in, read without compiling it."""

import pytest

from judge.program import read_program, with_hidden_tests

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


def test_the_module_s_name_depends_on_program_and_tests():
    names = {suite("assert!(true);", source=ADD).module, suite("assert!(true);", source=ADD + "\n").module, suite("assert!(1 == 1);", source=ADD).module}
    assert len(names) == 3 and suite("assert!(true);").module in names


def test_a_program_too_long_or_too_deep_to_read_gets_nothing_for_hidden_tests():
    deep = ADD + "fn deep() -> i32 {\n    " + "(" * 2000 + "1" + ")" * 2000 + "\n}\n"
    long = ADD + "// " + "x" * 2_000_000 + "\n"
    assert [suite("assert_eq!(add(1, 2), 3);", source=source).guard for source in (ADD, deep, long)] == [None, "too_long_to_read", "too_long_to_read"]


def test_a_macro_of_its_own_is_no_reason_to_refuse_hidden_tests():
    """They are compiled with the judge's."""
    own = ADD + "macro_rules! assert_eq {\n    ($($any:tt)*) => {};\n}\n"
    assert suite("assert!(add(1, 2) == 3);", source=own).guard is None
