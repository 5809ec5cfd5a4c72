"""Requests to try a server with, made of the examples of the last run."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from base.errors import ComponentError
from components.model_canary.sampling import sample_examples


def last_examples(run_folder: Path, split: str, wanted: int) -> list[bytes]:
    """Serialized raw tf.Examples of the newest SparkExampleGen; again from the start if too few.

    Args:
      run_folder: of the pipeline.
      split: such as eval.
      wanted: how many.

    Raises:
      ComponentError: there are none.
    """
    folders = sorted(
        (run_folder / "artifacts/SparkExampleGen/examples").glob(f"*/Split-{split}"),
        key=lambda path: path.stat().st_mtime,
    )
    if not folders:
        raise ComponentError(
            f"there are no examples below {run_folder} to ask with; run the pipeline first"
        )
    found = sample_examples(folders[-1], wanted)
    return [found[number % len(found)] for number in range(wanted)]


def without_label(serialized: bytes, label: str) -> bytes:
    """As a ranking service would send it."""
    example = tf.train.Example.FromString(serialized)
    example.features.feature.pop(label, None)
    content: bytes = example.SerializeToString(deterministic=True)
    return content
