"""Turns payments into one row per payment: the ETL that SparkExampleGen runs for fraud.

Small functions of DataFrames are composed at the bottom; read `build_examples` first.
"""

from __future__ import annotations

import numpy as np
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from applications.fraud.aggregations import CHARGEBACKS, GROUPS, LAST_COUNTRY, PAYMENTS
from applications.fraud.card_groups import (
    DAY_MS,
    card_groups,
    check_days,
    with_card_groups,
)
from applications.fraud.etl_parameters import EtlParameters
from applications.fraud.features import FEATURES
from applications.fraud.places import DISTANCES
from applications.fraud.row_features import own_features, time_features
from base.errors import ComponentError
from features.batch import add_features
from features.history_columns import PAST
from features.outcomes import first_of_each, with_first_outcome
from spark_io.examples.rows import EtlContext, divide, dropped, quarantined

EARLIEST_MS = 631_152_000_000  # 1990-01-01; an earlier time means a wrong clock
CHARGEBACK_MS = "chargeback_ms"  # time of the first chargeback that counts
UNKNOWN, UNKNOWN_REPUTATION = "unknown", 0.5
AMOUNT_BANDS = {"below_20": 20.0, "20_to_100": 100.0, "100_to_500": 500.0, "from_500": np.inf}


def rejection(parameters: EtlParameters) -> Column:
    """Returns the reason code of an impossible payment; null for the others."""
    amount, time = F.col("amount_cents") / 100, F.col("timestamp_ms")
    tomorrow_ms = (F.unix_timestamp(F.current_timestamp()) + 86_400) * 1000
    return (
        F.when(F.col("payment_id").isNull(), "missing_payment_id")
        .when(F.col("card").isNull(), "missing_card")
        .when(F.col("merchant").isNull(), "missing_merchant")
        .when(time.isNull() | ~time.between(EARLIEST_MS, tomorrow_ms), "impossible_timestamp")
        .when(amount.isNull() | (amount <= 0), "impossible_amount")
        .when(amount > parameters.largest_amount, "impossible_amount")
    )


def merchants(rows: DataFrame) -> DataFrame:
    """Returns merchant and its category."""
    return one_of_each(rows, "merchant", {"category": _known("category")})


def devices(rows: DataFrame) -> DataFrame:
    """Returns device and its system."""
    return one_of_each(rows, "device", {"system": _known("system")})


def networks(rows: DataFrame) -> DataFrame:
    """Returns network, its kind, and its reputation from 0 (good) to 1 (bad)."""
    possible = F.when(F.col("reputation").between(0, 1), F.col("reputation"))  # not NaN
    columns = {"network_kind": _known("kind"), "reputation": possible}
    return one_of_each(rows, "network", columns)


def one_of_each(rows: DataFrame, key: str, columns: dict[str, Column]) -> DataFrame:
    """Returns a row of each key; of several values the least that is known, in any order of rows.

    Args:
      rows: Rows of a table; those without the key are left out.
      key: Column with the key.
      columns: New column -> its value.
    """
    values = [F.min(column).alias(name) for name, column in columns.items()]
    return rows.where(F.col(key).isNotNull()).groupBy(key).agg(*values)


def _known(text: str) -> Column:
    """Returns a text; null if it is empty."""
    return F.when(F.col(text) != "", F.col(text))


def genuine_payments(
    sources: dict[str, DataFrame], context: EtlContext
) -> tuple[DataFrame, tuple[DataFrame, ...]]:
    """Returns possible payments with their merchant, and the rejected and dropped rows."""
    parameters = EtlParameters(**context.parameters)
    possible, impossible = divide(sources["payments"], rejection(parameters))
    unique, repeated = first_of_each(possible, "payment_id", "timestamp_ms")
    table = merchants(sources["merchants"]).withColumn("_listed", F.lit(True))
    known = unique.join(F.broadcast(table), "merchant", "left")
    genuine, rejected = divide(known, F.when(F.col("_listed").isNull(), "unknown_merchant"))
    raw = list(sources["payments"].columns)
    outcomes = (
        quarantined(impossible),
        quarantined(rejected.select(*raw, "_reason")),
        dropped(repeated, "duplicate"),
    )
    amount, category = F.col("amount_cents") / 100, F.coalesce("category", F.lit(UNKNOWN))
    return genuine.withColumns({"amount": amount, "category": category}).drop("_listed"), outcomes


def disputed(payments: DataFrame, chargebacks: DataFrame, context: EtlContext) -> DataFrame:
    """Adds CHARGEBACK_MS, the first chargeback in its time; null without one."""
    return with_first_outcome(
        payments,
        chargebacks,
        context.outcome("chargebacks"),
        identity="payment_id",
        time="timestamp_ms",
        outcome_time="timestamp_ms",
        columns={"timestamp_ms": CHARGEBACK_MS},
    )


def streams(payments: DataFrame) -> dict[str, DataFrame]:
    """Returns the streams that aggregations.py names, from payments with CHARGEBACK_MS."""
    back = payments.where(F.col(CHARGEBACK_MS).isNotNull())
    return {PAYMENTS: payments, CHARGEBACKS: back.withColumn("timestamp_ms", F.col(CHARGEBACK_MS))}


def described(payments: DataFrame, sources: dict[str, DataFrame]) -> DataFrame:
    """Adds what is known of device and network, and the features of the time."""
    joined = payments.join(F.broadcast(networks(sources["networks"])), "network", "left").join(
        devices(sources["devices"]), "device", "left"
    )
    texts = {
        c: F.coalesce(_known(c), F.lit(UNKNOWN)) for c in ("country", "network_kind", "system")
    }
    times = {
        name: value.cast("float") for name, value in time_features(F.col("timestamp_ms"), F).items()
    }
    reputation = F.coalesce("reputation", F.lit(UNKNOWN_REPUTATION)).cast("float")
    return joined.withColumns({**texts, **times, "reputation": reputation})


