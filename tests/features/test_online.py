"""The features that serving looks up equal a direct computation, in either store."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.section import ConfigError
from dev_services.redis_server import RedisServer, redis_server
from features.aggregations import Count, Last
from features.groups import FeatureGroup
from features.history import History, history_of
from features.history import states as history_states
from features.online_features import OnlineFeatures
from features.online_store import OnlineStore, OnlineStoreError, SqliteStore
from features.online_update import OnlineUpdate, StateRow, States
from features.redis_store import RedisStore
from tests.features.direct import direct_features
from tests.features.test_batch import DISPUTES, HOUR, PAYMENTS, declared, frame, payments, same

BEGIN = 1_700_000_000_000 // HOUR * HOUR
KINDS = ("sqlite", "redis")


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnlineStore]:
    if request.param == "sqlite":
        made: OnlineStore = SqliteStore(tmp_path / "online")
    else:
        made = in_redis(request.getfixturevalue("redis_service"))
    yield made
    made.close()


def in_redis(service: RedisServer, prefix: str = "") -> RedisStore:
    return RedisStore(
        service.host,
        service.port,
        prefix=prefix or uuid.uuid4().hex,
        password=service.password,
    )


either = pytest.mark.parametrize("store", KINDS, indirect=True)


@pytest.mark.component
@pytest.mark.parametrize("seed", range(2))
def test_both_stores_give_what_a_direct_computation_gives(
    spark: SparkSession, redis_service: RedisServer, tmp_path: Path, seed: int
) -> None:
    """Two spans are closed and the third is open; disputes lie in the spans of their own time."""
    chance = random.Random(seed + 10)
    groups = [group for _ in range(2) for group in declared(chance) if group.tile != "24h"]
    groups = [*{group.name: group for group in groups}.values()]
    paid = payments(chance, 200)
    bounds = [BEGIN + 20 * HOUR, BEGIN + 35 * HOUR]
    now_ms = BEGIN + 49 * HOUR + 12 * 60_000
    paid = [row for row in paid if row[1] < now_ms]
    some = [row for row in paid if chance.random() < 0.4]
    disputed = [(row[1] + chance.randrange(now_ms - row[1]), *row[2:5]) for row in some]

    def history(span: int) -> DataFrame:
        streams = {
            "payments": spark.createDataFrame(paid, PAYMENTS),
            "disputes": spark.createDataFrame(disputed, DISPUTES),
        }
        end = [*bounds, BEGIN + 60 * HOUR][span]
        begin = [BEGIN, *bounds][span]
        past = history_of(groups, streams, begin, end, time="at", single=["disputes"])
        return past.withColumn("span", F.lit(span))

    def states(spans: Sequence[int]) -> States:
        read = [history(span) for span in spans]
        whole = read[0] if len(read) == 1 else read[0].unionByName(read[1])
        rows = history_states(whole).orderBy("entity", "key", "tile").collect()
        types = History(whole, groups, now_ms).types
        return States([StateRow.of(row.asDict()) for row in rows], types)

    closed, opened = states([0, 1]), states([2])
    shops = {row[3] for row in paid} | {"new"}
    asked = [{"at": now_ms, "card": c, "shop": s} for c in ("c0", "c1", "c9", None) for s in shops]
    events = {"payments": frame(paid, PAYMENTS), "disputes": frame(disputed, DISPUTES)}
    rows = frame([(now_ms, one["card"], one["shop"]) for one in asked], "at l, card s, shop s")
    expected = direct_features(rows, groups, events, "at")
    for store in (SqliteStore(tmp_path / "online"), in_redis(redis_service)):
        update = OnlineUpdate(store, groups, "here")
        update.write_closed({0: 1, 1: 1}, lambda _: closed)
        update.write_open(now_ms, opened)
        features = OnlineFeatures(store, groups)
        found = features.columns(asked, now_ms)
        for request, columns, wanted in zip(asked, found, expected, strict=True):
            assert columns.keys() == wanted.keys()
            for name, value in wanted.items():
                assert same(columns[name], value), (request, name, columns[name], value)
        assert features.as_of() == now_ms
        store.close()


CARD = FeatureGroup("card", "payments", ("card",), ("2h",), (Count(), Last("shop")))


def counted(*rows: tuple[int, str, int, int]) -> States:
    """Returns states of rows (span, card, tile in hours, number of events)."""
    count, last = CARD.parts()
    entity = '["card", 3600000]'
    made = [
        StateRow(
            entity,
            key,
            span,
            hour * HOUR,
            {count.name: float(number)},
            {last.name: b'[{"_event_ms": %d, "c0": "s"}]' % (hour * HOUR)},
        )
        for span, key, hour, number in sorted(rows, key=lambda row: (row[1], row[2]))
    ]
    return States(made, {last.name: ["string"]})


def of(rows: Iterable[tuple[int, str, int, int]]) -> Callable[[Sequence[int]], States]:
    return lambda spans: counted(*(row for row in rows if row[0] in spans))


def counts(store: OnlineStore, hour: int, *cards: str) -> list[int]:
    rows = [{"card": card} for card in cards]
    found = OnlineFeatures(store, [CARD]).columns(rows, hour * HOUR + 5)
    return [row["card_count_2h"] for row in found]


@pytest.mark.unit
@either
def test_a_span_that_is_closed_counts_once(store: OnlineStore) -> None:
    """Whether or not it is still among the open ones."""
    update = OnlineUpdate(store, [CARD], "here")
    update.write_closed({9: 1}, of([(9, "a", 9, 3)]))
    update.write_open(10 * HOUR, counted((10, "a", 10, 2)))
    assert counts(store, 10, "a", "b") == [5, 0]
    update.write_closed({9: 1, 10: 1}, of([(10, "a", 10, 2)]))
    assert counts(store, 10, "a") == [5]
    update.write_open(11 * HOUR, counted())
    assert counts(store, 10, "a") == [5]
    assert counts(store, 12, "a") == [2]  # its window begins at 10
    assert counts(store, 13, "a") == [0]


@pytest.mark.unit
@either
def test_a_span_that_is_closed_again_replaces_its_rows(store: OnlineStore) -> None:
    """Also those of keys that it no longer has."""
    update = OnlineUpdate(store, [CARD], "here")
    update.write_open(0, counted())
    update.write_closed({9: 1}, of([(9, "a", 9, 3), (9, "b", 9, 7)]))
    assert counts(store, 10, "a", "b") == [3, 7]
    update.write_closed({9: 2}, of([(9, "a", 9, 4)]))
    assert counts(store, 10, "a", "b") == [4, 0]


@pytest.mark.unit
@either
def test_half_an_update_is_not_visible_and_can_be_repeated(store: OnlineStore) -> None:
    update = OnlineUpdate(store, [CARD], "here")
    update.write_open(0, counted())
    update.write_closed({8: 1}, of([(8, "a", 8, 1)]))

    def killed(spans: Sequence[int]) -> States:
        whole = counted((9, "a", 9, 3), (9, "b", 9, 7))

        def rows() -> Iterator[StateRow]:
            for number in range(3_000):  # more than are written at once
                yield StateRow('["card", 3600000]', f"_{number:04}", 9, 9 * HOUR, {}, {})
            yield from whole.rows
            raise KeyboardInterrupt

        return States(rows(), whole.types)

    with pytest.raises(KeyboardInterrupt):
        update.write_closed({8: 1, 9: 1}, killed)
    assert counts(store, 9, "a", "b") == [1, 0]
    update.write_closed({8: 1, 9: 1}, of([(9, "a", 9, 3), (9, "b", 9, 7)]))
    assert counts(store, 9, "a", "b") == [4, 7]


@pytest.mark.unit
@either
def test_a_replay_that_was_killed_leaves_the_version_before_it(store: OnlineStore) -> None:
    """Its keys that are written already must count as before, until all of them are."""
    update = OnlineUpdate(store, [CARD], "here")
    update.write_open(0, counted())
    update.write_closed({9: 1}, of([(9, "a", 9, 3), (9, "b", 9, 7)]))

    def killed(spans: Sequence[int]) -> States:
        whole = counted((9, "a", 9, 4))

        def rows() -> Iterator[StateRow]:
            yield from whole.rows
            for number in range(3_000):  # more than are written at once
                yield StateRow('["card", 3600000]', f"c{number:04}", 9, 9 * HOUR, {}, {})
            raise KeyboardInterrupt

        return States(rows(), whole.types)

    with pytest.raises(KeyboardInterrupt):
        update.write_closed({9: 2}, killed)
    assert counts(store, 9, "a", "b") == [3, 7]
    update.write_closed({9: 2}, of([(9, "a", 9, 4)]))
    assert counts(store, 9, "a", "b") == [4, 0]


@pytest.mark.unit
@either
def test_what_is_too_old_is_removed(store: OnlineStore) -> None:
    update = OnlineUpdate(store, [CARD], "here")
    for hour in range(60):
        new = [(hour, "often", hour, 1), (hour, f"once {hour}", hour, 1)]
        wanted = dict.fromkeys(range(max(0, hour - 2), hour + 1), 1)
        update.write_closed(wanted, of(new))
    assert len([*store.all("closed")]) < 24 + 3 + 2


@pytest.mark.unit
@either
def test_other_declarations_write_it_anew_and_are_not_read(store: OnlineStore) -> None:
    update = OnlineUpdate(store, [CARD], "here")
    update.write_open(0, counted())
    update.write_closed({9: 1}, of([(9, "a", 9, 3)]))
    other = FeatureGroup("card", "payments", ("card",), ("2h",), (Count(),), where="amount > 1")
    with pytest.raises(OnlineStoreError, match="written for other feature groups than those"):
        OnlineFeatures(store, [other]).columns([{"card": "a"}], 10 * HOUR)
    writer = OnlineUpdate(store, [other], "here")

    def killed(spans: Sequence[int]) -> States:
        assert counts(store, 10, "a") == [3]  # until the new one is there as a whole
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.write_closed({9: 1}, killed)
    assert counts(store, 10, "a") == [3]
    writer.write_closed({9: 1}, lambda _: States((), {}))
    assert not [*store.all("closed")]


@pytest.mark.unit
@either
def test_a_store_takes_the_spans_of_one_folder(store: OnlineStore) -> None:
    """Hour 9, version 1 of another folder has other events, and seems to be there already."""
    OnlineUpdate(store, [CARD], "here").write_closed({9: 1}, of([(9, "a", 9, 3)]))
    with pytest.raises(OnlineStoreError, match="has the past of another streaming folder"):
        OnlineUpdate(store, [CARD], "there")


@pytest.mark.unit
@either
def test_types_that_changed_are_an_error(store: OnlineStore) -> None:
    update = OnlineUpdate(store, [CARD], "here")
    update.write_closed({9: 1}, of([(9, "a", 9, 3)]))
    with pytest.raises(ConfigError, match=r"types string in one hour and bigint in another"):
        (last,) = counted().types
        update.write_closed({9: 1, 10: 1}, lambda _: States((), {last: ["bigint"]}))


@pytest.mark.unit
@either
def test_keys_are_texts_and_whole_numbers(store: OnlineStore) -> None:
    """Spark writes a whole number as Python does, and 1.0 or true in another way."""
    update = OnlineUpdate(store, [CARD], "here")
    update.write_closed({9: 1}, of([(9, "7", 9, 3)]))
    update.write_open(0, counted())
    features = OnlineFeatures(store, [CARD])
    found = features.columns([{"card": 7}, {"card": "7"}, {"card": None}, {}], 10 * HOUR)
    assert [row["card_count_2h"] for row in found] == [3, 3, 0, 0]
    for key in (7.0, True, b"7"):
        with pytest.raises(TypeError, match="text or a whole number as a key"):
            features.columns([{"card": key}], 10 * HOUR)


@pytest.mark.unit
@either
def test_a_store_that_was_cleared_is_an_error(
    store: OnlineStore, tmp_path: Path, redis_service: RedisServer
) -> None:
    """Its entities would seem to have no past."""
    with pytest.raises(OnlineStoreError, match="has no table 'open': it was not written yet"):
        counts(store, 10, "a")
    update = OnlineUpdate(store, [CARD], "here")
    update.write_closed({9: 1}, of([(9, "a", 9, 3)]))
    update.write_open(0, counted())
    assert counts(store, 10, "a") == [3]
    if isinstance(store, SqliteStore):
        (tmp_path / "online" / "closed.sqlite").unlink()
    else:
        import redis

        client = redis.Redis(
            redis_service.host, redis_service.port, password=redis_service.password
        )
        assert isinstance(store, RedisStore)
        evicted = [key for key in client.keys("*:closed:*") if b"numbers" not in key]
        client.delete(*evicted)  # the description stays, as when a server is short of memory
    with pytest.raises(OnlineStoreError, match="has no table 'closed'"):
        counts(store, 10, "a")


@pytest.mark.unit
def test_a_store_that_disappears_is_one_line(tmp_path: Path) -> None:
    with redis_server(tmp_path) as service:
        store = in_redis(service, "mine")
        OnlineUpdate(store, [CARD], "here").write_closed({9: 1}, of([(9, "a", 9, 3)]))
        OnlineUpdate(store, [CARD], "here").write_open(0, counted())
        wrong = RedisStore(service.host, service.port, prefix="mine", password="wrong")
        with pytest.raises(OnlineStoreError, match="rejects the password") as refused:
            counts(wrong, 10, "a")
        assert "wrong" not in str(refused.value)
    with pytest.raises(OnlineStoreError, match="cannot be used") as gone:
        counts(store, 10, "a")
    assert service.password not in str(gone.value)
    assert "\n" not in str(gone.value)
    with redis_server(tmp_path, service.port):  # empty after its restart
        with pytest.raises(OnlineStoreError, match="has no table"):
            counts(store, 10, "a")
        OnlineUpdate(store, [CARD], "here").write_closed({9: 1}, of([(9, "a", 9, 3)]))
        OnlineUpdate(store, [CARD], "here").write_open(0, counted())
        assert counts(store, 10, "a") == [3]


@pytest.mark.unit
@either
def test_profiles(store: OnlineStore) -> None:
    update, features = OnlineUpdate(store, [CARD], "here"), OnlineFeatures(store, [CARD])
    update.write_profiles("1", [("shop", "s", {"open": True}), ("card", "s", {"limit": 5})])
    found = features.profiles({"shop": ["s", "t", "s"], "card": ["t", "s"]})
    assert found == {"shop": {"s": {"open": True}}, "card": {"s": {"limit": 5}}}
    update.write_profiles("1", iter(()))
    assert features.profiles({"card": ["s"]}) == {"card": {"s": {"limit": 5}}}
    update.write_profiles("2", iter(()))
    assert features.profiles({"card": ["s"]}) == {"card": {}}
