"""Micro-batches filled by tokens: every row once, within the budget."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import micro_batches

lengths = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 512)), min_size=1, max_size=40)


@given(lengths, st.integers(1, 4_000))
def test_every_row_is_in_one_micro_batch_within_the_budget(rows, budget):
    prompts, completions = zip(*rows, strict=True)
    parts = micro_batches.cut(prompts, completions, budget)
    assert sorted(row for part in parts for row in part) == list(range(len(rows)))
    for part in parts:
        padded = len(part) * (max(prompts[row] for row in part) + max(completions[row] for row in part))
        assert padded <= budget or len(part) == 1


@given(lengths, st.data())
def test_more_micro_batches_hold_the_same_rows(rows, data):
    parts = micro_batches.cut(*zip(*rows, strict=True), 1_000)
    n = data.draw(st.integers(len(parts), len(rows)))
    more = micro_batches.split_to(parts, n)
    assert len(more) == n and all(more)
    assert [row for part in more for row in part] == [row for part in parts for row in part]


def test_rows_of_one_length_share_a_micro_batch():
    parts = micro_batches.cut([10] * 6, [100, 5, 100, 5, 5, 100], 330)
    assert [sorted(part) for part in parts] == [[0, 2, 5], [1, 3, 4]]


def a_batch():
    import torch

    prompts, completions = torch.tensor([[0, 0, 11], [0, 12, 13], [14, 15, 16]]), torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [4, 5, 6, 7]])
    return {
        "prompt_ids": prompts, "prompt_mask": (prompts > 0).long(), "completion_ids": completions,
        "completion_mask": (completions > 0).long(), "sampling_per_token_logps": -completions.float(),
        "importance_sampling_ratio": torch.tensor([[0.1], [0.2], [0.3]]), "advantages": torch.tensor([1.0, 2.0, 3.0]),
        "num_items_in_batch": torch.tensor(7),
    }  # fmt: skip


def test_trimmed_rows_keep_their_tokens_and_lose_the_padding_of_others():
    taken = {key: value.tolist() for key, value in micro_batches.trimmed(a_batch(), [1, 0]).items()}
    assert taken["prompt_ids"] == [[12, 13], [0, 11]] and taken["prompt_mask"] == [[1, 1], [0, 1]]
    assert taken["completion_ids"] == [[3, 0], [1, 2]] and taken["completion_mask"] == [[1, 0], [1, 1]]
    assert taken["sampling_per_token_logps"] == [[-3.0, 0.0], [-1.0, -2.0]]
    assert taken["importance_sampling_ratio"] == [[pytest.approx(0.2)], [pytest.approx(0.1)]]
    assert taken["advantages"] == [2.0, 1.0] and taken["num_items_in_batch"] == 7


def test_batches_of_one_generation_are_joined_in_order():
    batch = a_batch()
    whole = micro_batches.joined([micro_batches.trimmed(batch, [2]), micro_batches.trimmed(batch, [2])])
    assert whole["completion_ids"].tolist() == [[4, 5, 6, 7]] * 2 and whole["num_items_in_batch"].item() == 7


def test_larger_models_and_less_memory_get_smaller_budgets():
    small = SimpleNamespace(hidden_size=1536, intermediate_size=8960, num_hidden_layers=28)
    large = SimpleNamespace(hidden_size=3584, intermediate_size=18944, num_hidden_layers=28)
    fitting = lambda config, gib, checkpointing: micro_batches.fitting_tokens(config, gib * 2**30, checkpointing)
    budget = lambda config, gib, checkpointing: micro_batches.token_budget(fitting(config, gib, checkpointing))
    assert budget(small, 60, False) > budget(small, 40, False) > budget(large, 40, False)
    assert budget(small, 40, True) > budget(small, 40, False)
    assert budget(large, 0, False) == micro_batches.TOKEN_RANGE[0] and budget(small, 10_000, True) == micro_batches.TOKEN_RANGE[1]
    assert fitting(large, 0, False) == 0
    gained = micro_batches.fitting_tokens(small, 40 * 2**30, False, fused=True) / fitting(small, 40, False)
    assert gained == pytest.approx(2.90 / 2.26, rel=0.02)  # MiB a token, as measured


def test_a_single_item_is_halved_when_every_micro_batch_holds_one():
    halves = lambda rows: [rows[: len(rows) // 2], rows[len(rows) // 2 :]] if len(rows) > 1 else None
    assert micro_batches.split_to([[[1]], [[2, 3, 4]]], 4, halves) == [[[1]], [[2]], [[3]], [[4]]]
    with pytest.raises(ValueError, match="2 micro-batches of a row each cannot be 3"):
        micro_batches.split_to([[[1]], [[2]]], 3, halves)
