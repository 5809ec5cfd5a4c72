"""Detects topics that were recreated or have lost records, and records accepted losses.

Spark's checkpoint identifies a topic by its name. If a topic is deleted and recreated, and grows
beyond the stored offset, Spark would continue from there and silently skip its first records.
Therefore the topic ids are stored, and checked before a query starts and before a batch counts.
Records that expired unread are an error as well. `accept` records a loss and lets ingest continue.
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
from streaming.checkpoint import settle_batches
from streaming.layout import Layout, numbered, read_json
from streaming.sources import kafka_source

RECREATED, EXPIRED, CUT = "recreated", "expired", "cut"
Report = Callable[[str, dict[str, Any]], None]


class TopicError(ComponentError):
    """A topic was recreated or has lost records; trying again does not help."""


@dataclasses.dataclass(frozen=True)
class TopicState:
    """The current state of a topic.

    Attributes:
      topic: Name of the topic.
      id: Kafka's id, which changes when the topic is recreated.
      earliest, latest: Partition -> first available offset, and the offset after the last.
    """

    topic: str
    id: str
    earliest: Mapping[int, int]
    latest: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class TopicLoss:
    """Records of a topic that can no longer be read.

    Attributes:
      stream, topic: Stream and topic of the records.
      kind: 'recreated', 'expired' or 'cut' (the topic ends before the position already read).
      before, after: Partition -> offset before the loss, and offset where reading continues.
      was, now: Topic id before and after the loss.
      records: Upper bound of the lost records (some offsets are not records); None if unknown.
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
        """Returns the loss in one line."""
        how_many = "an unknown number of" if self.records is None else f"up to {self.records:,}"
        what = {
            RECREATED: f"was deleted and recreated (id {self.was}, now {self.now})",
            EXPIRED: "has removed records before they were read (retention.ms, retention.bytes)",
            CUT: "ends before the position already read: its brokers have lost records",
        }[self.kind]
        return f"topic {self.topic} of {self.stream} {what}: {how_many} records are lost"


class Topics:
    """The topics of a config, and their stored ids and partitions.

    Args:
      spark: Spark session.
      settings: Section `streaming` with `kafka`.
      report: Function that is called with new partitions.
    """

    def __init__(self, spark: SparkSession, settings: Streaming, report: Report):
        self._spark, self._settings, self._report = spark, settings, report
        self._layout = Layout(settings.folder)
        self._file = settings.folder / "topics.json"
        self._losses = settings.folder / "losses.json"

    def check(self) -> None:
        """Checks that no records are lost, before a query starts.

        Raises:
          TopicError: Records are lost, and nobody has accepted the loss.
          ComponentError: There is no broker or no topic.
        """
        losses = self.losses()
        if losses:
            raise TopicError(
                f"{'; '.join(loss.text() for loss in losses)}. No records were read since. To "
                "record the loss and continue: python -m streaming accept-loss"
            )

    def facts(self) -> dict[str, Any]:
        """Returns the topic ids for the manifest of a batch.

        Raises:
          TopicError: A topic was recreated since `check`, so the origin of the records is unknown.
        """
        known = self._known()
        found = {stream: seen.id for stream, seen in self._look().items()}
        for stream, topic_id in found.items():
            if known.get(stream, {}).get("id") != topic_id:
                raise TopicError(f"the topic of {stream} was recreated while it was read")
        return {"topics": found}

    def losses(self) -> list[TopicLoss]:
        """Returns the current losses, and stores the ids of new topics and partitions."""
        known, position = self._known(), _position(self._layout.checkpoint)
        self._check_streams(known)
        found: list[TopicLoss] = []
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

    def order(self) -> list[str]:
        """Returns the streams in the order in which the query reads them, whatever the config's.

        Spark's checkpoint knows the topics of a query by their order alone.
        """
        return [stream for stream in self._known() if stream in self._settings.streams]

    def _check_streams(self, known: Mapping[str, Any]) -> None:
        """Checks that the streams are those of the checkpoint.

        Raises:
          TopicError: A stream came or went since the first batch.
        """
        if not numbered(self._layout.checkpoint / "offsets"):
            return
        if {*known} != {*self._settings.streams}:
            raise TopicError(
                f"expected the streams that {self._layout.checkpoint} was made for: "
                f"{', '.join(known)}. Received: {', '.join(self._settings.streams)}. Spark cannot "
                "add topics to a query or remove them: choose a new streaming.folder, which reads "
                "everything again that Kafka still has"
            )

    def accept(self) -> list[TopicLoss]:
        """Records the losses, and makes the next query start with the available records."""
        batches = [manifest["batch"] for manifest in self._layout.manifests()]
        settle_batches(self._layout.checkpoint, max(batches, default=-1))
        losses, seen = self.losses(), self._look()
        for loss in losses:
            # Recorded first: a loss recorded twice is better than one never recorded.
            timestamp = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
            entry = {**dataclasses.asdict(loss), "accepted": timestamp}
            write_json(self._losses, {"losses": [*self.accepted(), entry]}, durable=True)
            _move(self._layout.checkpoint, loss.topic, loss.after)
            self._remember(loss.stream, seen[loss.stream])
        return losses

    def accepted(self) -> list[dict[str, Any]]:
        """Returns all accepted losses, oldest first."""
        return accepted_losses(self._settings.folder)

    def _look(self) -> dict[str, TopicState]:
        found = {}
        for stream in self._settings.streams:
            source = kafka_source(self._settings, stream)
            with Topic.open(self._spark, stream, source) as topic:
                earliest, latest = topic.offsets("earliest"), topic.offsets("latest")
                found[stream] = TopicState(source.topic, topic.id, earliest, latest)
        return found

    def _known(self) -> dict[str, dict[str, Any]]:
        return read_json(self._file) if self._file.exists() else {}

    def _remember(self, stream: str, seen: TopicState) -> None:
        one = {"topic": seen.topic, "id": seen.id, "partitions": sorted(seen.latest)}
        write_json(self._file, {**self._known(), stream: one}, durable=True)


