"""Any order of changes, runs, kills and reconciles, against a model of what must come of it.

Ten thousand steps, new ones each time:
``pytest tests/engine/test_model_based.py --hypothesis-profile=campaign``.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import sql

from demo.postgres import Postgres
from pipeline.lake import manifests
from pipeline.lake.buckets import folder
from pipeline.lake.manifest import Manifest
from pipeline.warehouse import load
from tests.support import Warehouse, database, execute, plan_batch, write_models

MODELS = {
    "dim_shop": "SELECT shop_id, label, town.name AS town FROM shop LEFT JOIN town USING (town_id)",
    "fact_order": "-- key: order_id\nSELECT order_id, shop_id, amount, last_updated FROM orders",
    "fact_detail": (
        "-- key: order_id\nSELECT order_id, amount, label FROM orders LEFT JOIN shop USING (shop_id)"
    ),
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (
            shop_id integer PRIMARY KEY, label varchar NOT NULL, town varchar
        );
        CREATE TABLE IF NOT EXISTS fact_order (
            order_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            amount varchar,
            last_updated integer NOT NULL
        );
        CREATE TABLE IF NOT EXISTS fact_detail (order_id integer NOT NULL, amount varchar, label varchar);
    """,
}
SOURCE = """
    DROP TABLE IF EXISTS town, shop, orders;
    CREATE TABLE town (town_id integer PRIMARY KEY, name varchar, last_updated integer NOT NULL);
    CREATE TABLE shop (
        shop_id integer PRIMARY KEY, town_id integer, label varchar, last_updated integer NOT NULL
    );
    CREATE TABLE orders (
        order_id integer PRIMARY KEY, shop_id integer, amount varchar, last_updated integer NOT NULL
    );
"""
COLUMNS = {"town": ("name",), "shop": ("town_id", "label"), "orders": ("shop_id", "amount")}
KEYS = {"town": "town_id", "shop": "shop_id", "orders": "order_id"}
FACTS = {"fact_order": "shop_id, amount, last_updated", "fact_detail": "amount, label"}
EXAMPLES = 10
TICK = timedelta(microseconds=1)

Values = tuple[Any, ...]  # a row without its key; in the source last_updated comes last
Rows = dict[int, Values]
Place = tuple[str, int]


class Killed(Exception):
    """What ends a run half-way."""


@dataclass
class Transaction:
    """An open transaction of the source: what it wrote, layer by layer of its savepoints."""

    connection: psycopg.Connection
    layers: list[dict[Place, Values | None]] = field(default_factory=lambda: [{}])
    held: set[Place] = field(default_factory=set)


@dataclass(frozen=True)
class Moment:
    """What a batch saw: the committed rows at its snapshot."""

    manifest: Manifest
    rows: dict[str, Rows]


