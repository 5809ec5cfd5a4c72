"""Lists the versions of a pipeline's model, with their pushes and metrics from ML Metadata."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable
from pathlib import Path

from base.errors import ComponentError
from base.shared_names import RUNS_FOLDER
from components.pusher.release import read_release
from components.pusher.versions_folder import VersionsFolder, versions_in
from metadata.pushed_models import Origin, origin_of, pushed_as, pushed_models
from metadata.reader import MetadataReader
from metadata.records import Artifact
from pipeline.config import PipelineConfig
from pipeline.run_summary import metrics_of
from tabular.metrics.metric_names import metric_name


@dataclasses.dataclass(frozen=True)
class VersionLine:
    """A version of a model.

    Attributes:
      version: Number of the version.
      label: Label under which it is live; empty if it is not live.
      withdrawn: Reason why it was withdrawn; None if it was not.
      pushed: Time of its push in UTC; None if ML Metadata has no push of it.
      run_id: Id of the run that pushed it; empty if unknown.
      metrics: Metrics of its evaluation by name; empty if unknown.
    """

    version: int
    label: str
    withdrawn: str | None
    pushed: dt.datetime | None = None
    run_id: str = ""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)


def version_lines(config: PipelineConfig) -> list[VersionLine]:
    """Returns the versions, newest first.

    Raises:
      ComponentError: There are no versions.
    """
    base = config.serving_folder
    numbers = versions_in(base)
    if not numbers:
        raise ComponentError(f"nothing was pushed to {base} yet; run the pipeline first")
    release, folder = read_release(base), VersionsFolder(base)
    labels = {number: label for label, number in release.labels.items()} if release else {}
    pushes = _pushes(config, numbers)
    lines = []
    for number in reversed(numbers):
        line = VersionLine(number, labels.get(number, ""), folder.withdrawn(number))
        if number in pushes:
            pushed, origin = pushes[number]
            makers = (origin.evaluator, origin.pusher)
            metrics, _ = metrics_of(config.run_folder / RUNS_FOLDER, makers, origin.evaluation)
            run_id = origin.pusher.run_id if origin.pusher else ""
            line = dataclasses.replace(line, pushed=pushed.created, run_id=run_id, metrics=metrics)
        lines.append(line)
    return lines


def shown_metrics(config: PipelineConfig, lines: Iterable[VersionLine]) -> list[str]:
    """Returns the metrics that any version has, those of the config first.

    Counts of examples are left out.
    """
    found = dict.fromkeys(name for line in lines for name in line.metrics)
    section = config.evaluator
    ours = [*section.measured, *(name for some in section.grouped.values() for name in some)]
    named = [name for name in map(str, ours) if name in found]
    return [*dict.fromkeys([*named, *(name for name in found if _is_metric(name))])]


def _is_metric(name: str) -> bool:
    try:
        metric_name(name)
    except ValueError:
        return False
    return True


def transform_graph_of(config: PipelineConfig, version: int) -> Path:
    """Returns the TransformGraph that a pushed version was trained with.

    Raises:
      ComponentError: ML Metadata has no push of the version.
    """
    found = _pushes(config, [version]).get(version)
    graph = found[1].transform_graph if found else None
    if graph is None:
        raise ComponentError(
            f"ML Metadata of {config.name} has no push of version {version}, and so no "
            "TransformGraph. See `python -m serving versions` for the known ones"
        )
    return Path(graph.uri)


def _pushes(config: PipelineConfig, numbers: Iterable[int]) -> dict[int, tuple[Artifact, Origin]]:
    """Returns PushedModel and origin of the versions that the pipeline itself has pushed."""
    if config.metadata_connection.is_missing:
        return {}
    store = MetadataReader.connect(config.metadata_connection)
    models = pushed_models(store)
    found = {number: pushed_as(models, str(number))[:1] for number in numbers}
    return {n: (pushed, origin_of(store, pushed)) for n, some in found.items() for pushed in some}
