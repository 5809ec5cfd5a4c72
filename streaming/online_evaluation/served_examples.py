"""Statistics of the examples that the server was asked about in an hour."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx_bsl.coders import example_coder

from pipeline.application import LoadedApplication
from serving.request_log.reader import Prediction, read_predictions
from streaming.feedback.rejected import RequestLineError
from streaming.layout import hour_start
from streaming.watermark import HOUR_MS

IsServed = Callable[[Prediction], bool]


class ServedRequests:
    """Tells whether a logged request was about events that happened.

    These are the requests of which the application's `events_of_request` makes events. Others, such
    as candidates that were only compared, have another distribution. Without that function, every
    request counts. Signatures are not checked: a forged request changes a sample, and no label.

    Args:
      application: The application.

    Attributes:
      malformed: Number of requests that the application rejected; they do not count.
    """

    def __init__(self, application: LoadedApplication):
        self.malformed = 0
        self._events_of = None
        if application.has("events_of_request"):
            self._events_of = application.member("events_of_request", "streaming.drift")

    def __call__(self, prediction: Prediction) -> bool:
        """Returns whether a request counts.

        Raises:
          Exception: Whatever `events_of_request` raises besides RequestLineError.
        """
        if self._events_of is None:
            return True
        line = {
            field.name: getattr(prediction, field.name)
            for field in dataclasses.fields(prediction)
            if field.name != "examples"
        }
        try:
            return bool(self._events_of(line, None))
        except RequestLineError:  # `streaming feedback` keeps the line with the reason
            self.malformed += 1
            return False


def is_served(application: LoadedApplication) -> ServedRequests:
    """Returns what tells whether a logged request of an application counts."""
    return ServedRequests(application)


def statistics_of(
    log: Path,
    hour: int,
    schema: schema_pb2.Schema,
    most: int,
    is_served: IsServed,
    seed: int = 0,
) -> statistics_pb2.DatasetFeatureStatisticsList | None:
    """Returns statistics of the examples that were served; None if there are none.

    Args:
      log: Folder of the request log.
      hour: Hours since 1970. A request belongs to the hour of its context's timestamp, or else of
        its log entry.
      schema: Schema of the examples.
      most: Maximum number of examples, sampled at random.
      is_served: Function that tells whether a request counts.
      seed: Seed of the sample.
    """
    found = _served(log, hour, is_served)
    chosen = _sample(found, most, random.Random(seed))  # noqa: S311 - a sample
    if not chosen:
        return None
    batch = example_coder.ExamplesToRecordBatchDecoder(schema.SerializeToString()).DecodeBatch(
        chosen
    )
    options = tfdv.StatsOptions(schema=schema)
    return stats_impl.generate_statistics_in_memory(batch, options)


def _served(log: Path, hour: int, is_served: IsServed) -> Iterator[bytes]:
    # An entry is never logged before its event; a context may name the hour before.
    for prediction in read_predictions(log, since=hour_start(hour - 1)):
        if _time_ms(prediction) // HOUR_MS == hour and is_served(prediction):
            yield from prediction.examples


def _time_ms(prediction: Prediction) -> int:
    """Returns the context's timestamp if it is valid; anybody may send a context."""
    context = prediction.context
    said = context.get("timestamp_ms") if isinstance(context, dict) else None
    return said if isinstance(said, int) else prediction.timestamp_ms


def _sample(examples: Iterator[bytes], most: int, chance: random.Random) -> list[bytes]:
    """Returns a uniform sample in one pass (reservoir sampling)."""
    chosen: list[bytes] = []
    for number, example in enumerate(examples):
        if number < most:
            chosen.append(example)
        elif (place := chance.randint(0, number)) < most:
            chosen[place] = example
    return chosen
