"""The commands ingest, replay, run, retry, status, accept-loss, feedback and evaluate."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from base.errors import ComponentError
from pipeline.command_line import console, stop_event, with_config, with_config_options
from pipeline.config import ConfigError, PipelineConfig, load_config
from pipeline.streaming_sections import Streaming
from streaming.layout import (
    LANDED,
    LATE,
    REFUSED,
    Layout,
    exclusive_lock,
    hour_name,
    hour_number,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# The commands import their modules when they run, so that --help does not wait for Spark.
_RETRY_S = 10  # wait after a broker or store did not answer
_POLL_S = 2  # interval of looking for a new hour


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Reads events from Kafka or a folder into hourly spans, and runs the pipeline on each."""


def _settings(config: PipelineConfig) -> Streaming:
    from streaming.column_names import check_columns

    if config.streaming is None:
        raise ConfigError(
            f"{config.name} has no section `streaming`; add it as streaming/README.md describes"
        )
    check_columns(config.streaming)
    return config.streaming


@main.command()
@with_config
@click.option("--once", is_flag=True, help="End when all present events have been read.")
@click.option("--finish", is_flag=True, help="Like --once, then close every hour.")
def ingest(config: PipelineConfig, once: bool, finish: bool) -> None:
    """Reads events and closes hours, until Ctrl-C.

    A closed hour is a span that the pipeline can read. Its files never change.
    """
    from streaming.ingest import ingest as run
    from streaming.operation.records import HourRecords
    from streaming.tables import HourTables

    settings = _settings(config)
    tables = HourTables(config) if settings.hour_tables else None

    def report(what: str, content: dict[str, Any]) -> None:
        _print_report(what, content)
        if what == "again":
            HourRecords(settings.folder).request_retry(content["hour"])

    with _spark(config, "streaming ingest") as spark:
        stopping = stop_event()  # after Spark has set its own handler of Ctrl-C
        run(
            spark,
            settings,
            report,
            once=once,
            finish=finish,
            stopping=stopping,
            tables=tables,
        )
    if stopping.is_set():
        console().print("stopped; the next start continues from here")


@contextlib.contextmanager
def _spark(config: PipelineConfig, name: str) -> Iterator[SparkSession]:
    """Yields a Spark session of this process that logs only errors."""
    from spark_io.jobs.session import spark_environment, spark_session

    os.environ.update(spark_environment())
    with spark_session(config.spark.model_dump(), name) as spark:
        spark.sparkContext.setLogLevel("ERROR")
        yield spark


def _print_report(what: str, content: dict[str, Any]) -> None:
    from streaming.operation.status_screen import minute

    if what == "batch":
        found = {
            outcome: sum(e["rows"] for e in content["rows"] if e["outcome"] == outcome)
            for outcome in (LANDED, LATE, REFUSED)
        }
        text = f"batch {content['batch']}: {sum(found.values()):,} events"
        unusual = [f"{found[name]:,} {name}" for name in (LATE, REFUSED) if found[name]]
        text += f" ({', '.join(unusual)})" if unusual else ""
        if content["watermark_ms"] is not None:
            text += f"; complete up to {minute(content['watermark_ms'])}"
        console().print(text)
    elif what == "hour":
        repeated = sum(one["duplicates"] for one in content["streams"].values())
        console().print(
            f"closed {hour_name(content['hour'])}: {_rows_text(content)}, {repeated:,} duplicates "
            f"({content['seconds']:.1f} s)"
        )
    elif what == "again":
        console().print(
            f"{hour_name(content['hour'])} has version {content['version']}: an earlier hour was "
            "closed after it, and has the events of its outcomes"
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
            f"the online table was not updated, serving keeps the old one: {content['reason']}"
        )
    else:
        console().print(f"{content['reason']}; next try in {content['seconds']:g} s")


def _rows_text(marker: dict[str, Any]) -> str:
    return ", ".join(f"{one['rows']:,} {name}" for name, one in marker["streams"].items())


