"""The Rust toolchain behind a `cargo`: its real binaries, what they are, and how programs are linked with them."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from judge.errors import UserError
from judge.sandbox import LOADERS

OLDEST_RUSTC = (1, 85)  # the first whose standard library and harness were tried


class ToolchainError(UserError, RuntimeError):
    """The Rust toolchain cannot do the work; the message is one sentence for the user."""


@dataclass(frozen=True)
class Toolchain:
    """Absolute paths of the real binaries (not rustup's shims), and what they are."""

    cargo: Path
    rustc: Path
    clippy_driver: Path
    sysroot: Path
    linker: Path
    target: str  # "x86_64-unknown-linux-gnu"
    rustc_version: str
    cargo_version: str
    clippy_version: str

    @property
    def library_dir(self) -> Path:
        return self.sysroot / "lib" / "rustlib" / self.target / "lib"


def find_toolchain(cargo_path: str = "cargo") -> Toolchain:
    """Find the binaries behind `cargo_path` (a name on PATH, or a path).

    Raises:
        ToolchainError: no cargo, no clippy, no linker, or a compiler older than OLDEST_RUSTC.
    """
    cargo = shutil.which(cargo_path)
    if cargo is None:
        raise ToolchainError(f"{cargo_path} not found: install Rust from https://rustup.rs or pass --cargo_path")
    sibling = Path(cargo).with_name("rustc")
    rustc = str(sibling) if os.access(sibling, os.X_OK) else shutil.which("rustc")
    if rustc is None:
        raise ToolchainError(f"rustc not found next to {cargo} or on PATH: install Rust from https://rustup.rs")
    about = output_of([rustc, "-vV"])
    facts = dict(line.split(": ", 1) for line in about.splitlines() if ": " in line)
    sysroot = Path(output_of([rustc, "--print", "sysroot"]))
    version = re.match(r"(\d+)\.(\d+)", facts.get("release", "0.0"))
    if version is None or (int(version[1]), int(version[2])) < OLDEST_RUSTC:
        wanted = ".".join(map(str, OLDEST_RUSTC))
        raise ToolchainError(f"rustc {facts.get('release')} is too old, {wanted} or newer is needed: run rustup update stable")
    clippy = _in_sysroot(sysroot, "clippy-driver")
    if clippy is None:
        raise ToolchainError(f"clippy not found in {sysroot}: run rustup component add clippy")
    linker = shutil.which("cc")
    if linker is None:
        raise ToolchainError("no C linker (cc) on PATH: install gcc or clang, e.g. apt-get install build-essential")
    return Toolchain(
        cargo=_in_sysroot(sysroot, "cargo") or Path(cargo),
        rustc=_in_sysroot(sysroot, "rustc") or Path(rustc),
        clippy_driver=clippy,
        sysroot=sysroot,
        linker=Path(linker),
        target=facts["host"],
        rustc_version=about.splitlines()[0],
        cargo_version=output_of([cargo, "--version"]),
        clippy_version=output_of([str(clippy), "--version"]),
    )


def _in_sysroot(sysroot: Path, name: str) -> Path | None:
    path = sysroot / "bin" / name
    return path if os.access(path, os.X_OK) else None


def output_of(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"{argv[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        raise ToolchainError(f"{' '.join(argv)} failed: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


def denied_lints(toolchain: Toolchain) -> frozenset[str]:
    """Lints that are errors unless a program says otherwise, as diagnostics name them."""
    table = output_of([str(toolchain.clippy_driver), "-W", "help"])
    rows = re.findall(r"^ *(\S+) +(deny|forbid) ", table, re.MULTILINE)
    return frozenset(name.replace("-", "_") for name, _level in rows if not name.startswith("-"))


def direct_link_flags(toolchain: Toolchain) -> list[str]:
    """Flags that make rustc call its own lld without the C compiler in between; plain `cc` where that cannot be.

    Needs what `cc` would add: the start-up objects and the C library's folder.
    """
    lld = toolchain.library_dir.with_name("bin") / "rust-lld"
    loader = LOADERS.get(platform.machine(), "")
    cc = [f"-Clinker={toolchain.linker}"]
    if not (toolchain.target.endswith("-linux-gnu") and os.access(lld, os.X_OK) and os.path.exists(loader)):
        return cc
    try:
        names = ("Scrt1.o", "crti.o", "crtbeginS.o", "crtendS.o", "crtn.o", "libc.so.6", "libgcc_s.so.1", "libgcc.a")
        paths = [os.path.realpath(output_of([str(toolchain.linker), f"-print-file-name={name}"])) for name in names]
    except ToolchainError:
        return cc
    if not all(os.path.exists(path) and " " not in path for path in paths):
        return cc
    folders = dict.fromkeys(f"-L{os.path.dirname(path)}" for path in (paths[0], paths[2], *paths[5:]))
    arguments = [*paths[:5], *folders, f"-dynamic-linker={loader}", "--threads=1", "-O0"]
    return [f"-Clinker={lld}", "-Clinker-flavor=ld.lld", f"-Clink-args={' '.join(arguments)}"]
