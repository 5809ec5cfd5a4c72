"""When a pushed model served, and how much: `served(store)`.

Times are those of ML Metadata: of the push (its artifact says for which label), and of each
promotion and rollback, which `python -m serving` records as an execution with the labels before
and after. Traffic is what `python -m streaming evaluate` records: an `OnlineMetrics` artifact for
each hour, arm and version. A server that only TensorFlow Serving's own logs know of has none.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Iterable, Mapping

from components.pusher.release import CANARY, STABLE
from lineage.trace import find_pushed
from metadata import names
from metadata.graph import makers
from metadata.pushed_models import destination_of, pushed_models, version_of
from metadata.reader import LineageStore
from metadata.records import Artifact, Execution

_SWITCHES = (names.PROMOTION, names.ROLLBACK)


@dataclasses.dataclass(frozen=True)
class ServingPeriod:
    """A version answered for a label; `until` is None if it still does. Times are UTC."""

    label: str
    since: dt.datetime
    until: dt.datetime | None


@dataclasses.dataclass(frozen=True)
class TrafficHour:
    """What a version did in an hour.

    Attributes:
      hour: e.g. '2024-03-01T05'.
      arm: label that the users had asked for.
      impressions, clicks: counts.
      metrics: by name, e.g. auc, normalized_entropy.
    """

    hour: str
    arm: str
    impressions: int
    clicks: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A pushed model.

    Attributes:
      pushed: the PushedModel artifact of its first push.
      version: it was pushed as.
      destination: folder it was pushed to.
      periods: when it answered for which label, oldest first.
      withdrawn: why it was taken back; None if it was not.
      labels_recorded: whether its Pusher records labels; TFX's own does not, and then nobody knows
        when a version answered.
      hours: its traffic, oldest first; empty if none was recorded.
    """

    pushed: Artifact
    version: str
    destination: str
    periods: tuple[ServingPeriod, ...]
    withdrawn: str | None
    hours: tuple[TrafficHour, ...]
    labels_recorded: bool = True

    @property
    def labels(self) -> tuple[str, ...]:
        """What it answers for now."""
        return tuple(period.label for period in self.periods if period.until is None)

    @property
    def impressions(self) -> int:
        return sum(hour.impressions for hour in self.hours)

    @property
    def clicks(self) -> int:
        return sum(hour.clicks for hour in self.hours)


def served(store: LineageStore) -> list[ServedModel]:
    """Every pushed version, newest first; not a push whose version is not recorded.

    Raises:
      LineageError: the store cannot be read.
    """
    places: dict[str, dict[str, Artifact]] = {}
    for artifact in reversed(pushed_models(store)):
        if version_of(artifact):
            versions = places.setdefault(_place(artifact), {})
            versions.setdefault(version_of(artifact), artifact)
    switches = sorted(
        (e for name in _SWITCHES for e in store.executions_of_type(name)), key=lambda e: e.id
    )
    hours = _hours(store)
    found = []
    for place, pushed in places.items():
        own = [e for e in switches if _is_about(e, place, pushed, alone=len(places) == 1)]
        recorded = bool(own) or any(names.RELEASE in a.properties for a in pushed.values())
        periods, withdrawn = _periods(pushed, own) if recorded else {}, _withdrawn(own)
        for version, artifact in pushed.items():
            traffic = hours.get(artifact.id, ())
            found.append(
                ServedModel(
                    pushed=artifact,
                    version=version,
                    destination=destination_of(artifact),
                    periods=tuple(periods.get(version, ())),
                    withdrawn=withdrawn.get(version),
                    hours=tuple(sorted(traffic, key=lambda h: (h.hour, h.arm))),
                    labels_recorded=recorded,
                )
            )
    return sorted(found, key=lambda one: one.pushed.id, reverse=True)


def _place(pushed: Artifact) -> str:
    """The folder of all versions: what a server watches."""
    return destination_of(pushed).rstrip("/").rpartition("/")[0]


def _is_about(
    switch: Execution, place: str, pushed: Mapping[str, Artifact], *, alone: bool
) -> bool:
    """Whether a promotion or rollback was in this folder: its inputs are artifacts pushed there."""
    read = {i for ids in switch.inputs.values() for i in ids}
    return alone or bool(read & {artifact.id for artifact in pushed.values()})


