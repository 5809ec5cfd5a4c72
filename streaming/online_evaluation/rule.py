"""What follows from the metrics: the canary is promoted, something is rolled back, or neither."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from components.pusher.release import CANARY, STABLE, Release
from pipeline.streaming_sections import OnlineRule
from streaming.online_evaluation.metrics import CALIBRATION, NORMALIZED_ENTROPY, Increase, Served

PROMOTE, ROLLBACK, WAIT = "promote", "rollback", "wait"


@dataclasses.dataclass(frozen=True)
class Judged:
    """What is known of a live version.

    Attributes:
      served: its metrics; of the stable version on the newest hours that are enough.
      hours: in how many it has served.
      increase: of its normalized entropy against the version before it, in the hours that both
        have served: in others, others came. None where there is none.
    """

    served: Served
    hours: int
    increase: Increase | None = None


@dataclasses.dataclass(frozen=True)
class Decision:
    """Attributes:
    what: promote, rollback or wait.
    reason: for a person, and for lineage.
    release: what was live when it was made.
    to: the version to go back to; None: only the canary is withdrawn, if there is one.
    """

    what: str
    reason: str
    release: Release | None = None
    to: int | None = None


def decide(release: Release, judged: Mapping[int, Judged], rule: OnlineRule) -> Decision:
    """What to do about the live versions.

    A metric is out of bounds, or within them, with its *whole interval*; between the two it says
    nothing yet: an unlucky hour of a good model is no reason to go back, and too few impressions
    are none to trust a model. A canary that is still in between after `patience_hours` is judged
    by the values alone. Nothing is decided before a version has had enough impressions.

    Args:
      release: what is live.
      judged: version -> what is known of it.
      rule: the bounds.
    """
    return dataclasses.replace(_decide(release, judged, rule), release=release)


def _decide(release: Release, judged: Mapping[int, Judged], rule: OnlineRule) -> Decision:
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
    """To the canary, if it looks well; else to what was there before."""
    if canary is not None and canary.plausible and not canary.out:
        return Decision(PROMOTE, f"{stable.reason}; {canary.reason}")
    if release.previous is not None:
        return Decision(ROLLBACK, stable.reason, to=release.previous)
    if canary is not None and canary.out:
        return Decision(ROLLBACK, canary.reason)
    return Decision(WAIT, f"{stable.reason}; there is no version to go back to")


@dataclasses.dataclass(frozen=True)
class _Check:
    """A metric and its bounds; a NaN is neither out of them nor within."""

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
    """Of a version: out of bounds, within them, or neither; plausible by the values alone."""

    reason: str
    out: bool = False
    within: bool = False
    plausible: bool = False
    overdue: bool = False


def _state(label: str, version: int, judged: Mapping[int, Judged], rule: OnlineRule) -> _State:
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
    overdue = label == CANARY and known.hours >= rule.patience_hours  # stable may stay uncertain
    said = "; ".join(check.text for check in checks if not check.within)
    judged_by = f"by the values after {known.hours} hours" if overdue else "not certain yet"
    plausible = all(check.plausible for check in checks)
    return _State(f"{name}: {said}; {judged_by}", plausible=plausible, overdue=overdue)


def _checks(known: Judged, rule: OnlineRule) -> list[_Check]:
    served, (least, most) = known.served, rule.calibration
    value, interval = served.values[CALIBRATION], served.intervals[CALIBRATION]
    text = f"calibration {value:.3f}{_span(interval, '.3f')}, bounds {least} and {most}"
    found = [_Check(text, value, interval, (least, most))]

    value, interval = served.values[NORMALIZED_ENTROPY], served.intervals[NORMALIZED_ENTROPY]
    text = f"log loss {value:.3f}{_span(interval, '.3f')} times that of the mean CTR, at most 1"
    found.append(_Check(text, value, interval, (0, 1)))
    if known.increase is not None:
        found.append(_against(known.increase, rule))
    return found


def _against(increase: Increase, rule: OnlineRule) -> _Check:
    most, name = rule.max_log_loss_increase, f"log loss against version {increase.other}"
    if increase.impressions < rule.min_impressions:
        text = f"{name} of {increase.impressions:,} impressions in the same hours"
        return _Check(text, 0, (-math.inf, math.inf), (-1, most))
    value, interval = increase.value, increase.interval
    text = f"{name} {value:+.1%}{_span(interval, '+.1%')}, at most {most:+.0%}"
    return _Check(text, value, interval, (-1, most))


def _span(interval: tuple[float, float], form: str) -> str:
    return f" ({interval[0]:{form}} to {interval[1]:{form}})"
