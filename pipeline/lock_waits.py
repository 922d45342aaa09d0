"""Logs which session holds a lock that a transaction waits for: after five seconds, then every minute."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from importlib.resources import files
from threading import Event, Thread
from time import monotonic
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

_SHOWN = 3

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """Seconds between two checks, from the start of a wait to the first line about it, and between lines."""

    check: float = 2.5
    first_line: float = 4.0
    line: float = 60.0


ORDINARY = Pace()


class LockWaits:
    """Checks over a second connection whether a transaction waits for a lock, and logs who holds it.

    ``blockers`` describes the sessions that blocked at the last check that found any. A check that comes
    after the end of a wait finds none, and must not hide from the error who was waited for.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        pid: int,
        database: str,
        second: Callable[[], AbstractContextManager[psycopg.Connection[Any]]],
        bound: float,
        pace: Pace = ORDINARY,
    ) -> None:
        """Watch the session ``pid`` of ``connection``; ``second`` opens a connection for each check.

        ``bound`` is the longest wait in seconds; the checks are so frequent that some fall within it.
        """
        self.blockers = ""
        self._connection = connection
        self._pid = pid
        self._database = database
        self._second = second
        self._pace = replace(pace, check=min(pace.check, bound / 5))
        self._seen_at: float | None = None
        self._logged_at: float | None = None
        self._done = Event()
        # With a copy of the context, log records belong to the run.
        self._thread = Thread(target=copy_context().run, args=(self._watch,), daemon=True)

    def __enter__(self) -> Self:
        """Start to check."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop before the connection is closed."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._pace.check):
            if self._connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                # Without a second connection there is no line about the wait.
                with suppress(psycopg.Error):
                    self._check()

    def _check(self) -> None:
        with self._second() as connection:
            rows = connection.execute(_BLOCKERS, {"pid": self._pid}).fetchall()
        if not rows:
            self._seen_at = self._logged_at = None
            return
        self.blockers = _joined([str(line) for line, _ in rows])
        self._seen_at = self._seen_at or monotonic()
        # Postgres 13 does not report for how long a session has been waiting.
        seconds = max(monotonic() - self._seen_at, *(float(str(seconds)) for _, seconds in rows))
        due = self._logged_at is None or monotonic() - self._logged_at >= self._pace.line
        if seconds >= self._pace.first_line and due:
            self._logged_at = monotonic()
            _logger.warning("%s: waiting for %.0f s: %s", self._database, seconds, self.blockers)


def _joined(lines: list[str]) -> str:
    more = len(lines) - _SHOWN
    return "; ".join([*lines[:_SHOWN], *([f"{more} more sessions"] if more > 0 else [])])


_BLOCKERS = sql.SQL(files("pipeline").joinpath("sql", "blockers.sql").read_text(encoding="utf-8"))
