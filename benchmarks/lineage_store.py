"""A store of many runs, as TFX and the rollout leave it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from metadata import names
from metadata.connection import Connection
from metadata.writer import MetadataWriter, NewArtifact, Value

PIPELINE = "ctr"
COMPONENTS = 8


def write_store(path: Path, runs: int) -> None:
    """Writes complete runs of eight components; each model is compared with the one before."""
    writer = MetadataWriter.connect(Connection("sqlite", path), PIPELINE)
    baseline = None
    for number in range(runs):
        baseline = _Run(writer, path.parent, number).write(baseline)
        _keep_summary(path.parent / "runs" / f"run-{number:06d}", 0.7 + number % 100 / 1000)


class _Run:
    def __init__(self, writer: MetadataWriter, folder: Path, number: int) -> None:
        self._writer, self._folder, self._number = writer, folder, number

    def write(self, baseline: int | None) -> int:
        """Returns the id of its model."""
        counts = {"rows_read": 1000, "rows_train": 700, "rows_eval": 280, "rows_quarantined": 20}
        span: dict[str, Value] = {"span": self._number, "input_fingerprint": "f", **counts}
        examples = self._do("SparkExampleGen", {}, names.EXAMPLES, span)
        statistics = self._do("StatisticsGen", {"examples": examples}, names.EXAMPLE_STATISTICS)
        schema = self._do("ImportSchemaGen", {}, names.SCHEMA)
        self._do("ExampleValidator", {"statistics": statistics}, names.EXAMPLE_ANOMALIES)
        graph = self._do(
            "Transform", {"examples": examples, "schema": schema}, names.TRANSFORM_GRAPH
        )
        model = self._do("Trainer", {"examples": examples, "transform_graph": graph}, names.MODEL)
        judged = {"examples": examples, "model": model}
        if baseline is not None:
            judged["baseline_model"] = baseline
        blessing = self._do("Evaluator", judged, names.MODEL_BLESSING, {"blessed": 1})
        version = str(1000 + self._number)
        pushed = {names.PUSHED_VERSION: version, names.PUSHED_DESTINATION: f"/serving/{version}"}
        self._do("Pusher", {"model": model, "model_blessing": blessing}, names.PUSHED_MODEL, pushed)
        return model

    def _do(
        self,
        component: str,
        inputs: Mapping[str, int],
        kind: str,
        properties: Mapping[str, Value] | None = None,
    ) -> int:
        path = self._folder / "artifacts" / component / kind / str(self._number)
        made = NewArtifact(kind, str(path.resolve()), properties or {})
        execution = self._writer.begin(
            f"tfx.components.{component}", {"number": self._number}, f"run-{self._number:06d}"
        )
        (artifact,) = self._writer.end(execution, "complete", [*inputs.items()], [("output", made)])
        return artifact


def _keep_summary(folder: Path, auc: float) -> None:
    folder.mkdir(parents=True)
    (folder / "run_summary.json").write_text(json.dumps({"metrics": {"auc": auc}}), "utf-8")
