"""Share a run while it goes on: trace, metrics, run.json and fresh plots, pushed every few steps to a dataset repository.

    python train.py --share_to hf://datasets/ORG/NAME --share_every 20   # HF_TOKEN in the environment
    python train.py --share_to oxen://NS/NAME                            # OXEN_API_KEY, and pip install oxenai
    python share.py runs/mine hf://datasets/ORG/NAME                     # once, by hand

The files go to a folder of the repository named like the run folder, or to the one that the target names behind the
repository (hf://datasets/ORG/NAME/some/folder). A repository that is not there is made, private. Full parts of the trace are
pushed once, everything else each time. Nothing of the model is shared. Prompts and completions are: that is what a trace is.

A push is a process of its own, looked after by a thread: training neither waits for it nor shares its interpreter with it, and
one that hangs can be killed. A push that fails is one warning and is tried again at the next interval.
Not guaranteed: that the last steps arrive when the network is down at the end of a run (`python share.py` does it later).
"""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import console
from judge.errors import UserError
from traces import cut_torn_line

PUSH_TIMEOUT_S = 900.0  # a push that takes longer is killed: the next one has the same files and more
MARGIN_S = 30.0  # after which a push kills itself, should the run that started it be gone
FINAL_WAIT_S = 60.0  # how long the end of a run waits for what is still to be pushed
SHARED = ("trace*.jsonl", "trace*.jsonl.gz", "metrics.jsonl", "run.json")
OXEN_HOST = "hub.oxen.ai"
TOKENS = {"hf": "HF_TOKEN", "oxen": "OXEN_API_KEY"}
SECRETS = (*TOKENS.values(), "OPENAI_API_KEY")  # variables of the environment whose values are said and written nowhere
LONG_SECRET = 8  # characters; a shorter key ("none", for a server that wants none) is hidden only where it is a word of its own
PACKAGES = {"hf": ("huggingface_hub", "huggingface_hub"), "oxen": ("oxen", "oxenai")}  # module, what pip calls it


class ShareError(UserError, ValueError):
    """The run cannot be shared as asked; the message is one sentence for the user."""


def without_token(text: str) -> str:
    """A message of a client library or a server with *** for the tokens of this environment, should it hold one."""
    for value in filter(None, map(os.environ.get, SECRETS)):
        is_long = len(value) >= LONG_SECRET
        text = re.sub(re.escape(value) if is_long else rf"(?<!\w){re.escape(value)}(?!\w)", "***", text)
    return text


def first_line(error: Exception) -> str:
    """What went wrong in one line, without the tokens of this environment (a server may echo the key it refuses)."""
    return (without_token(str(error)).strip().splitlines() or [type(error).__name__])[0][:300]


# ---------------------------------------------------------------------------------------------------------------------
# The target: what can be known to fail is found before the model loads
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """Where a run is shared. `service`: hf or oxen; `repo`: NAMESPACE/NAME; `folder`: in the repository, "" for the run's name."""

    service: str
    repo: str
    folder: str = ""


def parse_target(text: str) -> Target:
    """`hf://datasets/ORG/NAME[/FOLDER]` or `oxen://NS/NAME[/FOLDER]` -> Target. Raises ShareError."""
    name = r"[A-Za-z0-9][A-Za-z0-9._-]*"
    found = re.fullmatch(rf"(?:(hf)://datasets|(oxen):/)/({name}/{name})((?:/{name})*)/?", text)
    if not found:
        raise ShareError(f"--share_to {text}: expected hf://datasets/ORG/NAME or oxen://NAMESPACE/NAME")
    return Target(found[1] or found[2], found[3], found[4].strip("/"))


def check(target: str, every: int) -> Target:
    """The target, once it is known that there is a package and a token for it. Raises ShareError. Asks nobody."""
    parsed = parse_target(target)
    if every < 1:
        raise ShareError(f"--share_every {every}: expected at least 1 step")
    module, package = PACKAGES[parsed.service]
    if importlib.util.find_spec(module) is None:
        raise ShareError(f"--share_to {target} needs the package {package}: pip install {package}")
    if not os.environ.get(TOKENS[parsed.service]):
        raise ShareError(f"--share_to {target}: no token; set {TOKENS[parsed.service]} in the environment (one that may write)")
    if parsed.service == "hf":
        check_hub(f"--share_to {target}")
    elif not hasattr(os, "memfd_create"):
        raise ShareError(f"--share_to {target} works on Linux only: elsewhere oxenai would need the key in a file")
    return parsed


def check_hub(setting: str) -> None:
    """The Hugging Face hub can be written to, as far as is known without asking it. Raises ShareError."""
    import huggingface_hub

    if huggingface_hub.is_offline_mode():
        raise ShareError(f"{setting}: HF_HUB_OFFLINE is set, so nothing can be pushed: unset it")
    if not huggingface_hub.get_token():
        raise ShareError(f"{setting}: no token; set {TOKENS['hf']} in the environment (one that may write)")


