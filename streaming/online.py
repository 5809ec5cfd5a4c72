"""The online table of users, items and their past, made of hour tables; see
pipeline/online_features.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from pipeline.hourly_counts import COUNTS, RECENT
from pipeline.online_features import OnlineRows, write_online
from pipeline.recent_clicks import RecentClicks
from pipeline.sections import Streaming
from pipeline.window_features import (
    CLICKS,
    FEATURE,
    HOUR_MS,
    IMPRESSIONS,
    WindowFeature,
    all_keys,
    hour_of,
)
from streaming.layout import Layout
from streaming.tables import HourTables

_FILE = "features.sqlite"


def online_file(folder: Path) -> Path:
    """Where the table is, below the config's `streaming.folder`."""
    return folder / "online" / _FILE


def write_table_of(
    spark: SparkSession,
    tables: HourTables,
    settings: Streaming,
    as_of_ms: int,
    open_rows: DataFrame | None = None,
) -> None:
    """Makes the table anew: of the closed hours that a window reaches, and what is known of the
    open ones.

    Args:
      spark: the session.
      tables: of the application.
      settings: of the config.
      as_of_ms: what happened from this moment on is left out.
      open_rows: attributed impressions of hours that are not closed.
    """
    layout, hour = Layout(settings.folder), as_of_ms // HOUR_MS
    declared = tables.declared
    longest = max(h for feature in declared.windows for h in feature.windows.values())
    reach = max(longest, declared.recent.hours) + len(settings.click_hours(0))
    before = layout.newest(COUNTS, range(hour - reach, hour + 1))
    clicks_before = layout.newest(RECENT, range(hour - reach, hour + 1))
    sources = tables.read(spark)
    now = tables.of(spark, open_rows, hour, sources) if open_rows is not None else {}
    counts = _together(spark, before, now.get(COUNTS))
    recent = _together(spark, clicks_before, now.get(RECENT))
    windows = sorted({h for feature in declared.windows for h in feature.windows.values()})
    past = F.col("timestamp_ms") < as_of_ms
    rows = OnlineRows(
        windows,
        _counts(counts.where(past), declared.windows, windows, hour) if counts else (),
        _clicks(recent.where(past), declared.recent) if recent else (),
        _profiles(tables.profiles(sources)),
    )
    write_online(online_file(settings.folder), as_of_ms, rows)
    spark.catalog.clearCache()


def _together(spark: SparkSession, folders: list[Path], more: DataFrame | None) -> DataFrame | None:
    frames = [spark.read.parquet(*map(str, folders))] if folders else []
    if more is not None:
        frames.append(more)
    return reduce(DataFrame.unionByName, frames) if frames else None


def _counts(
    counts: DataFrame, features: tuple[WindowFeature, ...], windows: list[int], hour: int
) -> Iterator[tuple[str, list[str], list[int]]]:
    keys_of = {feature.name: feature.keys for feature in features}
    # A clock that is ahead makes `hour` later than that of others; the next hour may begin before
    # the next table is there.
    totals = [
        F.sum(F.when(hour_of("timestamp_ms") >= base - hours, F.col(event)).otherwise(0))
        for base in (hour - 1, hour, hour + 1)
        for hours in windows
        for event in (IMPRESSIONS, CLICKS)
    ]
    named = [total.alias(f"_{place}") for place, total in enumerate(totals)]
    keys = all_keys(features)
    counts = counts.where(F.col(FEATURE).isin([*keys_of]))  # declared now, not only then
    for row in counts.groupBy(FEATURE, *keys).agg(*named).toLocalIterator():
        values = [int(row[f"_{place}"]) for place in range(len(totals))]
        if any(values):
            yield row[FEATURE], [row[key] for key in keys_of[row[FEATURE]]], values


def _clicks(
    clicks: DataFrame, feature: RecentClicks
) -> Iterator[tuple[list[str], list[tuple[Any, ...]]]]:
    entry = F.struct("timestamp_ms", *feature.columns)
    newest = Window.partitionBy(*feature.keys).orderBy(F.desc("_entry"))
    numbered = clicks.withColumn("_entry", entry).withColumn("_n", F.row_number().over(newest))
    last = numbered.where(F.col("_n") <= feature.length)
    lists = last.groupBy(*feature.keys).agg(
        F.sort_array(F.collect_list("_entry"), asc=False).alias("_entries")
    )
    for row in lists.toLocalIterator():
        yield [row[key] for key in feature.keys], [tuple(one) for one in row["_entries"]]


def _profiles(
    frames: Mapping[str, DataFrame],
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for kind, frame in frames.items():
        for row in frame.where(F.col("key").isNotNull()).toLocalIterator():
            profile = row.asDict()
            yield kind, profile.pop("key"), profile
