"""REST paths, with the cases of TensorFlow Serving's model_servers/http_rest_api_util_test.cc."""

from __future__ import annotations

import math
import time

import pytest
from aiohttp.test_utils import make_mocked_request

from serving.server.errors import ServingError
from serving.server.rest import TIMEOUT, call_of
from serving.server.rest_paths import parse_target, target_of

pytestmark = pytest.mark.unit
ENCODED = "%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"
PLAIN = "!#$%&'()*+,/:;=?@[]"


@pytest.mark.parametrize(
    ("path", "name", "version", "label", "metadata"),
    [
        (f"/v1/models/name{ENCODED}", f"name{PLAIN}", 0, "", False),
        ("/v1/models/name/versions/99", "name", 99, "", False),
        ("/v1/models/name/versions/0099", "name", 99, "", False),
        ("/v1/models/name/labels/latest", "name", 0, "latest", False),
        (f"/v1/models/name/labels/a{ENCODED}/metadata", "name", 0, f"a{PLAIN}", True),
        ("/V1/MODELS/name/metadata", "name", 0, "", True),
        ("/v1/models/name/METADATA", "name", 0, "", False),  # the comparison is case-sensitive
        ("/v1/models/metadata", "metadata", 0, "", False),
        ("/v1/models", "", 0, "", False),
        ("/v1/models/name?a=b", "name?a=b", 0, "", False),
        ("/v1/models/%zz%", "%zz%", 0, "", False),
        ("/v1/models/%ff\udcff", "\ufffd\ufffd", 0, "", False),
    ],
)
def test_parse_model_info_for_get(
    path: str, name: str, version: int, label: str, metadata: bool
) -> None:
    """TestParseModelInfoForGet."""
    asked = parse_target("GET", path)
    assert (asked.spec.name, asked.spec.version.value, asked.spec.version_label) == (
        name, version, label,
    )  # fmt: skip
    assert (asked.method, asked.metadata) == ("", metadata)


@pytest.mark.parametrize(
    ("path", "name", "version", "label", "method"),
    [
        (f"/v1/models/name{ENCODED}:predict", f"name{PLAIN}", 0, "", "predict"),
        ("/v1/models/name/versions/99:classify", "name", 99, "", "classify"),
        ("/v1/models/name/labels/latest:regress", "name", 0, "latest", "regress"),
    ],
)
def test_parse_model_info_for_post(
    path: str, name: str, version: int, label: str, method: str
) -> None:
    """TestParseModelInfoForPost."""
    asked = parse_target("POST", path)
    assert (asked.spec.name, asked.spec.version.value, asked.spec.version_label) == (
        name, version, label,
    )  # fmt: skip
    assert asked.method == method


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/foo"),
        ("GET", "/v1/models/foo:predict"),
        ("GET", "/v1/models/foo/version/50:predict"),
        ("GET", "/v1/models/foo/"),
        ("GET", "/v1/models/foo/metadata?x"),
        ("GET", "/v1/models/foo/versions/٤"),
        ("POST", "/v1/foo"),
        ("POST", "/v1/models"),
        ("POST", "/v1/models/foo/version/50:predict"),
        ("POST", "/v1/models/foo/versions/string:predict"),
        ("POST", "/v1/models/foo/metadata"),
        ("POST", "/v1/models/foo/versions/50/labels/some_label:regress"),
        ("POST", "/v1/models/foo:Predict"),
        ("POST", "/v1/models/foo:predict?x"),
        ("HEAD", "/v1/models/foo"),
        ("PUT", "/v1/models/foo:predict"),
    ],
)
def test_malformed_paths(method: str, path: str) -> None:
    with pytest.raises(ServingError) as raised:
        parse_target(method, path)
    assert raised.value.message == f"Malformed request: {method} {path}"
    assert raised.value.http_status == 400


@pytest.mark.parametrize("version", [str((1 << 64) - 1), str(1 << 63), "1" * 5000])
def test_a_version_beyond_64_bits_is_rejected(version: str) -> None:
    with pytest.raises(ServingError, match=f"Failed to convert version: {version} to numeric"):
        parse_target("POST", f"/v1/models/foo/versions/{version}:predict")


def test_a_request_line_may_hold_a_full_url() -> None:
    assert target_of("http://host:1/v1/models/a?b") == "/v1/models/a?b"
    assert target_of("/v1/models/a?b") == "/v1/models/a?b"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, 30.0), ({TIMEOUT: "50"}, 0.05), ({TIMEOUT: "inf"}, math.inf), ({TIMEOUT: "-1"}, -0.001)],
)
def test_the_deadline_comes_from_the_header_else_from_the_flag(
    headers: dict[str, str], seconds: float
) -> None:
    """http_rest_api_handler.cc: rest_api_timeout_in_ms becomes the session's timeout."""
    before = time.monotonic()
    call = call_of(make_mocked_request("POST", "/", headers=headers), 30.0)
    assert call.deadline is not None
    assert call.deadline - before == pytest.approx(seconds, abs=5)


@pytest.mark.parametrize("sent", ["nan", "soon", ""])
def test_a_timeout_that_is_not_a_number_is_rejected(sent: str) -> None:
    with pytest.raises(ServingError, match=f"must be a number of milliseconds. Received: '{sent}'"):
        call_of(make_mocked_request("POST", "/", headers={TIMEOUT: sent}), 30.0)
