"""What a warm start saves: python -m benchmarks.warm_start --help

A week of the simulator's log: a model of its first six days, and then models of the six days that
end a day later, one from nothing and one that begins with the earlier model. Vocabularies differ
between the two windows. Time to quality: the passes over the data until the log loss on split eval
is within a share of the cold start's best.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import prepared_data
from benchmarks.measure import run_candidate, write_result
from benchmarks.prepared_data import Prepared

ROUNDS_PER_EPOCH = 16  # finer than by default, to see where the lines cross
GOALS = {"1 %": 1.01, "0.5 %": 1.005, "0 %": 1.0}


@click.command()
@click.option("--quick", is_flag=True, help="60,000 impressions.")
@click.option("--impressions", default=300_000, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(quick: bool, impressions: int, scratch: Path | None, out: Path | None) -> None:
    """Trains one model to begin with, then a cold and a warm one on the next day's window."""
    size = 60_000 if quick else impressions
    with tempfile.TemporaryDirectory() as temporary:
        folder = (scratch or Path(temporary)) / f"days-{size}"
        earlier, later = prepared_data.two_windows(folder, size)
        runs = {
            "earlier": _train(earlier, folder / "models/earlier", None),
            "cold": _train(later, folder / "models/cold", None),
        }
        base = folder / "models/earlier/model/1/Format-Serving"
        runs["warm"] = _train(later, folder / "models/warm", base)
    best = {name: min(runs[name]) for name in ("cold", "warm")}
    passes = {
        goal: {name: _passes(runs[name], factor * best["cold"]) for name in best}
        for goal, factor in GOALS.items()
    }
    figures = {
        "impressions": size,
        "passes_to_within": passes,
        "first_loss": {name: runs[name][0] for name in best},
        "best_loss": best,
    }
    ratios = {"warm_vs_cold_best_loss": best["warm"] / best["cold"]}
    for goal, found in passes.items():
        if found["warm"] and found["cold"]:
            ratios[f"warm_vs_cold_passes_to_{goal}"] = found["warm"] / found["cold"]
    result = write_result("warm_start", runs, figures, ratios, out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


def _passes(losses: list[float], goal: float) -> float | None:
    """Passes over the data until the loss is `goal`; None if it never is."""
    for number, loss in enumerate(losses, start=1):
        if loss <= goal:
            return number / ROUNDS_PER_EPOCH
    return None


def _train(prepared: Prepared, out: Path, base: Path | None) -> list[float]:
    """The validation loss of each round; in a process of its own."""
    arguments = {
        "folder": str(prepared.folder),
        "out": str(out),
        "base": None if base is None else str(base),
    }
    losses: list[float] = run_candidate("benchmarks.warm_start", arguments).answer["losses"]
    Console(stderr=True).print(f"{out.name}: {len(losses)} rounds, best {min(losses):.5f}")
    return losses


def train(prepared: Prepared, out: str, base: str | None) -> dict[str, Any]:
    """In a process of its own: run_fn."""
    from tabular.entry_points import run_fn

    # Patience as long as by default, in passes.
    parameters = {"rounds_per_epoch": ROUNDS_PER_EPOCH, "patience": ROUNDS_PER_EPOCH // 2}
    losses = run_fn(prepared.fn_args(out, {"parameters": parameters}, base or ""))
    return {"losses": losses}


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        wanted = json.loads(sys.argv[1])
        answer = train(Prepared(Path(wanted["folder"])), wanted["out"], wanted["base"])
        print(json.dumps(answer), flush=True)
    else:
        main()
