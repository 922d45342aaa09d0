"""How a transaction begins: with settings under which every value is printed exactly.

Settings are made with ``SET LOCAL`` and end with the transaction: behind a pooler, the server's session goes
to another client afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pipeline.errors import SettingsError

# Only built-in objects may be called without a schema. Otherwise anybody who may create functions or
# operators in one of our schemas could make us call them. Temporary tables come last, because a pooled
# session may hold another client's.
SAFE_PATH = sql.SQL("SET LOCAL search_path TO pg_catalog, pg_temp")

# Changed rows are found by key, which is cheap: their pages have to be read for writing anyway.
_RANDOM_PAGE_COST = "1.1"
_SETTINGS = {
    "client_encoding": "utf8",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "xmloption": "content",
    "array_nulls": "on",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    # A row-level policy raises an error instead of hiding rows.
    "row_security": "off",
    # Compiling takes 0.1 s for queries that take 0.01 s.
    "jit": "off",
    "random_page_cost": _RANDOM_PAGE_COST,
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
# The format of money, if it has two decimals; with another lc_monetary its values would mean other amounts.
_MONEY = sql.SQL(
    "SELECT set_config('lc_monetary', 'C', true)"
    " WHERE 0.01::money::numeric = 0.01 AND 0.001::money::numeric = 0"
)
# Where many rows are written. With the server's default a join of millions of rows is split into parts.
_MEMORY = sql.SQL(
    "SELECT set_config('work_mem', '64MB', true)"
    " WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes('64MB')"
)
# idle_session_timeout does not count inside a transaction.
_SINCE_17 = {"transaction_timeout": "0"}

_POSTGRES_17 = 170_000
# The first version with pg_current_snapshot().
OLDEST = 13

CHANGING = sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED")
ONE_MOMENT = sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ")
READING = sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")


@dataclass(frozen=True)
class Beginning:
    """How to begin a transaction: in which mode, how many seconds it waits for a lock, and at which snapshot.

    ``database`` names the database in messages, and ``oldest`` is the oldest supported version.
    """

    database: str
    mode: sql.SQL
    lock_timeout: float
    snapshot: str | None = None
    oldest: int = OLDEST

    def begin(self, connection: psycopg.Connection[Any]) -> int:
        """Begin it by one message; returns the process id of the server's session.

        Raises SettingsError for a server that is too old, and for a pooler in statement mode.
        """
        version = connection.info.server_version
        if version // 10_000 < self.oldest:
            raise SettingsError(
                f"{self.database}: its server is PostgreSQL {version // 10_000}, and the oldest supported"
                f" version is {self.oldest}; upgrade the server"
            )
        try:
            cursor = connection.execute(self._script(version))
        except psycopg.errors.ProtocolViolation as error:
            raise SettingsError(
                f"{self.database}: {' '.join(str(error).split())}; the pooler must work in transaction or"
                " session mode"
            ) from None
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        return int(str(row[0])) if row else 0

    def _script(self, version: int) -> sql.Composed:
        settings = _SETTINGS | (_SINCE_17 if version >= _POSTGRES_17 else {})
        settings |= {"lock_timeout": f"{round(1_000 * self.lock_timeout)}ms"}
        set_local = [sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(n), v) for n, v in settings.items()]
        script = [self.mode, SAFE_PATH, *set_local, *([] if self.mode == READING else [_MEMORY])]
        if self.snapshot is not None:
            script.append(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(self.snapshot))
        # The process id that a pooler reports when it connects is its own.
        return sql.SQL("; ").join([*script, _MONEY, sql.SQL("SELECT pg_backend_pid()")])


@contextmanager
def at_once(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Send the block's statements without waiting for their results, which are there after it.

    An error is raised as soon as the server has answered, in the block or at its end.
    """
    with connection.pipeline() as sent:
        try:
            yield
        except psycopg.Error:
            # Otherwise psycopg logs a warning for each statement that was sent after the one that failed.
            with suppress(psycopg.Error):
                sent.sync()
            raise


@contextmanager
def by_place(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Let the block's statements fetch the rows whose places (ctid) they have one by one, in that order.

    Where these are many, Postgres would join them by hash, in parts if they exceed its memory: the rows to
    write would come in no order, and each one would need other pages of the table and its indexes. The
    block's statements are sent at once, so their results are there after it.
    """
    query = sql.SQL("SET LOCAL random_page_cost = {}")
    with at_once(connection):
        connection.execute(query.format("0"))
        yield
        connection.execute(query.format(_RANDOM_PAGE_COST))
