"""The loaded versions: loads those that are wanted, then unloads the others.

The wanted versions may change at any time, also during a load. A label moves as soon as its version
is available. A version that fails to load leaves the others unchanged, and its status has the
reason. The last available version is kept until a wanted one is available. A version in use is
closed after its last request.
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
RETRY_SECONDS = 30.0  # before another attempt to load a version whose folder has not changed

LoadVersion = Callable[[Path, str], LoadedModel]


@dataclasses.dataclass
class Version:
    """A version of a model, from the time it was first wanted."""

    number: int
    state: int = State.START
    error: str = ""
    model: LoadedModel | None = None
    uses: int = 0
    failed: tuple[float, int] | None = None  # time of the failure; change time of the folder


class _Model:
    def __init__(self) -> None:
        self.versions: dict[int, Version] = {}
        self.labels: dict[str, int] = {}

    def available(self) -> list[int]:
        return sorted(n for n, v in self.versions.items() if v.state == State.AVAILABLE)

    def move_labels(self, wanted: dict[str, int]) -> None:
        """Moves each label to its wanted version if available, else keeps its current one."""
        available = self.available()
        choices = {label: (n, self.labels.get(label)) for label, n in wanted.items()}
        self.labels = {
            label: next(n for n in both if n in available)
            for label, both in choices.items()
            if any(n in available for n in both)
        }


class Catalog:
    """The loaded versions of all models. Thread-safe.

    Args:
      load: Function that loads and warms up the model in a folder. Its exceptions become the error
        of the version.
    """

    def __init__(self, load: LoadVersion):
        self._load = load
        self._models: dict[str, _Model] = {}
        self._wanted: dict[str, WantedModel] = {}
        self._lock = threading.Lock()  # guards _models and _wanted
        self._reconciling = threading.Lock()

    def want(self, models: Sequence[WantedModel]) -> None:
        """Sets the wanted models and moves labels to available versions. Loads nothing."""
        with self._lock:
            self._wanted = {model.name: model for model in models}
            for model in models:
                self._models.setdefault(model.name, _Model()).move_labels(model.labels)

    def reconcile(self) -> None:
        """Loads the wanted versions, then unloads the others."""
        with self._reconciling:
            self._load_wanted()
            self._unload_others()

    def adopt(self, models: Sequence[WantedModel]) -> None:
        """Calls `want` and `reconcile`, or leaves everything as it was.

        Raises:
          ServingError: A model has no version that loads, or a labelled version does not load.
        """
        with self._reconciling:
            with self._lock:
                before = [*self._wanted.values()]
            self.want(models)
            self._load_wanted()
            problem = next(filter(None, map(self._problem_of, models)), None)
            if problem is None:
                self._unload_others()
                return
            self.want(before)
        raise ServingError(Code.FAILED_PRECONDITION, problem)

    @contextlib.contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[tuple[model_pb2.ModelSpec, LoadedModel]]:
        """Keeps the version that a request asks for loaded while the block runs.

        Yields:
          The name and version that answer, and the loaded model.

        Raises:
          ServingError: There is no such model, version or label.
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
        """Returns all versions that are or were wanted, newest first, or the version in `spec`.

        A label in `spec` is ignored, as in TensorFlow Serving (get_model_status_impl.cc).

        Raises:
          ServingError: There is no such model or version.
        """
        with self._lock:
            model = self._models.get(spec.name)
            if model is None:
                raise ServingError(
                    Code.NOT_FOUND, f"Could not find any versions of model {spec.name}"
                )
            if not spec.HasField("version"):
                return [model.versions[n] for n in sorted(model.versions, reverse=True)]
            number = spec.version.value
            if number not in model.versions:
                raise ServingError(
                    Code.NOT_FOUND, f"Could not find version {number} of model {spec.name}"
                )
            return [model.versions[number]]

    def labels(self, name: str) -> dict[str, int]:
        """Returns the current version of each label."""
        with self._lock:
            return dict(self._models[name].labels) if name in self._models else {}

    def available(self, name: str) -> list[int]:
        """Returns the versions that answer, ascending."""
        with self._lock:
            return self._models[name].available() if name in self._models else []

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._models)

    def is_ready(self) -> bool:
        """Returns whether each model has a version that answers."""
        with self._lock:
            return bool(self._models) and all(m.available() for m in self._models.values())

    def close(self) -> None:
        """Unloads everything."""
        self.want([])
        self.reconcile()

    def _find(self, spec: model_pb2.ModelSpec) -> Version:
        """Finds a version, with the checks of ServerCore::ServableRequestFromModelSpec."""
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        model = self._models.get(spec.name, _Model())
        choice = spec.WhichOneof("version_choice")
        number: int | None
        if choice == "version":
            number = spec.version.value
        elif choice == "version_label":
            if spec.version_label not in model.labels:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
            number = model.labels[spec.version_label]
        else:
            number = max(model.available(), default=None)
        version = None if number is None else model.versions.get(number)
        if version is None or version.state != State.AVAILABLE:
            asked = f"Specific({spec.name}, {number})" if choice else f"Latest({spec.name})"
            raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {asked}")
        return version

    def _load_wanted(self) -> None:
        """Loads one version after the other. The wanted versions may change in between."""
        tried: set[tuple[str, int]] = set()
        while (found := self._next_to_load(tried)) is not None:
            wanted, number = found
            tried.add((wanted.name, number))
            self._load_version(wanted, number)

    def _next_to_load(self, tried: set[tuple[str, int]]) -> tuple[WantedModel, int] | None:
        """Returns the next version to load. Labelled versions come first: users wait for them."""
        with self._lock:
            for wanted in self._wanted.values():
                versions = self._models[wanted.name].versions
                labelled = [n for n in wanted.labels.values() if n in wanted.versions]
                for number in dict.fromkeys([*labelled, *wanted.versions]):
                    version = versions.get(number)
                    missing = version is None or version.state != State.AVAILABLE
                    due = version is None or _is_due(version, wanted.path(number))
                    if missing and due and (wanted.name, number) not in tried:
                        return wanted, number
        return None

    def _load_version(self, wanted: WantedModel, number: int) -> None:
        path = wanted.path(number)
        with self._lock:
            model = self._models[wanted.name]
            version = model.versions.get(number)
            if version is None or version.state == State.UNLOADING:
                version = model.versions[number] = Version(number)
            version.state = State.LOADING
        started = time.monotonic()
        try:
            if not path.is_dir():
                raise FileNotFoundError(f"there is no folder {path}")
            loaded = self._load(path, f"{wanted.name}/{number}/{id(version)}")
        except Exception as error:  # TensorFlow raises many types for a damaged folder
            reason = str(error).strip().partition("\n")[0][:500] or type(error).__name__
            if reason != version.error:
                _log.error("cannot load %s version %d: %s", wanted.name, number, reason)
            with self._lock:
                version.state, version.error = State.END, reason
                version.failed = (time.monotonic(), _changed_at(path))
            return
        with self._lock:
            version.model, version.error, version.failed = loaded, "", None
            version.state = State.AVAILABLE
            if wanted.name in self._wanted:
                model.move_labels(self._wanted[wanted.name].labels)
        seconds = time.monotonic() - started
        _log.info("loaded %s version %d in %.1f s", wanted.name, number, seconds)

    def _unload_others(self) -> None:
        """Unloads unwanted versions of models that have a wanted version available."""
        idle: list[tuple[str, Version]] = []
        with self._lock:
            for name, model in [*self._models.items()]:
                wanted = self._wanted.get(name)
                versions = set(wanted.versions) if wanted else set()
                if wanted and not versions & set(model.available()):
                    continue
                keep = versions | (set(model.labels.values()) if wanted else set())
                for version in model.versions.values():
                    if version.number in keep:
                        continue
                    if version.state == State.AVAILABLE:
                        version.state = State.UNLOADING
                        if version.uses == 0:
                            idle.append((name, version))
                    elif version.state in (State.START, State.LOADING):
                        version.state = State.END
                if wanted is None:
                    del self._models[name]
        for name, version in idle:
            _close(version)
            _log.info("unloaded %s version %d", name, version.number)

    def _problem_of(self, wanted: WantedModel) -> str | None:
        """Returns why a model cannot be served as wanted, or None."""
        with self._lock:
            model = self._models[wanted.name]
            available = model.available()
            needed = [n for n in wanted.labels.values() if n not in available]
            if not needed and set(wanted.versions) & set(available):
                return None
            number = needed[0] if needed else max(wanted.versions, default=None)
            version = model.versions.get(number) if number is not None else None
        reason = version.error if version and version.error else "there is no such version"
        return f"{wanted.name} version {number} could not be loaded: {reason}"


def _is_due(version: Version, path: Path) -> bool:
    """Returns whether to load a version now. One that failed waits for RETRY_SECONDS."""
    if version.failed is None:
        return True
    when, changed = version.failed
    return _changed_at(path) != changed or time.monotonic() - when > RETRY_SECONDS


def _changed_at(path: Path) -> int:
    """Returns the change time of the folder in nanoseconds; 0 if it is missing."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _close(version: Version) -> None:
    model, version.model = version.model, None
    if model is not None:
        model.close()
    version.state = State.END
