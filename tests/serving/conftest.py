"""Models and servers shared by the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.running_server import Server, running
from tests.serving.scorer import NAME, save_scorer


@pytest.fixture(scope="session")
def scorers(tmp_path_factory) -> dict[int, Path]:
    """Saves versions whose factor is their number. Tests copy them."""
    folder = tmp_path_factory.mktemp("scorers")
    return {number: save_scorer(folder / str(number), float(number)) for number in (1, 2, 3)}


@pytest.fixture(scope="module")
def server(scorers, tmp_path_factory) -> Iterator[Server]:
    """Runs a server with versions 1 and 2."""
    folder = tmp_path_factory.mktemp("server")
    config = folder / "models.config"
    base = folder / NAME
    base.mkdir()
    for number in (1, 2):
        (base / str(number)).symlink_to(scorers[number])
    config.write_text(
        f'model_config_list {{ config {{ name: "{NAME}" base_path: "{base}" '
        'model_platform: "tensorflow" model_version_policy { all {} } '
        'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 } } }'
    )
    with running(folder, "--model-config-file", str(config)) as found:
        yield found
