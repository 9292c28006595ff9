"""Figures in the sentences of the README files: each is counted again from what is committed, as `results/tables.py` does it for tables.

A sentence stands here as a template and what fills it. A measured figure that no sentence here holds must say that its file was not kept.
"""

import gzip
import itertools
import json
import math
import re
import statistics
from collections import Counter, defaultdict
from functools import cache
from operator import itemgetter

import numpy as np
import pytest
from conftest import ROOT

from evaluation.metrics import bootstrap
from evaluation.metrics import interval as bounds
from judge.program import ends_with_code
from results import tables
from results.recipe import first_record as make_first_record
from rewards import pass_at_k
from training.task_record import TaskRecord, tallied

SKIPPED = re.compile(r"```.*?```|<!--.*?-->|^    [^\n]*|^#[^\n]*", re.DOTALL | re.MULTILINE)
UNIT = r"(?:%|s\b|min|ms\b|[KMG]i?B\b|points\b)"
MEASURED = re.compile(rf"\d\.\d+(?:\*\*)? {UNIT}|\[[-+]?\d+\.\d, [-+]?\d+\.\d\]|\d\.\d+ -> \d|-> \d+\.\d")
ABSENT = re.compile(r"not (?:kept|committed)")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def loaded(name):
    return json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))


@cache
def lines(name):
    path = ROOT / name
    data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


def mean_gain(gains):
    """Mean of what tasks (or groups) gain, a share each, in points with its interval."""
    gains = np.array(gains)[:, None]
    low, high = bounds(bootstrap(gains, np.ones_like(gains), tables.RESAMPLES)[:, 0])
    return interval({"value": gains.mean(), "low": low, "high": high}, "+.1f")


def interval(metric, style=".1f"):
    value, low, high = (100 * metric[name] for name in ("value", "low", "high"))
    unit = "" if style[0] == "+" else " %"
    return f"{value:{style}}{unit} [{low:.1f}, {high:.1f}]"


def rate(folder, row, name):
    (metrics,) = [one["metrics"] for one in loaded(f"{folder}/summary.json")["rows"] if one["row"] == row]
    return 100 * metrics[name]["value"]


def with_interval(folder, row, name):
    (metrics,) = [one["metrics"] for one in loaded(f"{folder}/summary.json")["rows"] if one["row"] == row]
    return interval(metrics[name])


def table_cells(name):
    """row or difference -> heading -> cell of a printed table."""
    return dict(tables._lines(ROOT / "results" / name))


def change(cell):
    """`+10.2 [+5.9, +14.5]` as sentences have it."""
    value, rest = cell.split(" ", 1)
    return f"({value} {rest.replace('+', '')})"


# ---------------------------------------------------------------------------------------------------------------------
# What fills the sentences
# ---------------------------------------------------------------------------------------------------------------------


def tiny(row):
    return [rate("tiny/seed-0", row, name) for name in ("build", "hidden_tests", "honest_tests")]


def step_seconds():
    lora, qlora = loaded("step/h200-lora.json"), loaded("step/h200-qlora.json")
    return [*(256 / one["completions_per_s"] for one in (lora, qlora)), *(one["completions_per_s"] / one["before_completions_per_s"] for one in (lora, qlora))]


def sampled(run):
    return [loaded(f"step/h200-{name}.json")["runs"][run] for name in ("lora", "qlora")]


def peak_and_tokens():
    """GiB that no LoRA or QLoRA run on one card passed; tokens a second against the first version's, LoRA and QLoRA."""
    alone = [loaded(f"step/h200-x1-{name}.json")["peak_gib"] for name in ("lora", "qlora")]
    today, before = ([one["tokens_per_s"] for one in sampled(run)] for run in ("today", "before"))
    return [math.ceil(max(alone + [one["peak_gib"] for one in sampled("today")])), *(new / old for new, old in zip(today, before, strict=True))]


def max_minutes():
    runs = [loaded(f"hidden-against-own-tests-1.5b/train-{name}-tests/run.json")["config"]["script"]["max_minutes"] for name in ("hidden", "own")]
    assert runs[0] == runs[1]
    return runs[:1]


def two_cards(*names, kind="lora"):
    """Of one card, of two, and their ratio, by name."""
    one, two = (loaded(f"step/h200-x{n}-{kind}.json")["runs"]["today"] for n in (1, 2))
    return [value for name in names for value in (one[name], two[name], two[name] / one[name])]


def two_cards_at_equal_lengths(kind):
    """Times that two cards are as fast as one: seconds of a step over its mean length, a line for each number of cards, of one slope."""
    points = []
    for n in (1, 2):
        steps = lines(f"results/step/h200-x{n}-{kind}-metrics.jsonl")
        points.append(np.array([(now["completions/mean_length"], now["elapsed_s"] - before["elapsed_s"]) for before, now in itertools.pairwise(steps)]))
    means = [of.mean(axis=0) for of in points]
    around = np.concatenate([of - mean for of, mean in zip(points, means, strict=True)])
    slope = (around[:, 0] @ around[:, 1]) / (around[:, 0] @ around[:, 0])
    at = (means[0][0] + means[1][0]) / 2
    one, two = (seconds + slope * (at - length) for length, seconds in means)
    return 2 * one / two


def larger_models():
    """Seconds a step, most GiB in use at the end of one and most reserved within one, and difference of vLLM's log-probs, of 3B and 7B."""
    runs = [loaded(f"step/h200-{size}.json")["runs"] for size in ("3b", "7b")]
    steps = [lines(f"results/step/h200-{size}-{kind}-metrics.jsonl") for size in ("3b", "7b") for kind in ("lora", "qlora")]
    reserved = max(step["gpu/peak_reserved_gib"] for run in steps for step in run)
    off = [max(step["sampling/sampling_logp_difference/mean"] for step in run) for run in steps]
    seconds = [of[kind]["step_s"] for of in runs for kind in ("today", "4-bit")]
    gib = [of[kind]["peak_gib"] for of in runs for kind in ("today", "4-bit")]
    assert not any(step["grad_norm"] for run in steps for step in run)
    return {"s": seconds, "gib": gib, "peaks": [max(gib[:2]), max(gib[2:])], "reserved": reserved, "off": [max(off[:2]), max(off[2:])]}


def seconds_until_gone():
    return [float(s) for s in re.findall(r"killed .* all gone after (\S+) s", text_of("results/step/gpu-tests-killed.log"))]


def server_mode():
    """Its step, means; and of each counted step how far vLLM's log-probs are off."""
    steps = lines("results/step/h200-server-metrics.jsonl")
    assert all(step["time/wait_s"] == step["time/grade_s"] for step in steps), "grading waited for the last completion"
    waited = [100 * step["time/wait_s"] / step["time/grade_s"] for kind in ("lora", "qlora") for step in lines(f"results/step/h200-x1-{kind}-metrics.jsonl")]
    off = [step["sampling/sampling_logp_difference/mean"] for step in steps[1:]]
    return loaded("step/h200-server.json")["runs"]["today"] | {"low": min(off), "high": max(off), "least": min(waited), "most": max(waited)}


def seconds_by_length():
    """Of steps 2, 4, 6 and 5: seconds by the clock and mean length; the longest wait for verdicts."""
    steps = lines("results/step/h200-x1-lora-metrics.jsonl")
    took = {now["step"]: (now["elapsed_s"] - before["elapsed_s"], now["completions/mean_length"]) for before, now in zip(steps, steps[1:], strict=False)}
    return [*took[2], *took[4], *took[6], *took[5], max(step["time/wait_s"] for step in steps)]


def shared_cards():
    """Completions/s of each of the four runs, card by card, tokens/s of each card, and of a run that had its card to itself; without the first step."""
    pairs = [[THREE_SETS[0], PLAIN[1]], THREE_SETS[1:], PLAIN[:1]]
    rates = [[recipe_steps([folder])[:3:2] for folder in pair] for pair in pairs]
    tokens = [sum(rate * length for rate, length in pair) for pair in rates]
    return [rate for pair in rates[:2] for rate, _ in pair] + tokens


def layers(*names):
    return [loaded("step/layers/h100.json")["runs"][name]["s"] for name in names]


def unexplained():
    today = sampled("today")[0]
    return today | {"rest": today["step_s"] - today["generate_s"] - today["wait_s"] - today["train_s"], "least": 4 * 1.54e9 * 54_000 / 990e12}


def learning():
    before, first, second = lines("results/recipe/tried/lr-1e-4/iterations.jsonl")[:3]
    gains = [100 * (after["pass@1"] - earlier["pass@1"]) for earlier, after in ((before, first), (first, second))]
    return [gains[0], first["elapsed_s"] / 60, gains[1], (second["elapsed_s"] - first["elapsed_s"]) / 60]


BEFORE = [f"results/recipe/before/seed-{seed}" for seed in range(3)]  # the first setting
SEEDS = [f"results/recipe/seed-{seed}" for seed in range(3)]
WITHOUT_BANK = [f"results/recipe/without-the-bank/seed-{seed}" for seed in range(2)]
THREE_SETS = [f"results/recipe/three-sets/seed-{seed}" for seed in range(3)]  # the setting before
PLAIN = [f"results/recipe/plain-signatures/seed-{seed}" for seed in range(2)]  # the one between these two


def of_seeds(folders, tasks, name, row="trained"):
    """Mean over the seeds."""
    return statistics.mean(rate(f"{folder.removeprefix('results/')}/{tasks}", row, name) for folder in folders)


def humaneval():
    return [of_seeds(SEEDS, "humaneval-rs", name, row) for name in ("pass@1", "pass@5") for row in ("untrained", "trained")]


def solved_on_val(*steps):
    """% of the val completions solved at these steps by seed 0 of PLAIN: of the 72 tasks that earlier runs had, the 60 newer, those with plain signatures."""
    had = {record["task_id"] for record in lines(f"{BEFORE[0]}/evaluations.jsonl.gz")}
    solved = defaultdict(list)
    for record in lines(f"{PLAIN[0]}/evaluations.jsonl.gz"):
        part = "plain" if record["task_id"].endswith("#plain") else "had" if record["task_id"] in had else "newer"
        solved[record["step"], part].append(record["hidden_passed"] == record["hidden_total"])
    return [100 * statistics.mean(solved[step, part]) for part in ("had", "newer", "plain") for step in steps]


def kept_on_val():
    """% of the completions of the val tasks that THREE_SETS and PLAIN both have, at the step whose adapter each run kept."""
    shares, common = [], {record["task_id"] for record in lines(f"{PLAIN[0]}/evaluations.jsonl.gz")}
    for folder in THREE_SETS + PLAIN:
        best = max(lines(f"{folder}/iterations.jsonl"), key=lambda line: line["pass@1"])["step"]
        chosen = [record for record in lines(f"{folder}/evaluations.jsonl.gz") if record["step"] == best and record["task_id"] in common]
        assert len(chosen) == 179 * 5
        shares.append(100 * statistics.mean(record["hidden_passed"] == record["hidden_total"] for record in chosen))
    return shares


def on_mbpp_rs(of, folders):
    """How many completions of mbpp-rs are so: untrained, then after each run."""
    rows = [(PLAIN[0], "untrained"), *((folder, "trained") for folder in folders)]
    return [sum(map(of, (one for one in lines(f"{folder}/mbpp-rs/results.jsonl.gz") if one["row"] == row))) for folder, row in rows]


def isize_for_an_index():
    folders = [*BEFORE[1:], *PLAIN, *THREE_SETS]  # BEFORE[0] was not measured on mbpp-rs
    return on_mbpp_rs(lambda record: any("cannot be indexed by `isize`" in one["message"] for one in record["diagnostics"]), folders)


def copies_in_training():
    runs = loaded("cross/copied-examples.json")["runs"]
    own, *cross = (runs[name] for name in ("own-seed-0", "cross-seed-0", "cross-seed-1"))
    late = sum(sum(group["honest"]) for group in lines(f"{CROSS[0]}/groups.jsonl.gz") if group["step"] >= 23)
    assert late == own["honest_from_step_23"]
    return [own["of_these_with_the_example"], late], [sum(run[name] for run in cross) for name in ("with_the_example", "honest_with_the_example")]


def does_not_fit(record):
    return record["build_passed"] and record["hidden_error_kind"] == "compile"


def other_names():
    return on_mbpp_rs(does_not_fit, PLAIN + THREE_SETS)


def what_is_wrong():
    """% of the completions of mbpp-rs that do not build, and that build and fail: lowest and highest of the seeds."""
    broken = on_mbpp_rs(lambda record: not record["build_passed"], THREE_SETS)[1:]
    failing = on_mbpp_rs(lambda record: record["hidden_error_kind"] == "test_failed", THREE_SETS)[1:]
    return [100 * pick(counts) / 1770 for counts in (broken, failing) for pick in (min, max)]


def solved_early():
    """% of the completions of easy tasks that solve them in the first 10 steps, all seeds: short ones, the bank's own."""
    easy = {name: {row["task_id"] for row in lines(f"data/{name}_train.jsonl") if row["difficulty"] == "easy"} for name in ("short_tasks", "rust_tasks")}
    groups = [group for folder in THREE_SETS for group in lines(f"{folder}/groups.jsonl.gz") if group["step"] <= 10]
    solved = {name: [one for group in groups if group["task_id"].removesuffix("#signature_prompt") in of for one in group["solved"]] for name, of in easy.items()}
    return [100 * statistics.mean(of) for of in solved.values()]


def prompts_of_a_run():
    files = ("rust_tasks", "plain_signatures", "short_tasks")
    return [64 * 41, 2 * sum(len(lines(f"data/{name}_train.jsonl")) for name in files)]


def unsolved_weight():
    return 100 * statistics.mean(line["groups/unsolved_weight"] for line in lines(f"{PLAIN[0]}/metrics.jsonl"))


def of_kinds(run, name, value):
    """Per kind, untrained and trained."""
    return {kind: [value(row) for row in one["rows"]] for kind, one in loaded(f"kinds/{run}/kinds/summary.json")["kinds"].items()}[name]


def gains_of_kinds():
    """Points of pass@1 that each kind gains in the mixed run but `patch`."""
    return [100 * (after - before) for kind in ("fix", "fim", "next_edit") for before, after in [of_kinds("mixed", kind, lambda row: row["metrics"]["pass@1"]["value"])]]


def patch_answers(row):
    records = lines("results/kinds/mixed/kinds/results.jsonl.gz")
    return [record for record in records if record["kind"] == "patch" and record["row"] == row and "<<<<" not in record["completion"]]


