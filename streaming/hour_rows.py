"""The events of an hour, what became of its outcomes, and the events of other hours they lead to.

Outcomes lie in the hour in which they happened, whenever their events did. So an hour never changes
because of what happens later.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.durations import HOUR_MS
from features.outcomes import AGAIN, COUNTED, EVENT_MS, VERDICT, VERDICTS, first_of_each, judged
from pipeline.streaming_sections import Streaming
from spark_io.sources.column_names import quoted
from spark_io.sources.outcomes import Outcome
from streaming.hour_events import rows_of
from streaming.landed_columns import Events

_FEW = 2  # hours
ReadHours = Callable[[str, Iterable[int]], Events]


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """The verdicts on the outcomes of an hour.

    Attributes:
      counts: Stream of outcomes -> verdict -> number; all verdicts of features/outcomes.py.
      hours: Stream of events -> hours of the events that the outcomes belong to.
    """

    counts: dict[str, dict[str, int]]
    hours: dict[str, set[int]]


@dataclasses.dataclass(frozen=True)
class HourRows:
    """Reads the events of hours.

    Attributes:
      spark: Spark session.
      settings: Section `streaming` of the config.
      known: Function (stream, hours) -> the events of these hours.
    """

    spark: SparkSession
    settings: Streaming
    known: ReadHours

    def unique(self, stream: str, hours: Iterable[int]) -> Events:
        """Returns the events of hours, the first of each id in an hour."""
        found = self.known(stream, hours)
        if found.rows is None:
            return found
        events, hour = self.settings.streams[stream], "_hour"
        at = F.floor(F.col(quoted(events.time)) / HOUR_MS)
        by_hour = found.rows.withColumn(hour, F.concat_ws(":", at, F.col(quoted(events.id))))
        return Events(first_of_each(by_hour, hour, events.time)[0].drop(hour), found.unfit)

    def frame(self, stream: str, rows: Iterable[DataFrame | None]) -> DataFrame:
        """Returns all rows of a stream; an empty frame with its columns if there are none."""
        there = [one for one in rows if one is not None]
        if there:
            return reduce(DataFrame.unionByName, there)
        columns = self.settings.streams[stream].columns
        ddl = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
        return self.spark.createDataFrame([], ddl)

    def verdicts(self, hour: int, own: Mapping[str, DataFrame | None]) -> Verdicts:
        """Judges the outcomes of an hour.

        Args:
          hour: Hours since 1970.
          own: Stream -> the hour's unique events; None without any.
        """
        counts, hours = {}, dict[str, set[int]]()
        for stream, outcome in self.settings.outcomes.items():
            rows = own.get(stream)
            found = Counter[str]()
            if rows is not None:
                for verdict, at, number in self._judged(hour, stream, outcome, rows, own):
                    found[verdict] += number
                    if verdict in (COUNTED, AGAIN):
                        hours.setdefault(outcome.of, set()).add(at)
            counts[stream] = {verdict: found[verdict] for verdict in VERDICTS}
        return Verdicts(counts, hours)

    def leads_to(self, hour: int, own: Mapping[str, DataFrame | None]) -> dict[str, set[int]]:
        """Returns the hours of `verdicts`, perhaps with hours that no outcome leads to.

        To read a few hours is faster than to find out which of them are needed.
        """
        outcomes = self.settings.outcomes.values()
        if max(map(_hours, outcomes), default=0) > _FEW:
            return self.verdicts(hour, own).hours
        found: dict[str, set[int]] = {}
        for outcome in outcomes:
            found.setdefault(outcome.of, set()).update(range(hour - _hours(outcome), hour))
        return found

    def _judged(
        self,
        hour: int,
        stream: str,
        outcome: Outcome,
        rows: DataFrame,
        own: Mapping[str, DataFrame | None],
    ) -> list[tuple[str, int, int]]:
        """Returns rows of a verdict, the hour of the events (-1 without), and a number."""
        declared, events = self.settings.streams[stream], self.settings.streams[outcome.of]
        before = range(hour - _hours(outcome), hour)
        earlier = [self._earlier(stream, outcome, before, rows)]
        of = [own.get(outcome.of), self.unique(outcome.of, before).rows]
        result = judged(
            self.frame(stream, [rows, *earlier]),
            self.frame(outcome.of, of),
            outcome,
            identity=events.id,
            time=events.time,
            outcome_time=declared.time,
        )
        at = F.coalesce(F.floor(F.col(EVENT_MS) / HOUR_MS), F.lit(-1)).alias("at")
        here = F.floor(F.col(quoted(declared.time)) / HOUR_MS) == hour
        counted = result.where(here).groupBy(VERDICT, at).agg(F.count(F.lit(1)).alias("n"))
        return [(row[VERDICT], int(row["at"]), row["n"]) for row in counted.collect()]

    def _earlier(
        self, stream: str, outcome: Outcome, hours: Iterable[int], rows: DataFrame
    ) -> DataFrame | None:
        """Returns the outcomes of hours that belong to the events of these rows."""
        earlier = self.unique(stream, hours).rows
        if earlier is None:
            return None
        return earlier.join(rows.select(quoted(outcome.by)).distinct(), outcome.by, "left_semi")

    def dependent(
        self, new: Mapping[str, DataFrame | None], closed: Mapping[str, Iterable[int]]
    ) -> set[int]:
        """Returns the closed hours whose outcomes have other verdicts by new events.

        These are hours with outcomes of new events, and with outcomes of the same events as new
        outcomes, since another one may now be the first.

        Args:
          new: Stream -> its new events of an earlier hour; None without any.
          closed: Stream of outcomes -> closed hours that may be concerned.
        """
        found: set[int] = set()
        for stream, outcome in self.settings.outcomes.items():
            hours, declared = [*closed.get(stream, ())], self.settings.streams[stream]
            identity = self.settings.streams[outcome.of].id
            ids = [
                frame.select(F.col(quoted(column)).alias(outcome.by))
                for frame, column in (
                    (new.get(outcome.of), identity),
                    (new.get(stream), outcome.by),
                )
                if frame is not None
            ]
            outcomes = self.known(stream, hours).rows if hours and ids else None
            if outcomes is None:
                continue
            concerned = outcomes.join(reduce(DataFrame.unionByName, ids), outcome.by, "left_semi")
            at = F.floor(F.col(quoted(declared.time)) / HOUR_MS).alias("at")
            found |= {int(row["at"]) for row in concerned.select(at).distinct().collect()}
        return found

    def inputs(
        self, hour: int, own: Mapping[str, DataFrame | None], hours: Mapping[str, set[int]]
    ) -> dict[str, DataFrame]:
        """Returns what an application needs to know what happened in an hour.

        Args:
          hour: Hours since 1970.
          own: Stream -> the hour's unique events; None without any.
          hours: Stream of events -> hours of events that the hour's outcomes belong to.

        Returns:
          Stream -> the hour's events; besides, the whole hours whose events its outcomes belong to,
          and earlier outcomes of these events.
        """
        found = {}
        for stream in self.settings.streams:
            rows, outcome = own.get(stream), self.settings.outcomes.get(stream)
            others: DataFrame | None = None
            if outcome is None:
                others = self.unique(stream, sorted(hours.get(stream, set()) - {hour})).rows
            elif rows is not None:
                before = range(hour - _hours(outcome), hour)
                others = self._earlier(stream, outcome, before, rows)
            found[stream] = self.frame(stream, [rows, others])
        return found


def _hours(outcome: Outcome) -> int:
    """Returns how many hours before its own an outcome's event may lie."""
    return -(-outcome.within_ms // HOUR_MS)


def closed_after(
    hour: int, closed: Mapping[int, Mapping[str, Any]], settings: Streaming
) -> dict[str, list[int]]:
    """Returns stream of outcomes -> closed hours that may have outcomes of an hour's events.

    Args:
      hour: Hours since 1970.
      closed: Hour -> its newest marker.
      settings: Section `streaming` of the config.
    """
    return {
        stream: [
            other
            for other in hours_after(hour, outcome)
            if other in closed and rows_of(closed[other], stream)
        ]
        for stream, outcome in settings.outcomes.items()
    }


def hours_after(hour: int, outcome: Outcome) -> range:
    """Returns the hours after an event's hour in which its outcomes may lie."""
    return range(hour + 1, hour + 1 + _hours(outcome))
