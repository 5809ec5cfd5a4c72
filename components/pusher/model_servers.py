"""Asks model servers for their loaded versions, and for the version of a label.

Both calls are TensorFlow Serving's. Its GetModelStatus lists every version and ignores labels, so
the version of a label comes from the answer of GetModelMetadata.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from base.errors import ComponentError
from base.redaction import hide_variables

if TYPE_CHECKING:
    from components.pusher.rollout import Followers

AVAILABLE, END = "AVAILABLE", "END"
_ASK_SECONDS = 2.0  # a running server answers these calls at once
_State = get_model_status_pb2.ModelVersionStatus.State
_Answer = TypeVar("_Answer")


@dataclasses.dataclass(frozen=True)
class VersionState:
    """The state of a version at a server.

    Attributes:
      state: START, LOADING, AVAILABLE, UNLOADING or END.
      error: Why it did not load; "" where there is no error.
    """

    state: str
    error: str = ""


@dataclasses.dataclass(frozen=True)
class NoAnswer:
    """A server that does not answer, or does not know the model or label.

    Attributes:
      reason: One line.
      is_away: Whether there was no answer at all.
    """

    reason: str
    is_away: bool = True


States = Mapping[int, VersionState]


@dataclasses.dataclass(frozen=True)
class ServerConnection:
    """How to connect to model servers.

    Attributes:
      tls_ca: PEM file of the servers' certificate authority; "" for an unencrypted connection.
      tls_name: Name in the servers' certificates, if it differs from their address.
      token_env: Variable with the servers' bearer token; "" for none.
    """

    tls_ca: str = ""
    tls_name: str = ""
    token_env: str = ""

    def channel(self, address: str) -> grpc.Channel:
        """Returns a channel that connects with its first call.

        Raises:
          ComponentError: The file or the variable is missing.
        """
        if not self.tls_ca:
            if self.token_env:
                raise ComponentError(
                    "a token is not sent over an unencrypted connection: name the "
                    "servers' certificate authority, too (serving.tls_ca)"
                )
            return grpc.insecure_channel(address)
        credentials = grpc.ssl_channel_credentials(self.authority())
        if self.token_env:
            token = grpc.access_token_call_credentials(self.token())
            credentials = grpc.composite_channel_credentials(credentials, token)
        name = [("grpc.ssl_target_name_override", self.tls_name)] if self.tls_name else []
        return grpc.secure_channel(address, credentials, name)

    def authority(self) -> bytes | None:
        """Returns the PEM of the certificate authority; None without TLS."""
        if not self.tls_ca:
            return None
        try:
            return Path(self.tls_ca).read_bytes()
        except OSError as error:
            raise ComponentError(f"serving.tls_ca: {error}") from None

    def token(self) -> str | None:
        """Returns the bearer token; None without one."""
        if not self.token_env:
            return None
        if not os.environ.get(self.token_env):
            raise ComponentError(f"serving.token_env: the variable {self.token_env} is not set")
        hide_variables([self.token_env])
        return os.environ[self.token_env]


PLAIN = ServerConnection()


def connection_of(followers: Followers) -> ServerConnection:
    return ServerConnection(followers.tls_ca, followers.tls_name, followers.token_env)


def addresses_of(servers: Iterable[str]) -> list[str]:
    """Returns every address of each `host:port`, such as all pods of a headless Service.

    A name with a single address or of this machine is unchanged. So is a name that cannot be
    resolved, which the call to it then reports.
    """
    found: list[str] = []
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            resolved = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            found.append(server)
            continue
        hosts = sorted({str(address[0]) for *_, address in resolved})
        if len(hosts) == 1 or all(ipaddress.ip_address(one).is_loopback for one in hosts):
            found.append(server)
        else:
            found += [f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts]
    return list(dict.fromkeys(found))


def versions_of(
    addresses: Iterable[str], model: str, way: ServerConnection = PLAIN
) -> dict[str, States | NoAnswer]:
    """Asks all servers in parallel for the state of each version of a model.

    Args:
      addresses: host:port of each server; see `addresses_of`.
      model: Name of the model.
      way: How to connect to the servers.

    Returns:
      Address -> version -> state.
    """

    def ask(channel: grpc.Channel) -> States:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        answer = stub.GetModelStatus(request, timeout=_ASK_SECONDS)
        return {
            one.version: VersionState(_State.Name(one.state), _one_line(one.status.error_message))
            for one in answer.model_version_status
        }

    return _asked(addresses, ask, way)


def labelled_by(
    addresses: Iterable[str], model: str, label: str, way: ServerConnection = PLAIN
) -> dict[str, int | NoAnswer]:
    """Asks all servers in parallel which version answers under a label.

    Args:
      addresses: host:port of each server; see `addresses_of`.
      model: Name of the model.
      label: Label, such as "stable".
      way: How to connect to the servers.

    Returns:
      Address -> version.
    """

    def ask(channel: grpc.Channel) -> int:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name, request.model_spec.version_label = model, label
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.GetModelMetadata(request, timeout=_ASK_SECONDS)
        return int(answer.model_spec.version.value)

    return _asked(addresses, ask, way)


def _asked(
    addresses: Iterable[str], ask: Callable[[grpc.Channel], _Answer], way: ServerConnection
) -> dict[str, _Answer | NoAnswer]:
    def one(address: str) -> _Answer | NoAnswer:
        try:
            with way.channel(address) as channel:
                return ask(channel)
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call):
                return NoAnswer(_one_line(str(error)))
            is_away = error.code() in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            )
            reason = _one_line(error.details() or str(error.code()))
            if "Socket closed" in reason and not way.tls_ca:
                reason += "; does it want TLS (serving.tls_ca)?"
            return NoAnswer(reason, is_away)

    asked = list(addresses)
    if not asked:
        return {}
    with ThreadPoolExecutor(min(len(asked), 16)) as pool:
        return dict(zip(asked, pool.map(one, asked), strict=True))


def _one_line(text: str) -> str:
    return text.strip().partition("\n")[0][:500]
