"""What an exception may say: no secret, no control character and no value of a row.

Postgres, DuckDB and Arrow quote values in their messages. Shown is which kind of fault it is, and
the table, column, type or constraint; the value itself stands in ``etl.rejected`` or in the source.
``TOTESYS_SHOW_VALUES=true`` shows their words as they are.
"""

import re
from functools import cache

import duckdb
import psycopg
import pyarrow as pa

from pipeline import settings
from pipeline.errors import PipelineError, SettingsError
from pipeline.redaction import in_one_line

_DATA_EXCEPTION, _BROKEN_CONSTRAINT = "22", "23"  # classes of SQLSTATE
_COPIED_COLUMN = re.compile(r"^COPY .*?, line \d+, column (.*?)(?:: |$)", re.MULTILINE)
_KEY = re.compile(r"^Key \((.*?)\)=")
# From the first quotation mark to the last, because what is quoted may hold some itself.
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)
_POSTGRES_TYPE = re.compile(r"(?:for|of|in) type ([a-z][a-z ]*(?:\(\d+(?:,\d+)?\))?)")
_OTHER_TYPE = re.compile(
    r"(?:to|type|in multiplication of) ((?:[A-Z]+\d*|[a-z]+\d+)(?:\([\d, ]+\))?)(?=\W|$)"
    r"|Error: (date|time|timestamp) field"
)
_SOURCE_COLUMN = re.compile(r"when casting from source column (\S+)")
# What DuckDB says of rows, where any other of its words is about the SQL.
_ABOUT_ROWS = re.compile(r"(Conversion|Out of Range|Invalid Input|Constraint) Error: ")
_HARMLESS = re.compile(r"Invalid Input Error: More than one row returned by a subquery[^.\n]*")
_NOT_SHOWN = "; TOTESYS_SHOW_VALUES=true shows the value"


def message(error: BaseException) -> str:
    """What an exception says, in one line."""
    if shows_values():
        return in_one_line(str(error))
    if isinstance(error, psycopg.Error):
        return in_one_line(_of_postgres(error))
    if isinstance(error, duckdb.Error):
        return in_one_line(of_duckdb(str(error)))
    # Arrow raises some as ValueError or OSError, where it speaks of storage.
    if isinstance(error, pa.ArrowException) and not isinstance(error, OSError):
        return in_one_line(of_arrow(str(error)))
    return in_one_line(str(error))


def _of_postgres(error: psycopg.Error) -> str:
    diag = error.diag
    code = diag.sqlstate or ""
    if _comes_from_a_function(diag.context or ""):
        words = "a trigger or function of the database refuses a row"
    elif code.startswith(_DATA_EXCEPTION):
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    else:
        # DETAIL, CONTEXT and the statement, which the exception's own text holds, stay out.
        words = diag.message_primary or str(error)
        return words + (_place(error) if code.startswith(_BROKEN_CONSTRAINT) else "")
    return f"{words} (SQLSTATE {code}){_place(error)}{_NOT_SHOWN}"


def _comes_from_a_function(context: str) -> bool:
    """Whether a trigger or function raised the error or ran what failed: its words may hold any value.

    Such a frame has PL/ before the function's name, whatever language Postgres speaks. The pipeline's
    own functions are temporary ones.
    """
    return any("PL/" in frame and "pg_temp_" not in frame for frame in context.splitlines())


def _place(error: psycopg.Error) -> str:
    """Column, type and key, as far as Postgres names them."""
    diag = error.diag
    column, key = _COPIED_COLUMN.search(diag.context or ""), _KEY.match(diag.message_detail or "")
    type_ = _POSTGRES_TYPE.search(_QUOTED.sub("", diag.message_primary or ""))
    named = {
        "column": diag.column_name or (column and column[1]),
        "type": diag.datatype_name or (type_ and type_[1].strip()),
        "key": key and f"({key[1]})",
    }
    return "".join(f", {what} {name}" for what, name in named.items() if name)


def of_duckdb(words: str) -> str:
    """What DuckDB says, without values: of SQL all of it, of a row its kind, column and type."""
    kind = _ABOUT_ROWS.match(words)
    if not kind or shows_values():
        return words
    if harmless := _HARMLESS.match(words):
        return harmless[0]
    column = _SOURCE_COLUMN.search(words)
    return f"{kind[1]} Error: {_unfit(words, column[1] if column else None)}"


def of_arrow(words: str) -> str:
    """What Arrow says of a value, without it."""
    return words if shows_values() else _unfit(words, None)


def _unfit(words: str, column: str | None) -> str:
    type_ = _OTHER_TYPE.search(_QUOTED.sub("", words.partition("\nLINE ")[0]))
    whose = f" of {column}" if column else ""
    return f"a value{whose} does not fit{f' {type_[1] or type_[2]}' if type_ else ''}{_NOT_SHOWN}"


@cache
def shows_values() -> bool:
    """Whether the setting says so; read where something has failed, and once."""
    try:
        return settings.load().show_values
    except SettingsError:
        return False


def cleaned(error: BaseException) -> BaseException:
    """The exception with :func:`message` as its text; another one where its text cannot be changed."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        cleaned(cause)
    said = message(error)
    if str(error) == said:
        return error
    error.args = (said,)
    if str(error) == said:
        return error
    try:
        other: BaseException = type(error).__new__(type(error))
        other.args = (said,)
    except TypeError:
        other = error
    if str(other) != said:
        other = PipelineError(f"{type(error).__name__}: {said}")
    return other.with_traceback(error.__traceback__)
