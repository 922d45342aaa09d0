"""A source of orders, shops and towns, with models over them."""

from __future__ import annotations

from typing import Any

from pipeline.lake import manifests
from pipeline.lake.manifest import Manifest
from tests.house import Warehouse, plan_batch

MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shops LEFT JOIN towns USING (town_id)",
    "fact_order": "-- key: order_id\nSELECT order_id, shop_id, amount FROM orders",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city varchar);
        CREATE TABLE IF NOT EXISTS fact_order (order_id integer NOT NULL, shop_id integer, amount varchar);
    """,
}
SOURCE = (
    "CREATE TABLE towns (town_id int PRIMARY KEY, city text)",
    "CREATE TABLE shops (shop_id int PRIMARY KEY, town_id int)",
    "CREATE TABLE orders (order_id int PRIMARY KEY, shop_id int, amount text)",
    "INSERT INTO towns VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO shops VALUES (1, 1), (2, 2)",
    "INSERT INTO orders SELECT i, 1 + i % 2, i::text FROM generate_series(1, 5) AS i",
)


def run(
    source_url: str, house: Warehouse, **options: Any
) -> tuple[dict[str, tuple[str, str]], Manifest | None]:
    """Take a batch and load it; returns each table's mode and reason."""
    planned, manifest = plan_batch(source_url, house, **options)
    if manifest:
        house.bring(manifest)
    return {
        name: (table.mode if table.is_new else "unchanged", table.reason)
        for name, table in planned.tables.items()
    }, manifest


def with_other_rows(house: Warehouse, manifest: Manifest | None, more: int) -> None:
    """Let a sealed batch say that the source's table orders had this many rows more."""
    assert manifest
    orders = manifest.tables["orders"]
    orders = orders.model_copy(update={"source_rows": (orders.source_rows or 0) + more})
    manifests.seal(house.raw, manifest.model_copy(update={"tables": manifest.tables | {"orders": orders}}))
