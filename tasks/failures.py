"""Which failures are retried, and how failures are shown to people."""

import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

import psycopg
from prefect import Task, get_run_logger
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import CancelledRun
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.states import Cancelled
from prefect.tasks import exponential_backoff

from pipeline.errors import PipelineError, WarehouseBusy
from pipeline.interrupts import STOPPED, is_interrupt
from pipeline.messages import cleaned, comes_from_a_function, message
from pipeline.postgres import Unreachable
from pipeline.redaction import safe
from tasks.prefect_messages import of_client

_EXHAUSTED = "53"
# Messages by class of SQLSTATE, or by a whole SQLSTATE.
_STILL_CONNECTED = {
    "40": "a database server has ended a transaction that conflicted with another one",
    _EXHAUSTED: "a database server has run out of space, memory or connections",
    "54": "a limit of Postgres is exceeded",
    "55": "something in a database is in use by others",
    "57014": "a database server has cancelled a statement",
}
# Loggers of runs, the beginnings of their last records if they fail, the mark of an explained error, and the
# attribute of an error that holds the runs that have logged it.
_RUNS = ("prefect.flow_runs", "prefect.task_runs")
_ENDS = ("Finished in state Failed(", "Finished in state Cancelled(")
_EXPLAINED = "is_explained"
_LOGGED_BY = "_logged_by"
_S3_CLIENT = {"boto3", "botocore", "s3transfer"}

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def _is_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether the network, a server or a disk failed, rather than something that a user has to fix."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, PipelineError):
        return isinstance(error, Unreachable)
    if _is_of_s3_client(error):
        return _hint(error) is None
    if isinstance(error, psycopg.OperationalError):
        return not (error.sqlstate or "").startswith("54")
    return isinstance(error, OSError)


def _is_of_s3_client(error: object) -> bool:
    """Whether the S3 client of Prefect's results raised the error, or Python while it read a response."""
    if not isinstance(error, BaseException):
        return False
    frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.partition(".")[0] in _S3_CLIENT for name in (type(error).__module__, *frames))


def _hint(error: BaseException) -> str | None:
    """What to do about a permanent S3 error; None for a transient one."""
    from pipeline.s3_errors import hint  # noqa: PLC0415  boto3 is loaded only where it is used

    return hint(error)


RETRY_IF_TRANSIENT: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_transient,
}


