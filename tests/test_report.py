"""report/page.py: every completion of a run is in the page, nothing that a completion contains runs, and a real browser shows it.

Tests with `page` or `browser` drive a headless Chromium (Debian's package is enough) and are skipped where there is none.
"""

import base64
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import chromium
import pytest
from conftest import write_jsonl

import plot_rewards
from report import overview
from report.page import FLAGS, MAX_TEXT, write_report
from traces import TraceError

ROOT = Path(__file__).resolve().parent.parent
NASTY = {
    "script": "```rust\nfn a() {}\n```</script><script>window.__pwned = 1; alert(1)</script>",
    "image": '<img src="https://example.invalid/x.png" onerror="window.__pwned = 2"><svg onload="window.__pwned = 3">',
    "comment": "<!--<script>window.__pwned = 4//--><template><iframe srcdoc='<script>parent.__pwned = 5</script>'>",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 bell",
    "bidi": "let is_admin = \u202e false; \u2066// \u2069 \u200b",
    "nul": "before\x00after\x85\x7f",
    "surrogate": "half \ud800 of a pair, \udc00 and another",
    "long line": "x" * 1_000_000,
    "templates": "{{constructor.constructor('window.__pwned = 6')()}} ${alert(2)} $blocks $script <%= 1 %>",
    "comments": "/*" * 20_000 + "'" * 5_000 + 'r#"' * 5_000,
    "attributes": "#[" * 20_000 + '"\\' * 5_000,
    "emoji": "// \U0001f980 crab, עברית, é\n",
}


def record(step, place=0, **changes):
    """One graded completion, of group `place // 4` of a step."""
    program = f"fn answer() -> i32 {{\n    {step} + {place}\n}}\n"
    found = {
        "schema_version": 1, "task_id": f"task/{place // 4}", "step": step, "attempt": 0, "rank": 0, "group_id": f"{step}-{place // 4}",
        "prompt": f"Write answer {place // 4}.", "completion": f"```rust\n{program}```", "program": program, "build_passed": place % 2 == 0,
        "clippy_passed": place % 2 == 0, "clippy_warnings": 0, "test_passed": place % 4 == 0, "honest_tests": True,
        "hidden_passed": 1, "hidden_total": 3,
        "tests": {"tests::one": "ok"}, "error_kind": None if place % 2 == 0 else "compile", "guard": "no_tests" if place % 4 == 2 else None,
        "n_asserts": 1,
        "diagnostics": [] if place % 2 == 0 else [{"code": "E0308", "level": "error", "message": "mismatched types", "line": 2}],
        "rewards": {"cargo_build_reward": float(place % 2 == 0)}, "reward": place % 4 + (step or 0) / 10, "advantage": place % 4 - 1.5,
        "n_tokens": 20, "duration_s": 0.1,
    }  # fmt: skip
    return found | changes


def write_run(folder, records, name="trace.jsonl", tail=""):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(one) + "\n" for one in records) + tail, encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path):
    """A run of 3 steps, 8 completions each, with its config and metrics."""
    folder = write_run(tmp_path / "mine", [record(step, place) for step in (1, 2, 3) for place in range(8)])
    (folder / "run.json").write_text(
        json.dumps({"plan": {"tasks": 2, "judge": {"tier": "bwrap"}}, "config": {"script": {"tasks": "a.jsonl"}}, "versions": {"trl": "1"}})
    )
    steps = [{"step": step, "entropy": 0.5 / step, "time/grade_s": 2.0} for step in (1, 2, 3)]
    steps[1]["warnings"] = ["rewards <b>fell</b>"]
    write_jsonl(folder / "metrics.jsonl", steps)
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# The file, read by Python
# ---------------------------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Elements of a page with their attributes and texts, as an HTML parser other than the browser's sees them."""

    def __init__(self, text):
        super().__init__()
        self.found, self.is_open = [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])
        self.is_open = True

    def handle_endtag(self, tag):
        self.is_open = False

    def handle_data(self, data):
        if self.is_open:
            self.found[-1][2] += data


def read_page(path):
    """Elements of the page and its data blocks, name -> value."""
    elements = Elements(path.read_text(encoding="utf-8")).found
    blocks = {}
    for tag, attributes, text in elements:
        if tag == "script" and attributes.get("type") == "application/octet-stream":
            blocks[attributes["id"]] = json.loads(gzip.decompress(base64.b64decode(text, validate=True)))
    return elements, blocks


def completions_of(blocks):
    return [one for number in range(len(blocks["index"]["blocks"])) for one in blocks[f"block-{number}"]]


