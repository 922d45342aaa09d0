"""Columns and tables get new names in place, with history, rejected rows and what others made on them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pytest

from pipeline.errors import ModelError, WarehouseError
from tests.pair import Pair
from tests.support import execute, write_models

SCHEMA = """
CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text, manager varchar(9));
CREATE TABLE IF NOT EXISTS fact_sale (
    record_id serial PRIMARY KEY,
    sale_id integer NOT NULL, shop_id integer REFERENCES dim_shop, amount numeric(8, 2)
);
CREATE TABLE IF NOT EXISTS dim_total (shop_id integer PRIMARY KEY, total numeric(12, 2));
"""
MODELS = {
    "dim_shop": "SELECT shop_id, city, manager FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "dim_total": (
        "SELECT shop_id, CAST(sum(amount) AS decimal(12, 2)) AS total FROM fact_sale GROUP BY shop_id"
    ),
    "schema": SCHEMA,
}
SOURCE = (
    "CREATE TABLE shop (shop_id integer PRIMARY KEY, city text, manager text)",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, shop_id integer, amount numeric(8, 2))",
    "INSERT INTO shop VALUES (1, 'York', 'Ann'), (2, 'Hull', NULL)",
    "INSERT INTO sale VALUES (1, 1, 5), (2, 2, 1234.5), (3, 1, 7), (4, 9, 1)",
)
RENAMED = {
    "dim_shop": "-- renamed: manager -> boss\nSELECT shop_id, city, manager AS boss FROM shop",
    "fact_sold": (
        "-- renamed: fact_sale -> fact_sold, sale_id -> sold_id\n-- key: sold_id\n"
        "SELECT sale_id AS sold_id, shop_id, amount FROM sale"
    ),
    "dim_total": MODELS["dim_total"].replace("fact_sale", "fact_sold"),
    "schema": SCHEMA.replace("manager", "boss")
    .replace("fact_sale", "fact_sold")
    .replace("sale_id", "sold_id"),
}


@pytest.fixture
def loaded(shared: Pair) -> Pair:
    """A warehouse after two batches, with a rejected row, and a view and grants of others."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    shared.do(
        "UPDATE shop SET manager = 'Bo' WHERE shop_id = 1", "UPDATE sale SET amount = 6 WHERE sale_id = 1"
    )
    shared.run()
    execute(
        shared.house.url,
        "CREATE VIEW mine AS SELECT shop_id, manager FROM dim_shop_history",
        "CREATE VIEW sales AS SELECT sale_id FROM fact_sale_current",
        "GRANT SELECT ON fact_sale, fact_sale_history TO pg_monitor",
        "CREATE INDEX theirs ON fact_sale (amount)",
    )
    return shared


def write(pair: Pair, files: Mapping[str, str]) -> None:
    """Replace the models."""
    for path in pair.house.folder.glob("*.sql"):
        path.unlink()
    write_models(pair.house.folder, files)
    pair.house.prepared = None


