"""Transactions on both databases, under settings that print every value exactly.

Whatever is set is set for a transaction (``SET LOCAL``) and ends with it: behind a pooler the
server's session goes to another client afterwards.
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
from pipeline.messages import message
from pipeline.redaction import in_one_line
from pipeline.waiting import Watch

Connection = psycopg.Connection[tuple[object, ...]]

# What a connection gets unless its URL says otherwise. A firewall sees traffic, and a peer that is gone
# is noticed within a minute.
_PARAMETERS = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}

# Only what the server itself brings may be called by its bare name: whoever may create functions and
# operators in a schema of ours could else have us call them. Temporary tables come last, because a
# pooled session may hold somebody else's.
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
    # A row-level policy must end in an error, never in rows silently missing.
    "row_security": "off",
    # It compiles for a tenth of a second what then takes a hundredth.
    "jit": "off",
    # Rows that a batch changes are found by their keys: their pages are read to be written anyway.
    "random_page_cost": "1.1",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
# How money is written, where it has two decimals as it has by default; with others its values mean others.
_MONEY = sql.SQL(
    "SELECT set_config('lc_monetary', 'C', true)"
    " WHERE 0.01::money::numeric = 0.01 AND 0.001::money::numeric = 0"
)
# idle_session_timeout does not count inside a transaction.
_SINCE_17 = {"transaction_timeout": "0"}

# libpq gives no SQLSTATE for a refused login, so its words, or PgBouncer's, have to do. Where a
# server speaks another language the failure is retried before it is reported.
_REFUSED = re.compile(
    r"(password authentication failed.*|no password supplied|SASL authentication failed|no such user.*"
    r"|no such database.*|(?:database|role) \".*\" does not exist"
    r"|no pg_hba\.conf entry.*|permission denied for database.*|invalid (?:port|dsn|integer|URI|connection).*"
    r"|missing \"=\".*|.*is not permitted to log in|invalid (?:\w+ )?value.*|server does not support SSL.*"
    r"|(?:root )?certificate .*|.*certificate .* (?:does not match|verify failed).*)"
)


_POSTGRES_17 = 170_000
# The first with pg_current_snapshot().
OLDEST = 13

# Seconds between tries to connect.
PAUSES = (0.5, 1.0, 2.0, 4.0)


class Unreachable(PipelineError, psycopg.OperationalError):
    """The server cannot be reached right now; worth another try."""


@contextmanager
def transaction(
    url: str, what: str, *, reading: bool = False, one_moment: bool = False, snapshot: str | None = None
) -> Iterator[Connection]:
    """One transaction on a connection of its own, by a URL or a conninfo string; ``what`` names the database.

    With ``reading`` it sees one moment and writes nothing: its own, or that of the exported
    ``snapshot``. With ``one_moment`` it sees one beside its own writes. Waiting for a lock is logged, and is
    bounded by the setting ``lock_timeout``.

    Raises SettingsError for a login that is refused, which no retry mends, and for a server that is too
    old, Unreachable where the server does not answer, and LockTimeout. None of them holds the password.
    """
    bound = settings.load().lock_timeout
    with _patiently(url, what) as connection:
        _refuse_older(connection, what)
        connection.isolation_level = (
            IsolationLevel.REPEATABLE_READ if reading or one_moment else IsolationLevel.READ_COMMITTED
        )
        connection.read_only = reading or None
        with _in_transaction(connection, what, bound, snapshot) as pid:
            watch = Watch(connection, pid, what, lambda: once(url, what), bound)
            try:
                with watch:
                    yield connection
            except psycopg.errors.LockNotAvailable:
                blockers = watch.blockers or "another session holds a lock"
                raise LockTimeout(
                    f"{what}: {blockers}; gave up after {bound} s (TOTESYS_LOCK_TIMEOUT);"
                    " nothing was changed, run again when the lock is free"
                ) from None


def _refuse_older(connection: Connection, what: str) -> None:
    version = connection.info.server_version // 10_000
    if version < OLDEST:
        raise SettingsError(
            f"{what}: its server is PostgreSQL {version}, and {OLDEST} is the oldest that this works with;"
            " upgrade the server"
        )


@contextmanager
def _in_transaction(
    connection: Connection, what: str, bound: int, snapshot: str | None = None
) -> Iterator[int]:
    """Begin, set what holds until the end, and yield the process id of the server's session."""
    known = _LOCAL | (_SINCE_17 if connection.info.server_version >= _POSTGRES_17 else {})
    script = [SAFE_PATH, *(_set_local(name, value) for name, value in known.items())]
    script.append(_set_local("lock_timeout", f"{bound}s"))
    if snapshot is not None:
        script.append(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
    script.append(_MONEY)
    # A pooler tells another process id when the connection is made.
    script.append(sql.SQL("SELECT pg_backend_pid()"))
    with ExitStack() as stack:
        try:
            stack.enter_context(connection.transaction())
            cursor = connection.execute(sql.SQL("; ").join(script))
        except psycopg.errors.ProtocolViolation as error:
            raise _pooler_error(error, what) from None
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        yield int(str(row[0])) if row else 0


def _set_local(name: str, value: str) -> sql.Composed:
    return sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), value)


