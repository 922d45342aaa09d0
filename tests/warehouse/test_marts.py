"""The schema for readers: views of all tables, the warehouse's state, marts, and comments."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from textwrap import dedent
from typing import Any

import psycopg
import pytest
import sqlalchemy

from pipeline.errors import ModelError, WarehouseError
from pipeline.postgres import transaction
from pipeline.review.preview import preview
from pipeline.warehouse import catalogue
from tasks.changes import lines
from tests.pair import Pair
from tests.support import execute, value, write_models

MODELS = {
    "dim_shop": "-- One row per shop.\nSELECT shop_id, city FROM shop",
    "fact_sale": "-- One row per sale.\n-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text);
        COMMENT ON COLUMN dim_shop.city IS 'Where it is; it''s a city.';
        CREATE TABLE IF NOT EXISTS fact_sale (
            record_id serial PRIMARY KEY,
            sale_id integer NOT NULL,
            shop_id integer REFERENCES dim_shop,
            amount numeric(8, 2)
        );
        COMMENT ON COLUMN fact_sale.amount IS 'What was paid.';
    """,
}
MARTS = {
    # A mart comes before the one that it reads.
    "best_city": """
        -- One row: the city with the most sales.
        SELECT city FROM sales_by_city ORDER BY total DESC LIMIT 1
    """,
    "sales_by_city": """
        -- One row per city
        -- of shops.
        -- columns:
        -- city: The city's name,
        --   as the shop writes it.
        -- total: What its sales brought.
        SELECT city, sum(amount) AS total
        FROM fact_sale
        INNER JOIN dim_shop USING (shop_id)
        GROUP BY city;
    """,
    "sales_of.function": """
        -- One row per sale of a shop.
        -- columns:
        -- sale: The sale.
        CREATE OR REPLACE FUNCTION sales_of(shop integer) RETURNS TABLE (sale integer)
        LANGUAGE sql STABLE
        AS $$ SELECT sale_id FROM fact_sale WHERE shop_id = shop ORDER BY 1 $$
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, city text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount numeric(8, 2))",
    "INSERT INTO shop VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO sale VALUES (1, 1, 10), (2, 2, 20), (3, 2, 5), (4, 9, 1)",
)


def write(pair: Pair, marts: Mapping[str, str], models: Mapping[str, str] = MODELS) -> None:
    """Replace all marts, and write these models."""
    folder = pair.house.folder / "marts"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, text in marts.items():
        (folder / f"{name}.sql").write_text(dedent(text).strip() + "\n", encoding="utf-8")
    write_models(pair.house.folder, models)


@pytest.fixture(scope="module")
def two_batches(shared: Pair) -> Pair:
    """A shop with marts after two batches; the second one changed a sale and deleted another."""
    shared.fresh(MODELS, *SOURCE)
    write(shared, MARTS)
    shared.run()
    shared.do("UPDATE sale SET amount = 11 WHERE sale_id = 1", "DELETE FROM sale WHERE sale_id = 3")
    shared.run()
    return shared


@pytest.fixture
def shop(two_batches: Pair) -> Pair:
    """The same, with its marts and models as they were."""
    write(two_batches, MARTS)
    two_batches.house.prepare()
    return two_batches


def columns_of(shop: Pair, relation: str) -> list[str]:
    rows = shop.house.query(
        f"SELECT attname::text FROM pg_attribute WHERE attrelid = '{relation}'::regclass AND attnum > 0"
        " AND NOT attisdropped ORDER BY attnum"
    )
    return [name for (name,) in rows]


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


def test_marts_are_made_replaced_and_dropped_with_their_files(shop: Pair) -> None:
    house = shop.house
    assert house.query("TABLE reporting.best_city") == [("Bath",)]
    assert house.query("SELECT * FROM reporting.sales_of(2)") == [(2,)]
    execute(house.url, "GRANT SELECT ON reporting.best_city, reporting.sales_by_city TO pg_monitor")
    before = house.query("SELECT xmin::text FROM etl.mart ORDER BY 1")
    house.prepare()
    assert house.query("SELECT xmin::text FROM etl.mart ORDER BY 1") == before, "nothing is made again"
    # Another first column, which CREATE OR REPLACE VIEW refuses, and other parameters of a function.
    by_city = MARTS["sales_by_city"].replace("SELECT city, sum", "SELECT count(*) AS sales, city, sum")
    of_city = MARTS["sales_of.function"].replace("shop integer", "shop integer, least_amount numeric")
    write(shop, MARTS | {"sales_by_city": by_city, "sales_of.function": of_city})
    house.prepare()
    assert house.query("SELECT sales, city FROM reporting.sales_by_city ORDER BY 2") == [
        (1, "Bath"),
        (1, "York"),
    ]
    assert house.query(
        "SELECT pg_get_function_arguments(oid) FROM pg_proc"
        " WHERE proname = 'sales_of' AND pronamespace = 'reporting'::regnamespace"
    ) == [("shop integer, least_amount numeric",)]
    granted = "SELECT has_table_privilege('pg_monitor', '{}', 'select')"
    assert house.query(granted.format("reporting.best_city")) == [(True,)], "it was made again"
    assert house.query(granted.format("reporting.sales_by_city")) == [(True,)]
    write(shop, {"sales_of.function": of_city})
    house.prepare()
    made = "SELECT mart_name FROM etl.mart WHERE schema_name = 'public' ORDER BY 1"
    assert house.query(made) == [("batches",), ("freshness",), ("rejected",), ("sales_of",)]
    assert house.query("SELECT to_regclass('reporting.sales_by_city')") == [(None,)]


WRONG = {
    "column": (
        {"best_city": "-- A city.\nSELECT\n    town\nFROM dim_shop"},
        r'marts/best_city\.sql:3: column "town" does not exist; correct the mart',
    ),
    "of a function": (
        {"f.function": MARTS["sales_of.function"].replace("sales_of", "f").replace("sale_id", "sale_no")},
        r'marts/f\.function\.sql:6: column "sale_no" does not exist',
    ),
    "table": (
        {"a": "-- A row.\nSELECT * FROM b", "b": "-- A row.\nSELECT * FROM dim_shops"},
        r'marts/b\.sql:2: relation "dim_shops" does not exist; correct the mart$',
    ),
    "syntax": ({"a": "-- A row.\nSELECT 1 AS"}, r"marts/a\.sql:2: syntax error at end of input"),
    "two statements": (
        {"a": "-- A row.\nSELECT 1 AS x; DROP SCHEMA etl"},
        r"marts/a\.sql: cannot insert multiple commands",
    ),
    "other statement": ({"a": "-- A row.\nDROP SCHEMA etl"}, r"marts/a\.sql:2: syntax error"),
    "other function": (
        {"f.function": "-- A row.\nCREATE FUNCTION g() RETURNS integer"},
        r"marts/f\.function\.sql: write `CREATE OR REPLACE FUNCTION f\(…\)`",
    ),
    "no meaning": ({"a": "SELECT 1 AS x"}, r"marts/a\.sql:1: begin it with comment lines that say what"),
    "described column": (
        {"a": "-- A row.\n-- columns:\n-- y: The y.\nSELECT 1 AS x"},
        r"marts/a\.sql: describes the column y, which it does not return; it has x",
    ),
    "name of a model": (
        {"dim_shop": "-- A row.\nSELECT 1 AS x"},
        r"marts/dim_shop\.sql: dim_shop is the name",
    ),
    "name of our view": ({"freshness": "-- A row.\nSELECT 1 AS x"}, r"freshness is the name of"),
}


def test_a_wrong_mart_is_refused_with_its_line_and_nothing_changes(shop: Pair) -> None:
    for kind, (marts, line) in WRONG.items():
        write(shop, MARTS | marts)
        with pytest.raises(ModelError, match=line) as refused:
            shop.house.prepare()
        assert "\n" not in str(refused.value), kind
    assert shop.house.query("TABLE reporting.best_city") == [("Bath",)]


def test_what_others_made_of_marts_is_named_and_not_touched(shop: Pair) -> None:
    house = shop.house
    execute(house.url, "CREATE VIEW public.mine AS SELECT city FROM reporting.sales_by_city")
    try:
        write(shop, {"best_city": "-- One city.\nSELECT max(city) AS city FROM dim_shop"})
        with pytest.raises(
            WarehouseError, match=r"reporting\.sales_by_city has to be .*view public\.mine depends on"
        ):
            house.prepare()
        wider = MODELS | {"schema": MODELS["schema"].replace("numeric(8, 2)", "numeric(9, 2)")}
        write(shop, MARTS, wider)
        with pytest.raises(WarehouseError, match=r"while others depend on it: view public\.mine; drop"):
            house.prepare()
        assert house.query("SELECT count(*) FROM public.mine") == [(2,)]
    finally:
        execute(house.url, "DROP VIEW public.mine")


OF_OTHERS = {
    "VIEW reporting.bought": "CREATE VIEW reporting.bought AS SELECT 1 AS x",
    "TABLE reporting.bought": "CREATE TABLE reporting.bought (x int)",
    "FUNCTION reporting.bought": "CREATE FUNCTION reporting.bought() RETURNS int LANGUAGE sql AS 'SELECT 1'",
}


def test_an_object_of_others_is_not_replaced(shop: Pair) -> None:
    write(shop, MARTS | {"bought": "-- A row.\nSELECT 2 AS x"})
    for name, made in OF_OTHERS.items():
        execute(shop.house.url, made)
        try:
            with pytest.raises(
                WarehouseError, match=f"(?i){name}.* was not made by the pipeline, which needs"
            ):
                shop.house.prepare()
        finally:
            execute(shop.house.url, f"DROP {name}")


def test_marts_follow_tables_that_change(shop: Pair) -> None:
    """A wider type, a new column, a new name: marts are made again over the tables as they are now."""
    house = shop.house
    execute(house.url, "GRANT SELECT ON reporting.best_city, reporting.fact_sale TO pg_monitor")
    wider = MODELS["schema"].replace("numeric(8, 2)", "numeric(9, 2)").replace(
        "shop_id integer PRIMARY KEY, city text", "shop_id integer PRIMARY KEY, city text, size integer"
    )  # fmt: skip
    all_shops = {"all_shops": "-- One row per shop.\nSELECT * FROM dim_shop"}
    write(shop, MARTS | all_shops)
    house.prepare()
    sized = MODELS["dim_shop"].replace("city FROM", "city, NULL::INTEGER AS size FROM")
    write(shop, MARTS | all_shops, MODELS | {"schema": wider, "dim_shop": sized})
    house.prepare()
    assert columns_of(shop, "reporting.all_shops") == ["shop_id", "city", "size"]
    type_of = (
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'reporting.fact_sale'::regclass AND attname = 'amount'"
    )
    assert house.query(type_of) == [("numeric(9,2)",)]
    granted = "SELECT has_table_privilege('pg_monitor', 'reporting.{}', 'select')"
    for view in ("best_city", "fact_sale"):
        assert house.query(granted.format(view)) == [(True,)]
    renamed = {
        "schema": wider.replace("city text", "town text").replace("dim_shop.city", "dim_shop.town"),
        "dim_shop": "-- One row per shop.\n-- renamed: city -> town\n"
        "SELECT shop_id, city AS town, NULL::INTEGER AS size FROM shop",
    }
    write(shop, MARTS | all_shops, MODELS | renamed)
    with pytest.raises(ModelError, match=r'sales_by_city\.sql:7: column "city" does not exist'):
        house.prepare()
    by_town = {
        name: text.replace("SELECT city", "SELECT town AS city").replace("BY city;", "BY town;")
        if name == "sales_by_city"
        else text
        for name, text in MARTS.items()
    }
    write(shop, by_town | all_shops, MODELS | renamed)
    house.prepare()
    assert house.query("TABLE reporting.best_city") == [("Bath",)]
    assert columns_of(shop, "reporting.all_shops") == ["shop_id", "town", "size"]
    back = {
        "schema": wider,
        "dim_shop": "-- One row per shop.\n-- renamed: town -> city\n"
        "SELECT shop_id, city, NULL::INTEGER AS size FROM shop",
    }
    write(shop, MARTS, MODELS | back)
    house.prepare()
    execute(house.url, "DELETE FROM etl.schema_file")


def test_a_table_that_a_mart_reads_is_not_dropped(shop: Pair) -> None:
    house = shop.house
    write(shop, MARTS, MODELS | {"schema": MODELS["schema"].partition("CREATE TABLE IF NOT EXISTS fact")[0]})
    (house.folder / "fact_sale.sql").unlink()
    house.prepare()
    assert house.query("TABLE reporting.best_city") == [("Bath",)], "a frozen table stays in reporting"
    with pytest.raises(ModelError, match=r'sales_by_city\.sql:8: relation "fact_sale" does not exist'):
        catalogue.prepare(house.url, "public", house.models, house.folder, ["drop fact_sale"])
    assert house.query("TABLE reporting.best_city") == [("Bath",)]


def test_lost_marts_are_made_again(shop: Pair) -> None:
    house = shop.house
    execute(house.url, "DROP VIEW reporting.sales_by_city CASCADE", "DELETE FROM etl.mart")
    house.prepare()
    assert house.query("TABLE reporting.best_city") == [("Bath",)]


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


def test_a_plan_names_marts_that_change_or_break(shop: Pair) -> None:
    house = shop.house

    def plan() -> list[str]:
        found = preview(house.url, "public", house.models, house.folder, house.raw)
        return [line for line in lines(found) if "reporting." in line or "marts/" in line]

    assert plan() == []
    write(shop, {
        "best_city": MARTS["best_city"],
        "sales_by_city": MARTS["sales_by_city"].replace("sum(", "max("),
        "new": "-- A row.\nSELECT 1 AS x",
    })  # fmt: skip
    assert plan() == [
        "reporting.new: is a new mart",
        "reporting.sales_by_city: is made again, as its file has changed",
        "reporting.sales_of: is dropped, as its file is gone",
    ]
    write(shop, MARTS | {"new": "-- A row.\n-- columns:\n-- y: The y.\nSELECT 1 AS x"})
    assert plan()[1].endswith("marts/new.sql: describes the column y, which it does not return; it has x")
    write(shop, MARTS | {"dim_shop": "-- A row.\nSELECT 1 AS x"})
    with pytest.raises(ModelError, match=r"marts/dim_shop\.sql: dim_shop is the name of a model"):
        plan()
    without = MODELS["schema"].replace(", city text", "").replace(
        "COMMENT ON COLUMN dim_shop.city IS 'Where it is; it''s a city.';", ""
    )  # fmt: skip
    write(
        shop,
        MARTS,
        MODELS | {"schema": without, "dim_shop": "-- One row per shop.\nSELECT shop_id FROM shop"},
    )
    ((broken, line),) = [(first, second) for first, second in zip(plan(), plan()[1:], strict=False)]
    assert broken == "reporting.sales_by_city: breaks, so the run fails"
    assert line.endswith('marts/sales_by_city.sql:7: column "city" does not exist; correct the mart')
    assert house.query("TABLE reporting.best_city") == [("Bath",)]


def test_a_function_of_a_stranger_is_not_called(shop: Pair) -> None:
    house = shop.house
    name = f"stranger_{house.url.rsplit('_', 1)[1]}"
    execute(
        house.url,
        f"CREATE ROLE {name}",
        f"GRANT CREATE, USAGE ON SCHEMA public TO {name}",
        f"SET ROLE {name};"
        " CREATE FUNCTION public.concat_ws(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
    )
    try:
        write(shop, MARTS | {"a": "-- A row.\nSELECT concat_ws(city, city) AS x FROM dim_shop"})
        with pytest.raises(WarehouseError, match=f"a mart would call function .*concat_ws.* of role {name}"):
            house.prepare()
    finally:
        execute(house.url, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def test_a_branch_has_no_schema_for_readers(shop: Pair) -> None:
    with transaction(shop.house.url, "warehouse") as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE SCHEMA branch_x")
        models: Any = shop.house.models
        catalogue.create_tables(connection, "branch_x", models, shop.house.folder, for_readers=False)
        row = connection.execute("SELECT to_regnamespace('branch_x_reporting')").fetchone()
    assert row == (None,)
