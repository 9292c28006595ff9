"""Users' own reward functions, called as TRL calls them: a function, a partial, a callable object, a coroutine function.

Each gets `prompts`, `completions`, the task's columns by name, what the trainer passes (`completion_ids`, `trainer_state`, ..) and
`graded`, the graded completions; one without `**kwargs` gets those of them that it names.
"""

import asyncio
import hashlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

ALWAYS = ("prompts", "completions", "graded", "task_id", "tests", "entry_point", "user_prompt", "other_columns")
IN_TRAINING = ("completion_ids", "trainer_state", "log_extra", "log_metric", "environments")  # what GRPOTrainer adds


class OwnRewardError(ValueError):
    """A reward function of the user's cannot be used; the message is one sentence, without the function's name."""


def load(file: str, name: str, modules: dict[str, ModuleType]) -> Callable:
    """What a file defines under a name. `modules`: those loaded before, so that functions of one file share its state.

    Raises:
        OwnRewardError: no such file or name, a file that cannot be imported, or nothing that could be called with a batch.
    """
    if not Path(file).is_file():
        raise OwnRewardError(f"no file {file}")
    path = str(Path(file).resolve())
    if path not in modules:
        modules[path] = _imported(file, path)
    function = getattr(modules[path], name, None)
    if not callable(function):
        raise OwnRewardError(f"{file} defines no function {name}")
    if inspect.isclass(function):
        raise OwnRewardError(f"{name} is a class: name an object of it that can be called")
    unusual = [p.name for p in parameters(function) if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if unusual:
        raise OwnRewardError(f"{name} takes {unusual[0]} by position only, and rewards are called with names")
    return function


def contents_hash(specs: Sequence[str]) -> str:
    """Of the files that `FILE.py:FUNCTION=WEIGHT` items name, whatever they define; of none for built-in rewards."""
    files = sorted({Path(spec.partition(".py:")[0] + ".py") for spec in specs if ".py:" in spec})
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def _imported(file: str, path: str) -> ModuleType:
    module_name = f"own_rewards_{Path(file).stem}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    sys.path.append(str(Path(path).parent))  # a file may import its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # somebody else's code: whatever it raises, say where
        del sys.modules[module_name]
        raise OwnRewardError(failure(file, error)) from error
    finally:
        sys.path.remove(str(Path(path).parent))
    return module


def failure(file: str, error: Exception) -> str:
    """`FILE, line N: Error: message` about what code of a file raised, in one line; N is the file's own last line on the way."""
    if isinstance(error, SyntaxError):
        where, line, what = error.filename or file, error.lineno, error.msg
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == Path(file).absolute()]
        where, line, what = file, frames[-1].lineno if frames else None, str(error)
    return f"{where}{f', line {line}' if line else ''}: {type(error).__name__}: {' '.join(what.split())}"


def parameters(function: Callable) -> list[inspect.Parameter]:
    """What a function takes; anything by name where Python cannot tell (built-in functions)."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)]


def missing(function: Callable, columns: Iterable[str], in_training: bool) -> list[str]:
    """Names that a function needs and no batch will have. `columns`: of the tasks, beside those that every task has."""
    given = {*ALWAYS, *columns, *(IN_TRAINING if in_training else ())}
    named = (p for p in parameters(function) if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.default is p.empty)
    return [p.name for p in named if p.name not in given]


def answers(function: Callable, batch: Mapping[str, object]) -> Sequence | object:
    """What a function says of a batch, as plain Python: coroutines awaited, arrays and tensors as lists."""
    others = [json.loads(text) for text in batch.get("other_columns") or ()]
    columns = {name: [row.get(name) for row in others] for name in dict.fromkeys(name for row in others for name in row)}
    given = columns | batch
    taken = parameters(function)
    if not any(p.kind is p.VAR_KEYWORD for p in taken):
        given = {p.name: given[p.name] for p in taken if p.name in given}
    values = function(**given)
    if inspect.isawaitable(values):
        values = asyncio.run(_awaited(values))
    values = values.tolist() if hasattr(values, "tolist") else values
    return [v.item() if hasattr(v, "item") else v for v in values] if isinstance(values, Sequence) else values


async def _awaited(values: object) -> object:
    return await values
