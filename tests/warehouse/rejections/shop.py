"""A small shop as the source, its models, and its rejected rows."""

from __future__ import annotations

from typing import Any

from tests.pair import Pair

MODELS = {
    "dim_currency": """
        SELECT currency_id, currency.code, iso_4217.name AS currency_name
        FROM currency LEFT JOIN iso_4217 ON currency.code = iso_4217.code
    """,
    "dim_shop": "SELECT shop_id, label, currency_id, mother_id FROM shop",
    "fact_sale": """
        -- key: sale_id
        SELECT sale_id, shop_id, sold_on, units, amount FROM sale
    """,
    "fact_report": """
        -- key: sale_id
        SELECT sale_id, shop_id, label FROM sale LEFT JOIN shop USING (shop_id)
    """,
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_currency (
            currency_id integer PRIMARY KEY, code varchar NOT NULL, currency_name varchar NOT NULL
        );
        CREATE TABLE IF NOT EXISTS dim_shop (
            shop_id integer PRIMARY KEY,
            label varchar(5) NOT NULL,
            currency_id integer NOT NULL REFERENCES dim_currency,
            mother_id integer REFERENCES dim_shop
        );
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            sold_on date NOT NULL,
            units smallint NOT NULL,
            amount numeric(6, 2) NOT NULL
        );
        CREATE TABLE IF NOT EXISTS fact_report (
            sale_id integer NOT NULL, shop_id integer REFERENCES dim_shop, label varchar
        );
    """,
}


SOURCE = (
    "CREATE TABLE currency (currency_id int PRIMARY KEY, code varchar(3))",
    "CREATE TABLE shop (shop_id int PRIMARY KEY, label text, currency_id int, mother_id int)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, sold_on text, units bigint, amount numeric)",
    "INSERT INTO currency VALUES (1, 'GBP')",
    "INSERT INTO shop VALUES (1, 'York', 1, NULL)",
    "INSERT INTO sale VALUES (1, 1, '2024-02-29', 1, 1.50)",
)


Open = tuple[str, str, str]


def aside(pair: Pair) -> list[Open]:
    """Table, key and reason of each rejected row that is not resolved."""
    return [(table, next(iter(key.values())), reason) for table, key, reason in pair.house.rejected()]


def sales(pair: Pair) -> list[int]:
    return [sale for (sale,) in pair.house.query("SELECT sale_id FROM fact_sale_current ORDER BY 1")]


def log(pair: Pair) -> list[tuple[Any, ...]]:
    """Each rejection: the numbers of its first and last batch, and whether it is resolved."""
    return pair.house.query(
        """
        WITH numbered AS (SELECT batch_id, row_number() OVER (ORDER BY batch_id) AS n FROM etl.batch)
        SELECT r.table_name, r.waits, f.n, l.n, r.resolved
        FROM etl.rejected AS r
        INNER JOIN numbered AS f ON f.batch_id = r.first_batch
        INNER JOIN numbered AS l ON l.batch_id = r.last_batch
        ORDER BY r.table_name, f.n
        """
    )
