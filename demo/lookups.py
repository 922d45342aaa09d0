"""Small queries on the made-up shop: its newest rows, and random ones."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from demo import made_up


def newest_designs(connection: psycopg.Connection) -> list[int]:
    """Return the designs on sale: the 200 newest."""
    statement = "SELECT design_id FROM design ORDER BY design_id DESC LIMIT 200"
    return [design_id for (design_id,) in connection.execute(statement)]


def newest_order(connection: psycopg.Connection) -> datetime:
    """Return the time of the newest sales order; ordering by id needs no scan."""
    statement = "SELECT created_at FROM sales_order ORDER BY sales_order_id DESC LIMIT 1"
    created_at: datetime = one(connection.execute(statement))[0]
    return created_at


def newest_id(connection: psycopg.Connection, table: str) -> int:
    """Return the largest key of a table."""
    names = (sql.Identifier(f"{table}_id"), sql.Identifier(table))
    return int(one(connection.execute(sql.SQL("SELECT max({}) FROM {}").format(*names)))[0])


def some_id(connection: psycopg.Connection, rng: random.Random, table: str, newest: int) -> int:
    """Return the key of a random row up to the newest; ids may have gaps."""
    key = sql.Identifier(f"{table}_id")
    find = sql.SQL("SELECT {key} FROM {table} WHERE {key} <= %s ORDER BY {key} DESC LIMIT 1")
    while True:
        upper = 1 + made_up.below(rng, newest)
        cursor = connection.execute(find.format(key=key, table=sql.Identifier(table)), [upper])
        if (row := cursor.fetchone()) is not None:
            return int(row[0])


def one(cursor: psycopg.Cursor) -> tuple[Any, ...]:
    """Return the first row of a result."""
    row = cursor.fetchone()
    if row is None:
        raise LookupError("the shop is empty: fill it first")
    return row
