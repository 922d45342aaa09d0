"""What is worth another try, and how failures read."""

import logging
from typing import Any

import psycopg
from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from pipeline.errors import PipelineError


def _may_pass(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether the fault is one of the network, a server or a disk, and not the user's."""
    fault = state.result(raise_on_failure=False)
    return isinstance(fault, (psycopg.OperationalError, OSError)) and not isinstance(fault, PipelineError)


ON_TRANSIENT_FAULTS: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _may_pass,
}


class _OneLine(logging.Filter):
    """Takes the traceback off failures whose message says everything."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record; shorten those about a PipelineError."""
        fault = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(fault, PipelineError):
            record.exc_info = None
            record.msg, record.args = "%s", (str(fault),)
        return True


def show_in_one_line() -> None:
    """Make Prefect's run logs tell a PipelineError by its message alone."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, _OneLine) for known in logger.filters):
            logger.addFilter(_OneLine())
