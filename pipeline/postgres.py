"""Transactions on both databases, and the SQL that they run."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import Params
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import class_row

from pipeline import connection as connecting
from pipeline import pool, settings
from pipeline.beginning import CHANGING, ONE_MOMENT, READING, Beginning, at_once
from pipeline.errors import LockTimeout, PipelineError, RightMissing, SettingsError
from pipeline.lock_waits import LockWaits
from pipeline.messages import comes_from_a_function, message
from pipeline.redaction import in_one_line

Connection = psycopg.Connection[tuple[object, ...]]
Rows = list[tuple[object, ...]]
_Row = TypeVar("_Row")
_Query = str | sql.SQL | sql.Composed

# Defaults for connections, unless the URL sets them. Keepalives keep connections through firewalls open and
# detect a dead peer within a minute.
_PARAMETERS = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}

# libpq gives no SQLSTATE for a refused login, so its messages and PgBouncer's are matched, as libpq 18 and
# PgBouncer 1.24 write them. The tests of logins fail where they change. Messages in another language are not
# recognised: the login is then retried before the error is reported.
_LOGIN_REFUSED = re.compile(
    r"(password authentication failed.*|no password supplied|SASL authentication failed|no such user.*"
    r"|no such database.*|(?:database|role) \".*\" does not exist"
    r"|no pg_hba\.conf entry.*|permission denied for database.*|invalid (?:port|dsn|integer|URI|connection).*"
    r"|missing \"=\".*|.*is not permitted to log in|invalid (?:\w+ )?value.*|server does not support SSL.*"
    r"|(?:definition of )?service (?:file )?\".*\" not found.*|syntax error in service file.*"
    r"|(?:root )?certificate .*|.*certificate .* (?:does not match|verify failed).*)"
)

# What pg_stat_activity shows of our sessions; tasks/__init__.py sets it.
application_name = "pipeline"

# What to do about a server or a role that only reads.
_WRITABLE = "name the primary server, not a standby, and a role without default_transaction_read_only"

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
    lock_timeout: float | None = None,
    pauses: Sequence[float] | None = None,
) -> Iterator[Connection]:
    """One transaction on a connection of its own; ``database`` names it in messages: source or warehouse.

    ``url`` is a URL or a conninfo string. With ``reading`` the transaction is read-only and sees one
    snapshot, its own or the exported ``snapshot``. With ``one_moment`` it sees one snapshot and its own
    writes. A wait for a lock is logged, and limited by ``lock_timeout`` seconds, by default
    TOTESYS_LOCK_TIMEOUT. ``pauses`` are the seconds between tries to connect, by default PAUSES.

    Raises SettingsError for a refused login, for a server that is too old, and if the block writes where the
    server or the role only reads, Unreachable if the server does not answer, RightMissing, and LockTimeout.
    No message holds the password.
    """
    setting = settings.load().lock_timeout
    bound = setting if lock_timeout is None else lock_timeout
    conninfo = _conninfo(url, database)

    def connect() -> Connection:
        return _connect(conninfo, database, PAUSES if pauses is None else pauses)

    mode = READING if reading else ONE_MOMENT if one_moment else CHANGING
    beginning = Beginning(database, mode, bound, snapshot)
    with _in_transaction(conninfo, connect, beginning) as (connection, pid):
        watch = LockWaits(connection, pid, database, lambda: once(url, database), setting)
        try:
            with watch:
                yield connection
        except psycopg.errors.InsufficientPrivilege as error:
            raise _right_missing(error, database) from None
        except psycopg.errors.ReadOnlySqlTransaction as error:
            if reading or comes_from_a_function(error):
                raise
            raise SettingsError(f"{database}: {message(error)}; {_WRITABLE}") from None
        except psycopg.errors.LockNotAvailable:
            setting_name = " (TOTESYS_LOCK_TIMEOUT)" if lock_timeout is None else ""
            raise _gave_up(watch, database, f"{bound:g} s{setting_name}") from None


def _gave_up(watch: LockWaits, database: str, waited: str) -> LockTimeout:
    """A one-line error that says who holds the lock."""
    blockers = watch.blockers or "another session holds a lock"
    return LockTimeout(
        f"{database}: {blockers}; gave up after {waited};"
        " nothing was changed, run again when the lock is free"
    )


def _right_missing(error: psycopg.errors.InsufficientPrivilege, database: str) -> RightMissing:
    """A one-line error that says which right the database's role lacks, and who grants it."""
    refusal, advice = message(error), f"; docs/{database}-role.sql grants its role what it needs"
    if comes_from_a_function(error):
        advice = ""
    elif error.diag.source_function == "check_enable_rls":
        advice = "; let the pipeline's role BYPASSRLS"
    missing = RightMissing(f"{database}: {refusal}{advice}")
    missing.refusal = refusal
    return missing


