"""What is committed below results/: summaries count their completions, tables of the README files are made of summaries, and rows
hold what our code made, never what other people's data sets hold."""

import dataclasses
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, write_jsonl

import eval as evaluation
import generate
import kinds
import rewards
import tasks
import traces
from results import tables
from training import iterations

FIGURE = re.compile(r"\d\.\d|\d %|\[[-+\d]|\d of \d")  # in a cell: something that was measured


@pytest.fixture(scope="module")
def committed():
    """(path, text that it should have) of what is committed below results/, counted again once."""
    return list(tables.evaluations())


def test_every_file_is_what_its_completions_say(committed, monkeypatch):
    monkeypatch.setattr(tables, "evaluations", lambda: iter(committed))
    assert tables.stale(write=False) == [], "python results/tables.py --write"


def test_the_walk_sees_the_committed_evaluations(committed):
    summaries = [path for path, _ in committed if path.name == "summary.json"]
    assert len([path for path in summaries if tables.completion_files(path.parent)]) >= 7
    text = (ROOT / "results" / "README.md").read_text()
    assert [kind for _, kind, *_ in tables.BLOCK.findall(text)].count("rates") >= 2


@pytest.mark.parametrize("path", tables.readme_files(), ids=tables.shown)
def test_no_figure_in_a_table_is_typed(path):
    """Weights of rewards are settings: the test below holds them."""
    typed = tables.read_tables(tables.BLOCK.sub("", path.read_text(encoding="utf-8")))
    cells = [cell for table in typed if "weight" not in table[0] for row in table for cell in row.values()]
    assert [cell for cell in cells if FIGURE.search(re.sub(r"`[^`]*`", "", cell))] == []


def test_the_table_of_rewards_has_the_default_weights():
    (table,) = [table for table in tables.read_tables((ROOT / "README.md").read_text()) if "weight" in table[0]]
    weights = {row["function"].strip("`"): row["weight"] for row in table}
    defaults = dict(spec.split("=") for spec in rewards.DEFAULT_REWARDS)
    assert {name: float(weight) for name, weight in weights.items() if weight != "(off)"} == {n: float(w) for n, w in defaults.items()}


