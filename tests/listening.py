"""What a process and those that it starts listen on."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections.abc import Iterator

import psutil


def listening_now() -> set[tuple[str, str]]:
    """(program, address) of this process and its children."""
    found: set[tuple[str, str]] = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    found.add((process.name().rstrip("0123456789."), one.laddr.ip))
    return found


@contextlib.contextmanager
def listening_sockets() -> Iterator[set[tuple[str, str]]]:
    """`listening_now`, of all moments of the block."""
    found: set[tuple[str, str]] = set()
    ends = threading.Event()

    def look() -> None:
        while not ends.wait(0.2):
            found.update(listening_now())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ends.set()
        thread.join()


def beyond_loopback(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those that others than this machine reach."""
    return {(program, address) for program, address in found if not _is_loopback(address)}


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
