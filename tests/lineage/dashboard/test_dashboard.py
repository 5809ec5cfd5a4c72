"""The dashboard, started from the command line and shown in a browser."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.lineage.browser import PHONE, opened

pytestmark = pytest.mark.component
REPOSITORY = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "lineage")
HOSTILE = "<img src=x onerror=alert(1)>"


@contextlib.contextmanager
def serving(tfx, *arguments: str) -> Iterator[str]:
    """Starts the dashboard and yields its address; stops it as Ctrl-C does, which is no error."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lineage",
            "--store",
            str(tfx.path),
            "serve",
            "--port",
            "0",
            *arguments,
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[0]
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest


def answer(address: str, **headers: str) -> tuple[int, str]:
    found = requests.get(address, headers=headers, timeout=20)
    return found.status_code, found.text


@pytest.fixture
def site(tfx):
    """Makes three runs, versions 1001 and 1002, traffic for one of them, and a waiting hour."""
    first = tfx.full_run("first", "1001")
    tfx.push("second", tfx.model("second", tfx.examples("second", span=474794)), "1002")
    tfx.execute("third", "SparkExampleGen", state=tfx.FAILED)
    for run, auc in (("first", 0.7), ("second", 0.75)):
        folder = tfx.folder / "runs" / run
        folder.mkdir(parents=True)
        (folder / "run_summary.json").write_text(json.dumps({"metrics": {"auc": auc}}))
    hour = {
        "hour": "2024-03-01T01",
        "version": 1001,
        "arm": "stable",
        "impressions": 90,
        "clicks": 9,
    }
    pushed = {"pushed_model": first["pushed_model"]}
    outputs = {"metrics": ("OnlineMetrics", hour)}
    tfx.execute("", "OnlineEvaluation", inputs=pushed, outputs=outputs)
    closed = tfx.folder / "streaming" / "spans" / "closed"
    closed.mkdir(parents=True)
    for span in (474793, 474795):
        marker = {"hour": span, "version": 1, "impressions": {"rows": 500}}
        (closed / f"{span}-2024-03-02T{span - 474793:02d}.json").write_text(json.dumps(marker))
    return tfx


def test_runs_serving_trend_and_waiting_spans(site):
    with serving(site, "--streaming", str(site.folder / "streaming")) as address:
        with opened(address) as (page, complaints):
            page.wait_for_selector("#metrics[data-drawn]")
            rows = page.locator("#table tbody tr").all_inner_texts()
            assert [row.split()[0] for row in rows[:3]] == ["third", "second", "first"]
            assert "failed: SparkExampleGen" in rows[0]
            assert "0.7500" in rows[1] and "1002" in rows[1]
            serving_now = page.locator("#serving tr").all_inner_texts()
            assert "stable" in serving_now[1] and "90" in serving_now[2]
            assert page.locator("#metrics .point").count() == 2
            assert "474795" in page.inner_text("#waits")
            assert "474793" not in page.inner_text("#waits")
        assert complaints == []


def test_a_run_is_found_and_opens_its_report(site):
    with serving(site) as address, opened(address) as (page, complaints):
        page.wait_for_selector("#metrics[data-drawn]")
        page.fill("#find", "1001")
        assert page.locator("#table tbody tr").count() == 1
        page.click("text=first")
        page.wait_for_selector("#pipeline .box")
        assert "run first" in page.inner_text("header")
        assert complaints == []


def test_the_dashboard_fits_a_phone(site):
    longer = site.folder / ("a_folder_whose_name_has_no_place_to_break" * 3) / site.path.name
    longer.parent.mkdir()
    site.path = site.path.rename(longer)
    with serving(site) as address, opened(address, PHONE, "dark") as (page, complaints):
        page.wait_for_selector("#metrics[data-drawn]")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        assert complaints == []


def test_names_are_text_and_nothing_else(tfx):
    tfx.push(HOSTILE, tfx.model(HOSTILE, tfx.examples(HOSTILE)), HOSTILE)
    with serving(tfx) as address, opened(address) as (page, complaints):
        page.wait_for_selector("#metrics[data-drawn]")
        assert HOSTILE in page.inner_text("#table")
        assert page.locator("main img").count() == 0
        page.click(f"#table a:has-text({json.dumps(HOSTILE)})")
        page.wait_for_selector("#pipeline .box")
        assert complaints == []


def test_the_dashboard_is_read_only_and_answers_only_to_its_own_name(site):
    with serving(site) as address:
        assert answer(address)[0] == 200
        assert answer(address, Host="elsewhere.example")[0] == 403
        assert answer(f"{address}runs/none") == (404, answer(f"{address}runs/none")[1])
        assert "no run 'none'" in answer(f"{address}runs/none")[1]
        assert answer(f"{address}static/../server.py")[0] == 404
        assert requests.post(address, timeout=20).status_code == 405
        newest = json.loads(answer(f"{address}api/overview")[1])["runs"][0]
        assert newest["line"]["run_id"] == "third"


def test_a_run_that_is_added_is_shown(site):
    with serving(site) as address:
        assert "fourth" not in answer(address)[1]
        site.full_run("fourth", "1004")
        assert "fourth" in answer(address)[1]


def test_a_port_that_is_taken_is_one_line(site):
    with serving(site) as address:
        port = address.rstrip("/").rpartition(":")[2]
        done = subprocess.run(
            [*COMMAND, "--store", str(site.path), "serve", "--port", port],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "choose another --host or --port" in done.stderr
