"""Prove that the task bank is sound: references pass, tests notice what is wrong, nothing is in it twice or taken from elsewhere.

    python check_tasks.py --report report.json
    python check_tasks.py data/rust_tasks_test.jsonl --sample 20 --against mbpp.jsonl mbpp-rs.jsonl humaneval.jsonl
    python check_tasks.py FILE         # anybody's tasks, in any layout: which of them are broken

Tasks without our columns category and difficulty are only asked whether they can be trained on (`task_proof/faults.py`): whether
their tests can be read and do not contradict each other, and whether the reference solution passes them where the row holds one
(or `--solutions` does). Tests that do not compile, and crates that are not there, are named. For our own:

Per task, with the judge that pays rewards: the reference passes every hidden test without a word from clippy, functions that
panic pass none, a constant answer passes at most MAX_CONSTANT_SHARE of them, and at least MIN_KILLED small changes of the
reference (mutants) are noticed. Over the files: no id, function name, prompt or solution twice, and no prompt that shares its
wording with a prompt of `--against`. One line per problem; exit status 1 when there is one.

Not proved: that a prompt determines what its tests check (people read for that), and that a task resembles nothing published
elsewhere; wording is compared with the files named only. References that pass all tests of a row there are named, not refused: the tasks
are the same, or the row's tests are few. Surviving mutants are reported, not refused: some equal the reference.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import console
import kinds
from judge.errors import UserError, tell
from judge.program import check_hidden_tests, code_blocks, extract_program, panic_stubbed, read_program
from judge.sandbox import TIERS
from judge.syntax import TYPE_ITEMS, Node, parse_any_length, text_of, walk
from rust_tool import EDITIONS, Job, RustTool, Verdict
from task_proof.faults import contradiction, readable_fault, references, try_parsing, try_references, unnamed
from task_proof.kinds import prove_in_batches
from task_proof.likeness import OVERLAP_NGRAM, duplicate_problems, overlap_with, plain_code
from task_proof.mutants import KINDS, MAX_MUTANTS, constant_answers, functions_named, mutants
from task_proof.same_tasks import answers
from tasks import TaskError, load_tasks, normalized, read_rows

DATA = Path(__file__).with_name("data")
BANK = tuple(DATA / f"rust_tasks_{split}.jsonl" for split in ("train", "val", "test"))
SOLUTIONS = DATA / "rust_tasks_solutions.jsonl"
CATEGORIES = (
    "numbers", "strings", "unicode", "collections", "iterators", "ownership", "traits",
    "enums", "errors", "parsing", "recursion", "simulation", "bits", "structures",
)  # fmt: skip
DIFFICULTIES = ("easy", "medium", "hard")

MIN_TESTS = 6
MIN_KILLED = 2
MAX_CONSTANT_SHARE = 0.7  # of the hidden tests: more, and a constant would earn most of `hidden_tests_reward`
RUN_TIMEOUT_S = 1.0  # CPU seconds of one test: references take milliseconds, mutants often loop for ever
JOBS_PER_WORKER = 24  # graded at once

# ---------------------------------------------------------------------------------------------------------------------
# Syntax
# ---------------------------------------------------------------------------------------------------------------------


def shape_of(function: Node) -> str:
    """A function's generics, parameters and return type as text to be compared (see `plain_code`)."""
    fields = ("type_parameters", "parameters", "return_type")
    parts = [text_of(function.child_by_field_name(name)) for name in fields]
    clauses = [text_of(child) for child in function.named_children if child.type == "where_clause"]
    returns = f"->{parts[2]}" if parts[2] else ""
    return plain_code(parts[0] + parts[1] + returns + "".join(clauses))


# ---------------------------------------------------------------------------------------------------------------------
# The proof of one task
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Proof:
    """What the judge said about one task's reference, stubs and mutants."""

    task_id: str
    n_tests: int
    problems: list[str] = field(default_factory=list)
    constant_passed: int = 0  # hidden tests that the best constant answer of the entry point passes
    compiled: Counter[str] = field(default_factory=Counter)  # mutants by kind
    killed: Counter[str] = field(default_factory=Counter)
    survivors: list[str] = field(default_factory=list)

    def as_row(self) -> dict:
        """The proof as JSON: compiled and killed as totals."""
        return asdict(self) | {"compiled": self.compiled.total(), "killed": self.killed.total()}


