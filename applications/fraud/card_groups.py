"""Groups of cards that were used on common devices: the connected components of a day's payments.

A ring of thieves uses many cards on few devices. Two cards that share no device are in one group,
too, if other cards connect them. No count of a card's or a device's own past shows that.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from base.durations import HOUR_MS

DAY_MS = 24 * HOUR_MS
SCHEMA = "day bigint, card string, cards bigint"
CARD_GROUP = "card_group"  # cards in the group of the card on the day before; 0 if it was not used


def card_groups(payments: DataFrame) -> DataFrame:
    """Returns the size of each card's group on each day.

    Args:
      payments: Payments with card, device and timestamp_ms.

    Returns:
      Columns of SCHEMA; `day` counts days since 1970 (UTC). Each day is one task of Spark's, which
      holds the day's pairs of card and device in memory, about 100 bytes each.
    """
    pairs = payments.select(day_of("timestamp_ms").alias("day"), "card", "device")
    known = pairs.where(F.col("card").isNotNull() & F.col("device").isNotNull()).distinct()
    return known.groupBy("day").applyInPandas(_of_day, SCHEMA)


def day_of(time: str) -> Column:
    """Returns the number of days since 1970 of a column of epoch milliseconds."""
    return F.floor(F.col(time) / DAY_MS).cast("long")


def day_name(day: int) -> str:
    """Returns a day since 1970 as 2024-03-01."""
    return f"{dt.date(1970, 1, 1) + dt.timedelta(days=day):%Y-%m-%d}"


def _of_day(pairs: pd.DataFrame) -> pd.DataFrame:
    cards, card_names = pd.factorize(pairs["card"])
    devices, device_names = pd.factorize(pairs["device"])
    size = len(card_names) + len(device_names)
    edges = (np.ones(len(pairs), np.int8), (cards, devices + len(card_names)))
    _, group = connected_components(coo_matrix(edges, shape=(size, size)), directed=False)
    of_card = group[: len(card_names)]
    return pd.DataFrame(
        {
            "day": pairs["day"].iloc[0],
            "card": card_names,
            "cards": np.bincount(of_card)[of_card].astype(np.int64),
        }
    )


def with_card_groups(payments: DataFrame, groups: DataFrame) -> DataFrame:
    """Adds CARD_GROUP, which is known at the payment: that of the day before.

    Args:
      payments: Payments with card and timestamp_ms.
      groups: Groups of each day, SCHEMA.
    """
    before = groups.where(F.col("card").isNotNull()).select(
        (F.col("day") + 1).alias("_day"), "card", F.col("cards").alias(CARD_GROUP)
    )
    joined = payments.withColumn("_day", day_of("timestamp_ms")).join(
        before, ["_day", "card"], "left"
    )
    return joined.withColumn(CARD_GROUP, F.coalesce(CARD_GROUP, F.lit(0))).drop("_day")


def check_days(payments: DataFrame, groups: DataFrame) -> DataFrame:
    """Returns the payments; reading one fails if its day before is not among those of `groups`.

    Each day has a line without a card, which says that it is there even if no card was used.
    """
    days = groups.where(F.col("card").isNull()).select((F.col("day") + 1).alias("_there"))
    asked = payments.withColumn("_day", day_of("timestamp_ms"))
    joined = asked.join(F.broadcast(days), F.col("_day") == F.col("_there"), "left")
    missing = F.concat(
        F.lit("the card groups of "),
        F.date_add(F.lit("1970-01-01").cast("date"), (F.col("_day") - 1).cast("int")).cast(
            "string"
        ),
        F.lit(" are missing. Write them: python -m applications.fraud.daily --config FILE"),
    )
    found = F.when(F.col("_there").isNotNull(), True).otherwise(F.raise_error(missing))
    return joined.where(found).drop("_day", "_there")
