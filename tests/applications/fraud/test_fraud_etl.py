"""The fraud ETL on real Spark: labels, rejections, groups of cards, and no view of the future."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from applications.fraud import etl
from applications.fraud.card_groups import card_groups
from applications.fraud.features import FEATURES
from applications.fraud.places import DISTANCES
from applications.fraud.sample_data.dirt import Dirt
from applications.fraud.sample_data.payment_log import PaymentLogConfig, generate_payment_log
from spark_io.examples.rows import OUTCOME, REASON, EtlContext
from spark_io.sources.outcomes import Outcome

pytestmark = pytest.mark.component

NOON = 1_709_294_400_000  # Friday 2024-03-01T12 UTC
MINUTE, DAY = 60_000, 24 * 3_600_000
PAYMENTS = (
    "payment_id string, card string, merchant string, device string, network string, "
    "country string, amount_cents long, timestamp_ms long"
)
CHARGEBACKS = "chargeback_id string, payment_id string, timestamp_ms long"
OUTCOMES = {"chargebacks": Outcome("payments", "payment_id", "45d")}


def payment(number: str, **changes: Any) -> tuple:
    row = {
        "payment_id": number,
        "card": "k1",
        "merchant": "m1",
        "device": "d1",
        "network": "n1",
        "country": "de",
        "amount_cents": 2_000,
        "timestamp_ms": NOON,
    }
    return tuple((row | changes).values())


@pytest.fixture
def build(spark: SparkSession):
    """Returns a function that runs the ETL: rows by payment id, and reasons of the others."""

    def run(
        payments: list[tuple],
        chargebacks: Sequence[tuple] = (),
        complete_ms: int | None = None,
        groups: Sequence[tuple] | None = None,
        begin_ms: int = 0,
        **parameters: Any,
    ):
        sources: dict[str, DataFrame] = {
            "payments": spark.createDataFrame(payments, PAYMENTS),
            "chargebacks": spark.createDataFrame(list(chargebacks), CHARGEBACKS),
            "merchants": spark.createDataFrame(
                [("m1", "fuel", "de"), ("m2", None, "us")],
                "merchant string, category string, country string",
            ),
            "devices": spark.createDataFrame([("d1", "ios")], "device string, system string"),
            "networks": spark.createDataFrame(
                [("n1", "vpn", 0.75), ("n2", None, float("nan"))],
                "network string, kind string, reputation double",
            ),
        }
        if groups is not None:
            sources["card_groups"] = spark.createDataFrame(
                list(groups), "day bigint, card string, cards bigint"
            )
        complete = {} if complete_ms is None else {"chargebacks": complete_ms}
        context = EtlContext(parameters, (0,), begin_ms, OUTCOMES, complete)
        result = etl.build_examples(spark, sources, context).collect()
        rows = {r["payment_id"]: r.asDict() for r in result if r[OUTCOME] is None}
        refused = sorted(r[REASON] for r in result if r[OUTCOME] is not None)
        return rows, refused

    return run


def test_a_chargeback_within_its_time_is_the_label_and_a_label_may_be_open(build) -> None:
    rows, _ = build(
        [payment(one) for one in "abcd"] + [payment("e", timestamp_ms=NOON + 3 * DAY)],
        [
            ("c1", "a", NOON + 3 * DAY),
            ("c2", "a", NOON + 4 * DAY),  # a second one adds no row
            ("c3", "b", NOON + 46 * DAY),  # too late
            ("c4", "c", NOON - 1),  # before its payment
            ("c5", "nothing", NOON),
        ],
        complete_ms=NOON + 47 * DAY,
    )
    assert {name: (row["fraud"], row["label_open"]) for name, row in rows.items()} == {
        "a": (1, 0),
        "b": (0, 0),
        "c": (0, 0),
        "d": (0, 0),
        "e": (0, 1),  # its chargeback may come until three days later
    }


REJECTIONS: list[tuple[dict[str, Any], str]] = [
    ({"payment_id": None}, "missing_payment_id"),
    ({"card": None}, "missing_card"),
    ({"merchant": None}, "missing_merchant"),
    ({"amount_cents": 0}, "impossible_amount"),
    ({"amount_cents": -5}, "impossible_amount"),
    ({"amount_cents": None}, "impossible_amount"),
    ({"amount_cents": 10**12}, "impossible_amount"),
    ({"timestamp_ms": -5}, "impossible_timestamp"),
    ({"timestamp_ms": 1000 * NOON}, "impossible_timestamp"),  # microseconds
    ({"merchant": "nobody"}, "unknown_merchant"),
]


def test_impossible_payments_are_rejected_with_a_reason(build) -> None:
    bad = [payment(f"bad{n}", **changes) for n, (changes, _) in enumerate(REJECTIONS)]
    early = payment("early", timestamp_ms=NOON - DAY)
    rows, refused = build(
        [payment("good"), payment("good"), early, *bad], begin_ms=NOON - 2 * DAY, warm_up_days=1.5
    )
    assert list(rows) == ["good"]
    assert rows["good"]["card_count_30d"] == 1  # a payment of the warm-up is past
    reasons = [reason for _, reason in REJECTIONS]
    assert refused == sorted([*reasons, "duplicate", "warm_up"])


def test_amount_device_and_distance_are_compared_with_the_cards_own_past(build) -> None:
    def hour(number: int) -> dict[str, int]:
        return {"timestamp_ms": NOON + number * 60 * MINUTE}

    rows, _ = build(
        [
            payment("first"),
            payment("second", **hour(30), amount_cents=4_000),
            payment("new", **hour(31), device="d2", country="us", amount_cents=30_000),
            payment("again", **hour(32), device="d2", country="us", network="n2"),
            payment("unknown", **hour(33), device=None, country=None, network="n9", merchant="m2"),
        ]
    )
    names = ("first", "second", "new", "again", "unknown")
    assert [rows[n]["known_card"] for n in names] == [0, 1, 1, 1, 1]
    assert [rows[n]["new_device"] for n in names] == [0, 0, 1, 1, 0]
    far = DISTANCES["de", "us"]
    expected = [0, 0, far, 0, 0]
    assert [rows[n]["distance_km"] for n in names] == pytest.approx(expected)
    assert rows["first"]["amount_log_ratio"] == pytest.approx(0, abs=1e-3)
    assert rows["second"]["amount_log_ratio"] == pytest.approx(0.693, abs=1e-2)
    assert rows["new"]["amount_deviation"] == pytest.approx((300 - 30) / (100 + 9) ** 0.5, rel=0.01)
    assert [rows[n]["system"] for n in names] == ["ios", "ios", "unknown", "unknown", "unknown"]
    assert [rows[n]["reputation"] for n in names] == [0.75, 0.75, 0.75, 0.5, 0.5]
    assert rows["unknown"]["category"] == rows["unknown"]["country"] == "unknown"
    assert [rows[n]["amount_band"] for n in names[:3]] == ["20_to_100", "20_to_100", "100_to_500"]


def test_groups_are_the_connected_cards_of_the_day_before(build, spark: SparkSession) -> None:
    pairs = [("k1", "d1"), ("k2", "d1"), ("k2", "d2"), ("k3", "d2"), ("k4", "d4"), ("k5", None)]
    yesterday = [
        payment(f"y{n}", card=card, device=device) for n, (card, device) in enumerate(pairs)
    ]
    today = [
        payment(f"t{n}", card=f"k{n}", timestamp_ms=NOON + DAY, device="d1") for n in range(1, 7)
    ]
    rows, _ = build(yesterday + today)
    assert [rows[f"t{n}"]["card_group"] for n in range(1, 7)] == [3, 3, 3, 1, 0, 0]
    assert all(rows[f"y{n}"]["card_group"] == 0 for n in range(len(pairs)))
    found = card_groups(spark.createDataFrame(yesterday + today, PAYMENTS)).collect()
    assert {(r["day"] - NOON // DAY, r["card"]): r["cards"] for r in found} == {
        **{(0, f"k{n}"): 3 for n in (1, 2, 3)},
        (0, "k4"): 1,
        **{(1, f"k{n}"): 6 for n in range(1, 7)},
    }


def test_a_day_without_groups_stops_the_run(build) -> None:
    """Its cards would otherwise seem to be alone."""
    day = NOON // DAY
    there = [(day - 1, None, 0), (day - 1, "k1", 7)]
    rows, _ = build([payment("a")], groups=there)
    assert rows["a"]["card_group"] == 7
    with pytest.raises(Exception, match=r"the card groups of 2024-03-01 are missing.*fraud.daily"):
        build([payment("a"), payment("b", timestamp_ms=NOON + DAY)], groups=there)


def simulated(spark: SparkSession, folder: Path) -> dict[str, DataFrame]:
    config = PaymentLogConfig(payments=3_000, days=6, seed=4, dirt=Dirt.preset("heavy"))
    generate_payment_log(config, folder)
    return {
        "payments": spark.read.schema(PAYMENTS).json(f"{folder}/payments/*/*.json.gz"),
        "chargebacks": spark.read.schema(CHARGEBACKS).json(f"{folder}/chargebacks/*/*.json.gz"),
        "merchants": spark.read.csv(f"{folder}/merchants.csv", header=True),
        "devices": spark.read.parquet(f"{folder}/devices.parquet"),
        "networks": spark.read.parquet(f"{folder}/networks.parquet"),
    }


def test_no_feature_sees_the_future(spark: SparkSession, tmp_path: Path) -> None:
    """Moves all chargebacks, and removes the later payments: earlier rows must not change."""
    sources = simulated(spark, tmp_path / "log")
    # A chargeback soon after each third payment, so that rates change within these days.
    every = sources["payments"].where("timestamp_ms > 0 and hash(payment_id) % 3 = 0")
    soon = every.select(
        F.concat(F.lit("c"), "payment_id").alias("chargeback_id"),
        "payment_id",
        (F.col("timestamp_ms") + 6 * 60 * MINUTE).alias("timestamp_ms"),
    ).dropDuplicates(["payment_id"])
    cut = NOON - 12 * 60 * MINUTE + 3 * DAY + 7 * 60 * MINUTE

    def rows(payments: DataFrame, chargebacks: DataFrame) -> dict[str, dict]:
        given = {**sources, "payments": payments, "chargebacks": chargebacks}
        context = EtlContext({}, (0,), 0, OUTCOMES)
        found = etl.build_examples(spark, given, context)
        kept = found.where(f"{OUTCOME} is null and timestamp_ms < {cut}").collect()
        return {row["payment_id"]: row.asDict() for row in kept}

    as_is = rows(sources["payments"], soon)
    assert len(as_is) > 1_000
    assert max(row["merchant_fraud_rate_30d"] for row in as_is.values()) > 0.003
    # The future of labels: whatever happens to a chargeback from the cut on changes no feature.
    later = F.when(F.col("timestamp_ms") < cut, F.col("timestamp_ms")).otherwise(
        F.col("timestamp_ms") + 20 * DAY
    )
    without = rows(
        sources["payments"].where(f"timestamp_ms < {cut}"), soon.withColumn("timestamp_ms", later)
    )
    assert without == as_is
    dropped = rows(sources["payments"], soon.where(f"timestamp_ms < {cut}"))
    assert dropped.keys() == as_is.keys()
    features = [name for name in FEATURES.columns if name not in ("fraud", "label_open")]
    different = [
        (one, name)
        for one, row in as_is.items()
        for name in features
        if dropped[one][name] != row[name]
    ]
    assert not different
    changed = [one for one, row in as_is.items() if dropped[one]["fraud"] != row["fraud"]]
    assert changed  # the labels of the last hours do depend on the future
