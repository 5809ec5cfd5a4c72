"""Starts the job and describes its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from spark_io.jobs.parent import run_in_child
from tabular.precomputed import FILE

_JOB = "components.spark_embeddings.job"


class SparkEmbeddingsExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        sequences = json.loads(exec_properties["sequences"])
        folders = artifact_utils.get_split_uris(input_dict["examples"], "train")
        output = artifact_utils.get_single_instance(output_dict["embeddings"])
        request = {
            "examples": sorted(str(p) for folder in folders for p in Path(folder).glob("*.gz")),
            "sequences": sequences,
            "word2vec": json.loads(exec_properties["word2vec"]),
            "spark": json.loads(exec_properties["spark"]),
            "out": str(Path(output.uri) / FILE),
        }
        answer = run_in_child(_JOB, request)
        output.set_string_custom_property("token", sequences["token"])
        for name, value in answer.items():
            output.set_int_custom_property(name, value)
