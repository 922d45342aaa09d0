"""The trade of the made-up shop: working days, late commits, single activities."""

from __future__ import annotations

import random
from datetime import date, datetime
from typing import Any

import psycopg
import pytest

from demo import shop, trading
from demo.postgres import Postgres
from tests.demo.shop_database import TABLES, contents, filled, one, unequal_payments


def test_a_day_edits_rows_without_touching_last_updated(
    day: tuple[shop.Day, dict[str, Any], psycopg.Connection],
) -> None:
    what, before, connection = day
    after = contents(connection)
    assert [(edit.table, edit.column) for edit in what.edits] == list(shop.SILENT)
    for edit in what.edits:
        old, new = before[edit.table][edit.id], after[edit.table][edit.id]
        assert (old[edit.column], new[edit.column]) == (edit.old, edit.new)
        assert edit.old != edit.new
        assert old["last_updated"] == new["last_updated"]


def test_a_day_changes_only_the_rows_that_it_lists(
    day: tuple[shop.Day, dict[str, Any], psycopg.Connection],
) -> None:
    what, before, connection = day
    after = contents(connection)
    changed = {
        (table, key)
        for table, rows in before.items()
        for key, row in rows.items()
        if after[table].get(key) != row
    }
    deleted = {
        ("sales_order", what.deleted.order_id),
        ("transaction", what.deleted.transaction_id),
        ("payment", what.deleted.payment_id),
    }
    said = {(edit.table, edit.id) for edit in (*what.edits, what.move)}
    assert changed == said | deleted | {("payment", key) for key in what.paid}
    assert all(key not in after[table] for table, key in deleted)
    added = {table: set(after[table]) - set(before[table]) for table in TABLES}
    assert added["sales_order"] == {ids.order_id for ids in what.sales}
    assert added["purchase_order"] == {ids.order_id for ids in what.purchases}
    assert added["payment"] == {ids.payment_id for ids in (*what.sales, *what.purchases)}
    assert added["transaction"] == {ids.transaction_id for ids in (*what.sales, *what.purchases)}
    assert added["design"] == {what.design_id}
    assert 19 <= len(what.sales) <= 23


def test_a_day_pays_in_one_batch_and_moves_a_department_with_its_staff(
    day: tuple[shop.Day, dict[str, Any], psycopg.Connection],
) -> None:
    what, before, connection = day
    after = contents(connection)
    paid = {key: after["payment"][key] for key in what.paid if key != what.deleted.payment_id}
    assert len(paid) > 5
    assert {row["last_updated"] for row in paid.values()} == {what.paid_at.isoformat(timespec="milliseconds")}
    assert all(row["paid"] and not before["payment"][key]["paid"] for key, row in paid.items())
    assert after["department"][what.move.id]["location"] == what.move.new
    assert what.moved_staff
    for key, row in after["staff"].items():
        assert (row["department_id"] == what.move.id) == (key in what.moved_staff)
    assert after["staff"] == before["staff"]
    assert unequal_payments(connection) == 0


def test_orders_of_a_day_commit_one_by_one_with_their_payments(
    day: tuple[shop.Day, dict[str, Any], psycopg.Connection],
) -> None:
    what, _, connection = day
    query = """
        SELECT o.xmin = t.xmin AND t.xmin = p.xmin, o.xmin::text
        FROM sales_order AS o
        INNER JOIN "transaction" AS t ON t.sales_order_id = o.sales_order_id
        INNER JOIN payment AS p ON p.transaction_id = t.transaction_id
        WHERE o.sales_order_id = %s
    """
    seen = [one(connection, query, ids.order_id) for ids in what.sales]
    assert all(together for together, _ in seen)
    assert len({xid for _, xid in seen}) == len(seen)


def test_a_late_commit_has_an_earlier_timestamp_and_may_fail(server: Postgres) -> None:
    url = filled(server, "late", 100)
    find = "SELECT count(*) FROM sales_order WHERE sales_order_id = %s"
    with psycopg.connect(url, autocommit=True) as connection:
        with shop.late_commit(url) as late:
            day = shop.working_day(url)
            assert one(connection, find, late.order_id) == 0
        assert one(connection, find, late.order_id) == 1
        older = "SELECT bool_and(a.last_updated < b.created_at) FROM sales_order a, sales_order b "
        older += "WHERE a.sales_order_id = %s AND b.sales_order_id = ANY(%s)"
        assert one(connection, older, late.order_id, [ids.order_id for ids in day.sales])
        before = contents(connection)
        with pytest.raises(RuntimeError), shop.late_commit(url):
            raise RuntimeError
        assert contents(connection) == before
        assert unequal_payments(connection) == 0


def test_activity_makes_every_kind_of_change(server: Postgres) -> None:
    with psycopg.connect(filled(server, "busy", 60), autocommit=True) as connection:
        rng = random.Random(5)
        said = [shop.activity(connection, rng) for _ in range(120)]
        now = datetime(2030, 1, 5, 3)
        said += [shop.activity(connection, rng, at=now) for _ in range(5)]
        hours = one(connection, "SELECT max(created_at), max(last_updated) FROM sales_order")
        assert unequal_payments(connection) == 0
    kinds = ("sales order", "purchase order", "silently", "paid", "design ")
    assert all(any(kind in words for words in said) for kind in kinds)
    assert hours == (now, now)


@pytest.mark.parametrize(
    ("at", "open_at"),
    [
        ("2024-08-23T07:00", "2024-08-23T08:00"),
        ("2024-08-23T12:00", "2024-08-23T12:00"),
        ("2024-08-23T19:00", "2024-08-26T08:00"),
        ("2024-08-24T12:00", "2024-08-26T08:00"),
        ("2024-08-25T12:00", "2024-08-26T08:00"),
        ("2024-08-26T23:00", "2024-08-27T08:00"),
    ],
)
def test_opening_hours(at: str, open_at: str) -> None:
    found = trading.within_hours(datetime.fromisoformat(at))
    assert found == datetime.fromisoformat(open_at)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2024-08-23", "2024-08-23"),
        ("2024-08-24", "2024-08-23"),
        ("2024-08-25", "2024-08-23"),
        ("2024-08-26", "2024-08-26"),
    ],
)
def test_the_last_weekday_before_a_weekend_is_friday(day: str, expected: str) -> None:
    assert trading.last_weekday(date.fromisoformat(day)) == date.fromisoformat(expected)
