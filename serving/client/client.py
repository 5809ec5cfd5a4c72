"""For a ranking service: scores the candidates of one user."""

from __future__ import annotations

import dataclasses
import json
import math
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from base.signature import SIGNATURE, sign
from components.model_canary.requests import request_of
from components.pusher.release import STABLE
from serving.release.ab_split import arm_of
from serving.server.grpc_services import CONTEXT, REQUEST_ID

# By gRPC itself, with jitter: a server that restarts, or has no place at the moment.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "tensorflow.serving.PredictionService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}


@dataclasses.dataclass(frozen=True)
class Scores:
    """An answer.

    Attributes:
      request_id: under which it is logged.
      arm: stable or canary.
      version: of the model.
      scores: of each candidate, in order.
    """

    request_id: str
    arm: str
    version: int
    scores: tuple[float, ...]


def check_finite(scores: Sequence[float]) -> None:
    """Refuses scores that have no order; this project's server never sends such, others may.

    Raises:
      ValueError: a score is NaN or infinite.
    """
    for candidate, score in enumerate(scores):
        if not math.isfinite(score):
            raise ValueError(
                f"the score of candidate {candidate} must be a finite number. Received: {score}. "
                "Look for a feature of the candidate that is not finite; if there is none, roll "
                "back to an earlier version of the model."
            )


class RankingClient:
    """Talks to this project's server, or to TensorFlow Serving.

    Args:
      address: host:port of gRPC.
      model: its name.
      canary_percent: share of the users who get the canary, where there is one.
      timeout_s: for an answer, with all retries.
      token: bearer token; needs root_certificates.
      root_certificates: PEM; without it the connection is not encrypted.
      tls_name: the name in the server's certificate, where it is not the address.
      labels: whether to ask for the labels stable and canary, or for the newest version.
      feedback_key: signs the context, so that the feedback loop may believe it
        (`streaming.feedback_key_env`).
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        canary_percent: float = 0.0,
        timeout_s: float = 1.0,
        token: str | None = None,
        root_certificates: bytes | None = None,
        tls_name: str = "",
        labels: bool = True,
        feedback_key: bytes | None = None,
    ):
        self.model, self.timeout_s, self.canary_percent = model, timeout_s, canary_percent
        self._labels, self._feedback_key = labels, feedback_key
        options = [
            ("grpc.service_config", json.dumps(_RETRIES)),
            ("grpc.max_receive_message_length", -1),
        ]
        if tls_name:
            options.append(("grpc.ssl_target_name_override", tls_name))
        if root_certificates is not None:
            credentials = grpc.ssl_channel_credentials(root_certificates)
            self._channel = grpc.secure_channel(address, credentials, options)
        elif token is not None:
            raise ValueError("a token is not sent over a connection that anybody can read")
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._sent = [("authorization", f"Bearer {token}")] if token else []
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def score(
        self,
        user_id: str,
        candidates: Sequence[bytes | tf.train.Example],
        *,
        request_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> Scores:
        """Returns the score of each candidate.

        Args:
          user_id: decides between stable and canary.
          candidates: tf.Examples of the raw features, serialized or not.
          request_id: for the log; made if it is None.
          context: for the log, such as positions or propensities.

        Raises:
          grpc.RpcError: the server refused it, or did not answer in time. Its `details()` name a
            feature that is not finite, its value and the candidate's index.
          ValueError: a score is not finite.
        """
        arm = arm_of(user_id, self.canary_percent, self.model)
        identity = request_id or uuid.uuid4().hex
        try:
            return self._score(arm, identity, candidates, context)
        except grpc.RpcError as error:
            if arm == STABLE or "servable version label" not in _details(error):
                raise
            return self._score(STABLE, identity, candidates, context)  # there is no canary

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> RankingClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _score(
        self,
        arm: str,
        request_id: str,
        candidates: Sequence[bytes | tf.train.Example],
        context: dict[str, Any] | None,
    ) -> Scores:
        request = request_of(self.model, candidates, arm if self._labels else None)
        told = {"arm": arm, **(context or {})}
        if self._feedback_key is not None:
            told[SIGNATURE] = sign(self._feedback_key, request_id, told)
        response = self._stub.Predict(
            request,
            timeout=self.timeout_s,
            metadata=[(REQUEST_ID, request_id), (CONTEXT, json.dumps(told)), *self._sent],
        )
        (scores,) = response.outputs.values()
        values = tuple(float(score) for score in np.ravel(tf.make_ndarray(scores)))
        check_finite(values)
        return Scores(request_id, arm, response.model_spec.version.value, values)


def _details(error: grpc.RpcError) -> str:
    return (error.details() or "") if isinstance(error, grpc.Call) else ""
