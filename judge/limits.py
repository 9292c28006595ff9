"""What a compilation and a process of tests may use."""

from __future__ import annotations

from judge.sandbox import GIB, MIB, Limits

SHORTEST_S = 0.1  # CPU seconds that a process of tests gets at least
SHORTEST_WALL_S = 2.0
WALL_PER_CPU = 4.0  # wall-clock limits are this multiple of CPU limits, so that a busy machine changes no verdict


def build_limits(timeout_s: float) -> Limits:
    return Limits(
        cpu_s=timeout_s,
        wall_s=timeout_s * WALL_PER_CPU,
        memory_bytes=4 * GIB,
        file_bytes=256 * MIB,
        open_files=256,
        processes=128,
        output_bytes=48 * MIB,  # 20,000 warnings
        tmp_bytes=256 * MIB,
    )


def run_limits(timeout_s: float) -> Limits:
    return Limits(
        cpu_s=timeout_s,
        wall_s=max(SHORTEST_WALL_S, timeout_s * WALL_PER_CPU),
        memory_bytes=2 * GIB,
        file_bytes=16 * MIB,
        open_files=64,
        processes=128,
        output_bytes=64 * 1024,
        tmp_bytes=64 * MIB,
    )
