"""The versions in memory: loads what is wanted, then unloads what is not, and never the last good.

A version that does not load leaves the others as they are; the reason is in its status. A label
moves when the version it shall name is there. A version that is in use is closed after its last
request.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.server.errors import Code, ServingError, invalid
from serving.server.loaded_model import LoadedModel
from serving.server.wanted import WantedModel

_log = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus.State
RETRY_SECONDS = 30.0  # for a version that did not load, while its folder is as it was

Load = Callable[[Path, str], LoadedModel]


@dataclasses.dataclass
class Version:
    """One version of a model, from the moment it is wanted."""

    number: int
    state: int = State.START
    error: str = ""
    model: LoadedModel | None = None
    uses: int = 0
    failed: tuple[float, int] | None = None  # when, and of when its folder was


class _Model:
    def __init__(self) -> None:
        self.versions: dict[int, Version] = {}
        self.labels: dict[str, int] = {}

    def available(self) -> list[int]:
        return sorted(n for n, v in self.versions.items() if v.state == State.AVAILABLE)


class Catalog:
    """What is loaded, for any number of threads.

    Args:
      load: makes a LoadedModel of a folder, warmed up; whatever it raises is the version's error.
    """

    def __init__(self, load: Load):
        self._load = load
        self._models: dict[str, _Model] = {}
        self._lock = threading.Lock()  # of what is above
        self._refreshing = threading.Lock()

    def refresh(self, wanted: Sequence[WantedModel]) -> None:
        """Makes the versions in memory those that are wanted; returns when they are."""
        with self._refreshing:
            for model in wanted:
                self._refresh(model)
            with self._lock:
                gone = [name for name in self._models if name not in {m.name for m in wanted}]
            for name in gone:
                self._unload(name, keep=set())
                with self._lock:
                    del self._models[name]

    @contextlib.contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[tuple[model_pb2.ModelSpec, LoadedModel]]:
        """The version that a request asks for, which stays loaded meanwhile.

        Yields:
          What answers, with its version; and the model.

        Raises:
          ServingError: there is no such model, version or label.
        """
        with self._lock:
            version = self._find(spec)
            version.uses += 1
        answering = model_pb2.ModelSpec(name=spec.name)
        answering.version.value = version.number
        try:
            assert version.model is not None
            yield answering, version.model
        finally:
            with self._lock:
                version.uses -= 1
                closing = version.uses == 0 and version.state == State.UNLOADING
            if closing:
                _close(version)

    def status(self, spec: model_pb2.ModelSpec) -> list[Version]:
        """All versions that are or were wanted, newest first, or the one that `spec` names."""
        with self._lock:
            model = self._models.get(spec.name)
            if model is None:
                raise ServingError(
                    Code.NOT_FOUND, f"Could not find any versions of model {spec.name}"
                )
            number = self._number(spec, model)
            if number is None:
                return [model.versions[n] for n in sorted(model.versions, reverse=True)]
            if number not in model.versions:
                raise ServingError(
                    Code.NOT_FOUND, f"Could not find version {number} of model {spec.name}"
                )
            return [model.versions[number]]

    def labels(self, name: str) -> dict[str, int]:
        """Label -> version, as it is now."""
        with self._lock:
            return dict(self._models[name].labels) if name in self._models else {}

    def available(self, name: str) -> list[int]:
        """Versions that answer."""
        with self._lock:
            return self._models[name].available() if name in self._models else []

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._models)

    def is_ready(self) -> bool:
        """Whether each model has a version that answers."""
        with self._lock:
            return bool(self._models) and all(m.available() for m in self._models.values())

    def close(self) -> None:
        """Unloads everything."""
        self.refresh([])

    def _number(self, spec: model_pb2.ModelSpec, model: _Model) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return spec.version.value
        if choice == "version_label":
            if spec.version_label not in model.labels:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
            return model.labels[spec.version_label]
        return None

    def _find(self, spec: model_pb2.ModelSpec) -> Version:
        if not spec.name:
            raise invalid("ModelSpec has no model name specified.")
        model = self._models.get(spec.name)
        number = None if model is None else self._number(spec, model)
        if model is not None and number is None:
            number = max(model.available(), default=None)
        version = None if model is None or number is None else model.versions.get(number)
        if version is None or version.state != State.AVAILABLE:
            asked = f"Latest({spec.name})"
            if spec.WhichOneof("version_choice"):
                asked = f"Specific({spec.name}, {spec.version.value or number})"
            raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {asked}")
        return version

    def _refresh(self, wanted: WantedModel) -> None:
        with self._lock:
            model = self._models.setdefault(wanted.name, _Model())
        for number in wanted.versions:
            self._load_version(wanted, model, number)
        with self._lock:
            available = model.available()
            kept = {label: n for label, n in model.labels.items() if n in available}
            moved = {label: n for label, n in wanted.labels.items() if n in available}
            waiting = {label: kept[label] for label in wanted.labels if label in kept}
            model.labels = {**waiting, **moved}
            keep = {*wanted.versions, *model.labels.values()}
        if set(wanted.versions) & set(available):
            self._unload(wanted.name, keep)

    def _load_version(self, wanted: WantedModel, model: _Model, number: int) -> None:
        path = wanted.base_path / str(number)
        with self._lock:
            version = model.versions.setdefault(number, Version(number))
            if version.state == State.AVAILABLE or not _is_due(version, path):
                return
            if version.state == State.UNLOADING:
                version = model.versions[number] = Version(number)
            version.state = State.LOADING
        started = time.monotonic()
        try:
            if not path.is_dir():
                raise FileNotFoundError(f"there is no folder {path}")
            loaded = self._load(path, f"{wanted.name}/{number}/{id(version)}")
        except Exception as error:  # whatever TensorFlow makes of a damaged folder
            reason = str(error).strip().partition("\n")[0][:500] or type(error).__name__
            if reason != version.error:
                _log.error("%s version %d does not load: %s", wanted.name, number, reason)
            with self._lock:
                version.state, version.error = State.END, reason
                version.failed = (time.monotonic(), _changed(path))
            return
        with self._lock:
            version.model, version.error, version.failed = loaded, "", None
            version.state = State.AVAILABLE
        seconds = time.monotonic() - started
        _log.info("%s version %d is loaded, in %.1f s", wanted.name, number, seconds)

    def _unload(self, name: str, keep: set[int]) -> None:
        with self._lock:
            versions = self._models[name].versions
            unwanted = [v for v in versions.values() if v.number not in keep]
            for version in unwanted:
                if version.state == State.AVAILABLE:
                    version.state = State.UNLOADING
                elif version.state in (State.START, State.LOADING):
                    version.state = State.END
            idle = [v for v in unwanted if v.state == State.UNLOADING and v.uses == 0]
        for version in idle:
            _close(version)
            _log.info("%s version %d is unloaded", name, version.number)


def _is_due(version: Version, path: Path) -> bool:
    """Whether to try to load it; one that failed is not tried every second."""
    if version.failed is None:
        return True
    when, changed = version.failed
    return _changed(path) != changed or time.monotonic() - when > RETRY_SECONDS


def _changed(path: Path) -> int:
    """When the folder was put there, or what is in it last changed."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _close(version: Version) -> None:
    model, version.model = version.model, None
    if model is not None:
        model.close()
    version.state = State.END
