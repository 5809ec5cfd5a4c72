"""The watermark after batches, and the hours that are still open."""

from __future__ import annotations

import pytest

from streaming.watermark import HOUR_MS, advanced, first_open_hour, labels_until

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("before", "newest", "after"),
    [
        (None, {}, None),
        (None, {"a": 100}, 90),
        (None, {"a": 100, "b": 60}, 50),  # the partition furthest behind decides
        (50, {"a": 200, "b": 70}, 60),
        (50, {"a": 200}, 190),  # b is idle
        (50, {"a": 200, "b": 40}, 190),  # b has late events only
        (50, {"b": 40}, 50),  # never back
        (50, {}, 50),
    ],
)
def test_the_watermark(before, newest, after) -> None:
    assert advanced(before, newest, 10) == after


def test_an_hour_is_open_until_the_watermark_has_passed_its_end() -> None:
    assert first_open_hour(None) is None
    assert first_open_hour(5 * HOUR_MS - 1) == 4
    assert first_open_hour(5 * HOUR_MS) == 5


def test_labels_are_those_of_whole_hours_and_the_time_after_them() -> None:
    half = HOUR_MS // 2
    assert labels_until(5 * HOUR_MS + half, half) == 5 * HOUR_MS + half
    assert labels_until(5 * HOUR_MS + half - 1, half) == 4 * HOUR_MS + half
    assert labels_until(5 * HOUR_MS, 2 * HOUR_MS) == 5 * HOUR_MS
    assert labels_until(5 * HOUR_MS - 1, 2 * HOUR_MS) == 4 * HOUR_MS
