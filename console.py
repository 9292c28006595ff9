"""What a terminal is told: lines that fit it, a word now and then while something loads, and libraries' own logs in a file instead.

    python console.py --log .venv/pip.log --what "installing packages" -- pip install -r requirements.txt

runs a command with its output in a file; on the terminal a line every 10 s, and the file's end when the command fails.
Standard library only. Widths are columns; a pipe or a file counts as 80 unless COLUMNS says otherwise.
"""

import argparse
import contextlib
import logging
import logging.handlers
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

BEAT_S = 10.0  # so long a terminal may be silent
LOG_NAME = "debug.log"  # in a run folder: what libraries say
# What train.py and eval.py are made of, logged at debug level. Not those that send requests, which would write down what they sent.
LIBRARIES = ("transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes")


# ---------------------------------------------------------------------------------------------------------------------
# Lines that fit
# ---------------------------------------------------------------------------------------------------------------------


def width() -> int:
    """Columns of the terminal, at least 20."""
    return max(20, shutil.get_terminal_size((80, 24)).columns)


def labelled(label: str, text: str, indent: int = 12) -> str:
    """`label  text`, the label to the right, further lines of the text under its first one. Words longer than a line stay whole."""
    lines = textwrap.wrap(text, max(10, width() - indent), break_long_words=False, break_on_hyphens=False) or [""]
    return f"{label:>{indent - 2}}  " + f"\n{'':{indent}}".join(lines)


