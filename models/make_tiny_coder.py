"""Build the tiny coder from files in this repository: tasks, tokenizer, pretraining from scratch on a CPU; no network.

    python models/make_tiny_coder.py                       # writes models/tiny-coder and data/tiny_*.jsonl again
    python models/make_tiny_coder.py --stage data          # only the prompt files and the n-gram overlap

A Qwen2 model of 1.5 million parameters learns from answers of which many are flawed (tiny_tasks.py), so that it starts
where a real base model does. A killed build goes on at its last checkpoint when started again. Same seed, same data and
order of batches; the weights may differ in the last bits between machines (floating-point sums).
"""

import argparse
import ctypes
import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from models import tiny_tasks
from tasks import build_messages, find_leak
from traces import replacing

VOCABULARY = 1024
N_TRAINING_PROMPTS = 600
N_HELD_OUT_PROMPTS = 128
N_VALIDATION_PROMPTS = 32
N_HASHED_SAMPLES = 20_000
LONGEST_SAMPLE = 384  # tokens; prompts have at most 70, answers about 110
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's names for what mallopt sets
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# ---------------------------------------------------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------------------------------------------------


def prompt_rows(split: str, count: int, seed: int) -> list[dict]:
    """Task rows of the training or held-out split; held-out rows are of distinct compositions and have hidden tests."""
    training, held_out = tiny_tasks.split_compositions()
    rng = random.Random(f"{split} prompts {seed}")
    rows, seen = [], set()
    while len(rows) < count:
        task = tiny_tasks.draw_task(training if split == "train" else held_out, rng)
        key = task.prompt if split == "train" else task.function.composition
        if key in seen:
            continue
        seen.add(key)
        row = {"task_id": f"tiny-{split}/{len(rows)}", "prompt": task.prompt, "composition": task.function.composition}
        rows.append(row if split == "train" else row | {"entry_point": task.name, "tests": tiny_tasks.hidden_tests(task)})
    return rows


def validation_rows(known: dict[str, list[dict]], count: int, seed: int) -> list[dict]:
    """Rows for evaluations inside the run: held-out compositions and prompts that neither of the `known` splits has, by train.py's rule."""
    used = {row["composition"] for row in known["heldout"]}
    drawn = [row for row in prompt_rows("val", len(tiny_tasks.split_compositions()[1]), seed) if row["composition"] not in used]
    rows = [row for row in drawn if not any(find_leak(split, [row]) for split in known.values())][:count]
    return [row | {"task_id": f"tiny-val/{number}"} for number, row in enumerate(rows)]


def samples(seed: int) -> Iterator[tuple[str, str]]:
    """Endless (prompt, answer) pairs of the training split, flawed as tiny_tasks says."""
    training, _ = tiny_tasks.split_compositions()
    rng = random.Random(f"pretraining {seed}")
    while True:
        task = tiny_tasks.draw_task(training, rng)
        yield task.prompt, tiny_tasks.answer(task, tiny_tasks.draw_flaws(task.function.family, rng), rng)


def n_grams(text: str, n: int) -> set[tuple[str, ...]]:
    """Word n-grams of a prompt."""
    words = text.split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def overlap(held_out: Sequence[str], training: Sequence[str], n: int) -> dict[str, float]:
    """Share of the held-out prompts' distinct word n-grams found in training prompts, and of prompts found whole."""
    known = set().union(*(n_grams(text, n) for text in training))
    asked = [gram for text in held_out for gram in n_grams(text, n)]
    return {
        "n": n,
        "n_grams_shared": round(sum(gram in known for gram in asked) / len(asked), 4),
        "prompts_all_shared": round(sum(n_grams(text, n) <= known for text in held_out) / len(held_out), 4),
        "prompts_identical": len(set(held_out) & set(training)),
    }


