"""Stream tables of the source by COPY as Arrow."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

import psycopg
import pyarrow as pa
from psycopg import sql

from pipeline.columns import Column
from pipeline.errors import NotCarried, SourceError
from pipeline.postgres import Connection, statement
from pipeline.source import cursors
from pipeline.source.catalogue import source_errors
from pipeline.source.changes import Slice, changed_rows_predicate, slice_condition
from pipeline.source.parse import parse
from pipeline.source.table_names import identifier
from pipeline.streams import ahead, joined

_BUFFER_BYTES = 1 << 20
# Pages of 8 kB, so a message is about as large as a buffer.
_PAGES_PER_MESSAGE = 128
# Raised for text that is not UTF-8, which a database in SQL_ASCII may hold.
_NOT_UTF8 = (psycopg.errors.CharacterNotInRepertoire, psycopg.errors.UntranslatableCharacter)


def read_rows(
    connection: Connection,
    schema: str,
    name: str,
    columns: Sequence[Column],
    slice_: Slice,
    *,
    buffer_bytes: int = _BUFFER_BYTES,
    pages_per_message: int = _PAGES_PER_MESSAGE,
) -> Generator[pa.RecordBatch, None, None]:
    """Stream a slice of a table as Arrow; memory does not grow with the table.

    Rows arrive in buffers of this size, those of a concatenated slice in messages of as many pages. Close
    the generator before the connection if you may leave it early.

    Raises SourceError where the role may not read the table, the schema has changed since it was described,
    a value cannot be carried exactly, or another session waits to alter the table.
    """
    table = identifier(schema, name)
    if slice_.concatenated:
        query, buffers = _copy_of_pages(table, columns, slice_, pages_per_message), _messages
    else:
        query, buffers = _copy_of_rows(table, columns, slice_), partial(joined, size=buffer_bytes)
    connection.execute("SAVEPOINT before_reading")
    try:
        with (
            source_errors(name, [name]),
            _stopping_for_locks(name),
            connection.cursor() as cursor,
            cursor.copy(query) as copy,
            closing(ahead(buffers(copy))) as texts,
        ):
            for text in texts:
                yield parse(name, columns, text, concatenated=slice_.concatenated)
    except _NOT_UTF8 as error:
        connection.execute("ROLLBACK TO before_reading")
        column = _column_without_utf8(connection, table, columns, slice_)
        raise _text_error(connection, name, column, error) from None


def _column_without_utf8(
    connection: Connection, table: sql.Identifier, columns: Sequence[Column], slice_: Slice
) -> str | None:
    """The name of the column with text that is not UTF-8, by reading one column after another."""
    query = sql.SQL("SELECT count(convert_to({}::text, 'UTF8')) FROM {} WHERE {}")
    for column in columns:
        try:
            with connection.transaction():
                connection.execute(
                    query.format(cursors.expression(column), table, slice_condition(columns, slice_))
                )
        except _NOT_UTF8:
            return column.name
    return None


def _text_error(connection: Connection, table: str, column: str | None, error: psycopg.Error) -> SourceError:
    reason = str(error.diag.message_primary).partition(":")[0]
    where = f"table {table}, column {column}" if column else f"table {table}"
    found = NotCarried(
        f"source: {where}: a text cannot be carried exactly: {reason}; correct it in the source and run again"
    )
    # Any other encoding has texts that UTF-8 lacks, and not mere bytes.
    if column and connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        found.place = table, column
    return found


def _copy_of_rows(table: sql.Identifier, columns: Sequence[Column], slice_: Slice) -> sql.Composed:
    """A COPY that sends one message per row."""
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT (FORMAT csv)").format(
        _values_of(columns), table, slice_condition(columns, slice_)
    )


def _copy_of_pages(
    table: sql.Identifier, columns: Sequence[Column], slice_: Slice, pages: int
) -> sql.Composed:
    """A COPY that sends one message for the rows of many pages.

    A client spends more time on each message of COPY than on the row in it.
    """
    query = statement("source/read_concatenated.sql").format(
        table=table,
        columns=_values_of(columns),
        changed=changed_rows_predicate(columns, slice_),
        first_page=sql.Literal(slice_.first_page),
        end_page=sql.Literal(slice_.end_page),
        pages=sql.Literal(pages),
    )
    return sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)


def _values_of(columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL(", ").join(map(cursors.expression, columns))


def _messages(copy: psycopg.Copy) -> Iterator[bytes | bytearray]:
    """The texts that the server concatenated."""
    copy.set_types(["bytea"])
    for (text,) in copy.rows():
        yield text


@contextmanager
def _stopping_for_locks(table: str) -> Iterator[None]:
    """Raise SourceError where another session waits to lock the table exclusively.

    The connection that holds the snapshot holds a lock on the table too. Waiting behind that session would
    be a deadlock that Postgres cannot detect.
    """
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise SourceError(
            f"source: {table}: another session waits to alter, empty or rewrite it, so this run stops;"
            " run again"
        ) from None
