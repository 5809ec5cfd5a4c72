"""Which spans are done, by ML Metadata."""

from __future__ import annotations

from lineage.records import Run
from lineage.store import LineageError, LineageStore
from pipeline.config import PipelineConfig
from pipeline.metadata import connection_config


def complete_spans(config: PipelineConfig) -> set[int]:
    """Spans that ML Metadata has a run of in which every component is complete."""
    if config.metadata.kind == "sqlite" and not config.metadata_path.exists():
        return set()
    try:
        store = LineageStore.from_connection_config(connection_config(config))
    except LineageError:  # no run yet
        return set()
    made = [
        artifact_id
        for run in store.runs()
        if run.pipeline == config.name and run.state == "complete" and _has(run, "Pusher")
        for execution in run.components
        if execution.component == "SparkExampleGen"
        for artifact_id in execution.outputs.get("examples", ())
    ]
    spans = (artifact.properties.get("span") for artifact in store.artifacts(made).values())
    return {int(span) for span in spans if span is not None}


def _has(run: Run, component: str) -> bool:
    return any(execution.component == component for execution in run.components)
