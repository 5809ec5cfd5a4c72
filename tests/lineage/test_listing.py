"""The list of runs, one line each."""

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from lineage.listing import run_lines
from metadata.reader import MetadataReader

pytestmark = pytest.mark.unit


def test_each_runs_line_has_its_states_span_and_version(tfx):
    made = tfx.full_run("first", "1001")
    tfx.execute(
        "second",
        "SparkExampleGen",
        outputs={"examples": made["examples"]},
        state=mlmd.Execution.CACHED,
    )
    tfx.execute("second", "Trainer", state=mlmd.Execution.FAILED)
    second, first = run_lines(MetadataReader.sqlite(tfx.path))
    assert (first.state, first.span, first.pushed_version) == ("complete", 474793, "1001")
    assert first.components == {"complete": 7}
    assert (second.state, second.span, second.pushed_version) == ("failed", 474793, None)
    assert (second.components, second.failed) == ({"cached": 1, "failed": 1}, ("Trainer",))
