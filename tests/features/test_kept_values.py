"""Values that a reader of Redis keeps in memory are never older than the table."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from dev_services.redis_server import RedisServer
from features.kept_values import KeptValues
from features.online_store import Key, OnlineStoreError
from features.redis_store import RedisStore

pytestmark = pytest.mark.unit

A, B = ("shop", "a"), ("shop", "b")
Opened = Callable[..., RedisStore]


@pytest.fixture
def opened(redis_service: RedisServer) -> Iterator[Opened]:
    """Yields a function that opens the same store once more."""
    prefix, made = uuid.uuid4().hex, []

    def another(keep_bytes: int = 1 << 20) -> RedisStore:
        made.append(
            RedisStore(
                redis_service.host,
                redis_service.port,
                prefix=prefix,
                password=redis_service.password,
                keep_bytes=keep_bytes,
            )
        )
        return made[-1]

    yield another
    for store in made:
        store.close()


def read(store: RedisStore, *keys: Key) -> list[bytes | None]:
    ((_, values),) = store.get_many(["t"], keys)
    return values


@pytest.fixture
def client(redis_service: RedisServer) -> redis.Redis:
    return redis.Redis(redis_service.host, redis_service.port, password=redis_service.password)


def hash_of(client: Any, store: RedisStore) -> bytes:
    """Returns the name of the hash of the table t."""
    names = {bytes(name) for name in client.keys(f"{store._prefix}:t:*")}
    (name,) = names - {f"{store._prefix}:t:numbers".encode()}
    return name


def test_the_values_used_last_stay_within_the_bound() -> None:
    """A value takes 300 bytes, and 200 for itself and its key: four are within the bound."""
    kept = KeptValues(2_100)
    for key in (b"0", b"1", b"2", b"3", b"4", b"5"):
        unknown = dict.fromkeys(kept.unknown([b"0", b"0", key]), b"x" * 300)
        assert [*unknown] == [key]
        assert kept.with_read([b"0", key], unknown) == [b"x" * 300, b"x" * 300]
    assert kept.unknown([b"0", b"1", b"2", b"3", b"4", b"5"]) == [b"1", b"2"]


def test_a_value_larger_than_the_bound_is_read_each_time() -> None:
    kept = KeptValues(100)
    assert kept.with_read([b"a"], {b"a": b"x" * 200}) == [b"x" * 200]
    assert kept.unknown([b"a"]) == [b"a"]


def test_values_are_read_again_only_after_a_write(opened: Opened, client: redis.Redis) -> None:
    """The second value was not written by an update, so no reader has to see it before one."""
    writer, reader = opened(), opened()
    writer.replace("t", [(A, b"1")], {"spans": 1})
    assert read(reader, A, B, A) == [b"1", None, b"1"]
    client.hset(hash_of(client, writer), "shop\0a", b"2")
    assert read(reader, A, B) == [b"1", None]
    assert read(opened(keep_bytes=0), A) == [b"2"]
    writer.update("t", [(B, b"3")], {"spans": 1})  # the same description but for its write
    assert read(reader, A, B) == [b"2", b"3"]
    writer.replace("t", [(A, b"4")], {"spans": 1})
    assert read(reader, A, B) == [b"4", None]


def test_a_table_that_was_cleared_and_written_again_is_read_again(
    opened: Opened, client: redis.Redis
) -> None:
    """Its numbers begin anew, and its description says the same."""
    writer, reader = opened(), opened()
    writer.replace("t", [(A, b"1")], {"spans": 1})
    assert read(reader, A) == [b"1"]
    client.delete(*client.keys(f"{writer._prefix}:*"))
    with pytest.raises(OnlineStoreError, match="has no table 't'"):
        read(reader, A)
    writer.replace("t", [(A, b"2")], {"spans": 1})
    assert read(reader, A) == [b"2"]


def test_kept_values_of_an_evicted_table_are_an_error(opened: Opened, client: redis.Redis) -> None:
    writer, reader = opened(), opened()
    writer.replace("t", [(A, b"1")], {})
    assert read(reader, A) == [b"1"]
    client.delete(hash_of(client, writer))
    with pytest.raises(OnlineStoreError, match="has no table 't'"):
        read(reader, A)


def test_a_write_that_was_killed_is_not_read_from_memory(opened: Opened) -> None:
    """The description stays, so the next try must read what is in the table."""
    writer = opened()
    writer.replace("t", [(A, b"1")], {})
    assert read(writer, A) == [b"1"]

    def killed() -> Iterator[tuple[Key, bytes | None]]:
        yield A, b"2"
        for number in range(2_000):  # more than are written at once
            yield ("shop", f"_{number}"), b""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.update("t", killed(), {})
    assert read(writer, A) == [b"2"]
