"""`pip install .` gives another project the judge: what REFERENCE shows runs there."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Where pip put the project, from a copy: a build leaves files beside its source."""
    if find_spec("setuptools") is None or find_spec("pip") is None:
        pytest.skip("needs pip and setuptools, which this environment lacks: nothing may be downloaded here")
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "target"))
    tracked = [*ROOT.glob("*.*"), ROOT / "LICENSE", *(path for folder in ("judge", "kinds") for path in (ROOT / folder).glob("*.*"))]
    for path in tracked:
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        if path.is_file():
            copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", target, source]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    return target


def test_another_project_grades_completions_as_the_reference_shows(installed, tmp_path):
    (shown,) = re.findall(r"```python\n(from judge\.program.*?)\n```\n\n## ", (ROOT / "REFERENCE.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in shown.splitlines() if line.strip()]) == 6
    script = f"{shown}\nimport rewards, rust_tool\nprint(rewards.RewardSet(None).weights)\nprint(rust_tool.__file__)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)},
                          capture_output=True, text=True)  # fmt: skip
    good, none, weights, file = done.stdout.splitlines() or [done.stderr] * 4
    assert (good, none) == ("True True 1 None", "False False 0 no_code")
    assert "cargo_build_reward" in weights and Path(file).is_relative_to(installed)


def test_its_dependencies_are_those_that_training_pins():
    pinned = {line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()}
    assert set(PROJECT["project"]["dependencies"]) <= pinned
