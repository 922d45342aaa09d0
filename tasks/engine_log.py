"""Forwards the engine's log records to the log of the current flow or task run."""

import logging
import sys


class _ToRun(logging.Handler):
    """Forwards records to the run's logger; outside a run they go to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record in the run's log."""
        if "prefect" not in sys.modules:  # to import it takes a second
            sys.stderr.write(f"{record.getMessage()}\n")
            return
        from prefect import get_run_logger  # noqa: PLC0415
        from prefect.exceptions import MissingContextError  # noqa: PLC0415

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
