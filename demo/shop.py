"""A made-up shop in the shape of Totesys: its schema, its data and its working days.

The same seed gives the same data. What makes the live data hard is in it on purpose: a
mistyped town, postal codes with leading zeros, names with apostrophes, commas and ampersands,
shared addresses, deliveries two years late, item codes of digits alone, equal timestamps,
ids that are not in the order of time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from demo import made_up
from demo.trading import (
    OPENS,
    PAID_AT,
    SALES_A_DAY,
    SILENT,
    SQL,
    Day,
    Edit,
    Ids,
    activity,
    buy,
    edit_silently,
    late_commit,
    sell,
    working_day,
)

__all__ = [
    "SILENT",
    "Day",
    "Edit",
    "Ids",
    "activity",
    "buy",
    "create",
    "edit_silently",
    "fill",
    "late_commit",
    "sell",
    "working_day",
]

ORDERS = 9_845
SEED = 20_240_822
UNTIL = date(2024, 8, 22)
DAYS = 469  # more orders than these hold at the usual pace make the days busier, not more
FIRST_DESIGNS, LAST_DESIGNS = 60, 424
PURCHASES_A_SALE = 4_114 / ORDERS
OPEN_MILLISECONDS = 11 * 3_600_000
CHUNK = 20_000

COLUMNS = {
    "address": "address_line_1 address_line_2 district city postal_code country phone",
    "counterparty": ("counterparty_legal_name legal_address_id commercial_contact delivery_contact"),
    "currency": "currency_code",
    "department": "department_name location manager",
    "design": "design_name file_location file_name",
    "payment_type": "payment_type_name",
    "staff": "first_name last_name department_id email_address",
    "sales_order": (
        "design_id staff_id counterparty_id units_sold unit_price currency_id "
        "agreed_delivery_date agreed_payment_date agreed_delivery_location_id"
    ),
    "purchase_order": (
        "staff_id counterparty_id item_code item_quantity item_unit_price currency_id "
        "agreed_delivery_date agreed_payment_date agreed_delivery_location_id"
    ),
    "transaction": "transaction_type sales_order_id purchase_order_id",
    "payment": (
        "transaction_id counterparty_id payment_amount currency_id payment_type_id paid "
        "payment_date company_ac_number counterparty_ac_number"
    ),
}


def create(connection: psycopg.Connection) -> None:
    """Create the tables in the connection's current schema."""
    with connection.transaction():
        connection.execute((Path(__file__).parent / "source.sql").read_bytes())


def fill(connection: psycopg.Connection, orders: int = ORDERS, seed: int = SEED, until: date = UNTIL) -> None:
    """Fill the empty tables with the trade of the weekdays up to a date, in one transaction.

    Memory does not grow with the number of sales orders. The purchase orders come on top.
    """
    rng = random.Random(seed)
    days = _weekdays(until, max(1, min(DAYS, math.ceil(orders / SALES_A_DAY))))
    with connection.transaction():
        references = connection.execute((SQL / "references.sql").read_bytes()).fetchall()
        _drop(connection, references)
        designs = _fill_small_tables(connection, rng, days)
        for book in _trade(rng, orders, days, designs):
            book.write(connection)
        # Checked by one join a reference: row by row it takes as long as all the rest.
        _add(connection, references)
        _continue_ids(connection)


