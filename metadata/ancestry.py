"""Finds the spans that an artifact comes from, and the models without a withdrawn ancestor."""

from __future__ import annotations

from collections.abc import Iterable

from tfx import types

from metadata import names
from metadata.graph import made_from
from metadata.reader import MetadataReader

_STEPS = 4  # model <- Trainer <- transformed examples <- Transform <- examples, and one to spare


def spans_behind(store: MetadataReader, artifact_id: int) -> list[int]:
    """Returns the spans of all examples that an artifact was made from, a few steps back."""
    spans: list[int] = []
    found = {artifact_id}
    for _ in range(_STEPS):
        found = set().union(*made_from(store, found).values())
        examples = (a for a in store.artifacts(found).values() if a.type == names.EXAMPLES)
        known = (artifact.properties.get(names.SPAN) for artifact in examples)
        spans += [span for span in known if isinstance(span, int)]
    return spans


def sound_models(store: MetadataReader, models: Iterable[types.Artifact]) -> list[types.Artifact]:
    """Returns the models that neither were withdrawn nor come from a withdrawn one, oldest first.

    A warm start copies what a model has learned, so its faults live on in the models trained from
    it until somebody noticed.
    """
    models = sorted(models, key=lambda model: model.id)
    unsound = {model.id for model in models if model.has_custom_property(names.WITHDRAWN)}
    if not unsound:
        return models
    first = min(unsound)  # a model is newer than what it comes from
    sources: dict[int, set[int]] = {}
    ids = {model.id for model in models if model.id >= first}
    while ids:
        read = made_from(store, ids)
        sources |= {model: read.get(model, set()) for model in ids}
        earlier = {one for some in read.values() for one in some if one >= first} - sources.keys()
        ids = {a.id for a in store.artifacts(earlier).values() if a.type == names.MODEL}
    for model_id in sorted(sources):
        if sources[model_id] & unsound:
            unsound.add(model_id)
    return [model for model in models if model.id not in unsound]
