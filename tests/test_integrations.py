"""integrations/: what other trainers get for a completion is what rewards.py says; with the real library where it is installed.

TRL is; verifiers, verl and lm-eval each run in an environment of their own: make integrations. What does not need them is tested without,
called as the library's own code calls it (the source is named).
"""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import BROKEN, FAILING, GOOD, PROMPTS, PROSE, ROOT, write_jsonl
from test_train import LORA, argv  # noqa: F401  argv is a fixture

HIDDEN = ["assert_eq!(add(2, 2), 4);", "assert_eq!(add(-1, 1), 0);"]
TASK = {"task_id": "adding/0", "prompt": "Write `add(a: i32, b: i32) -> i32`.", "tests": HIDDEN, "entry_point": "add"}
OTHER = {"task_id": "adding/1", "prompt": "Write `add(a: i32, b: i32) -> i32`, a sum."}
NO_TESTS = {"task_id": "adding/2", "prompt": "Add.", "tests": None, "entry_point": None}
COMPLETIONS = [GOOD, FAILING, BROKEN, PROSE]
SPECS = ("cargo_build_reward=1", "hidden_tests_reward=3", "cargo_test_reward=0.5")


def load(path, name):
    """A module from a file, as verl and lm-eval load one: not from the working directory."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def judging():
    from integrations import judging

    os.environ["RUST_JUDGE"] = json.dumps({"workers": 2})
    yield judging
    judging._judge(os.getpid()).close()
    judging._judge.cache_clear()
    judging._reward_set.cache_clear()
    del os.environ["RUST_JUDGE"]


@pytest.fixture(scope="module")
def ours(judging):
    """Graded completions of TASK by rewards.py and rust_tool.py alone."""
    from rewards import RewardSet
    from rust_tool import RustTool

    with RustTool(workers=2) as judge:
        graded = RewardSet(judge, SPECS).grade([TASK] * len(COMPLETIONS), COMPLETIONS)
    assert [record["reward"] for record in graded] == [4.5, 4.0, 0.0, 0.0]
    return graded


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """The parquet file that prompts.py writes of TASK and another."""
    folder = tmp_path_factory.mktemp("prompts")
    tasks, out = folder / "tasks.jsonl", folder / "prompts" / "train.parquet"
    write_jsonl(tasks, [TASK, TASK | OTHER])
    assert load(ROOT / "integrations" / "prompts.py", "prompts").main(["--tasks", str(tasks), "--out", str(out)]) == 0
    return out


def rows_of(path):
    from datasets import Dataset

    return Dataset.from_parquet(str(path), keep_in_memory=True).to_list()


# ---------------------------------------------------------------------------------------------------------------------
# TRL's own command
# ---------------------------------------------------------------------------------------------------------------------


def test_trls_own_command_trains_on_our_rewards(ours, judging, prompts, tiny_coder, tmp_path, monkeypatch):
    from trl.scripts import grpo

    seen = []
    real = judging.reward_set
    monkeypatch.setattr("integrations.trl_rewards.reward_set", lambda specs: seen.append(real(specs)) or seen[-1])
    names = ["cargo_build_reward", "hidden_tests_reward", "cargo_test_reward"]
    given = ["--model_name_or_path", tiny_coder, "--dataset_name", prompts.parent, "--output_dir", tmp_path / "run", "--use_cpu", "true", "--bf16", "false",
            "--reward_funcs", *(f"integrations.trl_rewards.{name}" for name in names), "--reward_weights", 1, 3, 0.5, "--max_steps", 1,
            "--per_device_train_batch_size", 4, "--num_generations", 4, "--max_completion_length", 96, "--report_to", "none", "--logging_steps", 1, "--save_strategy", "no"]  # fmt: skip
    parsed = grpo.make_parser().parse_args_and_config([str(part) for part in given])
    logged = []
    monkeypatch.setattr("trl.GRPOTrainer.log", lambda self, logs, *rest: logged.append({**logs, **{k: v[-1] for k, v in self._metrics["train"].items() if v}}))
    grpo.main(*parsed)
    _, graded = seen[0]._batch
    assert len(graded) == 4 and seen[0] is seen[-1], "one judge for all functions"
    for name in names:
        assert logged[0][f"rewards/{name}/mean"] == pytest.approx(sum(record["rewards"][name] for record in graded) / 4)
    again = seen[0].functions[[f.__name__ for f in seen[0].functions].index("hidden_tests_reward")](
        prompts=[[{"role": "user", "content": TASK["prompt"]}]] * 4, completions=[[{"role": "assistant", "content": text}] for text in COMPLETIONS],
        **{key: [value] * 4 for key, value in TASK.items() if key != "prompt"}, user_prompt=[TASK["prompt"]] * 4)  # fmt: skip
    assert again == [record["rewards"]["hidden_tests_reward"] for record in ours]


def test_only_who_asks_for_the_tests_of_others_runs_them(judging, monkeypatch):
    import integrations.trl_rewards
    import rewards

    real, groups = rewards.cross_examined, []
    monkeypatch.setattr(rewards, "cross_examined", lambda members, run: groups.append(list(map(len, members))) or real(members, run))
    for name in ("cargo_build_reward", "group_tests_reward"):
        paid = getattr(integrations.trl_rewards, name)(prompts=[[{"role": "user", "content": TASK["prompt"]}]] * 4, completions=list(COMPLETIONS))
        assert len(paid) == 4
    assert groups == [[4]]


def test_a_task_of_another_kind_keeps_its_columns(judging, tmp_path):
    """Its prompt is the one of train.py; TRL's and verl's reward functions judge an answer by its kind."""
    import kinds
    from tasks import load_tasks, read_rows

    task = next(one for one in load_tasks(str(ROOT / "data" / "kinds_val.jsonl.gz")) if one["kind"] == "patch")
    [answer] = [row["solution"] for row in read_rows(ROOT / "data" / "kinds_answers.jsonl.gz") if row["task_id"] == task["task_id"]]
    out = tmp_path / "prompts" / "train.parquet"
    flags = ["--tasks", str(write_jsonl(tmp_path / "one.jsonl", [task])), "--out", str(out)]
    assert load(ROOT / "integrations" / "prompts.py", "prompts").main(flags) == 0
    [row] = rows_of(out)
    assert row["prompt"] == kinds.conversation(task, "unused")
    columns = {name: [value] for name, value in row.items() if name != "prompt"}
    assert judging.reward_set().batch_tasks([row["prompt"]], columns)[0].items() >= {name: task[name] for name in ("kind", "code")}.items()
    compute_score = load(ROOT / "integrations" / "verl_reward.py", "custom_module").compute_score
    assert compute_score("rust", answer, task["task_id"], row["extra_info"], rewards=["all_hidden_tests_reward=1"])["score"] == 1.0
    module = load(ROOT / "integrations" / "lm_eval_tasks" / "rust_hidden_tests.py", "rust_hidden_tests")
    with pytest.raises(ValueError, match=f"is of the kind {task['kind']}: here a task asks for a whole program"):
        module.load(tasks=str(tmp_path / "one.jsonl"))


def test_an_unknown_name_is_an_attribute_error(judging):
    import integrations.trl_rewards

    with pytest.raises(AttributeError, match="cargo_bild_reward"):
        _ = integrations.trl_rewards.cargo_bild_reward


# ---------------------------------------------------------------------------------------------------------------------
# verl
# ---------------------------------------------------------------------------------------------------------------------


def test_verls_call_gets_our_reward(ours, judging, prompts):
    """As verl/experimental/reward_loop/reward_manager/naive.py calls it, which puts two keys of its own into extra_info."""
    compute_score = load(ROOT / "integrations" / "verl_reward.py", "custom_module").compute_score
    row = rows_of(prompts)[0]
    info = row["extra_info"] | {"num_turns": None, "rollout_reward_scores": {}}
    for record, completion in zip(ours, COMPLETIONS, strict=True):
        score = compute_score(data_source=row["data_source"], solution_str=completion, ground_truth=row["reward_model"]["ground_truth"],
                              extra_info=info, rewards=list(SPECS))  # fmt: skip
        assert score == {"score": record["reward"], "build": record["build_passed"], "honest_pass": record["test_passed"] and record["honest_tests"]}


def test_what_nobody_can_grade_is_an_error_and_no_reward_of_zero(judging, monkeypatch):
    from rewards import RewardSet
    from rust_tool import Verdict

    compute_score = load(ROOT / "integrations" / "verl_reward.py", "custom_module").compute_score
    info = {**NO_TESTS, "user_prompt": NO_TESTS["prompt"]}
    with pytest.raises(RuntimeError, match="hidden_tests_reward=1 applies to the task 'adding/2'"):
        compute_score("rust", PROSE, "adding/2", info, rewards=["hidden_tests_reward=1"])
    failing = SimpleNamespace(grade=lambda jobs: [Verdict(error_kind="infra") for _ in jobs])
    monkeypatch.setattr(judging, "_reward_set", lambda specs, process_id: RewardSet(failing, specs))
    with pytest.raises(RuntimeError, match="could not be graded"):
        compute_score("rust", GOOD, "adding/2", info)


def test_verls_own_reward_manager_gives_our_rewards(ours, judging, prompts, tiny_coder):
    pytest.importorskip("verl", reason="make integrations runs it with the real verl")
    import numpy
    from omegaconf import OmegaConf
    from transformers import AutoTokenizer
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager

    custom = {"path": str(ROOT / "integrations" / "verl_reward.py"), "name": "compute_score", "reward_kwargs": {"rewards": list(SPECS)}}
    config = OmegaConf.create({"reward": {"custom_reward_function": custom, "reward_manager": {"source": "register", "name": "naive"}}})
    tokenizer, row = AutoTokenizer.from_pretrained(tiny_coder), rows_of(prompts)[0]

    async def score(completion):
        ids = torch.tensor([tokenizer(completion)["input_ids"]])
        columns = {key: numpy.array([row[key]], dtype=object) for key in ("data_source", "reward_model", "extra_info")}
        data = DataProto.from_dict(tensors={"responses": ids, "attention_mask": torch.ones_like(ids)}, non_tensors=columns)
        return (await load_reward_manager(config, tokenizer).run_single(data))["reward_score"]

    async def all_at_once():
        return await asyncio.gather(*map(score, COMPLETIONS))

    assert asyncio.run(all_at_once()) == [record["reward"] for record in ours]


# ---------------------------------------------------------------------------------------------------------------------
# lm-evaluation-harness
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def task_file(tmp_path):
    path = tmp_path / "adding.jsonl"
    path.write_text(json.dumps(TASK) + "\n")
    return path


SAMPLES = [GOOD, GOOD.replace("b + a", "b - a"), BROKEN, PROSE, FAILING]  # two of five solve it


def test_lm_evals_calls_get_our_rates(ours, judging, task_file):
    """As lm_eval/api/task.py calls the YAML file's functions: metadata as keywords; a list of what the filter kept of a document."""
    module = load(ROOT / "integrations" / "lm_eval_tasks" / "rust_hidden_tests.py", "rust_hidden_tests")
    [doc] = module.load(version=1, tasks=str(task_file))["test"].to_list()
    assert doc["tests"] == HIDDEN and doc["system_prompt"]
    assert module.process_results(doc, [SAMPLES]) == {"build": 0.6, "pass_at_1": pytest.approx(0.4), "pass_at_5": 1.0}
    task_file.write_text(json.dumps(NO_TESTS) + "\n")
    with pytest.raises(ValueError, match="'adding/2' has no hidden tests"):
        module.load(tasks=str(task_file))
    assert len(module.load(tasks="data/rust_tasks_test.jsonl")["test"]) == 73


