"""A store of many runs, as TFX and the rollout leave it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from metadata.writer import Done, Value, new_artifact, put

PIPELINE = "ctr"
COMPONENTS = 8


def write_store(path: Path, runs: int) -> None:
    """Writes complete runs of eight components; each model is compared with the one before."""
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = metadata_store.MetadataStore(config)
    baseline = None
    for number in range(runs):
        baseline = _Run(store, path.parent, number).write(baseline)
        _keep_summary(path.parent / "runs" / f"run-{number:06d}", 0.7 + number % 100 / 1000)


class _Run:
    def __init__(self, store: metadata_store.MetadataStore, folder: Path, number: int) -> None:
        self._store, self._folder, self._number = store, folder, number

    def write(self, baseline: mlmd.Artifact | None) -> mlmd.Artifact:
        """Returns its model."""
        counts = {"rows_read": 1000, "rows_train": 700, "rows_eval": 280, "rows_quarantined": 20}
        span: dict[str, Value] = {"span": self._number, "input_fingerprint": "f", **counts}
        examples = self._do("SparkExampleGen", {}, "Examples", span)
        statistics = self._do("StatisticsGen", {"examples": examples}, "ExampleStatistics")
        schema = self._do("ImportSchemaGen", {}, "Schema")
        self._do("ExampleValidator", {"statistics": statistics}, "ExampleAnomalies")
        graph = self._do("Transform", {"examples": examples, "schema": schema}, "TransformGraph")
        model = self._do("Trainer", {"examples": examples, "transform_graph": graph}, "Model")
        judged = {"examples": examples, "model": model}
        if baseline is not None:
            judged["baseline_model"] = baseline
        blessing = self._do("Evaluator", judged, "ModelBlessing", {"blessed": 1})
        version = str(1000 + self._number)
        pushed = {"pushed_version": version, "pushed_destination": f"/serving/{version}"}
        self._do("Pusher", {"model": model, "model_blessing": blessing}, "PushedModel", pushed)
        return model

    def _do(
        self,
        component: str,
        inputs: Mapping[str, mlmd.Artifact],
        kind: str,
        properties: Mapping[str, Value] | None = None,
    ) -> mlmd.Artifact:
        path = self._folder / "artifacts" / component / kind / str(self._number)
        made = new_artifact(self._store, kind, path, properties or {})
        done = Done(
            kind=f"tfx.components.{component}",
            properties={"number": self._number},
            inputs=[*inputs.items()],
            outputs=[("output", made)],
            run=f"run-{self._number:06d}",
        )
        execution = put(self._store, PIPELINE, done)
        [event] = [
            event
            for event in self._store.get_events_by_execution_ids([execution])
            if event.type == mlmd.Event.OUTPUT
        ]
        made.id = event.artifact_id
        return made


def _keep_summary(folder: Path, auc: float) -> None:
    folder.mkdir(parents=True)
    (folder / "run_summary.json").write_text(json.dumps({"metrics": {"auc": auc}}), "utf-8")
