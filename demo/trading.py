"""Changes of the shop's database while it trades: orders, payments, corrections.

Most corrections do not touch last_updated, as in the live database.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql

from demo import made_up
from demo.lookups import newest_designs, newest_id, newest_order, one, some_id

SQL = Path(__file__).parent / "sql"
OPENS, CLOSES = time(8), time(18, 59, 59)
PAID_AT = time(7, 55, 11)
SALES_A_DAY = 21
PURCHASES_A_DAY = 9
# What the live application changes without touching last_updated.
SILENT = (
    ("sales_order", "design_id"),
    ("sales_order", "staff_id"),
    ("sales_order", "agreed_delivery_date"),
    ("sales_order", "agreed_delivery_location_id"),
    ("purchase_order", "item_code"),
    ("purchase_order", "staff_id"),
    ("purchase_order", "agreed_delivery_date"),
    ("purchase_order", "agreed_delivery_location_id"),
    ("design", "file_location"),
)


class Ids(NamedTuple):
    """The keys of an order (a sale or a purchase), its transaction and its payment."""

    order_id: int
    transaction_id: int
    payment_id: int


@dataclass(frozen=True)
class Edit:
    """A changed value."""

    table: str
    id: int
    column: str
    old: object
    new: object


@dataclass(frozen=True)
class Day:
    """The changes of a working day; only `edits` left last_updated as it was."""

    day: date
    sales: tuple[Ids, ...]
    purchases: tuple[Ids, ...]
    design_id: int
    paid: tuple[int, ...]
    paid_at: datetime
    edits: tuple[Edit, ...]
    move: Edit
    moved_staff: tuple[int, ...]
    deleted: Ids


def working_day(url: str, seed: int = 0) -> Day:
    """Change the source as a working day would and return what was changed.

    The day is the first weekday after the newest order. Every change commits by
    itself, an order always together with its transaction and payment.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        day = next_weekday(newest_order(connection).date())
        rng = random.Random(f"{seed} {day}")
        paid_at = datetime.combine(day, PAID_AT) + timedelta(milliseconds=rng.randrange(1000))
        paid = _pay_what_is_due(connection, day, paid_at)
        newest_ids = {table: newest_id(connection, table) for table, _ in SILENT}
        design_id = _draw_design(connection, rng, datetime.combine(day, OPENS))
        sales, purchases = _trade(connection, rng, day)
        edits = tuple(
            edit_silently(connection, rng, table, column, newest_ids[table]) for table, column in SILENT
        )
        edited = {edit.id for edit in edits if edit.table == "sales_order"}
        move, moved_staff = _move_department(connection, rng, datetime.combine(day, CLOSES))
        deleted = _cancel(connection, rng, newest_ids["sales_order"], edited)
    return Day(
        day, sales, purchases, design_id, paid, paid_at, edits, move, moved_staff, deleted
    )  # fmt: skip


@contextmanager
def late_commit(url: str, seed: int = 0) -> Iterator[Ids]:
    """Hold a sale, stamped with the time before, uncommitted for the block; commit at its end.

    A block that raises rolls it back.
    """
    with psycopg.connect(url) as connection:
        rng = random.Random(seed)
        at = within_hours(newest_order(connection) + timedelta(seconds=1))
        yield sell(connection, rng, at, newest_designs(connection))


def activity(connection: psycopg.Connection, rng: random.Random, at: datetime | None = None) -> str:
    """Make one small change in one transaction; returns a short description.

    The time is the shop's own, some minutes after its newest order, unless given.
    """
    with connection.transaction():
        at = at or within_hours(newest_order(connection) + timedelta(minutes=rng.uniform(1, 20)))
        lot = rng.random()
        if lot < 0.55:
            return f"sales order {sell(connection, rng, at, newest_designs(connection)).order_id}"
        if lot < 0.75:
            return f"purchase order {buy(connection, rng, at).order_id}"
        if lot < 0.9:
            edit = edit_silently(connection, rng, *rng.choice(SILENT))
            return f"{edit.table} {edit.id}: {edit.column} {edit.old} -> {edit.new}, silently"
        if lot < 0.97:
            return f"payment {_pay_one(connection, rng, at)} paid"
        return f"design {_draw_design(connection, rng, at)}"


def next_weekday(day: date) -> date:
    """Return the first weekday after a day."""
    return day + timedelta({4: 3, 5: 2}.get(day.weekday(), 1))


def last_weekday(day: date) -> date:
    """Return the day, or the last weekday before it."""
    return day - timedelta(max(0, day.weekday() - 4))


def within_hours(at: datetime) -> datetime:
    """Return the time, or the next opening if the shop is closed then."""
    if at.weekday() > 4 or at.time() > CLOSES:
        return datetime.combine(next_weekday(at.date()), OPENS)
    return max(at, datetime.combine(at.date(), OPENS))


def sell(connection: psycopg.Connection, rng: random.Random, at: datetime, designs: list[int]) -> Ids:
    """Insert a sale of one of the designs with its transaction and payment."""
    values = {"design_id": rng.choice(designs)}
    return _order(connection, "sell.sql", made_up.sale(rng, at.date()), at, values)


def buy(connection: psycopg.Connection, rng: random.Random, at: datetime) -> Ids:
    """Insert a purchase with its transaction and payment."""
    values = {"item_code": made_up.item_code(rng)}
    return _order(connection, "buy.sql", made_up.purchase(rng, at.date()), at, values)


