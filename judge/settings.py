"""The flags of every script that grades, and the judge that they mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from judge.toolchain import ToolchainError


@dataclass(kw_only=True)
class JudgeSettings:
    """Base of a script's arguments. `judge_options()` are those of `rust_tool.RustTool`."""

    judge: Literal["fast", "cargo"] = field(
        default="fast", metadata={"help": "How programs are graded; cargo: by plain cargo, the slow reference, tests of others aside."}
    )
    judge_workers: int | None = field(default=None, metadata={"help": "Programs graded at once (default: all cores)."})
    run_timeout_s: float = field(default=2.0, metadata={"help": "CPU seconds that all tests of a program may take together."})
    sandbox: str = field(
        default="auto", metadata={"help": "auto, bwrap, landlock, or plain (no isolation: generated code runs with your rights)."}
    )
    cargo_path: str = field(default="cargo", metadata={"help": "The cargo to use."})
    edition: Literal["2021", "2024"] = field(default="2021", metadata={"help": "Rust edition that programs are compiled as."})

    def require_tests_of_others(self, *asked_for: str) -> None:
        """`asked_for`: flags and rewards that need them. Raises ToolchainError where this judge does not run them."""
        if self.judge == "cargo" and asked_for:
            raise ToolchainError(f"--judge cargo does not run tests of other completions: leave {' and '.join(asked_for)} out")

    def judge_options(self) -> dict[str, object]:
        return {"judge": self.judge, "workers": self.judge_workers, "run_timeout_s": self.run_timeout_s, "sandbox": self.sandbox,
                "cargo_path": self.cargo_path, "edition": self.edition}  # fmt: skip
