"""Loads a model like TensorFlow Serving."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from base.errors import ComponentError

SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def load_test(model: Path) -> None:
    """Restores the model into a new session.

    Raises:
      ComponentError: The model does not load, or has no signature to call.
    """
    try:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(model))
    except Exception as error:  # a damaged file may raise nearly anything
        reason = str(error).strip().partition("\n")[0][:300]
        raise ComponentError(f"the model does not load, and is not pushed: {reason}") from error
    if SIGNATURE not in loaded.signature_def:
        found = ", ".join(sorted(loaded.signature_def)) or "none"
        raise ComponentError(
            f"the model has no signature {SIGNATURE} (it has: {found}), and is not pushed"
        )
