"""training/group_sampling.py: groups that grow where they must, updates from groups with signal, prompts drawn by the record."""

import json
import shutil
import statistics
from collections import Counter

import pytest
from conftest import PROMPTS, passing_verdict, write_jsonl
from test_train import LORA, argv, assert_advantages_follow_from_rewards, groups_of, read_trace  # noqa: F401
from test_training_step import ReadingFake, forwards, other_engine, step  # noqa: F401
from warm import run_in_two_processes

import traces
import train
from rust_tool import Verdict

SIZE, FIRST = 4, 2


@pytest.fixture
def run(argv, fake_judge, tmp_path):  # noqa: F811
    """Call it with a folder name, an answer of the judge and flags: 16 completions a step = 4 prompts x 4 -> the run folder."""

    def start(name, answer, *flags):
        fake_judge(answer)
        fixed = ("--per_device_train_batch_size", 16, "--max_steps", 2, "--rewards", "cargo_test_reward=1", *LORA)
        assert train.main(argv(tmp_path / name, *fixed, *flags)) == 0
        return tmp_path / name

    return start


def solves(*words):
    """A judge for which any program passes on prompts with one of these words, and none on the others."""

    def answer(job):
        return passing_verdict(job) if any(f"{word}." in job.prompt for word in words) else Verdict(error_kind="no_code")

    return answer


def always(job):
    return Verdict(build_passed=True, clippy_passed=True, test_passed=True, honest_tests=True, tests={"tests::a": "ok"})


def test_a_group_grows_only_where_its_first_completions_earn_the_same(run):
    folder = run("grown", passing_verdict, "--min_generations", FIRST)
    records, metrics = read_trace(folder), traces.read_metrics(folder)
    groups = groups_of(records)
    assert len(groups) == 8
    for group in groups.values():
        first = {record["reward"] for record in group[:FIRST]}
        assert len(group) == (SIZE if len(first) == 1 else FIRST)
        assert len({record["task_id"] for record in group}) == 1
    assert {len(group) for group in groups.values()} == {FIRST, SIZE}, "the tiny coder's answers give both"
    assert_advantages_follow_from_rewards(records)
    for number in (1, 2):
        sizes = [len(group) for name, group in groups.items() if name.startswith(f"{number}-")]
        assert metrics[number - 1]["groups/mean_size"] == pytest.approx(sum(sizes) / 4)
        assert metrics[number - 1]["groups/extended_share"] == pytest.approx(sizes.count(SIZE) / 4)
        mine = [record for record in records if record["step"] == number]
        assert metrics[number - 1]["reward"] == pytest.approx(sum(record["reward"] for record in mine) / len(mine), abs=1e-6)


def test_groups_without_signal_move_nothing(run):
    """All programs earn the same: no gradient, so the adapter is as it was made (B = 0)."""
    from safetensors.torch import load_file

    folder = run("flat", always, "--groups_per_update", 4)
    adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert all(not weights.any() for name, weights in adapter.items() if "lora_B" in name)
    assert [line["groups/with_signal"] for line in traces.read_metrics(folder)] == [0, 0]
    assert not any(record["is_trained"] for record in read_trace(folder))


@pytest.mark.parametrize("own_batches", [("--tokens_per_micro_batch", "600"), ()], ids=["tokens", "trl"])
def test_training_on_groups_with_signal_is_training_on_all_but_for_the_divisor(run, own_batches):
    """Without KL, groups without signal add nothing but tokens to divide by: one SGD step without clipping moves by that factor more."""
    from safetensors.torch import load_file

    fixed = ("--max_steps", 1, "--optim", "sgd", "--max_grad_norm", 0, "--weight_decay", 0, "--lr_scheduler_type", "constant",
             "--lora_dropout", 0, *own_batches)  # fmt: skip
    moved, tokens = {}, {}
    for name, flags in {"all": (), "signal": ("--groups_per_update", 4)}.items():
        folder = run(name, solves("one", "two", "three", "four"), *fixed, *flags)
        records = read_trace(folder)
        signal = {key for key, group in groups_of(records).items() if len({record["reward"] for record in group}) > 1}
        tokens[name] = sum(record["n_tokens"] for record in records if name == "all" or record["group_id"] in signal)
        adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
        moved[name] = {key: weights for key, weights in adapter.items() if "lora_B" in key}
    assert 0 < len(signal) < 4
    factor = tokens["all"] / tokens["signal"]
    assert factor > 1.1
    for key, weights in moved["all"].items():
        assert moved["signal"][key].numpy() == pytest.approx(factor * weights.numpy(), rel=2e-3, abs=1e-7)


