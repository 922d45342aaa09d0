"""The source: one exported snapshot, its catalogue, and tables streamed as Arrow.

Why rows are found by ``age(xmin)`` and not by a timestamp column: a timestamp says
when the application thinks it wrote, ``xmin`` which transaction did. A row is new to
us when its transaction was not finished at the previous batch's snapshot. ``age`` is
right across transaction-id wraparound; rows seen twice are harmless, because loading
compares contents.
"""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.csv as pv
from psycopg import sql
from psycopg.rows import class_row, dict_row

from pipeline import cursors, witnesses
from pipeline.cursors import Cursor as Cursor  # noqa: PLC0414  a part of what this module describes
from pipeline.definition import Definition
from pipeline.duck import session
from pipeline.errors import PipelineError, SnapshotLost, SourceError
from pipeline.messages import message, of_arrow
from pipeline.personal import HashKey
from pipeline.postgres import Connection, once, statement, template, transaction
from pipeline.streams import ahead
from pipeline.types import Column as Column  # noqa: PLC0414  likewise
from pipeline.types import Frozen, arrow_type, duckdb_type

# Transaction ids are compared modulo 2^32; beyond half of it a watermark says nothing.
# The margin is for transactions that start while a batch is being read.
MAX_AGE = 2**31 - 2**20
_CHUNK_BYTES = 1 << 20
# At 8 kB each, as many bytes as a chunk.
_PAGES_A_PACK = 128
# Milliseconds that a reader waits for somebody who waits in turn for the batch to be read.
_PATIENCE = 3_000
# What Postgres says of text that has no UTF-8, as a database in SQL_ASCII may hold it.
_UNREADABLE_TEXT = (psycopg.errors.CharacterNotInRepertoire, psycopg.errors.UntranslatableCharacter)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Identity(Frozen):
    """Whose transaction ids a watermark counts in; a restored copy is another one."""

    system: str
    timeline: int
    database: str
    database_oid: int

    def is_same_database(self, other: Identity) -> bool:
        """Whether both are one database by name, be it promoted or created again meanwhile."""
        return (self.system, self.database) == (other.system, other.database)

    def __str__(self) -> str:
        return f"database {self.database} of system {self.system}"


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
    wal: int
    standby: bool
    keeps_commit_times: bool = False
    started_at: datetime

    @property
    def identity(self) -> Identity:
        """Whose moment it is."""
        return Identity.model_validate(self.model_dump(include=set(Identity.model_fields)))


class Table(Frozen):
    """A source relation as its catalogue describes it; ``key`` is its primary key.

    ``columns`` are those that the role may read, ``unreadable`` the others. ``heaps`` are the
    tables that its rows lie in. ``has_xmin`` where each of them says which transaction wrote a row,
    ``has_pages`` where a range of its pages costs less than all of it, ``self_contained`` where it
    has neither values apart from its pages nor rows of tables that inherit from it. ``bytes`` are
    those of its partitions and heirs, too; None where they are not known, as of a view.
    """

    name: str
    columns: tuple[Column, ...]
    unreadable: tuple[Column, ...]
    key: tuple[str, ...]
    heaps: str
    definition: Definition
    has_xmin: bool
    may_read_xmin: bool
    has_pages: bool
    self_contained: bool
    pages: int
    bytes: int | None
    estimated_rows: int

    @property
    def tracked(self) -> bool:
        """Whether changed rows are told by the transactions that wrote them."""
        return self.has_xmin and self.may_read_xmin

    @property
    def packs(self) -> bool:
        """Whether the server can put the rows of many pages together."""
        return self.has_pages and self.self_contained

    def column(self, name: str) -> Column | None:
        """The readable column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


class Slice(Frozen):
    """Which rows of a table to read; no bound means all of them.

    ``since`` is the lowest transaction that was open at the previous snapshot, or, with ``cursor``,
    ``reached`` the highest value of its column there. Pages run from ``first_page`` up to and without
    ``end_page``; with ``packed`` both are given, and rows come many at a time.
    """

    since: int | None = None
    cursor: Cursor | None = None
    reached: str | None = None
    first_page: int | None = None
    end_page: int | None = None
    packed: bool = False


class Survey(Frozen):
    """What is known of a slice before it is read.

    How many rows it has, how old the newest is (witnesses.NEWEST), and its cursor's highest value;
    ``total`` is how many rows the table has, where no cursor reads it.
    """

    rows: int
    newest: str | None = None
    reached: str | None = None
    total: int | None = None


@contextmanager
def snapshot(url: str, key: HashKey | None = None) -> Iterator[tuple[Connection, Snapshot]]:
    """Hold one moment of the source open; others read it by its name, and hash with the same key."""
    with (
        transaction(url, "source", reading=True) as connection,
        connection.cursor(row_factory=class_row(Snapshot)) as cursor,
    ):
        row = cursor.execute(statement("source_snapshot.sql")).fetchone()
        assert row is not None  # noqa: S101  a query without FROM has one row
        if key:
            key.put(connection)
        yield connection, row


def identify(url: str) -> Identity | None:
    """Which source answers there; None where none does at once."""
    with (
        suppress(PipelineError, psycopg.Error),
        once(url, "source") as connection,
        connection.cursor(row_factory=class_row(Snapshot)) as cursor,
    ):
        row = cursor.execute(statement("source_snapshot.sql")).fetchone()
        return row.identity if row else None
    return None


@contextmanager
def adopt(url: str, name: str, key: HashKey | None = None) -> Iterator[Connection]:
    """A connection of one's own that sees the snapshot of that name, and gives way to who alters tables."""
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(transaction(url, "source", reading=True, snapshot=name))
        except (psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
            raise SnapshotLost(f"source: snapshot {name} has ended; start the run again") from None
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_PATIENCE))
        if key:
            key.put(connection)
        yield connection


