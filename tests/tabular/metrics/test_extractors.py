"""What TFMA takes along for each example."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.eval_config import eval_config
from pipeline.evaluator_section import Evaluator
from tabular.metrics.extractors import custom_extractors, features_read, trimmed

pytestmark = pytest.mark.unit

SECTION = Evaluator(
    label="clicked",
    prediction="probability",
    slices=[["device"], ["device", "country"]],
    group="user_id",
)


def test_what_slices_and_groups_are_made_of_is_kept() -> None:
    kept = features_read(eval_config(SECTION))
    assert kept == {"device", "country", "user_id"}
    column = np.array(["a", "b"])
    batch: dict[str, Any] = {
        "input": column,
        "arrow_record_batch": object(),
        "labels": np.array([0, 1]),
        "features": {"device": column, "user_id": column, "price": column},
    }
    found = trimmed(batch, kept)
    assert found.keys() == {"labels", "features"}
    assert found["features"].keys() == {"device", "user_id"}
    assert batch["features"].keys() == {"device", "user_id", "price"}  # Beam forbids changing it


def test_it_comes_before_batches_become_rows() -> None:
    config = eval_config(SECTION)
    for metric in config.metrics_specs[0].metrics:
        metric.ClearField("per_slice_thresholds")  # there is no baseline to compare with
    stages = [one.stage_name for one in custom_extractors(None, config, None)]
    trim = stages.index("KeepWhatIsRead")
    assert stages[trim + 1] == "ExtractUnbatchedInputs"
    assert stages.index("ExtractLabels") < trim < stages.index("ExtractSliceKeys")
