"""Who may do what: the roles of ``docs/`` are enough for the engine, and may do nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from demo.binaries import account_for, programs, run
from demo.postgres import Postgres
from pipeline import warehouse
from pipeline.errors import SourceError
from tests.bench import Bench
from tests.support import Warehouse, execute, query, value

ROOT = Path(__file__).parent.parent
PASSWORD = "its/own:pass@word"
MODELS = {
    "dim_shop": "SELECT shop_id, label FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, label varchar);
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_record_id serial PRIMARY KEY,
            sale_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            amount numeric NOT NULL
        );
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, label text)",
    "CREATE TABLE sale (sale_id serial PRIMARY KEY, shop_id int, amount numeric)",
    "INSERT INTO shop VALUES (1, 'York')",
    "INSERT INTO sale (shop_id, amount) VALUES (1, 1), (2, 2)",
)
NewRole = Callable[..., str]


@pytest.fixture
def bench(shared: Bench) -> Bench:
    shared.fresh(MODELS, *SOURCE)
    return shared


@pytest.fixture
def new_role(postgres: Postgres) -> Iterator[NewRole]:
    """A function that runs a script of ``docs/`` by psql, and returns the role's URL."""
    with ExitStack() as stack:

        def make(script: str, url: str, **settings: str) -> str:
            role = f"{Path(script).stem} {url.rsplit('_', 1)[1]}"
            account = account_for(postgres.home)
            given = [f"--set={name}={text}" for name, text in (settings | {"role": role}).items()]
            psql = programs(postgres.version, account) / "psql"
            done = run([psql, "--no-psqlrc", "--quiet", *given, "--file=-", url], account, script_of(script))
            assert (done.returncode, done.stderr) == (0, "")
            name = sql.Identifier(role)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, PASSWORD))
            stack.callback(drop, url, role)
            return f"postgresql://{quote(role)}:{quote(PASSWORD, safe='')}@{url.partition('@')[2]}"

        yield make


def script_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def drop(url: str, role: str) -> None:
    name = sql.Identifier(role)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(name))
        connection.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


@pytest.fixture
def reader_url(bench: Bench, new_role: NewRole) -> str:
    return new_role("source-role.sql", bench.source_url)


@pytest.fixture
def least(bench: Bench, new_role: NewRole, reader_url: str) -> Bench:
    """The bench as the pipeline sees it with the two roles."""
    house = bench.house
    url = new_role("warehouse-role.sql", house.url)
    return Bench(reader_url, Warehouse(url, house.folder, house.raw, house.processed), bench.home)


def test_the_whole_job_works_with_these_roles(bench: Bench, least: Bench) -> None:
    with warehouse.lock(least.house.url):
        least.run()
    bench.do(
        "UPDATE sale SET amount = 3 WHERE sale_id = 1",
        "INSERT INTO shop VALUES (2, 'Bath')",
        "UPDATE shop SET label = 'Leeds' WHERE shop_id = 1",
    )
    with warehouse.lock(least.house.url):
        least.run()
    bench.do("DELETE FROM sale WHERE sale_id = 1")
    least.run(reconcile=True)
    assert least.run() is None
    assert least.house.query("SELECT sale_id, amount FROM fact_sale_current") == [(2, 2)]
    assert value(least.house.url, "SELECT count(*) FROM fact_sale_history") == 4
    assert value(least.house.url, "SELECT count(*) FROM fact_sale_as_of(now())") == 1
    assert value(least.house.url, "SELECT count(*) FROM dim_shop_history") == 3
    assert least.house.rejected() == []


def test_a_warehouse_that_was_there_before_becomes_the_roles(bench: Bench, new_role: NewRole) -> None:
    bench.run()
    loader_url = new_role("warehouse-role.sql", bench.house.url)
    bench.do("INSERT INTO sale (shop_id, amount) VALUES (1, 9)")
    house = bench.house
    Bench(bench.source_url, Warehouse(loader_url, house.folder, house.raw, house.processed), bench.home).run()
    assert value(house.url, "SELECT count(*) FROM fact_sale_current") == 2


def test_tables_that_come_later_can_be_read(bench: Bench, reader_url: str) -> None:
    bench.do("CREATE TABLE later AS SELECT 1 AS id")
    assert query(reader_url, "SELECT id FROM later") == [(1,)]


WRITES = (
    "INSERT INTO shop VALUES (9, 'x')",
    "UPDATE shop SET label = 'x'",
    "DELETE FROM shop",
    "TRUNCATE shop",
    "MERGE INTO shop USING sale ON false WHEN NOT MATCHED THEN INSERT VALUES (9, 'x')",
    "SELECT nextval('sale_sale_id_seq')",
    "SELECT * FROM shop FOR UPDATE",
    "BEGIN; LOCK TABLE shop IN ACCESS EXCLUSIVE MODE",
    "ALTER TABLE shop ADD COLUMN more int",
    "DROP TABLE shop",
    "CREATE TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "COPY shop TO PROGRAM 'true'",
    "COPY shop TO '/dev/null'",
    "SELECT pg_read_file('postgresql.conf')",
)


@pytest.mark.parametrize("statement", WRITES)
def test_the_source_role_cannot_write(bench: Bench, reader_url: str, statement: str) -> None:
    for prefix in ("", "SET default_transaction_read_only = off; "):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
            execute(reader_url, prefix + statement)
    assert query(bench.source_url, "SELECT * FROM shop") == [(1, "York")]


def test_the_source_role_reads_its_schema_and_no_other(bench: Bench, reader_url: str) -> None:
    bench.do("CREATE SCHEMA IF NOT EXISTS wages", "CREATE TABLE IF NOT EXISTS wages.list (id int)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        query(reader_url, "SELECT * FROM wages.list")
    bench.do("DROP SCHEMA wages CASCADE")


def test_rows_that_a_policy_hides_from_the_role_are_an_error(bench: Bench, least: Bench) -> None:
    bench.do("ALTER TABLE shop ENABLE ROW LEVEL SECURITY", "CREATE POLICY hides ON shop USING (shop_id > 1)")
    with pytest.raises(SourceError, match="row-level security"):
        least.run()


OUTSIDE = (
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "CREATE TABLE elsewhere.mine (id int)",
    "SELECT * FROM elsewhere.secret",
    "COPY etl.batch TO PROGRAM 'true'",
)


@pytest.mark.parametrize("statement", OUTSIDE)
def test_the_warehouse_role_stays_in_its_schemas(bench: Bench, least: Bench, statement: str) -> None:
    execute(bench.house.url, "CREATE SCHEMA elsewhere", "CREATE TABLE elsewhere.secret (id int)")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(least.house.url, statement)
    finally:
        execute(bench.house.url, "DROP SCHEMA elsewhere CASCADE")