def find_served(store: LineageStore, wanted: str) -> ServedModel:
    """One of `served`, by version, artifact id, destination, or 'latest'.

    Raises:
      LineageError: there is no such pushed model.
    """
    wanted_one = find_pushed(store, wanted)
    same = (_place(wanted_one), version_of(wanted_one))
    known = (one for one in served(store) if (_place(one.pushed), one.version) == same)
    return next(known, None) or ServedModel(
        pushed=wanted_one,
        version=version_of(wanted_one),
        destination=destination_of(wanted_one),
        periods=(),
        withdrawn=None,
        hours=(),
        labels_recorded=False,
    )


def _periods(
    pushed: Mapping[str, Artifact], switches: Iterable[Execution]
) -> dict[str, list[ServingPeriod]]:
    """Version -> when it served, by replaying pushes, promotions and rollbacks."""
    changes: list[tuple[dt.datetime, dict[str, str | None]]] = []
    for version, artifact in pushed.items():
        canary = artifact.properties.get(names.RELEASE) == CANARY
        # What is pushed for all ends a canary, too.
        labels: dict[str, str | None]
        labels = {CANARY: version} if canary else {STABLE: version, CANARY: None}
        changes.append((artifact.created, labels))
    for switch in switches:
        after = {label: switch.properties.get(label + names.AFTER) for label in (STABLE, CANARY)}
        changes.append(
            (switch.started, {k: None if v is None else str(v) for k, v in after.items()})
        )
    found: dict[str, list[ServingPeriod]] = {}
    live: dict[str, tuple[str, dt.datetime]] = {}  # label -> version, and since when
    for moment, labels in sorted(changes, key=lambda change: change[0]):
        for label, now in labels.items():
            before = live.get(label)
            if before and before[0] == now:
                continue
            if before:
                found.setdefault(before[0], []).append(ServingPeriod(label, before[1], moment))
                del live[label]
            if now is not None:
                live[label] = (now, moment)
    for label, (version, since) in live.items():
        found.setdefault(version, []).append(ServingPeriod(label, since, None))
    return {v: sorted(periods, key=lambda p: p.since) for v, periods in found.items()}


def _withdrawn(switches: Iterable[Execution]) -> dict[str, str]:
    """Version -> reason; a version that a person made stable again is not withdrawn any more."""
    found: dict[str, str] = {}
    for switch in switches:
        for name, value in switch.properties.items():
            if name.startswith(names.WITHDRAWN_VERSION):
                found[name.removeprefix(names.WITHDRAWN_VERSION)] = str(value)
        found.pop(str(switch.properties.get(STABLE + names.AFTER)), None)
    return found


def _hours(store: LineageStore) -> dict[int, list[TrafficHour]]:
    """PushedModel's id -> its hours. An hour evaluated again, with late events, counts once."""
    metrics = store.artifacts_of_type(names.ONLINE_METRICS)
    made = {edge.artifact_id: edge.execution_id for edge in makers(store, [a.id for a in metrics])}
    executions = store.executions(made.values())
    read = store.artifacts(i for e in executions.values() for ids in e.inputs.values() for i in ids)
    last: dict[tuple[str, str], int] = {}
    for artifact in metrics:
        execution = executions.get(made.get(artifact.id, 0))
        key = (execution.pipeline if execution else "", str(artifact.properties.get("hour")))
        last[key] = max(last.get(key, 0), made.get(artifact.id, 0))
    found: dict[int, list[TrafficHour]] = {}
    for artifact in metrics:
        execution = executions.get(made.get(artifact.id, 0))
        properties = dict(artifact.properties)
        hour = str(properties.pop("hour", None))
        if execution is None or last[execution.pipeline, hour] != execution.id:
            continue
        version, arm = str(properties.pop("version", "")), str(properties.pop("arm", ""))
        impressions = _count(properties.pop("impressions", 0))
        clicks = _count(properties.pop("clicks", 0))
        numbers = {n: v for n, v in properties.items() if isinstance(v, float)}
        ids = [i for ids in execution.inputs.values() for i in ids if i in read]
        model = next((i for i in ids if version_of(read[i]) == version), None)
        if model is not None:
            found.setdefault(model, []).append(TrafficHour(hour, arm, impressions, clicks, numbers))
    return found


def _count(value: object) -> int:
    """Zero for what is no number: another writer's artifact."""
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0
