"""Micro-batches filled by tokens: the rows of a training batch sorted by length and cut where a token budget is full.

TRL 1.16 pads every micro-batch to the longest prompt and the longest completion of the whole generation batch, and fills it by a
count of rows. Its default loss (dapo) divides by the tokens of the whole batch, so which rows share a micro-batch does not change
the gradient: they may as well be those of one length.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

# Activations that backward needs, per unit of hidden and of intermediate size, bf16 with LoRA on all linear layers. Measured on an
# H200 with Qwen2.5-Coder-1.5B: 2.90 MiB a token, with Liger's fused layers 2.26; with gradient checkpointing 0.22 of the former.
BYTES_PER_TOKEN_OF_LAYER = (24, 8)
FUSED_BYTES_PER_TOKEN_OF_LAYER = (20, 6)
CHECKPOINTED_SHARE = 0.085
MEMORY_SHARE = 0.7  # of the free memory is planned for activations; the rest is for the head's chunks and fragmentation
CPU_TOKENS = 16_384
ROWS_WITHOUT_CHECKPOINTING = 2  # of the longest possible; with fewer in memory, checkpointing's larger micro-batches are worth their price
TOKEN_RANGE = (2_048, 32_768)  # below it the card is not filled, above it nothing gets faster


def bytes_per_token(config, checkpointing: bool, fused: bool = False) -> float:
    """Activations of one token that backward needs, for a model of this transformers config. fused: Liger's layers keep fewer."""
    of_hidden, of_intermediate = FUSED_BYTES_PER_TOKEN_OF_LAYER if fused else BYTES_PER_TOKEN_OF_LAYER
    of_layer = of_hidden * config.hidden_size + of_intermediate * config.intermediate_size
    return config.num_hidden_layers * of_layer * (CHECKPOINTED_SHARE if checkpointing else 1.0)


def fitting_tokens(config, free_bytes: float, checkpointing: bool, fused: bool = False) -> int:
    """Padded tokens of one micro-batch that fit into `free_bytes` of GPU memory. `fused` as for bytes_per_token."""
    return int(MEMORY_SHARE * free_bytes / bytes_per_token(config, checkpointing, fused))


def token_budget(fitting: int) -> int:
    """What is planned for where so many tokens fit: a number in TOKEN_RANGE, though less may fit."""
    return min(max(fitting, TOKEN_RANGE[0]), TOKEN_RANGE[1])


