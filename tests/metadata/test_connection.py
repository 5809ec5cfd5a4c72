"""From a description of a store to a connection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from base.redaction import redacted
from base.section import ConfigError
from metadata.connection import Connection, connection_config
from metadata.reader import MetadataError, MetadataReader
from tests.product import ROOT

pytestmark = pytest.mark.unit
SERVER = Connection(
    "mysql", host="db", port=3306, database="mlmd", user="ann", password_env="STORE_PASSWORD"
)


def test_a_file_that_is_missing_is_made_with_its_folder(tmp_path: Path) -> None:
    connection = Connection("sqlite", tmp_path / "new" / "metadata.sqlite")
    assert connection.is_missing
    config = connection_config(connection)
    assert connection.path.parent.is_dir()
    assert config.sqlite.filename_uri == str(connection.path)
    assert config.sqlite.connection_mode == mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    connection = Connection("sqlite", tmp_path / "new" / "metadata.sqlite")
    with pytest.raises(MetadataError, match="cannot read the metadata store"):
        MetadataReader.connect(connection)
    assert not connection.path.parent.exists()


@pytest.mark.parametrize("create", [True, False])
def test_a_database_is_reached_with_its_password(
    monkeypatch: pytest.MonkeyPatch, create: bool
) -> None:
    monkeypatch.setenv("STORE_PASSWORD", "s3cret-of-the-store")
    config = connection_config(SERVER, create).mysql
    assert (config.host, config.port, config.database, config.user) == ("db", 3306, "mlmd", "ann")
    assert config.password == "s3cret-of-the-store"
    assert config.skip_db_creation == (not create)
    assert redacted("it is s3cret-of-the-store") == "it is ***"


def test_a_password_that_is_not_set_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORE_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="the variable STORE_PASSWORD is not set; export it"):
        connection_config(SERVER)


def test_a_server_may_have_no_password() -> None:
    connection = Connection("postgresql", host="db", port=5432, database="mlmd", user="ann")
    config = connection_config(connection, create=False).postgresql
    assert (config.host, config.port, config.dbname) == ("db", "5432", "mlmd")
    assert config.password == ""
    assert config.skip_db_creation


def test_a_description_does_not_import_the_library() -> None:
    """A config is read by commands whose --help should not wait."""
    code = "import sys, metadata.connection; print('ml_metadata' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
