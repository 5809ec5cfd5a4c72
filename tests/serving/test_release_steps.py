"""Releases in steps that a running TensorFlow Serving (its double) and our own server accept."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from base.errors import ComponentError
from base.shared_names import MODELS_CONFIG
from components.pusher.model_servers import NoAnswer, VersionState
from components.pusher.release import Release, read_release, write_release
from components.pusher.rollout import Followers, Rollout
from components.pusher.versions_folder import VersionsFolder
from serving.release.follow import followed
from serving.release.switch import promote, rollback
from tests.serving.simulated_servers import LOOK_TICKS, OurServer, Server, World
from tests.serving.tensorflow_serving_double import TensorFlowServing, over_grpc

pytestmark = pytest.mark.unit

CHANGES = (
    "immediate",
    "canary",
    "broken",
    "promote",
    "rollback",
    "rollback to the oldest",
    "join",
)
KINDS: dict[str, Callable[..., Server]] = {"double": TensorFlowServing, "our server": OurServer}
ticks = st.integers(0, LOOK_TICKS - 1)
several = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def world_of(kind: str, folder: Path, load_steps: int = 3, named: bool = True) -> World:
    def start(config: Path, broken: set[int], slowness: int) -> Server:
        return KINDS[kind](config, load_steps=lambda _: slowness * load_steps, broken=broken)

    return World(Path(folder) / "ctr", start, named=named)


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Creates a world with one server and the first version."""
    made = world_of(request.param, tmp_path)
    made.join()
    made.assert_settled()
    return made


def test_a_new_server_loads_the_first_push(world: World) -> None:
    assert world.assert_settled() == Release(1)


def test_an_immediate_release_reaches_a_live_server(world: World) -> None:
    world.push("immediate")
    assert world.assert_settled() == Release(2, previous=1)


def test_a_canary_is_promoted(world: World) -> None:
    world.push("canary")
    assert world.assert_settled() == Release(1, canary=2)
    world.promote()
    assert world.assert_settled() == Release(2, previous=1)


def test_a_canary_replaces_another(world: World) -> None:
    world.push("canary")
    world.push("canary")
    assert world.assert_settled() == Release(1, canary=3)


def test_a_rollback_whose_previous_version_is_not_loaded(world: World) -> None:
    for _ in range(2):
        world.push("immediate")
    world.rollback()
    assert world.assert_settled() == Release(2, previous=1)
    world.rollback()
    assert world.assert_settled() == Release(1)


def test_a_rollback_to_a_version_that_is_not_loaded(world: World) -> None:
    for _ in range(4):
        world.push("immediate")
    world.rollback(to=2)
    assert world.assert_settled() == Release(2, previous=1)


def test_a_version_that_does_not_load_is_not_released(world: World) -> None:
    world.push("canary", is_broken=True)
    assert world.assert_settled() == Release(1)
    world.push("canary")
    assert world.assert_settled() == Release(1, canary=3)


@pytest.mark.parametrize("kind", KINDS)
@several
@given(
    changes=st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 50)), max_size=7),
    looks=st.lists(st.tuples(ticks, ticks), min_size=1, max_size=2),
    load_steps=st.integers(0, 40),
)
@example(  # a server that starts with the old file must not miss the first step
    changes=[("immediate", 50), ("join", 0), ("immediate", 0)], looks=[(0, 5)], load_steps=40
)
@example(
    changes=[("immediate", 0), ("immediate", 0), ("rollback", 0)], looks=[(0, 5)], load_steps=9
)
def test_named_servers_serve_each_release_and_stable_never_fails(
    kind: str, changes: list[tuple[str, int]], looks: list[tuple[int, int]], load_steps: int
) -> None:
    """Holds for any sequence of changes, any pauses, and any load times."""
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(kind, Path(folder), load_steps)
        for file_tick, folder_tick in looks:
            world.join(file_tick, folder_tick)
        world.sleep(10)
        for what, pause in changes:
            world.do(what)
            world.sleep(pause / LOOK_TICKS)
        world.assert_settled()


@pytest.mark.parametrize("kind", KINDS)
@several
@given(
    changes=st.lists(st.sampled_from([c for c in CHANGES if c != "broken"]), max_size=7),
    looks=st.tuples(ticks, ticks),
    load_steps=st.integers(0, 100),
)
@example(changes=["immediate", "immediate", "rollback"], looks=(9, 0), load_steps=9)
def test_unnamed_servers_follow_by_themselves(
    kind: str, changes: list[str], looks: tuple[int, int], load_steps: int
) -> None:
    """They reject the second file until they have loaded the versions of the first one.

    So the next release must come later. Releases wait for servers that are named.
    """
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(kind, Path(folder), load_steps, named=False)
        world.join(*looks)
        world.assert_settled(40)
        for what in changes:
            world.do(what)
            world.assert_settled(40)


