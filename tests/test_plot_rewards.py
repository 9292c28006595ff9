"""plot_rewards.py: a trace with resumes and torn lines becomes one row per completion that counts, and a picture."""

import json
import sys

import pytest

import plot_rewards
from plot_rewards import TraceError, load_trace


def line(step, attempt=0, rank=0, reward=1.0, **changes):
    """One trace line, as text."""
    record = {
        "step": step,
        "attempt": attempt,
        "rank": rank,
        "reward": reward,
        "advantage": 0.0,
        "error_kind": None,
        "guard": None,
        "n_tokens": 5,
        "build_passed": True,
        "clippy_passed": True,
        "test_passed": True,
        "honest_tests": True,
        "rewards": {"cargo_build_reward": reward, "hidden_tests_reward": None},
    }
    return json.dumps(record | changes) + "\n"


@pytest.fixture
def run_dir(tmp_path):
    """Write the given texts as trace.jsonl (and trace.rank1.jsonl, ...) of a run folder."""

    def write(*texts, name="run"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for rank, text in enumerate(texts):
            (folder / (f"trace.rank{rank}.jsonl" if rank else "trace.jsonl")).write_text(text, encoding="utf-8")
        return folder

    return write


def steps_and_attempts(frame):
    return list(zip(frame["step"], frame["attempt"], strict=True))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ([(1, 0), (2, 0), (3, 0)], [(1, 0), (2, 0), (3, 0)]),
        ([(1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (4, 1)], [(1, 0), (2, 1), (3, 1), (4, 1)]),
        # killed in step 4 after resuming at 3, then resumed from an older checkpoint at 2
        ([(1, 0), (2, 0), (3, 0), (3, 1), (4, 1), (2, 2), (3, 2)], [(1, 0), (2, 2), (3, 2)]),
        # resumed at 2, then at 3: what the second attempt did of step 2 stays
        ([(1, 0), (2, 0), (2, 1), (3, 1), (3, 2)], [(1, 0), (2, 1), (3, 2)]),
        # started again from nothing
        ([(1, 0), (2, 0), (1, 1)], [(1, 1)]),
    ],
)
def test_steps_that_a_resume_did_again_are_left_out(run_dir, written, kept):
    frame = load_trace(run_dir("".join(line(step, attempt) for step, attempt in written)))
    assert steps_and_attempts(frame) == kept


def test_resume_counts_over_all_processes_files(run_dir):
    folder = run_dir(
        line(1) + line(2) + line(2, attempt=1), line(1, rank=1) + line(2, rank=1) + line(2, attempt=1, rank=1)
    )
    frame = load_trace(folder)
    assert sorted(zip(frame["step"], frame["attempt"], frame["rank"], strict=True)) == [
        (1, 0, 0),
        (1, 0, 1),
        (2, 1, 0),
        (2, 1, 1),
    ]
    assert list(frame["step"]) == [1, 1, 2, 2]


def test_half_written_last_line_is_left_out(run_dir):
    assert list(load_trace(run_dir(line(1) + line(2) + line(3)[:40]))["step"]) == [1, 2]


def test_half_written_character_is_left_out(run_dir):
    folder = run_dir(line(1))
    with (folder / "trace.jsonl").open("ab") as trace:
        trace.write('{"completion": "é'.encode()[:-1])
    assert list(load_trace(folder)["step"]) == [1]


def test_rows_hold_rewards_and_honest_passes(run_dir):
    text = line(1, reward=0.5) + line(1, honest_tests=False) + line(1, test_passed=False) + line(1, reward=None)
    frame = load_trace(run_dir(text))
    assert list(frame["honest_pass"]) == [True, False, False, True]
    assert list(frame["reward/cargo_build_reward"].fillna(-1)) == [0.5, 1.0, 1.0, -1]


@pytest.mark.parametrize("text", ["", line(1)[:30]])
def test_trace_without_a_whole_line_is_an_error(run_dir, text):
    with pytest.raises(TraceError, match="no complete line"):
        load_trace(run_dir(text))


def test_folder_without_a_trace_is_an_error(tmp_path):
    with pytest.raises(TraceError, match=r"found no trace\*\.jsonl"):
        load_trace(tmp_path)


@pytest.mark.parametrize("text", ["null\n", "[1]\n", '{"prompt": "x"}\n'])
def test_lines_that_are_no_graded_completions_are_an_error(run_dir, text):
    with pytest.raises(TraceError):
        load_trace(run_dir(text))


