"""kinds/last_edits.py and kinds/requests.py: edits reach the definition first and then every use, tests too; requests are true of the mutant."""

import pytest

pytest.importorskip("tree_sitter_rust")

from judge.syntax import parse_any_length
from kinds import changed_lines, last_edits
from kinds.requests import request_for
from task_proof.mutants import Mutant, mutants

SOURCE = """enum Size {
    Small,
    Large,
}

struct Offer {
    price: u32,
}

fn reduced(price: u32, off: u32) -> u32 {
    if price < 10 {
        return price;
    }
    price - off * 10
}

pub fn cheapest(prices: &[u32], off: u32) -> Option<u32> {
    let offer = Offer { price: *prices.iter().min()? };
    let size = if prices.len() > 3 { Size::Large } else { Size::Small };
    match size {
        Size::Small => Some(offer.price),
        Size::Large => Some(reduced(offer.price, off)),
    }
}
"""
TASK = {
    "task_id": "t/cheapest",
    "prompt": "The cheapest.",
    "entry_point": "cheapest",
    "tests": [
        "assert_eq!(cheapest(&[], 1), None);",
        "assert_eq!(cheapest(&[7, 5], 1), Some(5));",
        "{\\n    let many = [30, 20, 40, 50];\\n    assert_eq!(cheapest(&many, 1), Some(10));\\n}".replace("\\n", "\n"),
        "assert!(cheapest(&[9], 0).is_some());",
    ],
}


@pytest.fixture(scope="module")
def edits():
    return list(last_edits.edits(TASK, SOURCE))


def of(edits, what, part=""):
    """The first edit of that sort whose beginning holds a text."""
    return next(edit for edit in edits if edit.what == what and part in edit.begun)


# what, what its beginning holds, what its end holds besides, the last hidden test afterwards
EXPECTED = [
    ("function renamed", "fn find_cheapest(|fn cheapest_of(|fn compute_cheapest(|fn cheapest_for(", "", "cheapest"),
    ("parameters swapped", "cheapest(off: u32, prices: &[u32])", "cheapest(1, &[7, 5])", "cheapest(0, &[9])"),
    ("parameters swapped", "reduced(off: u32, price: u32)", "reduced(off, offer.price)", "cheapest(&[9], 0)"),
    ("parameters grouped", "cheapest((prices, off): (&[u32], u32))", "cheapest((&[7, 5], 1))", "cheapest((&[9], 0))"),
    ("parameter added", "cheapest(prices: &[u32], off: u32, extra: usize)", "cheapest(&[7, 5], 1, 3)", "cheapest(&[9], 0, 3)"),
    ("parameter made optional", "off: Option<u32>) -> Option", "let off = off.unwrap_or_default();", "cheapest(&[9], Some(0))"),
    ("parameter owned", "cheapest(prices: Vec<u32>, off", "cheapest(vec![7, 5], 1)", "cheapest(vec![9], 0)"),
    ("number widened", "-> Option<u64>", "price: u64,", "cheapest(&[9], 0)"),
    ("Option returned", "off: u32) -> Option<u32> {\n    if price", "return Some(price);", "cheapest(&[9], 0)"),
    ("Result returned", "-> Result<u32, String>", "Ok(price - off * 10)", "cheapest(&[9], 0)"),
    ("Option to Result", "-> Result<u32, &'static str>", 'min().ok_or("nothing found")?', "cheapest(&[9], 0).ok()"),
    ("field added", "pub extra: bool,", "Offer { extra: false, price:", "cheapest(&[9], 0)"),
    ("variant added", "Large,\n    Other", "Size::Small | Size::Other =>", "cheapest(&[9], 0)"),
    ("constant in another unit", "const AMOUNT: u32 = ", "AMOUNT / ", "cheapest(&[9], 0)"),
    ("helper extracted", "if applies(price) {", "fn applies(price: u32) -> bool {\n    price < 10\n}", "cheapest(&[9], 0)"),
]


@pytest.mark.parametrize(("what", "begun", "ended", "test"), EXPECTED)
def test_the_definition_is_changed_first_and_then_every_use(edits, what, begun, ended, test):
    edit = next(edit for edit in edits if edit.what == what and any(part in edit.begun for part in begun.split("|")))
    assert ended not in edit.begun or not ended
    assert ended in edit.ended and test in edit.tests[-1]
    assert not parse_any_length(edit.ended).has_error and edit.begun != edit.before


def test_every_edit_leaves_something_to_do_and_shows_no_hidden_test(edits):
    assert len({edit.what for edit in edits}) >= 17
    for edit in edits:
        assert changed_lines(edit.begun, edit.ended) and edit.entry_point in "".join(edit.tests)
        shows = "mod tests {" in edit.begun
        assert len(edit.tests) == len(TASK["tests"]) - shows * last_edits.TESTS_SHOWN
        assert shows or edit.tests == TASK["tests"]
        shown = edit.ended.split("mod tests {")[-1] if shows else ""
        assert not any(test in shown for test in edit.tests)


