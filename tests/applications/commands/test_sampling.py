"""A sample runs the ETL on some rows, and accounts for the others."""

from __future__ import annotations

from collections import Counter

import pytest

from applications.commands.sample_run import trial
from applications.commands.sampling import NOT_SAMPLED, Sample, of_a_sample, sampled_examples
from pipeline.config import load_config
from spark_io.examples.rows import EtlContext
from tests.product import config_path

pytestmark = pytest.mark.component


def double(spark, sources, context):
    assert context.parameters == {"by": 2}
    return sources["rows"].selectExpr("id * 2 AS twice")


def sampled(spark, rows, wanted):
    sample = Sample(etl=f"{__name__}.double", code_sha256="", parameters={"by": 2}, rows=wanted)
    context = EtlContext(sample.model_dump(), (0,))
    return sampled_examples(spark, {"rows": rows}, context).collect()


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def test_every_row_is_an_example_or_dropped_and_the_sample_is_from_everywhere(spark):
    found = sampled(spark, spark.range(10_000), 1_000)
    kept = [row["twice"] for row in found if row["_outcome"] is None]
    assert len(found) == 10_000
    assert Counter(row["_reason"] for row in found if row["_outcome"])[NOT_SAMPLED] == (
        10_000 - len(kept)
    )
    assert 800 < len(kept) < 1_200
    assert min(kept) < 1_000
    assert max(kept) > 19_000


def test_the_same_rows_are_sampled_again(spark):
    def kept():
        found = sampled(spark, spark.range(2_000), 100)
        return {row["twice"] for row in found if row["_outcome"] is None}

    assert kept() == kept()


def test_a_small_source_is_read_whole(spark):
    found = sampled(spark, spark.range(50), 100)
    assert sorted(row["twice"] for row in found) == list(range(0, 100, 2))


def test_a_map_does_not_prevent_a_sample(spark):
    rows = spark.range(1_000).selectExpr("id", "map('a', id) AS pairs")
    assert len(sampled(spark, rows, 10)) == 1_000


def test_the_config_of_a_sample_keeps_the_etl_and_its_parameters(monkeypatch):
    config = load_config(config_path("movielens"))
    found = of_a_sample(config, 500)
    sample = Sample(**found.etl.parameters)
    assert sample.etl == "applications.movielens.etl.build_examples"
    assert sample.parameters == {"liked_stars": 4}
    assert len(sample.code_sha256) == 64
    assert found.etl.function == "applications.commands.sampling.sampled_examples"


def test_a_trial_touches_nothing_of_the_real_pipeline_and_judges_nothing(tmp_path):
    config = load_config(
        config_path("ctr"),
        [
            "metadata={kind: mysql, host: real.example}",
            "serving.servers=[real.example:8500]",
            "serving.release=canary",
            "trainer.warm_start=true",
            "evaluator.max_feature_auc=0.9",
        ],
    )
    tried = trial(config, 1000, tmp_path)
    assert tried.metadata.kind == "sqlite"
    for path in (tried.metadata_path, tried.run_folder, tried.serving_folder):
        assert path.is_relative_to(tmp_path)
    assert (tried.serving.servers, tried.serving.release) == ([], "immediate")
    assert not tried.trainer.warm_start
    assert tried.evaluator.judged == ()
    assert {"auc", "calibration"} <= {str(name) for name in tried.evaluator.measured}
    assert tried.evaluator.max_feature_auc is None
    assert tried.trainer.parameters["epochs"] <= 5
