"""Train a small code model to write Rust with GRPO, cargo as the only teacher.

    python train.py                                                    # configs/qwen2.5-coder-1.5b-qlora.yaml
    python train.py --config configs/tiny.yaml                         # a few minutes on a CPU, nothing to download
    python train.py --tasks my_prompts.jsonl --use_vllm true           # any field of any config is a flag
    accelerate launch train.py --config configs/...yaml                # several GPUs of one host

The run folder (`--output_dir`) gets run.json (resolved config, versions, commit, plan), trace.jsonl (one graded completion
per line), metrics.jsonl (one line per step), checkpoint-*/, and adapter/ (merged/ too with `--save_merged`). With `--eval_tasks`
adapter/ is the best by that set and adapter-last/ the last, and iterations.md has a row per evaluation.
Not guaranteed: bit-equal repeats on a GPU (sampling and CUDA kernels are not deterministic).
"""

import contextlib
import functools
import hashlib
import json
import math
import os
import re
import signal
import stat
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import console
import doctor
import kinds
import own_rewards
import share
from generate import (
    SamplingArguments,
    context_tokens,
    end_process_group,
    has_login,
    load_tokenizer,
    make_parser,
    require_known,
    tokenize,
    use_one_thread_for_a_tiny_model,
    vllm_measures_memory,
)
from judge.errors import UserError, library_reads_settings, written_to_disk
from judge.program import check_hidden_tests
from judge.settings import JudgeSettings
from rewards import DEFAULT_REWARDS, RewardSet, cross_rewards_of, parse_reward_spec
from rust_tool import RustTool
from task_proof.faults import references_line, uncompiled_line
from tasks import (
    load_heldout,
    load_task_sets,
    read_system_prompt,
    report_bad_rows,
    require_no_leak,
    tasks_hash,
    without_leaks,
    write_trained_tasks,
)
from traces import ROTATE_BYTES, TraceError, TraceWriter, iter_counted
from training import gpu_memory, run_lock
from training.curriculum import columns_of, training_row
from training.grading_ahead import GradingProcess, JudgeGone
from training.iterations import EvalSampling, Iterations
from training.second_turn import longest_row, require_turns
from training.task_record import RECORD_FILE, TaskRecord, lines_until, read_first_record

HERE = Path(__file__).resolve().parent
DEFAULT_CONFIG = HERE / "configs" / "qwen2.5-coder-1.5b-qlora.yaml"
SECRET_KEY = re.compile(r"(^|[_-])(token|(api|access|secret|private)?[_-]?key|secret|password|passwd|credentials?|authorization)$", re.I)
TOKENIZER_TOKENS = re.compile(r"(bos|eos|pad|unk|sep|cls|mask|image|audio|video)_token", re.I)  # settings like any other
LAUNCHER_GRACE_S = 40  # a step under way may end, and the adapter be saved
# None without hidden tests
HIDDEN_REWARDS = {"hidden_tests_reward", "all_hidden_tests_reward", "hidden_build_reward", "rare_tests_reward", "execution_reward"}
# TRL's settings that `--help` shows beside ours; `--help_all` shows them all.
FREQUENT = (
    "model_name_or_path", "output_dir", "resume_from_checkpoint", "max_steps", "num_train_epochs", "num_generations",
    "per_device_train_batch_size", "gradient_accumulation_steps", "max_completion_length", "temperature", "learning_rate", "beta",
    "use_vllm", "vllm_gpu_memory_utilization", "use_peft", "lora_r", "lora_alpha", "load_in_4bit", "gradient_checkpointing",
    "save_steps", "seed", "report_to",
)  # fmt: skip


@dataclass
class ScriptArguments(JudgeSettings):
    """What train.py itself needs; everything about optimisation is TRL's GRPOConfig, about the model TRL's ModelConfig."""

    tasks: list[str] = field(
        default_factory=lambda: ["ljt019/rust-17000"],
        metadata={
            "help": "Prompt sets (layouts: REFERENCE.md), each a hub dataset id or a .parquet/.jsonl/.json file; FILE:COLUMN takes the "
            "prompt from that column, SET=WEIGHT sets its share of the prompts of a step."
        },
    )
    tasks_split: str = field(default="train", metadata={"help": "Split of a hub dataset."})
    task_ids: str | None = field(
        default=None, metadata={"help": "Train on these task ids only: FILE.json:KEY, or a file with one id per line."}
    )
    prompt_column: str | None = field(default=None, metadata={"help": "Column that holds the prompt, if not recognised."})
    tests_column: str | None = field(default=None, metadata={"help": "Column that holds hidden tests."})
    task_id_column: str | None = field(default=None, metadata={"help": "Column that holds the task id."})
    task_filter: list[str] = field(
        default_factory=list,
        metadata={"help": "Keep only tasks with COLUMN=VALUE,VALUE or COLUMN=LOW..HIGH, for example prompt_words=..80."},
    )
    bad_rows: str = field(
        default="stop", metadata={"help": "Rows that cannot be read: stop, or skip them.", "choices": ["stop", "skip"]}
    )
    heldout: list[str] = field(
        default_factory=list, metadata={"help": "Evaluation sets, FILE or FILE@IDS.json:KEY: refuse to train on any of their tasks."}
    )
    drop_leaks: bool = field(
        default=False, metadata={"help": "Leave out training tasks that --heldout or --eval_tasks hold too instead of stopping."}
    )
    max_tasks: int | None = field(default=None, metadata={"help": "Use only the first so many tasks (of each set)."})
    repair_turns: int = field(
        default=0, metadata={"help": "More tries for what fails, each after cargo's message; all are learned from, the last one is paid."}
    )
    fix_share: float = field(
        default=0.0, metadata={"help": "Share of a step's prompts that ask to mend what did not compile in earlier steps; 0 is off."}
    )
    fim_format: Literal["chat", "tokens"] = field(
        default="chat",
        metadata={"help": "How tasks of kind fim are asked: in words, or by Qwen2.5-Coder's FIM tokens without a chat template."},
    )
    system_prompt: str = field(
        default=str(HERE / "system_prompt.txt"), metadata={"help": "Text file with the system prompt; none for none."}
    )
    max_prompt_length: int = field(
        default=512, metadata={"help": "Longest prompt allowed, in tokens, chat template included."}
    )
    drop_long_prompts: bool = field(
        default=False, metadata={"help": "Leave out tasks whose prompt is too long instead of stopping."}
    )
    rewards: list[str] = field(
        default_factory=lambda: list(DEFAULT_REWARDS),
        metadata={"help": "Reward functions as name=weight; your own as FILE.py:FUNCTION=weight."},
    )
    tokens_per_micro_batch: int | None = field(
        default=None,
        metadata={
            "help": "Tokens (padding included) of one forward and backward pass; rows of one length share it. Default: what fits beside "
            "the model on a GPU, 16384 on a CPU; 0: TRL's own, per_device_train_batch_size rows padded to the longest of the step."
        },
    )
    share_prompts: bool = field(
        default=True, metadata={"help": "Train on a group as one sequence, its prompt read once; not with --tokens_per_micro_batch 0."}
    )
    grade_ahead: bool = field(
        default=True,
        metadata={"help": "vLLM only: completions are graded as each (from a server: each prompt) is finished, not when all are sampled."},
    )
    max_minutes: float | None = field(
        default=None, metadata={"help": "Stop cleanly, adapter saved, before training takes longer than this."}
    )
    save_merged: bool = field(
        default=False, metadata={"help": "Also write merged/: the bf16 model that was sampled, for transformers and vLLM."}
    )
    max_infra_share: float = field(
        default=0.03, metadata={"help": "Stop when more than this share of completions could not be graded."}
    )
    max_sampling_logp_difference: float = field(
        default=0.1,
        metadata={"help": "vLLM only: stop when the mean |sampling - training| log-prob per token exceeds this."},
    )
    share_to: str | None = field(
        default=None,
        metadata={"help": "Push trace, metrics and plots here while training: hf://datasets/ORG/NAME or oxen://NAMESPACE/NAME."},
    )
    share_every: int = field(default=20, metadata={"help": "Steps between pushes to --share_to; what is left is pushed at the end."})
    frontier: bool = field(
        default=False,
        metadata={"help": "Draw the prompts of a step by what their outcomes so far promise: always and never solved tasks become rare."},
    )
    task_record: str | None = field(
        default=None,
        metadata={"help": "First record for --frontier: results.jsonl of eval.py (untrained), a trace, a task_record.jsonl; '': none."},
    )
    min_generations: int | None = field(
        default=None,
        metadata={"help": "Completions a group gets first, and num_generations only where these all earn the same. Default: all at once."},
    )
    groups_per_update: int | None = field(
        default=None,
        metadata={"help": "Groups without signal cost no update, of the others at most so many are trained on. Default: all groups."},
    )
    groups_by: Literal["chance", "spread"] = field(
        default="chance",
        metadata={"help": "Which groups --groups_per_update trains on: drawn by chance, or those whose rewards differ most."},
    )
    eval_tasks: list[str] = field(
        default_factory=list,
        metadata={"help": "Evaluate on these sets (FILE or FILE@IDS.json:KEY, with hidden tests) in training, and keep the best adapter."},
    )
    eval_every: int = field(
        default=10, metadata={"help": "Steps between evaluations on --eval_tasks; also before the first and after the last."}
    )
    eval_samples: int = field(default=5, metadata={"help": "Completions of each task of --eval_tasks."})
    eval_temperature: float = field(default=0.2, metadata={"help": "Sampling temperature of evaluations."})
    eval_top_p: float = field(default=0.95, metadata={"help": "Nucleus of evaluations."})
    chooses_checkpointing: bool = field(init=False, default=False)  # neither config nor flags say gradient_checkpointing
    gpu_memory_limit_gib: float | None = field(
        default=None, metadata={"help": "Never take more GPU memory than this (to prove that a config fits a smaller card)."}
    )


