"""Figures from the runs of benchmarks.serving, and ratios to another commit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

CANDIDATES = 100  # of a request
LIMIT_MS = 45.0
COLD_SECONDS = 10.0
COLD = f"100/s, first {COLD_SECONDS:g} s"
COLD_TENSORS = f"{COLD}, tensors"
Runs = dict[str, list[dict[str, Any]]]


def figures_of(runs: Runs) -> dict[str, Any]:
    """Returns a server's latencies (ms), errors, highest rate, reload, cold start and memory."""
    median = sorted(runs["100/s"], key=lambda run: run["p99_ms"])[len(runs["100/s"]) // 2]
    rates = [float(load[:-2]) for load, of in runs.items() if _is_rate(load) and holds(of)]
    cold = {"examples": runs[COLD], "tensors": runs[COLD_TENSORS]}
    return {
        "candidates": CANDIDATES,
        "p50_ms_at_100_per_s": median["p50_ms"],
        "p99_ms_at_100_per_s": median["p99_ms"],
        "errors": sum(run["errors"] for found in runs.values() for run in found if "errors" in run),
        "runs_within_45_ms": f"{held(runs['100/s'])} of {len(runs['100/s'])}",
        "highest_rate_within_45_ms": max(rates, default=0.0),
        "p50_ms_with_tensors": runs["100/s, tensors"][0]["p50_ms"],
        "p99_ms_with_tensors": runs["100/s, tensors"][0]["p99_ms"],
        "reload": runs["reload"][0],
        "cold_start": {
            kind: {
                "errors": sum(run["errors"] for run in of),
                "p99_ms": statistics.median(run["p99_ms"] for run in of),
                "start_s": statistics.median(run["start_s"] for run in of),
            }
            for kind, of in cold.items()
        },
        **({"memory": runs["memory"][0]} if "memory" in runs else {}),
    }


def ratios_of(figures: dict[str, Any]) -> dict[str, float]:
    """Returns ratios between the figures, and to those of the other commit if there is one."""
    cold = figures["cold_start"]
    found = {
        "p99_with_reload": figures["reload"]["ratio"],
        "p99_of_tensors": figures["p99_ms_with_tensors"] / figures["p99_ms_at_100_per_s"],
        "p99_of_tensors_cold": cold["tensors"]["p99_ms"] / cold["examples"]["p99_ms"],
    }
    if "against" not in figures:
        return found
    other = figures["against"]["figures"]
    pairs = {
        "p50": lambda of: of["p50_ms_at_100_per_s"],
        "p99": lambda of: of["p99_ms_at_100_per_s"],
        "p50_of_tensors": lambda of: of["p50_ms_with_tensors"],
        "p99_of_tensors": lambda of: of["p99_ms_with_tensors"],
        "p99_with_reload": lambda of: of["reload"]["p99_ms_with_reload"],
        "p99_cold": lambda of: of["cold_start"]["examples"]["p99_ms"],
        "p99_of_tensors_cold": lambda of: of["cold_start"]["tensors"]["p99_ms"],
        "start": lambda of: of["cold_start"]["examples"]["start_s"],
        "highest_rate": lambda of: of["highest_rate_within_45_ms"],
    }
    compared = {f"{name}_vs_against": (get(figures), get(other)) for name, get in pairs.items()}
    return {**found, **{name: ours / theirs for name, (ours, theirs) in compared.items() if theirs}}


def _is_rate(load: str) -> bool:
    return load.endswith("/s")


def holds(runs: Sequence[dict[str, Any]]) -> bool:
    """Whether at most one run in five fails."""
    return held(runs) >= len(runs) - len(runs) // 5


def held(runs: Sequence[dict[str, Any]]) -> int:
    return sum(run["p99_ms"] <= LIMIT_MS and run["errors"] == 0 for run in runs)
