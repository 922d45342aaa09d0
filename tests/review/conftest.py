"""A warehouse after some batches, which the tests of a module share and do not change."""

from __future__ import annotations

import pytest

from tests.pair import Pair
from tests.support import query

SCHEMA = """
CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text NOT NULL, manager text);
CREATE TABLE IF NOT EXISTS fact_sale (
    sale_record_id serial PRIMARY KEY,
    sale_id integer NOT NULL,
    shop_id integer NOT NULL REFERENCES dim_shop,
    amount numeric(8, 2) NOT NULL,
    extra jsonb
);
CREATE TABLE IF NOT EXISTS dim_total (shop_id integer PRIMARY KEY, total numeric(12, 2));
"""
MODELS = {
    "dim_shop": "-- personal: manager\nSELECT shop_id, city, manager FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount, extra FROM sale",
    "dim_total": (
        "SELECT shop_id, CAST(sum(amount) AS decimal(12, 2)) AS total FROM fact_sale GROUP BY shop_id"
    ),
    "schema": SCHEMA,
}
SOURCE = (
    "CREATE TABLE shop (shop_id integer PRIMARY KEY, city text, manager text, opened date)",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, shop_id integer, amount integer, extra json)",
    "INSERT INTO shop VALUES (1, 'York', 'Ann'), (2, 'Hull', 'Bob')",
    "INSERT INTO sale SELECT n, 1 + n % 2, n, '{\"n\":1}' FROM generate_series(1, 20) AS n",
)
DAYS = (
    ("UPDATE shop SET city = 'Leeds' WHERE shop_id = 1", "UPDATE sale SET amount = 70 WHERE sale_id = 7"),
    ("DELETE FROM sale WHERE sale_id = 3", "INSERT INTO sale VALUES (30, 3, 5)"),
    ("INSERT INTO shop VALUES (3, 'Ely', 'Cy')", "UPDATE sale SET amount = 71 WHERE sale_id = 7"),
)


@pytest.fixture(scope="module")
def shop(shared: Pair) -> Pair:
    """The warehouse; rows have changed, were deleted, rejected and retried."""
    shared.live(MODELS, SOURCE, DAYS)
    return shared


def everything(shop: Pair) -> dict[str, object]:
    """All relations, rows with their transactions, sequences, and all bytes of lake and models."""
    url = shop.house.url
    relations = query(
        url,
        "SELECT c.oid::regclass::text, c.relkind::text, c.oid FROM pg_class AS c"
        " WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace,"
        " 'pg_toast'::regnamespace) ORDER BY 1",
    )
    found: dict[str, object] = {"relations": relations}
    found["schemas"] = query(url, "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1")
    found["functions"] = query(url, "SELECT oid FROM pg_proc WHERE oid > 16383 ORDER BY 1")
    for name, kind, _ in relations:
        if kind == "r":
            found[name] = query(url, f"SELECT xmin::text, ctid::text, r::text FROM {name} AS r ORDER BY 2")
        elif kind == "S":
            found[name] = query(url, f"SELECT last_value FROM {name}")
    home = shop.house.folder.parent
    return found | {str(path): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}
