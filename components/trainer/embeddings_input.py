"""Adds an input for embeddings to the standard Trainer and Tuner."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.types.component_spec import ChannelParameter
from tfx.utils import json_utils

from components.spark_embeddings.artifacts import TokenEmbeddings

EMBEDDINGS = "embeddings"  # name of the input, and key of its URI in custom_config


def add_embeddings(component: BaseComponent, embeddings: types.BaseChannel | None) -> None:
    """Adds embeddings to the inputs of a component whose constructor does not take them."""
    if embeddings is not None:
        # The standard constructor builds the standard spec. Compilers read both attributes.
        one_more = {EMBEDDINGS: ChannelParameter(type=TokenEmbeddings, optional=True)}
        component.spec.INPUTS = {**component.spec.INPUTS, **one_more}
        component.inputs[EMBEDDINGS] = embeddings


def with_embeddings(
    input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]
) -> dict[str, Any]:
    """Returns the execution properties, with the URI of any embeddings in custom_config."""
    if not input_dict.get(EMBEDDINGS):
        return exec_properties
    config = json_utils.loads(exec_properties.get(keys.CUSTOM_CONFIG_KEY) or "null") or {}
    config[EMBEDDINGS] = artifact_utils.get_single_uri(input_dict[EMBEDDINGS])
    return {**exec_properties, keys.CUSTOM_CONFIG_KEY: json_utils.dumps(config)}
