"""Messages of failures, and whether they are retried."""

from __future__ import annotations

import io
import logging
import select
import traceback
from collections.abc import Iterator
from importlib import import_module

import boto3
import httpx
import pytest
from botocore.stub import Stubber
from prefect import Flow, Task
from prefect.client.schemas.objects import State
from prefect.states import Failed
from psycopg import OperationalError, errors

from pipeline.beginning import by_place
from pipeline.errors import BucketError, PipelineError
from pipeline.postgres import Unreachable, transaction
from pipeline.redaction import learn
from tasks.failures import (
    RETRY_IF_TRANSIENT,
    clean_failures,
    explained_state,
    in_one_line,
    log_in_one_line,
    print_all,
)
from tests.support import execute


def fault_of_results(*, code: str = "") -> BaseException:
    """Errors while a result is read from S3: a refusal, or an interrupted response."""
    client = boto3.client("s3", "eu-west-2", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        if code:
            stub.add_client_error("head_object", code, "made up")
        else:
            stub.add_response("head_object", {})
        with pytest.raises(Exception) as caught:  # noqa: PT011  whatever it is
            client.download_fileobj("bucket", "key", io.BytesIO())
    return caught.value


def worth_another_try(fault: BaseException) -> bool:
    state: State[object] = Failed(data=fault)
    return bool(RETRY_IF_TRANSIENT["retry_condition_fn"](None, None, state))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "SlowDown",
            "ClientError: An error occurred (SlowDown) when calling the HeadObject operation: made up",
        ),
        ("", "KeyError: 'ContentLength'"),
    ],
)
def test_a_failure_of_s3_under_prefect_is_one_line_and_retried(code: str, words: str) -> None:
    fault = fault_of_results(code=code)
    assert in_one_line(fault) == f"storage failed: {words}; run again, no batch is partially loaded"
    assert worth_another_try(fault)


def test_a_programming_error_keeps_its_traceback_and_is_not_retried() -> None:
    with pytest.raises(KeyError) as caught:
        raise KeyError("ours")
    assert in_one_line(caught.value) is None
    assert not worth_another_try(caught.value)


@pytest.mark.parametrize(
    ("fault", "words", "again"),
    [
        (errors.DiskFull, "a database server has run out of space, memory or connections: x", True),
        (errors.OutOfMemory, "a database server has run out of space, memory or connections: x", True),
        (errors.ProgramLimitExceeded, "a limit of Postgres is exceeded: x", False),
        (errors.TooManyArguments, "a limit of Postgres is exceeded: x", False),
        (
            errors.DeadlockDetected,
            "a database server has ended a transaction that conflicted with another one: x",
            True,
        ),
        (errors.LockNotAvailable, "something in a database is in use by others: x", True),
        (errors.QueryCanceled, "a database server has cancelled a statement: x", True),
        (errors.AdminShutdown, "a database connection was lost: x", True),
        (OperationalError, "a database connection was lost: x", True),
    ],
)
def test_only_a_lost_connection_is_reported_as_lost(
    fault: type[OperationalError], words: str, again: bool
) -> None:
    assert in_one_line(fault("x")) == f"{words}; run again, no batch is partially loaded"
    assert worth_another_try(fault("x")) == again


def test_a_limit_that_a_setting_raises_is_named(warehouse_url: str) -> None:
    with pytest.raises(errors.OutOfMemory) as caught:
        execute(warehouse_url, "SELECT pg_advisory_xact_lock(n) FROM generate_series(1, 1000000) AS n")
    line = in_one_line(caught.value)
    assert line
    assert "out of shared memory; You might need to increase" in line
    assert "max_locks_per_transaction" in line


@pytest.mark.parametrize(
    ("fault", "again"),
    [(OSError("cut off"), True), (Unreachable("source: gone"), True), (BucketError("denied"), False)],
)
def test_a_transient_failure_is_retried(fault: BaseException, again: bool) -> None:
    assert worth_another_try(fault) == again


