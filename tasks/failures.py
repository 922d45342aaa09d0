"""What is worth another try, and how failures read."""

import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

import httpx
import psycopg
from prefect import Task, get_run_logger
from prefect.client.schemas.objects import State, TaskRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_CLOUD_API_URL
from prefect.states import Cancelled
from prefect.tasks import exponential_backoff

from pipeline.errors import PipelineError, WarehouseBusy
from pipeline.messages import cleaned, message
from pipeline.postgres import Unreachable
from pipeline.redaction import safe

# By class of SQLSTATE, or a whole one.
_STILL_CONNECTED = {
    "53": "a database server has run out of space, memory or connections",
    "54": "a limit of Postgres is exceeded",
    "55": "something in a database is in use by others",
    "57014": "a database server has cancelled a statement",
}
# Prefect raises it as a bare RuntimeError where a run cannot begin.
_NO_SERVER = "Failed to reach API at "
_S3_CLIENT = {"boto3", "botocore", "s3transfer"}

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def _may_pass(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether the fault is one of the network, a server or a disk, and not the user's."""
    fault = state.result(raise_on_failure=False)
    if isinstance(fault, PipelineError):
        return isinstance(fault, Unreachable)
    if _is_of_s3_client(fault):
        return _hint(fault) is None
    if isinstance(fault, psycopg.OperationalError):
        return not (fault.sqlstate or "").startswith("54")
    return isinstance(fault, OSError)


def _is_of_s3_client(fault: object) -> bool:
    """Whether the client of Prefect's results raised it, were it because an answer was cut off."""
    if not isinstance(fault, BaseException):
        return False
    frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(fault.__traceback__))
    return any(name.partition(".")[0] in _S3_CLIENT for name in (type(fault).__module__, *frames))


def _hint(fault: BaseException) -> str | None:
    """What to do about a fault of the S3 client that does not pass by itself."""
    from pipeline.s3_faults import hint  # noqa: PLC0415  boto3 is loaded only where it is used

    return hint(fault)


ON_TRANSIENT_FAULTS: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _may_pass,
}


def clean_failures(body: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Let no exception leave a flow or a task with a secret, a row's value or a control character.

    Prefect writes its text into states, events, logs and results.
    """

    @wraps(body)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return body(*args, **kwargs)
        except Exception as error:
            fault = cleaned(error)
            if fault is error:
                raise
            raise fault from None

    return run


def cancelled_where_busy(body: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Let a flow run that meets another one end as cancelled, and not as failed, which wakes people.

    Whoever calls the flow still gets the WarehouseBusy.
    """

    @wraps(body)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return body(*args, **kwargs)
        except WarehouseBusy as busy:
            return Cancelled(message=str(busy), data=busy)  # type: ignore[return-value]

    return run


def in_one_line(fault: BaseException) -> str | None:
    """What a failure says to a person; None where only a traceback tells what happened."""
    words = message(fault)
    if isinstance(fault, PipelineError):
        return words
    if isinstance(fault, psycopg.OperationalError):
        return f"{_of_database(fault)}: {words}; run again, nothing is half-done"
    if words.startswith(_NO_SERVER) and isinstance(fault.__cause__, httpx.HTTPStatusError):
        return _refused_by_prefect(fault.__cause__)
    if isinstance(fault, httpx.TransportError) or words.startswith(_NO_SERVER):
        return f"Prefect's server cannot be reached: {words}; start it, or correct PREFECT_API_URL"
    if isinstance(fault, httpx.HTTPStatusError):
        return _refused_by_prefect(fault)
    if _is_of_s3_client(fault):
        if hint := _hint(fault):
            return f"S3 refuses Prefect's results: {hint}"
        return f"storage failed: {type(fault).__name__}: {words}; run again, nothing is half-done"
    if isinstance(fault, OSError):
        return f"storage failed: {words}; run again, nothing is half-done"
    return None


def _of_database(fault: psycopg.OperationalError) -> str:
    """What has happened, by SQLSTATE: not every OperationalError is a lost connection."""
    state = fault.sqlstate or ""
    kinds = [words for code, words in _STILL_CONNECTED.items() if state.startswith(code)]
    return kinds[0] if kinds else "a database connection was lost"


def _refused_by_prefect(fault: httpx.HTTPStatusError) -> str | None:
    """What to set where Prefect's server wants other credentials; None where the request was wrong."""
    status, url = fault.response.status_code, fault.request.url
    server = f"Prefect's server at {url.scheme}://{url.netloc.decode()}"
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
        return f"{server} answered {status} {fault.response.reason_phrase}; look at its log, then run again"
    if status not in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return None
    if str(url).startswith(PREFECT_CLOUD_API_URL.value()):
        setting, what, value = PREFECT_API_KEY, "workspace", "a key of this workspace"
    else:
        setting, what = PREFECT_API_AUTH_STRING, "server"
        value = "user:password, as PREFECT_SERVER_API_AUTH_STRING has it on the server"
    if not setting.value():
        return f"{server} asks for credentials ({status}): set {setting.name} to {value}"
    if status == httpx.codes.FORBIDDEN:
        return f"{server} refuses access (403): {setting.name} may not use this {what}"
    return f"{server} does not accept {setting.name} (401): set it to {value}"


def in_some_line(fault: BaseException) -> str:
    """The same where there is no place for a traceback."""
    return in_one_line(fault) or f"{type(fault).__name__}: {message(fault)}"


@contextmanager
def best_effort(stands: str) -> Iterator[None]:
    """Turn a failure in the block into a warning; ``stands`` says what was reached before it."""
    try:
        yield
    except Exception as fault:  # noqa: BLE001  whatever it is, what was reached before it stands
        unexplained = None if in_one_line(fault) else cleaned(fault)
        get_run_logger().warning("%s; %s", stands, in_some_line(fault), exc_info=unexplained)


def raise_with(fault: Exception, fact: str) -> NoReturn:
    """Raise a failure again with a fact in its message, which states and alerts quote."""
    line = in_one_line(fault)
    if line is None:
        fault.add_note(fact)
        raise fault
    if isinstance(fault, PipelineError):
        fault.args = (f"{line}; {fact}",)
        raise fault
    raise PipelineError(f"{line}; {fact}") from fault


@clean_failures
def print_all(lines: Iterable[str | Exception]) -> int:
    """Print what a command does as it does it; returns its status, 1 where a line says what failed.

    A failure among the lines is printed and the next ones follow; one that is raised is the last.
    """
    status = 0
    try:
        for line in lines:
            if isinstance(line, Exception):
                status = _print_failure(line)
            else:
                print(safe(line))
    except Exception as error:  # noqa: BLE001  one that no line explains is raised again
        status = _print_failure(error)
    return status


def _print_failure(fault: Exception) -> int:
    if not (said := in_one_line(fault)):
        raise fault
    print(f"error: {said}", file=sys.stderr)
    return 1


class _OneLine(logging.Filter):
    """Takes the traceback off failures whose message says everything."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record; shorten those about a failure that a line tells."""
        fault = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if fault and (line := in_one_line(fault)):
            record.exc_info = record.exc_text = None
            record.msg, record.args = "%s", (line,)
        return True


def show_in_one_line() -> None:
    """Make Prefect's run logs tell such failures by their message alone."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, _OneLine) for known in logger.filters):
            logger.addFilter(_OneLine())
