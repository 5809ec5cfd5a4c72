"""What a ranking service does with scores: a page, and now and then one in random order.

A model that learns from its own choices goes blind: what it ranks low is never shown, and so never
proves it wrong. A small share of the pages is therefore ranked at random, and each item shown has
its propensity logged: the probability that this policy shows it at this position. With propensities
any other ranking can be judged on the same log (inverse propensity scoring), and the position's own
effect be told from the item's.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

from serving.client.client import RankingClient, Scores, check_finite

# Positions (from 1) of the candidates -> serialized tf.Examples of their raw features.
MakeExamples = Callable[[Sequence[str], Sequence[int]], list[bytes]]


@dataclasses.dataclass(frozen=True)
class PageOrder:
    """The order of a page.

    Attributes:
      order: which candidates, by position.
      propensities: of each, at its position.
      explored: whether the order is random.
    """

    order: tuple[int, ...]
    propensities: tuple[float, ...]
    explored: bool


def rank(
    scores: Sequence[float], page_size: int, exploration: float, chance: random.Random
) -> PageOrder:
    """The candidates by score, or with probability `exploration` in random order.

    Args:
      scores: of all candidates.
      page_size: how many are shown, at most.
      exploration: share of random pages, 0 to 1.
      chance: decides which.

    Raises:
      ValueError: no candidates, a share outside [0, 1], or a score that is not finite.
    """
    if not scores or not 0 <= exploration <= 1:
        raise ValueError("a page needs candidates, and exploration is a share from 0 to 1")
    check_finite(scores)
    count = len(scores)
    best = sorted(range(count), key=lambda candidate: (-scores[candidate], candidate))
    explored = chance.random() < exploration
    order = chance.sample(range(count), min(page_size, count)) if explored else best[:page_size]
    at_random = exploration / count
    propensities = [
        at_random + (1 - exploration if best[place] == candidate else 0.0)
        for place, candidate in enumerate(order)
    ]
    return PageOrder(tuple(order), tuple(propensities), explored)


@dataclasses.dataclass(frozen=True)
class Page:
    """What a user is shown.

    Attributes:
      items: by position.
      impression_ids: of each; the request log and the clicks name them.
      scores: as the model has them at these positions.
      answer: arm, version and request id.
    """

    items: tuple[str, ...]
    impression_ids: tuple[str, ...]
    scores: tuple[float, ...]
    answer: Scores


class PageRanker:
    """Ranks candidates for a user, and has what is shown logged.

    Position is a feature of the model, since it decides about a click as much as the item does. So
    candidates are compared as if each stood first, and what is shown is scored once more where it
    stands: that second request, in the server's log, is the record of the impressions.

    Args:
      client: of the server.
      page_size: items a page.
      exploration: share of random pages.
      chance: decides which.
    """

    def __init__(
        self,
        client: RankingClient,
        page_size: int,
        exploration: float,
        chance: random.Random,
    ):
        self._client, self._page_size = client, page_size
        self._exploration, self._chance = exploration, chance

    def page(
        self,
        user_id: str,
        candidates: Sequence[str],
        examples: MakeExamples,
        context: dict[str, Any],
    ) -> Page:
        """Two requests: one to rank, one for what is shown.

        Args:
          user_id: who asks.
          candidates: items that might be shown.
          examples: makes their examples.
          context: what else the impressions' events hold, such as session_id and device.

        Raises:
          grpc.RpcError, ValueError: there are no scores to rank by; see RankingClient.score.
        """
        first = self._client.score(user_id, examples(candidates, [1] * len(candidates)))
        ranked = rank(first.scores, self._page_size, self._exploration, self._chance)
        items = [candidates[candidate] for candidate in ranked.order]
        positions = list(range(1, len(items) + 1))
        ids = tuple(f"{first.request_id}-{position}" for position in positions)
        shown = self._client.score(
            user_id,
            examples(items, positions),
            context={
                **context,
                "shown": ids,
                "positions": positions,
                "propensities": ranked.propensities,
                "explored": ranked.explored,
            },
        )
        return Page(tuple(items), ids, shown.scores, shown)
