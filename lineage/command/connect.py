"""Opens the store that a command reads: a given file, one below ./runs, or a database."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from base.shared_names import RUNS_FOLDER
from metadata.connection import Connection
from metadata.reader import MetadataError, MetadataReader

DEFAULT_PATTERN = "runs/*/metadata.sqlite"
_CONNECT_SECONDS = 5
_KINDS = {"mysql": "MySQL", "postgresql": "PostgreSQL"}


@dataclasses.dataclass(frozen=True)
class OpenedStore:
    """An open store.

    Attributes:
      store: Store open for reading.
      connection: Connection that opens it again for writing.
      summaries: Folder of the runs' summaries and logs; None: unknown.
      note: Message for the user about which store was chosen.
    """

    store: MetadataReader
    connection: Connection
    summaries: Path | None
    note: str | None = None


def open_sqlite(path: Path | None) -> OpenedStore:
    """Opens a file, or the store below ./runs that was written last.

    Raises:
      MetadataError: There is no store, or it cannot be read.
    """
    note = None
    if path is None:
        path, note = _find()
    store, connection = MetadataReader.sqlite(path), Connection("sqlite", path)
    return OpenedStore(store, connection, path.parent / RUNS_FOLDER, note)


def open_database(
    kind: Literal["mysql", "postgresql"], location: str, user: str | None, password_env: str | None
) -> OpenedStore:
    """Opens a database.

    Args:
      kind: Kind of server; 'mysql' also stands for MariaDB.
      location: Address as HOST:PORT/DATABASE.
      user: Database user.
      password_env: Name of the environment variable with the password; None: no password.

    Raises:
      MetadataError: An argument is wrong, or the server cannot be reached.
    """
    host, _, rest = location.partition(":")
    port, _, database = rest.partition("/")
    if not (host and port.isdecimal() and database):
        example = "localhost:3306/mlmd" if kind == "mysql" else "localhost:5432/mlmd"
        raise MetadataError(f"--{kind} {location}: write HOST:PORT/DATABASE, e.g. {example}")
    if not user:
        raise MetadataError(f"--{kind} needs --user NAME")
    if password_env and password_env not in os.environ:
        raise MetadataError(f"--password-env: the variable {password_env} is not set; export it")
    connection = Connection(
        kind,
        host=host,
        port=int(port),
        database=database,
        user=user,
        password_env=password_env or "",
    )
    _check_reachable(_KINDS[kind], host, int(port))
    with _silent_native_code():
        return OpenedStore(MetadataReader.connect(connection), connection, None)


def _find() -> tuple[Path, str | None]:
    found = list(Path().glob(DEFAULT_PATTERN))
    if not found:
        raise MetadataError(
            f"no metadata store at {DEFAULT_PATTERN} below {Path.cwd()}; run the pipeline first, "
            "or name one with --store PATH"
        )
    newest = max(found, key=lambda path: path.stat().st_mtime)
    if len(found) == 1:
        return newest, None
    return newest, f"reading {newest}, the newest of {len(found)}; choose another with --store PATH"


def _check_reachable(kind: str, host: str, port: int) -> None:
    """Raises MetadataError if nothing listens; ML Metadata's own message would be empty."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise MetadataError(
            f"cannot reach {kind} at {host}:{port}: {error.strerror or error}; is it running?"
        ) from error


@contextlib.contextmanager
def _silent_native_code() -> Iterator[None]:
    """Silences file descriptor 2, where ML Metadata's C++ code repeats the exception's text."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, by its descriptor
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
