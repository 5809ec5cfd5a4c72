"""Carries out decisions, and records them even if the process dies in between."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from base.atomic_files import write_json
from base.errors import ComponentError
from components.pusher.intents import PROMOTION, ROLLBACK, Intent, new_id
from components.pusher.rollout import Rollout
from pipeline.config import PipelineConfig
from serving.release.record import execution_of, record_in
from serving.release.settle import settle
from serving.release.switch import promote, rollback
from streaming.layout import read_json
from streaming.online_evaluation.rule import PROMOTE, WAIT, Decision

_KINDS = {True: PROMOTION, False: ROLLBACK}  # the key says whether the decision promotes


@dataclasses.dataclass(frozen=True)
class ExecutedDecision:
    """A promotion or rollback that was carried out.

    Attributes:
      kind: Promotion or Rollback.
      execution: Id of the execution in ML Metadata.
      switch: Change of the live versions; None if another command has recorded it.
    """

    kind: str
    execution: int
    switch: Intent | None


class DecisionExecutor:
    """Carries out the decisions about a pipeline's live versions.

    Args:
      config: Config with a section `streaming`.
      folder: Folder for the intent and the history.
    """

    def __init__(self, config: PipelineConfig, folder: Path):
        self._config = config
        self._intent, self._history = folder / "intent.json", folder / "switches.json"

    def act(self, decision: Decision, hour: int) -> ExecutedDecision | None:
        """Promotes or rolls back; returns None if the decision is to wait.

        Args:
          decision: Decision of the rule.
          hour: Last hour that the decision is based on.

        Raises:
          ComponentError: The live versions have changed since the decision, a model server cannot
            load the version, or ML Metadata is not available. In the last case `settle` records
            the change later.
        """
        if decision.what == WAIT:
            return None
        base, judged = self._config.serving_folder, decision.release
        assert judged is not None
        said = {"what": decision.what, "reason": decision.reason, "hour": hour}
        name = new_id(_KINDS[decision.what == PROMOTE])
        write_json(self._intent, {**said, "id": name}, durable=True)
        rollout = Rollout(self._config.serving.followers())
        try:
            if decision.what == PROMOTE:
                switch = promote(base, judged, rollout, name)
            else:
                switch = rollback(base, decision.to, decision.reason, judged, rollout, name)
        except ComponentError:
            self._intent.unlink()
            raise
        return self._remembered(switch, record_in(self._config, switch), said)

    def settle(self) -> ExecutedDecision | None:
        """Records the change of a process that died too early; returns None if there is none."""
        settled = {intent.id: intent for intent in settle(self._config)}
        if not self._intent.exists():
            return None
        said = read_json(self._intent)
        name = said.pop("id")
        execution = execution_of(self._config, _KINDS[said["what"] == PROMOTE], name)
        if execution is None:  # the process died before the change
            self._intent.unlink()
            return None
        return self._remembered(settled.get(name), execution, said)

    def history(self) -> list[dict[str, Any]]:
        """Returns all promotions and rollbacks, oldest first: what, reason and hour."""
        return list(read_json(self._history)["switches"]) if self._history.exists() else []

    def _remembered(
        self, switch: Intent | None, execution: int, said: dict[str, Any]
    ) -> ExecutedDecision:
        write_json(self._history, {"switches": [*self.history(), said]}, durable=True)
        self._intent.unlink()
        return ExecutedDecision(_KINDS[said["what"] == PROMOTE], execution, switch)