def patches_anew():
    """Answers to `patch` that are a program, untrained and trained; trained ones with the placeholder of the prompt."""
    anew = [sum("is a program" in record["diagnostics"][0]["message"] for record in patch_answers(row)) for row in ("untrained", "trained")]
    return [*anew, sum("lines as they are" in record["completion"] for record in patch_answers("trained"))]


def own_tests_of_mixed():
    """% of the mixed run's answers on mbpp-rs that have tests of their own, and that pass them."""
    records = [record for record in lines("results/kinds/mixed/mbpp-rs/results.jsonl.gz") if record["row"] == "trained"]
    return [100 * statistics.mean("#[test]" in record["completion"] for record in records), rate("kinds/mixed/mbpp-rs", "trained", "tests")]


def second_try():
    rows = tables.table_with(text_of("results/kinds/mixed/mbpp-rs-second-try/table.md"), ("pass@1 %", "honest %", ""))
    return [float(row["pass@1 %"].split()[0]) for row in rows if row[""] == "difference"]


SPANS = range(1, 11), range(11, 16), range(16, 99)


def recipe_steps(folders):
    """Lowest and highest of the recipe's seeds, without the first step: completions/s, tokens, seconds of a step and of waiting; most GiB in use."""
    spans = defaultdict(list)
    for folder in folders:
        metrics = lines(f"{folder}/metrics.jsonl")
        mean_of = lambda name: statistics.mean(line[name] for line in metrics[1:])  # noqa: B023
        spans["rate"].append(512 / mean_of("step_time"))
        for name in ("completions/mean_length", "step_time", "time/wait_s"):
            spans[name].append(mean_of(name))
        spans["gib"].append(max(line["gpu/device_used_gib"] for line in metrics))
    return [*(pick(values) for name, values in spans.items() if name != "gib" for pick in (min, max)), max(spans["gib"])]


def best_on_val(folder):
    return 100 * max(line["pass@1"] for line in lines(f"results/recipe/{folder}/iterations.jsonl"))


def val_of_seeds():
    """Val pass@1 untrained, lowest and highest of the seeds after 10 steps, and at their last steps; the lowest and highest own pass rates."""
    runs = [lines(f"{folder}/iterations.jsonl") for folder in BEFORE]
    spans = [min, max]
    at = lambda i, name: [100 * pick(run[i][name] for run in runs) for pick in spans]
    return [100 * runs[0][0]["pass@1"], *at(1, "pass@1"), *at(-1, "pass@1"), *at(1, "train_pass_rate"), *at(-1, "train_pass_rate")]


def built_and_right():
    """Val: builds untrained, lowest and highest after 10 steps; of these, right."""
    runs = [lines(f"{folder}/iterations.jsonl") for folder in BEFORE]
    builds = [100 * run[1]["build_rate"] for run in runs]
    right = [100 * run[1]["pass@1"] / run[1]["build_rate"] for run in runs]
    first = runs[0][0]
    return [100 * first["build_rate"], min(builds), max(builds), 100 * first["pass@1"] / first["build_rate"], min(right), max(right)]


def solved_by_sight(*steps, seen, folders=BEFORE):
    """% of completions that solve their task in these steps: `first` time that the run samples the prompt, `again`, or, of prompts that
    it samples for the first time, those of a `new` task and those whose task it knows in its `other` wording."""
    counts = Counter()
    for folder in folders:
        before, groups = set(), lines(f"{folder}/groups.jsonl.gz")
        for step in range(1, groups[-1]["step"] + 1):
            of_step, tasks = [group for group in groups if group["step"] == step], {prompt.split("#")[0] for prompt in before}
            for group in of_step if step in steps else ():
                prompt = group["task_id"]
                kinds = {"again"} if prompt in before else {"first", "other" if prompt.split("#")[0] in tasks else "new"}
                if seen in kinds:
                    counts.update(solved=sum(group["solved"]), n=len(group["solved"]))
            before |= {group["task_id"] for group in of_step}
    return 100 * counts["solved"] / counts["n"]


@cache
def of_unsolved_groups():
    """% of the trained |advantage| in groups without a solution, over the recipe's seeds: as it was, scaled by the batch, chosen by
    spread, both; then groups a step with a solution and a failure, and how many of these were trained on."""
    weights, mixed, trained_mixed, n_steps = defaultdict(Counter), 0, 0, 0
    for folder in BEFORE:
        steps = defaultdict(list)
        for group in lines(f"{folder}/groups.jsonl.gz"):
            steps[group["step"]].append(group)
        for groups in steps.values():
            ways = {"as it was": [group for group in groups if group["is_trained"]]}
            ways["spread"] = sorted(groups, key=lambda group: -statistics.pstdev(group["rewards"]))[: len(ways["as it was"])]
            for way, chosen in ways.items():
                for group in chosen:
                    mean, spread = statistics.mean(group["rewards"]), statistics.stdev(group["rewards"])
                    differences = sum(abs(reward - mean) for reward in group["rewards"])
                    weights[way, "batch"][any(group["solved"])] += differences
                    weights[way, "group"][any(group["solved"])] += differences / (spread + 1e-4)
            both = [group for group in groups if 0 < sum(group["solved"]) < len(group["solved"])]
            mixed, trained_mixed, n_steps = mixed + len(both), trained_mixed + sum(group["is_trained"] for group in both), n_steps + 1
    order = [("as it was", "group"), ("as it was", "batch"), ("spread", "group"), ("spread", "batch")]
    return [*(100 * weights[way][False] / sum(weights[way].values()) for way in order), mixed / n_steps, trained_mixed / n_steps]


def own_precision():
    return interval(loaded("cross/precision-mbpp-rs-lora.json")["metrics"]["honest_tests_precision"])


def cases():
    attacks, honest = lines("tests/cases/attacks.jsonl"), lines("tests/cases/honest.jsonl")
    n_open = sum(bool(case.get("open")) for case in attacks)
    return len(attacks), len(attacks) - n_open, n_open, len(honest)


def attacks_paid():
    """By the judge that was mended after each round: how many of the wrong functions."""
    rounds = [one for one in loaded("attacks/rounds.json") if one["name"].startswith("round")]
    return sum(one["n"] for one in rounds), sum(one["paid"]["after"] for one in rounds)


def prompts_only():
    """Minutes of the runs on MBPP prompts with own tests, and rates on 200 held-out prompts, before and after."""
    return [statistics.mean(minutes_of(OWN_SEEDS)), *(rate(f"{OWN}/mbpp-eval", row, name) for name in ("build", "tests") for row in ("base", "own-0", "own-1"))]


def parameters():
    data = (ROOT / "models" / "tiny-coder" / "model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    sizes = [one["shape"] for name, one in header.items() if name != "__metadata__"]
    return sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in sizes), len(data)


def splits():
    return [len(lines(f"data/rust_tasks_{split}.jsonl")) for split in ("train", "val", "test")]


def bank(difficulty, heading="all hidden tests %", name="bank"):
    """What the untrained model solves of a set of our tasks."""
    (table,) = tables.read_tables(tables.bank("results/task-bank/untrained.jsonl.gz", "difficulty", name) + "\n")
    return next(row[heading] for row in table if row["difficulty"] == difficulty)


def easy_and_medium(*names):
    return [bank(difficulty, name=name).split()[0] for name in names for difficulty in ("easy", "medium")]


def proof(name="proof"):
    report = loaded(f"task-bank/{name}.json")
    return report["proved"], report["mutants"]["killed"], report["mutants"]["compiled"]


def whole_proof():
    proved, killed, compiled = map(sum, zip(proof(), proof("proof-added"), strict=True))
    return proved, 100 * killed / compiled, compiled


def mean(folder, name):
    values = [line[name] for line in lines(f"results/{folder}/metrics.jsonl")]
    return sum(values) / len(values)


@cache
def phases(folder):
    """Least and most seconds of grading and of a step, over the steps in which a program took the 5 s limit and over those without; how many of these."""
    folder = f"hidden-against-own-tests-1.5b/train-{folder}-tests"
    looped = {record["step"] for record in lines(f"results/{folder}/trace.jsonl.gz") if record["duration_s"] >= 5}
    seconds = {True: [], False: []}
    for line in lines(f"results/{folder}/metrics.jsonl"):
        seconds[line["step"] in looped].append((line["time/grade_s"], sum(line[name] for name in tables.PHASES)))
    grading, steps = zip(*seconds[True], strict=True)
    return {"grade": (min(grading), max(grading)), "step": (min(steps), max(steps)), "without": sorted(grade for grade, _ in seconds[False])}


@cache
def solved():
    found = defaultdict(list)
    for run in ("hidden", "own"):
        for record in lines(f"results/hidden-against-own-tests-1.5b/train-{run}-tests/trace.jsonl.gz"):
            found[record["columns"]["difficulty"]].append((record["task_id"], record["hidden_passed"] == record["hidden_total"]))
    everything = sum(found.values(), [])
    shares = [100 * sum(solved for _, solved in found[name]) / len(found[name]) for name in ("easy", "medium", "hard")]
    return shares, len({task for task, _ in everything}), len({task for task, solved in everything if solved})


def kinds_card(name):
    """What the three splits together hold, most first."""
    counts = Counter()
    for split in ("train", "val", "test"):
        counts.update(json.loads((ROOT / "data" / "kinds_card.json").read_text())[split][name])
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def named(counts):
    return ", ".join(f"{name} {count}" for name, count in counts)


def first_errors():
    (_, failing), *codes = kinds_card("rustc")
    often = [(code, count) for code, count in codes if count > 6]
    rare = [count for _, count in codes if count <= 6]
    return [failing, named(often), len(rare), sum(rare)]


def edits_made():
    return [named(kinds_card("edits")), sum(count for name, count in kinds_card("edits") if name.endswith("renamed"))]


def n_kinds():
    return [sum(count for _, count in kinds_card("kinds"))]


def default_weights():
    return [interval(loaded(f"tiny/default-weights/seed-{seed}.json")["differences"][0]["metrics"]["honest_tests"], "+.1f")[1:] for seed in (0, 1, 2)]


RUNS = "hidden-against-own-tests-1.5b"


def evaluation_seconds():
    """Of `speed-780.md`, as eval.py printed them."""
    return re.findall(r"(?:generate|grade)_s (\d+\.\d)", text_of(f"results/{RUNS}/speed-780.md"))


def pass_rates(k):
    cells = {row: one[f"pass@{k} %"] for row, one in table_cells(f"{RUNS}/mbpp-rs.md").items()}
    of_rows = [cells[f"**{row}**"].split()[0] for row in ("before", "hidden-tests", "own-tests")]
    return [*of_rows[:2], change(cells["hidden-tests - before"]), of_rows[2], change(cells["own-tests - before"])]


def own_tests_and_tokens():
    cells = table_cells(f"{RUNS}/mbpp-eval.md")
    return [cells["**before**"]["tests %"].split()[0], *(float(cells[f"**{row}**"]["tokens"].split()[0]) for row in ("before", "hidden-tests"))]


def mismatch(run):
    return [mean(f"train-{run}-1.5b", "sampling/sampling_logp_difference/mean"), 100 * mean(f"train-{run}-1.5b", "sampling/masked_share")]


def coin_tosses():
    found = loaded("mbpp-eval-1.5b/coin-tosses.json")
    chosen = [record for record in lines(found["file"]) if record["build_passed"] and record["tests"] and re.search("HashMap|HashSet", record["completion"])]
    assert len(chosen) == found["n"]
    return [len(chosen), len(found["changed"]), found["gradings"]]


def throughput():
    found = loaded("judge-benchmark/16-cores-512.json")
    return [*(found[name]["wall_s"] for name in ("batch_512", "batch_512_again", "batch_512_ten_loop")), *(found[f"batch_128_{n}_workers"]["per_s"] for n in (16, 1))]


def cpu_of_a_completion():
    own, hidden = loaded("judge-benchmark/parts.json")["completion"], loaded("judge-benchmark/parts-hidden.json")["completion"]
    return [*(own[name] for name in ("compilations", "runs", "mutants", "this process")), hidden["hidden compilations"], hidden["hidden runs"]]


def start_up_and_rest():
    parts, rows = loaded("judge-benchmark/parts.json"), loaded("judge-benchmark/cargo-two-cores.json")
    tuned_ms, ours_ms = (next(1000 * row["cpu_s"] for row in rows["rows"] if row["name"] == name) for name in ("tuned", "judge"))
    code, start_up = parts["binary"]["code"] - parts["empty"]["code"], parts["start_up_ms"]
    return [tuned_ms, ours_ms, code, start_up, start_up / rows["n"], rows["n"], start_up / 512]


def hidden_then_own():
    hidden, own = phases("hidden"), phases("own")
    return [*hidden["grade"], *hidden["step"], hidden["without"][0], hidden["without"][2]], [*own["grade"], *own["step"], *own["without"]]


CROSS = [f"results/cross/{rewards}-seed-{seed}" for rewards in ("own", "cross", "hidden") for seed in (0, 1)]


def gains_of(folders, tasks="mbpp-rs", name="pass@1"):
    """In points, of trained over untrained."""
    at = lambda folder, row: rate(f"{folder.removeprefix('results/')}/{tasks}", row, name)
    return [at(folder, "trained") - at(folder, "untrained") for folder in folders]


def share_of_gain():
    _, _, cross_0, cross_1, hidden_0, hidden_1 = gains_of(CROSS)
    pairs = (cross_0 + cross_1, hidden_0 + hidden_1), (cross_0, hidden_0), (cross_1, hidden_1)
    mean, *shares = (100 * cross / hidden for cross, hidden in pairs)
    gains = []  # by task: of both cross runs, of both hidden ones
    for folders in (CROSS[2:4], CROSS[4:]):
        by_task = defaultdict(float)
        for record in (record for folder in folders for record in lines(f"{folder}/mbpp-rs/results.jsonl.gz")):
            is_right = record["hidden_passed"] == record["hidden_total"]
            by_task[record["task_id"]] += is_right if record["row"] == "trained" else -is_right
        gains.append([[gain] for _, gain in sorted(by_task.items())])
    low, high = bounds(100 * bootstrap(*map(np.array, gains), tables.RESAMPLES)[:, 0])
    return {"mean": mean, "gains": [cross_0, cross_1, hidden_0, hidden_1], "shares": shares, "low": low, "high": high}


def trained_twice():
    """Completions before the first step in which two runs of one seed sampled others, and groups of other rewards among them."""
    again, first = (lines(f"{CROSS[5]}/{name}groups.jsonl.gz") for name in ("", "first-run/"))
    pairs = list(zip(again, first, strict=True))
    parted = min(one["step"] for one, other in pairs if one["tokens"] != other["tokens"])
    same = [pair for pair in pairs if pair[0]["step"] < parted]
    assert parted == 5 and [one["task_id"] for one, other in same if one["rewards"] != other["rewards"]] == ["rust-tasks/short/latest_answers"]
    return [sum(len(one["tokens"]) for one, _ in same)]


