"""How steps of a compiled pipeline hand things on, on this machine; the steps are one-liners."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeflow.local.engines import Process
from kubeflow.local.run import Ended, run_pipeline
from kubeflow.local.steps import read_pipeline
from kubeflow.record import Record
from lineage.store import LineageStore

pytestmark = pytest.mark.component
ROOT = Path(__file__).resolve().parents[2]
GIVE = "import json, sys; given = json.loads(sys.argv[1])['outputs']; "
IN_A_FILE = GIVE + "open(given['parameters']['count']['outputFile'], 'w').write('7')"
IN_ITS_OUTPUT = GIVE + (
    "open(given['outputFile'], 'w').write(json.dumps({'parameterValues': {'count': '7'}}))"
)
TAKE = (
    "import json, sys; taken = json.loads(sys.argv[1])['inputs']['parameterValues']; "
    "print('got', taken['count'], taken['run'])"
)


def executor(code: str) -> dict[str, Any]:
    command = [sys.executable, "-c", code, "{{$}}"]
    return {"container": {"image": "none", "command": command}}


@pytest.fixture
def walk(tmp_path: Path) -> Any:
    """Walks two steps: the first gives `count` by `code`, the second says what it got."""

    def walk(code: str) -> tuple[list[Ended], LineageStore]:
        given = {"taskOutputParameter": {"producerTask": "First", "outputParameterKey": "count"}}
        run = {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
        spec = {
            "schemaVersion": "2.1.0",
            "pipelineInfo": {"name": "two"},
            "components": {
                "First": {
                    "executorLabel": "first",
                    "outputDefinitions": {"parameters": {"count": {"parameterType": "STRING"}}},
                },
                "Second": {"executorLabel": "second"},
            },
            "deploymentSpec": {"executors": {"first": executor(code), "second": executor(TAKE)}},
            "root": {
                "dag": {
                    "tasks": {
                        "First": {"componentRef": {"name": "First"}},
                        "Second": {
                            "componentRef": {"name": "Second"},
                            "inputs": {"parameters": {"count": given, "run": run}},
                        },
                    }
                }
            },
        }
        file = tmp_path / "two.yaml"
        file.write_text(yaml.safe_dump(spec))
        ended: list[Ended] = []
        store = tmp_path / "metadata.sqlite"
        record = Record(store, "two", "run-1")
        run_pipeline(
            read_pipeline(file), {}, Process(ROOT), tmp_path / "run-1", record, ended.append
        )
        del record
        return ended, LineageStore.sqlite(store)

    return walk


@pytest.mark.parametrize("code", [IN_A_FILE, IN_ITS_OUTPUT])
def test_a_parameter_is_given_in_a_file_or_with_the_outputs(walk: Any, code: str) -> None:
    ended, store = walk(code)
    assert [one.reason for one in ended] == [None, None]
    assert ended[1].log.read_text() == "got 7 run-1\n"
    (second,) = [one for one in store.run("run-1").components if one.component == "Second"]
    assert second.properties == {"run": "run-1"}  # what First gave is in its own record


def test_a_parameter_that_was_not_given_is_one_line(walk: Any) -> None:
    ended, store = walk("pass")
    assert [one.step for one in ended] == ["First"]  # the second one was not begun
    assert ended[0].reason == (
        "it did not give count; was its image built from another version than the pipeline was "
        "compiled by? Build it again"
    )
    assert store.run("run-1").state == "failed"
