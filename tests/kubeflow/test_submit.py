"""What is sent to Kubeflow Pipelines, and what a person reads when it does not work.

No Kubeflow runs here: a server of HTTP takes down what kfp's own client sends to its address.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kubeflow.submit import main

pytestmark = pytest.mark.component

SPEC = Path(__file__).parent / "golden" / "ctr.yaml"


class Api:
    """The received requests, and the existing objects."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.tokens: set[str | None] = set()
        self.scheduled: dict[str, dict[str, Any]] = {}
        self.state = "SUCCEEDED"
        self.refuses = ""  # part of a path
        self.host = ""

    def bodies(self, method: str, ending: str) -> list[Any]:
        return [body for m, path, body in self.calls if m == method and path.endswith(ending)]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        self.calls.append((method, path, body))
        if self.refuses and self.refuses in path:
            return 403, {"error": "pipeline-runner may not do this"}
        if method == "DELETE":
            del self.scheduled[path.rsplit("/", 1)[1]]
            return 200, {}
        if path.endswith("/recurringruns"):
            if method == "GET":
                return 200, {"recurringRuns": [*self.scheduled.values()]}
            made = {**body, "recurring_run_id": f"job-{len(self.calls)}"}
            self.scheduled[made["recurring_run_id"]] = made
            return 200, made
        if re.search(r"/runs(/run-1)?$", path):
            return 200, {"run_id": "run-1", "state": self.state, "display_name": "ctr"}
        if "/experiments" in path:
            return 200, {"experiment_id": "exp-1", "display_name": "ctr", "namespace": "ai"}
        return 200, {}


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            found.tokens.add(self.headers.get("Authorization"))
            status, content = found.answer(self.command, self.path.partition("?")[0], body)
            payload = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.host = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


def submit(api: Api, *arguments: str, **variables: str) -> Result:
    given = [str(SPEC), "--host", api.host, *arguments]
    return CliRunner().invoke(main, given, env={"KFP_TOKEN": None, **variables})


def test_a_run_has_its_parameters_account_and_both_documents(api: Api) -> None:
    done = submit(
        api,
        "--namespace=ai-training",
        "--service-account=pipeline-runner",
        "--param=span=20260101",
        KFP_TOKEN="of-the-cluster",
    )
    assert done.exit_code == 0, done.output
    assert "run run-1: " in done.output
    assert f"{api.host}/#/runs/details/run-1" in done.output
    (body,) = api.bodies("POST", "/runs")
    assert body["experiment_id"] == "exp-1"
    assert body["service_account"] == "pipeline-runner"
    assert body["runtime_config"]["parameters"]["span"] == 20260101
    assert body["runtime_config"]["pipeline_root"] == "minio://mlpipeline/v2/artifacts"
    sent = body["pipeline_spec"]
    assert sent["pipeline_spec"]["pipelineInfo"]["name"] == "ctr"
    assert "deploymentSpec" in sent["platform_spec"]["platforms"]["kubernetes"]
    assert "Bearer of-the-cluster" in api.tokens
    assert "of-the-cluster" not in json.dumps(body) + done.output


def test_a_schedule_takes_the_place_of_the_one_before(api: Api) -> None:
    first = submit(api, "--every=0 5 * * * *")
    assert first.exit_code == 0, first.output
    second = submit(api, "--every=0 10 * * * *", "--param=window=2")
    assert second.exit_code == 0, second.output
    assert "instead of job-" in second.output
    (left,) = api.scheduled.values()
    assert left["trigger"]["cron_schedule"]["cron"] == "0 10 * * * *"
    assert left["runtime_config"]["parameters"]["window"] == 2
    assert left["runtime_config"]["pipeline_root"] == "minio://mlpipeline/v2/artifacts"
    assert left["max_concurrency"] == "1" or left["max_concurrency"] == 1
    assert left["no_catchup"] is True


def test_waiting_says_how_it_ended(api: Api) -> None:
    assert "run run-1: succeeded" in submit(api, "--wait").output
    api.state = "FAILED"
    failed = submit(api, "--wait")
    assert failed.exit_code == 1
    assert "run run-1: failed" in failed.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--param=spam=1"], "spam"),
        (["--param=span=today"], "span"),
        (['--param=data_root=/mnt/"new" data'], "--param data_root: no quotation mark"),
        (["--param=data_root=C:\\data"], "no quotation mark, backslash or control character"),
        (["--every=5 * * * *"], "has 5 fields; it takes six, seconds first"),
    ],
)
def test_a_wrong_argument_is_one_line_and_nothing_is_sent(
    api: Api, arguments: list[str], said: str
) -> None:
    done = submit(api, *arguments)
    assert done.exit_code == 1
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not api.calls


def test_what_the_cluster_refuses_is_one_line(api: Api) -> None:
    api.refuses = "/runs"
    done = submit(api)
    assert done.exit_code == 1
    assert "says 403" in done.output
    assert "may not do this" in done.output
    assert "KFP_TOKEN" in done.output


def test_an_address_that_does_not_answer_is_one_line(api: Api) -> None:
    done = CliRunner().invoke(main, [str(SPEC), "--host", "http://127.0.0.1:9"])
    assert done.exit_code == 1
    assert "http://127.0.0.1:9 does not answer as Kubeflow Pipelines" in done.output
    nowhere = CliRunner().invoke(main, [str(SPEC)], env={"KFP_HOST": None})
    assert "give --host URL, or set the variable KFP_HOST" in nowhere.output
