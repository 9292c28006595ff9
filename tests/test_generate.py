"""Completions: what is asked is what is sampled, nothing is asked twice, wrong uses say what is wrong."""

import http.server
import json
import sys
import threading
import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import build_tokenizer

import generate
from generate import BackendArguments, GenerationError, SamplingArguments
from tasks import build_messages, read_system_prompt

GREEDY = SamplingArguments(temperature=0, max_new_tokens=12)
CONVERSATIONS = [build_messages(prompt, "") for prompt in ("Add.", "Subtract two numbers.", "Sort.", "Reverse a string.")]


# ---------------------------------------------------------------------------------------------------------------------
# Tiny models
# ---------------------------------------------------------------------------------------------------------------------


def build_tiny_model(folder: Path, hidden_size: int = 32, seed: int = 0) -> Path:
    """A random Qwen2 whose generation_config.json carries Qwen's penalties."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    network = Qwen2ForCausalLM(config)
    network.generation_config.update(do_sample=True, repetition_penalty=1.1, top_k=20)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_adapter(folder: Path, model: Path, seed: int) -> Path:
    """A LoRA adapter with random, not zero, weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def adapters(tmp_path_factory, tiny_model) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [build_adapter(folder / f"adapter{seed}", tiny_model, seed) for seed in (1, 2)]


def by_index(batches) -> dict[int, generate.Completion]:
    found = [item for batch in batches for item in batch]
    assert len(found) == len(dict(found)), "an index was answered twice"
    return dict(found)


# ---------------------------------------------------------------------------------------------------------------------
# transformers
# ---------------------------------------------------------------------------------------------------------------------


def greedy_by_hand(folder: Path, conversation: list[dict], n_tokens: int) -> list[int]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = generate.tokenize(tokenizer, [conversation])[0]
    start = len(ids)
    with torch.inference_mode():
        for _ in range(n_tokens):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[start:]


def test_the_models_own_penalties_are_not_applied(tiny_model):
    generator = generate.TransformersGenerator(str(tiny_model), BackendArguments())
    answers = by_index(generator.generate(CONVERSATIONS, GREEDY))
    for index, conversation in enumerate(CONVERSATIONS):
        ids = greedy_by_hand(tiny_model, conversation, GREEDY.max_new_tokens)
        assert answers[index].text == generator.tokenizer.decode(ids, skip_special_tokens=True)


def test_the_models_own_top_k_is_not_applied(tiny_model):
    generator = generate.TransformersGenerator(str(tiny_model), BackendArguments(batch_size=300))
    flat = SamplingArguments(temperature=50.0, top_p=1.0, max_new_tokens=1, num_samples=300)
    texts = Counter(c.text for c in by_index(generator.generate(CONVERSATIONS[:1], flat)).values())
    assert len(texts) > 60, "300 draws from a nearly flat distribution of hundreds of tokens, but few different ones: top_k is on"
    few = SamplingArguments(temperature=50.0, top_p=1.0, top_k=3, max_new_tokens=1, num_samples=300)
    assert len({c.text for c in by_index(generator.generate(CONVERSATIONS[:1], few)).values()}) <= 3


def test_greedy_answers_do_not_depend_on_the_batch(tiny_model):
    one, many = (
        by_index(
            generate.TransformersGenerator(str(tiny_model), BackendArguments(batch_size=size)).generate(CONVERSATIONS, GREEDY)
        )
        for size in (1, 4)
    )
    assert one == many


def test_a_run_that_goes_on_answers_as_one_that_was_never_stopped(tiny_model):
    generator = generate.TransformersGenerator(str(tiny_model), BackendArguments(batch_size=3))
    sampling = SamplingArguments(temperature=1.0, max_new_tokens=6, num_samples=3)
    whole = by_index(generator.generate(CONVERSATIONS, sampling))
    assert sorted(whole) == list(range(12))
    done = {0, 1, 2, 5}
    assert by_index(generator.generate(CONVERSATIONS, sampling, done=done)) == {i: c for i, c in whole.items() if i not in done}
    assert by_index(generator.generate(CONVERSATIONS, sampling)) == whole