def write_data(folder: Path, report: Path, seed: int) -> None:
    """Write the three prompt files and the overlap report."""
    rows = {"train": prompt_rows("train", N_TRAINING_PROMPTS, seed), "heldout": prompt_rows("heldout", N_HELD_OUT_PROMPTS, seed)}
    rows["val"] = validation_rows(rows, N_VALIDATION_PROMPTS, seed)
    for name, file in (("train", "tiny_prompts.jsonl"), ("heldout", "tiny_heldout.jsonl"), ("val", "tiny_val.jsonl")):
        text = "".join(json.dumps(row) + "\n" for row in rows[name])
        (folder / file).write_text(text, encoding="utf-8")
    stream = samples(seed)
    learned = [next(stream) for _ in range(N_HASHED_SAMPLES)]
    pretraining = [prompt for prompt, _ in learned]
    asked = [row["prompt"] for row in rows["heldout"]]
    training, held_out = tiny_tasks.split_compositions()
    facts = {
        "training_compositions": len(training),
        "held_out_compositions": len(held_out),
        "training_prompts": len(rows["train"]),
        "held_out_prompts": len(asked),
        "held_out_vs_grpo_prompts": [overlap(asked, [row["prompt"] for row in rows["train"]], n) for n in (5, 8, 13)],
        "first_20000_samples_sha256": hashlib.sha256(json.dumps(learned).encode()).hexdigest(),
        "held_out_vs_20000_pretraining_prompts": [overlap(asked, pretraining, n) for n in (5, 8, 13)],
    }
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------
# Tokenizer and model
# ---------------------------------------------------------------------------------------------------------------------


def build_tokenizer(texts: Sequence[str], vocabulary: int = VOCABULARY):
    """Byte-level BPE tokenizer with ChatML turns; encodes any text without unknown tokens.

    It splits words as Qwen2's tokenizer does: whatever tokenizer.json says, that is how a folder with a Qwen2 model is read.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *["user\n", "assistant\n"] * len(texts)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT_TEMPLATE
    )


def build_model(tokenizer, seed: int):
    """Random-weight Qwen2, fp32."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=160,
        intermediate_size=480,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)


# ---------------------------------------------------------------------------------------------------------------------
# Pretraining
# ---------------------------------------------------------------------------------------------------------------------


def encode(tokenizer, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, answer ids) of each pair, the answer ended by the turn's end."""
    prompts = tokenizer.apply_chat_template(
        [build_messages(prompt, "") for prompt, _ in pairs], add_generation_prompt=True, tokenize=False
    )
    encoded = tokenizer([*prompts, *(f"{text}<|im_end|>" for _, text in pairs)], add_special_tokens=False)["input_ids"]
    return list(zip(encoded[: len(pairs)], encoded[len(pairs) :], strict=True))


def batches(tokenizer, seed: int, batch_size: int) -> Iterator[dict]:
    """Endless batches padded on the right, of samples of similar length; the loss is on the answers."""
    import torch

    stream, order = samples(seed), random.Random(f"order {seed}")
    while True:
        pool = encode(tokenizer, [next(stream) for _ in range(batch_size * 16)])
        pool = sorted((pair for pair in pool if len(pair[0]) + len(pair[1]) <= LONGEST_SAMPLE), key=lambda p: len(p[0]) + len(p[1]))
        starts = list(range(0, len(pool), batch_size))
        order.shuffle(starts)
        for start in starts:
            chunk = pool[start : start + batch_size]
            width = max(len(prompt) + len(text) for prompt, text in chunk)
            ids = torch.full((len(chunk), width), tokenizer.pad_token_id)
            labels = torch.full((len(chunk), width), -100)
            for row, (prompt, text) in enumerate(chunk):
                end = len(prompt) + len(text)
                ids[row, :end] = torch.tensor(prompt + text)
                labels[row, len(prompt) : end] = torch.tensor(text)
            # right padding is never attended to by what stands before it, so no mask is needed
            yield {"input_ids": ids, "labels": labels}


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: up over 50 steps, level, then down to 5 % over the last two fifths."""
    return min(1.0, (step + 1) / 50, max(0.05, (steps - step) / (0.4 * steps)))


class Optimizers:
    """Muon for the matrices inside the blocks, AdamW for embeddings, biases and norms.

    Measured: loss 0.41 after 0.7 million tokens; AdamW alone (peak 3e-3, batch 64) needed 2.6 million for 0.49.

    Source: Keller Jordan et al., https://kellerjordan.github.io/posts/muon/
    """

    def __init__(self, model, learning_rate: float):
        import torch

        parameters = dict(model.named_parameters())
        matrices = [p for name, p in parameters.items() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in parameters.items() if p.ndim != 2 or "embed" in name]
        self.parts = [
            torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.peak = learning_rate

    def step(self, share: float) -> None:
        """One update at `share` of the peak learning rate; gradients are cleared."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.peak * share
            part.step()
            part.zero_grad()

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def save_checkpoint(path: Path, model, optimizers: Optimizers, step: int) -> None:
    """A kill leaves the old checkpoint or the new one."""
    import torch

    with replacing(path) as new:
        torch.save({"model": model.state_dict(), "optimizers": optimizers.state_dict(), "step": step}, new)


