"""Programs that want to waste the machine's time, through the Judge as in training: each ends, and its neighbour is graded right.

The bounds are generous wall time, for two cores that do other work too. To be tightened with the limits of rust_tool.py and judge/sandbox.py.
"""

import time

import pytest

from rewards import RewardSet
from rust_tool import Judge

RUN_BOUND_S = 60.0  # a program that runs too long: seconds until its verdict
COMPILE_BOUND_S = 120.0  # one that compiles too long


def completion(body: str = "", item: str = "") -> str:
    return (
        f"```rust\n{item}\nfn double(x: i32) -> i32 {{ x * 2 }}\n\n#[cfg(test)]\nmod tests {{\n    use super::*;\n\n"
        f"    #[test]\n    fn works() {{\n        {body}\n        assert_eq!(double(2), 4);\n        assert_eq!(double(-3), -6);\n    }}\n}}\n```"
    )


SLEEP = completion("std::thread::sleep(std::time::Duration::from_secs(600));")
FLOOD = completion('loop { println!("{}", "x".repeat(4000)); }')
FLOOD_PAST_THE_HARNESS = completion(
    "use std::io::Write; let bytes = vec![b'x'; 1 << 16]; loop { let _ = std::io::stdout().write_all(&bytes); }"
)
FLOOD_IN_BYTES = completion('use std::io::Write; loop { let _ = std::io::stderr().write(b"x"); }')
CONST_LOOP = completion(
    "assert!(SPUN > 0);",
    "const fn spin(mut n: u64) -> u64 {\n    let mut i = 0u64;\n    while i < 400_000_000_000 {\n        i += 1;\n        n ^= i;\n    }\n    n\n}\n"
    "#[allow(long_running_const_eval)]\nconst SPUN: u64 = spin(1);",
)
FLOOD_OF_WARNINGS = completion(
    item="macro_rules! m {\n    ($($n:ident)*) => { $(pub fn $n() { let a = 1; let b = 2; })* };\n}\n"
    f"m!({' '.join(f'f{number}' for number in range(2000))});"
)


def graded_beside_a_good_one(bomb: str) -> tuple[dict, dict, float]:
    """-> (the bomb's record, its neighbour's, seconds)."""
    with Judge(workers=2) as judge:
        rewards, started = RewardSet(judge), time.monotonic()
        bombed, good = rewards.grade([{"prompt": "p"}] * 2, [bomb, completion()])
        return bombed, good, time.monotonic() - started


@pytest.mark.parametrize(
    ("bomb", "bound_s", "kind"),
    [
        pytest.param(SLEEP, RUN_BOUND_S, "timeout", id="sleep"),
        pytest.param(FLOOD, RUN_BOUND_S, "timeout", id="flood"),
        pytest.param(FLOOD_PAST_THE_HARNESS, RUN_BOUND_S, "timeout", id="flood past the harness"),
        pytest.param(FLOOD_IN_BYTES, RUN_BOUND_S, "timeout", id="flood in bytes"),
        pytest.param(FLOOD_OF_WARNINGS, RUN_BOUND_S, None, id="flood of warnings"),
        pytest.param(CONST_LOOP, COMPILE_BOUND_S, "timeout", id="const loop"),
    ],
)
def test_a_bomb_ends_and_its_neighbour_is_graded_right(bomb, bound_s, kind):
    bombed, good, seconds = graded_beside_a_good_one(bomb)
    assert bombed["error_kind"] == kind and bombed["test_passed"] is (kind is None)
    assert good["error_kind"] is None and good["test_passed"] and good["honest_tests"]
    assert seconds < bound_s
