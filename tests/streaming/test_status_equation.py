"""`status` accounts for all events by the files on disk, and names contradictions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from base.atomic_files import write_json
from pipeline.streaming_sections import Streaming
from streaming.commands import main
from streaming.layout import Layout, read_json
from streaming.verify import verify
from tests.streaming.event_log import FIRST_HOUR, impression, put, settings

pytestmark = pytest.mark.integration


@pytest.fixture
def streaming(run: Callable[..., Any], tmp_path: Path) -> Streaming:
    """Returns settings after two batches.

    Batch 0 has two events of a closed hour and one of an open hour. Batch 1 has a late and a
    rejected event.
    """
    streaming = settings(tmp_path / "out")
    shown = [impression("a", 1), impression("b", 2), impression("z", 200)]
    put(streaming, "impressions", *shown, name="1")
    run(streaming)
    put(streaming, "impressions", impression("c", 3), "{", name="2")
    run(streaming)
    return streaming


def test_the_equation_holds(streaming: Streaming) -> None:
    found = verify(streaming)
    assert found.problems == []
    assert found.places["impressions"] == {
        "read": 5,
        "spans": 2,
        "duplicates": 0,
        "open": 1,
        "late": 1,
        "refused": 1,
    }
    assert found.files_waiting == 0
    put(streaming, "impressions", "{", name="3")
    assert verify(streaming).files_waiting == 1


def remove_span(layout: Layout) -> None:
    shutil.rmtree(layout.span("impressions", FIRST_HOUR))


def remove_late(layout: Layout) -> None:
    shutil.rmtree(layout.batch(1) / "outcome=late")


def remove_refused_file(layout: Layout) -> None:
    next((layout.batch(1) / "outcome=refused").rglob("*.parquet")).unlink()


def spoil_open(layout: Layout) -> None:
    next((layout.batch(0) / "outcome=landed").rglob("*.parquet")).write_bytes(b"")


def remove_manifest(layout: Layout) -> None:
    layout.manifest(0).unlink()


def change_marker(layout: Layout) -> None:
    marker = read_json(layout.marker(FIRST_HOUR))
    marker["streams"]["impressions"]["duplicates"] += 2
    write_json(layout.marker(FIRST_HOUR), marker)


def let_in_after_close(layout: Layout) -> None:
    """Marks a late event as landed, as earlier versions of ingest did after changed settings."""
    manifest = read_json(layout.manifest(1))
    late = next(entry for entry in manifest["rows"] if entry["outcome"] == "late")
    late["outcome"] = "landed"
    write_json(layout.manifest(1), manifest)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (remove_span, "/v1: its marker counts 2 rows, its files hold 0; restore"),
        (remove_late, "1.json counts 1 events, its files hold 0; restore"),
        (remove_refused_file, "1.json counts 1 events, its files hold 0; restore"),
        (spoil_open, "0.json counts 1 events, its files hold 0; restore"),
        (remove_manifest, "manifests of batches 0 are gone (1); restore"),
        (change_marker, "its marker says 2 events, but 2 rows + 2 duplicates + 0 unfit = 4"),
        (let_in_after_close, "3 events landed, but its first version was made of 2; look into"),
    ],
)
def test_a_contradiction_is_reported(
    streaming: Streaming, damage: Callable[[Layout], None], said: str
) -> None:
    damage(Layout(streaming.folder))
    asked = ["status", "--config", "applications/ctr/configs/ctr-stream.yaml"]
    asked += ["--set", f"streaming.folder={streaming.folder}"]
    asked += ["--set", f"streaming.watched={streaming.watched}"]
    shown = CliRunner().invoke(main, asked)
    assert said in shown.output
    assert shown.exit_code == 1


def test_events_that_an_earlier_version_let_into_a_closed_hour_are_kept(
    run: Callable[..., Any], streaming: Streaming
) -> None:
    """The next start does not delete them, because no span has them."""
    layout = Layout(streaming.folder)
    let_in_after_close(layout)
    late = layout.landed(1, "impressions", FIRST_HOUR, "late")
    landed = layout.landed(1, "impressions", FIRST_HOUR)
    landed.parent.mkdir(parents=True)
    late.rename(landed)
    run(streaming)
    assert [*landed.glob("*.parquet")]
    assert any("3 events landed" in problem for problem in verify(streaming).problems)


def test_the_page_reports_contradictions(streaming: Streaming) -> None:
    remove_late(Layout(streaming.folder))
    asked = ["status", "--html", "--config", "applications/ctr/configs/ctr-stream.yaml"]
    asked += ["--set", f"streaming.folder={streaming.folder}"]
    assert CliRunner().invoke(main, asked).exit_code == 1
    assert "its files hold 0" in (streaming.folder / "status.html").read_text("utf-8")
