"""Witnesses: rows that show whether the source still goes on from where the last batch saw it.

A source that is put back from a copy of its disk keeps its identity and its transaction ids, and counts on
from an earlier one. It had to be stopped for that. So a batch keeps the place, the transaction and a digest
of rows of the newest transaction that it has read, and where the server was started since, one of them has
to be there still. Where none is, they may as well have been changed; then too everything is read again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg import sql

from pipeline.columns import Column, Frozen
from pipeline.postgres import Connection
from pipeline.source.cursors import expression

# Aggregates over rows of one relation: age of the newest, and of few rows also where it lies, which as text
# (Postgres has no minimum of records) would take longer for many than all the rest.
NEWEST = sql.SQL("lpad((min(age(xmin)) FILTER (WHERE age(xmin) >= 0))::text, 10, '0')")
NEWEST_OF_FEW = sql.SQL(
    "min((lpad(age(xmin)::text, 10, '0') || ' ' || tableoid::text || ' ' || ctid::text) COLLATE \"C\")"
)
# More do not fit on a page of 8 kB.
_ROWS_A_PAGE = 291
_A_TABLE = 8


class Witness(Frozen):
    """A row as it was read: where it lies, which transaction wrote it, and a digest of its columns."""

    table: str
    heap: str
    place: str
    xmin: str
    columns: tuple[str, ...]
    digest: str


class Continuity(Frozen):
    """What shows that a source goes on from a batch: its WAL position, when it was started, and witnesses.

    ``since`` is the lowest transaction that was open when the witnesses were read.
    """

    wal: int
    started_at: datetime
    since: int
    witnesses: tuple[Witness, ...]


class Candidate(NamedTuple):
    """A relation with columns to read, and what NEWEST or NEWEST_OF_FEW say of it."""

    table: str
    columns: Sequence[Column]
    newest: str | None


def take(connection: Connection, schema: str, candidates: Sequence[Candidate]) -> tuple[Witness, ...]:
    """Some rows of the newest transaction of all, of each relation that it wrote to."""
    known = {each: each.newest.split(" ") for each in candidates if each.newest and each.columns}
    youngest = min((age for age, *_ in known.values()), default=None)
    found: list[Witness] = []
    for each, (age, *where) in known.items():
        if age == youngest:
            heap, place = where or _find(connection, schema, each.table, int(age))
            found += _beside(connection, schema, each, heap, place)
    return tuple(found)


def _find(connection: Connection, schema: str, table: str, age: int) -> tuple[str, str]:
    """Where a row of that age lies."""
    query = sql.SQL("SELECT tableoid::text, ctid::text FROM {} WHERE age(xmin) = {} LIMIT 1")
    ((heap, place),) = connection.execute(query.format(sql.Identifier(schema, table), age)).fetchall()
    return str(heap), str(place)


def _beside(
    connection: Connection, schema: str, candidate: Candidate, heap: str, place: str
) -> Sequence[Witness]:
    """Rows of the same transaction on the page of a row."""
    page = place.strip("()").partition(",")[0]
    places = [f"({page},{number})" for number in range(1, _ROWS_A_PAGE + 1)]
    found = _look(connection, schema, candidate.table, candidate.columns, heap, places)
    xmin = next(witness.xmin for witness in found if witness.place == place)
    return [witness for witness in found if witness.xmin == xmin][-_A_TABLE:]


def _look(
    connection: Connection,
    schema: str,
    table: str,
    columns: Sequence[Column],
    heap: str,
    places: Sequence[str],
) -> list[Witness]:
    """The rows at some places, so far as there are any."""
    query = sql.SQL(
        "SELECT ctid::text, xmin::text, hashtextextended(row({})::text, 0)::text FROM {}"
        " WHERE tableoid = {}::oid AND ctid = ANY({}::tid[])"
    ).format(
        sql.SQL(", ").join(map(expression, columns)),
        sql.Identifier(schema, table),
        sql.Literal(heap),
        sql.Literal(list(places)),
    )
    return [
        Witness(
            table=table,
            heap=heap,
            place=str(place),
            xmin=str(xmin),
            columns=tuple(column.name for column in columns),
            digest=str(digest),
        )
        for place, xmin, digest in connection.execute(query).fetchall()
    ]


def any_holds(
    connection: Connection, schema: str, witnesses: Sequence[Witness], known: Mapping[str, Sequence[Column]]
) -> bool:
    """Whether one of the rows is there still; ``known`` are the readable columns of relations with xmin."""
    for witness in witnesses:
        columns = {column.name: column for column in known.get(witness.table, ())}
        if columns.keys() >= set(witness.columns):
            then = [columns[name] for name in witness.columns]
            if witness in _look(connection, schema, witness.table, then, witness.heap, [witness.place]):
                return True
    return False
