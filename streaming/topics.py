"""Whether a topic is still the one that was read, from where it was read up to.

Spark's checkpoint knows a topic by its name. One that was deleted and made anew, and has more
records than the checkpoint says, would be read on from there: its first records would be lost
without a word. So the topics' ids are kept, and looked at before a query starts and before a batch
counts. Records that have expired unread are an error as well. A person may accept either loss
(`accept`), which is recorded with all that is known of it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from base.atomic_files import whole_file, write_json
from base.errors import ComponentError
from pipeline.streaming_sections import Streaming
from spark_io.connectors.kafka import Topic
from streaming.checkpoint import settle
from streaming.layout import STREAMS, Layout, numbered, read_json
from streaming.sources import kafka_source

RECREATED, EXPIRED, CUT = "recreated", "expired", "cut"
Report = Callable[[str, dict[str, Any]], None]


class TopicError(ComponentError):
    """A topic is not what it was: whoever tries again meets the same."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """A topic at this moment.

    Attributes:
      topic: Its name.
      id: By which Kafka tells it from another one of that name.
      earliest, latest: Partition -> first offset that is there, and the one after the last.
    """

    topic: str
    id: str
    earliest: Mapping[int, int]
    latest: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class Loss:
    """What of a topic cannot be read any more.

    Attributes:
      stream, topic: Whose records.
      kind: 'recreated', 'expired' or 'cut' (the end lies before what was read already).
      before, after: Partition -> offset: where reading was, and where it goes on.
      was, now: Ids of the topic.
      records: How many were lost; at most so many (offsets that are no records count), or None if
        nobody knows.
    """

    stream: str
    topic: str
    kind: str
    before: dict[int, int]
    after: dict[int, int]
    was: str
    now: str
    records: int | None

    def text(self) -> str:
        """A line for a person."""
        how_many = "an unknown number of" if self.records is None else f"up to {self.records:,}"
        what = {
            RECREATED: f"was deleted and made anew (id {self.was}, now {self.now})",
            EXPIRED: "has removed records before they were read (retention.ms, retention.bytes)",
            CUT: "ends before what was read of it: its brokers have lost records",
        }[self.kind]
        return f"topic {self.topic} of {self.stream} {what}: {how_many} records are lost"


class Topics:
    """The topics of a config, and what is known of them.

    Args:
      spark: The session.
      settings: Section `streaming`, with `kafka`.
      report: Told of partitions that were added.
    """

    def __init__(self, spark: SparkSession, settings: Streaming, report: Report):
        self._spark, self._settings, self._report = spark, settings, report
        self._layout = Layout(settings.folder)
        self._file = settings.folder / "topics.json"
        self._losses = settings.folder / "losses.json"

    def check(self) -> None:
        """Looks before a query starts.

        Raises:
          TopicError: Records are lost, which somebody has to accept.
          ComponentError: No broker, or no topic.
        """
        losses = self.losses()
        if losses:
            raise TopicError(
                f"{'; '.join(loss.text() for loss in losses)}. Nothing was read since. To record "
                "the loss and go on with what is there: python -m streaming accept-loss"
            )

    def facts(self) -> dict[str, Any]:
        """For the manifest of a batch, when it is written: whose records they are.

        Raises:
          TopicError: A topic was made anew since `check`: nobody knows whose they are.
        """
        known = self._known()
        found = {stream: seen.id for stream, seen in self._look().items()}
        for stream, topic_id in found.items():
            if known.get(stream, {}).get("id") != topic_id:
                raise TopicError(f"the topic of {stream} was made anew while it was read")
        return {"topics": found}

    def losses(self) -> list[Loss]:
        """What is lost, as of this moment. Remembers topics that are new to it."""
        known, position = self._known(), _position(self._layout.checkpoint)
        found: list[Loss] = []
        for stream, seen in self._look().items():
            earlier = known.get(stream)
            if earlier is None or earlier["topic"] != seen.topic:
                self._remember(stream, seen)
                continue
            loss = _loss(stream, seen, earlier["id"], position.get(seen.topic, {}))
            if loss is not None:
                found.append(loss)
                continue
            added = sorted({*seen.latest} - {*earlier["partitions"]})
            if added:
                self._report("partitions", {"topic": seen.topic, "stream": stream, "added": added})
                self._remember(stream, seen)
        return found

    def accept(self) -> list[Loss]:
        """Records what is lost, and has the next query begin where there are records."""
        batches = [manifest["batch"] for manifest in self._layout.manifests()]
        settle(self._layout.checkpoint, max(batches, default=-1))
        losses, seen = self.losses(), self._look()
        for loss in losses:
            # Recorded first: accepted twice is better than never told.
            moment = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
            told = {**dataclasses.asdict(loss), "accepted": moment}
            write_json(self._losses, {"losses": [*self.accepted(), told]}, durable=True)
            _move(self._layout.checkpoint, loss.topic, loss.after)
            self._remember(loss.stream, seen[loss.stream])
        return losses

    def accepted(self) -> list[dict[str, Any]]:
        """All losses that were accepted, oldest first."""
        return accepted_losses(self._settings.folder)

    def _look(self) -> dict[str, Seen]:
        found = {}
        for stream in STREAMS:
            source = kafka_source(self._settings, stream)
            with Topic.open(self._spark, stream, source) as topic:
                earliest, latest = topic.offsets("earliest"), topic.offsets("latest")
                found[stream] = Seen(source.topic, topic.id, earliest, latest)
        return found

    def _known(self) -> dict[str, dict[str, Any]]:
        return read_json(self._file) if self._file.exists() else {}

    def _remember(self, stream: str, seen: Seen) -> None:
        one = {"topic": seen.topic, "id": seen.id, "partitions": sorted(seen.latest)}
        write_json(self._file, {**self._known(), stream: one}, durable=True)


def accepted_losses(folder: Path) -> list[dict[str, Any]]:
    """All losses that were accepted, oldest first; see `Loss`, and `accepted` for when."""
    path = folder / "losses.json"
    return list(read_json(path)["losses"]) if path.exists() else []


def _loss(stream: str, seen: Seen, known_id: str, position: Mapping[int, int]) -> Loss | None:
    """None if reading can go on.

    Args:
      stream: Of the topic.
      seen: As it is now.
      known_id: When it was last read.
      position: Partition -> next offset to read; without those that were not read yet.
    """

    def loss(kind: str, after: Mapping[int, int], records: int | None) -> Loss:
        there = dict(position)
        return Loss(stream, seen.topic, kind, there, dict(after), known_id, seen.id, records)

    if seen.id != known_id:
        return loss(RECREATED, seen.earliest, None)
    first = {p: max(at, seen.earliest.get(p, at)) for p, at in position.items()}
    last = {p: min(at, seen.latest.get(p, at)) for p, at in first.items()}
    if any(last[p] < at for p, at in first.items()):
        return loss(CUT, last, None)
    expired = sum(first[p] - at for p, at in position.items())
    return loss(EXPIRED, first, expired) if expired else None


def _position(checkpoint: Path) -> dict[str, dict[int, int]]:
    """Topic -> partition -> next offset to read, as Spark's last committed batch has it."""
    path = _last_committed(checkpoint)
    if path is None:
        return {}
    found: dict[str, dict[int, int]] = {}
    for line in path.read_text("utf-8").splitlines()[2:]:  # v1, the batch's metadata, sources
        for topic, offsets in (json.loads(line) if line.startswith("{") else {}).items():
            found[topic] = {int(partition): offset for partition, offset in offsets.items()}
    return found


def _move(checkpoint: Path, topic: str, to: Mapping[int, int]) -> None:
    """Has the batch after the last committed one begin there."""
    path = _last_committed(checkpoint)
    if path is None:
        return
    lines = path.read_text("utf-8").splitlines()
    for number, line in enumerate(lines[2:], start=2):
        offsets = json.loads(line) if line.startswith("{") else {}
        if topic in offsets:
            offsets[topic] = {str(partition): offset for partition, offset in sorted(to.items())}
            lines[number] = json.dumps(offsets, separators=(",", ":"))
    with whole_file(path, durable=True) as partial:
        partial.write_text("\n".join(lines), "utf-8")
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)  # it is of the old contents


def _last_committed(checkpoint: Path) -> Path | None:
    commits = [int(p.name) for p in numbered(checkpoint / "commits") if p.name.isdecimal()]
    return checkpoint / "offsets" / str(max(commits)) if commits else None
