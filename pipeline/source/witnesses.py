"""Witnesses: rows that prove that the source continues from the last batch.

A source that is restored from a copy of its disk keeps its identity, and counts its transaction ids on from
an earlier one. Restoring needs a restart. So a batch stores location, transaction and digest of some rows of
the newest transaction that it read. After a restart one of them must still exist; otherwise every table is
read in full.

The witness may have committed before a transaction with a lower id. So a batch also counts the commits of
the transactions up to the witness's, and after a restart there must be as many. A transaction after the
witness's left no row, so it can only have deleted some: tables that lost rows are read in full.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg import sql

from pipeline.columns import Column, Frozen
from pipeline.postgres import Connection, statement
from pipeline.source.cursors import expression

# Aggregates over rows of a relation: the age of the newest row, and for few rows its location too. The
# location is compared as text, as Postgres has no minimum of records, which is too slow for many rows.
NEWEST = sql.SQL("lpad((min(age(xmin)) FILTER (WHERE age(xmin) >= 0))::text, 10, '0')")
NEWEST_OF_FEW = sql.SQL(
    "min((lpad(age(xmin)::text, 10, '0') || ' ' || tableoid::text || ' ' || ctid::text) COLLATE \"C\")"
)
# The most rows that fit on a page of 8 kB.
_ROWS_PER_PAGE = 291
_WITNESSES_PER_TABLE = 8
# Counting a million commits takes about half a second; where there are more, a restart means to read all.
_MOST_COMMITS = 1_000_000


class Witness(Frozen):
    """A row as it was read: its heap and ctid, its transaction, and a digest of its columns."""

    table: str
    heap: str
    place: str
    xmin: str
    columns: tuple[str, ...]
    digest: str


class Commits(Frozen):
    """How many of the transactions ``lowest`` to ``highest`` a snapshot sees as committed."""

    lowest: int
    highest: int
    snapshot: str
    committed: int


class Continuity(Frozen):
    """Proof that a source continues from a batch: its WAL position, its start time, and witnesses.

    ``since`` is the lowest transaction that was open when the witnesses were read, ``next`` the next
    transaction at the batch. ``commits`` end with the transaction of the witnesses, and every transaction
    below them was finished at a batch that is older than the witnesses; None where no such batch is known.
    ``unproven`` are tables that the witnesses do not cover: rows that are gone from them may come back.
    """

    wal: int
    started_at: datetime
    since: int
    witnesses: tuple[Witness, ...]
    next: int | None = None
    commits: Commits | None = None
    unproven: tuple[str, ...] = ()


class Candidate(NamedTuple):
    """A relation, its readable columns, and its value of NEWEST or NEWEST_OF_FEW."""

    table: str
    columns: Sequence[Column]
    newest: str | None


def take(connection: Connection, schema: str, candidates: Sequence[Candidate]) -> tuple[Witness, ...]:
    """Rows of the newest transaction, from each relation that it wrote to."""
    newest = {each: each.newest.split(" ") for each in candidates if each.newest and each.columns}
    lowest_age = min((age for age, *_ in newest.values()), default=None)
    witnesses: list[Witness] = []
    for each, (age, *heap_and_place) in newest.items():
        if age == lowest_age:
            heap, place = heap_and_place or _location(connection, schema, each.table, int(age))
            witnesses += _same_transaction(connection, schema, each, heap, place)
    return tuple(witnesses)


def _location(connection: Connection, schema: str, table: str, age: int) -> tuple[str, str]:
    """The heap and the ctid of a row of that age."""
    query = sql.SQL("SELECT tableoid::text, ctid::text FROM {} WHERE age(xmin) = {} LIMIT 1")
    ((heap, place),) = connection.execute(query.format(sql.Identifier(schema, table), age)).fetchall()
    return str(heap), str(place)


def _same_transaction(
    connection: Connection, schema: str, candidate: Candidate, heap: str, place: str
) -> Sequence[Witness]:
    """Rows on the page of a row that the same transaction wrote."""
    page = place.strip("()").partition(",")[0]
    places = [f"({page},{number})" for number in range(1, _ROWS_PER_PAGE + 1)]
    page_rows = _rows_at(connection, schema, candidate.table, candidate.columns, heap, places)
    xmin = next(witness.xmin for witness in page_rows if witness.place == place)
    return [witness for witness in page_rows if witness.xmin == xmin][-_WITNESSES_PER_TABLE:]


def _rows_at(
    connection: Connection,
    schema: str,
    table: str,
    columns: Sequence[Column],
    heap: str,
    places: Sequence[str],
) -> list[Witness]:
    """The rows at some places (ctids); a place may be empty."""
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


def count_commits(
    connection: Connection, witnesses: Sequence[Witness], next_id: int, last: Continuity, since: int
) -> Commits | None:
    """The commits up to the transaction of the witnesses; ``next_id`` is the next one at the snapshot.

    They begin with ``since``, the lowest transaction that was open at the last batch, where the witnesses are
    newer than that batch; and where the last ones began if the witnesses are still of the same transaction.
    """
    if not witnesses or last.next is None:
        return None
    highest = next_id - (next_id - int(witnesses[0].xmin)) % 2**32
    if highest >= last.next:
        lowest = since
    elif last.commits and last.commits.highest == highest:
        lowest = last.commits.lowest
    else:
        return None
    return _commits(connection, lowest, highest) if highest - lowest < _MOST_COMMITS else None


def _commits(connection: Connection, lowest: int, highest: int, snapshot: str | None = None) -> Commits:
    names = {"lowest": lowest, "highest": highest, "snapshot": snapshot}
    ((seen, committed),) = connection.execute(statement("source/commits.sql"), names).fetchall()
    return Commits(lowest=lowest, highest=highest, snapshot=seen, committed=committed)


def prove(
    connection: Connection, schema: str, last: Continuity, readable: Mapping[str, Sequence[Column]]
) -> bool:
    """Whether a witness of the last batch still exists and no transaction before it is undone.

    ``readable`` has the columns of the relations with xmin.
    """
    if last.commits is None or not _any_exists(connection, schema, last.witnesses, readable):
        return False
    before = last.commits
    return _commits(connection, before.lowest, before.highest, before.snapshot) == before


def _any_exists(
    connection: Connection,
    schema: str,
    witnesses: Sequence[Witness],
    readable: Mapping[str, Sequence[Column]],
) -> bool:
    for witness in witnesses:
        by_name = {column.name: column for column in readable.get(witness.table, ())}
        if by_name.keys() >= set(witness.columns):
            columns = [by_name[name] for name in witness.columns]
            if witness in _rows_at(connection, schema, witness.table, columns, witness.heap, [witness.place]):
                return True
    return False
