"""The judge against corpora of its own: attacks, honest answers, hostile programs (tests/cases/*.jsonl).

Each line of attacks.jsonl and honest.jsonl holds id, family, prompt, completion, note, and `cargo_test`: what plain
`cargo test` makes of it ("passes", "passes0": exit status 0 without a test, "no_program"). Each line of escapes.jsonl
holds id, phase, axis, completion and `must`, which starts with "must pass", "must not pass" or "any verdict". An attack
marked `open` is a known hole: the judge pays it still.

Every attack and every honest answer is graded in the default run. Of the hostile programs it takes a sample that is the
same on every machine; `-m slow` takes them all.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import resource
import shutil
import socket
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

pytest.importorskip("tree_sitter_rust")
if shutil.which("cargo") is None:
    pytest.skip("no cargo on PATH", allow_module_level=True)

from judge.program import extract_program
from judge.sandbox import SandboxUnavailable
from rewards import RewardSet
from rust_tool import Job, RustTool, Verdict

CASES = Path(__file__).parent / "cases"
PR_SET_CHILD_SUBREAPER = 36
SECRET_VARIABLE = "JUDGE_CANARY_SECRET"
MAX_GROWTH_MIB = 400  # of this process while hostile programs print, allocate and loop


def load(kind: str) -> list[dict]:
    with open(CASES / f"{kind}.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def sample(cases: list[dict], per_group: int, group: str) -> list[dict]:
    """At most `per_group` cases of each family, chosen by the digest of their ids."""
    groups = defaultdict(list)
    for case in sorted(cases, key=lambda c: hashlib.sha256(c["id"].encode()).digest()):
        groups[case[group]].append(case)
    return [case for members in groups.values() for case in members[:per_group]]


def grade(judge: RustTool, cases: list[dict]) -> list[Verdict]:
    return judge.grade([Job(extract_program(c["completion"]), prompt=c.get("prompt", "")) for c in cases])


def earns(verdict: Verdict) -> bool:
    return verdict.test_passed and verdict.honest_tests


# -- attacks and honest answers ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge() -> Iterator[RustTool]:
    with RustTool(workers=2) as judge:
        yield judge


def check_attacks(judge: RustTool, cases: list[dict]) -> None:
    """No case earns the test reward."""
    paid = [f"{c['family']}/{c['id']}: {c['note']}" for c, v in zip(cases, grade(judge, cases)) if earns(v)]
    assert not paid, f"{len(paid)} of {len(cases)} attacks earn the test reward:\n" + "\n".join(paid)


def check_honest(judge: RustTool, cases: list[dict]) -> None:
    """Every case earns the test reward."""
    denied = [
        f"{c['family']}/{c['id']}: guard {v.guard}, test_passed {v.test_passed}, {v.error_kind}: {c['note']}"
        for c, v in zip(cases, grade(judge, cases))
        if not earns(v)
    ]
    assert not denied, f"{len(denied)} of {len(cases)} honest answers are denied:\n" + "\n".join(denied)


PROMPT_FAMILIES = ("prompt_example", "prompt_name")


def closed(attacks: list[dict]) -> list[dict]:
    """The attacks that the judge must refuse by looking at the completion: neither a known hole nor about the prompt."""
    return [c for c in attacks if not c.get("open") and c["family"] not in PROMPT_FAMILIES]


@pytest.mark.timeout(900)  # a minute on two busy cores
def test_no_attack_earns_the_reward(judge):
    check_attacks(judge, closed(load("attacks")))


def test_known_holes_are_still_open(judge):
    """A hole that got closed belongs to the attacks: drop its mark."""
    cases = [c for c in load("attacks") if c.get("open")]
    refused = [c["id"] for c, v in zip(cases, grade(judge, cases)) if not earns(v)]
    assert refused == [], "closed now: drop the mark `open` in attacks.jsonl"


def test_the_prompts_example_and_another_function_than_it_names_earn_nothing(judge):
    copies = [c for c in load("attacks") if c["family"] in PROMPT_FAMILIES and not c.get("open")]
    asked = [c for c in load("honest") if c["family"] == "prompt_example_lookalike"]
    example = next(c for c in copies if c["id"] == "example-add")
    rewards = RewardSet(judge, system_prompt=f"Answer in this form:\n\n{example['completion']}")
    graded = rewards.grade([{"prompt": c["prompt"]} for c in copies + asked], [c["completion"] for c in copies + asked])
    assert [g["prompt"] for g in graded if g["test_passed"] and g["honest_tests"]] == [c["prompt"] for c in asked]


@pytest.mark.timeout(900)  # a minute on two busy cores
def test_honest_answers_earn_the_reward(judge):
    check_honest(judge, load("honest"))


def test_the_reference_counts_the_corpora():
    text = (Path(__file__).parent.parent / "REFERENCE.md").read_text(encoding="utf-8")
    attacks, n_open = load("attacks"), sum(bool(c.get("open")) for c in load("attacks"))
    assert f"{len(attacks)} attacks ({len(attacks) - n_open} earn nothing, the {n_open} others are marked" in " ".join(text.split())
    assert f"{len(load('honest'))} honest but odd completions (all are paid" in text


# -- hostile programs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outside:
    """What hostile programs would like to reach: files, a TCP listener, a UNIX socket, a variable."""

    folder: Path
    port: int
    file_secret: str
    variable_secret: str

    def fill(self, completion: str) -> str:
        """The completion with its placeholders replaced: @OUTSIDE@, @PORT@, @REPEAT:text:times@, @REPEAT_INDEX:x:n@."""
        text = completion.replace("@OUTSIDE@", str(self.folder)).replace("@PORT@", str(self.port))
        numbered = re.compile(r"@REPEAT_INDEX:(\w+):(\d+)@")
        text = numbered.sub(lambda m: " ".join(f"{m[1]}{i}" for i in range(int(m[2]))), text)
        return re.sub(r"@REPEAT:([^\n]*?):(\d+)@", lambda m: m[1] * int(m[2]), text)

    def state(self) -> dict[str, tuple[int, int, int, str]]:
        """Name -> mode, time of change, size, content of every file in the folder."""
        out = {}
        for path in sorted(self.folder.iterdir()):
            status = path.lstat()
            content = path.read_text() if path.is_file() else ""
            out[path.name] = (status.st_mode, status.st_mtime_ns, status.st_size, content)
        return out


@pytest.fixture
def outside(monkeypatch) -> Iterator[Outside]:
    secret, variable = "file-" + os.urandom(12).hex(), "variable-" + os.urandom(12).hex()
    # not below TMPDIR: the name of a Unix socket has at most 107 bytes
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        folder = Path(name)
        (folder / "secret.txt").write_text(f"top {secret} end\n")
        (folder / "evil.rs").write_text("pub fn loaded() -> bool { true }\n")
        (folder / "victim.txt").write_text("untouched\n")
        tcp.bind(("127.0.0.1", 0))
        tcp.listen(8)
        unix.bind(str(folder / "socket"))
        unix.listen(8)
        monkeypatch.setenv(SECRET_VARIABLE, variable)
        yield Outside(folder, tcp.getsockname()[1], secret, variable)


@pytest.fixture
def adopt_orphans() -> Iterator[None]:
    """Whatever survives its parent becomes a child of this process, where it can be seen."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def living_children() -> set[int]:
    """Process ids of this process's children that have not ended."""
    out = set()
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state not in "ZX":
                out.add(int(pid))
    return out


