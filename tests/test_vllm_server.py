"""--vllm_mode server: TRL's own client and sampling against a server that answers as vLLM's does; only the weights' way to it is another."""

import json
import re
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, sampled
from test_second_turn import ReadsHere
from transformers import AutoModelForCausalLM

import doctor
import train

MAX_LOGP_DIFFERENCE = 0.05  # mean per token: the server holds the policy in bf16


class Server(BaseHTTPRequestHandler):
    """vLLM's answers (0.26) to what TRL's client asks; `state` is a test's."""

    def do_GET(self):
        state = self.server.state
        path = self.requestline.split()[1].partition("?")[0]  # as it was asked: `self.path` has one slash for two
        if path == "/server_info" and not state.is_dev:
            return self.answer({}, 404)
        transfer = {"backend": "nccl"} if state.takes_weights else None
        answers = {
            "/health": {},
            "/v1/models": {"data": [{"id": "coder", "max_model_len": state.max_model_len}]},
            "/server_info": {"vllm_config": {"weight_transfer_config": transfer, "model_config": {"logprobs_mode": state.logprobs_mode}}},
        }  # fmt: skip
        return self.answer(answers.get(path, {}), state.status if path in answers else 404)

    def do_POST(self):
        state = self.server.state
        asked = json.loads(self.rfile.read(int(self.headers["content-length"] or 0)) or "{}")
        if self.path == "/reset_prefix_cache":
            return self.answer({"success": True})
        assert self.path == "/v1/completions" and asked["model"] == "coder"
        state.asked.append(asked)
        if state.both is not None and not state.may_answer():
            return self.answer({}, 400)
        return self.answer({"choices": [state.completed(ids, asked) for ids in asked["prompt"] for _ in range(asked["n"])]})

    def answer(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class Served:
    """The model behind a server."""

    def __init__(self, folder):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.first = {name: weights.clone() for name, weights in self.model.named_parameters()}
        self.is_dev = self.takes_weights = True
        self.both = self.started = None  # a barrier of two requests, and what one of them then waits for
        self.max_model_len, self.logprobs_mode, self.status, self.asked = 4096, "processed_logprobs", 200, []

    def may_answer(self):
        """One of two requests when both are there, the other when something is graded; not at all after ten seconds."""
        try:
            return self.both.wait(10) == 0 or self.started.wait(10)
        except threading.BrokenBarrierError:
            return False

    def completed(self, prompt, asked):
        cold = {name: asked[name] for name in ("temperature", "top_p", "top_k")}
        ids, logps = sampled(self.model, prompt, asked["max_tokens"], 0, **cold)
        names = [f"token_id:{token}" for token in ids]
        tops = [{name: logp} for name, logp in zip(names, logps, strict=True)]
        logprobs = {"tokens": names, "token_logprobs": logps, "top_logprobs": tops}
        return {"prompt_token_ids": prompt, "token_ids": ids, "logprobs": logprobs}

    def update_named_params(self, metadata, named):
        """In place of NCCL."""
        weights = dict(named)
        assert [(name, "bfloat16", list(tensor.shape)) for name, tensor in weights.items()] == metadata
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}


@pytest.fixture
def served(tiny_coder, monkeypatch):
    pytest.importorskip("requests")
    from trl.generation import vllm_client, vllm_generation

    state = Served(tiny_coder)
    for module in (vllm_client, vllm_generation):
        monkeypatch.setattr(module, "is_vllm_available", lambda *a, **k: True)
    monkeypatch.setattr(vllm_client, "_HAS_RESET_PREFIX_CACHE_SUCCESS", True)
    monkeypatch.setattr(vllm_client.VLLMClient, "init_communicator", lambda client, device: client.get_server_info())
    monkeypatch.setattr(vllm_client.VLLMClient, "update_named_params", lambda client, *sent: state.update_named_params(*sent))
    monkeypatch.setattr(doctor, "require_vllm", lambda: None)
    monkeypatch.setattr(train, "GradingProcess", lambda **options: ReadsHere())
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.state = state
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()


@pytest.fixture
def argv(tiny_coder, prompts_file, tmp_path):
    return lambda url, *flags: list(map(str, [
        "--config", ROOT / "configs" / "tiny.yaml", "--model_name_or_path", tiny_coder, "--tasks", prompts_file, "--output_dir", tmp_path / "run",
        "--per_device_train_batch_size", 16, "--max_completion_length", 48, "--max_steps", 3, "--learning_rate", 0.05, "--use_peft", "true",
        "--lora_dropout", 0, "--save_strategy", "no", "--rewards", "code_block_reward=1", "--use_vllm", "true", "--vllm_mode", "server",
        "--vllm_server_base_url", url, "--vllm_server_timeout", 0, *flags,
    ]))  # fmt: skip


def test_what_one_prompt_was_answered_is_graded_while_the_other_is_sampled(served, argv, monkeypatch):
    """In every step; both are asked for at once, and the other waits for it here."""
    served.both, served.started, graded = threading.Barrier(2), threading.Event(), []

    class Watched(ReadsHere):
        def start(self, task, completion):
            super().start(task, completion)
            graded.append((task["task_id"], completion))
            served.started.set()

        def grade(self, tasks, completions):
            asked = sorted((task["task_id"], completion) for task, completion in zip(tasks, completions, strict=True))
            assert sorted(graded) == asked, "each once, with its task"
            graded.clear()
            served.started.clear()
            return super().grade(tasks, completions)

    monkeypatch.setattr(train, "GradingProcess", lambda **options: Watched())
    assert train.main(argv(served.url)) == 0
    assert len(served.asked) == 6 and not graded