# ---------------------------------------------------------------------------------------------------------------------
# Arguments: default < YAML < flag
# ---------------------------------------------------------------------------------------------------------------------


def parse_arguments(argv: list[str]) -> tuple:
    """-> (ScriptArguments, GRPOConfig, ModelConfig). Raises UserError for what TRL or YAML would refuse with a traceback."""
    import yaml
    from trl import GRPOConfig, ModelConfig

    if argv and argv[-1] == "--config":
        raise UserError("--config needs a file name")
    if sum(arg.partition("=")[0] == "--config" for arg in argv) > 1:
        raise UserError("--config is given twice: one file, which flags override")
    argv = [part for arg in argv for part in (arg.split("=", 1) if arg.startswith("--config=") else [arg])]
    parser = make_parser((ScriptArguments, GRPOConfig, ModelConfig))
    show_help(parser, argv)
    parser.set_defaults(gradient_checkpointing=None, use_liger_kernel=None)  # what neither the file nor a flag says
    if "--config" not in argv:
        argv = ["--config", str(DEFAULT_CONFIG), *argv]
    parse = functools.partial(parser.parse_args_and_config, return_remaining_strings=True, separate_remaining_strings=True)
    unknown_keys = unknown_flags = ()
    try:
        *parsed, unknown_keys, unknown_flags = parse(argv)
    except OSError as error:
        shipped = ", ".join(sorted(f"configs/{path.name}" for path in (HERE / "configs").glob("*.yaml")))
        raise UserError(f"no config file {error.filename} ({error.strerror}); shipped configs: {shipped}") from error
    except ZeroDivisionError as error:  # TRL divides a batch by it before it looks
        raise UserError("--num_generations 0: expected at least 2") from error
    except (ValueError, ImportError) as error:
        if "generation_batch_size" in str(error):
            batch = "--per_device_train_batch_size x processes x --gradient_accumulation_steps"
            raise UserError(f"the configuration does not work: {error} These are the completions sampled at once: {batch}") from error
        if "bf16/gpu" in str(error):
            with contextlib.suppress(ValueError):  # whatever else is wrong can wait
                unknown_keys, unknown_flags = parse([*argv, "--bf16", "false"])[-2:]
            require_known(parser, unknown_keys, unknown_flags)  # what is misspelled is so on every machine
            message = "this config trains in bf16 on a CUDA GPU and torch sees none: on a CPU run --config configs/tiny.yaml"
            raise UserError(message) from error
        raise UserError(f"the configuration does not work: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"the config file is not YAML: {' '.join(str(error).split())}") from error
    script, args, _ = parsed
    args.vllm_server_base_url = args.vllm_server_base_url and args.vllm_server_base_url.rstrip("/")  # TRL appends "/health"
    script.chooses_checkpointing = args.gradient_checkpointing is None
    args.gradient_checkpointing = args.gradient_checkpointing is not False  # TRL's default, until there is a model to choose for
    if args.use_liger_kernel is None:
        wants_checkpointing = args.gradient_checkpointing and not script.chooses_checkpointing  # with it they take longer, not shorter
        args.use_liger_kernel = has_fused_layers(args.device.type) and not wants_checkpointing
    require_known(parser, unknown_keys, unknown_flags)
    require_no_secret(parsed[1], resolved_config(*parsed))
    return tuple(parsed)


def has_fused_layers(device_type: str) -> bool:
    """Whether Liger's kernels (norm, rotary embedding, gated activation) can be used: a fifth less time and memory for the layers."""
    from transformers.utils import is_liger_kernel_available

    return device_type == "cuda" and is_liger_kernel_available()


def show_help(parser, argv: list[str]) -> None:
    """Print what `--help` or `--help_all` asks for and exit; without either, nothing."""
    if "--help_all" in argv:
        parser.print_help()
    elif "--help" in argv or "-h" in argv:
        by_name = {action.dest: action for action in reversed(parser._actions)}  # of --x and --no_x the first
        ours = [name for name in (*ScriptArguments.__dataclass_fields__, *FREQUENT) if name in by_name]  # not what is no setting
        usage = "train.py [--config FILE.yaml] [--SETTING VALUE ...]"
        more = (
            f"Without --config: {DEFAULT_CONFIG.relative_to(HERE)}. Defaults above are those without a config file. Every other "
            f"setting of TRL's GRPOConfig and ModelConfig works too, as a flag or in the file: --help_all shows all {len(by_name)}."
        )
        print(console.help_text(usage, __doc__.splitlines()[0], [by_name[name] for name in ours], more), end="")
    else:
        return
    raise SystemExit(0)


def secret_key(settings: object) -> str | None:
    """First key inside nested settings whose name says that its text is a token, a key or a password, or None."""
    if isinstance(settings, list):
        settings = dict(enumerate(settings))
    if not isinstance(settings, dict):
        return None
    for key, value in settings.items():
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(key))  # accessToken -> access_Token
        if isinstance(value, str) and value and SECRET_KEY.search(name) and not TOKENIZER_TOKENS.fullmatch(name):
            return str(key)
        inner = secret_key(value)
        if inner:
            return inner
    return None


def require_no_secret(args, config: dict) -> None:
    """The resolved config, which run.json gets, holds no token. Raises UserError naming the setting, never its value."""
    instead = "which are written down: set HF_TOKEN in the environment"
    if args.hub_token:
        raise UserError(f"tokens are not taken from flags or configs, {instead}")
    for field_name, value in (item for group in config.values() for item in group.items()):
        key = secret_key(value)
        if key:
            raise UserError(f"{field_name} holds {key!r}: tokens and passwords are not taken from flags or configs, {instead}")
    if has_login(args.vllm_server_base_url):
        raise UserError("vllm_server_base_url holds a user name or password, and would be written down with it: leave it out")


# ---------------------------------------------------------------------------------------------------------------------
# The plan: everything that can be known to fail is found before the model loads
# ---------------------------------------------------------------------------------------------------------------------


def unreadable_tests(tasks: list[dict]) -> dict[str, str]:
    """Task id -> what is wrong, of the tasks whose hidden tests cannot be understood."""
    found = {}
    for task in tasks:
        if task["tests"]:
            try:
                check_hidden_tests(task["tests"], task["entry_point"])
            except ValueError as error:
                found[task["task_id"]] = f"task {task['task_id']!r}: {error}"
    return found


