"""Every event is kept once through restarts with other settings, columns and file times."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from base.errors import ComponentError
from pipeline.streaming_sections import Streaming
from streaming.hour_events import late_rows
from streaming.ingest import ingest
from streaming.layout import LANDED, LATE, REFUSED, Layout
from streaming.replay import replay
from streaming.verify import verify
from streaming.watched_files import reading_order
from tests.streaming.event_log import (
    CLICK,
    FIRST_HOUR,
    IDS,
    IMPRESSION,
    STREAMS,
    click,
    impression,
    rows_of,
    settings,
    streams,
)

HOURS = 4
COLUMNS: tuple[dict[str, str], ...] = (
    {},
    {"v": "int"},
    {"v": "bigint", "w": "string"},
    {"v": "string"},
    {"v": "double"},
)
VALUES = (None, 1, 2**40, 2.5, "x", "7", [1])


def random_settings(chance: random.Random, folder: Path) -> Streaming:
    """Returns settings with random values of those that may change between two starts."""
    of = streams(
        impressions={**IMPRESSION, **chance.choice(COLUMNS)},
        clicks={**CLICK, **chance.choice(COLUMNS)},
    )
    of["clicks"]["outcome"]["within"] = chance.choice(["1m", "30m", "180m"])
    return settings(
        folder,
        streams=of,
        allowed_lateness_minutes=chance.choice([0, 5, 90]),
        max_files_per_batch=chance.choice([1, 2, 20]),
    )


def random_files(chance: random.Random, streaming: Streaming, start: int) -> Counter[str]:
    """Puts files of new events into the watched folder, and returns the events' ids."""
    made: Counter[str] = Counter()
    for stream in STREAMS:
        assert streaming.watched is not None
        folder = streaming.watched / stream
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(chance.randint(0, 2)):
            lines = []
            for n in range(chance.randint(1, 6)):
                name = f"{stream}-{start}-{number}-{n}"
                made[name] += 1
                minute = chance.uniform(0, min(HOURS, start + 2) * 60)
                value = {"v": chance.choice(VALUES)} if chance.random() < 0.6 else {}
                event = impression(name, minute, **value)
                if stream == "clicks":
                    event = click(name, f"impressions-{start}-0-0", minute, **value)
                lines.append(json.dumps(event))
            path = folder / f"{chance.randint(0, 99)}-{start}-{number}.json"
            path.write_text("".join(f"{line}\n" for line in lines))
        for path in folder.iterdir():
            if chance.random() < 0.3:
                os.utime(path, (chance.randint(0, 2_000_000_000),) * 2)
    return made


def found_ids(layout: Layout) -> Iterator[str]:
    """Yields the id of every event in spans, and of late, open and rejected events."""
    closed = layout.closed_hours()
    for stream in STREAMS:
        name = IDS[stream]
        yield from (row[name] for row in rows_of(layout.newest(stream, closed), [name]))
        refused = [*layout.unfit_folder.glob(f"{stream}/*/*/v*")]
        for manifest in layout.manifests():
            number = manifest["batch"]
            for hour in range(FIRST_HOUR, FIRST_HOUR + HOURS):
                if hour not in closed:
                    landed = layout.landed(number, stream, hour, LANDED)
                    yield from (row[name] for row in rows_of([landed], [name]))
                if number not in closed.get(hour, {}).get("late_batches", ()):
                    late = layout.landed(number, stream, hour, LATE)
                    yield from (row[name] for row in rows_of([late], [name]))
            refused += layout.batch(number).glob(f"outcome={REFUSED}/stream={stream}")
        yield from (json.loads(row["_record"])[name] for row in rows_of(refused, ["_record"]))


STARTS = 4


@pytest.mark.integration
@pytest.mark.parametrize("seed", [1, 2])
def test_every_event_is_found_once_through_restarts(
    spark: SparkSession, tmp_path: Path, seed: int
) -> None:
    """A random walk; its seed reproduces a failure."""
    chance, made = random.Random(seed), Counter[str]()
    layout = Layout(tmp_path / "out")
    for starts in range(STARTS):
        streaming = random_settings(chance, layout.folder)
        made += random_files(chance, streaming, starts)
        ingest(spark, streaming, lambda *_: None, once=True, finish=chance.random() < 0.2)
        late = [
            hour
            for hour in layout.closed_hours()
            if sum(late_rows(layout.manifests(), hour).values())
        ]
        if late and chance.random() < 0.5:
            replay_if_new(spark, chance.choice(late), streaming)
        assert verify(streaming).problems == []
        assert Counter(found_ids(layout)) == made
    places: Counter[str] = Counter()
    for of in verify(streaming).places.values():
        places.update(of)
    assert places["spans"]
    assert places["refused"]
    assert places["read"] == made.total()


def replay_if_new(spark: SparkSession, hour: int, streaming: Streaming) -> Any:
    """Replays an hour, unless its newest version has all late events."""
    try:
        return replay(spark, hour, streaming)
    except ComponentError as error:
        assert "newest version has all of them" in str(error)
        return None


@pytest.mark.unit
def test_any_names_have_an_order() -> None:
    names = ["", "1", "a1", "1a", "01", "a", "a/1", "a/10", "a/9", "²"]
    assert len(sorted(names, key=reading_order)) == len(names)
