"""Runs one step of the compiled pipeline in its container: python -m kubeflow.step ARGUMENTS

It calls TFX's own entrypoint and adapts its input and output, because TFX assumes things that
open-source Kubeflow Pipelines does differently; see README.md, "What is adapted". Only the standard
library is imported before TFX, so that a broken image is reported in one line.
"""

from __future__ import annotations

import itertools
import json
import re
import runpy
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubeflow.delivery import FILES, check_delivered, listing
from kubeflow.step_account import ACCOUNT, account_of
from metadata.names import ABSENT

# Before TensorFlow is imported: no banner, and one Keras (docs/decisions.md).
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
SAYS = "kubeflow.step: "  # prefix of the line that says why a step failed

ENTRYPOINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
INVOCATION = "--json_serialized_invocation_args"
INPUTS_SPEC = "--json_serialized_inputs_spec_args"  # the step's own, with the types of its inputs
EXECUTOR, DATAFLOW = "--executor_class_path", "--runner=DataflowRunner"

SPAN, WINDOW = "span", "window"  # parameters of the pipeline
NEWEST = -1  # as `span`: the newest span
RANGE_CONFIG = "range_config"  # TFX's parameter for both

# Folders into which Kubeflow's launcher downloads, and from which it uploads.
LAUNCHER_FOLDERS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
_IMAGES = "oci://"  # an image that holds an artifact, mounted under a name without slashes
# Since 2.5.0 Kubeflow's driver adds this output, the step's log, which its launcher writes.
LOGS = "executor-logs"
# Metadata that Kubeflow adds to an input; they are not properties of the artifact.
_ADDED = ("display_name", "store_session_info", FILES)
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")


def main(arguments: Sequence[str]) -> int:
    """Runs TFX's entrypoint on Kubeflow's arguments; returns the exit status."""
    if INVOCATION not in arguments[:-1]:
        print(f"{SAYS}{INVOCATION} is missing; Kubeflow gives it", file=sys.stderr)
        return 2
    began = time.time()
    place = list(arguments).index(INVOCATION) + 1
    try:
        given = executor_input(arguments[place])
        names = dict(_names(given))
        elsewhere = works_elsewhere(arguments)
        if not elsewhere:
            _check_inputs(given)
        invocation = to_tfx_input(given, input_types(arguments), elsewhere)
        sys.argv = [ENTRYPOINT, *arguments[:place], json.dumps(invocation), *arguments[place + 1 :]]
        peak_mib = run_tfx()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except Exception as error:
        traceback.print_exc()
        print(SAYS + _one_line(error), file=sys.stderr, flush=True)
        return 1
    make_output_folders(invocation)
    output = Path(invocation["outputs"]["outputFile"])
    said = json.loads(output.read_text("utf-8"))
    _list_files(said)
    said = to_kubeflow_output(said, names)
    if ACCOUNT in given["outputs"].get("parameters", {}):
        used = invocation["inputs"]["parameterValues"]
        account = account_of(given, said, used, began, time.time(), peak_mib, ABSENT)
        said["parameterValues"] = {**said.get("parameterValues", {}), ACCOUNT: account.to_text()}
    output.write_text(json.dumps(said))
    return 0


