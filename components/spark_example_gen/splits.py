"""Which split an example belongs to: TFX's own hash buckets, computed on serialized examples.

TFX hashes the partition feature as a serialized `Feature` (without one: the whole record), takes it
modulo the total number of buckets, and bisects. The same bytes are hashed here, so a key is in the
same split whether Spark or a stock ExampleGen made the examples.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
from itertools import accumulate
from typing import Any

from google.protobuf.internal import api_implementation

from components.errors import ComponentError

# upb, the implementation since protobuf 4, puts a name before its own prefixes: "ab" before "a".
_NAME_END = b"\xff" if api_implementation.Type() == "upb" else b""


@dataclasses.dataclass(frozen=True)
class HashSplits:
    """Attributes:
    names: the splits, in order.
    buckets: hash buckets of each; shares are buckets over their sum.
    feature: the example's feature that is hashed; None hashes the serialized example.
    """

    names: tuple[str, ...]
    buckets: tuple[int, ...]
    feature: str | None = None

    def assign(self, keys: list[bytes]) -> list[int]:
        """Index of the split for each key (a serialized Feature, or a serialized Example)."""
        bounds = list(accumulate(self.buckets))
        total = bounds[-1]
        sha256 = hashlib.sha256
        return [
            bisect.bisect(bounds, int.from_bytes(sha256(key).digest(), "big") % total)
            for key in keys
        ]

    def keys(self, values: list[Any], encoded: list[bytes]) -> list[bytes]:
        """What is hashed: the partition feature's values where there is one, else the examples."""
        if self.feature is None:
            return [canonical(example) for example in encoded]
        return [serialized_feature(value, self.feature) for value in values]


def serialized_feature(value: bytes | str | int | None, name: str) -> bytes:
    """`tf.train.Feature` with one value, as protobuf serializes it (without importing TF)."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        inner = b"\x0a" + _varint(len(value)) + value  # BytesList.value = 1
        return b"\x0a" + _varint(len(inner)) + inner  # Feature.bytes_list = 1
    if isinstance(value, int):
        packed = _varint(value & 0xFFFFFFFFFFFFFFFF)
        inner = b"\x0a" + _varint(len(packed)) + packed  # Int64List.value = 1, packed
        return b"\x1a" + _varint(len(inner)) + inner  # Feature.int64_list = 3
    if value is None:
        raise ComponentError(
            f"partition feature '{name}' is null in some row; fill it in the ETL or choose another"
        )
    raise ComponentError(f"partition feature '{name}' must be a string or an integer")


def canonical(example: bytes) -> bytes:
    """A serialized tf.train.Example with its features sorted by name: what TFX hashes.

    Encoders write the map of features in the order of their own hash table, which may differ from
    one process to the next. Protobuf's deterministic form is sorted, each implementation in its
    own way: TFX's splits by whole record differ between its lines in this, and ours with them.
    """
    start, _ = _read_varint(example, 1)  # Example.features = 1, its length, then Features
    entries = []
    while start < len(example):
        content, length = _read_varint(example, start + 1)  # Features.feature = 1: a map entry
        key, key_length = _read_varint(example, content + 1)  # key = 1
        end = content + length
        name = example[key : key + key_length]
        entries.append((name + _NAME_END, example[start:end]))
        start = end
    body = b"".join(entry for _, entry in sorted(entries))
    return b"\x0a" + _varint(len(body)) + body


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """(position behind the varint, its value)."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return position, value
        shift += 7


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
