"""make_dataset.py: what cargo passes becomes a training set; killed anywhere it goes on; what is wrong is refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import FakeJudge, infra_verdict, write_jsonl
from test_generate import serve

import make_dataset
import tasks
from evaluation.folders import hold_folder
from make_dataset import DatasetError, main, read_code, read_rewrite, read_tests, refuse_tests
from rust_tool import Verdict

ROOT = Path(__file__).resolve().parent.parent

# ---------------------------------------------------------------------------------------------------------------------
# A writer that knows a few exercises
# ---------------------------------------------------------------------------------------------------------------------

# name -> exercise, Python test, description, signature, body, assertions
EXERCISES = {
    "largest_gap": (
        "Write a python function to find the largest difference between neighbours in a list.",
        "assert largest_gap([1, 5, 2]) == 4",
        "Returns the largest absolute difference between two neighbouring elements of a slice. Slices of fewer than two give 0.",
        "fn largest_gap(values: &[i64]) -> i64",
        "values.windows(2).map(|pair| (pair[0] - pair[1]).abs()).max().unwrap_or(0)",
        ["assert_eq!(largest_gap(&[1, 5, 2]), 4);", "assert_eq!(largest_gap(&[]), 0);", "assert_eq!(largest_gap(&[3, -3]), 6);"],
    ),
    "vowel_count": (
        "Write a function to count how many vowels are in the given text.",
        "assert vowel_count('banana') == 3",
        "Counts the letters a, e, i, o and u of a text, in upper and lower case alike.",
        "fn vowel_count(text: &str) -> usize",
        'text.chars().filter(|c| "aeiouAEIOU".contains(*c)).count()',
        ['assert_eq!(vowel_count("banana"), 3);', 'assert_eq!(vowel_count(""), 0);', 'assert_eq!(vowel_count("XYZE"), 1);'],
    ),
    "is_sorted_down": (
        "Write a python function to check whether a list never goes up from one item to the next.",
        "assert is_sorted_down([3, 2, 2]) == True",
        "Tells whether no element of the slice is greater than the one before it. Empty slices are sorted.",
        "fn is_sorted_down(values: &[i64]) -> bool",
        "values.windows(2).all(|pair| pair[0] >= pair[1])",
        ["assert!(is_sorted_down(&[3, 2, 2]));", "assert!(!is_sorted_down(&[1, 2]));", "assert!(is_sorted_down(&[]));"],
    ),
    "digit_total": (
        "Write a function to add up the decimal digits of a whole number.",
        "assert digit_total(123) == 6",
        "Adds the decimal digits of a non-negative whole number; zero has the total 0.",
        "fn digit_total(number: u64) -> u64",
        "let mut rest = number;\n    let mut total = 0;\n    while rest > 0 {\n        total += rest % 10;\n        rest /= 10;\n    }\n"
        "    total",
        ["assert_eq!(digit_total(123), 6);", "assert_eq!(digit_total(0), 0);", "assert_eq!(digit_total(909), 18);"],
    ),
    "initials": (
        "Write a function to take the first letter of every word of a name, in capitals.",
        "assert initials('ada lovelace') == 'AL'",
        "Returns the first letter of every word of a name as capital letters in one String, without spaces.",
        "fn initials(name: &str) -> String",
        "name.split_whitespace().filter_map(|word| word.chars().next()).flat_map(char::to_uppercase).collect()",
        ['assert_eq!(initials("ada lovelace"), "AL");', 'assert_eq!(initials(""), "");', 'assert_eq!(initials("x y z"), "XYZ");'],
    ),
    "without_zeros": (
        "Write a python function to drop each zero of a list and keep the order of the others.",
        "assert without_zeros([0, 1, 0, 2]) == [1, 2]",
        "Returns the elements of a slice that are not zero, in the order in which they stand.",
        "fn without_zeros(values: &[i64]) -> Vec<i64>",
        "values.iter().copied().filter(|&value| value != 0).collect()",
        ["assert_eq!(without_zeros(&[0, 1, 0, 2]), vec![1, 2]);", "assert_eq!(without_zeros(&[]), Vec::<i64>::new());",
         "assert_eq!(without_zeros(&[5]), vec![5]);"],
    ),
}  # fmt: skip


def rewritten(name: str) -> str:
    _, _, description, signature, _, _ = EXERCISES[name]
    return f"{description}\n\n```rust\n{signature}\n```"


def code_of(name: str) -> str:
    _, _, _, signature, body, _ = EXERCISES[name]
    return f"```rust\n{signature} {{\n    {body}\n}}\n```"


def assertions_of(name: str) -> str:
    return "```rust\n" + "\n".join(EXERCISES[name][5]) + "\n```"


def stage_and_name(request: dict) -> tuple[str, str]:
    """Which template a request was made from, and for which exercise."""
    system, user = (message["content"] for message in request["messages"])
    stage = {make_dataset.REWRITE_SYSTEM: "rewrite", make_dataset.CODE_SYSTEM: "code", make_dataset.TESTS_SYSTEM: "tests"}[system]
    key = 0 if stage == "rewrite" else 3
    (name,) = [name for name, exercise in EXERCISES.items() if exercise[key] in user]
    return stage, name


class Writer:
    """Answers like a good model, but for what `spoiled[stage, name]` says: a list of answers to give first."""

    def __init__(self, spoiled=None, delay_s=0.0):
        self.spoiled = {key: list(answers) for key, answers in (spoiled or {}).items()}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.delay_s = delay_s

    def __call__(self, request, attempt):
        if "messages" not in request:
            return 200, None
        time.sleep(self.delay_s)
        stage, name = stage_and_name(request)
        self.asked[stage, name] += 1
        if self.spoiled.get((stage, name)):
            return 200, self.spoiled[stage, name].pop(0)
        return 200, {"rewrite": rewritten, "code": code_of, "tests": assertions_of}[stage](name)


def write_source(folder: Path, names=tuple(EXERCISES)) -> Path:
    """The exercises as MBPP has them."""
    path = folder / "mbpp.jsonl"
    rows = [{"task_id": f"m/{name}", "text": EXERCISES[name][0], "code": "pass", "test_list": [EXERCISES[name][1]]} for name in names]
    return write_jsonl(path, rows)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@pytest.fixture
def judge(monkeypatch):
    """No cargo: call it with an `answer` (job -> Verdict)."""

    def install(answer):
        made = []
        monkeypatch.setattr(make_dataset, "RustTool", lambda **options: made.append(FakeJudge(answer, **options)) or made[-1])
        return made

    return install


def pass_all(job):
    n = len(job.hidden_tests)
    passed = dict(build_passed=True, clippy_passed=True, test_passed=True, honest_tests=True, hidden_passed=n, hidden_total=n)
    return Verdict(**passed, tests={f"tests::case_{i}": "ok" for i in range(n)})


def command(endpoint, source, out, *more) -> list[str]:
    return ["--tasks", str(source), "--model", "writer", "--api_base", endpoint.url, "--output_dir", str(out),
            "--split", "4", "1", "1", "--api_max_retries", "1", *map(str, more)]  # fmt: skip


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_parquet(path: Path) -> list[dict]:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()


def splits_of(out: Path) -> dict[str, list[dict]]:
    return {name: read_parquet(out / f"{name}.parquet") for name in make_dataset.SPLIT_NAMES if (out / f"{name}.parquet").exists()}


def ids_of(out: Path) -> list[str]:
    return sorted(row["task_id"] for rows in splits_of(out).values() for row in rows)


# ---------------------------------------------------------------------------------------------------------------------
# The whole way, with cargo
# ---------------------------------------------------------------------------------------------------------------------


def test_from_python_prompts_to_splits_that_our_loader_reads(tmp_path, capsys):
    spoiled = {
        ("code", "digit_total"): ["```rust\nfn digit_total(number: u64) -> u64 { missing }\n```"],  # built at the second attempt
        ("tests", "initials"): [assertions_of("initials").replace('"AL"', '"LA"')] * 2,  # never passes
        ("tests", "vowel_count"): ["```rust\nassert!(vowel_count(\"a\") >= 0);\nassert!(vowel_count(\"b\") == vowel_count(\"b\"));\n"
                                   "assert!(vowel_count(\"\") < 99 || true);\n```"] * 2,  # passes, worth nothing
    }  # fmt: skip
    writer, out = Writer(spoiled), tmp_path / "out"
    with serve(writer) as endpoint:
        arguments = command(endpoint, write_source(tmp_path), out, "--num_samples", 2, "--source_license", "cc-by-4.0")
        assert main(arguments) == 0, capsys.readouterr().err
    assert ids_of(out) == ["m/digit_total", "m/is_sorted_down", "m/largest_gap", "m/without_zeros"]
    for name in splits_of(out):
        for task in tasks.load_tasks(str(out / f"{name}.parquet")):
            exercise = EXERCISES[task["entry_point"]]
            assert task["tests"] == exercise[5] and exercise[3] in task["prompt"] and exercise[3] in task["signature_prompt"]
            assert task["source"] == "mbpp.jsonl" and set(task) == {*tasks.TASK_COLUMNS, "signature_prompt"}, "no answer for the trace"
    references = {row["task_id"]: row for row in read_parquet(out / "references.parquet")}
    assert references["m/digit_total"]["attempt"] == 1 and references["m/largest_gap"]["attempt"] == 0
    assert EXERCISES["digit_total"][4] in references["m/digit_total"]["rust_code"]
    refused = {(line["task_id"], line["attempt"]): line["refused"] for line in read_lines(out / "grade.jsonl")}
    assert refused["m/digit_total", 0] == "does not build" and refused["m/digit_total", 1] is None
    assert refused["m/initials", 0] == refused["m/initials", 1] == "tests: test_failed"
    assert refused["m/vowel_count", 0].startswith("guard: ")
    assert writer.asked["rewrite", "digit_total"] == 1, "a usable rewrite is not asked for again"
    assert writer.asked["code", "largest_gap"] == 1, "what passed is not tried again"
    card = (out / "README.md").read_text()
    for text in ("license: cc-by-4.0", "writer", "| 6 |", "| tasks that cargo passes | 4 |", "| grade | does not build | 1 |"):
        assert text.replace("| 6 |", "| source prompts | 6 |") in card
    assert "train, val, test and references" in capsys.readouterr().out
    assert str(tmp_path) not in card and "make_dataset.py --tasks mbpp.jsonl" in card


# ---------------------------------------------------------------------------------------------------------------------
# Killed, resumed, refused
# ---------------------------------------------------------------------------------------------------------------------

CHILD = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import make_dataset
from conftest import FakeJudge
from test_make_dataset import pass_all
make_dataset.RustTool = lambda **options: FakeJudge(pass_all)
sys.exit(make_dataset.main({arguments!r}))
"""


