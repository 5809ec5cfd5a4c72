"""Reads the rows of a database query with exactly the values in the database.

Drivers change invalid dates such as MySQL's 2024-00-00 and PostgreSQL's infinity, and Spark cuts
decimals to 38 digits. So the database returns such columns as text, which text_values.py converts.
A row with a value that does not fit is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    StringType,
    StructField,
    TimestampNTZType,
    TimestampType,
)

from base.errors import ComponentError
from spark_io.connectors import text_values
from spark_io.connectors.lines import UNPARSEABLE
from spark_io.examples.rows import WHOLE_VALUES
from spark_io.sources.column_names import (
    REASON,
    RECORD,
    quoted,
    reserved_in,
    same_but_for_case,
)

# Database -> quote of names, type of text. For other databases the driver's values are used.
_DIALECTS = {"jdbc:mysql": ("`", "CHAR"), "jdbc:postgresql": ('"', "TEXT")}
_DIVIDER = "source_divider"


def database_rows(
    spark: SparkSession,
    name: str,
    options: Mapping[str, str],
    query: str,
    parts: Mapping[str, str] | None = None,
) -> DataFrame:
    """Returns the rows of a query, with REASON and RECORD as lines.py has them.

    Args:
      spark: Spark session.
      name: Name of the source.
      options: Options of Spark's JDBC reader, secrets included.
      query: SELECT statement.
      parts: Spark's options for reading in parts by a column.

    Raises:
      ComponentError: A column has a type that cannot be read exactly, such as a time of day, or two
        columns have the same name.
    """
    reader = spark.read.format("jdbc").options(**options)
    try:
        plain = reader.option("dbtable", f"({query}) source_rows").load().schema
    except AnalysisException as error:
        if "COLUMN_ALREADY_EXISTS" not in str(error):
            raise
        raise ComponentError(
            f"source '{name}': two columns have one name or differ only in upper and lower case, "
            "which Spark does not tell apart; rename one in the query"
        ) from error
    problem = reserved_in(plain.names) or same_but_for_case(plain.names)
    if problem:
        raise ComponentError(f"source '{name}': {problem}")
    for field in plain.fields:
        if isinstance(field.dataType, ArrayType) and _may_change(field.dataType.elementType):
            raise ComponentError(
                f"source '{name}': column '{field.name}' is {field.dataType.simpleString()}, "
                "whose values the driver may change; cast it to an array of text or of double "
                "precision in the query"
            )
        if _is_time_of_day(field):
            raise ComponentError(
                f"source '{name}': column '{field.name}' is a time of day, which no feature holds; "
                "make it a number or a text in the query, with EXTRACT(...) or CAST(...)"
            )
    dialect = _DIALECTS.get(":".join(options["url"].split(":")[:2]))
    as_text = [f.name for f in plain.fields if dialect and _may_change(f.dataType)]
    # MySQL shows only six digits of a FLOAT.
    floats = [
        f.name
        for f in plain.fields
        if options["url"].startswith("jdbc:mysql:")
        and isinstance(f.dataType, FloatType | DoubleType)
    ]
    if dialect and (as_text or floats):
        query, parts = _with_texts(query, plain.names, as_text, floats, dialect, parts)
    rows = reader.options(**(parts or {})).option("dbtable", f"({query}) source_rows").load()
    columns, unfit = [], []
    kept: list[Column] = []  # in the record
    for field in plain.fields:
        column = F.col(quoted(field.name))
        if field.name not in as_text:
            if field.dataType == ArrayType(StringType()):
                # PostgreSQL's driver returns a memory address for a nested array.
                nested = F.coalesce(F.exists(column, lambda t: t.startswith("[L")), F.lit(False))
                unfit.append(nested)
                column = F.when(~nested, column)
            columns.append(column.cast(field.dataType).alias(field.name))
            kept.append(column.alias(field.name))
            continue
        kept.append(column)
        value = text_values.from_text(column, field.dataType, {})
        assert value is not None
        columns.append(value.alias(field.name))
        unfit.append(column.isNotNull() & value.isNull())
    reason = F.when(text_values.any_of(unfit), UNPARSEABLE)
    record = F.to_json(F.struct(*kept), WHOLE_VALUES)
    return rows.select(
        *columns,
        reason.alias(REASON),
        F.when(reason.isNotNull(), record).alias(RECORD),
    )


def _is_time_of_day(field: StructField) -> bool:
    return bool(field.metadata.get("logical_time_type")) or field.dataType.typeName() == "time"


def _may_change(kind: DataType) -> bool:
    """Returns whether a driver or Spark may change values of a type."""
    return isinstance(kind, DateType | DecimalType | TimestampType | TimestampNTZType)


def _with_texts(
    query: str,
    names: list[str],
    as_text: list[str],
    floats: list[str],
    dialect: tuple[str, str],
    parts: Mapping[str, str] | None,
) -> tuple[str, Mapping[str, str] | None]:
    """Returns the query with some columns as text, and the options for its parts."""
    quote, text = dialect
    columns = []
    for name in names:
        column = f"{quote}{name.replace(quote, 2 * quote)}{quote}"
        if name in as_text:
            column = f"CAST({column} AS {text}) AS {column}"
        elif name in floats:
            column = f"CAST({column} AS DOUBLE) AS {column}"
        columns.append(column)
    if parts:  # parts are by the column itself, not by its text
        columns.append(f"{parts['partitionColumn']} AS {_DIVIDER}")
        parts = {**parts, "partitionColumn": _DIVIDER}
    return f"SELECT {', '.join(columns)} FROM ({query}) source_values", parts  # noqa: S608
