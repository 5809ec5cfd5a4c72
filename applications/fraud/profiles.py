"""Profiles of merchants, devices, networks and cards, which serving looks up beside their past."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from applications.fraud.etl import devices, merchants, networks

MERCHANT, DEVICE, NETWORK, CARD = "merchant", "device", "network", "card"  # kinds of profiles
NO_CARD = ""  # key of the newest day's own line


def profiles(sources: dict[str, DataFrame]) -> dict[str, DataFrame]:
    """Returns kind -> the ETL's columns of each merchant, device, network or card, by `key`.

    A card's profile has `day` and `cards`, its group on the newest day of `card_groups`. NO_CARD
    has that day, so that a card that was not used can be told from a day that was not written.

    Args:
      sources: `merchants`, `devices`, `networks` and `card_groups` of `build_examples`.
    """
    groups = sources["card_groups"]
    newest = groups.agg({"day": "max"}).withColumnRenamed("max(day)", "day")
    return {
        MERCHANT: merchants(sources["merchants"]).withColumnRenamed("merchant", "key"),
        DEVICE: devices(sources["devices"]).withColumnRenamed("device", "key"),
        NETWORK: networks(sources["networks"]).withColumnRenamed("network", "key"),
        CARD: groups.join(newest, "day").select(
            F.coalesce("card", F.lit(NO_CARD)).alias("key"), "day", "cards"
        ),
    }