def test_every_completion_comes_back_from_the_blocks(run, monkeypatch):
    monkeypatch.setattr("report.page.BLOCK_COMPLETIONS", 5)
    _, blocks = read_page(write_report(run))
    index = blocks["index"]
    assert index["blocks"] == [0, 5, 10, 15, 20]
    written = [record(step, place) for step in (1, 2, 3) for place in range(8)]
    for row, (found, original) in enumerate(zip(completions_of(blocks), written, strict=True)):
        for name in ("prompt", "completion", "program", "diagnostics", "tests", "rewards", "hidden_passed", "hidden_total"):
            assert found[name] == original[name]
        column = {name: values[row] for name, values in index["columns"].items()}
        assert index["steps"][column["step"]] == original["step"] and index["tasks"][column["task"]] == original["task_id"]
        assert index["kinds"][column["kind"]] == original["error_kind"] and index["guards"][column["guard"]] == original["guard"]
        assert (column["reward"], column["advantage"], column["tokens"]) == (original["reward"], original["advantage"], 20)
        assert [bool(column["flags"] >> bit & 1) for bit in range(4)] == [original[name] for name in FLAGS]
    assert len(set(index["columns"]["group"])) == 6


def test_hostile_completions_come_back_unchanged_and_the_page_has_no_more_elements(tmp_path):
    plain = read_page(write_report(write_run(tmp_path / "plain", [record(1, place) for place in range(len(NASTY))])))[0]
    hostile = [
        record(1, place, completion=text, program=text, task_id=name + text[:50], prompt=text)
        for place, (name, text) in enumerate(NASTY.items())
    ]
    hostile[0]["rewards"] = {"</script><b>": 1.0, "\x1b[0m": None, "": 0.5}
    hostile[0]["diagnostics"] = [{"code": "<b>", "level": "error", "message": "</script>", "line": 1}]
    elements, blocks = read_page(write_report(write_run(tmp_path / "</script><b>run $blocks", hostile)))
    assert [tag for tag, _, _ in elements] == [tag for tag, _, _ in plain]
    for found, text in zip(completions_of(blocks), NASTY.values(), strict=True):
        assert found["completion"] == text[: MAX_TEXT]
    assert completions_of(blocks)[0]["rewards"] == {"</script><b>": 1.0, "\x1b[0m": None, "": 0.5}
    assert completions_of(blocks)[7]["cut"] == [
        f"The {name} has 1,000,000 characters; this report holds the first 65,536." for name in ("prompt", "completion", "program")
    ]


def test_page_is_self_contained_and_allows_one_script_and_one_style(run):
    elements, _ = read_page(write_report(run))
    policy = next(attributes["content"] for tag, attributes, _ in elements if attributes.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["require-trusted-types-for"] == "'script'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (text,) = [text for name, attributes, text in elements if name == tag and "type" not in attributes]
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    for tag, attributes, _ in elements:
        assert not {"src", "style", "action", "srcset"} & attributes.keys() and not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith("#"), tag


def test_script_writes_texts_only_as_text():
    script = (ROOT / "report" / "script.js").read_text(encoding="utf-8")
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|fetch\(|XMLHttp|import\(|\.src\b|\.href\b|DOMParser",
        script,
    )


def test_steps_that_a_resume_did_again_are_left_out_and_counted(tmp_path):
    records = [record(1), record(2), record(3), record(2, attempt=1, reward=9.0), record(3, attempt=1)]
    _, blocks = read_page(write_report(write_run(tmp_path / "mine", records)))
    assert blocks["index"]["columns"]["reward"] == [0.1, 9.0, 0.3]
    assert any("2 superseded by a resumed run" in note for note in blocks["index"]["notes"])


def test_half_written_foreign_and_newer_lines_are_counted_and_the_rest_is_shown(tmp_path):
    records = [record(1), record(1, schema_version=2), {"note": "nothing graded"}, record(2)]
    _, blocks = read_page(write_report(write_run(tmp_path / "mine", records, tail=json.dumps(record(3))[:80])))
    assert len(completions_of(blocks)) == 2
    assert [note for note in blocks["index"]["notes"] if "not shown" in note] == [
        "Lines of the trace that are not shown: 1 of another schema version.",
        "Lines of the trace that are not shown: 2 unreadable or no graded completions.",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"reward": float("nan"), "advantage": float("inf"), "n_tokens": "many"},
        {"reward": "high", "task_id": {"a": float("nan")}, "guard": [1], "error_kind": 3},
        {"diagnostics": "none", "tests": [1], "hidden_total": True, "completion": None, "program": 7},
        {
            "diagnostics": [None, 1, {"line": "x", "message": 5, "code": []}],
            "tests": {"a": None},
            "rewards": {"f": "x", "g": 10**400},
            "attempt": "x",
        },
        {"rewards": {"half \ud800": 1.0}, "task_id": "\udfff"},
    ],
)
def test_values_of_other_types_than_promised_do_not_stop_the_report(tmp_path, changes):
    _, blocks = read_page(write_report(write_run(tmp_path / "mine", [record(1), record(1, 1) | changes])))
    assert len(completions_of(blocks)) == 2
    text = json.dumps(blocks)
    assert "NaN" not in text.replace('\\"a\\": NaN', "") and "Infinity" not in text  # which JSON.parse refuses