def run_main(monkeypatch, *argv):
    monkeypatch.setattr(sys, "argv", ["plot_rewards.py", *map(str, argv)])
    return plot_rewards.main()


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG\r\n")


def test_picture_is_written_into_the_run_folder(run_dir, monkeypatch, capsys):
    folder = run_dir("".join(line(step) for step in range(1, 9)))
    assert run_main(monkeypatch, folder) == 0
    assert is_png(folder / "rewards.png")
    assert "run, 8 completions" in capsys.readouterr().out


@pytest.mark.filterwarnings("error::UserWarning")  # matplotlib says so when nothing fits
def test_several_runs_are_overlaid_each_with_its_own_lines(run_dir, tmp_path, monkeypatch):
    import matplotlib.axes

    drawn = []
    real_plot = matplotlib.axes.Axes.plot
    monkeypatch.setattr(
        matplotlib.axes.Axes,
        "plot",
        lambda self, *args, **kwargs: drawn.append((args[-1], kwargs["label"])) or real_plot(self, *args, **kwargs),
    )
    folders = [run_dir("".join(line(step) for step in range(1, 9)), name=name) for name in ("a", "b")]
    assert run_main(monkeypatch, *folders, "--output", tmp_path / "both.png") == 0
    assert is_png(tmp_path / "both.png")
    lines = 1 + 2 + len(plot_rewards.RATES)
    assert [style for style, _ in drawn] == ["-"] * (lines + 1) + ["--"] * (lines + 1)  # one style a run, and its legend entry
    named = [label for _, label in drawn if label]
    assert len(named) == len(set(named)) == lines + 2  # a colour is named once, a run is named once
    assert {"weighted sum", "cargo build", "cargo_build_reward", "run a", "run b"} <= set(named)


@pytest.mark.filterwarnings("error::UserWarning")  # matplotlib says so when nothing fits
def test_runs_of_one_name_in_two_folders_are_both_drawn(run_dir, tmp_path, monkeypatch, capsys):
    folders = [run_dir(line(1) * count, name=f"{parent}/run") for parent, count in (("x", 3), ("y", 5))]
    assert run_main(monkeypatch, *folders, "--output", tmp_path / "both.png") == 0
    said = capsys.readouterr().out
    assert "3 completions" in said and "5 completions" in said


def test_rolling_average_is_over_completions(run_dir, tmp_path, monkeypatch):
    import matplotlib.axes
    import numpy

    drawn = {}
    monkeypatch.setattr(
        matplotlib.axes.Axes, "plot", lambda self, values, *args, **kwargs: drawn.update({kwargs["label"]: values})
    )
    monkeypatch.setattr(matplotlib.axes.Axes, "legend", lambda *args, **kwargs: None)
    folder = run_dir("".join(line(1, reward=float(reward), build_passed=reward > 0) for reward in (0, 0, 1, 1)))
    plot_rewards.plot({"run": load_trace(folder)}, tmp_path / "p.png", window=2)
    numpy.testing.assert_allclose(drawn["weighted sum"], [0, 0, 0.5, 1])
    numpy.testing.assert_allclose(drawn["cargo build"], [0, 0, 50, 100])


def test_completions_that_the_machine_failed_do_not_count_as_failures(run_dir, tmp_path, monkeypatch):
    import matplotlib.axes

    drawn = {}
    monkeypatch.setattr(
        matplotlib.axes.Axes, "plot", lambda self, values, *args, **kwargs: drawn.update({kwargs["label"]: values})
    )
    monkeypatch.setattr(matplotlib.axes.Axes, "legend", lambda *args, **kwargs: None)
    infra = line(1, reward=None, error_kind="infra", build_passed=False, clippy_passed=False, test_passed=False)
    plot_rewards.plot({"run": load_trace(run_dir(line(1) * 2 + infra * 2))}, tmp_path / "p.png", window=4)
    assert drawn["cargo build"].dropna().iloc[-1] == 100


@pytest.mark.parametrize("argv", [["nowhere"], []])
def test_user_errors_are_one_sentence_and_exit_status_2(tmp_path, monkeypatch, capsys, argv):
    assert run_main(monkeypatch, *(argv or [tmp_path])) == 2
    said = capsys.readouterr().err
    assert said.startswith("plot_rewards.py: ") and said.count("\n") == 1
