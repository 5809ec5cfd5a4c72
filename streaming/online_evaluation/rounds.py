"""What is done as hours close: metrics, drift, a decision, and the page."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipeline.config import PipelineConfig
from streaming.layout import Layout, changed_ns
from streaming.online_evaluation.act import Acted, Actor
from streaming.online_evaluation.drift import Distance
from streaming.online_evaluation.drift_watch import DriftWatch
from streaming.online_evaluation.evaluate import OnlineEvaluation
from streaming.online_evaluation.metrics import Served
from streaming.online_evaluation.page import write_page
from streaming.online_evaluation.rule import Decision
from streaming.operation.records import Records


@dataclasses.dataclass(frozen=True)
class Round:
    """What was new.

    Attributes:
      metrics: hour -> what versions served in it.
      drift: hour -> distances of its features.
      problems: hour -> why it cannot be read.
      decision: about what is live.
      done: what was made of it, if it was to be acted on.
      settled: what an earlier process had done and not recorded.
      page: its path.
    """

    metrics: dict[int, list[Served]]
    drift: dict[int, list[Distance]]
    problems: dict[int, str]
    decision: Decision
    done: Acted | None
    settled: Acted | None
    page: Path


class Rounds:
    """Of a pipeline.

    Args:
      config: with `streaming`.
    """

    def __init__(self, config: PipelineConfig):
        assert config.streaming is not None
        self._config, self._folder = config, config.streaming.folder
        self.evaluation, self._drift = OnlineEvaluation(config), DriftWatch(config)
        self._actor = Actor(config, self._folder / "online")
        self._looked: list[int] | None = None

    def waiting(self) -> bool:
        """Whether an hour was closed, or its run recorded, since the last round."""
        return self._stamp() != self._looked

    def _stamp(self) -> list[int]:
        return changed_ns(Layout(self._folder).markers, Records(self._folder).folder)

    def round(self, *, act: bool) -> Round:
        """Looks at what is new; with `act` promotes or rolls back.

        Raises:
          ComponentError: ML Metadata does not answer, or what is live has changed meanwhile; what
            was not kept is looked at again by the next round.
        """
        stamp = self._stamp()
        settled = self._actor.settle()
        metrics = {hour: self.evaluation.evaluate(hour) for hour in self.evaluation.new_hours()}
        drift = {hour: self._drift.look(hour) for hour in self._drift.new_hours()}
        decision = self.evaluation.decide()
        last = max(self.evaluation.results(), default=0)
        done = self._actor.act(decision, last) if act else None
        page = write_page(
            self._folder,
            self._config.name,
            self.evaluation.results(),
            self._drift.results(),
            self._actor.history(),
            f"{decision.what}: {decision.reason}",
        )
        problems, self._looked = self.evaluation.problems, stamp
        return Round(metrics, drift, problems, decision, done, settled, page)
