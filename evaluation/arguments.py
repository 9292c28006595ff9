"""Pass rates of a model, with and without adapters, or of completions that exist: what eval.py takes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import doctor
from evaluation.folders import EvalError
from generate import BackendArguments, SamplingArguments, parse_dataclasses
from judge.settings import JudgeSettings
from rewards import DEFAULT_REWARDS, cross_rewards_of

EVAL_REWARDS = (*DEFAULT_REWARDS, "hidden_tests_reward=2")


@dataclass
class EvalArguments(JudgeSettings):
    """What is measured, on which tasks, and where the results go."""

    output_dir: str | None = field(default=None, metadata={"help": "Folder of the results: new, empty, or one to go on with."})
    model: str | None = field(default=None, metadata={"help": "Model folder or hub id, or the endpoint's name for a model."})
    adapter: list[str] = field(
        default_factory=list, metadata={"help": "LoRA adapters on the model, a row each (may be repeated).", "action": "extend"}
    )
    baseline: bool = field(default=True, metadata={"help": "Also a row for the model without any adapter."})
    row_names: list[str] = field(default_factory=list, metadata={"help": "Names of the rows, baseline first, instead of the folders'."})
    tasks: str | None = field(
        default=None,
        metadata={"help": "Prompts: .jsonl, .json or .parquet file (FILE:COLUMN: prompts of that column), or hub dataset id. "
                  "With --completions: gives by task id the prompts and hidden tests that the file lacks."},
    )  # fmt: skip
    tasks_split: str = field(default="train", metadata={"help": "Split of a hub dataset."})
    task_ids: str | None = field(default=None, metadata={"help": "Only these tasks: FILE.json:KEY, or a file with one id per line."})
    limit: int | None = field(default=None, metadata={"help": "Only the first so many tasks (or input rows of --completions)."})
    hidden_tests: str = field(
        default="auto",
        metadata={"help": "auto: grade by the tasks' tests where there are any; required: refuse tasks without; off: ignore them.",
                  "choices": ["auto", "required", "off"]},
    )  # fmt: skip
    k: list[int] = field(default_factory=list, metadata={"help": "Report hidden-test pass@k for these k (default: 1)."})
    select: Literal["none", "cross"] = field(
        default="none",
        metadata={"help": "cross: pick one completion a task by the tests of the others, and report how often the pick is right."},
    )
    completions: str | None = field(
        default=None,
        metadata={
            "help": "Grade this .jsonl (.gz, too), .json or .parquet file of existing completions, one or several a row, or the trace "
            "of a training run (its folder)."
        },
    )
    reuse_verdicts: bool = field(
        default=False,
        metadata={"help": "A trace only: keep the recorded verdicts and rewards, and change only weights. Nothing is compiled."},
    )
    compare: list[str] = field(default_factory=list, metadata={"help": "Put the rows of these results folders side by side."})
    all_tables: bool = field(default=False, metadata={"help": "Print every table as table.md has it, however wide."})
    prompt_column: str | None = field(default=None, metadata={"help": "Column that holds the prompt."})
    completion_column: str | None = field(default=None, metadata={"help": "Column that holds the completion (--completions)."})
    tests_column: str | None = field(default=None, metadata={"help": "Column that holds hidden tests."})
    task_id_column: str | None = field(default=None, metadata={"help": "Column that holds the task id."})
    entry_point_column: str | None = field(default=None, metadata={"help": "Column that holds the name of the function asked for."})
    system_prompt: str | None = field(
        default=None, metadata={"help": "File with the system prompt (default: system_prompt.txt); none for none."}
    )
    fim_format: Literal["chat", "tokens"] = field(
        default="chat",
        metadata={"help": "How tasks of kind fim are asked: in words, or by Qwen2.5-Coder's FIM tokens without a chat template."},
    )
    rewards: list[str] = field(default_factory=lambda: list(EVAL_REWARDS), metadata={"help": "Reward functions to record, as name=weight."})
    repair_turns: int = field(
        default=0, metadata={"help": "More tries for what fails, each after cargo's message; results are those of the last (--model)."}
    )
    max_infra_share: float = field(default=0.03, metadata={"help": "Stop when more than this share of completions could not be graded."})
    bootstrap_samples: int = field(default=10_000, metadata={"help": "Resamples behind each interval (fewer for more than 20,000 tasks)."})

    def column(self, name: str) -> str:
        """Name in the user's file of one of our columns."""
        return getattr(self, f"{name}_column") or name


def parse_arguments(argv: Sequence[str] | None) -> tuple[EvalArguments, SamplingArguments, BackendArguments]:
    """Command line and --config file. Raises GenerationError for what cannot be parsed, EvalError for what does not go together."""
    args, sampling, backend = parse_dataclasses((EvalArguments, SamplingArguments, BackendArguments), argv, __doc__)
    modes = {"--model": args.model, "--completions": args.completions, "--compare": args.compare}
    given = [flag for flag, value in modes.items() if value]
    if len(given) != 1:
        raise EvalError(f"expected one of --model, --completions and --compare, found {' and '.join(given) or 'none of them'}")
    if not args.output_dir and not args.compare:
        raise EvalError("--output_dir is missing: where should the results go?")
    if args.model and not args.tasks:
        raise EvalError("--tasks is missing: a .jsonl, .json or .parquet file, or a hub dataset id")
    if args.reuse_verdicts and not args.completions:
        raise EvalError("--reuse_verdicts needs --completions, the trace of a training run")
    if args.adapter and not args.model:
        raise EvalError("--adapter needs --model, the base it was trained on")
    if args.repair_turns < 0:
        raise EvalError(f"--repair_turns {args.repair_turns}: expected at least 0")
    others = {"--task_ids": args.task_ids, "--row_names": args.row_names, "--repair_turns": args.repair_turns}
    ignored = [flag for flag, value in others.items() if value and not args.model]
    if ignored:
        raise EvalError(f"{' and '.join(ignored)} goes with --model: nothing would come of it here")
    if args.select != "none" and (args.compare or args.reuse_verdicts):
        raise EvalError(f"--select {args.select} runs the programs: it does not go with --compare or --reuse_verdicts")
    if args.select != "none" and args.model and sampling.num_samples < 2:
        raise EvalError(f"--select {args.select} picks one of several completions: raise --num_samples (now {sampling.num_samples})")
    if args.bootstrap_samples < 1:
        raise EvalError(f"--bootstrap_samples {args.bootstrap_samples}: expected at least 1")
    doctor.require_judge_settings(args, args.max_infra_share)
    args.require_tests_of_others(*cross_rewards_of(args.rewards), *(["--select cross"] if args.select == "cross" else []))
    if any(k < 1 for k in args.k):
        raise EvalError(f"--k {min(args.k)}: expected at least 1")
    if args.model and any(k > sampling.num_samples for k in args.k):
        raise EvalError(
            f"pass@{max(args.k)} needs at least {max(args.k)} samples per task: raise --num_samples (now {sampling.num_samples})"
        )
    if args.limit is not None and args.limit < 1:
        raise EvalError(f"--limit {args.limit}: expected at least 1")
    return args, sampling, backend
