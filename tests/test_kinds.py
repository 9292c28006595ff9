"""Kinds of tasks: what each shows and needs, what stands for a program and what is refused, what is counted, and whole runs of them."""

import json

import pytest
from conftest import ROOT, FakeJudge, write_jsonl

import eval as evaluation
import generate
import kinds
import train
from generate import GenerationError
from judge.program import code_blocks, read_program, with_main
from report.page import embedded
from rewards import RewardSet
from rust_tool import Verdict
from tasks import TaskError, load_tasks

CODE = "pub fn half(n: u32) -> u32 {\n    let result = n / 3;\n    result\n}\n\npub fn quarter(n: u32) -> u32 {\n    half(half(n))\n}\n"
RIGHT = CODE.replace("n / 3", "n / 2")
TESTS = ["assert_eq!(half(4), 2);", "assert_eq!(half(9), 4);", "assert_eq!(half(1), 0);", "assert_eq!(quarter(8), 2);"]
BASE = {"prompt": "Halves and quarters.", "tests": TESTS, "entry_point": "half", "source": "own"}
DIFF = "@@ -1,2 +1,2 @@\n pub fn half(n: u32) -> u32 {\n-    let half_of = n / 2;\n+    let result = n / 2;"
FIX = BASE | {"task_id": "t/fix", "kind": "fix", "code": CODE, "message": "test failed: half(4)", "passed_before": [2]}
FIM = BASE | {"task_id": "t/fim", "kind": "fim", "prefix": "pub fn half(n: u32) -> u32 {\n    ", "suffix": RIGHT[RIGHT.index("\n    result"):]}
PATCH = BASE | {"task_id": "t/patch", "kind": "patch", "code": CODE, "passed_before": [2]}
EDIT = BASE | {"task_id": "t/edit", "kind": "next_edit", "code": RIGHT.replace("    result\n", "    half_of\n"), "last_edit": DIFF,
               "region": [2, 4], "places": [3]}  # fmt: skip
ROWS = (FIX, FIM, PATCH, EDIT)
BY_KIND = {row["kind"]: kinds.with_prompt(dict(row)) for row in ROWS}
BLOCK = f"{kinds.SEARCH}\n    let result = n / 3;\n{kinds.DIVIDER}\n    let result = n / 2;\n{kinds.REPLACE}"
ANSWERS = {"fix": f"```rust\n{RIGHT}```", "fim": "Here:\n```rust\nlet result = n / 2;\n```", "patch": BLOCK,
           "next_edit": "```rust\n    let result = n / 2;\n    result\n}\n```"}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Rows and prompts
# ---------------------------------------------------------------------------------------------------------------------


def test_a_prompt_shows_what_its_kind_is_about_and_no_hidden_test(tmp_path):
    loaded = {task["kind"]: task for task in load_tasks(str(write_jsonl(tmp_path / "k.jsonl", ROWS)))}
    shown = {"fix": [CODE.rstrip(), FIX["message"]], "fim": [FIM["prefix"] + kinds.GAP + FIM["suffix"].rstrip()],
             "patch": [CODE.rstrip(), kinds.SEARCH], "next_edit": [DIFF, f"{kinds.REGION_MARKS[0]}\n    let result"]}  # fmt: skip
    for kind, texts in shown.items():
        assert all(text in loaded[kind]["prompt"] for text in [*texts, BASE["prompt"]]), kind
        assert not any(test in loaded[kind]["prompt"] for test in TESTS)
        *example, asked = kinds.conversation(loaded[kind], "Be careful.")
        assert asked == {"role": "user", "content": loaded[kind]["prompt"]}
        assert [message["role"] for message in example] == (["user", "assistant"] if kind == "patch" else [])


def test_the_example_of_a_patch_is_one():
    request, answer = kinds.conversation(PATCH, "")[:2]
    (program,) = [block.text for block in code_blocks(request["content"])]
    assert kinds.apply_blocks(program, kinds.read_blocks(answer["content"])) == program.replace("price - paid", "paid - price").rstrip() + "\n"


