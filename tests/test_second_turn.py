"""--repair_turns in training: rows go on after cargo's message, only the model's own tokens are learned from, the last answer is paid."""

import json

import pytest
from conftest import ROOT, FakeJudge, passing_verdict

import generate
import train
from kinds import repair
from training.second_turn import TurnError, longest_row, user_turn
from training.trainer import TracedGRPOTrainer

SAID = "That cannot be used: no closed ```rust block. Answer again in the form that was asked for."


@pytest.fixture(scope="module")
def run(tiny_coder, prompts_file, tmp_path_factory):
    """Call it with flags -> (exit status, trace records, TRL's batch of the first step, the run folder)."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield runner(tiny_coder, prompts_file, tmp_path_factory, monkeypatch)


@pytest.fixture(scope="module")
def finished(run):
    """A run of one step."""
    return run()


def runner(tiny_coder, prompts_file, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(train, "Judge", lambda **options: FakeJudge(passing_verdict))
    monkeypatch.setattr(repair, "MESSAGE_TOKENS", 200)
    batches = []

    class Watched(TracedGRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            batches.append(super()._generate_and_score_completions(inputs))
            return batches[-1]

    monkeypatch.setattr("training.trainer.TracedGRPOTrainer", Watched)

    def call(*flags):
        folder = tmp_path_factory.mktemp("second") / "run"
        batches.clear()
        argv = ["--config", ROOT / "configs" / "tiny.yaml", "--model_name_or_path", tiny_coder, "--tasks", prompts_file, "--output_dir", folder,
                "--max_prompt_length", 256, "--per_device_train_batch_size", 16, "--num_generations", 8, "--max_completion_length", 96,
                "--max_steps", 1, "--repair_turns", 1, "--rewards", "code_block_reward=1", *flags]  # fmt: skip
        status = train.main(list(map(str, argv)))
        trace = folder / "trace.jsonl"
        records = [json.loads(line) for line in trace.read_text().splitlines()] if trace.exists() else []
        return status, records, batches[0] if batches else None, folder

    return call


def test_only_the_models_own_tokens_are_learned_from(finished, tiny_coder):
    tokenizer = generate.load_tokenizer(str(tiny_coder))
    status, records, batch, _ = finished
    assert status == 0
    again = [row for row, record in enumerate(records) if record.get("turns")]
    assert 0 < len(again) < len(records)  # a quarter of what the tiny coder writes is prose
    user = user_turn(tokenizer, SAID)
    for row, record in enumerate(records):
        ids, own = batch["completion_ids"][row].tolist(), batch["tool_mask"][row].tolist()
        n_tokens = int(batch["completion_mask"][row].sum())
        others = [token for token, is_own in zip(ids[:n_tokens], own[:n_tokens], strict=True) if not is_own]
        assert others == (user if row in again else [])
        assert sum(own[:n_tokens]) == record["n_tokens"]
    row = again[0]
    turns = tokenizer.decode(batch["completion_ids"][row][: int(batch["completion_mask"][row].sum())]).split("<|im_start|>")
    assert turns[0] == f"{records[row]['turns'][0]['completion']}<|im_end|>\n" and turns[1] == f"user\n{SAID}<|im_end|>\n"
    assert turns[2].removeprefix("assistant\n").removesuffix("<|im_end|>") == records[row]["completion"]
    assert int(batch["num_items_in_batch"]) == sum(record["n_tokens"] for record in records)


def test_the_last_answer_is_paid_and_the_tries_before_it_are_traced(finished):
    _, records, *_ = finished
    again = [record for record in records if record.get("turns")]
    assert all(len(record["turns"]) == 1 and record["turns"][0]["program"] is None for record in again)
    assert {record["turns"][0]["said"] for record in again} == {SAID}
    assert all(record["rewards"]["code_block_reward"] == float("```rust" in record["completion"]) for record in records)


def test_answers_that_are_cut_off_are_asked_once(run):
    _, records, batch, folder = run("--max_completion_length", 4)
    assert not any(record.get("turns") for record in records)
    assert batch["tool_mask"].all() and batch["completion_ids"].shape[1] == 4
    metrics = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert metrics["repair/asked_again_share"] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--repair_turns", -1], "--repair_turns -1: expected at least 0"),
        (["--min_generations", 4], "--repair_turns goes without --min_generations"),
        (["--repair_turns", 9], "exceed the 1024 tokens"),
    ],
)
def test_what_does_not_go_together_is_refused(run, capsys, flags, message):
    assert run(*flags)[0] == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_template_that_ends_answers_otherwise_is_refused(tiny_coder):
    tokenizer = generate.load_tokenizer(str(tiny_coder))
    tokenizer.eos_token = "<|endoftext|>"
    with pytest.raises(TurnError, match=r"does not end an answer with <\|endoftext\|>"):
        user_turn(tokenizer, "Again.")


def test_room_is_made_for_every_turn(monkeypatch):
    monkeypatch.setattr(repair, "MESSAGE_TOKENS", 50)
    assert (longest_row(100, 0), longest_row(100, 1), longest_row(100, 2)) == (100, 250, 400)
