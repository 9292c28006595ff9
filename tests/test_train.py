"""train.py: what cannot work is refused before the model loads; a real, tiny GRPO run leaves what it should."""

import ast
import contextlib
import copy
import datetime
import errno
import functools
import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict, namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import GOOD, PROMPTS, PROSE, ROOT, infra_verdict, passing_verdict, write_jsonl
from safetensors.torch import load_file
from trl import GRPOConfig, GRPOTrainer
from warm import Training

import doctor
import plot_rewards
import rewards
import traces
import train
from judge.errors import UserError
from rust_tool import Verdict
from training.callback import RunCallback
from training.progress import SMELL_STEPS, smells, step_line
from training.trainer import TracedGRPOTrainer

TINY = str(ROOT / "configs" / "tiny.yaml")
LORA = ("--use_peft", "true", "--lora_r", "4", "--lora_alpha", "8", "--lora_target_modules", "all-linear")
SECRET = "hf_thisMustBeWrittenNowhere"


@pytest.fixture(scope="session")
def argv(tiny_coder, prompts_file):
    """Arguments of a tiny run into a folder: 8 completions a step = 2 prompts x 4; more flags may follow."""

    def build(output_dir, *more) -> list[str]:
        fixed = {
            "--config": TINY,
            "--model_name_or_path": tiny_coder,
            "--tasks": prompts_file,
            "--system_prompt": "none",
            "--max_prompt_length": 512,
            "--per_device_train_batch_size": 8,
            "--num_generations": 4,
            "--max_completion_length": 96,
            "--max_steps": 2,
            "--learning_rate": 0.01,
            "--output_dir": output_dir,
        }
        return [str(part) for pair in fixed.items() for part in pair] + list(map(str, more))

    return build


def read_trace(folder, name="trace.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def groups_of(records):
    """group id -> its records."""
    groups = defaultdict(list)
    for record in records:
        groups[record["group_id"]].append(record)
    return groups


def assert_advantages_follow_from_rewards(records):
    """GRPO: (reward - mean of the group) / (standard deviation of the group + 1e-4); 0 for what was not graded or stands alone."""
    for group in groups_of(records).values():
        paid = [record["reward"] for record in group if record["reward"] is not None]
        for record in group:
            if record["reward"] is None or len(paid) == 1:
                assert record["advantage"] == 0.0
            else:
                expected = (record["reward"] - statistics.mean(paid)) / (statistics.stdev(paid) + 1e-4)
                assert record["advantage"] == pytest.approx(expected, abs=2e-4)


# ---------------------------------------------------------------------------------------------------------------------
# Arguments: default < YAML < flag
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "is_installed", "expected"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)])
def test_fused_layers_are_used_where_they_are_installed_and_run(monkeypatch, device, is_installed, expected):
    monkeypatch.setattr("transformers.utils.is_liger_kernel_available", lambda: is_installed)
    assert train.has_fused_layers(device) is expected


def test_a_flag_overrules_whether_layers_are_fused(monkeypatch):
    monkeypatch.setattr(train, "has_fused_layers", lambda device: True)
    parse = lambda *flags: train.parse_arguments(["--config", "configs/tiny.yaml", *flags])[1].use_liger_kernel
    assert parse() is True and parse("--use_liger_kernel", "false") is False
    with_checkpointing = ("--gradient_checkpointing", "true")
    assert parse(*with_checkpointing) is False and parse(*with_checkpointing, "--use_liger_kernel", "true") is True


def test_flag_beats_yaml_beats_default(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("max_tasks: 5\nuse_cpu: true\nbf16: false\nlearning_rate: 0.1\nmodel_name_or_path: here\n")
    script, args, model = train.parse_arguments(["--config", str(config), "--learning_rate", "0.5"])
    assert (script.max_tasks, model.model_name_or_path) == (5, "here")
    assert args.learning_rate == 0.5
    assert script.run_timeout_s == train.ScriptArguments().run_timeout_s == 2.0


def test_config_may_be_given_with_an_equals_sign():
    _, args, model = train.parse_arguments([f"--config={TINY}", "--max_steps", "7"])
    assert (args.max_steps, model.model_name_or_path) == (7, "models/tiny-coder")


TRAINING_CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("config", TRAINING_CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_have_no_unknown_key_and_only_known_rewards(config):
    script, args, model = train.parse_arguments(["--config", str(config), "--use_cpu", "true", "--bf16", "false"])
    assert rewards.RewardSet(None, script.rewards).functions
    assert args.output_dir and model.model_name_or_path
    assert model.lora_dropout == 0.0 or not model.use_peft, (
        "dropout makes the trained policy another one than the sampled one"
    )
    assert (args.temperature, args.top_p, args.top_k, args.repetition_penalty) == (1.0, 1.0, 0, 1.0), (
        "sampled is what is trained"
    )
    train.require_recipe(script, args)


@pytest.mark.parametrize(
    ("flags", "yaml_text", "message"),
    [
        (["--max_taks", "3"], "", "unknown setting on the command line: max_taks; did you mean max_tasks?"),
        (["--max_min", "3"], "", "unknown setting on the command line: max_min"),
        (["--learning_rat", "3"], "", "unknown setting on the command line: learning_rat; did you mean learning_rate?"),
        ([], "lora_rr: 3\n", "unknown setting in the config file: lora_rr; did you mean lora_r?"),
        (["configs/tiny.yaml"], "", "unknown setting on the command line: configs/tiny.yaml"),
        ([], "max_steps: [1\n", "not YAML"),
        ([], "num_generations: 7\n", "the configuration does not work: .*num_generations.*These are the completions sampled at once: --per_device_train_batch_size x"),
        (["--num_generations", "0"], "", "--num_generations 0: expected at least 2"),
        (["--hub_token", SECRET], "", "set HF_TOKEN in the environment"),
        (["--model_init_kwargs", json.dumps({"token": SECRET})], "", "model_init_kwargs holds 'token': .*set HF_TOKEN"),
        ([], f"generation_kwargs: {{stop: [{{accessToken: {SECRET}}}]}}\n", "generation_kwargs holds 'accessToken'"),
        (["--chat_template_kwargs", json.dumps({"API-KEY": SECRET})], "", "chat_template_kwargs holds 'API-KEY'"),
        (["--vllm_server_base_url", f"http://me:{SECRET}@host"], "", "vllm_server_base_url holds a user name or password"),
    ],
)
def test_arguments_that_cannot_work_are_refused_in_one_sentence(tmp_path, flags, yaml_text, message):
    config = tmp_path / "config.yaml"
    config.write_text(Path(TINY).read_text() + yaml_text)
    with pytest.raises(train.UserError, match=message) as error:
        train.parse_arguments(["--config", str(config), *flags])
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)


def test_settings_about_tokens_of_text_are_no_secrets():
    kwargs = {"eos_token_id": 3, "pad_token": "<pad>", "token": None, "max_new_tokens": "9", "use_auth_token": True, "keys": "x"}
    assert train.secret_key(kwargs) is None
    _, args, _ = train.parse_arguments(["--config", TINY, "--generation_kwargs", json.dumps({"eos_token_id": 3})])
    assert args.generation_kwargs == {"eos_token_id": 3}


def test_one_value_in_a_config_is_a_list_of_one(tmp_path):
    config = tmp_path / "config.yaml"
    lists = "tasks: one.jsonl\nrewards: cargo_build_reward=1\nheldout: eval.jsonl\ntask_filter: level=low\n"
    config.write_text(lists + "use_cpu: true\nbf16: false\n")
    script, _, _ = train.parse_arguments(["--config", str(config)])
    found = (script.tasks, script.rewards, script.heldout, script.task_filter)
    assert found == (["one.jsonl"], ["cargo_build_reward=1"], ["eval.jsonl"], ["level=low"])


@pytest.mark.parametrize("flags", [["--learning_rate", "fast"], ["--judge", "fastest"], ["--max_steps"]])
def test_a_value_of_the_wrong_type_is_one_line(flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        train.parse_arguments(["--config", TINY, *flags])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"argument {flags[0]}" in line


@pytest.mark.parametrize("flags", [["--config", "nowhere.yaml"], ["--config", str(Path(TINY).parent)], ["--config"]])
def test_missing_config_is_a_user_error(flags):
    with pytest.raises(train.UserError, match=r"(nowhere\.yaml|configs) \(.*\); shipped configs: .*configs/tiny\.yaml|needs a file"):
        train.parse_arguments(flags)


# ---------------------------------------------------------------------------------------------------------------------
# The plan: refused before the model loads, with one sentence, exit status 2, and no folder made
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(tmp_path, argv, monkeypatch, capsys):
    """Run train.main with these flags; returns what it said. Fails when the run is not refused cleanly."""

    def run(*flags, out=None):
        monkeypatch.setattr(train, "train", lambda *args: pytest.fail("the model was about to load"))
        before = sorted(tmp_path.rglob("*"))
        assert train.main(argv(out or tmp_path / "run", *flags)) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("train.py: ")
        assert sorted(tmp_path.rglob("*")) == before, "a refused run writes nothing"
        return said

    return run


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--temperature", "0"], "the completions of a group must differ"),
        (["--max_minutes", "-1"], "--max_minutes -1: expected a number above 0"),
        (["--sandbox", "plin"], "--sandbox plin: expected one of auto, "),
        (["--judge", "cargo", "--rewards", "cross_tests_reward=1"], "--judge cargo does not run tests of other completions: leave cross_tests_reward out"),
        (["--run_timeout_s", "-1"], "--run_timeout_s -1.0: expected more than 0"),
        (["--judge_workers", "-3"], "--judge_workers -3: expected at least 1"),
        (["--max_infra_share", "2"], "expected a share from 0 to 1"),
        (["--rewards", "cargo_build_reward=0"], "every reward has weight 0"),
        (["--rewards", "hidden_tests_reward=1", "cargo_build_reward=0"], "no task has hidden tests: nothing would be learned"),
        (["--max_completion_length", "0"], "--max_completion_length 0: expected a number of at least 1"),
        (["--learning_rate", "nan"], "--learning_rate nan: expected a number of at least 0"),
        (["--gradient_accumulation_steps", "0"], "--gradient_accumulation_steps 0: expected a number of at least 1"),
        (["--steps_per_generation", "0"], "--steps_per_generation 0: expected a number of at least 1"),
        (["--num_iterations", "0"], "--num_iterations 0: expected a number of at least 1"),
        (["--neftune_noise_alpha", "-1"], "--neftune_noise_alpha -1.0: expected a number of at least 0"),
        (["--top_entropy_quantile", "2"], "--top_entropy_quantile 2: expected a share of the tokens, from 0 to 1"),
        (["--torch_compile_mode", "nosuch"], "--torch_compile_mode nosuch: expected one of default, "),
        (["--max_steps", "-5"], "--max_steps -5: expected at least 1, or -1"),
        (["--scale_rewards", "nosuch"], "--scale_rewards nosuch: expected group, batch or none"),
        (["--loss_type", "nosuch"], "--loss_type nosuch: expected dapo, grpo, dr_grpo, bnpo, cispo, sapo, luspo or vespo"),
        (["--chat_template_kwargs", "nosuch"], "--chat_template_kwargs nosuch: expected JSON in braces"),
        (["--deepspeed", "nosuch"], "the configuration does not work: "),
        (["--top_k", "-7"], "--top_k -7: expected a value at least 0"),
        (["--max_completion_length", "50000"], "--max_completion_length 50000 and the longest prompt"),
    ],
)
def test_what_cannot_learn_or_work_is_refused(fake_judge, refused, flags, message):
    fake_judge()
    assert message in refused(*flags)


