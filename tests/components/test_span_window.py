"""Which examples, and what of Transform's cache, a run on one new span gets."""

from __future__ import annotations

from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd_pb2
from tfx import types
from tfx.orchestration import metadata
from tfx.types import standard_artifacts

from components.span_window.strategy import SpanWindowStrategy

pytestmark = pytest.mark.unit


class History:
    """A store with examples of spans and what Transform kept of windows."""

    def __init__(self, path: Path):
        self.store = mlmd.MetadataStore(metadata.sqlite_metadata_connection_config(str(path)))
        self._kinds = {
            name: self.store.put_artifact_type(mlmd_pb2.ArtifactType(name=name))
            for name in ("Examples", "TransformCache")
        }
        self._step = self.store.put_execution_type(mlmd_pb2.ExecutionType(name="Transform"))
        self.examples: list[types.Artifact] = []
        self.caches: list[types.Artifact] = []

    def _put(self, kind: str, span: int | None = None) -> int:
        artifact = mlmd_pb2.Artifact(type_id=self._kinds[kind])
        if span is not None:
            artifact.custom_properties["span"].int_value = span
        return int(self.store.put_artifacts([artifact])[0])

    def generated(self, last: int, first: int | None = None) -> types.Artifact:
        """By SparkExampleGen."""
        one = standard_artifacts.Examples()
        one.id = self._put("Examples", last)
        one.set_int_custom_property("span", last)
        one.set_string_custom_property("spans", f"{last if first is None else first}-{last}")
        one.set_string_custom_property("input_fingerprint", "x")
        self.examples.append(one)
        return one

    def transformed(self, window: list[types.Artifact]) -> None:
        """A cache, and examples that no generator has made."""
        cache, other = standard_artifacts.TransformCache(), standard_artifacts.Examples()
        cache.id, other.id = self._put("TransformCache"), self._put("Examples")
        (step,) = self.store.put_executions([mlmd_pb2.Execution(type_id=self._step)])
        inputs = [(one.id, mlmd_pb2.Event.INPUT) for one in window]
        ways = [*inputs, (cache.id, mlmd_pb2.Event.OUTPUT)]
        self.store.put_events(
            [mlmd_pb2.Event(execution_id=step, artifact_id=a, type=way) for a, way in ways]
        )
        self.caches.append(cache)
        self.examples.append(other)

    def window(
        self, current: types.Artifact, length: int = 3, refresh: int = 1
    ) -> tuple[list[int], list[int]]:
        """(spans, ids of caches)."""
        found = SpanWindowStrategy(length, refresh).resolve_artifacts(
            self.store,
            {
                "current": [current],
                "examples": list(self.examples),
                "analyzer_cache": list(self.caches),
            },
        )
        spans = [one.get_int_custom_property("span") for one in found["examples"]]
        return spans, [cache.id for cache in found["analyzer_cache"]]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "metadata.sqlite")


def test_the_first_run_has_itself(history: History) -> None:
    assert history.window(history.generated(7)) == ([7], [])


def test_the_last_spans_and_the_cache_of_the_window_before(history: History) -> None:
    made = [history.generated(span) for span in (4, 5, 6)]
    history.transformed(made)
    earlier = history.caches[0].id
    current = history.generated(7)
    assert history.window(current) == ([5, 6, 7], [earlier])
    history.transformed([*made[1:], current])
    assert history.window(current) == ([5, 6, 7], [earlier])  # a repeated run has the same inputs
    assert history.window(history.generated(8)) == ([6, 7, 8], [history.caches[1].id])


def test_the_window_moves_on_by_several_spans_at_once(history: History) -> None:
    made = {span: history.generated(span) for span in (5, 6, 7, 8, 9)}
    history.transformed([made[5]])
    for span in (6, 7, 8):
        assert history.window(made[span], refresh=3) == ([5, 6], [history.caches[0].id])
    assert history.window(made[9], refresh=3) == ([7, 8, 9], [history.caches[0].id])
    assert history.window(made[5], refresh=3) == ([5], [])  # there is none at a multiple of three


def test_a_span_made_again_counts_once(history: History) -> None:
    history.generated(6)
    history.generated(7)
    again = history.generated(6)
    assert history.window(again, length=2) == ([6], [])
    assert history.window(history.generated(8), length=3) == ([6, 7, 8], [])
    # A run that read hours again, together with those after them, stands for all of them.
    wide = history.generated(9, first=7)
    assert history.window(wide, length=9) == ([6, 9], [])
