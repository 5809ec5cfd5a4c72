"""Stores of stock TFX components: facts that were never recorded are not called lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from lineage.compare import compare
from lineage.impact import impact_of
from lineage.listing import run_lines
from lineage.served import served
from lineage.trace import trace
from metadata.reader import MetadataReader
from metadata.records import Run
from tests.lineage.every_command import ask, ask_everything
from tests.lineage.stock_tfx import StockRun, run_stock_pipelines

pytestmark = pytest.mark.component
LOST = re.compile(r"\b(lost|gone|disk)\b")


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of real stock pipelines."""
    return run_stock_pipelines(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def two_runs(tmp_path: Path) -> Path:
    """The store of two runs from an ExampleGen to a Pusher, as TFX publishes them."""
    for run_id in ("run-1", "run-2"):
        StockRun(tmp_path, run_id=run_id).all_components()
    return tmp_path / "metadata.sqlite"


def without_trainer(run: StockRun) -> None:
    run.execute("Gen", "acme.component.Gen", outputs={"examples": standard_artifacts.Examples})


def without_evaluator(run: StockRun) -> None:
    gen = {"examples": standard_artifacts.Examples}
    made = run.execute("Gen", "acme.component.Gen", outputs=gen)
    model = {"model": standard_artifacts.Model}
    made |= run.execute("Trainer", "tfx.components.trainer.component.Trainer", made, model)
    run.push(made)


def with_infra_validator(run: StockRun) -> None:
    made = run.execute("Import", "acme.Import", outputs={"model": standard_artifacts.Model})
    blessing = {"blessing": standard_artifacts.InfraBlessing}
    made |= run.execute("InfraValidator", "tfx.InfraValidator", made, blessing)
    run.push(made, {"infra_blessing": made["blessing"]})


def with_a_failed_trainer(run: StockRun) -> None:
    gen = {"examples": standard_artifacts.Examples}
    made = run.execute("Gen", "acme.component.Gen", outputs=gen)
    run.execute("Trainer", "tfx.components.trainer.component.Trainer", made, failed=True)


def with_every_component(run: StockRun) -> None:
    run.all_components()


def runs_of(store: Path) -> list[Run]:
    return MetadataReader.sqlite(store).runs()


def words(page: str) -> str:
    """Returns the text of an HTML page, without its scripts and styles."""
    return re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)


def check_nothing_is_lost(store: Path) -> None:
    for command, answer in ask_everything(store).items():
        assert not LOST.search(words(answer.output)), f"{command}: {words(answer.output)}"


def test_every_command_answers_and_nothing_is_lost(stock: Path) -> None:
    check_nothing_is_lost(stock)


@pytest.mark.parametrize(
    "publish",
    [
        without_trainer,
        without_evaluator,
        with_infra_validator,
        with_a_failed_trainer,
        with_every_component,
    ],
)
def test_every_combination_of_components_is_answered(
    tmp_path: Path, publish: Callable[[StockRun], None]
) -> None:
    for run_id in ("run-1", "run-2"):
        publish(StockRun(tmp_path, run_id=run_id))
    check_nothing_is_lost(tmp_path / "metadata.sqlite")


def test_runs_of_several_pipelines_have_their_own_states(stock: Path) -> None:
    lines = [(line.pipeline, line.state, line.components) for line in run_lines(_open(stock))]
    assert lines == [
        ("reader", "complete", {"complete": 3}),
        ("broken", "failed", {"failed": 1}),
        ("stock", "complete", {"cached": 4}),
        ("stock", "complete", {"complete": 4}),
    ]


def test_impact_of_a_source_file_says_that_it_is_not_recorded(stock: Path) -> None:
    answer = ask(stock, "impact", "rows.csv")
    assert answer.exit_code == 1
    assert "the source files of 2 more are not recorded" in answer.output


def test_the_newest_examples_are_of_an_example_gen_not_of_an_importer(stock: Path) -> None:
    assert impact_of(_open(stock), "latest").artifact.id == 1


