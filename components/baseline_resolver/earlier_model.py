"""The latest blessed model that was trained on an earlier span: what a warm start begins with."""

from __future__ import annotations

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts

from components.baseline_resolver.strategy import blessings_by_model

_SPAN = "span"
_OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
_INPUTS = (metadata_store_pb2.Event.INPUT, metadata_store_pb2.Event.DECLARED_INPUT)
_STEPS = 4  # model <- Trainer <- transformed examples <- Transform <- examples, and one to spare


class EarlierModelStrategy(resolver.ResolverStrategy):
    """Inputs and outputs: `examples` (of this run), `model` and `model_blessing` (all there are).

    Not simply the latest blessed model: that is this span's own once it is trained, and each
    repeated run would train again, from the result of the one before.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns at most one model and its blessing; both are empty when there is none."""
        span = max(_span_of(artifact) for artifact in input_dict["examples"])
        blessings = blessings_by_model(input_dict["model_blessing"])
        blessed = [model for model in input_dict["model"] if model.id in blessings]
        newest_first = sorted(blessed, key=lambda model: model.id, reverse=True)
        earlier = next((m for m in newest_first if _trained_before(store, m.id, span)), None)
        return {
            "examples": input_dict["examples"],
            "model": [earlier] if earlier else [],
            "model_blessing": [blessings[earlier.id]] if earlier else [],
        }


def _span_of(examples: types.Artifact) -> int:
    return examples.get_int_custom_property(_SPAN)


def _trained_before(store: mlmd.MetadataStore, model_id: int, span: int) -> bool:
    """Whether all examples that the model comes from are of spans before `span`."""
    examples = store.get_artifact_type(standard_artifacts.Examples.TYPE_NAME).id
    spans, found = [], {model_id}
    for _ in range(_STEPS):
        found = _made_from(store, found)
        for artifact in store.get_artifacts_by_id(list(found)) if found else []:
            if artifact.type_id == examples and _SPAN in artifact.custom_properties:
                spans.append(artifact.custom_properties[_SPAN].int_value)
    return bool(spans) and max(spans) < span


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
