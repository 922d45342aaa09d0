"""The roles of docs/ have no other right."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg import sql

from pipeline.errors import SourceError
from tests.pair import Pair
from tests.postgres.roles import NewRole, drop
from tests.support import execute, query


def owners(url: str) -> dict[str, str]:
    """The owner of each relation and function in the schemas of the pipeline."""
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
def stranger(pair: Pair) -> Iterator[str]:
    """Another user of the warehouse."""
    role = f"stranger {pair.house.url.rsplit('_', 1)[1]}"
    name = sql.Identifier(role)
    with psycopg.connect(pair.house.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
        yield role
    drop(pair.house.url, role)


def test_only_objects_of_the_pipeline_change_their_owner(
    pair: Pair, new_role: NewRole, stranger: str
) -> None:
    pair.run()
    theirs = (
        "TABLE notes",
        "TABLE etl.notes",
        "VIEW sale_history",
        "VIEW notes_current",
        "FUNCTION notes_as_of(int)",
        "FUNCTION fact_sale_as_of(int)",
    )
    execute(
        pair.house.url,
        "CREATE TABLE notes (id int)",
        "CREATE TABLE etl.notes (id int)",
        "CREATE VIEW sale_history AS SELECT 1 AS id",
        "CREATE VIEW notes_current AS SELECT 1 AS id",
        "CREATE FUNCTION notes_as_of(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION fact_sale_as_of(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        *(f'ALTER {what} OWNER TO "{stranger}"' for what in theirs),
        "CREATE TABLE ledger (id int)",  # of the owner of it all, and not the pipeline's
    )
    before = owners(pair.house.url)
    url = new_role("warehouse-role.sql", pair.house.url)
    after = owners(pair.house.url)
    role = f'"{unquote(urlsplit(url).username or "")}"'
    assert {name for name in after if after[name] != before[name]} == {
        "dim_shop", "dim_shop_history", "dim_shop_version",
        "fact_sale", "fact_sale_current", "fact_sale_history",
        "etl.version", "etl.warehouse", "etl.batch", "etl.watermark", "etl.model", "etl.rejected",
        "etl.forgotten", "etl.schema_file", "etl.mart",
        *(name for name in after if name.endswith("_as_of(timestamp with time zone)")),
    }  # fmt: skip
    assert {after[name] for name in after if after[name] != before[name]} == {role}
    for statement in ("DROP TABLE notes", "DROP TABLE ledger", "SELECT * FROM ledger"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(url, statement)


@pytest.mark.parametrize("script", ["source-role.sql", "warehouse-role.sql"])
def test_no_other_role_creates_functions_in_the_schemas(
    pair: Pair, new_role: NewRole, stranger: str, script: str
) -> None:
    """Postgres 14 and older grant this to everybody."""
    url = pair.source_url if script.startswith("source") else pair.house.url
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
def test_the_source_role_cannot_write(pair: Pair, reader_url: str, statement: str) -> None:
    for prefix in ("", "SET default_transaction_read_only = off; "):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
            execute(reader_url, prefix + statement)
    assert query(pair.source_url, "SELECT * FROM shop") == [(1, "York")]


def test_the_source_role_reads_its_schema_and_no_other(pair: Pair, reader_url: str) -> None:
    pair.do("CREATE SCHEMA IF NOT EXISTS wages", "CREATE TABLE IF NOT EXISTS wages.list (id int)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        query(reader_url, "SELECT * FROM wages.list")
    pair.do("DROP SCHEMA wages CASCADE")


def test_rows_that_a_policy_hides_from_the_role_are_an_error(pair: Pair, least: Pair) -> None:
    pair.do("ALTER TABLE shop ENABLE ROW LEVEL SECURITY", "CREATE POLICY hides ON shop USING (shop_id > 1)")
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
def test_the_warehouse_role_stays_in_its_schemas(pair: Pair, least: Pair, statement: str) -> None:
    execute(pair.house.url, "CREATE SCHEMA elsewhere", "CREATE TABLE elsewhere.secret (id int)")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(least.house.url, statement)
    finally:
        execute(pair.house.url, "DROP SCHEMA elsewhere CASCADE")