def wrapped(text: str) -> str:
    """Markdown with its sentences and list items folded to the width; rows of tables stay."""
    fold = lambda line: textwrap.fill(line, width(), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(line if line.startswith("|") else fold(line) for line in text.splitlines())


def first_that_fits(line: Callable[[set[str]], str], drops: Sequence[str]) -> str:
    """`line(without)` with as few of `drops` left out, in their order, as the width wants; with all of them when nothing fits."""
    texts = (line(set(drops[:n])) for n in range(len(drops) + 1))
    return next((text for text in texts if len(text) <= width()), line(set(drops)))


def side_by_side(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text, in blocks of as many columns as the width wants, under each other, each with the first column."""
    first = max(len(row[0]) for row in [header, *rows])
    pads = [max([min(len(title), 12), *(len(row[i]) for row in rows)]) for i, title in enumerate(header[1:], start=1)]
    blocks: list[list[int]] = [[]]
    for i, pad in enumerate(pads, start=1):
        if blocks[-1] and first + sum(2 + pads[k - 1] for k in blocks[-1]) + 2 + pad > width():
            blocks.append([])
        blocks[-1].append(i)
    return "\n\n".join(_block(header, rows, first, {i: pads[i - 1] for i in block}) for block in blocks)


def _block(header: Sequence[str], rows: Sequence[Sequence[str]], first: int, pads: dict[int, int]) -> str:
    titles = [textwrap.wrap(header[i], pad) or [""] for i, pad in pads.items()]  # a long title takes several lines
    depth = max(map(len, titles))
    columns = [[""] * (depth - 1) + [header[0]], *([""] * (depth - len(title)) + title for title in titles)]
    lines = [*zip(*columns, strict=True), *([row[0], *(row[i] for i in pads)] for row in rows)]
    return "\n".join("  ".join(cell.ljust(pad) for cell, pad in zip(line, [first, *pads.values()], strict=True)).rstrip() for line in lines)


def help_text(usage: str, about: str, settings: Sequence[argparse.Action], more: str = "") -> str:
    """Help that fits: `usage`, then `about`, each setting with its explanation and default under it, then `more`."""
    lines = [textwrap.fill(text, width(), break_on_hyphens=False) + "\n" for text in (f"usage: {usage}", about)]
    for action in settings:
        choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices and len(action.choices) < 6 else ""
        default = "" if action.default in (None, argparse.SUPPRESS, [], "") else f" (default: {action.default})"
        if isinstance(action.default, list) and action.default:
            default = f" (default: {' '.join(map(str, action.default))})"
        text = " ".join((action.help or "").replace("%%", "%").split()) + default
        if action.const is False:  # HfArgumentParser's --no_x beside an x that is on, with that one's words
            text = f"Turns --{action.dest} off."
        indented = {"initial_indent": "      ", "subsequent_indent": "      ", "break_on_hyphens": False}
        lines += [f"  {(action.option_strings or [action.dest.upper()])[0]}{choices}", textwrap.fill(text, width(), **indented)]
    return "\n".join([*lines, "", *([textwrap.fill(more, width(), break_on_hyphens=False), ""] if more else [])])


# ---------------------------------------------------------------------------------------------------------------------
# A word now and then
# ---------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def every(seconds: float, action: Callable[[], None]) -> Iterator[None]:
    """While open, `action` is called every so often, in a thread of its own."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def waiting(what: str, expected_s: float | None = None) -> contextlib.AbstractContextManager[None]:
    """While open, a line on stderr every BEAT_S: how long it has taken, of what is expected, and what is waited for.

    expected_s: seconds it usually takes; nothing is said before they are over by half.
    """
    started = time.monotonic()

    def say() -> None:
        passed = time.monotonic() - started
        if expected_s is None or passed > 1.5 * expected_s:
            usual = f" (usually {expected_s:.0f})" if expected_s is not None else ""
            print(f"... {what}: {passed:.0f} s so far{usual}", file=sys.stderr, flush=True)

    return every(BEAT_S, say)


# ---------------------------------------------------------------------------------------------------------------------
# Libraries' own words
# ---------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """While open, libraries show no tqdm bar (one for each save of one file, three for each model loaded) but for downloads."""
    try:
        from tqdm import std
    except ImportError:
        yield
        return
    original = std.tqdm.__init__

    def without_bar(self, *args, **options):
        is_download = type(self).__module__.startswith("huggingface_hub")  # minutes, with an estimate
        original(self, *args, **(options if is_download else options | {"disable": True}))

    std.tqdm.__init__ = without_bar
    try:
        yield
    finally:
        std.tqdm.__init__ = original


class LibraryLogs:
    """Context manager: what libraries log and warn of goes into a file, and to the terminal only what they call an error.

    Until `write_to` names the file, records wait in memory; a command without a folder drops them. Everything that was
    changed in `logging` is as before afterwards. Not covered: what compiled code or another process prints by itself.
    """

    def __enter__(self):
        self._undo = contextlib.ExitStack()
        self._memory = logging.handlers.MemoryHandler(capacity=100_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
        errors = logging.StreamHandler()
        for handler in (self._memory, errors):
            self._add(logging.root, handler)
        errors.setLevel(logging.ERROR)
        logging.captureWarnings(True)
        self._undo.callback(logging.captureWarnings, False)
        self._adopt()
        add_handler = logging.Logger.addHandler

        def add_without_voice(logger: logging.Logger, handler: logging.Handler) -> None:  # of libraries that are imported from here on
            add_handler(logger, handler)
            self._silence(handler)

        logging.Logger.addHandler = add_without_voice
        self._undo.callback(setattr, logging.Logger, "addHandler", add_handler)
        return self

    def __exit__(self, *exc_info) -> None:
        self._undo.close()
        self._memory.close()

    def write_to(self, path: Path) -> None:
        """Append to `path` what was said so far, and what is said from here on by the loggers that exist by now."""
        self._adopt()
        file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace", delay=True)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        file.handleError = lambda record: None  # on a full disk what matters fails too, and says so
        self._undo.callback(file.close)
        self._memory.setTarget(file)
        self._memory.capacity = 1  # nothing waits any more
        self._memory.flush()

    def _add(self, logger: logging.Logger, handler: logging.Handler) -> None:
        if handler not in logger.handlers:
            logger.addHandler(handler)
            self._undo.callback(logger.removeHandler, handler)

    def _set_level(self, target: logging.Logger | logging.Handler, level: int) -> None:
        self._undo.callback(target.setLevel, target.level)
        target.setLevel(level)

    def _silence(self, handler: logging.Handler) -> None:
        on_terminal = getattr(handler, "stream", None) in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
        if on_terminal and handler.level < logging.ERROR:
            self._set_level(handler, logging.ERROR)

    def _adopt(self) -> None:
        for name, logger in list(logging.root.manager.loggerDict.items()):
            if isinstance(logger, logging.Logger):
                for handler in logger.handlers:
                    self._silence(handler)
                if name in LIBRARIES and logger.level != logging.DEBUG:
                    self._set_level(logger, logging.DEBUG)
                if not logger.propagate:
                    self._add(logger, self._memory)


# ---------------------------------------------------------------------------------------------------------------------
# Command: what make has to wait for
# ---------------------------------------------------------------------------------------------------------------------


def run_quietly(command: Sequence[str], log: Path, what: str, lines: int) -> int:
    """Run a command with its output appended to `log` -> its exit status; when that is not 0, its last `lines` are shown."""
    print(what, flush=True)
    with log.open("ab") as file:
        start = file.tell()
        with waiting(f"{what} ({log})"):
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT).returncode
    if status and lines:
        with log.open("rb") as file:
            file.seek(start)
            print("\n".join(file.read().decode(errors="replace").splitlines()[-lines:]), file=sys.stderr)
    return status


class Parser(argparse.ArgumentParser):
    """argparse's, whose error is one line: its own prints the usage first, which pushes the error off the screen."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help says what there is)\n")

    def require_counts(self, arguments: argparse.Namespace, *names: str) -> None:
        """These arguments are at least 1 where they are given."""
        for name in names:
            value = getattr(arguments, name)
            if value is not None and value < 1:
                self.error(f"--{name} {value}: expected at least 1")


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, required=True, help="file that the command's output is appended to")
    parser.add_argument("--what", required=True, help="what it does, in words")
    parser.add_argument("--lines", type=int, default=15, help="lines of its output that are shown when it fails")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND ARGUMENTS")
    arguments = parser.parse_args(argv)
    return run_quietly(arguments.command[arguments.command[:1] == ["--"] :], arguments.log, arguments.what, arguments.lines)


if __name__ == "__main__":
    sys.exit(main())