def beside_the_recipe():
    return [100 * statistics.mean(gains_of(CROSS[2:4])) / statistics.mean(gains_of(SEEDS))]


def groups_of_steps(folder, first, last):
    return [group for group in lines(f"{folder}/groups.jsonl.gz") if first <= group["step"] <= last]


def mixed(groups):
    """% of the groups that hold a solution and a failure."""
    return 100 * statistics.mean(0 < sum(group["solved"]) < len(group["solved"]) for group in groups)


def share_in(groups, values):
    found = [value for group in groups for value in values(group)]
    return 100 * sum(found) / len(found)


def solved_in_training():
    late = [share_in(groups_of_steps(folder, 21, 26), lambda group: group["solved"]) for folder in CROSS[2:]]
    early = [share_in(groups_of_steps(folder, 1, 6), lambda group: group["solved"]) for folder in CROSS]
    return [*late, min(early), max(early)]


def built_and_right_of_cross():
    def of(folder, row):
        built = [record for record in lines(f"{folder}/mbpp-rs/results.jsonl.gz") if record["row"] == row and record["build_passed"]]
        return 100 * len(built) / 1770, 100 * statistics.mean(record["hidden_passed"] == record["hidden_total"] for record in built)

    builds, rights = zip(*(of(folder, "trained") for folder in CROSS), strict=True)
    before = of(CROSS[0], "untrained")
    return [min(builds), max(builds), before[0], min(rights), max(rights), before[1]]


def copied_examples():
    """Honest passes of the run that copied, the share of each run's that is right, and how many are left when graded again."""
    honest = {folder: [record for record in lines(f"{folder}/mbpp-rs/results.jsonl.gz") if record["row"] == "trained" and record["test_passed"] and record["honest_tests"]]
              for folder in CROSS[:4]}  # fmt: skip
    right = [100 * statistics.mean(record["hidden_passed"] == record["hidden_total"] for record in records) for records in honest.values()]
    again = loaded("cross/own-seed-0/graded-again.json")
    assert again["honest"][0] == len(honest[CROSS[0]])
    return [again["honest"][0], right[0], right[1], *right[2:]], [again["honest"][1]]


def right_above_wrong():
    shares = []
    for folder in CROSS[2:4]:
        pairs = [(group["agreement"][right] or 0, group["agreement"][wrong] or 0) for group in lines(f"{folder}/groups.jsonl.gz")
                 for right, is_right in enumerate(group["solved"]) if is_right
                 for wrong, builds in enumerate(group["builds"]) if builds and not group["solved"][wrong]]  # fmt: skip
        shares.append([100 * statistics.mean(right > wrong for right, wrong in pairs), 100 * statistics.mean(right == wrong for right, wrong in pairs)])
    silent = [share_in(groups_of_steps(folder, *steps), lambda group: [one is None for one in group["agreement"]]) for steps in ((1, 6), (21, 26)) for folder in CROSS[2:4]]
    return [*(shares[run][which] for which in (0, 1) for run in (0, 1)), *silent]


def misfits():
    untrained, *own, cross_0, cross_1, hidden_0, hidden_1 = on_mbpp_rs(does_not_fit, CROSS)
    return [cross_0, cross_1, *own, hidden_0, hidden_1, untrained]


def picked_by_own_tests():
    shares = []
    for folder in CROSS[2:4]:
        groups = defaultdict(list)
        for record in lines(f"{folder}/mbpp-rs/results.jsonl.gz"):
            if record["row"] == "trained":
                groups[record["task_id"]].append(record)
        key = lambda record: (record["build_passed"], record["test_passed"] and record["honest_tests"], -record["sample"])
        picks = [max(group, key=key) for group in groups.values()]
        shares.append(100 * statistics.mean(record["hidden_passed"] == record["hidden_total"] for record in picks))
    return shares


def steps_of_cross():
    runs = [[line for line in lines(f"{folder}/metrics.jsonl") if "reward" in line] for folder in CROSS]
    seconds = [(run[-1]["elapsed_s"] - run[0]["elapsed_s"]) / (len(run) - 1) for run in runs]
    assert [len(run) for run in runs] == [32, 32, 26, 26, 36, 36]
    return seconds, minutes_of(CROSS[4:])


def first_record():
    """Of the groups of a run that sampled every prompt alike, % that hold a solution and a failure: all, by the record's weights, its top and last third."""
    record = TaskRecord(lines("results/recipe/first_record.jsonl"))
    groups = [(record.weight(group["task_id"], 8), 0 < sum(group["solved"]) < 8) for group in lines(f"{CROSS[5]}/groups.jsonl.gz")]
    share = lambda chosen: 100 * statistics.mean(has_signal for _, has_signal in chosen)
    by_weight = 100 * sum(weight * has_signal for weight, has_signal in groups) / sum(weight for weight, _ in groups)
    groups.sort(reverse=True)
    of_recipe = [mixed(lines(f"{folder}/groups.jsonl.gz")) for folder in THREE_SETS]
    n_known, third = len(lines("results/recipe/first_record.jsonl")[0]["outcomes"]), len(groups) // 3
    return [n_known, share(groups), by_weight, share(groups[:third]), share(groups[-third:]), min(of_recipe), max(of_recipe)]


def first_groups(run, of=str):
    """The first group of each prompt in a run; with an `of` that leaves the wording out of a prompt's id, of each task."""
    first = {}
    for group in lines(f"{run}/groups.jsonl.gz"):
        first.setdefault(of(group["task_id"]), group)
    return list(first.values())


def new_prompts_by_record():
    """Of the groups of basic and example tasks that a run samples for the first time after step 10, % that hold both: all, by what the untrained model
    makes of the task, by what the other runs know of the prompt; the least and the most over four runs."""
    untrained = TaskRecord([{"step": 0, **tallied((one["task_id"], one["hidden_passed"] == one["hidden_total"], ()) for one in lines("results/task-bank/untrained.jsonl.gz"))}])
    every, found = [*SEEDS[:2], *WITHOUT_BANK, *EXAMPLE_RUNS], []
    for target in (*SEEDS[:2], *EXAMPLE_RUNS[1:]):
        known = TaskRecord([make_first_record.record([folder.removeprefix("results/") for folder in every if folder != target])])
        new = [group for group in first_groups(target) if group["step"] > 10 and ("/basic/" in group["task_id"] or "/example/" in group["task_id"])]
        weights = [[1.0, untrained.weight(group["task_id"].split("#")[0], 8), known.weight(group["task_id"], 8)] for group in new]
        has_both = [0 < sum(group["solved"]) < len(group["solved"]) for group in new]
        found.append(100 * np.average(np.tile(has_both, (3, 1)).T, axis=0, weights=weights))
    return [of(column) for column in zip(*found, strict=True) for of in (min, max)]


WITH_RECORD = ["results/recipe/first-record/seed-0", "results/recipe/first-record/seed-1"]


def with_first_record():
    """mbpp-rs with the first record and without, seed by seed; the difference of the seeds' means, by task; groups that hold a solution and a failure; minutes."""
    with_it, without = ([("results/recipe/first-record/mbpp-rs", f"{row}-{seed}") for seed in range(2)] for row in ("record", "uniform"))
    found = dict(zip(("gain_first", "gain_fifth"), beside(with_it, without), strict=True))
    for name, of in (("first", statistics.mean), ("fifth", max)):
        found[name] = [100 * statistics.mean(by_task(folder, row, of).values()) for folder, row in with_it + without]
        found[f"means_{name}"] = [statistics.mean(found[name][:2]), statistics.mean(found[name][2:])]
    groups = [lines(f"{folder}/groups.jsonl.gz") for folder in (*WITH_RECORD, *CROSS[4:])]
    found["signal"] = list(map(mixed, groups))
    found["prompts"] = [len({group["task_id"] for group in of}) for of in groups]
    found["late"] = [100 * statistics.mean(statistics.mean(group["solved"]) for group in of if group["step"] > 24) for of in groups]
    found["minutes"] = minutes_of(WITH_RECORD)
    return found


def same_prompts():
    """Prompts that runs with the first record and runs without sampled in the last third of their steps, and % of the completions that solve them."""
    found = []
    for folders in (WITH_RECORD, CROSS[4:]):
        of_prompt = defaultdict(list)
        for folder in folders:
            for group in lines(f"{folder}/groups.jsonl.gz"):
                if group["step"] > 24:
                    of_prompt[group["task_id"]].append(statistics.mean(group["solved"]))
        found.append(of_prompt)
    both = found[0].keys() & found[1].keys()
    return len(both), *(100 * statistics.mean(statistics.mean(of_prompt[task]) for task in both) for of_prompt in found)


def judged_again():
    """Completions of the runs without a first record, and of the untrained model, whose verdict is another with today's judge; of how many."""
    rows = {"untrained": (CROSS[5], "untrained"), "uniform-0": (CROSS[4], "trained"), "uniform-1": (CROSS[5], "trained")}
    again = lines("results/recipe/first-record/mbpp-rs/results.jsonl.gz")
    differ = n = 0
    for name, (folder, row) in rows.items():
        before = {(one["task_id"], one["sample"]): one for one in lines(f"{folder}/mbpp-rs/results.jsonl.gz") if one["row"] == row}
        for one in again:
            if one["row"] == name:
                was = before.pop((one["task_id"], one["sample"]))
                assert was["completion"] == one["completion"]
                differ, n = differ + (was["hidden_statuses"] != one["hidden_statuses"]), n + 1
        assert not before
    return differ, n


def by_task(folder, row, of):
    """{task: `of` its completions' being right}."""
    right = defaultdict(list)
    for record in lines(f"{folder}/results.jsonl.gz"):
        if record["row"] == row:
            right[record["task_id"]].append(record["hidden_passed"] == record["hidden_total"] > 0)
    return {task: float(of(outcomes)) for task, outcomes in right.items()}


def test_the_first_record_is_what_the_runs_say():
    assert lines("results/recipe/first_record.jsonl") == [make_first_record.record()]


def graded_again():
    found = loaded("cross/hidden-seed-1/graded-again.json")
    differ = found["differ"]
    hashed = [one for one in differ if one["has_hash_collection"]]
    solved = [one for one in differ if (set(one["was"]) == {"ok"}) != (set(one["again"]) == {"ok"})]
    assert all(one in hashed for one in solved) and all("timeout" in one["was"] + one["again"] for one in differ if one not in hashed)
    programs, version_9 = found["programs_that_build"], found["version_9"]
    assert version_9["gradings"] == 3
    with_hash = found["with_hash_collection"]
    return [len(differ), programs, len(hashed), with_hash, len(solved), len(differ) - len(hashed), version_9["programs"], version_9["differ"]]


def without_the_frontier():
    sampled = [sum(len(group["tokens"]) for group in lines(f"{folder}/groups.jsonl.gz")) for folder in THREE_SETS]
    assert {sum(len(group["tokens"]) for group in lines(f"{folder}/groups.jsonl.gz")) for folder in CROSS[4:]} == {36 * 256}
    first, fifth = ([rate(f"{folder.removeprefix('results/')}/mbpp-rs", "trained", name) for folder in CROSS[4:]] for name in ("pass@1", "pass@5"))
    return {"sampled": [min(sampled), max(sampled)], "first": first, "fifth": fifth, "means": [statistics.mean(first), statistics.mean(fifth)]}


def two_updates():
    """Solved in training, two updates a batch against one, in points with their interval, of all steps and after the first third; groups; clipped tokens."""
    one, two = (lines(f"{folder}/groups.jsonl.gz") for folder in (CROSS[5], "results/recipe/two-updates"))
    assert [group["task_id"] for group in one] == [group["task_id"] for group in two]
    pairs = [(group["step"], statistics.mean(other["solved"]) - statistics.mean(group["solved"])) for group, other in zip(one, two, strict=True)]
    found = []
    for first_step in (1, 13):
        found.append(mean_gain([gain for step, gain in pairs if step >= first_step]))
    clipped = statistics.mean(line["clip_ratio/region_mean"] for line in lines("results/recipe/two-updates/metrics.jsonl") if "clip_ratio/region_mean" in line)
    return [found[0], len(pairs), found[1], 100 * clipped]


SPARK = "results/recipe/spark-code-a-v2"


def of_spark(name, folder="recipe/spark-code-a-v2/humaneval-rs"):
    return [*(rate(folder, row, name) for row in ("untrained", "trained")), difference(folder, name)]


def updates_of_spark():
    """Of SPARK-Code's six iterations: groups with signal, % of tokens whose ratio is clipped, seconds of the first update; least and most of each."""
    found = lines(f"{SPARK}/metrics.jsonl")
    parts = [found[first : first + 143] for first in range(0, 858, 143)]
    clipped = [100 * statistics.mean(line["clip_ratio/region_mean"] for line in part) for part in parts]
    each = ([part[0]["groups/trained"] for part in parts], clipped, [part[0]["time/train_s"] for part in parts])
    return [value for values in each for value in (min(values), max(values))]


MATCHED = "results/recipe/matched"
UNKNOWN_NAMES = {"E0405", "E0412", "E0422", "E0423", "E0425", "E0432", "E0433"}


def set_of(task_id):
    return "plain" if task_id.endswith("#plain") else "short" if "/short/" in task_id else "bank"


def sampled_before(run):
    """Groups of a run, each with how often its task was sampled in the steps before."""
    times = Counter()
    for _, groups in itertools.groupby(lines(f"{MATCHED}/{run}/groups.jsonl.gz"), key=itemgetter("step")):
        groups = list(groups)
        yield from ((group, times[group["task_id"]]) for group in groups)
        times.update(group["task_id"] for group in groups)


def seen_before(first_step=31):
    """Of tasks that one run had not seen after step 30 and another had twice or more: % solved there, % solved here, the difference; how many tasks."""
    outcomes = []
    for run in ("seed-0", "seed-1", "entropy-0"):
        found = {"never": defaultdict(list), "twice": defaultdict(list)}
        for group, times in sampled_before(run):
            if group["step"] >= first_step and times != 1:
                found["twice" if times else "never"][group["task_id"]].append(statistics.mean(group["solved"]))
        outcomes.append(found)
    of_task = defaultdict(list)
    for one, other in itertools.permutations(outcomes, 2):
        for task in one["never"].keys() & other["twice"].keys():
            of_task[task].append([statistics.mean(one["never"][task]), statistics.mean(other["twice"][task])])
    pairs = np.array([np.mean(of_task[task], axis=0) for task in sorted(of_task)])
    return [*100 * pairs.mean(axis=0), mean_gain(pairs[:, 1] - pairs[:, 0]), len(pairs)]


