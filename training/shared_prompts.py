"""The completions of one prompt in one sequence: the prompt goes through the model once, however large its group.

    [prompt without its last token] [last token, completion 1] [last token, completion 2] ...

Each completion sees the prompt and itself, at the positions it would have alone; the last token of the prompt, which predicts the first
of a completion, is there once for each. The sums are those of separate rows, and so is the gradient; only their order differs.
"""

from collections.abc import Hashable, Sequence

SEQUENCE_TOKENS = 4_096  # longer ones are cut: attention's cost grows with the square, masked or not


def can_share(config) -> bool:
    """Whether a model of this transformers config attends to what a mask of truth values allows, and to nothing else."""
    default = "full_attention" if getattr(config, "sliding_window", None) is None else "sliding_attention"
    layers = set(getattr(config, "layer_types", None) or [default])
    return config._attn_implementation == "sdpa" and layers == {"full_attention"}


def sequences(prompts: Sequence[Hashable], prompt_lengths: Sequence[int], completion_lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Row numbers of each sequence: rows of equal `prompts`, at most `limit` tokens together, or one row alone."""
    found: list[list[int]] = []
    open_one: dict[Hashable, tuple[list[int], int]] = {}  # of each prompt: the sequence being filled, and its tokens
    for row in sorted(range(len(prompts)), key=lambda row: (-completion_lengths[row], row)):
        members, tokens = open_one.get(prompts[row], ([], limit))
        if tokens + 1 + completion_lengths[row] > limit:
            members, tokens = [], prompt_lengths[row] - 1
            found.append(members)
        members.append(row)
        open_one[prompts[row]] = members, tokens + 1 + completion_lengths[row]
    return found


def n_tokens(sequence: Sequence[int], prompt_lengths: Sequence[int], completion_lengths: Sequence[int]) -> int:
    return prompt_lengths[sequence[0]] - 1 + sum(1 + completion_lengths[row] for row in sequence)


def packed(batch: dict, members: Sequence[Sequence[int]]) -> tuple[dict, object]:
    """Rows of a TRL batch as a model's inputs -> (inputs, where).

    batch: prompt_ids, prompt_mask (B, P), padded on the left; completion_ids, completion_mask (B, C), padded on the right.
    members: the row numbers of each of S sequences; every row in one.
    inputs: input_ids, position_ids, shift_labels (S, L); attention_mask (S, 1, L, L), True where a token is seen.
    where: (B, C), the place in S x L, flattened, whose output is of that completion token; 0 where there is none.
    """
    import torch

    device = batch["prompt_ids"].device
    prompt_lengths = batch["prompt_mask"].sum(dim=1).tolist()
    lengths = batch["completion_mask"].sum(dim=1).tolist()
    shape = len(members), max(n_tokens(rows, prompt_lengths, lengths) for rows in members)
    ids, positions, branch = (torch.zeros(shape, dtype=torch.long, device=device) for _ in range(3))
    labels = torch.full(shape, -100, device=device)
    branch -= 1  # -1 is padding, 0 the prompt, 1 and up a completion
    where = torch.zeros(batch["completion_ids"].shape, dtype=torch.long, device=device)
    for at, rows in enumerate(members):
        before = prompt_lengths[rows[0]] - 1
        prompt = batch["prompt_ids"][rows[0], batch["prompt_ids"].shape[1] - before - 1 :]
        ids[at, :before], branch[at, :before] = prompt[:before], 0
        positions[at, :before] = torch.arange(before, device=device)
        start = before
        for number, row in enumerate(rows, 1):
            end = start + 1 + lengths[row]
            ids[at, start], ids[at, start + 1 : end] = prompt[before], batch["completion_ids"][row, : lengths[row]]
            labels[at, start : end - 1] = batch["completion_ids"][row, : lengths[row]]
            positions[at, start:end] = torch.arange(before, before + 1 + lengths[row], device=device)
            branch[at, start:end] = number
            where[row, : lengths[row]] = torch.arange(at * shape[1] + start, at * shape[1] + end - 1, device=device)
            start = end
    sees = (branch[:, None, :] == branch[:, :, None]) | (branch[:, None, :] == 0)
    sees &= torch.ones(shape[1], shape[1], dtype=torch.bool, device=device).tril()
    return {"input_ids": ids, "position_ids": positions, "shift_labels": labels, "attention_mask": sees[:, None]}, where
