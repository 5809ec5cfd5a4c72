"""An open load: requests come when they come, whether the server keeps up or not.

Arrivals are a Poisson process, drawn beforehand. The latency of a request counts from the moment it
was due, not from when it was sent, so that a server that stalls does not also stop the clock
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
class Load:
    """What came of it.

    Attributes:
      rate: requests a second that were asked for.
      seconds: how long.
      latencies_ms: of the requests that were answered, [n].
      due_s: when each of those was due, since the start, [n].
      errors: code and text of a refusal -> how many.
      versions: of the model -> answers.
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
        """In milliseconds."""
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
) -> Load:
    """Sends serialized PredictRequests, in turns.

    Args:
      channel: to the server.
      requests: what to send; they are built beforehand, as a ranking service's threads would.
      rate: requests a second, on average.
      seconds: how long.
      timeout_s: for each; then it is an error.
      seed: of the arrivals.
      each_second: called with the seconds since the start.
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
    told = 0.0
    for number, when in enumerate(due):
        wait = start + when - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        call = predict.future(requests[number % len(requests)], timeout=timeout_s)
        call.add_done_callback(lambda call, when=when: note(start, float(when), call))
        if when - told >= 1:
            told = float(when)
            each_second(told)
    for _ in due:
        open_calls.acquire()
    answered = [(when, latency) for when, latency, error, _ in ended if not error]
    when_due, latency = np.array(answered).reshape(-1, 2).T
    return Load(
        rate=rate,
        seconds=seconds,
        latencies_ms=1000 * latency,
        due_s=when_due,
        errors=dict(collections.Counter(error for *_, error, _ in ended if error)),
        versions=dict(collections.Counter(v for *_, error, v in ended if not error)),
    )
