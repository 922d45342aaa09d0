"""Waiting for locks: which session holds what, in the log after five seconds and then every minute."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from importlib.resources import files
from threading import Event, Thread
from time import monotonic
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

# Seconds: between two looks, a wait that is worth a line, and until the next line on the same wait.
_LOOK, _WORTH_A_LINE, _AGAIN = 2.5, 4.0, 60.0
_SHOWN = 3

_logger = logging.getLogger(__name__)


class Watch:
    """Looks from a second connection whether a transaction waits for others, and logs for whom.

    ``blockers`` says who they were when last looked at, empty where nobody.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        pid: int,
        what: str,
        second: Callable[[], AbstractContextManager[psycopg.Connection[Any]]],
        bound: float,
    ) -> None:
        self.blockers = ""
        self._connection = connection
        self._pid = pid
        self._what = what
        self._second = second
        self._pause = min(_LOOK, bound / 5)
        self._logged_at: float | None = None
        self._done = Event()
        # In a context of its own, the log would not know which run it belongs to.
        self._thread = Thread(target=copy_context().run, args=(self._watch,), daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, while the connection is still there."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._pause):
            if self._connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                # Whoever cannot look, because there is no connection left, waits without a line.
                with suppress(psycopg.Error):
                    self._look()

    def _look(self) -> None:
        with self._second() as connection:
            found = connection.execute(_BLOCKERS, {"pid": self._pid}).fetchall()
        self.blockers = _in_words([str(line) for line, _ in found])
        if not found:
            self._logged_at = None
            return
        seconds = max(float(str(seconds)) for _, seconds in found)
        due = self._logged_at is None or monotonic() - self._logged_at >= _AGAIN
        if seconds >= _WORTH_A_LINE and due:
            self._logged_at = monotonic()
            _logger.warning("%s: waiting for %.0f s: %s", self._what, seconds, self.blockers)


def _in_words(lines: list[str]) -> str:
    more = len(lines) - _SHOWN
    return "; ".join([*lines[:_SHOWN], *([f"{more} more sessions"] if more > 0 else [])])


_BLOCKERS = sql.SQL(files("pipeline").joinpath("sql", "blockers.sql").read_text(encoding="utf-8"))
