"""What was decided, done and recorded; through a crash between the two."""

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

_KINDS = {True: PROMOTION, False: ROLLBACK}  # by whether it promotes


@dataclasses.dataclass(frozen=True)
class Acted:
    """A promotion or rollback that was made.

    Attributes:
      kind: Promotion or Rollback.
      execution: its id in ML Metadata.
      switch: what changed; None where another command has recorded it.
    """

    kind: str
    execution: int
    switch: Intent | None


class Actor:
    """Of a pipeline.

    Args:
      config: with `streaming`.
      folder: for what it remembers.
    """

    def __init__(self, config: PipelineConfig, folder: Path):
        self._config = config
        self._intent, self._history = folder / "intent.json", folder / "switches.json"

    def act(self, decision: Decision, hour: int) -> Acted | None:
        """Promotes or rolls back; None where there is nothing to do.

        Args:
          decision: of the rule.
          hour: the last one that it is based on.

        Raises:
          ComponentError: what is live has changed since the decision, a model server cannot load
            the version, or ML Metadata is away; in the last case `settle` records what was done.
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

    def settle(self) -> Acted | None:
        """Records what was done by a process that died before it could; None if there was none."""
        settled = {intent.id: intent for intent in settle(self._config)}
        if not self._intent.exists():
            return None
        said = read_json(self._intent)
        name = said.pop("id")
        execution = execution_of(self._config, _KINDS[said["what"] == PROMOTE], name)
        if execution is None:  # it did not come to pass
            self._intent.unlink()
            return None
        return self._remembered(settled.get(name), execution, said)

    def history(self) -> list[dict[str, Any]]:
        """All that was done: what, reason, hour, oldest first."""
        return list(read_json(self._history)["switches"]) if self._history.exists() else []

    def _remembered(self, switch: Intent | None, execution: int, said: dict[str, Any]) -> Acted:
        write_json(self._history, {"switches": [*self.history(), said]}, durable=True)
        self._intent.unlink()
        return Acted(_KINDS[said["what"] == PROMOTE], execution, switch)
