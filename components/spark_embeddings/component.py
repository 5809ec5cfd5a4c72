"""SparkEmbeddings: what goes in and out."""

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
    """What occurs together.

    Attributes:
      token: feature whose values get vectors; bytes.
      group: feature that is equal within a sequence; bytes.
      order: feature that orders a sequence; int64.
      where: feature that is 1 in the examples that count; int64. None: all of them.
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
          examples: with a split `train`, the one that is read.
          sequences: what occurs together.
          width: of a vector.
          window: tokens to each side that a token is learned from.
          min_count: a token that occurs less often has no vector.
          iterations: over all sequences.
          step_size: of the first iteration.
          partitions: that learn at once and are averaged; 1 is exact and repeatable.
          seed: of the start.
          spark: where it runs. Default: local[*].
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
