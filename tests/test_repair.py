"""--repair_turns: what failed visibly is asked again with cargo's words, the last answer counts, the first is remembered."""

import json

import pytest
from conftest import FakeJudge, write_jsonl

import eval as evaluation
from generate import Completion
from kinds import repair
from rust_tool import Diagnostic, Verdict

BROKEN = "```rust\nfn add(a: i32) -> i32 {\n    b\n}\n```"
GOOD = "```rust\nfn add(a: i32, b: i32) -> i32 {\n    a + b\n}\n```"
WRONG = GOOD.replace("+", "-")
TESTS = ["assert_eq!(add(1, 2), 3);"]


def answer(job) -> Verdict:
    """Without a `b` it does not compile, with a minus it is wrong, of which only the hidden test tells."""
    if job.program is None:
        return Verdict(error_kind="no_code", hidden_passed=0, hidden_total=1)
    if "a: i32)" in job.program.source:
        said = (Diagnostic("E0425", "error", "cannot find value `b` in this scope", 2),)
        return Verdict(error_kind="compile", hidden_passed=0, hidden_total=1, diagnostics=said)
    passed = int("a + b" in job.program.source)
    return Verdict(build_passed=True, hidden_passed=passed, hidden_total=1, hidden_statuses=("ok" if passed else "failed",))


class Scripted:
    """A generator that answers each conversation of a task by its list of answers in turn."""

    def __init__(self, script):
        self.script, self.asked = script, []

    def generate(self, conversations, sampling, adapter=None, done=()):
        for index, messages in enumerate(conversations):
            if index not in done:
                self.asked.append(messages)
                texts = self.script[messages[0]["content"]]
                turn = sum(message["role"] == "assistant" for message in messages)
                yield [(index, Completion(texts[turn], 5, True, 7))]

    def close(self):
        pass


SCRIPT = {"Mend it.": [BROKEN, GOOD], "Fail.": [BROKEN, BROKEN], "Right.": [GOOD], "Wrong.": [WRONG], "Prose.": ["Well.", GOOD]}


@pytest.fixture
def run(tmp_path, monkeypatch, tiny_coder):
    """Call it with flags -> (summary, records by prompt, the generator)."""
    rows = [{"task_id": prompt, "prompt": prompt, "tests": TESTS, "entry_point": "add"} for prompt in SCRIPT]
    write_jsonl(tmp_path / "tasks.jsonl", rows)
    monkeypatch.setattr(evaluation, "open_judge", lambda args: FakeJudge(answer))

    def call(*flags, out="out"):
        generator = Scripted(SCRIPT)
        monkeypatch.setattr(evaluation, "open_generator", lambda *args: generator)
        argv = ["--model", tiny_coder, "--tasks", tmp_path / "tasks.jsonl", "--output_dir", tmp_path / out, "--system_prompt", "none",
                "--max_new_tokens", 64, "--bootstrap_samples", 50, *flags]  # fmt: skip
        status = evaluation.main(list(map(str, argv)))
        if status:
            return status, None, generator
        records = map(json.loads, (tmp_path / out / "results.jsonl").read_text().splitlines())
        return json.loads((tmp_path / out / "summary.json").read_text()), {record["task_id"]: record for record in records}, generator

    return call


def test_the_last_answer_counts_and_the_first_is_remembered(run, tmp_path):
    summary, records, generator = run("--repair_turns", 1)
    assert {prompt: record["completion"] for prompt, record in records.items()} == {prompt: texts[-1] for prompt, texts in SCRIPT.items()}
    assert records["Mend it."]["turns"][0]["completion"] == BROKEN and records["Mend it."]["rewards"]["hidden_tests_reward"] == 1
    assert "turns" not in records["Right."] and "turns" not in records["Wrong."]  # nothing is seen to be wrong
    (part,) = summary["repair"].values()
    assert [row["metrics"]["pass@1"]["value"] for row in part["rows"]] == [0.2, 0.6]
    assert part["differences"][0]["metrics"]["pass@1"]["value"] == 0.4
    assert part["codes"] == {"all": {"n": 2, "builds": 1, "solved": 1}, "E0425": {"n": 2, "builds": 1, "solved": 1}}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| E0425       | 2           | 50.0             | 50.0" in table
    assert summary["rows"][0]["metrics"]["pass@1"]["value"] == 0.6 and summary["protocol"]["repair_turns"] == 1


