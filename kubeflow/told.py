"""What each step tells the last one, which writes the run's report: a parameter, as JSON.

Kubeflow gives a step the artifacts that it takes, downloaded whole, and not a word of what else the
run did. So each step says in a few kilobytes what it took, gave, and how long it needed.
Standard library only, for step.py.
"""

from __future__ import annotations

import dataclasses
import json
import re
import resource
import time
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
TOLD = "told"  # the parameter
# The last step is given what all have told in one argument of its command, of which Linux takes
# 128 KiB: characters of one text, the first of these with which the whole is short enough.
_LONGEST = (2_000, 300, 60)
_MOST = 6_000  # of the whole
_KIB_PER_MIB = 1024
_TITLE = re.compile(r"^title: (\S+)$", re.MULTILINE)  # in a type's schema, which is YAML
_NOT_SAID = "store_session_info"  # the launcher's own note in an artifact: how it logs in


@dataclasses.dataclass(frozen=True)
class Told:
    """One step.

    Attributes:
      began, ended: seconds since the epoch.
      peak_mib: resident memory of its process, and of the largest of those that it waited for.
      parameters: as it used them.
      inputs: key -> URI; without those that were not there.
      outputs: key -> RuntimeArtifact, of its type only the title.
    """

    began: float
    ended: float
    peak_mib: int
    parameters: Json
    inputs: dict[str, str]
    outputs: dict[str, Json]

    def to_json(self) -> str:
        """With long texts cut."""
        for longest in _LONGEST:
            text = json.dumps(_cut(dataclasses.asdict(self), longest), ensure_ascii=False)
            if len(text) <= _MOST:
                break
        return text

    @classmethod
    def from_json(cls, text: str) -> Told:
        """Raises ValueError or TypeError for what another version of a step has told."""
        return cls(**json.loads(text))


def told(given: Json, parameters: Json, said: Json, began: float, absent: str) -> Told:
    """Of a step that ends now.

    Args:
      given: ExecutorInput.
      parameters: as TFX got them.
      said: ExecutorOutput, with Kubeflow's names and places.
      began: seconds since the epoch.
      absent: property of an artifact that is not there.
    """
    inputs = {
        key: one["uri"]
        for key, one in _single(given, "inputs")
        if not one.get("metadata", {}).get(absent)
    }
    outputs = {key: _known(merged(one, said, key)) for key, one in _single(given, "outputs")}
    return Told(
        began=began,
        ended=time.time(),
        peak_mib=_peak_mib(),
        parameters=parameters,
        inputs=inputs,
        outputs={key: one for key, one in outputs.items() if not one["metadata"].get(absent)},
    )


def merged(artifact: Json, said: Json, key: str) -> Json:
    """An output, a RuntimeArtifact, with what the container says of it in its ExecutorOutput."""
    (more,) = said.get("artifacts", {}).get(key, {}).get("artifacts", [{}])
    return {
        **artifact,
        "uri": more.get("uri") or artifact["uri"],
        "metadata": {**artifact.get("metadata", {}), **more.get("metadata", {})},
    }


def _single(given: Json, side: str) -> Iterator[tuple[str, Json]]:
    for key, entry in given.get(side, {}).get("artifacts", {}).items():
        for one in entry["artifacts"]:
            yield key, one


def _known(artifact: Json) -> Json:
    metadata = {k: v for k, v in artifact["metadata"].items() if k != _NOT_SAID}
    title = _TITLE.search(artifact["type"].get("instanceSchema", ""))
    kind = {"schemaTitle": title.group(1)} if title else artifact["type"]
    return {"uri": artifact["uri"], "type": kind, "metadata": metadata}


def _cut(value: Any, longest: int) -> Any:
    if isinstance(value, dict):
        return {key: _cut(one, longest) for key, one in value.items()}
    long = isinstance(value, str) and len(value) > longest
    return value[:longest] + "…" if long else value


def _peak_mib() -> int:
    """Not the sum at one time, which nobody has watched: no less than the largest process."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(one).ru_maxrss for one in whose) // _KIB_PER_MIB
