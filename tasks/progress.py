"""News of long work: a line in the log and a bar in the UI, every few seconds."""

import time
from collections.abc import Callable
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pipeline.words import counted

_SECONDS_BETWEEN_NEWS = 5.0
_WORTH_A_BAR = 200_000


def progress(name: str, expected: int) -> Callable[[int], None]:
    """A function to call with the rows done so far, as often as one likes."""
    logger = get_run_logger()
    started = last = time.monotonic()
    bar = _bar(name, expected)

    def news(rows: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_NEWS:
            return
        last = now
        share = f" of about {expected:,}" if expected >= rows else ""
        speed = f"{counted(round(rows / (now - started)), 'row')}/s"
        logger.info("%s: %s%s, %s", name, counted(rows, "row"), share, speed)
        if bar:
            update_progress_artifact(bar, progress=min(100.0, 100 * rows / expected))

    return news


def _bar(name: str, expected: int) -> UUID | None:
    if expected < _WORTH_A_BAR:
        return None
    made = create_progress_artifact(0.0, description=f"{name}: about {counted(expected, 'row')}")
    return made if isinstance(made, UUID) else None
