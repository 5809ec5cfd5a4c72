"""Computes metrics of closed hours, and decides about the live versions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import base.arrow  # noqa: F401
from base.errors import ComponentError
from components.pusher.release import CANARY, STABLE, read_release
from metadata import names
from metadata.pushed_models import first_pushes
from metadata.writer import MetadataWriter, NewArtifact
from pipeline.config import PipelineConfig
from streaming.layout import (
    IMPRESSIONS,
    HourFiles,
    Layout,
    hour_name,
    read_json,
)
from streaming.online_evaluation.metrics import ServedMetrics, entropy_increase, served_metrics
from streaming.online_evaluation.rule import WAIT, Decision, VersionEvidence, decide

# Columns of a served impression, as the application's events_of_request names them.
_COLUMNS = ("arm", "version", "probability", "user_id")
_CLICK_MS = "click_ms"


class OnlineEvaluation:
    """Evaluates the versions that a pipeline has pushed.

    Args:
      config: Config with a section `streaming`.

    Attributes:
      problems: Hour -> why it cannot be read. It is left out until it has a new version.

    Raises:
      ComponentError: The application's model predicts no probabilities.
    """

    def __init__(self, config: PipelineConfig):
        assert config.streaming is not None
        task = config.loaded_application().features.task
        if task != "binary":
            raise ComponentError(
                f"online evaluation judges probabilities. Received: {config.application}, whose "
                f"task is {task}"
            )
        self.problems: dict[int, str] = {}
        self._config, self._rule = config, config.streaming.online_rule
        self._layout = Layout(config.streaming.folder)
        self._files = HourFiles(config.streaming.folder / "online" / "evaluation")

    def new_hours(self) -> list[int]:
        """Returns the closed hours whose newest version has no metrics yet, oldest first."""
        closed = self._layout.closed_hours()
        return [
            hour
            for hour, marker in closed.items()
            if marker[IMPRESSIONS]["rows"] and self._known(hour) != marker["version"]
        ]

    def evaluate(self, hour: int) -> list[ServedMetrics]:
        """Returns the metrics of an hour by arm and version; empty if no model was served.

        They are recorded in a file and in ML Metadata, as one `OnlineMetrics` artifact for each arm
        and version with the pushed model as input.
        """
        found = served_metrics(self.impressions([hour]))
        version = self._layout.closed_hours()[hour]["version"]
        if found:
            self._record(hour, version, found)
        content = {
            "hour": hour,
            "version": version,
            "served": [_as_json(one) for one in found],
            "problem": self.problems.get(hour),
        }
        self._files.write(hour, content)
        return found

    def _record(self, hour: int, version: int, found: list[ServedMetrics]) -> None:
        writer = MetadataWriter.connect(self._config.metadata_connection, self._config.name)
        pushed = first_pushes(writer.reader)
        uri = str(self._files.path(hour).resolve())
        made = [NewArtifact(names.ONLINE_METRICS, uri, _properties(hour, one)) for one in found]
        versions = sorted({one.version for one in found} & pushed.keys())
        writer.record(
            names.ONLINE_EVALUATION,
            {"hour": hour_name(hour), "span": hour, "span_version": version},
            inputs=[("pushed_model", pushed[model].id) for model in versions],
            outputs=[("metrics", artifact) for artifact in made],
            name=f"{self._config.name}:{hour}:v{version}",
        )

    def results(self) -> dict[int, list[dict[str, Any]]]:
        """Returns hour -> its metrics, oldest first."""
        return {hour: content["served"] for hour, content in self._files.read().items()}

    def decide(self) -> Decision:
        """Returns the rule's decision about the live versions, based on the last hours."""
        release = read_release(self._config.serving_folder)
        if release is None:
            return Decision(WAIT, "no model was pushed yet")
        frame = self.impressions([*self._layout.closed_hours()][-self._rule.hours :])
        # Other arms belong to experiments beside the pipeline.
        ours = frame[frame["arm"].isin([STABLE, CANARY])].dropna(subset=["probability"])
        # A stable version that was the canary before is judged by both roles.
        of = {version: ours[ours["version"] == version] for version in release.labels.values()}
        stable, canary, previous = release.stable, release.canary, release.previous
        newest = _newest(of[stable], self._rule.min_impressions)
        judged = [self._judged(newest, of[stable], of.get(previous or -1))]
        if canary is not None:
            judged.append(self._judged(of[canary], of[canary], of[stable]))
        return decide(release, {v.served.version: v for v in judged if v is not None}, self._rule)

    def _judged(
        self, rows: pd.DataFrame, all_rows: pd.DataFrame, others: pd.DataFrame | None
    ) -> VersionEvidence | None:
        if rows.empty:
            return None
        (metrics,) = served_metrics(rows.assign(arm=""))
        hours = all_rows["hour"].unique()
        if others is not None:
            shared = set(hours) & set(others["hour"])
            ours, theirs = (f[f["hour"].isin(shared)] for f in (all_rows, others))
            if shared:
                return VersionEvidence(metrics, len(hours), entropy_increase(ours, theirs))
        return VersionEvidence(metrics, len(hours))

    def impressions(self, hours: Iterable[int]) -> pd.DataFrame:
        """Returns the impressions of these hours, as `served_metrics` takes them, with `hour`."""
        frames = [pd.DataFrame(columns=[*_COLUMNS, "clicked", "hour"])]
        for hour in hours:
            for path in self._layout.newest(IMPRESSIONS, [hour]):
                try:
                    frames.append(_read(path).assign(hour=hour))
                except (pa.ArrowException, OSError) as error:
                    reason = str(error).splitlines()[0]
                    self.problems[hour] = f"{path} cannot be read: {reason}"
        some = [frame for frame in frames if len(frame)]
        return pd.concat(some, ignore_index=True) if some else frames[0]

    def _known(self, hour: int) -> int | None:
        path = self._files.path(hour)
        return int(read_json(path)["version"]) if path.exists() else None


