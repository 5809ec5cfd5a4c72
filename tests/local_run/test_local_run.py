"""Output for a person: one-line errors, a log without secrets, the truth beside metrics."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf

from base.redaction import hide
from local_run.best_reachable import best_reachable
from local_run.launches import Launch
from local_run.logs import captured_output
from local_run.memory import peak_memory
from local_run.screen import Screen, show_summary
from local_run.temporary import temporary_folder
from spark_io.examples.shards import TFRecordShard

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


def test_the_log_gets_everything_but_secrets(tmp_path: Path, capfd) -> None:
    said: list[str] = []
    hide(["s3cret"])
    with captured_output(tmp_path / "runs" / "run.log", said.append) as terminal:
        logging.getLogger("components.x").info("reading 5 files")
        logging.getLogger("absl").warning("password: s3cret")
        try:
            raise ValueError("s3cret in a trace")
        except ValueError:
            logging.getLogger("absl").exception("failed")
        os.write(2, b"from native code\n")
        terminal.write("for the person\n")
    text = (tmp_path / "runs" / "run.log").read_text()
    assert "from native code" in text
    assert "password: ***" in text
    assert "s3cret" not in text
    assert said == ["reading 5 files"]
    assert capfd.readouterr().out == "for the person\n"


def test_progress_without_a_terminal_is_a_line_for_each_event() -> None:
    out = io.StringIO()
    with Screen(out, "pipeline x") as screen:
        screen.report(Launch("Trainer", "running"))
        screen.say("epoch 1 [bold]")
        screen.report(Launch("Trainer", "cached", 0.04))
        screen.error("a [b] c")
    assert out.getvalue().splitlines() == [
        "pipeline x",
        "Trainer: running",
        "  epoch 1 [bold]",
        "Trainer: cached 0.0 s",
        "Error: a [b] c",
    ]


def test_the_final_table_has_components_rows_and_metrics() -> None:
    out = io.StringIO()
    summary = {
        "run_id": "r1",
        "state": "complete",
        "components": [
            {"id": "Transform", "state": "complete", "seconds": 31.0, "peak_mib": 1999},
            {"id": "Trainer", "state": "cached", "seconds": 1.0, "peak_mib": None},
        ],
        "rows": {"read": 1234, "train": 1000, "eval": 200, "quarantined": 30, "dropped": 4},
        "metrics": {"auc": 0.75, "log_loss": 0.3, "positives": 1234.0},
        "intervals": {"auc": [0.74, 0.76]},
        "blessed": False,
        "not_blessed_because": ["auc is 0.7500, expected at least 0.8", "positives is 17, ..."],
        "telling_features": ["feature 'copy' alone almost tells the label (AUC 1.0000)"],
        "canary": {"blessed": False, "reason": "too slow"},
        "pushed_model": None,
        "seconds": 10.0,
        "peak_mib": 2048,
    }
    with Screen(out, "x") as screen:
        show_summary(screen.console, summary, "runs/x", "runs/x/report.html")
    text = out.getvalue()
    for part in ("Trainer", "cached", "1,234 read = 1,000 train", "2,048 MiB"):
        assert part in text
    assert "auc 0.7500  (95 %: 0.7400 to 0.7600)" in text
    assert re.search(r"Transform +complete +31\.0 +1,999 *\n", text)
    assert re.search(r"blessed +no: auc is 0\.7500, expected at least 0\.8 *\n +positives", text)
    assert re.search(r"check +feature 'copy' alone", text)
    assert re.search(r"canary +no: too slow", text)
    assert re.search(r"positives 1,234 *\n", text)
    assert re.search(r"log_loss 0\.3000 *\n", text)
    assert re.search(r"report +runs/x/report\.html", text)


def test_peak_memory_sees_child_processes() -> None:
    program = "x = bytearray(300 << 20); input()"
    with peak_memory() as peak:
        child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
        peak.measure()
        before = peak.mib
        while peak.mib < before + 250:  # pytest's timeout ends it if this never comes true
            peak.measure()
        child.communicate(b"\n")


def test_peak_memory_is_that_of_each_component_while_it_runs() -> None:
    with peak_memory() as peak:
        for component, mib in (("First", 300), ("Second", 0)):
            peak.report(Launch(component, "running"))
            held = bytearray(mib << 20)
            peak.report(Launch(component, "complete", 1.0))
            del held
    assert peak.by_component.keys() == {"First", "Second"}
    assert peak.by_component["First"] > peak.by_component["Second"] + 250
    assert peak.mib >= peak.by_component["First"]


def test_best_reachable_joins_the_truth_to_the_eval_rows(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    shard = TFRecordShard(tmp_path / "eval" / "a.gz")
    labels = {"a": 1, "b": 0, "c": 1, "d": 0, "unknown": 1}
    for name, label in labels.items():
        feature = {
            "impression_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode()])),
            "clicked": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        }
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        shard.write_all(pa.array([example.SerializeToString()]))
    shard.close()
    truth = tmp_path / "truth.parquet"
    frame = {"impression_id": list("abcde"), "click_probability": [0.9, 0.5, 0.4, 0.1, 0.3]}
    pd.DataFrame(frame).to_parquet(truth)
    found = best_reachable(
        tmp_path / "eval", [truth], "impression_id", "clicked", "click_probability"
    )
    assert found is not None
    assert found["best_reachable_auc"] == pytest.approx(0.75)
    expected = -np.mean(np.log([0.9, 0.5, 0.4, 0.9]))
    assert found["best_reachable_log_loss"] == pytest.approx(expected)
    assert (
        best_reachable(tmp_path / "eval", [], "impression_id", "clicked", "click_probability")
        is None
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "spanns=1"], "spanns: unknown key"),
        (["--set", "run_root=/proc/none"], "run_root: cannot write to /proc/none/ctr"),
        (
            ["--set", "metadata.kind=mysql", "--set", "metadata.password_env=NO_SUCH"],
            "the variable NO_SUCH is not set",
        ),
        (["--set", "data_root=/nowhere"], "data_root: there is no folder /nowhere"),
    ],
)
def test_mistakes_end_before_anything_runs(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    base = ["--config=applications/ctr/configs/ctr.yaml", "--set=sample_data=null"]
    base += [f"--set=data_root={tmp_path}", f"--set=run_root={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "local_runner.py", *base, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert message in line


def test_a_password_is_found_however_it_is_escaped(tmp_path: Path) -> None:
    from ml_metadata.proto import metadata_store_pb2

    secret = 'p\u00e4"s\\s'
    connection = metadata_store_pb2.ConnectionConfig()
    connection.mysql.password = secret
    hide([secret])
    with captured_output(tmp_path / "run.log", print):
        logging.getLogger("absl").info("Using connection config:\n %s", connection)
        logging.getLogger("absl").info("%r", secret)
    text = (tmp_path / "run.log").read_text()
    assert text.count("***") == 2


def test_a_runs_temporary_files_go_with_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    in_a_child = [sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp())"]
    with temporary_folder("ctr"):
        left = Path(tempfile.mkdtemp())
        said = subprocess.run(in_a_child, capture_output=True, text=True, check=True).stdout
        assert Path(said.strip()).parent == left.parent
        assert left.parent.parent == tmp_path
    assert not [*tmp_path.iterdir()]
    assert Path(tempfile.mkdtemp()).parent == tmp_path
