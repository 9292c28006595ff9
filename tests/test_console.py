"""What a terminal is told: lines, tables and help that fit, heartbeats, and libraries whose words go into a file."""

import logging
import os
import re
import subprocess
import sys
import time
import warnings

import pytest
from conftest import ROOT

import console


@pytest.fixture
def columns(monkeypatch):
    return lambda number: monkeypatch.setenv("COLUMNS", str(number))


def test_a_pipe_counts_as_80_columns(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    command = [sys.executable, "-c", "import console; print(console.width())"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "80\n"


@pytest.mark.parametrize("number", [0, 1, 40, 80, 200])
def test_labelled_lines_fit_and_lose_no_word(columns, number):
    columns(number)
    text = "600 from data/tiny_prompts.jsonl (600 tasks, 100% of a step), 0 with hidden tests, 0 left out"
    shown = console.labelled("tasks", text)
    assert shown.startswith("     tasks  600 from") and " ".join(shown.split()[1:]) == text
    if number >= 40:
        assert max(map(len, shown.splitlines())) <= number


HEADER = ["", "base", "a row with quite a long name", "difference"]
ROWS = [["build %", "66.9 [62.4, 71.2]", "83.2 [79.5, 86.7]", "+16.3 [+12.5, +20.1]"], ["tokens", "86.8", "229.4", "-"]]


@pytest.mark.parametrize(("number", "blocks"), [(200, 1), (80, 1), (60, 2), (40, 3), (20, 3)])
def test_a_table_is_cut_into_blocks_that_fit_and_every_cell_is_shown_once(columns, number, blocks):
    columns(number)
    shown = console.side_by_side(HEADER, ROWS)
    assert len(shown.split("\n\n")) == blocks
    assert all(shown.count(cell) == 1 for row in ROWS for cell in row[1:] if len(cell) > 3)
    assert shown.count("build %") == blocks
    assert all(word in shown for word in HEADER[2].split())
    if number >= 40:
        assert max(map(len, shown.splitlines())) <= number


def test_what_matters_least_is_left_out_first(columns):
    def line(without):
        return " ".join(word for word in ("a" * 10, "b" * 10, "c" * 10) if word[0] not in without)

    columns(40)
    assert console.first_that_fits(line, ["b", "c"]) == f"{'a' * 10} {'b' * 10} {'c' * 10}"
    columns(25)
    assert console.first_that_fits(line, ["b", "c"]) == f"{'a' * 10} {'c' * 10}"
    columns(20)
    assert console.first_that_fits(line, ["b"]) == f"{'a' * 10} {'c' * 10}", "nothing fits: the shortest there is"


def test_a_heartbeat_says_what_is_waited_for_until_it_is_over(monkeypatch, capsys):
    monkeypatch.setattr(console, "BEAT_S", 0.05)
    with console.waiting("vLLM loads"):
        time.sleep(0.3)
    said = capsys.readouterr().err
    assert "... vLLM loads: 0 s so far\n" in said
    time.sleep(0.15)
    assert capsys.readouterr().err == ""


def test_a_heartbeat_is_silent_while_a_thing_takes_as_long_as_usual(monkeypatch, capsys):
    monkeypatch.setattr(console, "BEAT_S", 0.05)
    with console.waiting("step 3", expected_s=10):
        time.sleep(0.2)
    assert capsys.readouterr().err == ""
    with console.waiting("step 3", expected_s=0.1):
        time.sleep(0.4)
    assert "... step 3: 0 s so far (usually 0)" in capsys.readouterr().err


def test_nothing_is_said_of_what_takes_less_than_a_beat(capsys):
    with pytest.raises(ValueError), console.waiting("short"):
        raise ValueError
    assert capsys.readouterr().err == ""


def test_libraries_speak_into_the_file_and_only_errors_reach_the_terminal(tmp_path, capsys):
    early = logging.getLogger("an_early_library")
    early.propagate = False
    early.addHandler(voice := logging.StreamHandler(sys.stderr))
    level = logging.getLogger("transformers").level
    with console.LibraryLogs() as logs:
        early.warning("frightening, before there is a folder")
        logs.write_to(tmp_path / "debug.log")
        late = logging.getLogger("a_late_library")
        late.addHandler(logging.StreamHandler(sys.stderr))
        late.warning("frightening, from a library imported later")
        logging.getLogger("without_handler").warning("frightening, to whom it may concern")
        logging.getLogger("transformers.trainer").debug("a detail")
        warnings.warn("frightening, of Python's own kind", stacklevel=1)
        late.error("the disk burns")
    said, written = capsys.readouterr().err, (tmp_path / "debug.log").read_text()
    assert "frightening" not in said and "the disk burns" in said
    assert len(re.findall(r" WARNING .*frightening", written)) == 4 and "a detail" in written and "the disk burns" in written
    assert (voice.level, logging.getLogger("transformers").level) == (logging.NOTSET, level)
    early.warning("as before")
    assert "as before" in capsys.readouterr().err
    early.removeHandler(voice)


def test_without_a_folder_nothing_is_written_and_nothing_is_left_behind(tmp_path, capsys):
    before = list(logging.root.handlers), logging.Logger.addHandler, warnings.showwarning
    with pytest.raises(KeyError), console.LibraryLogs():
        logging.getLogger("x").warning("frightening")
        raise KeyError
    assert (list(logging.root.handlers), logging.Logger.addHandler, warnings.showwarning) == before
    assert capsys.readouterr().err == ""


def test_libraries_show_no_bars(capsys):
    from tqdm import tqdm

    with console.no_bars():
        assert list(tqdm(range(3), disable=False)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    list(tqdm(range(3)))
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize("status", [0, 3])
def test_a_quiet_command_shows_its_end_only_when_it_fails(tmp_path, status):
    child = f"import sys; print('noise'); print('WARNING: as root', file=sys.stderr); sys.exit({status})"
    command = [sys.executable, "console.py", "--log", str(tmp_path / "log"), "--what", "installing", "--", sys.executable, "-c", child]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "installing\n")
    assert ("WARNING: as root" in done.stderr) is bool(status)
    assert "noise" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("script", ["train", "eval", "generate", "make_dataset"])
def test_help_says_nothing_else(script):
    done = subprocess.run([sys.executable, f"{script}.py", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "usage:" in done.stdout
    assert script != "eval" or "  --no_baseline\n      Turns --baseline off.\n" in done.stdout
    assert [line for line in done.stderr.splitlines() if not line.startswith("... ")] == []  # a slow machine is told what takes long


@pytest.mark.parametrize("script", ["check_tasks.py", "doctor.py", "make_kinds.py", "plot_rewards.py", "share.py"])
def test_a_wrong_call_of_a_script_is_one_line(script):
    done = subprocess.run([sys.executable, ROOT / script, "--no_such_setting", "x", "y"], capture_output=True, text=True, env=os.environ | {"COLUMNS": "40"})
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{script}: ")
