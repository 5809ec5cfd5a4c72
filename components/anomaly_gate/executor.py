"""Stops the run if any split has an anomaly."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from base.errors import ComponentError

_log = logging.getLogger(__name__)
_FILE = "SchemaDiff.pb"
_SHOWN = 5


class AnomalyGateExecutor(base_executor.BaseExecutor):
    """See component.py."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        artifact = artifact_utils.get_single_instance(input_dict["anomalies"])
        allowed = set(json.loads(exec_properties["allow"]))
        found: dict[str, list[str]] = {}
        for split in artifact_utils.decode_split_names(artifact.split_names):
            path = Path(artifact_utils.get_split_uri([artifact], split)) / _FILE
            for line in errors_of(path.read_bytes(), allowed):
                found.setdefault(line, []).append(split)
        if found:
            raise ComponentError(describe(found))


def errors_of(serialized: bytes, allowed: set[str]) -> list[str]:
    """Returns `feature: reason` for each error. Warnings and allowed features are only logged."""
    anomalies = anomalies_pb2.Anomalies.FromString(serialized)
    entries = dict(anomalies.anomaly_info)
    if anomalies.HasField("dataset_anomaly_info"):
        entries["(data set)"] = anomalies.dataset_anomaly_info
    errors = []
    for feature, info in sorted(entries.items()):
        line = f"{feature}: {info.description.strip() or info.short_description}"
        if feature in allowed or info.severity != anomalies_pb2.AnomalyInfo.ERROR:
            _log.warning("allowed: %s", line)
        else:
            errors.append(line)
    return errors


def describe(found: dict[str, list[str]]) -> str:
    """Returns one line with features, reasons and splits."""
    named = [f"{line} [{', '.join(splits)}]" for line, splits in found.items()]
    more = f"; and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return (
        f"the data does not fit the schema: {'; '.join(named[:_SHOWN])}{more}. "
        "Fix the data, or change the schema if the data is right"
    )
