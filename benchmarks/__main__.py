"""Every benchmark, one after the other: python -m benchmarks"""

from __future__ import annotations

import subprocess
import sys

import click

from benchmarks.measure import ROOT

NAMES = (
    "example_gen",
    "example_gen --wide",
    "ctr_etl",
    "input",
    "training",
    "quality",
    "small_tables",
    "warm_start",
    "serving",
    "serving_parts",
    "streaming",
    "freshness",
    "span_windows",
    "pipeline",
    "lineage",
)


@click.command()
@click.option("--quick", is_flag=True, help="Fewer repeats and rows, the same measurements.")
def main(quick: bool) -> None:
    """Runs all benchmarks; results go to benchmarks/results/."""
    for name in NAMES:
        out = ROOT / "benchmarks" / "results" / f"{name.replace(' --', '_')}.json"
        command = [sys.executable, "-m", *f"benchmarks.{name}".split(), "--out", str(out)]
        subprocess.run([*command, *(["--quick"] if quick else [])], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
