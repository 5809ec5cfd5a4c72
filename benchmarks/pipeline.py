"""The whole batch pipeline against a stock TFX pipeline: python -m benchmarks.pipeline --help"""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.measure import Run, alternate, median, run_candidate, write_result
from benchmarks.pipeline_rows import make_rows

MODULE = "benchmarks.pipeline_candidates"
# Ours on the CSV that stock reads, and on the raw logs, for whose ETL stock has no step.
NAMES = ("stock", "ours", "ours_from_logs")
console = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="20,000 impressions, once.")
@click.option("--rows", multiple=True, type=int, default=(200_000, 1_000_000), help="For all.")
@click.option(
    "--large-rows", multiple=True, type=int, default=(3_000_000, 10_000_000), help="For ours."
)
@click.option("--repeats", default=1, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(
    quick: bool,
    rows: tuple[int, ...],
    large_rows: tuple[int, ...],
    repeats: int,
    scratch: Path | None,
    out: Path | None,
) -> None:
    """Runs both from nothing to a pushed model: same rows, schema, Transform, model, evaluation.

    The stock pipeline has TFX's own components with their defaults: CsvExampleGen, StatisticsGen,
    ImportSchemaGen, ExampleValidator, Transform, Trainer, a resolver, Evaluator and Pusher, on
    LocalDagRunner. Ours is `local_runner.py --config pipeline/configs/ctr.yaml`, which also asks a
    server with the new model. Seconds are those of the whole process, imports included.

    The large sizes are ours alone, from raw logs: how seconds and memory grow.
    """
    if quick:
        rows, large_rows = (20_000,), ()
    runs: dict[str, dict[str, list[Run]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (scratch or Path(temporary)).resolve()
        for size in (*rows, *large_rows):
            console.print(f"making {size:,} impressions")
            data = make_rows(folder / f"rows-{size}", size, csv=size in rows)
            names = NAMES if size in rows else ("ours_from_logs",)
            candidates = {name: candidate(name, data, folder) for name in names}
            runs[str(size)] = alternate(candidates, repeats, console.print)
    figures, ratios = results(runs)
    times = {
        size: {name: [round(run.answer["seconds"], 1) for run in them] for name, them in by.items()}
        for size, by in runs.items()
    }
    result = write_result("pipeline", times, figures, ratios, out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


def candidate(name: str, data: Path, scratch: Path) -> Any:
    arguments = {"candidate": name, "data": str(data), "scratch": str(scratch)}
    return functools.partial(run_candidate, MODULE, arguments)


def results(
    runs: dict[str, dict[str, list[Run]]],
) -> tuple[dict[str, Any], dict[str, float]]:
    """(figures by size and candidate, ratios: seconds of stock over ours, and growth)."""
    figures = {
        size: {name: figures_of(them) for name, them in by.items()} for size, by in runs.items()
    }
    seconds = {
        size: {name: median(them, "seconds") for name, them in by.items()}
        for size, by in runs.items()
    }
    ratios = {
        f"{key}_{size}": by["stock"] / by[name]
        for size, by in seconds.items()
        if "stock" in by
        for key, name in (("vs_stock_tfx", "ours"), ("from_logs_vs_stock_tfx", "ours_from_logs"))
    }
    ratios["vs_stock_tfx"] = min(v for key, v in ratios.items() if key.startswith("vs_stock_tfx_"))
    a_row = [seconds[size]["ours_from_logs"] / int(size) for size in sorted(seconds, key=int)]
    ratios["seconds_a_row_largest_vs_smallest"] = a_row[-1] / a_row[0]
    return figures, ratios


def figures_of(runs: list[Run]) -> dict[str, Any]:
    """Of a candidate's runs; what is by component is of the run with the median of all."""
    middle = sorted(runs, key=lambda run: run.answer["seconds"])[len(runs) // 2]
    return {
        "seconds": round(median(runs, "seconds"), 1),
        "mib": round(max(run.peak_mib for run in runs)),
        "auc": round(middle.answer["auc"], 4),
        "rows": middle.answer["rows"],
        "components": middle.answer["components"],
    }


if __name__ == "__main__":
    main()
