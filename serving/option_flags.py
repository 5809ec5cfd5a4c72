"""Derives the flags of `serve` from the server's options.

TensorFlow Serving's own flags (model_servers/main.cc) mean the same here, so that its command lines
also start this server.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from serving.server.options import ServerOptions

_RENAMED = {"enable_batching": "batching"}
# Flags of TensorFlow Serving that are always on here.
_ALWAYS_ON = {
    "allow_version_labels_for_unavailable_models": "a label moves when its version is loaded",
    "enable_grpc_healthcheck_service": "the health service always runs",
    "enable_model_warmup": "a version is always warmed up",
}
_WITHOUT_COUNTERPART = {
    "batching_parameters_file": (
        "use --max-batch-rows, --batch-threads, --batch-wait-us and --queue"
    ),
    "enable_per_model_batching_parameters": "--max-batch-rows and the others are for all models",
    "enable_profiler": "profile with TensorFlow's own tools",
    "enable_serialization_as_tensor_content": "answers hold their values in the field of the type",
    "enable_signature_method_name_check": "a signature is taken by its inputs and outputs",
    "flush_filesystem_caches": "",
    "force_allow_any_version_labels_for_unavailable_models": _ALWAYS_ON[
        "allow_version_labels_for_unavailable_models"
    ],
    "grpc_channel_arguments": "",
    "grpc_max_threads": "use --queue",
    "grpc_socket_path": "use --host and --port",
    "load_retry_interval_micros": "a version that did not load is tried again every 30 s",
    "max_num_load_retries": "a version that did not load is tried again every 30 s",
    "mixed_precision": "",
    "monitoring_config_file": "metrics are always at /monitoring/prometheus/metrics",
    "num_load_threads": "one thread loads",
    "num_request_iterations_for_warmup": "",
    "num_tflite_interpreters_per_pool": "TensorFlow Lite is not served",
    "num_tflite_pools": "TensorFlow Lite is not served",
    "num_unload_threads": "one thread unloads",
    "per_process_gpu_memory_fraction": "",
    "platform_config_file": "only SavedModels of TensorFlow are served",
    "prefer_tflite_model": "TensorFlow Lite is not served",
    "remove_unused_fields_from_bundle_metagraph": "",
    "rest_api_num_threads": "use --queue",
    "saved_model_tags": "the tag is always serve",
    "skip_initialize_tpu": "",
    "ssl_config_file": "use --tls-certificate and --tls-key",
    "tensorflow_inter_op_parallelism": "",
    "tensorflow_intra_op_parallelism": "",
    "tensorflow_session_config_file": "",
    "tensorflow_session_parallelism": "",
    "thread_pool_factory_config_file": "",
    "use_alts_credentials": "use --tls-certificate and --tls-key",
    "version": "",
    "xla_cpu_compilation_enabled": "",
    "xla_gpu_compilation_enabled": "",
}


class ServeCommand(click.Command):
    """Also accepts TensorFlow Serving's spelling: --model_name, --enable_batching=false."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [one for arg in args for one in _translated(arg)])


def server_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds a flag for each option. Flags that are not given are None."""
    for name, field in reversed(ServerOptions.model_fields.items()):
        function = _flag(name, field)(function)
    return function


def _translated(argument: str) -> list[str]:
    """Translates an argument to click's spelling; an empty list if it has no effect here.

    Raises:
      UsageError: It is a flag of TensorFlow Serving that has no counterpart here.
    """
    if not argument.startswith("--"):
        return [argument]
    flag, equals, value = argument[2:].partition("=")
    name = flag.replace("-", "_")
    name = _RENAMED.get(name, name)
    if name in _ALWAYS_ON and value in ("", "true"):
        return []
    hint = {**_WITHOUT_COUNTERPART, **_ALWAYS_ON}.get(name)
    if hint is not None:
        reason = f": {hint}" if hint else ""
        raise click.UsageError(
            f"--{name} is a flag of TensorFlow Serving that has no counterpart here{reason}."
        )
    here = name.replace("_", "-")
    field = ServerOptions.model_fields.get(name)
    if field is not None and field.annotation is bool and equals:
        if value not in ("true", "false"):
            raise click.UsageError(f"--{flag} must be true or false. Received: {value}.")
        return [f"--{here}" if value == "true" else f"--no-{here}"]
    return [f"--{here}{equals}{value}"]


def _flag(name: str, field: FieldInfo) -> Callable[..., Any]:
    default = f"  [default: {field.default}]" if field.default not in (None, ()) else ""
    description = field.description or ""
    text = description[:1].upper() + description[1:] + default
    flag = "--" + name.replace("_", "-")
    if field.annotation is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text.strip())
    # A validated path must stay text until then, because Path drops a slash of "gs://".
    is_kept_as_text = any(isinstance(one, BeforeValidator) for one in field.metadata)
    kind = str if is_kept_as_text else _kind(field.annotation)
    several = typing.get_origin(field.annotation) is tuple
    return click.option(flag, name, type=kind, default=None, multiple=several, help=text.strip())


def _kind(annotation: Any) -> Any:
    if typing.get_origin(annotation) is typing.Literal:
        return click.Choice(list(typing.get_args(annotation)))
    kinds = [kind for kind in typing.get_args(annotation) or [annotation] if kind is not type(None)]
    return click.Path(path_type=Path) if kinds[0] is Path else kinds[0]
