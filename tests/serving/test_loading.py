"""How a loaded version computes requests, alone and in batches."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf

from serving.server import loaded_model
from serving.server.errors import Code, ServingError
from serving.server.loaded_model import Batching, LoadedModel
from tests.serving.scorer import example

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
    joined = {name for batched, name in model.calls if batched}
    assert joined == {"serving_default", "tensors", "regress", "classify", "guarded", "slow"}


def test_a_batch_that_overflows_the_queue_is_rejected(model: LoadedModel) -> None:
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


def test_only_compilation_has_a_lower_priority(scorers, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: dict[int, int] = {}  # thread -> its priority
    make = loaded_model.session_call

    def noted(*arguments: Any) -> Any:
        thread = threading.get_native_id()
        compiled[thread] = os.getpriority(os.PRIO_PROCESS, thread)
        return make(*arguments)

    monkeypatch.setattr(loaded_model, "session_call", noted)
    loaded = LoadedModel(scorers[1], "priorities", Batching(), low_priority=True)
    with loaded.warming_up(batched=True):
        scores(loaded, example())
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert set(compiled.values()) == {min(usual + 10, 19)}
    # Python has joined the compiling thread, but a busy machine lists it for a while.
    for thread in {int(task.name) for task in Path("/proc/self/task").iterdir()} - set(compiled):
        with contextlib.suppress(ProcessLookupError):  # the thread has just ended
            assert os.getpriority(os.PRIO_PROCESS, thread) == usual
    loaded.close()


def test_scores_are_the_same_without_batching(scorers) -> None:
    alone = LoadedModel(scorers[1], "alone", None)
    assert scores(alone, example(3.0, "good"), example(4.0, "x")) == [103.0, 4.0]
    alone.close()


def together(x: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns x and the number of rows that were computed with it."""
    return {"x": x, "rows": tf.fill(tf.shape(x), tf.shape(x)[0])}


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[LoadedModel]:
    """Loads a model of `together` whose batches wait for six rows."""
    function = tf.function(together, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    module = tf.Module()
    module.together = function
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"together": function})
    batching = Batching(max_rows=6, threads=1, wait_us=20_000_000)
    loaded = LoadedModel(tmp_path / "1", "counting", batching)
    yield loaded
    loaded.close()


def ask_together(model: LoadedModel, *values: float) -> tuple[list[float], list[int]]:
    given = {"x": np.array(values, np.float32)}
    x, rows = model.run("together", given, ["x", "rows"])
    return x.tolist(), rows.tolist()


def test_consecutive_requests_do_not_wait_for_a_batch(counting: LoadedModel) -> None:
    assert [ask_together(counting, n, n) for n in range(3)] == [([n, n], [2, 2]) for n in range(3)]


def test_concurrent_requests_are_computed_as_one_batch(counting: LoadedModel) -> None:
    begun, go_on = threading.Event(), threading.Event()
    alone = counting.calls[False, "together"]

    def held(*rows: np.ndarray) -> Any:
        begun.set()
        assert go_on.wait(60)
        return alone(*rows)

    counting.calls[False, "together"] = held
    with ThreadPoolExecutor(7) as threads:
        first = threads.submit(ask_together, counting, 0.5)
        assert begun.wait(60)
        others = [threads.submit(ask_together, counting, n, n + 10) for n in (1, 2, 3)]
        found = [other.result(60) for other in others]
        go_on.set()
        assert first.result(60) == ([0.5], [1])
    assert found == [([n, n + 10], [6, 6]) for n in (1, 2, 3)]  # each gets its rows of one batch
    assert counting.running == 0


def test_an_empty_request_gets_empty_outputs(counting: LoadedModel) -> None:
    with counting.warming_up(batched=True):
        assert ask_together(counting) == ([], [])


WRONG = {
    "another type": ("tensors", "weight", np.ones(1)),
    "whole numbers": ("tensors", "weight", np.ones(1, np.int64)),
    "booleans": ("tensors", "weight", np.ones(1, bool)),
    "text for numbers": ("tensors", "weight", np.array([b"1"], object)),
    "numbers for text": ("tensors", "kind", np.ones(1, np.float32)),
    "an object that is no text": ("tensors", "kind", np.array([1.5], object)),
    "bytes in another order": ("tensors", "weight", np.ones(1, ">f4")),
    "empty, of another type": ("tensors", "kind", np.zeros(0)),
    "a time": ("tensors", "weight", np.array(["2026-11-29"], "datetime64[D]")),
}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(("signature", "alias", "wrong"), WRONG.values(), ids=WRONG)
def test_an_array_of_another_type_is_rejected_by_name(
    model: LoadedModel, signature: str, alias: str, wrong: np.ndarray, batched: bool
) -> None:
    good = {"weight": np.ones(1, np.float32), "kind": np.array([b"x"], object)}
    with model.warming_up(batched), pytest.raises(ServingError) as raised:
        model.run(signature, {**good, alias: wrong}, ["score"])
    assert raised.value.code == Code.INVALID_ARGUMENT
    assert f'input "{alias}"' in raised.value.message or "string tensor" in raised.value.message
    (found,) = model.run(signature, good, ["score"])
    assert found == [1.0]


