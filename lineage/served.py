"""Finds when each pushed model served, and how much traffic it had: `served(store)`.

Times come from ML Metadata. The PushedModel artifact has the time of the push and its label.
`python -m serving` records each promotion and rollback as an execution with the labels before and
after. Traffic comes from `python -m streaming evaluate`, which records an `OnlineMetrics` artifact
for each hour, arm and version.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping

from components.pusher.release import CANARY, STABLE
from lineage.trace import find_pushed
from metadata import names
from metadata.graph import makers
from metadata.pushed_models import destination_of, pushed_models, version_of
from metadata.reader import MetadataReader
from metadata.records import Artifact, Execution

_SWITCHES = (names.PROMOTION, names.ROLLBACK)


@dataclasses.dataclass(frozen=True)
class ServingPeriod:
    """A time (UTC) in which a version answered for a label; `until` is None if it still does."""

    label: str
    since: dt.datetime
    until: dt.datetime | None


@dataclasses.dataclass(frozen=True)
class TrafficHour:
    """The traffic of a version in one hour.

    Attributes:
      hour: Hour, e.g. '2024-03-01T05'.
      arm: Label that the clients asked for.
      counts: Counts by the names that the application gives them; that of all events comes first.
      metrics: Metrics by name, e.g. auc, normalized_entropy.
    """

    hour: str
    arm: str
    counts: dict[str, int]
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A pushed version with its serving periods and traffic.

    Attributes:
      pushed: PushedModel artifact of its first push.
      version: Version it was pushed as.
      destination: Folder it was pushed to.
      periods: Periods in which it answered for a label, oldest first.
      withdrawn: Reason why it was withdrawn; None if it was not.
      hours: Traffic by hour, oldest first; empty if none was recorded.
      labels_recorded: Whether its Pusher records labels. TFX's own does not, so its periods are
        unknown.
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
        """Labels that it answers for now."""
        return tuple(period.label for period in self.periods if period.until is None)

    @property
    def counts(self) -> dict[str, int]:
        """Counts of all hours; that of all events comes first."""
        total: dict[str, int] = {}
        for hour in self.hours:
            for name, count in hour.counts.items():
                total[name] = total.get(name, 0) + count
        return total


def count_names(models: Iterable[ServedModel]) -> list[str]:
    """Returns the names of all counts of versions; that of all events comes first."""
    return [*dict.fromkeys(name for model in models for name in model.counts)]


def served(store: MetadataReader) -> list[ServedModel]:
    """Returns every pushed version that is recorded, newest first.

    Raises:
      MetadataError: The store cannot be read.
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
                    hours=tuple(sorted(traffic, key=lambda h: (h.hour, h.arm, *h.counts))),
                    labels_recorded=recorded,
                )
            )
    return sorted(found, key=lambda one: one.pushed.id, reverse=True)


def _place(pushed: Artifact) -> str:
    """Returns the folder of all versions, which a server watches."""
    return destination_of(pushed).rstrip("/").rpartition("/")[0]


def _is_about(
    switch: Execution, place: str, pushed: Mapping[str, Artifact], *, alone: bool
) -> bool:
    """Returns whether a promotion or rollback read artifacts that were pushed to this folder."""
    read = {i for ids in switch.inputs.values() for i in ids}
    return alone or bool(read & {artifact.id for artifact in pushed.values()})


