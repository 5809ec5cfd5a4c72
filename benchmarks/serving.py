"""How fast the server answers: python -m benchmarks.serving --help

A model of the CTR application, trained with its default parameters on 200,000 impressions, in the
real server; server and load generator share the machine. A request has 100 candidates as raw
tf.Examples. Arrivals are Poisson, latencies count from the moment a request was due.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console

from benchmarks import prepared_data
from benchmarks.measure import ROOT, run_candidate, write_result
from benchmarks.prepared_data import Prepared
from benchmarks.serving_figures import (
    CANDIDATES,
    COLD,
    COLD_SECONDS,
    COLD_TENSORS,
    Runs,
    figures_of,
    held,
    holds,
    ratios_of,
)

IMPRESSIONS = 200_000
RATE = 100.0
RATES = (200.0, 300.0, 350.0, 400.0, 450.0, 500.0, 600.0)
NAME = "ctr"
console = Console(stderr=True)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much of it."""

    seconds: float = 60.0
    runs: int = 5
    memory_seconds: float = 600.0
    cold_runs: int = 5


@click.command()
@click.option("--quick", is_flag=True, help="20 seconds each, two runs, two minutes of memory.")
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--server-flag", "flags", multiple=True, help="For `python -m serving serve`.")
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    help="A checkout of another commit, whose server is measured in turns with this one.",
)
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(
    quick: bool, scratch: Path | None, flags: Sequence[str], against: Path | None, out: Path | None
) -> None:
    """Latency at 100 requests/s, the highest rate within 45 ms, a reload under load, memory."""
    plan = Plan(20.0, 2, 120.0, 2) if quick else Plan()
    with tempfile.TemporaryDirectory() as temporary:
        prepared, model = served_model(scratch or Path(temporary))
        candidates = [Candidate("ours", ROOT, with_every_signature(prepared, model, temporary))]
        if against is not None:  # its warm-up file is what there was: examples alone
            candidates.append(Candidate("against", against, model))
        runs = measure(candidates, requests_of(prepared), plan, temporary, flags)
    figures = figures_of(runs["ours"])
    others = runs.get("against")
    if others is not None:
        figures["against"] = {"runs": others, "figures": figures_of(others)}
    result = write_result("serving", runs["ours"], figures, ratios_of(figures), out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A server to be measured.

    Attributes:
      name: For messages.
      checkout: Folder of the code.
      model: Folder of the version.
    """

    name: str
    checkout: Path
    model: Path


def served_model(scratch: Path) -> tuple[Prepared, Path]:
    """The data and the model, made where they are not there yet."""
    prepared = prepared_data.clicks(scratch / f"clicks-{IMPRESSIONS}", IMPRESSIONS)
    model = prepared.folder / "served"
    if not model.exists():
        run_candidate("benchmarks.serving", {"folder": str(prepared.folder)})
    return prepared, model


def with_every_signature(prepared: Prepared, model: Path, scratch: str) -> Path:
    """The model, with the warm-up requests that ModelCanary adds for the other signatures."""
    from base.shared_names import WARM_UP_FILE
    from components.model_canary.requests import (
        request_of,
        requests_of_other_signatures,
        write_warm_up,
    )
    from components.model_canary.sampling import sample_examples

    copied = Path(scratch) / "with-every-signature"
    shutil.copytree(model, copied)
    examples = sample_examples(prepared.raw("eval"), 10 * CANDIDATES)
    groups = [examples[n : n + CANDIDATES] for n in range(0, len(examples), CANDIDATES)]
    requests = [request_of(NAME, group) for group in groups]
    others = requests_of_other_signatures(NAME, model, groups[0])
    write_warm_up(copied / WARM_UP_FILE, [*requests, *others])
    return copied


@dataclasses.dataclass(frozen=True)
class Server:
    """A running one, with version 1 of the model.

    Attributes:
      start_s: Seconds from its start until it listens, its model loaded and warmed up.
    """

    process: psutil.Process
    address: str
    base: Path
    start_s: float

    @property
    def mib(self) -> float:
        return float(self.process.memory_info().rss) / (1 << 20)


def measure(
    candidates: Sequence[Candidate],
    requests: tuple[list[bytes], list[bytes]],
    plan: Plan,
    scratch: str,
    flags: Sequence[str],
) -> dict[str, Runs]:
    """Candidate -> load -> what came of it, run by run; the candidates take turns.

    Args:
      candidates: The first one's memory is watched.
      requests: Of raw examples, and of feature tensors.
      plan: How much of it.
      scratch: Folder for the servers.
      flags: For the servers.
    """
    examples, tensors = requests
    runs: dict[str, Runs] = {candidate.name: {} for candidate in candidates}

    def turns(load: str, step: Callable[[Candidate, int], dict[str, Any]], times: int = 1) -> None:
        for number in range(1, times + 1):
            for candidate in candidates:
                found = step(candidate, number)
                runs[candidate.name].setdefault(load, []).append(found)
                console.print(f"{candidate.name}, {load}, {number} of {times}: {found}")

    def cold(sent: list[bytes]) -> Callable[[Candidate, int], dict[str, Any]]:
        def step(candidate: Candidate, number: int) -> dict[str, Any]:
            with running_server(candidate.model, scratch, flags, candidate.checkout) as server:
                found = _load(server, sent, RATE, COLD_SECONDS, number)
            return {**found, "start_s": round(server.start_s, 2)}

        return step

    with contextlib.ExitStack() as running:
        servers = {
            one.name: running.enter_context(running_server(one.model, scratch, flags, one.checkout))
            for one in candidates
        }

        def steady(
            sent: list[bytes], rate: float = RATE
        ) -> Callable[[Candidate, int], dict[str, Any]]:
            return lambda one, n: _load(servers[one.name], sent, rate, plan.seconds, n)

        for sent in (examples, tensors):
            for server in servers.values():
                _load(server, sent, RATE, plan.seconds, 0)  # the load generator warms up too
        turns("100/s", steady(examples), plan.runs)
        turns("100/s, tensors", steady(tensors))
        for name, server in servers.items():
            _climb(server, examples, plan, runs[name])
        turns("reload", lambda one, _: _reload(servers[one.name], examples, plan))
        first = candidates[0].name
        runs[first]["memory"] = [_memory(servers[first], examples, plan)]
    turns(COLD, cold(examples), plan.cold_runs)
    turns(COLD_TENSORS, cold(tensors), plan.cold_runs)
    return runs


def _climb(server: Server, requests: list[bytes], plan: Plan, runs: Runs) -> None:
    """Finds the highest rate that holds: up, with one run a rate, until it does not; then down
    again, with all runs of a rate, until it does."""
    if not holds(runs["100/s"]):
        return
    climbed = []
    for rate in RATES:
        if not held([_load(server, requests, rate, plan.seconds, 1)]):
            break
        climbed.append(rate)
    for rate in reversed(climbed):
        found = [_load(server, requests, rate, plan.seconds, n) for n in range(1, plan.runs + 1)]
        runs[f"{rate:g}/s"] = found
        console.print(f"{rate:g}/s: {found}")
        if holds(found):
            return


def _load(
    server: Server, requests: list[bytes], rate: float, seconds: float, seed: int
) -> dict[str, Any]:
    import grpc

    from serving.client.load import run_load

    with grpc.insecure_channel(server.address) as channel:
        found = run_load(channel, requests, rate=rate, seconds=seconds, seed=seed)
    return {
        "rate": rate,
        "requests": found.requests,
        "errors": sum(found.errors.values()),
        **{f"p{q:g}_ms": round(found.percentile(q), 2) for q in (50, 90, 99, 99.9)},
        "max_ms": round(float(found.latencies_ms.max()), 2),
    }


def _reload(server: Server, requests: list[bytes], plan: Plan) -> dict[str, Any]:
    """A minute in which a new version appears, beside the minute before it."""
    before = _load(server, requests, RATE, plan.seconds, 11)
    newest = max(int(path.name) for path in server.base.iterdir() if path.name.isdigit())

    def push() -> None:
        hidden = server.base / f".incoming-{newest + 1}"
        shutil.copytree((server.base / str(newest)).resolve(), hidden)
        hidden.rename(server.base / str(newest + 1))

    pushing = threading.Timer(plan.seconds / 3, push)
    pushing.start()
    during = _load(server, requests, RATE, plan.seconds, 11)
    pushing.join()
    found = {
        "errors": before["errors"] + during["errors"],
        "p99_ms_before": before["p99_ms"],
        "p99_ms_with_reload": during["p99_ms"],
        "max_ms_with_reload": during["max_ms"],
        "ratio": round(during["p99_ms"] / before["p99_ms"], 2),
    }
    console.print(f"reload: {found}")
    return found


def _memory(server: Server, requests: list[bytes], plan: Plan) -> dict[str, Any]:
    seen: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(plan.memory_seconds / 20):
            seen.append(round(server.mib, 1))

    watching = threading.Thread(target=watch)
    watching.start()
    load = _load(server, requests, RATE, plan.memory_seconds, 21)
    stop.set()
    watching.join()
    found = {
        "errors": load["errors"],
        "p99_ms": load["p99_ms"],
        "mib_at_the_start": seen[1],
        "mib_at_the_end": seen[-1],
        "mib": seen,
    }
    console.print(f"memory: {found}")
    return found


def requests_of(prepared: Prepared) -> tuple[list[bytes], list[bytes]]:
    """Serialized PredictRequests: of raw examples, and of a tensor a feature."""
    import tensorflow as tf
    import tensorflow_transform as tft
    from tensorflow_serving.apis import predict_pb2

    from components.model_canary.requests import request_of
    from components.model_canary.sampling import sample_examples
    from serving.examples import without_label

    features = prepared.features
    pool = [
        without_label(one, features.label)
        for one in sample_examples(prepared.raw("test"), 50 * CANDIDATES)
    ]
    groups = [pool[n : n + CANDIDATES] for n in range(0, len(pool), CANDIDATES)]
    spec = tft.TFTransformOutput(str(prepared.transform_graph)).raw_feature_spec()
    wanted = {n: k for n, k in spec.items() if n not in features.not_learned}

    def of_tensors(group: list[bytes]) -> bytes:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = NAME, "raw_features"
        for name, tensor in tf.io.parse_example(group, wanted).items():
            if isinstance(tensor, tf.SparseTensor):
                values = tf.sparse.to_dense(tensor)
            else:
                values = tf.squeeze(tensor, axis=1)
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values.numpy()))
        return bytes(request.SerializeToString())

    by_example = [request_of(NAME, group).SerializeToString() for group in groups]
    return by_example, [of_tensors(group) for group in groups]


@contextlib.contextmanager
def running_server(
    model: Path, scratch: str, flags: Sequence[str], checkout: Path = ROOT
) -> Iterator[Server]:
    """The server of a checkout on a model, in a process of its own."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    base, ports = folder / NAME, folder / "ports.json"
    base.mkdir()
    (base / "1").symlink_to(model.resolve())
    command = [sys.executable, "-m", "serving", "serve", "--model-name", NAME]
    command += ["--model-base-path", str(base), "--port", "0", "--rest-api-port", "0"]
    command += ["--port-file", str(ports), "--log-level", "warning", *flags]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=checkout) as process:
        try:
            while not ports.exists():
                if process.poll() is not None:
                    raise RuntimeError("the server did not start")
                time.sleep(0.01)
            start_s = time.perf_counter() - started
            address = f"127.0.0.1:{json.loads(ports.read_text('utf-8'))['grpc']}"
            yield Server(psutil.Process(process.pid), address, base, start_s)
        finally:
            process.terminate()


def train(prepared: Prepared) -> None:
    """In a process of its own: the model, with warm-up requests as the canary makes them."""
    from base.shared_names import WARM_UP_FILE
    from components.model_canary.requests import request_of, write_warm_up
    from components.model_canary.sampling import sample_examples
    from tabular.entry_points import run_fn

    with tempfile.TemporaryDirectory(dir=prepared.folder) as out:
        run_fn(prepared.fn_args(out, {"parameters": {}}))
        exported = Path(out) / "model/1/Format-Serving"
        examples = sample_examples(prepared.raw("eval"), 10 * CANDIDATES)
        groups = [examples[n : n + CANDIDATES] for n in range(0, len(examples), CANDIDATES)]
        write_warm_up(exported / WARM_UP_FILE, [request_of(NAME, group) for group in groups])
        exported.rename(prepared.folder / "served")


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        train(Prepared(Path(json.loads(sys.argv[1])["folder"])))
        print("{}", flush=True)
    else:
        main()
