"""doctor.py: a report line per fact, an exit status that tells, and preflight errors that say what to do."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from conftest import FakeJudge

import doctor
import rust_tool
from doctor import Check, MachineError


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# ---------------------------------------------------------------------------------------------------------------------
# Preflight
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_cuda(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(("use_cpu", "found"), [(True, "use_cpu is set"), (False, "sees no CUDA GPU")])
def test_four_bit_without_cuda_is_refused(no_cuda, use_cpu, found):
    with pytest.raises(
        MachineError, match=rf"load_in_4bit needs a CUDA GPU, but .*{found}.*--load_in_4bit false"
    ) as error:
        doctor.require_accelerator(load_in_4bit=True, use_cpu=use_cpu)
    one_sentence(error)


def test_four_bit_on_the_cpu_is_refused_even_where_there_is_a_gpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    doctor.require_accelerator(load_in_4bit=True, use_cpu=False)
    with pytest.raises(MachineError, match="use_cpu"):
        doctor.require_accelerator(load_in_4bit=True, use_cpu=True)


def test_without_four_bit_no_gpu_is_needed(no_cuda):
    doctor.require_accelerator(load_in_4bit=False, use_cpu=True)
    doctor.require_accelerator(load_in_4bit=False, use_cpu=False)


@pytest.fixture
def installed_vllm(monkeypatch):
    """Pretend that this vLLM version is installed (None: not installed)."""

    def pretend(version):
        real = importlib.metadata.version

        def answer(name):
            if name != "vllm":
                return real(name)
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(importlib.metadata, "version", answer)

    return pretend


def test_missing_vllm_is_refused_with_the_way_to_get_it(installed_vllm):
    installed_vllm(None)
    with pytest.raises(MachineError, match=r"vLLM is not installed .*pip install -r requirements-vllm\.txt") as error:
        doctor.require_vllm()
    one_sentence(error)


@pytest.mark.parametrize("version", ["0.21.3", "0.32.0", "0.2.9", "1.0.0", "0.9"])
def test_vllm_outside_trls_range_is_refused(installed_vllm, version):
    installed_vllm(version)
    with pytest.raises(MachineError, match=rf"vLLM {version} is installed, TRL supports 0\.22 to 0\.31"):
        doctor.require_vllm()


@pytest.mark.parametrize("version", ["0.22.0", "0.26.0", "0.31.5", "0.26.0+cu130", "0.30.1.dev3"])
def test_vllm_inside_trls_range_is_taken(installed_vllm, monkeypatch, version):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    installed_vllm(version)
    doctor.require_vllm()


def test_vllm_without_a_gpu_is_refused(installed_vllm, no_cuda):
    installed_vllm("0.26.0")
    with pytest.raises(MachineError, match="vLLM needs a CUDA GPU"):
        doctor.require_vllm()


def test_vllm_range_is_what_the_installed_trl_says():
    trl = Path(importlib.metadata.distribution("trl").locate_file("trl"))
    low, high = doctor.VLLM_RANGE
    text = (trl / "import_utils.py").read_text()
    assert f"{low[0]}.{low[1]}.0" in text and f"{high[0]}.{high[1]}.0" in text


DiskUsage = namedtuple("DiskUsage", "total used free")


@pytest.mark.parametrize(("free", "needed", "said"), [(0.19, 0.2, "0.19 GiB free for .*, 0.2 GiB needed"), (0.498, 0.5, "0.498 GiB .*, 0.5 GiB")])
def test_a_little_less_than_needed_does_not_read_as_enough(tmp_path, monkeypatch, free, needed, said):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(2**40, 0, int(free * 2**30)))
    with pytest.raises(MachineError, match=said):
        doctor.require_free_disk(tmp_path, needed)


def test_too_little_disk_is_refused_with_both_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(2**40, 0, int(1.5 * 2**30)))
    with pytest.raises(MachineError, match=r"1\.5 GiB free for .*new, 5 GiB needed.*--output_dir"):
        doctor.require_free_disk(tmp_path / "deep" / "new", 5.0)
    assert doctor.require_free_disk(tmp_path / "deep" / "new", 1.0) == 1.5
    assert not (tmp_path / "deep").exists(), "looking at the disk makes no folder"


def test_free_disk_is_asked_of_the_nearest_folder_that_exists(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(Path(path)) or DiskUsage(2**40, 0, 2**40))
    doctor.require_free_disk(tmp_path / "deep" / "new", 1.0)
    assert asked == [tmp_path]


def test_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(MachineError, match="cannot write to"):
        doctor.require_free_disk(tmp_path / "new", 0.0)


TRAINING_RUN = {"attempts": [{}], "plan": {"tasks_hash": "0" * 64}}
EVAL_RUN = {"protocol": {}, "run": {}, "rows": []}
DATASET_RUN = {"attempts": [{}], "plan": {"settings": {}}}


@pytest.mark.parametrize(
    ("files", "resuming", "message"),
    [
        (None, False, None),
        ([], False, None),
        (["run.json"], True, None),
        (["run.json.tmp"], False, None),  # it was killed while it wrote the first file
        (["run.json"], False, None),  # it died before its first step: nothing to lose
        (["run.json", "trace.jsonl"], False, "already holds a run: choose another --output_dir"),
        (["run.json", "trace.part0001.jsonl.gz"], False, "already holds a run: choose another --output_dir"),
        (["run.json", "checkpoint-5"], False, "already holds a run: choose another --output_dir"),
        (["notes.txt"], False, "is not empty and holds no run: choose another --output_dir"),
        (None, True, "nothing to resume"),
        (["notes.txt"], True, "nothing to resume"),
    ],
)
def test_run_folder(tmp_path, monkeypatch, files, resuming, message):
    monkeypatch.delenv("RANK", raising=False)
    folder = tmp_path / "run"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).write_text(json.dumps(TRAINING_RUN))
    if message is None:
        doctor.require_run_folder(folder, resuming=resuming)
    else:
        with pytest.raises(MachineError, match=message):
            doctor.require_run_folder(folder, resuming=resuming)


@pytest.mark.parametrize("resuming", [False, True])
@pytest.mark.parametrize("content", [json.dumps(EVAL_RUN), json.dumps(DATASET_RUN), "[]", "no json", '{"attempts": [], "plan": null}'])
def test_folder_of_another_program_is_refused(tmp_path, monkeypatch, content, resuming):
    monkeypatch.delenv("RANK", raising=False)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(MachineError, match="is no folder of a training run .*: choose another --output_dir") as error:
        doctor.require_run_folder(tmp_path, resuming=resuming)
    one_sentence(error)


def test_run_folder_that_is_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    (tmp_path / "run").write_text("")
    with pytest.raises(MachineError, match="is a file"):
        doctor.require_run_folder(tmp_path / "run", resuming=False)


def checkpoints(folder, *names, torn=()):
    for name in names:
        (folder / name).mkdir(parents=True)
        for file in ("adapter_model.bin", "optimizer.pt", "scheduler.pt"):
            with zipfile.ZipFile(folder / name / file, "w"):
                pass
        if name not in torn:
            (folder / name / "trainer_state.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("names", "torn", "found"),
    [
        ([], [], None),
        (["checkpoint-9", "checkpoint-10", "checkpoint-2"], [], "checkpoint-10"),
        (["checkpoint-9", "checkpoint-10"], ["checkpoint-10"], "checkpoint-9"),
        (["checkpoint-10"], ["checkpoint-10"], None),
        (["checkpoint-9", "checkpoint-10-backup", "checkpoint-best", "checkpoint-"], [], "checkpoint-9"),
    ],
)
def test_last_checkpoint_is_the_newest_whole_one(tmp_path, names, torn, found):
    resumed = doctor.checkpoint_to_resume(checkpoints(tmp_path, *names, torn=torn), "last")
    assert resumed == (found and str(tmp_path / found))


def test_a_run_whose_only_checkpoint_was_cut_off_says_that_it_begins_anew(tmp_path, capsys):
    assert doctor.checkpoint_to_resume(checkpoints(tmp_path, "checkpoint-2", torn=["checkpoint-2"]), "last") is None
    assert capsys.readouterr().err.strip() == "checkpoint-2 was cut off while it was written, and no other is there: starting from step 0"


@pytest.mark.parametrize("asked", [None, ""])
def test_no_checkpoint_is_looked_for_unasked(tmp_path, asked):
    assert doctor.checkpoint_to_resume(checkpoints(tmp_path, "checkpoint-3"), asked) is None


@pytest.fixture
def saved(tmp_path):
    """checkpoint-4 and checkpoint-8 with the files of every kind that Trainer writes."""
    import torch
    from safetensors.torch import save_file

    for step in (4, 8):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"weight": torch.ones(64), "empty": torch.ones(0)}, folder / "model.safetensors", metadata={"format": "pt"})
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
            torch.save({"state": torch.ones(64)}, folder / name)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return tmp_path


def cut(file):
    file.write_bytes(file.read_bytes()[:-40])


def empty(file):
    file.write_bytes(b"")


def flip(file):
    data = bytearray(file.read_bytes())
    at = data.index(b"\x00\x00\x80\x3f" * 8) + 16  # a tensor of ones
    data[at] ^= 255
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *((name, harm) for name in ("model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json") for harm in (cut, empty)),
        ("optimizer.pt", flip),
        *((name, Path.unlink) for name in ("optimizer.pt", "scheduler.pt")),
        ("weights", lambda weights: (weights.parent / "model.safetensors").unlink()),
    ],
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_taken(saved, capsys, name, harm):
    assert doctor.checkpoint_to_resume(saved, "last") == str(saved / "checkpoint-8")
    assert capsys.readouterr().err == ""
    harm(saved / "checkpoint-8" / name)
    assert doctor.checkpoint_to_resume(saved, "last") == str(saved / "checkpoint-4")
    said = capsys.readouterr().err
    assert f"checkpoint-8 is damaged ({name}: " in said and "going on from checkpoint-4" in said and said.count("\n") == 1
    with pytest.raises(MachineError, match=f"checkpoint-8: {name}: .*; take another checkpoint-N folder, or last"):
        doctor.checkpoint_to_resume(saved, str(saved / "checkpoint-8"))
    shutil.rmtree(saved / "checkpoint-4")
    with pytest.raises(MachineError, match=f"checkpoint-8 is damaged .{name}: .*there is none before"):
        doctor.checkpoint_to_resume(saved, "last")


def test_checkpoint_by_path_must_exist(tmp_path):
    checkpoints(tmp_path, "checkpoint-3")
    asked = str(tmp_path / "checkpoint-3")
    assert doctor.checkpoint_to_resume(tmp_path, asked) == asked
    with pytest.raises(MachineError, match=r"checkpoint-4: no such folder; expected a checkpoint-N folder, or last"):
        doctor.checkpoint_to_resume(tmp_path, str(tmp_path / "checkpoint-4"))


# ---------------------------------------------------------------------------------------------------------------------
# The record of a run
# ---------------------------------------------------------------------------------------------------------------------


def test_run_file_gains_an_attempt_at_every_resume(tmp_path):
    doctor.write_run_file(tmp_path / "run", {"lr": 1}, {"steps": 5})
    assert doctor.attempts_so_far(tmp_path / "run") == 0
    doctor.write_run_file(tmp_path / "run", {"lr": 2}, {"steps": 9})
    assert doctor.attempts_so_far(tmp_path / "run") == 1
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["config"], run["plan"]) == ({"lr": 2}, {"steps": 9})
    assert [attempt["config"] for attempt in run["attempts"]] == [{"lr": 1}, {"lr": 2}]
    assert run["versions"]["trl"] == importlib.metadata.version("trl")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_commit_says_when_the_code_is_not_the_commits(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "HERE", tmp_path)
    assert doctor.git_commit() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    (tmp_path / "code.py").write_text("1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "--no-verify", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    clean = doctor.git_commit()
    assert len(clean) == 40
    (tmp_path / "code.py").write_text("2")
    assert doctor.git_commit() == f"{clean}+changes"


# ---------------------------------------------------------------------------------------------------------------------
# The report
# ---------------------------------------------------------------------------------------------------------------------


def run_main(monkeypatch, *argv):
    monkeypatch.setattr(sys, "argv", ["doctor.py", *argv])
    return doctor.main()


@pytest.mark.parametrize(
    ("checks", "status", "marks"),
    [
        ([Check("Python", "3.11", True, True)], 0, ["ok"]),
        ([Check("Python", "3.11", True, True), Check("GPU", "none", False, False, "get one")], 0, ["ok", "--"]),
        (
            [Check("Rust", "not usable", False, True, "install Rust"), Check("disk", "9 GiB", True, True)],
            1,
            ["FAIL", "ok"],
        ),
    ],
)
def test_exit_status_is_whether_what_is_needed_is_there(monkeypatch, capsys, checks, status, marks):
    monkeypatch.setattr(doctor, "all_checks", lambda cargo_path: [lambda check=check: check for check in checks])
    assert run_main(monkeypatch) == status
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if not line.startswith(" ")]
    assert [line.split()[0] for line in lines[:-1]] == marks
    for check in checks:
        assert check.found in said
        assert (check.advice in said) or check.is_ok
    assert ("The CPU path works: make train" in said) == (status == 0)


def test_report_of_this_machine_has_every_line_and_works(monkeypatch, capsys):
    status = run_main(monkeypatch)
    said = capsys.readouterr().out
    names = [line[5:14].strip() for line in said.splitlines() if line[:4].strip() in ("ok", "FAIL", "--")]
    assert names == ["Python", "packages", "GPU", "vLLM", "Rust", "sandbox", "machine", "disk"]
    assert status == 0, said


def test_missing_cargo_fails_the_report_and_says_what_to_do(monkeypatch, capsys):
    assert run_main(monkeypatch, "--cargo_path", "no-such-cargo") == 1
    said = " ".join(capsys.readouterr().out.split())  # however wide the terminal
    assert "FAIL Rust" in said
    assert "no-such-cargo not found: install Rust from https://rustup.rs" in said


def test_python_without_any_package_gets_a_whole_report(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", doctor.__file__]  # -S: no site-packages
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "")
    said = " ".join(done.stdout.split())  # however wide the terminal
    assert "missing: torch, " in said and "pip install -r requirements.txt" in said
    assert "FAIL Rust unknown: No module named 'tree_sitter'" in said
    assert done.stdout.splitlines()[-1] == "The CPU path does not work yet: see FAIL above."


def test_missing_package_fails_the_report(monkeypatch):
    real = doctor.package_version
    monkeypatch.setattr(doctor, "package_version", lambda name: None if name == "peft" else real(name))
    check = doctor.check_packages()
    assert (check.is_ok, check.is_needed) == (False, True)
    assert "missing: peft" in check.advice


@pytest.mark.parametrize(("version", "is_ok"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_python_outside_the_range_fails_the_report(monkeypatch, version, is_ok):
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    check = doctor.check_python()
    assert (check.is_ok, check.is_needed) == (is_ok, True)


def test_leaking_sandbox_fails_the_report(monkeypatch):
    monkeypatch.setattr(rust_tool, "RustTool", lambda **options: FakeJudge())  # its report says files: none
    check = doctor.check_judge("cargo")
    assert (check.is_ok, check.is_needed) == (False, True)
    assert "files: none" in check.found


@pytest.mark.parametrize(
    ("driver", "built_for", "advice"),
    [(None, None, "1.5B configs"), ("/usr/bin/nvidia-smi", None, "CPU build"), ("/usr/bin/nvidia-smi", "13.0", "for CUDA 13.0")],
)
def test_no_usable_gpu_says_why(monkeypatch, no_cuda, driver, built_for, advice):
    import torch

    monkeypatch.setattr(shutil, "which", lambda name: driver)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(torch.version, "hip", None)
    check = doctor.check_gpu()
    assert (check.is_ok, check.is_needed) == (False, False)
    assert advice in check.advice and (built_for or "CPUs") in check.found


def test_the_report_names_the_linker():
    assert "linker /" in doctor.check_toolchain("cargo").found


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"files": "Landlock", "network": "seccomp"}, "landlock: files, network sealed (how: make doctor)"),
        ({"files": "Landlock", "network": "none"}, "landlock: NOT sealed: network; files sealed (how: make doctor)"),
        ({"files": "none"}, "landlock: NOT sealed: files (how: make doctor)"),
    ],
)
def test_the_sandbox_in_short_names_what_is_open_first(report, said):
    assert doctor.sandbox_in_short({"tier": "landlock", "report": report}) == said


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_the_report_fits_the_terminal(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(doctor, "all_checks", lambda cargo_path: [
        lambda: doctor.Check("sandbox", "landlock (" + "files: Landlock ABI 7, changed root, " * 5 + ")", True),
        lambda: doctor.Check("vLLM", "not installed (optional)", False, False, "leave out --use_vllm to sample with transformers"),
    ])  # fmt: skip
    assert run_main(monkeypatch) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= int(columns)
