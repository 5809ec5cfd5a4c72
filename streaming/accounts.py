"""Counts where every event is, by manifests and markers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from streaming.hour_events import replayed_rows
from streaming.layout import LANDED, LATE, REFUSED, Layout

PLACES = ("spans", "duplicates", "open", "late", "refused")  # possible places of an event
AFTER_LABELS = "after_labels"  # outcomes of an hour that came after a run could read them
_LONGEST_GAP = 48  # longest gap whose empty hours are listed
_Rows = Counter[tuple[str, str, int | None]]


def accounts(layout: Layout, streams: Collection[str] = ()) -> dict[str, Any]:
    """Returns the counts of all events.

    Args:
      layout: Paths below the streaming folder.
      streams: Declared streams, which come first; streams of earlier configs follow.

    Returns:
      A dictionary with these keys.
      `hours`: Hours, oldest first, each with hour, state (closed, open, late only, empty), `rows`
        (stream -> rows of the span, or landed so far), duplicates (None while open), late, and
        `outcomes` (stream of outcomes -> verdict or AFTER_LABELS -> number; of closed hours).
      `read`: Stream -> events that were read.
      `places`: Stream -> place of PLACES -> events.
      `refused`: Reason -> rejected events.
      `watermark_ms`: Watermark in epoch milliseconds.
      `batches`: Number of batches.
    """
    manifests, closed = layout.manifests(), layout.closed_hours()
    rows, refused = _Rows(), Counter[str]()
    for manifest in manifests:
        for entry in manifest["rows"]:
            rows[entry["outcome"], entry["stream"], entry["hour"]] += entry["rows"]
            if entry["outcome"] == REFUSED:
                refused[entry["reason"]] += entry["rows"]
    unfit = sum(one["unfit"] for marker in closed.values() for one in marker["streams"].values())
    if unfit:
        refused["unfit_at_close"] = unfit
    known = {hour for _, _, hour in rows if hour is not None} | closed.keys()
    names = [*dict.fromkeys([*streams, *sorted({stream for _, stream, _ in rows})])]
    return {
        "hours": [_hour(hour, names, rows, closed, manifests) for hour in _with_gaps(known)],
        "read": {
            stream: sum(n for (_, of, _), n in rows.items() if of == stream) for stream in names
        },
        "places": {stream: _places(stream, rows, closed, manifests) for stream in names},
        "refused": dict(refused),
        "watermark_ms": layout.watermark_ms(),
        "batches": len(manifests),
    }


def _with_gaps(known: Iterable[int]) -> Iterator[int]:
    """Yields hours in order, and the empty ones between them unless the gap is too long."""
    before: int | None = None
    for hour in sorted(known):
        if before is not None and hour - before <= _LONGEST_GAP:
            yield from range(before + 1, hour)
        yield hour
        before = hour


def _places(
    stream: str,
    rows: _Rows,
    closed: Mapping[int, Mapping[str, Any]],
    manifests: list[dict[str, Any]],
) -> dict[str, int]:
    def total(outcome: str, but: Collection[int | None] = ()) -> int:
        return sum(
            count
            for (kind, name, hour), count in rows.items()
            if kind == outcome and name == stream and hour not in but
        )

    markers = [marker["streams"] for marker in closed.values()]
    in_spans = [streams[stream] for streams in markers if stream in streams]
    replayed = [
        replayed_rows(manifests, m)[stream] for m in closed.values() if m.get("late_batches")
    ]
    return {
        "spans": sum(one["rows"] for one in in_spans),
        "duplicates": sum(one["duplicates"] for one in in_spans),
        "open": total(LANDED, {*closed}),
        "late": total(LATE) - sum(replayed),
        "refused": total(REFUSED) + sum(one.get("unfit", 0) for one in in_spans),
    }


def _hour(
    hour: int,
    streams: Collection[str],
    rows: _Rows,
    closed: Mapping[int, dict[str, Any]],
    manifests: list[dict[str, Any]],
) -> dict[str, Any]:
    marker = closed.get(hour)
    landed = {stream: rows[LANDED, stream, hour] for stream in streams}
    late = sum(rows[LATE, stream, hour] for stream in streams)
    if marker is None:
        state = "open" if any(landed.values()) else "late only" if late else "empty"
        return {
            "hour": hour,
            "state": state,
            "rows": landed,
            "outcomes": {},
            "duplicates": None,
            "late": late,
        }
    replayed = sum(replayed_rows(manifests, marker).values()) if marker.get("late_batches") else 0
    of = marker["streams"]
    return {
        "hour": hour,
        "state": "closed" if marker["version"] == 1 else f"closed, v{marker['version']}",
        "rows": {stream: of[stream]["rows"] if stream in of else 0 for stream in streams},
        "outcomes": {
            name: {**one["outcomes"], AFTER_LABELS: one.get(AFTER_LABELS, 0)}
            for name, one in of.items()
            if "outcomes" in one
        },
        "duplicates": sum(one["duplicates"] for one in of.values()),
        "late": late - replayed,  # the replayed version contains them
    }