def late_and_new(first_step=61):
    """% of the late completions that solve their task, of tasks sampled four times or more before, each seed."""
    late = [[group for group, times in sampled_before(run) if group["step"] >= first_step and times >= 4] for run in ("seed-0", "seed-1")]
    return [100 * statistics.mean(solved for group in groups for solved in group["solved"]) for groups in late]


def share_by_row(file, rows, is_so, which=None):
    """% of each row's completions, of one of the sets of val or of all, of which something is so."""
    found = defaultdict(list)
    for record in lines(file):
        if which in (None, set_of(record["task_id"])):
            found[record["row"]].append(is_so(record))
    return [100 * statistics.mean(found[row]) for row in rows]


def on_val(which):
    """% that passes every hidden test on one of the three sets of val: untrained, the recipe's three runs, these three."""
    rows = ("untrained", "recipe-0", "recipe-1", "recipe-2", "matched-0", "matched-1", "entropy-0")
    return share_by_row(f"{MATCHED}/val/results.jsonl.gz", rows, lambda record: record["hidden_passed"] == record["hidden_total"] > 0, which)


def uses_unknown_name(record):
    """Whether a completion does not build and uses a name that is nowhere defined."""
    return not record["build_passed"] and any(one["code"] in UNKNOWN_NAMES for one in record["diagnostics"])


def matched_names():
    """% that uses an unknown name: on the bank's val after the recipe and after these runs, on mbpp-rs after these and after those with the first record."""
    after = ("matched-0", "matched-1", "entropy-0")
    val = share_by_row(f"{MATCHED}/val/results.jsonl.gz", ("recipe-0", "recipe-1", "recipe-2", *after), uses_unknown_name, "bank")
    held_out = share_by_row(f"{MATCHED}/mbpp-rs/results.jsonl.gz", after, uses_unknown_name)
    return val + held_out + share_by_row("results/recipe/first-record/mbpp-rs/results.jsonl.gz", ("record-0", "record-1"), uses_unknown_name)


def matched_means():
    """pass@1 and pass@5 on mbpp-rs and val, means of the two seeds (of the recipe's three on val); `val` and `mbpp-rs`: their gain there in pass@1 beside
    the recipe's runs and those with the first record; seconds of a step, entropy of the last ten."""
    mean = lambda folder, rows, name: statistics.mean(rate(folder, row, name) for row in rows)
    of = {name: [mean("recipe/matched/mbpp-rs", ("matched-0", "matched-1"), name), mean("recipe/matched/val", ("matched-0", "matched-1"), name),
                 mean("recipe/matched/val", ("recipe-0", "recipe-1", "recipe-2"), name)] for name in ("pass@1", "pass@5")}  # fmt: skip
    others = {"val": ("matched/val", [f"recipe-{seed}" for seed in range(3)]), "mbpp-rs": ("first-record/mbpp-rs", ["record-0", "record-1"])}
    for name, (folder, rows) in others.items():
        of[name], _ = beside([(f"{MATCHED}/{name}", f"matched-{seed}") for seed in range(2)], [(f"results/recipe/{folder}", row) for row in rows])
    runs = [lines(f"{MATCHED}/{run}/metrics.jsonl") for run in ("seed-0", "seed-1", "entropy-0")]
    last = [statistics.mean(line["entropy"] for line in run[-10:]) for run in runs]
    return of | {"step": [statistics.mean(line["step_time"] for line in run) for run in runs], "entropy": last}


def of_trained(folders, tasks="mbpp-rs"):
    """(folder, row) of each run's evaluation."""
    return [(f"{folder}/{tasks}", "trained") for folder in folders]


OWN = "own-tests-1.5b"
OWN_SEEDS = [f"results/{OWN}/seed-{seed}" for seed in range(2)]
WITH_EXAMPLES = [("results/recipe/example-tasks/mbpp-rs", f"example-{seed}") for seed in range(3)]
EXAMPLE_RUNS = [f"results/recipe/example-tasks/seed-{seed}" for seed in range(3)]
IN_VAL = {
    name: [("results/recipe/val", f"{row}-{seed}") for seed in range(n)]
    for name, row, n in (("all", "seed", 3), ("without", "without-the-bank", 2), ("examples", "example", 3))
}


def beside(ours, theirs):
    """Differences of the runs' means in pass@1 and pass@5, by task, with intervals."""
    gains = []
    for of in (statistics.mean, max):
        one, other = ([by_task(folder, row, of) for folder, row in rows] for rows in (ours, theirs))
        gains.append(mean_gain([statistics.mean(run[task] for run in one) - statistics.mean(run[task] for run in other) for task in sorted(one[0])]))
    return gains


MBPP_OF_SEEDS = [(f"recipe/seed-{seed}/mbpp-rs", "trained") for seed in range(3)]
BRIEF = [("recipe/brief/mbpp-rs", "brief-2")]
BRIEF_RUN = "results/recipe/brief/seed-2"


def in_five_tries():
    """Points that pass@5 misses the goals of 62 and 66 % by, and what it is."""
    reached = [of_seeds(SEEDS, tasks, "pass@5") for tasks in ("mbpp-rs", "humaneval-rs")]
    return [goal - rounded for goal, rounded in zip((62, 66), (round(value, 1) for value in reached), strict=True)] + reached


def between_seeds():
    """Highest less lowest pass@1 of the recipe's seeds, on mbpp-rs and on val."""
    found = [[rate(folder, row, "pass@1") for folder, row in MBPP_OF_SEEDS], [rate("recipe/val", f"seed-{seed}", "pass@1") for seed in range(3)]]
    return [max(values) - min(values) for values in found]


def repeated_comments():
    """% of each seed's completions on mbpp-rs that repeat the prompt's `///`; how often untrained ones are right with and without it, on tasks that have both."""
    repeats = [100 * statistics.mean("///" in row["completion"] for row in lines(f"results/{folder}/results.jsonl.gz") if row["row"] == "trained") for folder, _ in MBPP_OF_SEEDS]
    assert repeats[:2] == [100, 100]
    by = defaultdict(lambda: ([], []))
    for row in lines("results/recipe/seed-0/mbpp-rs/results.jsonl.gz"):
        if row["row"] == "untrained":
            by[row["task_id"]]["///" in row["completion"]].append(row["hidden_passed"] == row["hidden_total"] > 0)
    both = [tuple(map(statistics.mean, kinds)) for kinds in by.values() if all(kinds)]
    without, with_it = (100 * statistics.mean(column) for column in zip(*both, strict=True))
    return {"repeats": repeats, "tasks": len(both), "with_it": with_it, "without": without}


def answered_again():
    """Of seed 1's completions inside the run at steps 90 and 45, % that its evaluation on val has, to the character."""
    after = {(row["task_id"], row["completion"]) for row in lines("results/recipe/val/results.jsonl.gz") if row["row"] == "seed-1"}
    inside = lines(f"{SEEDS[1]}/evaluations.jsonl.gz")
    return [100 * statistics.mean((row["task_id"], row["completion"]) in after for row in inside if row["step"] == step) for step in (90, 45)]


def brief_beside():
    """pass@1 and pass@5 of the run with a reward for being short, beside the recipe's three seeds and beside seed 2: on val and on mbpp-rs."""
    on_val, on_mbpp = [("results/recipe/val", "brief-2")], [(f"results/{folder}", row) for folder, row in BRIEF]
    return [gain for n in (0, 2) for ours, theirs in ((on_val, IN_VAL["all"]), (on_mbpp, of_trained(SEEDS))) for gain in beside(ours, theirs[n:])]


PASS_AT_K = [f"results/recipe/pass-at-k/pass-at-{k}" for k in (4, 2)]


def pass_at_k_beside():
    """pass@1 and pass@5 of the runs with k = 2 and k = 4 beside the recipe's three seeds: on val and on mbpp-rs."""
    folders = (("val", IN_VAL["all"]), ("pass-at-k/mbpp-rs", of_trained(SEEDS)))
    return [gain for k in (2, 4) for folder, seeds in folders for gain in beside([(f"results/recipe/{folder}", f"pass-at-{k}-0")], seeds)]


def of_few_solutions(run):
    """Of what a run's trained completions earned above or below their group's mean, % in groups with one to three solutions."""
    earned = [(sum(group["solved"]), sum(abs(reward - statistics.mean(group["rewards"])) for reward in group["rewards"]))
              for group in lines(f"{run}/groups.jsonl.gz") if group["is_trained"]]  # fmt: skip
    return 100 * sum(value for solved, value in earned if 1 <= solved <= 3) / sum(value for _, value in earned)


def in_four_tries(run):
    """Of the basic tasks that a run samples for the first time after step 30, % that four tries solve."""
    new = [group["solved"] for group in first_groups(run, lambda prompt_id: prompt_id.split("#")[0]) if group["step"] > 30 and "/basic/" in group["task_id"]]
    return 100 * statistics.mean(pass_at_k(len(solved), sum(solved), 4) for solved in new)


def answered_alike(folder, row):
    """Of the tasks of mbpp-rs, % whose five completions are one text, white space aside."""
    texts = defaultdict(set)
    for record in lines(f"results/{folder}/results.jsonl.gz"):
        if record["row"] == row:
            texts[record["task_id"]].add(" ".join(record["completion"].split()))
    return 100 * statistics.mean(len(of_task) == 1 for of_task in texts.values())


def with_pass_at_k(value_of):
    """Of the runs with k = 4 and k = 2, and the least and most of the recipe's three seeds."""
    of_seeds = [value_of(run) for run in SEEDS]
    return [*map(value_of, PASS_AT_K), min(of_seeds), max(of_seeds)]


COOLER = [f"results/recipe/cooler/seed-{seed}" for seed in range(2)]
COOLER_ON = [("results/recipe/val", "cooler-0"), ("results/recipe/cooler/mbpp-rs", "cooler-0")]


def cooler_beside():
    """pass@1 and pass@5 of the run at temperature 0.5 beside the recipe's three seeds: on val and on mbpp-rs."""
    return [gain for ours, seeds in zip(COOLER_ON, (IN_VAL["all"], of_trained(SEEDS)), strict=True) for gain in beside([ours], seeds)]


def cooler_scaled():
    """The same of its adapter at seven tenths beside itself."""
    return [gain for folder, row in COOLER_ON for gain in beside([(folder, f"{row}-scaled")], [(folder, row)])]


def five_tries_on_val():
    """pass@5 on val: the most of the recipe's three seeds less the least, and the run at temperature 0.5 less the most."""
    *seeds, cooler = (rate("recipe/val", row, "pass@5") for row in ("seed-0", "seed-1", "seed-2", "cooler-0"))
    return [max(seeds) - min(seeds), cooler - max(seeds)]


def behind(record):
    """What an answer goes on with behind its first code block."""
    parts = record["completion"].split("```", 2)
    return parts[2].strip() if len(parts) == 3 else ""


def going_on(records):
    """% of answers that go on behind their first code block."""
    return 100 * statistics.mean(bool(behind(record)) for record in records)


def cooler_on_val():
    """Answers on val before training at temperature 0.5, after seed 0's, after seed 1's."""
    return [[record for record in lines(f"{COOLER[seed]}/evaluations.jsonl.gz") if record["step"] == step]
            for seed, step in ((0, 0), (0, 80), (1, 44))]  # fmt: skip


def behind_the_code():
    """That share before training, after seed 1's and after seed 0's at temperature 0.5, and % of all characters of seed 1's."""
    before, seed_0, seed_1 = cooler_on_val()
    of_text = sum(len(behind(record)) for record in seed_1) / sum(len(record["completion"]) for record in seed_1)
    return [going_on(before), going_on(seed_1), 100 * of_text, going_on(seed_0)]


def runs_that_go_on():
    """Of the runs measured on val: how many, then number, least and most share of those whose answers all, partly and hardly go on."""
    records = defaultdict(list)
    for name in ("val", "matched/val"):
        for record in lines(f"results/recipe/{name}/results.jsonl.gz"):
            records[name, record["row"]].append(record)
    of_untouched = [rows for (_, row), rows in records.items() if row not in ("untrained", "cooler-0-scaled")]
    shares = sorted([*map(going_on, of_untouched), behind_the_code()[1]], reverse=True)
    parts = [[share for share in shares if low <= share < high] for low, high in ((90, 101), (5, 90), (0, 5))]
    return [len(shares), *(value for part in parts for value in (len(part), min(part), max(part)))]


def of_cooler_steps():
    """At temperature 0.5: tokens a completion in seed 1's first and last step, % of the last one's cut; seed 0's tokens; seconds a step of both."""
    seed_0, seed_1 = ([[step[name] for step in lines(f"{run}/metrics.jsonl")] for name in ("completions/mean_length", "step_time")] for run in COOLER)
    cut = 100 * lines(f"{COOLER[1]}/metrics.jsonl")[-1]["completions/clipped_ratio"]
    return [seed_1[0][0], seed_1[0][-1], cut, seed_0[0][0], seed_0[0][-1], statistics.mean(seed_1[1]), statistics.mean(seed_0[1])]


def with_cooler(value_of):
    """Of the run at temperature 0.5, and the least and most of the recipe's three seeds."""
    of_seeds = [value_of(run) for run in SEEDS]
    return [value_of(COOLER[0]), min(of_seeds), max(of_seeds)]


def solved_at_first(run):
    """% of the completions of a run's first ten steps that are solved."""
    return share_in([group for group in lines(f"{run}/groups.jsonl.gz") if group["step"] <= 10], lambda group: group["solved"])


def still_learning():
    """Of the basic tasks that the recipe's runs sample for the first time: % of completions that are right, in each 15 steps."""
    groups = [group for run in SEEDS for group in first_groups(run, lambda prompt_id: prompt_id.split("#")[0]) if "/basic/" in group["task_id"]]
    parts = [[group for group in groups if start < group["step"] <= start + 15] for start in range(0, 90, 15)]
    return [100 * statistics.mean(statistics.mean(group["solved"]) for group in part) for part in parts]


def first_seen_basic():
    """% of the groups of basic tasks sampled for the first time after step 10 that hold both, and of all groups: that run, the recipe's least and most."""
    found = []
    for run in (BRIEF_RUN, *SEEDS):
        new = [group for group in first_groups(run) if group["step"] > 10 and "/basic/" in group["task_id"]]
        found.append([mixed(new), mixed(lines(f"{run}/groups.jsonl.gz"))])
    return [value for own, *others in zip(*found, strict=True) for value in (own, min(others), max(others))]


