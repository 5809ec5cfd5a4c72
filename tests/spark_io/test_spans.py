"""Span patterns to files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from base.errors import ComponentError
from components.spark_example_gen.driver import resolve_inputs
from spark_io.connectors import files
from spark_io.connectors.connector import InputLocation
from spark_io.connectors.local_files import LocalFiles
from spark_io.sources.source_types import FileSource, sources_to_json
from spark_io.sources.spans import Around, SpanPattern, SpanRange, resolve

pytestmark = pytest.mark.unit

HOURLY = "logs/{YYYY}-{MM}-{DD}/{HH}/*.json"
FIRST_HOUR = 474_792  # hours from 1970-01-01 to 2024-03-01T00


@pytest.fixture
def hours(tmp_path: Path) -> Path:
    """Hours 0, 1, 2 and 4 of 2024-03-01; hour 3 is missing."""
    for hour in (0, 1, 2, 4):
        touch(tmp_path, f"logs/2024-03-01/{hour:02d}/part-0.json")
    return tmp_path


def touch(base: Path, path: str) -> None:
    (base / path).parent.mkdir(parents=True, exist_ok=True)
    (base / path).write_text("{}")


def find(base: Path, pattern: str, length: int = 1, last: int | None = None, **options):
    spans = SpanPattern(pattern)
    paths = LocalFiles(str(base)).matching(spans)
    return resolve(spans, paths, SpanRange(length, last), source="logs", base="x", **options)


def test_the_newest_span_is_the_default(hours: Path) -> None:
    assert find(hours, HOURLY).files.keys() == {FIRST_HOUR + 4}


def test_hours_are_numbered_since_1970(hours: Path) -> None:
    assert max(find(hours, HOURLY, 3, FIRST_HOUR + 2).files) == FIRST_HOUR + 2


def test_days_are_numbered_as_in_tfx(tmp_path: Path) -> None:
    from tfx.components.example_gen import utils
    from tfx.proto import example_gen_pb2

    touch(tmp_path, "d/2024-03-01/a.csv")
    split = example_gen_pb2.Input.Split(name="s", pattern="d/{YYYY}-{MM}-{DD}/*")
    _, span, _ = utils.calculate_splits_fingerprint_span_and_version(str(tmp_path), [split])
    assert max(find(tmp_path, "d/{YYYY}-{MM}-{DD}/*.csv").files) == span


def test_a_missing_span_is_an_error_that_says_what_there_is(hours: Path) -> None:
    with pytest.raises(ComponentError, match=r"missing span 474795 \(2024-03-01T03\); there is"):
        find(hours, HOURLY, 1, FIRST_HOUR + 3)


def test_a_hole_in_the_window_is_an_error(hours: Path) -> None:
    with pytest.raises(ComponentError, match="2024-03-01T03"):
        find(hours, HOURLY, 5)


def test_a_hole_may_be_allowed_but_never_at_the_end(hours: Path) -> None:
    found = find(hours, HOURLY, 5, around=Around(missing="allow"))
    assert list(found.files) == [FIRST_HOUR + h for h in (0, 1, 2, 4)]
    with pytest.raises(ComponentError):
        find(hours, HOURLY, 2, FIRST_HOUR + 3, around=Around(missing="allow"))


def test_spans_after_the_window_are_read_and_must_be_there(hours: Path) -> None:
    assert list(find(hours, HOURLY, 1, FIRST_HOUR + 1, around=Around(after=1)).files) == [
        FIRST_HOUR + 1,
        FIRST_HOUR + 2,
    ]
    with pytest.raises(ComponentError, match="2024-03-01T05"):
        find(hours, HOURLY, 1, FIRST_HOUR + 4, around=Around(after=1))


def test_a_quiet_span_may_be_missing_but_not_one_that_has_yet_to_arrive(hours: Path) -> None:
    quiet = find(hours, HOURLY, 1, FIRST_HOUR + 2, around=Around(after=2, missing="allow"))
    assert list(quiet.files) == [FIRST_HOUR + 2, FIRST_HOUR + 4]
    with pytest.raises(ComponentError, match=r"474797 \(2024-03-01T05\) and 1 more may not have"):
        find(hours, HOURLY, 1, FIRST_HOUR + 4, around=Around(after=2, missing="allow"))
    touch(hours, "logs/2024-03-01/06/part-0.json")
    arrived = find(hours, HOURLY, 1, FIRST_HOUR + 4, around=Around(after=2, missing="allow"))
    assert list(arrived.files) == [FIRST_HOUR + 4, FIRST_HOUR + 6]


def test_the_newest_version_of_a_span_counts(tmp_path: Path) -> None:
    for version in (1, 2, 10):
        touch(tmp_path, f"span-7/v{version}/a.csv")
    found = find(tmp_path, "span-{SPAN}/v{VERSION}/*.csv")
    assert found.version == 10
    assert found.files[7] == ("span-7/v10/a.csv",)


def test_without_tokens_everything_is_span_0(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.csv")
    touch(tmp_path, "b/x.csv")
    assert len(find(tmp_path, "*/x.csv").files[0]) == 2


def test_what_spark_would_skip_is_not_counted(tmp_path: Path) -> None:
    for name in ("a.csv", "_SUCCESS.csv", ".hidden.csv"):
        touch(tmp_path, f"d/{name}")
    assert find(tmp_path, "d/*.csv").files[0] == ("d/a.csv",)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{SPAN}/{YYYY}/x", "mixes"),
        ("{YYYY}/{HH}/x", "together"),
        ("v{VERSION}/x", "without a span"),
    ],
)
def test_a_meaningless_pattern_is_an_error(pattern: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        SpanPattern(pattern)


def test_an_impossible_date_names_the_path(tmp_path: Path) -> None:
    touch(tmp_path, "logs/2024-13-01/00/a.json")
    with pytest.raises(ComponentError, match="2024-13-01"):
        find(tmp_path, HOURLY)


def test_a_missing_folder_or_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="no file matches"):
        find(tmp_path, HOURLY)
    source = FileSource("json", HOURLY, {"a": "int"})
    with pytest.raises(ComponentError, match="does not exist"):
        files.find("logs", source, SpanRange(), InputLocation(str(tmp_path / "nowhere")))


def test_driver_and_executor_agree_when_only_the_secondary_source_has_spans(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "all/x.parquet")
    touch(tmp_path, "daily/2026-01-01/x.parquet")
    sources = {
        "all": FileSource("parquet", "all/*.parquet"),
        "daily": FileSource("parquet", "daily/{YYYY}-{MM}-{DD}/*.parquet"),
    }
    properties = {
        "sources": json.dumps(sources_to_json(sources)),
        "input_base": str(tmp_path),
        "spark": "{}",
    }
    driver = resolve_inputs(properties)
    executor = resolve_inputs({**properties, "span": driver.span})
    assert driver.fingerprint() == executor.fingerprint()