def test_lm_eval_evaluates_with_our_prompt_and_rates(judging, task_file, tiny_coder):
    pytest.importorskip("lm_eval", reason="make integrations runs it with the real lm-eval")
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer

    import tasks
    from generate import render

    tokenizer, asked = AutoTokenizer.from_pretrained(tiny_coder), []

    class Known(LM):
        tokenizer_name = "tiny-coder"

        def loglikelihood(self, requests):
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

        def apply_chat_template(self, history, add_generation_prompt=True):
            return tokenizer.apply_chat_template(history, tokenize=False, add_generation_prompt=add_generation_prompt)

        def generate_until(self, requests):
            asked.extend(request.args for request in requests)
            return SAMPLES

    manager = TaskManager(include_path=str(ROOT / "integrations" / "lm_eval_tasks"), include_defaults=False, metadata={"tasks": str(task_file)})
    results = simple_evaluate(Known(), tasks=["rust_hidden_tests"], task_manager=manager, apply_chat_template=True, bootstrap_iters=0)
    found = {key.partition(",")[0]: value for key, value in results["results"]["rust_hidden_tests"].items()}
    assert (found["build"], found["pass_at_1"], found["pass_at_5"]) == (0.6, pytest.approx(0.4), 1.0)
    [expected] = render(tokenizer, [tasks.build_messages(TASK["prompt"], tasks.read_system_prompt())])
    assert {prompt for prompt, _ in asked} == {expected} and len(asked) == 5
    assert asked[0][1]["until"] == [] and asked[0][1]["temperature"] == 0.2


