"""The judge against plain cargo, on the same completions in one run.

    python benchmarks/judge.py [COMPLETIONS.jsonl] [--n 60] [--workers N] [--output results/judge-benchmark/NAME.json]

Cargo, the judge's reference mode (judge/cargo.py) unsealed, with `build`, `clippy` and `test` of every completion:
    fresh           a new project for each completion, one after another, as most training scripts do it
    fresh, W        the same by W workers at once
    kept            one project a worker, whose source is replaced: cargo's incremental data stay
    tuned           kept, and set up with care: `check` instead of `build`, nothing more after a failure, no debug info,
                    not incremental
    tuned, hidden   and one `cargo test` more with the task's hidden tests
Ours, W workers, sandbox included, nothing remembered from before, the judge's start-up inside the clock (and named):
    judge           everything: own tests and what they notice (the panic stub, wrong values)
    judge, plain    the verdicts of cargo only, as the rows above
    judge, hidden   `judge` with the task's hidden tests
A test may take 5 s everywhere. Rows with hidden tests come only where all completions have some (`hidden_tests` or `tests`).

The result is one JSON object: what was measured (file, commit, judge_version, tier, cores, load_average at the start, start_up_s)
and `rows`, each with name, workers, and cpu_s and wall_s for a completion, `agree` (completions with the verdicts of `fresh`).

CPU seconds: of cargo and everything below it, as the sandbox accounts for them. Of the judge the same of its compilers and test
processes, and what start-up compiles and this process takes (reading completions, parsing, threads).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import doctor
from judge.cargo import AS_IT_STANDS, CargoFlow
from judge.program import extract_program
from judge.running import Worth
from rust_tool import JUDGE_VERSION, Job, RustTool
from traces import iter_trace

RUN_TIMEOUT_S = 5.0  # of a test binary; the judge's own limit is so many CPU seconds
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
Outcome = tuple[bool, ...]  # build, clippy, test

# ---------------------------------------------------------------------------------------------------------------------
# Completions when no file is given: the mixture that a 1.5B model writes
# ---------------------------------------------------------------------------------------------------------------------


def built_in_completions(n: int) -> list[dict]:
    """`n` distinct completions with hidden tests: of every ten, three pass, four fail a test, two do not compile, one has no code."""
    return [{"completion": _completion(number), "hidden_tests": _hidden_tests(number)} for number in range(n)]


def _hidden_tests(number: int) -> list[str]:
    _, good, call = FUNCTIONS[number // 10 % len(FUNCTIONS)]
    return [f"assert_eq!(solve_{number}({call}), {good});", f"assert!(solve_{number}({call}) == {good});"]


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
# Both ways
# ---------------------------------------------------------------------------------------------------------------------


class PlainJudge(RustTool):
    """The judge without what it does beyond cargo's verdicts: no marks or gates in the program, no second run."""

    def __init__(self, **options):
        super().__init__(**options)
        self._workshop.instrumented = lambda *args, **kwargs: None
        self._stages[1].__self__._worth = lambda work, program, outcome: Worth(None)


def by_judge(completions: Sequence[str], hidden: Sequence[Sequence[str]], kind: Callable[..., RustTool],
             workers: int | None) -> tuple[list[Outcome], dict]:  # fmt: skip
    """Outcomes, and what the judge said of itself: seconds, workers, tier."""
    cpu_before, children_before, started = time.process_time(), children_cpu_s(), time.monotonic()
    with kind(workers=workers, cache_size=0, run_timeout_s=RUN_TIMEOUT_S) as judge:
        start_up_s, built_cpu_s = time.monotonic() - started, children_cpu_s() - children_before
        before_s = judge.child_cpu_s
        programs = [extract_program(completion) for completion in completions]
        verdicts = judge.grade([Job(program, tuple(tests) or None) for program, tests in zip(programs, hidden, strict=True)])
        wall_s = time.monotonic() - started
        cpu_s = time.process_time() - cpu_before + built_cpu_s + judge.child_cpu_s
        facts = {"wall_s": wall_s, "cpu_s": cpu_s, "start_up_s": start_up_s, "workers": judge.workers,
                 "tier": judge.describe()["sandbox"]["tier"]}  # fmt: skip
        if judge.kind == "cargo":  # whose start-up, two known programs, no training script has
            facts |= {"wall_s": wall_s - start_up_s, "cpu_s": judge.child_cpu_s - before_s}
    return [(v.build_passed, v.clippy_passed, v.test_passed) for v in verdicts], facts


def children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def compare(records: Sequence[dict], workers: int | None) -> dict:
    """The result of the module's docstring, less the file's name."""
    completions = [record["completion"] for record in records]
    nothing: list[Sequence[str]] = [()] * len(records)
    tests = [record.get("hidden_tests") or record.get("tests") for record in records]
    hidden = tests if all(isinstance(some, list) and some for some in tests) else None
    found: list[tuple[str, int, float, float, list[Outcome]]] = []
    load = os.getloadavg()[0]
    ours = {"judge": (RustTool, nothing), "judge, plain": (PlainJudge, nothing)} | ({"judge, hidden": (RustTool, hidden)} if hidden else {})
    for name, (kind, asked) in ours.items():
        outcomes, facts = by_judge(completions, asked, kind, workers)
        found.append((name, facts["workers"], facts["cpu_s"], facts["wall_s"], outcomes))
    several, tuned = facts["workers"], CargoFlow(is_kept=True, is_tuned=True)
    flows = {
        "fresh": (nothing, 1, AS_IT_STANDS),
        f"fresh, {several}": (nothing, several, AS_IT_STANDS),
        "kept": (nothing, several, CargoFlow(is_kept=True)),
        "tuned": (nothing, several, tuned),
    } | ({"tuned, hidden": (hidden, several, tuned)} if hidden else {})
    for name, (asked, count, flow) in flows.items():
        outcomes, said = by_judge(completions, asked, partial(RustTool, judge="cargo", sandbox="plain", cargo_flow=flow), count)
        found.append((name, count, said["cpu_s"], said["wall_s"], outcomes))
    expected = next(outcomes for name, *_, outcomes in found if name == "fresh")
    n = len(records)
    rows = [
        {"name": name, "workers": count, "cpu_s": round(cpu_s / n, 4), "wall_s": round(wall_s / n, 4),
         "agree": sum(mine == theirs for mine, theirs in zip(outcomes, expected, strict=True))}
        for name, count, cpu_s, wall_s, outcomes in found
    ]  # fmt: skip
    return {"n": n, "judge_version": JUDGE_VERSION, "tier": facts["tier"], "cores": len(os.sched_getaffinity(0)),
            "load_average": round(load, 1), "start_up_s": round(facts["start_up_s"], 2), "rows": rows}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="jsonl (or jsonl.gz) with a `completion` a line; default: a small built-in set")
    parser.add_argument("--n", type=int, default=60, help="completions, from the first")
    parser.add_argument("--workers", type=int, default=None, help="default: all cores")
    parser.add_argument("--output", type=Path, help="write the result there, too")
    args = parser.parse_args()
    if args.n < 1:
        parser.error(f"--n {args.n}: expected at least 1")
    if args.file is not None and not args.file.is_file():
        parser.error(f"{args.file}: no such file")
    records = built_in_completions(args.n) if args.file is None else list(islice(iter_trace(args.file), args.n))
    result = {"file": str(args.file or "built in"), "commit": doctor.git_commit()} | compare(records, args.workers)
    text = json.dumps(result, indent=1)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
