"""Warm start: an earlier model's weights, by token, when the vocabularies have changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from applications.ctr.features import FEATURES
from tabular.errors import TrainingError
from tabular.feature_set import FeatureSet, Numeric, transformed
from tabular.keras_model import build_model, compile_model
from tabular.labels import LabelSummary
from tabular.parameters import TrainerParameters
from tabular.preprocessing import index_sizes
from tabular.training.rounds import Rounds
from tabular.warm_start import WarmStart, adagrad_slots, earlier_rows, save_slots

LABELS = LabelSummary(100, 100, 0.2, 16.0, (80, 20))
pytestmark = pytest.mark.unit

DENSE = 5
TOKENS = {one.name: [f"{one.name}{n}".encode() for n in range(4)] for one in FEATURES.categorical}


class Exported(tf.Module):
    """An exported model as the Trainer writes it, as far as a warm start looks at it."""

    def __init__(self, model: keras.Model, folder: Path):
        super().__init__()
        self.model = model
        self.assets = []
        for name, tokens in TOKENS.items():
            (folder / name).write_bytes(b"\n".join(tokens) + b"\n")
            self.assets.append(tf.saved_model.Asset(str(folder / name)))


def sizes_of(tokens: dict[str, list[bytes]]) -> dict[str, int]:
    return index_sizes(FEATURES, {name: len(them) for name, them in tokens.items()})


def new_model(tokens: dict[str, list[bytes]], seed: int, name: str = "wide_deep") -> keras.Model:
    keras.utils.set_random_seed(seed)
    return build_model(FEATURES, sizes_of(tokens), DENSE, TrainerParameters(model=name), LABELS)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> tuple[keras.Model, str]:
    folder = tmp_path_factory.mktemp("earlier")
    model = new_model(TOKENS, seed=1)
    (folder / "vocabularies").mkdir()
    tf.saved_model.save(Exported(model, folder / "vocabularies"), str(folder / "model"))
    learn(model)
    save_slots(model, str(folder / "model"))
    return model, str(folder / "model")


def learn(model: keras.Model) -> None:
    """Gives Adagrad something to remember: of each value another one."""
    compile_model(model, FEATURES, TrainerParameters(model="wide_deep"), Rounds(1, 1, 1), LABELS)
    for variable in adagrad_slots(model).values():
        values = np.arange(variable.numpy().size, dtype=np.float32) + 1
        variable.assign(values.reshape(variable.shape))


def start_from(
    model: keras.Model, path: str, tokens: dict[str, list[bytes]], sizes: dict[str, int]
) -> None:
    WarmStart(model, path, FEATURES, tokens, sizes).copy_weights()


def row(model: keras.Model, feature: str, index: int) -> np.ndarray:
    tables = model.get_layer("embeddings")
    place = tables.rows[transformed(feature)]
    return tables.tables[str(place.width)].numpy()[place.start + index]


def test_rows_are_found_by_token() -> None:
    rows = earlier_rows([b"c", b"new", b"a"], [b"a", b"b", b"c"], buckets=2)
    assert rows.tolist() == [2, -1, 0, 3, 4]


def test_embeddings_follow_their_tokens_and_layers_their_names(earlier) -> None:
    before, path = earlier
    now = {**TOKENS, "item_id": [b"item_id3", b"fresh", b"item_id0"]}
    model, cold = new_model(now, seed=2), new_model(now, seed=2)
    start_from(model, path, now, sizes_of(now))
    np.testing.assert_array_equal(row(model, "item_id", 0), row(before, "item_id", 3))
    np.testing.assert_array_equal(row(model, "item_id", 2), row(before, "item_id", 0))
    np.testing.assert_array_equal(row(model, "item_id", 1), row(cold, "item_id", 1))
    np.testing.assert_array_equal(row(model, "item_id", 3), row(before, "item_id", 4))  # bucket
    np.testing.assert_array_equal(row(model, "brand", 1), row(before, "brand", 1))
    np.testing.assert_array_equal(row(model, "device", 2), row(before, "device", 2))
    np.testing.assert_array_equal(
        model.get_layer("deep_0").kernel, before.get_layer("deep_0").kernel
    )


def test_the_same_vocabularies_give_the_same_model(earlier) -> None:
    before, path = earlier
    model = new_model(TOKENS, seed=2)
    start_from(model, path, TOKENS, sizes_of(TOKENS))
    for one, other in zip(model.weights, before.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.name)


def test_a_feature_whose_embedding_became_wider_starts_anew(earlier) -> None:
    before, path = earlier
    now = {**TOKENS, "user_id": [f"user_id{n}".encode() for n in range(500)]}
    model, cold = new_model(now, seed=2), new_model(now, seed=2)
    start_from(model, path, now, sizes_of(now))
    assert row(model, "user_id", 1).shape != row(before, "user_id", 1).shape
    np.testing.assert_array_equal(row(model, "user_id", 1), row(cold, "user_id", 1))
    np.testing.assert_array_equal(row(model, "item_id", 1), row(before, "item_id", 1))


def test_another_network_takes_what_it_shares(earlier) -> None:
    before, path = earlier
    model = new_model(TOKENS, seed=2, name="deepfm")
    start_from(model, path, TOKENS, sizes_of(TOKENS))
    np.testing.assert_array_equal(row(model, "brand", 1), row(before, "brand", 1))
    assert model.get_layer("pairs") is not None


def test_the_optimizers_slots_follow_the_tokens(earlier) -> None:
    before, path = earlier
    now = {**TOKENS, "item_id": [b"item_id3", b"fresh", b"item_id0"]}
    model = new_model(now, seed=2)
    start = WarmStart(model, path, FEATURES, now, sizes_of(now))
    start.copy_weights()
    compile_model(model, FEATURES, TrainerParameters(model="wide_deep"), Rounds(1, 1, 1), LABELS)
    start.copy_slots()

    def slots(of: keras.Model, index: int) -> np.ndarray:
        tables = of.get_layer("embeddings")
        place = tables.rows[transformed("item_id")]
        name = tables.tables[str(place.width)].name
        return adagrad_slots(of)[name].numpy()[place.start + index]

    np.testing.assert_array_equal(slots(model, 0), slots(before, 3))
    np.testing.assert_array_equal(slots(model, 2), slots(before, 0))
    assert (slots(model, 1) < 1e-5).all()  # a new token takes whole steps
    kernel = model.get_layer("deep_0").kernel.name
    np.testing.assert_array_equal(
        adagrad_slots(model)[kernel].numpy(), adagrad_slots(before)[kernel].numpy()
    )


def of_classes(*classes: str) -> tuple[FeatureSet, keras.Model]:
    features = FeatureSet("topic", (Numeric("a"),), task="multiclass", classes=classes)
    labels = LabelSummary.of(np.arange(len(classes)), classes=len(classes))
    return features, build_model(features, {}, 1, TrainerParameters(), labels)


def test_classes_are_compared_by_name(tmp_path: Path) -> None:
    """The same number of other classes would take the weights without a word."""
    _, before = of_classes("arts", "news", "sport")
    exported = tf.Module()
    exported.model = tf.train.Checkpoint(variables=before.variables)
    tf.saved_model.save(exported, str(tmp_path / "model"))
    features, model = of_classes("arts", "news", "sport")
    WarmStart(model, str(tmp_path / "model"), features, {}, {}).copy_weights()
    for one, other in zip(model.weights, before.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.name)
    for classes in (("news", "arts", "sport"), ("arts", "news", "sport", "weather")):
        features, model = of_classes(*classes)
        start = WarmStart(model, str(tmp_path / "model"), features, {}, {})
        with pytest.raises(TrainingError, match=r"other classes .* trainer.warm_start: false"):
            start.copy_weights()