def test_rows_whose_shape_differs_from_the_signature_are_not_batched(
    model: LoadedModel,
) -> None:
    def table(rows: int) -> list[list[float]]:
        given = {"weight": np.ones([rows, 1], np.float32), "kind": np.full(rows, b"x", object)}
        (found,) = model.run("tensors", given, ["score"])
        return found.tolist()

    with model.warming_up(batched=True), ThreadPoolExecutor(8) as threads:
        sizes = [1 + n % 3 for n in range(60)]
        assert [*threads.map(table, sizes)] == [[[1.0] * n] * n for n in sizes]


def test_a_shape_that_the_graph_cannot_compute_is_rejected(model: LoadedModel) -> None:
    for batched in (False, True):
        for weight in (np.ones(2, np.float32), np.ones([2, 3], np.float32)):
            given = {"weight": weight, "kind": np.full(5, b"x", object)}
            with model.warming_up(batched), pytest.raises(ServingError) as raised:
                model.run("tensors", given, ["score"])
            assert raised.value.code == Code.INVALID_ARGUMENT
            assert raised.value.message.startswith("Incompatible shapes")


@pytest.mark.parametrize("batched", [False, True])
def test_an_error_is_one_line_without_node_names(model: LoadedModel, batched: bool) -> None:
    with model.warming_up(batched), pytest.raises(ServingError) as raised:
        model.run("guarded", {"weight": np.array([1, np.nan], np.float32)}, ["score"])
    assert raised.value.code == Code.INVALID_ARGUMENT
    assert "example 1: weight must be a finite number. Received: nan." in raised.value.message
    assert "{{" not in raised.value.message
    assert "\n" not in raised.value.message


def test_an_error_does_not_show_tensorflows_function_names() -> None:
    text = "{{function_node __inference_wrapper_12}} the table is gone\n\t [[{{node table}}]]"
    error = loaded_model.request_error(tf.errors.FailedPreconditionError(None, None, text))
    assert error.message.endswith("the table is gone")
    assert "{{" not in error.message


def _without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tf.compat.v1.Session.__mro__[1], "_make_callable_from_options")


def _with_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    make = lambda session, options: lambda *feeds: {"outputs": feeds}  # noqa: E731
    monkeypatch.setattr(tf.compat.v1.Session, "_make_callable_from_options", make)


@pytest.mark.parametrize("change", [_without, _with_another_result])
def test_scores_are_the_same_without_tensorflows_private_callables(
    scorers, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    change(monkeypatch)
    monkeypatch.setattr(loaded_model, "has_callables", loaded_model.has_callables.__wrapped__)
    other = LoadedModel(scorers[1], "other", Batching())
    try:
        assert scores(other, example(3.0, "good"), example(4.0, "x")) == [103.0, 4.0]
        with other.warming_up(batched=True):
            assert scores(other, example(3.0, "good"), example(4.0, "x")) == [103.0, 4.0]
        with pytest.raises(ServingError, match="example 0: weight must be a finite number"):
            other.run("guarded", {"weight": np.array([np.inf], np.float32)}, ["score"])
        wrong = {"weight": np.ones(1), "kind": np.array([b"x"], object)}
        with pytest.raises(ServingError, match="is an array of <f8"):
            other.run("tensors", wrong, ["score"])
    finally:
        other.close()


def test_this_tensorflow_has_callables() -> None:
    assert loaded_model.has_callables()


def test_an_output_that_is_an_input_and_outputs_that_are_one_tensor(tmp_path: Path) -> None:
    builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "1"))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], "x")
        tensors = {"same": x, "twice": 2 * x}
        tensors["again"] = tensors["twice"]
        info = tf.compat.v1.saved_model.build_tensor_info
        signature = tf.compat.v1.saved_model.build_signature_def(
            {"x": info(x)}, {name: info(tensor) for name, tensor in tensors.items()}, "predict"
        )
        builder.add_meta_graph_and_variables(session, ["serve"], {"all": signature})
        builder.save()
    loaded = LoadedModel(tmp_path / "1", "plain", Batching())
    found = loaded.run("all", {"x": np.array([1, 2], np.float32)}, ["twice", "same", "again"])
    assert [array.tolist() for array in found] == [[2, 4], [1, 2], [2, 4]]
    loaded.close()


@pytest.mark.slow
def test_20_000_requests_do_not_grow_the_memory(model: LoadedModel) -> None:
    process, rows = psutil.Process(), [example(float(n), "x" * 1000) for n in range(8)]
    for batched in (False, True):
        with model.warming_up(batched):
            for _ in range(2_000):
                scores(model, *rows)
            before = process.memory_info().rss
            for _ in range(20_000):
                scores(model, *rows)
            assert process.memory_info().rss - before < 16 << 20  # of 20,000 * 8 KB = 160 MB
