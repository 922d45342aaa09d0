"""A warehouse of one dimension, shops, and one fact, orders, which refers to it."""

from __future__ import annotations

from typing import Any

from tests.house import Warehouse
from tests.support import Row

MODELS = {
    "dim_shop": "SELECT shop_id, city, rating FROM shops",
    "fact_order": "-- key: order_id\nSELECT order_id, shop_id, amount, note FROM orders",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (
            shop_id integer PRIMARY KEY, city varchar NOT NULL, rating numeric
        );
        CREATE TABLE IF NOT EXISTS fact_order (
            record_id serial PRIMARY KEY,
            order_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            amount numeric(10, 2) NOT NULL,
            note varchar
        );
    """,
}


TABLES = {
    "shops": ({"shop_id": "integer", "city": "character varying", "rating": "numeric"}, ("shop_id",)),
    "orders": (
        {"order_id": "integer", "shop_id": "integer", "amount": "numeric", "note": "character varying"},
        ("order_id",),
    ),
}


def shop(shop_id: int, city: str | None = "York", rating: str | None = None) -> Row:
    return {"shop_id": shop_id, "city": city, "rating": rating}


def order(order_id: int, shop_id: int = 1, amount: str = "3.50", note: str | None = None) -> Row:
    return {"order_id": order_id, "shop_id": shop_id, "amount": amount, "note": note}


FACTS = "SELECT order_id, shop_id, amount::text, note FROM fact_order_current ORDER BY 1"


def contents(house: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of all tables that a load may change."""
    names = (
        "dim_shop",
        "fact_order",
        "etl.batch",
        "etl.watermark",
        "etl.model",
        "etl.rejected",
        "dim_shop_version",
    )
    return {name: house.query(f"SELECT * FROM {name} ORDER BY 1, 2") for name in names}


def keys_and_indexes(house: Warehouse) -> list[tuple[Any, ...]]:
    return house.query(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'fact_order'::regclass"
        " UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'fact_order' ORDER BY 1, 2"
    )


FIRST = {"shops": [shop(1)], "orders": [order(1)]}


SECOND = {"shops": [shop(1, "Bath"), shop(2)], "orders": [order(1, 2), order(2)]}
