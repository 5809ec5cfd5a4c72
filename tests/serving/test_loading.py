"""How a version is loaded: warm-up requests, and computing requests together."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scorer import example, request, tensors
from tensorflow_serving.apis import prediction_log_pb2

from components.model_canary.requests import WARM_UP
from serving.server.errors import Code, ServingError
from serving.server.loaded_model import Batching, LoadedModel
from serving.server.warm_up import warm_up

pytestmark = pytest.mark.component


@pytest.fixture(scope="module")
def model(scorers) -> Iterator[LoadedModel]:
    loaded = LoadedModel(scorers[1], "test", Batching(max_rows=8, threads=1, max_batches=4))
    yield loaded
    loaded.close()


def scores(model: LoadedModel, *examples: bytes) -> list[float]:
    rows = np.array(examples, dtype=object)
    (found,) = model.run("serving_default", {"examples": rows}, ["score"])
    return [float(score) for score in found[:, 0]]


def with_warm_up(scorers, folder: Path, *logs: bytes) -> Path:
    shutil.copytree(scorers[1], folder / "1")
    path = folder / "1" / WARM_UP
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log)
    return folder / "1"


def predict_log(asked) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(asked)
    return bytes(log.SerializeToString())


def test_rows_of_several_requests_are_computed_together_and_come_back_apart(
    model: LoadedModel,
) -> None:
    found: dict[int, list[float]] = {}

    def ask(number: int) -> None:
        rows = [example(float(number * 10 + n), "x") for n in range(1 + number % 3)]
        found[number] = scores(model, *rows)

    threads = [threading.Thread(target=ask, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [float(n * 10 + k) for k in range(1 + n % 3)] for n in range(4)}


def test_signatures_are_batched_where_rows_can_be_joined(model: LoadedModel) -> None:
    joined = {name for name, outputs in model._batched.items() if outputs is not None}
    assert joined == {"serving_default", "tensors", "regress", "classify", "guarded", "slow"}


def test_a_batch_that_overflows_the_queue_is_refused(model: LoadedModel) -> None:
    errors: list[ServingError] = []
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(model.run("slow", {"x": np.ones(8, np.float32)}, ["y"]))
        except ServingError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) >= 4
    assert {error.code for error in errors} == {Code.RESOURCE_EXHAUSTED}


def test_without_batching_it_computes_the_same(scorers) -> None:
    alone = LoadedModel(scorers[1], "alone", None)
    assert scores(alone, example(3.0, "good"), example(4.0, "x")) == [103.0, 4.0]
    alone.close()


def test_warm_up_requests_are_run(scorers, model: LoadedModel, tmp_path: Path) -> None:
    logs = [predict_log(request(example())), predict_log(tensors(weight=[1.0], kind=[b"x"]))]
    assert warm_up(model, with_warm_up(scorers, tmp_path, *logs)) == 2
    assert warm_up(model, scorers[1]) == 0


def test_warm_up_requests_that_the_model_refuses(
    scorers, model: LoadedModel, tmp_path: Path
) -> None:
    wrong = predict_log(tensors(weight=[1.0]))
    with pytest.raises(ServingError, match="Missing but required"):
        warm_up(model, with_warm_up(scorers, tmp_path / "a", wrong))
    with pytest.raises(ValueError, match="is a None"):
        warm_up(model, with_warm_up(scorers, tmp_path / "b", b""))
    damaged = with_warm_up(scorers, tmp_path / "c", wrong)
    (damaged / WARM_UP).write_bytes((damaged / WARM_UP).read_bytes()[:-3])
    with pytest.raises(ValueError, match="is damaged"):
        warm_up(model, damaged)