def test_a_row_that_is_read_again_asks_the_same(tmp_path):
    once = load_tasks(str(write_jsonl(tmp_path / "a.jsonl", ROWS)))
    assert load_tasks(str(write_jsonl(tmp_path / "b.jsonl", once))) == once


def test_tasks_of_kind_write_are_as_they_were(tmp_path):
    plain = {"task_id": "a", "prompt": "Add.", "tests": None, "entry_point": None, "source": "s"}
    loaded = load_tasks(str(write_jsonl(tmp_path / "a.jsonl", [plain, plain | {"task_id": "b", "kind": "write"}])))
    assert [task["prompt"] for task in loaded] == ["Add.", "Add."]
    assert kinds.conversation(loaded[1], "Be careful.")[0] == {"role": "system", "content": "Be careful."}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**FIX, "kind": "fixx"}, "the kind 'fixx' is none of write, fix, fim, patch, next_edit: name the column otherwise"),
        ({**FIX, "code": None}, "kind fix needs the column code (it is not there)"),
        ({**FIX, "message": 3}, "kind fix needs the column message (expected a text, found 3)"),
        ({key: value for key, value in FIM.items() if key != "suffix"}, "kind fim needs the column suffix"),
        ({**PATCH, "code": "  "}, "kind patch needs the column code (expected a text that is not empty, found '  ')"),
        ({**EDIT, "region": [3]}, "kind next_edit needs the column region (expected the numbers of its first and last line, from 1, found [3])"),
        ({**EDIT, "region": [3, 99]}, "the region [3, 99] ends behind the last line"),
        ({**FIX, "passed_before": [-1]}, "a list of positions of hidden tests, from 0, found [-1]"),
    ],
)
def test_a_row_without_what_its_kind_needs_is_refused_with_its_line(tmp_path, row, message):
    path = write_jsonl(tmp_path / "k.jsonl", [FIM | {"task_id": "first"}, row])
    with pytest.raises(TaskError, match="line 2: ") as error:
        load_tasks(str(path))
    assert message in str(error.value)


# ---------------------------------------------------------------------------------------------------------------------
# Completions
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_stands_for_the_whole_program(kind):
    program, why = kinds.read(BY_KIND[kind], ANSWERS[kind])
    assert why is None
    assert program.source.split() == with_main(RIGHT).split()


@pytest.mark.parametrize(
    ("kind", "completion", "why"),
    [
        ("fix", "No idea.", "no closed ```rust block"),
        ("fix", f"```rust\n// now right\n{CODE}```", "the program is what it was"),
        ("fix", f"```rust\n{RIGHT.replace('half(n: u32)', 'half(n: u64)')}```", "the signature of half is not what it was"),
        ("fim", "let result = n / 2;", "no closed ```rust block"),
        ("fim", "```rust\n\n```", "the middle is empty"),
        ("fim", f"```rust\nlet result = n / 2;{FIM['suffix']}```", "repeats what stands after the gap"),
        ("fim", f"```rust\n{RIGHT}```", "repeats what stands before the gap"),
        ("patch", f"```rust\n{RIGHT}```", "the answer is a program: expected SEARCH/REPLACE blocks"),
        ("patch", "Divide by two.", "no SEARCH/REPLACE block"),
        ("patch", BLOCK.replace("n / 3", "n / 4"), "block 1 does not apply: its lines stand in the program 0 times"),
        ("patch", BLOCK.replace("    let result = n / 3;", "}"), "stand in the program 2 times, expected once"),
        ("patch", BLOCK.replace("    let result = n / 3;\n", ""), "block 1 searches for nothing"),
        ("patch", BLOCK.removesuffix(kinds.REPLACE), "block 1 is not whole: it has no end"),
        ("patch", f"{BLOCK}\n{kinds.SEARCH}\n{kinds.SEARCH}", "block 2 is not whole: '<<<<<<< SEARCH' out of place"),
        ("patch", BLOCK.replace("n / 2;", "n / 3; // a third"), "the program is what it was"),
        ("patch", f"{kinds.SEARCH}\n{CODE.rstrip()}\n{kinds.DIVIDER}\n{RIGHT}{kinds.REPLACE}", "rewrites the whole file"),
        ("patch", BLOCK.replace("    let result = n / 3;", "pub fn half(n: u32) -> u32 {").replace("    let result = n / 2;", "pub fn half() -> u32 {"),
         "the signature of half"),
        ("next_edit", f"```rust\n{RIGHT}```", "rewrites the whole file"),
        ("next_edit", "```rust\npub fn half(n: u32) -> u32 {\n    let result = n / 2;\n```", "repeats what stands before the region"),
        ("next_edit", "```rust\n    let result = n / 2;\n    half_of\n}\n```", "the region is what it was"),
    ],
)  # fmt: skip
def test_what_stands_for_no_program_earns_nothing_and_says_why(kind, completion, why):
    rewards = RewardSet(FakeJudge(), ["cargo_build_reward=1", "non_empty_reward=1", "small_change_reward=1"])
    (graded,) = rewards.grade([BY_KIND[kind]], [completion])
    assert graded["error_kind"] == "no_code" and graded["program"] is None
    assert why in graded["diagnostics"][0]["message"]
    assert not graded["reward"]


