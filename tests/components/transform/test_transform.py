"""A window of spans is transformed as if all of it were read, and only what is new is read."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tfx import types
from tfx.components.transform import executor as tfx_executor
from tfx.components.transform.executor import Executor
from tfx.types import artifact_utils, standard_artifacts

from components.transform import executor, span_caches
from components.transform.executor import TransformExecutor

pytestmark = pytest.mark.component

SPANS = 4
AT_ONCE = 2  # fewer than there are
SCHEMA = """
feature { name: "word" type: BYTES }
feature { name: "amount" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 1 } } }
"""


class Window:
    """Spans on disk, and the executor on some of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.runs = 0
        (folder / "schema").mkdir()
        (folder / "schema/schema.pbtxt").write_text(SCHEMA)
        for span in range(SPANS + 1):
            _write(self.data(span), span)

    def data(self, span: int) -> Path:
        return self.folder / f"spans/{span}/Split-train/data.gz"

    def run(
        self,
        spans: range,
        cache: types.Artifact | None = None,
        function: str = "preprocessing_fn",
        kind: type[Executor] = TransformExecutor,
    ) -> tuple[tft.TFTransformOutput, types.Artifact]:
        """The transform graph, and the new cache."""
        self.runs += 1
        out = self.folder / f"run-{self.runs}"
        outputs = {
            "transform_graph": [_artifact(standard_artifacts.TransformGraph, out / "graph")],
            "updated_analyzer_cache": [_artifact(standard_artifacts.TransformCache, out / "cache")],
        }
        examples = [self._examples(span) for span in spans]
        inputs = {
            "examples": examples,
            "schema": [_artifact(standard_artifacts.Schema, self.folder / "schema")],
            **({"analyzer_cache": [cache]} if cache else {}),
        }
        properties = {
            "preprocessing_fn": f"tests.components.transform.window_preprocessing.{function}",
            "custom_config": json.dumps({}),
            "force_tf_compat_v1": 0,
            "disable_statistics": 1,
        }
        context = kind.Context(
            beam_pipeline_args=["--direct_running_mode=in_memory"],
            tmp_dir=str(out / "tmp"),
            unique_id=str(self.runs),
        )
        kind(context).Do(inputs, outputs, properties)
        graph = tft.TFTransformOutput(outputs["transform_graph"][0].uri)
        return graph, outputs["updated_analyzer_cache"][0]

    def _examples(self, span: int) -> types.Artifact:
        one = _artifact(standard_artifacts.Examples, self.data(span).parents[1])
        one.split_names = artifact_utils.encode_split_names(["train"])
        return one


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(executor, "_AT_ONCE", AT_ONCE)
        yield Window(tmp_path_factory.mktemp("window"))


@pytest.fixture(scope="module")
def first(window: Window) -> tuple[tft.TFTransformOutput, types.Artifact]:
    return window.run(range(SPANS))


@pytest.fixture(scope="module")
def stock(window: Window) -> tft.TFTransformOutput:
    """TFX's own, on the second window."""
    graph, _ = window.run(range(1, SPANS + 1), kind=Executor)
    return graph


def test_the_next_window_is_what_tfx_makes_of_it(window: Window, first: Any, stock: Any) -> None:
    graph, cache = window.run(range(1, SPANS + 1), first[1])
    assert _words(graph) == _words(stock)
    np.testing.assert_allclose(_scaled(graph), _scaled(stock), rtol=1e-5)
    assert len(_datasets(cache)) == SPANS
    assert _datasets(cache)[:-1] == _datasets(first[1])[1:]


def test_the_first_window_is_read_in_parts_and_no_part_is_lost(window: Window, first: Any) -> None:
    counted = {word.decode(): n for word, n in _counts(range(SPANS)).items()}
    assert set(_words(first[0])) == set(counted)
    assert [counted[word] for word in _words(first[0])] == sorted(counted.values(), reverse=True)


def test_what_was_analyzed_is_not_read_again(
    window: Window, first: Any, stock: Any, tmp_path: Path
) -> None:
    hidden = [window.data(span) for span in range(1, SPANS)]
    try:
        for file in hidden:
            shutil.move(file, tmp_path / file.parents[1].name)
        graph, _ = window.run(range(1, SPANS + 1), first[1])
        assert _words(graph) == _words(stock)
    finally:
        for file in hidden:
            shutil.move(tmp_path / file.parents[1].name, file)


