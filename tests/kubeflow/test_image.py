"""The image of all steps has what a step may import."""

from __future__ import annotations

import re

import pytest

from tests.product import PACKAGES, ROOT

pytestmark = pytest.mark.unit


def test_the_image_has_every_package_of_the_product() -> None:
    """Any of them: an application may import from all layers below it."""
    recipe = (ROOT / "kubeflow/Containerfile").read_text("utf-8")
    sent = (ROOT / ".containerignore").read_text("utf-8").splitlines()
    needed = {*PACKAGES} - {"dev_services"}
    assert needed <= {*re.findall(r"^COPY (\w+) \1$", recipe, re.MULTILINE)}
    assert needed <= {line.removeprefix("!") for line in sent}