def training_rows(script: ScriptArguments, tokenizer, seed: int) -> tuple[list[dict], dict]:
    """Load, filter and mix tasks -> (rows for GRPOTrainer, facts for the plan).

    A row has TRL's conversational `prompt`, and for the judge `task_id`, `user_prompt`, `tests`, `entry_point`, and
    `other_columns` (JSON text: rows of one dataset must agree on their types).
    Raises UserError, TaskError or GenerationError.
    """
    columns = {"prompt": script.prompt_column, "tests": script.tests_column, "task_id": script.task_id_column}
    tasks, sets = load_task_sets(
        script.tasks, seed=seed, filters=script.task_filter, columns=columns, split=script.tasks_split, task_ids=script.task_ids,
        limit=script.max_tasks, bad_rows=script.bad_rows,
    )  # fmt: skip
    n_loaded = len(tasks)
    if script.drop_leaks:
        tasks = without_leaks(tasks, [*script.heldout, *script.eval_tasks])
        if not tasks:
            raise UserError("--drop_leaks leaves no task: --heldout or --eval_tasks hold all of them")
    n_heldout = require_no_leak(tasks, script.heldout)
    if bad := unreadable_tests(tasks):
        report_bad_rows("the tasks", list(bad.values()), len(tasks) - len(bad), script.bad_rows)
        tasks = [task for task in tasks if task["task_id"] not in bad]
    system_prompt = read_system_prompt(script.system_prompt)
    tasks = kinds.with_fim_format(tasks, script.fim_format)
    messages = [kinds.conversation(task, system_prompt) for task in tasks]
    lengths = list(map(len, tokenize(tokenizer, messages, [f"task {task['task_id']!r}" for task in tasks])))
    too_long = [task["task_id"] for task, length in zip(tasks, lengths, strict=True) if length > script.max_prompt_length]
    if too_long and not script.drop_long_prompts:
        raise UserError(
            f"{len(too_long)} of {len(tasks)} prompts are longer than --max_prompt_length {script.max_prompt_length} tokens "
            f"(the longest has {max(lengths)}, the first is task {too_long[0]!r}): raise the budget or pass --drop_long_prompts"
        )
    kept = [i for i, length in enumerate(lengths) if length <= script.max_prompt_length]
    if not kept:
        raise UserError(f"every prompt is longer than --max_prompt_length {script.max_prompt_length} tokens")
    rows = [training_row(tasks[i], messages[i]) for i in kept]
    facts = {
        "tasks": len(rows),
        "tasks_left_out": n_loaded - len(rows),
        "tasks_hash": tasks_hash([tasks[i] for i in kept]),
        "system_prompt_hash": hashlib.sha256(system_prompt.encode()).hexdigest(),
        "rewards_hash": own_rewards.contents_hash(script.rewards),
        "tasks_seed": seed,
        "task_sets": sets,
        "heldout_prompts": n_heldout,
        "with_hidden_tests": sum(row["tests"] is not None for row in rows),
        "longest_prompt_tokens": max(lengths[i] for i in kept),
        "prompt_budget_tokens": script.max_prompt_length,
    }
    return rows, facts


def evaluation_tasks(script: ScriptArguments, args, model_args, rows: list[dict], tokenizer) -> list[dict]:
    """Tasks of --eval_tasks with their `messages`; [] without. Raises UserError or TaskError for a set that proves nothing."""
    if not script.eval_tasks:
        return []
    require_no_leak([{**row, "prompt": row["user_prompt"]} for row in rows], script.eval_tasks, flag="--eval_tasks")
    sets = [load_heldout(spec) for spec in script.eval_tasks]
    for spec, found in zip(script.eval_tasks, sets, strict=True):
        without = next((task["task_id"] for task in found if not task["tests"]), None)
        if without is not None:
            raise UserError(f"--eval_tasks {spec}: its task {without!r} has no hidden tests: nothing tells what solves it")
    tasks = [task for found in sets for task in found]
    twice = [task_id for task_id, count in Counter(task["task_id"] for task in tasks).items() if count > 1]
    if twice:
        raise UserError(f"--eval_tasks {' '.join(script.eval_tasks)}: task {twice[0]!r} is in two of the sets")
    if why := next(iter(unreadable_tests(tasks).values()), None):
        raise UserError(why)
    system_prompt = read_system_prompt(script.system_prompt)
    tasks = [task | {"messages": kinds.conversation(task, system_prompt)} for task in kinds.with_fim_format(tasks, script.fim_format)]
    names = [f"task {task['task_id']!r}" for task in tasks]
    lengths = list(map(len, tokenize(tokenizer, [task["messages"] for task in tasks], names)))
    if max(lengths) > script.max_prompt_length:
        raise UserError(
            f"--eval_tasks {' '.join(script.eval_tasks)}: the longest prompt has {max(lengths)} tokens, more than --max_prompt_length "
            f"{script.max_prompt_length}: raise it"
        )
    require_context(model_args, max(lengths), args.max_completion_length)
    return tasks


def require_recipe(script: ScriptArguments, args) -> None:
    """Settings of groups, record and evaluation that fit each other and the batch. Raises UserError."""
    size, per_process = args.num_generations, args.generation_batch_size // args.world_size
    first, groups = script.min_generations, args.generation_batch_size // size
    is_elsewhere = args.use_vllm and (args.vllm_mode != "colocate" or args.vllm_tensor_parallel_size > 1)
    if first is not None and not 2 <= first < size:
        raise UserError(f"--min_generations {first}: expected 2 to {size - 1}, fewer than --num_generations {size}")
    asks_cross = cross_rewards_of(script.rewards)
    script.require_tests_of_others(*asks_cross)
    if asks_cross and first is not None:
        raise UserError(f"--min_generations {first} grades parts of groups, and {asks_cross[0]} needs whole ones: leave one of them out")
    if (first is not None or script.groups_per_update is not None or asks_cross) and per_process % size:
        raise UserError(
            f"a process samples {per_process} completions at once, which are no whole groups of --num_generations {size}: change "
            "--per_device_train_batch_size or --gradient_accumulation_steps"
        )
    if first is not None and is_elsewhere:
        raise UserError("--min_generations needs --vllm_mode colocate and --vllm_tensor_parallel_size 1: others sample whole groups only")
    if script.repair_turns < 0:
        raise UserError(f"--repair_turns {script.repair_turns}: expected at least 0")
    if not 0 <= script.fix_share <= 1:
        raise UserError(f"--fix_share {script.fix_share:g}: expected a share from 0 to 1")
    if script.fix_share and per_process % size:
        raise UserError(f"--fix_share needs whole groups of --num_generations {size} in a process, which samples {per_process} completions")
    if script.repair_turns and (first is not None or is_elsewhere):
        raise UserError("--repair_turns goes without --min_generations, and of vLLM with --vllm_mode colocate on single cards only")
    if script.groups_per_update is not None and not 1 <= script.groups_per_update <= groups:
        raise UserError(f"--groups_per_update {script.groups_per_update}: expected 1 to {groups}, the groups that are sampled at once")
    if script.groups_by != "chance" and script.groups_per_update is None:
        raise UserError(f"--groups_by {script.groups_by} says which groups --groups_per_update trains on: pass both, or none")
    if script.task_record and not script.frontier:
        raise UserError("--task_record is the first record for --frontier true: pass both, or none ('')")
    for name in ("eval_every", "eval_samples"):
        if getattr(script, name) < 1:
            raise UserError(f"--{name} {getattr(script, name)}: expected at least 1")
    if script.eval_temperature <= 0 or not 0 < script.eval_top_p <= 1:
        raise UserError(f"--eval_temperature {script.eval_temperature:g}, --eval_top_p {script.eval_top_p:g}: expected more than 0, "
                        "and top_p of at most 1")  # fmt: skip


