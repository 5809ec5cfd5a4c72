"""Clients that keep the server waiting: how many at once, how long, and who makes room.

A connection, a call or a body that is opened and then sends nothing costs a place. To refuse the
next one when all places are taken would refuse honest clients, who send at once. So whoever has
waited longest makes room, first among those of the peer that holds most places: a single peer never
pushes out another one. An honest client is hurt only by one that opens all places within the
milliseconds that its own message takes.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import threading
import time
from collections.abc import Callable


@dataclasses.dataclass(eq=False)
class Waited:
    """Somebody who is waited for.

    Attributes:
      peer: Address without port.
      since: By the clock of `Waiting`.
      end: Ends it; called once at most, without a lock held.
    """

    peer: str
    since: float
    end: Callable[[], object]


class Waiting:
    """Those who are waited for; for any number of threads.

    Args:
      most: At the same time.
      seconds: Each; `expire` ends those who have had more.
      clock: Stands in for time.monotonic, in tests.

    Attributes:
      ended: How many were ended, for want of places or of time.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.most, self.seconds, self.ended = most, seconds, 0
        self._clock = clock
        self._lock = threading.Lock()
        self._by_peer: dict[str, dict[Waited, None]] = {}  # in the order of their coming
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, peer: str, end: Callable[[], object]) -> Waited:
        """Takes a place; ends another's waiting if there are too many."""
        peer = _network(peer)
        entered = Waited(peer, self._clock(), end)
        ousted = None
        with self._lock:
            self._by_peer.setdefault(peer, {})[entered] = None
            self._count += 1
            if self._count > self.most:
                largest = max(self._by_peer.values(), key=_size_and_age)
                ousted = next(iter(largest))
                self._remove(ousted)
                self.ended += 1
        if ousted is not None:
            ousted.end()
        return entered

    def leave(self, waited: Waited) -> bool:
        """Gives the place back; returns False to one that was ended meanwhile."""
        with self._lock:
            return self._remove(waited)

    def expire(self) -> None:
        """Ends those who are waited for too long."""
        before = self._clock() - self.seconds
        with self._lock:
            late = []
            for group in self._by_peer.values():
                for waited in group:
                    if waited.since > before:
                        break
                    late.append(waited)
            for waited in late:
                self._remove(waited)
            self.ended += len(late)
        for waited in late:
            waited.end()

    def _remove(self, waited: Waited) -> bool:
        group = self._by_peer.get(waited.peer, {})
        if waited not in group:
            return False
        del group[waited]
        self._count -= 1
        if not group:
            del self._by_peer[waited.peer]
        return True


@functools.lru_cache(4096)
def _network(peer: str) -> str:
    """Of an IPv6 address its /64, all of which one machine may have."""
    try:
        address = ipaddress.ip_address(peer.strip("[]").partition("%")[0])
    except ValueError:
        return peer
    if address.version == 4 or address.ipv4_mapped:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def _size_and_age(group: dict[Waited, None]) -> tuple[int, float]:
    return len(group), -next(iter(group)).since
