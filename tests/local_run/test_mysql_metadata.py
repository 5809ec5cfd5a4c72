"""ML Metadata in MySQL: a real MariaDB on loopback, started and stopped here."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.pipeline import Pipeline

from local_run.logs import captured_output
from metadata.connection import connection_config
from metadata.reader import MetadataError, MetadataReader
from pipeline.config import PipelineConfig, load_config

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "pa55-of-a-test"


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A MariaDB with an empty database `mlmd`; yields its port."""
    folder = tmp_path_factory.mktemp("mariadb")
    data = folder / "data"
    server = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert server, "no mariadbd: run tests/install_packages.sh"
    user = getpass.getuser()
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={user}"],
        check=True,
        capture_output=True,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    address = [f"--socket={folder}/socket", f"--user={user}"]
    process = subprocess.Popen(
        [
            server,
            "--no-defaults",
            f"--datadir={data}",
            f"--port={port}",
            *address,
            "--bind-address=127.0.0.1",
            f"--pid-file={folder}/pid",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    sql = (
        "create database mlmd; create user mlmd@localhost identified by "
        f"'{PASSWORD}'; grant all on mlmd.* to mlmd@localhost; "
        f"create user mlmd@127.0.0.1 identified by '{PASSWORD}'; "
        "grant all on mlmd.* to mlmd@127.0.0.1"
    )
    client = ["mariadb", "--no-defaults", *address, "-e", sql]
    deadline = time.monotonic() + 60
    while subprocess.run(client, check=False, capture_output=True).returncode:
        assert time.monotonic() < deadline, "MariaDB did not start within a minute"
        time.sleep(0.3)
    yield port
    process.terminate()
    process.wait(timeout=60)


@pytest.fixture
def config(mariadb: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PipelineConfig:
    monkeypatch.chdir(ROOT)
    changes = ["metadata.kind=mysql", f"metadata.port={mariadb}", f"run_root={tmp_path}"]
    return load_config("applications/ctr/configs/ctr.yaml", changes)


def test_runs_are_recorded_and_the_password_is_not_logged(
    config: PipelineConfig, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("MLMD_PASSWORD", PASSWORD)
    connection = connection_config(config.metadata_connection)
    pipeline = Pipeline(
        pipeline_name="ctr",
        pipeline_root=str(tmp_path / "root"),
        components=[ImportSchemaGen(schema_file=str(ROOT / "schemas" / "ctr.pbtxt"))],
        metadata_connection_config=connection,
    )
    with captured_output(tmp_path / "run.log", print):
        BeamDagRunner().run(pipeline)
    run = MetadataReader.connect(config.metadata_connection).run("latest")
    assert [(e.component, e.state) for e in run.components] == [("ImportSchemaGen", "complete")]
    log = (tmp_path / "run.log").read_text()
    assert "Using connection config" in log  # TFX does log it
    assert PASSWORD not in log


def test_a_wrong_password_is_one_line(config: PipelineConfig, monkeypatch) -> None:
    monkeypatch.setenv("MLMD_PASSWORD", "wrong")
    with pytest.raises(MetadataError) as caught:
        MetadataReader.connect(config.metadata_connection)
    assert "\n" not in str(caught.value)
    assert "wrong" not in str(caught.value)
