"""The online store in Redis, for servers on several machines.

    PREFIX:NAME            description of a table, with the number of its hash
    PREFIX:NAME:NUMBER     hash of the values: field KIND NUL KEY, and a field that is always there

Without the last, a hash that the server evicted would read as one that has no such keys. A table is
replaced by writing another hash and then its description, so the old one can be removed at once,
however large it is. One Redis node holds a table (a hash does not spread over a cluster).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from features.online_store import Key, OnlineStore, OnlineStoreError

_WRITTEN_AT_ONCE = 1_000  # keys; a pipeline is sent whole
_THERE = b"\0"  # the field that is always there; no kind is empty
_TRIES = 5  # a table is replaced far more slowly than it is read


class RedisStore(OnlineStore):
    """A store in Redis.

    Args:
      host: Host of the server.
      port: Port of the server.
      db: Number of the database.
      prefix: Beginning of all keys, so that several pipelines can share a server.
      password: Password; None for none.
      tls: Whether to use TLS; the server's certificate is checked.
      timeout_s: Longest wait for a connection, and for an answer.
    """

    def __init__(
        self,
        host: str,
        port: int = 6379,
        *,
        db: int = 0,
        prefix: str,
        password: str | None = None,
        tls: bool = False,
        timeout_s: float = 1.0,
    ):
        self._name, self._prefix = f"{host}:{port}", prefix
        self._redis = redis.Redis(
            host=host,
            port=port,
            db=db,
            password=password,
            ssl=tls,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(ExponentialBackoff(cap=0.1), 1),
        )

    def meta(self, table: str) -> dict[str, Any] | None:
        with self._readable_errors():
            found = self._redis.get(self._described(table))
        return None if found is None else dict(json.loads(found)["meta"])

    def get_many(
        self, tables: Sequence[str], keys: Sequence[Key]
    ) -> list[tuple[dict[str, Any], list[bytes | None]]]:
        fields = [_THERE, *map(_field, keys)]
        with self._readable_errors():
            numbers = self._numbers(tables)
            for _ in range(_TRIES):
                # A transaction: the numbers tell whether these were the present hashes.
                pipe = self._redis.pipeline(transaction=True)
                pipe.mget([self._described(table) for table in tables])
                for table, number in zip(tables, numbers, strict=True):
                    pipe.hmget(self._hash(table, number), fields)
                described, *answers = pipe.execute()
                found = [
                    self._description(table, one)
                    for table, one in zip(tables, described, strict=True)
                ]
                if [one["number"] for one in found] != numbers:
                    numbers = [one["number"] for one in found]
                    continue
                for table, (there, *_) in zip(tables, answers, strict=True):
                    if there is None:
                        raise self.lacks(table)
                return [
                    (one["meta"], values) for one, (_, *values) in zip(found, answers, strict=True)
                ]
        raise OnlineStoreError(
            f"Redis at {self._name} replaced the online tables {_TRIES} times during one request"
        )

    def replace(
        self, table: str, rows: Iterable[tuple[Key, bytes]], meta: Mapping[str, Any]
    ) -> None:
        with self._readable_errors():
            number = int(self._redis.incr(f"{self._prefix}:{table}:numbers"))
            self._redis.unlink(self._hash(table, number))
            self._put(table, number, rows)
            before = self._redis.getset(
                self._described(table), json.dumps({"number": number, "meta": dict(meta)})
            )
            if before is not None:
                self._redis.unlink(self._hash(table, json.loads(before)["number"]))

    def update(
        self, table: str, rows: Iterable[tuple[Key, bytes | None]], meta: Mapping[str, Any]
    ) -> None:
        with self._readable_errors():
            found = self._redis.get(self._described(table))
            if found is None:
                self.replace(table, ((k, v) for k, v in rows if v is not None), meta)
                return
            number = json.loads(found)["number"]
            self._put(table, number, rows)
            described = json.dumps({"number": number, "meta": dict(meta)})
            # Not if it was cleared meanwhile: the description would then promise what is not there.
            if not self._redis.set(self._described(table), described, xx=True):
                raise self.lacks(table)

    def all(self, table: str) -> Iterator[tuple[Key, bytes]]:
        with self._readable_errors():
            (number,) = self._numbers([table])
            found = self._redis.hscan_iter(self._hash(table, number), count=_WRITTEN_AT_ONCE)
            for field, value in found:
                if field != _THERE:
                    kind, _, key = field.decode().partition("\0")
                    yield (kind, key), value

    def close(self) -> None:
        self._redis.close()

    def _described(self, table: str) -> str:
        return f"{self._prefix}:{table}"

    def _hash(self, table: str, number: int) -> str:
        return f"{self._prefix}:{table}:{number}"

    def _numbers(self, tables: Sequence[str]) -> list[int]:
        found = self._redis.mget([self._described(table) for table in tables])
        return [
            int(self._description(table, one)["number"])
            for table, one in zip(tables, found, strict=True)
        ]

    def _description(self, table: str, found: bytes | str | None) -> dict[str, Any]:
        if found is None:
            raise self.lacks(table)
        return dict(json.loads(found))

    def _put(self, table: str, number: int, rows: Iterable[tuple[Key, bytes | None]]) -> None:
        name, pipe = self._hash(table, number), self._redis.pipeline(transaction=False)
        pipe.hset(name, _THERE, b"")
        for key, value in rows:
            if value is None:
                pipe.hdel(name, _field(key))
            else:
                pipe.hset(name, _field(key), value)
            if len(pipe) >= _WRITTEN_AT_ONCE:
                pipe.execute()
        pipe.execute()

    @contextlib.contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except redis.AuthenticationError:
            raise OnlineStoreError(
                f"Redis at {self._name} rejects the password; see streaming.online_redis"
            ) from None
        except redis.RedisError as error:
            raise OnlineStoreError(
                f"Redis at {self._name} cannot be used ({type(error).__name__}: {error}); see "
                "streaming.online_redis"
            ) from error


def _field(key: Key) -> bytes:
    return "\0".join(key).encode()
