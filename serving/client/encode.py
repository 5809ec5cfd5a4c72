"""Encodes raw features as tf.Examples, with the types that an ETL's columns have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import tensorflow as tf


def encode(row: Mapping[str, Any], texts: Collection[str], floats: Collection[str]) -> bytes:
    """Returns a row as a serialized tf.Example.

    Args:
      row: Feature -> value, or list of values; None leaves the feature out.
      texts: Features that are texts.
      floats: Features that are floats, even where a value is whole. All others are whole numbers.
    """
    feature = {
        name: _feature(value if isinstance(value, list) else [value], name in texts, name in floats)
        for name, value in row.items()
        if value is not None
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _feature(values: list[Any], is_text: bool, is_float: bool) -> tf.train.Feature:
    if is_float:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    if is_text:
        encoded = tf.train.BytesList(value=[text.encode() for text in values])
        return tf.train.Feature(bytes_list=encoded)
    return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))
