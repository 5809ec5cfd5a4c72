"""The section `kubeflow` of a config: where the compiled pipeline runs, and what each step gets."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from base.errors import first_problem
from base.section import Section

ALL = "default"  # of `steps`: what holds for each that says nothing else
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")  # of an object in Kubernetes


class Toleration(Section):
    """Of a node's taint, as in a pod."""

    key: str = Field(min_length=1)
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _value_to_compare(self) -> Toleration:
        if (self.value is None) == (self.operator == "Equal"):
            raise ValueError("a value goes with `operator: Equal`, and only with it")
        return self


class Nodes(Section):
    """Nodes that may be taken away at any time, for steps with `spot: true`."""

    selector: dict[str, str] = Field(default_factory=dict, description="labels of the nodes")
    tolerations: list[Toleration] = Field(default_factory=list)


class Step(Section):
    """What one step asks Kubernetes for."""

    cpu: float | None = Field(None, gt=0, description="cores that it asks for")
    cpu_limit: float | None = Field(None, gt=0, description="cores that it gets at most")
    memory_gb: float | None = Field(None, gt=0, description="that it asks for, in 10^9 bytes")
    memory_limit_gb: float | None = Field(None, gt=0, description="beyond which it is killed")
    gpus: int = Field(0, ge=0)
    gpu_resource: str = Field("nvidia.com/gpu", description="name that the device plugin gives")
    retries: int = Field(0, ge=0, le=20)
    backoff_seconds: int = Field(60, ge=0, description="before the first retry; then twice as long")
    spot: bool = Field(False, description="may run on `spot_nodes`; needs retries")
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> Step:
        for what in ("cpu", "memory"):
            asked = getattr(self, "cpu" if what == "cpu" else "memory_gb")
            most = getattr(self, "cpu_limit" if what == "cpu" else "memory_limit_gb")
            if asked is not None and most is not None and asked > most:
                raise ValueError(f"it asks for more {what} ({asked:g}) than its limit ({most:g})")
        return self


class Volume(Section):
    """A PersistentVolumeClaim that all steps see (access mode ReadWriteMany)."""

    claim: str
    path: str

    @field_validator("claim")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"{value} is no name in Kubernetes: a-z, 0-9, '-' and '.'")
        return value

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not PurePosixPath(value).is_absolute() or value == "/":
            raise ValueError(f"{value} is no absolute path")
        return value


class SecretVariable(Section):
    """A key of a Secret that a step finds in a variable; the value is never in the spec."""

    secret: str
    key: str
    variable: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    steps: list[str] = Field(min_length=1, description="who sees it")


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Checks the settings that one step has of its own."""
    Step.model_validate(given)
    return given


class Kubeflow(Section):
    """Where the compiled pipeline runs."""

    image: str = "spark-tfx-pipeline:latest"
    pipeline_root: str = Field(
        "minio://mlpipeline/v2/artifacts", description="artifacts; KFP adds pipeline and run"
    )
    data_root: str = "/mnt/pipeline/data"
    serving_root: str = "/mnt/pipeline/serving_models"
    volumes: list[Volume] = Field([Volume(claim="pipeline", path="/mnt/pipeline")])
    secrets: list[SecretVariable] = Field(default_factory=list)
    spot_nodes: Nodes = Nodes()
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
        """The settings of a component: what it says, else what all say."""
        return Step.model_validate({**self.steps.get(ALL, {}), **self.steps.get(name, {})})
