"""Which spans an artifact comes from, by ML Metadata."""

from __future__ import annotations

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

SPAN = "span"
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
