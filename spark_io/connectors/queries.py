"""What databases and Spark's tables have in common: spans by time, and checksums of contents."""

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

Ask = Callable[[str], DataFrame]  # runs a query
_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_EPOCH = dt.datetime(1970, 1, 1)


def find_query(
    name: str, source: QuerySource, wanted: SpanRange, place: InputLocation, ask: Ask, rows_of: Ask
) -> SourceInput:
    """The spans of a query that have rows, and what stands for its contents.

    Args:
      name: Name of the source.
      source: The source.
      wanted: The spans asked for.
      place: Where to look.
      ask: Runs a query about the source.
      rows_of: Runs the query for the source's rows, as they will be read.

    Raises:
      ComponentError: no rows in a span that must have some, or no way to tell the newest span.
    """
    if not source.span:
        found = SourceInput((0,), None, None, {}, has_spans=False)
    else:
        hourly = source.span == "hour"
        period = HOUR_US if hourly else 24 * HOUR_US
        last = wanted.last
        if last is None:
            last = newest_complete_span(_newest_us(name, source, ask), period, name)
        first, behind = last - wanted.length + 1, last + 1 + source.spans_after
        rows = _rows_by_span(source, range(first, behind), period, ask)
        spans = present_spans(
            rows,
            SpanRange(wanted.length, last),
            name,
            lambda span: describe_period(span, hourly),
            source.spans_after,
            source.missing_spans,
            lambda: _complete_to(name, source, period, ask),
        )
        window = {"begin_us": first * period, "end_us": behind * period}
        found = SourceInput(tuple(spans), None, hourly, window)
    checksum = _checksum(source, found, place.decided.get(name, {}), place.checksums, ask, rows_of)
    return found.with_facts(checksum=checksum) if checksum else found


def statement(source: QuerySource, facts: dict[str, Any]) -> str:
    """The SELECT for what was found."""
    if source.query:
        query = source.query.strip().removesuffix(";")
        return bound(source, query, facts.get("begin_us"), facts.get("end_us"))
    if not source.span:
        return f"SELECT * FROM {source.table}"  # noqa: S608 - the table is the config's
    where = f"{source.span_column} >= :span_begin AND {source.span_column} < :span_end"
    query = f"SELECT * FROM {source.table} WHERE {where}"  # noqa: S608
    return bound(source, query, facts["begin_us"], facts["end_us"])


def bound(source: QuerySource, query: str, begin_us: int | None, end_us: int | None) -> str:
    """Puts the window's bounds in, as typed literals made from whole numbers.

    Spark's JDBC reader knows no bind variables; nothing but our own numbers is put in here.
    """
    if begin_us is None or end_us is None:
        return query
    query = re.sub(r":span_begin\b", literal(begin_us, source.span_type), query)
    return re.sub(r":span_end\b", literal(end_us, source.span_type), query)


def literal(time_us: int, span_type: str) -> str:
    """A moment (microseconds since 1970 UTC) as SQL."""
    if span_type in _UNITS:
        return str(time_us // _UNITS[span_type])
    moment = _EPOCH + dt.timedelta(microseconds=time_us)
    return f"DATE '{moment:%F}'" if span_type == "date" else f"TIMESTAMP '{moment:%F %T}'"


def contents_checksum(frame: DataFrame) -> str:
    """A checksum of names, types and values that does not depend on the order of rows.

    A row is hashed as JSON, with its nulls: hashing values side by side could not tell them apart
    from their neighbours' (a null is skipped, an array is its elements).
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
    ask: Ask,
    rows_of: Ask,
) -> str | None:
    if source.fingerprint == "never":
        return decided.get("checksum") or f"run:{uuid.uuid4()}"
    if source.fingerprint != "contents":
        query = bound(
            source, source.fingerprint, found.facts.get("begin_us"), found.facts.get("end_us")
        )
        answer = [[str(value) for value in row] for row in ask(query).collect()]
        return f"answer:{json.dumps(answer)}"
    return contents_checksum(rows_of(statement(source, found.facts))) if now else None


def _newest_us(name: str, source: QuerySource, ask: Ask) -> int | None:
    query = source.newest
    if source.table:
        query = f"SELECT MAX({source.span_column}) AS newest FROM {source.table}"  # noqa: S608
    if not query:
        raise ComponentError(
            f"source '{name}': which span is the newest cannot be seen from a query; name one "
            "(--span N), or give the source `newest`, a query for the newest time"
        )
    frame = ask(query)
    column = F.col(quoted(frame.columns[0]))
    if source.span_type in _UNITS:
        newest = column.cast("long") * _UNITS[source.span_type]
    else:
        newest = F.unix_micros(column.cast("timestamp"))
    answer = frame.select(newest).first()
    return None if answer is None else answer[0]


def _complete_to(name: str, source: QuerySource, period: int, ask: Ask) -> int | None:
    """The last span that something newer follows; None where nothing is or that cannot be seen."""
    if not source.table and not source.newest:
        return None
    newest = _newest_us(name, source, ask)
    return None if newest is None else newest_complete_span(newest, period, name)


def _rows_by_span(source: QuerySource, spans: range, period: int, ask: Ask) -> dict[int, int]:
    """Span -> rows, for those that have some; one query for all."""
    parts = []
    for span in spans:
        window = {"begin_us": span * period, "end_us": (span + 1) * period}
        rows = f"({statement(source, window)}) span_{span}"
        parts.append(f"SELECT {span} AS span, COUNT(*) AS n FROM {rows}")  # noqa: S608
    counted = ask(" UNION ALL ".join(parts)).collect()
    return {int(row[0]): int(row[1]) for row in counted if row[1]}
