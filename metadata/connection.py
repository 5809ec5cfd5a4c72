"""The address of an ML Metadata store, and its connection config."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from base.redaction import hide_variables
from base.section import ConfigError

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2


@dataclasses.dataclass(frozen=True)
class Connection:
    """A store: a SQLite file, or a database on a server.

    Attributes:
      kind: Kind of the store; "mysql" is MariaDB, too.
      path: The SQLite file; the rest is for servers.
      host, port: Address of the server.
      database, user: Names on the server.
      password_env: Environment variable that holds the user's password; empty: there is none.
    """

    kind: Literal["sqlite", "mysql", "postgresql"]
    path: Path = Path()
    host: str = ""
    port: int = 0
    database: str = ""
    user: str = ""
    password_env: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether the store is a file that does not exist yet."""
        return self.kind == "sqlite" and not self.path.exists()

    def password(self) -> str | None:
        """Returns the password and hides it from this process's output; None without one.

        Raises:
          ConfigError: The variable is not set.
        """
        if self.kind == "sqlite" or not self.password_env:
            return None
        if self.password_env not in os.environ:
            raise ConfigError(
                f"metadata.password_env: the variable {self.password_env} is not set; export it"
            )
        hide_variables([self.password_env])
        return os.environ[self.password_env]


def connection_config(
    connection: Connection, create: bool = True
) -> metadata_store_pb2.ConnectionConfig:
    """Returns ML Metadata's own description of a store that is read and written.

    Args:
      connection: The store.
      create: Whether a file or database that is missing is made.

    Raises:
      ConfigError: The variable with the password is not set.
    """
    # Imported late, because reading a config does not need it and it is slow.
    from ml_metadata.proto import metadata_store_pb2

    found = metadata_store_pb2.ConnectionConfig()
    if connection.kind == "sqlite":
        modes = metadata_store_pb2.SqliteMetadataSourceConfig
        if create:
            connection.path.parent.mkdir(parents=True, exist_ok=True)
        found.sqlite.filename_uri = str(connection.path)
        found.sqlite.connection_mode = modes.READWRITE_OPENCREATE if create else modes.READWRITE
    elif connection.kind == "mysql":
        found.mysql.host, found.mysql.port = connection.host, connection.port
        found.mysql.database, found.mysql.user = connection.database, connection.user
        found.mysql.password = connection.password() or ""
        found.mysql.skip_db_creation = not create
    else:
        found.postgresql.host, found.postgresql.port = connection.host, str(connection.port)
        found.postgresql.dbname, found.postgresql.user = connection.database, connection.user
        found.postgresql.password = connection.password() or ""
        found.postgresql.skip_db_creation = not create
    return found
