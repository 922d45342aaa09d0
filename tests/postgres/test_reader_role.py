"""The role of docs/reader-role.sql reads the warehouse as it is and as it becomes, and does nothing else."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from demo.postgres import Postgres
from tests.house import Warehouse
from tests.pair import Pair
from tests.postgres.roles import MODELS, NewRole, roles_of
from tests.support import database, execute, query, value, write_models

MART = """-- One row per label.
SELECT label, count(*) AS sales
FROM fact_sale
INNER JOIN dim_shop USING (shop_id)
GROUP BY label"""


def write_mart(house: Warehouse, name: str, text: str) -> None:
    folder = house.folder / "marts"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.sql").write_text(text, encoding="utf-8")


def test_a_reader_sees_what_there_is_and_what_comes(pair: Pair, least: Pair, new_role: NewRole) -> None:
    """Tables of before and after the role was made, of models and marts, made again, and of later columns."""
    house = least.house
    write_mart(house, "sales_by_label", MART)
    pair.do("INSERT INTO sale (shop_id, amount) VALUES (9, 9)")
    least.run()
    url = new_role("reader-role.sql", pair.house.url, loader=loader_of(pair))
    execute(
        pair.house.url, "DROP SCHEMA IF EXISTS secret CASCADE", "CREATE SCHEMA secret CREATE TABLE t (x int)"
    )
    execute(pair.house.url, "CREATE TABLE public.of_others (x int)")
    again = MART.replace("label, count(*) AS sales", "count(*) AS sales, label")
    write_mart(house, "sales_by_label", again)
    write_mart(house, "shops", "-- One row per shop.\nSELECT shop_id FROM dim_shop")
    schema = MODELS["schema"] + "CREATE TABLE IF NOT EXISTS dim_tag (tag_id integer PRIMARY KEY);"
    write_models(house.folder, {"schema": schema, "dim_tag": "SELECT DISTINCT shop_id AS tag_id FROM sale"})
    pair.do("INSERT INTO sale (shop_id, amount) VALUES (1, 7)")
    least.run()
    for name, rows in {
        "fact_sale": 2, "fact_sale_current": 2, "fact_sale_history": 2, "fact_sale_as_of(now())": 2,
        "dim_shop_version": 1, "dim_shop_history": 1, "as_of.fact_sale": 2, "dim_tag": 3,
        "reporting.fact_sale": 2, "reporting.sales_by_label": 1, "reporting.shops": 1, "reporting.dim_tag": 3,
        "reporting.freshness": 1, "reporting.rejected": 2, "reporting.batches": 2,
    }.items():  # fmt: skip
        assert query(url, f"SELECT count(*) FROM {name}") == [(rows,)], name
    home = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'fact_sale'::regclass"
    assert query(url, home) == [("reporting",)]
    first = query(url, "SELECT etl.look_at(first_batch) = first_batch FROM reporting.freshness")
    assert first == [(True,)]
    for wrong in (
        "TABLE etl.rejected", "TABLE etl.batch", "TABLE etl.model", "TABLE etl.mart", "TABLE secret.t",
        "TABLE public.of_others", "DELETE FROM public.fact_sale", "UPDATE reporting.dim_shop SET label = ''",
        "INSERT INTO public.dim_shop VALUES (7)", "TRUNCATE public.dim_shop",
        "CREATE TABLE public.mine (x int)", "CREATE VIEW reporting.mine AS SELECT 1", "CREATE SCHEMA mine",
        "DROP VIEW reporting.shops", "COMMENT ON VIEW reporting.shops IS 'x'",
    ):  # fmt: skip
        # It may write as far as the session's setting goes.
        with (
            psycopg.connect(url, options="-c default_transaction_read_only=off") as reader,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            reader.execute(wrong.encode())
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        query(url, "CREATE TEMP TABLE mine (x int)")
    new_role("reader-role.sql", pair.house.url, loader=loader_of(pair))


def test_a_bare_name_is_that_of_the_schema_for_readers_whatever_the_schema(postgres: Postgres) -> None:
    with database(postgres, "bare") as owner, roles_of(postgres) as new_role:
        for schema in ('My "shop"', 'My "shop"_as_of', 'My "shop"_reporting', "etl"):
            execute(owner, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)).as_string())
        for end in ("", "_reporting"):
            home = sql.Identifier(f'My "shop"{end}', "sale")
            execute(owner, sql.SQL("CREATE TABLE {} AS SELECT {} AS ending").format(home, end).as_string())
        reader = new_role(
            "reader-role.sql", owner, schema='My "shop"', loader=value(owner, "SELECT current_user")
        )
        assert query(reader, "SELECT ending FROM sale") == [("_reporting",)]


def loader_of(pair: Pair) -> str:
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'etl.model'::regclass"
    return str(value(pair.house.url, owner))


def test_without_the_right_to_create_its_schema_the_run_warns_and_goes_on(
    pair: Pair, least: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a warehouse whose role an earlier release's script has made."""
    execute(pair.house.url, "DROP SCHEMA reporting CASCADE")
    least.run()
    line = "Schema reporting is not used, because the warehouse's role may not create objects in it; the"
    assert line in caplog.text
    ((_, _, grant),) = [text.partition("can create it: ") for text in caplog.messages if line in text]
    execute(pair.house.url, grant)
    least.house.prepare()
    assert query(least.house.url, "SELECT count(*) FROM reporting.fact_sale") == [(1,)]
