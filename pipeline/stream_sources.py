"""Sources that read what ingest writes: `kind: stream` and `kind: past` become sources of files.

    sources:
      rides: {kind: stream}      the hours of the stream `rides`, with its columns
      tips: {kind: stream}       outcomes: the hours after the window that they need follow
      past: {kind: past}         what the features of the window need of the hours before

Nothing that streams or declarations say is stated twice. Other keys, such as may_be_null, are those
of a source of files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from base.durations import HOUR_MS, milliseconds
from base.section import ConfigError
from features.history_columns import COLUMNS, PAST
from pipeline.application import load_application

STREAM = "stream"
_HOUR = "{YYYY}-{MM}-{DD}/{HH}/v{VERSION}/*.parquet"
INDEX = "index.json"


def expand(content: dict[str, Any]) -> dict[str, Any]:
    """Returns a config whose sources of the kinds `stream` and `past` are sources of files.

    Args:
      content: A config as it was read; sections may still be wrong, which others report.

    Raises:
      ConfigError: A source names a stream that the config does not have.
    """
    sources = content.get("sources")
    if not isinstance(sources, dict):
        return content
    return {**content, "sources": {n: _expanded(content, n, one) for n, one in sources.items()}}


def stream_path(name: str) -> str:
    """Returns the path of a table's spans below the folder of the spans."""
    return f"{name}/{_HOUR}"


def _expanded(content: Mapping[str, Any], name: str, source: Any) -> Any:
    kind = source.get("kind") if isinstance(source, dict) else None
    if kind not in (STREAM, PAST):
        return source
    own = {key: value for key, value in source.items() if key != "kind"}
    table = PAST if kind == PAST else name
    if kind == PAST and name != PAST:
        raise ConfigError(f"sources.{name}: a source of the kind {PAST} has this name as well")
    common = {"format": "parquet", **_place(content, name, table)}
    if kind == PAST:
        # An hour without genuine events leaves the line that says so, and no more.
        null = ["entity", "key", "tile", "at"]
        reach = {"spans_before": _reach(content)}
        return {**common, "columns": COLUMNS, "may_be_null": null, **reach, **own}
    streams = _section(content, "streaming").get("streams", {})
    if name not in streams:
        raise ConfigError(
            f"sources.{name}: expected one of the streams {', '.join(streams) or '(none)'}, since "
            f"a source of the kind {STREAM} has the name of its stream. Received: {name}"
        )
    declared = streams[name] if isinstance(streams[name], dict) else {}
    said = {key: declared[key] for key in ("columns", "outcome") if declared.get(key) is not None}
    return {**common, **said, **own}


def _section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _place(content: Mapping[str, Any], name: str, table: str) -> dict[str, str]:
    folder = _section(content, "streaming").get("folder")
    if not isinstance(folder, str):
        raise ConfigError(f"sources.{name}: there is no streaming.folder to read it from")
    spans, root = Path(folder).resolve() / "spans", str(content.get("data_root", ""))
    place = str(spans) if "://" in root else os.path.relpath(spans, Path(root).resolve())
    if place.startswith(("/", "..")):  # not below data_root
        place = f"file://{spans}"
    return {"path": f"{place}/{stream_path(table)}", "index": f"{place}/{table}/{INDEX}"}


def _reach(content: Mapping[str, Any]) -> int:
    """Returns the number of hours before a window that its rows' features need."""
    groups = load_application(str(content.get("application"))).member(
        "aggregations", f"sources.{PAST}"
    )
    longest = max((milliseconds(w) for group in groups for w in group.windows), default=0)
    return int(-(-longest // HOUR_MS))
