"""One more input for components that have only the standard ones: embeddings made beforehand."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.types.component_spec import ChannelParameter
from tfx.utils import json_utils

from components.spark_embeddings.artifacts import TokenEmbeddings

EMBEDDINGS = "embeddings"  # the input, and the key in custom_config that holds its URI


def add_embeddings(component: BaseComponent, embeddings: types.BaseChannel | None) -> None:
    """Makes them an input of a component whose constructor does not know it."""
    if embeddings is not None:
        # The standard constructor makes the standard spec; compilers read both of these.
        one_more = {EMBEDDINGS: ChannelParameter(type=TokenEmbeddings, optional=True)}
        component.spec.INPUTS = {**component.spec.INPUTS, **one_more}
        component.inputs[EMBEDDINGS] = embeddings


def with_embeddings(
    input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]
) -> dict[str, Any]:
    """The execution properties, with the URI in custom_config if there are any."""
    if not input_dict.get(EMBEDDINGS):
        return exec_properties
    config = json_utils.loads(exec_properties.get(keys.CUSTOM_CONFIG_KEY) or "null") or {}
    config[EMBEDDINGS] = artifact_utils.get_single_uri(input_dict[EMBEDDINGS])
    return {**exec_properties, keys.CUSTOM_CONFIG_KEY: json_utils.dumps(config)}
