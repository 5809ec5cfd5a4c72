"""Declares SparkExampleGen."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

from tfx import types
from tfx.components.example_gen import component as example_gen_component
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import component_spec, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from base.code_fingerprint import code_sha256
from components.spark_example_gen.artifacts import QuarantinedRecords
from components.spark_example_gen.driver import SparkExampleGenDriver
from components.spark_example_gen.executor import SparkExampleGenExecutor
from spark_io import example_job as job
from spark_io.examples.time_cut import TimeCut
from spark_io.sources.source_types import AnySource, FileSource, SparkConfig, sources_to_json


class SparkExampleGenSpec(component_spec.ComponentSpec):
    """TFX's file-based ExampleGen, plus the sources, the ETL and the quarantine."""

    PARAMETERS = {  # noqa: RUF012 - the form TFX asks for
        **standard_component_specs.FileBasedExampleGenSpec.PARAMETERS,
        "sources": ExecutionParameter(type=str),  # JSON list
        "etl": ExecutionParameter(type=str),
        "etl_parameters": ExecutionParameter(type=str),  # JSON object
        "etl_code_sha256": ExecutionParameter(type=str),
        "job_code_sha256": ExecutionParameter(type=str),  # of reading, encoding, splitting
        "spark": ExecutionParameter(type=str),  # JSON of SparkConfig
        "time_cut": ExecutionParameter(type=str),  # JSON of TimeCut, or null
        "row_accounting": ExecutionParameter(type=str),
        "max_quarantine_fraction": ExecutionParameter(type=float),
    }
    INPUTS: dict[str, ChannelParameter] = {}  # noqa: RUF012
    OUTPUTS = {  # noqa: RUF012
        standard_component_specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": ChannelParameter(type=QuarantinedRecords),
    }


class SparkExampleGen(base_beam_component.BaseBeamComponent):
    """Runs a Spark ETL and publishes its rows as tf.train.Examples.

    Component `outputs` contains:
     - `examples`: `standard_artifacts.Examples`, gzipped TFRecord shards in `Split-*` folders and a
       `manifest.json`; read by every standard component.
     - `quarantine`: `QuarantinedRecords`, the rejected rows with reasons.
    """

    SPEC_CLASS = SparkExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(SparkExampleGenExecutor)
    DRIVER_CLASS = SparkExampleGenDriver

    def __init__(
        self,
        input_base: str,
        sources: Mapping[str, AnySource],
        etl: str,
        etl_parameters: Mapping[str, Any] | None = None,
        output_config: example_gen_pb2.Output | None = None,
        range_config: range_config_pb2.RangeConfig | None = None,
        time_cut: TimeCut | None = None,
        spark: SparkConfig | None = None,
        row_accounting: Literal["exact", "off"] = "exact",
        max_quarantine_fraction: float = 0.01,
    ):
        """Constructs a SparkExampleGen.

        Args:
          input_base: Folder or URI that the sources' paths are relative to.
          sources: Name -> source. The first is the *primary* source, which decides the spans and
            whose rows are accounted for.
          etl: Dotted path of `build(spark, sources, context) -> DataFrame`; see rows.py.
          etl_parameters: JSON values that the ETL gets as `context.parameters`.
          output_config: Splits by hash buckets and a partition feature, as in TFX. Default:
            train and eval, 2:1.
          time_cut: Splits by time, instead of `output_config`.
          range_config: Spans to read, as in TFX. Default: the newest one.
          spark: Master and settings of Spark. Default: local[*].
          row_accounting: 'exact' requires that every row is an example, quarantined or dropped;
            'off' is for an ETL that aggregates rows.
          max_quarantine_fraction: Largest share of rejected rows, or the run stops.

        Raises:
          ValueError: There is no source, the primary source has spans_after or spans_before, there
            are two ways to split, or the fraction is outside [0, 1].
          ComponentError: The ETL's module cannot be found.
        """
        if not sources:
            raise ValueError("SparkExampleGen needs at least one source")
        primary = next(iter(sources.values()))
        for name in ("spans_after", "spans_before"):
            if getattr(primary, name, 0):
                raise ValueError(f"{name} is not for the primary source: it decides the spans")
        if time_cut is not None and output_config is not None:
            raise ValueError("give output_config (hash buckets) or time_cut, not both")
        if not 0 <= max_quarantine_fraction <= 1:
            raise ValueError(
                "max_quarantine_fraction must be between 0 and 1. "
                f"Received: {max_quarantine_fraction}"
            )
        split = example_gen_pb2.Input.Split(name="single_split", pattern=_pattern(primary))
        spec = SparkExampleGenSpec(
            input_base=input_base,
            input_config=example_gen_pb2.Input(splits=[split]),
            output_config=output_config or _default_splits(time_cut),
            range_config=range_config,
            output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
            output_file_format=example_gen_pb2.FORMAT_TFRECORDS_GZIP,
            sources=json.dumps(sources_to_json(sources)),
            etl=etl,
            etl_parameters=json.dumps(etl_parameters or {}, sort_keys=True),
            etl_code_sha256=code_sha256(etl),
            job_code_sha256=code_sha256(job.__name__),
            spark=json.dumps(dataclasses.asdict(spark or SparkConfig()), sort_keys=True),
            time_cut=json.dumps(dataclasses.asdict(time_cut) if time_cut else None),
            row_accounting=row_accounting,
            max_quarantine_fraction=float(max_quarantine_fraction),
            examples=types.Channel(type=standard_artifacts.Examples),
            quarantine=types.Channel(type=QuarantinedRecords),
        )
        super().__init__(spec)


# FileBasedExampleGen's constructor builds its own spec, so it cannot be the base class. TFX's
# Kubeflow compiler asks for the type, to have a driver choose the span before it looks at a cache.
example_gen_component.FileBasedExampleGen.register(SparkExampleGen)


def _pattern(primary: AnySource) -> str:
    """Returns the text that TFX shows for the primary source."""
    return primary.path if isinstance(primary, FileSource) else primary.kind


def _default_splits(time_cut: TimeCut | None) -> example_gen_pb2.Output:
    """Returns train and eval, 2:1, or the names of a time cut's splits with meaningless buckets."""
    buckets = dict.fromkeys(time_cut.splits, 1) if time_cut else {"train": 2, "eval": 1}
    split = example_gen_pb2.SplitConfig.Split
    return example_gen_pb2.Output(
        split_config=example_gen_pb2.SplitConfig(
            splits=[split(name=name, hash_buckets=count) for name, count in buckets.items()]
        )
    )
