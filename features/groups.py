"""Declares features of past events: aggregations of a stream, by keys, over windows."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from base.durations import milliseconds
from base.section import ConfigError
from features.aggregations import Aggregation
from features.parts import Part

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class FeatureGroup:
    """Aggregations of the events of a stream that have the same keys, over windows.

    An event at time t has the features of the events before t: those of [start of its tile - w, t)
    for a window of length w ("sawtooth windows", as in Chronon). It never sees itself or an event
    of the same millisecond.

        FeatureGroup("card", "transactions", ("card",), ("1h", "7d"), (Count(), Sum("amount")))

    declares card_count_1h, card_count_7d, card_sum_amount_1h and card_sum_amount_7d.

    Attributes:
      name: Prefix of the columns.
      stream: Name of the stream of events.
      keys: Columns that identify an entity. An event without one of them does not count.
      windows: Lengths such as 30m, 24h or 7d; whole multiples of the tile.
      aggregations: Values of each window.
      where: Condition on the events, in Spark SQL; None stands for all of them.
      tile: Length of a tile. Shorter tiles make windows more exact, and tables larger.
      column: Pattern of the columns' names, of {group}, {name} and {window}.

    Raises:
      ConfigError: The declaration is not possible; the message says why.
    """

    name: str
    stream: str
    keys: tuple[str, ...]
    windows: tuple[str, ...]
    aggregations: tuple[Aggregation, ...]
    where: str | None = None
    tile: str = "1h"
    column: str = "{group}_{name}_{window}"

    def __post_init__(self) -> None:
        for field in ("keys", "windows", "aggregations"):
            value = getattr(self, field)
            if isinstance(value, str) or not value:
                raise self._error(f"{field} must be a tuple with at least one element", value)
            object.__setattr__(self, field, tuple(value))
        try:
            tile = milliseconds(self.tile)
            lengths = {window: milliseconds(window) for window in self.windows}
        except ValueError as error:
            raise ConfigError(f"feature group '{self.name}': {error}") from None
        for window, length in lengths.items():
            if length < tile or length % tile:
                expected = f"each window must be a whole multiple of the tile, {self.tile}"
                raise self._error(expected, window)
        repeated = [name for name, count in Counter(self.column_names()).items() if count > 1]
        if repeated:
            raise self._error("each column must have a name of its own", ", ".join(repeated))
        for name in self.column_names():
            if not _NAME.fullmatch(name):
                raise self._error("a column's name must have only letters, digits and _", name)

    def _error(self, expected: str, received: object) -> ConfigError:
        return ConfigError(f"feature group '{self.name}': {expected}. Received: {received}")

    @property
    def tile_ms(self) -> int:
        return milliseconds(self.tile)

    def results(self) -> Iterator[tuple[str, Aggregation, list[str]]]:
        """Yields each window with each aggregation and the names of its columns."""
        for window in self.windows:
            for aggregation in self.aggregations:
                names = [
                    self.column.format(group=self.name, name=name, window=window)
                    for name in aggregation.names()
                ]
                yield window, aggregation, names

    def column_names(self) -> list[str]:
        """Returns the names of all columns, in the order of `results`."""
        return [name for *_, names in self.results() for name in names]

    def parts(self) -> list[Part]:
        """Returns the parts of all aggregations, each once."""
        found = (part for one in self.aggregations for part in one.parts(self.stream, self.where))
        return list(dict.fromkeys(found))


def streams_of(groups: Iterable[FeatureGroup]) -> list[str]:
    """Returns the streams that groups need, each once."""
    return sorted({part.stream for group in groups for part in group.parts()})


def check(
    groups: Sequence[FeatureGroup],
    streams: Mapping[str, Iterable[str]],
    elsewhere: Collection[str] = (),
) -> None:
    """Checks declarations against the streams there are.

    Args:
      groups: Declarations.
      streams: Stream -> its columns.
      elsewhere: More streams, whose columns were checked before.

    Raises:
      ConfigError: Two groups have the same column, or a stream or a column does not exist.
    """
    owners: dict[str, str] = {}
    for group in groups:
        for name in group.column_names():
            if name in owners:
                raise ConfigError(
                    f"feature groups '{owners[name]}' and '{group.name}' both produce the column "
                    f"'{name}'. Rename one of them, or give it another pattern `column`"
                )
            owners[name] = group.name
        for part in group.parts():
            if part.stream in elsewhere:
                continue
            if part.stream not in streams:
                raise ConfigError(
                    f"feature group '{group.name}' names the stream '{part.stream}'. "
                    f"Expected one of: {', '.join(sorted(streams))}"
                )
            columns = set(streams[part.stream])
            for column in (*group.keys, *part.columns):
                if column not in columns:
                    raise ConfigError(
                        f"feature group '{group.name}' names the column '{column}' of the stream "
                        f"'{part.stream}'. Expected one of: {', '.join(sorted(columns))}"
                    )
