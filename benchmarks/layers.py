"""Seconds and memory of one forward and backward pass over groups that share their prompt: what each way to run the layers is worth.

    python benchmarks/layers.py                                # the shape of Qwen2.5-Coder-1.5B, random weights, on a CUDA GPU
    python benchmarks/layers.py --layers 2 --hidden 64         # a CPU will do; without a GPU there are no fused layers

bf16 weights, LoRA on all linear layers in fp32 under autocast, TRL's fused head, random tokens; `--load_in_4bit` for a 4-bit base.
Runs: PEFT's casts to fp32 and back left in; without them (train.py); with Liger's fused layers (train.py, where it is installed); both
with gradient checkpointing. The last line is JSON: {"device", "groups", "prompt", "completion", "tokens", "versions", "ratio" (seconds of
the first run over those of the fastest), "runs": {NAME: {"s", "tokens_per_s", "mib_per_token", "grad_norm"}}}; null for out of memory.
"""

import argparse
import contextlib
import importlib.metadata
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Qwen2Config
from trl.trainer.utils import add_fused_lm_head

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from train import has_fused_layers
from training import shared_prompts

COMPLETIONS = 8  # of a group
LORA = LoraConfig(r=16, lora_alpha=64, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def build(arguments: argparse.Namespace):
    """A model of random weights with an adapter, as train.py has it."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=151_936 if DEVICE == "cuda" else 1_000, hidden_size=arguments.hidden, num_hidden_layers=arguments.layers,
        intermediate_size=arguments.hidden * 35 // 6, num_attention_heads=max(1, arguments.hidden // 128), num_key_value_heads=1,
        tie_word_embeddings=True,
    )  # fmt: skip
    if arguments.hidden >= 256:
        config.num_key_value_heads = 2
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    if arguments.load_in_4bit:
        quantized = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_use_double_quant=True
        )
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.bfloat16, attn_implementation="sdpa", quantization_config=quantized, device_map={"": 0}
            )
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return get_peft_model(model.to(DEVICE) if not arguments.load_in_4bit else model, LORA).train()


def batch_of(arguments: argparse.Namespace, vocabulary: int) -> tuple[dict, list[list[int]]]:
    """Random tokens as TRL's batch, and which rows share a sequence."""
    torch.manual_seed(0)
    n_rows = COMPLETIONS * arguments.groups
    prompts = torch.randint(0, vocabulary, (arguments.groups, arguments.prompt)).repeat_interleave(COMPLETIONS, 0)
    batch = {"prompt_ids": prompts, "completion_ids": torch.randint(0, vocabulary, (n_rows, arguments.completion))}
    batch |= {name.replace("ids", "mask"): torch.ones_like(ids) for name, ids in batch.items()}
    lengths = [arguments.prompt] * n_rows, [arguments.completion] * n_rows
    members = shared_prompts.sequences([row // COMPLETIONS for row in range(n_rows)], *lengths, shared_prompts.SEQUENCE_TOKENS)
    return {name: tensor.to(DEVICE) for name, tensor in batch.items()}, members


def forward_backward(model, batch: dict, members: list[list[int]]) -> None:
    inputs, where = shared_prompts.packed(batch, members)
    with torch.autocast(DEVICE, torch.bfloat16):
        log_probs = model(**inputs, fused_lm_head=True).log_probs
    (-log_probs.flatten()[where].mean()).backward()


def measured(model, batch: dict, members: list[list[int]], repeats: int) -> dict | None:
    """Mean seconds of `repeats` passes after two that do not count; None when the memory does not suffice."""
    synchronize = torch.cuda.synchronize if DEVICE == "cuda" else lambda: None
    model.zero_grad(set_to_none=True)
    try:
        for _ in range(2):
            forward_backward(model, batch, members)
            grad_norm = float(sum(weights.grad.norm() ** 2 for weights in model.parameters() if weights.grad is not None)) ** 0.5
            model.zero_grad(set_to_none=False)
        synchronize()
        before = torch.cuda.memory_allocated() if DEVICE == "cuda" else 0
        if DEVICE == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        for _ in range(repeats):
            forward_backward(model, batch, members)
        synchronize()
    except torch.OutOfMemoryError:
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        return None
    seconds = (time.perf_counter() - started) / repeats
    lengths = [int(batch[name].shape[1]) for name in ("prompt_ids", "completion_ids")]
    n_tokens = sum(lengths[0] - 1 + len(rows) * (1 + lengths[1]) for rows in members)
    mib = (torch.cuda.max_memory_allocated() - before) / 2**20 / n_tokens if DEVICE == "cuda" else None
    found = {"s": round(seconds, 4), "tokens_per_s": round(n_tokens / seconds), "mib_per_token": mib and round(mib, 3)}
    return found | {"grad_norm": grad_norm}


def checkpointing(model, on: bool) -> None:
    base = model.get_base_model()
    if on:
        base.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    else:
        base.gradient_checkpointing_disable()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--groups", type=int, default=4, help="groups of 8 completions in the micro-batch")
    parser.add_argument("--prompt", type=int, default=382, help="tokens")
    parser.add_argument("--completion", type=int, default=220, help="tokens")
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--hidden", type=int, default=1536)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--load_in_4bit", action="store_true")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    arguments = parser.parse_args(argv)
    model = build(arguments)
    batch, members = batch_of(arguments, model.config.vocab_size)
    runs = {}

    def run(name: str, casts: bool = False) -> None:
        with contextlib.nullcontext() if casts else disable_input_dtype_casting(model):
            runs[name] = measured(model, batch, members, arguments.repeats)
        print(f"{name:34} {json.dumps(runs[name])}", file=sys.stderr, flush=True)

    run("PEFT's casts", casts=True)
    run("no casts")
    checkpointing(model, on=True)
    run("no casts, checkpointing")
    checkpointing(model, on=False)
    if has_fused_layers(DEVICE):
        from transformers.integrations.liger import apply_liger_kernel

        apply_liger_kernel(model, {"fused_linear_cross_entropy": False})  # as TRL asks for
        run("fused layers")
        checkpointing(model, on=True)
        run("fused layers, checkpointing")
    lengths = arguments.prompt, arguments.completion
    first, *others = (found["s"] for found in runs.values() if found)
    result = {
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU", "groups": arguments.groups, "prompt": arguments.prompt,
        "completion": arguments.completion, "load_in_4bit": arguments.load_in_4bit,
        "tokens": sum(lengths[0] - 1 + len(rows) * (1 + lengths[1]) for rows in members),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft", "trl")},
        "ratio": round(first / min(others), 2), "runs": runs,
    }  # fmt: skip
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
