"""The manifests render, match Kubernetes' schemas, and have the intended content."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from components.pusher.release import Release, write_release
from pipeline.config import load_config
from serving.export_config import export_config

pytestmark = [pytest.mark.unit, pytest.mark.host]

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "kubeflow" / "manifests"
VERSIONS = ("1.30", "1.33", "1.36")
RENDERED = ("base", "overlays/dev", "overlays/prod")
CTR = "ctr"  # the application's own, on top of an overlay
Objects = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def kustomize() -> str:
    found = subprocess.run(
        [ROOT / "tests" / "kustomize.sh"], capture_output=True, text=True, timeout=600, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.fixture(scope="module")
def rendered(kustomize: str) -> dict[str, Objects]:
    found = {name: render(kustomize, MANIFESTS / name) for name in RENDERED}
    return {**found, CTR: render(kustomize, ROOT / "applications" / CTR / "manifests")}


def render(kustomize: str, folder: Path) -> Objects:
    done = subprocess.run(
        [kustomize, "build", folder],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    documents = yaml.safe_load_all(done.stdout)
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*RENDERED, CTR])
def test_the_manifests_match_the_schemas_of_kubernetes(
    rendered: dict[str, Objects], name: str, version: str
) -> None:
    for one in rendered[name].values():
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["driver", "executor"])
def test_sparks_pod_templates_match_the_schemas_of_kubernetes(name: str, version: str) -> None:
    pod = yaml.safe_load((MANIFESTS / "spark" / f"{name}.yaml").read_text())
    pod["metadata"]["name"] = name
    kubernetes_validate.validate(pod, version, strict=True)


def test_a_wrong_key_is_found(rendered: dict[str, Objects]) -> None:
    """The check above must be able to fail."""
    quota = yaml.safe_load(yaml.safe_dump(rendered["base"]["ResourceQuota", "ai-training"]))
    quota["spec"]["hart"] = quota["spec"].pop("hard")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(quota, VERSIONS[0], strict=True)


def test_all_lies_in_one_namespace_and_no_secret_is_there(rendered: dict[str, Objects]) -> None:
    cluster_wide = {"Namespace", "PriorityClass"}
    for objects in rendered.values():
        for (kind, _), one in objects.items():
            assert kind != "Secret"
            if kind not in cluster_wide:
                assert one["metadata"]["namespace"] == "ai-training", one


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    found = {"model-server": objects["Deployment", "model-server"]["spec"]["template"]["spec"]}
    for name in ("driver", "executor"):
        found[name] = yaml.safe_load((MANIFESTS / "spark" / f"{name}.yaml").read_text())["spec"]
    return found


def test_no_pod_asks_for_more_than_the_restricted_policy_gives(
    rendered: dict[str, Objects],
) -> None:
    for pod in pods(rendered["overlays/prod"]).values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_every_object_that_a_pod_names_exists(rendered: dict[str, Objects]) -> None:
    for objects in rendered.values():
        for pod in pods(objects).values():
            assert ("ServiceAccount", pod["serviceAccountName"]) in objects
            assert ("PriorityClass", pod["priorityClassName"]) in objects
            for volume in pod["volumes"]:
                if "persistentVolumeClaim" in volume:
                    claim = volume["persistentVolumeClaim"]["claimName"]
                    assert ("PersistentVolumeClaim", claim) in objects
                if "configMap" in volume:
                    assert ("ConfigMap", volume["configMap"]["name"]) in objects


def test_the_claim_is_the_one_that_a_config_mounts(rendered: dict[str, Objects]) -> None:
    config = load_config("applications/ctr/configs/ctr.yaml", []).kubeflow
    (volume,) = config.volumes
    objects = rendered[CTR]
    assert ("PersistentVolumeClaim", volume.claim) in objects
    (container,) = pods(objects)["model-server"]["containers"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "pipeline"]
    assert f"{volume.path}/{mount['subPath']}" == mount["mountPath"] == str(config.serving_root)
    assert mount["readOnly"] is True
    models = f"--model_config_file={config.serving_root}/ctr/models.config"
    assert models in expanded(container)


def expanded(container: dict[str, Any]) -> list[str]:
    """Returns the arguments as Kubernetes expands them."""
    variables = {one["name"]: one["value"] for one in container["env"]}
    return [re.sub(r"\$\((\w+)\)", lambda m: variables[m[1]], arg) for arg in container["args"]]


def test_the_model_servers_files_are_those_of_export_config(tmp_path: Path) -> None:
    base = tmp_path / "ctr"
    base.mkdir()
    write_release(base, Release(1))
    export_config(base, tmp_path / "out")
    for name in ("batching.config", "monitoring.config", "probe.sh"):
        assert (MANIFESTS / "base" / "serving" / name).read_text() == (
            tmp_path / "out" / name
        ).read_text()


def test_a_server_runs_with_the_exported_flags(
    rendered: dict[str, Objects], tmp_path: Path
) -> None:
    base = tmp_path / "ctr"
    base.mkdir()
    write_release(base, Release(1))
    export_config(base, tmp_path)
    command = (tmp_path / "tensorflow-serving.sh").read_text()
    (container,) = pods(rendered["base"])["model-server"]["containers"]
    for flag in container["args"]:
        name, _, value = flag.partition("=")
        assert (flag if not value.startswith("/") else f"{name}=") in command
    assert f'--model_config_file="{base}/models.config"' in command
    export_config(base, tmp_path, base_path="/models/ctr")
    copied = (tmp_path / "tensorflow-serving.sh").read_text()
    assert '--model_config_file="$here/models.config" --model_config_file_poll_wait_seconds=0' in (
        copied
    )


def test_a_pod_is_ready_when_it_predicts_and_killed_only_when_it_is_gone(
    rendered: dict[str, Objects],
) -> None:
    """tests/serving/test_probe.py runs the command."""
    for objects in rendered.values():
        pod = pods(objects)["model-server"]
        (container,) = pod["containers"]
        (config,) = (one for one in pod["volumes"] if "configMap" in one)
        files = objects["ConfigMap", config["configMap"]["name"]]["data"]
        for name in ("startupProbe", "readinessProbe"):
            *shell, line = container[name]["exec"]["command"]
            _, script, model, folder = line.removeprefix("exec ").split()
            mounted, _, file = script.rpartition("/")
            assert (shell, mounted) == (["bash", "-c"], "/etc/model-server")
            assert "dev/tcp" in files[file]
            assert model == '"$PIPELINE"'
            folder = folder.strip('"').replace("$PIPELINE", "$(PIPELINE)")
            assert f"--model_config_file={folder}/models.config" in container["args"]
        assert container["livenessProbe"]["tcpSocket"]


def test_the_pusher_can_ask_each_pod(rendered: dict[str, Objects]) -> None:
    step = {"pipelines.kubeflow.org/v2_component": "true"}
    for objects in rendered.values():
        service = objects["Service", "model-server-pods"]["spec"]
        assert service["clusterIP"] == "None"
        assert service["publishNotReadyAddresses"] is True
        labels = objects["Deployment", "model-server"]["spec"]["template"]["metadata"]["labels"]
        assert service["selector"].items() <= labels.items()
        port = [{"protocol": "TCP", "port": 8500}]
        inwards = objects["NetworkPolicy", "model-server"]["spec"]["ingress"]
        assert {"from": [{"podSelector": {"matchLabels": step}}], "ports": port} in inwards
        outwards = objects["NetworkPolicy", "steps"]["spec"]
        assert outwards["podSelector"]["matchLabels"] == step
        servers = {"podSelector": {"matchLabels": service["selector"]}}
        assert {"to": [servers], "ports": port} in outwards["egress"]


def test_rights_are_the_least(rendered: dict[str, Objects]) -> None:
    """No account may do everything, read arbitrary secrets, or change rights."""
    for objects in rendered.values():
        for (kind, _), one in objects.items():
            assert kind not in ("ClusterRole", "ClusterRoleBinding")
            for rule in one.get("rules", []) if kind == "Role" else []:
                assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
                assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
                if "secrets" in rule["resources"]:
                    assert rule["resourceNames"]
        for name in ("spark-executor", "model-server"):
            assert objects["ServiceAccount", name]["automountServiceAccountToken"] is False
        # Who may make pods may have them mount any Secret: Spark's driver, and no step.
        made = {
            rule["metadata"]["name"]
            for (kind, _), rule in objects.items()
            if kind == "Role"
            for one in rule["rules"]
            if "pods" in one["resources"] and "create" in one["verbs"]
        }
        assert made == {"spark-driver"}
        bound = {
            one["subjects"][0]["name"]
            for (kind, _), one in objects.items()
            if kind == "RoleBinding" and one["roleRef"]["name"] in made
        }
        assert bound == {"spark-driver"}
        assert pods(objects)["driver"]["serviceAccountName"] == "spark-driver"


def test_no_pod_can_reach_the_internet(rendered: dict[str, Objects]) -> None:
    for name, objects in rendered.items():
        for (kind, policy), one in objects.items():
            if kind != "NetworkPolicy":
                continue
            for rule in one["spec"].get("egress", []):
                assert rule.get("to"), (name, policy)  # without it: everybody
                everywhere = {"ipBlock": {"cidr": "0.0.0.0/0"}} in rule["to"]
                is_dev = name in ("overlays/dev", CTR)
                assert not everywhere or (is_dev and "kubernetes-api" in policy)


def test_no_pod_fills_a_node_and_none_sees_more_of_the_claim_than_it_needs(
    rendered: dict[str, Objects],
) -> None:
    for objects in rendered.values():
        (limits,) = objects["LimitRange", "ai-training"]["spec"]["limits"]
        assert limits["default"]["ephemeral-storage"]
        for name, pod in pods(objects).items():
            for volume in pod["volumes"]:
                assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]
            for mount in pod["containers"][0]["volumeMounts"]:
                if mount["name"] == "pipeline" and name != "driver":
                    assert mount["mountPath"].endswith(f"/{mount['subPath']}")


def test_production_takes_an_image_by_what_it_is(rendered: dict[str, Objects]) -> None:
    (container,) = pods(rendered["overlays/prod"])["model-server"]["containers"]
    assert "@sha256:" in container["image"]


def test_a_quota_leaves_room_for_what_serving_may_grow_to(rendered: dict[str, Objects]) -> None:
    for objects in rendered.values():
        hard = objects["ResourceQuota", "ai-training"]["spec"]["hard"]
        batch = objects["ResourceQuota", "batch"]["spec"]["hard"]
        assert int(batch["requests.cpu"]) < int(hard["requests.cpu"])
        (scope,) = objects["ResourceQuota", "batch"]["spec"]["scopeSelector"]["matchExpressions"]
        assert (scope["operator"], scope["values"]) == ("NotIn", ["ai-serving"])


def test_an_executor_starts_our_module_in_sparks_container() -> None:
    pod = yaml.safe_load((MANIFESTS / "spark" / "executor.yaml").read_text())["spec"]
    (container,) = pod["containers"]
    assert container["name"] == "spark-kubernetes-executor"  # Spark's default: it looks for it
    assert container["command"][-2:] == ["-m", "kubeflow.spark_executor"]
