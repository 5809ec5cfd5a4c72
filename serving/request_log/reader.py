"""Reads logged predictions back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from pydantic import Base64Bytes, BaseModel, ConfigDict, ValidationError

from base.errors import first_problem
from base.foreign_json import ForeignError, parse_object
from base.shared_names import OPEN_HOUR_PREFIX
from serving.request_log.writer import closed_name

_log = logging.getLogger(__name__)
_MOST_LINE = 512 << 20  # twice the largest request
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
    for path in [*closed, *sorted(folder.glob(f"{OPEN_HOUR_PREFIX}*.json"))]:
        for number, line in enumerate(_lines(path), start=1):
            try:
                found = _Line.model_validate(parse_object(line, max_bytes=_MOST_LINE))
            except (ForeignError, ValidationError) as error:
                # The last one of a file that is being written, or what somebody else wrote there.
                _log.warning("%s: line %d is left out: %s", path, number, _one_line(error))
                continue
            scored = found.signature in _SCORING and found.examples is not None
            if scored and version in (None, found.version):
                yield found.prediction()


class _Line(BaseModel):
    """As the writer writes it."""

    model_config = ConfigDict(extra="ignore")

    request_id: str
    version: int
    label: str
    signature: str
    examples: list[Base64Bytes] | None = None
    scores: list[float]
    context: Any
    timestamp_ms: int

    def prediction(self) -> Prediction:
        return Prediction(
            request_id=self.request_id,
            version=self.version,
            label=self.label,
            examples=tuple(self.examples or ()),
            scores=tuple(self.scores),
            context=self.context,
            timestamp_ms=self.timestamp_ms,
        )


def _lines(path: Path) -> Iterator[bytes]:
    """Of a file; up to where it is damaged."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            yield from lines
    except FileNotFoundError:  # its hour was closed meanwhile
        closed = closed_name(path)
        if closed is not None and closed.exists():
            yield from _lines(closed)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        _log.warning("%s is damaged, and read no further: %s", path, error)


def _one_line(error: ForeignError | ValidationError) -> str:
    return first_problem(error) if isinstance(error, ValidationError) else str(error)