@contextmanager
def _in_transaction(
    conninfo: str, connect: Callable[[], Connection], beginning: Beginning
) -> Iterator[tuple[Connection, int]]:
    """A transaction on an idle connection or a new one; also yields its server's process id.

    An idle connection that turns out to be lost is replaced.
    """
    begun = None
    if (idle := pool.take(conninfo)) is not None:
        with suppress(psycopg.OperationalError):
            begun = idle, _begin(idle, beginning)
    if begun is None:
        connection = connect()
        begun = connection, _begin(connection, beginning)
    try:
        with _ending(begun[0]):
            yield begun
    finally:
        pool.put(conninfo, begun[0])


def _begin(connection: Connection, beginning: Beginning) -> int:
    """Begin the transaction; if that fails, the connection is closed."""
    try:
        return beginning.begin(connection)
    except BaseException:
        connection.close()
        raise


@contextmanager
def _ending(connection: Connection) -> Iterator[None]:
    """Commit after the block, or roll back what it did if it raises; psycopg.Rollback ends here."""
    try:
        yield
    except BaseException as error:
        # What the block raised says more than that its connection is lost.
        with suppress(psycopg.Error):
            connection.rollback()
        if not isinstance(error, psycopg.Rollback):
            raise
    else:
        connection.commit()


@contextmanager
def connections_closed(url: str) -> Iterator[None]:
    """Close the idle connections of this login at the end of the block."""
    try:
        yield
    finally:
        with suppress(connecting.Malformed):
            pool.close_idle(connecting.of(url))


@contextmanager
def once(url: str, database: str) -> Iterator[Connection]:
    """A transaction for optional reads: one attempt to connect, and no wait for locks beyond a second."""
    conninfo = connecting.of(url)
    beginning = Beginning(database, CHANGING, lock_timeout=1)
    with _in_transaction(conninfo, lambda: _open(conninfo), beginning) as (connection, _):
        yield connection


def _conninfo(url: str, database: str) -> str:
    try:
        return connecting.of(url)
    except connecting.Malformed as malformed:
        raise SettingsError(f"{database}: {malformed}") from None


def _connect(conninfo: str, database: str, pauses: Sequence[float]) -> Connection:
    """Connect, with retries for a server that restarts or a network that is down for a moment."""
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


def _login_error(error: psycopg.Error, database: str) -> Exception:
    """A one-line error; libpq's message names host, port and user, secrets are removed."""
    reason = message(error)
    if match := _LOGIN_REFUSED.search(str(error)):
        reason = in_one_line(match[1])
    elif not isinstance(error, psycopg.ProgrammingError):
        return Unreachable(f"{database}: cannot be reached: {reason}")
    return SettingsError(f"{database}: {reason}; check its URL and run `make blocks` again")


def login(url: str, database: str, *, writes: bool = False) -> str:
    """Log in once; returns a text with the role, the database and the server's version.

    Raises SettingsError with ``writes`` where the server or the role only reads.
    """
    query = (
        "SELECT current_user, current_database(), current_setting('server_version'),"
        " current_setting('transaction_read_only')::boolean"
    )
    with transaction(url, database) as connection:
        ((role, name, version, only_reads),) = connection.execute(query).fetchall()
    if writes and only_reads:
        raise SettingsError(f"{database}: role {role} can only read database {name}; {_WRITABLE}")
    return f"role {role} in database {name}, Postgres {version}"


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


def together(connection: Connection, *queries: tuple[_Query, Params]) -> list[Rows]:
    """The rows of queries with their parameters, which are sent at once: one round trip for all of them."""
    with at_once(connection):
        cursors = [connection.execute(query, parameters) for query, parameters in queries]
    return [cursor.fetchall() for cursor in cursors]


def select(connection: Connection, kind: type[_Row], file: str, **values: object) -> list[_Row]:
    """The rows of a query, as :func:`statement` finds it, with bound values; each is one of a class."""
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(statement(file), values).fetchall()


def count_in(cursor: psycopg.Cursor[tuple[object, ...]]) -> int:
    """The number that a query returns, first of all in its one row."""
    ((number, *_),) = cursor.fetchall()
    return int(str(number))


def texts(connection: Connection, query: _Query, parameters: Params = ()) -> list[str]:
    """The texts that a query returns, one in each row."""
    return [str(text) for (text,) in connection.execute(query, parameters).fetchall()]


def exists(connection: Connection, relation: str) -> bool:
    """Whether there is a table or view of that name; the name includes the schema."""
    return connection.execute("SELECT to_regclass(%s) IS NOT NULL", (relation,)).fetchone() == (True,)