def test_the_user_says_what_cargo_said(run):
    _, _, generator = run("--repair_turns", 1)
    (again,) = [messages for messages in generator.asked if len(messages) == 3 and messages[0]["content"] == "Mend it."]
    assert again[1] == {"role": "assistant", "content": BROKEN}
    assert again[2]["content"].startswith(
        "That does not build. cargo says:\n\n```text\nerror[E0425]: cannot find value `b` in this scope\n --> line 2\n  |     b\n```\n\nMend it"
    )
    assert not any(test in turn["content"] for messages in generator.asked for turn in messages for test in TESTS)


def test_a_further_try_sees_all_before_it(run, monkeypatch):
    monkeypatch.setitem(SCRIPT, "Fail.", [BROKEN, BROKEN, "Well.", GOOD])
    _, records, generator = run("--repair_turns", 3)
    assert records["Fail."]["completion"] == GOOD and len(records["Fail."]["turns"]) == 3
    (last,) = [messages for messages in generator.asked if len(messages) == 7]
    assert [turn["content"] for turn in last[1::2]] == [BROKEN, BROKEN, "Well."]
    assert last[-1]["content"] == "That cannot be used: no closed ```rust block. Answer again in the form that was asked for."


def test_a_finished_run_is_asked_nothing_again_and_a_killed_one_goes_on(run, tmp_path, monkeypatch):
    real, calls = repair.tries_before, []

    def dies(record):
        calls.append(record)
        raise KeyboardInterrupt

    monkeypatch.setattr(repair, "tries_before", dies)
    assert run("--repair_turns", 1)[0] == 130 and calls
    monkeypatch.setattr(repair, "tries_before", real)
    _, records, generator = run("--repair_turns", 1)
    assert records["Mend it."]["completion"] == GOOD and all(len(messages) == 3 for messages in generator.asked)
    assert not run("--repair_turns", 1)[2].asked
    assert run("--repair_turns", 2)[0] == 2  # another protocol


def test_without_turns_nothing_is_said_of_them(run):
    summary, records, _ = run()
    assert "repair" not in summary and "repair_turns" not in summary["protocol"]
    assert records["Mend it."]["completion"] == BROKEN


def test_what_the_machine_fails_keeps_its_first_try(run, monkeypatch):
    infra = lambda job: Verdict(error_kind="infra") if job.program is not None and "+" in job.program.source else answer(job)
    monkeypatch.setattr(evaluation, "open_judge", lambda args: FakeJudge(infra))
    monkeypatch.setitem(SCRIPT, "Right.", [BROKEN, BROKEN])
    _, records, _ = run("--repair_turns", 1, "--max_infra_share", 0.9)
    assert records["Mend it."]["completion"] == BROKEN and records["Mend it."]["error_kind"] == "compile"


def test_a_conversation_that_does_not_fit_gets_no_second_try(run, monkeypatch, capsys):
    monkeypatch.setattr(repair, "MESSAGE_TOKENS", -60)
    _, records, generator = run("--repair_turns", 1)
    assert records["Mend it."]["completion"] == BROKEN and all(len(messages) == 1 for messages in generator.asked)
    assert "3 conversations were too long for another try" in " ".join(capsys.readouterr().err.split())


def test_turns_are_for_models_and_at_least_none(run, tmp_path, capsys):
    assert run("--repair_turns", -1)[0] == 2
    assert "--repair_turns -1: expected at least 0" in capsys.readouterr().err
    argv = ["--completions", str(tmp_path / "tasks.jsonl"), "--repair_turns", "1", "--output_dir", str(tmp_path / "o")]
    assert evaluation.main(argv) == 2
    assert "--repair_turns goes with --model" in capsys.readouterr().err