def job_for(task: Mapping, source: str) -> Job:
    """What the judge is asked about a program for a task, as if a model had answered with it."""
    program = extract_program(f"```rust\n{source}\n```")
    return Job(program=program, hidden_tests=tuple(task["tests"]), entry_point=task["entry_point"], prompt=task["prompt"])


def prove(
    tasks: Sequence[Mapping],
    solutions: Mapping[str, str],
    judge: RustTool,
    *,
    max_mutants: int = MAX_MUTANTS,
) -> list[Proof]:
    """Grade references, then stubs and mutants of those that pass. One proof per task, in order.

    Args:
        tasks: Rows with at least task_id, prompt, tests and entry_point, whose tests the judge can read.
        solutions: task_id -> reference.
        judge: Anything with `grade(jobs) -> list[Verdict]` and `workers`.
        max_mutants: Mutants per task; as many again where fewer than MIN_KILLED are noticed.
    """
    proofs = {task["task_id"]: Proof(task["task_id"], len(task["tests"])) for task in tasks}
    answers = [(task, solutions[task["task_id"]]) for task in tasks]
    for (task, _), verdict in zip(answers, grade_sources(judge, answers, "references")):
        proofs[task["task_id"]].problems += reference_problems(verdict, len(task["tests"]))
    sound = [(task, source) for task, source in answers if not proofs[task["task_id"]].problems]
    _prove_stubs(sound, proofs, judge)
    _prove_mutants(sound, proofs, judge, range(0, max_mutants))
    weak = [(task, source) for task, source in sound if proofs[task["task_id"]].killed.total() < MIN_KILLED]
    _prove_mutants(weak, proofs, judge, range(max_mutants, 2 * max_mutants))
    for task, _ in weak:
        proof = proofs[task["task_id"]]
        if proof.killed.total() < MIN_KILLED:
            found = f"{proof.killed.total()} of {proof.compiled.total()} mutants that compile are noticed, expected at least {MIN_KILLED}"
            proof.problems.append("; ".join([f"the tests are weak: {found}", *proof.survivors[:3]]))
    return list(proofs.values())


def reference_problems(verdict: Verdict, n_tests: int) -> list[str]:
    """Why a verdict is not that of a sound reference; one sentence each."""
    said = "; ".join(f"{d.code or d.level}: {d.message.splitlines()[0][:160]}" for d in verdict.diagnostics[:3] if d.message)
    if verdict.error_kind == "infra":
        return [f"the machine failed to grade the reference ({said}): run it again, and `python doctor.py` if it stays so"]
    if not verdict.build_passed:
        return [f"the reference does not compile ({said})"]
    problems = []
    if not verdict.clippy_passed or verdict.clippy_warnings:
        problems.append(f"clippy objects to the reference ({said})")
    if verdict.hidden_total < n_tests:
        problems.append(f"the judge reads {verdict.hidden_total} asserts where the row has {n_tests} texts of them")
    if verdict.hidden_passed != verdict.hidden_total:
        kind = verdict.error_kind or "the tests do not compile with it"
        problems.append(f"the reference passes {verdict.hidden_passed} of {verdict.hidden_total} hidden tests ({kind})")
    if verdict.guard not in (None, "no_tests"):
        problems.append(f"a guard refuses the reference ({verdict.guard})")
    return problems


def has_run(verdict: Verdict) -> bool:
    """Whether a program compiled together with the hidden tests, so that their outcome says something."""
    return verdict.build_passed and bool(verdict.hidden_passed or verdict.error_kind not in (None, "infra", "compile"))


def _prove_stubs(answers: Sequence[tuple[Mapping, str]], proofs: Mapping[str, Proof], judge: RustTool) -> None:
    """Every hidden test must call something that the task asks for, and not too many may expect the same answer."""
    panics = [(task, panic_stubbed(read_program(source)) or source) for task, source in answers]
    constants = [(task, stub) for task, source in answers for stub in constant_answers(source, task["entry_point"])]
    verdicts = grade_sources(judge, [*panics, *constants], "stubs")
    for (task, _), verdict in zip(panics, verdicts):
        if verdict.hidden_passed:
            found = f"{verdict.hidden_passed} of {verdict.hidden_total} hidden tests"
            proofs[task["task_id"]].problems.append(f"{found} pass when every function of the reference panics: they test nothing")
    for (task, _), verdict in zip(constants, verdicts[len(panics) :]):
        proof = proofs[task["task_id"]]
        proof.constant_passed = max(proof.constant_passed, verdict.hidden_passed or 0)
    for task, _ in answers:
        proof = proofs[task["task_id"]]
        if proof.constant_passed > MAX_CONSTANT_SHARE * proof.n_tests:
            found = f"{proof.constant_passed} of {proof.n_tests} hidden tests"
            proof.problems.append(f"a constant answer passes {found}, expected at most {MAX_CONSTANT_SHARE:.0%}: add tests that differ")


