"""The client of a model server: scores examples, and chooses the version for each client."""

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

from base.model_outputs import DECISION, score_outputs
from base.signature import SIGNATURE, sign
from components.model_canary.requests import request_of
from components.pusher.release import STABLE
from serving.release.ab_split import arm_of
from serving.server.grpc_services import CONTEXT, REQUEST_ID

# gRPC retries with jitter if a server restarts or is full.
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
    """The scores of one request.

    Attributes:
      request_id: Id of the request in the log.
      arm: Label of the version that answered, stable or canary.
      version: Version of the model that answered.
      scores: Score of each example, in order; of several classes, all of one example together.
      decisions: Whether each example is to be reviewed, in order; None of a model that does not
        decide.
    """

    request_id: str
    arm: str
    version: int
    scores: tuple[float, ...]
    decisions: tuple[bool, ...] | None = None


def check_finite(scores: Sequence[float]) -> None:
    """Rejects scores that cannot be compared. This project's server never sends them; others may.

    Raises:
      ValueError: A score is NaN or infinite.
    """
    for place, score in enumerate(scores):
        if not math.isfinite(score):
            raise ValueError(
                f"the score of example {place} must be a finite number. Received: {score}. "
                "Look for a feature of the example that is not finite. If there is none, roll "
                "back to an earlier version of the model."
            )


class ScoringClient:
    """A client of this project's server or of TensorFlow Serving.

    Args:
      address: host:port of the gRPC server.
      model: Name of the model.
      canary_percent: Share of the units that get the canary if there is one, in percent.
      timeout_s: Time limit of a request with all retries, in seconds.
      token: Bearer token; needs root_certificates.
      root_certificates: PEM certificates; None for a connection without encryption.
      tls_name: Name in the server's certificate, if it differs from the address.
      labels: Whether to ask for the labels stable and canary instead of the newest version.
      feedback_key: Key that signs the context, so that the feedback loop trusts it
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
            raise ValueError("a token needs an encrypted connection: give root_certificates, too")
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._sent = [("authorization", f"Bearer {token}")] if token else []
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def score(
        self,
        unit: str,
        examples: Sequence[bytes | tf.train.Example],
        *,
        request_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> Scores:
        """Returns the score of each example.

        Args:
          unit: Text, such as a key of the examples, that decides between stable and canary.
          examples: tf.Examples of the raw features, serialized or not.
          request_id: Id in the log; None for a new one.
          context: JSON context for the log, such as the id and time of the event.

        Raises:
          grpc.RpcError: The server rejected the request or did not answer in time. If a feature is
            not finite, `details()` has its name, its value and the example's index.
          ValueError: A score is not finite.
        """
        arm = arm_of(unit, self.canary_percent, self.model)
        identity = request_id or uuid.uuid4().hex
        try:
            return self._score(arm, identity, examples, context)
        except grpc.RpcError as error:
            if arm == STABLE or "servable version label" not in _details(error):
                raise
            return self._score(STABLE, identity, examples, context)  # there is no canary

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> ScoringClient:
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
        examples: Sequence[bytes | tf.train.Example],
        context: dict[str, Any] | None,
    ) -> Scores:
        request = request_of(self.model, examples, arm if self._labels else None)
        logged = {"arm": arm, **(context or {})}
        if self._feedback_key is not None:
            logged[SIGNATURE] = sign(self._feedback_key, request_id, logged)
        response = self._stub.Predict(
            request,
            timeout=self.timeout_s,
            metadata=[(REQUEST_ID, request_id), (CONTEXT, json.dumps(logged)), *self._sent],
        )
        (name,) = score_outputs(response.outputs)
        scores = tf.make_ndarray(response.outputs[name])
        values = tuple(float(score) for score in np.ravel(scores))
        check_finite(values)
        decisions = None
        if DECISION in response.outputs:
            decided = np.ravel(tf.make_ndarray(response.outputs[DECISION]))
            decisions = tuple(bool(one) for one in decided)
        return Scores(request_id, arm, response.model_spec.version.value, values, decisions)


def _details(error: grpc.RpcError) -> str:
    return (error.details() or "") if isinstance(error, grpc.Call) else ""
