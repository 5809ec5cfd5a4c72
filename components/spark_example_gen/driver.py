"""Decides span, version and fingerprint before TFX looks into its cache."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tfx.components.example_gen import driver as example_gen_driver
from tfx.components.example_gen import utils
from tfx.orchestration import data_types
from tfx.proto import range_config_pb2
from tfx.types import standard_component_specs as keys
from tfx.utils import proto_utils

from base.errors import ComponentError
from spark_io.connectors.connector import InputLocation, SourceInput
from spark_io.example_job import InputRequest
from spark_io.example_job_process import run_job
from spark_io.sources.inputs import Inputs, find_inputs, needs_spark
from spark_io.sources.source_types import sources_from_json
from spark_io.sources.spans import SpanRange

# Offsets and checksums that the driver found in sources that may change. JSON, source -> facts.
DECIDED = "decided_inputs"


class SparkExampleGenDriver(example_gen_driver.FileBasedDriver):
    """TFX's file-based driver for several sources, hours, windows and fingerprints of contents."""

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        inputs = resolve_inputs(exec_properties)
        sources = json.loads(exec_properties["sources"])
        decided = {
            s["name"]: inputs.by_source[s["name"]].facts for s in sources if s["kind"] != "file"
        }
        exec_properties[utils.SPAN_PROPERTY_NAME] = inputs.span
        exec_properties[utils.VERSION_PROPERTY_NAME] = inputs.version
        exec_properties[utils.FINGERPRINT_PROPERTY_NAME] = inputs.fingerprint()
        exec_properties[DECIDED] = json.dumps(decided, sort_keys=True)
        return exec_properties


def resolve_inputs(exec_properties: dict[str, Any]) -> Inputs:
    """Finds the inputs in this process if all are local files, else in a Spark job."""
    request = input_request(exec_properties)
    sources = sources_from_json(request.sources)
    if not needs_spark(request.input_base, sources):
        return find_inputs(sources, request.span_range(), InputLocation(request.input_base))
    answer = run_job({"find": dataclasses.asdict(request)})
    return Inputs({name: SourceInput(**found) for name, found in answer["found"].items()})


def input_request(exec_properties: dict[str, Any]) -> InputRequest:
    """Returns the execution properties as a request to the Spark job.

    The span that the driver chose stays, even if there is a newer one by now.
    """
    entries = json.loads(exec_properties["sources"])
    wanted = span_range(exec_properties.get(keys.RANGE_CONFIG_KEY))
    decided_span = exec_properties.get(utils.SPAN_PROPERTY_NAME)
    primary = next(iter(sources_from_json(entries).values()))
    if decided_span is not None and primary.has_spans:
        wanted = SpanRange(wanted.length, int(decided_span))
    return InputRequest(
        input_base=exec_properties[keys.INPUT_BASE_KEY],
        sources=entries,
        length=wanted.length,
        last=wanted.last,
        decided=json.loads(exec_properties.get(DECIDED) or "{}"),
        fingerprint=exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME),
        spark=json.loads(exec_properties["spark"]),
    )


def span_range(range_config: str | None) -> SpanRange:
    """Returns TFX's RangeConfig (as JSON) as a length and a last span.

    Raises:
      ComponentError: A field of it is not supported.
    """
    config = range_config_pb2.RangeConfig()
    if range_config:
        proto_utils.json_to_proto(range_config, config)
    if config.HasField("static_range"):
        first, last = config.static_range.start_span_number, config.static_range.end_span_number
        return SpanRange(last - first + 1, last)
    if not config.HasField("rolling_range"):
        return SpanRange()
    rolling = config.rolling_range
    if rolling.start_span_number:
        raise ComponentError(
            "a rolling range takes num_spans only; for spans from a certain one on use a static "
            "range, or --span for the last one"
        )
    return SpanRange(rolling.num_spans)
