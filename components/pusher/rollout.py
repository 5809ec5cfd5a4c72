"""Changes what is live in steps that TensorFlow Serving accepts while it runs.

TensorFlow Serving applies the labels of a new models.config *before* it loads the file's versions
(ServerCore::ReloadConfig). A label that is in use moves only to a version that is loaded; one label
that cannot move refuses the whole file, with its versions, at every look. So a change is written as

1. load: the labels as they are, with the new versions beside those that are live;
2. move: the new labels, once servers have loaded what these need;
3. where `previous` is a version that was not loaded (after a rollback): its label, last.

A step that would change nothing is left out: the first push, the promotion of a canary, and a
rollback to `previous` move their label at once. Whoever is killed between two steps leaves a file
that servers follow; the next command goes on from there.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from base.errors import ComponentError
from base.shared_names import MODELS_CONFIG
from components.pusher.release import Release, write_release

if TYPE_CHECKING:
    from components.pusher.model_servers import NoAnswer, States

    Ask = Callable[[Iterable[str], str], Mapping[str, States | NoAnswer]]

_LOOK_AGAIN_SECONDS = 0.2
_OLD_FAILURE_SECONDS = 5.0  # so long an error may be that of an earlier attempt

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Followers:
    """The model servers that read models.config, and their time limits.

    Attributes:
      servers: Addresses, host:port; a name stands for all its addresses. Other servers follow too,
        but a release does not wait for them.
      follow_seconds: Seconds within which each server reads a new file. The default fits a server
        that polls the file and the folder once a second each, as the exported command does.
      load_seconds: Seconds within which a named server must load a version, or the release stops.
      expected: Whether the named servers should be running. If so, a release waits for one that
        does not answer, since it may be starting with the old file.
      tls_ca, tls_name, token_env: See `model_servers.ServerConnection`.
    """

    servers: tuple[str, ...] = ()
    follow_seconds: float = 2.5
    load_seconds: float = 120.0
    expected: bool = True
    tls_ca: str = ""
    tls_name: str = ""
    token_env: str = ""


class Rollout:
    """Makes releases, each within `VersionsFolder.locked`.

    Args:
      followers: Servers to wait for.
      say: Function that receives lines about delays and problems.
      ask: Replacement of `model_servers.versions_of` for tests.
      sleep, clock: Replacements of `time` for tests.
    """

    def __init__(
        self,
        followers: Followers | None = None,
        *,
        say: Callable[[str], None] = _log.info,
        ask: Ask | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._followers = followers or Followers()
        self._say, self._ask, self._sleep, self._clock = say, ask, sleep, clock

    def release(
        self, base: Path, before: Release | None, after: Release, *, urgent: bool = False
    ) -> Release:
        """Changes the live versions to `after`.

        Args:
          base: Folder of the versions.
          before: Current release; None before the first push.
          after: New release.
          urgent: Whether a label moves to a live version without asking servers first. Asking takes
            seconds, because it imports TensorFlow.

        Returns:
          New release, without `previous` if that version does not load.

        Raises:
          ComponentError: A server cannot load a version or takes too long. models.config is then
            unchanged.
        """
        if before is None or before == after:
            write_release(base, after)
            return after
        live = set(before.labels.values())
        moving = {version for version in (after.stable, after.canary) if version is not None}
        is_previous_live = after.previous is None or after.previous in live
        moved = after if is_previous_live else dataclasses.replace(after, previous=None)
        if new := moving - live:
            try:
                write_release(base, before, also=after.labels.values())
                self._wait_until_loaded(base, new)
                write_release(base, moved, also=after.labels.values())
            except BaseException as error:
                write_release(base, before)
                if isinstance(error, ComponentError):
                    raise ComponentError(f"nothing was released: {error}") from None
                raise
        else:
            if not urgent:
                self._check_loaded(base, moving - {before.stable})
            write_release(base, moved, also=after.labels.values())
        return after if is_previous_live else self._with_previous(base, moved, after)

    def _with_previous(self, base: Path, moved: Release, after: Release) -> Release:
        """Sets the label `previous` once its version is loaded. The other labels have moved."""
        assert after.previous is not None
        self._say(
            f"stable is version {after.stable} from now on; "
            f"version {after.previous} is being loaded to be the previous one"
        )
        try:
            self._wait_until_loaded(base, {after.previous})
        except ComponentError as error:
            self._say(f"there is no previous version: {error}")
            write_release(base, moved)
            return moved
        write_release(base, after)
        return after

    def _wait_until_loaded(self, base: Path, versions: Collection[int]) -> None:
        """Returns when every named server has the versions, and others have had time to look."""
        started, known = self._clock(), _Known(versions)
        while True:
            answers = self._answers(base)
            elapsed = self._clock() - started
            known.look(answers, elapsed)
            waiting, silent = known.waiting, known.silent if self._followers.expected else {}
            if elapsed >= self._followers.follow_seconds:
                if not waiting and not silent:
                    break
                if elapsed >= self._followers.load_seconds:
                    if waiting:
                        raise ComponentError(_too_slow(waiting, elapsed, base))
                    break
            self._sleep(_LOOK_AGAIN_SECONDS)
        for server, reason in known.silent.items():
            self._say(f"{server} is not waited for: {reason}")

    def _check_loaded(self, base: Path, versions: Collection[int]) -> None:
        """Raises ComponentError where a label would move to a version that does not load."""
        if not versions:
            return
        try:
            _Known(versions).look(self._answers(base), _OLD_FAILURE_SECONDS)
        except ComponentError as error:
            raise ComponentError(f"nothing was released: {error}") from None

    def _answers(self, base: Path) -> Mapping[str, States | NoAnswer]:
        if not self._followers.servers:
            return {}
        if self._ask is None:
            # Imports TensorFlow, which takes seconds.
            from components.pusher.model_servers import addresses_of, connection_of, versions_of

            way = connection_of(self._followers)
            self._ask = lambda servers, model: versions_of(addresses_of(servers), model, way)
        return self._ask(self._followers.servers, base.name)


class _Known:
    """The answers of model servers about the versions of a new models.config.

    Attributes:
      waiting: Server -> version that it has not loaded yet.
      silent: Server -> why it does not answer.
    """

    def __init__(self, versions: Collection[int]):
        self._versions = sorted(versions)
        self._not_failed: set[tuple[str, int]] = set()
        self.waiting: dict[str, str] = {}
        self.silent: dict[str, str] = {}

    def look(self, answers: Mapping[str, States | NoAnswer], elapsed: float) -> None:
        """Reads a round of answers.

        Raises:
          ComponentError: A version did not load. Servers keep the error of an earlier attempt, so
            an error that exists from the start counts only after they had time to try again.
        """
        self.waiting, self.silent = {}, {}
        for server, answer in answers.items():
            if not isinstance(answer, Mapping):
                self.silent[server] = answer.reason
                continue
            for version in self._versions:
                found = answer.get(version)
                state, error = (found.state, found.error) if found else ("not known", "")
                if state == "AVAILABLE":
                    continue
                if state == "END" and error:
                    is_new = (server, version) in self._not_failed
                    if is_new or elapsed >= _OLD_FAILURE_SECONDS:
                        raise ComponentError(f"{server} cannot load version {version}: {error}")
                else:
                    self._not_failed.add((server, version))
                self.waiting[server] = f"version {version}: {state}"


def _too_slow(waiting: Mapping[str, str], seconds: float, base: Path) -> str:
    said = "; ".join(f"{server} says {state}" for server, state in waiting.items())
    return (
        f"not loaded after {seconds:.0f} s: {said}. Does that server read "
        f"{base / MODELS_CONFIG}? `serving.load_seconds` gives it more time"
    )