@main.command("accept-loss")
@with_config
@click.option("--dry-run", is_flag=True, help="Report what is lost, and change nothing.")
def accept_loss(config: PipelineConfig, dry_run: bool) -> None:
    """Records what a topic has lost, and lets ingest continue.

    `ingest` stops if a topic was deleted and recreated, or if records expired before they were
    read. This command writes the loss to FOLDER/losses.json, which `status` shows. The next
    `ingest` then starts with the records that exist.
    """
    from streaming.topics import Topics

    settings = _settings(config)
    if settings.kafka is None:
        raise ConfigError(
            f"{config.name} reads files, but only Kafka topics can lose records; see `status`"
        )
    with (
        exclusive_lock(settings.folder, "ingest"),
        _spark(config, "streaming accept-loss") as spark,
    ):
        topics = Topics(spark, settings, _print_report)
        losses = topics.losses() if dry_run else topics.accept()
    for loss in losses:
        console().print(f"{loss.text()}{'' if dry_run else ': accepted and recorded'}")
    if not losses:
        console().print("no records are lost; every topic can be read from its last position")


@main.command()
@with_config
@click.option("--once", is_flag=True, help="End when all present lines have been sent.")
def feedback(config: PipelineConfig, once: bool) -> None:
    """Publishes what the server's request log tells as events, until Ctrl-C.

    They go to the topic or the watched folder that ingest reads. After a crash some are sent again
    under the same ids, and each counts once.
    """
    from pipeline.check_online import served_stream
    from streaming.feedback.publish import Feedback
    from streaming.feedback.sinks import sink_of

    settings, log = _settings(config), config.serving.request_log
    if log is None:
        raise ConfigError(
            f"{config.name} has no serving.request_log to publish; add that section to the config"
        )
    cursor = settings.folder / "feedback.json"
    stopping, sent = stop_event(), 0
    with exclusive_lock(settings.folder, "feedback"):
        events_of = config.loaded_application().member("events_of_request", "streaming feedback")
        sink, key = sink_of(settings), _feedback_key(settings)
        stream = served_stream(settings)
        running = Feedback(log.folder, cursor, sink, stream, events_of, key)
        while not stopping.is_set():
            try:
                new = running.publish()
            except ComponentError as error:
                if once:
                    raise
                console().print(f"{error}; next try in {_RETRY_S} s")
                stopping.wait(_RETRY_S)
                continue
            sent += new
            if new:
                console().print(f"{sent:,} {stream} published")
            if once:
                break
            stopping.wait(1)
    if running.rejected.count:
        console().print(f"{running.rejected.count:,} lines were rejected: {running.rejected.path}")
    if not sent:
        console().print(f"no new {stream} in {log.folder}")


def _feedback_key(settings: Streaming) -> bytes | None:
    name = settings.feedback_key_env
    if name is None:
        return None
    if not os.environ.get(name):
        raise ConfigError(
            f"streaming.feedback_key_env: the environment variable {name} is not set; export the "
            "key that the clients sign with"
        )
    return os.environ[name].encode()


@main.command()
@with_config
@click.option("--act", is_flag=True, help="Promote the canary or roll back, as the rule decides.")
@click.option("--follow", is_flag=True, help="Repeat as each hour closes, until Ctrl-C.")
def evaluate(config: PipelineConfig, act: bool, follow: bool) -> None:
    """Measures how well the served versions predict, on closed hours.

    Shows metrics by arm and version with 95 % intervals, features that have drifted, and the
    decision of streaming.online_rule about the live versions. FOLDER/online.html shows all hours.
    """
    from streaming.online_evaluation.rounds import EvaluationRounds
    from streaming.online_evaluation.screen import show

    stopping = stop_event()
    with exclusive_lock(_settings(config).folder, "evaluation"):
        rounds = EvaluationRounds(config)
        show(console(), rounds.round(act=act))
        while follow and not stopping.wait(_POLL_S):
            try:
                if rounds.waiting():
                    show(console(), rounds.round(act=act))
            except ComponentError as error:
                console().print(f"{error!s}; next try in {_RETRY_S} s")
                stopping.wait(_RETRY_S)


@main.command()
@with_config_options
@click.option("--once", is_flag=True, help="End when no closed hour is waiting.")
@click.option(
    "--failures", default=3, show_default=True, help="Failures in a row after which it waits."
)
def run(given: tuple[str, tuple[str, ...]], once: bool, failures: int) -> None:
    """Runs the pipeline on each hour when it closes, until Ctrl-C.

    Hours are run one at a time, oldest first. Hours with a complete run in ML Metadata are skipped.
    The first run reads a window of hours. FOLDER/operation has the output of each run.
    """
    from streaming.operation.operate import Operation
    from streaming.operation.screen import OperationScreen

    config = load_config(*given)
    folder = _settings(config).folder
    stopping = stop_event()
    with OperationScreen(console(), config, failures) as screen:
        operation = Operation(config, given, screen.report, stopping, failures)
        screen.watch(operation)
        with exclusive_lock(folder, "operation"):
            operation.run(once=once)