def test_what_cannot_be_counted_again_says_so():
    """A file with rates whose completions are not there: the nearest README says that they were not kept."""
    for path in (ROOT / "results").rglob("*.json"):
        content = json.loads(path.read_text())
        rates = isinstance(content, dict) and any(isinstance(row, dict) and "metrics" in row for row in content.get("rows", ()))
        if rates and not (path.name == "summary.json" and tables.completion_files(path.parent)):
            readme = next(folder / "README.md" for folder in path.parents if (folder / "README.md").is_file())
            assert readme != ROOT / "README.md" and "not kept" in readme.read_text(), path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one committed evaluation and a README."""
    shutil.copytree(ROOT / "results" / "prompt-pilot", tmp_path / "results" / "pilot")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("# Mine\n\n<!-- table: rates results/pilot | n | build % -->\n<!-- end of table -->\n")
    assert tables.stale(write=True) == ["README.md"]
    assert tables.stale(write=False) == []
    return tmp_path


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("file,old,new", [
    ("README.md", "71.0 [63.0", "72.0 [63.0"),
    ("results/pilot/table.md", "71.0 [63.0", "72.0 [63.0"),
    ("results/pilot/summary.json", '"low": 0.63,', '"low": 0.64,'),
    ("results/pilot/summary.json", '"n": 200', '"n": 201'),
])  # fmt: skip
def test_a_changed_figure_is_found_and_mended(project, file, old, new):
    whole = (project / file).read_text()
    change(project / file, old, new)
    assert file in tables.stale(write=False)
    tables.stale(write=True)
    assert (project / file).read_text() == whole and tables.stale(write=False) == []


def test_a_changed_completion_changes_summary_table_and_readme(project):
    path = project / "results" / "pilot" / "results.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    record = json.loads(lines[0])
    lines[0] = json.dumps(record | {"build_passed": not record["build_passed"]})
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n"))
    assert tables.stale(write=False) == ["results/pilot/summary.json", "results/pilot/table.md"]
    tables.stale(write=True)
    assert "| 55.0 [" in (project / "README.md").read_text()


def test_a_table_without_completions_says_so_beside_itself(project):
    assert "not kept" not in (project / "README.md").read_text()
    (project / "results" / "pilot" / "results.jsonl.gz").unlink()
    assert tables.stale(write=True) == ["README.md"]
    assert "`results/pilot` were not kept: these figures cannot be recomputed" in (project / "README.md").read_text()


def test_seeds_are_told_apart_and_equal_rows_stand_once(project):
    for seed in (0, 1):
        shutil.copytree(project / "results" / "pilot", project / "results" / "recipe" / f"seed-{seed}" / "mbpp-rs")
    (line, *_), *_ = tables.read_tables(tables.rates("results/recipe/*/mbpp-rs", "build %"))
    assert line["run"] == "seed-0/mbpp-rs" and line["row"] == "**rules**"


def test_a_plain_table_has_the_rows_values_and_nothing_else(project):
    (table,) = tables.read_tables(tables.plain("results/pilot", "build %=it compiles, %") + "\n")
    assert [(row[""], row["it compiles, %"]) for row in table][:2] == [("rules", "54.5"), ("example", "71.0")]
    assert not any(" - " in row[""] for row in table)


def test_mean_and_range_over_seeds(project):
    for seed in (0, 1):
        shutil.copytree(project / "results" / "pilot", project / "results" / "recipe" / f"seed-{seed}" / "mbpp-rs")
    summary = project / "results" / "recipe" / "seed-1" / "mbpp-rs" / "summary.json"
    found = json.loads(summary.read_text())
    for part in (found["rows"][1], found["differences"][0]):
        part["metrics"]["build"]["value"] += 0.0109  # in their tables 72.1 and 71.0 %, in the mean 71.5
    summary.write_text(json.dumps(found))
    (table,) = tables.read_tables(tables.seeds("results/recipe/seed-*/mbpp-rs", "build %"))
    rows = {row["row"]: (row["seeds"], row["build %"]) for row in table}
    assert rows["**rules**"] == ("2", "54.5 (54.5 to 54.5)")
    assert rows["**example**"] == ("2", "71.5 (71.0 to 72.1)")
    assert rows["example - rules"] == ("2", "+17.0 (+16.5 to +17.6)")
    assert tables.seeds("results/nowhere/*", "build %") == tables.rates("results/nowhere/*", "build %") == ""


def test_the_step_table_comes_with_the_first_measured_step(project):
    block = "<!-- table: speed results/step/*.json -->\n<!-- end of table -->\n"
    assert tables.with_tables(block) == block
    (project / "results" / "step").mkdir()
    step = {"device": "H100", "n_devices": 2, "config": "configs/a.yaml", "completions_per_s": 21.25, "before_completions_per_s": 8.5, "ratio": 2.5}
    (project / "results" / "step" / "two-cards.json").write_text(json.dumps(step))
    ((row,),) = tables.read_tables(tables.with_tables(block))
    assert list(row.values()) == ["`results/step/two-cards.json`", "H100", "2", "configs/a.yaml", "21.25", "8.50", "2.50", "-"]


def test_check_fails_where_write_has_something_to_do(project, capsys):
    assert tables.main(["--check"]) == 0
    change(project / "README.md", "71.0", "17.0")
    assert tables.main(["--check"]) == 1 and "README.md: differs" in capsys.readouterr().out
    assert tables.main(["--write"]) == 0 and tables.main(["--check"]) == 0


# ---------------------------------------------------------------------------------------------------------------------
# Rows: ours, of anybody's tasks
# ---------------------------------------------------------------------------------------------------------------------

MARK = "marked"  # in every text of the task below, and in nothing else
TASK_OF_OTHERS = {  # as MultiPL-E's, with what its rows hold beside that
    "task_id": "mbpp_9000", "prompt": f"/// Thrice n, {MARK}.\nfn {MARK}(n: isize) -> isize {{\n", "entry_point": MARK,
    "tests": [f'assert!({MARK}(2) == 6, "{MARK}");'], "doctests": f"transform {MARK}", "original": f"{MARK}.py",
    "gpt_solution": f"{MARK}(n) * 3", "stop_tokens": [f"\n{MARK}"], "source": f"{MARK}.jsonl",
}  # fmt: skip
ATTACK = {"id", "family", "prompt", "completion", "why", "paid", "guard", "set_aside"}  # written for this project, prompts too
NAME = re.compile(r"[\w/#.:+@-]*( [\w/#.:+@-]+)?")  # two words at most, and nothing that makes code of them
ROW_FILES = sorted(path for path in (ROOT / "results").rglob("*") if path.name.endswith((".jsonl", ".jsonl.gz", ".parquet")))


@dataclasses.dataclass(frozen=True)
class Fields:
    """What a row with a completion may hold: `made` by our code of any task; `of_tasks` too, of those whose ids begin as ours do."""

    made: set[str]
    of_tasks: set[str]
    ours: set[str]

    def is_ours(self, row: dict) -> bool:
        return str(row.get("task_id")).partition("/")[0] in self.ours

    def strange(self, row: dict) -> set[str]:
        """What a row should not hold: names of fields, or where there is no completion, texts that are no names."""
        if "completion" not in row:
            return {text for text in texts_of({key: value for key, value in row.items() if key != "warnings"}) if not NAME.fullmatch(text)}
        is_ours = self.is_ours(row)
        columns = row["columns"].keys() if is_ours and isinstance(row.get("columns"), dict) else set()
        return (row.keys() | columns) - (self.made | self.of_tasks if is_ours else self.made)


def texts_of(value: object) -> Iterator[str]:
    """Every text inside a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from texts_of(inner)


