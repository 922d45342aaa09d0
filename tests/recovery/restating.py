"""A shop whose models change, and what restating its tables gives."""

from __future__ import annotations

from tests.pair import Pair
from tests.support import write_models

SCHEMA = """
CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text, manager text);
CREATE TABLE IF NOT EXISTS bridge_shop_item (shop_id integer, item text, PRIMARY KEY (shop_id, item));
CREATE TABLE IF NOT EXISTS fact_sale (
    sale_record_id serial PRIMARY KEY,
    sale_id integer NOT NULL,
    shop_id integer NOT NULL REFERENCES dim_shop,
    amount numeric(8, 2) NOT NULL CHECK (amount > 0),
    item text
);
CREATE TABLE IF NOT EXISTS dim_total (shop_id integer PRIMARY KEY, total numeric(12, 2));
"""
MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shop",
    "bridge_shop_item": "-- key: shop_id, item\nSELECT DISTINCT shop_id, item FROM sale",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "dim_total": "SELECT shop_id, CAST(sum(amount) AS decimal(12, 2)) AS total FROM sale GROUP BY shop_id",
    "schema": SCHEMA,
}
SOURCE = (
    "CREATE TABLE shop (shop_id integer PRIMARY KEY, city text, manager text)",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, shop_id integer, item text, amount integer)",
    "INSERT INTO shop VALUES (1, 'York', 'Ann'), (2, 'Hull', 'Bob')",
    "INSERT INTO sale SELECT n, 1 + n % 2, 'item ' || n % 3, n FROM generate_series(1, 20) AS n",
)
DAYS = (
    ("UPDATE shop SET city = 'Leeds' WHERE shop_id = 1", "UPDATE sale SET amount = 70 WHERE sale_id = 7"),
    ("DELETE FROM sale WHERE sale_id = 3", "INSERT INTO sale VALUES (30, 3, 'item 1', 5), (31, 1, 'x', -1)"),
    ("INSERT INTO shop VALUES (3, 'Ely', 'Cy')", "UPDATE sale SET item = 'item 9' WHERE sale_id = 8"),
    ("UPDATE sale SET amount = 71 WHERE sale_id = 7", "UPDATE shop SET manager = 'Dot' WHERE shop_id = 1"),
)


def restated(pair: Pair, models: dict[str, str]) -> list[str]:
    """Change models and restate their tables; returns these."""
    house = pair.house
    write_models(house.folder, models)
    house.prepared = None
    house.targets()
    names = house.changed_models()
    if not names:  # the models are as they were
        return []
    return sorted(each.table for each in house.restate(names))


def change(pair: Pair, **models: str) -> list[str]:
    """The same, compared with a rebuild by the changed models."""
    house, names = pair.house, restated(pair, models)
    found = house.rehearse()
    assert (found.differences, found.gaps) == ([], [])
    assert pair.run() is None, "an ordinary run has nothing to do"
    return names
