"""Starts the Spark job, follows it, and records what it did on the output artifacts."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.example_gen import utils, write_split
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.utils import proto_utils

from components.errors import ComponentError
from components.spark_example_gen import job
from components.spark_example_gen.driver import resolve_inputs
from components.spark_example_gen.inputs import Inputs
from components.spark_example_gen.java import JavaNotFoundError, find_java
from components.spark_example_gen.publish import MANIFEST, write_json
from components.spark_example_gen.sources import sources_from_json

_log = logging.getLogger(__name__)


class SparkExampleGenExecutor(base_beam_executor.BaseBeamExecutor):
    """A Beam executor by type, because TFX asks that of an ExampleGen; the work is Spark's."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[keys.EXAMPLES_KEY])
        quarantine = artifact_utils.get_single_instance(output_dict["quarantine"])
        inputs = resolve_inputs(exec_properties)
        decided = exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME)
        if decided and decided != inputs.fingerprint():
            raise ComponentError("the input changed while the run was starting; run again")
        request = make_request(exec_properties, inputs, examples.uri, quarantine.uri)
        manifest = run_job(request)
        _describe_examples(examples, manifest, exec_properties)
        _describe_quarantine(quarantine, manifest)


def make_request(
    exec_properties: dict[str, Any], inputs: Inputs, examples_uri: str, quarantine_uri: str
) -> job.JobRequest:
    """Execution properties to the job's request."""
    for uri in (examples_uri, quarantine_uri):
        if "://" in uri:
            raise ComponentError(f"SparkExampleGen writes to mounted file systems, not to {uri}")
    sources = sources_from_json(json.loads(exec_properties["sources"]))
    spark = json.loads(exec_properties["spark"])
    etl_parameters = json.loads(exec_properties["etl_parameters"])
    code = exec_properties["etl_code_sha256"]
    etl = {"path": exec_properties["etl"], "code_sha256": code, "parameters": etl_parameters}
    described = inputs.describe()
    for entry, source in zip(described, sources.values(), strict=True):
        entry |= {"format": source.format, "path": source.path}
    return job.JobRequest(
        sources={name: dataclasses.asdict(source) for name, source in sources.items()},
        files={name: [str(f.path) for f in files] for name, files in inputs.files.items()},
        spans=list(inputs.spans),
        etl=exec_properties["etl"],
        etl_parameters=etl_parameters,
        splits=_splits(exec_properties),
        spark_master=spark["master"],
        spark_conf=spark["conf"],
        row_accounting=exec_properties["row_accounting"],
        max_quarantine_fraction=exec_properties["max_quarantine_fraction"],
        examples_uri=examples_uri,
        quarantine_uri=quarantine_uri,
        manifest={
            "format_version": 1,
            "span": inputs.span,
            "version": inputs.version,
            "spans": list(inputs.spans),
            "input_base": str(inputs.base),
            "input_fingerprint": inputs.fingerprint(),
            "etl": etl,
            "sources": described,
        },
    )


def _splits(exec_properties: dict[str, Any]) -> dict[str, Any]:
    output = example_gen_pb2.Output()
    proto_utils.json_to_proto(exec_properties[keys.OUTPUT_CONFIG_KEY], output)
    config = output.split_config
    return {
        "names": [split.name for split in config.splits],
        "buckets": [split.hash_buckets for split in config.splits],
        "feature": config.partition_feature_name or None,
    }


def run_job(request: job.JobRequest) -> dict[str, Any]:
    """Runs the job in a child process and returns the manifest it published.

    Raises:
      ComponentError: with the job's own explanation, or with its last lines if it left none.
    """
    with tempfile.TemporaryDirectory(prefix="spark_example_gen-") as folder:
        request_path = Path(folder) / "request.json"
        write_json(request_path, dataclasses.asdict(request))
        command = [sys.executable, "-m", job.__name__, str(request_path)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closes with this process, which ends the job
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            text=True,
            errors="replace",
        )
        try:
            last_lines = _follow(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        answer_path = Path(folder) / job.ANSWER
        if not answer_path.exists():
            raise ComponentError(_died(process.returncode, last_lines))
        answer = json.loads(answer_path.read_text("utf-8"))
    if "error" in answer:
        raise ComponentError(answer["error"])
    manifest: dict[str, Any] = answer["manifest"]
    return manifest


def _follow(process: subprocess.Popen[str]) -> list[str]:
    """Hands the job's lines to the log until it ends; returns the last of them."""
    assert process.stdout is not None
    last_lines: deque[str] = deque(maxlen=20)
    started = time.monotonic()
    for line in process.stdout:
        text = line.rstrip()
        if text.startswith(job.PROGRESS):
            _log.info("%s", text[len(job.PROGRESS) :])
        elif text:
            last_lines.append(text)
            _log.debug("spark: %s", text)
    process.wait()
    _log.info("Spark job ended after %.0f s", time.monotonic() - started)
    return list(last_lines)


def _died(code: int, last_lines: list[str]) -> str:
    if code == -9:
        return "the Spark job was killed (signal 9): out of memory, or by hand; run again"
    tail = next((line for line in reversed(last_lines) if "Error" in line), "")
    return (
        f"the Spark job ended with code {code} and no answer; {tail or 'its output is in the log'}"
    )


def _environment() -> dict[str, str]:
    """The job's environment: this Python, a Java, and the folders modules are imported from."""
    try:
        java = find_java()
    except JavaNotFoundError as error:
        raise ComponentError(str(error)) from error
    ours = [str(Path(__file__).resolve().parents[2]), str(Path.cwd())]
    ours += [path for path in sys.path if path and not path.startswith(sys.prefix)]
    return {
        **os.environ,
        "JAVA_HOME": str(java.home),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(ours)),
        # Spark's own settings for this come too late for the first worker.
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
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
        "manifest": MANIFEST,
    }
    counts = {
        "rows_read": rows["read"],
        "rows_quarantined": rows["quarantined"],
        "rows_dropped": rows["dropped"],
        **{f"rows_{split}": count for split, count in rows["splits"].items()},
    }
    for name, text in texts.items():
        artifact.set_string_custom_property(name, text)
    for name, count in counts.items():
        artifact.set_int_custom_property(name, count)


def _describe_quarantine(artifact: types.Artifact, manifest: dict[str, Any]) -> None:
    artifact.set_int_custom_property("span", manifest["span"])
    artifact.set_int_custom_property("rows", manifest["rows"]["quarantined"])
    artifact.set_string_custom_property("reasons", json.dumps(manifest["quarantined"]))
