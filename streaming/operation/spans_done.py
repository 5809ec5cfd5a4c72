"""Finds the spans with a complete run, in ML Metadata."""

from __future__ import annotations

from metadata import names
from metadata.reader import MetadataReader, NoRunsError
from metadata.records import Run
from pipeline.config import PipelineConfig


def complete_runs(config: PipelineConfig) -> dict[int, Run]:
    """Returns span -> its newest run in which every component is complete.

    Raises:
      MetadataError: The store cannot be read.
    """
    if config.metadata_connection.is_missing:
        return {}
    try:
        store = MetadataReader.connect(config.metadata_connection)
    except NoRunsError:
        return {}
    return _complete_runs(store, config.name)


def complete_spans(config: PipelineConfig) -> set[int]:
    """Returns the spans that have a complete run."""
    return set(complete_runs(config))


def outputs(run: Run, component: str, key: str) -> tuple[int, ...]:
    """Returns the ids of a component's output artifacts in a run."""
    return tuple(
        artifact_id
        for execution in run.components
        if execution.component == component
        for artifact_id in execution.outputs.get(key, ())
    )


def _complete_runs(store: MetadataReader, pipeline: str) -> dict[int, Run]:
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
        span, run = artifact.properties.get(names.SPAN), made[artifact_id]
        if span is not None:
            newest = found.get(int(span))
            found[int(span)] = run if newest is None or newest.started < run.started else newest
    return found


def _examples(run: Run) -> tuple[int, ...]:
    return outputs(run, "SparkExampleGen", "examples")
