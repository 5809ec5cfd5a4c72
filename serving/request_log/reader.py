"""Reads logged predictions back."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

_log = logging.getLogger(__name__)
_SCORING = (
    "",
    tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY,
)  # others have other outputs than scores


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A line of the log.

    Attributes:
      request_id, version, label: of the request.
      examples: serialized tf.Examples as they came.
      scores: of each.
      context: what the client sent along.
      timestamp_ms: when it was logged.
    """

    request_id: str
    version: int
    label: str
    examples: tuple[bytes, ...]
    scores: tuple[float, ...]
    context: Any
    timestamp_ms: int


def read_predictions(
    folder: Path, version: int | None = None, since: dt.datetime | None = None
) -> Iterator[Prediction]:
    """Closed hours first, then the one that is being written; lines that are none are left out.

    Args:
      folder: of a RequestLog.
      version: only of this one.
      since: hours before this one's are not read.
    """
    closed = sorted(folder.glob("*/*/*.json.gz"))
    if since is not None:
        first = since.strftime("%Y-%m-%d/%H")
        closed = [path for path in closed if f"{path.parts[-3]}/{path.parts[-2]}" >= first]
    for path in [*closed, *sorted(folder.glob(".open-*.json"))]:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    found = json.loads(line)
                except ValueError:  # the last one, of a file that is being written
                    _log.warning("%s: line %d is no JSON; left out", path, number)
                    continue
                scored = found.get("signature") in _SCORING and "examples" in found
                if scored and version in (None, found["version"]):
                    yield _prediction(found)


def _prediction(line: dict[str, Any]) -> Prediction:
    return Prediction(
        request_id=line["request_id"],
        version=line["version"],
        label=line["label"],
        examples=tuple(base64.b64decode(example) for example in line["examples"]),
        scores=tuple(line["scores"]),
        context=line["context"],
        timestamp_ms=line["timestamp_ms"],
    )
