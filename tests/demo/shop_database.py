"""The made-up shop in a database: filled, and read back."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from demo import shop
from demo.postgres import Postgres

TABLES = tuple(shop.COLUMNS)


def filled(server: Postgres, name: str, orders: int, seed: int = shop.SEED, **more: Any) -> str:
    server.create_database(name)
    with psycopg.connect(server.url(name)) as connection:
        shop.create(connection)
        shop.fill(connection, orders, seed, **more)
    return server.url(name)


def one(connection: psycopg.Connection, query: str, *values: object) -> Any:
    row = connection.execute(query.encode(), values or None).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


def contents(connection: psycopg.Connection) -> dict[str, Any]:
    """Return table → key → row, as a dictionary of its columns."""
    return {
        table: {
            row[f"{table}_id"]: row
            for (row,) in connection.execute(
                sql.SQL("SELECT to_jsonb(t) FROM {} AS t").format(sql.Identifier(table))
            )
        }
        for table in TABLES
    }


def unequal_payments(connection: psycopg.Connection) -> int:
    query = """
        WITH ordered AS (
            SELECT
                'SALE' AS kind, sales_order_id, NULL::integer AS purchase_order_id, created_at,
                units_sold * unit_price AS amount, counterparty_id, currency_id,
                agreed_payment_date, 1 AS payment_type_id
            FROM sales_order
            UNION ALL
            SELECT
                'PURCHASE', NULL, purchase_order_id, created_at,
                item_quantity * item_unit_price, counterparty_id, currency_id,
                agreed_payment_date, 3
            FROM purchase_order
        )
        SELECT count(*)
        FROM ordered AS o
        FULL JOIN "transaction" AS t
            ON t.transaction_type = o.kind
            AND coalesce(t.sales_order_id, t.purchase_order_id)
            = coalesce(o.sales_order_id, o.purchase_order_id)
        FULL JOIN payment AS p ON p.transaction_id = t.transaction_id
        WHERE (
            o.amount, o.counterparty_id, o.currency_id, o.agreed_payment_date, o.payment_type_id,
            o.created_at, o.created_at, o.sales_order_id, o.purchase_order_id
        ) IS DISTINCT FROM (
            p.payment_amount, p.counterparty_id, p.currency_id, p.payment_date, p.payment_type_id,
            p.created_at, t.created_at, t.sales_order_id, t.purchase_order_id
        )
    """
    return int(one(connection, query))