def open_task_record(script: ScriptArguments, args, rows: list[dict], resume: str | None) -> TaskRecord | None:
    """The record that --frontier or rare_tests_reward need, as of the checkpoint. None where nothing asks for one. Raises TaskError."""
    names = [parse_reward_spec(spec)[0] for spec in script.rewards]
    if not script.frontier and "rare_tests_reward" not in names:
        return None
    if resume:  # it has the first record in its own
        return TaskRecord(lines_until(Path(args.output_dir) / RECORD_FILE, step_of(resume)))
    return TaskRecord(read_first_record(script.task_record, rows) if script.task_record else [])


def completions_per_step(args) -> int:
    """Completions that one optimizer step learns from, over all processes."""
    return args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps


def steps_per_batch(args) -> float:
    """Optimizer steps that use one generation batch; below 1 where a step uses several."""
    return args.steps_per_generation * args.num_iterations / args.gradient_accumulation_steps


def batch_facts(args, n_tasks: int) -> dict:
    """Batch arithmetic of the run. Raises UserError when one generation batch needs more tasks than there are.

    completions per step = per_device_train_batch_size x processes x gradient_accumulation_steps
    prompts per step     = completions per step / num_generations
    """
    completions = completions_per_step(args)
    prompts_per_generation = args.generation_batch_size // args.num_generations
    if n_tasks < prompts_per_generation:
        raise UserError(
            f"{n_tasks} tasks are fewer than the {prompts_per_generation} prompts of one generation batch "
            f"({args.generation_batch_size} completions / {args.num_generations} per prompt): lower "
            "--gradient_accumulation_steps or --per_device_train_batch_size"
        )
    # As the Trainer counts: whole generation batches only, each used num_iterations times; a partial step is a step.
    generations = n_tasks // prompts_per_generation
    micro_batches = generations * args.steps_per_generation * args.num_iterations
    steps_per_epoch = math.ceil(micro_batches / args.gradient_accumulation_steps)
    steps = args.max_steps if args.max_steps > 0 else math.ceil(steps_per_epoch * args.num_train_epochs)
    return {
        "completions_per_step": completions,
        "prompts_per_step": completions / args.num_generations,
        "completions_per_prompt": args.num_generations,
        "completions_per_batch": args.generation_batch_size,
        "steps_per_batch": steps_per_batch(args),
        "completion_budget_tokens": args.max_completion_length,
        "steps": steps,
        "epochs": round(steps / steps_per_epoch, 3),
    }


OF_THE_OPTIMIZER = ("optim", "learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon")  # a checkpoint's own hold


def require_same_run(output_dir: Path, facts: dict, script: ScriptArguments, args, model_args) -> None:
    """A resumed run trains the same model on the same prompts for the same rewards, as fast. Raises UserError naming what differs.

    `facts`: those of training_rows, for the run as asked for now.
    """
    had = json.loads((output_dir / "run.json").read_text(encoding="utf-8"))
    model_keys = ("model_name_or_path", "use_peft", "lora_r", "lora_alpha", "load_in_4bit")
    before = {"tasks": had["plan"]["tasks_hash"], "rewards": had["config"]["script"]["rewards"]}
    before |= {key: had["config"]["model"][key] for key in model_keys}
    now = {"tasks": facts["tasks_hash"], "rewards": script.rewards} | {key: getattr(model_args, key) for key in model_keys}
    if "system_prompt_hash" in had["plan"]:  # a run from before it was noted is taken at its word
        before["system_prompt"], now["system_prompt"] = had["plan"]["system_prompt_hash"], facts["system_prompt_hash"]
    if "eval_tasks_hash" in had["plan"] and "eval_tasks_hash" in facts:  # their rows stand in one table
        before["eval_tasks"], now["eval_tasks"] = had["plan"]["eval_tasks_hash"], facts["eval_tasks_hash"]
    for key in OF_THE_OPTIMIZER:
        before[key], now[key] = had["config"]["training"][key], args.to_dict()[key]
    if had["plan"].get("rewards_hash", facts["rewards_hash"]) != facts["rewards_hash"] and before["rewards"] == now["rewards"]:
        now["rewards"] = "the same names with other contents"
    before["edition"], now["edition"] = str(had["config"]["script"].get("edition", "2021")), str(script.edition)
    for key in {"tasks", "system_prompt", "eval_tasks"} & now.keys():  # told by their contents, named by their files
        if before[key] != now[key]:
            files = [script_of.get(key) or "the default" for script_of in (had["config"]["script"], vars(script))]
            before[key], now[key] = (name if isinstance(name, str) else " ".join(name) for name in files)
            if before[key] == now[key]:
                now[key] = "the same with other contents"
    changed = [f"{key} ({before[key]} before, {now[key]} now)" for key in now if before[key] != now[key]]
    if changed:
        raise UserError(f"cannot go on with {output_dir}: it was another run: {'; '.join(changed)}")


def changed_settings(output_dir: Path, config: dict) -> str:
    """`seed 0 -> 4, max_steps 2 -> 4`: what a resumed run does otherwise than its last attempt, which `output_dir` is still of."""
    had = json.loads((output_dir / "run.json").read_text(encoding="utf-8"))["config"]
    now = json.loads(json.dumps(config, default=str))
    pairs = [(key, had[group][key], new) for group, settings in now.items() for key, new in settings.items() if key in had[group]]
    return ", ".join(f"{key} {old} -> {new}" for key, old, new in pairs if old != new and key != "resume_from_checkpoint")


LOWEST = dict.fromkeys(("max_completion_length", "per_device_train_batch_size", "gradient_accumulation_steps", "num_iterations"), 1)
LOWEST |= {"steps_per_generation": 1}
LOWEST |= dict.fromkeys(("num_train_epochs", "learning_rate", "beta", "epsilon", "epsilon_high", "delta", "neftune_noise_alpha"), 0)


def require_possible(script: ScriptArguments, args) -> None:
    """Values that no run can have. Raises UserError or GenerationError."""
    if script.max_minutes is not None and script.max_minutes < 0:
        raise UserError(f"--max_minutes {script.max_minutes:g}: expected a number above 0, or 0 for no limit")
    if script.tokens_per_micro_batch is not None and script.tokens_per_micro_batch < 0:
        raise UserError(f"--tokens_per_micro_batch {script.tokens_per_micro_batch}: expected a number above 0, or 0 for TRL's own batches")
    if args.temperature <= 0:
        raise UserError(f"--temperature {args.temperature:g}: the completions of a group must differ: expected a number above 0")
    for name, lowest in LOWEST.items():
        if (value := getattr(args, name)) is not None and not lowest <= value < float("inf"):
            raise UserError(f"--{name} {value}: expected a number of at least {lowest}")
    if not 0 <= args.top_entropy_quantile <= 1:
        raise UserError(f"--top_entropy_quantile {args.top_entropy_quantile:g}: expected a share of the tokens, from 0 to 1")
    if args.max_steps < 1 and args.max_steps != -1:
        raise UserError(f"--max_steps {args.max_steps}: expected at least 1, or -1 for as many as --num_train_epochs has")
    require_known_values(args)
    SamplingArguments(args.temperature, args.top_p, args.top_k or 0, args.min_p or 0.0, args.repetition_penalty)  # raises


def choices(config: type, name: str) -> list[str]:
    """The values that the help of a setting quotes, its default first; [] where it is no choice between some."""
    setting = config.__dataclass_fields__[name]
    quoted = re.findall(r"(?<!=)'(\w+)'", setting.metadata["help"])  # other='value' is another setting's
    values = list(dict.fromkeys([setting.default, *quoted]))
    is_choice = config.__annotations__[name] is str and len(values) > 1  # setting.type: transformers' parser makes str of `str | None`
    return values if is_choice else []


def require_known_values(args) -> None:
    """What TRL 1.16 does not look at before it needs it, in the first step: names of methods, and text for a dict. Raises UserError."""
    for name in type(args).__annotations__:  # TRL's own: the parser knows the choices of the others
        known, value = choices(type(args), name), getattr(args, name)
        if known and value not in known:
            raise UserError(f"--{name} {value}: expected {', '.join(known[:-1])} or {known[-1]}")
    if args.torch_compile_mode is not None:
        from torch._inductor import list_mode_options

        if args.torch_compile_mode not in (modes := list_mode_options()):
            raise UserError(f"--torch_compile_mode {args.torch_compile_mode}: expected one of {', '.join(modes)}")
    for name in type(args)._VALID_DICT_FIELDS:  # JSON is a dict by now
        if isinstance(value := getattr(args, name), str) and not Path(value).is_file():
            raise UserError(f"--{name} {value}: expected JSON in braces, such as '{{\"key\": 1}}'")


