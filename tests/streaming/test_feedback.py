"""Feedback publishes each impression of the request log once."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from applications.ctr.page_feedback import events_of_request
from applications.ctr.ranking import rank
from base.errors import ComponentError
from base.signature import sign
from streaming.feedback.publish import Feedback
from streaming.feedback.rejected import RequestLineError
from streaming.feedback.sinks import FolderSink

pytestmark = pytest.mark.unit


def test_pages_are_ranked_by_score() -> None:
    ranked = rank([0.1, 0.5, 0.3], 2, 0.0, random.Random(1))
    assert ranked.order == (1, 2)
    assert ranked.propensities == (1.0, 1.0)
    assert not ranked.explored


def test_propensities_match_observed_frequencies() -> None:
    scores, chance = [0.1, 0.5, 0.3, 0.2], random.Random(1)
    shown: Counter[tuple[int, int]] = Counter()
    said: dict[tuple[int, int], float] = {}
    rounds = 20_000
    for _ in range(rounds):
        ranked = rank(scores, 2, 0.2, chance)
        for place, (candidate, propensity) in enumerate(
            zip(ranked.order, ranked.propensities, strict=True)
        ):
            shown[place, candidate] += 1
            assert said.setdefault((place, candidate), propensity) == propensity
    assert len(said) == 8  # every candidate at both positions
    for where, propensity in said.items():
        assert shown[where] / rounds == pytest.approx(propensity, abs=0.01)


def test_ranking_needs_candidates_and_a_valid_share() -> None:
    with pytest.raises(ValueError, match="candidates"):
        rank([], 10, 0.1, random.Random(1))
    with pytest.raises(ValueError, match="share"):
        rank([0.1], 10, 1.1, random.Random(1))


KEY = b"of both services"


def line(number: int, shown: int = 2, **context: Any) -> dict[str, Any]:
    """Returns a signed line of the request log."""
    ids = [f"r{number}-{position + 1}" for position in range(shown)]
    said: dict[str, Any] = {
        "shown": ids,
        "positions": [*range(1, shown + 1)],
        "propensities": [0.9] * shown,
    }
    said |= {"session_id": "s1", "device": "mobile", "explored": False, **context}
    return {
        "request_id": f"q{number}",
        "timestamp_ms": 1000 + number,
        "version": 7,
        "label": "stable",
        "keys": {"user_id": ["u1"] * shown, "item_id": [f"i{n}" for n in range(shown)]},
        "scores": [0.25] * shown,
        "context": {**said, "signature": sign(KEY, f"q{number}", said)},
    }


def test_a_line_becomes_its_impressions() -> None:
    first, second = events_of_request(line(3), KEY)
    assert first == {
        "impression_id": "r3-1",
        "item_id": "i0",
        "position": 1,
        "probability": 0.25,
        "propensity": 0.9,
        "timestamp_ms": 1003,
        "session_id": "s1",
        "device": "mobile",
        "user_id": "u1",
        "arm": "stable",
        "version": 7,
        "explored": False,
    }
    assert second["position"] == 2
    assert (
        events_of_request(line(3, timestamp_ms=5), KEY)[0]["timestamp_ms"] == 5
    )  # the service's clock
    assert events_of_request({**line(3), "context": None}) == []  # only ranked, not shown
    assert events_of_request({**line(3), "context": "text"}) == []
    assert events_of_request(line(3, arm="frozen"), KEY)[0]["arm"] == "frozen"
    mine = events_of_request(line(3, item_id="mine"), KEY)
    assert mine[0]["item_id"] == "i0"  # the context must not override it


def test_without_a_key_the_clients_time_arm_and_propensity_are_ignored() -> None:
    said = line(3, timestamp_ms=5, arm="frozen")
    (first, _) = events_of_request(said)
    assert first["timestamp_ms"] == 1003
    assert first["arm"] == "stable"
    assert not {"propensity", "explored", "signature"} & {*first}


@pytest.mark.parametrize("change", ["propensity", "signature", "request", "key", "kind"])
def test_a_forged_context_is_rejected(tmp_path: Path, change: str) -> None:
    said, key = line(3), KEY
    if change == "propensity":
        said["context"]["propensities"] = [0.1, 0.9]
    elif change == "signature":
        del said["context"]["signature"]
    elif change == "request":  # the signature of another request
        said["request_id"] = "q4"
    elif change == "kind":
        said["context"]["signature"] = ["ä"]
    else:
        key = b"another"
    with pytest.raises(RequestLineError, match="not signed"):
        events_of_request(said, key)
    write(tmp_path / ".open-2024-03-01-05-abc.json", [said, line(1)])
    sink = Collector()
    feedback = Feedback(
        tmp_path, tmp_path / "cursor.json", sink, "impressions", events_of_request, key
    )
    assert feedback.publish() == (0 if change == "key" else 2)
    assert feedback.rejected.count == (2 if change == "key" else 1)
    kept = [json.loads(one) for one in feedback.rejected.path.read_text().splitlines()]
    assert kept[0]["start"] == 0
    assert "not signed" in kept[0]["reason"]


@pytest.mark.parametrize(
    "context",
    [
        {"shown": ["a"]},
        {"shown": ["a"], "positions": [1, 2], "propensities": [1]},
        {"shown": [], "positions": [], "propensities": []},
        {"shown": "a", "positions": [1], "propensities": [1]},
    ],
)
def test_a_malformed_context_does_not_stop_feedback(
    tmp_path: Path, context: dict[str, Any]
) -> None:
    bad = {**line(1, shown=1), "context": context}
    with pytest.raises(RequestLineError):
        events_of_request(bad)
    sink = Collector()
    write(tmp_path / ".open-2024-03-01-05-abc.json", [bad, line(2)])
    assert (
        Feedback(
            tmp_path, tmp_path / "cursor.json", sink, "impressions", events_of_request
        ).publish()
        == 2
    )
    assert sink.ids == ids(2)


def feedback_of(log: Path, cursor: Path, sink: Collector, key: bytes | None = None) -> Feedback:
    return Feedback(log, cursor, sink, "impressions", events_of_request, key)


class Collector:
    """A sink that collects ids; it can fail before or after it has accepted the events."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.fails = ""

    def send(
        self, stream: str, events: Iterable[Mapping[str, Any]]
    ) -> list[tuple[Mapping[str, Any], str]]:
        assert stream == "impressions"
        if self.fails == "before":
            raise ComponentError("no broker")
        self.ids += [event["impression_id"] for event in events]
        if self.fails == "after":
            raise ComponentError("no answer")
        return []


