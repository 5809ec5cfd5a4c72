"""Tells servers that run what is live now."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import grpc
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from components.pusher.release import Release, models_config

_SECONDS = 10.0


def tell(base: Path, release: Release, servers: Iterable[str]) -> dict[str, str]:
    """Has servers load and label what is live now; they would see it within a second anyway.

    Args:
      base: folder of the versions, which is that of the servers too.
      release: what is live.
      servers: addresses, host:port.

    Returns:
      Server -> why it could not be told.
    """
    config = models_config(base.name, str(base.resolve()), release)
    request = model_management_pb2.ReloadConfigRequest(config=config)
    problems = {}
    for server in servers:
        with grpc.insecure_channel(server) as channel:
            try:
                stub = model_service_pb2_grpc.ModelServiceStub(channel)
                answer = stub.HandleReloadConfigRequest(request, timeout=_SECONDS)
                if answer.status.error_code:
                    problems[server] = answer.status.error_message
            except grpc.RpcError as error:
                problems[server] = error.details() if isinstance(error, grpc.Call) else str(error)
    return problems
