"""ingest, replay, run, retry, status, feedback, evaluate."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from base.errors import ComponentError
from pipeline.command_line import console, stop_event, with_config, with_config_options
from pipeline.config import ConfigError, PipelineConfig, load_config
from pipeline.streaming_sections import Streaming
from streaming.accounts import PLACES
from streaming.layout import (
    CLICKS,
    IMPRESSIONS,
    LANDED,
    LATE,
    REFUSED,
    Layout,
    hour_name,
    hour_number,
    only_one,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# What the commands do is imported where they do it: --help does not wait for Spark.
_AGAIN_S = 10  # until a broker or store that was away is tried again
_LOOK_S = 2  # for a new hour


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Events from Kafka or a folder to hourly spans, and a run of the pipeline for each."""


def _settings(config: PipelineConfig) -> Streaming:
    from streaming.column_names import check_columns

    if config.streaming is None:
        raise ConfigError(f"{config.name} has no section `streaming`; see streaming/README.md")
    check_columns(config.streaming)
    return config.streaming


@main.command()
@with_config
@click.option("--once", is_flag=True, help="End when what is there now has been read.")
@click.option("--finish", is_flag=True, help="Then close every hour: nothing else will come.")
def ingest(config: PipelineConfig, once: bool, finish: bool) -> None:
    """Reads events and closes hours, until Ctrl-C.

    A closed hour is a span that the pipeline can read; its files never change.
    """
    from streaming.ingest import ingest as run
    from streaming.tables import HourTables

    settings = _settings(config)
    tables = HourTables(config) if settings.hour_tables else None
    with _spark(config, "streaming ingest") as spark:
        stopping = stop_event()  # after Spark has set its own handler of Ctrl-C
        run(spark, settings, _say, once=once, finish=finish, stopping=stopping, tables=tables)
    if stopping.is_set():
        console().print("stopped; the next start goes on where this one was")


@contextlib.contextmanager
def _spark(config: PipelineConfig, name: str) -> Iterator[SparkSession]:
    """A session of this process, which says errors only."""
    from spark_io.jobs.session import spark_environment, spark_session

    os.environ.update(spark_environment())
    with spark_session(config.spark.model_dump(), name) as spark:
        spark.sparkContext.setLogLevel("ERROR")
        yield spark


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
        console().print(text)
    elif what == "hour":
        shown, clicked = content[IMPRESSIONS], content[CLICKS]
        repeated = shown["duplicates"] + clicked["duplicates"]
        console().print(
            f"closed {hour_name(content['hour'])}: {shown['rows']:,} impressions, "
            f"{shown['clicked']:,} clicked, {repeated:,} duplicates ({content['seconds']:.1f} s)"
        )
    elif what == "file":
        console().print(f"{content['path']}: {content['reason']}")
    elif what == "partitions":
        added = ", ".join(map(str, content["added"]))
        console().print(
            f"topic {content['topic']} has new partitions, read from their beginning: {added}"
        )
    elif what == "online":
        console().print(
            f"the online table could not be made, the one before stays: {content['reason']}"
        )
    else:
        console().print(f"{content['reason']}; next try in {content['seconds']:g} s")


def _minute(epoch_ms: int) -> str:
    when = dt.datetime.fromtimestamp(epoch_ms / 1000, dt.timezone.utc)
    return f"{when:%Y-%m-%d %H:%M}"


@main.command("accept-loss")
@with_config
@click.option("--dry-run", is_flag=True, help="Say what is lost, and change nothing.")
def accept_loss(config: PipelineConfig, dry_run: bool) -> None:
    """Goes on after a topic has lost records, and records how many.

    A topic that was deleted and made anew, or records that expired before they were read, stop
    `ingest`. This writes the loss to FOLDER/losses.json, where `status` shows it, and has the next
    `ingest` begin with what is there.
    """
    from streaming.topics import Topics

    settings = _settings(config)
    if settings.kafka is None:
        raise ConfigError(f"{config.name} reads files: no topic can be lost")
    with only_one(settings.folder, "ingest"), _spark(config, "streaming accept-loss") as spark:
        topics = Topics(spark, settings, _say)
        losses = topics.losses() if dry_run else topics.accept()
    for loss in losses:
        console().print(f"{loss.text()}{'' if dry_run else ': accepted, and recorded'}")
    if not losses:
        console().print("nothing is lost: every topic can be read on from where it was")


