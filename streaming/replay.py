"""Adds late events to a closed hour, as the next version of its spans.

Earlier versions do not change; readers use the newest one (`v{VERSION}` in the path). Outcomes of
later hours may belong to the late events, or no longer be the first of their event. These hours get
a next version, too, since what they left for the features of later hours has changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from base.errors import ComponentError
from features.history_columns import PAST
from pipeline.streaming_sections import Streaming
from streaming.column_names import check_columns
from streaming.hour_events import (
    in_time_folders,
    landed_batches,
    late_folders,
    late_rows,
    replayed_rows,
)
from streaming.hour_rows import HourRows, closed_after
from streaming.indexes import write_indexes
from streaming.landed_columns import Events, read_events
from streaming.layout import LATE, MAKES_AGAIN, Layout, hour_name
from streaming.publishing import Publisher
from streaming.tables import HourTables

_FOR = "made_again_for"  # in markers


@dataclasses.dataclass(frozen=True)
class Replayed:
    """The result of a replay.

    Attributes:
      marker: Newest marker of the hour.
      again: Later hours that have a new version, too.
      labelled: Hours whose events have got a label by late outcomes of the hour.
    """

    marker: dict[str, Any]
    again: list[int]
    labelled: list[int]


def late_batches(manifests: Iterable[Mapping[str, Any]], hour: int) -> list[int]:
    """Returns the batches with late events of an hour."""
    return [
        manifest["batch"]
        for manifest in manifests
        if any((entry["outcome"], entry["hour"]) == (LATE, hour) for entry in manifest["rows"])
    ]


def unfinished(closed: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[int, int]]:
    """Returns the hours that replays have yet to make again -> replayed hour -> its version."""
    found: dict[int, dict[int, int]] = {}
    for hour, marker in closed.items():
        for other in marker.get(MAKES_AGAIN, ()):
            if closed[other].get(_FOR, {}).get(str(hour), 0) < marker["version"]:
                found.setdefault(other, {})[hour] = marker["version"]
    return found


def replay(
    spark: SparkSession,
    hour: int,
    settings: Streaming,
    tables: HourTables | None = None,
) -> Replayed:
    """Makes the next version of an hour, and of the later hours that depend on its late events.

    An hour that has only late events gets its first version from them. A replay that was
    interrupted is finished.

    Args:
      spark: Spark session.
      hour: Hours since 1970.
      settings: Section `streaming` of the config.
      tables: Tables of the application.

    Raises:
      ComponentError: The hour is open, or there is nothing to do.
    """
    check_columns(settings)
    replaying = _Replaying(spark, settings, Layout(settings.folder), tables)
    if replaying.is_due(hour):
        replaying.publish(hour, {})
    again = replaying.finish()
    # A killed ingest may have left hours that the watermark has passed, and that are not closed.
    write_indexes(replaying.layout, replaying.closed, None, settings)
    return Replayed(replaying.closed[hour], again, replaying.labelled)


def make_again(
    spark: SparkSession, settings: Streaming, tables: HourTables | None = None
) -> list[dict[str, Any]]:
    """Makes the hours again that others have changed, and returns their markers.

    An hour that is closed after later ones may have the events of their outcomes.
    """
    replaying = _Replaying(spark, settings, Layout(settings.folder), tables)
    return [replaying.closed[hour] for hour in replaying.finish()]


class _Replaying:
    """The state of a replay."""

    def __init__(
        self,
        spark: SparkSession,
        settings: Streaming,
        layout: Layout,
        tables: HourTables | None,
    ) -> None:
        self._spark, self._settings, self._tables = spark, settings, tables
        self.layout = layout
        self._manifests, self.closed = layout.manifests(), layout.closed_hours()
        self._landed = landed_batches(self._manifests)
        self.labelled: list[int] = []

    def finish(self) -> list[int]:
        """Makes all hours again that have to be, and returns them."""
        again = []
        while waiting := unfinished(self.closed):  # each of them is later than its cause
            other = min(waiting)
            self.publish(other, waiting[other])
            again.append(other)
        return again

    def is_due(self, hour: int) -> bool:
        """Returns whether the hour needs a new version itself.

        Raises:
          ComponentError: The hour is open, or there is nothing to do.
        """
        before = self.closed.get(hour)
        if before is None and self._landed.streams(hour):
            raise ComponentError(
                f"expected a closed hour. Received: {hour_name(hour)}, which is open. It is closed "
                "once the watermark has passed it, or by: python -m streaming ingest --finish"
            )
        late = late_batches(self._manifests, hour)
        if before is None and not late:
            raise ComponentError(
                f"expected an hour with events. Received: {hour_name(hour)}, which has none; for "
                "the hours see: python -m streaming status"
            )
        if before is None or not {*before.get("late_batches", ())}.issuperset(late):
            return True
        past = self.layout.span(PAST, hour, before["version"])
        if self._tables is not None and not past.exists():
            return True  # it was closed before the config asked for what it leaves
        if any(hour in of for of in unfinished(self.closed).values()):
            return False
        raise ComponentError(
            f"expected an hour with late events. Received: {hour_name(hour)}, whose newest version "
            "has all of them; no replay is needed"
        )

    def _new(self, hour: int) -> Sequence[Mapping[str, Any]]:
        """Returns the manifests of batches that the hour's newest version does not contain."""
        done = {*self.closed.get(hour, {}).get("late_batches", ())}
        return [manifest for manifest in self._manifests if manifest["batch"] not in done]

    def _known(self, stream: str, hours: Iterable[int]) -> Events:
        """Returns in-time events of hours, and the late ones that their versions contain."""
        folders = in_time_folders(self.layout, self._landed, self.closed, stream, hours)
        return read_events(self._spark, folders, self._settings, stream)

    def _with_late(self, stream: str, hour: int) -> Events:
        """Returns all events of an hour: the newest version has the earlier late ones."""
        folders = in_time_folders(self.layout, self._landed, self.closed, stream, [hour])
        folders += late_folders(self.layout, self._new(hour), stream, [hour])
        return read_events(self._spark, folders, self._settings, stream)

    def _late_only(self, stream: str, hour: int) -> DataFrame | None:
        folders = late_folders(self.layout, self._new(hour), stream, [hour])
        return read_events(self._spark, folders, self._settings, stream).rows

    def _dependent(self, hour: int) -> set[int]:
        """Returns the later hours that late events of an hour concern, through their outcomes."""
        found = {other for other, of in unfinished(self.closed).items() if hour in of}
        late = {stream: self._late_only(stream, hour) for stream in self._settings.streams}
        rows = HourRows(self._spark, self._settings, self._known)
        return found | rows.dependent(late, closed_after(hour, self.closed, self._settings))

    def publish(self, hour: int, because: Mapping[int, int]) -> None:
        """Publishes the next version of an hour.

        Args:
          hour: Hours since 1970.
          because: Replayed hour -> its version, of which this one is a consequence.
        """
        before = self.closed.get(hour)
        late = late_batches(self._manifests, hour)
        came = late_rows(self._manifests, hour)
        streams = self._streams(before)
        read = {s: self._in_time_rows(before, s) + came[s] for s in streams}
        done = (before or {}).get("late_batches", ())
        reasons = {str(other): version for other, version in because.items()}
        facts = {
            "watermark_ms": self.layout.watermark_ms(),
            "late_batches": sorted({*late, *done}),
            "late_rows": sum(came.values()),
            MAKES_AGAIN: sorted(self._dependent(hour)),
            _FOR: {**(before or {}).get(_FOR, {}), **reasons},
        }
        rows = HourRows(self._spark, self._settings, self._of(hour))
        events = {stream: rows.unique(stream, [hour]) for stream in streams}
        unfit = (
            {s: one["unfit"] for s, one in before["streams"].items()} if before is not None else {}
        )
        publisher = Publisher(rows, self.layout, self._tables)
        version = before["version"] + 1 if before is not None else 1
        self.labelled = sorted({*self.labelled, *self._labelled(hour)})
        self.closed[hour] = publisher.publish(hour, version, events, read, facts, unfit)

    def _streams(self, before: Mapping[str, Any] | None) -> list[str]:
        gone = {*(before or {"streams": {}})["streams"]} - {*self._settings.streams}
        if gone:
            raise ComponentError(
                f"streaming.streams: the hour has events of '{min(gone)}', but there is no such "
                "stream; declare it for the replay, since a version has all events of an hour"
            )
        return [*self._settings.streams]

    def _of(self, hour: int) -> Any:
        def known(stream: str, hours: Iterable[int]) -> Events:
            wanted = [*hours]
            if hour in wanted:
                return self._with_late(stream, hour)
            return self._known(stream, wanted)

        return known

    def _labelled(self, hour: int) -> Iterator[int]:
        """Yields the hours of events that late outcomes of an hour belong to."""
        late = {stream: self._late_only(stream, hour) for stream in self._settings.outcomes}
        rows = HourRows(self._spark, self._settings, self._known)
        own = {**dict.fromkeys(self._settings.streams), **late}
        for stream in {outcome.of for outcome in self._settings.outcomes.values()}:
            own[stream] = self._with_late(stream, hour).rows
        for hours in rows.verdicts(hour, own).hours.values():
            yield from hours

    def _in_time_rows(self, marker: dict[str, Any] | None, stream: str) -> int:
        """Returns the number of in-time events in the first version of an hour."""
        if marker is None:
            return 0
        first = self.layout.first_marker(marker)
        landed = first["streams"].get(stream, {"landed": 0})["landed"]
        return int(landed) - replayed_rows(self._manifests, first)[stream]
