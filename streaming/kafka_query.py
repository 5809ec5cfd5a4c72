"""Runs Spark's streaming query over the topics of all streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame
from pyspark.sql.streaming import StreamingQuery

from base.errors import ComponentError
from spark_io.jobs.errors import explain
from streaming import landing, sources
from streaming.checkpoint import settle_batches
from streaming.topics import TopicError, Topics

if TYPE_CHECKING:
    from streaming.ingest import Ingest

_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 60.0
_POLL_S = 0.5


class KafkaQuery:
    """Runs the query, and restarts it when a broker comes back.

    Args:
      ingest: Ingest that lands the batches.
    """

    def __init__(self, ingest: Ingest):
        self._ingest = ingest
        self._topics = Topics(ingest.spark, ingest.settings, ingest.report)
        self._problem: Exception | None = None  # error of a batch; Spark passes on only its text

    def run(self, *, once: bool) -> None:
        """Reads until it is stopped; with `once`, until all present records have been read.

        While the broker does not answer, the query waits. If the query fails although the broker
        answers, it is tried once more, since the broker may just have come back. A second failure
        in a row is an error.

        Raises:
          ComponentError: The query cannot continue.
        """
        stopping = self._ingest.stopping
        wait, answered = _FIRST_WAIT_S, 0
        while not stopping.is_set():
            number = self._ingest.progress.number
            query = None
            try:
                query = self._start(once)
                while not query.awaitTermination(_POLL_S):  # type: ignore[arg-type]
                    if stopping.is_set():
                        return
                return
            except StreamingQueryException as error:
                problem: Exception = self._problem or error
                if once or isinstance(problem, ComponentError):
                    raise ComponentError(explain(problem)) from problem
                if self._ingest.progress.number > number:
                    wait, answered = _FIRST_WAIT_S, 0  # the broker has answered meanwhile
                away = self._why_no_broker()
                answered += away is None
                if answered > 1:
                    raise ComponentError(explain(problem)) from problem
                reason = away or explain(problem)
                self._ingest.report("away", {"seconds": wait, "reason": reason})
            except TopicError:
                raise
            except (
                ComponentError
            ) as error:  # the broker did not answer when the topics were checked
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

        This asks the broker, because the query's own error says little when a broker goes away; in
        Spark 4.1 it is a NullPointerException of the progress report.
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
        settle_batches(checkpoint, self._ingest.progress.number)
        self._topics.check()
        trigger: dict[str, Any] = (
            {"availableNow": True}
            if once
            else {"processingTime": f"{settings.trigger_seconds} seconds"}
        )
        lines = {
            stream: sources.kafka_lines(spark, settings, stream) for stream in self._topics.order()
        }
        return (
            landing.events(lines, settings)
            .writeStream.foreachBatch(self._batch)
            .option("checkpointLocation", str(checkpoint.resolve()))
            .trigger(**trigger)
            .start()
        )

    def _batch(self, batch: DataFrame, number: int) -> None:
        """Lands a batch. Spark calls this in its own thread, and an error ends the query."""
        try:
            self._ingest.land(batch, number, facts=self._topics.facts)
        except Exception as error:
            self._problem = error
            raise