def _newest(rows: pd.DataFrame, enough: int) -> pd.DataFrame:
    """Returns the rows of the newest hours that have enough; more hours would hide a new fault."""
    counts = rows.groupby("hour").size().sort_index(ascending=False)
    before = counts.cumsum() - counts
    return rows[rows["hour"].isin(counts.index[before < enough])]


def _read(span: Path) -> pd.DataFrame:
    files = sorted(span.glob("*.parquet"))
    there = set(pq.read_schema(files[0]).names)
    if not there.issuperset(_COLUMNS):  # the hour is older than the first model
        return pd.DataFrame(columns=[*_COLUMNS, "clicked"])
    tables = [pq.ParquetFile(file).read([*_COLUMNS, _CLICK_MS]) for file in files]
    frame = pd.concat([table.to_pandas() for table in tables], ignore_index=True)
    return frame.assign(clicked=frame[_CLICK_MS].notna().astype(int)).drop(columns=_CLICK_MS)


def _as_json(one: ServedMetrics) -> dict[str, Any]:
    """Returns the metrics for JSON, with None for NaN and infinity."""
    values = {name: value if math.isfinite(value) else None for name, value in one.values.items()}
    intervals = {
        name: list(pair) if all(map(math.isfinite, pair)) else None
        for name, pair in one.intervals.items()
    }
    return {**dataclasses.asdict(one), "values": values, "intervals": intervals}


def _properties(hour: int, one: ServedMetrics) -> dict[str, int | float | str]:
    """Returns the properties of the artifact in ML Metadata, without undefined metrics."""
    counts = {"impressions": one.impressions, "clicks": one.clicks}
    values = {name: value for name, value in one.values.items() if math.isfinite(value)}
    bounds = {
        f"{name}_{end}": value
        for name, pair in one.intervals.items()
        for end, value in zip(("low", "high"), pair, strict=True)
        if math.isfinite(value)
    }
    return {
        "hour": hour_name(hour),
        "arm": one.arm,
        "version": one.version,
        **counts,
        **values,
        **bounds,
    }
