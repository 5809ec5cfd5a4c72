"""Converts text to values of declared types, by the same rules for every text format.

Spark's readers and drivers are lenient: "5" is a date (the fifth day of 1970), "10:30" a timestamp
of today, "0x1p3" and "5d" are doubles, "1,5" is the decimal 15, 1.239 a decimal(5,2) of 1.24, and
1e400 is infinity. Here a text is either exactly a value of its type, or does not fit.

Dates and times are ISO 8601: YYYY-MM-DD, and YYYY-MM-DD HH:MM[:SS[.fraction]] with a T or a space.
A `timestamp` may end with a zone and is UTC without one. Spark keeps microseconds of a fraction.
The options dateFormat, timestampFormat and timestampNTZFormat replace these forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegralType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

# \z, not $, which also matches before a line break at the end.
_INTEGER = r"^[+-]?[0-9]+\z"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\z"
_SHORT_NUMBER = r"^[+-]?[0-9]{1,30}(\.[0-9]{0,30})?\z"  # is finite, in 32 bits too
# The form in which Spark 3.5 rewrites a JSON fraction or exponent for a string column.
_FRACTION = r'^(-?[0-9]+(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)|"-?Infinity"|"NaN")\z'
# An explicit infinity in JSON; 1e400 is parsed as infinity too.
_INFINITY = r'[:\[,]\s*"?[+-]?(Infinity|INF)"?\s*[,}\]]'
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\z"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
_ZONE = r" ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?|[A-Z][A-Za-z]+/[A-Za-z_/]+)"
_TIMESTAMP = rf"{_TIME}({_ZONE})?)?\z"
_TIMESTAMP_NTZ = rf"{_TIME})?\z"
# Seconds since 1970 for the years 1 to 9999. Milliseconds are beyond that range.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_MAX_DIGITS = 38  # of Spark's widest decimal
_SPARE_DIGITS = 18

SCALARS = "boolean, tinyint to bigint, float, double, decimal, string, date and timestamps"


def from_text(text: Column, kind: DataType, options: Mapping[str, str]) -> Column | None:
    """Converts text to a type.

    Args:
      text: Strings.
      kind: Type of the values.
      options: Options of the reader.

    Returns:
      The values, null where the text is null or does not fit; None for a type without text form.
    """
    if isinstance(kind, StringType):
        return text
    if isinstance(kind, BooleanType):
        return F.when(F.lower(text).isin("true", "false"), F.lower(text) == "true")
    if isinstance(kind, IntegralType):
        return F.when(text.rlike(_INTEGER), text.cast(kind))
    if isinstance(kind, FloatType | DoubleType):
        return _floating(text, kind, options)
    if isinstance(kind, DecimalType):
        return _decimal_from_text(text, kind)
    if isinstance(kind, DateType):
        return _date_or_time(text, kind, _DATE, options.get("dateFormat"))
    if isinstance(kind, TimestampType):
        return _date_or_time(text, kind, _TIMESTAMP, options.get("timestampFormat"))
    if isinstance(kind, TimestampNTZType):
        return _date_or_time(text, kind, _TIMESTAMP_NTZ, options.get("timestampNTZFormat"))
    return None


def all_from_text(texts: Column, kind: DataType, options: Mapping[str, str]) -> Column | None:
    """Returns `from_text` of each string in an array."""
    if isinstance(kind, StringType):
        return texts
    if from_text(F.lit(None), kind, options) is None:
        return None
    return F.transform(texts, lambda text: _not_none(from_text(text, kind, options)))


def some_unfit(texts: Column, values: Column) -> Column:
    """Returns whether some text in an array has no value of its type."""
    pairs = F.zip_with(texts, values, lambda text, value: text.isNotNull() & value.isNull())
    return F.exists(pairs, lambda unfit: unfit)


def _not_none(column: Column | None) -> Column:
    assert column is not None
    return column


def _decimal_from_text(text: Column, kind: DecimalType) -> Column:
    """Converts text to a decimal without rounding, where Spark makes 1.24 of 1.239."""
    value = text.cast(kind)
    fits = text.rlike(rf"^[+-]?[0-9]*\.?[0-9]{{0,{kind.scale}}}0*\z")
    if kind.precision <= _MAX_DIGITS - _SPARE_DIGITS:
        # For a short number with an exponent, Spark's widest decimal shows what was rounded.
        short = text.rlike(rf"^[+-]?[0-9.]{{1,{_SPARE_DIGITS}}}[eE]")
        fits |= short & (text.cast(_widest(kind)) == value) & ~_is_lost(text, value)
    return F.when(text.rlike(_NUMBER) & fits, value)


def _is_lost(text: Column, value: Column) -> Column:
    """Returns whether a number that is not 0 became 0."""
    return (value == 0) & text.rlike("^[^eE]*[1-9]")


def _floating(text: Column, kind: DataType, options: Mapping[str, str]) -> Column:
    value = text.cast(kind)
    given = {
        options[option]: means
        for option, means in (
            ("nanValue", "NaN"),
            ("positiveInf", "Infinity"),
            ("negativeInf", "-Infinity"),
        )
        if option in options
    }
    known = {
        "NaN": "NaN",
        **dict.fromkeys(("Infinity", "+Infinity", "Inf", "+Inf"), "Infinity"),
        **dict.fromkeys(("-Infinity", "-Inf"), "-Infinity"),
    }
    finite = F.when(F.abs(value) != float("inf"), value)
    words = [(text == word, F.lit(means).cast(kind)) for word, means in given.items()]
    words += [(text.rlike(_SHORT_NUMBER), value), (text.rlike(_NUMBER), finite)]
    words += [(text == word, F.lit(means).cast(kind)) for word, means in known.items()]
    number = F.when(*words[0])
    for condition, of_it in words[1:]:
        number = number.when(condition, of_it)
    return number


def _date_or_time(text: Column, kind: DataType, form: str, given: str | None) -> Column:
    if given is None:
        return F.when(text.rlike(form), text.cast(kind))
    if isinstance(kind, DateType):
        return F.to_date(text, given)
    if isinstance(kind, TimestampType):
        return F.to_timestamp(text, given)
    return F.to_timestamp_ntz(text, F.lit(given))


def _widest(kind: DecimalType) -> DecimalType:
    """Returns the decimal type with the same digits before the point and the most after it."""
    return DecimalType(_MAX_DIGITS, _MAX_DIGITS - (kind.precision - kind.scale))


# The functions below check what Spark's JSON parser made of a value.


def raw_type(kind: DataType) -> DataType:
    """Returns the same type with text in place of every value."""
    return _with_leaves(kind, lambda leaf: StringType())


def parsed_type(kind: DataType) -> DataType:
    """Returns the type to parse a value with, so that `unfit` can see what was rounded."""
    return _with_leaves(kind, lambda leaf: _widest(leaf) if isinstance(leaf, DecimalType) else leaf)


def needs_raw(kind: DataType) -> bool:
    """Returns whether `unfit` looks at the raw text of such values."""
    by_text = ByteType | DecimalType | DateType | TimestampType | TimestampNTZType
    return any(isinstance(leaf, by_text) for leaf in _leaves(kind))


def _with_leaves(kind: DataType, new: Callable[[DataType], DataType]) -> DataType:
    """Returns a type with other types of its values; the structure and keys of maps stay."""
    if isinstance(kind, ArrayType):
        return ArrayType(_with_leaves(kind.elementType, new))
    if isinstance(kind, MapType):
        return MapType(kind.keyType, _with_leaves(kind.valueType, new))
    if isinstance(kind, StructType):
        fields = [(field.name, _with_leaves(field.dataType, new)) for field in kind.fields]
        return StructType([StructField(name, inner) for name, inner in fields])
    return new(kind)


def _leaves(kind: DataType) -> Iterator[DataType]:
    """Yields the types of the values in a type."""
    if isinstance(kind, ArrayType):
        yield from _leaves(kind.elementType)
    elif isinstance(kind, MapType):
        yield from _leaves(kind.valueType)
    elif isinstance(kind, StructType):
        for field in kind.fields:
            yield from _leaves(field.dataType)
    else:
        yield kind


def unfit(
    value: Column, raw: Column | None, line: Column, kind: DataType, options: Mapping[str, str]
) -> Column | None:
    """Returns whether a value that Spark parsed differs from its JSON text.

    Args:
      value: Values parsed as `parsed_type(kind)`.
      raw: The same values parsed as `raw_type(kind)`; None unless `needs_raw(kind)`.
      line: Text of the whole record.
      kind: Declared type.
      options: Options of the reader.

    Returns:
      Booleans, never null; None for a type that Spark always parses exactly.
    """
    if not any(type(leaf) in _CHECKS for leaf in _leaves(kind)):
        return None
    raw = value if raw is None else raw
    if isinstance(kind, ArrayType):
        return _any_unfit(value, raw, line, kind.elementType, options)
    if isinstance(kind, MapType):
        values, raws = F.map_values(value), F.map_values(raw)
        return _any_unfit(values, raws, line, kind.valueType, options)
    if isinstance(kind, StructType):
        parts = [
            unfit(value.getField(f.name), raw.getField(f.name), line, f.dataType, options)
            for f in kind.fields
        ]
        return any_of([part for part in parts if part is not None])
    return F.coalesce(_CHECKS[type(kind)](value, raw, line, kind, options), F.lit(False))


def any_of(conditions: list[Column]) -> Column:
    """Returns whether one of the conditions holds; none of them may be null.

    They form an array, because a chain of thousands of conditions is too deep for Spark.
    """
    if not conditions:
        return F.lit(False)
    return conditions[0] if len(conditions) == 1 else F.array_contains(F.array(*conditions), True)


def _any_unfit(
    values: Column, raws: Column, line: Column, kind: DataType, options: Mapping[str, str]
) -> Column:
    pairs = F.zip_with(values, raws, lambda v, r: _not_none(unfit(v, r, line, kind, options)))
    return F.coalesce(F.exists(pairs, lambda unfit: unfit), F.lit(False))


def _tinyint(value: Column, raw: Column, *_: Any) -> Column:
    return value.cast("int") != raw.cast("int")  # 200 is parsed as -56


def _float(value: Column, raw: Column, line: Column, *_: Any) -> Column:
    return (F.abs(value) == float("inf")) & ~line.rlike(_INFINITY)


def _decimal(value: Column, raw: Column, line: Column, kind: Any, options: Any) -> Column:
    rounded = value.cast(kind)
    # The digits must be in the line as they are. A type without spare digits hides that Spark has
    # rounded.
    whole = F.regexp_replace(F.abs(rounded).cast("string"), r"\.0*\z|(\.[0-9]*?)0+\z", "$1")
    zeros = F.when(whole.contains("."), F.lit("0*")).otherwise(F.lit(r"(\.0*)?"))
    digits = F.regexp_replace(whole, r"\.", r"\\.")
    number = F.concat(F.lit("(^|[^0-9.eE])"), digits, zeros, F.lit("($|[^0-9.eE])"))
    written = F.regexp_instr(line, number) > 0
    lost = raw.contains(",") | _is_lost(raw, value) | (value.isNotNull() & ~written)
    return lost | (value.isNotNull() & ~rounded.eqNullSafe(value))


def _date(value: Column, raw: Column, line: Column, kind: Any, options: Any) -> Column:
    return F.lit(False) if "dateFormat" in options else ~raw.rlike(_DATE)


def _timestamp(value: Column, raw: Column, line: Column, kind: Any, options: Any) -> Column:
    seconds = F.when(raw.rlike(r"^-?[0-9]+\z"), raw.cast("bigint"))
    # The product overflows as Spark's does where `raw` is not a number of seconds.
    is_number = F.coalesce(F.unix_micros(value) == seconds * F.lit(1_000_000), F.lit(False))
    if "timestampFormat" in options:
        return is_number  # strings have that form
    in_range = F.coalesce(seconds.between(_FIRST_SECOND, _LAST_SECOND), F.lit(False))
    return ~raw.rlike(_TIMESTAMP) & ~(is_number & in_range)


def _timestamp_ntz(value: Column, raw: Column, line: Column, kind: Any, options: Any) -> Column:
    return F.lit(False) if "timestampNTZFormat" in options else ~raw.rlike(_TIMESTAMP_NTZ)


def number_as_text(value: Column) -> Column:
    """Returns whether a text may come from a JSON number with a fraction or an exponent.

    Spark 3.5 rewrites such a number for a string column: 1.10 becomes "1.1".
    """
    return value.rlike(_FRACTION)


def _text(value: Column, raw: Column, line: Column, *_: Any) -> Column:
    return number_as_text(value) & ~line.contains(F.concat(F.lit('"'), value, F.lit('"')))


_CHECKS: dict[type[DataType], Callable[..., Column]] = {
    ByteType: _tinyint,
    FloatType: _float,
    DoubleType: _float,
    DecimalType: _decimal,
    DateType: _date,
    TimestampType: _timestamp,
    TimestampNTZType: _timestamp_ntz,
    StringType: _text,
}
