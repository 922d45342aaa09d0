"""Transactions on both databases, with settings under which every value is printed exactly.

Settings are made with ``SET LOCAL`` and end with the transaction: behind a pooler, the server's session goes
to another client afterwards.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.conninfo import conninfo_to_dict

from pipeline import connection as connecting
from pipeline import settings
from pipeline.errors import LockTimeout, PipelineError, SettingsError
from pipeline.lock_waits import LockWaits
from pipeline.messages import message
from pipeline.redaction import in_one_line

Connection = psycopg.Connection[tuple[object, ...]]

# Defaults for connections, unless the URL sets them. Keepalives keep connections through firewalls open and
# detect a dead peer within a minute.
_PARAMETERS = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}

# Only built-in objects may be called without a schema. Otherwise anybody who may create functions or
# operators in one of our schemas could make us call them. Temporary tables come last, because a pooled
# session may hold another client's.
SAFE_PATH = sql.SQL("SET LOCAL search_path TO pg_catalog, pg_temp")

_LOCAL = {
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
    # Changed rows are found by key, which is cheap: their pages have to be read for writing anyway.
    "random_page_cost": "1.1",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
# The format of money, if it has two decimals; with another lc_monetary its values would mean other amounts.
_MONEY = sql.SQL(
    "SELECT set_config('lc_monetary', 'C', true)"
    " WHERE 0.01::money::numeric = 0.01 AND 0.001::money::numeric = 0"
)
# idle_session_timeout does not count inside a transaction.
_SINCE_17 = {"transaction_timeout": "0"}

# libpq gives no SQLSTATE for a refused login, so its messages and PgBouncer's are matched, as libpq 18 and
# PgBouncer 1.24 write them. The tests of logins fail where they change. Messages in another language are not
# recognised: the login is then retried before the error is reported.
_LOGIN_REFUSED = re.compile(
    r"(password authentication failed.*|no password supplied|SASL authentication failed|no such user.*"
    r"|no such database.*|(?:database|role) \".*\" does not exist"
    r"|no pg_hba\.conf entry.*|permission denied for database.*|invalid (?:port|dsn|integer|URI|connection).*"
    r"|missing \"=\".*|.*is not permitted to log in|invalid (?:\w+ )?value.*|server does not support SSL.*"
    r"|(?:root )?certificate .*|.*certificate .* (?:does not match|verify failed).*)"
)


_POSTGRES_17 = 170_000
# The first version with pg_current_snapshot().
OLDEST = 13

# What pg_stat_activity shows of our sessions; tasks/__init__.py sets it.
application_name = "pipeline"

# Seconds between tries to connect.
PAUSES = (0.5, 1.0, 2.0, 4.0)


class Unreachable(PipelineError, psycopg.OperationalError):
    """The server cannot be reached now; the task is retried."""


@contextmanager
def transaction(
    url: str,
    database: str,
    *,
    reading: bool = False,
    one_moment: bool = False,
    snapshot: str | None = None,
    pauses: Sequence[float] | None = None,
) -> Iterator[Connection]:
    """One transaction on a new connection; ``database`` names it in messages: source or warehouse.

    ``url`` is a URL or a conninfo string. With ``reading`` the transaction is read-only and sees one
    snapshot, its own or the exported ``snapshot``. With ``one_moment`` it sees one snapshot and its own
    writes. A wait for a lock is logged, and limited by TOTESYS_LOCK_TIMEOUT. ``pauses`` are the seconds
    between tries to connect, by default PAUSES.

    Raises SettingsError for a refused login and for a server that is too old, Unreachable if the server does
    not answer, and LockTimeout. No message holds the password.
    """
    bound = settings.load().lock_timeout
    with _connect(url, database, PAUSES if pauses is None else pauses) as connection:
        _refuse_older(connection, database)
        connection.isolation_level = (
            IsolationLevel.REPEATABLE_READ if reading or one_moment else IsolationLevel.READ_COMMITTED
        )
        connection.read_only = reading or None
        with _in_transaction(connection, database, bound, snapshot) as pid:
            watch = LockWaits(connection, pid, database, lambda: once(url, database), bound)
            try:
                with watch:
                    yield connection
            except psycopg.errors.LockNotAvailable:
                blockers = watch.blockers or "another session holds a lock"
                raise LockTimeout(
                    f"{database}: {blockers}; gave up after {bound} s (TOTESYS_LOCK_TIMEOUT);"
                    " nothing was changed, run again when the lock is free"
                ) from None


def _refuse_older(connection: Connection, database: str) -> None:
    version = connection.info.server_version // 10_000
    if version < OLDEST:
        raise SettingsError(
            f"{database}: its server is PostgreSQL {version}, and the oldest supported version is {OLDEST};"
            " upgrade the server"
        )


@contextmanager
def _in_transaction(
    connection: Connection, database: str, bound: int, snapshot: str | None = None
) -> Iterator[int]:
    """Begin a transaction with our settings; yields the process id of the server's session."""
    parameters = _LOCAL | (_SINCE_17 if connection.info.server_version >= _POSTGRES_17 else {})
    script = [SAFE_PATH, *(_set_local(name, value) for name, value in parameters.items())]
    script.append(_set_local("lock_timeout", f"{bound}s"))
    if snapshot is not None:
        script.append(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
    script.append(_MONEY)
    # The process id that a pooler reports when it connects is its own.
    script.append(sql.SQL("SELECT pg_backend_pid()"))
    with ExitStack() as stack:
        try:
            stack.enter_context(connection.transaction())
            cursor = connection.execute(sql.SQL("; ").join(script))
        except psycopg.errors.ProtocolViolation as error:
            raise _pooler_error(error, database) from None
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        yield int(str(row[0])) if row else 0


def _set_local(name: str, value: str) -> sql.Composed:
    return sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), value)


