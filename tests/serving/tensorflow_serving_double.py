"""A test double with TensorFlow Serving's rules for a changing models.config.

The rules are from its source (github.com/tensorflow/serving, 9d981c5 of 2026-07-30):
- model_servers/server_core.cc, ReloadConfig: labels are applied before versions are loaded, and a
  file with a rejected label changes nothing. UpdateModelVersionLabelMap rejects labels.
- model_servers/server.cc, PollFilesystemAndReloadConfig: every poll tries the file again.
- sources/storage_path/file_system_storage_path_source.cc: another thread polls the folder, and
  asks for the named versions that exist.
- core/aspired_versions_manager.cc, core/availability_preserving_policy.cc: an unwanted version is
  unloaded once a wanted one is available. A version that is wanted again is loaded after its
  unload has finished.
- model_servers/get_model_status_impl.cc: lists all versions whatever the label, and keeps states.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from components.pusher.model_servers import Silent, States, VersionState

NEW, LOADING, READY, UNLOADING, GONE, ERROR = range(6)
_SHOWN = {NEW: "START", LOADING: "LOADING", READY: "AVAILABLE", UNLOADING: "UNLOADING"}


@dataclasses.dataclass
class Managed:
    """A version in the manager: its state, and for how many more steps it stays there."""

    is_wanted: bool = True
    state: int = NEW
    steps: int = 0
    error: str = ""


class TensorFlowServing:
    """A server whose state only changes by the calls below.

    Args:
      config: Path of models.config.
      load_steps: Function that returns how many steps of the manager the load of a version takes.
      broken: Versions that fail to load.
      unavailable_labels: Value of --allow_version_labels_for_unavailable_models.
    """

    def __init__(
        self,
        config: Path,
        *,
        load_steps: Callable[[int], int] = lambda _: 0,
        broken: frozenset[int] = frozenset(),
        unavailable_labels: bool = True,
    ):
        self._config, self._load_steps, self._broken = config, load_steps, broken
        self._unavailable_labels = unavailable_labels
        self._start()

    def _start(self) -> None:
        self.labels: dict[str, int] = {}
        self.refusal = ""
        self.is_up = False  # it answers, and looks at the file, once a version has loaded
        self._named: set[int] = set()
        self._managed: dict[int, Managed] = {}
        self._asked: set[int] | None = None
        self._ended: dict[int, str] = {}
        self._look()

    def poll_config(self) -> None:
        """Looks at models.config once."""
        if self.is_up:
            self._look()

    def poll_folder(self) -> None:
        """Looks at the folder of the versions once."""
        base = self._config.parent
        self._asked = {version for version in self._named if (base / str(version)).is_dir()}

    def work(self) -> None:
        """Makes one step of the manager: requests, loads, unloads."""
        self._take_request()
        for version, managed in self._managed.items():
            if managed.state in (LOADING, UNLOADING):
                managed.steps -= 1
                if managed.steps < 0:
                    self._end_step(version, managed)
        for version, managed in [*self._managed.items()]:
            if not managed.is_wanted and managed.state in (NEW, GONE, ERROR):
                del self._managed[version]
        self._act()

    def version(self, label: str) -> int | None:
        """Returns the version that answers a request for a label; None if the request fails."""
        number = self.labels.get(label)
        found = self._managed.get(number) if number is not None else None
        return number if self.is_up and found is not None and found.state == READY else None

    def states(self) -> States | Silent:
        """Returns the answer of GetModelStatus."""
        if not self.is_up:
            return Silent("failed to connect")
        ended = {version: VersionState("END", error) for version, error in self._ended.items()}
        managed = {
            version: VersionState(_SHOWN.get(one.state, "END"), one.error)
            for version, one in self._managed.items()
        }
        return {**ended, **managed}

    def _look(self) -> None:
        (config,) = _parsed(self._config.read_text("utf-8")).model_config_list.config
        labels = dict(config.version_labels)
        for label, version in labels.items():
            in_use = self.labels.get(label, version) != version
            found = self._managed.get(version)
            is_ready = found is not None and found.state == READY
            if not is_ready and (in_use or not self._unavailable_labels):
                self.refusal = f"label {label} to version {version}, which is not available"
                return
        self.refusal = ""
        self.labels, self._named = labels, set(config.model_version_policy.specific.versions)

    def _take_request(self) -> None:
        if self._asked is None:
            return
        if any(v in self._asked and not one.is_wanted for v, one in self._managed.items()):
            return  # asked for again before it has gone
        for version, managed in self._managed.items():
            managed.is_wanted = version in self._asked
        for version in self._asked - self._managed.keys():
            self._managed[version] = Managed()
        self._asked = None

    def _end_step(self, version: int, managed: Managed) -> None:
        if managed.state == UNLOADING:
            managed.state = GONE
            self._ended[version] = ""
        elif version in self._broken:
            managed.state, managed.error = ERROR, "cannot be read"
            self._ended[version] = managed.error
            if not self.is_up:
                self._start()  # the process ends, and is started again
        else:
            managed.state = READY
            self.is_up = True

    def _act(self) -> None:
        ready = {v: one for v, one in self._managed.items() if one.state == READY}
        others = sorted(v for v, one in ready.items() if not one.is_wanted)
        wanted = [v for v, one in self._managed.items() if one.is_wanted]
        if others and (not wanted or any(v in ready for v in wanted) or len(others) > 1):
            self._managed[others[0]].state = UNLOADING
            return
        new = [v for v in wanted if self._managed[v].state == NEW]
        if new:
            managed = self._managed[max(new)]
            managed.state, managed.steps = LOADING, self._load_steps(max(new))


@functools.lru_cache(256)  # there are many looks at few files
def _parsed(text: str) -> Any:
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


@contextlib.contextmanager
def over_grpc(server: TensorFlowServing, model: str) -> Iterator[str]:
    """Serves GetModelStatus and GetModelMetadata of the double on a port."""
    kinds = get_model_status_pb2.ModelVersionStatus.State

    class Models(model_service_pb2_grpc.ModelServiceServicer):
        def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
            states = server.states()
            if isinstance(states, Silent) or request.model_spec.name != model:
                context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model")
                raise AssertionError  # abort raises
            answer = get_model_status_pb2.GetModelStatusResponse()
            for version, found in states.items():  # whatever label was asked for
                one = answer.model_version_status.add(
                    version=version, state=kinds.Value(found.state)
                )
                one.status.error_message = found.error
            return answer

    class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
        def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
            label = request.model_spec.version_label
            if label not in server.labels:
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"Unrecognized servable version label: {label}",
                )
            version = server.version(label)
            if version is None:
                context.abort(
                    grpc.StatusCode.NOT_FOUND,
                    f"Servable not found for request: Specific({model}, {server.labels[label]})",
                )
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            answer.model_spec.name, answer.model_spec.version.value = model, version
            return answer

    listening = grpc.server(ThreadPoolExecutor(4))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), listening)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(), listening)
    port = listening.add_insecure_port("127.0.0.1:0")
    listening.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        listening.stop(None)
