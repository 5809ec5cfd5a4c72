"""The account of a step, from which the report is written."""

from __future__ import annotations

import base64
import json
import random
import string
import zlib
from typing import Any

import pytest

from kubeflow.step_account import StepAccount, account_of

pytestmark = pytest.mark.unit
SCHEMA = "title: tfx.Model\ntype: object\nproperties:\n  version:\n    type: integer\n"


def artifact(uri: str, **metadata: Any) -> dict[str, Any]:
    one = {"name": "x", "uri": uri, "type": {"instanceSchema": SCHEMA}, "metadata": metadata}
    return {"artifacts": [one]}


def account(
    outputs: dict[str, Any],
    said: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
) -> StepAccount:
    given = {"outputs": {"artifacts": outputs}}
    said = {"artifacts": said or {}}
    return account_of(given, said, parameters or {}, 3.0, 7.5, 900, "absent")


def test_an_account_has_outputs_parameters_times_and_memory() -> None:
    found = account(
        {"model": artifact("s3://b/2")}, {"model": artifact("s3://b/2", pushed=1)}, {"rate": 0.5}
    )
    again = StepAccount.from_text(found.to_text())
    assert again == found
    assert again.outputs == {
        "model": {
            "uri": "s3://b/2",
            "type": {"schemaTitle": "tfx.Model"},
            "metadata": {"pushed": 1},
        }
    }
    assert (again.began, again.ended, again.peak_mib) == (3.0, 7.5, 900)
    assert again.parameters == {"rate": 0.5}


def test_absent_outputs_are_left_out() -> None:
    output = {"model": artifact("s3://b/2")}
    assert account(output, {"model": artifact("s3://b/2", absent=1)}).outputs == {}


def test_an_output_of_which_nothing_is_said_is_there() -> None:
    assert account({"model": artifact("s3://b/2")}, {"model": {"artifacts": []}}).outputs


def test_the_launchers_credentials_are_left_out() -> None:
    login = '{"Params": {"secretName": "minio"}}'
    found = account({"model": artifact("s3://b/2", store_session_info=login)})
    assert found.outputs["model"]["metadata"] == {}


def noise(length: int) -> str:
    return "".join(random.Random(length).choices(string.printable + "éßあ", k=length))


@pytest.mark.parametrize(
    "parameters",
    [
        {f"p{number}": noise(10_000) for number in range(40)},
        {f"parameter_{number}": noise(12) for number in range(2_000)},
        {"table": [number * 7_919 % 9_973 for number in range(50_000)]},
    ],
)
def test_twelve_accounts_fit_in_argos_argument(parameters: dict[str, Any]) -> None:
    """Argo stores the argument twice, as JSON in JSON, within 128 KiB."""
    uri = f"minio://mlpipeline/v2/artifacts/ctr/{'3f2b0e6a-1111-2222-3333-444455556666'}/Trainer"
    outputs = {key: artifact(f"{uri}/{key}", said=noise(5_000)) for key in ("model", "model_run")}
    found = account(outputs, {}, parameters)
    given = {"inputs": {"parameterValues": {f"s{n}": found.to_text() for n in range(12)}}}
    template = json.dumps(json.dumps({"args": [json.dumps(given)] * 2}))
    assert len(template.encode()) < 128 * 1024
    again = StepAccount.from_text(found.to_text())
    assert [one["uri"] for one in again.outputs.values()] == [f"{uri}/model", f"{uri}/model_run"]


def test_a_short_account_is_not_cut() -> None:
    parameters = {"eval_config": json.dumps({"specs": [{"label_key": "clicked"}] * 50})}
    assert StepAccount.from_text(account({}, {}, parameters).to_text()).parameters == parameters


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no base64",
        "AAAA",
        base64.b64encode(zlib.compress(b'{"began": 1, "until": 2}')).decode(),
    ],
)
def test_an_invalid_account_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        StepAccount.from_text(text)
