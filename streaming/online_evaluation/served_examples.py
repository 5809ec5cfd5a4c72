"""What the server was asked about in an hour, as statistics."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx_bsl.coders import example_coder

from serving.request_log.reader import Prediction, read_predictions
from streaming.layout import hour_start
from streaming.watermark import HOUR_MS


def statistics_of(
    log: Path, hour: int, schema: schema_pb2.Schema, most: int, seed: int = 0
) -> statistics_pb2.DatasetFeatureStatisticsList | None:
    """Of the examples of what was shown; those of mere candidates are another distribution.

    Args:
      log: folder of the request log.
      hour: since 1970; a request belongs to it by its context's time, else by when it was logged.
      schema: of the examples.
      most: so many, chosen at random.
      seed: of the choice.

    Returns:
      None where nothing was shown.
    """
    chosen = _sample(_shown(log, hour), most, random.Random(seed))  # noqa: S311 - a sample
    if not chosen:
        return None
    batch = example_coder.ExamplesToRecordBatchDecoder(schema.SerializeToString()).DecodeBatch(
        chosen
    )
    options = tfdv.StatsOptions(schema=schema)
    return stats_impl.generate_statistics_in_memory(batch, options)


def _shown(log: Path, hour: int) -> Iterator[bytes]:
    # Nothing is logged before it happens.
    for prediction in read_predictions(log, since=hour_start(hour - 1)):
        said = prediction.context
        if isinstance(said, dict) and "shown" in said and _time_ms(prediction) // HOUR_MS == hour:
            yield from prediction.examples


def _time_ms(prediction: Prediction) -> int:
    """Anybody may send a context: a time that is none counts for nothing."""
    said = prediction.context.get("timestamp_ms")
    return said if isinstance(said, int) else prediction.timestamp_ms


def _sample(examples: Iterator[bytes], most: int, chance: random.Random) -> list[bytes]:
    """Reservoir sampling: each with the same probability, in one pass."""
    chosen: list[bytes] = []
    for number, example in enumerate(examples):
        if number < most:
            chosen.append(example)
        elif (place := chance.randint(0, number)) < most:
            chosen[place] = example
    return chosen
