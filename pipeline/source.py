"""The source: one exported snapshot, its catalogue, and tables streamed as Arrow.

Why rows are found by ``age(xmin)`` and not by a timestamp column: a timestamp says
when the application thinks it wrote, ``xmin`` which transaction did. A row is new to
us when its transaction was not finished at the previous batch's snapshot. ``age`` is
right across transaction-id wraparound; rows seen twice are harmless, because loading
compares contents.
"""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.csv as pv
from psycopg import sql
from psycopg.rows import class_row

from pipeline.duck import session
from pipeline.errors import SnapshotLost, SourceError
from pipeline.postgres import Connection, connect, identifiers, statement
from pipeline.streams import ahead
from pipeline.types import Frozen, arrow_type, duckdb_type

# Transaction ids are compared modulo 2^32; beyond half of it a watermark says nothing.
# The margin is for transactions that start while a batch is being read.
MAX_AGE = 2**31 - 2**20
_CHUNK_BYTES = 1 << 20
_FIRST_WITH_TID_RANGE_SCAN = 140000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Identity(Frozen):
    """Whose transaction ids a watermark counts in; a restored copy is another one."""

    system: str
    timeline: int
    database: str
    database_oid: int


class Snapshot(Frozen):
    """One moment of the source that every table of a batch is read at."""

    name: str
    xmin: int
    xmax: int
    taken_at: datetime
    system: str
    timeline: int
    database: str
    database_oid: int
    version: int

    @property
    def identity(self) -> Identity:
        """Whose moment it is."""
        return Identity.model_validate(self.model_dump(include=set(Identity.model_fields)))

    @property
    def reads_page_ranges(self) -> bool:
        """Whether a range of pages costs less than the whole table (Postgres 14)."""
        return self.version >= _FIRST_WITH_TID_RANGE_SCAN


class Column(Frozen):
    """A source column: name and type as ``format_type`` spells it."""

    name: str
    type: str


class Table(Frozen):
    """A source relation as its catalogue describes it; ``key`` is its primary key."""

    name: str
    column_names: tuple[str, ...]
    column_types: tuple[str, ...]
    key: tuple[str, ...]
    heaps: str
    has_xmin: bool
    has_pages: bool
    pages: int
    estimated_rows: int

    @property
    def columns(self) -> tuple[Column, ...]:
        """Names and types together."""
        pairs = zip(self.column_names, self.column_types, strict=True)
        return tuple(Column(name=name, type=type_) for name, type_ in pairs)


class Cursor(Frozen):
    """For relations without ``xmin``: a column that rises, reread with an overlap."""

    column: str
    overlap: str


class Slice(Frozen):
    """Which rows of a table to read; no bound means all of them.

    ``since`` is the lowest transaction that was open at the previous snapshot, or,
    with ``cursor``, ``since_time`` that snapshot's time. Pages run from
    ``first_page`` up to and without ``end_page``.
    """

    since: int | None = None
    cursor: Cursor | None = None
    since_time: datetime | None = None
    first_page: int | None = None
    end_page: int | None = None


@contextmanager
def snapshot(url: str) -> Iterator[tuple[Connection, Snapshot]]:
    """Hold one moment of the source open; others read it by its name."""
    with connect(url, "source") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction(), connection.cursor(row_factory=class_row(Snapshot)) as cursor:
            row = cursor.execute(statement("source_snapshot.sql")).fetchone()
            assert row is not None  # noqa: S101  a query without FROM has one row
            yield connection, row


