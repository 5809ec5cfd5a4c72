"""Loads hour tables into the online table of users and items; see features/online_files.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

import base.arrow  # noqa: F401
from features.hourly_counts import COUNTS, RECENT, Declared
from features.online_files import SEPARATOR, Tiles, write_closed, write_open, write_profiles
from features.window_features import CLICKS, FEATURE, HOUR_MS, IMPRESSIONS, hour_of
from pipeline.streaming_sections import Streaming
from streaming.layout import Layout
from streaming.tables import HourTables, read_parquet

_KEY, _REST, _HOUR, _SPAN, _CLICKS = "key", "rest", "hour", "span", "clicks"


def online_folder(folder: Path) -> Path:
    """Returns the folder of the online table, given the config's `streaming.folder`."""
    return folder / "online"


def update_table(
    spark: SparkSession,
    tables: HourTables,
    settings: Streaming,
    as_of_ms: int,
    open_hours: Mapping[int, DataFrame],
) -> None:
    """Updates the table with newly closed hours and the open ones.

    Args:
      spark: Spark session.
      tables: Tables of the application.
      settings: Section `streaming` of the config.
      as_of_ms: Epoch milliseconds after the newest event.
      open_hours: Open hour -> its impressions so far, with clicks.
    """
    layout, folder = Layout(settings.folder), online_folder(settings.folder)
    others, declared = tables.read(spark), tables.declared
    wanted, staged = _wanted(layout, declared, settings, as_of_ms), folder / ".rows"

    def of_closed(hour: int) -> Tiles:
        spans = {name: layout.span(name, hour, wanted[hour]) for name in (COUNTS, RECENT)}
        frames = {name: read_parquet(spark, span) for name, span in spans.items()}
        return _tiles({hour: frames}, declared, staged)

    try:
        write_profiles(folder, others.version, _profiles(tables.profiles(others.frames)))
        write_closed(folder, repr(declared), wanted, of_closed)
        of_open = {
            hour: tables.build(spark, shown, hour, others.frames)
            for hour, shown in open_hours.items()
        }
        write_open(folder, as_of_ms, _tiles(of_open, declared, staged))
    finally:
        spark.catalog.clearCache()  # holds only the input of the hour tables


def _wanted(
    layout: Layout, declared: Declared, settings: Streaming, as_of_ms: int
) -> dict[int, int]:
    """Returns closed hour -> version, for hours that have tables and that a window may reach.

    An hour that was closed before `hour_tables` was set has no tables.
    """
    longest = max(h for feature in declared.windows for h in feature.windows.values())
    reach = max(longest, declared.recent.hours) + len(settings.click_hours(0))
    first = as_of_ms // HOUR_MS - reach
    return {
        hour: marker["version"]
        for hour, marker in layout.closed_hours().items()
        if hour >= first and layout.span(COUNTS, hour, marker["version"]).exists()
    }


def _rows(frame: DataFrame, folder: Path) -> Iterator[tuple[Any, ...]]:
    """Yields rows through files, which is faster than Spark's iterator and bounded in memory.

    Args:
      frame: Rows to yield. Only one iterator may use a folder at a time.
      folder: Folder for the files; its contents are removed.
    """
    shutil.rmtree(folder, ignore_errors=True)  # Spark's overwrite treats a path as a pattern
    frame.write.parquet(str(folder))
    for path in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(10_000):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    shutil.rmtree(folder)


def _tiles(spans: Mapping[int, Mapping[str, DataFrame]], declared: Declared, staged: Path) -> Tiles:
    """Returns the tiles of the hour tables of each span."""

    def together(name: str, tiles: Callable[[DataFrame, Declared], DataFrame]) -> Iterator[Any]:
        frames = [
            tiles(tables[name].withColumn(_SPAN, F.lit(span)), declared)
            for span, tables in spans.items()
        ]
        return _rows(reduce(DataFrame.unionByName, frames), staged) if frames else iter(())

    return Tiles(together(COUNTS, _counts), together(RECENT, _recent))


def _counts(counts: DataFrame, declared: Declared) -> DataFrame:
    """Returns the rows of Tiles.counts."""

    def of_feature(column: Callable[[tuple[str, ...]], Column]) -> Column:
        cases = [
            F.when(
                (F.col(FEATURE) == feature.name)
                & reduce(Column.__and__, [F.col(key).isNotNull() for key in feature.keys]),
                column(feature.keys),
            )
            for feature in declared.windows
        ]
        return F.coalesce(*cases)

    null = F.lit(None).cast("string")
    rest = of_feature(lambda keys: F.concat_ws(SEPARATOR, *keys[1:]) if keys[1:] else null)
    one = F.struct(F.col(_REST).alias("keys"), IMPRESSIONS, CLICKS)
    ones = F.collect_list(F.when(F.col(_REST).isNotNull(), one))
    lists = F.struct(*(ones[name].alias(name) for name in ("keys", IMPRESSIONS, CLICKS)))
    tile = (FEATURE, _KEY, _HOUR, _SPAN)
    return (
        counts.withColumn(_KEY, of_feature(lambda keys: F.col(keys[0])))
        .withColumn(_REST, rest)
        .withColumn(_HOUR, hour_of("timestamp_ms"))
        .where(F.col(_KEY).isNotNull())  # null for features no longer declared
        .groupBy(*tile)
        .agg(
            F.sum(IMPRESSIONS).cast("bigint").alias(IMPRESSIONS),
            F.sum(CLICKS).cast("bigint").alias(CLICKS),
            F.to_json(lists).alias(_REST),
        )
        .sortWithinPartitions(*tile)
    )


def _recent(clicks: DataFrame, declared: Declared) -> DataFrame:
    """Returns the rows of Tiles.clicks."""
    feature = declared.recent
    entries = F.sort_array(F.collect_list(F.struct("timestamp_ms", *feature.columns)), asc=False)
    return (
        clicks.where(reduce(Column.__and__, [F.col(key).isNotNull() for key in feature.keys]))
        .groupBy(F.concat_ws(SEPARATOR, *feature.keys).alias(_KEY), _SPAN)
        .agg(F.to_json(F.slice(entries, 1, feature.length)).alias(_CLICKS))
        .sortWithinPartitions(_KEY)
        .select(_KEY, _SPAN, _CLICKS)
    )


def _profiles(
    frames: Mapping[str, DataFrame],
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for kind, frame in frames.items():
        for row in frame.where(F.col("key").isNotNull()).toLocalIterator():
            profile = row.asDict()
            yield kind, profile.pop("key"), profile