@main.command()
@with_config
@click.option("--once", is_flag=True, help="End when what is there now has been sent.")
def feedback(config: PipelineConfig, once: bool) -> None:
    """Publishes what the server's request log says was shown, as impressions, until Ctrl-C.

    To the topic, or the watched folder, that ingest reads. Sent again after a crash under the same
    ids, so that each counts once.
    """
    from streaming.feedback.publish import Feedback
    from streaming.feedback.sinks import sink_of

    settings, log = _settings(config), config.serving.request_log
    if log is None:
        raise ConfigError(f"{config.name} has no serving.request_log: nothing to publish")
    cursor = settings.folder / "feedback.json"
    stopping, sent = stop_event(), 0
    with only_one(settings.folder, "feedback"):
        events_of = config.loaded_application().member("events_of_request", "streaming feedback")
        sink, key = sink_of(settings), _feedback_key(settings)
        running = Feedback(log.folder, cursor, sink, events_of, key)
        while not stopping.is_set():
            try:
                new = running.publish()
            except ComponentError as error:
                if once:
                    raise
                console().print(f"{error}; next try in {_AGAIN_S} s")
                stopping.wait(_AGAIN_S)
                continue
            sent += new
            if new:
                console().print(f"{sent:,} impressions published")
            if once:
                break
            stopping.wait(1)
    if running.refused.count:
        console().print(f"{running.refused.count:,} lines were refused: {running.refused.path}")
    if not sent:
        console().print(f"nothing new in {log.folder}")


def _feedback_key(settings: Streaming) -> bytes | None:
    name = settings.feedback_key_env
    if name is None:
        return None
    if not os.environ.get(name):
        raise ConfigError(
            f"streaming.feedback_key_env: the environment variable {name} is not set; export the "
            "key that the ranking services sign with"
        )
    return os.environ[name].encode()


@main.command()
@with_config
@click.option("--act", is_flag=True, help="Promotes the canary, or rolls back, by the rule.")
@click.option("--follow", is_flag=True, help="Then as each hour closes, until Ctrl-C.")
def evaluate(config: PipelineConfig, act: bool, follow: bool) -> None:
    """How well the served versions predict, by the hours that were closed.

    Metrics by arm and version with 95 % intervals; features that have drifted; then what
    streaming.online_rule says about the newest live version. FOLDER/online.html shows all hours.
    """
    from streaming.online_evaluation.rounds import Rounds
    from streaming.online_evaluation.screen import show

    stopping = stop_event()
    with only_one(_settings(config).folder, "evaluation"):
        rounds = Rounds(config)
        show(console(), rounds.round(act=act))
        while follow and not stopping.wait(_LOOK_S):
            try:
                if rounds.waiting():
                    show(console(), rounds.round(act=act))
            except ComponentError as error:
                console().print(f"{error!s}; next try in {_AGAIN_S} s")
                stopping.wait(_AGAIN_S)


@main.command()
@with_config_options
@click.option("--once", is_flag=True, help="End when no closed hour waits.")
@click.option(
    "--failures", default=3, show_default=True, help="So many in a row, and it waits for a person."
)
def run(given: tuple[str, tuple[str, ...]], once: bool, failures: int) -> None:
    """Runs the pipeline on each hour as it is closed, until Ctrl-C.

    One hour at a time, oldest first; hours that ML Metadata has a complete run of are left out. The
    first run of all reads a window of hours. What each run printed is in FOLDER/operation.
    """
    from streaming.operation.operate import Operation
    from streaming.operation.screen import OperationScreen

    config = load_config(*given)
    folder = _settings(config).folder
    stopping = stop_event()
    with OperationScreen(console(), config.name, folder, failures) as screen:
        operation = Operation(config, given, screen.report, stopping, failures)
        screen.watch(operation)
        with only_one(folder, "operation"):
            operation.run(once=once)


@main.command()
@with_config
@click.option("--hour", required=True, help="Such as 2024-03-01T05.")
def replay(config: PipelineConfig, hour: str) -> None:
    """Makes a closed hour again, with what came late: the next version of its spans.

    The versions before stay. If a run has read the hour, the next run reads from it on.
    """
    from streaming.operation.records import Records
    from streaming.replay import replay as run
    from streaming.tables import HourTables

    settings, number = _settings(config), hour_number(hour)
    tables = HourTables(config) if settings.hour_tables else None
    with only_one(settings.folder, "ingest"), _spark(config, "streaming replay") as spark:
        marker = run(spark, number, settings, tables)
    Records(settings.folder).ask_again(number)
    console().print(
        f"{hour_name(number)} is version {marker['version']} now: "
        f"{marker[IMPRESSIONS]['rows']:,} impressions, {marker[IMPRESSIONS]['clicked']:,} clicked"
    )


