"""Decides span, version and fingerprint before TFX looks into its cache."""

from __future__ import annotations

import json
from typing import Any

from tfx.components.example_gen import driver as example_gen_driver
from tfx.components.example_gen import utils
from tfx.orchestration import data_types
from tfx.proto import range_config_pb2
from tfx.types import standard_component_specs as keys
from tfx.utils import proto_utils

from components.spark_example_gen.inputs import Inputs, find_inputs
from components.spark_example_gen.sources import sources_from_json
from components.spark_example_gen.spans import SpanPattern, SpanRange


class SparkExampleGenDriver(example_gen_driver.FileBasedDriver):
    """TFX's file-based driver with our resolution: several sources, hours, windows, contents."""

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        inputs = resolve_inputs(exec_properties)
        exec_properties[utils.SPAN_PROPERTY_NAME] = inputs.span
        exec_properties[utils.VERSION_PROPERTY_NAME] = inputs.version
        exec_properties[utils.FINGERPRINT_PROPERTY_NAME] = inputs.fingerprint()
        return exec_properties


def resolve_inputs(exec_properties: dict[str, Any]) -> Inputs:
    """The files and spans that these execution properties ask for."""
    sources = sources_from_json(json.loads(exec_properties["sources"]))
    wanted = span_range(exec_properties.get(keys.RANGE_CONFIG_KEY))
    decided = exec_properties.get(utils.SPAN_PROPERTY_NAME)
    primary = SpanPattern(next(iter(sources.values())).path)
    if decided is not None and primary.has_spans:  # the newest span may have changed since
        wanted = SpanRange(wanted.length, int(decided))
    return find_inputs(exec_properties[keys.INPUT_BASE_KEY], sources, wanted)


def span_range(range_config: str | None) -> SpanRange:
    """TFX's RangeConfig (as JSON) as a length and a last span."""
    if not range_config:
        return SpanRange()
    config = range_config_pb2.RangeConfig()
    proto_utils.json_to_proto(range_config, config)
    if config.HasField("rolling_range"):
        return SpanRange(config.rolling_range.num_spans)
    first, last = config.static_range.start_span_number, config.static_range.end_span_number
    return SpanRange(last - first + 1, last)
