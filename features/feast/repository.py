"""Writes feature groups as a feature repository of Feast's, which `feast apply` takes.

Types are those that Spark finds for the columns of groups on empty streams, so they are the types
of computed values. Texts from declarations are only ever written as literals of Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import DataType, StructType

from base.atomic_files import write_text
from base.section import ConfigError
from features.aggregations import Aggregation
from features.batch import add_features
from features.feast.views import (
    TIMESTAMP,
    Column,
    View,
    check_name,
    feast_type,
    key_type,
    views_of,
)
from features.groups import FeatureGroup, check, streams_of

DEFINITIONS, SETTINGS = "definitions.py", "feature_store.yaml"
_VALUE_TYPES = {"Int64": "INT64", "Int32": "INT32", "String": "STRING"}
_IDENTITY, _TIME = "_identity", "_time"


def write_repository(
    spark: SparkSession,
    folder: Path,
    groups: Sequence[FeatureGroup],
    streams: Mapping[str, StructType],
    *,
    project: str,
    values: str = "",
) -> list[Path]:
    """Writes definitions.py and feature_store.yaml.

    Args:
      spark: Session that finds the types of columns; no job runs.
      folder: Folder of the feature repository. It is made; no file in it is replaced.
      groups: Declarations.
      streams: Stream -> schema of its events, such as the `schema` of a DataFrame.
      project: Name of the project in Feast.
      values: Folder or URI that has a folder of Parquet files for each view; by default the folder
        `values` beside definitions.py.

    Returns:
      The two files.

    Raises:
      ConfigError: The declarations do not fit the streams, the schema of a stream is missing, Feast
        would not take a name or a type, or one of the files exists.
    """
    check_name("project", project)
    texts = {
        DEFINITIONS: definitions(spark, groups, streams, values=values),
        SETTINGS: yaml.safe_dump(_settings(project), sort_keys=False),
    }
    for name in texts:
        if (folder / name).exists():
            raise ConfigError(
                f"export to Feast: {folder / name} exists, and may have been edited. Remove it, or "
                "name another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def definitions(
    spark: SparkSession,
    groups: Sequence[FeatureGroup],
    streams: Mapping[str, StructType],
    *,
    values: str = "",
) -> str:
    """Returns the code of definitions.py, with the arguments and errors of `write_repository`."""
    views = views_of(groups)
    for name in streams_of(groups):
        if name not in streams:
            raise ConfigError(
                f"export to Feast: the types of features follow from the schema of the stream "
                f"'{name}', which is missing. Received: {', '.join(sorted(streams)) or 'none'}"
            )
    check(groups, {name: schema.names for name, schema in streams.items()})
    keys: dict[str, _Entity] = {}
    described = [_described(spark, view, streams, keys) for view in views]
    types = {field.dtype for view in described for field in view.fields}
    names = {part for kind in types for part in kind.rstrip(")").split("(")}
    return _template().render(
        views=described,
        entities=keys.values(),
        types=sorted(names),
        timestamp=TIMESTAMP,
        values=values if "://" in values or not values else str(Path(values).absolute()),
    )


@dataclasses.dataclass(frozen=True)
class _Field:
    """A column of a view, with Feast's type as an expression."""

    name: str
    dtype: str
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Description:
    """The values of a view that the template writes."""

    name: str
    keys: Sequence[str]
    ttl_seconds: int
    description: str
    tags: Mapping[str, str]
    fields: Sequence[_Field]


@dataclasses.dataclass(frozen=True)
class _Entity:
    """An entity of Feast's, which has one join key."""

    name: str
    dtype: str
    description: str

    @property
    def value_type(self) -> str:
        return _VALUE_TYPES[self.dtype]


def _described(
    spark: SparkSession,
    view: View,
    streams: Mapping[str, StructType],
    entities: dict[str, _Entity],
) -> _Description:
    """Returns what the template says of a view, and adds its keys to the entities."""
    for group in view.groups:
        for key in view.keys:
            _add_entity(entities, key, streams[group.stream][key].dataType, group.stream)
    types = _types(spark, view, streams)
    shared = _shared([_group_tags(group) for group in view.groups])
    fields = [_Field(key, entities[key].dtype) for key in view.keys]
    for column in view.columns():
        dtype = feast_type(column.name, types[column.name])
        fields.append(_Field(column.name, dtype, _tags(column, shared)))
    of = ", ".join(streams_of(view.groups))
    description = f"Events of {of} before a time, by {', '.join(view.keys)}"
    return _Description(view.name, view.keys, view.ttl_seconds, description, shared, fields)


def _add_entity(entities: dict[str, _Entity], key: str, kind: DataType, stream: str) -> None:
    dtype = key_type(key, kind)
    known = entities.setdefault(key, _Entity(key, dtype, f"Column {key} of {stream}"))
    if known.dtype != dtype:
        raise ConfigError(
            f"export to Feast: the key '{key}' must have one type in all streams. Received: "
            f"{known.dtype} and {dtype} ({known.description}, and of {stream})"
        )


def _types(
    spark: SparkSession, view: View, streams: Mapping[str, StructType]
) -> dict[str, DataType]:
    """Returns the types of a view's columns, which Spark finds without any event."""
    frames = {
        name: spark.createDataFrame([], streams[name]).withColumn(_TIME, F.lit(0).cast("long"))
        for name in streams_of(view.groups)
    }
    keys = frames[view.groups[0].stream].select(*view.keys, _TIME)
    rows = keys.withColumn(_IDENTITY, F.lit(""))
    try:
        found = add_features(rows, view.groups, frames, identity=_IDENTITY, time=_TIME)
    except (AnalysisException, ParseException) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"feature group '{view.name}': Spark rejects it: {reason}") from error
    return {field.name: field.dataType for field in found.schema}


def _group_tags(group: FeatureGroup) -> dict[str, str]:
    tags = {"stream": group.stream, "windows": ", ".join(group.windows), "tile": group.tile}
    return tags if group.where is None else {**tags, "where": group.where}


def _shared(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Returns the tags that all groups of a view have; each feature gets the others."""
    first, *others = tags
    return {k: v for k, v in first.items() if all(other.get(k) == v for other in others)}


def _tags(column: Column, shared: Mapping[str, str]) -> dict[str, str]:
    """Returns the tags of a feature that its view does not have."""
    tags = {key: text for key, text in _group_tags(column.group).items() if key not in shared}
    tags.pop("windows", None)
    return {"aggregation": _declaration(column.aggregation), "window": column.window, **tags}


def _declaration(aggregation: Aggregation) -> str:
    """Returns an aggregation as it was declared, without the defaults."""
    if not dataclasses.is_dataclass(aggregation):
        return repr(aggregation)
    given = [
        f"{field.name}={getattr(aggregation, field.name)!r}"
        for field in dataclasses.fields(aggregation)
        if getattr(aggregation, field.name) != field.default
    ]
    return f"{type(aggregation).__name__}({', '.join(given)})"


def _settings(project: str) -> dict[str, Any]:
    """Returns a store of files on this machine, as a start.

    Feast's default for files, Dask, drops rows that have no value within the ttl, and all but one
    of the rows that an entity has at one time. DuckDB keeps them.
    """
    return {
        "project": project,
        "provider": "local",
        "registry": "data/registry.db",
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "sqlite", "path": "data/online_store.db"},
        "entity_key_serialization_version": 3,
    }


def _template() -> jinja2.Template:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701  # code, in which every text is a literal
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["literal"] = ascii
    return made.get_template(f"{DEFINITIONS}.j2")