def told_apart_by_trl() -> dict[str, set[str]]:
    """setting -> the texts that TRL's trainer compares it with."""
    found = defaultdict(set)
    for node in ast.walk(ast.parse(Path(sys.modules[GRPOTrainer.__module__].__file__).read_text())):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute):
            with contextlib.suppress(ValueError):  # compared with something else than a constant
                values = ast.literal_eval(node.comparators[0])
                found[node.left.attr] |= set(values if isinstance(values, list) else [values])
    return found


def named_methods() -> dict[str, list[str]]:
    return {name: known for name in GRPOConfig.__annotations__ if (known := train.choices(GRPOConfig, name))}


def test_the_choices_of_a_setting_are_those_that_trl_tells_apart():
    """They are read from its help: none that TRL knows may be missing, and none be made up."""
    train.parse_arguments(["--config", TINY])  # transformers' parser changes the fields' types
    in_code = told_apart_by_trl()
    assert {"loss_type", "scale_rewards", "importance_sampling_level", "multi_objective_aggregation"} <= named_methods().keys()
    assert {name: set(known) for name, known in named_methods().items()} == {name: in_code[name] for name in named_methods()}


def test_every_method_that_trl_knows_is_accepted_and_no_other(argv, tmp_path):
    args = train.parse_arguments(argv(tmp_path / "run"))[1]
    for name, known in named_methods().items():
        one = copy.copy(args)
        for value in known:
            setattr(one, name, value)
            train.require_known_values(one)
        setattr(one, name, "nosuch")
        with pytest.raises(UserError, match=f"--{name} nosuch: expected "):
            train.require_known_values(one)


def test_settings_that_are_dicts_may_be_json_or_a_file(argv, tmp_path):
    (tmp_path / "deepspeed.json").write_text("{}")
    args = train.parse_arguments(argv(tmp_path / "run", "--chat_template_kwargs", '{"enable_thinking": false}'))[1]
    args.deepspeed = str(tmp_path / "deepspeed.json")
    train.require_known_values(args)


def test_a_folder_below_a_file_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file is not a folder: choose another --output_dir" in refused(out=tmp_path / "file" / "run")


def test_a_resumed_run_says_where_it_goes_on_and_nothing_frightening(argv, tmp_path):
    """All weights, tied: what a user of configs/tiny.yaml sees. The second run imports whatever the first one does."""
    flags = ("--max_completion_length", "8", "--save_steps", "1")
    whole = argv(tmp_path / "run", *flags, "--max_steps", "1")
    resumed = argv(tmp_path / "run", *flags, "--max_steps", "2", "--resume_from_checkpoint", "last")
    out, err = tmp_path / "out", tmp_path / "err"
    first = Training(whole, out, errors=err)
    first.wait(200)
    second = subprocess.run([sys.executable, "train.py", *resumed], cwd=ROOT, capture_output=True, text=True, timeout=200)
    for status, printed, said in ((first.poll(), out.read_text(), err.read_text()), (second.returncode, second.stdout, second.stderr)):
        assert status == 0, said
        assert [line for line in said.splitlines() if not line.startswith("... ")] == []  # a slow machine is told what takes long
        assert printed and max(map(len, printed.replace(str(tmp_path), "").splitlines())) <= 80
    assert "lm_head" in (tmp_path / "run" / "debug.log").read_text(), "what transformers says is kept, at debug level"
    assert f"going on from {tmp_path / 'run' / 'checkpoint-1'}" in " ".join(second.stdout.split())
    assert not (tmp_path / "run" / "README.md").exists(), "TRL's card knows no base model that is a folder"
    assert "None" not in (tmp_path / "run" / "model" / "README.md").read_text()


def test_missing_cargo_is_refused(refused):
    assert "no-such-cargo not found: install Rust from https://rustup.rs or pass --cargo_path" in refused(
        "--cargo_path", "no-such-cargo"
    )


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        ([], [], "the prompt set is empty"),
        ([{"text": "Add."}], [], "no prompt column: found the columns text"),
        ([{"prompt": "Add."}] * 8, ["--prompt_column", "instruction"], "no column instruction; found prompt"),
        ([{"prompt": "Add."}] * 7 + [{"prompt": ""}], [], "line 8: the prompt is"),
        ([{"prompt": "Add."}], [], "1 tasks are fewer than the 2 prompts of one generation batch"),
        (
            [{"prompt": "Add."}] * 7 + [{"task_id": "long", "prompt": "Add numbers. " * 200}],
            [],
            r"1 of 8 prompts are longer than --max_prompt_length 512 .*longest has \d{3,}, the first is task 'long'\)",
        ),
        ([{"prompt": "Add numbers. " * 200}] * 8, ["--drop_long_prompts", "true"], "every prompt is longer"),
        (
            [{"task_id": "odd", "prompt": "Add.", "tests": ["fn (("], "entry_point": "add"}] + [{"prompt": "Add."}] * 7,
            [],
            "task 'odd': ",
        ),
    ],
)
def test_unusable_prompts_are_refused(refused, fake_judge, tmp_path, rows, flags, message):
    fake_judge()
    file = tmp_path / "set.jsonl"
    write_jsonl(file, rows)
    assert re.search(message, refused("--tasks", file, *flags))


def write_set(path, prompts, **columns):
    rows = [{"task_id": f"{path.stem}/{i}", "prompt": prompt, **columns} for i, prompt in enumerate(prompts)]
    return write_jsonl(path, rows)


def test_training_on_a_held_out_task_is_refused(refused, fake_judge, tmp_path):
    fake_judge()
    train_set = write_set(tmp_path / "set.jsonl", [f"Write a Rust function to add {word}." for word in "ABCDEFGH"])
    heldout = write_set(tmp_path / "eval.jsonl", ["Subtract two numbers.", "write a PYTHON function to add C"])
    said = refused("--tasks", train_set, "--heldout", heldout)
    assert re.search(r"--heldout .*eval\.jsonl: task 'set/2' asks the same as the held-out task 'eval/1'", said)


def test_a_filter_that_leaves_nothing_is_refused(refused, fake_judge, tmp_path):
    fake_judge()
    train_set = write_set(tmp_path / "set.jsonl", ["Add."] * 8, category="bits")
    assert "leaves nothing of" in refused("--tasks", train_set, "--task_filter", "category=text")


@pytest.mark.parametrize("by_yaml", [False, True])
def test_sets_are_filtered_mixed_and_written_down(fake_judge, tmp_path, argv, by_yaml):
    fake_judge()
    easy = write_set(tmp_path / "easy.jsonl", [f"Add {i}." for i in range(4)], level="low")
    hard = write_set(tmp_path / "hard.jsonl", [f"Multiply {i}." for i in range(6)] + ["Multiply " * 60], level="high")
    specs = [f"{easy}=3", f"{hard}=1"]
    flags = argv(tmp_path / "run", "--task_filter", "prompt_words=..10", "level=low,high")
    at = flags.index("--tasks")
    if by_yaml:
        config = tmp_path / "mix.yaml"
        config.write_text(Path(TINY).read_text().replace("tasks: data/tiny_prompts.jsonl", f"tasks: {json.dumps(specs)}"))
        flags[at : at + 2] = []
        flags[flags.index("--config") + 1] = str(config)
    else:
        flags[at + 1 : at + 2] = specs
    script, args, model = train.parse_arguments(flags)
    rows, _, _, _, plan = train.make_plan(script, args, model)
    assert sorted({row["task_id"] for row in rows}) == [*(f"easy/{i}" for i in range(4)), *(f"hard/{i}" for i in range(6))]
    assert [(one["tasks"], one["rows"], one["share"]) for one in plan["task_sets"]] == [(4, 18, 0.75), (6, 6, 0.25)]
    assert plan["tasks_seed"] == args.seed and all(len(one["hash"]) == 64 for one in plan["task_sets"])


def test_unknown_task_file_is_refused(refused):
    assert "no such file" in refused("--tasks", "nowhere.jsonl")
    assert f"{Path(TINY).parent}: a folder (expected a .jsonl" in refused("--tasks", Path(TINY).parent)


def test_four_bit_without_cuda_is_refused(refused):
    assert "load_in_4bit needs a CUDA GPU" in refused("--load_in_4bit", "true")


@pytest.mark.parametrize(
    ("version", "message"), [(None, "vLLM is not installed"), ("0.99.0", "vLLM 0.99.0 is installed, TRL supports")]
)
def test_vllm_that_cannot_work_is_refused(refused, monkeypatch, version, message):
    real = doctor.package_version
    monkeypatch.setattr(doctor, "package_version", lambda name: version if name == "vllm" else real(name))
    assert message in refused("--use_vllm", "true")


@pytest.mark.parametrize(
    ("contents", "what"), [(["run.json", "trace.jsonl"], "already holds a run"), (["notes.txt"], "is not empty and holds no run")]
)
def test_output_folder_of_another_run_is_refused(refused, tmp_path, contents, what):
    (tmp_path / "run").mkdir()
    for name in contents:
        (tmp_path / "run" / name).write_text(json.dumps({"attempts": [{}], "plan": {"tasks_hash": "0"}}))
    assert f"{what}: choose another --output_dir" in refused()


@pytest.mark.parametrize("flags", [[], ["--resume_from_checkpoint", "last"]])
@pytest.mark.parametrize("run", [{"protocol": {}, "run": {}, "rows": []}, {"attempts": [{}], "plan": {"settings": {}}}])
def test_output_folder_of_another_program_is_refused_and_left_alone(refused, tmp_path, run, flags):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(run))
    assert "is no folder of a training run" in refused(*flags)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == run


def test_a_resumed_run_says_what_it_does_otherwise_and_keeps_its_optimizers_settings(argv, fake_judge, tmp_path, monkeypatch, capsys):
    fake_judge()
    monkeypatch.setattr(train, "train", lambda *args: SimpleNamespace(stop_reason=None, failed=False))
    folder = tmp_path / "run"
    assert train.main(argv(folder)) == 0
    (folder / "checkpoint-1").mkdir()
    for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt"):
        (folder / "checkpoint-1" / name).write_text("{}")
    monkeypatch.setattr(train.doctor, "damaged_file", lambda checkpoint: None)
    monkeypatch.setattr(train, "is_finished", lambda *args: False)
    resume = ("--resume_from_checkpoint", "last")
    assert train.main(argv(folder, *resume, "--learning_rate", "0.25")) == 2
    assert "it was another run: learning_rate (" in " ".join(capsys.readouterr().err.split())
    assert train.main(argv(folder, *resume, "--seed", "7", "--max_steps", "9")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"checkpoint-1; changed: .*seed \d+ -> 7", said) and "max_steps 2 -> 9" in said and "output_dir" not in said.partition("changed:")[2]


def test_a_config_that_is_given_twice_is_refused(capsys):
    assert train.main(["--config", "configs/tiny.yaml", "--config=other.yaml"]) == 2
    assert "--config is given twice" in capsys.readouterr().err


def test_resuming_with_another_system_prompt_is_refused(argv, fake_judge, tmp_path, monkeypatch, capsys):
    fake_judge()
    monkeypatch.setattr(train, "train", lambda *args: SimpleNamespace(stop_reason=None, failed=False))
    texts = {name: tmp_path / name for name in ("a", "same", "b")}
    for name, file in texts.items():
        file.write_text("Answer with Rust." if name == "b" else "Be careful.")
    folder = tmp_path / "run"

    def resume(name):
        return train.main(argv(folder, "--system_prompt", texts[name], "--resume_from_checkpoint", "last"))

    assert train.main(argv(folder, "--system_prompt", texts["a"])) == 0
    assert resume("same") == 0, "the text counts, not the name of its file"
    assert resume("b") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"it was another run: system_prompt ({texts['same']} before, {texts['b']} now)" in said
    texts["same"].write_text("Be quick.")
    assert resume("same") == 2 and "before, the same with other contents now)" in " ".join(capsys.readouterr().err.split())
    run = json.loads((folder / "run.json").read_text())
    del run["plan"]["system_prompt_hash"]
    (folder / "run.json").write_text(json.dumps(run))
    assert resume("b") == 0, "a run from before the hash was noted goes on"


