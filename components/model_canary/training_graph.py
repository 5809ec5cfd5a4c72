"""Computes scores like the training, by the TransformGraph and then the trained network.

The served model has both in one graph, built at export. The canary and the skew report check that
the scores agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from base.errors import ComponentError

TRANSFORMED = "score_transformed"


def by_example(scores: np.ndarray) -> np.ndarray:
    """Returns scores [n, 1] as [n], and those of several classes as they are."""
    return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores


class TrainingGraph:
    """Computes scores of raw examples without the served preprocessing.

    Args:
      transform_graph: Folder of the TransformGraph artifact.
      model: SavedModel with a signature that takes transformed features.
      signature: Name of this signature.

    Raises:
      ComponentError: The model has no such signature.
    """

    def __init__(self, transform_graph: Path, model: Path, signature: str = TRANSFORMED):
        self._output = tft.TFTransformOutput(str(transform_graph))
        self._layer = self._output.transform_features_layer()
        self._model = tf.saved_model.load(str(model))  # keeps the variables alive
        if signature not in self._model.signatures:
            found = ", ".join(sorted(self._model.signatures)) or "none"
            raise ComponentError(
                f"the model has no signature {signature}, which takes transformed features (it "
                f"has: {found}); see components/model_canary/README.md"
            )
        self._score = self._model.signatures[signature]

    def transform(self, examples: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Returns transformed features, [n, ...] each, of raw features that all examples have.

        A request has neither label nor keys, so outputs that need them are left out.
        """
        present = {*tf.train.Example.FromString(examples[0]).features.feature}
        for serialized in examples[1:]:
            present &= {*tf.train.Example.FromString(serialized).features.feature}
        spec = {
            name: kind
            for name, kind in self._output.raw_feature_spec().items()
            if name in present or isinstance(kind, tf.io.VarLenFeature)
        }
        transformed = self._layer(tf.io.parse_example(list(examples), spec))
        return {
            name: (tf.sparse.to_dense(t) if isinstance(t, tf.SparseTensor) else t).numpy()
            for name, t in transformed.items()
        }

    def scores(self, transformed: dict[str, np.ndarray]) -> np.ndarray:
        """Returns the network's only output, [n], or [n, classes] of several classes."""
        _, wanted = self._score.structured_input_signature
        inputs = {name: tf.constant(transformed[name], spec.dtype) for name, spec in wanted.items()}
        (output,) = self._score(**inputs).values()
        return by_example(output.numpy())
