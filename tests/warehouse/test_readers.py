"""The schema for readers: views of all tables, the warehouse's state, and comments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy

from pipeline.postgres import transaction
from pipeline.warehouse import catalogue
from tests.pair import Pair
from tests.support import execute, value
from tests.warehouse.shop_marts import MARTS, MODELS, columns_of, write


def comments_of(shop: Pair, relation: str) -> dict[str, str]:
    """The comments of a relation, under its name, and of its columns."""
    rows = shop.house.query(
        "SELECT COALESCE(a.attname, ''), d.description FROM pg_description AS d LEFT JOIN pg_attribute AS a"
        f" ON d.objoid = a.attrelid AND d.objsubid = a.attnum WHERE d.objoid = '{relation}'::regclass"
        " AND d.classoid = 'pg_class'::regclass AND (d.objsubid = 0 OR a.attnum > 0)"
    )
    return dict(rows)


def test_readers_see_each_table_as_of_their_moment(shop: Pair) -> None:
    house = shop.house
    assert columns_of(shop, "reporting.fact_sale") == ["record_id", "sale_id", "shop_id", "amount"]
    rows = "SELECT sale_id, amount FROM reporting.fact_sale ORDER BY 1"
    assert house.query(rows) == [(1, 11), (2, 20)]
    first: datetime = value(house.url, "SELECT first_batch FROM reporting.freshness")
    with psycopg.connect(house.url) as reader:
        reader.execute("SELECT etl.look_at(%s)", (first,))
        assert reader.execute(rows.encode()).fetchall() == [(1, 10), (2, 20), (3, 5)]
        assert reader.execute("SELECT total FROM reporting.sales_by_city ORDER BY 1").fetchall() == [
            (10,), (25,),
        ]  # fmt: skip
        shown = reader.execute("SELECT as_of, last_batch, behind > '0' FROM reporting.freshness").fetchall()
        assert shown == [(first, first, True)]
        reader.execute("SELECT etl.look_at(%s)", (datetime.fromisoformat("2001-01-01T00:00+00"),))
        assert reader.execute("SELECT last_batch FROM reporting.freshness").fetchall() == [(None,)]
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="the first batch shows"):
            reader.execute("TABLE reporting.best_city")


def test_readers_see_the_warehouses_state_without_values_of_rows(shop: Pair) -> None:
    house = shop.house
    assert house.query(
        "SELECT as_of = up_to_date_at, as_of >= last_batch, first_batch < last_batch, rejected_rows,"
        " rejected_tables FROM reporting.freshness"
    ) == [(True, True, True, 1, ["fact_sale"])]
    assert house.query(
        "SELECT r.table_name, r.key, r.reason, r.since = f.first_batch, r.is_retried"
        " FROM reporting.rejected AS r, reporting.freshness AS f"
    ) == [("fact_sale", {"sale_id": "4"}, "shop_id is not in dim_shop", True, True)]
    assert house.query(
        "SELECT rows_added, rows_changed, rows_deleted, rows_rejected, rows_by_table ? 'fact_sale', seconds,"
        " warnings FROM reporting.batches ORDER BY moment"
    ) == [(5, 0, 0, 1, True, None, 0), (0, 1, 1, 0, True, None, 0)]


def test_an_empty_warehouse_has_one_row_of_freshness(shop: Pair) -> None:
    execute(shop.house.url, "DROP SCHEMA IF EXISTS dw, dw_as_of, dw_reporting CASCADE", "CREATE SCHEMA dw")
    catalogue.prepare(shop.house.url, "dw", shop.house.models, shop.house.folder)
    state = "SELECT as_of, behind, rejected_rows, rejected_tables FROM dw_reporting.freshness"
    assert shop.house.query(state) == [(None, None, 0, None)]
    assert shop.house.query("TABLE dw_reporting.best_city") == []
    assert shop.house.query("SELECT count(*) FROM reporting.sales_by_city") == [(2,)]
    execute(shop.house.url, "DROP SCHEMA dw, dw_as_of, dw_reporting CASCADE")


def test_comments_say_what_objects_and_columns_mean(shop: Pair) -> None:
    about = comments_of(shop, "fact_sale")
    assert about[""] == (
        "Every version of every row: reporting has the present ones under the same name. One row per sale."
    )
    assert about["amount"] == "What was paid."
    assert about.keys() >= {"recorded_at", "superseded_at", "deleted", "committed_at"}
    for relation in ("fact_sale_current", "fact_sale_history", "as_of.fact_sale", "reporting.fact_sale"):
        assert comments_of(shop, relation)["amount"] == "What was paid."
        assert comments_of(shop, relation)[""].endswith(" One row per sale.")
    for relation in ("dim_shop_version", "dim_shop_history", "reporting.dim_shop", "dim_shop"):
        assert comments_of(shop, relation)["city"] == "Where it is; it's a city."
    assert comments_of(shop, "dim_shop_history").keys() >= {"valid_from", "valid_to", "deleted"}
    assert comments_of(shop, "reporting.sales_by_city") == {
        "": "One row per city of shops. Made by the pipeline.",
        "city": "The city's name, as the shop writes it.",
        "total": "What its sales brought.",
    }
    function = "SELECT obj_description('{}'::regprocedure, 'pg_proc')"
    of_function = value(shop.house.url, function.format("reporting.sales_of(integer)"))
    assert of_function == "One row per sale of a shop. Returns sale: The sale. Made by the pipeline."
    as_of = value(shop.house.url, function.format("fact_sale_as_of(timestamptz)"))
    assert as_of == "The rows as they were at a moment. One row per sale."
    for view in ("freshness", "rejected", "batches"):
        relation = f"reporting.{view}"
        assert comments_of(shop, relation).keys() == {"", *columns_of(shop, relation)}


def test_tools_over_sqlalchemy_see_views_comments_and_keys(shop: Pair) -> None:
    engine = sqlalchemy.create_engine(shop.house.url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        seen = sqlalchemy.inspect(engine)
        assert set(seen.get_view_names("reporting")) == {
            "dim_shop", "fact_sale", "best_city", "sales_by_city", "freshness", "rejected", "batches",
        }  # fmt: skip
        about = seen.get_table_comment("sales_by_city", "reporting")["text"]
        assert about == "One row per city of shops. Made by the pipeline."
        columns = {each["name"]: each["comment"] for each in seen.get_columns("fact_sale", "reporting")}
        assert columns == {"record_id": None, "sale_id": None, "shop_id": None, "amount": "What was paid."}
        assert seen.get_pk_constraint("dim_shop")["constrained_columns"] == ["shop_id"]
        ((key, table),) = [
            (each["constrained_columns"], each["referred_table"])
            for each in seen.get_foreign_keys("fact_sale")
        ]
        assert (key, table) == (["shop_id"], "dim_shop")
    finally:
        engine.dispose()


def test_comments_follow_models_and_schema_file(shop: Pair) -> None:
    house = shop.house
    changed = {
        "fact_sale": MODELS["fact_sale"].replace("per sale", "per sale of a shop"),
        "schema": MODELS["schema"].replace("'What was paid.'", "'The price.'").replace(
            "COMMENT ON COLUMN dim_shop.city IS 'Where it is; it''s a city.';", ""
        ),
    }  # fmt: skip
    write(shop, MARTS, MODELS | changed)
    house.prepare()
    assert comments_of(shop, "reporting.fact_sale")[""].endswith("One row per sale of a shop.")
    assert comments_of(shop, "reporting.fact_sale")["amount"] == "The price."
    for relation in ("dim_shop", "dim_shop_version", "reporting.dim_shop"):
        assert "city" not in comments_of(shop, relation)
    execute(house.url, "COMMENT ON TABLE fact_sale IS 'Mine'", "COMMENT ON VIEW as_of.fact_sale IS NULL")
    write(shop, MARTS)
    house.prepare()
    assert comments_of(shop, "fact_sale")[""].endswith("One row per sale.")
    assert comments_of(shop, "as_of.fact_sale")[""].endswith("One row per sale.")
    before = house.query("SELECT count(*), sum(xmin::text::bigint) FROM pg_description WHERE objsubid > 0")
    house.prepare()
    after = house.query("SELECT count(*), sum(xmin::text::bigint) FROM pg_description WHERE objsubid > 0")
    assert after == before, "nothing is written if all comments are right"


def test_a_branch_has_no_schema_for_readers(shop: Pair) -> None:
    with transaction(shop.house.url, "warehouse") as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE SCHEMA branch_x")
        models: Any = shop.house.models
        catalogue.create_tables(connection, "branch_x", models, shop.house.folder, for_readers=False)
        row = connection.execute("SELECT to_regnamespace('branch_x_reporting')").fetchone()
    assert row == (None,)