@main.command()
@with_config
@click.option("--hour", help="Such as 2024-03-01T05; default: all that failed.")
def retry(config: PipelineConfig, hour: str | None) -> None:
    """Has failed hours tried again: the next run reads from them on."""
    from streaming.operation.records import FAILED, RETRY, Records

    records = Records(_settings(config).folder)
    failed = {h: r for h, r in records.read().items() if r.state == FAILED}
    if hour is not None:
        wanted = hour_number(hour)
        if wanted not in failed:
            there = ", ".join(hour_name(h) for h in failed) or "none"
            raise ComponentError(f"no run of {hour_name(wanted)} failed; those that did: {there}")
        failed = {wanted: failed[wanted]}
    for record in failed.values():
        records.write(dataclasses.replace(record, state=RETRY))
    again = ", ".join(hour_name(h) for h in failed) or "nothing: no run failed"
    console().print(f"to be tried again: {again}")


@main.command()
@with_config
@click.option("--json", "as_json", is_flag=True, help="For a program.")
@click.option("--html", "as_html", is_flag=True, help="Writes a page, FOLDER/status.html.")
@click.option("--hours", default=24, show_default=True, help="The newest so many.")
def status(config: PipelineConfig, as_json: bool, as_html: bool, hours: int) -> None:
    """The hours: closed, open, what came late or was refused, and what their runs came to.

    Then whether all events that were read are somewhere, by the files on disk: if not, it says
    where, and the exit code is 1.
    """
    from streaming.operation.overview import overview, write_page
    from streaming.operation.spans_done import complete_spans
    from streaming.topics import accepted_losses
    from streaming.verify import verify

    settings = _settings(config)
    verified = verify(settings)
    found = overview(settings.folder, complete_spans(config))
    found |= dataclasses.asdict(verified) | {"losses": accepted_losses(settings.folder)}
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif as_html:
        page = write_page(settings.folder, found, config.name)
        console().print(f"see {page}", soft_wrap=True)
    else:
        _show(found, settings.folder, hours)
    if verified.problems:
        raise SystemExit(1)


def _show(found: dict[str, Any], folder: Path, hours: int) -> None:
    """Prints an overview."""
    from streaming.operation.overview import run_text

    if not found["batches"]:
        console().print(f"nothing was read yet into {folder}: python -m streaming ingest")
    if found["hours"]:
        table = Table(
            "hour", "state", "impressions", "clicked", "clicks", "duplicates", "late", "run"
        )
        for column in table.columns[2:-1]:
            column.justify = "right"
        for row in found["hours"][-hours:]:
            numbers = [row[k] for k in (IMPRESSIONS, "clicked", CLICKS, "duplicates", "late")]
            shown = ["" if n is None else f"{n:,}" for n in numbers]
            table.add_row(row["name"], row["state"], *shown, run_text(row))
        console().print(table)
    if found["batches"]:
        still_open = sum(row["state"] == "open" for row in found["hours"])
        done = f"{found['batches']:,} batches, {still_open} hours open"
        watermark = found["watermark_ms"]
        upto = (
            "no hour is complete" if watermark is None else f"complete up to {_minute(watermark)}"
        )
        console().print(f"{upto}; {done}")
    if found["files_waiting"]:
        console().print(f"{found['files_waiting']:,} files wait to be read")
    if found["refused"]:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in found["refused"].items())
        console().print(f"refused: {reasons}; {Layout(folder).batches}/*/outcome=refused")
    for stream, of in found["places"].items():
        parts = " + ".join(f"{of[place]:,} {place}" for place in PLACES)
        console().print(f"{stream}: {of['read']:,} read = {parts}", soft_wrap=True)
    _show_losses(found["losses"])
    if found["needs_person"]:
        console().print(
            "runs have failed in a row, and wait for a person: python -m streaming retry"
        )
    if found["problems"]:
        console().print("this does not add up:")
        for problem in found["problems"]:
            console().print(problem, soft_wrap=True)


def _show_losses(losses: list[dict[str, Any]]) -> None:
    for loss in losses:
        records = "nobody knows how many" if loss["records"] is None else f"{loss['records']:,}"
        console().print(
            f"{loss['stream']}: {records} records of topic {loss['topic']} were lost "
            f"({loss['kind']}), accepted {loss['accepted']}"
        )
