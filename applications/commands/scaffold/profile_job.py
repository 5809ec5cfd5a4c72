"""Looks at a table in a Spark process: `python -m applications.commands.scaffold.profile_job`.

The request is {"files": DataFiles, "label": column}; the answer is {"profile": TableProfile,
"skills": column -> how well it alone predicts the label}.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyspark.sql.functions as F  # noqa: N812
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from scipy.stats import rankdata

from applications.commands.scaffold.labels import frequent_labels
from applications.commands.scaffold.profile import (
    ColumnProfile,
    TableProfile,
    column_profiles,
    json_columns,
    known_number,
    known_text,
    label_counts,
    read_table,
    unique_columns,
    usable_columns,
)
from applications.commands.small_data import SMALL_DATA
from base.errors import ComponentError
from base.section import closest
from components.evaluator.single_feature import single_feature_skill
from spark_io.connectors.hadoop import for_spark
from spark_io.connectors.local_files import LocalFiles
from spark_io.jobs.child import answer, log_progress
from spark_io.jobs.errors import explain
from spark_io.jobs.session import spark_session
from spark_io.sources.source_types import FileSource, SparkConfig
from spark_io.sources.spans import SpanPattern

_SAMPLE = 20_000  # rows that the skill is measured on
_PARTS = 1_000_000
_SMALL = 50 << 20  # bytes of files that are little data
_CLASSES = 20  # more labels than these count as quantities or as too many
_FEWEST = 20  # rows of a class


def look_at(spark: SparkSession, request: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the answer to a request."""
    files, label = request["files"], request["label"]
    source, types, unusable = _declared(spark, files, label)
    log_progress(f"reading {source.path}")
    root = str(Path(files["root"]).resolve())
    source, rows, read, unreadable = read_table(spark, root, source)
    rows = rows.persist()
    log_progress(f"looking at {read:,} rows of {len(types)} columns")
    profiles = column_profiles(rows, types)
    profile = TableProfile(
        rows=read,
        unreadable=unreadable,
        columns=profiles,
        labels=label_counts(rows, label),
        unique=unique_columns(rows, profiles),
        unusable=unusable,
        options=source.options,
    )
    (of_label,) = (one for one in profiles if one.column == label)
    if not of_label.known:
        raise ComponentError(f"--label: the column {label!r} has no value")
    log_progress(f"looking for columns that tell '{label}'")
    skills = _skills(rows, profiles, label, profile.labels)
    rows.unpersist()
    return {"profile": dataclasses.asdict(profile), "skills": skills}


def _declared(
    spark: SparkSession, files: Mapping[str, Any], label: str
) -> tuple[FileSource, dict[str, str], dict[str, str]]:
    """Returns the source with all usable columns, their types, and the unusable columns."""
    root = str(Path(files["root"]).resolve())
    if files["format"] == "csv":
        types = dict.fromkeys(files["columns"], "string")
    elif files["format"] == "json":
        types = json_columns(spark, root, files["path"])
    else:
        types = dict(spark.read.parquet(*_parquet_files(root, files["path"])).dtypes)
    if label not in types:
        close = closest(label, types)
        advice = f"Did you mean '{close}'?" if close else f"Columns: {', '.join(types)}"
        raise ComponentError(f"--label: there is no column '{label}'. {advice}")
    usable, unusable = usable_columns(types)
    if label not in usable:
        raise ComponentError(f"--label: the column '{label}' {unusable[label]}")
    source = FileSource(
        files["format"],
        files["path"],
        usable,
        options=files["options"],
        may_be_null=tuple(usable),
    )
    return source, usable, unusable


def _parquet_files(root: str, path: str) -> list[str]:
    found = LocalFiles(root).matching(SpanPattern(path))
    return [for_spark(f"file:{root}/{file}") for file in found[:1]]  # read_table compares them


def _skills(
    rows: DataFrame, profiles: Sequence[ColumnProfile], label: str, labels: Mapping[str, int]
) -> dict[str, float]:
    """Returns column -> AUC or R² of the column alone, by a sample of the rows."""
    kinds = {one.column: one for one in profiles}
    numeric = [
        one.column for one in profiles if one.numbers and one.numbers > 0.9 * max(one.known, 1)
    ]
    columns = [
        known_number(one.column) if one.column in numeric else known_text(one.column)
        for one in profiles
    ]
    classes = frequent_labels(labels)  # without slips, of which a column knows nothing
    is_class = 2 <= len(classes) <= _CLASSES
    total = sum(labels[text] for text in classes) if is_class else kinds[label].known
    share = min(1.0, _SAMPLE / max(total, 1))
    names = [f"c{place}" for place in range(len(columns))]
    has_label = known_text(label).isin(classes) if is_class else known_text(label).isNotNull()
    chosen = rows.where(has_label)
    if share < 1:
        drawn = F.pmod(F.xxhash64(*[known_text(one) for one in kinds]), F.lit(_PARTS))
        chosen = chosen.where(drawn < F.lit(int(share * _PARTS)))
    sample = chosen.select(*[c.alias(n) for c, n in zip(columns, names, strict=True)]).toPandas()
    by_column = {one.column: sample[name] for one, name in zip(profiles, names, strict=True)}
    targets, measure = _targets(by_column.pop(label), is_class)
    found = {}
    for column, values in by_column.items():
        one = kinds[column]
        if column not in numeric and one.distinct > 0.5 * max(one.known, 1):
            continue  # nearly unique text tells nothing of other rows
        array = (
            values.to_numpy(float, na_value=np.nan)
            if column in numeric
            else values.fillna("").to_numpy(object)
        )
        if column in numeric:
            array = np.nan_to_num(array, nan=-np.inf, neginf=-np.inf)
        if targets:
            found[column] = max(single_feature_skill(array, t, measure) for t in targets)
    return found


def _targets(values: Any, is_class: bool) -> tuple[list[NDArray[np.float64]], str]:
    """Returns the labels, or each class against the others, and the measure."""
    if is_class:
        texts = values.map(lambda value: None if value is None else str(value))
        each = [(texts == text).to_numpy(float) for text in texts.dropna().unique()]
        some = [one for one in each if min(one.sum(), (1 - one).sum()) >= _FEWEST]
        return some[:1] if len(each) == 2 else some, "AUC"
    numbers = values.to_numpy(object)
    try:
        return [rankdata(np.asarray(numbers, float))], "R2"
    except (TypeError, ValueError):
        return [], "R2"


def _settings(files: Mapping[str, Any]) -> dict[str, str]:
    root = Path(files["root"])
    paths = LocalFiles(str(root)).matching(SpanPattern(files["path"]))
    return SMALL_DATA if sum((root / path).stat().st_size for path in paths) < _SMALL else {}


def main(request_path: str) -> None:
    """Answers the request in a file."""
    request = json.loads(Path(request_path).read_text("utf-8"))

    def answered() -> dict[str, Any]:
        log_progress("starting Spark")
        config = dataclasses.asdict(SparkConfig("local[2]", _settings(request["files"])))
        with spark_session(config, "applications new") as spark:
            return look_at(spark, request)

    answer(request_path, answered, explain)


if __name__ == "__main__":
    main(sys.argv[1])
