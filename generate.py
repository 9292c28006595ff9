"""Prompts -> completions, by vLLM, transformers or an OpenAI-compatible endpoint; and one prompt tried out by hand:

    python generate.py --model Qwen/Qwen2.5-Coder-1.5B-Instruct "Write a Rust function that reverses a string."
    python generate.py --model Qwen/Qwen2.5-Coder-1.5B-Instruct --adapter runs/demo "..."     # a trained adapter
    python generate.py --model ... --best_of 8 --temperature 0.8 "..."      # the one of eight that passes most of the others' tests
    OPENAI_API_KEY=... python generate.py --api_base http://localhost:8000/v1 --model NAME "..."
    python generate.py --model ... --kind fix src/main.rs                                     # other kinds: kinds/from_files.py

The completion is shown as it is written, cargo's verdict under it.

Both local backends sample from the same distribution: every sampling field is set here, none is inherited from the
model's `generation_config.json` (Qwen's carries repetition_penalty 1.1 and top_k 20). Two differences remain: rounding
(bf16 kernels differ), and `min_p` beside `top_p` < 1 (vLLM applies min_p first, transformers last).
Not guaranteed: equal samples from equal seeds across backends, batch sizes or GPUs. transformers repeats a batch exactly on
the same machine, whatever was generated before it; vLLM and endpoints do not promise even that.
"""

import asyncio
import contextlib
import difflib
import hashlib
import importlib.util
import json
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import console
import doctor
import kinds
import tasks
from judge.errors import UserError, tell
from judge.settings import JudgeSettings
from share import first_line

API_KEY_VARIABLE = "OPENAI_API_KEY"
ONE_THREAD_PARAMETERS = 20e6  # a model of fewer computes a layer faster on one core than several agree on who does what
VLLM_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the ranks that vLLM reserves room for
BATCH_SEED_STRIDE = 1_000_003  # a prime: batches of neighbouring seeds do not share a stream
HASH_EDGE_BYTES = 1 << 20  # weights are recognised by their size and both ends, 1 MiB each

Conversation = list[dict]  # messages of kinds.conversation


class GenerationError(UserError, RuntimeError):
    """Completions cannot be made as asked; the message is one sentence for the user."""


@dataclass(frozen=True)
class Completion:
    """One sampled answer.

    text: Special tokens left out.
    n_tokens: Tokens sampled, the end-of-sequence token included; None when an endpoint does not say.
    finished: The model ended it, not the length limit.
    n_prompt_tokens: Tokens of the prompt; None when an endpoint does not say.
    """

    text: str
    n_tokens: int | None
    finished: bool
    n_prompt_tokens: int | None


# ---------------------------------------------------------------------------------------------------------------------
# Arguments
# ---------------------------------------------------------------------------------------------------------------------


def _require_in_range(arguments: Any, checks: dict[str, tuple[bool, str]]) -> None:
    """`checks`: field -> (whether its value will do, what is expected). Raises GenerationError for the first that will not."""
    for name, (is_valid, expected) in checks.items():
        if not is_valid:
            raise GenerationError(f"--{name} {getattr(arguments, name)}: expected a value {expected}")


def has_login(address: str | None) -> bool:
    """Whether a URL names a user or a password, which would be written down with it."""
    if not address:
        return False
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        _ = parts.port  # ValueError for http://me:pass/word@host, whose port is "pass"
    except ValueError:
        return "@" in address
    return "@" in parts.netloc


