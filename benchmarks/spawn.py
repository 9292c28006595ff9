"""What it saves of grading's CPU that sandboxed processes are started by vfork (machine code of ours) and not by os.fork.

    python benchmarks/spawn.py FILE.jsonl|FILE.jsonl.gz [--programs 60] [--rounds 3] [--output results/judge-benchmark/spawn.json]

FILE has a column `completion`. Each round grades the same programs both ways, in turns. CPU seconds are those of all processes (launcher,
compilers, programs under test) and of this one; what a judge takes that grades nothing is left out. The last line is JSON: {"file",
"programs", "rounds", "tier", "fork_cpu_s", "vfork_cpu_s" (for one program, the mean of the rounds), "ratio", "commit"}.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import doctor
from judge import sandbox as sandboxes
from judge.program import Program, extract_program
from rust_tool import Job, RustTool
from traces import iter_trace

WAYS = {"vfork": ("namespaces", "chroot", "native"), "fork": ("namespaces", "chroot")}


def cpu_s(programs: Sequence[Program], extras: Sequence[str]) -> tuple[float, str]:
    """CPU seconds of a judge from its start to its end, and the sandbox's tier. Programs are graded once each."""

    class Box(sandboxes.Sandbox):
        def __init__(self, tier, toolchain=None, scratch_dir=None):
            super().__init__(tier, toolchain, scratch_dir, extras)

    real, sandboxes.Sandbox = sandboxes.Sandbox, Box
    before = os.times()
    try:
        with RustTool() as judge:
            judge.grade([Job(program) for program in programs])
            tier = judge.describe()["sandbox"]
    finally:
        sandboxes.Sandbox = real
    return sum(os.times()[:4]) - sum(before[:4]), tier


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("file", type=Path)
    parser.add_argument("--programs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    found = {program.source: program for row in iter_trace(arguments.file) if (program := extract_program(row["completion"])) is not None}
    programs = list(found.values())[: arguments.programs]
    spent = dict.fromkeys(WAYS, 0.0)
    for _ in range(arguments.rounds):
        for way, extras in WAYS.items():
            idle, _ = cpu_s([], extras)
            busy, tier = cpu_s(programs, extras)
            spent[way] += (busy - idle) / len(programs) / arguments.rounds
            print(f"{way:6} {(busy - idle) / len(programs):.4f} CPU s a program", file=sys.stderr, flush=True)
    result = {"file": str(arguments.file), "programs": len(programs), "rounds": arguments.rounds, "tier": tier,
              **{f"{way}_cpu_s": round(seconds, 4) for way, seconds in spent.items()},
              "ratio": round(spent["fork"] / spent["vfork"], 3), "commit": doctor.git_commit()}  # fmt: skip
    print(json.dumps(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
