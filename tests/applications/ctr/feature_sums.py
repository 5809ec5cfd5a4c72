"""Sums of the features of examples, for comparison with golden values."""

from __future__ import annotations

import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import tensorflow as tf


def feature_sums(artifact: Path) -> dict[str, dict[str, Any]]:
    """Returns feature -> its number of values and their sum, over all splits of an artifact.

    Values of a list are weighted by their place, so that a changed order changes the sum. Texts
    count by their CRC-32.
    """
    sums: dict[str, dict[str, Any]] = defaultdict(lambda: {"values": 0, "sum": 0.0})
    for shard in sorted(artifact.glob("Split-*/*.gz")):
        for record in tf.data.TFRecordDataset(str(shard), "GZIP").as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            for name, feature in example.features.feature.items():
                kind = feature.WhichOneof("kind")
                values = getattr(feature, kind).value if kind else []
                numbers = [zlib.crc32(v) if kind == "bytes_list" else v for v in values]
                sums[name]["values"] += len(numbers)
                sums[name]["sum"] += sum(v * place for place, v in enumerate(numbers, 1))
    return dict(sorted(sums.items()))
