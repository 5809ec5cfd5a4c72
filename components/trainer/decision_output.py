"""Adds an output for the decision to the standard Trainer."""

from __future__ import annotations

import json

from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.types.component_spec import ChannelParameter
from tfx.utils import io_utils, path_utils

from base.errors import ComponentError
from base.model_outputs import DECISION, DECISION_FILE
from components.trainer.artifacts import Decision
from metadata import names

_NUMBERS = (names.THRESHOLD, names.BUDGET, "share", "precision", "recall", "cost")


def add_decision(component: BaseComponent) -> None:
    """Adds a Decision to the outputs of a component whose constructor does not know it."""
    # The standard constructor builds the standard spec. Compilers read both attributes.
    component.spec.OUTPUTS = {**component.spec.OUTPUTS, DECISION: ChannelParameter(type=Decision)}
    channel = types.Channel(type=Decision)
    component.outputs[DECISION] = channel.as_output_channel(component, DECISION)


def publish_decision(output_dict: dict[str, list[types.Artifact]]) -> None:
    """Copies the exported model's decision into the artifact, if the component has this output.

    Args:
      output_dict: Outputs of the component, after its training.

    Raises:
      ComponentError: The model has no decision.
    """
    if not output_dict.get(DECISION):
        return
    model = artifact_utils.get_single_uri(output_dict[keys.MODEL_KEY])
    source = f"{path_utils.serving_model_dir(model)}/{DECISION_FILE}"
    if not fileio.exists(source):
        raise ComponentError(
            f"run_fn wrote no {DECISION_FILE} beside the model, although trainer.decision is set"
        )
    text = io_utils.read_string_file(source)
    artifact = artifact_utils.get_single_instance(output_dict[DECISION])
    io_utils.write_string_file(f"{artifact.uri.rstrip('/')}/{names.DECISION_FILE}", text)
    found = json.loads(text)
    for name in _NUMBERS:
        if found.get(name) is not None:
            artifact.set_string_custom_property(name, repr(float(found[name])))
    if found["warnings"]:
        artifact.set_string_custom_property("warnings", "; ".join(found["warnings"]))
