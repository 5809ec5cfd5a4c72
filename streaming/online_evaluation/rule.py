"""What follows from the metrics: the canary is promoted, something is rolled back, or neither."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from components.pusher.release import CANARY, STABLE, Release
from pipeline.streaming_sections import OnlineRule
from streaming.online_evaluation.metrics import CALIBRATION, LOG_LOSS, Served

PROMOTE, ROLLBACK, WAIT = "promote", "rollback", "wait"


@dataclasses.dataclass(frozen=True)
class Decision:
    """Attributes:
    what: promote, rollback or wait.
    reason: for a person, and for lineage.
    release: what was live when it was made.
    """

    what: str
    reason: str
    release: Release | None = None


def decide(release: Release, found: Sequence[Served], rule: OnlineRule) -> Decision:
    """What to do about the newest live version.

    A version is bad when a metric is out of bounds *with its whole interval*: an unlucky hour of a
    good model is no reason. Nothing is decided before it has had enough impressions.

    Args:
      release: what is live.
      found: metrics of the versions on what they served since they became live.
      rule: the bounds.
    """
    return dataclasses.replace(_decide(release, found, rule), release=release)


def _decide(release: Release, found: Sequence[Served], rule: OnlineRule) -> Decision:
    by_version = {one.version: one for one in found}
    stable = by_version.get(release.stable)
    if release.canary is not None:
        return _about(CANARY, by_version.get(release.canary), stable, rule)
    if release.previous is None:
        return Decision(WAIT, f"version {release.stable} is the only one")
    decision = _about(STABLE, stable, by_version.get(release.previous), rule)
    return Decision(WAIT, decision.reason) if decision.what == PROMOTE else decision


def _about(label: str, version: Served | None, other: Served | None, rule: OnlineRule) -> Decision:
    if version is None or version.impressions < rule.min_impressions:
        count = 0 if version is None else version.impressions
        return Decision(WAIT, f"{label} has {count:,} of {rule.min_impressions:,} impressions")
    name = f"{label} {version.version}"
    low, high = version.intervals[CALIBRATION]
    least, most = rule.calibration
    if high < least or low > most:
        reason = f"calibration {_interval(version, CALIBRATION)} is not in [{least}, {most}]"
        return Decision(ROLLBACK, f"{name}: {reason}")
    if other is not None and other.impressions >= rule.min_impressions:
        bound = other.values[LOG_LOSS] * (1 + rule.max_log_loss_increase)
        if version.intervals[LOG_LOSS][0] > bound:
            reason = (
                f"log loss {_interval(version, LOG_LOSS)}, {other.arm} {other.version} has "
                f"{other.values[LOG_LOSS]:.4f}"
            )
            return Decision(ROLLBACK, f"{name}: {reason}")
    return Decision(
        PROMOTE, f"{name}: nothing out of bounds in {version.impressions:,} impressions"
    )


def _interval(version: Served, metric: str) -> str:
    low, high = version.intervals[metric]
    return f"{version.values[metric]:.4f} ({low:.4f} to {high:.4f})"
