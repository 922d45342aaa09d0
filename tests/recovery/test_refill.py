"""Refilled tables are as they were."""

from __future__ import annotations

import pytest

from tests.pair import Pair
from tests.recovery.restating import change
from tests.support import execute


@pytest.mark.parametrize("harm", ["DELETE FROM {} WHERE shop_id = 1", "TRUNCATE {}"])
@pytest.mark.parametrize("kind", ["dimension", "bridge"])
def test_a_refilled_row_has_the_untracked_values_of_its_version(shared: Pair, kind: str, harm: str) -> None:
    head = f'-- kind: {kind}\n-- key: shop_id\n-- untracked: rating, "a note"\n'
    shared.fresh(
        {
            "stores": f'{head}SELECT shop_id, city, rating, note AS "a note" FROM shop',
            "schema": 'CREATE TABLE IF NOT EXISTS stores (shop_id int, city text, rating int, "a note" json)',
        },
        "CREATE TABLE shop (shop_id int PRIMARY KEY, city text, rating int, note json)",
        "INSERT INTO shop VALUES (1, 'York', 1, '[1]'), (2, 'Hull', 1, '[2]'), (3, 'Ely', 1, '[3]')",
    )
    shared.run()
    shared.do(
        "UPDATE shop SET rating = 2, note = '[9]' WHERE shop_id < 3", "DELETE FROM shop WHERE shop_id = 3"
    )
    shared.run()
    shared.do("UPDATE shop SET rating = 3, city = 'Bath' WHERE shop_id = 2")
    shared.run()
    shown = 'SELECT shop_id, city, rating, "a note"::text FROM stores ORDER BY 1'
    before = shared.house.query(shown)
    assert before[:2] == [(1, "York", 1, "[1]"), (2, "Bath", 3, "[9]")]
    execute(shared.house.url, harm.format("stores"))
    shared.run()
    assert shared.house.query(shown) == before


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM fact_sale",
        "DELETE FROM dim_shop_version; DELETE FROM fact_sale",
        "DELETE FROM dim_shop_version WHERE shop_id = 1",
    ],
)
@pytest.mark.rarely("WHERE shop_id")
def test_refilled_rows_that_waited_for_others_are_there_no_earlier_than_these(
    shared: Pair, harm: str
) -> None:
    """A sale waits for its shop, which waits for its city; a refill has all cities from the start."""
    shared.fresh(
        {
            "dim_city": "SELECT city FROM city",
            "dim_shop": "SELECT shop_id, city FROM shop",
            "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id FROM sale",
            "schema": """
                CREATE TABLE IF NOT EXISTS dim_city (city text PRIMARY KEY);
                CREATE TABLE IF NOT EXISTS dim_shop (shop_id int PRIMARY KEY, city text REFERENCES dim_city);
                CREATE TABLE IF NOT EXISTS fact_sale (sale_id int NOT NULL, shop_id int REFERENCES dim_shop);
            """,
        },
        "CREATE TABLE city (city text PRIMARY KEY)",
        "CREATE TABLE shop (shop_id int PRIMARY KEY, city text)",
        "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int)",
        "INSERT INTO city VALUES ('York')",
        "INSERT INTO shop VALUES (1, 'York'), (2, 'Hull')",
        "INSERT INTO sale VALUES (10, 1), (20, 2)",
    )
    shared.run()
    shared.do("INSERT INTO city VALUES ('Hull')")
    shared.run()
    history = "SELECT sale_id, recorded_at, superseded_at, deleted FROM fact_sale ORDER BY 1, 2"
    before = shared.house.query(history)
    execute(shared.house.url, *harm.split("; "))
    shared.run()
    change(shared)
    assert shared.house.query(history) == before


@pytest.mark.parametrize(
    "lost",
    [
        "bridge_sale, dim_city, dim_city_version, dim_shop",
        "bridge_sale, dim_city, dim_shop, dim_shop_version",
        "bridge_sale, dim_city, dim_city_version, dim_shop, dim_shop_version",
    ],
)
def test_a_table_is_refilled_after_those_that_it_refers_to(shared: Pair, lost: str) -> None:
    """Whether only its rows come back, or all of its versions batch by batch."""
    shared.fresh(
        {
            "dim_city": "SELECT city FROM city",
            "dim_shop": "SELECT shop_id, city FROM shop",
            "bridge_sale": "-- key: sale_id, shop_id\nSELECT sale_id, shop_id FROM sale",
            "schema": """
                CREATE TABLE IF NOT EXISTS dim_city (city text PRIMARY KEY);
                CREATE TABLE IF NOT EXISTS dim_shop (shop_id int PRIMARY KEY, city text REFERENCES dim_city);
                CREATE TABLE IF NOT EXISTS bridge_sale (
                    sale_id int, shop_id int REFERENCES dim_shop, PRIMARY KEY (sale_id, shop_id)
                );
            """,
        },
        "CREATE TABLE city (city text PRIMARY KEY)",
        "CREATE TABLE shop (shop_id int PRIMARY KEY, city text)",
        "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int)",
        "INSERT INTO city VALUES ('York'), ('Hull')",
        "INSERT INTO shop SELECT i, 'York' FROM generate_series(1, 200) AS i",
        "INSERT INTO sale SELECT i, i FROM generate_series(1, 200) AS i",
    )
    shared.run()
    shared.do("UPDATE shop SET city = 'Hull' WHERE shop_id = 2")
    shared.run()
    shown = [
        f"SELECT h::text FROM {name} AS h ORDER BY 1" for name in ("dim_shop_history", "bridge_sale_history")
    ]
    before = [shared.house.query(each) for each in shown]
    execute(shared.house.url, f"TRUNCATE {lost}")
    shared.run()
    assert [shared.house.query(each) for each in shown] == before
    assert len(shared.house.query("SELECT FROM bridge_sale")) == 200
    assert shared.house.query("SELECT FROM etl.rejected") == []
