"""How to reach the pipeline's ML Metadata."""

from __future__ import annotations

import os

from ml_metadata.proto import metadata_store_pb2

from base.redaction import hide_variables
from pipeline.config import ConfigError, PipelineConfig


def connection_config(config: PipelineConfig) -> metadata_store_pb2.ConnectionConfig:
    """ML Metadata's connection for this config.

    Raises:
      ConfigError: the variable with the password is not set.
    """
    where, connection = config.metadata, metadata_store_pb2.ConnectionConfig()
    if where.kind == "sqlite":
        config.metadata_path.parent.mkdir(parents=True, exist_ok=True)
        connection.sqlite.filename_uri = str(config.metadata_path)
        mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        connection.sqlite.connection_mode = mode
        return connection
    connection.mysql.host, connection.mysql.port = where.host, where.port
    connection.mysql.database, connection.mysql.user = where.database, where.user
    connection.mysql.password = password(config) or ""
    return connection


def password(config: PipelineConfig) -> str | None:
    """Of the store, which nothing that this process says will show; None where it has none.

    Raises:
      ConfigError: the variable that `metadata.password_env` names is not set.
    """
    if config.metadata.kind == "sqlite":
        return None
    name = config.metadata.password_env
    if name not in os.environ:
        raise ConfigError(f"metadata.password_env: the variable {name} is not set; export it")
    hide_variables([name])
    return os.environ[name]
