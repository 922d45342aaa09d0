"""Tables are loaded after those that they refer to; references that no load can keep are refused."""

from __future__ import annotations

import pytest

from pipeline.errors import WarehouseError
from pipeline.warehouse import referring
from tests.house import Warehouse
from tests.pair import Pair
from tests.support import execute, value, write_models

BRIDGE = "CREATE TABLE bridge_visit (shop_id integer, day date, PRIMARY KEY (shop_id, day));"
KEY = "(shop_id, day) REFERENCES bridge_visit"
VISITS = "-- key: shop_id, day\nSELECT shop_id, DATE '2026-01-01' AS day FROM shops"


def test_dimensions_come_before_facts_and_references_before_referrers(house: Warehouse) -> None:
    assert referring.load_order(house.prepare().values()) == ["dim_shop", "fact_order"]


def test_tables_that_refer_to_each_other_are_refused(house: Warehouse) -> None:
    house.prepare()
    execute(
        house.url,
        "CREATE UNIQUE INDEX versions ON fact_order (order_id, recorded_at)",
        "ALTER TABLE dim_shop ADD order_id integer, ADD at timestamptz",
        "ALTER TABLE dim_shop ADD FOREIGN KEY (order_id, at) REFERENCES fact_order (order_id, recorded_at)",
    )
    with pytest.raises(
        WarehouseError, match=r"in a circle: (dim_shop, fact_order, dim_shop|fact_order, .*); drop one of"
    ) as raised:
        house.prepare()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("fact_stay", ""),
        ("fact_stay", " ON DELETE CASCADE"),
        ("dim_stay", ""),
        ("bridge_stay", " DEFERRABLE INITIALLY DEFERRED"),
        ("bridge_stay", " ON DELETE CASCADE"),
    ],
)
def test_a_reference_to_a_bridge_is_refused_before_tables_are_created(
    house: Warehouse, name: str, reference: str
) -> None:
    """Its rows are deleted, while versions and rows that refer to them may stay."""
    key = "" if name.startswith("fact") else ", PRIMARY KEY (shop_id, day)"
    table = f"CREATE TABLE {name} (shop_id integer, day date{key}, FOREIGN KEY {KEY}{reference});"
    models = {"bridge_visit": VISITS, name: VISITS, "schema": BRIDGE + table}
    write_models(house.folder, models)
    for unused in ("dim_shop", "fact_order"):
        (house.folder / f"{unused}.sql").unlink()
    with pytest.raises(WarehouseError, match=f"{name} refers by .* to bridge_visit, a bridge, ") as raised:
        house.prepare()
    assert "\n" not in str(raised.value)
    assert value(house.url, f"SELECT to_regclass('{name}') IS NULL")


def test_a_bridge_that_keeps_its_rows_can_be_referred_to(house: Warehouse) -> None:
    table = f"CREATE TABLE fact_stay (shop_id integer, day date, FOREIGN KEY {KEY});"
    visits = f"-- deletes: ignore\n{VISITS}"
    write_models(house.folder, {"bridge_visit": visits, "fact_stay": VISITS, "schema": BRIDGE + table})
    for unused in ("dim_shop", "fact_order"):
        (house.folder / f"{unused}.sql").unlink()
    assert set(house.prepare()) == {"bridge_visit", "fact_stay"}


def test_verify_takes_references_whose_columns_have_another_order(shared: Pair) -> None:
    reference = "FOREIGN KEY (shop_id, city) REFERENCES dim_shop (shop_id, city)"
    schema = """
    CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text, UNIQUE (shop_id, city));
    CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer, shop_id integer, city text, %s);
    """
    sales = "-- key: sale_id\nSELECT sale_id, shop_id, city FROM sale JOIN shop USING (shop_id)"
    models = {"dim_shop": "SELECT shop_id, city FROM shop", "fact_sale": sales, "schema": schema % reference}
    shared.fresh(
        models,
        "CREATE TABLE shop (shop_id integer PRIMARY KEY, city text)",
        "CREATE TABLE sale (sale_id integer PRIMARY KEY, shop_id integer)",
        "INSERT INTO shop VALUES (1, 'York')",
        "INSERT INTO sale VALUES (1, 1)",
    )
    shared.run()
    execute(
        shared.house.url,
        "ALTER TABLE fact_sale DROP CONSTRAINT fact_sale_shop_id_city_fkey",
        "ALTER TABLE fact_sale ADD FOREIGN KEY (city, shop_id) REFERENCES dim_shop (city, shop_id)",
    )
    house = shared.house
    found = house.rehearse()
    assert not found.unenforced
