"""The online store in Redis, for servers on several machines.

    PREFIX:NAME            description of a table, with the number of its hash, new with each write
    PREFIX:NAME:NUMBER     hash of the values: field KIND NUL KEY, and a field that is always there

Without the last, a hash that the server evicted would read as one that has no such keys. A table is
replaced by writing another hash and then its description, so the old one can be removed at once,
however large it is. A reader keeps values only as long as the description stays the same, which it
asks for with each read. One Redis node holds a table (a hash does not spread over a cluster).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from features.kept_values import KeptValues
from features.online_store import Key, OnlineStore, OnlineStoreError

_WRITTEN_AT_ONCE = 1_000  # keys; a pipeline is sent whole
_THERE = b"\0"  # the field that is always there; no kind is empty
_TRIES = 5  # a table is replaced far more slowly than it is read


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The values of a table that a reader keeps in memory.

    Attributes:
      description: The table's description as it was read. Each write of the table changes it.
      number: Number of the table's hash.
      meta: The description's content, which callers must not change.
      values: Values that were read with this description.
    """

    description: bytes
    number: int
    meta: dict[str, Any]
    values: KeptValues


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
      keep_bytes: Memory for values of each table that were read last, in bytes. They are kept only
        until the table changes, which every read asks for.
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
        keep_bytes: int = 64 << 20,
    ):
        self._name, self._prefix = f"{host}:{port}", prefix
        self._keep_bytes = keep_bytes
        self._kept: dict[str, _Kept] = {}
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
        fields = [_field(key) for key in keys]
        with self._readable_errors():
            for _ in range(_TRIES):
                kept = [self._kept.get(table, _Kept(b"", 0, {}, KeptValues(0))) for table in tables]
                unknown = [one.values.unknown(fields) for one in kept]
                # A transaction: the descriptions tell whether this is what the values belong to.
                pipe = self._redis.pipeline(transaction=True)
                pipe.mget([self._described(table) for table in tables])
                for table, one, some in zip(tables, kept, unknown, strict=True):
                    pipe.hmget(self._hash(table, one.number), [_THERE, *some])
                described, *answers = pipe.execute()
                if [one.description for one in kept] != described:
                    for table, description in zip(tables, described, strict=True):
                        self._keep(table, description)
                    continue
                for table, (there, *_) in zip(tables, answers, strict=True):
                    if there is None:
                        raise self.lacks(table)
                read = [
                    dict(zip(some, values, strict=True))
                    for some, (_, *values) in zip(unknown, answers, strict=True)
                ]
                return [
                    (one.meta, one.values.with_read(fields, of_one))
                    for one, of_one in zip(kept, read, strict=True)
                ]
        raise OnlineStoreError(
            f"Redis at {self._name} replaced the online tables {_TRIES} times during one request"
        )

    def _keep(self, table: str, description: bytes | None) -> None:
        """Lets go of what was kept of a table that has another description now."""
        if table not in self._kept or self._kept[table].description != description:
            found = self._description(table, description)
            values = KeptValues(self._keep_bytes)
            self._kept[table] = _Kept(description or b"", found["number"], found["meta"], values)

    def replace(
        self, table: str, rows: Iterable[tuple[Key, bytes]], meta: Mapping[str, Any]
    ) -> None:
        with self._readable_errors():
            number = int(self._redis.incr(f"{self._prefix}:{table}:numbers"))
            self._redis.unlink(self._hash(table, number))
            self._put(table, number, rows)
            described = _description_of(number, meta)
            before = self._redis.getset(self._described(table), described)
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
            described = _description_of(number, meta)
            # Not if it was cleared meanwhile: the description would then promise what is not there.
            if not self._redis.set(self._described(table), described, xx=True):
                raise self.lacks(table)

    def all(self, table: str) -> Iterator[tuple[Key, bytes]]:
        with self._readable_errors():
            described = self._description(table, self._redis.get(self._described(table)))
            name = self._hash(table, described["number"])
            found = self._redis.hscan_iter(name, count=_WRITTEN_AT_ONCE)
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

    def _description(self, table: str, found: bytes | str | None) -> dict[str, Any]:
        if found is None:
            raise self.lacks(table)
        return dict(json.loads(found))

    def _put(self, table: str, number: int, rows: Iterable[tuple[Key, bytes | None]]) -> None:
        name, pipe = self._hash(table, number), self._redis.pipeline(transaction=False)
        pipe.hset(name, _THERE, b"")
        try:
            for key, value in rows:
                if value is None:
                    pipe.hdel(name, _field(key))
                else:
                    pipe.hset(name, _field(key), value)
                if len(pipe) >= _WRITTEN_AT_ONCE:
                    pipe.execute()
            pipe.execute()
        finally:
            self._kept.pop(table, None)  # a write that ends early leaves the description as it was

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


def _description_of(number: int, meta: Mapping[str, Any]) -> str:
    """Returns a description that no other write has, so readers see that there was one."""
    return json.dumps({"number": number, "write": uuid.uuid4().hex, "meta": dict(meta)})


def _field(key: Key) -> bytes:
    return "\0".join(key).encode()
