"""--fix_share: what did not compile comes back as a fix task in a later step, with what cargo said, and is graded as one."""

import json
from types import SimpleNamespace

import pytest
from conftest import BROKEN, PROMPTS, ROOT, FakeJudge, write_jsonl

import kinds
import train
from rust_tool import Diagnostic, Verdict
from training import curriculum

TESTS = ["assert_eq!(add(1, 2), 3);"]
SAID = Diagnostic("E0425", "error", "cannot find value `b` in this scope", 2)


def answer(job) -> Verdict:
    if job.program is None:
        return Verdict(error_kind="no_code", hidden_passed=0, hidden_total=1)
    if "a: i32)" in job.program.source:
        return Verdict(error_kind="compile", diagnostics=(SAID,), hidden_passed=0, hidden_total=1)
    return Verdict(build_passed=True, hidden_passed=1, hidden_total=1, hidden_statuses=("ok",))


@pytest.fixture
def run(tiny_coder, tmp_path, monkeypatch):
    """Call it with flags -> (exit status, trace records)."""
    monkeypatch.setattr(train, "RustTool", lambda **options: FakeJudge(answer))
    rows = [{"task_id": f"t/{i}", "prompt": prompt, "tests": TESTS, "entry_point": "add"} for i, prompt in enumerate(PROMPTS)]
    write_jsonl(tmp_path / "tasks.jsonl", rows)

    def call(*flags):
        folder = tmp_path / "run"
        argv = ["--config", ROOT / "configs" / "tiny.yaml", "--model_name_or_path", tiny_coder, "--tasks", tmp_path / "tasks.jsonl",
                "--output_dir", folder, "--per_device_train_batch_size", 16, "--num_generations", 8, "--max_completion_length", 64,
                "--max_prompt_length", 400, "--max_steps", 2, "--rewards", "hidden_tests_reward=1", *flags]  # fmt: skip
        status = train.main(list(map(str, argv)))
        trace = folder / "trace.jsonl"
        return status, [json.loads(line) for line in trace.read_text().splitlines()] if trace.exists() else []

    return call


def test_what_did_not_compile_is_asked_for_in_a_later_step(run):
    status, records = run("--fix_share", 0.5)
    assert status == 0
    by_step = {step: [kinds.kind_of_record(record) for record in records if record["step"] == step] for step in (1, 2)}
    assert by_step[1] == ["write"] * 16 and sorted(by_step[2]) == ["fix"] * 8 + ["write"] * 8
    fixes = [record for record in records if kinds.kind_of_record(record) == "fix"]
    assert len({record["group_id"] for record in fixes}) == 1
    assert "fn add(a: i32) -> i32 {" in fixes[0]["prompt"] and "error[E0425]: cannot find value `b` in this scope" in fixes[0]["prompt"]
    assert fixes[0]["columns"]["of"] in {f"t/{i}" for i in range(len(PROMPTS))} and fixes[0]["task_id"].endswith("/again0")
    assert all(record["hidden_total"] == 1 for record in fixes)


@pytest.mark.parametrize(("tokens", "warned"), [(101, 1), (100, 0)])
def test_where_no_failed_program_fits_a_prompt_the_user_hears_of_it_once(capsys, tokens, warned):
    class Trainer(curriculum.Curriculum, SimpleNamespace):
        def _tokenize_prompts(self, prompts):
            return [[[0] * tokens]]

    trainer = Trainer(script=SimpleNamespace(fix_share=0.5, max_prompt_length=100), model=SimpleNamespace(training=True))
    for number in range(12):
        record = {"error_kind": "compile", "program": f"fn f{number}() {{ x }}", "diagnostics": []}
        trainer.keep_failures([record], [{"task_id": "t", "prompt": "Add.", "tests": ["assert!(f());"], "entry_point": "f"}])
    assert capsys.readouterr().err.count("none of 8 failed programs fits --max_prompt_length 100 with what cargo said") == warned


@pytest.mark.parametrize(
    ("flags", "message"), [(["--fix_share", 1.5], "--fix_share 1.5: expected a share from 0 to 1"), (["--fix_share", -0.1], "--fix_share -0.1")]
)
def test_a_share_that_is_none_is_refused(run, capsys, flags, message):
    assert run(*flags)[0] == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_only_compiler_errors_of_tested_tasks_come_back():
    task = {"task_id": "t/0", "prompt": "Add.", "tests": TESTS, "entry_point": "add"}
    record = {"error_kind": "compile", "program": BROKEN, "diagnostics": []}
    assert curriculum.fix_task(record, task, 0)["kind"] == "fix"
    fix = {"kind": "fix", "code": "fn a() {}", "message": ""}
    for other_record, other_task in (({"error_kind": "panic"}, {}), ({"program": None}, {}), ({}, {"tests": None}), ({}, fix)):
        assert curriculum.fix_task(record | other_record, task | other_task, 0) is None
