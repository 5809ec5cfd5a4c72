"""An application that a test writes into its project: its modules, schema, data and config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.e2e.project import Project
from tests.e2e.small_data import ONE_PROCESS

_CONFIG = """
name: {name}
application: {name}
data_root: data/{name}
schema: schemas/{name}.pbtxt
sources: {{{name}: {{format: parquet, path: "*.parquet"}}}}
split: {{feature: {key}, buckets: {{train: 4, eval: 1, test: 1}}}}
spark:
  master: local[2]
  conf:
    spark.sql.codegen.wholeStage: "false"
    spark.sql.codegen.factoryMode: NO_CODEGEN
    spark.driver.defaultJavaOptions: -XX:TieredStopAtLevel=1
"""


def write_application(
    project: Project,
    name: str,
    modules: Mapping[str, str],
    config: str,
    types: Mapping[str, str],
    rows: Mapping[str, Any],
) -> None:
    """Writes an application and its config NAME.yaml, with one source of the same name.

    Args:
      project: Project that gets the files.
      name: Name of the application, and of its pipeline.
      modules: Name of a module -> its text.
      config: The sections of the config from `trainer` on.
      types: Column -> type of the schema; the first is the key, which splits the rows.
      rows: Column -> its values.
    """
    folder, key = project.folder, next(iter(types))
    (folder / name).mkdir()
    for module, text in {"__init__": "", **modules}.items():
        (folder / name / f"{module}.py").write_text(text)
    (folder / f"{name}.yaml").write_text(_CONFIG.format(name=name, key=key) + config)
    schema = (
        f'feature {{ name: "{column}" type: {kind} presence {{ min_fraction: 1 min_count: 1 }} '
        "shape { dim { size: 1 } } }\n"
        for column, kind in types.items()
    )
    (folder / f"schemas/{name}.pbtxt").write_text("".join(schema))
    (folder / "data" / name).mkdir(parents=True)
    pq.write_table(pa.table(dict(rows)), folder / "data" / name / f"{name}.parquet")


def summary_of_run(project: Project, name: str) -> dict[str, Any]:
    """Runs the pipeline of an application, and returns the summary of its only run."""
    project.command("local_runner.py", "--config", f"{name}.yaml", ONE_PROCESS)
    (written,) = (project.folder / "runs" / name / "runs").glob("*/run_summary.json")
    found: dict[str, Any] = json.loads(written.read_text())
    return found
