"""The names agree with those of TFX and of our components, and need nothing installed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tfx.components.example_gen import utils
from tfx.types import standard_artifacts, standard_component_specs

from components.pusher.intents import PROMOTION, PUSH, ROLLBACK
from components.spark_embeddings.artifacts import TokenEmbeddings
from components.spark_example_gen.artifacts import QuarantinedRecords
from components.trainer.artifacts import Decision
from components.tree_baseline.artifacts import TreeComparison
from metadata import names
from tests.product import ROOT

pytestmark = pytest.mark.unit
TYPES = {
    names.EXAMPLES, names.EXAMPLE_STATISTICS, names.EXAMPLE_ANOMALIES, names.SCHEMA,
    names.TRANSFORM_GRAPH, names.TRANSFORM_CACHE, names.HYPER_PARAMETERS, names.TUNER_RESULTS,
    names.MODEL, names.MODEL_RUN, names.MODEL_EVALUATION, names.MODEL_BLESSING,
    names.INFRA_BLESSING, names.PUSHED_MODEL,
}  # fmt: skip


def test_types_are_those_of_tfx() -> None:
    classes = (getattr(standard_artifacts, name) for name in dir(standard_artifacts))
    assert {getattr(one, "TYPE_NAME", None) for one in classes} >= TYPES


def test_our_types_are_those_of_the_components() -> None:
    for artifact, name in (
        (QuarantinedRecords, names.QUARANTINED_RECORDS),
        (TokenEmbeddings, names.TOKEN_EMBEDDINGS),
        (Decision, names.DECISION),
        (TreeComparison, names.TREE_COMPARISON),
    ):
        assert artifact.TYPE_NAME.removeprefix("components.") == name


def test_properties_of_examples_are_those_of_tfx() -> None:
    assert names.SPAN == utils.SPAN_PROPERTY_NAME
    assert names.INPUT_FINGERPRINT == utils.FINGERPRINT_PROPERTY_NAME


def test_keys_are_those_of_tfx() -> None:
    assert names.BASELINE_MODEL == standard_component_specs.BASELINE_MODEL_KEY
    assert names.BASE_MODEL == standard_component_specs.BASE_MODEL_KEY


def test_changes_of_what_is_live_are_those_of_the_pusher() -> None:
    kinds = (PUSH, PROMOTION, ROLLBACK)
    assert tuple(names.SERVING + kind for kind in kinds) == (
        names.PUSH,
        names.PROMOTION,
        names.ROLLBACK,
    )


def test_nothing_needs_to_be_installed() -> None:
    """A step on Kubeflow reads them before it knows whether its image is whole."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import metadata.names"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
