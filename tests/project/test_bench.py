"""The benchmark: its data, floor and rounds; nothing is timed here."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from bench import keeping
from bench.data import Source, Totals, statement, totals
from bench.delays import Delays
from bench.errors import BenchError
from bench.figures import (
    AS_OF,
    BARE,
    CURRENT,
    DELETIONS,
    EARLIER,
    EDITS,
    FULL,
    HISTORY,
    INGESTR,
    ONE_MOMENT,
    ONE_ROW,
    PIPELINE,
    REFERENCES,
    SECONDS,
    TUNED,
)
from bench.floor import FACT, Floor
from bench.plan import check_room
from bench.prefect_runs import Flows
from bench.processes import run
from bench.reads import read, read_dimension
from bench.rounds import Bench
from demo.binaries import programs
from demo.home import PROJECT
from demo.postgres import Postgres
from demo.trading import SQL
from pipeline.lake.buckets import folder
from tests.house import Warehouse, plan_batch
from tests.project.bench_options import options
from tests.support import database, query, value

pytestmark = pytest.mark.campaign  # ten seconds that the suite has not

ROOT = PROJECT
ORDERS = 2_000


@pytest.fixture(scope="module")
def source(postgres: Postgres) -> Iterator[Source]:
    with database(postgres, "source") as url:
        made = Source(url, ORDERS)
        made.make()
        yield made


def test_copiers_run_in_fewer_rounds() -> None:
    assert [options().rounds_of(who) for who in (PIPELINE, TUNED, INGESTR)] == [3, 3, 1]


@dataclass
class Copies:
    """Copies tables: all of them anew at one snapshot, or what is new by ``last_updated``, table by table."""

    source: str
    warehouse: str
    is_exact: bool

    def run(self) -> dict[str, float]:
        """Copy once; between two tables, the source's writers commit."""
        with psycopg.connect(self.source) as reader, psycopg.connect(self.warehouse) as writer:
            if self.is_exact:
                reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for table, column in (
                ("sales_order", "units_sold"),
                ("design", "design_name"),
                ("staff", "first_name"),
            ):
                self._copy(reader, writer, table, column)
                reader.execute("SELECT pg_sleep(0.1)")
                if not self.is_exact:
                    reader.commit()
        return {}

    def _copy(self, reader: psycopg.Connection, writer: psycopg.Connection, table: str, column: str) -> None:
        key, copied = f"{table}_id", f"copied.{table}"
        type_ = "integer" if table == "sales_order" else "text"
        writer.execute("CREATE SCHEMA IF NOT EXISTS copied")
        writer.execute(
            f"CREATE TABLE IF NOT EXISTS {copied}"
            f" ({key} integer PRIMARY KEY, {column} {type_}, last_updated timestamp)"
        )
        if self.is_exact:
            writer.execute(f"TRUNCATE {copied}")
        newest = writer.execute(f"SELECT coalesce(max(last_updated), '2000-01-01') FROM {copied}").fetchone()
        rows = reader.execute(
            f"SELECT {key}, {column}, last_updated FROM {table} WHERE last_updated > %s", newest
        ).fetchall()
        with writer.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {copied} VALUES (%s, %s, %s) ON CONFLICT ({key}) DO UPDATE"
                f" SET {column} = excluded.{column}, last_updated = excluded.last_updated",
                rows,
            )


def test_what_a_program_keeps_is_read_from_its_warehouse(source_url: str, postgres: Postgres) -> None:
    source = Source(source_url, ORDERS)
    source.make()
    with database(postgres, "exact") as exact, database(postgres, "newer") as newer:
        loaders = [Copies(source.url, exact, is_exact=True), Copies(source.url, newer, is_exact=False)]
        for loader in loaders:
            loader.run()
        changes = keeping.change(source)
        kept = [keeping.check(source, changes, loader, keeping.COPY) for loader in loaders]
        nothing = dict.fromkeys((EARLIER, DELETIONS, EDITS, REFERENCES, ONE_MOMENT), 0.0)
        assert kept == [nothing | {DELETIONS: 1.0, EDITS: 1.0, ONE_MOMENT: 1.0}, nothing]


def test_every_reference_leads_to_a_row(source: Source) -> None:
    with psycopg.connect(source.url) as connection:
        references = connection.execute((SQL / "references.sql").read_bytes()).fetchall()
        for table, _, column, parent in references:
            orphans = sql.SQL(
                "SELECT count(*) FROM {table} AS t WHERE {column} IS NOT NULL"
                " AND NOT EXISTS (SELECT FROM {parent} AS p WHERE p.{key} = t.{column})"
            ).format(
                table=sql.Identifier(table),
                column=sql.Identifier(column),
                parent=sql.Identifier(parent),
                key=sql.Identifier(f"{parent}_id"),
            )
            assert connection.execute(orphans).fetchone() == (0,), (table, column)
    assert len(references) == 17


def test_orders_are_spread_and_in_the_order_of_time(source: Source) -> None:
    made = "FROM sales_order WHERE sales_order_id > 1000"
    assert value(source.url, "SELECT count(*) FROM sales_order") == ORDERS
    assert value(source.url, f"SELECT count(DISTINCT last_updated::date) {made}") == 500
    assert query(source.url, f"SELECT DISTINCT extract(isodow FROM created_at) {made} ORDER BY 1") == [
        (day,) for day in (1, 2, 3, 4, 5)
    ]
    backwards = (
        "SELECT count(*) FROM (SELECT last_updated - lag(last_updated) OVER (ORDER BY sales_order_id) AS step"
        f" {made}) AS steps WHERE step <= INTERVAL '0'"
    )
    assert value(source.url, backwards) == 0
    spread = "count(DISTINCT staff_id), count(DISTINCT counterparty_id), count(DISTINCT currency_id)"
    assert query(source.url, f"SELECT {spread} {made}") == [(20, 20, 3)]