def tables(connection: Connection, schema: str, names: Sequence[str]) -> dict[str, Table]:
    """Describe those of the named tables that the schema has, by name.

    Until the transaction ends nobody can empty or rewrite them, which no snapshot shields from
    (ALTER TABLE, TRUNCATE, VACUUM FULL). Raises SourceError where somebody was faster.
    """
    with connection.cursor(row_factory=dict_row) as cursor, _reading(f"schema {schema}"):
        cursor.execute(statement("source_tables.sql"), {"schema": schema, "tables": list(names)})
        described = {row.pop("relation"): row for row in cursor}
        cursor.execute(statement("source_definitions.sql"), {"relations": list(described)})
        for row in cursor:
            described[row["relation"]] |= {"heaps": row.pop("heaps"), "definition": row}
    found = {row["name"]: Table.model_validate(row) for row in described.values()}
    _hold(connection, schema, found)
    return found


def relations(connection: Connection, schema: str, names: Sequence[str]) -> list[str]:
    """Those of the names that are a relation's of the schema."""
    rows = connection.execute(
        "SELECT c.relname::text FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
        " WHERE n.nspname = %s AND c.relname = ANY(%s) AND c.relkind IN ('r', 'p', 'm', 'v', 'f') ORDER BY 1",
        (schema, list(names)),
    ).fetchall()
    return [str(name) for (name,) in rows]


def _hold(connection: Connection, schema: str, described: Mapping[str, Table]) -> None:
    """Lock tables as reading them does; a SELECT locks what LOCK TABLE does not take, too."""
    queries = [sql.SQL("SELECT FROM {} LIMIT 0").format(sql.Identifier(schema, name)) for name in described]
    with _reading(f"schema {schema}"):
        connection.execute(sql.SQL("; ").join(queries))
    heaps = {int(heap): name for name, table in described.items() for heap in table.heaps.split(",") if heap}
    if rewritten := connection.execute(statement("source_rewritten.sql"), {"heaps": list(heaps)}).fetchone():
        name = heaps[int(str(rewritten[0]))]
        raise SourceError(f"source: table {name} was emptied or rewritten just now; run again")


def survey(connection: Connection, schema: str, slices: Sequence[tuple[Table, Slice]]) -> dict[str, Survey]:
    """What there is to know of each table's slice before it is read, in one query."""
    if not slices:
        return {}
    parts = [_surveyed(sql.Identifier(schema, table.name), table, slice_) for table, slice_ in slices]
    with _reading(f"schema {schema}"), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
    return {row.pop("name"): Survey.model_validate(row) for row in rows}


def _surveyed(relation: sql.Identifier, table: Table, slice_: Slice) -> sql.Composed:
    """One scan counts all rows and those of the slice; a cursor may find its rows without one."""
    query = """
        SELECT {name}::text AS name, count(*) FILTER (WHERE {where}) AS rows, {newest} AS newest,
            {reached} AS reached, count(*) AS total
        FROM {relation}
    """
    if slice_.cursor is not None:
        query = """
        SELECT {name}::text AS name, count(*) AS rows, {newest} AS newest, {reached} AS reached,
            NULL::bigint AS total
        FROM {relation} WHERE {where}
    """
    return template(query).format(
        name=table.name,
        newest=_newest(table, slice_),
        reached=_reached(relation, table.columns, slice_),
        relation=relation,
        where=_where(table.columns, slice_),
    )


def _newest(table: Table, slice_: Slice) -> sql.Composable:
    if not table.tracked:
        return sql.SQL("NULL::text")
    if slice_.since is None:
        return witnesses.NEWEST
    return sql.SQL("{} FILTER (WHERE {})").format(witnesses.NEWEST_OF_FEW, _where(table.columns, slice_))