def run_tfx() -> int:
    """Runs TFX's entrypoint; returns the peak memory of all processes in MiB.

    Raises:
      SystemExit: TFX ended with a status other than 0.
    """
    from base.peak_memory import PeakMemory, sampled

    peak = PeakMemory()
    with sampled(peak):
        try:
            runpy.run_module(ENTRYPOINT, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            if ended.code:
                raise
    return peak.mib


def make_output_folders(invocation: dict[str, Any]) -> None:
    """Makes the folders of outputs without files; some releases of Kubeflow fail without them."""
    for entry in invocation["outputs"].get("artifacts", {}).values():
        for artifact in entry["artifacts"]:
            folder = Path(artifact["uri"])
            if "://" not in artifact["uri"] and not folder.exists():
                folder.mkdir(parents=True)


def _check_inputs(given: dict[str, Any]) -> None:
    for key, entry in given.get("inputs", {}).get("artifacts", {}).items():
        for artifact in entry["artifacts"]:
            sent = artifact.get("metadata", {}).get(FILES)
            if sent is not None:
                check_delivered(key, Path(local_path(artifact["uri"])), sent)


def _list_files(output: dict[str, Any]) -> None:
    """Adds a listing of its files to each output in this container."""
    for entry in output.get("artifacts", {}).values():
        for artifact in entry.get("artifacts", []):
            path = Path(artifact["uri"])
            if "://" not in artifact["uri"] and path.exists():
                artifact.setdefault("metadata", {})[FILES] = listing(path)


def _json(option: str, text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"{option} is not valid JSON: {error}. Kubeflow puts pipeline parameters into it "
            "without escaping: none may have a quotation mark or a backslash"
        ) from None
    return found


def _one_line(error: Exception) -> str:
    missing = error.__cause__ or error  # runpy puts one of its own around it
    if isinstance(error, ImportError) and isinstance(missing, ModuleNotFoundError):
        return (
            f"the image has no module {missing.name}; build it again from kubeflow/Containerfile, "
            "with that module in requirements/"
        )
    from base.failures import one_line

    return one_line(error)


def works_elsewhere(arguments: Sequence[str]) -> bool:
    """Returns whether Dataflow's workers, which see no folder of this container, use the artifacts.

    They do in TFX's own Beam steps and in the Evaluator. Our other components get the same options,
    but work in this container.
    """
    executor = dict(itertools.pairwise(arguments)).get(EXECUTOR, "")
    return DATAFLOW in arguments and executor.startswith(("tfx.", "components.evaluator."))


def executor_input(text: str) -> dict[str, Any]:
    """Parses Kubeflow's ExecutorInput, and removes Kubeflow's own output from it.

    Raises:
      ValueError: It is not valid JSON.
    """
    given = _json(INVOCATION, text)
    given["outputs"].get("artifacts", {}).pop(LOGS, None)
    return given


def input_types(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns input -> ArtifactTypeSchema from the compiled step; Kubeflow omits the types."""
    spec = _json(INPUTS_SPEC, dict(itertools.pairwise(arguments)).get(INPUTS_SPEC, "{}"))
    return {key: one["artifactType"] for key, one in spec.get("artifacts", {}).items()}


def to_tfx_input(
    given: dict[str, Any], types: Mapping[str, Any], elsewhere: bool = False
) -> dict[str, Any]:
    """Returns an ExecutorInput in the form that TFX expects.

    Args:
      given: ExecutorInput of KFP, as JSON.
      types: Input -> ArtifactTypeSchema.
      elsewhere: Whether artifacts are used by their URIs instead of in this container.
    """
    invocation: dict[str, Any] = json.loads(json.dumps(given))
    inputs = invocation.setdefault("inputs", {})
    # This module writes it itself; TFX rejects a parameter that its component does not declare.
    invocation["outputs"].get("parameters", {}).pop(ACCOUNT, None)
    found = inputs.get("artifacts", {})
    inputs["artifacts"] = {key: one for key, one in found.items() if not _is_absent(one)}
    for key, entry in inputs["artifacts"].items():
        for artifact in entry["artifacts"]:
            artifact["type"] = types.get(key, artifact.get("type", {}))
            for name in _ADDED:
                artifact.get("metadata", {}).pop(name, None)
    for artifact in _artifacts(invocation):
        artifact["uri"] = artifact["uri"] if elsewhere else local_path(artifact["uri"])
        artifact["name"] = artifact["uri"]  # TFX takes it for an id, and two models need two
    parameters = inputs.setdefault("parameterValues", {})
    for key, value in parameters.items():
        if isinstance(value, str):
            parameters[key] = _PLACEHOLDER.sub(lambda m: str(parameters[m.group(1)]), value)
    if SPAN in parameters:
        span, window = int(parameters.pop(SPAN)), int(parameters.pop(WINDOW))
        parameters[RANGE_CONFIG] = json.dumps(range_config(span, window))
    return invocation


def to_kubeflow_output(output: dict[str, Any], names: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Returns an ExecutorOutput with Kubeflow's names and URIs.

    Args:
      output: ExecutorOutput that TFX wrote, as JSON.
      names: Local path of an artifact -> its name and URI at Kubeflow.
    """
    for entry in output.get("artifacts", {}).values():
        for artifact in entry.get("artifacts", []):
            if artifact["uri"] in names:
                artifact["name"], artifact["uri"] = names[artifact["uri"]]
            metadata = artifact.get("metadata", {})
            for key, value in metadata.items():  # a blessing names the models that it compared
                if isinstance(value, str) and value in names:
                    metadata[key] = names[value][0 if key.endswith("_id") else 1]
    return output


def range_config(span: int, window: int) -> dict[str, Any]:
    """Returns TFX's RangeConfig, as JSON, for the `window` spans up to `span`."""
    if window < 1:
        raise ValueError(f"window must be at least 1 span. Received: {window}")
    if span == NEWEST:
        return {"rollingRange": {"numSpans": window}}
    return {"staticRange": {"startSpanNumber": span - window + 1, "endSpanNumber": span}}


def local_path(uri: str) -> str:
    """Returns the path of an artifact in the container."""
    for scheme, folder in LAUNCHER_FOLDERS.items():
        if uri.startswith(scheme):
            return folder + uri.removeprefix(scheme)
    if uri.startswith(_IMAGES):
        return f"/oci/{uri.removeprefix(_IMAGES).replace('/', '_')}/models"
    return uri


def _names(given: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    for artifact in _artifacts(given):
        known = artifact.get("name", ""), artifact["uri"]
        yield artifact["uri"], known
        yield local_path(artifact["uri"]), known


def _artifacts(invocation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for side in ("inputs", "outputs"):
        for entry in invocation.get(side, {}).get("artifacts", {}).values():
            yield from entry["artifacts"]


def _is_absent(entry: dict[str, Any]) -> bool:
    return all(one.get("metadata", {}).get(ABSENT) for one in entry["artifacts"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
