"""Parses JSON objects, one per row, into columns."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import ArrayType, DataType, DoubleType, StringType, StructType

from spark_io.connectors import text_values
from spark_io.connectors.lines import CORRUPT, PARSED, RAW, TRAILING_TEXT, UNPARSEABLE, with_reasons
from spark_io.sources.column_names import LINE, ddl, quoted

_MARKER = "the object behind the line"
_HIGH, _LOW = r"\\ud[89ab][0-9a-f]{2}", r"\\ud[c-f][0-9a-f]{2}"
_LONE_SURROGATE = f"(?i){_HIGH}(?!{_LOW})|(?<!{_HIGH}){_LOW}"


def parse_json(
    lines: DataFrame, columns: Mapping[str, str], options: Mapping[str, str]
) -> DataFrame:
    """Parses the column LINE.

    Args:
      lines: Rows with LINE and any other columns, which are kept.
      columns: Column -> Spark SQL type.
      options: Options of Spark's JSON reader.

    Returns:
      The columns that lines.py describes, and the other columns of `lines`.
    """
    settings = {
        **options,
        "mode": "PERMISSIVE",
        "columnNameOfCorruptRecord": CORRUPT,
        "enableDateTimeParsingFallback": "false",
    }
    kinds = {field.name: field.dataType for field in declared(lines, columns).fields}
    parsed_as = StructType()
    for column, kind in kinds.items():
        parsed_as = parsed_as.add(column, text_values.parsed_type(kind))
    parsed_as = parsed_as.add(CORRUPT, StringType())
    parsed = lines.withColumn(PARSED, F.from_json(F.col(LINE), parsed_as, settings))
    raw_columns = {name: kind for name, kind in kinds.items() if text_values.needs_raw(kind)}
    if raw_columns:
        raw_as = StructType()
        for column, kind in raw_columns.items():
            raw_as = raw_as.add(column, text_values.raw_type(kind))
        parsed = parsed.withColumn(RAW, F.from_json(F.col(LINE), raw_as, settings))

    # `null` is valid JSON but no object.
    unparseable = F.col(PARSED).isNull() | _field(PARSED, CORRUPT).isNotNull()
    changed = _changed(kinds, raw_columns, settings)
    reason = F.when(unparseable | changed | _has_lone_surrogate(), UNPARSEABLE)
    reason = reason.when(_has_trailing_text(settings), TRAILING_TEXT)
    others = [name for name in lines.columns if name not in (*columns, LINE)]
    values = [_field(PARSED, column).cast(kind).alias(column) for column, kind in kinds.items()]
    return with_reasons(values, reason, [F.col(quoted(name)) for name in others], parsed)


def declared(frame: DataFrame, columns: Mapping[str, str]) -> StructType:
    """Returns `columns` as a schema."""
    # Not StructType.fromDDL, which only one of the supported Sparks has.
    return frame.sparkSession.createDataFrame([], ddl(columns)).schema


def _changed(
    kinds: Mapping[str, DataType], raw: Mapping[str, DataType], settings: dict[str, str]
) -> Column:
    """Returns whether a value differs from its text.

    All columns of a type are checked as one array, because Spark would take minutes to plan an
    expression for each of thousands of columns.
    """
    checks = []
    by_type: dict[DataType, list[str]] = {}
    for column, kind in kinds.items():
        by_type.setdefault(kind, []).append(column)
    for kind, columns in by_type.items():
        values = _fields(PARSED, columns)
        if isinstance(kind, StringType):
            checks.append(_number_in_text(columns, values, settings))
            continue
        raws = _fields(RAW, columns) if columns[0] in raw else None
        check = text_values.unfit(values, raws, F.col(LINE), ArrayType(kind), settings)
        if check is not None:
            checks.append(check)
    return text_values.any_of(checks)


def _number_in_text(columns: list[str], texts: Column, settings: dict[str, str]) -> Column:
    """Returns whether a string column holds a number that Spark 3.5 rewrote.

    Lines that may hold one are parsed again with type double, which only a number fits.
    """
    as_numbers = StructType()
    for column in columns:
        as_numbers = as_numbers.add(column, DoubleType())

    def is_number(numbers: Column) -> Column:
        of_each = F.array(*[numbers.getField(column) for column in columns])
        pairs = F.zip_with(
            texts, of_each, lambda text, n: text_values.number_as_text(text) & n.isNotNull()
        )
        return F.exists(pairs, lambda pair: F.coalesce(pair, F.lit(False)))

    whole_line = F.regexp_replace(F.col(LINE), r"\s", "")

    def is_rewritten(text: Column) -> Column:
        """Returns whether an object or array differs from its text, apart from white space."""
        same = whole_line.contains(F.regexp_replace(text, r"\s", ""))
        return F.coalesce(text.rlike(r"^[\[{]") & ~same, F.lit(False))

    some = F.exists(texts, lambda t: F.coalesce(text_values.number_as_text(t), F.lit(False)))
    parsed_again = F.array(F.from_json(F.col(LINE), as_numbers, settings))
    numbers = F.coalesce(F.when(some, F.exists(parsed_again, is_number)), F.lit(False))
    return numbers | F.exists(texts, is_rewritten)


def _fields(struct: str, columns: list[str]) -> Column:
    """Returns fields of a struct as an array."""
    names = ", ".join(f"{quoted(struct)}.{quoted(column)}" for column in columns)
    return F.expr(f"array({names})")


def _field(struct: str, column: str) -> Column:
    return F.col(f"{quoted(struct)}.{quoted(column)}")


def _has_trailing_text(settings: dict[str, str]) -> Column:
    """Returns whether text follows the object: Spark reads `{"a": 1}{"a": 2}` as one row.

    A line whose only `}` is at its end has none. Other lines are parsed again in an array, followed
    by a marker object. The array has two items only if the line is one object.
    """
    line = F.col(LINE)
    plain = F.instr(line, "}") == F.length(F.rtrim(line))
    both = F.from_json(
        F.concat(F.lit("["), line, F.lit(f',{{"{_MARKER}": 1}}]')),
        f"array<struct<`{_MARKER}`:int>>",
        settings,
    )
    # A `]` in the line would end the array before the marker.
    marked = (F.size(both) == 2) & (F.element_at(both, 2).getField(_MARKER) == 1)
    return ~plain & ~F.coalesce(marked, F.lit(False))


def _has_lone_surrogate() -> Column:
    """Returns whether a line has a lone surrogate, which Spark replaces by `?`."""
    line = F.col(LINE)
    return line.contains("\\u") & line.rlike(_LONE_SURROGATE)
