"""References of columns that come back to schema.sql."""

from __future__ import annotations

import pytest

from tests.pair import Pair
from tests.recovery.restating import restated
from tests.warehouse.consenting import SOURCE

PAIRED = """
CREATE TABLE IF NOT EXISTS dim_shop (
    shop_id integer PRIMARY KEY, city varchar(10), code integer UNIQUE, UNIQUE (shop_id, city)
);
CREATE TABLE IF NOT EXISTS fact_sale (
    sale_id integer NOT NULL, shop_id integer,
    city varchar(10), code integer REFERENCES dim_shop (code) ON DELETE SET NULL,
    FOREIGN KEY (shop_id, city) REFERENCES dim_shop (shop_id, city) DEFERRABLE
);
"""
REFERENCES = (
    """
    SELECT pg_get_constraintdef(oid), convalidated FROM pg_constraint
    WHERE conrelid = 'fact_sale'::regclass AND contype = 'f' ORDER BY 1
    """,
    "SELECT sale_id, shop_id, city, code FROM fact_sale_current ORDER BY 1",
)


@pytest.mark.parametrize("with_unique", [False, True])
def test_a_column_that_comes_back_has_the_references_that_name_it(shared: Pair, with_unique: bool) -> None:
    """Also those of several columns, or to others than the primary key; all rows are proven."""
    shop = "SELECT shop_id, city, shop_id + 100 AS code FROM shop"
    sale = f"-- key: sale_id\nSELECT sale_id, shop_id, city, code FROM sale JOIN ({shop}) USING (shop_id)"
    shared.fresh({"dim_shop": shop, "fact_sale": sale, "schema": PAIRED}, *SOURCE)
    shared.run()
    before = [shared.house.query(query) for query in REFERENCES]
    assert before[0] == [
        ("FOREIGN KEY (code) REFERENCES dim_shop(code) ON DELETE SET NULL", True),
        ("FOREIGN KEY (shop_id, city) REFERENCES dim_shop(shop_id, city) DEFERRABLE", True),
    ]
    head, _, tail = PAIRED.partition("CREATE TABLE IF NOT EXISTS fact_sale")
    tail = tail.partition("    city")[0].rstrip(", \n") + ");"
    less = {"fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id FROM sale"}
    shared.house.allow = ("drop fact_sale.city", "drop fact_sale.code")
    restated(shared, {**less, "schema": f"{head}CREATE TABLE IF NOT EXISTS fact_sale{tail}"})
    if with_unique:
        less["dim_shop"] = "SELECT shop_id FROM shop"
        head = "CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY);"
        shared.house.allow = ("drop dim_shop.city", "drop dim_shop.code")
        restated(shared, {**less, "schema": f"{head}CREATE TABLE IF NOT EXISTS fact_sale{tail}"})
    assert shared.house.query(REFERENCES[0]) == []
    shared.house.allow = ()
    assert "fact_sale" in restated(shared, {"dim_shop": shop, "fact_sale": sale, "schema": PAIRED})
    assert [shared.house.query(query) for query in REFERENCES] == before