@pytest.mark.parametrize("changes", [{"group_id": None}, {"rewards": None}, {"step": 2**70}])
def test_lines_that_the_curves_leave_out_are_left_out_and_counted(tmp_path, changes):
    _, blocks = read_page(write_report(write_run(tmp_path / "mine", [record(1), record(2) | changes, record(3)])))
    index = blocks["index"]
    assert len(completions_of(blocks)) == 2 and index["steps"] == index["charts"][0]["steps"] == [1, 3]
    assert "Lines of the trace that are not shown: 1 unreadable or no graded completions." in index["notes"]


def test_odd_values_of_an_evaluation_are_shown(tmp_path):
    odd = {"reward": "high", "group_id": None, "rewards": None, "tests": [1], "completion": 3, "task_id": None}
    folder = write_run(tmp_path / "evaluation", [record(None, row="a"), record(None, row="a") | odd, {"x": 1}], name="results.jsonl")
    _, blocks = read_page(write_report(folder))
    assert len(completions_of(blocks)) == 2 and any("1 unreadable" in note for note in blocks["index"]["notes"])


def test_program_is_taken_from_the_completion_where_the_trace_was_published_without(tmp_path):
    one = record(1)
    del one["program"], one["prompt"]
    _, blocks = read_page(write_report(write_run(tmp_path / "mine", [one, record(1, 1, program=None)])))
    first, second = completions_of(blocks)
    assert first["program"].strip() == one["completion"].removeprefix("```rust\n").removesuffix("```").strip()
    assert first["prompt"] is None and second["program"] is None


def test_large_runs_keep_whole_steps_evenly_spaced_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr("report.page.MAX_COMPLETIONS", 40)
    folder = write_run(tmp_path / "mine", [record(step, place) for step in range(1, 31) for place in range(8)])
    _, blocks = read_page(write_report(folder))
    index = blocks["index"]
    assert index["steps"] == [1, 8, 15, 23, 30] and len(index["columns"]["step"]) == 40
    assert any("240 completions; 40 of them, from 5 of 30 steps" in note for note in index["notes"])
    assert index["charts"][0]["steps"] == list(range(1, 31))


def test_steps_larger_than_the_report_are_cut_alike(tmp_path, monkeypatch):
    monkeypatch.setattr("report.page.MAX_COMPLETIONS", 10)
    _, blocks = read_page(write_report(write_run(tmp_path / "mine", [record(step, place) for step in (1, 2) for place in range(8)])))
    assert blocks["index"]["columns"]["step"] == [0] * 5 + [1] * 5


def test_long_texts_are_cut_shorter_when_all_of_them_are_long(tmp_path, monkeypatch):
    monkeypatch.setattr("report.page.MAX_CHARACTERS", 200_000)
    path = write_report(write_run(tmp_path / "mine", [record(1, place, completion="y" * 60_000) for place in range(20)]))
    longest = max(len(one["completion"]) for one in completions_of(read_page(path)[1]))
    assert 1024 <= longest <= 10_000


def test_blocks_stay_small_however_long_the_texts(tmp_path, monkeypatch):
    monkeypatch.setattr("report.page.BLOCK_CHARACTERS", 100_000)
    _, blocks = read_page(
        write_report(write_run(tmp_path / "mine", [record(1, place, completion=os.urandom(15_000).hex()) for place in range(12)]))
    )
    assert blocks["index"]["blocks"] == [0, 4, 8]


def test_overview_holds_config_warnings_curves_and_first_against_last(run):
    index = read_page(write_report(run))[1]["index"]
    assert index["warnings"] == ["Step 2: rewards <b>fell</b>"]
    plan = index["config"][0]
    assert plan["title"] == "plan" and plan["is_open"] and plan["rows"] == [["tasks", "2"]]
    assert index["config"][1] == {"title": "judge", "is_open": False, "rows": [["tier", "bwrap"]]}
    charts = {chart["title"]: chart for chart in index["charts"]}
    assert charts["reward"]["series"][0]["values"] == [1.6, 1.7, 1.8]
    assert charts["what cargo said"]["series"][0]["values"] == [50.0, 50.0, 50.0]
    assert charts["policy"]["series"] == [{"name": "entropy", "values": [0.5, 0.25, 0.1667]}]
    (table,) = index["tables"]
    assert table["columns"] == ["", "step 1", "step 3", "difference"] and ["weighted sum", "1.600", "1.800", "+0.200"] in table["rows"]


