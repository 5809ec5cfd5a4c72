"""Keeps the online store of the features of the past up to date with closed and open hours."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

import base.arrow  # noqa: F401
from base.atomic_files import whole_file
from base.durations import HOUR_MS, milliseconds
from base.errors import ComponentError
from features.history import History, states
from features.history_columns import PAST
from features.online_store import OnlineStore, SqliteStore
from features.online_update import OnlineUpdate, StateRow, States
from pipeline.streaming_sections import Streaming
from streaming.layout import Layout, hour_start
from streaming.tables import HourTables, read_parquet

_SPAN = "span"


def online_store(settings: Streaming, name: str) -> OnlineStore:
    """Returns the store that the config names: Redis, or files in FOLDER/online.

    Args:
      settings: Section `streaming` of the config.
      name: Name of the pipeline, which begins the keys in Redis.
    """
    redis = settings.online_redis
    if redis is None:
        return SqliteStore(settings.folder / "online")
    from features.redis_store import RedisStore  # most configs use files

    password = None
    if redis.password_env and not (password := os.environ.get(redis.password_env)):
        raise ComponentError(
            f"streaming.online_redis.password_env: the environment variable {redis.password_env} "
            "is not set; export the password"
        )
    return RedisStore(
        redis.host,
        redis.port,
        db=redis.db,
        prefix=name,
        password=password,
        tls=redis.tls,
        timeout_s=redis.timeout_s,
    )


def update_store(
    spark: SparkSession,
    tables: HourTables,
    settings: Streaming,
    as_of_ms: int,
    open_hours: Mapping[int, Mapping[str, DataFrame]],
) -> None:
    """Updates the store with newly closed hours and the open ones.

    Args:
      spark: Spark session.
      tables: Tables of the application.
      settings: Section `streaming` of the config.
      as_of_ms: Epoch milliseconds after the newest event.
      open_hours: Open hour -> stream -> its events so far; see closing.open_hours.
    """
    layout, staged = Layout(settings.folder), settings.folder / "online" / ".rows"
    others = tables.read(spark)
    wanted = _wanted(layout, tables, as_of_ms)
    store = online_store(settings, tables.name)

    def of_closed(hours: Sequence[int]) -> States:
        pasts = {h: read_parquet(spark, layout.span(PAST, h, wanted[h])) for h in hours}
        return _states(pasts, tables, staged)

    try:
        update = OnlineUpdate(store, tables.groups, _origin(settings.folder / "online"))
        update.write_profiles(others.version, _profiles(tables.profiles(others.frames)))
        update.write_closed(wanted, of_closed)
        of_open = {
            hour: tables.past(spark, events, hour, others.frames)
            for hour, events in open_hours.items()
        }
        update.write_open(as_of_ms, _states(of_open, tables, staged))
    finally:
        store.close()
        spark.catalog.clearCache()  # holds only the input of the histories


def _origin(folder: Path) -> str:
    """Returns a text that a streaming folder has for its whole life, and no other folder."""
    path = folder / "origin"
    if not path.exists():
        with whole_file(path) as partial:
            partial.write_text(uuid.uuid4().hex)
    return path.read_text("utf-8")


def _wanted(layout: Layout, tables: HourTables, as_of_ms: int) -> dict[int, int]:
    """Returns closed hour -> version, for hours that a window may reach.

    Raises:
      ComponentError: An hour has left no history. Values would be those of entities without a past.
    """
    longest = max(milliseconds(window) for group in tables.groups for window in group.windows)
    first = as_of_ms // HOUR_MS - -(-longest // HOUR_MS)
    closed = {hour: m["version"] for hour, m in layout.closed_hours().items() if hour >= first}
    for hour, version in closed.items():
        if not layout.span(PAST, hour, version).exists():
            raise ComponentError(
                f"{layout.span(PAST, hour, version)} is missing, perhaps since the hour was closed "
                "without streaming.hour_tables; write it: python -m streaming replay --hour "
                f"{hour_start(hour):%Y-%m-%dT%H}"
            )
    return closed


def _states(pasts: Mapping[int, DataFrame], tables: HourTables, staged: Path) -> States:
    """Returns the states of the histories of hours; only one may be read at a time."""
    if not pasts:
        return States((), {})
    spans = [past.withColumn(_SPAN, F.lit(hour)) for hour, past in pasts.items()]
    read = reduce(DataFrame.unionByName, spans)
    types = History(read, tables.groups, min(pasts) * HOUR_MS).types
    order = ("entity", "key", _SPAN, "tile")
    rows = _rows(states(read).repartition("entity", "key").sortWithinPartitions(*order), staged)
    return States(map(StateRow.of, rows), types)


def _rows(frame: DataFrame, folder: Path) -> Iterator[dict[str, Any]]:
    """Yields rows through files, which is faster than Spark's iterator and bounded in memory.

    Args:
      frame: Rows to yield.
      folder: Folder for the files; its contents are removed.
    """
    shutil.rmtree(folder, ignore_errors=True)  # Spark's overwrite treats a path as a pattern
    frame.write.parquet(str(folder))
    for path in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(10_000):
            yield from batch.to_pylist()
    shutil.rmtree(folder)


def _profiles(frames: Mapping[str, DataFrame]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for kind, frame in frames.items():
        for row in frame.where(F.col("key").isNotNull()).toLocalIterator():
            profile = row.asDict()
            yield kind, profile.pop("key"), profile
