"""Where every event is: a count of the manifests and markers, which any process may read."""

from __future__ import annotations

from collections import Counter
from typing import Any

from streaming.layout import CLICKS, IMPRESSIONS, LANDED, LATE, REFUSED, STREAMS, Layout


def accounts(layout: Layout) -> dict[str, Any]:
    """Hours with what became of their events, oldest first.

    Returns:
      `hours`: each with hour, state (closed, open, empty), impressions, clicked, clicks (rows of
      the spans, or landed so far), duplicates (None while open) and late; `read`: stream -> events;
      `refused`: reason -> events; `watermark_ms`; `batches`.
    """
    manifests, closed = layout.manifests(), layout.closed_hours()
    rows: Counter[tuple[str, str, int | None]] = Counter()
    refused: Counter[str] = Counter()
    for manifest in manifests:
        for entry in manifest["rows"]:
            rows[entry["outcome"], entry["stream"], entry["hour"]] += entry["rows"]
            if entry["outcome"] == REFUSED:
                refused[entry["reason"]] += entry["rows"]
    known = {hour for _, _, hour in rows if hour is not None} | closed.keys()
    hours = range(min(known), max(known) + 1) if known else range(0)
    return {
        "hours": [_hour(hour, rows, closed) for hour in hours],
        "read": {
            stream: sum(n for (_, of, _), n in rows.items() if of == stream) for stream in STREAMS
        },
        "refused": dict(refused),
        "watermark_ms": layout.watermark_ms(),
        "batches": len(manifests),
    }


def _hour(
    hour: int, rows: Counter[tuple[str, str, int | None]], closed: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    marker = closed.get(hour)
    landed = {stream: rows[LANDED, stream, hour] for stream in STREAMS}
    late = sum(rows[LATE, stream, hour] for stream in STREAMS)
    if marker is None:
        state = "open" if any(landed.values()) else "empty"
        return {
            "hour": hour,
            "state": state,
            **landed,
            "clicked": None,
            "duplicates": None,
            "late": late,
        }
    return {
        "hour": hour,
        "state": "closed" if marker["version"] == 1 else f"closed, v{marker['version']}",
        **{stream: marker[stream]["rows"] for stream in STREAMS},
        "clicked": marker[IMPRESSIONS]["clicked"],
        "duplicates": sum(marker[stream]["duplicates"] for stream in (IMPRESSIONS, CLICKS)),
        "late": late - marker.get("late_rows", 0),  # what a replay has read is in its version
    }
