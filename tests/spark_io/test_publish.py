"""Counts must add up, and nothing half-written is published."""

from __future__ import annotations

import pytest

from base.errors import ComponentError
from spark_io.publishing.publish import (
    TaskReport,
    check_accounts,
    check_quarantine,
    check_splits,
)

pytestmark = pytest.mark.unit


def report(train: int = 6, evaluation: int = 2, bad: int = 1, dropped: int = 1) -> TaskReport:
    def shard(rows: int) -> list[dict]:
        return [{"file": "a", "rows": rows, "bytes": 1, "crc32c": "0"}] if rows else []

    return TaskReport(
        files={"train": shard(train), "eval": shard(evaluation)},
        quarantine_files=(),
        quarantined={"logs": {"broken": bad}, "other": {"broken": 5}},
        dropped={"duplicate": dropped},
    )


def test_rows_that_add_up_pass() -> None:
    check_accounts(report(), "logs", 10)


@pytest.mark.parametrize("read", [9, 11])
def test_lost_and_doubled_rows_stop_the_run(read: int) -> None:
    with pytest.raises(ComponentError, match=rf"{read} read .* 8 examples \+ 1 quarantined"):
        check_accounts(report(), "logs", read)


def test_an_empty_split_is_named() -> None:
    with pytest.raises(ComponentError, match="split 'eval' got no row"):
        check_splits(report(evaluation=0))


def test_too_many_bad_rows_name_the_reasons() -> None:
    check_quarantine(report(bad=1), {"logs": 10, "other": 100}, 0.1)
    with pytest.raises(ComponentError, match=r"'logs'.*broken 2"):
        check_quarantine(report(bad=2), {"logs": 10, "other": 100}, 0.1)


def test_bad_rows_of_every_source_count() -> None:
    with pytest.raises(ComponentError, match="of 'other' are bad"):
        check_quarantine(report(), {"logs": 10, "other": 10}, 0.1)
