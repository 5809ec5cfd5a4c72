"""What is kept of each hour for the features of later ones; see pipeline/hourly_counts.py."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession

from components.spark_example_gen.rows import EtlContext
from pipeline.click_log import CLICK_MS
from pipeline.ctr import features
from pipeline.ctr.etl import EtlParameters, genuine_impressions
from pipeline.hourly_counts import COUNTS, RECENT, hourly_counts
from pipeline.recent_clicks import clicks_of


def hour_tables(
    spark: SparkSession, sources: dict[str, DataFrame], context: EtlContext
) -> dict[str, DataFrame]:
    """The tables of whole hours: COUNTS and RECENT.

    Args:
      spark: the session.
      sources: as of `build_examples`, with the impressions of these hours.
      context: as of `build_examples`.
    """
    genuine, _ = genuine_impressions(sources, EtlParameters(**context.parameters))
    return {
        COUNTS: hourly_counts(genuine, CLICK_MS, features.WINDOW_FEATURES),
        RECENT: clicks_of(genuine, CLICK_MS, features.RECENT),
    }
