"""A made-up shop with the schema of Totesys: its tables, its data and its working days.

The same seed gives the same data. It has the difficulties of the live data: a mistyped town, postal codes
with leading zeros, names with apostrophes, commas and ampersands, shared addresses, deliveries two years
late, item codes of digits only, equal timestamps, and ids that are not in the order of time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path

import psycopg

from demo import made_up
from demo.tables import COLUMNS, add_references, continue_ids, copy_into, copy_rows, drop_references
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
    "COLUMNS",
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
DAYS = 469
FIRST_DESIGNS, LAST_DESIGNS = 60, 424
PURCHASES_A_SALE = 4_114 / ORDERS
OPEN_MILLISECONDS = 11 * 3_600_000
CHUNK = 20_000


def create(connection: psycopg.Connection) -> None:
    """Create the tables in the connection's current schema."""
    with connection.transaction():
        connection.execute((Path(__file__).parent / "source.sql").read_bytes())


def fill(
    connection: psycopg.Connection,
    orders: int = ORDERS,
    seed: int = SEED,
    until: date = UNTIL,
    *,
    most_days: int = DAYS,
    chunk: int = CHUNK,
) -> None:
    """Fill the empty tables with the orders of the weekdays up to a date, in one transaction.

    ``orders`` is the number of sales orders; purchase orders are added. Memory does not grow with it, but
    with ``chunk``, the number of payments that are copied at once. Beyond ``most_days`` days get busier.
    """
    rng = random.Random(seed)
    days = _weekdays(until, max(1, min(most_days, math.ceil(orders / SALES_A_DAY))))
    with connection.transaction():
        references = connection.execute((SQL / "references.sql").read_bytes()).fetchall()
        drop_references(connection, references)
        designs = _fill_small_tables(connection, rng, days)
        for book in _trade(rng, orders, days, designs, chunk):
            book.write(connection)
        # Adding a foreign key checks it by one join; checking row by row would double the time.
        add_references(connection, references)
        continue_ids(connection)


class Book:
    """Orders with their transactions and payments, as lines of COPY text."""

    def __init__(self, days: list[date], paid_at: dict[str, str]) -> None:
        """Open an empty book; ``paid_at`` has, by payment date, the time at which payments were made."""
        self.paid_at = paid_at
        self.until = days[-1].isoformat()
        self.sales = self.purchases = self.payments = 0
        self.lines: dict[str, list[str]] = {}
        self.clear()

    def clear(self) -> None:
        """Remove the lines, but continue the numbers."""
        names = ("sales_order", "purchase_order", "transaction", "payment")
        self.lines = {name: [] for name in names}

    def sell(self, at: str, order: made_up.Order, design_id: int) -> None:
        """Add a sale."""
        self.sales += 1
        self.lines["sales_order"].append(
            f"{self.sales}\t{at}\t{at}\t{design_id}\t{order.staff_id}\t{order.counterparty_id}"
            f"\t{order.quantity}\t{_pounds(order.pence)}\t{order.currency_id}\t{order.delivery}"
            f"\t{order.payment}\t{order.location_id}\n"
        )
        self._settle(at, order, f"SALE\t{self.sales}\t\\N", 1)

    def buy(self, at: str, order: made_up.Order, item_code: str) -> None:
        """Add a purchase."""
        self.purchases += 1
        self.lines["purchase_order"].append(
            f"{self.purchases}\t{at}\t{at}\t{order.staff_id}\t{order.counterparty_id}\t{item_code}"
            f"\t{order.quantity}\t{_pounds(order.pence)}\t{order.currency_id}\t{order.delivery}"
            f"\t{order.payment}\t{order.location_id}\n"
        )
        self._settle(at, order, f"PURCHASE\t\\N\t{self.purchases}", 3)

    def _settle(self, at: str, order: made_up.Order, reference: str, payment_type: int) -> None:
        """Add the transaction and the payment, paid if its date is after the order's and has come."""
        self.payments += 1
        number = self.payments
        paid_at = self.paid_at.get(order.payment) if order.payment > at[:10] else None
        self.lines["transaction"].append(f"{number}\t{at}\t{at}\t{reference}\n")
        self.lines["payment"].append(
            f"{number}\t{at}\t{paid_at or at}\t{number}\t{order.counterparty_id}"
            f"\t{_pounds(order.quantity * order.pence)}\t{order.currency_id}\t{payment_type}"
            f"\t{'t' if paid_at else 'f'}\t{order.payment}\t{order.company_account}"
            f"\t{order.counterparty_account}\n"
        )

    def write(self, connection: psycopg.Connection) -> None:
        """Copy the lines into their tables and remove them."""
        for table, lines in self.lines.items():
            with connection.cursor().copy(copy_into(table)) as copy:
                copy.write("".join(lines))
        self.clear()


