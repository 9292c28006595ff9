"""Completions of one prompt in one sequence: every row once, and what the model says of each token is what it says of it alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from training import shared_prompts

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=30)


@given(rows, st.integers(1, 150))
def test_every_row_is_in_one_sequence_of_its_prompt_within_the_limit(rows, limit):
    prompts, completions = [prompt for prompt, _ in rows], [length for _, length in rows]
    lengths = [10 + prompt for prompt in prompts]
    found = shared_prompts.sequences(prompts, lengths, completions, limit)
    assert sorted(row for members in found for row in members) == list(range(len(rows)))
    for members in found:
        assert len({prompts[row] for row in members}) == 1
        assert len(members) == 1 or shared_prompts.n_tokens(members, lengths, completions) <= limit


def test_a_group_that_fits_is_one_sequence():
    assert shared_prompts.sequences("aabb", [5, 5, 6, 6], [3, 4, 2, 2], 100) == [[1, 0], [2, 3]]
    assert shared_prompts.n_tokens([1, 0], [5, 5, 6, 6], [3, 4, 2, 2]) == 4 + 5 + 4


def test_log_probs_and_gradients_are_those_of_separate_rows():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=64, attn_implementation="sdpa")  # fmt: skip
    model = Qwen2ForCausalLM(config).train()
    assert shared_prompts.can_share(model.config)
    prompts = [[0, 0, 7, 8, 9], [0, 0, 7, 8, 9], [1, 2, 3, 4, 5], [0, 0, 7, 8, 9], [0, 0, 0, 0, 6]]
    completions = [[10, 11, 12, 0], [13, 0, 0, 0], [14, 15, 16, 17], [18, 19, 0, 0], [20, 21, 0, 0]]
    batch = {"prompt_ids": torch.tensor(prompts), "completion_ids": torch.tensor(completions)}
    batch |= {f"{name}_mask": (batch[f"{name}_ids"] > 0).long() for name in ("prompt", "completion")}
    inputs, where = shared_prompts.packed(batch, [[0, 3, 1], [2], [4]])
    assert inputs["input_ids"][0].tolist() == [7, 8, 9, 10, 11, 12, 9, 18, 19, 9, 13]
    assert inputs["position_ids"][0].tolist() == [0, 1, 2, 3, 4, 5, 2, 3, 4, 2, 3]

    def gradient(loss):
        model.zero_grad()
        loss.backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    labels = inputs.pop("shift_labels")
    spoken = torch.log_softmax(model(**inputs).logits, -1).gather(-1, labels.clamp(min=0)[..., None]).flatten()[where]
    mask = batch["completion_mask"].bool()
    together = torch.where(mask, spoken, 0.0)
    alone = torch.zeros(mask.shape)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        prompt, completion = [token for token in prompt if token], [token for token in completion if token]
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        alone[row, : len(completion)] = torch.log_softmax(logits, -1).gather(-1, torch.tensor(completion)[:, None])[:, 0]
    assert torch.allclose(together, alone, atol=1e-5)
    weights = torch.arange(1.0, 21).reshape(5, 4)
    expected = gradient((alone * weights).sum())
    assert (gradient((together * weights).sum()) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_models_that_attend_in_another_way_are_not_asked_to():
    from transformers import MistralConfig, Qwen2Config

    sliding = Qwen2Config(use_sliding_window=True, sliding_window=8, max_window_layers=0, num_hidden_layers=2)
    sliding._attn_implementation = "sdpa"
    assert not shared_prompts.can_share(sliding)
    everywhere = MistralConfig(sliding_window=8)  # says so in one number for all layers
    everywhere._attn_implementation = "sdpa"
    assert not shared_prompts.can_share(everywhere)
    for attention in ("flash_attention_2", "eager"):
        other = Qwen2Config()
        other._attn_implementation = attention
        assert not shared_prompts.can_share(other)