def test_resuming_after_a_change_of_an_own_reward_is_refused(argv, fake_judge, tmp_path, monkeypatch, capsys):
    fake_judge()
    monkeypatch.setattr(train, "train", lambda *args: SimpleNamespace(stop_reason=None, failed=False))
    file, folder = tmp_path / "mine.py", tmp_path / "run"
    file.write_text("def short(completions, **kwargs):\n    return [1.0] * len(completions)\n")
    rewards = ("--rewards", "non_empty_reward=1", f"{file}:short=0.5")
    assert train.main(argv(folder, *rewards)) == 0
    assert train.main(argv(folder, *rewards, "--resume_from_checkpoint", "last")) == 0
    assert "holds no checkpoint: starting from step 0" in " ".join(capsys.readouterr().err.split())
    file.write_text(file.read_text().replace("1.0", "-5.0"))
    assert train.main(argv(folder, *rewards, "--resume_from_checkpoint", "last")) == 2
    assert "before, the same names with other contents now)" in " ".join(capsys.readouterr().err.split())


def test_resuming_what_never_ran_is_refused(refused):
    assert "nothing to resume" in refused("--resume_from_checkpoint", "last")


def test_resuming_from_a_missing_checkpoint_is_refused(refused, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert "no such folder; expected a checkpoint-N folder" in refused(
        "--resume_from_checkpoint", tmp_path / "run" / "checkpoint-9"
    )


def test_too_little_disk_is_refused(refused, monkeypatch):
    usage = namedtuple("usage", "total used free")(2**40, 0, 2**29)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "0.5 GiB free for" in refused()


@pytest.mark.parametrize("reward", ["cargo_biuld_reward=1", "cargo_build_reward=lots", "nowhere.py:pay=1"])
def test_unknown_reward_is_refused(refused, fake_judge, reward):
    made = fake_judge()
    assert reward.partition("=")[0] in refused("--rewards", reward)
    assert all(judge.is_closed for judge in made), "a judge's scratch folder outlives no refusal"


def test_a_misspelled_setting_is_named_on_a_machine_without_a_gpu_too(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("max_stepss: 3\n")  # and bf16 by default
    assert train.main(["--config", str(tmp_path / "mine.yaml")]) == 2
    assert "unknown setting in the config file: max_stepss; did you mean max_steps?" in " ".join(capsys.readouterr().err.split())


def test_missing_model_folder_is_refused(refused, tmp_path):
    said = refused("--model_name_or_path", tmp_path / "no-model")
    assert "no-model: no such folder; expected a hub id or a local folder" in said


@pytest.mark.parametrize(("name", "text", "message"), [
    ("model.safetensors", None, "holds no weights"),
    ("model.safetensors", "version https://git-lfs.github.com/spec/v1", "(model.safetensors: Error while deserializing header: header too large)"),
    ("model.safetensors.index.json", '{"weight_map": {"a": "model-2.safetensors"}}', "(model-2.safetensors: No such file or directory)"),
    ("model.safetensors.index.json", "[]", "(model.safetensors.index.json: "),
])  # fmt: skip
def test_a_model_folder_without_whole_weights_is_refused(refused, tiny_coder, tmp_path, name, text, message):
    folder = tmp_path / "model"
    shutil.copytree(tiny_coder, folder)
    (folder / name).write_text(text) if text else (folder / name).unlink()
    assert message in refused("--model_name_or_path", folder)


@pytest.mark.parametrize(("flags", "message"), [
    (["--use_peft", "true", "--lora_target_modules", "nowhere"], "Target modules nowhere not found"),
    (["--adam_beta1", "-1"], "Invalid beta parameter at index 0: -1.0"),
])  # fmt: skip
def test_a_setting_that_only_the_libraries_refuse_is_one_sentence(argv, fake_judge, tmp_path, capsys, flags, message):
    fake_judge()
    assert train.main(argv(tmp_path / "run", *flags)) == 1
    said = capsys.readouterr().err
    assert f"train.py: the settings do not work: {message}" in said and "Traceback" not in said


@pytest.mark.parametrize("where", ["datasets.Dataset.from_list", "train.TraceWriter", "training.shared_prompts.can_share"])
def test_a_bug_of_ours_while_the_trainer_is_built_keeps_its_traceback(argv, fake_judge, tmp_path, monkeypatch, where):
    def bug(*args, **kwargs):
        raise ValueError("not enough values to unpack")

    fake_judge()
    monkeypatch.setattr(where, bug)
    with pytest.raises(ValueError, match="not enough values") as raised:
        train.main(argv(tmp_path / "run"))
    assert raised.traceback[-1].name == "bug"


def test_a_users_error_while_the_trainer_is_built_is_said_as_it_is(argv, fake_judge, tmp_path, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise traces.TraceError("this trace is another run's")

    fake_judge()
    monkeypatch.setattr("train.TraceWriter", refuse)
    assert train.main(argv(tmp_path / "run")) == 1
    assert capsys.readouterr().err.endswith("train.py: this trace is another run's\n")


def test_nothing_of_ours_runs_while_trl_reads_the_settings(argv, fake_judge, tmp_path, monkeypatch):
    """Else a bug in it would be told as a setting that does not work. Progress bars are not shown by a function of ours."""
    ours = set()

    def watched(self, real, *args, **kwargs):
        def note(frame, event, argument):
            path = Path(frame.f_code.co_filename)
            if event == "call" and path.is_relative_to(ROOT) and "site-packages" not in path.parts and path != Path(__file__):
                ours.add((path.name, frame.f_code.co_name))

        sys.setprofile(note)
        try:
            return real(self, *args, **kwargs)
        finally:
            sys.setprofile(None)

    fake_judge()
    for name in ("__init__", "create_optimizer"):
        monkeypatch.setattr(GRPOTrainer, name, functools.partialmethod(watched, getattr(GRPOTrainer, name)))
    assert train.main(argv(tmp_path / "run", "--max_steps", "1", "--max_completion_length", "8")) == 0
    assert ours <= {("console.py", "without_bar")}


def test_model_without_chat_template_is_refused(refused, tiny_coder, tmp_path):
    folder = tmp_path / "base-model"
    shutil.copytree(tiny_coder, folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "has no chat template" in refused("--model_name_or_path", folder)


def test_template_without_a_system_role_is_refused(refused, tiny_coder, tmp_path):
    folder, system_prompt = tmp_path / "gemma", tmp_path / "system.txt"
    shutil.copytree(tiny_coder, folder)
    system_prompt.write_text("Be careful.")
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(refusing + "{{ messages[0]['content'] }}")
    said = refused("--model_name_or_path", folder, "--system_prompt", system_prompt)
    assert "System role not supported" in said and "--system_prompt none" in said


def test_prompt_that_is_not_unicode_is_refused_by_name(refused, tmp_path):
    file = write_set(tmp_path / "set.jsonl", [f"Add {i}." for i in range(7)] + ["Add \ud83d."])
    assert "the prompt of task 'set/7' holds half of a surrogate pair" in refused("--tasks", file)


def test_missing_system_prompt_is_refused(refused):
    assert "nowhere.txt" in refused("--system_prompt", "nowhere.txt")


def test_default_config_on_a_cpu_says_what_runs_there(capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert train.main([]) == 2
    assert "configs/tiny.yaml" in capsys.readouterr().err


def test_long_prompts_can_be_left_out(fake_judge, tmp_path, tiny_coder, argv):
    fake_judge()
    file = tmp_path / "set.jsonl"
    rows = [{"task_id": f"ok{i}", "prompt": f"Add {i}.", "level": i} for i in range(3)] + [
        {"task_id": "long", "prompt": "Add. " * 900}
    ]
    write_jsonl(file, rows)
    script, args, model = train.parse_arguments(argv(tmp_path / "run", "--tasks", file, "--drop_long_prompts", "true"))
    kept, _, _, _, plan = train.make_plan(script, args, model)
    assert [row["task_id"] for row in kept] == ["ok0", "ok1", "ok2"]
    assert (plan["tasks"], plan["tasks_left_out"]) == (3, 1)
    assert plan["longest_prompt_tokens"] < 512


def test_prompt_length_counts_the_rendered_conversation(tiny_coder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_coder)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add."}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert len(train.tokenize(tokenizer, [messages, messages[1:]])[0]) == len(rendered)
    assert len(train.tokenize(tokenizer, [messages[1:]])[0]) < len(rendered)


@pytest.mark.parametrize(
    ("environment", "device", "width", "threads"),
    [({}, "cpu", 64, 1), ({}, "cpu", 2048, 3), ({}, "cuda", 64, 3), ({"OMP_NUM_THREADS": "3"}, "cpu", 64, 3)],
)
def test_a_tiny_model_on_a_cpu_computes_on_one_thread(tmp_path, tiny_coder, monkeypatch, environment, device, width, threads):
    import torch

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = json.loads((tiny_coder / "config.json").read_text()) | {"hidden_size": width}
    (tmp_path / "config.json").write_text(json.dumps(config))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        train.use_one_thread_for_a_tiny_model(str(tmp_path), device)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_the_run_itself_has_one_thread_by_the_time_it_trains(argv, fake_judge, tmp_path, monkeypatch):
    import torch

    fake_judge()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before, seen = torch.get_num_threads(), []
    ended = SimpleNamespace(stop_reason=None, failed=False)
    monkeypatch.setattr(train, "train", lambda *args: seen.append(torch.get_num_threads()) or ended)
    torch.set_num_threads(3)
    try:
        assert train.main(argv(tmp_path / "run")) == 0
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


# ---------------------------------------------------------------------------------------------------------------------
# A real run: tiny model, real cargo, LoRA, two steps
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished_run(argv, tmp_path_factory):
    """Folder and printed lines of a run of two steps, judged by cargo."""
    folder = tmp_path_factory.mktemp("runs") / "real"
    out, err = io.StringIO(), io.StringIO()
    extra = ("--save_merged", "true", "--log_completions", "true", "--report_to", "tensorboard", "--save_steps", "1")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setenv("HF_TOKEN", SECRET)
        status = train.main(argv(folder, *LORA, *extra))
    assert status == 0, err.getvalue()[-2000:]
    return SimpleNamespace(folder=folder, out=out.getvalue(), err=err.getvalue(), trace=read_trace(folder))


def test_a_finished_run_is_not_trained_further(argv, finished_run, monkeypatch, capsys):
    monkeypatch.setattr(train, "train", lambda *args: pytest.fail("it went on"))
    before = (finished_run.folder / "run.json").read_bytes()
    assert train.main(argv(finished_run.folder, *LORA, "--save_steps", "1", "--resume_from_checkpoint", "last")) == 0
    assert "is at step 2 of 2: nothing to do (a larger --max_steps goes on)" in capsys.readouterr().out
    assert (finished_run.folder / "run.json").read_bytes() == before
    assert train.main(argv(finished_run.folder, *LORA, "--resume_from_checkpoint", finished_run.folder)) == 2
    assert "this is no checkpoint; expected a checkpoint-N folder, or last" in capsys.readouterr().err


def test_a_damaged_newest_checkpoint_is_said_and_the_run_goes_on_from_the_one_before(argv, finished_run, fake_judge, tmp_path, capsys):
    fake_judge()
    folder = shutil.copytree(finished_run.folder, tmp_path / "run")
    damaged = folder / "checkpoint-2" / "adapter_model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert train.main(argv(folder, *LORA, "--save_steps", "1", "--resume_from_checkpoint", "last")) == 0
    said = capsys.readouterr()
    assert "checkpoint-2 is damaged (adapter_model.safetensors: " in said.err and "going on from checkpoint-1" in said.err
    assert re.findall(r"^step (\d)/2 ", said.out, re.M) == ["2"]
    assert Counter(traces.load_trace(folder)["step"]) == {1: 8, 2: 8}
    assert [line["step"] for line in traces.read_metrics(folder)] == [1, 2]
    assert doctor.damaged_file(folder / "checkpoint-2") is None, "saved anew"


def test_a_full_disk_is_what_the_user_hears_of(argv, fake_judge, tmp_path, monkeypatch, capsys):
    fake_judge()
    written = []

    def full(self, records):
        written.append(records)
        if len(written) > 1:
            raise train.UserError("cannot write the trace: free some space")

    monkeypatch.setattr(train.TraceWriter, "write", full)
    monkeypatch.setattr(train, "save_model", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert train.main(argv(tmp_path / "run")) == 1
    said = capsys.readouterr().err
    assert f"could not be saved: cannot write to {tmp_path / 'run'} (No space left on device)" in said and said.strip().endswith("cannot write the trace: free some space")


CONTRACT = {
    "schema_version": int,
    "task_id": str,
    "step": int,
    "rank": int,
    "group_id": str,
    "prompt": str,
    "completion": str,
    "program": str | None,
    "build_passed": bool,
    "clippy_passed": bool,
    "clippy_warnings": int,
    "test_passed": bool,
    "tests": dict,
    "hidden_passed": int | None,
    "hidden_total": int | None,
    "error_kind": str | None,
    "diagnostics": list,
    "honest_tests": bool,
    "guard": str | None,
    "rewards": dict,
    "reward": float | None,
    "advantage": float,
    "duration_s": float,
}


def test_every_trace_line_keeps_the_contract(finished_run):
    assert len(finished_run.trace) == 16
    for record in finished_run.trace:
        assert set(CONTRACT) <= set(record)
        for field, kind in CONTRACT.items():
            assert isinstance(record[field], kind), f"{field}: {record[field]!r}"
        assert set(record["rewards"]) == {spec.partition("=")[0] for spec in rewards.DEFAULT_REWARDS}
        assert record["error_kind"] in {None, "no_code", "compile", "test_failed", "panic", "timeout", "infra"}
        assert record["prompt"] in PROMPTS


def test_cargo_really_graded_the_run(finished_run):
    kinds = Counter(record["error_kind"] for record in finished_run.trace)
    assert kinds[None] and kinds["no_code"], kinds
    assert kinds["infra"] == 0
    passed = [record for record in finished_run.trace if record["completion"] == GOOD]
    assert passed, "the model knows a program that passes"
    for record in passed:
        assert record["tests"] == {"tests::adds": "ok"}
        # build 1, clippy 1 (that add is unused does not count), tests 4, not empty 1, blocks 0.5 each, 1 assert of 4 at 0.5
        assert record["reward"] == pytest.approx(8.125)
    for record in finished_run.trace:
        if record["error_kind"] == "no_code":
            assert (record["reward"], record["program"]) == (0.0, None)


def test_groups_are_completions_of_one_prompt_and_steps_are_numbered_from_one(finished_run):
    assert Counter(record["step"] for record in finished_run.trace) == {1: 8, 2: 8}
    groups = groups_of(finished_run.trace)
    assert len(groups) == 4
    for records in groups.values():
        assert len(records) == 4
        assert len({(record["step"], record["task_id"], record["prompt"]) for record in records}) == 1


def test_advantages_are_what_grpo_makes_of_the_rewards(finished_run):
    assert_advantages_follow_from_rewards(finished_run.trace)
    assert any(record["advantage"] != 0 for record in finished_run.trace), "no group differed: nothing was tested"


def test_token_counts_are_of_the_completions(finished_run, tiny_coder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_coder)
    exact = [r for r in finished_run.trace if r["n_tokens"] == len(tokenizer(r["completion"])["input_ids"]) + 1]
    assert len(exact) >= len(finished_run.trace) / 2, "a completion's tokens are its text's and the end of turn"
    assert max(record["n_tokens"] for record in finished_run.trace) <= 96


def test_metrics_have_a_line_per_step_with_what_a_step_costs(finished_run):
    metrics = [json.loads(line) for line in (finished_run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [1, 2]
    for line in metrics:
        records = [record for record in finished_run.trace if record["step"] == line["step"]]
        assert line["reward"] == pytest.approx(statistics.mean(record["reward"] for record in records), abs=1e-4)
        assert line["judge/build_rate"] == pytest.approx(statistics.mean(record["build_passed"] for record in records))
        assert line["judge/infra_share"] == 0
        generate, grade, learn = (line[f"time/{phase}_s"] for phase in ("generate", "grade", "train"))
        assert min(generate, grade, learn) > 0
        assert generate + grade + learn == pytest.approx(line["step_time"], abs=0.01)
        assert "rewards/cargo_test_reward/mean" in line


def test_a_readable_line_per_step_and_a_plan_before(finished_run):
    lines = finished_run.out.splitlines()
    steps = [line for line in lines if line.startswith("step ")]
    assert len(steps) == 2
    assert re.match(r"step 2/2 \| reward \d.*\| ETA \d", steps[1])
    plan = " ".join(" ".join(lines[: lines.index(steps[0])]).split())  # however wide the terminal
    for fact in ("8 from", "of 512 tokens", "8 completions = 2 prompts x 4", "cargo 1.", "clippy", "GiB free", "2 ("):
        assert fact in plan


def test_run_json_holds_config_versions_commit_and_no_token(finished_run):
    run = json.loads((finished_run.folder / "run.json").read_text())
    assert run["config"]["training"]["max_steps"] == 2
    assert run["config"]["model"]["lora_r"] == 4
    assert run["config"]["script"]["rewards"] == train.parse_arguments(["--config", TINY])[0].rewards
    assert run["plan"]["tasks"] == 8 and len(run["plan"]["tasks_hash"]) == 64
    assert run["plan"]["system_prompt_hash"] == hashlib.sha256(b"").hexdigest()
    assert run["plan"]["judge"]["sandbox"]["tier"]
    assert run["plan"]["task_sets"][0]["hash"] == run["plan"]["tasks_hash"] and run["plan"]["heldout_prompts"] == 0
    assert {"python", "torch", "trl", "peft", "commit"} <= set(run["versions"])
    files = [path for path in finished_run.folder.rglob("*") if path.is_file()]
    assert any(path.name == "training_args.bin" for path in files), "the file that would hold a token is there"
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_trls_own_logging_keeps_working(finished_run):
    import pandas

    table = pandas.read_parquet(finished_run.folder / "completions" / "completions_00001.parquet")
    assert len(table) == 8 and "cargo_build_reward" in table
    assert list(finished_run.folder.rglob("events.out.tfevents*")), "report_to: tensorboard"


@pytest.fixture(scope="module")
def probe(tiny_coder):
    """Token ids to compare logits on."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_coder)(PROMPTS[0] + PROSE, return_tensors="pt")["input_ids"]


def test_adapter_changes_the_model_and_merged_equals_it(finished_run, tiny_coder, probe):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(tiny_coder, dtype=torch.float32)
        base_logits = base(probe).logits
        merged = AutoModelForCausalLM.from_pretrained(finished_run.folder / "merged", dtype="auto")
        assert merged.dtype == torch.bfloat16
        merged_logits = merged.float()(probe).logits
        adapted = PeftModel.from_pretrained(base, finished_run.folder / "adapter")
        adapted_logits = adapted(probe).logits
    moved = (adapted_logits - base_logits).abs().max()
    apart = (merged_logits - adapted_logits).abs().max()
    assert moved > 0.1, "training did something"
    assert apart < 0.05 * moved + 0.05, f"merged differs by {apart}, training moved the logits by {moved}"


def test_merged_has_exactly_the_base_models_weights(finished_run, tiny_coder):
    from safetensors import safe_open

    def shapes(folder):
        with safe_open(folder / "model.safetensors", "pt") as weights:
            return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}

    assert shapes(finished_run.folder / "merged") == shapes(tiny_coder)


def test_the_adapter_is_what_vllm_loads_as_it_is(finished_run, tiny_coder):
    """vLLM's --enable-lora: its PEFTHelper refuses DoRA, trained biases and modules_to_save; its loader wants lora_A and lora_B of linear layers.

    Source: vllm/lora/peft_helper.py, parse_fine_tuned_lora_name in vllm/lora/utils.py.
    """
    import torch
    from transformers import AutoModelForCausalLM

    folder = finished_run.folder / "adapter"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["use_dora"], config["bias"], config["modules_to_save"], config["peft_type"]) == (False, "none", None, "LORA")
    linear = {name: part for name, part in AutoModelForCausalLM.from_pretrained(tiny_coder).named_modules() if isinstance(part, torch.nn.Linear)}
    tensors, seen = load_file(folder / "adapter_model.safetensors"), set()
    for name, tensor in tensors.items():
        found = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        layer = linear[found[1]]
        shape = (config["r"], layer.in_features) if found[2] == "A" else (layer.out_features, config["r"])
        assert tuple(tensor.shape) == shape
        seen.add(found[1])
    targets = config["target_modules"]
    assert isinstance(targets, list) and {name for name in linear if name.endswith(tuple(targets))} == seen and "lm_head" not in seen


def test_model_cards_snippet_runs_as_printed(finished_run):
    card = (finished_run.folder / "adapter" / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert "max_new_tokens=400" in snippet
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(snippet.replace("max_new_tokens=400", "max_new_tokens=8, do_sample=False"), {})
    assert said.getvalue().strip()


def test_model_card_says_what_was_measured_and_configured(finished_run, tiny_coder):
    card = (finished_run.folder / "adapter" / "README.md").read_text()
    assert card.startswith(f"---\nbase_model: {tiny_coder}\n")
    assert re.search(r"\| mean reward \| \d\.\d{3} \| \d\.\d{3} \|", card)
    assert "steps: 2" in card and "lora_r: 4" in card


def test_trace_of_the_run_can_be_plotted(finished_run, tmp_path):
    frame = traces.load_trace(finished_run.folder)
    assert len(frame) == 16
    plot_rewards.plot({"real": frame}, tmp_path / "rewards.png", window=8)
    assert (tmp_path / "rewards.png").stat().st_size > 10_000


# ---------------------------------------------------------------------------------------------------------------------
# Batch arithmetic and group ids (fake judge from here on)
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        (("--num_train_epochs", "0.6"), 3),  # 4 steps an epoch
        (("--num_train_epochs", "0.5", "--num_iterations", "2"), 4),
        (("--num_train_epochs", "1", "--gradient_accumulation_steps", "3", "--generation_batch_size", "8"), 2),
    ],
)
def test_planned_steps_are_the_steps_that_run(argv, fake_judge, tmp_path, flags, steps):
    fake_judge()
    assert train.main(argv(tmp_path / "run", "--max_steps", "-1", "--max_completion_length", "8", *flags)) == 0
    plan = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert plan["steps"] == state["max_steps"] == state["global_step"] == steps


def test_group_ids_stay_apart_when_a_step_generates_twice(argv, fake_judge, tmp_path):
    fake_judge()
    flags = ("--gradient_accumulation_steps", "2", "--generation_batch_size", "8", "--max_completion_length", "8")
    assert train.main(argv(tmp_path / "run", *flags)) == 0
    trace = read_trace(tmp_path / "run")
    assert Counter(record["step"] for record in trace) == {1: 16, 2: 16}
    for records in groups_of(trace).values():
        assert len(records) == 4
        assert len({record["task_id"] for record in records}) == 1


def test_full_training_without_lora_saves_a_model_that_loads(argv, fake_judge, tmp_path, probe):
    from transformers import AutoModelForCausalLM

    fake_judge()
    assert train.main(argv(tmp_path / "run", "--max_steps", "1", "--max_completion_length", "8")) == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")(probe).logits.isfinite().all()
    assert not (tmp_path / "run" / "adapter").exists()


# ---------------------------------------------------------------------------------------------------------------------
# Machine failures, own rewards
# ---------------------------------------------------------------------------------------------------------------------


def test_completions_the_machine_failed_move_nothing(argv, fake_judge, tmp_path):
    fake_judge(lambda job: infra_verdict(job) if job.program is None else passing_verdict(job))
    assert train.main(argv(tmp_path / "run", "--max_infra_share", "1", "--max_steps", "3")) == 0
    trace = read_trace(tmp_path / "run")
    failed = [record for record in trace if record["error_kind"] == "infra"]
    assert failed and len(failed) < len(trace)
    assert all(set(record["rewards"].values()) == {None} and record["reward"] is None for record in failed)
    assert_advantages_follow_from_rewards(trace)


def test_run_stops_in_error_when_the_machine_fails_too_often(argv, fake_judge, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("training.callback.MIN_TRACED_FOR_INFRA_STOP", 16)
    made = fake_judge(infra_verdict)  # 8 tokens are no program, so no batch is graded again
    assert train.main(argv(tmp_path / "run", *LORA, "--max_steps", "9", "--max_completion_length", "8")) == 1
    assert "100.0% of 16 completions could not be graded" in capsys.readouterr().err
    assert max(record["step"] for record in read_trace(tmp_path / "run")) == 2, "after the first 16, not before"
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    assert made[0].is_closed


def test_a_machine_that_fails_a_whole_batch_stops_the_run_before_it_is_trained_on(argv, fake_judge, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rewards, "INFRA_WAITS_S", (0.0,))
    monkeypatch.setattr(rewards, "MIN_INFRA_OF_BATCH", 1)
    made = fake_judge(lambda job: infra_verdict(job) if job.program and len(made[0].batches) > 1 else passing_verdict(job))
    assert train.main(argv(tmp_path / "run", *LORA, "--max_steps", "5", "--save_steps", "1")) == 1
    assert "programs of a batch could not be graded (no reason given), also not 0 s later" in capsys.readouterr().err
    assert {record["step"] for record in read_trace(tmp_path / "run")} == {1}
    assert (tmp_path / "run" / "checkpoint-1" / "trainer_state.json").is_file()
    assert made[0].is_closed


def callback_for(tmp_path, **limits):
    """RunCallback with its trainer's state and control, started."""
    script = train.ScriptArguments(**limits)
    callback = RunCallback(script, tmp_path / "metrics.jsonl", 8)
    state = SimpleNamespace(global_step=0, max_steps=10, is_world_process_zero=True)
    control = SimpleNamespace(should_training_stop=False, should_save=False)
    callback.on_train_begin(None, state, control)
    return callback, state, control


def test_a_run_that_is_asked_to_stop_in_an_evaluation_takes_no_other_step(tmp_path):
    callback, state, control = callback_for(tmp_path)
    for step, reason, stops in ((2, None, False), (0, "SIGINT", False), (2, "SIGINT", True)):
        state.global_step, callback.stop_reason = step, reason
        callback.on_evaluate(SimpleNamespace(device="cpu"), state, control)
        assert control.should_training_stop is stops


def test_a_disk_that_is_full_when_a_checkpoint_is_written_is_named(argv, fake_judge, tmp_path, monkeypatch, capsys):
    fake_judge()
    full = "[enforce fail at inline_container.cc:672] . unexpected pos 2758528 vs 2758420"
    monkeypatch.setattr("torch.save", lambda *args, **kwargs: (_ for _ in ()).throw(RuntimeError(full)))
    assert train.main(argv(tmp_path / "run")) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and "(a file was cut off): what was written before is intact; free some space and go on with --resume_from_checkpoint last" in said


@pytest.mark.parametrize("file_bytes", [2**13, 3 * 2**13, 2**16])
def test_wherever_a_file_cannot_grow_the_user_reads_one_sentence(argv, fake_judge, tmp_path, capsys, file_bytes):
    """The first that is too long for one of these limits: what the run is, the trace or evaluations, weights."""
    fake_judge()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    tasks = [{"task_id": f"held-out/{i}", "prompt": f"Other work, number {i}.", "tests": "assert_eq!(1, 1);"} for i in range(2)]
    flags = (*LORA, "--eval_tasks", write_jsonl(tmp_path / "eval.jsonl", tasks), "--eval_samples", "1")
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, limits[1]))
    try:
        status = train.main(argv(tmp_path / "run", *flags))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capsys.readouterr().err
    assert status == 1 and "Traceback" not in said and "cannot write to" in said


@pytest.mark.parametrize(("difference", "stops"), [(0.02, False), (0.1, False), (0.11, True)])
def test_run_stops_when_another_policy_is_sampled(tmp_path, difference, stops):
    callback, state, control = callback_for(tmp_path)
    state.global_step = 1
    callback.on_log(None, state, control, logs={"reward": 1.0, "sampling/sampling_logp_difference/mean": difference})
    assert (control.should_training_stop, control.should_save, callback.failed) == (stops, stops, stops)
    assert ("samples another policy" in (callback.stop_reason or "")) == stops


@pytest.mark.parametrize(
    ("shares", "stops"), [([0.0] * 8, False), ([0.03] * 8, False), ([0.0] * 7 + [0.5], True), ([1.0] * 7, False)]
)
def test_infra_share_is_judged_over_the_whole_run_and_not_before_64(tmp_path, shares, stops):
    callback, state, control = callback_for(tmp_path)
    for share in shares:
        state.global_step += 1
        callback.on_log(None, state, control, logs={"reward": 1.0, "judge/infra_share": share})
    assert control.should_training_stop is stops


def test_a_step_that_samples_for_the_next_ones_is_expected_to_take_their_time_too(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("training.callback.time.monotonic", lambda: clock[0])
    callback, state, control = callback_for(tmp_path, max_minutes=1)
    callback.steps_per_batch = 4
    for state.global_step in range(1, 9):
        clock[0] += 21 if state.global_step % 4 == 1 else 0.1
        callback.on_step_end(SimpleNamespace(device="cpu"), state, control)
        assert control.should_training_stop is (state.global_step == 8), "a third batch would end after 64 s"


def test_the_time_left_takes_a_batch_for_what_it_is(tmp_path, monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("training.callback.time.monotonic", lambda: clock[0])
    callback, state, control = callback_for(tmp_path)
    callback.steps_per_batch, state.max_steps = 4, 8
    for state.global_step, clock[0] in ((1, 20.0), (5, 44.0)):
        callback.on_log(None, state, control, logs=HEALTHY | {"reward": 1.0})
    assert [line.rpartition("ETA ")[2] for line in capsys.readouterr().out.splitlines()] == ["0:35", "0:16"]


def test_completions_are_counted_once_where_several_steps_use_them(tmp_path):
    callback, state, control = callback_for(tmp_path)
    for state.global_step in range(1, 10):
        sampled = {"reward": 1.0, "judge/infra_share": 0.5} if state.global_step % 4 == 1 else {}
        callback.on_log(None, state, control, logs={"loss": 0.0} | sampled)
    assert callback._graded == 8 * 9 and callback._infra == callback._graded / 2


def test_a_torn_metrics_line_and_a_step_done_again_cost_no_step(tmp_path):
    whole = [json.dumps({"step": step, "reward": 0.0}) + "\n" for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(whole) + '{"step": 4, "rew')
    callback, state, control = callback_for(tmp_path)
    for state.global_step in (3, 4):
        callback.on_log(None, state, control, logs={"reward": 1.0})
    assert [(line["step"], line["reward"]) for line in traces.read_metrics(tmp_path)] == [(1, 0), (2, 0), (3, 1), (4, 1)]


def test_closing_summary_is_no_step(tmp_path):
    callback, state, control = callback_for(tmp_path)
    callback.on_log(None, state, control, logs={"train_runtime": 3.0})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_step_line_survives_a_batch_without_any_reward(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    line = step_line(3, 8, {"reward": None, "judge/infra_share": 1.0}, 61.4)
    assert line.startswith("step 3/8 | reward - | build -") and line.endswith("ETA 1 min 01 s")


FULL_STEP = {
    "reward": 5.06, "judge/build_rate": 0.79, "judge/clippy_rate": 0.79, "judge/test_rate": 0.3, "judge/honest_test_rate": 0.3,
    "judge/hidden_test_share": 0.45, "completions/mean_length": 285.2,
    "time/generate_s": 11.9, "time/grade_s": 13.0, "time/train_s": 19.7, "time/wait_s": 2.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (200, "step 10/11 | reward 5.06 | build 79 % clippy 79 % tests 30 % honest 30 % hidden 45 % | 285 tokens | "
              "generate 11.9 wait 2.1 train 19.7 s | ETA 12 min 04 s"),
        (80, "step 10/11 | reward 5.06 | build 79 % hidden 45 % | 34 s (wait 2) | ETA 12:04"),
        (40, "step 10/11 | reward 5.06 | ETA 12:04"),
        (20, "step 10/11 | ETA 12:04"),
    ],
)  # fmt: skip
def test_a_step_line_says_as_much_as_the_terminal_is_wide(monkeypatch, columns, expected):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert step_line(10, 11, FULL_STEP, 724) == expected


def test_a_step_line_of_a_run_that_measures_no_waits_names_the_longest_phase(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    logs = {key: value for key, value in FULL_STEP.items() if "wait" not in key and "hidden" not in key}
    assert step_line(10, 11, logs, 44) == "step 10/11 | reward 5.06 | build 79 % honest 30 % | 45 s (train 20) | ETA 0:44"


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_help_shows_ours_and_fits(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as ended:
        train.parse_arguments(["--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert max(map(len, text.splitlines())) <= int(columns)
    for name in [*(name for name, one in train.ScriptArguments.__dataclass_fields__.items() if one.init), *train.FREQUENT]:
        assert f"\n  --{name}" in text
    assert "--galore" not in text and "--lr_scheduler_kwargs" not in text and "--help_all" in text


def test_help_all_shows_every_setting_of_trl(capsys):
    with pytest.raises(SystemExit):
        train.parse_arguments(["--help_all"])
    text = capsys.readouterr().out
    assert "--lr_scheduler_kwargs" in text and "--tokens_per_micro_batch" in text


def test_a_checkpoint_that_lacks_weights_is_named(tiny_coder, tmp_path):
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_coder, dtype=torch.float32)
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}  # tied: once, as it is saved
    save_file(saved, tmp_path / "model.safetensors")
    train.require_all_weights(model, tmp_path)
    del saved["model.norm.weight"]
    save_file(saved, tmp_path / "model.safetensors")
    with pytest.raises(train.UserError, match=rf"{tmp_path} lacks 1 of the model's \d+ weights \(model.norm.weight\)"):
        train.require_all_weights(model, tmp_path)


def test_own_reward_is_logged_and_traced(argv, fake_judge, tmp_path):
    fake_judge()
    (tmp_path / "mine.py").write_text(
        "def short(prompts, completions, completion_ids, graded, **kwargs):\n"
        "    return [1 / len(ids) for ids in completion_ids]\n"
    )
    flags = ("--rewards", "cargo_build_reward=1", f"{tmp_path / 'mine.py'}:short=2", "--max_steps", "1")
    assert train.main(argv(tmp_path / "run", *flags)) == 0
    trace = read_trace(tmp_path / "run")
    for record in trace:
        assert record["rewards"]["short"] == pytest.approx(1 / record["n_tokens"])
        assert record["reward"] == pytest.approx(record["rewards"]["cargo_build_reward"] + 2 / record["n_tokens"])
    assert_advantages_follow_from_rewards(trace)
    assert "rewards/short/mean" in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_own_reward_that_fails_mid_run_loses_nothing(argv, fake_judge, tmp_path, capsys):
    made = fake_judge()
    (tmp_path / "mine.py").write_text(
        "def pay(prompts, completions, trainer_state, **kwargs):\n"
        "    return [1.0] * (len(completions) if trainer_state.global_step < 1 else 1)\n"
    )
    flags = ("--rewards", "cargo_build_reward=1", f"{tmp_path / 'mine.py'}:pay=1", "--max_completion_length", "8")
    assert train.main(argv(tmp_path / "run", *LORA, *flags)) == 1
    assert "pay must return 8 finite numbers or None" in capsys.readouterr().err
    assert {record["step"] for record in read_trace(tmp_path / "run")} == {1}
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    assert made[0].is_closed


def test_own_reward_that_raises_leaves_its_whole_way_in_debug_log(argv, fake_judge, tmp_path, capfd):
    fake_judge()
    (tmp_path / "mine.py").write_text("def half(x):\n    return 1 / x\n\ndef pay(prompts, **kwargs):\n    return [half(0) for _ in prompts]\n")
    assert train.main(argv(tmp_path / "run", "--rewards", f"{tmp_path / 'mine.py'}:pay=1", "--max_completion_length", "8", "--max_steps", "1")) == 1
    said = capfd.readouterr().err
    assert "the reward pay raised an error at" in said and "line 2: ZeroDivisionError" in said and "Traceback" not in said
    debug = (tmp_path / "run" / "debug.log").read_text()
    assert "Traceback" in debug and "in pay" in debug and "in half" in debug


def test_other_columns_reach_the_trace(argv, fake_judge, tmp_path):
    fake_judge()
    rows = [{"prompt": prompt, "level": i, "tags": ["a"] if i % 2 else None} for i, prompt in enumerate(PROMPTS)]
    write_jsonl(tmp_path / "set.jsonl", rows)
    assert train.main(argv(tmp_path / "run", "--tasks", tmp_path / "set.jsonl", "--max_steps", "1")) == 0
    for record in read_trace(tmp_path / "run"):
        assert record["columns"]["level"] == PROMPTS.index(record["prompt"])


@pytest.mark.parametrize(
    "odd",
    [float("nan"), b"\xff", datetime.date(2026, 1, 2), [{"deep": float("inf")}]],
    ids=lambda odd: type(odd).__name__,
)
def test_other_columns_of_any_type_can_be_traced(argv, fake_judge, tmp_path, tiny_coder, odd):
    import pyarrow
    import pyarrow.parquet

    fake_judge()
    rows = [{"prompt": prompt, "odd": odd} for prompt in PROMPTS]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "set.parquet")
    script, args, model = train.parse_arguments(argv(tmp_path / "run", "--tasks", tmp_path / "set.parquet"))
    kept, _, _, reward_set, _ = train.make_plan(script, args, model)
    columns = {key: [row[key] for row in kept] for key in kept[0] if key != "prompt"}
    graded = reward_set.grade_batch([row["prompt"] for row in kept], [PROSE] * len(kept), columns)
    traces.TraceWriter(tmp_path / "trace.jsonl").write(graded)
    assert all("odd" in record["columns"] for record in read_trace(tmp_path))


def test_the_plan_tells_of_tasks_that_their_own_reference_does_not_pass(argv, fake_judge, tmp_path, capsys):
    fake_judge(lambda job: Verdict(build_passed=True, hidden_passed=int("1;" in job.program.source), hidden_total=1))
    rows = [{"prompt": p, "tests": ["assert_eq!(f(), 1);"], "gold": f"fn f() -> i32 {{\n    return {i};\n}}"} for i, p in enumerate(PROMPTS)]
    write_jsonl(tmp_path / "set.jsonl", rows)
    script, args, model = train.parse_arguments(argv(tmp_path / "run", "--tasks", tmp_path / "set.jsonl"))
    *_, plan = train.make_plan(script, args, model)
    assert plan["references"].startswith(f"{len(PROMPTS) - 1} of the {len(PROMPTS)} tasks with a reference solution")
    train.print_plan(plan, script, args, model)
    assert "references  " in capsys.readouterr().out


def test_a_run_tells_of_tests_that_compiled_with_no_program(argv, fake_judge, tmp_path, capsys):
    fails = {"hidden_failures": {"do not compile": "E0308: mismatched types"}, "hidden_error_kind": "compile"}
    fake_judge(lambda job: Verdict(build_passed=True, hidden_passed=0, hidden_total=1, hidden_statuses=("failed",), **fails))
    write_jsonl(tmp_path / "set.jsonl", [{"task_id": p, "prompt": p, "tests": ["assert_eq!(f(), 1);"]} for p in PROMPTS[:2]])
    flags = ("--tasks", tmp_path / "set.jsonl", "--max_steps", 6)
    assert train.main(argv(tmp_path / "run", *map(str, flags))) == 0
    assert "compile with none of 10 or more programs" in " ".join(capsys.readouterr().err.split())


def test_hidden_tests_reach_the_judge_and_the_system_prompt_the_model(argv, fake_judge, tmp_path):
    made = fake_judge(
        lambda job: Verdict(build_passed=True, hidden_passed=1, hidden_total=2 if job.hidden_tests else None)
    )
    rows = [
        {"prompt": prompt, "tests": [f"assert_eq!(add({i}, 0), {i});"] if i % 2 else None, "entry_point": "add"}
        for i, prompt in enumerate(PROMPTS)
    ]
    write_jsonl(tmp_path / "set.jsonl", rows)
    (tmp_path / "system.txt").write_text("Answer in Rust.\n")
    flags = (
        "--tasks",
        tmp_path / "set.jsonl",
        "--system_prompt",
        tmp_path / "system.txt",
        "--rewards",
        "hidden_tests_reward=1",
    )
    assert train.main(argv(tmp_path / "run", *flags, "--max_steps", "2", "--log_completions", "true")) == 0
    for job in made[0].batches[0]:
        i = PROMPTS.index(job.prompt)
        assert job.hidden_tests == ((f"assert_eq!(add({i}, 0), {i});",) if i % 2 else None)
    import pandas

    shown = pandas.read_parquet(tmp_path / "run" / "completions" / "completions_00001.parquet")["prompt"][0]
    assert [turn["role"] for turn in shown] == ["system", "user"]
    assert shown[0]["content"] == "Answer in Rust."
    assert "assert_eq" not in str(shown)
    for record in read_trace(tmp_path / "run"):
        has_tests = PROMPTS.index(record["prompt"]) % 2 == 1
        assert (record["hidden_total"], record["reward"]) == ((2, 0.5) if has_tests else (None, None))


# ---------------------------------------------------------------------------------------------------------------------
# Stopping and going on
# ---------------------------------------------------------------------------------------------------------------------


def test_full_disk_while_tracing_stops_with_whole_batches_and_the_adapter(
    argv, fake_judge, tmp_path, capsys, monkeypatch
):
    fake_judge()
    real_write = os.write

    def write_until_full(fd, data):
        if os.fstat(fd).st_size > 0 and os.readlink(f"/proc/self/fd/{fd}").endswith("trace.jsonl"):
            real_write(fd, bytes(data[:100]))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_write(fd, data)

    monkeypatch.setattr(os, "write", write_until_full)
    assert train.main(argv(tmp_path / "run", *LORA, "--max_steps", "5", "--max_completion_length", "8")) == 1
    said = capsys.readouterr().err
    assert f"cannot write to {tmp_path / 'run'} (No space left on device)" in said
    assert Counter(record["step"] for record in read_trace(tmp_path / "run")) == {1: 8}
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_gradient_that_is_no_number_ends_the_run_with_the_model_before_it(argv, fake_judge, tmp_path, capsys, monkeypatch):
    fake_judge()
    loss = TracedGRPOTrainer._compute_loss
    spoilt = lambda trainer, *batch: loss(trainer, *batch) * (float("nan") if trainer.state.global_step else 1.0)
    monkeypatch.setattr(TracedGRPOTrainer, "_compute_loss", spoilt)
    assert train.main(argv(tmp_path / "run", *LORA, "--max_steps", "3", "--max_completion_length", "8")) == 1
    assert "step 2: the gradient is no finite number, so the run ends before this update" in capsys.readouterr().err
    weights = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert weights and all(weight.isfinite().all() for weight in weights.values())


@pytest.mark.parametrize("max_steps", [50, 1])
def test_max_minutes_stops_cleanly_with_adapter_and_checkpoint(argv, fake_judge, tmp_path, capsys, max_steps):
    fake_judge()
    flags = ("--max_minutes", "0.0001", "--max_steps", max_steps, "--max_completion_length", "8")
    assert train.main(argv(tmp_path / "run", *LORA, *map(str, flags))) == 0
    said = "stopped early: another step would pass --max_minutes" in capsys.readouterr().err
    assert said == (max_steps > 1), "the last step was the last anyway"
    assert {record["step"] for record in read_trace(tmp_path / "run")} == {1}
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "run" / "checkpoint-1" / "trainer_state.json").is_file()


def test_first_signal_asks_second_interrupts_and_handlers_come_back(capsys, monkeypatch, request):
    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    monkeypatch.setattr(train, "streams_of_a_terminal", list)  # they are this test run's
    request.addfinalizer(functools.partial(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP)))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before = [*map(signal.getsignal, handled)]
    for number in handled[:2]:
        callback = SimpleNamespace(stop_reason=None, has_begun=True)
        with pytest.raises(KeyboardInterrupt), train.stop_on_signal(callback):
            os.kill(os.getpid(), number)
            assert number.name in callback.stop_reason
            os.kill(os.getpid(), number)
        assert [*map(signal.getsignal, handled)] == before
        callback = SimpleNamespace(stop_reason=None, has_begun=False)
        with pytest.raises(KeyboardInterrupt), train.stop_on_signal(callback):
            os.kill(os.getpid(), number)
    callback = SimpleNamespace(stop_reason=None, has_begun=True)
    with train.stop_on_signal(callback):
        for _ in range(3):  # a shell says it more than once
            os.kill(os.getpid(), signal.SIGHUP)
    assert "SIGHUP" in callback.stop_reason
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)  # started with nohup
    callback = SimpleNamespace(stop_reason=None, has_begun=True)
    with train.stop_on_signal(callback):
        assert signal.signal(signal.SIGHUP, signal.SIG_DFL) == before[-1]
        signal.signal(signal.SIGHUP, before[-1])
    assert "finishing this step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        ("KeyboardInterrupt", 130, "interrupted"),
        ("OutOfMemoryError", 1, "out of GPU memory in step 2 .*--per_device_train_batch_size"),
    ],
)
def test_interrupted_step_still_saves_what_was_reached(argv, fake_judge, tmp_path, capsys, raised, status, message):
    import torch

    made = fake_judge(lambda job: interrupt() if len(made[0].batches) > 1 else passing_verdict(job))

    def interrupt():
        raise (
            KeyboardInterrupt
            if raised == "KeyboardInterrupt"
            else torch.OutOfMemoryError("CUDA out of memory. Tried 1 GiB\nmore")
        )

    assert train.main(argv(tmp_path / "run", *LORA, "--max_completion_length", "8")) == status
    assert re.search(message, capsys.readouterr().err)
    assert {record["step"] for record in read_trace(tmp_path / "run")} == {1}
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    assert made[0].is_closed


def start(command, log):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_TOKEN": SECRET, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True
    )


def wait_until(holds, process, log, timeout_s=150):
    """Poll until `holds()`; fails with the log when the process ends first or time is up."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)


def descendants(pid):
    """Process ids below this one, parents first."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found += [child for child in sorted(parents) if parents[child] == parent]
    return found[1:]


def has_variable(pid, assignment):
    """Whether a process was started with this NAME=value."""
    with contextlib.suppress(OSError):  # it may be gone by now
        return assignment in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def kill_tree(process):
    """SIGKILL to the process and everything below it."""
    for pid in (process.pid, *descendants(process.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def status_after_ctrl_c(command, log, text, environment=()):
    """Exit status of a training that gets Ctrl-C when its log holds a text."""
    process = Training(command, log, environment)
    try:
        wait_until(lambda: text in log.read_text(), process, log)
        process.send_signal(signal.SIGINT)
        return process.wait(60)
    finally:
        kill_tree(process)


def test_ctrl_c_before_the_first_step_stops_at_once(argv, tmp_path):
    log, folder = tmp_path / "log", tmp_path / "run"
    command = argv(folder, *LORA, "--eval_tasks", "data/tiny_val.jsonl", "--eval_every", "2", "--eval_samples", "200", "--max_steps", "2")
    assert status_after_ctrl_c(command, log, "evaluation after step 0") == 130, log.read_text()[-3000:]
    assert "train.py: interrupted" in log.read_text()
    assert not list(folder.glob("checkpoint-*")) and not (folder / "adapter").exists()


def test_ctrl_c_stops_cleanly_with_the_adapter_saved(argv, tmp_path):
    log, folder = tmp_path / "log", tmp_path / "run"
    command = argv(folder, *LORA, "--max_steps", "2000")
    assert status_after_ctrl_c(command, log, "step 1/2000", {"HF_TOKEN": SECRET}) == 0, log.read_text()[-3000:]
    assert "asked to stop (SIGINT)" in log.read_text()
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert (folder / "adapter" / "README.md").is_file()
    last = max(record["step"] for record in read_trace(folder))
    assert (folder / f"checkpoint-{last}" / "trainer_state.json").is_file(), "the step under way was finished and saved"


def test_killed_run_goes_on_where_its_last_checkpoint_was(argv, fake_judge, tmp_path, capsys):
    log, folder = tmp_path / "log", tmp_path / "run"
    process = Training(argv(folder, *LORA, "--max_steps", "2000", "--save_steps", "3"), log, {"HF_TOKEN": SECRET})
    try:
        wait_until(lambda: "step 5/2000" in log.read_text(), process, log)
        for flags in ((), ("--resume_from_checkpoint", "last")):
            assert train.main(argv(folder, *LORA, *flags)) == 2, "it is alive"
            assert f"is being trained by process {process.pid} on" in capsys.readouterr().err
        process.kill()
        process.wait()
    finally:
        kill_tree(process)
    killed_at = max(record["step"] for record in read_whole_lines(folder / "trace.jsonl"))
    resumed_at = max(int(path.name.partition("-")[2]) for path in folder.glob("checkpoint-*")) + 1
    assert killed_at >= 5
    with (folder / "trace.jsonl").open("a") as trace:
        trace.write('{"step": 99, "compl')  # what a kill in the middle of a write leaves
    fake_judge()
    last = killed_at + 2
    flags = ("--max_steps", last, "--save_steps", "3", "--resume_from_checkpoint", "last")
    assert train.main(argv(folder, *LORA, *flags)) == 0
    frame = traces.load_trace(folder)
    assert Counter(frame["step"]) == dict.fromkeys(range(1, last + 1), 8), "every step once"
    assert [line["step"] for line in traces.read_metrics(folder)] == list(range(1, last + 1)), "as in the trace"
    assert min(frame[frame["attempt"] == 1]["step"]) in {resumed_at, resumed_at - 3}, "a torn checkpoint is passed over"
    run = json.loads((folder / "run.json").read_text())
    assert len(run["attempts"]) == 2
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == last


def read_whole_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


TWO_PROCESSES = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "train.py")
OF_TWO_PROCESSES = ("--per_device_train_batch_size", "6", "--max_completion_length", "48", "--max_steps", "2000")


@pytest.fixture(scope="module")
def two_process_run(argv, tmp_path_factory):
    """Folder and log of a run on two processes, of which one was asked to stop in the middle.

    12 completions a step = 3 groups of 4 over 2 processes: the middle group spans both. By torchrun, which is what
    `accelerate launch` starts for several GPUs; on a CPU alone it would start mpirun.
    """
    parent = tmp_path_factory.mktemp("two")
    log, folder = parent / "log", parent / "run"
    process = start([*TWO_PROCESSES, *argv(folder, *LORA, *OF_TWO_PROCESSES)], log)
    try:
        wait_until(lambda: "step 2/2000" in log.read_text(), process, log)
        os.kill(next(pid for pid in descendants(process.pid) if has_variable(pid, b"RANK=1")), signal.SIGTERM)
        assert process.wait(120) == 0, log.read_text()[-3000:]
    finally:
        kill_tree(process)
    return SimpleNamespace(
        folder=folder, log=log.read_text(), first=read_trace(folder), second=read_trace(folder, "trace.rank1.jsonl")
    )


def test_two_processes_trace_apart_and_share_groups(two_process_run):
    first, second = two_process_run.first, two_process_run.second
    assert {record["rank"] for record in first} == {0} and {record["rank"] for record in second} == {1}
    groups = groups_of(first + second)
    assert len(groups) == 3 * max(record["step"] for record in first)
    for records in groups.values():
        assert len(records) == 4
        assert len({(record["step"], record["task_id"]) for record in records}) == 1
    spanning = [records for records in groups.values() if len({record["rank"] for record in records}) == 2]
    assert len(spanning) == len(groups) / 3
    assert_advantages_follow_from_rewards(first + second)


def test_rates_of_two_processes_are_over_both(two_process_run):
    metrics = [json.loads(line) for line in (two_process_run.folder / "metrics.jsonl").read_text().splitlines()]
    steps = sorted({record["step"] for record in two_process_run.first})
    assert [line["step"] for line in metrics] == steps == list(range(1, len(steps) + 1)), "one process writes metrics"
    for line in metrics:
        records = [r for r in two_process_run.first + two_process_run.second if r["step"] == line["step"]]
        assert line["judge/build_rate"] == pytest.approx(statistics.mean(record["build_passed"] for record in records))
    assert two_process_run.log.count("step 2/2000") == 1, "one process prints"


def test_all_processes_stop_when_one_is_asked_to(two_process_run):
    """One that stopped alone would leave the other waiting for it in the next step."""
    steps = [Counter(record["step"] for record in trace) for trace in (two_process_run.first, two_process_run.second)]
    assert steps[0] == steps[1] == dict.fromkeys(range(1, max(steps[0]) + 1), 6)
    assert "another process was asked to stop" in two_process_run.log
    assert (two_process_run.folder / "adapter" / "adapter_model.safetensors").is_file()


def is_running(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    return False


def test_when_one_of_two_processes_is_killed_the_other_ends_and_the_run_goes_on(argv, two_process_run, fake_judge, tmp_path):
    """It goes on from where the two stopped before, and after the kill from a checkpoint, with every step once."""
    log, folder = tmp_path / "log", tmp_path / "run"
    shutil.copytree(two_process_run.folder, folder)
    stopped_at = max(record["step"] for record in two_process_run.first)
    resume = ("--resume_from_checkpoint", "last")
    process = start([*TWO_PROCESSES, *argv(folder, *LORA, *OF_TWO_PROCESSES, "--save_steps", "2", *resume)], log)
    try:
        wait_until(lambda: f"step {stopped_at + 3}/2000" in log.read_text(), process, log)
        all_of_it = [process.pid, *descendants(process.pid)]
        os.kill(next(pid for pid in all_of_it if has_variable(pid, b"RANK=1")), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while process.poll() is None or any(map(is_running, all_of_it)):
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
    finally:
        kill_tree(process)
    assert "one of 2 processes failed" in log.read_text()
    fake_judge()
    last = stopped_at + 6
    assert train.main(argv(folder, *LORA, *OF_TWO_PROCESSES, "--per_device_train_batch_size", 12, "--max_steps", last, *resume)) == 0
    frame = traces.load_trace(folder)
    assert Counter(frame["step"]) == dict.fromkeys(range(1, last + 1), 12)
    assert set(frame["attempt"]) == {0, 1, 2} and set(frame["rank"]) == {0, 1}
    assert [line["step"] for line in traces.read_metrics(folder)] == list(range(1, last + 1))


def test_a_process_ends_when_its_launcher_is_killed(tmp_path):
    """It is asked to stop, as by SIGTERM, and killed where it does not: here it only writes down that it was asked."""
    asked = tmp_path / "asked"
    child = (
        "import pathlib, signal, sys, time; import train; train.LAUNCHER_GRACE_S = 0.5\n"
        "signal.signal(signal.SIGTERM, lambda *_: pathlib.Path(sys.argv[1]).touch())\n"
        "train.end_with_launcher(); print('ready', flush=True)\nwhile True: time.sleep(0.1)"
    )
    launcher = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}, {str(asked)!r}]).pid, flush=True); input()"
    environment = os.environ | {"WORLD_SIZE": "2", "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", launcher], env=environment, **pipes) as process:
        pid = int(process.stdout.readline())
        assert process.stdout.readline() == "ready\n"
        assert not asked.exists() and is_running(pid)
        process.kill()
        assert "the process that launched this run is gone" in process.stderr.read()  # to its end, which is the child's
    assert asked.exists()
    deadline = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---------------------------------------------------------------------------------------------------------------------
# What is sampled is what is trained: the masked share, and the weights that vLLM gets
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "chosen", "value"),
    [
        ((), True, True),  # TRL's default until there is a model to choose for
        (("--gradient_checkpointing", "false"), False, False),
        (("--gradient_checkpointing=true",), False, True),
        (("--no_gradient_checkpointing",), False, False),
        (("--no-gradient-checkpointing",), False, False),
    ],
)
def test_gradient_checkpointing_is_chosen_only_where_nobody_says_it(tmp_path, flags, chosen, value):
    config = tmp_path / "own.yaml"
    config.write_text("use_cpu: true\nbf16: false\n")
    script, args, _ = train.parse_arguments(["--config", str(config), *flags])
    assert (script.chooses_checkpointing, args.gradient_checkpointing) == (chosen, value)


