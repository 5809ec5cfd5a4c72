"""Sources of the kinds `stream` and `past`, and what may be said about streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from base.section import ConfigError
from pipeline.config import PipelineConfig, load_config
from spark_io.sources.outcomes import Outcome
from spark_io.sources.source_types import FileSource

pytestmark = pytest.mark.unit

ANY = "{id: a, time: b, columns: {a: int, b: bigint}}"
STREAM = "applications/ctr/configs/ctr-stream.yaml"


def changed(tmp_path: Path, **streaming: Any) -> PipelineConfig:
    """Returns the config with other keys in its section `streaming`; None removes one."""
    content = yaml.safe_load(Path(STREAM).read_text("utf-8"))
    content["streaming"] |= streaming
    content["streaming"] = {k: v for k, v in content["streaming"].items() if v is not None}
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_config(path)


def streams(**outcome: Any) -> dict[str, Any]:
    """Returns the config's streams with another outcome of the second."""
    declared: dict[str, Any] = yaml.safe_load(Path(STREAM).read_text("utf-8"))["streaming"][
        "streams"
    ]
    declared["clicks"]["outcome"] |= outcome
    return declared


def test_what_a_source_says_follows_from_its_stream() -> None:
    config = load_config(STREAM)
    assert config.streaming is not None
    shown, clicks, past = (config.sources[name] for name in ("impressions", "clicks", "past"))
    assert isinstance(shown, FileSource)
    assert isinstance(clicks, FileSource)
    assert isinstance(past, FileSource)
    assert shown.path == "spans/impressions/{YYYY}-{MM}-{DD}/{HH}/v{VERSION}/*.parquet"
    assert shown.index == "spans/impressions/index.json"
    assert shown.columns == config.streaming.streams["impressions"].columns
    assert clicks.outcome == Outcome("impressions", "impression_id", "30m")
    assert clicks.around.after == 1
    assert past.spans_before == 7 * 24  # the longest window of the declarations


def test_a_streaming_folder_elsewhere_is_read_by_its_uri(tmp_path: Path) -> None:
    config = load_config(STREAM, [f"streaming.folder={tmp_path}"])
    source = config.sources["clicks"]
    assert isinstance(source, FileSource)
    assert source.path.startswith(f"file://{tmp_path}/spans/clicks/")
    assert source.index == f"file://{tmp_path}/spans/clicks/index.json"


def test_own_keys_of_a_source_come_on_top() -> None:
    config = load_config(STREAM, ["sources.impressions.may_be_null=[device]"])
    assert list(config.sources["impressions"].may_be_null) == ["device"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "sources.pages={kind: stream}",
            "expected one of the streams impressions, clicks",
        ),
        ("sources.before={kind: past}", "sources.before: a source of the kind past has this name"),
        ("streaming.folder=null", "there is no streaming.folder to read it from"),
        (
            "streaming.streams.closed={id: a, time: b, columns: {a: int, b: bigint}}",
            "other than past, ",
        ),
        (f"streaming.streams.A={ANY}", "Received: 'A'"),
        (
            "streaming.streams.clicks.topic=impressions",
            "and clicks have the same topic",
        ),
        ("streaming.streams.clicks.outcome.of=clicks", "expected a stream of events: impressions"),
        ("streaming.streams.clicks.outcome.by=gone", "expected one of the columns click_id, "),
        ("streaming.streams.clicks.outcome.within=30", "within: expected a text. Received: 30"),
        ("streaming.streams.clicks.outcome.within=30 minutes", "expected a duration such as 30m"),
        ("streaming.streams.clicks.outcome.wihtin=30m", "wihtin"),
        ("streaming.streams.clicks.outcome.may_be_open=31m", "expected at most `within`, 30m"),
        (
            "streaming.streams.clicks.outcome=30m",
            "an outcome is a section: {of: STREAM, ",
        ),
        ("streaming.attribution_minutes=30", "streams.NAME.outcome.within: 30m"),
        ("sources.clicks.spans_after=2", "spans_after follows from outcome.within"),
        ("etl.parameters.attribution_minutes=30", "sources.clicks.outcome.within: 30m"),
    ],
)
def test_a_mistake_is_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as told:
        load_config(STREAM, [override])
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_the_first_stream_has_the_events(tmp_path: Path) -> None:
    declared = streams()
    turned = {"clicks": declared["clicks"], "impressions": declared["impressions"]}
    with pytest.raises(ConfigError, match="the first stream has the events that models predict"):
        changed(tmp_path, streams=turned)


def test_a_stream_without_outcomes_is_a_stream(tmp_path: Path) -> None:
    declared = streams()
    declared["logins"] = {"id": "id", "time": "at", "columns": {"id": "string", "at": "bigint"}}
    config = changed(tmp_path, streams=declared)
    assert config.streaming is not None
    assert [*config.streaming.streams] == ["impressions", "clicks", "logins"]
    assert [*config.streaming.outcomes] == ["clicks"]
    assert config.streaming.events == "impressions"