def with_labels(rows: DataFrame, context: EtlContext) -> DataFrame:
    """Adds the label, and whether a chargeback may still come; 0 for rows to score."""
    if not context.labelled:
        return rows.withColumn("label_open", F.lit(0))
    label = F.col(CHARGEBACK_MS).isNotNull()
    complete_ms = context.complete_ms.get("chargebacks")
    # Without spans, all chargebacks are there that will ever be.
    still = F.lit(False)
    if complete_ms is not None:
        last = F.col("timestamp_ms") + context.outcome("chargebacks").within_ms
        still = ~label & (last >= complete_ms)  # rows of this time itself may be missing
    return rows.withColumns({FEATURES.label: label.cast("long"), "label_open": still.cast("long")})


def as_examples(rows: DataFrame, labelled: bool) -> DataFrame:
    """Returns the columns of an example, in the order of features.py."""
    own = own_features(
        {name: F.col(name) for name in rows.columns},
        F.col("amount"),
        F,
        lambda condition, then, otherwise: F.when(condition, then).otherwise(otherwise),
    )
    # Which device it is cannot be told without one, nor whether it is new.
    own["new_device"] = F.when(F.col("device").isNotNull(), own["new_device"]).otherwise(0)
    whole = {"new_device", "known_card"}
    columns = {name: c.cast("long" if name in whole else "float") for name, c in own.items()}
    columns["distance_km"] = distance(F.col(LAST_COUNTRY), F.col("country")).cast("float")
    columns["amount_band"] = amount_band(F.col("amount"))
    columns["amount"] = F.col("amount").cast("float")
    wanted = [name for name in FEATURES.columns if labelled or name != FEATURES.label]
    return rows.withColumns(columns).select(*wanted)


def distance(last: Column, country: Column) -> Column:
    """Returns the kilometres between two countries; 0 if one is not known."""
    pairs = [F.lit(value) for (a, b), km in DISTANCES.items() for value in (f"{a}>{b}", km)]
    found = F.element_at(F.create_map(*pairs), F.concat_ws(">", last, country))
    return F.coalesce(found, F.lit(0.0))


def amount_band(amount: Column) -> Column:
    """Returns the name of the band of AMOUNT_BANDS that an amount is in, for slices."""
    *below, highest = AMOUNT_BANDS
    result = F.lit(highest)
    for name in reversed(below):
        result = F.when(amount < AMOUNT_BANDS[name], name).otherwise(result)
    return result


def band_of(amount: float) -> str:
    """Returns the same as `amount_band` for a number."""
    return next(name for name, end in AMOUNT_BANDS.items() if amount < end)


def build_examples(
    spark: SparkSession, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    """Joins payments, chargebacks, merchants, devices and networks.

    Args:
      spark: Spark session.
      sources: `payments`, `chargebacks`, `merchants`, `devices` and `networks`. If the log begins
        before the payments, also PAST and `card_groups`.
      context: Context whose `parameters` are EtlParameters.

    Returns:
      One row per payment with the features of features.py, and the rejected and dropped rows with
      reasons.
    """
    payments, outcomes = genuine_payments(sources, context)
    judged = disputed(payments, sources["chargebacks"], context)
    groups = sources.get("card_groups")
    if groups is not None:
        judged = check_days(judged, groups)
    grouped = with_card_groups(judged, groups if groups is not None else card_groups(payments))
    rows = described(grouped, sources)
    past = sources.get(PAST)
    happened = {PAYMENTS: rows} if past is not None else streams(rows)
    counted = add_features(
        rows,
        GROUPS,
        happened,
        identity="payment_id",
        time="timestamp_ms",
        history=past,
        since_ms=context.begin_ms,
    )
    result, too_early = _after_warm_up(with_labels(counted, context), context)
    result = as_examples(result, context.labelled)
    for others in (*outcomes, dropped(too_early, "warm_up")):
        result = result.unionByName(others, allowMissingColumns=True)
    return result


def _after_warm_up(rows: DataFrame, context: EtlContext) -> tuple[DataFrame, DataFrame]:
    days = EtlParameters(**context.parameters).warm_up_days
    if days and context.begin_ms is None:
        raise ComponentError(
            "etl.parameters.warm_up_days: the payments have no spans by day or hour, so nobody "
            "knows where they begin. Set it to 0, or give their path dates"
        )
    first_ms = (context.begin_ms or 0) + round(days * DAY_MS)
    later = F.col("timestamp_ms") >= first_ms
    return rows.where(later), rows.where(~later)


def events(
    spark: SparkSession, sources: dict[str, DataFrame], context: EtlContext
) -> dict[str, DataFrame]:
    """Returns the streams of some hours, for the features of their rows and of later ones.

    They are computed from a cached frame; clear the cache once they are written.

    Args:
      spark: Spark session.
      sources: Sources of `build_examples`: the payments of these hours, and those that the
        chargebacks of these hours belong to.
      context: Context of `build_examples`.
    """
    genuine, _ = genuine_payments(sources, context)
    judged = disputed(genuine, sources["chargebacks"], context)
    needed = {column for group in GROUPS for part in group.parts() for column in part.columns}
    needed |= {key for group in GROUPS for key in group.keys}
    return streams(judged.select(*sorted(needed), "timestamp_ms", CHARGEBACK_MS).cache())
