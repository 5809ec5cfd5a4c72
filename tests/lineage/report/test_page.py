"""The page as a browser shows it."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from base.shared_names import TRAINING_FACTS
from components.tree_baseline.result_files import COMPARISON
from lineage.report.write import write_report
from metadata.reader import MetadataReader
from tabular.baseline.result import Comparison
from tabular.decision_rule import Costs, DecisionRule
from tests.lineage.browser import PHONE, opened, scroll_through
from tests.lineage.tfx_files import (
    write_anomalies,
    write_curves,
    write_decision,
    write_evaluation,
    write_statistics,
)

pytestmark = pytest.mark.component
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)><b>bold</b>"


@pytest.fixture
def report(tfx, tmp_path):
    """Writes the report of the newest run, and returns its path."""

    def write(summaries: Path | None = None) -> Path:
        path = tmp_path / "out" / "report.html"
        write_report(MetadataReader.sqlite(tfx.path), "latest", summaries, path)
        return path

    return write


def uri(tfx, artifact_id):
    return Path(tfx.store.get_artifacts_by_id([artifact_id])[0].uri)


def full_run(tfx, run="r", name="age", **arguments):
    """Makes a run with all the files that the report reads."""
    made = tfx.full_run(run, f"100{run}", **arguments)
    tfx.manifest(made["examples"])
    write_statistics(uri(tfx, made["statistics"]), name)
    write_curves(uri(tfx, made["model_run"]))
    write_evaluation(uri(tfx, made["evaluation"]), name)
    return made


def test_everything_is_drawn_and_nothing_is_asked_of_a_network(tfx, report):
    full_run(tfx)
    with opened(report()) as (page, complaints):
        scroll_through(page)
        drawn = page.locator(".plot .main-svg").count()
        assert drawn >= 6
        assert page.locator("#evaluation table").first.inner_text().count("\n") == 2
    assert complaints == []


RULE = DecisionRule(budget=0.005, costs=Costs(review=3, missed=120))


def decided_run(tfx, rule=RULE, **judged):
    """Makes a run with a decision, and metrics of it on the judged split."""
    made = full_run(tfx, decision={"threshold": "0.3", "budget": "0.005"})
    decision = write_decision(uri(tfx, made["decision"]), rule)
    values = {f"decision_{name}": value for name, value in judged.items()}
    write_evaluation(uri(tfx, made["evaluation"]), "age", **values)
    return made, decision


def test_a_decision_is_explained_and_drawn(tfx, report):
    _, decision = decided_run(tfx, share=0.0051, precision=0.61, recall=0.24, cost=1.2)
    with opened(report()) as (page, complaints):
        page.locator("nav a", has_text="decision").click()
        scroll_through(page)
        section = page.locator("#decision")
        said, table = section.locator("p").first.inner_text(), section.locator("table").inner_text()
        curves = section.locator(".plot .main-svg")
        assert curves.first.is_visible()
        assert section.locator(".plot").count() == 2
        ticks = section.locator(".plot").first.locator(".xtick").all_text_contents()
        marks = section.locator(".plot").first.locator(".scatterlayer .point").count()
    assert complaints == []
    threshold = f"{decision.threshold:.4g}"
    assert said.startswith(f"An example is reviewed if its score is {threshold} or more. That is")
    assert "at most 0.5 % of the examples of split eval are reviewed" in said
    assert f"of 100 reviewed examples {100 * decision.chosen.precision:.3g} are positive" in said
    assert "A review costs 3 and a missed positive 120, so an example costs" in said
    missed = 120 * decision.positives / decision.rows
    assert f"on average, and {missed:.4g} without any review." in said
    assert "share reviewed\t0.0050\t0.0051\t0.0046 to 0.0056" in table
    assert f"precision\t{decision.chosen.precision:.4f}\t0.6100\t0.5490 to 0.6710" in table
    assert ticks == ["0.01%", "0.1%", "1%", "10%", "100%"]
    assert marks == 2


def test_more_reviews_than_the_budget_are_told(tfx, report):
    decided_run(tfx, share=0.02, precision=0.3, recall=0.5, cost=1.2)
    with opened(report()) as (page, _):
        (said,) = page.locator("#decision .bad").all_inner_texts()
    assert said.endswith("2 % of the examples are reviewed, more than the budget of 0.5 %.")


def test_a_decision_without_costs_or_an_evaluation_is_shown(tfx, report):
    made, _ = decided_run(tfx, DecisionRule(threshold=0.9999))
    with opened(report()) as (page, complaints):
        scroll_through(page)
        section = page.locator("#decision")
        assert section.locator(".plot").count() == 1
        assert "The config gives this threshold." in section.locator("p").first.inner_text()
        assert "nothing is reviewed: the highest score is" in section.locator(".bad").inner_text()
    assert complaints == []
    (uri(tfx, made["decision"]) / "decision.json").write_text('{"threshold": "<b>"}')
    with opened(report()) as (page, complaints):
        assert "its file is gone, or cannot be read" in page.locator("#decision").inner_text()
    assert complaints == []


def test_trees_stand_beside_the_model_in_the_table_of_metrics(tfx, report):
    made = full_run(tfx)
    assert "trees" not in report().read_text("utf-8").partition('id="evaluation"')[2][:3000]
    _, trees = tfx.execute(
        "r",
        "TreeBaseline",
        inputs={"examples": made["examples"], "schema": made["schema"]},
        outputs={"comparison": ("TreeComparison", {})},
    )
    folder = uri(tfx, trees["comparison"])
    folder.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(
        metrics={"auc": 0.8123},
        intervals={"auc": (0.79, 0.83)},
        split="test",
        judged_rows=98,
        rows=193,
        learned_rows=193,
        iterations=40,
        columns=("age",),
        notes=("sequences are not read: <b>past</b>",),
    )
    (folder / COMPARISON).write_text(comparison.to_json(), "utf-8")
    facts = {"rows": 193, "rounds": 9, "by_rows": {"epochs": 20, "batch_size": 256}}
    (uri(tfx, made["model_run"]) / TRAINING_FACTS).write_text(json.dumps(facts), "utf-8")
    page = report().read_text("utf-8")
    assert '<td class="n">0.8123</td><td class="n">0.7900 to 0.8300</td></tr>' in page
    assert "judged on 98 rows of split test" in page
    assert "&lt;b&gt;past" in page
    assert "193 training rows; by their number: epochs 20, batch_size 256" in page


def test_a_box_opens_its_component_and_escape_closes_it(tfx, report):
    full_run(tfx)
    with opened(report()) as (page, complaints):
        box = page.locator("#pipeline a", has_text="Trainer")
        panel = page.locator(str(box.get_attribute("href")))
        assert not panel.is_visible()
        box.click()
        assert panel.is_visible()
        assert "transform_graph: TransformGraph" in panel.inner_text()
        page.keyboard.press("Escape")
        assert not panel.is_visible()
    assert complaints == []


def test_the_page_can_be_used_with_the_keyboard(tfx, report):
    full_run(tfx)
    with opened(report()) as (page, _):
        for _ in range(40):
            page.keyboard.press("Tab")
            if "Trainer" in page.evaluate("document.activeElement.textContent")[:200]:
                break
        page.keyboard.press("Enter")
        assert "Trainer" in page.locator(".panel:target").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_in_light_and_dark(tfx, report, scheme):
    full_run(tfx)
    with opened(report(), PHONE, scheme) as (page, complaints):
        scroll_through(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == (scheme == "dark")
    assert complaints == []


def test_what_comes_from_outside_is_text_and_nothing_else(tfx, report, tmp_path):
    """Names of features, slices, reasons and parameters, values, errors and logs with HTML."""
    made = tfx.model(
        "r",
        tfx.examples("r", reasons={HOSTILE: {HOSTILE: 12}}),
        {"custom_config": json.dumps({HOSTILE: HOSTILE})},
    )
    made = tfx.push("r", made, HOSTILE)
    source = {"name": HOSTILE, "format": "json", "path": HOSTILE, "rows_read": 1, "files": []}
    tfx.manifest(made["examples"], sources=[source])
    write_statistics(uri(tfx, made["statistics"]), HOSTILE, value=HOSTILE)
    write_evaluation(uri(tfx, made["evaluation"]), HOSTILE)
    folder = tmp_path / "summaries" / "r"
    folder.mkdir(parents=True)
    (folder / "run_summary.json").write_text(json.dumps({"error": HOSTILE}))
    (folder / "run.log").write_text(f"node Trainer is running.\n{HOSTILE}\n")
    path = report(folder.parent)
    assert "<script>alert" not in path.read_text()
    with opened(path) as (page, complaints):
        scroll_through(page)
        page.locator("#pipeline a", has_text="Trainer").click()
        assert HOSTILE in page.locator(".panel:target .log").inner_text()
        assert HOSTILE in page.locator("p.problem").inner_text()
        assert HOSTILE in page.locator(".card h4").first.inner_text()
        assert page.locator("img, body b:has-text('bold')").count() == 0
    assert complaints == []


def test_a_feature_with_an_anomaly_or_drift_comes_first(tfx, report):
    made = full_run(tfx)
    _, validator = tfx.execute(
        "r",
        "ExampleValidator",
        inputs={"statistics": made["statistics"]},
        outputs={"anomalies": ("ExampleAnomalies", {})},
    )
    write_anomalies(uri(tfx, validator["anomalies"]), "price", "age")
    with opened(report()) as (page, _):
        first = page.locator(".card.marked").first
        cards = page.locator(".card h4").all_inner_texts()
        assert set(cards[:2]) == {"age", "price"}
        assert cards[2:] == sorted(cards[2:])
        assert "drift 0.5, at most 0.1" in first.inner_text()
        assert "out of domain" in page.locator("#data table.problem").inner_text()


def test_a_missing_part_of_the_page_is_named(tfx, report):
    """Artifacts deleted from disk, no summary and no log."""
    tfx.full_run("r", "1001")
    with opened(report()) as (page, complaints):
        text = page.inner_text("main")
        for words in ("No statistics", "No training curves", "No evaluation"):
            assert words in text
        assert "306 read = 193 train + 98 eval" in text
    assert complaints == []


def test_a_failed_run_shows_its_error_and_the_end_of_the_log(tfx, report, tmp_path):
    tfx.execute("r", "Trainer", state=tfx.FAILED)
    folder = tmp_path / "summaries" / "r"
    folder.mkdir(parents=True)
    (folder / "run_summary.json").write_text(json.dumps({"error": "Trainer: no rows"}))
    lines = "\n".join(f"line {n}" for n in range(100))
    (folder / "run.log").write_text(f"node Trainer is running.\n{lines}\n")
    with opened(report(folder.parent)) as (page, _):
        assert page.locator("[role=alert]").inner_text() == "Trainer: no rows"
        assert page.locator("h1 .state").inner_text() == "failed"
        page.locator("#pipeline a").first.click()
        log = page.locator(".log").inner_text()
        assert "line 99" in log and "line 50" not in log


def test_the_page_is_one_small_file(tfx, report):
    full_run(tfx)
    path = report()
    assert path.stat().st_size < 8_000_000
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_component_that_was_tried_twice_opens_its_last_try(tfx, report):
    tfx.execute("r", "Trainer", state=tfx.FAILED)
    tfx.execute("r", "Trainer", outputs={"model": ("Model", {})})
    with opened(report()) as (page, _):
        page.locator("#pipeline a", has_text="Trainer").click()
        assert "complete" in page.locator(".panel:target h3").inner_text()


def test_slices_with_the_same_start_stay_distinct(tfx, report):
    made = full_run(tfx)
    names = [f"home_feed_placement_number_{n}" for n in (1, 2)]
    write_evaluation(uri(tfx, made["evaluation"]), *names)
    with opened(report()) as (page, _):
        scroll_through(page)
        axis = page.locator("[data-figure='slices-auc'] .ytick").all_inner_texts()
    assert len(axis) == 3


def test_invalid_numbers_and_broken_files_leave_a_page(tfx, report, tmp_path):
    """A diverged training, an edited summary and a cut-off quarantine still give a page."""
    made = full_run(tfx)
    write_curves(uri(tfx, made["model_run"]), losses=(0.5, float("nan"), float("inf")))
    (uri(tfx, made["statistics"]) / "Split-eval" / "FeatureStats.pb").write_bytes(b"\xff\xff")
    [refused] = tfx.store.get_artifacts_by_type("QuarantinedRecords")
    records = Path(refused.uri) / "records"
    records.mkdir(parents=True)
    whole = gzip.compress(json.dumps({"source": "s"}).encode() * 100)
    (records / "1.json.gz").write_bytes(whole[:20] + b"\0" * 20)
    folder = tmp_path / "summaries" / "r"
    folder.mkdir(parents=True)
    broken: dict[str, Any] = {
        "metrics": None,
        "components": None,
        "peak_mib": "12",
        "canary": 1,
        "error": [],
    }
    (folder / "run_summary.json").write_text(json.dumps(broken))
    with opened(report(folder.parent)) as (page, complaints):
        scroll_through(page)
        assert page.locator("[data-figure='curve-loss'] .main-svg").count()
    assert complaints == []


def test_components_stand_after_what_they_read(tfx, report):
    """A resolver that picks the run's own model is not drawn between components."""
    made = full_run(tfx)
    tfx.execute("r", "Baseline", picked={"model": made["model"]})
    with opened(report()) as (page, _):
        boxes = page.locator("#pipeline .box")
        places = {
            box.locator(".title").text_content(): float(str(box.locator("rect").get_attribute("x")))
            for box in boxes.all()
        }
    order = ["SparkExampleGen", "Transform", "Trainer", "Evaluator", "Pusher"]
    assert [places[name] for name in order] == sorted({places[name] for name in order})