def test_evaluations_inside_the_run_and_waits_are_shown(run):
    rows = [{"iteration": 0, "step": 1, "pass@1": 0.41, "pass@5": 0.48, "build": 0.64, "kl": 0.0, "note": "untrained"},
            {"iteration": 1, "step": 2, "pass@1": 0.5, "pass@5": 0.55, "build": 0.8},
            {"iteration": 2, "step": 3, "pass@1": 0.52, "build": 0.82, "kl": 0.125, "hidden_test_share": 0.25, "tokens": 250.5}]  # fmt: skip
    (run / "iterations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 4, "pass@')
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    waits = {1: {"time/wait_s": 1.5}, 2: {}, 3: {"generate/wait_s": 2.0, "grade/wait_s": 0.5}}
    times = {"time/generate_s": 4.0, "time/grade_s": 3.0, "time/train_s": 2.0}
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry | times | waits[entry["step"]]) + "\n" for entry in metrics))
    index = read_page(write_report(run))[1]["index"]
    charts = {chart["title"]: {one["name"]: one["values"] for one in chart["series"]} for chart in index["charts"]}
    assert charts["evaluations inside the run"] == {"pass@1": [41.0, 50.0, 52.0], "pass@5": [48.0, 55.0, None], "build": [64.0, 80.0, 82.0],
                                                    "hidden_test_share": [None, None, 25.0]}  # fmt: skip
    assert charts["KL to the reference, at evaluations"] == {"kl": [0.0, None, 0.125]}
    assert charts["time"]["wait"] == [1.5, None, 2.5]
    table = next(table for table in index["tables"] if table["title"] == "Evaluations inside the run")
    assert table["columns"] == ["step", "pass@1 %", "pass@5 %", "build %", "hidden_test_share %", "kl", "tokens"]
    assert table["rows"][2] == ["3", "52", "–", "82", "25", "0.125", "250.5"]


def test_a_run_without_evaluations_inside_has_none_of_it(run):
    index = read_page(write_report(run))[1]["index"]
    assert not [one["title"] for one in (*index["charts"], *index["tables"]) if "inside" in one["title"] or "evaluations" in one["title"]]
    assert all(one["name"] != "wait" for chart in index["charts"] for one in chart["series"])


def test_first_and_last_step_are_those_steps_or_a_dash():
    values = {"a": [None, 20.0, 40.0, None], "b": [10.0, None, None, 30.0], "c": [None] * 4, "d": [5.0, None, None, None]}
    chart = {"title": "what cargo said", "unit": "%", "steps": [1, 2, 3, 4]}
    table = overview.first_and_last_step([chart | {"series": [{"name": name, "values": of} for name, of in values.items()]}])
    assert table["columns"] == ["", "step 1", "step 4", "difference"]
    assert table["rows"] == [["a", "–", "–", "–"], ["b", "10.0 %", "30.0 %", "+20.0"], ["d", "5.0 %", "–", "–"]]


