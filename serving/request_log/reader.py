"""Reads logged predictions."""

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
from serving.request_log.writer import closed_path

_log = logging.getLogger(__name__)
_MAX_LINE_BYTES = 512 << 20  # twice the largest request
# The outputs of other signatures are not scores.
_SCORING_SIGNATURES = ("", tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A logged request and its answer.

    Attributes:
      request_id, version, label: Id, model version and version label of the request.
      examples: Serialized tf.Examples as they were sent.
      scores: Score of each example, in order; of several classes, all of one example together.
      context: Context that the client sent.
      timestamp_ms: Time of logging, in milliseconds since the epoch.
      keys: Feature of `serving.request_log.keys` -> its value in each example, as it was logged.
      decisions: Decision of each example, 0 or 1; None of a model that does not decide.
    """

    request_id: str
    version: int
    label: str
    examples: tuple[bytes, ...]
    scores: tuple[float, ...]
    context: Any
    timestamp_ms: int
    keys: Any = None
    decisions: tuple[int, ...] | None = None


def read_predictions(
    folder: Path, version: int | None = None, since: dt.datetime | None = None
) -> Iterator[Prediction]:
    """Yields the predictions of the closed hours, then those of the open hour.

    Invalid lines are logged and skipped.

    Args:
      folder: Folder of a RequestLog.
      version: Model version to select; None for all.
      since: Earliest hour to read; None for all.
    """
    closed = sorted(folder.glob("*/*/*.json.gz"))
    if since is not None:
        first = since.strftime("%Y-%m-%d/%H")
        closed = [path for path in closed if f"{path.parts[-3]}/{path.parts[-2]}" >= first]
    for path in [*closed, *sorted(folder.glob(f"{OPEN_HOUR_PREFIX}*.json"))]:
        for number, line in enumerate(_lines(path), start=1):
            try:
                found = _LogLine.model_validate(parse_object(line, max_bytes=_MAX_LINE_BYTES))
            except (ForeignError, ValidationError) as error:
                # The incomplete last line of an open file, or a line of another program.
                _log.warning("%s: line %d is skipped: %s", path, number, _one_line(error))
                continue
            has_scores = found.signature in _SCORING_SIGNATURES and found.examples is not None
            if has_scores and version in (None, found.version):
                yield found.prediction()


class _LogLine(BaseModel):
    """A line as `log_line` writes it."""

    model_config = ConfigDict(extra="ignore")

    request_id: str
    version: int
    label: str
    signature: str
    examples: list[Base64Bytes] | None = None
    scores: list[float]
    context: Any
    timestamp_ms: int
    keys: Any = None
    decisions: list[int] | None = None

    def prediction(self) -> Prediction:
        return Prediction(
            request_id=self.request_id,
            version=self.version,
            label=self.label,
            examples=tuple(self.examples or ()),
            scores=tuple(self.scores),
            context=self.context,
            timestamp_ms=self.timestamp_ms,
            keys=self.keys,
            decisions=None if self.decisions is None else tuple(self.decisions),
        )


def _lines(path: Path) -> Iterator[bytes]:
    """Yields the lines of a file, up to the first damage."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            yield from lines
    except FileNotFoundError:  # its hour has just been closed
        closed = closed_path(path)
        if closed is not None and closed.exists():
            yield from _lines(closed)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        _log.warning("%s is damaged; the rest of it is skipped: %s", path, error)


def _one_line(error: ForeignError | ValidationError) -> str:
    return first_problem(error) if isinstance(error, ValidationError) else str(error)
