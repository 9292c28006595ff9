"""What a compilation and a process of tests may use."""

from __future__ import annotations

from dataclasses import replace

from judge.sandbox import BUILD_LIMITS, KIB, MIB, RUN_LIMITS, Limits

SHORTEST_S = 0.1  # CPU seconds that a process of tests gets at least
SHORTEST_WALL_S = 2.0
WALL_PER_CPU = 4.0  # wall-clock limits are this multiple of CPU limits, so that a busy machine changes no verdict


def build_limits(timeout_s: float) -> Limits:
    output_bytes = 48 * MIB  # 20,000 warnings
    return replace(BUILD_LIMITS, cpu_s=timeout_s, wall_s=timeout_s * WALL_PER_CPU, output_bytes=output_bytes, tmp_bytes=256 * MIB)


def run_limits(timeout_s: float) -> Limits:
    return replace(RUN_LIMITS, cpu_s=timeout_s, wall_s=max(SHORTEST_WALL_S, timeout_s * WALL_PER_CPU), output_bytes=64 * KIB)
