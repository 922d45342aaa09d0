"""A source of sales and shops, with models over them."""

from __future__ import annotations

from tests.pair import Pair
from tests.support import query, value

MODELS = {
    "dim_shop": "SELECT shop_id, town.name AS town FROM shop LEFT JOIN town USING (town_id)",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, town varchar);
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            amount numeric(10, 2) NOT NULL
        );
    """,
}
SOURCE = (
    "CREATE TABLE town (town_id int PRIMARY KEY, name text)",
    "CREATE TABLE shop (shop_id int PRIMARY KEY, town_id int)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount numeric)",
    "INSERT INTO town VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO shop VALUES (1, 1), (2, 2)",
    "INSERT INTO sale SELECT i, 1 + i % 2, i FROM generate_series(1, 5) AS i",
)
SALES = "SELECT sale_id, shop_id, amount FROM sale ORDER BY 1"
CURRENT = "SELECT sale_id, shop_id, amount FROM fact_sale_current ORDER BY 1"
SHOPS = "SELECT shop_id, name FROM shop LEFT JOIN town USING (town_id) ORDER BY 1"


def equal(pair: Pair) -> None:
    """Assert that the warehouse equals plain SQL on the source."""
    assert pair.house.query(CURRENT) == query(pair.source_url, SALES)
    assert pair.house.query("SELECT * FROM dim_shop ORDER BY 1") == query(pair.source_url, SHOPS)


def versions(pair: Pair) -> int:
    return int(value(pair.house.url, "SELECT count(*) FROM fact_sale"))


STAR = MODELS | {"fact_sale": "-- key: sale_id\nSELECT * FROM sale"}