# ---------------------------------------------------------------------------------------------------------------------
# One push
# ---------------------------------------------------------------------------------------------------------------------


def shared_files(run_dir: Path) -> list[Path]:
    """What there is to share of a run now, by name."""
    return sorted({path for pattern in SHARED for path in run_dir.glob(pattern) if path.is_file()})


def snapshot(run_dir: Path, folder: Path) -> None:
    """Copy what is shared, so that a push does not read a file that is being written; full parts are only linked.

    What is still being written ends with its last whole line.
    """
    folder.mkdir(parents=True)
    for path in shared_files(run_dir):
        copy = folder / path.name
        if path.suffix == ".gz":
            copy.symlink_to(path.resolve())
            continue
        shutil.copyfile(path, copy)
        if path.suffix == ".jsonl":
            cut_torn_line(copy)


def push(run_dir: Path, target: Target, message: str, without: frozenset[str] = frozenset()) -> list[str]:
    """Push a run as it is now -> names of the files pushed. `without`: full parts that are there already.

    Raises ShareError when there is nothing to share, and whatever the service's client raises.
    """
    import plot_rewards

    if not shared_files(run_dir):
        raise ShareError(f"{run_dir} holds nothing to share: no {', '.join(SHARED)}")
    with tempfile.TemporaryDirectory(prefix="share-") as scratch:
        folder = Path(scratch) / run_dir.resolve().name
        snapshot(run_dir, folder)
        with contextlib.redirect_stdout(sys.stderr):
            plot_rewards.main([str(folder)])  # without a complete step yet it says so, and there is nothing to draw
        for name in without:
            (folder / name).unlink(missing_ok=True)
        names = sorted(path.name for path in folder.iterdir())
        place = target.folder or folder.name
        (push_to_hub if target.service == "hf" else push_to_oxen)(folder, target.repo, place, message)
    return names


def push_to_hub(folder: Path, repo: str, place: str, message: str) -> None:
    """Commit a folder's files to a dataset repository of the Hugging Face hub, made (private) when it is not there."""
    import huggingface_hub

    api = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ[TOKENS["hf"]])
    api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
    api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder, path_in_repo=place, commit_message=message)


def push_to_oxen(folder: Path, repo: str, place: str, message: str) -> None:
    """Commit a folder's files to an Oxen repository, made (private) when it is not there."""
    with oxen_login(repo.partition("/")[0], os.environ[TOKENS["oxen"]]):
        import oxen

        remote = oxen.RemoteRepo(repo, host=OXEN_HOST)
        if not remote.exists():
            remote.create(is_public=False)
        for path in sorted(folder.iterdir()):
            remote.add(str(path), place)
        remote.commit(message)


@contextlib.contextmanager
def oxen_login(name: str, token: str) -> Iterator[None]:
    """While open, oxenai is logged in by `token`. It takes a token from a configuration file only: this one is in memory."""
    with tempfile.TemporaryDirectory(prefix="oxen-") as scratch:
        config = os.memfd_create("oxen")
        try:
            os.write(config, f"[[host_configs]]\nhost = {json.dumps(OXEN_HOST)}\nauth_token = {json.dumps(token)}\n".encode())
            (Path(scratch) / "auth_config.toml").symlink_to(f"/proc/self/fd/{config}")
            (Path(scratch) / "user_config.toml").write_text(f'name = {json.dumps(name)}\nemail = ""\n')
            os.environ["OXEN_CONFIG_DIR"] = scratch
            yield
        finally:
            os.environ.pop("OXEN_CONFIG_DIR", None)
            os.close(config)


# ---------------------------------------------------------------------------------------------------------------------
# While a run goes on
# ---------------------------------------------------------------------------------------------------------------------


