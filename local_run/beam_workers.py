"""Beam's direct runner with a worker process for each core, forked from one that has TFX loaded.

Beam's own `multi_processing` starts workers that import TensorFlow and TFX each, in each Beam step:
8 s of a core every time. These are there at once, so several cores pay for small data too.
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
    """`beam_pipeline_args` for this machine."""
    workers = worker_count()
    if workers == 1:
        return [*ONE_PROCESS]
    runner = f"{__name__}.{WarmWorkersRunner.__name__}"
    return [f"--runner={runner}", f"--direct_num_workers={workers}", NO_PACKAGE]


class WarmWorkersRunner(fn_runner.FnApiRunner):  # type: ignore[misc]
    """For `--runner`."""

    def __init__(self) -> None:
        worker_handlers.grpc = _loopback_grpc()
        super().__init__(default_environment=ForkedEnvironment.default())


@environments.Environment.register_urn(_URN, bytes)
class ForkedEnvironment(environments.Environment):  # type: ignore[misc]
    """Where Beam's functions run: in a process that `_Handler` starts."""

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
    """One worker, as long as the pipeline runs."""

    def __init__(self, payload: bytes, state: Any, provision: Any, server: Any) -> None:
        super().__init__(state, provision, server)

    def start_worker(self) -> None:
        # A daemon: it is not waited for where this process ends without asking it to.
        self._process = context.Process(
            target=_work, args=(self.control_address, self.worker_id), daemon=True
        )
        self._process.start()

    def stop_worker(self) -> None:
        self._process.join()


def _work(control_address: str, worker_id: str) -> None:
    """The worker: until the pipeline closes its end."""
    from apache_beam.runners.worker import sdk_worker

    gc.freeze()  # what was loaded before the fork is no garbage
    os.setsid()  # Ctrl-C reaches the pipeline, which closes its end
    sdk_worker.SdkHarness(
        control_address,
        worker_id=worker_id,
        state_cache_size=worker_handlers.STATE_CACHE_SIZE_MB << 20,
        # By size only: Beam's flush by time cuts an element that another thread is writing, and
        # what follows is read as elements of any length (Evaluator took 21 GB, or failed).
        data_buffer_time_limit_ms=0,
        runner_capabilities=worker_handlers.FNAPI_RUNNER_CAPABILITIES,
    ).run()


def _loopback_grpc() -> types.SimpleNamespace:
    """gRPC whose servers listen on loopback: Beam's listen on all addresses of the machine."""

    def server(*arguments: Any, **options: Any) -> grpc.Server:
        made = grpc.server(*arguments, **options)
        listen = made.add_insecure_port
        made.add_insecure_port = lambda address: listen(address.replace("[::]", "127.0.0.1"))
        return made

    return types.SimpleNamespace(**{**vars(grpc), "server": server})
