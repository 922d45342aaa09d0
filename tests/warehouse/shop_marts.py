"""A source of shops and sales, with models and marts over them."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent

from tests.pair import Pair
from tests.support import write_models

MODELS = {
    "dim_shop": "-- One row per shop.\nSELECT shop_id, city FROM shop",
    "fact_sale": "-- One row per sale.\n-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text);
        COMMENT ON COLUMN dim_shop.city IS 'Where it is; it''s a city.';
        CREATE TABLE IF NOT EXISTS fact_sale (
            record_id serial PRIMARY KEY,
            sale_id integer NOT NULL,
            shop_id integer REFERENCES dim_shop,
            amount numeric(8, 2)
        );
        COMMENT ON COLUMN fact_sale.amount IS 'What was paid.';
    """,
}
MARTS = {
    # A mart comes before the one that it reads.
    "best_city": """
        -- One row: the city with the most sales.
        SELECT city FROM sales_by_city ORDER BY total DESC LIMIT 1
    """,
    "sales_by_city": """
        -- One row per city
        -- of shops.
        -- columns:
        -- city: The city's name,
        --   as the shop writes it.
        -- total: What its sales brought.
        SELECT city, sum(amount) AS total
        FROM fact_sale
        INNER JOIN dim_shop USING (shop_id)
        GROUP BY city;
    """,
    "sales_of.function": """
        -- One row per sale of a shop.
        -- columns:
        -- sale: The sale.
        CREATE OR REPLACE FUNCTION sales_of(shop integer) RETURNS TABLE (sale integer)
        LANGUAGE sql STABLE
        AS $$ SELECT sale_id FROM fact_sale WHERE shop_id = shop ORDER BY 1 $$
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, city text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount numeric(8, 2))",
    "INSERT INTO shop VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO sale VALUES (1, 1, 10), (2, 2, 20), (3, 2, 5), (4, 9, 1)",
)


def write(pair: Pair, marts: Mapping[str, str], models: Mapping[str, str] = MODELS) -> None:
    """Replace all marts, and write these models."""
    folder = pair.house.folder / "marts"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, text in marts.items():
        (folder / f"{name}.sql").write_text(dedent(text).strip() + "\n", encoding="utf-8")
    write_models(pair.house.folder, models)


def columns_of(shop: Pair, relation: str) -> list[str]:
    rows = shop.house.query(
        f"SELECT attname::text FROM pg_attribute WHERE attrelid = '{relation}'::regclass AND attnum > 0"
        " AND NOT attisdropped ORDER BY attnum"
    )
    return [name for (name,) in rows]
