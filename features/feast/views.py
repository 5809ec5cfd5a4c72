"""Divides feature groups into Feast's feature views, and checks what Feast would not take.

The groups of one name are one view. Some names are valid here and in `feast apply`, and fail or
mean something else when features are read, so they are checked before anything is written.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from pyspark.sql.types import ArrayType, DataType

from base.durations import milliseconds
from base.section import ConfigError
from features.aggregations import Aggregation
from features.groups import FeatureGroup

TIMESTAMP = "event_timestamp"  # column with the time that a row's values are as of
# Feast separates a view from its feature by two underscores, also in the names of columns.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
# Columns that Feast's point-in-time join adds, and the ending of those that it removes.
_TAKEN, _REMOVED = (TIMESTAMP, "entity_row_id", "event_expire_timestamp"), "_y"

# Spark's type -> Feast's. Others are left out: online, Feast cuts timestamps to seconds.
_TYPES = {
    "bigint": "Int64",
    "int": "Int32",
    "double": "Float64",
    "float": "Float32",
    "string": "String",
    "boolean": "Bool",
    "binary": "Bytes",
}
_KEY_TYPES = ("bigint", "int", "string")  # Feast's stores take few types as keys


@dataclasses.dataclass(frozen=True)
class Column:
    """A feature: a column of a group, with the window and the aggregation that it is of."""

    name: str
    group: FeatureGroup
    window: str
    aggregation: Aggregation


@dataclasses.dataclass(frozen=True)
class View:
    """A feature view: the groups of one name, which have the same keys.

    Attributes:
      name: Name of the groups.
      keys: Columns that identify an entity; each is an entity of Feast's.
      groups: Declarations.
    """

    name: str
    keys: tuple[str, ...]
    groups: tuple[FeatureGroup, ...]

    def columns(self) -> Iterator[Column]:
        """Yields all features, in the order of the declarations."""
        for group in self.groups:
            for window, aggregation, names in group.results():
                for name in names:
                    yield Column(name, group, window, aggregation)

    @property
    def ttl_seconds(self) -> int:
        """Length of the shortest window: an older value may be about other events altogether."""
        windows = (window for group in self.groups for window in group.windows)
        return min(map(milliseconds, windows)) // 1000


def views_of(groups: Sequence[FeatureGroup]) -> list[View]:
    """Returns the feature views of groups, in the order of the groups.

    Raises:
      ConfigError: Groups of one name have different keys, or Feast would not take a name.
    """
    if not groups:
        raise ConfigError("export to Feast: expected at least one feature group. Received: none")
    named: dict[str, list[FeatureGroup]] = {}
    for group in groups:
        named.setdefault(group.name, []).append(group)
    views = []
    for name, same in named.items():
        if len({group.keys for group in same}) > 1:
            keys = " and ".join(dict.fromkeys(", ".join(group.keys) for group in same))
            raise ConfigError(
                f"feature groups '{name}': groups of one name are one feature view and must have "
                f"the same keys. Received: {keys}. Give one group another name"
            )
        views.append(View(name, same[0].keys, tuple(same)))
    _check_names(views)
    return views


def view_of(groups: Sequence[FeatureGroup], name: str) -> View:
    """Returns the feature view of this name.

    Raises:
      ConfigError: There is none, or as for `views_of`.
    """
    views = {view.name: view for view in views_of(groups)}
    if name not in views:
        raise ConfigError(
            f"expected the name of a feature view: {', '.join(views)}. Received: {name}"
        )
    return views[name]


def feast_type(column: str, kind: DataType) -> str:
    """Returns Feast's type of a feature, as an expression of Python such as `Array(Int64)`.

    Raises:
      ConfigError: Feast has no such type, or does not keep its values.
    """
    element = kind.elementType if isinstance(kind, ArrayType) else kind
    if element.simpleString() not in _TYPES:
        raise ConfigError(
            f"export to Feast: the feature '{column}' must be of one of {', '.join(_TYPES)}, or a "
            f"list. Received: {kind.simpleString()}. Cast the column in the stream, a timestamp to "
            "a bigint"
        )
    name = _TYPES[element.simpleString()]
    return f"Array({name})" if isinstance(kind, ArrayType) else name


def key_type(key: str, kind: DataType) -> str:
    """Returns Feast's type of a key.

    Raises:
      ConfigError: Feast's stores do not take such keys.
    """
    if kind.simpleString() not in _KEY_TYPES:
        raise ConfigError(
            f"export to Feast: the key '{key}' must be of one of {', '.join(_KEY_TYPES)}. "
            f"Received: {kind.simpleString()}. Cast the column in the stream"
        )
    return _TYPES[kind.simpleString()]


def _check_names(views: Sequence[View]) -> None:
    columns = [column.name for view in views for column in view.columns()]
    keys = [*dict.fromkeys(key for view in views for key in view.keys)]
    for kind, names in (("view", [v.name for v in views]), ("feature", columns), ("key", keys)):
        for name in names:
            check_name(kind, name)
            if kind != "view" and (name.lower() in _TAKEN or name.lower().endswith(_REMOVED)):
                raise ConfigError(
                    f"export to Feast: the {kind} '{name}' has a name that Feast's joins need for "
                    f"themselves. Expected none of {', '.join(_TAKEN)}, and none that ends in "
                    f"{_REMOVED}"
                )
    _check_distinct("feature views", [view.name for view in views])
    _check_distinct("features and keys", [*columns, *keys])


def check_name(kind: str, name: str) -> None:
    """Raises ConfigError if Feast would not take the name of something of a kind."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"export to Feast: the name of a {kind} must be of letters, digits and single "
            f"underscores between them. Received: {name!r}"
        )


def _check_distinct(kind: str, names: Iterable[str]) -> None:
    """Raises ConfigError for names that differ by case at most: Feast's stores ignore it."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise ConfigError(
                f"export to Feast: {kind} must have different names, in upper or lower case. "
                f"Received: {seen[name.lower()]} and {name}"
            )
        seen[name.lower()] = name
