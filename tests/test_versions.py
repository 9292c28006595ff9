"""What README promises of versions that are not here: the oldest Rust by clippy, Pythons by ruff, and by running those that are found.

Neither sees everything: clippy knows since when an item of the standard library is stable, not what a compiler accepts.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from judge.toolchain import OLDEST_RUSTC, find_toolchain
from judge.workshop import GATE_SOURCE, HARNESS_SOURCE

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHONS = ("3.11", "3.12", "3.13")
FOLDERS = (ROOT, *(ROOT / name for name in ("tests", "benchmarks", "results", "models", "integrations", "integrations/lm_eval_tasks")),
           *(path.parent for path in ROOT.glob("*/__init__.py")))  # fmt: skip
OURS = sorted({path for folder in FOLDERS for path in folder.glob("*.py")})
# Reads every file as this Python does, a warning being an error, and imports what they import of the standard library.
READ = """
import ast, importlib, sys, warnings
from pathlib import Path
warnings.simplefilter("error", SyntaxWarning)
names = set()
for file in sys.argv[1:]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"), file)
    compile(tree, file, "exec")
    for node in ast.walk(tree):
        names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        names |= {node.module} if isinstance(node, ast.ImportFrom) else set()
for name in sorted(names):
    if name.partition(".")[0] in KNOWN:
        importlib.import_module(name)
        print(name)
""".replace("KNOWN", repr(set(sys.stdlib_module_names) - {"antigravity", "this"}))


def newer_than(version: str, folder) -> list[str]:
    """What the harness and the gate use of the standard library that this version of Rust does not have."""
    tools = find_toolchain()
    (folder / "clippy.toml").write_text(f'msrv = "{version}"')
    environment = os.environ | {"RUSTC_BOOTSTRAP": "1", "CLIPPY_CONF_DIR": str(folder)}
    real = [f"--extern=real={path}" for path in tools.library_dir.glob("libtest-*") if path.suffix != ".so"]
    gate = folder / "libjudge_gate.rmeta"
    found = []
    for source, out, externs in ((GATE_SOURCE, gate, []), (HARNESS_SOURCE, folder / "libharness.rmeta", [*real, f"--extern=judge_gate={gate}"])):
        argv = [tools.clippy_driver, source, f"--crate-name={out.stem[3:]}", "--crate-type=rlib", "--edition=2021", "--emit=metadata", f"-o{out}"]
        done = subprocess.run([*argv, "-Aclippy::all", "-Wclippy::incompatible_msrv", *externs], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        found += [(source.name, since) for since in re.findall(r"this item is stable since `([\d.]+)`", done.stderr)]
    return found


def test_the_oldest_rust_has_what_the_harness_uses(tmp_path):
    oldest = ".".join(map(str, OLDEST_RUSTC))
    assert re.search(rf"Rust\s+{oldest} or newer", README)
    assert newer_than(f"{oldest}.0", tmp_path) == []
    assert {name for name, _ in newer_than("1.60.0", tmp_path)} == {GATE_SOURCE.name, HARNESS_SOURCE.name}, "the lint sees both files"


@pytest.mark.parametrize(("text", "is_fine"), [(None, True), ("def first[T](x: list[T]) -> T: ...\n", False)], ids=["ours", "newer syntax"])
def test_the_oldest_python_reads_every_file(tmp_path, text, is_fine):
    (tmp_path / "newer.py").write_text(text or "")
    files = OURS if text is None else [tmp_path / "newer.py"]
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--isolated", "--select", "E9", "--target-version", "py311", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) == is_fine, done.stdout[-2000:]


@pytest.mark.parametrize("version", [version for version in PYTHONS if version != f"3.{sys.version_info.minor}"])
def test_every_supported_python_that_is_here_reads_every_file(version):
    """A version manager's shim may be on PATH for a version that is not installed."""
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in README
    environment = os.environ | {"PYENV_VERSION": version}
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], env=environment, capture_output=True).returncode != 0:
        pytest.skip(f"no Python {version}")
    done = subprocess.run([python, "-c", READ, *OURS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and {"subprocess", "json"} <= set(done.stdout.split()), done.stderr[-2000:]
