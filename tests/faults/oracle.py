"""What the warehouse has to hold: plain SQL on the source, batch for batch, and nothing of the pipeline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from tests.faults.shops import Query, Shop

Rows = dict[str, str]
State = dict[str, Rows]
# A version: when it was recorded, whether it says that the row is gone, key, and contents unless gone.
Version = tuple[datetime, bool, str, str | None]
# A version of a dimension's row: since and until when, whether it was deleted then, key, contents.
Member = tuple[datetime, datetime | None, bool, str, str]


class Broken(AssertionError):
    """A promise was not kept."""


def state_of(connection: psycopg.Connection[Any], shop: Shop) -> State:
    """Every warehouse table as the source says it is, rows as text by key."""
    return {name: _rows(connection, query) for name, query in shop.queries.items()}


def _rows(connection: psycopg.Connection[Any], query: Query) -> Rows:
    inner = sql.SQL("({}\n) AS o").format(sql.SQL(query.text))
    key, _ = _as_row(_columns(connection, query), query)
    found = connection.execute(sql.SQL("SELECT {}, o::text FROM {}").format(key, inner)).fetchall()
    return {str(key): str(row) for key, row in found}


def _columns(connection: psycopg.Connection[Any], query: Query) -> list[str]:
    text = sql.SQL("SELECT * FROM ({}\n) AS o LIMIT 0").format(sql.SQL(query.text))
    return [column.name for column in connection.execute(text).description or []]


def _as_row(names: list[str], query: Query) -> tuple[sql.Composable, sql.Composable]:
    """A table's key and its row, as text."""
    key, row = (
        sql.SQL("ROW({})::text").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
        for columns in (query.key or names[:1], names)
    )
    return key, row


@dataclass(frozen=True)
class Batch:
    """A batch that the warehouse says it has loaded."""

    batch_id: str
    previous: str | None
    snapshot_at: datetime


@dataclass
class Expected:
    """What the warehouse holds after a batch: every version, and every dimension row.

    Rows of the tables in ``keeping`` stay when they leave the result.
    """

    keeping: frozenset[str] = frozenset()
    versions: dict[str, Counter[Version]] = field(default_factory=lambda: defaultdict(Counter))
    latest: dict[str, dict[str, str | None]] = field(default_factory=lambda: defaultdict(dict))
    dimensions: State = field(default_factory=lambda: defaultdict(dict))
    members: dict[str, dict[str, list[Member]]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, batch: Batch, state: State) -> None:
        """Go on by a batch whose snapshot saw this state."""
        for name, rows in state.items():
            if _is_fact(name):
                self._add_versions(name, batch, rows)
            else:
                self.dimensions[name] |= rows
                self._add_members(name, batch, rows)

    def _add_members(self, name: str, batch: Batch, rows: Rows) -> None:
        members = self.members[name]
        for key in rows.keys() if name in self.keeping else rows.keys() | members.keys():
            versions, row = members.setdefault(key, []), rows.get(key)
            if versions and versions[-1][1] is None and versions[-1][4] != row:
                since, _, _, _, old = versions[-1]
                versions[-1] = (since, batch.snapshot_at, row is None, key, old)
            if row is not None and (not versions or versions[-1][1] is not None):
                versions.append((batch.snapshot_at, None, False, key, row))

    def _add_versions(self, name: str, batch: Batch, rows: Rows) -> None:
        latest, versions = self.latest[name], self.versions[name]
        for key, row in rows.items():
            if latest.get(key) != row:
                versions[batch.snapshot_at, False, key, row] += 1
                latest[key] = row
        for key in [key for key, row in latest.items() if row is not None and key not in rows]:
            versions[batch.snapshot_at, True, key, None] += 1
            latest[key] = None


@dataclass
class Tally:
    """What was compared."""

    checks: int = 0
    rows: int = 0
    versions: int = 0
    lost: int = 0
    duplicated: int = 0


