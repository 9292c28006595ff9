"""What several test files need: a judge that runs nothing, and a tiny model that writes a few known completions."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when huggingface_hub is imported; no test needs a network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a tiny model is slower on many threads
os.environ["COLUMNS"] = "80"  # what is printed does not depend on the terminal that tests run in; some say another width

import functools
import gc
import json
import shutil
from collections.abc import Iterable

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for the processes that tests start with this file on their path

from models import make_tiny_coder


def pytest_collection_finish():
    """The garbage collection at the end of every training looks at what tests make, not at all that was imported (half a second)."""
    gc.collect()
    gc.freeze()


GOOD = """```rust
fn add(a: i32, b: i32) -> i32 {
    b + a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds() {
        assert_eq!(add(1, 2), 3);
    }
}
```"""
FAILING = GOOD.replace("3);", "4);")
BROKEN = """```rust
fn add(a: i32) -> i32 {
    b
}
```"""
PROSE = "I do not know."
KNOWN_COMPLETIONS = (GOOD, FAILING, BROKEN, PROSE)

PROMPTS = tuple(
    f"Add two numbers, {word}." for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")
)


def write_jsonl(path: Path, rows: Iterable[dict]) -> Path:
    """A file with a line for each of the rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# ---------------------------------------------------------------------------------------------------------------------
# A judge that starts sooner
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def one_harness(tmp_path_factory):
    """The judge's harness (over a second of the compiler) is built by the first judge of this process; the others copy its files."""
    from judge.workshop import GATE_SOURCE, HARNESS_SOURCE, Workshop

    build, built = Workshop._build_harness, {}

    def build_once(workshop):
        key = workshop.toolchain, GATE_SOURCE.read_bytes(), HARNESS_SOURCE.read_bytes()
        if key not in built:
            build(workshop)  # an error is no answer: the next judge builds anew
            folder = tmp_path_factory.mktemp("harness")
            built[key] = [(path.relative_to(workshop.sysroot), shutil.copy(path, folder)) for path in (workshop.gate, workshop.harness)]
        else:
            for place, copy in built[key]:
                shutil.copy(copy, workshop.sysroot / place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workshop, "_build_harness", build_once)
        yield


# ---------------------------------------------------------------------------------------------------------------------
# A judge that runs nothing
# ---------------------------------------------------------------------------------------------------------------------


class FakeJudge:
    """Answers `grade` from a function of the job; remembers the batches it was given.

    Args:
        answer: Job -> Verdict. Default: a pass for any program, `no_code` for none.
    """

    def __init__(self, answer=None, **options):
        self.answer = answer or passing_verdict
        self.options = options  # what train.py would have built a RustTool with
        self.batches: list[list] = []
        self.is_closed = False

    def grade(self, jobs):
        self.batches.append(list(jobs))
        return [self.answer(job) for job in self.batches[-1]]

    def run_suites(self, jobs):
        """No suite fits anything."""
        return [[None] * len(job.hidden_tests) for job in jobs]

    def describe(self) -> dict:
        return {
            "judge_version": 0,
            "rustc": "rustc 0",
            "cargo": "cargo 0",
            "clippy": "clippy 0",
            "machine": "none",
            "sandbox": {"tier": "fake", "report": {"files": "none"}},
            "limits": {},
            "workers": 1,
        }

    def close(self) -> None:
        self.is_closed = True

    def __enter__(self):
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()


def passing_verdict(job):
    """A full pass with one test for a program, nothing for no program."""
    from rust_tool import Verdict

    if job.program is None:
        return Verdict(error_kind="no_code")
    return Verdict(
        build_passed=True, clippy_passed=True, test_passed=True, honest_tests=True, tests={"tests::adds": "ok"}
    )


def infra_verdict(job):
    """The machine failed."""
    from rust_tool import Verdict

    return Verdict(error_kind="infra")


@pytest.fixture
def fake_judge(monkeypatch):
    """Call it with an `answer` to make train.py use a FakeJudge; returns the list of judges that train.py makes."""
    import train

    def install(answer=None):
        made = []

        def make(**options):
            made.append(FakeJudge(answer, **options))
            return made[-1]

        monkeypatch.setattr(train, "RustTool", make)
        return made

    return install


# ---------------------------------------------------------------------------------------------------------------------
# A tiny model that knows four completions
# ---------------------------------------------------------------------------------------------------------------------


@functools.cache
def build_tokenizer():
    """The tiny coder's tokenizer, learned from the texts that the tests use; made once, so nobody may change it."""
    return make_tiny_coder.build_tokenizer([*KNOWN_COMPLETIONS, *PROMPTS, "system"] * 4, vocabulary=512)


def build_model(tokenizer):
    """Random-weight Qwen2 of about 0.1 million parameters, fp32, two layers."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)


def teach(model, tokenizer, steps: int = 250) -> None:
    """Make every known completion about equally likely after every prompt."""
    import torch

    turns = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    batches = [
        tokenizer(
            [text + completion + "<|im_end|>" for completion in KNOWN_COMPLETIONS], return_tensors="pt", padding=True
        )
        for text in asked
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for step in range(steps):
        batch = batches[step % len(batches)]
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


@pytest.fixture(scope="session")
def tiny_coder(tmp_path_factory) -> Path:
    """Folder of a tiny model and tokenizer that transformers loads; samples are mostly KNOWN_COMPLETIONS."""
    folder = tmp_path_factory.mktemp("models") / "tiny-coder"
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    teach(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sampled(model, prompt: list[int], n_tokens: int, pad: int, temperature: float = 1.0, **more) -> tuple[list[int], list[float]]:
    """A completion of a prompt (token ids both), and the log-prob of each of its tokens under what it was drawn from, without cuts."""
    import torch

    with torch.no_grad():
        whole = model.generate(torch.tensor([prompt]), do_sample=True, max_new_tokens=n_tokens, pad_token_id=pad, temperature=temperature, **more)
        logits = model(whole).logits[0, len(prompt) - 1 : -1].float() / temperature
    ids = whole[0, len(prompt) :]
    return ids.tolist(), logits.log_softmax(-1).gather(1, ids[:, None])[:, 0].tolist()


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory) -> Path:
    """jsonl of eight prompts that `tiny_coder` was taught."""
    path = tmp_path_factory.mktemp("prompts") / "adding.jsonl"
    rows = [{"task_id": f"adding/{i}", "prompt": prompt} for i, prompt in enumerate(PROMPTS)]
    return write_jsonl(path, rows)
