"""What is said of a run while it goes on: a line a step, warnings about where it is heading, and stops that all processes agree on."""


import console
from traces import waited_s

SMELL_STEPS = 5  # a warning is about the mean of so many steps, not about one noisy batch
SMELL_CHANGE = 0.05  # own tests up and hidden tests down by this much between two such windows: the tests are being gamed
SMELL_LIMITS = {  # metric -> (largest share that is ordinary, what it means when it is more)
    "judge/top_guard_share": (0.10, "of completions pass tests that one guard refuses (column guard of the trace): reward hacking?"),
    "frac_reward_zero_std": (0.50, "of groups earn the same and teach nothing: easier or harder tasks, or more completions a group"),
    "completions/clipped_ratio": (0.20, "of completions are truncated: raise --max_completion_length"),
    "judge/infra_share": (0.01, "of completions could not be graded: the machine, not the model (error_kind infra of the trace)"),
}


def step_line(step: int, steps: int, logs: dict, eta_s: float) -> str:
    """`step 3/8 | reward 4.2 | build 81 % ...`: what a person wants to know of one step, as much of it as the terminal is wide.

    Everything else is in metrics.jsonl. Where phases do not fit one by one: seconds in all, and of these the wait, or the longest phase.
    """

    def percent(key: str) -> str:
        return f"{100 * logs[key]:.0f} %" if logs.get(key) is not None else "-"

    rates = {"build": "judge/build_rate", "clippy": "judge/clippy_rate", "tests": "judge/test_rate", "honest": "judge/honest_test_rate"}
    if "judge/hidden_test_share" in logs:
        rates["hidden"] = "judge/hidden_test_share"
    waited = waited_s(logs)
    phases = {name: logs.get(f"time/{name}_s") or 0.0 for name in ("generate", "grade", "train")}
    if waited is not None:  # most is graded while others are sampled: what counts is how long the card waited for the rest
        phases = {"generate": phases["generate"], "wait": waited, "train": phases["train"]}
    total = sum(phases.values())
    longest = max(phases, key=lambda name: phases[name]) if waited is None else "wait"
    digits = 0 if total >= 10 else 1
    minutes, rest = divmod(round(eta_s), 60)

    def line(without: set[str]) -> str:
        long_seconds = f"{' '.join(f'{name} {seconds:.1f}' for name, seconds in phases.items())} s"
        parts = {
            "step": f"step {step}/{steps}",
            "reward": f"reward {logs['reward']:.2f}" if logs.get("reward") is not None else "reward -",
            "rates": " ".join(f"{name} {percent(key)}" for name, key in rates.items() if name not in without),
            "tokens": f"{logs.get('completions/mean_length') or 0:.0f} tokens",
            "seconds": f"{total:.{digits}f} s ({longest} {phases[longest]:.{digits}f})" if "phases" in without else long_seconds,
            "ETA": f"ETA {minutes}:{rest:02d}" if "words" in without else f"ETA {minutes} min {rest:02d} s",
        }
        return " | ".join(text for name, text in parts.items() if text and name not in without)

    second = "honest" if "hidden" in rates else "build"
    return console.first_that_fits(line, ["clippy", "tests", "tokens", "phases", "words", second, "build", "seconds", "rates", "reward"])


def smells(history: list[dict]) -> dict[str, str]:
    """Warnings about the last SMELL_STEPS logged steps (the SMELL_STEPS before them for comparison): kind -> sentence.

    history: one dict of metrics per logged step, the latest last. {} while fewer than SMELL_STEPS are known.
    """

    def mean(entries: list[dict], key: str) -> float | None:
        values = [entry[key] for entry in entries if entry.get(key) is not None]
        return sum(values) / len(values) if len(values) == SMELL_STEPS else None

    now, before = history[-SMELL_STEPS:], history[-2 * SMELL_STEPS : -SMELL_STEPS]
    found = {}
    for key, (limit, meaning) in SMELL_LIMITS.items():
        share = mean(now, key)
        if share is not None and share > limit:
            found[key] = f"{share:.0%} {meaning}" if share >= 0.1 else f"{share:.1%} {meaning}"
    own, hidden = "judge/honest_test_rate", "judge/hidden_test_share"
    values = [mean(entries, key) for key in (own, hidden) for entries in (before, now)]
    if None not in values and values[1] - values[0] > SMELL_CHANGE and values[2] - values[3] > SMELL_CHANGE:
        found["own_against_hidden"] = (
            f"own tests pass more often ({values[0]:.0%} -> {values[1]:.0%}) while hidden tests pass less ({values[2]:.0%} -> "
            f"{values[3]:.0%}): it learns to please its own tests"
        )
    return found


def any_process(holds: bool, device) -> bool:
    """Whether `holds` on any of the processes of this run; every process must call it."""
    import torch

    if not torch.distributed.is_initialized():
        return holds
    flag = torch.tensor(int(holds), device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)