def test_programs_are_of_the_edition_asked_for(tmp_path, judge):
    made = judge(pass_all)
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, write_source(tmp_path), tmp_path / "out", "--edition", "2024")) == 0
    assert made[0].options["edition"] == "2024"


def test_killed_again_and_again_it_ends_as_if_never_killed(tmp_path, judge):
    judge(pass_all)
    source, whole, torn = write_source(tmp_path), tmp_path / "whole", tmp_path / "torn"
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, source, whole)) == 0
    writer = Writer(delay_s=0.15)
    with serve(writer) as endpoint:
        arguments = command(endpoint, source, torn, "--api_concurrency", 1, "--chunk_size", 2)
        code = CHILD.format(root=str(ROOT), tests=str(ROOT / "tests"), arguments=arguments)
        kills = 0
        for wanted_lines in (1, 5, 11):
            process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
            while process.poll() is None and sum(len(p.read_bytes().splitlines()) for p in torn.glob("*.jsonl")) < wanted_lines:
                time.sleep(0.02)
            kills += process.poll() is None
            process.kill()
            process.wait()
            for path in torn.glob("rewrite.jsonl"):
                with path.open("ab") as file:
                    file.write(b'{"task_id": "m/torn", "att')
        assert kills == 3
        assert main(arguments) == 0
    assert max(writer.asked.values()) <= 2 and sum(writer.asked.values()) <= 3 * len(EXERCISES) + kills, "one answer lost a kill at most"
    assert splits_of(torn) == splits_of(whole)
    for stage in make_dataset.STAGES:
        keys = [(line["task_id"], line["attempt"]) for line in read_lines(torn / f"{stage}.jsonl")]
        assert sorted(keys) == sorted({(f"m/{name}", 0) for name in EXERCISES})


