"""One step of the compiled pipeline, in its container: python -m kubeflow.step ARGUMENTS

What runs is TFX's own entrypoint. This one stands before it and puts right what TFX takes for
granted and open-source Kubeflow Pipelines does otherwise; see README.md, "What is put right".
Nothing but the standard library is imported before TFX is: a broken image says so in a line.
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
SAYS = "kubeflow.step: "  # begins the line that says why a step failed

ENTRYPOINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
INVOCATION = "--json_serialized_invocation_args"
INPUTS_SPEC = "--json_serialized_inputs_spec_args"  # the step's own, with the types of its inputs
EXECUTOR, DATAFLOW = "--executor_class_path", "--runner=DataflowRunner"

SPAN, WINDOW = "span", "window"  # parameters of the pipeline
NEWEST = -1  # as `span`: the newest one that is there
RANGE_CONFIG = "range_config"  # what TFX calls both together

# Where Kubeflow's launcher puts what it downloads, and finds what it uploads.
LAUNCHER_FOLDERS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
_IMAGES = "oci://"  # an image that holds an artifact, mounted under a name without slashes
# An output of Kubeflow's own: since 2.5.0 its driver adds the step's log; its launcher writes it.
LOGS = "executor-logs"
# In the metadata of an input, by Kubeflow: no property that a step gave.
_ADDED = ("display_name", "store_session_info", FILES)
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")


def main(arguments: Sequence[str]) -> int:
    """Runs TFX's entrypoint on what Kubeflow says; returns the exit status."""
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
    """Returns the most memory that all processes held, in MiB.

    Raises:
      SystemExit: TFX ended with another status than 0.
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
    """An output without a file has its folder: some releases of Kubeflow fail without."""
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
    """Says of each output in this container what files it has."""
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
            f"{option} is no JSON: {error}. Kubeflow puts parameters of the pipeline into it as "
            "they are: none may have a quotation mark or a backslash"
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
    """Whether Dataflow's workers read and write the artifacts, who see no folder of this container.

    That is TFX's own Beam steps, and the Evaluator, which is one of these; our others are given the
    same options and do their work here.
    """
    executor = dict(itertools.pairwise(arguments)).get(EXECUTOR, "")
    return DATAFLOW in arguments and executor.startswith(("tfx.", "components.evaluator."))


def executor_input(text: str) -> dict[str, Any]:
    """What Kubeflow gives a step, without the output that is Kubeflow's own.

    Raises:
      ValueError: it is no JSON.
    """
    given = _json(INVOCATION, text)
    given["outputs"].get("artifacts", {}).pop(LOGS, None)
    return given


def input_types(arguments: Sequence[str]) -> dict[str, Any]:
    """Input -> its ArtifactTypeSchema, as the step was compiled: Kubeflow gives inputs without."""
    spec = _json(INPUTS_SPEC, dict(itertools.pairwise(arguments)).get(INPUTS_SPEC, "{}"))
    return {key: one["artifactType"] for key, one in spec.get("artifacts", {}).items()}


def to_tfx_input(
    given: dict[str, Any], types: Mapping[str, Any], elsewhere: bool = False
) -> dict[str, Any]:
    """An ExecutorInput as TFX understands it.

    Args:
      given: ExecutorInput of KFP, as JSON.
      types: Input -> ArtifactTypeSchema.
      elsewhere: artifacts are reached by their URIs, not in this container.
    """
    invocation: dict[str, Any] = json.loads(json.dumps(given))
    inputs = invocation.setdefault("inputs", {})
    # What this module says itself; TFX refuses a parameter that no artifact of its own gives.
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
        artifact["name"] = artifact["uri"]  # which TFX takes for an id: two models have two
    parameters = inputs.setdefault("parameterValues", {})
    for key, value in parameters.items():
        if isinstance(value, str):
            parameters[key] = _PLACEHOLDER.sub(lambda m: str(parameters[m.group(1)]), value)
    if SPAN in parameters:
        span, window = int(parameters.pop(SPAN)), int(parameters.pop(WINDOW))
        parameters[RANGE_CONFIG] = json.dumps(range_config(span, window))
    return invocation


def to_kubeflow_output(output: dict[str, Any], names: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """An ExecutorOutput with the names and places that Kubeflow knows.

    Args:
      output: ExecutorOutput, as JSON, that TFX wrote.
      names: local path of an artifact -> its name and URI at Kubeflow.
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
    """TFX's RangeConfig, as JSON, of the `window` spans up to `span`."""
    if window < 1:
        raise ValueError(f"window: {window} spans; at least one is read")
    if span == NEWEST:
        return {"rollingRange": {"numSpans": window}}
    return {"staticRange": {"startSpanNumber": span - window + 1, "endSpanNumber": span}}


def local_path(uri: str) -> str:
    """Where an artifact lies in the container."""
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