def require_context(model_args, prompt_tokens: int, completion_tokens: int, turns: int = 0) -> None:
    """The longest prompt and a whole completion (of so many further turns) fit into the model. Raises UserError or GenerationError."""
    limit = context_tokens(model_args.model_name_or_path)
    if limit and prompt_tokens + completion_tokens > limit:
        asked = f"--max_completion_length {completion_tokens}"
        if turns:
            asked = f"--repair_turns {turns}, which may take {completion_tokens} tokens,"
        raise UserError(
            f"{asked} and the longest prompt ({prompt_tokens} tokens) exceed the {limit} tokens of "
            f"{model_args.model_name_or_path}: lower it"
        )


def require_something_to_earn(rewards: list[str], task_facts: dict) -> None:
    """A reward can differ between completions. Raises UserError when every weight is 0, or none that counts can ever be given."""
    weights = dict(map(parse_reward_spec, rewards))
    paid = [name for name, weight in weights.items() if weight]
    if not paid:
        raise UserError("every reward has weight 0: nothing would be learned")
    if set(paid) <= HIDDEN_REWARDS and not task_facts["with_hidden_tests"]:
        are = "is the only reward that counts" if len(paid) == 1 else "are the only rewards that count"
        raise UserError(f"{' and '.join(paid)} {are}, and no task has hidden tests: nothing would be learned")


def step_of(checkpoint: str) -> int:
    """Optimizer steps that a checkpoint has seen."""
    return json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))["global_step"]


def is_finished(resume: str | None, plan: dict) -> bool:
    """Whether the checkpoint to go on from is that of the last step."""
    if not resume:
        return False
    step = step_of(resume)
    if step >= plan["steps"]:
        print(f"{resume} is at step {step} of {plan['steps']}: nothing to do (a larger --max_steps goes on)")
    return step >= plan["steps"]


def make_plan(script: ScriptArguments, args, model_args, resume: str | None = None) -> tuple:
    """Check everything that needs no model -> (rows, evaluation tasks, tokenizer, reward set, plan).

    `resume`: the checkpoint that the run goes on from. Raises a clear error for what cannot work.
    """
    resuming = bool(args.resume_from_checkpoint)
    doctor.require_run_folder(Path(args.output_dir), resuming=resuming)
    doctor.require_accelerator(load_in_4bit=model_args.load_in_4bit, use_cpu=args.use_cpu)
    if args.use_vllm:
        doctor.require_vllm()
    free_gib = doctor.require_free_disk(Path(args.output_dir), needed_gib=5.0 if script.save_merged else 1.0)
    doctor.require_judge_settings(script, script.max_infra_share)
    require_possible(script, args)
    require_recipe(script, args)
    if not model_args.model_name_or_path:
        raise UserError("no model: pass --model_name_or_path (a hub id or a local folder)")
    tokenizer = load_tokenizer(model_args.model_name_or_path, model_args.model_revision)
    doctor.require_whole_weights(model_args.model_name_or_path)
    rows, task_facts = training_rows(script, tokenizer, args.seed)
    longest = script.max_prompt_length if script.fix_share else task_facts["longest_prompt_tokens"]
    require_context(model_args, longest, longest_row(args.max_completion_length, script.repair_turns), script.repair_turns)
    if (total_bytes := doctor.gpu_bytes()) and not args.use_cpu:
        gpu_memory.require_fits(script, args, model_args, task_facts["longest_prompt_tokens"], total_bytes)
    if script.repair_turns:
        require_turns(tokenizer, script, args)
    require_something_to_earn(script.rewards, task_facts)
    batch = batch_facts(args, len(rows))
    eval_tasks = evaluation_tasks(script, args, model_args, rows, tokenizer)
    if eval_tasks:
        task_facts |= {"eval_tasks": len(eval_tasks), "eval_tasks_hash": tasks_hash(eval_tasks)}
    if args.use_vllm and args.vllm_mode == "server" and args.process_index == 0:  # TRL's client is in this process
        longest = script.max_prompt_length if eval_tasks or script.fix_share else task_facts["longest_prompt_tokens"]
        doctor.require_vllm_server(doctor.vllm_server_url(args), longest + args.max_completion_length)
    if resuming:
        require_same_run(Path(args.output_dir), task_facts, script, args, model_args)
    workers = script.judge_workers or max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    columns = {name for row in rows for name in json.loads(row["other_columns"])}
    RewardSet(None, script.rewards).require_columns(columns, in_training=True)  # a misspelt reward stops before a judge is started
    if script.share_to:
        share.check(script.share_to, script.share_every)
    if args.push_to_hub:
        share.check_hub("--push_to_hub")
    limits = script.judge_options() | {"workers": workers}
    elsewhere = GradingProcess(**limits) if args.use_vllm and script.grade_ahead else None
    judge = elsewhere or RustTool(**limits)
    with contextlib.ExitStack() as if_it_fails:
        if_it_fails.callback(judge.close)
        rewards = RewardSet(judge, script.rewards, read_system_prompt(script.system_prompt), waits_for_machine=True, reader=elsewhere,
                            task_record=open_task_record(script, args, rows, resume))  # fmt: skip
        tasks = rewards.batch_tasks([row["prompt"] for row in rows], columns_of(rows))
        told = references_line(tasks, rewards.reader.judge) if args.process_index == 0 else None
        if_it_fails.pop_all()
    plan = {**task_facts, **batch, "gpu": doctor.gpu_facts(), "free_disk_gib": round(free_gib, 1), "judge": judge.describe()}
    plan |= {"references": told} if told else {}
    if script.frontier:
        plan["known_tasks"] = rewards.task_record.known(row["task_id"] for row in rows)
    return rows, eval_tasks, tokenizer, rewards, plan


def pays_no_hidden_tests(script: ScriptArguments) -> bool:
    """Whether no reward looks at the tasks' own tests; a user's may."""
    paid = [name for name, weight in map(parse_reward_spec, script.rewards) if weight]
    return not any(name in HIDDEN_REWARDS or ":" in name for name in paid)