def clean_failures(body: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Remove secrets, values of rows and control characters from exceptions of a flow or a task.

    Prefect writes their text into states, events, logs and results.
    """

    @wraps(body)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return body(*args, **kwargs)
        except Exception as error:
            clean = cleaned(error)
            if clean is error:
                raise
            raise clean from None

    return run


def explained_state(body: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """End a flow run in a state that people understand, as alerts quote it.

    A failure is its one-line message, a bug stays as it is. A run that finds another one at work is cancelled
    instead of failed, so that no alert is sent; the caller of the flow still gets the WarehouseBusy, or
    Prefect's CancelledRun with its message if the server's answer to this state was lost. Not for tasks and
    subflows: whether their failures are retried depends on the class.
    """

    @wraps(body)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return body(*args, **kwargs)
        except WarehouseBusy as busy:
            return Cancelled(message=str(busy), data=busy)  # type: ignore[return-value]
        except Exception as error:
            if isinstance(error, PipelineError) or not (line := in_one_line(error)):
                raise
            raise PipelineError(line) from error

    return run


def in_one_line(error: BaseException) -> str | None:
    """A one-line message for an error; None for a bug, which needs its traceback."""
    text = message(error)
    if isinstance(error, PipelineError | CancelledRun):
        return text
    if is_interrupt(error):
        return STOPPED
    if isinstance(error, psycopg.Error):
        return _of_postgres(error, text)
    if (line := of_client(error, text)) is not None:
        return line
    if _is_of_s3_client(error):
        if hint := _hint(error):
            return f"S3 refuses Prefect's results: {hint}"
        return f"storage failed: {type(error).__name__}: {text}; run again, no batch is partially loaded"
    if isinstance(error, OSError):
        return f"storage failed: {text}; run again, no batch is partially loaded"
    return None


def _of_postgres(error: psycopg.Error, text: str) -> str | None:
    """A one-line message for an error of Postgres; one of a trigger or function there is no bug."""
    if isinstance(error, psycopg.OperationalError):
        return (
            f"{_of_database(error)}: {text}{_what_to_raise(error)}; run again, no batch is partially loaded"
        )
    return text if comes_from_a_function(error) else None


def _what_to_raise(error: psycopg.Error) -> str:
    """Postgres' hint about the setting whose limit is reached, such as max_locks_per_transaction."""
    hint = error.diag.message_hint
    is_limit = (error.sqlstate or "").startswith(_EXHAUSTED) and not comes_from_a_function(error)
    return f"; {hint.rstrip('.')}" if is_limit and hint else ""


def _of_database(error: psycopg.OperationalError) -> str:
    """What happened, by SQLSTATE: not every OperationalError is a lost connection."""
    state = error.sqlstate or ""
    texts = [text for code, text in _STILL_CONNECTED.items() if state.startswith(code)]
    return texts[0] if texts else "a database connection was lost"


def in_some_line(error: BaseException) -> str:
    """A one-line message for any error, also for a bug."""
    return in_one_line(error) or f"{type(error).__name__}: {message(error)}"


@contextmanager
def best_effort(status: str) -> Iterator[None]:
    """Log a failure of the body as a warning that begins with ``status``, instead of raising it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  no failure here may fail the run
        unexplained = None if in_one_line(error) else cleaned(error)
        get_run_logger().warning("%s; %s", status, in_some_line(error), exc_info=unexplained)


def raise_with(error: Exception, fact: str) -> NoReturn:
    """Raise an error again with a fact appended to its message, which states and alerts quote."""
    line = in_one_line(error)
    if line is None:
        error.add_note(fact)
        raise error
    if isinstance(error, PipelineError):
        error.args = (f"{line}; {fact}",)
        raise error
    raise PipelineError(f"{line}; {fact}") from error


@clean_failures
def print_all(lines: Iterable[str | Exception]) -> int:
    """Print a command's lines as they come; returns its exit status, 1 if there was an error.

    After an error among the lines the others still follow; an error that the iterator raises is the last
    line.
    """
    status = 0
    try:
        for line in lines:
            if isinstance(line, Exception):
                status = _print_failure(line)
            else:
                print(safe(line))
    except Exception as error:  # noqa: BLE001  a bug is raised again
        status = _print_failure(error)
    return status


def _print_failure(error: Exception) -> int:
    if not (line := in_one_line(error)):
        raise error
    print_error(line)
    return 1


def print_error(text: str) -> None:
    """Print an error, one line for each mistake."""
    for line in text.splitlines():
        print(f"error: {line}", file=sys.stderr)


class _OneLine(logging.Filter):
    """Removes the traceback of errors that a one-line message explains.

    A run logs such an error once: Prefect logs it where it is raised, and again where a worker's run ends.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop a repeated record about such an error; replace the first one with the message."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error and (line := in_one_line(error)):
            run = getattr(record, "flow_run_id", None), getattr(record, "task_run_id", None)
            logged_by = vars(error).setdefault(_LOGGED_BY, set())
            if run in logged_by:
                return False
            logged_by.add(run)
            record.exc_info = record.exc_text = None
            record.msg, record.args = "%s", (line,)
            setattr(record, _EXPLAINED, True)
        return True


class _WithoutFailures(logging.Filter):
    """Drops what Prefect logs about a failure that a message explains."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the error, and the state in which the run ends."""
        is_end = record.name in _RUNS and record.getMessage().startswith(_ENDS)
        return not (is_end or hasattr(record, _EXPLAINED))


@contextmanager
def failure_shown_once() -> Iterator[None]:
    """Keep the failure of flow runs off the terminal, for a command that prints it as its last line.

    The server's log has it all the same.
    """
    console = [each for each in logging.getLogger().handlers if isinstance(each, PrefectConsoleHandler)]
    without = _WithoutFailures()
    for handler in console:
        handler.addFilter(without)
    try:
        yield
    finally:
        for handler in console:
            handler.removeFilter(without)


def log_in_one_line() -> None:
    """Log errors of flow and task runs by their one-line message, without a traceback."""
    for name in _RUNS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _OneLine) for each in logger.filters):
            logger.addFilter(_OneLine())
