"""Rows/s of SparkExampleGen against its peers: python -m benchmarks.example_gen --help"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.example_gen_data import write_data
from benchmarks.example_gen_wide import SHAPES
from benchmarks.measure import Run, alternate, median, run_candidate, write_result

MODULE = "benchmarks.example_gen_candidates"
WARM_ROWS = 20_000
console = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="100,000 rows, one run of each; no large run, no ETL.")
@click.option(
    "--wide",
    is_flag=True,
    help="Instead: many columns, many files, large values; beside plain Spark.",
)
@click.option("--rows", default=1_000_000, show_default=True, help="For all candidates.")
@click.option("--large-rows", default=10_000_000, show_default=True, help="For ours and the floor.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Cores for Spark and the floor.")
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(
    quick: bool,
    wide: bool,
    rows: int,
    large_rows: int,
    repeats: int,
    workers: int,
    scratch: Path | None,
    out: Path | None,
) -> None:
    """Measures rows/s: the same 24 columns, one machine, candidates in turns, medians.

    Whole components are timed with all they start; `steady` is a job on a running Spark, which is
    what the JVM writer and the floor (encode, checksum, compress; no Spark) are compared with.
    """
    if quick:
        rows, repeats = min(rows, 100_000), 1
    if wide:
        return finish("example_gen_wide", *wide_shapes(quick, workers, scratch), out)
    with tempfile.TemporaryDirectory() as temporary:
        folder = scratch or Path(temporary)
        write_data(folder / "warm", WARM_ROWS)
        write_data(folder / str(rows), rows)
        runs = alternate(candidates(folder, rows, workers), repeats, console.print)
        large: dict[str, list[Run]] = {}
        if not quick:
            write_data(folder / str(large_rows), large_rows)
            names = ("spark_example_gen", "steady", "floor")
            chosen = candidates(folder, large_rows, workers)
            large = alternate({n: chosen[n] for n in names}, repeats, console.print)
    figures, ratios = results(runs, rows, large, large_rows)
    seconds = {
        f"{name}{suffix}": [round(run.answer["seconds"], 2) for run in them]
        for suffix, group in (("", runs), (f"_{large_rows}", large))
        for name, them in group.items()
    }
    return finish("example_gen", seconds, figures, ratios, out)


def wide_shapes(
    quick: bool, workers: int, scratch: Path | None
) -> tuple[dict[str, list[float]], dict[str, Any], dict[str, float]]:
    """Returns (seconds of ours, figures, ours over plain Spark) of each shape of
    example_gen_wide.py.
    """
    seconds, figures, ratios = {}, {}, {}
    for name, (_, many, few) in SHAPES.items():
        rows = few if quick else many
        arguments = {"shape": name, "rows": rows, "workers": workers}
        place = str(scratch) if scratch else None
        run = run_candidate("benchmarks.example_gen_wide", {**arguments, "scratch": place})
        console.print(f"{name}, {rows:,} rows: {run.answer}")
        figures[name] = {"rows": rows, **{k: round(v, 2) for k, v in run.answer.items()}}
        seconds[name] = [round(run.answer["ours_s"], 2)]
        ratios[f"{name}_vs_spark"] = run.answer["ours_s"] / run.answer["spark_s"]
    return seconds, figures, ratios


def finish(
    name: str,
    seconds: dict[str, Any],
    figures: dict[str, Any],
    ratios: dict[str, float],
    out: Path | None,
) -> None:
    """Writes the result under its name, and shows it."""
    write_result(name, seconds, figures, ratios, out)
    show(figures, ratios)


def candidates(folder: Path, rows: int, workers: int) -> dict[str, Any]:
    """Name -> a function that runs it once. Beam's direct runner was faster with one worker.

    SPARK_TFRECORD_JARS names the jar of com.linkedin.sparktfrecord, which `make jars` cannot bring.
    """

    def runner(name: str, cores: int) -> Any:
        arguments = {"candidate": name, "data": str(folder / str(rows)), "workers": cores}
        return lambda: run_candidate(MODULE, {**arguments, "scratch": str(folder)})

    peers = {name: runner(name, 1) for name in ("csv_example_gen", "parquet_executor")}
    if os.environ.get("SPARK_TFRECORD_JARS"):
        peers["spark_tfrecord"] = runner("spark_tfrecord", workers)
    ours = (
        "spark_example_gen",
        "spark_example_gen_csv",
        "steady",
        "transport",
        "floor",
        "floor_tfx_bsl",
    )
    return {**peers, **{name: runner(name, workers) for name in ours}}


def results(
    runs: dict[str, list[Run]], rows: int, large: dict[str, list[Run]], large_rows: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """(figures, ratios of rows/s: ours over theirs)."""
    speed = {name: rows / median(them, "seconds") for name, them in runs.items()}
    figures: dict[str, Any] = {
        "rows": rows,
        "rows_per_s": round(speed["spark_example_gen"]),
        **{f"rows_per_s_{name}": round(value) for name, value in speed.items()},
        "worker_mib": round(max(run.worker_mib for run in runs["spark_example_gen"])),
        "peak_mib": round(max(run.peak_mib for run in runs["spark_example_gen"])),
    }
    ratios = {
        "vs_csv_example_gen": speed["spark_example_gen_csv"] / speed["csv_example_gen"],
        "vs_parquet_executor": speed["spark_example_gen"] / speed["parquet_executor"],
        "vs_floor": speed["steady"] / speed["floor"],
        "encoder_vs_tfx_bsl": speed["floor"] / speed["floor_tfx_bsl"],
    }
    if "spark_tfrecord" in speed:
        ratios["vs_spark_tfrecord"] = speed["steady"] / speed["spark_tfrecord"]
    if large:
        speed_large = {n: large_rows / median(them, "seconds") for n, them in large.items()}
        figures |= {
            "rows_large": large_rows,
            "rows_per_s_10m": round(speed_large["spark_example_gen"]),
            **{f"rows_per_s_10m_{name}": round(value) for name, value in speed_large.items()},
            "worker_mib_10m": round(max(r.worker_mib for r in large["spark_example_gen"])),
            "peak_mib_10m": round(max(r.peak_mib for r in large["spark_example_gen"])),
        }
        ratios["vs_floor_10m"] = speed_large["steady"] / speed_large["floor"]
        ratios["vs_floor_10m_whole"] = speed_large["spark_example_gen"] / speed_large["floor"]
    return figures, ratios


def show(figures: dict[str, Any], ratios: dict[str, float]) -> None:
    table = Table(title="SparkExampleGen")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for name, value in {**figures, **ratios}.items():
        number = isinstance(value, (int, float))
        table.add_row(name, f"{value:,.6g}" if number else str(value))
    Console().print(table)


if __name__ == "__main__":
    main()
