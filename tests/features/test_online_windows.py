"""Windows of many entities at once, from states of tiles, against a direct computation."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasketches import hll_sketch

from features.aggregations import (
    Aggregation,
    Count,
    Distinct,
    First,
    Last,
    Max,
    Mean,
    Min,
    Rate,
    Sum,
    Variance,
)
from features.entity_keys import key_text
from features.events import entities_of
from features.groups import FeatureGroup
from features.online_features import OnlineFeatures
from features.online_store import SqliteStore
from features.online_update import OnlineUpdate, StateRow, States, parts_of
from features.online_values import MOMENTS
from features.parts import SKETCH_LOG2_REGISTERS, Ends, Moments, Number, Part, Sketch
from tests.features.direct import CONDITIONS, direct_features
from tests.features.test_batch import DISPUTES, HOUR, PAYMENTS, declared, frame, payments, same

pytestmark = pytest.mark.unit

Event = dict[str, Any]
SPANS = 4  # the last is open
TYPES = {"shop": "string", "amount": "double"}


def state(part: Part, events: Sequence[Event]) -> tuple[dict[str, float], dict[str, bytes]]:
    """Returns the numbers and bytes of a tile's part, as Spark writes them."""
    if part.where is not None:
        events = [event for event in events if CONDITIONS[part.where](event)]
    if isinstance(part, Ends):
        entries = [
            {"_event_ms": e["at"], **{f"c{n}": e[c] for n, c in enumerate(part.columns)}}
            for e in events
        ]
        return {}, {part.name: written(entries)} if entries else {}
    if isinstance(part, Sketch):
        (column,) = part.columns
        sketch = hll_sketch(SKETCH_LOG2_REGISTERS)
        for event in events:
            if event[column] is not None:
                sketch.update(f"={event[column]}")
        return {}, {} if sketch.is_empty() else {part.name: bytes(sketch.serialize_compact())}
    usable = [
        [float(e[c]) for c in part.columns]
        for e in events
        if all(e[c] is not None and math.isfinite(e[c]) for c in part.columns)
    ]
    if not usable:
        return {}, {}
    if isinstance(part, Moments):
        values = np.array(usable)[:, 0]
        moments = len(values), values.mean(), ((values - values.mean()) ** 2).sum()
        named = zip(MOMENTS, moments, strict=True)
        return {f"{part.name}.{field}": float(value) for field, value in named}, {}
    if isinstance(part, Number):
        merge: Any = {"sum": np.sum, "min": np.min, "max": np.max}[part.kind]
        return {part.name: float(merge(usable))}, {}
    return {part.name: float(len(usable))}, {}


def written(entries: Sequence[Event]) -> bytes:
    """Returns Spark's JSON: nulls are left out; NaN and infinity are texts."""
    return json.dumps(
        [{name: plain(v) for name, v in entry.items() if v is not None} for entry in entries]
    ).encode()


def plain(value: Any) -> Any:
    is_odd = isinstance(value, float) and not math.isfinite(value)
    return json.dumps(value) if is_odd else value


def states(groups: Sequence[FeatureGroup], events: dict[str, list[Event]]) -> list[StateRow]:
    """Returns the states of events by entity, key, span and tile, sorted by entity and key."""
    rows = []
    for entity, parts in zip(entities_of(groups), parts_of(groups).values(), strict=True):
        tiles: dict[tuple[str, int, int], dict[str, list[Event]]] = defaultdict(dict)
        for stream, some in events.items():
            for event in some:
                key = key_text([event[name] for name in entity.keys])
                if key is not None:
                    tile = event["at"] // entity.tile_ms * entity.tile_ms
                    tiles[key, event["span"], tile].setdefault(stream, []).append(event)
        for (key, span, tile), of_streams in tiles.items():
            made = [state(part, of_streams.get(part.stream, [])) for part in parts]
            numbers = {name: value for some, _ in made for name, value in some.items()}
            blobs = {name: value for _, some in made for name, value in some.items()}
            rows.append(StateRow(entity.name, key, span, tile, numbers, blobs))
    return sorted(rows, key=lambda row: (row.entity, row.key))  # spans and tiles in any order


def filled(folder: Path, groups: Sequence[FeatureGroup], rows: Sequence[StateRow]) -> SqliteStore:
    """Returns a store with these states; the last span is open."""
    ends = {part for group in groups for part in group.parts() if isinstance(part, Ends)}
    types = {part.name: [TYPES[column] for column in part.columns] for part in ends}
    store = SqliteStore(folder)
    update = OnlineUpdate(store, groups, "here")
    for last in (1, SPANS - 1):  # the second update appends rows, whatever their tiles
        update.write_closed(
            dict.fromkeys(range(last), 1),
            lambda spans: States([row for row in rows if row.span in spans], types),
        )
    opened = [row for row in rows if row.span >= SPANS - 2]  # the span before is there twice
    update.write_open(0, States(opened, types))
    return store