@pytest.mark.parametrize(
    ("mode", "ratio", "share"),
    [
        ("sequence_mask", [[0.0], [1.2], [0.9], [1.0]], 0.25),
        ("token_mask", [[0.0, 1.0, 1.0, 1.0], [1.1, 0.9, 1.0, 1.0]], 0.25),  # two real tokens each, then padding
        ("sequence_truncate", [[0.0], [1.0]], None),
    ],
)
def test_masked_share_is_of_what_was_sampled(monkeypatch, mode, ratio, share):
    import torch
    import trl

    ratio = torch.tensor(ratio)
    mask = torch.tensor([[1, 1, 0, 0]] * len(ratio))
    output = {"importance_sampling_ratio": ratio, "completion_mask": mask, "advantages": torch.zeros(len(ratio))}
    monkeypatch.setattr(trl.GRPOTrainer, "_generate_and_score_completions", lambda self, inputs: output)
    trainer_class = TracedGRPOTrainer
    monkeypatch.setattr(trainer_class, "_write_trace", lambda self, advantages, lengths: None)
    trainer = object.__new__(trainer_class)
    trainer.model, trainer.reward_set = SimpleNamespace(training=True), SimpleNamespace(task_record=None)
    trainer.accelerator = SimpleNamespace(gather=lambda tensor: tensor)
    trainer.vllm_importance_sampling_mode, trainer.vllm_importance_sampling_correction, trainer.use_vllm = mode, True, False
    trainer.args, trainer.num_iterations, trainer.token_budget = SimpleNamespace(steps_per_generation=1), 1, 0
    trainer.frontier, trainer.fix_share, trainer.repair_turns, trainer.groups_per_update = False, 0.0, 0, None
    trainer._metrics, trainer._graded, trainer.num_generations = {"train": defaultdict(list)}, [None] * len(ratio), len(ratio)
    assert trainer._generate_and_score_completions([]) is output
    assert trainer._metrics["train"].get("sampling/masked_share") == (None if share is None else [pytest.approx(share)])