def test_blocks_are_applied_in_order_whole_lines_at_a_time():
    blocks = kinds.read_blocks(f"```\n{BLOCK}\n```\nand\n{BLOCK.replace('n / 2', '(n + 1) / 2').replace('n / 3', 'n / 2')}\r\n")
    assert kinds.apply_blocks(CODE, blocks) == CODE.replace("n / 3", "(n + 1) / 2")
    assert kinds.apply_blocks("a\nb\nc", [("b", "")]) == "a\nc\n"
    nested = "fn f() {\n        a\n            .b()\n}\n"
    assert kinds.apply_blocks(nested, [("    a\n    .b()", "    a\n        .c()\n\n    .d()")]) == "fn f() {\n        a\n            .c()\n\n        .d()\n}\n"
    assert kinds.apply_blocks("a\n", [("    a", "    b\n    c")]) == "    b\n    c\n"
    assert kinds.apply_blocks("    a\na\n", [("a", "b")]) == "    a\nb\n"  # letter for letter it stands there once
    assert kinds.apply_blocks("{\n\n    a\n}\n", [("\na", "\nb")]) == "{\n\n    b\n}\n"
    with pytest.raises(kinds.Refused, match="2 times"):
        kinds.apply_blocks("    a\n  a\n", [("a", "b")])
    with pytest.raises(kinds.Refused, match="2 times"):  # lines that overlap with themselves
        kinds.apply_blocks("a\na\na\n", [("a\na", "b")])
    with pytest.raises(kinds.Refused, match="0 times"):  # a part of a line is no line
        kinds.apply_blocks("let ab = 1;\n", [("let a", "let c")])


def graded_as(statuses, task=FIX, **changes):
    verdict = Verdict(build_passed=True, hidden_passed=statuses.count("ok"), hidden_total=len(statuses), hidden_statuses=tuple(statuses),
                      **changes)  # fmt: skip
    return kinds.counted(task, None, verdict)


def test_only_what_failed_before_is_counted_and_nothing_when_something_is_lost():
    assert graded_as(["ok", "failed", "ok", "ok"]).hidden_passed == 2
    assert graded_as(["ok"] * 4).hidden_total == graded_as(["ok"] * 4).hidden_passed == 3
    lost = graded_as(["ok", "ok", "failed", "ok"])
    assert (lost.hidden_passed, lost.hidden_total, "ok" in lost.hidden_statuses) == (0, 3, False)
    assert "1 hidden tests fail that passed before" in lost.diagnostics[-1].message
    assert graded_as(["failed", "failed", "ok", "failed"]).hidden_passed == 0
    assert kinds.counted(FIX, None, Verdict(hidden_passed=0, hidden_total=4)).hidden_total == 3  # nothing ran
    assert graded_as(["ok"] * 4, FIX | {"passed_before": []}).hidden_total == 4


