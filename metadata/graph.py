"""Walks the lineage graph, level by level: four calls a level, however wide it is.

What counts as "made from" is narrower than what ML Metadata records:

- A cached execution has OUTPUT events to artifacts that an earlier execution made. We follow the
  one that really made an artifact: the first that completed.
- Evaluator reads the model that was blessed before, as `baseline_model`. A new model is compared
  with it, not made from it; following it would lead from every model to all models before it, and
  from old data to every later model. So that key is not followed, unless asked.
- Kubeflow's Baseline reads the new model as `candidate`, and gives the one that is served. That
  one was not made from it.
- A Resolver makes nothing: its events are INTERNAL ones, and only INPUT and OUTPUT are followed.
  What a Resolver picked is followed where another component reads it.

A warm start (Trainer's `base_model`) or a reused `analyzer_cache` is followed: what comes out does
depend on it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable

from ml_metadata.proto import metadata_store_pb2

from metadata import names
from metadata.reader import MetadataReader
from metadata.records import INPUT_EVENTS, OUTPUT_EVENTS, Artifact, Execution, event_key

COMPARED_KEYS = frozenset({names.BASELINE_MODEL, names.CANDIDATE})


@dataclasses.dataclass(frozen=True)
class Edge:
    """An execution read (`input`) or made (`output`) an artifact under a key."""

    execution_id: int
    artifact_id: int
    kind: str
    key: str


@dataclasses.dataclass(frozen=True)
class Graph:
    """Each artifact and execution once, by id; the artifacts asked about are in it."""

    artifacts: dict[int, Artifact]
    executions: dict[int, Execution]
    edges: tuple[Edge, ...]

    def of_type(self, type_name: str) -> list[Artifact]:
        """Returns the artifacts of a type that are not absent, newest first."""
        found = [
            a
            for a in self.artifacts.values()
            if a.type == type_name and not a.properties.get(names.ABSENT)
        ]
        return sorted(found, key=lambda a: a.id, reverse=True)

    def maker(self, artifact_id: int) -> Execution | None:
        """Returns the execution in this graph that made an artifact."""
        return self._makers.get(artifact_id)

    @functools.cached_property
    def _makers(self) -> dict[int, Execution]:
        made = [edge for edge in self.edges if edge.kind == "output"]
        return {e.artifact_id: self.executions[e.execution_id] for e in reversed(made)}


def ancestors(
    store: MetadataReader, artifact_ids: Iterable[int], *, through_baseline: bool = False
) -> Graph:
    """Returns everything that the artifacts were made from.

    Args:
      store: Store to read.
      artifact_ids: Ids of the artifacts to start from.
      through_baseline: Whether to follow the models that Evaluator compared with, too.

    Raises:
      MetadataError: The store cannot be read.
    """

    def step(frontier: Collection[int]) -> tuple[list[Edge], set[int]]:
        made = makers(store, frontier)
        read = [e for e in _edges(store, {e.execution_id for e in made}) if e.kind == "input"]
        read = [e for e in read if through_baseline or e.key not in COMPARED_KEYS]
        return made + read, {e.artifact_id for e in read}

    return _walk(store, artifact_ids, step)


def descendants(
    store: MetadataReader, artifact_ids: Iterable[int], *, through_baseline: bool = False
) -> Graph:
    """Returns everything that was made from the artifacts, including failed executions.

    Cached executions are left out, because another execution made their outputs from the same
    inputs.

    Args:
      store: Store to read.
      artifact_ids: Ids of the artifacts to start from.
      through_baseline: Whether to follow evaluations of later models against the artifacts, too.

    Raises:
      MetadataError: The store cannot be read.
    """

    def step(frontier: Collection[int]) -> tuple[list[Edge], set[int]]:
        read = _readers(store, frontier, through_baseline)
        made = [e for e in _edges(store, {e.execution_id for e in read}) if e.kind == "output"]
        return read + made, {e.artifact_id for e in made}

    return _walk(store, artifact_ids, step)


def products(store: MetadataReader, artifact_ids: Collection[int]) -> list[Edge]:
    """Returns what was made directly from these artifacts, one level of `descendants`."""
    readers = {edge.execution_id for edge in _readers(store, artifact_ids, False)}
    return [edge for edge in _edges(store, readers) if edge.kind == "output"]


def makers(store: MetadataReader, artifact_ids: Collection[int]) -> list[Edge]:
    """Returns for each artifact the edge from its maker, the first completed execution.

    If the maker is gone from the store, or the artifact was only imported, the edge is from the
    first execution with the artifact as output.
    """
    found: dict[int, list[Edge]] = {}
    for edge in edges_of_artifacts(store, artifact_ids):
        if edge.kind == "output":
            found.setdefault(edge.artifact_id, []).append(edge)
    states = store.states({e.execution_id for edges in found.values() for e in edges})
    return [
        min(edges, key=lambda e: (states.get(e.execution_id) != "complete", e.execution_id))
        for edges in found.values()
    ]


def made_from(store: MetadataReader, artifact_ids: Collection[int]) -> dict[int, set[int]]:
    """Returns artifact -> inputs of its maker, one level of `ancestors`."""
    made = makers(store, artifact_ids)
    read: dict[int, set[int]] = {edge.execution_id: set() for edge in made}
    for edge in _edges(store, read.keys()):
        if edge.kind == "input" and edge.key not in COMPARED_KEYS:
            read[edge.execution_id].add(edge.artifact_id)
    return {edge.artifact_id: read[edge.execution_id] for edge in made}


def edges_of_artifacts(store: MetadataReader, artifact_ids: Collection[int]) -> list[Edge]:
    """Returns the edges to and from these artifacts, including those of cached executions."""
    return _as_edges(store.events_of_artifacts(artifact_ids))


def _edges(store: MetadataReader, execution_ids: Collection[int]) -> list[Edge]:
    return _as_edges(store.events_of_executions(execution_ids))


def _as_edges(events: Iterable[metadata_store_pb2.Event]) -> list[Edge]:
    edges = []
    for event in events:
        if event.type in INPUT_EVENTS | OUTPUT_EVENTS:
            kind = "input" if event.type in INPUT_EVENTS else "output"
            edges.append(Edge(event.execution_id, event.artifact_id, kind, event_key(event)))
    return edges


def _readers(
    store: MetadataReader, artifact_ids: Collection[int], through_baseline: bool
) -> list[Edge]:
    """Returns the edges from these artifacts to executions that really ran on them."""
    read = [e for e in edges_of_artifacts(store, artifact_ids) if e.kind == "input"]
    read = [e for e in read if through_baseline or e.key not in COMPARED_KEYS]
    states = store.states({e.execution_id for e in read})
    return [e for e in read if states.get(e.execution_id) != "cached"]


def _walk(
    store: MetadataReader,
    artifact_ids: Iterable[int],
    step: Callable[[Collection[int]], tuple[list[Edge], set[int]]],
) -> Graph:
    """Walks breadth first, visiting each artifact once, so that cycles end."""
    start = set(artifact_ids)
    seen, frontier = set(start), set(start)
    edges: dict[Edge, None] = {}
    while frontier:
        found, reached = step(frontier)
        edges.update(dict.fromkeys(found))
        frontier = reached - seen
        seen |= frontier
    artifacts = store.artifacts(seen)
    executions = store.executions({e.execution_id for e in edges})
    # An incomplete store may have events of missing artifacts and executions.
    there = [e for e in edges if e.artifact_id in artifacts and e.execution_id in executions]
    return Graph(artifacts, executions, tuple(there))
