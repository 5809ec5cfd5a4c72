"""Computes metrics of closed hours, and decides about the live versions."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import Any

import pandas as pd

from components.pusher.release import CANARY, STABLE, read_release
from metadata import names
from metadata.pushed_models import first_pushes
from metadata.writer import MetadataWriter, NewArtifact
from pipeline.config import PipelineConfig
from streaming.layout import HourFiles, hour_name, read_json
from streaming.online_evaluation.metrics import ServedMetrics, compare, served_metrics
from streaming.online_evaluation.rule import WAIT, Decision, Judgement, VersionEvidence, decide
from streaming.online_evaluation.served_rows import HourState, ServedRows


class OnlineEvaluation:
    """Evaluates the versions that a pipeline has pushed.

    Args:
      config: Config with a section `streaming`.
      at_last: Whether labels are those of `streaming.served.later`, by which nothing is decided.

    Attributes:
      rows: The served events of closed hours.
      titles: Metric -> its name for people, with the application's names.

    Raises:
      ConfigError: The config does not say what became of served events, or the task of the
        application's model has no metrics.
    """

    def __init__(self, config: PipelineConfig, *, at_last: bool = False):
        assert config.streaming is not None
        self.rows = ServedRows(config, at_last=at_last)
        own = dataclasses.asdict(self.rows.names)
        self.titles = {name: text.format(**own) for name, text in self.rows.task.titles.items()}
        self._config, self._rule = config, config.streaming.online_rule
        self._states: dict[int, HourState] = {}
        task = config.loaded_application().features.task
        self._judgement = Judgement(
            task=task,
            bounds=self._rule.bounds(task),
            titles=self.titles,
            events=self.rows.names.events,
            min_events=self._rule.min_events,
            max_unlabelled_fraction=self._rule.max_unlabelled_fraction,
            patience_hours=self._rule.patience_hours,
        )
        self._kind = "at_last" if at_last else "evaluation"
        self._files = HourFiles(config.streaming.folder / "online" / self._kind)

    @property
    def shown(self) -> dict[str, str]:
        """The metrics of tables and charts, each with its name for people."""
        return {name: self.titles[name] for name in self.rows.task.shown}

    def new_hours(self) -> list[int]:
        """Returns the hours whose present state has no metrics yet, oldest first."""
        self._states = self.rows.states()
        return [hour for hour, state in self._states.items() if self._known(hour) != state]

    def evaluate(self, hour: int) -> list[ServedMetrics]:
        """Returns the metrics of an hour by arm and version; empty if no model was served.

        They are recorded in a file and in ML Metadata, as one `OnlineMetrics` artifact for each arm
        and version with the pushed model as input.

        Args:
          hour: One of `new_hours`.
        """
        state = self._states[hour]
        found = served_metrics(self.rows.read([hour]), self.rows.task)
        if found:
            self._record(hour, state, found)
        content = {
            "hour": hour,
            **dataclasses.asdict(state),
            "served": [_as_json(one) for one in found],
            "problem": self.rows.problems.get(hour),
        }
        self._files.write(hour, content)
        return found

    def _record(self, hour: int, state: HourState, found: list[ServedMetrics]) -> None:
        writer = MetadataWriter.connect(self._config.metadata_connection, self._config.name)
        pushed = first_pushes(writer.reader)
        uri = str(self._files.path(hour).resolve())
        made = [
            NewArtifact(names.ONLINE_METRICS, uri, self._properties(hour, one)) for one in found
        ]
        versions = sorted({one.version for one in found} & pushed.keys())
        inputs = [("pushed_model", pushed[model].id) for model in versions]
        name = f"{self._config.name}:{hour}:v{state.version}"
        if self._kind != "evaluation":
            name += f":{self._kind}"
        if state.examples is not None:
            inputs.append(("examples", state.examples))
            name += f":{state.examples}"
        if state.outcomes is not None and set(state.outcomes) - {"1", ","}:
            # There may be a thousand hours, and a name in MySQL has 255 characters.
            name += f":outcomes {hashlib.sha256(state.outcomes.encode()).hexdigest()[:16]}"
        writer.record(
            names.ONLINE_EVALUATION,
            {
                "hour": hour_name(hour),
                "span": hour,
                "span_version": state.version,
                names.JUDGED_BY: self._kind,
            },
            inputs=inputs,
            outputs=[("metrics", artifact) for artifact in made],
            name=name,
        )

    def _properties(self, hour: int, one: ServedMetrics) -> dict[str, int | float | str]:
        """Returns the properties of the artifact in ML Metadata, without undefined metrics.

        Counts have the application's names, and one property says which of them counts the events.
        """
        own = self.rows.names
        counts = {own.events: one.events}
        if one.positives is not None and own.positives is not None:
            counts[own.positives] = one.positives
        if one.unlabelled:
            counts["unlabelled"] = one.unlabelled
        values = {name: value for name, value in one.values.items() if math.isfinite(value)}
        bounds = {
            f"{name}_{end}": value
            for name, pair in one.intervals.items()
            for end, value in zip(("low", "high"), pair, strict=True)
            if math.isfinite(value)
        }
        return {
            **counts,
            **values,
            **bounds,
            names.EVENTS: own.events,
            "hour": hour_name(hour),
            "arm": one.arm,
            "version": one.version,
        }

    def results(self) -> dict[int, list[dict[str, Any]]]:
        """Returns hour -> its metrics, oldest first."""
        return {
            hour: content["served"]
            for hour, content in self._files.read().items()
            if _is_current(content)
        }

    def decide(self) -> Decision:
        """Returns the rule's decision about the live versions, based on the last hours."""
        release = read_release(self._config.serving_folder)
        if release is None:
            return Decision(WAIT, "no model was pushed yet")
        # Hours whose outcomes have not had their time say nothing yet, however many there are.
        hours = [*self.rows.states()][-self._rule.hours :]
        frame = self.rows.read(hours)
        # Other arms belong to experiments beside the pipeline.
        ours = frame[frame["arm"].isin([STABLE, CANARY])].dropna(subset=["version", "prediction"])
        ours, unlabelled = _mature(ours, self._rule.max_unlabelled_fraction)
        # A stable version that was the canary before is judged by both roles.
        of = {version: ours[ours["version"] == version] for version in release.labels.values()}
        stable, canary, previous = release.stable, release.canary, release.previous
        newest = _newest(of[stable], self._rule.min_events)
        judged = [self._judged(newest, of[stable], of.get(previous or -1))]
        if canary is not None:
            judged.append(self._judged(of[canary], of[canary], of[stable]))
        evidence = {one.served.version: one for one in judged if one is not None}
        decision = decide(release, evidence, self._judgement)
        waiting = unlabelled + len(self.rows.served_after(max(hours, default=0)))
        if not waiting:
            return decision
        reason = f"{decision.reason}; {waiting} of the last hours wait for labels"
        return dataclasses.replace(decision, reason=reason)

    def _judged(
        self, rows: pd.DataFrame, all_rows: pd.DataFrame, others: pd.DataFrame | None
    ) -> VersionEvidence | None:
        if rows.empty:
            return None
        task = self.rows.task
        (metrics,) = served_metrics(rows.assign(arm=""), task)
        hours, comparison = all_rows["hour"].unique(), None
        if others is not None and self._judgement.compared:
            shared = set(hours) & set(others["hour"])
            ours, theirs = (f[f["hour"].isin(shared)] for f in (all_rows, others))
            if shared:
                comparison = compare(ours, theirs, self._judgement.compared, task)
        return VersionEvidence(metrics, len(hours), comparison)

    def _known(self, hour: int) -> HourState | None:
        """Returns the state of an hour that has metrics; None if there are none, or former ones.

        Earlier versions of this project named counts by what they counted.
        """
        path = self._files.path(hour)
        content = read_json(path) if path.exists() else None
        if content is None or not _is_current(content):
            return None
        return HourState(content["version"], content.get("examples"), content.get("outcomes"))


