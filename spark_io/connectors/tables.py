"""The connector for tables and views of Spark's catalog, and queries over them."""

from __future__ import annotations

from pyspark.sql import SparkSession

from spark_io.connectors.connector import ConnectorRows, InputLocation, SourceInput
from spark_io.connectors.queries import find_query, statement
from spark_io.sources.source_types import TableSource
from spark_io.sources.spans import SpanRange


def find(name: str, source: TableSource, wanted: SpanRange, place: InputLocation) -> SourceInput:
    """Finds the spans that have rows, and the checksum of the contents; see queries.py."""
    sql = place.session().sql
    return find_query(name, source, wanted, place, sql, sql)


def read(
    spark: SparkSession, name: str, source: TableSource, found: SourceInput, base: str
) -> ConnectorRows:
    return ConnectorRows(spark.sql(statement(source, found.facts)))
