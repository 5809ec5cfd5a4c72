"""What belongs to a model, which gc keeps or deletes whole: `Surroundings(store, all).of([5])`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from metadata import names
from metadata.graph import COMPARED_KEYS, edges_of_artifacts, makers
from metadata.reader import LineageStore
from metadata.records import Artifact, Execution

_JUDGED = frozenset({names.MODEL_BLESSING, names.INFRA_BLESSING, names.MODEL_EVALUATION})
_WITH_A_MODEL = _JUDGED | {names.MODEL}


class Surroundings:
    """Who made and who read each artifact, read at once: asking for each takes a store of 10,000
    executions a minute.

    Args:
      store: where to look.
      artifacts: all that it has.

    Attributes:
      maker: artifact id -> the execution that made it.
      key: artifact id -> of its maker's output.
    """

    def __init__(self, store: LineageStore, artifacts: Iterable[Artifact]) -> None:
        self._types = {artifact.id: artifact.type for artifact in artifacts}
        made = makers(store, self._types)
        edges = edges_of_artifacts(store, self._types)
        executions = store.executions({edge.execution_id for edge in (*edges, *made)})
        self.maker: dict[int, Execution] = {
            e.artifact_id: executions[e.execution_id] for e in made if e.execution_id in executions
        }
        self.key = {edge.artifact_id: edge.key for edge in made}
        self._readers: dict[int, list[Execution]] = {}
        for edge in edges:
            if edge.kind == "input" and edge.execution_id in executions:
                readers = self._readers.setdefault(edge.artifact_id, [])
                readers.append(executions[edge.execution_id])

    def pipeline(self, artifact_id: int) -> str:
        """The pipeline that made an artifact; '' if the store does not record it."""
        maker = self.maker.get(artifact_id)
        return maker.pipeline if maker else ""

    def of(self, artifact_ids: Collection[int]) -> set[int]:
        """The models that these are about, and what a server or a later run reads with them.

        Not what a warm start began with: the model has its weights.
        """
        beside = set(artifact_ids) | self._inputs(artifact_ids, _WITH_A_MODEL)
        models = {i for i in beside if self._types.get(i) == names.MODEL}
        beside |= self._inputs(models, {names.TRANSFORM_GRAPH, names.SCHEMA})
        judged = {
            i
            for model in models
            for execution in self._readers.get(model, ())
            if models & set(execution.inputs.get("model", ()))
            for ids in execution.outputs.values()
            for i in ids
        }
        return beside | {i for i in judged if self._types.get(i) in _JUDGED}

    def _inputs(self, made: Iterable[int], types: Collection[str]) -> set[int]:
        """Of these types, what the makers read."""
        return {
            i
            for one in made
            if one in self.maker
            for key, ids in self.maker[one].inputs.items()
            if key not in COMPARED_KEYS
            for i in ids
            if self._types.get(i) in types
        }
