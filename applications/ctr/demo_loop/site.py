"""The simulated site: serves pages by the model of each user's arm, and sends clicks to Kafka."""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from pathlib import Path
from typing import Any

from applications.ctr.aggregations import CLICKS, IMPRESSIONS
from applications.ctr.page_feedback import events_of_request
from applications.ctr.ranking import PageRanker
from applications.ctr.request_features import RequestFeatures
from applications.ctr.sample_data.click_model import PAGE_SIZE
from applications.ctr.sample_data.served_users import PageRequest, ServedUsers, ShownPage
from base.errors import ComponentError
from components.pusher.release import STABLE
from pipeline.config import PipelineConfig
from serving.client.client import ScoringClient
from serving.release.ab_split import arm_of
from streaming.feedback.publish import Feedback
from streaming.feedback.sinks import Sink
from streaming.online import online_store

FROZEN = "frozen"
_STORE_TIMEOUT_S = 15  # longest wait for the online store
_LOG_TIMEOUT_S = 20  # longest wait for the request log, which takes half a second


class Site:
    """Makes traffic, with models or without.

    Args:
      config: Config of the loop.
      users: Simulated users.
      sink: Receiver of the events.
      exploration: Share of random pages, 0 to 1.
      frozen_percent: Percentage of the users who keep the first model.
      seed: Seed of the exploration.
    """

    def __init__(
        self,
        config: PipelineConfig,
        users: ServedUsers,
        sink: Sink,
        *,
        exploration: float,
        frozen_percent: float,
        seed: int,
    ):
        assert config.streaming is not None
        self._config, self._users, self._sink = config, users, sink
        self._exploration, self._frozen_percent = exploration, frozen_percent
        self._chance = random.Random(seed)  # noqa: S311 - which pages explore
        self._folder = config.streaming.folder
        self._rankers: dict[str, PageRanker] = {}
        self._feedback: list[Feedback] = []
        self._clicks_to_come: list[dict[str, Any]] = []

    def serve(
        self, stable: str, frozen: str, frozen_log: Path, stack: contextlib.ExitStack
    ) -> None:
        """Starts to rank pages by models.

        Args:
          stable: Address of the server of the loop's models.
          frozen: Address of the server of the first model.
          frozen_log: Request log of the server of the first model.
          stack: Stack that closes the connections.
        """
        percent = self._config.serving.canary_percent
        key = secrets.token_hex().encode()  # a new key for each run
        options: dict[str, Any] = {"timeout_s": 10, "feedback_key": key}
        clients = {
            "": ScoringClient(stable, self._config.name, canary_percent=percent, **options),
            FROZEN: ScoringClient(frozen, FROZEN, labels=False, **options),
        }
        for name, client in clients.items():
            stack.enter_context(client)
            self._rankers[name] = PageRanker(client, PAGE_SIZE, self._exploration, self._chance)
        log = self._config.serving.request_log
        assert log is not None
        self._feedback = [
            Feedback(
                folder,
                self._folder / f"{name}.json",
                self._sink,
                IMPRESSIONS,
                events_of_request,
                key,
            )
            for name, folder in (("feedback", log.folder), ("feedback-frozen", frozen_log))
        ]
        assert self._config.streaming is not None
        store = online_store(self._config.streaming, self._config.name)
        stack.callback(store.close)
        self._features = RequestFeatures(store)

    def traffic(self, count: int, hour: int, parts: range, of: int) -> int:
        """Makes the traffic of some parts of an hour, and returns the number of impressions.

        It returns once their events are in Kafka. Clicks of later parts are held back; sent now,
        they would move the watermark past the impressions of those parts.
        """
        impressions: list[dict[str, Any]] = []
        clicks, self._clicks_to_come = self._clicks_to_come, []
        for part in parts:
            some = _share(count, part + 1, of) - _share(count, part, of)
            pages = self._pages if self._rankers else None
            more, clicked = self._users.visit(some, hour, part, of, pages)
            impressions += more
            clicks += clicked
        end_ms = self._users.time_ms(hour, parts.stop, of)
        self._clicks_to_come = [click for click in clicks if click["timestamp_ms"] >= end_ms]
        self._sink.send(CLICKS, [click for click in clicks if click["timestamp_ms"] < end_ms])
        expected = _share(count, parts.stop, of) - _share(count, parts.start, of)
        if not self._rankers:
            self._sink.send(IMPRESSIONS, impressions)
            return expected
        return self._published(expected)

    def _published(self, expected: int) -> int:
        published, end = 0, time.monotonic() + _LOG_TIMEOUT_S
        while published < expected:
            published += sum(feedback.publish() for feedback in self._feedback)
            if time.monotonic() > end:
                raise ComponentError(
                    f"expected {expected:,} impressions in the request logs. "
                    f"Received: {published:,}; see the servers' logs"
                )
            time.sleep(0.1)
        return published

    def last_clicks(self) -> None:
        """Sends the clicks that were held back after the last part."""
        self._sink.send(CLICKS, self._clicks_to_come)
        self._clicks_to_come = []

    def wait_for_features(self, hour: int, part: int, of: int) -> None:
        """Waits until the online store has the events before a part, up to a limit.

        At a real site the store is some time behind as well.
        """
        if not self._rankers:
            return
        wanted = self._users.time_ms(hour, part - 1, of)
        end = time.monotonic() + _STORE_TIMEOUT_S
        while self._features.online.as_of() < wanted and time.monotonic() < end:
            time.sleep(0.2)

    def _pages(self, requests: list[PageRequest]) -> list[ShownPage]:
        return [self._page(request) for request in requests]

    def _page(self, asked: PageRequest) -> ShownPage:
        is_frozen = arm_of(asked.user_id, self._frozen_percent, FROZEN) != STABLE
        context: dict[str, Any] = {
            "session_id": asked.session_id,
            "device": asked.device,
            "surface": asked.surface,
            "timestamp_ms": asked.timestamp_ms,
        }
        if is_frozen:
            context["arm"] = FROZEN

        def examples(items: Any, positions: Any) -> list[bytes]:
            return self._features.examples(
                asked.user_id,
                items,
                positions,
                asked.timestamp_ms,
                device=asked.device,
                surface=asked.surface,
            )

        ranker = self._rankers[FROZEN if is_frozen else ""]
        page = ranker.page(asked.user_id, asked.candidates, examples, context)
        return ShownPage(page.items, page.impression_ids)


def _share(count: int, part: int, of: int) -> int:
    """Returns the number of an hour's impressions before a part, in whole pages."""
    return count * part // of // PAGE_SIZE * PAGE_SIZE
