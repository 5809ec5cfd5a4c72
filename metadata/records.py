"""Runs, executions and artifacts of ML Metadata, as plain frozen records.

TFX writes a run as a context of type `pipeline_run`, a component as a context of type `node` named
"<pipeline>.<node>", and ties every execution to both. An event ties an execution to an artifact
it read or wrote, under a key such as `examples`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2

from base.foreign_json import parse
from metadata import names

State = Literal["complete", "cached", "failed", "running", "canceled", "unknown"]

_EXECUTION = metadata_store_pb2.Execution
_EVENT = metadata_store_pb2.Event
_STATES: dict[int, State] = {
    _EXECUTION.UNKNOWN: "unknown",
    _EXECUTION.NEW: "running",
    _EXECUTION.RUNNING: "running",
    _EXECUTION.COMPLETE: "complete",
    _EXECUTION.CACHED: "cached",
    _EXECUTION.FAILED: "failed",
    _EXECUTION.CANCELED: "canceled",
}
# A resolver's output (INTERNAL_OUTPUT) was chosen, not made, by it; a PENDING_OUTPUT may never be
# written. Neither is an output here.
INPUT_EVENTS = frozenset({_EVENT.INPUT, _EVENT.DECLARED_INPUT})
OUTPUT_EVENTS = frozenset({_EVENT.OUTPUT, _EVENT.DECLARED_OUTPUT})
RESOLVED_EVENTS = frozenset({_EVENT.INTERNAL_OUTPUT})
_OWN_TYPES = "components."  # prefix of the names of this project's own artifact types
_ACTUAL_TIMES = frozenset({names.ACTUAL_BEGAN_MS, names.ACTUAL_ENDED_MS, names.ACTUAL_CREATED_MS})
_LATEST_MS = 253_402_300_799_999  # the end of the year 9999: datetime goes no further


@dataclasses.dataclass(frozen=True)
class Execution:
    """One component in one run.

    Attributes:
      id: Id in the store.
      component: Node id in the pipeline, e.g. 'Trainer'; empty if the store has none.
      type: Python path of the component's class.
      state: How it ended. 'running' also if its process died before it could record its end;
        'unknown' if the store records no state.
      started: Time of the start, UTC.
      seconds: Seconds from its creation to its last change in the store. If it was recorded
        afterwards: from its start to its end.
      properties: Parameters of the component (execution properties).
      inputs: Key -> ids of the artifacts it read.
      outputs: Key -> ids of the artifacts it made, or took from the cache if `state` is 'cached'.
      resolved: Key -> ids of the artifacts that a Resolver chose; it made none of them.
      run_id: Id of its run; empty for an execution outside of any run.
      pipeline: Name of the pipeline; empty if the store has none.
    """

    id: int
    component: str
    type: str
    state: State
    started: dt.datetime
    seconds: float
    properties: dict[str, Any]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    resolved: dict[str, tuple[int, ...]]
    run_id: str
    pipeline: str = ""

    @property
    def title(self) -> str:
        """Name for people: the component, or its class in brackets if that is unknown."""
        return self.component or f"({self.type.rpartition('.')[2]})"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An artifact. `created` is UTC; `state` is e.g. 'live'."""

    id: int
    type: str
    uri: str
    name: str
    state: str
    created: dt.datetime
    properties: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a pipeline, with its components in the order they started. `started` is UTC."""

    run_id: str
    pipeline: str
    started: dt.datetime
    components: tuple[Execution, ...]

    @property
    def state(self) -> State:
        """Returns the state of the run: the worst one of the last attempts of its components.

        It is 'unknown' if the run has no components, or a component without a recorded state.
        """
        states = {e.state for e in {e.component or e.id: e for e in self.components}.values()}
        order: tuple[State, ...] = ("failed", "canceled", "running", "unknown")
        otherwise: State = "complete" if states else "unknown"
        return next((state for state in order if state in states), otherwise)

    @property
    def touched(self) -> set[int]:
        """Ids of the artifacts that its components read, wrote or chose."""
        return {
            artifact_id
            for execution in self.components
            for side in (execution.inputs, execution.outputs, execution.resolved)
            for ids in side.values()
            for artifact_id in ids
        }

    @property
    def seconds(self) -> float:
        """Seconds from the start of the run to the last change of any component."""
        starts = [e.started.timestamp() for e in self.components]
        began = self.started.timestamp() or min(starts, default=0.0)  # a store may have no time
        ends = [e.started.timestamp() + e.seconds for e in self.components]
        return max(ends, default=began) - began


def execution_record(
    proto: metadata_store_pb2.Execution,
    node: tuple[str, str],
    run_id: str,
    events: Iterable[metadata_store_pb2.Event],
) -> Execution:
    """Returns the record of an execution.

    Args:
      proto: The execution.
      node: Names of its pipeline and its component.
      run_id: Id of its run.
      events: Events of this execution.
    """
    events = list(events)
    began = _actual(proto, names.ACTUAL_BEGAN_MS)
    ended = _actual(proto, names.ACTUAL_ENDED_MS)
    if began is None or ended is None:
        began, ended = proto.create_time_since_epoch, proto.last_update_time_since_epoch
    return Execution(
        id=proto.id,
        component=node[1],
        type=proto.type,
        state=state_of(proto),
        started=_utc(began),
        seconds=max(ended - began, 0) / 1000,
        properties=_properties(proto),
        inputs=_by_key(events, INPUT_EVENTS),
        outputs=_by_key(events, OUTPUT_EVENTS),
        resolved=_by_key(events, RESOLVED_EVENTS),
        run_id=run_id,
        pipeline=node[0],
    )


def state_of(proto: metadata_store_pb2.Execution) -> State:
    return _STATES.get(proto.last_known_state, "unknown")


def artifact_record(proto: metadata_store_pb2.Artifact) -> Artifact:
    created = _actual(proto, names.ACTUAL_CREATED_MS)
    return Artifact(
        id=proto.id,
        type=proto.type.removeprefix(_OWN_TYPES),
        uri=proto.uri,
        name=proto.name or _text(proto.custom_properties, "name"),
        state=metadata_store_pb2.Artifact.State.Name(proto.state).lower(),
        created=_utc(proto.create_time_since_epoch if created is None else created),
        properties=_properties(proto),
    )


def event_key(event: metadata_store_pb2.Event) -> str:
    """Returns the input or output key, e.g. 'examples'; empty if the event has none."""
    return next((step.key for step in event.path.steps if step.HasField("key")), "")


def start_of_run(
    context: metadata_store_pb2.Context, executions: Iterable[metadata_store_pb2.Execution]
) -> dt.datetime:
    """Returns the start of a run: that of its first execution, if that was recorded afterwards."""
    began = (_actual(proto, names.ACTUAL_BEGAN_MS) for proto in executions)
    known = [milliseconds for milliseconds in began if milliseconds is not None]
    return _utc(min(known, default=context.create_time_since_epoch))


def _actual(
    proto: metadata_store_pb2.Execution | metadata_store_pb2.Artifact, name: str
) -> int | None:
    """Returns a time recorded by our writer, in ms since the epoch; None if it is not valid."""
    given = proto.custom_properties.get(name)
    found = given.int_value if given is not None else 0
    return found if 0 < found <= _LATEST_MS else None


def _utc(milliseconds: int) -> dt.datetime:
    """Converts milliseconds since the epoch, as the store keeps times."""
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.timezone.utc)


def _by_key(
    events: Iterable[metadata_store_pb2.Event], kinds: frozenset[int]
) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for event in events:
        if event.type in kinds:
            index = next((s.index for s in event.path.steps if s.HasField("index")), 0)
            found.setdefault(event_key(event), []).append((index, event.artifact_id))
    return {
        key: tuple(dict.fromkeys(artifact for _, artifact in sorted(found[key])))
        for key in sorted(found)
    }


def _properties(
    proto: metadata_store_pb2.Execution | metadata_store_pb2.Artifact,
) -> dict[str, Any]:
    """Merges declared and custom properties; the custom ones win, as in TFX's accessors."""
    merged = {**proto.properties, **proto.custom_properties}
    return {name: _plain(merged[name]) for name in sorted(merged.keys() - _ACTUAL_TIMES)}


def _text(properties: Mapping[str, metadata_store_pb2.Value], name: str) -> str:
    return properties[name].string_value if name in properties else ""


def _plain(value: metadata_store_pb2.Value) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "struct_value":
        struct = json_format.MessageToDict(value.struct_value)
        # TFX keeps a JSON value that is not a struct as text, under this one field.
        return _parsed(struct["__value__"]) if set(struct) == {"__value__"} else struct
    if kind == "proto_value":
        return value.proto_value.type_url
    return getattr(value, kind)


def _parsed(text: Any) -> Any:
    try:
        return parse(text, finite=False)
    except (TypeError, ValueError):
        return text