def _trade(
    rng: random.Random, orders: int, days: list[date], designs: list[int], chunk: int
) -> Iterator[Book]:
    """Yield the book at every ``chunk`` payments and at the end; ``designs`` are their numbers by day."""
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
            if len(book.lines["payment"]) >= chunk:
                yield book
    yield book


def _sell(rng: random.Random, book: Book, day: date, at: str, designs: int) -> None:
    order = made_up.sale(rng, day)
    if book.sales == 10:
        order = order._replace(delivery=made_up.days_after(day, made_up.LATEST_DELIVERY))
    book.sell(at, order, 1 + made_up.below(rng, designs))


def _until_day(rng: random.Random, orders: int, number: int, days: int) -> int:
    """Return the number of sales at the end of a day; the days have about the same number."""
    if number + 1 == days:
        return orders
    return orders * (number + 1) // days + rng.randint(-3, 3)


def _times(rng: random.Random, day: date, count: int) -> list[str]:
    """Return the times of a day's orders; some are equal, some not in the order of the ids."""
    times = sorted(made_up.below(rng, OPEN_MILLISECONDS) for _ in range(count))
    for index in range(1, count):
        chance = rng.random()
        if chance < 0.01:
            times[index] = times[index - 1]
        elif chance < 0.02:
            times[index], times[index - 1] = times[index - 1], times[index]
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
    weekdays: list[date] = []
    while len(weekdays) < count:
        if until.weekday() < 5:
            weekdays.append(until)
        until -= timedelta(1)
    return weekdays[::-1]


def _fill_small_tables(connection: psycopg.Connection, rng: random.Random, days: list[date]) -> list[int]:
    """Fill the tables that orders refer to; return the number of designs by day."""
    at = datetime.combine(days[0], time(7, 20, 49, 962_000))
    addresses = [made_up.address(rng, number) for number in range(1, made_up.ADDRESSES + 1)]
    copy_rows(connection, "address", at, addresses)
    parties = [made_up.counterparty(rng, n) for n in range(1, made_up.COUNTERPARTIES + 1)]
    copy_rows(connection, "counterparty", at, parties)
    copy_rows(connection, "currency", at, [(code,) for code in made_up.CURRENCIES])
    departments = zip(made_up.DEPARTMENTS, made_up.LOCATIONS, strict=True)
    rows = [(name, location, made_up.person(rng)) for name, location in departments]
    copy_rows(connection, "department", at, rows)
    copy_rows(connection, "payment_type", at, [(name,) for name in made_up.PAYMENT_TYPES])
    staff = [made_up.staff(rng, number) for number in range(1, made_up.STAFF + 1)]
    copy_rows(connection, "staff", at, staff)
    connection.execute(
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, applied_steps_count) "
        "VALUES ('0', '0', 'made_up', 1)"
    )
    return _fill_designs(connection, rng, at, days)


def _fill_designs(
    connection: psycopg.Connection, rng: random.Random, at: datetime, days: list[date]
) -> list[int]:
    """Fill the designs, whose number grows day by day; return that number by day."""
    total = FIRST_DESIGNS + (LAST_DESIGNS - FIRST_DESIGNS) * len(days) // DAYS
    numbers = [
        FIRST_DESIGNS + (total - FIRST_DESIGNS) * day // max(1, len(days) - 1) for day in range(len(days))
    ]
    filled = 0
    with connection.cursor().copy(copy_into("design")) as copy:
        for day, number in zip(days, numbers, strict=True):
            for design_id in range(filled + 1, number + 1):
                drawn_at = datetime.combine(day, OPENS) if filled else at
                row = made_up.design(rng, drawn_at.date())
                copy.write_row((design_id, drawn_at, drawn_at, *row))
            filled = number
    return numbers
