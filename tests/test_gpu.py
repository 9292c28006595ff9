"""On a CUDA card: QLoRA, vLLM, and that what is sampled is what is trained.

    python -m pytest -m gpu tests/test_gpu.py                                   # the tiny coder; ten minutes on two cards
    TEST_MODEL=~/models/coder python -m pytest -m gpu tests/test_gpu.py         # another Qwen2-like model

Skipped without a card, vLLM, bitsandbytes or cargo; the tests of two cards with one. Each vLLM has a process of its own.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from conftest import ROOT
from safetensors.torch import load_file
from test_train import adapted, base_bytes, descendants, has_variable, is_running, kill_tree, same_bits, wait_until

import traces
import train

MODEL = os.environ.get("TEST_MODEL", "models/tiny-coder")
STEPS, COMPLETIONS, GROUP = 3, 32, 8
ENDS_WITHIN_S, LEFT_GIB = 60, 0.1  # after a SIGKILL
LEARNING_RATE = 0.0005 if "TEST_MODEL" in os.environ else 0.002  # three steps must show; the tiny coder needs larger ones
MAX_LOGP_DIFFERENCE = 0.05  # mean per token; 0.007 was measured with the 1.5B model
N_EVALUATED = 16
MIN_EQUAL_STARTS = 0.8  # greedy, bf16: two programs may part where two tokens are nearly as likely
START = 30  # characters

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def card():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA card")
    missing = [name for name in ("vllm", "bitsandbytes") if importlib.util.find_spec(name) is None]
    if missing or shutil.which("cargo") is None:
        pytest.skip(f"not here: {', '.join(missing) or 'cargo'}")


def launched(log, *command, **environment) -> subprocess.Popen:
    """One of the project's scripts, from its root, in a session of its own; output to a file."""
    with log.open("w") as output:
        return subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def start(log, *command) -> None:
    """Run one to its end; fails with its last words."""
    process = launched(log, *command)
    try:
        assert process.wait() == 0, log.read_text()[-4000:]
    finally:
        kill_tree(process)


