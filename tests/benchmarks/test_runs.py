"""The benchmarks run; what they measure is not looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from benchmarks import ctr_etl, example_gen, lineage, pipeline
from benchmarks.tables import TABLES

pytestmark = pytest.mark.slow


def test_example_gen(tmp_path: Path) -> None:
    sizes = ("--rows", "2000", "--large-rows", "3000", "--repeats", "1")
    result = measured(example_gen.main, tmp_path, *sizes)
    assert result["ratios"].keys() >= {"vs_csv_example_gen", "vs_parquet_executor", "vs_floor"}
    assert "SparkExampleGen on CSV" in TABLES["example_gen"](result)


def test_ctr_etl(tmp_path: Path) -> None:
    result = measured(ctr_etl.main, tmp_path, "--rows", "5000", "--rows", "10000")
    assert result["figures"]["s_per_million_rows"].keys() == {"5000", "10000"}
    assert "10,000" in TABLES["ctr_etl"](result)


def test_pipeline(tmp_path: Path) -> None:
    result = measured(pipeline.main, tmp_path, "--rows", "5000", "--large-rows", "8000")
    by_size = result["figures"]
    assert by_size["5000"]["stock"]["rows"] == by_size["5000"]["ours"]["rows"]
    assert "vs_stock_tfx" in result["ratios"]
    assert "| ExampleGen |" in TABLES["pipeline"](result)


def test_lineage(tmp_path: Path) -> None:
    sizes = ("--executions", "300", "--impressions", "24000", "--repeats", "1")
    result = measured(lineage.main, tmp_path, *sizes)
    assert result["figures"]["command_s"].keys() == {*lineage.QUESTIONS}
    assert "| dashboard over 37 runs: first paint |" in TABLES["lineage"](result)


def measured(command: click.Command, folder: Path, *sizes: str) -> dict[str, Any]:
    """The result that the benchmark's command writes."""
    out = folder / "result.json"
    done = CliRunner().invoke(command, [*sizes, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    result: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return result
