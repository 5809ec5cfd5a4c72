"""The account of a step, a parameter from which the last step writes the run's report.

Kubeflow gives a step its input artifacts and tells it nothing else about the run. This module uses
only the standard library, as step.py requires.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from kubeflow.delivery import FILES

Json = dict[str, Any]
ACCOUNT = "account"  # name of the parameter
# The last step gets all accounts in one argument of its command. Argo stores that argument twice in
# a variable, as JSON in JSON, and Linux limits each to 128 KiB. So an account is compressed to text
# that needs no escaping, and is cut until it is short enough.
_MOST = 2_500  # characters
_CUTS = ((2_000, 2_000), (300, 2_000), (0, 2_000), (0, 300), (0, 0))
_TITLE = re.compile(r"^title: (\S+)$", re.MULTILINE)  # in a type's schema, which is YAML
# Metadata for the launcher's login and for the next step only.
_NOT_TOLD = ("store_session_info", FILES)


@dataclasses.dataclass(frozen=True)
class StepAccount:
    """The account of one step.

    Attributes:
      began, ended: Seconds since the epoch.
      peak_mib: Peak resident memory of all its processes, sampled, in MiB.
      parameters: Parameters as the step used them.
      outputs: Key -> RuntimeArtifact with only the title of its type; absent ones are left out.
    """

    began: float
    ended: float
    peak_mib: int
    parameters: Json
    outputs: dict[str, Json]

    def to_text(self) -> str:
        """Encodes the account; long parameters, then long metadata, are cut to reach the limit."""
        for parameter, metadata in _CUTS:
            text = self._cut(parameter, metadata)._encoded()
            if len(text) <= _MOST:
                break
        return text

    @classmethod
    def from_text(cls, text: str) -> StepAccount:
        """Decodes an account.

        Raises:
          ValueError: The text is no account, or one of another version.
        """
        try:
            return cls(**json.loads(zlib.decompress(base64.b64decode(text, validate=True))))
        except (zlib.error, TypeError) as error:
            raise ValueError(f"no account of a step: {error}") from error

    def _encoded(self) -> str:
        content = json.dumps(dataclasses.asdict(self)).encode()
        return base64.b64encode(zlib.compress(content, 9)).decode()

    def _cut(self, parameter: int, metadata: int) -> StepAccount:
        outputs = {
            key: {**one, "metadata": _cut(one["metadata"], metadata)}
            for key, one in self.outputs.items()
        }
        return dataclasses.replace(
            self, parameters=_cut(self.parameters, parameter), outputs=outputs
        )


def account_of(
    executor_input: Json,
    executor_output: Json,
    parameters: Json,
    began: float,
    ended: float,
    peak_mib: int,
    absent: str,
) -> StepAccount:
    """Returns the account of a step that has ended.

    Args:
      executor_input: ExecutorInput as Kubeflow gave it.
      executor_output: ExecutorOutput with Kubeflow's names and URIs.
      parameters: Parameters as TFX got them.
      began, ended, peak_mib: As in StepAccount.
      absent: Name of the property that marks an artifact as absent.
    """
    outputs = {
        key: _known(merge_output(artifact, executor_output, key))
        for key, artifact in _outputs(executor_input)
    }
    there = {key: one for key, one in outputs.items() if not one["metadata"].get(absent)}
    return StepAccount(began, ended, peak_mib, parameters, there)


def merge_output(artifact: Json, executor_output: Json, key: str) -> Json:
    """Returns an output, a RuntimeArtifact, with the URI and metadata that the container wrote."""
    said = executor_output.get("artifacts", {}).get(key, {}).get("artifacts", [])
    more: Json = next(iter(said), {})
    return {
        **artifact,
        "uri": more.get("uri") or artifact["uri"],
        "metadata": {**artifact.get("metadata", {}), **more.get("metadata", {})},
    }


def _outputs(executor_input: Json) -> Iterator[tuple[str, Json]]:
    for key, entry in executor_input["outputs"].get("artifacts", {}).items():
        for one in entry["artifacts"]:
            yield key, one


def _known(artifact: Json) -> Json:
    metadata = {k: v for k, v in artifact["metadata"].items() if k not in _NOT_TOLD}
    kind = artifact.get("type", {})
    title = _TITLE.search(kind.get("instanceSchema", ""))
    kind = {"schemaTitle": title.group(1)} if title else kind
    return {"uri": artifact["uri"], "type": kind, "metadata": metadata}


def _cut(values: Mapping[str, Any], longest: int) -> Json:
    """Cuts texts, and lists and objects as JSON texts; returns {} if `longest` is 0."""
    if not longest:
        return {}
    plain = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in values.items()}
    return {
        key: value[:longest] + "…" if isinstance(value, str) and len(value) > longest else value
        for key, value in plain.items()
    }