def test_another_preprocessing_analyzes_the_whole_window(window: Window, first: Any) -> None:
    spans = range(1, SPANS + 1)
    graph, cache = window.run(spans, first[1], "other_preprocessing_fn")
    assert set(_words(graph)) == {word.decode() for word in _counts(spans)}
    share = _transformed(graph)["share"].ravel()
    assert (share[0], share[-1]) == (0.0, 1.0)
    assert len(_datasets(cache)) == SPANS


def test_an_analyzer_that_cannot_be_cached_sees_the_whole_window(window: Window) -> None:
    first, cache = window.run(range(SPANS), None, "uncached_preprocessing_fn")  # in parts
    then, _ = window.run(range(1, 4), cache, "uncached_preprocessing_fn")
    for graph, spans in ((first, range(SPANS)), (then, range(1, 4))):
        assert set(_words(graph)) == {word.decode() for word in _counts(spans)}
        largest = 10.0 * max(spans) + 9
        assert _transformed(graph)["share"].ravel()[0] == pytest.approx(10.0 / largest)


def test_a_cache_that_is_broken_is_made_anew(window: Window, first: Any, stock: Any) -> None:
    broken = _artifact(standard_artifacts.TransformCache, window.folder / "broken")
    shutil.copytree(first[1].uri, broken.uri)
    datasets = sorted(Path(broken.uri).iterdir())
    (datasets[1] / "MANIFEST").write_bytes(b"not a pickle")
    shutil.rmtree(datasets[2])
    graph, cache = window.run(range(1, SPANS + 1), broken)
    assert _words(graph) == _words(stock)
    np.testing.assert_allclose(_scaled(graph), _scaled(stock), rtol=1e-5)
    assert all(span_caches.read_manifest(one) for one in Path(cache.uri).iterdir())


@pytest.mark.parametrize(
    "written",
    [b"", b"not a pickle", pickle.dumps(Path), b"(lp0\nL12x\n.", pickle.dumps([1])],
    ids=["empty", "no pickle", "code", "a number that is none", "no dict"],
)
def test_a_manifest_that_cannot_be_read_is_empty(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "MANIFEST").write_bytes(written)
    assert span_caches.read_manifest(tmp_path) == {}


def test_where_tfx_keeps_no_cache_all_is_read_at_once(
    window: Window, stock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfx_executor, "_MAX_ESTIMATED_STAGES_COUNT", 0)
    graph, cache = window.run(range(1, SPANS + 1))
    assert _words(graph) == _words(stock)
    np.testing.assert_allclose(_scaled(graph), _scaled(stock), rtol=1e-5)
    assert not Path(cache.uri).exists()


def _write(file: Path, span: int) -> None:
    """Words that rise and fall over the spans, and amounts 10 * span to 10 * span + 9."""
    file.parent.mkdir(parents=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(file), options) as writer:
        for row in range(10):
            example = tf.train.Example()
            feature = example.features.feature
            feature["word"].bytes_list.value.append(_word(span, row))
            feature["amount"].float_list.value.append(10.0 * span + row)
            writer.write(example.SerializeToString())


def _word(span: int, row: int) -> bytes:
    return b"everywhere" if row < 3 else f"w{(span * span + row) % 7}".encode()


def _counts(spans: range) -> dict[bytes, int]:
    words = [_word(span, row) for span in spans for row in range(10)]
    return {word: words.count(word) for word in words}


def _words(graph: tft.TFTransformOutput) -> list[str]:
    return [word.decode() for word in graph.vocabulary_by_name("words")]


def _transformed(graph: tft.TFTransformOutput) -> dict[str, np.ndarray]:
    """Of the smallest and the largest amount of spans 1 to SPANS, and one between."""
    amounts = [10.0, 27.0, 10.0 * SPANS + 9]
    raw = {
        "word": tf.sparse.from_dense([["everywhere"]] * 3),
        "amount": tf.constant([[amount] for amount in amounts]),
    }
    return {name: value.numpy() for name, value in graph.transform_raw_features(raw).items()
            if isinstance(value, tf.Tensor)}  # fmt: skip


def _scaled(graph: tft.TFTransformOutput) -> np.ndarray:
    found = _transformed(graph)
    return np.concatenate([found["scaled"].ravel(), found["bucket"].ravel()])


def _datasets(cache: types.Artifact) -> list[str]:
    """In the order of the spans."""
    return sorted(one.name for one in Path(cache.uri).iterdir())


def _artifact(kind: Any, uri: Path) -> Any:
    found = kind()
    found.uri = str(uri)
    return found
