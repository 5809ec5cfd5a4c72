"""Waits until servers that run have seen what is live now."""

from __future__ import annotations

import time
from collections.abc import Iterable

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from components.pusher.release import Release

_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 0.05


def wait_until_followed(name: str, release: Release, servers: Iterable[str]) -> dict[str, str]:
    """They read models.config by themselves, within a second; nothing is sent to them.

    Args:
      name: of the model.
      release: what is live.
      servers: addresses, host:port.

    Returns:
      Server -> what it says instead.
    """
    return {
        server: problem
        for server in servers
        if (problem := _problem(server, name, release)) is not None
    }


def _problem(server: str, name: str, release: Release) -> str | None:
    until, problem = time.monotonic() + _SECONDS, ""
    with grpc.insecure_channel(server) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        while time.monotonic() < until:
            asked = get_model_status_pb2.GetModelStatusRequest()
            asked.model_spec.name, asked.model_spec.version_label = name, "stable"
            try:
                (found,) = stub.GetModelStatus(asked, timeout=_SECONDS).model_version_status
            except grpc.RpcError as error:
                details = error.details() if isinstance(error, grpc.Call) else None
                return str(details or error)
            if found.version == release.stable:
                return None
            problem = f"it still serves version {found.version} as stable"
            time.sleep(_LOOK_AGAIN_SECONDS)
    return problem