class Book:
    """Orders with their transactions and payments, as lines of COPY text."""

    def __init__(self, days: list[date], paid_at: dict[str, str]) -> None:
        """Open an empty book; paid_at says when the payments of a date became paid."""
        self.paid_at = paid_at
        self.until = days[-1].isoformat()
        self.sales = self.purchases = self.payments = 0
        self.lines: dict[str, list[str]] = {}
        self.clear()

    def clear(self) -> None:
        """Forget the lines, not the numbers."""
        names = ("sales_order", "purchase_order", "transaction", "payment")
        self.lines = {name: [] for name in names}

    def sell(self, at: str, order: made_up.Order, design_id: int) -> None:
        """Enter a sale."""
        self.sales += 1
        self.lines["sales_order"].append(
            f"{self.sales}\t{at}\t{at}\t{design_id}\t{order.staff_id}\t{order.counterparty_id}"
            f"\t{order.quantity}\t{_pounds(order.pence)}\t{order.currency_id}\t{order.delivery}"
            f"\t{order.payment}\t{order.location_id}\n"
        )
        self._settle(at, order, f"SALE\t{self.sales}\t\\N", 1)

    def buy(self, at: str, order: made_up.Order, item_code: str) -> None:
        """Enter a purchase."""
        self.purchases += 1
        self.lines["purchase_order"].append(
            f"{self.purchases}\t{at}\t{at}\t{order.staff_id}\t{order.counterparty_id}\t{item_code}"
            f"\t{order.quantity}\t{_pounds(order.pence)}\t{order.currency_id}\t{order.delivery}"
            f"\t{order.payment}\t{order.location_id}\n"
        )
        self._settle(at, order, f"PURCHASE\t\\N\t{self.purchases}", 3)

    def _settle(self, at: str, order: made_up.Order, what: str, payment_type: int) -> None:
        """Enter the transaction and the payment, paid where its day came after the order's."""
        self.payments += 1
        number = self.payments
        paid_at = self.paid_at.get(order.payment) if order.payment > at[:10] else None
        self.lines["transaction"].append(f"{number}\t{at}\t{at}\t{what}\n")
        self.lines["payment"].append(
            f"{number}\t{at}\t{paid_at or at}\t{number}\t{order.counterparty_id}"
            f"\t{_pounds(order.quantity * order.pence)}\t{order.currency_id}\t{payment_type}"
            f"\t{'t' if paid_at else 'f'}\t{order.payment}\t{order.company_account}"
            f"\t{order.counterparty_account}\n"
        )

    def write(self, connection: psycopg.Connection) -> None:
        """Copy the lines into their tables and forget them."""
        for table, lines in self.lines.items():
            with connection.cursor().copy(_copy_into(table)) as copy:
                copy.write("".join(lines))
        self.clear()


def _trade(rng: random.Random, orders: int, days: list[date], designs: list[int]) -> Iterator[Book]:
    """Yield the book whenever it is full, and at the end; designs are those of each day."""
    book = Book(days, {day.isoformat(): _paid_at(rng, day) for day in days[1:]})
    for number, day in enumerate(days):
        sales = _until_day(rng, orders, number, len(days)) - book.sales
        purchases = round((book.sales + sales) * PURCHASES_A_SALE) - book.purchases
        kinds = [True] * sales + [False] * purchases
        rng.shuffle(kinds)
        for is_sale, at in zip(kinds, _times(rng, day, len(kinds)), strict=True):
            if is_sale:
                _sell(rng, book, day, at, designs[number])
            else:
                digits_only = book.purchases % 1_000 == 1
                item_code = made_up.item_code(rng, digits_only)
                book.buy(at, made_up.purchase(rng, day), item_code)
            if len(book.lines["payment"]) >= CHUNK:
                yield book
    yield book


def _sell(rng: random.Random, book: Book, day: date, at: str, designs: int) -> None:
    order = made_up.sale(rng, day)
    if book.sales == 10:
        order = order._replace(delivery=made_up.days_after(day, made_up.LATEST_DELIVERY))
    book.sell(at, order, 1 + made_up.below(rng, designs))


def _until_day(rng: random.Random, orders: int, number: int, days: int) -> int:
    """Return how many sales there are at the end of a day: about as many every day."""
    if number + 1 == days:
        return orders
    return orders * (number + 1) // days + rng.randint(-3, 3)


def _times(rng: random.Random, day: date, count: int) -> list[str]:
    """Return a day's times of order: some equal, some in another order than the ids."""
    times = sorted(made_up.below(rng, OPEN_MILLISECONDS) for _ in range(count))
    for here in range(1, count):
        lot = rng.random()
        if lot < 0.01:
            times[here] = times[here - 1]
        elif lot < 0.02:
            times[here], times[here - 1] = times[here - 1], times[here]
    date_part = day.isoformat()
    return [
        f"{date_part} {8 + ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1_000 % 60:02}.{ms % 1_000:03}"
        for ms in times
    ]


