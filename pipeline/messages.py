"""Messages of exceptions without secrets, control characters and values of rows.

Postgres, DuckDB and Arrow quote values in their messages. Here only the kind of error and the table, column,
type or constraint remain; the value is in ``etl.rejected`` or in the source. TOTESYS_SHOW_VALUES=true keeps
the original messages.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import duckdb
import psycopg
import pyarrow as pa

from pipeline import settings
from pipeline.errors import ModelError, PipelineError, SettingsError, WarehouseError
from pipeline.redaction import in_one_line

_DATA_EXCEPTION, _CONSTRAINT_VIOLATION = "22", "23"  # classes of SQLSTATE
_COPIED_COLUMN = re.compile(r"^COPY .*?, line \d+, column (.*?)(?:: |$)", re.MULTILINE)
_KEY = re.compile(r"^Key \((.*?)\)=")
# From the first to the last quotation mark, because a quoted value may contain quotation marks.
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)
_POSTGRES_TYPE = re.compile(r"(?:for|of|in) type ([a-z][a-z ]*(?:\(\d+(?:,\d+)?\))?)")
_OTHER_TYPE = re.compile(
    r"(?:to|type|in multiplication of) ((?:[A-Z]+\d*|[a-z]+\d+)(?:\([\d, ]+\))?)(?=\W|$)"
    r"|Error: (date|time|timestamp) field"
)
# What DuckDB calls the integers of Postgres in messages about values.
_INTEGERS = {"INT16": "smallint", "INT32": "integer", "INT64": "bigint", "INT128": "HUGEINT"}
SOURCE_COLUMN = re.compile(r"when casting from source column (\S+)")
# DuckDB's messages about rows; all others are about the SQL.
_ABOUT_ROWS = re.compile(r"(Conversion|Out of Range|Invalid Input|Constraint) Error: ")
_HARMLESS = re.compile(r"Invalid Input Error: More than one row returned by a subquery[^.\n]*")
# The beginnings of errors about a number or an array that has no exact type in DuckDB.
NO_NUMBER, NO_LIST = "no exact number at ", "no list at "
_NO_TYPE = re.compile(
    rf"Conversion Error: [^\"']*[\"'](?P<what>{NO_NUMBER}|{NO_LIST})(?P<line>\d+): (?P<column>.*?)"
    r" \[value: (?P<value>.*)\][\"']",
    re.DOTALL,
)
_OF_USERS = "a trigger or function of the database"
# An unknown schema, table, type or function: the pipeline's search_path has no schema of users.
_NOT_ON_PATH = {"3F000", "42P01", "42704", "42883"}
_QUALIFY = (
    "the pipeline's search_path is pg_catalog, so write the schema before each name in it, or give it its own"
    " SET search_path; TOTESYS_SHOW_VALUES=true shows the name"
)
_NO_PRIVILEGE = "42501"
_GRANT = "make it SECURITY DEFINER, or grant the pipeline's role what it uses"
NOT_SHOWN = "; TOTESYS_SHOW_VALUES=true shows the value"


def message(error: BaseException) -> str:
    """An exception's message in one line, without values of rows.

    A ModelError has a line for each mistake.
    """
    if isinstance(error, ModelError):
        return "\n".join(map(in_one_line, str(error).splitlines()))
    if shows_values():
        return in_one_line(str(error))
    if isinstance(error, psycopg.Error):
        return in_one_line(_of_postgres(error))
    if isinstance(error, duckdb.Error):
        return in_one_line(of_duckdb(str(error)))
    # Arrow also raises OSError, about storage, which holds no values.
    if isinstance(error, pa.ArrowException) and not isinstance(error, OSError):
        return in_one_line(of_arrow(str(error)))
    return in_one_line(str(error))


def _of_postgres(error: psycopg.Error) -> str:
    diag = error.diag
    code = diag.sqlstate or ""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    if comes_from_a_function(error):
        if code in _NOT_ON_PATH:
            return f"{_OF_USERS} fails: {kind} (SQLSTATE {code}); {_QUALIFY}"
        if code == _NO_PRIVILEGE:
            return f"{_OF_USERS} fails: {kind} (SQLSTATE {code}); {_GRANT}"
        text = f"{_OF_USERS} refuses a row or a statement"
    elif code.startswith(_DATA_EXCEPTION):
        text = kind
    else:
        # The exception's own text also has DETAIL, CONTEXT and the statement, which may hold values.
        text = diag.message_primary or str(error)
        return text + (_place(error) if code.startswith(_CONSTRAINT_VIOLATION) else "")
    return f"{text} (SQLSTATE {code}){_place(error)}{NOT_SHOWN}"


def comes_from_a_function(error: psycopg.Error) -> bool:
    """Whether a trigger or function raised the error or ran the statement: its text may hold any value.

    Such a frame has PL/ before the function's name in every language of Postgres's messages. The pipeline's
    own functions are temporary.
    """
    frames = (error.diag.context or "").splitlines()
    return any("PL/" in frame and "pg_temp_" not in frame for frame in frames)


@contextmanager
def naming_functions() -> Iterator[None]:
    """Raise a WarehouseError if a trigger or function of the warehouse fails: a file is not to blame."""
    try:
        yield
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        if not comes_from_a_function(error):
            raise
        raise WarehouseError(f"warehouse: {message(error)}") from None


def _place(error: psycopg.Error) -> str:
    """The column, type and key that Postgres names."""
    diag = error.diag
    column, key = _COPIED_COLUMN.search(diag.context or ""), _KEY.match(diag.message_detail or "")
    type_ = _POSTGRES_TYPE.search(_QUOTED.sub("", diag.message_primary or ""))
    parts = {
        "column": diag.column_name or (column and column[1]),
        "type": diag.datatype_name or (type_ and type_[1].strip()),
        "key": key and f"({key[1]})",
    }
    return "".join(f", {part} {name}" for part, name in parts.items() if name)


def of_duckdb(text: str) -> str:
    """DuckDB's message without values: unchanged about SQL, only kind, column and type about rows."""
    if found := _NO_TYPE.match(text):
        return _no_type(**found.groupdict())
    kind = _ABOUT_ROWS.match(text)
    if not kind or shows_values():
        return text
    if harmless := _HARMLESS.match(text):
        return harmless[0]
    column = SOURCE_COLUMN.search(text)
    return f"{kind[1]} Error: {_without_value(text, column[1] if column else None)}"


