"""Declarations that are not possible are reported with what was expected."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest

from base.durations import milliseconds
from base.section import ConfigError
from features.aggregations import Count, Last, Mean, Rate, Sum
from features.groups import FeatureGroup, check, streams_of
from tests.product import ROOT

pytestmark = pytest.mark.unit

STREAMS = {"payments": ["at", "card", "amount"], "disputes": ["at", "card"]}
CARD: dict[str, Any] = {
    "name": "card",
    "stream": "payments",
    "keys": ("card",),
    "windows": ("1h", "7d"),
    "aggregations": (Count(), Sum("amount")),
}


def group(**changes: Any) -> FeatureGroup:
    return FeatureGroup(**{**CARD, **changes})


def test_columns_are_named_by_group_aggregation_and_window() -> None:
    names = ["card_count_1h", "card_sum_amount_1h", "card_count_7d", "card_sum_amount_7d"]
    assert group().column_names() == names


def test_the_application_chooses_names() -> None:
    last = Last(("amount", "card"), 10, hours="hours", named=("amounts", "cards"))
    chosen = group(aggregations=(last,), windows=("7d",), column="recent_{name}")
    assert chosen.column_names() == ["recent_amounts", "recent_cards", "recent_hours"]


@pytest.mark.parametrize(("prior", "strength"), [(0.1, 0), (0.1, -1), (float("nan"), 1)])
def test_a_rate_without_events_must_be_a_number(prior: float, strength: float) -> None:
    with pytest.raises(ConfigError, match="a rate needs a finite prior and a finite strength"):
        Rate("payments", prior=prior, strength=strength)


def test_streams_of_rates_are_needed_too() -> None:
    rate = Rate("payments", prior=0.01, strength=5)
    assert streams_of([group(stream="disputes", aggregations=(rate,))]) == ["disputes", "payments"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": ("30m",)}, "must be a whole multiple of the tile, 1h. Received: 30m"),
        ({"windows": ("90m",)}, "must be a whole multiple of the tile, 1h. Received: 90m"),
        (
            {"windows": ("1 hour",)},
            "expected a duration such as 30m, 24h or 7d. Received: '1 hour'",
        ),
        ({"windows": "7d"}, "windows must be a tuple with at least one element. Received: 7d"),
        ({"keys": ()}, "keys must be a tuple with at least one element"),
        ({"tile": "0h"}, "expected a duration"),
        (
            {"windows": ("1h", "1h")},
            "a name of its own. Received: card_count_1h, card_sum_amount_1h",
        ),
        (
            {"aggregations": (Count(name="<b>"),)},
            "only letters, digits and _. Received: card_<b>_1h",
        ),
    ],
)
def test_a_declaration_that_is_not_possible_is_one_line(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match="feature group 'card': ") as raised:
        group(**changes)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            [group(), group(name="card", stream="disputes", aggregations=(Count(),))],
            "feature groups 'card' and 'card' both produce the column 'card_count_1h'",
        ),
        (
            [group(stream="payment")],
            "names the stream 'payment'. Expected one of: disputes, payments",
        ),
        (
            [group(aggregations=(Mean("price"),))],
            "names the column 'price' of the stream 'payments'. Expected one of: amount, at, card",
        ),
        (
            [group(keys=("shop",))],
            "names the column 'shop' of the stream 'payments'",
        ),
    ],
)
def test_declarations_are_checked_against_the_streams(
    groups: list[FeatureGroup], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        check(groups, STREAMS)
    assert message in str(raised.value)


def test_declarations_that_fit_pass() -> None:
    check([group()], STREAMS)


@pytest.mark.parametrize(
    ("text", "expected"), [("30m", 1_800_000), ("7d", 604_800_000), ("1s", 1_000)]
)
def test_durations(text: str, expected: int) -> None:
    assert milliseconds(text) == expected


def test_the_examples_of_the_page_are_possible() -> None:
    """Runs the declarations of docs/features.md, and compares what it says of their columns."""
    page = (ROOT / "docs/features.md").read_text("utf-8")
    blocks = re.findall(r"(?:^    .*\n|^\n)+", page, re.MULTILINE)
    code = [textwrap.dedent(block) for block in blocks if "import" in block or "Group(" in block]
    namespace: dict[str, Any] = {}
    for block in code:
        exec(block, namespace)  # noqa: S102  # our own page
    card, shop, heat = (namespace[name] for name in ("CARD", "SHOP", "HEAT"))
    assert len(card.column_names()) == 15
    assert {"card_count_1h", "card_sum_amount_24h", "card_distinct_shop_7d"} < {
        *card.column_names()
    }
    assert shop.column_names() == ["shop_dispute_rate_30d"]
    assert {"heat_last_celsius_2h", "heat_hours_2h"} < {*heat.column_names()}
