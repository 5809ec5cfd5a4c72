"""Evaluates newly closed hours: metrics, drift, a decision, and the page."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipeline.config import PipelineConfig
from streaming.layout import Layout, modification_times
from streaming.online_evaluation.act import DecisionExecutor, ExecutedDecision
from streaming.online_evaluation.drift import FeatureDistance
from streaming.online_evaluation.drift_watch import DriftWatch
from streaming.online_evaluation.evaluate import OnlineEvaluation
from streaming.online_evaluation.metrics import ServedMetrics
from streaming.online_evaluation.page import write_page
from streaming.online_evaluation.rule import Decision
from streaming.online_evaluation.served_rows import EventNames
from streaming.operation.records import HourRecords


@dataclasses.dataclass(frozen=True)
class Measured:
    """Metrics by later outcomes.

    Attributes:
      names: The application's names.
      titles: Metric to show -> its name for people.
      metrics: New hour -> metrics of the versions served in it.
      problems: Hour -> why it cannot be read.
    """

    names: EventNames
    titles: dict[str, str]
    metrics: dict[int, list[ServedMetrics]]
    problems: dict[int, str]


@dataclasses.dataclass(frozen=True)
class EvaluationRound:
    """The results of one round.

    Attributes:
      names: The application's names.
      titles: Metric to show -> its name for people.
      metrics: New hour -> metrics of the versions served in it.
      at_last: The same by the outcomes of `streaming.served.later`; None without them.
      drift: New hour -> distances of its features.
      problems: Hour -> why it cannot be read.
      decision: Decision about the live versions.
      done: How the decision was carried out, if it was.
      settled: Change that an earlier process had made and not recorded.
      page: Path of the page.
    """

    names: EventNames
    titles: dict[str, str]
    metrics: dict[int, list[ServedMetrics]]
    at_last: Measured | None
    drift: dict[int, list[FeatureDistance]]
    problems: dict[int, str]
    decision: Decision
    done: ExecutedDecision | None
    settled: ExecutedDecision | None
    page: Path


class EvaluationRounds:
    """Evaluates a pipeline's hours, round by round.

    Args:
      config: Config with a section `streaming`.
    """

    def __init__(self, config: PipelineConfig):
        assert config.streaming is not None
        self._config, self._folder = config, config.streaming.folder
        self.evaluation, self._drift = OnlineEvaluation(config), DriftWatch(config)
        served = config.streaming.served
        has_later = served is not None and served.later is not None
        self._at_last = OnlineEvaluation(config, at_last=True) if has_later else None
        self._actor = DecisionExecutor(config, self._folder / "online")
        self._looked: list[int] | None = None

    def waiting(self) -> bool:
        """Returns whether hours, labels or runs have come since the last round."""
        return self._stamp() != self._looked

    def _stamp(self) -> list[int]:
        layout, records = Layout(self._folder), HourRecords(self._folder)
        settings = self._config.streaming
        assert settings is not None
        tables = [layout.index(stream).parent for stream in settings.outcomes]
        return modification_times(layout.markers, *tables, records.folder)

    def round(self, *, act: bool) -> EvaluationRound:
        """Evaluates new hours; with `act`, carries out the decision.

        Raises:
          ComponentError: ML Metadata does not answer, or the live versions have changed meanwhile.
            The next round repeats what was not recorded.
        """
        stamp = self._stamp()
        settled = self._actor.settle()
        metrics = {hour: self.evaluation.evaluate(hour) for hour in self.evaluation.new_hours()}
        at_last = self._measured()
        drift = {hour: self._drift.look(hour) for hour in self._drift.new_hours()}
        decision = self.evaluation.decide()
        last = max(self.evaluation.results(), default=0)
        done = self._actor.act(decision, last) if act else None
        page = write_page(
            self._folder,
            self._config.name,
            self.evaluation.shown,
            self.evaluation.rows.names,
            self.evaluation.results(),
            self._drift.results(),
            self._actor.history(),
            f"{decision.what}: {decision.reason}",
            self._at_last,
        )
        self._looked = stamp
        return EvaluationRound(
            names=self.evaluation.rows.names,
            titles=self.evaluation.shown,
            metrics=metrics,
            at_last=at_last,
            drift=drift,
            problems=self.evaluation.rows.problems,
            decision=decision,
            done=done,
            settled=settled,
            page=page,
        )

    def _measured(self) -> Measured | None:
        one = self._at_last
        if one is None:
            return None
        metrics = {hour: one.evaluate(hour) for hour in one.new_hours()}
        return Measured(one.rows.names, one.shown, metrics, one.rows.problems)
