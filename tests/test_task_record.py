"""training/task_record.py: what is known of the tasks steers what is drawn, and is the same after a kill."""

import itertools
import json
from collections import Counter

import pytest
from conftest import write_jsonl

from tasks import TaskError
from training import task_record
from training.task_record import TaskRecord, chance_of_signal, lines_until, outcomes_of, read_first_record

TASKS = ["always", "mixed", "never", "new"]


def batch(solved: dict[str, tuple[int, int]]) -> list[tuple[str, bool, tuple[str, ...]]]:
    """Outcomes of completions, from task -> (solved, graded)."""
    return [(task, number < right, ()) for task, (right, n) in solved.items() for number in range(n)]


def known() -> TaskRecord:
    record = TaskRecord()
    for step in (1, 2):
        record.add(step, batch({"always": (8, 8), "mixed": (4, 8), "never": (0, 8)}))
    return record


def record_of(task_id="a", **changes) -> dict:
    """A graded completion that passes one hidden test of two."""
    graded = {
        "task_id": task_id, "prompt": "Add.", "error_kind": "test_failed", "test_passed": False, "honest_tests": True,
        "hidden_passed": 1, "hidden_total": 2, "hidden_statuses": ["ok", "failed"],
    }  # fmt: skip
    return graded | changes


@pytest.mark.parametrize(("solved", "failed", "size"), [(0, 0, 4), (3, 1, 4), (0, 8, 8), (20, 0, 8)])
def test_chance_of_signal_is_that_of_drawn_pass_rates(solved, failed, size):
    """Against the definition: pass rates drawn from the posterior, groups of that size."""
    numpy = pytest.importorskip("numpy")
    rates = numpy.random.default_rng(0).beta(solved + task_record.PRIOR, failed + task_record.PRIOR, 400_000)
    expected = (1 - rates**size - (1 - rates) ** size).mean()
    assert chance_of_signal(solved, failed, size) == pytest.approx(expected, abs=3e-3)


def test_always_and_never_solved_tasks_become_rare_but_stay_possible():
    record = known()
    weights = {task: record.weight(task, 8) for task in TASKS}
    assert weights["mixed"] > weights["new"] > 3 * weights["always"] > 0
    assert weights["always"] == pytest.approx(weights["never"])
    drawn = Counter(record.draw(TASKS, 1, 8, (0, step))[0] for step in range(2000))
    share = {task: drawn[TASKS.index(task)] / 2000 for task in TASKS}
    total = sum(weights.values())
    assert share == pytest.approx({task: weight / total for task, weight in weights.items()}, abs=0.04)
    assert min(share.values()) > 0


def test_a_task_that_comes_to_be_solved_is_drawn_again():
    record = known()
    before = record.weight("never", 8)
    record.add(3, batch({"never": (2, 8)}))
    assert record.weight("never", 8) > 4 * before


def test_draws_follow_from_seed_step_and_record_alone():
    one, other = known(), known()
    keys = list(itertools.product((0, 1), range(5)))
    assert [one.draw(TASKS, 3, 8, key) for key in keys] == [other.draw(TASKS, 3, 8, key) for key in keys]
    assert len({tuple(one.draw(TASKS, 3, 8, key)) for key in keys}) > 1
    assert all(len(set(one.draw(TASKS, 4, 8, key))) == 4 for key in keys), "a batch holds no task twice"


def test_a_killed_runs_record_is_that_of_its_checkpoint(tmp_path):
    path = tmp_path / "task_record.jsonl"
    killed = TaskRecord([{"step": 0, **task_record.tallied(batch({"never": (0, 5)}))}])
    killed.write_to(path)
    for step in (1, 2, 3):
        killed.add(step, [("mixed", step == 2, ("ok", "failed"))])
    with path.open("a") as file:
        file.write('{"step": 4, "outc')  # killed in the middle of a line
    resumed = TaskRecord(lines_until(path, 2))
    resumed.write_to(path)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1, 2]
    whole = TaskRecord([{"step": 0, **task_record.tallied(batch({"never": (0, 5)}))}])
    for step in (1, 2):
        whole.add(step, [("mixed", step == 2, ("ok", "failed"))])
    for task in TASKS:
        assert resumed.weight(task, 8) == whole.weight(task, 8)
        assert resumed.test_weights(task, 2) == whole.test_weights(task, 2)
    resumed.add(3, [("new", True, ())])
    assert len(path.read_text().splitlines()) == 4