@dataclass
class Oracle:
    """What must be in the warehouse after the batches so far."""

    state: dict[str, Rows] = field(default_factory=lambda: {name: {} for name in KEYS})
    versions: dict[str, dict[int, list[tuple[datetime, bool, Values]]]] = field(
        default_factory=lambda: {name: {} for name in FACTS}
    )
    # Versions: since, until, whether the row was deleted then, values.
    shops: dict[int, list[tuple[datetime, datetime | None, bool, Values]]] = field(default_factory=dict)
    waiting: Rows = field(default_factory=dict)
    unfit_orders: set[int] = field(default_factory=set)
    unfit_shops: set[int] = field(default_factory=set)
    moments: list[tuple[datetime, dict[str, Rows]]] = field(default_factory=list)

    def load(self, moment: Moment) -> dict[str, tuple[int, int, int]]:
        """Take a batch in; returns how much of each warehouse table it added, changed and deleted."""
        at = moment.manifest.snapshot_at
        self.state = moment.rows
        did = {"dim_shop": self._dimension(at)}
        orders = self._orders()
        detail: Rows = {
            order: (amount, self.state["shop"].get(shop, (None, None))[1])
            for order, (shop, amount, _) in self.state["orders"].items()
        }
        did["fact_order"] = self._fact("fact_order", at, orders)
        did["fact_detail"] = self._fact("fact_detail", at, detail)
        self.moments.append((at, {name: self.current(name) for name in FACTS}))
        return did

    def _dimension(self, at: datetime) -> tuple[int, int, int]:
        towns = self.state["town"]
        added = changed = 0
        self.unfit_shops &= self.state["shop"].keys()
        for shop, (town, label, _) in self.state["shop"].items():
            if label is None:
                self.unfit_shops.add(shop)
                continue
            self.unfit_shops.discard(shop)
            values = (label, towns.get(town, (None,))[0])
            known = self.shops.setdefault(shop, [])
            if known and known[-1][1:] == (None, False, values):
                continue
            added, changed = (added, changed + 1) if known else (added + 1, changed)
            self._end_shop(shop, at, deleted=False)
            known.append((at, None, False, values))
        gone = [shop for shop in self.shops if shop not in self.state["shop"]]
        return added, changed, sum(self._end_shop(shop, at, deleted=True) for shop in gone)

    def _end_shop(self, shop: int, at: datetime, *, deleted: bool) -> bool:
        """End the present version of a shop, where it has one."""
        known = self.shops[shop]
        if not known or known[-1][1] is not None:
            return False
        since, _, _, values = known[-1]
        known[-1] = (since, at, deleted, values)
        return True

    def _orders(self) -> Rows:
        """Set aside the orders that wait or do not fit; returns the others."""
        orders = self.state["orders"]
        self.unfit_orders = {order for order, values in orders.items() if values[0] is None}
        self.waiting = {
            order: values
            for order, values in orders.items()
            if order not in self.unfit_orders and values[0] not in self.shops
        }
        aside = self.waiting.keys() | self.unfit_orders
        return {order: values for order, values in orders.items() if order not in aside}

    def _fact(self, name: str, at: datetime, rows: Rows) -> tuple[int, int, int]:
        added = changed = deleted = 0
        versions = self.versions[name]
        for key, values in rows.items():
            known = versions.setdefault(key, [])
            if not known or known[-1][1:] != (False, values):
                added, changed = (added, changed + 1) if known else (added + 1, changed)
                known.append((at, False, values))
        for key, known in versions.items():
            if key not in self.state["orders"] and not known[-1][1]:
                deleted += 1
                known.append((at, True, known[-1][2]))
        return added, changed, deleted

    def current(self, name: str) -> Rows:
        """The latest versions that are not deletions."""
        latest = {key: known[-1] for key, known in self.versions[name].items()}
        return {key: values for key, (_, deleted, values) in latest.items() if not deleted}

    def history(self, name: str) -> set[Values]:
        """What the history view shows."""
        return {
            (since, known[place + 1][0] if place + 1 < len(known) else None, deleted, key, *values)
            for key, known in self.versions[name].items()
            for place, (since, deleted, values) in enumerate(known)
        }

    @property
    def shop_history(self) -> set[Values]:
        """What the dimension's history view shows."""
        return {
            (since, until, deleted, shop, *values)
            for shop, known in self.shops.items()
            for since, until, deleted, values in known
        }

    @property
    def rejected(self) -> set[tuple[str, str]]:
        """What is set aside and not resolved."""
        orders = self.waiting.keys() | self.unfit_orders
        return {("fact_order", str(order)) for order in orders} | {
            ("dim_shop", str(shop)) for shop in self.unfit_shops
        }


@dataclass
class Bench:
    """The databases that all examples share, and what happened in them."""

    source_url: str
    house: Warehouse
    home: Path
    tally: Counter[str] = field(default_factory=Counter)


tables = st.sampled_from(sorted(KEYS))
# Few keys and few values: rows come back, and changes are taken back, all the time.
keys = st.integers(1, 4)
writers = st.sampled_from([0, 1, 2])  # 0 commits at once
picks = st.integers(0, 7)
texts = st.sampled_from(["a", "b", "", None])
kills = st.sampled_from(
    [
        "before the seal",
        "before the load",
        *(f"{how} {table}" for how in ("raise", "terminate") for table in ("dim_shop", *FACTS)),
        "before the commit",
    ]
)


