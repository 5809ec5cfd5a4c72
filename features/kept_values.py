"""Values that a reader keeps in memory, the last used ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

_OVERHEAD = 200  # bytes of memory for a value, about, besides its own and its key's


class KeptValues:
    """The values by key that were used last.

    Args:
      most_bytes: Memory that they may take, in bytes.
    """

    def __init__(self, most_bytes: int):
        self._most_bytes, self._bytes = most_bytes, 0
        self._values: OrderedDict[bytes, bytes | None] = OrderedDict()

    def unknown(self, keys: Iterable[bytes]) -> list[bytes]:
        """Returns the keys that are not kept, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self._values]

    def with_read(
        self, keys: Sequence[bytes], read: Mapping[bytes, bytes | None]
    ) -> list[bytes | None]:
        """Returns the value of each key, and keeps those that were read.

        Args:
          keys: Keys.
          read: Unknown key -> its value; None is a value, too.
        """
        found = [read[key] if key in read else self._used(key) for key in keys]
        for key, value in read.items():
            self._values[key] = value
            self._bytes += _size(key, value)
        while self._bytes > self._most_bytes:
            self._bytes -= _size(*self._values.popitem(last=False))
        return found

    def _used(self, key: bytes) -> bytes | None:
        self._values.move_to_end(key)
        return self._values[key]


def _size(key: bytes, value: bytes | None) -> int:
    return _OVERHEAD + len(key) + len(value or b"")
