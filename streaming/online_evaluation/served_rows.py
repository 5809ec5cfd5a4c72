"""Reads the served events of closed hours, each with what was predicted and its label."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import base.arrow  # noqa: F401
from base.section import ConfigError
from features.attribution import CLICK_MS as OUTCOME_MS
from pipeline.check_online import outcome_stream, served_stream
from pipeline.config import PipelineConfig
from pipeline.online_sections import ARM, VERSION
from streaming.layout import Layout
from streaming.online_evaluation.tasks import OnlineTask, online_task

HOUR, PREDICTION, LABEL, GROUP = "hour", "prediction", "label", "group"
COLUMNS = (HOUR, ARM, VERSION, PREDICTION, LABEL, GROUP)


@dataclasses.dataclass(frozen=True)
class EventNames:
    """The application's own names, for people and for lineage.

    Attributes:
      events: Name of the served events: their stream.
      positives: Name of the events with label 1: the stream of outcomes, or else the class; None
        for a label that is a number.
      label: Name of the label.
      group: Column whose values are groups of similar events; None if events are independent.
    """

    events: str
    positives: str | None
    label: str
    group: str | None


class ServedRows:
    """The served events of a pipeline's closed hours.

    This is the only place that knows how a closed hour stores events and outcomes.

    Args:
      config: Config with a section `streaming`.

    Attributes:
      names: The application's names.
      task: How predictions of the application's task are judged.
      problems: Hour -> why its events cannot be judged. The hour is left out until it has a new
        version.

    Raises:
      ConfigError: The config has no section `streaming.served`, or the task has no metrics.
    """

    def __init__(self, config: PipelineConfig):
        settings = config.streaming
        assert settings is not None
        if settings.served is None:
            raise ConfigError(
                f"{config.name}: online evaluation needs the section streaming.served, which says "
                "what became of served events, such as served: {group: customer_id, label: fare}"
            )
        features = config.loaded_application().features
        self.task: OnlineTask = online_task(features.task)
        self.problems: dict[int, str] = {}
        self._served, self._prediction = settings.served, config.evaluator.prediction
        self._outcome = outcome_stream(settings, features.task)
        self._layout = Layout(settings.folder)
        positives = None
        if features.task == "binary":
            named = features.classes[0] if features.classes != ("1", "0") else features.label
            positives = self._outcome or named
        self.names = EventNames(
            served_stream(settings), positives, features.label, settings.served.group
        )

    def closed_hours(self) -> list[int]:
        """Returns all closed hours, oldest first."""
        return [*self._layout.closed_hours()]

    def versions(self) -> dict[int, int]:
        """Returns closed hour with events -> its newest version, oldest hour first."""
        return {
            hour: marker["version"]
            for hour, marker in self._layout.closed_hours().items()
            if marker[self.names.events]["rows"]
        }

    def read(self, hours: Iterable[int]) -> pd.DataFrame:
        """Returns the served events of these hours, without those of `problems`.

        Returns:
          Columns `hour`, `arm`, `version`, `prediction`, `label` (NaN where it is not known yet)
          and `group`.
        """
        frames = [pd.DataFrame(columns=list(COLUMNS))]
        for hour in hours:
            self.problems.pop(hour, None)
            for path in self._layout.newest(self.names.events, [hour]):
                try:
                    frames.append(self._read(path, hour))
                except (pa.ArrowException, OSError) as error:
                    reason = str(error).splitlines()[0]
                    self.problems[hour] = f"{path} cannot be read: {reason}"
                except ValueError as error:
                    self.problems[hour] = f"{path}: {error}"
        some = [frame for frame in frames if len(frame)]
        return pd.concat(some, ignore_index=True) if some else frames[0]

    def _read(self, span: Path, hour: int) -> pd.DataFrame:
        files = sorted(span.glob("*.parquet"))
        there = set(pq.read_schema(files[0]).names)
        if not there & {ARM, VERSION, self._prediction}:  # the hour is older than the first model
            return pd.DataFrame(columns=list(COLUMNS))
        label = OUTCOME_MS if self._outcome is not None else self._served.label
        assert label is not None
        source = {ARM: ARM, VERSION: VERSION, PREDICTION: self._prediction, LABEL: label}
        if self.names.group is not None:
            source[GROUP] = self.names.group
        if missing := sorted(set(source.values()) - there):
            raise ValueError(f"expected the column {missing[0]} of served events, which is missing")
        wanted = list(dict.fromkeys(source.values()))
        tables = [pq.ParquetFile(file).read(wanted) for file in files]
        found = pd.concat([table.to_pandas() for table in tables], ignore_index=True)
        rows = pd.DataFrame({name: found[column] for name, column in source.items()})
        rows[HOUR] = hour
        if self._outcome is not None:
            rows[LABEL] = rows[LABEL].notna().astype(float)
        if self.names.group is None:
            rows[GROUP] = [f"{hour}-{number}" for number in range(len(rows))]
        served = rows.dropna(subset=[VERSION, PREDICTION])
        labelled = served.dropna(subset=[LABEL])
        self.task.check(labelled[LABEL], served[PREDICTION])
        return rows.astype({LABEL: float, PREDICTION: float})[list(COLUMNS)]
