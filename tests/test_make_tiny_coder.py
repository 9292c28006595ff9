"""The tiny coder: its tasks compose, split cleanly and are right by cargo's word; its files are small and complete."""

import argparse
import functools
import itertools
import json
import random
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import tasks
from judge.program import extract_program
from models import make_tiny_coder, tiny_tasks
from rust_tool import Job, RustTool
from tasks import build_messages, find_leak, load_tasks

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "tiny-coder"
MAX_MODEL_BYTES = 10_000_000


def bodies(composition: str, draws: int = 40) -> set[str]:
    """Function bodies of a composition with its arguments renamed: what stays the same under any name and wording."""
    found = set()
    for seed in range(draws):
        function = tiny_tasks.make_task(composition, random.Random(seed)).function
        body = " ".join(function.body)
        for i, (name, _) in enumerate(function.arguments):
            body = re.sub(rf"\b{name}\b", f"argument{i}", body)
        found.add(body)
    return found


@pytest.fixture(scope="module")
def judge():
    with RustTool(workers=2) as opened:
        yield opened


def test_every_composition_is_on_one_side_of_the_split():
    training, held_out = tiny_tasks.split_compositions()
    assert len(set(training) | set(held_out)) == len(training) + len(held_out) == len(set(tiny_tasks.compositions()))
    assert {c.split("/")[0] for c in held_out} == {c.split("/")[0] for c in training} == set(tiny_tasks.FAMILIES)


def test_held_out_functions_have_bodies_that_training_never_shows(monkeypatch):
    monkeypatch.setattr(tiny_tasks, "draw_examples", lambda draw, show: ())  # most of the time, and in no body
    training, held_out = tiny_tasks.split_compositions()
    seen = set().union(*map(bodies, training))
    assert not [c for c in held_out if bodies(c) & seen]


def test_prompt_files_hold_their_own_split_and_nothing_else():
    training, held_out = map(set, tiny_tasks.split_compositions())
    train_rows = load_tasks(str(ROOT / "data" / "tiny_prompts.jsonl"))
    held_rows = load_tasks(str(ROOT / "data" / "tiny_heldout.jsonl"))
    assert {row["composition"] for row in train_rows} <= training
    assert {row["composition"] for row in held_rows} <= held_out
    assert not {row["prompt"] for row in train_rows} & {row["prompt"] for row in held_rows}
    assert all(row["tests"] and row["entry_point"] for row in held_rows)


def test_the_set_of_evaluations_inside_a_run_is_neither_trained_on_nor_reported():
    files = [load_tasks(str(ROOT / "data" / f"tiny_{name}.jsonl")) for name in ("prompts", "heldout", "val")]
    *others, val = [{row["composition"] for row in rows} for rows in files]
    assert len(val) == make_tiny_coder.N_VALIDATION_PROMPTS and val <= set(tiny_tasks.split_compositions()[1])
    assert not any(val & other for other in others)
    assert not any(find_leak(rows, files[2]) for rows in files[:2])


def test_committed_prompts_are_what_the_generator_writes(tmp_path, monkeypatch):
    hashed = tasks.NgramIndex._hashed  # of the same prompts hundreds of times, which is most of the time
    once = functools.cache(lambda text: hashed(SimpleNamespace(n=tasks.NGRAM_WORDS, words=tasks.normalized_words), text))
    monkeypatch.setattr(tasks.NgramIndex, "_hashed", lambda index, text: once(text))
    monkeypatch.setattr(tasks, "normalized", functools.cache(tasks.normalized))
    make_tiny_coder.write_data(tmp_path, tmp_path / "report.json", seed=0)
    for name in ("tiny_prompts.jsonl", "tiny_heldout.jsonl", "tiny_val.jsonl"):
        assert (tmp_path / name).read_text() == (ROOT / "data" / name).read_text()
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads((ROOT / "results" / "tiny" / "data.json").read_text())


