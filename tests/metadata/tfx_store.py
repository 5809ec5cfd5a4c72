"""Metadata stores as TFX writes them, made with ML Metadata's own API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

Execution, Event = mlmd.Execution, mlmd.Event

COUNTS = {"read": 306, "train": 193, "eval": 98, "quarantined": 12, "dropped": 3}
REASONS = {"readings": {"too_hot": 9, "unparseable": 3}}
FILES = ["readings/2024-03-01/00/a.json.gz", "readings/2024-03-01/01/a.json.gz"]


class TfxStore:
    """Writes runs; `execute` writes one component with its events and contexts."""

    CACHED, FAILED, RUNNING = Execution.CACHED, Execution.FAILED, Execution.RUNNING

    def __init__(
        self, folder: Path, pipeline: str = "ctr", config: mlmd.ConnectionConfig | None = None
    ) -> None:
        """Args: the artifacts' folder; the pipeline's name; a database instead of a file there."""
        self.folder = folder
        self.path = folder / "metadata.sqlite"
        if config is None:
            config = mlmd.ConnectionConfig()
            config.sqlite.filename_uri = str(self.path)
            config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.store = metadata_store.MetadataStore(config)
        self.pipeline = pipeline
        self._contexts: dict[tuple[str, str], mlmd.Context] = {}

    def execute(
        self,
        run_id: str,
        component: str,
        *,
        inputs: dict[str, int] | None = None,
        outputs: dict[str, tuple[str, dict[str, Any]] | int] | None = None,
        picked: dict[str, int] | None = None,
        state: int = Execution.COMPLETE,
        properties: dict[str, Any] | None = None,
        type_name: str = "",
    ) -> tuple[int, dict[str, int]]:
        """An output is a new artifact (type, properties), or the id of a cached one.

        Without `run_id` the execution is in no run.

        Returns the execution's id, and the outputs' ids by key.
        """
        contexts = [
            self._context("pipeline", self.pipeline),
            *([self._context("pipeline_run", run_id)] if run_id else []),
            self._context("node", f"{self.pipeline}.{component}"),
        ]
        kind = mlmd.ExecutionType(name=type_name or f"tfx.components.{component}")
        execution = mlmd.Execution(
            type_id=self.store.put_execution_type(kind), last_known_state=state
        )
        _put_properties(execution, properties or {})
        [execution.id] = self.store.put_executions([execution])
        folder = self.folder / "artifacts" / component
        pairs = [self._known(i, key, Event.INPUT) for key, i in (inputs or {}).items()]
        pairs += [self._known(i, key, Event.INTERNAL_OUTPUT) for key, i in (picked or {}).items()]
        for key, output in (outputs or {}).items():
            if isinstance(output, int):
                pairs.append(self._known(output, key, Event.OUTPUT))
            else:
                uri = folder / key / str(execution.id)
                pairs.append((self._artifact(uri, *output), _event(key, Event.OUTPUT)))
        execution_id, artifact_ids, _ = self.store.put_execution(execution, pairs, contexts)
        made = {
            event.path.steps[0].key: artifact_id
            for (_, event), artifact_id in zip(pairs, artifact_ids, strict=True)
            if event.type == Event.OUTPUT
        }
        return execution_id, made

    def examples(
        self,
        run_id: str,
        *,
        counts: dict[str, int] | None = None,
        parameters: dict[str, Any] | None = None,
        span: int = 474793,
        state: int = Execution.COMPLETE,
        reasons: dict[str, dict[str, int]] | None = None,
    ) -> int:
        """SparkExampleGen with its two outputs; returns the Examples' id. Writes no manifest."""
        properties = {
            "span": span,
            "spans": f"{span - 1}-{span}",
            "input_fingerprint": "f" * 64,
            "etl": "applications.ctr.etl.build_examples",
            "etl_code_sha256": "c" * 64,
            "manifest": "manifest.json",
            "quarantined_reasons": json.dumps(reasons or REASONS),
            "dropped_reasons": json.dumps({"duplicate": 3}),
            **{f"rows_{name}": rows for name, rows in (counts or COUNTS).items()},
        }
        sources = [{"name": "readings", "format": "json", "path": "readings/{YYYY}/*.json.gz"}]
        _, made = self.execute(
            run_id,
            "SparkExampleGen",
            outputs={
                "examples": ("Examples", properties),
                "quarantine": ("QuarantinedRecords", {"rows": 12}),
            },
            state=state,
            properties={
                "sources": json.dumps(sources),
                "input_base": "/data",
                "row_accounting": "exact",
                **(parameters or {}),
            },
        )
        return made["examples"]

    def model(
        self,
        run_id: str,
        examples: int,
        trainer: dict[str, Any] | None = None,
        base: int | None = None,
        decision: dict[str, Any] | None = None,
    ) -> dict[str, int]:
        """StatisticsGen, ImportSchemaGen, Transform and Trainer; returns ids by key.

        Args: the run, its examples, Trainer's parameters, the model it begins with, and the
        properties of its decision.
        """
        _, statistics = self.execute(
            run_id,
            "StatisticsGen",
            inputs={"examples": examples},
            outputs={"statistics": ("ExampleStatistics", {})},
        )
        _, schema = self.execute(run_id, "ImportSchemaGen", outputs={"schema": ("Schema", {})})
        _, transform = self.execute(
            run_id,
            "Transform",
            inputs={"examples": examples, **schema},
            outputs={
                "transform_graph": ("TransformGraph", {}),
                "transformed_examples": ("Examples", {}),
            },
        )
        _, trained = self.execute(
            run_id,
            "Trainer",
            inputs={
                "examples": transform["transformed_examples"],
                "transform_graph": transform["transform_graph"],
                **schema,
                **({} if base is None else {"base_model": base}),
            },
            outputs={
                "model": ("Model", {}),
                "model_run": ("ModelRun", {}),
                **({} if decision is None else {"decision": ("Decision", decision)}),
            },
            properties=trainer,
        )
        return {"examples": examples, **statistics, **schema, **transform, **trained}

    def push(
        self,
        run_id: str,
        made: dict[str, int],
        version: str,
        baseline: int | None = None,
        release: str = "stable",
        destination: Path | None = None,
    ) -> dict[str, int]:
        """Evaluator and Pusher after `model`; returns ids by key."""
        against = {} if baseline is None else {"baseline_model": baseline}
        verdict = {"blessed": 1, "current_model_id": made["model"]}
        if baseline is not None:
            self.execute(run_id, "Baseline", picked={"model": baseline})
            verdict["baseline_model_id"] = baseline
        _, evaluator = self.execute(
            run_id,
            "Evaluator",
            inputs={"examples": made["examples"], "model": made["model"], **against},
            outputs={
                "evaluation": ("ModelEvaluation", {}),
                "blessing": ("ModelBlessing", verdict),
            },
        )
        pushed = {
            "pushed": 1,
            "pushed_version": version,
            "pushed_destination": str(destination or f"/serving/{version}"),
            "release": release,
        }
        _, pusher = self.execute(
            run_id,
            "Pusher",
            inputs={"model": made["model"], "model_blessing": evaluator["blessing"]},
            outputs={"pushed_model": ("PushedModel", pushed)},
        )
        return {**made, **evaluator, **pusher}

    def full_run(
        self,
        run_id: str,
        version: str,
        baseline: int | None = None,
        decision: dict[str, Any] | None = None,
        **push: Any,
    ) -> dict[str, int]:
        made = self.model(run_id, self.examples(run_id), decision=decision)
        return self.push(run_id, made, version, baseline, **push)

    def manifest(self, examples: int, **changes: Any) -> Path:
        """The manifest that agrees with `examples`, but for `changes`; returns its path."""
        [artifact] = self.store.get_artifacts_by_id([examples])
        rows = {key: COUNTS[key] for key in ("read", "quarantined", "dropped")}
        splits = {key: COUNTS[key] for key in ("train", "eval")}
        content = {
            "format_version": 1,
            "input_base": "/data",
            "input_fingerprint": "f" * 64,
            "etl": {"path": "applications.ctr.etl.build_examples", "code_sha256": "c" * 64},
            "sources": [
                {
                    "name": "readings",
                    "format": "json",
                    "path": "readings/{YYYY}/*.json.gz",
                    "rows_read": 306,
                    "files": [
                        {"path": p, "bytes": 600, "checksum": "crc32c:6f62828f"} for p in FILES
                    ],
                }
            ],
            "rows": {**rows, "splits": splits},
            "splits": {name: [{"file": "x", "rows": count}] for name, count in splits.items()},
            **changes,
        }
        path = Path(artifact.uri) / "manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")
        return path

    def _artifact(self, uri: Path, type_name: str, properties: dict[str, Any]) -> mlmd.Artifact:
        artifact = mlmd.Artifact(
            type_id=self.store.put_artifact_type(mlmd.ArtifactType(name=type_name)),
            uri=properties.get("uri", str(uri)),
            state=mlmd.Artifact.LIVE,
        )
        _put_properties(artifact, properties)
        return artifact

    def _known(self, artifact_id: int, key: str, kind: int) -> tuple[mlmd.Artifact, mlmd.Event]:
        [artifact] = self.store.get_artifacts_by_id([artifact_id])
        return artifact, _event(key, kind)

    def _context(self, kind: str, name: str) -> mlmd.Context:
        if (kind, name) not in self._contexts:
            type_id = self.store.put_context_type(mlmd.ContextType(name=kind))
            context = mlmd.Context(type_id=type_id, name=name)
            [context.id] = self.store.put_contexts([context])
            self._contexts[kind, name] = context
        return self._contexts[kind, name]


def _put_properties(proto: Any, properties: dict[str, Any]) -> None:
    for name, value in properties.items():
        kinds = {int: "int_value", float: "double_value", str: "string_value"}
        field = kinds[type(value)]
        setattr(proto.custom_properties[name], field, value)


def _event(key: str, kind: int) -> mlmd.Event:
    steps = [mlmd.Event.Path.Step(key=key), mlmd.Event.Path.Step(index=0)]
    return mlmd.Event(type=kind, path=mlmd.Event.Path(steps=steps))
