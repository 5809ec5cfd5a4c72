"""An application whose outcomes come hours later: refunds of payments."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PipelineConfig, load_config

HOUR_MS = 3_600_000
FIRST_HOUR = 474_000
APPLICATION = """
from pyspark.sql import functions as F
from features.aggregations import Count, Distinct, Last, Sum
from features.batch import add_features
from features.groups import FeatureGroup
from features.outcomes import with_first_outcome
from tabular.feature_set import FeatureSet, Numeric

aggregations = (
    FeatureGroup("card", "payments", ("card",), ("2h", "6h"), (Count(), Sum("amount"))),
    FeatureGroup("shop", "refunds", ("shop",), ("6h",), (Count(), Distinct("card"))),
    FeatureGroup(
        "back", "refunds", ("card",), ("2h",), (Sum("amount"), Last("shop", 3)), tile="30m"
    ),
)
features = FeatureSet(label="refunded", keys=("payment_id",), features=(Numeric("amount"),))


def labelled(sources, context):
    return with_first_outcome(
        sources["payments"], sources["refunds"], context.outcome("refunds"), identity="payment_id",
        time="timestamp_ms", outcome_time="timestamp_ms", columns={"timestamp_ms": "refund_ms"},
    )


def streams(payments):
    refunds = payments.where("refund_ms is not null").withColumn("timestamp_ms", F.col("refund_ms"))
    return {"payments": payments, "refunds": refunds}


def events(spark, sources, context):
    return streams(labelled(sources, context))


def profiles(sources):
    return {}


def build_examples(spark, sources, context):
    rows, past = labelled(sources, context), sources.get("past")
    happened = streams(rows) if past is None else {"payments": rows}
    found = add_features(
        rows, aggregations, happened, identity="payment_id", time="timestamp_ms", history=past,
        since_ms=context.begin_ms,
    )
    return found.withColumn("refunded", F.col("refund_ms").isNotNull().cast("long"))
"""
CONFIG = """
name: refunds
application: refunds_of_payments
data_root: {folder}
schema: {folder}/refunds.pbtxt
run_root: {folder}/runs
sources: {{payments: {{kind: stream}}, refunds: {{kind: stream}}, past: {{kind: past}}}}
evaluator: {{label: refunded, prediction: probability}}
streaming:
  folder: {folder}/stream
  watched: {folder}/events
  hour_tables: true
  online_seconds: 0
  streams:
    payments:
      id: payment_id
      time: timestamp_ms
      columns: {{payment_id: string, card: string, shop: string, amount: double,
        timestamp_ms: bigint}}
    refunds:
      id: refund_id
      time: timestamp_ms
      columns: {{refund_id: string, payment_id: string, timestamp_ms: bigint}}
      outcome: {{of: payments, by: payment_id, within: 150m}}
"""


def refunds_config(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str
) -> PipelineConfig:
    """Writes the application, and returns its config."""
    package = folder / "refunds_of_payments"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "application.py").write_text(APPLICATION)
    monkeypatch.syspath_prepend(str(folder))
    names = {"refunded": "INT", "payment_id": "BYTES", "amount": "FLOAT"}
    schema = "".join(f'feature {{ name: "{n}" type: {kind} }}\n' for n, kind in names.items())
    (folder / "refunds.pbtxt").write_text(schema)
    (folder / "refunds.yaml").write_text(CONFIG.format(folder=folder))
    return load_config(folder / "refunds.yaml", overrides)


def payments(chance: random.Random, count: int, hours: int) -> Iterator[dict[str, Any]]:
    """Yields payments of `hours` hours from FIRST_HOUR on."""
    for number in range(count):
        yield {
            "payment_id": f"p{number}",
            "card": f"c{chance.randrange(6)}",
            "shop": f"s{chance.randrange(4)}",
            "amount": float(chance.randrange(1, 90)),
            "timestamp_ms": FIRST_HOUR * HOUR_MS + chance.randrange(hours * HOUR_MS),
        }


def refunds(chance: random.Random, paid: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields refunds: in time or too late, sometimes twice, before the payment, or of none."""
    for number, of in enumerate(chance.choices(paid, k=len(paid) // 2)):
        delay = (
            chance.randrange(200 * 60_000) if chance.random() < 0.95 else -chance.randrange(9_000)
        )
        yield {
            "refund_id": f"r{number}",
            "payment_id": of["payment_id"] if chance.random() < 0.95 else "nobody's",
            "timestamp_ms": of["timestamp_ms"] + delay,
        }