def test_samples_and_seeds_differ(tiny_model):
    generator = generate.TransformersGenerator(str(tiny_model), BackendArguments())

    def draw(seed):
        sampling = SamplingArguments(temperature=1.0, max_new_tokens=8, num_samples=2, seed=seed)
        return by_index(generator.generate(CONVERSATIONS[:1], sampling))

    assert draw(0) == draw(0) != draw(1)
    assert draw(0)[0] != draw(0)[1]


def test_finished_says_whether_the_model_ended_it(tiny_model):
    generator = generate.TransformersGenerator(str(tiny_model), BackendArguments())
    whole = by_index(generator.generate(CONVERSATIONS[:1], GREEDY))[0]
    assert (whole.finished, whole.n_tokens) == (False, GREEDY.max_new_tokens)
    written = generate.tokenize(generator.tokenizer, CONVERSATIONS[:1])[0]
    assert whole.n_prompt_tokens == len(written)
    ids = greedy_by_hand(tiny_model, CONVERSATIONS[0], GREEDY.max_new_tokens)
    stop = next(token for token in ids if token != ids[0])
    generator.stop_ids = [stop]
    cut = by_index(generator.generate(CONVERSATIONS, GREEDY))[0]  # in a batch, where others go on
    assert (cut.finished, cut.n_tokens) == (True, ids.index(stop) + 1)


def test_the_stream_is_the_completion(tiny_model):
    generator = generate.TransformersGenerator(str(tiny_model), BackendArguments())
    assert "".join(generator.stream(CONVERSATIONS[0], GREEDY)) == by_index(generator.generate(CONVERSATIONS[:1], GREEDY))[0].text


def test_rows_of_one_base_do_not_mix(tiny_model, adapters):
    plain = by_index(generate.TransformersGenerator(str(tiny_model), BackendArguments()).generate(CONVERSATIONS, GREEDY))
    names = [str(adapter) for adapter in adapters]
    generator = generate.TransformersGenerator(str(tiny_model), BackendArguments(), names)
    first, second = (by_index(generator.generate(CONVERSATIONS, GREEDY, adapter=name)) for name in names)
    assert plain != first != second != plain
    assert by_index(generator.generate(CONVERSATIONS, GREEDY)) == plain
    assert by_index(generator.generate(CONVERSATIONS, GREEDY, adapter=names[0])) == first


def test_an_adapter_of_another_model_is_named_with_both(tmp_path, tiny_model, adapters):
    wide = build_tiny_model(tmp_path / "wide", hidden_size=48)
    with pytest.raises(GenerationError, match=f"adapter {adapters[0]} .trained on {tiny_model}. does not fit the model {wide}"):
        generate.check_adapter_fits(str(adapters[0]), str(wide))
    generate.check_adapter_fits(str(adapters[0]), str(tiny_model))


@pytest.mark.parametrize(
    ("adapter", "message"), [("./nowhere", "no such folder"), ("{model}", "no adapter_config.json"), ("a/b/c", "no such folder")]
)
def test_what_is_no_adapter_is_refused(tiny_model, adapter, message):
    with pytest.raises(GenerationError, match=message):
        generate.resolve_adapter(adapter.format(model=tiny_model))


def test_a_run_folder_stands_for_the_adapter_in_it(tmp_path, adapters):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "adapter").symlink_to(adapters[0])
    assert generate.resolve_adapter(str(tmp_path / "run")) == tmp_path / "run" / "adapter"
    assert generate.resolve_adapter(str(adapters[0])) == adapters[0]


def test_an_adapter_given_as_model_says_how_to_call(tiny_model, adapters):
    with pytest.raises(GenerationError, match=f"--model {tiny_model} --adapter {adapters[0]}"):
        generate.load_tokenizer(str(adapters[0]))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(GenerationError, match="cannot load"):
        generate.load_tokenizer(str(tmp_path))


