"""From an hour's close to its model: python -m benchmarks.freshness --help

Three hours of the simulator's log through `streaming ingest` (watched folder) and `streaming run`:
a first model of two hours, and then the run that every hour has, on the last one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from applications.ctr.aggregations import IMPRESSIONS
from applications.ctr.sample_data.click_log import ClickLogConfig
from benchmarks.measure import ROOT, Watch, write_result
from benchmarks.sample import sample_data
from streaming.layout import Layout
from streaming.operation.records import COMPLETE, HourRecords

CONFIG = "applications/ctr/configs/ctr-stream.yaml"
HOURS = 3
# What one would set for hours of this size: a tenth of the sessions is enough to judge a model by,
# and a fifth of the examples for their distributions.
SETTINGS = ["split.buckets={train: 9, eval: 1}", "statistics.sample_rate=0.2"]
console = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="20,000 impressions an hour.")
@click.option("--impressions", default=500_000, show_default=True, help="Of the last hour.")
@click.option("--set", "more", multiple=True, metavar="KEY=VALUE", help="Changes the config.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(quick: bool, impressions: int, more: tuple[str, ...], out: Path | None) -> None:
    """Ingests three hours, runs the pipeline on them, and tells what the last one took."""
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary), 20_000 if quick else impressions, more)
    ratios = {"of_six_minutes": found["close_to_model_s"] / 360}
    result = write_result("freshness", [], found, ratios, out)
    Console().print_json(json.dumps(result["figures"]))


def measure(root: Path, impressions: int, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """Seconds of closing and of each component, for the last hour."""
    folder = root / "log"
    sample_data("ctr", folder, hours=HOURS, impressions=_all_hours(impressions))
    places = ("data_root", "streaming.folder", "streaming.watched")
    overrides = [f"{key}={folder}" for key in places]
    overrides += [f"run_root={root / 'runs'}", f"serving_root={root / 'serving'}"]
    overrides += ["sample_data=null", "truth=null", f"incremental.window={HOURS - 1}", *SETTINGS]
    flags = [part for one in (*overrides, *more) for part in ("--set", one)]
    _streaming("ingest", "--finish", flags, root)
    peak = _streaming("run", "--once", flags, root)
    records, markers = HourRecords(folder).read(), Layout(folder).closed_hours()
    last = max(
        hour for hour, marker in markers.items() if marker["streams"][IMPRESSIONS]["rows"] > 1000
    )
    record, marker = records[last], markers[last]
    if record.state != COMPLETE or record.seconds is None:
        raise RuntimeError(f"the run of the last hour: {record.state}, {record.error}")
    components = {c["id"]: c["seconds"] for c in record.summary["components"]}
    in_all = marker["seconds"] + record.seconds
    return {
        "settings": SETTINGS,
        "impressions": marker["streams"][IMPRESSIONS]["rows"],
        "closing_s": marker["seconds"],
        "run_s": record.seconds,
        "close_to_model_s": round(in_all, 1),
        "components_s": components,
        "share": {name: round(s / in_all, 3) for name, s in components.items() if s >= 0.5},
        "peak_mib": round(peak),
        "blessed": record.summary.get("blessed"),
    }


def _all_hours(of_last: int) -> int:
    """Impressions of all hours, for so many in the last."""
    share = ClickLogConfig(impressions=1_000_000, hours=HOURS).impressions_by_hour()[-1] / 1e6
    return int(of_last / share)


def _streaming(command: str, flag: str, flags: list[str], root: Path) -> float:
    """Runs it; returns its peak memory in MiB."""
    console.print(f"streaming {command}")
    arguments = [sys.executable, "-m", "streaming", command, flag, "--config", CONFIG, *flags]
    with (root / f"{command}.log").open("w+") as printed:
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=printed, stderr=printed)
        with Watch(process.pid) as memory:
            process.wait()
        printed.seek(0)
        if process.returncode:
            raise RuntimeError(f"streaming {command} failed:\n{printed.read()[-3000:]}")
    return memory.peak_mib


if __name__ == "__main__":
    main()
