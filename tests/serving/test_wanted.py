"""The versions that a config asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from base.shared_names import MODELS_CONFIG
from components.pusher.release import Release, write_release
from components.pusher.versions_folder import VersionsFolder
from serving.server.errors import ServingError
from serving.server.wanted import FolderConfig, WantedModel, read_config, wanted_models

pytestmark = pytest.mark.unit


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for number in (1, 2, 10):
        (tmp_path / "ctr" / str(number)).mkdir(parents=True)
    (tmp_path / "ctr" / ".incoming-11").mkdir()
    return tmp_path / "ctr"


def wanted(base: Path, model: str) -> WantedModel:
    text = f'model_config_list {{ config {{ name: "ctr" base_path: "{base}" {model} }} }}'
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (found,) = wanted_models(config)
    return found


@pytest.mark.parametrize(
    ("model", "versions"),
    [
        ("", (10,)),
        ("model_version_policy { latest { num_versions: 2 } }", (2, 10)),
        ("model_version_policy { all {} }", (1, 2, 10)),
        ("model_version_policy { specific { versions: 2 versions: 1 } }", (1, 2)),
        (
            "model_version_policy { specific { versions: 7 } }",
            (7,),
        ),  # missing on disk, which its status reports
        ('version_labels { key: "stable" value: 1 }', (1, 10)),
    ],
)
def test_policies_select_versions(base: Path, model: str, versions: tuple[int, ...]) -> None:
    assert wanted(base, model).versions == versions


def test_a_folder_without_models_config_has_its_newest_version(base: Path) -> None:
    (found,) = wanted_models(FolderConfig("other", base).read())
    assert found == WantedModel("other", base, (10,), {})
    write_release(base, Release(stable=2, previous=1, canary=10))
    (found,) = wanted_models(FolderConfig("other", base).read())
    assert found.versions == (1, 2, 10)
    assert found.labels == {"stable": 2, "previous": 1, "canary": 10}


def test_a_removed_models_config_is_an_error(base: Path) -> None:
    """The newest version may be one that was withdrawn."""
    write_release(base, Release(stable=2))
    folder = FolderConfig("ctr", base)
    folder.read()
    (base / MODELS_CONFIG).unlink()
    with pytest.raises(ServingError, match=r"models\.config is missing"):
        folder.read()
    write_release(base, Release(stable=1))
    (found,) = wanted_models(folder.read())
    assert found.labels == {"stable": 1}


def test_a_missing_models_config_is_an_error_after_a_push(base: Path) -> None:
    with VersionsFolder(base).locked():
        pass
    with pytest.raises(ServingError, match=r"models\.config is missing"):
        FolderConfig("ctr", base).read()


def test_a_missing_models_config_is_an_error_beside_a_withdrawn_version(base: Path) -> None:
    """A copy of the folder without the Pusher's files may have a withdrawn newest version."""
    VersionsFolder(base).withdraw(10, "worse")
    with pytest.raises(ServingError, match=r"models\.config is missing"):
        FolderConfig("ctr", base).read()


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\nb", "a b", "a/b", "ä", "x" * 129])
def test_names_with_unsafe_characters_are_rejected(base: Path, name: str) -> None:
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(name=name, base_path=str(base))
    with pytest.raises(ServingError, match="the name of a model or label must") as raised:
        wanted_models(config)
    assert raised.value.message.isprintable()
    model.name = "ctr"
    model.version_labels[name] = 1
    with pytest.raises(ServingError, match="the name of a model or label must"):
        wanted_models(config)


@pytest.mark.parametrize("path", ["/etc", "{base}/..", "{base}/../../x", "{link}", "file:///etc"])
def test_a_client_may_not_name_a_folder_outside_the_roots(base: Path, path: str) -> None:
    link = base.parent / "link"
    link.symlink_to("/etc")
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name="ctr", base_path=path.format(base=base, link=link))
    with pytest.raises(ServingError, match="none of this server's folders") as raised:
        wanted_models(config, {base.resolve()})
    assert raised.value.http_status == 403
    config.model_config_list.config[0].base_path = str(base)
    assert wanted_models(config, {base.resolve()})


def test_a_folder_with_leading_zeros_is_its_number(base: Path) -> None:
    """file_system_storage_path_source.cc, ParseVersionNumber; ..._test.cc, ParseTimestampedVersion.

    Of two folders with one number the plain one is served: IndexChildrenByVersion lets the last by
    name win, and AspireSpecificVersionsFastPath looks for the plain name first.
    """
    for name in ("00042", "042", "0010", "+7", "99999999999999999999", "1_0", "1.5", "٤"):
        (base / name).mkdir()
    (base / "50").write_text("a file is no version")
    found = wanted(base, "model_version_policy { all {} }")
    assert found.versions == (1, 2, 7, 10, 42)
    assert [found.path(n).name for n in found.versions] == ["1", "2", "+7", "10", "042"]
    assert wanted(base, "").versions == (42,)
    specific = wanted(base, "model_version_policy { specific { versions: 42 versions: 8 } }")
    assert [specific.path(n).name for n in specific.versions] == ["8", "042"]


@pytest.mark.parametrize("uri", ["gs://b/m", "s3://b", "hdfs://n:1/m", "GS:/b", "file://host/m"])
def test_a_uri_is_never_a_local_folder(tmp_path: Path, monkeypatch, uri: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(uri, "1").mkdir(parents=True)
    text = f'model_config_list {{ config {{ name: "ctr" base_path: "{uri}" }} }}'
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    with pytest.raises(
        ServingError, match="base_path of model ctr: a path must be on this machine"
    ):
        wanted_models(config)


def test_a_file_uri_is_the_folder_that_it_names(base: Path) -> None:
    text = f'model_config_list {{ config {{ name: "ctr" base_path: "file://{base}" }} }}'
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (found,) = wanted_models(config)
    assert (found.base_path, found.versions) == (base, (10,))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must have a model_config_list"),
        ("custom_model_config { }", "must have a model_config_list"),
        ("model_config_list { config { name: 'a' } }", "no base_path"),
        ("model_config_list { config { name: 'a' base_path: 'b' } config { name: 'a' base_path: "
         "'b' } }", "twice"),
        ("model_config_list { config { name: 'a' base_path: 'b' model_platform: 'onnx' } }",
         "model_platform must be tensorflow"),
    ],
)  # fmt: skip
def test_configs_that_cannot_be_served_are_rejected(text: str, problem: str) -> None:
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    with pytest.raises(ServingError, match=problem):
        wanted_models(config)


def test_an_unreadable_config_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="cannot read"):
        read_config(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ServingError, match="cannot read"):
        read_config(tmp_path / "binary")
