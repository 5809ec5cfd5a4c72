"""Keeps the catalog at what the config and the folders say, second by second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tensorflow_serving.config import model_server_config_pb2

from serving.server.catalog import Catalog
from serving.server.errors import Code, ServingError
from serving.server.wanted import wanted_models

_log = logging.getLogger(__name__)


class Live:
    """Watches in one thread and loads in another, so that a label moves while something loads.

    Args:
      catalog: what to keep.
      read: the config as it is written down now; raises ServingError if it cannot be read.
      poll_seconds: between two looks.
    """

    def __init__(
        self,
        catalog: Catalog,
        read: Callable[[], model_server_config_pb2.ModelServerConfig],
        poll_seconds: float,
    ):
        self.catalog = catalog
        self._read, self._poll_seconds = read, poll_seconds
        self._written: model_server_config_pb2.ModelServerConfig | None = None  # when last read
        self._current: model_server_config_pb2.ModelServerConfig | None = None  # or sent since
        self._changing = threading.Lock()  # of those two
        self._problem = ""
        self._stopping, self._looked = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, name="watch", daemon=True),
            threading.Thread(target=self._load, name="load", daemon=True),
        ]

    def start(self) -> None:
        """Loads what there is, and returns; then goes on watching."""
        self.look()
        self.catalog.reconcile()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._looked.set()
        for thread in self._threads:
            thread.join()

    def look(self) -> None:
        """One look at config and folders; what is wrong with them is logged, once."""
        try:
            with self._changing:
                written = self._read()
                if written != self._written:  # the file is newer than what a client sent
                    self._written = self._current = written
                assert self._current is not None
                self.catalog.want(wanted_models(self._current))
            self._problem = ""
        except ServingError as error:
            if error.message != self._problem:
                _log.error("%s; going on with what is loaded", error.message)
            self._problem = error.message

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves a client's config until the one that is written down changes.

        Raises:
          ServingError: it is no good, or does not load; all is as before then.
        """
        wanted = wanted_models(config)
        for model in wanted:
            if not any((model.base_path / str(number)).is_dir() for number in model.versions):
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

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.look()
            except Exception:  # whatever it is, the server goes on
                _log.exception("looking for new versions failed")
            self._looked.set()

    def _load(self) -> None:
        while not self._stopping.is_set():
            self._looked.wait()
            self._looked.clear()
            if self._stopping.is_set():
                return
            try:
                self.catalog.reconcile()
            except Exception:
                _log.exception("loading or unloading failed")
