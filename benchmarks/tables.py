"""Puts the results of benchmarks/results/ into docs/benchmarks.md: python -m benchmarks.tables

This writes what stands between `<!-- table NAME -->` and `<!-- end -->`; the words are its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
_BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Result = dict[str, Any]


def example_gen(result: Result) -> str:
    """Candidates, fastest of ours first, with rows/s and what they are compared with."""
    figures, runs, ratios = result["figures"], result["runs"], result["ratios"]
    compared = {
        "csv_example_gen": f"ours on the same CSV: {ratios['vs_csv_example_gen']:.1f} times",
        "parquet_executor": f"ours: {ratios['vs_parquet_executor']:.1f} times",
        "floor": f"ours, steady: {ratios['vs_floor']:.2f} times",
        "floor_tfx_bsl": f"our encoder: {ratios['encoder_vs_tfx_bsl']:.1f} times",
    }
    lines = ["| candidate | rows/s | seconds | |", "|---|---|---|---|"]
    for name, label in _EXAMPLE_GEN.items():
        for suffix, size, key in (
            ("", figures["rows"], f"rows_per_s_{name}"),
            (f"_{figures['rows_large']}", figures["rows_large"], f"rows_per_s_10m_{name}"),
        ):
            if key in figures:
                seconds = ", ".join(f"{s:.1f}" for s in runs[f"{name}{suffix}"])
                note = compared.get(name, "") if not suffix else ""
                what = f"{label}, {size // 1_000_000}M rows"
                lines.append(f"| {what} | {figures[key]:,} | {seconds} | {note} |")
    memory = (
        f"Memory of a Python worker of ours: {figures['worker_mib']} MiB with 1M rows, "
        f"{figures['worker_mib_10m']} MiB with 10M; of all processes together "
        f"{figures['peak_mib']:,} and {figures['peak_mib_10m']:,} MiB."
    )
    return "\n".join([*lines, "", memory])


_EXAMPLE_GEN = {
    "csv_example_gen": "TFX's CsvExampleGen",
    "parquet_executor": "TFX's Parquet executor",
    "spark_example_gen_csv": "SparkExampleGen on CSV",
    "spark_example_gen": "SparkExampleGen on Parquet",
    "steady": "SparkExampleGen on Parquet, Spark running",
    "transport": "rows from Parquet to Spark's Python, no more",
    "floor": "no Spark: encode, checksum, compress",
    "floor_tfx_bsl": "no Spark, with tfx_bsl's encoder",
}


def ctr_etl(result: Result) -> str:
    """Sizes with seconds a million rows."""
    figures = result["figures"]
    lines = ["| impressions | seconds | seconds a million | worker | all processes |"]
    lines.append("|---|---|---|---|---|")
    for size, seconds in result["runs"].items():
        per_million = figures["s_per_million_rows"][size]
        times = ", ".join(f"{s:.0f}" for s in seconds)
        worker, peak = figures["worker_mib"][size], figures["peak_mib"][size]
        lines.append(
            f"| {int(size):,} | {times} | {per_million:.1f} | {worker:,} MiB | {peak:,} MiB |"
        )
    return "\n".join(lines)


TABLES: dict[str, Callable[[Result], str]] = {"example_gen": example_gen, "ctr_etl": ctr_etl}


def written(document: str, results: Path) -> str:
    """The document with the tables of the results as they are now."""

    def table(match: re.Match[str]) -> str:
        name = match.group(2)
        result = json.loads((results / f"{name}.json").read_text("utf-8"))
        return f"{match.group(1)}{TABLES[name](result)}\n\n{_machine(result)}\n{match.group(3)}"

    return _BLOCK.sub(table, document)


def _machine(result: Result) -> str:
    machine = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Python "
        f"{machine['python']}, {packages}; {machine['date'][:10]}, "
        f"`python -m benchmarks.{result['name']}`."
    )


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8"), RESULTS), "utf-8")
