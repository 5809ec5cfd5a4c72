"""Runs the Spark job and records its result on the output artifacts."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any

from tfx import types
from tfx.components.example_gen import utils, write_split
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.utils import proto_utils

from base.errors import ComponentError
from base.shared_names import EXAMPLES_MANIFEST
from components.spark_example_gen.driver import input_request
from metadata import names
from spark_io.example_job import JobRequest
from spark_io.example_job_process import run_job


class SparkExampleGenExecutor(base_beam_executor.BaseBeamExecutor):
    """A Beam executor by type, as TFX requires of an ExampleGen. Spark does the work."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        examples = artifact_utils.get_single_instance(output_dict[keys.EXAMPLES_KEY])
        quarantine = artifact_utils.get_single_instance(output_dict["quarantine"])
        request = make_request(exec_properties, examples.uri, quarantine.uri)
        manifest = run_job({"run": dataclasses.asdict(request)})["manifest"]
        _describe_examples(examples, manifest, exec_properties)
        _describe_quarantine(quarantine, manifest)


def make_request(
    exec_properties: dict[str, Any], examples_uri: str, quarantine_uri: str
) -> JobRequest:
    """Returns the request to the job from the execution properties."""
    for uri in (examples_uri, quarantine_uri):
        if "://" in uri:
            raise ComponentError(f"SparkExampleGen writes to mounted file systems, not to {uri}")
    return JobRequest(
        inputs=input_request(exec_properties),
        etl=exec_properties["etl"],
        etl_parameters=json.loads(exec_properties["etl_parameters"]),
        etl_code_sha256=exec_properties["etl_code_sha256"],
        splits=_splits(exec_properties),
        row_accounting=exec_properties["row_accounting"],
        max_quarantine_fraction=exec_properties["max_quarantine_fraction"],
        examples_uri=examples_uri,
        quarantine_uri=quarantine_uri,
    )


def _splits(exec_properties: dict[str, Any]) -> dict[str, Any]:
    """Returns the splits by hash buckets or by time."""
    time_cut = json.loads(exec_properties.get("time_cut") or "null")
    if time_cut:
        return dict(time_cut)
    output = example_gen_pb2.Output()
    proto_utils.json_to_proto(exec_properties[keys.OUTPUT_CONFIG_KEY], output)
    config = output.split_config
    return {
        "names": [split.name for split in config.splits],
        "buckets": [split.hash_buckets for split in config.splits],
        "feature": config.partition_feature_name or None,
    }


def _describe_examples(
    artifact: types.Artifact, manifest: dict[str, Any], exec_properties: dict[str, Any]
) -> None:
    rows = manifest["rows"]
    artifact.split_names = artifact_utils.encode_split_names(list(rows["splits"]))
    examples_utils.set_payload_format(artifact, exec_properties[keys.OUTPUT_DATA_FORMAT_KEY])
    file_format = exec_properties[keys.OUTPUT_FILE_FORMAT_KEY]
    examples_utils.set_file_format(artifact, write_split.to_file_format_str(file_format))
    artifact.set_int_custom_property(utils.SPAN_PROPERTY_NAME, manifest["span"])
    if manifest["version"] is not None:
        artifact.set_int_custom_property(utils.VERSION_PROPERTY_NAME, manifest["version"])
    texts = {
        utils.FINGERPRINT_PROPERTY_NAME: manifest["input_fingerprint"],
        "spans": f"{manifest['spans'][0]}-{manifest['spans'][-1]}",
        "etl": manifest["etl"]["path"],
        "etl_code_sha256": manifest["etl"]["code_sha256"],
        "quarantined_reasons": json.dumps(manifest["quarantined"]),
        "dropped_reasons": json.dumps(manifest["dropped"]),
        "manifest": EXAMPLES_MANIFEST,
    }
    counts = {
        "rows_read": rows["read"],
        "rows_quarantined": rows["quarantined"],
        "rows_dropped": rows["dropped"],
        **{f"rows_{split}": count for split, count in rows["splits"].items()},
    }
    if manifest.get("labels_as_of_ms") is not None:
        when = dt.datetime.fromtimestamp(manifest["labels_as_of_ms"] / 1000, dt.timezone.utc)
        texts[names.LABELS_AS_OF] = f"{when:%Y-%m-%dT%H:%M:%SZ}"
    for name, text in texts.items():
        artifact.set_string_custom_property(name, text)
    for name, count in counts.items():
        artifact.set_int_custom_property(name, count)


def _describe_quarantine(artifact: types.Artifact, manifest: dict[str, Any]) -> None:
    artifact.set_int_custom_property("span", manifest["span"])
    artifact.set_int_custom_property("rows", manifest["rows"]["quarantined"])
    artifact.set_string_custom_property("reasons", json.dumps(manifest["quarantined"]))