def test_a_prompt_that_does_not_fit_is_named(tiny_model):
    conversations = [*CONVERSATIONS, build_messages("x" * 300, "")]
    with pytest.raises(GenerationError, match=r"the prompt of e has 3\d\d tokens; with --max_new_tokens 400 .* 512 tokens"):
        generate.check_prompts_fit(str(tiny_model), conversations, "abcde", 400)
    assert 300 < generate.check_prompts_fit(str(tiny_model), conversations, "abcde", 10) < 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": -2}, {"min_p": 2}, {"repetition_penalty": 0},
        {"max_new_tokens": 0}, {"num_samples": 0},
    ],
)  # fmt: skip
def test_sampling_out_of_range_is_refused(wrong):
    with pytest.raises(GenerationError, match=f"--{next(iter(wrong))}.*expected"):
        SamplingArguments(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0}, {"gpu_memory_utilization": 0.0}, {"gpu_memory_utilization": 1.5}, {"api_concurrency": 0},
        {"api_timeout_s": 0.0}, {"api_timeout_s": -1.0}, {"api_max_retries": -1},
    ],
)  # fmt: skip
def test_backend_settings_out_of_range_are_refused(wrong):
    with pytest.raises(GenerationError, match=f"--{next(iter(wrong))} .*expected"):
        BackendArguments(**wrong)


@pytest.mark.parametrize(
    "base", ["http://me:hunter2@host/v1", "https://hunter2@host:8000/v1", "me:hunter2@host/v1", "http://u:hunter2/x@host/v1"]
)
def test_a_password_in_the_address_is_refused_and_not_repeated(base):
    with pytest.raises(GenerationError, match="--api_base: .*OPENAI_API_KEY") as error:
        BackendArguments(api_base=base)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("base", ["http://localhost:8000/v1", "https://host/v1/@someone", "host:80/v1", None])
def test_an_ordinary_address_is_taken(base):
    assert BackendArguments(api_base=base).api_base == base


NO_SYSTEM_ROLE = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ m['content'] }}{% endfor %}"
)


def test_a_template_without_a_system_role_says_what_to_pass(tiny_model):
    tokenizer = generate.load_tokenizer(str(tiny_model))
    tokenizer.chat_template = NO_SYSTEM_ROLE
    assert generate.tokenize(tokenizer, CONVERSATIONS[:1])
    with pytest.raises(GenerationError, match=r"\(System role not supported\): .*--system_prompt none"):
        generate.tokenize(tokenizer, [build_messages("Add.", "Be careful.")])


def test_a_prompt_that_is_not_unicode_is_named(tiny_model):
    conversations = [*CONVERSATIONS[:1], build_messages("Add \ud83d.", "")]
    tokenizer = generate.load_tokenizer(str(tiny_model))
    with pytest.raises(GenerationError, match=r"the prompt of 'Add \\ud83d\.' holds half of a surrogate pair, '\\ud83d'"):
        generate.tokenize(tokenizer, conversations)
    with pytest.raises(GenerationError, match="the prompt of task b holds half"):
        generate.check_prompts_fit(str(tiny_model), conversations, ["task a", "task b"], 10)


@dataclass
class ListArguments:
    """Lists of every kind that a script has."""

    k: list[int] = field(default_factory=list)
    compare: list[str] = field(default_factory=lambda: ["a", "b"])
    maybe: list[str] | None = None
    text: str = "x"

    def __post_init__(self):
        assert all(isinstance(value, list) for value in (self.k, self.compare)), "what a dataclass checks is a list already"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("k: 1\ncompare: FILE\nmaybe: z\ntext: t\n", ListArguments([1], ["FILE"], ["z"], "t")),
        ("k: [1, 2]\ncompare: []\nmaybe:\n", ListArguments([1, 2], [])),
        ("text: t\n", ListArguments(text="t")),
    ],
)
def test_one_value_in_a_config_file_is_a_list_of_one(tmp_path, text, expected):
    (tmp_path / "c.yaml").write_text(text)
    assert generate.parse_dataclasses((ListArguments,), ["--config", str(tmp_path / "c.yaml")], "doc") == (expected,)


