"""Programs that want to waste the machine's time, through RustTool as in training: each ends, and its neighbour is graded right.

The bounds are the compilers' and programs' CPU time: a busy machine is slower, and changes nothing.
"""

import pytest

from rewards import RewardSet
from rust_tool import RustTool

BUILD_TIMEOUT_S, RUN_TIMEOUT_S = 2.0, 1.0  # of CPU for one compilation, for all tests of a program
BOUND_S = 4 * BUILD_TIMEOUT_S  # of CPU for both programs, however long the one would take


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
    """-> (the bomb's record, its neighbour's, seconds of CPU)."""
    with RustTool(workers=2, run_timeout_s=RUN_TIMEOUT_S, build_timeout_s=BUILD_TIMEOUT_S) as judge:
        before = judge.child_cpu_s
        bombed, good = RewardSet(judge).grade([{"prompt": "p"}] * 2, [bomb, completion()])
        return bombed, good, judge.child_cpu_s - before


@pytest.mark.parametrize(
    ("bomb", "kind"),
    [
        pytest.param(SLEEP, "timeout", id="sleep"),
        pytest.param(FLOOD, "timeout", id="flood"),
        pytest.param(FLOOD_PAST_THE_HARNESS, "timeout", id="flood past the harness"),
        pytest.param(FLOOD_IN_BYTES, "timeout", id="flood in bytes"),
        pytest.param(FLOOD_OF_WARNINGS, None, id="flood of warnings"),
        pytest.param(CONST_LOOP, "timeout", id="const loop"),
    ],
)
def test_a_bomb_ends_and_its_neighbour_is_graded_right(bomb, kind):
    bombed, good, seconds = graded_beside_a_good_one(bomb)
    assert bombed["error_kind"] == kind and bombed["test_passed"] is (kind is None)
    assert good["error_kind"] is None and good["test_passed"] and good["honest_tests"]
    assert 0 < seconds < BOUND_S
