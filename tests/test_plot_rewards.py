"""plot_rewards.py: a trace with resumes and torn lines becomes one row per completion that counts, and a picture."""

import json
import sys

import pytest

import plot_rewards
from report import numbers
from traces import TraceError, load_trace


def line(step, attempt=0, rank=0, reward=1.0, **changes):
    """One trace line, as text."""
    record = {
        "step": step,
        "attempt": attempt,
        "rank": rank,
        "group_id": f"{step}-0",
        "reward": reward,
        "advantage": 0.0,
        "error_kind": None,
        "guard": None,
        "n_tokens": 5,
        "build_passed": True,
        "clippy_passed": True,
        "test_passed": True,
        "honest_tests": True,
        "hidden_passed": None,
        "hidden_total": None,
        "diagnostics": [],
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
    monkeypatch.setattr(plot_rewards, "plot_details", lambda *args: None)  # its lines are counted elsewhere
    monkeypatch.setattr(
        matplotlib.axes.Axes,
        "plot",
        lambda self, *args, **kwargs: drawn.append((args[-1], kwargs["label"])) or real_plot(self, *args, **kwargs),
    )
    folders = [run_dir("".join(line(step) for step in range(1, 9)), name=name) for name in ("a", "b")]
    assert run_main(monkeypatch, *folders, "--output", tmp_path / "both.png") == 0
    assert is_png(tmp_path / "both.png")
    lines = 1 + 2 + len(plot_rewards.RATES)
    assert [style for style, _ in drawn] == ["-"] * lines + ["--"] * lines  # one style a run
    named = [label for _, label in drawn if label]
    assert len(named) == len(set(named)) == lines  # a colour is named once
    assert {"weighted sum", "cargo build", "cargo_build_reward"} <= set(named)


def test_no_panel_of_several_runs_names_more_than_six_lines(run_dir, tmp_path, monkeypatch):
    import matplotlib.figure

    saved = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **options: saved.append(self))
    steps = range(1, 9)
    moving = {f"f{number}_reward": number for number in range(9)}  # f0 stays, f8 moves most
    texts = "".join(
        line(step, rewards={name: by * step / 8 for name, by in moving.items()}, hidden_passed=1, hidden_total=2,
             error_kind=f"kind{step}", guard=f"guard{step}") for step in steps
    )  # fmt: skip
    folders = [run_dir(texts, name=name) for name in ("a", "b")]
    frames = {folder.name: load_trace(folder) for folder in folders}
    plot_rewards.plot(frames, tmp_path / "both.png", window=4)
    plot_rewards.plot_details(frames, {"a": [], "b": []}, tmp_path / "details.png")
    for figure in saved:
        assert max(len(axes.get_legend_handles_labels()[1]) for axes in figure.axes) <= 6
    pictured, (runs,) = saved[0].axes[0], saved[0].legends
    assert [text.get_text() for text in runs.get_texts()] == ["run a", "run b"]
    assert pictured.get_legend_handles_labels()[1] == ["weighted sum", *(f"f{number}_reward" for number in range(4, 9))]
    assert "of 9 functions the 5 that moved most" in pictured.get_title()


def test_phases_of_a_step_sum_to_it_whether_waits_were_measured_or_not():
    times = {"time/generate_s": 5.0, "time/grade_s": 4.0, "time/train_s": 10.0}
    assert plot_rewards.phases_s(times) == {"generate": 5.0, "grade": 4.0, "train": 10.0}
    assert plot_rewards.phases_s(times | {"time/wait_s": 0.5}) == {"generate": 5.0, "wait": 0.5, "train": 10.0}
    assert plot_rewards.phases_s({"time/generate_s": 5.0}) == {} == plot_rewards.phases_s(times | {"time/train_s": None})