def cut(prompt_lengths: Sequence[int], completion_lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Row numbers of each micro-batch, the longest rows first; rows x (longest prompt + longest completion) stays within `budget`.

    A row longer than the budget is a micro-batch of its own.
    """
    order = sorted(range(len(prompt_lengths)), key=lambda row: (-prompt_lengths[row] - completion_lengths[row], row))
    parts: list[list[int]] = []
    longest = (0, 0)
    for row in order:
        wider = max(longest[0], prompt_lengths[row]), max(longest[1], completion_lengths[row])
        if parts and (len(parts[-1]) + 1) * sum(wider) <= budget:
            parts[-1].append(row)
            longest = wider
        else:
            parts.append([row])
            longest = prompt_lengths[row], completion_lengths[row]
    return parts


def split_to(parts: list[list], n: int, halves: Callable = lambda item: None) -> list[list]:
    """The same items in exactly `n` micro-batches, by halving the fullest; where each holds one item, by halving that.

    `n` is at least len(parts). halves: an item -> two, or None when it cannot be cut. Raises ValueError when nothing can be cut.
    """
    parts = [list(part) for part in parts]
    while len(parts) < n:
        fullest = max(range(len(parts)), key=lambda i: len(parts[i]))
        items = parts[fullest]
        if len(items) == 1:
            fullest, items = next(((i, list(cut)) for i, part in enumerate(parts) if (cut := halves(part[0]))), (0, []))
            if not items:
                raise ValueError(f"{len(parts)} micro-batches of a row each cannot be {n}")
        parts[fullest : fullest + 1] = [items[: len(items) // 2], items[len(items) // 2 :]]
    return parts


def joined(batches: Sequence[dict]) -> dict:
    """Batches of one generation (dicts of tensors, rows first, equal widths) as one; scalars are those of the first."""
    import torch

    return {
        key: torch.cat([batch[key] for batch in batches]) if getattr(value, "ndim", 0) else value for key, value in batches[0].items()
    }


def only_rows(batch: dict, rows) -> dict:
    """These rows of a TRL batch, in this order; `rows` is what a tensor takes as an index."""
    return {key: value[rows] if getattr(value, "ndim", 0) else value for key, value in batch.items()}


def mask_of_model(batch: Mapping):
    """Which tokens of the completions, (B, C), the model wrote itself: not a user's turn among them, nor padding."""
    return batch["completion_mask"] * batch.get("tool_mask", 1)


def trimmed(batch: dict, rows: Sequence[int]) -> dict:
    """These rows of a TRL batch without the columns that only other rows fill.

    Prompts, shape (B, P), are padded on the left; completions, (B, C), on the right, and so is every tensor as wide as they.
    """
    import torch

    rows = torch.as_tensor(rows, device=batch["prompt_mask"].device)
    n_prompt = max(1, int(batch["prompt_mask"][rows].sum(dim=1).max()))
    n_completion = max(1, int(batch["completion_mask"][rows].sum(dim=1).max()))
    width = batch["completion_ids"].shape[1]
    taken = {}
    for key, value in batch.items():
        if not getattr(value, "ndim", 0):
            taken[key] = value
        elif key.startswith("prompt_"):
            taken[key] = value[rows][:, value.shape[1] - n_prompt :]
        elif value.ndim == 2 and value.shape[1] == width:
            taken[key] = value[rows][:, :n_completion]
        else:
            taken[key] = value[rows]
    return taken


@contextlib.contextmanager
def entropy_by_tokens(trainer, part: Mapping, batch: Mapping, is_last: bool) -> Iterator[None]:
    """TRL's entropy bonus is the mean of a micro-batch over how many it takes for a step: while open, each counts by its tokens.

    TRL adapts the coefficient (`--use_adaptive_entropy`) at the end of a step, by the entropy of all its tokens: after the last part only.
    """
    coefficient, ends_step, args = trainer.entropy_coef, trainer.accelerator.sync_gradients, trainer.args
    if coefficient == 0 and not trainer.use_adaptive_entropy:
        yield  # no bonus: nothing to wait for the card for
        return
    share = part["completion_mask"].sum().item() / max(1, batch["completion_mask"].sum().item())
    trainer.entropy_coef = coefficient * share * trainer._slots()
    trainer.accelerator.sync_gradients = ends_step and is_last
    try:
        yield
        if trainer.use_adaptive_entropy and trainer.accelerator.sync_gradients:  # as TRL has just done with the scaled one
            change = args.entropy_coef_delta if trainer._last_world_entropy <= args.entropy_target else -args.entropy_coef_delta
            coefficient = min(max(coefficient + change, args.entropy_coef_min), args.entropy_coef_max)
    finally:
        trainer.entropy_coef, trainer.accelerator.sync_gradients = coefficient, ends_step
        if logged := trainer._metrics["train"].get("entropy_coef"):
            logged[-1] = coefficient


@contextlib.contextmanager
def unequal_rows(accelerator) -> Iterator[None]:
    """While open, `accelerator.gather` takes one value a row from processes with different numbers of rows; NaN fills what they lack.

    TRL gathers values of a micro-batch's rows, of which its processes have equally many: NCCL waits for ever where they have not.
    """
    gather = accelerator.gather
    if accelerator.num_processes > 1:
        accelerator.gather = lambda values: gather(accelerator.pad_across_processes(values, pad_index=math.nan))
    try:
        yield
    finally:
        vars(accelerator).pop("gather", None)
