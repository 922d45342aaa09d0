"""Marts: made, replaced and dropped with their files and tables; wrong ones change nothing."""

from __future__ import annotations

import pytest

from pipeline.errors import ModelError, WarehouseError
from pipeline.review.preview import preview
from pipeline.warehouse import catalogue
from tasks.changes import lines
from tests.pair import Pair
from tests.support import execute
from tests.warehouse.shop_marts import MARTS, MODELS, columns_of, write


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


ALL_SHOPS = {"all_shops": "-- One row per shop.\nSELECT * FROM dim_shop"}


def test_marts_follow_a_wider_type_and_a_new_column(shop: Pair) -> None:
    """They are made again over the tables as they are now."""
    house = shop.house
    execute(house.url, "GRANT SELECT ON reporting.best_city, reporting.fact_sale TO pg_monitor")
    wider = MODELS["schema"].replace("numeric(8, 2)", "numeric(9, 2)").replace(
        "shop_id integer PRIMARY KEY, city text", "shop_id integer PRIMARY KEY, city text, size integer"
    )  # fmt: skip
    write(shop, MARTS | ALL_SHOPS)
    house.prepare()
    sized = MODELS["dim_shop"].replace("city FROM", "city, NULL::INTEGER AS size FROM")
    write(shop, MARTS | ALL_SHOPS, MODELS | {"schema": wider, "dim_shop": sized})
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
    execute(house.url, "DELETE FROM etl.schema_file")


def test_marts_follow_a_new_name(shop: Pair) -> None:
    house = shop.house
    write(shop, MARTS | ALL_SHOPS)
    house.prepare()
    renamed = {
        "schema": MODELS["schema"]
        .replace("city text", "town text")
        .replace("dim_shop.city", "dim_shop.town"),
        "dim_shop": "-- One row per shop.\n-- renamed: city -> town\nSELECT shop_id, city AS town FROM shop",
    }
    write(shop, MARTS | ALL_SHOPS, MODELS | renamed)
    with pytest.raises(ModelError, match=r'sales_by_city\.sql:7: column "city" does not exist'):
        house.prepare()
    by_town = {
        name: text.replace("SELECT city", "SELECT town AS city").replace("BY city;", "BY town;")
        if name == "sales_by_city"
        else text
        for name, text in MARTS.items()
    }
    write(shop, by_town | ALL_SHOPS, MODELS | renamed)
    house.prepare()
    assert house.query("TABLE reporting.best_city") == [("Bath",)]
    assert columns_of(shop, "reporting.all_shops")[:2] == ["shop_id", "town"]
    back = "-- One row per shop.\n-- renamed: town -> city\nSELECT shop_id, city FROM shop"
    write(shop, MARTS, MODELS | {"dim_shop": back})
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
    sold = {"fact_sold": MODELS["fact_sale"].replace("-- key", "-- renamed: fact_sale -> fact_sold\n-- key")}
    sold |= {"dim_shop": MODELS["dim_shop"], "schema": MODELS["schema"].replace("fact_sale", "fact_sold")}
    (house.folder / "fact_sale.sql").unlink()
    history = {"old": "-- A row.\nSELECT 1 AS x FROM fact_sale_history"}
    write(shop, MARTS | history, sold)
    assert plan()[1::2] == [
        f'  {house.folder}/marts/{place}" does not exist; correct the mart'
        for place in (
            'old.sql:2: relation "fact_sale_history',
            'sales_by_city.sql:8: relation "fact_sale',
            'sales_of.function.sql:6: relation "fact_sale',
        )
    ]
    (house.folder / "fact_sold.sql").unlink()
    write(shop, MARTS)


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
