"""What is answered from TFX's cache, and what is computed anew: by TFX's own cache key."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.orchestration import data_types, data_types_utils, metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import cache_utils, inputs_utils
from tfx.proto import example_gen_pb2, range_config_pb2

from components.spark_example_gen import FileSource, SparkConfig, SparkExampleGen, TimeCut
from components.spark_example_gen.driver import SparkExampleGenDriver
from tests.spark_io.readings import COLUMNS

pytestmark = pytest.mark.component

ETL = """
from shop import prices

def build(spark, sources, context):
    return prices.with_prices(sources["readings"])
"""
PRICES = """
def with_prices(rows):
    return rows
"""
PATTERN = "readings/{YYYY}-{MM}-{DD}/*.json.gz"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two days of data, and an application whose ETL imports another module."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "etl.py").write_text(ETL)
    (tmp_path / "shop" / "prices.py").write_text(PRICES)
    monkeypatch.syspath_prepend(str(tmp_path))
    for day in (1, 2):
        write(tmp_path, f"data/readings/2024-03-0{day}/a.json.gz", [day, day + 10])
    write(tmp_path, "data/sensors.json.gz", [1])
    return tmp_path


def write(project: Path, path: str, numbers: list[int]) -> None:
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"reading": n, "sensor": "s", "value": 1.0}) for n in numbers]
    (project / path).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def cache_key(project: Path, **changes: Any) -> str:
    """The name of TFX's cache context for a run now."""
    arguments: dict[str, Any] = {
        "input_base": str(project / "data"),
        "sources": {
            "readings": FileSource("json", PATTERN, COLUMNS),
            "sensors": FileSource("json", "sensors.json.gz", COLUMNS),
        },
        "etl": "shop.etl.build",
        "spark": SparkConfig("local[2]"),
    }
    component = SparkExampleGen(**(arguments | changes))
    pipeline = Pipeline("p", str(project / "root"), components=[component])
    from tfx.dsl.compiler.compiler import Compiler

    ir = Compiler().compile(pipeline)
    node = ir.nodes[0].pipeline_node
    properties = data_types_utils.build_parsed_value_dict(
        inputs_utils.resolve_parameters_with_schema(node_parameters=node.parameters)
    )
    config = metadata.sqlite_metadata_connection_config(str(project / "mlmd.sqlite"))
    with metadata.Metadata(config) as store:
        driver = SparkExampleGenDriver(store)
        info = data_types.PipelineInfo("", "")
        component_info = data_types.ComponentInfo("", "", info)
        properties = driver.resolve_exec_properties(properties, info, component_info)

        context = cache_utils.get_cache_context(
            store, node, ir.pipeline_info, parameters=properties
        )

    return str(context.name)


def touch(project: Path) -> None:
    for file in (project / "data").rglob("*.gz"):
        os.utime(file, (1, 1))


def rewrite(project: Path) -> None:
    write(project, "data/readings/2024-03-02/a.json.gz", [2, 12])


def copy_elsewhere_and_back(project: Path) -> None:
    shutil.copytree(project / "data", project / "copy")
    shutil.rmtree(project / "data")
    (project / "copy").rename(project / "data")


HITS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda project: None,
    "touched files": touch,
    "files written again with the same contents": rewrite,
    "files that were copied": copy_elsewhere_and_back,
    "a file of a span outside the window": lambda project: write(
        project, "data/readings/2024-03-01/b.json.gz", [7]
    ),
    "a hidden file": lambda project: write(project, "data/readings/2024-03-02/.b.json.gz", [7]),
    "a file that no source names": lambda project: write(project, "data/other.json.gz", [7]),
    "a module the ETL does not import": lambda project: (project / "shop" / "x.py").write_text(""),
}


def change_value(project: Path) -> None:
    write(project, "data/readings/2024-03-02/a.json.gz", [2, 13])


def change_value_and_restore_time(project: Path) -> None:
    change_value(project)
    os.utime(project / "data/readings/2024-03-02/a.json.gz", (1, 1))


def replace_file(project: Path) -> None:
    write(project, "data/readings/2024-03-02/b.json.gz", [2, 12])
    (project / "data/readings/2024-03-02/a.json.gz").unlink()


MISSES: dict[str, Callable[[Path], object]] = {
    "one value": change_value,
    "one value, and the old time of the file": change_value_and_restore_time,
    "another file in the span": lambda project: write(
        project, "data/readings/2024-03-02/b.json.gz", [7]
    ),
    "a file of another name": replace_file,
    "a newer span": lambda project: write(project, "data/readings/2024-03-03/a.json.gz", [3]),
    "a secondary source": lambda project: write(project, "data/sensors.json.gz", [2]),
    "the ETL": lambda project: (project / "shop" / "etl.py").write_text(ETL + "\n# changed\n"),
    "a module the ETL imports": lambda project: (project / "shop" / "prices.py").write_text(
        PRICES.replace("return rows", "return rows.limit(1)")
    ),
}

ARGUMENTS: dict[str, dict[str, Any]] = {
    "an ETL parameter": {"etl_parameters": {"limit": 3}},
    "the window": {
        "range_config": range_config_pb2.RangeConfig(
            rolling_range=range_config_pb2.RollingRange(num_spans=2)
        )
    },
    "the span": {
        "range_config": range_config_pb2.RangeConfig(
            static_range=range_config_pb2.StaticRange(
                start_span_number=19_783, end_span_number=19_783
            )
        )
    },
    "the splits": {
        "output_config": example_gen_pb2.Output(
            split_config=example_gen_pb2.SplitConfig(
                splits=[
                    example_gen_pb2.SplitConfig.Split(name="train", hash_buckets=9),
                    example_gen_pb2.SplitConfig.Split(name="eval", hash_buckets=1),
                ]
            )
        )
    },
    "a split by time": {"time_cut": TimeCut("reading", "-6h")},
    "Spark's settings": {"spark": SparkConfig("local[2]", {"spark.sql.shuffle.partitions": "3"})},
    "the accounting": {"row_accounting": "off"},
    "the quarantine's limit": {"max_quarantine_fraction": 0.2},
    "a column's type": {
        "sources": {
            "readings": FileSource("json", PATTERN, {**COLUMNS, "value": "float"}),
            "sensors": FileSource("json", "sensors.json.gz", COLUMNS),
        }
    },
}


@pytest.mark.parametrize("change", HITS)
def test_hit(project: Path, change: str) -> None:
    before = cache_key(project)
    HITS[change](project)
    assert cache_key(project) == before


@pytest.mark.parametrize("change", MISSES)
def test_miss(project: Path, change: str) -> None:
    before = cache_key(project)
    MISSES[change](project)
    assert cache_key(project) != before


@pytest.mark.parametrize("change", ARGUMENTS)
def test_other_arguments_miss(project: Path, change: str) -> None:
    assert cache_key(project, **ARGUMENTS[change]) != cache_key(project)
