"""Judges and writes a batch of events, then its manifest.

After a crash Spark may run a batch again with the same records. A batch with a manifest is done.
The files of a batch without one are removed.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Collection, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.atomic_files import fsync_tree, write_json
from pipeline.streaming_sections import Streaming
from spark_io.connectors.json_lines import parse_json
from spark_io.examples.rows import WHOLE_VALUES
from spark_io.sources.column_names import LINE, REASON, RECORD, quoted
from streaming.column_names import (
    HOUR,
    OFFSET,
    OUTCOME,
    PARTITION,
    STREAM,
    TIME,
    landed_names,
)
from streaming.landed_columns import MISSING_ID, MISSING_TIME
from streaming.layout import LANDED, LATE, REFUSED, Layout
from streaming.tables import read_parquet
from streaming.watermark import HOUR_MS, advanced, newest_of

EARLIEST_MS = 631_152_000_000  # 1990-01-01; an earlier time means a wrong clock
_NO_HOUR = -1  # hour of rejected events


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a stream.

    Attributes:
      number: Number of the last finished batch; -1 before the first.
      watermark_ms: Watermark after that batch, in epoch milliseconds.
      round_newest_ms: Partition -> newest event time in the current, unfinished round of files.
    """

    number: int = -1
    watermark_ms: int | None = None
    round_newest_ms: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def after(self, manifest: Mapping[str, Any]) -> Progress:
        """Returns the progress after a batch."""
        pending = {}
        if not manifest.get("ends_round", True):
            pending = newest_of(self.round_newest_ms, manifest["newest_ms"])
        known = [w for w in (self.watermark_ms, manifest["watermark_ms"]) if w is not None]
        return Progress(manifest["batch"], max(known, default=None), pending)


def events(lines: Mapping[str, DataFrame], settings: Streaming) -> DataFrame:
    """Returns the parsed events of all streams in one table.

    It has the streams' columns by their names in the landing, REASON and RECORD (null unless a line
    is rejected), STREAM, TIME, PARTITION and OFFSET.

    Args:
      lines: Stream -> LINE, PARTITION and OFFSET.
      settings: Section `streaming` of the config.
    """
    frames = []
    for stream, read in lines.items():
        of = settings.streams[stream]
        parsed = parse_json(read, of.columns, {}).drop(LINE)
        rejected = F.coalesce(F.col(REASON), _rejection(of.id, of.time, settings))
        columns = {name: F.col(quoted(name)) for name in of.columns}
        whole = F.to_json(F.struct(*columns.values()), WHOLE_VALUES)
        names = landed_names(settings, stream)
        judged = parsed.select(
            *[column.alias(names[name]) for name, column in columns.items()],
            rejected.alias(REASON),
            F.when(rejected.isNotNull(), F.coalesce(F.col(RECORD), whole)).alias(RECORD),
            F.when(rejected.isNull(), columns[of.time]).alias(TIME),
            F.lit(stream).alias(STREAM),
            PARTITION,
            OFFSET,
        )
        frames.append(judged)
    return reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)


def _rejection(identity: str, time: str, settings: Streaming) -> Column:
    """Returns the reason code of an event that is readable but impossible; null for the others."""
    now_ms = F.unix_millis(F.current_timestamp())
    when = F.col(quoted(time))
    return (
        F.when(F.col(quoted(identity)).isNull(), MISSING_ID)
        .when(when.isNull(), MISSING_TIME)
        .when(when < EARLIEST_MS, "impossible_time")
        .when(when > now_ms + int(settings.future_minutes * 60_000), "future")
    )


def land(
    batch: DataFrame,
    number: int,
    before: Progress,
    closed: Collection[int],
    settings: Streaming,
    layout: Layout,
    *,
    ends_round: bool = True,
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> dict[str, Any]:
    """Writes a batch, and returns its manifest.

    Only the marker of its hour makes an event late, since settings may change.

    Args:
      batch: Events as `events` returns them.
      number: Number of the batch.
      before: Progress before the batch.
      closed: Hours that have a marker.
      settings: Section `streaming` of the config.
      layout: Paths below the streaming folder.
      ends_round: Whether the watermark may move, because no file of the round is left.
      facts: Function that returns more entries for the manifest, called after the batch is written.
    """
    folder = layout.batch(number)
    shutil.rmtree(folder, ignore_errors=True)
    hour = F.floor(F.col(TIME) / HOUR_MS)
    hours = ", ".join(f"{one}L" for one in sorted(closed))  # one expression for thousands
    late = F.expr(f"floor({TIME} / {HOUR_MS}) in ({hours})") if closed else F.lit(False)
    outcome = F.when(F.col(REASON).isNotNull(), REFUSED).when(late, LATE).otherwise(LANDED)
    judged = batch.withColumns({OUTCOME: outcome, HOUR: F.coalesce(hour, F.lit(_NO_HOUR))})
    judged.write.partitionBy(OUTCOME, STREAM, HOUR).parquet(str(folder))
    fsync_tree(folder)
    manifest = {
        "batch": number,
        "watermark_before_ms": before.watermark_ms,
        "ends_round": ends_round,
        **_counts(batch.sparkSession, folder),
        **facts(),
    }
    newest = newest_of(before.round_newest_ms, manifest["newest_ms"])
    manifest["watermark_ms"] = (
        advanced(before.watermark_ms, newest, settings.lateness_ms)
        if ends_round
        else before.watermark_ms
    )
    write_json(layout.manifest(number), manifest, durable=True)
    return manifest


def _counts(spark: SparkSession, folder: Path) -> dict[str, Any]:
    """Returns the manifest's counts of a written batch, newest times and offsets by partition."""
    rows = []
    if any(folder.rglob("*.parquet")):  # Spark cannot infer a schema without files
        rows = (
            read_parquet(spark, folder)
            .groupBy(OUTCOME, STREAM, HOUR, REASON, PARTITION)
            .agg(
                F.count(F.lit(1)).alias("rows"),
                F.max(TIME).alias("newest"),
                F.min(OFFSET).alias("first"),
                F.max(OFFSET).alias("last"),
            )
            .collect()
        )
    newest: dict[str, int] = {}
    offsets: dict[str, list[int]] = {}
    counts: dict[tuple[str, str, int, str | None], int] = {}
    for row in rows:
        key = (row[OUTCOME], row[STREAM], int(row[HOUR]), row[REASON])
        counts[key] = counts.get(key, 0) + row["rows"]
        place = row[STREAM] if row[PARTITION] is None else f"{row[STREAM]}-{row[PARTITION]}"
        if row["newest"] is not None:
            newest[place] = max(newest.get(place, row["newest"]), row["newest"])
        if row["first"] is not None:
            first, last = offsets.get(place, [row["first"], row["last"]])
            offsets[place] = [min(first, row["first"]), max(last, row["last"])]
    return {
        "rows": [
            {
                "outcome": outcome,
                "stream": stream,
                "hour": None if hour == _NO_HOUR else hour,
                "reason": reason,
                "rows": count,
            }
            for (outcome, stream, hour, reason), count in sorted(
                counts.items(), key=lambda item: str(item[0])
            )
        ],
        "newest_ms": newest,
        "offsets": offsets,
    }