def accepted_losses(folder: Path) -> list[dict[str, Any]]:
    """Returns all accepted losses, oldest first: fields of TopicLoss, and `accepted` (ISO time)."""
    path = folder / "losses.json"
    return list(read_json(path)["losses"]) if path.exists() else []


def _loss(
    stream: str, seen: TopicState, known_id: str, position: Mapping[int, int]
) -> TopicLoss | None:
    """Returns the loss of a topic; None if reading can continue.

    Args:
      stream: Stream of the topic.
      seen: Current state of the topic.
      known_id: Stored id of the topic.
      position: Partition -> next offset to read, for partitions that were read before.
    """

    def loss(kind: str, after: Mapping[int, int], records: int | None) -> TopicLoss:
        there = dict(position)
        return TopicLoss(stream, seen.topic, kind, there, dict(after), known_id, seen.id, records)

    if seen.id != known_id:
        return loss(RECREATED, seen.earliest, None)
    first = {p: max(at, seen.earliest.get(p, at)) for p, at in position.items()}
    last = {p: min(at, seen.latest.get(p, at)) for p, at in first.items()}
    if any(last[p] < at for p, at in first.items()):
        return loss(CUT, last, None)
    expired = sum(first[p] - at for p, at in position.items())
    return loss(EXPIRED, first, expired) if expired else None


def _position(checkpoint: Path) -> dict[str, dict[int, int]]:
    """Returns topic -> partition -> next offset to read, by Spark's last committed batch."""
    path = _last_committed(checkpoint)
    if path is None:
        return {}
    found: dict[str, dict[int, int]] = {}
    for line in path.read_text("utf-8").splitlines()[2:]:  # v1, the batch's metadata, sources
        for topic, offsets in (json.loads(line) if line.startswith("{") else {}).items():
            found[topic] = {int(partition): offset for partition, offset in offsets.items()}
    return found


def _move(checkpoint: Path, topic: str, to: Mapping[int, int]) -> None:
    """Makes the batch after the last committed one start at these offsets of a topic."""
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
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)  # checksum of the old contents


def _last_committed(checkpoint: Path) -> Path | None:
    commits = [int(p.name) for p in numbered(checkpoint / "commits") if p.name.isdecimal()]
    return checkpoint / "offsets" / str(max(commits)) if commits else None
