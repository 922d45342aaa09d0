"""A Totesys source with as many sales orders as one likes, and what has to arrive of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from typing import NamedTuple

import psycopg
from psycopg import sql

from bench.errors import BenchError
from demo import shop
from pipeline.postgres import template

# The shop's own orders end on the Thursday before; these go on for a hundred weeks.
_MONDAY, _DAYS = date(2024, 8, 26), 500
_FIRST_CHANGE = datetime(2026, 8, 3, 9)  # noqa: DTZ001  the source's times have no zone


class Totals(NamedTuple):
    """What has to be the same in every copy of the sales orders."""

    orders: int
    ordered: Decimal
    delivery_days: int
    designs: int


@dataclass
class Source:
    """A source database; ``changes`` is how often some of it has been changed."""

    url: str
    orders: int
    changes: int = 0

    def make(self) -> None:
        """Fill it: the demo's shop and the demo's data, and sales orders on top of them."""
        by_shop = min(shop.ORDERS, self.orders // 2)
        bound = {"first": by_shop + 1, "last": self.orders, "monday": _MONDAY, "days": _DAYS}
        with psycopg.connect(self.url) as connection:
            shop.create(connection)
            shop.fill(connection, by_shop)
            # References checked row by row take longer than all the rest.
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute("SELECT setseed(0.5)")
            connection.execute(statement("sell.sql"), bound)
        vacuum(self.url)

    def change(self, one_in: int) -> int:
        """Change one sales order in so many, all over the table; returns how many."""
        bound = {
            "one_in": one_in,
            "which": self.changes % one_in,
            "at": _FIRST_CHANGE + timedelta(self.changes),
        }
        with psycopg.connect(self.url) as connection:
            changed = connection.execute(statement("change.sql"), bound).rowcount
        self.changes += 1
        vacuum(self.url)
        return changed

    def delete(self, rows: int) -> None:
        """Delete so many sales orders, all over the table."""
        by_shop = min(shop.ORDERS, self.orders // 2)
        bound = {"rows": rows, "first": by_shop, "one_in": max(1, (self.orders - by_shop) // rows)}
        with psycopg.connect(self.url) as connection:
            connection.execute(statement("delete.sql"), bound)
        vacuum(self.url)

    def relink(self) -> None:
        """Change one row of a table that a dimension joins."""
        with psycopg.connect(self.url) as connection:
            connection.execute(statement("relink.sql"))

    def totals(self) -> Totals:
        """What has to arrive."""
        return totals(self.url, "sales_order")


def totals(url: str, *table: str) -> Totals:
    """What has arrived in a table."""
    query = statement("totals.sql").format(table=sql.Identifier(*table))
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    if row is None:
        raise BenchError(f"nothing can be said of {table}")
    return Totals(*row)


def vacuum(url: str) -> None:
    """Leave nothing for the next run to tidy up."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def statement(file: str) -> sql.SQL:
    """A statement of ``bench/sql``."""
    return template(files("bench").joinpath("sql", file).read_text(encoding="utf-8"))
