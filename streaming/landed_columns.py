"""Reads landed events with the currently declared columns.

Each batch lands with the columns declared at the time. If the config changes while an hour is open,
the hour has files of several schemas. Each is read with its own and cast to the declared types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import reduce
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql import types as T  # noqa: N812

import base.arrow  # noqa: F401
from base.errors import ComponentError
from pipeline.streaming_sections import Streaming
from spark_io.connectors.json_lines import parse_json
from spark_io.examples.rows import WHOLE_VALUES
from spark_io.sources.column_names import LINE, REASON, RECORD, quoted
from streaming.column_names import BEFORE, found_in
from streaming.tables import read_parquet

TYPE_CHANGED = "type_changed"
MISSING_ID, MISSING_TIME = "missing_id", "missing_time"
_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclasses.dataclass(frozen=True)
class Events:
    """Events of one stream.

    Attributes:
      rows: Declared columns of the events; None if there are no events.
      unfit: REASON and RECORD of events whose values do not fit the declared types; None if every
        landed schema fits.
    """

    rows: DataFrame | None = None
    unfit: DataFrame | None = None


def read_events(
    spark: SparkSession, folders: Iterable[Path], settings: Streaming, stream: str
) -> Events:
    """Returns the events of folders of Parquet files that may have different schemas.

    Args:
      spark: Spark session.
      folders: Folders of one stream, of batches or spans.
      settings: Section `streaming` of the config.
      stream: Stream of the events.

    Raises:
      ComponentError: A folder is gone.
    """
    by_schema: dict[str, list[Path]] = {}
    for folder in folders:
        by_schema.setdefault(_schema(folder), []).append(folder)
    found = [
        _declared_columns(read_parquet(spark, *alike), settings, stream)
        for alike in by_schema.values()
    ]
    return Events(_together([one.rows for one in found]), _together([one.unfit for one in found]))


def _together(frames: list[DataFrame | None]) -> DataFrame | None:
    there = [frame for frame in frames if frame is not None]
    return reduce(DataFrame.unionByName, there) if there else None


def _schema(folder: Path) -> str:
    """Returns the schema of a folder; all its files come from one write."""
    part = next(folder.glob("*.parquet"), None)
    if part is None:
        raise ComponentError(
            f"{folder} is gone or empty, but according to the manifests events have landed there; "
            "restore it, then start again"
        )
    return str(pq.read_schema(part).remove_metadata())


def _declared_columns(landed: DataFrame, settings: Streaming, stream: str) -> Events:
    events = settings.streams[stream]
    there = {field.name.lower(): field for field in landed.schema.fields}
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in events.columns.items())
    wanted = landed.sparkSession.createDataFrame([], columns).schema
    values, misfits, by_json = list[Column](), list[Column](), dict[str, str]()
    for field in wanted.fields:
        name = found_in(there, stream, field.name)
        if name is None:
            values.append(F.lit(None).cast(field.dataType).alias(field.name))
            continue
        kind, value = there[name].dataType, F.col(quoted(there[name].name))
        if kind.simpleString() == field.dataType.simpleString():
            values.append(value.alias(field.name))
        elif _is_plain(kind) and _is_plain(field.dataType):
            cast = F.expr(f"try_cast({quoted(name)} as {field.dataType.simpleString()})")
            values.append(cast.alias(field.name))
            misfits.append(value.isNotNull() & ~_fits(value, cast, kind, field.dataType))
        else:
            values.append(value.alias(field.name))
            by_json[field.name] = events.columns[field.name]
    rows = landed.select(*values, _reason(misfits).alias(REASON), _record(landed).alias(RECORD))
    if by_json:
        rows = _read_again(rows, by_json)
    keys_there = all(found_in(there, stream, key) for key in (events.id, events.time))
    if keys_there and not misfits and not by_json:
        return Events(_select(rows, events.columns))
    reason = F.coalesce(
        F.col(REASON),
        F.when(F.col(quoted(events.id)).isNull(), MISSING_ID),
        F.when(F.col(quoted(events.time)).isNull(), MISSING_TIME),
    )
    judged = rows.withColumn(REASON, reason)
    return Events(
        _select(judged.where(F.col(REASON).isNull()), events.columns),
        judged.where(F.col(REASON).isNotNull()).select(REASON, RECORD),
    )


def _select(rows: DataFrame, columns: Iterable[str]) -> DataFrame:
    return rows.select(*[F.col(quoted(name)) for name in columns])


def _reason(misfits: list[Column]) -> Column:
    null = F.lit(None).cast("string")
    return F.when(reduce(lambda a, b: a | b, misfits), TYPE_CHANGED) if misfits else null


def _record(landed: DataFrame) -> Column:
    """Returns an event as JSON, with the columns it landed with."""
    names = [name for name in landed.columns if name not in (REASON, RECORD)]
    return F.to_json(F.struct(*[F.col(quoted(name)) for name in names]))


def _is_plain(kind: T.DataType) -> bool:
    return isinstance(kind, (T.NumericType, T.BooleanType, T.StringType))


def _fits(value: Column, cast: Column, kind: T.DataType, wanted: T.DataType) -> Column:
    """Returns whether a value keeps its meaning in another type, as parsing its line would."""
    if isinstance(wanted, T.StringType):
        return F.lit(True)
    if isinstance(kind, T.StringType):
        pattern = _WHOLE if isinstance(wanted, T.IntegralType) else _NUMBER
        pattern = "^(true|false)$" if isinstance(wanted, T.BooleanType) else pattern
        return cast.isNotNull() & value.rlike(pattern)
    if isinstance(kind, T.BooleanType) or isinstance(wanted, T.BooleanType):
        return F.lit(False)
    if isinstance(wanted, (T.FloatType, T.DoubleType)):
        return cast.isNotNull()
    return cast.isNotNull() & (cast == value)


def _read_again(rows: DataFrame, columns: dict[str, str]) -> DataFrame:
    """Parses columns of nested types and times again, through JSON."""
    again = F.to_json(F.struct(*[F.col(quoted(name)) for name in columns]), WHOLE_VALUES)
    others = [F.col(quoted(n)) for n in rows.columns if n not in (*columns, REASON, RECORD)]
    judged = F.struct(REASON, RECORD).alias(BEFORE)
    parsed = parse_json(rows.select(*others, judged, again.alias(LINE)), columns, {})
    changed = F.when(F.col(REASON).isNotNull(), TYPE_CHANGED)
    return parsed.withColumns(
        {
            REASON: F.coalesce(F.col(f"{BEFORE}.{REASON}"), changed),
            RECORD: F.col(f"{BEFORE}.{RECORD}"),
        }
    )