@main.command()
@with_config
@click.option("--hour", required=True, help="UTC hour, such as 2024-03-01T05.")
def replay(config: PipelineConfig, hour: str) -> None:
    """Adds late events to a closed hour, as the next version of its spans.

    Earlier versions stay. Later hours whose outcomes belong to the late events get a new version,
    too. If a run has read one of these hours, or one whose labels have changed, the next run reads
    it again.
    """
    from streaming.operation.records import HourRecords
    from streaming.replay import replay as run
    from streaming.tables import HourTables

    settings, number = _settings(config), hour_number(hour)
    tables = HourTables(config) if settings.hour_tables else None
    with exclusive_lock(settings.folder, "ingest"), _spark(config, "streaming replay") as spark:
        replayed = run(spark, number, settings, tables)
    for changed in sorted({number, *replayed.again, *replayed.labelled}):
        HourRecords(settings.folder).request_retry(changed)
    console().print(
        f"{hour_name(number)} now has version {replayed.marker['version']}: "
        f"{_rows_text(replayed.marker)}"
    )
    for hours, what in (
        (replayed.again, "have a new version, since their outcomes belong to the late events"),
        ([h for h in replayed.labelled if h != number], "have new labels by its late outcomes"),
    ):
        if hours:
            console().print(f"{', '.join(map(hour_name, hours))} {what}", soft_wrap=True)


@main.command()
@with_config
@click.option("--hour", help="UTC hour, such as 2024-03-01T05; all failed ones by default.")
def retry(config: PipelineConfig, hour: str | None) -> None:
    """Tries failed hours again: the next run starts with the oldest of them.

    With --hour also an hour that no run has read, since it was closed after later ones had run.
    """
    from streaming.operation.due import overtaken, ready_hours
    from streaming.operation.records import FAILED, RETRY, HourRecords
    from streaming.operation.spans_done import complete_spans

    records = HourRecords(_settings(config).folder)
    known = records.read()
    failed = {h: r for h, r in known.items() if r.state == FAILED}
    if hour is not None:
        wanted = hour_number(hour)
        ready = ready_hours(Layout(_settings(config).folder), config)
        if wanted in overtaken(ready, complete_spans(config), known):
            records.request_retry(wanted)
            console().print(f"hours to be tried again: {hour_name(wanted)}")
            return
        if wanted not in failed:
            there = ", ".join(hour_name(h) for h in failed) or "none"
            raise ComponentError(
                f"--hour: expected an hour whose run has failed ({there}), or that no run has "
                f"read. Received: {hour_name(wanted)}"
            )
        failed = {wanted: failed[wanted]}
    for record in failed.values():
        records.write(dataclasses.replace(record, state=RETRY))
    again = ", ".join(hour_name(h) for h in failed) or "none, since no run has failed"
    console().print(f"hours to be tried again: {again}")


@main.command()
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--html", "as_html", is_flag=True, help="Write the page FOLDER/status.html.")
@click.option("--hours", default=24, show_default=True, help="Number of newest hours to show.")
def status(config: PipelineConfig, as_json: bool, as_html: bool, hours: int) -> None:
    """Shows closed and open hours, late and rejected events, and the runs.

    Also checks by the files on disk that no event is missing. If one is, the output names the
    folder, and the exit code is 1.
    """
    from streaming.operation.overview import overview, write_page
    from streaming.operation.spans_done import complete_spans
    from streaming.operation.status_screen import print_overview
    from streaming.topics import accepted_losses
    from streaming.verify import verify

    settings = _settings(config)
    verified = verify(settings)
    found = overview(config, complete_spans(config))
    found |= dataclasses.asdict(verified) | {"losses": accepted_losses(settings.folder)}
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif as_html:
        page = write_page(settings.folder, found, config.name)
        console().print(f"see {page}", soft_wrap=True)
    else:
        print_overview(console(), found, settings.folder, hours)
    if verified.problems:
        raise SystemExit(1)