@contextmanager
def once(url: str, what: str) -> Iterator[Connection]:
    """A transaction that only looks, and is tried once: whoever asks can do without the answer."""
    with _open(connecting.of(url)) as connection, _in_transaction(connection, what, 1):
        yield connection


def _patiently(url: str, what: str) -> Connection:
    """Try a few times, for a server that restarts or a network that is down for a moment."""
    try:
        conninfo = connecting.of(url)
    except connecting.Malformed as malformed:
        raise SettingsError(f"{what}: {malformed}") from None
    for pause in (*PAUSES, None):
        try:
            return _open(conninfo)
        except psycopg.Error as error:
            fault = _login_error(error, what)
            if pause is None or not isinstance(fault, Unreachable):
                raise fault from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _open(conninfo: str) -> Connection:
    parameters: dict[str, Any] = _PARAMETERS | conninfo_to_dict(conninfo)
    parameters |= {"application_name": "totesys-etl", "client_encoding": "utf8"}
    # A prepared statement stays behind on one of a pooler's sessions.
    return psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)


def _pooler_error(error: psycopg.Error, what: str) -> Exception:
    """What a pooler says that hands out the server for a statement at a time."""
    return SettingsError(
        f"{what}: {' '.join(str(error).split())}; the pooler must work in transaction or session mode"
    )


def _login_error(error: psycopg.Error, what: str) -> Exception:
    """One line: libpq names host, port and user; a secret is taken out."""
    reason = message(error)
    if match := _REFUSED.search(str(error)):
        reason = in_one_line(match[1])
    elif not isinstance(error, psycopg.ProgrammingError):
        return Unreachable(f"{what}: cannot be reached: {reason}")
    return SettingsError(f"{what}: {reason}; check its URL and run `make blocks` again")


def login(url: str, what: str) -> str:
    """Log in once and say as whom, and into what."""
    with transaction(url, what) as connection:
        row = connection.execute("SELECT current_user, current_database(), current_setting('server_version')")
        return "role {} in database {}, Postgres {}".format(*row.fetchone() or ("?", "?", "?"))


def statement(file: str) -> sql.SQL:
    """A query that stands in a package's folder ``sql``: ``warehouse/commit_batch.sql``."""
    *package, name = file.split("/")
    text = files("pipeline").joinpath(*package, "sql", name).read_text(encoding="utf-8")
    return template(text)


def template(text: str) -> sql.SQL:
    """SQL that comes from a file or a catalogue of our own, and never from data."""
    return sql.SQL(text)


def identifiers(names: Sequence[str]) -> sql.Composed:
    """Quoted names, separated by commas."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def each(pattern: str, names: Iterable[str], between: str = ", ") -> sql.Composed:
    """The pattern once for each name: {0} its identifier, {1} its text."""
    parts = [template(pattern).format(sql.Identifier(name), sql.Literal(name)) for name in names]
    return template(between).join(parts)


def exists(connection: Connection, relation: str) -> bool:
    """Whether there is a table or view of that name, which bears its schema."""
    return connection.execute("SELECT to_regclass(%s) IS NOT NULL", (relation,)).fetchone() == (True,)
