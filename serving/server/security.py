"""TLS, and the bearer tokens of the two planes.

Predictions are one plane, administration (changing what is served) is the other. The token of one
plane is not accepted by the other.
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

TOKEN_REQUIRED = "a valid bearer token is required"  # noqa: S105


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Tokens that clients must send.

    Attributes:
      predict: Token for all calls except administration and health; None if none is required.
      administer: Token for administration; None if it is forbidden.
    """

    predict: str | None = None
    administer: str | None = None


def is_allowed(token: str | None, authorization: str | bytes | None) -> bool:
    """Returns whether an Authorization header has the token. Compares in constant time."""
    if token is None:
        return True
    given = authorization or ""
    if isinstance(given, str):
        given = given.encode("utf-8", "surrogatepass")
    return hmac.compare_digest(given, f"Bearer {token}".encode())


def is_loopback(host: str) -> bool:
    """Returns whether a server at this address is only reachable from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_socket_is_free(path: Path) -> None:
    """Raises OSError if a server listens on this Unix socket, because gRPC would take it over."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):  # unused, or left by a killed server
            return
    raise FileExistsError("another server listens there")


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Makes new files and sockets accessible to this user only, while the block runs."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Returns the TLS settings of REST."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def tls_credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    """Returns the TLS settings of gRPC."""
    return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
