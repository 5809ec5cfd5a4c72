"""Waits until running servers serve the current release."""

from __future__ import annotations

import time
from collections.abc import Iterable

from components.pusher.model_servers import (
    PLAIN,
    Silent,
    Way,
    addresses_of,
    labelled_by,
    versions_of,
)
from components.pusher.release import CANARY, STABLE, Release

_POLL_SECONDS = 0.05


def wait_until_followed(
    name: str, release: Release, servers: Iterable[str], way: Way = PLAIN
) -> dict[str, str]:
    """Waits like `followed`, and returns the problem of each server that does not follow."""
    found = followed(name, release, servers, way)
    return {server: problem for server, problem in found.items() if problem is not None}


def followed(
    name: str,
    release: Release,
    servers: Iterable[str],
    way: Way = PLAIN,
    timeout_s: float = 5.0,
) -> dict[str, str | None]:
    """Asks servers repeatedly which versions answer under the labels of a release.

    Servers read models.config by themselves within a second, so nothing is sent to them.

    Args:
      name: Name of the model.
      release: Current release.
      servers: Addresses, host:port. All addresses of a host name are asked.
      way: Credentials to reach the servers.
      timeout_s: How long to wait for the servers, in seconds.

    Returns:
      The problem of each server; None if it serves the release.
    """
    wanted = {STABLE: release.stable}
    if release.canary is not None:
        wanted[CANARY] = release.canary
    found: dict[str, str | None] = {}
    asked, until = addresses_of(servers), time.monotonic() + timeout_s
    while True:
        answers = {label: labelled_by(asked, name, label, way) for label in wanted}
        found |= {
            server: _problem(wanted, {label: answers[label][server] for label in wanted})
            for server in asked
        }
        # Do not wait for a server that does not run.
        asked = [s for s in asked if found[s] is not None and not _is_away(answers[STABLE][s])]
        if not asked or time.monotonic() >= until:
            break
        time.sleep(_POLL_SECONDS)
    for server, states in versions_of(asked, name, way).items():
        if not isinstance(states, Silent):
            said = [
                f"version {version} is {states[version].state} there: {states[version].error}"
                for version in wanted.values()
                if version in states and states[version].error
            ]
            found[server] = "; ".join([str(found[server]), *said])
    return found


def _problem(wanted: dict[str, int], answers: dict[str, int | Silent]) -> str | None:
    for label, version in wanted.items():
        answer = answers[label]
        if isinstance(answer, Silent):
            return answer.reason
        if answer != version:
            return f"it still serves version {answer} as {label}"
    return None


def _is_away(answer: int | Silent) -> bool:
    return isinstance(answer, Silent) and answer.is_away
