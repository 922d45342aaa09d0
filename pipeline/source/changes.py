"""Select the changed rows of a table, and count them.

``age(xmin)`` finds them, not a timestamp column: an application sets a timestamp, or does not, while Postgres
sets ``xmin`` to the transaction that wrote the row. A row has changed when that transaction had not ended
when the source was last read or found unchanged (the watermark's source_xmin). ``age`` is correct across
transaction-id wraparound. Reading a row twice is harmless, because loading compares contents.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql
from psycopg.rows import dict_row

from pipeline.columns import Column, Frozen
from pipeline.postgres import Connection, template
from pipeline.source import cursors, witnesses
from pipeline.source.catalogue import Table, source_errors
from pipeline.source.cursors import Cursor
from pipeline.source.table_names import identifier

# Transaction ids are compared modulo 2^32, so a watermark older than half of that is useless.
# The margin is for transactions that start while a batch is read.
MAX_AGE = 2**31 - 2**20


class Slice(Frozen):
    """The rows of a table to read; without bounds all of them.

    ``since``: the lowest transaction that was open when the source was last read or found unchanged.
    ``cursor`` with ``reached``: the cursor and the highest value of its column at that snapshot.
    ``first_page`` (inclusive), ``end_page`` (exclusive): a range of pages.
    ``concatenated``: the server sends the rows of many pages as one text; needs both page bounds.
    """

    since: int | None = None
    cursor: Cursor | None = None
    reached: str | None = None
    first_page: int | None = None
    end_page: int | None = None
    concatenated: bool = False


class Probe(Frozen):
    """Facts about a slice before it is read.

    ``rows`` in the slice, ``newest`` transaction's age (witnesses.NEWEST), highest value that its cursor
    ``reached``, and ``total`` rows of the table (None for a slice with a cursor).
    """

    rows: int
    newest: str | None = None
    reached: str | None = None
    total: int | None = None


def probe(connection: Connection, schema: str, slices: Sequence[tuple[Table, Slice]]) -> dict[str, Probe]:
    """Probe the slices of many tables in one query; the results are by table name."""
    if not slices:
        return {}
    queries = [_probe_query(identifier(schema, table.name), table, slice_) for table, slice_ in slices]
    with source_errors("its tables"), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.SQL(" UNION ALL ").join(queries)).fetchall()
    return {row.pop("name"): Probe.model_validate(row) for row in rows}


def _probe_query(relation: sql.Identifier, table: Table, slice_: Slice) -> sql.Composed:
    """A query that counts all rows and those of the slice in one scan; with a cursor an index may do."""
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
        where=slice_condition(table.columns, slice_),
    )


def _newest(table: Table, slice_: Slice) -> sql.Composable:
    if not table.tracked:
        return sql.SQL("NULL::text")
    if slice_.since is None:
        return witnesses.NEWEST
    return sql.SQL("{} FILTER (WHERE {})").format(
        witnesses.NEWEST_OF_FEW, slice_condition(table.columns, slice_)
    )


def _reached(table: sql.Identifier, columns: Sequence[Column], slice_: Slice) -> sql.Composable:
    if slice_.cursor is None:
        return sql.SQL("NULL::text")
    return cursors.highest(
        table, column_named(columns, slice_.cursor.column), slice_condition(columns, slice_)
    )


def column_named(columns: Sequence[Column], name: str) -> Column:
    """The column of that name."""
    return next(column for column in columns if column.name == name)


def slice_condition(columns: Sequence[Column], slice_: Slice) -> sql.Composed:
    """The predicate of a slice: changed rows within its pages."""
    return sql.SQL(" AND ").join([changed_rows_predicate(columns, slice_), *_page_bounds(slice_)])


def changed_rows_predicate(columns: Sequence[Column], slice_: Slice) -> sql.Composable:
    """The predicate of changed rows; TRUE where all rows are read."""
    if slice_.cursor is not None and slice_.reached is not None:
        return cursors.condition(slice_.cursor, column_named(columns, slice_.cursor.column), slice_.reached)
    if slice_.since is not None:
        # Do not narrow this by pg_visible_in_snapshot: it is wrong for savepoints.
        # The subselect computes the age of the constant once, not once per row. Most rows are old and fail
        # the first comparison; BETWEEN would compute the age of each twice.
        age = sql.SQL("age(xmin) <= (SELECT age({}::xid)) AND age(xmin) >= 0")
        return age.format(str(slice_.since % 2**32))
    return sql.SQL("TRUE")


def _page_bounds(slice_: Slice) -> list[sql.Composable]:
    bounds = [("ctid >= {}::tid", slice_.first_page), ("ctid < {}::tid", slice_.end_page)]
    return [template(bound).format(f"({page},0)") for bound, page in bounds if page is not None]