class Pipeline(RuleBasedStateMachine):
    """The source, whoever writes to it, and the pipeline's runs."""

    def __init__(self, place: Bench) -> None:
        super().__init__()
        self.place = place
        self.house = place.house
        place.tally["examples"] += 1
        self.committed: dict[Place, Values] = {}
        self.former: dict[Place, list[Values]] = {}
        self.open: dict[int, Transaction] = {}
        self.oracle = Oracle()
        self.pending: Moment | None = None
        self.added_columns: Counter[str] = Counter()
        self.read_columns: Counter[str] | None = None
        self.clock = 0
        self.batches = 0
        self.source_xmin = 0

    @initialize()
    def fresh(self) -> None:
        """Empty databases and a new raw bucket."""
        execute(self.place.source_url, SOURCE)
        self.main = psycopg.connect(self.place.source_url, autocommit=True)
        self.house.empty()
        home = self.place.home / str(self.place.tally["examples"])
        self.house.raw, self.house.processed = folder(f"{home}/raw"), folder(f"{home}/processed")

    def teardown(self) -> None:
        """Close what is open."""
        for transaction in self.open.values():
            transaction.connection.close()
        if hasattr(self, "main"):
            self.main.close()

    # Writing

    def seen_by(self, writer: int) -> dict[Place, Values]:
        """The rows as a writer sees them, those left out that another one holds."""
        held = {place for who, other in self.open.items() if who != writer for place in other.held}
        rows: dict[Place, Values | None] = {**self.committed}
        for layer in self.open[writer].layers if writer in self.open else []:
            rows |= layer
        return {place: row for place, row in rows.items() if row is not None and place not in held}

    def is_free(self, writer: int, place: Place) -> bool:
        return not any(place in other.held for who, other in self.open.items() if who != writer)

    def write(self, writer: int, place: Place, row: Values | None) -> None:
        """Insert, update or delete a row, as what is there asks for."""
        self.place.tally["writes"] += 1
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
        """A row's values; without ``old`` the application notes the time."""
        if old is None:
            self.clock += 1
        stamp = self.clock if old is None else old[-1]
        return (text, stamp) if table == "town" else (number or None, text, stamp)

    @rule(writer=writers, rows=st.lists(st.tuples(tables, keys, keys, texts), min_size=1, max_size=5))
    def insert(self, writer: int, rows: list[tuple[str, int, int, str | None]]) -> None:
        """New rows, or some that come back, or loud updates of some that are there."""
        for table, key, number, text in rows:
            if self.is_free(writer, (table, key)):
                self.write(writer, (table, key), self.row(table, number, text))

    @rule(writer=writers, pick=picks, number=st.integers(0, 4), text=texts, silent=st.booleans())
    def update(self, writer: int, pick: int, number: int, text: str | None, silent: bool) -> None:
        """Another value; a silent update leaves last_updated alone."""
        if rows := sorted(self.seen_by(writer).items()):
            place, old = rows[pick % len(rows)]
            self.write(writer, place, self.row(place[0], number, text, old=old if silent else None))

    @rule(writer=writers, pick=picks)
    def revert(self, writer: int, pick: int) -> None:
        """Back to the very row that was there before, whether it was changed or deleted since."""
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
        """A row is deleted and its key inserted again, with the same values or others."""
        if rows := sorted(self.seen_by(writer).items()):
            place, old = rows[pick % len(rows)]
            self.write(writer, place, None)
            self.write(writer, place, old if same else self.row(place[0], number, text))

    @precondition(lambda self: self.untouched())
    @rule(pick=picks, refill=st.sampled_from(["", "the same", "others"]))
    def truncate(self, pick: int, refill: str) -> None:
        """All rows of a table go, and some come again."""
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
        how = "RELEASE" if release else "ROLLBACK TO"
        transaction.connection.execute(f"{how} s{len(transaction.layers)}".encode())
        if release:
            transaction.layers[-1] |= top

    @precondition(lambda self: self.open)
    @rule(pick=picks, commits=st.booleans())
    def end_transaction(self, pick: int, commits: bool) -> None:
        """Late, as a rule: there was a run meanwhile."""
        writer = sorted(self.open)[pick % len(self.open)]
        transaction = self.open.pop(writer)
        if commits:
            transaction.connection.commit()
            for layer in transaction.layers:
                self.commit(layer)
        transaction.connection.close()
        self.place.tally["commits" if commits else "rollbacks"] += 1

    def untouched(self) -> list[str]:
        """Tables that no open transaction has locked."""
        locked = {table for one in self.open.values() for table, _ in one.held}
        return sorted(KEYS.keys() - locked)

    @precondition(lambda self: self.untouched())
    @rule(pick=picks, default=st.sampled_from(["", "DEFAULT 7", "DEFAULT random()"]))
    def add_column(self, pick: int, default: str) -> None:
        """A column that no model knows; a volatile default rewrites the table."""
        table = self.untouched()[pick % len(self.untouched())]
        self.added_columns[table] += 1
        name = f"more_{self.added_columns[table]}"
        self.main.execute(f"ALTER TABLE {table} ADD COLUMN {name} double precision {default}".encode())

    @precondition(lambda self: self.untouched())
    @rule(pick=picks)
    def rewrite(self, pick: int) -> None:
        """Rows move, and stay what they were."""
        self.main.execute(f"VACUUM FULL {self.untouched()[pick % len(self.untouched())]}".encode())

    # Running

    def rows_of(self, table: str) -> Rows:
        return {key: row for (name, key), row in self.committed.items() if name == table}

    def take(self, *, reconcile: bool = False, full: bool = False) -> Moment | None:
        """Read a batch; what it must have read whole is known without asking it."""
        planned, manifest = plan_batch(self.place.source_url, self.house, reconcile=reconcile, full=full)
        columns = self.read_columns
        altered = {name for name in KEYS if columns is None or columns[name] != self.added_columns[name]}
        whole = frozenset(KEYS if reconcile or full else altered)
        assert {name for name, table in planned.tables.items() if table.mode == "full"} == whole
        if manifest is None:
            assert not whole
            assert not self.would_do_something, "a change was not seen"
            return None
        moment = Moment(manifest, {name: self.rows_of(name) for name in KEYS})
        self.read_columns = Counter(self.added_columns)
        return moment

    @property
    def would_do_something(self) -> bool:
        """Whether the rows are not those of the last batch."""
        return any(self.oracle.state[name] != self.rows_of(name) for name in KEYS)

    def bring(self, moment: Moment, progress: Callable[[str, int], None] = lambda *_: None) -> None:
        """Load a batch, and compare what it did with what it must have done."""
        self.pending = moment
        counts = self.house.bring(moment.manifest, progress=progress, max_rejected_share=1)
        self.pending = None
        self.batches += 1
        self.place.tally["batches"] += 1
        expected = self.oracle.load(moment)
        for name, did in expected.items():
            assert (
                (counts[name].added, counts[name].changed, counts[name].deleted) == did
                if name in counts
                else (not any(did))
            ), name

    def finish_sealed(self) -> None:
        """Load what an earlier run has sealed and not loaded."""
        waiting = manifests.sealed_after(self.house.raw, self.last_batch)
        assert (waiting is None) == (self.pending is None)
        if self.pending:
            assert waiting == self.pending.manifest
            self.bring(self.pending)

    @property
    def last_batch(self) -> str | None:
        rows = self.house.query("SELECT batch_id FROM etl.watermark")
        return rows[0][0] if rows else None

    @rule(how=st.sampled_from(["", "", "", "", "reconcile", "full"]))
    def run(self, how: str) -> None:
        """A run that nothing disturbs."""
        self.place.tally["runs"] += 1
        self.finish_sealed()
        moment = self.take(reconcile=how == "reconcile", full=how == "full")
        if moment:
            self.bring(moment)
        self.look(up_to_date=moment is None)

    @rule(kill=kills, reconcile=st.booleans())
    def killed_run(self, kill: str, reconcile: bool) -> None:
        """A run that ends somewhere; the next one finds what it left."""
        self.finish_sealed()
        try:
            self.run_to(kill, reconcile=reconcile)
        except (Killed, psycopg.OperationalError):
            self.place.tally["kills"] += 1
        self.look()

    def run_to(self, kill: str, *, reconcile: bool) -> None:
        if kill == "before the seal":
            with mock.patch.object(manifests, "seal", side_effect=Killed):
                plan_batch(self.place.source_url, self.house, reconcile=reconcile)
            return
        moment = self.take(reconcile=reconcile)
        if moment is None:
            return
        if kill == "before the load":
            self.pending = moment
            raise Killed
        if kill == "before the commit":
            real = load._commit

            def commit(*arguments: Any) -> None:
                real(*arguments)
                raise Killed

            with mock.patch.object(load, "_commit", commit):
                self.bring(moment)
            return
        how, _, victim = kill.partition(" ")

        def progress(table: str, _: int) -> None:
            if table != victim:
                return
            if how == "raise":
                raise Killed
            execute(
                self.house.url,
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )

        self.bring(moment, progress)

    # Looking

    def look(self, *, up_to_date: bool = False) -> None:
        """Everything in the warehouse is as it must be, now and at every earlier moment."""
        oracle, query = self.oracle, self.house.query
        for name, columns in FACTS.items():
            history = query(f"SELECT valid_from, valid_to, deleted, order_id, {columns} FROM {name}_history")
            assert len(history) == len(oracle.history(name)), "no version is doubled or lost"
            assert set(history) == oracle.history(name)
            current = query(f"SELECT order_id, {columns} FROM {name}_current")
            assert sorted(current, key=repr) == self.flat(oracle.current(name))
            self.look_back(name, columns)
        assert sorted(query("SELECT shop_id, label, town FROM dim_shop"), key=repr) == self.flat(
            {shop: known[-1][3] for shop, known in oracle.shops.items()}
        )
        shops = query("SELECT valid_from, valid_to, deleted, shop_id, label, town FROM dim_shop_history")
        assert sorted(shops, key=repr) == sorted(oracle.shop_history, key=repr)
        rejected = query(
            "SELECT table_name, COALESCE(key ->> 'order_id', key ->> 'shop_id')"
            " FROM etl.rejected WHERE NOT resolved"
        )
        assert sorted(rejected) == sorted(oracle.rejected)
        self.look_at_watermark(up_to_date=up_to_date)

    def look_back(self, name: str, columns: str) -> None:
        """As of each snapshot, and as of the last moment before it."""
        expected: list[Values] = []
        before: Rows = {}
        for at, rows in self.oracle.moments:
            expected += [(at - TICK, *row) for row in self.flat(before)]
            expected += [(at, *row) for row in self.flat(rows[name])]
            before = rows[name]
        # Before the first there is nothing to look at.
        times = [time for at, _ in self.oracle.moments for time in (at - TICK, at)][1:]
        with psycopg.connect(self.house.url) as connection:
            found = connection.execute(
                f"SELECT t, order_id, {columns}"
                f" FROM unnest(%s::timestamptz[]) AS t, LATERAL {name}_as_of(t)".encode(),
                [times],
            ).fetchall()
        assert sorted(found, key=repr) == sorted(expected, key=repr)

    def look_at_watermark(self, *, up_to_date: bool) -> None:
        ((chain, count),) = self.house.query(
            "SELECT count(*) FILTER (WHERE previous_batch_id IS NOT NULL), count(*) FROM etl.batch"
        )
        assert count == self.batches
        assert chain == max(self.batches - 1, 0), "each batch follows the one before"
        rows = self.house.query("SELECT batch_id, snapshot_at, source_xmin, up_to_date_at FROM etl.watermark")
        assert len(rows) == min(self.batches, 1)
        for _, at, source_xmin, up_to_date_at in rows:
            assert at == self.oracle.moments[-1][0]
            assert source_xmin >= self.source_xmin
            assert up_to_date_at > at if up_to_date else up_to_date_at >= at
            self.source_xmin = source_xmin

    @staticmethod
    def flat(rows: Rows) -> list[Values]:
        return sorted(((key, *values) for key, values in rows.items()), key=repr)

    def check_invariants(self, *arguments: Any) -> None:
        """Count the steps; there is nothing to check between runs."""
        self.place.tally["steps"] += 1
        super().check_invariants(*arguments)


@pytest.fixture
def place(postgres: Postgres) -> Iterator[Bench]:
    with (
        database(postgres, "source") as source_url,
        database(postgres, "warehouse") as warehouse_url,
        tempfile.TemporaryDirectory() as home,
    ):
        write_models(Path(home) / "models", MODELS)
        house = Warehouse(warehouse_url, Path(home) / "models", folder(home), folder(home))
        house.prepare()
        yield Bench(source_url, house, Path(home))


@pytest.mark.timeout(6 * 3600)
def test_whatever_happens_the_warehouse_is_what_it_must_be(
    place: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = max(settings().max_examples, EXAMPLES)
    machine: Any = partial(Pipeline, place)
    run_state_machine_as_test(machine, settings=settings(max_examples=examples))
    if examples > EXAMPLES:
        with capsys.disabled():
            print("\n" + ", ".join(f"{number:,} {what}" for what, number in place.tally.items()))  # noqa: T201
    assert place.tally["steps"] > 200
    assert min(place.tally[what] for what in ("batches", "kills", "commits", "rollbacks", "truncations")) > 1
