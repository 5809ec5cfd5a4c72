"""Orders a page by scores, and a small share of the pages at random.

A model that learns only from its own choices never sees that an item it ranks low would be clicked.
A small share of the pages is therefore ranked at random. Each item shown has its propensity logged:
the probability that this policy shows it at this position. With propensities, other rankings can be
evaluated on the same log (inverse propensity scoring), and the effect of a position can be told
from that of the item.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

from serving.client.client import Scores, ScoringClient, check_finite

# (candidates, their positions from 1) -> serialized tf.Examples of their raw features.
MakeExamples = Callable[[Sequence[str], Sequence[int]], list[bytes]]


@dataclasses.dataclass(frozen=True)
class PageOrder:
    """The order of a page.

    Attributes:
      order: Indices of the candidates, by position.
      propensities: Propensity of each candidate at its position.
      explored: Whether the order is random.
    """

    order: tuple[int, ...]
    propensities: tuple[float, ...]
    explored: bool


def rank(
    scores: Sequence[float], page_size: int, exploration: float, chance: random.Random
) -> PageOrder:
    """Returns the candidates ordered by score, or at random with probability `exploration`.

    Args:
      scores: Scores of all candidates.
      page_size: Maximum number of items shown.
      exploration: Share of random pages, 0 to 1.
      chance: Random number generator.

    Raises:
      ValueError: There are no candidates, the share is outside [0, 1], or a score is not finite.
    """
    if not scores or not 0 <= exploration <= 1:
        raise ValueError(
            "expected one or more candidates and an exploration share from 0 to 1. "
            f"Received: {len(scores)} candidates, exploration {exploration}"
        )
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
    """A page that is shown to a user.

    Attributes:
      items: Items by position.
      impression_ids: Impression ids of the items, as in the request log and in clicks.
      scores: Scores of the items at these positions.
      answer: Server's answer with arm, version and request id.
    """

    items: tuple[str, ...]
    impression_ids: tuple[str, ...]
    scores: tuple[float, ...]
    answer: Scores


class PageRanker:
    """Ranks candidates for a user, and logs the shown page through the server.

    The position is a feature of the model, since it affects a click as much as the item does.
    Candidates are therefore compared as if each were at position 1. The shown items are then scored
    again at their positions, and that second request in the server's log records the impressions.

    Args:
      client: Client of the model server.
      page_size: Number of items per page.
      exploration: Share of random pages, 0 to 1.
      chance: Random number generator.
    """

    def __init__(
        self,
        client: ScoringClient,
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
        """Returns a page, after one request for the ranking and one for the shown items.

        Args:
          user_id: Id of the user.
          candidates: Items to choose from.
          examples: Function that makes the examples of items at positions.
          context: More fields of the impressions, such as session_id and device.

        Raises:
          grpc.RpcError, ValueError: There are no valid scores; see ScoringClient.score.
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
