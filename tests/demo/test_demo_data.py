"""The made-up shop: it has the shape and the traps of the live database, and it trades."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from demo import made_up, shop, trading
from demo.postgres import Postgres

TABLES = tuple(shop.COLUMNS)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="shop-test-"))
    folder.chmod(0o755)
    server = Postgres(folder, settings={"fsync": "off"})
    with server:
        yield server
    server.remove()
    shutil.rmtree(folder)


def filled(server: Postgres, name: str, orders: int, seed: int = shop.SEED) -> str:
    server.create_database(name)
    with psycopg.connect(server.url(name)) as connection:
        shop.create(connection)
        shop.fill(connection, orders, seed)
    return server.url(name)


@pytest.fixture(scope="module")
def full(server: Postgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(filled(server, "full", shop.ORDERS), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def day(server: Postgres) -> Iterator[tuple[shop.Day, dict[str, Any], psycopg.Connection]]:
    """Return a working day, the rows before it, and a connection to what it left."""
    url = filled(server, "day", 300)
    with psycopg.connect(url, autocommit=True) as connection:
        before = contents(connection)
        yield shop.working_day(url), before, connection


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


def test_tables_are_as_many_and_as_large_as_the_live_ones(full: psycopg.Connection) -> None:
    counts = {table: len(rows) for table, rows in contents(full).items()}
    assert counts == {
        "address": 30,
        "counterparty": 20,
        "currency": 3,
        "department": 8,
        "design": 424,
        "payment_type": 4,
        "staff": 20,
        "sales_order": 9_845,
        "purchase_order": 4_114,
        "transaction": 13_959,
        "payment": 13_959,
    }
    assert one(full, "SELECT count(*) FROM _prisma_migrations") == 1


def test_columns_are_those_of_the_live_database(full: psycopg.Connection) -> None:
    query = (
        "SELECT table_name, count(*), bool_and(is_nullable = 'NO') "
        "FROM information_schema.columns WHERE column_name IN ('created_at', 'last_updated') "
        "AND data_type = 'timestamp without time zone' AND datetime_precision = 3 "
        "AND column_default = 'CURRENT_TIMESTAMP' GROUP BY table_name"
    )
    stamped = {table: rest for table, *rest in full.execute(query)}
    assert stamped == {table: [2, True] for table in TABLES}
    last = "SELECT attname FROM pg_attribute WHERE attrelid = 'design'::regclass ORDER BY attnum"
    assert [name for (name,) in full.execute(last.encode())][-1] == "last_updated"
    precise = (
        "SELECT count(*), count(numeric_precision) FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type = 'numeric'"
    )
    assert one(full, precise) == (3, 0)
    nullable = (
        "SELECT array_agg(column_name::text ORDER BY column_name) FROM information_schema.columns "
        "WHERE table_schema = 'public' AND is_nullable = 'YES' "
        "AND table_name != '_prisma_migrations'"
    )
    assert one(full, nullable) == [
        "address_line_2",
        "commercial_contact",
        "delivery_contact",
        "district",
        "location",
        "manager",
        "purchase_order_id",
        "sales_order_id",
    ]


def test_an_empty_shop_says_so_and_has_the_references_of_a_filled_one(
    server: Postgres, full: psycopg.Connection
) -> None:
    query = (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated "
        "FROM pg_constraint WHERE contype = 'f' ORDER BY 1, 2"
    )
    server.create_database("empty")
    with psycopg.connect(server.url("empty")) as connection:
        shop.create(connection)
        declared = connection.execute(query.encode()).fetchall()
    assert full.execute(query.encode()).fetchall() == declared
    assert len(declared) == 17
    with pytest.raises(LookupError, match="fill it first"):
        shop.working_day(server.url("empty"))


def test_traps_of_the_live_data_are_there(full: psycopg.Connection) -> None:
    def count(query: str) -> int:
        return int(one(full, f"SELECT count(*) FROM {query}"))

    assert one(full, "SELECT location FROM department WHERE department_id = 4") == "Leds"
    assert count("address WHERE postal_code LIKE '00%'") >= 3
    assert count("address WHERE address_line_2 IS NULL") >= 10
    assert count("address WHERE address_line_2 = address_line_1") == 0
    assert count("address WHERE district IS NULL") >= 5
    assert count("staff WHERE last_name = 'O''Keefe'") == 1
    assert count("counterparty WHERE counterparty_legal_name LIKE '%,%'") >= 3
    assert count("counterparty WHERE counterparty_legal_name LIKE '%&%'") >= 1
    assert count("counterparty WHERE legal_address_id = 1") >= 3
    assert count("purchase_order WHERE item_code ~ '^0[0-9]{6}$'") >= 4
    assert count("purchase_order WHERE item_code !~ '^[A-Z0-9]{7}$'") == 0
    late = "SELECT max(agreed_delivery_date::date - created_at::date) FROM sales_order"
    assert one(full, late) == made_up.LATEST_DELIVERY
    disorder = (
        "sales_order AS a INNER JOIN sales_order AS b ON b.sales_order_id = a.sales_order_id + 1 "
        "WHERE b.created_at < a.created_at"
    )
    assert count(disorder) >= 10
    ties = "(SELECT FROM sales_order GROUP BY last_updated HAVING count(*) > 1) AS tie"
    assert count(ties) >= 10


def test_orders_are_of_working_hours_and_within_their_ranges(full: psycopg.Connection) -> None:
    query = """
        SELECT
            count(*) FILTER (WHERE extract(isodow FROM created_at) > 5),
            min(created_at::time) >= '08:00' AND max(created_at::time) < '19:00',
            min(units_sold) >= 1000 AND max(units_sold) <= 100000,
            min(unit_price) >= 2 AND max(unit_price) <= 4,
            max(scale(unit_price)), min(scale(unit_price)),
            max(created_at)::date, count(DISTINCT created_at::date),
            bool_or(created_at != last_updated)
        FROM sales_order
    """
    day = shop.UNTIL
    assert one(full, query) == (0, True, True, True, 2, 2, day, shop.DAYS, False)
    query = """
        SELECT
            min(item_quantity) >= 1 AND max(item_quantity) <= 1000,
            min(item_unit_price) >= 3 AND max(item_unit_price) <= 1000
        FROM purchase_order
    """
    assert one(full, query) == (True, True)


def test_payments_equal_their_orders(full: psycopg.Connection) -> None:
    assert unequal_payments(full) == 0


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


def test_payments_become_paid_in_batches(full: psycopg.Connection) -> None:
    query = """
        SELECT
            bool_and(last_updated::time BETWEEN '07:55' AND '07:56'),
            bool_and(last_updated::date::text = payment_date),
            count(*) > count(DISTINCT last_updated) * 5
        FROM payment
        WHERE paid
    """
    assert one(full, query) == (True, True, True)
    assert one(full, "SELECT bool_and(last_updated = created_at) FROM payment WHERE NOT paid")
    assert one(full, "SELECT count(*) FROM payment WHERE NOT paid") > 3_000


def test_a_seed_gives_the_same_data_and_another_gives_other(server: Postgres) -> None:
    shops = []
    for name, seed in (("one", 1), ("same", 1), ("two", 2)):
        url = filled(server, name, 150, seed)
        day = shop.working_day(url, seed=seed)
        with psycopg.connect(url) as connection:
            rng = random.Random(seed)
            steps = [shop.activity(connection, rng) for _ in range(10)]
            shops.append((day, steps, contents(connection)))
    assert shops[0] == shops[1]
    assert all(shops[0][2][table] != shops[2][2][table] for table in ("staff", "payment"))


def test_a_shop_of_one_order_is_a_shop(server: Postgres) -> None:
    with psycopg.connect(filled(server, "tiny", 1)) as connection:
        assert len(contents(connection)["sales_order"]) == 1
        assert unequal_payments(connection) == 0


def test_a_large_shop_has_busier_days_not_more(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "DAYS", 10)
    monkeypatch.setattr(shop, "CHUNK", 100)
    with psycopg.connect(filled(server, "large", 2_000)) as connection:
        assert one(connection, "SELECT count(DISTINCT created_at::date) FROM sales_order") == 10
        assert len(contents(connection)["sales_order"]) == 2_000
        assert unequal_payments(connection) == 0


def test_a_day_silently_edits_what_stood_there(
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


def test_a_day_changes_what_it_says_and_nothing_else(
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


def test_orders_of_a_day_commit_one_by_one_with_what_belongs_to_them(
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


def test_a_late_commit_was_stamped_before_what_was_seen_first_and_may_fail(
    server: Postgres,
) -> None:
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


def test_activity_does_every_kind_of_thing(server: Postgres) -> None:
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
