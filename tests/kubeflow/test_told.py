"""What a step tells the one that writes the report."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kubeflow.told import Told, told

pytestmark = pytest.mark.unit
SCHEMA = "title: tfx.Model\ntype: object\nproperties:\n  version:\n    type: integer\n"


def artifact(uri: str, **metadata: Any) -> dict[str, Any]:
    one = {"name": "x", "uri": uri, "type": {"instanceSchema": SCHEMA}, "metadata": metadata}
    return {"artifacts": [one]}


def given(inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": {"artifacts": inputs}, "outputs": {"artifacts": outputs}}


def test_it_is_what_went_in_and_what_came_out() -> None:
    began = time.time() - 3
    said = {"artifacts": {"model": artifact("s3://b/2", pushed=1)}}
    found = told(
        given({"examples": artifact("s3://b/1")}, {"model": artifact("s3://b/2")}),
        {"rate": 0.5},
        said,
        began,
        "absent",
    )
    again = Told.from_json(found.to_json())
    assert again == found
    assert again.inputs == {"examples": "s3://b/1"}
    assert again.outputs == {
        "model": {
            "uri": "s3://b/2",
            "type": {"schemaTitle": "tfx.Model"},
            "metadata": {"pushed": 1},
        }
    }
    assert again.parameters == {"rate": 0.5}
    assert 3 <= again.ended - again.began < 60
    assert again.peak_mib > 10


def test_what_is_not_there_is_not_told() -> None:
    found = told(
        given({"baseline": artifact("s3://b/1", absent=1.0)}, {"model": artifact("s3://b/2")}),
        {},
        {"artifacts": {"model": artifact("s3://b/2", absent=1)}},
        0.0,
        "absent",
    )
    assert (found.inputs, found.outputs) == ({}, {})


def test_how_the_launcher_logs_in_is_not_told() -> None:
    output = artifact("s3://b/2", store_session_info='{"Params": {"secretName": "minio"}}')
    text = told(given({}, {"model": output}), {}, {}, 0.0, "absent").to_json()
    assert "secretName" not in text
    assert "s3://b/2" in text


def test_twelve_of_them_fit_in_one_argument_of_a_command() -> None:
    """Linux takes 128 KiB."""
    parameters = {f"p{number}": "é" * 100_000 for number in range(40)}
    text = told(given({}, {}), parameters, {}, 0.0, "absent").to_json()
    assert len(text) <= 6_000
    assert all(value.endswith("…") for value in Told.from_json(text).parameters.values())


def test_what_another_version_told_is_refused() -> None:
    with pytest.raises(TypeError):
        Told.from_json('{"began": 1, "until": 2}')
