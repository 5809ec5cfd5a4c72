"""Malformed lines do not stop any reader of the request log, and all of them are counted.

Each malformed line is followed by a good one, which must still be read.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from applications.ctr.page_feedback import events_of_request
from base.signature import sign
from serving.request_log.reader import read_predictions
from streaming.feedback.publish import Feedback
from tests.streaming.test_feedback import KEY, line

MANY = 10_000
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
fields = [
    "request_id", "timestamp_ms", "version", "label", "keys", "scores", "context",
    "examples", "signature",
]  # fmt: skip
said = ["shown", "positions", "propensities", "arm", "timestamp_ms", "explored", "x"]


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """Draws a good line with a field or a part of its context changed, still signed."""
    found = line(draw(st.integers(0, 9)))
    name = draw(st.sampled_from(fields))
    if draw(st.booleans()):
        found[name] = draw(values)
    elif isinstance(found["context"], dict):
        context = {**found["context"], draw(st.sampled_from(said)): draw(values)}
        context["signature"] = sign(KEY, found["request_id"], context)
        found["context"] = context
    return json.dumps(found).encode()


lines = (
    changed()
    | st.binary(max_size=50).map(lambda text: text.replace(b"\n", b""))
    | values.map(lambda value: json.dumps(value).encode())
    | st.integers(1, 3000).map(lambda depth: b'{"context":' + b"[" * depth + b"]" * depth + b"}")
    | st.just(json.dumps({**line(1), "context": {"shown": ["\ud800"]}}).encode())
)


class Counting:
    """A sink that counts events and accepts only valid JSON and UTF-8."""

    def __init__(self) -> None:
        self.events = 0

    def send(self, stream: str, events: Iterable[Mapping[str, Any]]) -> list[Any]:
        for event in events:
            json.dumps(event, allow_nan=False, ensure_ascii=False).encode()
            str(event["impression_id"]).encode()
            self.events += 1
        return []


def feed(folder: Path, bad: list[bytes]) -> tuple[Feedback, Counting, int]:
    """Feeds lines to feedback and the reader; returns the number of good lines among them."""
    log = folder / ".open-2024-03-01-05-abc.json"
    good = [json.dumps(line(number)).encode() for number in range(len(bad))]
    log.write_bytes(
        b"".join(one + b"\n" + other + b"\n" for one, other in zip(bad, good, strict=True))
    )
    sink = Counting()
    feedback = Feedback(folder, folder / "cursor.json", sink, "impressions", events_of_request, KEY)
    published = feedback.publish()
    assert published == sink.events
    for prediction in read_predictions(folder):
        assert prediction.scores is not None
    return feedback, sink, len(good)


@pytest.mark.unit
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, min_size=1, max_size=5))
def test_no_line_stops_a_reader(tmp_path_factory: pytest.TempPathFactory, bad: list[bytes]) -> None:
    feedback, sink, good = feed(tmp_path_factory.mktemp("log"), bad)
    assert sink.events >= 2 * good  # two impressions each
    assert feedback.rejected.count <= len(bad)
    assert feedback.publish() == 0


@pytest.mark.unit
def test_ten_thousand_lines_and_the_counts_add_up(tmp_path: Path) -> None:
    chance = random.Random(5)
    bad: list[bytes] = []
    for number in range(MANY):
        kind = number % 5
        said = line(number)
        if kind == 0:
            said["context"]["propensities"] = [2.0, -1.0]
            said["context"]["signature"] = sign(KEY, said["request_id"], said["context"])
        elif kind == 1:
            del said["context"]["signature"]
        elif kind == 2:
            said["scores"] = ["x"]
        text = json.dumps(said).encode()
        if kind == 3:
            text = b"[" * chance.randrange(1, 2000)
        elif kind == 4:
            text = text[: chance.randrange(1, len(text))]
        bad.append(text)
    before = psutil.Process().memory_info().rss
    feedback, sink, good = feed(tmp_path, bad)
    assert sink.events == 2 * good
    assert feedback.rejected.count == MANY
    assert len(feedback.rejected.path.read_text().splitlines()) == MANY
    assert psutil.Process().memory_info().rss - before < 200 << 20
