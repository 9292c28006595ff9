"""Sharing: what arrives is whole, tokens are written nowhere, and no hub however broken holds up a run."""

import base64
import functools
import gzip
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_plot_rewards import line as trace_line
from test_train import LORA, argv  # noqa: F401 - a fixture

import share
import train

TOKEN = "hf_thisMustBeWrittenNowhere"
TARGET = "hf://datasets/me/runs"


class Hub(http.server.ThreadingHTTPServer):
    """What of the Hugging Face hub a push needs, on this machine. `plan(request) -> status | None` may refuse; None: as usual.

    `files` (path in the repository -> bytes), `commits` (messages), `requests` ((method, path, headers, body)).
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files, self.commits, self.requests, self.plan = {}, [], [], lambda request: None
        self.released = threading.Event()  # what a hanging plan waits for

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = (method, self.path.partition("?")[0], dict(self.headers), body)
        self.server.requests.append(request)
        status = self.server.plan(request)
        reply = {"error": "refused by the test"} if status else self.usual(request)
        text = json.dumps(reply).encode()
        self.send_response(status or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def usual(self, request) -> dict:
        _, path, _, body = request
        if path == "/api/repos/create":
            return {"url": f"{self.server.url}/datasets/me/runs"}
        if path.endswith("/preupload/main"):
            return {
                "files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
            }
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "header":
                    self.server.commits.append(line["value"]["summary"])
                else:
                    assert (line["key"], line["value"]["encoding"]) == ("file", "base64"), line
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return {"commitOid": "0" * 40, "commitUrl": f"{self.server.url}/datasets/me/runs/commit/{'0' * 40}", "success": True}
        return {"id": "me/runs", "sha": "0" * 40, "siblings": [], "tags": []}

    do_GET = lambda self: self.answer("GET")
    do_POST = lambda self: self.answer("POST")

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def hub(monkeypatch):
    """A hub that pushes of this test, and of programs it starts, go to."""
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def run_dir(tmp_path) -> Path:
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"schema_version": 1}')
    add_steps(folder, 1, 2)
    return folder


@pytest.fixture
def undrawn(tmp_path, monkeypatch):
    """Pushes draw no plots, which is most of their time: for tests of when a push is made and how it ends."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import sys, types\nsys.modules['plot_rewards'] = types.SimpleNamespace(main=lambda argv: None)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


def add_steps(folder: Path, *steps: int) -> None:
    with (folder / "trace.jsonl").open("a") as trace, (folder / "metrics.jsonl").open("a") as metrics:
        for step in steps:
            trace.writelines(trace_line(step, group_id=f"{step}-{i // 2}", reward=float(i)) for i in range(4))
            metrics.write(json.dumps({"step": step, "reward": 1.0}) + "\n")


def hang(hub: Hub):
    """A plan that answers nothing until the test is over."""
    return lambda request: hub.released.wait(60) and 503


