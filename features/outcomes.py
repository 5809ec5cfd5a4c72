"""Joins events with their outcomes: the first in time counts, and every other one has a verdict.

`Outcome` (spark_io/sources/outcomes.py) says which events an outcome belongs to, and how much later
it may come.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from spark_io.sources.column_names import quoted
from spark_io.sources.outcomes import Outcome

# What becomes of an outcome.
COUNTED, AGAIN = "counted", "again"  # the first one of its event, and a further one
TOO_LATE, TOO_EARLY, WITHOUT_EVENT = "too late", "too early", "without event"
VERDICTS = (COUNTED, AGAIN, TOO_LATE, TOO_EARLY, WITHOUT_EVENT)
VERDICT, EVENT_MS = "_verdict", "_event_ms"
_EVENT, _AT, _FIRST, _ORDER = "_event", "_at", "_first", "_order"


def first_of_each(events: DataFrame, identity: str, time: str) -> tuple[DataFrame, DataFrame]:
    """Returns the first row of each id, and the repeated rows. A hash breaks ties in time."""
    order = Window.partitionBy(quoted(identity)).orderBy(quoted(time), _tie_break(events))
    numbered = events.withColumn("_number", F.row_number().over(order))
    first = numbered.where(F.col("_number") == 1).drop("_number")
    return first, numbered.where(F.col("_number") > 1).drop("_number")


def with_first_outcome(
    events: DataFrame,
    outcomes: DataFrame,
    declared: Outcome,
    *,
    identity: str,
    time: str,
    outcome_time: str,
    columns: Mapping[str, str],
) -> DataFrame:
    """Adds columns of the first outcome of each event; null if it had none in its time.

    Args:
      events: Events, each id once.
      outcomes: Outcomes with the column `declared.by`.
      declared: Which events the outcomes belong to, and within which time.
      identity: Column of the events with their id.
      time: Column of the events with their time, in epoch milliseconds.
      outcome_time: Column of the outcomes with their time, in epoch milliseconds.
      columns: Column of the outcomes -> the new column.
    """
    known = outcomes.select(
        F.col(quoted(declared.by)).alias(_EVENT),
        F.struct(
            F.col(quoted(outcome_time)).cast("long").alias(_AT),
            _tie_break(outcomes).alias(_ORDER),
            *[F.col(quoted(old)).alias(new) for old, new in columns.items()],
        ).alias(_FIRST),
    )
    asked = events.select(F.col(quoted(identity)).alias(_EVENT), _ms(time).alias(EVENT_MS))
    delay = F.col(f"{_FIRST}.{_AT}") - F.col(EVENT_MS)
    first = (
        known.join(asked, _EVENT)
        .where(delay.between(0, declared.within_ms))
        .groupBy(_EVENT)
        .agg(F.min(_FIRST).alias(_FIRST))
    )
    joined = events.join(first, F.col(quoted(identity)) == F.col(_EVENT), "left")
    added = {new: F.col(f"{_FIRST}.{quoted(new)}") for new in columns.values()}
    return joined.withColumns(added).drop(_EVENT, _FIRST)


def judged(
    outcomes: DataFrame,
    events: DataFrame,
    declared: Outcome,
    *,
    identity: str,
    time: str,
    outcome_time: str,
) -> DataFrame:
    """Adds VERDICT, one of VERDICTS, and EVENT_MS, the time of the event (null without one).

    If the events have an id more than once, its first row is the event.

    Args:
      outcomes: Outcomes with the column `declared.by`.
      events: Events with the columns `identity` and `time`.
      declared: Which events the outcomes belong to, and within which time.
      identity: Column of the events with their id.
      time: Column of the events with their time, in epoch milliseconds.
      outcome_time: Column of the outcomes with their time, in epoch milliseconds.
    """
    asked = (
        events.select(F.col(quoted(identity)).alias(_EVENT), _ms(time).alias(EVENT_MS))
        .groupBy(_EVENT)
        .agg(F.min(EVENT_MS).alias(EVENT_MS))
    )
    by = F.col(quoted(declared.by))
    joined = outcomes.join(asked, by == F.col(_EVENT), "left").drop(_EVENT)
    delay = _ms(outcome_time) - F.col(EVENT_MS)
    fits = F.coalesce(delay.between(0, declared.within_ms), F.lit(False))
    # Only those in time compete for the first place.
    order = Window.partitionBy(by, fits).orderBy(_ms(outcome_time), _tie_break(outcomes))
    verdict = (
        F.when(F.col(EVENT_MS).isNull(), WITHOUT_EVENT)
        .when(delay < 0, TOO_EARLY)
        .when(delay > declared.within_ms, TOO_LATE)
        .when(F.row_number().over(order) == 1, COUNTED)
        .otherwise(AGAIN)
    )
    return joined.withColumn(VERDICT, verdict)


def _ms(time: str) -> Column:
    return F.col(quoted(time)).cast("long")


def _tie_break(rows: DataFrame) -> Column:
    return F.xxhash64(*[F.col(quoted(name)) for name in sorted(rows.columns)])