def test_tests_that_are_seldom_passed_weigh_more():
    record = TaskRecord()
    assert record.test_weights("a", 2) == [0.5, 0.5]
    record.add(1, [("a", False, ("ok", "failed")), ("a", False, ("ok", "ok")), ("a", False, ())])
    assert record.test_weights("a", 2) == pytest.approx([1 / 3, 2 / 3])
    assert record.test_weights("a", 3) == [1 / 3] * 3, "another number of tests: another task"


def test_what_counts_as_solved():
    own = {"hidden_passed": None, "hidden_total": None, "test_passed": True, "honest_tests": True}
    graded = [
        record_of("share"), record_of("all", hidden_passed=2), record_of("own", **own),
        record_of("fooled", **own | {"honest_tests": False}), record_of("infra", error_kind="infra"),
    ]  # fmt: skip
    assert {task: solved for task, solved, _ in outcomes_of(graded)} == {"share": False, "all": True, "own": True, "fooled": False}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "no such file"),
        *(([row], "line 1: neither a graded completion nor a line of a record")
          for row in ({"task_id": "a", "prompt": "Add."}, {k: v for k, v in record_of("a").items() if k != "hidden_total"},
                      record_of("a") | {"task_id": ["a"]}, record_of("a") | {"hidden_statuses": 5})),
        *(([{"step": 1, "outcomes": {"a": wrong}}], "line 1: neither a graded completion nor a line of a record")
          for wrong in ([8], [1, 2, 3], "8", "ab", None, ["1", "8"], [9, 8], [-3, 8], [float("nan"), 8], [True, 8])),
        *(([{"step": 1, "outcomes": {"a": [1, 8]}, "tests": wrong}], "line 1: neither a graded completion nor a line of a record")
          for wrong in (None, [], {"a": [3, 8]}, {"a": [[9], 8]}, {"a": [["1"], 8]})),
        ([], "is empty"),
        ([record_of("b")], "a record of other tasks: none of the 1 training tasks is in it"),
        ([record_of("a", prompt="Multiply.")], "its task 'a' has another prompt"),
    ],
)
def test_a_first_record_of_something_else_is_refused(tmp_path, lines, message):
    path = tmp_path / "results.jsonl"
    if lines is not None:
        write_jsonl(path, lines)
    with pytest.raises(TaskError, match=message):
        read_first_record(str(path), [{"task_id": "a", "user_prompt": "Add."}])


def test_a_folder_is_no_first_record(tmp_path):
    with pytest.raises(TaskError, match="is a folder; expected results.jsonl"):
        read_first_record(str(tmp_path), [])
    (tmp_path / "trace.jsonl").write_text("")
    with pytest.raises(TaskError, match="is a folder: give .*/trace.jsonl$"):
        read_first_record(str(tmp_path), [])


def test_first_record_counts_the_tasks_that_are_trained_on(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(record_of(task)) + "\n" for task in "aab"))
    (line,) = read_first_record(str(path), [{"task_id": "a", "user_prompt": "Add."}])
    assert line == {"step": 0, "outcomes": {"a": [0, 2]}, "tests": {"a": [[2, 0], 2]}}


def test_the_record_of_another_run_is_a_first_record(tmp_path):
    path = tmp_path / "task_record.jsonl"
    other = TaskRecord()
    other.write_to(path)
    for step, n_solved in enumerate((8, 1), start=1):
        other.add(step, batch({"a": (n_solved, 8), "elsewhere": (0, 8)}))
    lines = read_first_record(str(path), [{"task_id": "a", "user_prompt": "Add."}])
    assert [(line["step"], line["outcomes"]) for line in lines] == [(0, {"a": [8, 8]}), (0, {"a": [1, 8]})]
    assert TaskRecord(lines).weight("a", 8) == other.weight("a", 8)
    with pytest.raises(TaskError, match="a record of other tasks"):
        read_first_record(str(path), [{"task_id": "b", "user_prompt": "Add."}])