def print_plan(plan: dict, script: ScriptArguments, args, model_args) -> None:
    """The plan in plain words, one fact a line."""
    judge, gpu = plan["judge"], plan["gpu"]
    adapter = f"LoRA r={model_args.lora_r} alpha={model_args.lora_alpha}" if model_args.use_peft else "all weights"
    generator = f"vLLM ({args.vllm_mode})" if args.use_vllm else "transformers"
    rewards = ", ".join(script.rewards)
    n, prompts, size, once = plan["completions_per_step"], plan["prompts_per_step"], plan["completions_per_prompt"], ""
    if plan["steps_per_batch"] > 1:
        batch = plan["completions_per_batch"]
        n, prompts, once = f"{min(n, batch)} of {batch}", batch / size, f" once in {plan['steps_per_batch']:g} steps"
    mixture = " + ".join(f"{one['source']} ({one['tasks']} tasks, {one['share']:.0%} of a step)" for one in plan["task_sets"])
    lines = [
        ("model", f"{model_args.model_name_or_path}, {'4-bit NF4' if model_args.load_in_4bit else model_args.dtype}, {adapter}"),
        ("tasks", f"{plan['tasks']} from {mixture}, {plan['with_hidden_tests']} with hidden tests, {plan['tasks_left_out']} left out"),
        ("prompts", f"longest {plan['longest_prompt_tokens']} of {plan['prompt_budget_tokens']} tokens, "
                    f"then up to {plan['completion_budget_tokens']} generated"),
        ("a step", f"{n} completions = {prompts:g} prompts x {size}, sampled by {generator}{once}"),
        ("steps", f"{plan['steps']} ({plan['epochs']} epochs){f', at most {script.max_minutes:g} minutes' if script.max_minutes else ''}"),
        ("rewards", rewards),
        *([("", f"the hidden tests of {plan['with_hidden_tests']} tasks earn nothing by these: hidden_tests_reward=4 would pay them")]
          if plan["with_hidden_tests"] and pays_no_hidden_tests(script) else []),
        *([("frontier", f"outcomes of {plan['known_tasks']} of {plan['tasks']} prompts are known"
                        f"{f' from {script.task_record}' if script.task_record else ''}")] if "known_tasks" in plan else []),
        *([("evaluation", f"{plan['eval_tasks']} tasks of {' + '.join(script.eval_tasks)} x {script.eval_samples}, "
                          f"every {script.eval_every} steps")] if "eval_tasks" in plan else []),
        ("toolchain", f"{judge['cargo']}; {judge['clippy']}; {judge['workers']} workers"),
        ("sandbox", doctor.sandbox_in_short(judge["sandbox"])),
        ("GPU", gpu or "none: training on the CPU"),
        ("disk", f"{plan['free_disk_gib']} GiB free for {args.output_dir}"),
        *([("references", plan["references"])] if plan.get("references") else []),
    ]  # fmt: skip
    print("\n".join(console.labelled(name, text) for name, text in lines), flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Weights that are sampled: base + adapter, computed beside the model and never in it
# ---------------------------------------------------------------------------------------------------------------------


def merged_parameters(model, dtype):
    """Yield (name, tensor) of a PEFT LoRA model as one dense model: W + scaling * B @ A, 4-bit bases dequantised.

    The model is only read, so a quantised (or bf16) base stays bit-identical; PEFT's own merge and unmerge rounds twice,
    and for 4-bit bases requantises twice. Names are those of the base model. Tensors are `dtype`, made one at a time.

    Raises:
        UserError: The model has adapter layers other than plain LoRA on linear layers.
    """
    import torch
    from peft.tuners.lora.layer import LoraLayer
    from peft.utils import ModulesToSaveWrapper
    from peft.utils.integrations import dequantize_module_weight

    base = model.get_base_model()
    is_tied = getattr(base.config, "tie_word_embeddings", False)
    layers = {}
    for name, module in base.named_modules():
        if isinstance(module, LoraLayer):
            is_linear = isinstance(module.get_base_layer(), torch.nn.Linear)  # bitsandbytes' layers are Linears too
            if not is_linear or any(module.use_dora.values()) or (is_tied and name == "lm_head"):
                kind = type(module).__name__
                raise UserError(f"cannot merge the adapter layer {name} ({kind}): only plain LoRA on linear layers is supported")
            layers[name] = module
        elif isinstance(module, ModulesToSaveWrapper):
            raise UserError(f"cannot merge {name}: lora_modules_to_save is not supported here")
    for name, layer in layers.items():
        with torch.no_grad():
            weight = dequantize_module_weight(layer.get_base_layer()).to(torch.float32)
            for adapter in layer.active_adapters:
                weight = weight + layer.get_delta_weight(adapter).to(weight.device, torch.float32)
        yield f"{name}.weight", weight.to(dtype)
        if layer.get_base_layer().bias is not None:
            yield f"{name}.bias", layer.get_base_layer().bias.data.to(dtype)
    inside_layers = tuple(f"{name}." for name in layers)
    for name, parameter in base.named_parameters():
        if not name.startswith(inside_layers):
            is_packed = hasattr(parameter, "quant_state")  # a 4-bit layer that has no adapter
            owner = base.get_submodule(name.rpartition(".")[0])
            yield name, (dequantize_module_weight(owner) if is_packed else parameter).data.to(dtype)


@contextlib.contextmanager
def vllm_server_answers():
    """While open, what TRL's client says of a server that it waited for in vain, or cannot use, is one sentence. Raises MachineError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not str(error).startswith("The vLLM server"):
            raise
        raise doctor.MachineError(str(error)) from error


@contextlib.contextmanager
def lossless_vllm_sync():
    """While open, GRPOTrainer builds a vLLM that holds the dense bf16 policy, synced by `merged_parameters`.

    TRL 1.16 loads vLLM with bitsandbytes when the trained model is 4-bit, and syncs by merging the adapter into the
    4-bit weights and unmerging it again: the base drifts at every sync. Sources: trl/generation/vllm_generation.py.
    """
    import torch
    import trl.generation.vllm_generation as generation
    import trl.trainer.grpo_trainer as grpo
    from peft import PeftModel

    _ = generation.VLLMGeneration._iter_named_params  # a TRL without it must fail here, not sample with its own sync

    class LosslessVLLMGeneration(generation.VLLMGeneration):
        def _iter_named_params(self):
            model = self.model
            if not isinstance(model, PeftModel) or self._dist.is_fsdp or self._dist.is_zero3:
                yield from super()._iter_named_params()  # sharded: TRL knows how to gather
            else:
                yield from merged_parameters(model, torch.bfloat16)

    original = grpo.VLLMGeneration, generation.is_bitsandbytes_available
    grpo.VLLMGeneration = LosslessVLLMGeneration
    generation.is_bitsandbytes_available = lambda: False  # asked only to choose vLLM's quantisation: none
    try:
        yield
    finally:
        grpo.VLLMGeneration, generation.is_bitsandbytes_available = original


# ---------------------------------------------------------------------------------------------------------------------
# While it runs: one readable line per step, limits, and stopping cleanly
# ---------------------------------------------------------------------------------------------------------------------


def streams_of_a_terminal() -> list[int]:
    """Which of stdout and stderr go to a terminal, if by way of another program (`| tee`)."""
    found = []
    for stream in (1, 2):
        with contextlib.suppress(OSError):  # it may be closed
            found += [stream] if os.isatty(stream) or stat.S_ISFIFO(os.fstat(stream).st_mode) else []
    return found


@contextlib.contextmanager
def stop_on_signal(callback):
    """First Ctrl-C (or SIGTERM, or a terminal that is closed) stops after the step under way; a second one, or one before the
    first step (the first evaluation may take minutes), stops at once, but for a closed terminal, which says so twice. What was
    trained is saved."""
    terminal = streams_of_a_terminal()

    def handle(signum, frame):
        if signum == signal.SIGHUP:
            if callback.stop_reason:  # a shell says it twice
                return
            nowhere = os.open(os.devnull, os.O_WRONLY)  # nobody reads the terminal any more, and to write there is an error
            for stream in terminal:
                os.dup2(nowhere, stream)
            os.close(nowhere)
        if callback.stop_reason or not (callback.has_begun or signum == signal.SIGHUP):
            raise KeyboardInterrupt
        callback.stop_reason = f"asked to stop ({signal.Signals(signum).name})"
        print(f"\n{callback.stop_reason}: finishing this step, then saving; once more to stop at once", flush=True)

    wanted = [signal.SIGINT, signal.SIGTERM, *([] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP])]  # nohup's
    previous = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def end_with_launcher() -> None:
    """One of several processes stops as if asked to when the one that launched it is gone, and ends LAUNCHER_GRACE_S later for certain.

    torchrun and accelerate end what they started; killed with SIGKILL they cannot, and the run would go on, with nobody's terminal.
    """
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        with contextlib.suppress(OSError):
            print("the process that launched this run is gone", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAUNCHER_GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        threading.Thread(target=watch, name="launcher-watch", daemon=True).start()


# ---------------------------------------------------------------------------------------------------------------------
# What a run leaves behind
# ---------------------------------------------------------------------------------------------------------------------


def resolved_config(script: ScriptArguments, args, model_args) -> dict:
    """All three groups of arguments as plain data; tokens are masked by transformers' own `to_dict`."""
    return {"script": asdict(script), "training": args.to_dict(), "model": asdict(model_args)}


def save_model(trainer, tokenizer, output_dir: Path, model_args, save_merged: bool) -> tuple[Path, Path]:
    """Write adapter/ (or model/ when all weights were trained), and merged/ when asked for -> folders of the last and of the best weights.

    Where evaluations inside the run have left their best there, the last weights go to adapter-last/; merged/ is of the best.
    """
    import torch
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file, save_file

    model = trainer.accelerator.unwrap_model(trainer.model)
    final = best = output_dir / ("adapter" if model_args.use_peft else "model")
    if trainer.iterations is not None and trainer.iterations.best is not None:
        final = best.with_name(best.name + "-last")
    model.save_pretrained(final)
    tokenizer.save_pretrained(final)
    if save_merged and model_args.use_peft:
        if final != best:
            set_peft_model_state_dict(model, load_file(best / "adapter_model.safetensors"))
        merged = output_dir / "merged"
        merged.mkdir(exist_ok=True)
        state = {name: tensor.cpu().contiguous() for name, tensor in merged_parameters(model, torch.bfloat16)}
        save_file(state, merged / "model.safetensors", metadata={"format": "pt"})
        config = model.get_base_model().config.to_dict()
        config.pop("quantization_config", None)
        (merged / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}, indent=1, default=str))
        model.get_base_model().generation_config.save_pretrained(merged)
        tokenizer.save_pretrained(merged)
    return final, best


