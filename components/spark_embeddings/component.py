"""Declares SparkEmbeddings."""

from __future__ import annotations

import dataclasses
import json

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from base.code_fingerprint import code_sha256
from components.spark_embeddings import job
from components.spark_embeddings.artifacts import TokenEmbeddings
from components.spark_embeddings.executor import SparkEmbeddingsExecutor
from spark_io.sources.source_types import SparkConfig


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Definition of the sequences of values that occur together.

    Attributes:
      token: Feature whose values get vectors; bytes.
      group: Feature that is equal within a sequence; bytes.
      order: Feature that orders a sequence; int64.
      where: Feature that is 1 in the examples to use; int64. None uses all examples.
    """

    token: str
    group: str
    order: str
    where: str | None = None


class SparkEmbeddingsSpec(component_spec.ComponentSpec):
    PARAMETERS = {  # noqa: RUF012
        "sequences": ExecutionParameter(type=str),  # JSON of Sequences
        "word2vec": ExecutionParameter(type=str),  # JSON of its parameters
        "spark": ExecutionParameter(type=str),  # JSON of SparkConfig
        "job_code_sha256": ExecutionParameter(type=str),
    }
    INPUTS = {"examples": ChannelParameter(type=standard_artifacts.Examples)}  # noqa: RUF012
    OUTPUTS = {"embeddings": ChannelParameter(type=TokenEmbeddings)}  # noqa: RUF012


class SparkEmbeddings(base_component.BaseComponent):
    """Learns a vector for each value of a feature from what occurs together."""

    SPEC_CLASS = SparkEmbeddingsSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(SparkEmbeddingsExecutor)

    def __init__(
        self,
        examples: types.BaseChannel,
        sequences: Sequences,
        *,
        width: int = 16,
        window: int = 5,
        min_count: int = 5,
        iterations: int = 5,
        step_size: float = 0.025,
        partitions: int = 1,
        seed: int = 17,
        spark: SparkConfig | None = None,
    ):
        """Constructs a SparkEmbeddings.

        Args:
          examples: Examples, of which the split `train` is read.
          sequences: Definition of the sequences.
          width: Length of a vector.
          window: Number of neighbours on each side that a token is learned from.
          min_count: Smallest number of occurrences of a token with a vector.
          iterations: Number of passes over all sequences.
          step_size: Step size of the first iteration.
          partitions: Number of partitions that learn in parallel and are averaged. 1 is repeatable.
          seed: Seed of the initial vectors.
          spark: Master and settings of Spark. Default: local[*].
        """
        word2vec = {
            "vectorSize": width,
            "windowSize": window,
            "minCount": min_count,
            "maxIter": iterations,
            "stepSize": step_size,
            "numPartitions": partitions,
            "seed": seed,
        }
        spec = SparkEmbeddingsSpec(
            examples=examples,
            sequences=json.dumps(dataclasses.asdict(sequences), sort_keys=True),
            word2vec=json.dumps(word2vec, sort_keys=True),
            spark=json.dumps(dataclasses.asdict(spark or SparkConfig()), sort_keys=True),
            job_code_sha256=code_sha256(job.__name__),
            embeddings=types.Channel(type=TokenEmbeddings),
        )
        super().__init__(spec)