def released_at_once(world: World, after: Release) -> None:
    for version in after.labels.values():
        (world.base / str(version)).mkdir(exist_ok=True)
    write_release(world.base, after)
    world.sleep(60)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Release(1), Release(2, previous=1)),
        (Release(1, canary=2), Release(1, canary=3)),
        (Release(3, previous=2), Release(2, previous=1)),
        (Release(3, previous=2), Release(1)),
    ],
    ids=["immediate", "another canary", "rollback", "rollback to"],
)
def test_tensorflow_serving_rejects_a_release_in_one_step(
    tmp_path: Path, before: Release, after: Release
) -> None:
    """This is why releases have steps."""
    world = world_of("double", tmp_path)
    released_at_once(world, before)
    server = world.join()
    assert world.assert_settled() == before
    released_at_once(world, after)
    assert "which is not available" in server.refusal
    assert server.version("stable") == before.stable


def test_without_its_flag_tensorflow_serving_rejects_the_first_file(tmp_path: Path) -> None:
    world = world_of("double", tmp_path)
    server = TensorFlowServing(world.base / MODELS_CONFIG, unavailable_labels=False)
    assert "which is not available" in server.refusal


def test_unnamed_servers_keep_the_old_version_if_the_new_one_fails_to_load(tmp_path: Path) -> None:
    world = world_of("double", tmp_path, named=False)
    server = world.join()
    world.assert_settled()
    world.push("immediate", is_broken=True)
    world.sleep(60)
    assert server.version("stable") == 1
    assert read_release(world.base) == Release(2, previous=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", ["immediate", "canary"])
@pytest.mark.parametrize("after_s", [0.2, 1.5, 2.2])
def test_a_push_killed_between_its_steps_can_be_continued(
    tmp_path: Path, kind: str, change: str, after_s: float
) -> None:
    class Killed(BaseException):
        pass

    world = world_of(kind, tmp_path, load_steps=20)
    world.join()
    world.assert_settled()
    dies, sleep = world.ticks + after_s * LOOK_TICKS, world.sleep
    left = ""

    def until_killed(seconds: float) -> None:
        nonlocal left
        sleep(seconds)
        if world.ticks >= dies:
            left = (world.base / MODELS_CONFIG).read_text()
            raise Killed

    world.sleep = until_killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        world.push(change)
    world.sleep = sleep  # type: ignore[method-assign]
    (world.base / MODELS_CONFIG).write_text(left)  # after a SIGKILL nothing restores the file
    assert read_release(world.base) == Release(1)
    world.assert_settled()
    wanted = Release(2, previous=1) if change == "immediate" else Release(1, canary=2)
    world.rollout().release(world.base, Release(1), wanted)
    assert world.assert_settled() == wanted


def states(**versions: str) -> dict[int, VersionState]:
    return {int(name[1:]): VersionState(state) for name, state in versions.items()}


class Steps:
    """A rollout with scripted answers and a simulated clock."""

    def __init__(self, base: Path, answers: Callable[[float], object], **followers: object):
        self.base, self.now = base, 0.0
        self.said: list[str] = []
        self.rollout = Rollout(
            Followers(("a:1",), **followers),  # type: ignore[arg-type]
            say=self.said.append,
            ask=lambda *_: {"a:1": answers(self.now)},  # type: ignore[dict-item, return-value]
            sleep=self._sleep,
            clock=lambda: self.now,
        )

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "ctr"
    for number in (1, 2, 3):
        (folder / str(number)).mkdir(parents=True)
    write_release(folder, Release(2, previous=1))
    return folder


BEFORE, AFTER = Release(2, previous=1), Release(3, previous=2)


def test_a_failed_load_is_one_error_with_the_servers_reason(base: Path) -> None:
    broken = {3: VersionState("END", "no such op: Quux")}
    steps = Steps(base, lambda now: broken if now > 1 else states(v2="AVAILABLE"))
    text = (base / MODELS_CONFIG).read_text()
    with pytest.raises(
        ComponentError, match=r"nothing was released: a:1 cannot load version 3: no such op"
    ):
        steps.rollout.release(base, BEFORE, AFTER)
    assert steps.now < 2
    assert (base / MODELS_CONFIG).read_text() == text


def test_the_error_of_an_earlier_attempt_is_not_that_of_this_one(base: Path) -> None:
    old = {3: VersionState("END", "out of memory")}
    steps = Steps(base, lambda now: old if now < 2 else states(v3="AVAILABLE"))
    assert steps.rollout.release(base, BEFORE, AFTER) == AFTER
    steps = Steps(base, lambda _: old)
    with pytest.raises(ComponentError, match="out of memory"):
        steps.rollout.release(base, BEFORE, AFTER)


def test_a_server_that_is_stuck_stops_the_release(base: Path) -> None:
    steps = Steps(base, lambda _: states(v3="LOADING"), load_seconds=60.0)
    with pytest.raises(ComponentError, match=r"not loaded after 60 s: a:1 says version 3: LOADING"):
        steps.rollout.release(base, BEFORE, AFTER)
    assert read_release(base) == BEFORE


def test_an_expected_server_is_waited_for_within_the_limit(base: Path) -> None:
    steps = Steps(base, lambda _: NoAnswer("failed to connect"), load_seconds=60.0)
    assert steps.rollout.release(base, BEFORE, AFTER) == AFTER
    assert steps.now == pytest.approx(60, abs=1)
    assert steps.said == ["a:1 is not waited for: failed to connect"]


def test_an_optional_server_is_not_waited_for(base: Path) -> None:
    steps = Steps(base, lambda _: NoAnswer("failed to connect"), expected=False)
    assert steps.rollout.release(base, BEFORE, AFTER) == AFTER
    assert steps.now == pytest.approx(2.5, abs=0.3)


def test_a_rollback_to_the_previous_version_does_not_ask_servers(base: Path) -> None:
    write_release(base, AFTER)
    steps = Steps(base, lambda _: pytest.fail("asked"))
    (base / "1").rmdir()
    assert rollback(base, None, "bad", rollout=steps.rollout).after == Release(2)
    assert steps.now == 0


def test_the_label_moves_before_the_new_previous_version_is_loaded(base: Path) -> None:
    write_release(base, AFTER)
    seen = []

    def answers(now: float) -> dict[int, VersionState]:
        seen.append(read_release(base))
        return states(v1="AVAILABLE")

    steps = Steps(base, answers)
    assert rollback(base, None, "bad", rollout=steps.rollout).after == BEFORE
    assert {*seen} == {Release(2)}
    assert read_release(base) == BEFORE
    assert "stable is version 2 from now on; version 1 is being loaded" in steps.said[0]


def test_a_previous_version_that_does_not_load_is_dropped(base: Path) -> None:
    write_release(base, AFTER)
    steps = Steps(base, lambda _: {1: VersionState("END", "cut off")})
    assert rollback(base, None, "bad", rollout=steps.rollout).after == Release(2)
    assert read_release(base) == Release(2)
    assert "there is no previous version: a:1 cannot load version 1" in steps.said[1]
    assert VersionsFolder(base).withdrawn(3) == "bad"


def test_a_canary_that_a_server_could_not_load_is_not_promoted(base: Path) -> None:
    write_release(base, Release(2, canary=3))
    steps = Steps(base, lambda _: {3: VersionState("END", "cut off")})
    with pytest.raises(
        ComponentError, match=r"nothing was released: a:1 cannot load version 3: cut off"
    ):
        promote(base, rollout=steps.rollout)
    assert read_release(base) == Release(2, canary=3)


def test_a_rollback_that_fails_leaves_the_marks_as_they_were(base: Path) -> None:
    write_release(base, Release(3))
    VersionsFolder(base).withdraw(1, "worse")
    steps = Steps(base, lambda _: {1: VersionState("END", "cut off")})
    with pytest.raises(ComponentError, match="cut off"):
        rollback(base, 1, "bad", rollout=steps.rollout)
    assert VersionsFolder(base).withdrawn(1) == "worse"
    assert VersionsFolder(base).withdrawn(3) is None


def test_waiting_for_another_release_is_logged(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    holds, done = threading.Event(), threading.Event()

    def hold() -> None:
        with VersionsFolder(base).locked():
            holds.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(20)
    threading.Timer(0.3, done.set).start()
    with VersionsFolder(base).locked():
        pass
    thread.join()
    assert [record.getMessage() for record in caplog.records] == [
        f"waiting for process {os.getpid()} on {socket.gethostname()}, which changes what is live "
        f"in {base}"
    ]


@pytest.fixture
def live_double(base: Path) -> Iterator[tuple[TensorFlowServing, str]]:
    """Runs the double in real time, on a port."""
    server = TensorFlowServing(base / MODELS_CONFIG, load_steps=lambda _: 5)
    stopping = threading.Event()

    def run() -> None:
        while not stopping.wait(0.02):
            server.poll_folder()
            server.poll_config()
            server.work()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with over_grpc(server, "ctr") as address:
            until = time.monotonic() + 20
            while server.version("stable") != 2 and time.monotonic() < until:
                time.sleep(0.02)
            yield server, address
    finally:
        stopping.set()
        thread.join()


def test_over_grpc_a_release_waits_for_the_server_and_follows_it(
    base: Path, live_double: tuple[TensorFlowServing, str]
) -> None:
    server, address = live_double
    rollout = Rollout(Followers((address,), follow_seconds=0.3))
    assert rollout.release(base, BEFORE, AFTER) == AFTER
    assert followed("ctr", AFTER, [address]) == {address: None}
    assert server.version("stable") == 3


def test_a_server_that_does_not_follow_is_named_with_what_it_serves(
    base: Path, live_double: tuple[TensorFlowServing, str]
) -> None:
    """Its status lists all versions whatever the label, so the status alone is not enough."""
    _, address = live_double
    (base / "4").mkdir()
    write_release(base, Release(4, previous=2))  # in one step, by hand
    said = followed("ctr", Release(4, previous=2), [address, "127.0.0.1:1"], timeout_s=0.5)
    assert said[address] == "it still serves version 2 as stable"
    assert "failed to connect" in str(said["127.0.0.1:1"]).lower()