def test_follow_shows_evaluations_inside_the_run_and_waits(run_dir, capsys):
    from rich.console import Console

    folder = run_dir(line(1))
    (folder / "iterations.jsonl").write_text('{"step": 0, "pass@1": 0.411, "kl": 0.0}\n{"step": 5, "pass@1": 0.52, "build": 0.8}\n')
    metrics = [{"step": 1, "reward": 1.0}, {"step": 2, "reward": 2.0, "time/wait_s": 3.25}]
    Console(width=100).print(plot_rewards.followed_table(folder, metrics))
    shown = {cells[0].strip(): [cell.strip() for cell in cells[1:3]] for cells in
             (text.strip("│┃ ").split("│") for text in capsys.readouterr().out.splitlines()) if len(cells) == 4}  # fmt: skip
    assert (shown["waited"], shown["eval pass@1"]) == (["3.25 s", "3.25 s"], ["52 %", "41.1 %"])
    assert shown["eval build"] == ["80 %", "80 %"] and shown["eval kl"] == ["0", "0"]


def test_reward_functions_that_only_one_run_has_keep_their_colour_and_name(run_dir, tmp_path, monkeypatch):
    import matplotlib.axes

    drawn = []
    real_plot = matplotlib.axes.Axes.plot
    monkeypatch.setattr(plot_rewards, "plot_details", lambda *args: None)
    monkeypatch.setattr(
        matplotlib.axes.Axes,
        "plot",
        lambda self, *args, **kwargs: drawn.append((kwargs["label"], kwargs.get("color"))) or real_plot(self, *args, **kwargs),
    )
    one = run_dir(line(1, rewards={"shared_reward": 1.0, "first_reward": 1.0}) * 4, name="a")
    two = run_dir(line(1, rewards={"second_reward": 1.0, "shared_reward": 1.0}) * 4, name="b")
    assert run_main(monkeypatch, one, two, "--output", tmp_path / "both.png") == 0
    colours = {label: colour for label, colour in drawn if label and label.endswith("_reward")}
    assert len(set(colours.values())) == len(colours) == 3, "three functions, three colours"
    assert [label for label, _ in drawn].count("shared_reward") == 1
    assert (None, colours["shared_reward"]) in drawn, "the second run draws it in the same colour"


@pytest.mark.filterwarnings("error::UserWarning")  # matplotlib says so when nothing fits
def test_runs_of_one_name_in_two_folders_are_both_drawn(run_dir, tmp_path, monkeypatch, capsys):
    folders = [run_dir(line(1) * count, name=f"{parent}/run") for parent, count in (("x", 3), ("y", 5))]
    assert run_main(monkeypatch, *folders, "--output", tmp_path / "both.png") == 0
    said = capsys.readouterr().out
    assert "3 completions" in said and "5 completions" in said


@pytest.fixture
def drawn(monkeypatch):
    """Label -> values of every line that is plotted."""
    import matplotlib.axes

    found = {}
    monkeypatch.setattr(matplotlib.axes.Axes, "plot", lambda self, values, *args, **kwargs: found.update({kwargs["label"]: values}))
    monkeypatch.setattr(matplotlib.axes.Axes, "legend", lambda *args, **kwargs: None)
    return found


def test_rolling_average_is_over_completions(run_dir, tmp_path, drawn):
    import numpy

    folder = run_dir("".join(line(1, reward=float(reward), build_passed=reward > 0) for reward in (0, 0, 1, 1)))
    plot_rewards.plot({"run": load_trace(folder)}, tmp_path / "p.png", window=2)
    numpy.testing.assert_allclose(drawn["weighted sum"], [0, 0, 0.5, 1])
    numpy.testing.assert_allclose(drawn["cargo build"], [0, 0, 50, 100])


def test_completions_that_the_machine_failed_do_not_count_as_failures(run_dir, tmp_path, drawn):
    infra = line(1, reward=None, error_kind="infra", build_passed=False, clippy_passed=False, test_passed=False)
    plot_rewards.plot({"run": load_trace(run_dir(line(1) * 2 + infra * 2))}, tmp_path / "p.png", window=4)
    assert drawn["cargo build"].dropna().iloc[-1] == 100


