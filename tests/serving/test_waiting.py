"""Which clients are ousted when too many keep the server waiting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.server.waiting import WaitingClient, WaitingClients

pytestmark = pytest.mark.unit


def test_the_oldest_client_of_the_largest_peer_is_ousted() -> None:
    waiting, ended = WaitingClients(3, 10.0, lambda: 0.0), []
    for peer, name in (("honest", "h"), ("attacker", "a1"), ("attacker", "a2")):
        waiting.enter(peer, lambda name=name: ended.append(name))  # type: ignore[misc]
    assert ended == []
    waiting.enter("attacker", lambda: ended.append("a3"))
    waiting.enter("other", lambda: ended.append("o"))
    assert ended == ["a1", "a2"]
    assert len(waiting) == 3
    assert waiting.ended == 2


def test_the_addresses_of_one_network_are_one_peer() -> None:
    waiting, ended = WaitingClients(4, 10.0), list[str]()
    for number in range(3):
        waiting.enter(f"2001:db8::{number}", lambda number=number: ended.append(f"a{number}"))  # type: ignore[misc]
    waiting.enter("10.0.0.1", lambda: ended.append("h"))
    waiting.enter("::ffff:10.0.0.1", lambda: ended.append("h2"))
    waiting.enter("2001:db8::ff", lambda: ended.append("a4"))
    assert ended == ["a0", "a1"]


def test_a_client_that_waits_too_long_is_ended() -> None:
    now = 0.0
    waiting, ended = WaitingClients(10, 5.0, lambda: now), []
    first = waiting.enter("a", lambda: ended.append(1))
    now = 4.0
    second = waiting.enter("a", lambda: ended.append(2))
    waiting.expire()
    assert ended == []
    now = 5.0
    waiting.expire()
    assert ended == [1]
    assert not waiting.leave(first)
    assert waiting.leave(second)
    assert not waiting.leave(second)
    assert len(waiting) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_the_limit_holds_and_each_client_ends_once(steps: list[tuple[str, bool]]) -> None:
    waiting, ended = WaitingClients(4, 10.0), list[int]()
    inside: list[tuple[WaitingClient, int]] = []
    for number, (peer, leaves) in enumerate(steps):
        if leaves and inside:
            one, name = inside.pop(0)
            assert waiting.leave(one) == (name not in ended)
        else:
            entered = waiting.enter(peer, lambda number=number: ended.append(number))  # type: ignore[misc]
            inside.append((entered, number))
        assert len(waiting) <= 4
    assert len(set(ended)) == len(ended) == waiting.ended