def test_a_diff_says_what_neither_side_records(stock: Path) -> None:
    older, newer = (run.run_id for run in reversed(runs_of(stock)[-2:]))
    found = compare(_open(stock), older, newer)
    assert (found.data, found.files, found.not_recorded) == ((), None, ("code",))
    answer = ask(stock, "diff", older, newer).output
    assert "not recorded: SparkExampleGen did not make Examples 1" in answer


def test_a_report_shows_the_statistics_and_anomalies_of_stock_components(stock: Path) -> None:
    oldest = runs_of(stock)[-1].run_id
    found = json.loads(ask(stock, "report", oldest, "--json").output)
    assert {"x", "label"} == found["features"]["train"].keys()
    assert found["validated"]


def test_a_report_without_a_validator_does_not_say_that_the_data_is_valid(stock: Path) -> None:
    page = words(ask(stock, "report", "--out", "-").output)
    assert "Not validated: no ExampleAnomalies are recorded for this run" in page
    assert "the data fits the schema" not in page


def test_a_trace_says_that_stock_examples_have_no_manifest(two_runs: Path) -> None:
    [dataset] = trace(_open(two_runs), "latest").datasets
    assert (dataset.is_ours, dataset.manifest, dataset.accounts) == (False, "", None)
    answer = ask(two_runs, "trace").output
    assert "manifest  not recorded: only SparkExampleGen writes one" in answer
    assert "files not recorded by this ExampleGen  below /data/examples" in answer


def test_a_manifest_of_another_component_is_not_read(tmp_path: Path) -> None:
    made = StockRun(tmp_path).all_components()
    folder = Path(made["examples"].uri)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"sources": "of somebody else"}')
    [dataset] = trace(_open(tmp_path / "metadata.sqlite"), "latest").datasets
    assert (dataset.sources, dataset.lost_manifest) == ((), False)


def test_a_stock_pusher_records_no_labels(two_runs: Path) -> None:
    models = served(_open(two_runs))
    assert [(one.version, one.labels_recorded, one.periods) for one in models] == [
        ("1010", False, ()),
        ("1005", False, ()),
    ]
    assert "answers for  not recorded" in ask(two_runs, "served", "latest").output
    assert "what is stable is not recorded" in ask(two_runs, "trace", "stable").output


def test_a_pusher_that_records_no_version_is_traced(tmp_path: Path) -> None:
    run = StockRun(tmp_path)
    made = run.execute("Import", "acme.Import", outputs={"model": standard_artifacts.Model})
    run.describe = lambda artifact, execution_id: None  # type: ignore[method-assign]
    pushed = run.push(made)["pushed_model"]
    answer = ask(run.path, "trace").output
    assert f"PushedModel {pushed.id}  version not recorded" in answer
    assert f"Model {made['model'].id}" in answer


def test_without_a_pusher_nothing_says_that_a_model_was_refused(stock: Path) -> None:
    assert "no push is recorded" in ask(stock, "trace").output


def test_our_examples_and_stock_ones_in_one_store_are_told_apart(tfx: Any) -> None:
    ours = tfx.full_run("ours", "2001")
    StockRun(tfx.folder, run_id="theirs").all_components()
    store = MetadataReader.sqlite(tfx.path)
    assert trace(store, "2001").datasets[0].lost_manifest
    assert not trace(store, "latest").datasets[0].lost_manifest
    message = ask(tfx.path, "impact", "rows.csv").output
    assert "1 more have lost their manifest" in message
    assert "the source files of 1 more are not recorded" in message
    tfx.manifest(ours["examples"])
    found = impact_of(store, "00/a.json.gz")
    assert (found.artifact.id, found.unknown, len(found.unrecorded)) == (ours["examples"], (), 1)


def _open(path: Path) -> MetadataReader:
    return MetadataReader.sqlite(path)
