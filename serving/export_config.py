"""Files to run TensorFlow Serving with, from what is live here."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format

from base.errors import ComponentError
from base.shared_names import MODELS_CONFIG
from components.pusher.release import models_config, read_release

BATCHING, MONITORING, COMMAND = "batching.config", "monitoring.config", "tensorflow-serving.sh"
PROBE = "probe.sh"

_BATCHING = """\
# Requests that wait are computed together; the first waits at most this long for company.
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
# TensorFlow Serving on what the pipeline pushes; needs tensorflow_model_server or its image.
# Labels of versions that are not loaded yet are allowed, since at the start none is. A version that
# does not load is tried three times within seconds: by default it is six times within five minutes,
# and only then does the server say why.
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
# The file of models is the one that the pipeline writes, looked at every second: a push, promotion
# or rollback needs no restart."""
_COPY = """\
# The file of models is a copy, since the versions have another path here than where the pipeline
# runs. A push, promotion or rollback does not reach it: export again, and restart. It is not looked
# at meanwhile: a server that runs refuses a new version and a label that moves to it at once.
# Mounted at the path that it has for the pipeline, the folder needs no --base-path, and the server
# follows."""
# Kustomize takes no file from outside of its folder, so the script lies there.
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
    """Writes them.

    Args:
      base: folder of the versions.
      out: where the files go.
      base_path: of the versions as TensorFlow Serving sees it, in a container say. models.config
        is copied then, and is not looked at again: a release needs another export and a restart.
      rows, wait_us, batches, threads: of batching.

    Returns:
      The files.

    Raises:
      ComponentError: nothing was pushed.
    """
    release = read_release(base)
    if release is None:
        raise ComponentError(f"{base} has no {MODELS_CONFIG}: nothing was pushed there yet")
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