def adapted(model, **config):
    """The model with a LoRA adapter that does something (a fresh one has B = 0)."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | config
    model = get_peft_model(model, LoraConfig(**settings))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def load(tiny_coder, four_bit=False):
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if not four_bit:
        return AutoModelForCausalLM.from_pretrained(tiny_coder, dtype=torch.float32)
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        tiny_coder, quantization_config=quantised, dtype=torch.float32, device_map="cpu"
    )
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = (
                False  # else its first use on some CPUs repacks the weights, and computes in bf16
            )
    return model


def base_bytes(model):
    """Every bit of the base model, packed 4-bit weights included."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if "lora_" not in name}


def same_bits(before, after):
    return before.keys() == after.keys() and all((before[name] == after[name]).all() for name in before)


def dense_logits(tiny_coder, state, probe):
    """Logits of a plain model with these weights."""
    import torch

    plain = load(tiny_coder)
    missing, unexpected = plain.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    with torch.no_grad():
        return plain.float()(probe).logits


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]], ids=["all-linear", "attention only"])
@pytest.mark.parametrize("four_bit", [True, False], ids=["nf4", "fp32"])
def test_merged_parameters_are_base_plus_adapter_and_leave_the_base_alone(tiny_coder, probe, four_bit, targets):
    import torch

    model = adapted(load(tiny_coder, four_bit), target_modules=targets)
    before = base_bytes(model)
    state = dict(train.merged_parameters(model, torch.float32))
    assert same_bits(before, base_bytes(model)), "reading changes nothing"
    with torch.no_grad():
        wanted = model(probe).logits
        with model.disable_adapter():
            without = model(probe).logits
    moved, apart = (wanted - without).abs().max(), (dense_logits(tiny_coder, state, probe) - wanted).abs().max()
    assert moved > 0.1
    assert apart < 1e-3, f"dense weights differ from base + adapter by {apart} (the adapter moves logits by {moved})"