def _prove_mutants(
    answers: Sequence[tuple[Mapping, str]], proofs: Mapping[str, Proof], judge: RustTool, places: range
) -> None:
    tried = [(task, mutant) for task, source in answers for mutant in mutants(source, places.stop)[places.start :]]
    verdicts = grade_sources(judge, [(task, mutant.source) for task, mutant in tried], "mutants")
    for (task, mutant), verdict in zip(tried, verdicts):
        proof = proofs[task["task_id"]]
        if not has_run(verdict):
            continue
        proof.compiled[mutant.kind] += 1
        if verdict.hidden_passed < verdict.hidden_total:
            proof.killed[mutant.kind] += 1
        else:
            proof.survivors.append(mutant.what)


def grade_sources(judge: RustTool, answers: Sequence[tuple[Mapping, str]], what: str) -> list[Verdict]:
    """A verdict per (task, source), batch by batch under a progress bar."""
    from tqdm import tqdm

    size, verdicts = JOBS_PER_WORKER * judge.workers, []
    with tqdm(total=len(answers), desc=what, unit="", disable=not answers, mininterval=0.5) as bar:
        for start in range(0, len(answers), size):
            batch = [job_for(task, source) for task, source in answers[start : start + size]]
            verdicts += judge.grade(batch)
            bar.update(len(batch))
    return verdicts


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------


def row_problems(task: Mapping, solution: str | None) -> list[str]:
    """What is wrong with a row before anything runs; one sentence each."""
    prompt, name, tests = task["prompt"], task.get("entry_point") or "", task.get("tests") or []
    variant = task.get("signature_prompt") or ""
    problems = []
    if not solution:
        problems.append("no reference solution: add a line with its task_id to the solutions file")
    if task.get("category") not in CATEGORIES:
        problems.append(f"unknown category {task.get('category')!r}: expected one of {', '.join(CATEGORIES)}")
    if task.get("difficulty") not in DIFFICULTIES:
        problems.append(f"unknown difficulty {task.get('difficulty')!r}: expected one of {', '.join(DIFFICULTIES)}")
    if len(tests) < MIN_TESTS:
        problems.append(f"{len(tests)} hidden tests, expected at least {MIN_TESTS}")
    if not name or not re.search(rf"\b{re.escape(name)}\b", prompt):
        problems.append(f"the prompt does not name the entry point {name!r}")
    shown = "".join(f"{prompt} {variant}".split())
    if any("".join(test.split()).rstrip(";") in shown for test in tests):
        problems.append("a hidden test stands in the prompt word for word")
    try:
        for test in tests:
            check_hidden_tests([test], name)
    except ValueError as error:
        problems.append(str(error))
    return problems + _signature_problems(prompt, variant, name, solution)


def _signature_problems(prompt: str, variant: str, name: str, solution: str | None) -> list[str]:
    """Whether both wordings show the function, and name the types, that the reference defines."""
    shown = [found for block in code_blocks(variant) for found in functions_named(parse_any_length(block.text), name)]
    if not shown:
        return [f"signature_prompt shows no `fn {name}`"]
    defined = functions_named(parse_any_length(solution or ""), name)
    if solution and not defined:
        return [f"the reference defines no `fn {name}`"]
    if defined and shape_of(shown[-1]) != shape_of(defined[0]):
        return [f"signature_prompt shows `{shape_of(shown[-1])}`, the reference has `{shape_of(defined[0])}`"]
    problems = []
    if defined and name + shape_of(defined[0]) not in plain_code(prompt):
        problems.append(f"the prompt does not show the signature `{name}{shape_of(defined[0])}`")
    types = [node for block in code_blocks(variant) for node in walk(parse_any_length(block.text)) if node.type in TYPE_ITEMS]
    for type_name in (text_of(node.child_by_field_name("name")) for node in types):
        if not re.search(rf"\b{type_name}\b", prompt):
            problems.append(f"the prompt does not name the type {type_name} that signature_prompt defines")
    return problems


