"""Files to run TensorFlow Serving with, from what is live here."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format

from components.errors import ComponentError
from components.pusher.release import FILE, models_config, read_release

BATCHING, MONITORING, COMMAND = "batching.config", "monitoring.config", "tensorflow-serving.sh"

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
# Labels of versions that are not loaded yet are allowed, since at the start none is. The file of
# models is looked at every second: a promotion or rollback that writes it needs no restart.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec tensorflow_model_server \\
    --port=8500 --rest_api_port=8501 \\
    --model_config_file="{models}" --model_config_file_poll_wait_seconds=1 \\
    --allow_version_labels_for_unavailable_models=true \\
    --enable_batching=true --batching_parameters_file="$here/{batching}" \\
    --monitoring_config_file="$here/{monitoring}" "$@"
"""


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
      base_path: of the versions as TensorFlow Serving sees it, in a container say; models.config
        is copied then, and a promotion or rollback needs another export.
      rows, wait_us, batches, threads: of batching.

    Returns:
      The files.

    Raises:
      ComponentError: nothing was pushed.
    """
    release = read_release(base)
    if release is None:
        raise ComponentError(f"{base} has no {FILE}: nothing was pushed there yet")
    batching = _BATCHING.format(rows=rows, wait_us=wait_us, batches=batches, threads=threads)
    content = {BATCHING: batching, MONITORING: _MONITORING}
    models = str((base / FILE).resolve())
    if base_path is not None:
        models = f"$here/{FILE}"
        content[FILE] = text_format.MessageToString(models_config(base.name, base_path, release))
    content[COMMAND] = _COMMAND.format(models=models, batching=BATCHING, monitoring=MONITORING)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (out / name).write_text(text, "utf-8")
    (out / COMMAND).chmod(0o755)
    return [out / name for name in content]