def test_merged_parameters_have_the_asked_type(tiny_coder):
    import torch

    model = adapted(load(tiny_coder))
    assert {tensor.dtype for _, tensor in train.merged_parameters(model, torch.bfloat16)} == {torch.bfloat16}


def test_pefts_own_merge_and_unmerge_changes_a_four_bit_base(tiny_coder):
    """Why merged_parameters exists. If this fails, PEFT has become lossless and the detour can go."""
    model = adapted(load(tiny_coder, four_bit=True))
    before = copy.deepcopy(base_bytes(model))
    model.merge_adapter()
    model.unmerge_adapter()
    assert not same_bits(before, base_bytes(model))


@pytest.mark.parametrize(
    "config",
    [
        {"modules_to_save": ["norm"]},
        {"target_modules": ["embed_tokens"]},
        {"use_dora": True},
        {"target_modules": ["lm_head"]},
    ],
    ids=["modules_to_save", "embedding", "DoRA", "tied lm_head"],
)
@pytest.mark.filterwarnings("ignore")
def test_adapters_that_cannot_be_merged_are_refused(tiny_coder, config):
    import torch

    with pytest.raises(train.UserError, match="cannot merge"):
        list(train.merged_parameters(adapted(load(tiny_coder), **config), torch.float32))


def generation_with(model):
    """What GRPOTrainer would build as its vLLM side, without vLLM: only the weights it would send."""
    import trl.trainer.grpo_trainer as grpo
    from trl.distributed import DistributedBackend

    generation = object.__new__(grpo.VLLMGeneration)
    generation.model = model
    generation._dist = DistributedBackend(
        SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=None, fsdp_plugin=None))
    )
    return generation


