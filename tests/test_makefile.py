"""Makefile: an install that was cut short is done anew, a missing CPU build of torch is no end, what is missing is said first."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

FAKE_PYTHON = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
    console.py*) exec "$REAL_PYTHON" "$@" ;;
    "-m venv --clear .venv") rm -rf .venv && mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"import torch"*) exit 1 ;;
    *--index-url*) echo "WARNING: Retrying (Retry(total=0))" >&2; exit "${CPU_WHEELS_STATUS:-0}" ;;
    "-m pip install"*) echo "Collecting torch"; echo "WARNING: Running pip as the 'root' user" >&2; exit "${PIP_STATUS:-0}" ;;
esac
"""


class Checkout:
    """A folder with the Makefile and a Python that notes what it is asked to do."""

    def __init__(self, folder: Path):
        self.folder, self.calls_file = folder, folder / "calls"
        for name in ("Makefile", "console.py", "requirements.txt", "requirements-dev.txt"):
            shutil.copy(ROOT / name, folder / name)
        self.python = folder / "fake-python"
        self.python.write_text(FAKE_PYTHON)
        self.python.chmod(0o755)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        self.calls_file.write_text("")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.run(
            ["make", f"PYTHON={self.python}", *arguments], cwd=self.folder, text=True, capture_output=True,
            env=inherited | {"CALLS": str(self.calls_file), "REAL_PYTHON": sys.executable} | environment,
        )  # fmt: skip

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout(tmp_path)


def test_an_environment_is_made_once(checkout):
    assert checkout.make(".venv/.installed").returncode == 0
    assert "-m venv --clear .venv" in checkout.calls
    assert checkout.make(".venv/.installed").returncode == 0
    assert checkout.calls == []


def test_pip_speaks_into_a_file_and_only_its_failure_is_shown(checkout):
    done = checkout.make(".venv/.installed", CPU_WHEELS_STATUS="1")
    assert "installing packages, once" in done.stdout
    assert "WARNING" not in done.stdout + done.stderr and "Collecting" not in done.stdout
    assert "Collecting torch" in (checkout.folder / ".venv" / "pip.log").read_text()
    (checkout.folder / ".venv" / ".installed").unlink()
    assert "Collecting torch" in checkout.make(".venv/.installed", PIP_STATUS="1").stderr


def test_an_install_cut_short_is_done_anew(checkout):
    assert checkout.make(".venv/.installed", PIP_STATUS="1").returncode != 0
    assert not (checkout.folder / ".venv" / ".installed").exists()
    assert checkout.make(".venv/.installed").returncode == 0
    assert "-m venv --clear .venv" in checkout.calls, "what pip left half-done is not built upon"
    assert not (checkout.folder / ".venv" / ".installing").exists()


def test_new_requirements_keep_a_whole_environment(checkout):
    assert checkout.make(".venv/.installed").returncode == 0
    os.utime(checkout.folder / "requirements.txt", (2**31, 2**31))
    assert checkout.make(".venv/.installed").returncode == 0
    assert "-m venv --clear .venv" not in checkout.calls
    assert any(call.startswith("-m pip install") for call in checkout.calls)


def test_an_environment_that_lost_its_python_is_made_anew(checkout):
    (checkout.folder / ".venv" / "bin").mkdir(parents=True)
    (checkout.folder / ".venv" / "bin" / "python").symlink_to("/no/such/python")
    assert checkout.make(".venv/.installed").returncode == 0
    assert "-m venv --clear .venv" in checkout.calls


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None or os.uname().sysname != "Linux", reason="asks for the CPU build only on Linux without a GPU")
@pytest.mark.parametrize("status", ["0", "1"])
def test_the_cpu_build_of_torch_is_tried_and_is_not_needed(checkout, status):
    done = checkout.make(".venv/.installed", CPU_WHEELS_STATUS=status)
    assert done.returncode == 0
    asked = next(call for call in checkout.calls if "--index-url" in call)
    assert asked.split()[-1].startswith("torch>=")
    assert checkout.calls[-1].endswith("-r requirements-dev.txt")
    assert ("taking the ordinary one" in done.stdout) == (status == "1")


def test_a_missing_python_and_a_missing_cargo_are_said_before_anything_is_installed(checkout):
    said = checkout.make("doctor", "PYTHON=")
    assert said.returncode != 0 and "no Python 3.11, 3.12 or 3.13" in said.stdout
    tools = checkout.folder / "tools"
    tools.mkdir()
    for name in ("sh", "sed", "date", "uname", "head"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "make").symlink_to(shutil.which("make"))
    said = checkout.make("train", PATH=str(tools))
    assert said.returncode != 0 and "cargo not found on PATH" in said.stdout
    (tools / "cargo").write_text("#!/bin/sh\necho no toolchain is chosen >&2\necho more >&2\nexit 1\n")
    (tools / "cargo").chmod(0o755)
    said = checkout.make("train", PATH=str(tools))
    assert said.returncode != 0 and "cargo does not run: no toolchain is chosen\n" in said.stdout
    assert not any("pip install" in call for call in checkout.calls)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(checkout):
    checkout.folder.chmod(0o555)
    try:
        said = checkout.make("doctor")
    finally:
        checkout.folder.chmod(0o755)
    assert said.returncode != 0 and "cannot write to" in said.stdout
