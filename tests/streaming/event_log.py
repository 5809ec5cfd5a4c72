"""Settings and events for tests of ingest, and readers of its output."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.streaming_sections import Streaming
from streaming.layout import LATE, REFUSED, Layout

HOUR_MS = 3_600_000
FIRST_HOUR = 474_000  # 2024-01-28 00h
IMPRESSION = {
    "impression_id": "string",
    "session_id": "string",
    "user_id": "string",
    "item_id": "string",
    "position": "int",
    "device": "string",
    "surface": "string",
    "timestamp_ms": "bigint",
}
CLICK = {"click_id": "string", "impression_id": "string", "timestamp_ms": "bigint"}
STREAMS = ("impressions", "clicks")
IDS = {"impressions": "impression_id", "clicks": "click_id"}


def streams(**columns: dict[str, str]) -> dict[str, Any]:
    """Returns the section `streams`; `columns` replaces those of a stream."""
    outcome = {"of": "impressions", "by": "impression_id", "within": "30m"}
    shown = {"id": "impression_id", "time": "timestamp_ms", "columns": IMPRESSION}
    clicked = {"id": "click_id", "time": "timestamp_ms", "columns": CLICK, "outcome": outcome}
    found: dict[str, Any] = {"impressions": shown, "clicks": clicked}
    for stream, names in columns.items():
        found[stream] = {**found[stream], "columns": names}
    return found


def settings(folder: Path, **changes: Any) -> Streaming:
    """Returns settings with a watched folder, unless `kafka` is given."""
    fields: dict[str, Any] = {
        "folder": folder,
        "streams": streams(),
        "trigger_seconds": 0.1,
    }
    if "kafka" not in changes:
        fields["watched"] = folder.with_name(f"{folder.name}-events")
    return Streaming.model_validate({**fields, **changes})


def impression(name: str, minute: float, **changes: Any) -> dict[str, Any]:
    """Returns an impression, `minute` minutes after the start of FIRST_HOUR."""
    time = FIRST_HOUR * HOUR_MS + round(minute * 60_000)
    given: dict[str, Any] = {
        "impression_id": name,
        "session_id": "s",
        "user_id": "u",
        "item_id": "i",
    }
    given |= {"position": 1, "device": "mobile", "surface": "home", "timestamp_ms": time}
    return {**given, **changes}


def click(name: str, of: str, minute: float, **changes: Any) -> dict[str, Any]:
    """Returns a click on impression `of`, `minute` minutes after the start of FIRST_HOUR."""
    time = FIRST_HOUR * HOUR_MS + round(minute * 60_000)
    return {"click_id": name, "impression_id": of, "timestamp_ms": time, **changes}


def put(settings: Streaming, stream: str, *events: dict[str, Any] | str, name: str) -> None:
    """Writes a file of events or raw lines into the watched folder, by one rename."""
    assert settings.watched is not None
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    target = settings.watched / stream / f"{name}.json.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.with_name(f".{target.name}")
    hidden.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    hidden.rename(target)


def rows_of(folders: list[Path], columns: Any) -> list[dict[str, Any]]:
    """Returns the rows of Parquet files below folders."""
    files = [file for folder in folders for file in sorted(folder.rglob("*.parquet"))]
    return [row for file in files for row in pq.ParquetFile(file).read(columns).to_pylist()]


def spans(layout: Layout, stream: str, hour: int | None = None) -> list[dict[str, Any]]:
    """Returns the rows of all closed hours, or of one hour counted from FIRST_HOUR."""
    if hour is not None:
        return rows_of([layout.span(stream, FIRST_HOUR + hour)], None)
    versions = sorted((layout.folder / "spans" / stream).glob("*/*/v[1-9]*"))
    return rows_of(versions, None)


def side_output(layout: Layout, outcome: str, stream: str) -> list[dict[str, Any]]:
    """Returns the late or rejected rows."""
    folders = sorted(layout.batches.glob(f"*/outcome={outcome}/stream={stream}"))
    return rows_of(folders, None)


def lines_of(folder: Path) -> list[bytes]:
    """Returns the lines of a log's files."""
    files = sorted(folder.rglob("*.json.gz"))
    return [line for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def assert_every_event_is_there(layout: Layout, log: Path) -> Counter[str]:
    """Checks that spans, duplicates, late and rejected events are the log, row by row.

    Returns:
      Number of rows, duplicates, late and refused (rejected) events.
    """
    found: Counter[str] = Counter()
    markers = layout.closed_hours().values()
    for stream in STREAMS:
        columns = IMPRESSION if stream == "impressions" else CLICK
        names = list(columns)
        read, refused_lines = [], []
        lines = lines_of(log / stream)
        for line in lines:
            try:
                read.append(json.loads(line))
            except ValueError:  # UnicodeDecodeError is one
                refused_lines.append(line)
        there = spans(layout, stream)
        late = side_output(layout, LATE, stream)
        refused = side_output(layout, REFUSED, stream)
        duplicates = sum(marker["streams"][stream]["duplicates"] for marker in markers)
        assert len(there) + duplicates + len(late) + len(refused) == len(lines)
        # No id appears twice within an hour, and every row is in the log.
        ids = [(row[IDS[stream]], row["timestamp_ms"]) for row in there]
        assert len(set(ids)) == len(ids)
        logged = {_key(row, names) for row in read}
        kept = {_key(row, names) for row in (*there, *late)}
        assert kept <= logged
        # Every other event is rejected with its own text, or is a duplicate.
        kept_ids = {row[IDS[stream]] for row in (*there, *late)}
        records = [row["_record"] for row in refused]
        lost = [row for row in read if row.get(IDS[stream]) not in kept_ids]
        assert len(lost) + len(refused_lines) == len(records)
        found += Counter(
            {
                "rows": len(there),
                "duplicates": duplicates,
                "late": len(late),
                "refused": len(refused),
            }
        )
    return found


def _key(row: dict[str, Any], names: list[str]) -> str:
    return json.dumps([row.get(name) for name in names])
