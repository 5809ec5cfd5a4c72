"""The readiness probe of the Kubernetes manifests, run against a server."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from components.pusher.probe import PROBE
from components.pusher.release import Release, write_release
from tests.serving.running_server import ROOT, Server, flags_of, running, wait_for
from tests.serving.scorer import NAME, example

pytestmark = pytest.mark.component

SERVING = ROOT / "kubeflow" / "manifests" / "base" / "serving"


def probe(base: Path, port: int) -> tuple[int, str]:
    """Returns exit status and output of the readiness probe."""
    deployment = next(yaml.safe_load_all((SERVING / "deployment.yaml").read_text()))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    shell, flag, line = container["readinessProbe"]["exec"]["command"]
    assert '"/mnt/pipeline/serving_models/$PIPELINE"' in line
    # The files are elsewhere here, and the port is one that is free.
    line = line.replace("/etc/model-server", str(SERVING))
    line = line.replace('"/mnt/pipeline/serving_models/$PIPELINE"', f'"{base}" {port}')
    done = subprocess.run(
        [shell, flag, line],
        env={"PATH": os.environ["PATH"], "PIPELINE": NAME},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode, done.stderr


def write_probe(base: Path, version: int, content: bytes) -> None:
    path = base / str(version) / PROBE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"instances": [{"b64": base64.b64encode(content).decode()}]}))


def test_a_pod_is_ready_when_its_stable_version_predicts(scorers, tmp_path: Path) -> None:
    base = tmp_path / NAME
    for number in (1, 2):
        shutil.copytree(scorers[number], base / str(number))
    write_probe(base, 2, b"not what this version takes")
    write_release(base, Release(1, canary=2))
    with running(tmp_path, *flags_of(base)) as server:
        port = server.rest_port
        assert probe(base, port) == (0, "")  # loaded, without a request to test with
        write_probe(base, 1, example())
        assert probe(base, port) == (0, "")
        assert asked_for_predictions(server) == 1
        write_release(base, Release(2, previous=1))
        wait_for(lambda: server.version(label="stable") == 2)
        status, said = probe(base, port)
        assert status == 1
        assert said.startswith("version 2 does not predict: HTTP/1.1 400")
        status, said = probe(base.with_name("other"), port)
        assert status == 0  # the probe does not check the folder
    status, said = probe(base, port)
    assert status == 1
    assert "Connection refused" in said


def asked_for_predictions(server: Server) -> int:
    _, text = server.curl("/monitoring/prometheus/metrics")
    lines = [one for one in str(text).splitlines() if one.startswith("serving_requests_total")]
    return sum(int(float(one.split()[-1])) for one in lines if 'code="OK"' in one)


def test_a_model_without_a_stable_version_is_not_ready(scorers, tmp_path: Path) -> None:
    base = tmp_path / NAME
    shutil.copytree(scorers[1], base / "1")
    with running(tmp_path, *flags_of(base)) as server:
        status, said = probe(base, server.rest_port)
    assert status == 1
    assert said.startswith("no stable version: HTTP/1.1 400")
