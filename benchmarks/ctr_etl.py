"""Seconds a million rows of the CTR application's ETL: python -m benchmarks.ctr_etl --help

The whole component, from raw JSON, CSV and Parquet to published examples, at several sizes; the
simulator's users are skewed, and `--bots` adds sessions of hundreds of impressions within seconds.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from benchmarks.measure import ROOT, Run, alternate, median, run_candidate, write_result
from benchmarks.sample import sample_data

HOURS = 168
console = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="100,000 and 300,000 rows, once.")
@click.option("--rows", multiple=True, type=int, default=(1_000_000, 3_000_000, 10_000_000))
@click.option("--repeats", default=1, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(
    quick: bool, rows: tuple[int, ...], repeats: int, scratch: Path | None, out: Path | None
) -> None:
    """Runs SparkExampleGen with applications/ctr/configs/ctr.yaml on logs of several sizes."""
    sizes = (100_000, 300_000) if quick else rows
    with tempfile.TemporaryDirectory() as temporary:
        folder = scratch or Path(temporary)
        for size in sizes:
            make_log(folder / f"ctr-{size}", size)
        runs = alternate(
            {str(size): runner(folder / f"ctr-{size}", folder) for size in sizes},
            1 if quick else repeats,
            console.print,
        )
    seconds = {size: median(them, "seconds") for size, them in runs.items()}
    per_million = {size: round(s / int(size) * 1e6, 1) for size, s in seconds.items()}
    figures = {
        "s_per_million_rows": per_million,
        "worker_mib": {size: round(max(r.worker_mib for r in them)) for size, them in runs.items()},
        "peak_mib": {size: round(max(r.peak_mib for r in them)) for size, them in runs.items()},
    }
    first, last = str(sizes[0]), str(sizes[-1])
    ratios = {"s_per_million_largest_vs_smallest": per_million[last] / per_million[first]}
    times = {size: [round(r.answer["seconds"], 1) for r in them] for size, them in runs.items()}
    result = write_result("ctr_etl", times, figures, ratios, out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


def make_log(folder: Path, rows: int) -> None:
    """The simulator's log of a week, unless it is there."""
    if (folder / "done").exists():
        return
    console.print(f"making a click log of {rows:,} impressions")
    sample_data("ctr", folder, impressions=rows, hours=HOURS, bots=0.01)
    (folder / "done").touch()


def runner(data: Path, scratch: Path):  # type: ignore[no-untyped-def]
    def run() -> Run:
        return run_candidate(__spec__.name, {"data": str(data), "scratch": str(scratch)})

    return run


def run_once(data: Path, scratch: Path) -> None:
    """In a process of its own: the component as a pipeline of one node."""
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.config import load_config
    from pipeline.nodes import spark_example_gen

    config = load_config(ROOT / "applications/ctr/configs/ctr.yaml", [f"spans.window={HOURS}"])
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        pipeline = Pipeline(
            pipeline_name="benchmark",
            pipeline_root=f"{out}/root",
            components=[spark_example_gen(config, str(data))],
            metadata_connection_config=metadata.sqlite_metadata_connection_config(f"{out}/m"),
        )
        started = time.monotonic()
        LocalDagRunner().run(pipeline)
        print(json.dumps({"seconds": time.monotonic() - started}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        given = json.loads(sys.argv[1])
        run_once(Path(given["data"]), Path(given["scratch"]))
    else:
        main()