@pytest.fixture(scope="module")
def of_others(tmp_path_factory) -> Path:
    """The folder of an evaluation, by cargo, of a task of others: a right and a wrong completion, which go on where its prompt stops."""
    folder = tmp_path_factory.mktemp("others")
    rows = [TASK_OF_OTHERS | {"completion": body} for body in ("    n * 3\n}\n", "    n + 3\n}\n")]
    write_jsonl(folder / "in.jsonl", rows)
    assert evaluation.main(["--completions", str(folder / "in.jsonl"), "--output_dir", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def fields(of_others) -> Fields:
    """By running it: what eval.py writes is ours where nothing of the task is in it. And the names that traces and samples add."""
    records = [row for _, row in tasks.iter_rows(of_others / "results.jsonl")]
    assert [record["hidden_passed"] for record in records] == [1, 0], "what hidden tests say of a failure is there, too"
    of_task = {name for record in records for name, value in record.items() if MARK in json.dumps(value)}
    sampled = {field.name for field in dataclasses.fields(generate.Completion)} - {"text"}
    made = ({*records[0], "turns"} | traces.SCALARS.keys() | iterations.COLUMNS.keys() | sampled) - of_task  # turns: --repair_turns
    of_data = [kinds.with_prompt(row) for path in (ROOT / "data").glob("*.jsonl*") for _, row in tasks.iter_rows(path)]
    columns = set().union(*of_data) | rewards.graded_completion({"any": 1}, "", None, rewards.Verdict()).keys()
    return Fields(made, (of_task - TASK_OF_OTHERS.keys()) | columns, {row["task_id"].partition("/")[0] for row in of_data})


@pytest.mark.parametrize("path", ROW_FILES, ids=tables.shown)
def test_rows_hold_what_our_code_made_and_nothing_of_others(path, fields):
    for where, row in tasks.iter_rows(path):
        strange = row.keys() - ATTACK if path.parent.name == "attacks" else fields.strange(row)
        assert not strange, f"{where}: {', '.join(sorted(strange))}"
        assert row.get("prompt") is None or path.parent.name == "attacks" or fields.is_ours(row), where


@pytest.mark.parametrize("name", ["results.jsonl", "results.parquet"])
def test_an_evaluation_of_others_tasks_cannot_be_committed_as_it_is(of_others, fields, name):
    for _, row in tasks.iter_rows(of_others / name):
        strange = fields.strange(row)
        assert strange >= TASK_OF_OTHERS.keys() - {"task_id", "tests"} | {"hidden_tests", "program", "hidden_failures"}
        assert not fields.strange({key: value for key, value in row.items() if key not in strange})
        assert MARK not in json.dumps({key: value for key, value in row.items() if key not in strange})


@pytest.mark.parametrize("column", sorted(TASK_OF_OTHERS.keys() - {"task_id", "tests"} | {"columns", "hidden_tests", "program"}))
def test_one_column_left_in_is_found(fields, column):
    _, row = next(tasks.iter_rows(ROOT / "results" / "mbpp-rs-1.5b" / "results.jsonl.gz"))
    assert fields.strange(row) == set() and fields.strange(row | {column: "x"}) == {column}


def test_a_file_of_tasks_is_no_result(fields):
    assert fields.strange(TASK_OF_OTHERS) >= {TASK_OF_OTHERS["prompt"], *TASK_OF_OTHERS["tests"]}
    own = {"task_id": "rust-tasks/one", "completion": "fn one() {}", "columns": {"category": "bits", "doctests": "x"}}
    assert fields.strange(own) == {"doctests"}


def test_the_design_names_the_fields(fields):
    (listed,) = re.findall(r"A graded completion is one JSON object (.*?)\. Fields", (ROOT / "DESIGN.md").read_text(), re.DOTALL)
    names = set(re.findall(r"`([a-z_]+)`", listed))
    made = rewards.graded_completion({"any": 1}, "", None, rewards.Verdict()).keys() | traces.SCALARS.keys()
    assert made <= names <= fields.made | fields.of_tasks | {"hidden_tests", "is_trained"}