# ---------------------------------------------------------------------------------------------------------------------
# verifiers
# ---------------------------------------------------------------------------------------------------------------------


def test_verifiers_taskset_gives_our_rewards(ours, judging, task_file, monkeypatch):
    vf = pytest.importorskip("verifiers.v1", reason="make integrations runs it with the real verifiers")
    from verifiers.v1.utils.loaders import load_taskset, taskset_class

    monkeypatch.syspath_prepend(str(ROOT / "integrations"))
    config = taskset_class("rust-cargo").__orig_bases__[0].__args__[1](id="rust-cargo", tasks=[str(task_file)], task={"pay": list(SPECS)})
    [task] = load_taskset(config)  # checked below, and scored as an episode's is: task.score(trace, runtime)
    assert task.data.prompt == TASK["prompt"] and task.data.id == TASK["task_id"] and task.data.system_prompt

    async def score(completion):
        trace = vf.Trace(task=vf.TraceTask(type="RustTask", data=task.data), agent=vf.AgentInfo(config=vf.AgentConfig()), root_reply=completion)
        await task.score(trace)
        return trace

    async def all_at_once():
        return await asyncio.gather(*map(score, COMPLETIONS))

    traces = asyncio.run(all_at_once())
    assert [trace.reward for trace in traces] == [record["reward"] for record in ours]
    assert [trace.metrics for trace in traces] == [record["rewards"] for record in ours]


