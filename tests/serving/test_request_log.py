"""The request log: the fields of a line, when a line is durable, and recovery after a crash."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from applications.ctr.page_feedback import events_of_request
from base.foreign_json import parse_object
from serving.request_log.reader import read_predictions
from serving.request_log.writer import RequestLog, close_abandoned_files
from serving.server.core import Call
from streaming.feedback.rejected import RequestLineError
from tests.serving.running_server import flags_of, running, wait_for
from tests.serving.scorer import NAME, example, request, tensors

SENT: dict[str, Any] = {"user_id": [b"u7"], "item_id": [b"i1"]}


def answer_to(asked: Any, scores: list[float]) -> predict_pb2.PredictResponse:
    answer = predict_pb2.PredictResponse()
    answer.model_spec.CopyFrom(asked.model_spec)
    answer.model_spec.version.value = 3
    proto = answer.outputs["score"]
    proto.dtype = 1
    proto.tensor_shape.dim.add(size=len(scores))
    proto.float_val.extend(scores)
    return answer


def lines_of(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*/*/*.json.gz"))
    return [json.loads(line) for file in files for line in gzip.open(file)]


def a_log(folder: Path, rate: float = 1.0) -> RequestLog:
    return RequestLog(folder, rate=rate, keys=("user_id", "item_id"), seed=1)


@pytest.mark.unit
def test_a_line_has_the_request_and_its_answer(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    examples = [example(1.0, **SENT), example(2.0, user_id=[b"u7"], item_id=[b"i2"])]
    asked = request(*examples, label="canary")
    call = Call(request_id="r1", context='{"arm": "canary", "positions": [1, 2]}')
    log.add(call, asked, answer_to(asked, [0.25, 0.5]))
    log.close()
    (line,) = lines_of(tmp_path)
    assert abs(line.pop("timestamp_ms") / 1000 - time.time()) < 60
    encoded = line.pop("examples")
    assert len(encoded) == 2
    assert line == {
        "request_id": "r1",
        "model": NAME,
        "version": 3,
        "label": "canary",
        "signature": "",
        "context": {"arm": "canary", "positions": [1, 2]},
        "scores": [0.25, 0.5],
        "keys": {"user_id": ["u7", "u7"], "item_id": ["i1", "i2"]},
    }
    (found,) = read_predictions(tmp_path)
    assert [*found.examples] == examples
    assert found.scores == (0.25, 0.5)
    assert found.decisions is None
    assert [*read_predictions(tmp_path, version=4)] == []


@pytest.mark.unit
def test_a_decision_is_logged_beside_the_score(tmp_path: Path) -> None:
    """`decision` comes first by name, and is not taken for a score."""
    log, asked = a_log(tmp_path), request(example(1.0, **SENT), example(2.0, **SENT))
    both, filtered = answer_to(asked, [0.25, 0.5]), answer_to(asked, [])
    del filtered.outputs["score"]  # as with an output_filter
    for answer in (both, filtered):
        answer.outputs["decision"].CopyFrom(tf.make_tensor_proto([[0], [1]], tf.int64))
        log.add(Call(request_id="", context=""), asked, answer)
    log.close()
    first, second = lines_of(tmp_path)
    assert (first["scores"], first["decisions"]) == ([0.25, 0.5], [0, 1])
    assert (second["scores"], second["decisions"]) == ([], [0, 1])
    assert [one.decisions for one in read_predictions(tmp_path)] == [(0, 1), (0, 1)]


@pytest.mark.unit
def test_a_request_of_tensors_is_logged_whole(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    asked = tensors(weight=[1.0], kind=[b"x"])
    log.add(Call(), asked, answer_to(asked, [1.0]))
    log.close()
    (line,) = lines_of(tmp_path)
    assert predict_pb2.PredictRequest.FromString(base64.b64decode(line["inputs"])) == asked
    assert line["request_id"]


@pytest.mark.unit
def test_a_request_whose_feature_name_is_not_utf8_is_logged_whole(tmp_path: Path) -> None:
    """TensorFlow's parser accepts it and protobuf's does not."""
    log = a_log(tmp_path)
    asked = request(example(1.0, other=[b"x"]).replace(b"other", b"oth\xffr"))
    log.add(Call(), asked, answer_to(asked, [1.0]))
    log.close()
    (line,) = lines_of(tmp_path)
    assert base64.b64decode(line["inputs"]) == asked.SerializeToString()
    assert log.dropped == 0


@pytest.mark.unit
def test_string_outputs_and_excess_values_do_not_prevent_logging(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    asked = request(example(1.0, **SENT))
    (proto,) = asked.inputs.values()
    proto.string_val.append(b"one too many")  # TensorFlow Serving accepts it, and so do we
    answer = answer_to(asked, [0.25])
    answer.outputs["aname"].CopyFrom(tf.make_tensor_proto(["first by name"]))
    log.add(Call(), asked, answer)
    log.close()
    (line,) = lines_of(tmp_path)
    assert line["scores"] == [0.25]
    assert log.dropped == 0


@pytest.mark.unit
def test_a_context_that_is_not_json_and_nan_scores_are_logged(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    asked = request(b"", example(kind="\x00é"))
    log.add(Call(context="no json"), asked, answer_to(asked, [float("nan"), 1.0]))
    log.close()
    (line,) = lines_of(tmp_path)
    assert line["context"] == "no json"
    assert line["keys"] == {"user_id": [None, None], "item_id": [None, None]}


@pytest.mark.unit
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_key_that_is_no_finite_number_is_null_in_valid_json(
    tmp_path: Path, number: float
) -> None:
    """A key need not be an input of the model, so nothing else may have looked at it."""
    log = a_log(tmp_path)
    odd = tf.train.Example.FromString(example(1.0, user_id=[b"u7"]))
    odd.features.feature["item_id"].float_list.value.append(number)
    asked = request(odd.SerializeToString(), example(2.0, **SENT))
    log.add(Call(request_id="r1"), asked, answer_to(asked, [0.25, 0.5]))
    log.add(Call(request_id="r2"), asked, answer_to(asked, [0.25, number]))
    log.close()
    (file,) = tmp_path.glob("*/*/*.json.gz")
    first, second = map(parse_object, gzip.decompress(file.read_bytes()).splitlines())
    assert first["keys"] == {"user_id": ["u7", "u7"], "item_id": [None, "i1"]}
    assert second["scores"] == [0.25, None]
    (read,) = read_predictions(tmp_path)  # a line without a score is reported, and skipped
    assert (read.request_id, read.keys) == ("r1", first["keys"])
    context = {"shown": ["a", "b"], "positions": [1, 2], "propensities": [1.0, 1.0]}
    with pytest.raises(RequestLineError, match=r"keys\.item_id\.0: Input should be a valid string"):
        events_of_request({**first, "context": context}, None)


@pytest.mark.unit
def test_the_rate_is_the_share_of_logged_requests(tmp_path: Path) -> None:
    log = a_log(tmp_path, rate=0.2)
    asked = request(example())
    for _ in range(1000):
        log.add(Call(), asked, answer_to(asked, [1.0]))
    log.close()
    assert 150 < len(lines_of(tmp_path)) < 250
    assert log.dropped == 0


@pytest.mark.unit
def test_requests_beyond_the_queue_are_dropped_and_counted(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    asked = request(*[example()] * 100)
    answer = answer_to(asked, [1.0] * 100)
    started = time.monotonic()
    for _ in range(3000):
        log.add(Call(), asked, answer)
    assert time.monotonic() - started < 3  # it did not wait
    log.close()
    assert log.dropped > 0
    assert len(lines_of(tmp_path)) + log.dropped == 3000


@pytest.mark.unit
def test_hours_are_closed_as_they_end(tmp_path: Path, monkeypatch) -> None:
    now = [dt.datetime(2026, 3, 1, 10, 59, 59, tzinfo=dt.timezone.utc).timestamp()]
    monkeypatch.setattr("serving.request_log.writer.time.time", lambda: now[0])
    log = a_log(tmp_path)
    asked = request(example())
    log.add(Call(request_id="a"), asked, answer_to(asked, [1.0]))
    wait_for(lambda: list(tmp_path.glob(".open-2026-03-01-10-*")))
    assert lines_of(tmp_path) == []
    now[0] += 1
    # The hour is closed although no further request comes.
    wait_for(lambda: list(tmp_path.glob("2026-03-01/10/*.json.gz")))
    log.add(Call(request_id="b"), asked, answer_to(asked, [1.0]))
    log.close()
    assert len(list(tmp_path.glob("2026-03-01/11/*.json.gz"))) == 1
    assert [line["request_id"] for line in lines_of(tmp_path)] == ["a", "b"]


@pytest.mark.unit
def test_files_left_by_a_crash_are_cut_to_whole_lines_and_closed(tmp_path: Path) -> None:
    left = tmp_path / ".open-2026-03-01-10-abc.json"
    left.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a": ')
    (tmp_path / ".open-2026-03-01-11-abc.json").write_bytes(b'{"a": ')
    (closed,) = close_abandoned_files(tmp_path)
    assert closed == tmp_path / "2026-03-01/10/abc.json.gz"
    assert lines_of(tmp_path) == [{"a": 1}, {"a": 2}]
    assert list(tmp_path.glob(".open-*")) == []


@pytest.mark.unit
def test_a_file_that_another_server_writes_is_not_closed(tmp_path: Path) -> None:
    first = a_log(tmp_path)
    asked = request(example())
    first.add(Call(request_id="a"), asked, answer_to(asked, [1.0]))
    wait_for(lambda: list(tmp_path.glob(".open-*")))
    second = a_log(tmp_path)
    second.close()
    first.close()
    assert [line["request_id"] for line in lines_of(tmp_path)] == ["a"]


@pytest.mark.unit
def test_logging_resumes_after_the_disk_was_full(tmp_path: Path, monkeypatch) -> None:
    log = a_log(tmp_path)
    asked = request(example())
    sync = os.fsync

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.request_log.writer.os.fsync", full)
    log.add(Call(request_id="a"), asked, answer_to(asked, [1.0]))
    wait_for(lambda: log.problem)
    monkeypatch.setattr("serving.request_log.writer.os.fsync", sync)
    wait_for(lambda: not log.problem)
    log.add(Call(request_id="b"), asked, answer_to(asked, [1.0]))
    log.close()
    assert [line["request_id"] for line in lines_of(tmp_path)] == ["a", "b"]


@pytest.mark.component
def test_a_killed_server_loses_at_most_the_last_second(scorers, tmp_path: Path) -> None:
    base = tmp_path / NAME
    base.mkdir()
    (base / "1").symlink_to(scorers[1])
    log = tmp_path / "requests"
    flags = [*flags_of(base), "--request-log", str(log)]
    answered: list[tuple[str, float]] = []
    with running(tmp_path, *flags) as server:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            identity = f"r{len(answered)}"
            server.prediction.Predict(
                request(example(**SENT)), timeout=20, metadata=[("x-request-id", identity)]
            )
            answered.append((identity, time.monotonic()))
            time.sleep(0.02)  # if the log cannot keep up, waiting lines may be older than a second
        killed = time.monotonic()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
    with running(tmp_path, *flags) as server:
        assert list(log.glob(".open-*")) == []
    logged = {line["request_id"] for line in lines_of(log)}
    lost = [killed - when for identity, when in answered if identity not in logged]
    assert max(lost, default=0) < 1.5  # a second, plus the delay of a busy machine
    assert len(logged) > len(answered) / 3
