"""Statistics of the examples that the server was asked about in an hour."""

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
    """Returns statistics of the examples that were shown; None if there are none.

    Candidates that were not shown are left out, since their distribution differs.

    Args:
      log: Folder of the request log.
      hour: Hours since 1970. A request belongs to the hour of its context's timestamp, or else of
        its log entry.
      schema: Schema of the examples.
      most: Maximum number of examples, sampled at random.
      seed: Seed of the sample.
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
    # An entry is never logged before its event; a context may name the hour before.
    for prediction in read_predictions(log, since=hour_start(hour - 1)):
        said = prediction.context
        if isinstance(said, dict) and "shown" in said and _time_ms(prediction) // HOUR_MS == hour:
            yield from prediction.examples


def _time_ms(prediction: Prediction) -> int:
    """Returns the context's timestamp if it is valid; anybody may send a context."""
    said = prediction.context.get("timestamp_ms")
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