# ---------------------------------------------------------------------------------------------------------------------
# Reading, reporting, command line
# ---------------------------------------------------------------------------------------------------------------------


def load_bank(files: Iterable[Path | str] = BANK, columns: dict[str, str] | None = None) -> list[dict]:
    """Task rows of all files, in order, each with the `file` it came from. `columns` as for load_tasks. Raises TaskError."""
    return [task | {"file": Path(file).name} for file in files for task in load_tasks(str(file), columns=columns)]


def load_solutions(path: Path | str = SOLUTIONS) -> dict[str, str]:
    """task_id -> reference solution. Raises TaskError: no such file, a line without the two columns, an id twice."""
    if not Path(path).is_file():
        raise TaskError(f"{path}: no such file (expected a jsonl of task_id and solution)")
    solutions: dict[str, str] = {}
    for number, row in enumerate(read_rows(Path(path)), start=1):
        if not isinstance(row.get("task_id"), str) or not isinstance(row.get("solution"), str):
            raise TaskError(f"{path}, row {number}: expected task_id and solution as texts, found {', '.join(row)}")
        if row["task_id"] in solutions:
            raise TaskError(f"{path}, row {number}: the task id {row['task_id']!r} appears more than once")
        solutions[row["task_id"]] = row["solution"]
    return solutions


def split_of(file: Path) -> str:
    """`data/rust_tasks_val.jsonl` -> `val`."""
    return file.name.split(".")[0].rpartition("_")[2]


def sample_of(tasks: Sequence[dict], count: int | None, seed: int) -> list[dict]:
    """`count` tasks drawn with `seed`, in file order; all of them for None."""
    if count is None or count >= len(tasks):
        return list(tasks)
    chosen = set(random.Random(seed).sample(range(len(tasks)), count))
    return [task for index, task in enumerate(tasks) if index in chosen]


def counts_of(tasks: Sequence[Mapping]) -> dict:
    """How many tasks there are by file, category and difficulty."""
    by = {column: dict(Counter(str(task.get(column)) for task in tasks)) for column in ("file", "category", "difficulty")}
    both = Counter(f"{task.get('category')}/{task.get('difficulty')}" for task in tasks)
    n_tests = sum(len(task["tests"] or ()) for task in tasks)
    return {"tasks": len(tasks), "hidden_tests": n_tests, **by, "category/difficulty": dict(sorted(both.items()))}


def mutant_counts(proofs: Sequence[Proof]) -> dict:
    """Killed and compiled mutants, in all and by kind."""
    compiled, killed = (sum((getattr(p, name) for p in proofs), Counter()) for name in ("compiled", "killed"))
    by_kind = {kind: {"killed": killed[kind], "compiled": compiled[kind]} for kind in KINDS if compiled[kind]}
    return {"killed": killed.total(), "compiled": compiled.total(), "by_kind": by_kind}


def add_bank_arguments(parser: argparse.ArgumentParser) -> None:
    """Of scripts that make files of the bank's tasks and solutions."""
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the files")
    parser.add_argument("--tasks", nargs="+", type=Path, default=list(BANK), help="task files, NAME_SPLIT.jsonl (default: the bank's)")
    parser.add_argument("--solutions", type=Path, default=SOLUTIONS, help="jsonl of task_id and solution")
    parser.add_argument("--workers", type=int, help="programs graded at once (default: all cores)")
    parser.add_argument("--sandbox", default="auto", choices=["auto", *TIERS])


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = console.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, default=list(BANK), help="task files (default: the bank's three)")
    parser.add_argument("--solutions", type=Path, help="jsonl of task_id and solution (default: the bank's; of other files, their rows')")
    for name in ("prompt", "tests", "task_id", "entry_point"):
        parser.add_argument(f"--{name}_column", metavar="NAME", help=f"column that holds the {name} in the files")
    parser.add_argument("--edition", choices=EDITIONS, default=EDITIONS[0], help="Rust edition that programs are compiled as")
    parser.add_argument("--sample", type=int, metavar="N", help="prove N tasks only; rows and likeness are checked for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--against", nargs="+", default=[], metavar="FILE", help="prompt sets that nothing may be taken from")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write counts, mutants and likeness there")
    parser.add_argument("--record", type=Path, metavar="FILE.jsonl", help="of other kinds than write: go on with a proof that was stopped")
    parser.add_argument("--mutants", type=int, default=MAX_MUTANTS, help="tried per task")
    parser.add_argument("--workers", type=int, help="default: all cores")
    parser.add_argument("--sandbox", default="auto", choices=["auto", *TIERS])
    arguments = parser.parse_args(argv)
    parser.require_counts(arguments, "sample", "mutants", "workers")
    for name in ("report", "record"):
        value = getattr(arguments, name)
        if value is not None and value.is_dir():
            parser.error(f"--{name} {value}: a folder, expected a file's name")
    return arguments


