"""The whole batch pipeline against a stock TFX pipeline: python -m benchmarks.pipeline --help"""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.measure import Run, alternate, machine, median, run_candidate, write_result
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
    ImportSchemaGen, ExampleValidator, Transform, Trainer, a resolver, Evaluator and Pusher, run as
    LocalDagRunner has it. Ours is `local_runner.py --config applications/ctr/configs/ctr.yaml`,
    which also asks a server with the new model. Seconds are those of the whole process, imports
    included.

    The large sizes are ours alone, from raw logs: how seconds and memory grow. `--out` is written
    after each size; what it has of other sizes stays, so that they can be measured one by one
    (`--rows 0` or `--large-rows 0`: none).
    """
    if quick:
        rows, large_rows = (20_000,), ()
    rows, large_rows = (tuple(filter(None, sizes)) for sizes in (rows, large_rows))
    figures, times = _found(out)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (scratch or Path(temporary)).resolve()
        for size in (*rows, *large_rows):
            console.print(f"making {size:,} impressions")
            data = make_rows(folder / f"rows-{size}", size, csv=size in rows)
            names = NAMES if size in rows else ("ours_from_logs",)
            candidates = {name: candidate(name, data, folder) for name in names}
            runs = alternate(candidates, repeats, console.print)
            figures[str(size)] = {name: figures_of(them) for name, them in runs.items()}
            times[str(size)] = {
                name: [round(run.answer["seconds"], 1) for run in them]
                for name, them in runs.items()
            }
            result = write_result("pipeline", times, figures, ratios_of(figures), out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


def _found(out: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures and times by size of an earlier run: an hour's worth is not measured again."""
    if out is None or not out.exists():
        return {}, {}
    found = json.loads(out.read_text("utf-8"))
    here = machine()
    if any(found["machine"][key] != here[key] for key in ("cpu", "cores", "packages")):
        raise click.ClickException(f"{out} was measured on another machine; name another file")
    return found["figures"], found["runs"]


def candidate(name: str, data: Path, scratch: Path) -> Any:
    arguments = {"candidate": name, "data": str(data), "scratch": str(scratch)}
    return functools.partial(run_candidate, MODULE, arguments)


def ratios_of(figures: dict[str, Any]) -> dict[str, float]:
    """Seconds of stock over ours, and how seconds a row grow; of figures by size and candidate."""
    ratios = {
        f"{key}_{size}": by["stock"]["seconds"] / by[name]["seconds"]
        for size, by in figures.items()
        if "stock" in by
        for key, name in (("vs_stock_tfx", "ours"), ("from_logs_vs_stock_tfx", "ours_from_logs"))
    }
    stock = [value for key, value in ratios.items() if key.startswith("vs_stock_tfx_")]
    if stock:
        ratios["vs_stock_tfx"] = min(stock)
    a_row = [figures[s]["ours_from_logs"]["seconds"] / int(s) for s in sorted(figures, key=int)]
    ratios["seconds_a_row_largest_vs_smallest"] = a_row[-1] / a_row[0]
    return ratios


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
