"""Checks ML Metadata stores, and explains their errors in one line with the next step."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ml_metadata import errors
from ml_metadata.proto import metadata_store_pb2

from base.errors import ComponentError

LOCK_SECONDS = 3  # wait for another writer of a SQLite file
_EXAMPLE = "give the store's file, e.g. runs/NAME/metadata.sqlite"
_VERSIONS = re.compile(r"database version (\d+) is (older|greater) than library version (\d+)")
# ML Metadata 0.13 had no table for the version of its schema.
_TABLES, _FIRST_TABLES = {"MLMDEnv"}, {"Artifact", "Event", "Execution", "Type"}
_UPGRADE = (
    "import sys; from ml_metadata import metadata_store as m; from ml_metadata.proto import "
    "metadata_store_pb2 as p; c = p.ConnectionConfig(); c.sqlite.filename_uri = sys.argv[1]; "
    "m.MetadataStore(c, enable_upgrade_migration=True)"
)


class MetadataError(ComponentError):
    """A store that cannot be read or written, or has no answer; one line with the next step."""


def store_name(config: Any) -> str:
    """Returns the name of a store for messages, a file or an address without user and password.

    Args:
      config: A `ConnectionConfig` or a `MetadataStoreClientConfig`.
    """
    if isinstance(config, metadata_store_pb2.MetadataStoreClientConfig):
        return f"{config.host}:{config.port}"
    kind = config.WhichOneof("config")
    if kind == "sqlite":
        return str(config.sqlite.filename_uri)
    if kind == "mysql":
        return f"mysql://{config.mysql.host}:{config.mysql.port}/{config.mysql.database}"
    if kind == "postgresql":
        found = config.postgresql
        return f"postgresql://{found.host}:{found.port}/{found.dbname}"
    return "the metadata store"


@contextlib.contextmanager
def explained(name: str, doing: str = "read") -> Iterator[None]:
    """Turns ML Metadata's errors (RuntimeError on connecting, StatusError later) into one line.

    Args:
      name: The name of the store.
      doing: What is done with it: "read" or "write".

    Raises:
      MetadataError: ML Metadata raised an error.
    """
    try:
        yield
    except ComponentError:  # a RuntimeError, too, and one line already
        raise
    except (RuntimeError, errors.StatusError) as error:
        raise MetadataError(_explanation(name, doing, error)) from error


def check_sqlite(path: Path) -> None:
    """Finds faults that ML Metadata would explain badly, or only after half a minute.

    Raises:
      MetadataError: The file is missing, cannot be read, or is no ML Metadata store.
    """
    _check_file(path)
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS)) as file:
            tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise MetadataError(_locked(str(path))) from error
        raise MetadataError(f"cannot read {path}: {error}; {_EXAMPLE}") from error
    if not (tables >= _TABLES or tables >= _FIRST_TABLES):
        raise MetadataError(f"{path} is a SQLite file but no ML Metadata store; {_EXAMPLE}")


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise MetadataError(f"{path} does not exist; {_EXAMPLE}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise MetadataError(f"cannot read {path}: {reason}; {_EXAMPLE}") from error
    if not path.is_file():
        what = "folder" if path.is_dir() else "pipe or device, not a file"
        raise MetadataError(f"{path} is a {what}; {_EXAMPLE}")
    if not os.access(path, os.R_OK):
        raise MetadataError(
            f"cannot read {path}: Permission denied; ask its owner for the right to read it, or "
            "give another store"
        )
    if size == 0:
        raise MetadataError(f"{path} is empty; run the pipeline first, or give another store")


def _explanation(name: str, doing: str, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "locked" in reason:
        return _locked(name)
    versions = _VERSIONS.search(reason)
    if versions:
        theirs, relation, ours = versions.groups()
        return _too_old(name, theirs, ours) if relation == "older" else _too_new(name, theirs, ours)
    advice = "check that it is reachable and whole"
    if "mysql_real_connect" in reason:  # it gives no reason of its own
        reason, advice = "the server refused the connection", "check user and password"
    return f"cannot {doing} the metadata store {name}: {reason[:200]}; {advice}"


def _locked(name: str) -> str:
    return f"{name} is locked by another process; wait until it has written, then try again"


def _too_old(name: str, theirs: str, ours: str) -> str:
    """Explains a manual upgrade, after which the older library cannot open the store."""
    if Path(name).is_file():
        backup = shlex.join(["cp", name, f"{name}.backup"])
        upgrade = shlex.join(["python", "-c", _UPGRADE, name])
    else:
        backup = "dump the database (mysqldump, pg_dump)"
        upgrade = "connect once with MetadataStore(config, enable_upgrade_migration=True)"
    return (
        f"{name} has schema version {theirs}, which is too old: {_installed(ours)}. Nothing was "
        "changed. Read it where the ml-metadata that wrote it is installed, or upgrade it; the "
        "older ml-metadata cannot open it afterwards, so make a backup first while no pipeline "
        f"runs: {backup}; then upgrade: {upgrade}"
    )


def _too_new(name: str, theirs: str, ours: str) -> str:
    return (
        f"{name} has schema version {theirs}, which is too new: {_installed(ours)}. Nothing was "
        "changed. Run this command where the TFX that wrote the store is installed, or install a "
        "newer ml-metadata"
    )


def _installed(schema: str) -> str:
    return f"the installed ml-metadata {version('ml-metadata')} reads version {schema}"
