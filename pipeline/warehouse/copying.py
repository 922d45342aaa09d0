"""Copy rows of Parquet files into a table: in the binary format of COPY if possible, else as CSV."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.dataset as ds
from psycopg import sql

from pipeline.columns import Column, schema_of
from pipeline.duck import quote, session
from pipeline.postgres import Connection, identifiers
from pipeline.streams import ahead
from pipeline.warehouse import binary

_ROWS_A_COPY = 50_000


def copy_in(
    connection: Connection,
    into: sql.Composable,
    columns: Sequence[Column],
    rows: ds.Dataset,
    progress: Callable[[int], None],
    *,
    as_bytes: bool = False,
) -> int:
    """Stream rows into a table; returns how many. ``progress`` is called with the number so far.

    With ``as_bytes`` the table's columns are bytea, and receive the values' text in UTF-8.
    """
    names = [column.name for column in columns]
    encode = binary.encoder(columns) if _as_declared(rows, columns) and not as_bytes else None
    chunks: Iterator[tuple[int, bytes]] = _as_csv(rows, names, as_bytes=as_bytes)
    if encode:
        chunks = _as_binary(rows, names, encode)
    command = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(
        into, identifiers(names), sql.SQL("binary" if encode else "csv")
    )
    copied = 0
    with connection.cursor() as cursor, cursor.copy(command) as copy, closing(ahead(chunks)) as encoded:
        for number, chunk in encoded:
            copy.write(chunk)
            copied += number
            progress(copied)
    return copied


def _as_declared(rows: ds.Dataset, columns: Sequence[Column]) -> bool:
    """Whether the files have the Arrow types that the columns' types are stored in."""
    return all(rows.schema.field(field.name).type == field.type for field in schema_of(columns))


def _as_binary(
    rows: ds.Dataset, names: Sequence[str], encode: Callable[[pa.RecordBatch], bytes]
) -> Iterator[tuple[int, bytes]]:
    yield 0, binary.HEADER
    for batch in rows.to_batches(columns=list(names)):
        if batch.num_rows:
            yield batch.num_rows, encode(batch)
    yield 0, binary.TRAILER


def _as_csv(rows: ds.Dataset, names: Sequence[str], *, as_bytes: bool) -> Iterator[tuple[int, bytes]]:
    for batch in _as_printed(rows, names, as_bytes=as_bytes):
        buffer = pa.BufferOutputStream()
        pv.write_csv(batch, buffer, pv.WriteOptions(include_header=False))
        yield batch.num_rows, buffer.getvalue().to_pybytes()


def _as_printed(rows: ds.Dataset, names: Sequence[str], *, as_bytes: bool) -> Iterator[pa.RecordBatch]:
    """Rows with dates and times as text, with infinity and BC as Postgres writes them."""
    selected = []
    for name in names:
        printed = quote(name)
        if pa.types.is_temporal(rows.schema.field(name).type):
            printed = f"replace(CAST({printed} AS VARCHAR), ' (BC)', ' BC')"
        if as_bytes:
            printed = f"'\\x' || hex(encode(CAST({printed} AS VARCHAR)))"
        selected.append(f"{printed} AS {quote(name)}")
    with session() as connection:
        connection.register("rows", rows)
        query = f"SELECT {', '.join(selected)} FROM rows"  # noqa: S608
        yield from connection.sql(query).to_arrow_reader(_ROWS_A_COPY)
