"""Who may ask: TLS and a bearer token, both optional."""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Callable
from pathlib import Path

import grpc

_OPEN = ("/grpc.health.v1.Health/",)  # probes have no token


def is_allowed(token: str | None, authorization: str | None) -> bool:
    """Whether an Authorization header is good enough; compared in constant time."""
    if token is None:
        return True
    expected = f"Bearer {token}".encode()
    return hmac.compare_digest((authorization or "").encode("utf-8", "surrogatepass"), expected)


class TokenInterceptor(grpc.ServerInterceptor):
    """Refuses calls without the token."""

    def __init__(self, token: str):
        self._token = token
        self._refuse = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        sent = dict(handler_call_details.invocation_metadata)
        given = sent.get("authorization")
        if handler_call_details.method.startswith(_OPEN) or is_allowed(self._token, given):
            return continuation(handler_call_details)
        return self._refuse


def _refuse(_: object, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "a bearer token is wanted")


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For REST."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def tls_credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    """For gRPC."""
    return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
