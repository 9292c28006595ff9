"""What this machine can do, in plain words, and the preflight that train.py and eval.py run first.

    python doctor.py          # or `make doctor`; exit status 0 when the CPU path works

The `require_*` functions raise MachineError with one sentence: what was found, what was expected, what to do next.
"""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import console
from judge.errors import UserError
from judge.settings import JudgeSettings
from traces import replacing

HERE = Path(__file__).resolve().parent
PYTHON_RANGE = ((3, 11), (3, 13))  # first and last minor version the pinned packages have wheels for
VLLM_RANGE = ((0, 22), (0, 31))  # what TRL 1.16 supports
LOCK_NAME = "train.lock"  # in a run folder while train.py works there (training/run_lock.py)
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "vllm", "tree-sitter", "tree-sitter-rust")


class MachineError(UserError, RuntimeError):
    """This machine (or this folder) cannot do what was asked; the message is one clear sentence."""


# ---------------------------------------------------------------------------------------------------------------------
# Preflight
# ---------------------------------------------------------------------------------------------------------------------


def package_version(name: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def require_accelerator(*, load_in_4bit: bool, use_cpu: bool) -> None:
    """A 4-bit config needs a CUDA GPU. Raises MachineError."""
    import torch

    if load_in_4bit and (use_cpu or not torch.cuda.is_available()):
        found = "use_cpu is set" if use_cpu else f"torch {torch.__version__} sees no CUDA GPU"
        raise MachineError(
            f"load_in_4bit needs a CUDA GPU, but {found}: run configs/tiny.yaml on a CPU, or drop 4-bit with "
            "--load_in_4bit false"
        )


def require_vllm() -> None:
    """vLLM is installed, in the range TRL supports, and there is a GPU for it. Raises MachineError."""
    found = package_version("vllm")
    wanted = f"{VLLM_RANGE[0][0]}.{VLLM_RANGE[0][1]} to {VLLM_RANGE[1][0]}.{VLLM_RANGE[1][1]}"
    if found is None:
        raise MachineError(
            f"use_vllm is set but vLLM is not installed (expected {wanted}): pip install -r requirements-vllm.txt, or "
            "leave out --use_vllm to sample with transformers"
        )
    minor = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if not VLLM_RANGE[0] <= minor <= VLLM_RANGE[1]:
        raise MachineError(f"vLLM {found} is installed, TRL supports {wanted}: pip install -r requirements-vllm.txt")
    import torch  # only now: doctor.py reports on a Python without packages too

    if not torch.cuda.is_available():
        raise MachineError(f"vLLM needs a CUDA GPU and torch {torch.__version__} sees none: leave out --use_vllm")


def vllm_server_url(args) -> str:
    """Where TRL's client looks for vLLM, by GRPOConfig."""
    return args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}"


def require_vllm_server(url: str, n_tokens: int) -> None:
    """vLLM's server at `url`, where it answers yet, takes rows of `n_tokens` tokens, and weights. Raises MachineError.

    One that does not answer may still be starting: TRL waits for it, `--vllm_server_timeout` seconds. What a trainer needs of it is
    what trl/scripts/vllm_serve.py sets. Asked with what TRL asks with, so proxies and certificates are the same.
    """
    import requests

    def get(path: str) -> requests.Response:
        return requests.get(url + path, timeout=(5, 60))  # /server_info looks at the whole machine first

    lacks = None
    try:
        models, info = get("/v1/models"), get("/server_info?config_format=json")
        if max(models.status_code, info.status_code) >= 500:
            return
        models.raise_for_status()
        limit = models.json()["data"][0]["max_model_len"]
        if info.status_code == 404:
            lacks = "VLLM_SERVER_DEV_MODE=1"
        else:
            info.raise_for_status()
            settings = info.json()["vllm_config"]
            if settings["weight_transfer_config"] is None:
                lacks = "--weight-transfer-config"
            elif settings["model_config"]["logprobs_mode"] != "processed_logprobs":
                lacks = "--logprobs-mode processed_logprobs"
    except (requests.ConnectionError, requests.Timeout):
        return
    except (requests.RequestException, ValueError, LookupError, TypeError) as error:
        raise MachineError(f"what answers at {url} is no vLLM server: {error}") from error
    again = "start it anew, as REFERENCE.md does"
    if lacks:
        raise MachineError(f"the vLLM server at {url} was started without {lacks}, which training needs: {again}")
    if limit < n_tokens:
        raise MachineError(f"the vLLM server at {url} takes {limit} tokens, and a prompt and its completion may have {n_tokens}: {again}")


