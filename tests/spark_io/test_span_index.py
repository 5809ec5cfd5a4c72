"""An index tells empty spans from those that have not arrived, and from those that are gone."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from base.errors import ComponentError
from spark_io.connectors.connector import InputLocation
from spark_io.sources.inputs import Inputs, find_inputs
from spark_io.sources.outcomes import Outcome
from spark_io.sources.source_types import FileSource, sources_from_json, sources_to_json
from spark_io.sources.span_index import SpanIndex
from spark_io.sources.spans import SpanRange

pytestmark = pytest.mark.unit

HOUR = 3_600_000
FIRST = 474_792  # hours from 1970-01-01 to 2024-03-01T00
COLUMNS = {"id": "string", "order_id": "string", "at": "bigint"}
PATH = "{YYYY}-{MM}-{DD}/{HH}/v{VERSION}/*.parquet"
RETURNED = Outcome("orders", "order_id", "30m")


def source(table: str, outcome: Outcome | None = None, before: int = 0) -> FileSource:
    return FileSource(
        "parquet",
        f"{table}/{PATH}",
        COLUMNS,
        spans_before=before,
        index=f"{table}/index.json",
        outcome=outcome,
    )


def write(base: Path, table: str, hours: list[int], complete: float, index: list[int] = []) -> None:  # noqa: B006
    """Writes files of hours from FIRST on, and an index that is complete up to an hour."""
    for hour in hours:
        folder = base / table / "2024-03-01" / f"{hour:02d}" / "v1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part-0.parquet").write_text("rows")
    spans = frozenset(FIRST + hour for hour in (index or hours))
    content = SpanIndex(round((FIRST + complete) * HOUR), spans).to_json()
    (base / table).mkdir(parents=True, exist_ok=True)
    (base / table / "index.json").write_text(json.dumps(content))


def find(base: Path, last: int | None, length: int = 1, /, **sources: FileSource) -> Inputs:
    last = None if last is None else FIRST + last
    return find_inputs(sources, SpanRange(length, last), InputLocation(str(base)))


def hours(inputs: Inputs, name: str) -> list[int]:
    return [span - FIRST for span in inputs.by_source[name].spans]


def test_an_empty_span_is_known_to_be_empty(tmp_path: Path) -> None:
    write(tmp_path, "orders", [0, 1, 4], complete=5)
    write(tmp_path, "returns", [1], complete=5.5)
    returns = source("returns", RETURNED)
    found = find(tmp_path, 4, 5, orders=source("orders"), returns=returns)
    assert hours(found, "orders") == [0, 1, 4]
    assert hours(found, "returns") == [1]
    with pytest.raises(ComponentError, match="span 474794 is empty: its index says that nothing"):
        find(tmp_path, 2, orders=source("orders"))


def test_what_has_not_arrived_stops_the_run(tmp_path: Path) -> None:
    write(tmp_path, "orders", [0, 1], complete=2)
    write(tmp_path, "returns", [1], complete=2)
    both = {"orders": source("orders"), "returns": source("returns", RETURNED)}
    with pytest.raises(ComponentError, match="up to 2024-03-01T02:00, and 2024-03-01T02:30 is nee"):
        find(tmp_path, 1, **both)
    with pytest.raises(ComponentError, match=r"'orders'.*up to 2024-03-01T02:00, and .*T03:00 is"):
        find(tmp_path, 2, orders=source("orders"))
    assert hours(find(tmp_path, None, **both), "orders") == [0]  # the newest one with labels
    write(tmp_path, "returns", [1], complete=2.5)
    found = find(tmp_path, None, **both)
    assert hours(found, "orders") == [1]
    assert found.by_source["returns"].complete_ms == (FIRST + 2.5) * HOUR


def test_how_much_may_be_open_is_said_by_the_config(tmp_path: Path) -> None:
    write(tmp_path, "orders", [0, 1, 2], complete=3)
    write(tmp_path, "returns", [1], complete=3)
    some = source("returns", Outcome("orders", "order_id", "3h", may_be_open="2h"))
    found = find(tmp_path, None, orders=source("orders"), returns=some)
    assert hours(found, "orders") == [1]
    assert hours(found, "returns") == [1]
    assert found.by_source["returns"].complete_ms == (FIRST + 3) * HOUR
    whole = find(tmp_path, 0, orders=source("orders"), returns=some).by_source["returns"]
    assert whole.complete_ms == (FIRST + 3) * HOUR  # not the four hours that would be enough
    nothing = source("returns", Outcome("orders", "order_id", "4h", may_be_open="1h"))
    with pytest.raises(ComponentError, match=r"its oldest span .* is not complete yet"):
        write(tmp_path, "returns", [1], complete=2)
        find(tmp_path, None, orders=source("orders"), returns=nothing)


def test_files_that_are_gone_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, "orders", [0, 2], complete=3, index=[0, 1, 2])
    with pytest.raises(ComponentError, match=r"span 474793 \(2024-03-01T01\) are gone"):
        find(tmp_path, 2, 3, orders=source("orders"))
    past = source("past", before=3)
    write(tmp_path, "past", [0, 2], complete=3, index=[0, 1, 2])
    with pytest.raises(ComponentError, match=r"'past'.* are gone"):
        find(tmp_path, 2, orders=source("orders"), past=past)


def test_spans_before_the_window_are_read_with_it(tmp_path: Path) -> None:
    write(tmp_path, "orders", [0, 1, 2, 3], complete=4)
    write(tmp_path, "past", [0, 1, 2, 3], complete=4)
    found = find(tmp_path, 3, 2, orders=source("orders"), past=source("past", before=1))
    assert hours(found, "past") == [1, 2, 3]
    early = find(tmp_path, 0, orders=source("orders"), past=source("past", before=9))
    assert hours(early, "past") == [0]


def test_leftovers_of_a_complete_span_are_not_read(tmp_path: Path) -> None:
    """Such as outcomes that were published early, and left out when their hour was closed."""
    write(tmp_path, "orders", [0, 1], complete=2)
    write(tmp_path, "returns", [0, 1], complete=2.5, index=[1])
    returns = source("returns", RETURNED)
    found = find(tmp_path, 0, orders=source("orders"), returns=returns)
    assert hours(found, "returns") == [1]
    write(tmp_path, "returns", [2], complete=2.5, index=[1])
    so_far = find(tmp_path, 1, orders=source("orders"), returns=returns)
    assert hours(so_far, "returns") == [1, 2]  # hour 2 is not over: its outcomes so far


def test_an_index_that_is_missing_or_is_none(tmp_path: Path) -> None:
    write(tmp_path, "orders", [0], complete=1)
    (tmp_path / "orders" / "index.json").write_text('{"complete_ms": "soon", "spans": [[1, 2]]}')
    with pytest.raises(ComponentError, match=r"orders/index.json is no index of spans"):
        find(tmp_path, 0, orders=source("orders"))
    (tmp_path / "orders" / "index.json").unlink()
    with pytest.raises(ComponentError, match="its writer makes it with the first spans"):
        find(tmp_path, 0, orders=source("orders"))


@pytest.mark.parametrize("seed", range(20))
def test_any_index_comes_back_as_it_was(seed: int) -> None:
    chance = random.Random(seed)
    spans = frozenset(chance.sample(range(40), chance.randint(0, 30)))
    index = SpanIndex(chance.choice([None, 5, FIRST * HOUR]), spans)
    assert SpanIndex.of(json.dumps(index.to_json()).encode(), "here") == index


def test_outcomes_travel_to_the_job() -> None:
    sources = {"orders": source("orders"), "returns": source("returns", RETURNED)}
    there = sources_from_json(json.loads(json.dumps(sources_to_json(sources))))
    assert {name: one.outcome for name, one in there.items()} == {
        "orders": None,
        "returns": RETURNED,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"within": "soon"}, "outcome.within: expected a duration"),
        ({"may_be_open": "31m"}, "may_be_open: expected at most `within`, 30m. Received: 31m"),
        ({"by": ""}, "outcome.by must not be empty"),
    ],
)
def test_what_is_no_outcome(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Outcome(**{"of": "orders", "by": "order_id", "within": "30m", **changes})


def test_the_spans_after_a_window_are_stated_once() -> None:
    with pytest.raises(ValueError, match=r"spans_after follows from outcome.within"):
        FileSource("parquet", PATH, COLUMNS, spans_after=1, outcome=RETURNED)
    with pytest.raises(ValueError, match=r"outcome.by: expected one of the columns id, order_id"):
        FileSource("parquet", PATH, COLUMNS, outcome=Outcome("orders", "order", "30m"))
    with pytest.raises(ValueError, match="index needs `columns`, and a path with days or hours"):
        FileSource("parquet", "x/*.parquet", COLUMNS, index="x/index.json")
    daily = FileSource(
        "parquet", "{YYYY}-{MM}-{DD}/*.parquet", COLUMNS, outcome=Outcome("o", "order_id", "45d")
    )
    assert daily.around.after == 45