@contextmanager
def once(url: str, database: str) -> Iterator[Connection]:
    """A transaction for optional reads: one attempt to connect, and no wait for locks beyond a second."""
    with _open(connecting.of(url)) as connection, _in_transaction(connection, database, 1):
        yield connection


def _connect(url: str, database: str, pauses: Sequence[float]) -> Connection:
    """Connect, with retries for a server that restarts or a network that is down for a moment."""
    try:
        conninfo = connecting.of(url)
    except connecting.Malformed as malformed:
        raise SettingsError(f"{database}: {malformed}") from None
    for pause in (*pauses, None):
        try:
            return _open(conninfo)
        except psycopg.Error as error:
            login_error = _login_error(error, database)
            if pause is None or not isinstance(login_error, Unreachable):
                raise login_error from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _open(conninfo: str) -> Connection:
    parameters: dict[str, Any] = _PARAMETERS | conninfo_to_dict(conninfo)
    parameters |= {"application_name": application_name, "client_encoding": "utf8"}
    # A prepared statement would stay on one of a pooler's sessions.
    return psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)


def _pooler_error(error: psycopg.Error, database: str) -> Exception:
    """The error for a pooler in statement mode."""
    return SettingsError(
        f"{database}: {' '.join(str(error).split())}; the pooler must work in transaction or session mode"
    )


def _login_error(error: psycopg.Error, database: str) -> Exception:
    """A one-line error; libpq's message names host, port and user, secrets are removed."""
    reason = message(error)
    if match := _LOGIN_REFUSED.search(str(error)):
        reason = in_one_line(match[1])
    elif not isinstance(error, psycopg.ProgrammingError):
        return Unreachable(f"{database}: cannot be reached: {reason}")
    return SettingsError(f"{database}: {reason}; check its URL and run `make blocks` again")


def login(url: str, database: str) -> str:
    """Log in once; returns a text with the role, the database and the server's version."""
    with transaction(url, database) as connection:
        row = connection.execute("SELECT current_user, current_database(), current_setting('server_version')")
        return "role {} in database {}, Postgres {}".format(*row.fetchone() or ("?", "?", "?"))


def statement(file: str) -> sql.SQL:
    """The query in a package's folder ``sql``: ``warehouse/bindings.sql`` is in pipeline/warehouse/sql."""
    *package, name = file.split("/")
    text = files("pipeline").joinpath(*package, "sql", name).read_text(encoding="utf-8")
    return template(text)


def template(text: str) -> sql.SQL:
    """SQL from our own files or catalogue queries, never from data."""
    return sql.SQL(text)


def identifiers(names: Sequence[str]) -> sql.Composed:
    """Quoted names, separated by commas."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def each(pattern: str, names: Iterable[str], between: str = ", ") -> sql.Composed:
    """The pattern once per name, joined by ``between``; {0} is the name as identifier, {1} as literal."""
    parts = [template(pattern).format(sql.Identifier(name), sql.Literal(name)) for name in names]
    return template(between).join(parts)


def retype(connection: Connection, alter: sql.Composed, cast: sql.Composable | None) -> None:
    """Run an ALTER COLUMN TYPE, or another statement if there is no cast.

    An explicit cast would cut texts, so it is used only where Postgres has no cast by assignment.
    """
    try:
        with connection.transaction():
            connection.execute(alter)
    except psycopg.errors.DatatypeMismatch:
        if cast is None:
            raise
        connection.execute(sql.SQL("{} USING {}").format(alter, cast))


def exists(connection: Connection, relation: str) -> bool:
    """Whether there is a table or view of that name; the name includes the schema."""
    return connection.execute("SELECT to_regclass(%s) IS NOT NULL", (relation,)).fetchone() == (True,)
