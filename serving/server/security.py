"""Who may ask what: TLS, and a bearer token for each of the two planes.

Predictions are one plane; what is served is the other, administration. The token of one is no good
for the other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc


@dataclasses.dataclass(frozen=True)
class Tokens:
    """What has to be sent.

    Attributes:
      predict: For everything but administration and health; None for nothing.
      administer: To change what is served; None where no client may.
    """

    predict: str | None = None
    administer: str | None = None


def is_allowed(token: str | None, authorization: str | bytes | None) -> bool:
    """Whether an Authorization header is good enough; compared in constant time."""
    if token is None:
        return True
    given = authorization or ""
    if isinstance(given, str):
        given = given.encode("utf-8", "surrogatepass")
    return hmac.compare_digest(given, f"Bearer {token}".encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_free(path: Path) -> None:
    """Raises OSError where a server listens on this Unix socket: gRPC would take it over."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):  # of one that was killed
            return
    raise FileExistsError("another server listens there")


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Files and sockets made meanwhile are this user's alone."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For REST."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def tls_credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    """For gRPC."""
    return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
