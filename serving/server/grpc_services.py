"""PredictionService and ModelService on the stubs of tensorflow-serving-api."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.server.catalog_updater import CatalogUpdater
from serving.server.core import Call, Core
from serving.server.errors import Code, ServingError, invalid

_log = logging.getLogger(__name__)
REQUEST_ID, CONTEXT = "x-request-id", "x-request-context"
_Answer = TypeVar("_Answer", bound=Message)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, core: Core):
        self._core = core

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._counted("Predict", self._core.predict, request, context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._counted("Classify", self._core.classify, request, context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._counted("Regress", self._core.regress, request, context)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return _answer(context, lambda: self._core.multi_inference(request, _call(context)))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return _answer(context, lambda: self._core.metadata(request))

    def _counted(
        self,
        api: str,
        compute: Callable[[Any, Call], _Answer],
        request: Any,
        context: grpc.ServicerContext,
    ) -> _Answer:
        """Answers a request and counts it as TensorFlow Serving's prediction_service_impl.cc."""

        def answer() -> _Answer:
            name = self._core.known_model(request.model_spec.name)
            with self._core.metrics.serving.request(name, api, "GRPC"):
                return compute(request, _call(context))

        return _answer(context, answer)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, updater: CatalogUpdater):
        self._updater = updater

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return _answer(context, lambda: model_status(self._updater, request))

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Any:
        return _answer(context, lambda: self._reload(request))

    def _reload(self, request: Any) -> model_management_pb2.ReloadConfigResponse:
        if not request.HasField("config"):
            raise invalid("the request must have a config")
        self._updater.reload(request.config)
        return model_management_pb2.ReloadConfigResponse()


def model_status(
    updater: CatalogUpdater, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    """Returns state and error of every version that is or was wanted, or of the requested one.

    Raises:
      ServingError: There is no such model or version, or the request names none.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in updater.catalog.status(request.model_spec):
        added = response.model_version_status.add(version=version.number, state=version.state)
        added.status.error_message = version.error
        if version.error:
            added.status.error_code = Code.UNKNOWN.value[0]
    return response


def _answer(context: grpc.ServicerContext, compute: Callable[[], _Answer]) -> _Answer:
    try:
        return compute()
    except ServingError as error:
        _abort(context, error.code, error.message)
    except UnicodeDecodeError:  # protobuf decodes the names in a map when they are read
        _abort(context, Code.INVALID_ARGUMENT, "a name in the request is not valid UTF-8")
    except Exception as error:
        _log.exception("a request failed")
        _abort(context, Code.INTERNAL, f"{type(error).__name__}: see the log of the server")


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    context.abort(code, message[:4000])
    raise AssertionError  # abort raises


def _call(context: grpc.ServicerContext) -> Call:
    remaining = context.time_remaining()
    sent = dict(context.invocation_metadata())
    return Call(
        deadline=None if remaining is None else time.monotonic() + remaining,
        request_id=str(sent.get(REQUEST_ID, "")),
        context=str(sent.get(CONTEXT, "")),
    )
