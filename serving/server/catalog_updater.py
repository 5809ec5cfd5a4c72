"""Keeps the catalog up to date with the config and the folders of versions."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tensorflow_serving.config import model_server_config_pb2

from serving.server.catalog import Catalog
from serving.server.errors import Code, ServingError
from serving.server.wanted import wanted_models

_log = logging.getLogger(__name__)
_RETRY_CHECK_SECONDS = 1.0  # between two checks whether a failed version is due again
_ONCE = math.inf


class CatalogUpdater:
    """Watches in one thread and loads in another, so that labels can move during a load.

    Args:
      catalog: Catalog to update.
      read: Function that reads the config. Raises ServingError if it cannot be read.
      folder_seconds: Interval between two looks at the folders of versions; 0 to look only once.
      config_seconds: Interval between two looks at the config; 0 to look only once.
      roots: Folders in which the models of a client's config may be, besides the folders that the
        server's own config has named.
    """

    def __init__(
        self,
        catalog: Catalog,
        read: Callable[[], model_server_config_pb2.ModelServerConfig],
        folder_seconds: float,
        config_seconds: float,
        roots: Iterable[Path] = (),
    ):
        self._roots = {root.resolve() for root in roots}
        self.catalog = catalog
        self._read = read
        self._folder_seconds = folder_seconds or _ONCE
        self._config_seconds = config_seconds or _ONCE
        self._written: model_server_config_pb2.ModelServerConfig | None = None  # as last read
        self._current: model_server_config_pb2.ModelServerConfig | None = None  # read or sent
        self._changing = threading.Lock()  # guards _written and _current
        self._problem = ""
        self._stopping, self._looked = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, name="watch", daemon=True),
            threading.Thread(target=self._load, name="load", daemon=True),
        ]

    def start(self) -> None:
        """Loads the wanted versions and starts the threads.

        A missing models.config is not an error: nothing is served until it appears.

        Raises:
          ServingError: The config cannot be read or served. TensorFlow Serving exits in this case,
            too (server.cc, Server::BuildAndStart).
        """
        try:
            self._log_once(self._look(read=True))
        except ServingError as error:
            if error.code is not Code.UNAVAILABLE:
                raise
            self._problem = error.message
            _log.error("%s; nothing is served until then", error.message)
        self.catalog.reconcile()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._looked.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def look(self, read: bool = True) -> None:
        """Looks at config and folders once, and logs a new problem with them.

        Args:
          read: Whether to read the config again.
        """
        try:
            problem = self._look(read)
        except ServingError as error:
            problem = error.message
        self._log_once(problem)

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves a client's config until the config file changes.

        Raises:
          ServingError: The config is invalid, outside of the roots, or does not load. What is
            served has not changed.
        """
        wanted = wanted_models(config, self._roots)
        for model in wanted:
            if not any(model.path(number).is_dir() for number in model.versions):
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"there is no version of {model.name} below {model.base_path}",
                )
        with self._changing:
            before, self._current = self._current, config
        try:
            self.catalog.adopt(wanted)
        except ServingError:
            with self._changing:
                if self._current is config:
                    self._current = before
            raise

    def _look(self, read: bool) -> str:
        """Returns a problem with which the server can go on, or ""."""
        problem = ""
        with self._changing:
            written = self._read() if read else self._written
            if written is not None and written.WhichOneof("config") is None:
                # TensorFlow Serving ignores an empty config, too (ServerCore::ReloadConfig).
                problem = "the config is empty"
            elif written != self._written:  # a changed file replaces a client's config
                self._written = self._current = written
                own = {model.base_path.resolve() for model in wanted_models(written)}
                self._roots = self._roots | own
            if self._current is not None:
                self.catalog.want(wanted_models(self._current))
        return problem

    def _log_once(self, problem: str) -> None:
        if problem and problem != self._problem:
            _log.error("%s; going on with what is loaded", problem)
        self._problem = problem

    def _watch(self) -> None:
        now = time.monotonic()
        folders_due, config_due = now + self._folder_seconds, now + self._config_seconds
        while True:
            due = min(folders_due, config_due)
            if self._stopping.wait(None if due == _ONCE else max(0.0, due - time.monotonic())):
                return
            now = time.monotonic()
            read = now >= config_due
            try:
                self.look(read)
            except Exception:  # the server must go on
                _log.exception("looking for new versions failed")
            self._looked.set()
            if read:
                config_due = now + self._config_seconds
            if now >= folders_due:
                folders_due = now + self._folder_seconds

    def _load(self) -> None:
        while not self._stopping.is_set():
            self._looked.wait(_RETRY_CHECK_SECONDS)  # retries are due even without polling
            self._looked.clear()
            if self._stopping.is_set():
                return
            try:
                self.catalog.reconcile()
            except Exception:
                _log.exception("loading or unloading failed")
