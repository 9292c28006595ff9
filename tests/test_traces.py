"""traces.py: a trace survives a kill and a full disk, rotates without losing a line, and is read fast and completely."""

import errno
import gzip
import io
import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from conftest import ROOT

import traces
from traces import (
    TraceError,
    TraceWriter,
    attempts_began,
    cut_torn_line,
    iter_counted,
    iter_trace,
    load_trace,
    read_iterations,
    read_metrics,
    replacing,
    waited_s,
)


def record(step, attempt=0, rank=0, reward=1.0, **changes):
    """One graded completion of a training run, with the columns that readers use."""
    return {
        "schema_version": traces.SCHEMA_VERSION,
        "task_id": f"t/{step}",
        "step": step,
        "attempt": attempt,
        "rank": rank,
        "group_id": f"{step}-0",
        "completion": f"```rust\nfn f{step}() {{}}\n```",
        "reward": reward,
        "advantage": 0.0,
        "error_kind": None,
        "guard": None,
        "n_tokens": 5,
        "build_passed": True,
        "clippy_passed": True,
        "test_passed": True,
        "honest_tests": True,
        "tests": {"tests::works": "ok"},
        "diagnostics": [],
        "rewards": {"cargo_build_reward": reward, "hidden_tests_reward": None},
    } | changes


def line(*args, **changes):
    return json.dumps(record(*args, **changes)) + "\n"


def write(folder, text, name="trace.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------------------------------


def lines_of(path):
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def test_trace_appends_batches_one_line_each(tmp_path):
    trace = TraceWriter(tmp_path / "new" / "folder" / "trace.jsonl")
    trace.write([{"n": 1, "text": "a\nb\r\u2028\u0085"}, {"n": 2, "text": "é 🦀"}])
    trace.write([{"n": 3, "text": ""}])
    with trace.path.open(encoding="utf-8") as lines:
        assert [json.loads(line) for line in lines] == [
            {"n": 1, "text": "a\nb\r\u2028\u0085"},
            {"n": 2, "text": "é 🦀"},
            {"n": 3, "text": ""},
        ]
    assert "é 🦀" in trace.path.read_text(encoding="utf-8"), "a person can read it"
    assert not trace.path.stat().st_mode & 0o111


@pytest.mark.parametrize("text", ["\ud800", "a\\\udfffb", '"\udc80"', "\ud800\\u0041", "é\udcff🦀"])
def test_lone_surrogates_round_trip(tmp_path, text):
    trace = TraceWriter(tmp_path / "trace.jsonl")
    trace.write([{"completion": text}])
    assert lines_of(trace.path) == [{"completion": text}]


@pytest.mark.parametrize("good", [b"", b'{"n": 1}\n', b'{"n": 1}\n' * 9000])
@pytest.mark.parametrize("torn", [b"", b"x", b'{"n"', b"x" * 65_535, b"x" * 70_000, b'{"a": "\xf0\x9f'])
def test_torn_last_line_is_cut_and_nothing_else(tmp_path, good, torn):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(good + torn)
    TraceWriter(path).write([{"n": 2}])
    assert path.read_bytes() == good + b'{"n": 2}\n'


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "run.json"
    (tmp_path / "run.json.tmp").write_text("what a killed run left")
    with replacing(file) as new:
        new.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(file) as new:
        new.write_text("half of the n")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"] and file.read_text() == "old"


def test_cutting_a_file_that_is_not_there_makes_none(tmp_path):
    cut_torn_line(tmp_path / "trace.jsonl")
    assert not list(tmp_path.iterdir())


def test_write_that_the_system_splits_is_finished(tmp_path, monkeypatch):
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, bytes(data[:7])))
    trace = TraceWriter(tmp_path / "trace.jsonl")
    trace.write([{"n": i, "text": "é" * 20} for i in range(3)])
    assert [record["n"] for record in lines_of(trace.path)] == [0, 1, 2]


