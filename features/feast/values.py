"""Makes the tables that Feast reads: the values of each entity, as of the times of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import ArrayType, DataType, LongType

from features.entity_keys import key_column
from features.feast.views import TIMESTAMP, feast_type, key_type, view_of
from features.groups import FeatureGroup, streams_of

_LARGEST = 2**53  # Feast turns a column of whole numbers with nulls into doubles


def view_table(
    rows: DataFrame, groups: Sequence[FeatureGroup], view: str, *, time: str
) -> DataFrame:
    """Returns the table of a feature view, to be written as Parquet to VALUES/view.

    Args:
      rows: Rows with the keys, `time`, and the columns that `features.batch.add_features` added.
        A row without a key or a time belongs to no entity and is left out.
      groups: Declarations.
      view: Name of the view, which is that of its groups.
      time: Column with the time of a row, in epoch milliseconds.

    Returns:
      One row for each entity and time: the keys, `event_timestamp` and the features.

    Raises:
      ConfigError: There is no such view, or Feast has no type for a column.
      SparkRuntimeException: When it is computed, if Feast would change a value without a word: a
        null in a list (online: NaN, false or an empty text), or a whole number beyond 2^53.
    """
    found = view_of(groups, view)
    types = {field.name: field.dataType for field in rows.schema}
    for key in found.keys:
        key_type(key, types[key])
    features = [_kept(column.name, types[column.name]) for column in found.columns()]
    at = F.timestamp_millis(F.col(time).cast("long")).alias(TIMESTAMP)
    table = rows.select(*found.keys, at, *features).dropna(subset=[*found.keys, TIMESTAMP])
    return table.dropDuplicates([*found.keys, TIMESTAMP])


def _kept(name: str, kind: DataType) -> Column:
    """Returns a feature, which fails with one line where Feast would change its value."""
    feast_type(name, kind)
    value = F.col(name)
    if isinstance(kind, ArrayType):
        wrong = F.exists(value, lambda element: element.isNull())
        reason = "a list must have no null. Leave such events out by `where`"
    elif isinstance(kind, LongType):
        wrong = ~value.between(-_LARGEST, _LARGEST)
        reason = "a whole number must not be beyond 2^53. Cast the column to string"
    else:
        return value
    message = f"export to Feast: the feature '{name}' would change its value: {reason}"
    return F.when(wrong, F.raise_error(message)).otherwise(value).alias(name)


def entities_at(
    at_ms: int,
    groups: Sequence[FeatureGroup],
    view: str,
    streams: Mapping[str, DataFrame],
    *,
    identity: str,
    time: str,
) -> DataFrame:
    """Returns a row for each entity of a view, to compute its values as of one time.

    A row of an event does not count the event itself, so Feast's online store would always be an
    event behind. Rows as of now count them all.

    Args:
      at_ms: Time, in epoch milliseconds.
      groups: Declarations.
      view: Name of the view.
      streams: Stream -> its events, with `time` and the keys. An entity has a row if it has an
        event here before `at_ms`. One that is only in a history has none, and Feast keeps its last.
      identity: Name for the column with the id of a row.
      time: Column with the time of events, in epoch milliseconds, and for that of the rows.

    Returns:
      Rows for `features.batch.add_features`: `identity`, the keys and `time`.

    Raises:
      ConfigError: There is no such view.
    """
    found = view_of(groups, view)
    events = [streams[name].where(F.col(time) < at_ms) for name in streams_of(found.groups)]
    types = streams[found.groups[0].stream].schema
    keys = [F.col(key).cast(types[key].dataType).alias(key) for key in found.keys]
    entities = reduce(DataFrame.unionByName, [frame.select(*keys) for frame in events])
    rows = entities.dropna().distinct()
    return rows.select(
        key_column(found.keys).alias(identity), *found.keys, F.lit(at_ms).cast("long").alias(time)
    )