def _is_current(content: dict[str, Any]) -> bool:
    """Returns whether an hour's file has the present form."""
    return all("events" in one for one in content["served"])


def _mature(rows: pd.DataFrame, most: float) -> tuple[pd.DataFrame, int]:
    """Returns the rows of the hours whose labels are known, and the number of the other hours.

    Args:
      rows: Served events.
      most: Largest share of an hour's events whose label may be unknown.
    """
    share = rows["label"].isna().astype(float).groupby(rows["hour"]).mean()
    mature = share.index[share.to_numpy(float) <= most]
    return rows[rows["hour"].isin(mature)], len(share) - len(mature)


def _newest(rows: pd.DataFrame, enough: int) -> pd.DataFrame:
    """Returns the rows of the newest hours that have enough; more hours would hide a new fault."""
    counts = rows.groupby("hour").size().sort_index(ascending=False)
    before = counts.cumsum() - counts
    return rows[rows["hour"].isin(counts.index[before < enough])]


def _as_json(one: ServedMetrics) -> dict[str, Any]:
    """Returns the metrics for JSON, with None for NaN and infinity."""
    values = {name: value if math.isfinite(value) else None for name, value in one.values.items()}
    intervals = {
        name: list(pair) if all(map(math.isfinite, pair)) else None
        for name, pair in one.intervals.items()
    }
    return {**dataclasses.asdict(one), "values": values, "intervals": intervals}