def test_names_of_the_tests_change_with_the_function(edits):
    edit = next(edit for edit in edits if edit.what == "function renamed" and edit.entry_point != "cheapest")
    assert all(f"{edit.entry_point}(" in test for test in edit.tests) and f"pub fn {edit.entry_point}(" in edit.ended
    assert "cheapest(" not in edit.ended.replace(edit.entry_point, "")


def test_a_wrapped_value_is_expected_where_its_type_is_plain():
    source = "pub fn twice(n: u32) -> u32 {\n    if n == 0 {\n        return 0;\n    }\n    n * 2\n}\n"
    task = TASK | {"entry_point": "twice", "tests": ["assert_eq!(twice(2), 4);", "assert!(twice(3) > 5);", "assert_eq!(twice(1), 2);"]}
    edit = of(last_edits.edits(task, source), "Option returned")
    assert "assert_eq!(twice(2), Some(4));\n        assert!(twice(3).unwrap() > 5);" in edit.ended and edit.tests == ["assert_eq!(twice(1), Some(2));"]
    assert "return Some(0);" in edit.ended and "Some(n * 2)" in edit.ended and "Some(" not in edit.begun


def test_the_new_variant_is_asked_for_by_tests_of_its_own():
    source = (
        "pub enum Day {\n    Work,\n    Rest,\n}\n\npub fn hours(day: Day) -> u32 {\n"
        "    match day {\n        Day::Work => 8,\n        Day::Rest => 0,\n    }\n}\n"
    )
    task = TASK | {"entry_point": "hours", "tests": ["assert_eq!(hours(Day::Work), 8);", "assert_eq!(hours(Day::Rest), 0);"]}
    edit = of(last_edits.edits(task, source), "variant added")
    assert edit.note == "`Day::Other` counts as `Day::Work` does, everywhere."
    assert edit.tests == [*task["tests"], "assert_eq!(hours(Day::Other), 8);"] and "Day::Work | Day::Other => 8" in edit.ended


# ---------------------------------------------------------------------------------------------------------------------
# Requests
# ---------------------------------------------------------------------------------------------------------------------

REFERENCE = """pub fn late(days: &[u32], limit: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for &day in days {
        if day >= limit && day < 31 {
            found.push(day + 1);
        }
    }
    match found.len() {
        0 => vec![limit],
        _ => found,
    }
}
"""


def asked_for(old, new, kind):
    """The request for the reference, of a mutant that has `new` where it has `old`."""
    start = REFERENCE.index(old)
    mutant = REFERENCE.replace(old, new, 1)
    return request_for(kind, mutant, REFERENCE, start, start + len(old), new)


@pytest.mark.parametrize(
    ("old", "new", "kind", "said"),
    [
        (">=", ">", "boundary", "in the line `if day > limit && day < 31 {`: `day > limit` should hold when `day` is at least `limit`."),
        ("&&", "||", "logic", "both sides of `day >= limit || day < 31` have to hold"),
        ("+", "-", "arithmetic", "in the line `found.push(day - 1);`: `day - 1` should be the sum of both sides."),
        ("31", "32", "integer", "where it has `32`, it should have `31`."),
        ("found.push(day + 1);", "", "statement", "after the line `if day >= limit && day < 31 {`: a step is missing, `found.push(day + 1);`."),
        ("0 => vec![limit],", "", "arm", "in the line `match found.len() {`: a case is missing before it or after it: `0` should give `vec![limit]`."),
        ("day >= limit && day < 31", "!(day >= limit && day < 31)", "branch", "instead of `!(day >= limit && day < 31)` the opposite should be asked."),
    ],
)  # fmt: skip
def test_a_request_says_what_the_reference_does_and_the_mutant_does_not(old, new, kind, said):
    assert asked_for(old, new, kind).startswith("In `late`, ") and said in asked_for(old, new, kind)


def test_what_is_not_one_place_is_not_asked_for():
    two = REFERENCE.replace("        _ => found,", "        1 => vec![limit],\n        _ => found,")
    start = two.index("1 => vec!")
    assert request_for("integer", two.replace("1 => vec!", "0 => vec!"), two, start, start + 1, "0") is None  # a line that is there twice
    two = REFERENCE.replace(">= limit", ">= 30")
    start = two.index("31")
    assert request_for("integer", two.replace("31", "30"), two, start, start + 2, "30") is None  # a number that is twice in its line
    assert asked_for(REFERENCE[REFERENCE.index("{") :].rstrip(), "{ vec![] }", "body") is None


def test_every_request_quotes_what_the_mutant_has():
    found: list[tuple[Mutant, str]] = []
    for mutant in mutants(REFERENCE, 40):
        said = request_for(mutant.kind, mutant.source, REFERENCE, *mutant.place)
        found += [(mutant, said)] if said else []
    assert len({mutant.kind for mutant, _ in found}) >= 8
    for mutant, said in found:
        line = said.split("the line `")[1].split("`: ")[0]
        assert [one.strip() for one in mutant.source.split("\n")].count(line) == 1
