"""Who imports whom, and how long functions and classes are."""

import ast

from conftest import ROOT


def modules() -> dict:
    """Dotted name -> file, of the top level and of every package in it."""
    packages = [path.parent for path in ROOT.glob("*/__init__.py")]
    files = [path for folder in (ROOT, *packages) for path in folder.glob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imported(path) -> set[str]:
    """Dotted names of the modules that a file imports, wherever in it; `from x import y` may mean x.y."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_imports_go_round_in_no_circle():
    files = modules()
    left = {name: imported(path) & files.keys() - {name} for name, path in files.items()}
    assert {"traces", "report.overview"} <= left["report.page"]  # a reader that finds nothing would find no circle
    while free := {name for name, names in left.items() if not names}:
        left = {name: names - free for name, names in left.items() if name not in free}
    assert not left


def test_training_and_evaluation_do_not_import_each_other():
    assert "eval" not in imported(ROOT / "train.py") and "train" not in imported(ROOT / "eval.py")


def test_functions_and_classes_can_be_read_at_once():
    """Lines, of functions what is defined within them included."""
    bounds = {ast.FunctionDef: 60, ast.AsyncFunctionDef: 60, ast.ClassDef: 300}
    files = [path for folder in (ROOT, *(path.parent for path in ROOT.glob("*/__init__.py"))) for path in folder.glob("*.py")]
    files += [path for folder in ("benchmarks", "integrations", "results") for path in (ROOT / folder).rglob("*.py")]
    nodes = [(path, node) for path in files for node in ast.walk(ast.parse(path.read_text())) if type(node) in bounds]
    assert len(nodes) > 1000
    assert [f"{path.name}: {node.name}" for path, node in nodes if node.end_lineno - node.lineno >= bounds[type(node)]] == []
