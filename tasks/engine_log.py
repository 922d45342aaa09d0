"""Forwards the engine's log records to the log of the current flow or task run."""

import logging
import sys

from prefect import get_run_logger
from prefect.exceptions import MissingContextError


class _ToRun(logging.Handler):
    """Forwards records to the run's logger; outside a run they go to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record in the run's log."""
        try:
            get_run_logger().log(record.levelno, "%s", record.getMessage())
        except MissingContextError:
            sys.stderr.write(f"{record.getMessage()}\n")


def forward() -> None:
    """Start to forward; further calls have no effect."""
    logger = logging.getLogger("pipeline")
    if not logger.handlers:
        logger.addHandler(_ToRun())
        logger.propagate = False
