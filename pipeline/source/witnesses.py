"""Witnesses: rows that prove that the source continues from the last batch.

A source that is restored from a copy of its disk keeps its identity, and counts its transaction ids on from
an earlier one. Restoring needs a restart. So a batch stores location, transaction and digest of some rows of
the newest transaction that it read. After a restart one of them must still exist; otherwise every table is
read in full.

The witness may have committed before a transaction with a lower id. So a batch also counts the commits of
the transactions up to the witness's, and after a restart these must be the same. A transaction after the
witness's left no row, so it can only have deleted some: tables that lost rows are read in full.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg import sql

from pipeline.columns import Column, Frozen
from pipeline.postgres import Connection, statement
from pipeline.source.commits import COMMITTED
from pipeline.source.cursors import expression
from pipeline.source.table_names import identifier

# Aggregates over rows of a relation: the age of the newest row, and for few rows its location too. The
# location is compared as text, as Postgres has no minimum of records, which is too slow for many rows.
NEWEST = sql.SQL("lpad((min(age(xmin)) FILTER (WHERE age(xmin) >= 0))::text, 10, '0')")
NEWEST_OF_FEW = sql.SQL(
    "min((lpad(age(xmin)::text, 10, '0') || ' ' || tableoid::text || ' ' || ctid::text) COLLATE \"C\")"
)
# The most rows that fit on a page of 32 kB, the largest; a page of 8 kB has room for 291.
_ROWS_PER_PAGE = 1_169
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
    """A digest of those transactions from ``lowest`` to ``highest`` that a snapshot sees as committed."""

    lowest: int
    highest: int
    snapshot: str
    digest: str


class Continuity(Frozen):
    """Proof that a source continues from a batch: its WAL position, its start time, and witnesses.

    ``statistics_since`` changes when the server recovers from a crash. ``since`` is the lowest transaction
    that was open when the witnesses were read, ``next`` the next transaction at the batch. ``commits`` end
    with the transaction of the witnesses, and every transaction below them was finished at a batch that is
    older than the witnesses; None where no such batch is known. ``has_commit_times``: the digests of the
    witnesses contain the times of their commits. ``unproven`` are tables that the witnesses do not cover:
    rows that are gone from them may come back.
    """

    wal: int
    started_at: datetime
    since: int
    witnesses: tuple[Witness, ...]
    statistics_since: datetime | None = None
    next: int | None = None
    commits: Commits | None = None
    has_commit_times: bool = False
    unproven: tuple[str, ...] = ()


class Candidate(NamedTuple):
    """A relation, its readable columns, and its value of NEWEST or NEWEST_OF_FEW."""

    table: str
    columns: Sequence[Column]
    newest: str | None


def take(
    connection: Connection, schema: str, candidates: Sequence[Candidate], *, has_commit_times: bool
) -> tuple[Witness, ...]:
    """Rows of the newest transaction, from each relation that it wrote to.

    ``has_commit_times``: the server keeps commit times.
    """
    newest = {each: each.newest.split(" ") for each in candidates if each.newest and each.columns}
    lowest_age = min((age for age, *_ in newest.values()), default=None)
    witnesses: list[Witness] = []
    for each, (age, *heap_and_place) in newest.items():
        if age == lowest_age:
            heap, place = heap_and_place or _location(connection, schema, each.table, int(age))
            witnesses += _same_transaction(connection, schema, each, heap, place, has_commit_times)
    return tuple(witnesses)


def _location(connection: Connection, schema: str, table: str, age: int) -> tuple[str, str]:
    """The heap and the ctid of a row of that age."""
    query = sql.SQL("SELECT tableoid::text, ctid::text FROM {} WHERE age(xmin) = {} LIMIT 1")
    ((heap, place),) = connection.execute(query.format(identifier(schema, table), age)).fetchall()
    return str(heap), str(place)


def _same_transaction(
    connection: Connection, schema: str, candidate: Candidate, heap: str, place: str, has_commit_times: bool
) -> Sequence[Witness]:
    """Rows on the page of a row that the same transaction wrote."""
    page = place.strip("()").partition(",")[0]
    places = [f"({page},{number})" for number in range(1, _ROWS_PER_PAGE + 1)]
    page_rows = _rows_at(
        connection, schema, candidate.table, candidate.columns, heap, places, has_commit_times
    )
    xmin = next(witness.xmin for witness in page_rows if witness.place == place)
    return [witness for witness in page_rows if witness.xmin == xmin][-_WITNESSES_PER_TABLE:]


def _rows_at(
    connection: Connection,
    schema: str,
    table: str,
    columns: Sequence[Column],
    heap: str,
    places: Sequence[str],
    has_commit_times: bool,
) -> list[Witness]:
    """The rows at some places (ctids); a place may be empty."""
    parts = map(expression, [*columns, COMMITTED] if has_commit_times else columns)
    query = sql.SQL(
        "SELECT ctid::text, xmin::text, hashtextextended(row({})::text, 0)::text FROM {}"
        " WHERE tableoid = {}::oid AND ctid = ANY({}::tid[])"
    ).format(
        sql.SQL(", ").join(parts), identifier(schema, table), sql.Literal(heap), sql.Literal(list(places))
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
    # An old frozen row keeps its xmin, and looks like a new one 2^32 transactions later.
    if not witnesses or last.next is None or next_id >= 2**32:
        return None
    highest = next_id - (next_id - int(witnesses[0].xmin)) % 2**32
    if highest >= last.next:
        lowest = since
    elif last.commits and last.commits.highest == highest:
        lowest = last.commits.lowest
    else:
        return None
    return _commits(connection, lowest, highest) if highest - lowest < _MOST_COMMITS else None


def _commits(
    connection: Connection, lowest: int, highest: int, snapshot: str | None = None
) -> Commits | None:
    """The commits of a range; None where the server no longer knows all of them."""
    names = {"lowest": lowest, "highest": highest, "snapshot": snapshot}
    ((seen, digest),) = connection.execute(statement("source/commits.sql"), names).fetchall()
    return Commits(lowest=lowest, highest=highest, snapshot=seen, digest=digest) if digest else None


def prove(
    connection: Connection,
    schema: str,
    last: Continuity,
    readable: Mapping[str, Sequence[Column]],
    *,
    has_commit_times: bool,
) -> bool:
    """Whether a witness of the last batch still exists and no transaction before it is undone.

    ``readable`` has the columns of the relations with xmin. ``has_commit_times``: the server keeps them.
    """
    if last.commits is None or last.has_commit_times > has_commit_times:
        return False
    if not _any_exists(connection, schema, last, readable):
        return False
    before = last.commits
    return _commits(connection, before.lowest, before.highest, before.snapshot) == before


def _any_exists(
    connection: Connection, schema: str, last: Continuity, readable: Mapping[str, Sequence[Column]]
) -> bool:
    for witness in last.witnesses:
        by_name = {column.name: column for column in readable.get(witness.table, ())}
        if by_name.keys() >= set(witness.columns):
            columns = [by_name[name] for name in witness.columns]
            rows = _rows_at(
                connection, schema, witness.table, columns, witness.heap, [witness.place],
                last.has_commit_times,
            )  # fmt: skip
            if witness in rows:
                return True
    return False
