"""The metrics for Prometheus, at the path of TensorFlow Serving."""

from __future__ import annotations

from collections.abc import Callable

import prometheus_client
from prometheus_client.core import GaugeMetricFamily

from serving.server.serving_metrics import ServingMetrics

PATH = "/monitoring/prometheus/metrics"
_SECONDS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.045, 0.07, 0.1, 0.2, 0.5, 1, 2.5, 5)


class Metrics:
    """The metrics of one server.

    Attributes:
      serving: Metrics under TensorFlow Serving's names.
    """

    def __init__(self) -> None:
        self.serving = ServingMetrics()
        self.registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "serving_requests", "Requests by outcome", ["model", "method", "code"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = prometheus_client.Histogram(
            "serving_request_seconds", "Time within the server", ["model", "method"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.in_flight = prometheus_client.Gauge(
            "serving_requests_in_flight", "Requests being computed or waiting",
            registry=self.registry,
        )  # fmt: skip
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.GCCollector(registry=self.registry)

    def add_gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge whose value is computed when Prometheus asks."""
        prometheus_client.Gauge(name, text, registry=self.registry).set_function(value)

    def add_versions(self, versions: Callable[[], list[tuple[str, int, str]]]) -> None:
        """Adds serving_version{model, version, label}, which is 1 for each version that answers."""

        class Versions:
            def collect(self) -> list[GaugeMetricFamily]:
                family = GaugeMetricFamily(
                    "serving_version", "Versions that answer", labels=["model", "version", "label"]
                )
                for model, version, label in versions():
                    family.add_metric([model, str(version), label], 1)
                return [family]

        self.registry.register(Versions())  # type: ignore[arg-type]

    def text(self) -> bytes:
        return prometheus_client.generate_latest(self.registry) + self.serving.text().encode()
