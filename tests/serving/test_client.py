"""The client for a ranking service, and the load generator, against a real server."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.client.client import ScoringClient
from serving.client.load import run_load
from serving.release.ab_split import arm_of
from tests.serving.running_server import Server, flags_of, running
from tests.serving.scorer import NAME, example, request

pytestmark = pytest.mark.component


def users(percent: float) -> tuple[str, str]:
    """Returns a user of the stable version and a user of the canary."""
    names = [f"u{number}" for number in range(1000)]
    arms = {arm_of(name, percent, NAME): name for name in names}
    return arms["stable"], arms["canary"]


def test_a_user_is_scored_by_their_arm(server: Server) -> None:
    stable, canary = users(30)
    address = f"127.0.0.1:{server.grpc_port}"
    with ScoringClient(address, NAME, canary_percent=30, timeout_s=20) as client:
        answer = client.score(stable, [example(1.0, "x"), example(2.0, "x")], request_id="r1")
        assert (answer.arm, answer.version, answer.scores) == ("stable", 1, (1.0, 2.0))
        assert answer.request_id == "r1"
        answer = client.score(canary, [example(1.0, "x")])
        assert (answer.arm, answer.version, answer.scores) == ("canary", 2, (2.0,))
    with ScoringClient(address, NAME, labels=False, timeout_s=20) as client:
        assert client.score(stable, [example()]).version == 2


def test_without_a_canary_all_users_get_the_stable_version(scorers, tmp_path: Path) -> None:
    from components.pusher.release import Release, write_release

    base = tmp_path / NAME
    base.mkdir()
    (base / "1").symlink_to(scorers[1])
    write_release(base, Release(stable=1))
    with running(tmp_path, *flags_of(base)) as server:
        address = f"127.0.0.1:{server.grpc_port}"
        with ScoringClient(address, NAME, canary_percent=100, timeout_s=20) as client:
            answer = client.score("u1", [example(1.0, "x")])
    assert (answer.arm, answer.version) == ("stable", 1)


def test_the_client_retries_while_a_server_restarts(scorers, tmp_path: Path) -> None:
    base = tmp_path / NAME
    base.mkdir()
    (base / "1").symlink_to(scorers[1])
    with running(tmp_path, *flags_of(base)) as server:
        port = server.grpc_port
        server.stop()
    with (
        pytest.raises(grpc.RpcError) as raised,
        ScoringClient(f"127.0.0.1:{port}", NAME, timeout_s=1) as client,
    ):
        client.score("u1", [example()])
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_token_is_not_sent_without_encryption() -> None:
    with pytest.raises(ValueError, match="needs an encrypted connection"):
        ScoringClient("127.0.0.1:1", NAME, token="secret")


def test_latency_counts_from_the_arrival_time(server: Server) -> None:
    """A server that stalls for a second delays all requests of that second, not one."""
    requests = [request(example()).SerializeToString()]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        import os
        import signal

        def pause() -> None:
            time.sleep(1.5)
            os.kill(server.process.pid, signal.SIGSTOP)
            time.sleep(1.0)
            os.kill(server.process.pid, signal.SIGCONT)

        pausing = threading.Thread(target=pause)
        pausing.start()
        load = run_load(channel, requests, rate=50, seconds=4, timeout_s=10)
        pausing.join()
    assert load.errors == {}
    assert load.requests == len(load.latencies_ms) > 120
    late = load.latencies_ms > 200
    assert 20 < late.sum() < 90  # 50 per second; the last fifth of them is less late
    assert load.percentile(99) > 700
    assert load.versions == {2: load.requests}


def test_arrivals_are_poisson_and_the_same_for_a_seed(server: Server) -> None:
    requests = [request(example()).SerializeToString()]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        one, same, other = (
            run_load(channel, requests, rate=100, seconds=2, seed=seed) for seed in (1, 1, 2)
        )
    assert sorted(one.due_s) == sorted(same.due_s)
    assert sorted(one.due_s) != sorted(other.due_s)
    gaps = np.diff(np.sort(np.concatenate([one.due_s, 2 + other.due_s])))
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.35)  # as in an exponential distribution


def test_errors_are_counted_by_their_text(server: Server) -> None:
    requests = [request(example(), name="other").SerializeToString()]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        load = run_load(channel, requests, rate=20, seconds=1)
    ((text, count),) = load.errors.items()
    assert text.startswith("NOT_FOUND: Servable not found")
    assert count == load.requests