def require_all_weights(model, checkpoint: Path) -> None:
    """The checkpoint (of a run that trains all weights) holds every weight of the model, tied ones once. Raises UserError."""
    held = doctor.weight_names(checkpoint)
    if not held:
        return  # no safetensors: not one of ours, and torch reads it
    weights = dict(model.named_parameters(remove_duplicate=False))
    saved = {id(weight) for name, weight in weights.items() if name in held}
    missing = sorted(name for name, weight in weights.items() if id(weight) not in saved)
    if missing:
        raise UserError(
            f"{checkpoint} lacks {len(missing)} of the model's {len(weights)} weights ({', '.join(missing[:3])}): go on from another "
            "checkpoint-N folder with --resume_from_checkpoint"
        )


def write_cards(
    final: Path, best: Path, iterations: Iterations | None, model_args, script: ScriptArguments, args, log_history: list[dict]
) -> None:  # fmt: skip
    """README.md of the last weights and, where evaluations chose others, of the best."""
    (final / "README.md").write_text(model_card(model_args, script, args, log_history, final), encoding="utf-8")
    if best != final:
        seen = [entry for entry in log_history if entry["step"] <= iterations.best["step"]]
        chosen = [iterations.how_chosen(), "", iterations.table()]
        (best / "README.md").write_text(model_card(model_args, script, args, seen, best, chosen), encoding="utf-8")


def push_weights(folder: Path, repo: str, step: int) -> None:
    """Commit the weights of a run that is over, with their card, to its model repository; until now --push_to_hub pushed checkpoints."""
    import httpx
    import huggingface_hub

    try:
        huggingface_hub.upload_folder(repo_id=repo, folder_path=folder, commit_message=f"{folder.name} after {step} steps")
        print(f"pushed {folder} to {repo}", flush=True)
    except (OSError, ValueError, httpx.HTTPError) as error:
        print(f"warning: {folder} is saved and was not pushed to {repo}: {share.first_line(error)}", file=sys.stderr, flush=True)


def model_card(
    model_args, script: ScriptArguments, args, log_history: list[dict], final: Path | str, chosen: list[str] | None = None
) -> str:  # fmt: skip
    """README.md of the adapter folder (or hub repository) `final`: what it is, how it was chosen, what was measured, how to use it."""
    steps = [entry for entry in log_history if "reward" in entry]
    window = max(1, min(3, len(steps) // 2))
    names = {
        "reward": "mean reward",
        "judge/build_rate": "build",
        "judge/clippy_rate": "clippy (exit code)",
        "judge/test_rate": "own tests pass",
        "judge/honest_test_rate": "honest tests pass",
        "judge/hidden_test_share": "hidden tests passed",
    }
    mean = lambda entries, key: sum(entry[key] for entry in entries) / len(entries)
    rows = [
        f"| {title} | {mean(steps[:window], key):.3f} | {mean(steps[-window:], key):.3f} |"
        for key, title in names.items()
        if steps and all(entry.get(key) is not None for entry in steps)
    ]
    base = model_args.model_name_or_path
    load = (
        f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}", dtype="auto"), folder)'
        if model_args.use_peft
        else 'model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")'
    )
    return "\n".join([
        "---", f"base_model: {base}", "library_name: peft" if model_args.use_peft else "library_name: transformers",
        "tags: [rust, grpo, trl, code]", "---", "", f"# {Path(args.output_dir).name}", "",
        f"{base} trained with GRPO; `cargo build`, `clippy` and `test` graded every completion.", "",
        *(["## How these weights were chosen", "", *chosen] if chosen else []),
        f"## On the training prompts (first {window} and last {window} of {len(steps)} steps)", "",
        "These are sampled at the training temperature on training prompts; held-out numbers come from `eval.py`.", "",
        "| | first | last |", "|---|---:|---:|", *rows, "", "## Use", "", "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        *(["from peft import PeftModel"] if model_args.use_peft else []),
        "", f'folder = "{final}"', "tokenizer = AutoTokenizer.from_pretrained(folder)", load,
        'messages = [{"role": "user", "content": "Write a Rust function that reverses the words of a sentence."}]',
        "inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors=\"pt\", return_dict=True)",
        "output = model.generate(**inputs, max_new_tokens=400)",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))', "```", "",
        "It was trained with the system prompt of its run (`system_prompt` in run.json); put it first in `messages`.", "",
        "## Configuration", "", "```yaml", f"tasks: {json.dumps(script.tasks)}", f"rewards: {json.dumps(script.rewards)}",
        f"num_generations: {args.num_generations}", f"learning_rate: {args.learning_rate}", f"steps: {steps[-1]['step'] if steps else 0}",
        f"lora_r: {model_args.lora_r}", f"lora_alpha: {model_args.lora_alpha}", f"load_in_4bit: {str(model_args.load_in_4bit).lower()}",
        "```", "",
    ])  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# main
# ---------------------------------------------------------------------------------------------------------------------


def open_iterations(script: ScriptArguments, args, model_args, eval_tasks: list[dict], resume: str | None) -> Iterations | None:
    """The evaluations of a run, those of earlier attempts included; None without --eval_tasks. The Trainer begins with one if due."""
    if not eval_tasks:
        return None
    folder, sampling = Path(args.output_dir), EvalSampling(script.eval_samples, script.eval_temperature, script.eval_top_p, args.seed)
    weights_name, is_main = "adapter" if model_args.use_peft else "model", args.process_index == 0
    with args.main_process_first(local=False, desc="the evaluations so far"):  # it mends what a kill left behind
        attempt = doctor.attempts_so_far(folder)
        iterations = Iterations(folder, eval_tasks, " ".join(script.eval_tasks), sampling, attempt, weights_name, is_main)
    args.eval_on_start = resume is None and iterations.is_due(0)
    return iterations


def train(
    script: ScriptArguments, args, model_args, rows: list[dict], eval_tasks: list[dict], tokenizer, rewards: RewardSet, resume: str | None
):  # fmt: skip
    """Build the trainer, train, save what was reached -> RunCallback. Raises UserError, RewardError, KeyboardInterrupt."""
    import torch

    from training.callback import EvaluationCallback, RunCallback

    output_dir, is_main = Path(args.output_dir), args.process_index == 0
    settle(script, args, model_args, rewards)
    iterations = open_iterations(script, args, model_args, eval_tasks, resume)
    if rewards.task_record is not None and is_main:
        rewards.task_record.write_to(output_dir / RECORD_FILE)
    n_sampled = completions_per_step(args) / args.num_iterations
    callback = RunCallback(script, output_dir / "metrics.jsonl", n_sampled, iterations, steps_per_batch(args))
    evaluation = [EvaluationCallback(iterations, script.eval_every, callback)] if iterations else []
    sharer = share.Sharer(output_dir, script.share_to, script.share_every) if script.share_to and is_main else None
    callbacks = [callback, *evaluation, *([share.make_callback(sharer)] if sharer else [])]
    trainer = build_trainer(script, args, model_args, rows, tokenizer, rewards, iterations, callbacks)
    if resume and not model_args.use_peft:
        require_all_weights(trainer.model, Path(resume))
    try:
        with stop_on_signal(callback):
            trainer.train(resume_from_checkpoint=resume)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of GPU memory in step {trainer.state.global_step + 1} ({share.first_line(error)}): lower "
            f"--tokens_per_micro_batch, or halve --per_device_train_batch_size (now {args.per_device_train_batch_size}) and double "
            "--gradient_accumulation_steps, "
            "or set --gradient_checkpointing true"
        ) from error
    except RuntimeError:  # of a collective, as a rule
        if args.world_size > 1:
            print(f"train.py: one of {args.world_size} processes failed. Where another ended first, its last words say why: go on with "
                  "--resume_from_checkpoint last", file=sys.stderr, flush=True)  # fmt: skip
        raise
    finally:
        callback.quieten()
        stopped_by = sys.exc_info()[1]
        if is_main and trainer.state.global_step > 0:
            try:
                with written_to_disk(output_dir):
                    save_what_was_reached(trainer, tokenizer, script, args, model_args, iterations)
            except (UserError, OSError) as error:
                if stopped_by is None:
                    raise
                print(f"the model of step {trainer.state.global_step} could not be saved: {error}", file=sys.stderr)
        if sharer:
            sharer.finish()
    return callback


