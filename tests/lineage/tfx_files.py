"""Writes small files like those of TFX's components."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tensorflow_model_analysis.proto import metrics_for_slice_pb2 as tfma

from tabular.decision import Decision, choose
from tabular.decision_rule import DecisionRule
from tabular.metrics.scores import ScoreCounts


def write_statistics(folder: Path, number: str, value: str = "de") -> None:
    """Writes statistics of two splits: a number of this name, `price`, and `country`."""
    for split, rows in (("train", 200), ("eval", 100)):
        content = statistics_pb2.DatasetFeatureStatisticsList()
        dataset = content.datasets.add(num_examples=rows)
        for name in (number, "price"):
            feature = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.FLOAT)
            feature.path.step.append(name)
            stats = feature.num_stats
            stats.common_stats.num_non_missing, stats.common_stats.num_missing = rows - 10, 10
            stats.mean, stats.min, stats.max = 5.0, 0.0, 10.0
            histogram = stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
            for low in range(0, 10, 2):
                histogram.buckets.add(low_value=low, high_value=low + 2, sample_count=rows / 5)
        country = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
        country.path.step.append("country")
        country.string_stats.common_stats.num_non_missing = rows
        country.string_stats.unique = 2
        for text, count in ((value, rows * 0.7), ("us", rows * 0.3)):
            country.string_stats.top_values.add(value=text, frequency=count)
        _write(folder / f"Split-{split}" / "FeatureStats.pb", content.SerializeToString())


def write_anomalies(folder: Path, strange: str, drifted: str) -> None:
    content = anomalies_pb2.Anomalies()
    info = content.anomaly_info[strange]
    info.reason.add(short_description="out of domain", description="values above 100")
    moved = content.drift_skew_info.add()
    moved.path.step.append(drifted)
    moved.drift_measurements.add(
        type=anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY, value=0.5, threshold=0.1
    )
    _write(folder / "Split-train" / "SchemaDiff.pb", content.SerializeToString())


def write_curves(folder: Path, losses: Sequence[float] = (0.5, 0.4, 0.3)) -> None:
    for rows in ("train", "validation"):
        with tf.summary.create_file_writer(str(folder / rows)).as_default():
            for number, loss in enumerate(losses):
                tf.summary.scalar("epoch_loss", loss, number)
                tf.summary.scalar("epoch_auc", 0.6 + number / 10, number)


def write_decision(folder: Path, rule: DecisionRule) -> Decision:
    """Writes a decision about 40,000 examples, of which one in a hundred is positive."""
    chance = np.random.default_rng(4)
    log_odds = chance.normal(-6, 2, 40_000)
    labels = chance.random(40_000) < 1 / (1 + np.exp(-log_odds))
    scores = (1 / (1 + np.exp(-log_odds - chance.normal(0, 1, 40_000)))).astype(np.float32)
    decision = choose(rule, ScoreCounts.count(labels, scores))
    _write(folder / "decision.json", json.dumps(decision.to_json()).encode())
    return decision


def write_evaluation(folder: Path, *slices: str, **values: float) -> None:
    """Writes metrics with intervals and a baseline, by slice, and a calibration plot.

    `values` are further metrics, each with an interval of a tenth around it.
    """
    metrics, plots = [], []
    for key in (None, *slices):
        for_slice = tfma.MetricsForSlice()
        plot = tfma.PlotsForSlice()
        for proto in (for_slice, plot):
            proto.slice_key.SetInParent()
            if key:
                proto.slice_key.single_slice_keys.add(column="device", bytes_value=key.encode())
        for name, value in values.items():
            _bounded(for_slice, name, "candidate", value, 0.1 * value)
        for model, auc in (("candidate", 0.75), ("baseline", 0.7)):
            _bounded(for_slice, "auc", model, auc, 0.01)
            loss = for_slice.metric_keys_and_values.add()
            loss.key.name, loss.key.model_name = "binary_crossentropy", model
            loss.value.double_value.value = 1 - auc
        pair = plot.plot_keys_and_values.add()
        buckets = pair.value.calibration_histogram_buckets.buckets
        for number in range(5):
            bucket = buckets.add()
            bucket.num_weighted_examples.value = 10 * number
            bucket.total_weighted_label.value = number**2
            bucket.total_weighted_refined_prediction.value = 2 * number**2
        metrics.append(for_slice.SerializeToString())
        plots.append(plot.SerializeToString())
    for name, records in (("metrics", metrics), ("plots", plots)):
        path = folder / f"{name}-00000-of-00001.tfrecord"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)


def _bounded(for_slice: Any, name: str, model: str, value: float, margin: float) -> None:
    pair = for_slice.metric_keys_and_values.add()
    pair.key.name, pair.key.model_name = name, model
    bounded = pair.value.bounded_value
    bounded.value.value = value
    bounded.lower_bound.value, bounded.upper_bound.value = value - margin, value + margin


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
