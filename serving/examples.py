"""Takes examples of the last run to build requests from."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from base.errors import ComponentError
from components.model_canary.sampling import sample_examples


def last_examples(run_folder: Path, split: str, wanted: int) -> list[bytes]:
    """Returns serialized raw tf.Examples of the newest SparkExampleGen, repeated if too few.

    Args:
      run_folder: Folder of the pipeline's runs.
      split: Name of the split, such as eval.
      wanted: Number of examples to return.

    Raises:
      ComponentError: There are no examples.
    """
    folders = sorted(
        (run_folder / "artifacts/SparkExampleGen/examples").glob(f"*/Split-{split}"),
        key=lambda path: path.stat().st_mtime,
    )
    if not folders:
        raise ComponentError(
            f"there are no examples of split {split} below {run_folder}. Run the pipeline first"
        )
    found = sample_examples(folders[-1], wanted)
    return [found[number % len(found)] for number in range(wanted)]


def without_label(serialized: bytes, label: str) -> bytes:
    """Removes the label from an example, which is not known when it is scored."""
    example = tf.train.Example.FromString(serialized)
    example.features.feature.pop(label, None)
    content: bytes = example.SerializeToString(deterministic=True)
    return content
