"""Finds spans by time and computes checksums, for databases and Spark's tables."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from base.errors import ComponentError
from spark_io.connectors.connector import InputLocation, SourceInput
from spark_io.examples.rows import WHOLE_VALUES
from spark_io.sources.column_names import quoted
from spark_io.sources.source_types import QuerySource
from spark_io.sources.spans import (
    HOUR_US,
    SpanRange,
    describe_period,
    newest_complete_span,
    present_spans,
)

RunQuery = Callable[[str], DataFrame]
_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_EPOCH = dt.datetime(1970, 1, 1)


def find_query(
    name: str,
    source: QuerySource,
    wanted: SpanRange,
    place: InputLocation,
    run_query: RunQuery,
    read_rows: RunQuery,
) -> SourceInput:
    """Finds the spans of a query that have rows, and the checksum of its contents.

    Args:
      name: Name of the source.
      source: Declaration of the source.
      wanted: Requested spans.
      place: Place to look.
      run_query: Function that runs a query about the source.
      read_rows: Function that runs the query for the source's rows, as they will be read.

    Raises:
      ComponentError: A required span has no rows, or the newest span is unknown.
    """
    if not source.span:
        found = SourceInput((0,), None, None, {}, has_spans=False)
    else:
        hourly = source.span == "hour"
        period = HOUR_US if hourly else 24 * HOUR_US
        last = wanted.last
        if last is None:
            last = newest_complete_span(_newest_us(name, source, run_query), period, name)
        around = source.around
        first, behind = last - wanted.length + 1, last + 1 + around.after
        rows = _rows_by_span(source, range(first, behind), period, run_query)
        spans = present_spans(
            rows,
            SpanRange(wanted.length, last),
            name,
            lambda span: describe_period(span, hourly),
            around,
            lambda: _complete_to(name, source, period, run_query),
        )
        window = {"begin_us": first * period, "end_us": behind * period}
        complete = source.complete_ms(last, spans, None)
        found = SourceInput(tuple(spans), None, hourly, window, complete_ms=complete)
    checksum = _checksum(
        source, found, place.decided.get(name, {}), place.checksums, run_query, read_rows
    )
    return found.with_facts(checksum=checksum) if checksum else found


def statement(source: QuerySource, facts: dict[str, Any]) -> str:
    """Returns the SELECT statement for the window that was found."""
    if source.query:
        query = source.query.strip().removesuffix(";")
        return bound(source, query, facts.get("begin_us"), facts.get("end_us"))
    if not source.span:
        return f"SELECT * FROM {source.table}"  # noqa: S608 - the table is from the config
    where = f"{source.span_column} >= :span_begin AND {source.span_column} < :span_end"
    query = f"SELECT * FROM {source.table} WHERE {where}"  # noqa: S608
    return bound(source, query, facts["begin_us"], facts["end_us"])


def bound(source: QuerySource, query: str, begin_us: int | None, end_us: int | None) -> str:
    """Inserts the window's bounds into a query as typed literals.

    Spark's JDBC reader has no bind variables. The literals are made from whole numbers only.
    """
    if begin_us is None or end_us is None:
        return query
    query = re.sub(r":span_begin\b", literal(begin_us, source.span_type), query)
    return re.sub(r":span_end\b", literal(end_us, source.span_type), query)


def literal(time_us: int, span_type: str) -> str:
    """Returns a timestamp (microseconds since 1970 UTC) as an SQL literal."""
    if span_type in _UNITS:
        return str(time_us // _UNITS[span_type])
    time = _EPOCH + dt.timedelta(microseconds=time_us)
    return f"DATE '{time:%F}'" if span_type == "date" else f"TIMESTAMP '{time:%F %T}'"


def contents_checksum(frame: DataFrame) -> str:
    """Returns a checksum of names, types and values that ignores the order of rows.

    A row is hashed as JSON with its nulls. Spark's hash of several columns skips nulls and flattens
    arrays, so different rows could have the same hash.
    """
    row = F.to_json(F.struct(*[F.col(quoted(column)) for column in frame.columns]), WHOLE_VALUES)
    hashed = F.xxhash64(row).cast("decimal(20,0)")
    answer = frame.agg(F.count(F.lit(1)), F.coalesce(F.sum(hashed), F.lit(0))).first()
    assert answer is not None
    schema = hashlib.sha256(frame.schema.json().encode()).hexdigest()[:16]
    return f"rows:{answer[0]},xxhash64:{answer[1]},schema:{schema}"


def _checksum(
    source: QuerySource,
    found: SourceInput,
    decided: dict[str, Any],
    now: bool,
    run_query: RunQuery,
    read_rows: RunQuery,
) -> str | None:
    if source.fingerprint == "never":
        return decided.get("checksum") or f"run:{uuid.uuid4()}"
    if source.fingerprint != "contents":
        query = bound(
            source, source.fingerprint, found.facts.get("begin_us"), found.facts.get("end_us")
        )
        answer = [[str(value) for value in row] for row in run_query(query).collect()]
        return f"answer:{json.dumps(answer)}"
    return contents_checksum(read_rows(statement(source, found.facts))) if now else None


def _newest_us(name: str, source: QuerySource, run_query: RunQuery) -> int | None:
    query = source.newest
    if source.table:
        query = f"SELECT MAX({source.span_column}) AS newest FROM {source.table}"  # noqa: S608
    if not query:
        raise ComponentError(
            f"source '{name}': the newest span of a query is unknown; choose one (--span N), or "
            "set `newest` to a query for the newest time"
        )
    frame = run_query(query)
    column = F.col(quoted(frame.columns[0]))
    if source.span_type in _UNITS:
        newest = column.cast("long") * _UNITS[source.span_type]
    else:
        newest = F.unix_micros(column.cast("timestamp"))
    answer = frame.select(newest).first()
    return None if answer is None else answer[0]


def _complete_to(name: str, source: QuerySource, period: int, run_query: RunQuery) -> int | None:
    """Returns the last span with newer rows after it; None if there is no row or no `newest`."""
    if not source.table and not source.newest:
        return None
    newest = _newest_us(name, source, run_query)
    return None if newest is None else newest_complete_span(newest, period, name)


def _rows_by_span(
    source: QuerySource, spans: range, period: int, run_query: RunQuery
) -> dict[int, int]:
    """Counts the rows of each span in one query; spans without rows are left out."""
    parts = []
    for span in spans:
        window = {"begin_us": span * period, "end_us": (span + 1) * period}
        rows = f"({statement(source, window)}) span_{span}"
        parts.append(f"SELECT {span} AS span, COUNT(*) AS n FROM {rows}")  # noqa: S608
    counted = run_query(" UNION ALL ".join(parts)).collect()
    return {int(row[0]): int(row[1]) for row in counted if row[1]}
