"""Runs a day hour by hour: traffic, close, evaluate, train."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from applications.ctr.demo_loop.processes import model_server, module
from applications.ctr.demo_loop.site import FROZEN, Site
from applications.ctr.sample_data.click_log import ClickLogConfig
from applications.ctr.sample_data.click_model import HOUR_MS, ClickModel
from applications.ctr.sample_data.dirt import Dirt
from applications.ctr.sample_data.served_users import ServedUsers
from base.errors import ComponentError
from components.pusher.release import read_release
from dev_services.kafka import create_topics
from dev_services.process import run_tool, running, wait_until_ready
from pipeline.config import PipelineConfig
from serving.release.follow import wait_until_followed
from streaming.feedback.sinks import sink_of
from streaming.layout import Layout
from streaming.online_evaluation.rounds import EvaluationRounds
from streaming.operation.due import DueRun, ready_hours
from streaming.operation.operate import Operation
from streaming.operation.records import COMPLETE, HourRecord

_CLOSE_TIMEOUT_S = 90
_PARTS = 12  # parts of an hour, five minutes each
_AT_ONCE = 3  # parts between two updates of the online store
_UNTIL_LABELS = 9  # parts until the hour before has its labels (half an hour and lateness)
# A large learning rate and no calibration make a model that is certain of every answer. The
# Evaluator's bounds are opened, since it would not bless such a model.
_BAD = (
    "trainer.warm_start=false",
    "trainer.parameters={model: logistic_regression, epochs: 1, batch_size: 256, "
    "learning_rate: 100, weight_averaging: 0, calibrate: false}",
    "evaluator.thresholds.auc={min: 0, max_worse: 1}",
    "evaluator.thresholds.calibration={min: 0, max: 1000}",
)

PrintLine = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class DaySettings:
    """The settings of a day.

    Attributes:
      hours: Number of hours.
      first_hours: Number of hours without a model; the first model is trained on them.
      impressions: Average number of impressions per hour.
      bad_hour: Hour from which on the first canary is bad on purpose; None for no bad canary.
      exploration: Share of random pages, 0 to 1.
      frozen_percent: Percentage of the users who keep the first model.
      seed: Seed of all random numbers.
    """

    hours: int = 24
    first_hours: int = 8
    impressions: int = 5_000
    bad_hour: int | None = 14
    exploration: float = 0.05
    frozen_percent: float = 35.0
    seed: int = 11

    def log(self) -> ClickLogConfig:
        """Returns the config of users, and of items whose popularity drifts within the day."""
        return ClickLogConfig(
            impressions=self.impressions * self.hours,
            hours=self.hours,
            seed=self.seed,
            users=6_000,
            items=600,
            dirt=Dirt.preset("none"),
            model=ClickModel(drift_sd=1.2, drift_hours=6.0),
        )


class Day:
    """A day of the loop.

    Args:
      config: Config of the loop, with the broker's address.
      given: Path of the config and its overrides, for the processes.
      settings: Settings of the day.
      print_line: Function that prints a line.
    """

    def __init__(
        self,
        config: PipelineConfig,
        given: tuple[str, Sequence[str]],
        settings: DaySettings,
        print_line: PrintLine,
    ):
        assert config.streaming is not None
        assert config.streaming.kafka is not None
        self._config, self._given, self._settings, self._print_line = (
            config,
            given,
            settings,
            print_line,
        )
        self._layout = Layout(config.streaming.folder)
        self._logs = config.streaming.folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._broker = config.streaming.kafka.bootstrap_servers
        self._streams = config.streaming.streams
        log = settings.log()
        self.first_hour = log.start_ms // HOUR_MS
        self._by_hour = log.impressions_by_hour()
        self._users = ServedUsers(log)
        self._site = Site(
            config,
            self._users,
            sink_of(config.streaming),
            exploration=settings.exploration,
            frozen_percent=settings.frozen_percent,
            seed=settings.seed,
        )
        self._rounds = EvaluationRounds(config)
        self.evaluation = self._rounds.evaluation
        self.decisions: dict[int, str] = {}  # hour of the day -> what was decided
        self.withdrawn: dict[int, str] = {}  # version -> why it was rolled back
        self.runs: dict[int, HourRecord] = {}
        self._was_bad = False
        self._training: threading.Thread | None = None
        self._stopping = threading.Event()  # ends the run in the background
        self._problems: list[BaseException] = []
        self._server = ""

    def run(self) -> None:
        """Runs the whole day."""
        self._users.write_tables(Path(self._config.data_root))
        create_topics(self._broker, [*self._streams])
        flags = ["--config", self._given[0]]
        for override in self._given[1]:
            flags += ["--set", override]
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop)
            log, command = self._logs / "ingest.log", ["ingest", *flags]
            with running("ingest", module("streaming", command), log, log.exists) as ingest:
                for hour in range(self._settings.hours):
                    self._hour(hour, ingest, flags, stack)
                self._site.last_clicks()
            run_tool("ingest --finish", module("streaming", [*command, "--finish"]), log)
            self._join()
            self._rounds.round(act=False)

    def _hour(self, hour: int, ingest: Any, flags: list[str], stack: contextlib.ExitStack) -> None:
        self._users.start_hour(hour)
        count = self._by_hour[hour]
        first = 0
        for part in range(0, _UNTIL_LABELS, _AT_ONCE):
            self._site.wait_for_features(hour, part, _PARTS)
            first += self._site.traffic(count, hour, range(part, part + _AT_ONCE), _PARTS)
        self._join()
        if hour > 0:
            before = self.first_hour + hour - 1
            wait_until_ready(
                f"ingest, before it had the labels of hour {hour - 1},",
                ingest,
                self._logs / "ingest.log",
                lambda: before in ready_hours(self._layout, self._config),
                _CLOSE_TIMEOUT_S,
            )
            self._closed(hour - 1, flags, stack)
        self._site.wait_for_features(hour, _UNTIL_LABELS, _PARTS)
        rest = self._site.traffic(count, hour, range(_UNTIL_LABELS, _PARTS), _PARTS)
        self._print_line(f"hour {hour:2}: {first + rest:,} impressions{self._live()}")

    def _closed(self, hour: int, flags: list[str], stack: contextlib.ExitStack) -> None:
        settings = self._settings
        if hour < settings.first_hours - 1:
            return
        if hour == settings.first_hours - 1:
            self._print_line("training the first model on the hours so far")
            self._train(hour, window=settings.first_hours)
            self._serve(flags, stack)
            return
        found = self._rounds.round(act=True)
        self.decisions[hour] = f"{found.decision.what}: {found.decision.reason}"
        if found.done is not None:
            self._print_line(f"  {self.decisions[hour]}")
            assert found.done.switch is not None
            self.withdrawn |= found.done.switch.withdrawn
            wait_until_followed(self._config.name, found.done.switch.after, [self._server])
        self._training = threading.Thread(target=self._train, args=(hour,))
        self._training.start()

    def _train(self, hour: int, window: int = 1) -> None:
        """Runs the pipeline on the hour; in the background except for the first model."""
        path, overrides = self._given
        bad = list(_BAD) if self._is_bad(hour) else []
        operation = Operation(
            self._config, (path, [*overrides, *bad]), lambda *_: None, self._stopping
        )
        last = self.first_hour + hour
        try:
            record = operation.run_one(DueRun(last - window + 1, last))
            self.runs[hour] = record
            if record.state != COMPLETE:
                raise ComponentError(f"the run of hour {hour} failed: {record.error}")
        except BaseException as error:
            self._problems.append(error)

    def _is_bad(self, hour: int) -> bool:
        """Returns whether the hour's model is to be bad: the first one that becomes a canary.

        A bad model that is never served would only spoil the models warm-started from it.
        """
        wanted, release = self._settings.bad_hour, read_release(self._config.serving_folder)
        if wanted is None or hour < wanted or release is None or release.canary is not None:
            return False
        first, self._was_bad = not self._was_bad, True
        return first

    def _stop(self) -> None:
        """Ends a run that is still in progress when the day is cut short."""
        self._stopping.set()
        if self._training is not None:
            self._training.join()

    def _join(self) -> None:
        if self._training is not None:
            self._training.join()
            self._training = None
        if self._problems:
            raise self._problems[0]

    def _serve(self, flags: list[str], stack: contextlib.ExitStack) -> None:
        """Starts a server of the loop's models, and one that keeps the first model."""
        self._join()
        base = self._config.serving_folder
        release = read_release(base)
        assert release is not None
        frozen = base.with_name(f"{base.name}-{FROZEN}")
        shutil.rmtree(frozen, ignore_errors=True)
        shutil.copytree(base / str(release.stable), frozen / str(release.stable))
        frozen_log = self._layout.folder / "requests-frozen"
        first = ["--model-name", FROZEN, "--model-base-path", str(frozen)]
        first += ["--request-log", str(frozen_log)]
        log = self._config.serving.request_log
        assert log is not None
        for key in log.keys:  # page_feedback.py needs them in every log
            first += ["--request-log-key", key]
        self._server = stack.enter_context(model_server(flags, self._logs, "server"))
        address = stack.enter_context(model_server(first, self._logs, "server-frozen"))
        self._site.serve(self._server, address, frozen_log, stack)

    def _live(self) -> str:
        release = read_release(self._config.serving_folder)
        if release is None:
            return ", no model yet"
        return "; live: " + ", ".join(f"{label} {n}" for label, n in release.labels.items())
