"""Events a second that ingest keeps up with: python -m benchmarks.streaming --help

A real broker, a producer that sends at a fixed rate, and `python -m streaming ingest` with the hour
tables and the online store of the CTR application, as a process of its own. An hour of event time
goes by in a minute, so that closing hours is part of it. Lag: events that were sent and are in no
finished batch yet.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from applications.ctr.aggregations import CLICKS, IMPRESSIONS
from benchmarks.measure import ROOT, Watch, write_result
from benchmarks.sample import sample_data
from dev_services.kafka import create_topics, kafka
from features.online_update import OPEN
from pipeline.config import load_config
from streaming.feedback.sinks import KafkaSink, sink_of
from streaming.layout import Layout

CONFIG = "applications/ctr/configs/ctr-stream.yaml"
HOUR_S, CLICK_SHARE, CLICK_AFTER_MS = 60, 0.1, 60_000
START_MS = 1_709_251_200_000  # 2024-03-01T00
USERS, ITEMS, PAGE = 50_000, 3_000, 10
console = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="A minute instead of five.")
@click.option("--rate", default=20_000, show_default=True, help="Events a second.")
@click.option("--seconds", default=300, show_default=True)
@click.option("--set", "more", multiple=True, metavar="KEY=VALUE", help="Changes the config.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(quick: bool, rate: int, seconds: int, more: tuple[str, ...], out: Path | None) -> None:
    """Sends events for some minutes, and watches how far behind ingest is."""
    seconds = 60 if quick else seconds
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary), rate, seconds, more)
    ratios = {"read_vs_sent": found["read_per_second"] / found["sent_per_second"]}
    result = write_result("streaming", found.pop("samples")[::10], found, ratios, out)
    Console().print_json(json.dumps(result["figures"]))


class IngestEndedError(Exception):
    """It should have gone on."""


def measure(root: Path, rate: int, seconds: int, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """The rate that was sent and read, the lag, memory, and the seconds from the last event until
    all is in finished batches.
    """
    log = root / "log"
    sample_data("ctr", log, impressions=50_000, hours=1, users=USERS, items=ITEMS)
    (root / "kafka").mkdir()
    with kafka(root / "kafka") as broker:
        overrides = [f"data_root={log}", f"streaming.folder={root / 'streaming'}"]
        overrides += ["streaming.watched=null", "spark.jars=[jars/spark/*.jar]"]
        overrides += [
            f"streaming.kafka={{bootstrap_servers: '{broker.bootstrap_servers}'}}",
            "sample_data=null",
            "truth=null",
            *more,
        ]
        config = load_config(ROOT / CONFIG, overrides)
        assert config.streaming is not None
        sink = sink_of(config.streaming)
        assert isinstance(sink, KafkaSink)
        create_topics(broker.bootstrap_servers, [IMPRESSIONS, CLICKS])
        traffic = Traffic(sink, rate)
        traffic.send(1)  # for the first batch
        command = [sys.executable, "-m", "streaming", "ingest", "--config", CONFIG]
        command += [part for one in overrides for part in ("--set", one)]
        with (root / "ingest.log").open("wb") as printed:
            ingest = subprocess.Popen(command, cwd=ROOT, stdout=printed, stderr=printed)
        try:
            found = _watched(traffic, Progress(Layout(root / "streaming")), ingest, seconds)
        except IngestEndedError:
            raise RuntimeError((root / "ingest.log").read_text()[-3000:]) from None
        finally:
            ingest.terminate()
            ingest.wait()
    return {"rate": rate, **found}


def _watched(
    traffic: Traffic, progress: Progress, ingest: subprocess.Popen[bytes], seconds: int
) -> dict[str, Any]:
    while progress.read() == 0:  # Spark has started
        time.sleep(0.5)
        if ingest.poll() is not None:
            raise IngestEndedError
    samples: list[dict[str, float]] = []
    began = time.monotonic()
    sending = threading.Thread(target=traffic.run, args=(seconds,))
    with Watch(ingest.pid) as memory:
        sending.start()
        while sending.is_alive() or progress.read() < traffic.sent:
            if ingest.poll() is not None:
                raise IngestEndedError
            samples.append(
                {
                    "second": round(time.monotonic() - began, 1),
                    "sent": traffic.sent,
                    "lag": traffic.sent - progress.read(),
                    "mib": round(memory.now_mib),
                    "hours_closed": progress.hours(),
                    "table_age_s": progress.table_age_s(),
                }
            )
            if len(samples) % 20 == 1:
                console.print(samples[-1])
            time.sleep(1)
        after = time.monotonic() - began - traffic.seconds
    third = len([s for s in samples if s["second"] <= traffic.seconds]) // 3
    lags = [s["lag"] for s in samples if s["second"] <= traffic.seconds]
    return {
        "sent_per_second": round(traffic.sent / traffic.seconds),
        "read_per_second": round(progress.read() / (traffic.seconds + after)),
        "seconds": round(traffic.seconds),
        "seconds_to_catch_up": round(after, 1),
        "lag_median": float(np.median(lags)),
        "lag_most": max(lags),
        "lag_median_by_third": [float(np.median(lags[n * third :][:third])) for n in range(3)],
        "mib_by_third": [max(s["mib"] for s in samples[n * third :][:third]) for n in range(3)],
        "hours_closed": progress.hours(),
        "closing_s": progress.closing(),
        "table_age_most_s": max(s["table_age_s"] for s in samples),
        "samples": samples,
    }


class Progress:
    """What is in finished batches, by their manifests, each read once."""

    def __init__(self, layout: Layout):
        self._layout, self._next, self._events = layout, 0, 0

    def read(self) -> int:
        """Events so far."""
        while (path := self._layout.manifest(self._next)).exists():
            self._events += sum(row["rows"] for row in json.loads(path.read_text("utf-8"))["rows"])
            self._next += 1
        return self._events

    def hours(self) -> int:
        return len([*self._layout.markers.glob("*.json")])

    def table_age_s(self) -> float:
        """Since the online store was brought up to date; 0 if it never was."""
        path = self._layout.folder / "online" / f"{OPEN}.sqlite"
        return round(time.time() - path.stat().st_mtime, 1) if path.exists() else 0.0

    def closing(self) -> list[float]:
        """Seconds of each hour."""
        return [marker["seconds"] for marker in self._layout.closed_hours().values()]


class Traffic:
    """Impressions, each tenth of them clicked a minute later, at a fixed rate.

    Args:
      sink: to Kafka.
      rate: events a second.

    Attributes:
      sent: events so far, given to the broker.
      seconds: how long `run` took.
    """

    def __init__(self, sink: KafkaSink, rate: int):
        self._sink, self._rate = sink, rate
        self.sent, self.seconds = 0, 0.0
        self._made = 0  # impressions
        self._clicks: deque[tuple[int, str]] = deque()  # (time, impression) to come
        self._impressions_a_second = rate / (1 + CLICK_SHARE)

    def run(self, seconds: int) -> None:
        """Sends, a tenth of a second's events at a time."""
        began, steps = time.monotonic(), seconds * 10
        for step in range(steps):
            self.send(self._rate // 10)
            time.sleep(max(0.0, began + (step + 1) / 10 - time.monotonic()))
        self.seconds = time.monotonic() - began

    def send(self, count: int) -> None:
        """So many events."""
        impressions, clicks = [], []
        for _ in range(count):
            now_ms = self._now_ms()
            if self._clicks and self._clicks[0][0] <= now_ms:
                clicks.append(_click(*self._clicks.popleft()))
            else:
                impressions.append(self._impression(now_ms))
        self._sink.send_text(CLICKS, clicks)
        self._sink.send_text(IMPRESSIONS, impressions)
        self.sent += count

    def _now_ms(self) -> int:
        passed_s = self._made / self._impressions_a_second
        return START_MS + int(passed_s * 3_600_000 / HOUR_S)

    def _impression(self, now_ms: int) -> tuple[str, bytes]:
        number = self._made
        self._made += 1
        page = number // PAGE
        name, session = f"i{number}", f"s{page}"
        user, item = page * 7919 % USERS, number * 104_729 % ITEMS
        if number % int(1 / CLICK_SHARE) == 0:
            self._clicks.append((now_ms + CLICK_AFTER_MS, name))
        text = (
            f'{{"impression_id": "{name}", "session_id": "{session}", "user_id": "u{user}", '
            f'"item_id": "item_{item}", "position": {number % PAGE + 1}, "device": "mobile", '
            f'"surface": "home", "timestamp_ms": {now_ms}}}'
        )
        return session, text.encode()


def _click(time_ms: int, impression: str) -> tuple[str, bytes]:
    text = (
        f'{{"click_id": "c{impression}", "impression_id": "{impression}", '
        f'"timestamp_ms": {time_ms}}}'
    )
    return impression, text.encode()


if __name__ == "__main__":
    main()
