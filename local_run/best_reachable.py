"""Measures the best reachable AUC, AUC-PR and log loss, those of the true probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn import metrics


def best_reachable(
    examples: Path, truth: list[Path], key: str, label: str, probability: str
) -> dict[str, float] | None:
    """Scores the true probabilities on the rows of an eval split.

    Args:
      examples: Folder with gzipped TFRecord shards.
      truth: Parquet files with the columns `key` and `probability`.
      key: Name of the bytes feature that identifies a row.
      label: Name of the int64 label.
      probability: Name of the column with the true probability.

    Returns:
      `best_reachable_auc`, `best_reachable_auc_pr` and `best_reachable_log_loss`; None when no row
      has a truth.
    """
    spec = {
        key: tf.io.FixedLenFeature([], tf.string),
        label: tf.io.FixedLenFeature([], tf.int64),
    }
    shards = sorted(str(path) for path in examples.glob("*.gz"))
    parsed = tf.data.TFRecordDataset(shards, compression_type="GZIP").batch(4096)
    batches = [tf.io.parse_example(batch, spec) for batch in parsed]
    if not batches:
        return None
    rows = pd.DataFrame(
        {
            key: np.concatenate([batch[key].numpy() for batch in batches]).astype(str),
            label: np.concatenate([batch[label].numpy() for batch in batches]),
        }
    )
    wanted = set(rows[key])
    parts = []
    for path in truth:  # one file at a time: the truth of a large log does not fit in memory
        part = pd.read_parquet(path)
        parts.append(part[part[key].isin(wanted)])
    known = rows.merge(pd.concat(parts), on=key) if parts else rows.iloc[:0]
    if known.empty or known[label].nunique() < 2:
        return None
    scores = known[probability]
    return {
        "best_reachable_auc": float(metrics.roc_auc_score(known[label], scores)),
        "best_reachable_auc_pr": float(metrics.average_precision_score(known[label], scores)),
        "best_reachable_log_loss": float(metrics.log_loss(known[label], scores)),
    }