def test_a_finished_folder_asks_nothing_again(tmp_path, judge):
    judge(pass_all)
    source, out = write_source(tmp_path), tmp_path / "out"
    with serve(Writer()) as endpoint:
        arguments = command(endpoint, source, out)
        assert main(arguments) == 0
        before = splits_of(out)
        asked = len(endpoint.requests)
        assert main(arguments) == 0
        assert len(endpoint.requests) == asked and splits_of(out) == before
        assert main([*arguments, "--limit", "3", "--split", "1", "1", "1"]) == 0, "fewer tasks need no new answer"
        assert len(endpoint.requests) == asked and len(ids_of(out)) == 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--temperature", "0.5"], r"writer\.sampling\.temperature: 0\.2 instead of 0\.5"),
        (["--model", "another"], r"writer\.model"),
        (["--min_tests", "2"], r"min_tests: 3 instead of 2"),
        (["--seed", "1"], r"writer\.seed"),
    ],
)
def test_a_changed_setting_is_refused_by_name(tmp_path, judge, capsys, change, named):
    judge(pass_all)
    source, out = write_source(tmp_path), tmp_path / "out"
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, source, out)) == 0
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        assert main(command(endpoint, source, out, *change)) == 2
    assert re.search(rf"other settings.*{named}.*Nothing was changed", capsys.readouterr().err)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_changed_template_is_refused(tmp_path, judge, capsys, monkeypatch):
    judge(pass_all)
    source, out = write_source(tmp_path), tmp_path / "out"
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, source, out)) == 0
        monkeypatch.setattr(make_dataset, "CODE_TEMPLATE", make_dataset.CODE_TEMPLATE + " Be quick.")
        assert main(command(endpoint, source, out)) == 2
    assert "templates.code" in capsys.readouterr().err


