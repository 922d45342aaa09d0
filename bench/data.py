"""A Totesys source with any number of sales orders, and the expected contents of the warehouse."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from typing import NamedTuple

import psycopg
from psycopg import sql

from bench.errors import BenchError
from demo import shop
from pipeline.postgres import template

# The shop's own orders end on the Thursday before; these cover a hundred weeks.
_MONDAY, _DAYS = date(2024, 8, 26), 500
_FIRST_CHANGE = datetime(2026, 8, 3, 9)  # noqa: DTZ001  the source's times have no zone


def recent_monday() -> date:
    """A Monday from which the sales orders last until last week."""
    today = datetime.now(UTC).date()
    return today - timedelta(_DAYS // 5 * 7 + today.weekday())


class Totals(NamedTuple):
    """Totals that every copy of the sales orders must have."""

    orders: int
    ordered: Decimal
    delivery_days: int
    designs: int


@dataclass
class Source:
    """A source database; ``changes`` counts how often some of its rows were changed."""

    url: str
    orders: int
    changes: int = 0
    monday: date = _MONDAY

    def make(self) -> None:
        """Fill it with the demo's shop, and add sales orders."""
        by_shop = min(shop.ORDERS, self.orders // 2)
        bound = {"first": by_shop + 1, "last": self.orders, "monday": self.monday, "days": _DAYS}
        with psycopg.connect(self.url) as connection:
            shop.create(connection)
            shop.fill(connection, by_shop, until=self.monday - timedelta(4))
            # Checking references row by row takes longer than everything else.
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute("SELECT setseed(0.5)")
            connection.execute(statement("sell.sql"), bound)
        vacuum(self.url)

    def trade(self) -> None:
        """Add purchase orders, and a transaction and a payment for each order, made up to today."""
        bound = {"first": min(shop.ORDERS, self.orders // 2), "today": datetime.now(UTC).date()}
        with psycopg.connect(self.url) as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute("SET LOCAL work_mem = '256MB'")
            connection.execute(statement("trade.sql"), bound)
        vacuum(self.url)

    def change(self, one_in: int) -> int:
        """Change every n-th sales order of the table; returns the number."""
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
        """Delete that number of sales orders, evenly over the table."""
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
        """The expected totals."""
        return totals(self.url, "sales_order")


def totals(url: str, *table: str) -> Totals:
    """The totals of a table."""
    query = statement("totals.sql").format(table=sql.Identifier(*table))
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    if row is None:
        raise BenchError(f"nothing can be said of {table}")
    return Totals(*row)


def vacuum(url: str) -> None:
    """Vacuum and checkpoint, so that the next run does not pay for this one."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def statement(file: str) -> sql.SQL:
    """A statement of ``bench/sql``."""
    return template(files("bench").joinpath("sql", file).read_text(encoding="utf-8"))
