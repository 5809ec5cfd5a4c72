"""The model that is served, as what a candidate is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from base.errors import ComponentError
from components.live_model.executor import LiveModelExecutor
from components.pusher.release import Release, write_release
from components.pusher.versions_folder import VersionsFolder

pytestmark = pytest.mark.unit


class Serving:
    """A folder of versions, each a file with its number."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.base = folder / "serving/mine"
        self._runs = 0

    def push(self, version: int) -> None:
        VersionsFolder(self.base).publish(self.exported(version), version, None, lambda _: None)

    def exported(self, number: int) -> Path:
        """A model as a Trainer exports it."""
        path = self.folder / f"model-{number}/Format-Serving"
        path.mkdir(parents=True, exist_ok=True)
        (path / "saved_model.pb").write_text(f"model {number}")
        return path

    def baseline(self, candidate: int) -> standard_artifacts.Model:
        """What a candidate is to be compared with."""
        self._runs += 1
        given, model = standard_artifacts.Model(), standard_artifacts.Model()
        given.uri = str(self.exported(candidate).parent)
        model.uri = str(self.folder / f"baseline-{self._runs}")
        LiveModelExecutor().Do(
            {"candidate": [given]}, {"model": [model]}, {"base_directory": str(self.base)}
        )
        return model


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


def content(model: standard_artifacts.Model) -> str:
    return (Path(model.uri) / "Format-Serving/saved_model.pb").read_text()


def test_the_stable_version_is_copied(serving: Serving) -> None:
    for version in (3, 4, 5):
        serving.push(version)
    write_release(serving.base, Release(4, previous=3, canary=5))
    model = serving.baseline(candidate=6)
    assert content(model) == "model 4"
    assert model.get_string_custom_property("pushed_version") == "4"
    assert not model.has_custom_property("absent")


def test_a_run_that_is_repeated_is_compared_with_what_was_live_before(serving: Serving) -> None:
    for version in (3, 4):
        serving.push(version)
    write_release(serving.base, Release(4, previous=3))
    assert content(serving.baseline(candidate=4)) == "model 3"


def test_the_first_model_has_nothing_to_be_compared_with(serving: Serving) -> None:
    model = serving.baseline(candidate=1)
    assert model.get_int_custom_property("absent") == 1
    assert list(Path(model.uri).iterdir()) == []
    serving.push(1)
    write_release(serving.base, Release(1))
    assert serving.baseline(candidate=1).get_int_custom_property("absent") == 1


def test_a_broken_models_config_is_one_line(serving: Serving) -> None:
    serving.push(1)
    (serving.base / "models.config").write_text("model_config_list {")
    with pytest.raises(ComponentError, match=r"models\.config is not as the Pusher writes it"):
        serving.baseline(candidate=2)
