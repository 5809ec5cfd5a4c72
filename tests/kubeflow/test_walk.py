"""Steps of a compiled pipeline run on this machine and pass values on; they are one-liners."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeflow.local.engines import Process
from kubeflow.local.run import StepResult, command_line, run_pipeline
from kubeflow.local.steps import read_pipeline
from kubeflow.record import Record
from metadata.reader import MetadataReader

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


def walked(
    folder: Path, first: str, gives: dict[str, Any], second: str, takes: dict[str, Any]
) -> tuple[list[StepResult], MetadataReader]:
    """Runs two steps.

    Args:
      folder: For the file, the run and ML Metadata.
      first, second: Their code.
      gives: outputDefinitions of the first.
      takes: inputs of the second.
    """
    tasks: dict[str, Any] = {
        "First": {"componentRef": {"name": "First"}},
        "Second": {"componentRef": {"name": "Second"}, "inputs": takes},
    }
    spec = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "two"},
        "components": {
            "First": {"executorLabel": "first", "outputDefinitions": gives},
            "Second": {"executorLabel": "second"},
        },
        "deploymentSpec": {"executors": {"first": executor(first), "second": executor(second)}},
        "root": {"dag": {"tasks": tasks}},
    }
    file, store = folder / "two.yaml", folder / "metadata.sqlite"
    file.write_text(yaml.safe_dump(spec))
    ended: list[StepResult] = []
    record = Record(store, "two", "run-1")
    run_pipeline(read_pipeline(file), {}, Process(ROOT), folder / "run-1", record, ended.append)
    del record
    return ended, MetadataReader.sqlite(store)


@pytest.fixture
def walk(tmp_path: Path) -> Any:
    """Runs two steps: the first outputs `count` by `code`, the second prints its value."""

    def walk(code: str) -> tuple[list[StepResult], MetadataReader]:
        given = {"taskOutputParameter": {"producerTask": "First", "outputParameterKey": "count"}}
        run = {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
        gives = {"parameters": {"count": {"parameterType": "STRING"}}}
        return walked(tmp_path, code, gives, TAKE, {"parameters": {"count": given, "run": run}})

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


def test_a_step_is_told_what_kubeflow_tells_it(tmp_path: Path) -> None:
    """The inputs are like those of the real driver in driver/*.json."""
    give = GIVE + (
        "(one,) = given['artifacts']['model']['artifacts']; "
        "said = {'uri': one['uri'], 'metadata': {'rows': 7}}; "
        "said = {'artifacts': {'model': {'artifacts': [said]}}}; "
        "open(given['outputFile'], 'w').write(json.dumps(said))"
    )
    model = {"artifactType": {"instanceSchema": "title: tfx.Model\ntype: object\n"}}
    source = {"taskOutputArtifact": {"producerTask": "First", "outputArtifactKey": "model"}}
    show = "import sys; print(sys.argv[1])"
    takes = {"artifacts": {"candidate": source}}
    ended, _ = walked(tmp_path, give, {"artifacts": {"model": model}}, show, takes)
    assert [one.reason for one in ended] == [None, None]
    told = json.loads(ended[1].log.read_text())
    (candidate,) = told["inputs"]["artifacts"]["candidate"]["artifacts"]
    assert candidate["name"] == "1"
    assert candidate["type"] == {"instanceSchema": ""}
    assert candidate["metadata"].keys() == {"rows", "display_name", "store_session_info"}
    assert candidate["metadata"]["display_name"] == "model"
    (logs,) = told["outputs"]["artifacts"]["executor-logs"]["artifacts"]
    assert logs == {
        "name": "executor-logs",
        "type": {"schemaTitle": "system.Artifact"},
        "uri": str(ended[1].log),
    }
    assert told["inputs"].keys() == {"artifacts"}  # protobuf leaves out what is empty
    assert told["outputs"].keys() == {"artifacts", "outputFile"}


def test_placeholders_are_filled_in_as_by_the_launcher() -> None:
    """launcher_v2.go of 2.17, compileCmdAndArgs: as plain text, in the JSON too."""
    base = "{{$.inputs.parameters['root']}}/ctr"
    invocation = {
        "inputs": {"parameterValues": {"base": base, "root": "/m", "span": -1.0, "rate": 0.25}}
    }
    words = ["python", "{{$}}", "--span={{$.inputs.parameters['span']}}", "{{$}}"]
    program, told, span, again = command_line(words, invocation)
    assert (program, span, again) == ("python", "--span=-1", told)
    assert json.loads(told)["inputs"]["parameterValues"] == {
        "base": "/m/ctr", "root": "/m", "span": -1.0, "rate": 0.25,
    }  # fmt: skip
    invocation["inputs"]["parameterValues"]["root"] = 'the "new" one'
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(command_line(words, invocation)[1])