def test_new_names_need_no_computing_and_keep_everything(loaded: Pair) -> None:
    house = loaded.house
    versions = "SELECT valid_from, valid_to, deleted, {} FROM {} ORDER BY 4, 1"
    names = {
        "shop_id, city, {}": ("dim_shop_history", "manager", "boss"),
        "{}, amount": ("fact_{}_history", "sale_id", "sold_id"),
    }
    before = [
        house.query(versions.format(columns.format(old), table.format("sale")))
        for columns, (table, old, _) in names.items()
    ]
    batches = house.query("SELECT rows -> 'fact_sale' FROM etl.batch ORDER BY batch_id")
    write(loaded, RENAMED)
    house.targets()
    after = [
        house.query(versions.format(columns.format(new), table.format("sold")))
        for columns, (table, _, new) in names.items()
    ]
    assert after == before
    assert house.changed_models() == ["dim_total"]
    assert house.query("SELECT rows -> 'fact_sold' FROM etl.batch ORDER BY batch_id") == batches
    assert house.query("SELECT to_regclass('fact_sale'), to_regclass('fact_sale_current')") == [(None, None)]
    assert house.query("SELECT count(*), count(manager) FROM mine") == [(3, 2)]
    assert house.query("SELECT count(*) FROM sales") == [(3,)]
    assert house.query("SELECT boss FROM dim_shop_as_of('infinity') WHERE shop_id = 1") == [("Bo",)]
    for schema in ("as_of", "reporting"):
        assert house.query(f"SELECT boss FROM {schema}.dim_shop WHERE shop_id = 1") == [("Bo",)]
        views = f"SELECT relname::text FROM pg_class WHERE relnamespace = '{schema}'::regnamespace"
        assert {"fact_sold"} == {name for (name,) in house.query(views) if "fact_" in name}
    assert house.query("SELECT sold_id FROM fact_sold_as_of('infinity') WHERE amount = 7") == [(3,)]
    defined = "SELECT pg_get_viewdef('as_of.fact_sold'::regclass) LIKE '%''fact_sold''%'"
    assert house.query(defined) == [(True,)]
    names_now = "unnest('{fact_sold,fact_sold_history}'::text[]) AS t"
    readable = f"SELECT has_table_privilege('pg_monitor', t, 'select') FROM {names_now}"
    assert house.query(readable) == [(True,), (True,)]
    assert house.query("SELECT indexdef FROM pg_indexes WHERE indexname = 'theirs'")[0][0].count("fact_sold")
    assert house.rejected() == [("fact_sold", {"sold_id": "4"}, "shop_id is not in dim_shop")]
    loaded.do("INSERT INTO shop VALUES (9, 'Ely', 'Cy')", "UPDATE sale SET amount = 8 WHERE sale_id = 3")
    counts = loaded.run() or {}
    assert (counts["fact_sold"].added, counts["fact_sold"].changed) == (1, 1)
    assert (counts["dim_shop"].added, counts["dim_shop"].changed) == (1, 0)
    assert house.rejected() == []
    found = house.rehearse()
    assert found.differences == []
    assert loaded.run() is None


def test_a_renamed_column_with_other_values_is_restated(loaded: Pair) -> None:
    house = loaded.house
    changed = RENAMED["dim_shop"].replace("manager AS boss", "upper(manager) AS boss")
    write(loaded, {**MODELS, "dim_shop": changed, "schema": SCHEMA.replace("manager", "boss")})
    house.targets()
    assert house.changed_models() == ["dim_shop"]
    assert house.query("SELECT boss FROM dim_shop WHERE shop_id = 1") == [("Bo",)]


def test_a_renamed_column_of_a_model_that_is_computed_as_a_whole(loaded: Pair) -> None:
    house = loaded.house
    summed = MODELS["dim_total"].replace("AS total", "AS summed")
    schema = SCHEMA.replace("total numeric", "summed numeric")
    write(loaded, {**MODELS, "dim_total": "-- renamed: total -> summed\n" + summed, "schema": schema})
    house.targets()
    assert house.changed_models() == []
    assert loaded.run() is None
    loaded.do("DELETE FROM sale WHERE shop_id = 2", "UPDATE sale SET amount = 8 WHERE sale_id = 3")
    assert (loaded.run() or {})["dim_total"].changed == 1
    versions = (
        "SELECT shop_id, summed, valid_to IS NULL FROM dim_total_history WHERE shop_id < 9 ORDER BY 1, 2"
    )
    assert house.query(versions) == [
        (1, 12, False),
        (1, 13, False),
        (1, 14, True),
        (2, Decimal("1234.5"), False),
    ]


def test_names_that_contradict_the_files_are_refused(loaded: Pair) -> None:
    boss = RENAMED["dim_shop"]
    cases: list[tuple[dict[str, str], str]] = [
        ({**MODELS, "dim_shop": boss}, r"dim_shop\.sql:1: .*, but schema\.sql still declares manager$"),
        (
            {**MODELS, "dim_shop": boss, "schema": SCHEMA.replace("manager varchar(9)", "head text")},
            r"dim_shop\.sql:1: .*, but schema\.sql declares no column boss$",
        ),
        (
            {**MODELS, "fact_sold": RENAMED["fact_sold"]},
            r"fact_sold\.sql:1: renamed from fact_sale, which .*fact_sale\.sql is the model of; remove one$",
        ),
    ]
    execute(loaded.house.url, "CREATE VIEW fact_sold_current AS SELECT 1 AS one")
    write(loaded, RENAMED)
    with pytest.raises(WarehouseError, match=r"renamed: fact_sale -> fact_sold: .* already exists; nothing"):
        loaded.house.targets()
    for files, message in cases:
        write(loaded, files)
        with pytest.raises(ModelError, match=message):
            loaded.house.targets()