@pytest.mark.parametrize("argv", [["nowhere"], []])
def test_user_errors_are_one_sentence_and_exit_status_2(tmp_path, monkeypatch, capsys, argv):
    assert run_main(monkeypatch, *(argv or [tmp_path])) == 2
    said = capsys.readouterr().err
    assert said.startswith("plot_rewards.py: ") and said.count("\n") == 1


# ---------------------------------------------------------------------------------------------------------------------
# Details, per step
# ---------------------------------------------------------------------------------------------------------------------


def test_group_whose_completions_earn_the_same_has_no_signal(run_dir):
    same = line(1, group_id="1-0", reward=2.0) * 2
    different = line(1, group_id="1-1", reward=0.0) + line(1, group_id="1-1", reward=1.0)
    frame = load_trace(run_dir(same + different + line(2, group_id="2-0") * 4))
    assert dict(numbers.without_signal(frame)) == {1: 0.5, 2: 1.0}


@pytest.mark.parametrize(("rewards", "share"), [([1, 1, 1, None], 1), ([1, None, None], 1), ([None] * 3, 1), ([1, 2, None], 0)])
def test_what_has_no_reward_is_no_signal(run_dir, rewards, share):
    frame = load_trace(run_dir("".join(line(1, reward=reward) for reward in rewards)))
    assert dict(numbers.without_signal(frame)) == {1: share}


def test_shares_are_of_all_completions_of_the_step(run_dir):
    frame = load_trace(run_dir(line(1, error_kind="compile") + line(1) * 3 + line(2) * 2 + line(3, error_kind="panic")))
    kinds = numbers.most_frequent(frame, "error_kind")
    table = numbers.shares(frame, "error_kind", kinds)
    assert set(kinds) == {"compile", "panic"} and list(table.index) == [1, 2, 3]
    assert list(table["compile"]) == [0.25, 0, 0] and list(table["panic"]) == [0, 0, 1]


def test_band_is_the_spread_of_group_means(run_dir):
    """Eight groups of two equal completions: the interval must not shrink because each draw is counted twice."""
    values = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    once = load_trace(run_dir("".join(line(1, group_id=f"1-{i}", reward=v) for i, v in enumerate(values)), name="once"))
    twice = load_trace(run_dir("".join(line(1, group_id=f"1-{i}", reward=v) * 2 for i, v in enumerate(values)), name="twice"))
    one, two = numbers.rolling_band(once, "reward", 8), numbers.rolling_band(twice, "reward", 16)
    expected = 1.96 * (sum((v - 0.625) ** 2 for v in values) / 7) ** 0.5 / 8**0.5
    assert one.iloc[-1] == pytest.approx(expected) and two.iloc[-1] == pytest.approx(expected)


METRICS = {"time/generate_s": 3.0, "time/grade_s": 2.0, "time/train_s": 4.0, "entropy": 0.3, "completions/clipped_ratio": 0.1,
           "reward": 1.0, "judge/build_rate": 0.5}  # fmt: skip


def write_metrics(folder, steps=8):
    text = "".join(json.dumps({"step": step, **METRICS}) + "\n" for step in range(1, steps + 1))
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("has_metrics", [True, False])
def test_details_are_drawn_with_and_without_metrics(run_dir, monkeypatch, has_metrics):
    code = [{"code": "E0308", "level": "error"}]
    text = "".join(line(step, error_kind="compile", diagnostics=code) + line(step, guard="constant_assert") for step in range(1, 9))
    folder = run_dir(text)
    if has_metrics:
        write_metrics(folder)
    drawn = {}
    import matplotlib.figure

    real_save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, path, **kw: drawn.update({path.name: self}) or real_save(self, path, **kw)
    )
    assert run_main(monkeypatch, folder) == 0
    assert is_png(folder / "details.png")
    panels = {axes.get_title(): axes for axes in drawn["details.png"].axes}
    named = {title: axes.get_legend_handles_labels()[1] for title, axes in panels.items()}
    assert named["what went wrong, % of completions"] == ["compile"]
    assert named["first rustc error, % of completions"] == ["E0308"]
    assert named["guard hits, % of completions"] == ["constant_assert"]
    assert named["seconds per step"] == (["generate", "grade", "train"] if has_metrics else [])
    assert named["policy"] == (["entropy"] if has_metrics else [])


