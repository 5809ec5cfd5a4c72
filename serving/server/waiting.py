"""Limits how many clients keep the server waiting, and for how long.

A connection, a call or a body that is opened and then sends nothing takes a place. If the server
rejected new clients while all places are taken, it would reject honest clients, which send at once.
Therefore a new client ousts the one that has waited longest, among those of the peer with the most
places. So a single peer never ousts others. An honest client only suffers from an attacker who
takes all places within the milliseconds that its own message needs.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import threading
import time
from collections.abc import Callable


@dataclasses.dataclass(eq=False)
class WaitingClient:
    """A client that the server waits for.

    Attributes:
      peer: Address without port.
      since: Time of entry, on the clock of `WaitingClients`.
      end: Function that ends the wait. It is called at most once, without a lock held.
    """

    peer: str
    since: float
    end: Callable[[], object]


class WaitingClients:
    """The clients that the server waits for. Thread-safe.

    Args:
      limit: Maximum number of waiting clients.
      seconds: Maximum time of each wait; `expire` ends longer ones.
      clock: Replacement of time.monotonic, for tests.

    Attributes:
      ended: Number of clients that were ended, for lack of places or of time.
    """

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.limit, self.seconds, self.ended = limit, seconds, 0
        self._clock = clock
        self._lock = threading.Lock()
        self._by_peer: dict[str, dict[WaitingClient, None]] = {}  # in the order of arrival
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, peer: str, end: Callable[[], object]) -> WaitingClient:
        """Adds a client, and ousts another one if there are too many."""
        peer = _network(peer)
        entered = WaitingClient(peer, self._clock(), end)
        ousted = None
        with self._lock:
            self._by_peer.setdefault(peer, {})[entered] = None
            self._count += 1
            if self._count > self.limit:
                largest = max(self._by_peer.values(), key=_size_and_age)
                ousted = next(iter(largest))
                self._remove(ousted)
                self.ended += 1
        if ousted is not None:
            ousted.end()
        return entered

    def leave(self, waited: WaitingClient) -> bool:
        """Removes a client. Returns False if it was already ended."""
        with self._lock:
            return self._remove(waited)

    def expire(self) -> None:
        """Ends clients that have waited too long."""
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

    def _remove(self, waited: WaitingClient) -> bool:
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
    """Returns the /64 network of an IPv6 address, because one machine may own all of it."""
    try:
        address = ipaddress.ip_address(peer.strip("[]").partition("%")[0])
    except ValueError:
        return peer
    if address.version == 4 or address.ipv4_mapped:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def _size_and_age(group: dict[WaitingClient, None]) -> tuple[int, float]:
    return len(group), -next(iter(group)).since
