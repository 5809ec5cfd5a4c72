"""Makes the PlatformSpec, the second document of a compiled pipeline.

It has the volumes, secrets and nodes of each step. The format is kfp-kubernetes's
KubernetesExecutorConfig, keyed by executor label.
"""

from __future__ import annotations

from typing import Any

from kubeflow.spec import Spec, executor_label, tasks_of
from pipeline.config import PipelineConfig
from pipeline.kubeflow_section import Step, Toleration


def platform_spec(config: PipelineConfig, spec: Spec) -> dict[str, Any]:
    """Returns a KFP PlatformSpec as plain data; {} if no step needs one.

    Args:
      config: Config whose `kubeflow` section names volumes, secrets and nodes.
      spec: PipelineSpec that was compiled from it.
    """
    executors = {}
    for name in sorted(tasks_of(spec)):
        found = _executor(config, name)
        if found:
            executors[executor_label(spec, name)] = found
    if not executors:
        return {}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def spot_warnings(config: PipelineConfig) -> list[str]:
    """Returns a warning for each step on spot nodes.

    KFP's formats give a retry a number and a delay, but no policy. Argo's default, OnFailure, does
    not retry deleted pods (argocompiler/container.go of KFP 2.17).
    """
    where = config.kubeflow
    spot = [name for name in where.steps if where.step(name).spot]
    return [
        f"kubeflow.steps.{name}: on spot nodes Kubeflow tries a command that failed again, but "
        "not one whose pod is deleted with its node: then the run fails, and `Retry` on its page "
        "goes on with that step"
        for name in spot
    ]


def _executor(config: PipelineConfig, name: str) -> dict[str, Any]:
    where, settings = config.kubeflow, config.kubeflow.step(name)
    secrets = [
        {
            "secretName": one.secret,
            "keyToEnv": [{"secretKey": one.key, "envVar": one.variable}],
        }
        for one in where.secrets
        if name in one.steps
    ]
    volumes = [{"constant": one.claim, "mountPath": one.path} for one in where.volumes]
    labels, tolerations = _nodes(config, settings)
    found = {
        "pvcMount": volumes,
        "secretAsEnv": secrets,
        "nodeSelector": {"labels": labels} if labels else None,
        "tolerations": [_toleration(one) for one in tolerations],
    }
    return {key: value for key, value in found.items() if value}


def _nodes(config: PipelineConfig, settings: Step) -> tuple[dict[str, str], list[Toleration]]:
    """Returns the labels of the nodes that a step may run on, and its tolerations."""
    spot = config.kubeflow.spot_nodes
    if not settings.spot:
        return settings.node_selector, settings.tolerations
    return (
        {**spot.selector, **settings.node_selector},
        [*spot.tolerations, *settings.tolerations],
    )


def _toleration(one: Toleration) -> dict[str, str]:
    return one.model_dump(exclude_none=True)
