"""Beam's direct runner with a worker process for each core, forked from one that has TFX loaded.

Workers of Beam's own `multi_processing` import TensorFlow and TFX in each Beam step, which takes
8 s of a core. These start at once, so several cores pay off for small data too.
"""

from __future__ import annotations

import gc
import os
import types
from typing import Any

import grpc
from apache_beam.runners.portability.fn_api_runner import fn_runner, worker_handlers
from apache_beam.transforms import environments

from local_run.loaded_process import context, worker_count
from pipeline.beam_arguments import NO_PACKAGE, ONE_PROCESS

_URN = "local_run:beam_workers:v1"


def beam_arguments() -> list[str]:
    """Returns the default `beam_pipeline_args` for this machine."""
    workers = worker_count()
    if workers == 1:
        return [*ONE_PROCESS]
    runner = f"{__name__}.{WarmWorkersRunner.__name__}"
    return [f"--runner={runner}", f"--direct_num_workers={workers}", NO_PACKAGE]


class WarmWorkersRunner(fn_runner.FnApiRunner):  # type: ignore[misc]
    """The runner that `beam_arguments` names in `--runner`."""

    def __init__(self) -> None:
        worker_handlers.grpc = _loopback_grpc()
        super().__init__(default_environment=ForkedEnvironment.default())


@environments.Environment.register_urn(_URN, bytes)
class ForkedEnvironment(environments.Environment):  # type: ignore[misc]
    """The environment of Beam's functions, a process that `_Handler` starts."""

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        return _URN, b""

    @classmethod
    def default(cls) -> ForkedEnvironment:
        return cls(capabilities=environments.python_sdk_capabilities(), artifacts=())

    @staticmethod
    def from_runner_api_parameter(
        payload: bytes, capabilities: Any, artifacts: Any, resource_hints: Any, context: Any
    ) -> ForkedEnvironment:
        return ForkedEnvironment(capabilities, artifacts, resource_hints)


@worker_handlers.WorkerHandler.register_environment(_URN, bytes)
class _Handler(worker_handlers.GrpcWorkerHandler):  # type: ignore[misc]
    """Starts and stops one worker, which lives as long as the pipeline runs."""

    def __init__(self, payload: bytes, state: Any, provision: Any, server: Any) -> None:
        super().__init__(state, provision, server)

    def start_worker(self) -> None:
        # A daemon does not block this process from ending early.
        self._process = context.Process(
            target=_work, args=(self.control_address, self.worker_id), daemon=True
        )
        self._process.start()

    def stop_worker(self) -> None:
        self._process.join()


def _work(control_address: str, worker_id: str) -> None:
    """Runs a worker until the pipeline closes the connection."""
    from apache_beam.runners.worker import sdk_worker

    gc.freeze()  # objects loaded before the fork are never garbage
    os.setsid()  # Ctrl-C reaches only the pipeline, which then closes the connection
    sdk_worker.SdkHarness(
        control_address,
        worker_id=worker_id,
        state_cache_size=worker_handlers.STATE_CACHE_SIZE_MB << 20,
        # 0 flushes by size only. Beam's flush by time splits an element that another thread is
        # writing, and the rest is read with a wrong length (Evaluator took 21 GB, or failed).
        data_buffer_time_limit_ms=0,
        runner_capabilities=worker_handlers.FNAPI_RUNNER_CAPABILITIES,
    ).run()


def _loopback_grpc() -> types.SimpleNamespace:
    """Returns gRPC with servers on loopback; Beam's would listen on all addresses."""

    def server(*arguments: Any, **options: Any) -> grpc.Server:
        made = grpc.server(*arguments, **options)
        listen = made.add_insecure_port
        made.add_insecure_port = lambda address: listen(address.replace("[::]", "127.0.0.1"))
        return made

    return types.SimpleNamespace(**{**vars(grpc), "server": server})
