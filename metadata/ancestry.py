"""What an artifact comes from, by ML Metadata: spans, and models that were withdrawn."""

from __future__ import annotations

from collections.abc import Iterable

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.types import standard_artifacts

SPAN = "span"
WITHDRAWN = "withdrawn"  # of a model that was rolled back: why
_OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
_INPUTS = (metadata_store_pb2.Event.INPUT, metadata_store_pb2.Event.DECLARED_INPUT)
_STEPS = 4  # model <- Trainer <- transformed examples <- Transform <- examples, and one to spare


def spans_behind(store: mlmd.MetadataStore, artifact_id: int) -> list[int]:
    """The spans of all examples that an artifact was made from, a few steps back."""
    examples = store.get_artifact_type(standard_artifacts.Examples.TYPE_NAME).id
    spans, found = [], {artifact_id}
    for _ in range(_STEPS):
        found = _made_from(store, found)
        for artifact in store.get_artifacts_by_id(list(found)) if found else []:
            if artifact.type_id == examples and SPAN in artifact.custom_properties:
                spans.append(artifact.custom_properties[SPAN].int_value)
    return spans


def sound_models(
    store: mlmd.MetadataStore, models: Iterable[types.Artifact]
) -> list[types.Artifact]:
    """Those that were not withdrawn, and do not come from one that was.

    A warm start hands on what a model has learned, so what was wrong with it lives on in the models
    of the hours until somebody noticed.
    """
    models = list(models)
    withdrawn = {model.id for model in models if model.has_custom_property(WITHDRAWN)}
    if not withdrawn:
        return models
    kind = store.get_artifact_type(standard_artifacts.Model.TYPE_NAME).id
    known: dict[int, bool] = {}

    def is_sound(model_id: int) -> bool:
        """By its way back, up to a model that is known; a warm start has one beginning."""
        way: list[int] = []
        found = {model_id}
        sound = True
        while found and sound:
            way += found
            made_from = store.get_artifacts_by_id(list(_made_from(store, found)))
            # What a model comes from is older than it is.
            earlier = {a.id for a in made_from if a.type_id == kind and a.id >= min(withdrawn)}
            sound = not (found & withdrawn) and all(known.get(one, True) for one in earlier)
            found = earlier - known.keys()
        known.update(dict.fromkeys(way, sound))
        return sound

    return [model for model in sorted(models, key=lambda m: m.id) if is_sound(model.id)]


def _made_from(store: mlmd.MetadataStore, artifacts: set[int]) -> set[int]:
    """The inputs of the executions that made these artifacts."""
    if not artifacts:
        return set()
    events = store.get_events_by_artifact_ids(list(artifacts))
    makers = {event.execution_id for event in events if event.type in _OUTPUTS}
    if not makers:
        return set()
    events = store.get_events_by_execution_ids(list(makers))
    return {event.artifact_id for event in events if event.type in _INPUTS}
