"""Connections to both databases, under settings that print every value exactly."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files

import psycopg
from psycopg import sql

from pipeline import connection as connecting
from pipeline.errors import PipelineError, SettingsError
from pipeline.messages import message
from pipeline.redaction import in_one_line

Connection = psycopg.Connection[tuple[object, ...]]

_SESSION = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    # A row-level policy must end in an error, never in rows silently missing.
    "row_security": "off",
    # It compiles for a tenth of a second what then takes a hundredth.
    "jit": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}

# libpq gives no SQLSTATE for a refused login, so its words have to do. Where a server
# speaks another language the failure is retried before it is reported.
_REFUSED = re.compile(
    r"(password authentication failed.*|no password supplied|(?:database|role) \".*\" does not exist"
    r"|no pg_hba\.conf entry.*|permission denied for database.*|invalid (?:port|dsn|integer|URI|connection).*"
    r"|missing \"=\".*|.*is not permitted to log in|invalid (?:\w+ )?value.*|server does not support SSL.*"
    r"|(?:root )?certificate .*|.*certificate .* (?:does not match|verify failed).*)"
)


# Seconds between tries to connect.
PAUSES = (0.5, 1.0, 2.0, 4.0)


class Unreachable(PipelineError, psycopg.OperationalError):
    """The server cannot be reached right now; worth another try."""


@contextmanager
def connect(url: str, what: str) -> Iterator[Connection]:
    """Connect in autocommit mode, by a URL or a conninfo string; ``what`` names the database in errors.

    Raises SettingsError for a login that is refused, which no retry mends, and
    Unreachable where the server does not answer. Neither holds the password.
    """
    with _patiently(url, what) as connection:
        settings = sql.SQL(", ").join(
            sql.SQL("set_config({}, {}, false)").format(name, value) for name, value in _SESSION.items()
        )
        connection.execute(sql.SQL("SELECT {}").format(settings))
        yield connection


def _patiently(url: str, what: str) -> Connection:
    """Try a few times, for a server that restarts or a network that is down for a moment."""
    try:
        conninfo = connecting.of(url)
    except connecting.Malformed as malformed:
        raise SettingsError(f"{what}: {malformed}") from None
    for pause in (*PAUSES, None):
        try:
            return psycopg.connect(
                conninfo, application_name="totesys-etl", autocommit=True, client_encoding="utf8"
            )
        except psycopg.Error as error:
            fault = _login_error(error, what)
            if pause is None or not isinstance(fault, Unreachable):
                raise fault from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


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
    with connect(url, what) as connection:
        row = connection.execute("SELECT current_user, current_database(), current_setting('server_version')")
        return "role {} in database {}, Postgres {}".format(*row.fetchone() or ("?", "?", "?"))


def statement(file: str) -> sql.SQL:
    """A query kept in ``pipeline/sql/``."""
    text = files("pipeline").joinpath("sql", file).read_text(encoding="utf-8")
    return template(text)


def template(text: str) -> sql.SQL:
    """SQL that comes from a file or a catalogue of our own, and never from data."""
    return sql.SQL(text)


def identifiers(names: Sequence[str]) -> sql.Composed:
    """Quoted names, separated by commas."""
    return sql.SQL(", ").join(map(sql.Identifier, names))
