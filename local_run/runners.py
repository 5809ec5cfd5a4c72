"""Runs a pipeline as TFX's BeamDagRunner or LocalDagRunner does, and reports every component.

Neither runner has a hook for the start and end of a component. Both call TFX's Launcher once for
each node, so this module calls it in their place. TFX 1.16.0 and 1.21.0 have the same
text of orchestration/local/local_dag_runner.py, beam/beam_dag_runner.py and portable/launcher.py.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from apache_beam.options.pipeline_options import StandardOptions
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.beam import beam_dag_runner
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from base.errors import ComponentError
from local_run.launches import Launch, ReportLaunch
from pipeline.beam_arguments import LOCAL_RUNNER

_log = logging.getLogger(__name__)
# Run id -> report. Beam pickles its functions even within one process, and a screen cannot be
# pickled, so a node finds its report here.
_reports: dict[str, ReportLaunch] = {}


def run_pipeline(pipeline: Pipeline, run_id: str, runner: str, report: ReportLaunch) -> None:
    """Runs every component of a pipeline, each after those that it depends on.

    Args:
      pipeline: The pipeline, with a metadata connection.
      run_id: Id of the run in ML Metadata; TFX's runners would choose one of their own.
      runner: 'beam' (TFX's BeamDagRunner) or 'local' (one component after the other, as in
        TFX's LocalDagRunner).
      report: Function that is called when a component starts and when it ends.

    Raises:
      Exception: Whatever the first component that failed raised. No component starts after it.
    """
    compiled = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(
        compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    if runner == "local":
        for node in compiled.nodes:  # the compiler has sorted them
            _launch(compiled, node.pipeline_node, report)
        return
    StandardOptions.DEFAULT_RUNNER = LOCAL_RUNNER  # BeamDagRunner takes no options
    _reports[run_id] = report
    try:
        _BeamDagRunner().run_with_ir(compiled)
    finally:
        del _reports[run_id]


class _BeamNode(beam_dag_runner.PipelineNodeAsDoFn):  # type: ignore[misc]
    """A node as a step of the Beam pipeline that BeamDagRunner builds."""

    def __init__(
        self,
        pipeline_node: pipeline_pb2.PipelineNode,
        pipeline: pipeline_pb2.Pipeline,
        **others: Any,
    ):
        super().__init__(pipeline_node=pipeline_node, pipeline=pipeline, **others)
        self.node, self.pipeline = pipeline_node, pipeline

    def process(self, element, *upstream):  # type: ignore[no-untyped-def] # Beam would check them
        """Launches the node.

        Args:
          element: None; it starts the step.
          *upstream: Empty outputs of the nodes before it; reading one waits for the node to end.
        """
        for ended in upstream:
            assert not list(ended)
        run_id = self.pipeline.runtime_spec.pipeline_run_id.field_value.string_value
        _launch(self.pipeline, self.node, _reports[run_id])


class _BeamDagRunner(beam_dag_runner.BeamDagRunner):  # type: ignore[misc]
    _PIPELINE_NODE_DO_FN_CLS = _BeamNode  # type: ignore[assignment]


def _launch(
    pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode, report: ReportLaunch
) -> None:
    """Runs one node and reports its start and its end."""
    component = node.node_info.id
    _log.info("%s is running", component)
    report(Launch(component, "running"))
    started = time.monotonic()
    try:
        state = _run_node(pipeline, node)
    except BaseException as error:
        report(Launch(component, "failed", time.monotonic() - started, error))
        raise
    _log.info("%s is %s", component, state)
    report(Launch(component, state, time.monotonic() - started))


def _run_node(pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode) -> str:
    """Runs a node; returns 'complete', or 'cached' if an earlier execution had the outputs.

    Raises:
      ComponentError: TFX could not resolve the node's inputs. Its launcher records a failed
        execution then, and returns as if nothing had happened.
    """
    name = node.node_info.id
    deployment = runner_utils.extract_local_deployment_config(pipeline)
    connection = _set_field(deployment.metadata_connection_config, "connection_config")
    executor_spec = runner_utils.extract_executor_spec(deployment, name)
    done = launcher.Launcher(
        pipeline_node=node,
        mlmd_connection=metadata.Metadata(connection),
        pipeline_info=pipeline.pipeline_info,
        pipeline_runtime_spec=pipeline.runtime_spec,
        executor_spec=executor_spec,
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
        platform_config=_set_field(deployment.node_level_platform_configs.get(name), "config"),
    ).launch()
    assert done is not None  # its annotation allows None
    if done.execution_id and not (done.input_dict or done.output_dict):
        raise ComponentError("TFX could not resolve its inputs; the log has the reason")
    # Only what is executed gets a temporary folder; resolvers and importers never do.
    return "cached" if executor_spec and not done.tmp_dir else "complete"


def _set_field(message: Any, oneof: str) -> Any:
    """Returns the field of a protobuf `oneof` that is set; None without a message."""
    return getattr(message, message.WhichOneof(oneof)) if message else None
