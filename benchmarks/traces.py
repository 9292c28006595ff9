"""Reading a reward trace: `load_trace` against a loop over json.loads, on the same file in one run.

    python benchmarks/traces.py [TRACE] [--lines 1000000]

Without TRACE, a trace of `--lines` synthetic completions of about 2 KB is written to a temporary folder first (2 GB a
million). Each reader runs in a process of its own, so that its peak memory is its own. The last line is JSON: {"lines",
"trace_mib", "load_trace_s", "json_loop_s", "speed_ratio", "load_trace_peak_mib", "json_loop_peak_mib", "memory_ratio"}.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PROGRAM = "pub fn total(values: &[i64]) -> i64 {\n    values.iter().filter(|value| **value > 0).sum()\n}\n"
KINDS = (None, "compile", "test_failed", None, "no_code", "panic", None, "timeout")


def synthetic_line(number: int) -> str:
    """A trace line of about 2 KB: a prompt, a completion with tests, a compiler message, seven rewards."""
    kind = KINDS[number % len(KINDS)]
    completion = "```rust\n" + PROGRAM * 4 + f"// attempt {number}\n" + "```"
    diagnostic = {"code": f"E0{300 + number % 9}", "level": "error", "message": "mismatched types: expected `i64`", "line": 3}
    paid = {name: float(kind is None) for name in ("cargo_build_reward", "cargo_clippy_reward", "cargo_test_reward", "mine")}
    return json.dumps({
        "schema_version": 1, "task_id": f"task/{number // 8 % 500}", "prompt": "Write a Rust function `total` that adds what is positive.",
        "step": number // 512 + 1, "attempt": 0, "rank": 0, "group_id": f"{number // 512 + 1}-{number // 8 % 64}",
        "completion": completion, "program": PROGRAM * 4, "build_passed": kind != "compile", "clippy_passed": kind is None,
        "clippy_warnings": 0, "test_passed": kind is None, "tests": {f"tests::case_{i}": "ok" for i in range(3)},
        "hidden_passed": number % 7, "hidden_total": 6, "error_kind": kind, "diagnostics": [diagnostic] if kind == "compile" else [],
        "honest_tests": True, "guard": None, "n_asserts": 4, "duration_s": 0.1, "rewards": paid, "reward": sum(paid.values()),
        "advantage": 0.5, "n_tokens": 210,
    }) + "\n"  # fmt: skip


def load_with_traces(path: Path) -> int:
    import traces

    return len(traces.load_trace(path))


def load_with_json(path: Path) -> int:
    """The plain way: every line parsed, the columns that plots use kept, a data frame made of them."""
    import pandas

    import traces

    rows = []
    with path.open(encoding="utf-8") as lines:
        for text in lines:
            graded = json.loads(text)
            row = {name: graded[name] for name in traces.SCALARS}
            row |= {f"reward/{name}": value for name, value in graded["rewards"].items()}
            row["error_code"] = next((d["code"] for d in graded["diagnostics"] if d["level"] == "error"), None)
            rows.append(row)
    return len(pandas.DataFrame(rows))


READERS = {"load_trace": load_with_traces, "json_loop": load_with_json}


def measured(reader: str, path: Path) -> dict:
    """Seconds, peak memory (MiB) and lines of one reader, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, str(path), "--reader", reader], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", nargs="?", type=Path)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader:
        started = time.perf_counter()
        lines = READERS[arguments.reader](arguments.trace)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"s": time.perf_counter() - started, "peak_mib": peak, "lines": lines}))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.trace
        if path is None:
            path = Path(folder) / "trace.jsonl"
            print(f"writing {arguments.lines} lines ...", file=sys.stderr)
            with path.open("w", encoding="utf-8") as file:
                file.writelines(map(synthetic_line, range(arguments.lines)))
        found = {name: measured(name, path) for name in READERS}
        ours, loop = found["load_trace"], found["json_loop"]
        if ours["lines"] != loop["lines"]:
            sys.exit(f"the readers disagree: {ours['lines']} and {loop['lines']} lines")
        print(json.dumps({
            "lines": ours["lines"], "trace_mib": round(path.stat().st_size / 2**20, 1),
            "load_trace_s": round(ours["s"], 2), "json_loop_s": round(loop["s"], 2), "speed_ratio": round(loop["s"] / ours["s"], 2),
            "load_trace_peak_mib": round(ours["peak_mib"]), "json_loop_peak_mib": round(loop["peak_mib"]),
            "memory_ratio": round(loop["peak_mib"] / ours["peak_mib"], 2),
        }))  # fmt: skip


if __name__ == "__main__":
    main()