class Oracle:
    """Keeps what every sealed batch saw, and compares a warehouse with it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.states: dict[str, State] = {}
        self.names: dict[str, list[str]] = {}
        self.tally = Tally()
        self._keeping = frozenset(name for name, query in shop.queries.items() if query.keeps)
        self._expected = Expected(self._keeping)
        self._chain: list[Batch] = []

    def forget(self) -> None:
        """Expect an empty warehouse; what the batches saw is still known."""
        self._expected, self._chain = Expected(self._keeping), []

    def check(self, url: str) -> list[Batch]:
        """Compare the whole warehouse with what its batches saw; returns these."""
        with psycopg.connect(url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            if connection.execute("SELECT to_regclass('etl.watermark')").fetchone() == (None,):
                return []
            chain = _chain(connection)
            self._advance(chain)
            self.tally.checks += 1
            for name in self.shop.queries:
                if _is_fact(name):
                    self._compare(name, self._expected.versions[name], self._versions(connection, name))
                    continue
                rows = Counter(self._expected.dimensions[name].items())
                self._compare(name, rows, self._present(connection, name))
                expected = Counter(each for all_ in self._expected.members[name].values() for each in all_)
                self._compare(f"{name}_history", expected, self._members(connection, name))
            if waiting := connection.execute("SELECT table_name, reason FROM etl.rejected").fetchall():
                raise Broken(f"rows were rejected that fit: {waiting[:3]}")
        return chain

    def check_current(self, source_url: str, warehouse_url: str) -> None:
        """Compare the present rows of both sides, whatever was seen on the way."""
        with psycopg.connect(source_url) as source, psycopg.connect(warehouse_url) as warehouse:
            for name, now in state_of(source, self.shop).items():
                if _is_fact(name):
                    current = self._present(warehouse, name, "_current")
                    self._compare(f"{name}_current", Counter(now.items()), current)
                elif missing := now.items() - self._present(warehouse, name).keys():
                    self.tally.lost += len(missing)
                    raise Broken(f"{name} lacks {sorted(missing)[:3]}")

    def _advance(self, chain: list[Batch]) -> None:
        """Expect what the batches that came since the last time bring."""
        if chain[: len(self._chain)] != self._chain:
            raise Broken("batches that were loaded are gone from the warehouse")
        for batch in chain[len(self._chain) :]:
            if batch.batch_id not in self.states:
                raise Broken(f"batch {batch.batch_id} was loaded and never sealed")
            self._expected.add(batch, self.states[batch.batch_id])
        self._chain = chain

    def _compare(self, what: str, expected: Counter[Any], found: Counter[Any]) -> None:
        lost, duplicated = expected - found, found - expected
        self.tally.rows += found.total()
        if what in self.shop.queries and _is_fact(what):
            self.tally.versions += found.total()
        self.tally.lost += lost.total()
        self.tally.duplicated += duplicated.total()
        if lost or duplicated:
            raise Broken(f"{what}: lost {list(lost.items())[:3]}, too much {list(duplicated.items())[:3]}")

    def learn(self, url: str) -> None:
        """Ask the source for the columns that its queries yield."""
        with psycopg.connect(url) as connection:
            self.names = {name: _columns(connection, query) for name, query in self.shop.queries.items()}

    def _as_row(self, name: str) -> tuple[sql.Composable, sql.Composable]:
        return _as_row(self.names[name], self.shop.queries[name])

    def _versions(self, connection: psycopg.Connection[Any], name: str) -> Counter[Version]:
        query = sql.SQL("SELECT recorded_at, deleted, {}, CASE WHEN NOT deleted THEN {} END FROM {}").format(
            *self._as_row(name), sql.Identifier(name)
        )
        return Counter(connection.execute(query).fetchall())

    def _present(
        self, connection: psycopg.Connection[Any], name: str, view: str = ""
    ) -> Counter[tuple[str, str]]:
        query = sql.SQL("SELECT {}, {} FROM {}").format(*self._as_row(name), sql.Identifier(name + view))
        return Counter(connection.execute(query).fetchall())

    def _members(self, connection: psycopg.Connection[Any], name: str) -> Counter[Member]:
        query = sql.SQL("SELECT valid_from, valid_to, deleted, {}, {} FROM {}").format(
            *self._as_row(name), sql.Identifier(f"{name}_history")
        )
        return Counter(connection.execute(query).fetchall())


def _is_fact(name: str) -> bool:
    return name.startswith("fact_")


def _chain(connection: psycopg.Connection[Any]) -> list[Batch]:
    """The batches from the first to the watermark's, each after the one it names."""
    found = connection.execute("SELECT batch_id, previous_batch_id, snapshot_at FROM etl.batch")
    after: Mapping[str | None, Batch] = {row[1]: Batch(*row) for row in found.fetchall()}
    chain: list[Batch] = []
    while batch := after.get(chain[-1].batch_id if chain else None):
        if chain and batch.snapshot_at <= chain[-1].snapshot_at:
            raise Broken(f"batch {batch.batch_id} is not after {chain[-1].batch_id}")
        chain.append(batch)
    if len(chain) != connection.execute("SELECT count(*) FROM etl.batch").fetchall()[0][0]:
        raise Broken("etl.batch has gaps")
    marks = connection.execute("SELECT batch_id, snapshot_at FROM etl.watermark").fetchall()
    if marks != [(batch.batch_id, batch.snapshot_at) for batch in chain[-1:]]:
        raise Broken(f"the watermark {marks} is not at the last batch")
    return chain
