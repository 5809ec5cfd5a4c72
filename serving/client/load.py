"""Generates an open load: requests arrive independently of whether the server keeps up.

Arrival times are a Poisson process, drawn in advance. The latency of a request counts from its
arrival time, not from when it was sent. Otherwise a stalled server would also stop the clock
(coordinated omission).
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2

_METHOD = "/tensorflow.serving.PredictionService/Predict"
PERCENTILES = (50, 90, 95, 99, 99.9)


@dataclasses.dataclass(frozen=True)
class LoadResult:
    """The measurements of a load.

    Attributes:
      rate: Intended requests per second.
      seconds: Duration.
      latencies_ms: Latency of each answered request in milliseconds, [n].
      due_s: Arrival time of each answered request in seconds since the start, [n].
      errors: Number of failed requests by code and text.
      versions: Number of answers by version of the model.
    """

    rate: float
    seconds: float
    latencies_ms: np.ndarray
    due_s: np.ndarray
    errors: dict[str, int]
    versions: dict[int, int]

    @property
    def requests(self) -> int:
        return len(self.latencies_ms) + sum(self.errors.values())

    def percentile(self, q: float) -> float:
        """Returns a percentile of the latencies in milliseconds; infinity without answers."""
        return float(np.percentile(self.latencies_ms, q)) if len(self.latencies_ms) else np.inf


def run_load(
    channel: grpc.Channel,
    requests: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    timeout_s: float = 5.0,
    seed: int = 1,
    each_second: Callable[[float], None] = lambda _: None,
) -> LoadResult:
    """Sends serialized PredictRequests in turns.

    Args:
      channel: Channel to the server.
      requests: Serialized requests to send.
      rate: Average requests per second.
      seconds: Duration.
      timeout_s: Time limit of each request, in seconds. A later answer is an error.
      seed: Seed of the arrival times.
      each_second: Function that is called every second with the seconds since the start.
    """
    generator = np.random.default_rng(seed)
    due = np.cumsum(generator.exponential(1 / rate, int(rate * seconds * 1.5) + 100))
    due = due[due < seconds]
    predict = channel.unary_unary(
        _METHOD, response_deserializer=predict_pb2.PredictResponse.FromString
    )
    ended: list[tuple[float, float, str, int]] = []
    open_calls = threading.Semaphore(0)

    def note(start: float, when: float, call: grpc.Future) -> None:
        latency = time.perf_counter() - start - when
        error = call.exception()
        if error is None:
            ended.append((when, latency, "", call.result().model_spec.version.value))
        else:
            ended.append((when, latency, f"{call.code().name}: {call.details()}"[:200], 0))
        open_calls.release()

    start = time.perf_counter() + 0.1
    reported = 0.0
    for number, when in enumerate(due):
        wait = start + when - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        call = predict.future(requests[number % len(requests)], timeout=timeout_s)
        call.add_done_callback(lambda call, when=when: note(start, float(when), call))
        if when - reported >= 1:
            reported = float(when)
            each_second(reported)
    for _ in due:
        open_calls.acquire()
    answered = [(when, latency) for when, latency, error, _ in ended if not error]
    when_due, latency = np.array(answered).reshape(-1, 2).T
    return LoadResult(
        rate=rate,
        seconds=seconds,
        latencies_ms=1000 * latency,
        due_s=when_due,
        errors=dict(collections.Counter(error for *_, error, _ in ended if error)),
        versions=dict(collections.Counter(v for *_, error, v in ended if not error)),
    )
