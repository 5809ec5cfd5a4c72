"""Trains and judges the trees, and writes the result."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.tree_baseline.result_files import COMPARISON
from metadata.names import METRIC
from tabular.baseline.comparison import compare
from tabular.baseline.result import Comparison
from tabular.errors import TrainingError
from tabular.feature_set import FEATURES, FeatureSet
from tabular.metrics.metric_names import metric_name

_log = logging.getLogger(__name__)


class TreeBaselineExecutor(base_executor.BaseExecutor):
    """See component.py."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        judged = exec_properties["judged"]
        schema_uri = artifact_utils.get_single_uri(input_dict["schema"])
        try:
            found = compare(
                {one: _files(input_dict["examples"], one) for one in ("train", "eval", judged)},
                judged,
                FeatureSet.from_json(json.loads(exec_properties[FEATURES])),
                io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema_uri)),
                [metric_name(name) for name in json.loads(exec_properties["metrics"])],
                judged_weight=exec_properties["weight"] or None,
            )
        except TrainingError as error:
            # The model is pushed already. A run that failed here would be repeated, and push again.
            _log.warning("no trees: %s", error)
            found = Comparison({}, {}, judged, 0, 0, 0, 0, (), (f"no trees: {error}",))
        not_applied = json.loads(exec_properties["not_applied"])
        if not_applied:
            note = f"not applied to the trees: {', '.join(not_applied)}"
            found = dataclasses.replace(found, notes=(*found.notes, note))
        output = artifact_utils.get_single_instance(output_dict["comparison"])
        io_utils.write_string_file(f"{output.uri.rstrip('/')}/{COMPARISON}", found.to_json())
        output.set_int_custom_property("rows", found.learned_rows)
        output.set_int_custom_property("iterations", found.iterations)
        for name, value in found.metrics.items():
            output.set_float_custom_property(f"{METRIC}{name}", value)
        for note in found.notes:
            _log.info("trees: %s", note)


def _files(examples: list[types.Artifact], split: str) -> list[str]:
    """Returns the files of a split, in order; empty if it is there without files."""
    folders = artifact_utils.get_split_uris(examples, split)
    return sorted(str(file) for folder in folders for file in fileio.glob(f"{folder}/*.gz"))
