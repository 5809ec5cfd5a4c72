"""Which store the command reads: a file, the one below ./runs, or a MySQL database."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2

from lineage.store import LineageError, LineageStore

DEFAULT_PATTERN = "runs/*/metadata.sqlite"
_CONNECT_SECONDS = 5


@dataclasses.dataclass(frozen=True)
class Opened:
    """A store, where its runs keep their summaries, and what the user should know of the choice."""

    store: LineageStore
    summaries: Path | None
    note: str | None = None


def open_sqlite(path: Path | None) -> Opened:
    """Opens a file, or the store below ./runs that was written last.

    Raises:
      LineageError: there is none, or it cannot be read.
    """
    note = None
    if path is None:
        path, note = _find()
    return Opened(LineageStore.sqlite(path), path.parent / "runs", note)


def open_mysql(location: str, user: str | None, password_env: str | None) -> Opened:
    """Opens a database.

    Args:
      location: HOST:PORT/DATABASE.
      user: database user.
      password_env: name of the environment variable with the password; None: no password.

    Raises:
      LineageError: a wrong argument, or no connection.
    """
    host, _, rest = location.partition(":")
    port, _, database = rest.partition("/")
    if not (host and port.isdecimal() and database):
        raise LineageError(
            f"--mysql {location}: write HOST:PORT/DATABASE, e.g. localhost:3306/mlmd"
        )
    if not user:
        raise LineageError("--mysql needs --user NAME")
    config = metadata_store_pb2.ConnectionConfig()
    config.mysql.host, config.mysql.port, config.mysql.database = host, int(port), database
    config.mysql.user, config.mysql.skip_db_creation = user, True
    if password_env:
        if password_env not in os.environ:
            raise LineageError(f"--password-env: the variable {password_env} is not set; export it")
        config.mysql.password = os.environ[password_env]
    _check_reachable(host, int(port))
    with _silent_native_code():
        return Opened(LineageStore.from_connection_config(config), None)


def _find() -> tuple[Path, str | None]:
    found = list(Path().glob(DEFAULT_PATTERN))
    if not found:
        raise LineageError(
            f"no metadata store at {DEFAULT_PATTERN} below {Path.cwd()}; run the pipeline first, "
            "or name one with --store PATH"
        )
    newest = max(found, key=lambda path: path.stat().st_mtime)
    if len(found) == 1:
        return newest, None
    return newest, f"reading {newest}, the newest of {len(found)}; choose another with --store PATH"


def _check_reachable(host: str, port: int) -> None:
    """ML Metadata's own message for this is an empty one."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise LineageError(
            f"cannot reach MySQL at {host}:{port}: {error.strerror or error}; is it running?"
        ) from error


@contextlib.contextmanager
def _silent_native_code() -> Iterator[None]:
    """ML Metadata's C++ logs to file descriptor 2 what the exception says again."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, by its descriptor
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
