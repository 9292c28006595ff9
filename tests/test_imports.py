"""Who imports whom: no module of the top level imports itself by way of others."""

import ast

from conftest import ROOT


def imported(path) -> set[str]:
    """Names of the modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_imports_go_round_in_no_circle():
    modules = {path.stem: imported(path) for path in ROOT.glob("*.py")}
    assert "traces" in modules["report"]  # a reader that finds nothing would find no circle
    left = {name: names & modules.keys() - {name} for name, names in modules.items()}
    while free := {name for name, names in left.items() if not names}:
        left = {name: names - free for name, names in left.items() if name not in free}
    assert not left


def test_training_and_evaluation_do_not_import_each_other():
    assert "eval" not in imported(ROOT / "train.py") and "train" not in imported(ROOT / "eval.py")