@dataclass
class SamplingArguments:
    """How completions are sampled: every field reaches every backend. Raises GenerationError for a value out of range."""

    temperature: float = field(default=0.2, metadata={"help": "Sampling temperature; 0 decodes greedily."})
    top_p: float = field(default=0.9, metadata={"help": "Nucleus: smallest set of tokens of this probability; 1 is off."})
    top_k: int = field(default=0, metadata={"help": "Sample from the k likeliest tokens only; 0 is off."})
    min_p: float = field(default=0.0, metadata={"help": "Drop tokens below this share of the likeliest one; 0 is off."})
    repetition_penalty: float = field(
        default=1.0, metadata={"help": "Penalty on tokens already seen, prompt included; 1 is off."}
    )
    max_new_tokens: int = field(default=1024, metadata={"help": "Length limit of a completion in tokens."})
    num_samples: int = field(default=1, metadata={"help": "Completions per prompt."})
    seed: int = field(default=0, metadata={"help": "Seed of the sampler."})

    def __post_init__(self):
        checks = {
            "temperature": (self.temperature >= 0, "at least 0"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "at least 0 (0 is off)"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "num_samples": (self.num_samples >= 1, "at least 1"),
        }
        _require_in_range(self, checks)


@dataclass
class BackendArguments:
    """What generates, and how much of the machine it may take."""

    backend: str = field(
        default="auto",
        metadata={"help": "Where a local model runs; auto is vllm where it is installed and there is a GPU.",
                  "choices": ["auto", "vllm", "transformers"]},
    )  # fmt: skip
    dtype: str = field(
        default="auto",
        metadata={"help": "Weights and activations; auto is bfloat16 on a GPU, float32 on a CPU.",
                  "choices": ["auto", "bfloat16", "float16", "float32"]},
    )  # fmt: skip
    load_in_4bit: bool = field(default=False, metadata={"help": "Load the base model in 4-bit NF4 (transformers on a GPU only)."})
    batch_size: int = field(default=64, metadata={"help": "Completions per batch (transformers)."})
    gpu_memory_utilization: float = field(default=0.85, metadata={"help": "Share of the GPU's memory that vLLM may take."})
    api_base: str | None = field(
        default=None, metadata={"help": f"OpenAI-compatible endpoint, ending in /v1; a key it wants is read from {API_KEY_VARIABLE}."}
    )
    api_concurrency: int = field(default=16, metadata={"help": "Requests in flight at once."})
    api_timeout_s: float = field(
        default=120.0, metadata={"help": "Seconds without an answer after which a request is tried again."}
    )
    api_max_retries: int = field(
        default=8, metadata={"help": "Tries after the first one, with growing pauses (429, 5xx, timeouts)."}
    )
    api_extra_sampling: bool = field(
        default=True,
        metadata={
            "help": "Send top_k, min_p and repetition_penalty too, which vLLM and most local servers know, api.openai.com does not."
        },
    )

    def __post_init__(self):
        checks = {
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "gpu_memory_utilization": (0 < self.gpu_memory_utilization <= 1, "above 0 and at most 1"),
            "api_concurrency": (self.api_concurrency >= 1, "at least 1"),
            "api_timeout_s": (self.api_timeout_s > 0, "above 0"),
            "api_max_retries": (self.api_max_retries >= 0, "at least 0"),
        }
        _require_in_range(self, checks)
        if has_login(self.api_base):
            raise GenerationError(
                "--api_base: a user name or password in the address would be written down with it: leave it out; the key is read "
                f"from {API_KEY_VARIABLE}"
            )


# ---------------------------------------------------------------------------------------------------------------------
# Before anything is loaded
# ---------------------------------------------------------------------------------------------------------------------


def choose_backend(args: BackendArguments) -> str:
    """ "api", "vllm" or "transformers". Raises GenerationError for a backend that is not there or cannot do what was asked."""
    if args.api_base:
        return "api"
    import torch

    has_gpu, has_vllm = torch.cuda.is_available(), importlib.util.find_spec("vllm") is not None
    backend = args.backend
    if backend == "auto":
        backend = "vllm" if has_vllm and has_gpu and not args.load_in_4bit else "transformers"
    if backend == "vllm" and not has_vllm:
        raise GenerationError(
            "--backend vllm: vllm is not installed here; install it (pip install vllm) or use --backend transformers"
        )
    if backend == "vllm" and not has_gpu:
        raise GenerationError("--backend vllm: no CUDA device found; use --backend transformers")
    if args.load_in_4bit and (backend == "vllm" or not has_gpu):
        raise GenerationError("--load_in_4bit needs --backend transformers and a CUDA device")
    return backend


def require_folder(model: str) -> None:
    """What is written as a path is a folder: the libraries take it for a malformed hub id. Raises GenerationError."""
    if str(model).startswith(("/", ".", "~")) and not Path(model).is_dir():
        hint = "; write ~ in full" if str(model).startswith("~") else ""
        raise GenerationError(f"{model}: no such folder{hint}; expected a hub id or a local folder with config.json and tokenizer.json")


def load_tokenizer(model: str, revision: str | None = None) -> Any:
    """Tokenizer of a model folder or hub id, padding on the left. Raises GenerationError (no model, no chat template)."""
    from transformers import AutoTokenizer

    require_folder(model)
    if Path(model, "adapter_config.json").is_file() and not Path(model, "config.json").is_file():
        base = json.loads(Path(model, "adapter_config.json").read_text()).get("base_model_name_or_path") or "BASE"
        raise GenerationError(f"{model} is an adapter, not a model: evaluate it with --model {base} --adapter {model}, train {base}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, padding_side="left")
    except (OSError, ValueError) as error:
        raise GenerationError(
            f"cannot load the tokenizer of {model}: {first_line(error)}; expected a hub id that can be reached or a local "
            "folder with tokenizer.json"
        ) from error
    if not tokenizer.chat_template:
        raise GenerationError(f"{model} has no chat template: expected an instruction-tuned model")
    if tokenizer.eos_token_id is None:
        raise GenerationError(f"the tokenizer of {model} names no eos_token, which ends a completion: set it in tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_config(model: str) -> Any:
    """Configuration of a model folder or hub id. Raises GenerationError."""
    from transformers import AutoConfig

    require_folder(model)
    try:
        return AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise GenerationError(f"cannot load the model {model}: {first_line(error)}") from error


def use_one_thread_for_a_tiny_model(model: str, device: str) -> None:
    """On a CPU a tiny model computes on one thread, unless OMP_NUM_THREADS says otherwise.

    Beside other load threads wait for each other at every layer, which costs more than they save.
    """
    import torch

    config = load_config(model).get_text_config()
    layers, width = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    if "OMP_NUM_THREADS" in os.environ or device != "cpu" or not (layers and width):
        return
    if 12 * layers * width**2 + config.vocab_size * width <= ONE_THREAD_PARAMETERS:  # the usual estimate of a transformer's size
        torch.set_num_threads(1)


def require_unicode(conversations: Sequence[Conversation], names: Sequence[str] | None = None) -> None:
    """Raises GenerationError naming the first conversation whose text cannot be encoded. `names` as for `render`."""
    for number, messages in enumerate(conversations):
        try:
            "".join(turn["content"] for turn in messages).encode()
        except UnicodeEncodeError as error:
            name = names[number] if names else f"{messages[-1]['content'][:60]!a}"
            half = f"{error.object[error.start]!a}"
            raise GenerationError(f"the prompt of {name} holds half of a surrogate pair, {half}: repair it or leave it out") from error


def render(tokenizer: Any, conversations: Sequence[Conversation], names: Sequence[str] | None = None) -> list[str]:
    """Text of each conversation as the model sees it, the opening of its answer included.

    `names` are what a message calls each conversation (default: the beginning of its last turn).
    Raises GenerationError for a chat template without a system role, and for text that is not Unicode.
    """
    from jinja2 import TemplateError

    require_unicode(conversations, names)
    template = lambda messages: tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    try:
        kinds.require_fim_tokens(tokenizer, conversations)
        return [messages[0]["content"] if kinds.is_raw(messages) else template(messages) for messages in conversations]
    except kinds.KindError as error:
        raise GenerationError(str(error)) from error
    except TemplateError as error:
        raise GenerationError(
            f"the chat template of {tokenizer.name_or_path} refuses the conversation ({first_line(error)}): for a model without a "
            "system role pass --system_prompt none"
        ) from error


def tokenize(tokenizer: Any, conversations: Sequence[Conversation], names: Sequence[str] | None = None) -> list[list[int]]:
    """Token ids of each conversation as the model sees it. `names` and errors as for `render`."""
    texts = render(tokenizer, conversations, names)
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []


def context_tokens(model: str) -> int | None:
    """Tokens that a model can hold, as its config says; None where it does not."""
    return getattr(load_config(model), "max_position_embeddings", None)


def check_prompts_fit(model: str, conversations: Sequence[Conversation], names: Sequence[str], max_new_tokens: int) -> int:
    """Tokens that the longest prompt and its completion take. Raises GenerationError when the model cannot hold them.

    `names` are what the message calls each conversation.
    """
    lengths = [len(ids) for ids in tokenize(load_tokenizer(model), conversations, names)]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    limit = context_tokens(model)
    if limit and lengths[longest] + max_new_tokens > limit:
        raise GenerationError(
            f"the prompt of {names[longest]} has {lengths[longest]} tokens; with --max_new_tokens {max_new_tokens} that exceeds the "
            f"{limit} tokens of {model}: lower --max_new_tokens or leave the prompt out"
        )
    return lengths[longest] + max_new_tokens


def resolve_adapter(adapter: str) -> Path:
    """Local folder of an adapter given as its folder, the run folder around it, or hub id. Raises GenerationError."""
    folder = Path(adapter)
    if not folder.is_dir():
        if adapter.startswith((".", "/", "~")) or adapter.count("/") != 1:
            raise GenerationError(f"--adapter {adapter}: no such folder")
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(adapter))
        except (OSError, ValueError) as error:
            raise GenerationError(f"--adapter {adapter}: neither a folder nor on the hub ({first_line(error)})") from error
    if not (folder / "adapter_config.json").is_file() and (folder / "adapter" / "adapter_config.json").is_file():
        folder = folder / "adapter"
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise GenerationError(f"--adapter {adapter}: no {name} in it; expected a PEFT adapter saved by train.py")
    return folder


def check_adapter_fits(adapter: str, model: str) -> None:
    """Compare an adapter's LoRA shapes with the model's layers, without loading weights.

    Raises GenerationError naming both when a layer is missing or of another size.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from transformers import AutoModelForCausalLM

    folder, config = resolve_adapter(adapter), load_config(model)
    with torch.device("meta"):
        layers = dict(AutoModelForCausalLM.from_config(config).named_modules())
    trained_on = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
    mismatch = f"adapter {adapter} (trained on {trained_on}) does not fit the model {model}: "
    try:
        weights = safe_open(folder / "adapter_model.safetensors", framework="numpy")
    except SafetensorError as error:
        raise GenerationError(f"adapter {adapter}: its weights cannot be read ({first_line(error)}): copy it again") from error
    with weights as file:
        names = [name for name in file.keys() if ".lora_A." in name or ".lora_B." in name]
        if not names:
            raise GenerationError(f"adapter {adapter} holds no LoRA weights")
        for name in names:
            path, _, side = name.removesuffix(".weight").rpartition(".")
            layer = layers.get(path.removeprefix("base_model.model."))
            if layer is None or not hasattr(layer, "in_features"):
                raise GenerationError(f"{mismatch}the model has no layer {path.removeprefix('base_model.model.')}")
            shape = file.get_slice(name).get_shape()
            found, expected = (shape[1], layer.in_features) if side == "lora_A" else (shape[0], layer.out_features)
            if found != expected:
                raise GenerationError(f"{mismatch}{name} has width {found}, expected {expected}")


def weights_hash(folder: str | Path) -> str | None:
    """SHA-256 (hex) that tells the configuration and weights of a local folder from others; None when it is no folder.

    Reads each weight file's size and both ends only: a trained model differs from its base in every layer.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.name in {"config.json", "adapter_config.json"} or path.suffix in {".safetensors", ".bin"}:
            size = path.stat().st_size
            digest.update(f"{path.name} {size} ".encode())
            with path.open("rb") as file:
                digest.update(file.read(HASH_EDGE_BYTES))
                file.seek(max(0, size - HASH_EDGE_BYTES))
                digest.update(file.read(HASH_EDGE_BYTES))
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# transformers
# ---------------------------------------------------------------------------------------------------------------------


def stop_token_ids(tokenizer: Any, model_generation_config: Any) -> list[int]:
    """Tokens that end a completion: the tokenizer's and those the model's own configuration names (Qwen has two)."""
    eos = model_generation_config.eos_token_id
    named = eos if isinstance(eos, list) else [eos]
    return sorted({token for token in [*named, tokenizer.eos_token_id] if token is not None})


def hf_generation_config(sampling: SamplingArguments, stop_ids: list[int], pad_id: int) -> Any:
    """A GenerationConfig made from nothing but `sampling`."""
    from transformers import GenerationConfig

    config = dict(
        max_new_tokens=sampling.max_new_tokens,
        repetition_penalty=sampling.repetition_penalty,
        num_beams=1,
        num_return_sequences=1,
        use_cache=True,
        eos_token_id=stop_ids,
        pad_token_id=pad_id,
    )
    if sampling.temperature == 0:
        return GenerationConfig(do_sample=False, **config)
    nucleus = dict(temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p or None)
    return GenerationConfig(do_sample=True, **nucleus, **config)


class TransformersGenerator:
    """Batched `generate` of one base model and any number of adapters on it.

    Args:
        model: Folder or hub id.
        args: dtype, load_in_4bit and batch_size are read.
        adapters: Folders or hub ids; each must fit the model.

    Raises:
        GenerationError: The model does not load or an adapter does not fit.
    """

    def __init__(self, model: str, args: BackendArguments, adapters: Sequence[str] = ()):
        import torch

        self.tokenizer = load_tokenizer(model)
        doctor.require_whole_weights(model)
        self.batch_size = args.batch_size
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        use_one_thread_for_a_tiny_model(model, self.device)
        self.model = self._load(model, args)
        self.stop_ids = stop_token_ids(self.tokenizer, self.model.generation_config)
        # generate() fills unset fields from here, so nothing of the model's own may stay
        self.model.generation_config = type(self.model.generation_config)()
        self.adapters: dict[str, str] = {}  # folder as given -> PEFT's name for it (which must not hold dots)
        self.peft_model = None
        for adapter in adapters:
            self._add_adapter(model, adapter)

    def _load(self, model: str, args: BackendArguments) -> Any:
        import torch
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        dtype_name = args.dtype if args.dtype != "auto" else "bfloat16" if self.device == "cuda" else "float32"
        dtype = getattr(torch, dtype_name)
        quantization = None
        if args.load_in_4bit:
            quantization = BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
            )
        try:
            loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, quantization_config=quantization)
        except (OSError, ValueError) as error:
            raise GenerationError(f"cannot load the model {model}: {first_line(error)}") from error
        return loaded.eval() if args.load_in_4bit else loaded.to(self.device).eval()

    def _add_adapter(self, model: str, adapter: str) -> None:
        from peft import PeftModel

        check_adapter_fits(adapter, model)
        folder, name = str(resolve_adapter(adapter)), f"adapter_{len(self.adapters)}"
        if self.peft_model is None:
            self.peft_model = PeftModel.from_pretrained(self.model, folder, adapter_name=name)
        else:
            self.peft_model.load_adapter(folder, adapter_name=name)
        self.peft_model.eval()
        self.adapters[adapter] = name

    def _using(self, adapter: str | None) -> Any:
        """Context in which the model answers with `adapter`, or as its plain base."""
        if adapter is not None:
            self.peft_model.set_adapter(self.adapters[adapter])
            return contextlib.nullcontext()
        return self.peft_model.disable_adapter() if self.peft_model is not None else contextlib.nullcontext()

    def generate(
        self,
        conversations: Sequence[Conversation],
        sampling: SamplingArguments,
        adapter: str | None = None,
        done: Collection[int] = (),
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yield a list of (index, completion) per batch, until every index not in `done` was answered.

        Index `i` is sample `i % num_samples` of conversation `i // num_samples`. Which completions share a batch, and
        with them a seed, does not depend on `done`: a run that goes on answers as one that was never stopped.
        """
        import torch

        prompts = tokenize(self.tokenizer, conversations)
        order = sorted(range(len(prompts) * sampling.num_samples), key=lambda i: len(prompts[i // sampling.num_samples]))
        config = hf_generation_config(sampling, self.stop_ids, self.tokenizer.pad_token_id)
        for batch_number, start in enumerate(range(0, len(order), self.batch_size)):
            indices = order[start : start + self.batch_size]
            if all(index in done for index in indices):
                continue
            torch.manual_seed(sampling.seed * BATCH_SEED_STRIDE + batch_number)
            with self._using(adapter):
                completions = self._generate_batch([prompts[i // sampling.num_samples] for i in indices], config)
            yield [(index, c) for index, c in zip(indices, completions, strict=True) if index not in done]

    def _generate_batch(self, prompts: list[list[int]], config: Any, streamer: Any = None) -> list[Completion]:
        """Completions of equally many prompts (token ids), in their order."""
        import torch

        inputs = self.tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(self.device)
        try:
            with torch.inference_mode():
                output = self.model.generate(**inputs, generation_config=config, streamer=streamer)
        except torch.cuda.OutOfMemoryError as error:
            raise GenerationError(
                f"out of GPU memory with {len(prompts)} completions at once: lower --batch_size (now {self.batch_size})"
            ) from error
        answers = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._completion(ids, len(prompt)) for ids, prompt in zip(answers, prompts, strict=True)]

    def _completion(self, ids: list[int], n_prompt_tokens: int) -> Completion:
        """Cut the padding behind the first stop token off one row of output."""
        end = next((i for i, token in enumerate(ids) if token in self.stop_ids), None)
        ids = ids if end is None else ids[: end + 1]
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Completion(text, n_tokens=len(ids), finished=end is not None, n_prompt_tokens=n_prompt_tokens)

    def stream(self, conversation: Conversation, sampling: SamplingArguments, adapter: str | None = None) -> Iterator[str]:
        """Yield the pieces of one completion's text as they are written. Raises what generation raises."""
        import torch
        from transformers import TextIteratorStreamer

        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        config = hf_generation_config(sampling, self.stop_ids, self.tokenizer.pad_token_id)
        (prompt,) = tokenize(self.tokenizer, [conversation])
        failures: list[Exception] = []

        def write() -> None:
            try:
                torch.manual_seed(sampling.seed * BATCH_SEED_STRIDE)
                with self._using(adapter):
                    self._generate_batch([prompt], config, streamer)
            except Exception as error:  # whatever it is, it is raised below, in the caller's thread
                failures.append(error)
                streamer.end()

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        yield from streamer
        writer.join()  # a thread inside torch when Python exits aborts the process
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Let go of the model."""
        self.model = self.peft_model = None


# ---------------------------------------------------------------------------------------------------------------------
# vLLM
# ---------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def vllm_measures_memory() -> Iterator[None]:
    """Around the start of an engine, in which vLLM takes what is free on the card for its own: GenerationError where others move it.

    An AssertionError where another process gave memory back meanwhile, a ValueError where so much was taken that nothing is left for
    the cache (vLLM 0.26, v1/worker/gpu_worker.py).
    """
    try:
        yield
    except (AssertionError, ValueError) as error:
        if not re.search(r"Error in memory profiling|No available memory for the cache blocks", str(error)):
            raise
        raise GenerationError(
            "vLLM found no room on the card that it could count on: another process took or gave back memory while it measured "
            "(start one at a time, the next when the last one samples), or its share of the memory is too small for the model"
        ) from error


class VllmGenerator:
    """One vLLM engine for a base model and any number of LoRA adapters on it.

    Args:
        model: Folder or hub id.
        args: dtype and gpu_memory_utilization are read.
        adapters: Folders or hub ids; each must fit the model.
        max_model_len: Longest prompt + completion in tokens; None for the model's own limit.
        seed: Seed of the engine; equal seeds on one machine usually, not always, repeat a run.

    Raises:
        GenerationError: An adapter does not fit, or the engine does not start.
    """

    def __init__(
        self, model: str, args: BackendArguments, adapters: Sequence[str] = (), max_model_len: int | None = None, seed: int = 0
    ):
        for adapter in adapters:
            check_adapter_fits(adapter, model)
        self.tokenizer = load_tokenizer(model)
        doctor.require_whole_weights(model)
        self.stop_ids = stop_token_ids(self.tokenizer, _model_generation_config(model))
        # set before the import that reads them: the engine stays in this process, because a forked one cannot use CUDA once
        # the preflight has looked at the GPU
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        from vllm import LLM
        from vllm.lora.request import LoRARequest

        self.requests = {
            adapter: LoRARequest(f"adapter_{number}", number, str(resolve_adapter(adapter)))
            for number, adapter in enumerate(adapters, start=1)
        }
        lora = dict(enable_lora=True, max_loras=1, max_lora_rank=_room_for_ranks(adapters)) if adapters else {}
        try:
            with vllm_measures_memory():
                self.llm = LLM(
                    model=model,
                    dtype="bfloat16" if args.dtype == "auto" else args.dtype,
                    gpu_memory_utilization=args.gpu_memory_utilization,
                    max_model_len=max_model_len,
                    seed=seed,
                    generation_config="vllm",  # its own neutral defaults, not the model's generation_config.json
                    **lora,
                )
        except GenerationError:
            raise
        except (RuntimeError, ValueError) as error:
            raise GenerationError(f"vLLM could not start with {model}: {first_line(error)}") from error

    def generate(
        self,
        conversations: Sequence[Conversation],
        sampling: SamplingArguments,
        adapter: str | None = None,
        done: Collection[int] = (),
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yield lists of (index, completion) as they finish, until every index not in `done` was answered.

        Index `i` is sample `i % num_samples` of conversation `i // num_samples`.
        """
        prompts = tokenize(self.tokenizer, conversations)
        indices = [i for i in range(len(prompts) * sampling.num_samples) if i not in done]
        if not indices:
            return
        request_ids = self.llm.enqueue(
            [{"prompt_token_ids": prompts[i // sampling.num_samples]} for i in indices],
            [self._sampling_params(sampling) for _ in indices],
            lora_request=self.requests[adapter] if adapter is not None else None,
            use_tqdm=False,
        )
        # enqueue() returns ids with a random tail, outputs carry them without it
        index_of = {request_id.split("-")[0]: index for request_id, index in zip(request_ids, indices, strict=True)}
        engine = self.llm.llm_engine
        try:
            while engine.has_unfinished_requests():
                finished = [(index_of[out.request_id], _from_vllm(out)) for out in engine.step() if out.finished]
                if finished:
                    yield finished
        finally:  # the consumer stopped early: leave nothing behind for the next row
            if engine.has_unfinished_requests():
                engine.abort_request(list(request_ids), internal=True)

    def _sampling_params(self, sampling: SamplingArguments) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            n=1,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            max_tokens=sampling.max_new_tokens,
            min_tokens=0,
            stop_token_ids=self.stop_ids,
            skip_special_tokens=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def close(self) -> None:
        """Shut the engine down; its memory comes back when the process ends."""
        self.llm.llm_engine.engine_core.shutdown()
        end_process_group()


def end_process_group() -> None:
    """End torch.distributed where vLLM or a launcher began it; left open, torch warns of it as the process exits."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _model_generation_config(model: str) -> Any:
    """The model's own generation configuration, read for its stop tokens only; an empty one where it has none."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(model)
    except OSError:
        return GenerationConfig(eos_token_id=load_config(model).eos_token_id)


def _room_for_ranks(adapters: Sequence[str]) -> int:
    """Smallest rank that vLLM reserves room for and that holds every adapter. Raises GenerationError."""
    ranks = [json.loads((resolve_adapter(a) / "adapter_config.json").read_text())["r"] for a in adapters]
    room = next((rank for rank in VLLM_LORA_RANKS if rank >= max(ranks)), None)
    if room is None:
        raise GenerationError(
            f"vLLM holds LoRA ranks up to {VLLM_LORA_RANKS[-1]}, found {max(ranks)}: use --backend transformers"
        )
    return room


def _from_vllm(output: Any) -> Completion:
    (answer,) = output.outputs
    return Completion(
        answer.text,
        n_tokens=len(answer.token_ids),
        finished=answer.finish_reason == "stop",
        n_prompt_tokens=len(output.prompt_token_ids),
    )


# ---------------------------------------------------------------------------------------------------------------------
# OpenAI-compatible endpoint
# ---------------------------------------------------------------------------------------------------------------------


def api_key() -> str:
    """Key of the endpoint. Without one any text will do: the client insists, a local server does not look at it."""
    return os.environ.get(API_KEY_VARIABLE) or "none"


class ApiGenerator:
    """A model behind an OpenAI-compatible endpoint; the key comes from the environment and is kept by the client only.

    Args:
        model: The endpoint's name for the model.
        args: The api_* fields are read.

    Raises:
        GenerationError: Nobody answers, or the key is refused or missing where one is wanted.
    """

    def __init__(self, model: str, args: BackendArguments):
        try:
            import openai
        except ImportError as error:
            raise GenerationError("--api_base needs the openai package: pip install openai") from error
        self.model, self.args = model, args
        with openai.OpenAI(api_key=api_key(), base_url=args.api_base, timeout=args.api_timeout_s, max_retries=1) as client:
            try:
                client.models.list()
            except openai.APIConnectionError as error:
                raise GenerationError(f"nobody answers at {args.api_base} ({first_line(error)}): check --api_base") from error
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                is_set = bool(os.environ.get(API_KEY_VARIABLE))
                what = f"refuses the key in {API_KEY_VARIABLE}" if is_set else f"wants a key: set {API_KEY_VARIABLE}"
                raise GenerationError(f"{args.api_base} {what} ({error.status_code})") from error
            except openai.APIStatusError:
                pass  # it lives; not every endpoint lists its models

    def _request(self, conversation: Conversation, sampling: SamplingArguments, seed: int) -> dict:
        require_unicode([conversation])
        request = dict(
            model=self.model,
            **({"prompt": conversation[0]["content"]} if kinds.is_raw(conversation) else {"messages": conversation}),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=seed,
        )
        names = ("top_k", "min_p", "repetition_penalty")
        if self.args.api_extra_sampling:  # a server may apply the model's own defaults to what it is not told
            request["extra_body"] = {name: getattr(sampling, name) for name in names}
        elif any(getattr(sampling, name) != getattr(SamplingArguments(), name) for name in names):
            raise GenerationError(f"--no_api_extra_sampling leaves out {', '.join(names)}, and one of them is set")
        return request

    async def _ask(self, client: Any, conversation: Conversation, sampling: SamplingArguments, seed: int) -> Completion:
        request = self._request(conversation, sampling, seed)
        if kinds.is_raw(conversation):
            response = await client.completions.create(**request)
        else:
            response = await client.chat.completions.create(**request)
        choice, usage = response.choices[0], response.usage
        return Completion(
            (choice.text if kinds.is_raw(conversation) else choice.message.content) or "",
            n_tokens=usage.completion_tokens if usage else None,
            finished=choice.finish_reason == "stop",
            n_prompt_tokens=usage.prompt_tokens if usage else None,
        )

    async def _answers(
        self, conversations: Sequence[Conversation], sampling: SamplingArguments, indices: list[int]
    ) -> AsyncIterator[tuple[int, Completion]]:
        """Answers in the order they arrive. After a failure nothing new is asked; what was under way still counts."""
        import openai

        todo, arrived, failures = iter(indices), asyncio.Queue(), []
        settings = dict(api_key=api_key(), base_url=self.args.api_base)
        settings |= dict(timeout=self.args.api_timeout_s, max_retries=self.args.api_max_retries)
        client = openai.AsyncOpenAI(**settings)  # here, because its connections belong to this event loop

        async def worker() -> None:
            for index in todo:  # shared: each worker takes the next one
                if failures:
                    break
                try:
                    conversation = conversations[index // sampling.num_samples]
                    arrived.put_nowait((index, await self._ask(client, conversation, sampling, sampling.seed + index)))
                except Exception as error:  # whatever it is (an answer may have any shape), it is raised below
                    failures.append(error)
            arrived.put_nowait(None)

        workers = [asyncio.create_task(worker()) for _ in range(min(self.args.api_concurrency, len(indices)))]
        try:
            running = len(workers)
            while running:
                item = await arrived.get()
                running -= item is None
                if item is not None:
                    yield item
        finally:
            for task in workers:
                task.cancel()
            await client.close()
        if failures:
            raise self._explained(failures[0])

    def _explained(self, error: Exception) -> GenerationError:
        """One sentence about a request that failed for good."""
        import openai

        if isinstance(error, GenerationError):
            return error
        what = f"{self.args.api_base} failed: {first_line(error)}"
        if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError) and self.args.api_extra_sampling:
            return GenerationError(
                f"{what}; a server that knows no top_k, min_p or repetition_penalty needs --no_api_extra_sampling"
            )
        if isinstance(error, openai.APIConnectionError | openai.RateLimitError | openai.InternalServerError):
            what += f" ({self.args.api_max_retries + 1} tries)"
        return GenerationError(f"{what}; what arrived is kept, run the same command again to go on")

    def generate(
        self,
        conversations: Sequence[Conversation],
        sampling: SamplingArguments,
        adapter: str | None = None,
        done: Collection[int] = (),
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yield [(index, completion)] as they arrive, until every index not in `done` was answered.

        Index `i` is sample `i % num_samples` of conversation `i // num_samples`.
        """
        indices = [i for i in range(len(conversations) * sampling.num_samples) if i not in done]
        with asyncio.Runner() as runner:
            answers = self._answers(conversations, sampling, indices)

            async def next_answer() -> tuple[int, Completion] | None:
                return await anext(answers, None)

            while (item := runner.run(next_answer())) is not None:
                yield [item]
            # left early, or interrupted in the middle of an answer: the runner cancels what is under way when it closes

    def stream(self, conversation: Conversation, sampling: SamplingArguments, adapter: str | None = None) -> Iterator[str]:
        """Yield the pieces of one completion's text as they arrive."""
        import openai

        request = self._request(conversation, sampling, sampling.seed)
        with openai.OpenAI(api_key=api_key(), base_url=self.args.api_base, timeout=self.args.api_timeout_s) as client:
            try:
                if kinds.is_raw(conversation):
                    yield client.completions.create(**request).choices[0].text
                    return
                chunks = client.chat.completions.create(**request, stream=True)
                if not chunks.response.headers.get("content-type", "").startswith("text/event-stream"):  # the whole answer at once
                    yield json.loads(chunks.response.read())["choices"][0]["message"]["content"] or ""
                    return
                for chunk in chunks:
                    if chunk.choices:
                        yield chunk.choices[0].delta.content or ""
            except (ValueError, LookupError, TypeError) as error:
                raise GenerationError(f"{self.args.api_base} gave neither a stream nor a completion ({first_line(error)})") from error
            except openai.OpenAIError as error:
                raise self._explained(error) from error

    def close(self) -> None:
        """Nothing is held open between calls."""


def open_generator(
    model: str, args: BackendArguments, adapters: Sequence[str] = (), max_model_len: int | None = None, seed: int = 0
) -> TransformersGenerator | VllmGenerator | ApiGenerator:
    """The generator that `args` ask for, loaded and ready. Raises GenerationError."""
    backend = choose_backend(args)
    if backend == "api":
        if adapters:
            raise GenerationError("--adapter cannot be combined with --api_base: the endpoint decides what it serves")
        return ApiGenerator(model, args)
    with console.waiting(f"loading {model}{' into vLLM' if backend == 'vllm' else ''}"), console.no_bars():
        if backend == "vllm":
            return VllmGenerator(model, args, adapters, max_model_len, seed)
        return TransformersGenerator(model, args, adapters)


# ---------------------------------------------------------------------------------------------------------------------
# Try one prompt
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class TryArguments(JudgeSettings):
    """What to try."""

    model: str = field(metadata={"help": "Base or merged model (folder or hub id), or the endpoint's name for one."})
    adapter: str | None = field(default=None, metadata={"help": "LoRA adapter on it (folder or hub id)."})
    kind: Literal["write", "fix", "fim", "patch", "next_edit"] = field(
        default="write", metadata={"help": "What is asked: a program, or a change of one in a file."}
    )
    file: str | None = field(default=None, metadata={"help": "The program (kinds patch and next_edit)."})
    prefix: str | None = field(default=None, metadata={"help": "File with what stands before the gap (kind fim)."})
    suffix: str | None = field(default=None, metadata={"help": "File with what stands after it (kind fim)."})
    fim_format: Literal["chat", "tokens"] = field(
        default="chat", metadata={"help": "Ask in words, or by Qwen2.5-Coder's FIM tokens without a chat template (kind fim)."}
    )
    last_edit: str | None = field(default=None, metadata={"help": "File with the last edit as a diff (kind next_edit)."})
    region: str | None = field(default=None, metadata={"help": "Lines around the cursor, FIRST-LAST (kind next_edit)."})
    system_prompt: str | None = field(
        default=None, metadata={"help": "File with the system prompt (default: system_prompt.txt); none for none."}
    )
    best_of: int = field(default=1, metadata={"help": "Sample so many and show the one that passes most of the others' tests."})


def format_verdict(graded: dict) -> str:
    """A graded completion as the few lines a person wants to read under it."""
    if graded["program"] is None:
        why = next((diagnostic["message"] for diagnostic in graded["diagnostics"]), "no closed ```rust block")
        return f"nothing to compile: {why}"
    passed = sum(outcome == "ok" for outcome in graded["tests"].values())
    warnings = f", {graded['clippy_warnings']} warning(s)" if graded["clippy_warnings"] else ""
    lines = [
        f"build   {'passed' if graded['build_passed'] else 'FAILED'}",
        f"clippy  {'passed' if graded['clippy_passed'] else 'FAILED'}{warnings}",
        f"tests   {'passed' if graded['test_passed'] else 'FAILED'} ({passed} of {len(graded['tests'])} ok)",
    ]
    if not graded["tests"] and kinds.kind_of_record(graded) != kinds.WRITE:
        lines[-1] = "tests   none in the program" if graded["build_passed"] else "tests   not run"
    lines += [f"        {outcome:8} {name}" for name, outcome in graded["tests"].items()]
    if graded["test_passed"] and not graded["honest_tests"]:
        lines.append(f"        passing proves nothing: {graded['guard']}")
    for diagnostic in graded["diagnostics"]:
        code = f"[{diagnostic['code']}]" if diagnostic["code"] else ""
        place = f" (line {diagnostic['line']})" if diagnostic["line"] else ""
        lines.append(f"{diagnostic['level']}{code}{place}: {diagnostic['message']}")
    return "\n".join(lines)


def try_prompt(prompt: str, args: TryArguments, backend: BackendArguments, sampling: SamplingArguments) -> dict:
    """Print a completion as it is written and cargo's verdict under it; returns the graded completion.

    With `best_of`, the one of so many that the tests of the others pick, when all are graded.
    """
    from judge.cross_tests import picked
    from kinds.from_files import task_to_try
    from rewards import RewardSet
    from rust_tool import RustTool

    args.require_tests_of_others(*(["--best_of"] if args.best_of > 1 else []))
    system_prompt = tasks.read_system_prompt(args.system_prompt)
    with RustTool(**args.judge_options()) as judge:  # first: no cargo, no waiting for a model
        if backend.backend == "vllm":
            raise GenerationError("--backend vllm: one prompt is streamed by transformers; leave --backend out")
        task = task_to_try(args.kind, prompt, vars(args), judge)
        conversation = kinds.conversation(task, system_prompt)
        if not backend.api_base:
            check_prompts_fit(args.model, [conversation], ["this call"], sampling.max_new_tokens)
        backend.backend = "transformers"  # an engine takes longer to start than one completion takes
        generator = open_generator(args.model, backend, [args.adapter] if args.adapter else [])
        if args.kind == "fix":
            print(f"--- cargo says of {prompt} ---\n{task['message']}\n\n--- the model answers ---", flush=True)
        try:
            texts = _sampled(generator, conversation, args, sampling)
        finally:
            generator.close()
        rewards = RewardSet(judge, system_prompt=system_prompt, cross_tests=args.best_of > 1)
        graded = rewards.grade([task] * len(texts), texts)
    chosen, why = graded[0], None
    if args.best_of > 1:
        place = picked(graded)
        chosen, why = graded[place], _why_picked(graded, place)
        print(chosen["completion"])
    print("\n\n--- cargo " + "-" * 60)
    print(*filter(None, (why, kinds.diff_of_record(chosen), format_verdict(chosen))), sep="\n")
    return chosen


def _sampled(generator: Any, conversation: Conversation, args: TryArguments, sampling: SamplingArguments) -> list[str]:
    """The completions to choose from; a single one is printed as it is written."""
    if args.best_of > 1:
        several = replace(sampling, num_samples=args.best_of)
        with console.every(console.BEAT_S, lambda: print(f"sampling {args.best_of} completions ...", file=sys.stderr)):
            found = dict(pair for batch in generator.generate([conversation], several, args.adapter) for pair in batch)
        return [found[index].text for index in sorted(found)]
    pieces = []
    for piece in generator.stream(conversation, sampling, args.adapter):
        pieces.append(piece)
        print(piece, end="", flush=True)
    return ["".join(pieces)]


def _why_picked(graded: Sequence[dict], chosen: int) -> str:
    """One line: which of the completions is shown, and what the tests of the others said of it."""
    record = graded[chosen]
    said = f"passes {record['cross_passed']} of {record['cross_total']} tests of the others" if record["cross_total"] else None
    built = sum(other["build_passed"] for other in graded)
    return f"picked  {chosen + 1} of {len(graded)} ({built} build): {said or 'no test of another says anything about it, its own decided'}"


def make_parser(classes: Sequence[type], **options: Any) -> Any:
    """TrlParser of these dataclasses that takes one value of a config file, where a list is due, for a list of it; an error is one line."""
    from trl import TrlParser

    class ListParser(TrlParser):
        error = console.Parser.error

        def set_defaults_with_config(self, **config):  # before the dataclasses are made, which may look at their lists
            lists = {action.dest for action in self._actions if action.nargs == "+"} - {"debug"}  # of transformers: a text of several
            for name in lists & config.keys():
                if config[name] is not None and not isinstance(config[name], list):
                    config[name] = [config[name]]
            return super().set_defaults_with_config(**config)

        def format_help(self):
            settings = [action for action in self._actions if action.dest != "help"]
            words = "".join(f" {action.dest.upper()}" for action in settings if not action.option_strings)
            return console.help_text(f"{self.prog} [--config FILE.yaml] [--SETTING VALUE ...]{words}", self.description or "", settings)

    # allow_abbrev: argparse would otherwise take --max_min for --max_minutes without a word
    return ListParser(classes, allow_abbrev=False, **options)


def parse_dataclasses(classes: Sequence[type], argv: Sequence[str] | None, doc: str) -> tuple:
    """Command line and --config file -> one object of each class. `doc`: the script's docstring. Raises GenerationError."""
    return parsed(make_parser(classes, description=doc.split("\n\n")[0]), argv)


def parsed(parser, argv: Sequence[str] | None) -> tuple:
    """What a parser of `make_parser` makes of a command line and its --config. Raises GenerationError."""
    try:
        *found, keys, flags = parser.parse_args_and_config(argv, return_remaining_strings=True, separate_remaining_strings=True)
    except (ValueError, OSError) as error:
        raise GenerationError(f"the arguments do not work: {error}") from error
    require_known(parser, keys, flags)
    return tuple(found)


def require_known(parser, keys: Sequence[str], flags: Sequence[str]) -> None:
    """Nothing is left of a config file (`keys`) and a command line (`flags`). Raises GenerationError naming the first that is."""
    names = [name for name in (*keys, *flags) if name.startswith("--")] or flags
    if names:
        known = [option for action in parser._actions for option in action.option_strings]
        close = difflib.get_close_matches(names[0], known, n=1)
        where = "in the config file" if names[0] in keys else "on the command line"
        hint = f"; did you mean {close[0].lstrip('-')}?" if close else ""
        raise GenerationError(f"unknown setting {where}: {names[0].lstrip('-')}{hint}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: exit status 0 when the program builds and its tests pass, 1 when not, 2 for a wrong call."""
    with console.LibraryLogs():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    parser = make_parser((TryArguments, BackendArguments, SamplingArguments), description=__doc__.split("\n\n")[0])
    parser.add_argument("prompt", nargs="*", help="What to ask for; the file to mend (kind fix).")
    try:
        args, backend, sampling, rest = parsed(parser, argv)
        if sampling.num_samples != 1:
            raise GenerationError(f"--num_samples {sampling.num_samples}: one completion is shown; eval.py takes several")
        if args.best_of < 1:
            raise GenerationError(f"--best_of {args.best_of}: expected at least 1")
        if args.best_of > 1 and sampling.temperature == 0:
            raise GenerationError(f"--best_of {args.best_of} at temperature 0 would be the same completion each time: raise --temperature")
        graded = try_prompt(" ".join(rest.prompt), args, backend, sampling)
    except KeyboardInterrupt:
        return 130
    except (UserError, OSError) as error:
        tell("generate.py", error)
        return 2
    from kinds.from_files import is_done

    return 0 if is_done(graded) else 1


if __name__ == "__main__":
    sys.exit(main())
