"""Tables of the source, streamed by COPY as Arrow."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager

import psycopg
import pyarrow as pa
from psycopg import sql

from pipeline.columns import Column
from pipeline.errors import SourceError
from pipeline.postgres import Connection, statement
from pipeline.source import cursors
from pipeline.source.catalogue import in_words
from pipeline.source.changes import Slice, changed_rows, slice_condition
from pipeline.source.parse import parse
from pipeline.streams import ahead

_CHUNK_BYTES = 1 << 20
# At 8 kB each, as many bytes as a chunk.
_PAGES_A_PACK = 128
# What Postgres says of text that has no UTF-8, as a database in SQL_ASCII may hold it.
_UNREADABLE_TEXT = (psycopg.errors.CharacterNotInRepertoire, psycopg.errors.UntranslatableCharacter)


def read_rows(
    connection: Connection, schema: str, name: str, columns: Sequence[Column], slice_: Slice
) -> Generator[pa.RecordBatch, None, None]:
    """Stream a slice of a table as Arrow; memory does not grow with the table.

    Close it before the connection, where it may be left before its end.

    Raises SourceError where the role may not read the table, the schema has changed
    since it was described, or a value cannot be carried exactly.
    """
    query, chunks = (_packed, _packs) if slice_.packed else (_plain, _chunks)
    table = sql.Identifier(schema, name)
    connection.execute("SAVEPOINT before_reading")
    try:
        with (
            in_words(name),
            _giving_way(name),
            connection.cursor() as cursor,
            cursor.copy(query(table, columns, slice_)) as copy,
            closing(ahead(chunks(copy))) as made,
        ):
            for chunk in made:
                yield parse(name, columns, chunk, packed=slice_.packed)
    except _UNREADABLE_TEXT as error:
        connection.execute("ROLLBACK TO before_reading")
        column = _column_to_blame(connection, table, columns, slice_)
        raise _bad_text(f"table {name}{column}", error) from None


def _column_to_blame(
    connection: Connection, table: sql.Identifier, columns: Sequence[Column], slice_: Slice
) -> str:
    """Which column has text that is not UTF-8, found by reading one after the other."""
    query = sql.SQL("SELECT count(convert_to({}::text, 'UTF8')) FROM {} WHERE {}")
    for column in columns:
        try:
            with connection.transaction():
                connection.execute(
                    query.format(cursors.expression(column), table, slice_condition(columns, slice_))
                )
        except _UNREADABLE_TEXT:
            return f", column {column.name}"
    return ""


def _bad_text(where: str, error: psycopg.Error) -> SourceError:
    words = str(error.diag.message_primary).partition(":")[0]
    return SourceError(
        f"source: {where}: a text cannot be carried exactly: {words}; correct it in the source, run again"
    )


def _plain(table: sql.Identifier, columns: Sequence[Column], slice_: Slice) -> sql.Composed:
    """A COPY that sends row by row."""
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT (FORMAT csv)").format(
        _values_of(columns), table, slice_condition(columns, slice_)
    )


def _packed(table: sql.Identifier, columns: Sequence[Column], slice_: Slice) -> sql.Composed:
    """A COPY that sends the rows of many pages at once.

    What a client does for each message of COPY takes longer than all that it then does with the row.
    """
    packs = statement("source/read_packs.sql").format(
        table=table,
        columns=_values_of(columns),
        news=changed_rows(columns, slice_),
        first_page=sql.Literal(slice_.first_page),
        end_page=sql.Literal(slice_.end_page),
        pages=sql.Literal(_PAGES_A_PACK),
    )
    return sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(packs)


def _values_of(columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL(", ").join(map(cursors.expression, columns))


def _chunks(copy: psycopg.Copy) -> Iterator[bytes | bytearray]:
    """Whole rows, many at a time; one by one they would cost more than all the rest."""
    chunk = bytearray()
    for row in copy:
        chunk += row
        if len(chunk) >= _CHUNK_BYTES:
            yield chunk
            chunk = bytearray()
    if chunk:
        yield chunk


def _packs(copy: psycopg.Copy) -> Iterator[bytes | bytearray]:
    """The same as the server has put them together."""
    copy.set_types(["bytea"])
    for (pack,) in copy.rows():
        yield pack


@contextmanager
def _giving_way(table: str) -> Iterator[None]:
    """Say why a table is not read any further.

    Who holds the snapshot holds the tables too, so to wait would be a deadlock that Postgres cannot see.
    """
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise SourceError(
            f"source: {table}: somebody waits to alter, empty or rewrite it, and is let past; run again"
        ) from None