def check(arguments: argparse.Namespace) -> tuple[list[str], dict]:
    """Run every check -> (problems, one line each; the report). Raises TaskError, ToolchainError, SandboxUnavailable."""
    columns = {name: getattr(arguments, f"{name}_column") for name in ("prompt", "tests", "task_id", "entry_point")}
    tasks = load_bank(arguments.files, columns)
    are_kinds = any(kinds.kind_of(task) != kinds.WRITE for task in tasks)
    are_ours = any("category" in task and "difficulty" in task for task in tasks)
    if arguments.against and (are_kinds or not are_ours):
        raise TaskError("--against compares tasks with category and difficulty, as the bank's, only; train.py --heldout compares any")
    if are_kinds:
        return check_kinds(arguments, tasks)
    if not are_ours:
        return check_others(arguments, tasks)
    solutions = load_solutions(arguments.solutions or SOLUTIONS)
    by_row = {id(task): row_problems(task, solutions.get(task["task_id"])) for task in tasks}
    problems = [f"{task['task_id']}: {problem}" for task in tasks for problem in by_row[id(task)]]
    problems += duplicate_problems(tasks, solutions)
    others = {path: load_tasks(path) for path in arguments.against}
    overlaps = [overlap_with(tasks, texts, Path(path).name) for path, texts in others.items()]
    problems += [line for _, found in overlaps for line in found]

    provable = {task["task_id"]: task for task in tasks if not by_row[id(task)]}
    chosen = sample_of(list(provable.values()), arguments.sample, arguments.seed)
    with open_judge(arguments, run_timeout_s=RUN_TIMEOUT_S) as judge:
        proofs = prove(chosen, solutions, judge, max_mutants=arguments.mutants)
        for (row, _), texts in zip(overlaps, others.values()):
            row["answered"] = answers(tasks, solutions, texts, judge)
        described = judge.describe()
    problems += [f"{proof.task_id}: {problem}" for proof in proofs for problem in proof.problems]
    report = {
        "counts": counts_of(tasks),
        "proved": len(proofs),
        "mutants": mutant_counts(proofs),
        "overlap": [row for row, _ in overlaps],
        "problems": problems,
        "judge": {key: described[key] for key in ("judge_version", "rustc", "clippy")},
        "tasks": [proof.as_row() for proof in proofs],
    }
    return problems, report


def open_judge(arguments: argparse.Namespace, **limits: float) -> RustTool:
    """The judge as the command line asks for it. Raises ToolchainError or SandboxUnavailable."""
    return RustTool(workers=arguments.workers, sandbox=arguments.sandbox, edition=arguments.edition, **limits)


def check_kinds(arguments: argparse.Namespace, tasks: Sequence[dict]) -> tuple[list[str], dict]:
    """Tasks that mend, fill in or change a program: the reference answer earns everything, the start as it is nothing."""
    if arguments.solutions is None:
        raise TaskError("tasks of other kinds than write need --solutions, the reference answers that make_kinds.py wrote beside them")
    chosen = sample_of(tasks, arguments.sample, arguments.seed)
    others = [task for task in chosen if kinds.kind_of(task) == kinds.WRITE]
    problems = [f"{task['task_id']}: of kind write, in a file of other kinds: check it in one of its own" for task in others]
    with open_judge(arguments, run_timeout_s=RUN_TIMEOUT_S) as judge:
        rows = [task for task in chosen if kinds.kind_of(task) != kinds.WRITE]
        problems += prove_in_batches(rows, load_solutions(arguments.solutions), judge, arguments.record)
        described = judge.describe()
    counts = {"tasks": len(tasks), "looked_at": len(rows), "kinds": dict(Counter(map(kinds.kind_of, rows)))}
    judged_by = {key: described[key] for key in ("judge_version", "rustc", "edition")}
    return problems, {"counts": counts, "problems": problems, "judge": judged_by}