def shares_children() -> list[int]:
    """Processes of share.py that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                is_ours = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid()
            except OSError:
                continue
            found += [int(entry.name)] if is_ours and any(word.endswith(b"/share.py") for word in words) else []
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The target
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("hf://datasets/ORG/NAME", share.Target("hf", "ORG/NAME")),
        ("hf://datasets/o-r.g/n_a.me/", share.Target("hf", "o-r.g/n_a.me")),
        ("hf://datasets/o/n/some/folder", share.Target("hf", "o/n", "some/folder")),
        ("oxen://ox/Traces", share.Target("oxen", "ox/Traces")),
    ],
)
def test_targets_are_understood(text, target):
    assert share.parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    ["", "o/n", "hf://o/n", "hf://datasets/o", "hf://models/o/n", "oxen://n", "oxen://datasets", "s3://o/n", "hf://datasets/../n",
     "hf://datasets/o/n/../../x", "hf://datasets/o/n?x=1", "hf://datasets/o /n", "https://huggingface.co/datasets/o/n"],
)  # fmt: skip
def test_a_malformed_target_is_refused_in_one_sentence(text):
    with pytest.raises(share.ShareError, match="expected hf://datasets/ORG/NAME or oxen://NAMESPACE/NAME") as error:
        share.parse_target(text)
    assert "\n" not in str(error.value)


def test_a_missing_token_package_or_network_is_refused(monkeypatch, hub):
    assert share.check(TARGET, 1) == share.Target("hf", "me/runs")
    with pytest.raises(share.ShareError, match="--share_every 0: expected at least 1"):
        share.check(TARGET, 0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(share.ShareError, match="HF_HUB_OFFLINE is set"):
        share.check(TARGET, 1)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(share.ShareError, match="set HF_TOKEN in the environment"):
        share.check(TARGET, 1)
    monkeypatch.setattr(share.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(share.ShareError, match="pip install oxenai"):
        share.check("oxen://ns/name", 1)
    with pytest.raises(share.ShareError, match="pip install huggingface_hub"):
        share.check(TARGET, 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--share_to", "hf://o/n"], "expected hf://datasets/ORG/NAME"),
        (["--share_to", TARGET], "set HF_TOKEN in the environment"),
        (["--share_to", TARGET, "--share_every", "0"], "--share_every 0"),
        (["--push_to_hub", "true"], "train.py: --push_to_hub: "),
    ],
)
def test_train_refuses_before_the_model_loads(argv, tmp_path, monkeypatch, capsys, fake_judge, flags, message):  # noqa: F811
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(train, "train", lambda *args: pytest.fail("training began"))
    judges = fake_judge()
    assert train.main(argv(tmp_path / "run", *flags)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert message in line
    assert (judges, (tmp_path / "run").exists()) == ([], False)


def test_no_token_of_the_environment_is_left_in_a_message(monkeypatch):
    for variable, value in (("HF_TOKEN", "hf_longSecret"), ("OXEN_API_KEY", "x"), ("OPENAI_API_KEY", "sk-very.secret")):
        monkeypatch.setenv(variable, value)
    said = share.without_token("an example: hf_longSecret-and sk-very.secret, key x refused")
    assert said == "an example: ***-and ***, key *** refused", "a short key is hidden as a word, not inside others"
    for variable in share.SECRETS:
        monkeypatch.delenv(variable)
    assert share.without_token("an example") == "an example"


# ---------------------------------------------------------------------------------------------------------------------
# One push
# ---------------------------------------------------------------------------------------------------------------------


def test_a_push_by_hand_brings_trace_metrics_and_fresh_plots(hub, run_dir):
    (run_dir / "checkpoint-1").mkdir()
    (run_dir / "model.safetensors").write_bytes(b"weights")
    with (run_dir / "trace.jsonl").open("a") as file:
        file.write('{"step": 3, "half a li')
    done = subprocess.run([sys.executable, share.__file__, run_dir, TARGET], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(hub.files) == [
        f"mine/{name}" for name in ("details.png", "metrics.jsonl", "rewards.png", "run.json", "trace.jsonl")
    ]
    whole = (run_dir / "trace.jsonl").read_bytes()
    assert hub.files["mine/trace.jsonl"] == whole[: whole.rfind(b"\n") + 1], "a half-written line is not shared"
    assert hub.files["mine/metrics.jsonl"] == (run_dir / "metrics.jsonl").read_bytes()
    assert hub.files["mine/rewards.png"].startswith(b"\x89PNG")
    assert not list(run_dir.glob("*.png")), "plots are drawn beside the run, not in it"
    created = next(json.loads(body) for _, path, _, body in hub.requests if path == "/api/repos/create")
    assert (created["name"], created["organization"], created["type"]) == ("runs", "me", "dataset")
    assert created.get("visibility") == "private" or created.get("private") is True


def test_the_token_is_sent_and_written_nowhere(hub, run_dir, tmp_path):
    assert share.main([str(run_dir), TARGET]) == 0
    assert {headers["authorization"] for _, _, headers, _ in hub.requests} == {f"Bearer {TOKEN}"}
    assert not any(TOKEN.encode() in body for _, _, _, body in hub.requests)
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_target_may_name_the_folder(hub, run_dir):
    assert share.main([str(run_dir), f"{TARGET}/a/b"]) == 0
    assert "a/b/trace.jsonl" in hub.files


def test_a_refusal_is_one_line_without_the_token(hub, run_dir, capsys):
    hub.plan = lambda request: 403
    assert share.main([str(run_dir), TARGET]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "403" in last and TOKEN not in last
    assert hub.files == {}


def test_a_folder_without_a_run_is_refused(hub, tmp_path, capsys):
    assert share.main([str(tmp_path), TARGET]) == 2
    assert "holds nothing to share" in capsys.readouterr().err
    assert share.main([str(tmp_path / "none"), TARGET]) == 2
    assert "expected a run folder" in capsys.readouterr().err


FAKE_OXEN = """
import json, os, pathlib
seen = pathlib.Path(os.environ["OXEN_SEEN"])
def note(*words):
    with seen.open("a") as file:
        file.write(json.dumps(words) + "\\n")
