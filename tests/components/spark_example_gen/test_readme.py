"""The README alone: its own code, in somebody else's project that has installed this one."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from pyspark.sql import SparkSession

from dev_services.mariadb import Mariadb
from tests.product import PACKAGES, ROOT

pytestmark = pytest.mark.integration

README = ROOT / "components" / "spark_example_gen" / "README.md"
RUN = """
from tfx.orchestration import metadata
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.pipeline import Pipeline

BeamDagRunner().run(Pipeline(
    pipeline_name='shop', pipeline_root='root', components=[example_gen, statistics_gen],
    metadata_connection_config=metadata.sqlite_metadata_connection_config('mlmd.sqlite')))
"""


def code_blocks() -> list[str]:
    """What is indented by four, as Python."""
    blocks = re.findall(r"(?:^(?:    .*)?\n)+", README.read_text("utf-8"), re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks]


def install(target: Path, source: Path) -> None:
    """Installs this project as pip does; from a copy, since a build leaves files in its source."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "local_runner.py"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, timeout=300)


@pytest.fixture
def project(tmp_path: Path, spark: SparkSession, mariadb_service: Mariadb) -> Path:
    """A project by the README, with seven days of orders and its customers in MariaDB."""
    install(tmp_path / "installed", tmp_path / "source")
    (tmp_path / "jars").symlink_to(ROOT / "jars")

    (etl,) = [block for block in code_blocks() if "def build(" in block]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "etl.py").write_text(etl)
    (pipeline,) = [block for block in code_blocks() if "SparkExampleGen(" in block]
    for ours, theirs in (
        ("/data/shop", str(tmp_path / "data")),
        ("jdbc:mysql://db:3306/shop", mariadb_service.jdbc_url.partition("?")[0]),
        ("user='etl'", f"user='{mariadb_service.user}'"),
    ):
        assert pipeline.count(ours) == 1
        pipeline = pipeline.replace(ours, theirs)
    (tmp_path / "pipeline.py").write_text(pipeline + RUN)

    for day in range(2, 9):
        orders = tmp_path / "data" / "orders" / f"2024-03-{day:02d}"
        orders.mkdir(parents=True)
        with gzip.open(orders / "a.json.gz", "wt") as file:
            for n in range(20):  # one in 140 is refused
                order = {"order": 100 * day + n, "customer": f"c{n % 3}", "total": day - 3 + n}
                file.write(json.dumps(order) + "\n")
    rows = spark.createDataFrame([(f"c{n}", f"city {n}") for n in range(3)], ["customer", "city"])
    login = {
        "user": mariadb_service.user,
        "password": mariadb_service.password,
        "driver": mariadb_service.driver,
    }
    rows.write.mode("overwrite").jdbc(mariadb_service.jdbc_url, "customers", properties=login)
    return tmp_path


def test_the_readme_is_enough(project: Path, mariadb_service: Mariadb) -> None:
    environment = {**os.environ, "PYTHONPATH": str(project / "installed")}
    done = subprocess.run(
        [sys.executable, "pipeline.py"],
        cwd=project,
        env={**environment, "SHOP_DB_PASSWORD": mariadb_service.password},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]

    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(project / "mlmd.sqlite")
    store = metadata_store.MetadataStore(config)
    (examples,) = store.get_artifacts_by_type("Examples")
    assert examples.custom_properties["rows_read"].int_value == 140
    assert examples.custom_properties["rows_quarantined"].int_value == 1
    (statistics,) = store.get_artifacts_by_type("ExampleStatistics")
    assert list(Path(project / statistics.uri).glob("Split-train/*"))
