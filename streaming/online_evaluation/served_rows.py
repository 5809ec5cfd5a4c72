"""Reads the served events of closed hours, each with what was predicted and its label."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import base.arrow  # noqa: F401
from base.section import ConfigError
from metadata.records import Artifact
from pipeline.check_online import outcome_stream, served_stream
from pipeline.config import PipelineConfig
from pipeline.online_sections import ARM, VERSION
from streaming.hour_events import rows_of
from streaming.layout import Layout
from streaming.online_evaluation.etl_labels import EtlLabels
from streaming.online_evaluation.outcome_labels import OutcomeLabels
from streaming.online_evaluation.tasks import OnlineTask, online_task

HOUR, PREDICTION, LABEL, GROUP = "hour", "prediction", "label", "group"
_TIME = "time"  # of an event, while its outcomes are looked up
COLUMNS = (HOUR, ARM, VERSION, PREDICTION, LABEL, GROUP)


@dataclasses.dataclass(frozen=True)
class EventNames:
    """The application's own names, for people and for lineage.

    Attributes:
      events: Name of the judged events: the stream of the served ones, or that of the outcomes
        whose column is the label, since only events with an outcome are judged.
      positives: Name of the events with label 1: the stream of outcomes, or else the class; None
        for a label that is a number.
      label: Name of the label.
      group: Column whose values are groups of similar events; None if events are independent.
    """

    events: str
    positives: str | None
    label: str
    group: str | None


@dataclasses.dataclass(frozen=True)
class HourState:
    """The data that an hour is judged on; it is judged again when this changes.

    Attributes:
      version: Newest version of its events.
      examples: Id of the examples with its labels, if labels are the ETL's.
      outcomes: Versions of the hours with its outcomes, if labels are that one followed.
    """

    version: int
    examples: int | None = None
    outcomes: str | None = None


class ServedRows:
    """The served events of a pipeline's closed hours.

    Args:
      config: Config with a section `streaming`.
      at_last: Whether the labels are those of `streaming.served.later`.

    Attributes:
      names: The application's names.
      task: How predictions of the application's task are judged.
      problems: Hour -> why its events cannot be judged. The hour is left out until it has a new
        version.

    Raises:
      ConfigError: The config has no section `streaming.served`, or the task has no metrics.
    """

    def __init__(self, config: PipelineConfig, *, at_last: bool = False):
        settings = config.streaming
        assert settings is not None
        served = settings.served
        if served is not None and at_last:
            served = served.at_last
        if served is None:
            raise ConfigError(
                f"{config.name}: online evaluation needs the section streaming.served, which says "
                "what became of served events, such as served: {group: customer_id, label: fare}"
            )
        features = config.loaded_application().features
        self.task: OnlineTask = online_task(features.task)
        self.problems: dict[int, str] = {}
        self._prediction = config.evaluator.prediction
        outcome = outcome_stream(settings, served, features.task)
        said = served.label if served.outcome is not None else None
        self._outcomes = OutcomeLabels(settings, outcome, said) if outcome is not None else None
        key = served.key
        self._etl_labels = EtlLabels(config, key, features.label) if key is not None else None
        self._examples: dict[int, Artifact] = {}
        # The column that leads to the label; the config's check has made sure that one does.
        self._stream = stream = served_stream(settings)
        own = served.label if outcome is None else None
        self._label = key or own or settings.streams[stream].id
        self._layout = Layout(settings.folder)
        positives = None
        if features.task == "binary":
            named = features.classes[0] if features.classes != ("1", "0") else features.label
            positives = named if said is not None else outcome or named
        events = outcome if said is not None and outcome is not None else stream
        self.names = EventNames(events, positives, features.label, served.group)

    def served_after(self, hour: int) -> list[int]:
        """Returns the closed hours with events after an hour, oldest first."""
        return [other for other in self._with_events(self._layout.closed_hours()) if other > hour]

    def _with_events(self, closed: Mapping[int, Mapping[str, Any]]) -> dict[int, HourState]:
        return {
            hour: HourState(marker["version"])
            for hour, marker in closed.items()
            if rows_of(marker, self._stream)
        }

    def states(self) -> dict[int, HourState]:
        """Returns the state of each hour that can be judged, oldest first.

        These are the closed hours with events. If labels are the ETL's, a run has read them. If
        they are by outcomes, these have all had their time.
        """
        closed = self._layout.closed_hours()
        found = self._with_events(closed)
        if self._outcomes is not None:
            mature = self._outcomes.versions(found, closed)
            return {
                hour: dataclasses.replace(found[hour], outcomes=versions)
                for hour, versions in mature.items()
            }
        if self._etl_labels is None:
            return found
        self._examples = made = self._etl_labels.examples()
        return {
            hour: dataclasses.replace(state, examples=made[hour].id)
            for hour, state in found.items()
            if hour in made
        }

    def read(self, hours: Iterable[int]) -> pd.DataFrame:
        """Returns the served events of these hours, without those of `problems`.

        Labels of the ETL are those of the runs that `states` has seen last.

        Returns:
          Columns `hour`, `arm`, `version`, `prediction`, `label` (NaN where it is not known yet)
          and `group`.
        """
        frames = [pd.DataFrame(columns=list(COLUMNS))]
        for hour in hours:
            self.problems.pop(hour, None)
            for path in self._layout.newest(self._stream, [hour]):
                try:
                    frames.append(self._read(path, hour, self._examples.get(hour)))
                except (pa.ArrowException, OSError) as error:
                    reason = str(error).splitlines()[0]
                    self.problems[hour] = f"{path} cannot be read: {reason}"
                except ValueError as error:
                    self.problems[hour] = f"{path}: {error}"
        some = [frame for frame in frames if len(frame)]
        return pd.concat(some, ignore_index=True) if some else frames[0]

    def _read(self, span: Path, hour: int, examples: Artifact | None) -> pd.DataFrame:
        source = {ARM: ARM, VERSION: VERSION, PREDICTION: self._prediction, LABEL: self._label}
        if self.names.group is not None:
            source[GROUP] = self.names.group
        if self._outcomes is not None:
            source[_TIME] = self._outcomes.event_time
        files = sorted(span.glob("*.parquet"))
        there = set(pq.read_schema(files[0]).names)
        if not there & {ARM, VERSION, self._prediction}:  # the hour is older than the first model
            return pd.DataFrame(columns=list(COLUMNS))
        if missing := sorted(set(source.values()) - there):
            raise ValueError(f"expected the column {missing[0]} of served events, which is missing")
        wanted = list(dict.fromkeys(source.values()))
        tables = [pq.ParquetFile(file).read(wanted) for file in files]
        # A whole number stays one beside a null, since a key may be one.
        frames = [table.to_pandas(integer_object_nulls=True) for table in tables]
        found = pd.concat(frames, ignore_index=True)
        rows = pd.DataFrame({name: found[column] for name, column in source.items()})
        rows[HOUR] = hour
        if self.names.group is None:
            rows[GROUP] = [f"{hour}-{number}" for number in range(len(rows))]
        # Before labels are looked up: most events of an hour may be those of no model.
        rows = rows.dropna(subset=[VERSION, PREDICTION]).fillna({ARM: ""})
        rows[LABEL] = self._labels(rows, hour, examples)
        outcomes = self._outcomes
        if outcomes is not None and outcomes.column is not None and outcomes.is_mature(hour):
            rows = rows.dropna(subset=[LABEL])  # of the others nobody will ever say anything
        self.task.check(rows[LABEL].dropna(), rows[PREDICTION])
        return rows.astype({LABEL: float})[list(COLUMNS)]

    def _labels(self, rows: pd.DataFrame, hour: int, examples: Artifact | None) -> pd.Series:
        """Returns the labels of events by what was found in the column that leads to them."""
        found = rows[LABEL]
        if self._outcomes is not None:
            return self._outcomes.read(hour, found, rows[_TIME])
        if self._etl_labels is None:
            return found
        if examples is None:
            return pd.Series(np.nan, index=found.index)
        known = self._etl_labels.read(examples)
        return found.map(str, na_action="ignore").map(known)