def test_full_disk_in_the_middle_of_a_batch_leaves_whole_batches(tmp_path, monkeypatch):
    trace = TraceWriter(tmp_path / "trace.jsonl")
    trace.write([{"n": 1}, {"n": 2}])
    before = trace.path.read_bytes()
    real_write, calls = os.write, []

    def write_until_full(fd, data):
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_write(fd, bytes(data[:13]))

    monkeypatch.setattr(os, "write", write_until_full)
    with pytest.raises(OSError) as full:
        trace.write([{"n": 3}, {"n": 4}, {"n": 5}])
    assert full.value.errno == errno.ENOSPC
    assert len(calls) == 2, "the batch was partly written before the disk was full"
    assert trace.path.read_bytes() == before
    monkeypatch.undo()
    trace.write([{"n": 6}])
    assert [record["n"] for record in lines_of(trace.path)] == [1, 2, 6]


def test_trace_is_strict_json(tmp_path):
    trace = TraceWriter(tmp_path / "trace.jsonl")
    with pytest.raises(ValueError):
        trace.write([{"n": 1}, {"reward": float("nan")}])
    assert not trace.path.exists() or trace.path.read_bytes() == b""


def test_full_file_is_compressed_and_no_line_is_lost(tmp_path):
    trace = TraceWriter(tmp_path / "trace.jsonl", rotate_bytes=2000)
    for step in range(1, 31):
        trace.write([record(step), record(step)])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) > 3 and all(name == "trace.jsonl" or name.endswith(".jsonl.gz") for name in names)
    assert [entry["step"] for entry in iter_trace(tmp_path)] == [step for step in range(1, 31) for _ in range(2)]
    assert list(load_trace(tmp_path)["step"]) == [step for step in range(1, 31) for _ in range(2)]


def test_a_file_that_has_grown_to_its_size_is_full(tmp_path):
    TraceWriter(tmp_path / "trace.jsonl", rotate_bytes=len('{"n": 1}\n')).write([{"n": 1}])
    assert [path.name for path in tmp_path.iterdir()] == ["trace.part0001.jsonl.gz"]


def test_parts_are_read_by_their_number_and_the_live_file_last(tmp_path):
    for number in (99, 100, 101, 10_000):
        write(tmp_path, line(number), f"trace.part{number:04d}.jsonl")
    write(tmp_path, line(20_000))
    assert [entry["step"] for entry in iter_trace(tmp_path)] == [99, 100, 101, 10_000, 20_000]


