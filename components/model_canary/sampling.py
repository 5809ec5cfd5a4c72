"""Samples a split's examples, evenly over its files."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from base.errors import ComponentError


def sample_examples(folder: Path, wanted: int) -> list[bytes]:
    """Returns serialized tf.Examples, the same ones each time.

    Args:
      folder: Folder of the split, with gzipped TFRecord files.
      wanted: Number of examples; all examples if there are fewer.

    Raises:
      ComponentError: The split is empty.
    """
    files = sorted(str(path) for path in folder.glob("*.gz"))
    share = -(-wanted // max(1, len(files)))
    found: list[bytes] = []
    for file in files:
        records = tf.data.TFRecordDataset(file, "GZIP").take(share)
        found += records.as_numpy_iterator()
    if len(found) < wanted and files:  # files of different length
        everything = tf.data.TFRecordDataset(files, "GZIP").take(wanted)
        found = [*everything.as_numpy_iterator()]
    if not found:
        raise ComponentError(f"there is no example in {folder} to ask the server with")
    return found[:wanted]
