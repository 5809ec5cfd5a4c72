"""A batch of events: each judged, all written, and then the manifest.

Spark runs a batch again, with the same records, when it does not know that it was done. A batch
that has its manifest is done; what one without it has written is thrown away.
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
    declared,
    landed_names,
)
from streaming.landed_columns import MISSING_ID, MISSING_TIME
from streaming.layout import LANDED, LATE, REFUSED, Layout
from streaming.tables import read_parquet
from streaming.watermark import HOUR_MS, advanced, newest_of

EARLIEST_MS = 631_152_000_000  # 1990-01-01: no log is older; clocks that say so are wrong
_NO_HOUR = -1  # of events that are refused


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far the stream has come.

    Attributes:
      number: Number of the last batch that is done; -1 before the first.
      watermark_ms: Watermark after it.
      round_newest_ms: Partition -> newest event time of the batches since the watermark last
        moved: of a round of files that is not at its end.
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
    """Returns the events of both streams, parsed, in one table.

    Its columns are those of the streams by their names in the landing, REASON and RECORD (null
    unless a line is refused), STREAM, TIME, PARTITION and OFFSET.

    Args:
      lines: Stream -> LINE, PARTITION and OFFSET.
      settings: Section `streaming` of the config.
    """
    frames = []
    for stream, read in lines.items():
        of = declared(settings, stream)
        parsed = parse_json(read, of.columns, {}).drop(LINE)
        refused = F.coalesce(F.col(REASON), _refusal(of.id, of.time, settings))
        columns = {name: F.col(quoted(name)) for name in of.columns}
        whole = F.to_json(F.struct(*columns.values()), WHOLE_VALUES)
        names = landed_names(settings, stream)
        judged = parsed.select(
            *[column.alias(names[name]) for name, column in columns.items()],
            refused.alias(REASON),
            F.when(refused.isNotNull(), F.coalesce(F.col(RECORD), whole)).alias(RECORD),
            F.when(refused.isNull(), columns[of.time]).alias(TIME),
            F.lit(stream).alias(STREAM),
            PARTITION,
            OFFSET,
        )
        frames.append(judged)
    return reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)


def _refusal(identity: str, time: str, settings: Streaming) -> Column:
    """Reason code of an event that can be read and cannot be true."""
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

    An event is late if its hour has a marker, and for no other reason: settings may change.

    Args:
      batch: Events as `events` returns them.
      number: Number of the batch.
      before: Progress after the batch before it.
      closed: Hours that have a marker.
      settings: Section `streaming` of the config.
      layout: Where everything lies.
      ends_round: Whether the watermark may move: nothing of before is left to read.
      facts: Called once the batch is written, for more that the manifest is to keep.
    """
    folder = layout.batch(number)
    shutil.rmtree(folder, ignore_errors=True)
    hour = F.floor(F.col(TIME) / HOUR_MS)
    hours = ", ".join(f"{one}L" for one in sorted(closed))  # one expression: there may be thousands
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
    """Of what lies on disk: rows by outcome, stream, hour and reason; what each partition said."""
    rows = []
    if any(folder.rglob("*.parquet")):  # without any, Spark finds no schema
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
