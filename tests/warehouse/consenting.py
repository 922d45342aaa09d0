"""A warehouse whose schema.sql and models change in transactions that are rolled back."""

from __future__ import annotations

from contextlib import suppress

from pipeline.postgres import transaction
from pipeline.warehouse import catalogue
from tests.pair import Pair
from tests.support import execute, write_models

SCHEMA = """
CREATE TABLE IF NOT EXISTS dim_shop (
    shop_id integer PRIMARY KEY, city varchar(10), manager varchar, opened date
);
CREATE TABLE IF NOT EXISTS fact_sale (
    sale_id integer NOT NULL, shop_id integer REFERENCES dim_shop, amount numeric(8, 2), note text
);
"""
MODELS = {
    "dim_shop": "SELECT shop_id, city, manager FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": SCHEMA,
}
WITHOUT_NOTE = SCHEMA.replace(", note text", "")
SOURCE = (
    "CREATE TABLE shop (shop_id integer PRIMARY KEY, city text, manager text)",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, shop_id integer, amount numeric(8, 2))",
    "INSERT INTO shop VALUES (1, 'York', 'Ann'), (2, 'Hull', NULL)",
    "INSERT INTO sale VALUES (1, 1, 5), (2, 2, 1234.5), (3, 1, 7), (4, 9, 1)",
)


def filled_shop(shared: Pair) -> Pair:
    """A warehouse after two batches."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    execute(shared.house.url, "ALTER TABLE dim_shop ADD COLUMN theirs text")
    shared.house.prepared = None
    shared.do(
        "UPDATE shop SET manager = 'Bo' WHERE shop_id = 1", "UPDATE sale SET amount = 6 WHERE sale_id = 1"
    )
    shared.run()
    return shared


def follow(
    pair: Pair, *allow: str, query: str = "", made: str = "", killed: bool = False, **models: str
) -> list[tuple[object, ...]]:
    """Follow changed files in a transaction that is rolled back; returns rows of a query in it.

    ``made`` is what others have made before; with ``killed`` the session ends before it commits.
    """
    folder = pair.house.folder
    write_models(folder, {**MODELS, **models})
    known, found = pair.house.models, list[tuple[object, ...]]()
    with suppress(_Back), transaction(pair.house.url, "warehouse") as connection:
        connection.execute("SET LOCAL search_path TO public")
        connection.execute(made.encode() or b"SELECT")
        connection.execute("SET LOCAL search_path TO pg_catalog, pg_temp")
        catalogue.create_tables(connection, "public", known, folder, allow=allow)
        if query:
            found = connection.execute(query.encode()).fetchall()
        if killed:
            execute(pair.house.url, f"SELECT pg_terminate_backend({connection.info.backend_pid}, 5000)")
            connection.execute("SELECT")
        _roll_back()
    return found


class _Back(Exception):
    """Rolls back."""


def _roll_back() -> None:
    raise _Back