def test_a_changed_source_row_is_refused(tmp_path, judge, capsys):
    judge(pass_all)
    source, out = write_source(tmp_path), tmp_path / "out"
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, source, out)) == 0
        source.write_text(source.read_text().replace("'banana'", "'bananas'"))
        assert main(command(endpoint, source, out)) == 2
    assert "task 'm/vowel_count' is not what it was" in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(tmp_path, judge, capsys):
    judge(pass_all)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, write_source(tmp_path), tmp_path / "out")) == 2
    assert "no run.json of this program" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_a_folder_in_use_is_refused(tmp_path, judge, capsys):
    judge(pass_all)
    source, out = write_source(tmp_path), tmp_path / "out"
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, source, out)) == 0
        with hold_folder(out):
            assert main(command(endpoint, source, out)) == 2
    assert "in use by another process" in capsys.readouterr().err


def test_ctrl_c_keeps_what_arrived(tmp_path):
    source, out = write_source(tmp_path), tmp_path / "out"
    with serve(Writer(delay_s=0.3)) as endpoint:
        arguments = command(endpoint, source, out, "--api_concurrency", 1)
        code = CHILD.format(root=str(ROOT), tests=str(ROOT / "tests"), arguments=arguments)
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        while not (out / "rewrite.jsonl").exists() or len((out / "rewrite.jsonl").read_bytes().splitlines()) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "run the same command again" in errors, errors
    assert len(read_lines(out / "rewrite.jsonl")) >= 2


def test_an_endpoint_that_fails_is_reported_and_what_arrived_is_kept(tmp_path, judge, capsys):
    judge(pass_all)
    writer = Writer()
    source, out = write_source(tmp_path), tmp_path / "out"
    plan = lambda request, attempt: (500, "down") if sum(writer.asked.values()) >= 4 else writer(request, attempt)
    with serve(plan) as endpoint:
        assert main(command(endpoint, source, out, "--api_concurrency", 1)) == 2
        assert "run the same command again to go on" in capsys.readouterr().err
        assert len(read_lines(out / "rewrite.jsonl")) == 4
    assert not (out / "train.parquet").exists()


def test_what_the_machine_failed_to_grade_is_tried_again(tmp_path, judge, capsys):
    verdicts = {"infra": True}
    judge(lambda job: infra_verdict(job) if verdicts["infra"] and job.entry_point == "initials" else pass_all(job))
    source, out = write_source(tmp_path), tmp_path / "out"
    with serve(Writer()) as endpoint:
        arguments = command(endpoint, source, out, "--max_infra_share", "1")
        assert main(arguments) == 0
        assert "m/initials" not in ids_of(out) and "machine failed to grade" in capsys.readouterr().out
        verdicts["infra"] = False
        assert main(arguments) == 0
        assert "m/initials" in ids_of(out)


# ---------------------------------------------------------------------------------------------------------------------
# Duplicates, contamination, splits
# ---------------------------------------------------------------------------------------------------------------------


