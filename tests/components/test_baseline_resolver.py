"""Which blessed model a candidate is compared with, and which one a warm start begins with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd_pb2
from tfx import types
from tfx.orchestration import metadata
from tfx.types import standard_artifacts

from components.baseline_resolver.earlier_model import EarlierModelStrategy
from components.baseline_resolver.strategy import BaselineModelStrategy
from metadata import names

pytestmark = pytest.mark.unit


def model(number: int) -> standard_artifacts.Model:
    artifact = standard_artifacts.Model()
    artifact.id = number
    return artifact


def blessing(number: int, of: int, blessed: int = 1) -> standard_artifacts.ModelBlessing:
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = number
    artifact.set_int_custom_property("current_model_id", of)
    artifact.set_int_custom_property("blessed", blessed)
    return artifact


def baseline(candidate: int, models: list[int], blessings: list) -> tuple[list[int], list[int]]:
    result = BaselineModelStrategy().resolve_artifacts(
        None,  # type: ignore[arg-type] # it asks the store nothing
        {
            "candidate": [model(candidate)],
            "model": [model(n) for n in models],
            "model_blessing": blessings,
        },
    )
    return [a.id for a in result["model"]], [a.id for a in result["model_blessing"]]


def test_the_first_model_has_no_baseline() -> None:
    assert baseline(1, [1], []) == ([], [])


def test_a_repeated_run_is_not_compared_with_itself() -> None:
    assert baseline(1, [1], [blessing(9, of=1)]) == ([], [])


def test_the_newest_blessed_model_counts() -> None:
    blessings = [blessing(7, of=1), blessing(8, of=2), blessing(9, of=3, blessed=0)]
    assert baseline(4, [1, 2, 3, 4], blessings) == ([2], [8])


def test_an_older_candidate_meets_the_newer_model() -> None:
    assert baseline(1, [1, 2], [blessing(7, of=1), blessing(8, of=2)]) == ([2], [8])


# Warm start


class History:
    """A store with runs: examples of a span -> Transform -> Trainer -> a model."""

    def __init__(self, path: Path):
        connection = metadata.sqlite_metadata_connection_config(str(path))
        self.store = mlmd.MetadataStore(connection)
        self._types = {
            name: self.store.put_artifact_type(mlmd_pb2.ArtifactType(name=name))
            for name in ("Examples", "TransformGraph", "Model")
        }
        self._step = self.store.put_execution_type(mlmd_pb2.ExecutionType(name="Step"))
        self._numbers = itertools.count()

    def _artifact(self, kind: str, span: int | None = None) -> int:
        artifact = mlmd_pb2.Artifact(type_id=self._types[kind], uri=f"/{next(self._numbers)}")
        if span is not None:
            artifact.custom_properties["span"].int_value = span
        return self.store.put_artifacts([artifact])[0]

    def _execution(self, inputs: list[int], outputs: list[int]) -> None:
        (number,) = self.store.put_executions([mlmd_pb2.Execution(type_id=self._step)])
        kinds = [(inputs, mlmd_pb2.Event.INPUT), (outputs, mlmd_pb2.Event.OUTPUT)]
        events = [
            mlmd_pb2.Event(execution_id=number, artifact_id=artifact, type=kind)
            for artifacts, kind in kinds
            for artifact in artifacts
        ]
        self.store.put_events(events)

    def run(self, span: int, base: int | None = None) -> int:
        """Id of the model."""
        raw = self._artifact("Examples", span)
        transformed, graph = self._artifact("Examples"), self._artifact("TransformGraph")
        made = self._artifact("Model")
        self._execution([raw], [transformed, graph])
        self._execution([transformed, graph, *([base] if base else [])], [made])
        return made

    def resolve(
        self, span: int, models: list[int], blessed: list[int], withdrawn: Sequence[int] = ()
    ) -> list[int]:
        examples = standard_artifacts.Examples()
        examples.set_int_custom_property("span", span)
        there: list[types.Artifact] = [model(number) for number in models]
        for one in there:
            if one.id in withdrawn:
                one.set_string_custom_property(names.WITHDRAWN, "log loss")
        result = EarlierModelStrategy().resolve_artifacts(
            self.store,
            {
                "examples": [examples],
                "model": there,
                "model_blessing": [blessing(100 + number, of=number) for number in blessed],
            },
        )
        assert len(result["model"]) == len(result["model_blessing"])
        return [artifact.id for artifact in result["model"]]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "mlmd")


def test_the_first_span_begins_with_nothing(history: History) -> None:
    assert history.resolve(1, [], []) == []


def test_the_latest_blessed_model_of_an_earlier_span(history: History) -> None:
    first, second, third = (history.run(span) for span in (1, 2, 3))
    models = [first, second, third]
    assert history.resolve(4, models, models) == [third]
    assert history.resolve(4, models, [first, second]) == [second]
    assert history.resolve(2, models, models) == [first]


def test_a_repeated_run_does_not_begin_with_its_own_result(history: History) -> None:
    first = history.run(1)
    own = history.run(2, base=first)
    assert history.resolve(2, [first, own], [first, own]) == [first]


def test_a_model_of_unknown_origin_is_not_taken(history: History) -> None:
    stranger = history._artifact("Model")
    assert history.resolve(2, [stranger], [stranger]) == []


def test_no_warm_start_begins_with_what_was_withdrawn_or_came_of_it(history: History) -> None:
    good = history.run(1)
    bad = history.run(2, base=good)
    after = history.run(3, base=bad)
    later = history.run(4, base=after)
    models = [good, bad, after, later]
    assert history.resolve(5, models, models) == [later]
    assert history.resolve(5, models, models, withdrawn=[bad]) == [good]
    fresh = history.run(5, base=good)
    assert history.resolve(6, [*models, fresh], [*models, fresh], withdrawn=[bad]) == [fresh]
