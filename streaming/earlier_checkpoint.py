"""Files that Spark's file source has read, of a folder that an earlier version has written to.

Its checkpoint lists them: `sources/0` of impressions, `sources/1` of clicks, a file each batch of
the source, and `offsets/N` says how far batch N of the query goes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from pipeline.streaming_sections import Streaming
from streaming.file_rounds import Read, watched_folder
from streaming.layout import STREAMS, Layout, numbered


def files_read_by_spark(
    layout: Layout, manifests: Sequence[dict[str, Any]], settings: Streaming
) -> Read:
    """Returns the files of the batches that have a manifest without a list of files.

    Their sizes are not known, so a change of theirs is not noticed.

    Args:
      layout: Where everything lies.
      manifests: Manifests of all batches.
      settings: Section `streaming` of a config that names `watched`.
    """
    found: Read = {stream: {} for stream in STREAMS}
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
    """Returns the paths, relative to the folder, of the entries up to a batch of the source."""
    found = set()
    for file in numbered(log):
        for line in file.read_text("utf-8").splitlines()[1:]:
            entry = json.loads(line)
            path = Path(unquote(urlparse(entry["path"]).path))
            if entry["batchId"] <= last and path.is_relative_to(folder):
                found.add(str(path.relative_to(folder)))
    return found
