"""Servers that follow a models.config in simulated time: the test double and our own."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from base.errors import ComponentError
from base.shared_names import MODELS_CONFIG
from components.pusher.executor import released
from components.pusher.model_servers import Silent, States, VersionState
from components.pusher.release import Release, read_release
from components.pusher.rollout import Followers, Rollout
from serving.release.switch import promote, rollback
from serving.server.catalog import Catalog
from serving.server.errors import ServingError
from serving.server.wanted import read_config, wanted_models

TICK = 0.1
LOOK_TICKS = 10  # a server looks at file and folder once a second


class Server(Protocol):
    """A simulated server."""

    refusal: str
    is_up: bool

    def poll_config(self) -> None: ...
    def poll_folder(self) -> None: ...
    def work(self) -> None: ...
    def version(self, label: str) -> int | None: ...
    def states(self) -> States | Silent: ...


class OurServer:
    """The real catalog, with models that load instantly once it is their turn."""

    refusal = ""
    is_up = True

    def __init__(
        self, config: Path, *, load_steps: Callable[[int], int], broken: set[int] | frozenset[int]
    ):
        self._config, self._load_steps, self._broken = config, load_steps, broken
        self._catalog = Catalog(self._load)
        self._steps = 0
        self.poll_config()
        self._catalog.reconcile()

    def _load(self, path: Path, _: str) -> Any:
        if int(path.name) in self._broken:
            raise OSError("cannot be read")
        return SimpleNamespace(close=lambda: None)

    def poll_config(self) -> None:
        self._catalog.want(wanted_models(read_config(self._config)))

    def poll_folder(self) -> None:
        """Does nothing, because our server looks at file and folder at the same time."""

    def work(self) -> None:
        self._steps += 1
        if self._steps % (1 + self._load_steps(0)) == 0:
            self._catalog.reconcile()

    def version(self, label: str) -> int | None:
        spec = model_pb2.ModelSpec(name=self._config.parent.name, version_label=label)
        try:
            with self._catalog.use(spec) as (answering, _):
                return int(answering.version.value)
        except ServingError:
            return None

    def states(self) -> States | Silent:
        kinds = get_model_status_pb2.ModelVersionStatus.State
        found = self._catalog.status(model_pb2.ModelSpec(name=self._config.parent.name))
        return {one.number: VersionState(kinds.Name(one.state), one.error) for one in found}


@dataclasses.dataclass
class World:
    """A folder of versions, servers that read it, and a simulated clock.

    Attributes:
      base: Folder of the versions.
      start: Function that makes a server from models.config, the broken versions, and a factor by
        which its loads are slower.
      named: Whether releases know the servers by name, so that they wait for them.
    """

    base: Path
    start: Callable[[Path, set[int], int], Server]
    named: bool = True

    def __post_init__(self) -> None:
        self.servers: list[tuple[Server, int, int]] = []
        self.ticks, self.newest = 0, 0
        self.broken: set[int] = set()
        self._has_answered: set[int] = set()
        self.push("immediate")

    def join(self, file_tick: int = 0, folder_tick: int = 5, slowness: int = 1) -> Server:
        """Starts another server, which looks at file and folder at these ticks of each second."""
        server = self.start(self.base / MODELS_CONFIG, self.broken, slowness)
        self.servers.append((server, file_tick, folder_tick))
        return server

    def sleep(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / TICK))):
            self.ticks += 1
            for number, (server, file_tick, folder_tick) in enumerate(self.servers):
                server.work()
                if self.ticks % LOOK_TICKS == file_tick:
                    server.poll_config()
                if self.ticks % LOOK_TICKS == folder_tick:
                    server.poll_folder()
                self._check_answers(number, server)

    def _check_answers(self, number: int, server: Server) -> None:
        """Asserts that a server which once answered for stable always does."""
        if not server.is_up:
            self._has_answered.discard(number)
        elif server.version("stable") is not None:
            self._has_answered.add(number)
        else:
            assert number not in self._has_answered, f"no stable version at {self.ticks}"

    def rollout(self) -> Rollout:
        return Rollout(
            Followers(("pods:8500",) if self.named else ()),
            say=lambda _: None,
            ask=lambda *_: {f"pod {n}": one.states() for n, (one, *_) in enumerate(self.servers)},
            sleep=self.sleep,
            clock=lambda: self.ticks * TICK,
        )

    def push(self, kind: str, *, is_broken: bool = False) -> None:
        """Pushes a version like the Pusher."""
        self.newest += 1
        version, before = self.newest, read_release(self.base)
        if is_broken:
            self.broken.add(version)
        folder = self.base / str(version)
        folder.mkdir(parents=True)
        try:
            self.rollout().release(self.base, before, released(before, version, kind))
        except ComponentError:
            assert is_broken, f"version {version} could not be released"
            shutil.rmtree(folder)
            assert read_release(self.base) == before

    def promote(self) -> None:
        promote(self.base, rollout=self.rollout())

    def rollback(self, to: int | None = None) -> None:
        rollback(self.base, to, "bad", rollout=self.rollout())

    def do(self, what: str) -> None:
        """Makes a change by name, if it is possible at present."""
        release = read_release(self.base)
        assert release is not None
        if what == "promote" and release.canary is not None:
            self.promote()
        elif what == "rollback" and (release.canary or release.previous):
            self.rollback()
        elif what == "rollback to the oldest" and release.stable != 1:
            self.rollback(to=1)
        elif what in ("immediate", "canary"):
            self.push(what)
        elif what == "broken":
            self.push("canary", is_broken=True)
        elif what == "join":
            self.join(slowness=3)

    def assert_settled(self, seconds: float = 30) -> Release:
        """Asserts that after a while every server serves what models.config says."""
        self.sleep(seconds)
        release = read_release(self.base)
        assert release is not None
        for server, *_ in self.servers:
            assert server.refusal == ""
            assert {label: server.version(label) for label in release.labels} == release.labels
        return release