def test_at_most_so_many_groups_are_trained_on_and_the_trace_says_which(run):
    folder = run("bound", passing_verdict, "--groups_per_update", 1, "--num_generations", 4)
    for number, line in enumerate(traces.read_metrics(folder), start=1):
        mine = groups_of(record for record in read_trace(folder) if record["step"] == number)
        with_signal = {name for name, group in mine.items() if len({record["reward"] for record in group}) > 1}
        trained = {name for name, group in mine.items() if any(record["is_trained"] for record in group)}
        assert trained <= with_signal and len(trained) == min(1, len(with_signal))
        assert (line["groups/sampled"], line["groups/with_signal"], line["groups/trained"]) == (4, len(with_signal), len(trained))


def half_solved(job):
    """Any program builds; on prompts with "one." or "two." it passes, too."""
    if job.program is None:
        return Verdict(error_kind="no_code")
    return always(job) if "one." in job.prompt or "two." in job.prompt else Verdict(build_passed=True, error_kind="no_tests")


def test_by_spread_the_groups_that_hold_a_solution_come_first(run):
    """A solution earns 4, a program that builds 1: groups whose members differ in building alone are trained on last."""
    flags = ("--groups_per_update", 2, "--max_steps", 4, "--rewards", "cargo_build_reward=1", "cargo_test_reward=3", "--learning_rate", 0)
    chosen = {}
    for by in ("chance", "spread"):
        folder = run(by, half_solved, *flags, "--groups_by", by)
        spreads = {name: statistics.pstdev(record["reward"] for record in group) for name, group in groups_of(read_trace(folder)).items()}
        assert_unsolved_weight(folder)
        trained = {record["group_id"] for record in read_trace(folder) if record["is_trained"]}
        of_step = lambda names: [sorted((spreads[name] for name in names if name.startswith(f"{n}-")), reverse=True) for n in range(1, 5)]  # noqa: B023
        chosen[by], largest = of_step(trained), of_step(spreads)
    assert chosen["spread"] == [best[:2] for best in largest]
    assert sum(map(sum, chosen["chance"])) < sum(map(sum, chosen["spread"])), "the same completions: here chance leaves solutions out"


@pytest.mark.parametrize("flags", [(), ("--min_generations", FIRST)], ids=["all", "growing"])
def test_the_weight_of_groups_without_a_solution_is_logged(run, flags):
    assert_unsolved_weight(run("weight", half_solved, *flags, "--rewards", "cargo_build_reward=1", "cargo_test_reward=3"))


def assert_unsolved_weight(folder):
    for number, line in enumerate(traces.read_metrics(folder), start=1):
        groups = groups_of(record for record in read_trace(folder) if record["step"] == number and record.get("is_trained", True))
        weights = {name: sum(abs(record["advantage"]) for record in group) for name, group in groups.items()}
        unsolved = [name for name, group in groups.items() if not any(record["test_passed"] for record in group)]
        expected = sum(weights[name] for name in unsolved) / sum(weights.values())
        assert line["groups/unsolved_weight"] == pytest.approx(expected, abs=1e-5)
        assert 0 < sum(weights.values())


