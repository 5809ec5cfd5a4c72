"""How fast a payment is scored: python -m benchmarks.fraud_serving --help

The fraud application's model in the real server. Each request is one payment of the simulator's
last day: its features are looked up in the online store (SQLite files) and its example is sent.
Client and server share the machine. Arrivals are Poisson, and a latency counts from the moment a
request was due.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console

from benchmarks import prepared_data
from benchmarks.measure import ROOT, run_candidate, write_result
from benchmarks.prepared_data import Prepared

if TYPE_CHECKING:  # importing Spark takes seconds
    from pyspark.sql import SparkSession

    from pipeline.config import PipelineConfig

RATE = 100.0
THREADS = 4
DAYS = 60
console = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="20,000 payments, one run of 20 seconds.")
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(quick: bool, scratch: Path | None, out: Path | None) -> None:
    """Latency of one payment per request at 100 requests/s, lookups included."""
    payments, seconds, runs = (20_000, 20.0, 1) if quick else (200_000, 60.0, 3)
    with tempfile.TemporaryDirectory() as temporary:
        prepared = prepared_data.payments((scratch or Path(temporary)) / "payments", payments, DAYS)
        store = prepared.folder / "online"
        for what, folder in (("model", prepared.folder / "served"), ("store", store)):
            if not folder.exists():
                run_candidate(
                    "benchmarks.fraud_serving", {"make": what, "folder": str(prepared.folder)}
                )
        with _server(prepared, Path(temporary)) as address:
            loads = [_load(prepared, address, seconds, seed) for seed in range(runs + 1)]
    measured = loads[1:]  # the first one warms up
    figures = {
        name: round(float(np.median([load[name] for load in measured])), 2)
        for name in ("p50_ms", "p99_ms", "lookup_p50_ms", "lookup_p99_ms", "errors")
    }
    result = write_result("fraud_serving", {"loads": measured}, figures, {}, out)
    Console().print_json(json.dumps(result["figures"]))


@contextlib.contextmanager
def _server(prepared: Prepared, folder: Path) -> Iterator[str]:
    """Serves the model until the block ends; yields host:port."""
    base, ports = folder / "models", folder / "ports.json"
    base.mkdir()
    (base / "1").symlink_to(prepared.folder / "served")
    command = [sys.executable, "-m", "serving", "serve", "--model-name", "fraud"]
    command += ["--model-base-path", str(base), "--port", "0", "--rest-api-port", "0"]
    command += ["--port-file", str(ports)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            while not ports.exists():
                if process.poll() is not None:
                    raise RuntimeError("the server has ended")
                time.sleep(0.1)
            yield f"127.0.0.1:{json.loads(ports.read_text())['grpc']}"
        finally:
            process.terminate()


def _load(prepared: Prepared, address: str, seconds: float, seed: int) -> dict[str, Any]:
    import grpc

    from applications.fraud.request_features import Payment, RequestFeatures
    from features.online_store import SqliteStore
    from serving.client.client import ScoringClient

    asked = [Payment(**one) for one in json.loads((prepared.folder / "asked.json").read_text())]
    chance = np.random.default_rng(seed)
    due = np.cumsum(chance.exponential(1 / RATE, int(RATE * seconds)))
    order, place = chance.integers(len(asked), size=len(due)), threading.local()
    took: list[float] = []
    lookups: list[float] = []
    errors: list[str] = []

    together = threading.Barrier(THREADS)

    def begin(_: int) -> None:
        """Opens the store in each thread, as a service does when it starts."""
        place.features = RequestFeatures(SqliteStore(prepared.folder / "online"))
        place.features.example(asked[0])
        together.wait()

    def one(number: int) -> None:
        begun = time.perf_counter()
        payment = asked[order[number]]
        try:
            example = place.features.example(payment)
            lookups.append(time.perf_counter() - begun)
            client.score(payment.card, [example])
        except grpc.RpcError as error:  # anything else is a fault of the benchmark
            errors.append(str(error))
            return
        took.append(time.perf_counter() - start - due[number])

    with (
        ScoringClient(address, "fraud", labels=False) as client,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        list(pool.map(begin, range(THREADS)))
        start = time.perf_counter() + 0.1
        sent = []
        for number, when in enumerate(due):
            time.sleep(max(0.0, start + when - time.perf_counter()))
            sent.append(pool.submit(one, number))
        for future in sent:
            future.result()
    if errors:
        console.print(f"{len(errors)} errors, such as {errors[0]}")
    found: dict[str, Any] = {"requests": len(due), "errors": len(errors)}
    for name, values in (("", took), ("lookup_", lookups)):
        for q in (50, 99):
            found[f"{name}p{q}_ms"] = round(float(np.percentile(values, q)) * 1000, 2)
    console.print(found)
    return found


def _make_model(prepared: Prepared) -> None:
    """Trains the application's default model, and exports it."""
    from pipeline.config import load_config
    from tabular.entry_points import run_fn

    config = load_config(ROOT / "applications/fraud/configs/fraud.yaml")
    arguments = prepared.fn_args(
        str(prepared.folder / "training"), {"parameters": config.trainer.parameters}
    )
    run_fn(arguments)
    Path(arguments.serving_model_dir).rename(prepared.folder / "served")