def require_free_disk(folder: Path, needed_gib: float) -> float:
    """Free GiB where `folder` will be. Raises MachineError when less than `needed_gib`, or when it is not writable."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(parent))
    if not existing.is_dir():
        raise MachineError(f"{existing} is not a folder: choose another --output_dir")
    if not os.access(existing, os.W_OK):
        raise MachineError(f"cannot write to {existing}: choose another --output_dir")
    free_gib = shutil.disk_usage(existing).free / 2**30
    if free_gib < needed_gib:
        raise MachineError(f"{free_gib:.3g} GiB free for {folder}, {needed_gib:g} GiB needed: free some or choose another --output_dir")
    return free_gib


def require_judge_settings(settings: JudgeSettings, max_infra_share: float) -> None:
    """Settings of the judge that every script has, before anything is loaded. Raises MachineError."""
    from judge.sandbox import TIERS

    checks = {
        f"--sandbox {settings.sandbox}": (settings.sandbox in ("auto", *TIERS), f"one of auto, {', '.join(TIERS)}"),
        f"--run_timeout_s {settings.run_timeout_s}": (settings.run_timeout_s > 0, "more than 0"),
        f"--judge_workers {settings.judge_workers}": (settings.judge_workers is None or settings.judge_workers >= 1, "at least 1"),
        f"--max_infra_share {max_infra_share}": (0 <= max_infra_share <= 1, "a share from 0 to 1"),
    }
    for found, (is_valid, expected) in checks.items():
        if not is_valid:
            raise MachineError(f"{found}: expected {expected}")


def require_run_folder(folder: Path, *, resuming: bool) -> None:
    """A new run wants an empty folder, a resumed one the folder of its run. Raises MachineError; touches nothing."""
    if os.environ.get("RANK", "0") != "0":
        return  # the first process looks, before it writes
    if resuming:
        if not (folder / "run.json").is_file():
            raise MachineError(f"nothing to resume: {folder} holds no run.json")
        require_training_run(folder)
        return
    if folder.exists() and not folder.is_dir():
        raise MachineError(f"{folder} is a file: choose another --output_dir")
    if not folder.is_dir() or not any(path.name != LOCK_NAME and path.suffix != ".tmp" for path in folder.iterdir()):
        return
    if not (folder / "run.json").is_file():
        raise MachineError(f"{folder} is not empty and holds no run: choose another --output_dir")
    require_training_run(folder)
    has_progress = any(path.stat().st_size for path in folder.glob("trace*.jsonl*")) or any(folder.glob("checkpoint-*"))
    if has_progress:  # a run that died before its first step may simply be started again
        raise MachineError(f"{folder} already holds a run: choose another --output_dir, or go on with --resume_from_checkpoint last")


def require_training_run(folder: Path) -> None:
    """folder/run.json was written by train.py; eval.py and make_dataset.py write one too. Raises MachineError."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        is_training_run = isinstance(run["attempts"], list) and isinstance(run["plan"]["tasks_hash"], str)
    except (ValueError, KeyError, TypeError):
        is_training_run = False
    if not is_training_run:
        raise MachineError(
            f"{folder} is no folder of a training run (its run.json has no attempts or no plan.tasks_hash): choose another --output_dir"
        )


