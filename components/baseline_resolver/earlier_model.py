"""Resolves the latest blessed model of an earlier span, which a warm start begins with."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common import resolver

from components.baseline_resolver.strategy import blessings_by_model
from metadata import names
from metadata.ancestry import sound_models, spans_behind
from metadata.reader import MetadataReader


class EarlierModelStrategy(resolver.ResolverStrategy):
    """Resolves `examples` (of this run), `model` and `model_blessing` (all in the store).

    The latest blessed model of all would be this span's own once it is trained, and each repeated
    run would train again, starting from the previous result.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns at most one model and its blessing; both lists are empty if there is none."""
        reader = MetadataReader(store)
        spans = (one.get_int_custom_property(names.SPAN) for one in input_dict["examples"])
        span = max(spans)
        blessings = blessings_by_model(input_dict["model_blessing"])
        sound = sound_models(reader, input_dict["model"])
        blessed = [model for model in sound if model.id in blessings]
        newest_first = sorted(blessed, key=lambda model: model.id, reverse=True)
        # A model whose examples are unknown counts as one of this span.
        before = (m for m in newest_first if max(spans_behind(reader, m.id), default=span) < span)
        earlier = next(before, None)
        return {
            "examples": input_dict["examples"],
            "model": [earlier] if earlier else [],
            "model_blessing": [blessings[earlier.id]] if earlier else [],
        }