@pytest.mark.parametrize("seed", range(8))
def test_many_entities_at_once_are_as_each_alone(tmp_path: Path, seed: int) -> None:
    """Keys without a past, null keys, conditions, empty windows, and late events in later spans."""
    chance = random.Random(seed + 100)
    groups = [*{g.name: g for _ in range(2) for g in declared(chance)}.values()]
    now_ms = 1_700_000_000_000 + chance.choice([40, 49, 51, 90]) * HOUR + 60_001
    past = {}
    for stream, schema in {"payments": PAYMENTS, "disputes": DISPUTES}.items():
        paid = payments(chance, chance.choice([0, 5, 150]))
        events = frame(paid if stream == "payments" else [row[1:5] for row in paid], schema)
        events["span"] = [chance.randrange(SPANS) for _ in paid]
        past[stream] = events[events["at"] < now_ms]
    shops = ["a", "b", None, "3:x", "<b>", "ä", "", "new"]
    asked = [{"at": now_ms, "card": c, "shop": s} for c in ("c0", "c1", "c9", None) for s in shops]
    rows = frame([(now_ms, one["card"], one["shop"]) for one in asked], "at l, card s, shop s")
    expected = direct_features(rows, groups, past, "at")
    events_of: Any = {name: events.to_dict("records") for name, events in past.items()}
    store = filled(tmp_path, groups, states(groups, events_of))
    found = OnlineFeatures(store, groups).columns(asked, now_ms)
    for request, columns, wanted in zip(asked, found, expected, strict=True):
        assert columns.keys() == wanted.keys()
        for name, value in wanted.items():
            assert same(columns[name], value), (request, name, columns[name], value)
            assert type(columns[name]) in (int, float, str, list, type(None))


ALL: tuple[Aggregation, ...] = (
    Count(),
    Sum("amount"),
    Mean("amount", empty=-1),
    Min("amount"),
    Max("amount"),
    Variance("amount"),
    Distinct("shop"),
    Rate("payments", prior=0.5, strength=2),
    First("shop"),
    Last("shop", 2, hours="hours"),
)
CARD = FeatureGroup("c", "payments", ("card",), ("1h", "2h", "3h"), ALL)


def looked_up(folder: Path, *events: tuple[float, float, str], at: float) -> dict[str, Any]:
    """Returns the columns of CARD as of an hour, after events of hour, amount and shop."""
    made = [
        {"at": int(hour * HOUR), "card": "a", "amount": amount, "shop": shop, "span": 0}
        for hour, amount, shop in events
    ]
    store = filled(folder, [CARD], states([CARD], {"payments": made}))
    (found,) = OnlineFeatures(store, [CARD]).columns([{"card": "a"}], int(at * HOUR))
    return found


def test_an_empty_window_has_the_values_of_an_entity_without_a_past(tmp_path: Path) -> None:
    found = looked_up(tmp_path, (7.0, 4.0, "s"), at=10.5)
    empty: dict[str, Any] = {
        "c_count": 0,
        "c_sum_amount": 0.0,
        "c_mean_amount": -1.0,
        "c_min_amount": None,
        "c_max_amount": None,
        "c_variance_amount": None,
        "c_distinct_shop": 0,
        "c_rate": 0.5,
        "c_first_shop": None,
        "c_last_shop": [],
        "c_hours": [],
    }
    for window in ("1h", "2h"):
        assert {name: found[f"{name}_{window}"] for name in empty} == empty
    assert found["c_count_3h"] == 1
    assert found["c_variance_amount_3h"] == 0.0
    assert found["c_last_shop_3h"] == ["s"]
    store = SqliteStore(tmp_path)
    (nobody,) = OnlineFeatures(store, [CARD]).columns([{"card": "nobody"}], 10 * HOUR)
    assert nobody == {f"{name}_{w}": value for w in CARD.windows for name, value in empty.items()}


def test_a_long_window_does_not_blur_a_short_one(tmp_path: Path) -> None:
    """Differences of running sums would give 0 here: 1e16 + 1 is 1e16."""
    found = looked_up(tmp_path, (7.0, 1e16, "s"), (9.0, 0.25, "s"), (9.5, 0.75, "s"), at=10.5)
    assert found["c_sum_amount_1h"] == found["c_sum_amount_2h"] == 1.0
    assert found["c_mean_amount_1h"] == 0.5
    assert found["c_variance_amount_1h"] == 0.0625
    assert found["c_max_amount_3h"] == 1e16


def test_first_and_last_events_are_those_of_each_window(tmp_path: Path) -> None:
    found = looked_up(
        tmp_path, (7.2, 1.0, "p"), (8.1, 1.0, "q"), (8.2, 1.0, "r"), (9.3, 1.0, "s"), at=10.0
    )
    assert [found[f"c_first_shop_{window}"] for window in CARD.windows] == ["s", "q", "p"]
    assert [found[f"c_last_shop_{w}"] for w in CARD.windows] == [["s"], ["s", "r"], ["s", "r"]]