def test_run_killed_while_compressing_is_read_once_and_mended_at_the_next_start(tmp_path):
    part = line(1) + line(2)
    write(tmp_path, part, "trace.part0001.jsonl")
    (tmp_path / "trace.part0001.jsonl.gz").write_bytes(gzip.compress(part.encode()))
    write(tmp_path, line(3))
    assert [entry["step"] for entry in iter_trace(tmp_path)] == [1, 2, 3]
    TraceWriter(tmp_path / "trace.jsonl", rotate_bytes=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trace.jsonl", "trace.part0001.jsonl.gz"]
    assert [entry["step"] for entry in iter_trace(tmp_path)] == [1, 2, 3]


def test_part_that_was_never_compressed_is_read_and_compressed_at_the_next_start(tmp_path):
    write(tmp_path, line(1) + line(2), "trace.part0001.jsonl")
    (tmp_path / "trace.part0001.jsonl.gz.tmp").write_bytes(b"\x1f\x8bhalf")
    assert list(load_trace(tmp_path)["step"]) == [1, 2]
    TraceWriter(tmp_path / "trace.jsonl").write([record(3)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trace.jsonl", "trace.part0001.jsonl.gz"]
    assert list(load_trace(tmp_path)["step"]) == [1, 2, 3]


@pytest.mark.parametrize("needed", ["shutil.copyfileobj", "gzip.GzipFile"])
def test_disk_that_fills_while_compressing_leaves_the_part_readable(tmp_path, monkeypatch, needed):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(f"traces.{needed}", full)
    TraceWriter(tmp_path / "trace.jsonl", rotate_bytes=10).write([record(1)])
    assert [path.name for path in tmp_path.iterdir()] == ["trace.part0001.jsonl"]
    assert list(load_trace(tmp_path)["step"]) == [1]


def test_processes_rotate_each_their_own_file(tmp_path):
    for rank in (0, 1):
        name = f"trace.rank{rank}.jsonl" if rank else "trace.jsonl"
        writer = TraceWriter(tmp_path / name, rotate_bytes=1000)
        for step in range(1, 9):
            writer.write([record(step, rank=rank)])
    frame = load_trace(tmp_path)
    assert sorted(zip(frame["step"], frame["rank"], strict=True)) == [(step, rank) for step in range(1, 9) for rank in (0, 1)]
    assert [entry["rank"] for entry in iter_trace(tmp_path)] == [0] * 8 + [1] * 8


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_bytes", [1, 700, 10_000, 2**25])
def test_reading_does_not_depend_on_the_chunk(tmp_path, monkeypatch, chunk_bytes):
    monkeypatch.setattr(traces, "CHUNK_BYTES", chunk_bytes)
    write(tmp_path, "".join(line(step) for step in range(1, 40)) + line(40)[:50])
    frame = load_trace(tmp_path)
    assert list(frame["step"]) == list(range(1, 40))
    assert frame.attrs["unreadable_lines"] == 1


class Reluctant(io.BytesIO):
    """A file that gives at most three bytes at a time, as a .gz may."""

    def read1(self, size=-1):
        return super().read1(min(size, 3))


def test_so_much_is_read_as_was_asked_for():
    file = Reluctant(b"0123456789abcdef")
    assert [traces._read_some(file, 10) for _ in range(3)] == [b"0123456789", b"abcdef", b""]


def test_chunks_are_of_the_size_asked_for_and_end_with_a_line(tmp_path):
    text = "".join(f"{number:09d}\n" for number in range(100)) + "torn" * 20
    write(tmp_path, text)
    chunks = list(traces.line_chunks(tmp_path / "trace.jsonl", chunk_bytes=35))
    assert b"".join(chunks) == text.encode()
    assert all(chunk.endswith(b"\n") and len(chunk) <= 35 + 10 for chunk in chunks[:-1]) and chunks[-1] == b"torn" * 20


@pytest.mark.parametrize("end", ["", "\n"])
def test_whole_lines_are_read_by_columns(tmp_path, monkeypatch, end):
    """The fast way: no line of a whole trace becomes a Python object, however many there are."""
    monkeypatch.setattr(traces, "_row", None)
    write(tmp_path, "".join(line(step) for step in range(1, 200)).rstrip() + end)
    assert len(load_trace(tmp_path)) == 199


@pytest.mark.parametrize("bad", ["null", "[1]", '{"prompt": "x"}', "{", '"text"', '{"step": "three", "reward": 1}', "\x00\x01", "{" * 5000, '{"step":' * 300_000, '{"other":' * 300_000 + "1" + "}" * 300_000])
def test_bad_line_among_good_ones_costs_that_line_only(tmp_path, bad):
    good = "".join(line(step) for step in range(1, 201))
    write(tmp_path, good + bad + "\n" + good)
    frame = load_trace(tmp_path)
    assert len(frame) == 400
    assert frame.attrs["unreadable_lines"] == 1


def test_lines_beside_a_bad_one_are_read_as_whole_as_others(tmp_path):
    """They take another way (Arrow cannot read their chunk): every column comes out the same."""
    failed = {"code": "E0308", "level": "error"}
    changes = ({}, {"build_passed": False, "diagnostics": [{"code": "W1", "level": "warning"}, failed]}, {"guard": "no_asserts", "reward": 0.5})
    good = "".join(line(step, **changes[step % 3]) for step in range(1, 7))
    whole, beside = load_trace(write(tmp_path / "a", good)), load_trace(write(tmp_path / "b", good + "no JSON\n"))
    assert whole.equals(beside[whole.columns])
    assert whole["error_code"].dropna().to_dict() == {0: "E0308", 3: "E0308"}
    assert list(whole["build_passed"]) == [False, True, True] * 2


def test_rewards_of_a_run_that_was_resumed_with_others_are_all_columns(tmp_path):
    write(tmp_path, line(1, rewards={"old_reward": 0.5}) + line(1, rewards={}) + line(2, attempt=1, rewards={"new_reward": 1.0}))
    frame = load_trace(tmp_path).drop(index=1)
    assert frame["reward/old_reward"].tolist()[0] == 0.5 and frame["reward/new_reward"].tolist()[1] == 1.0
    assert frame["reward/old_reward"].isna().tolist() == [False, True]


def test_an_honest_pass_is_both_and_what_is_not_known_is_none(tmp_path):
    pairs = [(True, True), (True, False), (False, True), (None, True), (True, None)]
    write(tmp_path, "".join(line(step, test_passed=passed, honest_tests=honest) for step, (passed, honest) in enumerate(pairs, 1)))
    assert list(load_trace(tmp_path)["honest_pass"]) == [True, False, False, False, False]


ODD_LINES = {  # line -> why it does not count, or None
    line(1): None,
    line(2, schema_version=None, attempt=None): None,
    line(3, diagnostics=7): None,
    line(3, rewards={}, reward="high", task_id=7, diagnostics="none", n_tokens=2.5, test_passed="yes"): None,
    line(4, task_id="lone \ud800", guard="\udfff", diagnostics=[None, {"code": 3}], reward=10**400): None,
    line(5, group_id=None): traces.UNREADABLE,
    json.dumps({name: value for name, value in record(5).items() if name != "group_id"}) + "\n": traces.UNREADABLE,
    line(5, group_id=7): traces.UNREADABLE,
    line(5, rewards=None): traces.UNREADABLE,
    line(5, rewards=[1.0]): traces.UNREADABLE,
    line(5.0): traces.UNREADABLE,
    line(True): traces.UNREADABLE,
    line(2**70): traces.UNREADABLE,
    line(None): traces.UNREADABLE,
    line(5).rstrip() + line(5): traces.UNREADABLE,
    "[1]\n": traces.UNREADABLE,
    line(5, schema_version=2): traces.OTHER_VERSION,
    line(5, schema_version=2, group_id=None, rewards=[]): traces.OTHER_VERSION,
    line(5, schema_version="1"): traces.OTHER_VERSION,
}


@pytest.mark.parametrize("chunk_bytes", [1, 2**25])  # a chunk a line: Arrow reads all that it can; one chunk: it is read line by line
def test_frame_and_records_are_of_the_same_lines(tmp_path, monkeypatch, chunk_bytes):
    monkeypatch.setattr(traces, "CHUNK_BYTES", chunk_bytes)
    write(tmp_path, " \t\n".join(ODD_LINES))  # a blank line after each
    left_out = Counter()
    counted = [entry["step"] for entry in iter_counted(tmp_path, left_out)]
    frame = load_trace(tmp_path)
    assert counted == list(frame["step"]) == [1, 2, 3, 3, 4]
    assert left_out == Counter(filter(None, ODD_LINES.values()))
    assert (frame.attrs["unreadable_lines"], frame.attrs["other_versions"]) == (left_out[traces.UNREADABLE], left_out[traces.OTHER_VERSION])


def test_line_without_a_group_among_three_counts_for_no_reader(tmp_path):
    write(tmp_path, line(1) + line(2, group_id=None) + line(3))
    assert list(load_trace(tmp_path)["step"]) == [entry["step"] for entry in iter_counted(tmp_path)] == [1, 3]


@pytest.mark.parametrize(
    "written",
    [
        [(1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (4, 1)],
        [(1, 0), (2, 0), (3, 0), (3, 1), (4, 1), (2, 2), (3, 2)],
        [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2)],
        [(1, 0), (2, 0), (1, 1)],
        [(1, None), (2, "x"), (2, 1)],
    ],
)
def test_frame_and_records_leave_out_the_same_superseded_lines(tmp_path, written):
    write(tmp_path, "".join(line(step, attempt) for step, attempt in written))
    left_out = Counter()
    counted = [(entry["step"], entry["attempt"]) for entry in iter_counted(tmp_path, left_out)]
    frame = load_trace(tmp_path)
    numbers = [(step, attempt if isinstance(attempt, int) else 0) for step, attempt in counted]
    assert sorted(numbers) == sorted(zip(frame["step"], frame["attempt"].fillna(0), strict=True))
    assert left_out == {traces.SUPERSEDED: len(written) - len(counted)} and frame.attrs["superseded_lines"] == len(written) - len(counted)
    assert frame.attrs["attempts_began"] == attempts_began(tmp_path)
    assert [(e["step"], e["attempt"]) for e in iter_counted(tmp_path, began=frame.attrs["attempts_began"])] == counted


def test_an_attempt_that_began_after_the_trace_was_looked_at_counts(tmp_path):
    began = attempts_began(write(tmp_path, line(1)))
    write(tmp_path, line(1) + line(2, attempt=1))
    assert [entry["step"] for entry in iter_counted(tmp_path, began=began)] == [1, 2]


def test_value_of_another_type_is_missing_and_the_line_counts(tmp_path):
    write(tmp_path, line(1, reward="high", n_tokens="many", guard=3, rewards={"f": "x", "g": 2}))
    (row,) = load_trace(tmp_path).astype(object).where(lambda frame: frame.notna(), None).to_dict("records")
    assert (row["reward"], row["n_tokens"], row["guard"], row["reward/f"], row["reward/g"]) == (None, None, None, None, 2)


def test_lines_of_another_schema_are_left_out_and_counted(tmp_path):
    write(tmp_path, line(1) + line(2, schema_version=99) + line(3))
    frame = load_trace(tmp_path)
    assert list(frame["step"]) == [1, 3]
    assert (frame.attrs["unreadable_lines"], frame.attrs["other_versions"]) == (0, 1)


def test_trace_of_another_schema_only_is_an_error_that_says_so(tmp_path):
    write(tmp_path, line(1, schema_version=99))
    with pytest.raises(TraceError, match=r"no complete line of a training run \(0 lines could not be read, 1 are of another schema version than 1\)$"):
        load_trace(tmp_path)
    write(tmp_path, "{\n")
    with pytest.raises(TraceError, match=r"no complete line of a training run \(1 lines could not be read\)$"):
        load_trace(tmp_path)


def test_first_rustc_error_is_a_column(tmp_path):
    warning, error = {"code": "clippy::x", "level": "warning"}, {"code": "E0308", "level": "error", "message": "m", "line": 3}
    kinds = ([], [warning], [warning, error], [error, error | {"code": "E0382"}], [error | {"code": None}], [{"code": "E0001"}])
    write(tmp_path, "".join(line(1, diagnostics=diagnostics) for diagnostics in kinds))
    assert list(load_trace(tmp_path)["error_code"].astype(object).fillna("-")) == ["-", "-", "E0308", "E0308", "-", "-"]


def test_reward_functions_of_the_trace_are_columns(tmp_path):
    write(tmp_path, line(1, rewards={"mine": 0.25, "silent": None}) + line(1, rewards={"mine": None, "silent": None}))
    frame = load_trace(tmp_path)
    assert list(frame["reward/mine"].fillna(-1)) == [0.25, -1]
    assert frame["reward/silent"].isna().all()


def test_texts_are_read_only_when_asked_for(tmp_path):
    write(tmp_path, line(1, completion="lone \ud800 surrogate") + line(2))
    assert not {"completion", "prompt", "program"} & set(load_trace(tmp_path).columns)
    frame = load_trace(tmp_path, columns=("step", "completion"))
    assert list(frame.columns) == ["step", "completion"]
    assert frame["completion"][0].startswith("lone ") and frame["completion"][1].startswith("```rust")


def test_unknown_column_is_an_error_that_names_those_there_are(tmp_path):
    write(tmp_path, line(1))
    with pytest.raises(TraceError, match=r"no column rewrad, stop; it has schema_version, task_id, .*reward/cargo_build_reward, "):
        load_trace(tmp_path, columns=("step", "rewrad", "stop"))


def test_gzip_that_ends_early_gives_what_it_holds(tmp_path):
    import random

    texts = random.Random(0)  # noise, so that half of the file holds some lines
    packed = gzip.compress("".join(line(step, completion=f"{texts.getrandbits(4000):x}") for step in range(1, 60)).encode())
    (tmp_path / "trace.part0001.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    write(tmp_path, line(60))
    steps = list(load_trace(tmp_path)["step"])
    assert steps[-1] == 60 and 10 < len(steps) < 59 and steps[:-1] == list(range(1, len(steps)))


def test_folder_that_is_not_there_and_one_without_a_trace_are_different_errors(tmp_path):
    with pytest.raises(TraceError, match="does not exist"):
        load_trace(tmp_path / "nowhere")
    with pytest.raises(TraceError, match=r"not a run folder: found no trace\*\.jsonl"):
        load_trace(tmp_path)


def test_metrics_of_a_resumed_run_have_each_step_once(tmp_path):
    text = "".join(json.dumps({"step": step, "n": n}) + "\n" for n, step in enumerate((1, 2, 3, 2, 3, 4)))
    write(tmp_path, text + '{"step": 5, "n', "metrics.jsonl")
    assert [(entry["step"], entry["n"]) for entry in read_metrics(tmp_path)] == [(1, 0), (2, 3), (3, 4), (4, 5)]
    assert read_metrics(tmp_path / "nowhere") == []


def test_metrics_after_a_torn_line_count(tmp_path):
    write(tmp_path, '{"step": 1}\n{"step": 2, "n\n{"n": 3}\n{"step": 4}\n', "metrics.jsonl")
    assert [entry["step"] for entry in read_metrics(tmp_path)] == [1, 4]


def test_evaluations_of_a_run_are_numbers_by_step(tmp_path):
    """A line is of its step, or of its iteration where it has none; the last one of a step counts, and what is no number is left out."""
    first, second = {"iteration": 0, "pass@1": 0.25, "note": "before", "kinds": {"fix": {"build": 1}, "step": 9}}, {"step": 5, "iteration": 1, "is_best": True, "kl": 0.5}
    write(tmp_path, "".join(json.dumps(row) + "\n" for row in (first, second | {"kl": 7.0}, second, {"other": 1})), "iterations.jsonl")
    assert read_iterations(tmp_path) == [{"step": 0, "pass@1": 0.25, "kinds.fix.build": 1, "kinds.step": 9}, {"step": 5, "kl": 0.5}]
    assert read_iterations(tmp_path / "nowhere") == []


def test_waiting_is_the_sum_of_what_was_waited_for():
    assert waited_s({"time/wait_s": 1.5, "wait_s": 2, "time/train_s": 9.0, "late_wait_s": 4.0, "x/wait_s": "?"}) == 3.5
    assert waited_s({"time/train_s": 9.0}) is None


PEAK = """
import re, sys
import traces
traces.CHUNK_BYTES = 2**20
frame = traces.load_trace(sys.argv[1])
status = open("/proc/self/status").read()  # ru_maxrss would remember the parent's memory
print(len(frame), int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) // 1024)
"""


def peak_mib(folder, n_lines):
    """Peak memory of a process that loads a trace of so many lines of 20 KB."""
    write(folder, "".join(line(i // 8 + 1, completion=f"{i:020d}" * 1000) for i in range(n_lines)))
    done = subprocess.run([sys.executable, "-c", PEAK, str(folder)], cwd=ROOT, text=True, capture_output=True, check=True)
    rows, peak = map(int, done.stdout.split())
    assert rows == n_lines
    return peak


def test_memory_of_load_trace_does_not_grow_with_the_texts(tmp_path):
    """160 MB of completions against 8: what is asked for is a few numbers a line."""
    assert peak_mib(tmp_path / "large", 8000) - peak_mib(tmp_path / "small", 400) < 40
