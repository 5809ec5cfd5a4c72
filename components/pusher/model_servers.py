"""Asks model servers which versions they have loaded, and which of them a label stands for.

Both calls are TensorFlow Serving's. GetModelStatus lists every version and ignores labels there, so
a label is asked for by GetModelMetadata, whose answer names the version.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

AVAILABLE, END = "AVAILABLE", "END"
_ASK_SECONDS = 2.0  # a server that answers at all answers these at once
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
class Silent:
    """A server that does not answer, or does not know the model or label.

    Attributes:
      reason: One line.
      is_away: Whether there was no answer at all.
    """

    reason: str
    is_away: bool = True


States = Mapping[int, VersionState]


def addresses_of(servers: Iterable[str]) -> list[str]:
    """Returns every address behind `host:port`, so that a headless Service names each of its pods.

    A name with one address, or one of this machine, stays as it is; so does one that cannot be
    resolved, which the question to it then reports.
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


def versions_of(addresses: Iterable[str], model: str) -> dict[str, States | Silent]:
    """Asks all servers at the same time for the state of each version of a model.

    Args:
      addresses: host:port; see `addresses_of`.
      model: Its name.

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

    return _asked(addresses, ask)


def labelled_by(addresses: Iterable[str], model: str, label: str) -> dict[str, int | Silent]:
    """Asks all servers at the same time which version answers under a label.

    Args:
      addresses: host:port; see `addresses_of`.
      model: Its name.
      label: For example "stable".

    Returns:
      Address -> version.
    """

    def ask(channel: grpc.Channel) -> int:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name, request.model_spec.version_label = model, label
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.GetModelMetadata(request, timeout=_ASK_SECONDS)
        return int(answer.model_spec.version.value)

    return _asked(addresses, ask)


def _asked(
    addresses: Iterable[str], ask: Callable[[grpc.Channel], _Answer]
) -> dict[str, _Answer | Silent]:
    def one(address: str) -> _Answer | Silent:
        try:
            with grpc.insecure_channel(address) as channel:
                return ask(channel)
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call):
                return Silent(_one_line(str(error)))
            is_away = error.code() in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            )
            return Silent(_one_line(error.details() or str(error.code())), is_away)

    asked = list(addresses)
    if not asked:
        return {}
    with ThreadPoolExecutor(min(len(asked), 16)) as pool:
        return dict(zip(asked, pool.map(one, asked), strict=True))


def _one_line(text: str) -> str:
    return text.strip().partition("\n")[0][:500]
