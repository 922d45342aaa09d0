"""What the engine logs, in the log of the flow or task run that it works for."""

import logging
import sys

from prefect import get_run_logger
from prefect.exceptions import MissingContextError


class _ToRun(logging.Handler):
    """Passes the engine's lines on; outside a run they go to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one line as a line of the run."""
        try:
            get_run_logger().log(record.levelno, "%s", record.getMessage())
        except MissingContextError:
            sys.stderr.write(f"{record.getMessage()}\n")


def forward() -> None:
    """Let runs tell what the engine logs; to call it again changes nothing."""
    logger = logging.getLogger("pipeline")
    if not logger.handlers:
        logger.addHandler(_ToRun())
        logger.propagate = False
