"""What a served CTR model answers to numbers that no training has seen: a score, or an error."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tf_keras as keras
from google.protobuf import text_format
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from applications.ctr.aggregations import RECENT, RECENT_HOURS, WINDOW_COUNTS
from applications.ctr.features import FEATURES
from applications.ctr.request_features import encoded
from base.model_outputs import DECISION, DECISION_FILE
from serving.server.errors import ServingError
from serving.server.loaded_model import DEFAULT_SIGNATURE, Batching, LoadedModel
from tabular.decision import Decision, choose
from tabular.decision_rule import Costs, DecisionRule
from tabular.entry_points import dense_width, transformed_sizes
from tabular.keras_model import build_model
from tabular.labels import LabelSummary
from tabular.metrics.scores import ScoreCounts
from tabular.networks import NETWORKS
from tabular.parameters import TrainerParameters
from tabular.preprocessing import DENSE_VECTOR, preprocess
from tabular.signatures import ServedModel
from tabular.training.tracing import without_autograph

LABELS = LabelSummary(100, 100, 0.1, 9.0, (90, 10))
pytestmark = pytest.mark.component

SCHEMA = text_format.Parse(
    (Path(__file__).parents[2] / "schemas/ctr.pbtxt").read_text(), schema_pb2.Schema()
)
SPEC = schema_utils.schema_as_feature_spec(SCHEMA).feature_spec
ASKED = {n: spec for n, spec in SPEC.items() if n not in FEATURES.not_learned}
NAN, INF = float("nan"), float("inf")
(LARGEST,) = struct.unpack("<f", struct.pack("<I", 0x7F7FFFFF))  # of 32 bits
LARGEST_INT = 2**63 - 1
Score = Callable[..., float]


def row(**changed: Any) -> dict[str, Any]:
    """The raw features of an ordinary example."""
    ordinary = {tf.string: "a", tf.int64: 1, tf.float32: 0.5}
    found = {
        name: [ordinary[spec.dtype]] * 2 if _is_list(name) else ordinary[spec.dtype]
        for name, spec in ASKED.items()
    }
    return {**found, **changed}


def _is_list(name: str) -> bool:
    return isinstance(SPEC[name], tf.io.VarLenFeature)


def _training_rows() -> list[dict[str, Any]]:
    """Rows that the schema lets pass, the largest numbers among them."""
    rows = []
    for number in range(60):
        values = {"word": "abc"[number % 3], "whole": number % 7, "real": number / 60}
        if number == 59:
            values |= {"whole": LARGEST_INT, "real": LARGEST}
        kinds = {tf.string: "word", tf.int64: "whole", tf.float32: "real"}
        made = {name: values[kinds[spec.dtype]] for name, spec in SPEC.items()}
        made[FEATURES.label] = number % 2
        rows.append({name: [value] for name, value in made.items()})
    return rows


@pytest.fixture(scope="module")
def transform(tmp_path_factory: pytest.TempPathFactory) -> tft.TFTransformOutput:
    folder = tmp_path_factory.mktemp("transform")
    with tft_beam.Context(str(folder / "scratch")):
        rows = (_training_rows(), dataset_metadata.DatasetMetadata(SCHEMA))
        function = rows | tft_beam.AnalyzeDataset(functools.partial(preprocess, features=FEATURES))
        function | tft_beam.WriteTransformFn(str(folder / "graph"))
    (folder / "graph/metadata").mkdir()
    (folder / "graph/metadata/schema.pbtxt").write_text(text_format.MessageToString(SCHEMA))
    return tft.TFTransformOutput(str(folder / "graph"))


def network(transform: tft.TFTransformOutput, name: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    parameters = TrainerParameters(model=name)
    return build_model(
        FEATURES, transformed_sizes(transform, FEATURES), dense_width(transform), parameters, LABELS
    )


@pytest.fixture(scope="module")
def exported(transform: tft.TFTransformOutput, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "1"
    ServedModel(network(transform, "din"), transform, FEATURES).save(str(folder))
    return folder


@pytest.fixture(scope="module")
def model(exported: Path) -> LoadedModel:
    return LoadedModel(exported, "served", Batching())


def ask(model: LoadedModel, signature: str, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The outputs of a signature that takes serialized examples."""
    ((alias, _),) = model.signatures[signature].inputs.items()
    outputs = sorted(model.signatures[signature].outputs)
    serialized = np.array([encoded(one) for one in rows], dtype=object)
    return dict(zip(outputs, model.run(signature, {alias: serialized}, outputs), strict=True))


