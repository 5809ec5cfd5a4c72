"""The connector for databases, with Spark's JDBC reader."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import FractionalType

from spark_io.connectors.connector import ConnectorRows, InputLocation, SourceInput
from spark_io.connectors.database_rows import database_rows
from spark_io.connectors.queries import find_query, statement
from spark_io.connectors.secrets import secret_values
from spark_io.sources.source_types import JdbcSource
from spark_io.sources.spans import SpanRange

_DRIVERS = {
    "jdbc:mysql:": "org.mariadb.jdbc.Driver",  # for MySQL too; its license allows shipping it
    "jdbc:postgresql:": "org.postgresql.Driver",
}
# Rows per round trip. Without a limit MariaDB's driver loads the whole result into memory.
_FETCH_ROWS = "10000"


def find(name: str, source: JdbcSource, wanted: SpanRange, place: InputLocation) -> SourceInput:
    """Finds the spans that have rows, and the checksum of the contents; see queries.py."""
    spark = place.session()
    options = connection(name, source)
    return find_query(
        name,
        source,
        wanted,
        place,
        lambda query: _ask(spark, options, query),
        lambda query: database_rows(spark, name, options, query),
    )


def read(
    spark: SparkSession, name: str, source: JdbcSource, found: SourceInput, base: str
) -> ConnectorRows:
    """Reads the rows in `partitions` parts, by the range of `partition_column`.

    Each part is a separate query, which may or may not see rows that change meanwhile. The checksum
    shows if a table changed during a run.
    """
    options = connection(name, source)
    query = statement(source, found.facts)
    parts = _parts(spark, options, source, query) if source.partitions > 1 else {}
    return ConnectorRows(database_rows(spark, name, options, query, parts), has_reasons=True)


def connection(name: str, source: JdbcSource) -> dict[str, str]:
    """Returns options for Spark's reader, with the secrets of the environment.

    Raises:
      ComponentError: An environment variable is not set.
    """
    url = source.url
    defaults = {"fetchsize": _FETCH_ROWS}
    ours = {"user": source.user} if source.user else {}
    if url.startswith("jdbc:mariadb:"):
        # For an unknown dialect Spark quotes names with ", which is text to MariaDB.
        url = "jdbc:mysql:" + url.removeprefix("jdbc:mariadb:")
    if url.startswith("jdbc:mysql:"):
        if "permitMysqlScheme" not in url:
            url += ("&" if "?" in url else "?") + "permitMysqlScheme"
        defaults["tinyInt1isBit"] = "false"  # else a number from 0 to 127 becomes a boolean
        defaults["yearIsDateType"] = "false"  # else a year becomes its first of January
        # TIMESTAMP values come in the time zone of the session.
        variables = (source.options.get("sessionVariables"), "time_zone='+00:00'")
        ours["sessionVariables"] = ",".join(filter(None, variables))
    for prefix, name_of_driver in _DRIVERS.items():
        if url.startswith(prefix):
            defaults["driver"] = name_of_driver
    return {**defaults, **source.options, **ours, **secret_values(name, source), "url": url}


def _ask(spark: SparkSession, options: dict[str, str], query: str) -> DataFrame:
    return spark.read.format("jdbc").options(**options).option("query", query).load()


def _parts(
    spark: SparkSession, options: dict[str, str], source: JdbcSource, query: str
) -> dict[str, Any]:
    column = source.partition_column
    bounds = (
        f"SELECT MIN({column}) AS low, MAX({column}) AS high "  # noqa: S608
        f"FROM ({query}) source_rows"
    )
    answer = _ask(spark, options, bounds).toDF("low", "high")
    if isinstance(answer.schema["low"].dataType, FractionalType):
        answer = answer.selectExpr("floor(low) AS low", "ceil(high) AS high")
    texts = answer.selectExpr("cast(low as string)", "cast(high as string)").first()
    assert texts is not None
    if texts[0] is None:
        return {}  # no row, or only nulls
    return {
        "partitionColumn": column,
        "lowerBound": texts[0],
        "upperBound": texts[1],
        "numPartitions": str(source.partitions),
    }