def settle(script: ScriptArguments, args, model_args, rewards: RewardSet) -> None:
    """What TRL's arguments still lack once model, machine and rewards are known."""
    import torch

    if script.gpu_memory_limit_gib and torch.cuda.is_available():
        total = torch.cuda.mem_get_info()[1] / 2**30
        torch.cuda.set_per_process_memory_fraction(min(1.0, script.gpu_memory_limit_gib / total))
    if args.device.type == "cpu":  # where there are several processes "cpu:0", from which torch loads no checkpoint
        vars(args)["_setup_devices"] = torch.device("cpu")  # the cached value of args.device
    args.reward_weights = list(rewards.weights.values())
    longest = script.max_prompt_length + longest_row(args.max_completion_length, script.repair_turns)
    args.vllm_max_model_length = args.vllm_max_model_length or longest
    args.model_init_kwargs = (args.model_init_kwargs or {}) | {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
    }


def build_trainer(script: ScriptArguments, args, model_args, rows: list[dict], tokenizer, rewards: RewardSet,
                  iterations: Iterations | None, callbacks: list):  # fmt: skip
    """The model loaded, and vLLM started where it samples -> TracedGRPOTrainer. Raises UserError for settings that do not work."""
    from datasets import Dataset
    from transformers import PrinterCallback, ProgressCallback
    from trl import get_peft_config, get_quantization_config

    from training.trainer import TracedGRPOTrainer

    output_dir, is_main = Path(args.output_dir), args.process_index == 0
    with library_reads_settings():
        quantization_config, peft_config = get_quantization_config(model_args), get_peft_config(model_args)
    then = f", then waiting for vLLM at {doctor.vllm_server_url(args)}" if args.vllm_mode == "server" else ", then starting vLLM"
    loading = f"loading {model_args.model_name_or_path}{then if args.use_vllm else ''}"
    syncs = lossless_vllm_sync() if args.use_vllm else contextlib.nullcontext()
    with console.waiting(loading), vllm_measures_memory(), vllm_server_answers(), syncs:
        trainer = TracedGRPOTrainer(
            model=model_args.model_name_or_path,
            reward_funcs=rewards.functions,
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            quantization_config=quantization_config,
            peft_config=peft_config,
            callbacks=callbacks,
            reward_set=rewards,
            trace=TraceWriter(output_dir / ("trace.jsonl" if is_main else f"trace.rank{args.process_index}.jsonl"), ROTATE_BYTES),
            attempt=doctor.attempts_so_far(output_dir),
            script=script,
            iterations=iterations,
        )

    def own_card(**names) -> None:
        """In place of TRL's, which says "fine-tuned version of None". Beside the run only where that is pushed: it is with the weights."""
        if args.push_to_hub and is_main:
            card = model_card(model_args, script, args, trainer.state.log_history, trainer.hub_model_id)
            (output_dir / "README.md").write_text(card, encoding="utf-8")

    trainer.create_model_card = own_card
    trainer.remove_callback(ProgressCallback)  # our line per step says more than a bar that moves once a step
    trainer.remove_callback(PrinterCallback)
    return trainer


def save_what_was_reached(trainer, tokenizer, script: ScriptArguments, args, model_args, iterations: Iterations | None) -> None:
    """The weights with their cards and the trainer's state, pushed where that was asked for. Raises OSError."""
    output_dir = Path(args.output_dir)
    final, best = save_model(trainer, tokenizer, output_dir, model_args, script.save_merged)
    write_cards(final, best, iterations, model_args, script, args, trainer.state.log_history)
    trainer.state.save_to_json(str(output_dir / "trainer_state.json"))
    which = ", ".join(filter(None, [f"; the best by --eval_tasks is {best}", iterations.not_better()])) if best != final else ""
    print(f"saved {final} after {trainer.state.global_step} steps{which}", flush=True)
    if args.push_to_hub:
        push_weights(best, trainer.hub_model_id, trainer.state.global_step)


def main(argv: list[str] | None = None) -> int:
    """-> exit status: 0 done (or stopped cleanly), 1 stopped by an error or a limit, 2 cannot work as asked."""
    try:
        with console.LibraryLogs() as logs, console.no_bars():
            with console.waiting("importing torch and TRL"):
                script, args, model_args = parse_arguments(sys.argv[1:] if argv is None else argv)
            with run_lock.hold(Path(args.output_dir)):
                end_with_launcher()
                return run(script, args, model_args, logs)
    except UserError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("train.py: interrupted", file=sys.stderr)
        return 130


def run(script: ScriptArguments, args, model_args, logs: console.LibraryLogs) -> int:
    """Plan, train -> exit status, in a run folder that is ours. Raises UserError before anything is written."""
    resume = doctor.checkpoint_to_resume(Path(args.output_dir), args.resume_from_checkpoint)
    with console.waiting("looking at tasks, model and machine"):
        rows, eval_tasks, tokenizer, rewards, plan = make_plan(script, args, model_args, resume)
    if is_finished(resume, plan):
        rewards.judge.close()
        return 0
    try:
        with written_to_disk(Path(args.output_dir)):
            if args.process_index == 0:
                print_plan(plan, script, args, model_args)
                config = resolved_config(script, args, model_args)
                if resume:
                    changed = changed_settings(Path(args.output_dir), config)
                    print(console.labelled("going on", f"from {resume}" + (f"; changed: {changed}" if changed else "")), flush=True)
                doctor.write_run_file(Path(args.output_dir), config, plan)
                write_trained_tasks(Path(args.output_dir), [{**row, "prompt": row["user_prompt"]} for row in rows])
            if args.distributed_state is not None:
                args.distributed_state.wait_for_everyone()  # run.json is there
            if args.use_vllm:
                with console.waiting("importing vLLM"), contextlib.suppress(ImportError):  # doctor.require_vllm has looked
                    import vllm  # noqa: F401  its loggers exist from here on
            logs.write_to(Path(args.output_dir) / (console.LOG_NAME if args.process_index == 0 else f"debug.rank{args.process_index}.log"))
            use_one_thread_for_a_tiny_model(model_args.model_name_or_path, args.device.type)
            callback = train(script, args, model_args, rows, eval_tasks, tokenizer, rewards, resume)
    except UserError as error:
        more = ": go on with --resume_from_checkpoint last" if isinstance(error, JudgeGone) else ""
        print(f"train.py: {error}{more}", file=sys.stderr)
        return 1
    finally:
        rewards.judge.close()
        end_process_group()
    if args.process_index == 0:
        if callback.stop_reason:
            print(f"stopped early: {callback.stop_reason}", file=sys.stderr)
        with contextlib.suppress(TraceError):  # stopped before the first step
            if line := uncompiled_line(iter_counted(Path(args.output_dir))):
                print(console.wrapped(f"note: {line}"), file=sys.stderr)
    return 1 if callback.failed else 0


if __name__ == "__main__":
    sys.exit(main())
