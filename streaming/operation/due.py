"""Chooses the hours of the next run by what is closed, what is done, and what failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from base.durations import HOUR_MS
from pipeline.config import PipelineConfig
from spark_io.sources.outcomes import Outcome
from streaming.hour_events import rows_of
from streaming.indexes import complete_ms
from streaming.layout import Layout
from streaming.operation.records import COMPLETE, FAILED, RETRY, HourRecord


@dataclasses.dataclass(frozen=True)
class DueRun:
    """A run to start.

    Attributes:
      first, last: First and last hour that the run reads. The run's span is the last one.
    """

    first: int
    last: int

    @property
    def window(self) -> int:
        return self.last - self.first + 1


def labels_of(config: PipelineConfig) -> dict[str, Outcome]:
    """Returns the streams of outcomes that the pipeline reads -> what they are outcomes of."""
    assert config.streaming is not None
    return {
        name: source.outcome
        for name, source in config.sources.items()
        if name in config.streaming.streams and source.outcome is not None
    }


def ready_hours(layout: Layout, config: PipelineConfig) -> set[int]:
    """Returns the closed hours with events whose labels are complete, as far as the config asks.

    Args:
      layout: Paths below the streaming folder.
      config: Config with a section `streaming`.
    """
    assert config.streaming is not None
    primary = next(iter(config.sources))
    events = primary if primary in config.streaming.streams else config.streaming.events
    last = None
    for table, outcome in labels_of(config).items():
        complete = complete_ms(layout, table)
        labelled = -1 if complete is None else (complete - outcome.waits_ms) // HOUR_MS - 1
        last = labelled if last is None else min(last, labelled)
    return {
        hour
        for hour, marker in layout.closed_hours().items()
        if rows_of(marker, events) and (last is None or hour <= last)
    }


def waiting(
    closed: Collection[int], done: Collection[int], records: Mapping[int, HourRecord]
) -> list[int]:
    """Returns the closed hours without a run, oldest first.

    Args:
      closed: Closed hours with events and labels.
      done: Spans with a complete run in ML Metadata.
      records: Hour -> record of its run.
    """
    newest = max(done, default=None)
    failed = {hour for hour, record in records.items() if record.state in (FAILED, RETRY)}
    return [
        hour
        for hour in sorted(closed)
        if (newest is None or hour > newest) and hour not in failed and hour not in done
    ]


def overtaken(
    closed: Collection[int], done: Collection[int], records: Mapping[int, HourRecord]
) -> list[int]:
    """Returns the hours that no run has read, although one has read later hours, oldest first.

    Their events came so late that the hour was closed after the run of a later one. A model of old
    data must not replace a newer one, so they wait until a person asks for them.

    Args:
      closed: Closed hours with events and labels.
      done: Spans with a complete run in ML Metadata.
      records: Hour -> record of its run.
    """
    read = [(one.first, one.hour) for one in records.values() if one.state == COMPLETE]
    if not read or not done:
        return []
    begin, newest = min(first for first, _ in read), max(done)
    return [
        hour
        for hour in sorted(closed)
        if begin < hour < newest
        and hour not in done
        and hour not in records
        and not any(first <= hour <= last for first, last in read)
    ]


def next_run(
    closed: Collection[int],
    done: Collection[int],
    records: Mapping[int, HourRecord],
    first_window: int,
) -> DueRun | None:
    """Returns the next run, which reads one new hour; None if no run is due.

    The first run of all reads a window, so that the first model is useful. An hour to be retried is
    read together with all later hours, because a model of old data alone would replace a newer one.

    Args:
      closed: Closed hours with events.
      done: Spans with a complete run in ML Metadata.
      records: Hour -> record of its run.
      first_window: Maximum number of hours that the first run reads.
    """
    hours = waiting(closed, done, records)
    again = [hour for hour, record in records.items() if record.state == RETRY]
    if not done and hours:
        some = hours[:first_window]
        return DueRun(min(some + again), some[-1])
    if hours:
        return DueRun(min([hours[0], *again]), hours[0])
    if again:
        return DueRun(min(again), max([*again, *done]))
    return None
