"""Finds the files that an earlier version of this project read with Spark's file source.

The checkpoint lists them. `sources/0` (impressions) and `sources/1` (clicks) have one file for each
batch of the source, and `offsets/N` names the last source batch of batch N of the query.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from pipeline.streaming_sections import Streaming
from streaming.file_rounds import FilesRead, watched_folder
from streaming.layout import STREAMS, Layout, numbered


def files_read_by_spark(
    layout: Layout, manifests: Sequence[dict[str, Any]], settings: Streaming
) -> FilesRead:
    """Returns the files of the batches whose manifests do not list files.

    Their sizes are unknown, so changes of these files are not noticed.

    Args:
      layout: Paths below the streaming folder.
      manifests: Manifests of all batches.
      settings: Section `streaming` of a config that names `watched`.
    """
    found: FilesRead = {stream: {} for stream in STREAMS}
    without = [manifest["batch"] for manifest in manifests if "files" not in manifest]
    offsets = layout.checkpoint / "offsets"
    planned = sorted(int(path.name) for path in numbered(offsets) if path.name.isdecimal())
    numbers = [number for number in planned if number <= max(without, default=-1)]
    if not numbers:
        return found
    _, _, *ends = (offsets / str(numbers[-1])).read_text("utf-8").splitlines()
    for place, (stream, end) in enumerate(zip(STREAMS, ends, strict=False)):
        if end.startswith("{"):
            log = layout.checkpoint / "sources" / str(place)
            last = int(json.loads(end)["logOffset"])
            folder = watched_folder(settings, stream).resolve()
            found[stream] = {path: {} for path in _paths(log, last, folder)}
    return found


def _paths(log: Path, last: int, folder: Path) -> set[str]:
    """Returns the logged paths up to source batch `last`, relative to the folder."""
    found = set()
    for file in numbered(log):
        for line in file.read_text("utf-8").splitlines()[1:]:
            entry = json.loads(line)
            path = Path(unquote(urlparse(entry["path"]).path))
            if entry["batchId"] <= last and path.is_relative_to(folder):
                found.add(str(path.relative_to(folder)))
    return found
