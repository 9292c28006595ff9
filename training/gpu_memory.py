"""Whether a run can fit on a GPU at all, by arithmetic on the model's configuration, before any weights are loaded.

A lower bound: weights, what training needs of each trained one, one row of the longest length, and what vLLM takes on the same card.
Not counted: the CUDA context, the head's logits, buffers of bitsandbytes while it loads. What passes may still run out of memory.
"""

from dataclasses import dataclass

from doctor import MachineError
from generate import load_config
from training import micro_batches

GIB = 2**30
NF4_BYTES = (0.5 + 4 / 64, 0.5 + 1 / 64 + 4 / (64 * 256))  # a weight and its share of the block's scale; scales quantised too, or not
OF_TRAINED_WEIGHT = 4  # itself, its gradient and Adam's two moments
ADAPTER_ITEM_BYTES = 4  # PEFT keeps adapters in fp32 beside a bf16 or 4-bit base
VLLM_ITEM_BYTES = 2


@dataclass(frozen=True)
class Needed:
    """Bytes on one GPU. `vllm_weights` lie in vLLM's share of the card, the others outside of it."""

    weights: float
    trained: float
    row: float
    vllm_weights: float

    @property
    def outside_vllm(self) -> float:
        return self.weights + self.trained + self.row


def empty_model(config):
    """The model of a transformers config without memory for its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def needed(config, *, item_bytes: int, load_in_4bit: bool, nested: bool, lora_r: int, lora_targets, row_tokens: int,
           checkpointing: bool, fused: bool = False) -> Needed:  # fmt: skip
    """What training a model of this config takes; `lora_r` 0 trains all weights. `lora_targets`: "all-linear" or ends of names."""
    import torch

    model = empty_model(config)
    head = model.get_output_embeddings()
    layers = {name: part for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and part is not head}
    n_linear = sum(layer.weight.numel() for layer in layers.values())
    n_all = sum(weights.numel() for weights in model.parameters())  # tied ones once
    if lora_r:
        ends = tuple([lora_targets] if isinstance(lora_targets, str) else lora_targets)
        adapted = layers.values() if ends == ("all-linear",) else [layer for name, layer in layers.items() if name.endswith(ends)]
        n_adapter = sum(lora_r * (layer.in_features + layer.out_features) for layer in adapted)
        trained = n_adapter * ADAPTER_ITEM_BYTES * OF_TRAINED_WEIGHT
    else:
        trained = n_all * item_bytes * (OF_TRAINED_WEIGHT - 1)
    of_linear = NF4_BYTES[nested] if load_in_4bit else item_bytes
    row = row_tokens * micro_batches.bytes_per_token(config.get_text_config(), checkpointing, fused)
    return Needed(n_linear * of_linear + (n_all - n_linear) * item_bytes, trained, row, n_all * VLLM_ITEM_BYTES)


def require_fits(script, args, model_args, longest_prompt_tokens: int, total_bytes: float) -> None:
    """The run can fit on a card of `total_bytes`. Raises MachineError with what it takes; what cannot be counted is not refused."""
    config, is_spread = load_config(model_args.model_name_or_path), "device_map" in (args.model_init_kwargs or {})
    if args.fsdp or args.deepspeed or is_spread or getattr(config, "quantization_config", None) or getattr(config, "auto_map", None):
        return  # over several cards, in another number of bits, or by the model's own code
    item_bytes = 4 if model_args.dtype == "float32" else 2
    is_without = args.gradient_checkpointing is False and not script.chooses_checkpointing
    found = needed(
        config, item_bytes=item_bytes, load_in_4bit=model_args.load_in_4bit,
        nested=model_args.use_bnb_nested_quant, lora_r=model_args.lora_r if model_args.use_peft else 0,
        lora_targets=model_args.lora_target_modules or "all-linear", row_tokens=longest_prompt_tokens + args.max_completion_length,
        checkpointing=not is_without, fused=args.use_liger_kernel,
    )  # fmt: skip
    is_here = args.use_vllm and args.vllm_mode == "colocate"
    of_vllm = args.vllm_gpu_memory_utilization * total_bytes if is_here else 0.0
    limit = min(script.gpu_memory_limit_gib * GIB if script.gpu_memory_limit_gib else total_bytes, total_bytes)
    its_weights = found.vllm_weights / args.vllm_tensor_parallel_size
    if is_here and its_weights > of_vllm:
        raise MachineError(
            f"vLLM gets {of_vllm / GIB:.1f} GiB of a card (--vllm_gpu_memory_utilization {args.vllm_gpu_memory_utilization:g}) and the "
            f"weights of {model_args.model_name_or_path} alone take {its_weights / GIB:.1f}: raise it, or give vLLM cards of its own"
        )
    left = limit - (0.0 if args.vllm_enable_sleep_mode else of_vllm)
    if found.outside_vllm > left:
        parts = f"weights {found.weights / GIB:.1f}, adapter or optimizer {found.trained / GIB:.1f}, one row {found.row / GIB:.1f}"
        raise MachineError(
            f"{model_args.model_name_or_path} does not fit: training takes at least {found.outside_vllm / GIB:.1f} GiB ({parts}) and a "
            f"card has {left / GIB:.1f} for it{f' beside vLLM ({of_vllm / GIB:.1f})' if left < limit else ''}: --load_in_4bit true, "
            "--use_peft true, --gradient_checkpointing true, a shorter --max_completion_length or less for vLLM take less"
        )
