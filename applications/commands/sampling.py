"""An ETL of a sample: it runs another ETL on some rows of the primary source.

The other rows are counted as dropped, so that the accounts of a run stay exact.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from applications.commands.small_data import SMALL_DATA
from base.code_fingerprint import code_sha256
from base.section import Section
from pipeline.config import PipelineConfig
from spark_io.examples.rows import EtlContext, dropped
from spark_io.sources.column_names import quoted

NOT_SAMPLED = "not_in_the_sample"
_PARTS = 1_000_000


class Sample(Section):
    """Parameters of `sampled_examples`.

    Attributes:
      etl: Dotted path of the ETL to run.
      code_sha256: Hash of its code, so that an edited ETL is not taken from the cache.
      parameters: Its parameters.
      rows: About as many rows of the primary source are kept.
    """

    etl: str
    code_sha256: str
    parameters: dict[str, Any]
    rows: int


def of_a_sample(config: PipelineConfig, rows: int) -> PipelineConfig:
    """Returns the config with an ETL that reads a sample of the primary source.

    Rejected rows do not stop it: a share of a sample says little.
    """
    etl = config.etl.function or config.loaded_application().build_examples
    sample = Sample(
        etl=etl, code_sha256=code_sha256(etl), parameters=config.etl.parameters, rows=rows
    )
    function = f"{sampled_examples.__module__}.{sampled_examples.__name__}"
    changed = {
        "function": function,
        "parameters": sample.model_dump(),
        "max_quarantine_fraction": 1.0,
    }
    is_local = config.spark.master.startswith("local")
    conf = {**(SMALL_DATA if is_local else {}), **config.spark.conf}
    return config.model_copy(
        update={
            "etl": config.etl.model_copy(update=changed),
            "spark": config.spark.model_copy(update={"conf": conf}),
        }
    )


def sampled_examples(
    spark: SparkSession, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    """Runs an ETL on a sample; `context.parameters` are those of Sample.

    The same rows are sampled every time, by a hash of their values. They come from everywhere in
    the source, because its first rows may be the oldest or all of one kind.
    """
    sample = Sample(**context.parameters)
    primary = next(iter(sources))
    rows = sources[primary]
    module, _, name = sample.etl.rpartition(".")
    build = getattr(importlib.import_module(module), name)
    inner = dataclasses.replace(context, parameters=sample.parameters)
    count = rows.count()
    if count <= sample.rows:
        result: DataFrame = build(spark, sources, inner)
        return result
    hashed = [
        F.col(quoted(column)) for column, kind in rows.dtypes if "map<" not in kind
    ]  # Spark hashes no maps
    kept = F.pmod(F.xxhash64(*hashed), F.lit(_PARTS)) < int(_PARTS * sample.rows / count)
    result = build(spark, {**sources, primary: rows.where(kept)}, inner)
    return result.unionByName(dropped(rows.where(~kept), NOT_SAMPLED), allowMissingColumns=True)