def _reached(table: sql.Identifier, columns: Sequence[Column], slice_: Slice) -> sql.Composable:
    if slice_.cursor is None:
        return sql.SQL("NULL::text")
    return cursors.highest(table, _named(columns, slice_.cursor.column), _where(columns, slice_))


def read(
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
            _reading(name),
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
                connection.execute(query.format(cursors.expression(column), table, _where(columns, slice_)))
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
        _values_of(columns), table, _where(columns, slice_)
    )


def _packed(table: sql.Identifier, columns: Sequence[Column], slice_: Slice) -> sql.Composed:
    """A COPY that sends the rows of many pages at once.

    What a client does for each message of COPY takes longer than all that it then does with the row.
    """
    packs = statement("read_packs.sql").format(
        table=table,
        columns=_values_of(columns),
        news=_news(columns, slice_),
        first_page=sql.Literal(slice_.first_page),
        end_page=sql.Literal(slice_.end_page),
        pages=sql.Literal(_PAGES_A_PACK),
    )
    return sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(packs)


def _values_of(columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL(", ").join(map(cursors.expression, columns))


def _named(columns: Sequence[Column], name: str) -> Column:
    return next(column for column in columns if column.name == name)


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


def _where(columns: Sequence[Column], slice_: Slice) -> sql.Composed:
    return sql.SQL(" AND ").join([_news(columns, slice_), *_pages(slice_)])


def _news(columns: Sequence[Column], slice_: Slice) -> sql.Composable:
    """What tells the rows that are new; always something, were it that all are."""
    if slice_.cursor is not None and slice_.reached is not None:
        return cursors.condition(slice_.cursor, _named(columns, slice_.cursor.column), slice_.reached)
    if slice_.since is not None:
        # Do not narrow this by pg_visible_in_snapshot: it is wrong for savepoints.
        # The subselect keeps age() of the constant out of the per-row work.
        age = sql.SQL("age(xmin) BETWEEN 0 AND (SELECT age({}::xid))")
        return age.format(str(slice_.since % 2**32))
    return sql.SQL("TRUE")


def _pages(slice_: Slice) -> list[sql.Composable]:
    bounds = [("ctid >= {}::tid", slice_.first_page), ("ctid < {}::tid", slice_.end_page)]
    return [template(bound).format(f"({page},0)") for bound, page in bounds if page is not None]


def parse(table: str, columns: Sequence[Column], csv: bytes | bytearray, *, packed: bool) -> pa.RecordBatch:
    """Parse whole rows as COPY or, ``packed``, as read_packs.sql prints them, exactly."""
    types = [arrow_type(column.type) for column in columns]
    if not packed and csv.startswith(_BYTE_ORDER_MARK):
        csv = _BYTE_ORDER_MARK + csv  # Arrow drops one; the one that is data must stay
    try:
        values = _values(csv, types, packed=packed)
    except pa.ArrowInvalid:
        values = _with_odd_times(table, columns, csv, packed=packed)
    return pa.RecordBatch.from_arrays([value.combine_chunks() for value in values], schema=schema_of(columns))


def _values(
    csv: bytes | bytearray, types: Sequence[pa.DataType], *, packed: bool
) -> list[pa.ChunkedArray[Any]]:
    """The columns' values; a pack's rows begin and end with a bracket, each a column more."""
    names = [str(number) for number in range(len(types))]
    rows = pv.read_csv(
        pa.BufferReader(csv),  # type: ignore[arg-type]
        pv.ReadOptions(column_names=["(", *names, ")"] if packed else names, block_size=len(csv) + 1),
        pv.ParseOptions(
            newlines_in_values=True, ignore_empty_lines=False, escape_char="\\" if packed else False
        ),
        pv.ConvertOptions(
            include_columns=names,
            column_types=dict(zip(names, types, strict=True)),
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return rows.columns


def _with_odd_times(
    table: str, columns: Sequence[Column], csv: bytes | bytearray, *, packed: bool
) -> list[pa.ChunkedArray[Any]]:
    """The same where dates and times may be such that Arrow has no words for."""
    types = [arrow_type(column.type) for column in columns]
    as_text = [pa.string() if pa.types.is_temporal(type_) else type_ for type_ in types]
    try:
        values = _values(csv, as_text, packed=packed)
    except pa.ArrowInvalid as error:
        where, _, words = str(error).partition(": ")
        found = re.fullmatch(r"In CSV column #(\d+)", where)
        column = f", column {columns[int(found[1]) - packed].name}" if found else ""
        raise SourceError(
            f"source: table {table}{column}: a value cannot be carried exactly: {of_arrow(words or where)}"
        ) from None
    return [
        _temporal(table, column, value, type_) if pa.types.is_temporal(type_) else value
        for column, value, type_ in zip(columns, values, types, strict=True)
    ]


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
            raise SourceError(f"source: table {table}, column {column.name}: {message(error)}") from None
    values: pa.ChunkedArray[Any] = parsed["value"].cast(type_)
    return values
