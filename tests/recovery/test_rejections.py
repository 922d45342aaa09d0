"""Rejected rows of tables that are computed again."""

from __future__ import annotations

import pytest

from tests.pair import Pair
from tests.recovery.restating import MODELS, SCHEMA, SOURCE, change

CITIES = "SELECT DISTINCT city FROM shop"
WITHOUT_HULL = f"{CITIES} WHERE city <> 'Hull'"
HULL_LATER = f"{WITHOUT_HULL} OR (SELECT max(amount) FROM sale WHERE sale_id = 1) = 90"
CHAIN = """
CREATE TABLE IF NOT EXISTS dim_city (city text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text REFERENCES dim_city);
"""
# Of the shop in Hull there is one sale of many.
FEW = (
    "UPDATE shop SET city = CASE shop_id WHEN 1 THEN 'Hull' ELSE 'Bath' END",
    "INSERT INTO shop SELECT n, 'York' FROM generate_series(3, 9) AS n",
    "UPDATE sale SET shop_id = CASE sale_id WHEN 1 THEN 1 ELSE 2 END",
)
DAYS = (
    ("UPDATE sale SET amount = 91 WHERE sale_id = 2",),
    ("UPDATE sale SET amount = 90 WHERE sale_id = 1",),
)


@pytest.mark.parametrize(("before", "waiting"), [(WITHOUT_HULL, 2), (HULL_LATER, 0)])
def test_rows_that_waited_for_rows_of_a_restated_table_are_there_as_early_as_these(
    shared: Pair, before: str, waiting: int
) -> None:
    """A sale that waited for its shop, which waited for its city: until now, or until the last batch."""
    schema = CHAIN + SCHEMA.replace("IF NOT EXISTS dim_shop", "IF NOT EXISTS dim_other")
    shared.live(MODELS | {"dim_city": before, "schema": schema}, (*SOURCE, *FEW), DAYS)
    assert len(shared.house.rejected()) == waiting
    assert change(shared, dim_city=CITIES) == ["dim_city", "dim_shop", "fact_sale"]
    assert shared.house.rejected() == []
    amounts = "SELECT amount FROM fact_sale_history WHERE sale_id = 1 ORDER BY valid_from"
    assert shared.house.query(amounts) == [(1,), (90,)]