def checkpoint_to_resume(folder: Path, asked: str | None) -> str | None:
    """Checkpoint folder for `--resume_from_checkpoint last|PATH`, None to start. Raises MachineError.

    With `last`, a checkpoint that cannot be read is named on stderr and the one before it taken; one without a trainer_state.json,
    which is written last, was cut off by a kill and is passed over.
    """
    if not asked:
        return None
    if asked not in {"last", "true", "True"}:
        is_run = (Path(asked) / "run.json").is_file()  # its trainer_state.json is there for reading
        if is_run or not (Path(asked) / "trainer_state.json").is_file():
            found = "this is no checkpoint" if Path(asked).is_dir() else "no such folder"
            raise MachineError(f"--resume_from_checkpoint {asked}: {found}; expected a checkpoint-N folder, or last")
        damage = damaged_file(Path(asked))
        if damage:
            raise MachineError(f"--resume_from_checkpoint {asked}: {damage}; take another checkpoint-N folder, or last")
        return asked
    numbered = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-[0-9]+", path.name)]
    found = sorted(numbered, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    damages = []
    for path in (path for path in found if (path / "trainer_state.json").is_file()):
        damage = damaged_file(path)
        if damage is None:
            if damages and os.environ.get("RANK", "0") == "0":
                print(f"{'; '.join(damages)}: going on from {path.name}, the one before", file=sys.stderr, flush=True)
            return str(path)
        damages.append(f"{path.name} is damaged ({damage})")
    if damages:
        raise MachineError(f"{folder}: {'; '.join(damages)}, and there is none before: delete it to begin the run anew")
    if os.environ.get("RANK", "0") == "0":
        what = f"{found[0].name} was cut off while it was written, and no other is there" if found else f"{folder} holds no checkpoint"
        print(f"{what}: starting from step 0", file=sys.stderr, flush=True)
    return None


def damaged_file(checkpoint: Path) -> str | None:
    """First file of a checkpoint that cannot be what was saved, with why; None when all can be read.

    JSON is parsed, torch's zip files are read through (they hold checksums), of safetensors the header and the length are looked at.
    Without its optimizer or its schedule (`--save_only_model`) Trainer would silently begin with new ones.
    """
    for pattern, name in (("*model*", "weights"), ("optimizer*", "optimizer.pt"), ("scheduler*", "scheduler.pt")):
        if not [*checkpoint.glob(pattern), *checkpoint.glob("global_step*")]:  # the second: DeepSpeed's
            return f"{name}: no such file" + (", as --save_only_model leaves it" if name != "weights" else "")
    for path in sorted(checkpoint.iterdir()):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".safetensors":
                _tensor_names(path)
            elif path.suffix in {".pt", ".pth", ".bin"}:
                with zipfile.ZipFile(path) as packed:
                    member = packed.testzip()
                if member is not None:
                    raise ValueError(f"its part {member} has another checksum")
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            return f"{path.name}: {error or type(error).__name__}"
    return None


def weight_names(checkpoint: Path) -> set[str]:
    """Names of all tensors in a checkpoint's safetensors files, as their headers have them."""
    names: set[str] = set()
    for path in checkpoint.glob("model*.safetensors"):
        names |= {*_tensor_names(path)}
    return names


def require_whole_weights(model: str) -> None:
    """A local model folder holds weights, every file of them whole (headers and lengths are looked at); of a hub id nothing is known.

    Raises MachineError.
    """
    folder = Path(model)
    if not folder.is_dir():
        return
    path, found = folder, []
    try:
        for path in folder.glob("*.index.json"):
            found += [folder / name for name in json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()]
        for path in sorted({*found, *folder.glob("*.safetensors")}):
            if path.suffix == ".safetensors":
                _tensor_names(path)
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        why = getattr(error, "strerror", None) or error or type(error).__name__
        raise MachineError(f"the weights of {model} cannot be read ({path.name}: {why}): copy or download them again") from error
    if not found and not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise MachineError(f"{model} holds no weights: expected a model folder with .safetensors files, or a hub id")


def _tensor_names(path: Path) -> list[str]:
    """Of a safetensors file whose length is what its header says. Raises ValueError or OSError."""
    from safetensors import SafetensorError, safe_open  # what looks at a machine runs without any package

    path.stat()  # a missing file in the system's words
    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise ValueError(str(error)) from error


# ---------------------------------------------------------------------------------------------------------------------
# What is recorded of a run
# ---------------------------------------------------------------------------------------------------------------------


def gpu_facts() -> str | None:
    """`NVIDIA H200, 139.8 of 139.8 GiB free`, or None without a CUDA GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    count = torch.cuda.device_count()
    return f"{f'{count} x ' if count > 1 else ''}{torch.cuda.get_device_name(0)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def gpu_bytes() -> int | None:
    """Memory of one CUDA GPU, free or not; None without any."""
    import torch

    return torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else None


def git_commit() -> str | None:
    """Commit of this checkout, with `+changes` when tracked files differ from it; None outside a checkout."""
    describe = ["git", "-C", str(HERE), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict:
    """Package versions, Python, platform and commit, for the record of a run."""
    found = {name: package_version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), **found, "commit": git_commit()}


def write_run_file(folder: Path, config: dict, plan: dict) -> None:
    """Write folder/run.json: config, plan, versions. A resumed run adds one more entry to `attempts`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.json"
    attempts = json.loads(path.read_text())["attempts"] if path.is_file() else []
    attempts.append({"started": datetime.now(UTC).isoformat(timespec="seconds"), "config": config, "plan": plan, "versions": versions()})
    with replacing(path) as new:
        new.write_text(json.dumps({"schema_version": 1, **attempts[-1], "attempts": attempts}, indent=1, default=str))


def attempts_so_far(folder: Path) -> int:
    """How often this run was resumed: 0 for a first attempt."""
    return len(json.loads((folder / "run.json").read_text())["attempts"]) - 1


# ---------------------------------------------------------------------------------------------------------------------
# The report
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One line of the report. `is_needed`: the CPU path does not work without it."""

    name: str
    found: str
    is_ok: bool
    is_needed: bool = False
    advice: str = ""


def check_python() -> Check:
    first, last = PYTHON_RANGE
    supported = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
    is_ok = first <= sys.version_info[:2] <= last
    return Check("Python", f"{platform.python_version()}", is_ok, True, f"supported: {supported}; make the environment with one of these")


def check_packages() -> Check:
    needed = [name for name in PACKAGES if name != "vllm"]
    missing = [name for name in needed if package_version(name) is None]
    found = ", ".join(f"{name} {package_version(name)}" for name in ("torch", "transformers", "trl", "peft") if package_version(name))
    return Check("packages", found or "none", not missing, True, f"missing: {', '.join(missing)}; pip install -r requirements.txt")


def check_gpu() -> Check:
    if package_version("torch") is None:
        return Check("GPU", "unknown: torch is not installed", False)
    import torch

    facts, built_for = gpu_facts(), torch.version.cuda or torch.version.hip
    if facts is not None:
        return Check("GPU", f"{facts}; torch is built for {built_for}", True)
    has_driver = shutil.which("nvidia-smi") is not None
    if has_driver and built_for is None:
        advice = "an NVIDIA driver is here, but torch is a CPU build: pip install --force-reinstall torch"
    elif has_driver:
        advice = f"an NVIDIA driver is here, but torch (for CUDA {built_for}) cannot use it: compare with what nvidia-smi says"
    else:
        advice = "the 1.5B configs need one"
    return Check("GPU", f"no CUDA GPU: configs/tiny.yaml runs on the CPU (torch is built for {built_for or 'CPUs'})", False, False, advice)


def check_vllm() -> Check:
    found = package_version("vllm")
    try:
        require_vllm()
    except MachineError as error:
        reason = str(error).removeprefix("use_vllm is set but ")
        return Check("vLLM", found or "not installed (optional)", False, False, reason)
    return Check("vLLM", found, True)


def unknown_without(name: str, error: ImportError) -> Check:
    """A check that needs a package of this project which is not there."""
    return Check(name, f"unknown: {error}", False, True, "pip install -r requirements.txt")


def check_toolchain(cargo_path: str) -> Check:
    try:
        from rust_tool import ToolchainError, find_toolchain
    except ImportError as error:  # this report is also for a Python without the packages
        return unknown_without("Rust", error)
    try:
        toolchain = find_toolchain(cargo_path)
    except ToolchainError as error:
        return Check("Rust", "not usable", False, True, str(error))
    return Check("Rust", f"{toolchain.rustc_version}; {toolchain.clippy_version}; linker {toolchain.linker}", True, True)


def sandbox_in_short(sandbox: dict) -> str:
    """`landlock: files, network, ... sealed` of RustTool.describe()'s sandbox; what is open is named first."""
    open_axes = [axis for axis, mechanism in sandbox["report"].items() if mechanism == "none"]
    sealed = [axis for axis in sandbox["report"] if axis not in open_axes]
    parts = [f"NOT sealed: {', '.join(open_axes)}"] if open_axes else []
    parts += [f"{', '.join(sealed)} sealed"] if sealed else []
    return f"{sandbox['tier']}: {'; '.join(parts)} (how: make doctor)"


def check_judge(cargo_path: str) -> Check:
    """Sandbox axes really in force, and a known good program graded."""
    try:
        from judge.sandbox import SandboxUnavailable
        from rust_tool import RustTool, ToolchainError
    except ImportError as error:
        return unknown_without("sandbox", error)
    try:
        with RustTool(workers=1, cargo_path=cargo_path) as judge:
            sandbox = judge.describe()["sandbox"]
    except (ToolchainError, SandboxUnavailable) as error:
        return Check("sandbox", "none", False, True, str(error))
    axes = ", ".join(f"{axis}: {mechanism}" for axis, mechanism in sandbox["report"].items())
    is_sealed = "none" not in sandbox["report"].values()
    return Check("sandbox", f"{sandbox['tier']} ({axes})", is_sealed, True, "install bubblewrap, or run where Landlock is on (Linux 5.13)")


def check_disk() -> Check:
    free_gib = shutil.disk_usage(HERE).free / 2**30
    return Check("disk", f"{free_gib:.1f} GiB free here", free_gib > 2, True, "2 GiB are needed for the tiny run, 20 GiB for a 1.5B run")


def check_machine() -> Check:
    shm = Path("/dev/shm")
    tmpfs = f"tmpfs {shutil.disk_usage(shm).free / 2**30:.1f} GiB free" if shm.is_dir() and os.access(shm, os.W_OK) else "no tmpfs"
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # those this process may use
    return Check("machine", f"{cores} cores, {memory_gib:.0f} GiB memory, {tmpfs}", True)


def all_checks(cargo_path: str) -> list[Callable[[], Check]]:
    """Every check of the report, in its order."""
    return [
        check_python,
        check_packages,
        check_gpu,
        check_vllm,
        lambda: check_toolchain(cargo_path),
        lambda: check_judge(cargo_path),
        check_machine,
        check_disk,
    ]


def main() -> int:
    parser = console.Parser(description="Say what this machine can do.")
    parser.add_argument("--cargo_path", default="cargo", help="the cargo to look at")
    arguments = parser.parse_args()
    works = True
    for check in all_checks(arguments.cargo_path):
        result = check()
        works = works and (result.is_ok or not result.is_needed)
        mark = "ok  " if result.is_ok else ("FAIL" if result.is_needed else "--  ")
        print(console.labelled(f"{mark} {result.name:>9}", result.found, indent=16), flush=True)
        if not result.is_ok and result.advice:
            print(console.labelled("", result.advice, indent=16))
    print("The CPU path works: make train" if works else "The CPU path does not work yet: see FAIL above.")
    return 0 if works else 1


if __name__ == "__main__":
    sys.exit(main())
