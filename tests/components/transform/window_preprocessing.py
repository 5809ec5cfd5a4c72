"""What the windows of test_transform.py are analyzed for."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    amount = inputs["amount"]
    return {
        "word": tft.compute_and_apply_vocabulary(inputs["word"], vocab_filename="words"),
        "scaled": tft.scale_to_z_score(amount),
        "bucket": tft.bucketize(amount, 4),
    }


def other_preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """One analyzer less, and one that the first has not."""
    amount = inputs["amount"]
    return {
        "word": tft.compute_and_apply_vocabulary(inputs["word"], vocab_filename="words"),
        "share": tft.scale_to_0_1(amount),
    }


class _Largest(beam.PTransform):  # type: ignore[misc]
    """The largest value of all batches."""

    def expand(self, batches: Any) -> Any:
        largest = (
            batches | beam.Map(lambda batch: float(batch[0].max())) | beam.CombineGlobally(max)
        )
        return (largest,)


def uncached_preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """With an analyzer whose findings cannot be kept."""
    (largest,) = tft.experimental.ptransform_analyzer(
        [inputs["amount"]], _Largest(), output_dtypes=[tf.float32], output_shapes=[[]]
    )
    return {
        "word": tft.compute_and_apply_vocabulary(inputs["word"], vocab_filename="words"),
        "share": inputs["amount"] / largest,
    }
