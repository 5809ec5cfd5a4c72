"""Checks each hour that has a model for drift of its examples and of what was served."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv

from metadata import names
from metadata.reader import MetadataReader
from metadata.records import Artifact, Run
from metadata.writer import MetadataWriter, NewArtifact, Value
from pipeline.config import PipelineConfig
from streaming.layout import HourFiles, hour_name
from streaming.online_evaluation.drift import FeatureDistance, distances, with_comparators
from streaming.online_evaluation.served_examples import is_served, statistics_of
from streaming.operation.spans_done import complete_runs, outputs

_SPLIT = "Split-train"


class DriftWatch:
    """Computes and records the feature distances of a pipeline's hours.

    Args:
      config: Config with a section `streaming`.
    """

    def __init__(self, config: PipelineConfig):
        assert config.streaming is not None
        self._config, self._rule = config, config.streaming.drift
        self._is_served = is_served(config.loaded_application())
        self._runs: dict[int, Run] = {}
        self._files = HourFiles(config.streaming.folder / "online" / "drift")

    def new_hours(self) -> list[int]:
        """Returns the hours whose statistics were not checked yet, oldest first.

        Hours whose files are gone are left out; `python -m lineage gc` may have deleted them.

        Raises:
          ComponentError: ML Metadata cannot be read.
        """
        self._runs = complete_runs(self._config)
        known = self.results()
        new = [
            hour
            for hour, run in sorted(self._runs.items())
            if known.get(hour, {}).get("run_id") != run.run_id
        ]
        if not new:
            return []
        found = self._found(self._writer().reader, new)
        return [hour for hour in new if hour in found]

    def _writer(self) -> MetadataWriter:
        return MetadataWriter.connect(self._config.metadata_connection, self._config.name)

    def _found(self, store: MetadataReader, hours: Iterable[int]) -> dict[int, Artifact]:
        """Returns hour -> the statistics of its run, if they still exist on disk."""
        ids = {hour: _statistics(self._runs[hour]) for hour in hours}
        known = store.artifacts(ids.values())
        found = {hour: known[one] for hour, one in ids.items() if one in known}
        return {hour: a for hour, a in found.items() if _file(Path(a.uri)).exists()}

    def look(self, hour: int) -> list[FeatureDistance]:
        """Computes the distances of an hour, and records them in a file and in ML Metadata.

        Args:
          hour: One of `new_hours`.

        Raises:
          Exception: Whatever the application's `events_of_request` raises for a request, besides
            RequestLineError, which counts in the file as `malformed_requests`.
        """
        schema = with_comparators(
            tfdv.load_schema_text(str(self._config.schema_file)),
            self._rule.max_distance,
            self._rule.leave_out,
        )
        log, most = self._config.serving.request_log, self._rule.most_examples
        served, malformed = None, self._is_served.malformed
        if log is not None:
            served = statistics_of(log.folder, hour, schema, most, self._is_served)
        writer = self._writer()
        there = self._found(writer.reader, [span for span in self._runs if span <= hour])
        earlier = max((span for span in there if span < hour), default=None)
        compared = [there[span] for span in (hour, earlier) if span is not None]
        now, *before = (_load(Path(artifact.uri)) for artifact in compared)
        found = distances(schema, now, before[0] if before else None, served)
        self._record(writer, hour, compared, found)
        content = {
            "hour": hour,
            "run_id": self._runs[hour].run_id,
            "before": earlier,
            "was_served": served is not None,
            "malformed_requests": self._is_served.malformed - malformed,
            "distances": [{**dataclasses.asdict(one), "drifted": one.drifted} for one in found],
        }
        self._files.write(hour, content)
        return found

    def _record(
        self,
        writer: MetadataWriter,
        hour: int,
        compared: list[Artifact],
        found: list[FeatureDistance],
    ) -> None:
        summary: dict[str, Value] = {
            "hour": hour_name(hour),
            "features": len({one.feature for one in found}),
            "drifted": sum(one.drifted for one in found),
        }
        if found:
            summary |= {"largest": found[0].value, "feature": found[0].feature}
        uri = str(self._files.path(hour).resolve())
        writer.record(
            names.DRIFT_CHECK,
            summary,
            inputs=[("statistics", artifact.id) for artifact in compared],
            outputs=[("drift", NewArtifact(names.FEATURE_DRIFT, uri, summary))],
            name=f"{self._config.name}:{hour}:{self._runs[hour].run_id}",
        )

    def results(self) -> dict[int, dict[str, Any]]:
        """Returns hour -> the recorded distances, oldest first."""
        return self._files.read()


def _statistics(run: Run) -> int:
    """Returns the artifact id of the run's statistics; 0 if it has none."""
    return max(outputs(run, "StatisticsGen", "statistics"), default=0)


def _file(uri: Path) -> Path:
    return uri / _SPLIT / "FeatureStats.pb"


def _load(uri: Path) -> Any:
    return tfdv.load_stats_binary(str(_file(uri)))
