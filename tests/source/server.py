"""A source server of its own, and programs of Postgres."""

from __future__ import annotations

from pathlib import Path

from demo.binaries import account_for, programs, run
from demo.postgres import Postgres
from tests.house import plan_batch
from tests.pair import Pair
from tests.support import query, value

MODELS = {
    "dim_shop": "SELECT shop_id, town.name AS town FROM shop LEFT JOIN town USING (town_id)",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, town varchar);
        CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer NOT NULL, shop_id integer, amount numeric);
    """,
}
SOURCE = (
    "CREATE TABLE town (town_id int PRIMARY KEY, name text)",
    "CREATE TABLE shop (shop_id int PRIMARY KEY, town_id int)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount numeric)",
    "INSERT INTO town VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO shop VALUES (1, 1), (2, 2)",
    "INSERT INTO sale SELECT i, 1 + i % 2, i FROM generate_series(1, 5) AS i",
)
CHANGED = {"changed rows"}


def read(pair: Pair, url: str | None = None) -> tuple[set[str], int]:
    """Take a batch from a source and load it; returns the reasons of its tables and the versions added."""
    before = versions(pair)
    planned, manifest = plan_batch(url or pair.source_url, pair.house)
    if manifest:
        pair.house.bring(manifest)
    return {table.reason for table in planned.tables.values()}, versions(pair) - before


def versions(pair: Pair) -> int:
    return int(value(pair.house.url, "SELECT count(*) FROM fact_sale"))


def equal(pair: Pair, url: str | None = None) -> None:
    """Assert that the warehouse equals plain SQL on the source."""
    sales = "SELECT sale_id, shop_id, amount FROM {} ORDER BY 1"
    shops = "SELECT shop_id, name FROM shop LEFT JOIN town USING (town_id) ORDER BY 1"
    source_url = url or pair.source_url
    assert pair.house.query(sales.format("fact_sale_current")) == query(source_url, sales.format("sale"))
    assert pair.house.query("SELECT shop_id, town FROM dim_shop ORDER BY 1") == query(source_url, shops)


def program(server: Postgres, name: str, *arguments: str | Path, text: str | None = None) -> str:
    """Run a program of Postgres; returns its output."""
    account = account_for(server.home)
    done = run([programs(server.version, account) / name, *arguments], account, text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def position(url: str) -> tuple[int, str]:
    """The next transaction, and how much WAL there is."""
    ((xid, wal),) = query(
        url, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, pg_current_wal_lsn()::text"
    )
    return int(xid), str(wal)