def find_served(store: MetadataReader, wanted: str) -> ServedModel:
    """Returns one of `served`, by version, artifact id, destination, or 'latest'.

    Raises:
      MetadataError: There is no such pushed model.
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
    """Replays pushes, promotions and rollbacks; returns the serving periods of each version."""
    changes: list[tuple[dt.datetime, dict[str, str | None]]] = []
    for version, artifact in pushed.items():
        canary = artifact.properties.get(names.RELEASE) == CANARY
        # A push that is not a canary also ends the current canary.
        labels: dict[str, str | None]
        labels = {CANARY: version} if canary else {STABLE: version, CANARY: None}
        changes.append((artifact.created, labels))
    for switch in switches:
        after = {label: switch.properties.get(label + names.AFTER) for label in (STABLE, CANARY)}
        changes.append(
            (switch.started, {k: None if v is None else str(v) for k, v in after.items()})
        )
    found: dict[str, list[ServingPeriod]] = {}
    live: dict[str, tuple[str, dt.datetime]] = {}  # label -> (version, start)
    for timestamp, labels in sorted(changes, key=lambda change: change[0]):
        for label, now in labels.items():
            before = live.get(label)
            if before and before[0] == now:
                continue
            if before:
                found.setdefault(before[0], []).append(ServingPeriod(label, before[1], timestamp))
                del live[label]
            if now is not None:
                live[label] = (now, timestamp)
    for label, (version, since) in live.items():
        found.setdefault(version, []).append(ServingPeriod(label, since, None))
    return {v: sorted(periods, key=lambda p: p.since) for v, periods in found.items()}


def _withdrawn(switches: Iterable[Execution]) -> dict[str, str]:
    """Returns the reason for each withdrawn version, unless it was made stable again."""
    found: dict[str, str] = {}
    for switch in switches:
        for name, value in switch.properties.items():
            if name.startswith(names.WITHDRAWN_VERSION):
                found[name.removeprefix(names.WITHDRAWN_VERSION)] = str(value)
        found.pop(str(switch.properties.get(STABLE + names.AFTER)), None)
    return found


def _hours(store: MetadataReader) -> dict[int, list[TrafficHour]]:
    """Returns PushedModel id -> its hours.

    An hour that was evaluated again with late events counts once. By early decisions and by later
    outcomes it is there twice, since these are about different events.
    """
    metrics = store.artifacts_of_type(names.ONLINE_METRICS)
    made = {edge.artifact_id: edge.execution_id for edge in makers(store, [a.id for a in metrics])}
    executions = store.executions(made.values())
    read = store.artifacts(i for e in executions.values() for ids in e.inputs.values() for i in ids)
    last: dict[tuple[str, str, str], int] = {}
    for artifact in metrics:
        execution = executions.get(made.get(artifact.id, 0))
        key = _evaluated(execution, str(artifact.properties.get("hour")))
        last[key] = max(last.get(key, 0), made.get(artifact.id, 0))
    found: dict[int, list[TrafficHour]] = {}
    for artifact in metrics:
        execution = executions.get(made.get(artifact.id, 0))
        properties = dict(artifact.properties)
        hour = str(properties.pop("hour", None))
        if execution is None or last[_evaluated(execution, hour)] != execution.id:
            continue
        version, arm = str(properties.pop("version", "")), str(properties.pop("arm", ""))
        counts = _counts(properties)
        numbers = {n: v for n, v in properties.items() if isinstance(v, float)}
        ids = [i for ids in execution.inputs.values() for i in ids if i in read]
        pushed = [i for i in ids if read[i].type == names.PUSHED_MODEL]
        model = next((i for i in pushed if version_of(read[i]) == version), None)
        if model is not None:
            found.setdefault(model, []).append(TrafficHour(hour, arm, counts, numbers))
    return found


def _evaluated(execution: Execution | None, hour: str) -> tuple[str, str, str]:
    """Returns the pipeline, the hour, and what it was judged by."""
    if execution is None:
        return "", hour, ""
    kind = execution.properties.get(names.JUDGED_BY, "evaluation")  # of earlier versions
    return execution.pipeline, hour, str(kind)


def _counts(properties: Mapping[str, object]) -> dict[str, int]:
    """Returns the counts of an hour; that of all events comes first.

    Earlier versions of this project did not record its name. No other count is larger.
    """
    found = {
        name: value
        for name, value in properties.items()
        if isinstance(value, int) and not isinstance(value, bool)
    }
    events = properties.get(names.EVENTS)
    order = sorted(found, key=lambda name: (name != events, -found[name], name))
    return {name: found[name] for name in order}
