"""Compares serving with training by replaying logged requests through the training graph.

Two things are compared on the logged rows. *Features*: the output of the served model's own
preprocessing and the output of the TransformGraph of its training. *Scores*: the logged answer and
the current answer of the trained network.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from base.errors import ComponentError
from components.model_canary.training_graph import TrainingGraph, by_example
from serving.request_log.reader import Prediction
from serving.server.loaded_model import LoadedModel

TRANSFORM = "transform_features"  # TFX's name of the signature
TOLERANCE = 1e-5
_ROWS = 2000  # per batch


@dataclasses.dataclass(frozen=True)
class Difference:
    """A feature, or the score, that differs.

    Attributes:
      name: Name of the feature, or "score".
      rows: Number of rows that differ.
      example: Request id, index in the request, served and trained value of the first such row.
    """

    name: str
    rows: int
    example: tuple[str, int, str, str]


@dataclasses.dataclass(frozen=True)
class Skew:
    """The result of a comparison.

    Attributes:
      rows: Number of rows that were compared.
      features: Names of the features that were compared.
      differences: Features and scores that differ; empty if serving and training agree.
      largest: Largest difference of two scores.
    """

    rows: int
    features: tuple[str, ...]
    differences: tuple[Difference, ...]
    largest: float


def find_skew(predictions: Iterable[Prediction], version: Path, graph: TrainingGraph) -> Skew:
    """Compares logged predictions with the training graph.

    Args:
      predictions: Predictions of the version.
      version: Folder of the served SavedModel.
      graph: Graph of its training.

    Raises:
      ComponentError: There are no predictions, or the model has no signature for its features.
    """
    found = [*predictions]
    places = [(p.request_id, place) for p in found for place in range(len(p.examples))]
    examples = [example for p in found for example in p.examples]
    scores = np.array([score for p in found for score in p.scores])
    if not examples:
        raise ComponentError(
            f"the log has no request to version {version.name} yet. Serve it with a request log "
            "and send more requests; `serve --request-log-rate 1` logs all of them"
        )
    if not len(scores) or len(scores) % len(examples):
        raise ComponentError(
            "the log must have a score, or one of each class, for each of its "
            f"{len(examples)} examples. Received: {len(scores)} scores"
        )
    scores = by_example(scores.reshape(len(examples), -1))
    served, trained = _served_features(version, examples), _batches(graph.transform, examples)
    names = sorted(set(served) & set(trained))
    differences = [
        difference
        for name in names
        if (difference := _differing(name, served[name], trained[name], places)) is not None
    ]
    expected = np.concatenate(
        [
            graph.scores({name: values[start : start + _ROWS] for name, values in trained.items()})
            for start in range(0, len(examples), _ROWS)
        ]
    )
    if (difference := _differing("score", scores, expected, places)) is not None:
        differences.append(difference)
    same_shape = scores.shape == expected.shape
    largest = float(np.abs(scores - expected).max()) if same_shape else math.inf
    return Skew(len(examples), tuple(names), tuple(differences), largest)


def _served_features(version: Path, examples: Sequence[bytes]) -> dict[str, np.ndarray]:
    model = LoadedModel(version, "skew", None)
    try:
        signature = model.signatures.get(TRANSFORM)
        if signature is None:
            raise ComponentError(
                f"the model in {version} must have the signature {TRANSFORM}, which returns its "
                "features. Export it as tabular/signatures.py does"
            )
        outputs = sorted(signature.outputs)

        def transform(rows: Sequence[bytes]) -> dict[str, np.ndarray]:
            given = {"examples": np.array(rows, dtype=object)}
            return dict(zip(outputs, model.run(TRANSFORM, given, outputs), strict=True))

        return _batches(transform, examples)
    finally:
        model.close()


def _batches(transform, examples):  # type: ignore[no-untyped-def]
    """Applies a function of rows to all rows in batches, and concatenates the results."""
    parts = [transform(examples[start : start + _ROWS]) for start in range(0, len(examples), _ROWS)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _differing(
    name: str, served: np.ndarray, trained: np.ndarray, places: Sequence[tuple[str, int]]
) -> Difference | None:
    if served.shape != trained.shape:
        shapes = (*places[0], f"shape {list(served.shape)}", f"shape {list(trained.shape)}")
        return Difference(name, len(places), shapes)
    if np.issubdtype(served.dtype, np.floating):
        wrong = ~np.isclose(served, trained, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    else:
        wrong = served != trained
    rows = wrong.reshape(len(wrong), -1).any(axis=1)
    if not rows.any():
        return None
    first = int(rows.argmax())
    column = int(wrong.reshape(len(wrong), -1)[first].argmax())
    one, other = (values.reshape(len(values), -1)[first, column] for values in (served, trained))
    return Difference(name, int(rows.sum()), (*places[first], str(one), str(other)))
