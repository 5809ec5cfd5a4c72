"""Runs the standard evaluation, then writes and logs the verdict."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tfx import types
from tfx.components.evaluator import constants, executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.utils import io_utils, json_utils, proto_utils

from components.evaluator.telling_features import REPORTED, Telling, telling_features
from components.evaluator.verdict import Verdict, missed_bounds, write_verdict

MAX_FEATURE_AUC = "max_feature_auc"
_REASON = "reason"  # property of the blessing

_log = logging.getLogger(__name__)
_Artifacts = dict[str, list[types.Artifact]]


class EvaluatorExecutor(executor.Executor):
    """See README.md."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        evaluation = artifact_utils.get_single_uri(output_dict[keys.EVALUATION_KEY])
        blessing = next(iter(output_dict.get(keys.BLESSING_KEY, [])), None)
        limit = exec_properties.get(MAX_FEATURE_AUC)
        telling = _telling(input_dict, exec_properties)
        if limit is not None and not telling:
            _log.warning("max_feature_auc was not checked: there are too few examples of one label")
        too_telling = [one for one in telling if limit is not None and one.skill > limit]
        blessed = _is_blessed(blessing)
        if blessing is not None and blessed and too_telling:
            _take_back(blessing)
            blessed = False
        missed = missed_bounds(tfma.load_validation_result(evaluation))
        reasons = [one.text for one in missed]
        reasons += [f"{one.text}, expected at most {limit:g}" for one in too_telling]
        reported = [one for one in telling if one.skill >= REPORTED]
        write_verdict(Verdict(blessed, reasons, missed, reported), evaluation)
        for one in reported:
            _log.warning("%s: is it known when a prediction is made?", one.text)
        if blessing is not None and blessed is False:
            _log.warning("the model is not blessed: %s", "; ".join(reasons))
            blessing.set_string_custom_property(_REASON, "; ".join(reasons))


def _is_blessed(blessing: types.Artifact | None) -> bool | None:
    """Returns the standard executor's decision; None if it judged nothing."""
    marked = constants.ARTIFACT_PROPERTY_BLESSED_KEY
    if blessing is None or not blessing.has_custom_property(marked):
        return None
    return bool(blessing.get_int_custom_property(marked) == constants.BLESSED_VALUE)


def _telling(input_dict: _Artifacts, exec_properties: dict[str, Any]) -> list[Telling]:
    """Returns the skill of each feature of the judged split; empty without a schema."""
    if not input_dict.get(keys.SCHEMA_KEY):
        return []
    uri = artifact_utils.get_single_uri(input_dict[keys.SCHEMA_KEY])
    schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(uri))
    config = config_pb2.EvalConfig()
    proto_utils.json_to_proto(exec_properties[keys.EVAL_CONFIG_KEY], config)
    splits = json_utils.loads(exec_properties.get(keys.EXAMPLE_SPLITS_KEY) or "null") or ["eval"]
    examples = input_dict[keys.EXAMPLES_KEY]
    folders = [uri for split in splits for uri in artifact_utils.get_split_uris(examples, split)]
    model = config.model_specs[0]
    return telling_features(
        folders, schema, model.label_key, {model.example_weight_key}, classes_of(config)
    )


def classes_of(config: config_pb2.EvalConfig) -> list[str]:
    """Returns the names of the classes that our metrics are given; empty of other tasks."""
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            found: list[str] = json.loads(metric.config or "{}").get("classes", [])
            if found:
                return found
    return []


def _take_back(blessing: types.Artifact) -> None:
    """Marks a model as not blessed, like the standard executor."""
    fileio.remove(os.path.join(blessing.uri, constants.BLESSED_FILE_NAME))  # noqa: PTH118 - a URI
    not_blessed = os.path.join(blessing.uri, constants.NOT_BLESSED_FILE_NAME)  # noqa: PTH118
    io_utils.write_string_file(not_blessed, "")
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY, constants.NOT_BLESSED_VALUE
    )
