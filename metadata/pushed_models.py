"""Finds pushed models, and the executions and artifacts that each of them came from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from metadata import names
from metadata.graph import Graph, ancestors
from metadata.opening import MetadataError
from metadata.reader import MetadataReader
from metadata.records import Artifact, Execution

_NEVER_MADE = frozenset({"pending", "abandoned"})  # states of outputs of a component that failed


@dataclasses.dataclass(frozen=True)
class Origin:
    """The origin of a PushedModel, with None for parts that the store does not record.

    Attributes:
      graph: Everything that it was made from, including the other attributes.
      base_model: Model that a warm start began with.
      evaluation: Evaluation behind the blessing.
    """

    graph: Graph
    pusher: Execution | None
    evaluator: Execution | None
    model: Artifact | None
    base_model: Artifact | None
    transform_graph: Artifact | None
    schema: Artifact | None
    blessing: Artifact | None
    evaluation: Artifact | None


def origin_of(store: MetadataReader, pushed: Artifact) -> Origin:
    """Returns the origin of a pushed model.

    Raises:
      MetadataError: The store cannot be read.
    """
    graph = ancestors(store, [pushed.id])
    pusher = graph.maker(pushed.id)
    model = _input(graph, pusher, names.MODEL)
    trainer = graph.maker(model.id) if model else None
    blessing = _input(graph, pusher, names.MODEL_BLESSING)
    evaluator = graph.maker(blessing.id) if blessing else None
    begun_with = trainer.inputs.get(names.BASE_MODEL, ()) if trainer else ()
    return Origin(
        graph=graph,
        pusher=pusher,
        evaluator=evaluator,
        model=model,
        base_model=next((graph.artifacts[i] for i in begun_with if i in graph.artifacts), None),
        transform_graph=_input(graph, trainer, names.TRANSFORM_GRAPH),
        schema=_input(graph, trainer, names.SCHEMA),
        blessing=blessing,
        evaluation=output_of(store, evaluator, names.MODEL_EVALUATION),
    )


def pushed_models(store: MetadataReader) -> list[Artifact]:
    """Returns the pushed models, newest first, without outputs of a Pusher that did not push."""
    return [a for a in store.artifacts_of_type(names.PUSHED_MODEL) if was_pushed(a)]


def first_pushes(store: MetadataReader) -> dict[int, Artifact]:
    """Returns version -> the artifact of its first push."""
    newest_first = ((version_of(artifact), artifact) for artifact in pushed_models(store))
    return {int(version): pushed for version, pushed in newest_first if version.isdecimal()}


def pushed_as(models: list[Artifact], wanted: str) -> list[Artifact]:
    """Returns the models of a version, or in a folder.

    Args:
      models: Result of `pushed_models`.
      wanted: Version, or path of a folder.

    Raises:
      MetadataError: Two folders have a model of this version.
    """
    folder = wanted.rstrip("/")
    folders = {folder, str(Path(folder).absolute())}
    named = [a for a in models if destination_of(a).rstrip("/") in folders]
    if named:
        return named
    named = [a for a in models if version_of(a) == wanted]
    places = {destination_of(a).rstrip("/"): a.id for a in reversed(named)}
    if len(places) > 1:
        which = ", ".join(f"artifact:{number} ({place})" for place, number in places.items())
        raise MetadataError(f"version {wanted} was pushed to {len(places)} folders; say: {which}")
    return named


def was_pushed(artifact: Artifact) -> bool:
    """Returns whether a PushedModel was pushed."""
    return artifact.properties.get(names.PUSHED) != 0 and was_made(artifact)


def was_made(artifact: Artifact) -> bool:
    """Returns whether an output was made, since outputs of failed components are recorded, too."""
    return artifact.state not in _NEVER_MADE


def version_of(pushed: Artifact) -> str:
    """Returns the version of a pushed model; '' if it is not recorded."""
    return str(pushed.properties.get(names.PUSHED_VERSION) or Path(destination_of(pushed)).name)


def destination_of(pushed: Artifact) -> str:
    """Returns the folder a model was pushed to; '' if that is not recorded."""
    return str(pushed.properties.get(names.PUSHED_DESTINATION) or "")


def output_of(
    store: MetadataReader, execution: Execution | None, type_name: str
) -> Artifact | None:
    """Returns an execution's first output of a type."""
    ids = [i for ids in execution.outputs.values() for i in ids] if execution else []
    return next((a for a in store.artifacts(ids).values() if a.type == type_name), None)


def _input(graph: Graph, execution: Execution | None, type_name: str) -> Artifact | None:
    ids = [i for ids in execution.inputs.values() for i in ids] if execution else []
    # The graph does not have the baseline.
    found = [graph.artifacts[i] for i in ids if i in graph.artifacts]
    return next((artifact for artifact in found if artifact.type == type_name), None)
