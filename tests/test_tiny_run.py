"""The shipped tiny coder, the shipped configuration, real cargo: a short GRPO run raises the mean reward, killed or not."""

import contextlib
import json
import time
from pathlib import Path

import pytest
from conftest import ROOT
from warm import Training

import traces
import train

STEPS = 8
COMPLETIONS = 32  # a step: 4 prompts x 8
SAVE_STEPS = 1
RISE = 0.3  # of the mean reward, which is 8.5 at most
KILL_AFTER, RESUMED_STEPS = 2, 3  # a checkpoint after 1


def arguments(folder: Path, *more: str, steps: int = STEPS) -> list[str]:
    """Flags of the run: seed, prompts, rewards and learning rate (constant) are the configuration's."""
    return [
        "--config", "configs/tiny.yaml", "--output_dir", str(folder), "--max_steps", str(steps), "--save_steps", str(SAVE_STEPS),
        "--per_device_train_batch_size", str(COMPLETIONS), "--judge_workers", "2", *more,
    ]  # fmt: skip


def rewards_of(folder: Path) -> dict[int, float]:
    """Step -> mean reward."""
    return {line["step"]: line["reward"] for line in traces.read_metrics(folder)}


def run_here(folder: Path, *more: str, steps: int = STEPS) -> int:
    """train.py's exit status; the configuration names files of the repository."""
    with contextlib.chdir(ROOT):
        return train.main(arguments(folder, *more, steps=steps))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    """Folder of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    assert run_here(folder) == 0
    return folder


@pytest.mark.timeout(900)  # a minute and a half on two idle cores
def test_a_short_run_raises_the_mean_reward(whole_run):
    rewards = rewards_of(whole_run)
    assert sorted(rewards) == list(range(1, STEPS + 1))
    first, last = (rewards[1] + rewards[2]) / 2, sum(rewards[step] for step in range(STEPS - 2, STEPS + 1)) / 3
    assert last > first + RISE, rewards


def test_the_tiny_coder_starts_as_a_base_model_does(whole_run):
    """Some of its programs build and some do not, some pass honest tests: there is something to learn and to learn from."""
    first = traces.read_metrics(whole_run)[:2]
    share = lambda key: sum(line[key] for line in first) / len(first)
    assert 0.25 <= share("judge/build_rate") <= 0.8
    assert 0.05 <= share("judge/honest_test_rate") <= 0.5


@pytest.mark.timeout(900)
def test_a_killed_run_ends_as_one_that_was_not(whole_run, tmp_path):
    """Same weights, same random numbers after the checkpoint: the same completions, so the same rewards."""
    folder, log = tmp_path / "run", tmp_path / "log"
    process = Training(arguments(folder, steps=RESUMED_STEPS), log)
    try:
        while f"step {KILL_AFTER}/{RESUMED_STEPS} " not in log.read_text():
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert not (folder / "model").exists()
    assert run_here(folder, "--resume_from_checkpoint", "last", steps=RESUMED_STEPS) == 0
    assert (folder / "model" / "model.safetensors").is_file()
    assert len(json.loads((folder / "run.json").read_text())["attempts"]) == 2
    undisturbed = {step: reward for step, reward in rewards_of(whole_run).items() if step <= RESUMED_STEPS}
    assert rewards_of(folder) == pytest.approx(undisturbed, abs=1e-3)
