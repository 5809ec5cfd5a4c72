"""Metrics under TensorFlow Serving's names, as its util/prometheus_exporter_test.cc has them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.server.errors import ServingError, invalid
from serving.server.serving_metrics import ServingMetrics

pytestmark = pytest.mark.unit
PREFIX = ":tensorflow:serving:"


def samples(metrics: ServingMetrics) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text())
        for sample in family.samples
    }


def test_nothing_is_written_before_the_first_request() -> None:
    assert ServingMetrics().text() == ""


def test_requests_are_counted_by_outcome_and_timed_if_answered() -> None:
    """http_server.cc and prediction_service_impl.cc: RecordRequestLatency only if status.ok()."""
    metrics = ServingMetrics()
    with metrics.request("a", "Predict", "GRPC"):
        pass
    with pytest.raises(ServingError), metrics.request("a", "Predict", "GRPC"):
        raise invalid("no")
    with pytest.raises(KeyError), metrics.request("", "predict", "REST"):
        raise KeyError
    for model, status in (("a", "OK"), ("a", "INVALID_ARGUMENT"), ("", "INTERNAL")):
        line = f'{PREFIX}request_count{{model_name="{model}",status="{status}"}} 1'
        assert line in metrics.text().splitlines()
    found = samples(metrics)
    assert found["request_latency_count", "a", "Predict", "GRPC"] == 1
    assert ("request_latency_count", "", "predict", "REST") not in found


def test_times_are_microseconds_in_buckets_that_grow_by_1_8() -> None:
    """util.cc: Buckets::Exponential(10, 1.8, 33)."""
    metrics = ServingMetrics()
    for seconds in (5e-6, 20e-6, 5000.0):
        metrics.add_run("a", "Predict", seconds)
    found = samples(metrics)
    buckets = {key[-1]: value for key, value in found.items() if key[0] == "runtime_latency_bucket"}
    assert [buckets[limit] for limit in ("10", "18", "32.4", "58.32", "+Inf")] == [1, 1, 2, 2, 3]
    assert len(buckets) == 34
    assert found["runtime_latency_count", "a", "Predict", "TF1"] == 3
    assert found["runtime_latency_sum", "a", "Predict", "TF1"] == pytest.approx(5e9 + 25)


def test_examples_are_counted() -> None:
    """util.cc, RecordRequestExampleCount."""
    metrics = ServingMetrics()
    metrics.add_examples("a", 3)
    metrics.add_examples("a", 100_000)
    found = samples(metrics)
    assert found["request_example_count_total", "a"] == 100_003
    assert found["request_example_counts_bucket", "a", "4"] == 1
    assert found["request_example_counts_bucket", "a", "16384"] == 1
    assert found["request_example_counts_bucket", "a", "+Inf"] == 2


def test_names_are_escaped() -> None:
    metrics = ServingMetrics()
    metrics.add_run('a"\\\n', "Predict", 1.0)
    assert r'model_name="a\"\\\n",' in metrics.text()
