"""A batch of events: each judged, all written, and then the manifest.

Spark runs a batch again, with the same records, when it does not know that it was done. A batch
that has its manifest is done; what one without it has written is thrown away.
"""

from __future__ import annotations

import dataclasses
import shutil
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from components.spark_example_gen.connectors.json_lines import parse_json
from components.spark_example_gen.rows import LINE, REASON, RECORD, WHOLE_VALUES
from components.spark_example_gen.staging import fsync_tree
from pipeline.streaming_sections import Streaming
from streaming.layout import LANDED, LATE, REFUSED, STREAMS, Layout, write_whole
from streaming.sources import OFFSET, PARTITION, declared, lines
from streaming.watermark import HOUR_MS, advanced, first_open_hour

EARLIEST_MS = 631_152_000_000  # 1990-01-01: no log is older; clocks that say so are wrong
_STREAM, _OUTCOME, _HOUR, _TIME = "stream", "outcome", "hour", "_time_ms"
_NO_HOUR = -1  # of events that are refused


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far the stream has come.

    Attributes:
      number: of the last batch that is done; -1 before the first.
      watermark_ms: after it.
    """

    number: int = -1
    watermark_ms: int | None = None


def events(spark: SparkSession, settings: Streaming) -> DataFrame:
    """Both streams, parsed: the union of their columns, REASON and RECORD where a line cannot be
    read, `stream`, PARTITION and OFFSET.
    """
    frames = []
    for stream in STREAMS:
        of = declared(settings, stream)
        parsed = parse_json(lines(spark, settings, stream), of.columns, {}).drop(LINE)
        refused = F.coalesce(F.col(REASON), _refusal(of.id, of.time, settings))
        whole = F.to_json(F.struct(*of.columns), WHOLE_VALUES)
        record = F.when(refused.isNotNull(), F.coalesce(F.col(RECORD), whole))
        frames.append(
            parsed.withColumn(RECORD, record)
            .withColumn(REASON, refused)
            .withColumn(_TIME, F.when(F.col(REASON).isNull(), F.col(of.time)))
            .withColumn(_STREAM, F.lit(stream))
        )
    return reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)


def _refusal(identity: str, time: str, settings: Streaming) -> Column:
    """Reason code of an event that can be read and cannot be true."""
    now_ms = F.unix_millis(F.current_timestamp())
    when = F.col(time)
    return (
        F.when(F.col(identity).isNull(), "missing_id")
        .when(when.isNull(), "missing_time")
        .when(when < EARLIEST_MS, "impossible_time")
        .when(when > now_ms + int(settings.future_minutes * 60_000), "future")
    )


def land(
    batch: DataFrame, number: int, before: Progress, settings: Streaming, layout: Layout
) -> dict[str, Any]:
    """Writes a batch, and returns its manifest.

    Args:
      batch: of `events`.
      number: Spark's, of the batch.
      before: the batch before it.
      settings: of the config.
      layout: where to.
    """
    folder = layout.batch(number)
    shutil.rmtree(folder, ignore_errors=True)
    first_open = first_open_hour(before.watermark_ms, settings.attribution_ms)
    hour = F.floor(F.col(_TIME) / HOUR_MS)
    late = F.lit(False) if first_open is None else hour < first_open
    outcome = F.when(F.col(REASON).isNotNull(), REFUSED).when(late, LATE).otherwise(LANDED)
    judged = batch.withColumns({_OUTCOME: outcome, _HOUR: F.coalesce(hour, F.lit(_NO_HOUR))})
    partitions = (_OUTCOME, _STREAM, _HOUR)
    judged.write.partitionBy(*partitions).parquet(str(folder))
    fsync_tree(folder)
    manifest = {
        "batch": number,
        "watermark_before_ms": before.watermark_ms,
        **_counts(batch.sparkSession, folder),
    }
    manifest["watermark_ms"] = advanced(
        before.watermark_ms, manifest["newest_ms"], settings.lateness_ms
    )
    write_whole(layout.manifest(number), manifest)
    return manifest


def _counts(spark: SparkSession, folder: Path) -> dict[str, Any]:
    """Of what lies on disk: rows by outcome, stream, hour and reason; what each partition said."""
    rows = []
    if any(folder.rglob("*.parquet")):  # without any, Spark finds no schema
        rows = (
            spark.read.parquet(str(folder))
            .groupBy(_OUTCOME, _STREAM, _HOUR, REASON, PARTITION)
            .agg(
                F.count(F.lit(1)).alias("rows"),
                F.max(_TIME).alias("newest"),
                F.min(OFFSET).alias("first"),
                F.max(OFFSET).alias("last"),
            )
            .collect()
        )
    newest: dict[str, int] = {}
    offsets: dict[str, list[int]] = {}
    counts: dict[tuple[str, str, int, str | None], int] = {}
    for row in rows:
        key = (row[_OUTCOME], row[_STREAM], int(row[_HOUR]), row[REASON])
        counts[key] = counts.get(key, 0) + row["rows"]
        place = row[_STREAM] if row[PARTITION] is None else f"{row[_STREAM]}-{row[PARTITION]}"
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