def test_frontier_leaves_solved_tasks_for_those_with_signal(run):
    """Half of the tasks are always solved, half never decided: from the third step on the latter are sampled more."""
    undecided = ("five", "six", "seven", "eight")

    def answer(job):
        return passing_verdict(job) if any(f"{word}." in job.prompt for word in undecided) else always(job)

    folder = run("frontier", answer, "--frontier", "true", "--max_steps", 8, "--learning_rate", 0)
    records = read_trace(folder)
    assert all(len({record["task_id"] for record in group}) == 1 and len(group) == SIZE for group in groups_of(records).values())
    late = Counter(record["task_id"] for record in records if record["step"] > 2)
    of_undecided = sum(n for task, n in late.items() if int(task.partition("/")[2]) >= 4)
    assert of_undecided > 0.6 * sum(late.values())
    lines = [json.loads(line) for line in (folder / "task_record.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    for line in lines:
        counted = Counter(record["task_id"] for record in records if record["step"] == line["step"])
        assert {task: graded for task, (_, graded) in line["outcomes"].items()} == counted


@pytest.mark.parametrize("frontier", ["true", "false"])
def test_a_resumed_run_draws_what_an_undisturbed_one_does(run, argv, tmp_path, frontier):  # noqa: F811
    """The second checkpoint is at the end of an epoch."""
    flags = ("--frontier", frontier, "--save_steps", 2, "--max_steps")
    whole = run("whole", passing_verdict, *flags, 4)
    folder = run("killed", passing_verdict, *flags, 3)  # ends with a checkpoint of step 3 too: go on from the second
    for leftover in ("checkpoint-3", "adapter"):
        shutil.rmtree(folder / leftover)
    run("killed", passing_verdict, *flags, 4, "--resume_from_checkpoint", "last")
    frames = [traces.load_trace(path, columns=("step", "group_id", "task_id")) for path in (whole, folder)]
    drawn = [dict(zip(frame["group_id"], frame["task_id"], strict=True)) for frame in frames]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 16
    if frontier == "false":
        assert not (folder / "task_record.jsonl").exists()
        return
    records = [(path / "task_record.jsonl").read_text().splitlines() for path in (whole, folder)]
    assert [json.loads(line)["step"] for line in records[1]] == [1, 2, 3, 4]
    assert [list(json.loads(line)["outcomes"]) for line in records[0]] == [list(json.loads(line)["outcomes"]) for line in records[1]]


def test_a_first_record_steers_the_first_step(run, tmp_path):
    """Six of eight tasks are known as always solved: the two others come in (nearly) every step."""
    path = tmp_path / "results.jsonl"
    graded = [
        {"task_id": f"adding/{number}", "prompt": prompt, "error_kind": None, "test_passed": True, "honest_tests": True,
         "hidden_passed": None, "hidden_total": None}
        for number, prompt in enumerate(PROMPTS[:6]) for _ in range(40)
    ]  # fmt: skip
    write_jsonl(path, graded)
    folder = run("known", passing_verdict, "--frontier", "true", "--task_record", path, "--max_steps", 1)
    assert {"adding/6", "adding/7"} <= {record["task_id"] for record in read_trace(folder)}
    first = json.loads((folder / "task_record.jsonl").read_text().splitlines()[0])
    assert first["step"] == 0 and first["outcomes"]["adding/0"] == [40, 40]
    assert '"step": 0' not in (run("unknown", passing_verdict, "--frontier", "true", "--task_record", "", "--max_steps", 1) / "task_record.jsonl").read_text()


def test_with_vllm_rows_that_were_never_sampled_are_not_graded_nor_in_any_mean(step, other_engine, forwards, monkeypatch, tmp_path):  # noqa: F811
    """Completions are graded ahead in both halves of a group; log-prob differences are those of tokens that vLLM sampled."""
    started = []

    class Counting(ReadingFake):
        def start(self, task, completion):
            started.append(task["prompt"])

    monkeypatch.setattr(train, "GradingProcess", lambda **options: Counting())
    coarse = tmp_path / "coarse.py"  # groups of random texts: some agree in their first four, some do not
    coarse.write_text("def long(completions, **kwargs):\n    return [float(len(c[-1]['content']) > 55) for c in completions]\n")
    flags = ("--use_vllm", "true", "--min_generations", 4, "--groups_per_update", 8, "--frontier", "true",
             "--gradient_accumulation_steps", 8, "--tokens_per_micro_batch", 500, "--share_prompts", "false")  # fmt: skip
    _, metrics = step(*flags, "--rewards", f"{coarse}:long=1")
    records = read_trace(tmp_path / "run0")
    groups = groups_of(records)
    assert {len(group) for group in groups.values()} == {4, 8}
    assert Counter(started) == Counter(record["prompt"] for record in records)
    assert sum(forwards) == sum(record["is_trained"] for record in records) > 0
    assert metrics["sampling/sampling_logp_difference/mean"] == pytest.approx(0.24, abs=0.04)  # of the stand-in's noise
    assert metrics["sampling/sampling_logp_difference/max"] < 2
    unmoved, metrics = step(*flags, "--share_prompts", "true", "--rewards", "non_empty_reward=0.5", "code_block_reward=1")  # random texts hold no program
    assert metrics["groups/with_signal"] == 0 and not any(tensor.any() for name, tensor in unmoved.items() if "lora_B" in name)
    assert metrics["time/generate_s"] + metrics["time/wait_s"] + metrics["time/train_s"] == pytest.approx(metrics["step_time"], rel=0.01)


@pytest.mark.timeout(300)
def test_two_processes_sample_train_record_and_evaluate_as_one(argv, tmp_path, prompts_file):  # noqa: F811
    """Groups grow on either process, updates take groups of both, one record and one table come of it."""
    folder, val = tmp_path / "run", tmp_path / "val.jsonl"
    tasks = [{"task_id": f"v/{word}", "prompt": f"Add two numbers, {word}.", "tests": ["assert_eq!(add(1, 2), 3);"]} for word in ("nine", "ten", "none")]
    write_jsonl(val, tasks)
    flags = ("--min_generations", FIRST, "--groups_per_update", 3, "--frontier", "true", "--tokens_per_micro_batch", 600,
             "--eval_tasks", val, "--eval_samples", 2, "--eval_every", 2, "--max_completion_length", 48)  # fmt: skip
    run_in_two_processes(argv(folder, *LORA, *flags), tmp_path)
    records = read_trace(folder) + read_trace(folder, "trace.rank1.jsonl")
    groups = groups_of(records)
    assert len(groups) == 2 * 4 and {len(group) for group in groups.values()} <= {FIRST, SIZE}
    assert_advantages_follow_from_rewards(records)
    for number, (metrics, line) in enumerate(zip(traces.read_metrics(folder), open(folder / "task_record.jsonl"), strict=True), start=1):
        mine = [record for record in records if record["step"] == number]
        assert {task: graded for task, (_, graded) in json.loads(line)["outcomes"].items()} == Counter(r["task_id"] for r in mine)
        trained = {record["group_id"] for record in mine if record["is_trained"]}
        assert len(trained) == metrics["groups/trained"] == min(3, metrics["groups/with_signal"])
    kept = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert Counter((record["iteration"], record["task_id"]) for record in kept) == {(i, t["task_id"]): 2 for i in (0, 1) for t in tasks}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--min_generations", 4), "--min_generations 4: expected 2 to 3, fewer than --num_generations 4"),
        (("--min_generations", 1), "--min_generations 1: expected 2 to 3"),
        (("--groups_per_update", 3), "--groups_per_update 3: expected 1 to 2, the groups that are sampled at once"),
        (("--groups_per_update", 0), "--groups_per_update 0: expected 1 to 2"),
        (("--groups_by", "spread"), "--groups_by spread says which groups --groups_per_update trains on"),
        (("--task_record", "results.jsonl"), "--task_record is the first record for --frontier true"),
        (("--frontier", "true", "--task_record", "nowhere.jsonl"), "nowhere.jsonl: no such file"),
        (("--rewards", "cross_tests_reward=1", "--min_generations", 2), "cross_tests_reward needs whole ones"),
        (("--rewards", "execution_reward=1", "all_hidden_tests_reward=1"), "are the only rewards that count, and no task has hidden tests"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_the_model_loads(argv, fake_judge, tmp_path, capsys, flags, message):  # noqa: F811
    fake_judge(passing_verdict)
    assert train.main(argv(tmp_path / "run", *flags)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