@contextmanager
def adopt(url: str, name: str) -> Iterator[Connection]:
    """A connection of one's own that sees the snapshot of that name."""
    with connect(url, "source") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            try:
                connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(name))
            except (psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
                raise SnapshotLost(f"source: snapshot {name} has ended; start the run again") from None
            yield connection


def tables(connection: Connection, schema: str, names: Sequence[str]) -> dict[str, Table]:
    """Describe those of the named tables that the schema has, by name."""
    with connection.cursor(row_factory=class_row(Table)) as cursor:
        cursor.execute(statement("source_tables.sql"), {"schema": schema, "tables": list(names)})
        return {table.name: table for table in cursor}


def count(connection: Connection, schema: str, slices: dict[str, Slice]) -> dict[str, int]:
    """Rows that each table's slice holds, in one query."""
    if not slices:
        return {}
    parts = [
        sql.SQL("SELECT {}::text, count(*) FROM {} {}").format(
            name, sql.Identifier(schema, name), _where(slice_)
        )
        for name, slice_ in slices.items()
    ]
    with _reading(f"schema {schema}"):
        rows = connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
    return {str(name): int(str(rows)) for name, rows in rows}


def read(
    connection: Connection, schema: str, name: str, columns: Sequence[Column], slice_: Slice
) -> Generator[pa.RecordBatch, None, None]:
    """Stream a slice of a table as Arrow; memory does not grow with the table.

    Close it before the connection, where it may be left before its end.

    Raises SourceError where the role may not read the table, the schema has changed
    since it was described, or a value cannot be carried exactly.
    """
    query = sql.SQL("COPY (SELECT {} FROM {} {}) TO STDOUT (FORMAT csv)").format(
        identifiers([column.name for column in columns]),
        sql.Identifier(schema, name),
        _where(slice_),
    )
    with (
        _reading(name),
        connection.cursor() as cursor,
        cursor.copy(query) as copy,
        closing(ahead(_chunks(copy))) as chunks,
    ):
        for chunk in chunks:
            yield parse(name, columns, chunk)


def _chunks(copy: psycopg.Copy) -> Iterator[bytearray]:
    """Whole rows, many at a time; one by one they would cost more than all the rest."""
    chunk = bytearray()
    for row in copy:
        chunk += row
        if len(chunk) >= _CHUNK_BYTES:
            yield chunk
            chunk = bytearray()
    if chunk:
        yield chunk


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of the rows that :func:`read` yields."""
    return pa.schema([(column.name, arrow_type(column.type)) for column in columns])


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn what Postgres says of missing rights and columns into one line."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise SourceError(
            f"source: {error.diag.message_primary}; grant SELECT to the pipeline's role"
        ) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise SourceError(
            f"source: {what}: {error.diag.message_primary}; it changed while being read, run again"
        ) from None


def _where(slice_: Slice) -> sql.Composable:
    conditions: list[sql.Composable] = []
    if slice_.cursor is not None and slice_.since_time is not None:
        conditions.append(
            sql.SQL("({column} >= {time}::timestamptz - {overlap}::interval OR {column} IS NULL)").format(
                column=sql.Identifier(slice_.cursor.column),
                time=slice_.since_time.isoformat(),
                overlap=slice_.cursor.overlap,
            )
        )
    elif slice_.since is not None:
        # Do not narrow this by pg_visible_in_snapshot: it is wrong for savepoints.
        # The subselect keeps age() of the constant out of the per-row work.
        conditions.append(
            sql.SQL("age(xmin) BETWEEN 0 AND (SELECT age({}::xid))").format(str(slice_.since % 2**32))
        )
    if slice_.first_page is not None:
        conditions.append(sql.SQL("ctid >= {}::tid").format(f"({slice_.first_page},0)"))
    if slice_.end_page is not None:
        conditions.append(sql.SQL("ctid < {}::tid").format(f"({slice_.end_page},0)"))
    if not conditions:
        return sql.SQL("")
    return sql.SQL("WHERE ") + sql.SQL(" AND ").join(conditions)


def parse(table: str, columns: Sequence[Column], csv: bytes | bytearray) -> pa.RecordBatch:
    """Parse whole CSV rows of COPY into the columns' Arrow types, exactly."""
    names = [column.name for column in columns]
    types = {column.name: arrow_type(column.type) for column in columns}
    as_text = {name: pa.string() if pa.types.is_temporal(type_) else type_ for name, type_ in types.items()}
    if csv.startswith(_BYTE_ORDER_MARK):
        csv = _BYTE_ORDER_MARK + csv  # Arrow drops one; the one that is data must stay
    try:
        rows = pv.read_csv(
            pa.BufferReader(csv),  # type: ignore[arg-type]
            pv.ReadOptions(column_names=names, block_size=len(csv) + 1),
            pv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            pv.ConvertOptions(
                column_types=as_text,
                null_values=[""],
                true_values=["t"],
                false_values=["f"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        where, _, words = str(error).partition(": ")
        column = re.fullmatch(r"In CSV column #(\d+)", where)
        named = f"table {table}, column {names[int(column[1])]}" if column else f"table {table}"
        raise SourceError(f"source: {named}: a value cannot be carried exactly: {words or where}") from None
    arrays = [
        _temporal(table, column, rows[column.name], types[column.name])
        if pa.types.is_temporal(types[column.name])
        else rows[column.name]
        for column in columns
    ]
    return pa.RecordBatch.from_arrays([array.combine_chunks() for array in arrays], schema=schema_of(columns))


def _temporal(
    table: str, column: Column, text: pa.ChunkedArray[Any], type_: pa.DataType
) -> pa.ChunkedArray[Any]:
    """Parse dates and times; DuckDB knows what Arrow does not: infinity, BC, year 20223."""
    try:
        return text.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    readable = r"regexp_replace(value, '^(\S+)(.*) BC$', '\1 (BC)\2')"
    with session() as connection:
        rows = connection.from_arrow(pa.table({"value": text}))
        try:
            parsed = rows.project(f"CAST({readable} AS {duckdb_type(column.type)}) AS value").to_arrow_table()
        except duckdb.Error as error:
            raise SourceError(
                f"source: table {table}, column {column.name}: {str(error).splitlines()[0]}"
            ) from None
    values: pa.ChunkedArray[Any] = parsed["value"].cast(type_)
    return values
