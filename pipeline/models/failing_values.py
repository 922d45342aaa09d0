"""The value for which a model fails, and with it the batch: in which line, and from which source column."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from pipeline import messages
from pipeline.duck import quote
from pipeline.errors import ModelError
from pipeline.messages import NOT_SHOWN, SOURCE_COLUMN
from pipeline.models.duckdb_errors import error_in
from pipeline.models.inputs import stored_name, texts_of
from pipeline.models.work import Work

# The value in DuckDB's messages about a cast.
_VALUE = re.compile(
    r"""Conversion Error: [^'"]*?(?:['"](?P<text>.*?)['"](?: to |, expected )| value (?P<number>[^\s'"]+))""",
    re.DOTALL,
)


@contextmanager
def naming_values(connection: duckdb.DuckDBPyConnection, work: Work) -> Iterator[None]:
    """Name the line, the source column and what to write in the error of a cast that fails for a value.

    The model is computed once more, in its own words, because errors in views name no line.
    """
    try:
        yield
    except ModelError as error:
        raise _located(connection, work) or error from None


def _located(connection: duckdb.DuckDBPyConnection, work: Work) -> ModelError | None:
    """The error, of the model whose line fails; None if it is none of a row."""
    for name, text in texts_of(work.models, work.targets, work.manifest.columns).items():
        try:
            connection.execute(f"CREATE OR REPLACE TEMP TABLE located AS {text}\n")
        except duckdb.Error as error:
            words = str(error)
            located = error_in(work.models[name].path, words)
            return (
                ModelError(_explained(connection, work, str(located), words))
                if _VALUE.match(words)
                else located
            )
    return None


def _explained(connection: duckdb.DuckDBPyConnection, work: Work, located: str, words: str) -> str:
    """The message about a cast, with the source's column, and with what to do."""
    place = _place(connection, work, words)
    remedy = "write TRY_CAST for NULL, or correct it in the source"
    hidden = "" if messages.shows_values() else f"{NOT_SHOWN} and its row"
    return f"{located.removesuffix(NOT_SHOWN)}{place}; {remedy}{hidden}"


def _place(connection: duckdb.DuckDBPyConnection, work: Work, words: str) -> str:
    """The source column that has the value, with the key of its row if values are shown."""
    value, column = _VALUE.match(words), SOURCE_COLUMN.search(words)
    if not value or not column:
        return ""
    for table in work.tables:
        names = [each.name for each in table.columns if each.name.lower() == column[1].lower()]
        for name in names:
            keys = ", ".join(f"CAST({quote(key)} AS VARCHAR)" for key in table.key) or "NULL"
            text = f"CAST({quote(name)} AS VARCHAR)"
            same = f"{text} = $value OR TRY_CAST({text} AS DOUBLE) = TRY_CAST($value AS DOUBLE)"
            found = connection.execute(
                f"SELECT {keys} FROM {quote(stored_name(table.table))} WHERE {same} LIMIT 1",  # noqa: S608
                {"value": value["text"] or value["number"]},
            ).fetchone()
            if found:
                row = ", ".join(f"{key} {part}" for key, part in zip(table.key, found, strict=False))
                return f", in {table.table}.{name}" + (
                    f" of {row}" if row and messages.shows_values() else ""
                )
    return ""
