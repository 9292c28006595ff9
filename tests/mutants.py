"""Mutation testing of what decides figures and rewards: which changes of the code does no test notice?

    make mutants                                  # the pure modules, about half an hour of one core
    make mutants MUTANTS='eval.x_bootstrap*'      # some functions; names as mutmut gives them

Works on a copy of the tracked files in .mutants/ (mutmut changes what it tests), with the tests named below. Prints each mutant
that survived as a diff, and exits with status 0: `mutants.md` beside this file says which were read and why they may live.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / ".mutants"
MUTATED = {  # module -> test files that speak of it; each is run for the functions that it calls
    "rewards.py": ("test_rewards", "test_results"),
    "traces.py": ("test_traces",),
    "eval.py": ("test_eval",),
    "make_dataset.py": ("test_make_dataset",),
    "rust_code.py": ("test_rust_code",),
    "rust_tool.py": ("test_rust_tool",),
}
DEFAULT = (
    "rewards.*", "traces.*",
    "eval.x_pass*", "eval.xǁRowStats*", "eval.x_bootstrap*", "eval.x__interval*", "eval.x_estimates*", "eval.x__one_row*",
    "eval.x__honest*", "eval.x__given*", "eval.x__number*", "eval.x_summarise*", "eval.x_row_stats*",
    "make_dataset.x_split_sizes*", "make_dataset.x_make_splits*",
)  # fmt: skip


def configuration(modules: list[str], tops: list[str]) -> str:
    """setup.cfg for mutmut: what is changed, what else is needed, which tests."""
    tests = [f"tests/{name}.py" for module in modules for name in MUTATED[module]]
    lists = {
        "source_paths": modules,
        "also_copy": [name for name in tops if name not in modules],
        "pytest_add_cli_args_test_selection": tests,
        "pytest_add_cli_args": ["-m", "not slow and not gpu", "-p", "no:cacheprovider"],
    }
    return "[mutmut]\nuse_setproctitle = false\n" + "".join(f"{name} =\n" + "".join(f"    {value}\n" for value in values) for name, values in lists.items())


def main(names: list[str]) -> int:
    names = names or list(DEFAULT)
    modules = [module for module in MUTATED if any(name.startswith(module.removesuffix(".py") + ".") for name in names)]
    if not modules:
        sys.exit(f"{' '.join(names)}: expected names such as {DEFAULT[0]}, of {', '.join(MUTATED)}")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    shutil.rmtree(COPY, ignore_errors=True)
    for name in tracked:
        (COPY / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, COPY / name)
    tops = sorted({Path(name).parts[0] for name in tracked})
    (COPY / "setup.cfg").write_text(configuration(modules, tops), encoding="utf-8")
    mutmut = [sys.executable, "-m", "mutmut"]
    subprocess.run([*mutmut, "run", "--max-children", "1", *names], cwd=COPY, check=True)
    listed = subprocess.run([*mutmut, "results"], cwd=COPY, capture_output=True, text=True, check=True).stdout
    survivors = [line.split(":")[0].strip() for line in listed.splitlines() if line.endswith(": survived")]
    for name in survivors:
        shown = subprocess.run([*mutmut, "show", name], cwd=COPY, capture_output=True, text=True).stdout.splitlines()
        print(name, *(line for line in shown if line[:1] in "+-" and line[:3] not in ("+++", "---")), sep="\n")
    print(f"{len(survivors)} mutants survived")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