def minutes_of(folders):
    return [lines(f"{folder}/metrics.jsonl")[-1]["elapsed_s"] / 60 for folder in folders]


def gained_by_own_tests(*names, without=()):
    """Points that each seed gains on `names` (fields of a graded completion), without those prompts."""
    rows = [row for row in lines(f"results/{OWN}/mbpp-eval/results.jsonl.gz") if row["task_id"] not in without]
    share = {(row, name): 100 * statistics.mean(one[name] for one in rows if one["row"] == row) for row in ("base", "own-0", "own-1") for name in names}
    return [share[row, name] - share["base", name] for name in names for row in ("own-0", "own-1")]


def honest_passes(row):
    return [one for one in lines(f"results/{OWN}/mbpp-eval/results.jsonl.gz") if one["row"] == row and one["test_passed"] and one["honest_tests"]]


def right_by_mbpp(row="base", folder="mbpp-eval"):
    """Whether a completion passes MBPP's tests, by prompt."""
    return {task_id: [answer == "right" for answer in answers] for task_id, answers in loaded(f"{OWN}/right.json")[folder][row].items()}


def right_by_prompt():
    """% of the untrained model's completions that pass MBPP's tests, by system prompt; tasks whose tests can be put."""
    of = [right_by_mbpp(row, "prompt-pilot") for row in ("rules", "example", "none")]
    return [*(100 * statistics.mean(right for answers in one.values() for right in answers) for one in of), len(of[0])]


@cache
def as_asked():
    """By MBPP's tests, % before, after each seed and after an earlier run; paired differences; of honest passes; wrong ones, those of other types."""
    found, before = {}, right_by_mbpp()
    after = [right_by_mbpp("own-0"), right_by_mbpp("own-1"), right_by_mbpp("lora", "mbpp-eval-1.5b")]
    found["right"] = [100 * statistics.mean(map(statistics.mean, of.values())) for of in (before, *after)]
    found["gain"] = [mean_gain([statistics.mean(of[task_id]) - statistics.mean(before[task_id]) for task_id in sorted(before)]) for of in after]
    answers, rows = loaded(f"{OWN}/right.json")["mbpp-eval"], ("base", "own-0", "own-1")
    for name, answer in (("types", "other types"), ("wrong", "wrong")):
        found[name] = [100 * statistics.mean(one == answer for of in answers[row].values() for one in of) for row in rows]
    passes = [[right_by_mbpp(row)[one["task_id"]][one["sample"]] for one in honest_passes(row)] for row in rows]
    found["passes"], found["both"] = [100 * statistics.mean(of) for of in passes], list(map(sum, passes))
    found["alone"] = [sum(map(sum, right_by_mbpp(row).values())) - both for row, both in zip(rows, found["both"], strict=True)]
    return found


def missed_by_mbpp():
    """Of the passes that do what is asked by reading those that MBPP's tests do not pass, of how many, row by row."""
    asked = [one for one in loaded(f"{OWN}/read.json") if one["as_asked"]]
    right = {row: [right_by_mbpp(row)[one["task_id"]][one["sample"]] for one in asked if one["row"] == row] for row in ("base", "own-0", "own-1")}
    return [(len(of) - sum(of), len(of)) for of in right.values()]


def copies_of_the_example():
    passed = honest_passes("own-0") + honest_passes("own-1")
    return sum("count_occurrences" in one["completion"] for one in passed), len(passed)


def beside_the_function(row):
    """Whether a completion has tests, or an explanation behind its block."""
    return "#[test]" in row["completion"] or len(row["completion"].split("```")[-1].strip()) > 30


def forms_of_adapters():
    """Adapters measured on mbpp-rs, those of the example tasks left out, whose completions are the function alone (all but a twentieth), and all of them."""
    found = []
    for path in sorted(ROOT.glob("results/recipe/**/mbpp-rs/results.jsonl.gz")):
        if "example-tasks" not in path.parts:
            by_row = {}
            for row in lines(str(path.relative_to(ROOT))):
                by_row.setdefault(row["row"], []).append(beside_the_function(row))
            found += [statistics.mean(forms) < 0.05 for name, forms in by_row.items() if name not in ("untrained", "soup", "cooler-0-scaled")]
    return sum(found), len(found)


@cache
def with_examples():
    """Of the runs that had the example tasks and of those that had not: % solved of the other sets in steps 31 to 60; on the example tasks' val before and after."""
    late = []
    for folder in [*EXAMPLE_RUNS, *SEEDS]:
        groups = lines(f"{folder}/groups.jsonl.gz")
        late.append(share_in([group for group in groups if 31 <= group["step"] <= 60 and "/example/" not in group["task_id"]], lambda group: group["solved"]))
    (before,) = set(solved_of_set("example", 0, EXAMPLE_RUNS))
    step = [statistics.mean(line["step_time"] for line in lines(f"{run}/metrics.jsonl")) for run in EXAMPLE_RUNS]
    return {"late": late, "before": before, "after": solved_of_set("example", None, EXAMPLE_RUNS), "step": step}


@cache
def passes_read():
    """Of the honest passes that were read: how many do what is asked, row by row; and of those on prompts that the untrained model never passes, of how many."""
    read, known = loaded(f"{OWN}/read.json"), {one["task_id"] for one in honest_passes("base")}
    for row in ("base", "own-0", "own-1"):
        ids = {(one["task_id"], one["sample"]) for one in honest_passes(row)}
        assert all((one["task_id"], one["sample"]) in ids for one in read if one["row"] == row)
        assert len({one["task_id"] for one in read if one["row"] == row}) == 30
    right = Counter(one["row"] for one in read if one["as_asked"])
    new = {row: [one["as_asked"] for one in read if one["row"] == row and one["task_id"] not in known] for row in ("own-0", "own-1")}
    return {"right": right, "new": {row: (sum(found), len(found)) for row, found in new.items()}}


def solved_of_set(name, step=None, folders=SEEDS):
    """% of the completions of a set's val that are right at a step (None: the last) of the evaluations inside runs, each run."""
    found = []
    for folder in folders:
        records = lines(f"{folder}/evaluations.jsonl.gz")
        at = max(record["step"] for record in records) if step is None else step
        chosen = [record for record in records if record["step"] == at and f"/{name}/" in record["task_id"]]
        found.append(100 * statistics.mean(record["hidden_passed"] == record["hidden_total"] > 0 for record in chosen))
    return found


def trained_on_sets():
    """Of the runs with all sets: % of the training completions on basic and on short tasks that are right, % of groups that hold both, their prompts."""
    groups = [lines(f"{folder}/groups.jsonl.gz") for folder in SEEDS]
    solved = [[share_in([group for group in of if f"/{name}/" in group["task_id"]], lambda group: group["solved"]) for of in groups] for name in ("basic", "short")]
    return [*solved[0], *solved[1], *map(mixed, groups), *(len({group["task_id"] for group in of}) for of in groups)]


def passed_by_ours(file):
    """Tasks of an evaluation set whose tests a reference of ours passes."""
    return {text for _, text in loaded("task-bank/same_answers.json")[file]["answered"]}


def without_those(tasks, of, those=False):
    """% right on the tasks that no reference of ours passes (or on `those`): untrained, all sets, three sets."""
    passed, found = passed_by_ours(f"{tasks}.jsonl"), []
    for folders, row in ((SEEDS[:1], "untrained"), (SEEDS, "trained"), (THREE_SETS, "trained")):
        runs = [by_task(f"{folder}/{tasks}", row, of) for folder in folders]
        found.append(100 * statistics.mean(run[task] for run in runs for task in run if (task in passed) == those))
    return found


def names_after_basic_tasks():
    """% of the completions on mbpp-rs that use an unknown name: after all sets (each seed), untrained, after short tasks and plain signatures alone."""
    after = [share_by_row(f"{folder}/mbpp-rs/results.jsonl.gz", ("trained", "untrained"), uses_unknown_name) for folder in SEEDS]
    alone = share_by_row(f"{MATCHED}/mbpp-rs/results.jsonl.gz", ("matched-0", "matched-1"), uses_unknown_name)
    return [*(trained for trained, _ in after), after[0][1], *alone]


def references(name):
    """% of reference solutions that have a second function, and % that have an import."""
    solutions = [row["solution"] for row in lines(f"data/{name}_tasks_solutions.jsonl")]
    return [100 * statistics.mean(found) for found in ([text.count("fn ") > 1 for text in solutions], ["use std" in text for text in solutions])]


def rows_of(name, splits=("train", "val")):
    return [row for split in splits for row in lines(f"data/{name}_{split}.jsonl")]


def names_of_others(name, splits=("train", "val")):
    """Tasks whose function has a name as other languages write them."""
    return sum(row["entry_point"] != row["entry_point"].lower() for row in rows_of(name, splits))


def card(name):
    """Easy and medium tasks, hidden asserts."""
    counts = loaded(f"task-bank/proof-{name}.json")["counts"]
    return [*counts["difficulty"].values(), counts["hidden_tests"]]


def noticed(name):
    """Tasks proved, mutants noticed, mutants that compile, % noticed."""
    proved, killed, compiled = proof(name)
    return [proved, killed, compiled, 100 * killed / compiled]


def shows_calls(task):
    """Whether the doc comment in a task's second wording calls its function."""
    return any(line.startswith("///") and f"{task['entry_point']}(" in line for line in task["signature_prompt"].split("\n"))


def difference(folder, name):
    return interval(loaded(f"{folder}/summary.json")["differences"][0]["metrics"][name], "+.1f")


