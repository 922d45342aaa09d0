"""Who may do what: the roles of ``docs/`` are enough for the engine, and may do nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pytest
from psycopg import sql

import tasks.grants
from demo.binaries import account_for, programs, run
from demo.home import PROJECT
from demo.postgres import Postgres
from pipeline.errors import SourceError
from pipeline.warehouse import ledger
from tasks.grants import grants
from tests.bench import Bench
from tests.support import Warehouse, execute, query, value, write_models

ROOT = PROJECT
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
def reader_url(bench: Bench, new_role: NewRole, monkeypatch: pytest.MonkeyPatch) -> str:
    """The source's role after `make grants`."""
    url = new_role("source-role.sql", bench.source_url)
    monkeypatch.setenv("TOTESYS_TRANSFORMS", str(bench.house.folder))
    execute(bench.source_url, *grants(unquote(urlsplit(url).username or "")))
    return url


@pytest.fixture
def least(bench: Bench, new_role: NewRole, reader_url: str) -> Bench:
    """The bench as the pipeline sees it with the two roles."""
    house = bench.house
    url = new_role("warehouse-role.sql", house.url)
    return Bench(reader_url, Warehouse(url, house.folder, house.raw, house.processed), bench.home)


def test_the_whole_job_works_with_these_roles(bench: Bench, least: Bench) -> None:
    with ledger.lock(least.house.url, "public"):
        least.run()
    bench.do(
        "UPDATE sale SET amount = 3 WHERE sale_id = 1",
        "INSERT INTO shop VALUES (2, 'Bath')",
        "UPDATE shop SET label = 'Leeds' WHERE shop_id = 1",
    )
    with ledger.lock(least.house.url, "public"):
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


def test_only_what_models_name_can_be_read(bench: Bench, reader_url: str) -> None:
    """Neither what is there nor what comes later."""
    bench.do(
        "CREATE TABLE app_user (id int, password_hash text)",
        "CREATE VIEW sale_view AS SELECT * FROM sale",
    )
    for name in ("app_user", "sale_view"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(reader_url, f"SELECT * FROM {name}")
    assert query(reader_url, "SELECT count(*) FROM sale") == [(2,)]


def test_names_in_grants_are_quoted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_models(
        bench.house.folder,
        {
            "dim_shop": 'SELECT * FROM "a ""table""; --" JOIN shop USING (shop_id)',
            "dim_currency": "SELECT code AS currency_id FROM iso_4217",
        },
    )
    monkeypatch.setenv("TOTESYS_TRANSFORMS", str(bench.house.folder))
    monkeypatch.setenv("TOTESYS_SOURCE_SCHEMA", "Sales")
    monkeypatch.setattr("sys.argv", ["grants", "--role", 'the "reader"'])
    assert tasks.grants.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        'GRANT SELECT ON TABLE "Sales"."a ""table""; --" TO "the ""reader""";',
        'GRANT SELECT ON TABLE "Sales"."sale" TO "the ""reader""";',
        'GRANT SELECT ON TABLE "Sales"."shop" TO "the ""reader""";',
    ]


def owners(url: str) -> dict[str, str]:
    """Who owns each relation and function of the schemas that the pipeline uses."""
    return dict(
        query(
            url,
            "SELECT oid::regclass::text, relowner::regrole::text FROM pg_class"
            " WHERE relnamespace IN ('public'::regnamespace, 'etl'::regnamespace) AND relkind IN ('r', 'v')"
            " UNION ALL SELECT oid::regprocedure::text, proowner::regrole::text FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace",
        )
    )


@pytest.fixture
def stranger(bench: Bench) -> Iterator[str]:
    """Another user of the warehouse."""
    role = f"stranger {bench.house.url.rsplit('_', 1)[1]}"
    name = sql.Identifier(role)
    with psycopg.connect(bench.house.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
        yield role
    drop(bench.house.url, role)


def test_only_what_the_pipeline_made_changes_hands(bench: Bench, new_role: NewRole, stranger: str) -> None:
    bench.run()
    theirs = (
        "TABLE notes",
        "TABLE etl.notes",
        "VIEW sale_history",
        "VIEW notes_current",
        "FUNCTION notes_as_of(int)",
        "FUNCTION fact_sale_as_of(int)",
    )
    execute(
        bench.house.url,
        "CREATE TABLE notes (id int)",
        "CREATE TABLE etl.notes (id int)",
        "CREATE VIEW sale_history AS SELECT 1 AS id",
        "CREATE VIEW notes_current AS SELECT 1 AS id",
        "CREATE FUNCTION notes_as_of(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION fact_sale_as_of(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        *(f'ALTER {what} OWNER TO "{stranger}"' for what in theirs),
        "CREATE TABLE ledger (id int)",  # of the owner of it all, and not the pipeline's
    )
    before = owners(bench.house.url)
    url = new_role("warehouse-role.sql", bench.house.url)
    after = owners(bench.house.url)
    role = f'"{unquote(urlsplit(url).username or "")}"'
    assert {name for name in after if after[name] != before[name]} == {
        "dim_shop", "dim_shop_history", "dim_shop_version",
        "fact_sale", "fact_sale_current", "fact_sale_history",
        "etl.version", "etl.warehouse", "etl.batch", "etl.watermark", "etl.model", "etl.rejected",
        "etl.forgotten",
        *(name for name in after if name.endswith("_as_of(timestamp with time zone)")),
    }  # fmt: skip
    assert {after[name] for name in after if after[name] != before[name]} == {role}
    for statement in ("DROP TABLE notes", "DROP TABLE ledger", "SELECT * FROM ledger"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(url, statement)


@pytest.mark.parametrize("script", ["source-role.sql", "warehouse-role.sql"])
def test_nobody_else_makes_functions_there(
    bench: Bench, new_role: NewRole, stranger: str, script: str
) -> None:
    """As everybody may on Postgres 14 and older."""
    url = bench.source_url if script.startswith("source") else bench.house.url
    execute(url, "GRANT CREATE ON SCHEMA public TO PUBLIC")
    new_role(script, url)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(
            url,
            f'SET ROLE "{stranger}"',
            "CREATE FUNCTION public.format(text, bigint) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        )


WRITES = (
    "INSERT INTO shop VALUES (9, 'x')",
    "UPDATE shop SET label = 'x'",
    "DELETE FROM shop",
    "TRUNCATE shop",
    pytest.param(
        "MERGE INTO shop USING sale ON false WHEN NOT MATCHED THEN INSERT VALUES (9, 'x')",
        marks=pytest.mark.since(15, "MERGE"),
    ),
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
