"""Spark's streaming query over the topics of both streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame
from pyspark.sql.streaming import StreamingQuery

from base.errors import ComponentError
from spark_io.jobs.errors import explain
from streaming import landing, sources
from streaming.checkpoint import settle
from streaming.layout import STREAMS
from streaming.topics import TopicError, Topics

if TYPE_CHECKING:
    from streaming.ingest import Ingest

_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 60.0
_LOOK_S = 0.5


class KafkaQuery:
    """The query, started again when a broker comes back.

    Args:
      ingest: Takes the batches.
    """

    def __init__(self, ingest: Ingest):
        self._ingest = ingest
        self._topics = Topics(ingest.spark, ingest.settings, ingest.report)
        self._problem: Exception | None = None  # of a batch: Spark tells only its text

    def run(self, *, once: bool) -> None:
        """Reads until it is stopped; with `once`, until what is there now has been read.

        A broker that does not answer is waited for. What fails while it answers is tried once more,
        since it may just have come back; the second time in a row it is an error.

        Raises:
          ComponentError: it cannot go on.
        """
        stopping = self._ingest.stopping
        wait, answered = _FIRST_WAIT_S, 0
        while not stopping.is_set():
            number = self._ingest.progress.number
            query = None
            try:
                query = self._start(once)
                while not query.awaitTermination(_LOOK_S):  # type: ignore[arg-type]
                    if stopping.is_set():
                        return
                return
            except StreamingQueryException as error:
                problem: Exception = self._problem or error
                if once or isinstance(problem, ComponentError):
                    raise ComponentError(explain(problem)) from problem
                if self._ingest.progress.number > number:
                    wait, answered = _FIRST_WAIT_S, 0  # it did answer since
                away = self._why_no_broker()
                answered += away is None
                if answered > 1:
                    raise ComponentError(explain(problem)) from problem
                reason = away or explain(problem)
                self._ingest.report("away", {"seconds": wait, "reason": reason})
            except TopicError:
                raise
            except ComponentError as error:  # no broker, when the topics were looked at
                if once:
                    raise
                self._ingest.report("away", {"seconds": wait, "reason": str(error)})
            finally:
                if query is not None:
                    query.stop()
            stopping.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _why_no_broker(self) -> str | None:
        """Returns why the broker does not answer; None if it does.

        It is asked: what a query ends with when a broker goes says little, and in Spark 4.1 nothing
        (a NullPointerException while it reports its progress).
        """
        try:
            sources.check(self._ingest.spark, self._ingest.settings)
        except ComponentError as error:
            return str(error)
        return None

    def _start(self, once: bool) -> StreamingQuery:
        spark, settings = self._ingest.spark, self._ingest.settings
        checkpoint = self._ingest.layout.checkpoint
        self._problem = None
        settle(checkpoint, self._ingest.progress.number)
        self._topics.check()
        trigger: dict[str, Any] = (
            {"availableNow": True}
            if once
            else {"processingTime": f"{settings.trigger_seconds} seconds"}
        )
        lines = {stream: sources.kafka_lines(spark, settings, stream) for stream in STREAMS}
        return (
            landing.events(lines, settings)
            .writeStream.foreachBatch(self._batch)
            .option("checkpointLocation", str(checkpoint.resolve()))
            .trigger(**trigger)
            .start()
        )

    def _batch(self, batch: DataFrame, number: int) -> None:
        """Lands a batch; called by Spark, in a thread of its own. An error ends the query."""
        try:
            self._ingest.land(batch, number, facts=self._topics.facts)
        except Exception as error:
            self._problem = error
            raise
