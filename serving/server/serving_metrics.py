"""Metrics under TensorFlow Serving's names, so that its dashboards and alerts keep working.

Names, labels and buckets are those of servables/tensorflow/util.cc, as util/prometheus_exporter.cc
writes them: "/tensorflow/serving/request_count" becomes ":tensorflow:serving:request_count".
"""

from __future__ import annotations

import bisect
import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

from serving.server.errors import Code, ServingError

_MICROSECONDS = [10.0 * 1.8**power for power in range(33)]  # up to about 20 minutes
_EXAMPLES = [2.0**power for power in range(15)]
_Labels = tuple[str, ...]


class ServingMetrics:
    """Counts and times requests by model. Callers must not pass names that clients invent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = _Counter("request_count", ("model_name", "status"))
        self._examples_total = _Counter("request_example_count_total", ("model",))
        self._examples = _Histogram("request_example_counts", ("model",), _EXAMPLES)
        self._latency = _Histogram(
            "request_latency", ("model_name", "API", "entrypoint"), _MICROSECONDS
        )
        self._runtime = _Histogram(
            "runtime_latency", ("model_name", "API", "runtime"), _MICROSECONDS
        )

    @contextlib.contextmanager
    def request(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts a request by its outcome, and times it if it is answered.

        Args:
          model: Name of the model; empty for an unknown one.
          api: Predict, Classify or Regress; for REST, the method in the path.
          entrypoint: GRPC or REST.
        """
        started, status = time.monotonic(), Code.INTERNAL.name
        try:
            yield
            status = Code.OK.name
        except ServingError as error:
            status = error.code.name
            raise
        finally:
            with self._lock:
                self._requests.add((model, status), 1)
                if status == Code.OK.name:
                    seconds = time.monotonic() - started
                    self._latency.add((model, api, entrypoint), seconds * 1e6)

    def add_run(self, model: str, api: str, seconds: float) -> None:
        """Records the time that TensorFlow took for a request."""
        with self._lock:
            self._runtime.add((model, api, "TF1"), seconds * 1e6)

    def add_examples(self, model: str, count: int) -> None:
        """Counts the examples of a request. TensorFlow Serving only does so for MultiInference."""
        with self._lock:
            self._examples.add((model,), count)
            self._examples_total.add((model,), count)

    def text(self) -> str:
        """Returns the metrics in the text format of Prometheus."""
        every = (
            self._examples_total, self._examples, self._requests, self._latency, self._runtime
        )  # fmt: skip
        with self._lock:
            return "".join(f"{line}\n" for one in every for line in one.lines())


class _Counter:
    def __init__(self, name: str, labels: Sequence[str]):
        self._name, self._labels = f":tensorflow:serving:{name}", labels
        self._values: dict[_Labels, int] = {}

    def add(self, labels: _Labels, more: int) -> None:
        self._values[labels] = self._values.get(labels, 0) + more

    def lines(self) -> Iterator[str]:
        if self._values:
            yield f"# TYPE {self._name} counter"
        for values, count in sorted(self._values.items()):
            yield f"{self._name}{{{_pairs(self._labels, values)}}} {count}"


class _Histogram:
    def __init__(self, name: str, labels: Sequence[str], limits: list[float]):
        self._name, self._labels = f":tensorflow:serving:{name}", labels
        self._limits = limits
        self._counts: dict[_Labels, list[int]] = {}
        self._sums: dict[_Labels, float] = {}

    def add(self, labels: _Labels, value: float) -> None:
        counts = self._counts.setdefault(labels, [0] * (len(self._limits) + 1))
        counts[bisect.bisect_right(self._limits, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> Iterator[str]:
        if self._counts:
            yield f"# TYPE {self._name} histogram"
        shown = [f"{limit:g}" for limit in self._limits] + ["+Inf"]
        for values, counts in sorted(self._counts.items()):
            pairs, total = _pairs(self._labels, values), 0
            for limit, count in zip(shown, counts, strict=True):
                total += count
                yield f'{self._name}_bucket{{{pairs},le="{limit}"}} {total}'
            yield f"{self._name}_sum{{{pairs}}} {self._sums[values]:.12g}"
            yield f"{self._name}_count{{{pairs}}} {total}"


def _pairs(names: Sequence[str], values: _Labels) -> str:
    escaped = (
        value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for value in values
    )
    return ",".join(f'{name}="{value}"' for name, value in zip(names, escaped, strict=True))
