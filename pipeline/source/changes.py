"""Which rows of a table to read, and how many those are.

Why rows are found by ``age(xmin)`` and not by a timestamp column: a timestamp says
when the application thinks it wrote, ``xmin`` which transaction did. A row is new to
us when its transaction was not finished at the previous batch's snapshot. ``age`` is
right across transaction-id wraparound; rows seen twice are harmless, because loading
compares contents.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql
from psycopg.rows import dict_row

from pipeline.columns import Column, Frozen
from pipeline.postgres import Connection, template
from pipeline.source import cursors, witnesses
from pipeline.source.catalogue import Table, in_words
from pipeline.source.cursors import Cursor

# Transaction ids are compared modulo 2^32; beyond half of it a watermark says nothing.
# The margin is for transactions that start while a batch is being read.
MAX_AGE = 2**31 - 2**20


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


class Probe(Frozen):
    """What is known of a slice before it is read.

    How many rows it has, how old the newest is (witnesses.NEWEST), and its cursor's highest value;
    ``total`` is how many rows the table has, where no cursor reads it.
    """

    rows: int
    newest: str | None = None
    reached: str | None = None
    total: int | None = None


def probe(connection: Connection, schema: str, slices: Sequence[tuple[Table, Slice]]) -> dict[str, Probe]:
    """What there is to know of each table's slice before it is read, in one query."""
    if not slices:
        return {}
    parts = [_surveyed(sql.Identifier(schema, table.name), table, slice_) for table, slice_ in slices]
    with in_words(f"schema {schema}"), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
    return {row.pop("name"): Probe.model_validate(row) for row in rows}


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
    """The WHERE of a slice."""
    return sql.SQL(" AND ").join([changed_rows(columns, slice_), *_pages(slice_)])


def changed_rows(columns: Sequence[Column], slice_: Slice) -> sql.Composable:
    """What tells the rows that are new; always something, were it that all are."""
    if slice_.cursor is not None and slice_.reached is not None:
        return cursors.condition(slice_.cursor, column_named(columns, slice_.cursor.column), slice_.reached)
    if slice_.since is not None:
        # Do not narrow this by pg_visible_in_snapshot: it is wrong for savepoints.
        # The subselect keeps age() of the constant out of the per-row work.
        age = sql.SQL("age(xmin) BETWEEN 0 AND (SELECT age({}::xid))")
        return age.format(str(slice_.since % 2**32))
    return sql.SQL("TRUE")


def _pages(slice_: Slice) -> list[sql.Composable]:
    bounds = [("ctid >= {}::tid", slice_.first_page), ("ctid < {}::tid", slice_.end_page)]
    return [template(bound).format(f"({page},0)") for bound, page in bounds if page is not None]
