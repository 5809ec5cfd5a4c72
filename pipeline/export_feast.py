"""Exports an application's features of the past to Feast: python -m pipeline.export_feast --help

Spark is imported late: it takes seconds, and a wrong config should not wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from base.section import ConfigError
from pipeline.application import MODULE
from pipeline.command_line import console, with_config
from pipeline.config import PipelineConfig

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

    from features.groups import FeatureGroup
    from spark_io.sources.source_types import AnySource

_MEMBER, _OPTION = "aggregations", "--stream"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default="feature_repo", show_default=True,
              help="Folder of the feature repository; no file in it is replaced.")  # fmt: skip
@click.option(_OPTION, "named", multiple=True, metavar="NAME=COLUMNS",
              help="Types of a stream's columns, such as 'payments=card string, amount double'. "
              "Those of the config's source of that name need not be given.")  # fmt: skip
@click.option("--values", default="", metavar="FOLDER",
              help="Folder or URI of the tables; by default `values` in --out.")  # fmt: skip
@with_config
def main(config: PipelineConfig, out: Path, named: tuple[str, ...], values: str) -> None:
    """Writes entities, sources and feature views that `feast apply` takes.

    The application's `aggregations` must be FeatureGroups. docs/features.md says how the tables of
    values are written, and what Feast makes of them.
    """
    groups = groups_of(config)
    columns = columns_of(config, groups, [_named(text) for text in named])

    from features.feast.repository import write_repository
    from features.feast.views import views_of
    from spark_io.jobs.session import spark_environment, spark_session

    views = views_of(groups)
    os.environ.update(spark_environment())
    with spark_session({"master": "local[1]", "conf": {}}, "export to Feast") as spark:
        streams = {name: _schema(spark, parts) for name, parts in columns.items()}
        project = config.name.replace("-", "_")
        files = write_repository(spark, out, groups, streams, project=project, values=values)
    count = sum(1 for view in views for _ in view.columns())
    names = ", ".join(view.name for view in views)
    console().print(f"wrote {' and '.join(map(str, files))}: {count} features in {names}")


def groups_of(config: PipelineConfig) -> Sequence[FeatureGroup]:
    """Returns the feature groups of the config's application.

    Raises:
      ConfigError: It has none.
    """
    groups: Sequence[FeatureGroup] = config.loaded_application().member(_MEMBER, "export to Feast")
    if not groups:
        raise ConfigError(f"export to Feast: {config.application}.{MODULE}.{_MEMBER} is empty")
    return groups


def _named(text: str) -> tuple[str, str]:
    name, _, columns = text.partition("=")
    if not name.strip() or not columns.strip():
        raise ConfigError(
            f"{_OPTION} must be like 'payments=card string, amount double'. Received: {text!r}"
        )
    return name.strip(), columns


def columns_of(
    config: PipelineConfig, groups: Sequence[FeatureGroup], given: Sequence[tuple[str, str]]
) -> dict[str, dict[str, str]]:
    """Returns where the columns of each stream are declared: in its source, and as an option.

    Args:
      config: Config whose sources may have the streams' names.
      groups: Declarations, which say what streams are needed.
      given: Streams and columns in Spark SQL. They replace or add to those of the source.

    Returns:
      Stream -> place -> columns in Spark SQL.

    Raises:
      ConfigError: The columns of a stream are declared nowhere, or those of another are given.
    """
    from features.groups import streams_of
    from spark_io.sources.column_names import ddl

    found: dict[str, dict[str, str]] = {name: {} for name in streams_of(groups)}
    for name, places in found.items():
        if declared := _declared(config.sources.get(name)):
            places[f"sources.{name}.columns"] = ddl(declared)
    for name, columns in given:
        if name not in found:
            raise ConfigError(
                f"{_OPTION}: expected one of the streams {', '.join(found)}. Received: {name}"
            )
        found[name][f"{_OPTION} {name}"] = columns
    for name, places in found.items():
        if not places:
            raise ConfigError(
                f"export to Feast: the types of the stream '{name}' are not known. Declare "
                f"sources.{name}.columns, or give {_OPTION} '{name}=column type, ...'"
            )
    return found


def _declared(source: AnySource | None) -> dict[str, str]:
    """Returns the columns of a source that are known without reading it, with their types."""
    folders = dict.fromkeys(getattr(source, "folder_columns", ()), "string")
    return {**getattr(source, "columns", {}), **folders}


def _schema(spark: SparkSession, places: Mapping[str, str]) -> StructType:
    from pyspark.errors import ParseException
    from pyspark.sql.types import StructField, StructType

    fields: dict[str, StructField] = {}
    for place, columns in places.items():
        try:
            schema = spark.createDataFrame([], columns).schema
        except (ParseException, TypeError):
            raise ConfigError(
                f"{place}: expected columns and Spark SQL types, such as 'card string, "
                f"amount double'. Received: {columns!r}"
            ) from None
        fields |= {field.name: field for field in schema}
    return StructType([*fields.values()])


if __name__ == "__main__":
    main()