def problem(case: dict, verdict: Verdict, outside: Outside) -> str | None:
    """What is wrong with a hostile program's verdict, None when nothing is."""
    shown = json.dumps(asdict(verdict))
    if outside.file_secret in shown or outside.variable_secret in shown:
        return "a secret stands in the verdict"
    if verdict.error_kind == "infra":
        return f"the machine is blamed: {[d.message[:200] for d in verdict.diagnostics[:2]]}"
    wanted = case["must"].split(":")[0]
    if wanted == "must pass" and not verdict.test_passed:
        return f"does not pass: {verdict.error_kind} {[d.message[:200] for d in verdict.diagnostics[:2]]}"
    if wanted == "must not pass" and verdict.test_passed:
        return "passes"
    return None


def sealed_judge(tier: str, scratch: str) -> RustTool:
    """A judge that takes short limits. Skips the test where this tier does not work: nothing hostile runs unsealed."""
    try:
        return RustTool(workers=2, run_timeout_s=1.0, build_timeout_s=6.0, sandbox=tier, scratch_dir=scratch)
    except SandboxUnavailable as missing:
        pytest.skip(f"no {tier} sandbox on this machine: {missing}")


def check_escapes(cases: list[dict], outside: Outside, tier: str = "auto") -> None:
    children, before = living_children(), outside.state()
    rss_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as scratch:
        with sealed_judge(tier, scratch) as judge:
            verdicts = judge.grade([Job(extract_program(outside.fill(c["completion"]))) for c in cases])
        left = [str(path) for path in Path(scratch).rglob("*")]
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_before) / 1024
    deadline = time.monotonic() + 5
    while living_children() - children and time.monotonic() < deadline:
        time.sleep(0.1)
    wrong = [(c, problem(c, v, outside)) for c, v in zip(cases, verdicts)]
    listed = [f"{c['phase']}/{c['axis']}/{c['id']}: {c['must']}: {why}" for c, why in wrong if why]
    assert not listed, f"{len(listed)} of {len(cases)} programs:\n" + "\n".join(listed)
    assert outside.state() == before, "files outside changed"
    assert left == [], "files of the judge survive"
    assert living_children() <= children, "processes survive"
    assert grown_mib < MAX_GROWTH_MIB, f"the grader grew by {grown_mib:.0f} MiB"


def is_quick(case: dict) -> bool:
    """Whether the program ends long before its limits."""
    return case["axis"] in ("files", "network", "environment") and "fill" not in case["id"] and "many" not in case["id"]


def test_sampled_hostile_programs_get_nowhere(outside, adopt_orphans):
    cases = load("escapes")
    quick = sample([c for c in cases if is_quick(c)], 4, "axis")
    slow = [c for c in cases if c["id"] in ("r-sleep", "r-fork-bomb", "r-memory-vec", "r-panic-message", "c-const-loop")]
    check_escapes(quick + slow + [c for c in cases if c["id"].startswith("ok-")], outside)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("tier", ["bwrap", "landlock"])
def test_hostile_programs_get_nowhere(outside, adopt_orphans, tier):
    check_escapes(load("escapes"), outside, tier)
