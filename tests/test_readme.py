"""The commands of README.md, REFERENCE.md and results/README.md as printed: settings that exist, files that are there, and folders where git does not look."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, FakeJudge

from rewards import RewardSet

TEXT = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "REFERENCE.md", "results/README.md"))


def commands() -> list[list[str]]:
    """Every indented `python SCRIPT.py ...` (and `accelerate launch ...`), as words; lines that go on are joined."""
    lines = re.sub(r" \\\n +", " ", TEXT).splitlines()
    found = [shlex.split(line, comments=True) for line in lines if re.match(r"    (.*&& )?(python|accelerate launch) ?\S*\.py", line)]
    return [words[next(i for i, word in enumerate(words) if word.endswith(".py")) :] for words in found]


def test_there_are_commands():
    assert {words[0] for words in commands()} >= {"train.py", "eval.py", "generate.py", "plot_rewards.py", "make_dataset.py"}


@pytest.mark.parametrize("script", sorted({words[0] for words in commands()}))
def test_every_setting_that_is_printed_exists(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help_all" if script == "train.py" else "--help"])
    with pytest.raises(SystemExit, match="^0$"):
        runpy.run_path(str(ROOT / script), run_name="__main__")  # here, where torch and TRL are imported once
    shown = capsys.readouterr().out
    known = set(re.findall(r"--\w+", shown)) | {"--config"}
    used = {word for words in commands() if words[0] == script for word in words if word.startswith("--")}
    assert used <= known


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_what_is_written_lies_where_git_does_not_look(words):
    if "--output_dir" in words:  # 1: git would show it; 128: this is no checkout
        place = words[words.index("--output_dir") + 1]
        assert subprocess.run(["git", "check-ignore", "-q", place], cwd=ROOT).returncode != 1, f"git would show {place}"


def test_files_of_this_repository_that_are_named_are_there():
    named = {word.partition("=")[0].partition(":")[0] for words in commands() for word in words if word.startswith(("data/", "configs/", "results/"))}
    named |= {path for path in re.findall(r"`((?:results|data|configs|benchmarks|models)/[\w./-]+)`", TEXT)}
    named |= {path for path in re.findall(r"\]\(((?!http|#)[^)#]+)[^)]*\)", TEXT)}
    assert [path for path in sorted(named) if not (ROOT / Path(path)).exists()] == []


def test_links_to_sections_have_their_headings():
    links = re.findall(r"\]\(([\w/]+\.md)#([\w-]+)\)", TEXT)
    headings = {name: re.findall(r"^#+ (.*)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE) for name, _ in links}
    slugs = {name: {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in found} for name, found in headings.items()}
    assert len(links) >= 4 and [(name, slug) for name, slug in links if slug not in slugs[name]] == []


def test_the_tour_is_short():
    """What is longer is reference."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1300


def test_what_the_design_names_is_there():
    """Every file, and every name of a function, setting, column or metric, somewhere in the sources."""
    design = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
    names = {name.rpartition(".")[2] for name in re.findall(r"`([A-Za-z_][\w.]*)`", design) if not re.search(r"\.(py|rs|md|jsonl?|parquet|log)$", name)}
    sources = [path for folder in (ROOT, *(path.parent for path in ROOT.glob("*/__init__.py"))) for path in folder.glob("*.py")]
    words = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in sources)))
    assert len(names) > 40 and sorted(names - words) == []
    files = set(re.findall(r"`([\w/]+\.(?:py|rs))`", design)) - {"__init__.py"}
    assert len(files) > 15 and [name for name in sorted(files) if not (ROOT / name).is_file()] == []


def test_the_reward_of_the_example_is_paid(tmp_path, monkeypatch):
    """The Python block as it is printed, in the file that it names, by the setting of the command below it."""
    name, code = re.search(r"```python\n# (\S+\.py)\n(.*?)```", TEXT, re.DOTALL).groups()
    (setting,) = [word for words in commands() for word in words if word.startswith(f"{name}:")]
    (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    rewards = RewardSet(FakeJudge(), [setting])
    program = "```rust\nfn main() {" + " " * 988 + "}\n```"
    (function,) = rewards.functions
    paid = function(prompts=["a", "b"], completions=["I do not know.", program])
    assert list(rewards.weights.values()) == [0.5] and paid == [1.0, pytest.approx(0.5, abs=0.01)]