def check_others(arguments: argparse.Namespace, tasks: Sequence[dict]) -> tuple[list[str], dict]:
    """Tasks that are not the bank's: which are broken, as far as reading them and their references tell."""
    given = load_solutions(arguments.solutions) if arguments.solutions else {}
    chosen = sample_of(tasks, arguments.sample, arguments.seed)
    faults = {task["task_id"]: why for task in chosen if (why := readable_fault(task) or unnamed(task))}
    first: dict[str, dict] = {}  # of those that ask the same
    again = [(first[text], task) for task in chosen if first.setdefault(text := normalized(task["prompt"]), task) is not task]
    for one, other in again:
        readable = not faults.keys() & {one["task_id"], other["task_id"]}
        if readable and (why := contradiction([*(one["tests"] or ()), *(other["tests"] or ())])):
            faults[other["task_id"]] = f"asks what {one['task_id']} asks, and {why}"
    with open_judge(arguments) as judge:
        having = {task["task_id"] for task in chosen if given.get(task["task_id"]) or references(task)}
        _, failed = try_references(chosen, judge, given=given)
        unparsed = try_parsing([task for task in chosen if task["task_id"] not in having | faults.keys()], judge)
        described = judge.describe()
    problems = [f"{task_id}: {why}" for task_id, why in (faults | failed | unparsed).items()]
    n_tested = sum(bool(task["tests"]) for task in chosen)
    counts = {"tasks": len(tasks), "looked_at": len(chosen), "with_tests": n_tested, "references": len(having), "asked_again": len(again)}
    judged_by = {key: described[key] for key in ("judge_version", "rustc", "edition")}
    return problems, {"counts": counts, "problems": problems, "judge": judged_by}


def summary_lines(report: Mapping) -> Iterator[str]:
    """What the terminal shows besides the problems."""
    counts = report["counts"]
    if "kinds" in counts:
        spread = ", ".join(f"{kind} {count}" for kind, count in counts["kinds"].items())
        yield f"{counts['looked_at']} of {counts['tasks']} tasks ({spread}): {len(report['problems'])} problems"
        return
    if "references" in counts:
        yield (
            f"{counts['looked_at']} of {counts['tasks']} tasks, {counts['with_tests']} with tests, {counts['references']} with a reference "
            f"solution: {len(report['problems'])} broken"
        )
        if counts["asked_again"]:
            yield f"{counts['asked_again']} ask what another one asks"
        if counts["references"] < counts["with_tests"]:
            yield f"the tests of {counts['with_tests'] - counts['references']} were read, not run: there is no reference solution"
        return
    for overlap in report["overlap"]:
        found = f"{overlap['tasks_sharing_a_run']} tasks share a run of {OVERLAP_NGRAM} words, largest share {overlap['largest_share']:.0%}"
        yield f"against {overlap['file']} ({overlap['texts']} texts): {found}"
        yield from (f"  same function name: {one} and {other}" for one, other in overlap["equal_names"])
        yield from (f"  the reference passes the other's tests: {one} and {other}" for one, other in overlap["answered"])
        yield from (f"  nearest in words ({pair['value']:.2f}): {pair['one']} and {pair['other']}" for pair in overlap["nearest"])
    mutated = report["mutants"]
    share = f" ({mutated['killed'] / mutated['compiled']:.1%})" if mutated["compiled"] else ""
    yield (
        f"{report['counts']['tasks']} tasks, {report['proved']} proved, {mutated['killed']} of {mutated['compiled']} mutants "
        f"noticed{share}, {len(report['problems'])} problems"
    )


def make_folder(folder: Path, flag: str = "--report") -> None:
    """A folder that `flag` names, before minutes of work. Raises TaskError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskError(f"{flag}: {folder} cannot be made ({error.strerror}): choose another place") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: exit status 0 when everything holds, 1 when something does not or cannot be checked."""
    arguments = read_arguments(argv)
    try:
        if arguments.report:
            make_folder(arguments.report.parent)
        problems, report = check(arguments)
        if arguments.report:
            arguments.report.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except (UserError, OSError) as error:
        tell("check_tasks.py", error)
        return 1
    for line in (*problems, *summary_lines(report)):
        print(line)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
