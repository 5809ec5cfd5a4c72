"""Training on Spark's workers, real ones: the same model, no file of another worker's, kills."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import json_utils, proto_utils

from base.errors import ComponentError
from components.spark_trainer.component import SparkTrainer
from components.spark_trainer.executor import SETTINGS, SparkTrainerExecutor
from spark_io.sources.source_types import SparkConfig
from tabular.training.rounds import Rounds
from tests.listening import beyond_loopback, listening_sockets
from tests.spark_io.two_hosts import two_hosts
from tests.tabular.training.small_training import SPEC, train, write_examples

pytestmark = pytest.mark.integration

TWO_PROCESSES = "local-cluster[2,1,1024]"
ROUNDS = {"steps": 40, "max_rounds": 7}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    write_examples(folder, "train", 6000, files=4)
    write_examples(folder, "eval", 1000, files=3, seed=1)
    return folder


@dataclasses.dataclass
class Training:
    """One execution of the component, without MLMD around it."""

    data: Path
    root: Path
    master: str = TWO_PROCESSES
    workers: int = 2
    number: int = 1
    conf: dict[str, str] = dataclasses.field(default_factory=dict)
    listening: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    error: BaseException | None = None

    @property
    def model(self) -> Path:
        return self.root / "Trainer" / "model" / str(self.number)

    @property
    def model_run(self) -> Path:
        return self.root / "Trainer" / "model_run" / str(self.number)

    def run(self, **config: Any) -> Training:
        examples = standard_artifacts.Examples()
        examples.uri = str(self.data)
        examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
        model, model_run = standard_artifacts.Model(), standard_artifacts.ModelRun()
        model.uri, model_run.uri = str(self.model), str(self.model_run)
        for folder in (self.model, self.model_run):
            folder.mkdir(parents=True)
        spark = SparkConfig(self.master, {"spark.executor.memory": "512m", **self.conf})
        settings = {"workers": self.workers, "spark": dataclasses.asdict(spark)}
        SparkTrainerExecutor().Do(
            {"examples": [examples]},
            {"model": [model], "model_run": [model_run]},
            {
                "run_fn": "tests.components.spark_trainer.distributed_training.run_fn",
                "train_args": proto_utils.proto_to_json(trainer_pb2.TrainArgs(splits=["train"])),
                "eval_args": proto_utils.proto_to_json(trainer_pb2.EvalArgs(splits=["eval"])),
                "custom_config": json_utils.dumps({**config, SETTINGS: settings}),
            },
        )
        return self

    def start(self, **config: Any) -> threading.Thread:
        def keep_error() -> None:
            try:
                self.run(**config)
            except ComponentError as error:
                self.error = error

        thread = threading.Thread(target=keep_error)
        thread.start()
        return thread

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(p.read_text()) for p in sorted(self.model_run.glob("told-*.json"))]

    def predictions(self) -> np.ndarray:
        model = tf.saved_model.load(str(self.model / "Format-Serving"))
        chance = np.random.default_rng(3)
        x = tf.constant(chance.normal(size=(50, 4)), tf.float32)
        item = tf.constant(chance.integers(0, 50, 50), tf.int64)
        return model({"x": x, "item": item}, False, None).numpy()

    def wait_for_rounds(self, rounds: int) -> None:
        """Until so many rounds are done; then a little into the next one."""
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            assert self.error is None, self.error
            for path in (self.root / "Trainer" / ".checkpoints").glob("*/rounds.json"):
                if len(json.loads(path.read_text())) >= rounds:
                    time.sleep(0.3)
                    return
            time.sleep(0.05)
        raise AssertionError("no round was done")


@pytest.fixture(scope="module")
def together(data, tmp_path_factory) -> Training:
    """Two workers, left alone; one of them comes late to its best weights."""
    training = Training(data, tmp_path_factory.mktemp("together"))
    with listening_sockets() as training.listening:
        return training.run(**ROUNDS, wait_before_loading=5)


def test_two_workers_train_the_model_that_one_trains(
    data, tmp_path: Path, together: Training
) -> None:
    rounds = Rounds(ROUNDS["steps"], ROUNDS["max_rounds"], patience=99)
    _, alone = train(data, tmp_path, rounds)
    first, second = together.told()
    assert first["workers"] == second["workers"] == 2
    assert first["pid"] != second["pid"]
    assert first["losses"] == second["losses"]
    np.testing.assert_allclose(first["losses"], alone, rtol=0.02)


def test_what_listens(together: Training) -> None:
    """TensorFlow takes no address to listen on, and knows no authentication: hence the config's
    `trainer.trusted_network`. All else is this machine's own.
    """
    assert {program for program, _ in together.listening} >= {"python", "java"}
    assert {program for program, _ in beyond_loopback(together.listening)} == {"python"}


def test_the_chief_alone_exports_and_nothing_is_left(together: Training) -> None:
    assert [path.name for path in together.model.iterdir()] == ["Format-Serving"]
    assert not (together.root / "Trainer" / ".checkpoints").exists()


def test_logs_of_workers_and_of_tensorboard_are_in_the_model_run(together: Training) -> None:
    logs = [(together.model_run / f"worker-{n}.log").read_text() for n in range(2)]
    assert all("round 7 of 7" in log for log in logs)
    assert any(together.model_run.rglob("events.*"))


def test_on_a_standalone_cluster_of_two_hosts(data, tmp_path: Path, together: Training) -> None:
    with two_hosts(tmp_path / "cluster") as cluster:
        training = Training(data, tmp_path / "root", cluster.url).run(**ROUNDS)
    assert [told["workers"] for told in training.told()] == [2, 2]
    np.testing.assert_allclose(training.predictions(), together.predictions(), atol=0.02)


def test_a_worker_that_is_killed_is_replaced_and_goes_on(
    data, tmp_path: Path, together: Training
) -> None:
    training = Training(data, tmp_path)
    thread = training.start(**ROUNDS)
    training.wait_for_rounds(2)
    assert not any(training.model.iterdir())  # no half a model
    workers_of(training)[-1].kill()
    thread.join(timeout=300)
    assert training.error is None
    same_result(training, together)


@pytest.mark.slow
def test_a_killed_driver_fails_the_run_and_the_next_one_goes_on(
    data, tmp_path: Path, together: Training
) -> None:
    training = Training(data, tmp_path)
    thread = training.start(**ROUNDS)
    training.wait_for_rounds(2)
    workers = workers_of(training)
    (driver,) = [p for p in psutil.Process().children() if "spark_trainer.job" in _command(p)]
    driver.kill()
    thread.join(timeout=60)
    assert "killed (signal 9)" in str(training.error)
    assert not any(training.model.iterdir())
    assert psutil.wait_procs(workers, timeout=60)[1] == []  # no worker trains on unseen
    again = Training(data, tmp_path, number=2).run(**ROUNDS)
    assert "continuing after round" in (again.model_run / "worker-0.log").read_text()
    same_result(again, together)


def same_result(training: Training, together: Training) -> None:
    (first, _), (expected, _) = training.told(), together.told()
    np.testing.assert_allclose(first["losses"], expected["losses"], rtol=1e-3)
    np.testing.assert_allclose(training.predictions(), together.predictions(), atol=5e-3)


def workers_of(training: Training) -> list[psutil.Process]:
    """The Python processes that train."""
    return sorted(
        (p for p in psutil.Process().children(recursive=True) if _writes_log_of(p, training)),
        key=lambda process: process.pid,
    )


def _writes_log_of(process: psutil.Process, training: Training) -> bool:
    try:
        return any(file.path.startswith(str(training.model_run)) for file in process.open_files())
    except psutil.Error:
        return False


def _command(process: psutil.Process) -> str:
    """Empty for a process that has ended, whether or not its parent has asked about it."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


# Spark looks for free slots every 15 s; the component's own setting lets a cluster start meanwhile.
LOOK_TWICE = {"spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "2"}

ERRORS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"error": "the label is 0 in all examples"}, "^the label is 0 in all examples$"),
    ({"master": "local[1]", "conf": LOOK_TWICE}, {}, "fewer free slots than `workers`"),
]


@pytest.mark.parametrize(("fields", "config", "message"), ERRORS)
def test_an_error_is_one_line(data, tmp_path: Path, fields, config, message) -> None:
    with pytest.raises(ComponentError, match=message):
        Training(data, tmp_path, **fields).run(**ROUNDS, **config)


def test_no_worker_is_an_error() -> None:
    with pytest.raises(ValueError, match="workers must be 1 or more"):
        SparkTrainer(workers=0, spark=SparkConfig(), run_fn="a.b")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    left = [p for p in psutil.Process().children(recursive=True) if "Coarse" in _command(p)]
    assert left == []


def test_the_examples_fit_the_spec(data) -> None:
    files = [str(path) for path in (data / "Split-train").iterdir()]
    record = next(iter(tf.data.TFRecordDataset(files, "GZIP")))
    assert tf.io.parse_single_example(record, SPEC)["x"].shape == (4,)
