"""What counts as made from what."""

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from metadata.graph import ancestors, descendants
from metadata.reader import MetadataReader

pytestmark = pytest.mark.unit


def test_a_pushed_model_comes_from_model_data_schema_and_blessing(tfx):
    made = tfx.full_run("r", "1001")
    graph = ancestors(MetadataReader.sqlite(tfx.path), [made["pushed_model"]])
    keys = ("pushed_model", "model", "blessing", "transform_graph", "transformed_examples")
    assert set(graph.artifacts) == {made[key] for key in (*keys, "examples", "schema")}
    assert sorted(e.component for e in graph.executions.values()) == [
        "Evaluator",
        "ImportSchemaGen",
        "Pusher",
        "SparkExampleGen",
        "Trainer",
        "Transform",
    ]


def test_a_model_is_not_made_from_the_baseline_it_was_compared_with(tfx):
    first = tfx.full_run("first", "1001")
    second = tfx.full_run("second", "1002", baseline=first["model"])
    store = MetadataReader.sqlite(tfx.path)
    graph = ancestors(store, [second["pushed_model"]])
    assert first["model"] not in graph.artifacts
    assert {e.run_id for e in graph.executions.values()} == {"second"}
    wide = ancestors(store, [second["pushed_model"]], through_baseline=True)
    assert {first["model"], first["examples"]} <= set(wide.artifacts)


def test_later_models_do_not_descend_from_the_baseline(tfx):
    first = tfx.full_run("first", "1001")
    second = tfx.full_run("second", "1002", baseline=first["model"])
    store = MetadataReader.sqlite(tfx.path)
    assert second["pushed_model"] not in descendants(store, [first["examples"]]).artifacts
    wide = descendants(store, [first["examples"]], through_baseline=True)
    assert second["pushed_model"] in wide.artifacts


def test_the_maker_is_the_first_that_completed_not_one_that_took_it_from_the_cache(tfx):
    failed, _ = tfx.execute("first", "Trainer", state=mlmd.Execution.FAILED)
    made = tfx.full_run("second", "1001")
    for run in ("third", "fourth"):
        tfx.execute(
            run,
            "Trainer",
            inputs={"examples": made["transformed_examples"]},
            outputs={"model": made["model"]},
            state=mlmd.Execution.CACHED,
        )
    store = MetadataReader.sqlite(tfx.path)
    graph = ancestors(store, [made["model"]])
    maker = graph.maker(made["model"])
    assert maker
    assert maker.run_id == "second"
    assert failed not in graph.executions
    down = descendants(store, [made["examples"]])
    assert {e.run_id for e in down.executions.values()} == {"second"}


def test_a_failed_try_is_among_what_was_done_with_the_data(tfx):
    examples = tfx.examples("r")
    failed, _ = tfx.execute(
        "r", "Transform", inputs={"examples": examples}, state=mlmd.Execution.FAILED
    )
    graph = descendants(MetadataReader.sqlite(tfx.path), [examples])
    assert graph.executions[failed].state == "failed"


def test_an_artifact_whose_maker_is_lost_has_no_ancestors(tfx):
    _, made = tfx.execute("r", "Importer", outputs={"result": ("Model", {})})
    _, cached = tfx.execute(
        "s", "Importer", outputs={"result": made["result"]}, state=mlmd.Execution.CACHED
    )
    graph = ancestors(MetadataReader.sqlite(tfx.path), cached.values())
    assert set(graph.artifacts) == {made["result"]}


def test_the_maker_completed_even_if_a_failed_one_put_the_artifact_out_before(tfx):
    _, made = tfx.execute(
        "first", "Trainer", outputs={"model": ("Model", {})}, state=mlmd.Execution.FAILED
    )
    completed, _ = tfx.execute("second", "Trainer", outputs={"model": made["model"]})
    graph = ancestors(MetadataReader.sqlite(tfx.path), [made["model"]])
    assert set(graph.executions) == {completed}


def test_a_cycle_ends(tfx):
    examples = tfx.examples("r")
    _, made = tfx.execute(
        "r", "Trainer", inputs={"examples": examples}, outputs={"model": ("Model", {})}
    )
    improver, _ = tfx.execute(
        "r", "Improver", inputs={"model": made["model"]}, outputs={"model": made["model"]}
    )
    graph = descendants(MetadataReader.sqlite(tfx.path), [examples])
    assert set(graph.artifacts) == {examples, made["model"]}
    assert improver in graph.executions
