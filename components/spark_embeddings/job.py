"""Runs Word2Vec as a Spark job: `python -m components.spark_embeddings.job REQUEST`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.feature import Word2Vec
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

import base.arrow  # noqa: F401
from base.atomic_files import whole_file
from base.errors import ComponentError
from spark_io.connectors.hadoop import for_spark
from spark_io.connectors.tfrecords import read_tfrecords
from spark_io.jobs.child import answer, log_progress
from spark_io.jobs.errors import explain
from spark_io.jobs.session import spark_session
from spark_io.sources.source_types import FileSource
from tabular.precomputed import FEATURE


def learn(request: dict[str, Any]) -> dict[str, int]:
    """Writes the vectors and returns the numeric properties of the artifact."""
    wanted, parameters = request["sequences"], request["word2vec"]
    log_progress("starting Spark")
    with spark_session(request["spark"], "SparkEmbeddings") as spark:
        examples = read(spark, request["examples"], wanted)
        sequences = as_sequences(examples, wanted).cache()
        count = sequences.count()
        log_progress(f"learning from {count:,} sequences of {wanted['token']}")
        counts = {
            row["token"]: row["count"]
            for row in sequences.select(F.explode("tokens").alias("token"))
            .groupBy("token")
            .count()
            .where(F.col("count") >= parameters["minCount"])
            .collect()
        }
        if not counts:
            raise ComponentError(
                f"no {wanted['token']} occurs {parameters['minCount']} times or more in the "
                f"{count:,} sequences of {wanted['group']}; lower min_count, or check the values "
                f"of '{wanted['where'] or wanted['token']}'"
            )
        model = Word2Vec(inputCol="tokens", **parameters).fit(sequences)
        found = model.getVectors().collect()
    vectors = {row["word"]: row["vector"].toArray() for row in found}
    write(wanted["token"], vectors, counts, Path(request["out"]))
    return {"sequences": count, "tokens": len(vectors), "width": parameters["vectorSize"]}


def read(spark: SparkSession, files: list[str], wanted: dict[str, Any]) -> DataFrame:
    """Returns the columns token, group and order of the examples to use that have all three."""
    columns = {wanted["token"]: "string", wanted["group"]: "string", wanted["order"]: "bigint"}
    if wanted["where"]:
        columns[wanted["where"]] = "bigint"
    paths = [for_spark(f"file://{Path(file).resolve()}") for file in files]
    examples = read_tfrecords(spark.read, "examples", FileSource("tfrecord", "*", columns), paths)
    if wanted["where"]:
        examples = examples.where(F.col(wanted["where"]) == 1)
    return examples.select(
        F.col(wanted["token"]).alias("token"),
        F.col(wanted["group"]).alias("group"),
        F.col(wanted["order"]).alias("order"),
    ).dropna()


def as_sequences(examples: DataFrame, wanted: dict[str, Any]) -> DataFrame:
    """Returns the column `tokens` with the ordered tokens of each group.

    Groups of one token are left out. The rows are sorted by group, so that a seed is repeatable.
    """
    in_order = F.sort_array(F.collect_list(F.struct("order", "token")))
    grouped = examples.groupBy("group").agg(in_order["token"].alias("tokens"))
    return grouped.where(F.size("tokens") > 1).orderBy("group").select("tokens")


def write(feature: str, vectors: dict[str, np.ndarray], counts: dict[str, int], path: Path) -> None:
    """Writes the vectors by falling count of their tokens."""
    tokens = sorted(vectors, key=lambda token: (-counts[token], token))
    table = pa.table(
        {
            "token": pa.array([token.encode() for token in tokens], pa.binary()),
            "count": pa.array([counts[token] for token in tokens], pa.int64()),
            "vector": pa.array([vectors[t] for t in tokens], pa.list_(pa.float32())),
        }
    ).replace_schema_metadata({FEATURE: feature})
    with whole_file(path) as partial:
        pq.write_table(table, partial)


def main(request_path: str) -> None:
    request = json.loads(Path(request_path).read_text("utf-8"))
    answer(request_path, lambda: learn(request), explain)


if __name__ == "__main__":
    main(sys.argv[1])
