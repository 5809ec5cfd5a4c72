"""Stores in MariaDB and PostgreSQL, which give the same answers as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ml_metadata.proto import metadata_store_pb2 as mlmd

from dev_services.mariadb import mariadb
from dev_services.postgresql import postgresql
from lineage.command.questions import cli
from tests.metadata.tfx_store import TfxStore

pytestmark = pytest.mark.integration
PASSWORD = "MLMD_PASSWORD_OF_TEST"


@pytest.fixture(scope="module", params=["mysql", "postgresql"])
def stored(request, tmp_path_factory):
    """Writes two runs to a database; yields the options that name it."""
    folder = tmp_path_factory.mktemp(request.param)
    run_service = mariadb if request.param == "mysql" else postgresql
    service: Any
    with run_service(folder) as service, pytest.MonkeyPatch.context() as environment:
        environment.setenv(PASSWORD, service.password)
        tfx = TfxStore(folder, config=_config(request.param, service))
        made = tfx.full_run("first", "1001")
        tfx.full_run("second", "1002")
        address = f"{service.host}:{service.port}/{service.database}"
        user = ["--user", service.user, "--password-env", PASSWORD]
        yield tfx, made, [f"--{request.param}", address, *user]


def _config(kind: str, service: Any) -> mlmd.ConnectionConfig:
    config = mlmd.ConnectionConfig()
    if kind == "mysql":
        config.mysql.host, config.mysql.port = service.host, service.port
        config.mysql.user, config.mysql.password = service.user, service.password
        config.mysql.database, config.mysql.skip_db_creation = service.database, True
    else:
        config.postgresql.host, config.postgresql.port = service.host, str(service.port)
        config.postgresql.user, config.postgresql.password = service.user, service.password
        config.postgresql.dbname, config.postgresql.skip_db_creation = service.database, True
    return config


def ask(options: list[str], *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [*options, *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_every_question_is_answered(stored):
    _, made, options = stored
    assert [r["run_id"] for r in json.loads(ask(options, "list", "--json"))] == ["second", "first"]
    assert json.loads(ask(options, "trace", "1001", "--json"))["model"]["id"] == made["model"]
    pushes = json.loads(ask(options, "impact", str(made["examples"]), "--json"))["pushes"]
    assert [push["version"] for push in pushes] == ["1001"]
    assert json.loads(ask(options, "diff", "--json"))["after"]["name"] == "second"
    newest = json.loads(ask(options, "served", "--json"))[0]
    assert (newest["version"], newest["periods"][0]["until"]) == ("1002", None)


def test_a_wrong_password_is_one_line_without_it(stored, monkeypatch):
    _, _, options = stored
    monkeypatch.setenv(PASSWORD, "wrong-one")
    output = ask(options, "list", code=1)
    assert output.count("\n") == 1
    assert "wrong-one" not in output


def test_what_is_unused_is_deleted_and_said_so_in_the_database(stored):
    tfx, made, options = stored
    for artifact in tfx.store.get_artifacts():
        Path(artifact.uri).mkdir(parents=True, exist_ok=True)
    gc = ("gc", "--keep-runs", "1", "--delete", "--yes")
    assert "may be between two steps" in ask(options, *gc, code=1)
    ask(options, *gc, "--ended", "first", "--ended", "second")
    [logs] = tfx.store.get_artifacts_by_id([made["model_run"]])
    assert logs.state == mlmd.Artifact.DELETED
    assert not Path(logs.uri).exists()
