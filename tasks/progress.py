"""Progress of long tasks: a log line and a progress bar in the UI, every few seconds."""

import time
from collections.abc import Callable
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pipeline.words import counted

_SECONDS_BETWEEN_REPORTS = 5.0
_ROWS_FOR_A_BAR = 200_000


def progress(name: str, expected: int) -> Callable[[int], None]:
    """A function to call with the number of rows so far; it may be called for every batch of rows."""
    logger = get_run_logger()
    started = last = time.monotonic()
    bar = _bar(name, expected)

    def report(rows: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_REPORTS:
            return
        last = now
        share = f" of about {expected:,}" if expected >= rows else ""
        speed = f"{counted(round(rows / (now - started)), 'row')}/s"
        logger.info("%s: %s%s, %s", name, counted(rows, "row"), share, speed)
        if bar:
            update_progress_artifact(bar, progress=min(100.0, 100 * rows / expected))

    return report


def _bar(name: str, expected: int) -> UUID | None:
    if expected < _ROWS_FOR_A_BAR:
        return None
    artifact = create_progress_artifact(0.0, description=f"{name}: about {counted(expected, 'row')}")
    return artifact if isinstance(artifact, UUID) else None
