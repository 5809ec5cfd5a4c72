"""The section `kubeflow` of a config: settings of the compiled pipeline and of its steps."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from base.errors import first_problem
from base.section import Section

ALL = "default"  # key of `steps` with the settings of steps that have none of their own
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")  # name of an object in Kubernetes


class Toleration(Section):
    """A toleration of a node's taint, as in a pod's spec."""

    key: str = Field(min_length=1, description="key of the taint")
    operator: Literal["Exists", "Equal"] = Field("Exists", description="how the value is compared")
    value: str | None = Field(None, description="value of the taint, with `operator: Equal`")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="effect of the taint; null for every effect"
    )

    @model_validator(mode="after")
    def _value_to_compare(self) -> Toleration:
        if (self.value is None) == (self.operator == "Equal"):
            raise ValueError("`value` must be there with `operator: Equal`, and only then")
        return self


class Nodes(Section):
    """Nodes that may be taken away at any time, for steps with `spot: true`."""

    selector: dict[str, str] = Field(default_factory=dict, description="labels of the nodes")
    tolerations: list[Toleration] = Field(
        default_factory=list, description="tolerations of their taints"
    )


class Step(Section):
    """The resources and nodes that one step requests from Kubernetes."""

    cpu: float | None = Field(None, gt=0, description="cores that it asks for")
    cpu_limit: float | None = Field(None, gt=0, description="cores that it gets at most")
    memory_gb: float | None = Field(None, gt=0, description="memory that it asks for, 10^9 bytes")
    memory_limit_gb: float | None = Field(
        None, gt=0, description="memory beyond which it is killed, 10^9 bytes"
    )
    gpus: int = Field(0, ge=0, description="number of GPUs")
    gpu_resource: str = Field("nvidia.com/gpu", description="name that the device plugin gives")
    retries: int = Field(0, ge=0, le=20, description="how often it is tried again")
    backoff_seconds: int = Field(
        60, ge=0, description="seconds before the first retry; each later wait is twice as long"
    )
    spot: bool = Field(False, description="whether it may run on `spot_nodes`; needs retries")
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="labels of the nodes that it may run on"
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, description="tolerations of the taints of these nodes"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Step:
        for what in ("cpu", "memory"):
            asked = getattr(self, "cpu" if what == "cpu" else "memory_gb")
            most = getattr(self, "cpu_limit" if what == "cpu" else "memory_limit_gb")
            if asked is not None and most is not None and asked > most:
                raise ValueError(f"it asks for more {what} ({asked:g}) than its limit ({most:g})")
        return self


class Volume(Section):
    """A PersistentVolumeClaim that all steps mount (access mode ReadWriteMany)."""

    claim: str = Field(description="name of the claim")
    path: str = Field(description="absolute path that it is mounted at")

    @field_validator("claim")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"expected a name of a-z, 0-9, '-' and '.'. Received: {value}")
        return value

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not PurePosixPath(value).is_absolute() or value == "/":
            raise ValueError(f"expected an absolute path below /. Received: {value}")
        return value


class SecretVariable(Section):
    """A key of a Secret that a step gets in a variable. The value is never in the spec."""

    secret: str = Field(description="name of the Secret")
    key: str = Field(description="key within the Secret")
    variable: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="environment variable of the step"
    )
    steps: list[str] = Field(min_length=1, description="ids of the components that see it")


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Checks the settings of one step."""
    Step.model_validate(given)
    return given


class Kubeflow(Section):
    """Where the compiled pipeline runs."""

    image: str = Field("spark-tfx-pipeline:latest", description="image of all steps")
    pipeline_root: str = Field(
        "minio://mlpipeline/v2/artifacts",
        description="where artifacts lie; Kubeflow adds pipeline and run",
    )
    data_root: str = Field("/mnt/pipeline/data", description="`data_root` as the steps see it")
    serving_root: str = Field(
        "/mnt/pipeline/serving_models", description="`serving_root` as the steps see it"
    )
    volumes: list[Volume] = Field(
        [Volume(claim="pipeline", path="/mnt/pipeline")], description="volumes of all steps"
    )
    secrets: list[SecretVariable] = Field(
        default_factory=list, description="keys of Secrets that steps find in variables"
    )
    spot_nodes: Nodes = Field(Nodes(), description="nodes for steps with `spot: true`")
    steps: dict[str, Annotated[dict[str, Any], AfterValidator(_settings)]] = Field(
        default_factory=dict,
        description=f"id of a component -> its settings; `{ALL}` for those of all the others",
    )

    @model_validator(mode="after")
    def _steps_in_order(self) -> Kubeflow:
        for name in self.steps:
            try:
                step = self.step(name)
            except ValidationError as error:
                where = f"steps.{name}.{first_problem(error)}"
                raise ValueError(where.replace(".: ", ": ")) from None
            if step.spot and not step.retries:
                raise ValueError(f"steps.{name}: a step on spot nodes needs `retries`")
        return self

    @property
    def named_steps(self) -> list[str]:
        return [name for name in self.steps if name != ALL]

    def step(self, name: str) -> Step:
        """Returns the settings of a component, which override those of `default`."""
        return Step.model_validate({**self.steps.get(ALL, {}), **self.steps.get(name, {})})
