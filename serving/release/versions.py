"""The versions of a pipeline's model, with what ML Metadata knows of each."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from base.errors import ComponentError
from base.shared_names import RUNS_FOLDER
from components.pusher.release import read_release
from components.pusher.versions_folder import VersionsFolder, versions_in
from lineage.trace import Trace, trace
from metadata.connection import connection_config
from metadata.reader import LineageError, LineageStore
from pipeline.config import PipelineConfig


@dataclasses.dataclass(frozen=True)
class VersionLine:
    """A version.

    Attributes:
      version: its number.
      label: what it is live as; "" if it is not.
      withdrawn: why it was rolled back.
      pushed: when; UTC.
      run_id: of the run that pushed it.
      metrics: of its evaluation.
    """

    version: int
    label: str
    withdrawn: str | None
    pushed: dt.datetime | None
    run_id: str
    metrics: dict[str, float]


def version_lines(config: PipelineConfig) -> list[VersionLine]:
    """Newest first.

    Raises:
      ComponentError: there is none.
    """
    base = config.serving_folder
    numbers = versions_in(base)
    if not numbers:
        raise ComponentError(f"nothing was pushed to {base} yet; run the pipeline first")
    release, folder = read_release(base), VersionsFolder(base)
    labels = {number: label for label, number in release.labels.items()} if release else {}
    with _store(config) as store:
        traces = _traces(store, numbers, config.run_folder / RUNS_FOLDER)
    lines = []
    for number in reversed(numbers):
        found = traces.get(number)
        pusher = found.maker(found.pushed) if found else None
        lines.append(
            VersionLine(
                version=number,
                label=labels.get(number, ""),
                withdrawn=folder.withdrawn(number),
                pushed=found.pushed.created if found else None,
                run_id=pusher.run_id if pusher else "",
                metrics=found.metrics if found else {},
            )
        )
    return lines


def transform_graph_of(config: PipelineConfig, version: int) -> Path:
    """The TransformGraph that a pushed version was trained with.

    Raises:
      ComponentError: ML Metadata does not know.
    """
    with _store(config) as store:
        found = _traces(store, [version], None).get(version)
    graph = found.transform_graph if found else None
    if graph is None:
        raise ComponentError(
            f"ML Metadata of {config.name} knows no push of version {version}, and so not its "
            "TransformGraph; see `python -m serving versions`"
        )
    return Path(graph.uri)


@contextlib.contextmanager
def _store(config: PipelineConfig) -> Iterator[LineageStore | None]:
    """None where there is none yet: models may also come from elsewhere."""
    if config.metadata.kind == "sqlite" and not config.metadata_path.exists():
        yield None
        return
    try:
        yield LineageStore.from_connection_config(connection_config(config))
    except LineageError as error:
        raise ComponentError(str(error)) from None


def _traces(
    store: LineageStore | None, numbers: list[int], summaries: Path | None
) -> dict[int, Trace]:
    """Of those versions that the store knows a push of."""
    if store is None:
        return {}
    known = {
        str(artifact.properties.get("pushed_version"))
        for artifact in store.artifacts_of_type("PushedModel")
    }
    return {n: trace(store, str(n), summaries) for n in numbers if str(n) in known}
