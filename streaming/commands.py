"""ingest, status."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import threading
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from pipeline.command_line import with_config
from pipeline.config import ConfigError, PipelineConfig
from pipeline.sections import Streaming
from streaming.layout import CLICKS, IMPRESSIONS, LANDED, LATE, REFUSED, Layout, hour_name

# What the commands do is imported where they do it: --help does not wait for Spark.
_out = Console(highlight=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Events from Kafka or a folder to hourly spans that the pipeline reads."""


def _settings(config: PipelineConfig) -> Streaming:
    if config.streaming is None:
        raise ConfigError(f"{config.name} has no section `streaming`; see streaming/README.md")
    return config.streaming


@main.command()
@with_config
@click.option("--once", is_flag=True, help="End when what is there now has been read.")
@click.option("--finish", is_flag=True, help="Then close every hour: nothing else will come.")
def ingest(config: PipelineConfig, once: bool, finish: bool) -> None:
    """Reads events and closes hours, until Ctrl-C.

    A closed hour is a span that the pipeline can read; its files never change.
    """
    from components.spark_job.session import spark_environment, spark_session
    from streaming.ingest import ingest as run
    from streaming.tables import HourTables

    settings = _settings(config)
    tables = HourTables(config) if settings.hour_tables else None
    os.environ.update(spark_environment())
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with spark_session(config.spark.model_dump(), "streaming ingest") as spark:
        spark.sparkContext.setLogLevel("ERROR")
        run(spark, settings, _say, once=once, finish=finish, stopping=stopping, tables=tables)
    if stopping.is_set():
        _out.print("stopped; the next start goes on where this one was")


def _say(what: str, content: dict[str, Any]) -> None:
    if what == "batch":
        found = {
            outcome: sum(e["rows"] for e in content["rows"] if e["outcome"] == outcome)
            for outcome in (LANDED, LATE, REFUSED)
        }
        text = f"batch {content['batch']}: {sum(found.values()):,} events"
        unusual = [f"{found[name]:,} {name}" for name in (LATE, REFUSED) if found[name]]
        text += f" ({', '.join(unusual)})" if unusual else ""
        if content["watermark_ms"] is not None:
            text += f"; complete up to {_minute(content['watermark_ms'])}"
        _out.print(text)
    elif what == "hour":
        shown, clicked = content[IMPRESSIONS], content[CLICKS]
        repeated = shown["duplicates"] + clicked["duplicates"]
        _out.print(
            f"closed {hour_name(content['hour'])}: {shown['rows']:,} impressions, "
            f"{shown['clicked']:,} clicked, {repeated:,} duplicates ({content['seconds']:.1f} s)"
        )
    else:
        _out.print(f"{content['reason']}; next try in {content['seconds']:g} s")


def _minute(epoch_ms: int) -> str:
    when = dt.datetime.fromtimestamp(epoch_ms / 1000, dt.timezone.utc)
    return f"{when:%Y-%m-%d %H:%M}"


@main.command()
@with_config
@click.option("--json", "as_json", is_flag=True, help="For a program.")
@click.option("--hours", default=24, show_default=True, help="The newest so many.")
def status(config: PipelineConfig, as_json: bool, hours: int) -> None:
    """The hours: closed, open, and what came late or was refused."""
    from streaming.accounts import accounts

    layout = Layout(_settings(config).folder)
    found = accounts(layout)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    watermark = found["watermark_ms"]
    if watermark is None:
        _out.print(f"nothing was read yet into {layout.folder}: python -m streaming ingest")
        return
    table = Table("hour", "state", "impressions", "clicked", "clicks", "duplicates", "late")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in found["hours"][-hours:]:
        numbers = [row[k] for k in (IMPRESSIONS, "clicked", CLICKS, "duplicates", "late")]
        shown = ["" if n is None else f"{n:,}" for n in numbers]
        table.add_row(hour_name(row["hour"]), row["state"], *shown)
    _out.print(table)
    still_open = sum(row["state"] == "open" for row in found["hours"])
    done = f"{found['batches']:,} batches, {still_open} hours open"
    _out.print(f"complete up to {_minute(watermark)}; {done}")
    if found["refused"]:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in found["refused"].items())
        _out.print(f"refused: {reasons}; {layout.batches}/*/outcome=refused")
