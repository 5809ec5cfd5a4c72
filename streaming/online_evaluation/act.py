"""What was decided, done and recorded; through a crash between the two."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from components.errors import ComponentError
from components.pusher.release import Release, read_release
from components.pusher.rollout import Rollout
from pipeline.config import PipelineConfig
from serving.release.record import record_in
from serving.release.switch import Switch, promote, rollback
from streaming.layout import read_json, write_whole
from streaming.online_evaluation.rule import PROMOTE, WAIT, Decision


@dataclasses.dataclass(frozen=True)
class Acted:
    """A promotion or rollback that was made.

    Attributes:
      switch: what changed.
      execution: its id in ML Metadata.
    """

    switch: Switch
    execution: int


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
        write_whole(self._intent, {**said, "before": dataclasses.asdict(judged)})
        rollout = Rollout(self._config.serving.followers())
        try:
            if decision.what == PROMOTE:
                switch = promote(base, judged, rollout)
            else:
                switch = rollback(base, decision.to, decision.reason, judged, rollout)
        except ComponentError:
            self._intent.unlink()
            raise
        return self._recorded(switch, said)

    def settle(self) -> Acted | None:
        """Records what was done by a process that died before it could; None if there was none."""
        if not self._intent.exists():
            return None
        intent = read_json(self._intent)
        before, now = Release(**intent.pop("before")), read_release(self._config.serving_folder)
        if now is None or now == before:
            self._intent.unlink()
            return None
        gone = {v for v in before.labels.values() if v > now.stable or v == before.canary}
        promoted = intent["what"] == PROMOTE
        withdrawn = {} if promoted else dict.fromkeys(sorted(gone), intent["reason"])
        kind = "Promotion" if promoted else "Rollback"
        return self._recorded(Switch(kind, before, now, withdrawn), intent)

    def history(self) -> list[dict[str, Any]]:
        """All that was done: what, reason, hour, oldest first."""
        return list(read_json(self._history)["switches"]) if self._history.exists() else []

    def _recorded(self, switch: Switch, said: dict[str, Any]) -> Acted:
        execution = record_in(self._config, switch)
        write_whole(self._history, {"switches": [*self.history(), said]})
        self._intent.unlink()
        return Acted(switch, execution)
