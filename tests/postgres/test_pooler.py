"""Behind PgBouncer: settings end with their transaction, and the lock excludes concurrent runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from demo.home import PROJECT
from demo.postgres import Postgres
from pipeline import postgres as engine
from pipeline.errors import SettingsError, WarehouseBusy
from pipeline.settings import Settings
from pipeline.source import snapshots
from pipeline.warehouse import ledger
from tests.house import Warehouse
from tests.pair import Pair
from tests.pooler import MISSING, PROGRAM, pooler
from tests.support import execute, value

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)

MODELS = {
    "dim_shop": "SELECT shop_id, label FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount, taken FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, label varchar);
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_id integer NOT NULL, shop_id integer NOT NULL REFERENCES dim_shop,
            amount double precision, taken interval
        );
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, label text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount double precision, taken interval)",
    "INSERT INTO shop VALUES (1, 'York')",
    "INSERT INTO sale VALUES (1, 1, 0.1::float8 + 0.2::float8, '1 day 02:00'), (2, 9, 1, NULL)",
)
SIZE = 6
# Settings that a pooled session may have and a new one has not.
LEFT_BEHIND = """
    SELECT name, setting FROM pg_settings
    WHERE source = 'session' AND name NOT IN (
        'application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings'
    )
    UNION ALL SELECT 'prepared', name FROM pg_prepared_statements
    UNION ALL SELECT 'lock', mode FROM pg_locks WHERE locktype = 'advisory'
    UNION ALL SELECT 'temporary', relname FROM pg_class WHERE pg_my_temp_schema() = relnamespace
"""
Through = Callable[[str], str]


@pytest.fixture
def pair(shared: Pair) -> Pair:
    shared.fresh(MODELS, *SOURCE)
    return shared


@pytest.fixture(scope="module", params=["transaction", "session"])
def through(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[Through]:
    """A function that makes a URL of a pooler in this mode."""
    with pooler(postgres, request.param, SIZE) as made:
        yield made


@pytest.fixture
def pooled(pair: Pair, through: Through) -> Pair:
    """A source and a warehouse behind a pooler."""
    house = pair.house
    behind = Warehouse(through(house.url), house.folder, house.raw, house.processed)
    return Pair(through(pair.source_url), behind, pair.home)


def on_every_session(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run a statement on every session of a pool, by opening all of them at once."""
    connections = [psycopg.connect(url, prepare_threshold=None) for _ in range(SIZE)]
    rows: list[tuple[object, ...]] = []
    for connection in connections:
        cursor = connection.execute(statement.encode())
        rows += cursor.fetchall() if cursor.description else []
    for connection in connections:
        connection.commit()
        connection.close()
    return rows


def whole_job(pair: Pair, pooled: Pair) -> None:
    with ledger.lock(pooled.house.url, "public") as lock:
        pooled.run()
        pair.do("UPDATE sale SET taken = '3 days' WHERE sale_id = 1", "INSERT INTO shop VALUES (9, 'Bath')")
        pooled.run()
        lock.check()
    pair.do("DELETE FROM sale WHERE sale_id = 2")
    pooled.run(reconcile=True)
    assert pooled.run() is None
    rows = pair.house.query(
        "SELECT sale_id, amount::text, taken::text FROM fact_sale_history ORDER BY 1, 2, 3"
    )
    assert rows == [
        (1, "0.30000000000000004", "1 day 02:00:00"),
        (1, "0.30000000000000004", "3 days"),
        (2, "1", None),
        (2, "1", None),
    ]


def test_the_whole_job_leaves_nothing_behind(pair: Pair, pooled: Pair) -> None:
    whole_job(pair, pooled)
    for url in (pooled.source_url, pooled.house.url):
        assert on_every_session(url, LEFT_BEHIND) == []


def test_settings_left_by_other_sessions_change_no_value(pair: Pair, pooled: Pair, through: Through) -> None:
    if pooled.source_url == pair.source_url:
        pytest.fail("the pooler is passed by")
    for url in (pooled.source_url, pooled.house.url):
        on_every_session(
            url,
            "SET extra_float_digits = -10; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape';"
            " SET search_path = nowhere; SET row_security = on; SET lock_timeout = '1ms';"
            " SET default_transaction_isolation = 'serializable'; CREATE TEMP TABLE pg_class (relname name)",
        )
    whole_job(pair, pooled)
    for url in (pooled.source_url, pooled.house.url):
        on_every_session(url, "DISCARD TEMP; RESET ALL")


def test_a_run_excludes_another_until_it_ends(pooled: Pair) -> None:
    for _ in range(3):
        with (
            ledger.lock(pooled.house.url, "public"),
            pytest.raises(WarehouseBusy, match="another run is at work"),
            ledger.lock(pooled.house.url, "public"),
        ):
            pass
    with ledger.lock(pooled.house.url, "public"):
        pass


HOLDING = """
import sys
from pipeline.warehouse import ledger
with ledger.lock(sys.argv[1], "public"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_dies_releases_its_lock(pooled: Pair) -> None:
    root = PROJECT
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, pooled.house.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(WarehouseBusy), ledger.lock(pooled.house.url, "public"):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with ledger.lock(pooled.house.url, "public", seconds=60):
        pass
    assert value(pooled.house.url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_a_run_needs_two_sessions_of_the_warehouse_and_four_of_the_source(
    pair: Pair, postgres: Postgres
) -> None:
    """The lock and one transaction; the snapshot and three readers. The pools have no more sessions."""
    house = pair.house
    with (
        pooler(postgres, "transaction", size=2) as to_warehouse,
        pooler(postgres, "transaction", size=1 + Settings().readers) as to_source,
    ):
        behind = Warehouse(to_warehouse(house.url), house.folder, house.raw, house.processed)
        pooled = Pair(to_source(pair.source_url), behind, pair.home)
        with ledger.lock(behind.url, "public"):
            pooled.run()
        with snapshots.snapshot(pooled.source_url) as (_, snapshot), ExitStack() as readers:
            for _ in range(Settings().readers):
                reader = readers.enter_context(snapshots.adopt(pooled.source_url, snapshot.name))
                assert reader.execute("SELECT count(*) FROM public.sale").fetchone() == (2,)


def test_a_snapshot_is_read_by_many(pooled: Pair) -> None:
    with snapshots.snapshot(pooled.source_url) as (_, snapshot):
        execute(pooled.source_url, "DELETE FROM sale")
        for _ in range(3):
            with snapshots.adopt(pooled.source_url, snapshot.name) as reader:
                assert reader.execute("SELECT count(*) FROM public.sale").fetchone() == (2,)


@pytest.mark.parametrize("wrong", ["user", "password"])
def test_a_login_that_the_pooler_refuses_is_not_retried(pooled: Pair, wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"^source: .*(authentication failed|no such user)") as refused:
        engine.login(make_conninfo(pooled.source_url, **{wrong: "hunter2-hunter2"}), "source")
    assert str(refused.value).endswith("; check its URL and run `make blocks` again")


def test_a_pooler_that_hands_out_statements_is_refused_in_one_line(pair: Pair, postgres: Postgres) -> None:
    words = r"warehouse: .*statement pooling mode; the pooler must work in transaction or session mode$"
    with pooler(postgres, "statement") as through:
        url = through(pair.house.url)
        with pytest.raises(SettingsError, match=words) as refused:
            engine.login(url, "warehouse")
        assert "\n" not in str(refused.value)
        with pytest.raises(SettingsError, match=words), ledger.lock(url, "public"):
            pass