def test_evaluation_prompts_are_left_out_before_anything_is_written(tmp_path, judge, capsys):
    judge(pass_all)
    evaluation = tmp_path / "eval.jsonl"
    declaration = "/// Write a rsthon function to count how many vowels are in the given text.\nfn vowels(text: String) -> isize {"
    row = {"name": "mbpp_9", "language": "rs", "prompt": declaration, "tests": "fn main() { assert_eq!(vowels(\"a\".to_string()), 1); }"}
    evaluation.write_text(json.dumps(row) + "\n")
    writer, out = Writer(), tmp_path / "out"
    with serve(writer) as endpoint:
        assert main(command(endpoint, write_source(tmp_path), out, "--decontaminate", evaluation)) == 0
    assert "m/vowel_count" not in ids_of(out) and writer.asked["rewrite", "vowel_count"] == 0
    assert "1  left out: overlaps with an evaluation set" in capsys.readouterr().out
    assert "eval.jsonl" in (out / "README.md").read_text()


def test_a_rewrite_that_became_an_evaluation_prompt_is_dropped(tmp_path, judge, capsys):
    judge(pass_all)
    evaluation = tmp_path / "eval.jsonl"
    evaluation.write_text(json.dumps({"prompt": EXERCISES["initials"][2]}) + "\n")
    out = tmp_path / "out"
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, write_source(tmp_path), out, "--decontaminate", evaluation)) == 0
    assert "m/initials" not in ids_of(out)
    assert "1  dropped: rewritten prompt overlaps" in capsys.readouterr().out


def test_nothing_left_is_refused(tmp_path, judge, capsys):
    judge(pass_all)
    source = write_source(tmp_path)
    copy = tmp_path / "eval.jsonl"
    copy.write_text(source.read_text())
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, source, tmp_path / "out", "--decontaminate", copy)) == 2
        assert re.search("nothing is left of the 6 prompts", capsys.readouterr().err)
        assert main(command(endpoint, source, tmp_path / "out", "--decontaminate", source)) == 2
        assert "is the source itself" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def row(task_id: str, description: str, code: str) -> make_dataset.Row:
    task = {"task_id": task_id, "prompt": description, "tests": ["assert!(f());"], "entry_point": "f", "source": "s"}
    return make_dataset.Row(task, {"task_id": task_id, "rust_code": code}, description)


def test_duplicates_of_prompt_or_code_are_dropped_and_counted():
    long = "Returns the items of a slice that stand at an even place, counted from nought, in the order they have."
    rows = [
        row("a", long, "fn evens(x: &[i64]) -> Vec<i64> { x.iter().step_by(2).copied().collect() }"),
        row("b", long.upper(), "fn other() -> i64 { 1 }"),
        row("c", long + " Thanks.", "fn third() -> i64 { 2 }"),
        row("d", "Something else.", "fn renamed(x: &[i64]) -> Vec<i64> {\n    // comment\n    x.iter().step_by(2).copied().collect()\n}"),
        row("e", "Adds two numbers.", "fn add(a: i64, b: i64) -> i64 { a + b }"),
        row("f", "Multiplies two numbers.", "fn add(a: i64, b: i64) -> i64 { a * b }"),
    ]
    counts = Counter()
    kept = make_dataset.without_duplicates(rows, counts)
    assert [r.task["task_id"] for r in kept] == ["a", "e", "f"]
    assert counts == {"dropped: prompt of an earlier task": 2, "dropped: code of an earlier task": 1}


@pytest.mark.parametrize(
    ("n_rows", "wanted", "expected"),
    [
        (600, (480, 60, 60), [480, 60, 60]),
        (17_000, (15_000, 1_000, 500), [15_000, 1_000, 500]),
        (165, (15_000, 1_000, 500), [150, 10, 5]),
        (10, (15_000, 1_000, 500), [8, 1, 1]),
        (3, (15_000, 1_000, 500), [1, 1, 1]),
        (4, (10, 0, 0), [4, 0, 0]),
    ],
)
def test_split_sizes(n_rows, wanted, expected):
    assert make_dataset.split_sizes(n_rows, wanted) == expected


def test_too_few_rows_for_three_splits_are_refused():
    with pytest.raises(DatasetError, match="2 rows are too few"):
        make_dataset.split_sizes(2, (15_000, 1_000, 500))