def test_the_machines_failure_stays_one():
    infra = Verdict(error_kind="infra")
    assert kinds.counted(FIX, None, infra) == infra


def test_small_changes_are_preferred_among_right_ones_only():
    right = Verdict(build_passed=True, hidden_passed=3, hidden_total=3)
    pay = lambda source, verdict=right, task=BY_KIND["fix"]: kinds.small_change_reward(read_program(source), verdict, task)
    small, large = pay(with_main(RIGHT)), pay(with_main(RIGHT.replace("result", "it").replace("(n)", "( n )")))
    assert 1 > small > large > 0
    assert pay(with_main(RIGHT), Verdict(hidden_passed=2, hidden_total=3)) == 0.0
    assert kinds.small_change_reward(None, right, {"prompt": "Add.", "code": "x"}) is None


@pytest.mark.parametrize(
    ("region", "share"),
    [("    let result = n / 2;\n    result\n}", 1.0), ("    let other = n / 2;\n    result\n}", 0.5), ("    let other = n / 2;\n    half_of\n}", 0.0)],
)
def test_places_that_had_to_change_are_weighed_against_others_that_did(region, share):
    program, _ = kinds.read(BY_KIND["next_edit"], f"```rust\n{region}\n```")
    assert kinds.edit_places_reward(program, Verdict(), BY_KIND["next_edit"]) == share
    assert kinds.places_of_record({"kind": "next_edit", "program": program.source, "columns": EDIT}) == share
    assert kinds.edit_places_reward(None, Verdict(), BY_KIND["next_edit"]) == 0.0


