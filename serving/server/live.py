"""Keeps the catalog at what the config and the folders say, second by second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tensorflow_serving.config import model_server_config_pb2

from serving.server.catalog import Catalog
from serving.server.errors import Code, ServingError
from serving.server.wanted import WantedModel, wanted_models

_log = logging.getLogger(__name__)


class Live:
    """Watches in a thread of its own.

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
        self._written: model_server_config_pb2.ModelServerConfig | None = (
            None  # when it was last read
        )
        self._current: model_server_config_pb2.ModelServerConfig | None = (
            None  # that, or what a client sent since
        )
        self._problem = ""
        self._changing = threading.Lock()  # one config at a time: a look must not undo a reload
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        """Loads what there is, and returns; then goes on watching."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """One look at config and folders; what is wrong with them is logged, once."""
        try:
            with self._changing:
                written = self._read()
                if written != self._written:  # the file is newer than what a client sent
                    self._written = self._current = written
                assert self._current is not None
                self.catalog.refresh(wanted_models(self._current))
            self._problem = ""
        except ServingError as error:
            if error.message != self._problem:
                _log.error("%s; going on with what is loaded", error.message)
            self._problem = error.message

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves a client's config until the one that is written down changes.

        Raises:
          ServingError: it is no good, or none of a model's versions loads; all is as before then.
        """
        wanted = wanted_models(config)
        for model in wanted:
            if not any((model.base_path / str(number)).is_dir() for number in model.versions):
                raise _nothing_loads(model)
        with self._changing:
            self.catalog.refresh(wanted)
            for model in wanted:
                if not self.catalog.available(model.name):
                    if self._current is not None:
                        self.catalog.refresh(wanted_models(self._current))
                    raise _nothing_loads(model)
            self._current = config

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.look()
            except Exception:  # whatever it is, the server goes on
                _log.exception("looking for new versions failed")


def _nothing_loads(model: WantedModel) -> ServingError:
    return ServingError(
        Code.FAILED_PRECONDITION,
        f"no version of {model.name} below {model.base_path} could be loaded",
    )