class Sharer:
    """Pushes a run every `every` steps; no call raises because of a push, and only `finish` waits.

    Args:
        run_dir: The run folder, written to by this process.
        target: As for `check`, which was called before.
        every: Steps between pushes.
        final_wait_s, push_timeout_s: Seconds that `finish` waits at most, and that one push may take.
    """

    def __init__(
        self, run_dir: Path, target: str, every: int, final_wait_s: float = FINAL_WAIT_S, push_timeout_s: float = PUSH_TIMEOUT_S
    ):
        self.run_dir, self.target, self.every = Path(run_dir), target, every
        self.final_wait_s, self.push_timeout_s = final_wait_s, push_timeout_s
        self._last_step = 0
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen | None = None
        self._is_over = False
        self._parts_there: set[str] = set()
        self._pushed: list | None = None  # sizes and times of the files that the last push took along

    def step_done(self, step: int) -> None:
        """Start a push when the step after which one is due is over. Returns at once."""
        is_due = step // self.every > self._last_step // self.every
        self._last_step = step
        if not is_due:
            return
        if self._thread is not None and self._thread.is_alive():
            self._warn(f"an earlier push to {self.target} is still under way; the next one is due at step {self._next_step()}")
            return
        self._start(f"try again at step {self._next_step()}")

    def finish(self) -> None:
        """Push what is new since the last push, and wait for it, `final_wait_s` at most."""
        deadline = time.monotonic() + self.final_wait_s
        by_hand = f"to share the rest: python share.py {self.run_dir} {self.target}"
        try:
            if self._is_through(deadline) and self._state() != self._pushed:
                self._start(by_hand)
            if not self._is_through(deadline):
                self._is_over = True
                self._warn(f"sharing to {self.target} took longer than {self.final_wait_s:g} s and was given up; {by_hand}")
        finally:  # also when Ctrl-C ends the wait
            self._is_over = True
            self._kill()

    def _next_step(self) -> int:
        return (self._last_step // self.every + 1) * self.every

    def _is_through(self, deadline: float) -> bool:
        """Wait for the push under way until `deadline`; whether there is none any more."""
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        return self._thread is None or not self._thread.is_alive()

    def _state(self) -> list:
        return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in shared_files(self.run_dir)]

    def _start(self, if_it_fails: str) -> None:
        self._thread = threading.Thread(target=self._push, args=(if_it_fails,), daemon=True, name="share")
        self._thread.start()

    def _push(self, if_it_fails: str) -> None:
        try:
            state, step = self._state(), self._last_step
            parts = {path.name for path in self.run_dir.glob("trace*.jsonl.gz")}  # that will not change any more
            with tempfile.TemporaryDirectory(prefix="share-") as scratch:  # ours to remove when the child is killed
                error = self._run_child(step, scratch)
        except OSError as problem:
            error = str(problem)
        if error is None:
            self._pushed = state
            self._parts_there |= parts
        elif not self._is_over:
            self._warn(f"could not share step {step} to {self.target} ({error}); {if_it_fails}")

    def _run_child(self, step: int, scratch: str) -> str | None:
        """Run this file as a program -> None, or what went wrong in one line."""
        command = [sys.executable, str(Path(__file__).resolve()), str(self.run_dir), self.target, "--message", f"step {step}"]
        command += ["--timeout_s", str(self.push_timeout_s + MARGIN_S), "--without", *sorted(self._parts_there)]
        quiet = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TMPDIR": scratch}
        with subprocess.Popen(
            command, env=os.environ | quiet, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the trainer, which lets a push end
        ) as child:  # fmt: skip
            self._child = child
            try:
                _, output = child.communicate(timeout=self.push_timeout_s)
            except subprocess.TimeoutExpired:
                self._kill()
                return f"it took longer than {self.push_timeout_s:g} s"
        lines = output.decode("utf-8", "replace").strip().splitlines()
        return None if child.returncode == 0 else (lines or [f"exit status {child.returncode}"])[-1][:300]

    def _kill(self) -> None:
        child = self._child
        if child is not None and child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            if self._thread is not None and threading.current_thread() is not self._thread:
                self._thread.join(5)  # it removes the scratch folder

    def _warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr, flush=True)


def make_callback(sharer: Sharer):
    """TrainerCallback that tells a sharer of every step. A function, so that importing this file does not import transformers."""
    from transformers import TrainerCallback

    class ShareCallback(TrainerCallback):
        """After the trace and the metrics of a step are written."""

        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and "reward" in logs:
                sharer.step_done(state.global_step)

    return ShareCallback()


# ---------------------------------------------------------------------------------------------------------------------
# By hand
# ---------------------------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """-> exit status: 0 shared, 2 not; the last line of stderr says why."""
    parser = console.Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run_dir", type=Path, help="Run folder of train.py.")
    parser.add_argument("target", help="hf://datasets/ORG/NAME or oxen://NAMESPACE/NAME.")
    parser.add_argument("--message", default="share", help="Message of the commit.")
    parser.add_argument("--without", nargs="*", default=[], help="Full parts of the trace that are there already.")
    parser.add_argument("--timeout_s", type=float, default=0, help="Die after so many seconds (0: never).")
    arguments = parser.parse_args(argv)
    signal.setitimer(signal.ITIMER_REAL, arguments.timeout_s)  # should whoever started this be gone
    try:
        if not arguments.run_dir.is_dir():
            raise ShareError(f"{arguments.run_dir} is no folder: expected a run folder of train.py")
        names = push(arguments.run_dir, check(arguments.target, every=1), arguments.message, frozenset(arguments.without))
    except ShareError as error:
        print(f"share.py: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # the clients raise dozens of unrelated types; each means that the push failed
        print(f"{type(error).__name__}: {first_line(error)}", file=sys.stderr)
        return 2
    print(f"shared to {arguments.target}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
