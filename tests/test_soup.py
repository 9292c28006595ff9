"""results/recipe/soup.py: an average of adapters is the average of what they add to the weights."""

import pytest
import torch
from conftest import ROOT
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from results.recipe import soup as recipe

MODEL = str(ROOT / "models" / "tiny-coder")


def base():
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)


def merged(folder) -> dict:
    return PeftModel.from_pretrained(base(), folder).merge_and_unload().state_dict()


def cook(folder, adapters) -> None:
    recipe.main(list(map(str, ["--model", MODEL, "--output_dir", folder, "--adapters", *adapters])))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Of different ranks and scales."""
    folders = []
    for number, (rank, alpha) in enumerate([(4, 16), (8, 16), (2, 1)]):
        torch.manual_seed(number)
        policy = get_peft_model(base(), LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear"))
        for name, weights in policy.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights, std=0.02)
        folders.append(tmp_path_factory.mktemp("adapter"))
        policy.save_pretrained(folders[-1])
    return folders


def test_a_soup_adds_the_mean_of_what_its_adapters_add(adapters, tmp_path):
    cook(tmp_path / "soup", adapters)
    ingredients, soup = [merged(folder) for folder in adapters], merged(tmp_path / "soup")
    for name, weights in soup.items():
        mean = torch.stack([of[name] for of in ingredients]).mean(0)
        assert (weights - mean).abs().max() < 1e-5, name
    assert max((soup[name] - ingredients[0][name]).abs().max() for name in soup) > 1e-3
    with pytest.raises(SystemExit, match="is there already"):
        cook(tmp_path / "soup", adapters)
