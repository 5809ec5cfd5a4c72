"""Features of the past in a batch and online: python -m benchmarks.features --help

Events of a month with three keys; eight aggregations over three windows by each key. The log is
even, or one entity of each key has half of all events. Plain Spark SQL computes the same features
by joining each event with the events of its longest window, on a smaller log. Then a server of
requests looks the features of 100 candidates up, in either online store (features_online.py).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from rich.console import Console

from base.durations import milliseconds
from benchmarks.features_online import online_latencies
from benchmarks.measure import alternate, median, run_candidate, write_result
from features.aggregations import Count, Distinct, Last, Max, Mean, Min, Sum, Variance
from features.batch import add_features
from features.groups import FeatureGroup
from spark_io.jobs.session import size_shuffles, spark_session

DAYS = 30
KEYS = {"card": 200_000, "shop": 10_000, "kind": 500}  # key -> entities in ten million events
WINDOWS = ("1h", "24h", "7d")
AGGREGATIONS = (
    Count(),
    Sum("amount"),
    Mean("amount"),
    Min("amount"),
    Max("amount"),
    Variance("amount"),
    Distinct("device"),
    Last("device"),
)
GROUPS = [FeatureGroup(key, "events", (key,), WINDOWS, AGGREGATIONS) for key in KEYS]
SETTINGS = {"master": "local[*]", "conf": {"spark.driver.memory": "4g"}, "jars": []}
console = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="200,000 events, 20,000 for plain Spark.")
@click.option("--rows", default=10_000_000, show_default=True)
@click.option("--small-rows", default=100_000, show_default=True, help="For plain Spark, and ours.")
@click.option("--repeats", default=1, show_default=True)
@click.option("--requests", default=2_000, show_default=True, help="To each online store.")
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(
    quick: bool,
    rows: int,
    small_rows: int,
    repeats: int,
    requests: int,
    scratch: Path | None,
    out: Path | None,
) -> None:
    """Measures rows/s, a skewed log against an even one, plain Spark against ours, and lookups."""
    if quick:
        rows, small_rows, requests = 200_000, 20_000, 200
    with tempfile.TemporaryDirectory() as temporary:
        folder = str(scratch or temporary)
        arguments: dict[str, dict[str, Any]] = {
            "even": {"rows": rows, "skewed": False, "plain": False},
            "skewed": {"rows": rows, "skewed": True, "plain": False},
            "small": {"rows": small_rows, "skewed": False, "plain": False},
            "plain": {"rows": small_rows, "skewed": False, "plain": True},
        }
        candidates = {
            name: partial(run_candidate, __spec__.name, {**given, "scratch": folder})
            for name, given in arguments.items()
        }
        runs = alternate(candidates, repeats, console.print)
    online = online_latencies(requests)
    seconds = {name: median(them, "seconds") for name, them in runs.items()}
    figures = {
        "rows_per_s": round(rows / seconds["even"]),
        "seconds_even": round(seconds["even"], 1),
        "seconds_skewed_key": round(seconds["skewed"], 1),
        "peak_mib": {name: round(max(run.peak_mib for run in them)) for name, them in runs.items()},
        "rows": {"even": rows, "plain": small_rows},
        "online_p50_ms": {store: of["p50_ms"] for store, of in online.items()},
        "online_p99_ms": {store: of["p99_ms"] for store, of in online.items()},
        "online_cpu_ms": {store: of["cpu_ms"] for store, of in online.items()},
    }
    ratios = {
        "batch_vs_plain_spark": seconds["plain"] / seconds["small"],
        "skewed_vs_even": seconds["skewed"] / seconds["even"],
    }
    times = {name: [round(r.answer["seconds"], 1) for r in them] for name, them in runs.items()}
    result = write_result("features", times, figures, ratios, out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


def events(spark: SparkSession, folder: Path, rows: int, skewed: bool) -> DataFrame:
    """Returns the events of a log, which is written first if it is not there."""
    path = folder / f"events-{rows}-{'skewed' if skewed else 'even'}"
    if not path.exists():
        columns = {
            key: F.concat(F.lit(key[0]), _chance(place) % max(count * rows // 10_000_000, 5))
            for place, (key, count) in enumerate(KEYS.items())
        }
        if skewed:
            columns = {
                key: F.when(_chance(10 + place) % 2 == 0, f"{key}-busy").otherwise(value)
                for place, (key, value) in enumerate(columns.items())
            }
        spark.range(rows).select(
            F.col("id").cast("string").alias("event"),
            (F.lit(1_700_000_000_000) + _chance(20) % milliseconds(f"{DAYS}d")).alias("at"),
            *[value.alias(key) for key, value in columns.items()],
            ((_chance(21) % 100_000) / 100).alias("amount"),
            F.concat(F.lit("d"), _chance(22) % 1000).alias("device"),
        ).write.parquet(str(path))
    return spark.read.parquet(str(path))


def _chance(seed: int) -> Any:
    return F.abs(F.xxhash64("id", F.lit(seed)))


def plain(rows: DataFrame) -> DataFrame:
    """Returns the same features by joins of events with events, as one writes them first."""
    for group in GROUPS:
        (key,) = group.keys
        past = rows.select(
            F.col(key).alias("_key"),
            F.col("at").alias("_at"),
            *(F.col(c).alias(f"_{c}") for c in ("amount", "device")),
        )
        longest = max(map(milliseconds, WINDOWS))
        tile = F.floor(F.col("at") / group.tile_ms) * group.tile_ms
        same = (F.col(key) == F.col("_key")) & (F.col("_at") < F.col("at"))
        joined = rows.select("event", "at", key).join(past, same & (F.col("_at") >= tile - longest))
        columns = []
        for window in WINDOWS:
            within = F.col("_at") >= tile - milliseconds(window)
            amount, device = (F.when(within, F.col(f"_{c}")) for c in ("amount", "device"))
            values = (
                F.count(F.when(within, 1)),
                F.sum(amount),
                F.avg(amount),
                F.min(amount),
                F.max(amount),
                F.var_pop(amount),
                F.approx_count_distinct(device),
                F.max_by(device, F.when(within, F.col("_at"))),
            )
            columns += [
                value.alias(f"{key}_{aggregation.names()[0]}_{window}")
                for value, aggregation in zip(values, AGGREGATIONS, strict=True)
            ]
        rows = rows.join(joined.groupBy("event").agg(*columns), "event", "left")
    return rows


def run_once(rows: int, skewed: bool, by_plain_spark: bool, scratch: Path) -> None:
    """Computes all features once, in a process of its own."""
    with spark_session(SETTINGS) as spark:
        spark.sparkContext.setLogLevel("ERROR")
        log = events(spark, scratch, rows, skewed)
        size_shuffles(spark, SETTINGS, rows)
        started = time.monotonic()
        if by_plain_spark:
            found = plain(log)
        else:
            found = add_features(log, GROUPS, {"events": log}, identity="event", time="at")
        found.write.format("noop").mode("overwrite").save()
        print(json.dumps({"seconds": time.monotonic() - started}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        given = json.loads(sys.argv[1])
        run_once(given["rows"], given["skewed"], given["plain"], Path(given["scratch"]))
    else:
        main()