def edit_silently(
    connection: psycopg.Connection, rng: random.Random, table: str, column: str, newest: int | None = None
) -> Edit:
    """Change a column of a random row up to the newest key, without touching last_updated."""
    key = some_id(connection, rng, table, newest or newest_id(connection, table))
    names = {
        "table": sql.Identifier(table),
        "column": sql.Identifier(column),
        "key": sql.Identifier(f"{table}_id"),
    }
    find = sql.SQL("SELECT {column}, created_at FROM {table} WHERE {key} = %s").format(**names)
    old, created_at = one(connection.execute(find, [key]))
    new = _another(connection, rng, column, old, created_at.date())
    change = sql.SQL("UPDATE {table} SET {column} = %s WHERE {key} = %s").format(**names)
    connection.execute(change, [new, key])
    return Edit(table, key, column, old, new)


def _order(
    connection: psycopg.Connection,
    statement: str,
    order: made_up.Order,
    at: datetime,
    values: dict[str, int] | dict[str, str],
) -> Ids:
    price = Decimal(order.pence).scaleb(-2)
    bound = order._asdict() | values | {"at": at, "price": price}
    return Ids(*one(connection.execute((SQL / statement).read_bytes(), bound)))


def _trade(
    connection: psycopg.Connection, rng: random.Random, day: date
) -> tuple[tuple[Ids, ...], tuple[Ids, ...]]:
    """Insert a day's sales and purchases in the order of their times."""
    sales, purchases = [], []
    designs = newest_designs(connection)
    kinds = [True] * (SALES_A_DAY + rng.randint(-2, 2)) + [False] * PURCHASES_A_DAY
    rng.shuffle(kinds)
    # Well after opening, where a late commit of the same day may have stamped its row.
    times = sorted(rng.uniform(600, 39_000) for _ in kinds)
    for is_sale, seconds in zip(kinds, times, strict=True):
        at = datetime.combine(day, OPENS) + timedelta(seconds=seconds)
        if is_sale:
            sales.append(sell(connection, rng, at, designs))
        else:
            purchases.append(buy(connection, rng, at))
    return tuple(sales), tuple(purchases)


def _pay_what_is_due(connection: psycopg.Connection, day: date, at: datetime) -> tuple[int, ...]:
    """Mark the payments of a day as paid, all with the same timestamp."""
    statement = (
        "UPDATE payment SET paid = TRUE, last_updated = %s "
        "WHERE payment_date = %s AND NOT paid RETURNING payment_id"
    )
    rows = connection.execute(statement, [at, day.isoformat()])
    return tuple(sorted(payment_id for (payment_id,) in rows))


def _pay_one(connection: psycopg.Connection, rng: random.Random, at: datetime) -> int:
    payment_id = some_id(connection, rng, "payment", newest_id(connection, "payment"))
    statement = "UPDATE payment SET paid = TRUE, last_updated = %s WHERE payment_id = %s"
    connection.execute(statement, [at, payment_id])
    return payment_id


def _draw_design(connection: psycopg.Connection, rng: random.Random, at: datetime) -> int:
    statement = (
        "INSERT INTO design (created_at, last_updated, design_name, file_location, file_name) "
        "VALUES (%s, %s, %s, %s, %s) RETURNING design_id"
    )
    values = [at, at, *made_up.design(rng, at.date())]
    return int(one(connection.execute(statement, values))[0])


def _move_department(
    connection: psycopg.Connection, rng: random.Random, at: datetime
) -> tuple[Edit, tuple[int, ...]]:
    """Move a department that has staff to another location; return the edit and the staff."""
    staff = connection.execute("SELECT department_id, staff_id FROM staff ORDER BY 1, 2").fetchall()
    department = rng.choice(sorted({row[0] for row in staff}))
    find = "SELECT location FROM department WHERE department_id = %s"
    (old,) = one(connection.execute(find, [department]))
    new = made_up.other(rng, made_up.PLACES, old)
    move = "UPDATE department SET location = %s, last_updated = %s WHERE department_id = %s"
    connection.execute(move, [new, at, department])
    moved = tuple(staff_id for department_id, staff_id in staff if department_id == department)
    return Edit("department", department, "location", old, new), moved


def _cancel(connection: psycopg.Connection, rng: random.Random, newest: int, spared: set[int]) -> Ids:
    """Delete an old sale that is not among the spared, with its transaction and payment."""
    while (key := some_id(connection, rng, "sales_order", newest)) in spared:
        pass
    statement = (SQL / "cancel.sql").read_bytes()
    return Ids(*one(connection.execute(statement, {"sales_order_id": key})))


def _another(
    connection: psycopg.Connection, rng: random.Random, column: str, old: object, created: date
) -> object:
    """Return another value for a column."""
    if column == "design_id":
        return made_up.other(rng, newest_designs(connection), old)
    if column == "staff_id":
        return made_up.other(rng, range(1, made_up.STAFF + 1), old)
    if column == "agreed_delivery_location_id":
        return made_up.other(rng, range(1, made_up.ADDRESSES + 1), old)
    if column == "file_location":
        return made_up.other(rng, made_up.FOLDERS, old)
    if column == "item_code":
        return made_up.other(rng, [made_up.item_code(rng) for _ in range(2)], old)
    return made_up.other(rng, [made_up.days_after(created, days) for days in range(30, 625)], old)
