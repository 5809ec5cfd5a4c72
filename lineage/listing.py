"""Lists runs, one line each: `run_lines(store)`."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter

from metadata import names
from metadata.pushed_models import version_of, was_pushed
from metadata.reader import MetadataReader
from metadata.records import Artifact, Run, State


@dataclasses.dataclass(frozen=True)
class RunLine:
    """The outcome of a run.

    Attributes:
      run_id, pipeline: Id of the run and name of its pipeline.
      started: Start of the run (UTC).
      state: State of the run, see `Run.state`.
      seconds: Seconds from its start to its last change in the store.
      components: State -> number of components.
      failed: Components that failed.
      span: Span of the examples it made or took from the cache; None if it had none.
      pushed_version: Version of the model that the run pushed or found already pushed; None if
        there is none, or if its Pusher recorded no version.
    """

    run_id: str
    pipeline: str
    started: dt.datetime
    state: State
    seconds: float
    components: dict[str, int]
    failed: tuple[str, ...]
    span: int | None
    pushed_version: str | None


def run_lines(store: MetadataReader, limit: int | None = None) -> list[RunLine]:
    """Returns the newest `limit` runs (default: all), newest first.

    Raises:
      MetadataError: The store cannot be read.
    """
    runs = store.runs(limit)
    artifacts = store.artifacts(i for run in runs for i in _outputs(run))
    return [_line(run, [artifacts[i] for i in _outputs(run) if i in artifacts]) for run in runs]


def _outputs(run: Run) -> list[int]:
    return [i for e in run.components for ids in e.outputs.values() for i in ids]


def _line(run: Run, outputs: list[Artifact]) -> RunLine:
    states = Counter(execution.state for execution in run.components)
    # Transform's Examples have no span; StatisticsGen's artifacts have one that is always 0.
    spans = [a.properties[names.SPAN] for a in outputs if a.type == names.EXAMPLES and _has_span(a)]
    pushed = [a for a in outputs if a.type == names.PUSHED_MODEL and was_pushed(a)]
    return RunLine(
        run_id=run.run_id,
        pipeline=run.pipeline,
        started=run.started,
        state=run.state,
        seconds=run.seconds,
        components=dict(sorted(states.items())),
        failed=tuple(e.title for e in run.components if e.state == "failed"),
        span=max(spans, default=None),
        pushed_version=(version_of(pushed[-1]) or None) if pushed else None,
    )


def _has_span(artifact: Artifact) -> bool:
    return isinstance(artifact.properties.get(names.SPAN), int)
