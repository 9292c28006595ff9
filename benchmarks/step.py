"""Seconds of a training step: yesterday's settings and today's, run after one another on the same cards.

    python benchmarks/step.py --model DIR [--config configs/qwen2.5-coder-1.5b-hidden-tests.yaml] [--use_vllm true ...]
    python benchmarks/step.py --config configs/tiny.yaml --steps 3 --tokens_per_micro_batch 16384   # a CPU will do

Each is a `train.py` process with the same seed (with `--processes N` under `accelerate launch`); flags that this script does not know
go to both. Before: TRL's own micro-batches (a count of rows, padded to the longest of the step) and its extra forward pass, grading when
all are sampled; `--before_checkout DIR` runs the train.py of another checkout instead, as it is. `--variant "NAME: FLAGS"` adds a run.
`--random_weights 3B|7B|CONFIG.json` trains a model of that shape (Qwen2.5-Coder's, or a transformers config's) whose weights are random,
with the tokenizer of `--model`: for memory and seconds only. It writes on and on, so nearly every completion is as long as it may be.
The first step of each run is not counted: it compiles kernels. Seconds are the clock's, from step to step, with all that lies between.

The last line is JSON: {"device", "n_devices", "config", "model" (a folder's name), "steps", "completions_per_step", "completions_per_s",
"before_completions_per_s", "ratio", "peak_gib", "versions", "commit", "flags", "before", "runs": {NAME: {"completions_per_s",
"tokens_per_s", "step_s", "generate_s", "grade_s", "wait_s", "train_s", "peak_gib", "mean_tokens"}}}. tokens_per_s counts sampled tokens;
peak_gib is the most that was taken on the first card at the end of a step, vLLM's share and the CUDA context included, null on a CPU.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import doctor

BEFORE = "before"
TODAY = "today"
BEFORE_FLAGS = ["--tokens_per_micro_batch", "0", "--grade_ahead", "false"]
COLUMNS = {
    "completions_per_s": "compl./s",
    "tokens_per_s": "tokens/s",
    "step_s": "step s",
    "generate_s": "generate",
    "wait_s": "wait",
    "train_s": "train",
    "grade_s": "(grade)",
    "peak_gib": "GiB",
}
COMMON = {"model_type": "qwen2", "max_position_embeddings": 32_768, "rope_theta": 1e6}
SHAPES = {  # Source: config.json of Qwen/Qwen2.5-Coder-3B-Instruct and -7B-Instruct
    "3B": COMMON | {"vocab_size": 151_936, "hidden_size": 2_048, "intermediate_size": 11_008, "num_hidden_layers": 36,
                    "num_attention_heads": 16, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "7B": COMMON | {"vocab_size": 152_064, "hidden_size": 3_584, "intermediate_size": 18_944, "num_hidden_layers": 28,
                    "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False},
}  # fmt: skip
PACKAGES = ("torch", "transformers", "trl", "peft", "vllm", "bitsandbytes")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--config", default="configs/qwen2.5-coder-1.5b-hidden-tests.yaml")
    parser.add_argument("--model", help="model directory or hub id (default: the config's)")
    parser.add_argument("--random_weights", metavar="SHAPE", help="3B, 7B or a config.json: a model of that shape, tokenizer of --model")
    parser.add_argument("--steps", type=int, default=5, help="steps of each run, the first of which is not counted")
    parser.add_argument("--processes", type=int, default=1, help="GPUs, one process each")
    parser.add_argument("--before_checkout", type=Path, help="another checkout: its train.py is what was before")
    parser.add_argument("--no_before", action="store_true", help="today's settings only; ratio is null")
    parser.add_argument("--variant", action="append", default=[], metavar='"NAME: FLAGS"', help="one more run, with these flags")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    parser.add_argument("--keep", type=Path, help="keep the run folders here")
    arguments, arguments.flags = parser.parse_known_args(argv)
    if arguments.steps < 2:
        parser.error("--steps: at least 2, the first is not counted")
    if arguments.before_checkout and not (arguments.before_checkout / "train.py").is_file():
        parser.error(f"--before_checkout: there is no {arguments.before_checkout / 'train.py'}")
    if arguments.random_weights and not (arguments.random_weights in SHAPES or Path(arguments.random_weights).is_file()):
        parser.error(f"--random_weights {arguments.random_weights}: expected {', '.join(SHAPES)} or a config.json")
    if arguments.random_weights and not arguments.model:
        parser.error("--random_weights needs --model: whose tokenizer?")
    for variant in arguments.variant:
        if ":" not in variant:
            parser.error(f'--variant {variant!r}: expected "NAME: FLAGS"')
    return arguments


def shape_config(shape: str):
    """transformers config of a name in SHAPES or of a file."""
    from transformers import AutoConfig

    settings = dict(SHAPES[shape] if shape in SHAPES else json.loads(Path(shape).read_text()))
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def write_random_model(shape: str, tokenizer_of: str, folder: Path) -> None:
    """A model folder in bf16. Exits when the shape has no room for the tokenizer's words."""
    from transformers import AutoTokenizer

    config, tokenizer = shape_config(shape), AutoTokenizer.from_pretrained(tokenizer_of)
    if len(tokenizer) > config.vocab_size:
        sys.exit(f"--random_weights {shape} has {config.vocab_size} words, the tokenizer of {tokenizer_of} {len(tokenizer)}")
    config.bos_token_id, config.eos_token_id, config.pad_token_id = None, tokenizer.eos_token_id, tokenizer.pad_token_id
    writer = multiprocessing.get_context("spawn").Process(target=draw, args=(config, folder))  # it leaves nothing on the card
    writer.start()
    writer.join()
    if writer.exitcode:
        sys.exit(writer.exitcode)
    tokenizer.save_pretrained(folder)


