"""The artifacts that belong to a model, which gc keeps or deletes as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from metadata import names
from metadata.graph import COMPARED_KEYS, edges_of_artifacts, makers
from metadata.reader import MetadataReader
from metadata.records import Artifact, Execution

_JUDGED = frozenset({names.MODEL_BLESSING, names.INFRA_BLESSING, names.MODEL_EVALUATION})
_WITH_A_MODEL = _JUDGED | {names.MODEL}


class Surroundings:
    """The makers and readers of all artifacts.

    They are read in one go: one query for each artifact takes a minute with 10,000 executions.

    Args:
      store: Store to read.
      artifacts: All artifacts of the store.

    Attributes:
      maker: Artifact id -> the execution that made it.
      key: Artifact id -> output key under which its maker wrote it.
    """

    def __init__(self, store: MetadataReader, artifacts: Iterable[Artifact]) -> None:
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
        """Returns the pipeline that made an artifact; '' if the store does not record it."""
        maker = self.maker.get(artifact_id)
        return maker.pipeline if maker else ""

    def around(self, artifact_ids: Collection[int]) -> set[int]:
        """Returns the models behind artifacts, and what a server or a later run reads with them.

        The base model of a warm start is left out: its weights are in the model.
        """
        beside = set(artifact_ids) | self._inputs(artifact_ids, _WITH_A_MODEL)
        models = {i for i in beside if self._types.get(i) == names.MODEL}
        beside |= self._inputs(models, {names.TRANSFORM_GRAPH, names.SCHEMA})
        beside |= self._made_with(models, names.DECISION)
        judged = {
            i
            for model in models
            for execution in self._readers.get(model, ())
            if models & set(execution.inputs.get("model", ()))
            for ids in execution.outputs.values()
            for i in ids
        }
        return beside | {i for i in judged if self._types.get(i) in _JUDGED}

    def _made_with(self, artifact_ids: Iterable[int], type_name: str) -> set[int]:
        """Returns the outputs of this type of the executions that made the artifacts."""
        makers_of = (self.maker[one] for one in artifact_ids if one in self.maker)
        made = (i for maker in makers_of for ids in maker.outputs.values() for i in ids)
        return {i for i in made if self._types.get(i) == type_name}

    def _inputs(self, made: Iterable[int], types: Collection[str]) -> set[int]:
        """Returns the inputs of these types that the makers read."""
        return {
            i
            for one in made
            if one in self.maker
            for key, ids in self.maker[one].inputs.items()
            if key not in COMPARED_KEYS
            for i in ids
            if self._types.get(i) in types
        }
