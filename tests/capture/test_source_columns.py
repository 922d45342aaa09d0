"""Columns of the source that come and go are reported once; one that a model reads stops the run."""

from __future__ import annotations

import pytest

from pipeline.capture.source_columns import changed_columns
from pipeline.errors import ModelError
from pipeline.source import snapshots
from tests.pair import Pair
from tests.support import write_models

MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shop",
    "dim_staff": "SELECT * FROM staff",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, amount\nFROM sale\nJOIN shop USING (shop_id)\nWHERE test",
    "fact_sale_twice": "-- key: sale_id\nSELECT sale_id, amount AS twice FROM fact_sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text);
        CREATE TABLE IF NOT EXISTS dim_staff (staff_id integer PRIMARY KEY, name text);
        CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer, amount integer);
        CREATE TABLE IF NOT EXISTS fact_sale_twice (sale_id integer, twice integer);
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, city text, fax text)",
    "CREATE TABLE staff (staff_id int PRIMARY KEY, name text, pin text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount int, test boolean, note text)",
    "INSERT INTO shop VALUES (1, 'York', NULL)",
    "INSERT INTO staff VALUES (1, 'Ann', NULL)",
    "INSERT INTO sale VALUES (1, 1, 5, false, NULL)",
)


@pytest.fixture(scope="module")
def pair(shared: Pair) -> Pair:
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    return shared


def reported(pair: Pair) -> list[str]:
    """What the next batch reports."""
    pipeline = pair.house.pipeline
    with snapshots.snapshot(pair.source_url) as (connection, snapshot):
        planned = pipeline.plan(connection, snapshot, "public", reconcile=False, full=False)
        return list(changed_columns(pipeline.models, pipeline.targets, planned))


def test_columns_that_no_model_reads_are_reported_once(pair: Pair) -> None:
    assert reported(pair) == []
    pair.do(
        "ALTER TABLE shop ADD COLUMN middle text, DROP COLUMN fax", "ALTER TABLE sale ADD COLUMN fax text"
    )
    pair.do("ALTER TABLE staff ADD COLUMN shoe int, DROP COLUMN pin")
    assert sorted(reported(pair)) == [
        "sale.fax is new, and no model reads it",
        "shop.fax is gone, and no model read it",
        "shop.middle is new, and no model reads it",
        "staff.pin is gone, and no model read it",
    ]
    assert pair.run() is not None
    assert reported(pair) == []
    pair.do("ALTER TABLE sale ADD COLUMN middle int")
    write_models(
        pair.house.folder, {"fact_sale": MODELS["fact_sale"].replace("test", "test AND sale.middle > 1")}
    )
    assert reported(pair) == []
    write_models(pair.house.folder, MODELS)
    pair.do("ALTER TABLE sale DROP COLUMN middle")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            "sale.amount",
            r"fact_sale\.sql:2: reads sale\.amount, which the source no longer has; it has new now;",
        ),
        ("sale.test", r"fact_sale\.sql:5: reads sale\.test, which"),
        ("shop.city", r"dim_shop\.sql:1: reads shop\.city, which"),
        ("staff.name", r"dim_staff\.sql: reads staff\.name, which"),
    ],
)
def test_a_column_that_is_read_stops_with_model_table_and_column(
    pair: Pair, column: str, message: str
) -> None:
    table, _, name = column.partition(".")
    pair.do(f"ALTER TABLE {table} RENAME {name} TO new")
    with pytest.raises(ModelError, match=message) as stopped:
        reported(pair)
    assert "\n" not in str(stopped.value)
    pair.do(f"ALTER TABLE {table} RENAME new TO {name}")
