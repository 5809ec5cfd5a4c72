"""Assigns examples to splits by TFX's hash buckets or by time."""

from __future__ import annotations

import dataclasses
import hashlib
from itertools import accumulate
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import base.arrow  # noqa: F401
from base.errors import ComponentError
from spark_io.examples.encoding import features_of


class Splits(Protocol):
    """An assignment of rows to splits."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the splits, in order."""

    def assign_batch(self, features: pa.RecordBatch, encoded: pa.BinaryArray) -> NDArray[np.int64]:
        """Returns the index of each row's split, (rows,).

        Args:
          features: Rows, with one column per feature.
          encoded: The same rows as serialized Examples.

        Raises:
          ComponentError: A row cannot be assigned.
        """


@dataclasses.dataclass(frozen=True)
class HashSplits:
    """TFX's hash buckets.

    TFX hashes the partition feature as a serialized `Feature` (or else the whole record) modulo the
    total number of buckets. The same bytes are hashed here, so Spark and a stock ExampleGen put a
    key into the same split.

    Attributes:
      names: Names of the splits, in order.
      buckets: Number of hash buckets of each split; its share is that number over the sum.
      feature: Feature to hash; None hashes the serialized example.
    """

    names: tuple[str, ...]
    buckets: tuple[int, ...]
    feature: str | None = None

    def __post_init__(self) -> None:
        if sum(self.buckets) >= 1 << 32:
            raise ComponentError(
                f"{sum(self.buckets):,} hash buckets are too many; the sum must be below 2**32"
            )

    def assign_batch(self, features: pa.RecordBatch, encoded: pa.BinaryArray) -> NDArray[np.int64]:
        """See Splits. `encoded` is in the deterministic form, which TFX hashes as well."""
        if self.feature is None:
            return self._assign(encoded)
        column = features.column(features.schema.get_field_index(self.feature))
        if not any(is_kind(column.type) for is_kind in _HASHED):
            raise ComponentError(
                f"partition feature '{self.feature}' must be a string or an integer"
            )
        if column.null_count:
            raise ComponentError(
                f"partition feature '{self.feature}' is null in some row; fill it in the ETL or "
                "choose another"
            )
        values = column.dictionary_encode()  # each value is hashed once
        split_of_value = self._assign(features_of(values.dictionary))
        splits: NDArray[np.int64] = np.take(split_of_value, values.indices.to_numpy())
        return splits

    def _assign(self, keys: pa.BinaryArray) -> NDArray[np.int64]:
        """Returns the index of the split for each key, a serialized Feature or Example."""
        bounds = list(accumulate(self.buckets))
        sha256 = hashlib.sha256
        digests = b"".join([sha256(key).digest() for key in keys.to_numpy(zero_copy_only=False)])
        words = np.frombuffer(digests, ">u4").reshape(-1, 8).astype(np.uint64)
        # Below 2**32, so a remainder with one more word fits into 64 bits.
        total = np.uint64(bounds[-1])
        rest = words[:, 0] % total
        for word in range(1, 8):
            rest = ((rest << np.uint64(32)) | words[:, word]) % total
        return np.searchsorted(np.array(bounds, np.uint64), rest, side="right")


_HASHED = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_integer,
    pa.types.is_boolean,
)


@dataclasses.dataclass(frozen=True)
class TimeSplit:
    """Splits by time: rows strictly before the first cut, before the second one, and so on.

    Attributes:
      names: Names of the splits, one more than cuts.
      column: Column with a timestamp (UTC if it has no zone), a date (its midnight) or an integer.
      cuts_us: Cuts in ascending order, in microseconds since 1970-01-01T00 UTC.
      unit: Unit of an integer since 1970: 's', 'ms' or 'us'.
    """

    names: tuple[str, ...]
    column: str
    cuts_us: tuple[int, ...]
    unit: str = "us"

    _UNITS_NS: ClassVar[dict[str, int]] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
    _DAY_NS: ClassVar[int] = 86_400 * 10**9

    def assign_batch(self, features: pa.RecordBatch, encoded: pa.BinaryArray) -> NDArray[np.int64]:
        """See Splits."""
        column = features.column(features.schema.get_field_index(self.column))
        if column.null_count:
            raise ComponentError(
                f"time column '{self.column}' is null in some row; set such rows apart in the ETL"
            )
        unit_ns = self._unit_ns(column.type)
        # For whole t, t * unit < cut means t < ceil(cut / unit), which cannot overflow.
        bounds = [-(-cut * 1000 // unit_ns) for cut in self.cuts_us]
        within = np.array([min(max(bound, -(2**63)), 2**63 - 1) for bound in bounds], np.int64)
        times = column.cast(pa.int32()) if pa.types.is_date32(column.type) else column
        rows: NDArray[np.int64] = times.cast(pa.int64()).to_numpy()
        return np.searchsorted(within, rows, side="right")

    def _unit_ns(self, kind: pa.DataType) -> int:
        if pa.types.is_timestamp(kind):
            return self._UNITS_NS[kind.unit]
        if pa.types.is_date(kind):
            return self._DAY_NS if pa.types.is_date32(kind) else self._UNITS_NS["ms"]
        if pa.types.is_integer(kind):
            return self._UNITS_NS[self.unit]
        raise ComponentError(
            f"time column '{self.column}' is of Arrow type {kind}; it must be a timestamp, a date "
            "or an integer"
        )