def test_nobody_is_paid_for_tests_that_were_not_asked_for():
    rewards = RewardSet(FakeJudge(), ["cargo_build_reward=1", "cargo_test_reward=2", "test_block_reward=1", "tests_have_asserts_reward=1"])
    for kind, answer in ANSWERS.items():
        (graded,) = rewards.grade([BY_KIND[kind]], [answer])
        assert graded["rewards"] == {"cargo_build_reward": 1.0, "cargo_test_reward": None, "test_block_reward": None,
                                     "tests_have_asserts_reward": None}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# FIM tokens
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fim_coder(tiny_coder, tmp_path_factory):
    """The tiny coder with Qwen2.5-Coder's FIM tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("models") / "fim-coder"
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_coder), AutoModelForCausalLM.from_pretrained(tiny_coder)
    tokenizer.add_special_tokens({"additional_special_tokens": list(kinds.FIM_TOKENS)})
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_fim_tokens_stand_as_they_are_without_a_chat_template(fim_coder):
    (task, other) = kinds.with_fim_format([BY_KIND["fim"], BY_KIND["patch"]], "tokens")
    assert task["prompt"] == f"<|fim_prefix|>{FIM['prefix']}<|fim_suffix|>{FIM['suffix']}<|fim_middle|>"
    assert other is BY_KIND["patch"]
    tokenizer = generate.load_tokenizer(str(fim_coder))
    conversations = [kinds.conversation(one, "") for one in (task, other)]
    raw, chat = generate.render(tokenizer, conversations)
    assert raw == task["prompt"] and "<|im_start|>assistant" in chat
    program, why = kinds.read(task, "let result = n / 2;")
    assert why is None and program.source.split() == with_main(RIGHT).split()
    of_fences = ("code_block_reward", "ends_with_code_reward")
    assert [[kinds.is_asked(name, one) for name in of_fences] for one in (task, other, BY_KIND["fix"])] == [[False, False], [True, False], [True, True]]


def test_a_tokenizer_without_fim_tokens_is_named(tiny_coder):
    (task,) = kinds.with_fim_format([BY_KIND["fim"]], "tokens")
    with pytest.raises(GenerationError, match=r"--fim_format tokens: the tokenizer of .* has no token <\|fim_prefix\|>; ask with --fim_format chat"):
        generate.render(generate.load_tokenizer(str(tiny_coder)), [kinds.conversation(task, "")])


def test_an_endpoint_is_asked_for_a_completion_and_not_for_a_chat():
    endpoint = object.__new__(generate.ApiGenerator)
    endpoint.model, endpoint.args = "m", generate.BackendArguments(api_base="http://localhost:1/v1")
    (task,) = kinds.with_fim_format([BY_KIND["fim"]], "tokens")
    request = endpoint._request(kinds.conversation(task, ""), generate.SamplingArguments(), 0)
    assert request["prompt"] == task["prompt"] and "messages" not in request


# ---------------------------------------------------------------------------------------------------------------------
# Whole runs
# ---------------------------------------------------------------------------------------------------------------------


def verdicts(job):
    if job.program is None:
        return Verdict(error_kind="no_code", hidden_passed=0, hidden_total=len(job.hidden_tests or ()))
    is_right = job.program.source.split() == with_main(RIGHT).split()
    statuses = ("ok" if is_right else "failed",) * len(job.hidden_tests or ())
    return Verdict(build_passed=True, hidden_passed=statuses.count("ok"), hidden_total=len(statuses), hidden_statuses=statuses)


@pytest.mark.parametrize("fim_format", ["chat", "tokens"])
def test_a_step_of_mixed_kinds_trains_and_is_traced(fim_coder, tmp_path, monkeypatch, fim_format):
    monkeypatch.setattr(train, "RustTool", lambda **options: FakeJudge(verdicts))
    write = {"task_id": "t/write", "prompt": "Add two numbers, one."}
    tasks, folder = write_jsonl(tmp_path / "k.jsonl", [write, *ROWS, PATCH | {"task_id": "t/patch2"}]), tmp_path / "run"
    flags = {
        "config": ROOT / "configs" / "tiny.yaml", "model_name_or_path": fim_coder, "tasks": tasks, "system_prompt": "none", "max_prompt_length": 900,
        "per_device_train_batch_size": 12, "num_generations": 2, "max_completion_length": 8, "max_steps": 1, "output_dir": folder,
        "fim_format": fim_format,
    }  # fmt: skip
    argv = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    assert train.main([*argv, "--rewards", "cargo_build_reward=1", "hidden_tests_reward=1", "test_block_reward=1"]) == 0
    records = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    assert {kinds.kind_of_record(record) for record in records} == {"write", *kinds.KINDS}
    by_kind = {kinds.kind_of_record(record): record for record in records}
    assert by_kind["fim"]["prompt"].startswith("<|fim_prefix|>") == (fim_format == "tokens")
    assert by_kind["fix"]["rewards"]["test_block_reward"] is None and by_kind["write"]["rewards"]["test_block_reward"] is not None
    assert all(record["error_kind"] != "infra" for record in records)


def test_prompts_over_the_budget_are_named(tiny_coder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "RustTool", lambda **options: FakeJudge())
    tasks = write_jsonl(tmp_path / "k.jsonl", [FIX | {"code": CODE * 40}, PATCH])
    argv = ["--config", str(ROOT / "configs" / "tiny.yaml"), "--model_name_or_path", str(tiny_coder), "--tasks", str(tasks)]
    assert train.main([*argv, "--max_prompt_length", "900", "--output_dir", str(tmp_path / "run")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 2 prompts are longer than --max_prompt_length 900 tokens" in said and "'t/fix'" in said


def test_saved_answers_are_graded_with_a_row_a_kind(tmp_path, monkeypatch):
    """Right and wrong answers of every kind, with real rows in the table; what was saved is graded again by the same columns."""
    monkeypatch.setattr(evaluation, "open_judge", lambda args: FakeJudge(verdicts))
    tasks = write_jsonl(tmp_path / "k.jsonl", ROWS)
    rows = [{"task_id": f"t/{kind.removeprefix('next_')}", "completion": text} for kind in ANSWERS for text in (ANSWERS[kind], "Well.")]
    answers, folder, again = write_jsonl(tmp_path / "answers.jsonl", rows), tmp_path / "out", tmp_path / "again"
    assert evaluation.main(["--completions", str(answers), "--tasks", str(tasks), "--output_dir", str(folder), "--bootstrap_samples", "50"]) == 0
    summary = json.loads((folder / "summary.json").read_text())
    for part in summary["kinds"].values():
        (row,) = part["rows"]
        assert (row["n"], row["metrics"]["pass@1"]["value"], row["error_kinds"]["no_code"]) == (2, 0.5, 0.5)
    assert summary["kinds"]["next_edit"]["rows"][0]["metrics"]["edit_places"]["value"] == 0.5
    table = (folder / "table.md").read_text().split("By kind of task:")[1]
    assert [line.split("|")[1].strip() for line in table.split("\n\n")[1].splitlines()[2:]] == list(kinds.KINDS)
    results = folder / "results.jsonl"
    diffs = {row["kind"]: embedded(row, 9999)["diff"] for row in map(json.loads, results.read_text().splitlines()) if row["program"]}
    assert "-    \n+    let result = n / 2;\n" in diffs["fim"] and "-    let result = n / 3;\n+    let result = n / 2;" in diffs["fix"] == diffs["patch"]
    assert evaluation.main(["--completions", str(results), "--output_dir", str(again), "--bootstrap_samples", "50"]) == 0
    read = lambda path: [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["hidden_passed"] for row in read(again / "results.jsonl")] == [row["hidden_passed"] for row in read(results)]


def test_saved_answers_without_the_columns_of_their_kind_are_refused(tmp_path, capsys):
    answers = write_jsonl(tmp_path / "a.jsonl", [{"prompt": "Mend it.", "completion": "```rust\nfn a() {}\n```", "kind": "fix"}])
    assert evaluation.main(["--completions", str(answers), "--output_dir", str(tmp_path / "out")]) == 2
    assert "line 1: a task of kind fix needs the column code" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("fim_format", ["chat", "tokens"])
def test_a_model_is_evaluated_on_all_kinds(fim_coder, tmp_path, monkeypatch, fim_format):
    monkeypatch.setattr(evaluation, "open_judge", lambda args: FakeJudge(verdicts))
    folder = tmp_path / "out"
    argv = ["--model", fim_coder, "--tasks", write_jsonl(tmp_path / "k.jsonl", ROWS), "--output_dir", folder, "--max_new_tokens", 4,
            "--bootstrap_samples", 50, "--fim_format", fim_format]  # fmt: skip
    assert evaluation.main(list(map(str, argv))) == 0
    assert list(json.loads((folder / "summary.json").read_text())["kinds"]) == list(kinds.KINDS)
    prompts = {row["kind"]: row["prompt"] for row in map(json.loads, (folder / "results.jsonl").read_text().splitlines())}
    assert prompts["fim"].startswith("<|fim_prefix|>") == (fim_format == "tokens")


@pytest.mark.parametrize(
    ("tests", "error_kind", "passed"),
    [({}, "test_failed", 1), ({"tests::a": "ok"}, None, 1), ({"tests::a": "failed"}, "test_failed", 0), ({}, "compile", 0)],
)
def test_an_edit_that_breaks_the_tests_of_the_file_earns_nothing(tests, error_kind, passed):
    verdict = Verdict(build_passed=True, tests=tests, error_kind=error_kind, hidden_passed=1, hidden_total=2, hidden_statuses=("ok", "failed"))
    counted = kinds.counted({"kind": "next_edit"}, None, verdict)
    assert (counted.hidden_passed, counted.hidden_total, counted.hidden_statuses.count("ok")) == (passed, 2, passed)
    assert any("the tests of the file" in one.message for one in counted.diagnostics) == (not passed)
    assert kinds.counted({"kind": "patch"}, None, verdict) == verdict


@pytest.mark.parametrize("columns", [{"kind": "fim"}, '{"kind": "fim"}', "left,right", "[1]", None])
def test_the_kind_of_a_record_is_read_from_jsonl_and_parquet_and_any_column_named_columns_is_taken(columns):
    assert kinds.kind_of_record({"columns": columns}) == ("fim" if "fim" in str(columns) else "write")