def raw_columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The inputs of `raw_features`."""
    types = {tf.string: object, tf.int64: np.int64, tf.float32: np.float32}
    return {
        name: np.array([one[name] for one in rows], types[spec.dtype])
        for name, spec in ASKED.items()
    }


def ask_with_tensors(model: LoadedModel, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The outputs of `raw_features`."""
    (found,) = model.run("raw_features", raw_columns(rows), [FEATURES.prediction])
    return {FEATURES.prediction: found}


def scores(model: LoadedModel, *rows: dict[str, Any]) -> list[float]:
    found: list[float] = ask(model, DEFAULT_SIGNATURE, [*rows])[FEATURES.prediction][:, 0].tolist()
    return found


@pytest.mark.parametrize(("value", "shown"), [(NAN, "nan"), (INF, "inf"), (-INF, "-inf")])
@pytest.mark.parametrize("name", ["price", "age", "user_ctr_1h", RECENT_HOURS])
def test_a_feature_that_is_not_finite_is_an_error_that_names_it(
    model: LoadedModel, name: str, value: float, shown: str
) -> None:
    wrong = row(**{name: [0.5, value] if _is_list(name) else value})
    rows = [row(), row(), wrong, row()]
    wanted = f"example 2: {name} must be a finite number. Received: {shown}. "
    for signature in (DEFAULT_SIGNATURE, "regress", "classify", "transform_features"):
        with pytest.raises(ServingError, match=wanted):
            ask(model, signature, rows)
    with pytest.raises(ServingError, match=wanted):
        ask_with_tensors(model, rows)


def test_every_float_is_guarded(model: LoadedModel) -> None:
    floats = [name for name, spec in ASKED.items() if spec.dtype == tf.float32]
    assert len(floats) > 20
    for name in floats:
        with pytest.raises(ServingError, match=f"example 0: {name} must be a finite number"):
            scores(model, row(**{name: [NAN, 0.5] if _is_list(name) else NAN}))


@pytest.mark.parametrize("name", ["price", "item_age_hours", *WINDOW_COUNTS])
def test_what_cannot_be_negative_counts_as_zero_as_the_etl_has_it(
    model: LoadedModel, name: str
) -> None:
    negative, zero = scores(model, row(**{name: -5}), row(**{name: 0}))
    assert 0 < negative == zero < 1


@pytest.mark.parametrize("value", [1e38, -1e38, LARGEST, -LARGEST, 1e-45])
def test_any_finite_value_is_scored(model: LoadedModel, value: float) -> None:
    floats = [name for name, spec in ASKED.items() if spec.dtype == tf.float32]
    rows = [row(**{n: [value] * 2 if _is_list(n) else value}) for n in floats]
    assert all(0 < score < 1 for score in scores(model, *rows))
    tensors = ask_with_tensors(model, rows)[FEATURES.prediction][:, 0]
    np.testing.assert_allclose(tensors, scores(model, *rows), rtol=1e-5)


def test_an_empty_list_is_scored_and_an_empty_feature_is_named(model: LoadedModel) -> None:
    never: dict[str, Any] = {name: [] for name in (*RECENT, RECENT_HOURS)}
    assert 0 < scores(model, row(**never))[0] < 1
    with pytest.raises(ServingError, match="price"):
        scores(model, row(), row(price=[]))