def test_samples_depend_on_the_seed_alone():
    first, again, other = (make_tiny_coder.samples(seed) for seed in (3, 3, 4))
    drawn = [[next(stream) for _ in range(20)] for stream in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_pretraining_never_shows_a_held_out_composition(monkeypatch):
    _, held_out = map(set, tiny_tasks.split_compositions())
    shown = []
    real = tiny_tasks.make_task
    monkeypatch.setattr(tiny_tasks, "make_task", lambda composition, rng: shown.append(composition) or real(composition, rng))
    stream = make_tiny_coder.samples(0)
    for _ in range(2000):
        next(stream)
    assert len(shown) == 2000
    assert not held_out & set(shown)


def test_flawless_answers_build_lint_and_pass_under_the_judge(judge):
    rng = random.Random(11)
    compositions = [rng.choice([c for c in tiny_tasks.compositions() if c.startswith(f"{f}/")]) for f in tiny_tasks.FAMILIES for _ in range(4)]
    tasks = [tiny_tasks.make_task(composition, rng) for composition in compositions]
    jobs = [
        Job(extract_program(tiny_tasks.answer(task, frozenset(), rng)), tuple(tiny_tasks.hidden_tests(task)), task.name)
        for task in tasks
    ]
    for task, verdict in zip(tasks, judge.grade(jobs), strict=True):
        earned = verdict.build_passed and verdict.clippy_passed and verdict.test_passed and verdict.honest_tests
        assert earned and verdict.clippy_warnings == 0, task
        assert verdict.hidden_passed == verdict.hidden_total == tiny_tasks.N_EXAMPLES, task


def test_every_flaw_costs_something(judge):
    rng = random.Random(5)
    task = tiny_tasks.make_task("slice/sum/plain/even", rng)
    flaws = [*tiny_tasks.FLAWS, "wrong_return_type", "wrong_value"]
    programs = [extract_program(tiny_tasks.answer(task, frozenset({flaw}), rng)) for flaw in flaws]
    verdicts = judge.grade([Job(program) for program in programs])
    for flaw, program, verdict in zip(flaws, programs, verdicts, strict=True):
        clean = verdict.clippy_passed and verdict.clippy_warnings == 0
        passes = verdict.test_passed and verdict.honest_tests
        assert not (program and program.code_block and clean and passes), flaw


def test_working_is_right_by_rusts_own_arithmetic(judge):
    """Every step of a working is a Rust expression and its value."""
    rng = random.Random(3)
    tasks = [tiny_tasks.draw_task(tiny_tasks.compositions(), rng) for _ in range(300)]
    workings = [example.working for task in tasks for example in task.function.examples]
    steps = sorted({step for working in workings for step in re.findall(r"[^,:;]+ (?:=|is) (?:-?\d+|true|false)(?=,|;|$)", working)})
    calculated = [step.strip() for step in steps if re.search(r"\d.* (=|is) ", step)]
    assert len(calculated) > 200
    asserts = []
    for step in calculated:
        left, right = re.split(r" = | is ", step)
        typed = re.sub(r"\d+", r"\g<0>i32", left, count=1)
        asserts.append(f"assert_eq!({typed}, {right});")
    source = "\n".join(["```rust", "#[cfg(test)]", "mod tests {", "#[test]", "fn works() {", *asserts, "}", "}", "```"])
    (verdict,) = judge.grade([Job(extract_program(source))])
    assert verdict.build_passed and verdict.test_passed, verdict.diagnostics


def test_the_tokenizer_that_is_loaded_is_the_one_that_learned(tmp_path):
    """transformers reads the tokenizer of any Qwen2 folder with Qwen2's own word splitter, whatever tokenizer.json says."""
    from transformers import AutoTokenizer

    stream = make_tiny_coder.samples(0)
    texts = [text for _ in range(300) for text in next(stream)]
    built = make_tiny_coder.build_tokenizer(texts)
    built.save_pretrained(tmp_path)
    make_tiny_coder.build_model(built, 0).config.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in texts:
        assert loaded(text)["input_ids"] == built(text)["input_ids"], text


def test_model_is_small_loads_and_speaks_chatml():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= MAX_MODEL_BYTES
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    assert model.config.model_type == "qwen2"
    assert 1e6 <= model.num_parameters() <= 5e6
    text = tokenizer.apply_chat_template(build_messages("Hi é", ""), add_generation_prompt=True, tokenize=False)
    assert text == "<|im_start|>user\nHi é<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.eos_token_id == model.config.eos_token_id


def test_model_writes_a_code_block_with_tests_for_a_function_it_never_saw():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    tasks = load_tasks(str(ROOT / "data" / "tiny_heldout.jsonl"), limit=16)
    messages = [build_messages(task["prompt"], "") for task in tasks]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True)
    output = model.generate(**inputs, max_new_tokens=256, do_sample=False)
    answers = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    programs = [extract_program(text) for text in answers]
    assert sum(program is not None and program.has_test_block for program in programs) >= 12
    assert sum(task["entry_point"] in (program.functions if program else ()) for task, program in zip(tasks, programs, strict=True)) >= 12


def test_a_killed_build_goes_on_where_it_was(tmp_path, monkeypatch):
    """The same weights come out of one build in 4 steps and of one killed after 2."""
    import torch

    stream = make_tiny_coder.samples(0)
    tokenizer = make_tiny_coder.build_tokenizer([text for _ in range(300) for text in next(stream)])
    real_batches = make_tiny_coder.batches

    def build(folder: Path) -> torch.Tensor:
        folder.mkdir(exist_ok=True)
        model = make_tiny_coder.build_model(tokenizer, 0)
        settings = dict(work_dir=folder, seed=0, batch_size=4, steps=4, learning_rate=1e-3, log_steps=2, save_steps=1)
        make_tiny_coder.pretrain(model, tokenizer, argparse.Namespace(**settings))
        return model.model.embed_tokens.weight

    def dying_batches(*arguments):
        yield from itertools.islice(real_batches(*arguments), 2)
        raise KeyboardInterrupt

    whole = build(tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(make_tiny_coder, "batches", dying_batches)
        build(tmp_path / "parts")
    torch.testing.assert_close(build(tmp_path / "parts"), whole)