def test_a_flag_beats_one_value_in_a_config_file(tmp_path):
    (tmp_path / "c.yaml").write_text("k: 1\n")
    (parsed,) = generate.parse_dataclasses((ListArguments,), ["--config", str(tmp_path / "c.yaml"), "--k", "3", "4"], "doc")
    assert parsed.k == [3, 4]


def test_weights_hash_follows_the_weights(tmp_path, tiny_model):
    copy = build_tiny_model(tmp_path / "other", seed=1)
    same = build_tiny_model(tmp_path / "same")
    assert generate.weights_hash(tiny_model) == generate.weights_hash(same) != generate.weights_hash(copy)
    assert generate.weights_hash("Qwen/some-hub-id") is None


@pytest.mark.parametrize(
    ("args", "message"),
    [(BackendArguments(backend="vllm"), "vllm"), (BackendArguments(load_in_4bit=True), "CUDA")],
)
def test_a_backend_that_is_not_there_is_refused(args, message, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GenerationError, match=message):
        generate.choose_backend(args)


# ---------------------------------------------------------------------------------------------------------------------
# vLLM: the engine is not installed where tests run, so its calls are answered by a stand-in with its signatures
# ---------------------------------------------------------------------------------------------------------------------


class FakeLLM:
    """Answers out of order, two requests a step, under vLLM 0.26's request ids."""

    def __init__(self, model, *, dtype="auto", seed=0, gpu_memory_utilization=0.92, **kwargs):
        self.options = dict(model=model, dtype=dtype, seed=seed, gpu_memory_utilization=gpu_memory_utilization, **kwargs)
        self.waiting, self.asked, self.counter, self.llm_engine = [], [], 0, self

    def enqueue(self, prompts, sampling_params=None, lora_request=None, priority=None, use_tqdm=True):
        ids = []
        for prompt, params in zip(prompts, sampling_params, strict=True):
            self.waiting.append((str(self.counter), prompt["prompt_token_ids"], params, lora_request))
            self.asked.append((params, lora_request))
            ids.append(f"{self.counter}-0123abcd")
            self.counter += 1
        return ids

    def has_unfinished_requests(self):
        return bool(self.waiting)

    def step(self):
        return [self._answer(*self.waiting.pop()) for _ in range(min(2, len(self.waiting)))]

    @staticmethod
    def _answer(request_id, ids, params, lora_request):
        text = f"{len(ids)} tokens, {lora_request.lora_path if lora_request else 'base'}"
        answer = types.SimpleNamespace(text=text, token_ids=[1, 2, 3], finish_reason="stop")
        return types.SimpleNamespace(request_id=request_id, outputs=[answer], finished=True, prompt_token_ids=ids)

    def abort_request(self, request_ids, internal=False):
        assert internal
        self.waiting.clear()