# file -> (a sentence as the file has it, what fills it)
SENTENCES = {
    "README.md": [
        ("Three seeds (first try {:.1f} to {:.1f}):", lambda: [of(rate(folder, row, "pass@1") for folder, row in MBPP_OF_SEEDS) for of in (min, max)]),
        ("{} tasks of ours with hidden tests", lambda: [sum(len(lines(f"data/{name}_tasks_solutions.jsonl")) for name in ("rust", "short", "basic", "example"))]),
        ("pass@1 {2:+.1f} and {3:+.1f} points; own tests {0:+.1f} and {1:+.1f}, hidden {4:+.1f} and {5:+.1f}.", lambda: gains_of(CROSS)),
        ("all six iterations: [HumanEval-rs {:.1f} to {:.1f} %]", lambda: [rate("recipe/spark-code-a-v2/humaneval-rs", row, "pass@1") for row in ("untrained", "trained")]),
        ("build goes from {:.0f} to {:.0f} %, hidden tests from {:.0f} to {:.0f} %, honest own tests from {:.0f} to {:.0f} % (seed 0",
         lambda: [value for pair in zip(tiny("before"), tiny("after"), strict=True) for value in pair]),
        ("a step of 256 completions takes {:.1f} s with LoRA and {:.1f} s with QLoRA, below", lambda: step_seconds()[:2]),
        ("On HumanEval-rs pass@1 goes from {:.1f} to {:.1f} % and pass@5 from {:.1f} to {:.1f} %.", humaneval),
        ("QLoRA, below {:.0f} GiB: {:.1f} and {:.1f} times the tokens a second", peak_and_tokens),
        ("gained {:.0f} to {:.0f} points there", lambda: [of(gains_of_kinds()) for of in (min, max)]),
        ("[solutions of ours pass {} of its {}]", lambda: [len(passed_by_ours("mbpp-rs.jsonl")), len(by_task(*of_trained(SEEDS)[0], max))]),
        ("At equal lengths two cards are about {:.1f} times as fast.", lambda: [statistics.mean(map(two_cards_at_equal_lengths, ("lora", "qlora")))]),
        ("{:.0f} minutes of half an H200, two seeds: build {:.1f} to {:.1f} and {:.1f} %, own tests {:.1f} to {:.1f} and {:.1f} %;", prompts_only),
        ("of {} attacks by outsiders the judge now pays {} (", attacks_paid),
        ("never shown, no more are right: {gain[0]} and {gain[1]} points", as_asked),
    ],
    "REFERENCE.md": [
        ("`tests/cases/` holds {} attacks ({} earn nothing, the {} others are marked `open`) and {} honest but odd completions", cases),
        ("{} tasks ({} / {} / {}) in 14 categories", lambda: [sum(splits()), *splits()]),
        ("all {} hold, their tests notice {:.1f} % of {:,} mutants", whole_proof),
        ("solves {} % of the easy tasks {}, {} % of the medium, {} % of the hard ones",
         lambda: [*bank("easy").split(" ", 1), *(bank(difficulty).split()[0] for difficulty in ("medium", "hard"))]),
        ("(`frac_reward_zero_std` of `results/tiny/seed-0`: {:.1f} %)", lambda: [100 * mean("tiny/seed-0", "frac_reward_zero_std")]),
        ("mean |log-prob difference| per token {:.3f} for bf16 and for QLoRA, {:.1f} % of sequences masked", lambda: mismatch("lora")),
        ("mean |log-prob difference| per token {:.3f} for bf16 and for QLoRA, {:.1f} % of sequences masked", lambda: mismatch("qlora")),
    ],
    "results/README.md": [
        ("what ten earlier runs ({:.0f} minutes together) solved", lambda: [sum(minutes_of([f"results/{run}" for run in make_first_record.RUNS]))]),
        ("no more right answers by MBPP's tests ({gain[0]} and {gain[1]} points)", as_asked),
        ("build {:.1f} -> {:.1f} %, own tests {:.1f} -> {:.1f} %, honest ones {:.1f} -> {:.1f} %, but",
         lambda: [rate("mbpp-eval-1.5b", row, name) for name in ("build", "tests", "honest_tests") for row in ("base", "lora")]),
        ("the untrained model builds {} with a system prompt of rules only, {} with one that shows an example, {:.1f} % with none",
         lambda: [*(with_interval("prompt-pilot", row, "build") for row in ("rules", "example")), rate("prompt-pilot", "none", "build")]),
        ("{:.1f}, {:.1f} and {:.1f} % pass MBPP's own tests (`results/own-tests-1.5b/right.py`, {} of the tasks)", right_by_prompt),
        ("went with being right in {} of cases", lambda: [own_precision()]),
        ("Of the {} completions of `results/mbpp-eval-1.5b` that build, bring tests and use a `HashMap` or `HashSet`, {} changed its verdict when graded {} times",
         coin_tosses),
        ("up to {:.1f} of a step's {:.1f} s", lambda: [phases("own")["grade"][1], phases("own")["step"][1]]),
        ("{:.1f} s in the quickest steps", lambda: [phases("hidden")["without"][0]]),
        ("512 real programs in {:.1f} and {:.1f} s, no infra failures; with ten among them that loop {:.1f} s. 16 workers grade {:.0f} programs a second, one {:.0f}",
         throughput),
        ("grading took {:.0f} to {:.0f} s of a {:.0f} to {:.0f} s step with hidden tests as the reward, {:.0f} to {:.0f} s of a {:.0f} to {:.0f} s step with own tests;"
         " where none did, {:.1f} to {:.1f} s (three steps) and {:.1f} s (one)",
         lambda: [*hidden_then_own()[0][:4], *hidden_then_own()[1][:4], *hidden_then_own()[0][4:], hidden_then_own()[1][4]]),
        ("The device as a whole showed {:.1f} GiB", lambda: [max(line["gpu/device_used_gib"] for line in lines("results/train-lora-1.5b/metrics.jsonl"))]),
        ("after **{} minutes of GRPO on one H200**", max_minutes),
        ("sampled on average: {:.0f} and {:.0f} tokens in the rows with a `before`", lambda: [one["mean_tokens"] for one in sampled("today")]),
        ("{:.0f} and {:.0f} in `x1-lora` and `x2-lora`", lambda: two_cards("mean_tokens")[:2]),
        ("two cards sample {:.2f} times the tokens a second and {:.2f} times the completions",
         lambda: [two_cards("tokens_per_s")[2], two_cards("completions_per_s")[2]]),
        ("generated in {} s, graded in {} s", evaluation_seconds),
    ],
    f"results/{RUNS}/README.md": [
        ("pass@1 on mbpp-rs, 354 tasks x 5: {} -> {} {} rewarded by hidden tests, {} {} rewarded by own tests",
         lambda: pass_rates(1)),
        ("pass@5: {} -> {} {} and {} {}",
         lambda: pass_rates(5)),
        ("same {} minutes on one H200 each", max_minutes),
        ("generated in {} s, graded in {} s", evaluation_seconds),
        ("(0 % own tests on mbpp_eval, before {} %) and gets shorter ({:.0f} -> {:.0f} tokens there)",
         own_tests_and_tokens),
        ("Grading took {:.0f} to {:.0f} s of a {:.0f} to {:.0f} s step wherever a program looped in `train-hidden-tests`, {:.1f} to {:.1f} s in the three steps where none did",
         lambda: hidden_then_own()[0]),
        ("{:.0f} to {:.0f} s of a {:.0f} to {:.0f} s step, {:.1f} s in one", lambda: hidden_then_own()[1]),
        ("over both runs {:.1f} % of completions of easy tasks pass all hidden tests, {:.1f} % of medium, {:.1f} % of hard ones", lambda: solved()[0]),
    ],
    "results/task-bank/README.md": [
        ("{} tasks, all proved; {:,} of the {:,} mutants that compile are noticed", proof),
        ("of short tasks {} and {} %, basic tasks {} and {} %, example tasks {} and {} % (easy and medium), the bank's {} and {} % are solved",
         lambda: easy_and_medium("short", "basic", "example", "bank")),
        ("two completions each, with verdicts ({:,}", lambda: [len(lines("results/task-bank/untrained.jsonl.gz"))]),
        ("{} pairs pass, of {} tasks of mbpp-rs, and {}, of {} of HumanEval-rs.",
         lambda: [n for name in ("mbpp-rs.jsonl", "humaneval-rs.jsonl") for n in (len(loaded("task-bank/same_answers.json")[name]["answered"]), len(passed_by_ours(name)))]),
    ],
    "results/cross/README.md": [
        ("**Prompts alone give {mean:.0f} % [{low:.0f}, {high:.0f}] of what hidden tests give**", share_of_gain),
        ("gains {gains[0]:+.1f} and {gains[1]:+.1f} points where hidden tests bring {gains[2]:+.1f} and {gains[3]:+.1f}, so {shares[0]:.0f} % with seed 0 and {shares[1]:.0f} %, below the goal, with seed 1.", share_of_gain),
        ("The two runs sampled {:,} completions of the same lengths", trained_twice),
        ("{} of its {:,} programs that build got other statuses: {} of the {} with a hash collection, of which {} solve their task in one grading and not in the other, and {} whose loops"
         " ended by the limit in one and by an overflow in the other. Since judge version 9 the order is the same in every process: of the {}, graded three times, {} differ.", graded_again),
        ("gain {:+.1f} and {:+.1f}. The intervals", lambda: gains_of(CROSS[:2])),
        ("its pick is right in {:.1f} and {:.1f} % of the tasks where a random completion is in {:.1f} and {:.1f} %",
         lambda: [100 * loaded(f"cross/precision-mbpp-rs-cross-seed-{seed}.json")["metrics"][name]["value"] for name in ("picked", "pass@1") for seed in (0, 1)]),
        ("{} and {} of the 1,770 completions of the cross runs build and do not fit their tests (own tests: {} and {}, hidden tests {} and {}, untrained {})", misfits),
        ("the first whose own tests pass honestly, else the first that builds, is right in {:.1f} and {:.1f} %", picked_by_own_tests),
        ("the two cross runs bring {:.0f} % of what the recipe's three seeds gain", beside_the_recipe),
        ("the two cross runs solve {:.1f} and {:.1f} % of the training completions, the hidden ones {:.1f} and {:.1f} % ({:.1f} to {:.1f} % of the first six steps)", solved_in_training),
        ("to build: {:.0f} to {:.0f} % do, {:.0f} % did; of those that build {:.0f} to {:.0f} % are right, {:.0f} % were.", built_and_right_of_cross),
        ("{:,} of its 1,770 completions on mbpp-rs were honest passes, and {:.0f} % of these right (seed 1, which hardly copied: {:.0f} %; cross tests: {:.0f} and {:.0f} %)",
         lambda: copied_examples()[0]),
        ("{:,} of its {:,} honest passes from step 23 on", lambda: copies_in_training()[0]),
        ("In the two cross runs {} completions hold a copy, {} of them an honest pass", lambda: copies_in_training()[1]),
        ("graded again, {} of the 1,770 are honest passes", lambda: copied_examples()[1]),
        ("in {:.0f} and {:.0f} % of the pairs by `cross_tests_reward`, level with it in {:.0f} and {:.0f} % (all steps). In the first six steps {:.0f} and {:.0f} % of the completions"
         " have no opinion, in the last six {:.0f} and {:.0f} %", right_above_wrong),
        ("A step took {:.1f} and {:.1f} s with own tests, {:.1f} and {:.1f} with cross and {:.1f} and {:.1f} with hidden tests", lambda: steps_of_cross()[0]),
        ("after {:.1f} and {:.1f} minutes", lambda: steps_of_cross()[1]),
        ("pass@1 {} points, build {}, pass@5 {}.", lambda: [difference("cross/mbpp-prompts/mbpp-rs-heldout", name) for name in ("pass@1", "build", "pass@5")]),
        ("{:.2f} on training groups of 8 (`train-lora-1.5b`, {} of {} completions have tests that compile), {:.2f} on groups of 4 (`mbpp-eval-1.5b`, {} of {})",
         lambda: [loaded(f"cross/cost-{name}.json")[key] for name in ("train-lora", "mbpp-eval") for key in ("ratio", "with_tests", "completions")]),
        ("and {:.2f} where nearly all bring tests (`cross-seed-1/mbpp-rs`, `--groups 40 --row trained`, {} of {};",
         lambda: [loaded("cross/cost-mbpp-rs-cross-seed-1.json")[key] for key in ("ratio", "with_tests", "completions")]),
        ("of {:,} completions {} were tried on another's test at all",
         lambda: [loaded("cross/precision-train-own-tests.json")[key] for key in ("completions", "with_opinion")]),
    ],
    "results/judge-benchmark/README.md": [
        ("A test binary costs {whole:.0f} ms: {start:.0f} until the compiler has started, {front_end:.0f} to read and check the program, {lints:.0f} for clippy's lints,"
         " {code:.0f} for code, {link:.0f} to link", lambda: loaded("judge-benchmark/parts.json")["binary"]),
        ("One whose only test is `assert_eq!(1 + 1, 2)` costs {whole:.0f}", lambda: loaded("judge-benchmark/parts.json")["empty"]),
        ("CPU of a completion: compilations {:.1f} ms, own tests {:.1f} (mostly the few that loop), mutants {:.1f}, this process {:.1f}; hidden tests {:.1f} to"
         " compile where the program has tests of its own, and {:.1f} to run.", cpu_of_a_completion),
        ("on a quicker day the tuned cargo took {:.0f} ms, and ours {:.0f}. What is left to save is part of {:.0f} ms of code; the {} ms of start-up"
         " are {:.0f} ms for each of the {} completions of `cargo-two-cores.json`, {:.1f} for each of a step of 512", start_up_and_rest),
    ],
    "results/step/README.md": [
        ("LoRA {:.1f} to {:.1f} completions/s, QLoRA {:.1f} to {:.1f}",
         lambda: [loaded(f"step/h200-{name}.json")[key] for name in ("lora", "qlora") for key in ("before_completions_per_s", "completions_per_s")]),
        ("sampled {:.0f} and {:.0f} tokens on average today, {:.0f} and {:.0f} before", lambda: [one["mean_tokens"] for run in ("today", "before") for one in sampled(run)]),
        ("Tokens sampled a second: {:,} to {:,} and {:,} to {:,}",
         lambda: [loaded(f"step/h200-{name}.json")["runs"][run]["tokens_per_s"] for name in ("lora", "qlora") for run in ("before", "today")]),
        ("A step of {step_s:.1f} s is {generate_s:.1f} s sampling, {wait_s:.1f} s waiting for the last verdicts, {train_s:.1f} s training and {rest:.1f} s that no"
         " phase counts. The arithmetic of training alone (4 x 1.54e9 x 54,000 tokens at 990 TFLOP/s) would take {least:.2f} s", unexplained),
        ("Two cards: {:.1f} to {:.1f} completions/s ({:.2f} times), {:,} to {:,} tokens/s ({:.2f} times).", lambda: two_cards("completions_per_s", "tokens_per_s")),
        ("QLoRA on two cards: {:.1f} to {:.1f} completions/s ({:.2f} times), {:,} to {:,} tokens/s ({:.2f} times)**, at {:.0f} and {:.0f} tokens",
         lambda: [*two_cards("completions_per_s", "tokens_per_s", kind="qlora"), *two_cards("mean_tokens", kind="qlora")[:2]]),
        ("two cards are {:.2f} times (LoRA) and {:.2f} times (QLoRA) as fast as one", lambda: [two_cards_at_equal_lengths(kind) for kind in ("lora", "qlora")]),
        ("a step of 256 on one card takes {:.1f} s, one of 512 on two {:.1f} s", lambda: two_cards("step_s", kind="qlora")[:2]),
        ("3B takes {s[0]:.1f} s a step with LoRA and {s[1]:.1f} with a 4-bit base, 7B {s[2]:.1f} and {s[3]:.1f} s; at most {peaks[0]:.1f} and {peaks[1]:.1f} GiB of the card", larger_models),
        ("and within one at most {reserved:.1f} GiB reserved", larger_models),
        ("differ by {off[0]:.2f} (3B) and {off[1]:.2f} (7B) a token", larger_models),
        ("was gone after {:.1f} and {:.1f} s (the launcher asks the other process, and kills it 30 s later) and after {:.1f} s", seconds_until_gone),
        ("{completions_per_s:.1f} completions/s at {mean_tokens:.0f} tokens, {step_s:.1f} s a step ({generate_s:.1f} sampling, {wait_s:.1f} waiting for verdicts, {train_s:.1f} training)", server_mode),
        ("its memory is in the {peak_gib:.1f} GiB", server_mode),
        ("of the steps on one card above {least:.0f} to {most:.0f} %", server_mode),
        ("log-probs {low:.3f} to {high:.3f} a token apart", server_mode),
        ("The two runs sampled {:.0f} and {:.0f} tokens on average", lambda: two_cards("mean_tokens")[:2]),
        ("Steps of one run take {:.1f} s at {:.0f} tokens, {:.1f} at {:.0f}, {:.1f} at {:.0f} and, where the last verdicts are waited for, {:.1f} at {:.0f}: a looping"
         " program that is sampled late holds the step for up to {:.1f} s", seconds_by_length),
        ("with 16 cores each): {:.1f} to {:.1f} completions/s over the steps after the first, at {:.0f} to {:.0f} tokens. A step takes {:.1f} to {:.1f} s, of which {:.1f} to {:.1f} are"
         " spent waiting for the last verdicts. They took what memory an H200 has (up to {:.0f} GiB in use)", lambda: recipe_steps(BEFORE)),
        ("With plain signatures: {:.1f} completions/s at {:.0f} tokens, {:.1f} s a step, {:.1f} of them waiting",
         lambda: recipe_steps(PLAIN[:1])[:8:2]),
        ("{:.1f} and {:.1f} completions/s on one card, {:.1f} and {:.1f} on the other, {:,.0f} and {:,.0f} tokens/s together where a run that has its card to itself makes {:,.0f}",
         shared_cards),
        ("PEFT's casts {:.3f} s, without {:.3f}, fused {:.3f}", lambda: layers("PEFT's casts", "no casts", "fused layers")),
        ("{:.3f} s plain, {:.3f} fused", lambda: layers("no casts, checkpointing", "fused layers, checkpointing")),
    ],
    "results/kinds/README.md": [
        ("**`fix` {:+.0f} points, `fim` {:+.0f}, `next_edit` {:+.0f}**", gains_of_kinds),
        ("goes from {:.0f} to {:.0f} % (`fix`), {:.0f} to {:.0f} % (`fim`), {:.0f} to {:.0f} % (`next_edit`)",
         lambda: [100 * share for kind in ("fix", "fim", "next_edit") for share in of_kinds("mixed", kind, lambda row: row["error_kinds"].get("no_code", 0))]),
        ("`fix` loses {:.0f} points",
         lambda: [100 * before - 100 * after for before, after in [of_kinds("write-alone", "fix", lambda row: row["metrics"]["pass@1"]["value"])]]),
        ("the runs are {:.1f} points apart", lambda: [rate("recipe/plain-signatures/seed-0/mbpp-rs", "trained", "pass@1") - rate("kinds/mixed/mbpp-rs", "trained", "pass@1")]),
        ("not one of {} answers has", lambda: [len(patch_answers("untrained") + patch_answers("trained"))]),
        ("Untrained, all {} write the program anew; trained, {} do and {} repeat the prompt's placeholder", patches_anew),
        ("{:.0f} % of them have tests of its own, and in {:.0f} % of all these pass", own_tests_of_mixed),
        ("({:.0f} tokens against {:.0f})", lambda: [rate(f"{run}/mbpp-rs", "trained", "mean_length") / 100 for run in ("kinds/mixed", "recipe/plain-signatures/seed-0")]),
        ("The gain is {:+.1f} points untrained and {:+.1f} after training", second_try),
    ],
    "results/own-tests-1.5b/README.md": [
        ("takes {:.1f} and {:.1f} minutes of half a card", lambda: minutes_of(OWN_SEEDS)),
        ("build {:+.1f} and {:+.1f} points, own tests {:+.1f} and {:+.1f}, honest ones", lambda: gained_by_own_tests("build_passed", "test_passed")),
        ("(they fail when the function is made wrong) {:+.1f} and {:+.1f}.",
         lambda: [rate(f"{OWN}/mbpp-eval", row, "honest_tests") - rate(f"{OWN}/mbpp-eval", "base", "honest_tests") for row in ("own-0", "own-1")]),
        ("{right[base]} of 30 do what the prompt asks before, {right[own-0]} and {right[own-1]} of 30 after", passes_read),
        ("never passes, {new[own-0][0]} of {new[own-0][1]} and {new[own-1][0]} of {new[own-1][1]}.", passes_read),
        ("pass in {right[0]:.1f} % of the completions before, in {right[1]:.1f} and {right[2]:.1f} % after ({gain[0]} and {gain[1]} points, paired by prompt;", as_asked),
        ("the earlier run of `results/mbpp-eval-1.5b`: {right[3]:.1f} %, {gain[2]})", as_asked),
        ("Of the honest passes {passes[0]:.1f} % are right by them before, {passes[1]:.1f} and {passes[2]:.1f} % after", as_asked),
        ("right and passing are {both[0]} of the 800 completions before, {both[1]} and {both[2]} after, right without an honest pass {alone[0]}, then {alone[1]} and {alone[2]}.", as_asked),
        ("are wrong ({wrong[0]:.1f} % before, {wrong[1]:.1f} and {wrong[2]:.1f} % after) or take and return something else ({types[0]:.1f}, {types[1]:.1f} and {types[2]:.1f} %)", as_asked),
        ("of these that do what is asked {0[0]} of {0[1]}, {1[0]} of {1[1]} and {2[0]} of {2[1]}.", missed_by_mbpp),
        ("without them build {:+.1f} and {:+.1f} points, own tests {:+.1f} and {:+.1f}.", lambda: gained_by_own_tests("build_passed", "test_passed", without=("mbpp/505", "mbpp/591"))),
        ("stands in {} of the {} honest passes", copies_of_the_example),
    ],
    "results/recipe/tried.md": [
        ("{:.1f} to {:.1f} % hold a solution and a failure; drawn by what two answers of the untrained model say {:.1f} to {:.1f} % would, by what the other runs know {:.1f} to {:.1f} %",
         new_prompts_by_record),
        ("On val the setting of today is {} points of pass@1 and {} of pass@5 better, on mbpp-rs {} and {} (paired",
         lambda: [*beside(IN_VAL["all"], IN_VAL["examples"]), *beside(of_trained(SEEDS), WITH_EXAMPLES)]),
        ("{late[0]:.1f}, {late[1]:.1f} and {late[2]:.1f} % of the completions on the other sets' tasks are right, of the setting of today {late[3]:.1f}, {late[4]:.1f} and {late[5]:.1f} %", with_examples),
        ("the seed with most steps is nearest ({:.1f} % on val)", lambda: [rate("recipe/val", "example-2", "pass@1")]),
        ("own val {before:.1f} % are solved before, {after[0]:.1f}, {after[1]:.1f} and {after[2]:.1f} % after", with_examples),
        ("A step took {step[0]:.1f}, {step[1]:.1f} and {step[2]:.1f} s.", with_examples),
        ("as {} of the {} other adapters in this file do", forms_of_adapters),
        ("{:.1f} % are honest passes), seed 2", lambda: [rate("recipe/example-tasks/mbpp-rs", "example-1", "honest_tests")]),
        ("first try are reached, on mbpp-rs ({:.1f} %)", lambda: [of_seeds(SEEDS, "mbpp-rs", "pass@1")]),
        ("are not, by {:.1f} and {:.1f} points**: {:.1f} % on mbpp-rs (goal 62) and {:.1f} % on HumanEval-rs (goal 66)", in_five_tries),
        ("**Seeds differ by {:.1f} points on mbpp-rs, by {:.1f} on val** (pass@1)", between_seeds),
        ("{:.0f} % of what it answered inside the run at step 90 is there again, to the character, {:.0f} % of step 45", answered_again),
        ("With two seeds {:.1f} and {:.1f} % stood here", lambda: [of_seeds(SEEDS[:2], "mbpp-rs", name) for name in ("pass@1", "pass@5")]),
        ("all of seeds 0 and 1 do, {repeats[2]:.1f} % of seed 2. No difference is seen untrained: on the {tasks} tasks with both kinds of answers, {with_it:.1f} % are right with the comment and {without:.1f}"
         " without", repeated_comments),
        ("{:.1f} % of the completions are right up to step 15, {:.1f}, {:.1f}, {:.1f}, {:.1f} and {:.1f} % in each 15 steps after that", still_learning),
        ("noise of the setting of today: {0} points of pass@1 and {1} of pass@5 beside its three seeds, {4} and {5} beside the same seed. On mbpp-rs it is {2} and {3}, and {6} and {7}.", brief_beside),
        ("pass@1 is level**: {} and {} points of pass@1 and pass@5; on mbpp-rs {} and {} (paired by task)", cooler_beside),
        ("pass@5 on val differ by {:.1f} points among themselves, and this run is {:.1f} points above the best of them", five_tries_on_val),
        ("as at temperature 1, {:.1f} % (the three seeds: {:.1f} to {:.1f} %)", lambda: with_cooler(lambda run: mixed(lines(f"{run}/groups.jsonl.gz")))),
        ("in the first ten steps {:.1f} % of the completions, {:.1f} to {:.1f} % in the seeds", lambda: with_cooler(solved_at_first)),
        ("at its own temperature, goes from {:.2f} to {:.2f} (first and last ten steps)",
         lambda: [statistics.mean(line["entropy"] for line in lines(f"{COOLER[0]}/metrics.jsonl")[part]) for part in (slice(10), slice(-10, None))]),
        ("Five times the same text is what {:.0f} % of the tasks of mbpp-rs get ({:.0f} to {:.0f} % after the three seeds)",
         lambda: [answered_alike("recipe/cooler/mbpp-rs", "cooler-0"), *(of(answered_alike(*one) for one in MBPP_OF_SEEDS) for of in (min, max))]),
        ("Its completions grew from {:.0f} tokens in step 1 to {:.0f} in step 44, where {:.0f} % are cut at 512; seed 0's shrank from {:.0f} to {:.0f}. A step took {:.1f} s in the mean (seed 0, with half of a card: {:.1f} s)",
         of_cooler_steps),
        ("Untrained, {:.1f} % of the answers on val go on behind their first code block; of seed 1's {:.1f} % do after 44 steps, with an explanation and a list of cases that are {:.0f} % of all characters; of seed 0's {:.1f} %.",
         behind_the_code),
        ("for {:.1f} % of the untrained answers on val, {:.1f} % of seed 0's after 80 steps, {:.1f} % of seed 1's after 44.",
         lambda: [100 * statistics.mean(ends_with_code(record["completion"]) for record in records) for records in cooler_on_val()]),
        ("Of the {:.0f} runs of this file measured on val {:.0f} came to do so in {:.1f} to {:.1f} % of their answers, {:.0f} in {:.1f} to {:.1f} %, {:.0f} in {:.1f} to {:.1f} %.", runs_that_go_on),
        ("(`lora_alpha` 45 for 64), {} and {} points of pass@1 and pass@5 on val, {} and {} on mbpp-rs", cooler_scaled),
        ("pass@1 and pass@5: k = 2 is on val {} and {}, on mbpp-rs {} and {}; k = 4 is on val {} and {}, on mbpp-rs {} and {}.", pass_at_k_beside),
        ("group's mean, {:.1f} % (k = 4) and {:.1f} % (k = 2) stood in groups with one to three solutions, {:.1f} to {:.1f} % in the three seeds.", lambda: with_pass_at_k(of_few_solutions)),
        ("four tries solve {:.1f} % (k = 4) and {:.1f} % (k = 2), in the three seeds {:.1f} to {:.1f} %.", lambda: with_pass_at_k(in_four_tries)),
        ("Of all groups {:.1f} and {:.1f} % hold a solution and a failure; the entropy of the last ten steps is {:.3f} and {:.3f} (the three seeds: {:.3f} to {:.3f})",
         lambda: with_pass_at_k(lambda run: mixed(lines(f"{run}/groups.jsonl.gz")))[:2]
         + with_pass_at_k(lambda run: statistics.mean(line["entropy"] for line in lines(f"{run}/metrics.jsonl")[-10:]))),
        ("{:.0f} % get five times the same text untrained, {:.0f}, {:.0f} and {:.0f} % after the three seeds, {:.0f} % after k = 4 and {:.0f} % after k = 2",
         lambda: [answered_alike(*one) for one in [(MBPP_OF_SEEDS[0][0], "untrained"), *MBPP_OF_SEEDS, *(("recipe/pass-at-k/mbpp-rs", f"pass-at-{k}-0") for k in (4, 2))]]),
        ("after step 10, {:.1f} % hold a solution and a failure, of the setting of today's {:.1f} to {:.1f} %; of all its groups {:.1f} % ({:.1f} to {:.1f} %)", first_seen_basic),
        ("{3:.0f} tokens on mbpp-rs, where seeds 0 to 2 have {0:.0f}, {1:.0f} and {2:.0f}.", lambda: [rate(folder, row, "mean_length") / 100 for folder, row in MBPP_OF_SEEDS + BRIEF]),
        ("A step took {:.1f} s, in seed 2 beside it {:.1f} s, with completions of {:.0f} and {:.0f} tokens",
         lambda: [statistics.mean(line[name] for line in lines(f"{run}/metrics.jsonl")) for name in ("step_time", "completions/mean_length") for run in (BRIEF_RUN, SEEDS[2])]),
        ("{} points of pass@1 on mbpp-rs, {} of pass@5 (paired by task", lambda: beside(of_trained(WITHOUT_BANK), [(f"{MATCHED}/mbpp-rs", f"matched-{seed}") for seed in range(2)])),
        ("All sets beside the three sets below: {} and {}; on HumanEval-rs {} and {}.",
         lambda: [gain for tasks in ("mbpp-rs", "humaneval-rs") for gain in beside(of_trained(SEEDS, tasks), of_trained(THREE_SETS, tasks))]),
        ("with it {} points of pass@1 and {} of pass@5 on val, of mbpp-rs {} and {}.",
         lambda: [*beside(IN_VAL["all"], IN_VAL["without"]), *beside(of_trained(SEEDS), of_trained(WITHOUT_BANK))]),
        ("{:.1f}, {:.1f} and {:.1f} % of the completions on mbpp-rs do not build for a name that is nowhere defined ({:.1f} % untrained, {:.1f} and {:.1f} % after", names_after_basic_tasks),
        ("untrained it solves {0:.1f} % of the completions on their val, {2:.1f} and {3:.1f} % after 45 steps", lambda: solved_of_set("basic", 0, SEEDS[:2]) + solved_of_set("basic", 45, SEEDS[:2])),
        ("on them {:.1f}, {:.1f} and {:.1f} % solve their task, of those on short tasks {:.1f}, {:.1f} and {:.1f} %.", lambda: trained_on_sets()[:6]),
        ("{:.1f}, {:.1f} and {:.1f} % of the groups hold a solution and a failure, from {:,}, {:,} and {:,} different prompts", lambda: trained_on_sets()[6:]),
        ("tests of {} of the 354 tasks of mbpp-rs and of {} of the 156", lambda: [len(passed_by_ours(f"{name}.jsonl")) for name in ("mbpp-rs", "humaneval-rs")]),
        ("mbpp-rs goes from {:.1f} to {:.1f} % (three sets: {:.1f} %), in five tries from {:.1f} to {:.1f} % ({:.1f} %), both below the goals",
         lambda: [value for of in (statistics.mean, max) for value in without_those("mbpp-rs", of)]),
        ("HumanEval-rs from {:.1f} to {:.1f} % ({:.1f} %), in five tries from {:.1f} to {:.1f} % ({:.1f} %).",
         lambda: [value for of in (statistics.mean, max) for value in without_those("humaneval-rs", of)]),
        ("On the 35 it goes from {:.1f} to {:.1f} % ({:.1f} %)", lambda: without_those("mbpp-rs", statistics.mean, those=True)),
        ("ten of these runs know of {:,} prompts. Of the groups of `cross/hidden-seed-1`, which sampled every prompt alike and is not among the ten, {:.1f} % hold a solution and a failure; drawn by the"
         " record's weights {:.1f} % would (its top third: {:.1f} %, its last third: {:.1f} %). The recipe's frontier, which starts from nothing, reaches {:.1f} to {:.1f} % over a run", first_record),
        ("pass@1 {first[0]:.1f} and {first[1]:.1f} % where the runs without it have {first[2]:.1f} and {first[3]:.1f} %, pass@5 {fifth[0]:.1f} and {fifth[1]:.1f} % against {fifth[2]:.1f} and"
         " {fifth[3]:.1f} %: in the mean {gain_first} and {gain_fifth} points", with_first_record),
        ("{means_first[0]:.1f} and {means_fifth[0]:.1f} % in the mean, in {minutes[0]:.1f} and {minutes[1]:.1f} minutes of a card", with_first_record),
        ("{signal[0]:.1f} and {signal[1]:.1f} % of the groups hold a solution and a failure ({signal[2]:.1f} and {signal[3]:.1f} % without), from {prompts[0]} and {prompts[1]} different"
         " prompts ({prompts[2]:,}). Of the last third's completions {late[0]:.1f} and {late[1]:.1f} % solve their task ({late[2]:.1f} and {late[3]:.1f} %)", with_first_record),
        ("on the {} prompts that both kinds of runs sampled in the last third they solve {:.1f} and {:.1f} %", same_prompts),
        ("{} of their {:,} verdicts are others", judged_again),
        ("{0:.1f} % where it is new to the run and {1:.1f} % where it was sampled twice or more: {2} points, {3} tasks", seen_before),
        ("No reference solution of a short task has a second function or an import ({2:.0f} and {3:.0f} % of the bank's have)",
         lambda: [*map(round, references("short")), *references("rust")] if references("short") == [0, 0] else []),
        ("late in the run solve {:.1f} and {:.1f} % of tasks that they had sampled four times or more", late_and_new),
        ("plain signatures {4:.1f} and {5:.1f} % (the recipe's three runs {1:.1f}, {2:.1f} and {3:.1f}, untrained {0:.1f})", lambda: on_val("plain")),
        ("short tasks {4:.1f} and {5:.1f} % ({1:.1f}, {2:.1f}, {3:.1f}; {0:.1f})", lambda: on_val("short")),
        ("the bank, which they did not train on, {4:.1f} and {5:.1f} % ({1:.1f}, {2:.1f}, {3:.1f}; {0:.1f})", lambda: on_val("bank")),
        ("{first[1]:.1f} % in the mean against {first[2]:.1f} ({gain} points)", lambda: {"first": matched_means()["pass@1"], "gain": matched_means()["val"]}),
        ("{3:.1f} and {4:.1f} % of the completions on the bank's val do not build for a name that is nowhere defined ({0:.1f}, {1:.1f} and {2:.1f} % after the recipe), on mbpp-rs"
         " {6:.1f} and {7:.1f} % ({9:.1f} and {10:.1f} % after the runs above)", matched_names),
        ("{means[0]:.1f} and {means[1]:.1f} % in the mean of the two seeds, {gain} points of pass@1 beside the runs above",
         lambda: {"means": [matched_means()[name][0] for name in ("pass@1", "pass@5")], "gain": matched_means()["mbpp-rs"]}),
        ("entropy stays at {2:.2f} where it falls to {0:.2f} and {1:.2f}", lambda: matched_means()["entropy"]),
        ("a step took {2:.1f} s, since SPARK-Code's run had the card too ({0:.1f} and {1:.1f} s)", lambda: matched_means()["step"]),
        ("no better than the two**: {:.1f} and {:.1f} %", lambda: [rate("recipe/first-record/mbpp-rs", "soup", name) for name in ("pass@1", "pass@5")]),
        ("where a run of the recipe sampled {sampled[0]:,} to {sampled[1]:,},", without_the_frontier),
        ("pass@1 {first[0]:.1f} and {first[1]:.1f} %, pass@5 {fifth[0]:.1f} and {fifth[1]:.1f} % (mean {means[0]:.1f} and {means[1]:.1f})", without_the_frontier),
        ("of the training completions {} points solve their task (paired by group, {:,} of them), of those after the first third {}. Clipping touched {:.2f} % of its tokens", two_updates),
        ("goes from {:.1f} to {:.1f} % ({} points), pass@5 from {:.1f} to {:.1f} % ({}), build {}.",
         lambda: [*of_spark("pass@1"), *of_spark("pass@5"), of_spark("build")[2]]),
        ("({0:.0f} to {1:.0f} with signal", updates_of_spark),
        ("the ratio of {2:.2f} to {3:.2f} % of an iteration's tokens", updates_of_spark),
        ("waits {4:.0f} to {5:.0f} s for the log-probs", updates_of_spark),
        ("Our own recipe gains {:+.1f} points on HumanEval-rs", lambda: [statistics.mean(gains_of(SEEDS, "humaneval-rs"))]),
        ("it reached {:.1f} % on mbpp-rs", lambda: [rate("kinds/mixed/mbpp-rs", "trained", "pass@1")]),
        ("{} of the untrained model take an `isize` for an index, {} and {} after the setting below, {} and {} after this one ({}, {} and {} after the three sets)",
         isize_for_an_index),
        ("{1} of the 1,770 completions on mbpp-rs after seed 0 of the setting below, and {2} after seed 1,", other_names),
        ("Now {3}, {4} and {5} are left ({0} untrained)", other_names),
        ("the steps that were kept solve {:.1f}, {:.1f} and {:.1f} %, and {:.1f} and {:.1f} % below", kept_on_val),
        ("On mbpp-rs pass@1 is {:.1f} against {:.1f} % (means of three and of two seeds), on HumanEval-rs {:.1f} against {:.1f} %",
         lambda: [of_seeds(folders, tasks, "pass@1") for tasks in ("mbpp-rs", "humaneval-rs") for folders in (THREE_SETS, PLAIN)]),
        ("in the first 10 steps {:.0f} % of the completions of an easy one solve it, of an easy one of the bank {:.0f} %", solved_early),
        ("In 41 steps a run samples {:,} of its {:,} prompts at most", prompts_of_a_run),
        ("{:.0f} to {:.0f} % do not build, {:.0f} to {:.0f} % build and fail a test", what_is_wrong),
        ("(val pass@1 {:.1f}, {:.1f}, {:.1f}, {:.1f} %)", lambda: [100 * line["pass@1"] for line in lines(f"{PLAIN[0]}/iterations.jsonl")[1:5]]),
        ("it is {:.1f} % before and {:.1f} % at step 30, on the 60 newer ones {:.1f} and {:.1f} %, with plain signatures {:.1f} and {:.1f} % ({:.1f} % at step 20).",
         lambda: [*solved_on_val(0, 30), *solved_on_val(20)[2:]]),
        ("**{:.0f} % of the trained |advantage| stood in groups without a solution**", lambda: [unsolved_weight()]),
        ("pass@1 +{:.1f} points in {:.1f} minutes, then +{:.1f} in the next {:.1f}", learning),
        ("(seed 0, side by side): {:.1f} against {:.1f} %", lambda: [best_on_val("before/seed-0"), best_on_val("tried/lr-5e-5-hidden-build")]),
        ("had not turned by step 21 (val {:.1f}, {:.1f}, {:.1f} %)",
         lambda: [100 * line["pass@1"] for line in lines("results/recipe/tried/lr-5e-5-hidden-build/iterations.jsonl")[1:]]),
        ("On val pass@1 goes {:.1f} to {:.1f} to {:.1f} % at step 10 and falls to {:.1f} to {:.1f} % at the last step, while the share of training completions that pass everything goes on"
         " rising ({:.0f} to {:.0f} % of the first 10 steps, {:.0f} to {:.0f} % of the last one to three)", val_of_seeds),
        ("they are solved by {:.1f} % of completions up to step 10, by {:.1f} % in steps 11 to 15 and by {:.1f} % after that",
         lambda: [solved_by_sight(*steps, seen="first") for steps in SPANS]),
        ("(the frontier brings back what is solved sometimes): {:.1f}, {:.1f} and {:.1f} %", lambda: [solved_by_sight(*steps, seen="again") for steps in SPANS]),
        ("With 5e-5 first-time prompts stand at {:.1f} % in steps 16 to 20",
         lambda: [solved_by_sight(*range(16, 21), seen="first", folders=["results/recipe/tried/lr-5e-5-hidden-build"])]),
        ("{:.0f} % of the trained |advantage| stood in groups without any solution", lambda: of_unsolved_groups()[:1]),
        ("scaled by the batch: {:.0f} %; the 32 groups of the largest spread: {:.0f} %; both: {:.0f} %", lambda: of_unsolved_groups()[1:4]),
        ("Of 64 groups a step {:.0f} held a solution and a failure, and {:.0f} of these were trained on", lambda: of_unsolved_groups()[4:]),
        ("in its other wording are solved by {:.1f} %, prompts of tasks never seen by {:.1f} %",
         lambda: [solved_by_sight(*range(11, 99), seen=seen) for seen in ("other", "new")]),
        ("build goes from {:.1f} to {:.1f} to {:.1f} % at step 10; of the programs that build, {:.0f} % were right before and {:.0f} to {:.0f} % are now", built_and_right),
    ],
    "results/tiny/README.md": [
        ("{:,} compositions are trained on, {} are held out", lambda: [loaded("tiny/data.json")[name] for name in ("training_compositions", "held_out_compositions")]),
        ("{:.1f} million parameters, 1,024-token vocabulary of its own, {:.1f} MB", lambda: [parameters()[0] / 1e6, parameters()[1] / 1e6]),
        ("last loss {}", lambda: [lines("results/tiny/pretraining.jsonl")[-1]["loss"]]),
        ("of 256 completions: {:.1f} % build, {:.1f} % pass honest tests, {:.1f} % pass all hidden tests", lambda: [tiny("before")[i] for i in (0, 2, 1)]),
        ("Of the programs that build, {:.0f} % pass the hidden tests", lambda: [100 * tiny("before")[1] / tiny("before")[0]]),
        ("honest tests gained {}, {} and, with seed 2, only {} points", default_weights),
    ],
    "data/README.md": [
        ("{} Rust tasks ({} / {} / {})", lambda: [sum(splits()), *splits()]),
        ("{} proved, {:,} of {:,} mutants that compile are noticed ({:.1f} %)", lambda: noticed("proof")),
        ("are in `proof-added.json`: {} proved, {:,} of {:,} mutants noticed ({:.1f} %)", lambda: noticed("proof-added")),
        ("`results/task-bank/proof-short.json`: {} proved, {:,} of {:,} mutants noticed ({:.1f} %)", lambda: noticed("proof-short")),
        ("`results/task-bank/proof-basic.json`: {} proved, {:,} of {:,} mutants noticed ({:.1f} %)", lambda: noticed("proof-basic")),
        ("`basic_tasks_val.jsonl` ({} / {})", lambda: [len(lines(f"data/basic_tasks_{split}.jsonl")) for split in ("train", "val")]),
        ("{} easy, {} medium by their authors' word, {:,} hidden asserts; {} names as other languages write them",
         lambda: [*card("basic"), names_of_others("basic_tasks")]),
        ("`example_tasks_val.jsonl` ({} / {})", lambda: [len(lines(f"data/example_tasks_{split}.jsonl")) for split in ("train", "val")]),
        ("in {} the doc comment of `signature_prompt` shows calls", lambda: [sum(map(shows_calls, rows_of("example_tasks")))]),
        ("hidden test. {} easy, {} medium, {:,} hidden asserts; {} names as other languages write them; {:.0f} % of the references have a second function, {:.0f} % an import",
         lambda: [*card("example"), names_of_others("example_tasks"), *references("example")]),
        ("`results/task-bank/proof-example.json`: {} proved, {:,} of {:,} mutants noticed ({:.1f} %)", lambda: noticed("proof-example")),
        ("solves {:.1f} % of the completions of their val (71 tasks x 5, temperature 0.2, of short tasks {:.1f} %)",
         lambda: [solved_of_set(name, 0)[0] for name in ("basic", "short")]),
        ("of the bank's {:.0f} and {:.0f} %, of these {:.0f} and {:.0f} %", lambda: [*references("rust"), *references("basic")]),
        ("{} have a name of another language", lambda: [names_of_others("plain_signatures", ("train", "val", "test"))]),
        ("{} easy, {} medium, {:,} hidden asserts", lambda: card("short")),
        ("{} % of the easy tasks {}, {} % of the medium, {} % of the hard ones; on average {} % of a task's hidden tests",
         lambda: [*bank("easy").split(" ", 1), *(bank(difficulty).split()[0] for difficulty in ("medium", "hard")), bank("all", "share of hidden tests %")]),
        ("The untrained model solves {} % of them (`", lambda: [bank("all", name="example").split()[0]]),
        ("First error of a `fix` row, all splits: a failing test {}; {}; {} other codes {}.", first_errors),
        ("Edits of `next_edit`: {}. Names are {} of them.", edits_made),
        ("Changes of `patch`: {}.", lambda: [named(kinds_card("changes"))]),
        ("All {:,} rows hold", lambda: [loaded("task-bank/kinds-proof.json")["counts"]["looked_at"]]),
        ("Gaps of `fim`: {} (", lambda: [named(kinds_card("spans"))]),
        ("{:,} tasks that mend, fill in or change a program", n_kinds),
        ("both runs, {} tasks seen): {:.1f} % of completions of easy tasks, {:.1f} % of medium, {:.1f} % of hard ones; {} of the {} were solved at least once",
         lambda: [solved()[1], *solved()[0], solved()[2], solved()[1]]),
    ],
}  # fmt: skip


