"""Mergeable partial states of past events.

Each part is a monoid. A tile (one entity, one hour, say) has the state of its events. States merge
in any order into the state of a window, and the empty state is null. So a window of any length
needs only the states of its tiles.

    part        state                          merged by
    Number      count, sum, least or largest   adding, or comparing
    Moments     count, mean, squared deviation Chan's formula, which does not cancel
    Sketch      HyperLogLog of DataSketches    its union
    Ends        the first or last k events     sorting, and keeping k

Sources: T. Chan, G. Golub, R. LeVeque: Updating formulae and a pairwise algorithm for computing
sample variances (1979); Apache DataSketches, which Spark's hll_* functions use too.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F  # noqa: N812

SKETCH_LOG2_REGISTERS = 12  # a standard error of 1.6 %
MS = "_event_ms"  # time of an event, as a column and as a field of a state of Ends

# Turns an aggregate into one over the rows of a group, or over a frame.
Over = Callable[[Column], Column]


def over(frame: WindowSpec | None) -> Over:
    """Returns a function that applies an aggregate to a frame; without one, to a group."""
    return (lambda aggregate: aggregate) if frame is None else (lambda one: one.over(frame))


@dataclasses.dataclass(frozen=True)
class Part(abc.ABC):
    """A partial state of the events of one stream that fulfil a condition.

    Attributes:
      stream: Name of the event stream.
      where: Condition on an event, in Spark SQL; None stands for all events.
      columns: Columns of the event that the state is made of. An event with a null in any of them
        does not count.
    """

    stream: str
    where: str | None
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """Returns the name of its states in a history, which no other part has."""
        return _name_of(self)

    def value(self) -> Column:
        """Returns what an event puts in; null if the event does not count."""
        counts = F.lit(True) if self.where is None else F.expr(self.where)
        for column in self.columns:
            counts = counts & self._usable(column)
        return F.when(counts, self._entry())

    def _usable(self, column: str) -> Column:
        return F.col(column).isNotNull()

    @abc.abstractmethod
    def _entry(self) -> Column:
        """Returns what an event that counts puts in."""

    @abc.abstractmethod
    def of_values(self, value: Column, each: Over) -> Column:
        """Returns the state of many values, nulls among them."""

    @abc.abstractmethod
    def of_states(self, state: Column, each: Over) -> Column:
        """Returns the state that many states merge into, nulls among them."""

    def of_window(self, state: Column, by_time: WindowSpec, length: int) -> Column:
        """Returns the state of the tiles before each tile.

        Args:
          state: States of the tiles; null for a tile without events that count.
          by_time: The tiles of an entity, ordered by their start in milliseconds.
          length: Length of the window in milliseconds.
        """
        return self.of_states(state, over(by_time.rangeBetween(-length, -1)))

    @abc.abstractmethod
    def merged(self, one: Column, other: Column) -> Column:
        """Returns the state that two states merge into; each may be null."""


@functools.cache
def _name_of(part: Part) -> str:
    declared = json.dumps(dataclasses.asdict(part), sort_keys=True)
    kind = type(part).__name__.lower()
    return f"{kind}_{hashlib.sha256(declared.encode()).hexdigest()[:12]}"


_ADD, _LEAST, _LARGEST = "sum", "min", "max"
_NUMBERS: dict[str, tuple[Any, Any]] = {
    _ADD: (F.sum, lambda a, b: F.coalesce(a + b, a, b)),
    _LEAST: (F.min, F.least),
    _LARGEST: (F.max, F.greatest),
}


class _Numeric(Part):
    """A part of numbers. Like nulls, NaN and infinity do not count: no merge would undo them."""

    def _usable(self, column: str) -> Column:
        number = F.col(column).cast("double")
        return number.isNotNull() & ~F.isnan(number) & (F.abs(number) != float("inf"))


@dataclasses.dataclass(frozen=True)
class Number(_Numeric):
    """A sum, a least or a largest number.

    Attributes:
      kind: sum, min or max.
    """

    kind: str = _ADD

    def _entry(self) -> Column:
        (column,) = self.columns
        return F.col(column).cast("double")

    def of_values(self, value: Column, each: Over) -> Column:
        return each(_NUMBERS[self.kind][0](value))

    def of_states(self, state: Column, each: Over) -> Column:
        return self.of_values(state, each)

    def merged(self, one: Column, other: Column) -> Column:
        either: Column = _NUMBERS[self.kind][1](one, other)
        return either


@dataclasses.dataclass(frozen=True)
class Events(_Numeric):
    """The number of events."""

    def _entry(self) -> Column:
        return F.lit(1).cast("long")

    def of_values(self, value: Column, each: Over) -> Column:
        return each(F.sum(value))

    def of_states(self, state: Column, each: Over) -> Column:
        return self.of_values(state, each)

    def of_window(self, state: Column, by_time: WindowSpec, length: int) -> Column:
        # Whole numbers can be taken away again, exactly. Growing frames take one pass over the
        # tiles, where a frame of the window's length takes a pass for each tile.
        def until(end: int) -> Column:
            return F.coalesce(F.sum(state).over(by_time.rangeBetween(first, end)), F.lit(0))

        first = Window.unboundedPreceding
        return until(-1) - until(-length - 1)

    def merged(self, one: Column, other: Column) -> Column:
        return F.coalesce(one + other, one, other)


@dataclasses.dataclass(frozen=True)
class Moments(_Numeric):
    """Count, mean, and the sum of squared deviations from the mean."""

    def _entry(self) -> Column:
        (column,) = self.columns
        return F.col(column).cast("double")

    def of_values(self, value: Column, each: Over) -> Column:
        count = each(F.count(value))
        squares = each(F.var_pop(value)) * count
        state = F.struct(
            count.alias("count"), each(F.avg(value)).alias("mean"), squares.alias("squares")
        )
        return F.when(count > 0, state)

    def of_states(self, state: Column, each: Over) -> Column:
        states = each(F.collect_list(state))
        none = F.lit(None).cast("struct<count:bigint,mean:double,squares:double>")
        return F.aggregate(states, none, self.merged)

    def merged(self, one: Column, other: Column) -> Column:
        count = one["count"] + other["count"]
        apart = other["mean"] - one["mean"]
        both = F.struct(
            count.alias("count"),
            (one["mean"] + apart * other["count"] / count).alias("mean"),
            (
                one["squares"]
                + other["squares"]
                + apart * apart * one["count"] * other["count"] / count
            ).alias("squares"),
        )
        return F.when(one.isNull(), other).when(other.isNull(), one).otherwise(both)


@dataclasses.dataclass(frozen=True)
class Sketch(Part):
    """A HyperLogLog sketch of the distinct values of a column."""

    def _entry(self) -> Column:
        (column,) = self.columns
        return F.concat(F.lit("="), F.col(column).cast("string"))  # sketches leave empty texts out

    def of_values(self, value: Column, each: Over) -> Column:
        return each(F.hll_sketch_agg(value, F.lit(SKETCH_LOG2_REGISTERS)))

    def of_states(self, state: Column, each: Over) -> Column:
        return each(F.hll_union_agg(state))

    def merged(self, one: Column, other: Column) -> Column:
        both = F.hll_union(one, other)
        return F.when(one.isNull(), other).when(other.isNull(), one).otherwise(both)


@dataclasses.dataclass(frozen=True)
class Ends(Part):
    """The first or the last events of a window. Nulls in columns are values like any other.

    Its state is a list of structs with MS and c0, c1 ...: the earliest first, or the latest first.
    Equal times are ordered by the columns.

    Attributes:
      length: Largest number of events.
      last: Whether the last events are kept; else the first.
    """

    length: int = 1
    last: bool = True

    def _usable(self, column: str) -> Column:
        return F.lit(True)

    def _entry(self) -> Column:
        named = [F.col(column).alias(f"c{place}") for place, column in enumerate(self.columns)]
        return F.struct(F.col(MS).alias(MS), *named)

    def running(self, rows: DataFrame, name: str, within: Sequence[str]) -> DataFrame:
        """Replaces each event's value by the list up to this event and its place.

        So no aggregate ever collects more than `length` events, however many an entity has.

        Args:
          rows: Events with their value in `name`.
          name: Column of the values.
          within: Columns that identify a tile.
        """
        number, is_null = f"{name}_number", f"{name}_is_null"
        tile = Window.partitionBy(*within, is_null).orderBy(name)
        first = Window.unboundedPreceding
        numbered = rows.withColumn(is_null, F.col(name).isNull()).withColumn(
            number, F.row_number().over(tile)
        )
        kept = F.col(name) if self.last else F.when(F.col(number) <= self.length, F.col(name))
        frame = tile.rowsBetween(1 - self.length if self.last else first, Window.currentRow)
        value = F.struct(
            F.col(number).alias("number"), F.collect_list(kept).over(frame).alias("list")
        )
        return numbered.withColumn(name, F.when(kept.isNotNull(), value)).drop(number, is_null)

    def of_values(self, value: Column, each: Over) -> Column:
        found = each(F.max_by(value["list"], value["number"]))
        return F.sort_array(found, asc=not self.last)

    def of_states(self, state: Column, each: Over) -> Column:
        lists = each(F.collect_list(state))
        return F.when(F.size(lists) > 0, self._kept(F.flatten(lists)))

    def merged(self, one: Column, other: Column) -> Column:
        return F.coalesce(self._kept(F.concat(one, other)), one, other)

    def _kept(self, entries: Column) -> Column:
        return F.slice(F.sort_array(entries, asc=not self.last), 1, self.length)