@pytest.fixture
def fake_vllm(monkeypatch):
    @dataclass
    class LoRARequest:
        lora_name: str
        lora_int_id: int
        lora_path: str

    modules = {name: types.ModuleType(name) for name in ("vllm", "vllm.lora", "vllm.lora.request", "vllm.sampling_params")}
    modules["vllm"].LLM = FakeLLM
    modules["vllm"].SamplingParams = lambda **fields: types.SimpleNamespace(**fields)
    modules["vllm.lora.request"].LoRARequest = LoRARequest
    modules["vllm.sampling_params"].RequestOutputKind = types.SimpleNamespace(FINAL_ONLY=2)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_vllm_is_told_every_sampling_field_and_answers_go_to_their_prompts(fake_vllm, tiny_model, adapters):
    names = [str(adapter) for adapter in adapters]
    generator = generate.VllmGenerator(str(tiny_model), BackendArguments(), names, max_model_len=300, seed=7)
    assert generator.llm.options == dict(
        model=str(tiny_model), dtype="bfloat16", gpu_memory_utilization=0.85, seed=7, max_model_len=300,
        generation_config="vllm", enable_lora=True, max_loras=1, max_lora_rank=8,
    )  # fmt: skip
    sampling = SamplingArguments(
        temperature=0.5, top_p=0.8, top_k=7, min_p=0.1, repetition_penalty=1.2, max_new_tokens=9, num_samples=2
    )
    lengths = [len(ids) for ids in generate.tokenize(generator.tokenizer, CONVERSATIONS)]
    for adapter in (None, names[1]):
        answers = by_index(generator.generate(CONVERSATIONS, sampling, adapter, done={3}))
        assert sorted(answers) == [0, 1, 2, 4, 5, 6, 7]
        for index, completion in answers.items():
            expected = f"{lengths[index // 2]} tokens, {adapter or 'base'}"
            assert completion == generate.Completion(expected, 3, True, lengths[index // 2])
    params, _ = generator.llm.asked[0]
    fields = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    assert all(getattr(params, name) == getattr(sampling, name) for name in fields)
    assert (params.n, params.max_tokens, params.presence_penalty, params.frequency_penalty) == (1, 9, 0.0, 0.0)
    assert params.stop_token_ids == [generator.tokenizer.eos_token_id]


@pytest.mark.parametrize("error", [
    AssertionError("Error in memory profiling. Initial free memory 118.47 GiB, current free memory 119.18 GiB."),
    ValueError("No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."),
], ids=["given back", "taken"])  # fmt: skip
def test_memory_that_others_move_while_vllm_measures_is_one_sentence(fake_vllm, tiny_model, monkeypatch, error):
    def start(**options):
        raise error

    monkeypatch.setattr(sys.modules["vllm"], "LLM", start)
    with pytest.raises(generate.GenerationError, match="another process took or gave back memory while it measured"):
        generate.VllmGenerator(str(tiny_model), BackendArguments())
    with pytest.raises(AssertionError, match="another one"), generate.vllm_measures_memory():
        raise AssertionError("another one")


def test_vllm_keeps_nothing_of_a_row_that_was_left_early(fake_vllm, tiny_model):
    generator = generate.VllmGenerator(str(tiny_model), BackendArguments())
    batches = generator.generate(CONVERSATIONS, GREEDY)
    next(batches)
    batches.close()
    assert not generator.llm.has_unfinished_requests()


# ---------------------------------------------------------------------------------------------------------------------
# Endpoint
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Endpoint:
    """What the local server does: `plan(request, attempt)` -> status and text, or None to stall."""

    plan: Callable[[dict, int], tuple[int, object] | None]
    url: str = ""
    requests: list[dict] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    attempts: Counter = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    ignores_stream: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)


class EndpointHandler(http.server.BaseHTTPRequestHandler):
    """One connection to a server that has an `endpoint`. Errors ask for a short pause, so that tests need not wait."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def send_json(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after-ms", "20")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        status, _ = self.server.endpoint.plan({"path": self.path}, 0)
        self.send_json(status, {"object": "list", "data": []})

    def do_POST(self):
        endpoint, request = self.server.endpoint, json.loads(self.rfile.read(int(self.headers["content-length"])))
        with endpoint.lock:
            endpoint.requests.append(request)
            endpoint.keys.append(self.headers["authorization"])
            identity = json.dumps([request["messages"], request["seed"]])
            endpoint.attempts[identity] += 1
            attempt = endpoint.attempts[identity]
            endpoint.in_flight += 1
            endpoint.most_in_flight = max(endpoint.most_in_flight, endpoint.in_flight)
        try:
            self.answer(request, endpoint.plan(request, attempt))
        finally:
            with endpoint.lock:
                endpoint.in_flight -= 1

    def answer(self, request: dict, planned: tuple[int, object] | None) -> None:
        if planned is None:
            self.server.endpoint.stopped.wait(5)
            return
        status, text = planned
        same = {"id": "1", "created": 0, "model": "m"}
        if status != 200:
            self.send_json(status, {"error": {"message": text}})
        elif request.get("stream") and not self.server.endpoint.ignores_stream:
            self.stream(text, same)
        elif isinstance(text, dict):
            self.send_json(200, text)
        else:
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
            self.send_json(200, {"object": "chat.completion", "choices": [choice], "usage": usage} | same)

    def stream(self, text: str, same: dict) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for piece in text.splitlines(keepends=True):
            choice = {"index": 0, "finish_reason": None, "delta": {"content": piece}}
            chunk = {"object": "chat.completion.chunk", "choices": [choice]} | same
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


@contextmanager
def serve(plan: Callable[[dict, int], tuple[int, object] | None]) -> Iterator[Endpoint]:
    """An OpenAI-compatible endpoint on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), EndpointHandler)
    server.endpoint = Endpoint(plan, f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.endpoint
    finally:
        server.endpoint.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def api_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")


def echo(request, attempt):
    return 200, request["messages"][-1]["content"] if "messages" in request else ""


def api(endpoint, **options) -> generate.ApiGenerator:
    settings = dict(api_base=endpoint.url, api_timeout_s=5.0, api_max_retries=3) | options
    return generate.ApiGenerator("m", BackendArguments(**settings))


def test_an_endpoint_is_told_every_sampling_field(api_key):
    with serve(echo) as endpoint:
        sampling = SamplingArguments(temperature=0.3, top_p=0.7, max_new_tokens=50, num_samples=2)
        answers = by_index(api(endpoint).generate(CONVERSATIONS, sampling, done={2}))
    assert {i: c.text for i, c in answers.items()} == {i: CONVERSATIONS[i // 2][-1]["content"] for i in range(8) if i != 2}
    assert answers[0] == generate.Completion("Add.", n_tokens=7, finished=True, n_prompt_tokens=5)
    expected = dict(model="m", temperature=0.3, top_p=0.7, max_tokens=50, top_k=0, min_p=0.0, repetition_penalty=1.0)
    assert expected.items() <= endpoint.requests[0].items()
    assert len({request["seed"] for request in endpoint.requests}) == 7, "samples of one prompt need seeds of their own"
    assert set(endpoint.keys) == {"Bearer sk-very-secret"}


def test_extra_sampling_fields_can_be_left_out(api_key):
    with serve(echo) as endpoint:
        by_index(api(endpoint, api_extra_sampling=False).generate(CONVERSATIONS[:1], GREEDY))
    assert not {"top_k", "min_p", "repetition_penalty"} & endpoint.requests[0].keys()


def test_busy_failing_and_stalling_endpoints_are_asked_again(api_key):
    def plan(request, attempt):
        if "messages" not in request or attempt > 1:
            return echo(request, attempt)
        number = [c[-1]["content"] for c in CONVERSATIONS].index(request["messages"][-1]["content"])
        return [(429, "slow down"), (500, "oops"), None, (503, "busy")][number]

    with serve(plan) as endpoint:
        answers = by_index(api(endpoint, api_timeout_s=0.4).generate(CONVERSATIONS, GREEDY))
    assert [answers[i].text for i in range(4)] == [c[-1]["content"] for c in CONVERSATIONS]
    assert sorted(endpoint.attempts.values()) == [2, 2, 2, 2]


def test_no_more_requests_in_flight_than_asked(api_key):
    with serve(echo) as endpoint:
        answers = by_index(api(endpoint, api_concurrency=3).generate(CONVERSATIONS, SamplingArguments(num_samples=10)))
    assert len(answers) == 40
    assert endpoint.most_in_flight <= 3


def test_a_failure_for_good_keeps_what_arrived(api_key):
    def plan(request, attempt):
        return (500, "out of order") if request.get("messages") == CONVERSATIONS[2] else echo(request, attempt)

    found = []
    with serve(plan) as endpoint, pytest.raises(GenerationError, match=r"out of order.*run the same command again"):
        for batch in api(endpoint, api_concurrency=1, api_max_retries=1).generate(CONVERSATIONS, GREEDY):
            found += batch
    assert [index for index, _ in found] == [0, 1]
    assert sum(endpoint.attempts.values()) == 4, "two answers, and one request tried twice; the fourth is not asked any more"


def test_leaving_early_asks_nothing_more(api_key):
    with serve(echo) as endpoint:
        batches = api(endpoint, api_concurrency=1).generate(CONVERSATIONS, SamplingArguments(num_samples=50))
        next(batches)
        batches.close()
        assert len(endpoint.requests) < 20


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((400, "unknown field top_k"), "--no_api_extra_sampling"),
        ((422, "extra fields"), "--no_api_extra_sampling"),
        ((404, "no model m"), "no model m"),
        ((200, {"error": "?"}), "failed"),
    ],
)
def test_an_answer_of_no_use_is_explained(api_key, answer, message):
    plan = lambda request, attempt: answer if "messages" in request else (200, "")
    with serve(plan) as endpoint, pytest.raises(GenerationError, match=message):
        by_index(api(endpoint, api_max_retries=0).generate(CONVERSATIONS[:1], GREEDY))


def test_an_endpoint_that_is_down_is_named(api_key):
    with serve(echo) as endpoint:
        pass
    with pytest.raises(GenerationError, match=f"nobody answers at {endpoint.url}"):
        api(endpoint)


@pytest.mark.parametrize("key", [None, ""])
def test_a_server_that_wants_no_key_needs_none(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    if key is None:
        monkeypatch.delenv("OPENAI_API_KEY")
    with serve(echo) as endpoint:
        generator = api(endpoint)
        assert len(by_index(generator.generate(CONVERSATIONS[:1], GREEDY))) == 1
        assert "".join(generator.stream(CONVERSATIONS[0], GREEDY))


def test_an_endpoint_that_ignores_stream_gives_the_whole_text(api_key):
    with serve(echo) as endpoint:
        generator = api(endpoint)
        streamed = "".join(generator.stream(CONVERSATIONS[0], GREEDY))
        endpoint.ignores_stream = True
        assert "".join(generator.stream(CONVERSATIONS[0], GREEDY)) == streamed != ""
        assert [request["stream"] for request in endpoint.requests] == [True, True], "asked once each"


def test_an_endpoint_that_gives_neither_is_named(api_key):
    with serve(lambda request, attempt: (200, {"error": "no such model"})) as endpoint:
        endpoint.ignores_stream = True
        with pytest.raises(GenerationError, match="gave neither a stream nor a completion"):
            list(api(endpoint).stream(CONVERSATIONS[0], GREEDY))


def test_a_failure_without_a_key_is_explained_too(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    plan = lambda request, attempt: (400, "none of this") if "messages" in request else (200, "")
    with serve(plan) as endpoint, pytest.raises(GenerationError, match="failed: .*none of this"):
        by_index(api(endpoint).generate(CONVERSATIONS[:1], GREEDY))


def test_a_server_that_wants_a_key_says_where_to_put_it(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serve(lambda request, attempt: (401, "no key")) as endpoint:
        with pytest.raises(GenerationError, match=r"wants a key: set OPENAI_API_KEY \(401\)"):
            api(endpoint)


def test_a_refused_key_is_not_shown(api_key):
    with (
        serve(lambda request, attempt: (401, "wrong key")) as endpoint,
        pytest.raises(GenerationError, match="refuses the key") as caught,
    ):
        api(endpoint)
    assert "sk-very" not in str(caught.value)


def test_an_endpoint_is_not_asked_what_is_not_unicode(api_key):
    with serve(echo) as endpoint, pytest.raises(GenerationError, match=r"^the prompt of 'Add \\ud83d\.' holds half of a surrogate pair"):
        by_index(api(endpoint).generate([build_messages("Add \ud83d.", "")], GREEDY))
    assert not endpoint.requests


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_key_that_is_refused_later_and_echoed_is_not_shown(api_key, is_streamed):
    def plan(request, attempt):
        return (401, "Incorrect API key provided: sk-very-secret") if "messages" in request else (200, "")

    with serve(plan) as endpoint, pytest.raises(GenerationError, match=r"Incorrect API key provided: \*\*\*") as caught:
        generator = api(endpoint)
        if is_streamed:
            list(generator.stream(CONVERSATIONS[0], GREEDY))
        else:
            by_index(generator.generate(CONVERSATIONS[:1], GREEDY))
    assert "sk-very" not in str(caught.value)


def test_an_adapter_needs_a_local_model():
    with pytest.raises(GenerationError, match="--adapter"):
        generate.open_generator("m", BackendArguments(api_base="http://127.0.0.1:1/v1"), ["adapter"])


# ---------------------------------------------------------------------------------------------------------------------
# Try one prompt
# ---------------------------------------------------------------------------------------------------------------------

GOOD = """```rust
pub fn double(x: i32) -> i32 {
    x * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles() {
        assert_eq!(double(4), 8);
        assert_eq!(double(-3), -6);
    }
}
```"""
WRONG = GOOD.replace("x * 2", "x * y")


@pytest.mark.parametrize(("text", "status", "shown"), [(GOOD, 0, "ok       tests::doubles"), (WRONG, 1, "error[E0425] (line 2)")])
def test_a_prompt_tried_out_shows_completion_and_verdict(api_key, capsys, text, status, shown):
    with serve(lambda request, attempt: (200, text)) as endpoint:
        assert generate.main(["--api_base", endpoint.url, "--model", "m", "Double a number."]) == status
    out = capsys.readouterr().out
    assert out.startswith(text)
    assert shown in out
    assert endpoint.requests[0]["messages"][0]["content"] == read_system_prompt()


def test_of_several_the_one_that_the_tests_of_the_others_pick_is_shown(api_key, capsys):
    """Two that are right in their own ways and one that is wrong and says so itself; the wrong one comes first."""
    wrong = GOOD.replace("x * 2", "x * x").replace("double(4), 8", "double(4), 16").replace("double(-3), -6", "double(-3), 9")
    answers = [wrong, GOOD, GOOD.replace("x * 2", "x + x").replace("double(4), 8", "double(5), 10")]
    with serve(lambda request, attempt: (200, answers[request.get("seed", 0)])) as endpoint:
        flags = ["--best_of", "3", "--temperature", "0.8"]
        assert generate.main(["--api_base", endpoint.url, "--model", "m", *flags, "Double a number."]) == 0
    out = capsys.readouterr().out
    assert "picked  2 of 3 (3 build): passes 1 of 2 tests of the others" in out
    assert "x * x" not in out and "ok       tests::doubles" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--best_of", "0"], "--best_of 0: expected at least 1"), (["--best_of", "2", "--temperature", "0"], "raise --temperature")],
)
def test_several_that_could_not_differ_are_refused(capsys, flags, message):
    assert generate.main(["--model", "m", *flags, "Double a number."]) == 2
    assert message in capsys.readouterr().err


CHAINED = """```rust
fn even(text: Option<&str>) -> bool {
    if let Some(t) = text && let Ok(n) = t.parse::<i64>() {
        return n % 2 == 0;
    }
    false
}
```"""


@pytest.mark.parametrize(("flags", "shown"), [([], "build   FAILED"), (["--edition", "2024"], "build   passed")])
def test_a_prompt_tried_out_in_another_edition(api_key, capsys, flags, shown):
    with serve(lambda request, attempt: (200, CHAINED)) as endpoint:
        generate.main(["--api_base", endpoint.url, "--model", "m", *flags, "Is it even?"])
    assert shown in capsys.readouterr().out


def test_a_prompt_tried_out_on_an_adapter(tiny_model, adapters, capsys):
    arguments = [
        "--model",
        str(tiny_model),
        "--adapter",
        str(adapters[0]),
        "--max_new_tokens",
        "4",
        "--system_prompt",
        "none",
        "Add.",
    ]
    assert generate.main(arguments) == 1
    assert "no closed ```rust block" in capsys.readouterr().out


def test_a_wrong_call_is_one_sentence(tmp_path, capsys):
    assert generate.main(["--model", str(tmp_path), "Add."]) == 2
    assert generate.main(["--model", str(tmp_path), "--no_such_flag", "1", "Add."]) == 2
    errors = capsys.readouterr().err
    assert "generate.py: cannot load" in errors
    assert "no_such_flag" in errors
    assert "Traceback" not in errors


def test_a_tiny_model_is_evaluated_on_one_thread_too(tiny_model, monkeypatch):
    import torch

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        generate.TransformersGenerator(tiny_model, BackendArguments())
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
