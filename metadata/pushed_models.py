"""The models that were pushed, and which executions and artifacts each of them came through."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from metadata import names
from metadata.graph import Graph, ancestors
from metadata.opening import LineageError
from metadata.reader import LineageStore
from metadata.records import Artifact, Execution

_NEVER_MADE = frozenset({"pending", "abandoned"})  # states of outputs of a component that failed


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a PushedModel came from; None for what the store does not record.

    Attributes:
      graph: Everything it was made from, of which the others are parts.
      base_model: What a warm start began with.
      evaluation: The one behind the blessing.
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


def origin_of(store: LineageStore, pushed: Artifact) -> Origin:
    """Walks from a pushed model to what it was made from.

    Raises:
      LineageError: The store cannot be read.
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


def pushed_models(store: LineageStore) -> list[Artifact]:
    """Returns what was pushed, newest first; not what a Pusher left that did not push."""
    return [a for a in store.artifacts_of_type(names.PUSHED_MODEL) if was_pushed(a)]


def first_pushes(store: LineageStore) -> dict[int, Artifact]:
    """Returns version -> the artifact of its first push."""
    newest_first = ((version_of(artifact), artifact) for artifact in pushed_models(store))
    return {int(version): pushed for version, pushed in newest_first if version.isdecimal()}


def pushed_as(models: list[Artifact], wanted: str) -> list[Artifact]:
    """Returns those of this version, or pushed to this folder.

    Args:
      models: What `pushed_models` returned.
      wanted: A version, or the path of a folder.

    Raises:
      LineageError: Two folders have one of that version.
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
        raise LineageError(f"version {wanted} was pushed to {len(places)} folders; say: {which}")
    return named


def was_pushed(artifact: Artifact) -> bool:
    """Returns whether a PushedModel was pushed; a Pusher other than TFX's need not say where."""
    return artifact.properties.get(names.PUSHED) != 0 and was_made(artifact)


def was_made(artifact: Artifact) -> bool:
    """Returns whether an output came to be; that of a component that failed is recorded, too."""
    return artifact.state not in _NEVER_MADE


def version_of(pushed: Artifact) -> str:
    """Returns the version a model was pushed as; '' if it was not, or if that is not recorded."""
    return str(pushed.properties.get(names.PUSHED_VERSION) or Path(destination_of(pushed)).name)


def destination_of(pushed: Artifact) -> str:
    """Returns the folder a model was pushed to; '' if that is not recorded."""
    return str(pushed.properties.get(names.PUSHED_DESTINATION) or "")


def output_of(store: LineageStore, execution: Execution | None, type_name: str) -> Artifact | None:
    """Returns what an execution made of a type."""
    ids = [i for ids in execution.outputs.values() for i in ids] if execution else []
    return next((a for a in store.artifacts(ids).values() if a.type == type_name), None)


def _input(graph: Graph, execution: Execution | None, type_name: str) -> Artifact | None:
    ids = [i for ids in execution.inputs.values() for i in ids] if execution else []
    # Not its baseline: that one is no part of the graph.
    found = [graph.artifacts[i] for i in ids if i in graph.artifacts]
    return next((artifact for artifact in found if artifact.type == type_name), None)