def test_svg_is_written_when_asked_for(run_dir, tmp_path, monkeypatch):
    folder = run_dir(line(1) * 4)
    assert run_main(monkeypatch, folder, "--output", tmp_path / "both.svg") == 0
    for name in ("both.svg", "both-details.svg"):
        assert "<svg" in (tmp_path / name).read_text(encoding="utf-8")


def test_unknown_kind_of_picture_is_refused(run_dir, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_main(monkeypatch, run_dir(line(1)), "--output", "picture.docx")
    assert "expected a name ending in .png, .svg or .pdf" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["b", "--follow"], "--follow shows one run, found 2"),
        (["--html", "--output", "X.png"], "--output X.png is for pictures, and --html writes report.html"),
        (["--follow", "--output", "X.png"], "--output X.png is for pictures, and --follow draws in the terminal"),
        (["--follow", "--html"], "leave one of the two out"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(run_dir, monkeypatch, capsys, flags, message):
    folder = run_dir(line(1))
    with pytest.raises(SystemExit) as stopped:
        run_main(monkeypatch, folder, *flags)
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["trace.jsonl"]


# ---------------------------------------------------------------------------------------------------------------------
# A run in progress
# ---------------------------------------------------------------------------------------------------------------------


def shown(renderable, width=120):
    from rich.console import Console

    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    console.print(renderable)
    return console.export_text()


def test_follow_shows_the_latest_step_and_its_warnings(run_dir):
    folder = run_dir(line(1))
    write_metrics(folder, steps=3)
    with (folder / "metrics.jsonl").open("a") as metrics:
        metrics.write(json.dumps({"step": 4, **METRICS, "reward": 2.5, "warnings": ["something smells"]}) + "\n" + '{"step": 5')
    text = shown(plot_rewards.followed_table(folder, plot_rewards.read_metrics(folder)))
    assert "step 4" in text and "2.50" in text and "50 %" in text and "something smells" in text


def test_follow_of_a_run_that_has_not_begun_shows_an_empty_table(run_dir):
    assert "step -" in shown(plot_rewards.followed_table(run_dir(""), []))


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("name", ["x", "a-long-name" * 15, "[bold]"])
def test_follow_names_the_step_in_one_line_whatever_the_width_and_the_path(tmp_path, width, name):
    lines = shown(plot_rewards.followed_table(tmp_path / name, [{"step": 14, **METRICS}]), width).splitlines()
    assert lines[0].strip().startswith("step 14 of") and not lines[1][:1].isalnum()
    assert max(map(len, lines)) <= width


def test_follow_redraws_while_the_run_goes_on(run_dir, monkeypatch):
    folder, seen = run_dir(line(1)), []
    monkeypatch.setattr(plot_rewards, "FOLLOW_EVERY_S", 0.01)
    real_table = plot_rewards.followed_table

    def table(run_dir, metrics):
        seen.append(len(metrics))
        write_metrics(folder, steps=len(seen))
        return real_table(run_dir, metrics)

    monkeypatch.setattr(plot_rewards, "followed_table", table)
    plot_rewards.follow(folder, stop_after_s=1.0)
    assert seen[:4] == [0, 1, 2, 3]


def test_follow_without_a_terminal_is_one_sentence(run_dir, monkeypatch, capsys):
    assert run_main(monkeypatch, run_dir(line(1)), "--follow") == 2
    assert "--follow redraws a terminal" in capsys.readouterr().err


def test_follow_without_a_folder_is_one_sentence(tmp_path, monkeypatch, capsys):
    assert run_main(monkeypatch, tmp_path / "nowhere", "--follow") == 2
    assert "needs the run folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "bars"), [([], ""), ([1.0], "▄"), ([0.0, 1.0], " █"), ([0, None, 4, 8], " ▄█"), ([2.0] * 3, "▄▄▄")]
)
def test_sparkline_goes_from_lowest_to_highest(values, bars):
    assert plot_rewards.sparkline(values) == bars
