"""Which spans are done, by ML Metadata."""

from __future__ import annotations

from base.errors import ComponentError
from metadata.connection import connection_config
from metadata.reader import LineageError, LineageStore, NoRunsError
from metadata.records import Run
from pipeline.config import PipelineConfig


def complete_runs(config: PipelineConfig) -> dict[int, Run]:
    """Span -> the newest run of it in which every component is complete.

    Raises:
      ComponentError: the store cannot be read.
    """
    if config.metadata.kind == "sqlite" and not config.metadata_path.exists():
        return {}
    try:
        return _complete_runs(
            LineageStore.from_connection_config(connection_config(config)), config.name
        )
    except NoRunsError:
        return {}
    except LineageError as error:
        raise ComponentError(str(error)) from error


def complete_spans(config: PipelineConfig) -> set[int]:
    """Those of `complete_runs`."""
    return set(complete_runs(config))


def outputs(run: Run, component: str, key: str) -> tuple[int, ...]:
    """Ids of what a component of a run put out."""
    return tuple(
        artifact_id
        for execution in run.components
        if execution.component == component
        for artifact_id in execution.outputs.get(key, ())
    )


def _complete_runs(store: LineageStore, pipeline: str) -> dict[int, Run]:
    runs = [
        run
        for run in store.runs()
        if run.pipeline == pipeline
        and run.state == "complete"
        and any(execution.component == "Pusher" for execution in run.components)
    ]
    made = {artifact_id: run for run in runs for artifact_id in _examples(run)}
    found: dict[int, Run] = {}
    for artifact_id, artifact in store.artifacts(made).items():
        span, run = artifact.properties.get("span"), made[artifact_id]
        if span is not None:
            newest = found.get(int(span))
            found[int(span)] = run if newest is None or newest.started < run.started else newest
    return found


def _examples(run: Run) -> tuple[int, ...]:
    return outputs(run, "SparkExampleGen", "examples")
