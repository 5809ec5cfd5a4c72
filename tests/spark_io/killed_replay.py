"""`replay apply` in processes that are killed, each a step later; needs no Spark.

python killed_replay.py OUT
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

from components.spark_example_gen import __main__ as command
from tests.spark_io import fault_etl
from tests.spark_io.fault_etl import kill_at_step
from tests.spark_io.replay_runs import (
    BROKEN,
    COOLER,
    GOOD,
    HOT,
    MENDED,
    PATTERN,
    Run,
    write_lines,
)

SPANS = ("span-7", "span-8")


def finished_run(base: Path, more_rows: int = 0) -> tuple[Run, Path]:
    """Two spans, a rejected row in the first and one in both, repaired.

    Args:
      base: folder of all there is.
      more_rows: in the second span's file with the refused row.
    """
    for span, refused in zip(SPANS, ((BROKEN, HOT), (HOT,)), strict=True):
        folder = base / "readings" / span / "v1"
        more = GOOD[:1] * (more_rows if span == SPANS[1] else 0)
        write_lines(folder / "a.json.gz", [*GOOD[:3], *refused, *GOOD[3:5], *more])
        write_lines(folder / "b.json", GOOD[5:])
    refusals = [("unparseable", BROKEN), ("too_hot", HOT), ("too_hot", HOT)]
    run = Run(base, refusals, length=2, pattern=PATTERN).publish()
    return run, run.export({BROKEN: MENDED, HOT: COOLER})


def apply_killed_at_every_step(out: Path) -> int:
    """Applies in out/1, killed before its first change there; in out/2, killed before the second;
    and so on, until one comes to its end, whose number is returned.
    """
    fault_etl.CHANGES["os.link"] = 2
    for step in itertools.count(1):
        run, repaired = finished_run(out / f"{step}")
        if (child := os.fork()) == 0:
            kill_at_step(out / f"{step}" / "readings", step)
            run.apply(repaired)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
        if status == 0:
            return step
    raise AssertionError("not reached")


if __name__ == "__main__":
    # Whether Spark can read the rows is asked before anything is written.
    command.check_readable = lambda source, repairs: None
    print(apply_killed_at_every_step(Path(sys.argv[1])))
