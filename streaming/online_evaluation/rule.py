"""Decides by metrics whether to promote the canary, roll back, or wait."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from components.pusher.release import CANARY, STABLE, Release
from pipeline.streaming_sections import OnlineRule
from streaming.online_evaluation.metrics import (
    CALIBRATION,
    NORMALIZED_ENTROPY,
    EntropyIncrease,
    ServedMetrics,
)

PROMOTE, ROLLBACK, WAIT = "promote", "rollback", "wait"


@dataclasses.dataclass(frozen=True)
class VersionEvidence:
    """What is known of a live version.

    Attributes:
      served: Its metrics; for the stable version, on the newest hours with enough impressions.
      hours: Number of hours in which it was served.
      increase: Increase of its normalized entropy over the version before it. Only hours in which
        both were served count, since other hours had other users. None without such hours.
    """

    served: ServedMetrics
    hours: int
    increase: EntropyIncrease | None = None


@dataclasses.dataclass(frozen=True)
class Decision:
    """A decision about the live versions.

    Attributes:
      what: `promote`, `rollback` or `wait`.
      reason: Text for people and for lineage.
      release: Live versions at the time of the decision.
      to: Version to roll back to; None to withdraw only the canary.
    """

    what: str
    reason: str
    release: Release | None = None
    to: int | None = None


def decide(release: Release, judged: Mapping[int, VersionEvidence], rule: OnlineRule) -> Decision:
    """Returns what to do about the live versions.

    A metric counts as out of bounds, or as within them, only if its *whole interval* is. Otherwise
    it is undecided: an unlucky hour does not condemn a good model, and too few impressions do not
    vouch for one. A canary that is undecided after `patience_hours` is judged by the values alone.
    A version without enough impressions is not judged.

    Args:
      release: Live versions.
      judged: Version -> what is known of it.
      rule: Bounds.
    """
    return dataclasses.replace(_decide(release, judged, rule), release=release)


def _decide(release: Release, judged: Mapping[int, VersionEvidence], rule: OnlineRule) -> Decision:
    stable = _state(STABLE, release.stable, judged, rule)
    canary = None
    if release.canary is not None:
        canary = _state(CANARY, release.canary, judged, rule)
    if stable.out:
        return _away_from(stable, canary, release)
    if canary is None:
        return Decision(WAIT, stable.reason)
    if canary.out or (canary.overdue and not canary.plausible):
        return Decision(ROLLBACK, canary.reason)
    if canary.within or (canary.overdue and canary.plausible):
        return Decision(PROMOTE, canary.reason)
    return Decision(WAIT, canary.reason)


def _away_from(stable: _State, canary: _State | None, release: Release) -> Decision:
    """Replaces a bad stable version by a plausible canary, or else by the previous version."""
    if canary is not None and canary.plausible and not canary.out:
        return Decision(PROMOTE, f"{stable.reason}; {canary.reason}")
    if release.previous is not None:
        return Decision(ROLLBACK, stable.reason, to=release.previous)
    if canary is not None and canary.out:
        return Decision(ROLLBACK, canary.reason)
    return Decision(WAIT, f"{stable.reason}; there is no version to go back to")


@dataclasses.dataclass(frozen=True)
class _Check:
    """A metric and its bounds; NaN is neither out of bounds nor within."""

    text: str
    value: float
    interval: tuple[float, float]
    bounds: tuple[float, float]

    @property
    def out(self) -> bool:
        return self.interval[1] < self.bounds[0] or self.interval[0] > self.bounds[1]

    @property
    def within(self) -> bool:
        return self.bounds[0] <= self.interval[0] and self.interval[1] <= self.bounds[1]

    @property
    def plausible(self) -> bool:
        return self.bounds[0] <= self.value <= self.bounds[1]


@dataclasses.dataclass(frozen=True)
class _State:
    """The checks of a version, summed up; `plausible` looks at the values alone."""

    reason: str
    out: bool = False
    within: bool = False
    plausible: bool = False
    overdue: bool = False


def _state(
    label: str, version: int, judged: Mapping[int, VersionEvidence], rule: OnlineRule
) -> _State:
    known = judged.get(version)
    count = 0 if known is None else known.served.impressions
    if known is None or count < rule.min_impressions:
        return _State(f"{label} {version} has {count:,} of {rule.min_impressions:,} impressions")
    name, checks = f"{label} {version}", _checks(known, rule)
    if bad := [check for check in checks if check.out]:
        return _State(f"{name}: {'; '.join(check.text for check in bad)}", out=True)
    if all(check.within for check in checks):
        reason = f"{name}: within all bounds in {count:,} impressions"
        return _State(reason, within=True, plausible=True)
    overdue = (
        label == CANARY and known.hours >= rule.patience_hours
    )  # a stable version may stay undecided
    said = "; ".join(check.text for check in checks if not check.within)
    judged_by = f"by the values after {known.hours} hours" if overdue else "not certain yet"
    plausible = all(check.plausible for check in checks)
    return _State(f"{name}: {said}; {judged_by}", plausible=plausible, overdue=overdue)


def _checks(known: VersionEvidence, rule: OnlineRule) -> list[_Check]:
    served, (least, most) = known.served, rule.calibration
    value, interval = served.values[CALIBRATION], served.intervals[CALIBRATION]
    text = f"calibration {value:.3f}{_interval_text(interval, '.3f')}, bounds {least} and {most}"
    found = [_Check(text, value, interval, (least, most))]

    value, interval = served.values[NORMALIZED_ENTROPY], served.intervals[NORMALIZED_ENTROPY]
    bounds = _interval_text(interval, ".3f")
    text = f"log loss {value:.3f}{bounds} times that of the mean CTR, at most 1"
    found.append(_Check(text, value, interval, (0, 1)))
    if known.increase is not None:
        found.append(_increase_check(known.increase, rule))
    return found


def _increase_check(increase: EntropyIncrease, rule: OnlineRule) -> _Check:
    most, name = rule.max_log_loss_increase, f"log loss against version {increase.other}"
    if increase.impressions < rule.min_impressions:
        text = f"{name} of {increase.impressions:,} impressions in the same hours"
        return _Check(text, 0, (-math.inf, math.inf), (-1, most))
    value, interval = increase.value, increase.interval
    text = f"{name} {value:+.1%}{_interval_text(interval, '+.1%')}, at most {most:+.0%}"
    return _Check(text, value, interval, (-1, most))


def _interval_text(interval: tuple[float, float], form: str) -> str:
    return f" ({interval[0]:{form}} to {interval[1]:{form}})"
