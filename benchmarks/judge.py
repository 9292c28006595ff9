"""The judge against plain cargo, on the same completions in one run.

    python benchmarks/judge.py [COMPLETIONS.jsonl] [--n 60] [--workers N]

The reference is what training scripts do: for each completion a fresh cargo project for `cargo build`, another for
`cargo clippy`, another for `cargo test`, one after the other, with the toolchain's cargo called directly. Ours is
`Judge.grade` on all completions at once, sandbox and stub check included, nothing remembered from before.

The last line is JSON, seconds per completion:
    n, agree (completions for which build, clippy and test are what cargo said), reference_cpu_s, judge_cpu_s, cpu_ratio,
    reference_wall_s, judge_wall_s, wall_ratio, workers

CPU seconds: of the reference, those of cargo and everything below it (RUSAGE_CHILDREN; cargo waits for its children). Of
the judge, its compilers and test processes as the sandbox accounts for each (its launcher is not our child while it
lives, and RUSAGE_CHILDREN would miss it), the launcher itself, and this process (reading completions, parsing, threads).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rust_code import Program, extract_program  # noqa: E402
from rust_tool import Job, Judge, Toolchain, Verdict, find_toolchain  # noqa: E402
from traces import iter_trace  # noqa: E402

MANIFEST = '[package]\nname = "program"\nversion = "0.1.0"\nedition = "2021"\n'
REFERENCE_TIMEOUT_S = 60.0
Outcome = tuple[bool, bool, bool]  # build, clippy, test

# ---------------------------------------------------------------------------------------------------------------------
# Completions when no file is given: the mixture that a 1.5B model writes
# ---------------------------------------------------------------------------------------------------------------------


def built_in_completions(n: int) -> list[str]:
    """`n` distinct completions: of every ten, three pass, four fail a test, two do not compile, one has no code."""
    return [_completion(number) for number in range(n)]


def _completion(number: int) -> str:
    """One of six functions, varied by `number`, right or wrong."""
    kind = number % 10
    if kind == 9:
        return f"To solve task {number}, iterate over the list and keep what is needed."
    body, good, call = FUNCTIONS[number // 10 % len(FUNCTIONS)]
    expected = good if kind < 3 else "Default::default()"
    source = body.replace("NAME", f"solve_{number}")
    if kind in (7, 8):
        source = source.replace(";", "", 1) if kind == 7 else source.replace("->", "-> &", 1)
    test = f"        assert_eq!(solve_{number}({call}), {expected});\n        assert_eq!(solve_{number}({call}), {expected});\n"
    module = f"\n#[cfg(test)]\nmod tests {{\n    use super::*;\n\n    #[test]\n    fn works() {{\n{test}    }}\n}}\n"
    return f"Here is the function:\n\n```rust\n{source}{module}```\n"


# source, expected value, arguments
FUNCTIONS = (
    ("fn NAME(v: &[i32]) -> i32 {\n    let even = v.iter().filter(|x| *x % 2 == 0);\n    even.sum()\n}\n", "6", "&[1, 2, 3, 4]"),
    (
        "fn NAME(s: &str) -> String {\n    let back: String = s.chars().rev().collect();\n    back\n}\n",
        '"cba".to_string()',
        '"abc"',
    ),
    (
        "use std::collections::HashMap;\n\nfn NAME(s: &str) -> usize {\n    let mut seen: HashMap<char, usize> = HashMap::new();\n"
        "    for c in s.chars() {\n        *seen.entry(c).or_insert(0) += 1;\n    }\n    seen.values().copied().max().unwrap_or(0)\n}\n",
        "3",
        '"banana"',
    ),
    (
        "fn NAME(n: u64) -> Vec<u64> {\n    let mut out = vec![];\n    for d in 1..=n {\n        if n % d == 0 {\n"
        "            out.push(d);\n        }\n    }\n    out\n}\n",
        "vec![1, 2, 3, 4, 6, 12]",
        "12",
    ),
    (
        "fn NAME(v: Vec<i64>) -> Option<i64> {\n    let mut sorted = v;\n    sorted.sort();\n    sorted.dedup();\n"
        "    sorted.iter().rev().nth(1).copied()\n}\n",
        "Some(5)",
        "vec![7, 5, 7, 1]",
    ),
    (
        "fn NAME(text: &str) -> Vec<String> {\n    let words = text.split_whitespace();\n"
        "    words.map(|w| w.to_uppercase()).collect()\n}\n",
        'vec!["A".to_string(), "BC".to_string()]',
        '"a bc"',
    ),
)

# ---------------------------------------------------------------------------------------------------------------------
# The two flows
# ---------------------------------------------------------------------------------------------------------------------


def reference(programs: Sequence[Program | None], toolchain: Toolchain) -> list[Outcome]:
    return [(False,) * 3 if program is None else _cargo(program, toolchain) for program in programs]  # type: ignore[misc]


def _cargo(program: Program, toolchain: Toolchain) -> Outcome:
    build, clippy = (_cargo_passes(kind, program, toolchain) for kind in ("build", "clippy"))
    return build, clippy, _cargo_passes("test", program, toolchain)


def _cargo_passes(kind: str, program: Program, toolchain: Toolchain) -> bool:
    environment = os.environ | {"PATH": f"{toolchain.cargo.parent}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        (Path(folder) / "src").mkdir()
        (Path(folder) / "Cargo.toml").write_text(MANIFEST)
        (Path(folder) / "src" / "main.rs").write_text(program.source)
        argv = ["timeout", "-k", "1", str(REFERENCE_TIMEOUT_S), str(toolchain.cargo), kind, "--quiet", "--offline"]
        done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, stdin=subprocess.DEVNULL)
    some_test = kind != "test" or b"test result:" in done.stdout and b"ok. 0 passed; 0 failed; 0 ignored" not in done.stdout
    return done.returncode == 0 and some_test


def outcome(verdict: Verdict) -> Outcome:
    return verdict.build_passed, verdict.clippy_passed, verdict.test_passed


def children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def compare(completions: Sequence[str], workers: int | None) -> dict[str, float | int]:
    toolchain = find_toolchain()
    with Judge(workers=workers, cache_size=0) as judge:
        cpu_before, started = time.process_time() + judge.child_cpu_s, time.monotonic()
        programs = [extract_program(completion) for completion in completions]
        verdicts = judge.grade([Job(program) for program in programs])
        judge_wall_s = time.monotonic() - started
        judge_cpu_s = time.process_time() + judge.child_cpu_s - cpu_before
        n_workers = judge.workers
    cpu_before, started = children_cpu_s(), time.monotonic()
    expected = reference(programs, toolchain)
    reference_cpu_s, reference_wall_s = children_cpu_s() - cpu_before, time.monotonic() - started
    n = len(completions)
    for number, (ours, theirs) in enumerate(zip(map(outcome, verdicts), expected, strict=True)):
        if ours != theirs:
            print(f"completion {number}: cargo says build, clippy, test {theirs}, the judge {ours}")
    return {
        "n": n,
        "agree": sum(ours == theirs for ours, theirs in zip(map(outcome, verdicts), expected, strict=True)),
        "reference_cpu_s": round(reference_cpu_s / n, 4),
        "judge_cpu_s": round(judge_cpu_s / n, 4),
        "cpu_ratio": round(reference_cpu_s / judge_cpu_s, 2),
        "reference_wall_s": round(reference_wall_s / n, 4),
        "judge_wall_s": round(judge_wall_s / n, 4),
        "wall_ratio": round(reference_wall_s / judge_wall_s, 2),
        "workers": n_workers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="jsonl (or jsonl.gz) with a `completion` a line; default: a small built-in set")
    parser.add_argument("--n", type=int, default=60, help="completions, from the first")
    parser.add_argument("--workers", type=int, default=None, help="default: all cores")
    args = parser.parse_args()
    if args.n < 1:
        parser.error(f"--n {args.n}: expected at least 1")
    if args.file is not None and not args.file.is_file():
        parser.error(f"{args.file}: no such file")
    if args.file is None:
        completions = built_in_completions(args.n)
    else:
        completions = [record["completion"] for record in islice(iter_trace(args.file), args.n)]
    print(json.dumps(compare(completions, args.workers)))


if __name__ == "__main__":
    main()
