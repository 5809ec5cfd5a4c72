"""Latency of the online features of 100 candidates, part of python -m benchmarks.features.

One request asks for one visitor and a hundred candidates of ten kinds: the past of 223 entities in
five sets of keys, over windows of up to seven days. Each candidate has events in every hour of the
week, and each pair of visitor and candidate in one. Redis is read in two ways: values are kept in
memory as by default, or each request reads all of its values.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from base.durations import HOUR_MS
from dev_services.redis_server import redis_server
from features.aggregations import Aggregation, Count, Last, Rate, Sum
from features.entity_keys import key_text
from features.events import Entity
from features.groups import FeatureGroup
from features.online_features import OnlineFeatures
from features.online_store import OnlineStore, SqliteStore
from features.online_update import OnlineUpdate, StateRow, States
from features.parts import Ends
from features.redis_store import RedisStore

_HOURS, _CANDIDATES, _KINDS, _VISITORS, _ITEMS = 168, 100, 10, 50, 400
_WINDOWS = ("1h", "24h", "7d")
_KEYS = (("visitor",), ("item",), ("kind",), ("visitor", "kind"), ("visitor", "item"))
_OF: tuple[Aggregation, ...] = (Count(), Sum("amount"), Rate("shown", prior=0.1, strength=20))
GROUPS = [
    *(FeatureGroup("_".join(keys), "taken", keys, _WINDOWS, _OF) for keys in _KEYS),
    FeatureGroup("last", "taken", ("visitor",), ("7d",), (Last(("item", "kind"), 10),)),
]


def online_latencies(requests: int) -> dict[str, dict[str, float]]:
    """Returns store -> milliseconds (p50_ms, p99_ms, cpu_ms) of a request, after it was filled."""
    with tempfile.TemporaryDirectory() as temporary, redis_server(Path(temporary)) as service:
        in_redis = partial(
            RedisStore,
            service.host,
            service.port,
            prefix="bench",
            password=service.password,
            timeout_s=60,
        )
        stores: dict[str, OnlineStore] = {
            "sqlite": SqliteStore(Path(temporary) / "online"),
            "redis": in_redis(),
            "redis_keeping_nothing": in_redis(keep_bytes=0),
        }
        return {name: _latencies(store, requests) for name, store in stores.items()}


def _latencies(store: OnlineStore, requests: int) -> dict[str, float]:
    update = OnlineUpdate(store, GROUPS, "benchmark")
    parts = {part for group in GROUPS for part in group.parts() if isinstance(part, Ends)}
    types = {part.name: ["string"] * len(part.columns) for part in parts}
    update.write_closed(dict.fromkeys(range(_HOURS), 1), lambda _: States(_closed(), types))
    update.write_open(_HOURS * HOUR_MS, States((), {}))
    features, chance = OnlineFeatures(store, GROUPS), random.Random(1)  # noqa: S311 - a load
    took, cpu = [], time.process_time()
    for _ in range(requests):
        visitor = f"v{chance.randrange(_VISITORS)}"
        rows = [
            {"visitor": visitor, "item": f"i{item}", "kind": f"k{item % _KINDS}"}
            for item in chance.sample(range(_ITEMS), _CANDIDATES)
        ]
        started = time.perf_counter()
        found = features.columns(rows, _HOURS * HOUR_MS + 1)
        took.append((time.perf_counter() - started) * 1000)
        assert found[0]["item_count_7d"] == _HOURS
    cpu = (time.process_time() - cpu) * 1000 / requests
    store.close()
    cuts = statistics.quantiles(took, n=100)
    return {"p50_ms": round(cuts[49], 2), "p99_ms": round(cuts[98], 2), "cpu_ms": round(cpu, 2)}


def _closed() -> Iterator[StateRow]:
    """Yields the states of a week, by entity and key."""
    for keys in _KEYS:
        for values in _values(keys):
            often = keys != ("visitor", "item")
            for hour in range(_HOURS) if often else [7 * len(values[0]) % _HOURS]:
                yield _state(keys, values, hour)


def _values(keys: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    sizes = {"visitor": _VISITORS, "item": _ITEMS, "kind": _KINDS}
    first, *others = keys
    for number in range(sizes[first]):
        for other in range(sizes[others[0]]) if others else [None]:
            rest = () if other is None else (f"{others[0][0]}{other}",)
            yield (f"{first[0]}{number}", *rest)


def _state(keys: tuple[str, ...], values: tuple[str, ...], hour: int) -> StateRow:
    parts = {p for g in GROUPS if g.keys == keys for p in g.parts()}
    last = f'[{{"_event_ms": {hour * HOUR_MS}, "c0": "i{hour}", "c1": "k1"}}]'.encode()
    return StateRow(
        Entity(keys, HOUR_MS).name,
        key_text(values) or "",
        hour,
        hour * HOUR_MS,
        {part.name: 1.0 for part in parts if not isinstance(part, Ends)},
        {part.name: last for part in parts if isinstance(part, Ends)},
    )
