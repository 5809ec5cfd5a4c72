"""Features in Feast itself: what it reads is what Spark computed, in the offline and online store.

Feast runs in an environment of its own, which requirements/own_environment.py makes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from features.batch import add_features
from features.feast.repository import write_repository
from features.feast.values import entities_at, view_table
from features.feast.views import views_of
from tests.features import feast_declarations as declared
from tests.features.feast_declarations import GROUPS, HOUR, LARGE, NOW
from tests.product import ROOT

pytestmark = pytest.mark.component

ID, LATER = "row", HOUR + 1  # later than the shortest window of CARD
PEER = Path(__file__).with_name("feast_peer.py")
# The events whose times and keys are rows of a view.
ROWS = {"card": "payments", "shop": "payments", "heat": "readings"}
VIEWS = {view.name: view for view in views_of(GROUPS)}
FEATURES = {name: [column.name for column in view.columns()] for name, view in VIEWS.items()}
Row = dict[str, Any]


def feast(*command: object, folder: Path) -> str:
    """Runs a program of Feast's environment, on a machine that is not in UTC."""
    make = [sys.executable, str(ROOT / "requirements/own_environment.py"), "feast"]
    python = Path(subprocess.run(make, stdout=subprocess.PIPE, text=True, check=True).stdout[:-1])
    program, *arguments = map(str, command)
    done = subprocess.run(
        [str(python.parent / program), *arguments],
        cwd=folder,
        env={**os.environ, "TZ": "America/New_York", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Shop:
    """The exported repository with the tables of values, what Spark computed, and what Feast says.

    Attributes:
      then: View -> rows of events, with the features as of their times.
      now: View -> a row for each entity, with the features as of NOW.
      registry: What Feast holds of views and entities after `feast apply`.
      as_of: Views and milliseconds after the events -> what Feast says of `then` at that time.
      online: View and end of materialization -> what Feast then says of `now`.
    """

    def __init__(self, spark: SparkSession, folder: Path):
        chance = random.Random(5)
        self.folder = folder / "feature_repo"
        self.streams: dict[str, DataFrame] = {
            "payments": spark.createDataFrame(declared.payments(chance, 150), declared.PAYMENTS),
            "disputes": spark.createDataFrame(declared.disputes(chance, 30), declared.DISPUTES),
            "readings": spark.createDataFrame(declared.readings(chance, 60), declared.READINGS),
        }
        schemas = {name: frame.schema for name, frame in self.streams.items()}
        write_repository(spark, self.folder, GROUPS, schemas, project="acme")
        self.then: dict[str, list[Row]] = {}
        self.now: dict[str, list[Row]] = {}
        for stream in dict.fromkeys(ROWS.values()):
            self._compute(stream, [view for view in VIEWS if ROWS[view] == stream])
        feast("feast", "apply", folder=self.folder)
        self._ask()

    def _compute(self, stream: str, views: Sequence[str]) -> None:
        """Computes the features of these views at once, and writes their tables."""
        keys = {key: None for view in views for key in VIEWS[view].keys}
        identity = F.concat(F.lit("then:"), f"{stream[:-1]}_id").alias(ID)
        frames = [self.streams[stream].select(identity, "at", *keys)]
        for view in views:
            entities = entities_at(NOW, GROUPS, view, self.streams, identity=ID, time="at")
            frames.append(entities.withColumn(ID, F.concat(F.lit(f"{view}:"), ID)))
        rows = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)
        groups = [group for group in GROUPS if group.name in views]
        found = add_features(rows, groups, self.streams, identity=ID, time="at").cache()
        collected = [row.asDict() for row in found.collect()]
        for view in views:
            table = view_table(found, GROUPS, view, time="at")
            table.write.parquet(str(self.folder / "values" / view))
            whole = _with_keys(collected, view)
            self.then[view] = [row for row in whole if row[ID].startswith("then:")]
            self.now[view] = [row for row in whole if row[ID].startswith(f"{view}:")]

    def rows(self, views: Sequence[str]) -> list[Row]:
        """Returns the rows of events that have the keys of all these views."""
        rows = self.then[views[0]]
        for view in views:
            rows = _with_keys(rows, view)
        return rows

    def _ask(self) -> None:
        """Asks everything in one process, since Feast needs seconds to start."""
        wanted = [(("card", "shop"), 0), (("heat",), 0), (("card",), LATER)]
        ends = [("card", NOW - 1), ("card", NOW), ("heat", NOW)]
        actions: list[tuple[str, Row]] = [("describe", {})]
        actions += [("historical", self._historical(*one)) for one in wanted]
        for view, end in ends:
            entities = [{key: row[key] for key in VIEWS[view].keys} for row in self.now[view]]
            arguments = {"entities": entities, "features": _references(view)}
            actions.append(("materialize", {"begin_ms": NOW - 100 * HOUR, "end_ms": end}))
            actions.append(("online", arguments))
        path = self.folder.parent / "actions.json"
        path.write_text(json.dumps(actions))
        printed = feast("python", PEER, self.folder, path, folder=self.folder.parent)
        answers = json.loads(printed.splitlines()[-1])
        self.registry = answers[0]
        self.as_of = {
            one: pq.read_table(arguments["out"]).to_pylist()
            for one, (_, arguments) in zip(wanted, actions[1:4], strict=True)
        }
        self.online = {
            one: [dict(zip(said, row, strict=True)) for row in zip(*said.values(), strict=True)]
            for one, said in zip(ends, answers[5::2], strict=True)
        }

    def _historical(self, views: Sequence[str], later_ms: int) -> Row:
        """Writes rows of events, moved to a later time; returns the arguments of `historical`."""
        rows = self.rows(views)
        times = pa.array([row["at"] + later_ms for row in rows], pa.timestamp("ms", "UTC"))
        names = [ID, *dict.fromkeys(key for view in views for key in VIEWS[view].keys)]
        table = {name: [row[name] for row in rows] for name in names}
        name = self.folder.parent / f"{'_'.join(views)}_{later_ms}"
        pq.write_table(pa.table({**table, "event_timestamp": times}), f"{name}_asked")
        features = [reference for view in views for reference in _references(view)]
        return {"entities": f"{name}_asked", "features": features, "out": f"{name}_answered"}


def _with_keys(rows: Sequence[Row], view: str) -> list[Row]:
    return [row for row in rows if all(row[key] is not None for key in VIEWS[view].keys)]


def _references(view: str) -> list[str]:
    return [f"{view}:{name}" for name in FEATURES[view]]


def features_of(row: Row, *views: str) -> Row:
    return {name: row[name] for view in views for name in FEATURES[view]}


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(spark, tmp_path_factory.mktemp("feast"))


@pytest.mark.parametrize("views", [("card", "shop"), ("heat",)])
def test_at_the_time_of_an_event_feast_reads_what_spark_computed(
    shop: Shop, views: tuple[str, ...]
) -> None:
    found = {row[ID]: row for row in shop.as_of[views, 0]}
    rows = shop.rows(views)
    assert len(found) == len(rows) > 50
    for row in rows:
        assert features_of(found[row[ID]], *views) == features_of(row, *views)


def test_no_value_is_older_than_the_shortest_window(shop: Shop) -> None:
    rows, found = shop.rows(("card",)), {row[ID]: row for row in shop.as_of[("card",), LATER]}
    times = {(row["card"], row["at"]) for row in [*rows, *shop.now["card"]]}
    assert len(found) == len(rows)
    stale = 0
    for row in rows:
        since = [at - row["at"] for card, at in times if card == row["card"]]
        values = features_of(found[row[ID]], "card")
        if any(0 < later <= LATER for later in since):
            assert values["card_count_1h"] is not None
        else:
            stale += 1
            assert all(value is None for value in values.values())
    assert 10 < stale < len(rows)


def test_the_online_store_has_the_values_as_of_the_last_row(shop: Shop) -> None:
    """Rows of events are an event behind; those as of now count every event."""
    cards, behind = shop.online["card", NOW], shop.online["card", NOW - 1]
    assert {row["card"] for row in cards} == {"c0", "c1", "c2", "ä'\"", ""}
    for now, before, after in zip(shop.now["card"], behind, cards, strict=True):
        earlier = [row for row in shop.then["card"] if row["card"] == now["card"]]
        last = max(earlier, key=lambda row: row["at"])
        assert features_of(before, "card") == features_of(last, "card")
        assert features_of(after, "card") == features_of(now, "card")
    assert [row["card_count_24h"] for row in behind] != [row["card_count_24h"] for row in cards]
    assert len(shop.online["heat", NOW]) == 4
    for now, after in zip(shop.now["heat"], shop.online["heat", NOW], strict=True):
        assert features_of(after, "heat") == features_of(now, "heat")


def test_the_registry_has_the_declarations(shop: Shop) -> None:
    found = shop.registry
    assert found["entities"] == {key: key for key in ("card", "shop", "machine", "sensor")}
    card, shops, heat = (found["views"][name] for name in ("card", "shop", "heat"))
    assert (card["ttl"], shops["ttl"], heat["ttl"]) == (3600, 48 * 3600, 600)
    assert heat["entities"] == ["machine", "sensor"]
    assert card["tags"] == {"stream": "payments", "tile": "1h"}
    assert shops["tags"] == {"stream": "disputes", "windows": "48h", "tile": "24h"}
    assert card["fields"]["card_sum_amount_24h"] == [
        "Float64",
        {"aggregation": "Sum(column='amount')", "window": "24h"},
    ]
    assert card["fields"]["card_first_large_3h"] == [
        "Array(Int64)",
        {
            "aggregation": "First(columns_of='number', length=2, named=('first_large',))",
            "window": "3h",
            "where": LARGE,
        },
    ]
    assert heat["fields"]["heat_hours_10m"][0] == "Array(Float32)"
    assert heat["fields"]["heat_ok_2h"][0] == "Array(Bool)"