# ---------------------------------------------------------------------------------------------------------------------
# llama.cpp
# ---------------------------------------------------------------------------------------------------------------------


def test_llama_cpp_says_what_transformers_says(argv, fake_judge, tmp_path):  # noqa: F811
    """merged/ of a run, converted by llama.cpp's own script: the same greedy text. Only the name of the tokenizer's rules is given to it."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="make integrations runs it with the real llama.cpp")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import train

    source = Path(sys.prefix) / "llama.cpp"
    fake_judge()
    assert train.main(argv(tmp_path / "run", *LORA, "--max_steps", 1, "--save_merged", "true")) == 0
    merged, out = tmp_path / "run" / "merged", tmp_path / "model.gguf"
    # it knows tokenizers by a hash of what they make of a text, and a tokenizer learned in a test is none of these
    convert = ("import sys; sys.path[:0] = [sys.argv[1], sys.argv[1] + '/gguf-py']; import conversion.base as base, convert_hf_to_gguf as script; "
               "base.TextModel.get_vocab_base_pre = lambda self, tokenizer: 'qwen2'; del sys.argv[1]; script.main()")  # fmt: skip
    command = [sys.executable, "-c", convert, str(source), str(merged), "--outfile", str(out), "--outtype", "bf16"]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]

    tokenizer, model = AutoTokenizer.from_pretrained(merged), AutoModelForCausalLM.from_pretrained(merged, dtype="float32")
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = str(out), 1024, 1, 1
    server, n_tokens = xllamacpp.Server(parameters), 60
    for prompt in PROMPTS[:4]:
        ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=True)["input_ids"]
        said = server.handle_completions({"prompt": ids, "max_tokens": n_tokens, "temperature": 0})["choices"][0]["text"]
        expected = model.generate(torch.tensor([ids]), max_new_tokens=n_tokens, do_sample=False)[0, len(ids) :]
        assert said == tokenizer.decode(expected, skip_special_tokens=True) and len(said) > 40