def test_splits_share_no_task_and_no_twin():
    twins = [row(f"t{i}", f"Counts the green bottles that hang on the wall of the old house in street {i // 2}.", "x") for i in range(20)]
    singles = [row(f"s{i}", " ".join(f"w{i}_{j}" for j in range(12)), "x") for i in range(20)]
    counts = Counter()
    splits = make_dataset.make_splits([*twins, *singles], (30, 7, 3), 0, 0.6, counts)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 30, "val": 7, "test": 3}
    ids = {name: {r.task["task_id"] for r in rows} for name, rows in splits.items()}
    assert len(ids["train"] | ids["val"] | ids["test"]) == 40
    assert all(i.startswith("s") for i in ids["val"] | ids["test"])
    again = make_dataset.make_splits([*reversed(singles), *twins], (30, 7, 3), 0, 0.6, Counter())
    assert {name: {r.task["task_id"] for r in rows} for name, rows in again.items()} == ids, "order of the rows does not matter"
    other = make_dataset.make_splits([*twins, *singles], (30, 7, 3), 1, 0.6, Counter())
    assert {r.task["task_id"] for r in other["test"]} != ids["test"]


def test_how_much_twins_in_two_splits_share_is_asked():
    words = [f"w{n}" for n in range(20)]
    rows = [row(f"r{n}", " ".join([*words[:17], f"x{n}", f"y{n}", f"z{n}"]), "x") for n in range(4)]  # 12 of 15 runs of six words in common
    counts = Counter()
    assert [len(part) for part in make_dataset.make_splits(rows, (2, 1, 1), 0, 0.9, counts).values()] == [2, 1, 1]
    assert [len(part) for part in make_dataset.make_splits(rows, (9, 1, 1), 0, 0.6, counts).values()] == [4, 0, 0]
    assert counts["held-out rows missing, because too many tasks resemble each other"] == 2


def test_too_many_twins_make_smaller_held_out_splits_and_say_so():
    twins = [row(f"t{i}", "Counts the green bottles that hang on the wall of the old house today.", "x") for i in range(8)]
    singles = [row(f"s{i}", " ".join(f"w{i}_{j}" for j in range(12)), "x") for i in range(2)]
    counts = Counter()
    splits = make_dataset.make_splits([*twins, *singles], (6, 2, 2), 0, 0.6, counts)
    assert [len(splits[name]) for name in make_dataset.SPLIT_NAMES] == [6, 1, 1]
    assert counts["held-out rows missing, because too many tasks resemble each other"] == 2


@pytest.mark.parametrize(
    ("n_twins", "n_singles", "wanted", "expected"),
    [(20, 0, (15_000, 1_000, 500), (20, 0, 0)), (18, 2, (150, 25, 25), (18, 1, 1)), (20, 0, (12, 4, 4), (12, 0, 0)), (14, 0, (10, 4, 4), (10, 0, 0))],
)
def test_what_held_out_splits_cannot_take_goes_to_train(n_twins, n_singles, wanted, expected):
    twins = [row(f"t{i}", " ".join(f"t{i // 2}_{j}" for j in range(12)), "x") for i in range(n_twins)]
    singles = [row(f"s{i}", " ".join(f"w{i}_{j}" for j in range(12)), "x") for i in range(n_singles)]
    counts = Counter()
    splits = make_dataset.make_splits([*twins, *singles], wanted, 0, 0.6, counts)
    assert tuple(len(splits[name]) for name in make_dataset.SPLIT_NAMES) == expected
    assert counts["left over beyond --split"] == n_twins + n_singles - sum(expected)


# ---------------------------------------------------------------------------------------------------------------------
# Reading answers
# ---------------------------------------------------------------------------------------------------------------------

GOOD_REWRITE = read_rewrite(rewritten("largest_gap"))


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        (rewritten("initials"), None),
        ("Counts the letters of a text, spaces not included. `fn letters(text: &str) -> usize`", None),
        ("Counts the letters of a text.\n\n```rust\npub fn letters(\n    text: &str,\n) -> usize {\n    todo!()\n}\n```", None),
        ("Answer:\nCounts the letters of a text.\n\n```rust\nfn letters(text: &str) -> usize;\n```", None),
        ("```rust\nfn letters(text: &str) -> usize\n```\n\nCounts the letters of a text.\n\nNote: Python counts otherwise.", None),
        ("Counts the letters of a text.", "no signature"),
        ("Counts.\n```rust\nfn letters(text: &str) -> usize\n```", "description too short"),
        ("word " * 500 + "\n```rust\nfn letters(text: &str) -> usize\n```", "description too long"),
        ("Like Python's len, counts letters.\n```rust\nfn letters(text: &str) -> usize\n```", "still Python"),
        ("Counts the letters of anything.\n```rust\nfn letters<T: Text>(text: T) -> usize\n```", "a method, generic or async function"),
        ("Counts the letters of itself.\n```rust\nfn letters(&self) -> usize\n```", "a method, generic or async function"),
        ("", "no signature"),
    ],
)  # fmt: skip
def test_reading_a_rewrite(answer, refused):
    found = read_rewrite(answer)
    assert found["refused"] == refused
    if refused is None and "fn letters" in answer:
        assert found["signature"] == "fn letters(text: &str) -> usize" and found["entry_point"] == "letters"
        assert found["description"].startswith("Counts the letters of a text") and "fn letters(" not in found["description"].split("`")[0]
        assert "Python" not in found["description"]


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        (code_of("largest_gap"), None),
        (code_of("largest_gap").replace("fn largest", "pub fn largest").replace("values:", "mut  values :"), None),
        (code_of("largest_gap").replace("&[i64]", "Vec<i64>"), "another signature"),
        (code_of("largest_gap").replace("largest_gap", "gap"), "another function"),
        ("I cannot.", "no rust block"),
        ("```rust\nfn largest_gap(values: &[i64]) -> i64 {\n```", "not Rust"),
    ],
)
def test_reading_code(answer, refused):
    assert read_code(answer, GOOD_REWRITE)["refused"] == refused


