"""The online table of users, items and their past, made of hour tables; see
features/online_files.py.
"""

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
from features.hourly_counts import COUNTS, RECENT, PastFeatures
from features.online_files import SEPARATOR, Tiles, write_closed, write_open, write_profiles
from features.window_features import CLICKS, FEATURE, HOUR_MS, IMPRESSIONS, hour_of
from pipeline.streaming_sections import Streaming
from streaming.layout import Layout
from streaming.tables import HourTables, read_parquet

_KEY, _REST, _HOUR, _SPAN, _CLICKS = "key", "rest", "hour", "span", "clicks"


def online_folder(folder: Path) -> Path:
    """Where the table is, below the config's `streaming.folder`."""
    return folder / "online"


def update_table(
    spark: SparkSession,
    tables: HourTables,
    settings: Streaming,
    as_of_ms: int,
    open_hours: Mapping[int, DataFrame],
) -> None:
    """Brings the table to what is known now: the hours closed since, and the open ones.

    Args:
      spark: the session.
      tables: of the application.
      settings: of the config.
      as_of_ms: after everything that has happened.
      open_hours: hour -> its impressions with their clicks, as far as they are known.
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
            hour: tables.of(spark, shown, hour, others.frames) for hour, shown in open_hours.items()
        }
        write_open(folder, as_of_ms, _tiles(of_open, declared, staged))
    finally:
        spark.catalog.clearCache()  # of what the tables of an hour are made of


def _wanted(
    layout: Layout, declared: PastFeatures, settings: Streaming, as_of_ms: int
) -> dict[int, int]:
    """Returns closed hours with tables that a window may reach -> version.

    An hour that was closed before `hour_tables` was set has none.
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
    """Brings rows here through files, when they are asked for: as fast as Spark writes, and never
    all at once.

    Args:
      frame: of the rows; one at a time.
      folder: for the files; what is there is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)  # Spark's overwrite takes a path for a pattern
    frame.write.parquet(str(folder))
    for path in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(10_000):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    shutil.rmtree(folder)


def _tiles(
    spans: Mapping[int, Mapping[str, DataFrame]], declared: PastFeatures, staged: Path
) -> Tiles:
    """Of the hour tables of each span."""

    def together(name: str, tiles: Callable[[DataFrame, PastFeatures], DataFrame]) -> Iterator[Any]:
        frames = [
            tiles(tables[name].withColumn(_SPAN, F.lit(span)), declared)
            for span, tables in spans.items()
        ]
        return _rows(reduce(DataFrame.unionByName, frames), staged) if frames else iter(())

    return Tiles(together(COUNTS, _counts), together(RECENT, _recent))


def _counts(counts: DataFrame, declared: PastFeatures) -> DataFrame:
    """As Tiles.counts."""

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

    nothing = F.lit(None).cast("string")
    rest = of_feature(lambda keys: F.concat_ws(SEPARATOR, *keys[1:]) if keys[1:] else nothing)
    one = F.struct(F.col(_REST).alias("keys"), IMPRESSIONS, CLICKS)
    ones = F.collect_list(F.when(F.col(_REST).isNotNull(), one))
    lists = F.struct(*(ones[name].alias(name) for name in ("keys", IMPRESSIONS, CLICKS)))
    tile = (FEATURE, _KEY, _HOUR, _SPAN)
    return (
        counts.withColumn(_KEY, of_feature(lambda keys: F.col(keys[0])))
        .withColumn(_REST, rest)
        .withColumn(_HOUR, hour_of("timestamp_ms"))
        .where(F.col(_KEY).isNotNull())  # and of a feature that is declared now, not only then
        .groupBy(*tile)
        .agg(
            F.sum(IMPRESSIONS).cast("bigint").alias(IMPRESSIONS),
            F.sum(CLICKS).cast("bigint").alias(CLICKS),
            F.to_json(lists).alias(_REST),
        )
        .sortWithinPartitions(*tile)
    )


def _recent(clicks: DataFrame, declared: PastFeatures) -> DataFrame:
    """As Tiles.clicks."""
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
