"""Average LoRA adapters of one base model: a model soup (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482) of runs.

    python results/recipe/soup.py --model DIR --adapters runs/a/adapter runs/b/adapter --output_dir runs/soup

What is averaged is what the adapters add to the weights, B times A, by PEFT's `add_weighted_adapter`: runs with other seeds start from
other A's, so the mean of A's and of B's would be something else. The soup's rank is the sum of theirs.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def soup(model: str, adapters: list[str], output_dir: Path) -> None:
    """Write the adapter whose delta of the weights is the mean of these adapters' deltas."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    names = [f"adapter_{number}" for number in range(len(adapters))]
    policy = PeftModel.from_pretrained(base, adapters[0], adapter_name=names[0])
    for name, adapter in zip(names[1:], adapters[1:], strict=True):
        policy.load_adapter(adapter, adapter_name=name)
    if any(config.use_rslora for config in policy.peft_config.values()):
        sys.exit("an adapter of rank-stabilised LoRA (use_rslora): its scale would not be that of the soup")
    policy.add_weighted_adapter(names, [1 / len(names)] * len(names), adapter_name="soup", combination_type="cat")
    with tempfile.TemporaryDirectory() as folder:
        policy.save_pretrained(folder, selected_adapters=["soup"])
        shutil.copytree(Path(folder, "soup"), output_dir)


def main(argv: list[str] | None = None) -> None:
    """Command line. Leaves with a sentence where the folder is there already."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapters", nargs="+", required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    args = parser.parse_args(argv)
    if args.output_dir.exists():
        sys.exit(f"{args.output_dir} is there already")
    soup(args.model, args.adapters, args.output_dir)


if __name__ == "__main__":
    main()
