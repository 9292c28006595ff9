"""Where the judge's CPU goes: of a completion, and of one compilation of a test binary.

    python benchmarks/judge_parts.py [COMPLETIONS.jsonl] [--n 60] [--output results/judge-benchmark/NAME.json]

One JSON object of CPU milliseconds (of processes as the sandbox accounts for them; start-up aside, which is `start_up_ms`):
`completion`: compilations, runs of own tests, their runs on mutants (the panic stub, wrong values, other inputs), this process's
share, for each completion; where all have hidden tests (`hidden_tests`), their compilations and runs, too. A program without tests
is compiled together with the hidden ones, which is not among the latter. `binary`: for the mean of at most BINARIES test
binaries that the judge compiled, and `empty` for one whose only test is `assert_eq!(1 + 1, 2)`: what the compiler takes to
start, to read the program (`front_end`), clippy's lints, to generate code, and to link. Each is the difference of two whole
compilations, the least of ROUNDS. What `empty` takes is a floor: no program with a test is compiled for less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import doctor
from benchmarks.judge import SCRATCH, built_in_completions, children_cpu_s
from judge.program import extract_program
from judge.workshop import CARGO_ENVIRONMENT, DEV_PROFILE, SOURCE_NAME
from rust_tool import JUDGE_VERSION, Job, RustTool
from traces import iter_trace

BINARIES, ROUNDS = 12, 3
EMPTY = "#[cfg(test)]\nmod tests {\n    #[test]\n    fn t() {\n        assert_eq!(1 + 1, 2);\n    }\n}\n\nfn main() {}\n"


def cpu_ms(argv: list[str], source: str) -> float:
    """The least CPU of ROUNDS runs of the compiler."""
    found = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
            (Path(folder) / SOURCE_NAME).parent.mkdir()
            (Path(folder) / SOURCE_NAME).write_text(source)
            before = children_cpu_s()
            subprocess.run(argv, cwd=folder, env=os.environ | CARGO_ENVIRONMENT, capture_output=True, check=True)
            found.append(1000 * (children_cpu_s() - before))
    return min(found)


def parts(argv: list[str], rustc: str, source: str) -> dict[str, float]:
    """Milliseconds of each part of one compilation by clippy."""
    emitting = lambda what: [f"--emit={what}" if word.startswith("--emit=") else word for word in argv]
    start = cpu_ms([rustc, "-vV"], source)
    read = cpu_ms([rustc, *emitting("metadata")[1:]], source)
    linted, generated, whole = cpu_ms(emitting("metadata"), source), cpu_ms(emitting("obj"), source), cpu_ms(argv, source)
    return {"start": start, "front_end": read - start, "lints": linted - read, "code": generated - linted, "link": whole - generated,
            "whole": whole}  # fmt: skip


def measure(completions: list[str], hidden: list[list[str]] | None) -> dict:
    """The result of the module's docstring, less what it is of."""
    built_before = children_cpu_s()
    with RustTool(cache_size=0) as judge:
        start_up_s = judge.child_cpu_s + children_cpu_s() - built_before
        shop, binaries, spent = judge._workshop, [], []  # names and CPU seconds
        compile_one, run_one = shop._compile, shop.run_tests

        def compiling(folder, compiler, flags):
            done = compile_one(folder, compiler, flags)
            spent.append(("hidden compilations" if "--cap-lints=allow" in flags else "compilations", done.cpu_s))
            if done.passed and compiler == judge.toolchain.clippy_driver and "--test" in flags:
                argv = [str(compiler), SOURCE_NAME, f"--edition={shop.edition}", *DEV_PROFILE, *flags]
                binaries.append(((folder / SOURCE_NAME).read_text(), argv))
            return done

        def running(binary, mode="run", *arguments, **more):
            run = run_one(binary, mode, *arguments, **more)
            spent.append(({"run": "runs", "ignored_too": "hidden runs"}.get(mode, "mutants"), run.completed.cpu_s))
            return run

        shop._compile, shop.run_tests = compiling, running
        started = time.process_time()
        tests = [tuple(some) for some in hidden] if hidden else [None] * len(completions)
        judge.grade(Job(extract_program(text), asked) for text, asked in zip(completions, tests, strict=True))
        spent.append(("this process", time.process_time() - started))
        rustc, n = str(judge.toolchain.rustc), len(completions)
        found = [parts(argv, rustc, source) for source, argv in sorted(binaries)[:: -(-len(binaries) // BINARIES) or 1]]
        empty = parts(binaries[0][1], rustc, EMPTY) if binaries else {}
    rounded = lambda values: {name: round(value, 1) for name, value in values.items()}
    each = {name: 1000 * sum(cpu_s for one, cpu_s in spent if one == name) / n for name, _ in sorted(spent)}
    mean = {name: sum(part[name] for part in found) / len(found) for name in empty}
    return {"start_up_ms": round(1000 * start_up_s), "completion": rounded(each),
            "n_binaries": len(found), "binary": rounded(mean), "empty": rounded(empty)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="jsonl (or jsonl.gz) with a `completion` a line; default: a small built-in set")
    parser.add_argument("--n", type=int, default=60, help="completions, from the first")
    parser.add_argument("--output", type=Path, help="write the result there, too")
    args = parser.parse_args()
    records = built_in_completions(args.n) if args.file is None else list(islice(iter_trace(args.file), args.n))
    result = {"file": str(args.file or "built in"), "commit": doctor.git_commit(), "judge_version": JUDGE_VERSION, "n": len(records)}
    tests = [record.get("hidden_tests") for record in records]
    text = json.dumps(result | measure([record["completion"] for record in records], tests if all(tests) else None), indent=1)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
