"""The suite on a machine that is not ours: another home, terminal, language and temporary folder, and no bubblewrap.

Only files that take seconds; the whole suite in the same surroundings, by hand (RUSTUP_HOME and CARGO_HOME name what HOME hides):

    mkdir -p "/tmp/a rather long name/of a folder"
    COLUMNS=40 LC_ALL=C HOME=/nowhere TMPDIR="/tmp/a rather long name/of a folder" python -m pytest -q
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

FILES = ("tests/test_plot_rewards.py", "tests/test_traces.py", "tests/test_doctor.py", "tests/test_cases.py", "tests/test_sandbox.py",
         "tests/test_console.py")  # fmt: skip
# What looked at the machine once, and what looks at a terminal.
CHOSEN = "follow or table or superseded or doctor or report or place_that_is_not_there or ordinary_user"


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_suite_passes_elsewhere(tmp_path, columns):
    folder = tmp_path / ("a rather long name " * 8).strip()
    folder.mkdir()
    tools = tmp_path / "bin"  # PATH without bwrap: its folder is replaced by links to everything else in it
    tools.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for tool in Path(place).iterdir() if Path(place).is_dir() else ():
            if tool.name != "bwrap" and not (tools / tool.name).is_symlink():
                (tools / tool.name).symlink_to(tool)
    hidden_by_home = {name: os.environ.get(name, str(Path.home() / default)) for name, default in
                      (("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo"))}  # fmt: skip
    odd = {"COLUMNS": columns, "LC_ALL": "C", "HOME": str(tmp_path / "nowhere"), "TMPDIR": str(folder), "PATH": str(tools)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(folder / "base"), "-k", CHOSEN, *FILES]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | hidden_by_home | odd, capture_output=True, text=True, errors="replace", timeout=280
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
