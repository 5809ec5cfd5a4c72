"""What is made of a serving benchmark's runs; nothing is measured here."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.serving_figures import COLD, COLD_TENSORS, Runs, figures_of, ratios_of
from benchmarks.tables import TABLES

pytestmark = pytest.mark.unit


def run(p99_ms: float, errors: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "rate": 100.0, "requests": 1000, "errors": errors, "p50_ms": p99_ms / 2,
        "p99_ms": p99_ms, "p99.9_ms": 2 * p99_ms, "max_ms": 3 * p99_ms, **more,
    }  # fmt: skip


def runs_of(speed: float, **more: list[dict[str, Any]]) -> Runs:
    reload = {"errors": 0, "p99_ms_before": 8 / speed, "p99_ms_with_reload": 12 / speed}
    return {
        "100/s": [run(ms / speed) for ms in (6, 8, 10, 40, 7)],
        "100/s, tensors": [run(16 / speed)],
        "reload": [{**reload, "max_ms_with_reload": 90.0, "ratio": 1.5}],
        COLD: [run(10 / speed, start_s=4.0), run(20 / speed, start_s=6.0)],
        COLD_TENSORS: [run(30 / speed, errors=3, start_s=4.0), run(60 / speed, start_s=4.0)],
        **more,
    }


def test_the_highest_rate_is_the_last_of_which_four_runs_in_five_hold() -> None:
    held, late = [run(9)] * 4 + [run(90)], [run(9)] * 3 + [run(9, errors=1), run(90)]
    figures = figures_of(runs_of(1, **{"400/s": late, "300/s": held}))
    assert figures["highest_rate_within_45_ms"] == 300
    assert figures_of(runs_of(0.1))["highest_rate_within_45_ms"] == 0


def test_a_cold_start_has_the_errors_of_all_its_runs_and_the_median_of_the_rest() -> None:
    found = figures_of(runs_of(1))["cold_start"]
    assert found["tensors"] == {"errors": 3, "p99_ms": 45, "start_s": 4}
    assert found["examples"] == {"errors": 0, "p99_ms": 15, "start_s": 5}
    assert ratios_of(figures_of(runs_of(1)))["p99_of_tensors_cold"] == 3


def test_ratios_to_another_commit_are_new_to_old() -> None:
    figures = figures_of(runs_of(2))
    assert not any("against" in name for name in ratios_of(figures))
    figures["against"] = {"figures": figures_of(runs_of(1))}
    found = ratios_of(figures)
    assert (found["p50_vs_against"], found["p99_vs_against"]) == (0.5, 0.5)
    assert (found["p99_of_tensors_vs_against"], found["p99_with_reload_vs_against"]) == (0.5, 0.5)
    assert (found["highest_rate_vs_against"], found["start_vs_against"]) == (1, 1)


def test_the_table_takes_the_result() -> None:
    memory = {"errors": 0, "p99_ms": 8.0, "mib_at_the_start": 900.0, "mib_at_the_end": 901.0}
    runs = runs_of(1, memory=[memory])
    table = TABLES["serving"]({"name": "serving", "runs": runs, "figures": figures_of(runs)})
    assert f"| {COLD_TENSORS} | 0 of 2 |" in table
    assert "| 100/s | 5 of 5 |" in table