def load_checkpoint(path: Path, model, optimizers: Optimizers) -> int:
    """-> steps done so far, 0 when there is no checkpoint."""
    import torch

    if not path.exists():
        return 0
    state = torch.load(path)
    model.load_state_dict(state["model"])
    optimizers.load_state_dict(state["optimizers"])
    print(f"going on after step {state['step']}", flush=True)
    return state["step"]


def keep_freed_memory() -> None:
    """Let glibc keep what torch frees, where libc is glibc: a quarter more tokens per second, measured on two cores."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, 2**31 - 1)


def pretrain(model, tokenizer, arguments: argparse.Namespace) -> None:
    """Train in place; continue from the checkpoint in the work folder when there is one."""
    import torch

    checkpoint, optimizers = arguments.work_dir / "checkpoint.pt", Optimizers(model, arguments.learning_rate)
    first = load_checkpoint(checkpoint, model, optimizers)
    stream = batches(tokenizer, arguments.seed, arguments.batch_size)
    for _ in range(first):
        next(stream)  # the same batches as a build that was never stopped
    started, losses, tokens = time.monotonic(), [], 0
    for step in range(first, arguments.steps):
        batch = next(stream)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(rate(step, arguments.steps))
        losses.append(loss.item())
        tokens += batch["input_ids"].numel()
        done = step + 1
        if done % arguments.log_steps == 0 or done == arguments.steps:
            elapsed = time.monotonic() - started
            loss, tokens_per_s = round(sum(losses) / len(losses), 4), round(tokens / elapsed)
            entry = {"step": done, "loss": loss, "tokens_per_s": tokens_per_s, "elapsed_s": round(elapsed)}
            eta_s = elapsed / (done - first) * (arguments.steps - done)
            print(f"step {done}/{arguments.steps} | loss {loss:.3f} | {tokens_per_s} tokens/s | ETA {eta_s / 60:.1f} min", flush=True)
            with (arguments.work_dir / "loss.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            losses = []
        if done % arguments.save_steps == 0 or done == arguments.steps:
            save_checkpoint(checkpoint, model, optimizers, done)


def write_losses(log: Path, report: Path) -> None:
    """Copy the loss curve; of steps that a build did twice, because it was killed, the later line counts."""
    lines = {json.loads(line)["step"]: line for line in log.read_text(encoding="utf-8").splitlines()}
    report.write_text("".join(f"{lines[step]}\n" for step in sorted(lines)), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, default=ROOT / "models" / "tiny-coder")
    parser.add_argument("--work_dir", type=Path, default=ROOT / "runs" / "tiny-coder-build", help="checkpoint and loss.jsonl")
    parser.add_argument("--data_dir", type=Path, default=ROOT / "data")
    parser.add_argument("--report", type=Path, default=ROOT / "results" / "tiny" / "data.json")
    parser.add_argument("--stage", choices=["all", "data", "model"], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=5e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log_steps", type=int, default=20)
    parser.add_argument("--save_steps", type=int, default=50)
    arguments = parser.parse_args()

    if arguments.stage != "model":
        write_data(arguments.data_dir, arguments.report, arguments.seed)
    if arguments.stage == "data":
        return
    import torch

    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    stream = samples(arguments.seed)
    tokenizer = build_tokenizer([text for _ in range(4000) for text in next(stream)])
    model = build_model(tokenizer, arguments.seed)
    print(f"{model.num_parameters() / 1e6:.2f} million parameters, {len(tokenizer)} tokens")
    pretrain(model, tokenizer, arguments)
    model.to(torch.float16).save_pretrained(arguments.output_dir)  # half the bytes in git; loaded as fp32 on a CPU
    tokenizer.save_pretrained(arguments.output_dir)
    write_losses(arguments.work_dir / "loss.jsonl", arguments.report.with_name("pretraining.jsonl"))
    print(f"wrote {arguments.output_dir}")


if __name__ == "__main__":
    main()
