"""Decides by metrics whether to promote the canary, roll back, or wait."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from components.pusher.release import CANARY, STABLE, Release
from pipeline.online_sections import ONLINE_METRICS, OnlineBound
from streaming.online_evaluation.metrics import Comparison, Interval, ServedMetrics
from tabular.metrics.metric_names import HIGHER

PROMOTE, ROLLBACK, WAIT = "promote", "rollback", "wait"
_NO_BOUNDS = (-math.inf, math.inf)
_LARGE = 100.0  # from here on a value is shown with one digit after the point


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The measures by which a version is judged.

    Attributes:
      task: Task of the model, a key of ONLINE_METRICS.
      bounds: Metric -> its bounds; not empty.
      titles: Metric -> its name for people.
      events: Name of the served events.
      min_events: With fewer labelled events of a version nothing is decided.
      max_unlabelled_fraction: With a larger share of events without a label nothing is decided.
      patience_hours: Hours after which a canary is judged by the values alone.
    """

    task: str
    bounds: Mapping[str, OnlineBound]
    titles: Mapping[str, str]
    events: str
    min_events: int
    max_unlabelled_fraction: float
    patience_hours: int

    @property
    def compared(self) -> list[str]:
        """Metrics that are compared with those of another version."""
        return [metric for metric, bound in self.bounds.items() if bound.against_another]


@dataclasses.dataclass(frozen=True)
class VersionEvidence:
    """The evidence about a live version.

    Attributes:
      served: Its metrics; for the stable version, on the newest hours with enough events.
      hours: Number of hours in which it was served.
      comparison: Its metrics against those of the version before it. Only hours in which both were
        served count, since other hours had other events. None without such hours.
    """

    served: ServedMetrics
    hours: int
    comparison: Comparison | None = None


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


def decide(
    release: Release, judged: Mapping[int, VersionEvidence], judgement: Judgement
) -> Decision:
    """Returns what to do about the live versions.

    A metric counts as out of bounds, or as within them, only if its *whole interval* is. Otherwise
    it is undecided: an unlucky hour does not condemn a good model, and too few events do not vouch
    for one. A canary that is undecided after `patience_hours` is judged by the values alone. A
    version without enough events is not judged, nor is one whose labels are not known yet: those
    that come late may differ from the others.

    Args:
      release: Live versions.
      judged: Version -> what is known of it.
      judgement: What versions are judged by.
    """
    return dataclasses.replace(_decide(release, judged, judgement), release=release)


def _decide(
    release: Release, judged: Mapping[int, VersionEvidence], judgement: Judgement
) -> Decision:
    stable = _state(STABLE, release.stable, judged, judgement)
    canary = None
    if release.canary is not None:
        canary = _state(CANARY, release.canary, judged, judgement)
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
    interval: Interval
    bounds: Interval

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
    label: str, version: int, judged: Mapping[int, VersionEvidence], judgement: Judgement
) -> _State:
    known, name = judged.get(version), f"{label} {version}"
    count = 0 if known is None else known.served.labelled
    if known is not None and _is_open(known.served, judgement):
        unknown, events = known.served.unlabelled, known.served.events
        return _State(
            f"{name}: the label of {unknown:,} of {events:,} {judgement.events} is not known yet"
        )
    if known is None or count < judgement.min_events:
        return _State(f"{name} has {count:,} of {judgement.min_events:,} {judgement.events}")
    checks = _checks(known, judgement)
    if not checks:  # every bound is against another version
        return _State(f"{name}: no other version was served in the same hours")
    if bad := [check for check in checks if check.out]:
        return _State(f"{name}: {'; '.join(check.text for check in bad)}", out=True)
    if all(check.within for check in checks):
        reason = f"{name}: within all bounds in {count:,} {judgement.events}"
        return _State(reason, within=True, plausible=True)
    overdue = (
        label == CANARY and known.hours >= judgement.patience_hours
    )  # a stable version may stay undecided
    said = "; ".join(check.text for check in checks if not check.within)
    judged_by = f"by the values after {known.hours} hours" if overdue else "not certain yet"
    plausible = all(check.plausible for check in checks)
    return _State(f"{name}: {said}; {judged_by}", plausible=plausible, overdue=overdue)


def _is_open(served: ServedMetrics, judgement: Judgement) -> bool:
    return served.unlabelled > judgement.max_unlabelled_fraction * served.events


def _checks(known: VersionEvidence, judgement: Judgement) -> list[_Check]:
    found = []
    for metric, bound in judgement.bounds.items():
        value, interval = known.served.values[metric], known.served.intervals[metric]
        bounds = (
            -math.inf if bound.min is None else bound.min,
            math.inf if bound.max is None else bound.max,
        )
        if bounds != _NO_BOUNDS:
            limits = _bounds_text(bounds, "g")
            text = f"{judgement.titles[metric]} {_text(value, interval)}, {limits}"
            found.append(_Check(text, value, interval, bounds))
    if known.comparison is not None:
        for metric in judgement.compared:
            found += _comparisons(metric, known.comparison, judgement)
    return found


def _comparisons(metric: str, comparison: Comparison, judgement: Judgement) -> list[_Check]:
    """Returns the checks of a metric against that of another version."""
    bound = judgement.bounds[metric]
    name = f"{judgement.titles[metric]} against version {comparison.other}"
    is_better_higher = ONLINE_METRICS[judgement.task][metric] == HIGHER
    share = None if bound.max_worse_percent is None else bound.max_worse_percent / 100
    found = []
    for most, changes, form, limit_form in (
        (share, comparison.relative, "+.1%", "+g%"),
        (bound.max_worse, comparison.absolute, "", "+g"),
    ):
        if most is None:
            continue
        bounds = (-most, math.inf) if is_better_higher else (-math.inf, most)
        if comparison.events < judgement.min_events:
            text = f"{name} of {comparison.events:,} {judgement.events} in the same hours"
            found.append(_Check(text, 0, _NO_BOUNDS, bounds))
            continue
        value, interval = changes[metric]
        text = f"{name} {_text(value, interval, form)}, {_bounds_text(bounds, limit_form)}"
        found.append(_Check(text, value, interval, bounds))
    return found


def _text(value: float, interval: Interval, form: str = "") -> str:
    """Returns a value and its interval, in a format, or else with digits by their size."""
    digits = form or (".3f" if abs(value) < _LARGE or math.isnan(value) else ",.1f")
    return f"{value:{digits}} ({interval[0]:{digits}} to {interval[1]:{digits}})"


def _bounds_text(bounds: Interval, form: str) -> str:
    low, high = (
        f"{100 * bound:{form[:-1]}}%" if form.endswith("%") else f"{bound:{form}}"
        for bound in bounds
    )
    if bounds[0] == -math.inf:
        return f"at most {high}"
    return f"at least {low}" if bounds[1] == math.inf else f"bounds {low} and {high}"