def _make_store(prepared: Prepared) -> None:
    """Fills the online store with the log's history by hours, and keeps payments to ask about."""
    from pipeline.config import load_config
    from spark_io.jobs.session import spark_environment, spark_session

    config = load_config(
        ROOT / "applications/fraud/configs/fraud.yaml", [f"data_root={prepared.folder / 'data'}"]
    )
    os.environ.update(spark_environment())
    with spark_session(config.spark.model_dump(), "benchmark") as spark:
        _fill(prepared, spark, config)


def _fill(prepared: Prepared, spark: SparkSession, config: PipelineConfig) -> None:
    from pyspark.sql import functions as F  # noqa: N812

    from applications.fraud.aggregations import CHARGEBACKS, GROUPS, PAYMENTS
    from applications.fraud.card_groups import SCHEMA, card_groups, day_of
    from applications.fraud.etl import events
    from applications.fraud.profiles import profiles
    from base.durations import HOUR_MS
    from features.history import History, history_of, states
    from features.online_store import SqliteStore
    from features.online_update import OnlineUpdate, StateRow, States
    from spark_io.connectors.connector import InputLocation
    from spark_io.examples.rows import EtlContext
    from spark_io.sources.inputs import find_inputs
    from spark_io.sources.reading import read_source
    from spark_io.sources.spans import SpanRange

    place = InputLocation(config.data_root, spark)
    found = find_inputs(config.sources, SpanRange(DAYS), place).by_source
    frames = {
        name: read_source(spark, name, source, found[name], place.base, name == "payments").rows
        for name, source in config.sources.items()
    }
    outcome = config.sources["chargebacks"].outcome
    assert outcome is not None
    streams = events(spark, frames, EtlContext({}, (0,), 0, {"chargebacks": outcome}))
    first, last = streams[PAYMENTS].agg(F.min("timestamp_ms"), F.max("timestamp_ms")).first() or (
        0,
        0,
    )
    begin, end = first // HOUR_MS * HOUR_MS, (last // HOUR_MS + 1) * HOUR_MS
    past = history_of(GROUPS, streams, begin, end, time="timestamp_ms", single=[CHARGEBACKS])
    types = History(past, GROUPS, end).types
    by_hour = states(past).withColumn("span", F.floor(F.col("tile") / HOUR_MS))
    kept = prepared.folder / "states"
    order = ("entity", "key", "span", "tile")
    by_hour.repartition("entity", "key").sortWithinPartitions(*order).write.parquet(str(kept))
    rows = spark.read.parquet(str(kept)).orderBy(*order).toLocalIterator()
    update = OnlineUpdate(SqliteStore(prepared.folder / "online"), GROUPS, "benchmark")
    update.write_closed(
        dict.fromkeys(range(begin // HOUR_MS, end // HOUR_MS), 1),
        lambda _: States((StateRow.of(row.asDict()) for row in rows), types),
    )
    update.write_open(end, States((), {}))
    yesterday = end // (24 * HOUR_MS) - 1
    of_day = frames["payments"].where(day_of("timestamp_ms") == yesterday)
    line = spark.createDataFrame([(yesterday, None, 0)], SCHEMA)
    groups = card_groups(of_day).unionByName(line)
    known = {
        kind: frame.collect() for kind, frame in profiles({**frames, "card_groups": groups}).items()
    }
    update.write_profiles(
        "1",
        (
            (kind, row["key"], {n: v for n, v in row.asDict().items() if n != "key"})
            for kind, some in known.items()
            for row in some
        ),
    )
    names = ("payment_id", "card", "merchant", "device", "network", "country", "amount_cents")
    merchants = [row["key"] for row in known["merchant"]]
    some = of_day.where(F.col("card").isNotNull() & F.col("merchant").isin(merchants)).limit(3_000)
    asked = [{**{n: row[n] for n in names}, "timestamp_ms": end + 1} for row in some.collect()]
    (prepared.folder / "asked.json").write_text(json.dumps(asked))


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        wanted = json.loads(sys.argv[1])
        made = {"model": _make_model, "store": _make_store}[wanted["make"]]
        made(Prepared(Path(wanted["folder"])))
        print("{}")
    else:
        main(prog_name="python -m benchmarks.fraud_serving")
