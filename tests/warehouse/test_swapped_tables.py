"""A table that was renamed or moved by hand, with another one under its name."""

from __future__ import annotations

import pytest

from tests.pair import Pair
from tests.support import execute
from tests.warehouse import shop_marts

INDEXES = (
    "SELECT indexname::text, regexp_replace(indexdef, 'public\\.|\\.\\w+', '', 'g') FROM pg_indexes"
    " WHERE schemaname = 'public' AND tablename = ANY('{fact_sale,dim_shop_version}')"
    " AND indexname !~ 'pkey|idx' ORDER BY 1"
)
TABLES = {"dim_shop": ("dim_shop", "dim_shop_version"), "fact_sale": ("fact_sale",)}
HOWS = {
    "renamed": ("ALTER TABLE {0} RENAME TO {0}_old",),
    "moved": ("CREATE SCHEMA IF NOT EXISTS old", "ALTER TABLE {0} SET SCHEMA old"),
    "replaced by a copy": (
        "CREATE TABLE copy (LIKE {0} INCLUDING ALL EXCLUDING INDEXES)",
        "INSERT INTO copy SELECT * FROM {0}",
        "ALTER TABLE {0} RENAME TO {0}_old",
        "ALTER TABLE copy RENAME TO {0}",
    ),
}


@pytest.fixture
def traded(shared: Pair) -> Pair:
    """A shop with marts after two batches."""
    execute(shared.house.url, "DROP SCHEMA IF EXISTS old CASCADE")
    shared.live(shop_marts.MODELS, shop_marts.SOURCE, [["UPDATE sale SET amount = 11 WHERE sale_id = 1"]])
    shop_marts.write(shared, shop_marts.MARTS)
    shared.house.prepare()
    return shared


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("table", TABLES)
def test_views_and_marts_read_the_table_that_has_its_name(traded: Pair, table: str, how: str) -> None:
    house = traded.house
    indexes = house.query(INDEXES)
    for each in TABLES[table]:
        execute(house.url, *(text.format(each) for text in HOWS[how]))
    if table == "dim_shop":
        execute(house.url, "ALTER TABLE fact_sale DROP CONSTRAINT fact_sale_shop_id_fkey")
        if how == "replaced by a copy":
            execute(house.url, "ALTER TABLE dim_shop ADD PRIMARY KEY (shop_id)")
    traded.do("INSERT INTO sale VALUES (5, 2, 7)", "UPDATE shop SET city = 'Ely' WHERE shop_id = 1")
    house.prepare()
    traded.run()
    cities = [(1, "Ely"), (2, "Bath")]
    assert house.query("SELECT shop_id, city FROM reporting.dim_shop ORDER BY 1") == cities
    assert house.query("SELECT city, total FROM reporting.sales_by_city ORDER BY 1") == [
        ("Bath", 32), ("Ely", 11),
    ]  # fmt: skip
    assert house.query("SELECT count(*) FROM fact_sale_current WHERE shop_id <> 9") == [(4,)]
    assert house.query(INDEXES) == indexes
