"""Stores with an older or a newer schema than the installed ML Metadata has."""

from __future__ import annotations

import contextlib
import shlex
import sqlite3
import subprocess
import sys
from typing import Any

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from metadata.opening import explained
from metadata.reader import MetadataError, MetadataReader
from tests.lineage.every_command import COMMANDS, ask

pytestmark = pytest.mark.unit
# ML Metadata 0.13 has version 0, without a table for it; 0.14 has 4.
OLDER = (0, 4, 5, 6, 7, 8, 9)


def downgrade(tfx: Any, version: int) -> None:
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(tfx.path)
    metadata_store.downgrade_schema(config, version)


def make_newer(tfx: Any) -> None:
    with contextlib.closing(sqlite3.connect(tfx.path)) as file:
        file.execute("UPDATE MLMDEnv SET schema_version = 99")
        file.commit()


@pytest.mark.parametrize("version", OLDER)
def test_an_older_schema_says_how_to_upgrade_it(tfx: Any, version: int) -> None:
    tfx.full_run("r", "1001")
    downgrade(tfx, version)
    before = tfx.path.read_bytes()
    with pytest.raises(MetadataError) as raised:
        MetadataReader.sqlite(tfx.path)
    message = str(raised.value)
    assert f"has schema version {version}, which is too old" in message
    assert f"cp {tfx.path} {tfx.path}.backup" in message
    assert "enable_upgrade_migration=True" in message
    assert tfx.path.read_bytes() == before


@pytest.mark.parametrize("version", OLDER)
def test_the_advice_for_an_older_schema_works(tfx: Any, version: int) -> None:
    """Versions before 7 lose contexts, states and times when they are written."""
    tfx.full_run("r", "1001")
    downgrade(tfx, version)
    message = ask(tfx.path, "list").output
    backup, upgrade = message.partition("runs: ")[2].split("; then upgrade: ")
    subprocess.run(shlex.split(backup), check=True)
    _, *code = shlex.split(upgrade)
    subprocess.run([sys.executable, *code], check=True, capture_output=True)
    answer = ask(tfx.path, "show", "artifact:1")
    assert answer.exit_code == 0
    assert "artifact 1  Examples" in answer.output
    assert ask(tfx.path, "impact", "1").exit_code == 0
    assert "too old" in ask(tfx.path.with_name(f"{tfx.path.name}.backup"), "list").output


def test_an_older_schema_of_a_server_is_dumped_before_it_is_upgraded() -> None:
    said = "MLMD database version 9 is older than library version 10. Schema migration is disabled."
    with pytest.raises(MetadataError, match="too old") as raised, explained("mysql://db:3306/mlmd"):
        raise RuntimeError(said)
    assert "mysqldump" in str(raised.value)
    assert "enable_upgrade_migration=True" in str(raised.value)


def test_a_newer_schema_asks_for_a_newer_library(tfx: Any) -> None:
    tfx.full_run("r", "1001")
    make_newer(tfx)
    before = tfx.path.read_bytes()
    with pytest.raises(MetadataError, match="version 99, which is too new") as raised:
        MetadataReader.sqlite(tfx.path)
    message = str(raised.value)
    assert "where the TFX that wrote the store is installed" in message
    assert "enable_upgrade_migration" not in message
    assert "downgrade" not in message
    assert tfx.path.read_bytes() == before


@pytest.mark.parametrize("change", [make_newer, lambda tfx: downgrade(tfx, 9)])
def test_every_command_gives_the_same_advice(tfx: Any, change: Any) -> None:
    tfx.full_run("r", "1001")
    change(tfx)
    for command in (*COMMANDS, "gc --delete --yes", "serve --port 0"):
        answer = ask(tfx.path, *command.split())
        assert answer.exit_code == 1
        assert "Nothing was changed" in answer.output