def test_tests_and_main_are_taken_off_the_code():
    answer = code_of("largest_gap").replace(
        "\n```", "\nfn main() { println!(\"{}\", largest_gap(&[])); }\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn t() {}\n}\n```"
    )
    code = read_code(answer, GOOD_REWRITE)["rust_code"]
    assert "main" not in code and "mod tests" not in code and "windows(2)" in code


def test_types_of_its_own_in_the_signature_are_refused():
    rewrite = read_rewrite("Returns the area of a rectangle of whole sides.\n```rust\nfn area(shape: Shape) -> i64\n```")
    code = "```rust\nstruct Shape { a: i64 }\nfn area(shape: Shape) -> i64 { shape.a }\n```"
    assert read_code(code, rewrite)["refused"] == "types of its own in the signature"


LINES = EXERCISES["largest_gap"][5]


@pytest.mark.parametrize(
    ("answer", "tests"),
    [
        (assertions_of("largest_gap"), LINES),
        ("```rust\n#[cfg(test)]\nmod tests {\n    use super::*;\n    #[test]\n    fn t() {\n" + "\n".join(LINES) + "\n    }\n}\n```", LINES),
        ("```rust\n" + LINES[0] + "\n" + LINES[0] + "\nassert!(true);\nassert_eq!(other(1), 2);\n```", LINES[:1]),
        ("```rust\n#[test]\nfn t() {\n    let given = [1, 2];\n    assert_eq!(largest_gap(&given), 1);\n}\n```",
         ["let given = [1, 2];\nassert_eq!(largest_gap(&given), 1);"]),
        ("```rust\nassert_eq!(\n    largest_gap(&[1]),\n    0\n);\n```", ["assert_eq!( largest_gap(&[1]), 0 );"]),
        ("I cannot.", []),
        ("```rust\nfn largest_gap(values: &[i64]) -> i64 { 0 }\n```", []),
    ],
)  # fmt: skip
def test_reading_tests(answer, tests):
    found = read_tests(answer, GOOD_REWRITE)
    assert found["tests"] == tests
    assert (found["refused"] is None) == bool(tests)


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        (LINES, None),
        (LINES[:2], "fewer than 3 assertions"),
        ([*LINES[:2], "assert_eq!(largest_gap(&[helper()]), 0);"], "tests use more of the program than the function"),
        ([*LINES[:2], "assert_eq!(largest_gap(&[1), 0);"], "tests cannot be read"),
    ],
)
def test_tests_that_a_task_cannot_have_are_refused(tests, reason):
    code = "fn helper() -> i64 { 1 }\nfn largest_gap(values: &[i64]) -> i64 { helper() }"
    assert refuse_tests(tests, code, "largest_gap", 3) == reason


def test_an_answer_that_was_cut_off_is_not_used(tmp_path, judge, capsys):
    judge(pass_all)
    writer = Writer()

    def plan(request, attempt):
        status, text = writer(request, attempt)
        if "messages" in request and stage_and_name(request) == ("code", "initials"):
            choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": text}}
            text = {"id": "1", "created": 0, "model": "m", "object": "chat.completion", "choices": [choice]}
        return status, text

    out = tmp_path / "out"
    with serve(plan) as endpoint:
        assert main(command(endpoint, write_source(tmp_path), out)) == 0
    assert "m/initials" not in ids_of(out)
    assert {line["task_id"]: line["refused"] for line in read_lines(out / "code.jsonl")}["m/initials"] == "not finished"


