"""One task of any kind made of files on the command line, for generate.py:

    python generate.py --model M --kind fix src/main.rs
    python generate.py --model M --kind fim --prefix before.rs --suffix after.rs ["what it should do"]
    python generate.py --model M --kind patch --file src/main.rs "Return None for an empty list."
    python generate.py --model M --kind next_edit --file src/main.rs --last_edit last.diff --region 12-20

There are no hidden tests here: cargo and the tests of the file say what came of it.
"""

import re
from dataclasses import asdict
from pathlib import Path

import kinds
from judge.program import read_program, with_main
from rust_tool import Job, RustTool

NEEDED = {"fix": (), "fim": ("prefix", "suffix"), "patch": ("file",), "next_edit": ("file", "last_edit", "region")}  # flags


def _text(path: str) -> str:
    """Raises KindError for a file that is no text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise kinds.KindError(f"cannot read {path} ({error})") from error


def _region(text: str) -> list[int]:
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if not found:
        raise kinds.KindError(f"--region {text}: expected FIRST-LAST, the lines around the cursor, for example 12-20")
    return [int(line) for line in found.groups()]


def broken(path: str, judge: RustTool) -> dict:
    """Columns of a fix task: a file and what cargo says of it. Raises KindError for one that nothing is wrong with."""
    code = _text(path)
    program = read_program(with_main(code))
    (verdict,) = judge.grade([Job(program)])
    if verdict.error_kind == "infra":
        raise kinds.KindError(f"the machine failed to grade {path}: look at `python doctor.py`")
    if verdict.build_passed and (verdict.test_passed or not program.test_names):
        raise kinds.KindError(f"{path} builds and {'its tests pass' if verdict.test_passed else 'has no tests'}: there is nothing to mend")
    said = kinds.cargo_message(program.source, map(asdict, verdict.diagnostics))
    return {"code": code, "message": said or f"error: {verdict.error_kind}"}


def task_to_try(kind: str, prompt: str, flags: dict, judge: RustTool) -> dict:
    """The task of a command line: `prompt` is what was asked (the file for fix), `flags` may hold prefix, suffix, file, last_edit,
    region, fim_format. Raises KindError for what is missing or of another kind.
    """
    given = {name for names in NEEDED.values() for name in names if flags.get(name)}
    needed = NEEDED.get(kind, ())
    if missing := [name for name in needed if name not in given]:
        raise kinds.KindError(f"--kind {kind} needs --{missing[0]}")
    if extra := sorted(given - {*needed}):
        raise kinds.KindError(f"--{extra[0]} goes with another kind than {kind}")
    if not prompt and kind in (kinds.WRITE, "fix", "patch"):
        what = "--kind fix needs the file to mend" if kind == "fix" else "the prompt is missing: what should the program do?"
        raise kinds.KindError(what)
    if kind == kinds.WRITE:
        return {"prompt": prompt}
    task = {"kind": kind, "prompt": prompt or "what the code around it says.", "fim_format": flags.get("fim_format") or "chat"}
    if kind == "fix":
        task |= {"prompt": "it should build and pass its tests."} | broken(prompt, judge)
    elif kind == "fim":
        task |= {"prefix": _text(flags["prefix"]), "suffix": _text(flags["suffix"])}
    else:
        task |= {"code": _text(flags["file"])}
    if kind == "next_edit":
        task |= {"last_edit": _text(flags["last_edit"]), "region": _region(flags["region"])}
        task["prompt"] = prompt or "Go on with an edit that was begun."
    return kinds.with_prompt(task)


def is_done(graded: dict) -> bool:
    """Whether a program builds and passes its tests; where only the kind write asks for tests, another may have none."""
    has_tests = bool(graded["tests"]) or kinds.kind_of_record(graded) == kinds.WRITE
    return graded["build_passed"] and (graded["test_passed"] or not has_tests)
