"""A read-only view of an ML Metadata store, in batches: no call per item.

    store = MetadataReader.sqlite("runs/NAME/metadata.sqlite")
    for execution in store.run("latest").components:
        print(execution.component, execution.state, execution.seconds)

Works with ML Metadata 1.16 and 1.21: the latter has no `filter_query`, so nothing here uses it.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ml_metadata import errors
from ml_metadata.metadata_store.metadata_store import ListOptions, MetadataStore, OrderByField
from ml_metadata.proto import metadata_store_pb2

from metadata import names
from metadata.connection import Connection, connection_config
from metadata.opening import MetadataError, check_sqlite, explained, store_name
from metadata.records import (
    Artifact,
    Execution,
    Run,
    State,
    artifact_record,
    execution_record,
    start_of_run,
    state_of,
)

__all__ = ["Artifact", "Execution", "MetadataError", "MetadataReader", "Run"]

_Record = TypeVar("_Record")
_NEWEST = 100  # newest executions of a node that one call reads
_FEW = 50  # up to here, one call for each is faster than reading all executions of all nodes


class NoRunsError(MetadataError):
    """The store is empty: it has no run, no execution and no artifact."""


class MetadataReader:
    """Reads runs, executions and artifacts, as they are at the time of the call.

    Args:
      store: An open ML Metadata store, such as TFX gives a resolver.
      name: Name of the store in error messages.
    """

    def __init__(self, store: MetadataStore, name: str = "ML Metadata") -> None:
        self._store = store
        self.name = name
        self._nodes: dict[int, tuple[str, str]] = {}  # execution id -> (pipeline, component)

    @classmethod
    def sqlite(cls, path: str | Path) -> MetadataReader:
        """Opens a store's SQLite file, read only. The process that writes it must use `connect`.

        Raises:
          MetadataError: The file is missing, no SQLite file or locked, or the store is empty.
        """
        path = Path(path)
        check_sqlite(path)
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        return cls._open(config, str(path))

    @classmethod
    def connect(cls, connection: Connection) -> MetadataReader:
        """Opens an existing store, also in the process that writes it.

        Raises:
          ConfigError: The variable with the password is not set.
          MetadataError: The store does not answer, or is empty.
        """
        return cls.from_connection_config(connection_config(connection, create=False))

    @classmethod
    def from_connection_config(
        cls,
        config: metadata_store_pb2.ConnectionConfig | metadata_store_pb2.MetadataStoreClientConfig,
    ) -> MetadataReader:
        """Opens any store ML Metadata can connect to.

        Raises:
          MetadataError: The store does not answer, or is empty.
        """
        return cls._open(config, store_name(config))

    @classmethod
    def _open(cls, config: Any, name: str) -> MetadataReader:
        with explained(name):
            opened = cls(MetadataStore(config), name)
        if not opened._run_contexts() and not opened._records_anything():
            raise NoRunsError(
                f"{name} has no pipeline run yet, and no execution or artifact; run the pipeline "
                "first: python local_runner.py --config CONFIG.yaml"
            )
        return opened

    def runs(self, limit: int | None = None) -> list[Run]:
        """Returns the runs, newest first: all of them, or the newest `limit`."""
        return self._read_runs(self._run_contexts()[:limit])

    def run(self, run_id: str) -> Run:
        """Returns a run.

        Args:
          run_id: Id of the run, with or without the prefix 'run:', or 'latest'.

        Raises:
          MetadataError: The store has no such run.
        """
        run_id = run_id.removeprefix("run:")
        contexts = self._run_contexts()
        if not contexts:
            raise MetadataError(self._no_run())
        found = contexts[:1] if run_id == "latest" else [c for c in contexts if c.name == run_id]
        if not found:
            newest = ", ".join(c.name for c in contexts[:3])
            raise MetadataError(
                f"no run '{run_id}' in {self.name}; the newest are {newest}; "
                "list them with: python -m lineage list"
            )
        return self._read_runs(found)[0]

    def run_ids(self) -> list[str]:
        """Returns the ids of all runs, newest first."""
        return [context.name for context in self._run_contexts()]

    def runs_until(self, run_id: str | None = None) -> Iterator[Run]:
        """Yields a run and then the earlier ones, newest first. Each is read when it is asked for.

        Args:
          run_id: Id of the run to begin with. None stands for the newest.
        """
        contexts = self._run_contexts()
        run_ids = [context.name for context in contexts]
        for context in contexts[run_ids.index(run_id) if run_id else 0 :]:
            yield from self._read_runs([context])

    def artifact(self, artifact_id: int) -> Artifact:
        """Returns the artifact with this id.

        Raises:
          MetadataError: The store has no such artifact.
        """
        return self._one("artifact", artifact_id, self.artifacts([artifact_id]))

    def artifacts(self, artifact_ids: Iterable[int]) -> dict[int, Artifact]:
        """Returns artifacts by id, without the ids that the store does not know."""
        ids = _known_numbers(artifact_ids)
        found = self._ask("get_artifacts_by_id", ids) if ids else []
        return {proto.id: artifact_record(proto) for proto in found}

    def artifacts_of_type(
        self, type_name: str, changed_since: dt.datetime | None = None
    ) -> list[Artifact]:
        """Returns the artifacts of a type, newest first; empty if the store does not know the type.

        Args:
          type_name: Name of the type.
          changed_since: Earliest time of the last change. None stands for any.
        """
        least = changed_since.timestamp() * 1000 if changed_since else 0
        protos = self._ask("get_artifacts_by_type", type_name)
        found = [artifact_record(p) for p in protos if p.last_update_time_since_epoch >= least]
        return sorted(found, key=lambda a: (a.created, a.id), reverse=True)

    def artifacts_at(self, uri: str) -> list[Artifact]:
        """Returns the artifacts with this URI, oldest first."""
        protos = self._ask("get_artifacts_by_uri", uri) if uri else []
        return sorted(map(artifact_record, protos), key=lambda a: a.id)

    def all_artifacts(self) -> list[Artifact]:
        """Returns every artifact, oldest first."""
        return sorted(map(artifact_record, self._ask("get_artifacts")), key=lambda a: a.id)

    def pipelines(self) -> list[str]:
        """Returns the names of all pipelines."""
        return [context.name for context in self._contexts_of_type(names.PIPELINE)]

    def execution(self, execution_id: int) -> Execution:
        """Returns the execution with this id.

        Raises:
          MetadataError: The store has no such execution.
        """
        return self._one("execution", execution_id, self.executions([execution_id]))

    def executions(self, execution_ids: Iterable[int]) -> dict[int, Execution]:
        """Returns executions by id, without the ids that the store does not know."""
        ids = _known_numbers(execution_ids)
        protos = self._ask("get_executions_by_id", ids) if ids else []
        return self._records(protos, self._runs_of(protos))

    def executions_of_type(self, type_name: str) -> list[Execution]:
        """Returns the executions of a type, oldest first; empty if the type is unknown."""
        protos = self._ask("get_executions_by_type", type_name)
        return sorted(self._records(protos, self._runs_of(protos)).values(), key=lambda e: e.id)

    def execution_named(self, type_name: str, name: str) -> int | None:
        """Returns the id of the execution of this type and name, or None."""
        found = self._ask("get_execution_by_type_and_name", type_name, name) if name else None
        return int(found.id) if found else None

    def states(self, execution_ids: Collection[int]) -> dict[int, State]:
        """Returns how these executions ended; cheaper than `executions`."""
        ids = _known_numbers(execution_ids)
        protos = self._ask("get_executions_by_id", ids) if ids else []
        return {proto.id: state_of(proto) for proto in protos}

    def events_of_executions(self, ids: Collection[int]) -> list[metadata_store_pb2.Event]:
        """Returns all events of these executions, by one call."""
        return self._ask("get_events_by_execution_ids", sorted(ids)) if ids else []

    def events_of_artifacts(self, ids: Collection[int]) -> list[metadata_store_pb2.Event]:
        """Returns all events of these artifacts, by one call."""
        return self._ask("get_events_by_artifact_ids", sorted(ids)) if ids else []

    def _one(self, kind: str, identifier: int, found: dict[int, _Record]) -> _Record:
        if identifier not in found:
            raise MetadataError(
                f"no {kind} {identifier} in {self.name}; "
                "see the ids with: python -m lineage show latest"
            )
        return found[identifier]

    def _records_anything(self) -> bool:
        one = ListOptions(limit=1)
        return any(self._ask(f"get_{kind}", one) for kind in ("artifacts", "executions"))

    def _no_run(self) -> str:
        counts = [len(self._ask(f"get_{kind}")) for kind in ("executions", "artifacts")]
        kinds = ", ".join(sorted({c.type for c in self._ask("get_contexts")})) or "none"
        return (
            f"no pipeline run is recorded in {self.name}: expected contexts of type pipeline_run, "
            f"found {kinds}; its {counts[0]} executions and {counts[1]} artifacts can be seen one "
            "by one: python -m lineage show artifact:NUMBER, or execution:NUMBER"
        )

    def _contexts_of_type(self, type_name: str) -> list[metadata_store_pb2.Context]:
        return list(self._ask("get_contexts_by_type", type_name))

    def _run_contexts(self) -> list[metadata_store_pb2.Context]:
        """Returns the contexts of the runs, sorted by the time they were recorded, newest first."""
        contexts = self._contexts_of_type(names.PIPELINE_RUN)
        return sorted(contexts, key=lambda c: (c.create_time_since_epoch, c.id), reverse=True)

    def _read_runs(self, contexts: list[metadata_store_pb2.Context]) -> list[Run]:
        members = {c.id: self._ask("get_executions_by_context", c.id) for c in contexts}
        run_ids = {proto.id: c.name for c in contexts for proto in members[c.id]}
        protos = {proto.id: proto for c in contexts for proto in members[c.id]}
        records = self._records(protos.values(), run_ids)
        runs = []
        for context in contexts:
            ids = sorted(proto.id for proto in members[context.id])
            pipeline = next((self._nodes[i][0] for i in ids if self._nodes[i][0]), "")
            started = start_of_run(context, members[context.id])
            runs.append(Run(context.name, pipeline, started, tuple(records[i] for i in ids)))
        return runs

    def _records(
        self, protos: Collection[metadata_store_pb2.Execution], run_ids: dict[int, str]
    ) -> dict[int, Execution]:
        ids = [proto.id for proto in protos]
        events: dict[int, list[metadata_store_pb2.Event]] = {i: [] for i in ids}
        for event in self.events_of_executions(ids):
            events[event.execution_id].append(event)
        self._learn_nodes(ids)
        return {
            p.id: execution_record(p, self._nodes[p.id], run_ids.get(p.id, ""), events[p.id])
            for p in protos
        }

    def _runs_of(self, protos: Collection[metadata_store_pb2.Execution]) -> dict[int, str]:
        """Returns execution id -> run id; executions outside of any run are left out.

        ML Metadata has no call that answers this for many executions at once, and one call for each
        is slow. An execution's run is nearly always the last one that started before it, so this
        asks the runs for their executions, backwards from there: mostly one call for each run.
        """
        contexts = self._run_contexts()[::-1]
        starts = [c.create_time_since_epoch for c in contexts]
        found: dict[int, str] = {}
        seen: set[int] = set()
        for proto in sorted(protos, key=lambda p: p.id, reverse=True):
            last = bisect.bisect_right(starts, proto.create_time_since_epoch)
            for context in reversed(contexts[:last]):
                if proto.id in found:
                    break
                if context.id not in seen:
                    seen.add(context.id)
                    for member in self._ask("get_executions_by_context", context.id):
                        found.setdefault(member.id, context.name)
        return found

    def _learn_nodes(self, execution_ids: Collection[int]) -> None:
        """Finds the pipeline and the component of executions.

        One call for each node reads its newest executions. A few older ones are then asked for one
        by one; for many, all executions of all nodes are read.
        """
        if not set(execution_ids) - self._nodes.keys():
            return
        pipelines = self.pipelines()
        nodes = self._contexts_of_type(names.NODE)
        self._read_nodes(nodes, pipelines, _NEWEST)
        missing = set(execution_ids) - self._nodes.keys()
        if len(missing) > _FEW:
            self._read_nodes(nodes, pipelines, None)
        else:
            for execution_id in missing:
                for context in self._ask("get_contexts_by_execution", execution_id):
                    if context.type == names.NODE:
                        self._nodes[execution_id] = _split_node(context.name, pipelines)
        for execution_id in missing - self._nodes.keys():
            self._nodes[execution_id] = ("", "")  # not written by TFX

    def _read_nodes(
        self,
        nodes: Iterable[metadata_store_pb2.Context],
        pipelines: Collection[str],
        limit: int | None,
    ) -> None:
        options = ListOptions(limit=limit, order_by=OrderByField.ID, is_asc=False)
        for node in nodes:
            name = _split_node(node.name, pipelines)
            for member in self._ask("get_executions_by_context", node.id, options):
                self._nodes[member.id] = name

    def _ask(self, method: str, *arguments: Any) -> Any:
        with explained(self.name):
            try:
                return getattr(self._store, method)(*arguments)
            except errors.NotFoundError:  # for example, an execution without a context
                return []


def _known_numbers(ids: Iterable[int]) -> list[int]:
    """Returns the ids that a store can have, sorted: a person may have typed any number."""
    return sorted({number for number in ids if 0 < number < 1 << 63})


def _split_node(name: str, pipelines: Iterable[str]) -> tuple[str, str]:
    """Splits 'my.pipeline.Trainer' into 'my.pipeline' and 'Trainer': a pipeline may have dots."""
    owners = [pipeline for pipeline in pipelines if name.startswith(f"{pipeline}.")]
    pipeline = max(owners, key=len, default=name.rpartition(".")[0])
    return pipeline, name[len(pipeline) :].lstrip(".")
