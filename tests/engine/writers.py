"""Sessions that write to the source in random order, with transactions and savepoints."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from psycopg import sql

from pipeline.lake.buckets import folder
from tests.engine.oracle import COLUMNS, KEYS, SOURCE, Place, Rows, Values
from tests.house import Warehouse
from tests.support import execute


@dataclass
class Transaction:
    """An open transaction of the source: its writes, one layer per savepoint."""

    connection: psycopg.Connection
    layers: list[dict[Place, Values | None]] = field(default_factory=lambda: [{}])
    held: set[Place] = field(default_factory=set)


@dataclass
class Shared:
    """The databases that all examples share, and a tally of events."""

    source_url: str
    house: Warehouse
    home: Path
    tally: Counter[str] = field(default_factory=Counter)


tables = st.sampled_from(sorted(KEYS))
# Few keys and values, so that rows return and changes are reverted often.
keys = st.integers(1, 4)
writers = st.sampled_from([0, 1, 2])  # 0 commits at once
picks = st.integers(0, 7)
texts = st.sampled_from(["a", "b", "", None])


class Writers(RuleBasedStateMachine):
    """Sessions that write to the source, and the rows that they committed."""

    def __init__(self, place: Shared) -> None:
        super().__init__()
        self.place = place
        place.tally["examples"] += 1
        self.committed: dict[Place, Values] = {}
        self.former: dict[Place, list[Values]] = {}
        self.open: dict[int, Transaction] = {}
        self.added_columns: Counter[str] = Counter()
        self.clock = 0

    @initialize()
    def fresh(self) -> None:
        """Empty databases and new buckets."""
        execute(self.place.source_url, SOURCE)
        self.main = psycopg.connect(self.place.source_url, autocommit=True)
        house, home = self.place.house, self.place.home / str(self.place.tally["examples"])
        house.empty()
        house.raw, house.processed = folder(f"{home}/raw"), folder(f"{home}/processed")

    def teardown(self) -> None:
        """Close what is open."""
        for transaction in self.open.values():
            transaction.connection.close()
        if hasattr(self, "main"):
            self.main.close()

    def seen_by(self, writer: int) -> dict[Place, Values]:
        """The rows that a writer sees, without those that another one holds."""
        held = {place for who, other in self.open.items() if who != writer for place in other.held}
        rows: dict[Place, Values | None] = {**self.committed}
        for layer in self.open[writer].layers if writer in self.open else []:
            rows |= layer
        return {place: row for place, row in rows.items() if row is not None and place not in held}

    def is_free(self, writer: int, place: Place) -> bool:
        return not any(place in other.held for who, other in self.open.items() if who != writer)

    def write(self, writer: int, place: Place, row: Values | None) -> None:
        """Insert, update or delete a row."""
        self.place.tally["writes"] += 1
        self.place.tally["deletions"] += row is None
        table, key = place
        there = place in self.seen_by(writer)
        connection = self.main
        if writer:
            if writer not in self.open:
                self.open[writer] = Transaction(psycopg.connect(self.place.source_url))
            connection = self.open[writer].connection
        names = {"table": sql.Identifier(table), "key": sql.Identifier(KEYS[table])}
        columns = [sql.Identifier(name) for name in (*COLUMNS[table], "last_updated")]
        if row is None:
            connection.execute(sql.SQL("DELETE FROM {table} WHERE {key} = %s").format(**names), [key])
        elif there:
            pairs = sql.SQL(", ").join(sql.SQL("{} = %s").format(column) for column in columns)
            update = sql.SQL("UPDATE {table} SET {pairs} WHERE {key} = %s").format(pairs=pairs, **names)
            connection.execute(update, [*row, key])
        else:
            insert = sql.SQL("INSERT INTO {table} ({key}, {columns}) VALUES ({values})").format(
                columns=sql.SQL(", ").join(columns),
                values=sql.SQL(", ").join([sql.Placeholder()] * (len(row) + 1)),
                **names,
            )
            connection.execute(insert, [key, *row])
        if writer:
            self.open[writer].held.add(place)
            self.open[writer].layers[-1][place] = row
        else:
            self.commit({place: row})

    def commit(self, written: dict[Place, Values | None]) -> None:
        for place, row in written.items():
            if place in self.committed:
                self.former.setdefault(place, []).append(self.committed.pop(place))
            if row is not None:
                self.committed[place] = row

    def row(self, table: str, number: int, text: str | None, *, old: Values | None = None) -> Values:
        """A row's values; without ``old`` the application sets last_updated."""
        if old is None:
            self.clock += 1
        stamp = self.clock if old is None else old[-1]
        return (text, stamp) if table == "town" else (number or None, text, stamp)

    @rule(writer=writers, rows=st.lists(st.tuples(tables, keys, keys, texts), min_size=1, max_size=5))
    def insert(self, writer: int, rows: list[tuple[str, int, int, str | None]]) -> None:
        """Insert new or deleted rows, or update existing ones with last_updated."""
        for table, key, number, text in rows:
            if self.is_free(writer, (table, key)):
                self.write(writer, (table, key), self.row(table, number, text))

    @rule(writer=writers, pick=picks, number=st.integers(0, 4), text=texts, silent=st.booleans())
    def update(self, writer: int, pick: int, number: int, text: str | None, silent: bool) -> None:
        """Update a row; a silent update leaves last_updated unchanged."""
        if rows := sorted(self.seen_by(writer).items()):
            place, old = rows[pick % len(rows)]
            self.write(writer, place, self.row(place[0], number, text, old=old if silent else None))

    @rule(writer=writers, pick=picks)
    def revert(self, writer: int, pick: int) -> None:
        """Restore a former version of a row that was changed or deleted."""
        places = sorted(place for place in self.former if self.is_free(writer, place))
        if places:
            place = places[pick % len(places)]
            self.write(writer, place, self.former[place][-1])

    @rule(writer=writers, pick=picks)
    def delete(self, writer: int, pick: int) -> None:
        if rows := sorted(self.seen_by(writer)):
            self.write(writer, rows[pick % len(rows)], None)

    @rule(writer=writers, pick=picks, number=st.integers(0, 4), text=texts, same=st.booleans())
    def insert_again(self, writer: int, pick: int, number: int, text: str | None, same: bool) -> None:
        """Delete a row and insert its key again, with the same or other values."""
        if rows := sorted(self.seen_by(writer).items()):
            place, old = rows[pick % len(rows)]
            self.write(writer, place, None)
            self.write(writer, place, old if same else self.row(place[0], number, text))

    @precondition(lambda self: self.untouched())
    @rule(pick=picks, refill=st.sampled_from(["", "the same", "others"]))
    def truncate(self, pick: int, refill: str) -> None:
        """Truncate a table, and insert some rows again."""
        table = self.untouched()[pick % len(self.untouched())]
        before = {place: row for place, row in self.committed.items() if place[0] == table}
        self.main.execute(f"TRUNCATE {table}".encode())
        self.commit(dict.fromkeys(before))
        self.place.tally["truncations"] += bool(before)
        for place, row in sorted(before.items()):
            if refill and place[1] != pick:
                self.write(0, place, row if refill == "the same" else self.row(table, pick, "b"))

    @precondition(lambda self: self.open)
    @rule(pick=picks)
    def savepoint(self, pick: int) -> None:
        transaction = sorted(self.open.items())[pick % len(self.open)][1]
        transaction.connection.execute(f"SAVEPOINT s{len(transaction.layers)}".encode())
        transaction.layers.append({})

    @precondition(lambda self: any(len(one.layers) > 1 for one in self.open.values()))
    @rule(pick=picks, release=st.booleans())
    def end_savepoint(self, pick: int, release: bool) -> None:
        nested = [one for _, one in sorted(self.open.items()) if len(one.layers) > 1]
        transaction = nested[pick % len(nested)]
        top = transaction.layers.pop()
        command = "RELEASE" if release else "ROLLBACK TO"
        transaction.connection.execute(f"{command} s{len(transaction.layers)}".encode())
        if release:
            transaction.layers[-1] |= top

    @precondition(lambda self: self.open)
    @rule(pick=picks, commits=st.booleans())
    def end_transaction(self, pick: int, commits: bool) -> None:
        """End a transaction, usually after a run."""
        writer = sorted(self.open)[pick % len(self.open)]
        transaction = self.open.pop(writer)
        if commits:
            transaction.connection.commit()
            for layer in transaction.layers:
                self.commit(layer)
        transaction.connection.close()
        self.place.tally["commits" if commits else "rollbacks"] += 1

    def untouched(self) -> list[str]:
        """The tables that no open transaction has locked."""
        locked = {table for one in self.open.values() for table, _ in one.held}
        return sorted(KEYS.keys() - locked)

    @precondition(lambda self: self.untouched())
    @rule(pick=picks, default=st.sampled_from(["", "DEFAULT 7", "DEFAULT random()"]))
    def add_column(self, pick: int, default: str) -> None:
        """Add a column that no model reads; a volatile default rewrites the table."""
        table = self.untouched()[pick % len(self.untouched())]
        self.added_columns[table] += 1
        name = f"more_{self.added_columns[table]}"
        self.main.execute(f"ALTER TABLE {table} ADD COLUMN {name} double precision {default}".encode())

    @precondition(lambda self: self.untouched())
    @rule(pick=picks)
    def rewrite(self, pick: int) -> None:
        """Rewrite a table without a change."""
        self.main.execute(f"VACUUM FULL {self.untouched()[pick % len(self.untouched())]}".encode())

    def rows_of(self, table: str) -> Rows:
        return {key: row for (name, key), row in self.committed.items() if name == table}
