"""The config's Kubernetes settings in the compiled pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeflow.platform_spec import platform_spec, spot_warnings
from kubeflow.spec import compile_pipeline, container_of, tasks_of
from pipeline.config import ConfigError, load_config

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
Compile = Callable[[str], tuple[dict[str, Any], dict[str, Any]]]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Compile:
    """Compiles both documents of the ctr pipeline with this `kubeflow` section."""
    monkeypatch.chdir(ROOT)

    def compile_with(section: str) -> tuple[dict[str, Any], dict[str, Any]]:
        overrides = [f"kubeflow.{key}={yaml.dump(value, default_flow_style=True).strip()}"
                     for key, value in yaml.safe_load(section).items()]  # fmt: skip
        config = load_config("applications/ctr/configs/ctr.yaml", overrides)
        spec = compile_pipeline(config)
        platform = platform_spec(config, spec)
        if not platform:
            return spec, {}
        return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    return compile_with


def test_each_step_asks_for_what_it_needs(compiled: Compile) -> None:
    spec, _ = compiled("""
        steps:
          default: {cpu: 0.5, memory_gb: 2}
          Trainer: {cpu: 4, cpu_limit: 8, memory_gb: 16, memory_limit_gb: 20, gpus: 2}
          Pusher: {memory_gb: 1.5}
    """)
    assert container_of(spec, "Transform")["resources"] == {"cpuRequest": 0.5, "memoryRequest": 2}
    assert container_of(spec, "Pusher")["resources"] == {"cpuRequest": 0.5, "memoryRequest": 1.5}
    assert container_of(spec, "Trainer")["resources"] == {
        "cpuRequest": 4,
        "cpuLimit": 8,
        "memoryRequest": 16,
        "memoryLimit": 20,
        "accelerator": {"type": "nvidia.com/gpu", "count": "2"},
    }


def test_retries_and_spot_nodes(compiled: Compile) -> None:
    spec, nodes = compiled("""
        spot_nodes: {selector: {pool: spot}, tolerations: [{key: spot, effect: NoSchedule}]}
        steps:
          Transform: {spot: true, retries: 3, backoff_seconds: 30}
          Evaluator: {node_selector: {disk: fast}}
          Trainer: {tolerations: [{key: gpu, operator: Equal, value: a100}]}
    """)
    tasks = tasks_of(spec)
    assert tasks["Transform"]["retryPolicy"] == {
        "maxRetryCount": 3,
        "backoffDuration": "30s",
        "backoffFactor": 2,
    }
    assert "retryPolicy" not in tasks["Trainer"]
    assert nodes["Transform_executor"]["nodeSelector"] == {"labels": {"pool": "spot"}}
    assert nodes["Transform_executor"]["tolerations"] == [
        {"key": "spot", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert nodes["Evaluator_executor"]["nodeSelector"] == {"labels": {"disk": "fast"}}
    assert nodes["Trainer_executor"]["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "a100"}
    ]
    assert "tolerations" not in nodes["Pusher_executor"]


def test_spot_nodes_are_told_what_kubeflow_does_not_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    steps = "kubeflow.steps={Transform: {spot: true, retries: 3}, Trainer: {retries: 1}}"
    (line,) = spot_warnings(load_config("applications/ctr/configs/ctr.yaml", [steps]))
    assert line.startswith("kubeflow.steps.Transform: on spot nodes Kubeflow tries a command ")
    assert "not one whose pod is deleted with its node" in line
    assert spot_warnings(load_config("applications/ctr/configs/ctr.yaml")) == []


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["spark.master=k8s://https://kubernetes.default.svc"], "spark.master: k8s://https://kub"),
        (["spark.master=yarn"], "spark.master: yarn does not work on Kubeflow"),
        (
            [
                "trainer.workers=2",
                "trainer.trusted_network=true",
                "trainer.spark={master: 'spark://host:7077'}",
            ],
            "trainer.spark.master: spark://host:7077 does not work on Kubeflow",
        ),
        (["beam_pipeline_args=[--runner=SparkRunner]"], "--runner=SparkRunner does not work on"),
        (["beam_pipeline_args=[--runner=DataflowRunner]"], "a bucket of gs://, not minio://"),
    ],
)
def test_workers_that_cannot_see_artifacts_are_an_error(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], named: str
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError) as raised:
        compile_pipeline(load_config("applications/ctr/configs/ctr.yaml", overrides))
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


def test_volumes_for_all_and_secrets_for_those_that_are_named(compiled: Compile) -> None:
    spec, nodes = compiled("""
        volumes: [{claim: logs, path: /logs}, {claim: models, path: /models}]
        secrets: [{secret: shop-db, key: password, variable: SHOP_PASSWORD,
                   steps: [SparkExampleGen]}]
    """)
    assert set(nodes) == {f"{name}_executor" for name in tasks_of(spec)}
    for node in nodes.values():
        assert node["pvcMount"] == [
            {"constant": "logs", "mountPath": "/logs"},
            {"constant": "models", "mountPath": "/models"},
        ]
    assert nodes["SparkExampleGen_executor"]["secretAsEnv"] == [
        {
            "secretName": "shop-db",
            "keyToEnv": [{"secretKey": "password", "envVar": "SHOP_PASSWORD"}],
        }
    ]
    assert sum("secretAsEnv" in node for node in nodes.values()) == 1


def test_without_kubernetes_settings_there_is_no_second_document(compiled: Compile) -> None:
    assert compiled("volumes: []")[1] == {}


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ("steps: {Trainr: {cpu: 1}}", "kubeflow.steps: there is no step Trainr; there are"),
        ("steps: {Trainer: {cpus: 1}}", "steps.Trainer.cpus: unknown key"),
        ("steps: {Trainer: {cpu: 0}}", "steps.Trainer.cpu: "),
        ("steps: {Trainer: {memory_gb: 4, memory_limit_gb: 2}}", "steps.Trainer: it asks for more"),
        ("steps: {Trainer: {spot: true}}", "steps.Trainer: a step on spot nodes needs `retries`"),
        (
            "spot_nodes: {tolerations: [{key: a, value: b}]}",
            "`value` must be there",
        ),
        ("volumes: [{claim: My_Logs, path: /logs}]", "Received: My_Logs"),
        ("volumes: [{claim: logs, path: logs}]", "expected an absolute path below /"),
        ("secrets: [{secret: s, key: k, variable: V, steps: [Pushr]}]", "there is no step Pushr"),
    ],
)
def test_settings_that_cannot_be_met_are_one_line(
    compiled: Compile, section: str, named: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        compiled(section)
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)
