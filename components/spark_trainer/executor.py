"""Runs the training as a Spark job and checks that it wrote a model."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.trainer import executor
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.utils import io_utils, json_utils, path_utils

from base.errors import ComponentError
from components.trainer.decision_output import publish_decision
from components.trainer.embeddings_input import with_embeddings
from spark_io.jobs.parent import run_in_child

SETTINGS = "spark_trainer"  # within custom_config
_JOB = "components.spark_trainer.job"


class SparkTrainerExecutor(executor.GenericExecutor):
    """GenericExecutor's run_fn, on the workers of a Spark job instead of in this process."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        exec_properties = with_embeddings(input_dict, exec_properties)
        settings = json_utils.loads(exec_properties[keys.CUSTOM_CONFIG_KEY])[SETTINGS]
        invocation = json_utils.dumps([input_dict, output_dict, exec_properties])
        logs = artifact_utils.get_single_uri(output_dict[keys.MODEL_RUN_KEY])
        run_in_child(_JOB, {**settings, "invocation": invocation, "logs": logs})
        model = artifact_utils.get_single_uri(output_dict[keys.MODEL_KEY])
        if not io_utils.fileio.exists(path_utils.serving_model_dir(model)):
            raise ComponentError(
                f"{exec_properties.get(keys.RUN_FN_KEY) or 'run_fn'} wrote no model to "
                "fn_args.serving_model_dir; the chief must write it"
            )
        publish_decision(output_dict)
