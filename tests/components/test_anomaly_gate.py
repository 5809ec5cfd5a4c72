"""AnomalyGate stops on errors, naming feature, reason and split."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import standard_artifacts

from base.errors import ComponentError
from components.anomaly_gate.executor import AnomalyGateExecutor

pytestmark = pytest.mark.unit

ERROR, WARNING = anomalies_pb2.AnomalyInfo.ERROR, anomalies_pb2.AnomalyInfo.WARNING


def run(tmp_path: Path, found: dict[str, dict[str, int]], allow: str = "[]") -> None:
    """`found`: split -> feature -> severity."""
    artifact = standard_artifacts.ExampleAnomalies()
    artifact.uri = str(tmp_path)
    artifact.split_names = str(list(found)).replace("'", '"')
    for split, features in found.items():
        anomalies = anomalies_pb2.Anomalies()
        for feature, severity in features.items():
            info = anomalies.anomaly_info[feature]
            info.severity, info.description = severity, "Unexpected value: toaster."
        folder = tmp_path / f"Split-{split}"
        folder.mkdir()
        (folder / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())
    AnomalyGateExecutor().Do({"anomalies": [artifact]}, {}, {"allow": allow})


def test_clean_data_passes(tmp_path: Path) -> None:
    run(tmp_path, {"train": {}, "eval": {}})


def test_an_error_stops_and_names_everything(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"device: Unexpected value: toaster.*\[train, eval\]"):
        run(tmp_path, {"train": {"device": ERROR}, "eval": {"device": ERROR}})


def test_warnings_and_allowed_features_pass(tmp_path: Path) -> None:
    run(tmp_path, {"train": {"age": WARNING, "device": ERROR}}, allow='["device"]')


def test_an_anomaly_of_the_data_set_stops(tmp_path: Path) -> None:
    artifact = standard_artifacts.ExampleAnomalies()
    artifact.uri, artifact.split_names = str(tmp_path), '["train"]'
    anomalies = anomalies_pb2.Anomalies()
    anomalies.dataset_anomaly_info.severity = ERROR
    anomalies.dataset_anomaly_info.description = "Too few examples."
    (tmp_path / "Split-train").mkdir()
    (tmp_path / "Split-train" / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())
    with pytest.raises(ComponentError, match="Too few examples"):
        AnomalyGateExecutor().Do({"anomalies": [artifact]}, {}, {"allow": "[]"})
