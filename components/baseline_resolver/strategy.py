"""Resolves the latest blessed model other than the candidate."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common import resolver

from metadata import names
from metadata.ancestry import sound_models
from metadata.reader import MetadataReader


class BaselineModelStrategy(resolver.ResolverStrategy):
    """Resolves `candidate` (one model), `model` and `model_blessing` (all in the store)."""

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns at most one model and its blessing; both lists are empty if there is none."""
        candidates = {artifact.id for artifact in input_dict["candidate"]}
        blessings = blessings_by_model(input_dict["model_blessing"])
        models = [
            model
            for model in sound_models(MetadataReader(store), input_dict["model"])
            if model.id in blessings and model.id not in candidates
        ]
        newest = max(models, key=lambda model: model.id, default=None)
        return {
            "candidate": input_dict["candidate"],
            "model": [newest] if newest else [],
            "model_blessing": [blessings[newest.id]] if newest else [],
        }


def blessings_by_model(blessings: list[types.Artifact]) -> dict[int, types.Artifact]:
    """Returns the id of each blessed model -> its blessing."""
    return {
        blessing.get_int_custom_property(names.CURRENT_MODEL_ID): blessing
        for blessing in blessings
        if blessing.get_int_custom_property(names.BLESSED) == 1
    }
