"""SparkEmbeddings on real Spark: what is clicked together lies together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx.types import artifact_utils, channel_utils, standard_artifacts
from tfx.utils import json_utils

from base.errors import ComponentError
from components.spark_embeddings import Sequences, SparkEmbeddings
from components.spark_embeddings.artifacts import TokenEmbeddings
from components.spark_embeddings.executor import SparkEmbeddingsExecutor
from components.trainer.component import Trainer
from components.trainer.embeddings_input import with_embeddings
from spark_io.sources.source_types import SparkConfig
from tabular.precomputed import FILE, PrecomputedVectors

SEQUENCES = Sequences("item_id", "user_id", "timestamp_ms", "clicked")
ITEMS = 12
RARE = b"item rare \xc3\xbc"


def write_examples(folder: Path, users: int, clicked: int = 1) -> None:
    """Users click even items only or odd items only; what they do not click is of both."""
    random = np.random.default_rng(5)
    rows = [(u, 2 * int(random.integers(ITEMS // 2)) + u % 2, 1) for u in range(users)] * 8
    rows = [(u, 2 * int(random.integers(ITEMS // 2)) + u % 2, clicked) for u, _, _ in rows]
    rows += [(u, int(random.integers(ITEMS)), 0) for u in range(users) for _ in range(8)]
    order = random.permutation(len(rows))
    (folder / "Split-train").mkdir(parents=True)
    for part in range(2):
        path = folder / "Split-train" / f"{part}.gz"
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for number in order[part::2]:
                user, item, label = rows[number]
                rare = number == 0
                features = {
                    "item_id": _bytes(RARE if rare else f"item {item}".encode()),
                    "user_id": _bytes(f"user {user}".encode()),
                    "timestamp_ms": _int(int(number)),
                    "clicked": _int(label),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def run(data: Path, out: Path, **changes: Any) -> TokenEmbeddings:
    """One execution, without MLMD around it."""
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(data), artifact_utils.encode_split_names(["train"])
    component = SparkEmbeddings(
        channel_utils.as_channel([examples]),
        changes.pop("sequences", SEQUENCES),
        **{"width": 8, "iterations": 20, "spark": SparkConfig("local[2]"), **changes},
    )
    output = TokenEmbeddings()
    output.uri = str(out)
    SparkEmbeddingsExecutor().Do(
        {"examples": [examples]}, {"embeddings": [output]}, component.exec_properties
    )
    return output


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clicks")
    write_examples(folder, users=200)
    return folder


@pytest.mark.component
def test_what_is_clicked_together_lies_together(data: Path, tmp_path: Path) -> None:
    artifact = run(data, tmp_path / "1")
    found = PrecomputedVectors.read(artifact.uri)
    assert found.feature == "item_id"
    assert sorted(found.tokens) == sorted(f"item {n}".encode() for n in range(ITEMS))
    assert artifact.get_int_custom_property("tokens") == ITEMS
    assert artifact.get_int_custom_property("width") == 8
    assert artifact.get_int_custom_property("sequences") == 200
    assert artifact.get_string_custom_property("token") == "item_id"
    counts = pq.read_table(Path(artifact.uri) / FILE)["count"].to_pylist()
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == pytest.approx(8 * 200, abs=1)  # the rare one is no even nor odd item

    vectors = found.for_tokens([f"item {n}".encode() for n in range(ITEMS)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    nearest = likeness.argmax(axis=1)
    assert (nearest % 2 == np.arange(ITEMS) % 2).all()

    again = PrecomputedVectors.read(run(data, tmp_path / "2").uri)
    assert again.tokens == found.tokens
    assert np.array_equal(again.vectors, found.vectors)


@pytest.mark.component
@pytest.mark.parametrize(
    ("clicked", "changes", "message"),
    [
        (0, {}, r"no item_id occurs 5 times or more in the 0 sequences of user_id"),
        (1, {"min_count": 10_000}, "no item_id occurs 10000 times or more in the 20 sequences"),
        (1, {"sequences": Sequences("itm_id", "user_id", "timestamp_ms")}, "no itm_id occurs"),
    ],
)
def test_nothing_to_learn_from(
    tmp_path: Path, clicked: int, changes: dict[str, Any], message: str
) -> None:
    write_examples(tmp_path / "data", 20, clicked)
    with pytest.raises(ComponentError, match=message):
        run(tmp_path / "data", tmp_path / "out", **changes)
    assert not (tmp_path / "out" / FILE).exists()


@pytest.mark.unit
def test_tokens_without_a_vector_are_zeros() -> None:
    embeddings = PrecomputedVectors("item_id", [b"a", b"b"], np.ones((2, 3), np.float32))
    assert embeddings.for_tokens([b"b", b"?", b"a"]).tolist() == [[1.0] * 3, [0.0] * 3, [1.0] * 3]


@pytest.mark.unit
def test_run_fn_is_told_where_they_are() -> None:
    def made(kind: Any, uri: str) -> Any:
        artifact = kind()
        artifact.uri = uri
        return artifact

    examples = made(standard_artifacts.Examples, "/examples")
    examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
    embeddings = made(TokenEmbeddings, "/embeddings")
    trainer = Trainer(
        run_fn="a.b",
        examples=channel_utils.as_channel([examples]),
        embeddings=channel_utils.as_channel([embeddings]),
        custom_config={"parameters": {"epochs": 1}},
    )
    assert trainer.id == "Trainer"
    assert trainer.inputs["embeddings"].type is TokenEmbeddings
    for inputs, expected in [
        ({"embeddings": [embeddings]}, {"embeddings": "/embeddings"}),
        ({}, {}),
    ]:
        properties = with_embeddings(inputs, trainer.exec_properties)
        config = json_utils.loads(properties["custom_config"])
        assert config == {"parameters": {"epochs": 1}, **expected}