def flat(text):
    return " ".join(text.split())


def filled(template, values):
    values = values()
    return template.format(**values) if isinstance(values, dict) else template.format(*values)


def unheld(text, sentences):
    """Measured figures of a text without tables, code and the sentences given; a paragraph or item that says that no file was kept may have them."""
    text = SKIPPED.sub("", tables.BLOCK.sub("", text))
    parts = [flat(part) for part in re.split(r"\n\s*\n|\n(?=- |\|)", text)]
    found = []
    for part in parts:
        for sentence in sentences:
            part = part.replace(sentence, "")
        found += [] if ABSENT.search(part) else [part[max(0, match.start() - 30) : match.end() + 10] for match in MEASURED.finditer(part)]
    return found


@pytest.mark.parametrize("path", [*tables.readme_files(), ROOT / "REFERENCE.md", ROOT / "DESIGN.md", ROOT / "data" / "README.md"], ids=tables.shown)
def test_every_measured_figure_in_a_sentence_is_that_of_its_files(path):
    text, sentences = text_of(tables.shown(path)), [filled(*one) for one in SENTENCES.get(tables.shown(path), ())]
    assert [sentence for sentence in sentences if sentence not in flat(text)] == []
    assert unheld(text, sentences) == []


def test_the_tables_of_the_data_card_are_the_files():
    of_tasks, of_kinds = (table for table in tables.read_tables(text_of("data/README.md")))
    rows = [row for split in ("train", "val", "test") for row in lines(f"data/rust_tasks_{split}.jsonl")]
    counts = Counter((row["category"], row["difficulty"]) for row in rows)
    assert {row["category"] for row in of_tasks} == {category for category, _ in counts}
    for row in of_tasks:
        cells = [counts[row["category"], difficulty] for difficulty in ("easy", "medium", "hard")]
        assert [int(row[name]) for name in ("easy", "medium", "hard", "all")] == [*cells, sum(cells)]
    for split in ("train", "val", "test"):
        kinds = Counter(row["kind"] for row in lines(f"data/kinds_{split}.jsonl.gz"))
        assert kinds == {row["kind"].strip("`"): int(row[split]) for row in of_kinds}


def test_a_typed_figure_is_seen():
    text = "# 1.5 s\n\n    cost 2.5 s\n\nIt builds 71.4 % [1.0, 2.0].\n\n- Took 3.5 s; the log was not kept.\n- `a` 4.5 s.\n\n```\n2.5 s\n```\n"
    assert [len(unheld(text, sentences)) for sentences in ((), ("builds 71.4 % [1.0, 2.0]",))] == [3, 1]
