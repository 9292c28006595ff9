"""Build a tiny Qwen2 model with its own tokenizer and chat template from files in this repository; no network.

    python make_tiny_coder.py --output_dir runs/tiny-coder

The weights are random: the model is there so that every line of training and evaluation runs on any machine, not to
write Rust. Same seed, same files.
"""

import argparse
import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
VOCABULARY = 512  # byte alphabet, three special tokens, a few hundred merges
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def training_texts(prompts: Path) -> list[str]:
    """Texts the tokenizer learns its merges from: the system prompt and every prompt."""
    rows = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    return [(HERE / "system_prompt.txt").read_text(encoding="utf-8"), *(row["prompt"] for row in rows)]


def build_tokenizer(texts: list[str]):
    """Byte-level BPE tokenizer with ChatML turns; encodes any text without unknown tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT_TEMPLATE
    )


def build_model(tokenizer, seed: int):
    """Random-weight Qwen2 with about 0.2 million parameters, fp32."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, default=Path("runs/tiny-coder"))
    parser.add_argument("--prompts", type=Path, default=HERE / "data" / "tiny_prompts.jsonl")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tokenizer = build_tokenizer(training_texts(arguments.prompts))
    model = build_model(tokenizer, arguments.seed)
    model.save_pretrained(arguments.output_dir)
    tokenizer.save_pretrained(arguments.output_dir)
    print(f"{arguments.output_dir}: {model.num_parameters() / 1e6:.2f} million parameters, {len(tokenizer)} tokens")


if __name__ == "__main__":
    main()
