"""Writes the files that run TensorFlow Serving on the live versions."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format

from base.errors import ComponentError
from base.shared_names import MODELS_CONFIG
from components.pusher.release import models_config, read_release

BATCHING, MONITORING, COMMAND = "batching.config", "monitoring.config", "tensorflow-serving.sh"
PROBE = "probe.sh"

_BATCHING = """\
# Waiting requests are computed together. The first one waits at most batch_timeout_micros.
max_batch_size {{ value: {rows} }}
batch_timeout_micros {{ value: {wait_us} }}
max_enqueued_batches {{ value: {batches} }}
num_batch_threads {{ value: {threads} }}
pad_variable_length_inputs: true
"""
_MONITORING = """\
prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }
"""
_COMMAND = """\
#!/bin/sh
# Runs TensorFlow Serving on the versions that the pipeline pushes. Needs tensorflow_model_server or
# its image. Labels of versions that are not loaded yet are allowed, because none is loaded at the
# start. A version that fails to load is tried three times within seconds. The default is six times
# within five minutes, and the server reports the error only after the last attempt.
{about_models}
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec tensorflow_model_server \\
    --port=8500 --rest_api_port=8501 \\
    --model_config_file="{models}" --model_config_file_poll_wait_seconds={poll_seconds} \\
    --allow_version_labels_for_unavailable_models=true \\
    --max_num_load_retries=2 --load_retry_interval_micros=1000000 \\
    --enable_batching=true --batching_parameters_file="$here/{batching}" \\
    --monitoring_config_file="$here/{monitoring}" "$@"
"""
_LIVE = """\
# The server reads the pipeline's own models.config every second, so a push, promotion or rollback
# needs no restart."""
_COPY = """\
# models.config is a copy, because the versions have another path here than for the pipeline. A
# push, promotion or rollback does not change it: export again and restart. The running server does
# not read it again, because it rejects a config that adds a version and moves a label to it in one
# step. To have the server follow by itself, mount the folder at the pipeline's path and export
# without --base-path."""
# The script is there because Kustomize does not read files outside of its folder.
_PROBE = Path(__file__).parents[1] / "kubeflow/manifests/base/serving" / PROBE


def export_config(
    base: Path,
    out: Path,
    *,
    base_path: str | None = None,
    rows: int = 1024,
    wait_us: int = 1000,
    batches: int = 64,
    threads: int = 2,
) -> list[Path]:
    """Writes the files that run TensorFlow Serving.

    Args:
      base: Folder of the versions.
      out: Folder of the files.
      base_path: Path of the versions for TensorFlow Serving, such as in a container. In this case
        models.config is copied, and each release needs another export and a restart.
      rows: Maximum rows of a batch.
      wait_us: Maximum time a batch waits for more requests, in microseconds.
      batches: Maximum number of waiting batches.
      threads: Number of batches computed at the same time.

    Returns:
      The paths of the files.

    Raises:
      ComponentError: No version was pushed.
    """
    release = read_release(base)
    if release is None:
        raise ComponentError(f"{base} has no {MODELS_CONFIG}. Run the pipeline to push a version")
    batching = _BATCHING.format(rows=rows, wait_us=wait_us, batches=batches, threads=threads)
    content = {BATCHING: batching, MONITORING: _MONITORING, PROBE: _PROBE.read_text("utf-8")}
    models, about, poll_seconds = str((base / MODELS_CONFIG).resolve()), _LIVE, 1
    if base_path is not None:
        models, about, poll_seconds = f"$here/{MODELS_CONFIG}", _COPY, 0
        content[MODELS_CONFIG] = text_format.MessageToString(
            models_config(base.name, base_path, release)
        )
    content[COMMAND] = _COMMAND.format(
        models=models,
        about_models=about,
        poll_seconds=poll_seconds,
        batching=BATCHING,
        monitoring=MONITORING,
    )
    out.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (out / name).write_text(text, "utf-8")
    for name in (COMMAND, PROBE):
        (out / name).chmod(0o755)
    return [out / name for name in content]