def test_changed_rows_have_the_newest_timestamps(source: Source) -> None:
    before = source.totals()
    newest = value(source.url, "SELECT max(last_updated) FROM sales_order")
    assert source.change(100) == ORDERS // 100
    assert source.change(100) == ORDERS // 100
    newer = f"FROM sales_order WHERE last_updated > '{newest}'"
    assert value(source.url, f"SELECT count(*) {newer}") == 2 * ORDERS // 100
    assert value(source.url, f"SELECT count(DISTINCT last_updated) {newer}") == 2 * ORDERS // 100
    after = source.totals()
    assert after.orders == before.orders
    assert after.ordered > before.ordered


@dataclass
class Both:
    """The floor's warehouse and the pipeline's, filled from one source."""

    floor: Floor
    house: Warehouse

    def same(self, text: str) -> list[tuple[object, ...]]:
        """What both answer."""
        ours, theirs = query(self.house.url, text), query(self.floor.warehouse, text)
        assert ours == theirs
        return ours


@pytest.fixture
def both(source: Source, postgres: Postgres, warehouse_url: str, tmp_path: Path) -> Iterator[Both]:
    raw, processed = (folder(str(tmp_path / name)) for name in ("raw", "processed"))
    house = Warehouse(warehouse_url, ROOT / "transforms", raw, processed)
    _, manifest = plan_batch(source.url, house)
    assert manifest
    house.bring(manifest)
    with database(postgres, "floor") as url:
        floor = Floor(source.url, url, programs(postgres.version, None), ROOT / "transforms")
        assert floor.run()[SECONDS] > 0
        yield Both(floor, house)


def test_the_floor_loads_what_the_pipeline_loads(source: Source, both: Both) -> None:
    named = both.same(
        "SELECT column_name::text FROM information_schema.columns"
        f" WHERE table_schema = 'public' AND table_name = '{FACT}' ORDER BY ordinal_position"
    )
    columns = ", ".join(str(name) for (name,) in named if name not in {"sales_record_id", "recorded_at"})
    assert len(both.same(f"SELECT {columns} FROM {FACT} ORDER BY sales_order_id")) == ORDERS
    assert both.floor.arrived() == totals(both.house.url, f"{FACT}_current") == source.totals()
    demands = statement("demands.sql").as_string().replace("%(table)s", f"'{FACT}'")
    assert len([refers for _, _, refers in both.same(demands) if refers]) == 9


class Wrong:
    """Loads nothing."""

    name = PIPELINE

    def __init__(self, warehouse: str) -> None:
        self.warehouse = warehouse

    def run(self) -> dict[str, float]:
        return {SECONDS: 0.0}

    def arrived(self) -> Totals:
        return Totals(0, *totals(self.warehouse, "sales_order")[1:])


def test_a_wrong_run_counts_for_nothing(source: Source, postgres: Postgres, tmp_path: Path) -> None:
    bench = Bench(options(), postgres, Flows("http://nowhere/api"), tmp_path, tmp_path, lambda words: None)
    with pytest.raises(BenchError, match=r"^pipeline, first full load: Totals\(orders=0,"):
        bench._measure(FULL, Wrong(source.url), source)


def test_a_program_that_fails_says_why_and_no_password() -> None:
    with pytest.raises(BenchError, match=r"failed: one \| two$") as failure:
        run([sys.executable, "-c", "print('one\\ntwo'); raise SystemExit(3)", "postgresql://me:secret@here"])
    assert "secret" not in str(failure.value)


def test_a_proxy_adds_a_round_trip_and_passes_everything_on(postgres: Postgres) -> None:
    port = Delays().through(postgres.port, 0.05)
    url = postgres.url("postgres").replace(f":{postgres.port}/", f":{port}/")
    with psycopg.connect(url) as connection:
        began = time.monotonic()
        rows = connection.execute("SELECT repeat('x', 1000) FROM generate_series(1, 1000)").fetchall()
    assert time.monotonic() - began >= 0.05
    assert rows == [("x" * 1000,)] * 1000


def test_free_disk_space_is_checked_first(tmp_path: Path) -> None:
    check_room(options(orders=1_000, large=0, only=frozenset()), tmp_path)
    with pytest.raises(BenchError, match="GB are needed"):
        check_room(options(orders=10**13), tmp_path)


def test_the_same_query_runs_on_versions_and_on_a_bare_table(source: Source, both: Both) -> None:
    before = value(source.url, "SELECT count(*) FROM sales_order")
    source.delete(10)
    source.relink()
    assert value(source.url, "SELECT count(*) FROM sales_order") == before - 10
    _, manifest = plan_batch(source.url, both.house)
    assert manifest
    both.house.bring(manifest)
    assert totals(both.house.url, f"{FACT}_current") == source.totals()
    assert read(both.house.url).keys() == {BARE, CURRENT, AS_OF, HISTORY}


def test_one_row_of_a_dimension_with_a_million_versions_is_found_by_an_index(both: Both) -> None:
    assert read_dimension(both.house.url).keys() == {AS_OF, ONE_ROW}
    for relation in ("dim_design_history", "dim_design_as_of(now())"):
        plan = query(both.house.url, f"EXPLAIN SELECT * FROM {relation} WHERE design_id = 10000007")
        assert any("Index" in line for (line,) in plan), plan
