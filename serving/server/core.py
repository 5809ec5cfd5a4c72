"""The common path of gRPC and REST requests: admission, deadline, computation, metrics, log."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from google.protobuf.message import Message
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server import inference
from serving.server.catalog import Catalog
from serving.server.errors import QUEUE_FULL, Code, ServingError, invalid
from serving.server.loaded_model import LoadedModel
from serving.server.metrics import Metrics

_Response = TypeVar("_Response", bound=Message)
_SIGNATURES = "signature_def"
# TensorFlow Serving's names of the methods that it counts in runtime_latency.
_APIS = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}


@dataclasses.dataclass(frozen=True)
class Call:
    """The metadata of a request.

    Attributes:
      deadline: Deadline on the clock of time.monotonic(); None for none.
      request_id: Id that the client chose; empty for none.
      context: JSON that the client wants in the log; empty for none.
    """

    deadline: float | None = None
    request_id: str = ""
    context: str = ""

    def check(self) -> None:
        """Raises ServingError if the deadline has passed."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise ServingError(Code.DEADLINE_EXCEEDED, "the deadline passed before the answer")


class PredictionLog(Protocol):
    """Takes predictions to write. Must not block."""

    def add(
        self, call: Call, request: predict_pb2.PredictRequest, response: predict_pb2.PredictResponse
    ) -> None: ...


class Core:
    """Answers the requests of PredictionService, independent of the protocol.

    Args:
      catalog: Loaded models.
      metrics: Metrics that count the requests.
      limit: Maximum number of requests that are computed or wait. Further ones are rejected.
      log: Log of predictions; None for none.
    """

    def __init__(
        self, catalog: Catalog, metrics: Metrics, limit: int, log: PredictionLog | None = None
    ):
        self.catalog, self.metrics, self.log = catalog, metrics, log
        self._places = threading.BoundedSemaphore(limit)

    def predict(
        self, request: predict_pb2.PredictRequest, call: Call
    ) -> predict_pb2.PredictResponse:
        response = self._run("predict", _spec_of(request), call, inference.predict, request)
        if self.log is not None:
            self.log.add(call, request, response)
        return response

    def classify(
        self, request: classification_pb2.ClassificationRequest, call: Call
    ) -> classification_pb2.ClassificationResponse:
        return self._run("classify", _spec_of(request), call, inference.classify, request)

    def regress(
        self, request: regression_pb2.RegressionRequest, call: Call
    ) -> regression_pb2.RegressionResponse:
        return self._run("regress", _spec_of(request), call, inference.regress, request)

    def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, call: Call
    ) -> inference_pb2.MultiInferenceResponse:
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        response = self._run("multi_inference", spec, call, inference.multi_inference, request)
        listed = request.input.example_list_with_context
        if request.input.WhichOneof("kind") == "example_list":
            listed = request.input.example_list
        self.metrics.serving.add_examples(self.known_model(spec.name), len(listed.examples))
        return response

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures of a version."""
        asked = _spec_of(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES:
                raise invalid(f"Metadata field {field} is not supported")
        with self.catalog.use(asked) as (spec, model):
            response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signatures)
        response.metadata[_SIGNATURES].Pack(signatures)
        return response

    def known_model(self, name: str) -> str:
        """Returns the name if there is such a model, else "".

        Clients choose the name, and an invented one must not become a time series.
        """
        return name if name in self.catalog.names() else ""

    def _run(
        self,
        method: str,
        asked: model_pb2.ModelSpec,
        call: Call,
        compute: Callable[[inference.Model, model_pb2.ModelSpec, Any], _Response],
        request: Message,
    ) -> _Response:
        started, code = time.monotonic(), "OK"
        name = self.known_model(asked.name)
        if not self._places.acquire(blocking=False):
            self.metrics.requests.labels(name, method, Code.RESOURCE_EXHAUSTED.name).inc()
            raise ServingError(Code.RESOURCE_EXHAUSTED, QUEUE_FULL)
        self.metrics.in_flight.inc()
        try:
            call.check()
            with self.catalog.use(asked) as (spec, model):
                timed = _TimedModel(model)
                response = compute(timed, spec, request)
            if method in _APIS:
                self.metrics.serving.add_run(name, _APIS[method], timed.seconds)
            call.check()
            return response
        except ServingError as error:
            code = error.code.name
            raise
        except Exception:
            code = Code.INTERNAL.name
            raise
        finally:
            self._places.release()
            self.metrics.in_flight.dec()
            self.metrics.requests.labels(name, method, code).inc()
            self.metrics.seconds.labels(name, method).observe(time.monotonic() - started)


class _TimedModel:
    """A model that sums up in `seconds` how long TensorFlow takes for one request."""

    def __init__(self, model: LoadedModel):
        self._model, self.seconds = model, 0.0

    @property
    def signatures(self) -> Mapping[str, meta_graph_pb2.SignatureDef]:
        return self._model.signatures

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> list[np.ndarray]:
        started = time.monotonic()
        found = self._model.run(signature, inputs, outputs)
        self.seconds += time.monotonic() - started
        return found


def _spec_of(request: Any) -> model_pb2.ModelSpec:
    """Returns the model spec of a request.

    Raises:
      ServingError: The request has none.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec: model_pb2.ModelSpec = request.model_spec
    return spec
