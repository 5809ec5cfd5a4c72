"""Which spans are done, by ML Metadata."""

from __future__ import annotations

from components.errors import ComponentError
from lineage.records import Run
from lineage.store import LineageError, LineageStore, NoRunsError
from pipeline.config import PipelineConfig
from pipeline.metadata import connection_config


def complete_spans(config: PipelineConfig) -> set[int]:
    """Spans that ML Metadata has a run of in which every component is complete.

    Raises:
      ComponentError: the store cannot be read.
    """
    if config.metadata.kind == "sqlite" and not config.metadata_path.exists():
        return set()
    try:
        return _complete_spans(
            LineageStore.from_connection_config(connection_config(config)), config.name
        )
    except NoRunsError:
        return set()
    except LineageError as error:
        raise ComponentError(str(error)) from error


def _complete_spans(store: LineageStore, pipeline: str) -> set[int]:
    made = [
        artifact_id
        for run in store.runs()
        if run.pipeline == pipeline and run.state == "complete" and _has(run, "Pusher")
        for execution in run.components
        if execution.component == "SparkExampleGen"
        for artifact_id in execution.outputs.get("examples", ())
    ]
    spans = (artifact.properties.get("span") for artifact in store.artifacts(made).values())
    return {int(span) for span in spans if span is not None}


def _has(run: Run, component: str) -> bool:
    return any(execution.component == component for execution in run.components)
