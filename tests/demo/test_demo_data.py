"""The data of the made-up shop: it has the schema and the difficulties of the live database."""

from __future__ import annotations

import random

import psycopg
import pytest

from demo import made_up, shop
from demo.postgres import Postgres
from tests.demo.shop_database import TABLES, contents, filled, one, unequal_payments


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


def test_an_empty_shop_has_the_references_of_a_filled_one(server: Postgres, full: psycopg.Connection) -> None:
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


def test_the_difficulties_of_the_live_data_are_included(full: psycopg.Connection) -> None:
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


def test_a_shop_of_one_order_can_be_filled(server: Postgres) -> None:
    with psycopg.connect(filled(server, "tiny", 1)) as connection:
        assert len(contents(connection)["sales_order"]) == 1
        assert unequal_payments(connection) == 0


def test_a_large_shop_has_busier_days_not_more(server: Postgres) -> None:
    with psycopg.connect(filled(server, "large", 2_000, most_days=10, chunk=100)) as connection:
        assert one(connection, "SELECT count(DISTINCT created_at::date) FROM sales_order") == 10
        assert len(contents(connection)["sales_order"]) == 2_000
        assert unequal_payments(connection) == 0
