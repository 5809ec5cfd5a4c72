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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kubeflow.step_account import ACCOUNT, account_of

# Before TensorFlow is imported: no banner, and one Keras (docs/decisions.md).
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
SAYS = "kubeflow.step: "  # begins the line that says why a step failed

ENTRYPOINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
INVOCATION = "--json_serialized_invocation_args"
EXECUTOR, DATAFLOW = "--executor_class_path", "--runner=DataflowRunner"
ABSENT = "absent"  # in the metadata of an artifact: a step had to write one and had none to give

SPAN, WINDOW = "span", "window"  # parameters of the pipeline
NEWEST = -1  # as `span`: the newest one that is there
RANGE_CONFIG = "range_config"  # what TFX calls both together

# Where Kubeflow's launcher puts what it downloads, and finds what it uploads.
_LOCAL = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/", "oci://": "/oci/"}
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")


def main(arguments: Sequence[str]) -> int:
    """Runs TFX's entrypoint on what Kubeflow says; returns the exit status."""
    if INVOCATION not in arguments[:-1]:
        print(f"{SAYS}{INVOCATION} is missing; Kubeflow gives it", file=sys.stderr)
        return 2
    began = time.time()
    place = list(arguments).index(INVOCATION) + 1
    given = json.loads(arguments[place])
    names = dict(_names(given))
    try:
        invocation = for_tfx(given, works_elsewhere(arguments))
        sys.argv = [ENTRYPOINT, *arguments[:place], json.dumps(invocation), *arguments[place + 1 :]]
        peak_mib = _run_tfx()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except Exception as error:
        traceback.print_exc()
        print(SAYS + _one_line(error), file=sys.stderr, flush=True)
        return 1
    _make_folders(invocation)
    output = Path(invocation["outputs"]["outputFile"])
    said = for_kubeflow(json.loads(output.read_text("utf-8")), names)
    if ACCOUNT in given["outputs"].get("parameters", {}):
        used = invocation["inputs"]["parameterValues"]
        account = account_of(given, said, used, began, time.time(), peak_mib, ABSENT)
        said["parameterValues"] = {**said.get("parameterValues", {}), ACCOUNT: account.to_text()}
    output.write_text(json.dumps(said))
    return 0


def _run_tfx() -> int:
    """Returns the most memory that all processes held, in MiB.

    Raises:
      SystemExit: TFX ended with another status than 0.
    """
    from components.peak_memory import PeakMemory, sampled

    peak = PeakMemory()
    with sampled(peak):
        try:
            runpy.run_module(ENTRYPOINT, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            if ended.code:
                raise
    return peak.mib


def _make_folders(invocation: dict[str, Any]) -> None:
    """An output without a file has its folder: some releases of Kubeflow fail without."""
    for entry in invocation["outputs"].get("artifacts", {}).values():
        for artifact in entry["artifacts"]:
            folder = Path(artifact["uri"])
            if "://" not in artifact["uri"] and not folder.exists():
                folder.mkdir(parents=True)


def _one_line(error: Exception) -> str:
    missing = error.__cause__ or error  # runpy puts one of its own around it
    if isinstance(error, ImportError) and isinstance(missing, ModuleNotFoundError):
        return (
            f"the image has no module {missing.name}; build it again from kubeflow/Containerfile, "
            "with that module in requirements/"
        )
    from components.failures import one_line

    return one_line(error)


def works_elsewhere(arguments: Sequence[str]) -> bool:
    """Whether Dataflow's workers read and write the artifacts, who see no folder of this container.

    That is TFX's own Beam steps, and the Evaluator, which is one of these; our others are given the
    same options and do their work here.
    """
    executor = dict(itertools.pairwise(arguments)).get(EXECUTOR, "")
    return DATAFLOW in arguments and executor.startswith(("tfx.", "components.evaluator."))


def for_tfx(given: dict[str, Any], elsewhere: bool = False) -> dict[str, Any]:
    """An ExecutorInput as TFX understands it.

    Args:
      given: ExecutorInput of KFP, as JSON.
      elsewhere: artifacts are reached by their URIs, not in this container.
    """
    invocation: dict[str, Any] = json.loads(json.dumps(given))
    inputs = invocation.setdefault("inputs", {})
    # What this module says itself; TFX refuses a parameter that no artifact of its own gives.
    invocation.get("outputs", {}).get("parameters", {}).pop(ACCOUNT, None)
    found = inputs.get("artifacts", {})
    inputs["artifacts"] = {key: one for key, one in found.items() if not _is_absent(one)}
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


def for_kubeflow(output: dict[str, Any], names: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """An ExecutorOutput with the names and places that Kubeflow knows.

    Args:
      output: ExecutorOutput, as JSON, that TFX wrote.
      names: local path of an artifact -> its name and URI at Kubeflow.
    """
    for entry in output.get("artifacts", {}).values():
        for artifact in entry.get("artifacts", []):
            if artifact["uri"] in names:
                artifact["name"], artifact["uri"] = names[artifact["uri"]]
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
    for scheme, folder in _LOCAL.items():
        if uri.startswith(scheme):
            return folder + uri.removeprefix(scheme)
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