def _no_type(what: str, line: str, column: str, value: str) -> str:
    """The message about a value that a model cannot compute with; NaN and Infinity are no secret."""
    is_special = value.lstrip("-") in {"NaN", "Infinity"}
    shown = shows_values() or is_special
    more = "" if shown else NOT_SHOWN
    if what == NO_LIST:
        problem, remedy = "has an array of several dimensions, or with other bounds", "only pass it on"
    else:
        problem = "has more than 28 digits before the point or 10 after it"
        others = "" if is_special else " other digits, such as DECIMAL(38, 18), or to"
        remedy = f"cast it to{others} DOUBLE PRECISION"
    problem = f"is {value}" if shown else problem
    return (
        f"column {column} {problem} in a row, so a model cannot compute with it exactly; leave such rows out,"
        f" or {remedy}{more}\nLINE {line}:"
    )


def of_arrow(text: str) -> str:
    """Arrow's message about a value, without the value."""
    return text if shows_values() else _without_value(text, None)


def _without_value(text: str, column: str | None) -> str:
    found = _OTHER_TYPE.search(_QUOTED.sub("", text.partition("\nLINE ")[0]))
    type_ = (found[1] or found[2]) if found else ""
    of_column = f" of {column}" if column else ""
    return f"a value{of_column} does not fit {_INTEGERS.get(type_, type_)}".rstrip() + NOT_SHOWN


@cache
def shows_values() -> bool:
    """Whether TOTESYS_SHOW_VALUES is on; read once, at the first error."""
    try:
        return settings.load().show_values
    except SettingsError:
        return False


def cleaned(error: BaseException) -> BaseException:
    """The exception with :func:`message` as its text; a new one if its text cannot be changed."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        cleaned(cause)
    text = message(error)
    if str(error) == text:
        return error
    error.args = (text,)
    if str(error) == text:
        return error
    try:
        replacement: BaseException = type(error).__new__(type(error))
        replacement.args = (text,)
    except TypeError:
        replacement = error
    if str(replacement) != text:
        replacement = PipelineError(f"{type(error).__name__}: {text}")
    return replacement.with_traceback(error.__traceback__)
