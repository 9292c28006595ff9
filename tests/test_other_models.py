"""Models of other makers: tiny random ones of their shapes, with chat templates as theirs. They train, are merged and evaluated.

The shapes differ in what this project touches: heads tied to the embeddings or not, attention that is not over the whole text, where the
chat template puts the beginning of the text, whether it has a system role, and which tokens are named.
"""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
import trl
from conftest import KNOWN_COMPLETIONS, PROMPTS, FakeJudge, build_tokenizer

import eval as evaluation
import tasks
import train
from generate import tokenize
from training import shared_prompts

QWEN3 = """{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"""
LLAMA = """{{- bos_token }}{%- for m in messages %}{{- '<|start|>' + m.role + '<|end|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant<|end|>\\n\\n' }}{%- endif %}"""
GEMMA = """{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim + '<end_of_turn>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
LLAMA_TOKENS = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": None}  # nothing pads
GEMMA_TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "extra_special_tokens": ["<end_of_turn>"]}  # the model names what ends a turn

# model type: (its settings, chat template, tokens, system prompt, whether a group shares its prompt)
SHAPES = {
    "qwen3": ({"head_dim": 16, "tie_word_embeddings": True}, QWEN3, {}, "Write Rust.", True),
    "llama": ({"tie_word_embeddings": False}, LLAMA, LLAMA_TOKENS, "Write Rust.", True),
    "gemma": ({"head_dim": 32, "tie_word_embeddings": True}, GEMMA, GEMMA_TOKENS, "none", True),
    "gemma3_text": ({"head_dim": 16, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}, GEMMA, GEMMA_TOKENS, "none", False),
}  # fmt: skip


@pytest.fixture(scope="module", params=SHAPES)
def model(request, tmp_path_factory):
    """Folder, tokenizer and system prompt of a model of about 0.1 million parameters."""
    from transformers import AutoConfig, AutoModelForCausalLM

    settings, template, tokens, system, shares = SHAPES[request.param]
    folder, tokenizer = tmp_path_factory.mktemp(request.param), copy.deepcopy(build_tokenizer())
    tokenizer.add_special_tokens({name: token for name, token in tokens.items() if token})
    tokenizer.pad_token, tokenizer.chat_template = tokens.get("pad_token", tokenizer.pad_token), template
    ends = tokenizer.convert_tokens_to_ids([tokenizer.eos_token, *tokens.get("extra_special_tokens", [])])
    torch.manual_seed(0)
    common = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    common |= {"num_key_value_heads": 2, "max_position_embeddings": 1024, "eos_token_id": ends, "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(request.param, **common | settings | {"bos_token_id": tokenizer.bos_token_id})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    system_prompt = tmp_path_factory.mktemp("prompts") / "system.txt"
    system_prompt.write_text(system)
    return SimpleNamespace(folder=folder, tokenizer=tokenizer, shares=shares, ends=ends, prompt_ids=[], system_prompt="none" if system == "none" else system_prompt)


@pytest.fixture(scope="module")
def trained(model, prompts_file, tmp_path_factory):
    """A function: flags -> run folder after one step of gradient descent; rewards are lengths."""
    folder = tmp_path_factory.mktemp("runs")
    own = folder / "own.py"
    own.write_text("def by_length(completions, **kwargs):\n    return [len(completion[-1]['content']) / 100 for completion in completions]\n")

    def run(name, *flags):
        argv = ["--config", "configs/tiny.yaml", "--model_name_or_path", model.folder, "--tasks", prompts_file, "--output_dir", folder / name,
                "--system_prompt", model.system_prompt, "--max_steps", 1, "--per_device_train_batch_size", 8, "--num_generations", 4,
                "--max_completion_length", 32, "--max_prompt_length", 400, "--optim", "sgd", "--learning_rate", 1.0, "--max_grad_norm", 0,
                "--use_peft", "true", "--lora_target_modules", "all-linear", "--rewards", f"{own}:by_length=1", "--save_strategy", "no", *flags]  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train, "RustTool", FakeJudge)
            real = trl.GRPOTrainer._generate_single_turn
            watched = lambda self, prompt_ids, *args, **kwargs: model.prompt_ids.extend(prompt_ids) or real(self, prompt_ids, *args, **kwargs)
            patch.setattr(trl.GRPOTrainer, "_generate_single_turn", watched)
            assert train.main([str(part) for part in argv]) == 0
        return folder / name

    return run


@pytest.fixture(scope="module")
def run(trained):
    return trained("ours", "--save_merged", "true")


def test_one_step_has_the_gradient_of_trls_own_batches(model, trained, run):
    from safetensors.torch import load_file
    from transformers import AutoConfig

    ours, trls = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (run, trained("trls", "--tokens_per_micro_batch", 0)))
    names = [name for name in trls if "lora_B" in name]
    assert max(trls[name].abs().max() for name in names) > 0
    assert all((ours[name] - trls[name]).abs().max() <= 1e-3 * trls[name].abs().max() for name in names)
    config = AutoConfig.from_pretrained(model.folder)
    config._attn_implementation = "sdpa"
    assert shared_prompts.can_share(config) == model.shares


def test_merged_loads_and_says_what_base_and_adapter_say(model, run):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, (merged, told) = AutoModelForCausalLM.from_pretrained(model.folder), AutoModelForCausalLM.from_pretrained(run / "merged", output_loading_info=True, dtype="float32")
    assert not any(told.values()), "every weight is there, and no other"
    ids = model.tokenizer(KNOWN_COMPLETIONS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        before, after = base(ids).logits, merged(ids).logits
        adapted = PeftModel.from_pretrained(base, run / "adapter")(ids).logits
    assert (after - adapted).abs().max() < 0.05 * (before - before.mean()).abs().max(), "merged is bf16"
    assert {*merged.generation_config.eos_token_id} == {*model.ends}, "what ends a completion is kept"


def test_an_adapter_is_evaluated_on_the_prompts_it_was_trained_on(model, run, prompts_file, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "open_judge", lambda args: FakeJudge())
    flags = ["--model", model.folder, "--adapter", run / "adapter", "--tasks", prompts_file, "--system_prompt", model.system_prompt, "--limit", 2,
             "--max_new_tokens", 16, "--output_dir", tmp_path / "out", "--bootstrap_samples", 10, "--backend", "transformers"]  # fmt: skip
    assert evaluation.main([str(flag) for flag in flags]) == 0
    graded = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [record["prompt"] for record in graded] == [*PROMPTS[:2]] * 2
    system = tasks.read_system_prompt(str(model.system_prompt))
    asked = tokenize(model.tokenizer, [tasks.build_messages(prompt, system) for prompt in PROMPTS])
    assert model.prompt_ids and all(ids in asked for ids in model.prompt_ids), "what is trained on is what is asked in an evaluation"
    begins = model.tokenizer.bos_token_id
    assert {ids.count(begins) for ids in asked} == {int(begins is not None)}


def test_a_tokenizer_that_names_no_end_is_refused(tmp_path, capsys):
    tokenizer = copy.deepcopy(build_tokenizer())
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    assert train.main(["--config", "configs/tiny.yaml", "--model_name_or_path", str(tmp_path), "--output_dir", str(tmp_path / "run")]) == 2
    assert "names no eos_token" in " ".join(capsys.readouterr().err.split())
