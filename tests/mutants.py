"""Mutation testing of what decides rewards and figures: which changes of the code does no test notice?

    make mutants                                                # the modules below, hours of one core
    make mutants MUTANTS='eval.x_bootstrap* eval.x_pass_at_k*'  # some functions; names as mutmut gives them

Works on copies of the tracked files in .mutants/ (mutmut changes what it tests), one for each module. Prints every mutant that
survived as a diff. `mutants.md` beside this file says which were read and why they may live.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIES = ROOT / ".mutants"
STATISTICS = (
    "pass_at_k or interval or samples_of or paired or differs_from or order_of_completions or other_tasks or same_results or self_tests_are "
    "or in_no_rate or test_metrics or compiler_error or tables_show or fewer_samples or difference_is or every_file_is_what or changed_completion"
)
# Mutants run in forks of a process that has run the tests once: what a module remembers of that would hide them.
FORGETFUL = """

@pytest.fixture(autouse=True)
def nothing_remembered():
    for value in vars(sys.modules.get("{module}", sys)).values():
        getattr(value, "cache_clear", int)()
"""
# module -> what is changed in it by default, the test files that speak of it, which of their tests (pytest -k; all where empty)
MUTATED = {
    "rewards": (["*"], ["test_rewards", "test_own_rewards"], ""),
    "traces": (["*"], ["test_traces"], "not memory_of"),
    "evaluation.metrics": (
        ["xǁRowStats*", "x_bootstrap*", "x_interval*", "x_estimates*", "x__one_row*", "x__honest*", "x__given*", "x_summarise*"],
        ["test_eval", "test_results", "test_metrics"], STATISTICS,
    ),
    "make_dataset": (["x_split_sizes*", "x_make_splits*"], ["test_make_dataset"], "split"),
    "judge.program": (
        ["x_with_hidden_tests*", "x_check_hidden_tests*", "x__hidden_*", "x__read_*", "x__check_*", "x__placed*", "x__with_module*", "x__paths_of*", "x__candidate*"],
        ["test_program", "test_hidden_text"], "hidden and not of_every_form and not do_not_see and not raise_anything",
    ),
    "judge.worth": (["*"], ["test_worth"], ""),
    "judge.running": (["*"], ["test_verdicts"], ""),
    "judge.outcome": (["*"], ["test_verdicts"], ""),
    "judge.messages": (["x_read_message__*", "x__span*"], ["test_verdicts"], ""),
    "judge.workshop": (["x__read_outside*"], ["test_verdicts"], ""),
    "judge.harness_report": (["x_read_*", "x__read_*", "x_how_it_died*", "x__with_limit*"], ["test_verdicts"], ""),
}  # fmt: skip


def copy_of_the_project(folder: Path, module: str, tests: list[str], keywords: str) -> None:
    """The tracked files, and mutmut's setup.cfg: what is changed, what else is needed, which tests."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    shutil.rmtree(folder, ignore_errors=True)
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    with (folder / "tests" / "conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(FORGETFUL.format(module=module))
    source = f"{module.replace('.', '/')}.py"
    others = {name for name in tracked if Path(name).parts[0] == Path(source).parts[0] and name != source}
    settings = {
        "use_setproctitle": ["false"],  # its titles, cut in the middle of a letter, are no text
        "source_paths": [source],
        "also_copy": sorted(({Path(name).parts[0] for name in tracked} | others) - {Path(source).parts[0]}),
        "pytest_add_cli_args_test_selection": [f"tests/{name}.py" for name in tests],
        "pytest_add_cli_args": ["-m", "not slow and not gpu", "-p", "no:cacheprovider", *(["-k", keywords] if keywords else [])],
    }
    text = "".join(f"{name} =\n" + "".join(f"    {value}\n" for value in values) for name, values in settings.items())
    (folder / "setup.cfg").write_text("[mutmut]\n" + text, encoding="utf-8")


def mutate(module: str, names: list[str]) -> None:
    """Run mutmut on some functions of a module; print the mutants that survived, and how many there were of each kind."""
    folder, mutmut = COPIES / module, [sys.executable, "-m", "mutmut"]
    copy_of_the_project(folder, module, *MUTATED[module][1:])
    subprocess.run([*mutmut, "run", "--max-children", "1", *names], cwd=folder, check=True)
    listed = subprocess.run([*mutmut, "results", "--all", "true"], cwd=folder, capture_output=True, text=True, check=True).stdout
    states = [tuple(line.strip().split(": ")) for line in listed.splitlines() if ": " in line]
    for name in [name for name, state in states if state == "survived"]:
        shown = subprocess.run([*mutmut, "show", name], cwd=folder, capture_output=True, text=True).stdout.splitlines()
        print(name, *(line for line in shown if line[:1] in "+-" and line[:3] not in ("+++", "---")), sep="\n")
    counts = {state: sum(other == state for _, other in states) for state in sorted({state for _, state in states})}
    print(f"{module}: {counts}", flush=True)


def main(names: list[str]) -> None:
    unknown = [name for name in names if name.rpartition(".")[0] not in MUTATED]
    if unknown:
        sys.exit(f"{unknown[0]}: expected names that start with one of {', '.join(f'{module}.' for module in MUTATED)}")
    for module, (functions, _, _) in MUTATED.items():
        asked = [name for name in names if name.rpartition(".")[0] == module] if names else [f"{module}.{name}" for name in functions]
        if asked:
            mutate(module, asked)


if __name__ == "__main__":
    main(sys.argv[1:])
