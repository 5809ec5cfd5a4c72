"""The benchmarks run; what they measure is not looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import ctr_etl, example_gen, pipeline
from benchmarks.tables import TABLES

pytestmark = pytest.mark.slow


def test_example_gen(tmp_path: Path) -> None:
    out = tmp_path / "example_gen.json"
    sizes = ["--rows", "2000", "--large-rows", "3000", "--repeats", "1"]
    done = CliRunner().invoke(example_gen.main, [*sizes, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads(out.read_text("utf-8"))
    assert result["ratios"].keys() >= {"vs_csv_example_gen", "vs_parquet_executor", "vs_floor"}
    assert "SparkExampleGen on CSV" in TABLES["example_gen"](result)


def test_ctr_etl(tmp_path: Path) -> None:
    out = tmp_path / "ctr_etl.json"
    sizes = ["--rows", "5000", "--rows", "10000"]
    done = CliRunner().invoke(ctr_etl.main, [*sizes, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads(out.read_text("utf-8"))
    assert result["figures"]["s_per_million_rows"].keys() == {"5000", "10000"}
    assert "10,000" in TABLES["ctr_etl"](result)


def test_pipeline(tmp_path: Path) -> None:
    out = tmp_path / "pipeline.json"
    sizes = ["--rows", "5000", "--large-rows", "8000"]
    done = CliRunner().invoke(pipeline.main, [*sizes, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads(out.read_text("utf-8"))
    by_size = result["figures"]
    assert by_size["5000"]["stock"]["rows"] == by_size["5000"]["ours"]["rows"]
    assert "vs_stock_tfx" in result["ratios"]
    assert "| ExampleGen |" in TABLES["pipeline"](result)