def test_band_is_the_interval_of_group_means(tmp_path):
    records = [record(1, place, reward=float(place // 4)) for place in range(16)]  # group means 0, 1, 2, 3
    chart = read_page(write_report(write_run(tmp_path / "mine", records)))[1]["index"]["charts"][0]
    assert chart["series"][0]["band"] == [pytest.approx(1.96 * (5 / 3) ** 0.5 / 2, abs=1e-3)]


def test_evaluation_beside_the_run_is_the_result_table(run):
    shutil.copytree(ROOT / "results/tiny/seed-1", run.parent / "result")
    compared = json.loads((run.parent / "result" / "summary.json").read_text(encoding="utf-8"))
    for row in compared["rows"]:  # each model's own evaluation lies there too, and says less
        (run.parent / row["row"]).mkdir()
        (run.parent / row["row"] / "summary.json").write_text(json.dumps({**compared, "rows": [row], "differences": []}), encoding="utf-8")
    tables = read_page(write_report(run))[1]["index"]["tables"]
    assert [table["title"] for table in tables] == ["Evaluation in ../result", "First and last step of training"]
    build = next(row for row in tables[0]["rows"] if row[0] == "build %")
    before, after, gain = (found["metrics"]["build"] for found in (*compared["rows"], *compared["differences"]))
    assert [cell["text"] for cell in build[1:]] == [f"{100 * before['value']:.1f}", f"{100 * after['value']:.1f}", f"{100 * gain['value']:+.1f}"]
    assert build[1]["range"] == f"[{100 * before['low']:.1f}, {100 * before['high']:.1f}]"


def test_broken_summary_and_config_are_named_and_the_rest_is_shown(run):
    (run / "summary.json").write_text('{"rows": [{"row": "a"}]}')
    (run / "run.json").write_text("[1")
    index = read_page(write_report(run))[1]["index"]
    assert any("its summary.json cannot be read" in note for note in index["notes"]) and any(
        "run.json cannot be read" in note for note in index["notes"]
    )
    assert len(index["columns"]["step"]) == 24


def test_evaluation_results_are_shown_by_row_without_curves(tmp_path):
    results = [
        record(None, place, row=row, advantage=None, group_id=f"task/{place // 4}") for row in ("before", "after") for place in range(4)
    ]
    folder = write_run(tmp_path / "evaluation", results, name="results.jsonl")
    for source in (folder, folder / "results.jsonl"):
        index = read_page(write_report(source))[1]["index"]
        assert index["steps"] == ["before", "after"] and not index["is_training"] and not index["charts"]
        assert len(set(index["columns"]["group"])) == 2  # the same task of two models: two groups
        assert any("no step and no advantage" in note for note in index["notes"])


def test_committed_traces_make_a_report(tmp_path):
    shutil.copytree(ROOT / "results/train-qlora-1.5b", tmp_path / "qlora")
    path = write_report(tmp_path / "qlora")
    _, blocks = read_page(path)
    assert len(completions_of(blocks)) == 2560 and path.stat().st_size < 2_000_000
    assert sum(one["program"] is not None for one in completions_of(blocks)) > 2300


@pytest.mark.parametrize("has_metrics", [True, False])
def test_empty_trace(tmp_path, has_metrics):
    folder = write_run(tmp_path / "mine", [])
    if not has_metrics:
        with pytest.raises(TraceError, match="nothing to show"):
            write_report(folder)
        return
    (folder / "metrics.jsonl").write_text(
        '{"step": 1, "reward": 2.0, "judge/build_rate": 0.5}\n{"step": 2, "reward": 3.0, "judge/build_rate": 0.75}\n'
    )
    index = read_page(write_report(folder))[1]["index"]
    assert [one["values"] for chart in index["charts"] for one in chart["series"]] == [[2.0, 3.0], [50.0, 75.0]]
    assert any("no graded completion" in note for note in index["notes"]) and index["columns"]["step"] == []


def test_command_writes_a_report_per_run_and_names_what_is_no_run(run, tmp_path):
    (tmp_path / "empty").mkdir()
    other = write_run(tmp_path / "other", [record(1)])
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"} | {"MPLBACKEND": "TkAgg"}
    command = [sys.executable, ROOT / "plot_rewards.py", run, tmp_path / "empty", tmp_path / "absent", other, "--html"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and (run / "report.html").is_file() and (other / "report.html").is_file()
    assert done.stderr.splitlines() == [
        f"plot_rewards.py: {tmp_path / 'empty'} is not a run folder: found no trace*.jsonl in it",
        f"plot_rewards.py: {tmp_path / 'absent'} does not exist: expected a run folder of train.py, or a trace file",
    ]


def test_failed_write_leaves_the_earlier_report(run, monkeypatch):
    path = write_report(run)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("report.page._block", full)
    assert plot_rewards.main([str(run), "--html"]) == 2
    assert path.read_bytes() == before and [one.name for one in run.iterdir() if one.name.endswith(".tmp")] == []


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# What eyes without one kind of cone see, in linear light. Source: Machado, Oliveira, Fernandes 2009, severity 1.0.
COLOUR_VISIONS = {
    "all three": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def seen(colour, vision):
    """CIELAB of a colour as such eyes see it."""
    import numpy as np

    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.clip(np.array(COLOUR_VISIONS[vision]) @ np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear / [0.9505, 1, 1.089]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", COLOUR_VISIONS)
@pytest.mark.parametrize("palette", ["light page", "dark page", "pictures"])
def test_lines_that_may_share_a_panel_differ_to_any_eyes(palette, vision):
    import itertools

    import numpy as np

    if palette == "pictures":
        colours = ["#000000", *plot_rewards.PALETTE[: plot_rewards.MOST_LINES - 1]]
    else:
        themes = (ROOT / "report" / "style.css").read_text().split(":root")
        found = dict(re.findall(r"--(c\d): (#[0-9a-f]{6})", themes[1 if palette == "light page" else 2].split("}")[0]))
        colours = [found[f"c{number}"] for number in range(6)]
    for one, other in itertools.combinations(colours, 2):
        assert np.linalg.norm(seen(one, vision) - seen(other, vision)) >= 15, (one, other)


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_have_the_contrast_of_wcag_aa(theme):
    css = (ROOT / "report" / "style.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", css.split(":root")[1 + theme].split("}")[0]))
    pairs = [(text, back) for text in ("ink", "soft", "good", "bad", "mild") for back in ("page", "panel", "chosen")]
    pairs += [
        (text, back)
        for text in ("keyword", "type", "string", "comment", "number", "macro", "ink")
        for back in ("panel", "bad-back", "mild-back")
    ]
    pairs += [("bad", "bad-back"), ("mild", "mild-back")]
    for text, back in pairs:
        low, high = sorted([luminance(colours[text]), luminance(colours[back])])
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, back)


# ---------------------------------------------------------------------------------------------------------------------
# The page, in a real browser
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    if chromium.found() is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    with chromium.Chromium() as started:
        yield started


@pytest.fixture
def opened(browser):
    """Open a report at an address like #c=3; every page must stay without errors, console messages and requests."""
    pages = []

    def open_at(path, address="", **options):
        page = browser.page(path.as_uri() + address, **options)
        page.until("document.body?.dataset.ready")
        pages.append(page)
        return page

    yield open_at
    for page in pages:
        assert page.complaints() == []


HEADING = "document.querySelector('#detail h2')?.textContent"


def test_browser_shows_overview_and_list_of_a_run(run, opened):
    page = opened(write_report(run))
    assert page.evaluate("[...document.querySelectorAll('figcaption')].map(one => one.firstChild.textContent)")[:2] == [
        "reward",
        "what cargo said",
    ]
    assert page.evaluate("document.querySelector('.warning:not([hidden]):not(#problem)').textContent") == "Step 2: rewards <b>fell</b>"
    page.evaluate("document.getElementById('to-completions').click()")
    page.until("document.querySelectorAll('[role=option]').length === 24")
    assert page.evaluate("document.getElementById('count').textContent") == "24 completions"


def test_browser_is_driven_by_keyboard_alone(run, opened):
    page = opened(write_report(run), "#completions")
    page.until(f"{HEADING} === 'step 1 · task/0'")
    for _ in range(4):
        page.key("j")
    page.key("ArrowDown")
    page.until("document.querySelector('[aria-selected=true]').id === 'row-5'")
    assert page.evaluate("document.getElementById('list').getAttribute('aria-activedescendant')") == "row-5"
    page.key("k")
    page.key("k")
    page.key("Enter")
    page.until("document.activeElement.id === 'detail' && location.hash === '#c=3'")
    page.key("g")
    page.until(f"{HEADING} === 'group of step 1 · task/0' && location.hash === '#g=3'")
    assert page.evaluate("[...document.querySelectorAll('article .facts')].map(one => one.textContent)") == [
        "outcomehonest passreward0.10advantage-1.50", "outcomecompilereward1.10advantage-0.50",
        "outcomeno_testsreward2.10advantage0.50", "outcomecompilereward3.10advantage1.50"]  # fmt: skip
    page.key("f")
    page.until(f"{HEADING} === 'task/0: first against last'")
    assert page.evaluate("[...document.querySelectorAll('article h3')].map(one => one.textContent)") == ["step 1", "step 3"]
    assert "3 + 3" in page.evaluate("document.querySelectorAll('article')[1].textContent")
    page.key("Escape")
    page.until(f"{HEADING} === 'step 1 · task/0'")
    page.key("Escape")
    page.until("document.activeElement.id === 'list'")
    page.key("/")
    page.until("document.activeElement.id === 'task'")
    page.type("task/1")
    page.until("document.getElementById('count').textContent === '12 of 24 completions'")
    page.key("Escape")
    page.key("End")
    page.until(f"{HEADING} === 'step 3 · task/1'")


@pytest.mark.parametrize(
    ("key", "reached"),
    [
        ("j", "document.querySelector('[aria-selected=true]').id === 'row-1'"),
        ("/", "document.activeElement.id === 'task'"),
        ("g", f"{HEADING} === 'group of step 1 · task/0'"),
        ("f", f"{HEADING} === 'task/0: first against last'"),
    ],
)
def test_browser_keys_work_on_the_overview_too(run, opened, key, reached):
    page = opened(write_report(run))
    page.key("Home")  # scrolls, and leads nowhere
    assert not page.evaluate("document.getElementById('overview').hidden")
    page.key(key)
    page.until(f"!document.getElementById('completions').hidden && {reached}")
    page.evaluate("history.back()")
    page.until("!document.getElementById('overview').hidden")


def test_browser_lines_of_a_chart_differ_by_more_than_colour(run, opened):
    page = opened(write_report(run))
    of_chart = "[...document.querySelectorAll('figure')].map(one => [...one.querySelectorAll('{}')].map(line => line.style.strokeDasharray))"
    drawn, named = (page.evaluate(of_chart.format(lines)) for lines in ("polyline", ".legend line"))
    assert drawn == named and max(map(len, drawn)) >= 4
    assert all(len(set(dashes[:4])) == len(dashes[:4]) for dashes in drawn)


def test_browser_fits_a_telephone(run, opened):
    (run / "run.json").write_text(json.dumps({"plan": {"a_rather_long_name_of_a_setting": "f0" * 40}, "config": {}, "versions": {}}))
    page = opened(write_report(run), width=420)
    assert page.evaluate("document.getElementById('overview').scrollWidth <= 420")
    too_wide = "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth).map(one => one.ariaLabel)"
    assert page.evaluate(too_wide) == []
    assert page.evaluate("document.querySelector('.config td').clientWidth") > 250


def test_browser_list_leaves_out_what_all_ids_begin_with(run, opened):
    page = opened(write_report(run), "#completions")
    page.until("document.querySelector('#list .row')")
    first = "document.querySelector('#list .row').children[1]"
    assert page.evaluate(f"[{first}.textContent, {first}.title]") == ["0", "task/0"]


def test_browser_filters_and_sorts(run, opened):
    page = opened(write_report(run), "#completions")

    def after(**values):
        page.evaluate("document.getElementById('filters').reset()")
        page.until("document.getElementById('count').textContent === '24 completions'")
        for name, value in values.items():
            options, text = f"[...document.getElementById('{name}').options ?? []]", json.dumps(value)
            code = f"{options}.find(one => one.text.startsWith({text}))?.value ?? {text}"
            page.evaluate(f"document.getElementById('{name.replace('_', '-')}').value = {code.replace(name, name.replace('_', '-'))}")
        page.evaluate("document.getElementById('filters').dispatchEvent(new Event('input', {bubbles: true})); 0")
        return page.evaluate("Array.from(shown)")

    records = [record(step, place) for step in (1, 2, 3) for place in range(8)]
    assert after(step_from="2", step_to="2") == list(range(8, 16))
    assert after(kind="compile") == [row for row, one in enumerate(records) if one["error_kind"] == "compile"]
    assert after(guard="no_tests") == [row for row, one in enumerate(records) if one["guard"] == "no_tests"]
    assert after(reward_from="3.1", reward_to="3.2") == [row for row, one in enumerate(records) if one["reward"] in (3.1, 3.2)]
    by_reward = sorted(range(24), key=lambda row: (-records[row]["reward"], row))
    assert after(sort="reward, highest") == by_reward
    assert after(task="TASK/1", kind="no error", sort="step, last") == [20, 22, 12, 14, 4, 6]
    assert after(task="nothing like it") == []
    assert "No completion passes" in page.evaluate("document.getElementById('detail').textContent")


def test_compiler_message_points_at_its_line(run, opened):
    page = opened(write_report(run), "#c=1")
    page.until("document.querySelector('.messages')")
    assert page.evaluate("document.querySelector('.messages li').textContent") == "line 2 error[E0308]: mismatched types"
    assert page.evaluate("document.querySelector('.line.error').textContent").strip() == "1 + 1"
    page.evaluate("document.querySelector('.messages button').click()")
    assert page.evaluate("document.activeElement.dataset.line") == "2"


def test_nothing_that_a_completion_contains_runs_and_all_of_it_is_seen(tmp_path, opened):
    hostile = [
        record(1, place, completion=text, program=text, task_id=name, prompt=text, guard=text[:200], error_kind=name)
        for place, (name, text) in enumerate(NASTY.items())
    ]
    hostile[0]["rewards"] = {"<img src=x onerror=alert(3)>": 1.0}
    folder = write_run(tmp_path / "<img src=x onerror=alert(4)>", hostile)
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "warnings": ["<script>window.__pwned = 7</script>"]}) + "\n")
    path = write_report(folder)
    page = opened(path)
    shown = {}
    for row, name in enumerate(NASTY):
        for letter in "gfc":
            page.evaluate(f"location.hash = '#{letter}={row}'; 0")
            page.until(f"view.row === {row} && view.kind[0] === '{letter}' && document.querySelector('#detail h2')")
            page.until("document.querySelector('#detail [aria-pressed=true]').getAttribute('aria-keyshortcuts').toLowerCase()[0] === "
                       f"'{'e' if letter == 'c' else letter}'")  # fmt: skip
        page.until(f"document.querySelector('#detail h2').textContent.includes({json.dumps(name)})")
        page.evaluate("for (const one of document.querySelectorAll('#detail .line button, #detail .more')) one.click()")
        shown[name] = page.evaluate(
            "[...document.querySelectorAll('#detail .code:not(details .code) .line')].map(one => one.textContent).join('\\n')"
        )
    assert page.evaluate("window.__pwned ?? null") is None
    assert (
        page.evaluate("document.querySelectorAll('iframe, img, #detail script, #detail svg, object, embed, b:not(.legend b)').length") == 0
    )
    assert shown["script"] == NASTY["script"] and shown["image"] == NASTY["image"] and shown["comment"] == NASTY["comment"]
    assert shown["ansi"] == "␛[31mred␛[0m ␛]0;title␇ bell"
    assert shown["bidi"] == "let is_admin = U+202E false; U+2066// U+2069 U+200B"
    assert shown["nul"] == "before␀afterU+0085␡"
    assert shown["surrogate"] == "half U+D800 of a pair, U+DC00 and another"
    assert shown["long line"] == "x" * 65_536 and shown["templates"] == NASTY["templates"]
    assert shown["comments"] == NASTY["comments"][:65_536] and shown["attributes"] == NASTY["attributes"]


@pytest.mark.parametrize(
    "text", ["/*" * 32_000, "#[" * 32_000, "'" * 65_000, 'r#"' * 21_000, "b'" * 32_000, "a 1 " * 16_000, "r" + "#" * 65_000, '"\\' * 32_000]
)
def test_colouring_is_linear_and_loses_nothing(run, opened, text):
    page = opened(write_report(run))
    page.evaluate(f"window.sample = {json.dumps(text)}; 0")
    assert page.evaluate("colouredLines(sample, true).map(line => line.map(([, piece]) => piece).join('')).join('\\n') === sample")
    assert (
        page.evaluate("(() => { const from = performance.now(); colouredLines(sample, true); return performance.now() - from; })()") < 2000
    )


def test_rust_is_coloured(run, opened):
    page = opened(write_report(run))
    source = (
        '/* a /* b */ c */ fn f<\'a>(x: &\'a str) -> Vec<u8> { let c = \'x\'; let r = r#"q"z"#; println!("{}", 0..1_0u8); } // end\nx != y'
    )
    page.evaluate(f"window.sample = {json.dumps(source)}; 0")
    found = page.evaluate("colouredLines(sample, true).flat().filter(([kind]) => kind)")
    assert found == [["c", "/* a /* b */ c */"], ["k", "fn"], ["l", "'a"], ["l", "'a"], ["t", "str"], ["t", "Vec"], ["t", "u8"],
                     ["k", "let"], ["s", "'x'"], ["k", "let"], ["s", 'r#"q"z"#'],
                     ["m", "println!"], ["s", '"{}"'], ["n", "0"], ["n", "1_0u8"], ["c", "// end"]]  # fmt: skip


def test_page_fits_a_telephone(run, opened):
    page = opened(write_report(run), "#completions", width=360, height=700)
    page.until("document.querySelectorAll('[role=option]').length === 24")
    fits = "[...document.querySelectorAll('html, #completions, #browser')].every(one => one.scrollWidth <= 360)"
    assert page.evaluate(fits)
    assert page.evaluate("document.getElementById('detail').offsetParent === null")
    page.evaluate("document.getElementById('row-4').click()")
    page.until(f"{HEADING} === 'step 1 · task/1' && document.getElementById('detail').offsetParent")
    assert page.evaluate(fits) and page.evaluate("document.getElementById('list').offsetParent === null")
    page.evaluate("document.querySelector('.back').click()")
    page.until("document.getElementById('list').offsetParent && document.activeElement.id === 'list'")


def test_numbers_outside_the_report_are_answered(run, opened):
    page = opened(write_report(run), "#c=999")
    assert "no completion 999" in page.evaluate("document.getElementById('problem').textContent")


def test_list_of_many_thousands_holds_few_elements(tmp_path, opened):
    page = opened(
        write_report(write_run(tmp_path / "mine", (record(step, place) for step in range(1, 41) for place in range(500)))),
        "#completions",
    )
    assert page.evaluate("document.getElementById('count').textContent") == "20,000 completions"
    page.evaluate("document.getElementById('list').scrollTop = 300000; 0")
    page.until("document.querySelector('#row-9376')")
    assert page.evaluate("document.querySelectorAll('*').length") < 1500
    page.key("End")
    page.until("document.querySelector('[aria-selected=true]')?.id === 'row-19999'")