# ---------------------------------------------------------------------------------------------------------------------
# Local model, other layouts, bad input
# ---------------------------------------------------------------------------------------------------------------------


def test_acecode_prompts_and_their_tests_reach_the_writer(tmp_path, judge):
    judge(pass_all)
    source = tmp_path / "ace.parquet"
    rows = [{"id": f"ace_{name}", "source": "evol", "question": e[0], "test_cases": [e[1], "x" * 1000]} for name, e in EXERCISES.items()]
    make_dataset.write_parquet(source, rows, {"id": "text", "source": "text", "question": "text", "test_cases": "texts"})
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, source, tmp_path / "out")) == 0
        asked = [request["messages"][1]["content"] for request in endpoint.requests]
    assert len(ids_of(tmp_path / "out")) == len(EXERCISES)
    assert any("Python test: assert largest_gap([1, 5, 2]) == 4" in text for text in asked), "the original wording and its test"
    assert not any("x" * 1000 in text for text in asked), "a long test would fill the prompt"


@pytest.mark.parametrize("tests", [[["a"]], {"tests::a": "ok"}, 3])
def test_python_tests_that_cannot_be_read_are_a_bad_row(tmp_path, judge, capsys, tests):
    judge(pass_all)
    source, out = write_source(tmp_path), tmp_path / "out"
    rows = read_lines(source)
    rows[1]["test_list"] = tests
    write_jsonl(source, rows)
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, source, out)) == 2
        said = capsys.readouterr().err
        assert "mbpp.jsonl, task 'm/vowel_count', column test_list: tests must be text or a list" in said
        assert "1 of 6 rows cannot be read; `--bad_rows skip` leaves them out" in said and not out.exists()
        assert main(command(endpoint, source, out, "--bad_rows", "skip")) == 0
    assert "left out 1 of 6 rows" in capsys.readouterr().err
    assert ids_of(out) == sorted(f"m/{name}" for name in EXERCISES if name != "vowel_count")


def test_the_limit_counts_rows_that_can_be_read(tmp_path):
    source = write_source(tmp_path)
    rows = read_lines(source)
    rows[0]["test_list"] = [["a"]]
    write_jsonl(source, rows)
    args = make_dataset.DatasetArguments(tasks=str(source), model="m", output_dir="out", limit=2)
    bad_rows = []
    assert [one.task_id for one in make_dataset.iter_source(args, bad_rows)] == [row["task_id"] for row in rows[1:3]] and len(bad_rows) == 1


def test_a_local_model_that_writes_nonsense_ends_with_a_reason(tmp_path, tiny_coder, judge, capsys):
    judge(pass_all)
    arguments = ["--tasks", str(write_source(tmp_path)), "--model", str(tiny_coder), "--backend", "transformers", "--output_dir",
                 str(tmp_path / "out"), "--max_new_tokens", "60", "--chunk_size", "4"]  # fmt: skip
    assert main(arguments) == 2
    assert "cargo passed none of 6 tasks" in capsys.readouterr().err
    lines = read_lines(tmp_path / "out" / "rewrite.jsonl")
    assert len(lines) == 6 and all(line["refused"] for line in lines)


def test_a_prompt_that_does_not_fit_is_counted_not_sent(tmp_path, tiny_coder, judge, capsys):
    judge(pass_all)
    arguments = ["--tasks", str(write_source(tmp_path)), "--model", str(tiny_coder), "--backend", "transformers", "--output_dir",
                 str(tmp_path / "out"), "--max_new_tokens", "60", "--max_model_len", "300"]  # fmt: skip
    assert main(arguments) == 2
    assert {line["refused"] for line in read_lines(tmp_path / "out" / "rewrite.jsonl")} == {"prompt too long"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--split", "1", "2"], "three counts"),
        (["--max_overlap", "0"], "above 0"),
        (["--limit", "0"], "at least 1"),
        (["--num_samples", "2", "--temperature", "0", "--retry_temperature", "0"], "asks the same again"),
        (["--python_tests_column", "nowhere"], "no column nowhere"),
        (["--tasks", "missing.jsonl"], "no such file"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(tmp_path, judge, capsys, extra, message):
    judge(pass_all)
    with serve(Writer()) as endpoint:
        assert main(command(endpoint, write_source(tmp_path), tmp_path / "out", *extra)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