def write(path: Path, lines: list[dict[str, Any]], rest: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{json.dumps(one)}\n" for one in lines) + rest
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def ids(*numbers: int) -> list[str]:
    return [f"r{number}-{position}" for number in numbers for position in (1, 2)]


def test_the_log_is_followed_through_the_end_of_an_hour(tmp_path: Path) -> None:
    sink, folder, cursor = Collector(), tmp_path / "log", tmp_path / "cursor.json"
    still_open = folder / ".open-2024-03-01-05-abc.json"
    half = json.dumps(line(3))[:40]
    write(still_open, [line(1), line(2)], rest=half)
    assert feedback_of(folder, cursor, sink).publish() == 4
    assert sink.ids == ids(1, 2)
    feedback = feedback_of(folder, cursor, sink)  # another process
    assert feedback.publish() == 0
    write(still_open, [line(1), line(2), line(3)])
    assert feedback.publish() == 2
    still_open.unlink()
    write(folder / "2024-03-01" / "05" / "abc.json.gz", [line(1), line(2), line(3), line(4)])
    write(folder / ".open-2024-03-01-06-def.json", [line(5)])
    assert feedback.publish() == 4
    assert sorted(sink.ids) == ids(1, 2, 3, 4, 5)
    assert feedback_of(folder, cursor, sink).publish() == 0


@pytest.mark.parametrize("fails", ["before", "after"])
def test_unconfirmed_events_are_sent_again(tmp_path: Path, fails: str) -> None:
    sink, folder, cursor = Collector(), tmp_path / "log", tmp_path / "cursor.json"
    write(folder / ".open-2024-03-01-05-abc.json", [line(1), line(2)])
    sink.fails = fails
    feedback = feedback_of(folder, cursor, sink)
    with pytest.raises(ComponentError):
        feedback.publish()
    sink.fails = ""
    assert feedback.publish() == 4
    assert set(sink.ids) == {*ids(1, 2)}  # perhaps twice; ingest removes duplicates


def test_a_broken_line_is_left_out(tmp_path: Path) -> None:
    sink = Collector()
    write(tmp_path / ".open-2024-03-01-05-abc.json", [line(1)], rest="{broken\n")
    assert (
        Feedback(
            tmp_path, tmp_path / "cursor.json", sink, "impressions", events_of_request
        ).publish()
        == 2
    )


def test_the_folder_sink_writes_whole_files(tmp_path: Path) -> None:
    FolderSink(tmp_path).send("clicks", [{"click_id": "c1"}, {"click_id": "c2"}])
    FolderSink(tmp_path).send("clicks", [])
    (file,) = (tmp_path / "clicks").iterdir()
    lines = gzip.decompress(file.read_bytes()).splitlines()
    assert [json.loads(one)["click_id"] for one in lines] == ["c1", "c2"]