def test_vllm_gets_dense_weights_under_the_base_models_names(tiny_coder):
    import torch

    model = adapted(load(tiny_coder, four_bit=True))
    before = base_bytes(model)
    with train.lossless_vllm_sync():
        generation = generation_with(model)
    sent = dict(generation._iter_named_params())
    plain = dict(load(tiny_coder).named_parameters())
    assert {name: tensor.shape for name, tensor in sent.items()} == {name: p.shape for name, p in plain.items()}
    assert {tensor.dtype for tensor in sent.values()} == {torch.bfloat16}
    assert same_bits(before, base_bytes(model))


def test_vllm_gets_a_model_without_adapter_as_trl_sends_it(tiny_coder):
    model = load(tiny_coder)
    with train.lossless_vllm_sync():
        generation = generation_with(model)
    assert [name for name, _ in generation._iter_named_params()] == [name for name, _ in model.named_parameters()]


def test_trls_names_are_replaced_only_while_the_trainer_is_built():
    import trl.generation.vllm_generation as generation
    import trl.trainer.grpo_trainer as grpo

    before = grpo.VLLMGeneration, generation.is_bitsandbytes_available
    with pytest.raises(ZeroDivisionError), train.lossless_vllm_sync():
        assert issubclass(grpo.VLLMGeneration, before[0]) and grpo.VLLMGeneration is not before[0]
        assert generation.is_bitsandbytes_available() is False
        1 / 0  # noqa: B018
    assert (grpo.VLLMGeneration, generation.is_bitsandbytes_available) == before


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("trl.trainer.grpo_trainer", "VLLMGeneration"),
        ("trl.generation.vllm_generation", "is_bitsandbytes_available"),
        ("trl.generation.vllm_generation.VLLMGeneration", "_iter_named_params"),
    ],
)
def test_another_trl_without_these_names_fails_loudly(monkeypatch, owner, name):
    monkeypatch.delattr(f"{owner}.{name}")
    with pytest.raises((AttributeError, train.UserError), match=name), train.lossless_vllm_sync():
        pass