def draw(config, folder: Path) -> None:
    """Save a model with weights of seed 0, drawn on the first card where there is one: a CPU takes minutes for 7B."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


def train(name: str, checkout: Path, flags: list[str], arguments: argparse.Namespace, folder: Path) -> Path:
    """Run train.py -> its run folder. Its lines go to stderr as they come. Exits with its last words when it fails."""
    run = folder / name
    launch = [sys.executable]
    if arguments.processes > 1:
        launch += ["-m", "accelerate.commands.launch", "--num_processes", str(arguments.processes), "--num_machines", "1",
                   "--mixed_precision", "no", "--dynamo_backend", "no"]  # fmt: skip
    command = [*launch, "train.py", "--config", str(Path(arguments.config).resolve()), "--output_dir", str(run), "--max_steps",
               str(arguments.steps), "--save_strategy", "no", "--report_to", "none", *arguments.flags, *flags]  # fmt: skip
    if arguments.model:
        command += ["--model_name_or_path", str(Path(arguments.model).resolve()) if Path(arguments.model).exists() else arguments.model]
    print(f"== {name}: {shlex.join(command)}", file=sys.stderr, flush=True)
    if subprocess.run(command, cwd=checkout, stdout=sys.stderr).returncode != 0:
        sys.exit(f"the run {name!r} failed: see its words above")
    return run


def summary(run: Path) -> dict:
    """What the counted steps of a run took, on average: the keys of COLUMNS, and `mean_tokens` of a completion."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first, *counted = [line for line in lines if "reward" in line]
    mean = lambda key: sum(line.get(key) or 0.0 for line in counted) / len(counted)
    step_s = max(0.1, counted[-1]["elapsed_s"] - first["elapsed_s"]) / len(counted)  # the clock is read to a tenth
    plan = json.loads((run / "run.json").read_text())["plan"]
    n_tokens = mean("completions/mean_length")
    peaks = [line["gpu/device_used_gib"] for line in lines if line.get("gpu/device_used_gib") is not None]
    per_step = plan["completions_per_step"]
    # a checkout from before there was wait_s waited for all of its grading
    wait = "time/wait_s" if "time/wait_s" in first else "time/grade_s"
    return {
        "completions_per_s": round(per_step / step_s, 2), "tokens_per_s": round(per_step * n_tokens / step_s),
        "step_s": round(step_s, 2), "generate_s": round(mean("time/generate_s"), 2), "grade_s": round(mean("time/grade_s"), 2),
        "wait_s": round(mean(wait), 2), "train_s": round(mean("time/train_s"), 2),
        "peak_gib": round(max(peaks), 1) if peaks else None, "mean_tokens": round(n_tokens, 1),
    }  # fmt: skip


def table(runs: dict[str, dict]) -> str:
    """One row a run, in at most 80 columns."""
    rows = [["", *COLUMNS.values()]]
    rows += [[name[:14], *("-" if run[key] is None else f"{run[key]:g}" for key in COLUMNS)] for name, run in runs.items()]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    asked = {} if arguments.no_before else {BEFORE: [] if arguments.before_checkout else BEFORE_FLAGS}
    asked[TODAY] = []
    asked |= {name.strip(): shlex.split(flags) for name, _, flags in (variant.partition(":") for variant in arguments.variant)}
    runs, run_json = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        if arguments.random_weights:
            write_random_model(arguments.random_weights, arguments.model, Path(temporary) / "model")
            arguments.model = str(Path(temporary) / "model")
        for name, flags in asked.items():
            checkout = arguments.before_checkout.resolve() if name == BEFORE and arguments.before_checkout else ROOT
            run = train(name, checkout, flags, arguments, folder)
            runs[name] = summary(run)
            if name == TODAY:
                run_json = json.loads((run / "run.json").read_text())
            print(table(runs), file=sys.stderr, flush=True)
    plan = run_json["plan"]
    today, before = runs[TODAY], runs.get(BEFORE)
    result = {
        "device": (plan["gpu"] or "CPU").split(",")[0], "n_devices": arguments.processes, "config": arguments.config,
        "model": f"random {arguments.random_weights}" if arguments.random_weights else arguments.model and Path(arguments.model).name,
        "flags": arguments.flags, "steps": arguments.steps, "completions_per_step": plan["completions_per_step"],
        "completions_per_s": today["completions_per_s"], "before_completions_per_s": before and before["completions_per_s"],
        "ratio": before and round(today["completions_per_s"] / before["completions_per_s"], 2), "peak_gib": today["peak_gib"],
        "before": "another checkout" if arguments.before_checkout else shlex.join(BEFORE_FLAGS),
        "versions": {package: version(package) for package in PACKAGES}, "commit": doctor.git_commit(), "runs": runs,
    }  # fmt: skip
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(runs))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
