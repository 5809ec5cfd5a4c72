"""python -m applications.ctr.demo_loop --help"""

from __future__ import annotations

import os

# Before TensorFlow is imported: no search for GPUs, no banner.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import shutil
import time
import warnings
from pathlib import Path

import click

from base.console import Failure
from base.errors import ComponentError
from dev_services.kafka import kafka
from dev_services.process import ServiceError
from pipeline.command_line import console
from pipeline.config import load_config
from streaming.layout import hour_name

CONFIG = "applications/ctr/configs/ctr-loop.yaml"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--hours", default=24, show_default=True, help="Hours of the day.")
@click.option("--first-hours", default=8, show_default=True, help="Hours without a model.")
@click.option("--impressions", default=5_000, show_default=True, help="Impressions per hour.")
@click.option("--bad-hour", default=14, show_default=True, help="Hour of a bad canary; -1: none.")
@click.option("--folder", default="data/ctr-loop", show_default=True, help="Folder, emptied first.")
def main(hours: int, first_hours: int, impressions: int, bad_hour: int, folder: str) -> None:
    """Simulates a day of a site: serve, log, Kafka, spans, train, evaluate, push, serve."""
    warnings.filterwarnings("ignore", category=FutureWarning)  # libraries warn about Python 3.10
    from applications.ctr.demo_loop import report
    from applications.ctr.demo_loop.day import Day, DaySettings

    root, started = Path(folder), time.monotonic()
    if root.exists() and not (root / "kafka").is_dir() and any(root.iterdir()):
        raise Failure(f"{root} holds files that are not an earlier day; choose another --folder")
    shutil.rmtree(root, ignore_errors=True)
    (root / "kafka").mkdir(parents=True)
    settings = DaySettings(
        hours=hours,
        first_hours=first_hours,
        impressions=impressions,
        bad_hour=None if bad_hour < 0 else bad_hour,
    )
    with kafka(root / "kafka") as broker:
        overrides = [f"{key}={root}" for key in ("data_root", "streaming.folder")]
        overrides += [f"streaming.kafka.bootstrap_servers={broker.bootstrap_servers}"]
        overrides += [f"run_root={root / 'runs'}", f"serving_root={root / 'serving_models'}"]
        overrides += [f"serving.request_log.folder={root / 'requests'}"]
        day = Day(load_config(CONFIG, overrides), (CONFIG, overrides), settings, _printer(started))
        try:
            day.run()
        except (ComponentError, ServiceError) as error:
            raise Failure(f"{error} (logs: {root / 'logs'})") from None
    content = report.write(day, root / "loop.json", time.monotonic() - started)
    report.draw(content, root / "loop.svg")
    out = console()
    out.print(report.table(content))
    for line in report.verdict(content):
        out.print(line)
    for hour, decision in content["decisions"].items():
        if not decision.startswith("wait"):
            out.print(f"after {hour_name(hour)}: {decision}")
    out.print(f"{content['seconds'] / 60:.1f} minutes; {root / 'loop.svg'}, {root / 'loop.json'}")


def _printer(started: float):  # type: ignore[no-untyped-def]
    return lambda text: console().print(f"{time.monotonic() - started:6.0f} s  {text}")


if __name__ == "__main__":
    main()
