"""Turns Spark's long errors into one line that says what to fix."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping

from py4j.protocol import Py4JNetworkError
from pydantic import ValidationError

from base.errors import ComponentError, first_problem
from base.failures import cause, cause_in
from base.redaction import hide_variables
from spark_io.sources.source_types import AnySource, JdbcSource, KafkaSource

# The variables that S3A's own client reads.
_S3_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_HINTS: tuple[tuple[str, str], ...] = (
    (r"No space left on device", "the disk is full; free space, or put spark.local.dir elsewhere"),
    # A dead Python worker fails the JVM, or another worker, while it reads from it. This comes
    # before similar errors of damaged files and of services that do not answer.
    (
        r"Python worker exited unexpectedly|Python worker failed to connect back|"
        r"Expected to (?:be able to )?read \d+ (?:metadata )?bytes|"
        r"Exception[^\n]*\n(?:\s+at (?:java\.|org\.apache\.arrow\.)[^\n]*\n)+"
        r"\s+at org\.apache\.spark\.(?:sql\.execution|api)\.python\.",
        "a Python process of a Spark task was killed or ran out of memory; run again, with fewer "
        "cores in Spark's master or more memory, or let tasks be retried: local[2,3]",
    ),
    (r"Permission denied", "no permission to read or write; check the owner of the path"),
    (r"java\.lang\.OutOfMemoryError", "Spark ran out of memory; raise spark.driver.memory"),
    (r"Java gateway process exited", "Spark's JVM did not start; its message is in the log"),
    (
        r"ZLIB input stream|not in gzip format|incorrect header check|not a gzip file|"
        r"EOFException[^\n]*\n(?:\s+at [^\n]*\n){0,4}?\s+at \S*(?:compress|zip)",
        "a compressed file is cut short or damaged; replace it",
    ),
    (r"is not a Parquet file|Could not read footer", "a Parquet file is damaged; replace it"),
    (
        r"(?:Failed to find the? data source: (?:kafka|avro)|ClassNotFoundException: \S*"
        r"(?:jdbc|S3A|postgresql|mariadb|kafka|avro))",
        "a connector is not on Spark's class path: run `make jars`, and name its jars in the Spark "
        "configuration (jars: [jars/spark/*.jar])",
    ),
    (
        r"(?:InvalidAccessKeyId|SignatureDoesNotMatch|Status Code: 403|AccessDenied)",
        "S3 rejects the keys; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        r"NoAuthWithAWSException|No AWS Credentials|Unable to load credentials",
        "S3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
    ),
    (
        r"NoSuchBucket|UnknownStoreException|bucket does not exist",
        "the S3 bucket does not exist; correct its name",
    ),
)
# Hints for services. They come first, because these exceptions contain others.
_SERVICE_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"Access denied for user|password authentication failed|no password was provided",
        "the database rejects user or password; check `user` and the variable of password_env",
    ),
    (
        r"Socket fail to connect|Connection refused|Connection to \S+ refused|"
        r"No route to host|UnknownHostException|NoRouteToHost|connect timed out|"
        r"The connection attempt failed|ConnectTimeout|Unable to connect",
        "a service does not answer; check that it runs, and check its address",
    ),
)
# A database's message about a statement; its first line suffices.
_DATABASE = re.compile(r"(?:SQL\w*|PSQL)Exception: ([^\n]+)")
# The innermost cause of a JVM error, without its package.
_JAVA_CAUSE = re.compile(
    r"^(?:Caused by: |: )(?:[\w$]+\.)*([\w$]+(?:Exception|Error)[^\n]*)", re.MULTILINE
)
_COLUMN = re.compile(
    r"UNRESOLVED_COLUMN[^`]*(?P<name>`(?:[^`]+`\.`)*[^`]+`)"
    r".*?(?:did you mean one of the following\? \[(?P<have>[^\]]*)\])",
    re.IGNORECASE | re.DOTALL,
)


def explain(error: Exception) -> str:
    """Returns an error as one line; its stack trace is in the log already."""
    if isinstance(error, ComponentError):
        return str(error)
    if isinstance(error, ValidationError):
        return f"etl.parameters: {first_problem(error)}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}; fix that and run again"
    if _lost_the_jvm(error):
        return (
            "Spark's JVM was killed or ran out of memory in the middle of the run; run again, with "
            "more memory in the machine or less in spark.driver.memory"
        )
    return _explain_text(str(error)) or cause(error)


def _explain_text(text: str) -> str | None:
    """Returns the hint for a text that Spark, a driver or a Python worker wrote, if any."""
    from_worker = re.search(r"ComponentError: ([^\n]+)", text)
    if from_worker:
        return from_worker.group(1)
    column = _COLUMN.search(text)
    if column:
        name, have = column.group("name").replace("`", ""), column.group("have").replace("`", "")
        return f"the ETL uses a column '{name}' that does not exist; the columns are {have}"
    for pattern, hint in _SERVICE_HINTS:
        if re.search(pattern, text):
            return hint
    database = _DATABASE.search(text)
    if database:
        return f"the database says: {database.group(1).strip()[:300]}"
    for pattern, hint in _HINTS:
        if re.search(pattern, text):
            file = re.search(r"(?:file:)?(/[^\s,'\"]+\.(?:gz|json|csv|parquet|orc))", text)
            return f"{hint} ({file.group(1)})" if file else hint
    task, causes = cause_in(text), _JAVA_CAUSE.findall(text)
    if task:
        return f"Python code in a Spark task failed: {task}"
    return f"Spark says: {causes[-1].strip()[:300]}" if causes else None


def _lost_the_jvm(error: BaseException | None) -> bool:
    """Returns whether the error, or a cause of it, is a lost connection to the JVM."""
    while error is not None:
        if isinstance(error, Py4JNetworkError):
            return True
        if isinstance(error, ConnectionError):
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            return bool(frames) and frames[-1].f_globals["__name__"].startswith("py4j.")
        error = error.__cause__ or error.__context__
    return False


def hide_secrets(sources: Mapping[str, AnySource]) -> None:
    """Hides the values of all secret variables of the sources from logs and errors."""
    names = set(_S3_SECRETS)
    for source in sources.values():
        if isinstance(source, JdbcSource | KafkaSource):
            names |= set(source.secrets().values())
    hide_variables(names)
