"""TensorFlow Serving's command line (model_servers/main.cc), and config files that are invalid."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from pipeline.config import load_config
from serving.commands import serve, server_settings
from serving.server.options import ServerOptions
from tests.serving.running_server import ROOT, config_text, push, running, wait_for
from tests.serving.scorer import NAME

# Flags of main.cc, as of July 2026.
FLAGS = """
port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
rest_api_enable_cors_support enable_batching allow_version_labels_for_unavailable_models
batching_parameters_file enable_per_model_batching_parameters model_config_file
model_config_file_poll_wait_seconds model_name model_base_path num_load_threads num_unload_threads
max_num_load_retries load_retry_interval_micros file_system_poll_wait_seconds
flush_filesystem_caches tensorflow_session_parallelism tensorflow_session_config_file
tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism use_alts_credentials ssl_config_file
platform_config_file per_process_gpu_memory_fraction saved_model_tags grpc_channel_arguments
grpc_max_threads enable_model_warmup num_request_iterations_for_warmup version
monitoring_config_file remove_unused_fields_from_bundle_metagraph prefer_tflite_model
num_tflite_pools num_tflite_interpreters_per_pool enable_signature_method_name_check
xla_cpu_compilation_enabled xla_gpu_compilation_enabled enable_profiler
thread_pool_factory_config_file mixed_precision skip_initialize_tpu enable_grpc_healthcheck_service
enable_serialization_as_tensor_content
""".split()  # noqa: SIM905 - it is copied from there


def options(*flags: str) -> ServerOptions:
    given = serve.make_context("serve", [*flags]).params
    kept = {name: value for name, value in given.items() if name not in ("path", "overrides")}
    return ServerOptions(**{name: value for name, value in kept.items() if value is not None})


def refusal(*flags: str) -> str:
    with pytest.raises(click.UsageError) as raised:
        options(*flags)
    return raised.value.message


@pytest.mark.unit
def test_every_flag_of_tensorflow_serving_is_known() -> None:
    for flag in FLAGS:
        try:
            options(f"--{flag}=1", "--model_base_path=/c")
        except click.UsageError as error:
            assert not isinstance(error, click.NoSuchOption), flag


@pytest.mark.unit
def test_flags_as_tensorflow_serving_spells_them() -> None:
    found = options(
        "--port=1", "--rest_api_port=2", "--model_name=a_b", "--model_base_path=/c_d",
        "--enable_batching=false", "--rest_api_enable_cors_support", "--enable_model_warmup=true",
        "--file_system_poll_wait_seconds=3", "--allow_version_labels_for_unavailable_models",
    )  # fmt: skip
    assert (found.port, found.rest_api_port, found.model_name) == (1, 2, "a_b")
    assert (found.model_base_path, found.batching) == (Path("/c_d"), False)
    assert (found.rest_api_enable_cors_support, found.folder_seconds) == (True, 3)
    assert options("--model_base_path", "/c", "--enable_batching").batching is True
    assert options("--model_base_path=/c", "--batching=true").batching is True


@pytest.mark.unit
@pytest.mark.parametrize(
    ("flag", "text"),
    [
        (
            "--batching_parameters_file=x",
            "--batching_parameters_file is a flag of TensorFlow Serving that has no counterpart "
            "here: use --max-batch-rows, --batch-threads, --batch-wait-us and --queue.",
        ),
        (
            "--flush-filesystem-caches",
            "--flush_filesystem_caches is a flag of TensorFlow Serving that has no counterpart "
            "here.",
        ),
        (
            "--enable_model_warmup=false",
            "--enable_model_warmup is a flag of TensorFlow Serving that has no counterpart here: a "
            "version is always warmed up.",
        ),
        ("--enable_batching=maybe", "--enable_batching must be true or false. Received: maybe."),
        ("--no_such_flag", "No such option"),
    ],
)
def test_a_flag_without_counterpart_is_rejected_with_a_hint(flag: str, text: str) -> None:
    assert refusal("--model_base_path=/c", flag).startswith(text)


@pytest.mark.unit
def test_the_defaults_are_those_of_tensorflow_serving() -> None:
    """main.cc: poll the file system every second, and the config file never."""
    found = options("--model_base_path=/c")
    assert (found.model_name, found.folder_seconds, found.config_seconds) == ("default", 1, 1)
    found = options("--model_config_file=/c", "--model_base_path=/ignored")
    assert (found.folder_seconds, found.config_seconds) == (1, 0)
    found = options("--model_config_file=/c", "--model_config_file_poll_wait_seconds=5")
    assert (found.folder_seconds, found.config_seconds) == (1, 5)
    found = options("--model_config_file=/c", "--poll-seconds=0.2")
    assert (found.folder_seconds, found.config_seconds) == (0.2, 0.2)
    found = options(
        "--model_config_file=/c", "--poll-seconds=2", "--file_system_poll_wait_seconds=0"
    )
    assert (found.folder_seconds, found.config_seconds) == (0, 2)


@pytest.mark.unit
def test_a_pipelines_server_follows_twice_a_second() -> None:
    config = load_config("applications/ctr/configs/ctr.yaml", ())
    found = ServerOptions(**server_settings(config))
    assert (found.folder_seconds, found.config_seconds) == (0.5, 0.5)


@pytest.mark.unit
@pytest.mark.parametrize("flag", ["model_base_path", "model_config_file"])
@pytest.mark.parametrize(
    "uri", ["gs://bucket/models", "s3://b/m", "hdfs://name/m", "file://host/m"]
)
def test_a_remote_uri_is_rejected(flag: str, uri: str) -> None:
    with pytest.raises(ValueError, match=f"must be on this machine.*Received: {uri}"):
        options(f"--{flag}={uri}")


def ends(*flags: str) -> str:
    """Runs a server that fails to start and returns its error line."""
    done = subprocess.run(
        [sys.executable, "-m", "serving", "serve", "--port=0", "--rest_api_port=0", *flags],
        capture_output=True, text=True, check=False, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode not in (0, None)
    # TensorFlow may print warnings about the GPU before it.
    *_, said = done.stderr.splitlines()
    assert said.startswith("Error: "), done.stderr
    assert "Traceback" not in done.stderr
    return said


@pytest.mark.component
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "No such file"),
        ("nonsense", "cannot read"),
        ('model_config_list { config { name: "a" base_path: "gs://b/c" } }', "on this machine"),
        ('model_config_list { config { name: "a" } }', "no name or no base_path"),
    ],
)  # fmt: skip
def test_a_config_file_that_cannot_be_served_ends_the_server(
    tmp_path: Path, text: str | None, problem: str
) -> None:
    """server.cc, BuildAndStart: the status of ParseProtoTextFile and of ServerCore::Create."""
    file = tmp_path / "models.config"
    if text is not None:
        file.write_text(text)
    assert problem in ends(f"--model_config_file={file}")


@pytest.mark.component
def test_a_uri_ends_the_server_with_one_line() -> None:
    flags = ["--model_name=a", "--model_base_path=gs://bucket/models"]
    assert "Received: gs://bucket/models" in ends(*flags)


@pytest.mark.component
def test_a_config_file_is_read_again_only_if_a_flag_says_so(scorers, tmp_path: Path) -> None:
    """server.cc, BuildAndStart: fs_model_config_poll_wait_seconds > 0."""
    base = tmp_path / NAME
    base.mkdir()
    for number in (1, 2):
        push(base, scorers, number)
    file = tmp_path / "models.config"
    polls = "--model_config_file_poll_wait_seconds"
    for seconds, followed in ((0, False), (1, True)):
        file.write_text(config_text(base, "specific { versions: 1 }", stable=1))
        with running(tmp_path, f"--model_config_file={file}", f"{polls}={seconds}") as server:
            assert server.states() == {1: "AVAILABLE"}
            file.write_text("nonsense {")
            if followed:
                wait_for(lambda: "going on with what is loaded" in server.log.read_text())
            file.write_text("")
            if followed:
                wait_for(lambda: "the config is empty; going on" in server.log.read_text())
            file.write_text(config_text(base, "specific { versions: 2 }", stable=2))
            if followed:
                wait_for(lambda: server.states() == {2: "AVAILABLE", 1: "END"})
            else:
                time.sleep(2)
                assert server.states() == {1: "AVAILABLE"}


@pytest.mark.component
def test_an_empty_config_file_serves_nothing_until_it_is_filled(scorers, tmp_path: Path) -> None:
    """server_core.cc, ReloadConfig: Taking no action for empty config."""
    base = tmp_path / NAME
    base.mkdir()
    push(base, scorers, 1)
    file = tmp_path / "models.config"
    file.write_text("")
    with running(tmp_path, f"--model_config_file={file}") as server:
        assert server.curl("/health")[0] == 503
        file.write_text(config_text(base, "latest {}"))
        wait_for(lambda: server.curl("/health")[0] == 200)


@pytest.mark.component
def test_without_polling_a_new_version_is_not_loaded(scorers, tmp_path: Path) -> None:
    """file_system_storage_path_source.cc, SetAspiredVersionsCallback: 0 polls once."""
    base = tmp_path / NAME
    base.mkdir()
    push(base, scorers, 1)
    flags = [f"--model_name={NAME}", f"--model_base_path={base}"]
    with running(tmp_path, *flags, "--file_system_poll_wait_seconds=0") as server:
        push(base, scorers, 2)
        time.sleep(2)
        assert server.states() == {1: "AVAILABLE"}
