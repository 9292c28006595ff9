"""training/gpu_memory.py: what a run takes at least, against real tiny models and the published sizes of large ones; what cannot fit is refused."""

import re

import pytest
from conftest import ROOT, build_model, build_tokenizer

import doctor
import train
from benchmarks import step
from training import gpu_memory

GIB = 2**30
CONFIGS = ROOT / "configs"


def of_shape(shape, **changes):
    settings = {"item_bytes": 2, "load_in_4bit": False, "nested": True, "lora_r": 16, "lora_targets": "all-linear", "row_tokens": 1280, "checkpointing": True}
    return gpu_memory.needed(step.shape_config(shape), **settings | changes)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj"]])
def test_weights_and_adapter_are_those_of_the_model(targets):
    from peft import LoraConfig, get_peft_model

    model = build_model(build_tokenizer())
    n_all = sum(weights.numel() for weights in model.parameters())
    found = gpu_memory.needed(model.config, item_bytes=4, load_in_4bit=False, nested=False, lora_r=4, lora_targets=targets, row_tokens=1, checkpointing=False)
    assert (found.weights, found.vllm_weights) == (4 * n_all, 2 * n_all)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=targets))
    n_trained = sum(weights.numel() for weights in adapted.parameters() if weights.requires_grad)
    assert found.trained == 16 * n_trained
    everything = gpu_memory.needed(model.config, item_bytes=4, load_in_4bit=False, nested=False, lora_r=0, lora_targets=None, row_tokens=1, checkpointing=False)
    assert everything.weights + everything.trained == 16 * n_all


def test_sizes_of_seven_billion_weights():
    lora, qlora, full = of_shape("7B"), of_shape("7B", load_in_4bit=True), of_shape("7B", lora_r=0)
    assert lora.weights / 1e9 == pytest.approx(15.2, abs=0.1) and lora.vllm_weights == lora.weights
    assert qlora.weights / 1e9 == pytest.approx(6.53e9 * 0.5157 / 1e9 + 1.09e9 * 2 / 1e9, abs=0.1)  # embeddings and head stay bf16
    assert full.outside_vllm / 1e9 > 60 and qlora.trained == lora.trained
    assert of_shape("7B", checkpointing=False).row > 10 * lora.row


def plan(tmp_path, size, gib, *flags, **settings):
    """What is said of a config on a card of `gib` GiB; None where it may fit. Only the model's configuration is there."""
    shape = {"3b": "3B", "7b": "7B"}[size]
    config = step.shape_config(shape)
    config.update(settings)
    config.save_pretrained(tmp_path / shape)
    argv = ["--config", CONFIGS / f"qwen2.5-coder-{size}-hidden-tests.yaml", "--model_name_or_path", tmp_path / shape, "--use_cpu", "true", "--bf16", "false", *flags]
    script, args, model_args = train.parse_arguments([str(part) for part in argv])
    try:
        return gpu_memory.require_fits(script, args, model_args, 768, gib * GIB)
    except doctor.MachineError as error:
        return str(error)


VLLM = ("--use_vllm", "true")


@pytest.mark.parametrize(
    ("size", "gib", "flags", "said"),
    [
        ("3b", 79, VLLM, None),
        ("7b", 79, VLLM, None),
        ("7b", 79, (*VLLM, "--load_in_4bit", "true"), None),
        ("7b", 79, (*VLLM, "--vllm_gpu_memory_utilization", "0.1"), "vLLM gets 7.9 GiB of a card .* alone take 14.2: raise it"),
        ("7b", 79, (*VLLM, "--vllm_mode", "server"), None),
        ("7b", 79, (*VLLM, "--use_peft", "false"), "does not fit: training takes at least .* beside vLLM .27.6.: --load_in_4bit true"),
        ("7b", 24, (), None),
        ("7b", 14, (), "training takes at least 1.*a card has 14.0 for it: "),
        ("7b", 14, ("--load_in_4bit", "true"), None),
        ("7b", 79, ("--gpu_memory_limit_gib", "12"), "a card has 12.0 for it: "),
        ("3b", 24, ("--gradient_checkpointing", "false", "--max_completion_length", "8000"), "one row [34][0-9]\\."),
    ],
)
def test_what_cannot_fit_is_refused_and_what_may_is_not(tmp_path, size, gib, flags, said):
    found = plan(tmp_path, size, gib, *flags)
    if said is None:
        assert found is None
    else:
        assert found is not None and re.search(said, found), found


def test_what_cannot_be_counted_is_not_refused(tmp_path):
    assert plan(tmp_path, "7b", 1) is not None
    assert plan(tmp_path, "7b", 1, quantization_config={"quant_method": "awq", "bits": 4}) is None
    assert plan(tmp_path, "7b", 1, "--model_init_kwargs", '{"device_map": "auto"}') is None


def test_the_plan_asks_before_anything_is_written(tiny_coder, prompts_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "gpu_bytes", lambda: 100_000)
    argv = ["--config", "configs/tiny.yaml", "--model_name_or_path", tiny_coder, "--tasks", prompts_file, "--output_dir", tmp_path / "run", "--use_cpu", "false"]
    assert train.main([str(part) for part in argv]) == 2
    assert "does not fit: training takes at least" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
