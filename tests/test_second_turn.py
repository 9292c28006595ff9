"""--repair_turns in training: rows go on after cargo's message, only the model's own tokens are learned from, the last answer is paid."""

import json
from types import SimpleNamespace

import pytest
from conftest import ROOT, FakeJudge, passing_verdict, sampled

import doctor
import generate
import train
from kinds import repair
from rewards import ReadingJudge
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
    monkeypatch.setattr(train, "RustTool", lambda **options: FakeJudge(passing_verdict))
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


def test_two_updates_of_one_batch_learn_from_every_turn_as_trls_own_batches_do(run):
    from safetensors.torch import load_file

    flags = ("--per_device_train_batch_size", 8, "--steps_per_generation", 2, "--max_steps", 2, "--groups_per_update", 1, "--optim", "sgd",
             "--learning_rate", 20, "--max_grad_norm", 0, "--use_peft", "true", "--lora_dropout", 0, "--save_strategy", "no")  # fmt: skip
    adapters = []
    for budget in (0, 500):
        status, records, _, folder = run(*flags, "--tokens_per_micro_batch", budget)
        assert status == 0 and any(record.get("turns") and record["is_trained"] for record in records)
        adapters.append(load_file(folder / "adapter" / "adapter_model.safetensors"))
    for name, tensor in adapters[0].items():
        assert (adapters[1][name] - tensor).abs().max() <= 2e-3 * tensor.abs().max(), name
    clipped = [json.loads(line)["clip_ratio/region_mean"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert clipped[0] == 0 < clipped[1]


def test_the_last_answer_is_paid_and_the_tries_before_it_are_traced(finished):
    _, records, *_ = finished
    again = [record for record in records if record.get("turns")]
    assert all(len(record["turns"]) == 1 and record["turns"][0]["program"] is None for record in again)
    assert {record["turns"][0]["said"] for record in again} == {SAID}
    assert all(record["rewards"]["code_block_reward"] == float("```rust" in record["completion"]) for record in records)


class Engine:
    """vllm.LLM as TRL calls it: token ids without text, the sampled token's log-prob beside each; the latest request ends first."""

    def __init__(self, model, tokenizer, max_model_len):
        self.model, self.tokenizer, self.max_model_len, self.asked = model, tokenizer, max_model_len, []
        self.llm_engine, self.waiting = self, {}

    def generate(self, prompts, sampling_params, use_tqdm):
        assert (sampling_params.detokenize, sampling_params.n, sampling_params.logprobs) == (False, 1, 0)
        self.asked.append([prompt["prompt_token_ids"] for prompt in prompts])
        assert max(map(len, self.asked[-1])) + sampling_params.max_tokens <= self.max_model_len
        self.waiting = {number: (ids, sampling_params.max_tokens) for number, ids in enumerate(self.asked[-1])}
        finished = {}
        while self.waiting:
            finished |= {output.request_id: output for output in self.llm_engine.step()}
        return [finished[number] for number in sorted(finished)]

    def step(self):
        number, (prompt, n_tokens) = self.waiting.popitem()
        ids, logps = sampled(self.model, prompt, n_tokens, self.tokenizer.pad_token_id)
        logprobs = [{token: SimpleNamespace(rank=1, logprob=value)} for token, value in zip(ids, logps, strict=True)]
        answer = SimpleNamespace(text="", token_ids=ids, logprobs=logprobs)
        return [SimpleNamespace(request_id=number, finished=True, prompt_token_ids=prompt, outputs=[answer])]


class ReadsHere(ReadingJudge):
    """A GradingProcess in this process; what it was given ahead is kept."""

    def __init__(self, **options):
        super().__init__(FakeJudge(passing_verdict))
        self.started, self.describe, self.close = [], self.judge.describe, self.judge.close

    def start(self, task, completion):
        self.started.append(completion)


def test_vllm_goes_on_with_the_tokens_that_it_sampled(run, tiny_coder, monkeypatch):
    """TRL's own generation code over an engine that answers as vLLM does: the trained model's log-probs are those of what was sampled."""
    import trl.generation.vllm_generation as generation
    import trl.trainer.grpo_trainer as grpo

    class Generation(generation.VLLMGeneration):
        def _init_vllm(self):
            engines.append(Engine(self.model, self.processing_class, self.max_model_length))
            self.llm = engines[-1]

        def sync_weights(self):
            pass

    engines, judges = [], []
    monkeypatch.setattr(grpo, "VLLMGeneration", Generation)
    monkeypatch.setattr(generation, "VLLMGeneration", Generation)
    monkeypatch.setattr(generation, "SamplingParams", SimpleNamespace, raising=False)
    monkeypatch.setattr(doctor, "require_vllm", lambda: None)
    monkeypatch.setattr(train, "GradingProcess", lambda **options: judges.append(ReadsHere()) or judges[-1])
    status, records, batch, folder = run("--use_vllm", "true", "--temperature", 1.0)
    first, second = engines[0].asked
    again = [row for row, record in enumerate(records) if record.get("turns")]
    assert status == 0 and len(first) == len(records) and 0 < len(again) == len(second) < len(first)
    user = user_turn(generate.load_tokenizer(str(tiny_coder)), SAID)
    ids, own = batch["completion_ids"].tolist(), batch["tool_mask"].tolist()
    for row, prompt in zip(again, second, strict=True):
        assert prompt[: len(first[row])] == first[row] and prompt[-len(user) :] == user
        behind = len(prompt) - len(first[row])
        assert ids[row][:behind] == prompt[len(first[row]) :] and own[row][behind - len(user) : behind] == [0] * len(user)
    texts = [turn["completion"] for record in records for turn in (*record.get("turns", ()), record)]
    assert sorted(judges[0].started) == sorted(texts)
    metrics = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert metrics["sampling/sampling_logp_difference/max"] == pytest.approx(0, abs=1e-3)
    assert metrics["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-3)


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
        (["--repair_turns", 9], "--repair_turns 9, which may take "),
        (["--repair_turns", 9], "exceed the 1024 tokens"),
        (["--vllm_max_model_length", 600], "--vllm_max_model_length 600 is less than the 648 tokens that a prompt and its turns may take"),
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
