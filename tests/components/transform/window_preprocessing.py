"""What the windows of test_transform.py are analyzed for."""

from __future__ import annotations

from typing import Any

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