class RemoteRepo:
    def __init__(self, repo_id, host="hub.oxen.ai", revision="main", scheme="https"):
        config = pathlib.Path(os.environ["OXEN_CONFIG_DIR"])
        login = (config / "auth_config.toml").read_text()
        kept = os.path.realpath(config / "auth_config.toml")
        note("repo", repo_id, host, os.environ["OXEN_API_KEY"] in login, "memfd" in kept, (config / "user_config.toml").read_text())
    def exists(self):
        return False
    def create(self, empty=False, is_public=False):
        note("create", is_public)
    def add(self, src, dst=""):
        note("add", pathlib.Path(src).name, dst, len(pathlib.Path(src).read_bytes()))
    def commit(self, message):
        note("commit", message)
"""


def test_oxen_gets_files_and_a_commit_and_its_key_stays_in_memory(run_dir, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "oxen.py").write_text(FAKE_OXEN)
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path / "site"),
        "OXEN_SEEN": str(tmp_path / "seen"),
        "OXEN_API_KEY": "oxenSecret",
    }
    command = [sys.executable, share.__file__, run_dir, "oxen://ns/traces", "--message", "step 4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    calls = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert calls[0] == ["repo", "ns/traces", "hub.oxen.ai", True, True, 'name = "ns"\nemail = ""\n']
    assert calls[1] == ["create", False]
    assert [call[1:3] for call in calls[2:-1]] == [
        [name, "mine"] for name in ("details.png", "metrics.jsonl", "rewards.png", "run.json", "trace.jsonl")
    ]
    assert calls[-1] == ["commit", "step 4"]
    assert not any(b"oxenSecret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


# ---------------------------------------------------------------------------------------------------------------------
# While a run goes on
# ---------------------------------------------------------------------------------------------------------------------


def wait_for_push(sharer) -> None:
    sharer._thread.join(60)
    assert not sharer._thread.is_alive()


def test_every_so_many_steps_and_once_at_the_end(hub, run_dir, undrawn):
    sharer = share.Sharer(run_dir, TARGET, every=2)
    for step in (1, 2, 3):
        sharer.step_done(step)
        if step == 2:
            wait_for_push(sharer)
    assert hub.commits == ["step 2"]
    add_steps(run_dir, 3)
    sharer.finish()
    assert hub.commits == ["step 2", "step 3"]
    assert hub.files["mine/trace.jsonl"] == (run_dir / "trace.jsonl").read_bytes()
    sharer.finish()
    assert len(hub.commits) == 2, "nothing new, nothing pushed"


def test_full_parts_are_pushed_once_but_drawn_every_time(hub, run_dir):
    part = run_dir / "trace.part0001.jsonl.gz"
    part.write_bytes(gzip.compress((run_dir / "trace.jsonl").read_bytes()))
    (run_dir / "trace.jsonl").write_bytes(b"")
    add_steps(run_dir, 3)
    sharer = share.Sharer(run_dir, TARGET, every=1)
    sharer.step_done(3)
    wait_for_push(sharer)
    assert hub.files["mine/trace.part0001.jsonl.gz"] == part.read_bytes()
    first_plot = hub.files["mine/rewards.png"]
    hub.files.clear()
    add_steps(run_dir, 4)
    sharer.step_done(4)
    wait_for_push(sharer)
    assert "mine/trace.jsonl" in hub.files and "mine/trace.part0001.jsonl.gz" not in hub.files
    assert hub.files["mine/rewards.png"] != first_plot


def test_a_failed_push_is_one_warning_and_tried_again(hub, run_dir, undrawn, capsys):
    sharer = share.Sharer(run_dir, TARGET, every=2)
    hub.plan = lambda request: 403
    sharer.step_done(2)
    wait_for_push(sharer)
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line.startswith("warning: could not share step 2") and "403" in line and "again at step 4" in line and TOKEN not in line
    )
    hub.plan = lambda request: None
    sharer.step_done(4)
    wait_for_push(sharer)
    assert (hub.commits, capsys.readouterr().err) == (["step 4"], "")


def test_an_unreachable_hub_is_a_warning_too(run_dir, undrawn, hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    sharer = share.Sharer(run_dir, TARGET, every=1)
    sharer.step_done(1)
    wait_for_push(sharer)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: could not share step 1")


def test_a_hanging_hub_holds_up_nothing(hub, run_dir, undrawn, capsys):
    hub.plan = hang(hub)
    sharer = share.Sharer(run_dir, TARGET, every=1, final_wait_s=1.0)
    sharer.step_done(1)
    sharer.step_done(2)
    assert "still under way; the next one is due at step 3" in capsys.readouterr().err
    while not hub.requests:  # the push really hangs in the hub
        time.sleep(0.05)
    assert len(shares_children()) == 1, "training waited for no push: it is still under way"
    sharer.finish()  # the hub has not answered yet
    (line,) = capsys.readouterr().err.splitlines()
    assert "took longer than 1 s and was given up" in line and f"python share.py {run_dir} {TARGET}" in line
    assert shares_children() == [], "the hanging push was killed"
    assert hub.commits == []


def test_a_push_that_takes_too_long_is_killed_and_the_next_one_goes_through(hub, run_dir, undrawn, capsys):
    hub.plan = hang(hub)
    sharer = share.Sharer(run_dir, TARGET, every=1, push_timeout_s=8.0)
    sharer.step_done(1)
    wait_for_push(sharer)
    (line,) = capsys.readouterr().err.splitlines()
    assert "warning: could not share step 1" in line
    assert shares_children() == []
    hub.plan, sharer.push_timeout_s = lambda request: None, 60.0
    sharer.step_done(2)
    wait_for_push(sharer)
    assert hub.commits == ["step 2"]


def test_nothing_is_left_behind_by_a_killed_push(hub, run_dir, undrawn, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(share.tempfile, "tempdir", str(scratch))
    hub.plan = hang(hub)
    sharer = share.Sharer(run_dir, TARGET, every=1, final_wait_s=0.5)
    sharer.step_done(1)
    while not hub.requests:
        time.sleep(0.05)
    assert any(scratch.rglob("trace.jsonl"))
    sharer.finish()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("is_hanging", [False, True])
def test_a_training_run_is_shared_and_never_stopped_by_it(argv, fake_judge, hub, tmp_path, monkeypatch, capsys, is_hanging):  # noqa: F811
    if is_hanging:
        hub.plan = hang(hub)
        monkeypatch.setattr(share, "Sharer", functools.partial(share.Sharer, final_wait_s=1.0))
    fake_judge()
    out = tmp_path / "run"
    assert train.main(argv(out, "--max_completion_length", "8", "--share_to", TARGET, "--share_every", "1")) == 0
    if is_hanging:
        assert "was given up" in capsys.readouterr().err
        assert (hub.commits, shares_children()) == ([], [])
    else:
        assert hub.commits[-1] == "step 2"
        assert hub.files["run/trace.jsonl"] == (out / "trace.jsonl").read_bytes()
        assert len(hub.files["run/metrics.jsonl"].splitlines()) == 2
    assert not any(TOKEN.encode() in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_a_run_that_shares_nothing_starts_nothing(argv, fake_judge, tmp_path, monkeypatch):  # noqa: F811
    fake_judge()
    monkeypatch.setattr(share, "Sharer", lambda *args: pytest.fail("sharing is off by default"))
    assert train.main(argv(tmp_path / "run", "--max_completion_length", "8", "--max_steps", "1")) == 0


# ---------------------------------------------------------------------------------------------------------------------
# --push_to_hub, the Trainer's own: weights and card
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [False, True])
def test_the_trainers_own_push_has_our_card_and_the_last_weights(argv, fake_judge, hub, tmp_path, monkeypatch, capsys, refused):  # noqa: F811
    fake_judge()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", hub.url)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # one of an earlier test remembers its hub
    if refused:  # what is pushed at the end
        hub.plan = lambda request: 403 if b"adapter after 3 steps" in request[3] else None
    flags = ("--max_steps", 3, "--save_steps", 2, "--push_to_hub", "true", "--hub_model_id", "me/runs")
    assert train.main(argv(tmp_path / "run", *LORA, *flags)) == 0, "the run itself went well"
    out, err = capsys.readouterr()
    assert "Training in progress, step 2" in hub.commits and "fine-tuned version of None" not in hub.files["README.md"].decode()
    final = (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes()
    if refused:
        assert "adapter is saved and was not pushed to me/runs: " in " ".join(err.split()) and 'folder = "me/runs"' in hub.files["README.md"].decode()
    else:
        assert hub.commits[-1] == "adapter after 3 steps" and hub.files["adapter_model.safetensors"] == final
        assert hub.files["README.md"] == (tmp_path / "run" / "adapter" / "README.md").read_bytes()
        assert "pushed " in out
    assert TOKEN not in out + err
