"""Connections that the transactions of a run use again: as many as are open at the same time.

A connection belongs to one transaction at a time. ``DISCARD ALL`` clears its session before the next one:
settings, temporary tables, locks and roles that SQL of users may leave behind.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from select import POLLIN, poll
from threading import Lock
from time import monotonic
from typing import Any

import psycopg
from psycopg.pq import ExecStatus, TransactionStatus

Connection = psycopg.Connection[Any]

# Seconds. Firewalls drop connections that are idle for minutes, and tell neither side.
LONGEST_IDLE = 60.0
_LONGEST_CLEARING = 5.0


class Pool:
    """The idle connections of a run, by what they are connected with; threads share it."""

    def __init__(self, longest_idle: float) -> None:
        self._longest_idle = longest_idle
        self._idle: dict[str, list[tuple[Connection, float]]] = {}
        self._lock = Lock()
        self._is_open = True
        self._process = os.getpid()

    def take(self, conninfo: str) -> Connection | None:
        """The connection that became idle last, cleared; None if there is none. It may be lost already."""
        while (idle := self._pop(conninfo)) is not None:
            connection, since = idle
            if monotonic() - since < self._longest_idle and _is_cleared(connection):
                return connection
            connection.close()
        return None

    def put(self, conninfo: str, connection: Connection) -> None:
        """Keep a connection that has no transaction open; any other is closed."""
        if connection.pgconn.transaction_status == TransactionStatus.IDLE:
            # Its answer is awaited by the next transaction.
            with suppress(psycopg.Error):
                connection.pgconn.send_query(b"DISCARD ALL")
            with self._lock:
                if self._is_open and self._process == os.getpid():
                    self._idle.setdefault(conninfo, []).append((connection, monotonic()))
                    return
        connection.close()

    def close(self) -> None:
        """Close all idle connections, and those that are put back later."""
        with self._lock:
            self._is_open = False
            logins = list(self._idle)
        for conninfo in logins:
            self.close_idle(conninfo)

    def close_idle(self, conninfo: str) -> None:
        """Close the idle connections of a login."""
        while (idle := self._pop(conninfo)) is not None:
            # A pooler closes the server's session of a client that leaves without the answer.
            _is_cleared(idle[0])
            idle[0].close()

    def _pop(self, conninfo: str) -> tuple[Connection, float] | None:
        # A forked process must not use its parent's connections.
        if self._process != os.getpid():
            return None
        with self._lock:
            idle = self._idle.get(conninfo)
            return idle.pop() if idle else None


def _is_cleared(connection: Connection) -> bool:
    """Whether the server has cleared the session; waits for its answer."""
    pgconn = connection.pgconn
    try:
        readable = poll()
        readable.register(pgconn.socket, POLLIN)
        while pgconn.is_busy():
            if not readable.poll(1_000 * _LONGEST_CLEARING):
                return False
            pgconn.consume_input()
        statuses = []
        while (result := pgconn.get_result()) is not None:
            statuses.append(result.status)
    except psycopg.Error:
        return False
    return statuses == [ExecStatus.COMMAND_OK]


_current: ContextVar[Pool | None] = ContextVar("pool", default=None)


@contextmanager
def reused(longest_idle: float = LONGEST_IDLE) -> Iterator[None]:
    """Let the transactions of the block use connections again; they are closed at its end.

    A connection that was idle for ``longest_idle`` seconds is replaced.
    This holds for all threads that run in a copy of its context, as Prefect's tasks do.
    """
    if _current.get() is not None:
        yield
        return
    pool = Pool(longest_idle)
    token = _current.set(pool)
    try:
        yield
    finally:
        _current.reset(token)
        pool.close()


def take(conninfo: str) -> Connection | None:
    """An idle connection of the present block, if there is one."""
    pool = _current.get()
    return pool.take(conninfo) if pool else None


def put(conninfo: str, connection: Connection) -> None:
    """Keep a connection for the present block; without one, close it."""
    pool = _current.get()
    if pool:
        pool.put(conninfo, connection)
    else:
        connection.close()


def close_idle(conninfo: str) -> None:
    """Close the idle connections of a login, which this block no longer needs."""
    pool = _current.get()
    if pool:
        pool.close_idle(conninfo)
