"""One training step's worth of programs through the judge: 512 at once, the same with ten that loop, and throughput against workers.

    python benchmarks/judge_batch.py FILE.jsonl|FILE.jsonl.gz [--programs 512] [--looping 10] [--output results.json]

FILE has a column `completion`. When it holds fewer than `--programs` completions they are repeated, told apart by a comment, so
that nothing is graded from memory. Seconds are wall-clock, reading the completions included, a judge already warm.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from judge.program import extract_program
from rust_tool import Job, RustTool
from traces import iter_trace

LOOPING = """```rust
pub fn spin(n: u64) -> u64 {{
    let mut i = n;
    while i != u64::MAX - {number} {{
        i = std::hint::black_box(i ^ 1);
    }}
    i
}}

#[cfg(test)]
mod tests {{
    use super::*;
    #[test]
    fn spins() {{
        assert_eq!(spin(4), {number});
    }}
}}
```"""


def measured(completions: list[str], workers: int) -> dict:
    """One batch on a warm judge without memory -> programs, workers, wall_s, per_s, kinds (error_kind -> how many), tier."""
    with RustTool(workers=workers, cache_size=0) as judge:
        judge.grade(Job(extract_program(text)) for text in completions[:workers])
        started = time.monotonic()
        verdicts = judge.grade(Job(extract_program(text)) for text in completions)
        wall_s = time.monotonic() - started
        tier = judge.describe()["sandbox"]["tier"]
    kinds = Counter(str(verdict.error_kind) for verdict in verdicts)
    return {"programs": len(completions), "workers": workers, "wall_s": round(wall_s, 2), "per_s": round(len(completions) / wall_s, 1),
            "kinds": dict(kinds), "tier": tier}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--programs", type=int, default=512)
    parser.add_argument("--looping", type=int, default=10, help="programs of the third batch that never end")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if not arguments.file.is_file() or arguments.programs < 1:
        parser.error(f"{arguments.file}: no such file" if arguments.programs >= 1 else "--programs: expected at least 1")
    texts = [record["completion"] for record in iter_trace(arguments.file)]
    repeated = (texts * (arguments.programs // len(texts) + 1))[: arguments.programs]
    batch = [text.replace("```rust\n", f"```rust\n// copy {i // len(texts)}\n", 1) for i, text in enumerate(repeated)]
    mixed = list(batch)
    for number in range(min(arguments.looping, len(mixed))):
        mixed[number * len(mixed) // arguments.looping] = LOOPING.format(number=number)
    cores = len(os.sched_getaffinity(0))
    runs = {"batch": (batch, cores), "batch, again": (batch, cores), f"batch, {arguments.looping} that loop": (mixed, cores)}
    runs |= {f"a quarter, {n} workers": (batch[: len(batch) // 4], n) for n in (1, 2, 4, 8, 16, 32) if n <= cores}
    found = {}
    for name, (completions, workers) in runs.items():
        found[name] = measured(completions, workers)
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