def test_a_batch_job_is_stopped_as_a_server_is(exported: Path) -> None:
    """TFMA and TFX's BulkInferrer load a model this way."""
    score = tf.saved_model.load(str(exported)).signatures[DEFAULT_SIGNATURE]
    score(examples=tf.constant([encoded(row())]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="example 1: price must be a finite"):
        score(examples=tf.constant([encoded(row()), encoded(row(price=NAN))]))


def test_a_score_that_is_not_finite_is_an_error_that_names_the_example(model: LoadedModel) -> None:
    transformed = ask(model, "transform_features", [row(), row(), row()])
    inputs = {name: transformed[name] for name in model.signatures["score_transformed"].inputs}
    inputs[DENSE_VECTOR][1] = NAN
    wanted = (
        f"example 1: {FEATURES.prediction} must be a finite number. Received: nan. .* roll back"
    )
    with pytest.raises(ServingError, match=wanted):
        model.run("score_transformed", inputs, [FEATURES.prediction])


class Deciding(NamedTuple):
    """A served model that decides, and the rows that its threshold was chosen on."""

    model: LoadedModel
    folder: Path
    decision: Decision
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def deciding(
    transform: tft.TFTransformOutput,
    model: LoadedModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Deciding:
    """The same network with a threshold that is exactly one of the scores of these rows."""
    rows = [row(price=number / 7) for number in range(40)]
    scores = ask(model, DEFAULT_SIGNATURE, rows)[FEATURES.prediction][:, 0]
    rule = DecisionRule(threshold=float(np.sort(scores)[-4]), costs=Costs(review=1, missed=9))
    decision = choose(rule, ScoreCounts.count(np.arange(40) % 2, scores))
    folder = tmp_path_factory.mktemp("deciding") / "1"
    ServedModel(network(transform, "din"), transform, FEATURES, decision).save(str(folder))
    return Deciding(LoadedModel(folder, "deciding", Batching()), folder, decision, rows)


def test_a_score_that_equals_the_threshold_is_reviewed(
    deciding: Deciding,
) -> None:
    """In 32 bits, where a neighbour of the threshold is below it, by every way to ask."""
    model, _, decision, rows = deciding
    threshold = np.float32(decision.threshold)
    assert decision.threshold == threshold
    transformed = ask(model, "transform_features", rows)
    inputs = {name: transformed[name] for name in model.signatures["score_transformed"].inputs}
    outputs = [DECISION, FEATURES.prediction]
    for reviewed, score in (
        ask(model, DEFAULT_SIGNATURE, rows).values(),
        model.run("score_transformed", inputs, outputs),
        model.run("raw_features", raw_columns(rows), outputs),
    ):
        assert reviewed.dtype == np.int64
        assert reviewed.shape == score.shape == (40, 1)
        np.testing.assert_array_equal(reviewed, score >= threshold)
    reviewed, score = ask(model, DEFAULT_SIGNATURE, rows).values()
    assert threshold in score
    assert reviewed.sum() == 4 == decision.chosen.share * 40
    assert score[reviewed == 1].min() == threshold


def test_servings_own_methods_have_no_decision(
    deciding: Deciding,
) -> None:
    """TensorFlow Serving rejects a regression with a second output."""
    found = {name: ask(deciding.model, name, deciding.rows) for name in ("regress", "classify")}
    assert found["regress"].keys() == {"outputs"}
    assert found["classify"].keys() == {"classes", "scores"}


def test_how_the_decision_was_chosen_is_beside_the_model(
    deciding: Deciding,
) -> None:
    written = json.loads((deciding.folder / DECISION_FILE).read_text("utf-8"))
    assert written == deciding.decision.to_json()
    assert written["costs"] == {"review": 1, "missed": 9}
    assert (written["chosen_by"], written["rows"], written["positives"]) == ("threshold", 40, 20)


finite = {
    tf.string: st.sampled_from(["a", "b", "", "new"]),
    tf.int64: st.integers(-LARGEST_INT - 1, LARGEST_INT) | st.sampled_from([0, LARGEST_INT]),
    tf.float32: st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.sampled_from([LARGEST, -LARGEST, -1.0, 0.0]),
}
raw_rows = st.fixed_dictionaries(
    {
        name: st.lists(finite[spec.dtype], max_size=12) if _is_list(name) else finite[spec.dtype]
        for name, spec in ASKED.items()
    }
)


def test_whatever_is_finite_is_transformed_to_finite_numbers_and_scored(
    transform: tft.TFTransformOutput, model: LoadedModel
) -> None:
    networks = [network(transform, name) for name in NETWORKS]

    def by_every_network(rows: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        return [one({name: rows[name] for name in one.input}, training=False) for one in networks]

    every = tf.function(without_autograph(by_every_network), reduce_retracing=True)

    @seed(7)
    @settings(max_examples=150, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(rows=st.lists(raw_rows, min_size=1, max_size=2))
    def check(rows: list[dict[str, Any]]) -> None:
        transformed = ask(model, "transform_features", rows)
        for values in transformed.values():
            assert values.dtype.kind != "f" or np.isfinite(values).all()
        wanted = {name: transformed[name] for one in networks for name in one.input}
        for answers in (*every(wanted), scores(model, *rows)):
            assert all(0 <= answer <= 1 for answer in np.ravel(answers))

    check()
