"""What the Transform step computes itself, beyond TFT's own functions."""

from __future__ import annotations

import pytest
import tensorflow as tf

from applications.ctr import features
from tabular.preprocessing import hours_since

pytestmark = pytest.mark.unit


def test_hours_since_the_last_click_on_what_is_shown() -> None:
    lists = {
        # Filled up with "" and 0, as the Transform step does.
        "recent_category": tf.constant(
            [["toys", "books", "toys"], ["books", "", ""], ["", "", ""], ["toys", "", ""]]
        ),
        features.RECENT_HOURS: tf.constant(
            [[1.5, 2.0, 9.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [500.0, 0.0, 0.0]]
        ),
    }
    shown = {"category": tf.constant(["toys", "toys", "", "toys"])}
    found = hours_since(lists, shown, "recent_category", "category").numpy().tolist()
    never = features.NEVER_HOURS
    assert found == [1.5, never, never, never]


def test_every_sequence_has_a_recency() -> None:
    assert features.RECENCY == {
        "hours_since_item_id_click": ("recent_item_id", "item_id"),
        "hours_since_category_click": ("recent_category", "category"),
    }