def _paid_at(rng: random.Random, day: date) -> str:
    return f"{day} {PAID_AT}.{rng.randrange(1_000):03}"


def _pounds(pence: int) -> str:
    return f"{pence // 100}.{pence % 100:02}"


def _weekdays(until: date, count: int) -> list[date]:
    """Return the last weekdays up to a date."""
    found: list[date] = []
    while len(found) < count:
        if until.weekday() < 5:
            found.append(until)
        until -= timedelta(1)
    return found[::-1]


def _fill_small_tables(connection: psycopg.Connection, rng: random.Random, days: list[date]) -> list[int]:
    """Fill what orders refer to; return how many designs there are on each day."""
    at = datetime.combine(days[0], time(7, 20, 49, 962_000))
    addresses = [made_up.address(rng, number) for number in range(1, made_up.ADDRESSES + 1)]
    _copy_rows(connection, "address", at, addresses)
    parties = [made_up.counterparty(rng, n) for n in range(1, made_up.COUNTERPARTIES + 1)]
    _copy_rows(connection, "counterparty", at, parties)
    _copy_rows(connection, "currency", at, [(code,) for code in made_up.CURRENCIES])
    departments = zip(made_up.DEPARTMENTS, made_up.LOCATIONS, strict=True)
    rows = [(name, location, made_up.person(rng)) for name, location in departments]
    _copy_rows(connection, "department", at, rows)
    _copy_rows(connection, "payment_type", at, [(name,) for name in made_up.PAYMENT_TYPES])
    staff = [made_up.staff(rng, number) for number in range(1, made_up.STAFF + 1)]
    _copy_rows(connection, "staff", at, staff)
    connection.execute(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, applied_steps_count) "
        "VALUES ('0', '0', 'made_up', 1)"
    )
    return _fill_designs(connection, rng, at, days)


def _fill_designs(
    connection: psycopg.Connection, rng: random.Random, at: datetime, days: list[date]
) -> list[int]:
    """Fill the designs, their number growing with the days; return it for each day."""
    total = FIRST_DESIGNS + (LAST_DESIGNS - FIRST_DESIGNS) * len(days) // DAYS
    numbers = [
        FIRST_DESIGNS + (total - FIRST_DESIGNS) * day // max(1, len(days) - 1) for day in range(len(days))
    ]
    known = 0
    with connection.cursor().copy(_copy_into("design")) as copy:
        for day, number in zip(days, numbers, strict=True):
            for design_id in range(known + 1, number + 1):
                drawn_at = datetime.combine(day, OPENS) if known else at
                row = made_up.design(rng, drawn_at.date())
                copy.write_row((design_id, drawn_at, drawn_at, *row))
            known = number
    return numbers


def _copy_rows(connection: psycopg.Connection, table: str, at: datetime, rows: Iterable[made_up.Row]) -> None:
    with connection.cursor().copy(_copy_into(table)) as copy:
        for number, row in enumerate(rows, start=1):
            copy.write_row((number, at, at, *row))


def _copy_into(table: str) -> sql.Composed:
    """Return the COPY of a table: key, both timestamps, then its other columns."""
    names = [f"{table}_id", "created_at", "last_updated", *COLUMNS[table].split()]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    return sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)


def _drop(connection: psycopg.Connection, references: Iterable[tuple[str, ...]]) -> None:
    statement = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
    for table, name, _, _ in references:
        connection.execute(statement.format(sql.Identifier(table), sql.Identifier(name)))


def _add(connection: psycopg.Connection, references: Iterable[tuple[str, ...]]) -> None:
    statement = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {}")
    for names in references:
        connection.execute(statement.format(*map(sql.Identifier, names)))


def _continue_ids(connection: psycopg.Connection) -> None:
    """Let the tables' own ids follow on those copied, and let the planner know the sizes."""
    statement = sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), max({})) FROM {}")
    for table in COLUMNS:
        key, name = f"{table}_id", sql.Identifier(table)
        connection.execute(statement.format(sql.Literal(table), sql.Literal(key), sql.Identifier(key), name))
        connection.execute(sql.SQL("ANALYZE {}").format(name))