def training_flags(folder, *more) -> list:
    """A short QLoRA run of the shipped configuration on the tiny prompts."""
    return [
        "--config", "configs/qwen2.5-coder-1.5b-qlora.yaml", "--model_name_or_path", MODEL, "--output_dir", folder,
        "--tasks", "data/tiny_prompts.jsonl", "--system_prompt", "none", "--max_steps", STEPS, "--num_generations", GROUP,
        "--gradient_accumulation_steps", COMPLETIONS // 8, "--max_completion_length", 256, "--report_to", "none",
        "--learning_rate", LEARNING_RATE, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def qlora_run(tmp_path_factory):
    """Folder of a QLoRA run sampled by a colocated vLLM."""
    folder = tmp_path_factory.mktemp("gpu") / "run"
    start(folder.with_suffix(".log"), sys.executable, "train.py", *training_flags(folder, "--use_vllm", "true", "--save_merged", "true"))
    return folder


def test_qlora_with_vllm_trains_and_traces_every_completion(qlora_run):
    metrics = traces.read_metrics(qlora_run)
    assert [line["step"] for line in metrics] == list(range(1, STEPS + 1))
    records = list(traces.iter_trace(qlora_run))
    assert len(records) == STEPS * COMPLETIONS
    groups = {(record["step"], record["group_id"]) for record in records}
    assert len(groups) == STEPS * COMPLETIONS // GROUP
    assert not any(record["error_kind"] == "infra" for record in records)
    assert any(line["grad_norm"] > 0 for line in metrics)
    assert (qlora_run / "adapter" / "adapter_model.safetensors").is_file()


def test_qlora_with_vllm_samples_the_policy_that_is_trained(qlora_run):
    """Every step, the ones after an update included: a sync that loses the adapter, or requantises, shows here."""
    differences = [line["sampling/sampling_logp_difference/mean"] for line in traces.read_metrics(qlora_run)]
    assert max(differences) < MAX_LOGP_DIFFERENCE, differences


def test_the_memory_limit_holds(qlora_run):
    limit = json.loads((qlora_run / "run.json").read_text())["config"]["script"]["gpu_memory_limit_gib"]
    assert max(line["gpu/peak_reserved_gib"] for line in traces.read_metrics(qlora_run)) <= limit


def test_reading_the_merged_weights_leaves_a_four_bit_base_bit_identical():
    """And they are what the model computes: dense weights give its logits, as near as bf16 has them."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantised = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
    )
    model = adapted(
        AutoModelForCausalLM.from_pretrained(ROOT / MODEL, quantization_config=quantised, dtype=torch.float32, device_map="cuda")
    )
    before = base_bytes(model)
    state = dict(train.merged_parameters(model, torch.float32))
    assert same_bits(before, base_bytes(model))
    probe = torch.arange(3, 35, device="cuda")[None]
    dense = AutoModelForCausalLM.from_pretrained(ROOT / MODEL, dtype=torch.float32).to("cuda").eval()
    with torch.no_grad():
        untrained = dense(probe).logits
        missing, unexpected = dense.load_state_dict(state, strict=False)
        wanted, got = model(probe).logits, dense(probe).logits
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    assert (got - wanted).abs().max() < 0.02 * (wanted - untrained).abs().max(), "the adapter moves the logits far more"


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_vllm_and_transformers_write_the_same(qlora_run, tmp_path, kind):
    """The model before and after, by the adapter and by what `--save_merged` wrote."""
    models = {
        "adapter": ("--model", MODEL, "--adapter", qlora_run / "adapter", "--row_names", "before", "after"),
        "merged": ("--model", qlora_run / "merged", "--row_names", "after"),
    }
    written = {}
    for backend in ("vllm", "transformers"):
        out = tmp_path / backend
        start(
            tmp_path / f"{backend}.log", sys.executable, "eval.py", *models[kind], "--tasks", "data/tiny_heldout.jsonl", "--limit", N_EVALUATED,
            "--system_prompt", "none", "--num_samples", 1, "--temperature", 0, "--max_new_tokens", 256, "--backend", backend,
            "--output_dir", out, "--gpu_memory_utilization", 0.4,
        )  # fmt: skip
        lines = (out / "results.jsonl").read_text().splitlines()
        written[backend] = {(r["row"], r["task_id"]): r["completion"] for r in map(json.loads, lines)}
    ours, rows = written["transformers"], {row for row, _ in written["transformers"]}
    assert written["vllm"].keys() == ours.keys() and len(ours) == len(rows) * N_EVALUATED
    if kind == "adapter":
        assert any(ours["before", task] != ours["after", task] for row, task in ours if row == "after"), "the adapter does something"
    for row in rows:
        keys = [key for key in ours if key[0] == row]
        equal = sum(written["vllm"][key][:START] == ours[key][:START] for key in keys)
        assert equal >= MIN_EQUAL_STARTS * len(keys), row


@pytest.fixture
def on_two_cards():
    """The command of a run on two cards, but for the flags of train.py."""
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("one card")
    return [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", 2, "--mixed_precision", "bf16", "train.py"]


def flags_of_two_cards(folder, *more) -> list:
    return training_flags(folder, "--load_in_4bit", "false", "--gradient_accumulation_steps", COMPLETIONS // 16, *more)


def test_two_cards_train_one_policy(on_two_cards, tmp_path):
    """Both processes' completions are traced, groups stay whole, and one adapter is saved."""
    folder = tmp_path / "run"
    start(tmp_path / "log", *on_two_cards, *flags_of_two_cards(folder))
    records = list(traces.iter_trace(folder))
    assert len(records) == STEPS * COMPLETIONS and {record["rank"] for record in records} == {0, 1}
    assert [line["step"] for line in traces.read_metrics(folder)] == list(range(1, STEPS + 1))
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.timeout(900)
def test_vllm_on_a_card_of_its_own_samples_the_policy_that_is_trained(on_two_cards, tmp_path):
    """TRL's server mode: every step, the ones after an update included."""
    served, folder = tmp_path / "server.log", tmp_path / "run"
    command = [
        sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", MODEL, "--port", "8123", "--dtype", "bfloat16", "--max-model-len", "1024",
        "--gpu-memory-utilization", "0.1", "--weight-transfer-config", '{"backend": "nccl"}', "--logprobs-mode", "processed_logprobs",
        "--max-logprobs", "-1",
    ]  # fmt: skip
    server = launched(served, *command, CUDA_VISIBLE_DEVICES="1", VLLM_SERVER_DEV_MODE="1")
    try:
        wait_until(lambda: "Application startup complete" in served.read_text(), server, served, 240)
        flags = training_flags(folder, "--use_vllm", "true", "--vllm_mode", "server", "--vllm_server_port", 8123, "--max_prompt_length", 256)
        start(tmp_path / "log", "env", "CUDA_VISIBLE_DEVICES=0", sys.executable, "train.py", *flags)
    finally:
        everyone = [server.pid, *descendants(server.pid)]
        kill_tree(server)
        while any(map(is_running, everyone)):  # the next test counts what is on the cards
            time.sleep(0.1)
    differences = [line["sampling/sampling_logp_difference/mean"] for line in traces.read_metrics(folder)]
    assert len(differences) == STEPS and max(differences) < MAX_LOGP_DIFFERENCE, differences
    adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    moved = max(weights.abs().max() for name, weights in adapter.items() if "lora_B" in name)  # 0 at first
    assert moved > LEARNING_RATE / 10, "nothing was learned that could have been missed"


def used_gib() -> float:
    """GiB in use on the first two cards, by all processes."""
    import torch

    return sum(total - free for free, total in map(torch.cuda.mem_get_info, range(2))) / 2**30


@pytest.mark.timeout(900)
def test_a_killed_process_leaves_nothing_on_the_cards_and_the_run_goes_on(on_two_cards, tmp_path):
    """SIGKILL to each process in turn, at another phase of a step each: all is gone in a minute, and no step is lost or twice."""
    folder, before = tmp_path / "run", used_gib()
    flags = flags_of_two_cards(folder, "--use_vllm", "true", "--save_steps", 2, "--save_total_limit", 2)
    resume, at, last = [], 1, 16
    for victim, delay in (("RANK=1", 0.0), ("RANK=0", 0.7), ("launcher", 0.4)):
        at += 2  # one after a checkpoint
        log = tmp_path / f"{victim}.log"
        process = launched(log, *on_two_cards, *flags, "--max_steps", last, *resume)
        try:
            wait_until(lambda: f"step {at}/{last}" in log.read_text(), process, log, 240)  # noqa: B023
            time.sleep(delay)
            everyone = [process.pid, *descendants(process.pid)]
            is_victim = process.pid.__eq__ if victim == "launcher" else lambda pid: has_variable(pid, victim.encode())  # noqa: B023
            os.kill(next(filter(is_victim, everyone)), signal.SIGKILL)
            killed = time.monotonic()
            while process.poll() is None or any(map(is_running, everyone)) or used_gib() > before + LEFT_GIB:
                running = [pid for pid in everyone if is_running(pid)]
                assert time.monotonic() < killed + ENDS_WITHIN_S, (running, used_gib() - before, log.read_text()[-3000:])
                time.sleep(0.1)
            print(f"{victim} killed {delay} s after step {at}: all gone after {time.monotonic() - killed:.1f} s")
        finally:
            kill_tree(process)
        resume = ["--resume_from_checkpoint", "last"]
    start(tmp_path / "last.log", *on_two_cards, *flags, "--max_steps", last, *resume)
    assert [line["step"] for line in traces.read_metrics(folder)] == list(range(1, last + 1))
    assert Counter(traces.load_trace(folder)["step"]) == dict.fromkeys(range(1, last + 1), COMPLETIONS)