def test_answers_come_in_order_each_with_its_prompt(monkeypatch):
    """Of more prompts than there may be requests; and the client is itself again after an error."""
    from training import grading_ahead

    monkeypatch.setattr(grading_ahead, "REQUESTS", 2)
    requests, taken, prompts = [], [], [[number] for number in range(5)]

    class Client:
        def generate(self, prompts, n):
            requests.append(prompts)
            assert n == 2, "not asked for"
            ids = [[prompt[0], copy] for prompt in prompts for copy in range(n)]
            return {"prompt_ids": prompts, "completion_ids": ids, "logprobs": None}

    client = Client()
    with grading_ahead.finished_answers(client, lambda *pair: taken.append(pair)):
        answer = client.generate(prompts=prompts, n=2)
    everything = [(prompt, [prompt[0], copy]) for prompt in prompts for copy in range(2)]
    assert sorted(requests) == [prompts[:3], prompts[3:]] and sorted(taken) == everything
    assert answer == {"prompt_ids": prompts, "completion_ids": [ids for _, ids in everything], "logprobs": None}
    with pytest.raises(AssertionError, match="not asked for"), grading_ahead.finished_answers(client, print):
        client.generate(prompts=prompts, n=3)
    assert client.generate(prompts[:1], 2)["prompt_ids"] == prompts[:1] and requests[-1] == prompts[:1]


def test_an_interrupt_does_not_wait_for_the_server():
    from training.grading_ahead import finished_answers

    answered = threading.Event()
    client = SimpleNamespace(generate=lambda prompts: answered.wait(30))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of pytest-xdist ignores it
    try:
        threading.Timer(0.2, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), finished_answers(client, print):
            client.generate(prompts=[[1], [2]])
        assert time.monotonic() - began < 10
    finally:
        signal.signal(signal.SIGINT, before)
        answered.set()


def hidden_tests(tmp_path, prompts_file):
    rows = [json.loads(line) for line in prompts_file.read_text().splitlines()[:3]]
    path = tmp_path / "held.jsonl"
    tests = ["#[test]\nfn adds() { assert_eq!(add(1, 2), 3); }"]
    path.write_text("".join(json.dumps({"task_id": f"held/{n}", "prompt": f"{row['prompt']} Please.", "tests": tests}) + "\n" for n, row in enumerate(rows)))
    return path


def test_a_server_samples_the_policy_that_is_trained_and_the_evaluation(served, argv, tmp_path, prompts_file):
    """Every step, the ones after an update included, in groups of one prompt; an evaluation asks for each of its samples by itself."""
    flags = ["--eval_tasks", hidden_tests(tmp_path, prompts_file), "--eval_every", 3, "--eval_samples", 2, "--eval_temperature", 0.5]
    assert train.main(argv(served.url + "/", *flags)) == 0
    folder = tmp_path / "run"
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in metrics if "reward" in line]
    assert max(line["sampling/sampling_logp_difference/mean"] for line in steps) < MAX_LOGP_DIFFERENCE
    moved = max((weights - served.first[name]).abs().max() for name, weights in served.model.named_parameters())
    assert moved > 0.05, "without the updates the log-probs would have been equal, too"
    training = [asked for asked in served.asked if asked["n"] == 8]
    evaluating = [asked for asked in served.asked if asked["n"] == 1]
    assert len(training) == 6 and all(len(asked["prompt"]) == 1 and asked["temperature"] == 1.0 for asked in training)
    assert all(len(asked["prompt"]) == 6 and asked["temperature"] == 0.5 and asked["top_p"] == 0.95 for asked in evaluating)
    assert len(evaluating) == 2  # before and after training
    records = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    assert len(records) == 48 and all(len({r["task_id"] for r in records if r["group_id"] == one["group_id"]}) == 1 for one in records)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_model_len": 60}, r"takes 60 tokens, and a prompt and its completion may have \d+"),
        ({"is_dev": False}, "was started without VLLM_SERVER_DEV_MODE=1"),
        ({"takes_weights": False}, "was started without --weight-transfer-config"),
        ({"logprobs_mode": "raw_logprobs"}, "was started without --logprobs-mode processed_logprobs"),
    ],
)
def test_a_server_that_cannot_serve_the_run_is_refused_before_the_model_loads(served, argv, monkeypatch, capsys, change, said):
    vars(served).update(change)
    monkeypatch.setattr(train, "build_trainer", lambda *a, **k: pytest.fail("the model loads"))
    assert train.main(argv(served.url)) == 2
    assert re.search(said, capsys.readouterr().err)


def test_what_is_no_vllm_server_is_refused(served, argv, capsys):
    for url in (served.url + "/elsewhere", "http://[::1", "http://127.0.0.1:port"):
        assert train.main(argv(url)) == 2
        assert "is no vLLM server" in capsys.readouterr().err


def test_a_gateway_before_a_server_that_still_loads_is_waited_for(served):
    served.status = 503
    doctor.require_vllm_server(served.url, 10**6)


def test_a_server_that_never_comes_is_one_sentence(served, argv, capsys):
    assert train.main(argv("http://127.0.0.1:9")) == 1
    assert "The vLLM server can't be reached at http://127.0.0.1:9 after 0" in capsys.readouterr().err


def test_the_url_is_that_of_the_flags():
    args = SimpleNamespace(vllm_server_base_url=None, vllm_server_host="10.0.0.2", vllm_server_port=8001)
    assert doctor.vllm_server_url(args) == "http://10.0.0.2:8001"
    args.vllm_server_base_url = "http://elsewhere"
    assert doctor.vllm_server_url(args) == "http://elsewhere"