# ---------------------------------------------------------------------------------------------------------------------
# Warnings while it runs
# ---------------------------------------------------------------------------------------------------------------------

HEALTHY = {
    "judge/top_guard_share": 0.05,
    "frac_reward_zero_std": 0.3,
    "completions/clipped_ratio": 0.1,
    "judge/infra_share": 0.0,
    "judge/honest_test_rate": 0.3,
    "judge/hidden_test_share": 0.4,
}


def test_healthy_run_smells_of_nothing():
    assert smells([HEALTHY] * 20) == {}


@pytest.mark.parametrize(
    ("metric", "value", "says"),
    [
        ("judge/top_guard_share", 0.2, "20% of completions pass tests that one guard refuses"),
        ("frac_reward_zero_std", 0.6, "60% of groups earn the same"),
        ("completions/clipped_ratio", 0.25, "25% of completions are truncated"),
        ("judge/infra_share", 0.02, "2.0% of completions could not be graded"),
    ],
)
def test_share_above_its_limit_is_named_after_enough_steps(metric, value, says):
    bad = HEALTHY | {metric: value}
    assert list(smells([bad] * SMELL_STEPS)) == [metric]
    assert smells([bad] * SMELL_STEPS)[metric].startswith(says)
    assert smells([bad] * (SMELL_STEPS - 1)) == {}, "one noisy batch is no smell"
    assert smells([bad] * 9 + [HEALTHY] * SMELL_STEPS) == {}, "it is over"


def test_own_tests_up_and_hidden_tests_down_is_gaming():
    before, after = HEALTHY, HEALTHY | {"judge/honest_test_rate": 0.5, "judge/hidden_test_share": 0.3}
    n = SMELL_STEPS
    assert "30% -> 50%" in smells([before] * n + [after] * n)["own_against_hidden"]
    assert smells([before] * n + [before | {"judge/honest_test_rate": 0.5}] * n) == {}
    without = [{key: value for key, value in entry.items() if key != "judge/hidden_test_share"} for entry in (before, after)]
    assert smells([without[0]] * n + [without[1]] * n) == {}, "no hidden tests, no comparison"


def test_warning_is_said_once_and_written_with_every_step_it_holds_for(tmp_path, capsys):
    from types import SimpleNamespace

    script = train.ScriptArguments()
    callback = RunCallback(script, tmp_path / "metrics.jsonl", completions_per_step=8)
    state = SimpleNamespace(global_step=0, max_steps=20, is_world_process_zero=True)
    control = SimpleNamespace(should_training_stop=False, should_save=False)
    callback.on_train_begin(None, state, control)
    values = [0.6] * 8 + [0.1] * 4 + [0.9] * 6  # smells from step 5 on, is over, smells again
    for state.global_step, value in enumerate(values, start=1):
        callback.on_log(None, state, control, logs=HEALTHY | {"reward": 1.0, "frac_reward_zero_std": value})
    said = capsys.readouterr().err
    lines = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    warned = ["warnings" in entry for entry in lines]
    assert warned == [False] * 4 + [True] * 4 + [train_mean > 0.5 for train_mean in means(values[8 - 4 :])]
    assert said.count("warning: ") == 2 and not control.should_training_stop


def means(values):
    """Means of the windows that end at each value from the fifth on."""
    return [sum(values[i - 4 : i + 1]) / 5 for i in range(4, len(values))]


def test_the_plan_says_what_is_left_out_not_paid_and_known(argv, fake_judge, prompts_file, tmp_path, capsys):
    """A task whose tests cannot be read goes with --bad_rows skip, and is named with it in the refusal without."""
    fake_judge(passing_verdict)
    rows = [json.loads(line) | {"task_id": f"add/{n}", "tests": ["assert_eq!(add(1, 2), 3);"]} for n, line in enumerate(prompts_file.open())]
    rows[3]["tests"] = ["assert_eq!(add(1, 2), 3"]
    path, record = tmp_path / "tasks.jsonl", tmp_path / "task_record.jsonl"
    write_jsonl(path, rows)
    record.write_text(json.dumps({"step": 1, "outcomes": {"add/0": [1, 4], "elsewhere": [1, 4]}}) + "\n")
    flags = ("--tasks", path, "--max_steps", 1, "--rewards", "cargo_build_reward=1", "--frontier", "true", "--task_record", record)
    assert train.main(argv(tmp_path / "run", *flags)) == 2
    said = capsys.readouterr().err
    assert "task 'add/3': hidden test 0: not Rust statements" in said and "`--bad_rows skip` leaves them out" in said
    assert train.main(argv(tmp_path / "run", *flags, "--bad_rows", "skip")) == 0
    out, err = capsys.readouterr()
    plan, n = " ".join(out.split()), len(rows) - 1
    assert f"left out 1 of {len(rows)} rows, the first: task 'add/3'" in " ".join(err.split())
    assert f"{n} with hidden tests, 1 left out" in plan and f"outcomes of 1 of {n} prompts are known from" in plan
    assert f"the hidden tests of {n} tasks earn nothing by these" in plan
    leaks = ("--tasks", prompts_file, "--heldout", prompts_file, "--drop_leaks", "true")
    assert train.main(argv(tmp_path / "none", *leaks)) == 2
    assert "--drop_leaks leaves no task" in capsys.readouterr().err
