"""What Kubernetes gives to a step beyond its container: the second document of a compiled pipeline.

The format is that of kfp-kubernetes: KubernetesExecutorConfig, by the label of an executor.
"""

from __future__ import annotations

from typing import Any

from kubeflow.spec import Spec, executor_label, tasks_of
from pipeline.config import PipelineConfig
from pipeline.kubeflow_section import Step, Toleration


def platform_spec(config: PipelineConfig, spec: Spec) -> dict[str, Any]:
    """A KFP PlatformSpec, as plain data; empty if nothing is asked for.

    Args:
      config: its `kubeflow` section says volumes, secrets and nodes.
      spec: compiled of it.
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
    """A line for each step that is to bear the end of its node.

    A retry has a number and a delay in KFP's formats, and no policy; Argo's own, OnFailure, leaves
    out pods that are deleted (argocompiler/container.go of KFP 2.17).
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
    """Labels of the nodes that a step may run on, and the taints that it bears."""
    spot = config.kubeflow.spot_nodes
    if not settings.spot:
        return settings.node_selector, settings.tolerations
    return (
        {**spot.selector, **settings.node_selector},
        [*spot.tolerations, *settings.tolerations],
    )


def _toleration(one: Toleration) -> dict[str, str]:
    return one.model_dump(exclude_none=True)
