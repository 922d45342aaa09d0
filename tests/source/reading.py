"""Read tables of a source into Arrow, in every way that the engine has."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import psycopg
import pyarrow as pa

from pipeline.columns import schema_of
from pipeline.postgres import Connection
from pipeline.source import snapshots
from pipeline.source.catalogue import Table, describe
from pipeline.source.changes import Slice
from pipeline.source.read import read_rows


def carried(url: str, name: str, slice_: Slice | None = None, **sizes: int) -> pa.Table:
    """A table of the source as Arrow; asserts that reading row by row and concatenated gives the same."""
    with snapshots.snapshot(url) as (connection, _):
        table = describe(connection, "public", [name])[name]
        rows = arrow(connection, table, slice_ or Slice(), **sizes)
        if table.can_concatenate:
            concatenated = arrow(connection, table, concatenated_slice(table, slice_ or Slice()))
            assert in_order(concatenated) == in_order(rows)
        return rows


def stored(url: str, type_: str, values: Sequence[object]) -> pa.Table:
    """A new table ``t`` of the source as Arrow, whose column ``v`` has these values, in their order."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (v {type_}, place int)".encode())
        # Texts are values of any type.
        cast = "::text" if any(isinstance(each, str) for each in values) else ""
        insert = f"INSERT INTO t VALUES (%s{cast}::{type_}, %s)"
        places = [(written, place) for place, written in enumerate(values)]
        connection.cursor().executemany(insert.encode(), places)
    return carried(url, "t").sort_by("place")


def arrow(connection: Connection, table: Table, slice_: Slice, **sizes: int) -> pa.Table:
    """A slice of a table as Arrow; ``sizes`` are those of ``read_rows``."""
    batches = read_rows(connection, "public", table.name, table.columns, slice_, **sizes)
    return pa.Table.from_batches(batches, schema_of(table.columns))


def concatenated_slice(table: Table, slice_: Slice) -> Slice:
    """The same slice, concatenated."""
    return slice_.model_copy(update={"first_page": 0, "end_page": table.pages, "concatenated": True})


def in_order(table: pa.Table) -> tuple[pa.Schema, list[str]]:
    """Schema and sorted rows, as text."""
    return table.schema, sorted(map(repr, printed(table)))


def printed(table: pa.Table) -> list[tuple[str | None, ...]]:
    """The rows as DuckDB prints them, because Python lacks some values."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("t", table)
        return connection.sql("SELECT COLUMNS(*)::VARCHAR FROM t").fetchall()
