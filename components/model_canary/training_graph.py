"""Computes scores like the training, by the TransformGraph and then the trained network.

The served model has both in one graph, built at export. The canary and the skew report check that
the scores agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from base.errors import ComponentError
from base.model_outputs import DECISION, score_outputs

TRANSFORMED = "score_transformed"


def by_example(scores: np.ndarray) -> np.ndarray:
    """Returns scores [n, 1] as [n], and those of several classes as they are."""
    return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores


@dataclasses.dataclass(frozen=True)
class Answers:
    """A model's answers to n examples.

    Attributes:
      scores: Scores, [n], or [n, classes] of several classes.
      decisions: Decisions, [n]; None of a model without this output.
    """

    scores: np.ndarray
    decisions: np.ndarray | None

    @classmethod
    def of(cls, outputs: Mapping[str, np.ndarray]) -> Answers:
        """Returns the answers in a signature's outputs.

        Raises:
          ComponentError: There is not exactly one output beside the decision.
        """
        names = score_outputs(outputs)
        if len(names) != 1:
            raise ComponentError(
                f"the model must have one output beside '{DECISION}', its score. Received: "
                f"{', '.join(names) or 'none'}"
            )
        decisions = outputs.get(DECISION)
        flat = None if decisions is None else decisions.reshape(-1)
        return cls(by_example(outputs[names[0]]), flat)

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """Returns the answers of several requests, in order."""
        decisions = [one.decisions for one in parts if one.decisions is not None]
        scores = np.concatenate([one.scores for one in parts])
        return cls(scores, np.concatenate(decisions) if decisions else None)


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
        """Returns the network's score, [n], or [n, classes] of several classes."""
        return self.answers(transformed).scores

    def answers(self, transformed: dict[str, np.ndarray]) -> Answers:
        """Returns the network's scores, and its decisions if it has any."""
        _, wanted = self._score.structured_input_signature
        inputs = {name: tf.constant(transformed[name], spec.dtype) for name, spec in wanted.items()}
        return Answers.of({name: one.numpy() for name, one in self._score(**inputs).items()})
