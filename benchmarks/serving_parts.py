"""Where the time of a request goes: python -m benchmarks.serving_parts --help

The same model and requests as in benchmarks.serving, one request at a time: within this process,
each step alone, and at the end over gRPC at 10 and at 100 requests/s.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.measure import write_result
from benchmarks.prepared_data import Prepared
from benchmarks.serving import CANDIDATES, NAME, requests_of, running_server, served_model

_WARM_UP = 30


@click.command()
@click.option("--quick", is_flag=True, help="100 requests a step, 5 seconds of load.")
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(quick: bool, scratch: Path | None, out: Path | None) -> None:
    """Medians in milliseconds, from the bytes of a request to those of its answer."""
    repeats, seconds = (100, 5.0) if quick else (1000, 30.0)
    with tempfile.TemporaryDirectory() as temporary:
        prepared, model = served_model(scratch or Path(temporary))
        requests, tensors = requests_of(prepared)
        parts = _in_process(prepared, model, requests, tensors, repeats)
        parts |= _over_grpc(model, temporary, requests, seconds)
    figures = {"candidates": CANDIDATES, "median_ms": parts}
    ratios = {
        "parse_of_session": parts["tf.Examples parsed"] / parts["session"],
        "server_of_grpc_at_100_per_s": parts["request to answer"] / parts["over gRPC, 100/s"],
    }
    result = write_result("serving_parts", [parts], figures, ratios, out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


def _in_process(
    prepared: Prepared,
    model: Path,
    serialized: list[bytes],
    of_tensors: list[bytes],
    repeats: int,
) -> dict[str, float]:
    import tensorflow as tf
    import tensorflow_transform as tft
    from tensorflow_serving.apis import model_pb2, predict_pb2

    from serving.server import inference
    from serving.server.loaded_model import DEFAULT_SIGNATURE, Batching, LoadedModel

    requests = [predict_pb2.PredictRequest.FromString(one) for one in serialized]
    tensors = [predict_pb2.PredictRequest.FromString(one) for one in of_tensors]
    rows = [tf.make_ndarray(next(iter(one.inputs.values()))) for one in requests]
    loaded = LoadedModel(model, "parts", Batching())
    (alias,) = loaded.signatures[DEFAULT_SIGNATURE].inputs
    outputs = sorted(loaded.signatures[DEFAULT_SIGNATURE].outputs)
    spec = tft.TFTransformOutput(str(prepared.transform_graph)).raw_feature_spec()
    features = prepared.features
    wanted = {n: k for n, k in spec.items() if n not in features.not_learned}
    with tf.Graph().as_default():
        fed = tf.compat.v1.placeholder(tf.string, [None])
        parsed = tf.io.parse_example(fed, wanted)
        fetches = [t.values if isinstance(t, tf.SparseTensor) else t for t in parsed.values()]
        parse = tf.compat.v1.Session().make_callable([tf.group(*fetches)], [fed])
    named = model_pb2.ModelSpec(name=NAME)

    def median_ms(step: Callable[[int], Any], batched: bool = False) -> float:
        with loaded.warming_up(batched):  # says which way, whatever the number of requests
            return _median_ms(step, len(requests), repeats)

    def session(n: int) -> object:
        return loaded.run(DEFAULT_SIGNATURE, {alias: rows[n]}, outputs)

    return {
        "message decoded": median_ms(
            lambda n: predict_pb2.PredictRequest.FromString(serialized[n])
        ),
        "tf.Examples parsed": median_ms(lambda n: parse(rows[n])),
        "session": median_ms(session),
        "session, batched": median_ms(session, batched=True),
        "request to answer": median_ms(lambda n: inference.predict(loaded, named, requests[n])),
        "tensors, request to answer": median_ms(
            lambda n: inference.predict(loaded, named, tensors[n])
        ),
    }


def _median_ms(step: Callable[[int], Any], requests: int, repeats: int) -> float:
    times = []
    for n in range(repeats + _WARM_UP):
        start = time.perf_counter()
        step(n % requests)
        times.append(time.perf_counter() - start)
    return round(1000 * statistics.median(times[_WARM_UP:]), 3)


def _over_grpc(
    model: Path, scratch: str, requests: list[bytes], seconds: float
) -> dict[str, float]:
    import grpc

    from serving.client.load import run_load

    with (
        running_server(model, scratch, []) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        run_load(channel, requests, rate=100, seconds=5, seed=0)
        return {
            f"over gRPC, {rate}/s": round(
                run_load(channel, requests, rate=rate, seconds=seconds).percentile(50), 3
            )
            for rate in (10, 100)
        }


if __name__ == "__main__":
    main()