def test_an_error_of_statements_that_are_sent_at_once_leaves_no_warning(
    warehouse_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the server answers before the last one is sent, as for a rejected row."""

    def fail() -> None:
        with connection.transaction(), by_place(connection):
            connection.execute("SELECT 1 / %s", (0,))
            select.select([connection.pgconn.socket], [], [])

    with transaction(warehouse_url, "warehouse") as connection:
        with pytest.raises(errors.DivisionByZero):
            fail()
        assert connection.execute("SHOW random_page_cost").fetchone() == ("1.1",)
    assert caplog.messages == []


def test_a_failing_function_of_the_database_is_one_line(warehouse_url: str) -> None:
    with pytest.raises(errors.RaiseException) as caught:
        execute(warehouse_url, "DO $$ BEGIN RAISE EXCEPTION 'not Ann-Secret'; END $$")
    words = in_one_line(caught.value)
    assert words
    assert words.startswith(
        "a trigger or function of the database refuses a row or a statement (SQLSTATE P0001)"
    )


STEPS = {
    f"{module}.{name}": step.fn
    for module in (
        "flows.etl",
        "flows.load",
        "flows.rebuild",
        "tasks.extract",
        "tasks.load",
        "tasks.report",
        "tasks.transform",
    )
    for name, step in vars(import_module(module)).items()
    if isinstance(step, (Flow, Task))
}


@pytest.mark.parametrize("step", STEPS)
def test_no_flow_and_no_task_lets_an_exception_out_as_it_is(step: str) -> None:
    """Prefect shows exceptions of flows and tasks in states, events, logs and results."""
    body, wrappers = STEPS[step], set()
    while wrapped := getattr(body, "__wrapped__", None):
        wrappers.add(body.__code__)
        body = wrapped
    assert clean_failures(lambda: None).__code__ in wrappers


def test_an_exception_of_a_flow_or_task_has_no_secret_and_one_line() -> None:
    learn("hunter2-hunter2")

    @clean_failures
    def body() -> None:
        raise OSError(13, "no hunter2-hunter2\nhere")

    with pytest.raises(OSError, match=r"^\[Errno 13\] no \*\*\* here$") as caught:
        body()
    assert worth_another_try(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2-hunter2\n" not in shown.replace('"no hunter2-hunter2\\nhere"', "")


def test_the_state_of_a_flow_run_says_what_to_do() -> None:
    @explained_state
    @clean_failures
    def body(error: Exception) -> None:
        raise error

    with pytest.raises(
        PipelineError, match=r"^Prefect's server.* cannot be reached: gone; start it, or correct"
    ):
        body(httpx.ConnectError("gone"))
    for error in (BucketError("the bucket is away"), LookupError("a bug")):
        with pytest.raises(type(error)) as caught:
            body(error)
        assert caught.value is error


def test_a_command_that_fails_unforeseen_shows_no_secret() -> None:
    learn("hunter2-hunter2")

    def lines() -> Iterator[str]:
        yield "one"
        raise LookupError("hunter2-hunter2")

    with pytest.raises(LookupError, match=r"^\*\*\*$"):
        print_all(lines())


def test_a_run_logs_an_error_once_and_another_run_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in_one_line()
    error, logger = BucketError("the bucket is away"), logging.getLogger("prefect.flow_runs")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])  # not Prefect's, which would start a server
    monkeypatch.setattr(logger, "propagate", False)
    for run in ("run", "run", "parent"):
        logger.error("Encountered exception", exc_info=error, extra={"flow_run_id": run})
    lines = [(record.flow_run_id, record.message) for record in caplog.records]  # type: ignore[attr-defined]
    assert lines == [("run", "the bucket is away"), ("parent", "the bucket is away")]
    for _ in range(2):
        logger.error("Encountered exception", exc_info=KeyError("a bug"), extra={"flow_run_id": "run"})
    assert caplog.messages[2:] == ["Encountered exception"] * 2
