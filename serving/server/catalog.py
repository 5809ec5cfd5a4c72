"""The versions in memory: loads what is wanted, then unloads what is not, and never the last good.

What is wanted may change at any moment, also while something loads: labels move at once where
they can, and `reconcile` goes on with what is wanted then. A version that does not load leaves the
others as they are; the reason is in its status. A version in use is closed after its last request.
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

    def move_labels(self, wanted: dict[str, int]) -> None:
        """To where they are wanted, if that version is there; else they stay while theirs is."""
        available = self.available()
        places = {label: (n, self.labels.get(label)) for label, n in wanted.items()}
        self.labels = {
            label: next(n for n in both if n in available)
            for label, both in places.items()
            if any(n in available for n in both)
        }


class Catalog:
    """What is loaded, for any number of threads.

    Args:
      load: makes a LoadedModel of a folder, warmed up; whatever it raises is the version's error.
    """

    def __init__(self, load: Load):
        self._load = load
        self._models: dict[str, _Model] = {}
        self._wanted: dict[str, WantedModel] = {}
        self._lock = threading.Lock()  # of what is above
        self._reconciling = threading.Lock()

    def want(self, models: Sequence[WantedModel]) -> None:
        """Says what shall be served; moves the labels that can be moved, and loads nothing."""
        with self._lock:
            self._wanted = {model.name: model for model in models}
            for model in models:
                self._models.setdefault(model.name, _Model()).move_labels(model.labels)

    def reconcile(self) -> None:
        """Makes the versions in memory those that are wanted; returns when they are."""
        with self._reconciling:
            self._load_wanted()
            self._unload_others()

    def adopt(self, models: Sequence[WantedModel]) -> None:
        """`want` and `reconcile`, or all as before.

        Raises:
          ServingError: of a model no version loads, or not one that has a label.
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
        """All versions that are or were wanted, newest first, or the one that `spec` numbers.

        A label in `spec` is ignored, as by TensorFlow Serving (get_model_status_impl.cc).

        Raises:
          ServingError: there is no such model or version.
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
        self.want([])
        self.reconcile()

    def _find(self, spec: model_pb2.ModelSpec) -> Version:
        """Looks a version up, with the checks of ServerCore::ServableRequestFromModelSpec."""
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
        """One after the other, by what is wanted at that moment."""
        tried: set[tuple[str, int]] = set()
        while (found := self._next_to_load(tried)) is not None:
            wanted, number = found
            tried.add((wanted.name, number))
            self._load_version(wanted, number)

    def _next_to_load(self, tried: set[tuple[str, int]]) -> tuple[WantedModel, int] | None:
        """Versions with labels first: users wait for those."""
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
            if wanted.name in self._wanted:
                model.move_labels(self._wanted[wanted.name].labels)
        seconds = time.monotonic() - started
        _log.info("%s version %d is loaded, in %.1f s", wanted.name, number, seconds)

    def _unload_others(self) -> None:
        """What is not wanted, of models of which something wanted is there."""
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
            _log.info("%s version %d is unloaded", name, version.number)

    def _problem_of(self, wanted: WantedModel) -> str | None:
        """What keeps a model from being served as it is wanted."""
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
